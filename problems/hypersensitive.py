from __future__ import annotations

import numpy as np

import adjoint

# Boundary layers of width about 1 at both ends and nothing in between, whatever the horizon: the intervals grow
# a hundredfold from either end to the middle.
_HALF = (np.geomspace(1, 101, 40) - 1) / 200
RECOMMENDED = dict(intervals=np.concatenate([_HALF, 1 - _HALF[-2::-1]]))


def hypersensitive(horizon: float = 50.0) -> adjoint.OptimalControlProblem:
    """A long wait at an equilibrium, with a boundary layer at each end.

    ::

        minimise  1/2 ∫₀ᵀ x² + u² dt      x' = -x³ + u,   x(0) = 3/2,   x(T) = 1

    Parameters
    ----------
    horizon : float
        T. The longer, the more sensitive: errors grow like exp(T) both ways, so shooting over the whole horizon
        is hopeless.

    Notes
    -----
    For T >= 20 the optimum does not depend on T. H vanishes up to exp(-T), which gives each layer a
    feedback law, u = x³ - sqrt(x⁶ + x²) going in and u = x³ + sqrt(x⁶ + x²) coming out, and J as the sum of two
    quadratures: 1.330806904943. PSOPT quotes 1.330826 at T = 50, dymos and GPOPS-II 1.3308.

    Source: A. V. Rao and K. D. Mease, Optim. Control Appl. Meth. 20 (1999).
    """
    def scalar(t, x, u, p):
        return [-x[0] ** 3 + u[0]]

    return adjoint.OptimalControlProblem(
        adjoint.System(scalar, states="x", controls="u"),
        initial=dict(x=1.5), final=dict(x=1), t=(0, horizon), running=lambda t, x, u, p: (x[0] ** 2 + u[0] ** 2) / 2,
        name="hypersensitive", published=1.3308, source="Rao and Mease (1999); value: dymos, GPOPS-II")
