"""Solve a problem: mesh, transcription, guess, the compiled loop, and the solution with its sentence."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.control.certificate import certify
from adjoint.control.diagnosis import sentence
from adjoint.control.guess import Guess, bent, make_guess, scales
from adjoint.control.newton import Outcome, Warm, load_kernels, run
from adjoint.control.problem import OptimalControlProblem
from adjoint.control.refinement import refined
from adjoint.control.solution import Solution
from adjoint.control.stable_mesh import stable_mesh
from adjoint.control.start import refuse_start
from adjoint.control.transcription import Discretised, Formulation, Transcription, discretise, formulate, transcribe
from adjoint.errors import InputError
from adjoint.kernels import constants
from adjoint.method import Method, gauss
from adjoint.method import method as method_by_name

__all__ = ["solve"]

Array = NDArray[np.float64]

# The last few formulations: a second solve of the same problem pays no set-up.
_formulations: OrderedDict[tuple[OptimalControlProblem, Method, int], Formulation] = OrderedDict()
KEPT_FORMULATIONS = 16

# Other starting guesses that a solve without success may try.
RETRIES = 4
# Meshes that a solve without given intervals may try after the first, and their largest size.
REFINEMENTS = 6
LARGEST_MESH = 2000
# Beyond this the memory of any machine is at risk: a typing error, most likely.
MOST_INTERVALS = 5_000_000
MOST_ITERATIONS = 1_000_000


def solve(
    problem: OptimalControlProblem,
    *,
    method: Method | str | None = None,
    intervals: int | ArrayLike | None = None,
    substeps: int = 1,
    guess: Mapping[str, Any] | Solution | None = None,
    tol: float = 1e-8,
    accuracy: float = 1e-4,
    max_iterations: int = 1000,
    time_limit: float = math.inf,
    starts: int = 1,
    certificate: bool = True,
    progress: Callable[[Sequence[float]], None] | None = None,
) -> Solution:
    """Solve an optimal-control problem and certify the answer.

    Parameters
    ----------
    problem : OptimalControlProblem
    method : Method or name, optional
        An explicit Runge-Kutta method (multiple shooting, constant control on each interval) or ``gauss(s)``,
        ``radau(s)`` (collocation, controls at the nodes). Default ``gauss(3)``. Without meaning for discrete systems.
    intervals : int or array (N+1,), optional
        Number of equal intervals, or increasing knots (any affine image of the time axis). Without it, the mesh is
        found:
        50 equal intervals first, then cut where the re-integration shows errors until `accuracy` is met. For a discrete
        system the number of steps, by default tf - t0.
    substeps : int
        Runge-Kutta steps an interval.
    guess : mapping or Solution, optional
        See `adjoint.control.guess.make_guess`. An earlier solution on the same mesh and method also hands over its
        multipliers.
    tol : float
        Tolerance of the optimality conditions of the discretised problem (scaled).
    accuracy : float
        How well an independent integration must reproduce states and cost (relative to their sizes) for the answer
        to count as optimal.
    max_iterations, time_limit : int, float
        Limits (iterations; seconds) for all meshes together. A stopped solve returns its best iterate.
    starts : int
        Number of starting guesses: the first is the guess, the others are smooth random bends of it (always the same
        ones).
        The best converged solution is returned. With 1, other starts are tried only if the first does not converge.
    certificate : bool
        False leaves the certificate out; the solution is then never called optimal.
    progress : callable, optional
        Called with each row of the history (columns `Solution.HISTORY`).

    Returns
    -------
    Solution
        Also when the solve fails: the status sentence says what happened, `optimal` is False.

    Raises
    ------
    InputError
        For arguments that do not fit, and for functions that are not finite at the starting guess. TraceError, if a
        function of the problem cannot be traced.

    Warns
    -----
    StabilityWarning
        If the given intervals are too long for an explicit method to be stable on them, judged at the starting guess.
        (Where the mesh is found, more intervals are taken.)

    Examples
    --------
    >>> import adjoint
    >>> car = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="position speed", controls="force", name="car")
    >>> problem = adjoint.OptimalControlProblem(
    ...     car, initial=dict(position=0, speed=0), final=dict(position=1, speed=0), t=(0, 1),
    ...     running=lambda t, x, u, p: u[0] ** 2)
    >>> solution = adjoint.solve(problem)
    >>> round(solution.cost, 6), solution.optimal
    (12.0, True)
    """
    if not isinstance(problem, OptimalControlProblem):
        raise InputError(f"solve: the first argument is {problem!r}; expected an adjoint.OptimalControlProblem.")
    for name, value in (("tol", tol), ("accuracy", accuracy)):
        if not isinstance(value, Real) or not 0 < value < 1:
            raise InputError(f"solve: {name} is {value!r}; expected a number between 0 and 1.")
    if not isinstance(time_limit, Real) or not time_limit >= 0:
        raise InputError(f"solve: time_limit is {time_limit!r}; expected a number of seconds >= 0.")
    max_iterations = _whole("max_iterations", max_iterations, 0, MOST_ITERATIONS)
    starts = _whole("starts", starts, 1, 10_000)
    if progress is not None and not callable(progress):
        raise InputError(f"solve: progress is {progress!r}; expected a function that takes a row of the history.")
    scheme, tau = _scheme(problem, method, intervals, substeps)
    formulation, setup = _formulation(problem, scheme, substeps)
    if scheme.explicit and not problem.system.discrete:
        start = _from_solution(problem, guess) if isinstance(guess, Solution) else make_guess(problem, guess)
        tau = stable_mesh(problem, scheme, tau, substeps, start, intervals is None, LARGEST_MESH)
    adaptive = intervals is None and certificate and not problem.system.discrete
    budget = _Budget(max_iterations, time_limit)

    def attempt(start: Mapping[str, Any] | Solution | _Bent | None, mesh: Array) -> Solution:
        return _attempt(transcribe(formulation, mesh), start, setup, tol, accuracy, budget, certificate, progress)

    solution = attempt(guess, tau)
    generator = np.random.default_rng(0)
    found = [solution] if solution.converged else []
    for k in range(1, max(starts, RETRIES + 1)):
        # More starts if asked for; and if nothing converged yet, other starts near the first.
        if (k >= starts and found) or isinstance(guess, Solution) or not budget.left():
            break
        mesh = tau if not adaptive or k % 2 == 0 else np.linspace(0.0, 1.0, 2 * tau.size - 1)
        other = attempt(_Bent(guess, generator, 0.15 * k if starts == 1 else 0.5), mesh)
        found += [other] if other.converged else []
    if found:
        solution = min(found, key=lambda s: (not adaptive and not s.optimal, problem.sign * s.cost))
    for _ in range(REFINEMENTS if adaptive else 0):
        if solution.optimal or not solution.converged or solution.N >= LARGEST_MESH or not budget.left():
            break
        finer = attempt(solution, refined(solution, accuracy))
        if not finer.converged:
            break
        solution = finer
    return budget.stamped(solution)


class _Budget:
    """Iterations and time, shared by all meshes of one call."""

    def __init__(self, iterations: int, seconds: float) -> None:
        self.iterations, self.deadline = iterations, time.perf_counter() + seconds
        self.solve = self.certify = 0.0
        self.used = self.iterated = 0

    def left(self) -> bool:
        return self.used < self.iterations and time.perf_counter() < self.deadline

    def stamped(self, solution: Solution) -> Solution:
        """The last solution, with the iterations and seconds of all meshes and starts."""
        return replace(
            solution,
            iterations=self.iterated,
            seconds=dict(solution.seconds) | {"solve": self.solve, "certify": self.certify},
        )


@dataclass(frozen=True)
class _Bent:
    """A guess with a smooth random bend of this size (relative to the scales)."""

    base: Mapping[str, Any] | None
    generator: np.random.Generator
    size: float


def _attempt(
    T: Transcription,
    guess: Mapping[str, Any] | Solution | _Bent | None,
    setup: Mapping[str, float],
    tol: float,
    accuracy: float,
    budget: _Budget,
    certificate: bool,
    progress: Callable[[Sequence[float]], None] | None,
) -> Solution:
    """One mesh: guess, compiled loop, certificate."""
    problem = T.problem
    warm = None
    if isinstance(guess, Solution):
        start, warm = _from_solution(problem, guess), _warm(T, guess)
    elif isinstance(guess, _Bent):
        start = bent(problem, make_guess(problem, guess.base), guess.generator, guess.size)
    else:
        start = make_guess(problem, guess)
    D = discretise(T, start)
    if warm is not None and isinstance(guess, Solution):
        D = replace(D, start=guess.raw["w"])  # the very point: interpolation cannot tell both sides of a knot apart
    outcome = run(
        T.programme,
        D,
        tol=tol,
        max_iterations=budget.iterations - budget.used,
        time_limit=budget.deadline - time.perf_counter(),
        watch=progress,
        warm=warm,
    )
    budget.solve += outcome.seconds
    budget.used += outcome.iterations
    budget.iterated += outcome.iterations
    if outcome.interrupted or outcome.status == constants.DIVERGING:
        budget.used = budget.iterations  # no other start, no other mesh
    solution = _unpack(T, D, outcome, setup, tol)
    if outcome.status == constants.BAD_START:
        refuse_start(solution, T.graphs)
    if certificate and np.all(np.isfinite(outcome.w)):
        clock = time.perf_counter()
        found = certify(solution, accuracy=accuracy)
        budget.certify += time.perf_counter() - clock
        solution = solution.with_certificate(found, sentence(T, outcome, found, tol), budget.certify)
    return solution


def _whole(name: str, value: Any, least: int, most: int) -> int:
    """A whole number within limits."""
    number = float(value) if isinstance(value, Real) else math.nan
    if not number.is_integer() or not least <= number <= most:
        raise InputError(f"solve: {name} is {value!r}; expected a whole number from {least} to {most:,}.")
    return int(number)


def _scheme(
    problem: OptimalControlProblem, method: Method | str | None, intervals: int | ArrayLike | None, substeps: int
) -> tuple[Method, Array]:
    phase = problem.phases[0]
    if isinstance(method, str):
        method = method_by_name(method)
    scheme = gauss(3) if method is None else method
    if not isinstance(scheme, Method):
        raise InputError(
            f"solve: method is {method!r}; expected an adjoint.Method such as adjoint.RK4 or adjoint.gauss(3)."
        )
    if scheme.kind == "rosenbrock":
        raise InputError(
            f"solve: {scheme.name} is a Rosenbrock method, which integrates and does not transcribe. Use gauss(s), "
            "radau(s) or an explicit method."
        )
    if not isinstance(substeps, int) or substeps < 1:
        raise InputError(f"solve: substeps is {substeps!r}; expected a positive integer.")
    if substeps > 1 and (scheme.kind == "collocation" or phase.system.discrete):
        raise InputError(
            "solve: substeps are for multiple shooting with an explicit method; take more intervals instead."
        )
    if intervals is None:
        assert phase.t0.guess is not None and phase.tf.guess is not None
        intervals = round(phase.tf.guess - phase.t0.guess) if phase.system.discrete else 50
    if np.ndim(intervals) == 0:
        return scheme, np.linspace(0.0, 1.0, _whole("intervals", intervals, 1, MOST_INTERVALS) + 1)
    knots = np.asarray(intervals, dtype=float)
    if knots.ndim != 1 or knots.size < 2 or not np.all(np.isfinite(knots)) or not np.all(np.diff(knots) > 0):
        raise InputError("solve: the knots in intervals must be an increasing vector of at least two finite numbers.")
    tau = (knots - knots[0]) / (knots[-1] - knots[0])
    return scheme, tau


def _formulation(problem: OptimalControlProblem, method: Method, substeps: int) -> tuple[Formulation, dict[str, float]]:
    """The compiled formulation and the seconds that it cost this time."""
    kernels = load_kernels()
    key = (problem, method, substeps)
    if key in _formulations:
        _formulations.move_to_end(key)
        return _formulations[key], {"trace": 0.0, "compile": kernels}
    formulation = formulate(problem, method, substeps)
    _formulations[key] = formulation
    if len(_formulations) > KEPT_FORMULATIONS:
        _formulations.popitem(last=False)
    seconds = formulation.seconds
    return formulation, {"trace": seconds["trace"], "compile": seconds["compile"] + kernels}


def _from_solution(problem: OptimalControlProblem, solution: Solution) -> Guess:
    """An earlier solution as guess, on any mesh."""
    if (
        solution.problem.system.states != problem.system.states
        or solution.problem.system.controls != problem.system.controls
    ):
        raise InputError("solve: the guess is a solution of a problem with other states or controls.")
    if solution.problem.system.parameters != problem.system.parameters:
        raise InputError(
            f"solve: the guess is a solution of a problem with other parameters "
            f"({', '.join(solution.problem.system.parameters) or 'none'})."
        )
    base = make_guess(problem, None)
    t0, span = float(solution.t[0]), float(solution.t[-1] - solution.t[0])

    def at(tau: Array) -> tuple[Array, Array]:
        t = t0 + span * np.clip(tau, 0.0, 1.0)
        return solution.state(t), solution.control(t)

    grid = np.linspace(0, 1, 101)
    x, u = at(grid)
    phase = problem.phases[0]
    sx, su = scales(phase, x, u, solution.p, t0, t0 + span)
    free_t0, free_tf = (q.lower < q.upper for q in (phase.t0, phase.tf))
    return Guess(
        at,
        t0 if free_t0 else base.t0,
        t0 + span if free_tf else base.tf,
        np.array([v if q.lower < q.upper else q.guess for v, q in zip(solution.p, phase.parameters, strict=True)]),
        sx,
        su,
    )


def _warm(T: Transcription, solution: Solution) -> Warm | None:
    raw = solution.raw
    fits = (
        raw
        and raw["Y"].size == T.programme.n_rows
        and raw["zl"].size == T.programme.n_unknowns
        and solution.method == T.method
        and solution.substeps == T.substeps
        and solution.converged
    )
    return Warm(raw["Y"], raw["zl"], raw["zu"], raw["vl"], raw["vu"]) if fits else None


def _unpack(T: Transcription, D: Discretised, o: Outcome, setup: Mapping[str, float], tol: float) -> Solution:
    """Sort the unknowns and multipliers back into states, controls, costates and named multipliers."""
    problem, phase, layout = T.problem, T.phase, T.programme.layout
    system, N, s = phase.system, T.N, T.s
    n, m, n_q = system.n, system.m, len(T.graphs.integrals)
    n_all = n + n_q + len(T.theta)
    ow, orow = layout["ow"], layout["orow"]
    block = o.w[ow[1] : ow[N + 1]].reshape(N, -1)
    end = o.w[ow[N + 1] :]
    x = np.vstack([block[:, :n], end[:n]])
    # The solver relaxes bounds by a hair; what is handed out obeys them.
    u = np.clip(block[:, n_all : n_all + m * s].reshape(N, s, m), *phase.control_bounds)
    theta = end[n + n_q : n_all]
    t0, tf, p = float(D.constants[0]), float(D.constants[1]), D.constants[2:].copy()
    for value, (kind, i) in zip(theta, T.theta, strict=True):
        if kind == "t0":
            t0 = float(value)
        elif kind == "tf":
            tf = float(value)
        elif kind == "p":
            p[i] = value
    t = t0 + (tf - t0) * T.tau
    t[-1] = tf
    h = np.diff(t)
    Y = o.Y
    start_rows = Y[orow[0] : orow[1]]
    rows = Y[orow[1] : orow[N + 1]].reshape(N, -1)
    end_rows = Y[orow[N + 1] :]
    costate = np.vstack([start_rows[:n], rows[:, :n]])
    integral_costate = rows[-1, n : n + n_q].copy()
    node_t = (t[:-1, None] + h[:, None] * T.nodes).ravel()
    node_u = u.reshape(N * s, m)
    e = n * s if T.collocation else 0
    zw = (o.zu - o.zl)[ow[1] : ow[N + 1]].reshape(N, -1)
    if T.collocation:
        b = T.method.b
        node_x = block[:, n_all + m * s :].reshape(N * s, n)
        node_costate = (rows[:, n_all : n_all + e].reshape(N, s, n) / b[:, None]).reshape(N * s, n)
        weight = h[:, None] * b
        z_states = zw[:, n_all + m * s :].reshape(N, s, n).copy()
        if T.method.c[-1] == 1.0:
            # the bounds of the last node are those of the next knot
            z_states[:-1, -1] = zw[1:, :n]
            z_states[-1, -1] = (o.zu - o.zl)[ow[N + 1] : ow[N + 1] + n]
        state_bound = z_states / weight[:, :, None]
    else:
        node_x = x[:-1]
        node_costate = costate[1:] if system.discrete else costate[:-1]
        weight = np.ones((N, 1)) if system.discrete else h[:, None]
        state_bound = zw[:, None, :n] / weight[:, :, None]
    control_bound = zw[:, n_all : n_all + m * s].reshape(N, s, m) / weight[:, :, None]
    bound_multipliers = {
        name: state_bound[:, :, i].ravel()
        for i, name in enumerate(system.states)
        if np.any(np.isfinite(phase.state_bounds[:, i]))
    }
    bound_multipliers |= {
        name: control_bound[:, :, i].ravel()
        for i, name in enumerate(system.controls)
        if np.any(np.isfinite(phase.control_bounds[:, i]))
    }
    multipliers: dict[str, Array] = {}
    path = rows[:, n_all + e : -1]
    column = 0
    sizes = [(c.name, g.size1_out(0)) for c, g in T.graphs.path]
    per_node = path.reshape(N, s, -1) if path.size else np.zeros((N, s, 0))
    for name, size in sizes:
        values = per_node[:, :, column : column + size] / weight[:, :, None]
        multipliers[f"path {name}"] = values if T.collocation else values[:, 0]
        column += size
    at_ends = ((" at t0", T.labels[0], start_rows[n_all:-1]), (" at tf", T.labels[2], end_rows[:-1]))
    for place, labels, values in at_ends:
        for label, value in zip(labels, values, strict=True):
            kind, _, rest = label.name.replace("'", "").partition(" ")
            name, bracket, component = rest.partition("[")
            key = f"{kind} {name}{place if kind == 'path' else ''}{bracket}{component}"
            multipliers[key] = np.array([value])
    result = Solution(
        problem=problem,
        method=T.method,
        t=t,
        x=x,
        u=u if T.collocation else u[:, 0],
        p=p,
        costate=costate,
        node_t=node_t,
        node_x=node_x,
        node_u=node_u,
        node_costate=node_costate,
        integral_costate=integral_costate,
        multipliers=multipliers,
        bound_multipliers=bound_multipliers,
        cost=problem.sign * o.objective,
        status=sentence(T, o, None, tol),
        converged=o.status == constants.OPTIMAL and not o.interrupted,
        iterations=o.iterations,
        history=o.history,
        seconds=dict(setup) | {"solve": o.seconds},
        residuals={
            "violation": float(np.abs(o.residuals).max(initial=0.0)),
            "stationarity": o.dual,
            "complementarity": o.complementarity,
            "scaled error": o.error,
            "tolerance": tol,
        },
        substeps=T.substeps,
        raw={"Y": o.Y, "zl": o.zl, "zu": o.zu, "vl": o.vl, "vu": o.vu, "w": o.w},
    )
    return result
