from __future__ import annotations

import math

import numpy as np

import adjoint


def supersonic_climb() -> adjoint.OptimalControlProblem:
    """Climb to 65600 ft and Mach 1 in the least time: Bryson's supersonic aircraft, with tables.

    ::

        minimise  t_f      h' = v sin γ
                           v' = (T cos α - D)/m - μ sin γ/r²
                           γ' = (T sin α + L)/(m v) + cos γ (v/r - μ/(v r²))
                           w' = -T/1600 lb/s,      m = w/32.174 slug,   r = 20902900 ft + h,   |α| <= 20°
                           D = q S (C_D0(M) + η(M) C_Lα(M) α²),   L = q S C_Lα(M) α,   q = ρ(h) v²/2,   S = 530 ft²
                           (h, v, γ, w): (0, 424.26 ft/s, 0, 42000 lb) -> (65600 ft, 968.148 ft/s, 0, free)

    The thrust T(M, h) and the three coefficients are tables over the Mach number M = v/c(h), interpolated by
    cubic splines (not-a-knot); ρ(h) and the speed of sound c(h) are those of the standard atmosphere of 1976
    below 32 km.

    Optimum: 319.8741 s with w(t_f) = 37384.9 lb, our own value (100 to 400 intervals). It depends on how the
    tables are interpolated and on the constants of the atmosphere: 321.1089 (PSOPT), 320.45 (YAPSS), 324.9750
    (Betts). The aircraft dives to break through the transonic drag rise before it zooms up.

    Source: A. E. Bryson, M. N. Desai and W. C. Hoffman, J. Aircraft 6 (1969) 481-488; data as in J. T. Betts,
    Practical Methods for Optimal Control (2010).
    """
    S, mu, radius, g0, exhaust = 530.0, 0.14076539e17, 20902900.0, 32.174, 1600.0
    mach = [0, 0.4, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8]
    lift_slope = adjoint.Table(mach, [3.44, 3.44, 3.44, 3.58, 4.44, 3.44, 3.01, 2.86, 2.44], kind="smooth")
    parasite_drag = adjoint.Table(mach, [0.013, 0.013, 0.013, 0.014, 0.031, 0.041, 0.039, 0.036, 0.035], kind="smooth")
    induced_drag = adjoint.Table(mach, [0.54, 0.54, 0.54, 0.75, 0.79, 0.78, 0.89, 0.93, 0.93], kind="smooth")
    thrust = adjoint.Table((np.arange(10) * 0.2, 1000.0 * np.array([0, 5, 10, 15, 20, 25, 30, 40, 50, 70])),
                           1000 * np.array(_THRUST), kind="smooth")

    def aircraft(t, x, u, p):
        h, v, gamma, w = x
        alpha = u[0]
        density, sound = _atmosphere(h)
        M, m, r = v / sound, w / g0, radius + h
        T, qS = thrust(M, h), density * v ** 2 / 2 * S
        L = qS * lift_slope(M) * alpha
        D = qS * (parasite_drag(M) + induced_drag(M) * lift_slope(M) * alpha ** 2)
        return [v * np.sin(gamma),
                (T * np.cos(alpha) - D) / m - mu * np.sin(gamma) / r ** 2,
                (T * np.sin(alpha) + L) / (m * v) + np.cos(gamma) * (v / r - mu / (v * r ** 2)),
                -T / exhaust]

    limit = math.radians(20)
    return adjoint.OptimalControlProblem(
        adjoint.System(aircraft, states="h v gamma w", controls="alpha"),
        initial=dict(h=0, v=424.26, gamma=0, w=42000), final=dict(h=65600, v=968.148, gamma=0),
        bounds=dict(h=(0, 69000), v=(1, 2000), gamma=(-1.55, 1.55), w=(10, 45000), alpha=(-limit, limit)),
        minimize=lambda t, x, p: t, t=(0, adjoint.free(300.0, lower=1.0)),
        name="supersonic_climb", published=320.45, source="Bryson, Desai and Hoffman (1969); value: YAPSS")


# Thrust in 1000 lb: rows Mach 0, 0.2 ... 1.8, columns 0, 5, 10, 15, 20, 25, 30, 40, 50, 70 thousand feet.
_THRUST = [
    [24.2, 24.0, 20.3, 17.3, 14.5, 12.2, 10.2, 5.7, 3.4, 0.1],
    [28.0, 24.6, 21.1, 18.1, 15.2, 12.8, 10.7, 6.5, 3.9, 0.2],
    [28.3, 25.2, 21.9, 18.7, 15.9, 13.4, 11.2, 7.3, 4.4, 0.4],
    [30.8, 27.2, 23.8, 20.5, 17.3, 14.7, 12.3, 8.1, 4.9, 0.8],
    [34.5, 30.3, 26.6, 23.2, 19.8, 16.8, 14.1, 9.4, 5.6, 1.1],
    [37.9, 34.3, 30.4, 26.8, 23.3, 19.8, 16.8, 11.2, 6.8, 1.4],
    [36.1, 38.0, 34.9, 31.3, 27.3, 23.6, 20.1, 13.4, 8.3, 1.7],
    [34.3, 36.6, 38.5, 36.1, 31.6, 28.1, 24.2, 16.2, 10.0, 2.2],
    [32.5, 35.2, 42.1, 38.7, 35.7, 32.0, 28.1, 19.3, 11.9, 2.9],
    [30.7, 33.8, 45.7, 41.3, 39.8, 34.6, 31.1, 21.7, 13.3, 3.1],
]


def _atmosphere(h):
    """Density [slug/ft³] and speed of sound [ft/s] of the 1976 standard atmosphere at height h [ft] below 32 km.

    In layers the temperature is linear in the geopotential height H. With the slope T', hydrostatic balance gives
    p = p_b (T_b/T)^(g/(R T')), and p = p_b exp(-g (H - H_b)/(R T_b)) where T' = 0.
    """
    g, R, heat_ratio, earth = 9.80665, 287.05287, 1.4, 6356766.0
    metres = 0.3048 * h
    H = earth * metres / (earth + metres)
    base_0, base_1, base_2 = 288.15, 216.65, 216.65                       # kelvin, at H = 0, 11 and 20 km
    p_1 = 101325 * (base_1 / base_0) ** (g / (R * 0.0065))
    p_2 = p_1 * math.exp(-g * 9000 / (R * base_1))

    def layer(below_11, below_20, above):
        return adjoint.where(H < 11000, below_11, adjoint.where(H < 20000, below_20, above))

    T_0, T_1, T_2 = base_0 - 0.0065 * H, base_1, base_2 + 0.001 * (H - 20000)
    temperature = layer(T_0, T_1, T_2)
    pressure = layer(101325 * (T_0 / base_0) ** (g / (R * 0.0065)),
                     p_1 * np.exp(-g * (H - 11000) / (R * base_1)),
                     p_2 * (T_2 / base_2) ** (-g / (R * 0.001)))
    kg_per_m3 = pressure / (R * temperature)
    return kg_per_m3 / 515.378818, np.sqrt(heat_ratio * R * temperature) / 0.3048
