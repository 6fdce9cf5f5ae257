"""`Trajectory`: what happened, and how it was made. `Gradient`: what the backward sweep brought back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjoint.method import Method
from adjoint.symplectic import Composition
from adjoint.system import System

__all__ = ["Gradient", "Trajectory"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A rolled-out path, or a batch of paths over the same times. The arrays are read-only.

    Attributes
    ----------
    t : array (N+1,)
        The knots.
    x : array (N+1, n), or (batch, N+1, n)
        The states at the knots.
    u : array (N, m), or (batch, N, m)
        The controls, each held over its step.
    p : array (n_p,), or (batch, n_p) where each path has its own
    system : System
    method : Method, Composition or None
        What stepped a continuous system; None for a discrete one.

    Examples
    --------
    ``trajectory["h"]`` is the state, control or parameter called h; ``trajectory["q"]`` the group q0 … of them.
    """

    t: Array
    x: Array
    u: Array
    p: Array
    system: System
    method: Method | Composition | None

    def __post_init__(self) -> None:
        for array in (self.t, self.x, self.u, self.p):
            array.setflags(write=False)

    def __len__(self) -> int:
        """The number of steps N (there are N+1 knots)."""
        return self.t.size - 1

    @property
    def batch(self) -> int | None:
        """How many paths there are; None for a single path without a batch axis."""
        return self.x.shape[0] if self.x.ndim == 3 else None

    def __getitem__(self, name: str) -> Array:
        kind, index = self.system.index(name)
        return {"state": self.x, "control": self.u, "parameter": self.p}[kind][..., index]

    def __reduce__(self) -> tuple[Any, ...]:
        return Trajectory, (
            self.t,
            self.x,
            self.u,
            self.p,
            self.system,
            self.method,
        )  # so that the copy is read-only too

    def __repr__(self) -> str:
        by = f" by {self.method.name}" if self.method is not None else ""
        paths = "" if self.batch is None else f"{self.batch} paths, "
        return f"Trajectory({self.system.name!r}: {paths}{len(self)} steps{by}, t = {self.t[0]:g} … {self.t[-1]:g})"


@dataclass(frozen=True, eq=False)
class Gradient:
    """The derivative of a number J along a trajectory with respect to everything the trajectory was made from.

    Attributes
    ----------
    x0 : array (n,), or (batch, n)
        ∂J/∂x_0, which is the first costate.
    u : array (N, m), or (batch, N, m)
        ∂J/∂u_k.
    p : array (n_p,), or (batch, n_p)
        ∂J/∂p; summed over the batch where the paths share one p.
    costate : array (N+1, n), or (batch, N+1, n)
        λ_k = ∂J/∂x_k, the derivative of the cost to go.
    """

    x0: Array
    u: Array
    p: Array
    costate: Array
