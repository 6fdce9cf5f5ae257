"""`Solver`: one problem solved again and again, in memory that is kept; for optimisers and samplers.

    forward     the grid for these x0 and p, and the states on it
    backward    the sweep over that grid

The numbers are those of `solve_ivp` and `OdeSolution.sweep`, to the last bit. What is saved is Python: arguments are
checked once, and nothing is allocated, so that a solve of a hundred steps and its gradient cost little more than the
machine code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.kernels import grid
from adjoint.kernels.outputs import add_rows
from adjoint.method import TSIT5, Method
from adjoint.ode import given
from adjoint.ode.course import sentence
from adjoint.ode.pieces import Piece, Places, evaluate, locate, points
from adjoint.ode.run import NOTHING, PAUSE, new_walk, walk
from adjoint.ode.runners import runner
from adjoint.system import System
from adjoint.trajectory import Trajectory

__all__ = ["Solver", "SolverGradient"]

Array = NDArray[np.float64]


class SolverGradient(NamedTuple):
    """∂J/∂x0 (n,), ∂J/∂u (M, m), ∂J/∂p (n_p,)."""

    x0: Array
    u: Array
    p: Array


class Solver:
    """A system, a span and tolerances, to be solved for many x0 and p.

    Parameters
    ----------
    system, t_span, u, knots, method, rtol, atol, t_eval, max_step, first_step, max_steps
        As for `solve_ivp`; there are no events.

    Notes
    -----
    Not for use by two threads at once: the memory is its own. Make one for each.

    Examples
    --------
    >>> from adjoint.ode import Solver
    >>> from adjoint.system import System
    >>> decay = System(lambda t, x, u, p: [-p[0] * x[0]], states="x", parameters="rate")
    >>> solver = Solver(decay, (0, 1))
    >>> end = solver.forward([1.0], [2.0])[-1]
    >>> gradient = solver.backward(dlast=[1.0])
    >>> print(f"{end[0]:.6f} {gradient.p[0]:.6f}")
    0.135335 -0.135335
    """

    def __init__(
        self,
        system: System,
        t_span: tuple[float, float],
        *,
        u: ArrayLike | None = None,
        knots: ArrayLike | None = None,
        method: Method = TSIT5,
        rtol: float = 1e-6,
        atol: ArrayLike = 1e-9,
        t_eval: ArrayLike | None = None,
        max_step: float = math.inf,
        first_step: float | None = None,
        max_steps: int = 1_000_000,
    ) -> None:
        if not isinstance(system, System):
            raise InputError(f"Solver: the first argument is {system!r}; expected a System.")
        self.system, self.method = system, method
        t0, t1 = given.span(t_span)
        stops, U, self._held, self._which = given.intervals(system, u, knots, t0, t1)
        options = given.control(system, rtol, atol, max_step, first_step, max_steps, abs(t1 - t0))
        self._times = None if t_eval is None else given.output_times(t_eval, t0, t1)
        self._engine = runner(system, method)
        n, m, n_p = system.n, system.m, system.n_p
        self._sizes = n, m, n_p
        self._walk = new_walk(self._engine, t0, np.zeros(n), stops, U, np.zeros(n_p), options)
        self._number, self._count = self._walk.number.copy(), self._walk.count.copy()
        self._N = -1
        self._places: Places | None = None
        self._gp, self._none = np.zeros((1, n_p, 1)), np.zeros((1, 0, m, 1))
        self._end = np.zeros((1, 1, n, 1))
        self._arrange()

    def _arrange(self) -> None:
        """Arrays as long as those of the walk."""
        room, (n, m, _) = self._walk.interval.size, self._sizes
        self._h = np.empty((room, 1))
        self._u, self._gu = np.empty((1, room, m, 1)), np.empty((1, room, m, 1))
        self._lam = np.empty((1, room + 1, n, 1))

    def forward(self, x0: ArrayLike, p: ArrayLike | None = None) -> Array:
        """Solve.

        Parameters
        ----------
        x0 : array_like (n,)
        p : array_like (n_p,), optional

        Returns
        -------
        array (K, n)
            The states at t_eval, or at the knots; in the latter case a view that is valid until the next call.

        Raises
        ------
        InputError
            If a shape or a number does not fit.
        AdjointError
            If the solve does not reach its end; the message says where and why.
        """
        way, (n, _, n_p) = self._walk, self._sizes
        start, parameters = np.asarray(x0, np.float64), np.asarray(() if p is None else p, np.float64)
        if start.shape != (n,) or parameters.shape != (n_p,):
            raise InputError(
                f"x0 has shape {start.shape} and p {parameters.shape}; system {self.system.name!r} takes ({n},) and "
                f"({n_p},)."
            )
        self._N = -1
        way.x[0], way.p[:] = start, parameters
        way.number[:], way.count[:] = self._number, self._count
        status = self._engine.advance(way, NOTHING, PAUSE)
        if status != grid.DONE:
            given.numbers("x0", start), given.numbers("p", parameters)
            if status in (grid.FULL, grid.PAUSED):
                status = walk(self._engine, way)
            if way.interval.size != self._h.size:
                self._arrange()
            if status != grid.DONE:
                raise AdjointError(sentence(status, way, self.system))
        self._N = N = way.steps
        if self._times is None:
            return way.x[: N + 1]
        self._path = self.trajectory
        pieces = (Piece(self._path, way.interval[:N]),)
        self._places = locate(pieces, self._times)
        return evaluate(self._engine, pieces, self._places)

    @property
    def t(self) -> Array:
        """The times of output: t_eval, or the knots of the last solve."""
        self._check("t")
        return self._walk.t[: self._N + 1].copy() if self._times is None else self._times

    @property
    def trajectory(self) -> Trajectory:
        """The grid of the last solve, with its states; a copy."""
        self._check("trajectory")
        way, N = self._walk, self._N
        t, x, u = way.t[: N + 1].copy(), way.x[: N + 1].copy(), way.U[way.interval[:N]]
        return Trajectory(t, x, u, way.p.copy(), self.system, self.method)

    def backward(self, dx: ArrayLike | None = None, dlast: ArrayLike | None = None) -> SolverGradient:
        """The gradient of a number J of the last solve.

        Parameters
        ----------
        dx : array_like (K, n), optional
            ∂J/∂x at the outputs.
        dlast : array_like (n,), optional
            ∂J/∂x at the end.

        Returns
        -------
        SolverGradient
        """
        self._check("backward")
        way, N, (n, m, _) = self._walk, self._N, self._sizes
        gp, r = self._gp, self._none
        gp[:] = 0
        if dx is None:
            q = self._end
            q[:] = 0
        else:
            q, r = self._seeds(np.asarray(dx, np.float64))
        if dlast is not None:
            last = np.asarray(dlast, np.float64)
            if last.shape != (n,):
                raise InputError(f"dlast has shape {last.shape}; expected ({n},).")
            q[0, -1, :, 0] += last
        t, h, lam, gu, u = way.t[:N], self._h[:N], self._lam[:, : N + 1], self._gu[:, :N], self._u[:, :N]
        np.subtract(way.t[1 : N + 1], t, out=h[:, 0])
        if m:
            u[0, :, :, 0] = way.U[way.interval[:N]]
        self._engine.step.backward(
            t[:, None], h, way.x[None, : N + 1, :, None], u, way.p[None, :, None], q, r, lam, gu, gp
        )
        g_u = np.zeros(self._held.shape)
        if m:
            add_rows(self._which[way.interval[:N]], gu[0, :, :, 0], g_u)
        return SolverGradient(lam[0, 0, :, 0].copy(), g_u, gp[0, :, 0].copy())

    def _seeds(self, dx: Array) -> tuple[Array, Array]:
        """q and r; what outputs between the knots owe to p goes to g_p."""
        N, (n, m, _) = self._N, self._sizes
        K = N + 1 if self._times is None else self._times.size
        if dx.shape != (K, n):
            raise InputError(f"dx has shape {dx.shape}; expected ({K}, {n}).")
        q, r = np.zeros((1, N + 1, n, 1)), self._none
        if self._places is None:
            q[0, :, :, 0] = dx
            return q, r
        _, step, theta = self._places
        inside = theta > 0
        q[0, step[~inside], :, 0] = dx[~inside]
        if inside.any():
            k = step[inside]
            at = points(self._path, k, theta[inside])
            _, _, g_x, g_u, g_p, _ = self._engine.dense_vjp(at, dx[inside])
            add_rows(k, g_x, q[0, :, :, 0])
            r = np.zeros((1, N, m, 1))
            add_rows(k, g_u, r[0, :, :, 0])
            self._gp[0, :, 0] += g_p.sum(axis=0)
        return q, r

    def _check(self, what: str) -> None:
        if self._N < 0:
            raise InputError(f"{what}: there is no solve yet. Call forward first.")
