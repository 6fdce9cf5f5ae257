"""Events: numbers g(t, x, u, p) whose zeros interrupt a solve.

    g changes its sign in a step  →  the step is shortened to h_e, so that g(t_k + h_e, Φ(t_k, h_e, x_k)) = 0
    jump                             x⁺ = j(t_e, x_e, u, p), and a new grid begins there

Between two knots a change of sign is seen, and two changes are not: `max_step` bounds what can be missed. Where g = 0
at the start, or up to rounding after an event, the sign of g is that of its rate g_t + g_xᵀ f (backwards in time: the
other). Rounding of t and x moves g by

    |δg| <= ε (|g_t| |t| + Σ |g_x| |x|)

and where a jump leads further away than a multiple of that, the sign is that of g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError
from adjoint.kernels import events as kernels
from adjoint.native import CompiledFunction, compile
from adjoint.ode.given import with_four_arguments
from adjoint.ode.run import Runner, Walk, Watch
from adjoint.step import machine_code
from adjoint.symbolic import trace
from adjoint.symbolic.derivatives import vjp
from adjoint.system import System

__all__ = ["Event", "Watcher"]

Array = NDArray[np.float64]
CRUMBS = 1e3  # units of rounding of a state on an event, after the step that led there and the jump


@dataclass(frozen=True)
class Event:
    """Something that happens where g(t, x, u, p) = 0.

    A change of sign from one knot to the next is seen; a g that is zero at the start has not happened there, and two
    zeros within one step are missed: `max_step` bounds what can be.

    Parameters
    ----------
    g : callable
        A number, in the same plain NumPy style as f.
    direction : int
        1: only where g grows through zero in the course of the solve; -1: only where it falls; 0: both.
    terminal : bool or int
        Whether the solve ends there; an integer: at which time that it happens.
    jump : callable, optional
        ``jump(t, x, u, p)`` returns the state with which the solve goes on.
    name : str, optional
        For messages; by default the function's.

    Examples
    --------
    A ball that bounces: ``Event(lambda t, x, u, p: x[0], direction=-1, jump=lambda t, x, u, p: [x[0], -0.8 * x[1]])``.
    """

    g: Callable[..., Any]
    direction: int = 0
    terminal: bool | int = False
    jump: Callable[..., Any] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.g):
            raise InputError(f"Event: g is {self.g!r}; expected a function g(t, x, u, p).")
        if self.direction not in (-1, 0, 1):
            raise InputError(f"Event: direction is {self.direction!r}; expected -1, 0 or 1.")
        if not isinstance(self.terminal, bool | int) or self.terminal < 0:
            raise InputError(f"Event: terminal is {self.terminal!r}; expected True, False or a number of times.")

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.name if self.name is not None else getattr(self.g, "__name__", "event")


def events_of(given: Any) -> tuple[Event, ...]:
    """The events that the caller gave: one or several, as `Event` or as functions with SciPy's attributes."""
    several = given if isinstance(given, Iterable) else () if given is None else (given,)
    return tuple(
        event if isinstance(event, Event)
        else Event(event, int(getattr(event, "direction", 0)), getattr(event, "terminal", False))
        for event in several
    )  # fmt: skip


class Watcher:
    """The events of one system as machine code, with their derivatives.

    Parameters
    ----------
    system : System
    events : tuple of Event
    n : int
        The states that the events know; more, at the end, are quadratures.
    """

    def __init__(self, system: System, events: tuple[Event, ...], n: int) -> None:
        self.system, self.events = system, events
        arguments: list[tuple[str, int | None]] = [
            ("t", None), ("x", n), ("u", system.m), ("p", system.n_p),
        ]  # fmt: skip
        t, x, u, p = symbols = [
            ca.SX.sym(name, size) for name, size in (("t", 1), ("x", system.n), ("u", system.m), ("p", system.n_p))
        ]
        first, rest = ca.vertsplit(x, [0, n, system.n])
        known = [t, first, u, p]
        traced = [trace(with_four_arguments(event.g), arguments, None, f"event {event.label!r}") for event in events]
        g = ca.vertcat(*(one(*known) for one in traced))
        rate = ca.jtimes(g, ca.vertcat(t, x), ca.vertcat(1, system.graph(*symbols)))
        z = ca.vertcat(t, x)
        rounding = ca.mtimes(ca.fabs(ca.jacobian(g, z)), ca.fabs(z))
        names = ["t", "x", "u", "p"]
        self.rounding = ca.Function("rounding", symbols, [ca.densify(rounding)], names, ["size"])
        self.graph = ca.Function("g", symbols, [ca.densify(g)], names, ["g"])
        self.rates = ca.Function("rate", symbols, [ca.densify(rate)], names, ["rate"])
        self.code = machine_code(self.graph, 1, f"the events of system {system.name!r}")
        self._jump_vjps: dict[int, CompiledFunction] = {}
        self.jumps: list[ca.Function | None] = []
        for event in events:
            if event.jump is None:
                self.jumps.append(None)
                continue
            role = f"jump of event {event.label!r}"
            jump = trace(with_four_arguments(event.jump), arguments, n, role, f"the state has {n} numbers")
            after = ca.densify(ca.vertcat(jump(*known), rest))
            self.jumps.append(ca.Function("jump", symbols, [after], names, ["after"]))

    @cached_property
    def vjp(self) -> CompiledFunction:
        """(t, x, u, p, weights) → g_t, g_x, g_u, g_p."""
        return compile(vjp(self.graph, range(4)))

    def jump_vjp(self, j: int) -> CompiledFunction:
        """(t, x, u, p, seed) → j_t, j_x, j_u, j_p."""
        if j not in self._jump_vjps:
            jump = self.jumps[j]
            assert jump is not None
            self._jump_vjps[j] = compile(vjp(jump, range(4)))
        return self._jump_vjps[j]

    def begin(self, t: float, x: Array, u: Array, p: Array, ahead: float) -> Watch:
        """Events to look for from here on; time runs in the direction `ahead`."""
        size = len(self.events)
        watch = Watch(
            self.code.address, np.empty(size), np.zeros(size, np.int64),
            np.array([event.direction for event in self.events], np.int64), np.zeros(size, np.int64),
        )  # fmt: skip
        self.take_signs(watch, t, x, u, p, ahead, ())
        return watch

    def take_signs(
        self, watch: Watch, t: float, x: Array, u: Array, p: Array, ahead: float, happened: tuple[int, ...],
        x_before: Array | None = None,
    ) -> None:
        """The signs of g just after t: where g = 0, those of its rate. Events that have just happened are at zero up to
        rounding, unless a jump from x_before has led away.
        """
        g, rate = (np.array(graph(t, x, u, p)).ravel() for graph in (self.graph, self.rates))
        if not np.isfinite(g).all():
            j = int(np.argmax(~np.isfinite(g)))
            raise InputError(f"event {self.events[j].label!r} is {g[j]} at t = {t:g}; expected a finite number there.")
        at_zero = g == 0
        at_zero[list(happened)] = True
        if x_before is not None and happened:
            before = np.abs(np.array(self.graph(t, x_before, u, p)).ravel())
            size = np.abs(rate * t)
            for y in (x, x_before):
                size += np.array(self.rounding(t, y, u, p)).ravel()
            at_zero &= (g == 0) | (np.abs(g) <= CRUMBS * (before + np.finfo(float).eps * size))
        watch.signs[:] = np.sign(np.where(at_zero, ahead * rate, g))

    def locate(self, runner: Runner, way: Walk, watch: Watch, before: NDArray[np.int64]) -> tuple[float, list[int]]:
        """The length of the step to the first event in the last step of a walk, and which events happen there.

        `before` are the signs at its beginning. Length 0: the event cannot be told from the beginning of the step.
        """
        k = way.steps
        t, H = float(way.t[k - 1]), float(way.t[k] - way.t[k - 1])
        code = runner.step_code
        arg, res, work = code.scratch()
        if self.code.work_size > work.size:
            work = np.empty(self.code.work_size)
        lengths = {
            j: kernels.shorten(
                code.address, self.code.address, j, float(before[j]), t, H, way.x[k - 1], way.U[way.interval[k - 1]],
                way.p, np.empty(3), np.empty(way.x.shape[1]), watch.g, arg, res, work,
            )
            for j in np.flatnonzero(watch.fired).tolist()
        }  # fmt: skip
        h = min(lengths.values(), key=abs)
        crumb = 8 * np.finfo(float).eps * max(abs(t), abs(t + h))
        return h, [j for j, length in lengths.items() if abs(length - h) <= crumb]
