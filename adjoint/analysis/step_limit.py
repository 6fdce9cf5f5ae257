"""The longest step that is stable: from the eigenvalues of ∂f/∂x and the region of the method.

    near x          δx' = J δx,  J = ∂f/∂x,         J v = λ v
    one step        δx_{k+1} = R(hJ) δx_k,          R(hλ) for each eigenvalue
    limit           h* = min over the stable λ of ρ(arg λ) / |λ|

where ρ(θ) is how far the region {|R| <= 1} reaches from 0 in the direction θ. A stable λ (Re λ < 0) decays in the
system and has to decay in the numbers too. One with Re λ > 0 grows in the system itself, which no step can forbid; it
does not limit h, and neither does λ = 0. An eigenvalue on the imaginary axis, to rounding, is an undamped oscillation:
the end of the imaginary interval limits h, and where that is 0 (forward Euler) no step is stable.

Eigenvalues tell what happens in the long run. Where the eigenvectors are far from orthogonal, perturbations grow first,
by max_t ‖exp(tJ)‖, and a step below the limit does not prevent it; along a trajectory J changes, and a limit at each
point is necessary rather than sufficient. Trefethen and Embree, *Spectra and Pseudospectra*, chapters 14–16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.analysis.nonnormal import transient_growth
from adjoint.analysis.regions import stability_function
from adjoint.errors import InputError
from adjoint.method import EXPLICIT, Method
from adjoint.step import TracedStep
from adjoint.symplectic import Composition
from adjoint.system import System, as_step
from adjoint.trajectory import Trajectory

__all__ = ["StepLimit", "jacobians", "max_stable_step", "max_stable_step_along"]

Array = NDArray[np.float64]

AXIS = 1e-12  # |Re λ| below this part of |λ| is rounding: eigenvalues of an undamped oscillator come out like that
NON_NORMAL = 10.0  # growth from which a sentence says so

_steps: WeakKeyDictionary[System, TracedStep] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class StepLimit:
    """The longest stable step, and what decides it. Prints as a sentence.

    Attributes
    ----------
    h : float
        The limit: 0 if no step is stable, inf if every step is.
    eigenvalue : complex or None
        The λ that decides; None if none does.
    knot : int
        At which of the points.
    t : float
        The time there.
    method : Method
    system : System
    eigenvalues : complex array (n,)
        All of J at that point.
    growing : bool
        Whether some eigenvalue at some point has a positive real part.
    jacobian : array (n, n)
        J at that point.
    limits : array (K,)
        The limit at each of the points.
    """

    h: float
    eigenvalue: complex | None
    knot: int
    t: float
    method: Method
    system: System
    eigenvalues: NDArray[np.complex128]
    growing: bool
    jacobian: Array
    limits: Array

    @cached_property
    def transient(self) -> float:
        """max_t ‖exp(tJ)‖₂, in the units of the states: by how much perturbations grow before they decay. inf if some
        eigenvalue has a positive real part.
        """
        J = self.jacobian
        scale = np.abs(J).sum(axis=1).max()
        decay = self.eigenvalues.real
        if (decay > AXIS * scale).any():
            return math.inf
        slow = np.abs(decay[decay < -AXIS * scale])
        if not slow.size:
            return 1.0
        times = np.geomspace(0.1 / scale, 10 / slow.min(), 60)
        return math.exp(max(0.0, transient_growth(J, times=times).max()))

    @property
    def sentence(self) -> str:
        """The finding in words."""
        name = f"{self.method.name} on {self.system.name!r}"
        where = f" at t = {self.t:g}" if self.limits.size > 1 else ""
        if self.eigenvalue is None:
            text = f"{name}: every step is stable; no eigenvalue limits it."
            if self.growing and not np.isfinite(self.limits).any():
                text = f"{name}: no stable eigenvalue limits the step; accuracy has to."
        elif self.h == 0:
            text = (
                f"{name}: no step is stable. The oscillation of eigenvalue {_complex(self.eigenvalue)}{where} is "
                f"undamped, and |R(hλ)| > 1 on the imaginary axis, however short h is. Methods that reach along it: "
                f"rk4 (to 2.83), dop853 (to 5.96), gauss(s) at any step."
            )
        else:
            z = self.h * self.eigenvalue
            text = (
                f"{name}: stable up to h = {self.h:.6g}. The eigenvalue {_complex(self.eigenvalue)}{where} decides: "
                f"hλ = {_complex(z)} is where |R| = 1."
            )
        if self.growing:
            text += " Some eigenvalues have positive real parts: what grows in the system grows at any step."
        if NON_NORMAL < self.transient < math.inf:
            text += (
                f" The Jacobian is not normal: perturbations first grow by a factor of up to {self.transient:.3g}, at "
                "shorter steps too."
            )
        return text

    def plot(self, h: float | None = None, file: str | Path | None = None) -> Any:
        """Draw hλ on the region of the method; see `adjoint.plot_methods.plot_regions`.

        Parameters
        ----------
        h : float, optional
            The step; the limit if left out.
        file : path, optional
            Where to write the figure.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from adjoint.plot_methods import plot_regions

        return plot_regions(self.method, self, h, file)

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return f"StepLimit(h={self.h:g}, {self.sentence!r})"


def max_stable_step(
    system: System,
    method: Method,
    x: ArrayLike,
    u: ArrayLike | None = None,
    t: ArrayLike = 0.0,
    p: ArrayLike | None = None,
) -> StepLimit:
    """The longest step with which a method is stable near a point of a system.

    Parameters
    ----------
    system : System
        Continuous.
    method : Method
        Explicit or implicit.
    x : array_like (n,), or (K, n)
        The point, or several; then the limit is the least.
    u : array_like (m,), or (K, m)
        The controls there; may be left out if there are none.
    t : float, or array_like (K,)
    p : array_like (n_p,)

    Returns
    -------
    StepLimit

    Raises
    ------
    InputError
        If the system is discrete or brings its own kernels, if an argument does not fit, or the Jacobian is not finite.

    Examples
    --------
    >>> import adjoint
    >>> decay = adjoint.System(lambda t, x, u, p: [-50 * x[0]], states="x", name="decay")
    >>> print(max_stable_step(decay, adjoint.EULER, [1.0]))
    euler on 'decay': stable up to h = 0.04. The eigenvalue -50 decides: hλ = -2 is where |R| = 1.
    """
    points = _array("x", x, system)
    K = len(points) if points.ndim == 2 else 1
    points = points[None] if points.ndim == 1 else points
    if points.ndim != 2 or points.shape[1] != system.n or K == 0:
        raise InputError(
            f"max_stable_step: x has shape {np.shape(x)}; system {system.name!r} has {system.n} states: pass "
            f"({system.n},), or (K, {system.n})."
        )
    controls = _spread("u", () if u is None else u, K, system.m, system)
    times = _array("t", t, system)
    if times.shape not in ((), (K,)):
        raise InputError(f"max_stable_step: t has shape {times.shape}; expected one time, or {K}, one for each point.")
    parameters = _spread("p", () if p is None else p, 1, system.n_p, system)
    return _limit(system, method, np.broadcast_to(times, (K,)), points, controls, parameters)


def max_stable_step_along(trajectory: Trajectory, method: Method | None = None) -> StepLimit:
    """The longest step with which a method is stable at every knot of a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
        Of a continuous system; a batch counts all its paths.
    method : Method, optional
        By default the one that made the trajectory.

    Returns
    -------
    StepLimit
        With the knot that decides; in a batch, knots are counted through the paths.

    Raises
    ------
    InputError
        As `max_stable_step`.
    """
    if not isinstance(trajectory, Trajectory):
        raise InputError(
            f"max_stable_step_along: {type(trajectory).__name__} is no Trajectory; `rollout` returns one, and a "
            "solution of solve_ivp has it as .trajectory."
        )
    system, N = trajectory.system, len(trajectory)
    chosen = trajectory.method if method is None else method
    if chosen is None:
        raise InputError(_discrete(system))
    paths = trajectory.batch or 1
    u = trajectory.u.reshape(paths, N, system.m)
    u = np.concatenate([u, u[:, -1:]], axis=1)  # the last control is held up to the end
    p = np.atleast_2d(trajectory.p)
    p = np.repeat(p, N + 1, axis=0) if len(p) > 1 else p
    return _limit(
        system,
        chosen,
        np.tile(trajectory.t, paths),
        trajectory.x.reshape(paths * (N + 1), system.n),
        u.reshape(paths * (N + 1), system.m),
        p,
    )


def jacobians(system: System, t: Array, x: Array, u: Array, p: Array) -> Array:
    """∂f/∂x at K points of a continuous system.

    Parameters
    ----------
    system : System
    t, x, u : arrays (K,), (K, n), (K, m)
    p : array (1, n_p), or (K, n_p)

    Returns
    -------
    array (K, n, n)

    Raises
    ------
    InputError
        If the system is discrete.
    """
    if system.discrete:
        raise InputError(_discrete(system))
    if system not in _steps:  # f itself as a step, so that its Jacobian is that of `linearize`, many points a call
        _steps[system] = TracedStep(as_step(system.graph), system.name)
    t, x, u, p = (np.ascontiguousarray(a) for a in (t, x, u, p))
    return _steps[system].linearize(t, np.zeros(len(x)), x, u, p, 1 if len(p) > 1 else len(x), False)[0]


def _limit(system: System, method: Method | Composition, t: Array, x: Array, u: Array, p: Array) -> StepLimit:
    if isinstance(method, Composition):
        raise InputError(
            f"max_stable_step: {method.name} is a composition of kicks and drifts, which has no stability function of "
            "hJ alone. For an undamped oscillation of frequency ω, verlet is stable up to h = 2/ω."
        )
    R = stability_function(method)
    J = jacobians(system, t, x, u, p)
    if not np.isfinite(J).all():
        k, i, j = (int(a) for a in np.argwhere(~np.isfinite(J))[0])
        raise InputError(
            f"max_stable_step: the derivative of the {system.states[i]} equation of {system.name!r} with respect to "
            f"{system.states[j]} is {J[k, i, j]} at t = {t[k]:g}. Choose a point where f is smooth."
        )
    spectrum = np.linalg.eigvals(J).astype(np.complex128)
    size = np.abs(spectrum)
    # An eigenvalue of this size is what rounding makes of 0.
    nothing = size <= 8 * system.n * 2.0**-52 * np.abs(J).sum(axis=2).max(axis=1)[:, None]
    on_axis = ~nothing & (np.abs(spectrum.real) <= AXIS * size)
    stable = ~nothing & ~on_axis & (spectrum.real < 0)
    each = np.full(spectrum.shape, np.inf)
    if on_axis.any():
        each[on_axis] = R.imaginary_interval / size[on_axis]
    if stable.any():
        chosen = spectrum[stable]
        each[stable] = R.ray_limits(np.abs(np.angle(chosen))) / np.abs(chosen)
    limits = each.min(axis=1)
    knot = int(limits.argmin())
    decides = int(each[knot].argmin()) if np.isfinite(limits[knot]) else None
    return StepLimit(
        float(limits[knot]),
        None if decides is None else _upper(spectrum[knot, decides]),
        knot,
        float(t[knot]),
        method,
        system,
        spectrum[knot],
        bool((~nothing & ~on_axis & (spectrum.real > 0)).any()),
        J[knot],
        limits,
    )


def _upper(value: complex) -> complex:
    """The one of a conjugate pair with a positive imaginary part."""
    return complex(value.real, abs(value.imag))


def _complex(value: complex) -> str:
    """``-0.5``, or ``-0.5 ± 2i``: eigenvalues of real matrices come in pairs."""
    if value.imag == 0:
        return f"{value.real:.6g}"
    real = 0.0 if abs(value.real) <= AXIS * abs(value) else value.real
    return f"±{abs(value.imag):.6g}i" if real == 0 else f"{real:.6g} ± {abs(value.imag):.6g}i"


def _discrete(system: System) -> str:
    explicit = ", ".join(m.name for m in EXPLICIT)
    return (
        f"max_stable_step: system {system.name!r} is discrete, so its step is what it is; `stability(trajectory)` "
        f"tells what grows in it. Step limits are for continuous systems under a method such as {explicit}."
    )


def _array(name: str, value: ArrayLike, system: System) -> Array:
    if not isinstance(system, System):
        raise InputError(f"max_stable_step: the first argument is {type(system).__name__}; expected a System.")
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"max_stable_step: {name} is {value!r}; expected an array of numbers ({error}).") from error
    if not np.isfinite(array).all():
        raise InputError(f"max_stable_step: {name} has a value that is not finite; expected finite numbers.")
    return array


def _spread(name: str, value: ArrayLike, K: int, size: int, system: System) -> Array:
    """(K, size) from (K, size) or (size,)."""
    array = _array(name, value, system)
    if array.ndim == 0 and size == 1:
        array = array.reshape(1)
    if array.shape not in ((size,), (K, size)):
        what = {"u": "controls", "p": "parameters"}[name]
        raise InputError(
            f"max_stable_step: {name} has shape {array.shape}; system {system.name!r} has {size} {what}. "
            f"Pass ({size},)" + (f", or ({K}, {size})." if K > 1 else ".")
        )
    return np.broadcast_to(array, (K, size))
