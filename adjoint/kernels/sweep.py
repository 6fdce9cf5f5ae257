"""The sweeps: one compiled loop forward, one compiled loop backward, for every system.

    forward     x_{k+1}  = Φ(t_k, h_k, x_k, u_k, p)
    tangent     δx_{k+1} = A_k δx_k + B_k δu_k + C_k δp            A = ∂Φ/∂x, B = ∂Φ/∂u, C = ∂Φ/∂p

    backward    λ_k = A_kᵀ λ_{k+1} + q_k         λ_N = q_N         q_k = ∂J/∂x_k, the explicit part
                g_k = B_kᵀ λ_{k+1} + r_k                           r_k = ∂J/∂u_k, the explicit part
                g_p = Σ_k C_kᵀ λ_{k+1} + s                         s   = ∂J/∂p,   the explicit part

    second      δλ_k = A_kᵀ δλ_{k+1} + (∇²L_k v_k)_x + δq_k        L_k = λ_{k+1}ᵀ Φ(t_k, h_k, x_k, u_k, p)
                δg_k = B_kᵀ δλ_{k+1} + (∇²L_k v_k)_u + δr_k        v_k = (δx_k, δu_k, δp), from the tangent sweep
                δg_p = Σ_k C_kᵀ δλ_{k+1} + (∇²L_k v_k)_p + δs      which is the derivative of the backward sweep along v

The step and its derivatives are machine code (`kernels.call`), with these inputs and outputs:

    step        t, h, x, u, p                                     → x_next
    jvp         t, h, x, u, p, δx, δu, δp                         → δx_next
    vjp         t, h, x, u, p, λ_next, g_p                        → λ, g_u, g_p           (g_p in place)
    second      t, h, x, u, p, λ_next, δx, δu, δp, δλ_next, δg_p  → δλ, δg_u, δg_p        (δg_p in place)

Trajectories lie in blocks: x has shape (blocks, N+1, P, Q), u (blocks, N, P', Q'), and what belongs to one knot of a
block is one contiguous piece of memory which is handed to the machine code as it stands: the loops copy nothing and
allocate nothing. There are two kinds of blocks.

    A graph's step works on W lanes: x_k is (n, W), u_k (m, W), p (blocks or 1, n_p, W), t and h (N, W). One trajectory
    is one block with W = 1.

    A cell's step (`kernels.cells`) works on B rows: x_k is (B, n), u_k (B, m), p (blocks or 1, n_p, 1). One call makes
    a chunk of steps; `prepare` and `collect` do what can be done for all of them at once. z holds the records of the
    steps, (blocks or 1, kept, B n_z): of all N, or of one chunk, in which case `backward` can `repeat` the steps of a
    chunk to have them again. The results do not depend on where a longer sweep is cut, if it is cut at multiples of
    `chunk`. g_u and g_p are then made by collect, not by the vjp.

Absent arrays have length 0 along their time axis: q (then λ_N = 0), r, and g_u of a cell, if not wanted. A q of length
1 seeds the last knot only. The last axes of q may be shorter than those of x: the rest has no seed. λ may be kept at
two knots only (λ_k is λ[k mod 2]).
"""

from __future__ import annotations

import math

from numba import float64, int64, types, void

from adjoint.kernels.announce import kernel, kernels
from adjoint.kernels.call import address_of, call
from adjoint.kernels.cells import AFTER, FIRST, KEPT, SEED, STEPS, WANTED, WIDTH, Z, add_seed
from adjoint.kernels.jit import jit_exact

__all__ = [
    "EVERY_STEP", "INPUTS", "NEVER", "backward", "forward", "jacobian_lanes", "jacobian_rows", "second", "tangent",
    "transpose",
]  # fmt: skip

NEVER, EVERY_STEP, INPUTS = 0, 1, 2  # where `forward` looks for numbers that are not finite


_CONTIGUOUS = "C"


def _arrays(number, writeable):
    """Types of contiguous arrays of 0 to 4 axes; a read-only type accepts writeable arrays too."""
    return [types.Array(number, d, _CONTIGUOUS, readonly=not writeable) for d in range(5)]


_IN, _OUT = _arrays(float64, False), _arrays(float64, True)
_ADDRESSES = types.Array(int64, 1, "C")
_MAP = types.Array(int64, 1, "C", readonly=True)
_SENTENCE = "compiling the sweep kernels (once; kept on disk)"

_LINEARISATION = "compiling the linearisation kernels (once; kept on disk)"

_PATH = (_IN[2], _IN[2], _IN[4], _IN[4], _IN[3])  # t, h, x, u, p in lanes
_KNOTS = (_IN[1], _IN[1], _IN[2], _IN[2], _IN[2])  # t, h, x, u, p knot by knot
_LAM_DX_DU_DP = (_IN[4], _IN[4], _IN[4], _IN[3])
_SCRATCH = (_ADDRESSES, _ADDRESSES, _OUT[1])  # arg, res, work


def _forward_signature(number):
    a, out = _arrays(number, False), _arrays(number, True)
    path = (a[2], a[2], out[4], a[4], a[3])
    return int64(int64, int64, *path, out[3], int64, int64, _ADDRESSES, _ADDRESSES, _ADDRESSES, out[1])


def _backward_signature(number):
    a, out = _arrays(number, False), _arrays(number, True)
    path = (a[2], a[2], a[4], a[4], a[3])  # x may be read-only; `repeat` writes the same numbers again
    seeds, results = (a[4], a[4]), (out[4], out[4], out[3])
    return void(
        int64, int64, int64, int64, *path, out[3], *seeds, *results, int64, types.boolean, _ADDRESSES, _ADDRESSES,
        _ADDRESSES, out[1],
    )  # fmt: skip


@kernel(void(_IN[3], _OUT[3]), _SENTENCE)
def transpose(a, out):
    """out[b, j, i] = a[b, i, j]: between (blocks, W, values) and (blocks, values, W), one axis being short."""
    blocks, P, Q = a.shape
    for b in range(blocks):
        if P < Q:
            for j in range(Q):
                for i in range(P):
                    out[b, j, i] = a[b, i, j]
        else:
            for i in range(P):
                for j in range(Q):
                    out[b, j, i] = a[b, i, j]


@jit_exact
def _finite(a):
    """Whether all numbers of an array are finite."""
    flat = a.ravel()
    bad = 0  # counted, since a sum of integers is taken in vector registers
    for i in range(flat.size):
        bad += 0 if abs(flat[i]) < math.inf else 1
    return bad == 0


@kernels(_forward_signature, _SENTENCE)
def forward(step, prepare, t, h, x, u, p, z, chunk, check, sizes, arg, res, work):
    """Fill x[:, 1:], and z.

    `check` EVERY_STEP: returns the flat index block·N + k of the first step with a result that is not finite. INPUTS:
    returns -2 if u, p, x_0 or x_N is not finite. Otherwise -1.
    """
    blocks, knots, P, Q = x.shape
    N, n_p = knots - 1, p.shape[1] * p.shape[2]
    if check == INPUTS and not (_finite(u) and _finite(p)):
        return -2
    for b in range(blocks):
        arg[4] = address_of(p, (b if p.shape[0] > 1 else 0) * n_p)
        for first in range(0, N, chunk):
            steps = min(chunk, N - first)
            _steps(step, prepare, b, first, steps, t, h, x, u, z, sizes, arg, res, work)
            if check == EVERY_STEP:
                for k in range(first, first + steps):
                    finite = True
                    for i in range(P):
                        for j in range(Q):
                            finite &= math.isfinite(x[b, k + 1, i, j])
                    if not finite:
                        return b * N + k
        if check == INPUTS and not (_finite(x[b, 0]) and _finite(x[b, N])):
            return -2
    return -1


@jit_exact
def _at(b, first, t, h, x, u, z, arg):
    """The addresses of what belongs to the steps from `first` on."""
    knots, n, m, W = x.shape[1], x.shape[2] * x.shape[3], u.shape[2] * u.shape[3], t.shape[1]
    arg[0] = address_of(t, first * W)
    arg[1] = address_of(h, first * W)
    arg[2] = address_of(x, (b * knots + first) * n)
    arg[3] = address_of(u, (b * (knots - 1) + first) * m)
    if z.shape[2] > 0:  # a cell's; a step with z = 0 numbers has no use for it, and no time for a division
        arg[Z] = address_of(z, ((b if z.shape[0] > 1 else 0) * z.shape[1] + first % z.shape[1]) * z.shape[2])


@jit_exact
def _steps(step, prepare, b, first, steps, t, h, x, u, z, sizes, arg, res, work):
    """x_{first+1} … x_{first+steps}, and their records."""
    _at(b, first, t, h, x, u, z, arg)
    res[0] = address_of(x, (b * x.shape[1] + first + 1) * x.shape[2] * x.shape[3])
    if prepare != 0:
        sizes[STEPS] = steps
        call(prepare, arg, res, work)
    call(step, arg, res, work)  # x_{k+1} = Φ(t_k, h_k, x_k, u_k, p)


@kernel(void(int64, *_PATH, _OUT[4], _IN[4], _IN[3], *_SCRATCH), _SENTENCE)
def tangent(jvp, t, h, x, u, p, dx, du, dp, arg, res, work):
    """Fill dx[:, 1:] from dx[:, 0]: the tangent sweep."""
    blocks, knots, n, W = x.shape
    m, n_p = u.shape[2], p.shape[1]
    for b in range(blocks):
        at_p = (b if p.shape[0] > 1 else 0) * n_p * W
        arg[4] = address_of(p, at_p)
        arg[7] = address_of(dp, at_p)
        for k in range(knots - 1):
            at_x, at_u = (b * knots + k) * n * W, (b * (knots - 1) + k) * m * W
            arg[0] = address_of(t, k * W)
            arg[1] = address_of(h, k * W)
            arg[2] = address_of(x, at_x)
            arg[3] = address_of(u, at_u)
            arg[5] = address_of(dx, at_x)
            arg[6] = address_of(du, at_u)
            res[0] = address_of(dx, at_x + n * W)
            call(jvp, arg, res, work)  # δx_{k+1} = A_k δx_k + B_k δu_k + C_k δp


@kernels(_backward_signature, _SENTENCE)
def backward(vjp, collect, prepare, step, t, h, x, u, p, z, q, r, lam, gu, gp, chunk, repeat, sizes, arg, res, work):
    """Fill lam and gu, and add to gp (which comes in holding s): the transpose of the tangent sweep."""
    blocks, knots, P, Q = x.shape
    N, n, m, n_p = knots - 1, P * Q, u.shape[2] * u.shape[3], p.shape[1] * p.shape[2]
    kept, running = lam.shape[1], q.shape[1] > 1
    for b in range(blocks):
        arg[4] = address_of(p, (b if p.shape[0] > 1 else 0) * n_p)
        arg[6] = res[2] = address_of(gp, (b if gp.shape[0] > 1 else 0) * n_p)
        after = N % kept  # where λ_{k+1} stands; counted, since a division costs as much as a small step
        lam[b, after] = 0.0
        if q.shape[1] > 0:
            add_seed(q[b, q.shape[1] - 1], lam[b, after])  # λ_N = q_N
        first = (N - 1) // chunk * chunk
        while first >= 0:
            steps = min(chunk, N - first)
            if repeat:  # the same x, and the records that were given up
                _steps(step, prepare, b, first, steps, t, h, x, u, z, sizes, arg, res, work)
            _at(b, first, t, h, x, u, z, arg)
            res[1] = address_of(gu, (b * N + first) * m) if gu.shape[1] > 0 else 0
            if collect != 0:
                sizes[STEPS], sizes[FIRST], sizes[KEPT], sizes[AFTER] = steps, first, kept, after
                sizes[WANTED], sizes[WIDTH] = min(1, gu.shape[1]), q.shape[3] if running else 0
                arg[SEED] = address_of(q, (b * knots + first) * P * q.shape[3]) if running else 0
                res[0] = address_of(lam, b * kept * n)
                call(vjp, arg, res, work)  # λ_k = A_kᵀ λ_{k+1} + q_k for all k of the chunk
                call(collect, arg, res, work)  # g_k = B_kᵀ λ_{k+1},  g_p += Σ C_kᵀ λ_{k+1}
                after = (after - steps) % kept
            else:
                arg[5] = address_of(lam, (b * kept + after) * n)
                after = after - 1 if after > 0 else kept - 1
                res[0] = address_of(lam, (b * kept + after) * n)
                call(vjp, arg, res, work)  # λ_k = A_kᵀ λ_{k+1},  g_k = B_kᵀ λ_{k+1},  g_p += C_kᵀ λ_{k+1}
                if running:
                    add_seed(q[b, first], lam[b, after])  # + q_k
            if r.shape[1] > 0:
                for k in range(first, first + steps):
                    add_seed(r[b, k], gu[b, k])  # + r_k
            first -= chunk


@kernel(void(int64, *_PATH, *_LAM_DX_DU_DP, _IN[4], _IN[4], _OUT[4], _OUT[4], _OUT[3], *_SCRATCH), _SENTENCE)
def second(hvp, t, h, x, u, p, lam, dx, du, dp, dq, dr, dlam, dgu, dgp, arg, res, work):
    """Fill dlam and dgu, and add to dgp: the derivative of `backward` along the tangent (dx, du, dp)."""
    blocks, knots, n, W = x.shape
    m, n_p = u.shape[2], p.shape[1]
    for b in range(blocks):
        at_p = (b if p.shape[0] > 1 else 0) * n_p * W
        arg[4] = address_of(p, at_p)
        arg[8] = address_of(dp, at_p)
        arg[10] = res[2] = address_of(dgp, (b if dgp.shape[0] > 1 else 0) * n_p * W)
        for e in range(n):
            for w in range(W):
                dlam[b, knots - 1, e, w] = dq[b, dq.shape[1] - 1, e, w] if dq.shape[1] > 0 else 0.0
        for k in range(knots - 2, -1, -1):
            at_x, at_u = (b * knots + k) * n * W, (b * (knots - 1) + k) * m * W
            arg[0] = address_of(t, k * W)
            arg[1] = address_of(h, k * W)
            arg[2] = address_of(x, at_x)
            arg[3] = address_of(u, at_u)
            arg[5] = address_of(lam, at_x + n * W)
            arg[6] = address_of(dx, at_x)
            arg[7] = address_of(du, at_u)
            arg[9] = address_of(dlam, at_x + n * W)
            res[0] = address_of(dlam, at_x)
            res[1] = address_of(dgu, at_u)
            call(hvp, arg, res, work)  # δλ_k = A_kᵀ δλ_{k+1} + (∇²L_k v)_x, and likewise for u and p
            if dq.shape[1] > 1:
                for e in range(n):
                    for w in range(W):
                        dlam[b, k, e, w] += dq[b, k, e, w]
            if dr.shape[1] > 0:
                for e in range(m):
                    for w in range(W):
                        dgu[b, k, e, w] += dr[b, k, e, w]


@kernel(void(int64, *_KNOTS, *[_MAP] * 3, *[_OUT[2]] * 7, int64, *_SCRATCH), _LINEARISATION)
def jacobian_lanes(jacobians, t, h, x, u, p, map_A, map_B, map_C, A, B, C, th, xu, pl, nonzeros, per_p, arg, res, work):
    """A, B, C at K independent knots, W at a time.

    Inputs have shapes t, h (K,), x (K, n), u (K, m), p (P, n_p) where knot k uses row k // per_p. The machine code
    returns the nonzeros of A, B, C; entry j of A goes to the flat place map_A[j] of A[k]. Lanes beyond the last knot
    repeat it. C of length 0 is not wanted. Scratch: th (2, W), xu (n + m, W), pl (n_p, W), nonzeros (all, W).
    """
    K, n, m, n_p, W = x.shape[0], x.shape[1], u.shape[1], p.shape[1], th.shape[1]
    arg[0] = address_of(th, 0)
    arg[1] = address_of(th, W)
    arg[2] = address_of(xu, 0)
    arg[3] = address_of(xu, n * W)
    arg[4] = address_of(pl, 0)
    at_B, at_C = map_A.size, map_A.size + map_B.size
    res[0] = address_of(nonzeros, 0)
    res[1] = address_of(nonzeros, at_B * W)
    res[2] = address_of(nonzeros, at_C * W)
    for first in range(0, K, W):
        for w in range(W):
            k = min(first + w, K - 1)
            th[0, w] = t[k]
            th[1, w] = h[k]
            for e in range(n):
                xu[e, w] = x[k, e]
            for e in range(m):
                xu[n + e, w] = u[k, e]
            for e in range(n_p):
                pl[e, w] = p[k // per_p, e]
        call(jacobians, arg, res, work)
        for w in range(min(W, K - first)):
            k = first + w
            for j in range(map_A.size):
                A[k, map_A[j]] = nonzeros[j, w]
            for j in range(map_B.size):
                B[k, map_B[j]] = nonzeros[at_B + j, w]
            if C.shape[0] > 0:
                for j in range(map_C.size):
                    C[k, map_C[j]] = nonzeros[at_C + j, w]


@kernel(void(int64, *_KNOTS, *[_OUT[3]] * 3, _OUT[1], _OUT[1], int64, *_SCRATCH), _LINEARISATION)
def jacobian_rows(vjp, t, h, x, u, p, A, B, C, unit, gp, per_p, arg, res, work):
    """A, B, C at K knots from a vjp alone: row i is the vjp of the unit vector e_i. C of length 0 is not wanted."""
    K, n, m, n_p = x.shape[0], x.shape[1], u.shape[1], p.shape[1]
    arg[5] = address_of(unit, 0)
    arg[6] = res[2] = address_of(gp, 0)
    for k in range(K):
        arg[0] = address_of(t, k)
        arg[1] = address_of(h, k)
        arg[2] = address_of(x, k * n)
        arg[3] = address_of(u, k * m)
        arg[4] = address_of(p, (k // per_p) * n_p)
        for i in range(n):
            for e in range(n):
                unit[e] = 1.0 if e == i else 0.0
            gp[:] = 0.0
            res[0] = address_of(A, (k * n + i) * n)
            res[1] = address_of(B, (k * n + i) * m)
            call(vjp, arg, res, work)
            if C.shape[0] > 0:
                for e in range(n_p):
                    C[k, i, e] = gp[e]
