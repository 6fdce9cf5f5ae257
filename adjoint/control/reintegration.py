"""Does the control alone reproduce states, cost and integrals? Rules and sizes: header of `certificate`."""

from __future__ import annotations

import math

import numpy as np

from adjoint.control.evidence import Case, Check, Worst, beyond, constraint_bounds
from adjoint.control.flow import TOLERANCE, Flow, MapFlow, growth

__all__ = ["reintegration"]


def reintegration(case: Case, accuracy: float) -> tuple[list[Check], float]:
    """States, cost and integrals from the control alone."""
    s, h, system = case.solution, case.h, case.system
    n, N = h.n, s.N
    phi, *_, phi_x, _, _ = case.ends()
    points = case.nodes
    cost = h.sign * s.cost
    natural = float(case.weight @ points.l_reach + np.abs(phi_x) @ case.size_x)
    cost_size = max(abs(cost), 0.01 * natural, 1e-10)
    bounds = constraint_bounds([c for c, _ in h.graphs.integrals], [1] * h.n_q)
    integral_size = np.maximum(np.where(np.isfinite(bounds), np.abs(bounds), 0.0).max(axis=0, initial=0.0), 1e-10)
    flow: Flow | MapFlow
    if system.discrete:
        flow = MapFlow(s, h.augmented_function, n)
    else:
        flow = Flow(s, h.augmented, s.p, np.concatenate([case.size_x, [cost_size], integral_size]))
    start = np.concatenate([s.x[0], np.zeros(1 + h.n_q)])
    starts = np.concatenate([s.x[:-1], np.zeros((N, 1 + h.n_q))], axis=1)

    run = flow.through(start)
    failure = flow.failure
    local = flow.each(starts)
    local_failure = flow.failure if not np.all(np.isfinite(local)) else ""
    local_errors = np.abs(local[:, :n] - s.x[1:]) / case.size_x
    grown = growth(flow, starts, local, case.size_x)
    worst, worst_local = Worst(), Worst()
    worst.see(np.abs(run[:, :n] - s.x[1:]) / case.size_x, s.t[1:], system.states)
    worst_local.see(local_errors, s.t[1:], system.states)
    extras = run[-1, n:]
    unstable = not worst.value <= accuracy and not local_failure and grown * TOLERANCE > accuracy
    total = float(local_errors.sum(axis=0).max()) if not local_failure else math.inf
    amplified = f"a perturbation of x(t0) grows by {grown:.1e} over this horizon"
    words = "" if worst.time is None else (
        f"state {worst.name!r} re-integrates to {worst.value:.2g} of its size off at t = {worst.time:.6g}")
    if unstable:
        words = f"{amplified}, so a run from x(t0) cannot reproduce the states; the sum of the local errors decides."
        local_words = (f"mesh too coarse: {amplified}, and re-integrated from every knot the local errors add up to "
                       f"{total:.2g} (accuracy {accuracy:g}; the largest, {worst_local.value:.2g}, in state "
                       f"{worst_local.name!r} at t = {worst_local.time or 0.0:.6g}); use more intervals.")
        extras = local[:, n:].sum(axis=0)
        checks = [Check("re-integration", worst.value, None, True, worst.time, worst.name, words),
                  Check("local errors", total, accuracy, bool(total <= accuracy), worst_local.time, worst_local.name,
                        local_words)]
    else:
        passed = bool(worst.value <= accuracy)
        if not passed:
            stopped = failure if math.isinf(worst.value) else ""
            words = _blame(case, words, stopped, amplified if grown > 10 else "", worst_local, accuracy)
        checks = [Check("re-integration", worst.value, accuracy, passed, worst.time, worst.name, words),
                  Check("local errors", total, None, True, worst_local.time, worst_local.name,
                        f"every interval re-integrated from its own knot, summed; {amplified}.")]

    phi_again = phi[0]
    if not unstable and np.all(np.isfinite(run[-1, :n])) and h.graphs.terminal is not None:
        phi_again = h.sign * float(h.graphs.terminal(s.t[-1], run[-1, :n], s.p))
    again = float(extras[0]) + phi_again
    error = abs(again - cost) / cost_size
    error = math.inf if math.isnan(error) else float(error)
    checks.append(Check("cost", error, accuracy, error <= accuracy, None, "",
                        f"the cost re-integrates to {h.sign * again:.10g}, not {s.cost:.10g} (off by {error:.2g} of "
                        f"its size; accuracy {accuracy:g}); use more intervals."))
    if h.n_q:
        found = Worst()
        found.see(beyond(extras[None, 1:], bounds) / integral_size, s.t[-1:],
                  [f"integral {c.name!r}" for c, _ in h.graphs.integrals])
        checks.append(Check("integrals", found.value, accuracy, found.value <= accuracy, found.time, found.name,
                            f"the constraint {found.name} re-integrates to {found.value:.2g} of its bound outside "
                            f"(accuracy {accuracy:g}); use more intervals."))
    return checks, grown


def _blame(case: Case, words: str, stopped: str, amplified: str, local: Worst, accuracy: float) -> str:
    """The sentence of a re-integration that failed, with advice."""
    if stopped:
        return f"the re-integration from x(t0) stopped: {stopped}. Take more intervals, or find the singularity there."
    words = f"{words} (accuracy {accuracy:g})"
    if case.system.discrete:
        return f"{words}: the states are not the iterates of the map under these controls."
    if local.value <= 1e-2 * accuracy and amplified:
        return (f"{words}, although the local errors are at most {local.value:.2g}: {amplified}. "
                "Use more intervals or a smaller tol.")
    return f"mesh too coarse: {words}; use more intervals."
