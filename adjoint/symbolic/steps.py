"""One step of an explicit Runge–Kutta method as a graph.

    K_i = f(t + c_i h, x + h Σ_{j<i} A_ij K_j, u, p)        x_next = x + h Σ_i b_i K_i

The control is held over the step (zero-order hold). With substeps r the step of length h is r steps of length h/r.
The stages are written into one expression, so that derivatives of the step see through them and share their parts.
"""

from __future__ import annotations

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError

__all__ = ["explicit_step"]


def explicit_step(
    rhs: ca.Function, A: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], substeps: int = 1
) -> ca.Function:
    """The step Φ(t, h, x, u, p) of the vector field rhs(t, x, u, p).

    Parameters
    ----------
    rhs : casadi.Function
        (t, x, u, p) → ẋ, an SX function.
    A, b, c : arrays, shapes (s, s), (s,), (s,)
        An explicit tableau.
    substeps : int
        Number of equal steps of the method that make one step.

    Returns
    -------
    casadi.Function
        (t, h, x, u, p) → x_next, an SX function with a dense output.

    Raises
    ------
    InputError
        If the tableau is not explicit or `substeps` is not a positive integer.
    """
    if np.any(np.triu(A)):
        raise InputError("explicit_step: A is not strictly lower triangular, so its stages cannot be computed in turn.")
    if substeps < 1 or substeps != int(substeps):
        raise InputError(f"explicit_step: substeps is {substeps!r}; expected a positive integer.")
    t, h = ca.SX.sym("t"), ca.SX.sym("h")
    x, u, p = (ca.SX.sym(name, rhs.size1_in(i)) for i, name in ((1, "x"), (2, "u"), (3, "p")))
    x_next, length = x, h / int(substeps) if substeps > 1 else h
    for r in range(int(substeps)):
        start, base = (t + r * length if r else t), x_next
        K: list[ca.SX] = []
        for i in range(len(b)):
            # Zero coefficients are skipped here, not multiplied: 0·∞ must not enter, and the graph stays small.
            X = base
            for j in range(i):
                if A[i, j]:
                    X = X + (length * float(A[i, j])) * K[j]
            K.append(ca.densify(rhs(start + float(c[i]) * length if c[i] else start, X, u, p)))
        for i in range(len(b)):
            if b[i]:
                x_next = x_next + (length * float(b[i])) * K[i]
    return ca.Function("step", [t, h, x, u, p], [ca.densify(x_next)], ["t", "h", "x", "u", "p"], ["x_next"])
