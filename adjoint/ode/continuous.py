"""The continuous adjoint, to compare with: differentiate the equation first, discretise afterwards.

    ẋ = f(t, x, u, p)
    λ̇ = -(∂f/∂x)ᵀ λ           backwards from λ(t_1) = ∂J/∂x(t_1), with jumps ∂J/∂x(t_j) at the outputs
    μ̇ = -(∂f/∂p)ᵀ λ           ∂J/∂p = μ(t_0) from μ(t_1) = 0;   likewise for u

All three run backwards together, each with the error control of its own solve. The result approximates the gradient of
the exact solution as the tolerance goes to zero; it is the gradient of no number that was computed, and where the
backward run of x is unstable (a stiff or strongly contracting f) it is wrong. The sweep of `OdeSolution.sweep` has
neither trouble; `compare_adjoints` shows the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.method import DOP853, TSIT5, Method
from adjoint.ode.gradient import seed_of
from adjoint.ode.solution import OdeSolution
from adjoint.ode.solve import solve_ivp
from adjoint.system import System

__all__ = ["AdjointComparison", "ContinuousGradient", "compare_adjoints", "continuous_adjoint"]

Array = NDArray[np.float64]


class ContinuousGradient(NamedTuple):
    """∂J/∂x0 (n,), ∂J/∂u (M, m), ∂J/∂p (n_p,), by the continuous adjoint; x0 as the backward run found it."""

    x0: Array
    u: Array
    p: Array
    x_start: Array


def continuous_adjoint(
    solution: OdeSolution,
    dx: ArrayLike | None = None,
    dlast: ArrayLike | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> ContinuousGradient:
    """The gradient of J by solving the adjoint equation backwards.

    Parameters
    ----------
    solution : OdeSolution
        Without events.
    dx, dlast : array_like, optional
        As for `OdeSolution.sweep`.
    rtol, atol : float, optional
        Of the backward solve; by default those of the solution.

    Returns
    -------
    ContinuousGradient

    Raises
    ------
    AdjointError
        If the solution has events, or the backward solve does not reach t_0.
    """
    if solution.occurrences:
        raise AdjointError("continuous_adjoint: this solution has events; only its sweep can differentiate them.")
    (piece,) = solution.pieces
    path, system = piece.path, solution.system
    n, m, n_p = system.n, system.m, system.n_p
    backward: System = system.keep(continuous_adjoint, lambda: _backward_system(system))
    seeds: dict[float, Array] = {}
    if dx is not None:
        for t, seed in zip(solution.t.tolist(), seed_of("dx", dx, solution.x.shape), strict=True):
            seeds[t] = seed
    t0, t1 = float(path.t[0]), float(path.t[-1])
    if dlast is not None:
        seeds[t1] = seeds.get(t1, 0) + seed_of("dlast", dlast, (n,))
    changes = path.t[1:-1][np.diff(piece.interval) != 0] if len(path) > 1 else path.t[:0]
    stops = sorted({t0, t1, *seeds, *changes.tolist()}, reverse=t1 > t0)
    z = np.concatenate([path.x[-1, :n], seeds.pop(t1, np.zeros(n)), np.zeros(m + n_p)])
    g_u = np.zeros(solution.u.shape)
    for start, end in pairwise(stops):
        inside = np.searchsorted(path.t * (1 if t1 > t0 else -1), (start + end) / 2 * (1 if t1 > t0 else -1)) - 1
        interval = piece.interval[inside]
        z[2 * n : 2 * n + m] = 0
        run = solve_ivp(
            backward, (start, end), z, u=solution.u[interval], p=path.p, method=solution.method,
            rtol=solution.rtol if rtol is None else rtol,
            atol=float(solution.atol.min()) if atol is None else atol,
        )  # fmt: skip
        if not run.success:
            raise AdjointError(f"continuous_adjoint: the backward solve failed. {run.message}")
        z = run.x[-1].copy()
        g_u[interval] += z[2 * n : 2 * n + m]
        z[n : 2 * n] += seeds.pop(end, 0)
    return ContinuousGradient(z[n : 2 * n], g_u, z[2 * n + m :], z[:n])


def _backward_system(system: System) -> System:
    """(x, λ, μ_u, μ_p), all against time."""
    graph = system.graph
    t, x, u, p = (ca.SX.sym(name, graph.size1_in(i)) for i, name in enumerate("txup"))
    n, m, n_p = system.n, system.m, system.n_p
    z = ca.SX.sym("z", 2 * n + m + n_p)
    f = graph(t, x, u, p)
    lam = z[n : 2 * n]
    back = ca.densify(-ca.jtimes(f, ca.vertcat(x, u, p), lam, True))
    rate = ca.substitute(ca.vertcat(f, back), x, z[:n])
    made = ca.Function("adjoint_equation", [t, z, u, p], [ca.densify(rate)], ["t", "x", "u", "p"], ["out"])
    return System.from_graph(
        made, states=f"x[{n}] lam[{n}]" + (f" mu_u[{m}]" if m else "") + (f" mu_p[{n_p}]" if n_p else ""),
        controls=f"u[{m}]" if m else "", parameters=f"p[{n_p}]" if n_p else "", name=f"adjoint of {system.name}",
    )  # fmt: skip


@dataclass(frozen=True)
class AdjointComparison:
    """How discrete and continuous adjoint agree as the tolerance falls; print it for a table.

    Attributes
    ----------
    rtol : array (K,)
    difference : array (K,)
        ‖discrete - continuous‖ / ‖reference‖, over x0 and p together.
    discrete, continuous : arrays (K,)
        Of each the relative distance from the reference, a gradient at a tolerance of 1e-13.
    """

    rtol: Array
    difference: Array
    discrete: Array
    continuous: Array

    def __str__(self) -> str:
        rows = ["   rtol    |discrete - continuous|   error of discrete   error of continuous"]
        for row in zip(self.rtol, self.difference, self.discrete, self.continuous, strict=True):
            rows.append("{:8.0e}    {:18.2e}    {:16.2e}    {:18.2e}".format(*row))
        return "\n".join(rows)


def compare_adjoints(
    system: System | Callable[..., Any],
    t_span: tuple[float, float],
    x0: ArrayLike,
    dlast: ArrayLike | Callable[[Array], ArrayLike],
    *,
    u: ArrayLike | None = None,
    p: ArrayLike | None = None,
    method: Method = TSIT5,
    tolerances: Sequence[float] = (1e-3, 1e-5, 1e-7, 1e-9, 1e-11),
) -> AdjointComparison:
    """The gradient of a function of the end state, by both adjoints, at several tolerances.

    Parameters
    ----------
    system, t_span, x0, u, p, method
        As for `solve_ivp`.
    dlast : array_like (n,), or callable
        ∂J/∂x at the end, or a function of the end state that returns it.
    tolerances : sequence of float
        rtol; atol is a thousandth of each.

    Returns
    -------
    AdjointComparison
    """
    if not len(tolerances):
        raise InputError("compare_adjoints: tolerances is empty.")
    start = np.atleast_1d(np.asarray(x0, dtype=np.float64))

    def gradients(by: Method, rtol: float, also_continuous: bool) -> tuple[Array, Array]:
        solution = solve_ivp(system, t_span, start, u=u, p=p, method=by, rtol=rtol, atol=rtol / 1000)
        if not solution.success:
            raise AdjointError(f"compare_adjoints, rtol = {rtol:g}: {solution.message}")
        seed = dlast(solution.x[-1]) if callable(dlast) else dlast
        g = solution.sweep(dlast=seed)
        discrete = np.concatenate([g.x0, g.p])
        if not also_continuous:
            return discrete, discrete
        c = continuous_adjoint(solution, dlast=seed)
        return discrete, np.concatenate([c.x0, c.p])

    reference, _ = gradients(DOP853, 1e-13, False)
    size = float(np.linalg.norm(reference)) or math.inf
    rows = []
    for rtol in tolerances:
        d, c = gradients(method, float(rtol), True)
        rows.append([np.linalg.norm(d - c) / size, np.linalg.norm(d - reference) / size,
                     np.linalg.norm(c - reference) / size])
    difference, of_discrete, of_continuous = np.array(rows).T
    return AdjointComparison(np.array(tolerances, dtype=np.float64), difference, of_discrete, of_continuous)
