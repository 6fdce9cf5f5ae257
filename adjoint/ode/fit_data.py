"""`Experiment`: what was measured, when, how well, and what is known of the start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.native import CompiledFunction
from adjoint.symbolic import trace
from adjoint.system import System

__all__ = ["Experiment", "Prepared", "prepare"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Experiment:
    """One run of the system, and its measurements.

    Attributes
    ----------
    t : array_like (K,)
        Times of measurement, increasing.
    values : array_like (K, n), or (K, q) with `observe`, or dict from name to (K,)
        What was measured; nan where nothing was. A dict names some of the states.
    x0 : array_like (n,)
        The initial state; of the free ones, a guess.
    free : str or iterable of str
        Names of the initial states that are to be estimated: ``"prey predator"``.
    t0 : float, optional
        The time of x0; by default t[0].
    sigma : float or array_like, optional
        Standard deviations of the measurements, as something that broadcasts to (K, q). Absent: equal and unknown, to
        be estimated from the residuals.
    logarithmic : bool
        Errors are relative: log(model) - log(value) is what is small, and `sigma` is the deviation of the logarithm.
    observe : callable, optional
        ``observe(t, x, p)`` returns the q numbers that are measured; traced.
    u, knots : array_like, optional
        Controls, as for `solve_ivp`.
    guess : callable, optional
        ``guess(t)``, a rough state (n,) at any time: for multiple shooting. By default measured states are interpolated
        and others keep their initial value.
    """

    t: ArrayLike
    values: ArrayLike | Mapping[str, ArrayLike]
    x0: ArrayLike
    free: str | Iterable[str] = ()
    t0: float | None = None
    sigma: ArrayLike | None = None
    logarithmic: bool = False
    observe: Callable[[Any, Any, Any], Any] | None = None
    u: ArrayLike | None = None
    knots: ArrayLike | None = None
    guess: Callable[[float], ArrayLike] | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """An `Experiment` that was checked, as arrays.

    Attributes
    ----------
    t0 : float
    t : array (K,)
    values, sigma : array (K, q)
        Measurements in the scale in which residuals are taken, and their deviations.
    mask : array of bool (K, q)
        Where something was measured.
    x0 : array (n,)
    free : array of int
        Initial states to be estimated.
    names : tuple of str
        Of what is measured.
    logarithmic, known_sigma : bool
    u, knots : array or None
    guess : callable
    """

    t0: float
    t: Array
    values: Array
    sigma: Array
    mask: NDArray[np.bool_]
    x0: Array
    free: NDArray[np.int64]
    names: tuple[str, ...]
    logarithmic: bool
    known_sigma: bool
    u: Array | None
    knots: Array | None
    guess: Callable[[float], ArrayLike]
    columns: NDArray[np.int64] | None
    observer: CompiledFunction | None

    @property
    def t1(self) -> float:
        """The time of the last measurement."""
        return float(self.t[-1])

    def observed(self, t: Array, x: Array, p: Array) -> tuple[Array, Array, Array]:
        """y (K, q), ∂y/∂x (K, q, n), ∂y/∂p (K, q, n_p), logarithms taken where residuals are logarithmic."""
        K, n = x.shape
        if self.observer is not None:
            if K == 0:
                q = len(self.names)
                return np.zeros((0, q)), np.zeros((0, q, n)), np.zeros((0, q, p.size))
            # A batch of one-column Jacobians comes without its last axis.
            y, y_x, y_p = (np.asarray(a) for a in self.observer(t[:, None], np.ascontiguousarray(x), p))
            y, q = y.reshape(K, -1), len(self.names)
            y_x, y_p = y_x.reshape(K, q, n), y_p.reshape(K, q, p.size)
        else:
            assert self.columns is not None
            y = x[:, self.columns]
            y_x = np.broadcast_to(np.eye(n)[self.columns], (K, self.columns.size, n))
            y_p = np.zeros((K, self.columns.size, p.size))
        if self.logarithmic:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.log(y), y_x / y[..., None], y_p / y[..., None]
        return y, y_x, y_p


def prepare(system: System, experiment: Experiment, number: int) -> Prepared:
    """Check an experiment.

    Raises
    ------
    InputError
        If something does not fit; the message names the experiment and the argument.
    """
    which = f"experiment {number}"
    if not isinstance(experiment, Experiment):
        raise InputError(f"{which} is {type(experiment).__name__}; expected an Experiment(t, values, x0).")
    e, n = experiment, system.n
    t = _finite(f"t of {which}", e.t)
    if t.ndim != 1 or t.size == 0 or not (np.diff(t) > 0).all():
        raise InputError(f"t of {which} has shape {t.shape}; expected (K,) increasing times.")
    t0 = float(t[0] if e.t0 is None else e.t0)
    if not t0 <= t[0] or not t0 < t[-1]:
        raise InputError(f"t0 of {which} is {t0:g}; expected a time not after t[0] = {t[0]:g} and before the last one.")
    x0 = _finite(f"x0 of {which}", e.x0)
    if x0.shape != (n,):
        raise InputError(f"x0 of {which} has shape {x0.shape}; system {system.name!r} has {n} states "
                         f"({system.describe('state')}): known values, or guesses of the free ones.")  # fmt: skip
    free: list[int] = []
    for name in e.free.replace(",", " ").split() if isinstance(e.free, str) else e.free:
        kind, index = system.index(name)
        if kind != "state":
            raise InputError(f"free of {which}: {name!r} is a {kind}; expected names of states.")
        free.extend(range(n)[index] if isinstance(index, slice) else [index])

    columns, observer, names = None, None, system.states
    values: object = e.values
    if isinstance(e.values, Mapping):
        if e.observe is not None:
            raise InputError(f"values of {which} is a dict of states, and observe is given too; expected one of them.")
        names, found = tuple(e.values), []
        for name in names:
            kind, index = system.index(name)
            if kind != "state" or isinstance(index, slice):
                raise InputError(f"values of {which}: {name!r} is no single state.")
            found.append(index)
        columns = np.array(found, np.int64)
        lengths = {name: np.shape(v) for name, v in e.values.items()}
        if set(lengths.values()) != {t.shape}:
            raise InputError(f"values of {which} have shapes {lengths}; t has {t.shape}. They must agree.")
        values = np.stack([np.asarray(v, np.float64) for v in e.values.values()], axis=1)
    elif e.observe is not None:
        observer = _observer(system, e.observe)
        q = observer.output_shapes[0][0]
        names = tuple(f"y{i}" for i in range(q)) if q > 1 else ("y",)
    else:
        columns = np.arange(n)
    y = np.array(values, dtype=np.float64)
    if y.ndim == 1 and len(names) == 1:
        y = y[:, None]
    if y.shape != (t.size, len(names)):
        raise InputError(f"values of {which} have shape {y.shape}; expected ({t.size}, {len(names)}): a row per time, "
                         f"a column for each of {', '.join(names)}, nan where nothing was measured.")  # fmt: skip
    if np.isinf(y).any():
        raise InputError(f"values of {which} have an infinite entry; write nan where nothing was measured.")
    mask = ~np.isnan(y)
    if not mask.any():
        raise InputError(f"values of {which} are all nan: nothing was measured.")
    if e.logarithmic:
        if (y[mask] <= 0).any():
            raise InputError(f"values of {which} are not all positive, and logarithmic=True takes their logarithms.")
        y = np.log(np.where(mask, y, 1.0))
    sigma = np.ones(y.shape)
    if e.sigma is not None:
        try:
            sigma = np.array(np.broadcast_to(np.asarray(e.sigma, np.float64), y.shape))
        except ValueError as error:
            raise InputError(
                f"sigma of {which} has shape {np.shape(e.sigma)}; it must broadcast to {y.shape}."
            ) from error
        if not (np.isfinite(sigma[mask]) & (sigma[mask] > 0)).all():
            raise InputError(f"sigma of {which} has an entry that is not positive and finite.")
    u = None if e.u is None else _finite(f"u of {which}", e.u)
    knots = None if e.knots is None else _finite(f"knots of {which}", e.knots)
    y, sigma = np.where(mask, y, 0.0), np.where(mask, sigma, 1.0)
    natural = np.exp(y) if e.logarithmic else y
    guess = e.guess if e.guess is not None else _interpolated(t, natural, mask, columns, x0)
    return Prepared(t0, t, y, sigma, mask, x0, np.array(sorted(set(free)), np.int64), names, e.logarithmic,
                    e.sigma is not None, u, knots, guess, columns, observer)  # fmt: skip


def _finite(name: str, value: object) -> Array:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is {value!r}, which is no array of real numbers ({error}).") from error
    if not np.isfinite(array).all():
        raise InputError(f"{name} has an entry that is not finite.")
    return array


def _interpolated(
    t: Array, y: Array, mask: NDArray[np.bool_], columns: NDArray[np.int64] | None, x0: Array
) -> Callable[[float], Array]:
    def guess(at: float) -> Array:
        x = x0.copy()
        for j, column in enumerate(() if columns is None else columns):
            if mask[:, j].any():
                x[column] = np.interp(at, t[mask[:, j]], y[mask[:, j], j])
        return x

    return guess


def _observer(system: System, observe: Callable[..., Any]) -> CompiledFunction:
    """(t, x, p) → y, ∂y/∂x, ∂y/∂p."""
    arguments: list[tuple[str, int | None]] = [("t", None), ("x", system.n), ("p", system.n_p)]
    graph = trace(observe, arguments, -1, f"what is measured of system {system.name!r}")
    t, x, p = (ca.SX.sym(name, graph.size1_in(i)) for i, name in enumerate("txp"))
    y = graph(t, x, p)
    return CompiledFunction(
        ca.Function("observe", [t, x, p], [y, *(ca.densify(ca.jacobian(y, z)) for z in (x, p))])
    )
