"""Finding a grid with an implicit method: one loop over attempts, and the attempts of the two families.

What `kernels.grid` says of knots, of counting and of rounding holds here. An attempt makes x⁺ and the error E in units
of the tolerance, and the lengths follow E, with Gustafsson's prediction from the last accepted step (Hairer, Wanner,
*Solving ODEs II*, IV.8.25):

    h ← h min(8, max(1/5, 0.9 E^(-1/q))),  or  h max(1/5, 0.9 (h / h_old) (E_old / E²)^(1/q))  if that is shorter

An attempt that fails is repeated with a shorter step, and when the step vanishes the last reason is reported.

*Rosenbrock*: the step of `kernels.rosenbrock` to the last bit, and its error.

*Collocation*: the stages by `kernels.simplified_newton`, from the collocation polynomial of the last step, until the
rest is below CLOSE in units of the tolerance: so tight that the step that is differentiated, whose stages are exact, is
the one that was made. Where rounding stops it before, CONTENT is enough. The error is that of IV.8.20,

    e = (μ M / h - J)⁻¹ (f(x) + (1/h) M Σ e_i Z_i)

filtered once more where it would reject the first step or one after a rejection.

An attempt finds in arg: 0 t, 1 h, 2 x, 3 u, 4 p, 5 number, 6 vector, 7 count; it leaves x⁺ in res 0 and how it went in
arg 9. The last two rows of `vector` are its own.
"""

from __future__ import annotations

import math

from numba import float64, int64, types

from adjoint.kernels.announce import kernel
from adjoint.kernels.call import address_of, call, integers, matrix, view
from adjoint.kernels.grid import (
    COUNTED,
    COUNTS,
    DONE,
    EVENT,
    FULL,
    GROWTH_HELD,
    INTERVAL,
    LENGTH,
    LIMIT,
    MAX_STEP,
    NFEV,
    NONFINITE,
    NUMBERS,
    PAUSED,
    RTOL,
    STEPS,
    TOO_MANY,
    TRIED,
    UNDERFLOW,
    Q,
    crossed,
)  # fmt: skip
from adjoint.kernels.implicit import (
    CALL_ARG,
    CALL_RES,
    MASS_NONZEROS,
    RHS,
    STAGES,
    WORK,
    N,
    add_mass,
    common,
    copy,
    evaluate,
    fill,
    part,
    row,
    solve,
    unpack,
)  # fmt: skip
from adjoint.kernels.jit import jit_exact, jit_part
from adjoint.kernels.rosenbrock import advance as advance_stages
from adjoint.kernels.rosenbrock import begin
from adjoint.kernels.simplified_newton import extrapolate, factorise, iterate, spaces, tableau

__all__ = ["DIVERGED", "SINGULAR", "advance", "attempt_collocation", "attempt_rosenbrock"]

SINGULAR, DIVERGED = 8, 9  # further ways to end
H_OLD, E_OLD, E, H = 8, 9, 10, 11  # slots of number: of the last accepted step (0: none); of this attempt
STATUS = 9  # where an attempt says in arg how it went: ACCEPTED, REJECTED, or why it failed
ACCEPTED, REJECTED = 0, 1

SMALLEST, LARGEST, SAFETY = 0.2, 8.0, 0.9
CLOSE, CONTENT = 1e-5, 1e-2

_IN = [types.Array(float64, d, "C", readonly=True) for d in range(5)]
_OUT = [types.Array(float64, d, "C") for d in range(5)]
_INTEGERS = types.Array(int64, 1, "C")
_SENTENCE = "compiling the stiff integrator (once; kept on disk)"


@jit_part
def _finite(v):
    bad = 0
    for e in range(v.size):
        bad += 0 if abs(v[e]) < math.inf else 1
    return bad == 0


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
def _judge(k, number, error, x, x_next, atol):
    """Accepted, rejected, or not finite."""
    number[E] = _size(error, x, x_next, number[RTOL], atol, number[COUNTED])
    if not (number[E] < math.inf and _finite(x_next)):
        return NONFINITE
    return ACCEPTED if number[E] <= 1.0 else REJECTED


@jit_exact
def attempt_rosenbrock(arg, res, work):
    """x⁺ and its error by a Rosenbrock method."""
    k, res, work = unpack(arg, res, work)
    n = k[N]
    t, h, x, x_next = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n), view(res[0], n)
    number, vector, count = view(k[5], NUMBERS), matrix(view(k[6], 5 * n), 0, 5, n), integers(k[7], COUNTS)
    if not begin(k, t, h, x, work):
        k[STATUS] = SINGULAR if _finite(common(k, work)[1]) else NONFINITE
        return
    error = row(vector, 4)
    advance_stages(k, t, h, x, matrix(work, common(k, work)[4], k[STAGES], n), x_next, error, work)
    count[NFEV] += k[STAGES]
    k[STATUS] = _judge(k, number, error, x, x_next, row(vector, 0))


@jit_exact
def attempt_collocation(arg, res, work):
    """x⁺ and its error by a collocation method with an odd number of stages."""
    k, res, work = unpack(arg, res, work)
    n, s = k[N], k[STAGES]
    t, h, x, x_next = view(k[0], 1)[0], view(k[1], 1)[0], view(k[2], n), view(res[0], n)
    number, vector, count = view(k[5], NUMBERS), matrix(view(k[6], 5 * n), 0, 5, n), integers(k[7], COUNTS)
    v, J, W, pivot, _ = common(k, work)
    nodes, _, _, _, _ = tableau(k)
    Z, _, _, last, _ = spaces(k, work)
    slope, rtol = row(vector, 3), number[RTOL]
    if not factorise(k, t, h, x, slope, work):
        k[STATUS] = SINGULAR if _finite(J) else NONFINITE
        return
    if number[H_OLD] != 0.0:
        extrapolate(k, h / number[H_OLD], last, Z)
    else:
        for i in range(s):
            fill(row(Z, i), 0.0)
    close = max(CLOSE, 1e-15 / rtol if rtol > 0.0 else CLOSE)
    iterations = iterate(k, t, h, x, rtol, row(vector, 0), number[COUNTED], close, CONTENT, work)
    count[NFEV] += 1 + abs(iterations) * s
    if iterations < 0:
        k[STATUS] = DIVERGED if _finite(row(Z, 0)) else NONFINITE
        return
    error = row(vector, 4)
    for e in range(n):
        total = x[e]
        for i in range(s):
            total += nodes[s + i] * Z[i, e]
        x_next[e] = total
    _estimate(k, h, nodes, Z, slope, error, W, pivot, v)
    k[STATUS] = _judge(k, number, error, x, x_next, row(vector, 0))
    if k[STATUS] == REJECTED and (number[H_OLD] == 0.0 or count[GROWTH_HELD] != 0):
        for e in range(n):
            row(v, 1)[e] = x[e] + error[e]
        row(v, 0)[0] = t
        evaluate(k, RHS, row(v, 0), row(v, 1), row(v, 2), work)
        count[NFEV] += 1
        _estimate(k, h, nodes, Z, row(v, 2), error, W, pivot, v)
        k[STATUS] = _judge(k, number, error, x, x_next, row(vector, 0))
    if k[STATUS] == ACCEPTED:
        for i in range(s):
            copy(row(Z, i), row(last, i))


@jit_part
def _estimate(k, h, nodes, Z, slope, error, W, pivot, v):
    """error = W⁻¹ (slope + (1/h) M Σ e_i Z_i)."""
    s = k[STAGES]
    fill(row(v, 4), 0.0)
    for i in range(s):
        for e in range(error.size):
            v[4, e] += nodes[2 * s + i] * Z[i, e]
    copy(slope, error)
    add_mass(k, 1.0 / h, row(v, 4), error)
    solve(k, W, pivot, error, row(v, 5))


@jit_part
def _first_length(k, t, x, span, number, vector, work):
    """A hundredth of the time in which x changes by its own size; a millionth of the span if there is a mass matrix."""
    if k[MASS_NONZEROS] != 0:
        return 1e-6 * span
    slope, atol = row(vector, 4), row(vector, 0)
    row(vector, 3)[0] = t
    evaluate(k, RHS, row(vector, 3), x, slope, work)
    rtol, counted = number[RTOL], number[COUNTED]
    d0, d1 = _size(x, x, x, rtol, atol, counted), _size(slope, x, x, rtol, atol, counted)
    h = 0.01 * d0 / d1 if d0 >= 1e-5 and 1e-5 <= d1 < math.inf else 1e-6
    return min(h, span)


@kernel(
    int64(
        int64, _INTEGERS, _INTEGERS, _OUT[1], int64, _IN[1], _IN[2], _IN[1], _OUT[1], _OUT[2], _INTEGERS, _OUT[1],
        _OUT[2], _INTEGERS, int64, _OUT[1], _INTEGERS, _INTEGERS, _INTEGERS,
    ),
    _SENTENCE,
)  # fmt: skip
def advance(attempt, k, res, work, watch, knots, U, p, t, x, interval, number, vector, count, pause, g, signs,
            directions, fired):
    """Go on from x[j] at t[j], j = count[STEPS].

    Parameters
    ----------
    attempt : address of the attempts of a family
    k, res, work : arg with its header (`kernels.implicit`), res, and scratch
    watch, knots, U, p, t, x, interval, number, vector, count, pause, g, signs, directions, fired
        As for `kernels.grid.advance`.

    Returns
    -------
    How it ended, as there.
    """
    n, m = x.shape[1], U.shape[1]
    sign = 1.0 if knots[knots.size - 1] > knots[0] else -1.0
    j, i, q = count[STEPS], count[INTERVAL], number[Q]
    k[1], k[4] = address_of(number, H), address_of(p, 0)
    k[5], k[6], k[7] = address_of(number, 0), address_of(vector, 0), address_of(count, 0)
    number[H_OLD] = 0.0  # what an attempt kept of the last step is gone
    reason = UNDERFLOW
    for _ in range(pause):
        k[0], k[2], k[3] = address_of(t, j), address_of(x, j * n), address_of(U, i * m)
        if number[LENGTH] == 0.0:
            number[LENGTH] = _first_length(
                k, t[j], row(x, j), abs(knots[knots.size - 1] - t[j]), number, vector, work
            )
            count[NFEV] += 1
        if j == interval.size:
            return FULL
        if count[TRIED] >= count[LIMIT]:
            return TOO_MANY
        length, remaining = min(number[LENGTH], number[MAX_STEP]), abs(knots[i + 1] - t[j])
        last = length * 1.0001 >= remaining  # stretched, lest a crumb of round-off remain for one more step
        t_next = knots[i + 1] if last else t[j] + sign * length
        if not last and t[j] + 0.1 * sign * length == t[j]:
            return reason
        h = t_next - t[j]
        number[H] = h
        res[0] = address_of(x, (j + 1) * n)
        call(attempt, k, res, work)
        count[TRIED] += 1
        if k[STATUS] != ACCEPTED:
            shrink = 0.25
            reason = k[STATUS]
            if k[STATUS] == REJECTED:
                shrink = max(SMALLEST, SAFETY * number[E] ** (-1.0 / q))
                reason = UNDERFLOW
            number[LENGTH] = abs(h) * shrink
            count[GROWTH_HELD] = 1
            if t[j] + 0.1 * sign * number[LENGTH] == t[j]:
                return reason
            continue
        error = max(number[E], 1e-10)
        factor_ = min(LARGEST, max(SMALLEST, SAFETY * error ** (-1.0 / q)))
        if number[H_OLD] != 0.0:
            predicted = SAFETY * abs(h / number[H_OLD]) * (number[E_OLD] / (error * error)) ** (1.0 / q)
            factor_ = min(factor_, max(SMALLEST, predicted))
        if count[GROWTH_HELD] != 0:
            factor_ = min(factor_, 1.0)
            count[GROWTH_HELD] = 0
        number[H_OLD], number[E_OLD] = h, max(error, 1e-2)
        # A last step that a knot cut short says little about lengths: it may lengthen the next, not shorten it.
        if not last or abs(h) * factor_ > number[LENGTH]:
            number[LENGTH] = abs(h) * factor_
        interval[j] = i
        j += 1
        t[j] = t_next
        if last:
            i += 1
        count[STEPS], count[INTERVAL] = j, i
        if watch != 0:
            arg, out = integers(address_of(k, CALL_ARG), CALL_RES - CALL_ARG), integers(address_of(k, CALL_RES), 4)
            arg[0], arg[1] = address_of(t, j), address_of(x, j * n)
            arg[2], arg[3] = k[3], k[4]
            out[0] = address_of(g, 0)
            call(watch, arg, out, part(work, k[WORK], 1))
            if not _finite(g):
                return NONFINITE
            if crossed(g, signs, directions, fired):
                return EVENT
        if i == knots.size - 1:
            return DONE
    return PAUSED
