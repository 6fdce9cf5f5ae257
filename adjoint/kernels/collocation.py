"""A step of a collocation method (Radau IIA, Gauss), its transpose and its tangent by the implicit-function theorem.

With Z_i = x_i - x and f_i = f(t + c_i h, x + Z_i, u, p), for M ẋ = f (Hairer, Wanner, *Solving ODEs II*, IV.8):

    stages      F_i = (1/h) M Σ_j (A⁻¹)_ij Z_j - f_i = 0          x⁺ = x + Σ_i d_i Z_i,    d = bᵀ A⁻¹

The stages are equations, and how they were solved is no part of the step. Their matrix is

    G = ∂F/∂Z = (1/h) A⁻¹ ⊗ M - diag(J_1 … J_s)                   J_i = ∂f/∂x at stage i

    tangent     G δZ = (J_i δx + f_u δu + f_p δp)_i               δx⁺ = δx + Σ d_i δZ_i
    transpose   Gᵀ w = (d_i λ⁺)_i                                 λ = λ⁺ + Σ J_iᵀ w_i,   g_u = Σ f_uᵀ w_i,  g_p likewise
    second      Gᵀ δw = (d_i δλ⁺ + δJ_iᵀ w_i)_i                   δλ = δλ⁺ + Σ (δJ_iᵀ w_i + J_iᵀ δw_i)

The stages are solved by the simplified iteration (`kernels.simplified_newton`), and then by Newton's method with the
exact G, until a correction is below 1e-8 of the state; the one after it, which quadratic convergence puts at round-off,
is not made. The unknowns are ordered stage by stage within a component, so that a banded J gives a banded G.

The records of a step are Z (s, n): a start for Newton (`arg[Z]`, or 0). A seed of Z, for output between the knots, is
added to the right-hand side of w (`arg[RECORD_SEED]`, or 0).
"""

from __future__ import annotations

import math

from adjoint.kernels import lu
from adjoint.kernels.call import address_of, integers, matrix, view
from adjoint.kernels.cells import Z as RECORDS
from adjoint.kernels.implicit import (
    CALL_ARG,
    CALL_RES,
    J_PLACES,
    JVP,
    KL,
    KU,
    MASS,
    MASS_NONZEROS,
    MASS_PLACES,
    NONZEROS,
    ORDER,
    RECORD_SEED,
    STAGES,
    VJP,
    VJP_DOT,
    M,
    N,
    add_mass,
    common,
    copy,
    evaluate,
    fill,
    jacobian,
    part,
    row,
    unpack,
)  # fmt: skip
from adjoint.kernels.jit import jit_exact, jit_part
from adjoint.kernels.simplified_newton import factorise, iterate, spaces, tableau

__all__ = ["forward", "second", "tangent", "transpose"]

ITERATIONS = 25
CLOSE, EXACT = 1e-8, 1e-12  # of the state; the square of the first is round-off, and so is G after the second
NEAR, FLOOR = 1e-9, 1e-16  # where the simplified iteration may stop: in each state, and of the largest state


@jit_part
def _room(k, work):
    """Z, w or ΔZ, right-hand side in the order of the unknowns, G, its pivots, and where the rest begins."""
    n, s = k[N], k[STAGES]
    Z, D, _, _, at = spaces(k, work)
    sn = s * n
    size = lu.storage(sn, s * k[KL] + s - 1, s * k[KU] + s - 1)
    return (
        Z,
        D,
        part(work, at, sn),
        part(work, at + sn, size),
        integers(address_of(work, at + sn + size), sn),
        at + 2 * sn + size,
    )


@jit_part
def _linearise(k, t, h, x, Z, F, work):
    """F_i at Z, and the factors of G; False if G is singular."""
    n, s, nonzeros = k[N], k[STAGES], k[NONZEROS]
    v, J, _, _, _ = common(k, work)
    _, _, _, G, pivot, _ = _room(k, work)
    T, inverse, _, _, _ = tableau(k)
    kl, ku = s * k[KL] + s - 1, s * k[KU] + s - 1
    ld, at = lu.leading(s * n, kl, ku), lu.offset(s * n, kl)
    for e in range(G.size):
        G[e] = 0.0
    if k[MASS_NONZEROS] == 0:
        for e in range(n):
            for i in range(s):
                for j in range(s):
                    G[at + (e * s + i) * ld + e * s + j] = inverse[i, j] / h
    else:
        places, mass = integers(k[MASS_PLACES], 4 * k[MASS_NONZEROS]), view(k[MASS], k[MASS_NONZEROS])
        for e in range(mass.size):
            first, other = places[4 * e] * s, places[4 * e + 1] * s
            for i in range(s):
                for j in range(s):
                    G[at + (first + i) * ld + other + j] += mass[e] * inverse[i, j] / h
    places = integers(k[J_PLACES], 4 * nonzeros)
    for i in range(s):
        v[0, 0] = t + T[i] * h
        for e in range(n):
            v[1, e] = x[e] + Z[i, e]
        jacobian(k, row(v, 0), row(v, 1), row(v, 2), J, row(v, 3), work)
        for e in range(nonzeros):
            G[at + (places[4 * e] * s + i) * ld + places[4 * e + 1] * s + i] -= J[e]
        for e in range(n):
            total = 0.0
            for j in range(s):
                total += inverse[i, j] * Z[j, e]
            v[4, e] = total / h
            F[i, e] = -v[2, e]
        add_mass(k, 1.0, row(v, 4), row(F, i))
    return lu.factor(G, s * n, kl, ku, pivot)


@jit_part
def _solve(k, B, transposed, work):
    """B ← G⁻¹ B or G⁻ᵀ B, B being (s, n)."""
    n, s = k[N], k[STAGES]
    _, _, b, G, pivot, _ = _room(k, work)
    order = integers(k[ORDER], n if k[ORDER] != 0 else 0)
    for e in range(n):
        of = order[e] if k[ORDER] != 0 else e
        for i in range(s):
            b[e * s + i] = B[i, of]
    kl, ku = s * k[KL] + s - 1, s * k[KU] + s - 1
    if transposed:
        lu.solve_transposed(G, s * n, kl, ku, pivot, b)
    else:
        lu.solve(G, s * n, kl, ku, pivot, b)
    for e in range(n):
        of = order[e] if k[ORDER] != 0 else e
        for i in range(s):
            B[i, of] = b[e * s + i]


@jit_part
def _stages(k, t, h, x, exactly, work):
    """Solve for Z, from the records or from 0, and if `exactly` leave G at the solution; False if that fails."""
    n, s = k[N], k[STAGES]
    Z, D, _, _, _, _ = _room(k, work)
    kept = view(k[RECORDS], s * n if k[RECORDS] != 0 else 0)
    size = 0.0
    for e in range(n):
        size = max(size, abs(x[e]))
        for i in range(s):
            Z[i, e] = kept[i * n + e] if k[RECORDS] != 0 else 0.0
    if h == 0.0:
        fill(part(work, common(k, work)[4], s * n), 0.0)
        return not exactly
    if k[RECORDS] == 0:
        v = common(k, work)[0]
        for e in range(n):
            v[5, e] = FLOOR * size + 1e-290
            v[7, e] = x[e]
        if not (factorise(k, t, h, row(v, 7), row(v, 6), work)
                and iterate(k, t, h, x, NEAR, row(v, 5), float(n), 1e-3, 1e-2, work) > 0):
            for i in range(s):  # from the beginning, with the exact matrix
                fill(row(Z, i), 0.0)
    for _ in range(ITERATIONS):
        if not _linearise(k, t, h, x, Z, D, work):
            return False
        _solve(k, D, False, work)
        largest = 0.0
        for i in range(s):
            for e in range(n):
                Z[i, e] -= D[i, e]
                change = abs(D[i, e]) / (abs(x[e]) + abs(Z[i, e]) + 1e-12 * size + 1e-290)
                if not change <= largest:  # a change that is not a number counts as large
                    largest = change
        if not largest < math.inf:
            return False
        if largest <= CLOSE:
            return not exactly or largest <= EXACT or _linearise(k, t, h, x, Z, D, work)
    return False


@jit_exact
def forward(arg, res, work):
    """x⁺, and the records if there is a place for them."""
    k, res, work = unpack(arg, res, work)
    n, s = k[N], k[STAGES]
    t, h, x, x_next = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n), view(res[0], n)
    kept, k[RECORDS] = k[RECORDS], 0  # their place is for writing now
    good = _stages(k, t, h, x, False, work)
    k[RECORDS] = kept
    Z, _, _, _, _, _ = _room(k, work)
    T, _, _, _, _ = tableau(k)
    for e in range(n):
        total = x[e] if good else math.nan
        for i in range(s):
            total += T[s + i] * Z[i, e]
        x_next[e] = total
    if kept != 0:
        place = view(kept, s * n)
        for i in range(s):
            for e in range(n):
                place[i * n + e] = Z[i, e]


@jit_exact
def transpose(arg, res, work):
    """λ = Aᵀ λ⁺, g_u = Bᵀ λ⁺, g_p += Cᵀ λ⁺."""
    k, res, work = unpack(arg, res, work)
    n, s = k[N], k[STAGES]
    t, h, x = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n)
    lam_next, lam, gu = view(k[5], n), view(res[0], n), view(res[1], k[M])
    fill(gu, 0.0)
    if not _stages(k, t, h, x, True, work):
        fill(lam, math.nan)
        return
    Z, w, _, _, _, _ = _room(k, work)
    T, _, _, _, _ = tableau(k)
    v = common(k, work)[0]
    for i in range(s):
        for e in range(n):
            w[i, e] = T[s + i] * lam_next[e]
    if k[RECORD_SEED] != 0:
        seed = view(k[RECORD_SEED], s * n)
        for i in range(s):
            for e in range(n):
                w[i, e] += seed[i * n + e]
    _solve(k, w, True, work)  # Gᵀ w = (d_i λ⁺)_i
    copy(lam_next, lam)
    _pull_back(k, t, h, x, Z, w, lam, res, v, work)


@jit_part
def _pull_back(k, t, h, x, Z, w, lam, res, v, work):
    """λ += Σ J_iᵀ w_i,  g_u += Σ f_uᵀ w_i,  g_p += Σ f_pᵀ w_i."""
    T, _, _, _, _ = tableau(k)
    k[CALL_ARG + 5] = k[CALL_RES + 1] = res[1]
    k[CALL_ARG + 6] = k[CALL_RES + 2] = res[2]
    for i in range(k[STAGES]):
        v[0, 0] = t + T[i] * h
        for e in range(lam.size):
            v[1, e] = x[e] + Z[i, e]
        k[CALL_ARG + 4] = address_of(row(w, i), 0)
        evaluate(k, VJP, row(v, 0), row(v, 1), row(v, 2), work)
        for e in range(lam.size):
            lam[e] += v[2, e]


@jit_part
def _tangent_stages(k, t, h, x, dx, du, dp, Z, dZ, v, work):
    """δZ; G is in place."""
    T, _, _, _, _ = tableau(k)
    k[CALL_ARG + 4] = address_of(dx, 0)
    k[CALL_ARG + 5] = du
    k[CALL_ARG + 6] = dp
    for i in range(k[STAGES]):
        v[0, 0] = t + T[i] * h
        for e in range(x.size):
            v[1, e] = x[e] + Z[i, e]
        evaluate(k, JVP, row(v, 0), row(v, 1), row(dZ, i), work)
    _solve(k, dZ, False, work)  # G δZ = (J_i δx + f_u δu + f_p δp)_i


@jit_exact
def tangent(arg, res, work):
    """δx⁺ = A δx + B δu + C δp."""
    k, res, work = unpack(arg, res, work)
    n, s = k[N], k[STAGES]
    t, h, x = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n)
    dx, dx_next = view(k[5], n), view(res[0], n)
    if not _stages(k, t, h, x, True, work):
        fill(dx_next, math.nan)
        return
    Z, dZ, _, _, _, _ = _room(k, work)
    T, _, _, _, _ = tableau(k)
    _tangent_stages(k, t, h, x, dx, k[6], k[7], Z, dZ, common(k, work)[0], work)
    if k[RECORD_SEED] != 0:
        change = view(k[RECORD_SEED], s * n)
        for i in range(s):
            for e in range(n):
                change[i * n + e] = dZ[i, e]
    for e in range(n):
        total = dx[e]
        for i in range(s):
            total += T[s + i] * dZ[i, e]
        dx_next[e] = total


@jit_exact
def second(arg, res, work):
    """The derivative of `transpose` along (δx, δu, δp, δλ⁺)."""
    k, res, work = unpack(arg, res, work)
    n, s = k[N], k[STAGES]
    t, h, x = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n)
    lam_next, dx, dlam_next = view(k[5], n), view(k[6], n), view(k[9], n)
    dlam, dgu, du, dp = view(res[0], n), view(res[1], k[M]), k[7], k[8]
    fill(dgu, 0.0)
    if not _stages(k, t, h, x, True, work):
        fill(dlam, math.nan)
        return
    Z, w, _, _, _, at = _room(k, work)
    dZ, dw = matrix(work, at, s, n), matrix(work, at + s * n, s, n)
    at += 2 * s * n
    nothing = part(work, at, n)
    T, _, _, _, _ = tableau(k)
    v = common(k, work)[0]
    _tangent_stages(k, t, h, x, dx, du, dp, Z, dZ, v, work)
    for i in range(s):
        for e in range(n):
            w[i, e] = T[s + i] * lam_next[e]
            dw[i, e] = T[s + i] * dlam_next[e]
            if k[RECORD_SEED] != 0:
                w[i, e] += view(k[RECORD_SEED], s * n)[i * n + e]
    _solve(k, w, True, work)
    fill(nothing, 0.0)
    copy(dlam_next, dlam)
    k[CALL_ARG + 5] = address_of(row(v, 3), 0)
    k[CALL_ARG + 6] = du
    k[CALL_ARG + 7] = dp
    k[CALL_ARG + 8] = address_of(nothing, 0)
    k[CALL_ARG + 9] = k[CALL_RES + 1] = res[1]
    k[CALL_ARG + 10] = k[CALL_RES + 2] = res[2]
    for i in range(s):
        v[0, 0] = t + T[i] * h
        for e in range(n):
            v[1, e] = x[e] + Z[i, e]
            v[3, e] = dx[e] + dZ[i, e]
        k[CALL_ARG + 4] = address_of(row(w, i), 0)
        evaluate(k, VJP_DOT, row(v, 0), row(v, 1), row(v, 2), work)  # δJ_iᵀ w_i,  δg_u += δf_uᵀ w_i,  δg_p += δf_pᵀ w_i
        for e in range(n):
            dlam[e] += v[2, e]
            dw[i, e] += v[2, e]
    _solve(k, dw, True, work)  # Gᵀ δw = (d_i δλ⁺ + δJ_iᵀ w_i)_i
    _pull_back(k, t, h, x, Z, dw, dlam, res, v, work)
