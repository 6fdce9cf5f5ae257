"""The gradient over any number of steps in a given amount of memory.

    J = φ(t_N, x_N, p) + ∫ ℓ(t, x, u, p) dt  (+ whatever seeds q_k = ∂J/∂x_k the caller has)

The sweep is the one of `adjoint.sweep`, segment after segment from the last to the first; a segment hands its first
costate λ to the one before it, where it is the seed of the last knot, and both add to the same ∂J/∂p. Only a few
states are kept; the others are computed again when their segment comes to be reversed (`adjoint.ode.schedule`). The
same operations on the same numbers in the same order: the gradient has the bits of the sweep that keeps all states.
For recurrent cells, whose work is done in chunks of steps, segments are multiples of a chunk for this reason. (One
exception: where more paths than a vector register has lanes share one p, their sum is taken in another order.)

The running cost is one more state (`adjoint.ode.running`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.cell_step import CellStep, chunk
from adjoint.errors import AdjointError, InputError
from adjoint.kernels import sweep as kernels
from adjoint.layout import Lanes, Rows
from adjoint.method import RK4, Method
from adjoint.native import CompiledFunction
from adjoint.ode.grid import Controls, Knots, controls, knots
from adjoint.ode.running import with_running
from adjoint.ode.schedule import Advance, Reverse, Schedule, in_bytes, plan
from adjoint.step import Step
from adjoint.sweeps import rollout
from adjoint.symbolic import trace
from adjoint.system import System

__all__ = ["Checkpointed", "checkpointed"]

Array = NDArray[np.float64]
ControlsLike = ArrayLike | Callable[[int, int], ArrayLike] | None

OVERHEAD = 20_000  # bytes for the objects of Python


@dataclass(frozen=True, eq=False)
class Checkpointed:
    """A number J and its gradient over a long run, and how they were made.

    Attributes
    ----------
    value : float, or array (batch,)
        J, as far as `terminal` and `running` make it up.
    x0, p : array
        ∂J/∂x_0 and ∂J/∂p, in the shapes of `Gradient`.
    u : array or None
        ∂J/∂u: (m,) or (batch, m) for a constant; (N, m) or (batch, N, m) for an array; None for a function.
    end : array (n,), or (batch, n)
        x_N.
    schedule : Schedule
    """

    value: float | Array
    x0: Array
    u: Array | None
    p: Array
    end: Array
    schedule: Schedule

    def __post_init__(self) -> None:
        for array in (self.value, self.x0, self.u, self.p, self.end):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    def __repr__(self) -> str:
        value = f"{self.value:.9g}" if isinstance(self.value, float) else f"of {np.size(self.value)} paths"
        return f"Checkpointed(J {value}; {self.schedule})"


def checkpointed(
    system: System,
    x0: ArrayLike,
    u: ControlsLike = None,
    t: ArrayLike | tuple[float, float, int] | None = None,
    p: ArrayLike | None = None,
    *,
    memory: str | float,
    method: Method = RK4,
    steps: int | None = None,
    terminal: Callable[[Any, Any, Any], Any] | None = None,
    running: Callable[[Any, Any, Any, Any], Any] | None = None,
    dx: ArrayLike | Callable[[int, Array], ArrayLike] | None = None,
    du: Callable[[int, Array], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checkpointed:
    """The gradient of J over a run of any length, within a budget of memory; the same bits as with all states kept.

    Parameters
    ----------
    system : System
    x0 : array_like (n,), or (batch, n)
    u : array_like or callable, optional
        (m,), a constant; (N, m) or (batch, N, m); or a function u(first, last) that returns (last - first, m), the
        controls of the steps first … last - 1, whenever they are asked for.
    t : tuple (t0, t1, N), or array_like (N+1,)
        N equal steps, whose knots (those of ``np.linspace(t0, t1, N + 1)``) need no memory; or the knots. A discrete
        system may do without: knots 0, 1, 2, …
    p : array_like (n_p,), or (batch, n_p)
    memory : str, or bytes
        ``"64 MB"``. It holds states and all else whose size depends on the schedule; not what the caller gives and gets
        (u, t and p as arrays, and their gradients).
    method : Method
        Explicit, for a continuous system.
    steps : int, optional
        N, for a discrete system without t whose u does not tell.
    terminal : callable, optional
        φ(t, x, p) at the end, traced.
    running : callable, optional
        ℓ(t, x, u, p), traced; integrated by the method, or summed over the steps of a map. For systems with a graph.
    dx : array_like (n,) or (batch, n), or callable, optional
        More of ∂J/∂x: at the last knot; or a function dx(first, x) of the states x at the knots first, first + 1, …,
        with the shape of x, which is called for each knot once, the last ones first.
    du : callable, optional
        For u as a function: is called as du(first, g) with g = ∂J/∂u at the steps first, first + 1, …
    progress : callable, optional
        Is called as progress(done, N) with the steps that have been swept back. `adjoint.progress.bar` is one.

    Returns
    -------
    Checkpointed

    Raises
    ------
    InputError
        If an argument does not fit the system, or the budget holds not even the shortest segment.
    AdjointError
        If a state becomes inf or nan; the message names the state, the step and the time.

    Notes
    -----
    Ctrl-C ends the sweep between two segments; a gradient that lacks steps is of no use, so there is no result.

    Examples
    --------
    >>> import adjoint
    >>> decay = adjoint.System(lambda t, x, u, p: [-p[0] * x[0]], states="x", parameters="rate")
    >>> g = checkpointed(decay, [1.0], t=(0, 1, 100_000), p=[2.0], memory="50 kB", terminal=lambda t, x, p: x[0])
    >>> print(round(g.value, 9), round(g.p[0], 9))                       # exp(-2) and -exp(-2)
    0.135335283 -0.135335283
    """
    if not isinstance(system, System):
        raise InputError(f"checkpointed: the first argument is {type(system).__name__}; expected a System.")
    if terminal is None and running is None and dx is None:
        raise InputError("checkpointed: none of terminal, running and dx is given; J needs at least one of them.")
    budget, grid = in_bytes(memory), knots(system, t, steps, u)
    # One step by `rollout` checks what there is to check.
    first_u = u(0, 1) if callable(u) else controls(system, u, None, grid.N, None).between(0, 1)
    probe = rollout(system, x0, first_u, grid.between(0, 1), p, method, allow_nonfinite=True)
    batch, n = probe.batch, system.n
    given = controls(system, u, du, grid.N, batch)
    size = n if running is None else n + 1
    moving = system if running is None else with_running(system, running)
    step = moving.step(probe.method)
    start = np.zeros((batch or 1, size))
    start[:, :n] = probe.x[..., 0, :]
    run = _Run(system, step, grid, given, start, probe.p, batch, budget, callable(dx))
    phi = None if terminal is None else _compiled_terminal(system, terminal)

    value, end, gp = np.zeros(run.paths), start, run.layout.parameter_seed(np.zeros(probe.p.shape))
    last_seed = np.zeros(start.shape)
    for action in run.schedule.actions():
        if isinstance(action, Advance):
            run.advance(action)
            continue
        x = run.states(action)
        if action.last == grid.N:  # the end of the run, which is reached once: J, and its seeds
            end = run.by_path(x[:, -1]).copy()
            value, last_seed, s = _at_the_end(phi, grid.t1, end, probe.p, n)
            gp = run.layout.parameter_seed(s)
            if dx is not None and not callable(dx):
                last_seed[:, :n] += _seed("dx", dx, end[:, :n].shape, system, batch)
        own = None
        if callable(dx):
            states = run.by_path(x)[:, : None if action.last == grid.N else -1, :n]
            own = np.zeros((*states.shape[:-1], size))
            q = dx(action.first, states if batch is not None else states[0])
            own[..., :n] = _seed(f"dx({action.first}, x)", q, states.shape, system, batch)
        run.back(action, x, last_seed, own, gp)
        if progress is not None:
            progress(grid.N - action.first, grid.N)
    x0_gradient, single = run.costate()[:, :n], batch is None
    return Checkpointed(
        float(value[0]) if single else value,
        (x0_gradient[0] if single else x0_gradient).copy(),
        given.gradient(single),
        run.layout.parameter_gradient(gp, probe.p),
        (end[0, :n] if single else end[:, :n]).copy(),
        run.schedule,
    )


# ---- the work ------------------------------------------------------------------------------------


class _Run:
    """The memory of one checkpointed sweep, and what is done in it."""

    def __init__(
        self, system: System, step: Step, grid: Knots, given: Controls, start: Array, p: Array, batch: int | None,
        budget: int, seeded: bool,
    ) -> None:  # fmt: skip
        self.system, self.step, self.grid, self.given, self.batch = system, step, grid, given, batch
        self.paths, self.size = start.shape
        self.layout = layout = step.layout(self.paths, p.ndim == 1)
        self.p = layout.parameters(p)
        cell = step if isinstance(step, CellStep) else None
        rows = self.paths if layout == Rows(True) else 1
        self.with_gu = cell is None or given.wanted  # a traced step writes ∂J/∂u in any case

        # Bytes: of one state; per step of a segment that is reversed; and what is there anyway.
        numbers = 8 * math.prod(layout.shape(self.paths, 1, 1))
        knot = numbers * self.size
        per_step = knot + 24 + 16 * layout.pack(start).shape[-1] * isinstance(layout, Lanes)
        per_step += 5 * numbers * system.m + (6 * knot if seeded else 0)  # as they pass through the layout
        fixed, grain = OVERHEAD + 8 * knot, 1
        if cell is not None:
            grain = chunk(rows)
            fixed += 8 * (grain * rows * cell.sizes[3] + 2 * cell.work_size(rows))
        self.schedule = plan(grid.N, knot, per_step, budget, fixed, grain)

        packed = layout.pack(start)
        self.kept = np.empty((self.schedule.places + 1, *packed.shape))  # the last is for a state that is not kept
        self.kept[0] = packed
        segment = self.schedule.segment
        self.x = np.empty(math.prod(layout.shape(self.paths, segment + 1, self.size)))
        self.gu = np.empty(math.prod(layout.shape(self.paths, segment if self.with_gu else 0, system.m)))
        self.lam = np.empty(layout.shape(self.paths, 2, self.size))
        self.r = np.zeros(layout.shape(self.paths, 0, system.m))
        self.reached = 0  # beyond the last knot that has been seen, states are checked

    def advance(self, action: Advance) -> None:
        """From one kept state to another, a segment at a time."""
        segment, state = self.schedule.segment, self.kept[action.source]
        for k in range(action.first, action.last, segment):
            state = self._forward(k, min(k + segment, action.last), state)[:, -1].copy()
        self.kept[action.target] = state

    def states(self, action: Reverse) -> Array:
        """All states of a segment, from its kept first one."""
        return self._forward(action.first, action.last, self.kept[action.source])

    def back(self, action: Reverse, x: Array, last_seed: Array, own: Array | None, gp: Array) -> None:
        """The sweep over a segment. `last_seed` belongs to x_N; `own` to the knots of the segment but its last one,
        which has λ of the segment after it.
        """
        first, last, _ = action
        at_end = last == self.grid.N
        seed = self.layout.pack(last_seed, pad_with_zero=True) if at_end else self.lam[:, 0].copy()
        if own is None:
            q = seed[:, None]
        else:
            q = np.empty(x.shape)
            q[:, : own.shape[1]] = self.layout.pack(own, pad_with_zero=True)
            q[:, -1] = q[:, -1] + seed if at_end else seed
        shape = self.layout.shape(self.paths, last - first if self.with_gu else 0, self.system.m)
        gu = self.gu[: math.prod(shape)].reshape(shape)
        t, h = self.layout.times(self.grid.between(first, last))
        # λ is kept at two knots, k mod 2: λ_first ends up in the first place.
        self.step.backward(t, h, x, self._u(first, last), self.p, q, self.r, self.lam, gu, gp)
        if self.given.wanted:
            self.given.collect(first, self.by_path(gu))

    def costate(self) -> Array:
        """λ at the first knot of the segment that was swept last: (paths, size)."""
        return self.by_path(self.lam[:, 0])

    def by_path(self, a: Array) -> Array:
        """(paths, …), perhaps a view."""
        return self.layout.unpack(np.ascontiguousarray(a), self.paths)

    def _forward(self, first: int, last: int, start: Array) -> Array:
        shape = self.layout.shape(self.paths, last - first + 1, self.size)
        x = self.x[: math.prod(shape)].reshape(shape)
        x[:, 0] = start
        t, h = self.layout.times(self.grid.between(first, last))
        check = kernels.EVERY_STEP if last > self.reached else kernels.NEVER
        bad = self.step.forward(t, h, x, self._u(first, last), self.p, check)
        self.reached = max(self.reached, last)
        if bad >= 0:
            block, k = divmod(bad, last - first)
            states = self.layout.unpack(np.ascontiguousarray(x[block : block + 1, k + 1]), self.paths)
            path, e = (int(i) for i in np.argwhere(~np.isfinite(states))[0])
            name = self.system.states[e] if e < self.system.n else "running cost"
            which = "" if self.batch is None else f" of path {min(block * len(states) + path, self.batch - 1)}"
            raise AdjointError(
                f"the state {name} became {states[path, e]} at step {first + k} (t = {t[k, 0]:g}){which} of system "
                f"{self.system.name!r}. Take shorter steps, check x0, u and p."
            )
        return x

    def _u(self, first: int, last: int) -> Array:
        u = self.given.between(first, last)
        if u.ndim == 2:
            u = np.broadcast_to(u, (self.paths, *u.shape))
        return self.layout.pack(np.ascontiguousarray(u))


# ---- the seeds -----------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _compiled_terminal(system: System, terminal: Callable[..., Any]) -> CompiledFunction:
    """(t, x, p) → φ, ∂φ/∂x, ∂φ/∂p."""
    arguments: list[tuple[str, int | None]] = [("t", None), ("x", system.n), ("p", system.n_p)]
    graph = trace(terminal, arguments, None, f"terminal cost over system {system.name!r}")
    t, x, p = (ca.SX.sym(name, graph.size1_in(i)) for i, name in enumerate("txp"))
    phi = graph(t, x, p)
    outputs = [phi, *(ca.densify(ca.gradient(phi, z)) for z in (x, p))]
    return CompiledFunction(ca.Function("terminal", [t, x, p], outputs))


def _at_the_end(phi: CompiledFunction | None, t: float, end: Array, p: Array, n: int) -> tuple[Array, Array, Array]:
    """J (paths,), its seed at the last knot (paths, size), and ∂J/∂p as far as it is explicit."""
    seed = np.zeros(end.shape)
    value, s = np.zeros(len(end)), np.zeros(p.shape)
    if phi is not None:
        cost, seed[:, :n], s_each = phi(np.array([t]), np.ascontiguousarray(end[:, :n]), p)
        value += np.reshape(cost, -1)
        s = s_each if p.ndim == 2 else s_each.sum(axis=0)
    if end.shape[1] > n:
        value, seed[:, n] = value + end[:, n], 1.0
    return value, seed, s


def _seed(name: str, value: ArrayLike, shape: tuple[int, ...], system: System, batch: int | None) -> Array:
    """A caller's seed, checked: of `shape` (paths, …), or without its first axis where there is no batch."""
    expected = shape if batch is not None else shape[1:]
    seed = np.asarray(value, dtype=np.float64)
    if seed.shape != expected or not np.isfinite(seed).all():
        raise InputError(
            f"{name} has shape {seed.shape}; expected finite numbers of shape {expected} for system {system.name!r}."
        )
    return seed.reshape(shape)
