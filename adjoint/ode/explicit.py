"""Explicit embedded pairs as runners.

    embedded step    x⁺, ẋ⁺ and the size of the error in one piece of machine code     (`symbolic.steps.embedded_step`)
    dense output     D(t, h, θ, x, u, p), a polynomial in θ over the stages            (`symbolic.steps.dense_output`)

and the derivatives of D, and of Φ by t and h, from their graphs.
"""

from __future__ import annotations

from functools import cached_property

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError
from adjoint.kernels import grid as kernels
from adjoint.kernels import outputs
from adjoint.method import Method
from adjoint.native import CompiledFunction, compile, lane_width
from adjoint.ode.run import Points, Walk, Watch
from adjoint.step import MachineCode, Step, TracedStep, machine_code
from adjoint.symbolic.derivatives import jvp, second, vjp
from adjoint.symbolic.steps import dense_output, embedded_step, explicit_step
from adjoint.system import System

__all__ = ["ExplicitRunner"]

Array = NDArray[np.float64]
BETA = 0.04  # of the PI controller; Hairer & Wanner II, IV.2


class ExplicitRunner:
    """See `adjoint.ode.run.Runner`.

    Parameters
    ----------
    system : System
        Continuous, with a graph.
    method : Method
        Explicit, with an embedded partner.

    Raises
    ------
    InputError
        If the method has no embedded partner.
    """

    def __init__(self, system: System, method: Method) -> None:
        if method.b_hat is None or method.order_hat is None:
            raise InputError(
                f"method {method.name} has no embedded partner that would estimate its error. Solve adaptively with "
                "BS3, DOPRI5, TSIT5 or DOP853, or roll out on a grid of your own: rollout(system, x0, u, t, p, method)."
            )
        self.system, self.method = system, method
        self.step: Step = system.step(method)
        assert isinstance(self.step, TracedStep)
        self._traced = self.step
        guard = method.b_guard is not None
        # Hairer's combination of a fifth- and a third-order estimate behaves like h^8.
        self.q = float(method.order if guard else method.order_hat + 1)
        self.beta = 0.0 if guard else BETA
        self.controller = (1 / self.q - 0.75 * self.beta, self.beta, self.q)
        # Evaluations of f in an attempt; the first slope is that of the step before.
        self.per_attempt = method.stages - (1 if not np.any(method.b[-1]) else 0)

    @cached_property
    def embedded(self) -> MachineCode:
        """Machine code of the embedded step, one lane."""
        return self._embedded(1)

    @cached_property
    def embedded_lanes(self) -> MachineCode:
        """The same on as many lanes as there are."""
        return self._embedded(lane_width())

    @cached_property
    def rhs_lanes(self) -> MachineCode:
        """f on as many lanes as there are."""
        return machine_code(self.system.graph, lane_width(), f"the right-hand side of system {self.system.name!r}")

    def _embedded(self, lanes: int) -> MachineCode:
        m = self.method
        partners = [b for b in (m.b_hat, m.b_guard) if b is not None]
        graph = embedded_step(self.system.graph, m.A, m.b, m.c, partners)
        return machine_code(graph, lanes, f"the embedded step of system {self.system.name!r}")

    @property
    def step_code(self) -> MachineCode:
        """See `Runner`."""
        return self._traced.step(1)

    def begin(self, walk: Walk) -> None:
        """See `Runner`."""
        walk.number[kernels.LOG_E] = kernels.LEAST_LOG
        walk.number[kernels.ALPHA : kernels.Q + 1] = self.controller

    def advance(self, walk: Walk, watch: Watch, pause: int) -> int:
        """See `Runner`."""
        if walk.scratch is None:
            code, rhs = self.embedded, self.system.right_hand_side()
            arg, res, work = code.scratch()
            if rhs.work_size > work.size:
                work = np.empty(rhs.work_size)
            walk.scratch = code, rhs, arg, res, work
        code, rhs, arg, res, work = walk.scratch
        status: int = kernels.advance(
            code.address, rhs.address, watch.address, walk.knots, walk.U, walk.p, walk.t, walk.x, walk.interval,
            walk.number, walk.vector, walk.count, pause, watch.g, watch.signs, watch.directions, watch.fired,
            arg, res, work,
        )  # fmt: skip
        return status

    def evaluations(self, walk: Walk) -> int:
        """See `Runner`."""
        return int(walk.count[kernels.NFEV] + self.per_attempt * walk.count[kernels.TRIED])

    def dense(self, at: Points) -> Array:
        """See `Runner`."""
        code = self._dense
        arg, res, work = code.scratch()
        out = np.empty(at.x.shape)
        outputs.dense_rows(code.address, at.t, at.h, at.x, at.u, _rows(at.p), at.theta, out, arg, res, work)
        return out

    def dense_vjp(self, at: Points, seed: Array) -> tuple[Array, ...]:
        """See `Runner`."""
        code = self._dense_vjp
        arg, _, work = code.scratch()
        K, p = at.t.size, _rows(at.p)
        g_t, g_h, g_theta = np.empty((3, K))
        g_x, g_u, g_p = np.empty(at.x.shape), np.empty(at.u.shape), np.empty((K, p.shape[1]))
        outputs.dense_vjp_rows(
            code.address, at.t, at.h, at.x, at.u, p, at.theta, seed, g_t, g_h, g_x, g_u, g_p, g_theta, arg,
            np.zeros(6, np.int64), work,
        )  # fmt: skip
        return g_t, g_h, g_x, g_u, g_p, g_theta

    def dense_jvp(self, at: Points, dx: Array, du: Array, dp: Array) -> Array:
        """See `Runner`."""
        return np.asarray(self._dense_jvp(*_columns(at), dx, du, dp))

    def dense_second(self, at: Points, seed: Array, dx: Array, du: Array, dp: Array) -> tuple[Array, Array, Array]:
        """See `Runner`."""
        d_x, d_u, d_p = self._dense_second(*_columns(at), seed, dx, du, dp)
        return d_x, d_u, d_p

    def time_vjp(self, at: Points, seed: Array) -> tuple[Array, Array]:
        """See `Runner`."""
        g_t, g_h = self._time_vjp(*_columns(at)[:5], seed)
        return g_t[:, 0], g_h[:, 0]

    @cached_property
    def _dense_graph(self) -> ca.Function:
        m = self.method
        if m.dense is None:
            raise InputError(
                f"method {m.name} has no continuous extension, which output between the steps needs. Use BS3, DOPRI5, "
                "TSIT5 or DOP853, or leave t_eval out and read the solution at its own steps."
            )
        return dense_output(self.system.graph, m.A, m.c, m.dense.P, m.dense.A, m.dense.c)

    @cached_property
    def _dense(self) -> MachineCode:
        return machine_code(self._dense_graph, 1, f"the dense output of system {self.system.name!r}")

    @cached_property
    def _dense_vjp(self) -> MachineCode:
        graph = vjp(self._dense_graph, range(6))
        return machine_code(graph, 1, f"the derivatives of the dense output of system {self.system.name!r}")

    @cached_property
    def _dense_jvp(self) -> CompiledFunction:
        return compile(jvp(self._dense_graph, (2, 3, 4)))

    @cached_property
    def _dense_second(self) -> CompiledFunction:
        return compile(second(self._dense_graph, (2, 3, 4)))

    @cached_property
    def _time_vjp(self) -> CompiledFunction:
        m = self.method
        return compile(vjp(explicit_step(self.system.graph, m.A, m.b, m.c), (0, 1)))


def _rows(p: Array) -> Array:
    """(n_p,) as one row that serves all points."""
    return p if p.ndim == 2 else p[None]


def _columns(at: Points) -> tuple[Array, ...]:
    """The numbers of a row as vectors of length one, as compiled functions take them."""
    return at.t[:, None], at.h[:, None], at.x, at.u, at.p, at.theta[:, None]
