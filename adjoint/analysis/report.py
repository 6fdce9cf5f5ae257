"""`stability`: what a trajectory does to small errors on the way forward, and to gradients on the way back.

    perturbation   δx_k = P_k δx_0,      P_k = A_{k-1} … A_0         ‖δx_k‖ <= ‖P_k‖ ‖δx_0‖
    costate        λ_k = M_kᵀ λ_N,       M_k = A_{N-1} … A_k         ‖λ_k‖  <= ‖M_k‖ ‖λ_N‖

for a costate that is seeded at the end only. P_N = M_0: what explodes on the way forward does so on the way back, along
other directions. The finite-time Lyapunov exponents are (1/T) log σ_i(P_N), T = |t_N - t_0|.

Single shooting has the sensitivity ‖P_k‖ of its states to its unknown x_0. Multiple shooting begins anew at some knots,
and has in each interval that of the interval (Ascher, Mattheij, Russell, *Numerical Solution of Boundary Value
Problems for Ordinary Differential Equations*, section 4.3).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.analysis.products import log_norms, log_norms_backward, product_svd
from adjoint.analysis.shooting import Shooting, divide
from adjoint.errors import AdjointError, InputError, StabilityWarning
from adjoint.sweeps import linearize, sweep
from adjoint.trajectory import Trajectory

__all__ = ["StabilityReport", "stability"]

Array = NDArray[np.float64]
LN10 = math.log(10.0)
DIGITS = -math.log10(np.finfo(float).eps)
LARGE, SMALL = 1e8, 1e-8  # growths that deserve a warning
LARGEST = 1e150  # entries of A whose squares are finite


@dataclass(frozen=True, eq=False)
class StabilityReport:
    """What grows along a trajectory, and how fast; `print` it.

    Norms are kept as natural logarithms, since they overflow: a norm is ``10**(log / 2.302585)``.

    Attributes
    ----------
    trajectory : Trajectory
        A single path.
    A : array (N, n, n)
        The Jacobians A_k of the steps.
    log_forward : array (N+1,)
        log ‖A_{k-1} … A_0‖: the growth of perturbations of x_0 up to knot k.
    log_backward : array (N+1,)
        log ‖A_{N-1} … A_k‖: the growth of costates from the end back to knot k.
    log_singular : array (n,)
        log σ_i of A_{N-1} … A_0.
    growing, grown : arrays (n, n)
        Column i: the direction of x_0 that grows by σ_i (also the direction of λ_0 that the gradient comes in along),
        and the direction of x_N that it grows into.
    seed : array (n,)
        λ_N.
    costate : array (N+1, n)
        λ_k as `sweep` computes it from that seed.
    """

    trajectory: Trajectory
    A: Array
    log_forward: Array
    log_backward: Array
    log_singular: Array
    growing: Array
    grown: Array
    seed: Array
    costate: Array

    @property
    def N(self) -> int:
        """Number of steps."""
        return len(self.A)

    @cached_property
    def eigenvalues(self) -> NDArray[np.complex128]:
        """Those of each A_k (N, n), by decreasing modulus. They do not decide what a product of different A_k does."""
        values = np.linalg.eigvals(self.A).astype(np.complex128)
        return np.take_along_axis(values, np.argsort(-np.abs(values), axis=1), axis=1)

    @cached_property
    def singular_values(self) -> Array:
        """Those of each A_k (N, n), decreasing."""
        return np.asarray(np.linalg.svd(self.A, compute_uv=False))

    @property
    def spectral_radius(self) -> Array:
        """ρ(A_k) (N,)."""
        return np.abs(self.eigenvalues).max(axis=1)

    @property
    def exponents(self) -> Array:
        """The finite-time Lyapunov exponents (n,), per unit of time, decreasing; -inf where the product is singular."""
        t = self.trajectory.t
        return self.log_singular / abs(t[-1] - t[0])

    @property
    def log_costate(self) -> Array:
        """log ‖λ_k‖ / ‖λ_N‖ (N+1,): what the sweep did; at most `log_backward`."""
        with np.errstate(divide="ignore"):
            return np.log(_lengths(self.costate)) - math.log(np.linalg.norm(self.seed))

    @property
    def excess(self) -> float:
        """The largest ‖λ_k‖ / (‖A_{N-1} … A_k‖ ‖λ_N‖): at most 1 but for round-off. Knots where λ is 0 or overflows
        are left out.
        """
        costate = self.log_costate
        known = np.isfinite(costate) & np.isfinite(self.log_backward)
        return float(np.exp((costate[known] - self.log_backward[known]).max()))

    @property
    def bound_holds(self) -> bool:
        """Whether ‖λ_k‖ <= ‖A_{N-1} … A_k‖ ‖λ_N‖ at all knots, up to round-off."""
        return self.excess <= 1 + 1e-9

    @property
    def growth_per_step(self) -> float:
        """(‖λ_0‖ / ‖λ_N‖)^(1/N) for the worst λ_N: the factor by which a gradient changes in a step, on average."""
        return math.exp(self.log_backward[0] / self.N)

    @property
    def transient(self) -> float:
        """log10 of the largest growth of a perturbation of x_0 on the way, at least 0."""
        return float(self.log_forward.max()) / LN10

    def vanishing_horizon(self, decades: float = 8.0) -> int | None:
        """How many steps back from the end the gradient of the worst seed is, and stays, below 10**-decades; or None.

        Parameters
        ----------
        decades : float
            Positive.
        """
        small = self.log_backward[::-1] < -_positive("decades", decades) * LN10
        return int(np.flatnonzero(~small)[-1]) + 1 if small[-1] else None

    def exploding_horizon(self, decades: float = 8.0) -> int | None:
        """How many steps back from the end the gradient can first be above 10**decades; or None.

        Parameters
        ----------
        decades : float
            Positive.
        """
        large = self.log_backward[::-1] > _positive("decades", decades) * LN10
        return int(np.argmax(large)) if large.any() else None

    def shooting(self, bound: float = 1e4) -> Shooting:
        """Where to cut the horizon so that no interval amplifies a perturbation of its first state beyond `bound`.

        Parameters
        ----------
        bound : float
            Greater than 1.

        Returns
        -------
        Shooting
            The intervals, found from left to right, and how much each amplifies.
        """
        return divide(self.A, bound)

    @property
    def sentence(self) -> str:
        """The finding in one or two sentences."""
        most, end, back = self.transient, self.log_forward[-1] / LN10, float(self.log_backward.max()) / LN10
        if most > math.log10(LARGE):
            cut = self.shooting(1e4)
            lost = min(most, DIGITS)
            text = f"perturbations grow by {_power(most)} over this horizon; of 16 digits of x0, {lost:.0f} are lost"
            if most > end + 1:
                text += f" on the way (by {_power(end)} at the end)"
            return (f"{text}. Shoot from {len(cut.amplification)} intervals to keep the amplification of each below "
                    f"{_power(4.0)}.")
        if self.log_backward[0] < math.log(SMALL):
            steps = self.vanishing_horizon(8.0)
            what = "vanishes" if np.isfinite(self.log_backward[0]) else "is lost in a singular map"
            return (f"the gradient {what}: {_power(self.log_backward[0] / LN10)} of what the end asks for reaches the "
                    f"start, and less than {_power(-8.0)} gets further back than {steps} steps.")
        if back > math.log10(LARGE):
            return f"costates grow by {_power(back)} on the way back; gradients with respect to late states dominate."
        return f"perturbations grow by {_power(most)} at most, and end at {_power(end)} of their size: harmless."

    def to_dict(self) -> dict[str, Any]:
        """The findings as plain numbers and texts, for JSON; growths as powers of ten."""
        method = self.trajectory.method
        return {
            "system": self.trajectory.system.name,
            "method": None if method is None else method.name,
            "steps": self.N,
            "sentence": self.sentence,
            "log10_growth": float(self.log_forward[-1]) / LN10,
            "log10_largest_growth": self.transient,
            "gradient_growth_per_step": self.growth_per_step,
            "largest_spectral_radius": float(self.spectral_radius.max()),
            "exponents": self.exponents.tolist(),
            "bound_holds": self.bound_holds,
            "vanishing_horizon": self.vanishing_horizon(),
            "exploding_horizon": self.exploding_horizon(),
            "shooting_intervals": self.shooting(1e4).intervals,
        }

    def __str__(self) -> str:
        path, rows = self.trajectory, []
        largest, radius = self.singular_values[:, 0], self.spectral_radius
        states = "1 state" if path.system.n == 1 else f"{path.system.n} states"
        rows.append(("steps", f"{self.N}, t = {path.t[0]:g} … {path.t[-1]:g}, {states}"))
        rows.append(("spectral radius", f"{radius.min():.6g} … {radius.max():.6g}   of one step (largest at step "
                                        f"{radius.argmax()})"))
        rows.append(("norm", f"{largest.min():.6g} … {largest.max():.6g}   of one step (largest at step "
                             f"{largest.argmax()})"))
        k = int(self.log_forward.argmax())
        rows.append(("perturbations", f"{_power(self.log_forward[-1] / LN10)} at the end, {_power(self.transient)} at "
                                      f"most (t = {path.t[k]:g})"))
        rows.append(("gradient", f"{self.growth_per_step:.6g} per step on average, "
                                 f"{_power(self.log_backward[0] / LN10)} over all"))
        holds = "holds" if self.bound_holds else "FAILS"
        rows.append(("bound on λ", f"{holds}: the sweep's costate reaches {100 * self.excess:.3g} % of it"))
        shown = self.exponents[:6]
        rows.append(("exponents", "  ".join(f"{value:.4g}" for value in shown)
                     + (f"  … {self.exponents[-1]:.4g}" if path.system.n > 6 else "") + "   per unit of time"))
        for name, steps in (("vanishes", self.vanishing_horizon()), ("explodes", self.exploding_horizon())):
            if steps is not None:
                sign = "-" if name == "vanishes" else ""
                rows.append((f"gradient {name}", f"{steps} steps from the end (beyond 1e{sign}8)"))
        lines = [f"  {name:<18} {text}" for name, text in rows]
        return "\n".join([f"{path.system.name}: {self.sentence}", *lines])

    def __repr__(self) -> str:
        return f"StabilityReport({self.trajectory.system.name!r}, {self.N} steps, {self.sentence!r})"

    def plot(self, file: str | Path | None = None) -> Any:
        """Draw the spectra of the steps, growth and bound, and the exponents; see `adjoint.plot_stability`.

        Parameters
        ----------
        file : path, optional
            Where to write the figure.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from adjoint.plot_stability import plot_growth

        return plot_growth(self, file)


def stability(trajectory: Trajectory, seed: ArrayLike | None = None) -> StabilityReport | tuple[StabilityReport, ...]:
    """What a trajectory does to perturbations and to gradients.

    Parameters
    ----------
    trajectory : Trajectory
        From `rollout`.
    seed : array_like (n,), optional
        λ_N = ∂J/∂x_N of the costate that is held against its bound. Default: all states alike, of length 1.

    Returns
    -------
    StabilityReport
        For a batch, a tuple of them.

    Raises
    ------
    InputError
        If the trajectory is not finite (the message names step and state), or the seed does not fit or is zero.
    AdjointError
        If a Jacobian is not finite, or so large that its square overflows.

    Examples
    --------
    >>> import adjoint
    >>> from adjoint.analysis import stability
    >>> def spiral(t, x, u, p):
    ...     return [0.99 * (0.8 * x[0] - 0.6 * x[1]), 0.99 * (0.6 * x[0] + 0.8 * x[1])]
    >>> path = adjoint.rollout(adjoint.System(spiral, "a b", discrete=True), [1, 0], steps=100)
    >>> report = stability(path)
    >>> round(report.growth_per_step, 6), report.bound_holds
    (0.99, True)
    """
    if not isinstance(trajectory, Trajectory):
        raise InputError(f"stability: the first argument is {type(trajectory).__name__}; expected the Trajectory that "
                         "`rollout` returns; a solution of solve_ivp has one, .trajectory.")
    n, system = trajectory.system.n, trajectory.system
    lam = np.full(n, n**-0.5) if seed is None else np.array(seed, dtype=np.float64)
    if lam.shape != (n,) or not np.isfinite(lam).all() or not lam.any():
        raise InputError(f"stability: the seed is {seed!r}; expected {n} finite numbers, not all zero, one for each "
                         f"state of system {system.name!r}.")
    _check_finite(trajectory)
    Jacobians = linearize(trajectory).A
    with warnings.catch_warnings():  # that the gradient is lost in rounding is what the report is about to say
        warnings.simplefilter("ignore", StabilityWarning)
        costate = sweep(trajectory, dx=np.broadcast_to(lam, trajectory.x[..., -1, :].shape)).costate
    if trajectory.batch is None:
        return _report(trajectory, Jacobians, lam, costate)
    paths = [
        Trajectory(trajectory.t, trajectory.x[b], trajectory.u[b], trajectory.p if trajectory.p.ndim == 1
                   else trajectory.p[b], system, trajectory.method)
        for b in range(trajectory.batch)
    ]
    return tuple(_report(path, Jacobians[b], lam, costate[b]) for b, path in enumerate(paths))


def _report(trajectory: Trajectory, A: Array, seed: Array, costate: Array) -> StabilityReport:
    name = trajectory.system.name
    size = np.abs(A).max(axis=(1, 2))
    if not (size < LARGEST).all():
        k = int(np.argmin(size < LARGEST))
        raise AdjointError(f"stability of {name!r}: the Jacobian of step {k} (t = {trajectory.t[k]:g}) has an entry of "
                           f"size {size[k]:g}. The step is not differentiable there, or its growth is out of range.")
    logs, grown, growing = product_svd(A)
    arrays = (A, log_norms(A), log_norms_backward(A), logs, growing, grown, seed, costate)
    for array in arrays:
        array.setflags(write=False)
    return StabilityReport(trajectory, *arrays)


def _check_finite(trajectory: Trajectory) -> None:
    bad = np.argwhere(~np.isfinite(trajectory.x))
    if bad.size:
        *path, k, e = (int(i) for i in bad[np.argmin(bad[:, -2])])
        which = f" of path {path[0]}" if path else ""
        system = trajectory.system
        raise InputError(f"stability: the trajectory of {system.name!r} is not finite: the state {system.states[e]} is "
                         f"{trajectory.x[(*path, k, e)]} at knot {k} (t = {trajectory.t[k]:g}){which}. Take shorter "
                         "steps, or analyse the part before it.")


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise InputError(f"{name} is {value}; expected a positive number of powers of ten.")
    return value


def _lengths(a: Array) -> Array:
    """|a_k| without overflow of the squares; inf where an entry is not finite."""
    size = np.abs(a).max(axis=1)
    finite = np.isfinite(size)
    scale = np.where(finite & (size > 0), size, 1.0)
    return np.where(finite, scale * np.linalg.norm(np.where(finite[:, None], a, 0.0) / scale[:, None], axis=1), np.inf)


def _power(decades: float) -> str:
    """10**decades for people."""
    if decades == -math.inf:
        return "0"
    if -3 <= decades < 3:
        return f"{10**decades:.3g}"
    return f"1e{decades:.0f}"
