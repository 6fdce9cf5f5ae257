from __future__ import annotations

import math

import adjoint


def hager_lq() -> adjoint.OptimalControlProblem:
    """Hager's scalar linear-quadratic problem: the first test of an order of convergence.

    ::

        minimise  ∫₀¹ 5/8 x² + 1/2 x u + 1/2 u² dt      x' = x/2 + u,   x(0) = 1,   x(1) free

    Optimum, in closed form: J = tanh(1)/2, with ::

        x = cosh(1-t)/cosh 1,      u = -(tanh(1-t) + 1/2) x,      λ = tanh(1-t) x

    Source: W. W. Hager, Runge-Kutta methods in optimal control and the transformed adjoint system, Numer. Math.
    87 (2000).
    """
    def scalar(t, x, u, p):
        return [x[0] / 2 + u[0]]

    def cost(t, x, u, p):
        return 5 / 8 * x[0] ** 2 + x[0] * u[0] / 2 + u[0] ** 2 / 2

    return adjoint.OptimalControlProblem(
        adjoint.System(scalar, states="x", controls="u"),
        initial=dict(x=1), t=(0, 1), running=cost,
        name="hager_lq", published=math.tanh(1) / 2, source="Hager, Numer. Math. 87 (2000) 247-282")
