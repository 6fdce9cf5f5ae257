"""Newton's direction of the barrier problem, with iterative refinement, inertia correction and initial multipliers.

    (H + sigma + delta_w) dw + J' dY - dlam = -(dL/dw with primal barrier terms)
    linearised rows = -C;  slacks and bound multipliers eliminated (header of `kernels.interior`)

The damping delta_c of the equality rows (header of `kernels.riccati`) is removed by refinement against the undamped
rows.
"""

from __future__ import annotations

import numpy as np

from adjoint.kernels.barrier import fill
from adjoint.kernels.constants import (
    DELTA_C,
    DELTA_LAST,
    DELTA_W0,
    DELTA_W_MAX,
    DELTA_W_MIN,
    LEFT,
    N_FACTOR,
    TOL,
    VIOLATION,
)
from adjoint.kernels.jit import jit, jit_inline
from adjoint.kernels.records import (
    Q_CW,
    Q_CY,
    Q_D,
    Q_DS,
    Q_DW,
    Q_DY,
    Q_JD,
    Q_R,
    Q_R1,
    Q_RR,
    Q_RW,
    Q_S,
    Q_SIGMA,
    Q_T1,
    Q_T2,
    Q_T3,
    Q_VL,
    Q_VU,
    Q_W,
    Q_Y,
    Q_YP,
    Q_ZL,
    Q_ZU,
    S_E,
    S_GROUP,
    S_JCOL,
    S_KIND,
    S_LR,
    S_LW,
    S_N,
    S_OJ,
    S_OJCOL,
    S_OJPTR,
    S_OROW,
    S_OW,
    S_R,
    S_UR,
    S_UW,
)
from adjoint.kernels.riccati import factorize, hessian_product, solve
from adjoint.kernels.stages import COST, EQUALITY, INEQUALITY, jacobian_product, jacobian_transposed_product

__all__ = ["add_path_transposed", "direction", "equality_residual", "factor_with_inertia", "least_squares_multipliers"]


@jit
def equality_residual(S, jd, C):
    """Largest residual of the linearised equality rows."""
    left = 0.0
    for i in range(C.shape[0]):
        if S.row_kind[S_KIND, i] == EQUALITY:
            left = max(left, abs(jd[i] + C[i]))
    return left


@jit
def add_path_transposed(S, J, y, out):
    """out += h_w' y for the path rows."""
    group, ojptr, ojcol = S.stage[S_GROUP], S.groups[S_OJPTR], S.groups[S_OJCOL]
    n, e, r, orow = S.stage[S_N], S.stage[S_E], S.stage[S_R], S.stage[S_OROW]
    jptr, ow, jcol, oj = S.jptr, S.stage[S_OW], S.jacobian[S_JCOL], S.stage[S_OJ]
    for k in range(S.data.shape[0]):
        g = group[k]
        i0 = n[k + 1] + e[k]
        p = ojptr[g]
        oc = ojcol[g]
        for i in range(i0, i0 + r[k]):
            v = y[orow[k] + i]
            if v != 0.0:
                for j in range(jptr[p + i], jptr[p + i + 1]):
                    out[ow[k] + jcol[oc + j]] += J[oj[k] + j] * v


@jit
def direction(S, X, Q, mu, delta_w, C):
    """Newton step dw, ds, dY for residuals C, with iterative refinement of the undamped equality rows."""
    lw, uw, lr, ur = S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_data[S_LR], S.row_data[S_UR]
    J, yp, rw, H = Q.J, Q.row[Q_YP], Q.unknown[Q_RW], Q.H
    sigma, D, rR, dw = Q.unknown[Q_SIGMA], Q.row[Q_D], Q.row[Q_RR], Q.unknown[Q_DW]
    dY, t1, t2, jd = Q.row[Q_DY], Q.unknown[Q_T1], Q.unknown[Q_T2], Q.row[Q_JD]
    Y, t3, r1, cw = Q.row[Q_Y], Q.unknown[Q_T3], Q.row[Q_R1], Q.unknown[Q_CW]
    cY, w, ds, s = Q.row[Q_CY], Q.unknown[Q_W], Q.row[Q_DS], Q.row[Q_S]
    R = Q.row[Q_R]
    # base right-hand side: dL/dw with primal barrier terms; path rows folded in through yp
    for i in range(R.shape[0]):
        kind = S.row_kind[S_KIND, i]
        if kind == INEQUALITY:
            rs = -Y[i]
            if lr[i] > -np.inf:
                rs -= mu / (s[i] - lr[i])
            if ur[i] < np.inf:
                rs += mu / (ur[i] - s[i])
            rR[i] = rs
            yp[i] = Y[i] + D[i] * C[i] + rs
        elif kind == EQUALITY:
            rR[i] = 0.0
            yp[i] = Y[i] + C[i] / DELTA_C
        else:
            rR[i] = C[i]
            yp[i] = Y[i]
    jacobian_transposed_product(S, J, yp, rw)
    for i in range(w.shape[0]):
        if lw[i] < uw[i]:
            if lw[i] > -np.inf:
                rw[i] -= mu / (w[i] - lw[i])
            if uw[i] < np.inf:
                rw[i] += mu / (uw[i] - w[i])
    solve(S, J, H, sigma, D, delta_w, 0.0, X, rw, rR, dw, dY, t1, t2)
    jacobian_product(S, J, dw, jd)
    for i in range(R.shape[0]):
        kind = S.row_kind[S_KIND, i]
        if kind == INEQUALITY:
            ds[i] = jd[i] + C[i]
            dY[i] = D[i] * ds[i] + rR[i]
        elif kind == EQUALITY:
            dY[i] = (jd[i] + C[i]) / DELTA_C
        elif kind == COST:
            dY[i] = 0.0
    # The damping delta_c leaves a residual delta_c dY in the equality rows. Far from the solution it does not matter.
    left = equality_residual(S, jd, C)
    if left <= 0.01 * max(Q.option[TOL], Q.number[VIOLATION]):
        Q.number[LEFT] = 0.0
        return
    # right-hand side without the folded path terms, for true residuals (kept in t3)
    jacobian_transposed_product(S, J, Y, t3)
    for i in range(w.shape[0]):
        if lw[i] < uw[i]:
            if lw[i] > -np.inf:
                t3[i] -= mu / (w[i] - lw[i])
            if uw[i] < np.inf:
                t3[i] += mu / (uw[i] - w[i])
    last = np.inf
    for _ in range(4):
        # residual of stationarity: (H + sigma + delta_w) dw + J' dY - dlam + base; D is zeroed in the product
        fill(r1, 0.0)
        hessian_product(S, J, H, sigma, r1, delta_w, dw, rw)
        jacobian_transposed_product(S, J, dY, t1)
        size = 0.0
        for i in range(w.shape[0]):
            if lw[i] == uw[i]:
                rw[i] = 0.0
            else:
                rw[i] += t1[i] + t3[i]
                size = max(size, abs(rw[i]))
        scale = 0.0
        for i in range(R.shape[0]):
            kind = S.row_kind[S_KIND, i]
            if kind in (COST, INEQUALITY):
                r1[i] = 0.0
            else:
                r1[i] = jd[i] + C[i]
                size = max(size, abs(r1[i]))
                scale = max(scale, abs(dY[i]))
        if not size < last:
            # the correction did not help: take it back
            if last < np.inf:
                for i in range(w.shape[0]):
                    dw[i] -= cw[i]
                for i in range(R.shape[0]):
                    dY[i] -= cY[i]
                    if S.row_kind[S_KIND, i] == INEQUALITY:
                        ds[i] -= yp[i]
            break
        last = size
        if size <= 1e-10 * (1.0 + scale):
            break
        for i in range(R.shape[0]):
            yp[i] = r1[i] / DELTA_C if S.row_kind[S_KIND, i] == EQUALITY else 0.0
        add_path_transposed(S, J, yp, rw)
        for i in range(R.shape[0]):
            if S.row_kind[S_KIND, i] == EQUALITY or S.row_kind[S_KIND, i] == INEQUALITY:
                yp[i] = r1[i]
                r1[i] = 0.0
        solve(S, J, H, sigma, D, delta_w, 0.0, X, rw, r1, cw, cY, t1, t2)
        jacobian_product(S, J, cw, jd)
        for i in range(R.shape[0]):
            kind = S.row_kind[S_KIND, i]
            if kind == INEQUALITY:
                yp[i] = jd[i]
                ds[i] += jd[i]
                cY[i] = D[i] * jd[i]
            elif kind == EQUALITY:
                cY[i] = (jd[i] + yp[i]) / DELTA_C
            elif kind == COST:
                cY[i] = 0.0
            dY[i] += cY[i]
        for i in range(w.shape[0]):
            dw[i] += cw[i]
        jacobian_product(S, J, dw, jd)
    # What even the refined step leaves of the equalities: near 1 if they contradict each other or the dynamics.
    largest = 0.0
    for i in range(R.shape[0]):
        if S.row_kind[S_KIND, i] == EQUALITY:
            largest = max(largest, abs(C[i]))
    Q.number[LEFT] = equality_residual(S, jd, C) / largest if largest > 100.0 * Q.option[TOL] else 0.0


@jit_inline
def factor_with_inertia(S, X, Q):
    """Factor; add delta_w until the curvature is right (algorithm IC). Returns delta_w, or -1."""
    count, number, J, H, sigma, D = Q.counter, Q.number, Q.J, Q.H, Q.unknown[Q_SIGMA], Q.row[Q_D]
    count[N_FACTOR] += 1
    if factorize(S, J, H, sigma, D, 0.0, 0.0, X) < 0:
        return 0.0
    last = number[DELTA_LAST]
    delta = DELTA_W0 if last == 0.0 else max(DELTA_W_MIN, last / 3.0)
    for _ in range(60):
        count[N_FACTOR] += 1
        if factorize(S, J, H, sigma, D, delta, 0.0, X) < 0:
            number[DELTA_LAST] = delta
            return delta
        delta *= 100.0 if last == 0.0 else 8.0
        if delta > DELTA_W_MAX:
            break
    return -1.0


@jit_inline
def least_squares_multipliers(S, X, Q):
    """Y <- argmin |dL/dw| over the multipliers (36), by the same factorisation with Hessian = identity."""
    lw, uw, lr, ur = S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_data[S_LR], S.row_data[S_UR]
    H, sigma, J, yp = Q.H, Q.unknown[Q_SIGMA], Q.J, Q.row[Q_YP]
    rw, D, rR, dw = Q.unknown[Q_RW], Q.row[Q_D], Q.row[Q_RR], Q.unknown[Q_DW]
    dY, t1, t2, jd = Q.row[Q_DY], Q.unknown[Q_T1], Q.unknown[Q_T2], Q.row[Q_JD]
    R, w, Y, vl = Q.row[Q_R], Q.unknown[Q_W], Q.row[Q_Y], Q.row[Q_VL]
    vu, zl, zu = Q.row[Q_VU], Q.unknown[Q_ZL], Q.unknown[Q_ZU]
    fill(H, 0.0)
    fill(sigma, 1.0)
    for i in range(R.shape[0]):
        kind = S.row_kind[S_KIND, i]
        D[i] = 1.0 / DELTA_C if kind == EQUALITY else (1.0 if kind == INEQUALITY else 0.0)
        yp[i] = 1.0 if kind == COST else 0.0
        rR[i] = 0.0
        if kind == INEQUALITY:
            # slack: dy_h = ds - vl + vu, ds = h_w dw
            v = 0.0
            if lr[i] > -np.inf:
                v -= vl[i]
            if ur[i] < np.inf:
                v += vu[i]
            yp[i] = v
    jacobian_transposed_product(S, J, yp, rw)
    for i in range(w.shape[0]):
        if lw[i] < uw[i]:
            if lw[i] > -np.inf:
                rw[i] -= zl[i]
            if uw[i] < np.inf:
                rw[i] += zu[i]
    ok = factorize(S, J, H, sigma, D, 0.0, 0.0, X) < 0
    worst = 0.0
    if ok:
        solve(S, J, H, sigma, D, 0.0, 0.0, X, rw, rR, dw, dY, t1, t2)
        jacobian_product(S, J, dw, jd)
        for i in range(R.shape[0]):
            kind = S.row_kind[S_KIND, i]
            if kind == EQUALITY:
                Y[i] = jd[i] / DELTA_C
            elif kind == INEQUALITY:
                Y[i] = jd[i] + yp[i]
            elif kind == COST:
                Y[i] = 1.0
            else:
                Y[i] = dY[i]
            worst = max(worst, abs(Y[i]))
    if not (ok and worst < 1e3):
        for i in range(R.shape[0]):
            Y[i] = 1.0 if S.row_kind[S_KIND, i] == COST else 0.0
