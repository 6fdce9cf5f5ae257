"""Transient growth of a non-normal matrix: what its eigenvalues do not say.

    powers, exponential     ‖Aᵏ‖,  ‖exp(tA)‖                             `transient_growth`

    numerical range         W(A) = { x*Ax : ‖x‖ = 1 }                    `numerical_range`
    its abscissa            ω(A) = max Re W = d/dt ‖exp(tA)‖ at t = 0+   `numerical_abscissa`
    its radius              r(A) = max |W|,     ‖Aᵏ‖ <= 2 r(A)ᵏ          `numerical_radius`

    pseudospectrum          σ_ε(A) = { z : σ_min(zI - A) <= ε }          `pseudospectrum`
    its abscissa, radius    α_ε = max Re σ_ε,    ρ_ε = max |σ_ε|         `pseudospectral_abscissa`, `…_radius`

    Kreiss constant         K = sup_ε (ρ_ε - 1) / ε,     K <= sup_k ‖Aᵏ‖ <= e n K        of powers
                            K = sup_ε  α_ε / ε,          K <= sup_t ‖exp(tA)‖ <= e n K   of the exponential

The abscissa α_ε is found by the criss-cross method: along a vertical line the boundary of σ_ε is crossed where a
Hamiltonian matrix of order 2n has imaginary eigenvalues, so the arcs inside are known all at once; from their midpoints
one goes to the right as far as σ_ε reaches; and so on, with quadratic convergence to the global maximum. The radius
likewise on circles and rays.

For the Kreiss constant: α_ε increases with ε, so on an interval [a, b] of ε the ratio α_ε / ε is at most α_b / a.
Intervals are cut until the largest of these bounds is within the tolerance of the largest value. That value is a
certified lower bound (it is attained at a point z), and the largest bound is an upper one, up to the round-off of the
eigenvalue problems.

References: Trefethen, Embree, *Spectra and Pseudospectra*, chapters 14, 17, 18; Burke, Lewis, Overton, IMA J. Numer.
Anal. 23 (2003) 359 (criss-cross); Mengi, Overton, IMA J. Numer. Anal. 25 (2005) 648 (radius); Spijker, BIT 31 (1991)
551 (the Kreiss matrix theorem with e n); Mitchell, SIAM J. Matrix Anal. Appl. 41 (2020) 1944 (computing the constant).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.analysis.products import log_norms
from adjoint.errors import InputError
from adjoint.kernels.resolvent import LANES, STEPS, smallest_singular

__all__ = [
    "Kreiss", "kreiss_constant", "numerical_abscissa", "numerical_radius", "numerical_range", "pseudospectral_abscissa",
    "pseudospectral_radius", "pseudospectrum", "transient_growth",
]  # fmt: skip

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]


def square_matrix(verb: str, A: ArrayLike) -> NDArray[np.inexact]:
    """A as a finite square array, real or complex."""
    try:
        matrix = np.array(A, dtype=np.complex128 if np.iscomplexobj(A) else np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{verb}: A is {A!r}, which is no array of numbers ({error}).") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise InputError(f"{verb}: A has shape {matrix.shape}; expected a square matrix (n, n).")
    if not np.isfinite(matrix).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(matrix))[0])
        raise InputError(f"{verb}: A has {matrix[where]} at {where}; expected finite numbers.")
    return matrix


def transient_growth(A: ArrayLike, steps: int | None = None, times: ArrayLike | None = None) -> Array:
    """log ‖Aᵏ‖ for k = 0 … steps, or log ‖exp(tA)‖ at times t (natural logarithms: norms overflow).

    Parameters
    ----------
    A : array_like (n, n)
        The Jacobian of a step; or, with `times`, the matrix of x' = A x.
    steps : int, optional
    times : array_like (T,), optional

    Returns
    -------
    array (steps + 1,) or (T,)

    Raises
    ------
    InputError
        Unless exactly one of `steps` and `times` is given.
    """
    matrix = square_matrix("transient_growth", A)
    if (steps is None) == (times is None):
        raise InputError("transient_growth: pass steps for powers of A, or times for exp(tA); one of the two.")
    if steps is not None:
        if not isinstance(steps, int | np.integer) or steps < 1:
            raise InputError(f"transient_growth: steps is {steps!r}; expected a positive integer.")
        real = matrix.real
        if np.iscomplexobj(matrix):  # the same norms
            real = np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])
        return log_norms(np.tile(real, (int(steps), 1, 1)))
    from scipy.linalg import expm  # only here, and likewise below: slow to import

    t = np.array(times, dtype=np.float64)
    if t.ndim != 1 or not np.isfinite(t).all():
        raise InputError(f"transient_growth: times has shape {t.shape}; expected finite numbers (T,).")
    # A shift takes the exponential growth out, so that it cannot overflow: exp(tA) = e^{ts} exp(t(A - s)).
    shift = float(np.linalg.eigvals(matrix).real.max())
    with np.errstate(divide="ignore"):
        return np.array([math.log(np.linalg.norm(expm(s * (matrix - shift * np.eye(len(matrix)))), 2)) + s * shift
                         for s in t])


def numerical_range(A: ArrayLike, points: int = 180) -> Complex:
    """Points on the boundary of W(A), counter-clockwise; their polygon lies inside of it.

    Parameters
    ----------
    A : array_like (n, n)
    points : int
        Directions, equally spaced.

    Returns
    -------
    complex array (points,)
    """
    matrix = square_matrix("numerical_range", A)
    boundary = np.empty(points, dtype=np.complex128)
    for i, angle in enumerate(np.linspace(0, 2 * math.pi, points, endpoint=False)):
        turned = np.exp(-1j * angle) * matrix
        x = np.linalg.eigh((turned + turned.conj().T) / 2)[1][:, -1]  # the point of W farthest in this direction
        boundary[i] = x.conj() @ matrix @ x
    return boundary


def numerical_abscissa(A: ArrayLike) -> float:
    """ω(A) = λ_max((A + Aᵀ)/2): the slope of ‖exp(tA)‖ at t = 0, also the logarithmic norm μ₂(A).

    Parameters
    ----------
    A : array_like (n, n)
    """
    matrix = square_matrix("numerical_abscissa", A)
    return float(np.linalg.eigvalsh((matrix + matrix.conj().T) / 2)[-1])


def numerical_radius(A: ArrayLike, tolerance: float = 1e-10) -> float:
    """r(A) = max |W(A)| = max over angles of λ_max of the Hermitian part of e^{iθ} A.

    Parameters
    ----------
    A : array_like (n, n)
    tolerance : float
        Relative.

    Notes
    -----
    On a grid first, then by level sets: λ_max(H(θ)) = r at the angles where the pencil
    (2 r I e^{iθ} - A e^{2iθ} - A*) is singular, from whose midpoints the search goes on (Mengi and Overton 2005).
    """
    matrix = square_matrix("numerical_radius", A).astype(np.complex128)
    n = len(matrix)

    def height(angle: float) -> float:
        turned = np.exp(1j * angle) * matrix
        return float(np.linalg.eigvalsh((turned + turned.conj().T) / 2)[-1])

    best = max(height(angle) for angle in np.linspace(0, 2 * math.pi, 16, endpoint=False))
    if not matrix.any():
        return 0.0
    for _ in range(50):
        level = best * (1 + tolerance)
        zero, eye = np.zeros((n, n)), np.eye(n)
        values = _pencil(np.block([[2 * level * eye, -matrix.conj().T], [eye, zero]]),
                         np.block([[matrix, zero], [zero, eye]]))  # fmt: skip
        with np.errstate(invalid="ignore"):
            on_circle = np.isfinite(values) & (np.abs(np.abs(values) - 1) < 1e-6)
        angles = np.sort(np.angle(values[on_circle]))
        if angles.size < 2:
            return best
        middles = (angles + np.diff(angles, append=angles[0] + 2 * math.pi) / 2) if angles.size else angles
        new = max(height(angle) for angle in middles)
        if new <= level:
            return max(best, new)
        best = new
    return best


def pseudospectrum(A: ArrayLike, re: ArrayLike, im: ArrayLike, tolerance: float = 1e-8) -> Array:
    """σ_min(zI - A) on a grid of points z = re + i im: contours of it bound the ε-pseudospectra.

    Parameters
    ----------
    A : array_like (n, n)
    re, im : array_like (R,), (I,)
    tolerance : float
        Relative; the values are approached from above. (Values below 1e-14 ‖A‖ are round-off in any case.)

    Returns
    -------
    array (I, R)
        As `matplotlib.pyplot.contour(re, im, ·)` takes it.
    """
    matrix = square_matrix("pseudospectrum", A)
    x, y = (np.atleast_1d(np.array(a, dtype=np.float64)) for a in (re, im))
    if x.ndim != 1 or y.ndim != 1 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("pseudospectrum: re and im are the finite coordinates of the grid, one-dimensional each.")
    if not 0 < tolerance < 1:
        raise InputError(f"pseudospectrum: tolerance is {tolerance}; expected a number between 0 and 1.")
    return _smallest_singular(_triangle(matrix), (x + 1j * y[:, None]).ravel(), tolerance).reshape(y.size, x.size)


def _triangle(matrix: NDArray[np.inexact]) -> Complex:
    """The complex Schur form."""
    from scipy.linalg import schur

    return np.asarray(schur(matrix, output="complex")[0])


def _smallest_singular(T: Complex, z: Complex, tolerance: float) -> Array:
    n, out = len(T), np.empty(z.size)
    start = np.random.default_rng(0).standard_normal((n, 2)) @ np.array([1, 1j])
    start = np.tile((start / np.linalg.norm(start))[:, None], (1, LANES))
    smallest_singular(
        *_parts(T), *_parts(T.T), *_parts(z), tolerance, *_parts(start), out,
        *np.empty((8, n, LANES)), *np.empty((2, STEPS, LANES)),
    )  # fmt: skip
    return out


def _parts(a: Complex) -> tuple[Array, Array]:
    return np.ascontiguousarray(a.real), np.ascontiguousarray(a.imag)


def pseudospectral_abscissa(A: ArrayLike, eps: float) -> float:
    """α_ε(A): how far to the right an eigenvalue of A + E can lie with ‖E‖ <= ε.

    Parameters
    ----------
    A : array_like (n, n)
    eps : float
        ε, positive.
    """
    matrix = square_matrix("pseudospectral_abscissa", A).astype(np.complex128)
    return _criss_cross(_Lines(matrix), _checked_eps("pseudospectral_abscissa", eps))[0]


def pseudospectral_radius(A: ArrayLike, eps: float) -> float:
    """ρ_ε(A): how far from 0 an eigenvalue of A + E can lie with ‖E‖ <= ε.

    Parameters
    ----------
    A : array_like (n, n)
    eps : float
        ε, positive.
    """
    matrix = square_matrix("pseudospectral_radius", A).astype(np.complex128)
    return _criss_cross(_Circles(matrix), _checked_eps("pseudospectral_radius", eps))[0]


def _checked_eps(verb: str, eps: float) -> float:
    if not (math.isfinite(eps) and eps > 0):
        raise InputError(f"{verb}: eps is {eps}; expected a positive number, the size of the perturbations.")
    return float(eps)


class _Lines:
    """The half-plane: how far a point reaches is its real part, across is its imaginary part."""

    def __init__(self, A: Complex) -> None:
        self.A, self.eye = A, np.eye(len(A))
        self.period = math.inf

    def far(self, eigenvalues: NDArray[np.complexfloating]) -> tuple[float, float]:
        """(reach, place) of the eigenvalue that reaches farthest."""
        z = eigenvalues[np.argmax(eigenvalues.real)]
        return float(z.real), float(z.imag)

    def crossings(self, reach: float, eps: float) -> Array:
        """The y where σ_min(x + iy - A) may equal ε: imaginary eigenvalues of a Hamiltonian matrix."""
        D, E = reach * self.eye - self.A, eps * self.eye
        # (x + iy - A) v = ε u and its adjoint: iy [v; u] = [-(xI - A), εI; -εI, xI - A*] [v; u].
        values = np.linalg.eigvals(np.block([[-D, E], [-E, D.conj().T]]))
        return _near_axis(values, np.abs(self.A).max() + abs(reach) + eps)

    def farthest(self, place: float, eps: float) -> float:
        """The largest x where σ_min(x + iy - A) = ε."""
        D, E = self.A - 1j * place * self.eye, eps * self.eye
        # The same with the roles of x and iy exchanged: x is real where i x is an eigenvalue of i [D, E; E, D*].
        values = np.linalg.eigvals(1j * np.block([[D, E], [E, D.conj().T]]))
        found = _near_axis(values, np.abs(self.A).max() + abs(place) + eps)
        return float(found[-1]) if found.size else -math.inf

    def point(self, reach: float, place: float) -> complex:
        return complex(reach, place)


class _Circles:
    """The disc: how far a point reaches is its modulus, across is its angle."""

    def __init__(self, A: Complex) -> None:
        self.A, self.eye = A, np.eye(len(A))
        self.period = 2 * math.pi

    def far(self, eigenvalues: NDArray[np.complexfloating]) -> tuple[float, float]:
        z = eigenvalues[np.argmax(np.abs(eigenvalues))]
        return float(abs(z)), float(np.angle(z))

    def crossings(self, reach: float, eps: float) -> Array:
        """The angles where σ_min(r e^{iθ} - A) may equal ε: eigenvalues of modulus 1 of a pencil."""
        R, E, zero = reach * self.eye, eps * self.eye, np.zeros_like(self.A)
        # (r e^{iθ} - A) v = ε u and its adjoint: [A, εI; 0, rI] [v; u] = e^{iθ} [rI, 0; εI, A*] [v; u].
        values = _pencil(np.block([[self.A, E], [zero, R]]), np.block([[R, zero], [E, self.A.conj().T]]))
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.log(np.where(np.isfinite(values) & (values != 0), values, 1e300))
        return _near_axis(logs, 1.0)

    def farthest(self, place: float, eps: float) -> float:
        """The largest r where σ_min(r e^{iθ} - A) = ε."""
        turned, E = np.exp(-1j * place) * self.A, eps * self.eye
        values = np.linalg.eigvals(1j * np.block([[turned, E], [E, turned.conj().T]]))
        found = _near_axis(values, np.abs(self.A).max() + eps)
        return float(found[-1]) if found.size else -math.inf

    def point(self, reach: float, place: float) -> complex:
        return complex(reach * math.cos(place), reach * math.sin(place))


def _pencil(M: Complex, N: Complex) -> Complex:
    """The eigenvalues μ of M v = μ N v; inf or nan where there are none."""
    from scipy.linalg import eigvals

    return np.asarray(eigvals(M, N), dtype=np.complex128)


def _near_axis(values: NDArray[np.complexfloating], size: float) -> Array:
    """Imaginary parts of the eigenvalues that are imaginary up to the round-off of a double one."""
    return np.sort(values.imag[np.abs(values.real) <= 1e-7 * size])


def _criss_cross(geometry: _Lines | _Circles, eps: float) -> tuple[float, complex]:
    """How far the ε-pseudospectrum reaches, and a point where it does."""
    A = geometry.A
    reach, place = geometry.far(np.linalg.eigvals(A))
    found = geometry.farthest(place, eps)
    reach = max(reach, found)

    def inside(place: float) -> bool:
        z = geometry.point(reach, place)
        return bool(np.linalg.svd(z * geometry.eye - A, compute_uv=False)[-1] <= eps)

    for _ in range(60):
        # The point itself is a crossing too: a double one, which round-off may have moved off the axis.
        across = np.sort(np.append(geometry.crossings(reach, eps), place))
        ends = np.append(across, across[0] + geometry.period) if math.isfinite(geometry.period) else across
        middles = [m for m in (ends[:-1] + ends[1:]) / 2 if inside(m)] + [place]
        reaches = [geometry.farthest(middle, eps) for middle in middles]
        best = int(np.argmax(reaches))
        if not reaches[best] > reach + 1e-14 * max(abs(reach), eps):
            break
        reach, place = reaches[best], float(middles[best])
    return reach, geometry.point(reach, place)


@dataclass(frozen=True)
class Kreiss:
    """The Kreiss constant between two bounds.

    Attributes
    ----------
    lower : float
        Attained: (|z| - 1) / σ_min(zI - A) or Re z / σ_min(zI - A) at `z`.
    upper : float
    z : complex
    growth_bound : float
        e n · upper, which no power (or exponential) of A exceeds in norm; some come as near to `lower` as one likes, or
        exceed it.
    """

    lower: float
    upper: float
    z: complex
    growth_bound: float


def kreiss_constant(A: ArrayLike, continuous: bool = False, tolerance: float = 1e-2) -> Kreiss:
    """The Kreiss constant of the powers of A, or of exp(tA): transient growth up to a factor e n.

    Parameters
    ----------
    A : array_like (n, n)
    continuous : bool
        Whether exp(tA) is meant, and not Aᵏ.
    tolerance : float
        The relative distance of the two bounds.

    Returns
    -------
    Kreiss
        inf where an eigenvalue lies outside of the unit disc (in the right half-plane).

    Notes
    -----
    An eigenvalue *on* the boundary makes the supremum one over ε → 0; it is taken over ε >= 1e-9 ‖A‖, which a defective
    one shows as a very large number.
    """
    matrix = square_matrix("kreiss_constant", A).astype(np.complex128)
    if not 0 < tolerance < 1:
        raise InputError(f"kreiss_constant: tolerance is {tolerance}; expected a number between 0 and 1.")
    n, size = len(matrix), float(np.linalg.norm(matrix, 2))
    if size == 0:
        return Kreiss(1.0, 1.0, complex(math.inf), math.e * n)
    geometry: _Lines | _Circles = _Lines(matrix) if continuous else _Circles(matrix)
    edge = 0.0 if continuous else 1.0
    far = geometry.far(np.linalg.eigvals(matrix))
    if far[0] > edge + 1e-12 * max(1.0, size):
        return Kreiss(math.inf, math.inf, geometry.point(*far), math.inf)

    def reach(eps: float) -> tuple[float, complex]:
        r, z = _criss_cross(geometry, eps)
        return r - edge, z

    # Beyond `most` the ratio is at most 1 + excess / ε: ρ_ε <= ‖A‖ + ε and α_ε <= ω(A) + ε.
    excess = (numerical_abscissa(matrix) if continuous else size) - edge
    most = max(excess, 0.0) / tolerance + size
    least = 1e-9 * size
    lower, best = 1.0, complex(geometry.point(far[0] + most, far[1]))

    def ratio(eps: float) -> float:
        """α_ε / ε, and a new lower bound."""
        nonlocal lower, best
        value, z = reach(eps)
        # At the point itself, so that the bound is attained whatever the criss-cross method did.
        sigma = float(np.linalg.svd(z * np.eye(n) - matrix, compute_uv=False)[-1])
        beyond = (z.real if continuous else abs(z)) - edge
        if sigma > 0 and beyond / sigma > lower:
            lower, best = beyond / sigma, z
        return max(value, 0.0) / eps

    grid = np.geomspace(least, most, 24)
    ratios = [ratio(float(eps)) for eps in grid]
    heap = [(-b_ratio * (b / a), float(a), float(b), b_ratio) for a, b, b_ratio in
            zip(grid[:-1], grid[1:], ratios[1:], strict=True)]  # fmt: skip
    heapq.heapify(heap)
    upper = 1 + max(excess, 0.0) / most
    while heap and -heap[0][0] > max(lower, upper) * (1 + tolerance) and len(heap) < 2000:
        _, a, b, b_ratio = heapq.heappop(heap)
        middle = math.sqrt(a * b)
        m_ratio = ratio(middle)
        heapq.heappush(heap, (-m_ratio * middle / a, a, middle, m_ratio))
        heapq.heappush(heap, (-b_ratio * b / middle, middle, b, b_ratio))
    upper = max(upper, lower, -heap[0][0] if heap else 0.0)
    return Kreiss(lower, upper, best, math.e * n * upper)
