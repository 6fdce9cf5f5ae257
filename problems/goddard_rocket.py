from __future__ import annotations

import numpy as np

import adjoint


def goddard_rocket(speed_limit: float | None = None) -> adjoint.OptimalControlProblem:
    """Goddard's problem: send a sounding rocket as high as its fuel lasts.

    ::

        maximise  h(t_f)      h' = v
                              v' = (T - D)/m - 1/h²,      D = 310 v² exp(-500 (h - 1))
                              m' = -2 T,                  0 <= T <= 3.5
                              (h, v, m): (1, 0, 1) -> (free, free, 0.6),   h >= 1,   t_f free

    Everything is scaled: lengths by the Earth's radius, mass by the mass at the start, gravity there is 1.

    Parameters
    ----------
    speed_limit : float, optional
        v <= speed_limit; 0.1 in the control-toolbox tutorial.

    Notes
    -----
    Full thrust, then a *singular arc* along the surface D (1 + 2v) = m/h², until the fuel is spent,
    then a coast up to v = 0. With the limit, an arc with v = speed_limit lies between the last two.

    Optimum: h = 1.0128369183, t_f = 0.1988562621; with speed_limit=0.1: 1.0125763247, t_f = 0.2020474406 (the
    arcs integrated one after the other to 13 digits). Published: 1.01283 (COPS); 1.01257 (control-toolbox). On
    the singular arc the Hessian of H in T is zero and the control of a collocation is poorly determined. With
    Gauss nodes the errors of the controls cancel: gauss(3) on 50 intervals is off by 3e-7 in height; radau(3) by
    1.3e-5, and its control oscillates.

    Source: E. D. Dolan, J. J. More and T. S. Munson, Benchmarking optimization software with COPS 3.0 (2004).
    """
    def rocket(t, x, u, p):
        h, v, m = x
        thrust = u[0]
        drag = 310 * v ** 2 * np.exp(-500 * (h - 1))
        return [v, (thrust - drag) / m - 1 / h ** 2, -2 * thrust]

    known = {None: 1.01283, 0.1: 1.01257}
    return adjoint.OptimalControlProblem(
        adjoint.System(rocket, states="h v m", controls="thrust"),
        initial=dict(h=1, v=0, m=1), final=dict(m=0.6),
        bounds=dict(thrust=(0, 3.5), h=(1, None), v=(None, speed_limit)),
        maximize=lambda t, x, p: x[0], t=(0, adjoint.free(0.2)),
        name="goddard_rocket", published=known.get(speed_limit), source="Dolan, More and Munson, COPS 3.0 (2004)")
