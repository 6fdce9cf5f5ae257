"""What a network reads: real numbers, or symbols that are looked up in a table.

    embedding   y_k = T_{u_k}          T (count, width), u_k in 0 … count-1
    transpose   ∂J/∂T_i = Σ ∂J/∂y_k over all k with u_k = i

A symbol itself has no gradient; numbers pass through as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.kernels import labels as kernels
from adjoint.recurrent.cell import size
from adjoint.recurrent.parts import Shapes
from adjoint.recurrent.paths import Memory

__all__ = ["Embedding", "Input", "InputRun", "Numbers"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Numbers:
    """m real numbers a step: u (batch, N, m)."""

    m: int

    def __post_init__(self) -> None:
        size("inputs", self.m)

    @property
    def width(self) -> int:
        """Numbers that go up a step."""
        return self.m

    @property
    def axes(self) -> int:
        """Axes of u, the batch among them."""
        return 3

    @property
    def parameters(self) -> Shapes:
        """None."""
        return {}

    def initial(self, rng: np.random.Generator) -> dict[str, Array]:
        """None."""
        return {}

    def run(self, dtype: np.dtype) -> NumbersRun:
        """The input with memory."""
        return NumbersRun(self.m, dtype)


class NumbersRun:
    """Passes on what it is given."""

    def __init__(self, m: int, dtype: np.dtype) -> None:
        self._m, self._dtype = m, dtype

    def checked(self, u: ArrayLike) -> Array:
        """What was given, as an array (…, m) of the right kind."""
        array = np.asarray(u)
        if array.dtype.kind not in "fiub":
            raise InputError(f"u is no array of real numbers: its type is {array.dtype}.")
        if array.ndim not in (2, 3) or array.shape[-1] != self._m:
            raise InputError(
                f"u has shape {array.shape}; the network reads {self._m} numbers a step: pass (batch, N, {self._m}), "
                f"or (N, {self._m}) for one path."
            )
        return array.astype(self._dtype, copy=False)

    def forward(self, p: Array, u: Array, lengths: Array | None) -> Array:
        """(N, batch, m)."""
        return u.transpose(1, 0, 2)

    def backward(self, above: Array | None, gp: Array) -> Array | None:
        """∂J/∂u (batch, N, m)."""
        return None if above is None else above.transpose(1, 0, 2)


@dataclass(frozen=True)
class Embedding:
    """Symbols 0 … count - 1, each of which stands for a row of a table that is learned: u (batch, N) of integers.

    Attributes
    ----------
    count : int
        Symbols.
    width : int
        Numbers in a row.
    """

    count: int
    width: int

    def __post_init__(self) -> None:
        size("count", self.count)
        size("width", self.width)

    @property
    def axes(self) -> int:
        """Axes of u, the batch among them."""
        return 2

    @property
    def parameters(self) -> Shapes:
        """The table."""
        return {"embedding.table": (self.count, self.width)}

    def initial(self, rng: np.random.Generator) -> dict[str, Array]:
        """Normal numbers."""
        return {"embedding.table": rng.standard_normal((self.count, self.width))}

    def run(self, dtype: np.dtype) -> EmbeddingRun:
        """The table with memory."""
        return EmbeddingRun(self, dtype)


class EmbeddingRun:
    """Rows of the table, and their gradient."""

    def __init__(self, embedding: Embedding, dtype: np.dtype) -> None:
        self._count, self._width, self._dtype = embedding.count, embedding.width, dtype
        self._memory, self._labels = Memory(dtype), Memory(np.dtype(np.int64))

    def checked(self, u: ArrayLike) -> Array:
        """What was given, as an array of integers; those beyond a path's end need not be in the table."""
        array = np.asarray(u)
        if array.dtype.kind not in "iu" or array.ndim not in (1, 2):
            raise InputError(
                f"u has shape {array.shape} and type {array.dtype}; the network reads symbols: pass (batch, N) whole "
                "numbers, or (N,) for one path."
            )
        return array

    def forward(self, p: Array, u: Array, lengths: Array | None) -> Array:
        """The rows T_u, (N, batch, width)."""
        N, B = u.shape[1], u.shape[0]
        labels = self._labels.array("u", N, B)
        np.copyto(labels, u.T)
        if lengths is not None:
            labels[np.arange(N)[:, None] >= lengths] = 0
        if labels.min() < 0 or labels.max() >= self._count:
            k, b = (int(i) for i in np.argwhere((labels < 0) | (labels >= self._count))[0])
            raise InputError(f"u[{b}, {k}] is {labels[k, b]}; expected 0 to {self._count - 1}, the rows of the table.")
        self._u = labels.reshape(N * B)
        y = self._memory.array("y", N * B, self._width)
        kernels.gather[self._dtype](p.reshape(self._count, self._width), self._u, y)
        return y.reshape(N, B, self._width)

    def backward(self, above: Array | None, gp: Array) -> Array | None:
        """∂J/∂T into gp; a symbol has no gradient."""
        assert above is not None
        gp[:] = 0
        rows = np.ascontiguousarray(above).reshape(-1, self._width)
        kernels.scatter_add[self._dtype](rows, self._u, gp.reshape(self._count, self._width))
        return None


Input = Numbers | Embedding
InputRun = NumbersRun | EmbeddingRun
