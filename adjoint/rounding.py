"""How much of a gradient is amplified rounding error.

Each step rounds its state by about ε |x_k|, and the costate says what that does to J: |λ_k|ᵀ ε |x_k|. Against the size
of what the seeds look at,

    κ = max_k |λ_k|ᵀ |x_k| / Σ_k |q_k|ᵀ |x_k|        relative error of J and of its gradient   ≈ ε √N κ

(N roundings with random signs). κ is the growth of perturbations that matters: where the states grow along with the
perturbations, as in x' = x, it stays near 1. The estimate is made from numbers that the sweep has at hand, and only if
the costate grew by 1e8; a sweep that did not pays two scalar products.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from adjoint.errors import StabilityWarning

__all__ = ["amplification", "grew", "warn_of_rounding"]

Array = NDArray[np.float64]

GROWTH_SQUARED = 1e16  # of costates, below which rounding cannot matter
WORST = 1e-2  # relative error from which a gradient is not worth its digits
EPS = 2.0**-52


def grew(first: Array, last: Array) -> bool:
    """Whether |λ_0| is more than 1e8 times |λ_N|."""
    return not np.vdot(first, first) <= GROWTH_SQUARED * np.vdot(last, last)  # NaN has grown, too


def amplification(x: Array, costate: Array, size: Array) -> tuple[float, int]:
    """κ of the worst path, and the knot k where it is reached.

    Parameters
    ----------
    x, costate : arrays (N+1, n), or (batch, N+1, n)
    size : array (1,), or (batch,)
        Σ_k |q_k|ᵀ |x_k| of each path.

    Returns
    -------
    kappa : float
        0 if the seeds look at nothing.
    knot : int
    """
    with np.errstate(invalid="ignore", over="ignore"):  # a costate that has overflowed
        each = np.einsum("...i,...i->...", np.abs(costate), np.abs(x)).reshape(len(size), -1)
    kappa = np.divide(each, size[:, None], out=np.zeros(each.shape), where=size[:, None] > 0)
    kappa = np.where(np.isfinite(kappa), kappa, math.inf)
    path, knot = np.unravel_index(int(kappa.argmax()), kappa.shape)
    return float(kappa[path, knot]), int(knot)


def warn_of_rounding(name: str, t: Array, x: Array, costate: Array, size: Array, level: int = 3) -> bool:
    """Warn, with the numbers, if amplified rounding is a hundredth of the gradient or more.

    Parameters
    ----------
    name : str
        Of the system.
    t : array (N+1,)
    x, costate, size
        As for `amplification`.
    level : int
        How many calls up the user's line is.

    Returns
    -------
    bool
        Whether there was a reason to.
    """
    overflow = ~np.isfinite(costate).all(axis=-1)
    if overflow.any():
        knot = int(np.argwhere(overflow.reshape(-1, len(t)))[:, 1].max())
        warnings.warn(
            f"the gradient through {name!r} overflows: its costate is not finite at t = {t[knot]:g} and before. "
            "Shorten the horizon, or let the states at several knots be unknowns (multiple shooting).",
            StabilityWarning,
            stacklevel=level,
        )
        return True
    kappa, knot = amplification(x, costate, size)
    error = EPS * math.sqrt(len(t)) * kappa
    if error < WORST:
        return False
    share = f"{100 * error:.0f} % of it" if error < 1 else "all of it"
    warnings.warn(
        f"the gradient through {name!r} is dominated by amplified rounding error: perturbations grow by {kappa:.1e} "
        f"from t = {t[knot]:g} on, and rounding in the 16th digit becomes {share}. Shorten the horizon, or let the "
        "states at several knots be unknowns (multiple shooting; `adjoint.stability(path)` tells how many).",
        StabilityWarning,
        stacklevel=level,
    )
    return True
