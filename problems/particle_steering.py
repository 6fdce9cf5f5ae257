from __future__ import annotations

import math

import numpy as np

import adjoint


def particle_steering() -> adjoint.OptimalControlProblem:
    """Steer a constant thrust to a given height and a given level speed in the least time: linear tangent steering.

    ::

        minimise  t_f      x'' = a cos u,   y'' = a sin u,   a = 100,   |u| <= π/2
                           all zero at the start;   y = 5, x' = 45, y' = 0 at t_f;   x(t_f) free

    Optimum: tan u is linear in t, and t_f = 0.55457088 (PSOPT, COPS); own: 0.5545708783. By symmetry tan u = c
    (1 - 2t/t_f), and (c, t_f) solve two equations in closed form.

    Source: A. E. Bryson and Y.-C. Ho, Applied Optimal Control (1975), sec. 2.4; COPS 3.0.
    """
    a = 100.0

    def particle(t, x, u, p):
        _, _, vx, vy = x
        return [vx, vy, a * np.cos(u[0]), a * np.sin(u[0])]

    return adjoint.OptimalControlProblem(
        adjoint.System(particle, states="x y vx vy", controls="angle"),
        initial=dict(x=0, y=0, vx=0, vy=0), final=dict(y=5, vx=45, vy=0),
        bounds=dict(angle=(-math.pi / 2, math.pi / 2)),
        minimize=lambda t, x, p: t, t=(0, adjoint.free(1.0)),
        name="particle_steering", published=0.55457088, source="Bryson and Ho (1975), sec. 2.4; value: PSOPT")
