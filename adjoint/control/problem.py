"""What is wanted: systems, cost, conditions, bounds.

    minimise    phi(t_f, x(t_f), p) + integral of l(t, x, u, p) dt
    subject to  x' = f(t, x, u, p)                                 (or x_{k+1} = f(t_k, x_k, u_k, p) for a discrete
    system)
                lower <= path(t, x, u, p) <= upper                  at all times
                lower <= boundary(t0, x0, tf, xf, p) <= upper
                lower <= integral of g(t, x, u, p) dt <= upper
                bounds on states, controls, parameters and times

A problem is a value: it does not know its solver, its mesh or its guess's discretisation. It is made of phases; the
usual problem has one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.names import check_takes, near
from adjoint.system import System

__all__ = ["Constraint", "Free", "OptimalControlProblem", "Phase", "free"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Free:
    """A quantity that the solver chooses, with its guess and its bounds; made by `free`."""

    guess: float | None = None
    lower: float = -math.inf
    upper: float = math.inf


def free(guess: float | None = None, lower: float = -math.inf, upper: float = math.inf) -> Free:
    """A free time or parameter.

    Parameters
    ----------
    guess : float, optional
        Where the solver starts; also the scale of the quantity. Needed for times.
    lower, upper : float
        Bounds.

    Raises
    ------
    InputError
        If the bounds cross or the guess lies outside.

    Examples
    --------
    >>> import adjoint
    >>> adjoint.free(0.2, lower=0.1)
    Free(guess=0.2, lower=0.1, upper=inf)
    """
    lower, upper = _number(lower, "free: lower", True), _number(upper, "free: upper", True)
    if math.isnan(lower) or math.isnan(upper) or not lower < upper:
        raise InputError(
            f"free: the bounds are ({lower}, {upper}); expected lower < upper. Give a number to fix a quantity."
        )
    if guess is not None:
        guess = _number(guess, "free: the guess", True)
        if not (math.isfinite(guess) and lower <= guess <= upper):
            raise InputError(f"free: the guess {guess} is not a finite number between the bounds {lower} and {upper}.")
    return Free(guess, lower, upper)


@dataclass(frozen=True)
class Constraint:
    """lower <= function(...) <= upper, all components alike or one bound each; equal bounds make an equality."""

    name: str
    function: Callable[..., Any]
    lower: Any = -math.inf
    upper: Any = math.inf


@dataclass(frozen=True)
class Phase:
    """One system over one interval of time. Arrays: bounds have shape (2, n), NaN-free; fixed means equal bounds.

    Made by `OptimalControlProblem`, which documents the arguments.
    """

    system: System
    t0: Free
    tf: Free
    initial: Array
    final: Array
    state_bounds: Array
    control_bounds: Array
    parameters: tuple[Free, ...]
    running: Callable[..., Any] | None
    terminal: Callable[..., Any] | None
    path: tuple[Constraint, ...]
    boundary: tuple[Constraint, ...]
    integrals: tuple[Constraint, ...]


@dataclass(frozen=True, eq=False)
class OptimalControlProblem:
    """An optimal-control problem.

    Parameters
    ----------
    system : System
    initial, final : mapping from name to number, or to (lower, upper), or sequence of length n, optional
        Conditions on the states at both ends. States that are not named are free (within `bounds`); in a sequence,
        ``None`` or NaN leaves a state free.
    bounds : mapping from name to (lower, upper), optional
        Bounds of states and controls at all times; ``None`` stands for no bound.
    running : callable, optional
        l(t, x, u, p), integrated over time (for a discrete system: summed over the steps).
    minimize, maximize : callable, optional
        phi(t, x, p) at the final time. ``maximize=phi`` maximises phi plus the integral of `running`.
        ``maximize=True`` maximises the integral alone.
    t : (t0, tf)
        Initial and final time; either may be ``free(guess, lower, upper)``.
    path : mapping from name to (function, lower, upper), optional
        function(t, x, u, p) returns a number or a vector; ``None`` stands for no bound; equal bounds make an equality.
    boundary : mapping from name to (function, lower, upper), optional
        function(t0, x0, tf, xf, p).
    integrals : mapping from name to (function, lower, upper), optional
        function(t, x, u, p) returns one number, whose integral is bounded.
    parameters : mapping from name to number or free(...), optional
        Values of the system's parameters.
    guess : mapping, optional
        From state, control or parameter name to a number, an array over the time, or a function of time; see `solve`.
    name, published : optional
        The problem's name, and the published optimum (for reports only).
    source : str, optional
        Where the problem and its data come from.

    Raises
    ------
    InputError
        For every inconsistency; the message names the state, the bound, the constraint.

    Examples
    --------
    >>> import adjoint
    >>> car = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="position speed", controls="force")
    >>> problem = adjoint.OptimalControlProblem(
    ...     car, initial=dict(position=0, speed=0), final=dict(position=1, speed=0), t=(0, 1),
    ...     running=lambda t, x, u, p: u[0] ** 2)
    """

    phases: tuple[Phase, ...]
    name: str
    sign: float
    guess: Mapping[str, Any] = field(default_factory=dict)
    published: float | None = None
    source: str = ""

    def __init__(
        self,
        system: System,
        *,
        initial: Mapping[str, Any] | ArrayLike | None = None,
        final: Mapping[str, Any] | ArrayLike | None = None,
        bounds: Mapping[str, Any] | None = None,
        running: Callable[..., Any] | None = None,
        minimize: Callable[..., Any] | None = None,
        maximize: Callable[..., Any] | bool | None = None,
        t: Sequence[Any] = (0.0, 1.0),
        path: Mapping[str, Any] | None = None,
        boundary: Mapping[str, Any] | None = None,
        integrals: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        guess: Mapping[str, Any] | None = None,
        name: str | None = None,
        published: float | None = None,
        source: str = "",
    ) -> None:
        if not isinstance(system, System):
            raise InputError(
                f"OptimalControlProblem: the first argument is {type(system).__name__}; expected an adjoint.System."
            )
        if system.mass is not None:
            raise InputError(
                f"OptimalControlProblem: system {system.name!r} has a mass matrix, and the transcriptions are for "
                "ẋ = f. Solve its equations for ẋ, and put algebraic states into controls with path constraints."
            )
        wanted_most = maximize is not None and maximize is not False
        if minimize is not None and wanted_most:
            raise InputError(
                "OptimalControlProblem: both minimize and maximize are given; choose one (negate the other's term)."
            )
        sign = -1.0 if wanted_most else 1.0
        terminal = maximize if callable(maximize) else minimize
        where = f"problem on system {system.name!r}"
        for role, function in (
            ("running", running),
            ("minimize", minimize),
            ("maximize", None if isinstance(maximize, bool) else maximize),
        ):
            if function is not None and not callable(function):
                raise InputError(f"{where}: {role} is {function!r}; expected a function.")
            if function is not None:
                check_takes(function, "txup" if role == "running" else "txp", f"{where}: {role}")
        if running is None and terminal is None and boundary is None and final is None:
            raise InputError(
                f"{where}: there is neither a cost nor a final condition. Give running=, minimize= or maximize=."
            )
        t0, tf = _times(t, where)
        limits, control_limits = _bounds(system, {} if bounds is None else bounds, where)
        phase = Phase(
            system,
            t0,
            tf,
            _ends(system, initial, limits, f"{where}: initial"),
            _ends(system, final, limits, f"{where}: final"),
            limits,
            control_limits,
            _parameters(system, {} if parameters is None else parameters, where),
            running,
            terminal,
            _constraints(path, f"{where}: path"),
            _constraints(boundary, f"{where}: boundary"),
            _constraints(integrals, f"{where}: integrals"),
        )
        if guess is not None and not isinstance(guess, Mapping):
            raise InputError(f"{where}: guess is {type(guess).__name__}; expected a mapping such as dict(thrust=1.0).")
        for key in {} if guess is None else guess:
            if key != "t":
                system.index(key)
        values = {
            "phases": (phase,),
            "name": name or system.name,
            "sign": sign,
            "guess": {} if guess is None else dict(guess),
            "published": published,
            "source": source,
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def system(self) -> System:
        """The system of the first phase."""
        return self.phases[0].system

    def __repr__(self) -> str:
        phase = self.phases[0]
        system = phase.system
        return (
            f"OptimalControlProblem({self.name!r}: {system.n} states, {system.m} controls, "
            f"{sum(p.lower < p.upper for p in phase.parameters)} free parameters, "
            f"{'minimise' if self.sign > 0 else 'maximise'})"
        )


def _number(value: Any, role: str, nan: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{role} is {value!r}; expected a number.") from None
    if math.isnan(number) and not nan:
        raise InputError(f"{role} is NaN; expected a number.")
    return number


def _vector(value: Any, size: int, role: str) -> Array:
    """One number for all `size` components, or one each."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InputError(
            f"{role} is {value!r}; expected {'a number' if size == 1 else f'numbers, one or {size}'}."
        ) from None
    if array.shape not in ((), (1,), (size,)):
        raise InputError(
            f"{role} has shape {array.shape}; expected {'a number' if size == 1 else f'one number, or {size}'}."
        )
    return np.broadcast_to(array, (size,))


def _pair(value: Any, role: str) -> tuple[float, float]:
    """(lower, upper) with None for no bound; equal bounds are allowed."""
    try:
        lower, upper = value
    except (TypeError, ValueError):
        raise InputError(f"{role} is {value!r}; expected a pair (lower, upper), with None for no bound.") from None
    lo = -math.inf if lower is None else _number(lower, f"{role}, lower")
    up = math.inf if upper is None else _number(upper, f"{role}, upper")
    if lo > up or lo == math.inf or up == -math.inf:
        raise InputError(f"{role}: the bounds ({lo:g}, {up:g}) cross; expected lower <= upper.")
    return lo, up


def _times(t: Sequence[Any], where: str) -> tuple[Free, Free]:
    try:
        first, last = t
    except (TypeError, ValueError):
        raise InputError(
            f"{where}: t is {t!r}; expected a pair (t0, tf), each a number or adjoint.free(guess)."
        ) from None

    def as_free(value: Any, name: str) -> Free:
        if isinstance(value, Free):
            if value.guess is None:
                if math.isfinite(value.lower) and math.isfinite(value.upper):
                    return Free(0.5 * (value.lower + value.upper), value.lower, value.upper)
                raise InputError(f"{where}: the free time {name} needs a guess: adjoint.free(2.0).")
            return value
        number = _number(value, f"{where}: {name}")
        if not math.isfinite(number):
            raise InputError(f"{where}: {name} is {number}; expected a finite number.")
        return Free(number, number, number)

    t0, tf = as_free(first, "t0"), as_free(last, "tf")
    assert t0.guess is not None and tf.guess is not None
    if not tf.guess > t0.guess:
        raise InputError(f"{where}: the time runs from {t0.guess:g} to {tf.guess:g}; expected t0 < tf.")
    if t0.lower == t0.upper and tf.lower < tf.upper:
        # A free final time stays after the start; the certificate says so if this bound is ever active.
        tf = Free(tf.guess, max(tf.lower, t0.lower + 1e-4 * (tf.guess - t0.lower)), tf.upper)
    if t0.lower < t0.upper and tf.lower == tf.upper:
        t0 = Free(t0.guess, t0.lower, min(t0.upper, tf.upper - 1e-4 * (tf.upper - t0.guess)))
    return t0, tf


def _bounds(system: System, bounds: Mapping[str, Any], where: str) -> tuple[Array, Array]:
    states = np.array([[-math.inf] * system.n, [math.inf] * system.n])
    controls = np.array([[-math.inf] * system.m, [math.inf] * system.m])
    if not isinstance(bounds, Mapping):
        raise InputError(
            f"{where}: bounds is {type(bounds).__name__}; expected a mapping such as dict(thrust=(0, 3.5))."
        )
    for name, value in bounds.items():
        kind, index = system.index(name)
        if kind == "parameter":
            raise InputError(
                f"{where}: {name!r} is a parameter; bound it with "
                f"parameters=dict({name}=adjoint.free(guess, lower, upper))."
            )
        target = states if kind == "state" else controls
        target[:, index] = np.array(_pair(value, f"{where}: bounds of {name!r}")).reshape(
            (2,) + (1,) * (not isinstance(index, int))
        )
    return states, controls


def _ends(system: System, values: Mapping[str, Any] | ArrayLike | None, limits: Array, where: str) -> Array:
    ends = limits.copy()
    if values is None:
        return ends
    if not isinstance(values, Mapping):
        given = np.asarray(values, dtype=object)
        items = list(given) if given.ndim == 1 else []
        if len(items) != system.n:
            has = f"{len(items)} values" if given.ndim == 1 else f"shape {given.shape}"
            raise InputError(
                f"{where} has {has}; system {system.name!r} has {system.n} states "
                f"({', '.join(system.states)}). Give one each, or a mapping from names."
            )
        values = {
            name: v
            for name, v in zip(system.states, items, strict=True)
            if v is not None and not (isinstance(v, float) and math.isnan(v))
        }
    for name, value in values.items():
        kind, index = system.index(name)
        if kind != "state":
            raise InputError(
                f"{where}: {name!r} is a {kind}; end conditions are on states. {near(name, system.states)}"
            )
        indices = [index] if isinstance(index, int) else list(range(system.n))[index]
        if isinstance(index, int) and isinstance(value, tuple):
            pairs = [_pair(value, f"{where} {name!r}")]
        else:
            numbers = _vector(value, len(indices), f"{where} {name!r}")
            if not np.all(np.isfinite(numbers)):
                raise InputError(f"{where} {name!r} is {value!r}; expected finite numbers.")
            pairs = [(float(v), float(v)) for v in numbers]
        for i, (lower, upper) in zip(indices, pairs, strict=True):
            lo, up = limits[:, i]
            if upper < lo - 1e-12 * max(1, abs(lo)) or lower > up + 1e-12 * max(1, abs(up)):
                raise InputError(f"{where} {system.states[i]!r} is {value!r}, outside its bounds ({lo:g}, {up:g}).")
            ends[:, i] = (lower, upper) if lower == upper else (max(lower, lo), min(upper, up))
    return ends


def _parameters(system: System, values: Mapping[str, Any], where: str) -> tuple[Free, ...]:
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: parameters is {type(values).__name__}; expected a mapping such as dict(mass=1.0).")
    found: dict[int, Free] = {}
    for name, value in values.items():
        kind, index = system.index(name)
        if kind != "parameter":
            raise InputError(f"{where}: {name!r} is a {kind}, not a parameter. {near(name, system.parameters)}")
        indices = [index] if isinstance(index, int) else list(range(system.n_p))[index]
        role = f"{where}: parameter {name!r}"
        items = [value] * len(indices) if isinstance(value, Free) else list(_vector(value, len(indices), role))
        for i, item in zip(indices, items, strict=True):
            if isinstance(item, Free):
                found[i] = item
            else:
                number = _number(item, role)
                if not math.isfinite(number):
                    raise InputError(f"{role} is {number}; expected a finite number, or adjoint.free(guess).")
                found[i] = Free(number, number, number)
    missing = [name for i, name in enumerate(system.parameters) if i not in found]
    if missing:
        raise InputError(
            f"{where}: no value for the parameters {', '.join(missing)}. "
            f"Give parameters=dict({missing[0]}=1.0) or adjoint.free(1.0)."
        )
    return tuple(found[i] for i in range(system.n_p))


def _limits(value: Any, none: float, role: str) -> Array:
    """Bounds of a constraint's components, as a vector."""
    try:
        array = np.atleast_1d(np.asarray(none if value is None else value, dtype=float))
    except (TypeError, ValueError):
        raise InputError(
            f"{role} bound is {value!r}; expected a number, one number a component, or None for no bound."
        ) from None
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{role} bound has shape {array.shape}; expected a number, or a vector with one a component.")
    return array


def _constraints(items: Mapping[str, Any] | None, where: str) -> tuple[Constraint, ...]:
    if items is None:
        return ()
    if not isinstance(items, Mapping):
        raise InputError(
            f"{where} is {type(items).__name__}; expected a mapping from a name to (function, lower, upper)."
        )
    result = []
    for name, value in items.items():
        try:
            function, lower, upper = value
        except (TypeError, ValueError):
            raise InputError(
                f"{where} {name!r} is {value!r}; expected (function, lower, upper), with None for no bound."
            ) from None
        if not callable(function):
            raise InputError(f"{where} {name!r}: {function!r} is not a function.")
        lo, up = (
            _limits(lower, -math.inf, f"{where} {name!r}, lower"),
            _limits(upper, math.inf, f"{where} {name!r}, upper"),
        )
        if 1 not in (lo.size, up.size) and lo.size != up.size:
            raise InputError(
                f"{where} {name!r} has {lo.size} lower and {up.size} upper bounds. "
                "Give one for all components, or one each."
            )
        if np.isnan(lo).any() or np.isnan(up).any() or np.any(lo > up):
            raise InputError(
                f"{where} {name!r}: the bounds ({lower}, {upper}) cross or are NaN; expected lower <= upper."
            )
        if np.all(np.isinf(lo)) and np.all(np.isinf(up)):
            raise InputError(f"{where} {name!r} has no bound at all. Give a lower or an upper bound, or leave it out.")
        result.append(Constraint(name, function, lo, up))
    return tuple(result)
