"""A primal-dual interior-point method on the stage structure, compiled as one resumable loop.

    min  sum_k l_k(w_k)     subject to   F_k(w_k) = x_{k+1},  c_k(w_k) = 0,  h_k(w_k) = s_k,
                                          lw <= w <= uw,  lr <= s <= ur      (lr == ur: h_k(w_k) = lr, no slack)

is replaced by a sequence of barrier problems, phi = sum l - mu sum log(distance to each bound), mu -> 0. Newton's
method on the primal-dual equations, with the bound multipliers and slacks eliminated, gives the system of
`kernels.riccati` with

    sigma = zl/(w - lw) + zu/(uw - w)                    D = vl/(s - lr) + vu/(ur - s)   or   1/delta_c (equality).

Steps are kept strictly inside the bounds (fraction to the boundary) and accepted by a filter on (theta, phi), theta
the 1-norm of the constraint residuals, with second-order corrections; if no step is acceptable, a restoration phase
reduces the violation of the path rows subject to the linearised dynamics. delta_w > 0 is added to the Hessian when
the factorisation finds the wrong curvature. Constants and rules follow Waechter & Biegler, Math. Program. 106 (2006)
25-57 (equation numbers below are theirs); the restoration phase is a Levenberg-Marquardt method of our own.
"""

from __future__ import annotations

import numpy as np

from adjoint.kernels.jit import jit, jit_inline
from adjoint.kernels.records import (
    Q_C,
    Q_CT,
    Q_CW,
    Q_CY,
    Q_D,
    Q_DS,
    Q_DW,
    Q_DY,
    Q_GRAD,
    Q_JD,
    Q_R,
    Q_R1,
    Q_RR,
    Q_RT,
    Q_RW,
    Q_S,
    Q_S0,
    Q_SIGMA,
    Q_ST,
    Q_T1,
    Q_T2,
    Q_T3,
    Q_VL,
    Q_VL0,
    Q_VU,
    Q_VU0,
    Q_W,
    Q_W0,
    Q_WT,
    Q_Y,
    Q_Y0,
    Q_YP,
    Q_ZL,
    Q_ZL0,
    Q_ZU,
    Q_ZU0,
    S_E,
    S_FIRST,
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
    S_SR,
    S_SW,
    S_TARGET,
    S_UR,
    S_UW,
)
from adjoint.kernels.riccati import factorize, hessian_product, solve
from adjoint.kernels.stages import (
    COST,
    EQUALITY,
    HESSIAN,
    INEQUALITY,
    JACOBIAN,
    LOCAL,
    ROWS,
    evaluate,
    jacobian_product,
    jacobian_transposed_product,
)

__all__ = [
    "ACCEPTABLE",
    "BAD_CURVATURE",
    "BAD_START",
    "COLD",
    "DIVERGING",
    "INFEASIBLE",
    "NEEDS_RESTORATION",
    "OPTIMAL",
    "RESTORATION_FAILED",
    "RUNNING",
    "STALLED",
    "WARM",
    "iterate",
    "prepare",
    "restore",
]

# Status codes.
RUNNING, OPTIMAL, ACCEPTABLE, INFEASIBLE, DIVERGING, RESTORATION_FAILED, BAD_START, BAD_CURVATURE, STALLED = range(9)
# Not an end: `iterate` found no acceptable step; call `restore` and go on.
NEEDS_RESTORATION = 9
# What `iterate` begins with: w alone; w and all multipliers; going on; going back to the optimum that was kept.
# The last is a start that only `restore` uses.
COLD, WARM, CONTINUE, RECALL, RESTORE = range(5)

# Slots of Iterate.number.
MU, THETA_MAX, THETA_MIN, DELTA_LAST, OBJECTIVE, THETA, DUAL, COMPLEMENTARITY = range(8)
ERROR, ALPHA, ALPHA_DUAL, DELTA = range(8, 12)
STEP, VIOLATION, LEFT, OMEGA = 12, 13, 14, 15
N_NUMBERS = 20
# Slots of Iterate.count.
ITERATION, N_FILTER, STATUS, N_TRIALS, ACCEPTABLE_RUN, TINY_RUN, N_RESTORATION, N_FACTOR, POLISH = range(9)
N_COUNTS = 12
# Slots of Iterate.option.
TOL, MU_INIT, ACCEPTABLE_TOL, PUSH = range(4)
# Columns of Iterate.history: iteration, objective, theta, dual, mu, step, delta_w, alpha_dual, alpha, trials
N_HISTORY = 10

KAPPA_EPS, KAPPA_MU, THETA_MU, TAU_MIN = 10.0, 0.2, 1.5, 0.99
GAMMA_THETA, GAMMA_PHI, DELTA_SWITCH, S_THETA, S_PHI, ETA_PHI = 1e-5, 1e-8, 1.0, 1.1, 2.3, 1e-8
KAPPA_SIGMA, KAPPA_SOC, MAX_SOC = 1e10, 0.99, 4
DELTA_C = 1e-8
# After the tolerance is met: iterations towards mu = POLISHED tol, for crisp controls and accurate multipliers.
POLISHING, POLISHED = 6, 1e-3
# Largest weight of the dynamics in the restoration phase; size of a scaled unknown that counts as unbounded.
HARDEST, UNBOUNDED = 1e4, 1e8
DELTA_W0, DELTA_W_MIN, DELTA_W_MAX = 1e-4, 1e-20, 1e40


@jit
def _fill(a, value):
    for i in range(a.shape[0]):
        a[i] = value


@jit
def _copy(source, target):
    for i in range(source.shape[0]):
        target[i] = source[i]


@jit
def residuals(S, R, w, s, C):
    """C <- constraint residuals in the row layout (zero in the cost rows). Returns the 1-norm and the largest."""
    target, lr = S.row_kind[S_TARGET], S.row_data[S_LR]
    total = 0.0
    worst = 0.0
    for i in range(R.shape[0]):
        kind = S.row_kind[S_KIND, i]
        if kind == COST:
            c = 0.0
        elif target[i] >= 0:
            c = R[i] - w[target[i]]
        elif kind == EQUALITY:
            c = R[i] - lr[i]
        elif kind == INEQUALITY:
            c = R[i] - s[i]
        else:
            c = R[i]
        C[i] = c
        total += abs(c)
        if abs(c) > worst:
            worst = abs(c)
    return total, worst


@jit
def _objective(S, R):
    orow = S.stage[S_OROW]
    f = 0.0
    for k in range(S.data.shape[0]):
        f += R[orow[k + 1] - 1]
    return f


@jit
def _free(S, i):
    lw, uw = S.unknown_data[S_LW], S.unknown_data[S_UW]
    return lw[i] < uw[i]


@jit
def _barrier(S, R, w, s, mu):
    """phi = sum l - mu sum log(distances)."""
    lw, uw, kind, lr = S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_kind[S_KIND], S.row_data[S_LR]
    ur = S.row_data[S_UR]
    b = 0.0
    for i in range(w.shape[0]):
        lo = lw[i]
        up = uw[i]
        if lo < up:
            if lo > -np.inf:
                b -= np.log(w[i] - lo)
            if up < np.inf:
                b -= np.log(up - w[i])
    for i in range(R.shape[0]):
        if kind[i] == INEQUALITY:
            if lr[i] > -np.inf:
                b -= np.log(s[i] - lr[i])
            if ur[i] < np.inf:
                b -= np.log(ur[i] - s[i])
    return _objective(S, R) + mu * b


@jit
def _inside(x, lo, up, push):
    """The point nearest x that keeps a margin to its bounds (section 3.6)."""
    if lo > -np.inf and up < np.inf:
        pl = min(push * max(1.0, abs(lo)), push * (up - lo))
        pu = min(push * max(1.0, abs(up)), push * (up - lo))
        return min(max(x, lo + pl), up - pu)
    if lo > -np.inf:
        return max(x, lo + push * max(1.0, abs(lo)))
    if up < np.inf:
        return min(x, up - push * max(1.0, abs(up)))
    return x


@jit
def _weights(S, Q):
    """sigma and D of the primal-dual system."""
    lw, uw, lr, ur = S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_data[S_LR], S.row_data[S_UR]
    sigma, R, D, zl = Q.unknown[Q_SIGMA], Q.row[Q_R], Q.row[Q_D], Q.unknown[Q_ZL]
    zu, vl, vu, s = Q.unknown[Q_ZU], Q.row[Q_VL], Q.row[Q_VU], Q.row[Q_S]
    w = Q.unknown[Q_W]
    for i in range(w.shape[0]):
        v = 0.0
        if lw[i] < uw[i]:
            if lw[i] > -np.inf:
                v += zl[i] / (w[i] - lw[i])
            if uw[i] < np.inf:
                v += zu[i] / (uw[i] - w[i])
        sigma[i] = v
    for i in range(R.shape[0]):
        kind = S.row_kind[S_KIND, i]
        if kind == EQUALITY:
            D[i] = 1.0 / DELTA_C
        elif kind == INEQUALITY:
            v = 0.0
            if lr[i] > -np.inf:
                v += vl[i] / (s[i] - lr[i])
            if ur[i] < np.inf:
                v += vu[i] / (ur[i] - s[i])
            D[i] = v
        else:
            D[i] = 0.0


@jit
def _optimality(S, Q, mu):
    """E_mu (5): the largest scaled violation of the barrier problem's conditions; sets DUAL, COMPLEMENTARITY."""
    lw, uw, lr, ur = S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_data[S_LR], S.row_data[S_UR]
    number, grad, w, zl = Q.number, Q.unknown[Q_GRAD], Q.unknown[Q_W], Q.unknown[Q_ZL]
    zu, R, Y, vl = Q.unknown[Q_ZU], Q.row[Q_R], Q.row[Q_Y], Q.row[Q_VL]
    vu, s = Q.row[Q_VU], Q.row[Q_S]
    dual = 0.0
    compl = 0.0
    sum_y = 0.0
    sum_z = 0.0
    n_y = 0
    n_z = 0
    for i in range(w.shape[0]):
        if lw[i] == uw[i]:
            continue
        d = grad[i]
        if lw[i] > -np.inf:
            d -= zl[i]
            compl = max(compl, abs(zl[i] * (w[i] - lw[i]) - mu))
            sum_z += zl[i]
            n_z += 1
        if uw[i] < np.inf:
            d += zu[i]
            compl = max(compl, abs(zu[i] * (uw[i] - w[i]) - mu))
            sum_z += zu[i]
            n_z += 1
        dual = max(dual, abs(d))
    for i in range(R.shape[0]):
        kind = S.row_kind[S_KIND, i]
        if kind == COST:
            continue
        sum_y += abs(Y[i])
        n_y += 1
        if kind == INEQUALITY:
            d = -Y[i]
            if lr[i] > -np.inf:
                d -= vl[i]
                compl = max(compl, abs(vl[i] * (s[i] - lr[i]) - mu))
                sum_z += vl[i]
                n_z += 1
            if ur[i] < np.inf:
                d += vu[i]
                compl = max(compl, abs(vu[i] * (ur[i] - s[i]) - mu))
                sum_z += vu[i]
                n_z += 1
            dual = max(dual, abs(d))
    s_d = max(100.0, (sum_y + sum_z) / max(1, n_y + n_z)) / 100.0
    s_c = max(100.0, sum_z / max(1, n_z)) / 100.0
    number[DUAL] = dual
    number[COMPLEMENTARITY] = compl
    return max(dual / s_d, number[VIOLATION], compl / s_c)


@jit
def _equality_residual(S, jd, C):
    """Largest residual of the linearised equality rows."""
    left = 0.0
    for i in range(C.shape[0]):
        if S.row_kind[S_KIND, i] == EQUALITY:
            left = max(left, abs(jd[i] + C[i]))
    return left


@jit
def _direction(S, X, Q, mu, delta_w, C):
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
    left = _equality_residual(S, jd, C)
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
        _fill(r1, 0.0)
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
        _add_path_transposed(S, J, yp, rw)
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
    Q.number[LEFT] = _equality_residual(S, jd, C) / largest if largest > 100.0 * Q.option[TOL] else 0.0


@jit
def _add_path_transposed(S, J, y, out):
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
def _step_to_boundary(S, Q, tau, mu):
    """Largest primal and dual step lengths that keep the fraction tau of every distance (15)."""
    lw, uw, kind, lr = S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_kind[S_KIND], S.row_data[S_LR]
    ur = S.row_data[S_UR]
    dw, w, R, ds = Q.unknown[Q_DW], Q.unknown[Q_W], Q.row[Q_R], Q.row[Q_DS]
    zl, zu, s, vl = Q.unknown[Q_ZL], Q.unknown[Q_ZU], Q.row[Q_S], Q.row[Q_VL]
    vu = Q.row[Q_VU]
    primal = 1.0
    dual = 1.0
    for i in range(w.shape[0]):
        lo = lw[i]
        up = uw[i]
        if lo == up:
            continue
        d = dw[i]
        if lo > -np.inf:
            gap = w[i] - lo
            if d < 0.0:
                primal = min(primal, -tau * gap / d)
            dz = (mu - zl[i] * d) / gap - zl[i]
            if dz < 0.0:
                dual = min(dual, -tau * zl[i] / dz)
        if up < np.inf:
            gap = up - w[i]
            if d > 0.0:
                primal = min(primal, tau * gap / d)
            dz = (mu + zu[i] * d) / gap - zu[i]
            if dz < 0.0:
                dual = min(dual, -tau * zu[i] / dz)
    for i in range(R.shape[0]):
        if kind[i] == INEQUALITY:
            d = ds[i]
            if lr[i] > -np.inf:
                gap = s[i] - lr[i]
                if d < 0.0:
                    primal = min(primal, -tau * gap / d)
                dz = (mu - vl[i] * d) / gap - vl[i]
                if dz < 0.0:
                    dual = min(dual, -tau * vl[i] / dz)
            if ur[i] < np.inf:
                gap = ur[i] - s[i]
                if d > 0.0:
                    primal = min(primal, tau * gap / d)
                dz = (mu + vu[i] * d) / gap - vu[i]
                if dz < 0.0:
                    dual = min(dual, -tau * vu[i] / dz)
    return primal, dual


@jit
def _kept(z, gap, mu):
    """Bound multiplier reset (16): never far from mu / gap."""
    return max(min(z, KAPPA_SIGMA * mu / gap), mu / (KAPPA_SIGMA * gap))


@jit
def _dual_step(S, Q, alpha, mu, w_old, s_old):
    """zl, zu, vl, vu by their own step length, from the distances before the step; then (16) with the new ones."""
    lw, uw, kind, lr = S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_kind[S_KIND], S.row_data[S_LR]
    ur = S.row_data[S_UR]
    w, zl, zu, R = Q.unknown[Q_W], Q.unknown[Q_ZL], Q.unknown[Q_ZU], Q.row[Q_R]
    vl, vu, s, dw = Q.row[Q_VL], Q.row[Q_VU], Q.row[Q_S], Q.unknown[Q_DW]
    ds = Q.row[Q_DS]
    for i in range(w.shape[0]):
        lo = lw[i]
        up = uw[i]
        if lo == up:
            continue
        if lo > -np.inf:
            gap = w_old[i] - lo
            z = zl[i] + alpha * ((mu - zl[i] * dw[i]) / gap - zl[i])
            zl[i] = _kept(z, w[i] - lo, mu)
        if up < np.inf:
            gap = up - w_old[i]
            z = zu[i] + alpha * ((mu + zu[i] * dw[i]) / gap - zu[i])
            zu[i] = _kept(z, up - w[i], mu)
    for i in range(R.shape[0]):
        if kind[i] == INEQUALITY:
            if lr[i] > -np.inf:
                gap = s_old[i] - lr[i]
                z = vl[i] + alpha * ((mu - vl[i] * ds[i]) / gap - vl[i])
                vl[i] = _kept(z, s[i] - lr[i], mu)
            if ur[i] < np.inf:
                gap = ur[i] - s_old[i]
                z = vu[i] + alpha * ((mu + vu[i] * ds[i]) / gap - vu[i])
                vu[i] = _kept(z, ur[i] - s[i], mu)


@jit
def _in_filter(Q, theta, phi):
    """True when (theta, phi) is dominated by an entry, or theta is too large altogether."""
    count, number = Q.counter, Q.number
    if not (theta <= number[THETA_MAX] and phi < np.inf):
        return True
    for i in range(count[N_FILTER]):  # noqa: SIM110 (a loop is what Numba compiles well)
        if theta >= Q.filter[i, 0] and phi >= Q.filter[i, 1]:
            return True
    return False


@jit
def _augment_filter(Q, theta, phi):
    count = Q.counter
    n = count[N_FILTER]
    t = (1.0 - GAMMA_THETA) * theta
    f = phi - GAMMA_PHI * theta
    kept = 0
    for i in range(n):
        if not (Q.filter[i, 0] >= t and Q.filter[i, 1] >= f):
            Q.filter[kept, 0] = Q.filter[i, 0]
            Q.filter[kept, 1] = Q.filter[i, 1]
            kept += 1
    if kept == Q.filter.shape[0]:
        kept -= 1
    Q.filter[kept, 0] = t
    Q.filter[kept, 1] = f
    count[N_FILTER] = kept + 1


@jit_inline
def _factor_with_inertia(S, X, Q):
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
def _least_squares_multipliers(S, X, Q):
    """Y <- argmin |dL/dw| over the multipliers (36), by the same factorisation with Hessian = identity."""
    lw, uw, lr, ur = S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_data[S_LR], S.row_data[S_UR]
    H, sigma, J, yp = Q.H, Q.unknown[Q_SIGMA], Q.J, Q.row[Q_YP]
    rw, D, rR, dw = Q.unknown[Q_RW], Q.row[Q_D], Q.row[Q_RR], Q.unknown[Q_DW]
    dY, t1, t2, jd = Q.row[Q_DY], Q.unknown[Q_T1], Q.unknown[Q_T2], Q.row[Q_JD]
    R, w, Y, vl = Q.row[Q_R], Q.unknown[Q_W], Q.row[Q_Y], Q.row[Q_VL]
    vu, zl, zu = Q.row[Q_VU], Q.unknown[Q_ZL], Q.unknown[Q_ZU]
    _fill(H, 0.0)
    _fill(sigma, 1.0)
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


@jit
def _trial(S, Q, alpha, mu):
    """Evaluate w + alpha dw, s + alpha ds into wt, st, Rt, Ct. Returns (theta, worst, phi), inf where not finite."""
    kind = S.row_kind[S_KIND]
    Rt, wt, st, Ct = Q.row[Q_RT], Q.unknown[Q_WT], Q.row[Q_ST], Q.row[Q_CT]
    w, R, dw, s = Q.unknown[Q_W], Q.row[Q_R], Q.unknown[Q_DW], Q.row[Q_S]
    ds = Q.row[Q_DS]
    for i in range(w.shape[0]):
        wt[i] = w[i] + alpha * dw[i]
    for i in range(R.shape[0]):
        st[i] = s[i] + alpha * ds[i] if kind[i] == INEQUALITY else 0.0
    if not evaluate(S, ROWS, wt, Rt, Rt):
        return np.inf, np.inf, np.inf
    theta, worst = residuals(S, Rt, wt, st, Ct)
    return theta, worst, _barrier(S, Rt, wt, st, mu)


@jit
def _slope(S, Q, mu):
    """Directional derivative of phi along (dw, ds)."""
    kind, lw, uw, lr = S.row_kind[S_KIND], S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_data[S_LR]
    ur = S.row_data[S_UR]
    J, dw, jd, R, w, ds, s = Q.J, Q.unknown[Q_DW], Q.row[Q_JD], Q.row[Q_R], Q.unknown[Q_W], Q.row[Q_DS], Q.row[Q_S]
    jacobian_product(S, J, dw, jd)
    d = 0.0
    for i in range(R.shape[0]):
        if kind[i] == COST:
            d += jd[i]
        elif kind[i] == INEQUALITY:
            if lr[i] > -np.inf:
                d -= mu * ds[i] / (s[i] - lr[i])
            if ur[i] < np.inf:
                d += mu * ds[i] / (ur[i] - s[i])
    for i in range(w.shape[0]):
        if lw[i] < uw[i]:
            if lw[i] > -np.inf:
                d -= mu * dw[i] / (w[i] - lw[i])
            if uw[i] < np.inf:
                d += mu * dw[i] / (uw[i] - w[i])
    return d


@jit
def _acceptable_step(Q, theta, phi, slope, alpha, theta_t, phi_t):
    """Filter line-search test (A-5.4): 0 rejected, 1 accepted by decrease of the objective, 2 by either measure."""
    number = Q.number
    if _in_filter(Q, theta_t, phi_t):
        return 0
    slack = 10.0 * 2.220446e-16 * max(1.0, abs(phi))
    switching = slope < 0.0 and alpha * (-slope) ** S_PHI > DELTA_SWITCH * theta ** S_THETA
    if theta <= number[THETA_MIN] and switching:
        return 1 if phi_t - slack <= phi + ETA_PHI * alpha * slope else 0
    if theta_t <= (1.0 - GAMMA_THETA) * theta or phi_t - slack <= phi - GAMMA_PHI * theta:
        return 1 if switching and phi_t - slack <= phi + ETA_PHI * alpha * slope else 2
    return 0


@jit
def _restore(S, X, Q, max_iterations):
    """Reduce the constraint violation until the filter accepts the point.

    Levenberg-Marquardt on half the squared residuals of all constraints, with the barrier on all bounds:

        min  |y|_omega^2/2 + eta |w + dw - w_0|^2/2 + zeta |dw|^2/2 + barrier      y = C + (linearised rows) dw - ds

    (w_0: where the phase began, so that it does not wander), the same linear system with Hessian (eta + zeta) I,
    soft dynamics, and D = Sigma_s/(1 + Sigma_s) for an
    inequality, 1 for an equality. `S` must be a softened programme (local unknowns counted as controls, local rows as
    equalities; see `control.newton`). The norm weighs dynamics and local rows by omega: usually 1 while looking for a
    feasible point, then large, so that a point where nothing helps violates a condition and not, a little
    everywhere, the physics. 0: accepted; 1: stationary, locally infeasible; 2: out of iterations.
    """
    lw, uw, kind, lr = S.unknown_data[S_LW], S.unknown_data[S_UW], S.row_kind[S_KIND], S.row_data[S_LR]
    ur, target = S.row_data[S_UR], S.row_kind[S_TARGET]
    number, J, H, w, s = Q.number, Q.J, Q.H, Q.unknown[Q_W], Q.row[Q_S]
    R, C, D, ds, dw = Q.row[Q_R], Q.row[Q_C], Q.row[Q_D], Q.row[Q_DS], Q.unknown[Q_DW]
    sigma, rR, rw, yp = Q.unknown[Q_SIGMA], Q.row[Q_RR], Q.unknown[Q_RW], Q.row[Q_YP]
    dY, jd, r1, t1, t2 = Q.row[Q_DY], Q.row[Q_JD], Q.row[Q_R1], Q.unknown[Q_T1], Q.unknown[Q_T2]
    mu = max(number[MU], 1e-3)
    theta_0 = number[THETA]
    zeta, eta, omega = 1.0, 1e-3, number[OMEGA]
    origin = Q.unknown[Q_T3]
    _copy(w, origin)
    _fill(H, 0.0)
    theta_t, _ = residuals(S, R, w, s, C)
    for _ in range(max_iterations):
        soft = 0.0
        for i in range(w.shape[0]):
            v = 0.0
            soft += 0.5 * eta * (w[i] - origin[i]) ** 2
            if lw[i] < uw[i]:
                if lw[i] > -np.inf:
                    v += mu / (w[i] - lw[i]) ** 2
                if uw[i] < np.inf:
                    v += mu / (uw[i] - w[i]) ** 2
            sigma[i] = v
        for i in range(R.shape[0]):
            D[i], rR[i], yp[i], ds[i], r1[i] = 0.0, 0.0, 0.0, 0.0, 0.0
            if kind[i] == COST:
                continue
            weight = omega if kind[i] == LOCAL or target[i] >= 0 else 1.0
            soft += 0.5 * weight * C[i] ** 2
            if kind[i] == EQUALITY or kind[i] == LOCAL:
                D[i], yp[i] = weight, weight * C[i]
            elif kind[i] == INEQUALITY:
                sig, rb = 0.0, 0.0
                if lr[i] > -np.inf:
                    gap = s[i] - lr[i]
                    sig += mu / gap ** 2
                    rb -= mu / gap
                if ur[i] < np.inf:
                    gap = ur[i] - s[i]
                    sig += mu / gap ** 2
                    rb += mu / gap
                D[i] = sig / (1.0 + sig)
                yp[i] = (sig * C[i] + rb) / (1.0 + sig)
                ds[i], r1[i] = sig, rb
            else:
                rR[i] = C[i]
        for i in range(w.shape[0]):
            rw[i] = eta * (w[i] - origin[i])
        _add_path_transposed(S, J, yp, rw)
        for i in range(w.shape[0]):
            if lw[i] < uw[i]:
                if lw[i] > -np.inf:
                    rw[i] -= mu / (w[i] - lw[i])
                if uw[i] < np.inf:
                    rw[i] += mu / (uw[i] - w[i])
        Q.counter[N_FACTOR] += 1
        if factorize(S, J, H, sigma, D, eta + zeta, omega, X) >= 0:
            zeta *= 10.0
            if zeta > 1e20:
                return 2
            continue
        solve(S, J, H, sigma, D, eta + zeta, omega, X, rw, rR, dw, dY, t1, t2)
        jacobian_product(S, J, dw, jd)
        slope = 0.0
        for i in range(R.shape[0]):
            if kind[i] == COST:
                continue
            if kind[i] == INEQUALITY:
                sig, rb = ds[i], r1[i]
                y = (sig * (C[i] + jd[i]) + rb) / (1.0 + sig)
                ds[i] = C[i] + jd[i] - y
                slope += C[i] * (jd[i] - ds[i]) + rb * ds[i]
            else:
                slope += (omega if kind[i] == LOCAL or target[i] >= 0 else 1.0) * C[i] * jd[i]
        size = 0.0
        for i in range(w.shape[0]):
            size = max(size, abs(dw[i]) / (1.0 + abs(w[i])))
            slope += eta * (w[i] - origin[i]) * dw[i]
            if lw[i] < uw[i]:
                if lw[i] > -np.inf:
                    slope -= mu * dw[i] / (w[i] - lw[i])
                if uw[i] < np.inf:
                    slope += mu * dw[i] / (uw[i] - w[i])
        barrier = _barrier(S, R, w, s, mu) - _objective(S, R)
        merit = soft + barrier
        # a stationary point of the violation: lower the barrier, then give up
        if -slope < 1e-10 * max(soft, 1e-12) or size < 1e-9:
            if mu > 1e-9 or eta > 1e-9:
                mu *= 0.1
                eta *= 0.1
                zeta = min(zeta, 1e-4)
                continue
            if omega < HARDEST:
                omega *= 100.0
                mu, eta, zeta = 1e-6, 1e-6, 1e-2
                continue
            return 1
        alpha, _ = _step_to_boundary(S, Q, 0.99, mu)
        accepted = False
        phi_t, soft_t = np.inf, np.inf
        for _ in range(25):
            theta_t, _, phi_t = _trial(S, Q, alpha, number[MU])
            if theta_t < np.inf:
                soft_t = 0.0
                for i in range(w.shape[0]):
                    soft_t += 0.5 * eta * (Q.unknown[Q_WT][i] - origin[i]) ** 2
                for i in range(R.shape[0]):
                    weight = omega if kind[i] == LOCAL or target[i] >= 0 else 1.0
                    soft_t += 0.5 * weight * Q.row[Q_CT][i] ** 2
                Rt = Q.row[Q_RT]
                merit_t = soft_t + _barrier(S, Rt, Q.unknown[Q_WT], Q.row[Q_ST], mu) - _objective(S, Rt)
                if merit_t <= merit + 1e-4 * alpha * slope:
                    accepted = True
                    break
            alpha *= 0.5
        if not accepted:
            zeta = max(10.0 * zeta, 1e-6)
            if zeta > 1e14:
                return 1
            continue
        if alpha > 0.5:
            zeta = max(zeta / 5.0, 1e-10)
        elif alpha < 0.1:
            zeta *= 2.0
        _copy(Q.unknown[Q_WT], w)
        _copy(Q.row[Q_ST], s)
        _copy(Q.row[Q_RT], R)
        _copy(Q.row[Q_CT], C)
        Q.counter[N_RESTORATION] += 1
        if not evaluate(S, JACOBIAN, w, J, J):
            return 2
        if theta_t <= 0.9 * theta_0 and not _in_filter(Q, theta_t, phi_t):
            return 0
        if -slope < 0.1 * mu:
            mu = max(0.2 * mu, 1e-10)
            eta = max(0.2 * eta, 1e-10)
    return 2


@jit
def _push_inside(S, Q, push):
    """Move w inside its bounds and evaluate the rows. False if a value is not finite."""
    lw, uw, w, R = S.unknown_data[S_LW], S.unknown_data[S_UW], Q.unknown[Q_W], Q.row[Q_R]
    for i in range(w.shape[0]):
        w[i] = lw[i] if lw[i] == uw[i] else _inside(w[i], lw[i], uw[i], push)
    return evaluate(S, ROWS, w, R, R)


@jit
def _set_slacks(S, Q, push):
    kind, lr, ur = S.row_kind[S_KIND], S.row_data[S_LR], S.row_data[S_UR]
    s, R = Q.row[Q_S], Q.row[Q_R]
    for i in range(R.shape[0]):
        s[i] = _inside(R[i], lr[i], ur[i], push) if kind[i] == INEQUALITY else 0.0


@jit
def _scale_rows(S, Q):
    """Scale the path rows and the cost so that no gradient entry exceeds 100 (section 3.8), in S, R and J.

    A row has one factor over all stages of its group, the cost one over all groups. A cost whose gradient is below 1
    everywhere is scaled up, so that the answer does not depend on the cost's unit.
    """
    groups, orow, oj, jptr = S.groups, S.stage[S_OROW], S.stage[S_OJ], S.jptr
    J, R = Q.J, Q.row[Q_R]
    cost = 0.0
    for part in range(2):
        for g in range(groups.shape[1] - 1):
            k0, k1 = groups[S_FIRST, g], groups[S_FIRST, g + 1]
            q = orow[k0 + 1] - orow[k0]
            first = q - 1 - S.stage[S_R, k0] if part == 0 else q - 1
            p = groups[S_OJPTR, g]
            for i in range(first, q):
                largest = 0.0
                if part == 0:
                    for k in range(k0, k1):
                        for j in range(oj[k] + jptr[p + i], oj[k] + jptr[p + i + 1]):
                            largest = max(largest, abs(J[j]))
                    if i == q - 1:
                        cost = max(cost, largest)
                        continue
                    factor = 100.0 / largest if largest > 100.0 else 1.0
                else:
                    factor = min(1.0, 100.0 / cost) if cost > 0.0 else 1.0
                    if 0.0 < cost < 1.0:
                        factor = min(1.0 / cost, 1e10)
                if factor != 1.0:
                    for k in range(k0, k1):
                        row = orow[k] + i
                        R[row] *= factor
                        S.row_data[S_SR, row] *= factor
                        S.row_data[S_LR, row] *= factor
                        S.row_data[S_UR, row] *= factor
                        for j in range(oj[k] + jptr[p + i], oj[k] + jptr[p + i + 1]):
                            J[j] *= factor


@jit
def _bound_multipliers(S, Q, mode, mu):
    """Multipliers of the bounds: 1 (COLD), at least mu/gap (WARM), or mu/gap up to 1000 (RESTORE); 0 without a
    bound.
    """
    for part in range(2):
        if part == 0:
            lo, up, x = S.unknown_data[S_LW], S.unknown_data[S_UW], Q.unknown[Q_W]
            zl, zu = Q.unknown[Q_ZL], Q.unknown[Q_ZU]
        else:
            lo, up, x = S.row_data[S_LR], S.row_data[S_UR], Q.row[Q_S]
            zl, zu = Q.row[Q_VL], Q.row[Q_VU]
        kind = S.row_kind[S_KIND]
        for i in range(x.shape[0]):
            bounded = lo[i] < up[i] if part == 0 else kind[i] == INEQUALITY
            for side in range(2):
                z = zl if side == 0 else zu
                gap = x[i] - lo[i] if side == 0 else up[i] - x[i]
                if not bounded or gap == np.inf:
                    z[i] = 0.0
                elif mode == COLD:
                    z[i] = 1.0
                elif mode == WARM:
                    z[i] = max(z[i], mu / gap) if mu > 1e-7 else max(z[i], 0.0)
                else:
                    z[i] = min(1e3, mu / gap)


@jit_inline
def prepare(S, X, Q, mode):
    """Make the iterate ready for `iterate`.

    COLD: from w alone. WARM: from w and all multipliers of an earlier solve; mu follows from how far they are from
    optimal.
    """
    option, count, number = Q.option, Q.counter, Q.number
    w, s, R, C, J, Y = Q.unknown[Q_W], Q.row[Q_S], Q.row[Q_R], Q.row[Q_C], Q.J, Q.row[Q_Y]
    kind = S.row_kind[S_KIND]
    tol = option[TOL]
    _fill(count, 0)
    _fill(number, 0.0)
    mu = option[MU_INIT]
    push = option[PUSH] if mode == COLD else 1e-10
    if not _push_inside(S, Q, push) or not evaluate(S, JACOBIAN, w, J, J):
        count[STATUS] = BAD_START
        return
    _scale_rows(S, Q)
    _set_slacks(S, Q, push)
    if mode == WARM:
        # multipliers come unscaled, of the unscaled cost
        sw, sr = S.unknown_data[S_SW], S.row_data[S_SR]
        cost_scale = sr[sr.shape[0] - 1]
        for i in range(w.shape[0]):
            Q.unknown[Q_ZL][i] *= cost_scale * sw[i]
            Q.unknown[Q_ZU][i] *= cost_scale * sw[i]
        for i in range(R.shape[0]):
            Q.row[Q_VL][i] *= cost_scale / sr[i]
            Q.row[Q_VU][i] *= cost_scale / sr[i]
            Y[i] = 1.0 if kind[i] == COST else Y[i] * cost_scale / sr[i]
        theta, number[VIOLATION] = residuals(S, R, w, s, C)
        _bound_multipliers(S, Q, WARM, 0.0)
        jacobian_transposed_product(S, J, Y, Q.unknown[Q_GRAD])
        mu = max(tol / 11.0, min(mu, _optimality(S, Q, 0.0)))
        if mu > tol:
            push = min(1e-2, mu)
            if not _push_inside(S, Q, push) or not evaluate(S, JACOBIAN, w, J, J):
                count[STATUS] = BAD_START
                return
            _set_slacks(S, Q, push)
            _bound_multipliers(S, Q, WARM, mu)
    else:
        _bound_multipliers(S, Q, COLD, mu)
        if S.quadratic:
            # Newton's step for a quadratic programme does not depend on the multipliers of its linear constraints.
            for i in range(R.shape[0]):
                Y[i] = 1.0 if kind[i] == COST else 0.0
        else:
            _least_squares_multipliers(S, X, Q)
    if S.quadratic:
        evaluate(S, HESSIAN, w, Y, Q.H)
    number[MU] = mu
    theta, worst = residuals(S, R, w, s, C)
    number[THETA], number[VIOLATION], number[OBJECTIVE] = theta, worst, _objective(S, R)
    number[THETA_MAX], number[THETA_MIN] = 1e4 * max(1.0, theta), 1e-4 * max(1.0, theta)


@jit
def restore(S, softened, X, softened_X, Q):
    """Run the restoration phase from an iterate that has no acceptable step; sets the status."""
    count, number = Q.counter, Q.number
    code = _restore(softened, softened_X, Q, 500)
    theta, worst = residuals(S, Q.row[Q_R], Q.unknown[Q_W], Q.row[Q_S], Q.row[Q_C])
    count[ITERATION] += 1
    number[THETA], number[VIOLATION], number[OBJECTIVE] = theta, worst, _objective(S, Q.row[Q_R])
    number[ALPHA], number[ALPHA_DUAL] = 0.0, 0.0
    count[N_TRIALS] = -1
    tol = Q.option[TOL]
    if code == 1 and worst > 10.0 * tol:
        count[STATUS] = INFEASIBLE
    elif code != 0 and worst > tol:
        count[STATUS] = RESTORATION_FAILED
    else:
        count[STATUS] = RUNNING
        _bound_multipliers(S, Q, RESTORE, number[MU])
        _least_squares_multipliers(S, X, Q)
        if S.quadratic:
            evaluate(S, HESSIAN, Q.unknown[Q_W], Q.row[Q_Y], Q.H)


@jit
def _keep(Q):
    """Keep the iterate, which meets the tolerance, before it is polished."""
    unknown, row = Q.unknown, Q.row
    for i in range(unknown.shape[1]):
        unknown[Q_W0, i], unknown[Q_ZL0, i], unknown[Q_ZU0, i] = unknown[Q_W, i], unknown[Q_ZL, i], unknown[Q_ZU, i]
    for i in range(row.shape[1]):
        row[Q_S0, i], row[Q_VL0, i], row[Q_VU0, i] = row[Q_S, i], row[Q_VL, i], row[Q_VU, i]
        row[Q_Y0, i] = row[Q_Y, i]


@jit
def _recall(S, Q):
    """Back to the iterate that was kept; returns OPTIMAL."""
    unknown, row = Q.unknown, Q.row
    for i in range(unknown.shape[1]):
        unknown[Q_W, i], unknown[Q_ZL, i], unknown[Q_ZU, i] = unknown[Q_W0, i], unknown[Q_ZL0, i], unknown[Q_ZU0, i]
    for i in range(row.shape[1]):
        row[Q_S, i], row[Q_VL, i], row[Q_VU, i] = row[Q_S0, i], row[Q_VL0, i], row[Q_VU0, i]
        row[Q_Y, i] = row[Q_Y0, i]
    w, R = unknown[Q_W], row[Q_R]
    evaluate(S, ROWS, w, R, R)
    evaluate(S, JACOBIAN, w, Q.J, Q.J)
    theta, worst = residuals(S, R, w, row[Q_S], row[Q_C])
    Q.number[THETA], Q.number[VIOLATION], Q.number[OBJECTIVE] = theta, worst, _objective(S, R)
    jacobian_transposed_product(S, Q.J, row[Q_Y], unknown[Q_GRAD])
    Q.number[ERROR] = _optimality(S, Q, 0.0)
    Q.counter[STATUS] = OPTIMAL
    return OPTIMAL


@jit
def iterate(S, X, Q, start, limit):
    """Prepare as `start` says, then run at most `limit` iterations and test the last point. Returns the status.

    One kernel for all this, because compiling it once is what a first user waits for.
    """
    option, w, s, wt = Q.option, Q.unknown[Q_W], Q.row[Q_S], Q.unknown[Q_WT]
    st, Rt, Ct, count = Q.row[Q_ST], Q.row[Q_RT], Q.row[Q_CT], Q.counter
    number, J, Y, grad = Q.number, Q.J, Q.row[Q_Y], Q.unknown[Q_GRAD]
    C, R, t1, r1 = Q.row[Q_C], Q.row[Q_R], Q.unknown[Q_T1], Q.row[Q_R1]
    history, H, dw, cw = Q.history, Q.H, Q.unknown[Q_DW], Q.unknown[Q_CW]
    dY, yp = Q.row[Q_DY], Q.row[Q_YP]
    if start == RECALL:
        return _recall(S, Q)
    if start != CONTINUE:
        prepare(S, X, Q, start)
    if count[STATUS] != RUNNING:
        return count[STATUS]
    tol = option[TOL]
    for step in range(limit + 1):
        mu = number[MU]
        jacobian_transposed_product(S, J, Y, grad)
        error_0 = _optimality(S, Q, 0.0)
        dual = number[DUAL]
        compl = number[COMPLEMENTARITY]
        number[ERROR] = error_0
        it = count[ITERATION]
        if it < history.shape[0]:
            history[it, 0] = it
            history[it, 1] = number[OBJECTIVE]
            history[it, 2] = number[VIOLATION]
            history[it, 3] = dual
            history[it, 4] = mu
            history[it, 5] = number[STEP]
            history[it, 6] = number[DELTA]
            history[it, 7] = number[ALPHA_DUAL]
            history[it, 8] = number[ALPHA]
            history[it, 9] = count[N_TRIALS]
        if error_0 <= tol and number[VIOLATION] <= max(tol, 1e-10) and compl <= max(1e-4, tol):
            if mu <= 1.01 * POLISHED * tol or compl == 0.0:
                count[STATUS] = OPTIMAL
                return OPTIMAL
            _keep(Q)
            count[POLISH] = max(1, count[POLISH])
        if count[POLISH] > 0:
            count[POLISH] += 1
            if count[POLISH] > POLISHING + 1:
                return _recall(S, Q)
        if error_0 <= option[ACCEPTABLE_TOL]:
            count[ACCEPTABLE_RUN] += 1
            if count[ACCEPTABLE_RUN] >= 40:
                count[STATUS] = ACCEPTABLE
                return ACCEPTABLE
        else:
            count[ACCEPTABLE_RUN] = 0
        largest = 0.0
        for i in range(w.shape[0]):
            largest = max(largest, abs(w[i]))
        if not abs(number[OBJECTIVE]) < 1e20 or largest > UNBOUNDED:
            count[STATUS] = DIVERGING
            return DIVERGING
        if step == limit:
            return RUNNING
        # --- barrier parameter (7)
        mu_min = tol / 11.0 if count[POLISH] == 0 else POLISHED * tol
        while mu > mu_min and _optimality(S, Q, mu) <= KAPPA_EPS * mu:
            mu = max(mu_min, min(KAPPA_MU * mu, mu ** THETA_MU))
            count[N_FILTER] = 0
        number[MU] = mu
        tau = max(TAU_MIN, 1.0 - mu)
        number[DUAL] = dual
        number[COMPLEMENTARITY] = compl
        # --- Newton direction
        if not S.quadratic and not evaluate(S, HESSIAN, w, Y, H):
            _fill(H, 0.0)
        _weights(S, Q)
        delta = _factor_with_inertia(S, X, Q)
        if delta < 0.0 and count[POLISH] > 0:
            return _recall(S, Q)
        if delta < 0.0:
            count[STATUS] = BAD_CURVATURE
            return BAD_CURVATURE
        number[DELTA] = delta
        _direction(S, X, Q, mu, delta, C)
        size = 0.0
        longest = 0.0
        for i in range(w.shape[0]):
            size = max(size, abs(dw[i]) / (1.0 + abs(w[i])))
            longest = max(longest, abs(dw[i]))
        number[STEP] = longest
        theta = number[THETA]
        phi = _barrier(S, R, w, s, mu)
        slope = _slope(S, Q, mu)
        alpha_max, alpha_dual = _step_to_boundary(S, Q, tau, mu)
        alpha_min = GAMMA_THETA
        if slope < 0.0:
            alpha_min = min(GAMMA_THETA, -GAMMA_PHI * theta / slope)
            if theta <= number[THETA_MIN]:
                alpha_min = min(alpha_min, DELTA_SWITCH * theta ** S_THETA / (-slope) ** S_PHI)
        alpha_min *= 0.05
        alpha = alpha_max
        trials = 0
        verdict = 0
        theta_t, worst, phi_t = np.inf, np.inf, np.inf
        contradiction = number[LEFT] > 0.5
        tiny = size < 10.0 * 2.220446e-16 and not contradiction
        if tiny:
            theta_t, worst, phi_t = _trial(S, Q, alpha, mu)
            count[TINY_RUN] += 1
            verdict = 2 if theta_t < np.inf else 0
            if count[TINY_RUN] >= 3 and count[POLISH] > 0:
                return _recall(S, Q)
            if count[TINY_RUN] >= 3 and mu <= mu_min:
                count[STATUS] = ACCEPTABLE if error_0 <= option[ACCEPTABLE_TOL] else STALLED
                return count[STATUS]
        else:
            count[TINY_RUN] = 0
        while verdict == 0 and alpha >= alpha_min and trials < 50 and not contradiction:
            theta_t, worst, phi_t = _trial(S, Q, alpha, mu)
            trials += 1
            verdict = _acceptable_step(Q, theta, phi, slope, alpha, theta_t, phi_t)
            if verdict == 0 and trials == 1 and theta_t >= theta and theta_t < np.inf:
                # --- second-order correction: the same matrix, residual alpha C + C(trial)
                _copy(dw, cw)
                # (dw, ds, dY) of the plain step are rebuilt below if the correction fails
                theta_old = theta
                for i in range(R.shape[0]):
                    Rt[i] = alpha * C[i] + Ct[i]
                soc = 0
                while soc < MAX_SOC:
                    soc += 1
                    _direction(S, X, Q, mu, delta, Rt)
                    alpha_soc, dual_soc = _step_to_boundary(S, Q, tau, mu)
                    for i in range(R.shape[0]):
                        yp[i] = Rt[i]
                    theta_s, worst_s, phi_s = _trial(S, Q, alpha_soc, mu)
                    verdict = _acceptable_step(Q, theta, phi, slope, alpha, theta_s, phi_s)
                    if verdict > 0:
                        alpha = alpha_soc
                        alpha_dual = dual_soc
                        theta_t, worst, phi_t = theta_s, worst_s, phi_s
                        break
                    if not theta_s <= KAPPA_SOC * theta_old:
                        break
                    theta_old = theta_s
                    for i in range(R.shape[0]):
                        Rt[i] = alpha_soc * yp[i] + Ct[i]
                if verdict == 0:
                    _direction(S, X, Q, mu, delta, C)
            if verdict == 0:
                alpha *= 0.5
        if verdict == 0 and count[POLISH] > 0:
            return _recall(S, Q)
        if verdict == 0:
            if error_0 <= option[ACCEPTABLE_TOL]:
                count[STATUS] = ACCEPTABLE
                return ACCEPTABLE
            _augment_filter(Q, theta, phi)
            if theta <= 1e-2 * tol:
                count[STATUS] = STALLED
                return STALLED
            # Equalities that contradict the linearised dynamics must not be met by giving up the dynamics.
            number[OMEGA] = HARDEST if contradiction else 1.0
            count[STATUS] = NEEDS_RESTORATION
            return NEEDS_RESTORATION
        # --- accept
        if verdict == 2 and not tiny:
            _augment_filter(Q, theta, phi)
        _copy(w, t1)
        _copy(s, r1)
        _copy(wt, w)
        _copy(st, s)
        _copy(Rt, R)
        _copy(Ct, C)
        for i in range(R.shape[0]):
            Y[i] += alpha * dY[i]
        _dual_step(S, Q, alpha_dual, mu, t1, r1)
        number[THETA] = theta_t
        number[VIOLATION] = worst
        number[OBJECTIVE] = _objective(S, R)
        number[ALPHA] = alpha
        number[ALPHA_DUAL] = alpha_dual
        count[N_TRIALS] = trials
        count[ITERATION] += 1
        if not evaluate(S, JACOBIAN, w, J, J):
            count[STATUS] = STALLED
            return STALLED
    return RUNNING
