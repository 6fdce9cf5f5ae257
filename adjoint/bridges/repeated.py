"""What `rollout` repeats, and the transpose of repeating.

A control that is held, or a start that a batch shares, is repeated: A a = (a, a, …, a). Its transpose is a sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["repeat", "total"]

Array = NDArray[Any]


def repeat(a: Array, like: Array) -> Array:
    """A a: copies of `a`, one after the other, until they have the shape of `like`."""
    return np.tile(a.ravel(), like.size // max(1, a.size)).reshape(like.shape)


def total(g: Array, shape: tuple[int, ...]) -> Array:
    """Aᵀ g: the sum over the copies of an array of this shape."""
    size = math.prod(shape)
    return g.reshape(-1, size).sum(axis=0).reshape(shape) if size else np.zeros(shape)
