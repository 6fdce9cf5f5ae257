"""What the gradient of an adaptive solve is worth.

    tolerance     δJ ≈ √Σ_k (λ_kᵀ τ_k)²,     τ_k = atol + rtol |x_k|        what each step may be off moves J by
    rounding      the same with ε |x_k|; see `adjoint.rounding`

If δJ is not small against J, either the system amplifies perturbations, and then J is no better known than that; or the
steps of an explicit method are longer than it is stable for. Then the states may be right all the same: the error
control sees what begins to grow and shortens the next step. The derivative along the grid, which is held fixed, has the
growth and not the remedy, and can be wrong by orders of magnitude. Both deserve a word; an implicit method tells which.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adjoint.errors import StabilityWarning
from adjoint.rounding import warn_of_rounding

if TYPE_CHECKING:
    from adjoint.ode.solution import OdeSolution

__all__ = ["tolerance_in_J", "warn"]

Array = NDArray[np.float64]

GROWN = 30.0  # a costate that is nowhere larger than this many seeds is not looked at
# Measured on van der Pol's oscillator, μ from 5 to 50, by explicit pairs: of 144 gradients, beyond both numbers are all
# that are wrong by more than 10 %, and one of those that are right to 2 %.
UNCERTAIN, AMPLIFIED = 1e-3, 100.0
ROUNDING = 1e9  # below, amplified rounding cannot matter


def tolerance_in_J(solution: OdeSolution, x: Array, costate: Array) -> float:
    """δJ from what the tolerances leave open in each step.

    Parameters
    ----------
    solution : OdeSolution
    x, costate : arrays (K, n)

    Returns
    -------
    float
    """
    atol = np.where(solution.atol < np.inf, solution.atol, 0.0)
    moved = costate * (atol + solution.rtol * np.abs(x))
    return math.sqrt(float(np.vdot(moved, moved)))


def warn(solution: OdeSolution, costate: Array, seeds: Sequence[Array]) -> None:
    """Say so, with the numbers, if the gradient is dominated by amplified rounding or amplified tolerances.

    Parameters
    ----------
    solution : OdeSolution
    costate : array (K, n), or (K, n + 1) with an integral
    seeds : sequence of arrays
        q of each piece, at all its knots or at the last one.
    """
    largest = max(float(np.abs(q).max()) for q in seeds)
    weights = np.abs(costate)
    if not weights.max() > GROWN * largest > 0:
        return
    paths, n = [piece.path for piece in solution.pieces], solution.system.n
    size = sum(float(np.abs(q * path.x[-len(q) :]).sum()) for q, path in zip(seeds, paths, strict=True))
    x = paths[0].x if len(paths) == 1 else np.concatenate([path.x for path in paths])
    reach = np.einsum("ki,ki->k", weights, np.abs(x))
    kappa = float(reach.max()) / size if size > 0 else 0.0
    if kappa <= AMPLIFIED:
        return
    t = np.concatenate([path.t for path in paths])
    if not kappa < ROUNDING and warn_of_rounding(solution.system.name, t, x, costate, np.array([size]), level=5):
        return
    share = tolerance_in_J(solution, x[:, :n], costate[:, :n]) / size
    if share < UNCERTAIN:
        return
    knot = int(reach.argmax())
    cure = "Tighten rtol and atol."
    if solution.method.explicit:
        cure = (
            f"If the system itself does not amplify like that, the steps are longer than {solution.method.name} is "
            "stable for: then the states may be right, and the gradient is not. Take an implicit method, RODAS5P or "
            "radau(3), or tighten rtol."
        )
    warnings.warn(
        f"the gradient through {solution.system.name!r} amplifies what the tolerance leaves open: perturbations grow "
        f"by {kappa:.1e} from t = {t[knot]:g} on, and rtol = {solution.rtol:g} in each step becomes {100 * share:.2g} "
        f"% of J. {cure}",
        StabilityWarning,
        stacklevel=4,
    )
