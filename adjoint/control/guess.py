"""Where the solver starts: states, controls, parameters and times as functions of normalised time.

Default: states on the line between their end values, controls in the middle of their bounds (at zero if unbounded),
parameters and times at their own guesses. A free end takes the value that the dynamics point to: the other end plus
the mean
rate of change over admissible controls times the duration, within bounds, and never further away than the other
end's own size.
(A state that starts at rest would otherwise be guessed at rest for ever, where many problems are singular.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjoint.control.problem import OptimalControlProblem, Phase
from adjoint.errors import InputError

__all__ = ["Guess", "bent", "make_guess", "scales"]

Array = NDArray[np.float64]

# Relative size below which a number is taken for the rounding error of a zero.
NOISE = 1e-12


@dataclass(frozen=True)
class Guess:
    """States and controls over normalised time tau in [0, 1], with times, parameters and scales."""

    at: Callable[[Array], tuple[Array, Array]]  # tau (k,) -> x (k, n), u (k, m)
    t0: float
    tf: float
    p: Array
    state_scale: Array
    control_scale: Array


def make_guess(problem: OptimalControlProblem, user: Mapping[str, Any] | None) -> Guess:
    """The default guess, overridden by the problem's own and then by the caller's entries.

    Parameters
    ----------
    problem : OptimalControlProblem
    user : mapping, optional
        From a name to: a number (constant); an array of length >= 2 over the time (evenly spaced, or at the times
        ``user["t"]``); a function of time. For a group name ``q[3]`` an array (3,) or (k, 3).

    Raises
    ------
    InputError
        For unknown names, wrong lengths, values that are not finite.
    """
    phase = problem.phases[0]
    system = phase.system
    assert phase.t0.guess is not None and phase.tf.guess is not None
    t0, tf = float(phase.t0.guess), float(phase.tf.guess)
    p = np.array([_middle(q.guess, q.lower, q.upper) for q in phase.parameters])
    control = np.array([_middle(None, lo, up) for lo, up in phase.control_bounds.T])
    ends = _line(phase, control, p, t0, tf)
    overrides: dict[tuple[str, int], Callable[[Array], Array]] = {}
    if user is not None and not isinstance(user, Mapping):
        raise InputError(f"guess is {type(user).__name__}; expected a mapping such as dict(thrust=1.0), or a Solution.")
    merged = dict(problem.guess) | dict(user or {})
    times = merged.pop("t", None)
    if times is not None:
        times = _numbers("t", times)
        if times.ndim != 1 or times.size < 2 or not np.all(np.diff(times) > 0) or not np.all(np.isfinite(times)):
            raise InputError(f"guess: t has shape {times.shape}; expected an increasing vector of at least two times.")
        t0 = t0 if phase.t0.lower == phase.t0.upper else float(np.clip(times[0], phase.t0.lower, phase.t0.upper))
        tf = tf if phase.tf.lower == phase.tf.upper else float(np.clip(times[-1], phase.tf.lower, phase.tf.upper))
    for name, value in merged.items():
        kind, index = system.index(name)
        indices = [index] if isinstance(index, int) else list(range(index.stop))[index]
        if kind == "parameter":
            numbers = _numbers(name, value)
            if numbers.shape not in ((), (len(indices),)):
                raise InputError(
                    f"guess: {name!r} has shape {numbers.shape}; expected "
                    f"{'a number' if len(indices) == 1 else f'one number, or {len(indices)}'}."
                )
            p[indices] = numbers
            continue
        for position, i in enumerate(indices):
            overrides[kind, i] = _entry(name, value, position, len(indices), times, t0, tf)

    def at(tau: Array) -> tuple[Array, Array]:
        tau = np.asarray(tau, dtype=float)
        x = ends[0] + np.multiply.outer(tau, ends[1] - ends[0])
        u = np.tile(control, (tau.size, 1))
        for (kind, i), function in overrides.items():
            (x if kind == "state" else u)[:, i] = function(tau)
        return x, u

    grid = np.linspace(0, 1, 21)
    x, u = at(grid)
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(u))):
        bad = next(
            name
            for name, column in zip((*system.states, *system.controls), (*x.T, *u.T), strict=True)
            if not np.all(np.isfinite(column))
        )
        raise InputError(f"guess: the values of {bad!r} are not all finite numbers.")
    if not np.all(np.isfinite(p)):
        raise InputError(
            f"guess: the value of {system.parameters[int(np.argmin(np.isfinite(p)))]!r} is not a finite number."
        )
    return Guess(at, t0, tf, p, *scales(phase, x, u, p, t0, tf))


def bent(problem: OptimalControlProblem, guess: Guess, generator: np.random.Generator, size: float) -> Guess:
    """The guess plus three random waves a component; fixed ends of states stay, free ones move too; everything stays
    within its bounds.

    Parameters
    ----------
    size : float
        Amplitude relative to the scales (of bounded controls: to the width of the bounds).
    """
    phase = problem.phases[0]
    waves = np.arange(1, 4)
    x_amplitude = size * guess.state_scale * generator.standard_normal((3, phase.system.n)) / waves[:, None]
    free_ends = np.array([phase.initial[0] < phase.initial[1], phase.final[0] < phase.final[1]])
    ramp = size * guess.state_scale * generator.standard_normal((2, phase.system.n)) * free_ends
    lower, upper = phase.control_bounds
    width = np.where(np.isfinite(lower) & np.isfinite(upper), upper - lower, guess.control_scale)
    u_amplitude = size * width * generator.standard_normal((3, phase.system.m))

    def at(tau: Array) -> tuple[Array, Array]:
        x, u = guess.at(tau)
        x = x + np.sin(np.pi * np.multiply.outer(tau, waves)) @ x_amplitude
        x = x + np.multiply.outer(1 - tau, ramp[0]) + np.multiply.outer(tau, ramp[1])
        u = u + np.cos(np.pi * np.multiply.outer(tau, waves)) @ u_amplitude
        return np.clip(x, *phase.state_bounds), np.clip(u, lower, upper)

    return Guess(at, guess.t0, guess.tf, guess.p, guess.state_scale, guess.control_scale)


def _middle(guess: float | None, lower: float, upper: float) -> float:
    if guess is not None:
        return float(guess)
    if math.isfinite(lower) and math.isfinite(upper):
        return 0.5 * (lower + upper)
    return float(min(max(0.0, lower), upper))


def _line(phase: Phase, control: Array, p: Array, t0: float, tf: float) -> Array:
    """(2, n): values of the states at both ends."""
    n, graph = phase.system.n, phase.system.graph
    limits = (phase.initial, phase.final)
    ends, known = np.empty((2, n)), np.zeros((2, n), dtype=bool)
    for i in range(n):
        for j, bounds in enumerate(limits):
            known[j, i] = bounds[0, i] == bounds[1, i]
            ends[j, i] = _middle(None, bounds[0, i], bounds[1, i])
    for i in range(n):
        for j in range(2):
            if not known[j, i] and known[1 - j, i]:
                ends[j, i] = min(max(ends[1 - j, i], limits[j][0, i]), limits[j][1, i])
    if phase.system.discrete:
        return ends
    lower, upper = phase.control_bounds
    width = np.where(np.isfinite(lower) & np.isfinite(upper), upper - lower, 2.0)
    controls = control + np.linspace(-0.4, 0.4, 9)[:, None] * width
    controls = np.clip(controls, lower, upper)
    for _ in range(2):  # twice: a position follows its speed
        middle = ends.mean(axis=0)
        rates = np.array([np.asarray(graph(0.5 * (t0 + tf), middle, u, p)).ravel() for u in controls])
        rates = np.where(np.isfinite(rates), rates, 0.0)
        rate = rates.mean(axis=0) * (tf - t0)
        rate[np.abs(rates.mean(axis=0)) < NOISE * np.abs(rates).max(axis=0)] = 0.0
        for i in range(n):
            for j, direction in ((1, 1.0), (0, -1.0)):
                lo, up = limits[j][:, i]
                if known[j, i] or not known[1 - j, i] or (math.isfinite(lo) and math.isfinite(up)):
                    continue
                start = ends[1 - j, i]
                change = direction * rate[i]
                if start != 0:
                    change = math.copysign(min(abs(change), abs(start)), change)
                ends[j, i] = min(max(start + change, lo), up)
    return ends


def _numbers(name: str, value: Any) -> Array:
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"guess: {name!r} is {value!r}; expected numbers, or a function of time.") from None


def _called(name: str, function: Callable[[float], Any], t: float, count: int) -> Array:
    """The value (count,) of a guess that is a function of time."""
    try:
        value = function(t)
    except Exception as error:
        raise InputError(
            f"guess: the function of {name!r} failed at t = {t:g}: {error}. It is called with one time."
        ) from error
    array = np.atleast_1d(_numbers(name, value))
    if array.shape != (count,):
        raise InputError(
            f"guess: the function of {name!r} returns shape {array.shape} at t = {t:g}; expected "
            f"{'a number' if count == 1 else f'{count} numbers'}."
        )
    return array


def _entry(
    name: str, value: Any, position: int, count: int, times: Array | None, t0: float, tf: float
) -> Callable[[Array], Array]:
    """One component's guess as a function of tau."""
    if callable(value):

        def function(tau: Array) -> Array:
            return np.array([_called(name, value, float(t), count)[position] for t in t0 + (tf - t0) * tau])

        return function
    array = _numbers(name, value)
    if array.ndim == 0 or (array.ndim == 1 and count > 1 and array.size == count):
        constant = float(array if array.ndim == 0 else array[position])
        return lambda tau: np.full(tau.size, constant)
    if array.ndim == 2 and array.shape[1] == count:
        array = array[:, position]
    elif not (array.ndim == 1 and count == 1):
        raise InputError(
            f"guess: {name!r} has shape {array.shape}; expected a number, a vector over the time, "
            f"or a function of time{f', with {count} components' if count > 1 else ''}."
        )
    if array.size < 2 or (times is not None and array.size != times.size):
        wanted = f"{times.size} (the length of t)" if times is not None else "at least 2"
        raise InputError(f"guess: {name!r} has {array.size} values; expected {wanted}.")
    grid = np.linspace(0, 1, array.size) if times is None else (times - times[0]) / (times[-1] - times[0])
    return lambda tau: np.interp(tau, grid, array)


def scales(phase: Phase, x: Array, u: Array, p: Array, t0: float, tf: float) -> tuple[Array, Array]:
    """Typical sizes of states and controls: from finite two-sided bounds, else the guess, else the speed of change."""
    sx, su = np.ones(phase.system.n), np.ones(phase.system.m)
    values = (x, u)
    for scale, bounds, guess in ((sx, phase.state_bounds, values[0]), (su, phase.control_bounds, values[1])):
        for i in range(scale.size):
            lo, up = bounds[:, i]
            size = float(np.abs(guess[:, i]).max())
            if math.isfinite(lo) and math.isfinite(up):
                size = max(abs(lo), abs(up)) if size == 0 or max(abs(lo), abs(up)) < 1e3 * size else size
            scale[i] = size if size > 0 else 0.0
    # What is tiny beside everything else is rounding noise or unknown, not a size.
    noise = NOISE * sx.max(initial=0.0)
    still = sx <= noise
    if still.any() and not phase.system.discrete:
        graph = phase.system.graph
        grid = np.linspace(t0, tf, x.shape[0])
        speed = np.array([np.asarray(graph(t, a, b, p)).ravel() for t, a, b in zip(grid, x, u, strict=True)])
        speed = np.abs(np.where(np.isfinite(speed), speed, 0.0)).mean(axis=0) * (tf - t0)
        sx[still] = speed[still]
    sx[~(sx > max(noise, 1e-12))] = 1.0
    su[~(su > max(NOISE * su.max(initial=0.0), 1e-12))] = 1.0
    return sx, su
