"""What each NumPy ufunc means on one CasADi scalar (SX, 1 by 1).

Values are NumPy's. Two functions get a finite derivative where the textbook one is 0/0, and lose nothing elsewhere:

    norm     sqrt(z), z = sum of squares:  sqrt(z + e) - e  with e = (z == 0)     so that the gradient at 0 is 0
    hypot    hypot(x, y):                  hypot(x', y) - e with e = (x == 0 and y == 0), x' = 1 if e else x

(0 is the centre of the subdifferential of a norm at 0.) Functions with a branch are written so that every branch is
smooth, so that second derivatives are right as well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import casadi
import numpy as np
from casadi import SX

__all__ = ["ARITHMETIC_ON_NUMBERS", "CONDITIONS", "CONDITIONS_ONLY", "choose", "operation_of"]


def choose(condition: SX, a: SX, b: SX) -> SX:
    """Return a where the condition is not 0, b elsewhere; the branch not taken may be NaN."""
    if condition.is_constant():
        return a if float(condition) else b
    return casadi.if_else(condition, a, b)


def _is_sum_of_squares(z: SX) -> bool:
    """Whether z is visibly a sum of squares, each with a positive constant factor or none."""
    if z.is_constant():
        return False
    terms = [z]
    while terms:
        term = terms.pop()
        if term.is_op(casadi.OP_ADD):
            terms += [term.dep(0), term.dep(1)]
        elif term.is_op(casadi.OP_TWICE):
            terms.append(term.dep(0))
        elif term.is_op(casadi.OP_MUL) and term.dep(0).is_constant() and float(term.dep(0)) > 0:
            terms.append(term.dep(1))
        elif term.is_op(casadi.OP_DIV) and term.dep(1).is_constant() and float(term.dep(1)) > 0:
            terms.append(term.dep(0))
        elif not term.is_op(casadi.OP_SQ):
            return False
    return True


def _sqrt(z: SX) -> SX:
    if _is_sum_of_squares(z):
        e = z == 0
        return casadi.sqrt(z + e) - e
    return casadi.sqrt(z)


def _hypot(x: SX, y: SX) -> SX:
    e = casadi.logic_and(x == 0, y == 0)
    return casadi.hypot(choose(e, SX(1), x), y) - e


def _power(x: SX, y: SX) -> SX:
    return _sqrt(x) if y.is_constant() and float(y) == 0.5 else x**y


def _remainder(x: SX, y: SX) -> SX:
    """Remainder with the sign of y, computed as NumPy does: exactly, from C's fmod."""
    r = casadi.fmod(x, y)
    return r + choose(r * y < 0, y, SX(0))


def _truncate(x: SX) -> SX:
    return choose(x < 0, casadi.ceil(x), casadi.floor(x))


def _heaviside(x: SX, at_zero: SX) -> SX:
    return choose(x == 0, at_zero, x > 0)


def _logaddexp(a: SX, b: SX) -> SX:
    """log(e^a + e^b). Both choices hang on the same comparison, so the function stays analytic at a = b."""
    a_larger = a >= b
    return choose(a_larger, a, b) + casadi.log1p(casadi.exp(choose(a_larger, b - a, a - b)))


def _cbrt(x: SX) -> SX:
    return casadi.sign(x) * casadi.fabs(x) ** (1.0 / 3.0)


def _expit(x: SX) -> SX:
    """1/(1 + e^-x), in the form whose derivatives do not overflow."""
    return 0.5 + 0.5 * casadi.tanh(0.5 * x)


def _exclusive_or(a: SX, b: SX) -> SX:
    return (a != 0) != (b != 0)


def _same(x: SX) -> SX:
    return x


OPERATIONS: dict[np.ufunc, Callable[..., SX]] = {
    np.add: lambda x, y: x + y,
    np.subtract: lambda x, y: x - y,
    np.multiply: lambda x, y: x * y,
    np.divide: lambda x, y: x / y,
    np.power: _power,
    np.float_power: _power,
    np.negative: lambda x: -x,
    np.positive: _same,
    np.conjugate: _same,
    np.square: lambda x: x * x,
    np.reciprocal: lambda x: 1 / x,
    np.absolute: casadi.fabs,
    np.fabs: casadi.fabs,
    np.sign: casadi.sign,
    np.copysign: casadi.copysign,
    np.sqrt: _sqrt,
    np.cbrt: _cbrt,
    np.hypot: _hypot,
    np.exp: casadi.exp,
    np.exp2: lambda x: SX(2) ** x,
    np.expm1: casadi.expm1,
    np.log: casadi.log,
    np.log2: lambda x: casadi.log(x) / np.log(2.0),
    np.log10: casadi.log10,
    np.log1p: casadi.log1p,
    np.logaddexp: _logaddexp,
    np.sin: casadi.sin,
    np.cos: casadi.cos,
    np.tan: casadi.tan,
    np.arcsin: casadi.asin,
    np.arccos: casadi.acos,
    np.arctan: casadi.atan,
    np.arctan2: casadi.atan2,
    np.sinh: casadi.sinh,
    np.cosh: casadi.cosh,
    np.tanh: casadi.tanh,
    np.arcsinh: casadi.asinh,
    np.arccosh: casadi.acosh,
    np.arctanh: casadi.atanh,
    np.deg2rad: lambda x: x * (np.pi / 180.0),
    np.radians: lambda x: x * (np.pi / 180.0),
    np.rad2deg: lambda x: x * (180.0 / np.pi),
    np.degrees: lambda x: x * (180.0 / np.pi),
    np.floor: casadi.floor,
    np.ceil: casadi.ceil,
    np.trunc: _truncate,
    np.floor_divide: lambda x, y: casadi.floor(x / y),
    np.remainder: _remainder,
    np.fmod: casadi.fmod,
    np.heaviside: _heaviside,
    np.maximum: casadi.fmax,
    np.minimum: casadi.fmin,
    np.fmax: casadi.fmax,
    np.fmin: casadi.fmin,
    np.less: lambda x, y: x < y,
    np.less_equal: lambda x, y: x <= y,
    np.greater: lambda x, y: x > y,
    np.greater_equal: lambda x, y: x >= y,
    np.equal: lambda x, y: x == y,
    np.not_equal: lambda x, y: x != y,
    np.logical_and: casadi.logic_and,
    np.logical_or: casadi.logic_or,
    np.logical_xor: _exclusive_or,
    np.logical_not: casadi.logic_not,
    np.bitwise_and: casadi.logic_and,
    np.bitwise_or: casadi.logic_or,
    np.bitwise_xor: _exclusive_or,
    np.invert: casadi.logic_not,
}


@lru_cache(maxsize=1)
def _scipy_operations() -> dict[np.ufunc, Callable[..., SX]]:
    # Only here: importing scipy.special takes 0.2 s, and who hands in one of its functions has imported it already.
    import scipy.special  # type: ignore[import-untyped]

    return {scipy.special.expit: _expit, scipy.special.erf: casadi.erf}


def operation_of(ufunc: np.ufunc) -> Callable[..., SX] | None:
    """What a ufunc of NumPy or SciPy means on symbols; None if it has no meaning there."""
    return OPERATIONS.get(ufunc) or _scipy_operations().get(ufunc)


# Ufuncs whose result is a condition: true or false, kept as 1 or 0.
CONDITIONS = frozenset(
    {
        np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal,
        np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
        np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert,
    }
)  # fmt: skip

# Ufuncs that NumPy defines on booleans (and integers) only: never on a real number.
CONDITIONS_ONLY = frozenset({np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert})

# NumPy adds two booleans as a logical or, and refuses to subtract them. Python counts. Neither is guessed here.
ARITHMETIC_ON_NUMBERS = frozenset({np.add, np.subtract})
