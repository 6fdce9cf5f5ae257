"""What every run over a batch of paths needs: memory that is kept between calls, lengths, sequences side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError

__all__ = ["Memory", "check_finite", "checked_lengths", "pad"]

Array = NDArray[Any]


class Memory:
    """Arrays by name that grow and are never given back, so that a call of a shape seen before allocates nothing."""

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._held: dict[str, Array] = {}

    def array(self, name: str, *shape: int) -> Array:
        """An array of this shape, with whatever it held before."""
        size = math.prod(shape)
        held = self._held.get(name)
        if held is None or held.size < size:
            held = self._held[name] = np.empty(size, self._dtype)
        return held[:size].reshape(shape)


def checked_lengths(lengths: ArrayLike | None, B: int, N: int) -> NDArray[np.int64] | None:
    """The steps of each of B paths, 1 to N.

    Raises
    ------
    InputError
        If they are not B whole numbers in that range.
    """
    if lengths is None:
        return None
    array = np.atleast_1d(np.asarray(lengths))
    if array.shape != (B,) or array.dtype.kind not in "iu":
        raise InputError(
            f"lengths have shape {array.shape} and type {array.dtype}; expected {B} whole numbers, one a path."
        )
    if array.min() < 1 or array.max() > N:
        b = int(np.argmax((array < 1) | (array > N)))
        raise InputError(f"lengths[{b}] is {array[b]}; expected 1 to {N}, the steps that u has.")
    return array.astype(np.int64)


def check_finite(arrays: Mapping[str, ArrayLike | None]) -> None:
    """Name the seed that is not finite, if one is; asked only where a gradient is not, as seeds are many.

    Raises
    ------
    InputError
        With the name as it is given, the number and its index.
    """
    for name, array in arrays.items():
        bad = np.argwhere(~np.isfinite(0.0 if array is None else array))
        if len(bad):
            where = tuple(int(i) for i in bad[0])
            raise InputError(f"{name} has {np.asarray(array)[where]} at index {where}; expected finite numbers.")


def pad(sequences: Sequence[ArrayLike], filling: float = 0) -> tuple[Array, NDArray[np.int64]]:
    """Sequences of different lengths side by side in one array.

    Parameters
    ----------
    sequences : sequence of array_like (N_i, ...)
        Numbers (N_i, m), or symbols or labels (N_i,).
    filling : number
        What stands beyond the end of a sequence: -1 for labels, which are then ignored.

    Returns
    -------
    padded : array (count, max N_i, ...)
    lengths : array of int (count,)

    Raises
    ------
    InputError
        If there are none, one is empty, their steps differ in shape, or the filling is no number of their type.
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise InputError("pad: no sequence is given.")
    for i, array in enumerate(arrays):
        if array.ndim == 0 or len(array) == 0:
            raise InputError(f"pad: sequences[{i}] is empty; expected at least one step.")
        if array.shape[1:] != arrays[0].shape[1:]:
            raise InputError(
                f"pad: sequences[{i}] has steps of shape {array.shape[1:]}; those of the first have "
                f"{arrays[0].shape[1:]}."
            )
    lengths = np.array([len(array) for array in arrays], np.int64)
    kind = np.result_type(*arrays)
    with np.errstate(invalid="ignore", over="ignore"):
        kept = np.array(filling).astype(kind)
    if not (kept == filling or (filling != filling and kept != kept)) or kind == np.bool_:
        raise InputError(
            f"pad: filling is {filling!r}, which is no number of type {kind}, that of the sequences. Make them floats, "
            "or signed integers."
        )
    padded = np.full((len(arrays), lengths.max(), *arrays[0].shape[1:]), filling, kind)
    for target, array in zip(padded, arrays, strict=True):
        target[: len(array)] = array
    return padded, lengths
