"""Evidence that a solution is one: named checks, made from the answer and the problem alone.

    re-integration   the control, applied from x(t0) by an independent adaptive integrator, reproduces states and cost     decides
    feasibility      dynamics, bounds, path and boundary constraints hold where the transcription imposes them            decides
    optimality       stationarity and complementarity of the discretised problem, as the solver left them                 decides
    minimum of H     no sampled admissible control makes H smaller                                                        see below
    between nodes    bounds and path constraints where nothing imposes them                                               informs
    dL/du = 0, costate equation, transversality, H constant, H = 0                                                        inform

Sizes. A state's size is max |x_i| over the trajectory, and at least a hundredth of the scale of its guess. An error of the cost
is relative to max(|cost|, 1/100 of (integral of |l| + |dl/dx| size, and of |dphi/dx| size), 1e-10). Costates are compared as
size_i |error_i| relative to max |lambda_j| size_j, and H relative to max over t of |l| + sum |lambda_i f_i| + sum |nu_j g_j|.

Unstable dynamics. If a perturbation of x(t0) grows by a factor g with g * 1e-10 > accuracy (1e-10: what each step of the
re-integration may err), then even an exact solution would not be reproduced from x(t0) by any run in double precision with that
tolerance. In that case, and only then, every interval is re-integrated from its own knot value, the *sum* of these local errors
has to stay below the accuracy, and the sentence says so.

The minimum of H. u(t) must minimise H(t, x(t), u, p, lambda(t)) over the admissible u. It is compared with a grid (or Halton
points and corners) of the control's box, with single components replaced, and with small changes of u itself. A discretised
answer has switching intervals and singular arcs, where a small excess means nothing. So this check decides only if H is too large
by more than 1e-2 of its scale on more than 5 % of the horizon. For discrete systems the principle needs convexity: it informs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjoint.control.flow import TOLERANCE, Flow, MapFlow, growth
from adjoint.control.hamiltonian import Hamiltonian, Points, hamiltonian_of
from adjoint.control.solution import Solution
from adjoint.errors import InputError

__all__ = ["Certificate", "Check", "certify"]

Array = NDArray[np.float64]

GAP, MEASURE = 1e-2, 0.05       # the minimum of H: excess, and part of the horizon, beyond which it decides
FINE = 10                       # points an interval between the nodes
MOST_POINTS = 300               # points of time at which the minimum of H is sampled


@dataclass(frozen=True)
class Check:
    """One named comparison.

    Attributes
    ----------
    name : str
    value : float
    threshold : float or None
        What `value` must not exceed; None for a value that informs only.
    passed : bool
    time : float or None
        Where it is worst.
    component : str
        The state, control or constraint that is worst.
    sentence : str
        What it means, in words; for a failure with advice.
    """

    name: str
    value: float
    threshold: float | None
    passed: bool
    time: float | None = None
    component: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Certificate:
    """The checks of a solution and their verdict.

    Attributes
    ----------
    holds : bool
        The solver converged and every deciding check passed.
    fault : str
        The first failure in words, with advice; empty if the certificate holds.
    checks : tuple of Check
    accuracy : float
    growth : float
        The factor by which a perturbation of x(t0) grows along the solution.
    """

    holds: bool
    fault: str
    checks: tuple[Check, ...] = ()
    accuracy: float = 1e-4
    growth: float = 1.0

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise InputError(f"the certificate has no check {name!r}; it has {', '.join(check.name for check in self.checks)}.")

    def __str__(self) -> str:
        lines = [f"  certificate  {'holds' if self.holds else 'DOES NOT HOLD'}"]
        for check in self.checks:
            limit = "        " if check.threshold is None else f"<= {check.threshold:.0e}"
            where = check.component if check.time is None else f"{check.component} at t = {check.time:.4g}".strip()
            failed = "" if check.passed else "  FAILED"
            lines.append(f"    {check.name:<18} {check.value:9.2e} {limit}  {where if check.value > 0 else ''}{failed}".rstrip())
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and lists, for JSON; infinite values become None."""
        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        checks = [{key: plain(value) for key, value in asdict(check).items()} for check in self.checks]
        return {"holds": self.holds, "fault": self.fault, "accuracy": self.accuracy, "growth": plain(self.growth), "checks": checks}


def certify(solution: Solution, accuracy: float = 1e-4) -> Certificate:
    """Check a solution without the solver's help.

    Parameters
    ----------
    solution : Solution
    accuracy : float
        How well an independent integration must reproduce states and cost, relative to their sizes.

    Returns
    -------
    Certificate
        Also for a solution that fails: `holds` is False and `fault` says what, where, and what to do.

    Raises
    ------
    InputError
        If the accuracy is not between 0 and 1.

    Examples
    --------
    >>> import adjoint
    >>> from adjoint.control.certificate import certify
    >>> car = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="position speed", controls="force", name="car")
    >>> solution = adjoint.solve(adjoint.OptimalControlProblem(
    ...     car, initial=dict(position=0, speed=0), final=dict(position=1, speed=0), running=lambda t, x, u, p: u[0] ** 2))
    >>> certify(solution).holds
    True
    """
    if not 0 < accuracy < 1:
        raise InputError(f"certify: accuracy is {accuracy!r}; expected a number between 0 and 1.")
    for name, values in (("states", solution.x), ("controls", solution.u), ("costates", solution.costate), ("times", solution.t)):
        if not np.all(np.isfinite(values)):
            return Certificate(False, f"the {name} of the solution are not all finite numbers.", (), accuracy)
    case = _Case(solution)
    optimality = _optimality(solution)
    feasible = _feasibility(case)
    again, grown = _reintegration(case, accuracy)
    minimum = _minimum(case)
    checks = (*again, *feasible, *optimality, *minimum, *_conditions(case, accuracy))
    # The first failure in the order of what a reader should repair first.
    order = (*optimality, *feasible, *again, *minimum)
    fault = next((check.sentence for check in order if not check.passed), "")
    return Certificate(not fault, fault, checks, accuracy, grown)


class _Case:
    """A solution with what several checks need: sizes, the nodes, and the values there."""

    def __init__(self, solution: Solution) -> None:
        self.solution, self.problem = solution, solution.problem
        self.phase = solution.problem.phases[0]
        self.system = self.phase.system
        h = self.h = hamiltonian_of(solution.problem)
        N = solution.N
        self.h_t = np.diff(solution.t)
        self.u = solution.u.reshape(-1, h.m)
        self.s = self.u.shape[0] // N
        self.size_x = np.maximum(np.abs(np.vstack([solution.x, solution.node_x])).max(axis=0), 0.01 * h.state_scale)
        self.size_u = np.maximum(np.abs(self.u).max(axis=0, initial=0.0), 0.01 * h.control_scale)
        columns = [solution.multipliers[f"path {c.name}"].reshape(self.u.shape[0], -1) for c, _ in h.graphs.path]
        self.mu = np.concatenate(columns, axis=1) if columns else np.zeros((self.u.shape[0], 0))
        if self.system.discrete:
            weight = np.ones(N)
        elif solution.collocation:
            weight = (self.h_t[:, None] * solution.method.b).ravel()
        else:
            weight = self.h_t
        self.weight = weight
        self.path_names = [name if size == 1 else f"{name}[{i}]" for (c, _), size in zip(h.graphs.path, h.path_sizes, strict=True)
                           for name in (f"path constraint {c.name!r}",) for i in range(size)]
        self.path_bounds = _constraint_bounds([c for c, _ in h.graphs.path], h.path_sizes)
        self.nodes = self.at(solution.node_t, solution.node_x, self.u, solution.node_costate)

    def at(self, t: Array, x: Array, u: Array, lam: Array) -> Points:
        """All functions at points that correspond to the nodes."""
        s = self.solution
        return self.h.points(t, x, u, s.p, lam, s.integral_costate, self.mu, self.size_x, self.size_u)

    def ends(self) -> list[Array]:
        """`Hamiltonian.ends` for this solution."""
        s, h = self.solution, self.h
        keys = [f"boundary {c.name}" if size == 1 else f"boundary {c.name}[{i}]"
                for (c, _), size in zip(h.graphs.boundary, h.boundary_sizes, strict=True) for i in range(size)]
        beta = np.array([float(np.ravel(s.multipliers[key])[0]) for key in keys])
        return [np.asarray(value).ravel() for value in h.ends(s.t[0], s.x[0], s.t[-1], s.x[-1], s.p, beta, self.size_x)]


def _constraint_bounds(constraints: list[Any], sizes: list[int]) -> Array:
    """(2, r): bounds of all components."""
    columns = [np.stack([np.broadcast_to(c.lower, (size,)), np.broadcast_to(c.upper, (size,))])
               for c, size in zip(constraints, sizes, strict=True)]
    return np.concatenate(columns, axis=1) if columns else np.zeros((2, 0))


def _beyond(values: Array, bounds: Array) -> Array:
    """By how much values (K, r) lie outside bounds (2, r)."""
    return np.maximum(np.maximum(bounds[0] - values, values - bounds[1]), 0.0)


@dataclass
class _Worst:
    """The largest of many relative errors, with its name and time."""

    value: float = 0.0
    time: float | None = None
    name: str = ""

    def see(self, errors: Array, times: Array, names: list[str] | tuple[str, ...]) -> None:
        """errors (K, r) at times (K,) of r named components; NaN counts as infinite."""
        if errors.size == 0:
            return
        errors = np.where(np.isnan(errors), math.inf, errors)
        k, i = np.unravel_index(int(np.argmax(errors)), errors.shape)
        if errors[k, i] > self.value:
            self.value, self.time, self.name = float(errors[k, i]), float(times[k]), names[i]


# --- deciding: re-integration


def _reintegration(case: _Case, accuracy: float) -> tuple[list[Check], float]:
    """States, cost and integrals from the control alone."""
    s, h, system = case.solution, case.h, case.system
    n, N = h.n, s.N
    phi, *_, phi_x, _, _ = case.ends()
    points = case.nodes
    cost = h.sign * s.cost
    natural = float(case.weight @ points.l_reach + np.abs(phi_x) @ case.size_x)
    cost_size = max(abs(cost), 0.01 * natural, 1e-10)
    bounds = _constraint_bounds([c for c, _ in h.graphs.integrals], [1] * h.n_q)
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
    worst, worst_local = _Worst(), _Worst()
    worst.see(np.abs(run[:, :n] - s.x[1:]) / case.size_x, s.t[1:], system.states)
    worst_local.see(local_errors, s.t[1:], system.states)
    extras = run[-1, n:]
    unstable = not worst.value <= accuracy and not local_failure and grown * TOLERANCE > accuracy
    name, error, at, component = "re-integration", worst.value, worst.time, worst.name
    words = f"state {component!r} re-integrates to {error:.2g} of its size off at t = {at:.6g}" if at is not None else ""
    if unstable:
        extras = local[:, n:].sum(axis=0)
        error, at, component = float(local_errors.sum(axis=0).max()), worst_local.time, worst_local.name
        words = (f"perturbations grow by {grown:.1e} over this horizon, so x(t0) alone cannot reproduce the states; re-integrated "
                 f"from every knot, the local errors add up to {error:.2g} (largest {worst_local.value:.2g}, state {component!r}, "
                 f"t = {at or 0:.6g})")
    elif math.isinf(error) and failure:
        words = f"the re-integration from x(t0) stopped: {failure}"
    passed = error <= accuracy
    if not passed:
        words = _blame(case, words, grown, worst_local, accuracy, failure if math.isinf(error) else "")
    checks = [Check(name, error, accuracy, passed, at, component, words)]

    phi_again = phi[0]
    if not unstable and np.all(np.isfinite(run[-1, :n])) and h.graphs.terminal is not None:
        phi_again = h.sign * float(h.graphs.terminal(s.t[-1], run[-1, :n], s.p))
    error = abs(float(extras[0]) + phi_again - cost) / cost_size
    error = math.inf if math.isnan(error) else error
    checks.append(Check("cost", error, accuracy, error <= accuracy, None, "",
                        f"the cost re-integrates to {h.sign * (float(extras[0]) + phi_again):.10g}, not {s.cost:.10g} (off by {error:.2g} "
                        f"of its size; accuracy {accuracy:g}); use more intervals."))
    if h.n_q:
        found = _Worst()
        found.see(_beyond(extras[None, 1:], bounds) / integral_size, s.t[-1:], [f"integral {c.name!r}" for c, _ in h.graphs.integrals])
        checks.append(Check("integrals", found.value, accuracy, found.value <= accuracy, found.time, found.name,
                            f"the constraint {found.name} re-integrates to {found.value:.2g} of its bound outside "
                            f"(accuracy {accuracy:g}); use more intervals."))
    return checks, grown


def _blame(case: _Case, words: str, grown: float, local: _Worst, accuracy: float, failure: str) -> str:
    """The sentence of a re-integration that failed, with advice."""
    if failure:
        return f"{words}. If the solution looks right, take more intervals; look for a singularity of the dynamics there."
    if local.value <= 1e-2 * accuracy and grown > 10:
        return (f"{words} (accuracy {accuracy:g}), although the local errors are at most {local.value:.2g}: perturbations grow by "
                f"{grown:.1e} over this horizon. Use more intervals or a smaller tol.")
    if case.system.discrete:
        return f"{words} (accuracy {accuracy:g}): the states are not the iterates of the map under these controls."
    return f"mesh too coarse: {words} (accuracy {accuracy:g}); use more intervals."


# --- deciding: feasibility and optimality of the discretised problem


def _optimality(s: Solution) -> list[Check]:
    """What the solver left: its own scaled error must be below its tolerance."""
    error, tol = float(s.residuals["scaled error"]), float(s.residuals["tolerance"])
    passed = bool(s.converged and error <= tol)
    part = "stationarity" if s.residuals["stationarity"] >= s.residuals["complementarity"] else "complementarity"
    words = (f"the discretised problem is not solved: its scaled optimality error is {error:.2g} (tolerance {tol:g}). "
             "Allow more iterations, or start from another guess.")
    return [Check("optimality", error, tol, passed, None, part, words)]


def _feasibility(case: _Case) -> list[Check]:
    """Violations where the constraints are imposed (decides), and between those points (informs)."""
    s, h, phase, system = case.solution, case.h, case.phase, case.system
    wide_x, wide_u = np.maximum(case.size_x, h.state_scale), np.maximum(case.size_u, h.control_scale)
    bounded_x = [f"bounds of state {name!r}" for name in system.states]
    bounded_u = [f"bounds of control {name!r}" for name in system.controls]
    threshold = max(1e-6, 10 * float(s.residuals["tolerance"]))

    worst = _Worst()
    for errors, times in _defects(case):
        worst.see(np.abs(errors) / wide_x, times, [f"dynamics of {name!r}" for name in system.states])
    worst.see(_beyond(s.x, phase.state_bounds) / wide_x, s.t, bounded_x)
    worst.see(_beyond(s.node_x, phase.state_bounds) / wide_x, s.node_t, bounded_x)
    worst.see(_beyond(case.u, phase.control_bounds) / wide_u, s.node_t, bounded_u)
    worst.see(_beyond(s.x[:1], phase.initial) / wide_x, s.t[:1], [f"initial condition of {name!r}" for name in system.states])
    worst.see(_beyond(s.x[-1:], phase.final) / wide_x, s.t[-1:], [f"final condition of {name!r}" for name in system.states])
    reach = np.where(np.isfinite(case.path_bounds), np.abs(case.path_bounds), 0.0).max(axis=0, initial=0.0)
    reach = np.maximum(reach, case.nodes.reach.max(axis=0, initial=0.0))
    reach[reach == 0] = 1.0
    worst.see(_beyond(case.nodes.c, case.path_bounds) / reach, s.node_t, case.path_names)
    if h.r and not system.discrete:
        _, c = h.samples(s.t[[0, -1]], s.x[[0, -1]], case.u[[0, -1]], s.p, s.costate[[0, -1]], s.integral_costate)
        worst.see(np.where(h.c_on_u, 0.0, _beyond(c, case.path_bounds)) / reach, s.t[[0, -1]], case.path_names)
    if h.boundary_sizes:
        *_, b, b_reach = case.ends()
        limits = _constraint_bounds([c for c, _ in h.graphs.boundary], h.boundary_sizes)
        size = np.maximum(b_reach, np.where(np.isfinite(limits), np.abs(limits), 0.0).max(axis=0))
        size[size == 0] = 1.0
        names = [f"boundary constraint {c.name!r}" for (c, _), k in zip(h.graphs.boundary, h.boundary_sizes, strict=True)
                 for _ in range(k)]
        worst.see((_beyond(b, limits) / size)[None], s.t[-1:], names)
    for value, q, name in ((s.t[0], phase.t0, "t0"), (s.t[-1], phase.tf, "tf"),
                           *zip(s.p, phase.parameters, system.parameters, strict=True)):
        if q.lower < q.upper:
            size = max(abs(float(value)), abs(q.lower) if math.isfinite(q.lower) else 0.0, 1e-10)
            limits = np.array([[q.lower], [q.upper]])
            worst.see(_beyond(np.array([[value]]), limits) / size, s.t[-1:], [f"bounds of {name!r}"])
    words = "" if worst.time is None else (
        f"infeasible: the {worst.name} at t = {worst.time:.6g} are violated by {worst.value:.2g} of their size (allowed "
        f"{threshold:g}); solve with a smaller tol or from another guess.")
    imposed = Check("feasibility", worst.value, threshold, worst.value <= threshold, worst.time, worst.name, words)
    if system.discrete:
        return [imposed]

    between = _Worst()
    t = (s.t[:-1, None] + case.h_t[:, None] * ((np.arange(FINE) + 0.5) / FINE)).ravel()
    limited = bool(np.isfinite(phase.state_bounds).any() or h.r)
    u = s.control(t)
    between.see(_beyond(u, phase.control_bounds) / wide_u, t, bounded_u)
    if limited:
        x = s.state(t)
        between.see(_beyond(x, phase.state_bounds) / wide_x, t, bounded_x)
        if h.r:
            _, c = h.samples(t, x, u, s.p, np.zeros(h.n), s.integral_costate)
            between.see(_beyond(c, case.path_bounds) / reach, t, case.path_names)
    words = "" if between.time is None else (
        f"between the nodes the {between.name} are exceeded by {between.value:.2g} of their size at t = {between.time:.6g}.")
    return [imposed, Check("between nodes", between.value, None, True, between.time, between.name, words)]


def _defects(case: _Case) -> list[tuple[Array, Array]]:
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


# --- the minimum of H


def _minimum(case: _Case) -> list[Check]:
    """H at u(t) against H at other admissible controls."""
    s, h = case.solution, case.h
    if h.m == 0:
        return []
    t, x, u, lam, points = _pontryagin_points(case)
    weight = case.weight
    if t.size > MOST_POINTS:
        chosen = np.linspace(0, t.size - 1, MOST_POINTS).round().astype(int)
        t, x, u, lam, weight = t[chosen], x[chosen], u[chosen], lam[chosen], weight[chosen]
    others = _candidates(u, case.phase.control_bounds, case.size_u)                          # (K, S, m), the first is u itself
    K, S, m = others.shape
    H, c = h.samples(np.repeat(t, S), np.repeat(x, S, axis=0), others.reshape(-1, m), s.p, np.repeat(lam, S, axis=0), s.integral_costate)
    H, beyond = H.reshape(K, S), _beyond(c, case.path_bounds).reshape(K, S, -1)
    slack = 1e-9 * np.maximum(points.reach.max(axis=0, initial=0.0), 1e-300)
    admissible = np.all(beyond <= beyond[:, :1] + slack, axis=2) & np.isfinite(H)
    H = np.where(admissible, H, math.inf)
    scale = max(float(points.H_terms.max()), 1e-300)
    best = np.argmin(H, axis=1)
    gap = (H[:, 0] - H[np.arange(K), best]) / scale                                          # max over u of H(u*) - H(u)
    gap = np.where(np.isnan(gap), 0.0, gap)
    k = int(np.argmax(gap))
    part = float(weight[gap > GAP].sum() / weight.sum())
    passed = case.system.discrete or part <= MEASURE
    control = ", ".join(f"{name} = {value:.4g}" for name, value in zip(case.system.controls, others[k, best[k]], strict=True))
    words = (f"a strictly better control exists at t = {t[k]:.6g}: {control} makes the Hamiltonian smaller by {gap[k]:.2g} of its scale, "
             f"and such controls exist on {100 * part:.0f} % of the horizon. This is not a minimum; start from another guess."
             if gap[k] > 0 else "no sampled admissible control makes the Hamiltonian smaller.")
    if not np.any(admissible[:, 1:]):
        words = "no sampled control other than the solution's satisfies the path constraints; nothing was compared."
    return [Check("minimum of H", float(gap[k]), None if case.system.discrete else GAP, passed, float(t[k]), control if gap[k] > 0 else "", words)]


def _pontryagin_points(case: _Case) -> tuple[Array, Array, Array, Array, Points]:
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


# --- informing: the remaining necessary conditions


def _conditions(case: _Case, accuracy: float) -> list[Check]:
    """dL/du, costate equation, transversality, and what H must be."""
    s, h, system = case.solution, case.h, case.system
    checks = []
    t, x, u, lam, points = _pontryagin_points(case)
    scale = max(float(points.H_terms.max()), 1e-300)
    if h.m:
        bound = np.stack([s.bound_multipliers.get(name, np.zeros(t.size)) for name in system.controls], axis=1)
        size = np.maximum((points.H_u_terms + np.abs(points.c_u)).max(axis=0), 1e-300)
        worst = _Worst()
        worst.see(np.abs(points.H_u + points.c_u + bound) / size, t, system.controls)
        checks.append(Check("dL/du = 0", worst.value, None, True, worst.time, worst.name,
                            "stationarity of the Hamiltonian with its multipliers, relative to the largest of its terms."))
    worth = float((np.abs(s.costate) * case.size_x).max())                                   # max |lambda_j| size_j
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


def _costate_equation(case: _Case, accuracy: float, worth: float) -> Check:
    """(x, lambda)' = (f, -dH/dx) from every knot to the next; intervals where state constraints act are left out."""
    s, h, system = case.solution, case.h, case.system
    n = h.n
    force = np.abs(case.nodes.c_x) * case.size_x
    for i, name in enumerate(system.states):
        if name in s.bound_multipliers:
            force[:, i] += np.abs(s.bound_multipliers[name]) * case.size_x[i]
    acting = (case.weight[:, None] * force).reshape(s.N, case.s, n).sum(axis=(1, 2)) > 1e-2 * accuracy * worth
    flow = Flow(s, h.joint, np.concatenate([s.p, s.integral_costate]), np.concatenate([case.size_x, worth / case.size_x]))
    end = flow.each(np.concatenate([s.x[:-1], s.costate[:-1]], axis=1))[:, n:]
    errors = np.abs(end - s.costate[1:]) * case.size_x / worth
    worst = _Worst()
    worst.see(errors[~acting], s.t[1:][~acting], [f"costate of {name!r}" for name in system.states])
    words = f"lambda' = -dH/dx, re-integrated from knot to knot on {int((~acting).sum())} of {s.N} intervals"
    words += " (where state constraints act it has further terms)." if acting.any() else "."
    return Check("costate equation", worst.value, None, True, worst.time, worst.name, words)


def _transversality(case: _Case, worth: float, scale: float) -> Check:
    """Costates of free end states, and H at free end times."""
    s, h, phase, system = case.solution, case.h, case.phase, case.system
    _, G_t0, G_x0, G_tf, G_xf, _, _, _ = case.ends()
    worst = _Worst()
    ends = np.array([0, -1])
    u = s.u[-1:].reshape(-1, h.m)[-1:] if system.discrete else s.control(s.t[ends])
    u = np.broadcast_to(u, (2, h.m))
    H, c = h.samples(s.t[ends], s.x[ends], u, s.p, s.costate[ends], s.integral_costate)
    slack = 1e-6 * case.nodes.reach.max(axis=0, initial=0.0)
    names = [f"costate of {name!r}" for name in system.states]
    for k, sign, limits, G in ((0, -1.0, phase.initial, G_x0), (1, 1.0, phase.final, G_xf)):
        x = s.x[ends[k]]
        active = _beyond(c[k], case.path_bounds + np.array([[1.0], [-1.0]]) * slack) > 0
        free = (x > limits[0] + 1e-6 * case.size_x) & (x < limits[1] - 1e-6 * case.size_x) & ~(h.c_on_x[active].any(axis=0))
        error = np.abs(s.costate[ends[k]] - sign * G) * case.size_x / worth
        worst.see(np.where(free, error, 0.0)[None], s.t[ends[k]][None], names)
    if not system.discrete:
        for k, sign, q, G in ((0, 1.0, phase.t0, G_t0), (1, -1.0, phase.tf, G_tf)):
            if _inside(s.t[ends[k]], q):
                worst.see(np.abs(H[k:k + 1] - sign * G)[None] / scale, s.t[ends[k]][None], ["H at the start" if k == 0 else "H at the end"])
    return Check("transversality", worst.value, None, True, worst.time, worst.name,
                 "costates at free ends against the gradient of the end costs, and H at free times.")
