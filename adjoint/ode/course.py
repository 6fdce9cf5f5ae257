"""The course of a solve: grids from event to event, until the end or until something goes wrong.

The runner finds a grid. At an event the last step is shortened; without a jump the walk goes on from there, with one a
new piece begins. It ends at the end of the span, at a terminal event, after too many events, or with a failure; each in
a sentence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError
from adjoint.kernels import grid as kernels
from adjoint.kernels.stiff import DIVERGED, SINGULAR
from adjoint.ode.events import Watcher
from adjoint.ode.pieces import Occurrence, Piece
from adjoint.ode.run import Control, Runner, Walk, new_walk, walk
from adjoint.system import System
from adjoint.trajectory import Trajectory

__all__ = ["Course", "follow"]

Array = NDArray[np.float64]


class Course(NamedTuple):
    """What happened: the pieces, the events in their order, SciPy's status with a sentence, and counters."""

    pieces: tuple[Piece, ...]
    occurrences: tuple[Occurrence, ...]
    status: int
    message: str
    nfev: int
    tried: int


def follow(
    engine: Runner, x0: Array, stops: Array, U: Array, p: Array, options: Control, which: NDArray[np.int64],
    system: System, method: object, watcher: Watcher | None, max_events: int,
) -> Course:  # fmt: skip
    """Solve from stops[0] to stops[-1]; `which` of the caller's intervals each of U is."""
    way = new_walk(engine, float(stops[0]), x0, stops, U, p, options)
    pieces: list[Piece] = []
    occurrences: list[Occurrence] = []
    nfev = tried = 0

    def close() -> None:
        N = way.steps
        interval = way.interval[:N]
        path = Trajectory(way.t[: N + 1], way.x[: N + 1], U[interval], p, system, method)  # type: ignore[arg-type]
        pieces.append(Piece(path, which[interval]))

    def end(status: int, message: str) -> Course:
        close()
        used = nfev + engine.evaluations(way)
        return Course(tuple(pieces), tuple(occurrences), status, message, used, tried + int(way.count[kernels.TRIED]))

    if watcher is None:
        status = walk(engine, way)
        return end(0 if status == kernels.DONE else -1, sentence(status, way, system))

    ahead = 1.0 if stops[-1] > stops[0] else -1.0
    watch = watcher.begin(float(stops[0]), x0, U[0], p, ahead)
    seen = [0] * len(watcher.events)
    while True:
        before = watch.signs.copy()
        first = way.steps
        status = walk(engine, way, watch)
        if status != kernels.EVENT:
            message = sentence(status, way, system)
            missing = [event.label for j, event in enumerate(watcher.events) if event.terminal and not seen[j]]
            if status == kernels.DONE and missing:
                message += f" The terminal event {missing[0]!r} did not happen."
            return end(0 if status == kernels.DONE else -1, message)
        k = way.steps
        if k - 1 > first:  # the signs at the knot before; they changed there only by crossings that do not count
            g = np.array(watcher.graph(way.t[k - 1], way.x[k - 1], way.U[way.interval[k - 1]], p)).ravel()
            before = np.where(g != 0, np.sign(g), before).astype(np.int64)
        h, happened = watcher.locate(engine, way, watch, before)
        interval = int(way.interval[k - 1])
        t_e = float(way.t[k - 1] + h)
        names = " and ".join(repr(watcher.events[j].label) for j in happened)
        if h == 0 or t_e == way.t[k - 1]:
            way.count[kernels.STEPS] = k - 1
            return end(-1, f"Stopped at t = {t_e:.10g}: the event {names} happens again and again without any time "
                       "between (events that accumulate, or a jump that leads back to the event).")
        x_e = exact_step(engine, way, h)
        way.t[k], way.x[k] = t_e, x_e
        u = way.U[interval]
        x_after = x_e
        jumped = False
        for j in happened:
            seen[j] += 1
            jump = watcher.jumps[j]
            if jump is not None:
                x_after, jumped = np.array(jump(t_e, x_after, u, p)).ravel(), True
        for j in happened:
            occurrences.append(Occurrence(j, t_e, x_e, len(pieces), k, jumped))
        if not np.isfinite(x_after).all():
            return end(-1, f"Stopped at t = {t_e:.10g}: the jump of event {names} returned a state that is not finite.")
        last = [j for j in happened if watcher.events[j].terminal and seen[j] >= int(watcher.events[j].terminal)]
        if last:
            return end(1, f"The terminal event {watcher.events[last[0]].label!r} happened at t = {t_e:.10g}.")
        if len(occurrences) >= max_events:
            return end(-1, f"Stopped at t = {t_e:.10g} after {max_events} events, the last of them {names}. Raise "
                       "max_events if so many are meant to happen.")
        at_stop = t_e == stops[interval + 1]
        if at_stop and interval + 2 == stops.size:
            return end(0, sentence(kernels.DONE, way, system))
        if jumped:
            nfev += engine.evaluations(way)
            tried += int(way.count[kernels.TRIED])
            close()
            rest = options._replace(max_steps=max(1, options.max_steps - tried))
            length = way.number[kernels.LENGTH]
            try:
                way = new_walk(engine, t_e, x_after, stops, U, p, rest._replace(first_step=float(length)))
            except InputError as error:  # a jump that leaves the algebraic states of a DAE behind
                return Course(
                    tuple(pieces), tuple(occurrences), -1, f"Stopped at t = {t_e:.10g} by the jump of event {names}: "
                    f"{error} `consistent` finds algebraic states for the jump.", nfev, tried,
                )  # fmt: skip
        way.count[kernels.INTERVAL] = interval + 1 if at_stop else interval
        way.count[kernels.FRESH] = 1
        watcher.take_signs(watch, t_e, x_after, U[way.count[kernels.INTERVAL]], p, ahead, tuple(happened),
                           x_e if jumped else None)  # fmt: skip


def exact_step(engine: Runner, way: Walk, h: float) -> Array:
    """Φ of length h from the last knot but one of a walk."""
    k = way.steps - 1
    x = np.empty((1, 2, way.x.shape[1], 1))
    x[0, 0, :, 0] = way.x[k]
    u = way.U[way.interval[k]]
    engine.step.forward(
        np.array([[way.t[k]]]), np.array([[h]]), x, u[None, None, :, None], way.p[None, :, None], 0
    )  # fmt: skip
    return x[0, 1, :, 0].copy()


def sentence(status: int, way: Walk, system: System) -> str:
    """How a walk ended, in words."""
    if status == kernels.DONE:
        return "Reached the end of the span."
    k = way.steps
    t, x = float(way.t[k]), way.x[k]
    at = f"at t = {t:.10g} of {float(way.knots[-1]):g}"
    if status == kernels.INTERRUPTED:
        return f"Interrupted {at}."
    interval = min(int(way.count[kernels.INTERVAL]), len(way.U) - 1)
    f = np.array(system.graph(t, x, way.U[interval], way.p)).ravel()
    scale = way.control.atol + way.control.rtol * np.abs(x)
    with np.errstate(all="ignore"):
        rate = np.where(np.isfinite(way.control.atol), np.abs(f) / scale, 0.0)
    e = int(np.argmax(np.where(np.isfinite(rate), rate, np.inf)))
    where = f"state '{system.states[e]}' = {x[e]:.6g} changes at the rate {f[e]:.6g}"
    if scale[e] == 0:
        return f"Stopped {at}: the tolerance of state '{system.states[e]}' = {x[e]:g} is zero there. Give it an atol."
    crumb = 2.0**-52 * np.abs(x)
    if status in (kernels.TOO_MANY, kernels.UNDERFLOW) and (scale < 2 * crumb).any():
        e = int(np.argmax(crumb / scale))
        return (
            f"Stopped {at}: the tolerance of state '{system.states[e]}', {scale[e]:.2g}, is below the rounding of its "
            f"value {x[e]:.6g}, {crumb[e]:.2g}. Raise rtol or atol."
        )
    if status == kernels.TOO_MANY:
        return (
            f"Stopped {at} after {way.control.max_steps} steps tried; {where}. Raise max_steps or the tolerance; if "
            "the steps stay short although the solution is smooth, the system is stiff and wants an implicit method."
        )
    if system.mass is not None and interval > 0 and abs(t - way.knots[interval]) <= 1e-6 * abs(way.knots[-1] - t):
        return (
            f"Stopped {at}, just behind a knot: the control jumps there, and the algebraic states of M ẋ = f would "
            "have to jump with it, which no step does. Solve from knot to knot, each time from consistent(system, x, "
            "t, u, p)."
        )
    if status == kernels.UNDERFLOW:
        return (
            f"Stopped {at}: the step became too short for double precision; {where}. A singularity, a jump of f, or a "
            "tolerance below rounding?"
        )
    if status == SINGULAR:
        return (
            f"Stopped {at}: the matrix M/(γh) - ∂f/∂x of the implicit step is singular however short the step; {where}."
            " Is the index of the system higher than 1, or an equation missing?"
        )
    if status == DIVERGED:
        return (
            f"Stopped {at}: Newton's method for the stages does not converge however short the step; {where}. Does f "
            "jump or blow up there? Give the times of jumps as knots."
        )
    return (
        f"Stopped {at}: beyond, f, the state or an event is not finite however short the step; {where}. Does the "
        "solution blow up or leave the domain of a function?"
    )
