"""Implicit methods as runners: Rosenbrock pairs, and Radau IIA with an odd number of stages.

    records        what a step leaves: U of a Rosenbrock method, Z of a collocation method, (s, n)
    dense output   x(t_k + θ h_k) = x_k + Σ_i Q_i(θ) R_i        Q_i polynomials without constant term

Derivatives by time come from the same step in a time of its own, τ = (t - t_k) / h_k: M dx/dτ = h f(t + h τ, x, u, p)
is stepped once, from 0 to 1, and t and h are two further parameters.
"""

from __future__ import annotations

from functools import cached_property

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError
from adjoint.implicit_step import ImplicitStep
from adjoint.kernels import grid as kernels
from adjoint.kernels import step_rows as rows
from adjoint.kernels import stiff
from adjoint.method import Method
from adjoint.ode.algebraic import check_consistent
from adjoint.ode.run import Points, Walk, Watch
from adjoint.step import MachineCode
from adjoint.system import System

__all__ = ["ImplicitRunner"]

Array = NDArray[np.float64]


class ImplicitRunner:
    """See `adjoint.ode.run.Runner`.

    Parameters
    ----------
    system : System
        Continuous, with a graph.
    method : Method
        RODAS5P, radau(1), radau(3) or radau(5).

    Raises
    ------
    InputError
        If the method has no error estimate.
    """

    def __init__(self, system: System, method: Method) -> None:
        radau = method.kind == "collocation" and method.c[-1] == 1 and method.stages % 2 == 1
        if method.b_hat is None and not radau:
            raise InputError(
                f"method {method.name} has no estimate of its error. Solve adaptively with RODAS5P or radau(3), or "
                "roll out on a grid of your own: rollout(system, x0, u, t, p, method)."
            )
        self.system, self.method = system, method
        step = system.step(method)
        assert isinstance(step, ImplicitStep)
        self.step: ImplicitStep = step
        M = system.mass
        self.singular = M is not None and np.linalg.matrix_rank(M) < system.n
        self.q = float((method.stages if method.order_hat is None else method.order_hat) + 1)

    @property
    def step_code(self) -> MachineCode:
        """See `Runner`."""
        return self.step.step(1)

    def begin(self, walk: Walk) -> None:
        """See `Runner`."""
        walk.number[kernels.Q] = self.q
        if self.singular:
            x = walk.x[0]
            allowed = 10 * (walk.control.atol + walk.control.rtol * np.maximum(np.abs(x), 1e-3 * np.abs(x).max()))
            check_consistent(self.system, x, walk.t[0], walk.U[0], walk.p, np.maximum(allowed, 1e-300))

    def advance(self, walk: Walk, watch: Watch, pause: int) -> int:
        """See `Runner`."""
        code = self.step.attempt
        status: int = stiff.advance(
            code.address, *code.scratch(), watch.address, walk.knots, walk.U, walk.p, walk.t, walk.x, walk.interval,
            walk.number, walk.vector, walk.count, pause, watch.g, watch.signs, watch.directions, watch.fired,
        )  # fmt: skip
        return status

    def evaluations(self, walk: Walk) -> int:
        """See `Runner`."""
        return int(walk.count[kernels.NFEV])

    def dense(self, at: Points) -> Array:
        """See `Runner`."""
        records = self._records(at)
        dense: Array = at.x + np.einsum("ki,kin->kn", self._weights(at.theta), records)
        return dense

    def dense_vjp(self, at: Points, seed: Array) -> tuple[Array, ...]:
        """See `Runner`."""
        slope = np.einsum("ki,kin->kn", self._weights(at.theta, 1), self._records(at))
        seeds = self._weights(at.theta)[:, :, None] * seed[:, None, :]
        g_t, g_h, g_x, g_u, g_p = self._pull(at, np.zeros_like(seed), seeds.reshape(len(seed), -1))
        return g_t, g_h, g_x + seed, g_u, g_p, (slope * seed).sum(axis=1)

    def dense_jvp(self, at: Points, dx: Array, du: Array, dp: Array) -> Array:
        """See `Runner`."""
        (K, n), s, code = at.x.shape, self.method.stages, self.step.jvp(1)
        changes = np.empty((K, s * n))
        rows.push_rows(
            code.address, at.t, at.h, at.x, at.u, _each(at.p, K), np.ascontiguousarray(dx), np.ascontiguousarray(du),
            _each(dp, K), np.empty((K, n)), changes, *code.scratch(),
        )  # fmt: skip
        return np.asarray(dx + np.einsum("ki,kin->kn", self._weights(at.theta), changes.reshape(K, s, n)))

    def dense_second(self, at: Points, seed: Array, dx: Array, du: Array, dp: Array) -> tuple[Array, Array, Array]:
        """See `Runner`."""
        (K, n), m, code = at.x.shape, at.u.shape[1], self.step.second_code(1)
        seeds = (self._weights(at.theta)[:, :, None] * seed[:, None, :]).reshape(K, -1)
        g_x, g_u, g_p = np.empty((K, n)), np.empty((K, m)), np.zeros((K, at.p.size))
        rows.bend_rows(
            code.address, at.t, at.h, at.x, at.u, _each(at.p, K), np.zeros((1, n)), seeds, np.ascontiguousarray(dx),
            np.ascontiguousarray(du), _each(dp, K), g_x, g_u, g_p, *code.scratch(),
        )  # fmt: skip
        return g_x, g_u, g_p

    def time_vjp(self, at: Points, seed: Array) -> tuple[Array, Array]:
        """See `Runner`."""
        g_t, g_h, *_ = self._pull(at, seed, np.zeros((len(seed), self.method.stages * seed.shape[1])))
        return g_t, g_h

    def _records(self, at: Points) -> Array:
        (K, n), s = at.x.shape, self.method.stages
        code, records = self.step.step(1), np.empty((K, s * n))
        p, x_next = _each(at.p, K), np.empty((K, n))
        rows.record_rows(code.address, at.t, at.h, at.x, at.u, p, x_next, records, *code.scratch())
        return records.reshape(K, s, n)

    def _pull(self, at: Points, lam_next: Array, seeds: Array) -> tuple[Array, ...]:
        """g_t, g_h, g_x, g_u, g_p."""
        (K, n), n_p = at.x.shape, at.p.size
        code = self._in_own_time.vjp(1)
        times = np.stack([at.t, at.h], axis=1)
        p = np.ascontiguousarray(np.concatenate([np.broadcast_to(at.p, (K, n_p)), times], axis=1))
        lam, gu, gp = np.empty((K, n)), np.empty((K, at.u.shape[1])), np.zeros((K, n_p + 2))
        rows.pull_rows(
            code.address, np.zeros(K), np.ones(K), at.x, at.u, p, np.ascontiguousarray(lam_next), seeds, lam, gu, gp,
            *code.scratch(),
        )  # fmt: skip
        return gp[:, n_p], gp[:, n_p + 1], lam, gu, gp[:, :n_p]

    @cached_property
    def _in_own_time(self) -> ImplicitStep:
        f = self.system.graph
        x, u, p = (ca.SX.sym(name, f.size1_in(i)) for i, name in ((1, "x"), (2, "u"), (3, "p")))
        tau, t, h = (ca.SX.sym(name) for name in ("tau", "t", "h"))
        graph = ca.Function("own_time", [tau, x, u, ca.vertcat(p, t, h)], [ca.densify(h * f(t + h * tau, x, u, p))])
        return ImplicitStep(graph, self.system.mass, self.method, self.system.name)

    def _weights(self, theta: Array, derivative: int = 0) -> Array:
        """Q_i at each θ, or its derivative: (K, s)."""
        Q = self.step.dense_weights
        powers = np.arange(1, Q.shape[1] + 1)
        if derivative:
            return np.asarray((powers * theta[:, None] ** (powers - 1)) @ Q.T)
        return np.asarray(theta[:, None] ** powers @ Q.T)


def _each(p: Array, K: int) -> Array:
    """The same parameters for each of K points."""
    return np.ascontiguousarray(np.broadcast_to(p, (K, p.size)))
