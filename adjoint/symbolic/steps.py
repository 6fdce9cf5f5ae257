"""Steps of explicit Runge–Kutta methods as graphs.

    stages      K_i = f(t + c_i h, x + h Σ_{j<i} A_ij K_j, u, p)
    step        x_next = x + h Σ_i b_i K_i
    errors      e = h Σ_i (b_i - b̂_i) K_i                           of the embedded partner, and of a cruder one
    dense       x(t + θ h) = x + h Σ_i b_i(θ) K_i,     b_i(θ) = Σ_{d≥1} P_id θ^d

The control is held over the step (zero-order hold). With substeps r the step of length h is r steps of length h/r.
The stages are written into one expression, so that derivatives of the step see through them and share their parts.
All graphs of one method write the same sums in the same order: what an adaptive run computes, the step computes again
to the last bit.
"""

from __future__ import annotations

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError

__all__ = ["dense_output", "embedded_step", "explicit_step"]

Array = NDArray[np.float64]


def explicit_step(rhs: ca.Function, A: Array, b: Array, c: Array, substeps: int = 1) -> ca.Function:
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
    t, h, x, u, p = _symbols(rhs)
    x_next, length = x, h / int(substeps) if substeps > 1 else h
    for r in range(int(substeps)):
        K = _stages(rhs, A, c, t + r * length if r else t, length, x_next, u, p)
        x_next = _advance(x_next, length, b, K)
    return ca.Function("step", [t, h, x, u, p], [ca.densify(x_next)], ["t", "h", "x", "u", "p"], ["x_next"])


def embedded_step(
    rhs: ca.Function, A: Array, b: Array, c: Array, partners: list[Array]
) -> ca.Function:
    """One step of an embedded pair with all that error control asks of it.

        scale_i = atol_i + rtol max(|x_i|, |x_next_i|)           square = Σ_i (e_i / scale_i)²

    Parameters
    ----------
    rhs, A, b, c
        As for `explicit_step`.
    partners : list of arrays (s,)
        The weights b̂ of each embedded partner.

    Returns
    -------
    casadi.Function
        (t, h, x, u, p, slope, rtol, atol) → x_next, slope_next, squares: slope is f(t, x, u, p), slope_next the same at
        the end of the step (its last stage where that is the same thing), and squares has one number per partner.
    """
    t, h, x, u, p = _symbols(rhs)
    n = x.numel()
    slope, rtol, atol = ca.SX.sym("slope", n), ca.SX.sym("rtol"), ca.SX.sym("atol", n)
    K = _stages(rhs, A, c, t, h, x, u, p, slope)
    x_next = ca.densify(_advance(x, h, b, K))
    first_same_as_last = c[-1] == 1 and b[-1] == 0 and np.array_equal(A[-1], b)
    slope_next = K[-1] if first_same_as_last else ca.densify(rhs(t + h, x_next, u, p))
    scale = atol + rtol * ca.fmax(ca.fabs(x), ca.fabs(x_next))
    squares = []
    for b_hat in partners:
        e = h * sum(float(w) * k for w, k in zip(b - b_hat, K, strict=True) if w)
        squares.append(ca.sumsqr(e / scale))
    names = ["t", "h", "x", "u", "p", "slope", "rtol", "atol"]
    return ca.Function(
        "embedded_step", [t, h, x, u, p, slope, rtol, atol],
        [x_next, slope_next, ca.densify(ca.vertcat(*squares))], names, ["x_next", "slope_next", "squares"],
    )  # fmt: skip


def dense_output(
    rhs: ca.Function, A: Array, c: Array, P: Array, A_more: Array, c_more: Array
) -> ca.Function:
    """The continuous extension of a step: the state at t + θ h.

    Parameters
    ----------
    rhs, A, c
        As for `explicit_step`.
    P : array (s + e, D)
        Weights as polynomials of θ without constant term.
    A_more, c_more : arrays (e, s + e), (e,)
        Rows of the tableau for e further stages.

    Returns
    -------
    casadi.Function
        (t, h, x, u, p, theta) → x(t + θ h).
    """
    t, h, x, u, p = _symbols(rhs)
    theta = ca.SX.sym("theta")
    s, e = len(c), len(c_more)
    rows = np.zeros((s + e, s + e))
    rows[:s, :s], rows[s:] = A, A_more
    K = _stages(rhs, rows, np.append(c, c_more), t, h, x, u, p)
    total = ca.SX.zeros(x.numel())
    for weights, k in zip(P, K, strict=True):
        if np.any(weights):
            value = ca.SX(0)
            for coefficient in weights[::-1]:  # Horner
                value = value * theta + float(coefficient)
            total = total + (value * theta) * k
    out = ca.densify(x + h * total)
    return ca.Function("dense", [t, h, x, u, p, theta], [out], ["t", "h", "x", "u", "p", "theta"], ["between"])


def _symbols(rhs: ca.Function) -> list[ca.SX]:
    t, h = ca.SX.sym("t"), ca.SX.sym("h")
    return [t, h, *(ca.SX.sym(name, rhs.size1_in(i)) for i, name in ((1, "x"), (2, "u"), (3, "p")))]


def _stages(
    rhs: ca.Function, A: Array, c: Array, t: ca.SX, h: ca.SX, x: ca.SX, u: ca.SX, p: ca.SX, first: ca.SX | None = None
) -> list[ca.SX]:
    """K_1 … K_s; `first` is K_1 where it is known."""
    K: list[ca.SX] = [] if first is None else [first]
    for i in range(len(K), len(c)):
        # Zero coefficients are skipped here, not multiplied: 0·∞ must not enter, and the graph stays small.
        X = _advance(x, h, A[i, :i], K)
        K.append(ca.densify(rhs(t + float(c[i]) * h if c[i] else t, X, u, p)))
    return K


def _advance(x: ca.SX, h: ca.SX, weights: Array, K: list[ca.SX]) -> ca.SX:
    """x + h Σ_i w_i K_i, in this order."""
    for w, k in zip(weights, K, strict=True):
        if w:
            x = x + (h * float(w)) * k
    return x
