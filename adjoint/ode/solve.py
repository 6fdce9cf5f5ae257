"""`solve_ivp`: an initial-value problem, in SciPy's manners.

    ẋ = f(t, x, u, p),    x(t_0) = x_0

with u constant, or constant between knots. The steps are as long as the tolerance allows,

    |error of a step|_i <= atol_i + rtol |x_i|       on the average over the states

and the grid so found carries all derivatives (`adjoint.ode.gradient`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.kernels import grid as kernels
from adjoint.method import TSIT5, Method
from adjoint.ode import given
from adjoint.ode.run import Runner, Walk, new_walk, walk
from adjoint.ode.runners import runner
from adjoint.ode.solution import OdeSolution, Piece, evaluate, locate
from adjoint.system import System
from adjoint.trajectory import Trajectory

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
    method: Method = TSIT5,
    rtol: float = 1e-6,
    atol: ArrayLike = 1e-9,
    t_eval: ArrayLike | None = None,
    max_step: float = math.inf,
    first_step: float | None = None,
    max_steps: int = 1_000_000,
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
        Times between which u is held, or where f jumps: the grid includes them.
    method : Method
        An explicit method with an error estimate: TSIT5, DOPRI5, DOP853, BS3.
    rtol, atol : float, and float or array_like (n,)
        Tolerance per step; a state with an infinite atol is not controlled.
    t_eval : array_like (K,), optional
        Times of output, by the method's continuous extension. Absent: the grid itself.
    max_step, first_step : float
        The longest step, and the first one to try; absent: found by the method.
    max_steps : int
        The most steps that are tried.

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
            "one number per state."
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

    engine = runner(made, method)
    way = new_walk(engine, t0, start, stops, U, parameters, options)
    status = walk(engine, way)
    N = way.steps
    interval = way.interval[:N]
    path = Trajectory(way.t[: N + 1], way.x[: N + 1], U[interval], parameters, made, method)
    pieces = (Piece(path, interval if held is U else which[interval]),)

    places = None
    if outputs is None:
        t, x = path.t, path.x
    else:
        sign = 1.0 if t1 > t0 else -1.0
        t = outputs if status == kernels.DONE else outputs[sign * outputs <= sign * path.t[-1]]
        places = locate(pieces, t)
        x = evaluate(engine, pieces, places)
    tried = int(way.count[kernels.TRIED])
    return OdeSolution(
        t, x, None, 0 if status == kernels.DONE else -1, sentence(status, engine, way, made), engine.evaluations(way),
        N, tried - N, pieces, made, method, options.rtol, options.atol, held, stops, engine, places,
    )  # fmt: skip


def sentence(status: int, engine: Runner, way: Walk, system: System) -> str:
    """How a solve ended, in words."""
    if status == kernels.DONE:
        return "Reached the end of the span."
    k = way.steps
    t, x = float(way.t[k]), way.x[k]
    at = f"at t = {t:.10g} of {float(way.knots[-1]):g}"
    if status == kernels.INTERRUPTED:
        return f"Interrupted {at}."
    f = np.array(system.graph(t, x, way.U[min(way.count[kernels.INTERVAL], len(way.U) - 1)], way.p)).ravel()
    scale = way.control.atol + way.control.rtol * np.abs(x)
    with np.errstate(all="ignore"):
        rate = np.where(np.isfinite(way.control.atol), np.abs(f) / scale, 0.0)
    e = int(np.argmax(np.where(np.isfinite(rate), rate, np.inf)))
    where = f"state '{system.states[e]}' = {x[e]:.6g} changes at the rate {f[e]:.6g}"
    if scale[e] == 0:
        return f"Stopped {at}: the tolerance of state '{system.states[e]}' = {x[e]:g} is zero there. Give it an atol."
    if status == kernels.TOO_MANY:
        return (
            f"Stopped {at} after {way.control.max_steps} steps tried; {where}. Raise max_steps or the tolerance; if "
            "the steps stay short although the solution is smooth, the system is stiff and wants an implicit method."
        )
    if status == kernels.UNDERFLOW:
        return (
            f"Stopped {at}: the step became too short for double precision; {where}. A singularity, a jump of f, or a "
            "tolerance below rounding?"
        )
    return (
        f"Stopped {at}: beyond, f or the state is not finite however short the step; {where}. Does the solution blow "
        "up or leave the domain of f?"
    )
