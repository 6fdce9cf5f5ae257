"""What finds a grid, and what is asked of it: the border between `solve_ivp` and the families of methods.

An adaptive solve is two things. A *runner* finds a grid t_0 … t_N on which the error is small. After that everything is
the fixed step of the same method on that grid,

    x_{k+1} = Φ(t_k, h_k, x_k, u_k, p),       h_k = t_{k+1} - t_k as floating-point numbers subtract

to the last bit, so that rollout, sweep, tangent, linearize and hessian_vector apply as they are. A runner brings

    step                   Φ with its derivatives: the `Step` of `System.step(method)`
    advance                goes on with a `Walk`, and says how it ended (statuses of `kernels.grid`)
    dense, dense_vjp, …    the state within a step, x(t_k + θ h_k) = D(t_k, h_k, θ, x_k, u_k, p), and its derivatives
    time_vjp               (∂Φ/∂t)ᵀλ and (∂Φ/∂h)ᵀλ

`walk` is the loop around `advance`: it makes room, and lets the user interrupt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from adjoint.kernels import grid as kernels
from adjoint.method import Method
from adjoint.step import MachineCode, Step

__all__ = ["Control", "Points", "Runner", "Walk", "Watch", "walk"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

PAUSE = 200_000  # attempts between two chances to interrupt: a fraction of a second
FIRST_ROOM = 256  # steps


class Control(NamedTuple):
    """Options of error control: rtol, atol (n,), the longest step, the first (0: to be found), the most attempts, and
    how many states are controlled (atol < ∞).
    """

    rtol: float
    atol: Array
    max_step: float
    first_step: float
    max_steps: int
    counted: float


@dataclass
class Walk:
    """A grid while it grows: the only mutable thing here.

    Attributes
    ----------
    knots, U : arrays (M+1,), (M, m)
        Where a step must end (the first and last of them are the span), and the control between them.
    p : array (n_p,)
    control : Control
    t, x, interval : arrays (K+1,), (K+1, n), (K,)
        The grid and room for more; which interval each step lies in.
    number, count : arrays
        The state of the controller and the counters, in the slots of `kernels.grid`.
    vector : array (5, n)
        atol, the slope at the current knot in row count[SLOT], and scratch.
    scratch
        What the runner wants to keep from one `advance` to the next.
    """

    knots: Array
    U: Array
    p: Array
    control: Control
    t: Array
    x: Array
    interval: Integers
    number: Array
    vector: Array
    count: Integers
    scratch: Any = None

    @property
    def steps(self) -> int:
        """How many steps the grid has."""
        return int(self.count[kernels.STEPS])


class Watch(NamedTuple):
    """Events to look for after each step: code of g, and the arrays of `kernels.grid.crossed`."""

    address: int
    g: Array
    signs: Integers
    directions: Integers
    fired: Integers


NOTHING = Watch(0, np.empty(0), *(np.empty(0, np.int64) for _ in range(3)))


class Points(NamedTuple):
    """Steps, or places within them, one per row: t, h (K,), x (K, n), u (K, m), p (n_p,), and θ (K,) within."""

    t: Array
    h: Array
    x: Array
    u: Array
    p: Array
    theta: Array


class Runner(Protocol):
    """A method at work on a system; see the header. One per system and method, shared by threads."""

    step: Step
    method: Method

    @property
    def step_code(self) -> MachineCode:
        """Φ on one lane: t, h, x, u, p → x_next."""

    def begin(self, walk: Walk) -> None:
        """Prepare number, vector and count of a new walk for this method (options of the controller)."""

    def advance(self, walk: Walk, watch: Watch, pause: int) -> int:
        """Go on by at most `pause` attempts; the status."""

    def evaluations(self, walk: Walk) -> int:
        """How often f was evaluated so far."""

    def dense(self, at: Points) -> Array:
        """D: (K, n)."""

    def dense_vjp(self, at: Points, seed: Array) -> tuple[Array, ...]:
        """Of D, row by row: g_t, g_h (K,), g_x (K, n), g_u (K, m), g_p (K, n_p), g_θ (K,)."""

    def dense_jvp(self, at: Points, dx: Array, du: Array, dp: Array) -> Array:
        """D_x δx + D_u δu + D_p δp: (K, n); δp (n_p,)."""

    def dense_second(self, at: Points, seed: Array, dx: Array, du: Array, dp: Array) -> tuple[Array, Array, Array]:
        """How g_x, g_u, g_p of `dense_vjp` change along (δx, δu, δp)."""

    def time_vjp(self, at: Points, seed: Array) -> tuple[Array, Array]:
        """Of Φ (θ is not used): g_t, g_h (K,)."""


def new_walk(
    runner: Runner, t0: float, x0: Array, knots: Array, U: Array, p: Array, control: Control, room: int = FIRST_ROOM
) -> Walk:
    """A walk that stands at its beginning."""
    n = x0.size
    t, x = np.empty(room + 1), np.empty((room + 1, n))
    t[0], x[0] = t0, x0
    vector = np.empty((5, n))
    vector[0] = control.atol
    number, count = np.zeros(kernels.NUMBERS), np.zeros(kernels.COUNTS, np.int64)
    number[: kernels.COUNTED + 1] = (
        control.first_step, 0.0, control.rtol, control.max_step, 0.0, 0.0, 0.0, control.counted
    )  # fmt: skip
    count[:] = (0, 0, 0, 0, control.max_steps, 1, 0, 1)
    made = Walk(knots, U, p, control, t, x, np.empty(room, np.int64), number, vector, count)
    runner.begin(made)
    return made


def walk(runner: Runner, way: Walk, watch: Watch = NOTHING) -> int:
    """Go on until there is something to say: DONE, EVENT, or a failure; INTERRUPTED after Ctrl-C.

    The arrays of `way` may have been replaced by longer ones.
    """
    try:
        while True:
            status = runner.advance(way, watch, PAUSE)
            if status == kernels.FULL:
                room = 2 * way.interval.size
                way.t, way.x = _longer(way.t, room + 1), _longer(way.x, room + 1)
                way.interval = _longer(way.interval, room)
            elif status != kernels.PAUSED:
                return status
    except KeyboardInterrupt:
        return kernels.INTERRUPTED


def _longer(a: Any, rows: int) -> Any:
    longer = np.empty((rows, *a.shape[1:]), a.dtype)
    longer[: len(a)] = a
    return longer
