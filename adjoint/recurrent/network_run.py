"""`NetworkRun`: a network over a batch of sequences and back, in memory that is kept between calls.

forward     y⁰ = input(u),   yⁱ = layer_i(yⁱ⁻¹),   z = W y + b for each head
backward    ∂J/∂y = Σ Wᵀ ∂J/∂z over the heads, then down: the sweep of layer i is seeded with ∂J/∂yⁱ and gives
∂J/∂yⁱ⁻¹, and its part of ∂J/∂p
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from adjoint.errors import InputError
from adjoint.recurrent import heads as linear
from adjoint.recurrent.cell import size
from adjoint.recurrent.heads import HeadRun
from adjoint.recurrent.layers import Paths, Signal, Sweep
from adjoint.recurrent.parts import count
from adjoint.recurrent.paths import Memory, check_finite, checked_lengths

if TYPE_CHECKING:
    from adjoint.recurrent.network import Network

__all__ = ["NetworkGradient", "NetworkRun"]

Array = NDArray[Any]


class NetworkGradient(NamedTuple):
    """∂J/∂p (n_p,), which is the caller's own (optimisers keep the last one); ∂J/∂u (batch, N, m) or None, and ∂J/∂x_0
    (batch, n) for each cell, which are views that are valid until the next call.
    """

    p: Array
    u: Array | None
    x0: tuple[Array, ...]


class NetworkRun:
    """A network over a batch of sequences. Not for use by two threads at once: make one for each.

    Parameters
    ----------
    network : Network
    dtype : float64 or float32
    """

    def __init__(self, network: Network, dtype: DTypeLike = np.float64) -> None:
        self.network, self.dtype = network, np.dtype(dtype)
        self._layers = [layer.run(self.dtype) for layer in network._stack]
        self._input = network._input.run(self.dtype)
        width = network._widths[-1]
        self._heads = {name: HeadRun(head.outputs, width, self.dtype) for name, head in network.heads.items()}
        self._p, self._gp = np.zeros(network.n_p, self.dtype), np.zeros(network.n_p, self.dtype)
        self._memory = Memory(self.dtype)
        shapes = (network._input.parameters, *(layer.parameters for layer in network._stack),
                  *(linear.parameters(head, width) for head in network.heads.values()))  # fmt: skip
        ends = np.cumsum([0, *map(count, shapes)])
        places = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]
        self._of_input, self._of_layers = places[0], places[1 : 1 + len(self._layers)]
        self._of_heads = dict(zip(network.heads, places[1 + len(self._layers) :], strict=True))
        self._top: Signal | None = None
        self._ran = False

    def forward(
        self,
        p: ArrayLike,
        u: ArrayLike,
        x0: Sequence[ArrayLike | None] | None = None,
        lengths: ArrayLike | None = None,
        dropout: int | None = None,
    ) -> dict[str, Array]:
        """Run over the inputs.

        Parameters
        ----------
        p : array_like (n_p,)
        u : array_like (batch, N, m), or (batch, N) of integers for an `Embedding`; without the first axis for one path
            Not to be changed before `backward`, which may read it again.
        x0 : sequence of array_like (batch, n) or (n,) or None, optional
            The first state of each of `Network.cells`; zero if absent.
        lengths : array_like of int (batch,), optional
            Steps of each path; inputs beyond are not looked at, and what is said beyond means nothing.
        dropout : int, optional
            Seed of the masks of the `Dropout` layers, for training: the same seed gives the same masks. Without it
            they do nothing.

        Returns
        -------
        dict from str to array
            What each head says: (batch, N, outputs) or (batch, outputs), valid until the next call.

        Raises
        ------
        InputError
            If a shape, a length, a symbol or a number does not fit; the message names the argument.
        AdjointError
            If the states become infinite although the inputs are finite.
        """
        self._top, self._ran = None, False
        given = self._input.checked(u)
        self._single = given.ndim < self.network._input.axes
        batch = given[None] if self._single else given
        B, N = batch.shape[:2]
        if B == 0 or N == 0:
            raise InputError(f"u has shape {np.shape(u)}; expected at least one path of at least one step.")
        lengths = checked_lengths(lengths, B, N)
        self._beyond = None if lengths is None else np.arange(N)[:, None] >= lengths
        starts = self._starts(x0, B)
        self._take(p)
        rng = None if dropout is None else np.random.default_rng(size("dropout", dropout, 0))
        paths = Paths(lengths, rng)
        signal = Signal(self._input.forward(self._p[self._of_input], batch, lengths), None)
        for layer, place, cells in zip(self._layers, self._of_layers, starts, strict=True):
            signal = layer.forward(self._p[place], signal, cells, paths)
        said = {}
        for name, head in self.network.heads.items():
            y = head.part(signal)
            assert y is not None
            said[name] = self._outward(self._heads[name].forward(self._p[self._of_heads[name]], y))
        self._top, self._ran = signal, True
        return said

    @property
    def last(self) -> tuple[Array, ...]:
        """The state of each of `Network.cells` at its own end, (batch, n): the x0 with which a next piece goes on."""
        if not self._ran:
            raise InputError("last: call `forward` first.")
        return tuple(state for layer in self._layers for state in layer.states)

    def backward(
        self,
        seeds: Mapping[str, ArrayLike],
        want_u: bool = False,
        window: int | None = None,
        offsets: ArrayLike | None = None,
    ) -> NetworkGradient:
        """The gradient of a number J along the run of the last `forward`.

        Parameters
        ----------
        seeds : dict from str to array_like
            ∂J/∂z of the heads, of the shapes that `forward` returned; a head that is left out does not count. What
            stands beyond a path's length is not looked at.
        want_u : bool
            Whether ∂J/∂u is wanted, too.
        window, offsets
            Truncate, as `Unroll.backward`; a cell that comes back from the end counts its steps from there.

        Returns
        -------
        NetworkGradient

        Raises
        ------
        InputError
            If a name or a shape does not fit, or there was no `forward`.
        """
        if self._top is None:
            raise InputError("backward: call `forward` first; a backward sweep uses up the records of its forward run.")
        signal = self._through_heads(seeds, self._top)
        if not all(part is None or np.isfinite(part.sum()) for part in signal):
            check_finite({f"backward: seed {name!r}": seed for name, seed in seeds.items()})
        self._top = None  # the records are used up
        x0: tuple[Array, ...] = ()
        for i in range(len(self._layers) - 1, -1, -1):
            wanted = i > 0 or want_u or bool(self.network._input.parameters)
            signal, start = self._layers[i].backward(
                signal, Sweep(wanted, window, offsets), self._gp[self._of_layers[i]]
            )
            x0 = start + x0
        gu = self._input.backward(signal.steps, self._gp[self._of_input])
        single = self._single
        return NetworkGradient(self._gp.copy(), gu[0] if single and gu is not None else gu,
                               tuple(g[0] for g in x0) if single else x0)  # fmt: skip

    def _through_heads(self, seeds: Mapping[str, ArrayLike], top: Signal) -> Signal:
        """∂J/∂y = Σ Wᵀ ∂J/∂z over the heads."""
        if not isinstance(seeds, Mapping):
            raise InputError(f"backward: seeds is a {type(seeds).__name__}; expected a dict from heads to arrays.")
        if not seeds or not seeds.keys() <= self._heads.keys():
            raise InputError(f"backward: seeds are given for {sorted(seeds)}; the heads are {sorted(self._heads)}.")
        places: dict[str, Array] = {}
        for name, head in self.network.heads.items():
            gp = self._gp[self._of_heads[name]]
            if name not in seeds:
                gp[:] = 0
                continue
            run, y = self._heads[name], head.part(top)
            assert y is not None
            d = self._inward(np.asarray(seeds[name], dtype=self.dtype))
            if d.shape != (*y.shape[:-1], head.outputs):
                expected = self._outward(np.empty((*y.shape[:-1], head.outputs), np.bool_)).shape
                raise InputError(f"backward: seed {name!r} has shape {np.shape(seeds[name])}; expected {expected}.")
            per_step = d.ndim == 3
            if per_step and (self._beyond is not None or not d.flags.c_contiguous):
                d = run.seeds(d, self._beyond)
            kind = "steps" if per_step else "last"
            target = self._memory.array(kind, *y.shape)
            run.backward(self._p[self._of_heads[name]], d, gp, target, kind in places)
            places[kind] = target
        return Signal(places.get("steps"), places.get("last"))

    def _outward(self, z: Array) -> Array:
        """Time first, as it lies in memory, to the batch first."""
        z = z.transpose(1, 0, 2) if z.ndim == 3 else z
        return z[0] if self._single else z

    def _inward(self, d: Array) -> Array:
        d = d[None] if self._single else d
        return d.transpose(1, 0, 2) if d.ndim == 3 else d

    def _take(self, p: ArrayLike) -> None:
        """Copy p, checked."""
        array = np.asarray(p)
        if array.shape != self._p.shape:
            self.network.unpack(array)  # says what is wrong
        if array.dtype.kind not in "fiub":
            raise InputError(f"p is no array of real numbers: its type is {array.dtype}.")
        np.copyto(self._p, array)
        if not np.isfinite(self._p.sum()):
            for name, part in self.network.unpack(self._p).items():
                bad = np.argwhere(~np.isfinite(part))
                if len(bad):
                    where = tuple(int(i) for i in bad[0])
                    raise InputError(f"p has {part[where]} in {name} at index {where}; expected finite numbers.")

    def _starts(self, x0: Sequence[ArrayLike | None] | None, B: int) -> list[list[ArrayLike | None]]:
        """The first states, layer by layer."""
        cells = self.network.cells
        given = [None] * len(cells) if x0 is None else list(x0)
        if len(given) != len(cells):
            raise InputError(f"x0 has {len(given)} entries; the network has {len(cells)} cells: one each, or None.")
        for i, (start, cell) in enumerate(zip(given, cells, strict=True)):
            if start is not None and np.shape(start) not in ((cell.n,), (B, cell.n)):
                raise InputError(f"x0[{i}] has shape {np.shape(start)}; expected ({cell.n},) or ({B}, {cell.n}).")
        rest = iter(given)
        return [[next(rest) for _ in layer.cells] for layer in self.network._stack]
