from __future__ import annotations

import adjoint


def van_der_pol(start: tuple[float, float] = (1.0, 0.0), stop: tuple[float, float] | None = None,
                horizon: float = 2.0, force: tuple[float | None, float | None] = (None, None),
                slowest: float | None = None, weight: float = 0.5,
                effort: float = 1.0) -> adjoint.OptimalControlProblem:
    """Calm a Van der Pol oscillator.

    ::

        minimise  w ∫₀ᵀ q² + v² + e u² dt      q' = v,   v' = (1 - q²) v - q + u,   v >= v_min,   u_min <= u <= u_max

    Parameters
    ----------
    start, stop : (q, v)
        At the ends; ``stop=None`` leaves the end free.
    horizon : float
        T.
    force : (u_min, u_max)
    slowest : float, optional
        v_min.
    weight, effort : float
        w and e.

    Notes
    -----
    ============================================================================================ ====================
    variant                                                                                      optimum
    ============================================================================================ ====================
    default (BOCOP: 1.05)                                                                        1.047806908
    ``start=(0, 1), horizon=4, force=(-1, 1), effort=0``: bang-bang-singular (Maurer: 0.757618)  0.7576177
    ``start=(1, 0), horizon=10, force=(-1, 1), slowest=-0.25, weight=1`` (CasADi's tutorial)     3.6151813
    ``start=(1, 1), stop=(0, 0), horizon=15, force=(-0.75, 1), weight=1`` (dymos)                5.278050992
    ============================================================================================ ====================

    The optima are our own converged values; the tutorial's differ, as its controls are piecewise constant.

    Source: the examples of BOCOP, ICLOCS2, CasADi and dymos.
    """
    def oscillator(t, x, u, p):
        q, v = x
        return [v, (1 - q ** 2) * v - q + u[0]]

    def cost(t, x, u, p):
        q, v = x
        return weight * (q ** 2 + v ** 2 + effort * u[0] ** 2)

    known: dict[tuple, float] = {((1, 0), None, 2, (None, None), None, 0.5, 1): 1.05,
                                 ((0, 1), None, 4, (-1, 1), None, 0.5, 0): 0.757618}
    return adjoint.OptimalControlProblem(
        adjoint.System(oscillator, states="q v", controls="u"),
        initial=start, final=stop, bounds=dict(v=(slowest, None), u=force), t=(0, horizon), running=cost,
        name="van_der_pol", published=known.get((start, stop, horizon, force, slowest, weight, effort)),
        source="examples of BOCOP, ICLOCS2, CasADi and dymos")
