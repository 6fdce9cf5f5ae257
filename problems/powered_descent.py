from __future__ import annotations

import math
from typing import Any

import numpy as np

import adjoint


def powered_descent(glide_slope: float | None = None, convexified: bool = False) -> adjoint.OptimalControlProblem:
    """Land on Mars with the least fuel; the engines cannot be throttled below 30 percent.

    ::

        minimise  m(0) - m(t_f)      r' = v,   v' = T d/m - (0, g),   m' = -α T,   |d| = 1,   ρ₁ <= T <= ρ₂
                                     r(0) = (2000, 1500) m,  v(0) = (100, -75) m/s,  m(0) = 1905 kg
                                     r(t_f) = 0, v(t_f) = 0,  m(t_f) >= 1505 kg,   t_f free

    in the plane, with r = (range, altitude), g = 3.7114 m/s², six engines of 3100 N canted by 27°, ρ₁ and ρ₂ 30 and
    80 percent of their thrust along the axis, α = 1/(I_sp g₀ cos 27°), I_sp = 225 s and g₀ = 9.807 m/s².

    Parameters
    ----------
    glide_slope : float, optional
        Stay above a cone of this slope in degrees: altitude >= tan(glide_slope) |range| - 0.1 m. With its apex on the
        landing point itself the constraint would have no interior there, and multipliers no bound.
    convexified : bool
        True: the same problem in terms of a = T d/m, s = T/m and ln m, with |a| = s relaxed to |a| <= s. That makes
        the set of controls convex and loses nothing, as |a| = s at the optimum: "lossless convexification".

    Notes
    -----
    Without the glide slope the thrust is bang-bang, max-min-max, with switches at 41.136 s and 64.612 s, and its
    direction is that of a vector linear in time. With these six unknowns: 387.8963645 kg and t_f = 72.1938 s. With a
    glide slope of 4°: 398.068 kg and t_f = 77.7 s; 398.074 kg without the 0.1 m. These are own values; Acikmese and
    Ploen report 387.9 and 399.5 kg.

    Source: B. Acikmese and S. R. Ploen, J. Guid. Control Dyn. 30 (2007) 1353-1366.
    """
    g, cant, initial_mass, dry_mass = 3.7114, math.radians(27), 1905.0, 1505.0
    alpha = 1 / (225 * 9.807 * math.cos(cant))
    full_thrust = 6 * 3100 * math.cos(cant)
    least, most = 0.3 * full_thrust, 0.8 * full_thrust

    def lander(t, x, u, p):
        _, _, v_range, v_altitude, m = x
        T, d_range, d_altitude = u
        return [v_range, v_altitude, T * d_range / m, T * d_altitude / m - g, -alpha * T]

    def lander_in_log_mass(t, x, u, p):
        _, _, v_range, v_altitude, _ = x
        a_range, a_altitude, s = u
        return [v_range, v_altitude, a_range, a_altitude - g, -alpha * s]

    positions = "range altitude v_range v_altitude"
    initial = dict(range=2000.0, altitude=1500.0, v_range=100.0, v_altitude=-75.0)
    if convexified:
        system = adjoint.System(lander_in_log_mass, states=f"{positions} log_mass", controls="a_range a_altitude s")
        initial |= dict(log_mass=math.log(initial_mass))
        bounds: dict[str, Any] = dict(log_mass=(math.log(dry_mass), math.log(initial_mass)), s=(0, None))
        guess = dict(a_altitude=g, s=g)
        path: dict[str, Any] = {"thrust": (lambda t, x, u, p: np.exp(x[4]) * u[2], least, most),
                "cone of controls": (lambda t, x, u, p: u[2] ** 2 - u[0] ** 2 - u[1] ** 2, 0, None)}
    else:
        system = adjoint.System(lander, states=f"{positions} mass", controls="thrust d_range d_altitude")
        initial |= dict(mass=initial_mass)
        bounds = dict(mass=(dry_mass, initial_mass), thrust=(least, most))
        guess = dict(d_altitude=1)
        path = {"unit direction": (lambda t, x, u, p: u[1] ** 2 + u[2] ** 2, 1, 1)}
    if glide_slope is not None:
        slope = math.tan(math.radians(glide_slope))
        path["glide slope"] = (lambda t, x, u, p: np.stack([x[1] - slope * x[0], x[1] + slope * x[0]]), -0.1, None)

    def fuel(t, x, p):
        return initial_mass - (np.exp(x[4]) if convexified else x[4])

    known = {None: 387.9, 4.0: 399.5}
    return adjoint.OptimalControlProblem(
        system, initial=initial, final=dict(range=0, altitude=0, v_range=0, v_altitude=0), bounds=bounds, path=path,
        minimize=fuel, t=(0, adjoint.free(75.0)), guess=guess,
        name="powered_descent", published=known.get(glide_slope), source="Acikmese and Ploen, JGCD 30 (2007) 1353-1366")
