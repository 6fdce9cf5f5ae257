"""Loops that are indexed by labels: rows of a table, and the loss of a choice among classes.

    gather          Y_r  = T_{i_r}                        scatter_add    G_{i_r} += D_r,  its transpose

    softmax_loss    s_r  = log Σ_c exp z_rc               J = Σ_r w_r (s_r - z_{r, y_r})
                    d_rc = w_r (exp(z_rc - s_r) - [c = y_r])

exp is taken of z_rc - max_c z_rc only, so that it cannot overflow.
"""

from __future__ import annotations

import math

from numba import float64, int64, types, void

from adjoint.kernels.announce import kernels
from adjoint.kernels.jit import jit_reassociating
from adjoint.kernels.smooth import exp_negative

__all__ = ["gather", "scatter_add", "softmax_loss"]

_SENTENCE = "compiling the kernels of labels (once; kept on disk)"
_ORDER = "C"
_LABELS = types.Array(int64, 1, _ORDER, readonly=True)


def _matrix(number, writeable):
    return types.Array(number, 2, _ORDER, readonly=not writeable)


@kernels(lambda number: void(_matrix(number, False), _LABELS, _matrix(number, True)), _SENTENCE)
def gather(table, labels, out):
    """out[r] = table[labels[r]]."""
    for r in range(labels.size):
        i = labels[r]
        for j in range(table.shape[1]):
            out[r, j] = table[i, j]


@kernels(lambda number: void(_matrix(number, False), _LABELS, _matrix(number, True)), _SENTENCE)
def scatter_add(rows, labels, table):
    """table[labels[r]] += rows[r], in the order of the rows."""
    for r in range(labels.size):
        i = labels[r]
        for j in range(rows.shape[1]):
            table[i, j] += rows[r, j]


@jit_reassociating
def _exponentials(z, top, out):
    """out = exp(z - top), and its sum."""
    total = z.dtype.type(0)
    for c in range(z.size):
        out[c] = exp_negative(z[c] - top)
        total += out[c]
    return total


@kernels(
    lambda number: float64(_matrix(number, False), _LABELS, types.Array(number, 1, _ORDER, readonly=True),
                           _matrix(number, True)),
    _SENTENCE,
)  # fmt: skip
def softmax_loss(z, labels, weights, d):
    """J, and d = ∂J/∂z, which may be z itself. Rows of weight 0 are not looked at."""
    J = 0.0
    for r in range(labels.size):
        if weights[r] == 0:
            d[r] = 0
            continue
        top = z[r, 0]
        for c in range(1, z.shape[1]):
            top = max(top, z[r, c])
        below = z[r, labels[r]] - top
        total = _exponentials(z[r], top, d[r])
        J += weights[r] * (math.log(float64(total)) - below)
        factor = weights[r] / total
        for c in range(z.shape[1]):
            d[r, c] *= factor
        d[r, labels[r]] -= weights[r]
    return J
