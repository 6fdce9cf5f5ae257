"""`Network`: an input, layers of cells on each other, and heads that say something; with its gradient.

    y⁰ = input(u),   yⁱ = layer_i(yⁱ⁻¹),   z = W y + b for each head

All weights lie in one vector p, whose parts have names: ``embedding.table``, ``layer1.W_ih``, ``layer2.ahead.W_ih``,
``head.class.W``. It is run by a `NetworkRun`, as a `Cell` is by an `Unroll`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from adjoint.errors import InputError
from adjoint.recurrent import heads as linear
from adjoint.recurrent.bidirectional import Bidirectional
from adjoint.recurrent.cell import Cell, size
from adjoint.recurrent.dropout import Dropout
from adjoint.recurrent.heads import AtEnd, PerStep
from adjoint.recurrent.inputs import Embedding, Input, Numbers
from adjoint.recurrent.layers import Recurrent
from adjoint.recurrent.network_run import NetworkRun
from adjoint.recurrent.parts import Shapes, count, pack, unpack

__all__ = ["Network"]

Array = NDArray[Any]
Layer = Recurrent | Bidirectional | Dropout


@dataclass(frozen=True, eq=False)
class Network:
    """Layers of cells with an input and heads. Immutable.

    Attributes
    ----------
    inputs : int or Embedding
        Real numbers a step, or a table for symbols.
    layers : sequence of Cell, Bidirectional, Dropout
        From the bottom to the top; a cell has as many inputs as the layer below it has outputs.
    heads : dict from str to PerStep or AtEnd
        What is said of the top layer.

    Examples
    --------
    >>> from adjoint.recurrent import GRU, AtEnd, Bidirectional, Embedding, Network
    >>> network = Network(Embedding(5, 8), [Bidirectional(GRU(16, 8), GRU(16, 8))], {"species": AtEnd(3)})
    >>> network
    Network(Embedding 5 x 8, Bidirectional GRU 16 + GRU 16, species: 3 at the end; 2571 parameters)
    """

    inputs: int | Embedding
    layers: Sequence[Cell | Bidirectional | Dropout]
    heads: Mapping[str, PerStep | AtEnd]

    def __post_init__(self) -> None:
        if not isinstance(self.layers, list | tuple):
            raise InputError(f"Network: layers is {self.layers!r}; expected a list of cells, such as [GRU(16, 8)].")
        if not isinstance(self.heads, Mapping):
            raise InputError(f'Network: heads is {self.heads!r}; expected a dict, such as {{"class": AtEnd(3)}}.')
        for name, value in (("layers", tuple(self.layers)), ("heads", dict(self.heads))):
            object.__setattr__(self, name, value)
        if not any(layer.cells for layer in self._stack):
            raise InputError("Network: no layer has a cell; pass at least one, such as GRU(16, m).")
        if not self.heads:
            raise InputError('Network: heads is empty; pass at least one, such as {"class": AtEnd(3)}.')
        _ = self._widths

    @cached_property
    def _input(self) -> Input:
        return self.inputs if isinstance(self.inputs, Embedding) else Numbers(size("inputs", self.inputs))

    @cached_property
    def _stack(self) -> tuple[Layer, ...]:
        for layer in self.layers:
            if not isinstance(layer, Cell | Bidirectional | Dropout):
                raise InputError(f"Network: {layer!r} is no layer; expected a Cell, Bidirectional or Dropout.")
        for name, head in self.heads.items():
            if not isinstance(head, PerStep | AtEnd):
                raise InputError(f"Network: head {name!r} is {head!r}; expected PerStep(outputs) or AtEnd(outputs).")
        return tuple(Recurrent(layer) if isinstance(layer, Cell) else layer for layer in self.layers)

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        """What goes into each layer, and what the heads see."""
        widths = [self._input.width]
        for i, layer in enumerate(self._stack):
            try:
                widths.append(layer.outputs(widths[-1]))
            except InputError as error:
                raise InputError(f"Network: layers[{i}]: {error}") from None
        return tuple(widths)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Of the layers; those without weights are not counted."""
        held = np.cumsum([bool(layer.parameters) for layer in self._stack])
        return tuple(f"layer{i}." for i in held)

    @cached_property
    def parameters(self) -> Shapes:
        """The weights and their shapes, in the order in which they lie in p."""
        shapes = dict(self._input.parameters)
        for prefix, layer in zip(self._names, self._stack, strict=True):
            shapes |= {prefix + name: shape for name, shape in layer.parameters.items()}
        for label, head in self.heads.items():
            own = linear.parameters(head, self._widths[-1])
            shapes |= {f"head.{label}.{name}": shape for name, shape in own.items()}
        return shapes

    @property
    def n_p(self) -> int:
        """Numbers in p."""
        return count(self.parameters)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells from the bottom to the top; a bidirectional layer has two, ahead and back."""
        return tuple(cell for layer in self._stack for cell in layer.cells)

    def init(self, seed: int = 0) -> NDArray[np.float64]:
        """Random weights (n_p,); the same ones for the same seed."""
        rng = np.random.default_rng(seed)
        weights = self._input.initial(rng)
        for prefix, layer in zip(self._names, self._stack, strict=True):
            weights |= {prefix + name: part for name, part in layer.initial(rng).items()}
        for label, head in self.heads.items():
            own = linear.initial(head, self._widths[-1], rng)
            weights |= {f"head.{label}.{name}": part for name, part in own.items()}
        return self.pack(weights)

    def unpack(self, p: ArrayLike) -> dict[str, Array]:
        """Views of the weights in p, by name."""
        return unpack(p, self.parameters, "the network")

    def pack(self, weights: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """p from the weights by name."""
        return pack(weights, self.parameters, "the network")

    def unroll(self, dtype: DTypeLike = np.float64) -> NetworkRun:
        """The network with memory: forward and backward over batches, in float64 or float32."""
        return NetworkRun(self, dtype)

    def __repr__(self) -> str:
        def of(layer: Layer) -> str:
            if isinstance(layer, Dropout):
                return f"Dropout {layer.rate:g}"
            kind = "Bidirectional " if isinstance(layer, Bidirectional) else ""
            return kind + " + ".join(f"{cell.name} {cell.outputs}" for cell in layer.cells)

        read = self._input
        first = f"Embedding {read.count} x {read.width}" if isinstance(read, Embedding) else f"{read.m} numbers"
        heads = (f"{name}: {h.outputs} {'at the end' if isinstance(h, AtEnd) else 'per step'}"
                 for name, h in self.heads.items())  # fmt: skip
        return f"Network({', '.join([first, *map(of, self._stack), *heads])}; {self.n_p} parameters)"
