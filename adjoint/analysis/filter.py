"""The backward pass as a filter: from the error signal q to the costate λ and the gradient g.

For a linear time-invariant system the backward sweep is a convolution with future errors:

    x_{k+1} = A x_k + B u_k                  y_k = C x_k;      the error signal e_k = ∂J/∂y_k enters as q_k = Cᵀ e_k
    λ_k     = Aᵀ λ_{k+1} + Cᵀ e_k            λ_k = Σ_{j>=0} (Aᵀ)ʲ Cᵀ e_{k+j}
    g_k     = Bᵀ λ_{k+1}

Let e_k = ê zᵏ with z = e^{iωh}. Time runs backward, so the shift is by z and not by 1/z: λ_{k+1} = z λ_k, and

    λ̂ = z Aᵀ λ̂ + Cᵀ ê                       λ̂ = L(z) ê,           L(z) = (I - z Aᵀ)⁻¹ Cᵀ            (costate)
    ĝ = z Bᵀ λ̂                               ĝ = G(z) ê,           G(z) = z Bᵀ (I - z Aᵀ)⁻¹ Cᵀ       (gradient)

The forward response is F(z) = C (zI - A)⁻¹ B. On the unit circle 1/z is the conjugate of z, so

    G(z) = Bᵀ (z̄ I - Aᵀ)⁻¹ Cᵀ = F(z)ᴴ:

the backward pass amplifies each frequency exactly as the forward pass does, and turns its phase the other way: it is
the same filter run in reverse time. A network that does not respond to a frequency cannot be taught by errors of it.

The sum converges, and the filter is stable, if ρ(A) < 1. For x' = A_c x + B_c u under a method with step h, A and B are
the Jacobians of the step, and h L(e^{iωh}) = (-iω I - A_cᵀ)⁻¹ Cᵀ + (h/2) Cᵀ + O(h²): the continuous adjoint's filter.

The responses come from a Hessenberg form of Aᵀ (Laub 1981), in O(n²) for each frequency and error
(`kernels.resolvent`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.analysis.nonnormal import square_matrix
from adjoint.errors import AdjointError, InputError
from adjoint.kernels.resolvent import hessenberg_response
from adjoint.method import RK4, Method
from adjoint.sweeps import linearize, rollout, sweep
from adjoint.system import System
from adjoint.trajectory import Trajectory

__all__ = ["BackwardFilter", "backward_filter", "fixed_point", "measured_response", "rest"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class BackwardFilter:
    """The frequency response of a backward sweep; `print` it.

    Attributes
    ----------
    A : array (n, n)
    B : array (n, m)
    C : array (r, n)
    h : float
        The time between two knots.
    omega : array (F,)
        Angular frequencies, radians per unit of time.
    costate : complex array (F, n, r)
        L: the costate's amplitude and phase for unit errors.
    gradient : complex array (F, m, r)
        G: those of the gradient with respect to the controls.
    """

    A: Array
    B: Array
    C: Array
    h: float
    omega: Array
    costate: Complex
    gradient: Complex

    @property
    def spectral_radius(self) -> float:
        """ρ(A)."""
        return float(np.abs(np.linalg.eigvals(self.A)).max())

    @property
    def stable(self) -> bool:
        """Whether ρ(A) < 1: errors of the far future are forgotten, and the response is that of long sweeps."""
        return self.spectral_radius < 1

    @property
    def gain(self) -> Array:
        """The largest amplification ‖L‖₂ of an error signal, at each frequency (F,)."""
        return np.asarray(np.linalg.norm(self.costate, ord=2, axis=(1, 2)))

    @property
    def gradient_gain(self) -> Array:
        """The same for the gradient, ‖G‖₂ = ‖F‖₂ (F,); 0 for a system without controls."""
        if self.gradient.shape[1] == 0:
            return np.zeros(self.omega.size)
        return np.asarray(np.linalg.norm(self.gradient, ord=2, axis=(1, 2)))

    @property
    def amplified(self) -> list[tuple[float, float]]:
        """Bands of `omega` in which the costate is larger than the error that causes it (gain > 1), as (from, to)."""
        above = np.concatenate([[False], self.gain > 1, [False]])
        starts, ends = np.flatnonzero(above[1:] & ~above[:-1]), np.flatnonzero(~above[1:] & above[:-1]) - 1
        return [(float(self.omega[a]), float(self.omega[b])) for a, b in zip(starts, ends, strict=True)]

    def __str__(self) -> str:
        gain, omega = self.gain, self.omega
        peak = int(np.argmax(gain))
        bands = ", ".join(f"{a:.4g} … {b:.4g}" for a, b in self.amplified) or "none"
        state = "stable" if self.stable else "UNSTABLE: costates of long sweeps grow instead of settling"
        lines = [
            "backward filter of " + ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in (
                (len(self.A), "state"), (self.B.shape[1], "control"), (len(self.C), "error"))),
            f"  spectral radius  {self.spectral_radius:.6g} ({state})",
            f"  frequencies      {omega[0]:.4g} … {omega[-1]:.4g} rad per unit of time, Nyquist {math.pi / self.h:.4g}",
            f"  gain             {gain.min():.4g} … {gain.max():.4g}, largest at {omega[peak]:.4g}",
            f"  amplified        {bands}",
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"BackwardFilter({len(self.A)} states, {self.omega.size} frequencies, gain up to {self.gain.max():.4g})"

    def plot(self, file: str | Path | None = None) -> Any:
        """Draw gain and phase over frequency (a Bode plot); see `adjoint.plot_stability`.

        Parameters
        ----------
        file : path, optional
            Where to write the figure.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from adjoint.plot_stability import plot_filter

        return plot_filter(self, file)


def backward_filter(
    A: ArrayLike | Trajectory,
    B: ArrayLike | None = None,
    C: ArrayLike | None = None,
    omega: ArrayLike | None = None,
    h: float = 1.0,
) -> BackwardFilter:
    """The transfer function from error signals to costates and gradients.

    Parameters
    ----------
    A : array_like (n, n), or Trajectory
        The Jacobian of a step; or a trajectory that rests at a fixed point (see `rest`), which tells A, B and h.
    B : array_like (n, m), optional
        ∂Φ/∂u; default none.
    C : array_like (r, n), optional
        What the errors are errors of: y = C x. Default: all states.
    omega : array_like (F,), optional
        Angular frequencies; default 400, equally spaced from 0 to Nyquist's π/h.
    h : float
        The time between two knots.

    Returns
    -------
    BackwardFilter

    Raises
    ------
    InputError
        If shapes do not fit, or a trajectory moves: its steps then differ, and there is no transfer function.
    AdjointError
        If a frequency hits an eigenvalue on the unit circle, where the response is infinite.

    Examples
    --------
    A leaky integrator passes slow errors back and damps fast ones:

    >>> response = backward_filter([[0.9]], omega=[0.0, 3.141592653589793])
    >>> response.gain.round(4)
    array([10.    ,  0.5263])
    """
    if isinstance(A, Trajectory):
        if B is not None or h != 1.0:
            raise InputError("backward_filter: a trajectory brings its own B and h; pass C and omega only.")
        matrix, inputs, h = _at_rest(A)
    else:
        if np.iscomplexobj(A):
            raise InputError("backward_filter: A is complex; expected the real Jacobian of a step.")
        matrix = square_matrix("backward_filter", A).real
        inputs = np.zeros((len(matrix), 0)) if B is None else np.array(B, dtype=np.float64)
    n = len(matrix)
    outputs = np.eye(n) if C is None else np.array(C, dtype=np.float64)
    if inputs.ndim != 2 or len(inputs) != n or outputs.ndim != 2 or outputs.shape[1] != n or not len(outputs):
        raise InputError(f"backward_filter: B has shape {inputs.shape} and C {outputs.shape}; A has {matrix.shape}, so "
                         f"expected ({n}, m) and (r, {n}).")
    if not (math.isfinite(h) and h > 0):
        raise InputError(f"backward_filter: h is {h}; expected the positive time between two knots.")
    frequencies = np.linspace(0, math.pi / h, 400) if omega is None else np.atleast_1d(np.array(omega, np.float64))
    if frequencies.ndim != 1 or not frequencies.size or not np.isfinite(frequencies).all():
        raise InputError(f"backward_filter: omega is {omega!r}; expected finite angular frequencies (F,).")
    costate = _costate_response(matrix, outputs, np.exp(1j * frequencies * h))
    bad = np.flatnonzero(~np.isfinite(costate).all(axis=(1, 2)))
    if bad.size:
        raise AdjointError(f"backward_filter: e^(iωh) at omega = {frequencies[bad[0]]:g} is an eigenvalue of A, whose "
                           "response is infinite. Leave this frequency out.")
    gradient = np.exp(1j * frequencies * h)[:, None, None] * (inputs.T @ costate)
    for array in (matrix, inputs, outputs, frequencies, costate, gradient):
        array.setflags(write=False)
    return BackwardFilter(matrix, inputs, outputs, float(h), frequencies, costate, gradient)


def _costate_response(A: Array, C: Array, z: Complex) -> Complex:
    """L(z) = (I - z Aᵀ)⁻¹ Cᵀ (F, n, r) by Aᵀ = Q H Qᵀ."""
    from scipy.linalg import hessenberg  # only here: slow to import

    H, Q = hessenberg(A.T, calc_q=True)
    r, n = C.shape
    Y = np.empty((z.size, r, n), dtype=np.complex128)
    scratch = (*np.empty((2, n, n)), *np.empty((2, r, n)))
    hessenberg_response(
        np.ascontiguousarray(H), np.ascontiguousarray(z.real), np.ascontiguousarray(z.imag),
        np.ascontiguousarray(C @ Q), Y, *scratch,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):  # inf where the matrix is singular
        return np.ascontiguousarray((Y @ Q.T).transpose(0, 2, 1))


def _at_rest(trajectory: Trajectory) -> tuple[Array, Array, float]:
    """A, B and h of a trajectory whose steps are all the same."""
    if trajectory.batch is not None:
        raise InputError("backward_filter: the trajectory is a batch; pass one path.")
    A, B, _ = linearize(trajectory)
    h = np.diff(trajectory.t)
    differ = np.abs(A - A[0]).max(axis=(1, 2)) > 1e-6 * (1 + np.abs(A[0]).max())
    if differ.any() or not np.allclose(h, h[0], rtol=1e-6):
        k = int(np.argmax(differ)) if differ.any() else int(np.argmax(np.abs(h - h[0])))
        raise InputError(f"backward_filter: step {k} of the trajectory of {trajectory.system.name!r} differs from the "
                         "first; a transfer function belongs to one linear step. Linearise at rest: pass "
                         "rest(system, x0, …), or a matrix A.")
    return A[0].copy(), B[0].copy(), float(abs(h[0]))


def fixed_point(
    system: System,
    x0: ArrayLike,
    u: ArrayLike | None = None,
    p: ArrayLike | None = None,
    method: Method = RK4,
    h: float = 1.0,
    tolerance: float = 1e-12,
) -> Array:
    """A state that one step maps to itself, by Newton's method: Φ(x) = x.

    Parameters
    ----------
    system : System
        For a network: of one input, held.
    x0 : array_like (n,)
        The first guess, for example the last state of a long rollout.
    u : array_like (m,), optional
    p : array_like (n_p,), optional
    method : Method
        For a continuous system. Fixed points of its step are equilibria (h small enough that it has no others).
    h : float
        The length of the step.
    tolerance : float
        For |Φ(x) - x|, relative to 1 + |x|.

    Returns
    -------
    array (n,)

    Raises
    ------
    AdjointError
        If Newton's method does not get there in 50 steps.
    """
    x = np.array(x0, dtype=np.float64)
    for _ in range(50):
        path = rollout(system, x, u, [0.0, h], p, method)
        residual = path.x[1] - path.x[0]
        if np.linalg.norm(residual) <= tolerance * (1 + np.linalg.norm(x)):
            return x
        step = np.linalg.lstsq(linearize(path).A[0] - np.eye(system.n), -residual, rcond=None)[0]
        x = x + step
        if not np.isfinite(x).all():
            break
    raise AdjointError(f"fixed_point: Newton's method found none of system {system.name!r} from {x0!r}; at the end "
                       f"|Φ(x) - x| = {np.linalg.norm(residual):.2g}. Start nearer: from the last "
                       "state of a long rollout.")


def rest(
    system: System,
    x0: ArrayLike,
    steps: int,
    u: ArrayLike | None = None,
    p: ArrayLike | None = None,
    method: Method = RK4,
    h: float = 1.0,
) -> Trajectory:
    """A trajectory that stays at the fixed point found from x0; the arguments are those of `fixed_point`.

    Parameters
    ----------
    system, x0, u, p, method, h
        As for `fixed_point`.
    steps : int

    Returns
    -------
    Trajectory
        Every knot is the fixed point itself (an unstable one would be left by rounding errors in a rollout).
    """
    x = fixed_point(system, x0, u, p, method, h)
    path = rollout(system, x, u, h * np.arange(steps + 1.0), p, method, allow_nonfinite=True)
    return Trajectory(path.t, np.tile(x, (steps + 1, 1)), path.u, path.p, path.system, path.method)


def measured_response(trajectory: Trajectory, omega: float, C: ArrayLike | None = None) -> tuple[Complex, Complex]:
    """What the backward sweep itself does to sinusoidal errors: λ_0 and g_0 for e_k = ê e^{iω(t_k - t_0)}.

    Two sweeps for each error: the seeds are the cosine, then the sine. Along a path at rest that is long enough for the
    end to be forgotten (ρ(A)ᴺ small), this is the response that `backward_filter` predicts; along any other path it is
    the response at its start.

    Parameters
    ----------
    trajectory : Trajectory
        One path.
    omega : float
        Angular frequency, radians per unit of time.
    C : array_like (r, n), optional
        As for `backward_filter`.

    Returns
    -------
    costate : complex array (n, r)
    gradient : complex array (m, r)
    """
    if not isinstance(trajectory, Trajectory) or trajectory.batch is not None:
        raise InputError("measured_response: expected one path, as `rollout` or `rest` returns it.")
    n, m = trajectory.system.n, trajectory.system.m
    outputs = np.eye(n) if C is None else np.array(C, dtype=np.float64)
    if outputs.ndim != 2 or outputs.shape[1] != n:
        raise InputError(f"measured_response: C has shape {outputs.shape}; expected (r, {n}).")
    wave = np.exp(1j * omega * (trajectory.t - trajectory.t[0]))
    costate, gradient = np.empty((n, len(outputs)), np.complex128), np.empty((m, len(outputs)), np.complex128)
    for i, row in enumerate(outputs):
        parts = [sweep(trajectory, dx=np.outer(part, row)) for part in (wave.real, wave.imag)]
        costate[:, i] = parts[0].x0 + 1j * parts[1].x0
        gradient[:, i] = parts[0].u[0] + 1j * parts[1].u[0]
    return costate, gradient
