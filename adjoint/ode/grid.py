"""Knots and controls of a run that is too long for arrays of its length: made when a segment asks for them.

    knots      t_k = t0 + k (t1 - t0) / N, the numbers of np.linspace; or an array; or k, for a map without times
    controls   a constant; an array; a function of (first, last), the steps of a segment

Controls collect their own gradient: a constant sums it up, an array has one of its shape, a function hands it on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.system import System

__all__ = ["Controls", "Knots", "controls", "knots"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Knots:
    """N + 1 knots.

    Attributes
    ----------
    N : int
    t0, t1 : float
        The first and the last, of equally spaced ones.
    array : array (N+1,) or None
        The knots, where they are not.
    """

    N: int
    t0: float
    t1: float
    array: Array | None = None

    def between(self, first: int, last: int) -> Array:
        """The knots first … last, both included."""
        if self.array is not None:
            return self.array[first : last + 1]
        t = np.arange(float(first), last + 1.0)
        t *= (self.t1 - self.t0) / self.N
        t += self.t0
        if last == self.N:
            t[-1] = self.t1
        return t


def knots(
    system: System,
    t: ArrayLike | tuple[float, float, int] | None,
    steps: int | None,
    u: ArrayLike | Callable[[int, int], ArrayLike] | None,
) -> Knots:
    """What `t` means: (t0, t1, N), an array, or None for a discrete system, where `steps` or `u` tells N.

    Raises
    ------
    InputError
        If it is none of these; steps of an array that go back and forth are left to `rollout`.
    """
    if t is None:
        if not system.discrete:
            raise InputError(f"system {system.name!r} is continuous: pass t=(t0, t1, N), N equal steps, or its knots.")
        shape = () if u is None or callable(u) else np.shape(u)
        told = shape[-2] if len(shape) >= 2 else shape[0] if len(shape) == 1 and system.m == 1 else None
        N = _steps("steps", told if steps is None else steps)
        return Knots(N, 0.0, float(N))
    if steps is not None:
        raise InputError("both t and steps are given; t already says how many steps there are.")
    if isinstance(t, tuple) and len(t) == 3:
        t0, t1, N = float(t[0]), float(t[1]), _steps("N in t=(t0, t1, N)", t[2])
        if not (math.isfinite(t0) and math.isfinite(t1)) or abs(t1 - t0) / N <= np.spacing(max(abs(t0), abs(t1))):
            raise InputError(f"t is {t!r}; expected (t0, t1, N) with N steps that are longer than rounding errors.")
        return Knots(N, t0, t1)
    array = np.array(t, dtype=np.float64)
    h = np.diff(array) if array.ndim == 1 else np.zeros(0)
    if h.size == 0 or not ((h > 0).all() or (h < 0).all()):
        raise InputError(
            f"t has shape {array.shape}; expected a tuple (t0, t1, N), or (N+1,) knots that increase, or decrease, "
            "throughout."
        )
    return Knots(h.size, float(array[0]), float(array[-1]), array)


def _steps(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} is {value!r}; expected a positive whole number.")
    return int(value)


class Controls(Protocol):
    """The controls of a run, and ∂J/∂u."""

    wanted: bool

    def between(self, first: int, last: int) -> Array:
        """Those of the steps first … last - 1: (last - first, m), or (paths, last - first, m)."""

    def collect(self, first: int, g: Array) -> None:
        """∂J/∂u (paths, K, m) at the steps first … first + K - 1."""

    def gradient(self, single: bool) -> Array | None:
        """All of it."""


class _Constant:
    """One u for all steps; its gradient is Σ ∂J/∂u_k."""

    def __init__(self, value: Array, paths: int) -> None:
        self.value, self.wanted = value, value.size > 0
        self.total = np.zeros((paths, value.size))

    def between(self, first: int, last: int) -> Array:
        return np.tile(self.value, (last - first, 1))

    def collect(self, first: int, g: Array) -> None:
        self.total += g.sum(axis=1)

    def gradient(self, single: bool) -> Array:
        return self.total[0] if single else self.total


class _Given:
    """An array, as long as the run."""

    def __init__(self, value: Array, paths: int) -> None:
        self.value, self.wanted = value, True
        self.all = np.empty((paths, *value.shape[-2:]))

    def between(self, first: int, last: int) -> Array:
        return self.value[..., first:last, :]

    def collect(self, first: int, g: Array) -> None:
        self.all[:, first : first + g.shape[1]] = g

    def gradient(self, single: bool) -> Array:
        return self.all[0] if single else self.all


class _Made:
    """A function that makes the controls of a segment, and perhaps one that takes their gradient."""

    def __init__(
        self, make: Callable[[int, int], ArrayLike], take: Callable[[int, Array], None] | None, m: int, single: bool
    ) -> None:
        self.make, self.take, self.m, self.single = make, take, m, single
        self.wanted = take is not None

    def between(self, first: int, last: int) -> Array:
        u = np.asarray(self.make(first, last), dtype=np.float64)
        if u.ndim not in (2, 3) or u.shape[-2:] != (last - first, self.m):
            raise InputError(
                f"u({first}, {last}) returned shape {u.shape}; expected ({last - first}, {self.m}), the controls of "
                f"the steps {first} … {last - 1}."
            )
        return u

    def collect(self, first: int, g: Array) -> None:
        if self.take is not None:
            self.take(first, g[0] if self.single else g)

    def gradient(self, single: bool) -> None:
        return None


def controls(
    system: System,
    u: ArrayLike | Callable[[int, int], ArrayLike] | None,
    du: Callable[[int, Array], None] | None,
    N: int,
    batch: int | None,
) -> Controls:
    """What `u` means, for a run of N steps.

    Raises
    ------
    InputError
        If the shape is none of those, or `du` is given for controls that are no function.
    """
    paths, m = batch or 1, system.m
    if callable(u):
        return _Made(u, du, m, batch is None)
    if du is not None:
        raise InputError("du takes the gradient of controls that are a function; for others it is in the result.")
    array = np.zeros(0) if u is None else np.array(u, dtype=np.float64)
    if array.shape == (m,) or (array.ndim == 0 and m == 1):
        return _Constant(array.reshape(m), paths)
    if array.ndim == 1 and m == 1 and array.size == N:
        array = array[:, None]
    if array.ndim in (2, 3) and array.shape[-2:] == (N, m):
        return _Given(array, paths)
    raise InputError(
        f"u has shape {array.shape}; system {system.name!r} has {m} controls and the run {N} steps: pass ({m},) for a "
        f"constant, ({N}, {m}), (batch, {N}, {m}), or a function u(first, last)."
    )
