"""Two reasons to believe a derivative.

Taylor test     R(ε) = | J(z + ε d) - J(z) - ε ∇Jᵀd |  falls as ε² if and only if ∇Jᵀd is right: each halving of ε
                divides R by 4, a rate of log₂ 4 = 2. With a wrong gradient the rate is 1.
complex step    ∂f/∂z_j = Im f(z + i h e_j) / h + O(h²), with h so small that nothing is cut off: exact to round-off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.step import TracedStep
from adjoint.system import System, as_step

__all__ = ["ComplexStepCheck", "GradientCheck", "check_complex_step", "check_gradient"]

Array = NDArray[np.float64]
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class GradientCheck:
    """The outcome of a Taylor test; `print` it.

    Attributes
    ----------
    eps : array
        The steps ε, each half of the one before.
    remainders : array
        R(ε).
    rates : array
        log₂ R(ε) / R(ε/2), one fewer; nan where a remainder is at the level of the noise and tells nothing.
    rate : float
        The median of the last three telling rates: 2.00 for a right gradient, 1 for a wrong one; inf if J is linear
        along the direction and every remainder is round-off.
    slope : float
        ∇Jᵀd.
    """

    eps: Array
    remainders: Array
    rates: Array
    rate: float
    slope: float

    @property
    def passed(self) -> bool:
        """Whether the rate is at least 1.9."""
        return self.rate >= 1.9

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        verdict = (
            "the gradient is right"
            if self.passed
            else "the gradient is WRONG along this direction, or J is not smooth there (or noisy: pass noise=)"
        )
        lines = [
            f"Taylor test: rate {self.rate:.2f} (2 is right, 1 is wrong): {verdict}.   slope {self.slope:.6g}",
            "        eps    remainder   rate",
        ]
        for i, (e, remainder) in enumerate(zip(self.eps, self.remainders, strict=True)):
            rate = "" if i == 0 else "round-off" if np.isnan(self.rates[i - 1]) else f"{self.rates[i - 1]:.2f}"
            lines.append(f"  {e:9.2e}    {remainder:9.2e}   {rate}")
        return "\n".join(lines)


def check_gradient(
    f: Callable[[Array], float],
    gradient: ArrayLike | Callable[[Array], ArrayLike],
    x: ArrayLike,
    direction: ArrayLike | None = None,
    *,
    eps: float = 1e-2,
    halvings: int = 12,
    noise: float = EPS,
) -> GradientCheck:
    """The Taylor test of a gradient.

    Parameters
    ----------
    f : callable
        x → J, a number.
    gradient : array_like, or callable x → array_like
        ∇J at x, of the shape of x.
    x : array_like
        Where.
    direction : array_like, optional
        d, of the shape of x. Default: a fixed random direction with entries of the size of x.
    eps : float
        The first ε.
    halvings : int
        How often ε is halved.
    noise : float
        The relative error of a value of f that does not change smoothly with x. Round-off, or more where f iterates or
        chooses its steps: for an adaptive solve, a hundredth of its tolerance or so.

    Returns
    -------
    GradientCheck
        True in a condition if the gradient passed.

    Raises
    ------
    InputError
        If shapes differ, the direction is zero, or f returns something that is no finite number.

    Examples
    --------
    >>> report = check_gradient(lambda x: np.sum(np.sin(x)), np.cos([0.3, 1.0]), [0.3, 1.0])
    >>> report.passed
    True
    """
    z = np.array(x, dtype=np.float64)
    g = np.asarray(gradient(z.copy()) if callable(gradient) else gradient, dtype=np.float64)
    if g.shape != z.shape:
        raise InputError(f"check_gradient: the gradient has shape {g.shape}; x has shape {z.shape}. They must agree.")
    if halvings < 3:
        raise InputError(f"check_gradient: halvings is {halvings}; a rate needs at least 3.")
    if not (np.isfinite(eps) and eps > 0):
        raise InputError(f"check_gradient: eps is {eps}; expected a positive number.")
    if not EPS <= noise < 1:
        raise InputError(f"check_gradient: noise is {noise}; expected a relative error, at least that of rounding.")
    if direction is None:
        d = np.random.default_rng(7).standard_normal(z.shape) * np.maximum(np.abs(z), 0.1)
    else:
        d = np.array(direction, dtype=np.float64)
        if d.shape != z.shape:
            raise InputError(
                f"check_gradient: the direction has shape {d.shape}; x has shape {z.shape}. They must agree."
            )
    if not np.any(d):
        raise InputError(
            "check_gradient: the direction is zero, along which every gradient is right. Pass another one."
        )

    def value(e: float) -> float:
        result = np.asarray(f(z + e * d), dtype=np.float64)
        if result.size != 1 or not np.isfinite(result).all():
            raise InputError(
                f"check_gradient: f returned {result} at eps = {e:g}; expected one finite number. "
                "If the step leaves the domain of f, pass a smaller eps."
            )
        return float(result.reshape(()))

    steps: Array = np.asarray(eps * 0.5 ** np.arange(halvings + 1.0))
    J = value(0.0)
    slope = float(np.sum(g * d))
    values = np.array([value(e) for e in steps])
    remainders = np.abs(values - J - steps * slope)
    # Each value carries a relative error of some units of noise. A remainder below a hundred of them tells nothing.
    telling = remainders > 100 * noise * (np.abs(values) + abs(J) + np.abs(steps * slope))
    rates = np.full(halvings, np.nan)
    both = telling[:-1] & telling[1:]
    rates[both] = np.log2(remainders[:-1][both] / remainders[1:][both])
    known = rates[np.isfinite(rates)]
    rate = float(np.median(known[-3:])) if known.size else float("inf")
    return GradientCheck(steps, remainders, rates, rate, slope)


@dataclass(frozen=True, eq=False)
class ComplexStepCheck:
    """Compiled Jacobians beside those of the Python function by complex step; `print` it.

    Attributes
    ----------
    compiled, complex_step : tuple of arrays (n, n), (n, m), (n, n_p)
        ∂f/∂x, ∂f/∂u, ∂f/∂p.
    error : float
        The largest difference, relative to 1 + the largest entry of the same Jacobian.
    """

    compiled: tuple[Array, Array, Array]
    complex_step: tuple[Array, Array, Array]
    error: float

    @property
    def passed(self) -> bool:
        """Whether the error is below 1e-11."""
        return self.error < 1e-11

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        lines = [f"complex step: largest relative difference {self.error:.1e} ({'agree' if self.passed else 'DIFFER'})"]
        for name, a, b in zip(("∂f/∂x", "∂f/∂u", "∂f/∂p"), self.compiled, self.complex_step, strict=True):
            if a.size:
                i, j = np.unravel_index(int(np.argmax(np.abs(a - b))), a.shape)
                lines.append(f"  {name}  worst entry [{i}, {j}]: compiled {a[i, j]:.16g}, complex step {b[i, j]:.16g}")
        return "\n".join(lines)


def check_complex_step(
    system: System,
    x: ArrayLike,
    u: ArrayLike = (),
    p: ArrayLike = (),
    t: float = 0.0,
    h: float = 1.0,
    f: Callable[..., Any] | None = None,
) -> ComplexStepCheck:
    """Compare the compiled Jacobians of a system's function with complex steps through the function as Python runs it.

    Parameters
    ----------
    system : System
        Traced, or with its own kernels (whose Python source is then run on complex arrays).
    x, u, p : array_like (n,), (m,), (n_p,)
        Where.
    t : float
    h : float
        The length of the step, for a system with its own kernels.
    f : callable, optional
        Another function f(t, x, u, p) of complex arrays to compare with, for a system whose own function is not made of
        analytic operations that NumPy can do in complex arithmetic (`abs`, `where`, comparisons).

    Returns
    -------
    ComplexStepCheck
        True in a condition if they agree to round-off.

    Raises
    ------
    InputError
        If shapes do not fit, or the function cannot be run on complex numbers.
    """
    at = []
    for name, value, size in (("x", x, system.n), ("u", u, system.m), ("p", p, system.n_p)):
        array = np.array(value, dtype=np.float64)
        if array.shape != (size,):
            raise InputError(
                f"check_complex_step: {name} has shape {array.shape}; system {system.name!r} takes ({size},)."
            )
        at.append(array)
    step = TracedStep(as_step(system.graph), system.name) if system.traced else system.step()
    A, B, C = step.linearize(np.array([float(t)]), np.array([float(h)]), at[0][None], at[1][None], at[2][None], 1, True)
    function = f if f is not None else _python_function(system, h)

    tiny = 1e-60  # its square vanishes, so the difference quotient is exact
    sizes = [a.size for a in at]
    z = np.concatenate(at).astype(np.complex128)
    J = np.empty((system.n, z.size))
    for j in range(z.size):
        moved = z.copy()
        moved[j] += 1j * tiny
        try:
            with warnings.catch_warnings():
                # NumPy would cut the imaginary part off with a mere warning, and the derivative would be zero.
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                result = np.array(
                    function(float(t), *np.split(moved, np.cumsum(sizes)[:2])), dtype=np.complex128
                ).ravel()
        except (TypeError, ValueError, np.exceptions.ComplexWarning) as error:
            raise InputError(
                f"check_complex_step: the function of system {system.name!r} does not run on complex numbers "
                f"({error}). "
                "Pass f=, the same function written with operations that do."
            ) from error
        if result.size != system.n:
            raise InputError(
                f"check_complex_step: the function returned {result.size} numbers; system {system.name!r} has "
                f"{system.n} states."
            )
        J[:, j] = result.imag / tiny
    reference = tuple(np.split(J, np.cumsum(sizes)[:2], axis=1))
    compiled = (A[0], B[0], C[0])
    errors = [
        float(np.max(np.abs(a - b)) / (1 + np.max(np.abs(b))))
        for a, b in zip(compiled, reference, strict=True)
        if a.size
    ]
    worst = max((float("inf") if np.isnan(e) else e) for e in errors)
    return ComplexStepCheck(compiled, (reference[0], reference[1], reference[2]), worst)


def _python_function(system: System, h: float) -> Callable[..., Any]:
    if system.traced:
        return system.f
    source = system.f.py_func  # type: ignore[attr-defined]  # a Numba dispatcher, checked by System.from_kernels

    def run(t: float, x: Any, u: Any, p: Any) -> Any:
        x_next = np.zeros(system.n, dtype=np.complex128)
        source(t, h, x, u, p, x_next)
        return x_next

    return run
