"""The step of a recurrent cell: a batch of rows at once, in the four pieces of `kernels.cells`.

The pieces are compiled once for float32 and once for float64, for all sizes. What differs from cell to cell and from
batch to batch is a short array of sizes, and scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError
from adjoint.kernels import sweep as kernels
from adjoint.kernels.announce import announcing
from adjoint.kernels.blas import gemm_address
from adjoint.kernels.cells import ARG, RES, SIZES, piece
from adjoint.layout import Rows

__all__ = ["CellStep", "Pieces", "chunk"]

Array = NDArray[Any]
CHUNK_ROWS = 512  # a chunk's records stay in the second-level cache, and its matrix products are long enough

def chunk(rows: int) -> int:
    """For how many steps of a batch of so many rows `prepare` and `collect` work at once."""
    return max(1, CHUNK_ROWS // rows)


@dataclass(frozen=True)
class Pieces:
    """The compiled functions of a cell (`kernels.cells`); functions at the top of a module, so that they are cached."""

    prepare: Callable[..., None]
    step: Callable[..., None]
    transpose: Callable[..., None]
    collect: Callable[..., None]


class CellStep:
    """x_{k+1} = Φ(x_k, u_k, p) for a batch of rows that share p.

    Parameters
    ----------
    pieces : Pieces
    sizes : (n, m, n_p, n_z)
        Lengths of state, input, parameters and of the records of one step.
    own_sizes : tuple of int
        What the pieces find in s[1:].
    scratch : (fixed, per_row)
        Length of `work`: fixed + per_row · B.
    needs_records : bool
        Whether `transpose` reads the records that `step` left; otherwise it only writes them.
    label : str
    """

    def __init__(
        self,
        pieces: Pieces,
        sizes: tuple[int, int, int, int],
        own_sizes: tuple[int, ...],
        scratch: tuple[int, int],
        needs_records: bool,
        label: str,
    ) -> None:
        self.pieces, self.sizes, self.own_sizes = pieces, sizes, own_sizes
        self.scratch, self.needs_records, self.label = scratch, needs_records, label
        self._codes: dict[tuple[int, np.dtype], tuple[int, Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return CellStep, (self.pieces, self.sizes, self.own_sizes, self.scratch, self.needs_records, self.label)

    def address(self, index: int, dtype: np.dtype) -> int:
        """The machine code of piece 0 prepare, 1 step, 2 transpose, 3 collect."""
        key = (index, dtype)
        if key not in self._codes:
            function = (self.pieces.prepare, self.pieces.step, self.pieces.transpose, self.pieces.collect)[index]
            with announcing(f"compiling the cell {self.label!r} (once; kept on disk)"):
                self._codes[key] = piece(index, function, dtype)
        return self._codes[key][0]

    def header(self, rows: int, dtype: np.dtype) -> NDArray[np.int64]:
        """The array of sizes for a batch of so many rows."""
        n, m, n_p, n_z = self.sizes
        own = (gemm_address(dtype), *self.own_sizes)
        return np.array([rows, n, m, n_p, n_z, self.work_size(rows), *[0] * 7, len(own), *own], np.int64)

    def work_size(self, rows: int) -> int:
        """Numbers of scratch for so many rows."""
        return self.scratch[0] + self.scratch[1] * rows

    def scratch_arrays(self, rows: int, dtype: np.dtype) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """arg, which holds the address of nothing yet, res and work."""
        return np.zeros(ARG, np.int64), np.zeros(RES, np.int64), np.empty(max(1, self.work_size(rows)), dtype)

    def layout(self, paths: int, shared: bool) -> Rows:
        """All paths in one matrix if they share p."""
        return Rows(together=shared)

    def forward(self, t: Array, h: Array, x: Array, u: Array, p: Array, check: int) -> int:
        """See `adjoint.step.Step`."""
        B, dtype = x.shape[2], x.dtype
        sizes, (arg, res, work) = self.header(B, dtype), self.scratch_arrays(B, dtype)
        arg[SIZES] = sizes.ctypes.data
        return int(
            kernels.forward[dtype](
                self.address(1, dtype), self.address(0, dtype), t, h, x, u, p, self._records(B, dtype), chunk(B), check,
                sizes, arg, res, work,
            )
        )  # fmt: skip

    def backward(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, q: Array, r: Array, lam: Array, gu: Array, gp: Array
    ) -> None:
        """See `adjoint.step.Step`. Records are made again chunk by chunk: a trajectory does not carry them."""
        B, dtype = x.shape[2], x.dtype
        sizes, (arg, res, work) = self.header(B, dtype), self.scratch_arrays(B, dtype)
        arg[SIZES] = sizes.ctypes.data
        kernels.backward[dtype](
            self.address(2, dtype), self.address(3, dtype), self.address(0, dtype), self.address(1, dtype),
            t, h, x, u, p, self._records(B, dtype), q, r, lam, gu, gp, chunk(B), self.needs_records,
            sizes, arg, res, work,
        )  # fmt: skip

    def tangent(self, t: Array, h: Array, x: Array, u: Array, p: Array, dx: Array, du: Array, dp: Array) -> None:
        """Refused: a cell has a step and its transpose."""
        raise InputError(self._refusal("tangent sweep"))

    def second(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, lam: Array, dx: Array, du: Array, dp: Array,
        dq: Array, dr: Array, dlam: Array, dgu: Array, dgp: Array,
    ) -> None:  # fmt: skip
        """Refused likewise."""
        raise InputError(self._refusal("second derivatives"))

    def linearize(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, per_p: int, parameters: bool
    ) -> tuple[Array, Array, Array]:
        """A (K, n, n), B (K, n, m), C (K, n, n_p) or (0, n, n_p), row by row from n unit seeds of one step."""
        (K, n), m, n_p = x.shape, u.shape[1], p.shape[1]
        A, B = np.empty((K, n, n)), np.empty((K, n, m))
        C = np.empty((K if parameters else 0, n, n_p))
        unit = np.eye(n)[None, None]
        for k in range(K):
            path = np.empty((1, 2, n, n))
            path[0, 0] = x[k]
            inputs, weights = np.tile(u[k], (1, 1, n, 1)), p[None, k // per_p, :, None]
            time, step = t[k : k + 1, None], h[k : k + 1, None]
            self.forward(time, step, path, inputs, weights, kernels.NEVER)
            if parameters:  # each row is a path by itself, whose gradient of p is its own
                rows, own = np.ascontiguousarray(path.transpose(2, 1, 0, 3)), np.repeat(weights, n, axis=0)
                inputs, seeds, gp = inputs.reshape(n, 1, 1, m), unit.reshape(n, 1, 1, n), np.zeros((n, n_p, 1))
            else:
                rows, own, seeds, gp = path, weights, unit, np.zeros((1, n_p, 1))
            lam, gu = np.empty_like(rows), np.empty_like(inputs)
            self.backward(time, step, rows, inputs, own, seeds, np.zeros((len(rows), 0, 1, 1)), lam, gu, gp)
            A[k], B[k] = lam[:, 0].reshape(n, n), gu.reshape(n, m)
            if parameters:
                C[k] = gp[:, :, 0]
        return A, B, C

    def _records(self, rows: int, dtype: np.dtype) -> Array:
        return np.empty((1, chunk(rows), rows * self.sizes[3]), dtype)

    def _refusal(self, what: str) -> str:
        return (
            f"cell {self.label!r} has a step and its transpose, but no {what}. A small cell has them as a traced "
            "system: System(cell.equation, states=…, discrete=True)."
        )
