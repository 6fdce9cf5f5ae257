"""What was found: trajectory, costates, multipliers, cost, and what is to be said about it.

    lambda(t)      costate, the gradient of the (minimised) cost-to-go with respect to the state
    H = l + lambda' f, minimised over the admissible controls

For a problem that maximises, costates and multipliers belong to the minimisation of the negated objective.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.control.problem import OptimalControlProblem
from adjoint.errors import InputError
from adjoint.method import Method, method

if TYPE_CHECKING:
    from adjoint.control.certificate import Certificate

__all__ = ["Solution", "load"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """An optimal-control solution.

    Attributes
    ----------
    problem : OptimalControlProblem
    t : array (N+1,)
        Knots.
    x : array (N+1, n)
        States at the knots.
    u : array (N, m) or (N, s, m)
        Controls: one value an interval (shooting, discrete systems) or at the s nodes of an interval (collocation).
    p : array (n_p,)
        Parameters, fixed and free.
    costate : array (N+1, n)
        Costates at the knots.
    node_t, node_x, node_u, node_costate : arrays (K,), (K, n), (K, m), (K, n)
        The points where controls are unknowns: interval starts (shooting) or collocation nodes.
    multipliers : dict from constraint name to array
        Keys ``"path NAME"``, ``"boundary NAME"``, ``"integral NAME"``, ``"final STATE"``: multipliers of path,
        boundary and integral constraints and of final conditions (positive where the upper bound acts).
        Path constraints of a collocation have shape (N, s, k), of shooting (N, k); divided by the interval's
        quadrature weight.
    bound_multipliers : dict from state or control name to array
        Multiplier of the upper minus that of the lower bound at the nodes, a density over time like the costate
        equation's.
    cost : float
        Value of the objective in the problem's own sense.
    status : str
        A sentence.
    optimal : bool
        True only if the discretised problem is solved to tolerance and the certificate holds.
    iterations : int
        Newton steps, on all meshes and from all starts.
    history : array (k, 10)
        Of the last mesh; columns `HISTORY`.
    seconds : dict
        trace, compile, solve, certify; the last two for all meshes.
    """

    problem: OptimalControlProblem
    method: Method
    t: Array
    x: Array
    u: Array
    p: Array
    costate: Array
    node_t: Array
    node_x: Array
    node_u: Array
    node_costate: Array
    integral_costate: Array
    multipliers: Mapping[str, Array]
    bound_multipliers: Mapping[str, Array]
    cost: float
    status: str
    converged: bool
    iterations: int
    history: Array
    seconds: Mapping[str, float]
    residuals: Mapping[str, float]
    substeps: int = 1
    certificate: Certificate | None = None
    raw: Mapping[str, Array] = field(default_factory=dict, repr=False)

    HISTORY = (
        "iteration",
        "cost",
        "violation",
        "dual",
        "mu",
        "step",
        "regularisation",
        "dual step",
        "primal step",
        "trials",
    )

    @property
    def N(self) -> int:
        """Number of intervals."""
        return self.t.size - 1

    @property
    def optimal(self) -> bool:
        """Solved to tolerance and certified."""
        return self.converged and self.certificate is not None and self.certificate.holds

    @property
    def tf(self) -> float:
        """Final time."""
        return float(self.t[-1])

    @property
    def collocation(self) -> bool:
        """True if controls are polynomials on each interval."""
        return self.u.ndim == 3

    def __getitem__(self, name: str) -> Array:
        """State (at the knots), control (at the nodes), parameter, or ``"t"``, by name; groups give one column a
        component.
        """
        if name == "t":
            return self.t
        kind, index = self.problem.system.index(name)
        if kind == "state":
            return self.x[:, index]
        if kind == "control":
            return self.node_u[:, index]
        return np.asarray(self.p[index])

    def _locate(self, t: ArrayLike) -> tuple[Array, NDArray[np.int64], Array]:
        t = np.asarray(t, dtype=float)
        slack = 1e-9 * max(1.0, abs(self.t[0]), abs(self.t[-1]))
        if t.size and not (np.nanmin(t) >= self.t[0] - slack and np.nanmax(t) <= self.t[-1] + slack):
            raise InputError(
                f"the time {t.ravel()[np.argmax(np.abs(t - self.t.mean()))]:g} lies outside the solution's "
                f"interval [{self.t[0]:g}, {self.t[-1]:g}]."
            )
        k = np.clip(np.searchsorted(self.t, t, side="right") - 1, 0, self.N - 1)
        h = np.diff(self.t)[k]
        return t, k, (t - self.t[k]) / h

    def control(self, t: ArrayLike) -> Array:
        """Controls at times t: constant on an interval, or the polynomial through its nodes, cut off at the bounds.

        The polynomial of an interval with a switch overshoots between its nodes. What is handed out (and certified)
        is always admissible: values outside the control's bounds are replaced by the bound.

        Parameters
        ----------
        t : array_like, any shape

        Returns
        -------
        array, shape (*t.shape, m)
        """
        _, k, fraction = self._locate(t)
        if not self.collocation:
            return self.u[k]
        basis = lagrange(self.method.c, np.atleast_1d(fraction).ravel()).reshape(*fraction.shape, -1)
        lower, upper = self.problem.phases[0].control_bounds
        return np.clip(np.einsum("...s,...sm->...m", basis, self.u[k]), lower, upper)

    def state(self, t: ArrayLike) -> Array:
        """States at times t: the collocation polynomial, or cubic Hermite interpolation for shooting.

        Returns
        -------
        array, shape (*t.shape, n)
        """
        t, k, fraction = self._locate(t)
        system = self.problem.system
        if system.discrete:
            return np.where(fraction[..., None] >= 1.0, self.x[k + 1], self.x[k])
        if self.collocation:
            points = np.concatenate([[0.0], self.method.c])
            s = self.method.c.size
            values = np.concatenate([self.x[:-1, None, :], self.node_x.reshape(self.N, s, -1)], axis=1)
            basis = lagrange(points, np.atleast_1d(fraction).ravel()).reshape(*fraction.shape, -1)
            return np.einsum("...s,...sn->...n", basis, values[k])
        f0 = evaluate(system.graph, self.t[:-1], self.x[:-1], self.u, self.p)
        f1 = evaluate(system.graph, self.t[1:], self.x[1:], self.u, self.p)
        h = np.diff(self.t)[k][..., None]
        a = fraction[..., None]
        return (
            (1 + 2 * a) * (1 - a) ** 2 * self.x[k]
            + a**2 * (3 - 2 * a) * self.x[k + 1]
            + h * a * (1 - a) * ((1 - a) * f0[k] - a * f1[k])
        )

    def costates(self, t: ArrayLike) -> Array:
        """Costates at times t, linear between the known points.

        Returns
        -------
        array, shape (*t.shape, n)
        """
        t, _, _ = self._locate(t)
        times, values = self.t, self.costate
        if self.collocation:
            times = np.concatenate([self.t, self.node_t])
            values = np.concatenate([self.costate, self.node_costate])
            times, first = np.unique(times, return_index=True)
            values = values[first]
        return np.stack([np.interp(t, times, column) for column in values.T], axis=-1)

    def with_certificate(self, certificate: Certificate, status: str, seconds: float) -> Solution:
        """The same solution with its certificate."""
        return replace(self, certificate=certificate, status=status, seconds=dict(self.seconds) | {"certify": seconds})

    def __str__(self) -> str:
        problem = self.problem
        lines = [
            f"{problem.name}: {self.status}",
            f"  cost         {self.cost:.10g}"
            + (f"   (published {problem.published:.10g})" if problem.published is not None else ""),
            f"  time         {self.t[0]:.8g} to {self.t[-1]:.8g}",
            f"  mesh         {self.N} intervals, "
            + ("discrete system" if problem.system.discrete else self.method.name),
        ]
        free = [
            (name, value)
            for name, value, q in zip(problem.system.parameters, self.p, problem.phases[0].parameters, strict=True)
            if q.lower < q.upper
        ]
        if free:
            lines.append("  parameters   " + ", ".join(f"{name} = {value:.8g}" for name, value in free))
        lines.append(
            f"  iterations   {self.iterations}, in {1e3 * self.seconds['solve']:.1f} ms "
            f"(trace {self.seconds['trace']:.2f} s, compile {self.seconds['compile']:.2f} s)"
        )
        if self.certificate is not None:
            lines.append(str(self.certificate))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Solution({self.problem.name!r}, cost={self.cost:.8g}, {self.status!r})"

    def plot(self, file: str | Path | None = None) -> Any:
        """Draw states, controls, costates, H and the switching functions; see `adjoint.plot`. Returns the figure."""
        from adjoint.plot import plot_solution

        return plot_solution(self, file)

    def save(self, file: str | Path) -> None:
        """Write all numbers and texts to one ``.npz`` file (no pickle); read back with `adjoint.load(file,
        problem)`.
        """
        arrays: dict[str, Array] = {name: getattr(self, name) for name in _ARRAYS}
        for group in ("multipliers", "bound_multipliers", "raw"):
            arrays |= {f"{group}/{key}": value for key, value in getattr(self, group).items()}
        text = {
            "problem": self.problem.name,
            "states": list(self.problem.system.states),
            "controls": list(self.problem.system.controls),
            "method": self.method.name,
            "cost": self.cost,
            "status": self.status,
            "converged": self.converged,
            "iterations": self.iterations,
            "substeps": self.substeps,
            "seconds": dict(self.seconds),
            "residuals": dict(self.residuals),
            "format": 1,
        }
        arrays["text"] = np.frombuffer(json.dumps(text).encode(), dtype=np.uint8)
        with open(file, "wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]


_ARRAYS = ("t", "x", "u", "p", "costate", "node_t", "node_x", "node_u", "node_costate", "integral_costate", "history")


def load(file: str | Path, problem: OptimalControlProblem) -> Solution:
    """Read a solution written by `Solution.save`; functions are not stored, so the problem is given again.

    Parameters
    ----------
    file : path
    problem : OptimalControlProblem
        Must have the same states and controls. The certificate is not stored: call `adjoint.certify` to make it again.

    Raises
    ------
    InputError
        If the file is no saved solution or belongs to another problem.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        text = json.loads(arrays.pop("text").tobytes().decode())
        owner = text["states"], text["controls"], text["problem"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} is not a saved solution ({error}).") from None
    system = problem.system
    if owner[:2] != (list(system.states), list(system.controls)):
        raise InputError(
            f"{file} holds a solution of {owner[2]!r} with states {', '.join(owner[0])} and controls "
            f"{', '.join(owner[1])}; the problem given has {', '.join(system.states)} and "
            f"{', '.join(system.controls)}."
        )
    groups: dict[str, dict[str, Array]] = {"multipliers": {}, "bound_multipliers": {}, "raw": {}}
    for key in [k for k in arrays if "/" in k]:
        group, _, name = key.partition("/")
        groups[group][name] = arrays.pop(key)
    return Solution(
        problem=problem,
        method=method(text["method"]),
        cost=text["cost"],
        status=text["status"],
        converged=text["converged"],
        iterations=text["iterations"],
        seconds=text["seconds"],
        residuals=text["residuals"],
        substeps=text["substeps"],
        multipliers=groups["multipliers"],
        bound_multipliers=groups["bound_multipliers"],
        raw=groups["raw"],
        **arrays,
    )


def lagrange(points: Array, at: Array) -> Array:
    """Values (k, s) of the Lagrange polynomials on `points` (s,) at `at` (k,)."""
    basis = np.ones((at.size, points.size))
    for j, c in enumerate(points):
        for i, d in enumerate(points):
            if i != j:
                basis[:, j] *= (at - d) / (c - d)
    return basis


def evaluate(graph: Any, *columns: ArrayLike) -> Array:
    """A graph at many points: inputs (k, size), (k,) or constant (size,) -> outputs (k, size_out)."""
    k = max(np.asarray(c).shape[0] for i, c in enumerate(columns) if np.asarray(c).ndim == 2 or i == 0)
    inputs = []
    for i, column in enumerate(columns):
        a = np.asarray(column, dtype=float)
        rows = graph.size1_in(i)
        a = np.broadcast_to(a.reshape(1, -1), (k, rows)) if a.ndim == 1 and i > 0 else a.reshape(k, rows)
        inputs.append(a.T)
    if k == 0 or math.prod(graph.size_out(0)) == 0:
        return np.zeros((k, graph.size1_out(0)))
    return np.asarray(graph.map(k)(*inputs)).reshape(graph.size1_out(0), k).T.copy()
