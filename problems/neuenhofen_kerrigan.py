from __future__ import annotations

import math

import numpy as np

import adjoint


def neuenhofen_kerrigan() -> adjoint.OptimalControlProblem:
    """A nonlinear problem with a closed form, made to expose schemes that report a cost below the optimum.

    ::

        minimise  ∫₀^{π/2} y² + u cos t dt      y' = y²/2 + u,   y(0) = 0,   -3/2 <= u <= 1

    Optimum: y = -sin t/(2 - cos t), u = 1/2 - 3/2/(2 - cos t)², J = -0.256996962561. The control enters the
    cost linearly, so the Hessian of H in u is zero everywhere and the arc is singular: a scheme's cost may come
    out lower than the optimum. Look at the error of u, not of J alone.

    Source: M. P. Neuenhofen and E. C. Kerrigan; value as in the examples of PSOPT.
    """
    def scalar(t, x, u, p):
        return [x[0] ** 2 / 2 + u[0]]

    def cost(t, x, u, p):
        return x[0] ** 2 + u[0] * np.cos(t)

    return adjoint.OptimalControlProblem(
        adjoint.System(scalar, states="y", controls="u"),
        initial=dict(y=0), bounds=dict(u=(-1.5, 1)), t=(0, math.pi / 2), running=cost,
        name="neuenhofen_kerrigan", published=-0.256996962561, source="Neuenhofen and Kerrigan; PSOPT examples")
