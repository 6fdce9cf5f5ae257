"""Singular values and norms of A_{N-1} … A_0, however large or small they are.

    forward      P_k = A_{k-1} … A_0          δx_k = P_k δx_0       growth of perturbations
    backward     M_k = A_{N-1} … A_k          λ_k  = M_kᵀ λ_N       growth of costates;  P_N = M_0

    P_N = W Σ Vᵀ                              the directions V grow into the directions W, by the factors Σ

Perturbations run forward and costates backward through the same matrix, so they share Σ: V is where the QR method ends
that goes backward with the A_kᵀ, and W is where it ends when it goes forward from there. What is left between the two
is a triangle T, nearly diagonal, which is kept as D U with the logarithm of D (`kernels.growth`). It is made diagonal
by QR factorisations of T, Tᵀ, … (the logarithms of D never meet a sum), and within groups of singular values too close
to each other for that by LAPACK's Jacobi method (gejsv), which is accurate for graded matrices. So every singular
value has a small relative error, be it 1e300 times smaller than the first.

References: Stewart, SIAM J. Matrix Anal. Appl. 18 (1997) 849 (QR iterations on products); Dieci, Van Vleck, SIAM Rev.
50 (2008); Drmač, Veselić, SIAM J. Matrix Anal. Appl. 29 (2008) 1322 (gejsv).
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adjoint.kernels.blas import gemm_address
from adjoint.kernels.growth import products, qr_growth

__all__ = ["ProductSVD", "log_norms", "log_norms_backward", "orthogonal_growth", "product_svd"]

Array = NDArray[np.float64]
LN2 = math.log(2.0)
NEGLIGIBLE = 1e-17
NONE3, NONE2, NONE1 = np.empty((0, 0, 0)), np.empty((0, 0)), np.empty(0)


class ProductSVD(NamedTuple):
    """P = W exp(logs) Vᵀ: log σ_i (n,) in decreasing order, -inf for zero; W and V (n, n), a direction a column."""

    logs: Array
    W: Array
    V: Array


class Growth(NamedTuple):
    """What `orthogonal_growth` leaves: log|R_ii| (M, k), the last Q (n, k); if wanted all Q (M, n, k) and R, or D U."""

    logs: Array
    Q: Array
    Qs: Array
    Rs: Array
    U: Array
    d: Array


def orthogonal_growth(A: Array, Q: Array, every: int = 1, keep: bool = False, triangle: bool = False) -> Growth:
    """The QR method: carry the orthonormal columns Q (n, k) through A (N, n, n).

    Parameters
    ----------
    A : array (N, n, n)
    Q : array (n, k)
    every : int
        Steps between two orthonormalisations.
    keep : bool
        Whether all Q and R are kept.
    triangle : bool
        Whether the product of all R is formed.

    Returns
    -------
    Growth
    """
    A = np.ascontiguousarray(A)
    (N, n, _), k = A.shape, Q.shape[1]
    V, M = np.array(Q.T, order="C"), -(-N // every)
    logs = np.empty((M, k))
    Qs, Rs = (np.empty((M, k, n)), np.empty((M, k, k))) if keep else (NONE3, NONE3)
    U, d = (np.eye(k), np.zeros(k)) if triangle else (NONE2, NONE1)
    scratch = (np.empty((k, k)), np.empty((k, k)), np.empty(k))
    qr_growth(gemm_address(np.float64), A, every, V, np.empty_like(V), logs, Qs, Rs, U, d, *scratch)
    return Growth(logs, V.T, Qs.transpose(0, 2, 1), Rs, U, d)


def log_norms(A: Array, chunk: int = 256) -> Array:
    """log ‖A_{k-1} … A_0‖₂ for k = 0 … N; -inf where the product is zero.

    Parameters
    ----------
    A : array (N, n, n)
    chunk : int
        How many products are in memory at once.

    Returns
    -------
    array (N+1,)
    """
    N, n = A.shape[:2]
    logs = np.zeros(N + 1)
    P, exponents = np.empty((min(chunk, N) + 1, n, n)), np.zeros(min(chunk, N) + 1)
    P[0] = np.eye(n)
    for first in range(0, N, chunk):
        last = min(first + chunk, N)
        size = last - first
        products(gemm_address(np.float64), np.ascontiguousarray(A[first:last]), P[: size + 1], exponents[: size + 1])
        # σ_1² = λ_max(P Pᵀ): the largest loses nothing by the square, and comes cheaper than all of them.
        norms = np.sqrt(np.linalg.eigvalsh(P[1 : size + 1] @ P[1 : size + 1].mT)[:, -1].clip(0))
        with np.errstate(divide="ignore"):
            logs[first + 1 : last + 1] = np.log(norms) + LN2 * exponents[1 : size + 1]
        P[0], exponents[0] = P[size].copy(), exponents[size]
    return logs


def log_norms_backward(A: Array) -> Array:
    """log ‖A_{N-1} … A_k‖₂ for k = 0 … N: that of the transposed product, which the costate goes through.

    Parameters
    ----------
    A : array (N, n, n)

    Returns
    -------
    array (N+1,)
    """
    return log_norms(transposed(A))[::-1].copy()


def transposed(A: Array) -> Array:
    """A_{N-1}ᵀ, …, A_0ᵀ: what the costate goes through, in its order."""
    return np.ascontiguousarray(A[::-1].transpose(0, 2, 1))


def product_svd(A: Array) -> ProductSVD:
    """The singular value decomposition of A_{N-1} … A_0.

    Parameters
    ----------
    A : array (N, n, n)

    Returns
    -------
    ProductSVD
    """
    n = A.shape[1]
    start = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    V = orthogonal_growth(transposed(A), start).Q
    growth = orthogonal_growth(A, V, triangle=True)
    return _graded_svd(growth.d, growth.U, growth.Q, V)


def _graded_svd(d: Array, U: Array, W: Array, V: Array) -> ProductSVD:
    """The decomposition of W (exp(d) U) Vᵀ, U (n, n) with rows of size one."""
    n = d.size
    for _ in range(6):
        if _coupling(U).max(initial=0.0) <= NEGLIGIBLE:
            break
        for _ in range(2):
            # Uᵀ = Q R, so Tᵀ = Q (R D): P = W T Vᵀ becomes Pᵀ = (V Q) (R D) Wᵀ, and the second time it is P again.
            Q, R = np.linalg.qr(U.T)
            W, V = V @ Q, W
            d, U = _rows_scaled(R, d)
    logs, left, right = np.full(n, -np.inf), np.zeros((n, n)), np.zeros((n, n))
    ends = [0, *(np.flatnonzero(_coupling(U) <= NEGLIGIBLE) + 1), n]
    for first, last in itertools.pairwise(ends):
        block = slice(first, last)
        logs[block], left[block, block], right[block, block] = _jacobi(d[block], U[block, block])
    order = np.argsort(-logs, kind="stable")
    return ProductSVD(logs[order], (W @ left)[:, order], (V @ right)[:, order])


def _coupling(U: Array) -> Array:
    """For each cut i | i+1: the largest entry of the triangle that joins the two sides."""
    n = len(U)
    return np.array([np.abs(U[: i + 1, i + 1 :]).max() for i in range(n - 1)])


def _rows_scaled(R: Array, d: Array) -> tuple[Array, Array]:
    """exp(d') and U' with exp(d') U' = R exp(d), the rows of U' of size one; a zero row has d' = -inf."""
    size, place = np.full(len(d), -np.inf), np.zeros_like(R)
    for i, row in enumerate(R):
        known = (row != 0.0) & np.isfinite(d)
        if known.any():
            logs = np.log(np.abs(row[known])) + d[known]
            size[i] = logs.max()
            place[i, known] = np.sign(row[known]) * np.exp(logs - size[i])
    return size, place


def _jacobi(d: Array, U: Array) -> tuple[Array, Array, Array]:
    """log σ, left and right vectors of exp(d) U for a group of rows of comparable size."""
    # Only here: SciPy's linear algebra would be a good part of the library's start-up time.
    from scipy.linalg import lapack

    n = d.size
    top = d.max()
    if n == 1 or not np.isfinite(top):
        sign = np.where(np.diag(U) < 0, -1.0, 1.0)
        return np.where(np.isfinite(d), d, -np.inf), np.diag(sign), np.eye(n)
    # joba = 2 ("F"): rows scaled as they like, no singular value is taken for noise; jobr = 0: to the end of the range.
    s, left, right, _, _, info = lapack.dgejsv(np.exp(d - top)[:, None] * U, joba=2, jobr=0)
    if info != 0:
        raise np.linalg.LinAlgError(f"the Jacobi method did not converge (gejsv says {info})")
    with np.errstate(divide="ignore"):
        return np.log(s) + top, left[:, :n], right[:, :n]
