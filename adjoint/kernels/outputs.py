"""Output between the knots of a grid: where times lie, and the machine code of a continuous extension row by row.

dense     t, h, x, u, p, θ            → x(t + θ h)
vjp       t, h, x, u, p, θ, seed      → g_t, g_h, g_x, g_u, g_p, g_θ
"""

from __future__ import annotations

from numba import float64, int64, types, void

from adjoint.kernels.announce import kernel
from adjoint.kernels.call import address_of, call
from adjoint.kernels.jit import jit_exact

__all__ = ["add_rows", "dense_rows", "dense_vjp_rows", "place"]

_IN = [types.Array(float64, d, "C", readonly=True) for d in range(5)]
_OUT = [types.Array(float64, d, "C") for d in range(5)]
_INTEGERS = types.Array(int64, 1, "C")
_SENTENCE = "compiling the kernels of dense output (once; kept on disk)"
_ROWS = (_IN[1], _IN[1], _IN[2], _IN[2], _IN[2], _IN[1])  # t, h, x, u, p (K or 1, n_p), θ
_SCRATCH = (_INTEGERS, _INTEGERS, _OUT[1])


@kernel(void(_IN[1], _IN[1], _INTEGERS, _OUT[1]), _SENTENCE)
def place(t, times, step, theta):
    """For each time: the last knot that is not after it, and which part of the step has passed (0 at the knot).

    `times` lie within the grid, in any order; the search begins where the time before was found.
    """
    last, sign, k = t.size - 1, 1.0 if t[t.size - 1] > t[0] else -1.0, 0
    for j in range(times.size):
        time = times[j]
        while k > 0 and sign * t[k] > sign * time:
            k -= 1
        while k < last and sign * t[k + 1] <= sign * time:
            k += 1
        step[j] = k
        theta[j] = 0.0 if k == last or time == t[k] else (time - t[k]) / (t[k + 1] - t[k])


@kernel(void(_INTEGERS, _IN[2], _OUT[2]), _SENTENCE)
def add_rows(rows, values, target):
    """target[rows[j]] += values[j]."""
    for j in range(rows.size):
        for e in range(values.shape[1]):
            target[rows[j], e] += values[j, e]


@jit_exact
def _point(arg, j, t, h, x, u, p, theta):
    arg[0] = address_of(t, j)
    arg[1] = address_of(h, j)
    arg[2] = address_of(x, j * x.shape[1])
    arg[3] = address_of(u, j * u.shape[1])
    arg[4] = address_of(p, (j if p.shape[0] > 1 else 0) * p.shape[1])
    arg[5] = address_of(theta, j)


@kernel(void(int64, *_ROWS, _OUT[2], *_SCRATCH), _SENTENCE)
def dense_rows(dense, t, h, x, u, p, theta, out, arg, res, work):
    """Fill out (K, n)."""
    for j in range(t.size):
        _point(arg, j, t, h, x, u, p, theta)
        res[0] = address_of(out, j * out.shape[1])
        call(dense, arg, res, work)


@kernel(void(int64, *_ROWS, _IN[2], _OUT[1], _OUT[1], _OUT[2], _OUT[2], _OUT[2], _OUT[1], *_SCRATCH), _SENTENCE)
def dense_vjp_rows(vjp, t, h, x, u, p, theta, seed, g_t, g_h, g_x, g_u, g_p, g_theta, arg, res, work):
    """Fill g_t, g_h (K,), g_x (K, n), g_u (K, m), g_p (K, n_p), g_θ (K,)."""
    for j in range(t.size):
        _point(arg, j, t, h, x, u, p, theta)
        arg[6] = address_of(seed, j * seed.shape[1])
        res[0] = address_of(g_t, j)
        res[1] = address_of(g_h, j)
        res[2] = address_of(g_x, j * g_x.shape[1])
        res[3] = address_of(g_u, j * g_u.shape[1])
        res[4] = address_of(g_p, j * g_p.shape[1])
        res[5] = address_of(g_theta, j)
        call(vjp, arg, res, work)
