from __future__ import annotations

import math

import numpy as np

import adjoint

# Each switch of the engines happens inside an interval: 0.7 s of them resolve the fuel to 1e-5.
RECOMMENDED = dict(intervals=100)


def powered_descent(glide_slope: float | None = None, relaxed: bool = True) -> adjoint.OptimalControlProblem:
    """Land on Mars with the least fuel; the engines cannot be throttled below 30 percent.

    ::

        minimise  m(0) - m(t_f)      r' = v,   v' = a + (0, -g),   (ln m)' = -α s,   g = 3.7114 m/s²
                                     ρ₁ <= m s <= ρ₂,   |a| <= s      (a: thrust acceleration, s: its bound)
                                     r(0) = (2000, 1500) m,  v(0) = (100, -75) m/s,  m(0) = 1905 kg
                                     r(t_f) = 0, v(t_f) = 0,  m(t_f) >= 1505 kg,   t_f free

    in the plane, with r = (range, altitude), six engines of 3100 N canted by 27°, ρ₁ and ρ₂ 30 and 80 percent
    of their thrust along the axis, α = 1/(I_sp g₀ cos 27°) and I_sp = 225 s, g₀ = 9.807 m/s².

    Parameters
    ----------
    glide_slope : float, optional
        Stay above the cone of this slope in degrees: altitude >= tan(glide_slope) |range|.
    relaxed : bool
        True: |a| <= s as written, which makes the set of controls convex ("lossless convexification": at the
        optimum |a| = s after all). False: |a| = s, the problem itself.

    Notes
    -----
    Without the glide slope the thrust is bang-bang, max-min-max, with switches at 41.136 s and
    64.612 s, and its direction is that of a vector linear in time. With these six unknowns: 387.8963645 kg and
    t_f = 72.1938 s. With a glide slope of 4°: 398.074 kg and t_f = 77.7 s. Both are own values; Acikmese and
    Ploen report 387.9 and 399.5 kg.

    Source: B. Acikmese and S. R. Ploen, J. Guid. Control Dyn. 30 (2007) 1353-1366.
    """
    gravity, cant, initial_mass, dry_mass = 3.7114, math.radians(27), 1905.0, 1505.0
    alpha = 1 / (225 * 9.807 * math.cos(cant))
    full_thrust = 6 * 3100 * math.cos(cant)

    def lander(t, x, u, p):
        _, _, v_range, v_altitude, _ = x
        a_range, a_altitude, s = u
        return [v_range, v_altitude, a_range, a_altitude - gravity, -alpha * s]

    def thrust(t, x, u, p):
        return np.exp(x[4]) * u[2]

    def slack(t, x, u, p):
        a_range, a_altitude, s = u
        return s ** 2 - a_range ** 2 - a_altitude ** 2

    path = {"thrust": (thrust, 0.3 * full_thrust, 0.8 * full_thrust), "convexified": (slack, 0, None if relaxed else 0)}
    if glide_slope is not None:
        slope = math.tan(math.radians(glide_slope))
        path["glide slope"] = (lambda t, x, u, p: np.stack([x[1] - slope * x[0], x[1] + slope * x[0]]), 0, None)
    known = {None: 387.9, 4: 399.5}
    return adjoint.OptimalControlProblem(
        adjoint.System(lander, states="range altitude v_range v_altitude log_mass", controls="a_range a_altitude s"),
        initial=dict(range=2000, altitude=1500, v_range=100, v_altitude=-75, log_mass=math.log(initial_mass)),
        final=dict(range=0, altitude=0, v_range=0, v_altitude=0),
        bounds=dict(log_mass=(math.log(dry_mass), math.log(initial_mass)), s=(0, None)), path=path,
        minimize=lambda t, x, p: initial_mass - np.exp(x[4]), t=(0, adjoint.free(75.0)),
        guess=dict(a_altitude=gravity, s=gravity),
        name="powered_descent", published=known.get(glide_slope), source="Acikmese and Ploen, JGCD 30 (2007) 1353-1366")
