"""What the caller of `solve_ivp` gave, checked: each function returns arrays that fit, or says what is wrong."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.ode.run import Control
from adjoint.system import System

__all__ = [
    "control", "intervals", "numbers", "output_times", "span", "system_of", "with_four_arguments",
    "with_quadrature",
]  # fmt: skip

Array = NDArray[np.float64]
EPS = float(np.finfo(float).eps)
SHARPEST = 100 * EPS  # a relative tolerance below this is lost in the rounding of the stages


def numbers(name: str, value: object) -> Array:
    """A fresh float64 array of finite real numbers."""
    if type(value) is np.ndarray and value.dtype == np.float64:
        array = np.array(value, order="C")
        if math.isfinite(math.fsum(array.flat) if array.size < 8 else float(np.add.reduce(array, axis=None))):
            return array  # the common case, in a microsecond
    given = np.asarray(value)
    if given.dtype.kind == "c":
        raise InputError(
            f"{name} is complex. States are real numbers: give real and imaginary parts as two states, and write f for "
            "them."
        )
    try:
        array = np.array(given, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is {value!r}, which is no array of real numbers ({error}).") from error
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{name} has {array[where]}{f' at index {where}' if where else ''}; expected finite numbers.")
    return array


def system_of(f: System | Callable[..., Any], x0: Array, u: ArrayLike | None, p: ArrayLike | None) -> System:
    """The system itself, or one around a plain function f(t, x, u, p) or f(t, x), as large as x0, u and p say."""
    if isinstance(f, System):
        return f
    if not callable(f):
        raise InputError(f"the first argument is {f!r}; expected a System or a function f(t, x, u, p).")
    given = (x0, () if u is None else u, () if p is None else p)
    n, m, n_p = (int(np.shape(a)[-1]) if np.ndim(a) else 1 for a in given)
    return System(with_four_arguments(f), f"x[{n}]", f"u[{m}]" if m else "", f"p[{n_p}]" if n_p else "",
                  name=getattr(f, "__name__", None))


def with_four_arguments(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, or one around f(t, x) that takes u and p too."""
    try:
        signature = inspect.signature(f)
        signature.bind(None, None)
    except (TypeError, ValueError):
        return f
    try:
        signature.bind(None, None, None, None)
    except TypeError:

        def without_u_and_p(t: Any, x: Any, u: Any, p: Any) -> Any:
            return f(t, x)

        without_u_and_p.__name__ = getattr(f, "__name__", "f")
        # Messages quote the lines of f; its signature is that of the wrapper all the same.
        without_u_and_p.__signature__ = inspect.signature(without_u_and_p)  # type: ignore[attr-defined]
        without_u_and_p.__wrapped__ = f  # type: ignore[attr-defined]
        return without_u_and_p
    return f


def span(t_span: Any) -> tuple[float, float]:
    """t_0 and t_1, distinct; t_1 may be the smaller one."""
    try:
        t0, t1 = t_span
        t0, t1 = float(t0), float(t1)
    except (TypeError, ValueError):
        raise InputError(f"t_span is {t_span!r}; expected two numbers (t0, t1).") from None
    if not (math.isfinite(t0) and math.isfinite(t1)):
        raise InputError(f"t_span = ({t0:g}, {t1:g}); expected finite times.")
    if t0 == t1:
        raise InputError(f"t_span = ({t0:g}, {t1:g}) is empty. Give two different times; t1 < t0 runs backwards.")
    return t0, t1


def intervals(
    system: System, u: object, knots: ArrayLike | None, t0: float, t1: float
) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    """The times where a step must end, from t0 to t1, the control between them, all controls (M, m), and which of them
    is the first here.
    """
    m = system.m
    if callable(u):
        raise InputError(
            "u is a function. A control that varies continuously is part of f: write it there, as a function of t. One "
            "that is held between times is given as u (M, m) with knots (M+1,)."
        )
    if u is None and m:
        raise InputError(
            f"u is missing; system {system.name!r} has the controls {system.describe('control')}. Pass ({m},) for a "
            f"constant, or (M, {m}) with knots= (M+1,)."
        )
    held = numbers("u", () if u is None else u)
    if knots is None:
        if held.shape != (m,) and not (held.ndim == 0 and m == 1):
            raise InputError(
                f"u has shape {held.shape}; expected ({m},) for a constant control, or (M, {m}) together with knots= "
                "(M+1,), the times between which each row is held."
            )
        held = held.reshape(1, m)
        return np.array([t0, t1]), held, held, np.zeros(1, np.int64)
    times = numbers("knots", knots)
    step = np.diff(times) * (1 if t1 > t0 else -1)
    if times.ndim != 1 or times.size < 2 or not ((step > 0).all() or (step < 0).all()):
        raise InputError("knots are the times between which u is held: a monotone list of two or more.")
    if u is None or (held.shape == (m,) and times.size != 2):
        held = np.tile(held.reshape(1, m), (times.size - 1, 1))  # the knots are where f has a kink
    if held.ndim == 1 and held.size == times.size - 1 and m == 1:
        held = held[:, None]
    if held.shape != (times.size - 1, m):
        raise InputError(
            f"u has shape {held.shape}; expected ({times.size - 1}, {m}), one row for each of the {times.size - 1} "
            "intervals between knots."
        )
    low, high = min(t0, t1), max(t0, t1)
    if (times.min() > low or times.max() < high) and not m:  # they only say where f has kinks
        times = np.unique(np.concatenate([times, [low, high]]))
        times = times if (step[0] > 0 and t1 > t0) or (step[0] < 0 and t1 < t0) else times[::-1]
        held = np.zeros((times.size - 1, 0))
    elif times.min() > low or times.max() < high:
        raise InputError(
            f"knots go from {times.min():g} to {times.max():g}, but the span from {low:g} to {high:g}. "
            "They must cover it: u is not known elsewhere."
        )
    inner = np.flatnonzero((times > low) & (times < high))
    middle = times[inner] if step[0] > 0 else times[inner][::-1]
    stops = np.concatenate([[t0], middle, [t1]])
    centres = (stops[:-1] + stops[1:]) / 2
    ascending = times if times[1] > times[0] else times[::-1]
    which = np.searchsorted(ascending, centres) - 1
    if times[1] < times[0]:
        which = times.size - 2 - which
    return stops, np.ascontiguousarray(held[which]), held, which


def control(
    system: System, rtol: float, atol: ArrayLike, max_step: float, first_step: float | None, max_steps: int,
    length: float,
) -> Control:  # fmt: skip
    """The options of error control."""
    if not isinstance(rtol, float | int | np.floating) or not 0 <= rtol < math.inf:
        raise InputError(f"rtol is {rtol!r}; expected a number >= 0, such as 1e-6.")
    if isinstance(atol, float | int):
        tolerance, counted = np.full(system.n, atol, np.float64), system.n if atol < math.inf else 0
        good, zero = atol >= 0, atol == 0
    else:
        tolerance = np.array(atol, dtype=np.float64)
        good = tolerance.shape == (system.n,) and bool((tolerance >= 0).all())
        counted, zero = int(np.isfinite(tolerance).sum()), not tolerance.all()
    if not good:
        raise InputError(
            f"atol is {atol!r}; expected a number >= 0, or one for each of the {system.n} states "
            f"({system.describe('state')})."
        )
    if rtol == 0 and zero:
        raise InputError("rtol and atol are both zero: no step is short enough for that. Give at least one of them.")
    if 0 < rtol < SHARPEST:
        raise InputError(
            f"rtol = {rtol:g} is below what double precision can resolve in a step. Use {SHARPEST:.1e} or more."
        )
    if not max_step > 0:
        raise InputError(f"max_step is {max_step!r}; expected a positive number.")
    if first_step is not None and not 0 < first_step <= length:
        raise InputError(f"first_step is {first_step!r}; expected a number between 0 and the length of t_span.")
    if not isinstance(max_steps, int | np.integer) or max_steps < 1:
        raise InputError(f"max_steps is {max_steps!r}; expected a positive integer.")
    tolerance.setflags(write=False)
    return Control(
        float(rtol), tolerance, float(max_step), float(first_step or 0.0), int(max_steps), float(max(1, counted))
    )


def output_times(t_eval: ArrayLike, t0: float, t1: float) -> Array:
    """t_eval: within the span, in its direction."""
    times = numbers("t_eval", t_eval)
    if times.ndim != 1 or times.size == 0:
        raise InputError(f"t_eval has shape {times.shape}; expected (K,), one or more times.")
    if times.min() < min(t0, t1) or times.max() > max(t0, t1):
        raise InputError(
            f"t_eval goes from {float(times.min())!r} to {float(times.max())!r}, outside of t_span = ({t0!r}, {t1!r})."
        )
    if times.size > 1 and not ((times[1:] - times[:-1]) * (1 if t1 > t0 else -1) > 0).all():
        raise InputError("t_eval is not sorted in the direction of t_span. Sort it, without repetitions.")
    return times


def with_quadrature(options: Control, tolerance: float) -> Control:
    """The same with one more state, of its own absolute tolerance."""
    if not tolerance > 0:
        raise InputError(f"integral_tolerance is {tolerance!r}; expected a positive number, or math.inf.")
    atol = np.append(options.atol, tolerance)
    atol.setflags(write=False)
    return options._replace(atol=atol, counted=options.counted + (1 if tolerance < math.inf else 0))
