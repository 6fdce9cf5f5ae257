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

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.arguments import Control, arguments, shaped
from adjoint.errors import AdjointError, InputError
from adjoint.kernels import sweep as kernels
from adjoint.layout import Lanes, Rows
from adjoint.method import RK4, Method
from adjoint.rounding import grew, warn_of_rounding
from adjoint.step import Step
from adjoint.symplectic import Composition
from adjoint.system import System
from adjoint.trajectory import Gradient, Trajectory

__all__ = ["Linearization", "hessian_vector", "linearize", "rollout", "sweep", "tangent"]

Array = NDArray[np.float64]


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


def _check_trajectory(verb: str, trajectory: Trajectory) -> None:
    if not isinstance(trajectory, Trajectory):
        raise InputError(
            f"{verb}: the first argument is {type(trajectory).__name__}; expected the Trajectory "
            "that `rollout` returns; a solution of solve_ivp has one, .trajectory."
        )


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
        given = shaped(names[0], dx, "x or x at the last knot", (x.shape, x[..., -1, :].shape), system)
        knots = len(trajectory) + 1 if given.shape == x.shape else 1
        q = layout.pack(given.reshape(paths, knots, system.n), pad_with_zero=True)
    if du is not None:
        given = shaped(names[1], du, "u", (u.shape,), system)
        r = layout.pack(given.reshape(paths, len(trajectory), system.m), pad_with_zero=True)
    s = np.zeros(p.shape) if dp is None else shaped(names[2], dp, "p", (p.shape,), system)
    return q, r, layout.parameter_seed(s)


def _directions(
    trajectory: Trajectory, x0: ArrayLike | None, u: ArrayLike | None, p: ArrayLike | None, layout: Lanes | Rows
) -> tuple[Array, Array, Array]:
    """δx with δx_0 filled in, δu, δp, as the kernels want them."""
    system, x, N = trajectory.system, trajectory.x, len(trajectory)
    paths = trajectory.batch or 1

    def given(name: str, value: ArrayLike | None, like: str, target: Array) -> Array:
        return np.zeros(target.shape) if value is None else shaped(name, value, like, (target.shape,), system)

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
