"""One flat vector p and the arrays by name that lie in it, in order, without gaps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError

__all__ = ["Shapes", "count", "pack", "unpack"]

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]


def count(shapes: Shapes) -> int:
    """Numbers in all parts."""
    return sum(map(math.prod, shapes.values()))


def unpack(p: ArrayLike, shapes: Shapes, owner: str) -> dict[str, Array]:
    """Views of the parts of p, by name; `owner` says in errors whose they are."""
    array = np.asarray(p)
    if array.shape != (count(shapes),):
        raise InputError(f"p has shape {array.shape}; {owner} has {count(shapes)} parameters: {_table(shapes)}.")
    views, first = {}, 0
    for name, shape in shapes.items():
        views[name] = array[first : first + math.prod(shape)].reshape(shape)
        first += math.prod(shape)
    return views


def pack(weights: Mapping[str, ArrayLike], shapes: Shapes, owner: str) -> NDArray[np.float64]:
    """p from its parts by name.

    Raises
    ------
    InputError
        If a name or a shape is wrong.
    """
    if weights.keys() != shapes.keys():
        raise InputError(f"weights {sorted(weights)} given; {owner} has {_table(shapes)}.")
    arrays = {name: np.asarray(weights[name], dtype=np.float64) for name in shapes}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise InputError(f"{name} has shape {arrays[name].shape}; {owner} has {name} {shape}.")
    return np.concatenate([array.ravel() for array in arrays.values()]) if arrays else np.zeros(0)


def _table(shapes: Shapes) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
