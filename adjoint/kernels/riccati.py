"""Newton's linear system on the stage structure: one Riccati recursion, linear in the number of stages.

For each stage k, with v = (x, u), w = (v, z), Wf the Hessian of the Lagrangian plus barrier and path-row terms,

    Wf dw_k + F_w' dlam_{k+1} + c_w' dy_c - (dlam_k on x) + rw_k = 0
    F_w dw_k - dx_{k+1} + rF_k                                  = 0
    c_w dw_k + rc_k                                             = 0
    Wf = H + diag(S + delta_w) + h_w' diag(D) h_w

D holds the weights of the path rows: the slack's barrier term for an inequality, 1/delta_c for an equality (the row
h_w dw - delta_c dnu + rh = 0 with dnu eliminated, so dependent constraints do no harm; the remaining error is removed
by iterative refinement in the caller). Elimination, backwards from the last stage:

    z :  dz = Z dv + z0,     Z = -c_z^{-1} c_v                              (local, LU with partial pivoting)
         A = F_v + F_z Z,    M = [I; Z]' Wf [I; Z] + A' P_{k+1} A
    u :  du = K dx + k,      K = -M_uu^{-1} M_ux                            (Cholesky of M_uu = L L')
    x :  P_k = M_xx + M_xu K,                p_k = m_x + K' m_u,            dlam_k = P_k dx_k + p_k

This is the second-order backward sweep (value function dx'P dx/2 + p'dx). The matrix of the whole system has the
inertia of a minimiser exactly when every M_uu is positive definite, which the Cholesky factorisation tests.
Sources: Rao, Wright, Rawlings, J. Optim. Theory Appl. 99 (1998) 723; Vanroye, De Schutter, Decre, arXiv:2306.14836
(2023) treat equality rows by elimination instead of the regularisation used here.
"""

from __future__ import annotations

import numpy as np

from adjoint.kernels.call import matrix
from adjoint.kernels.jit import jit_reassociating
from adjoint.kernels.records import (
    S_E,
    S_GROUP,
    S_HCOL,
    S_HROW,
    S_JCOL,
    S_LW,
    S_M,
    S_N,
    S_OH,
    S_OHCOL,
    S_OJ,
    S_OJCOL,
    S_OJPTR,
    S_OROW,
    S_OW,
    S_R,
    S_UW,
    X_OA,
    X_OCHOL,
    X_OGAIN,
    X_OLU,
    X_OP,
    X_OPIV,
    X_OZ,
)

__all__ = ["factorize", "hessian_product", "solve"]


@jit_reassociating
def _zero(a):
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            a[i, j] = 0.0


@jit_reassociating
def _lu(a, piv):
    """LU in place with partial pivoting; False when a pivot vanishes."""
    n = a.shape[0]
    for j in range(n):
        best = j
        for i in range(j + 1, n):
            if abs(a[i, j]) > abs(a[best, j]):
                best = i
        piv[j] = best
        if not abs(a[best, j]) > 1e-300:
            return False
        if best != j:
            for i in range(n):
                t = a[j, i]
                a[j, i] = a[best, i]
                a[best, i] = t
        d = 1.0 / a[j, j]
        for i in range(j + 1, n):
            if a[i, j] != 0.0:
                f = a[i, j] * d
                a[i, j] = f
                for l in range(j + 1, n):
                    a[i, l] -= f * a[j, l]
    return True


@jit_reassociating
def _lu_solve_rows(a, piv, b):
    """b <- a^{-1} b for a matrix b (n, c), row operations only."""
    n, c = b.shape
    for j in range(n):
        q = piv[j]
        if q != j:
            for l in range(c):
                t = b[j, l]
                b[j, l] = b[q, l]
                b[q, l] = t
    for i in range(n):
        for j in range(i):
            f = a[i, j]
            if f != 0.0:
                for l in range(c):
                    b[i, l] -= f * b[j, l]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            f = a[i, j]
            if f != 0.0:
                for l in range(c):
                    b[i, l] -= f * b[j, l]
        d = 1.0 / a[i, i]
        for l in range(c):
            b[i, l] *= d


@jit_reassociating
def _lu_solve(a, piv, b):
    """b <- a^{-1} b for a vector."""
    n = b.shape[0]
    for j in range(n):
        q = piv[j]
        t = b[j]
        b[j] = b[q]
        b[q] = t
    for i in range(n):
        s = b[i]
        for j in range(i):
            s -= a[i, j] * b[j]
        b[i] = s
    for i in range(n - 1, -1, -1):
        s = b[i]
        for j in range(i + 1, n):
            s -= a[i, j] * b[j]
        b[i] = s / a[i, i]


@jit_reassociating
def _lu_solve_transposed(a, piv, b):
    """b <- a^{-T} b for a vector."""
    n = b.shape[0]
    for i in range(n):
        s = b[i]
        for j in range(i):
            s -= a[j, i] * b[j]
        b[i] = s / a[i, i]
    for i in range(n - 1, -1, -1):
        s = b[i]
        for j in range(i + 1, n):
            s -= a[j, i] * b[j]
        b[i] = s
    for j in range(n - 1, -1, -1):
        q = piv[j]
        t = b[j]
        b[j] = b[q]
        b[q] = t


@jit_reassociating
def _cholesky(a):
    """a <- L (lower triangle) with a = L L'; False when a is not safely positive definite."""
    n = a.shape[0]
    for i in range(n):
        for j in range(i):
            s = a[i, j]
            for l in range(j):
                s -= a[i, l] * a[j, l]
            a[i, j] = s / a[j, j]
        full = a[i, i]
        s = full
        for l in range(i):
            s -= a[i, l] * a[i, l]
        if not (s > 1e-13 * abs(full) and s > 1e-200):
            return False
        a[i, i] = np.sqrt(s)
    return True


@jit_reassociating
def _multiply(a, b, c):
    """c <- a b; four rows of b at a time, so that a row of c is read and written once for four products."""
    n, inner = a.shape
    width = b.shape[1]
    for i in range(n):
        for l in range(width):
            c[i, l] = 0.0
        j = 0
        while j + 4 <= inner:
            f0, f1, f2, f3 = a[i, j], a[i, j + 1], a[i, j + 2], a[i, j + 3]
            if f0 != 0.0 or f1 != 0.0 or f2 != 0.0 or f3 != 0.0:
                for l in range(width):
                    c[i, l] += f0 * b[j, l] + f1 * b[j + 1, l] + f2 * b[j + 2, l] + f3 * b[j + 3, l]
            j += 4
        while j < inner:
            f0 = a[i, j]
            if f0 != 0.0:
                for l in range(width):
                    c[i, l] += f0 * b[j, l]
            j += 1


@jit_reassociating
def _add_transposed_product(a, b, c):
    """c <- c + a' b, lower triangle."""
    inner, width = a.shape
    j = 0
    while j + 4 <= inner:
        for i in range(width):
            f0, f1, f2, f3 = a[j, i], a[j + 1, i], a[j + 2, i], a[j + 3, i]
            if f0 != 0.0 or f1 != 0.0 or f2 != 0.0 or f3 != 0.0:
                for l in range(i + 1):
                    c[i, l] += f0 * b[j, l] + f1 * b[j + 1, l] + f2 * b[j + 2, l] + f3 * b[j + 3, l]
        j += 4
    while j < inner:
        for i in range(width):
            f0 = a[j, i]
            if f0 != 0.0:
                for l in range(i + 1):
                    c[i, l] += f0 * b[j, l]
        j += 1


@jit_reassociating
def _soften(P, omega, L, inverse):
    """P <- omega (I - (I + P/omega)^{-1}); False when I + P/omega is not positive definite."""
    n = P.shape[0]
    for i in range(n):
        for j in range(n):
            L[i, j] = P[i, j] / omega
            inverse[i, j] = 0.0
        L[i, i] += 1.0
        inverse[i, i] = 1.0
    if not _cholesky(L):
        return False
    for c in range(n):
        for i in range(n):
            s = inverse[i, c]
            for l in range(i):
                s -= L[i, l] * inverse[l, c]
            inverse[i, c] = s / L[i, i]
        for i in range(n - 1, -1, -1):
            s = inverse[i, c]
            for l in range(i + 1, n):
                s -= L[l, i] * inverse[l, c]
            inverse[i, c] = s / L[i, i]
    for i in range(n):
        for j in range(n):
            P[i, j] = omega * ((1.0 if i == j else 0.0) - inverse[i, j])
    return True


@jit_reassociating
def factorize(S, J, H, sigma, D, delta_w, soft, X):
    """Factor the system at Jacobian J and Hessian H (nonzeros), diagonal `sigma`, path-row weights `D` (row layout).

    With `soft` = omega > 0 the dynamics rows may be violated at a price: y = F_w dw - dx_{k+1} + rF costs omega
    |y|^2/2, so
    that y = dlam_{k+1}/omega and P_{k+1} is replaced by (I + P/omega)^{-1} P = omega (I - (I + P/omega)^{-1}).
    Returns -1 when every M_uu (and I + P/omega) is positive definite, else the stage where one (or c_z) is not.
    """
    group, ojptr, ojcol, ohcol = S.stage[S_GROUP], S.groups[S_OJPTR], S.groups[S_OJCOL], S.groups[S_OHCOL]
    hrow, hcol, r, jptr = S.hessian[S_HROW], S.hessian[S_HCOL], S.stage[S_R], S.jptr
    jcol, lw, uw = S.jacobian[S_JCOL], S.unknown_data[S_LW], S.unknown_data[S_UW]
    opiv, z, chol, olu = X.offset[X_OPIV], X.z, X.chol, X.offset[X_OLU]
    oz, oa, ochol, ogain = X.offset[X_OZ], X.offset[X_OA], X.offset[X_OCHOL], X.offset[X_OGAIN]
    op = X.offset[X_OP]
    K = S.data.shape[0]
    row = X.row
    for k in range(K - 1, -1, -1):
        g = group[k]
        n = S.stage[S_N, k]
        m = S.stage[S_M, k]
        e = S.stage[S_E, k]
        nn = S.stage[S_N, k + 1]
        nv = n + m
        ow = S.stage[S_OW, k]
        orow = S.stage[S_OROW, k]
        p = ojptr[g]
        oc = ojcol[g]
        oj = S.stage[S_OJ, k]
        lu = matrix(X.lu, olu[k], e, e)
        piv = X.piv[opiv[k]:opiv[k + 1]]
        Z = matrix(z, oz[k], e, nv)
        A = matrix(X.a, oa[k], nn, nv)
        L = matrix(chol, ochol[k], m, m)
        gain = matrix(X.gain, ogain[k], m, n)
        P = matrix(X.p, op[k], n, n)
        M = matrix(X.m, 0, nv, nv)
        # --- local unknowns: Z = -c_z^{-1} c_v
        if e > 0:
            _zero(lu)
            _zero(Z)
            for i in range(e):
                for j in range(jptr[p + nn + i], jptr[p + nn + i + 1]):
                    c = jcol[oc + j]
                    if c < nv:
                        Z[i, c] = -J[oj + j]
                    else:
                        lu[i, c - nv] = J[oj + j]
            if not _lu(lu, piv):
                return k
            _lu_solve_rows(lu, piv, Z)
        # --- A = F_v + F_z Z
        _zero(A)
        for i in range(nn):
            for j in range(jptr[p + i], jptr[p + i + 1]):
                c = jcol[oc + j]
                v = J[oj + j]
                if c < nv:
                    A[i, c] += v
                else:
                    for l in range(nv):
                        A[i, l] += v * Z[c - nv, l]
        # --- M = [I; Z]' Wf [I; Z], lower triangle
        _zero(M)
        oh = S.stage[S_OH, k]
        ohc = ohcol[g]
        for j in range(ohcol[g + 1] - ohc):
            a = hrow[ohc + j]
            b = hcol[ohc + j]
            v = H[oh + j]
            if v == 0.0:
                continue
            if a < nv:
                M[a, b] += v
            elif b < nv:
                # column b of v against row a of z: symmetric rank two with a unit vector
                za = Z[a - nv]
                for l in range(b, nv):
                    M[l, b] += v * za[l]
                for l in range(b + 1):
                    M[b, l] += v * za[l]
            else:
                za = Z[a - nv]
                zb = Z[b - nv]
                if a == b:
                    for i in range(nv):
                        f = v * za[i]
                        for l in range(i + 1):
                            M[i, l] += f * za[l]
                else:
                    for i in range(nv):
                        f = v * za[i]
                        h = v * zb[i]
                        for l in range(i + 1):
                            M[i, l] += f * zb[l] + h * za[l]
        for i in range(nv):
            M[i, i] += sigma[ow + i] + delta_w
        for i in range(e):
            s = sigma[ow + nv + i] + delta_w
            if s != 0.0:
                for a in range(nv):
                    f = s * Z[i, a]
                    if f != 0.0:
                        for b in range(a + 1):
                            M[a, b] += f * Z[i, b]
        for i in range(r[k]):
            d = D[orow + nn + e + i]
            if d == 0.0:
                continue
            for l in range(nv):
                row[l] = 0.0
            for j in range(jptr[p + nn + e + i], jptr[p + nn + e + i + 1]):
                c = jcol[oc + j]
                v = J[oj + j]
                if c < nv:
                    row[c] += v
                else:
                    for l in range(nv):
                        row[l] += v * Z[c - nv, l]
            for a in range(nv):
                f = d * row[a]
                if f != 0.0:
                    for b in range(a + 1):
                        M[a, b] += f * row[b]
        # --- M += A' P A
        if nn > 0:
            Pn = matrix(X.p, op[k + 1], nn, nn)
            PA = matrix(X.pa, 0, nn, nv)
            _multiply(Pn, A, PA)
            _add_transposed_product(A, PA, M)
        # --- controls that are fixed by equal bounds do not move
        for i in range(n, nv):
            if lw[ow + i] == uw[ow + i]:
                for b in range(i):
                    M[i, b] = 0.0
                for a in range(i + 1, nv):
                    M[a, i] = 0.0
                M[i, i] = 1.0
        # --- L L' = M_uu, K = -M_uu^{-1} M_ux, P = M_xx - (L^{-1} M_ux)' (L^{-1} M_ux)
        for i in range(m):
            for j in range(i + 1):
                L[i, j] = M[n + i, n + j]
        if not _cholesky(L):
            return k
        for i in range(m):
            for l in range(n):
                gain[i, l] = M[n + i, l]
            for j in range(i):
                f = L[i, j]
                for l in range(n):
                    gain[i, l] -= f * gain[j, l]
            d = 1.0 / L[i, i]
            for l in range(n):
                gain[i, l] *= d
        for a in range(n):
            for b in range(a + 1):
                P[a, b] = M[a, b]
        for i in range(m):
            for a in range(n):
                f = gain[i, a]
                if f != 0.0:
                    for b in range(a + 1):
                        P[a, b] -= f * gain[i, b]
        for a in range(n):
            for b in range(a):
                P[b, a] = P[a, b]
        for i in range(m - 1, -1, -1):
            for j in range(i + 1, m):
                f = L[j, i]
                for l in range(n):
                    gain[i, l] -= f * gain[j, l]
            d = 1.0 / L[i, i]
            for l in range(n):
                gain[i, l] *= d
        for i in range(m):
            for l in range(n):
                gain[i, l] = -gain[i, l]
        if soft > 0.0 and k > 0 and not _soften(P, soft, matrix(X.m, 0, n, n), matrix(X.pa, 0, n, n)):
            return k
    return -1


@jit_reassociating
def _stage_product(S, k, J, H, sigma, D, delta_w, dw, out):
    """out_k <- Wf dw_k for one stage."""
    group, ohcol, ojptr, ojcol = S.stage[S_GROUP], S.groups[S_OHCOL], S.groups[S_OJPTR], S.groups[S_OJCOL]
    n, e, hrow, hcol = S.stage[S_N], S.stage[S_E], S.hessian[S_HROW], S.hessian[S_HCOL]
    r, orow, jptr, jcol = S.stage[S_R], S.stage[S_OROW], S.jptr, S.jacobian[S_JCOL]
    g = group[k]
    ow = S.stage[S_OW, k]
    for i in range(ow, S.stage[S_OW, k + 1]):
        out[i] = (sigma[i] + delta_w) * dw[i]
    oh = S.stage[S_OH, k]
    ohc = ohcol[g]
    for j in range(ohcol[g + 1] - ohc):
        a = ow + hrow[ohc + j]
        b = ow + hcol[ohc + j]
        v = H[oh + j]
        out[a] += v * dw[b]
        if a != b:
            out[b] += v * dw[a]
    p = ojptr[g]
    oc = ojcol[g]
    oj = S.stage[S_OJ, k]
    i0 = n[k + 1] + e[k]
    for i in range(i0, i0 + r[k]):
        d = D[orow[k] + i]
        if d != 0.0:
            s = 0.0
            for j in range(jptr[p + i], jptr[p + i + 1]):
                s += J[oj + j] * dw[ow + jcol[oc + j]]
            s *= d
            for j in range(jptr[p + i], jptr[p + i + 1]):
                out[ow + jcol[oc + j]] += J[oj + j] * s


@jit_reassociating
def hessian_product(S, J, H, sigma, D, delta_w, dw, out):
    """out <- Wf dw for all stages."""
    for k in range(S.data.shape[0]):
        _stage_product(S, k, J, H, sigma, D, delta_w, dw, out)


@jit_reassociating
def solve(S, J, H, sigma, D, delta_w, soft, X, rw, rR, dw, dY, t1, t2):
    """Solve for dw and the multiplier steps dY (rows of F and c) with right-hand sides rw and rR (row layout).

    `t1`, `t2` are workspaces of the size of w.
    """
    group, ojptr, ojcol, lw = S.stage[S_GROUP], S.groups[S_OJPTR], S.groups[S_OJCOL], S.unknown_data[S_LW]
    uw, jptr, jcol = S.unknown_data[S_UW], S.jptr, S.jacobian[S_JCOL]
    a, chol, opiv, z = X.a, X.chol, X.offset[X_OPIV], X.z
    oa, ochol, ogain, olu = X.offset[X_OA], X.offset[X_OCHOL], X.offset[X_OGAIN], X.offset[X_OLU]
    oz, op = X.offset[X_OZ], X.offset[X_OP]
    K = S.data.shape[0]
    n_max, m_max, nv_max = 1, 1, 1
    for k in range(K):
        n_max = max(n_max, S.stage[S_N, k])
        m_max = max(m_max, S.stage[S_M, k])
        nv_max = max(nv_max, S.stage[S_N, k] + S.stage[S_M, k])
    pk = np.zeros(n_max)            # p of the stage behind
    b = np.zeros(n_max)
    mv = np.zeros(nv_max)
    # p_k is kept in dY (the place of lambda_k), feed-forward k in dw (u), z0 in dw (z), b in t1 (see below)
    for k in range(K - 1, -1, -1):
        g = group[k]
        n = S.stage[S_N, k]
        m = S.stage[S_M, k]
        e = S.stage[S_E, k]
        nn = S.stage[S_N, k + 1]
        nv = n + m
        ow = S.stage[S_OW, k]
        orow = S.stage[S_OROW, k]
        p = ojptr[g]
        oc = ojcol[g]
        oj = S.stage[S_OJ, k]
        A = matrix(a, oa[k], nn, nv)
        L = matrix(chol, ochol[k], m, m)
        gain = matrix(X.gain, ogain[k], m, n)
        for i in range(nn):
            b[i] = rR[orow + i]
        for i in range(nv):
            mv[i] = rw[ow + i]
        if e > 0:
            lu = matrix(X.lu, olu[k], e, e)
            piv = X.piv[opiv[k]:opiv[k + 1]]
            Z = matrix(z, oz[k], e, nv)
            z0 = dw[ow + nv:ow + nv + e]
            for i in range(nv):
                dw[ow + i] = 0.0
            for i in range(e):
                z0[i] = -rR[orow + nn + i]
            _lu_solve(lu, piv, z0)
            _stage_product(S, k, J, H, sigma, D, delta_w, dw, t2)
            for i in range(nv):
                mv[i] += t2[ow + i]
            for i in range(e):
                f = rw[ow + nv + i] + t2[ow + nv + i]
                for l in range(nv):
                    mv[l] += f * Z[i, l]
            for i in range(nn):
                for j in range(jptr[p + i], jptr[p + i + 1]):
                    c = jcol[oc + j]
                    if c >= nv:
                        b[i] += J[oj + j] * z0[c - nv]
        if nn > 0:
            Pn = matrix(X.p, op[k + 1], nn, nn)
            for i in range(nn):
                t1[S.stage[S_OW, k + 1] + i] = b[i]
            for i in range(nn):
                s = pk[i]
                for j in range(nn):
                    s += Pn[i, j] * b[j]
                for l in range(nv):
                    mv[l] += A[i, l] * s
        for i in range(m):
            if lw[ow + n + i] == uw[ow + n + i]:
                mv[n + i] = 0.0
        for l in range(n):
            s = mv[l]
            for i in range(m):
                s += gain[i, l] * mv[n + i]
            pk[l] = s
        if soft > 0.0 and k > 0:
            # p <- (I + P/omega)^{-1} p = p - P~ p / omega, P~ the matrix stored
            P = matrix(X.p, op[k], n, n)
            for l in range(n):
                b[l] = pk[l]
            for l in range(n):
                for j in range(n):
                    pk[l] -= P[l, j] * b[j] / soft
        if k > 0:
            ol = S.stage[S_OROW, k - 1]
            for l in range(n):
                dY[ol + l] = pk[l]
        for i in range(m):
            s = -mv[n + i]
            for j in range(i):
                s -= L[i, j] * dw[ow + n + j]
            dw[ow + n + i] = s / L[i, i]
        for i in range(m - 1, -1, -1):
            s = dw[ow + n + i]
            for j in range(i + 1, m):
                s -= L[j, i] * dw[ow + n + j]
            dw[ow + n + i] = s / L[i, i]
    for k in range(K):
        g = group[k]
        n = S.stage[S_N, k]
        m = S.stage[S_M, k]
        e = S.stage[S_E, k]
        nn = S.stage[S_N, k + 1]
        nv = n + m
        ow = S.stage[S_OW, k]
        orow = S.stage[S_OROW, k]
        A = matrix(a, oa[k], nn, nv)
        gain = matrix(X.gain, ogain[k], m, n)
        for i in range(m):
            s = dw[ow + n + i]
            for l in range(n):
                s += gain[i, l] * dw[ow + l]
            dw[ow + n + i] = s
        if e > 0:
            Z = matrix(z, oz[k], e, nv)
            for i in range(e):
                s = dw[ow + nv + i]
                for l in range(nv):
                    s += Z[i, l] * dw[ow + l]
                dw[ow + nv + i] = s
        if nn > 0:
            on = S.stage[S_OW, k + 1]
            Pn = matrix(X.p, op[k + 1], nn, nn)
            for i in range(nn):
                s = t1[on + i]
                for l in range(nv):
                    s += A[i, l] * dw[ow + l]
                b[i] = s
            for i in range(nn):
                s = dY[orow + i]
                for j in range(nn):
                    s += Pn[i, j] * b[j]
                dY[orow + i] = s
                dw[on + i] = b[i] - s / soft if soft > 0.0 else b[i]
        if e > 0:
            # multipliers of c: c_z' dy_c = -(rw_z + (Wf dw)_z + F_z' dlam_{k+1})
            lu = matrix(X.lu, olu[k], e, e)
            piv = X.piv[opiv[k]:opiv[k + 1]]
            p = ojptr[g]
            oc = ojcol[g]
            oj = S.stage[S_OJ, k]
            _stage_product(S, k, J, H, sigma, D, delta_w, dw, t2)
            y = dY[orow + nn:orow + nn + e]
            for i in range(e):
                y[i] = -(rw[ow + nv + i] + t2[ow + nv + i])
            for i in range(nn):
                for j in range(jptr[p + i], jptr[p + i + 1]):
                    c = jcol[oc + j]
                    if c >= nv:
                        y[c - nv] -= J[oj + j] * dY[orow + i]
            _lu_solve_transposed(lu, piv, y)
