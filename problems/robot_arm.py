from __future__ import annotations

import math

import numpy as np

import adjoint


def robot_arm() -> adjoint.OptimalControlProblem:
    """Swing a telescopic robot arm in the least time.

    ::

        minimise  t_f      L ρ'' = u_ρ,    I_θ θ'' = u_θ,    I_φ φ'' = u_φ,    |u| <= 1
                           I_φ = ((L - ρ)³ + ρ³)/3,   I_θ = I_φ sin² φ,   L = 5
                           0 <= ρ <= L,   |θ| <= π,   0 <= φ <= π
                           (ρ, θ, φ): (4.5, 0, π/4) -> (4.5, 2π/3, π/4), from rest to rest

    The arm has length L and pivots at distance ρ from one end; θ and φ are its horizontal and vertical angle.
    Pulling it in makes it turn faster: ρ and φ move although their end values are those of the start.

    Optimum: 9.140913 (own value, refined meshes); 9.14093620 (GPOPS), 9.14138 on 200 trapezoids (COPS). All
    controls are bang-bang. Run backwards in time, the motion takes the arm from θ = 2π/3 to 0:
    ρ(t) = ρ(t_f - t) and θ(t) + θ(t_f - t) = 2π/3.

    Source: E. D. Dolan, J. J. More and T. S. Munson, Benchmarking optimization software with COPS 3.0 (2004),
    after M. Moessner-Beyn.
    """
    L = 5.0

    def arm(t, x, u, p):
        rho, _, phi, rho_rate, theta_rate, phi_rate = x
        I_phi = ((L - rho) ** 3 + rho ** 3) / 3
        I_theta = I_phi * np.sin(phi) ** 2
        return [rho_rate, theta_rate, phi_rate, u[0] / L, u[1] / I_theta, u[2] / I_phi]

    pi = math.pi
    rest = dict(rho_rate=0, theta_rate=0, phi_rate=0)
    return adjoint.OptimalControlProblem(
        adjoint.System(arm, states="rho theta phi rho_rate theta_rate phi_rate", controls="u_rho u_theta u_phi"),
        initial=dict(rho=4.5, theta=0, phi=pi / 4) | rest, final=dict(rho=4.5, theta=2 * pi / 3, phi=pi / 4) | rest,
        bounds=dict(rho=(0, L), theta=(-pi, pi), phi=(0, pi), u_rho=(-1, 1), u_theta=(-1, 1), u_phi=(-1, 1)),
        minimize=lambda t, x, p: t, t=(0, adjoint.free(10.0)),
        name="robot_arm", published=9.14093620, source="Dolan, More and Munson, COPS 3.0 (2004); value: GPOPS")
