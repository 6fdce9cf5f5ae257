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

from typing import NamedTuple

import numpy as np
from numba import njit

__all__ = ["Factors", "factorize", "hessian_product", "solve"]


class Factors(NamedTuple):
    """What `factorize` leaves for `solve`; flat storage with one offset array a kind (see `control.structure`)."""

    lu: np.ndarray            # (sum e*e) LU of c_z
    piv: np.ndarray           # (sum e) row exchanges
    z: np.ndarray             # (sum e*(n+m)) Z
    a: np.ndarray             # (sum n_next*(n+m)) A
    chol: np.ndarray          # (sum m*m) L
    gain: np.ndarray          # (sum m*n) K
    p: np.ndarray             # (sum n*n) P
    olu: np.ndarray           # offsets (K+1,)
    opiv: np.ndarray
    oz: np.ndarray
    oa: np.ndarray
    ochol: np.ndarray
    ogain: np.ndarray
    op: np.ndarray


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def factorize(S, J, H, sigma, D, delta_w, X):
    """Factor the system at Jacobian J and Hessian H (nonzeros), diagonal `sigma`, path-row weights `D` (row layout).

    Returns -1 when every M_uu is positive definite, else the stage whose M_uu (or c_z) is not.
    """
    K = S.m.shape[0]
    q_max, nv_max, n_max = 1, 1, 1
    for k in range(K):
        q_max = max(q_max, S.n[k + 1] + S.e[k])
        nv_max = max(nv_max, S.n[k] + S.m[k])
        n_max = max(n_max, S.n[k])
    mbuf = np.empty(nv_max * nv_max)
    pabuf = np.empty(n_max * nv_max)
    row = np.empty(nv_max)
    for k in range(K - 1, -1, -1):
        g = S.group[k]
        n = S.n[k]
        m = S.m[k]
        e = S.e[k]
        nn = S.n[k + 1]
        nv = n + m
        ow = S.ow[k]
        orow = S.orow[k]
        p = S.ojptr[g]
        oc = S.ojcol[g]
        oj = S.oj[k]
        lu = X.lu[X.olu[k]:X.olu[k + 1]].reshape(e, e)
        piv = X.piv[X.opiv[k]:X.opiv[k + 1]]
        Z = X.z[X.oz[k]:X.oz[k + 1]].reshape(e, nv)
        A = X.a[X.oa[k]:X.oa[k + 1]].reshape(nn, nv)
        L = X.chol[X.ochol[k]:X.ochol[k + 1]].reshape(m, m)
        gain = X.gain[X.ogain[k]:X.ogain[k + 1]].reshape(m, n)
        P = X.p[X.op[k]:X.op[k + 1]].reshape(n, n)
        M = mbuf[:nv * nv].reshape(nv, nv)
        # --- local unknowns: Z = -c_z^{-1} c_v
        if e > 0:
            lu[:, :] = 0.0
            Z[:, :] = 0.0
            for i in range(e):
                for j in range(S.jptr[p + nn + i], S.jptr[p + nn + i + 1]):
                    c = S.jcol[oc + j]
                    if c < nv:
                        Z[i, c] = -J[oj + j]
                    else:
                        lu[i, c - nv] = J[oj + j]
            if not _lu(lu, piv):
                return k
            _lu_solve_rows(lu, piv, Z)
        # --- A = F_v + F_z Z
        A[:, :] = 0.0
        for i in range(nn):
            for j in range(S.jptr[p + i], S.jptr[p + i + 1]):
                c = S.jcol[oc + j]
                v = J[oj + j]
                if c < nv:
                    A[i, c] += v
                else:
                    for l in range(nv):
                        A[i, l] += v * Z[c - nv, l]
        # --- M = [I; Z]' Wf [I; Z], lower triangle
        M[:, :] = 0.0
        oh = S.oh[k]
        ohc = S.ohcol[g]
        for j in range(S.ohcol[g + 1] - ohc):
            a = S.hrow[ohc + j]
            b = S.hcol[ohc + j]
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
        for i in range(S.r[k]):
            d = D[orow + nn + e + i]
            if d == 0.0:
                continue
            row[:nv] = 0.0
            for j in range(S.jptr[p + nn + e + i], S.jptr[p + nn + e + i + 1]):
                c = S.jcol[oc + j]
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
            Pn = X.p[X.op[k + 1]:X.op[k + 2]].reshape(nn, nn)
            PA = pabuf[:nn * nv].reshape(nn, nv)
            for i in range(nn):
                for l in range(nv):
                    PA[i, l] = 0.0
                for j in range(nn):
                    f = Pn[i, j]
                    if f != 0.0:
                        for l in range(nv):
                            PA[i, l] += f * A[j, l]
            for i in range(nn):
                for a in range(nv):
                    f = A[i, a]
                    if f != 0.0:
                        for b in range(a + 1):
                            M[a, b] += f * PA[i, b]
        # --- controls that are fixed by equal bounds do not move
        for i in range(n, nv):
            if S.lw[ow + i] == S.uw[ow + i]:
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
    return -1


@njit(cache=True, nogil=True)
def _stage_product(S, k, J, H, sigma, D, delta_w, dw, out):
    """out_k <- Wf dw_k for one stage."""
    g = S.group[k]
    ow = S.ow[k]
    for i in range(ow, S.ow[k + 1]):
        out[i] = (sigma[i] + delta_w) * dw[i]
    oh = S.oh[k]
    ohc = S.ohcol[g]
    for j in range(S.ohcol[g + 1] - ohc):
        a = ow + S.hrow[ohc + j]
        b = ow + S.hcol[ohc + j]
        v = H[oh + j]
        out[a] += v * dw[b]
        if a != b:
            out[b] += v * dw[a]
    p = S.ojptr[g]
    oc = S.ojcol[g]
    oj = S.oj[k]
    i0 = S.n[k + 1] + S.e[k]
    for i in range(i0, i0 + S.r[k]):
        d = D[S.orow[k] + i]
        if d != 0.0:
            s = 0.0
            for j in range(S.jptr[p + i], S.jptr[p + i + 1]):
                s += J[oj + j] * dw[ow + S.jcol[oc + j]]
            s *= d
            for j in range(S.jptr[p + i], S.jptr[p + i + 1]):
                out[ow + S.jcol[oc + j]] += J[oj + j] * s


@njit(cache=True, nogil=True)
def hessian_product(S, J, H, sigma, D, delta_w, dw, out):
    """out <- Wf dw for all stages."""
    for k in range(S.m.shape[0]):
        _stage_product(S, k, J, H, sigma, D, delta_w, dw, out)


@njit(cache=True, nogil=True)
def solve(S, J, H, sigma, D, delta_w, X, rw, rR, dw, dY, t1, t2):
    """Solve for dw and the multiplier steps dY (rows of F and c) with right-hand sides rw and rR (row layout).

    `t1`, `t2` are workspaces of the size of w.
    """
    K = S.m.shape[0]
    n_max, m_max, nv_max = 1, 1, 1
    for k in range(K):
        n_max = max(n_max, S.n[k])
        m_max = max(m_max, S.m[k])
        nv_max = max(nv_max, S.n[k] + S.m[k])
    pk = np.zeros(n_max)            # p of the stage behind
    b = np.zeros(n_max)
    mv = np.zeros(nv_max)
    # p_k is kept in dY (the place of lambda_k), feed-forward k in dw (u), z0 in dw (z), b in t1 (see below)
    for k in range(K - 1, -1, -1):
        g = S.group[k]
        n = S.n[k]
        m = S.m[k]
        e = S.e[k]
        nn = S.n[k + 1]
        nv = n + m
        ow = S.ow[k]
        orow = S.orow[k]
        p = S.ojptr[g]
        oc = S.ojcol[g]
        oj = S.oj[k]
        A = X.a[X.oa[k]:X.oa[k + 1]].reshape(nn, nv)
        L = X.chol[X.ochol[k]:X.ochol[k + 1]].reshape(m, m)
        gain = X.gain[X.ogain[k]:X.ogain[k + 1]].reshape(m, n)
        for i in range(nn):
            b[i] = rR[orow + i]
        for i in range(nv):
            mv[i] = rw[ow + i]
        if e > 0:
            lu = X.lu[X.olu[k]:X.olu[k + 1]].reshape(e, e)
            piv = X.piv[X.opiv[k]:X.opiv[k + 1]]
            Z = X.z[X.oz[k]:X.oz[k + 1]].reshape(e, nv)
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
                for j in range(S.jptr[p + i], S.jptr[p + i + 1]):
                    c = S.jcol[oc + j]
                    if c >= nv:
                        b[i] += J[oj + j] * z0[c - nv]
        if nn > 0:
            Pn = X.p[X.op[k + 1]:X.op[k + 2]].reshape(nn, nn)
            for i in range(nn):
                t1[S.ow[k + 1] + i] = b[i]
            for i in range(nn):
                s = pk[i]
                for j in range(nn):
                    s += Pn[i, j] * b[j]
                for l in range(nv):
                    mv[l] += A[i, l] * s
        for i in range(m):
            if S.lw[ow + n + i] == S.uw[ow + n + i]:
                mv[n + i] = 0.0
        for l in range(n):
            s = mv[l]
            for i in range(m):
                s += gain[i, l] * mv[n + i]
            pk[l] = s
        if k > 0:
            ol = S.orow[k - 1]
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
        g = S.group[k]
        n = S.n[k]
        m = S.m[k]
        e = S.e[k]
        nn = S.n[k + 1]
        nv = n + m
        ow = S.ow[k]
        orow = S.orow[k]
        A = X.a[X.oa[k]:X.oa[k + 1]].reshape(nn, nv)
        gain = X.gain[X.ogain[k]:X.ogain[k + 1]].reshape(m, n)
        for i in range(m):
            s = dw[ow + n + i]
            for l in range(n):
                s += gain[i, l] * dw[ow + l]
            dw[ow + n + i] = s
        if e > 0:
            Z = X.z[X.oz[k]:X.oz[k + 1]].reshape(e, nv)
            for i in range(e):
                s = dw[ow + nv + i]
                for l in range(nv):
                    s += Z[i, l] * dw[ow + l]
                dw[ow + nv + i] = s
        if nn > 0:
            on = S.ow[k + 1]
            Pn = X.p[X.op[k + 1]:X.op[k + 2]].reshape(nn, nn)
            for i in range(nn):
                s = t1[on + i]
                for l in range(nv):
                    s += A[i, l] * dw[ow + l]
                b[i] = s
            for i in range(nn):
                dw[on + i] = b[i]
                s = dY[orow + i]
                for j in range(nn):
                    s += Pn[i, j] * b[j]
                dY[orow + i] = s
        if e > 0:
            # multipliers of c: c_z' dy_c = -(rw_z + (Wf dw)_z + F_z' dlam_{k+1})
            lu = X.lu[X.olu[k]:X.olu[k + 1]].reshape(e, e)
            piv = X.piv[X.opiv[k]:X.opiv[k + 1]]
            p = S.ojptr[g]
            oc = S.ojcol[g]
            oj = S.oj[k]
            _stage_product(S, k, J, H, sigma, D, delta_w, dw, t2)
            y = dY[orow + nn:orow + nn + e]
            for i in range(e):
                y[i] = -(rw[ow + nv + i] + t2[ow + nv + i])
            for i in range(nn):
                for j in range(S.jptr[p + i], S.jptr[p + i + 1]):
                    c = S.jcol[oc + j]
                    if c >= nv:
                        y[c - nv] -= J[oj + j] * dY[orow + i]
            _lu_solve_transposed(lu, piv, y)
