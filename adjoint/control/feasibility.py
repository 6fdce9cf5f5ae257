"""Violations of all that the transcription imposes, recomputed from the answer; and of bounds between the nodes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from adjoint.control.evidence import Case, Check, Worst, beyond, constraint_bounds

__all__ = ["feasibility"]

Array = NDArray[np.float64]

# Points an interval at which bounds and path constraints are looked at between the nodes.
FINE = 10


def feasibility(case: Case) -> list[Check]:
    """Violations where the constraints are imposed (decides), and between those points (informs)."""
    s, h, phase, system = case.solution, case.h, case.phase, case.system
    wide_x, wide_u = np.maximum(case.size_x, h.state_scale), np.maximum(case.size_u, h.control_scale)
    bounded_x = [f"bounds of state {name!r}" for name in system.states]
    bounded_u = [f"bounds of control {name!r}" for name in system.controls]
    threshold = max(1e-6, 10 * float(s.residuals["tolerance"]))

    worst = Worst()
    for errors, times in _defects(case):
        worst.see(np.abs(errors) / wide_x, times, [f"dynamics of {name!r}" for name in system.states])
    worst.see(beyond(s.x, phase.state_bounds) / wide_x, s.t, bounded_x)
    worst.see(beyond(s.node_x, phase.state_bounds) / wide_x, s.node_t, bounded_x)
    worst.see(beyond(case.u, phase.control_bounds) / wide_u, s.node_t, bounded_u)
    for end, limits, at in (("initial", phase.initial, slice(0, 1)), ("final", phase.final, slice(-1, None))):
        names = [f"{end} condition of {name!r}" for name in system.states]
        worst.see(beyond(s.x[at], limits) / wide_x, s.t[at], names)
    reach = np.where(np.isfinite(case.path_bounds), np.abs(case.path_bounds), 0.0).max(axis=0, initial=0.0)
    reach = np.maximum(reach, case.nodes.reach.max(axis=0, initial=0.0))
    reach[reach == 0] = 1.0
    worst.see(beyond(case.nodes.c, case.path_bounds) / reach, s.node_t, case.path_names)
    if h.r and not system.discrete:
        _, c = h.samples(s.t[[0, -1]], s.x[[0, -1]], case.u[[0, -1]], s.p, s.costate[[0, -1]], s.integral_costate)
        worst.see(np.where(h.c_on_u, 0.0, beyond(c, case.path_bounds)) / reach, s.t[[0, -1]], case.path_names)
    if h.boundary_sizes:
        *_, b, b_reach = case.ends()
        limits = constraint_bounds([c for c, _ in h.graphs.boundary], h.boundary_sizes)
        size = np.maximum(b_reach, np.where(np.isfinite(limits), np.abs(limits), 0.0).max(axis=0))
        size[size == 0] = 1.0
        names = [f"boundary constraint {c.name!r}"
                 for (c, _), k in zip(h.graphs.boundary, h.boundary_sizes, strict=True) for _ in range(k)]
        worst.see((beyond(b, limits) / size)[None], s.t[-1:], names)
    for value, q, name in ((s.t[0], phase.t0, "t0"), (s.t[-1], phase.tf, "tf"),
                           *zip(s.p, phase.parameters, system.parameters, strict=True)):
        if q.lower < q.upper:
            size = max(abs(float(value)), abs(q.lower) if math.isfinite(q.lower) else 0.0, 1e-10)
            limits = np.array([[q.lower], [q.upper]])
            worst.see(beyond(np.array([[value]]), limits) / size, s.t[-1:], [f"bounds of {name!r}"])
    words = "" if worst.time is None else (
        f"infeasible: the {worst.name} at t = {worst.time:.6g}: violated by {worst.value:.2g} of the size "
        f"(allowed {threshold:g}); solve with a smaller tol or from another guess.")
    imposed = Check("feasibility", worst.value, threshold, worst.value <= threshold, worst.time, worst.name, words)
    if system.discrete:
        return [imposed]

    between = Worst()
    t = (s.t[:-1, None] + case.h_t[:, None] * ((np.arange(FINE) + 0.5) / FINE)).ravel()
    limited = bool(np.isfinite(phase.state_bounds).any() or h.r)
    u = s.control(t)
    between.see(beyond(u, phase.control_bounds) / wide_u, t, bounded_u)
    if limited:
        x = s.state(t)
        between.see(beyond(x, phase.state_bounds) / wide_x, t, bounded_x)
        if h.r:
            _, c = h.samples(t, x, u, s.p, np.zeros(h.n), s.integral_costate)
            between.see(beyond(c, case.path_bounds) / reach, t, case.path_names)
    words = "" if between.time is None else (
        f"between the nodes the {between.name}: violated by {between.value:.2g} of the size at t = {between.time:.6g}.")
    return [imposed, Check("between nodes", between.value, None, True, between.time, between.name, words)]


def _defects(case: Case) -> list[tuple[Array, Array]]:
    """Residuals (K, n) of the discretised dynamics, as the method defines them, with their times."""
    s, h = case.solution, case.h
    extras = np.zeros((s.N, 1 + h.n_q))
    if case.system.discrete:
        return [(s.x[1:] - case.nodes.f, s.t[1:])]
    if s.collocation:
        method = s.method
        inverse = np.linalg.inv(method.A)
        X = s.node_x.reshape(s.N, -1, h.n)
        rise = X - s.x[:-1, None]
        f = case.nodes.f.reshape(X.shape)
        inside = case.h_t[:, None, None] * f - np.einsum("ij,kjn->kin", inverse, rise)
        step = X[:, -1] if method.c[-1] == 1.0 else s.x[:-1] + np.einsum("j,kjn->kn", method.b @ inverse, rise)
        return [(inside.reshape(-1, h.n), s.node_t), (s.x[1:] - step, s.t[1:])]
    x, A, b, c = s.x[:-1], s.method.A, s.method.b, s.method.c
    step = case.h_t / s.substeps
    for j in range(s.substeps):
        K: list[Array] = []
        for i in range(b.size):
            stage = x + step[:, None] * sum((a * k for a, k in zip(A[i], K, strict=False) if a), np.zeros_like(x))
            at = (s.t[:-1] + (j + c[i]) * step)[:, None]
            K.append(np.asarray(h.augmented_function(at, np.hstack([stage, extras]), case.u, s.p))[:, :h.n])
        x = x + step[:, None] * sum((w * k for w, k in zip(b, K, strict=True)), np.zeros_like(x))
    return [(s.x[1:] - x, s.t[1:])]
