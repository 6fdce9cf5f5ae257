from __future__ import annotations

import numpy as np

import adjoint


def obstacle_avoidance() -> adjoint.OptimalControlProblem:
    """Walk around two discs by the shortest way.

    ::

        minimise  ∫₀¹ u_x² + u_y² dt      x' = u_x,   y' = u_y,   (x, y): (0, 0) -> (1.2, 1.6)
                                          |(x, y) - c_i|² >= 0.1,   c_1 = (0.4, 0.5),   c_2 = (0.8, 1.5)

    At the optimum the speed is constant, so J is the square of the length of the shortest path, which consists
    of tangents and arcs. The ways round are told apart by the sides on which the discs are passed; in closed
    form:

    - right of c_1 (and so of c_2): 4.544239928, the optimum;
    - left of c_1, then right of c_2: 4.570399491;
    - left of both: 6.472077800.

    The straight line runs through the first disc's centre almost exactly, and could fall to either side; the guess
    is bent to the right.

    Notes
    -----
    The problem is published with x' = V cos θ, y' = V sin θ at the fixed speed V = 2.138, and then
    J = V² = 4.571044 for *every* feasible path: that is a feasibility problem and its cost tells nothing. The
    free speed makes it well posed. Constraints hold at the nodes of the mesh, so that the path cuts a corner of
    size O(h²).

    Source: the obstacle-avoidance example of PSOPT, modified.
    """
    centres = np.array([[0.4, 0.5], [0.8, 1.5]])

    def walker(t, x, u, p):
        return u

    def squared_distances(t, x, u, p):
        return ((x - centres) ** 2).sum(axis=1)

    s = np.linspace(0, 1, 21)
    way = np.outer(s, [1.2, 1.6]) + np.outer(np.sin(np.pi * s), [0.24, -0.18])
    return adjoint.OptimalControlProblem(
        adjoint.System(walker, states="x y", controls="u_x u_y"),
        initial=dict(x=0, y=0), final=dict(x=1.2, y=1.6), t=(0, 1), path={"discs": (squared_distances, 0.1, None)},
        running=lambda t, x, u, p: u @ u, guess=dict(x=way[:, 0], y=way[:, 1]),
        name="obstacle_avoidance", source="PSOPT examples, with free speed")
