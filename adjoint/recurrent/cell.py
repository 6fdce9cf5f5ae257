"""`Cell`: the step of a recurrent network, x_{k+1} = Φ(x_k, u_k, p), and what its numbers are called.

A cell is a discrete system like any other: its inputs are the controls u_k, its weights the parameters p, and the
gradient of a loss through it is the backward sweep. A large one is not traced number by numbers but brings compiled
pieces for a whole batch (`kernels.cells`), and its equation in plain NumPy, by which the pieces are tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.cell_step import CellStep, Pieces
from adjoint.errors import InputError
from adjoint.recurrent.parts import Shapes, count, pack, unpack
from adjoint.system import System

__all__ = ["Cell", "glorot", "orthogonal", "size"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Cell:
    """A recurrent cell. Immutable.

    Attributes
    ----------
    name : str
    states : dict from str to shape
        The parts of the state, in order; x_k is all of them in one vector of n numbers.
    m : int
        Number of inputs.
    parameters : dict from str to shape
        The weights, in the order in which they lie in p.
    outputs : int
        The first so many numbers of the state are what the next layer sees.
    pieces : Pieces
        The step and its transpose, compiled.
    equation : callable
        ``f(t, x, u, p)``, the same step in plain NumPy for one path.
    initial : callable
        From a NumPy random generator to the weights by name.
    records : int
        Numbers that a step keeps for the way back, n_z.
    needs_records : bool
        Whether the transpose reads them.
    own_sizes : tuple of int
        Further sizes for the pieces.
    scratch : (int, int)
        Length of their scratch: fixed, and per row.
    """

    name: str
    states: Shapes
    m: int
    parameters: Shapes
    outputs: int
    pieces: Pieces
    equation: Callable[..., Any]
    initial: Callable[[np.random.Generator], dict[str, Array]]
    records: int
    needs_records: bool = True
    own_sizes: tuple[int, ...] = ()
    scratch: tuple[int, int] = (0, 0)

    @cached_property
    def n(self) -> int:
        """Numbers in the state."""
        return count(self.states)

    @cached_property
    def n_p(self) -> int:
        """Numbers in p."""
        return count(self.parameters)

    @cached_property
    def step(self) -> CellStep:
        """The step as machine code."""
        sizes = (self.n, self.m, self.n_p, self.records)
        return CellStep(self.pieces, sizes, self.own_sizes, self.scratch, self.needs_records, self.name)

    @cached_property
    def system(self) -> System:
        """The cell as a `System` for `rollout`, `sweep`, `linearize`; its parts are called as here."""

        def names(shapes: Shapes) -> list[str]:
            return [f"{name}[{math.prod(shape)}]" for name, shape in shapes.items() if math.prod(shape) > 0]

        return System.from_step(
            self.step,
            self.equation,
            states=names(self.states),
            controls=[f"u[{self.m}]"] if self.m else (),
            parameters=names(self.parameters),
            name=self.name,
        )

    def init(self, seed: int = 0) -> NDArray[np.float64]:
        """Random weights (n_p,); the same ones for the same seed."""
        return self.pack(self.initial(np.random.default_rng(seed)))

    def unpack(self, p: ArrayLike) -> dict[str, Array]:
        """Views of the weights in p, by name."""
        return unpack(p, self.parameters, f"cell {self.name!r}")

    def pack(self, weights: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """p from the weights by name.

        Raises
        ------
        InputError
            If a name or a shape is wrong.
        """
        return pack(weights, self.parameters, f"cell {self.name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        raise InputError(
            f"cell {self.name!r} is not pickled: make it again where it is needed ({self.name}(…)), and send p."
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        return self  # immutable

    def __repr__(self) -> str:
        return f"Cell({self.name!r}: {self.n} states, {self.m} inputs, {self.n_p} parameters)"


def size(name: str, value: Any, least: int = 1) -> int:
    """A size that a user gave, checked."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} is {value!r}; expected a whole number of at least {least}.")
    return int(value)


def glorot(rng: np.random.Generator, out: int, into: int) -> Array:
    """Uniform with variance 2 / (in + out): Glorot and Bengio 2010, equation 16."""
    bound = math.sqrt(6 / (out + into))
    return rng.uniform(-bound, bound, (out, into))


def orthogonal(rng: np.random.Generator, d: int, gain: float = 1.0) -> Array:
    """A random orthogonal matrix times `gain`: all singular values equal, no direction forgotten first."""
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return gain * Q * np.sign(np.diag(R))  # unique factors make Q uniformly distributed
