"""Independent implicit steps, one per row: their records, and the derivatives through the records.

    records   R(t, h, x, u, p)                                the step leaves them in arg[Z]
    pull      λ, g_u, g_p from seeds of x⁺ and R              transposes
    push      δR from δx, δu, δp                              tangents
    bend      how λ, g_u, g_p of `pull` change along them     second derivatives, seeds fixed

Output between the knots is a sum of records (`adjoint.ode.implicit`). Each kernel gets the machine code of one
direction of the step (`kernels.implicit`), and arg with its header.
"""

from __future__ import annotations

from numba import float64, int64, types

from adjoint.kernels.announce import kernel
from adjoint.kernels.call import address_of, call
from adjoint.kernels.cells import Z
from adjoint.kernels.implicit import RECORD_SEED
from adjoint.kernels.jit import jit_part

__all__ = ["bend_rows", "pull_rows", "push_rows", "record_rows"]

_IN = [types.Array(float64, d, "C", readonly=True) for d in range(3)]
_OUT = [types.Array(float64, d, "C") for d in range(3)]
_INTEGERS = types.Array(int64, 1, "C")
_POINTS = (_IN[1], _IN[1], _IN[2], _IN[2], _IN[2])
_SCRATCH = (_INTEGERS, _INTEGERS, _OUT[1])
_SENTENCE = "compiling the outputs of implicit steps (once; kept on disk)"


@jit_part
def _point(k, j, t, h, x, u, p):
    k[0] = address_of(t, j)
    k[1] = address_of(h, j)
    k[2] = address_of(x, j * x.shape[1])
    k[3] = address_of(u, j * u.shape[1])
    k[4] = address_of(p, j * p.shape[1])


@kernel(types.void(int64, *_POINTS, _OUT[2], _OUT[2], *_SCRATCH), _SENTENCE)
def record_rows(step, t, h, x, u, p, x_next, records, k, res, work):
    """x⁺ and the records."""
    for j in range(t.size):
        _point(k, j, t, h, x, u, p)
        k[Z] = address_of(records, j * records.shape[1])
        res[0] = address_of(x_next, j * x.shape[1])
        call(step, k, res, work)


@kernel(types.void(int64, *_POINTS, _IN[2], _IN[2], *[_OUT[2]] * 3, *_SCRATCH), _SENTENCE)
def pull_rows(vjp, t, h, x, u, p, lam_next, seeds, lam, gu, gp, k, res, work):
    """λ, g_u, and g_p added to, from λ⁺ and seeds of the records."""
    for j in range(t.size):
        _point(k, j, t, h, x, u, p)
        k[5] = address_of(lam_next, j * x.shape[1])
        k[RECORD_SEED] = address_of(seeds, j * seeds.shape[1])
        res[0] = address_of(lam, j * x.shape[1])
        res[1] = address_of(gu, j * gu.shape[1])
        k[6] = res[2] = address_of(gp, j * gp.shape[1])
        call(vjp, k, res, work)


@kernel(types.void(int64, *_POINTS, *[_IN[2]] * 3, _OUT[2], _OUT[2], *_SCRATCH), _SENTENCE)
def push_rows(jvp, t, h, x, u, p, dx, du, dp, dx_next, changes, k, res, work):
    """δx⁺ and the change of the records."""
    for j in range(t.size):
        _point(k, j, t, h, x, u, p)
        k[5] = address_of(dx, j * x.shape[1])
        k[6] = address_of(du, j * u.shape[1])
        k[7] = address_of(dp, j * p.shape[1])
        k[RECORD_SEED] = address_of(changes, j * changes.shape[1])
        res[0] = address_of(dx_next, j * x.shape[1])
        call(jvp, k, res, work)


@kernel(types.void(int64, *_POINTS, *[_IN[2]] * 5, *[_OUT[2]] * 3, *_SCRATCH), _SENTENCE)
def bend_rows(second, t, h, x, u, p, zero, seeds, dx, du, dp, dlam, dgu, dgp, k, res, work):
    """How λ, g_u, g_p change, the latter added to; `zero` (1, n) is λ⁺ and its change."""
    for j in range(t.size):
        _point(k, j, t, h, x, u, p)
        k[5] = k[9] = address_of(zero, 0)
        k[6] = address_of(dx, j * x.shape[1])
        k[7] = address_of(du, j * u.shape[1])
        k[8] = address_of(dp, j * p.shape[1])
        k[RECORD_SEED] = address_of(seeds, j * seeds.shape[1])
        res[0] = address_of(dlam, j * x.shape[1])
        res[1] = address_of(dgu, j * dgu.shape[1])
        k[10] = res[2] = address_of(dgp, j * dgp.shape[1])
        call(second, k, res, work)
