"""`solve_ivp`: an initial-value problem, in SciPy's manners.

    ẋ = f(t, x, u, p),    x(t_0) = x_0

with u constant, or constant between knots. The steps are as long as the tolerance allows,

    |error of a step|_i <= atol_i + rtol |x_i|       on the average over the states

and the grid so found carries all derivatives (`adjoint.ode.gradient`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.method import TSIT5, Automatic, Method
from adjoint.ode import given
from adjoint.ode.automatic import StiffError
from adjoint.ode.course import follow
from adjoint.ode.events import Event, Watcher, events_of
from adjoint.ode.pieces import Piece, evaluate, locate
from adjoint.ode.runners import runner
from adjoint.ode.running import with_running
from adjoint.ode.solution import OdeSolution
from adjoint.system import System

__all__ = ["solve_ivp"]

Array = NDArray[np.float64]


def solve_ivp(
    system: System | Callable[..., Any],
    t_span: ArrayLike,
    x0: ArrayLike,
    *,
    u: ArrayLike | None = None,
    p: ArrayLike | None = None,
    knots: ArrayLike | None = None,
    method: Method | Automatic = TSIT5,
    rtol: float = 1e-6,
    atol: ArrayLike = 1e-9,
    t_eval: ArrayLike | None = None,
    max_step: float = math.inf,
    first_step: float | None = None,
    max_steps: int = 1_000_000,
    events: Event | Callable[..., Any] | Iterable[Event | Callable[..., Any]] | None = None,
    max_events: int = 10_000,
    running: Callable[..., Any] | None = None,
    integral_tolerance: float = math.inf,
) -> OdeSolution:
    """Solve an initial-value problem with steps as long as the tolerance allows.

    Parameters
    ----------
    system : System, or function f(t, x, u, p)
        Continuous. A plain function is traced at each call, as nobody can tell whether what it refers to has changed;
        make a System of it for many calls. f(t, x), as SciPy has it, will do.
    t_span : (t0, t1)
        t1 < t0 runs backwards.
    x0 : array_like (n,)
    u : array_like (m,), or (M, m) with `knots`
        A constant control, or one that is held between knots.
    p : array_like (n_p,), optional
    knots : array_like (M+1,), optional
        Times between which u is held, or where f has a kink in time: the grid includes them. (What jumps in time is
        best a control: a step up to the jump must not see the value after it.)
    method : Method
        With an error estimate. Explicit: TSIT5, DOPRI5, DOP853, BS3. For stiff systems and mass matrices: RODAS5P, or
        radau(3) and radau(5) for sharp tolerances. AUTO begins with TSIT5 and turns to RODAS5P if the system is stiff.
    rtol, atol : float, and float or array_like (n,)
        Tolerance per step; a state with an infinite atol is not controlled.
    t_eval : array_like (K,), optional
        Times of output, by the method's continuous extension. Absent: the grid itself.
    max_step, first_step : float
        The longest step, and the first one to try; absent: found by the method.
    max_steps : int
        The most steps that are tried.
    events : Event, or function g(t, x, u, p), or several of them
        What to look for; see `Event`. Functions may have SciPy's attributes ``terminal`` and ``direction``.
    max_events : int
        After so many the solve stops.
    running : callable, optional
        ``running(t, x, u, p)``, a number whose integral over time is wanted: ``solution.integral``.
    integral_tolerance : float
        The absolute tolerance of the integral; infinite: it does not take part in the error control, and the grid is
        that of the solve without it.

    Returns
    -------
    OdeSolution
        If the solve could not be finished it goes up to the last good point, and `message` says where and why it ended.

    Raises
    ------
    InputError
        If an argument does not fit.
    """
    start = given.numbers("x0", x0)
    if start.ndim == 0:
        start = start.reshape(1)
    made = given.system_of(system, start, u, p)
    if start.shape != (made.n,):
        raise InputError(
            f"x0 has shape {start.shape}; system {made.name!r} has {made.n} states ({made.describe('state')}). Pass "
            "one number per state" + (", or a batch to solve_ensemble." if start.ndim == 2 else ".")
        )
    t0, t1 = given.span(t_span)
    parameters = given.numbers("p", () if p is None else p).reshape(-1)
    if parameters.size != made.n_p:
        raise InputError(
            f"p has {parameters.size} numbers; system {made.name!r} has {made.n_p} parameters "
            f"({made.describe('parameter')})."
        )
    stops, U, held, which = given.intervals(made, u, knots, t0, t1)
    options = given.control(made, rtol, atol, max_step, first_step, max_steps, abs(t1 - t0))
    outputs = None if t_eval is None else given.output_times(t_eval, t0, t1)

    n, full = made.n, made
    if running is not None:
        full = with_running(made, running)
        start, options = np.append(start, 0.0), given.with_quadrature(options, integral_tolerance)
    engine = runner(full, method)
    happenings = events_of(events)
    watcher = Watcher(full, happenings, n) if happenings else None
    try:
        course = follow(engine, start, stops, U, parameters, options, which, full, engine.method, watcher, max_events)
    except StiffError as stiff:
        assert isinstance(method, Automatic)
        engine = runner(full, method.implicit)
        course = follow(engine, start, stops, U, parameters, options, which, full, engine.method, watcher, max_events)
        course = course._replace(
            message=f"{course.message} Stiff from t = {stiff.found.t:.3g} on, so solved by {engine.method.name}."
        )

    pieces, places = course.pieces, None
    if outputs is None:
        t, x = together(pieces)
    else:
        sign, end = (1.0 if t1 > t0 else -1.0), pieces[-1].path.t[-1]
        t = outputs if course.status == 0 else outputs[sign * outputs <= sign * end]
        places = locate(pieces, t)
        x = evaluate(engine, pieces, places)
    integral = None
    if running is not None:
        x, integral = np.ascontiguousarray(x[:, :n]), x[:, n].copy()
    accepted = sum(len(piece.path) for piece in pieces)
    return OdeSolution(
        t, x, integral, course.status, course.message, course.nfev, accepted, course.tried - accepted, pieces, made,
        engine.method, options.rtol, options.atol[:n], held, engine, places, course.occurrences, watcher,
    )  # fmt: skip


def together(pieces: tuple[Piece, ...]) -> tuple[Array, Array]:
    """All knots and states; where the state jumps, there are two rows of the same time."""
    if len(pieces) == 1:
        return pieces[0].path.t, pieces[0].path.x
    return np.concatenate([piece.path.t for piece in pieces]), np.concatenate([piece.path.x for piece in pieces])
