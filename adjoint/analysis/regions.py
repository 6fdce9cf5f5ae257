"""What a method does to x' = λx: the stability function, its region, and where the region ends on the axes.

    step        x_{k+1} = R(z) x_k,  z = hλ       R(z) = det(I - zA + z 1 bᵀ) / det(I - zA) = N(z) / D(z)
    series      R(z) = 1 + Σ_{k>=1} r_k z^k,      r_k = bᵀ A^{k-1} 1         (r_k = 1/k! up to the order)
    region      S = {z: |R(z)| <= 1}
    real axis   |R(-x)| <= 1   where   (D² - N²)(-x) >= 0
    imaginary   |R(iy)| <= 1   where   E(y) = |D(iy)|² - |N(iy)|² >= 0
    A-stable    E(y) >= 0 for all y, and all poles to the right of the imaginary axis
    L-stable    A-stable, and R(∞) = 0

N = D · (the series), cut at degree s. The arithmetic is exact on the numbers of the tableau. These carry one rounding
each; where a simple fraction lies within what this rounding can do to a coefficient, that fraction is what the author
of the method meant (RK4 has 1/24, and Gauss' methods have the coefficients of Padé's approximants of exp). So "is it
A-stable" is decided by signs of rational numbers, not by a tolerance.

Hairer, Wanner, *Solving Ordinary Differential Equations II*: IV.2 (explicit), IV.3 (implicit, E-polynomial).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.analysis.regions_polynomials import (
    Polynomial,
    add,
    divided,
    first_negative,
    greatest_common_divisor,
    multiply,
    polynomial,
    stable,
)
from adjoint.errors import InputError
from adjoint.kernels.rational import modulus
from adjoint.method import Method

__all__ = ["StabilityFunction", "stability_function"]

Array = NDArray[np.float64]

# Fractions with denominators up to this are at least 1e-10 apart, and a tableau's rounding is around 1e-16: the chance
# that one lies near an arbitrary number by accident is about 1e-5.
LARGEST_DENOMINATOR = 100_000
EPS = 2.0**-52


@dataclass(frozen=True)
class StabilityFunction:
    """R = N / D, the factor by which a method multiplies x in one step of x' = λx, as a function of z = hλ.

    Attributes
    ----------
    numerator, denominator : tuple of Fraction
        Coefficients, the constant first; without a common factor.

    Examples
    --------
    >>> from adjoint.method import RK4, gauss
    >>> R = stability_function(RK4)
    >>> print(R)
    1 + z + z²/2 + z³/6 + z⁴/24
    >>> float(R(-1.0)), round(R.real_interval, 6), round(R.imaginary_interval, 6)
    (0.375, 2.785294, 2.828427)
    >>> stability_function(gauss(2)).A_stable
    True
    """

    numerator: Polynomial
    denominator: Polynomial

    def __call__(self, z: ArrayLike) -> NDArray[np.complex128] | NDArray[np.float64]:
        """R(z), complex or real as z is."""
        z = np.asarray(z)
        N, D = (np.polynomial.Polynomial([float(c) for c in P]) for P in (self.numerator, self.denominator))
        return N(z) / D(z)

    def modulus(self, z: ArrayLike) -> Array:
        """|R(z)|, compiled; z of any shape.

        Parameters
        ----------
        z : array_like of complex

        Returns
        -------
        array of the same shape
            inf at a pole.
        """
        points = np.ascontiguousarray(z, dtype=np.complex128)
        out = np.empty(points.size)
        modulus(points.reshape(-1).view(np.float64), *self.floats, out)
        return out.reshape(np.shape(z))

    @cached_property
    def floats(self) -> tuple[Array, Array]:
        """Numerator and denominator, rounded."""
        N, D = (np.array([float(c) for c in P]) for P in (self.numerator, self.denominator))
        return N, D

    @cached_property
    def poles(self) -> NDArray[np.complex128]:
        """Zeros of D."""
        return np.polynomial.polynomial.polyroots(self.floats[1]).astype(np.complex128)

    @cached_property
    def real_interval(self) -> float:
        """The largest x with |R| <= 1 on [-x, 0]; inf if that is the whole negative axis."""
        N, D = (polynomial(c * (-1) ** k for k, c in enumerate(P)) for P in (self.numerator, self.denominator))
        return first_negative(multiply(add(D, N, -1), add(D, N)))

    @cached_property
    def imaginary_interval(self) -> float:
        """The largest y with |R| <= 1 on [-iy, iy]; 0 if every undamped oscillation grows, inf for the whole axis."""
        return math.sqrt(first_negative(self.E))

    @cached_property
    def E(self) -> Polynomial:
        """|D(iy)|² - |N(iy)|² as a polynomial in w = y²: positive where an oscillation decays."""

        def squared(P: Polynomial) -> Polynomial:
            """|P(iy)|²: the even part P(z) P(-z) at z² = -w."""
            product = multiply(P, polynomial(c * (-1) ** k for k, c in enumerate(P)))
            return polynomial(c * (-1) ** k for k, c in enumerate(product[::2]))

        def size(P: Polynomial) -> Array:
            """The same with all signs positive: what rounding is measured by."""
            return np.convolve(absolute := np.abs([float(c) for c in P]), absolute)[::2]

        exact = add(squared(self.denominator), squared(self.numerator), -1)
        sizes = np.zeros(max(len(self.numerator), len(self.denominator)))
        for P in (self.numerator, self.denominator):
            sizes[: len(P)] += size(P)
        return polynomial(Fraction(0) if abs(c) <= 16 * EPS * sizes[j] else c for j, c in enumerate(exact))

    @cached_property
    def A_stable(self) -> bool:
        """Whether |R| <= 1 on the whole left half plane: any step is stable for any stable linear system."""
        mirrored = polynomial(c * (-1) ** k for k, c in enumerate(self.denominator))
        return len(self.denominator) > 1 and math.isinf(first_negative(self.E)) and stable(mirrored)

    @property
    def L_stable(self) -> bool:
        """Whether it is A-stable, and infinitely fast decay is done in one step: R(∞) = 0."""
        return self.A_stable and len(self.numerator) < len(self.denominator)

    @property
    def at_infinity(self) -> float:
        """|R(∞)|."""
        N, D = self.numerator, self.denominator
        if len(N) != len(D):
            return 0.0 if len(N) < len(D) else math.inf
        return abs(float(N[-1] / D[-1]))

    @cached_property
    def order(self) -> int:
        """The largest p with R(z) = exp(z) + O(z^{p+1}): the order of the method on linear systems."""
        return self._against_exp()[0]

    @property
    def error_constant(self) -> float:
        """C in R(z) = exp(z) - C z^{p+1} + O(z^{p+2})."""
        return self._against_exp()[1]

    def _against_exp(self) -> tuple[int, float]:
        """The first coefficient k with D exp - N = C z^k + … and C itself (D(0) = 1)."""
        for k in range(1, 3 * len(self.numerator) + 3 * len(self.denominator)):
            c = sum((d / math.factorial(k - j) for j, d in enumerate(self.denominator[: k + 1])), Fraction(0))
            c -= self.numerator[k] if k < len(self.numerator) else 0
            if abs(c) > 1e-13 / math.factorial(k):
                return k - 1, float(c)
        raise AssertionError("a rational function is not exp")

    def ray_limits(self, angle: ArrayLike) -> Array:
        """How far the region reaches from 0 along rays into the left half plane.

        Parameters
        ----------
        angle : array_like
            θ in (π/2, π], of rays z = r exp(iθ).

        Returns
        -------
        array of the same shape
            The largest r with |R| <= 1 on the whole way; inf if the ray stays inside.
        """
        theta = np.atleast_1d(np.asarray(angle, dtype=np.float64))
        if not ((theta > np.pi / 2) & (theta <= np.pi)).all():
            raise InputError("ray_limits: an angle is outside of (π/2, π]; rays lead into the left half plane.")
        limits = np.full(theta.size, np.inf) if self.A_stable else _first_exit(*self.floats, theta.reshape(-1))
        return limits.reshape(np.shape(angle))

    def __str__(self) -> str:
        if len(self.denominator) == 1:
            return _written(self.numerator)
        above = _written(self.numerator)
        return f"{f'({above})' if len(self.numerator) > 1 else above} / ({_written(self.denominator)})"


@lru_cache(maxsize=256)
def stability_function(method: Method) -> StabilityFunction:
    """R(z) of a Runge–Kutta method, from its tableau.

    Parameters
    ----------
    method : Method
        Explicit or implicit.

    Returns
    -------
    StabilityFunction

    Raises
    ------
    InputError
        If it is no Method.
    """
    if not isinstance(method, Method):
        raise InputError(f"stability_function: {method!r} is no Method. `adjoint.RK4` or `adjoint.gauss(3)` is one.")
    B = method.linear
    A = [[Fraction(float(a)) for a in row] for row in B]
    b = [Fraction(float(w)) for w in method.b]
    s = method.stages
    D = _determinant(A, method)
    series, left, bound = [Fraction(1)], b, np.abs(method.b)  # left = bᵀ A^{k-1}
    doubt = [0.0]  # how far rounding of the tableau moves a coefficient
    for k in range(1, s + 1):
        exact, size = sum(left, Fraction(0)), float(bound.sum())
        series.append(_of_exp(exact, k, size) if method.kind == "rosenbrock" else _meant(exact, k, size))
        doubt.append(0.0 if series[k] == Fraction(1, math.factorial(k)) else 4 * (k + 1) * EPS * size)
        left = [sum((left[i] * A[i][j] for i in range(s)), Fraction(0)) for j in range(s)]
        bound = bound @ np.abs(B)
    N = multiply(D, polynomial(series))[: s + 1]
    # A coefficient that is nothing but the rounding of D and of the series is none.
    factors = np.abs([float(c) for c in D])
    nothing = 8 * EPS * np.convolve(factors, np.abs([float(c) for c in series])) + np.convolve(factors, doubt)
    N = polynomial(Fraction(0) if abs(c) <= nothing[k] else c for k, c in enumerate(N))
    common = greatest_common_divisor(N, D)
    N, D = divided(N, common)[0], divided(D, common)[0]
    return StabilityFunction(tuple(c / D[0] for c in N), tuple(c / D[0] for c in D))


def _determinant(A: list[list[Fraction]], method: Method) -> Polynomial:
    """det(I - zA): the product of 1 - z a_ii if A is triangular; else by the recursion of Faddeev and Le Verrier,
    M_1 = A, c_k = -tr(M_k)/k, M_{k+1} = A (M_k + c_k I). Exactly.
    """
    s = len(A)
    if not np.triu(method.linear, 1).any():
        D: Polynomial = (Fraction(1),)
        for i in range(s):
            D = multiply(D, polynomial([Fraction(1), -A[i][i]]))
        return D
    coefficients, M = [Fraction(1)], A
    size = float(np.abs(method.linear).sum(axis=1).max())
    for k in range(1, s + 1):
        exact = -sum((M[i][i] for i in range(s)), Fraction(0)) / k
        coefficients.append(_meant(exact, k, math.comb(s, k) * size**k))
        M = [[M[i][j] + (exact if i == j else 0) for j in range(s)] for i in range(s)]
        M = [[sum((A[i][l] * M[l][j] for l in range(s)), Fraction(0)) for j in range(s)] for i in range(s)]
    return polynomial(coefficients)


def _meant(exact: Fraction, k: int, size: float) -> Fraction:
    """The simple fraction within the rounding of k factors whose products add up to `size` in modulus; if there is
    none, the nearest double.
    """
    simple = exact.limit_denominator(LARGEST_DENOMINATOR)
    return simple if abs(simple - exact) <= 4 * (k + 1) * EPS * size else Fraction(float(exact))


def _of_exp(exact: Fraction, k: int, size: float) -> Fraction:
    """1/k! within the rounding, else as it stands: a Rosenbrock method has no other simple coefficients."""
    simple = Fraction(1, math.factorial(k))
    return simple if abs(simple - exact) <= 4 * (k + 1) * EPS * size else exact


def _first_exit(N: Array, D: Array, theta: Array) -> Array:
    """For each ray the first r > 0 at which P(r) = |D(r e^{iθ})|² - |N(r e^{iθ})|² turns negative.

        P(r) = Σ_jk (d_j d_k - n_j n_k) cos((j-k)θ) r^{j+k}

    Candidates are the positive zeros of P(r)/r; between two of them the sign is that of the middle; the zero itself is
    bisected.
    """
    size = max(N.size, D.size)
    n, d = np.pad(N, (0, size - N.size)), np.pad(D, (0, size - D.size))
    P = np.zeros((theta.size, 2 * size - 1))
    for j in range(size):
        for k in range(size):
            P[:, j + k] += (d[j] * d[k] - n[j] * n[k]) * np.cos((j - k) * theta)
    Q = P[:, 1:]  # P(0) = 0, and Q(0) = -2 cos θ > 0
    degree = Q.shape[1] - 1
    limits = np.full(theta.size, np.inf)
    if degree == 0:
        return limits
    # Zeros of the reversed polynomial are 1/r; its leading coefficient Q(0) is positive.
    companion = np.zeros((theta.size, degree, degree))
    companion[:, 0] = -Q[:, 1:] / Q[:, :1]
    companion[:, np.arange(1, degree), np.arange(degree - 1)] = 1.0
    inverse = np.linalg.eigvals(companion)
    real = (inverse.real > 0) & (np.abs(inverse.imag) <= 1e-5 * np.abs(inverse))  # a double zero comes as a pair
    with np.errstate(divide="ignore"):
        zeros = np.sort(np.where(real, 1 / np.where(real, inverse.real, 1.0), np.inf), axis=1)
    edges = np.concatenate([np.zeros((theta.size, 1)), zeros], axis=1)

    def value(r: Array) -> Array:
        total = np.zeros(r.shape)
        for c in reversed(range(degree + 1)):
            total = total * r + Q[:, c : c + 1]
        return total

    last = np.isinf(edges[:, 1:])
    with np.errstate(invalid="ignore"):
        middles = np.where(last, 2 * edges[:, :-1] + 1.0, (edges[:, :-1] + edges[:, 1:]) / 2)
        middles = np.concatenate([middles, 2 * edges[:, -1:] + 1.0], axis=1)  # beyond the last zero
        known = np.isfinite(middles)
        negative: NDArray[np.bool_] = np.logical_and(value(np.where(known, middles, 0.0)) < 0, known)
    some: NDArray[np.bool_] = np.asarray(negative.any(axis=1))
    first = negative.argmax(axis=1)
    rows = np.arange(theta.size)
    low = np.where(first > 0, middles[rows, np.maximum(first - 1, 0)], 0.0)[:, None]
    high = middles[rows, first][:, None]
    low, high = np.where(some[:, None], low, 0.0), np.where(some[:, None], high, 0.0)
    for _ in range(64):
        middle = (low + high) / 2
        inside = value(middle) >= 0
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    limits[some] = low[some, 0]
    return limits


_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _written(P: Polynomial) -> str:
    """``1 - z/2 + z²/12``."""
    text = ""
    for k, c in enumerate(P):
        if c == 0:
            continue
        power = "" if k == 0 else "z" if k == 1 else "z" + str(k).translate(_SUPERSCRIPT)
        size = abs(c)
        if size.denominator <= LARGEST_DENOMINATOR:
            top = str(size.numerator) if size.numerator != 1 or not power else ""
            term = f"{top}{' ' if top and power else ''}{power}" + (f"/{size.denominator}" if size != int(size) else "")
        else:
            term = f"{float(size):.6g} {power}".rstrip()
        text += (" - " if c < 0 else " + ") + term if text else ("-" if c < 0 else "") + term
    return text
