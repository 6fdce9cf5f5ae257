from __future__ import annotations

import numpy as np

import adjoint


def quadrotor_cylinders(bend: float = 1.0) -> adjoint.OptimalControlProblem:
    """Fly a quadrotor between two vertical cylinders, from hover to hover, in three seconds.

    ::

        minimise  ∫₀³ Σ (u_i - m g/4)² + 0.05 |ω|² dt
                  r' = v,   v' = R(φ, θ, ψ) e_z Σu_i/m - g e_z,   (φ, θ, ψ)' = W(φ, θ) ω,   I ω' = τ(u) - ω × I ω
                  0 <= u_i <= 3 N,   (x - 1)² + (y - 0.8)² >= 0.5²,   (x - 2)² + (y - 2.2)² >= 0.6²
                  at rest at r = 0 -> at rest at r = (3, 3, 1)

    with rotation by roll φ, pitch θ and yaw ψ (R = R_z(ψ) R_y(θ) R_x(φ)), torques L (u_2 - u_4), L (u_3 - u_1) and
    k (u_1 - u_2 + u_3 - u_4), m = 0.5 kg, L = 0.17 m, k = 0.016 m, I = diag(4.9, 4.9, 8.8) 10⁻³ kg m².

    Parameters
    ----------
    bend : float
        By how many metres the guess deviates from the straight line half-way, to the right if positive.

    Notes
    -----
    The straight line runs through both cylinders and each can be passed on either side, so there are several local
    optima: 0.109225 to the right of both (bend = 1), 0.125797 to the left of both (bend = -1), 0.3018 between them,
    on a zigzag (bend = 0). Own values, 400 intervals. Constraints hold at the nodes of the mesh: on 50 intervals the
    path dips into a cylinder by less than a millimetre between them.

    Source: a common kind of benchmark; the numbers are our own.
    """
    mass, g, L, k = 0.5, 9.81, 0.17, 0.016
    inertia = np.array([4.9e-3, 4.9e-3, 8.8e-3])
    hover = mass * g / 4
    torques = np.array([[0, L, 0, -L], [-L, 0, L, 0], [k, -k, k, -k]])       # of the four rotors about the body's axes
    centres, radii = np.array([[1.0, 0.8], [2.0, 2.2]]), np.array([0.5, 0.6])

    def quadrotor(t, x, u, p):
        v, (roll, pitch, yaw), omega = x[3:6], x[6:9], x[9:12]
        s_roll, c_roll, s_pitch, c_pitch = np.sin(roll), np.cos(roll), np.sin(pitch), np.cos(pitch)
        s_yaw, c_yaw = np.sin(yaw), np.cos(yaw)
        body_z = np.array([c_roll * s_pitch * c_yaw + s_roll * s_yaw,
                           c_roll * s_pitch * s_yaw - s_roll * c_yaw,
                           c_roll * c_pitch])
        W = np.array([[1, s_roll * s_pitch / c_pitch, c_roll * s_pitch / c_pitch],
                      [0, c_roll, -s_roll],
                      [0, s_roll / c_pitch, c_roll / c_pitch]])
        acceleration = body_z * u.sum() / mass - np.array([0, 0, g])
        return np.concatenate([v, acceleration, W @ omega, (torques @ u - np.cross(omega, inertia * omega)) / inertia])

    def effort(t, x, u, p):
        return ((u - hover) ** 2).sum() + 0.05 * (x[9:12] ** 2).sum()

    def clearance(t, x, u, p):
        return ((x[:2] - centres) ** 2).sum(axis=1) - radii ** 2

    s = np.linspace(0, 1, 21)
    route = np.outer(s, [3, 3, 1]) + np.outer(np.sin(np.pi * s), bend / np.sqrt(2) * np.array([1, -1, 0]))
    return adjoint.OptimalControlProblem(
        adjoint.System(quadrotor, states="r[3] v[3] angle[3] omega[3]", controls="thrust[4]"),
        initial=[0] * 12, final=[3, 3, 1] + [0] * 9, bounds=dict(thrust=(0, 3)),
        path={"cylinders": (clearance, 0, None)},
        running=effort, t=(0, 3), guess=dict(thrust=hover, r=route), name="quadrotor_cylinders",
        source="a common kind of benchmark")
