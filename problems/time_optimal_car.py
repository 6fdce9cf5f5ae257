from __future__ import annotations

import adjoint


def time_optimal_car() -> adjoint.OptimalControlProblem:
    """Drive 300 m in the least time, from rest to rest; the brakes are twice as strong as the engine.

    ::

        minimise  t_f      x' = v,   v' = a,   -2 <= a <= 1 m/s²,   0 <= v <= 33 m/s,   0 <= x <= 330 m
                           (x, v): (0, 0) -> (300 m, 0)

    Optimum, in closed form: accelerate for 20 s, to 20 m/s, then brake for 10 s: t_f = 30 s. λ_v runs linearly
    through 0 at the switch and λ_x = -1/20, from H = 0 with the 1 of the running time.

    Source: the time-optimal car of the mintOC collection.
    """
    def car(t, x, u, p):
        _, v = x
        return [v, u[0]]

    return adjoint.OptimalControlProblem(
        adjoint.System(car, states="x v", controls="a"),
        initial=dict(x=0, v=0), final=dict(x=300, v=0), bounds=dict(x=(0, 330), v=(0, 33), a=(-2, 1)),
        minimize=lambda t, x, p: t, t=(0, adjoint.free(20.0)),
        name="time_optimal_car", published=30.0, source="mintoc.de, time optimal car problem")
