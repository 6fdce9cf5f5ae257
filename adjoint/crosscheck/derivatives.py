"""First derivatives at random points, three times: machine code, CasADi's interpreter, the user's Python function.

complex step           df/dz_j = Im f(z + i h e_j) / h, exact to round-off, for analytic functions
central differences    df/dz_j = (f(z + d e_j) - f(z - d e_j)) / 2d, good to about 1e-9, for all others
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint import native
from adjoint.control.guess import Guess
from adjoint.control.solution import Solution
from adjoint.crosscheck.programme import at_points
from adjoint.symbolic import trace

__all__ = ["DerivativeCheck", "check_derivatives"]

Array = NDArray[np.float64]

# Both differentiate exactly; what is left is round-off, which cancellation in the user's function may magnify.
DERIVATIVE_TOLERANCE = 1e-8
DIFFERENCE_TOLERANCE = 1e-4  # where only difference quotients of the Python function are to be had
POINTS = 16


@dataclass(frozen=True)
class DerivativeCheck:
    """First derivatives of one function with respect to (x, u, p) at points near the solution, each row
    relative to its size.

    Attributes
    ----------
    function : str
    points : int
    interpreter : float or None
        Machine code against CasADi's own interpreter; None if there is no point where the derivatives are finite.
    python : float or None
        Machine code against the user's Python function; None if that does not take plain arrays.
    how : str
        "complex step"; or "central differences", where the function is not analytic (abs, max) or takes no complex
        numbers; or why there is no comparison.
    """

    function: str
    points: int
    interpreter: float | None
    python: float | None
    how: str

    @property
    def agrees(self) -> bool:
        """Both comparisons are within their tolerance."""
        limit = DERIVATIVE_TOLERANCE if self.how == "complex step" else DIFFERENCE_TOLERANCE
        return (self.interpreter is None or self.interpreter <= DERIVATIVE_TOLERANCE) and (
            self.python is None or self.python <= limit
        )

    def __str__(self) -> str:
        interpreter, python = ("-" if v is None else f"{v:.1g}" for v in (self.interpreter, self.python))
        return f"{interpreter} from CasADi's interpreter, {python} from the Python function ({self.how})"


def check_derivatives(solution: Solution, guess: Guess) -> tuple[DerivativeCheck, ...]:
    """Jacobians with respect to (x, u, p) of the right-hand side and of the running cost."""
    phase = solution.problem.phases[0]
    system = phase.system
    functions: list[tuple[str, ca.Function, Callable[..., Any]]] = [("the right-hand side", system.graph, system.f)]
    if phase.running is not None:
        point: list[tuple[str, int | None]] = [("t", None), ("x", system.n), ("u", system.m), ("p", system.n_p)]
        functions.append(("the running cost", trace(phase.running, point, None, "running cost"), phase.running))
    return tuple(_derivative(name, graph, function, solution, guess) for name, graph, function in functions)


def _derivative(
    name: str, graph: ca.Function, function: Callable[..., Any], solution: Solution, guess: Guess
) -> DerivativeCheck:
    symbols = [ca.SX.sym(label, graph.size1_in(i)) for i, label in enumerate("txup")]
    jacobian = ca.Function("jacobian", symbols, [ca.densify(ca.jacobian(graph(*symbols), ca.vertcat(*symbols[1:])))])
    rows, columns = jacobian.size_out(0)
    scale = np.concatenate([guess.state_scale, guess.control_scale, np.where(solution.p == 0, 1.0, np.abs(solution.p))])
    t, x, u = _points(solution, guess, graph, jacobian)
    p = solution.p
    if t.size == 0:
        return DerivativeCheck(name, 0, None, None, "no point near the solution where the derivatives are finite")
    interpreted = at_points(jacobian, t, x, u, p).reshape(t.size, rows, columns)
    machine = np.asarray(native.compile(jacobian)(t[:, None], x, u, p)).reshape(t.size, rows, columns)
    values = at_points(graph, t, x, u, p).reshape(t.size, rows)
    size = np.maximum((np.abs(interpreted) * scale).max(axis=(0, 2)), np.abs(values).max(axis=0))
    size = np.where(size > 0, size, 1.0)[:, None]

    def difference(other: Array) -> float:
        return float((np.abs(machine - other) * scale / size).max())

    def at(k: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
        def value(z: NDArray[Any]) -> NDArray[Any]:
            out = function(t[k], *np.split(z, [x.shape[1], x.shape[1] + u.shape[1]]))
            return np.asarray([np.asarray(part) for part in np.ravel(out)]).reshape(rows)

        return value

    centres = [np.concatenate([x[k], u[k], p]) for k in range(t.size)]
    try:
        quotients = np.stack([_central_differences(at(k), z, scale) for k, z in enumerate(centres)])
    except Exception as error:  # the user's function: it may raise anything when it is given plain arrays
        return DerivativeCheck(
            name, t.size, difference(interpreted), None, f"the Python function raised {type(error).__name__}"
        )
    try:
        complex_step = np.stack([_complex_step(at(k), z) for k, z in enumerate(centres)])
        analytic = float((np.abs(complex_step - quotients) * scale / size).max()) <= DIFFERENCE_TOLERANCE
    except Exception:
        analytic = False
    if analytic:
        return DerivativeCheck(name, t.size, difference(interpreted), difference(complex_step), "complex step")
    # abs, max and their like have no complex derivative: only difference quotients can tell.
    return DerivativeCheck(name, t.size, difference(interpreted), difference(quotients), "central differences")


def _points(solution: Solution, guess: Guess, graph: ca.Function, jacobian: ca.Function) -> tuple[Array, Array, Array]:
    """Points of the solution, moved at random by a hundredth of the scales, inside the bounds.

    Points where the graph or its Jacobian is not finite are left out.
    """
    rng = np.random.default_rng(0)  # fixed: the same call gives the same table
    phase = solution.problem.phases[0]
    k = rng.integers(0, solution.node_t.size, POINTS)
    x = solution.node_x[k] + 1e-2 * guess.state_scale * rng.standard_normal((POINTS, solution.x.shape[1]))
    u = solution.node_u[k] + 1e-2 * guess.control_scale * rng.standard_normal((POINTS, solution.node_u.shape[1]))
    x, u = np.clip(x, *phase.state_bounds), np.clip(u, *phase.control_bounds)
    t = solution.node_t[k]
    finite = np.array(
        [
            all(np.all(np.isfinite(np.asarray(f(t[i], x[i], u[i], solution.p)))) for f in (graph, jacobian))
            for i in range(POINTS)
        ]
    )
    return t[finite], x[finite], u[finite]


def _complex_step(value: Callable[[NDArray[Any]], NDArray[Any]], z: Array) -> Array:
    """Im f(z + ih e_j) / h: no subtraction, so h may be tiny."""
    h = 1e-30
    return np.stack([value(z + 1j * h * e).imag / h for e in np.eye(z.size)], axis=-1)


def _central_differences(value: Callable[[NDArray[Any]], NDArray[Any]], z: Array, scale: Array) -> Array:
    """(f(z + d e_j) - f(z - d e_j)) / 2d."""
    steps = 1e-6 * scale
    return np.stack(
        [(value(z + d * e).real - value(z - d * e).real) / (2 * d) for d, e in zip(steps, np.eye(z.size), strict=True)],
        axis=-1,
    ).astype(float)
