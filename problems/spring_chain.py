from __future__ import annotations

import numpy as np

import adjoint


def spring_chain(force: float | None = None, steps: int = 1000) -> adjoint.OptimalControlProblem:
    """Calm a chain of six masses with four forces: a long linear-quadratic regulator.

    ::

        minimise  Σ_{k<N} 1/2 (|x_k|² + 0.1 |u_k|²) + 5 |x_N|²      x_{k+1} = A x_k + B u_k,   |u| <= force

    (A, B) is the exact step of 0.05 s under constant forces of q_i'' = q_{i-1} - 2 q_i + q_{i+1} - 0.1 q_i' +
    f_i, fixed walls at both ends, forces on masses 0, 2, 3 and 5. Start: at rest, displacements from -2 to 2,
    evenly spaced.

    Parameters
    ----------
    force : float, optional
        Bound on each force.
    steps : int
        N.

    Notes
    -----
    Optimum for N = 1000: 176.0215; with force = 0.5: 281.2102 (own values, on which six solvers
    agree). Without the bound a Riccati recursion is the whole solution: one iteration of an interior-point
    method.

    Source: a benchmark of our own.
    """
    stiffness = 2 * np.eye(6) - np.eye(6, k=1) - np.eye(6, k=-1)
    forced = np.zeros((6, 4))
    forced[[0, 2, 3, 5], range(4)] = 1
    # exp of the augmented matrix holds A and B together: u is a state with derivative 0
    generator = np.block([[np.zeros((6, 6)), np.eye(6), np.zeros((6, 4))],
                          [-stiffness, -0.1 * np.eye(6), forced],
                          [np.zeros((4, 16))]])
    step, term = np.eye(16), np.eye(16)
    for k in range(1, 15):  # its norm is 0.2: the next term of the series would be 1e-22
        term = term @ generator * (0.05 / k)
        step = step + term
    A, B = step[:12, :12], step[:12, 12:]

    def chain(t, x, u, p):
        return A @ x + B @ u

    start = [*np.linspace(-2, 2, 6), *np.zeros(6)]
    return adjoint.OptimalControlProblem(
        adjoint.System(chain, states="q[6] v[6]", controls="f[4]", discrete=True),
        initial=start, bounds=None if force is None else dict(f=(-force, force)), t=(0, steps),
        running=lambda t, x, u, p: (x @ x + 0.1 * (u @ u)) / 2, minimize=lambda t, x, p: 5 * (x @ x),
        name="spring_chain", source="a benchmark of our own")
