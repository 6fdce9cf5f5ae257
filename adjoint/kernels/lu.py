"""Gaussian elimination with row pivoting, for full and banded matrices in one routine, and the solves with its factors.

Element (i, j) of a matrix with kl diagonals below and ku above the main one lies at

    a[kl + i · ld + j],    ld = 2 kl + ku          banded: the kl further places of a row take what pivoting fills in
    a[i · ld + j],         ld = n                  full:   kl = ku = n - 1

so that both are rows of numbers with a leading dimension, and only the ranges of the loops know about the band:

    factor              P A = L U      U and the multipliers of L replace A; row c was swapped with row pivot[c]
    solve               b ← A⁻¹ b
    solve_transposed    b ← A⁻ᵀ b      the transpose of `solve`, read backwards

The multipliers stay where they were made, and each swap is done when its column is reached (as in LAPACK's gbtrf). The
functions serve real and complex numbers.
"""

from __future__ import annotations

from adjoint.kernels.jit import jit_reassociating

__all__ = ["factor", "leading", "offset", "solve", "solve_transposed", "storage"]


@jit_reassociating
def leading(n, kl, ku):
    """The leading dimension ld."""
    return n if kl == n - 1 else 2 * kl + ku


@jit_reassociating
def offset(n, kl):
    """The place of element (0, 0)."""
    return 0 if kl == n - 1 else kl


@jit_reassociating
def storage(n, kl, ku):
    """How many numbers a matrix takes."""
    return n * n if kl == n - 1 else n * (2 * kl + ku + 1) + kl


@jit_reassociating
def factor(a, n, kl, ku, pivot):
    """Factorise in place; False if a pivot is zero or not a number, and the factors are then of no use."""
    ld, at = leading(n, kl, ku), offset(n, kl)
    for c in range(n):
        last, right = min(n, c + kl + 1), min(n, c + kl + ku + 1)
        m, largest = c, abs(a[at + c * ld + c])
        for r in range(c + 1, last):
            size = abs(a[at + r * ld + c])
            if size > largest:
                m, largest = r, size
        pivot[c] = m
        if not largest > 0.0:
            return False
        upper = at + c * ld
        if m != c:
            other = at + m * ld
            for j in range(c, right):
                a[upper + j], a[other + j] = a[other + j], a[upper + j]
        inverse = 1.0 / a[upper + c]
        for r in range(c + 1, last):
            row = at + r * ld
            multiplier = a[row + c] * inverse
            a[row + c] = multiplier
            if multiplier != 0.0:
                for j in range(c + 1, right):
                    a[row + j] -= multiplier * a[upper + j]
    return True


@jit_reassociating
def solve(a, n, kl, ku, pivot, b):
    """b ← A⁻¹ b."""
    ld, at = leading(n, kl, ku), offset(n, kl)
    for c in range(n):
        m = pivot[c]
        if m != c:
            b[c], b[m] = b[m], b[c]
        head = b[c]
        for r in range(c + 1, min(n, c + kl + 1)):
            b[r] -= a[at + r * ld + c] * head
    for c in range(n - 1, -1, -1):
        row, total = at + c * ld, b[c]
        for j in range(c + 1, min(n, c + kl + ku + 1)):
            total -= a[row + j] * b[j]
        b[c] = total / a[row + c]


@jit_reassociating
def solve_transposed(a, n, kl, ku, pivot, b):
    """b ← A⁻ᵀ b."""
    ld, at = leading(n, kl, ku), offset(n, kl)
    for c in range(n):
        row = at + c * ld
        head = b[c] / a[row + c]
        b[c] = head
        for j in range(c + 1, min(n, c + kl + ku + 1)):
            b[j] -= a[row + j] * head
    for c in range(n - 1, -1, -1):
        total = b[c]
        for r in range(c + 1, min(n, c + kl + 1)):
            total -= a[at + r * ld + c] * b[r]
        b[c] = total
        m = pivot[c]
        if m != c:
            b[c], b[m] = b[m], b[c]
