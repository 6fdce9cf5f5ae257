"""Two cells over the same sequence, one ahead in time and one back.

    y = (→y, R ←y)      →y of the cell `ahead` over u, ←y of the cell `back` over R u,      (R u)_k = u_{L-1-k}
    transpose           ∂J/∂u = →g_u + R ←g_u,     the cells being seeded with their parts of ∂J/∂y, R before ←

R turns each path around within its own length L, so that Rᵀ = R. The gradient is that of two sweeps that know nothing
of each other: that of `ahead` goes from the end to the beginning, and that of `back`, whose last step is at k = 0, from
the beginning to the end. At the end of a path the layer says what both know after they have seen it all.

M. Schuster and K. Paliwal, Bidirectional recurrent neural networks, IEEE Trans. Signal Processing 45 (1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.recurrent.cell import Cell
from adjoint.recurrent.layers import Paths, RecurrentRun, Signal, Sweep, check_inputs
from adjoint.recurrent.parts import Shapes
from adjoint.recurrent.paths import Memory

__all__ = ["Bidirectional", "BidirectionalRun", "reverse"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Bidirectional:
    """Two cells, one that goes ahead in time and one that comes back from the end of each path.

    Attributes
    ----------
    ahead, back : Cell
        With the same number of inputs. The layer's outputs are those of `ahead`, then those of `back`.
    """

    ahead: Cell
    back: Cell

    def __post_init__(self) -> None:
        if self.ahead.m != self.back.m:
            raise InputError(
                f"Bidirectional: ahead has {self.ahead.m} inputs and back {self.back.m}; both see the same sequence."
            )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells whose state is carried."""
        return self.ahead, self.back

    @property
    def parameters(self) -> Shapes:
        """The weights of both."""
        return {f"ahead.{name}": shape for name, shape in self.ahead.parameters.items()} | {
            f"back.{name}": shape for name, shape in self.back.parameters.items()
        }

    def outputs(self, m: int) -> int:
        """Width of what goes up, given the width of what comes in."""
        check_inputs(self.ahead, m)
        return self.ahead.outputs + self.back.outputs

    def initial(self, rng: np.random.Generator) -> dict[str, Array]:
        """Random weights by name."""
        return {f"ahead.{name}": part for name, part in self.ahead.initial(rng).items()} | {
            f"back.{name}": part for name, part in self.back.initial(rng).items()
        }

    def run(self, dtype: np.dtype) -> BidirectionalRun:
        """The layer with memory."""
        return BidirectionalRun(self, dtype)


class BidirectionalRun:
    """Two cells over a batch and back."""

    def __init__(self, layer: Bidirectional, dtype: np.dtype) -> None:
        self._ahead, self._back = RecurrentRun(layer.ahead, dtype), RecurrentRun(layer.back, dtype)
        self._n_ahead, self._split = layer.ahead.n_p, layer.ahead.outputs
        self._width = layer.ahead.outputs + layer.back.outputs
        self._lengths: Array | None = None
        self._memory = Memory(dtype)

    @property
    def states(self) -> tuple[Array, ...]:
        """The state of each cell where it ended."""
        return self._ahead.states + self._back.states

    def forward(self, p: Array, below: Signal, starts: Sequence[ArrayLike | None], paths: Paths) -> Signal:
        """y = (→y, R ←y)."""
        assert below.steps is not None
        lengths, split = paths.lengths, self._split
        self._lengths = lengths
        turned = reverse(below.steps, lengths, self._memory.array("turned", *below.steps.shape))
        ahead = self._ahead.forward(p[: self._n_ahead], below, starts[:1], paths)
        back = self._back.forward(p[self._n_ahead :], Signal(turned, None), starts[1:], paths)
        assert ahead.steps is not None and back.steps is not None and ahead.last is not None and back.last is not None
        steps = self._memory.array("steps", *below.steps.shape[:2], self._width)
        np.copyto(steps[:, :, :split], ahead.steps)
        reverse(back.steps, lengths, steps[:, :, split:])
        return Signal(steps, np.concatenate([ahead.last, back.last], axis=1))

    def backward(self, above: Signal, sweep: Sweep, gp: Array) -> tuple[Signal, tuple[Array, ...]]:
        """∂J/∂u = →g_u + R ←g_u: one sweep for each cell, each against its own direction."""
        to_ahead, to_back, split = None, None, self._split
        if above.steps is not None:
            to_ahead, given = above.steps[:, :, :split], above.steps[:, :, split:]
            to_back = reverse(given, self._lengths, self._memory.array("seeds", *given.shape))
        ends = (None, None) if above.last is None else (above.last[:, :split], above.last[:, split:])
        ahead, x0_ahead = self._ahead.backward(Signal(to_ahead, ends[0]), sweep, gp[: self._n_ahead])
        back, x0_back = self._back.backward(Signal(to_back, ends[1]), sweep, gp[self._n_ahead :])
        if ahead.steps is None or back.steps is None:
            return Signal(None, None), x0_ahead + x0_back
        gu = reverse(back.steps, self._lengths, self._memory.array("gu", *back.steps.shape))
        gu += ahead.steps
        return Signal(gu, None), x0_ahead + x0_back


def reverse(a: Array, lengths: Array | None, out: Array) -> Array:
    """out = R a: each path of a (N, batch, width) turned around within its own length; zeros beyond."""
    if lengths is None:
        np.copyto(out, a[::-1])
        return out
    for b, length in enumerate(lengths):
        np.copyto(out[:length, b], a[:length, b][::-1])
        out[length:, b] = 0
    return out
