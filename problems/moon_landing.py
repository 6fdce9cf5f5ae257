from __future__ import annotations

import adjoint


def moon_landing() -> adjoint.OptimalControlProblem:
    """Land softly on the Moon with the least fuel.

    ::

        minimise  ∫ T dt      h' = v,   v' = -1 + T/m,   m' = -T/2.349,   0 <= T <= 1.227
                              (h, v, m): (1, -0.783, 1) -> (0, 0, free),   t_f free,   h >= 0

    Optimum: fall freely for 0.239259, then brake at full thrust for 1.157549: J = 1.420312599, m(t_f) =
    0.39535436. Two arcs in closed form give these digits; PSOPT quotes 1.4204, dymos m(t_f) = 0.3953.

    Source: J. S. Meditch, IEEE Trans. Autom. Control 9 (1964) 477-484; scaled as in dymos and PSOPT.
    """
    def lander(t, x, u, p):
        _, v, m = x
        thrust = u[0]
        return [v, -1 + thrust / m, -thrust / 2.349]

    return adjoint.OptimalControlProblem(
        adjoint.System(lander, states="h v m", controls="thrust"),
        initial=dict(h=1, v=-0.783, m=1), final=dict(h=0, v=0),
        bounds=dict(h=(0, None), m=(0.1, None), thrust=(0, 1.227)),
        running=lambda t, x, u, p: u[0], t=(0, adjoint.free(1.5)),
        name="moon_landing", published=1.4204, source="Meditch (1964); value: PSOPT")
