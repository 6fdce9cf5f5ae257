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

from typing import NamedTuple

import numpy as np
from numba import njit

from adjoint.kernels.riccati import factorize, hessian_product, solve
from adjoint.kernels.stages import (
    COST,
    EQUALITY,
    INEQUALITY,
    evaluate_hessian,
    evaluate_jacobian,
    evaluate_rows,
    jacobian_product,
    jacobian_transposed_product,
)

__all__ = [
    "ACCEPTABLE", "BAD_CURVATURE", "BAD_START", "DIVERGING", "INFEASIBLE", "OPTIMAL", "RESTORATION_FAILED", "RUNNING",
    "STALLED", "Iterate", "initialise", "iterate",
]

# Status codes.
RUNNING, OPTIMAL, ACCEPTABLE, INFEASIBLE, DIVERGING, RESTORATION_FAILED, BAD_START, BAD_CURVATURE, STALLED = range(9)

# Slots of Iterate.number.
MU, THETA_MAX, THETA_MIN, DELTA_LAST, OBJECTIVE, THETA, DUAL, COMPLEMENTARITY, ERROR, ALPHA, ALPHA_DUAL, DELTA = range(12)
STEP, PHI, VIOLATION, MU_MIN, ERROR_MU = 12, 13, 14, 15, 16
N_NUMBERS = 20
# Slots of Iterate.count.
ITERATION, N_FILTER, STATUS, N_TRIALS, ACCEPTABLE_RUN, TINY_RUN, N_RESTORATION, N_FACTOR, N_SHORT = range(9)
N_COUNTS = 12
# Slots of Iterate.option.
TOL, MU_INIT, ACCEPTABLE_TOL, PUSH = range(4)
# Columns of Iterate.history: iteration, objective, theta, dual, mu, step, delta_w, alpha_dual, alpha, trials
N_HISTORY = 10

KAPPA_EPS, KAPPA_MU, THETA_MU, TAU_MIN = 10.0, 0.2, 1.5, 0.99
GAMMA_THETA, GAMMA_PHI, DELTA_SWITCH, S_THETA, S_PHI, ETA_PHI = 1e-5, 1e-8, 1.0, 1.1, 2.3, 1e-8
KAPPA_SIGMA, KAPPA_SOC, MAX_SOC = 1e10, 0.99, 4
DELTA_C = 1e-8
DELTA_W0, DELTA_W_MIN, DELTA_W_MAX = 1e-4, 1e-20, 1e40


class Iterate(NamedTuple):
    """All that changes during a solve; arrays over the unknowns (w) or over the rows (row layout)."""

    w: np.ndarray
    zl: np.ndarray
    zu: np.ndarray
    s: np.ndarray             # slacks, in the places of the inequality rows
    vl: np.ndarray
    vu: np.ndarray
    Y: np.ndarray             # multipliers of the rows, 1 in the cost rows
    R: np.ndarray
    C: np.ndarray             # constraint residuals (row layout)
    J: np.ndarray
    H: np.ndarray
    grad: np.ndarray          # J'Y - lambda
    dw: np.ndarray
    ds: np.ndarray
    dY: np.ndarray
    wt: np.ndarray            # trial point
    st: np.ndarray
    Rt: np.ndarray
    Ct: np.ndarray
    sigma: np.ndarray
    D: np.ndarray
    rw: np.ndarray            # right-hand sides and workspaces
    rR: np.ndarray
    yp: np.ndarray
    jd: np.ndarray
    t1: np.ndarray
    t2: np.ndarray
    t3: np.ndarray
    cw: np.ndarray            # corrections in refinement
    cY: np.ndarray
    r1: np.ndarray
    filter: np.ndarray        # (capacity, 2) theta, phi
    number: np.ndarray
    count: np.ndarray
    option: np.ndarray
    history: np.ndarray


@njit(cache=True, nogil=True)
def residuals(S, R, w, s, C):
    """C <- constraint residuals in the row layout (zero in the cost rows). Returns the 1-norm and the largest."""
    total = 0.0
    worst = 0.0
    for i in range(R.shape[0]):
        kind = S.kind[i]
        if kind == COST:
            c = 0.0
        elif S.target[i] >= 0:
            c = R[i] - w[S.target[i]]
        elif kind == EQUALITY:
            c = R[i] - S.lr[i]
        elif kind == INEQUALITY:
            c = R[i] - s[i]
        else:
            c = R[i]
        C[i] = c
        total += abs(c)
        if abs(c) > worst:
            worst = abs(c)
    return total, worst


@njit(cache=True, nogil=True)
def _objective(S, R):
    f = 0.0
    for k in range(S.m.shape[0]):
        f += R[S.orow[k + 1] - 1]
    return f


@njit(cache=True, nogil=True)
def _free(S, i):
    return S.lw[i] < S.uw[i]


@njit(cache=True, nogil=True)
def _barrier(S, R, w, s, mu):
    """phi = sum l - mu sum log(distances)."""
    b = 0.0
    for i in range(w.shape[0]):
        lo = S.lw[i]
        up = S.uw[i]
        if lo < up:
            if lo > -np.inf:
                b -= np.log(w[i] - lo)
            if up < np.inf:
                b -= np.log(up - w[i])
    for i in range(R.shape[0]):
        if S.kind[i] == INEQUALITY:
            if S.lr[i] > -np.inf:
                b -= np.log(s[i] - S.lr[i])
            if S.ur[i] < np.inf:
                b -= np.log(S.ur[i] - s[i])
    return _objective(S, R) + mu * b


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _weights(S, Q):
    """sigma and D of the primal-dual system."""
    w = Q.w
    for i in range(w.shape[0]):
        v = 0.0
        if S.lw[i] < S.uw[i]:
            if S.lw[i] > -np.inf:
                v += Q.zl[i] / (w[i] - S.lw[i])
            if S.uw[i] < np.inf:
                v += Q.zu[i] / (S.uw[i] - w[i])
        Q.sigma[i] = v
    for i in range(Q.R.shape[0]):
        kind = S.kind[i]
        if kind == EQUALITY:
            Q.D[i] = 1.0 / DELTA_C
        elif kind == INEQUALITY:
            v = 0.0
            if S.lr[i] > -np.inf:
                v += Q.vl[i] / (Q.s[i] - S.lr[i])
            if S.ur[i] < np.inf:
                v += Q.vu[i] / (S.ur[i] - Q.s[i])
            Q.D[i] = v
        else:
            Q.D[i] = 0.0


@njit(cache=True, nogil=True)
def _optimality(S, Q, mu):
    """E_mu (5): the largest scaled violation of the barrier problem's conditions; sets DUAL, COMPLEMENTARITY."""
    dual = 0.0
    compl = 0.0
    sum_y = 0.0
    sum_z = 0.0
    n_y = 0
    n_z = 0
    for i in range(Q.w.shape[0]):
        if S.lw[i] == S.uw[i]:
            continue
        d = Q.grad[i]
        if S.lw[i] > -np.inf:
            d -= Q.zl[i]
            compl = max(compl, abs(Q.zl[i] * (Q.w[i] - S.lw[i]) - mu))
            sum_z += Q.zl[i]
            n_z += 1
        if S.uw[i] < np.inf:
            d += Q.zu[i]
            compl = max(compl, abs(Q.zu[i] * (S.uw[i] - Q.w[i]) - mu))
            sum_z += Q.zu[i]
            n_z += 1
        dual = max(dual, abs(d))
    for i in range(Q.R.shape[0]):
        kind = S.kind[i]
        if kind == COST:
            continue
        sum_y += abs(Q.Y[i])
        n_y += 1
        if kind == INEQUALITY:
            d = -Q.Y[i]
            if S.lr[i] > -np.inf:
                d -= Q.vl[i]
                compl = max(compl, abs(Q.vl[i] * (Q.s[i] - S.lr[i]) - mu))
                sum_z += Q.vl[i]
                n_z += 1
            if S.ur[i] < np.inf:
                d += Q.vu[i]
                compl = max(compl, abs(Q.vu[i] * (S.ur[i] - Q.s[i]) - mu))
                sum_z += Q.vu[i]
                n_z += 1
            dual = max(dual, abs(d))
    s_d = max(100.0, (sum_y + sum_z) / max(1, n_y + n_z)) / 100.0
    s_c = max(100.0, sum_z / max(1, n_z)) / 100.0
    Q.number[DUAL] = dual
    Q.number[COMPLEMENTARITY] = compl
    return max(dual / s_d, Q.number[VIOLATION], compl / s_c)


@njit(cache=True, nogil=True)
def _direction(S, X, Q, mu, delta_w, C):
    """Newton step dw, ds, dY for residuals C, with iterative refinement of the undamped equality rows."""
    R = Q.R
    # base right-hand side: dL/dw with primal barrier terms; path rows folded in through yp
    for i in range(R.shape[0]):
        kind = S.kind[i]
        if kind == INEQUALITY:
            rs = -Q.Y[i]
            if S.lr[i] > -np.inf:
                rs -= mu / (Q.s[i] - S.lr[i])
            if S.ur[i] < np.inf:
                rs += mu / (S.ur[i] - Q.s[i])
            Q.rR[i] = rs
            Q.yp[i] = Q.Y[i] + Q.D[i] * C[i] + rs
        elif kind == EQUALITY:
            Q.rR[i] = 0.0
            Q.yp[i] = Q.Y[i] + C[i] / DELTA_C
        else:
            Q.rR[i] = C[i]
            Q.yp[i] = Q.Y[i]
    jacobian_transposed_product(S, Q.J, Q.yp, Q.rw)
    for i in range(Q.w.shape[0]):
        if S.lw[i] < S.uw[i]:
            if S.lw[i] > -np.inf:
                Q.rw[i] -= mu / (Q.w[i] - S.lw[i])
            if S.uw[i] < np.inf:
                Q.rw[i] += mu / (S.uw[i] - Q.w[i])
    solve(S, Q.J, Q.H, Q.sigma, Q.D, delta_w, X, Q.rw, Q.rR, Q.dw, Q.dY, Q.t1, Q.t2)
    jacobian_product(S, Q.J, Q.dw, Q.jd)
    for i in range(R.shape[0]):
        kind = S.kind[i]
        if kind == INEQUALITY:
            Q.ds[i] = Q.jd[i] + C[i]
            Q.dY[i] = Q.D[i] * Q.ds[i] + Q.rR[i]
        elif kind == EQUALITY:
            Q.dY[i] = (Q.jd[i] + C[i]) / DELTA_C
        elif kind == COST:
            Q.dY[i] = 0.0
    # right-hand side without the folded path terms, for true residuals (kept in t3)
    jacobian_transposed_product(S, Q.J, Q.Y, Q.t3)
    for i in range(Q.w.shape[0]):
        if S.lw[i] < S.uw[i]:
            if S.lw[i] > -np.inf:
                Q.t3[i] -= mu / (Q.w[i] - S.lw[i])
            if S.uw[i] < np.inf:
                Q.t3[i] += mu / (S.uw[i] - Q.w[i])
    last = np.inf
    for _ in range(4):
        # residual of stationarity: (H + sigma + delta_w) dw + J' dY - dlam + base; D is zeroed in the product
        Q.r1[:] = 0.0
        hessian_product(S, Q.J, Q.H, Q.sigma, Q.r1, delta_w, Q.dw, Q.rw)
        jacobian_transposed_product(S, Q.J, Q.dY, Q.t1)
        size = 0.0
        for i in range(Q.w.shape[0]):
            if S.lw[i] == S.uw[i]:
                Q.rw[i] = 0.0
            else:
                Q.rw[i] += Q.t1[i] + Q.t3[i]
                size = max(size, abs(Q.rw[i]))
        scale = 0.0
        for i in range(R.shape[0]):
            kind = S.kind[i]
            if kind == COST or kind == INEQUALITY:
                Q.r1[i] = 0.0
            else:
                Q.r1[i] = Q.jd[i] + C[i]
                size = max(size, abs(Q.r1[i]))
                scale = max(scale, abs(Q.dY[i]))
        if not size < last:
            # the correction did not help: take it back
            if last < np.inf:
                for i in range(Q.w.shape[0]):
                    Q.dw[i] -= Q.cw[i]
                for i in range(R.shape[0]):
                    Q.dY[i] -= Q.cY[i]
                    if S.kind[i] == INEQUALITY:
                        Q.ds[i] -= Q.yp[i]
            break
        last = size
        if size <= 1e-12 * (1.0 + scale):
            break
        for i in range(R.shape[0]):
            Q.yp[i] = Q.r1[i] / DELTA_C if S.kind[i] == EQUALITY else 0.0
        _add_path_transposed(S, Q.J, Q.yp, Q.rw)
        for i in range(R.shape[0]):
            if S.kind[i] == EQUALITY or S.kind[i] == INEQUALITY:
                Q.yp[i] = Q.r1[i]
                Q.r1[i] = 0.0
        solve(S, Q.J, Q.H, Q.sigma, Q.D, delta_w, X, Q.rw, Q.r1, Q.cw, Q.cY, Q.t1, Q.t2)
        jacobian_product(S, Q.J, Q.cw, Q.jd)
        for i in range(R.shape[0]):
            kind = S.kind[i]
            if kind == INEQUALITY:
                Q.yp[i] = Q.jd[i]
                Q.ds[i] += Q.jd[i]
                Q.cY[i] = Q.D[i] * Q.jd[i]
            elif kind == EQUALITY:
                Q.cY[i] = (Q.jd[i] + Q.yp[i]) / DELTA_C
            elif kind == COST:
                Q.cY[i] = 0.0
            Q.dY[i] += Q.cY[i]
        for i in range(Q.w.shape[0]):
            Q.dw[i] += Q.cw[i]
        jacobian_product(S, Q.J, Q.dw, Q.jd)


@njit(cache=True, nogil=True)
def _add_path_transposed(S, J, y, out):
    """out += h_w' y for the path rows."""
    for k in range(S.m.shape[0]):
        g = S.group[k]
        i0 = S.n[k + 1] + S.e[k]
        p = S.ojptr[g]
        oc = S.ojcol[g]
        for i in range(i0, i0 + S.r[k]):
            v = y[S.orow[k] + i]
            if v != 0.0:
                for j in range(S.jptr[p + i], S.jptr[p + i + 1]):
                    out[S.ow[k] + S.jcol[oc + j]] += J[S.oj[k] + j] * v


@njit(cache=True, nogil=True)
def _step_to_boundary(S, Q, tau, mu):
    """Largest primal and dual step lengths that keep the fraction tau of every distance (15)."""
    primal = 1.0
    dual = 1.0
    for i in range(Q.w.shape[0]):
        lo = S.lw[i]
        up = S.uw[i]
        if lo == up:
            continue
        d = Q.dw[i]
        if lo > -np.inf:
            gap = Q.w[i] - lo
            if d < 0.0:
                primal = min(primal, -tau * gap / d)
            dz = (mu - Q.zl[i] * d) / gap - Q.zl[i]
            if dz < 0.0:
                dual = min(dual, -tau * Q.zl[i] / dz)
        if up < np.inf:
            gap = up - Q.w[i]
            if d > 0.0:
                primal = min(primal, tau * gap / d)
            dz = (mu + Q.zu[i] * d) / gap - Q.zu[i]
            if dz < 0.0:
                dual = min(dual, -tau * Q.zu[i] / dz)
    for i in range(Q.R.shape[0]):
        if S.kind[i] == INEQUALITY:
            d = Q.ds[i]
            if S.lr[i] > -np.inf:
                gap = Q.s[i] - S.lr[i]
                if d < 0.0:
                    primal = min(primal, -tau * gap / d)
                dz = (mu - Q.vl[i] * d) / gap - Q.vl[i]
                if dz < 0.0:
                    dual = min(dual, -tau * Q.vl[i] / dz)
            if S.ur[i] < np.inf:
                gap = S.ur[i] - Q.s[i]
                if d > 0.0:
                    primal = min(primal, tau * gap / d)
                dz = (mu + Q.vu[i] * d) / gap - Q.vu[i]
                if dz < 0.0:
                    dual = min(dual, -tau * Q.vu[i] / dz)
    return primal, dual


@njit(cache=True, nogil=True)
def _kept(z, gap, mu):
    """Bound multiplier reset (16): never far from mu / gap."""
    return max(min(z, KAPPA_SIGMA * mu / gap), mu / (KAPPA_SIGMA * gap))


@njit(cache=True, nogil=True)
def _dual_step(S, Q, alpha, mu, w_old, s_old):
    """zl, zu, vl, vu by their own step length, from the distances before the step; then (16) with the new ones."""
    for i in range(Q.w.shape[0]):
        lo = S.lw[i]
        up = S.uw[i]
        if lo == up:
            continue
        if lo > -np.inf:
            gap = w_old[i] - lo
            z = Q.zl[i] + alpha * ((mu - Q.zl[i] * Q.dw[i]) / gap - Q.zl[i])
            Q.zl[i] = _kept(z, Q.w[i] - lo, mu)
        if up < np.inf:
            gap = up - w_old[i]
            z = Q.zu[i] + alpha * ((mu + Q.zu[i] * Q.dw[i]) / gap - Q.zu[i])
            Q.zu[i] = _kept(z, up - Q.w[i], mu)
    for i in range(Q.R.shape[0]):
        if S.kind[i] == INEQUALITY:
            if S.lr[i] > -np.inf:
                gap = s_old[i] - S.lr[i]
                z = Q.vl[i] + alpha * ((mu - Q.vl[i] * Q.ds[i]) / gap - Q.vl[i])
                Q.vl[i] = _kept(z, Q.s[i] - S.lr[i], mu)
            if S.ur[i] < np.inf:
                gap = S.ur[i] - s_old[i]
                z = Q.vu[i] + alpha * ((mu + Q.vu[i] * Q.ds[i]) / gap - Q.vu[i])
                Q.vu[i] = _kept(z, S.ur[i] - Q.s[i], mu)


@njit(cache=True, nogil=True)
def _in_filter(Q, theta, phi):
    """True when (theta, phi) is dominated by an entry, or theta is too large altogether."""
    if not (theta <= Q.number[THETA_MAX] and phi < np.inf):
        return True
    for i in range(Q.count[N_FILTER]):
        if theta >= Q.filter[i, 0] and phi >= Q.filter[i, 1]:
            return True
    return False


@njit(cache=True, nogil=True)
def _augment_filter(Q, theta, phi):
    n = Q.count[N_FILTER]
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
    Q.count[N_FILTER] = kept + 1


@njit(cache=True, nogil=True)
def _factor_with_inertia(S, X, Q):
    """Factor; add delta_w until the curvature is right (algorithm IC). Returns delta_w, or -1."""
    Q.count[N_FACTOR] += 1
    if factorize(S, Q.J, Q.H, Q.sigma, Q.D, 0.0, X) < 0:
        return 0.0
    last = Q.number[DELTA_LAST]
    delta = DELTA_W0 if last == 0.0 else max(DELTA_W_MIN, last / 3.0)
    for _ in range(60):
        Q.count[N_FACTOR] += 1
        if factorize(S, Q.J, Q.H, Q.sigma, Q.D, delta, X) < 0:
            Q.number[DELTA_LAST] = delta
            return delta
        delta *= 100.0 if last == 0.0 else 8.0
        if delta > DELTA_W_MAX:
            break
    return -1.0


@njit(cache=True, nogil=True)
def _least_squares_multipliers(S, X, Q):
    """Y <- argmin |dL/dw| over the multipliers (36), by the same factorisation with Hessian = identity."""
    Q.H[:] = 0.0
    Q.sigma[:] = 1.0
    for i in range(Q.R.shape[0]):
        kind = S.kind[i]
        Q.D[i] = 1.0 / DELTA_C if kind == EQUALITY else (1.0 if kind == INEQUALITY else 0.0)
        Q.yp[i] = 1.0 if kind == COST else 0.0
        Q.rR[i] = 0.0
        if kind == INEQUALITY:
            # slack: dy_h = ds - vl + vu, ds = h_w dw
            v = 0.0
            if S.lr[i] > -np.inf:
                v -= Q.vl[i]
            if S.ur[i] < np.inf:
                v += Q.vu[i]
            Q.yp[i] = v
    jacobian_transposed_product(S, Q.J, Q.yp, Q.rw)
    for i in range(Q.w.shape[0]):
        if S.lw[i] < S.uw[i]:
            if S.lw[i] > -np.inf:
                Q.rw[i] -= Q.zl[i]
            if S.uw[i] < np.inf:
                Q.rw[i] += Q.zu[i]
    ok = factorize(S, Q.J, Q.H, Q.sigma, Q.D, 0.0, X) < 0
    worst = 0.0
    if ok:
        solve(S, Q.J, Q.H, Q.sigma, Q.D, 0.0, X, Q.rw, Q.rR, Q.dw, Q.dY, Q.t1, Q.t2)
        jacobian_product(S, Q.J, Q.dw, Q.jd)
        for i in range(Q.R.shape[0]):
            kind = S.kind[i]
            if kind == EQUALITY:
                Q.Y[i] = Q.jd[i] / DELTA_C
            elif kind == INEQUALITY:
                Q.Y[i] = Q.jd[i] + Q.yp[i]
            elif kind == COST:
                Q.Y[i] = 1.0
            else:
                Q.Y[i] = Q.dY[i]
            worst = max(worst, abs(Q.Y[i]))
    if not (ok and worst < 1e3):
        for i in range(Q.R.shape[0]):
            Q.Y[i] = 1.0 if S.kind[i] == COST else 0.0


@njit(cache=True, nogil=True)
def initialise(S, X, Q, warm):
    """Prepare a solve from Q.w (and, when `warm`, from Q.Y, Q.zl, Q.zu, Q.vl, Q.vu): interior point, slacks, scales."""
    push = Q.option[PUSH]
    for i in range(Q.w.shape[0]):
        if S.lw[i] == S.uw[i]:
            Q.w[i] = S.lw[i]
        else:
            Q.w[i] = _inside(Q.w[i], S.lw[i], S.uw[i], push)
    Q.count[:] = 0
    Q.number[:] = 0.0
    Q.number[MU] = Q.option[MU_INIT]
    if not evaluate_rows(S, Q.w, Q.R) or not evaluate_jacobian(S, Q.w, Q.J):
        Q.count[STATUS] = BAD_START
        return
    mu = Q.option[MU_INIT]
    for i in range(Q.R.shape[0]):
        if S.kind[i] == INEQUALITY:
            Q.s[i] = _inside(Q.R[i], S.lr[i], S.ur[i], push)
        else:
            Q.s[i] = 0.0
    if warm:
        for i in range(Q.w.shape[0]):
            if S.lw[i] < S.uw[i]:
                if S.lw[i] > -np.inf:
                    Q.zl[i] = max(Q.zl[i], mu / (Q.w[i] - S.lw[i]))
                if S.uw[i] < np.inf:
                    Q.zu[i] = max(Q.zu[i], mu / (S.uw[i] - Q.w[i]))
        for i in range(Q.R.shape[0]):
            if S.kind[i] == INEQUALITY:
                if S.lr[i] > -np.inf:
                    Q.vl[i] = max(Q.vl[i], mu / (Q.s[i] - S.lr[i]))
                if S.ur[i] < np.inf:
                    Q.vu[i] = max(Q.vu[i], mu / (S.ur[i] - Q.s[i]))
            elif S.kind[i] == COST:
                Q.Y[i] = 1.0
    else:
        Q.zl[:] = 1.0
        Q.zu[:] = 1.0
        Q.vl[:] = 1.0
        Q.vu[:] = 1.0
    for i in range(Q.w.shape[0]):
        if S.lw[i] == S.uw[i] or S.lw[i] == -np.inf:
            Q.zl[i] = 0.0
        if S.lw[i] == S.uw[i] or S.uw[i] == np.inf:
            Q.zu[i] = 0.0
    for i in range(Q.R.shape[0]):
        if S.kind[i] != INEQUALITY or S.lr[i] == -np.inf:
            Q.vl[i] = 0.0
        if S.kind[i] != INEQUALITY or S.ur[i] == np.inf:
            Q.vu[i] = 0.0
    if not warm:
        _least_squares_multipliers(S, X, Q)
    theta, worst = residuals(S, Q.R, Q.w, Q.s, Q.C)
    Q.number[THETA] = theta
    Q.number[VIOLATION] = worst
    Q.number[THETA_MAX] = 1e4 * max(1.0, theta)
    Q.number[THETA_MIN] = 1e-4 * max(1.0, theta)
    Q.number[OBJECTIVE] = _objective(S, Q.R)


@njit(cache=True, nogil=True)
def _trial(S, Q, alpha, mu):
    """Evaluate w + alpha dw, s + alpha ds into wt, st, Rt, Ct. Returns (theta, worst, phi), inf where not finite."""
    for i in range(Q.w.shape[0]):
        Q.wt[i] = Q.w[i] + alpha * Q.dw[i]
    for i in range(Q.R.shape[0]):
        Q.st[i] = Q.s[i] + alpha * Q.ds[i] if S.kind[i] == INEQUALITY else 0.0
    if not evaluate_rows(S, Q.wt, Q.Rt):
        return np.inf, np.inf, np.inf
    theta, worst = residuals(S, Q.Rt, Q.wt, Q.st, Q.Ct)
    return theta, worst, _barrier(S, Q.Rt, Q.wt, Q.st, mu)


@njit(cache=True, nogil=True)
def _slope(S, Q, mu):
    """Directional derivative of phi along (dw, ds)."""
    jacobian_product(S, Q.J, Q.dw, Q.jd)
    d = 0.0
    for i in range(Q.R.shape[0]):
        if S.kind[i] == COST:
            d += Q.jd[i]
        elif S.kind[i] == INEQUALITY:
            if S.lr[i] > -np.inf:
                d -= mu * Q.ds[i] / (Q.s[i] - S.lr[i])
            if S.ur[i] < np.inf:
                d += mu * Q.ds[i] / (S.ur[i] - Q.s[i])
    for i in range(Q.w.shape[0]):
        if S.lw[i] < S.uw[i]:
            if S.lw[i] > -np.inf:
                d -= mu * Q.dw[i] / (Q.w[i] - S.lw[i])
            if S.uw[i] < np.inf:
                d += mu * Q.dw[i] / (S.uw[i] - Q.w[i])
    return d


@njit(cache=True, nogil=True)
def _acceptable_step(Q, theta, phi, slope, alpha, theta_t, phi_t):
    """Filter line-search test (A-5.4): 0 rejected, 1 accepted by decrease of the objective, 2 by either measure."""
    if _in_filter(Q, theta_t, phi_t):
        return 0
    slack = 10.0 * 2.220446e-16 * max(1.0, abs(phi))
    switching = slope < 0.0 and alpha * (-slope) ** S_PHI > DELTA_SWITCH * theta ** S_THETA
    if theta <= Q.number[THETA_MIN] and switching:
        return 1 if phi_t - slack <= phi + ETA_PHI * alpha * slope else 0
    if theta_t <= (1.0 - GAMMA_THETA) * theta or phi_t - slack <= phi - GAMMA_PHI * theta:
        return 1 if switching and phi_t - slack <= phi + ETA_PHI * alpha * slope else 2
    return 0


@njit(cache=True, nogil=True)
def _restore(S, X, Q, max_iterations):
    """Reduce the violation until the filter accepts the point.

    Levenberg-Marquardt on half the squared violation v of the path rows, subject to the linearised dynamics and
    local rows and with the barrier on all bounds:

        min  |v|^2/2 + zeta |dw|^2/2 + barrier      F, c linearised,   v = C_h + h_w dw - ds,

    which is the same linear system with Hessian zeta I, D = Sigma_s/(1 + Sigma_s) (inequality) or 1 (equality).
    The step is searched along an exact penalty function. 0: accepted; 1: stationary (locally infeasible); 2: failed.
    """
    mu = max(Q.number[MU], 1e-4)
    theta_0 = Q.number[THETA]
    zeta = 1e-2
    rho = 1.0
    quiet = 0
    Q.H[:] = 0.0
    for it in range(max_iterations):
        for i in range(Q.w.shape[0]):
            v = 0.0
            if S.lw[i] < S.uw[i]:
                if S.lw[i] > -np.inf:
                    v += mu / (Q.w[i] - S.lw[i]) ** 2
                if S.uw[i] < np.inf:
                    v += mu / (S.uw[i] - Q.w[i]) ** 2
            Q.sigma[i] = v
        for i in range(Q.R.shape[0]):
            kind = S.kind[i]
            Q.D[i] = 0.0
            Q.rR[i] = Q.C[i]
            Q.yp[i] = 0.0
            if kind == EQUALITY:
                Q.D[i] = 1.0
                Q.yp[i] = Q.C[i]
            elif kind == INEQUALITY:
                sig = 0.0
                rb = 0.0
                if S.lr[i] > -np.inf:
                    gap = Q.s[i] - S.lr[i]
                    sig += mu / gap ** 2
                    rb -= mu / gap
                if S.ur[i] < np.inf:
                    gap = S.ur[i] - Q.s[i]
                    sig += mu / gap ** 2
                    rb += mu / gap
                Q.D[i] = sig / (1.0 + sig)
                Q.yp[i] = (sig * Q.C[i] + rb) / (1.0 + sig)
                Q.ds[i] = sig
                Q.r1[i] = rb
        jacobian_transposed_product(S, Q.J, Q.yp, Q.rw)
        for i in range(Q.w.shape[0]):
            if S.lw[i] < S.uw[i]:
                if S.lw[i] > -np.inf:
                    Q.rw[i] -= mu / (Q.w[i] - S.lw[i])
                if S.uw[i] < np.inf:
                    Q.rw[i] += mu / (S.uw[i] - Q.w[i])
        Q.count[N_FACTOR] += 1
        if factorize(S, Q.J, Q.H, Q.sigma, Q.D, zeta, X) >= 0:
            zeta = max(10.0 * zeta, 1e-6)
            if zeta > 1e20:
                return 2
            continue
        solve(S, Q.J, Q.H, Q.sigma, Q.D, zeta, X, Q.rw, Q.rR, Q.dw, Q.dY, Q.t1, Q.t2)
        jacobian_product(S, Q.J, Q.dw, Q.jd)
        slope = 0.0
        hard = 0.0
        soft = 0.0
        lam = 0.0
        for i in range(Q.R.shape[0]):
            kind = S.kind[i]
            if kind == EQUALITY:
                slope += Q.C[i] * Q.jd[i]
                soft += 0.5 * Q.C[i] ** 2
            elif kind == INEQUALITY:
                sig = Q.ds[i]
                rb = Q.r1[i]
                y = (sig * (Q.C[i] + Q.jd[i]) + rb) / (1.0 + sig)
                Q.ds[i] = (y - rb) / sig if sig > 0.0 else Q.C[i] + Q.jd[i]
                slope += Q.C[i] * (Q.jd[i] - Q.ds[i]) + rb * Q.ds[i]
                soft += 0.5 * Q.C[i] ** 2
            elif kind != COST:
                hard += abs(Q.C[i])
                lam = max(lam, abs(Q.dY[i]))
        for i in range(Q.w.shape[0]):
            if S.lw[i] < S.uw[i]:
                if S.lw[i] > -np.inf:
                    slope -= mu * Q.dw[i] / (Q.w[i] - S.lw[i])
                if S.uw[i] < np.inf:
                    slope += mu * Q.dw[i] / (S.uw[i] - Q.w[i])
        rho = max(rho, 1.5 * lam)
        slope -= rho * hard
        barrier = _barrier(S, Q.R, Q.w, Q.s, mu) - _objective(S, Q.R)
        merit = rho * hard + soft + barrier
        alpha, _ = _step_to_boundary(S, Q, 0.99, mu)
        size = 0.0
        for i in range(Q.w.shape[0]):
            size = max(size, abs(Q.dw[i]) / (1.0 + abs(Q.w[i])))
        # a stationary point of the violation: lower the barrier, then give up
        if size < 1e-7 or -slope < 1e-14 * max(1.0, abs(merit)):
            if mu > 1e-9:
                mu *= 0.1
                continue
            return 1
        accepted = False
        for _ in range(30):
            theta_t, worst, phi_t = _trial(S, Q, alpha, Q.number[MU])
            if theta_t < np.inf:
                hard_t = 0.0
                soft_t = 0.0
                for i in range(Q.R.shape[0]):
                    kind = S.kind[i]
                    if kind == EQUALITY or kind == INEQUALITY:
                        soft_t += 0.5 * Q.Ct[i] ** 2
                    else:
                        hard_t += abs(Q.Ct[i])
                b_t = _barrier(S, Q.Rt, Q.wt, Q.st, mu) - _objective(S, Q.Rt)
                merit_t = rho * hard_t + soft_t + b_t
                if merit_t <= merit + 1e-4 * alpha * slope + 1e-14 * abs(merit):
                    accepted = True
                    break
            alpha *= 0.5
        if not accepted:
            zeta *= 10.0
            quiet += 1
            if quiet > 12:
                return 1 if hard < 1e-6 else 2
            continue
        quiet = 0
        if alpha > 0.9:
            zeta = max(zeta / 5.0, 1e-8)
        elif alpha < 0.1:
            zeta *= 4.0
        Q.w[:] = Q.wt
        Q.s[:] = Q.st
        Q.R[:] = Q.Rt
        Q.C[:] = Q.Ct
        Q.count[N_RESTORATION] += 1
        if not evaluate_jacobian(S, Q.w, Q.J):
            return 2
        if theta_t <= 0.9 * theta_0 and not _in_filter(Q, theta_t, phi_t):
            Q.number[THETA] = theta_t
            Q.number[VIOLATION] = worst
            return 0
        if mu > Q.number[MU] and mu > 1e-8 and hard_t + np.sqrt(2.0 * soft_t) < 10.0 * mu:
            mu *= 0.2
    return 2


@njit(cache=True, nogil=True)
def iterate(S, X, Q, limit):
    """Run at most `limit` iterations; returns the status (RUNNING when the limit was met). Call again to go on."""
    if Q.count[STATUS] != RUNNING:
        return Q.count[STATUS]
    tol = Q.option[TOL]
    for _ in range(limit):
        mu = Q.number[MU]
        jacobian_transposed_product(S, Q.J, Q.Y, Q.grad)
        error_0 = _optimality(S, Q, 0.0)
        dual = Q.number[DUAL]
        compl = Q.number[COMPLEMENTARITY]
        Q.number[ERROR] = error_0
        it = Q.count[ITERATION]
        if it < Q.history.shape[0]:
            Q.history[it, 0] = it
            Q.history[it, 1] = Q.number[OBJECTIVE]
            Q.history[it, 2] = Q.number[VIOLATION]
            Q.history[it, 3] = dual
            Q.history[it, 4] = mu
            Q.history[it, 5] = Q.number[STEP]
            Q.history[it, 6] = Q.number[DELTA]
            Q.history[it, 7] = Q.number[ALPHA_DUAL]
            Q.history[it, 8] = Q.number[ALPHA]
            Q.history[it, 9] = Q.count[N_TRIALS]
        if error_0 <= tol and Q.number[VIOLATION] <= max(tol, 1e-10) and compl <= max(1e-4, tol):
            Q.count[STATUS] = OPTIMAL
            return OPTIMAL
        if error_0 <= Q.option[ACCEPTABLE_TOL]:
            Q.count[ACCEPTABLE_RUN] += 1
            if Q.count[ACCEPTABLE_RUN] >= 15:
                Q.count[STATUS] = ACCEPTABLE
                return ACCEPTABLE
        else:
            Q.count[ACCEPTABLE_RUN] = 0
        if not abs(Q.number[OBJECTIVE]) < 1e20:
            Q.count[STATUS] = DIVERGING
            return DIVERGING
        # --- barrier parameter (7)
        mu_min = tol / 11.0
        while mu > mu_min and _optimality(S, Q, mu) <= KAPPA_EPS * mu:
            mu = max(mu_min, min(KAPPA_MU * mu, mu ** THETA_MU))
            Q.count[N_FILTER] = 0
        Q.number[MU] = mu
        tau = max(TAU_MIN, 1.0 - mu)
        Q.number[DUAL] = dual
        Q.number[COMPLEMENTARITY] = compl
        # --- Newton direction
        if not evaluate_hessian(S, Q.w, Q.Y, Q.H):
            Q.H[:] = 0.0
        _weights(S, Q)
        delta = _factor_with_inertia(S, X, Q)
        if delta < 0.0:
            Q.count[STATUS] = BAD_CURVATURE
            return BAD_CURVATURE
        Q.number[DELTA] = delta
        _direction(S, X, Q, mu, delta, Q.C)
        size = 0.0
        step = 0.0
        for i in range(Q.w.shape[0]):
            size = max(size, abs(Q.dw[i]) / (1.0 + abs(Q.w[i])))
            step = max(step, abs(Q.dw[i]))
        Q.number[STEP] = step
        theta = Q.number[THETA]
        phi = _barrier(S, Q.R, Q.w, Q.s, mu)
        slope = _slope(S, Q, mu)
        alpha_max, alpha_dual = _step_to_boundary(S, Q, tau, mu)
        alpha_min = GAMMA_THETA
        if slope < 0.0:
            alpha_min = min(GAMMA_THETA, -GAMMA_PHI * theta / slope)
            if theta <= Q.number[THETA_MIN]:
                alpha_min = min(alpha_min, DELTA_SWITCH * theta ** S_THETA / (-slope) ** S_PHI)
        alpha_min *= 0.05
        alpha = alpha_max
        trials = 0
        verdict = 0
        theta_t, worst, phi_t = np.inf, np.inf, np.inf
        tiny = size < 10.0 * 2.220446e-16
        if tiny:
            theta_t, worst, phi_t = _trial(S, Q, alpha, mu)
            Q.count[TINY_RUN] += 1
            verdict = 2 if theta_t < np.inf else 0
            if Q.count[TINY_RUN] >= 3 and mu <= mu_min:
                Q.count[STATUS] = ACCEPTABLE if error_0 <= Q.option[ACCEPTABLE_TOL] else STALLED
                return Q.count[STATUS]
        else:
            Q.count[TINY_RUN] = 0
        while verdict == 0 and alpha >= alpha_min and trials < 50:
            theta_t, worst, phi_t = _trial(S, Q, alpha, mu)
            trials += 1
            verdict = _acceptable_step(Q, theta, phi, slope, alpha, theta_t, phi_t)
            if verdict == 0 and trials == 1 and theta_t >= theta and theta_t < np.inf:
                # --- second-order correction: the same matrix, residual alpha C + C(trial)
                Q.cw[:] = Q.dw
                # (dw, ds, dY) of the plain step are rebuilt below if the correction fails
                theta_old = theta
                for i in range(Q.R.shape[0]):
                    Q.Rt[i] = alpha * Q.C[i] + Q.Ct[i]
                soc = 0
                while soc < MAX_SOC:
                    soc += 1
                    _direction(S, X, Q, mu, delta, Q.Rt)
                    alpha_soc, dual_soc = _step_to_boundary(S, Q, tau, mu)
                    for i in range(Q.R.shape[0]):
                        Q.yp[i] = Q.Rt[i]
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
                    for i in range(Q.R.shape[0]):
                        Q.Rt[i] = alpha_soc * Q.yp[i] + Q.Ct[i]
                if verdict == 0:
                    _direction(S, X, Q, mu, delta, Q.C)
            if verdict == 0:
                alpha *= 0.5
        if verdict == 0:
            # --- restoration
            if error_0 <= Q.option[ACCEPTABLE_TOL]:
                Q.count[STATUS] = ACCEPTABLE
                return ACCEPTABLE
            _augment_filter(Q, theta, phi)
            if theta <= 1e-2 * tol:
                Q.count[STATUS] = STALLED
                return STALLED
            code = _restore(S, X, Q, 300)
            theta, worst = residuals(S, Q.R, Q.w, Q.s, Q.C)
            Q.number[THETA] = theta
            Q.number[VIOLATION] = worst
            Q.number[OBJECTIVE] = _objective(S, Q.R)
            Q.count[ITERATION] += 1
            if code == 1 and worst > 10.0 * tol:
                Q.count[STATUS] = INFEASIBLE
                return INFEASIBLE
            if code != 0 and worst > tol:
                Q.count[STATUS] = RESTORATION_FAILED
                return RESTORATION_FAILED
            for i in range(Q.w.shape[0]):
                if S.lw[i] < S.uw[i]:
                    if S.lw[i] > -np.inf:
                        Q.zl[i] = min(1e3, mu / (Q.w[i] - S.lw[i]))
                    if S.uw[i] < np.inf:
                        Q.zu[i] = min(1e3, mu / (S.uw[i] - Q.w[i]))
            for i in range(Q.R.shape[0]):
                if S.kind[i] == INEQUALITY:
                    if S.lr[i] > -np.inf:
                        Q.vl[i] = min(1e3, mu / (Q.s[i] - S.lr[i]))
                    if S.ur[i] < np.inf:
                        Q.vu[i] = min(1e3, mu / (S.ur[i] - Q.s[i]))
            _least_squares_multipliers(S, X, Q)
            Q.number[ALPHA] = 0.0
            Q.number[ALPHA_DUAL] = 0.0
            Q.count[N_TRIALS] = -1
            continue
        # --- accept
        if verdict == 2 and not tiny:
            _augment_filter(Q, theta, phi)
        Q.t1[:] = Q.w
        Q.r1[:] = Q.s
        Q.w[:] = Q.wt
        Q.s[:] = Q.st
        Q.R[:] = Q.Rt
        Q.C[:] = Q.Ct
        for i in range(Q.R.shape[0]):
            Q.Y[i] += alpha * Q.dY[i]
        _dual_step(S, Q, alpha_dual, mu, Q.t1, Q.r1)
        Q.number[THETA] = theta_t
        Q.number[VIOLATION] = worst
        Q.number[OBJECTIVE] = _objective(S, Q.R)
        Q.number[ALPHA] = alpha
        Q.number[ALPHA_DUAL] = alpha_dual
        Q.count[N_TRIALS] = trials
        Q.count[ITERATION] += 1
        if not evaluate_jacobian(S, Q.w, Q.J):
            Q.count[STATUS] = BAD_START
            return BAD_START
    return RUNNING
