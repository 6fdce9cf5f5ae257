"""Where in a step an event happens: the step is shortened until g = 0 at its end.

    G(h) = g(t + h, Φ(t, h, x, u, p), u, p) = 0,      0 < h <= H

so that the state at the event is the exact result of a step, and not of its interpolation. The root is bracketed: G has
`sign` just after 0 and the other sign at H. Chandrupatla's method: inverse quadratic interpolation where it is safe,
else bisection (T. R. Chandrupatla, Advances in Engineering Software 28 (1997) 145-149).
"""

from __future__ import annotations

from numba import float64, int64, types

from adjoint.kernels.announce import kernel
from adjoint.kernels.call import address_of, call
from adjoint.kernels.jit import jit_exact

__all__ = ["shorten"]

_IN = [types.Array(float64, d, "C", readonly=True) for d in range(5)]
_OUT = [types.Array(float64, d, "C") for d in range(5)]
_INTEGERS = types.Array(int64, 1, "C")
HALVINGS, ITERATIONS, EPS = 60, 200, 2.0**-52


@jit_exact
def _value(step, watch, j, t, h, x, u, p, th, x_next, g, arg, res, work):
    """G_j(h); leaves x_next behind."""
    th[0], th[1], th[2] = t, h, t + h
    arg[0] = address_of(th, 0)
    arg[1] = address_of(th, 1)
    arg[2] = address_of(x, 0)
    arg[3] = address_of(u, 0)
    arg[4] = address_of(p, 0)
    res[0] = address_of(x_next, 0)
    call(step, arg, res, work)
    arg[0] = address_of(th, 2)
    arg[1] = address_of(x_next, 0)
    arg[2] = address_of(u, 0)
    arg[3] = address_of(p, 0)
    res[0] = address_of(g, 0)
    call(watch, arg, res, work)
    return g[j]


@kernel(
    float64(
        int64, int64, int64, float64, float64, float64, _IN[1], _IN[1], _IN[1], _OUT[1], _OUT[1], _OUT[1], _INTEGERS,
        _INTEGERS, _OUT[1],
    ),
    "compiling the location of events (once; kept on disk)",
)  # fmt: skip
def shorten(step, watch, j, sign, t, H, x, u, p, th, x_next, g, arg, res, work):
    """The length h of the step at whose end g_j = 0, with (t + h) - t = h; 0 if only a crumb of rounding would do.

    Scratch: th (3,), x_next (n,), g (events,), and that of the machine code.
    """
    b, f_b = H, _value(step, watch, j, t, H, x, u, p, th, x_next, g, arg, res, work)
    if f_b == 0.0:
        return H
    a, f_a = 0.0, 0.0
    for i in range(1, HALVINGS):  # g is zero at 0 if the event has just happened: look for where it has its sign again
        a = 0.0 if i == 1 else H * 0.5 ** (i - 1)
        if t + a == t and a != 0.0:
            return 0.0
        f_a = _value(step, watch, j, t, a, x, u, p, th, x_next, g, arg, res, work)
        if f_a * sign > 0.0:
            break
        if a != 0.0:
            b, f_b = a, f_a
    if not f_a * sign > 0.0:
        return 0.0
    c, f_c = a, f_a  # the point before; a and b bracket the root
    s = 0.5
    for _ in range(ITERATIONS):
        h = a + s * (b - a)
        f = _value(step, watch, j, t, h, x, u, p, th, x_next, g, arg, res, work)
        if f * f_a > 0.0:
            c, f_c = a, f_a
        else:
            c, f_c = b, f_b
            b, f_b = a, f_a
        a, f_a = h, f
        best = a if abs(f_a) < abs(f_b) else b
        width = abs(b - a)
        tolerance = 2.0 * EPS * (abs(t + best) + abs(best))
        if f == 0.0 or width <= tolerance:
            return (t + best) - t
        xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
        if phi * phi < xi and (1.0 - phi) * (1.0 - phi) < 1.0 - xi:
            s = f_a / (f_b - f_a) * f_c / (f_b - f_c) + (c - a) / (b - a) * f_a / (f_c - f_a) * f_b / (f_c - f_b)
        else:
            s = 0.5
        least = 0.5 * tolerance / width
        s = min(1.0 - least, max(least, s))
    return (t + a) - t
