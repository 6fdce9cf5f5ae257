"""The restoration phase: when no step is acceptable, reduce the constraint violation alone, or find that nothing helps.

A Levenberg-Marquardt method of our own on the same stage structure:

    min  |y|_omega^2/2 + eta |w + dw - w_0|^2/2 + zeta |dw|^2/2 + barrier,      y = C + (linearised rows) dw - ds

that is the system of `kernels.riccati` with Hessian (eta + zeta) I, soft dynamics of weight omega, and the path rows'
weights D = Sigma_s/(1 + Sigma_s) (inequality) or 1 (equality). Shapes are those of `kernels.stages`.
"""

from __future__ import annotations

import numpy as np

from adjoint.kernels.barrier import (
    barrier_value,
    bound_multipliers,
    copy,
    fill,
    objective_value,
    residuals,
    step_to_boundary,
)
from adjoint.kernels.constants import (
    ALPHA,
    ALPHA_DUAL,
    HARDEST,
    INFEASIBLE,
    ITERATION,
    MU,
    N_FACTOR,
    N_RESTORATION,
    N_TRIALS,
    OBJECTIVE,
    OMEGA,
    RESTORATION_FAILED,
    RESTORE,
    RUNNING,
    STATUS,
    THETA,
    TOL,
    VIOLATION,
)
from adjoint.kernels.direction import add_path_transposed, least_squares_multipliers
from adjoint.kernels.globalization import in_filter, trial
from adjoint.kernels.jit import jit
from adjoint.kernels.records import (
    Q_C,
    Q_CT,
    Q_D,
    Q_DS,
    Q_DW,
    Q_DY,
    Q_JD,
    Q_R,
    Q_R1,
    Q_RR,
    Q_RT,
    Q_RW,
    Q_S,
    Q_SIGMA,
    Q_ST,
    Q_T1,
    Q_T2,
    Q_T3,
    Q_W,
    Q_WT,
    Q_Y,
    Q_YP,
    S_KIND,
    S_LR,
    S_LW,
    S_TARGET,
    S_UR,
    S_UW,
)
from adjoint.kernels.riccati import factorize, solve
from adjoint.kernels.stages import COST, EQUALITY, HESSIAN, INEQUALITY, JACOBIAN, LOCAL, evaluate, jacobian_product

__all__ = ["restore"]


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
    copy(w, origin)
    fill(H, 0.0)
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
        add_path_transposed(S, J, yp, rw)
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
        barrier = barrier_value(S, R, w, s, mu) - objective_value(S, R)
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
        alpha, _ = step_to_boundary(S, Q, 0.99, mu)
        accepted = False
        phi_t, soft_t = np.inf, np.inf
        for _ in range(25):
            theta_t, _, phi_t = trial(S, Q, alpha, number[MU])
            if theta_t < np.inf:
                soft_t = 0.0
                for i in range(w.shape[0]):
                    soft_t += 0.5 * eta * (Q.unknown[Q_WT][i] - origin[i]) ** 2
                for i in range(R.shape[0]):
                    weight = omega if kind[i] == LOCAL or target[i] >= 0 else 1.0
                    soft_t += 0.5 * weight * Q.row[Q_CT][i] ** 2
                Rt = Q.row[Q_RT]
                merit_t = soft_t + barrier_value(S, Rt, Q.unknown[Q_WT], Q.row[Q_ST], mu) - objective_value(S, Rt)
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
        copy(Q.unknown[Q_WT], w)
        copy(Q.row[Q_ST], s)
        copy(Q.row[Q_RT], R)
        copy(Q.row[Q_CT], C)
        Q.counter[N_RESTORATION] += 1
        if not evaluate(S, JACOBIAN, w, J, J):
            return 2
        if theta_t <= 0.9 * theta_0 and not in_filter(Q, theta_t, phi_t):
            return 0
        if -slope < 0.1 * mu:
            mu = max(0.2 * mu, 1e-10)
            eta = max(0.2 * eta, 1e-10)
    return 2


@jit
def restore(S, softened, X, softened_X, Q):
    """Run the restoration phase from an iterate that has no acceptable step; sets the status."""
    count, number = Q.counter, Q.number
    code = _restore(softened, softened_X, Q, 500)
    theta, worst = residuals(S, Q.row[Q_R], Q.unknown[Q_W], Q.row[Q_S], Q.row[Q_C])
    count[ITERATION] += 1
    number[THETA], number[VIOLATION], number[OBJECTIVE] = theta, worst, objective_value(S, Q.row[Q_R])
    number[ALPHA], number[ALPHA_DUAL] = 0.0, 0.0
    count[N_TRIALS] = -1
    tol = Q.option[TOL]
    if code == 1 and worst > 10.0 * tol:
        count[STATUS] = INFEASIBLE
    elif code != 0 and worst > tol:
        count[STATUS] = RESTORATION_FAILED
    else:
        count[STATUS] = RUNNING
        bound_multipliers(S, Q, RESTORE, number[MU])
        least_squares_multipliers(S, X, Q)
        if S.quadratic:
            evaluate(S, HESSIAN, Q.unknown[Q_W], Q.row[Q_Y], Q.H)
