"""How far one can shoot: amplification within an interval, and the condition of single and multiple shooting.

    one interval      δx_{k_{j+1}} = M_j δs_j,        M_j = A_{k_{j+1}-1} … A_{k_j}
    matching          s_{j+1} - M_j s_j = 0           j = 0 … K-1
    boundary          B_0 s_0 + B_N s_K = c

The unknowns of multiple shooting are s_0 … s_K; single shooting has s_0 alone, and the matrix B_0 + B_N A_{N-1} … A_0.
Where the problem is well posed (its growing directions are held at the end and its decaying ones at the start), the
condition of the large matrix stays moderate, and that of the small one grows with the growth of the trajectory.

Reference: Ascher, Mattheij, Russell, *Numerical Solution of Boundary Value Problems for Ordinary Differential
Equations*, sections 4.2 and 4.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.analysis.products import log_norms
from adjoint.errors import InputError

__all__ = ["Shooting", "ShootingCondition", "divide", "shooting_condition"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shooting:
    """Intervals of multiple shooting.

    Attributes
    ----------
    knots : int array (K+1,)
        The knots where the intervals begin, and N.
    amplification : array (K,)
        The largest growth of a perturbation of an interval's first state within the interval.
    bound : float
        What was asked for. An interval of one step may be above it: it cannot be cut further.
    """

    knots: NDArray[np.int64]
    amplification: Array
    bound: float

    @property
    def intervals(self) -> int:
        """K."""
        return self.amplification.size

    @property
    def met(self) -> bool:
        """Whether all intervals stay within the bound."""
        return bool((self.amplification <= self.bound).all())


def divide(A: Array, bound: float) -> Shooting:
    """Cut N steps from left to right into intervals that amplify by at most `bound` each, as long as they can be.

    Parameters
    ----------
    A : array (N, n, n)
        The Jacobians of the steps.
    bound : float
        Greater than 1.

    Returns
    -------
    Shooting
    """
    if not bound > 1:
        raise InputError(f"shooting: bound is {bound}; expected a number greater than 1, the amplification allowed.")
    N, limit = len(A), math.log(bound)
    knots, amplification, guess = [0], [], 16
    while knots[-1] < N:
        first = knots[-1]
        while True:  # the products of a piece that is twice as long, until one exceeds the bound
            logs = log_norms(A[first : first + guess])
            above = np.flatnonzero(logs > limit)
            if above.size or first + guess >= N:
                break
            guess *= 2
        length = max(1, int(above[0]) - 1) if above.size else logs.size - 1
        amplification.append(math.exp(min(logs[: length + 1].max(), 700.0)))
        knots.append(first + length)
        guess = max(16, length + 1)
    return Shooting(np.array(knots), np.array(amplification), float(bound))


@dataclass(frozen=True)
class ShootingCondition:
    """The condition numbers (2-norm) of the linear systems of single and of multiple shooting."""

    single: float
    multiple: float
    intervals: int


def shooting_condition(A: ArrayLike, start: ArrayLike, end: ArrayLike, knots: ArrayLike) -> ShootingCondition:
    """The condition of shooting for the boundary conditions B_0 x_0 + B_N x_N = c.

    Parameters
    ----------
    A : array (N, n, n)
        The Jacobians of the steps, from `linearize` or a report.
    start, end : array_like (n, n)
        B_0 and B_N.
    knots : array_like of int (K+1,)
        0, the knots where an interval begins, and N; those of `StabilityReport.shooting`, for example.

    Returns
    -------
    ShootingCondition

    Raises
    ------
    InputError
        If shapes do not fit or the knots do not run from 0 to N.
    """
    jacobians, B0, BN = (np.array(a, dtype=np.float64) for a in (A, start, end))
    places = np.array(knots, dtype=np.int64)
    if jacobians.ndim != 3 or jacobians.shape[1] != jacobians.shape[2]:
        raise InputError(f"shooting_condition: A has shape {jacobians.shape}; expected (N, n, n).")
    N, n = jacobians.shape[:2]
    if B0.shape != (n, n) or BN.shape != (n, n):
        raise InputError(f"shooting_condition: start and end have shapes {B0.shape} and {BN.shape}; "
                         f"expected ({n}, {n}).")
    if places.ndim != 1 or places.size < 2 or places[0] != 0 or places[-1] != N or (np.diff(places) <= 0).any():
        raise InputError(f"shooting_condition: knots is {knots!r}; expected integers increasing from 0 to {N}.")
    K = places.size - 1
    matrix, whole = np.zeros(((K + 1) * n, (K + 1) * n)), np.eye(n)
    for j in range(K):
        M = np.eye(n)
        with np.errstate(over="ignore", invalid="ignore"):  # then the condition is inf
            for step in jacobians[places[j] : places[j + 1]]:
                M = step @ M
            whole = M @ whole
        matrix[j * n : (j + 1) * n, j * n : (j + 1) * n] = -M
        matrix[j * n : (j + 1) * n, (j + 1) * n : (j + 2) * n] = np.eye(n)
    matrix[K * n :, :n], matrix[K * n :, K * n :] = B0, BN
    return ShootingCondition(_condition(B0 + BN @ whole), _condition(matrix), K)


def _condition(matrix: Array) -> float:
    """The condition number; inf where the matrix overflowed or is singular."""
    if not np.isfinite(matrix).all():
        return math.inf
    s = np.linalg.svd(matrix, compute_uv=False)
    return float(s[0] / s[-1]) if s[-1] > 0 else math.inf
