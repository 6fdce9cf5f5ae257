"""A cell as a layer of a network: a batch of sequences goes up, the gradient comes down.

    y_k = first `outputs` numbers of x_{k+1},       x_{k+1} = Φ(x_k, u_k, p)
    transpose    q_{k+1} = ∂J/∂y_k,                 ∂J/∂u_k = g_u of the sweep

So a network has no backward pass of its own: ∂J/∂u of a layer's sweep is what the layer below is seeded with. What goes
up from layer to layer is a `Signal`: the sequence, and what is known at its end. What comes down has the same two
places. Time is the first axis here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.recurrent.cell import Cell
from adjoint.recurrent.parts import Shapes
from adjoint.recurrent.unroll import Unroll

__all__ = ["Paths", "Recurrent", "RecurrentRun", "Signal", "Sweep", "check_inputs"]

Array = NDArray[Any]


class Signal(NamedTuple):
    """A sequence (N, batch, width) and what is known at each path's end (batch, width); or the gradients of them."""

    steps: Array | None
    last: Array | None


class Paths(NamedTuple):
    """What a forward run is told of its paths: their lengths, if they differ, and where dropout's masks come from."""

    lengths: Array | None
    rng: np.random.Generator | None


class Sweep(NamedTuple):
    """How a backward sweep is wanted: with ∂J/∂u or without, and in windows (`Unroll.backward`)."""

    want_u: bool
    window: int | None
    offsets: ArrayLike | None


@dataclass(frozen=True, eq=False)
class Recurrent:
    """A cell as a layer."""

    cell: Cell

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells whose state is carried."""
        return (self.cell,)

    @property
    def parameters(self) -> Shapes:
        """The weights."""
        return self.cell.parameters

    def outputs(self, m: int) -> int:
        """Width of what goes up, given the width of what comes in."""
        check_inputs(self.cell, m)
        return self.cell.outputs

    def initial(self, rng: np.random.Generator) -> dict[str, Array]:
        """Random weights by name."""
        return self.cell.initial(rng)

    def run(self, dtype: np.dtype) -> RecurrentRun:
        """The layer with memory."""
        return RecurrentRun(self.cell, dtype)


class RecurrentRun:
    """A cell over a batch and back."""

    def __init__(self, cell: Cell, dtype: np.dtype) -> None:
        self._unroll = Unroll(cell, dtype)
        self._outputs = cell.outputs
        self.states: tuple[Array, ...] = ()

    def forward(self, p: Array, below: Signal, starts: Sequence[ArrayLike | None], paths: Paths) -> Signal:
        """Run; what goes up is a view of the states."""
        assert below.steps is not None
        x = self._unroll.forward(p, below.steps.transpose(1, 0, 2), starts[0], paths.lengths)
        self.states = (self._unroll.last,)
        return Signal(x.transpose(1, 0, 2)[1:, :, : self._outputs], self.states[0][:, : self._outputs])

    def backward(self, above: Signal, sweep: Sweep, gp: Array) -> tuple[Signal, tuple[Array, ...]]:
        """What the layer below is seeded with and ∂J/∂x_0; ∂J/∂p goes into gp."""
        q = None
        if above.steps is not None:
            q = self._unroll.seed(self._outputs)
            q.transpose(1, 0, 2)[1:] = above.steps  # q_{k+1} = ∂J/∂y_k
        g = self._unroll.backward(q, above.last, *sweep)
        np.copyto(gp, g.p)
        return Signal(None if g.u is None else g.u.transpose(1, 0, 2), None), (g.x0,)


def check_inputs(cell: Cell, m: int) -> None:
    """Refuse a cell over m numbers a step that has another number of inputs."""
    if cell.m != m:
        raise InputError(
            f"cell {cell.name!r} has {cell.m} inputs, but what comes in from below has {m} numbers a step."
        )
