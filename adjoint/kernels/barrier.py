"""The barrier problem at one point: residuals, phi, optimality error, weights, steps to the boundary.

    phi = sum l - mu sum log(distance to each bound)            theta = |constraint residuals|_1
    sigma = zl/(w - lw) + zu/(uw - w)         D = vl/(s - lr) + vu/(ur - s)   or   1/delta_c (equality)

Equation numbers are those of Waechter & Biegler, Math. Program. 106 (2006) 25-57.
"""

from __future__ import annotations

import numpy as np

from adjoint.kernels.constants import COLD, COMPLEMENTARITY, DELTA_C, DUAL, KAPPA_SIGMA, VIOLATION, WARM
from adjoint.kernels.jit import jit
from adjoint.kernels.records import (
    Q_D,
    Q_DS,
    Q_DW,
    Q_GRAD,
    Q_R,
    Q_S,
    Q_SIGMA,
    Q_VL,
    Q_VU,
    Q_W,
    Q_Y,
    Q_ZL,
    Q_ZU,
    S_KIND,
    S_LR,
    S_LW,
    S_OROW,
    S_TARGET,
    S_UR,
    S_UW,
)
from adjoint.kernels.stages import COST, EQUALITY, INEQUALITY

__all__ = [
    "barrier_value", "bound_multipliers", "copy", "dual_step", "fill", "inside", "kept", "objective_value",
    "optimality", "residuals", "set_slacks", "step_to_boundary", "weights",
]


@jit
def fill(a, value):
    """a <- value."""
    for i in range(a.shape[0]):
        a[i] = value


@jit
def copy(source, target):
    """target <- source."""
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
def objective_value(S, R):
    """The sum of the cost rows."""
    orow = S.stage[S_OROW]
    f = 0.0
    for k in range(S.data.shape[0]):
        f += R[orow[k + 1] - 1]
    return f


@jit
def barrier_value(S, R, w, s, mu):
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
    return objective_value(S, R) + mu * b


@jit
def inside(x, lo, up, push):
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
def weights(S, Q):
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
def optimality(S, Q, mu):
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
def step_to_boundary(S, Q, tau, mu):
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
def kept(z, gap, mu):
    """Bound multiplier reset (16): never far from mu / gap."""
    return max(min(z, KAPPA_SIGMA * mu / gap), mu / (KAPPA_SIGMA * gap))


@jit
def dual_step(S, Q, alpha, mu, w_old, s_old):
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
            zl[i] = kept(z, w[i] - lo, mu)
        if up < np.inf:
            gap = up - w_old[i]
            z = zu[i] + alpha * ((mu + zu[i] * dw[i]) / gap - zu[i])
            zu[i] = kept(z, up - w[i], mu)
    for i in range(R.shape[0]):
        if kind[i] == INEQUALITY:
            if lr[i] > -np.inf:
                gap = s_old[i] - lr[i]
                z = vl[i] + alpha * ((mu - vl[i] * ds[i]) / gap - vl[i])
                vl[i] = kept(z, s[i] - lr[i], mu)
            if ur[i] < np.inf:
                gap = ur[i] - s_old[i]
                z = vu[i] + alpha * ((mu + vu[i] * ds[i]) / gap - vu[i])
                vu[i] = kept(z, ur[i] - s[i], mu)


@jit
def set_slacks(S, Q, push):
    """s <- the rows, moved inside their bounds."""
    kind, lr, ur = S.row_kind[S_KIND], S.row_data[S_LR], S.row_data[S_UR]
    s, R = Q.row[Q_S], Q.row[Q_R]
    for i in range(R.shape[0]):
        s[i] = inside(R[i], lr[i], ur[i], push) if kind[i] == INEQUALITY else 0.0


@jit
def bound_multipliers(S, Q, mode, mu):
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
