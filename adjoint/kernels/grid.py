"""Finding a grid: adaptive steps of an explicit embedded pair, from knot to knot.

One attempt of length h, its error in units of the tolerance, and the next length:

    x⁺, e, g   the step and the errors of its partners, by machine code of `symbolic.steps.embedded_step`
    E² = ‖e‖²                              E² = ‖e‖⁴ / (‖e‖² + ‖g‖²/100)       with a guard g (DOP853)
    accept if E <= 1
    h ← h min(10, max(1/5, 0.9 E^(-α) E_old^β))      α = 1/q - 3β/4, q = 1 + order of the estimate

‖v‖² is the mean of (v_i / (atol_i + rtol max(|x_i|, |x⁺_i|)))² over the states that are counted; a state with atol = ∞
is not. After a rejection β = 0, and the next accepted step does not grow. Hairer, Nørsett, Wanner, *Solving ODEs I*,
II.4 (first step, error control), II.10 (the guard); Hairer, Wanner, *… II*, IV.2 (β = 0.04).

The knots are where f may jump, because a piecewise constant control does: a step ends at each. Elsewhere a step is
rounded so that it can be repeated from the grid alone: first t⁺ = t + h, then h = t⁺ - t. Its last slope serves as the
next step's first only if t + h = t⁺ still holds, so that the steps are to the last bit those of `kernels.sweep`.

    rhs        t, x, u, p                          → ẋ
    embedded   t, h, x, u, p, ẋ, rtol, atol        → x⁺, ẋ⁺, (e/scale)², …
    watch      t, x, u, p                          → g, whose zeros are events
"""

from __future__ import annotations

import math

from numba import float64, int64, types

from adjoint.kernels.announce import kernel
from adjoint.kernels.call import address_of, call
from adjoint.kernels.jit import jit_exact

__all__ = [
    "ALPHA",
    "BETA",
    "COUNTED",
    "COUNTS",
    "DONE",
    "EVENT",
    "FRESH",
    "FULL",
    "GROWTH_HELD",
    "INTERRUPTED",
    "INTERVAL",
    "LEAST_LOG",
    "LENGTH",
    "LIMIT",
    "LOG_E",
    "MAX_STEP",
    "NEGLIGIBLE",
    "NFEV",
    "NONFINITE",
    "NUMBERS",
    "PAUSED",
    "RTOL",
    "SLOT",
    "SMALLEST",
    "STEPS",
    "STRETCH",
    "TOO_MANY",
    "TRIED",
    "UNDERFLOW",
    "Q",
    "advance",
    "crossed",
    "first_guess",
    "growth",
    "second_guess",
    "shrinkage",
    "squared_error",
]  # fmt: skip

# How a call ended. FULL and PAUSED are no ends: make room, let the user interrupt, call again.
DONE, EVENT, TOO_MANY, UNDERFLOW, NONFINITE, INTERRUPTED, FULL, PAUSED = range(8)

# Slots of `count`: steps on the grid; the current interval between knots; calls of f; steps tried, and the most that
# may be; whether the slope at x_k is to be computed; whether the last attempt failed; which slope is the current one.
STEPS, INTERVAL, NFEV, TRIED, LIMIT, FRESH, GROWTH_HELD, SLOT = range(8)
COUNTS = 8
# Slots of `number`: the next length to try (0: to be found); log E² of the last accepted step; options.
LENGTH, LOG_E, RTOL, MAX_STEP, ALPHA, BETA, Q, COUNTED, _T, _H, _SQUARE, _GUARD = range(12)
NUMBERS = 12

SMALLEST, LARGEST, SAFETY = 0.2, 10.0, 0.9
STRETCH = 1.0001
NEGLIGIBLE, LEAST_LOG = 1e-30, -18.420680743952367  # of E²; of log E_old², so that E_old >= 1e-4

_IN = [types.Array(float64, d, "C", readonly=True) for d in range(5)]
_OUT = [types.Array(float64, d, "C") for d in range(5)]
_INTEGERS = types.Array(int64, 1, "C")


@jit_exact
def _size(v, x, rtol, atol, counted):
    """‖v‖ in units of the tolerance at x."""
    total = 0.0
    for e in range(x.size):
        if atol[e] < math.inf:
            ratio = v[e] / (atol[e] + rtol * abs(x[e]))
            total += ratio * ratio
    return math.sqrt(total / counted)


@jit_exact
def _all_finite(v):
    bad = 0
    for e in range(v.size):
        bad += 0 if abs(v[e]) < math.inf else 1
    return bad == 0


@jit_exact
def crossed(g, signs, directions, fired):
    """Whether an event happened between two knots; notes which, and the signs of g.

    `signs` holds the signs at the earlier knot (0: none yet). Event j happens when g_j changes its sign, upwards if
    directions[j] = 1, downwards if it is -1, either way if it is 0. g_j = 0 at the later knot is a change.
    """
    any_fired = False
    for j in range(g.size):
        sign = 1 if g[j] > 0.0 else -1 if g[j] < 0.0 else -signs[j]
        fired[j] = 0
        if signs[j] != 0 and sign != signs[j] and directions[j] * sign >= 0:
            fired[j] = 1
            any_fired = True
        if sign != 0:
            signs[j] = sign
    return any_fired


@jit_exact
def squared_error(square, guard, counted):
    """E² from the sums of squares of the errors; guard = 0: there is none."""
    if guard > 0.0 and square > 0.0:
        return square * (square / (square + 0.01 * guard)) / counted
    return square / counted


@jit_exact
def first_guess(d0, d1, span):
    """h_0: Euler's step of a hundredth of x's size."""
    return min(0.01 * d0 / d1 if d0 >= 1e-5 and 1e-5 <= d1 < math.inf else 1e-6, span)


@jit_exact
def second_guess(h0, d1, d2, q, span):
    """h from h_0 and what the change of slope, d_2 = ‖f_1 - f_0‖/h_0, allows."""
    steepest = max(d1, d2)
    if not steepest < math.inf:
        h1 = h0
    elif steepest <= 1e-15:
        h1 = max(1e-6, 1e-3 * h0)
    else:
        h1 = (0.01 / steepest) ** (1.0 / q)
    return min(100.0 * h0, h1, span)


@jit_exact
def growth(log_E, log_E_old, alpha, beta, held):
    """The factor of the next length after an accepted step."""
    factor = min(LARGEST, max(SMALLEST, SAFETY * math.exp(0.5 * (beta * log_E_old - alpha * log_E))))
    return min(factor, 1.0) if held != 0 else factor


@jit_exact
def shrinkage(square, q):
    """The factor of the next length after a rejected step."""
    return max(SMALLEST, SAFETY * square ** (-0.5 / q))


@jit_exact
def _first_length(rhs, t0, x0, slope, sign, span, number, vector, arg, res, work):
    """Hairer, Nørsett, Wanner II.4: Euler's step of a hundredth of x's size, then what the change of slope allows."""
    rtol, q, counted = number[RTOL], number[Q], number[COUNTED]
    atol, x1, f1 = vector[0], vector[3], vector[4]
    d0, d1 = _size(x0, x0, rtol, atol, counted), _size(slope, x0, rtol, atol, counted)
    h0 = first_guess(d0, d1, span)
    for e in range(x0.size):
        x1[e] = x0[e] + sign * h0 * slope[e]
    number[_T] = t0 + sign * h0
    arg[0] = address_of(number, _T)
    arg[1] = address_of(x1, 0)
    res[0] = address_of(f1, 0)
    call(rhs, arg, res, work)
    for e in range(x0.size):
        f1[e] -= slope[e]
    return second_guess(h0, d1, _size(f1, x0, rtol, atol, counted) / h0, q, span)


@kernel(
    int64(
        int64, int64, int64, _IN[1], _IN[2], _IN[1], _OUT[1], _OUT[2], _INTEGERS, _OUT[1], _OUT[2], _INTEGERS, int64,
        _OUT[1], _INTEGERS, _INTEGERS, _INTEGERS, _INTEGERS, _INTEGERS, _OUT[1],
    ),
    "compiling the adaptive integrator (once; kept on disk)",
)  # fmt: skip
def advance(embedded, rhs, watch, knots, U, p, t, x, interval, number, vector, count, pause, g, signs, directions,
            fired, arg, res, work):
    """Go on from x[k] at t[k], k = count[STEPS], in interval count[INTERVAL].

    Parameters
    ----------
    embedded, rhs, watch : addresses; watch = 0: no events
    knots, U : (M+1,) monotone, (M, m) the control between them
    p : (n_p,)
    t, x, interval : (K+1,), (K+1, n), (K,) the grid, filled up to k; interval of each step
    number, count : see the slots above
    vector : (5, n) atol in row 0; two slopes, and scratch
    pause : attempts after which to return in any case
    g, signs, directions, fired : (events,) scratch, and see `crossed`
    arg, res, work : scratch

    Returns
    -------
    How it ended; DONE means that t[k] is the last knot. EVENT: after the last accepted step.
    """
    n, m = x.shape[1], U.shape[1]
    alpha, beta, counted = number[ALPHA], number[BETA], number[COUNTED]
    sign = 1.0 if knots[knots.size - 1] > knots[0] else -1.0
    k, i, slot = count[STEPS], count[INTERVAL], count[SLOT]
    status = PAUSED
    for _ in range(pause):
        arg[2] = address_of(U, i * m)
        arg[3] = address_of(p, 0)
        if count[FRESH] != 0:
            arg[0] = address_of(t, k)
            arg[1] = address_of(x, k * n)
            res[0] = address_of(vector, slot * n)
            call(rhs, arg, res, work)
            count[NFEV] += 1
            count[FRESH] = 0
            if not _all_finite(vector[slot]):
                status = NONFINITE
                break
        remaining = abs(knots[i + 1] - t[k])
        if number[LENGTH] == 0.0:
            number[LENGTH] = _first_length(
                rhs, t[k], x[k], vector[slot], sign, abs(knots[knots.size - 1] - t[k]), number, vector, arg, res, work
            )
            count[NFEV] += 1
        if k == interval.size:
            status = FULL
            break
        if count[TRIED] >= count[LIMIT]:
            status = TOO_MANY
            break
        length = min(number[LENGTH], number[MAX_STEP])
        last = length * STRETCH >= remaining  # stretched, lest a crumb of round-off remain for one more step
        if last:
            t_next = knots[i + 1]
        else:
            t_next = t[k] + sign * length
            if t[k] + 0.1 * sign * length == t[k]:
                status = UNDERFLOW
                break
        h = t_next - t[k]
        number[_H] = h
        arg[0] = address_of(t, k)
        arg[1] = address_of(number, _H)
        arg[2] = address_of(x, k * n)
        arg[3] = address_of(U, i * m)
        arg[4] = address_of(p, 0)
        arg[5] = address_of(vector, slot * n)
        arg[6] = address_of(number, RTOL)
        arg[7] = address_of(vector, 0)
        res[0] = address_of(x, (k + 1) * n)
        res[1] = address_of(vector, (3 - slot) * n)
        res[2] = address_of(number, _SQUARE)
        number[_GUARD] = 0.0
        call(embedded, arg, res, work)
        count[TRIED] += 1
        square = squared_error(number[_SQUARE], number[_GUARD], counted)
        if not (square < math.inf and _all_finite(x[k + 1]) and _all_finite(vector[3 - slot])):
            # A stage left the domain of f: come closer, until the step vanishes.
            number[LENGTH] = SMALLEST * abs(h)
            count[GROWTH_HELD] = 1
            if t[k] + 0.1 * sign * number[LENGTH] == t[k]:
                status = NONFINITE
                break
            continue
        if square > 1.0:
            number[LENGTH] = abs(h) * shrinkage(square, number[Q])
            count[GROWTH_HELD] = 1
            continue
        log_E = math.log(max(square, NEGLIGIBLE))
        factor = growth(log_E, number[LOG_E], alpha, beta, count[GROWTH_HELD])
        count[GROWTH_HELD] = 0
        number[LOG_E] = max(log_E, LEAST_LOG)
        # A last step that a knot cut short says little about lengths: it may lengthen the next, not shorten it.
        if not last or abs(h) * factor > number[LENGTH]:
            number[LENGTH] = abs(h) * factor
        interval[k] = i
        count[FRESH] = 0 if t[k] + h == t_next else 1
        k += 1
        t[k] = t_next
        slot = 3 - slot
        if last:
            i += 1
            count[FRESH] = 1
        count[STEPS], count[SLOT], count[INTERVAL] = k, slot, i
        if watch != 0:
            arg[0] = address_of(t, k)
            arg[1] = address_of(x, k * n)
            arg[2] = address_of(U, interval[k - 1] * m)
            arg[3] = address_of(p, 0)
            res[0] = address_of(g, 0)
            call(watch, arg, res, work)
            if not _all_finite(g):
                status = NONFINITE
                break
            if crossed(g, signs, directions, fired):
                status = EVENT
                break
        if i == knots.size - 1:
            status = DONE
            break
    return status
