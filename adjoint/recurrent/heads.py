"""What a network says: a linear map of what its top layer knows, at each step or at the end of each path.

    z = W y + b
    transpose   ∂J/∂y = Wᵀ ∂J/∂z,   ∂J/∂W = Σ ∂J/∂z yᵀ,   ∂J/∂b = Σ ∂J/∂z

over all rows, which are paths, or paths and steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjoint.recurrent.cell import glorot, size
from adjoint.recurrent.layers import Signal
from adjoint.recurrent.parts import Shapes
from adjoint.recurrent.paths import Memory

__all__ = ["AtEnd", "Head", "HeadRun", "PerStep"]

Array = NDArray[Any]


@dataclass(frozen=True)
class PerStep:
    """`outputs` numbers a step: (batch, N, outputs)."""

    outputs: int

    def __post_init__(self) -> None:
        size("outputs", self.outputs)

    def part(self, signal: Signal) -> Array | None:
        """What of a signal the head sees, or of a gradient, what it makes."""
        return signal.steps


@dataclass(frozen=True)
class AtEnd:
    """`outputs` numbers at the end of each path: (batch, outputs)."""

    outputs: int

    def __post_init__(self) -> None:
        size("outputs", self.outputs)

    def part(self, signal: Signal) -> Array | None:
        """What of a signal the head sees, or of a gradient, what it makes."""
        return signal.last


Head = PerStep | AtEnd


def parameters(head: Head, width: int) -> Shapes:
    """The weights of a head over so many numbers."""
    return {"W": (head.outputs, width), "b": (head.outputs,)}


def initial(head: Head, width: int, rng: np.random.Generator) -> dict[str, Array]:
    """Random weights by name."""
    return {"W": glorot(rng, head.outputs, width), "b": np.zeros(head.outputs)}


class HeadRun:
    """z = W y + b for all rows of a batch, and its transpose."""

    def __init__(self, outputs: int, width: int, dtype: np.dtype) -> None:
        self._outputs, self._width, self._memory = outputs, width, Memory(dtype)

    def forward(self, p: Array, y: Array) -> Array:
        """z (…, outputs) for y (…, width)."""
        W, b = self._weights(p)
        self._rows = y.reshape(-1, self._width)  # a view: rows lie equally far apart
        z = self._memory.array("z", len(self._rows), self._outputs)
        np.matmul(self._rows, W.T, out=z)
        z += b
        return z.reshape(*y.shape[:-1], self._outputs)

    def backward(self, p: Array, d: Array, gp: Array, target: Array, add: bool) -> None:
        """∂J/∂y into `target`, or added to it; ∂J/∂p into gp."""
        W, _ = self._weights(p)
        g_W, g_b = self._weights(gp)
        rows = d.reshape(-1, self._outputs)
        np.matmul(rows.T, self._rows, out=g_W)
        np.sum(rows, axis=0, out=g_b)
        flat = target.reshape(-1, self._width)
        if add:
            flat += np.matmul(rows, W, out=self._memory.array("gy", *flat.shape))
        else:
            np.matmul(rows, W, out=flat)

    def seeds(self, d: Array, beyond: Array | None) -> Array:
        """∂J/∂z in our memory, with zeros where `beyond` is true."""
        kept = self._memory.array("d", *d.shape)
        np.copyto(kept, d)
        if beyond is not None:
            kept[beyond] = 0
        return kept

    def _weights(self, p: Array) -> tuple[Array, Array]:
        cut = self._outputs * self._width
        return p[:cut].reshape(self._outputs, self._width), p[cut:]
