"""The verbs of the library: the forward sweep, its tangent, and its transpose.

    rollout          x_{k+1}  = Φ_k(x_k, u_k, p)
    tangent          δx_{k+1} = A_k δx_k + B_k δu_k + C_k δp
    sweep            λ_k = A_kᵀ λ_{k+1} + q_k,    ∂J/∂u_k = B_kᵀ λ_{k+1} + r_k,    ∂J/∂p = Σ C_kᵀ λ_{k+1} + s
    linearize        A_k = ∂Φ_k/∂x,  B_k = ∂Φ_k/∂u,  C_k = ∂Φ_k/∂p
    hessian_vector   the tangent of `sweep`

For a number J(x_0 … x_N, u_0 … u_{N-1}, p) the caller gives the explicit partial derivatives q = ∂J/∂x, r = ∂J/∂u, s =
∂J/∂p as ``dx, du, dp``; the sweep adds what flows through the dynamics. The loops themselves are in `kernels.sweep`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.kernels import sweep as kernels
from adjoint.layout import Lanes, Rows
from adjoint.method import RK4, Method
from adjoint.rounding import grew, warn_of_rounding
from adjoint.step import Step
from adjoint.symplectic import Composition
from adjoint.system import System
from adjoint.trajectory import Gradient, Trajectory

__all__ = ["Arguments", "Linearization", "arguments", "hessian_vector", "linearize", "rollout", "sweep", "tangent"]

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


class Linearization(NamedTuple):
    """The Jacobians of every step: A (N, n, n), B (N, n, m), C (N, n, n_p) or None; a batch has one more axis."""

    A: Array
    B: Array
    C: Array | None


def rollout(
    system: System,
    x0: ArrayLike,
    u: Control = None,
    t: ArrayLike | None = None,
    p: ArrayLike | None = None,
    method: Method | Composition = RK4,
    steps: int | None = None,
    allow_nonfinite: bool = False,
) -> Trajectory:
    """Step the system from x0 along its controls: the forward sweep.

    Parameters
    ----------
    system : System
    x0 : array_like (n,), or (batch, n)
    u : array_like or callable, optional
        (N, m), one row per step; (N,) if m = 1; (m,), a constant; (batch, N, m); or a function u(t), which is sampled
        at the start of each step and held.
    t : array_like (N+1,)
        The knots, increasing or decreasing, equally spaced or not. A discrete system may do without: its knots are then
        0, 1, 2, …, as many as u has rows or as `steps` says.
    p : array_like (n_p,), or (batch, n_p)
    method : Method or Composition
        Explicit; implicit (RODAS5P, radau(s), gauss(s)), for stiff systems and those with a mass matrix; or a
        symplectic composition such as VERLET, for a system that splits. A discrete system does not use it.
    steps : int, optional
        N, for a discrete system without t whose u does not tell.
    allow_nonfinite : bool
        Return the trajectory even if a state overflows; otherwise that is an error which says where.

    Returns
    -------
    Trajectory
        A batch of paths if x0, u or p is one; everything else is then shared or repeated.

    Raises
    ------
    InputError
        If an argument does not fit the system; the message names both.
    AdjointError
        If a state becomes inf or nan; the message names the state, the step and the time.
    """
    starts, controls, knots, parameters, batch = arguments(system, x0, u, t, p, steps)
    N = knots.size - 1
    paths = 1 if batch is None else batch
    step = system.step(method)
    layout = step.layout(paths, parameters.ndim == 1)

    x = np.empty(layout.shape(paths, N + 1, system.n))
    x[:, 0] = layout.pack(starts.reshape(paths, system.n))
    u_packed = layout.pack(controls.reshape(paths, N, system.m))
    check = kernels.NEVER if allow_nonfinite else kernels.EVERY_STEP
    bad = step.forward(*layout.times(knots), x, u_packed, layout.parameters(parameters), check)
    if bad >= 0:
        block, k = divmod(bad, N)
        x_next = layout.unpack(x[block : block + 1, k + 1], paths)
        first = block * len(x_next)
        path = min(first + int(np.argwhere(~np.isfinite(x_next))[0, 0]), paths - 1)
        at = (controls if batch is None else controls[path], parameters if parameters.ndim == 1 else parameters[path])
        sentence = _overflow(system, knots, x_next, k, first, batch)
        raise AdjointError(sentence + _too_long(system, method, knots, starts.reshape(paths, -1)[path], *at))
    states = layout.unpack(x, paths)
    return Trajectory(
        knots,
        states if batch is not None else states[0],
        controls,
        parameters,
        system,
        None if system.discrete else method,
    )


def tangent(
    trajectory: Trajectory, x0: ArrayLike | None = None, u: ArrayLike | None = None, p: ArrayLike | None = None
) -> Array:
    """How the path moves when x0, u and p move: the tangent sweep.

    Parameters
    ----------
    trajectory : Trajectory
    x0, u, p : array_like, optional
        The perturbations δx_0, δu, δp, with the shapes of x[0], u, p of the trajectory. Absent ones are zero.

    Returns
    -------
    array (N+1, n), or (batch, N+1, n)
        δx_k.
    """
    step, layout, path = _unfold("tangent", trajectory)
    dx, du, dp = _directions(trajectory, x0, u, p, layout)
    step.tangent(*path, dx, du, dp)
    return _fold(trajectory, layout, dx)


def sweep(
    trajectory: Trajectory, dx: ArrayLike | None = None, du: ArrayLike | None = None, dp: ArrayLike | None = None
) -> Gradient:
    """The gradient of a number J along the trajectory: the backward sweep.

    Parameters
    ----------
    trajectory : Trajectory
    dx : array_like, optional
        q_k = ∂J/∂x_k, with the shape of ``trajectory.x``; or that of its last knot, if J depends on x_N only.
    du : array_like, optional
        r_k = ∂J/∂u_k, where J depends on u explicitly; the shape of ``trajectory.u``.
    dp : array_like, optional
        s = ∂J/∂p, where J depends on p explicitly; the shape of ``trajectory.p``.

    Returns
    -------
    Gradient
        Total derivatives ``x0, u, p`` and the costate.

    Warns
    -----
    StabilityWarning
        If perturbations grow so much over the horizon that rounding errors dominate the gradient.

    Examples
    --------
    J = ½ Σ |x_k - data_k|² has q = x - data: ``sweep(path, dx=path.x - data)``.
    """
    step, layout, path = _unfold("sweep", trajectory)
    q, r, gp = _seeds(trajectory, dx, du, dp, layout, "dx", "du", "dp")
    lam, gu = np.empty_like(path[2]), np.empty_like(path[3])
    step.backward(*path, q, r, lam, gu, gp)
    gradient = _gradient(trajectory, layout, lam, gu, gp)
    if dx is not None and grew(lam[:, 0], lam[:, -1]):
        x, seeds = trajectory.x, np.asarray(dx, dtype=np.float64)
        seen = np.abs(seeds * (x if seeds.ndim == x.ndim else x[..., -1, :]))
        size = seen.reshape(trajectory.batch or 1, -1).sum(axis=1)
        warn_of_rounding(trajectory.system.name, trajectory.t, x, gradient.costate, size)
    return gradient


def hessian_vector(
    trajectory: Trajectory,
    dx: ArrayLike | None = None,
    du: ArrayLike | None = None,
    dp: ArrayLike | None = None,
    *,
    x0: ArrayLike | None = None,
    u: ArrayLike | None = None,
    p: ArrayLike | None = None,
    ddx: ArrayLike | None = None,
    ddu: ArrayLike | None = None,
    ddp: ArrayLike | None = None,
) -> Gradient:
    """The Hessian of J times a direction: the tangent of the backward sweep.

    Parameters
    ----------
    trajectory : Trajectory
    dx, du, dp : array_like, optional
        The seeds q, r, s that were given to `sweep`.
    x0, u, p : array_like, optional
        The direction v, as for `tangent`.
    ddx, ddu, ddp : array_like, optional
        How the seeds change along v: with δx = tangent(trajectory, x0, u, p), ddx is (∂²J/∂x²) δx and so on; the shapes
        are those of dx, du, dp. Absent where J has no second derivative of its own.

    Returns
    -------
    Gradient
        The products (∇²J v) with respect to ``x0, u, p``, and the perturbation δλ of the costate.

    Examples
    --------
    For J = ½ Σ |x_k - data_k|²:
    ``hessian_vector(path, dx=path.x - data, x0=v, ddx=tangent(path, x0=v))``.
    """
    step, layout, path = _unfold("hessian_vector", trajectory)
    q, r, gp = _seeds(trajectory, dx, du, dp, layout, "dx", "du", "dp")
    dq, dr, dgp = _seeds(trajectory, ddx, ddu, ddp, layout, "ddx", "ddu", "ddp")
    delta_x, delta_u, delta_p = _directions(trajectory, x0, u, p, layout)
    lam, gu = np.empty_like(path[2]), np.empty_like(path[3])
    dlam, dgu = np.empty_like(lam), np.empty_like(gu)
    step.tangent(*path, delta_x, delta_u, delta_p)
    step.backward(*path, q, r, lam, gu, gp)
    step.second(*path, lam, delta_x, delta_u, delta_p, dq, dr, dlam, dgu, dgp)
    return _gradient(trajectory, layout, dlam, dgu, dgp)


def linearize(trajectory: Trajectory, parameters: bool = False) -> Linearization:
    """The Jacobians of every step along the trajectory.

    Parameters
    ----------
    trajectory : Trajectory
    parameters : bool
        Whether C = ∂Φ/∂p is wanted too; otherwise it is None (for a network it would be large).

    Returns
    -------
    Linearization
        ``A (N, n, n)``, ``B (N, n, m)``, ``C (N, n, n_p)`` or None; ``(batch, N, …)`` for a batch.
    """
    _check_trajectory("linearize", trajectory)
    system, N = trajectory.system, len(trajectory)
    paths = trajectory.batch or 1
    h = np.diff(trajectory.t)
    p = np.atleast_2d(trajectory.p)
    A, B, C = system.step(trajectory.method).linearize(
        np.tile(trajectory.t[:-1], paths),
        np.tile(h, paths),
        np.ascontiguousarray(trajectory.x[..., :-1, :]).reshape(paths * N, system.n),
        trajectory.u.reshape(paths * N, system.m),
        p,
        N if len(p) > 1 else paths * N,
        parameters,
    )
    lead = (N,) if trajectory.batch is None else (paths, N)
    return Linearization(
        A.reshape(*lead, *A.shape[1:]),
        B.reshape(*lead, *B.shape[1:]),
        C.reshape(*lead, *C.shape[1:]) if parameters else None,
    )


# ---- what the caller gave, checked ---------------------------------------------------------------


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
    starts = _numbers("x0", x0, system)
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


def _numbers(name: str, value: object, system: System) -> Array:
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
    knots = _numbers("t", t, system)
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
        array = _numbers("u(t)", [np.reshape(u(float(t_k)), -1) for t_k in knots[:-1]], system)
        if array.shape != (N, m):
            raise InputError(
                f"u(t) returned {array.size // N} numbers; system {system.name!r} has {_count(system, 'control')}."
            )
        return array
    array = _numbers("u", u, system)
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
    array = _numbers("p", () if p is None else p, system)
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


def _check_trajectory(verb: str, trajectory: Trajectory) -> None:
    if not isinstance(trajectory, Trajectory):
        raise InputError(
            f"{verb}: the first argument is {type(trajectory).__name__}; expected the Trajectory "
            "that `rollout` returns."
        )


def _shaped(name: str, value: ArrayLike, like: str, shapes: tuple[tuple[int, ...], ...], system: System) -> Array:
    array = _numbers(name, value, system)
    if array.shape not in shapes:
        raise InputError(
            f"{name} has shape {array.shape}; expected {' or '.join(map(str, shapes))}, as {like} of "
            f"this trajectory of system {system.name!r}."
        )
    return array


def _overflow(system: System, t: Array, x_next: Array, k: int, first: int, batch: int | None) -> str:
    """The sentence for a non-finite x_{k+1}, given as (paths, n) for the paths from `first` on."""
    path, e = (int(i) for i in np.argwhere(~np.isfinite(x_next))[0])
    which = "" if batch is None else f" of path {min(first + path, batch - 1)} of the batch"
    others = f" ({np.count_nonzero(~np.isfinite(x_next[path]))} of {system.n} states)" if system.n > 1 else ""
    cure = "Check the map and its inputs" if system.discrete else "Take shorter steps, check x0, u and p"
    return (
        f"the state {system.states[e]} became {x_next[path, e]} at step {k} (t = {t[k]:g}){which} of system "
        f"{system.name!r}{others}. {cure}, or pass allow_nonfinite=True to look at the path."
    )


def _too_long(system: System, method: Method | Composition, t: Array, x0: Array, u: Array, p: Array) -> str:
    """A sentence if the first step is longer than the method is stable for at x0; asked after the overflow only."""
    h = float(t[1] - t[0])
    if system.discrete or h < 0 or not isinstance(method, Method):
        return ""
    from adjoint.analysis.step_limit import max_stable_step

    try:
        limit = max_stable_step(system, method, x0, u[0], t[0], p)
    except InputError:  # no derivative at x0: then there is nothing to say
        return ""
    return f" The step of {h:g} is too long at the start: {limit}" if 0 < limit.h < h else ""


# ---- the trajectory as the kernels want it ------------------------------------------------------


class _Path(NamedTuple):
    """A trajectory in the layout of its step."""

    step: Step
    layout: Lanes | Rows
    arrays: tuple[Array, Array, Array, Array, Array]  # t, h, x, u, p


def _unfold(verb: str, trajectory: Trajectory) -> _Path:
    _check_trajectory(verb, trajectory)
    system, N = trajectory.system, len(trajectory)
    paths = trajectory.batch or 1
    step = system.step(trajectory.method)
    layout = step.layout(paths, trajectory.p.ndim == 1)
    x = layout.pack(trajectory.x.reshape(paths, N + 1, system.n))
    u = layout.pack(trajectory.u.reshape(paths, N, system.m))
    return _Path(step, layout, (*layout.times(trajectory.t), x, u, layout.parameters(trajectory.p)))


def _fold(trajectory: Trajectory, layout: Lanes | Rows, a: Array) -> Array:
    batched = layout.unpack(a, trajectory.batch or 1)
    return batched if trajectory.batch is not None else batched[0]


def _seeds(
    trajectory: Trajectory,
    dx: ArrayLike | None,
    du: ArrayLike | None,
    dp: ArrayLike | None,
    layout: Lanes | Rows,
    *names: str,
) -> tuple[Array, Array, Array]:
    """q, r as the kernels want them (of length 0 along time where absent), and g_p holding s."""
    system, x, u, p = trajectory.system, trajectory.x, trajectory.u, trajectory.p
    paths = trajectory.batch or 1
    q, r = np.zeros(layout.shape(paths, 0, system.n)), np.zeros(layout.shape(paths, 0, system.m))
    if dx is not None:
        given = _shaped(names[0], dx, "x or x at the last knot", (x.shape, x[..., -1, :].shape), system)
        knots = len(trajectory) + 1 if given.shape == x.shape else 1
        q = layout.pack(given.reshape(paths, knots, system.n), pad_with_zero=True)
    if du is not None:
        given = _shaped(names[1], du, "u", (u.shape,), system)
        r = layout.pack(given.reshape(paths, len(trajectory), system.m), pad_with_zero=True)
    s = np.zeros(p.shape) if dp is None else _shaped(names[2], dp, "p", (p.shape,), system)
    return q, r, layout.parameter_seed(s)


def _directions(
    trajectory: Trajectory, x0: ArrayLike | None, u: ArrayLike | None, p: ArrayLike | None, layout: Lanes | Rows
) -> tuple[Array, Array, Array]:
    """δx with δx_0 filled in, δu, δp, as the kernels want them."""
    system, x, N = trajectory.system, trajectory.x, len(trajectory)
    paths = trajectory.batch or 1

    def given(name: str, value: ArrayLike | None, like: str, target: Array) -> Array:
        return np.zeros(target.shape) if value is None else _shaped(name, value, like, (target.shape,), system)

    start = given("x0", x0, "x at the first knot", x[..., 0, :])
    du = given("u", u, "u", trajectory.u)
    dp = given("p", p, "p", trajectory.p)
    dx = np.empty(layout.shape(paths, N + 1, system.n))
    dx[:, 0] = layout.pack(start.reshape(paths, system.n))
    return dx, layout.pack(du.reshape(paths, N, system.m)), layout.parameters(dp)


def _gradient(trajectory: Trajectory, layout: Lanes | Rows, lam: Array, gu: Array, gp: Array) -> Gradient:
    costate = _fold(trajectory, layout, lam)
    return Gradient(
        costate[..., 0, :].copy(),
        _fold(trajectory, layout, gu),
        layout.parameter_gradient(gp, trajectory.p),
        costate,
    )
