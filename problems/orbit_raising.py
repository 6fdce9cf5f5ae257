from __future__ import annotations

import numpy as np

import adjoint


def orbit_raising() -> adjoint.OptimalControlProblem:
    """Reach the largest circular orbit that a small constant thrust attains in a given time.

    ::

        maximise  r(t_f)      r' = v_r
                              v_r' = v_t²/r - 1/r² + a d_r,       a = 0.1405/(1 - 0.0749 t)
                              v_t' = -v_r v_t/r + a d_t,          d_r² + d_t² = 1
                              (r, v_r, v_t): (1, 0, 1) -> (r, 0, 1/sqrt r),   t_f = 3.32

    The thrust's direction is written with its two components and the path equality d_r² + d_t² = 1: half-way
    through, the direction turns by nearly π within a short time, where an angle would be badly determined.

    Optimum: 1.5252777 (YAPSS).

    Source: A. E. Bryson and Y.-C. Ho, Applied Optimal Control (1975), sec. 2.5 and 2.7.
    """
    def spacecraft(t, x, u, p):
        r, v_r, v_t = x
        d_r, d_t = u
        a = 0.1405 / (1 - 0.0749 * t)
        return [v_r, v_t ** 2 / r - 1 / r ** 2 + a * d_r, -v_r * v_t / r + a * d_t]

    def circular(t0, x0, tf, xf, p):
        r, _, v_t = xf
        return v_t - 1 / np.sqrt(r)

    return adjoint.OptimalControlProblem(
        adjoint.System(spacecraft, states="r v_r v_t", controls="d_r d_t"),
        initial=dict(r=1, v_r=0, v_t=1), final=dict(v_r=0), bounds=dict(r=(0.5, 10)), t=(0, 3.32),
        path={"unit direction": (lambda t, x, u, p: u @ u, 1, 1)}, boundary={"circular orbit": (circular, 0, 0)},
        maximize=lambda t, x, p: x[0], guess=dict(r=1, d_t=1),
        name="orbit_raising", published=1.5252777, source="Bryson and Ho (1975), sec. 2.5; value: YAPSS")
