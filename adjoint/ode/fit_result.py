"""`FitResult`: the estimates, how sure they are, and what was left over.

    ½ |r(θ)|² is least, c(θ) = 0              J = ∂r/∂θ,  C = ∂c/∂θ,  Z a basis of the null space of C
    F = J Z = U S Vᵀ,    cov θ = s² Z V S⁻² Vᵀ Zᵀ

with s² = 1 where the deviations of the measurements are known, and s² = |r|² / (R - rank) where they are not. A value
on one of its bounds is taken for known. A direction with a singular value of almost zero is one along which the
measurements say nothing.

D. M. Bates, D. G. Watts, Nonlinear Regression Analysis and its Applications, Wiley (1988), chapters 2 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.names import near
from adjoint.ode.fit_residuals import Residuals

__all__ = ["FitResult", "Spread", "spread"]

Array = NDArray[np.float64]

BLIND = 1e-8  # singular values below this part of the largest one: nothing was learnt
DIM = 1e-5  # and below this one: hardly anything, if what they say is
VAGUE = 1e-2  # no better than this part of the value


@dataclass(frozen=True, eq=False)
class Spread:
    """How far the estimates may be off.

    Attributes
    ----------
    covariance : array (k, k)
        Of the named estimates; inf on the diagonal where nothing was learnt, 0 for values on a bound.
    scale : float
        s.
    rank : int
    condition : float
        The largest over the smallest singular value of F, unknowns in units of their own size.
    warnings : tuple of str
    """

    covariance: Array
    scale: float
    rank: int
    condition: float
    warnings: tuple[str, ...]


def spread(residuals: Residuals, theta: Array, at_bound: NDArray[np.bool_], known_sigma: bool) -> Spread:
    """The covariance of the estimates at θ."""
    here = residuals.evaluate(theta)
    named, names = residuals.named, residuals.names
    D = np.where(theta != 0, np.abs(theta), 1.0)
    moving = ~at_bound
    J, C = (here.J * D)[:, moving], (here.J_c * D)[:, moving]
    # C has full rank, as each interval ends in an unknown of its own; but hardly where the system explodes.
    Z = np.linalg.qr(C.T, mode="complete")[0][:, len(C) :] if len(C) else np.eye(J.shape[1])
    F = J @ Z
    _, S, Vt = np.linalg.svd(F, full_matrices=True)
    S = np.concatenate([S, np.zeros(Vt.shape[0] - S.size)])
    seen = BLIND * max(S.max(initial=0.0), np.finfo(float).tiny) < S
    rank = int(seen.sum())
    freedom = here.r.size - rank
    if known_sigma:
        scale = 1.0
    else:
        scale = math.sqrt(float(here.r @ here.r) / freedom) if freedom > 0 else math.inf
    W = (Z @ Vt.T)[: named - int(at_bound[:named].sum())]  # the named part of each direction
    covariance = np.zeros((named, named))
    into = np.flatnonzero(moving[:named])
    factor = scale * W[:, seen] / S[seen]
    covariance[np.ix_(into, into)] = factor @ factor.T
    covariance *= np.outer(D[:named], D[:named])
    warnings = []
    dim = (DIM * max(S.max(initial=0.0), np.finfo(float).tiny) > S) & (~seen | (scale > VAGUE * S))
    for j in np.flatnonzero(dim):
        w = W[:, j] / max(np.abs(W[:, j]).max(initial=0.0), 1e-300)
        part = np.flatnonzero(np.abs(w) > 0.05)
        blind = S[j] <= BLIND * S.max(initial=0.0)
        if blind:
            where = into[part]
            covariance[where, where] = np.inf
            verb = "say nothing about"
        else:
            verb = "hardly say anything about"
        moved = ", ".join(f"{names[into[i]]} {w[i] * np.sign(w[part[0]]):+.2g} %" for i in part)
        one = len(part) == 1
        warnings.append(
            f"the measurements {verb} {'' if one else 'one combination: '}"
            + (names[into[part[0]]] if one else f"changing {moved}")
            + ("" if one else " leaves the fit as it is" if blind else " hardly changes the fit")
            + f" (singular value {S[j]:.1e} of {S.max():.1e}). Fix a value, measure more, or simplify the model."
        )
    measured = np.concatenate([(e.values / e.sigma)[e.mask] for e in residuals.experiments])
    if here.r @ here.r > np.sum((measured - measured.mean()) ** 2):
        warnings.append("the fit is worse than a constant. The solver is stuck: give a better guess, or shooting=10.")
    elif known_sigma and freedom > 0 and here.r @ here.r > freedom + 10 * math.sqrt(2 * freedom):
        ratio = math.sqrt(float(here.r @ here.r) / freedom)
        warnings.append(
            f"the residuals are {ratio:.3g} times as large as sigma says. The model lacks something, or the solver is "
            "stuck: try another guess, or shooting=10."
        )
    if freedom <= 0:
        warnings.append(f"{here.r.size} measurements and {rank} estimates: nothing is left to judge the errors by.")
    condition = math.inf if S.min(initial=np.inf) == 0 else float(S.max(initial=1.0) / S.min(initial=1.0))
    return Spread(covariance, scale, rank, condition, tuple(warnings))


@dataclass(frozen=True, eq=False)
class FitResult:
    """What `fit` found. `print` it; `plot` it; ``result["a"]`` is the estimate of a.

    Attributes
    ----------
    names : tuple of str
        Of the estimates: parameters, and initial states such as ``prey(1900)``.
    values, stderr : array (k,)
        The estimates, and their standard deviations.
    covariance : array (k, k)
    p : array (n_p,)
        All parameters, estimated and fixed.
    x0 : tuple of array (n,)
        The initial state of each experiment.
    residuals : tuple of array (K, q)
        (model - measured) / sigma for each experiment, of logarithms where they were fitted; nan where nothing was
        measured.
    fitted : tuple of array (K, q)
        The model at the measurements.
    cost : float
        Σ residual².
    freedom : int
        Measurements minus estimates.
    scale : float
        s: the deviation of the measurements that were given none.
    success : bool
    message : str
        How it ended.
    warnings : tuple of str
        What the measurements do not tell.
    evaluations : int
    seconds : float
    problem : Residuals
    request : dict
        The arguments of `fit`.
    """

    names: tuple[str, ...]
    values: Array
    stderr: Array
    covariance: Array
    p: Array
    x0: tuple[Array, ...]
    residuals: tuple[Array, ...]
    fitted: tuple[Array, ...]
    cost: float
    freedom: int
    scale: float
    condition: float
    discontinuity: float
    at_bound: NDArray[np.bool_]
    known_sigma: bool
    success: bool
    message: str
    warnings: tuple[str, ...]
    evaluations: int
    seconds: float
    theta: Array = field(repr=False)
    problem: Residuals = field(repr=False)
    request: Mapping[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        for array in (self.values, self.stderr, self.covariance, self.p, *self.x0, *self.residuals, *self.fitted):
            array.setflags(write=False)

    def __getitem__(self, name: str) -> float:
        return float(self.values[self._index(name)])

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"{name!r} was not estimated. {near(name, list(self.names))}")
        return self.names.index(name)

    def _quantile(self, level: float) -> float:
        if not 0 < level < 1:
            raise InputError(f"level is {level!r}; expected a number between 0 and 1, such as 0.95.")
        from scipy import stats  # only here, and likewise below: slow to import

        law = stats.norm() if self.known_sigma else stats.t(max(self.freedom, 1))
        return float(law.ppf(0.5 + level / 2))

    def intervals(self, level: float = 0.95) -> Array:
        """Confidence intervals (k, 2): estimate ± quantile · stderr, by Student's law where sigma was estimated.

        Parameters
        ----------
        level : float
            The probability that such an interval covers the truth, as far as the model is linear within it.
        """
        half = self._quantile(level) * self.stderr
        return np.stack([self.values - half, self.values + half], axis=1)

    @property
    def correlation(self) -> Array:
        """Of the estimates (k, k); nan where nothing was learnt."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.covariance / np.outer(self.stderr, self.stderr)

    def profile(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """The interval of one estimate by profile likelihood: where the best fit of all others becomes too bad.

            cost(θ_i) - cost <= q² s²       q the quantile of `intervals`

        Parameters
        ----------
        name : str
            Of a parameter that was estimated.
        level : float

        Returns
        -------
        (float, float)
            Infinite where the cost never becomes so bad.

        Raises
        ------
        InputError
            If the name is not that of an estimated parameter.
        """
        from scipy import optimize

        i = self._index(name)
        if i >= self.problem.free.size:
            raise InputError(f"{name!r} is an initial state; profiles are for parameters.")
        allowed = (self._quantile(level) * self.scale) ** 2

        def excess(value: float) -> float:
            return self._best_with(name, value) - self.cost - allowed

        ends = []
        step = self._quantile(level) * float(self.stderr[i])
        step = step if 0 < step < math.inf else 0.1 * max(abs(self.values[i]), 1e-6)
        for sign in (-1, 1):
            near_end, far = float(self.values[i]), float(self.values[i]) + sign * step
            for _ in range(12):
                if excess(far) > 0:
                    tolerance = 1e-4 * abs(far - self.values[i])
                    ends.append(float(optimize.brentq(excess, near_end, far, xtol=tolerance, rtol=1e-10)))
                    break
                near_end, far = far, far + sign * 2 * abs(far - near_end)
            else:
                ends.append(sign * math.inf)
        return ends[0], ends[1]

    def _best_with(self, name: str, value: float) -> float:
        """The cost of the best fit that keeps one parameter at a value, from here."""
        from adjoint.ode.fit import fit  # which makes results

        made, system = dict(self.request), self.problem.system
        p = self.p.copy()
        p[system.parameters.index(name)] = value
        made["experiments"] = [replace(e, x0=x) for e, x in zip(made["experiments"], self.x0, strict=True)]
        made["bounds"] = {key: pair for key, pair in (made["bounds"] or {}).items() if key != name}
        made["fixed"] = [*made["fixed"], name]
        if self.problem.named == 1:  # then nothing else is free
            theta = self.theta.copy()
            theta[self._index(name)] = value
            r, _ = self.problem.values(theta)
            return float(r @ r)
        return fit(system, p=p, **made).cost

    def simulate(self, experiment: int = 0, points: int = 400) -> tuple[Array, Array]:
        """The fitted model between the measurements: times (K,) and what is measured (K, q), logarithms undone.

        Parameters
        ----------
        experiment : int
        points : int
        """
        e = self.problem.experiments[experiment]
        times, values = [], []
        for interval in self.problem.intervals:
            if interval.experiment != experiment:
                continue
            share = (interval.t1 - interval.t0) / (e.t1 - e.t0)
            t = np.linspace(interval.t0, interval.t1, max(2, round(points * share)))
            if self.problem.system.discrete:
                t = np.arange(interval.t0, interval.t1 + 0.5)
            try:
                run = self.problem.by.run(self.problem.system, self.problem.start(interval, self.theta), self.p,
                                          interval.t0, interval.t1, t, e.u, e.knots)  # fmt: skip
            except AdjointError:
                continue
            y, _, _ = e.observed(t, run.x, self.p)
            times.append(t)
            values.append(np.exp(y) if e.logarithmic else y)
        return np.concatenate(times), np.concatenate(values)

    def plot(self, file: str | Path | None = None) -> Any:
        """Measurements, the fitted model and the residuals; see `adjoint.plot_fit`. Returns the figure."""
        from adjoint.plot_fit import plot_fit

        return plot_fit(self, file)

    def __repr__(self) -> str:
        return f"FitResult({', '.join(f'{n} {v:.6g}' for n, v in zip(self.names, self.values, strict=True))})"

    def __str__(self) -> str:
        width = max((len(name) for name in self.names), default=4)
        low_high = self.intervals()
        lines = [
            f"{self.problem.system.name}: {self.message}",
            f"  {'':{width}}  {'estimate':>12} {'std. error':>11}   95 % interval",
        ]
        for i, name in enumerate(self.names):
            if self.at_bound[i]:
                told = f"{'':>11}   on its bound"
            elif not math.isfinite(self.stderr[i]):
                told = f"{'inf':>11}   not determined"
            else:
                told = f"{self.stderr[i]:11.3g}   {low_high[i, 0]:.6g} … {low_high[i, 1]:.6g}"
            lines.append(f"  {name:{width}}  {self.values[i]:12.7g} {told}")
        count = self.freedom + len(self.names) - int(self.at_bound.sum())
        what = "chi-square" if self.known_sigma else "sum of squares"
        lines.append(f"  {what} {self.cost:.10g} of {count} measurements, {self.freedom} degrees of freedom"
                     + ("" if self.known_sigma else f", s = {self.scale:.4g}"))  # fmt: skip
        if self.discontinuity:
            lines.append(f"  largest gap between shooting intervals {self.discontinuity:.1e}, relative")
        lines.append(f"  {self.evaluations} evaluations in {self.seconds:.2g} s")
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)
