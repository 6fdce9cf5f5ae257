"""Polynomials with rational coefficients: questions about their signs and zeros that are answered exactly.

    sign changes   Yun: P = Π P_i^i changes its sign at the zeros of the P_i with odd i, and nowhere else
    how many       zeros of a square-free P lie in (a, b]: Sturm
    where          bisection with exact signs, to the last bit of a double
    half plane     do all zeros have negative real parts: Routh's array

A polynomial is a tuple of `Fraction`, the constant first; the zero polynomial is the empty tuple. Von zur Gathen and
Gerhard, *Modern Computer Algebra*, algorithm 14.21 (Yun), exercise 4.32 (Sturm); Gantmacher, *The Theory of Matrices
II*, XV.3 (Routh).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

__all__ = [
    "Polynomial", "add", "divided", "first_negative", "greatest_common_divisor", "multiply", "polynomial", "sign",
    "stable",
]  # fmt: skip

Polynomial = tuple[Fraction, ...]

ONE: Polynomial = (Fraction(1),)


def polynomial(coefficients: Iterable[Fraction | int]) -> Polynomial:
    """Without zeros at the top."""
    kept = [Fraction(c) for c in coefficients]
    while kept and kept[-1] == 0:
        kept.pop()
    return tuple(kept)


def sign(P: Polynomial, x: Fraction) -> int:
    """Of P(x): -1, 0 or 1. Only whole numbers are multiplied: Σ c_i a^i b^{n-i} for x = a/b."""
    total, power = 0, 1
    for c in reversed(_whole(P)):
        total = total * x.numerator + c * power
        power *= x.denominator
    return (total > 0) - (total < 0)


def add(P: Polynomial, Q: Polynomial, factor: int = 1) -> Polynomial:
    """P + factor · Q."""
    length = max(len(P), len(Q))
    padded = [(*R, *[Fraction(0)] * (length - len(R))) for R in (P, Q)]
    return polynomial(p + factor * q for p, q in zip(*padded, strict=True))


def multiply(P: Polynomial, Q: Polynomial) -> Polynomial:
    """P · Q."""
    if not P or not Q:
        return ()
    product = [Fraction(0)] * (len(P) + len(Q) - 1)
    for i, p in enumerate(P):
        for j, q in enumerate(Q):
            product[i + j] += p * q
    return polynomial(product)


def divided(P: Polynomial, Q: Polynomial) -> tuple[Polynomial, Polynomial]:
    """Quotient and remainder of P by Q."""
    remainder, quotient = list(P), [Fraction(0)] * max(0, len(P) - len(Q) + 1)
    for i in reversed(range(len(quotient))):
        factor = quotient[i] = remainder[i + len(Q) - 1] / Q[-1]
        for j, q in enumerate(Q):
            remainder[i + j] -= factor * q
    return polynomial(quotient), polynomial(remainder[: len(Q) - 1])


def greatest_common_divisor(P: Polynomial, Q: Polynomial) -> Polynomial:
    """With leading coefficient 1."""
    while Q:
        P, Q = Q, _remainder(P, Q)
    return tuple(c / P[-1] for c in P) if P else P


def first_negative(P: Polynomial) -> float:
    """The largest r with P >= 0 on [0, r], rounded to the nearest double; inf if there is no end."""
    P = P[next((i for i, c in enumerate(P) if c != 0), len(P)) :]  # a factor x^k does not matter for x > 0
    if not P:
        return math.inf
    if P[0] < 0:
        return 0.0
    odd = _odd_part(P)
    chain = _sturm(odd)
    # All zeros are below 1 + max |c_i / c_n| (Cauchy).
    low, high = Fraction(0), 1 + Fraction(2) ** math.ceil(math.log2(1 + max(abs(c / odd[-1]) for c in odd)))
    if _changes(chain, low) == _changes(chain, high):
        return math.inf
    while _changes(chain, low) - _changes(chain, high) > 1:  # until the first zero is alone in (low, high]
        middle = (low + high) / 2
        if _changes(chain, low) > _changes(chain, middle):
            high = middle
        else:
            low = middle
    before = sign(odd, low)
    while high - low > high / 2**56:
        middle = (low + high) / 2
        at = sign(odd, middle)
        if at == 0:
            return float(middle)
        low, high = (middle, high) if at == before else (low, middle)
    return float((low + high) / 2)


def stable(P: Polynomial) -> bool:
    """Whether all zeros have negative real parts: the first column of Routh's array has one sign."""
    if len(P) <= 1:
        return bool(P)
    rows = [list(P[::-1][0::2]), list(P[::-1][1::2])]
    for _ in range(len(P) - 1):
        above, row = rows[-2], rows[-1]
        if not row or row[0] == 0 or (row[0] > 0) != (P[-1] > 0):
            return False
        padded = [*row, Fraction(0)]
        rows.append([a - above[0] / row[0] * b for a, b in zip(above[1:], padded[1:], strict=False)])
    return True


def _derivative(P: Polynomial) -> Polynomial:
    return polynomial(i * c for i, c in enumerate(P[1:], 1))


def _whole(P: Polynomial) -> list[int]:
    """The positive multiple of P with whole coefficients that have no common factor."""
    common = math.lcm(*(c.denominator for c in P))
    numbers = [c.numerator * (common // c.denominator) for c in P]
    content = math.gcd(*numbers)
    return [c // content for c in numbers]


def _remainder(P: Polynomial, Q: Polynomial) -> Polynomial:
    """A positive multiple of the remainder of P by Q, with whole coefficients: Euclid's numbers stay short."""
    rest, by = _whole(P), _whole(Q)
    lead, direction = abs(by[-1]), 1 if by[-1] > 0 else -1
    while len(rest) >= len(by):
        factor, shift = direction * rest[-1], len(rest) - len(by)
        rest = [lead * c for c in rest]
        for j, q in enumerate(by):
            rest[shift + j] -= factor * q
        while rest and rest[-1] == 0:
            rest.pop()
    return tuple(Fraction(c) for c in _whole(polynomial(rest))) if rest else ()


def _odd_part(P: Polynomial) -> Polynomial:
    """The product of the square-free factors that P has an odd number of times (Yun)."""
    odd, power = ONE, 1
    common = greatest_common_divisor(P, _derivative(P))
    b, c = divided(P, common)[0], divided(_derivative(P), common)[0]
    while len(b) > 1:
        d = add(c, _derivative(b), -1)
        factor = greatest_common_divisor(b, d)
        if power % 2:
            odd = multiply(odd, factor)
        b, c = divided(b, factor)[0], divided(d, factor)[0]
        power += 1
    return odd


def _sturm(P: Polynomial) -> list[Polynomial]:
    chain = [P, _derivative(P)]
    while chain[-1]:
        chain.append(tuple(-c for c in _remainder(chain[-2], chain[-1])))
    return chain[:-1]


def _changes(chain: list[Polynomial], x: Fraction) -> int:
    """Changes of sign along Sturm's chain at x."""
    signs = [s for s in (sign(P, x) for P in chain) if s != 0]
    return sum(a != b for a, b in pairwise(signs))
