from __future__ import annotations

import math

import numpy as np

import adjoint


def pendulum_swing_up(torque: float = 6.0) -> adjoint.OptimalControlProblem:
    """Swing a damped pendulum up with a motor that is too weak to lift it directly.

    ::

        minimise  ∫₀⁴ τ² dt      θ'' = τ - 0.1 θ' - 9.81 sin θ,   |τ| <= τ_max,   (θ, θ'): (0, 0) -> (π, 0)

    Mass and length are 1, so 9.81 would hold the pendulum level; θ = 0 hangs down.

    Parameters
    ----------
    torque : float
        τ_max.

    Notes
    -----
    The number of swings tells local optima apart. From a straight line, with τ_max = 6: 39.877058.
    A guess that swings back first, ``guess=dict(angle=np.pi * s - np.sin(2 * np.pi * s))`` with
    ``s = np.linspace(0, 1, 41)``, leads to 29.29946, the best that we know. With τ_max = 4: 29.35636. There are
    solvers that find that problem infeasible from the straight line. With 100 steps of RK4 and constant torque on
    each: 39.9141 and 29.384.

    Source: a common benchmark; the numbers are our own.
    """
    def pendulum(t, x, u, p):
        angle, rate = x
        return [rate, u[0] - 0.1 * rate - 9.81 * np.sin(angle)]

    return adjoint.OptimalControlProblem(
        adjoint.System(pendulum, states="angle rate", controls="torque"),
        initial=dict(angle=0, rate=0), final=dict(angle=math.pi, rate=0),
        bounds=dict(torque=(-torque, torque)), t=(0, 4),
        running=lambda t, x, u, p: u[0] ** 2, name="pendulum_swing_up", source="a common benchmark")
