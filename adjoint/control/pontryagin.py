"""The maximum principle along a solution (here a minimum principle), in the letters of `hamiltonian`'s header.

`minimum` may refuse a solution; `conditions` inform: how well a discretised answer satisfies them depends on its mesh.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjoint.control.evidence import Case, Check, Worst, beyond
from adjoint.control.flow import Flow
from adjoint.control.hamiltonian import Points

__all__ = ["conditions", "minimum"]

Array = NDArray[np.float64]

# Excess of H over its minimum, relative to its scale, and the part of the horizon, beyond which a solution is refused.
GAP, MEASURE = 1e-2, 0.05
# Points of time at which the minimum of H is sampled.
MOST_POINTS = 300


def minimum(case: Case) -> list[Check]:
    """H at u(t) against H at other admissible controls."""
    s, h = case.solution, case.h
    if h.m == 0:
        return []
    t, x, u, lam, points = _pontryagin_points(case)
    weight = case.weight
    if t.size > MOST_POINTS:
        chosen = np.linspace(0, t.size - 1, MOST_POINTS).round().astype(int)
        t, x, u, lam, weight = t[chosen], x[chosen], u[chosen], lam[chosen], weight[chosen]
    others = _candidates(u, case.phase.control_bounds, np.maximum(case.size_u, h.control_scale))
    K, S, m = others.shape
    H, c = h.samples(np.repeat(t, S), np.repeat(x, S, axis=0), others.reshape(-1, m), s.p, np.repeat(lam, S, axis=0),
                     s.integral_costate)
    H, outside = H.reshape(K, S), beyond(c, case.path_bounds).reshape(K, S, -1)
    slack = 1e-9 * np.maximum(points.reach.max(axis=0, initial=0.0), 1e-300)
    admissible = np.all(outside <= outside[:, :1] + slack, axis=2) & np.isfinite(H)
    # The terms of H may all vanish at an optimum (a cost of zero): then the spread over the samples is the scale.
    spread = np.where(admissible, H, -math.inf).max() - np.where(admissible, H, math.inf).min()
    H = np.where(admissible, H, math.inf)
    scale = max(float(points.H_terms.max()), 1e-2 * float(spread) if math.isfinite(spread) else 0.0, 1e-300)
    best = np.argmin(H, axis=1)
    gap = (H[:, 0] - H[np.arange(K), best]) / scale              # H(u*) - min H(u)
    gap = np.where(np.isnan(gap), 0.0, gap)
    k = int(np.argmax(gap))
    part = float(weight[gap > GAP].sum() / weight.sum())
    passed = case.system.discrete or part <= MEASURE
    better = zip(case.system.controls, others[k, best[k]], strict=True)
    control = ", ".join(f"{name} = {value:.4g}" for name, value in better)
    if gap[k] <= 1e-6:
        control = ""
    words = "no sampled admissible control makes the Hamiltonian smaller."
    if control:
        words = (f"the Hamiltonian exceeds its sampled minimum by at most {gap[k]:.2g} of its scale (t = {t[k]:.6g}), "
                 f"and by more than {GAP:g} on {100 * part:.0f} % of the horizon.")
    if not passed:
        words = (f"a strictly better control exists at t = {t[k]:.6g}: {control} makes the Hamiltonian smaller "
                 f"by {gap[k]:.2g} of its scale, and so do others on {100 * part:.0f} % of the horizon. This is no "
                 "minimum; start from another guess.")
    if not np.any(admissible[:, 1:]):
        words = "no sampled control other than the solution's satisfies the path constraints; nothing was compared."
    return [Check("minimum of H", float(gap[k]), None if case.system.discrete else GAP, passed,
                  float(t[k]) if control else None, control, words)]


def _pontryagin_points(case: Case) -> tuple[Array, Array, Array, Array, Points]:
    """Where the pointwise conditions are looked at: nodes; for a constant control the middle of its interval."""
    s = case.solution
    if s.collocation or case.system.discrete:
        return s.node_t, s.node_x, case.u, s.node_costate, case.nodes
    t = 0.5 * (s.t[:-1] + s.t[1:])
    x, lam = s.state(t), 0.5 * (s.costate[:-1] + s.costate[1:])
    return t, x, case.u, lam, case.at(t, x, case.u, lam)


def _candidates(u: Array, bounds: Array, size: Array) -> Array:
    """Controls (K, S, m) to compare u (K, m) with; the first is u itself, all lie within the bounds.

    Where there is no bound, the box reaches as far beyond the controls in use as these vary (or as large as they are).
    """
    K, m = u.shape
    low, high = u.min(axis=0), u.max(axis=0)
    margin = np.maximum(high - low, size)
    low = np.where(np.isfinite(bounds[0]), bounds[0], np.minimum(low - margin, bounds[1] - margin))
    high = np.where(np.isfinite(bounds[1]), bounds[1], np.maximum(high + margin, low + margin))
    width = high - low
    grid = np.linspace(0.0, 1.0, 41 if m == 1 else 9)
    if m == 1:
        box = grid[:, None]
    elif m == 2:
        box = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    else:
        box = np.stack([_radical_inverse(base, 64) for base in _primes(m)], axis=1)
        if m <= 6:
            corners = (np.arange(2 ** m)[:, None] >> np.arange(m)) & 1
            box = np.vstack([box, corners])
    blocks = [u[:, None], np.broadcast_to(low + width * box, (K, *box.shape))]
    shifts = np.array([-0.1, -0.01, 0.01, 0.1])
    for j in range(m):
        near = np.repeat(u[:, None], shifts.size, axis=1)
        near[:, :, j] = np.clip(near[:, :, j] + shifts * width[j], low[j], high[j])
        blocks.append(near)
        if m > 1:
            replaced = np.repeat(u[:, None], grid.size, axis=1)
            replaced[:, :, j] = low[j] + width[j] * grid
            blocks.append(replaced)
    return np.concatenate(blocks, axis=1)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _radical_inverse(base: int, count: int) -> Array:
    """The first numbers of the van der Corput sequence: the digits of 1, 2, ... mirrored at the point (Halton 1960)."""
    values = np.zeros(count)
    rest, factor = np.arange(1, count + 1), 1.0
    while rest.any():
        factor /= base
        values += factor * (rest % base)
        rest = rest // base
    return values


def conditions(case: Case, accuracy: float) -> list[Check]:
    """dL/du, costate equation, transversality, and what H must be."""
    s, h, system = case.solution, case.h, case.system
    checks = []
    t, _, _, _, points = _pontryagin_points(case)
    scale = max(float(points.H_terms.max()), 1e-10)
    if h.m:
        bound = np.stack([s.bound_multipliers.get(name, np.zeros(t.size)) for name in system.controls], axis=1)
        size = np.maximum((points.H_u_terms + np.abs(points.c_u)).max(axis=0), 1e-300)
        worst = Worst()
        worst.see(np.abs(points.H_u + points.c_u + bound) / size, t, system.controls)
        checks.append(Check("dL/du = 0", worst.value, None, True, worst.time, worst.name,
                            "stationarity of H with its multipliers, relative to the largest of its terms."))
    worth = float((np.abs(s.costate) * case.size_x).max())       # max |lambda_j| size_j
    worth = worth if worth > 0 else 1.0
    if not system.discrete:
        checks.append(_costate_equation(case, accuracy, worth))
    checks.append(_transversality(case, worth, scale))
    if h.autonomous and not system.discrete:
        H = points.H
        k = int(np.argmax(np.abs(H - np.median(H))))
        checks.append(Check("H constant", float(H.max() - H.min()) / scale, None, True, float(t[k]), "",
                            f"nothing depends on t, so H is constant: from {H.min():.6g} to {H.max():.6g}."))
        G_tf = float(case.ends()[3][0])
        if _inside(s.t[-1], case.phase.tf) and G_tf == 0.0:
            k = int(np.argmax(np.abs(H)))
            checks.append(Check("H = 0", float(np.abs(H).max()) / scale, None, True, float(t[k]), "",
                                "the final time is free and nothing depends on t, so H vanishes."))
    return checks


def _inside(value: float, q: Any) -> bool:
    """Whether a free time lies strictly between its bounds."""
    slack = 1e-6 * max(abs(float(value)), 1e-10)
    return bool(q.lower < q.upper and q.lower + slack < value < q.upper - slack)


def _costate_equation(case: Case, accuracy: float, worth: float) -> Check:
    """(x, lambda)' = (f, -dH/dx) from every knot to the next; intervals where state constraints act are left out."""
    s, h, system = case.solution, case.h, case.system
    n = h.n
    force = np.abs(case.nodes.c_x) * case.size_x
    for i, name in enumerate(system.states):
        if name in s.bound_multipliers:
            force[:, i] += np.abs(s.bound_multipliers[name]) * case.size_x[i]
    acting = (case.weight[:, None] * force).reshape(s.N, case.s, n).sum(axis=(1, 2)) > 1e-2 * accuracy * worth
    flow = Flow(s, h.joint, np.concatenate([s.p, s.integral_costate]),
                np.concatenate([case.size_x, worth / case.size_x]))
    end = flow.each(np.concatenate([s.x[:-1], s.costate[:-1]], axis=1))[:, n:]
    errors = np.abs(end - s.costate[1:]) * case.size_x / worth
    used = ~acting & np.all(np.isfinite(end), axis=1)
    worst = Worst(0.0 if used.any() else math.nan)
    worst.see(errors[used], s.t[1:][used], [f"costate of {name!r}" for name in system.states])
    words = f"lambda' = -dH/dx, re-integrated from knot to knot on {int(used.sum())} of {s.N} intervals"
    words += "; where state constraints act it has further terms" if acting.any() else ""
    words += f"; the integration stopped: {flow.failure}." if flow.failure else "."
    return Check("costate equation", worst.value, None, True, worst.time, worst.name, words)


def _transversality(case: Case, worth: float, scale: float) -> Check:
    """Costates of free end states, and H at free end times."""
    s, h, phase, system = case.solution, case.h, case.phase, case.system
    _, G_t0, G_x0, G_tf, G_xf, _, _, _ = case.ends()
    worst = Worst()
    ends = np.array([0, -1])
    u = s.u[-1:].reshape(-1, h.m)[-1:] if system.discrete else s.control(s.t[ends])
    u = np.broadcast_to(u, (2, h.m))
    H, c = h.samples(s.t[ends], s.x[ends], u, s.p, s.costate[ends], s.integral_costate)
    slack = 1e-6 * case.nodes.reach.max(axis=0, initial=0.0)
    names = [f"costate of {name!r}" for name in system.states]
    for k, sign, limits, G in ((0, -1.0, phase.initial, G_x0), (1, 1.0, phase.final, G_xf)):
        x = s.x[ends[k]]
        active = beyond(c[k], case.path_bounds + np.array([[1.0], [-1.0]]) * slack) > 0
        margin = 1e-6 * case.size_x
        free = (x > limits[0] + margin) & (x < limits[1] - margin) & ~h.c_on_x[active].any(axis=0)
        error = np.abs(s.costate[ends[k]] - sign * G) * case.size_x / worth
        worst.see(np.where(free, error, 0.0)[None], s.t[ends[k]][None], names)
    if not system.discrete:
        for k, sign, q, G in ((0, 1.0, phase.t0, G_t0), (1, -1.0, phase.tf, G_tf)):
            if _inside(s.t[ends[k]], q):
                worst.see(np.abs(H[k:k + 1] - sign * G)[None] / scale, s.t[ends[k]][None],
                          ["H at the start" if k == 0 else "H at the end"])
    return Check("transversality", worst.value, None, True, worst.time, worst.name,
                 "costates at free ends against the gradient of the end costs, and H at free times.")
