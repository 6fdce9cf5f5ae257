"""A mesh on which an explicit method can be stable, judged at the starting guess.

    step          h_k = (t_{k+1} - t_k) / substeps,  h*_k the longest stable one at both ends   (`analysis`)
    too long      h_k > h*_k somewhere: what decays in the system grows in the numbers
    too unstable  exp(α_k (t_{k+1} - t_k)) > 1e8,  α_k = max Re λ(∂f/∂x):   an interval that nobody can shoot through

Where the mesh is free, more intervals are taken; where it is given, a warning has the numbers. Collocation methods are
A-stable and need neither.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from adjoint.analysis.step_limit import StepLimit, jacobians, max_stable_step
from adjoint.control.guess import Guess
from adjoint.control.problem import OptimalControlProblem
from adjoint.errors import InputError, StabilityWarning
from adjoint.method import Method

__all__ = ["stable_mesh"]

Array = NDArray[np.float64]

AMPLIFICATION = 1e8  # within an interval: half of the digits of a double
MARGIN = 1.1  # the eigenvalues move between guess and solution


def stable_mesh(
    problem: OptimalControlProblem, method: Method, tau: Array, substeps: int, guess: Guess, free: bool, most: int
) -> Array:
    """The knots tau, or more of them.

    Parameters
    ----------
    problem : OptimalControlProblem
        Of a continuous system.
    method : Method
        Explicit.
    tau : array (N+1,)
        Normalised knots.
    substeps : int
    guess : Guess
    free : bool
        Whether more intervals may be taken.
    most : int
        But not more than these.

    Returns
    -------
    array
        The knots.

    Warns
    -----
    StabilityWarning
        If the knots are given and too far apart, or if `most` intervals are too few.
    """
    system, span = problem.system, guess.tf - guess.t0
    x, u = guess.at(tau)
    t = guess.t0 + span * tau
    if not span > 0:
        return tau
    try:
        limit = max_stable_step(system, method, x, u, t, guess.p)
        J = jacobians(system, t, x, u, guess.p[None])
    except InputError:  # no derivative at the guess: the solver will say so, if it matters
        return tau
    N = tau.size - 1
    lengths = span * np.diff(tau)
    stable = np.where(limit.limits > 0, limit.limits, np.inf)  # no step helps a method that reaches no oscillation
    longer = float((lengths / substeps / np.minimum(stable[:-1], stable[1:])).max())
    alpha = np.maximum(np.linalg.eigvals(J).real.max(axis=1), 0.0)
    growth = float((lengths * np.maximum(alpha[:-1], alpha[1:])).max())
    factor = max(longer, growth / math.log(AMPLIFICATION))
    if factor <= 1:
        return tau
    needed = math.ceil(MARGIN * factor * N)
    if free and needed <= most:
        return np.linspace(0.0, 1.0, needed + 1)
    warnings.warn(_sentence(limit, lengths, substeps, longer, growth, needed), StabilityWarning, stacklevel=3)
    return tau


def _sentence(limit: StepLimit, lengths: Array, substeps: int, longer: float, growth: float, needed: int) -> str:
    if longer > 1:
        finer = math.ceil(MARGIN * longer * substeps)
        return (
            f"solve: steps of up to {lengths.max() / substeps:.3g} cannot be stable at the starting guess. {limit} "
            f"Take intervals={needed}, or substeps={finer}, or an implicit method: gauss(3), which is the default, or "
            "radau(3)."
        )
    return (
        f"solve: perturbations grow by 1e{growth / math.log(10):.0f} within an interval at the starting guess; nobody "
        f"can shoot that far. Take intervals={needed}, in which they grow by less than {AMPLIFICATION:.0e}."
    )
