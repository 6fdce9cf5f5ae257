"""`OdeSolution`: what an adaptive solve found, how, and how to ask it for more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.method import Method
from adjoint.ode.events import Watcher
from adjoint.ode.run import Points, Runner
from adjoint.system import System
from adjoint.trajectory import Trajectory

__all__ = ["Occurrence", "OdeSolution", "Piece", "Places"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class Piece(NamedTuple):
    """A stretch of the solve without a jump of the state: its grid, and the control interval of each step."""

    path: Trajectory
    interval: Integers


class Occurrence(NamedTuple):
    """An event that happened: which, when, the state before its jump, at the end of which step of which piece."""

    event: int
    t: float
    x: Array
    piece: int
    step: int
    jumped: bool


class Places(NamedTuple):
    """Where outputs lie: in which piece, after which of its knots, and how far within the step (0: at the knot)."""

    piece: Integers
    step: Integers
    theta: Array


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


def locate(pieces: tuple[Piece, ...], times: Array) -> Places:
    """Where times lie on the grid; the earlier piece where two meet."""
    ends = np.array([piece.path.t[-1] for piece in pieces])
    first, last = pieces[0].path.t[0], ends[-1]
    sign = 1.0 if last >= first else -1.0
    outside = ~((sign * times >= sign * first) & (sign * times <= sign * last))
    if outside.any():
        raise InputError(f"t = {times[outside][0]:g} lies outside of the solution, which spans {first:g} … {last:g}.")
    which = np.searchsorted(sign * ends, sign * times)
    step, theta = np.empty(times.size, np.int64), np.empty(times.size)
    for i, piece in enumerate(pieces):
        mine = which == i if len(pieces) > 1 else slice(None)
        t = piece.path.t
        at = times[mine]
        k = np.searchsorted(sign * t, sign * at, side="right") - 1
        before = np.minimum(k, t.size - 2)
        step[mine], theta[mine] = k, np.where(at == t[k], 0.0, (at - t[k]) / (t[before + 1] - t[before]))
    return Places(which, step, theta)


def evaluate(runner: Runner, pieces: tuple[Piece, ...], places: Places) -> Array:
    """The states at places."""
    x = np.empty((places.step.size, pieces[0].path.x.shape[1]))
    for i, piece in enumerate(pieces):
        mine = places.piece == i
        inside = mine & (places.theta > 0)
        x[mine] = piece.path.x[places.step[mine]]
        if inside.any():
            x[inside] = runner.dense(points(piece.path, places.step[inside], places.theta[inside]))
    return x


def points(path: Trajectory, step: Integers, theta: Array) -> Points:
    """Steps of a path as the runner takes them."""
    t = path.t[step]
    return Points(t, path.t[step + 1] - t, path.x[step], path.u[step], path.p, theta)
