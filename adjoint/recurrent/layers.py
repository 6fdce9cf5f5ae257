"""The layers of a network: each maps a batch of sequences to a batch of sequences, and back.

    recurrent       y_k = first `outputs` numbers of x_{k+1},   x_{k+1} = Φ(x_k, u_k, p)
    bidirectional   y = (→y, R ←y),   →y and ←y of two cells over u and over R u,   (R u)_k = u_{L-1-k}
    dropout         y = m ⊙ u / (1 - rate),   m = 1 with probability 1 - rate, otherwise 0

    transpose       recurrent: seeds q_{k+1} = ∂J/∂y_k, and the sweep's g_u is what the layer below is seeded with;
                    bidirectional: ∂J/∂u = →g_u + R ←g_u, since R turns each path around within its own length L, so
                    Rᵀ = R; dropout: ∂J/∂u = m ⊙ ∂J/∂y / (1 - rate)

So a network has no backward pass of its own: its layers' sweeps run one after the other. The cell ← of a bidirectional
layer goes through time from the end to the beginning, and its backward sweep from the beginning to the end.

What goes up from layer to layer is a `Signal`: the sequence, and what is known at its end, which for the cell ← is what
it knows after it has seen the whole path, too. What comes down has the same two places. Time is the first axis here.

M. Schuster and K. Paliwal, Bidirectional recurrent neural networks, IEEE Trans. Signal Processing 45 (1997);
N. Srivastava et al., Dropout, JMLR 15 (2014).
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
from adjoint.recurrent.paths import Memory
from adjoint.recurrent.unroll import Unroll

__all__ = ["Bidirectional", "Dropout", "Layer", "LayerRun", "Recurrent", "Signal", "Sweep"]

Array = NDArray[Any]


class Signal(NamedTuple):
    """A sequence (N, batch, width) and what is known at each path's end (batch, width); or the gradients of them."""

    steps: Array | None
    last: Array | None


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
        _check_inputs(self.cell, m)
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

    def forward(
        self,
        p: Array,
        below: Signal,
        starts: Sequence[ArrayLike | None],
        lengths: Array | None,
        rng: np.random.Generator | None,
    ) -> Signal:
        """Run; what goes up is a view of the states."""
        assert below.steps is not None
        x = self._unroll.forward(p, below.steps.transpose(1, 0, 2), starts[0], lengths)
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
                f"Bidirectional: ahead has {self.ahead.m} inputs and back has {self.back.m}; both see the same sequence."
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
        _check_inputs(self.ahead, m)
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

    def forward(
        self,
        p: Array,
        below: Signal,
        starts: Sequence[ArrayLike | None],
        lengths: Array | None,
        rng: np.random.Generator | None,
    ) -> Signal:
        """y = (→y, R ←y)."""
        assert below.steps is not None
        self._lengths, split = lengths, self._split
        turned = reverse(below.steps, lengths, self._memory.array("turned", *below.steps.shape))
        ahead = self._ahead.forward(p[: self._n_ahead], below, starts[:1], lengths, rng)
        back = self._back.forward(p[self._n_ahead :], Signal(turned, None), starts[1:], lengths, rng)
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
        if isinstance(self.rate, bool) or not isinstance(self.rate, int | float) or not 0 <= self.rate < 1:
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
        self._rate, self._dtype, self._memory = rate, dtype, Memory(dtype)
        self._masks: tuple[Array | None, Array | None] | None = None

    def forward(
        self,
        p: Array,
        below: Signal,
        starts: Sequence[ArrayLike | None],
        lengths: Array | None,
        rng: np.random.Generator | None,
    ) -> Signal:
        """y = m ⊙ u / (1 - rate); y = u without a random generator."""
        self._masks = None
        if rng is None or self._rate == 0:
            return below
        masks = []
        for name, given in zip(("steps", "last"), below, strict=True):
            mask = None
            if given is not None:
                mask = self._memory.array(f"mask of {name}", *given.shape)
                rng.random(dtype=self._dtype.type, out=mask)
                np.greater_equal(mask, self._rate, out=mask)
                mask /= 1 - self._rate
            masks.append(mask)
        self._masks = (masks[0], masks[1])
        return self._times(below, "y")

    def backward(self, above: Signal, sweep: Sweep, gp: Array) -> tuple[Signal, tuple[Array, ...]]:
        """∂J/∂u = m ⊙ ∂J/∂y / (1 - rate)."""
        return (above if self._masks is None else self._times(above, "gu")), ()

    def _times(self, signal: Signal, name: str) -> Signal:
        assert self._masks is not None
        steps, last = (
            None if part is None else np.multiply(part, mask, out=self._memory.array(f"{name} {i}", *part.shape))
            for i, (part, mask) in enumerate(zip(signal, self._masks, strict=True))
        )
        return Signal(steps, last)


Layer = Recurrent | Bidirectional | Dropout
LayerRun = RecurrentRun | BidirectionalRun | DropoutRun


def _check_inputs(cell: Cell, m: int) -> None:
    if cell.m != m:
        raise InputError(f"cell {cell.name!r} has {cell.m} inputs, but what comes in from below has {m} numbers a step.")
