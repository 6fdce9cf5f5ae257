from __future__ import annotations

import adjoint


def bryson_denham(limit: float = 1 / 9, weight: float = 0.5) -> adjoint.OptimalControlProblem:
    """Bounce off a wall gently: a state constraint of second order.

    ::

        minimise  c ∫₀¹ u² dt      x' = v,   v' = u,   x <= l,   (x, v): (0, 1) -> (0, -1)

    Parameters
    ----------
    limit : float
        l > 0. The constraint acts on an arc for l < 1/6, at one point for 1/6 <= l < 1/4, not at all for l >= 1/4.
    weight : float
        c.

    Notes
    -----
    Optimum in closed form, for c = 1/2: J = 4/(9l), 2 + 6(1 - 4l)² and 2 in the three cases. On the
    way in (l <= 1/6): u = -2/(3l) (1 - t/(3l)) up to t = 3l, then 0 along the wall; the way out is its mirror
    image. At entry and exit λ_v is continuous and λ_x jumps: as an absolutely continuous function it does not
    exist.

    l = 1/9 gives J = 4 (Bryson and Denham); l = 0.1 gives 40/9 (Breakwell) and, with c = 1, 80/9 (BOCOP's
    clamped beam).

    Source: A. E. Bryson, W. F. Denham and S. E. Dreyfus, AIAA J. 1 (1963) 2544-2550.
    """
    def mass(t, x, u, p):
        _, v = x
        return [v, u[0]]

    optimum = 4 / (9 * limit) if limit <= 1 / 6 else 2 + 6 * max(0.0, 1 - 4 * limit) ** 2
    return adjoint.OptimalControlProblem(
        adjoint.System(mass, states="x v", controls="u"),
        initial=dict(x=0, v=1), final=dict(x=0, v=-1), bounds=dict(x=(None, limit)), t=(0, 1),
        running=lambda t, x, u, p: weight * u[0] ** 2,
        name="bryson_denham", published=2 * weight * optimum,
        source="Bryson, Denham and Dreyfus, AIAA J. 1 (1963) 2544-2550")
