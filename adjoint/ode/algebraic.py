"""Consistent values for a differential-algebraic system M ẋ = f(t, x, u, p) of index 1.

Where M is singular, let the columns of L span the left null space of M and those of R the right one. The state has to
satisfy the algebraic equations

    g(x) = Lᵀ f(t, x, u, p) = 0,        index 1:  K = Lᵀ J R is regular                      J = ∂f/∂x

M x, the part whose derivative is given, is kept, and x moves within the null space of M:

    x ← x - R K⁻¹ g(x)                  Newton's method
    λ ← λ - Jᵀ L K⁻ᵀ Rᵀ λ               its transpose: from ∂J/∂(consistent x) to ∂J/∂(x as given)
"""

from __future__ import annotations

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.ode.given import numbers
from adjoint.system import System

__all__ = ["check_consistent", "consistent", "consistent_vjp"]

Array = NDArray[np.float64]
ITERATIONS = 50


class Algebra:
    """The algebraic equations of a system at one time, and Newton's correction.

    Parameters
    ----------
    system : System
        With a mass matrix.
    t, u, p
        Where f is taken.
    """

    def __init__(self, system: System, t: float, u: Array, p: Array) -> None:
        assert system.mass is not None
        self.system, self.at = system, (t, u, p)
        left, sizes, right = np.linalg.svd(system.mass)
        small = sizes <= 1e-13 * max(sizes[0], 1e-300) * system.n
        self.L, self.R = left[:, small], right[small].T
        z = [ca.SX.sym(name, system.graph.size1_in(i)) for i, name in enumerate("txup")]
        f = system.graph(*z)
        self._both = ca.Function("both", z, [f, ca.densify(ca.jacobian(f, z[1])), ca.densify(ca.jacobian(f, z[3]))])

    def correction(self, x: Array) -> tuple[Array, Array]:
        """R K⁻¹ g(x) and g(x).

        Raises
        ------
        InputError
            If K is singular: the index is not 1.
        """
        f, J, _ = self.derivatives(x)
        g, K = self.L.T @ f, self.L.T @ J @ self.R
        if not (np.isfinite(g).all() and np.isfinite(K).all()):
            raise InputError(f"f of system {self.system.name!r} or its derivative is not finite at the start.")
        sizes = np.linalg.svd(K, compute_uv=False)
        if sizes.size and not sizes[-1] > 1e-13 * sizes[0]:
            raise InputError(
                f"the algebraic equations of system {self.system.name!r} do not determine its algebraic states at "
                f"t = {self.at[0]:g} (∂g/∂x is singular there): its index is not 1. Differentiate a constraint by time "
                "until an algebraic state appears in it."
            )
        return self.R @ np.linalg.solve(K, g), g

    def derivatives(self, x: Array) -> tuple[Array, Array, Array]:
        """f, ∂f/∂x, ∂f/∂p."""
        t, u, p = self.at
        f, J, C = self._both(t, x, u, p)
        return np.array(f).ravel(), np.array(J), np.array(C)


def consistent(
    system: System, x0: ArrayLike, t: float = 0.0, u: ArrayLike | None = None, p: ArrayLike | None = None
) -> Array:
    """The state nearest to x0 in its algebraic part that satisfies the algebraic equations of M ẋ = f.

    Parameters
    ----------
    system : System
        With a mass matrix (`System(…, mass=M)`), of index 1.
    x0 : array_like (n,)
        M x0 is kept; the rest is a guess.
    t : float
    u, p : array_like (m,), (n_p,), optional

    Returns
    -------
    array (n,)

    Raises
    ------
    InputError
        If an argument does not fit, or the index is not 1.
    AdjointError
        If Newton's method does not converge from this guess.
    """
    algebra, x = _given(system, x0, t, u, p)
    if algebra is None:
        return x
    for _ in range(ITERATIONS):
        step, _ = algebra.correction(x)
        x = x - step
        if not np.isfinite(x).all():
            break
        if np.all(np.abs(step) <= 1e-14 * (np.abs(x) + np.abs(x).max())):
            return x
    raise AdjointError(
        f"no consistent state of system {system.name!r} was found from this x0 in {ITERATIONS} Newton iterations; the "
        f"last correction was {np.abs(step).max():.3g}. Pass a better guess of the algebraic states."
    )


def consistent_vjp(
    system: System, x: ArrayLike, lam: ArrayLike, t: float = 0.0, u: ArrayLike | None = None, p: ArrayLike | None = None
) -> tuple[Array, Array]:
    """From the gradient at a consistent state to the gradient with respect to what `consistent` was given.

    Parameters
    ----------
    system : System
    x : array_like (n,)
        What `consistent` returned.
    lam : array_like (n,)
        ∂J/∂x there; the x0 of a gradient.
    t, u, p
        As for `consistent`.

    Returns
    -------
    x0 : array (n,)
        ∂J/∂x0: zero along the null space of M.
    p : array (n_p,)
        What J owes to p through the algebraic states.
    """
    algebra, point = _given(system, x, t, u, p)
    seed = numbers("lam", lam)
    if algebra is None:
        return seed, np.zeros(system.n_p)
    _, J, C = algebra.derivatives(point)
    w = algebra.L @ np.linalg.solve((algebra.L.T @ J @ algebra.R).T, algebra.R.T @ seed)
    return seed - J.T @ w, -C.T @ w


def check_consistent(system: System, x0: Array, t: float, u: Array, p: Array, tolerance: Array) -> None:
    """Refuse a start whose algebraic states are off by more than `tolerance` (n,).

    Raises
    ------
    InputError
        Naming the state that is furthest off, and where it belongs.
    """
    algebra = Algebra(system, t, u, p)
    step, g = algebra.correction(x0)
    off = np.abs(step) / tolerance
    if off.size and not off.max() <= 1:
        e = int(np.argmax(off))
        raise InputError(
            f"x0 does not satisfy the algebraic equations of system {system.name!r} at t = {t:g}: their residual is "
            f"{np.abs(g).max():.3g}, and state {system.states[e]!r} = {x0[e]:.10g} would have to be about "
            f"{x0[e] - step[e]:.10g}. Pass consistent(system, x0, t, u, p) from adjoint.ode."
        )


def _given(
    system: System, x: ArrayLike, t: float, u: ArrayLike | None, p: ArrayLike | None
) -> tuple[Algebra | None, Array]:
    """The equations, or None where there are none, and x."""
    state = numbers("x0", x).reshape(-1)
    control, parameters = (numbers(name, () if a is None else a).reshape(-1) for name, a in (("u", u), ("p", p)))
    for name, array, size in (("x0", state, system.n), ("u", control, system.m), ("p", parameters, system.n_p)):
        if array.size != size:
            raise InputError(f"{name} has {array.size} numbers; system {system.name!r} expects {size}.")
    if system.mass is None:
        return None, state
    return Algebra(system, float(t), control, parameters), state
