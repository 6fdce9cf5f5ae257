"""A primal-dual interior-point method on the stage structure, compiled as one resumable loop.

    min  sum_k l_k(w_k)     subject to   F_k(w_k) = x_{k+1},  c_k(w_k) = 0,  h_k(w_k) = s_k,
                                          lw <= w <= uw,  lr <= s <= ur      (lr == ur: h_k(w_k) = lr, no slack)

is replaced by a sequence of barrier problems, phi = sum l - mu sum log(distance to each bound), mu -> 0. Newton's
method on the primal-dual equations, with the bound multipliers and slacks eliminated, gives the system of
`kernels.riccati` with

    sigma = zl/(w - lw) + zu/(uw - w)                    D = vl/(s - lr) + vu/(ur - s)   or   1/delta_c (equality).

Steps are kept strictly inside the bounds (fraction to the boundary) and accepted by a filter on (theta, phi), theta
the 1-norm of the constraint residuals, with second-order corrections; if no step is acceptable, the caller runs the
restoration phase (`kernels.restoration`). delta_w > 0 is added to the Hessian when the factorisation finds the wrong
curvature. Once the tolerance is met, a few more iterations with a smaller mu make controls at bounds crisp and
multipliers accurate. Constants and rules follow Waechter & Biegler, Math. Program. 106 (2006) 25-57 (equation numbers
below are theirs); restoration and polishing are our own.

The parts: `barrier` (phi and its relatives at a point), `direction` (Newton's step), `globalization` (the filter).
"""

from __future__ import annotations

import numpy as np

from adjoint.kernels.barrier import (
    barrier_value,
    bound_multipliers,
    copy,
    dual_step,
    fill,
    inside,
    objective_value,
    optimality,
    residuals,
    set_slacks,
    step_to_boundary,
    weights,
)
from adjoint.kernels.constants import (
    ACCEPTABLE,
    ACCEPTABLE_RUN,
    ACCEPTABLE_TOL,
    ALPHA,
    ALPHA_DUAL,
    BAD_CURVATURE,
    BAD_START,
    COLD,
    COMPLEMENTARITY,
    CONTINUE,
    DELTA,
    DELTA_SWITCH,
    DIVERGING,
    DUAL,
    ERROR,
    GAMMA_PHI,
    GAMMA_THETA,
    HARDEST,
    ITERATION,
    KAPPA_EPS,
    KAPPA_MU,
    KAPPA_SOC,
    LEFT,
    MAX_SOC,
    MU,
    MU_INIT,
    N_FILTER,
    N_TRIALS,
    NEEDS_RESTORATION,
    OBJECTIVE,
    OMEGA,
    OPTIMAL,
    POLISH,
    POLISHED,
    POLISHING,
    PUSH,
    RECALL,
    RUNNING,
    S_PHI,
    S_THETA,
    STALLED,
    STATUS,
    STEP,
    TAU_MIN,
    THETA,
    THETA_MAX,
    THETA_MIN,
    THETA_MU,
    TINY_RUN,
    TOL,
    UNBOUNDED,
    VIOLATION,
    WARM,
)
from adjoint.kernels.direction import direction, factor_with_inertia, least_squares_multipliers
from adjoint.kernels.globalization import acceptable_step, augment_filter, slope_of, trial
from adjoint.kernels.jit import jit, jit_inline
from adjoint.kernels.records import (
    Q_C,
    Q_CT,
    Q_CW,
    Q_DW,
    Q_DY,
    Q_GRAD,
    Q_R,
    Q_R1,
    Q_RT,
    Q_S,
    Q_S0,
    Q_ST,
    Q_T1,
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
    S_FIRST,
    S_KIND,
    S_LR,
    S_LW,
    S_OJ,
    S_OJPTR,
    S_OROW,
    S_R,
    S_SR,
    S_SW,
    S_UR,
    S_UW,
)
from adjoint.kernels.stages import COST, HESSIAN, JACOBIAN, ROWS, evaluate, jacobian_transposed_product

__all__ = ["iterate", "prepare"]


@jit
def _push_inside(S, Q, push):
    """Move w inside its bounds and evaluate the rows. False if a value is not finite."""
    lw, uw, w, R = S.unknown_data[S_LW], S.unknown_data[S_UW], Q.unknown[Q_W], Q.row[Q_R]
    for i in range(w.shape[0]):
        w[i] = lw[i] if lw[i] == uw[i] else inside(w[i], lw[i], uw[i], push)
    return evaluate(S, ROWS, w, R, R)


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
    fill(count, 0)
    fill(number, 0.0)
    mu = option[MU_INIT]
    push = option[PUSH] if mode == COLD else 1e-10
    if not _push_inside(S, Q, push) or not evaluate(S, JACOBIAN, w, J, J):
        count[STATUS] = BAD_START
        return
    _scale_rows(S, Q)
    set_slacks(S, Q, push)
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
        bound_multipliers(S, Q, WARM, 0.0)
        jacobian_transposed_product(S, J, Y, Q.unknown[Q_GRAD])
        mu = max(tol / 11.0, min(mu, optimality(S, Q, 0.0)))
        if mu > tol:
            push = min(1e-2, mu)
            if not _push_inside(S, Q, push) or not evaluate(S, JACOBIAN, w, J, J):
                count[STATUS] = BAD_START
                return
            set_slacks(S, Q, push)
            bound_multipliers(S, Q, WARM, mu)
    else:
        bound_multipliers(S, Q, COLD, mu)
        if S.quadratic:
            # Newton's step for a quadratic programme does not depend on the multipliers of its linear constraints.
            for i in range(R.shape[0]):
                Y[i] = 1.0 if kind[i] == COST else 0.0
        else:
            least_squares_multipliers(S, X, Q)
    if S.quadratic:
        evaluate(S, HESSIAN, w, Y, Q.H)
    number[MU] = mu
    theta, worst = residuals(S, R, w, s, C)
    number[THETA], number[VIOLATION], number[OBJECTIVE] = theta, worst, objective_value(S, R)
    number[THETA_MAX], number[THETA_MIN] = 1e4 * max(1.0, theta), 1e-4 * max(1.0, theta)


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
    Q.number[THETA], Q.number[VIOLATION], Q.number[OBJECTIVE] = theta, worst, objective_value(S, R)
    jacobian_transposed_product(S, Q.J, row[Q_Y], unknown[Q_GRAD])
    Q.number[ERROR] = optimality(S, Q, 0.0)
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
        error_0 = optimality(S, Q, 0.0)
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
        while mu > mu_min and optimality(S, Q, mu) <= KAPPA_EPS * mu:
            mu = max(mu_min, min(KAPPA_MU * mu, mu ** THETA_MU))
            count[N_FILTER] = 0
        number[MU] = mu
        tau = max(TAU_MIN, 1.0 - mu)
        number[DUAL] = dual
        number[COMPLEMENTARITY] = compl
        # --- Newton direction
        if not S.quadratic and not evaluate(S, HESSIAN, w, Y, H):
            fill(H, 0.0)
        weights(S, Q)
        delta = factor_with_inertia(S, X, Q)
        if delta < 0.0 and count[POLISH] > 0:
            return _recall(S, Q)
        if delta < 0.0:
            count[STATUS] = BAD_CURVATURE
            return BAD_CURVATURE
        number[DELTA] = delta
        direction(S, X, Q, mu, delta, C)
        size = 0.0
        longest = 0.0
        for i in range(w.shape[0]):
            size = max(size, abs(dw[i]) / (1.0 + abs(w[i])))
            longest = max(longest, abs(dw[i]))
        number[STEP] = longest
        theta = number[THETA]
        phi = barrier_value(S, R, w, s, mu)
        slope = slope_of(S, Q, mu)
        alpha_max, alpha_dual = step_to_boundary(S, Q, tau, mu)
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
            theta_t, worst, phi_t = trial(S, Q, alpha, mu)
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
            theta_t, worst, phi_t = trial(S, Q, alpha, mu)
            trials += 1
            verdict = acceptable_step(Q, theta, phi, slope, alpha, theta_t, phi_t)
            if verdict == 0 and trials == 1 and theta_t >= theta and theta_t < np.inf:
                # --- second-order correction: the same matrix, residual alpha C + C(trial)
                copy(dw, cw)
                # (dw, ds, dY) of the plain step are rebuilt below if the correction fails
                theta_old = theta
                for i in range(R.shape[0]):
                    Rt[i] = alpha * C[i] + Ct[i]
                soc = 0
                while soc < MAX_SOC:
                    soc += 1
                    direction(S, X, Q, mu, delta, Rt)
                    alpha_soc, dual_soc = step_to_boundary(S, Q, tau, mu)
                    for i in range(R.shape[0]):
                        yp[i] = Rt[i]
                    theta_s, worst_s, phi_s = trial(S, Q, alpha_soc, mu)
                    verdict = acceptable_step(Q, theta, phi, slope, alpha, theta_s, phi_s)
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
                    direction(S, X, Q, mu, delta, C)
            if verdict == 0:
                alpha *= 0.5
        if verdict == 0 and count[POLISH] > 0:
            return _recall(S, Q)
        if verdict == 0:
            if error_0 <= option[ACCEPTABLE_TOL]:
                count[STATUS] = ACCEPTABLE
                return ACCEPTABLE
            augment_filter(Q, theta, phi)
            if theta <= 1e-2 * tol:
                count[STATUS] = STALLED
                return STALLED
            # Equalities that contradict the linearised dynamics must not be met by giving up the dynamics.
            number[OMEGA] = HARDEST if contradiction else 1.0
            count[STATUS] = NEEDS_RESTORATION
            return NEEDS_RESTORATION
        # --- accept
        if verdict == 2 and not tiny:
            augment_filter(Q, theta, phi)
        copy(w, t1)
        copy(s, r1)
        copy(wt, w)
        copy(st, s)
        copy(Rt, R)
        copy(Ct, C)
        for i in range(R.shape[0]):
            Y[i] += alpha * dY[i]
        dual_step(S, Q, alpha_dual, mu, t1, r1)
        number[THETA] = theta_t
        number[VIOLATION] = worst
        number[OBJECTIVE] = objective_value(S, R)
        number[ALPHA] = alpha
        number[ALPHA_DUAL] = alpha_dual
        count[N_TRIALS] = trials
        count[ITERATION] += 1
        if not evaluate(S, JACOBIAN, w, J, J):
            count[STATUS] = STALLED
            return STALLED
    return RUNNING
