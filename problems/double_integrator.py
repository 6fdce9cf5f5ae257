from __future__ import annotations

import adjoint


def double_integrator(final_speed: float | None = 0.0, slope: float = 0.0) -> adjoint.OptimalControlProblem:
    """Move a unit mass over a unit distance in unit time with the least energy.

    ::

        minimise  ∫₀¹ u²/2 dt      x' = v,   v' = u,   x(0) = v(0) = 0,   x(1) = 1 + slope v(1)

    Parameters
    ----------
    final_speed : float or None
        v(1); None leaves it free.
    slope : float
        Slope of the line on which the motion ends.

    Notes
    -----
    To reach (X, V) costs 6X² - 6XV + 2V², with u linear in t. Hence, in closed form:

    - ``double_integrator()``, rest to rest: J = 6, u = 6 - 12t;
    - ``double_integrator(final_speed=None)``, any final speed: J = 3/2, u = 3(1 - t);
    - ``double_integrator(final_speed=None, slope=2)``, onto the line x = 1 + 2v: J = 3/14. The final costate is
      orthogonal to the line: 2 λ_x + λ_v = 0.

    Source: A. E. Bryson and Y.-C. Ho, Applied Optimal Control (1975), ch. 2; the three ends as in the examples
    of PSOPT.
    """
    def mass(t, x, u, p):
        _, v = x
        return [v, u[0]]

    def miss(t0, x0, tf, xf, p):
        position, v = xf
        return position - slope * v

    final: dict[str, float] = {} if slope else {"x": 1.0}
    if final_speed is None:
        optimum = 6 - 9 * (2 * slope - 1) ** 2 / (6 * slope ** 2 - 6 * slope + 2)
    else:
        final["v"] = final_speed
        distance = 1 + slope * final_speed
        optimum = 6 * distance ** 2 - 6 * distance * final_speed + 2 * final_speed ** 2
    return adjoint.OptimalControlProblem(
        adjoint.System(mass, states="x v", controls="u"),
        initial=dict(x=0, v=0), final=final, boundary={"target line": (miss, 1, 1)} if slope else None, t=(0, 1),
        running=lambda t, x, u, p: u[0] ** 2 / 2,
        name="double_integrator", published=optimum, source="Bryson and Ho, Applied Optimal Control (1975)")
