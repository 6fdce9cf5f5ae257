"""The three matrix products of a recurrent cell, for a batch of rows and one weight matrix W (q, a).

    times_transpose    Z = X Wᵀ + β Z     what goes into the cell, for many rows at once
    times              X = D W  + β X     its transpose: what comes back
    add_outer          G = G + Dᵀ X       the gradient of W, summed over all rows

Many rows go to BLAS in one call. The small products inside of the loop over time are all of the second kind, since with
AVX-512 OpenBLAS has a fast path for them (untransposed, q · a · rows <= 10⁶; measured: 2.0 against 3.5 µs for 32 rows
and a 64 × 64 matrix of float32, and 38 against 48 µs for 256 × 256 when cut into pieces): a cell packs Wᵀ once for
many steps (`pack_transpose`). Without AVX-512 there is no such path, and a cut costs (236 against 95 µs). One or two
rows are not worth a call: W is walked through once, 8 rows of it in a pass. `blas` is the address of the routine
(`kernels.blas`).
"""

from __future__ import annotations

from llvmlite.binding import get_host_cpu_features

from adjoint.kernels.blas import gemm
from adjoint.kernels.jit import jit_piece

__all__ = ["add_outer", "pack_transpose", "times", "times_transpose"]

_FEW = 2  # rows for which a call of BLAS costs more than it saves
_SMALL = 1_000_000  # multiplications up to which OpenBLAS takes its path for small matrices,
_HAS_PATH = bool(get_host_cpu_features().get("avx512f"))  # if it has one; kernels are kept on disk by the processor


@jit_piece
def _few_rows_times(D, W, X):
    """X = D W + X for a few rows, W being walked through once for each."""
    rows, whole = W.shape[0], W.shape[0] - W.shape[0] % 8
    for b in range(D.shape[0]):
        for i in range(0, whole, 8):
            d0, d1, d2, d3 = D[b, i], D[b, i + 1], D[b, i + 2], D[b, i + 3]
            d4, d5, d6, d7 = D[b, i + 4], D[b, i + 5], D[b, i + 6], D[b, i + 7]
            for j in range(W.shape[1]):
                X[b, j] += (
                    (d0 * W[i, j] + d1 * W[i + 1, j]) + (d2 * W[i + 2, j] + d3 * W[i + 3, j])
                ) + ((d4 * W[i + 4, j] + d5 * W[i + 5, j]) + (d6 * W[i + 6, j] + d7 * W[i + 7, j]))
        for i in range(whole, rows):
            for j in range(W.shape[1]):
                X[b, j] += D[b, i] * W[i, j]


@jit_piece
def times_transpose(blas, X, W, beta, Z):
    """Z = X Wᵀ + beta Z, by BLAS."""
    gemm(blas, False, True, X, W, Z.dtype.type(beta), Z)


@jit_piece
def times(blas, D, W, beta, X):
    """X = D W + beta X; beta is 0 or 1."""
    rows = D.shape[0]
    if rows <= _FEW:
        if beta == 0:
            X[:] = 0
        _few_rows_times(D, W, X)
        return
    piece = _SMALL // max(1, W.size) // 8 * 8
    if piece == 0 or not _HAS_PATH:  # too large a matrix for that path in any case
        piece = rows
    for first in range(0, rows, piece):
        last = min(rows, first + piece)
        gemm(blas, False, False, D[first:last], W, X.dtype.type(beta), X[first:last])


@jit_piece
def add_outer(blas, D, X, G):
    """G = G + Dᵀ X, by BLAS."""
    gemm(blas, True, False, D, X, G.dtype.type(1), G)


@jit_piece
def pack_transpose(W, packed):
    """Fill the (a, q) matrix `packed` with Wᵀ."""
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            packed[j, i] = W[i, j]
