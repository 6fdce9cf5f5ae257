"""How a fit gets from an initial state to the states at the times of the measurements, and to their derivatives.

    Adaptive     steps as long as a tolerance allows (`solve_ivp`)
    FixedGrid    equal steps between the times (`rollout`); a discrete system steps by one

Both return a `Run`: the states, and the tangent and the transpose of the map (x0, p) → states, exact for what was
computed.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint import sweeps
from adjoint.errors import AdjointError, InputError
from adjoint.method import RK4, TSIT5, Method
from adjoint.ode.solution import OdeSolution
from adjoint.ode.solve import solve_ivp
from adjoint.system import System
from adjoint.trajectory import Trajectory

__all__ = ["Adaptive", "FixedGrid", "Run", "Simulator"]

Array = NDArray[np.float64]


class Run(Protocol):
    """States at K times and at the end, as a function of x0 and p."""

    x: Array
    last: Array

    def tangent(self, x0: Array, p: Array) -> tuple[Array, Array]:
        """δx (K, n) and δ of the last state (n,) for δx0 (n,) and δp (n_p,)."""

    def transpose(self, dx: Array, dlast: Array) -> tuple[Array, Array]:
        """∂J/∂x0 and ∂J/∂p from ∂J/∂x (K, n) and ∂J/∂last (n,)."""


class Simulator(Protocol):
    """How states are computed."""

    def run(self, system: System, x0: Array, p: Array, t0: float, t1: float, times: Array, u: Array | None,
            knots: Array | None) -> Run:  # fmt: skip
        """From x0 at t0 to t1, by way of `times`; AdjointError if that fails."""


@dataclass(frozen=True)
class Adaptive:
    """`solve_ivp` with these tolerances.

    Attributes
    ----------
    rtol : float
        A fit compares nearby solves, whose grids differ: the tolerance is to be well below the errors of measurement.
    atol : float or array_like (n,)
    method : Method
    max_steps : int
    """

    rtol: float = 1e-8
    atol: ArrayLike = 1e-10
    method: Method = TSIT5
    max_steps: int = 100_000

    def run(self, system: System, x0: Array, p: Array, t0: float, t1: float, times: Array, u: Array | None,
            knots: Array | None) -> Run:  # fmt: skip
        """See `Simulator`."""
        if system.discrete:
            raise InputError(f"system {system.name!r} is discrete: fit it with by=FixedGrid(1.0).")
        solution = solve_ivp(system, (t0, t1), x0, u=u, p=p, knots=knots, method=self.method, rtol=self.rtol,
                             atol=self.atol, t_eval=times if times.size else np.array([t1]),
                             max_steps=self.max_steps)  # fmt: skip
        if not solution.success:
            raise AdjointError(solution.message)
        return _Solved(solution, times.size)


class _Solved:
    """A `Run` by `solve_ivp`."""

    def __init__(self, solution: OdeSolution, K: int) -> None:
        self._solution, self._K = solution, K
        self.x = solution.x[:K]
        self.last = solution.trajectory.x[-1]

    def tangent(self, x0: Array, p: Array) -> tuple[Array, Array]:
        moved = self._solution.tangent(x0=x0, p=p)
        return moved.x[: self._K], moved.last

    def transpose(self, dx: Array, dlast: Array) -> tuple[Array, Array]:
        g = self._solution.sweep(dx=dx if self._K else None, dlast=dlast)
        return g.x0, g.p


@dataclass(frozen=True)
class FixedGrid:
    """`rollout` on a grid that contains the times of the measurements, with equal steps in between.

    Attributes
    ----------
    step : float
        The longest step; a discrete system steps by 1.
    method : Method
    """

    step: float
    method: Method = RK4

    def run(self, system: System, x0: Array, p: Array, t0: float, t1: float, times: Array, u: Array | None,
            knots: Array | None) -> Run:  # fmt: skip
        """See `Simulator`."""
        if not self.step > 0:
            raise InputError(f"FixedGrid: step is {self.step!r}; expected a positive number.")
        stops = np.unique(np.concatenate([[t0, t1], times, () if knots is None else knots]))
        stops = stops[(stops >= t0) & (stops <= t1)]
        if system.discrete:
            t = np.arange(t0, t1 + 0.5)
            if not np.isin(stops, t).all():
                raise InputError(f"system {system.name!r} is discrete: expected times {t0:g}, {t0 + 1:g}, …")
        else:
            pieces = [np.linspace(a, b, math.ceil((b - a) / self.step * (1 - 1e-12)) + 1)[:-1]
                      for a, b in itertools.pairwise(stops)]
            t = np.concatenate([*pieces, [t1]])
        held = u
        if u is not None and knots is not None:
            held = u[np.clip(np.searchsorted(knots, t[:-1], side="right") - 1, 0, len(u) - 1)]
        path = sweeps.rollout(system, x0, held, t, p, self.method)
        return _Rolled(path, np.searchsorted(t, times))


class _Rolled:
    """A `Run` by `rollout`."""

    def __init__(self, path: Trajectory, at: NDArray[np.intp]) -> None:
        self._path, self._at = path, at
        self.x, self.last = path.x[at], path.x[-1]

    def tangent(self, x0: Array, p: Array) -> tuple[Array, Array]:
        moved = sweeps.tangent(self._path, x0=x0, p=p)
        return moved[self._at], moved[-1]

    def transpose(self, dx: Array, dlast: Array) -> tuple[Array, Array]:
        q = np.zeros(self._path.x.shape)
        np.add.at(q, self._at, dx)
        q[-1] += dlast
        g = sweeps.sweep(self._path, dx=q)
        return g.x0, g.p
