"""Adaptive integration of a continuous system under a piecewise-polynomial control.

    propagate    x(t_k) from x_0 by one continuous run over all intervals
    restarts     x(t_{k+1}) from x_k in each interval by itself; minus x_{k+1} it is the defect of a discrete path

It is the independent judge of a transcription. Both use an embedded explicit pair (`Method.b_hat`), whose error per
step is kept below ``atol + rtol |x|``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.kernels import adaptive as kernels
from adjoint.method import DOP853, Method
from adjoint.system import System

__all__ = ["propagate", "restarts"]

Array = NDArray[np.float64]


def propagate(
    system: System,
    x0: ArrayLike,
    u: ArrayLike | None = None,
    t: ArrayLike = (0.0, 1.0),
    p: ArrayLike | None = None,
    *,
    nodes: ArrayLike = (0.0,),
    rtol: float = 1e-10,
    atol: ArrayLike = 1e-12,
    method: Method = DOP853,
    max_steps: int = 100_000,
) -> Array:
    """Integrate from x0 through all knots.

    Parameters
    ----------
    system : System
        Continuous.
    x0 : array_like (n,)
    u : array_like (N, s, m), or (N, m) for a control that is constant in each interval
        The control at the nodes of each interval; between them it is their interpolation polynomial of degree s - 1.
    t : array_like (N+1,)
        The knots, increasing or decreasing.
    p : array_like (n_p,)
    nodes : array_like (s,)
        Where in the interval the control values lie, as fractions in [0, 1]; distinct.
    rtol, atol : float, and float or array_like (n,)
        Tolerance per step.
    method : Method
        With an embedded partner: DOP853, DOPRI5, BS3.
    max_steps : int
        In one interval.

    Returns
    -------
    array (N+1, n)
        The state at the knots.

    Raises
    ------
    InputError
        If an argument does not fit the system.
    AdjointError
        If the run cannot be finished; the message says where and why.
    """
    start = _shaped("x0", x0, (system.n,), system)[None]
    return _run(system, start, False, u, t, p, nodes, rtol, atol, method, max_steps)


def restarts(
    system: System,
    x: ArrayLike,
    u: ArrayLike | None = None,
    t: ArrayLike = (0.0, 1.0),
    p: ArrayLike | None = None,
    *,
    nodes: ArrayLike = (0.0,),
    rtol: float = 1e-10,
    atol: ArrayLike = 1e-12,
    method: Method = DOP853,
    max_steps: int = 100_000,
) -> Array:
    """Integrate every interval by itself, from a given state at its start.

    Parameters
    ----------
    x : array_like (N+1, n), or (N, n)
        The states to start from (the last of N+1 is not used).
    system, u, t, p, nodes, rtol, atol, method, max_steps
        As for `propagate`.

    Returns
    -------
    array (N, n)
        The state at the end of each interval. ``restarts(system, x, …) - x[1:]`` are the local defects of the path x.
    """
    N = np.size(t) - 1
    given = np.asarray(x)
    start = _shaped("x", given[:N] if given.ndim == 2 and len(given) == N + 1 else given, (N, system.n), system)
    return _run(system, start, True, u, t, p, nodes, rtol, atol, method, max_steps)[1:]


def _run(
    system: System,
    start: Array,
    restart: bool,
    u: ArrayLike | None,
    t: ArrayLike,
    p: ArrayLike | None,
    nodes: ArrayLike,
    rtol: float,
    atol: ArrayLike,
    method: Method,
    max_steps: int,
) -> Array:
    if system.discrete:
        raise InputError(f"system {system.name!r} is discrete: there is no vector field to integrate. Use `rollout`.")
    if system.mass is not None:
        raise InputError(
            f"system {system.name!r} has a mass matrix, and this integrator is for ẋ = f. Use adjoint.ode.solve_ivp "
            "with an implicit method."
        )
    if not isinstance(method, Method) or not method.explicit or method.b_hat is None or method.order_hat is None:
        raise InputError(
            f"method {method!r} has no embedded partner, hence no error estimate. Use DOP853, DOPRI5 or BS3."
        )
    knots, c = np.array(t, dtype=np.float64), np.array(nodes, dtype=np.float64)
    h = np.diff(knots) if knots.ndim == 1 else np.zeros(0)
    if h.size == 0 or not ((h > 0).all() or (h < 0).all()):
        raise InputError(
            f"t has shape {knots.shape}; expected (N+1,) finite knots that increase, or decrease, throughout."
        )
    if c.ndim != 1 or c.size == 0 or np.unique(c).size != c.size or not ((c >= 0) & (c <= 1)).all():
        raise InputError(f"nodes is {nodes!r}; expected distinct fractions in [0, 1].")
    N, s, m = h.size, c.size, system.m
    values = np.zeros((N, s, 0)) if u is None and m == 0 else np.asarray(u, dtype=np.float64)
    if values.ndim == 2 and s == 1:
        values = values[:, None, :]
    controls = _shaped("u", values, (N, s, m), system)
    parameters = _shaped("p", () if p is None else p, (system.n_p,), system)
    tolerance = np.broadcast_to(np.asarray(atol, dtype=np.float64), (system.n,)).copy()
    if not (rtol >= 0 and (tolerance >= 0).all() and (rtol + tolerance > 0).all()):
        raise InputError(f"rtol is {rtol!r}, atol is {atol!r}; expected nonnegative numbers, not both zero.")
    if max_steps < 1:
        raise InputError(f"max_steps is {max_steps!r}; expected a positive integer.")

    e_weights = method.b - method.b_hat
    g_weights = np.zeros_like(method.b) if method.b_guard is None else method.b - method.b_guard
    # Hairer's combination of a fifth- and a third-order estimate behaves like h^8.
    exponent = 1 / (method.order_hat + 1) if method.b_guard is None else 1 / method.order
    code = system.right_hand_side()
    arg, res, work = code.scratch()
    x = np.empty((N + 1, system.n))
    status, k, tried = kernels.integrate(
        code.address,
        knots,
        controls,
        c,
        parameters,
        method.A,
        method.c,
        method.b,
        e_weights,
        g_weights,
        exponent,
        float(rtol),
        tolerance,
        max_steps,
        restart,
        start,
        x,
        np.empty((method.stages, system.n)),
        np.empty((5, system.n)),
        np.empty(1 + m),
        arg,
        res,
        work,
    )
    if status != kernels.DONE:
        why = {
            kernels.MAX_STEPS: f"took {max_steps} steps without reaching its end. Raise max_steps; is it stiff?",
            kernels.UNDERFLOW: "needs steps too short for double precision. Is there a singularity?",
            kernels.NONFINITE: "meets inf or nan however short the step. Does the path leave the domain of f?",
        }
        raise AdjointError(
            f"the adaptive integration of system {system.name!r} stopped in interval {k} (t = {knots[k]:g} … "
            f"{knots[k + 1]:g}) after {tried} steps: the interval {why[status]}."
        )
    return x


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...], system: System) -> Array:
    array = np.array(value, dtype=np.float64, order="C")
    if array.shape != shape:
        raise InputError(
            f"{name} has shape {array.shape}; expected {shape} for system {system.name!r} with {system.n} states, "
            f"{system.m} controls and {system.n_p} parameters."
        )
    if not np.isfinite(array).all():
        raise InputError(f"{name} of system {system.name!r} has an entry that is not finite.")
    return array
