"""The gradient through an adaptive solve: the one backward sweep over the grid that was found.

    outputs        x(t_j) = D(t_k, h_k, θ_j, x_k, u_k, p)                 seeds dx_j = ∂J/∂x(t_j)
    seeds          q_k += (∂D/∂x)ᵀ dx_j,   r_k += (∂D/∂u)ᵀ dx_j,   s += (∂D/∂p)ᵀ dx_j
    sweep          λ_k = A_kᵀ λ_{k+1} + q_k,  ∂J/∂u = B_kᵀ λ_{k+1} + r_k,  ∂J/∂p = Σ C_kᵀ λ_{k+1} + s
    ends           ∂J/∂t_1 = λ_Nᵀ ∂Φ_{N-1}/∂h,    ∂J/∂t_0 = λ_1ᵀ (∂Φ_0/∂t - ∂Φ_0/∂h)

**What is held fixed.** The grid is data: its inner knots t_1 … t_{N-1} stay where they are. (How the error control
would have moved them is an effect of the size of the error, and not differentiable: a step is accepted or it is not.)
When an end of the span moves, the first or the last step changes its length. An output at a time of its own, t_eval,
keeps that time; an output at an end of the span moves with it. Of the numbers computed under this rule the gradient is
exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.ode.solution import OdeSolution, points

__all__ = ["OdeGradient", "sweep_solution"]

Array = NDArray[np.float64]
_NONE = np.zeros((1, 0, 1, 1))


@dataclass(frozen=True, eq=False)
class OdeGradient:
    """The derivative of a number J of a solve with respect to everything the solve was made from.

    Attributes
    ----------
    x0 : array (n,)
    u : array (M, m)
        With respect to the control in each interval between knots.
    p : array (n_p,)
    costate : array (N+1, n)
        λ_k = ∂J/∂x_k at the knots of the grid.
    t0, t1 : float
        With respect to the ends of the span; see the header of `adjoint.ode.gradient` for what is held fixed.
    """

    x0: Array
    u: Array
    p: Array
    costate: Array
    solution: OdeSolution
    lam: Array  # the costate with that of the quadratures
    first: float  # what outputs within the first and last step add to t0 and t1
    last: float

    @cached_property
    def t0(self) -> float:
        """∂J/∂t_0."""
        path = self.solution.pieces[0].path
        at = points(path, np.zeros(1, np.int64), np.zeros(1))
        g_t, g_h = self.solution.runner.time_vjp(at, self.lam[1:2])
        return float(g_t[0] - g_h[0]) + self.first

    @cached_property
    def t1(self) -> float:
        """∂J/∂t_1."""
        path = self.solution.pieces[-1].path
        at = points(path, np.array([len(path) - 1]), np.zeros(1))
        _, g_h = self.solution.runner.time_vjp(at, self.lam[-1:])
        return float(g_h[0]) + self.last


def sweep_solution(
    solution: OdeSolution, dx: ArrayLike | None = None, dlast: ArrayLike | None = None, dintegral: float = 0.0
) -> OdeGradient:
    """The gradient of a number J of a solve: the backward sweep.

    Parameters
    ----------
    solution : OdeSolution
    dx : array_like (K, n), optional
        ∂J/∂x at the outputs, with the shape of ``solution.x``.
    dlast : array_like (n,), optional
        ∂J/∂x at the end of the solve.
    dintegral : float
        ∂J/∂(the integral of `running` over the whole solve).

    Returns
    -------
    OdeGradient

    Raises
    ------
    InputError
        If a shape does not fit.
    """
    (piece,) = solution.pieces
    path, runner, n = piece.path, solution.runner, solution.system.n
    N, total = len(path), path.x.shape[1]
    r, s = _NONE, np.zeros((1, path.p.size, 1))
    first = last = 0.0
    if dx is None:
        q = np.zeros((1, total))
    else:
        seed = _seed("dx", dx, solution.x.shape)
        q = np.zeros((N + 1, total))
        if solution.places is None:
            q[:, :n] = seed
        else:
            _, step, theta = solution.places
            knot = theta == 0
            q[step[knot], :n] = seed[knot]
            inside = ~knot
            if inside.any():
                k, theta = step[inside], theta[inside]
                at = points(path, k, theta)
                whole = np.zeros((k.size, total))
                whole[:, :n] = seed[inside]
                g_t, g_h, g_x, g_u, g_p, g_theta = runner.dense_vjp(at, whole)
                np.add.at(q, k, g_x)
                r = np.zeros((1, N, path.u.shape[1], 1))
                np.add.at(r[0, :, :, 0], k, g_u)
                s[0, :, 0] += g_p.sum(axis=0)
                begin, end = k == 0, k == N - 1
                first = float((g_t - g_h - g_theta * (1 - theta) / at.h)[begin].sum())
                last = float((g_h - g_theta * theta / at.h)[end].sum())
    if dlast is not None:
        q[-1, :n] += _seed("dlast", dlast, (n,))
    if dintegral:
        if total == n:
            raise InputError("dintegral is given, but the solve had no running=.")
        q[-1, n] += dintegral
    lam, gu = np.empty((1, N + 1, total, 1)), np.empty((1, N, path.u.shape[1], 1))
    t = path.t
    runner.step.backward(
        t[:-1, None], (t[1:] - t[:-1])[:, None], path.x[None, :, :, None], path.u[None, :, :, None],
        path.p[None, :, None], q[None, :, :, None], r, lam, gu, s,
    )  # fmt: skip
    costate = lam[0, :, :, 0]
    g_u = np.zeros(solution.u.shape)
    if g_u.size:
        np.add.at(g_u, piece.interval, gu[0, :, :, 0])
    return OdeGradient(costate[0, :n].copy(), g_u, s[0, :, 0], costate[:, :n], solution, costate, first, last)


def _seed(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape}; expected {shape}.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} has an entry that is not finite.")
    return array
