"""Forward sensitivities and second-order products of an adaptive solve.

    tangent    δx_{k+1} = A_k δx_k + B_k δu_k + C_k δp,      δx(t_j) = D_x δx_k + D_u δu_k + D_p δp

At an event, with g and ġ as in `adjoint.ode.gradient`, δx_e the perturbation at fixed time:

    δt_e = -(g_xᵀ δx_e + g_uᵀ δu + g_pᵀ δp) / ġ
    δx_e ← δx_e + ∂Φ/∂h δt_e                          at the moved time
    δx⁺  = j_t δt_e + j_x δx_e + j_u δu + j_p δp      and the first step after it starts later:
    δx_1 += (∂Φ/∂t - ∂Φ/∂h) δt_e

    hessian_vector    the tangent of the sweep: ∇²J v, seeds through the outputs included
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.kernels.outputs import add_rows
from adjoint.ode.gradient import Ends, OdeGradient, Seeds, output_seeds, seed_of, sweep_piece
from adjoint.ode.pieces import Piece, Places, points
from adjoint.ode.run import Points

if TYPE_CHECKING:
    from adjoint.ode.solution import OdeSolution

__all__ = ["OdeTangent", "hessian_vector", "tangent"]

Array = NDArray[np.float64]


class OdeTangent(NamedTuple):
    """δx at the outputs (K, n) and at the end (n,), δ of the integral there (or 0), δ of the times of each event."""

    x: Array
    last: Array
    integral: float
    t_events: list[Array]


class _Direction(NamedTuple):
    """δx_0 with the quadrature, δu by interval, δp."""

    x0: Array
    u: Array
    p: Array


def _direction(
    solution: OdeSolution, x0: ArrayLike | None, u: ArrayLike | None, p: ArrayLike | None
) -> _Direction:
    n, path = solution.system.n, solution.pieces[0].path
    start = np.zeros(path.x.shape[1])
    if x0 is not None:
        start[:n] = seed_of("x0", x0, (n,))
    return _Direction(
        start,
        np.zeros(solution.u.shape) if u is None else seed_of("u", u, solution.u.shape),
        np.zeros(path.p.shape) if p is None else seed_of("p", p, path.p.shape),
    )


def tangent(
    solution: OdeSolution, x0: ArrayLike | None = None, u: ArrayLike | None = None, p: ArrayLike | None = None
) -> OdeTangent:
    """See `OdeSolution.tangent`."""
    n, watcher = solution.system.n, solution.watcher
    v = _direction(solution, x0, u, p)
    delta, late = v.x0, 0.0
    rows: list[Array] = []
    moved: list[list[float]] = [[] for _ in (watcher.events if watcher is not None else ())]
    for i, piece in enumerate(solution.pieces):
        dx = _tangent_of(solution, piece, delta, v, late)
        N = len(piece.path)
        ending = i < len(solution.pieces) - 1 or solution.status == 1
        begin, late = late, 0.0
        for o in solution.occurrences:
            if o.piece == i:
                late = _delay(solution, piece, o.step, o.event, dx[o.step], v)
                moved[o.event].append(late)
        if ending:
            _, by_h = _by_time(solution, piece, N - 1)
            dx[N] += by_h * late
        rows.append(_outputs(solution, i, dx, v, begin, late if ending else 0.0))
        delta = dx[N]
        if i < len(solution.pieces) - 1:
            delta = _jumped(solution, piece, i, delta, late, v)
    whole = rows[0] if len(rows) == 1 else np.concatenate(rows)
    return OdeTangent(
        np.ascontiguousarray(whole[:, :n]), delta[:n].copy(), float(delta[n]) if delta.size > n else 0.0,
        [np.array(times) for times in moved],
    )  # fmt: skip


def _tangent_of(solution: OdeSolution, piece: Piece, start: Array, v: _Direction, late: float) -> Array:
    """δx at the knots of one piece, whose start moves by δt_0 = late."""
    path = piece.path
    N, total = len(path), path.x.shape[1]
    dx = np.empty((N + 1, total))
    dx[0] = start
    du = v.u[piece.interval]
    first = 0
    if late:  # the first step by itself, and what its start owes
        _run(solution, piece, dx, du, v.p, 0, 1)
        by_t, by_h = _by_time(solution, piece, 0)
        dx[1] += (by_t - by_h) * late
        first = 1
    if first < N:
        _run(solution, piece, dx, du, v.p, first, N)
    return dx


def _run(solution: OdeSolution, piece: Piece, dx: Array, du: Array, dp: Array, first: int, last: int) -> None:
    """The tangent sweep over steps first … last - 1."""
    path = piece.path
    t = path.t[first : last + 1]
    solution.runner.step.tangent(
        t[:-1, None], (t[1:] - t[:-1])[:, None], path.x[None, first : last + 1, :, None],
        path.u[None, first:last, :, None], path.p[None, :, None], dx[None, first : last + 1, :, None],
        du[None, first:last, :, None], dp[None, :, None],
    )  # fmt: skip


def _by_time(solution: OdeSolution, piece: Piece, k: int) -> tuple[Array, Array]:
    """∂Φ_k/∂t and ∂Φ_k/∂h, row by row."""
    total = piece.path.x.shape[1]
    at = points(piece.path, np.full(total, k), np.zeros(total))
    return solution.runner.time_vjp(at, np.eye(total))


def _delay(solution: OdeSolution, piece: Piece, step: int, event: int, delta: Array, v: _Direction) -> float:
    """δt_e."""
    path, watcher = piece.path, solution.watcher
    assert watcher is not None
    weights = np.zeros(len(watcher.events))
    weights[event] = 1.0
    g_t, g_x, g_u, g_p = watcher.vjp(path.t[step : step + 1], path.x[step], path.u[step - 1], path.p, weights)
    _, by_h = _by_time(solution, piece, step - 1)
    rate = float(g_t[0] + g_x @ by_h)
    if abs(rate) <= 1e-12 * (abs(float(g_t[0])) + float(np.abs(g_x).sum())):
        raise AdjointError(
            f"event {watcher.events[event].label!r} grazes at t = {path.t[step]:g}, and its time has no derivative."
        )
    return -float(g_x @ delta + g_u @ v.u[piece.interval[step - 1]] + g_p @ v.p) / rate


def _jumped(solution: OdeSolution, piece: Piece, i: int, delta: Array, late: float, v: _Direction) -> Array:
    """δx⁺ after the jump at the end of piece i."""
    path, watcher = piece.path, solution.watcher
    assert watcher is not None
    total = delta.size
    for o in solution.occurrences:
        if o.piece == i and o.step == len(path) and watcher.jumps[o.event] is not None:
            j_t, j_x, j_u, j_p = watcher.jump_vjp(o.event)(path.t[-1:], path.x[-1], path.u[-1], path.p, np.eye(total))
            delta = j_t[:, 0] * late + j_x @ delta + j_u @ v.u[piece.interval[-1]] + j_p @ v.p
    return delta


def _inside(solution: OdeSolution, i: int) -> tuple[Places, NDArray[np.bool_], Points | None]:
    """The outputs in piece i, which of them lie within steps, and these as points."""
    places = solution.places
    assert places is not None
    mine = places.piece == i
    here = Places(places.piece[mine], places.step[mine], places.theta[mine])
    inside = here.theta > 0
    at = points(solution.pieces[i].path, here.step[inside], here.theta[inside]) if inside.any() else None
    return here, inside, at


def _outputs(solution: OdeSolution, i: int, dx: Array, v: _Direction, begin: float, end: float) -> Array:
    """δx at the outputs of piece i, whose ends move by `begin` and `end`."""
    if solution.places is None:
        return dx
    here, inside, at = _inside(solution, i)
    out = dx[here.step]
    if at is not None:
        k = here.step[inside]
        N = len(solution.pieces[i].path)
        # dx[N] stands for the moved end, which D of the last step does not see: it begins at k.
        change = solution.runner.dense_jvp(at, dx[k], v.u[solution.pieces[i].interval[k]], v.p)
        for j in np.flatnonzero(((k == 0) & (begin != 0)) | ((k == N - 1) & (end != 0))):
            total = dx.shape[1]
            t, h, x, u = (np.repeat(a[j : j + 1], total, axis=0) for a in at[:4])
            one = Points(t, h, x, u, at.p, np.repeat(at.theta[j], total))
            g_t, g_h, _, _, _, g_theta = solution.runner.dense_vjp(one, np.eye(total))
            theta = at.theta[j]
            if k[j] == 0:
                change[j] += (g_t - g_h - g_theta * (1 - theta) / at.h[j]) * begin
            if k[j] == N - 1:
                change[j] += (g_h - g_theta * theta / at.h[j]) * end
        out[inside] = change
    return out


def hessian_vector(
    solution: OdeSolution, dx: ArrayLike | None, dlast: ArrayLike | None, x0: ArrayLike | None, u: ArrayLike | None,
    p: ArrayLike | None, ddx: ArrayLike | None, ddlast: ArrayLike | None,
) -> OdeGradient:  # fmt: skip
    """See `OdeSolution.hessian_vector`."""
    if solution.occurrences:
        raise AdjointError(
            "hessian_vector: this solution has events, whose second derivatives are not available. Difference two "
            "gradients of `sweep`."
        )
    if dx is None and dlast is None:
        raise InputError("hessian_vector: neither dx nor dlast is given; a product needs the seeds of its gradient.")
    n, (piece,) = solution.system.n, solution.pieces
    path = piece.path
    N, total, m = len(path), path.x.shape[1], path.u.shape[1]
    v = _direction(solution, x0, u, p)
    delta, du = _tangent_of(solution, piece, v.x0, v, 0.0), v.u[piece.interval]

    s = np.zeros((1, path.p.size, 1))
    (seeds,) = output_seeds(solution, dx, s)
    ds = np.zeros((1, path.p.size, 1))
    (second,) = output_seeds(solution, ddx, ds)
    if dx is not None and solution.places is not None:
        here, inside, at = _inside(solution, 0)
        if at is not None:  # the seeds of the outputs change because D is not linear
            k = here.step[inside]
            whole = np.zeros((k.size, total))
            whole[:, :n] = np.asarray(dx, dtype=np.float64)[inside]
            d_x, d_u, d_p = solution.runner.dense_second(at, whole, delta[k], du[k], v.p)
            q2, r2 = _full(second.q, N), _full_r(second.r, N, m)
            add_rows(k, d_x, q2)
            add_rows(k, d_u, r2[0, :, :, 0])
            ds[0, :, 0] += d_p.sum(axis=0)
            second = Seeds(q2, r2, 0.0, 0.0)
    if dlast is not None:
        seeds.q[-1, :n] += seed_of("dlast", dlast, (n,))
    if ddlast is not None:
        second.q[-1, :n] += seed_of("ddlast", ddlast, (n,))

    lam, _ = sweep_piece(solution, piece, seeds.q, seeds.r, s)
    dlam, dgu = np.empty((1, N + 1, total, 1)), np.empty((1, N, m, 1))
    t = path.t
    solution.runner.step.second(
        t[:-1, None], (t[1:] - t[:-1])[:, None], path.x[None, :, :, None], path.u[None, :, :, None],
        path.p[None, :, None], lam[None, :, :, None], delta[None, :, :, None], du[None, :, :, None],
        v.p[None, :, None], second.q[None, :, :, None], second.r, dlam, dgu, ds,
    )  # fmt: skip
    costate = dlam[0, :, :, 0]
    g_u = np.zeros(solution.u.shape)
    if m:
        add_rows(piece.interval, dgu[0, :, :, 0], g_u)
    return OdeGradient(costate[0, :n].copy(), g_u, ds[0, :, 0], costate[:, :n], solution,
                       Ends(np.zeros(total), None, np.nan, np.nan))


def _full(q: Array, N: int) -> Array:
    return q if len(q) == N + 1 else np.concatenate([np.zeros((N, q.shape[1])), q])


def _full_r(r: Array, N: int, m: int) -> Array:
    return r if r.shape[1] == N else np.zeros((1, N, m, 1))
