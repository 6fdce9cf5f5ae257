"""A solution's control applied to the system once more, by an integrator that knows nothing of the transcription.

    y = (x, cost, q),   y' = (f, l, g)(t, x, u(t), p)          u(t) as `Solution.control` sees it

    through    one run from x(t0) to tf, carrying its own error along
    each       every interval from its own knot value: the local error of the mesh
    growth     how much a small perturbation of x(t0) is amplified by the largest factor on its way to tf

Continuous systems are integrated by an adaptive Dormand-Prince pair of order 8 that restarts at each knot; a discrete
system is iterated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adjoint.control.solution import Solution
from adjoint.kernels import adaptive
from adjoint.method import DOP853
from adjoint.native import Code, CompiledFunction

__all__ = ["TOLERANCE", "Flow", "MapFlow", "growth"]

Array = NDArray[np.float64]

# Relative error that each step of the re-integration may make.
TOLERANCE = 1e-10
# Steps that one interval may take: beyond this, an explicit method is the wrong judge, and says so.
MAX_STEPS = 10_000
# Size of the perturbation whose growth is measured.
PERTURBATION = 1e-6

FAILURES = {adaptive.MAX_STEPS: f"an interval took more than {MAX_STEPS} steps (the dynamics are stiff)",
            adaptive.UNDERFLOW: "the steps became too short (a singularity)",
            adaptive.NONFINITE: "the dynamics returned inf or nan"}


class Flow:
    """The right-hand side `code` (or, for a discrete system, the map `graph`) along the controls of a solution.

    Parameters
    ----------
    solution : Solution
    code : Code
        (t, y, u, p) -> y', one lane.
    p : array
        What the code takes as parameters.
    size : array (n_y,)
        Sizes of y; the absolute tolerance of each component is TOLERANCE / 10 of it.
    """

    def __init__(self, solution: Solution, code: Code, p: Array, size: Array) -> None:
        self.t = np.ascontiguousarray(solution.t)
        self.N = solution.N
        self.c = np.ascontiguousarray(solution.method.c) if solution.collocation else np.zeros(1)
        self.U = np.ascontiguousarray(solution.u.reshape(self.N, self.c.size, -1))
        self.p, self.size, self.code = np.ascontiguousarray(p), size, code
        n, m = size.size, self.U.shape[2]
        self._scratch = (np.empty((DOP853.stages, n)), np.empty((5, n)), np.empty(1 + m), np.zeros(4, np.int64),
                         np.zeros(1, np.int64), np.empty(max(1, code.work_size)))
        assert DOP853.b_hat is not None and DOP853.b_guard is not None
        errors = DOP853.b - DOP853.b_hat, DOP853.b - DOP853.b_guard
        self._pair = (DOP853.A, DOP853.c, DOP853.b, *errors, 1 / DOP853.order)
        self.failure = ""

    def _run(self, first: int, last: int, restart: bool, start: Array) -> Array:
        """Rows 1... of the run over intervals first..last-1; NaN from where it stopped."""
        y = np.full((last - first + 1, self.size.size), np.nan)
        status, k, _ = adaptive.integrate(
            self.code.address, self.t[first:last + 1], self.U[first:last], self.c, self.p, *self._pair, TOLERANCE,
            0.1 * TOLERANCE * self.size, MAX_STEPS, restart, np.ascontiguousarray(start), y, *self._scratch)
        if status != adaptive.DONE:
            self.failure = f"{FAILURES[status]} at t = {self.t[first + k]:.6g}"
            y[k + 1:] = np.nan
        return y[1:]

    def through(self, start: Array) -> Array:
        """y at knots 1 ... N from y(t0) = start (n_y,)."""
        return self._run(0, self.N, False, start[None])

    def each(self, starts: Array) -> Array:
        """y at the end of each interval from starts (N, n_y) at its beginning."""
        return self._run(0, self.N, True, starts)

    def one(self, k: int, start: Array) -> Array:
        """y at the end of interval k from start (n_y,) at its beginning."""
        return self._run(k, k + 1, False, start[None])[0]


class MapFlow:
    """The same for a discrete system: (t, y, u, p) -> y_next, the extras being increments."""

    def __init__(self, solution: Solution, function: CompiledFunction, n: int) -> None:
        self.t, self.N, self.u, self.p, self.f, self.n = solution.t, solution.N, solution.u, solution.p, function, n
        self.failure = ""

    def one(self, k: int, start: Array) -> Array:
        """y_{k+1} from y_k = start."""
        y = np.array(self.f(self.t[k:k + 1], start, self.u[k], self.p))
        y[self.n:] += start[self.n:]
        return y

    def through(self, start: Array) -> Array:
        """y at knots 1 ... N."""
        y = np.empty((self.N + 1, start.size))
        y[0] = start
        for k in range(self.N):
            y[k + 1] = self.one(k, y[k])
        return y[1:]

    def each(self, starts: Array) -> Array:
        """One application of the map to each of the rows of starts (N, n_y)."""
        y = np.array(self.f(self.t[:-1, None], starts, self.u, self.p))
        y[:, self.n:] += starts[:, self.n:]
        return y


def growth(flow: Flow | MapFlow, starts: Array, ends: Array, size: Array) -> float:
    """The largest factor by which a perturbation of the initial state has grown at any knot (at least 1).

    Parameters
    ----------
    flow : the flow of y = (x, extras)
    starts, ends : arrays (N, n_y)
        Starts of `flow.each` and its results.
    size : array (n,)
        Sizes of the states.
    """
    n = size.size
    direction = np.where(np.arange(n) % 2 == 0, 1.0, -1.0) / np.sqrt(1.0 + np.arange(n))     # no special one
    logarithm = largest = 0.0
    for k in range(flow.N):
        start = starts[k].copy()
        start[:n] += PERTURBATION * size * direction
        change = (flow.one(k, start)[:n] - ends[k, :n]) / (PERTURBATION * size)
        norm = float(np.abs(change).max())
        if not norm > 0 or not np.isfinite(norm):
            break
        direction, logarithm = change / norm, logarithm + np.log(norm)
        largest = max(largest, logarithm)
    return float(np.exp(min(largest, 700.0)))
