"""What can be said of a method before it meets a system: order, region, contraction.

    linear        x' = λx:  |R(hλ)| <= 1                                                   `regions`
    order         the conditions of all rooted trees                                      `methods_trees`
    contraction   ⟨f(x) - f(y), x - y⟩ <= 0  ⇒  |x_{k+1} - y_{k+1}| <= |x_k - y_k|  for every h    (B-stability)
                  if b >= 0 and M = diag(b) A + Aᵀ diag(b) - b bᵀ is positive semi-definite (algebraic stability)
    invariants    M = 0: quadratic invariants are kept, and the step is symplectic
    monotonicity  |x + h f(x)| <= |x| for h <= h_1  ⇒  |x_{k+1}| <= |x_k| for h <= C h_1, in any norm

The monotonicity coefficient C (of strong stability preservation) is the largest r with

    r K (I + rK)^{-1} >= 0   and   r K (I + rK)^{-1} 1 <= 1   entry by entry,        K = [[A, 0], [bᵀ, 0]]

Algebraic stability: Burrage and Butcher, SIAM J. Numer. Anal. 16 (1979); Hairer, Wanner II, IV.12. Symplecticity:
Sanz-Serna, BIT 28 (1988). Monotonicity: Kraaijevanger, BIT 31 (1991); Higueras, J. Sci. Comput. 21 (2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjoint.analysis.methods_trees import order_conditions, verified_order
from adjoint.analysis.regions import EPS, StabilityFunction, stability_function
from adjoint.method import Method

__all__ = ["MethodStability", "method_stability"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MethodStability:
    """What `method_stability` found; prints as a page.

    Attributes
    ----------
    method : Method
    R : StabilityFunction
        With ``R.real_interval``, ``R.imaginary_interval``, ``R.A_stable``, ``R.L_stable``.
    order : int
        By the order conditions, not by what the method says of itself.
    error : float
        sqrt Σ ((b·φ - 1/γ) / σ)² over the trees of order p+1: the size of the error's leading term.
    algebraic : bool
        Whether it is algebraically stable, and so contracts whatever the system contracts.
    symplectic : bool
    stiffly_accurate : bool
        Whether the last stage is the step.
    monotonicity : float
        C, as a multiple of the step with which forward Euler is monotone; 0 for most methods.
    """

    method: Method
    R: StabilityFunction
    order: int
    error: float
    algebraic: bool
    symplectic: bool
    stiffly_accurate: bool
    monotonicity: float

    def plot(self, *others: Method, file: str | Path | None = None) -> Any:
        """Draw the region of the method, and the boundaries of others; see `adjoint.plot_methods.plot_regions`.

        Parameters
        ----------
        others : Method
        file : path, optional
            Where to write the figure.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from adjoint.plot_methods import plot_regions

        return plot_regions([self.method, *others], file=file)

    def __str__(self) -> str:
        R, method = self.R, self.method

        def reach(value: float, unit: str) -> str:
            if value == 0:
                return "at 0 only: an undamped oscillation grows at any step"
            return "everywhere" if math.isinf(value) else f"to {value:.6f} {unit}".rstrip()

        yes = [
            name
            for name, holds in (
                ("A-stable", R.A_stable),
                ("L-stable", R.L_stable),
                ("B-stable (contracts what contracts)", self.algebraic),
                ("symplectic", self.symplectic),
                ("stiffly accurate", self.stiffly_accurate),
            )
            if holds
        ]
        count = f"{method.stages} stage{'' if method.stages == 1 else 's'}"
        C = self.monotonicity
        monotone = "at any step" if math.isinf(C) else "never" if C == 0 else f"to {C:.6g} times Euler's step"
        return "\n".join(
            (
                f"{method.name}: {method.kind}, {count}, order {self.order} by its order conditions.",
                f"  R(z)             {R}",
                f"  exp(z) - R(z)    {R.error_constant:.3g} z^{R.order + 1} + ...; error of one step {self.error:.2e}",
                f"  negative axis    stable {reach(-R.real_interval, '')}",
                f"  imaginary axis   stable {reach(R.imaginary_interval, 'i')}",
                f"  |R| at infinity  {R.at_infinity:.6g}",
                f"  monotone         {monotone}",
                f"  is               {', '.join(yes) or 'none of A-stable, L-stable, B-stable, symplectic'}",
            )
        )


def method_stability(method: Method) -> MethodStability:
    """Order, region and contraction of a method, from its tableau.

    Parameters
    ----------
    method : Method
        Any tableau, explicit or implicit; also one of your own.

    Returns
    -------
    MethodStability

    Raises
    ------
    InputError
        If it is no Method.

    Examples
    --------
    >>> from adjoint.method import radau
    >>> print(method_stability(radau(2)))
    radau2: collocation, 2 stages, order 3 by its order conditions.
      R(z)             (1 + z/3) / (1 - 2 z/3 + z²/6)
      exp(z) - R(z)    0.0139 z^4 + ...; error of one step 2.45e-02
      negative axis    stable everywhere
      imaginary axis   stable everywhere
      |R| at infinity  0
      monotone         never
      is               A-stable, L-stable, B-stable (contracts what contracts), stiffly accurate
    """
    R = stability_function(method)
    order = verified_order(method)
    conditions = order_conditions(method, min(order + 1, 10))
    error = math.hypot(*(c.residual / c.symmetry for c in conditions if c.order == order + 1))
    A, B, b = method.A, method.linear, method.b
    nonlinear = method.Gamma is None  # what follows is about stages in which f itself stands, not its Jacobian
    M = b[:, None] * A + b * A.T - np.outer(b, b)
    size = 16 * EPS * b.size * (float(np.abs(b[:, None] * A).max()) + float(np.abs(b).max()) ** 2)
    return MethodStability(
        method,
        R,
        order,
        error,
        nonlinear and bool((b >= -size).all() and np.linalg.eigvalsh(M).min() >= -size),
        nonlinear and bool(np.abs(M).max() <= size),
        bool(np.abs(B[-1] - b).max() <= size) and not method.explicit,
        _monotonicity(A, b) if nonlinear else 0.0,
    )


def _monotonicity(A: Array, b: Array) -> float:
    """C by bisection: the conditions hold on an interval that begins at 0."""
    used = b != 0
    while True:  # stages on which the step does not depend
        more = used | (A[used] != 0).any(axis=0)
        if (more == used).all():
            break
        used = more
    s = int(used.sum())
    K = np.zeros((s + 1, s + 1))
    K[:s, :s], K[s, :s] = A[np.ix_(used, used)], b[used]

    def monotone(r: float) -> bool:
        try:
            P = r * np.linalg.solve((np.eye(s + 1) + r * K).T, K.T).T  # r K (I + rK)^{-1}
        except np.linalg.LinAlgError:
            return False
        return bool((P >= -1e-13).all() and (P.sum(axis=1) <= 1 + 1e-13).all())

    low, high = 0.0, 1e-4
    while monotone(high):
        low, high = high, 2 * high
        if high > 1e8:
            return math.inf
    if low == 0.0:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if monotone(middle) else (low, middle)
    return low
