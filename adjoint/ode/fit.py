"""`fit`: the parameters and initial states of a system from measurements.

    minimise   ½ Σ ((y(t_j, x(t_j), p) - value_j) / σ_j)²      over p, x0        subject to ẋ = f(t, x, u, p), bounds

The outer solvers are SciPy's; what they get from here are exact derivatives of what was computed, by tangent sweeps
(`GaussNewton`) or backward sweeps (`QuasiNewton`). Multiple shooting adds the states at nodes to the unknowns, and
their continuity c = 0 by the method of multipliers

    minimise   ½ |r|² + ½ ρ |c + λ / ρ|²,     λ ← λ + ρ c,     ρ grows until the gaps close

each of which is again a least-squares problem with bounds (J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed.,
Springer (2006), section 17.3).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.ode.fit_data import Experiment, prepare
from adjoint.ode.fit_residuals import Residuals
from adjoint.ode.fit_result import FitResult, spread
from adjoint.ode.fit_simulate import Adaptive, Simulator
from adjoint.system import System

__all__ = ["GaussNewton", "QuasiNewton", "fit"]

Array = NDArray[np.float64]
MORE = "pass solver=GaussNewton(max_evaluations=…) with more"
Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class GaussNewton:
    """`scipy.optimize.least_squares` (a trust region after Levenberg and Marquardt) with forward sensitivities.

    Attributes
    ----------
    max_evaluations : int
    tolerance : float
        Of the decrease of the cost in a step, relative, and of the step, in units of the guess.
    multipliers : int
        The most rounds of multiple shooting.
    gap : float
        The largest discontinuity that it may leave, relative to the size of the states.
    """

    max_evaluations: int = 1000
    tolerance: float = 1e-12
    multipliers: int = 30
    gap: float = 1e-9


@dataclass(frozen=True)
class QuasiNewton:
    """`scipy.optimize.minimize` with L-BFGS-B and gradients by the backward sweep: for many parameters.

    Attributes
    ----------
    max_iterations : int
    tolerance : float
        Of the decrease of the cost in a step, relative.
    """

    max_iterations: int = 2000
    tolerance: float = 1e-15


def fit(
    system: System,
    experiments: Experiment | Sequence[Experiment],
    p: ArrayLike | Mapping[str, float] = (),
    *,
    fixed: str | Iterable[str] = (),
    bounds: Mapping[str, tuple[float, float]] | None = None,
    shooting: int | ArrayLike = 1,
    by: Simulator | None = None,
    solver: GaussNewton | QuasiNewton | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Estimate parameters and initial states from measurements.

    Parameters
    ----------
    system : System
    experiments : Experiment, or several
        See `Experiment`: times, values (nan: not measured), sigma, initial state known or free.
    p : array_like (n_p,), or dict from name to value
        Guesses.
    fixed : str or iterable of str
        Parameters that keep their value.
    bounds : dict from name to (lower, upper), optional
        Of parameters and of free initial states.
    shooting : int, or array_like
        The number of intervals of multiple shooting, equal in time; or their inner nodes. Take more than one where a
        single run from the guess explodes, or forgets where it came from.
    by : Simulator
        `Adaptive()`, with its tolerances, or `FixedGrid(step)`; the latter, with step 1, for a discrete system.
    solver : GaussNewton or QuasiNewton
    progress : callable, optional
        Is called as progress(evaluation, cost).

    Returns
    -------
    FitResult
        If the solver stops early, or is interrupted by Ctrl-C, it has the best values so far, and `message` says so.

    Raises
    ------
    InputError
        If an argument does not fit; the message names it.
    AdjointError
        If the system cannot be run from the guess.

    Examples
    --------
    >>> import numpy as np
    >>> from adjoint.ode import Experiment, fit
    >>> from adjoint.system import System
    >>> decay = System(lambda t, x, u, p: [-p[0] * x[0]], states="x", parameters="rate")
    >>> t = np.linspace(0, 2, 9)
    >>> wiggle = 0.01 * np.cos(40 * t)
    >>> result = fit(decay, Experiment(t, 3 * np.exp(-0.7 * t)[:, None] + wiggle[:, None], x0=[1], free="x"), [1.0])
    >>> print(result.names, result.values.round(2))
    ('rate', 'x(0)') [0.7 3. ]
    """
    started = time.perf_counter()
    if not isinstance(system, System):
        raise InputError(f"fit: the first argument is {type(system).__name__}; expected a System.")
    given = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    if not given:
        raise InputError("fit: there are no experiments.")
    prepared = [prepare(system, e, i) for i, e in enumerate(given)]
    if len({e.known_sigma for e in prepared}) > 1:
        raise InputError("sigma is given for some experiments and not for others; give it for all or for none.")
    values = _values(system, p)
    free = _free(system, fixed)
    nodes = [_nodes(shooting, e.t0, e.t1) for e in prepared]
    problem = Residuals(system, prepared, values, free, Adaptive() if by is None else by, nodes)
    if problem.named == 0:
        raise InputError("fit: nothing is free. Leave parameters out of `fixed`, or name free initial states.")
    lower, upper = _limits(problem, bounds)
    how = GaussNewton() if solver is None else solver
    if problem.shooting and not isinstance(how, GaussNewton):
        raise InputError("multiple shooting is done by GaussNewton; expected it as solver, or shooting=1.")
    count = sum(int(e.mask.sum()) for e in prepared)
    if count < problem.named:
        raise InputError(f"there are {count} measurements for {problem.named} estimates ({', '.join(problem.names)}). "
                         "Fix some of them.")  # fmt: skip

    watch = _Watch(progress)
    theta = np.clip(problem.theta, lower, upper)
    _first_run(problem, theta)
    try:
        theta, message, success = (
            _quasi_newton(problem, theta, lower, upper, how, watch) if isinstance(how, QuasiNewton)
            else _multipliers(problem, theta, lower, upper, how, watch) if problem.shooting
            else _gauss_newton(problem, theta, lower, upper, how, watch)
        )  # fmt: skip
    except KeyboardInterrupt:
        if watch.best is None:
            raise
        theta, success = watch.best, False
        message = f"interrupted after {watch.count} evaluations; these are the best values so far."
    return _result(problem, theta, lower, upper, success, message, watch, started, dict(
        experiments=given, fixed=fixed.replace(",", " ").split() if isinstance(fixed, str) else list(fixed),
        bounds=bounds, shooting=shooting, by=by, solver=solver))  # fmt: skip


# ---- the outer solvers ---------------------------------------------------------------------------


class _Watch:
    """Counts evaluations, keeps the best, tells the caller."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.count = progress, 0
        self.best: Array | None = None
        self.least = math.inf

    def __call__(self, theta: Array, cost: float) -> None:
        self.count += 1
        if cost < self.least:
            self.best, self.least = theta.copy(), cost
        if self.progress is not None:
            self.progress(self.count, 2 * cost)


Outcome = tuple[Array, str, bool]


def _gauss_newton(
    problem: Residuals, theta: Array, lower: Array, upper: Array, how: GaussNewton, watch: _Watch
) -> Outcome:
    def residuals(z: Array) -> Array:
        r, _ = problem.values(z)
        watch(z, 0.5 * float(r @ r))
        return r

    theta, success = _least_squares(
        residuals, lambda z: problem.evaluate(z).J, theta, lower, upper, how, how.max_evaluations
    )
    message = (
        "converged." if success else
        f"stopped after {how.max_evaluations} evaluations; {MORE}, or start from a better guess."
    )  # fmt: skip
    return theta, message, success


def _least_squares(
    fun: Callable[[Array], Array], jac: Callable[[Array], Array], theta: Array, lower: Array, upper: Array,
    how: GaussNewton, evaluations: int,
) -> tuple[Array, bool]:  # fmt: skip
    from scipy import optimize  # only here, and likewise below: slow to import

    # SciPy adds up a step of unknowns of all sizes, so it gets them in units of the guess; and its test of the gradient
    # is absolute: residuals in small units would pass it at the guess.
    unit = _units(theta)
    found = optimize.least_squares(
        lambda z: fun(z * unit), theta / unit, lambda z: jac(z * unit) * unit, (lower / unit, upper / unit),
        ftol=how.tolerance, xtol=how.tolerance, gtol=None, x_scale="jac", max_nfev=evaluations,
    )  # fmt: skip
    return np.clip(found.x * unit, lower, upper), found.status > 0


def _units(theta: Array) -> Array:
    return np.where(theta != 0, np.abs(theta), 1.0)


def _multipliers(
    problem: Residuals, theta: Array, lower: Array, upper: Array, how: GaussNewton, watch: _Watch
) -> Outcome:
    r, c = problem.values(theta)
    rho = float(np.clip(float(r @ r) / max(float(c @ c), 1e-12), 1.0, 1e6))
    lam = np.zeros(c.size)
    gap = math.inf
    for _ in range(how.multipliers):
        root, shift = math.sqrt(rho), lam / rho

        def residuals(z: Array, root: float = root, shift: Array = shift) -> Array:
            r, c = problem.values(z)
            watch(z, 0.5 * float(r @ r + root**2 * (c @ c)))
            return np.concatenate([r, root * (c + shift)])

        def jacobian(z: Array, root: float = root) -> Array:
            here = problem.evaluate(z)
            return np.concatenate([here.J, root * here.J_c])

        left = how.max_evaluations - watch.count
        if left <= 0:
            return theta, f"stopped after {watch.count} evaluations with gaps of {gap:.1e}; {MORE}.", False
        before, gap_before = theta, gap
        rough = replace(how, tolerance=max(how.tolerance, min(1e-4, 1e-2 * gap)))  # λ is not known better
        theta = _least_squares(residuals, jacobian, theta, lower, upper, rough, left)[0]
        _, c = problem.values(theta)
        gap = float(np.abs(c).max())
        lam += rho * c
        still = np.abs(theta - before).max() <= 1e-8 * max(1.0, np.abs(theta).max())
        if gap <= how.gap and still:
            return theta, "converged.", True
        if gap > 0.1 * gap_before or gap > 1e-3:
            rho = min(10 * rho, 1e12)
        watch.least = math.inf  # costs of another ρ do not compare
    success = gap <= 100 * how.gap
    message = "converged." if success else (
        f"stopped with gaps of {gap:.1e} between the intervals of shooting; give a better guess, or other nodes."
    )  # fmt: skip
    return theta, message, success


def _quasi_newton(
    problem: Residuals, theta: Array, lower: Array, upper: Array, how: QuasiNewton, watch: _Watch
) -> Outcome:
    from scipy import optimize

    # L-BFGS-B knows no scales: it gets the unknowns in units of the guess, and the cost in that of its first value. Its
    # own tests are absolute where a cost is below 1, so they are off, and the one of the decrease is made here.
    unit, first, last = _units(theta), 0.0, math.inf

    def cost_and_gradient(z: Array) -> tuple[float, Array]:
        try:
            cost, g = problem.gradient(z * unit)
        except AdjointError:
            return math.inf, np.zeros(z.size)
        watch(z * unit, cost)
        nonlocal first
        first = first or cost or 1.0
        return cost / first, g * unit / first

    def settled(intermediate_result: Any) -> None:
        nonlocal last
        before, last = last, float(intermediate_result.fun)
        if before - last <= how.tolerance * last:
            raise StopIteration

    found = optimize.minimize(
        cost_and_gradient, theta / unit, jac=True, method="L-BFGS-B",
        bounds=optimize.Bounds(lower / unit, upper / unit),
        options=dict(maxiter=how.max_iterations, maxfun=10 * how.max_iterations, ftol=0.0, gtol=0.0, maxcor=30),
        callback=settled,
    )  # fmt: skip
    at = watch.best if watch.best is not None else found.x * unit
    stopped = found.status == 1
    more = "pass solver=QuasiNewton(max_iterations=…) with more."
    return at, f"stopped after {how.max_iterations} iterations; {more}" if stopped else "converged.", not stopped


def _first_run(problem: Residuals, theta: Array) -> None:
    """Refuse a guess from which the system cannot be run, with the reason."""
    for interval in problem.intervals:
        try:
            run = problem.simulate(interval, theta)
        except InputError:
            raise
        except AdjointError as error:
            raise AdjointError(
                f"the first run of experiment {interval.experiment} fails: {error} Give a better guess of the "
                "parameters, or shooting=10 for shorter runs that start near the measurements."
            ) from error
        e = problem.experiments[interval.experiment]
        y, _, _ = e.observed(e.t[interval.rows], run.x, problem.parameters(theta))
        if not np.isfinite(y[e.mask[interval.rows]]).all():
            k = int(np.argwhere(~np.isfinite(y) & e.mask[interval.rows])[0, 0])
            raise AdjointError(
                f"experiment {interval.experiment}: at t = {e.t[interval.rows][k]:g} the model from the guess has no "
                f"finite {'logarithm' if e.logarithmic else 'value'}. Give a better guess."
            )


def _result(
    problem: Residuals, theta: Array, lower: Array, upper: Array, success: bool, message: str, watch: _Watch,
    started: float, request: dict[str, Any],
) -> FitResult:  # fmt: skip
    at_bound = (theta <= lower) | (theta >= upper)
    # A trust region of SciPy's stays a hair inside of the bounds.
    at_bound |= np.isfinite(lower) & (theta - lower <= 1e-9 * np.maximum(1e-3, np.abs(problem.theta)))
    at_bound |= np.isfinite(upper) & (upper - theta <= 1e-9 * np.maximum(1e-3, np.abs(problem.theta)))
    known = problem.experiments[0].known_sigma
    width = spread(problem, theta, at_bound, known)
    r, c = problem.values(theta)
    residuals = problem.named_rows(r)
    fitted = []
    for e, left in zip(problem.experiments, residuals, strict=True):
        y = left * e.sigma + np.where(e.mask, e.values, np.nan)
        fitted.append(np.exp(y) if e.logarithmic else y)
    named, x0 = problem.named, []
    for i in range(len(problem.experiments)):
        first = next(interval for interval in problem.intervals if interval.experiment == i)
        x0.append(problem.start(first, theta))
    p = problem.parameters(theta)
    with np.errstate(invalid="ignore"):
        stderr = np.sqrt(np.diag(width.covariance))
    # Nothing is known better than to a rounding error, even if it grows by e^60 until it is measured.
    stderr = np.maximum(stderr, np.where(at_bound[:named], 0.0, np.spacing(np.abs(theta[:named]))))
    return FitResult(
        tuple(problem.names), theta[:named].copy(), stderr, width.covariance, p, tuple(x0), tuple(residuals),
        tuple(fitted), float(r @ r), r.size - width.rank, width.scale, width.condition,
        float(np.abs(c).max(initial=0.0)), at_bound[:named], known, success, message, width.warnings, watch.count,
        time.perf_counter() - started, theta, problem, request,
    )  # fmt: skip


# ---- what the caller gave ------------------------------------------------------------------------


def _values(system: System, p: ArrayLike | Mapping[str, float]) -> Array:
    if isinstance(p, Mapping):
        unknown = [name for name in p if name not in system.parameters]
        missing = [name for name in system.parameters if name not in p]
        if unknown or missing:
            raise InputError(
                f"p has {'unknown names ' + ', '.join(map(str, unknown)) if unknown else 'no ' + ', '.join(missing)}; "
                f"system {system.name!r} has the parameters {system.describe('parameter')}."
            )
        p = [p[name] for name in system.parameters]
    values = np.array(p, dtype=np.float64)
    if values.shape != (system.n_p,) or not np.isfinite(values).all():
        raise InputError(
            f"p has shape {values.shape}; expected finite guesses of the {system.n_p} parameters "
            f"({system.describe('parameter')}) of system {system.name!r}."
        )
    return values


def _free(system: System, fixed: str | Iterable[str]) -> NDArray[np.int64]:
    held = set()
    for name in fixed.replace(",", " ").split() if isinstance(fixed, str) else fixed:
        kind, index = system.index(name)
        if kind != "parameter":
            raise InputError(f"fixed: {name!r} is a {kind}; expected names of parameters.")
        held |= set(range(system.n_p)[index] if isinstance(index, slice) else [index])
    return np.array([i for i in range(system.n_p) if i not in held], np.int64)


def _nodes(shooting: int | ArrayLike, t0: float, t1: float) -> Array:
    if isinstance(shooting, int | np.integer) and not isinstance(shooting, bool):
        if shooting < 1:
            raise InputError(f"shooting is {shooting!r}; expected a number of intervals, at least 1, or inner nodes.")
        return np.linspace(t0, t1, int(shooting) + 1)[1:-1]
    nodes = np.array(shooting, dtype=np.float64)
    if nodes.ndim != 1 or not (np.diff(nodes) > 0).all() or (nodes.size and not (t0 < nodes[0] and nodes[-1] < t1)):
        raise InputError(f"shooting is {shooting!r}; expected increasing nodes between {t0:g} and {t1:g}.")
    return nodes


def _limits(problem: Residuals, bounds: Mapping[str, tuple[float, float]] | None) -> tuple[Array, Array]:
    lower, upper = np.full(problem.theta.size, -np.inf), np.full(problem.theta.size, np.inf)
    system = problem.system
    for name, pair in (bounds or {}).items():
        kind, index = system.index(name)
        if np.shape(pair) != (2,) or not pair[0] < pair[1]:
            raise InputError(f"bounds of {name!r} are {pair!r}; expected (lower, upper) with lower < upper.")
        numbers = range(system.n)[index] if isinstance(index, slice) else [index]
        if kind == "parameter":
            numbers = range(system.n_p)[index] if isinstance(index, slice) else [index]
            places = [i for i, j in enumerate(problem.free) if j in numbers]
        else:
            places = [int(interval.start[j]) for interval in problem.intervals for j in numbers
                      if interval.start[j] >= 0]  # fmt: skip
        if not places or kind == "control":
            raise InputError(f"bounds of {name!r}: it is not estimated.")
        lower[places], upper[places] = pair
        outside = [problem.theta[i] for i in places if not pair[0] <= problem.theta[i] <= pair[1]]
        if outside and kind == "parameter":
            raise InputError(
                f"the guess of {name!r}, {outside[0]:g}, is outside of its bounds ({pair[0]:g}, {pair[1]:g})."
            )
    return lower, upper
