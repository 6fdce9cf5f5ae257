"""`solve_ensemble`: one system, many initial states or parameters, each with steps of its own.

Members ride on the lanes of a vector register (`kernels.ensemble`); threads, or any executor, share the work. Each
member's grid is the one that `solve_ivp` finds, and its gradient is the backward sweep over it, W members at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from threading import Event
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.kernels import ensemble as kernels
from adjoint.kernels import grid, outputs
from adjoint.method import TSIT5, Method
from adjoint.native import lane_width
from adjoint.ode import given
from adjoint.ode.explicit import ExplicitRunner
from adjoint.ode.run import Control, Points
from adjoint.ode.runners import runner
from adjoint.system import System
from adjoint.trajectory import Trajectory

__all__ = ["Ensemble", "EnsembleGradient", "solve_ensemble"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
PAUSE = 20_000  # rounds between two chances to interrupt
WHY = {
    grid.DONE: "reached the end of the span",
    grid.TOO_MANY: "took max_steps steps without reaching its end",
    grid.UNDERFLOW: "needs steps too short for double precision",
    grid.NONFINITE: "meets inf or nan however short the step",
    grid.INTERRUPTED: "was interrupted",
}


class _Grids(NamedTuple):
    """What the kernel returns for some members; grids one after the other in t and x, from `begin` on."""

    last: Array
    tried: Integers
    status: Integers
    steps: Integers
    begin: Integers
    t: Array
    x: Array


class EnsembleGradient(NamedTuple):
    """∂J/∂x0 (B, n), ∂J/∂u (M, m) or (B, M, m), ∂J/∂p (n_p,) or (B, n_p): summed where all members share u or p."""

    x0: Array
    u: Array
    p: Array


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The result of `solve_ensemble`.

    Attributes
    ----------
    last : array (B, n)
        The state of each member at its end.
    t, x : array (K,), (B, K, n), or None
        The output times and the states there; nan beyond the end of a member that stopped early.
    status : array (B,)
        0, or -1 for a member that stopped early.
    steps, tried : arrays (B,)
        Accepted and tried steps.
    """

    last: Array
    t: Array | None
    x: Array | None
    status: Integers
    steps: Integers
    tried: Integers
    system: System
    method: Method
    options: Control
    stops: Array
    p: Array
    u: Array
    which: Integers
    grids: _Grids

    def __len__(self) -> int:
        return len(self.last)

    @property
    def success(self) -> bool:
        """Whether all members reached their ends."""
        return bool((self.status == 0).all())

    @property
    def message(self) -> str:
        """How it went, in a sentence; the first member that stopped early is named."""
        bad = np.flatnonzero(self.status)
        if not bad.size:
            return f"All {len(self)} members reached the end of the span."
        b = int(bad[0])
        at = f" at t = {self._times(b)[-1]:.6g}" if self.kept else ""
        return (
            f"{bad.size} of {len(self)} members stopped early; the first, number {b}, {WHY[int(self.grids.status[b])]}"
            f"{at}. Solve it alone (solve_ivp) to see more."
        )

    @property
    def kept(self) -> bool:
        """Whether the grids were kept."""
        return bool(self.grids.t.size)

    def _times(self, b: int) -> Array:
        at = int(self.grids.begin[b])
        return self.grids.t[at : at + int(self.steps[b]) + 1]

    def trajectory(self, b: int) -> Trajectory:
        """The grid of member b with its states."""
        self._check_kept("trajectory")
        at, N = int(self.grids.begin[b]), int(self.steps[b])
        t = self.grids.t[at : at + N + 1].copy()
        interval = self._intervals(t)
        u, p = self.u[b if len(self.u) > 1 else 0], self.p[b if len(self.p) > 1 else 0]
        return Trajectory(t, self.grids.x[at : at + N + 1].copy(), u[self.which[interval]], p.copy(), self.system,
                          self.method)

    def _intervals(self, t: Array) -> Integers:
        sign = 1.0 if self.stops[-1] > self.stops[0] else -1.0
        found = np.searchsorted(sign * self.stops, sign * t[:-1], side="right") - 1
        return np.asarray(found, np.int64)

    def _check_kept(self, what: str) -> None:
        if not self.kept:
            raise InputError(f"{what}: the grids were not kept. Solve with keep=True.")

    def _check_seeded(self, seeds: Array) -> None:
        """Refuse a J that looks at members which stopped early."""
        if seeds.ndim < 2 or len(seeds) != len(self):
            return  # the shape is told elsewhere
        looked_at = (seeds != 0).reshape(len(self), -1).any(axis=1) & (self.status != 0)
        if looked_at.any():
            first = int(np.argmax(looked_at))
            raise InputError(
                f"sweep: J depends on {np.count_nonzero(looked_at)} members that stopped early, the first of them "
                f"number {first}. Set their seeds to zero (status != 0), or solve again without them."
            )

    def sweep(self, dx: ArrayLike | None = None, dlast: ArrayLike | None = None) -> EnsembleGradient:
        """The gradient of a number J of all members: the backward sweep, as many members at a time as there are lanes.

        Parameters
        ----------
        dx : array_like (B, K, n), optional
            ∂J/∂x at the outputs.
        dlast : array_like (B, n), optional
            ∂J/∂x at the end of each member.

        Raises
        ------
        InputError
            If a shape does not fit, or a member that stopped early is seeded.
        """
        self._check_kept("sweep")
        B, n, m, n_p = len(self), self.system.n, self.system.m, self.system.n_p
        q_last = np.zeros((B, n)) if dlast is None else given.numbers("dlast", dlast)
        if q_last.shape != (B, n):
            raise InputError(f"dlast has shape {q_last.shape}; expected ({B}, {n}).")
        self._check_seeded(q_last)
        q = s = r = None
        if dx is not None:
            self._check_seeded(np.asarray(dx, dtype=np.float64))
            q, r, s = self._output_seeds(dx)
        engine = runner(self.system, self.method)
        W = lane_width()
        order = np.argsort(self.steps, kind="stable")
        order = np.concatenate([order, np.full(-B % W, order[-1])])
        x0, gp = np.empty((B, n)), np.zeros((B, n_p))
        gu = np.zeros((B, *self.u.shape[1:]))
        per_member = len(self.p) > 1
        for first in range(0, B, W):
            members = order[first : first + W]
            mine = min(W, B - first)
            N = int(self.steps[members].max())
            if N == 0:
                x0[members[:mine]] = q_last[members[:mine]]
                continue
            t, h, x = np.empty((N, W)), np.empty((N, W)), np.empty((N + 1, n, W))
            kernels.pack(self.grids.t, self.grids.x, self.grids.begin, self.steps, members, t, h, x)
            u = np.empty((1, N, m, W))
            intervals = []
            if m:
                for w, b in enumerate(members):
                    inner = self.which[self._intervals(self._times(b))]
                    row = np.concatenate([np.full(N - inner.size, inner[0]), inner])
                    intervals.append(row)
                    u[0, :, :, w] = self.u[b if len(self.u) > 1 else 0][row]
            p = np.ascontiguousarray(self.p[members if per_member else np.zeros(W, int)].T)[None]
            seed = np.zeros((1, N + 1 if q is not None else 1, n, W))
            seed[0, -1, :, :mine] = q_last[members[:mine]].T
            r_block = np.zeros((1, N if r is not None else 0, m, W))
            for w, b in enumerate(members[:mine]):
                if q is not None:
                    N_b, at = int(self.steps[b]), int(self.grids.begin[b])
                    seed[0, N - N_b :, :, w] += q[at : at + N_b + 1]
                    if r is not None:
                        r_block[0, N - N_b :, :, w] += r[at : at + N_b]
            lam, g_u, g_p = np.empty((1, N + 1, n, W)), np.empty((1, N, m, W)), np.zeros((1, n_p, W))
            engine.step.backward(t, h, x[None], u, p, seed, r_block, lam, g_u, g_p)
            x0[members[:mine]] = lam[0, 0, :, :mine].T
            gp[members[:mine]] = g_p[0, :, :mine].T
            for w, b in enumerate(members[:mine]):
                if m:
                    np.add.at(gu[b], intervals[w], g_u[0, :, :, w])
        if s is not None:
            gp += s
        return EnsembleGradient(
            x0, gu if len(self.u) > 1 else gu.sum(axis=0), gp if per_member else gp.sum(axis=0)
        )

    @cached_property
    def _places(self) -> tuple[Integers, Integers, Array]:
        """Of every output that was reached: member, row in the kept grids, θ."""
        assert self.t is not None
        member, row, theta = [], [], []
        sign = 1.0 if self.stops[-1] > self.stops[0] else -1.0
        for b in range(len(self)):
            grid_t = self._times(b)
            reached = self.t[sign * self.t <= sign * grid_t[-1]]
            k, within = np.empty(reached.size, np.int64), np.empty(reached.size)
            outputs.place(grid_t, reached, k, within)
            theta.append(within)
            row.append(k + int(self.grids.begin[b]))
            member.append(np.full(reached.size, b))
        return np.concatenate(member), np.concatenate(row), np.concatenate(theta)

    def _points(self, member: Integers, row: Integers, theta: Array) -> Points:
        t, x = self.grids.t[row], self.grids.x[row]
        interval = np.searchsorted(self.stops * (1 if self.stops[-1] > self.stops[0] else -1),
                                   t * (1 if self.stops[-1] > self.stops[0] else -1), side="right") - 1
        u = self.u[member if len(self.u) > 1 else 0, self.which[interval]]
        p = self.p[member] if len(self.p) > 1 else self.p[0]
        return Points(t, self.grids.t[row + 1] - t, x, u, p, theta)

    def outputs(self) -> Array:
        """The states at the output times: (B, K, n)."""
        assert self.t is not None
        member, row, theta = self._places
        column = np.concatenate([np.arange(c) for c in np.bincount(member, minlength=len(self))])
        x = np.full((len(self), self.t.size, self.system.n), math.nan)
        x[member, column] = self.grids.x[row]
        inside = theta > 0
        if inside.any():
            at = self._points(member[inside], row[inside], theta[inside])
            x[member[inside], column[inside]] = runner(self.system, self.method).dense(at)
        return x

    def _output_seeds(self, dx: ArrayLike) -> tuple[Array, Array | None, Array]:
        """∂J/∂x at the outputs brought to the kept grids: q (rows, n), r (rows, m), and s (B, n_p)."""
        if self.t is None or self.x is None:
            raise InputError("dx: the ensemble has no outputs. Solve with t_eval, or seed the ends with dlast.")
        seed = np.asarray(dx, dtype=np.float64)
        if seed.shape != self.x.shape:
            raise InputError(f"dx has shape {seed.shape}; expected {self.x.shape}.")
        member, row, theta = self._places
        column = np.concatenate([np.arange(c) for c in np.bincount(member, minlength=len(self))])
        chosen = seed[member, column]
        if not np.isfinite(chosen).all():
            raise InputError("dx has an entry that is not finite.")
        q, s = np.zeros_like(self.grids.x), np.zeros((len(self), self.system.n_p))
        inside = theta > 0
        np.add.at(q, row[~inside], chosen[~inside])
        r = None
        if inside.any():
            at = self._points(member[inside], row[inside], theta[inside])
            _, _, g_x, g_u, g_p, _ = runner(self.system, self.method).dense_vjp(at, chosen[inside])
            np.add.at(q, row[inside], g_x)
            np.add.at(s, member[inside], g_p)
            if self.system.m:
                r = np.zeros((len(q), self.system.m))
                np.add.at(r, row[inside], g_u)
        return q, r, s


def solve_ensemble(
    system: System | Callable[..., Any],
    t_span: tuple[float, float],
    x0: ArrayLike,
    *,
    u: ArrayLike | None = None,
    p: ArrayLike | None = None,
    knots: ArrayLike | None = None,
    method: Method = TSIT5,
    rtol: float = 1e-6,
    atol: ArrayLike = 1e-9,
    t_eval: ArrayLike | None = None,
    max_step: float = math.inf,
    first_step: float | None = None,
    max_steps: int = 1_000_000,
    keep: bool = False,
    threads: int = 1,
    executor: Executor | None = None,
) -> Ensemble:
    """Solve an initial-value problem for many initial states, parameters or controls.

    Parameters
    ----------
    system, t_span, knots, method, rtol, atol, t_eval, max_step, first_step, max_steps
        As for `solve_ivp`.
    x0 : array_like (B, n), or (n,)
    u : array_like (m,), (M, m), or (B, M, m)
    p : array_like (n_p,), or (B, n_p)
        What is not a batch is shared by all members.
    keep : bool
        Keep the grids, for gradients; with t_eval they are kept anyway.
    threads : int
        Threads of this process.
    executor : concurrent.futures.Executor, optional
        Who does the work instead, in pieces: a pool of processes, or of machines.

    Returns
    -------
    Ensemble

    Raises
    ------
    InputError
        If an argument does not fit.
    """
    starts, parameters = given.numbers("x0", x0), given.numbers("p", () if p is None else p)
    held = None if u is None else given.numbers("u", u)
    made = given.system_of(system, starts, held, parameters)
    n, m, n_p = made.n, made.m, made.n_p
    batches = {}
    for name, array, rank in (("x0", starts, 1), ("p", parameters, 1), ("u", held, 2)):
        if array is not None and array.ndim > rank:
            batches[name] = len(array)
    if len(set(batches.values())) != 1:
        raise InputError(
            "solve_ensemble: " + (f"the sizes differ: {batches}." if batches else "nothing is a batch.")
            + " Give x0 (B, n), p (B, n_p) or u (B, M, m), and all that are batches of one size B."
        )
    B = next(iter(batches.values()))
    if starts.shape[-1:] != (n,) or parameters.shape[-1:] != (n_p,) or B == 0:
        raise InputError(
            f"x0 has shape {starts.shape} and p {parameters.shape}; system {made.name!r} has {n} states and {n_p} "
            "parameters, and an ensemble at least one member."
        )
    starts = np.ascontiguousarray(np.broadcast_to(starts, (B, n)))
    t0, t1 = given.span(t_span)
    several = held is not None and held.ndim == 3
    stops, _, controls, which = given.intervals(made, held[0] if several and held is not None else held, knots, t0, t1)
    all_u = held if several and held is not None else controls[None]
    if all_u.shape[1:] != controls.shape:
        raise InputError(f"u has shape {all_u.shape}; expected (B, {controls.shape[0]}, {m}).")
    options = given.control(made, rtol, atol, max_step, first_step, max_steps, abs(t1 - t0))
    outputs = None if t_eval is None else given.output_times(t_eval, t0, t1)
    if not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads is {threads!r}; expected a positive integer.")
    engine = runner(made, method)
    if not isinstance(engine, ExplicitRunner):
        raise InputError(f"ensembles take explicit methods; {method.name} is none. Loop over solve_ivp.")

    all_p = np.atleast_2d(parameters)
    pieces = np.array_split(np.arange(B), min(B, threads if executor is None else max(threads, 4 * _workers(executor))))
    keep = keep or outputs is not None
    tasks = [
        (made, method, options, stops, starts[i[0] : i[-1] + 1], all_u[i[0] : i[-1] + 1, :][:, which] if several
         else all_u[:, which], all_p[i[0] : i[-1] + 1] if len(all_p) > 1 else all_p, keep)
        for i in pieces
    ]  # fmt: skip
    _ = engine.embedded_lanes, engine.rhs_lanes  # compiled once, here, and not by each thread
    if executor is not None:
        done = list(executor.map(_solve_members, *zip(*tasks, strict=True)))
    elif threads > 1:
        stop = Event()
        with ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(_solve_members, *task, stop) for task in tasks]
            try:
                done = [future.result() for future in futures]
            except KeyboardInterrupt:  # the threads do not see it
                stop.set()
                done = [future.result() for future in futures]
    else:
        done = [_solve_members(*tasks[0])]
    grids = _joined(done)
    status = np.where(grids.status == grid.DONE, 0, -1)
    fields = (status, grids.steps, grids.tried, made, method, options, stops, all_p, all_u, which, grids)
    result = Ensemble(grids.last, outputs, None, *fields)
    return result if outputs is None else Ensemble(grids.last, outputs, result.outputs(), *fields)


def _workers(executor: Executor) -> int:
    return int(getattr(executor, "_max_workers", 1))


def _solve_members(
    system: System, method: Method, options: Control, stops: Array, x0: Array, U: Array, p: Array, keep: bool,
    stop: Event | None = None,
) -> _Grids:  # fmt: skip
    """Some members, in one thread."""
    engine = runner(system, method)
    assert isinstance(engine, ExplicitRunner)
    embedded, rhs = engine.embedded_lanes, engine.rhs_lanes
    (B, n), m, n_p, W = x0.shape, U.shape[2], p.shape[1], embedded.lanes
    block = np.zeros((kernels.HEAD + 6 * n + m + n_p, W))
    flag = np.zeros((kernels.FLAGS, W), np.int64)
    flag[kernels.MEMBER] = -1
    room = 128 if keep else 1
    t_lane, x_lane = np.empty((W, room)), np.empty((W, room, n))
    size = (B + W) * 64 if keep else 0
    t_kept, x_kept = np.empty(size), np.empty((size, n))
    count = np.zeros(2, np.int64)
    option = np.array([
        options.rtol, options.max_step, options.first_step, options.max_steps, *engine.controller, options.counted
    ])  # fmt: skip
    last = x0.copy()
    tried, status, steps, begin = (np.zeros(B, np.int64) for _ in range(4))
    status[:] = grid.INTERRUPTED
    arg, res, work = embedded.scratch()
    work = np.empty(max(1, W * max(embedded.work_size, rhs.work_size)))
    U, p = np.ascontiguousarray(U), np.ascontiguousarray(p)
    try:
        while stop is None or not stop.is_set():
            how = kernels.run(
                embedded.address, rhs.address, stops, x0, U, p, options.atol, option, block, flag, count, PAUSE, last,
                tried, status, steps, begin, t_kept, x_kept, t_lane, x_lane, arg, res, work,
            )  # fmt: skip
            if how == grid.DONE:
                break
            if how == grid.FULL:
                if flag[kernels.STEPS].max() + 2 > room:
                    room *= 2
                    t_lane, x_lane = _wider(t_lane, room), _wider(x_lane, room)
                if int(count[1]) + W * (room + 1) > size:
                    size = 2 * size + W * (room + 1)
                    t_kept, x_kept = _longer(t_kept, size), _longer(x_kept, size)
    except KeyboardInterrupt:
        pass  # what is finished is kept
    used, late = int(count[1]), np.flatnonzero(status == grid.INTERRUPTED)
    t_kept, x_kept = t_kept[:used].copy(), x_kept[:used].copy()
    if keep and late.size:  # members that were not finished stand at their beginning
        begin[late] = used + np.arange(late.size)
        t_kept = np.append(t_kept, np.full(late.size, stops[0]))
        x_kept = np.concatenate([x_kept, x0[late]])
    return _Grids(last, tried, status, steps, begin, t_kept, x_kept)


def _longer(a: Array, rows: int) -> Array:
    long = np.empty((rows, *a.shape[1:]))
    long[: len(a)] = a
    return long


def _wider(a: Array, room: int) -> Array:
    wide = np.empty((a.shape[0], room, *a.shape[2:]))
    wide[:, : a.shape[1]] = a
    return wide


def _joined(done: list[_Grids]) -> _Grids:
    if len(done) == 1:
        return done[0]
    offsets = np.cumsum([0, *(part.t.size for part in done[:-1])])
    begin = np.concatenate([part.begin + offset for part, offset in zip(done, offsets, strict=True)])
    return _Grids(
        np.concatenate([part.last for part in done]), np.concatenate([part.tried for part in done]),
        np.concatenate([part.status for part in done]), np.concatenate([part.steps for part in done]), begin,
        np.concatenate([part.t for part in done]), np.concatenate([part.x for part in done]),
    )  # fmt: skip
