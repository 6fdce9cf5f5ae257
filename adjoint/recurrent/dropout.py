"""Dropout between layers, in training only.

    y = m ⊙ u          m = 1 / (1 - rate) with probability 1 - rate, otherwise 0, for each number by itself
    transpose          ∂J/∂u = m ⊙ ∂J/∂y

N. Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, JMLR 15 (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.recurrent.cell import Cell
from adjoint.recurrent.layers import Paths, Signal, Sweep
from adjoint.recurrent.parts import Shapes
from adjoint.recurrent.paths import Memory

__all__ = ["Dropout", "DropoutRun"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Dropout:
    """In training, each number is zero with probability `rate`, and the others are larger by 1 / (1 - rate).

    Attributes
    ----------
    rate : float
        0 <= rate < 1.
    """

    rate: float

    def __post_init__(self) -> None:
        if isinstance(self.rate, bool) or not isinstance(self.rate, int | float | np.number) or not 0 <= self.rate < 1:
            raise InputError(f"Dropout: rate is {self.rate!r}; expected a probability of at least 0 and less than 1.")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """None."""
        return ()

    @property
    def parameters(self) -> Shapes:
        """None."""
        return {}

    def outputs(self, m: int) -> int:
        """As many as come in."""
        return m

    def initial(self, rng: np.random.Generator) -> dict[str, Array]:
        """None."""
        return {}

    def run(self, dtype: np.dtype) -> DropoutRun:
        """The layer with memory."""
        return DropoutRun(self.rate, dtype)


class DropoutRun:
    """A mask, and the same mask on the way back."""

    states: tuple[Array, ...] = ()

    def __init__(self, rate: float, dtype: np.dtype) -> None:
        self._rate, self._memory, self._on = rate, Memory(dtype), False
        self._chance = Memory(np.dtype(np.float64))  # the same masks for both types

    def forward(self, p: Array, below: Signal, starts: Sequence[ArrayLike | None], paths: Paths) -> Signal:
        """y = m ⊙ u; y = u without a random generator."""
        self._on = paths.rng is not None and self._rate > 0
        if paths.rng is not None and self._on:
            for place, part in enumerate(below):
                if part is not None:
                    mask = self._memory.array(f"mask {place}", *part.shape)
                    chance = self._chance.array("chance", *part.shape)
                    np.greater_equal(paths.rng.random(out=chance), self._rate, out=mask)
                    mask /= 1 - self._rate
        return self._masked(below, "y")

    def backward(self, above: Signal, sweep: Sweep, gp: Array) -> tuple[Signal, tuple[Array, ...]]:
        """∂J/∂u = m ⊙ ∂J/∂y."""
        return self._masked(above, "gu"), ()

    def _masked(self, signal: Signal, name: str) -> Signal:
        if not self._on:
            return signal

        def masked(place: int, part: Array | None) -> Array | None:
            if part is None:
                return None
            mask, out = (self._memory.array(f"{kind} {place}", *part.shape) for kind in ("mask", name))
            return np.multiply(part, mask, out=out)

        return Signal(masked(0, signal.steps), masked(1, signal.last))
