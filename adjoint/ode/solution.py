"""`OdeSolution`: what an adaptive solve found, how, and how to ask it for more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.method import Method
from adjoint.ode import gradient, sensitivity
from adjoint.ode.events import Event, Watcher
from adjoint.ode.gradient import OdeGradient
from adjoint.ode.pieces import Occurrence, Piece, Places, evaluate, locate
from adjoint.ode.run import Runner
from adjoint.ode.runners import runner
from adjoint.ode.sensitivity import OdeTangent
from adjoint.system import System
from adjoint.trajectory import Trajectory

__all__ = ["OdeSolution"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class OdeSolution:
    """The result of `solve_ivp`. Immutable.

    Attributes
    ----------
    t : array (K,)
        The times of output: ``t_eval``, or every knot of the grid that was found.
    x : array (K, n)
        The states there, time along axis 0.
    integral : array (K,) or None
        ∫ running dt from the start to each output.
    status : int
        0: reached the end; 1: a terminal event; -1: stopped early, and `message` says why. The solution is then good up
        to its last point.
    message : str
    nfev, accepted, rejected : int
        Evaluations of f, and steps.
    pieces : tuple of Piece
        The grids: more than one if events happened.
    system, method, rtol, atol
        How it was made.
    u : array (M, m)
        The control in each interval between knots.
    occurrences : tuple of Occurrence
        The events that happened, in order.
    """

    t: Array
    x: Array
    integral: Array | None
    status: int
    message: str
    nfev: int
    accepted: int
    rejected: int
    pieces: tuple[Piece, ...]
    system: System
    method: Method
    rtol: float
    atol: Array
    u: Array
    runner: Runner = field(repr=False)
    places: Places | None = field(repr=False)
    occurrences: tuple[Occurrence, ...] = ()
    watcher: Watcher | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.t.setflags(write=False)
        self.x.setflags(write=False)

    @property
    def y(self) -> Array:
        """The states as SciPy has them, (n, K): the transpose of `x`."""
        return self.x.T

    @property
    def success(self) -> bool:
        """Whether the solve reached its end or a terminal event."""
        return self.status >= 0

    @property
    def t_events(self) -> list[Array]:
        """For each event, the times at which it happened."""
        return [np.array([o.t for o in self.occurrences if o.event == j]) for j in range(self._events)]

    @property
    def x_events(self) -> list[Array]:
        """For each event, the states at which it happened (k, n), before the jump."""
        n = self.system.n
        return [
            np.array([o.x[:n] for o in self.occurrences if o.event == j]).reshape(-1, n) for j in range(self._events)
        ]

    @property
    def _events(self) -> int:
        return 0 if self.watcher is None else len(self.watcher.events)

    @property
    def trajectory(self) -> Trajectory:
        """The grid with its states, on which `rollout` repeats the solve to the last bit.

        Raises
        ------
        AdjointError
            If events cut the solve into several pieces.
        """
        if len(self.pieces) > 1:
            raise AdjointError(
                f"events cut this solution into {len(self.pieces)} pieces, each a trajectory of its own: "
                "[piece.path for piece in solution.pieces]."
            )
        return self.pieces[0].path

    def __reduce__(self) -> tuple[Any, ...]:
        # Machine code does not travel: it is made again where the solution arrives.
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("runner", "watcher")}
        return _arrived, (kept, None if self.watcher is None else self.watcher.events)

    def __getitem__(self, name: str) -> Array:
        kind, index = self.system.index(name)
        if kind != "state":
            raise InputError(f"{name!r} is a {kind}; a solution is indexed by the names of states.")
        return self.x[:, index]

    def __repr__(self) -> str:
        return (
            f"OdeSolution({self.system.name!r} by {self.method.name}: {self.message} t = {self.t[0]:g} … "
            f"{self.t[-1]:g}, {self.accepted} steps, {self.rejected} rejected, {self.nfev} evaluations of f)"
        )

    def state(self, t: ArrayLike) -> Array:
        """The state at any time of the solve: (n,) for a number, (K, n) for K times.

        Parameters
        ----------
        t : float or array_like (K,)
            Where an event made the state jump, the state before the jump.

        Raises
        ------
        InputError
            If a time lies outside of the solve.
        """
        times = np.atleast_1d(np.asarray(t, dtype=np.float64))
        if times.ndim != 1:
            raise InputError(f"t has shape {times.shape}; expected a number or (K,).")
        x = self.evaluate(locate(self.pieces, times))[:, : self.system.n]
        return x if np.ndim(t) else x[0]

    @property
    def sol(self) -> Callable[[ArrayLike], Array]:
        """The dense output as SciPy has it: a function of t, (n,) or (n, K)."""
        return lambda t: self.state(t).T

    def evaluate(self, places: Places) -> Array:
        """The states (quadratures included) at places of the grid: (K, n)."""
        return evaluate(self.runner, self.pieces, places)

    def sweep(
        self,
        dx: ArrayLike | None = None,
        dlast: ArrayLike | None = None,
        dintegral: float = 0.0,
        dt_events: Sequence[ArrayLike] | None = None,
        dx_events: Sequence[ArrayLike] | None = None,
    ) -> OdeGradient:
        """The gradient of a number J of the solve: the backward sweep over its grid.

        Parameters
        ----------
        dx : array_like (K, n), optional
            ∂J/∂x at the outputs, with the shape of ``x``.
        dlast : array_like (n,), optional
            ∂J/∂x at the end of the solve.
        dintegral : float
            ∂J/∂(the integral of `running` over the whole solve).
        dt_events, dx_events : sequence of array_like (k,), (k, n), optional
            ∂J/∂ of the times and states of the events, shaped as ``t_events`` and ``x_events``.

        Returns
        -------
        OdeGradient
            See the header of `adjoint.ode.gradient` for what it holds fixed.

        Raises
        ------
        InputError
            If a shape does not fit.
        AdjointError
            If J depends on an event that grazes: g touches zero without passing, and its time has no derivative.
        """
        return gradient.sweep(self, dx, dlast, dintegral, dt_events, dx_events)

    def tangent(
        self, x0: ArrayLike | None = None, u: ArrayLike | None = None, p: ArrayLike | None = None
    ) -> OdeTangent:
        """How the solution moves when x0, u and p move: forward sensitivities along one direction.

        Parameters
        ----------
        x0, u, p : array_like (n,), (M, m), (n_p,), optional
            The direction; absent parts are zero.

        Returns
        -------
        OdeTangent
            δx at the outputs and at the end, δ of the integral, and δ of the times of events.
        """
        return sensitivity.tangent(self, x0, u, p)

    def hessian_vector(
        self,
        dx: ArrayLike | None = None,
        dlast: ArrayLike | None = None,
        *,
        x0: ArrayLike | None = None,
        u: ArrayLike | None = None,
        p: ArrayLike | None = None,
        ddx: ArrayLike | None = None,
        ddlast: ArrayLike | None = None,
    ) -> OdeGradient:
        """The Hessian of J times a direction: the tangent of `sweep`.

        Parameters
        ----------
        dx, dlast : array_like, optional
            The seeds that were given to `sweep`.
        x0, u, p : array_like, optional
            The direction, as for `tangent`.
        ddx, ddlast : array_like, optional
            How the seeds change along it; absent where J has no second derivative of its own.

        Returns
        -------
        OdeGradient
            The products with respect to ``x0, u, p``, and the perturbation of the costate.

        Raises
        ------
        AdjointError
            If the solve has events.
        """
        return sensitivity.hessian_vector(self, dx, dlast, x0, u, p, ddx, ddlast)


def _arrived(kept: dict[str, Any], events: tuple[Event, ...] | None) -> OdeSolution:
    """A solution in another process."""
    system = kept["pieces"][0].path.system
    watcher = None if events is None else Watcher(system, events, kept["system"].n)
    return OdeSolution(**kept, runner=runner(system, kept["method"]), watcher=watcher)
