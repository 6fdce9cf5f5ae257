"""Finding a grid with an implicit method: adaptive steps from knot to knot.

What `kernels.grid` says of knots, of counting and of rounding holds here: a step of the Rosenbrock kind is to the last
bit the step of `kernels.rosenbrock`. The lengths follow the error E in units of the tolerance, with Gustafsson's
prediction from the last accepted step (Hairer, Wanner, *Solving ODEs II*, IV.8.25):

    h ← h min(8, max(1/5, 0.9 E^(-1/q), 0.9 (h / h_old) (E_old / E²)^(1/q) if smaller))

Collocation: the stages by the simplified Newton iteration with J at the start of the step, in the coordinates in which
A⁻¹ falls into a real number μ and pairs α ± iβ (IV.8.4 - IV.8.6). With Z = T V:

    (μ M / h - J) ΔV_1 = (T⁻¹ f)_1 - (μ / h) M V_1,     and likewise one complex system for each pair

It starts from the collocation polynomial of the last step. It ends when the rest, estimated from the rate θ, is below
CLOSE in units of the tolerance: so tight that the differentiated step, whose stages are exact, is the one that was made.
The error is that of IV.8.20, e = (μ M / h - J)⁻¹ (f(x) + (1/h) M Σ e_i Z_i), filtered once more where it would reject the
first step or one after a rejection.

An attempt that fails is repeated with a shorter step, and when the step vanishes the last reason is reported.
"""

from __future__ import annotations

import math

from numba import float64, int64, types

from adjoint.kernels import lu
from adjoint.kernels.announce import kernel
from adjoint.kernels.call import address_of, call, complexes, integers, matrix, view
from adjoint.kernels.collocation import tableau
from adjoint.kernels.grid import (
    COUNTED, DONE, EVENT, FULL, GROWTH_HELD, INTERVAL, LENGTH, LIMIT, LOG_E, MAX_STEP, NFEV, NONFINITE, PAUSED, Q,
    RTOL, STEPS, TOO_MANY, TRIED, UNDERFLOW, all_finite, crossed,
)  # fmt: skip
from adjoint.kernels.implicit import (
    CALL_ARG, CALL_RES, KL, KU, M, MASS_NONZEROS, N, ORDER, RHS, STAGES, add_mass, assemble, common, copy, evaluate,
    factor, fill, jacobian, part, row, solve,
)  # fmt: skip
from adjoint.kernels.jit import jit_part
from adjoint.kernels.rosenbrock import advance, begin

__all__ = ["DIVERGED", "SINGULAR", "advance_collocation", "advance_rosenbrock"]

SINGULAR, DIVERGED = 8, 9  # further ways to end
REJECTED = -1  # an attempt's error is above the tolerance

SMALLEST, LARGEST, SAFETY = 0.2, 8.0, 0.9
ITERATIONS = 12
CLOSE = 1e-5  # of the tolerance

_IN = [types.Array(float64, d, "C", readonly=True) for d in range(5)]
_OUT = [types.Array(float64, d, "C") for d in range(5)]
_INTEGERS = types.Array(int64, 1, "C")
_SIGNATURE = int64(
    _INTEGERS, _OUT[1], int64, _IN[1], _IN[2], _IN[1], _OUT[1], _OUT[2], _INTEGERS, _OUT[1], _OUT[2], _INTEGERS, int64,
    _OUT[1], _INTEGERS, _INTEGERS, _INTEGERS,
)  # fmt: skip
_SENTENCE = "compiling the stiff integrator (once; kept on disk)"


@jit_part
def _size(v, x, x_next, rtol, atol, counted):
    """‖v‖ in units of the tolerance; a state with atol = ∞ is not counted."""
    total = 0.0
    for e in range(x.size):
        if atol[e] < math.inf:
            ratio = v[e] / (atol[e] + rtol * max(abs(x[e]), abs(x_next[e])))
            total += ratio * ratio
    return math.sqrt(total / counted)


@jit_part
def _first_length(k, x, slope, span, rtol, atol, counted):
    """A hundredth of the time in which x changes by its own size; a millionth of the span if there is a mass matrix."""
    if k[MASS_NONZEROS] != 0:
        return 1e-6 * span
    d0, d1 = _size(x, x, x, rtol, atol, counted), _size(slope, x, x, rtol, atol, counted)
    h = 0.01 * d0 / d1 if d0 >= 1e-5 and 1e-5 <= d1 < math.inf else 1e-6
    return min(h, span)


@jit_part
def _next_length(h, E, number, count, old):
    """The length after an accepted step; `old` holds h and E of the one before (0: none)."""
    q = number[Q]
    factor = min(LARGEST, max(SMALLEST, SAFETY * max(E, 1e-12) ** (-1.0 / q)))
    if old[0] > 0.0:
        predicted = SAFETY * (h / old[0]) * (old[1] / max(E, 1e-12) ** 2) ** (1.0 / q)
        factor = min(factor, max(SMALLEST, predicted))
    if count[GROWTH_HELD] != 0:
        factor = min(factor, 1.0)
    old[0] = h
    old[1] = max(E, 1e-2)
    return h * factor


@jit_part
def _enter(k, t, h, x, i, n, m, knots, U, p, number, old):
    """Point k at the interval i."""
    k[3] = address_of(U, i * m)
    k[4] = address_of(p, 0)


@jit_part
def _watched(k, watch, t, x, u, p, g, signs, directions, fired, work_at, work):
    """EVENT, NONFINITE or PAUSED (nothing happened) after a step to (t, x)."""
    arg, res = integers(address_of(k, CALL_ARG), 4), integers(address_of(k, CALL_RES), 1)
    arg[0] = address_of(t, 0)
    arg[1] = address_of(x, 0)
    arg[2] = u
    arg[3] = p
    res[0] = address_of(g, 0)
    call(watch, arg, res, part(work, work_at, 1))
    if not all_finite(g):
        return NONFINITE
    return EVENT if crossed(g, signs, directions, fired) else PAUSED


@jit_part
def _attempt_rosenbrock(k, t, h, x, x_next, number, vector, count, U, work):
    """0 with E in number[LOG_E], or why not."""
    if not begin(k, t, h, x, work):
        return SINGULAR
    error = row(vector, 4)
    advance(k, t, h, x, U, x_next, error, work)
    count[NFEV] += k[STAGES]
    E = _size(error, x, x_next, number[RTOL], row(vector, 0), number[COUNTED])
    if not (E < math.inf and all_finite(x_next)):
        return NONFINITE
    number[LOG_E] = E
    return 0 if E <= 1.0 else REJECTED


@kernel(_SIGNATURE, _SENTENCE)
def advance_rosenbrock(k, work, watch, knots, U, p, t, x, interval, number, vector, count, pause, g, signs, directions,
                       fired):
    """Go on from x[j] at t[j], j = count[STEPS], by steps of a Rosenbrock method.

    Parameters
    ----------
    k, work : arg with its header, and scratch (`kernels.implicit`)
    the rest : as for `kernels.grid.advance`; vector has scratch in its last row
    """
    n, m = x.shape[1], U.shape[1]
    sign = 1.0 if knots[knots.size - 1] > knots[0] else -1.0
    j, i = count[STEPS], count[INTERVAL]
    stages = matrix(work, common(k, work)[4], k[STAGES], n)
    old = row(vector, 3)
    return 0
