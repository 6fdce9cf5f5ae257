"""|R(z)| of a rational function R = N / D with real coefficients, at many points of the complex plane.

    Horner      N ← N z + n_j,   j = s … 0,   with z = x + iy:   (a + ib)(x + iy) + n = (ax - by + n) + i(ay + bx)

Points go in blocks through the loop over the coefficients, so that the loop over points stays in vector registers.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, types, void

from adjoint.kernels.announce import kernel
from adjoint.kernels.jit import jit

__all__ = ["modulus"]

BLOCK = 256

_READ, _WRITE = types.Array(float64, 1, "C", readonly=True), types.Array(float64, 1, "C")


@jit
def _square(x, y, coefficients, a, b):
    """a ← |P(x + iy)|² of one block; b is scratch."""
    top = coefficients.size - 1
    for k in range(BLOCK):
        a[k] = coefficients[top]
        b[k] = 0.0
    for j in range(top - 1, -1, -1):
        c = coefficients[j]
        for k in range(BLOCK):
            real = a[k] * x[k] - b[k] * y[k] + c
            b[k] = a[k] * y[k] + b[k] * x[k]
            a[k] = real
    for k in range(BLOCK):
        a[k] = a[k] * a[k] + b[k] * b[k]


@kernel(void(_READ, _READ, _READ, _WRITE), "compiling the region of a method (once; kept on disk)")
def modulus(z, numerator, denominator, out):
    """Fill out (K,) with |N(z)| / |D(z)|; z (2K,) holds x, y by turns, coefficients ascend. inf at a pole."""
    x, y, scratch = np.zeros(BLOCK), np.zeros(BLOCK), np.empty(BLOCK)
    above, below = np.empty(BLOCK), np.ones(BLOCK)
    for first in range(0, out.size, BLOCK):
        count = min(BLOCK, out.size - first)
        for k in range(count):
            x[k] = z[2 * (first + k)]
            y[k] = z[2 * (first + k) + 1]
        _square(x, y, numerator, above, scratch)
        if denominator.size > 1:
            _square(x, y, denominator, below, scratch)
            for k in range(count):
                out[first + k] = math.sqrt(above[k] / below[k])
        else:
            for k in range(count):
                out[first + k] = math.sqrt(above[k])
