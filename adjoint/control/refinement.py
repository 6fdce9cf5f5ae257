"""A finer mesh where the answer needs one.

Every interval is re-integrated from its own knot value with the solution's own control; its local error e_k (largest
over
the states, relative to their sizes) is compared with an equal share of the accuracy asked for. An interval above its
share is
cut into about (e_k / share)^(1/3) equal pieces, at most `MOST`: the exponent lies between that of smooth intervals,
where the error falls much faster, and of intervals with a switch or a singular arc, where it falls slowly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adjoint.control.evidence import Case
from adjoint.control.flow import Flow
from adjoint.control.solution import Solution

__all__ = ["local_errors", "refined"]

Array = NDArray[np.float64]

MOST = 4
SHARE = 0.1


def local_errors(solution: Solution) -> Array:
    """Error (N,) of each interval, relative to the states' sizes; inf where the re-integration fails."""
    case = Case(solution)
    n, extras = case.h.n, 1 + case.h.n_q
    flow = Flow(solution, case.h.augmented, solution.p, np.concatenate([case.size_x, np.ones(extras)]))
    starts = np.concatenate([solution.x[:-1], np.zeros((solution.N, extras))], axis=1)
    errors = np.abs(flow.each(starts)[:, :n] - solution.x[1:]) / case.size_x
    return np.where(np.isfinite(errors), errors, np.inf).max(axis=1)


def refined(solution: Solution, accuracy: float) -> Array:
    """Normalised knots of a mesh that should reach the accuracy."""
    errors = local_errors(solution)
    share = SHARE * accuracy / np.sqrt(solution.N)
    pieces = np.clip(np.ceil(np.cbrt(errors / share)), 1, MOST).astype(int)
    if np.all(pieces == 1):
        pieces[:] = 2
    tau = (solution.t - solution.t[0]) / (solution.t[-1] - solution.t[0])
    parts = [np.linspace(a, b, k, endpoint=False) for a, b, k in zip(tau[:-1], tau[1:], pieces, strict=True)]
    return np.append(np.concatenate(parts), 1.0)
