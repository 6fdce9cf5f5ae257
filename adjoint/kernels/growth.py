"""Products of Jacobians without overflow: by powers of two for their norms, by QR for all of their directions.

    products    P_0 given,  P_{k+1} = A_k P_k                   kept as P_k · 2^{e_k}

    qr          A_k V = Q R, V <- Q, log|R_ii| summed up        (Benettin et al. 1980: the QR method)

    triangle    T <- R T, so that A_{N-1} … A_0 V_0 = V_N T     kept as T = D U, log D and rows of U of size one

The directions V lie as the rows of a (k, n) matrix, so that Gram and Schmidt work on contiguous vectors (the modified,
right-looking form). This is repeated where a direction loses nine tenths of its length, since the error of
orthogonality is the round-off divided by what is left ("twice is enough", Parlett). A direction of which nothing but
round-off is left has log R_ii = -inf: the map is singular there, and the direction is drawn anew.

Nothing is allocated; `blas` is the address of the matrix product (`kernels.blas`).
"""

from __future__ import annotations

import math

from numba import float64, int64, types, void

from adjoint.kernels.announce import kernel
from adjoint.kernels.blas import gemm
from adjoint.kernels.jit import jit, jit_reassociating

__all__ = ["backward_vectors", "products", "qr_growth"]

_CONTIGUOUS = "C"
_SENTENCE = "compiling the kernels of the tangent flow (once; kept on disk)"
_SMALL = 10  # below this size a call of BLAS costs more than it saves
_EPS = 2.0**-52


def _array(dimensions, readonly=False):
    return types.Array(float64, dimensions, _CONTIGUOUS, readonly=readonly)


@jit_reassociating
def _through(blas, A, V, Z):
    """z_i = A v_i for all rows: Z = V Aᵀ."""
    k, n = V.shape
    if n >= _SMALL:
        gemm(blas, False, True, V, A, 0.0, Z)
        return
    for i in range(k):
        for j in range(n):
            s = 0.0
            for l in range(n):
                s += A[j, l] * V[i, l]
            Z[i, j] = s


@kernel(void(int64, _array(3, True), _array(3), _array(1)), _SENTENCE)
def products(blas, A, P, exponents):
    """Fill P[1:] and exponents[1:] from the first; the value of P_kᵀ is P[k] · 2**exponents[k]."""
    N, rows, n = A.shape[0], P.shape[1], P.shape[2]
    for k in range(N):
        _through(blas, A[k], P[k], P[k + 1])  # P_{k+1}ᵀ = P_kᵀ A_kᵀ
        largest = 0.0
        for i in range(rows):
            for j in range(n):
                largest = max(largest, abs(P[k + 1, i, j]))
        exponents[k + 1] = exponents[k]
        if largest > 0.0 and not 1e-60 < largest < 1e60:
            _, e = math.frexp(largest)
            exponents[k + 1] += e
            # In two halves: 2**-e itself can be out of range where the product was nearly so.
            half, rest = math.ldexp(1.0, -(e // 2)), math.ldexp(1.0, -(e - e // 2))
            for i in range(rows):
                for j in range(n):
                    P[k + 1, i, j] = P[k + 1, i, j] * half * rest


@jit_reassociating
def _gram_schmidt(V, R, lengths):
    """Vᵀ = Qᵀ R with Q in the place of V; whether a direction lost nine tenths of its length or more."""
    k, n = V.shape
    cancelled = False
    for j in range(k):  # before anything is taken off
        s = 0.0
        for i in range(n):
            s += V[j, i] * V[j, i]
        lengths[j] = math.sqrt(s)
    for j in range(k):
        s = 0.0
        for i in range(n):
            s += V[j, i] * V[j, i]
        r = math.sqrt(s)
        cancelled |= r < 0.1 * lengths[j]
        if r <= 16.0 * _EPS * lengths[j]:  # nothing but round-off, or nothing
            _draw(V, j)
            r = 0.0
        else:
            scale = 1.0 / r
            for i in range(n):
                V[j, i] *= scale
        R[j, j] = r
        for l in range(j + 1, k):
            s = 0.0
            for i in range(n):
                s += V[j, i] * V[l, i]
            R[j, l], R[l, j] = s, 0.0
            for i in range(n):
                V[l, i] -= s * V[j, i]
    return cancelled


@jit
def _draw(V, j):
    """A unit vector orthogonal to the first j rows in row j: the part of a unit vector e_i that they lack."""
    n = V.shape[1]
    best, lack = 0, -1.0
    for i in range(n):  # |e_i - Qᵀ Q e_i|² = 1 - |column i of Q|²
        s = 1.0
        for l in range(j):
            s -= V[l, i] * V[l, i]
        if s > lack:
            best, lack = i, s
    for i in range(n):
        V[j, i] = 1.0 if i == best else 0.0
    for _ in range(2):
        for l in range(j):
            s = 0.0
            for i in range(n):
                s += V[l, i] * V[j, i]
            for i in range(n):
                V[j, i] -= s * V[l, i]
    s = 0.0
    for i in range(n):
        s += V[j, i] * V[j, i]
    s = 1.0 / math.sqrt(s)
    for i in range(n):
        V[j, i] *= s


@jit_reassociating
def _orthonormalise(V, R, S, lengths):
    """Vᵀ = Qᵀ R to round-off, Q in the place of V."""
    k = V.shape[0]
    if not _gram_schmidt(V, R, lengths):
        return
    _gram_schmidt(V, S, lengths)  # R <- S R. Where a direction was drawn anew, R keeps its zero
    for i in range(k):
        for j in range(i, k):
            s = 0.0
            for l in range(i, j + 1):
                s += S[i, l] * R[l, j]
            R[i, j] = s  # row i of S R needs rows i and below of R only


@jit
def _triangle(R, U, d):
    """T <- R T for T = D U with D = exp(d): row by row, each scaled to largest entry 1."""
    n = U.shape[0]
    for i in range(n):
        top = -math.inf
        for j in range(i, n):
            if R[i, j] != 0.0:
                top = max(top, d[j])
        if top == -math.inf:
            d[i] = -math.inf
            U[i, :] = 0.0
            continue
        own = R[i, i] * math.exp(d[i] - top)
        for l in range(n):
            U[i, l] *= own
        for j in range(i + 1, n):
            factor = R[i, j] * math.exp(d[j] - top)
            if factor != 0.0:
                for l in range(n):
                    U[i, l] += factor * U[j, l]
        largest = 0.0
        for l in range(n):
            largest = max(largest, abs(U[i, l]))
        if largest == 0.0:
            d[i] = -math.inf
            continue
        for l in range(n):
            U[i, l] /= largest
        d[i] = top + math.log(largest)


@kernel(
    void(int64, _array(3, True), int64, _array(2), _array(2), _array(2), _array(3), _array(3), _array(2), _array(1),
         _array(2), _array(2), _array(1)),
    _SENTENCE,
)  # fmt: skip
def qr_growth(blas, A, every, V, Z, logs, Qs, Rs, U, d, R, S, lengths):
    """Carry V (k, n) through all A_k, with an orthonormalisation after each `every` steps and after the last.

    logs (M, k) gets log|R_ii| of each of the M = ceil(N / every) of them. Qs (M, k, n), Rs (M, k, k) and the triangle U
    (k, k), d (k,) are filled if they are not of length 0. Scratch: Z like V; R, S (k, k); lengths (k,).
    """
    N, k, n = A.shape[0], V.shape[0], V.shape[1]
    place, since = 0, 0
    for step in range(N):
        _through(blas, A[step], V, Z)
        for i in range(k):
            for j in range(n):
                V[i, j] = Z[i, j]
        since += 1
        if since < every and step + 1 < N:
            continue
        since = 0
        _orthonormalise(V, R, S, lengths)
        for j in range(k):
            logs[place, j] = math.log(R[j, j]) if R[j, j] > 0.0 else -math.inf
        if Qs.shape[0] > 0:
            for i in range(k):
                for j in range(n):
                    Qs[place, i, j] = V[i, j]
            for i in range(k):
                for j in range(k):
                    Rs[place, i, j] = R[i, j]
        if d.size > 0:
            _triangle(R, U, d)
        place += 1


@kernel(void(_array(3, True), _array(3), _array(2), _array(1)), _SENTENCE)
def backward_vectors(Rs, C, logs, row):
    """Ginelli's backward step: R_m C_m = C_{m+1} D for upper triangular C with unit columns; logs[m] = -log D.

    C (M+1, k, k) comes with its last matrix, Rs (M, k, k); logs (M, k) are the growths of the covariant vectors.
    """
    M, k = Rs.shape[0], Rs.shape[1]
    for m in range(M - 1, -1, -1):
        for j in range(k):
            for i in range(k):
                C[m, i, j] = C[m + 1, i, j] if i <= j else 0.0
        for i in range(k - 1, -1, -1):  # row by row, for all columns j >= i
            for j in range(i, k):
                s = C[m, i, j]
                for l in range(i + 1, j + 1):
                    s -= Rs[m, i, l] * C[m, l, j]
                C[m, i, j] = s / Rs[m, i, i]
        for j in range(k):
            row[j] = 0.0
            for i in range(j + 1):
                row[j] += C[m, i, j] * C[m, i, j]
            row[j] = math.sqrt(row[j])
            logs[m, j] = -math.log(row[j])
            for i in range(j + 1):
                C[m, i, j] /= row[j]
