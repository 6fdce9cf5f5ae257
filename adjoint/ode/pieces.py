"""The grids of a solve, and places on them: what the solution and its derivatives both need to know."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError
from adjoint.kernels import outputs as kernels
from adjoint.ode.run import Points, Runner
from adjoint.trajectory import Trajectory

__all__ = ["Occurrence", "Piece", "Places", "evaluate", "locate", "points"]

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


def locate(pieces: tuple[Piece, ...], times: Array) -> Places:
    """Where times lie on the grid; the earlier piece where two meet."""
    ends = np.array([piece.path.t[-1] for piece in pieces])
    first, last = pieces[0].path.t[0], ends[-1]
    sign = 1.0 if last >= first else -1.0
    if times.size and not (times.min() >= min(first, last) and times.max() <= max(first, last)):
        outside = ~((times >= min(first, last)) & (times <= max(first, last)))
        raise InputError(f"t = {times[outside][0]:g} lies outside of the solution, which spans {first:g} … {last:g}.")
    if len(pieces) == 1:
        which, step, theta = np.zeros(times.size, np.int64), np.empty(times.size, np.int64), np.empty(times.size)
        kernels.place(pieces[0].path.t, times, step, theta)
        return Places(which, step, theta)
    which = np.searchsorted(sign * ends, sign * times)
    step, theta = np.empty(times.size, np.int64), np.empty(times.size)
    for i, piece in enumerate(pieces):
        mine = which == i
        at = times[mine]
        k, within = np.empty(at.size, np.int64), np.empty(at.size)
        kernels.place(piece.path.t, at, k, within)
        step[mine], theta[mine] = k, within
    return Places(which, step, theta)


def evaluate(runner: Runner, pieces: tuple[Piece, ...], places: Places) -> Array:
    """The states at places."""
    if len(pieces) == 1:
        path, step, theta = pieces[0].path, places.step, places.theta
        if theta.all():
            return runner.dense(points(path, step, theta))
        x = path.x[step]
        inside = np.flatnonzero(theta)
        if inside.size:
            x[inside] = runner.dense(points(path, step[inside], theta[inside]))
        return x
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
