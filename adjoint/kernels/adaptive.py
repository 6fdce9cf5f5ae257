"""An adaptive explicit integrator with an embedded pair, over a list of intervals with a polynomial control in each.

On the interval [t_k, t_{k+1}] the control is the polynomial through the values U[k, j] at the nodes t_k + c_j (t_{k+1}
- t_k):

    u(t) = Σ_j ℓ_j(τ) U[k, j],      τ = (t - t_k) / (t_{k+1} - t_k),      ℓ_j(τ) = Π_{i≠j} (τ - c_i) / (c_j - c_i)

One step of length h, its error estimate, and the next length:

    K_i   = f(t + a_i h, x + h Σ_{j<i} A_ij K_j, u(t + a_i h), p)
    x⁺    = x + h Σ b_i K_i
    e, g  = h Σ (b_i - b̂_i) K_i,  h Σ (b_i - b̌_i) K_i         the estimate, and the cruder one that guards it
    E     = ‖e‖² / sqrt(‖e‖² + ‖g‖² / 100),   ‖v‖² = mean (v_i / (atol_i + rtol max(|x_i|, |x⁺_i|)))²
    accept if E <= 1;   h ← h min(6, max(1/5, 0.9 E^(-1/q)))

as in Hairer, Nørsett, Wanner, *Solving ODEs I*, II.10 (DOP853; q = 8). A pair without a guard (b̌ = b) has E = ‖e‖ and
q = 1 + the lower order of the pair (Dormand–Prince 5(4): q = 5). Each knot is a possible jump of the control, so a step
never reaches across one; the length of the last step is carried over to the next interval as its first trial.

Machine code of the right-hand side: t, x, u, p → ẋ, one lane.
"""

from __future__ import annotations

import math

from numba import float64, int64, types

from adjoint.kernels.announce import kernel
from adjoint.kernels.call import address_of, call
from adjoint.kernels.jit import jit_exact

__all__ = ["DONE", "MAX_STEPS", "NONFINITE", "UNDERFLOW", "integrate"]

# Status of a run.
DONE, MAX_STEPS, UNDERFLOW, NONFINITE = 0, 1, 2, 3

_IN = [types.Array(float64, d, "C", readonly=True) for d in range(5)]
_OUT = [types.Array(float64, d, "C") for d in range(5)]
_ADDRESSES = types.Array(int64, 1, "C")


@jit_exact
def _control(U, k, c, tau, u):
    """u = Σ_j ℓ_j(τ) U[k, j]."""
    for e in range(u.size):
        u[e] = 0.0
    for j in range(c.size):
        weight = 1.0
        for i in range(c.size):
            if i != j:
                weight *= (tau - c[i]) / (c[j] - c[i])
        for e in range(u.size):
            u[e] += weight * U[k, j, e]


@jit_exact
def _scaled(v, x, x_new, rtol, atol):
    """‖v‖², the mean of squares in units of the tolerance."""
    total = 0.0
    for e in range(x.size):
        ratio = v[e] / (atol[e] + rtol * max(abs(x[e]), abs(x_new[e])))
        total += ratio * ratio
    return total / x.size


_PAIR = (_IN[2], *[_IN[1]] * 4, float64)  # A, a, b, e_weights, g_weights, exponent
_OPTIONS = (float64, _IN[1], int64, types.boolean)  # rtol, atol, max_steps, restart
_SCRATCH = (*[_OUT[2]] * 2, _OUT[1], _ADDRESSES, _ADDRESSES, _OUT[1])  # K, v, tu, arg, res, work


@kernel(
    types.UniTuple(int64, 3)(int64, _IN[1], _IN[3], _IN[1], _IN[1], *_PAIR, *_OPTIONS, _IN[2], _OUT[2], *_SCRATCH),
    "compiling the adaptive integrator (once; kept on disk)",
)
def integrate(rhs, t, U, c, p, A, a, b, e_weights, g_weights, exponent, rtol, atol, max_steps, restart, start, x,
              K, v, tu, arg, res, work):
    """Integrate over all intervals.

    Parameters
    ----------
    rhs : address of the right-hand side
    t : (N+1,) knots, increasing or decreasing
    U, c : (N, s, m) control values, and (s,) their distinct nodes in [0, 1]; s = 1 is a constant control
    p : (n_p,)
    A, a, b, e_weights, g_weights, exponent : the pair: A, nodes, b, b - b̂, b - b̌ (zeros if there is no guard), 1/q
    rtol, atol : float, (n,)
    max_steps : steps that may be tried in one interval
    restart : False: one continuous run from start[0]; True: interval k starts from start[k]
    start : (1, n) or (N, n)
    x : (N+1, n) out; row k+1 is the state at the end of interval k, row 0 is start[0]
    K, v, tu, arg, res, work : scratch (stages, n), (5, n), (1 + m,), (4,), (1,), and that of the machine code

    Returns
    -------
    status, interval, tried : how the run ended, the interval in which it stopped, the number of steps tried in all
    """
    N, n, stages = t.size - 1, x.shape[1], b.size
    u = tu[1:]
    y, trial, new, e_vector, g_vector = v[0], v[1], v[2], v[3], v[4]
    arg[0] = address_of(tu, 0)
    arg[2] = address_of(tu, 1)
    arg[3] = address_of(p, 0)
    x[0] = start[0]
    carried = 0.0  # the length that the error control chose last; 0 while nothing is known
    tried = 0
    for k in range(N):
        length = t[k + 1] - t[k]
        y[:] = start[k] if restart else x[k]
        done = 0.0  # how much of the interval lies behind, with the sign of `length`
        h = carried
        count = 0
        fresh = True  # y is new, and K_0 = f(y) is to be computed
        while True:
            if fresh:
                tu[0] = t[k] + done
                _control(U, k, c, done / length, u)
                arg[1] = address_of(v, 0)
                res[0] = address_of(K, 0)
                call(rhs, arg, res, work)
                fresh = False
            if h == 0.0:  # the first guess: an Euler step of this length moves x by a hundredth of its size
                size, slope = _scaled(y, y, y, rtol, atol), _scaled(K[0], y, y, rtol, atol)
                h = 0.01 * math.sqrt(size / slope) if size > 1e-10 and slope > 1e-10 else 1e-6 * abs(length)
                h = math.copysign(h, length)
            if count >= max_steps:
                return MAX_STEPS, k, tried
            last = abs(h) * 1.0001 >= abs(
                length - done
            )  # stretched, lest a crumb of round-off remain for one more step
            step = length - done if last else h
            if not last and t[k] + done + 0.1 * step == t[k] + done:
                return UNDERFLOW, k, tried
            count += 1
            tried += 1
            for i in range(1, stages):
                for e in range(n):
                    total = 0.0
                    for j in range(i):
                        total += A[i, j] * K[j, e]
                    trial[e] = y[e] + step * total
                tu[0] = t[k] + done + a[i] * step
                _control(U, k, c, (done + a[i] * step) / length, u)
                arg[1] = address_of(v, n)
                res[0] = address_of(K, i * n)
                call(rhs, arg, res, work)
            for e in range(n):
                total, e_total, g_total = 0.0, 0.0, 0.0
                for i in range(stages):
                    total += b[i] * K[i, e]
                    e_total += e_weights[i] * K[i, e]
                    g_total += g_weights[i] * K[i, e]
                new[e] = y[e] + step * total
                e_vector[e] = step * e_total
                g_vector[e] = step * g_total
            main, guard = _scaled(e_vector, y, new, rtol, atol), _scaled(g_vector, y, new, rtol, atol)
            if not math.isfinite(main + guard):  # a stage left the domain of f: come closer, until the step vanishes
                h = 0.2 * step
                if t[k] + done + 0.1 * h == t[k] + done:
                    return NONFINITE, k, tried
                continue
            E = main / math.sqrt(main + 0.01 * guard) if main > 0.0 else 0.0
            factor = min(6.0, max(0.2, 0.9 * E ** (-exponent))) if E > 0.0 else 6.0
            if E > 1.0:
                h = step * factor
                continue
            # A last step that the knot cut short says little about lengths: it may lengthen h, not shorten it.
            if not last or abs(step * factor) > abs(h):
                h = step * factor
            y[:] = new
            done += step
            fresh = True
            if last:
                break
        carried = h
        x[k + 1] = y
    return DONE, N, tried
