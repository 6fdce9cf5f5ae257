"""Piecewise polynomials of one variable, on numbers and as a branch-free graph.

On interval k, between breakpoints b_k and b_{k+1}:

    s(x) = sum_d c[d, k] (x - b_k)^d,        k = the interval that holds x; the first and the last reach to infinity

In a graph the interval is found by indicators e_k = [b_k <= x < b_{k+1}], which are 0 or 1 with derivative 0, and each
coefficient is chosen by sum_k e_k c[d, k]: exactly, as all terms but one are 0. Only the one polynomial is
differentiated.
"""

from __future__ import annotations

import casadi
import numpy as np
from casadi import DM, SX

__all__ = ["clamp", "evaluate", "indicators", "interval", "select", "symbolic"]


def interval(x: np.ndarray, breaks: np.ndarray) -> np.ndarray:
    """Interval of each x, by its real part; ends reach to infinity. breaks (K+1,) -> indices in 0 .. K-1."""
    return np.clip(np.searchsorted(breaks, np.real(x), side="right") - 1, 0, len(breaks) - 2)


def evaluate(x: np.ndarray, breaks: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """s(x) on real or complex numbers of any shape. coefficients (degree+1, K, ...), the constant term first."""
    k = interval(x, breaks)
    dx = (x - breaks[k]).reshape(x.shape + (1,) * (coefficients.ndim - 2))
    value = coefficients[-1, k]
    for c in coefficients[-2::-1]:
        value = value * dx + c[k]
    return value


def clamp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """x limited to [low, high] by its real part; outside, the imaginary part (a complex step) is dropped as well."""
    return np.where(np.real(x) < low, low, np.where(np.real(x) > high, high, x))


def indicators(x: SX, breaks: np.ndarray) -> SX:
    """Row (1, K) with a single 1, at the interval that holds x."""
    inner = breaks[1:-1]
    reached = [SX(1), *[x >= b for b in inner], SX(0)]
    return casadi.horzcat(*[reached[k] - reached[k + 1] for k in range(len(inner) + 1)])


def select(e: SX, values: np.ndarray) -> SX:
    """Column sum_k e_k values[:, k]: the column of `values` (r, K) that the indicators e (1, K) point at."""
    return casadi.mtimes(DM(values), e.T)


def symbolic(x: SX, breaks: np.ndarray, coefficients: np.ndarray) -> SX:
    """s(x) as a graph of one scalar."""
    e = indicators(x, breaks)
    dx = x - select(e, breaks[None, :-1])
    c = select(e, coefficients)
    value = c[-1]
    for d in reversed(range(len(coefficients) - 1)):
        value = value * dx + c[d]
    return value
