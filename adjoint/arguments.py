"""What the caller of a verb gave, checked: shapes, finite numbers, knots in order, one size of batch.

Each message says what was given, what the system wants, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.system import System

__all__ = ["Arguments", "Control", "arguments", "shaped"]

Array = NDArray[np.float64]
Control = ArrayLike | Callable[[float], ArrayLike] | None


class Arguments(NamedTuple):
    """What `rollout` was given, checked and in full: t (N+1,), p (n_p,) or (batch, n_p), and x0 (n,), u (N, m) or both
    with a batch in front.
    """

    x0: Array
    u: Array
    t: Array
    p: Array
    batch: int | None


def arguments(
    system: System, x0: ArrayLike, u: Control, t: ArrayLike | None, p: ArrayLike | None, steps: int | None
) -> Arguments:
    """The arguments of `rollout`, checked; a control that is held is repeated, and so is what a batch shares, but p.

    Raises
    ------
    InputError
        As `rollout`.
    """
    if not isinstance(system, System):
        inside = isinstance(getattr(system, "system", None), System)  # a cell, or an OptimalControlProblem
        do = "Pass its .system." if inside else 'Wrap a function f(t, x, u, p) as System(f, states="…").'
        raise InputError(f"rollout: the first argument is {type(system).__name__}; expected a System. {do}")
    starts = numbers("x0", x0, system)
    if starts.ndim not in (1, 2) or starts.shape[-1] != system.n:
        raise InputError(
            f"x0 has shape {starts.shape}; system {system.name!r} has {_count(system, 'state')}. "
            f"Pass one number per state, shape ({system.n},), or (batch, {system.n})."
        )
    knots = _knots(system, t, u, steps)
    N = knots.size - 1
    controls = _controls(system, u, knots)
    parameters = _parameters(system, p)
    batch = _batch(starts, controls, parameters)
    if batch is not None:
        starts = np.broadcast_to(starts, (batch, system.n))
        controls = np.ascontiguousarray(np.broadcast_to(controls, (batch, N, system.m)))
    return Arguments(starts, controls, knots, parameters, batch)


def numbers(name: str, value: object, system: System) -> Array:
    """A fresh float64 array without inf and nan."""
    try:
        array = np.array(value, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} of system {system.name!r} is {value!r}, which is no array of real numbers ({error})."
            + (f" Pass the numbers alone, in the order of the names: {name}=[…]." if isinstance(value, dict) else "")
        ) from error
    if np.count_nonzero(np.isfinite(array)) < array.size:  # five times as fast as all(), which short arrays notice
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(
            f"{name} of system {system.name!r} has {array[where]} at index {where}; expected finite numbers."
        )
    return array


def _count(system: System, kind: str) -> str:
    """``3 states (h, v, m)``."""
    size = {"state": system.n, "control": system.m, "parameter": system.n_p}[kind]
    return f"{size} {kind}{'' if size == 1 else 's'}" + (f" ({system.describe(kind)})" if size else "")


def _knots(system: System, t: ArrayLike | None, u: Control, steps: int | None) -> Array:
    if t is None:
        if not system.discrete:
            raise InputError(
                f"system {system.name!r} is continuous: pass its knots, for example t=np.linspace(0, 1, 101)."
            )
        return np.arange(_steps(system, u, steps) + 1.0)
    if steps is not None:
        raise InputError(
            f"rollout of system {system.name!r}: both t and steps are given. t already says how many steps there are."
        )
    knots = numbers("t", t, system)
    if knots.ndim != 1 or knots.size < 2:
        end = f" For 100 steps to {float(knots):g}: np.linspace(0, {float(knots):g}, 101)." if knots.ndim == 0 else ""
        raise InputError(f"t has shape {knots.shape}; expected (N+1,), the knots of N >= 1 steps.{end}")
    h = knots[1:] - knots[:-1]
    if np.count_nonzero(h > 0) < h.size and np.count_nonzero(h < 0) < h.size:
        k = int(np.argmax(h * np.sign(h[0] if h[0] else 1.0) <= 0))
        raise InputError(
            f"t is not monotone: t[{k}] = {knots[k]:g} and t[{k + 1}] = {knots[k + 1]:g}. "
            "The knots increase, or decrease, from first to last."
        )
    return knots


def _steps(system: System, u: Control, steps: int | None) -> int:
    if steps is not None:
        if not isinstance(steps, int | np.integer) or steps < 1:
            raise InputError(f"steps is {steps!r}; expected a positive integer.")
        return int(steps)
    shape: tuple[int, ...] = () if u is None or callable(u) else np.asarray(u).shape
    if len(shape) >= 2 and shape[-2] > 0:
        return shape[-2]
    if len(shape) == 1 and system.m == 1 and shape[0] > 0:
        return shape[0]
    raise InputError(
        f"rollout of system {system.name!r}: nothing says how many steps to take. Pass steps=N, the knots t, "
        f"or u with one row per step, shape (N, {system.m})."
    )


def _controls(system: System, u: Control, knots: Array) -> Array:
    """(N, m) or (batch, N, m)."""
    N, m = knots.size - 1, system.m
    if u is None:
        if m:
            raise InputError(
                f"u is missing; system {system.name!r} has {_count(system, 'control')}. Pass shape ({N}, {m}), one row "
                f"per step, or ({m},) for a constant."
            )
        return np.zeros((N, 0))
    if callable(u):
        array = numbers("u(t)", [np.reshape(u(float(t_k)), -1) for t_k in knots[:-1]], system)
        if array.shape != (N, m):
            raise InputError(
                f"u(t) returned {array.size // N} numbers; system {system.name!r} has {_count(system, 'control')}."
            )
        return array
    array = numbers("u", u, system)
    if array.ndim == 1 and m == 1 and array.size == N:
        return array[:, None]
    if array.shape == (m,) or (array.ndim == 0 and m == 1):
        return np.tile(array.reshape(m), (N, 1))
    if array.ndim in (2, 3) and array.shape[-2:] == (N, m):
        return array
    hint = (
        f" It has a row per knot, and a control is held over a step: drop the last row (u[:{N}])."
        if array.ndim >= 1 and N + 1 in array.shape[:2]
        else " Time is the first axis: pass u.T."
        if array.shape == (m, N)
        else ""
    )
    raise InputError(
        f"u has shape {array.shape}; system {system.name!r} has {_count(system, 'control')} and t has {N} steps. "
        f"Pass shape ({N}, {m}), ({m},) for a constant, or (batch, {N}, {m}).{hint}"
    )


def _parameters(system: System, p: ArrayLike | None) -> Array:
    """(n_p,) or (batch, n_p)."""
    array = numbers("p", () if p is None else p, system)
    if array.ndim not in (1, 2) or array.shape[-1] != system.n_p:
        given = "p is missing" if p is None else f"p has shape {array.shape}"
        raise InputError(
            f"{given}; system {system.name!r} has {_count(system, 'parameter')}. "
            f"Pass shape ({system.n_p},), or (batch, {system.n_p})."
        )
    return array


def _batch(x0: Array, u: Array, p: Array) -> int | None:
    """The common batch size of x0 (…, n), u (…, N, m), p (…, n_p); None if none of them is a batch."""
    sizes = {
        name: len(array) for name, array, single in (("x0", x0, 1), ("u", u, 2), ("p", p, 1)) if array.ndim > single
    }
    if len(set(sizes.values())) > 1:
        raise InputError(
            "the batch sizes differ: "
            + ", ".join(f"{name} has {size}" for name, size in sizes.items())
            + ". Each is one number of paths, or unbatched."
        )
    if 0 in sizes.values():
        raise InputError(f"{' and '.join(sizes)} of shape (0, …) make a batch of no paths; expected at least one.")
    return next(iter(sizes.values()), None)


def shaped(name: str, value: ArrayLike, like: str, shapes: tuple[tuple[int, ...], ...], system: System) -> Array:
    """Finite numbers of one of these shapes, which are those of `like`.

    Raises
    ------
    InputError
        If they are not.
    """
    array = numbers(name, value, system)
    if array.shape not in shapes:
        raise InputError(
            f"{name} has shape {array.shape}; expected {' or '.join(map(str, shapes))}, as {like} of "
            f"this trajectory of system {system.name!r}."
        )
    return array
