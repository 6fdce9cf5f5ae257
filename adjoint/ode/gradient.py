"""The gradient through an adaptive solve: the one backward sweep over the grid that was found.

    outputs        x(t_j) = D(t_k, h_k, θ_j, x_k, u_k, p)                 seeds dx_j = ∂J/∂x(t_j)
    seeds          q_k += (∂D/∂x)ᵀ dx_j,   r_k += (∂D/∂u)ᵀ dx_j,   s += (∂D/∂p)ᵀ dx_j
    sweep          λ_k = A_kᵀ λ_{k+1} + q_k,  ∂J/∂u = B_kᵀ λ_{k+1} + r_k,  ∂J/∂p = Σ C_kᵀ λ_{k+1} + s
    ends           ∂J/∂t_1 = λ_Nᵀ ∂Φ_{N-1}/∂h,    ∂J/∂t_0 = λ_1ᵀ (∂Φ_0/∂t - ∂Φ_0/∂h)

An event ends a step at x_e = Φ(t_k, h_e, x_k, u, p) where g(t_e, x_e, u, p) = 0. With ν = ∂J/∂x_e, μ = ∂J/∂t_e at fixed
x_e, and ġ = g_t + g_xᵀ ∂Φ/∂h,

    dt_e = -(g_xᵀ δx_e + g_uᵀ δu + g_pᵀ δp) / ġ            δx_e the perturbation at fixed time
    κ    = (μ + νᵀ ∂Φ/∂h) / ġ
    λ_e  = ν - κ g_x,      ∂J/∂u -= κ g_u,      ∂J/∂p -= κ g_p                     the jump of the costate

and where the state jumps, x⁺ = j(t_e, x_e, u, p): ν += j_xᵀ λ⁺ and μ += j_tᵀ λ⁺ + (what the next grid owes to its t_0).

**What is held fixed.** The grid is data: its inner knots stay where they are. (How the error control would have moved
them is an effect of the size of the error, and not differentiable: a step is accepted or it is not.) When an end of the
span moves, the first or the last step changes its length; so do the steps on both sides of an event at which the state
jumps. An output at a time of its own, t_eval, keeps that time; an output at an end of the span moves with it. Of the
numbers computed under this rule the gradient is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.kernels.outputs import add_rows
from adjoint.ode.accuracy import tolerance_in_J, warn
from adjoint.ode.pieces import Piece, points

if TYPE_CHECKING:
    from adjoint.ode.solution import OdeSolution

__all__ = ["OdeGradient", "output_seeds", "sweep"]

Array = NDArray[np.float64]
EPS = float(np.finfo(float).eps)
_NONE = np.zeros((1, 0, 1, 1))
_START = np.zeros(1, np.int64), np.zeros(1)


@dataclass(frozen=True, eq=False)
class OdeGradient:
    """The derivative of a number J of a solve with respect to everything the solve was made from.

    Attributes
    ----------
    x0 : array (n,)
    u : array (M, m)
        With respect to the control in each interval between knots.
    p : array (n_p,)
    costate : array (K, n)
        λ_k = ∂J/∂x_k at the knots of the grid; where the state jumps, one row before and one after.
    t0, t1 : float
        With respect to the ends of the span; see the header of `adjoint.ode.gradient` for what is held fixed.
    """

    x0: Array
    u: Array
    p: Array
    costate: Array
    solution: OdeSolution
    ends: Ends

    @cached_property
    def rounding(self) -> float:
        """How far rounding moves J, about: √Σ_k (λ_kᵀ (ε |x_k|))², as if each step rounded each state once."""
        x = np.concatenate([piece.path.x for piece in self.solution.pieces])[:, : self.costate.shape[1]]
        return float(EPS * np.linalg.norm(self.costate * x))

    @cached_property
    def truncation(self) -> float:
        """How far the error control lets J move, about; see `adjoint.ode.accuracy`."""
        x = np.concatenate([piece.path.x for piece in self.solution.pieces])[:, : self.costate.shape[1]]
        return tolerance_in_J(self.solution, x, self.costate)

    @cached_property
    def t0(self) -> float:
        """∂J/∂t_0."""
        return by_start(self.solution, self.solution.pieces[0], self.ends.after_first) + self.ends.first

    @cached_property
    def t1(self) -> float:
        """∂J/∂t_1; zero if a terminal event ended the solve before."""
        if self.ends.nu is None:
            return 0.0
        return by_length(self.solution, self.solution.pieces[-1], self.ends.nu) + self.ends.last


class Ends(NamedTuple):
    """λ_1 of the first piece and ν of the last, and what outputs in the first and last step owe to the ends."""

    after_first: Array
    nu: Array | None
    first: float
    last: float


class Seeds(NamedTuple):
    """What the outputs in one piece contribute: q (N+1 or 1, n), r, g_u and what is owed to both ends."""

    q: Array
    r: Array
    first: float
    last: float


def sweep(
    solution: OdeSolution,
    dx: ArrayLike | None = None,
    dlast: ArrayLike | None = None,
    dintegral: float = 0.0,
    dt_events: Sequence[ArrayLike] | None = None,
    dx_events: Sequence[ArrayLike] | None = None,
) -> OdeGradient:
    """The gradient of a number J of a solve. See `OdeSolution.sweep`."""
    pieces, n = solution.pieces, solution.system.n
    n_p, total = pieces[0].path.p.size, pieces[0].path.x.shape[1]
    s = np.zeros((1, n_p, 1))
    g_u = np.zeros(solution.u.shape)
    seeds = output_seeds(solution, dx, s)
    nu = seeds[-1].q[-1]  # where λ_N is collected: a view
    if dlast is not None:
        nu[:n] += seed_of("dlast", dlast, (n,))
    if dintegral:
        if total == n:
            raise InputError("dintegral is given, but the solve had no running=.")
        nu[n] += dintegral
    by_event = _event_seeds(solution, dt_events, dx_events)
    costates: list[Array] = []
    moved = 0.0  # μ: what the piece after owes to the time of its start
    ended: Array | None = nu
    after_first, first = np.zeros(0), 0.0
    for i in range(len(pieces) - 1, -1, -1):
        piece, (q, r, begin, end) = pieces[i], seeds[i]
        if by_event or i < len(pieces) - 1 or solution.status == 1:
            q = _through_events(solution, i, q, end, moved, by_event, costates[-1][0] if costates else None, s, g_u)
            if solution.status == 1 and i == len(pieces) - 1:
                ended = None
        lam, gu = sweep_piece(solution, piece, q, r, s)
        if g_u.size:
            add_rows(piece.interval, gu, g_u)
        costates.append(lam)
        if i > 0:
            moved = by_start(solution, piece, lam[1]) + begin
        after_first, first = lam[1], begin
    costate = costates[0] if len(costates) == 1 else np.concatenate(costates[::-1])
    warn(solution, costate, [seed.q for seed in seeds])
    ends = Ends(after_first, ended, first, seeds[-1].last)
    return OdeGradient(costates[-1][0, :n].copy(), g_u, s[0, :, 0], costate[:, :n], solution, ends)


def sweep_piece(solution: OdeSolution, piece: Piece, q: Array, r: Array, s: Array) -> tuple[Array, Array]:
    """The backward sweep over one piece; adds to s."""
    path = piece.path
    t, N = path.t, len(path)
    lam, gu = np.empty((1, N + 1, path.x.shape[1], 1)), np.empty((1, N, path.u.shape[1], 1))
    solution.runner.step.backward(
        t[:-1, None], (t[1:] - t[:-1])[:, None], path.x[None, :, :, None], path.u[None, :, :, None],
        path.p[None, :, None], q[None, :, :, None], r, lam, gu, s,
    )  # fmt: skip
    return lam[0, :, :, 0], gu[0, :, :, 0]


def output_seeds(solution: OdeSolution, dx: ArrayLike | None, s: Array) -> list[Seeds]:
    """∂J/∂x at the outputs, brought to the knots; adds to s."""
    total = solution.pieces[0].path.x.shape[1]
    if dx is None:
        return [Seeds(np.zeros((1, total)), _NONE, 0.0, 0.0) for _ in solution.pieces]
    n, places = solution.system.n, solution.places
    seed = seed_of("dx", dx, solution.x.shape)
    made, row = [], 0
    for i, piece in enumerate(solution.pieces):
        N = len(piece.path)
        q = np.zeros((N + 1, total))
        if places is None:
            q[:, :n] = seed[row : row + N + 1]
            row += N + 1
            made.append(Seeds(q, _NONE, 0.0, 0.0))
            continue
        mine = places.piece == i
        step, theta, mine_seed = places.step[mine], places.theta[mine], seed[mine]
        inside = theta > 0
        q[step[~inside], :n] = mine_seed[~inside]
        if not inside.any():
            made.append(Seeds(q, _NONE, 0.0, 0.0))
            continue
        k, theta = step[inside], theta[inside]
        at = points(piece.path, k, theta)
        whole = np.zeros((k.size, total))
        whole[:, :n] = mine_seed[inside]
        g_t, g_h, g_x, g_u, g_p, g_theta = solution.runner.dense_vjp(at, whole)
        add_rows(k, g_x, q)
        r = np.zeros((1, N, piece.path.u.shape[1], 1))
        add_rows(k, g_u, r[0, :, :, 0])
        s[0, :, 0] += g_p.sum(axis=0)
        # The output keeps its time t_k + θ h: when an end of its step moves, θ changes too.
        first = float((g_t - g_h - g_theta * (1 - theta) / at.h)[k == 0].sum())
        last = float((g_h - g_theta * theta / at.h)[k == N - 1].sum())
        made.append(Seeds(q, r, first, last))
    return made


def _event_seeds(
    solution: OdeSolution, dt_events: Sequence[ArrayLike] | None, dx_events: Sequence[ArrayLike] | None
) -> dict[int, tuple[float, Array]]:
    """(μ, ν) by the number of the occurrence."""
    made: dict[int, tuple[float, Array]] = {}
    n = solution.system.n
    for name, given, like in (
        ("dt_events", dt_events, solution.t_events if dt_events is not None else []),
        ("dx_events", dx_events, solution.x_events if dx_events is not None else []),
    ):
        if given is None:
            continue
        if len(given) != len(like):
            raise InputError(f"{name} has {len(given)} entries; expected {len(like)}, one array per event.")
        arrays = [seed_of(f"{name}[{j}]", a, like[j].shape) for j, a in enumerate(given)]
        count = [0] * len(arrays)
        for o, occurrence in enumerate(solution.occurrences):
            j = occurrence.event
            mu, nu = made.get(o, (0.0, np.zeros(n)))
            value = arrays[j][count[j]]
            count[j] += 1
            made[o] = (mu + float(value), nu) if name == "dt_events" else (mu, nu + value)
    return made


def _through_events(
    solution: OdeSolution, i: int, q: Array, last: float, moved: float, by_event: dict[int, tuple[float, Array]],
    lam_after: Array | None, s: Array, g_u: Array,
) -> Array:  # fmt: skip
    """q of piece i with what its events add: seeds on them, and the jump of the costate at its end."""
    piece, watcher, n = solution.pieces[i], solution.watcher, solution.system.n
    N = len(piece.path)
    at_end = lam_after is not None or (solution.status == 1 and i == len(solution.pieces) - 1)
    causes = [o for o in range(len(solution.occurrences)) if solution.occurrences[o].piece == i]
    ending = [o for o in causes if solution.occurrences[o].step == N] if at_end else []
    if len(q) == 1 and any(o in by_event for o in causes if o not in ending):
        q = np.concatenate([np.zeros((N, q.shape[1])), q])
    if watcher is None:
        return q
    for o in causes:
        if o in ending or o not in by_event:
            continue
        occurrence = solution.occurrences[o]
        mu, nu = by_event[o]
        whole = np.zeros(q.shape[1])
        whole[:n] = nu
        q[occurrence.step] += jump_of_costate(solution, piece, occurrence.step, occurrence.event, mu, whole, s, g_u)
    if ending:
        # Several events at one time are one: the first of them decides when.
        nu, mu = q[-1].copy(), moved + last
        path, interval = piece.path, piece.interval[-1]
        for o in reversed(ending):
            occurrence = solution.occurrences[o]
            if lam_after is not None and watcher.jumps[occurrence.event] is not None:
                if len([e for e in ending if watcher.jumps[solution.occurrences[e].event] is not None]) > 1:
                    raise AdjointError("two jumps at the same time have no derivative: their order would matter.")
                j_t, j_x, j_u, j_p = watcher.jump_vjp(occurrence.event)(
                    path.t[-1:], path.x[-1], path.u[-1], path.p, lam_after
                )
                nu += j_x
                mu += float(j_t[0])
                s[0, :, 0] += j_p
                if g_u.size:
                    g_u[interval] += j_u
            if o in by_event:
                mu += by_event[o][0]
                nu[:n] += by_event[o][1]
        q = q.copy()
        q[-1] = jump_of_costate(solution, piece, N, solution.occurrences[ending[0]].event, mu, nu, s, g_u)
    return q


def jump_of_costate(
    solution: OdeSolution, piece: Piece, step: int, event: int, mu: float, nu: Array, s: Array, g_u: Array
) -> Array:
    """λ_e = ν - κ g_x, for event number `event` at the end of step - 1; adds to s and g_u."""
    path, watcher = piece.path, solution.watcher
    assert watcher is not None
    weights = np.zeros(len(watcher.events))
    weights[event] = 1.0
    u = path.u[step - 1]
    g_t, g_x, g_by_u, g_by_p = watcher.vjp(path.t[step : step + 1], path.x[step], u, path.p, weights)
    at = points(path, np.full(2, step - 1), np.zeros(2))
    _, by_h = solution.runner.time_vjp(at, np.stack([nu, g_x]))
    rate = float(g_t[0] + by_h[1])
    if abs(rate) <= 1e-12 * (abs(float(g_t[0])) + float(np.abs(g_x).sum())):
        raise AdjointError(
            f"event {watcher.events[event].label!r} grazes at t = {path.t[step]:g}: its rate of change is {rate:g}, "
            "and the time at which it happens has no derivative."
        )
    kappa = (mu + float(by_h[0])) / rate
    s[0, :, 0] -= kappa * g_by_p
    if g_u.size:
        g_u[piece.interval[step - 1]] -= kappa * g_by_u
    return np.asarray(nu - kappa * g_x)


def by_start(solution: OdeSolution, piece: Piece, lam: Array) -> float:
    """λ_1ᵀ (∂Φ_0/∂t - ∂Φ_0/∂h)."""
    g_t, g_h = solution.runner.time_vjp(points(piece.path, *_START), lam[None])
    return float(g_t[0] - g_h[0])


def by_length(solution: OdeSolution, piece: Piece, lam: Array) -> float:
    """λ_Nᵀ ∂Φ_{N-1}/∂h."""
    at = points(piece.path, np.array([len(piece.path) - 1]), np.zeros(1))
    _, g_h = solution.runner.time_vjp(at, lam[None])
    return float(g_h[0])


def seed_of(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape}; expected {shape}.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} has an entry that is not finite.")
    return array
