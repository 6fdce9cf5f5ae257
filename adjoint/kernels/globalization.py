"""The filter line search: which trial points are acceptable (algorithm A of Waechter & Biegler 2006, section 2.3).

A step must improve theta or phi enough against the current point and against every pair in the filter; where the
slope of phi promises more than theta asks for (switching condition), phi must decrease by Armijo's rule.
"""

from __future__ import annotations

import numpy as np

from adjoint.kernels.barrier import barrier_value, residuals
from adjoint.kernels.constants import (
    DELTA_SWITCH,
    ETA_PHI,
    GAMMA_PHI,
    GAMMA_THETA,
    N_FILTER,
    S_PHI,
    S_THETA,
    THETA_MAX,
    THETA_MIN,
)
from adjoint.kernels.jit import jit
from adjoint.kernels.records import (
    Q_CT,
    Q_DS,
    Q_DW,
    Q_JD,
    Q_R,
    Q_RT,
    Q_S,
    Q_ST,
    Q_W,
    Q_WT,
    S_KIND,
    S_LR,
    S_LW,
    S_UR,
    S_UW,
)
from adjoint.kernels.stages import COST, INEQUALITY, ROWS, evaluate, jacobian_product

__all__ = ["acceptable_step", "augment_filter", "in_filter", "slope_of", "trial"]


@jit
def in_filter(Q, theta, phi):
    """True when (theta, phi) is dominated by an entry, or theta is too large altogether."""
    count, number = Q.counter, Q.number
    if not (theta <= number[THETA_MAX] and phi < np.inf):
        return True
    for i in range(count[N_FILTER]):  # noqa: SIM110 (a loop is what Numba compiles well)
        if theta >= Q.filter[i, 0] and phi >= Q.filter[i, 1]:
            return True
    return False


@jit
def augment_filter(Q, theta, phi):
    """Add (theta, phi), with its margin, to the filter and drop the pairs that it dominates."""
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


@jit
def trial(S, Q, alpha, mu):
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
    return theta, worst, barrier_value(S, Rt, wt, st, mu)


@jit
def slope_of(S, Q, mu):
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
def acceptable_step(Q, theta, phi, slope, alpha, theta_t, phi_t):
    """Filter line-search test (A-5.4): 0 rejected, 1 accepted by decrease of the objective, 2 by either measure."""
    number = Q.number
    if in_filter(Q, theta_t, phi_t):
        return 0
    slack = 10.0 * 2.220446e-16 * max(1.0, abs(phi))
    switching = slope < 0.0 and alpha * (-slope) ** S_PHI > DELTA_SWITCH * theta ** S_THETA
    if theta <= number[THETA_MIN] and switching:
        return 1 if phi_t - slack <= phi + ETA_PHI * alpha * slope else 0
    if theta_t <= (1.0 - GAMMA_THETA) * theta or phi_t - slack <= phi - GAMMA_PHI * theta:
        return 1 if switching and phi_t - slack <= phi + ETA_PHI * alpha * slope else 2
    return 0
