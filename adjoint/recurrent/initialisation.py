"""Weights to start from, so that gradients neither explode nor vanish at once; and weights that stay where they do not.

Near the origin a network is linear, x_{k+1} = W x_k + …, and a costate that is seeded at the end is

    λ_k = (Wᵀ)^{N-k} λ_N

    W = g Q, Q orthogonal        ‖λ_k‖ = g^{N-k} ‖λ_N‖                          in all directions alike
    W random, radius ρ           ‖λ_k‖ ~ ρ^{N-k}, after a transient growth       W is not normal: ‖W‖ is about 2ρ
    W = diag(a)                  |λ_k,i| = |a_i|^{N-k} |λ_N,i|,  a = exp(-1/τ)    each unit with a memory of τ steps

With tanh units a step is A_k = diag(1 - x²) W, and these become upper bounds: ‖λ_k‖ <= ‖W‖^{N-k} ‖λ_N‖.

References: Saxe, McClelland, Ganguli, ICLR 2014 (orthogonal); Jaeger, GMD report 148 (2001) (spectral radius); Tallec
and Ollivier, ICLR 2018 (time constants over all scales); Orvieto et al., ICML 2023 (a parametrised inside the circle).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.recurrent.cell import orthogonal, size

__all__ = ["Inside", "orthogonal", "spectral", "spectral_radius", "time_constants", "with_radius"]

Array = NDArray[np.float64]


def spectral_radius(W: ArrayLike) -> float:
    """The largest modulus of an eigenvalue.

    Parameters
    ----------
    W : array_like (d, d)
    """
    return float(np.abs(np.linalg.eigvals(_square(W))).max())


def with_radius(W: ArrayLike, radius: float) -> Array:
    """A multiple of W with this spectral radius.

    Parameters
    ----------
    W : array_like (d, d)
    radius : float
        At least 0.

    Raises
    ------
    InputError
        If W is not square or finite, or its spectral radius is 0 (a nilpotent matrix forgets everything).
    """
    matrix = _square(W)
    present = spectral_radius(matrix)
    if not 0 <= radius < math.inf:
        raise InputError(f"radius is {radius!r}; expected a finite number of at least 0.")
    if present <= np.abs(matrix).max() * 1e-12:
        raise InputError("with_radius: W has spectral radius 0 (to rounding); no multiple of it has another one.")
    return matrix * (radius / present)


def spectral(rng: np.random.Generator, d: int, radius: float = 1.0) -> Array:
    """A random matrix (d, d), independent normal entries, scaled to a spectral radius.

    Parameters
    ----------
    rng : numpy.random.Generator
    d : int
    radius : float

    Examples
    --------
    >>> import numpy as np
    >>> W = spectral(np.random.default_rng(0), 32, 0.9)
    >>> round(spectral_radius(W), 12)
    0.9
    """
    d = size("d", d)
    return with_radius(rng.standard_normal((d, d)), radius)


def time_constants(rng: np.random.Generator, d: int, shortest: float = 1.0, longest: float = 100.0) -> Array:
    """Factors a = exp(-1/τ) of d units, with log τ spread evenly over [log shortest, log longest].

    Parameters
    ----------
    rng : numpy.random.Generator
    d : int
    shortest, longest : float
        Memories in steps: after τ steps 1/e is left.

    Returns
    -------
    array (d,)
        For the ``a`` of a `Diagonal` cell.

    Raises
    ------
    InputError
        Unless 0 < shortest <= longest.
    """
    d = size("d", d)
    if not 0 < shortest <= longest < math.inf:
        raise InputError(f"time_constants: shortest is {shortest!r} and longest {longest!r}; expected 0 < shortest <= "
                         "longest, in steps.")  # fmt: skip
    return np.exp(-1 / np.exp(rng.uniform(math.log(shortest), math.log(longest), d)))


@dataclass(frozen=True)
class Inside:
    """Weights that training cannot lead out of (-radius, radius): a = radius · tanh(θ).

    Train θ in the place of the ``a`` of a `Diagonal` cell: the spectral radius of the recurrence stays within `radius`,
    and with it the growth of every costate, ‖λ_k‖ <= radius^{N-k} ‖λ_N‖.

    Attributes
    ----------
    radius : float
        Positive.

    Examples
    --------
    >>> inside = Inside(1.0)
    >>> theta = inside.inverse([0.5, -0.9])
    >>> inside(theta).round(12)
    array([ 0.5, -0.9])
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.radius < math.inf:
            raise InputError(f"Inside: radius is {self.radius!r}; expected a positive number.")

    def __call__(self, theta: ArrayLike) -> Array:
        """a of θ."""
        return self.radius * np.tanh(np.asarray(theta, dtype=np.float64))

    def pullback(self, theta: ArrayLike, gradient: ArrayLike) -> Array:
        """∂J/∂θ from ∂J/∂a."""
        return np.asarray(gradient) * self.radius * (1 - np.tanh(np.asarray(theta, dtype=np.float64)) ** 2)

    def inverse(self, a: ArrayLike) -> Array:
        """θ of a.

        Raises
        ------
        InputError
            If some |a| >= radius.
        """
        values = np.asarray(a, dtype=np.float64)
        if not (np.abs(values) < self.radius).all():
            largest = float(np.abs(values).max())
            raise InputError(f"Inside: the largest |a| is {largest:g}; expected less than {self.radius:g}.")
        return np.arctanh(values / self.radius)


def _square(W: ArrayLike) -> Array:
    matrix = np.asarray(W, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0 or not np.isfinite(matrix).all():
        raise InputError(f"W has shape {matrix.shape}; expected a square matrix of finite numbers.")
    return matrix
