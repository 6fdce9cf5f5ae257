"""Many adaptive solves on the lanes of a vector register: each lane has its own member, time, step and error control.

A lane whose member has come to its end takes the next one. The arithmetic of a step and of its control is that of
`kernels.grid`; there the notation is explained. Machine code on W lanes: rhs and embedded.

Blocks of lanes, in `block` (rows, W) one after the other:  t, h, rtol, |h| to try, log E_old², squares (2), t⁺, then n
rows each of  x, atol, slope, x⁺, slope⁺, f  and m and n_p rows of u and p.
"""

from __future__ import annotations

import math

from numba import float64, int64, types

from adjoint.kernels.announce import kernel
from adjoint.kernels.call import address_of, call
from adjoint.kernels.grid import (
    DONE,
    FULL,
    LEAST_LOG,
    NEGLIGIBLE,
    NONFINITE,
    PAUSED,
    SMALLEST,
    STRETCH,
    TOO_MANY,
    UNDERFLOW,
    first_guess,
    growth,
    second_guess,
    shrinkage,
    squared_error,
)  # fmt: skip
from adjoint.kernels.jit import jit_exact

__all__ = ["FLAGS", "FRESH", "HEAD", "HELD", "INTERVAL", "MEMBER", "STEPS", "TRIED", "pack", "run"]

HEAD = 8  # rows of `block` before x
_T, _H, _RTOL, _LENGTH, _LOG, _SQUARE, _GUARD, _T_NEXT = range(8)
# Rows of `flag` (FLAGS, W): the member in the lane (-1: none), its steps so far, attempts, interval; whether its slope
# is to be computed; whether its last attempt failed; whether the attempt under way ends at a knot.
MEMBER, STEPS, TRIED, INTERVAL, FRESH, HELD, LAST = range(7)
FLAGS = 7

_IN = [types.Array(float64, d, "C", readonly=True) for d in range(5)]
_OUT = [types.Array(float64, d, "C") for d in range(5)]
_INTEGERS = types.Array(int64, 1, "C")
_SENTENCE = "compiling the kernels of ensembles (once; kept on disk)"


@jit_exact
def _lane_size(block, row, n, w, rtol, counted):
    """‖v‖ of lane w, v in n rows of the block from `row` on."""
    total = 0.0
    for e in range(n):
        atol = block[HEAD + n + e, w]
        if atol < math.inf:
            ratio = block[row + e, w] / (atol + rtol * abs(block[HEAD + e, w]))
            total += ratio * ratio
    return math.sqrt(total / counted)


@jit_exact
def _slopes(rhs, block, n, m, W, at_x, out, arg, res, work):
    """f at the points in rows `at_x`, of all lanes."""
    arg[0] = address_of(block, _T * W)
    arg[1] = address_of(block, at_x * W)
    arg[2] = address_of(block, (HEAD + 6 * n) * W)
    arg[3] = address_of(block, (HEAD + 6 * n + m) * W)
    res[0] = address_of(block, out * W)
    call(rhs, arg, res, work)


@jit_exact
def _new_control(block, flag, w, n, U):
    b = flag[MEMBER, w] if U.shape[0] > 1 else 0
    for e in range(U.shape[2]):
        block[HEAD + 6 * n + e, w] = U[b, flag[INTERVAL, w], e]


@jit_exact
def _leave(w, status, flag, block, n, ends, tries, states, lengths, begins, t_kept, x_kept, t_lane, x_lane, at):
    """Note how the member in lane w ended, and keep its grid; returns where the next grid begins."""
    b, k = flag[MEMBER, w], flag[STEPS, w]
    states[b], lengths[b], begins[b], tries[b] = status, k, at, flag[TRIED, w]
    for e in range(n):
        ends[b, e] = block[HEAD + e, w]
    flag[MEMBER, w] = -1
    if t_lane.shape[1] > 1:
        for i in range(k + 1):
            t_kept[at + i] = t_lane[w, i]
            for e in range(n):
                x_kept[at + i, e] = x_lane[w, i, e]
        return at + k + 1
    return at


@kernel(
    int64(
        int64, int64, _IN[1], _IN[2], _IN[3], _IN[2], _IN[1], _IN[1], _OUT[2], types.Array(int64, 2, "C"), _INTEGERS,
        int64, _OUT[2], _INTEGERS, _INTEGERS, _INTEGERS, _INTEGERS, _OUT[1], _OUT[2], _OUT[2], _OUT[3], _INTEGERS,
        _INTEGERS, _OUT[1],
    ),
    _SENTENCE,
)  # fmt: skip
def run(embedded, rhs, knots, x0, U, p, atol, option, block, flag, count, pause, ends, tries, states, lengths, begins,
        t_kept, x_kept, t_lane, x_lane, arg, res, work):
    """Go on with all members; DONE when none is left, FULL when a grid needs more room, PAUSED after `pause` rounds.

    Parameters
    ----------
    knots, x0, U, p : (M+1,), (B, n), (1 or B, M, m), (1 or B, n_p)
    atol : (n,)
    option : rtol, longest step, first step (0: to be found), most attempts, α, β, q, states that are controlled
    block, flag : see the header; lanes without a member have flag[MEMBER] = -1
    count : the next member; where the next grid is to be kept
    ends, tries, states, lengths, begins : (B, n), (B,) … out: last state, attempts, status, steps, where the grid is
    t_kept, x_kept : the grids, one after the other
    t_lane, x_lane : (W, room), (W, room, n) the grids under way; room = 1: grids are not wanted
    """
    (B, n), m, n_p, W = x0.shape, U.shape[2], p.shape[1], flag.shape[1]
    rtol, longest, limit, alpha, beta, q, counted = (
        option[0], option[1], option[3], option[4], option[5], option[6], option[7]
    )  # fmt: skip
    M = knots.size - 1
    sign, span = (1.0 if knots[M] > knots[0] else -1.0), abs(knots[M] - knots[0])
    X, ATOL, SLOPE, NEXT, SLOPE_NEXT, F = HEAD, HEAD + n, HEAD + 2 * n, HEAD + 3 * n, HEAD + 4 * n, HEAD + 5 * n
    room = t_lane.shape[1]
    keep = room > 1
    for _ in range(pause):
        if keep:
            for w in range(W):
                if flag[MEMBER, w] >= 0 and flag[STEPS, w] + 2 > room:
                    return FULL
            if count[1] + W * (room + 1) > t_kept.size:
                return FULL
        busy, fresh = 0, 0
        for w in range(W):
            if flag[MEMBER, w] < 0 and count[0] < B:  # the next member takes the lane
                b = count[0]
                count[0] += 1
                flag[MEMBER, w], flag[STEPS, w], flag[TRIED, w], flag[INTERVAL, w] = b, 0, 0, 0
                flag[FRESH, w], flag[HELD, w] = 1, 0
                block[_T, w], block[_RTOL, w], block[_LENGTH, w], block[_LOG, w] = knots[0], rtol, option[2], LEAST_LOG
                for e in range(n):
                    block[X + e, w], block[ATOL + e, w] = x0[b, e], atol[e]
                for e in range(n_p):
                    block[HEAD + 6 * n + m + e, w] = p[b if p.shape[0] > 1 else 0, e]
                _new_control(block, flag, w, n, U)
                if keep:
                    t_lane[w, 0] = knots[0]
                    for e in range(n):
                        x_lane[w, 0, e] = x0[b, e]
            if flag[MEMBER, w] >= 0:
                busy += 1
                fresh += flag[FRESH, w]
        if busy == 0:
            return DONE
        if fresh > 0:
            _slopes(rhs, block, n, m, W, X, F, arg, res, work)
            first = 0
            for w in range(W):
                if flag[MEMBER, w] >= 0 and flag[FRESH, w] != 0:
                    for e in range(n):
                        block[SLOPE + e, w] = block[F + e, w]
                    if block[_LENGTH, w] == 0.0:
                        first += 1
                        d0 = _lane_size(block, X, n, w, rtol, counted)
                        d1 = _lane_size(block, SLOPE, n, w, rtol, counted)
                        block[_H, w] = first_guess(d0, d1, span)
                        for e in range(n):
                            block[NEXT + e, w] = block[X + e, w] + sign * block[_H, w] * block[SLOPE + e, w]
                        block[_T, w] += sign * block[_H, w]
            if first > 0:
                _slopes(rhs, block, n, m, W, NEXT, F, arg, res, work)
                for w in range(W):
                    if flag[MEMBER, w] >= 0 and flag[FRESH, w] != 0 and block[_LENGTH, w] == 0.0:
                        h0 = block[_H, w]
                        block[_T, w] = knots[flag[INTERVAL, w]]
                        for e in range(n):
                            block[F + e, w] -= block[SLOPE + e, w]
                        d1 = _lane_size(block, SLOPE, n, w, rtol, counted)
                        block[_LENGTH, w] = second_guess(
                            h0, d1, _lane_size(block, F, n, w, rtol, counted) / h0, q, span
                        )
            for w in range(W):
                flag[FRESH, w] = 0
        for w in range(W):
            if flag[MEMBER, w] < 0:
                block[_H, w] = 0.0
                continue
            t, status = block[_T, w], -1
            length, remaining = min(block[_LENGTH, w], longest), abs(knots[flag[INTERVAL, w] + 1] - t)
            flag[LAST, w] = 1 if length * STRETCH >= remaining else 0
            if flag[LAST, w] != 0:
                t_next = knots[flag[INTERVAL, w] + 1]
            else:
                t_next = t + sign * length
                if t + 0.1 * sign * length == t:
                    status = UNDERFLOW
            if flag[TRIED, w] >= limit:
                status = TOO_MANY
            block[_H, w], block[_T_NEXT, w] = t_next - t, t_next
            if status >= 0:
                count[1] = _leave(w, status, flag, block, n, ends, tries, states, lengths, begins, t_kept, x_kept,
                                  t_lane, x_lane, count[1])
        arg[0] = address_of(block, _T * W)
        arg[1] = address_of(block, _H * W)
        arg[2] = address_of(block, X * W)
        arg[3] = address_of(block, (HEAD + 6 * n) * W)
        arg[4] = address_of(block, (HEAD + 6 * n + m) * W)
        arg[5] = address_of(block, SLOPE * W)
        arg[6] = address_of(block, _RTOL * W)
        arg[7] = address_of(block, ATOL * W)
        res[0] = address_of(block, NEXT * W)
        res[1] = address_of(block, SLOPE_NEXT * W)
        res[2] = address_of(block, _SQUARE * W)
        call(embedded, arg, res, work)
        for w in range(W):
            if flag[MEMBER, w] < 0:
                continue
            flag[TRIED, w] += 1
            t, h = block[_T, w], block[_H, w]
            square = squared_error(block[_SQUARE, w], block[_GUARD, w], counted)
            bad = 0 if square < math.inf else 1
            for e in range(n):
                bad += 0 if abs(block[NEXT + e, w]) < math.inf else 1
                bad += 0 if abs(block[SLOPE_NEXT + e, w]) < math.inf else 1
            if bad > 0:
                block[_LENGTH, w] = SMALLEST * abs(h)
                flag[HELD, w] = 1
                if t + 0.1 * sign * block[_LENGTH, w] == t:
                    count[1] = _leave(w, NONFINITE, flag, block, n, ends, tries, states, lengths, begins, t_kept,
                                      x_kept, t_lane, x_lane, count[1])
                continue
            if square > 1.0:
                block[_LENGTH, w] = abs(h) * shrinkage(square, q)
                flag[HELD, w] = 1
                continue
            log_E = math.log(max(square, NEGLIGIBLE))
            length = abs(h) * growth(log_E, block[_LOG, w], alpha, beta, flag[HELD, w])
            flag[HELD, w] = 0
            block[_LOG, w] = max(log_E, LEAST_LOG)
            last = flag[LAST, w] != 0
            if not last or length > block[_LENGTH, w]:
                block[_LENGTH, w] = length
            t_next = block[_T_NEXT, w]
            flag[FRESH, w] = 1 if last or t + h != t_next else 0
            block[_T, w] = t_next
            flag[STEPS, w] += 1
            k = flag[STEPS, w]
            for e in range(n):
                block[X + e, w] = block[NEXT + e, w]
                block[SLOPE + e, w] = block[SLOPE_NEXT + e, w]
            if keep:
                t_lane[w, k] = t_next
                for e in range(n):
                    x_lane[w, k, e] = block[NEXT + e, w]
            if last:
                flag[INTERVAL, w] += 1
                if flag[INTERVAL, w] == M:
                    count[1] = _leave(w, DONE, flag, block, n, ends, tries, states, lengths, begins, t_kept, x_kept,
                                      t_lane, x_lane, count[1])
                else:
                    _new_control(block, flag, w, n, U)
    return PAUSED


@kernel(
    types.void(_IN[1], _IN[2], _INTEGERS, _INTEGERS, _INTEGERS, _OUT[2], _OUT[2], _OUT[3]), _SENTENCE
)
def pack(t_kept, x_kept, begins, lengths, members, t, h, x):
    """The grids of W members side by side: t, h (N, W), x (N+1, n, W). A shorter one waits at its start with h = 0."""
    N, W = t.shape
    n = x.shape[1]
    for w in range(W):
        b = members[w]
        at, idle = begins[b], N - lengths[b]
        for k in range(N + 1):
            i = at + max(0, k - idle)
            for e in range(n):
                x[k, e, w] = x_kept[i, e]
            if k < N:
                t[k, w] = t_kept[i]
                h[k, w] = t_kept[i + 1] - t_kept[i] if k >= idle else 0.0
