from __future__ import annotations

import math

import numpy as np

import adjoint


def brachistochrone(gravity: float = 9.8,
                    target: tuple[float, float | None] = (2.0, 2.0)) -> adjoint.OptimalControlProblem:
    """The curve of quickest descent of a bead that starts at rest.

    ::

        minimise  t_f      x' = v sin θ,   y' = v cos θ,   v' = g cos θ      (y downwards, θ from the vertical)
                           x(0) = y(0) = v(0) = 0,   x(t_f) = X,   y(t_f) = Y

    Parameters
    ----------
    gravity : float
        g.
    target : (X, Y)
        Where the bead arrives; Y = None leaves the depth free.

    Notes
    -----
    The answer is a cycloid, x = R(φ - sin φ), y = R(1 - cos φ), with φ = 2θ = sqrt(g/R) t; it gives
    the optimum that the problem carries as `published`. With Y free φ(t_f) = π, the curve arrives level, and
    t_f = sqrt(π X/g).

    - default: 0.8247591432 (PSOPT quotes 0.8247591);
    - ``gravity=9.80665, target=(10, 5)``: 1.801603122 (dymos quotes 1.8016);
    - ``gravity=32.174, target=(1, None)``: 0.312480130709 (YAPSS).

    θ does not matter at the start, where v = 0. The Lagrangian's Hessian in θ vanishes there: the one control
    value nearest to t = 0 is not determined to full precision.

    Source: Joh. Bernoulli, Acta Eruditorum (1696).
    """
    def bead(t, x, u, p):
        _, _, v = x
        angle = u[0]
        return [v * np.sin(angle), v * np.cos(angle), gravity * np.cos(angle)]

    X, Y = target
    final = {"x": X} if Y is None else {"x": X, "y": Y}
    return adjoint.OptimalControlProblem(
        adjoint.System(bead, states="x y v", controls="angle"),
        initial=dict(x=0, y=0, v=0), final=final, bounds=dict(angle=(0, math.pi)),
        minimize=lambda t, x, p: t, t=(0, adjoint.free(1.0)),
        name="brachistochrone", published=_cycloid_time(gravity, X, Y), source="Joh. Bernoulli (1696)")


def _cycloid_time(gravity: float, X: float, Y: float | None) -> float:
    """Time along the cycloid from the origin to (X, Y)."""
    if Y is None:
        return math.sqrt(math.pi * X / gravity)
    low, high = 1e-3, 2 * math.pi
    for _ in range(60):  # bisection: (φ - sin φ)/(1 - cos φ) = X/Y increases
        phi = (low + high) / 2
        low, high = (phi, high) if (phi - math.sin(phi)) * Y < (1 - math.cos(phi)) * X else (low, phi)
    return phi * math.sqrt(X / (phi - math.sin(phi)) / gravity)
