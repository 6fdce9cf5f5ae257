"""A step of a Rosenbrock method, its transpose and its tangent, for M ẋ = f(t, x, u, p).

With J and ḟ at the start of the step, σ = 1/(γ h), and x_i the state of stage i (Hairer, Wanner, *Solving ODEs II*,
equations IV.7.4 and VI.4.5):

    W = σ M - J
    W U_i  = f(t + α_i h, x_i, u, p) + (1/h) M Σ_{j<i} c_ij U_j + γ_i h ḟ        x_i = x + Σ_{j<i} a_ij U_j
    x⁺     = x + Σ_i m_i U_i                                                     error = Σ_i e_i U_i

The step is a chain of linear solves, and so is its transpose. With U̅_i = m_i λ⁺ to begin with, and i running down:

    Wᵀ w_i = U̅_i
    X̅_i    = J_iᵀ w_i                  J_i = ∂f/∂x at stage i;    U̅_j += a_ij X̅_i + (c_ij / h) Mᵀ w_i,  j < i
    λ      = λ⁺ + Σ X̅_i + ∂_x E        E = Σ_i w_iᵀ J U_i + h (Σ γ_i w_i)ᵀ ḟ
    g_u    = Σ f_uᵀ w_i + ∂_u E,       g_p likewise

E is what depends on J and ḟ: its gradient takes second derivatives of f, once a step, with S = Σ w_i U_iᵀ in the places
of J. The tangent differentiates line by line: W δU_i = J_i δx_i + f_u δu + f_p δp + (1/h) M Σ c_ij δU_j + γ_i h δḟ +
δJ U_i. And the second-order sweep is the derivative of the transpose, again line by line.

The records of a step are U (s, n): with them the transpose need not do the stages again (`arg[Z]`, 0 if there are
none). A seed of the records themselves, for output between the knots, is added to U̅ (`arg[RECORD_SEED]`, or 0).
"""

from __future__ import annotations

import math

from adjoint.kernels.call import address_of, integers, matrix, view
from adjoint.kernels.cells import Z
from adjoint.kernels.implicit import (
    BEND,
    BEND_DOT,
    CALL_ARG,
    CALL_RES,
    J_PLACES,
    JVP,
    N_P,
    NONZEROS,
    RECORD_SEED,
    RHS,
    STAGES,
    TABLEAU,
    TURN,
    VJP,
    VJP_DOT,
    M,
    N,
    add_mass,
    add_mass_transposed,
    assemble,
    common,
    copy,
    evaluate,
    factor,
    fill,
    jacobian,
    part,
    row,
    solve,
    solve_transposed,
    unpack,
)  # fmt: skip
from adjoint.kernels.jit import jit_exact, jit_part

__all__ = ["advance", "begin", "forward", "second", "tangent", "transpose"]


@jit_part
def _tableau(k):
    """[γ, α, γ_i, m, e], a and c."""
    s = k[STAGES]
    T = view(k[TABLEAU], 1 + 4 * s + 2 * s * s)
    return T, matrix(T, 1 + 4 * s, s, s), matrix(T, 1 + 4 * s + s * s, s, s)


@jit_part
def _combine(weights, V, count, out):
    """out += Σ weights_j V_j over the first `count` rows."""
    for j in range(count):
        weight = weights[j]
        if weight != 0.0:
            for e in range(out.size):
                out[e] += weight * V[j, e]


@jit_part
def begin(k, t, h, x, work):
    """F = f, J, ḟ and the factors of W; False if W is singular."""
    v, J, W, pivot, _ = common(k, work)
    v[0, 0] = t
    jacobian(k, row(v, 0), x, row(v, 2), J, row(v, 3), work)
    assemble(k, 1.0 / (view(k[TABLEAU], 1)[0] * h), J, W)
    return factor(k, W, pivot)


@jit_part
def advance(k, t, h, x, U, x_next, error, work):
    """From `begin` to the records U, x⁺ and the error."""
    n, s = k[N], k[STAGES]
    v, _J, W, pivot, _ = common(k, work)
    X, F, slope, spare, past = row(v, 1), row(v, 2), row(v, 3), row(v, 4), row(v, 5)
    T, a, c = _tableau(k)
    for i in range(s):
        if i > 0:
            copy(x, X)
            _combine(row(a, i), U, i, X)
            v[0, 0] = t + T[1 + i] * h
            evaluate(k, RHS, row(v, 0), X, F, work)
        for e in range(n):
            U[i, e] = F[e] + T[1 + s + i] * h * slope[e]
            past[e] = 0.0
        _combine(row(c, i), U, i, past)
        add_mass(k, 1.0 / h, past, row(U, i))
        solve(k, W, pivot, row(U, i), spare)
    copy(x, x_next)
    fill(error, 0.0)
    _combine(part(T, 1 + 2 * s, s), U, s, x_next)
    _combine(part(T, 1 + 3 * s, s), U, s, error)


@jit_part
def _records(k, t, h, x, work):
    """The records of the step, as they were kept or anew, with J, ḟ and the factors in place; and whether that went
    well.
    """
    n, s = k[N], k[STAGES]
    v, _J, _W, _pivot, at = common(k, work)
    good = begin(k, t, h, x, work)
    U = matrix(work, at, s, n)
    if good and k[Z] == 0:
        advance(k, t, h, x, U, row(v, 6), row(v, 7), work)
    if k[Z] != 0:
        kept = view(k[Z], s * n)
        for i in range(s):
            for e in range(n):
                U[i, e] = kept[i * n + e]
    return good


@jit_exact
def forward(arg, res, work):
    """x⁺, and the records if there is a place for them."""
    k, res, work = unpack(arg, res, work)
    n, s = k[N], k[STAGES]
    t, h, x, x_next = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n), view(res[0], n)
    v, _J, _W, _pivot, at = common(k, work)
    U = matrix(work, at, s, n)
    if h == 0.0:
        copy(x, x_next)
        fill(part(work, at, s * n), 0.0)
    elif not begin(k, t, h, x, work):
        fill(x_next, math.nan)
        return
    else:
        advance(k, t, h, x, U, x_next, row(v, 7), work)
    if k[Z] != 0:
        kept = view(k[Z], s * n)
        for i in range(s):
            for e in range(n):
                kept[i * n + e] = U[i, e]


@jit_exact
def transpose(arg, res, work):
    """λ = Aᵀ λ⁺, g_u = Bᵀ λ⁺, g_p += Cᵀ λ⁺."""
    k, res, work = unpack(arg, res, work)
    n, s, nonzeros = k[N], k[STAGES], k[NONZEROS]
    t, h, x = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n)
    lam_next, lam, gu = view(k[5], n), view(res[0], n), view(res[1], k[M])
    v, _J, W, pivot, at = common(k, work)
    X, spare, X_bar, w_sum = row(v, 1), row(v, 4), row(v, 5), row(v, 6)
    fill(gu, 0.0)
    if not _records(k, t, h, x, work):
        fill(lam, math.nan)
        return
    T, a, c = _tableau(k)
    U, U_bar = matrix(work, at, s, n), matrix(work, at + s * n, s, n)
    S, places = part(work, at + 2 * s * n, nonzeros), integers(k[J_PLACES], 4 * nonzeros)
    copy(lam_next, lam)
    fill(w_sum, 0.0)
    fill(S, 0.0)
    for i in range(s):
        for e in range(n):
            U_bar[i, e] = T[1 + 2 * s + i] * lam_next[e]
    if k[RECORD_SEED] != 0:
        seed = view(k[RECORD_SEED], s * n)
        for i in range(s):
            for e in range(n):
                U_bar[i, e] += seed[i * n + e]
    for i in range(s - 1, -1, -1):
        w = row(U_bar, i)
        solve_transposed(k, W, pivot, w, spare)  # Wᵀ w_i = U̅_i
        copy(x, X)
        _combine(row(a, i), U, i, X)
        v[0, 0] = t + T[1 + i] * h
        k[CALL_ARG + 4] = address_of(w, 0)
        k[CALL_ARG + 5] = k[CALL_RES + 1] = res[1]
        k[CALL_ARG + 6] = k[CALL_RES + 2] = res[2]
        evaluate(k, VJP, row(v, 0), X, X_bar, work)  # X̅_i = J_iᵀ w_i,  g_u += f_uᵀ w_i,  g_p += f_pᵀ w_i
        for e in range(n):
            lam[e] += X_bar[e]
            w_sum[e] += T[1 + s + i] * h * w[e]
        for j in range(i):
            if a[i, j] != 0.0:
                for e in range(n):
                    U_bar[j, e] += a[i, j] * X_bar[e]
            add_mass_transposed(k, c[i, j] / h, w, row(U_bar, j))
        for j in range(nonzeros):
            S[j] += w[places[4 * j + 2]] * U[i, places[4 * j + 3]]
    v[0, 0] = t
    k[CALL_ARG + 4] = address_of(S, 0)
    k[CALL_ARG + 5] = address_of(w_sum, 0)
    k[CALL_ARG + 6] = res[0]
    k[CALL_ARG + 7] = k[CALL_RES + 1] = res[1]
    k[CALL_ARG + 8] = k[CALL_RES + 2] = res[2]
    evaluate(k, BEND, row(v, 0), x, lam, work)  # + ∇E


@jit_part
def _tangent_records(k, t, h, x, dx, du, dp, work, dU, dJ):
    """δU from the records U; du and dp are addresses."""
    n, s, nonzeros = k[N], k[STAGES], k[NONZEROS]
    v, _J, W, pivot, at = common(k, work)
    X, spare, dX, dslope, past = row(v, 1), row(v, 4), row(v, 5), row(v, 6), row(v, 7)
    T, a, c = _tableau(k)
    U, places = matrix(work, at, s, n), integers(k[J_PLACES], 4 * nonzeros)
    v[0, 0] = t
    k[CALL_ARG + 4] = address_of(dx, 0)
    k[CALL_ARG + 5] = du
    k[CALL_ARG + 6] = dp
    k[CALL_RES + 1] = address_of(dslope, 0)
    evaluate(k, TURN, row(v, 0), x, dJ, work)
    for i in range(s):
        copy(x, X)
        copy(dx, dX)
        _combine(row(a, i), U, i, X)
        _combine(row(a, i), dU, i, dX)
        v[0, 0] = t + T[1 + i] * h
        k[CALL_ARG + 4] = address_of(dX, 0)
        evaluate(k, JVP, row(v, 0), X, row(dU, i), work)  # J_i δx_i + f_u δu + f_p δp
        for e in range(n):
            dU[i, e] += T[1 + s + i] * h * dslope[e]
            past[e] = 0.0
        for j in range(nonzeros):
            dU[i, places[4 * j + 2]] += dJ[j] * U[i, places[4 * j + 3]]
        _combine(row(c, i), dU, i, past)
        add_mass(k, 1.0 / h, past, row(dU, i))
        solve(k, W, pivot, row(dU, i), spare)


@jit_exact
def tangent(arg, res, work):
    """δx⁺ = A δx + B δu + C δp."""
    k, res, work = unpack(arg, res, work)
    n, s, nonzeros = k[N], k[STAGES], k[NONZEROS]
    t, h, x = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n)
    dx, dx_next = view(k[5], n), view(res[0], n)
    at = common(k, work)[4]
    if not _records(k, t, h, x, work):
        fill(dx_next, math.nan)
        return
    dU, dJ = matrix(work, at + s * n, s, n), part(work, at + 2 * s * n, nonzeros)
    _tangent_records(k, t, h, x, dx, k[6], k[7], work, dU, dJ)
    T, _, _ = _tableau(k)
    if k[RECORD_SEED] != 0:
        copy(part(work, at + s * n, s * n), view(k[RECORD_SEED], s * n))
    copy(dx, dx_next)
    _combine(part(T, 1 + 2 * s, s), dU, s, dx_next)


@jit_exact
def second(arg, res, work):
    """The derivative of `transpose` along (δx, δu, δp, δλ⁺)."""
    k, res, work = unpack(arg, res, work)
    n, s, nonzeros = k[N], k[STAGES], k[NONZEROS]
    t, h, x = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n)
    lam_next, dx, dlam_next = view(k[5], n), view(k[6], n), view(k[9], n)
    dlam, dgu, du, dp = view(res[0], n), view(res[1], k[M]), k[7], k[8]
    v, _J, W, pivot, at = common(k, work)
    X, spare, dX, X_bar, w_sum, dw_sum = row(v, 1), row(v, 4), row(v, 5), row(v, 2), row(v, 6), row(v, 7)
    fill(dgu, 0.0)
    if not _records(k, t, h, x, work):
        fill(dlam, math.nan)
        return
    T, a, c = _tableau(k)
    sn = s * n
    U, dU = matrix(work, at, s, n), matrix(work, at + sn, s, n)
    U_bar, dU_bar = matrix(work, at + 2 * sn, s, n), matrix(work, at + 3 * sn, s, n)
    at += 4 * sn
    dJ, S = part(work, at, nonzeros), part(work, at + nonzeros, nonzeros)
    dS = part(work, at + 2 * nonzeros, nonzeros)
    places = integers(k[J_PLACES], 4 * nonzeros)
    at += 3 * nonzeros
    gu, gp = part(work, at, k[M]), part(work, at + k[M], k[N_P])  # not wanted
    _tangent_records(k, t, h, x, dx, du, dp, work, dU, dJ)
    copy(dlam_next, dlam)
    fill(w_sum, 0.0)
    fill(dw_sum, 0.0)
    fill(S, 0.0)
    fill(dS, 0.0)
    for i in range(s):
        for e in range(n):
            U_bar[i, e] = T[1 + 2 * s + i] * lam_next[e]
            dU_bar[i, e] = T[1 + 2 * s + i] * dlam_next[e]
            if k[RECORD_SEED] != 0:
                U_bar[i, e] += view(k[RECORD_SEED], s * n)[i * n + e]
    for i in range(s - 1, -1, -1):
        w, dw = row(U_bar, i), row(dU_bar, i)
        solve_transposed(k, W, pivot, w, spare)
        for j in range(nonzeros):
            dw[places[4 * j + 3]] += dJ[j] * w[places[4 * j + 2]]
        solve_transposed(k, W, pivot, dw, spare)  # Wᵀ δw_i = δU̅_i + δJᵀ w_i
        for e in range(n):
            w_sum[e] += T[1 + s + i] * h * w[e]
            dw_sum[e] += T[1 + s + i] * h * dw[e]
        for j in range(nonzeros):
            r, column = places[4 * j + 2], places[4 * j + 3]
            S[j] += w[r] * U[i, column]
            dS[j] += dw[r] * U[i, column] + w[r] * dU[i, column]
        copy(x, X)
        copy(dx, dX)
        _combine(row(a, i), U, i, X)
        _combine(row(a, i), dU, i, dX)
        v[0, 0] = t + T[1 + i] * h
        k[CALL_ARG + 4] = address_of(w, 0)
        k[CALL_ARG + 5] = address_of(gu, 0)
        k[CALL_ARG + 6] = address_of(gp, 0)
        k[CALL_RES + 1] = address_of(gu, 0)
        k[CALL_RES + 2] = address_of(gp, 0)
        evaluate(k, VJP, row(v, 0), X, X_bar, work)
        for j in range(i):
            for e in range(n):
                U_bar[j, e] += a[i, j] * X_bar[e]
            add_mass_transposed(k, c[i, j] / h, w, row(U_bar, j))
        k[CALL_ARG + 5] = address_of(dX, 0)
        k[CALL_ARG + 6] = du
        k[CALL_ARG + 7] = dp
        k[CALL_ARG + 8] = address_of(dw, 0)
        k[CALL_ARG + 9] = k[CALL_RES + 1] = res[1]
        k[CALL_ARG + 10] = k[CALL_RES + 2] = res[2]
        evaluate(k, VJP_DOT, row(v, 0), X, X_bar, work)  # δX̅_i,  δg_u += …,  δg_p += …
        for e in range(n):
            dlam[e] += X_bar[e]
        for j in range(i):
            for e in range(n):
                dU_bar[j, e] += a[i, j] * X_bar[e]
            add_mass_transposed(k, c[i, j] / h, dw, row(dU_bar, j))
    v[0, 0] = t
    k[CALL_ARG + 4] = address_of(S, 0)
    k[CALL_ARG + 5] = address_of(w_sum, 0)
    k[CALL_ARG + 6] = address_of(dx, 0)
    k[CALL_ARG + 7] = du
    k[CALL_ARG + 8] = dp
    k[CALL_ARG + 9] = address_of(dS, 0)
    k[CALL_ARG + 10] = address_of(dw_sum, 0)
    k[CALL_ARG + 11] = res[0]
    k[CALL_ARG + 12] = k[CALL_RES + 1] = res[1]
    k[CALL_ARG + 13] = k[CALL_RES + 2] = res[2]
    evaluate(k, BEND_DOT, row(v, 0), x, dlam, work)
