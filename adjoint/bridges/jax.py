"""JAX: a system's rollout as a function that JAX can differentiate, compile and map.

    rollout     any `System`, differentiable twice in reverse mode; the derivatives are in the header of the package

The sweeps are called back by JAX (`jax.pure_callback`), so that `jit` compiles around them. `vmap` adds axes in front,
and all paths that it makes are run in one sweep, each with its own p:

    x_0 (…, n), u (…, N, m), p (…, n_p)  →  x (…, N+1, n)  →  ∂J/∂x_0 (…, n), ∂J/∂u (…, N, m), ∂J/∂p (…, n_p)

Forward mode (`jvp`, and so `jax.hessian`) is not there: for a function that it calls back JAX takes it or the reverse,
and the reverse is what a loss needs. ``jax.jacrev(jax.grad(J))`` is the Hessian of a loss.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise ImportError(
        "adjoint.bridges.jax needs JAX, which is not installed: pip install 'adjoint-control[jax]'."
    ) from error

from adjoint import sweeps
from adjoint.arguments import arguments
from adjoint.errors import InputError
from adjoint.method import RK4, Method
from adjoint.system import System
from adjoint.trajectory import Gradient, Trajectory

__all__ = ["rollout"]

Array = NDArray[Any]

LARGE = 102_400  # bytes from which JAX copies an array for a callback in the background


def rollout(
    system: System,
    x0: Any,
    u: Any = None,
    t: Any = None,
    p: Any = None,
    method: Method = RK4,
    steps: int | None = None,
) -> jax.Array:
    """`adjoint.rollout` for JAX: the states, for `grad`, `jit` and `vmap`.

    Parameters
    ----------
    system : System
    x0, u, p : array_like
        With the shapes of `adjoint.rollout`; each may be differentiated and mapped over.
    t : array_like (N+1,), optional
        The knots: numbers, which JAX does not trace.
    method : Method
    steps : int, optional
        As for `adjoint.rollout`.

    Returns
    -------
    jax.Array (N+1, n), or (batch, N+1, n)
        In JAX's type of real numbers: float32, or float64 with ``jax.config.update("jax_enable_x64", True)``. The
        sweeps compute in float64; what lies between them, the path included, is rounded to that type.

    Raises
    ------
    InputError
        If a shape does not fit. Numbers are seen when the compiled function runs: what `adjoint.rollout` would say of
        them is then in the message of JAX's own error.

    Notes
    -----
    For a large cell a batch of `rollout`'s own, which shares p, is faster than `vmap`.
    """
    if isinstance(t, jax.core.Tracer):
        raise InputError("t is traced by JAX, and the knots are fixed. Pass numbers: t=np.linspace(0, 1, 101).")
    dtype = jnp.result_type(float)
    starts, parameters = _numbers("x0", x0, dtype), None if p is None else _numbers("p", p, dtype)
    controls = u if u is None or callable(u) else _numbers("u", u, dtype)
    full = arguments(
        system,
        np.zeros(starts.shape),
        controls if u is None or callable(u) else np.zeros(controls.shape),
        None if t is None else np.asarray(t),
        None if parameters is None else np.zeros(parameters.shape),
        steps,
    )
    run = _differentiable(system, None if system.discrete else method, full.t.tobytes(), full.batch, full.p.ndim, dtype)
    return run(
        _repeat(starts, full.x0.shape),
        jnp.asarray(full.u, dtype) if u is None or callable(u) else _repeat(controls, full.u.shape),
        jnp.zeros(0, dtype) if parameters is None else parameters,
    )


def _numbers(name: str, value: Any, dtype: Any) -> jax.Array:
    try:
        array = jnp.asarray(value)
        if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"its type is {array.dtype}")
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no array of real numbers ({error}).") from error
    return array.astype(dtype)


def _repeat(a: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Copies of `a`, one after the other, until they have this shape; JAX knows the transpose."""
    copies = math.prod(shape) // max(1, a.size)
    return jnp.broadcast_to(a.reshape(1, -1), (copies, a.size)).reshape(shape)


# One function for each setting and not one for each call: JAX compiles a function once.
@lru_cache(maxsize=256)
def _differentiable(
    system: System, method: Method | None, knots: bytes, batch: int | None, p_ndim: int, dtype: Any
) -> Callable[..., Any]:
    """x(x_0, u, p) with its derivatives."""
    sweeper = _Sweeper(system, method, np.frombuffer(knots), batch, p_ndim, dtype)

    def call(sweep: Callable[..., Any], like: Any, *arrays: Any) -> Any:
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype), like)
        return jax.pure_callback(sweep, shapes, *arrays, vmap_method="expand_dims")

    @jax.custom_vjp
    def path(x0: Any, u: Any, p: Any) -> Any:
        N = u.shape[-2]
        return call(sweeper.rollout, np.empty((*x0.shape[:-1], N + 1, system.n)), x0, u, p)

    def path_forward(x0: Any, u: Any, p: Any) -> Any:
        x = path(x0, u, p)
        return x, (x0, u, p, jax.lax.stop_gradient(x))

    def path_backward(kept: Any, dx: Any) -> Any:
        return back(*kept, dx)

    @jax.custom_vjp
    def back(x0: Any, u: Any, p: Any, x: Any, dx: Any) -> Any:
        return call(sweeper.sweep, (x0, u, p), x, u, p, dx)

    def back_forward(x0: Any, u: Any, p: Any, x: Any, dx: Any) -> Any:
        return back(x0, u, p, x, dx), (x0, u, p, x, dx)

    def back_backward(kept: Any, v: Any) -> Any:
        x0, u, p, x, dx = kept
        gx0, gu, gp, ddx = call(sweeper.second, (x0, u, p, dx), x, u, p, dx, *v)
        return gx0, gu, gp, jnp.zeros_like(x), ddx

    path.defvjp(path_forward, path_backward)
    back.defvjp(back_forward, back_backward)
    return path


class _Sweeper:
    """The sweeps as JAX calls them back: arrays with axes in front for each `vmap`, of length 1 where it shares one."""

    def __init__(
        self, system: System, method: Method | None, t: Array, batch: int | None, p_ndim: int, dtype: Any
    ) -> None:
        self.system, self.method, self.t, self.batch, self.dtype = system, method, t, batch, dtype
        own = 0 if batch is None else 1
        self.ranks = {"x0": 1 + own, "x": 2 + own, "u": 2 + own, "p": p_ndim}

    def rollout(self, x0: Any, u: Any, p: Any) -> Any:
        """x."""
        front, (x0, u, p) = self._flat(("x0", "u", "p"), (x0, u, p))
        path = sweeps.rollout(self.system, x0, u, self.t, p, self.method or RK4)
        return self._cast(path.x, front, "x")

    def sweep(self, x: Any, u: Any, p: Any, dx: Any) -> Any:
        """∂J/∂(x_0, u, p)."""
        front, (x, u, p, dx) = self._flat(("x", "u", "p", "x"), (x, u, p, dx))
        return self._gradient(sweeps.sweep(self._path(x, u, p), dx=dx), front)

    def second(self, x: Any, u: Any, p: Any, dx: Any, *v: Any) -> Any:
        """∇²⟨x̄, x⟩ v, and J v."""
        kinds = ("x", "u", "p", "x", "x0", "u", "p")
        front, (x, u, p, dx, *along_z) = self._flat(kinds, (x, u, p, dx, *v))
        path, along = self._path(x, u, p), dict(zip(("x0", "u", "p"), along_z, strict=True))
        second = sweeps.hessian_vector(path, dx=dx, **along)
        return *self._gradient(second, front), self._cast(sweeps.tangent(path, **along), front, "x")

    def _path(self, x: Array, u: Array, p: Array) -> Trajectory:
        return Trajectory(self.t, x, u, p, self.system, self.method)

    def _flat(self, kinds: tuple[str, ...], arrays: Sequence[Any]) -> tuple[tuple[int, ...], list[Array]]:
        """The lengths of the axes in front, and the arrays with them, and a batch of rollout's own, as one batch."""
        if _threads() < 2 and any(a.nbytes >= LARGE for a in arrays):
            raise InputError(
                f"an array of system {self.system.name!r} has {LARGE} bytes or more, and JAX has one thread: it would "
                "call the sweep on it and wait there, for ever, for the copy of the array. Start Python with the "
                "environment variable NPROC=2, or on two cores."
            )
        given = [np.array(a, dtype=np.float64) for a in arrays]
        cut = [a.ndim - self.ranks[kind] for a, kind in zip(given, kinds, strict=True)]
        front = np.broadcast_shapes(*(a.shape[:k] for a, k in zip(given, cut, strict=True)))
        if front == ():
            return front, given
        flat = []
        for a, kind, k in zip(given, kinds, cut, strict=True):
            own = a.shape[k:]
            if kind == "p" and self.batch is not None and self.ranks["p"] == 1:
                a, own = a[..., None, :], (self.batch, *own)
            values = own if self.batch is None else own[1:]
            flat.append(np.ascontiguousarray(np.broadcast_to(a, front + own)).reshape(-1, *values))
        return front, flat

    def _cast(self, a: Array, front: tuple[int, ...], kind: str) -> Array:
        """The way back."""
        if front == ():
            return a.astype(self.dtype)
        shared = kind == "p" and self.batch is not None and self.ranks["p"] == 1
        own = () if self.batch is None else (self.batch,)
        a = a.reshape(*front, *own, *a.shape[1:])
        return (a.sum(axis=-2) if shared else a).astype(self.dtype)

    def _gradient(self, g: Gradient, front: tuple[int, ...]) -> tuple[Array, Array, Array]:
        return self._cast(g.x0, front, "x0"), self._cast(g.u, front, "u"), self._cast(g.p, front, "p")


def _threads() -> int:
    """How many threads JAX's CPU client has."""
    wanted = os.environ.get("NPROC", "")
    return int(wanted) if wanted.isdecimal() else len(os.sched_getaffinity(0))
