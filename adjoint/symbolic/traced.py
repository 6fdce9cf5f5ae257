"""Traced numbers and arrays: what a user's function computes with while its graph is recorded.

`TracedScalar` holds one CasADi expression. `TracedArray` is a NumPy array of dtype object that holds such scalars, so that
slices, broadcasting, stacking, einsum and sums are NumPy's own. Both speak NumPy's protocols: `__array_ufunc__` sends every
ufunc to `elementwise.OPERATIONS`, `__array_function__` sends a few functions (where, clip, interp, linalg) to a version that
needs no values and all others to NumPy's own code, which ends in ufuncs again.

A traced number has no value. Whatever would need one (a truth value, a float, an index) is refused with the cure; `trace`
adds the name of the function and the line.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import casadi
import numpy as np
from casadi import SX

from adjoint.errors import TraceError
from adjoint.symbolic import linear_algebra, piecewise
from adjoint.symbolic.elementwise import ARITHMETIC_ON_NUMBERS, CONDITIONS, CONDITIONS_ONLY, OPERATIONS, choose

__all__ = ["NP_ARRAY_HINT", "TracedArray", "TracedScalar", "is_traced", "lift", "map_scalars", "where_traced"]

NP_ARRAY_HINT = (
    "np.array([...]) makes an ordinary object array of traced numbers, which NumPy's comparisons, np.where, np.maximum, "
    "np.clip and np.linalg decide by value: build it with np.block([...]) or np.array([...], like=x) instead"
)


def _no_truth_value() -> NoReturn:
    raise TraceError(
        "the truth value of a traced number is needed, but a function is traced once, for all values, so `if`, `while`, "
        "`and`, `or`, `not`, max(), min() and masks cannot decide. Write adjoint.where(condition, a, b) for a branch, "
        "np.logical_and / np.logical_or to combine conditions, np.maximum / np.minimum, an adjoint.Table for data, or "
        f"give the System its own kernels. ({NP_ARRAY_HINT}.)"
    )


def _no_float() -> NoReturn:
    raise TraceError(
        "a traced number cannot become a float, because it has no value yet. Use NumPy's function instead of math's "
        "(np.sin(v) for math.sin(v)). Instead of assigning into np.zeros(...) (`out = np.zeros(3); out[0] = v`) build a list, "
        "np.array([...]), or start from np.zeros_like(x). Leave out dtype=float and float()."
    )


def _no_integer() -> NoReturn:
    raise TraceError(
        "a traced number cannot become an integer, an index or a count, because it has no value yet. Look values up in an "
        "adjoint.Table, choose between them with adjoint.where(condition, a, b), or give the System its own kernels."
    )


def _refuse_index(index: object) -> None:
    for part in index if isinstance(index, tuple) else (index,):
        if not is_traced(part):
            continue
        scalar = part.flat[0] if isinstance(part, TracedArray) and part.size else part
        if isinstance(scalar, TracedScalar) and scalar.is_condition:
            _no_truth_value()
        _no_integer()


class TracedScalar:
    """One number of a graph. `sx` is its expression; `is_condition` says that it is true (1) or false (0)."""

    __slots__ = ("is_condition", "sx")
    __hash__ = None  # type: ignore[assignment]
    shape: tuple[int, ...] = ()
    ndim = 0
    size = 1

    def __init__(self, sx: SX, is_condition: bool = False):
        self.sx = sx
        self.is_condition = is_condition

    def __repr__(self) -> str:
        return f"traced({str(self.sx)[:60]})"

    def __format__(self, specification: str) -> str:
        return repr(self)

    # NumPy's protocols
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return _ufunc(ufunc, method, inputs, **options)

    def __array_function__(self, function: Callable, types: Any, args: tuple, kwargs: dict) -> Any:
        return _function(function, args, kwargs)

    # Arithmetic
    def __add__(self, other: Any) -> Any:
        return _binary(np.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return _binary(np.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return _binary(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _binary(np.subtract, other, self)

    def __mul__(self, other: Any) -> Any:
        return _binary(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Any:
        return _binary(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Any:
        return _binary(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _binary(np.divide, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _binary(np.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _binary(np.floor_divide, other, self)

    def __mod__(self, other: Any) -> Any:
        return _binary(np.remainder, self, other)

    def __rmod__(self, other: Any) -> Any:
        return _binary(np.remainder, other, self)

    def __pow__(self, other: Any) -> Any:
        return _binary(np.power, self, other)

    def __rpow__(self, other: Any) -> Any:
        return _binary(np.power, other, self)

    def __neg__(self) -> TracedScalar:
        return _apply(np.negative, self)

    def __pos__(self) -> TracedScalar:
        return self

    def __abs__(self) -> TracedScalar:
        return _apply(np.absolute, self)

    def __floor__(self) -> TracedScalar:
        return _apply(np.floor, self)

    def __ceil__(self) -> TracedScalar:
        return _apply(np.ceil, self)

    def __trunc__(self) -> TracedScalar:
        return _apply(np.trunc, self)

    # Conditions
    def __lt__(self, other: Any) -> Any:
        return _binary(np.less, self, other)

    def __le__(self, other: Any) -> Any:
        return _binary(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Any:
        return _binary(np.greater, self, other)

    def __ge__(self, other: Any) -> Any:
        return _binary(np.greater_equal, self, other)

    def __eq__(self, other: Any) -> Any:
        return _binary(np.equal, self, other)

    def __ne__(self, other: Any) -> Any:
        return _binary(np.not_equal, self, other)

    def __and__(self, other: Any) -> Any:
        return _binary(np.bitwise_and, self, other)

    def __rand__(self, other: Any) -> Any:
        return _binary(np.bitwise_and, other, self)

    def __or__(self, other: Any) -> Any:
        return _binary(np.bitwise_or, self, other)

    def __ror__(self, other: Any) -> Any:
        return _binary(np.bitwise_or, other, self)

    def __xor__(self, other: Any) -> Any:
        return _binary(np.bitwise_xor, self, other)

    def __rxor__(self, other: Any) -> Any:
        return _binary(np.bitwise_xor, other, self)

    def __invert__(self) -> TracedScalar:
        return _apply(np.invert, self)

    # What would need a value
    def __bool__(self) -> NoReturn:
        _no_truth_value()

    def __float__(self) -> NoReturn:
        _no_float()

    def __complex__(self) -> NoReturn:
        _no_float()

    def __int__(self) -> NoReturn:
        _no_integer()

    def __index__(self) -> NoReturn:
        _no_integer()

    def __round__(self, digits: int | None = None) -> NoReturn:
        raise TraceError("round() has no derivative and is not traced. Use np.floor(v + 0.5), or leave the value unrounded.")

    # Attributes of NumPy's own scalars
    @property
    def real(self) -> TracedScalar:
        return self

    @property
    def imag(self) -> float:
        return 0.0

    @property
    def T(self) -> TracedScalar:
        return self

    def conjugate(self) -> TracedScalar:
        return self

    def item(self) -> TracedScalar:
        return self

    # NumPy's ufuncs call these methods on the elements of an ordinary object array, such as np.array([x[0], x[1]])
    def sqrt(self) -> TracedScalar:
        return _apply(np.sqrt, self)

    def cbrt(self) -> TracedScalar:
        return _apply(np.cbrt, self)

    def exp(self) -> TracedScalar:
        return _apply(np.exp, self)

    def exp2(self) -> TracedScalar:
        return _apply(np.exp2, self)

    def expm1(self) -> TracedScalar:
        return _apply(np.expm1, self)

    def log(self) -> TracedScalar:
        return _apply(np.log, self)

    def log2(self) -> TracedScalar:
        return _apply(np.log2, self)

    def log10(self) -> TracedScalar:
        return _apply(np.log10, self)

    def log1p(self) -> TracedScalar:
        return _apply(np.log1p, self)

    def sin(self) -> TracedScalar:
        return _apply(np.sin, self)

    def cos(self) -> TracedScalar:
        return _apply(np.cos, self)

    def tan(self) -> TracedScalar:
        return _apply(np.tan, self)

    def arcsin(self) -> TracedScalar:
        return _apply(np.arcsin, self)

    def arccos(self) -> TracedScalar:
        return _apply(np.arccos, self)

    def arctan(self) -> TracedScalar:
        return _apply(np.arctan, self)

    def sinh(self) -> TracedScalar:
        return _apply(np.sinh, self)

    def cosh(self) -> TracedScalar:
        return _apply(np.cosh, self)

    def tanh(self) -> TracedScalar:
        return _apply(np.tanh, self)

    def arcsinh(self) -> TracedScalar:
        return _apply(np.arcsinh, self)

    def arccosh(self) -> TracedScalar:
        return _apply(np.arccosh, self)

    def arctanh(self) -> TracedScalar:
        return _apply(np.arctanh, self)

    def deg2rad(self) -> TracedScalar:
        return _apply(np.deg2rad, self)

    def rad2deg(self) -> TracedScalar:
        return _apply(np.rad2deg, self)

    def radians(self) -> TracedScalar:
        return _apply(np.radians, self)

    def degrees(self) -> TracedScalar:
        return _apply(np.degrees, self)

    def fabs(self) -> TracedScalar:
        return _apply(np.fabs, self)

    def arctan2(self, other: Any) -> Any:
        return _binary(np.arctan2, self, other)

    def hypot(self, other: Any) -> Any:
        return _binary(np.hypot, self, other)

    def fmod(self, other: Any) -> Any:
        return _binary(np.fmod, self, other)


class TracedArray(np.ndarray):
    """Array of traced numbers (dtype object). Elements may also be plain numbers, as after np.zeros_like(x)."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:  # type: ignore[override]
        return _ufunc(ufunc, method, inputs, **options)

    def __array_function__(self, function: Callable, types: Any, args: tuple, kwargs: dict) -> Any:  # type: ignore[override]
        return _function(function, args, kwargs)

    def __getitem__(self, index: Any) -> Any:
        _refuse_index(index)
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse_index(index)
        super().__setitem__(index, value)

    def clip(self, min: Any = None, max: Any = None, out: None = None) -> Any:  # type: ignore[override]
        return _clip(self, min, max)

    def __bool__(self) -> NoReturn:
        _no_truth_value()

    def __float__(self) -> NoReturn:
        _no_float()

    def __complex__(self) -> NoReturn:
        _no_float()

    def __int__(self) -> NoReturn:
        _no_integer()

    def __index__(self) -> NoReturn:
        _no_integer()


def is_traced(value: object) -> bool:
    """Whether a value is traced itself or is an object array, which may hold traced numbers."""
    return isinstance(value, TracedScalar) or (isinstance(value, np.ndarray) and value.dtype == object)


def lift(value: Any) -> TracedArray:
    """Any number, list or array as a `TracedArray` whose elements are all `TracedScalar`."""
    plain = np.empty((), object) if isinstance(value, TracedScalar) else np.array(value, dtype=object)
    if isinstance(value, TracedScalar):
        plain[()] = value
    lifted = np.empty(plain.shape, object)
    for i, element in enumerate(plain.flat):
        lifted.flat[i] = _scalar(element)
    return lifted.view(TracedArray)


def _scalar(value: Any) -> TracedScalar:
    """One number, traced or not, as a traced one."""
    if isinstance(value, TracedScalar):
        return value
    if isinstance(value, (bool, np.bool_)):
        return TracedScalar(SX(float(value)), is_condition=True)
    if isinstance(value, (int, float, np.integer, np.floating)):
        return TracedScalar(SX(float(value)))
    if isinstance(value, (complex, np.complexfloating)):
        raise TraceError(f"the complex constant {value} meets a traced number; a graph is real. Write the two parts separately.")
    if value is None:
        raise TraceError("an element of an array was used before it was assigned. Start from np.zeros_like(x).")
    raise TraceError(f"an object of type {type(value).__name__} meets a traced number. Expected a real number or an array.")


def _apply(ufunc: np.ufunc, *operands: TracedScalar) -> TracedScalar:
    """One ufunc on traced scalars."""
    operation = OPERATIONS.get(ufunc)
    if operation is None:
        raise TraceError(
            f"{_numpy_name(ufunc)} is not supported on traced numbers. Write it with the elementary functions (np.exp, np.sqrt, "
            "adjoint.where, ...), look it up in an adjoint.Table, or give the System its own kernels."
        )
    if ufunc in CONDITIONS_ONLY and not all(a.is_condition for a in operands):
        raise TraceError("&, |, ^ and ~ combine conditions such as (x[0] > 0); they were given a number.")
    if ufunc in ARITHMETIC_ON_NUMBERS and len(operands) == 2 and all(a.is_condition for a in operands):
        raise TraceError(
            "two conditions are added or subtracted, where NumPy and Python disagree on what that means. Combine them with "
            "np.logical_or / np.logical_and, or make them numbers first: np.where(condition, 1.0, 0.0)."
        )
    return TracedScalar(operation(*[a.sx for a in operands]), ufunc in CONDITIONS)


def _binary(ufunc: np.ufunc, a: Any, b: Any) -> Any:
    """The operator behind `a + b`: at once for two scalars, through NumPy's broadcasting for arrays."""
    other = b if isinstance(a, TracedScalar) else a
    if isinstance(other, (TracedScalar, int, float)):
        return _apply(ufunc, _scalar(a), _scalar(b))
    if isinstance(other, (np.ndarray, np.generic, list, tuple, complex)):
        return _ufunc(ufunc, "__call__", (a, b))
    return NotImplemented


def map_scalars(operation: Callable[..., TracedScalar], *values: Any) -> Any:
    """Apply a function of traced scalars elementwise, with broadcasting; a 0-d result is returned as a scalar."""
    lifted = np.broadcast_arrays(*[lift(v).view(np.ndarray) for v in values])
    result = np.empty(lifted[0].shape, object)
    for i, operands in enumerate(zip(*[a.flat for a in lifted], strict=True)):
        result.flat[i] = operation(*operands)
    return _wrap(result)


def _wrap(result: Any) -> Any:
    """Result of NumPy's own code: object arrays become traced arrays, 0-d ones scalars."""
    if isinstance(result, np.ndarray) and result.dtype == object:
        return _scalar(result.item()) if result.ndim == 0 else result.view(TracedArray)
    if isinstance(result, (list, tuple)):
        return type(result)([_wrap(r) for r in result]) if type(result) in (list, tuple) else result
    return result


def _plain(value: Any) -> Any:
    """An array as NumPy's own object code wants it."""
    return lift(value).view(np.ndarray)


def _numpy_name(function: Callable) -> str:
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module}.{function.__name__}".replace("numpy.", "np.")


def _unsupported(what: str) -> TraceError:
    return TraceError(
        f"{what} is not supported on traced numbers. Write it with elementary operations (arithmetic, np.exp, np.sqrt, np.sum, "
        "adjoint.where, ...), look it up in an adjoint.Table, or give the System its own kernels."
    )


# ------------------------------------------------------------------------------------------------------------- ufuncs


def _ufunc(ufunc: np.ufunc, method: str, inputs: tuple, out: Any = None, **options: Any) -> Any:
    """NumPy's `ufunc.method(*inputs, out=out, **options)` on traced inputs."""
    given = {name for name, value in options.items() if not _is_default(name, value)}
    if method == "__call__" and not given:
        if ufunc is np.matmul:
            result = _wrap(np.matmul(*[_plain(a) for a in inputs]))
        else:
            result = map_scalars(functools.partial(_apply, ufunc), *inputs)
    elif method == "reduce" and given <= {"axis", "keepdims", "initial"}:
        result = _reduce(ufunc, inputs[0], *[options.get(k) for k in ("initial", "keepdims")], axis=options.get("axis", 0))
    elif method == "accumulate" and given <= {"axis"}:
        result = _accumulate(ufunc, inputs[0], options.get("axis", 0))
    elif method == "outer" and not given:
        a, b = lift(inputs[0]), lift(inputs[1])
        result = map_scalars(functools.partial(_apply, ufunc), a.reshape(a.shape + (1,) * b.ndim), b)
    else:
        raise _unsupported(f"{_numpy_name(ufunc)}" + (f".{method}" if method != "__call__" else "") + _with(given))
    return result if out is None else _store(out[0], result)


# dtype and casting cannot change a graph, whose numbers are all real; None and True stand for "not given".
_HARMLESS = ("dtype", "casting", "subok", "order", "signature")


def _is_default(name: str, value: Any) -> bool:
    if name == "dtype" and value is not None and np.dtype(value).kind not in "fO":
        raise TraceError(f"dtype={np.dtype(value)} was asked of traced numbers, which are real. Leave dtype out.")
    return name in _HARMLESS or value is None or value is True and name == "where" or value is np._NoValue  # type: ignore


def _with(options: set[str]) -> str:
    return f" with {', '.join(sorted(options))}=" if options else ""


def _store(out: np.ndarray, result: Any) -> np.ndarray:
    if out.dtype != object:
        _no_float()
    out[...] = result
    return out


def _combine(ufunc: np.ufunc, elements: Sequence[TracedScalar], initial: Any = None) -> TracedScalar:
    """Fold a row of scalars with a binary ufunc, from the left."""
    if ufunc is np.add:  # a sum counts conditions, as NumPy's does
        elements = [TracedScalar(e.sx) for e in elements]
    if initial is not None and initial is not np._NoValue:  # type: ignore[attr-defined]
        elements = [_scalar(initial), *elements]
    if not elements:
        if ufunc.identity is None:
            raise TraceError(f"{_numpy_name(ufunc)}.reduce of an empty array: there is nothing to choose from.")
        return _scalar(ufunc.identity)
    if len(elements) == 1 and ufunc in CONDITIONS:
        return TracedScalar(elements[0].sx != 0, True)
    return functools.reduce(functools.partial(_apply, ufunc), elements)


def _reduce(ufunc: np.ufunc, array: Any, initial: Any, keepdims: Any, axis: Any) -> Any:
    a = _plain(array)
    axes = tuple(range(a.ndim)) if axis is None else tuple(np.atleast_1d(axis).tolist())
    axes = tuple(np.lib.array_utils.normalize_axis_tuple(axes, a.ndim)) if a.ndim else ()
    kept = [i for i in range(a.ndim) if i not in axes]
    rows = a.transpose(kept + sorted(axes)).reshape([a.shape[i] for i in kept] + [math.prod(a.shape[i] for i in axes)])
    result = np.empty(rows.shape[:-1], object)
    for index in np.ndindex(*result.shape):
        result[index] = _combine(ufunc, list(rows[index]), initial)
    if keepdims is True:
        return result.reshape([1 if i in axes else a.shape[i] for i in range(a.ndim)]).view(TracedArray)
    return _wrap(result)


def _accumulate(ufunc: np.ufunc, array: Any, axis: int) -> Any:
    a = _plain(array)
    rows = np.moveaxis(a, axis, -1)
    result = np.empty(rows.shape, object)
    for index in np.ndindex(*rows.shape[:-1]):
        for k in range(rows.shape[-1]):
            part = rows[index][k]
            result[(*index, k)] = part if k == 0 else _apply(ufunc, result[(*index, k - 1)], part)
    return _wrap(np.moveaxis(result, -1, axis))


# ---------------------------------------------------------------------------------------------------------- functions


def where_traced(condition: Any, a: Any, b: Any) -> Any:
    """np.where(condition, a, b) elementwise on traced values."""

    def one(c: TracedScalar, a: TracedScalar, b: TracedScalar) -> TracedScalar:
        return TracedScalar(choose(c.sx if c.is_condition else c.sx != 0, a.sx, b.sx), a.is_condition and b.is_condition)

    return map_scalars(one, condition, a, b)


def _where(condition: Any, *branches: Any) -> Any:
    if len(branches) != 2:
        raise _unsupported("np.where with one argument (indices by value)")
    return where_traced(condition, *branches)


def _select(conditions: Sequence, choices: Sequence, default: Any = 0) -> Any:
    result = default
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        result = where_traced(condition, choice, result)
    return result


def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: None = None, *, min: Any = None, max: Any = None) -> Any:
    low = min if a_min is None else a_min
    high = max if a_max is None else a_max
    result = a if low is None else _ufunc(np.maximum, "__call__", (a, low))
    return result if high is None else _ufunc(np.minimum, "__call__", (result, high))


def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    if period is not None or is_traced(xp) or is_traced(fp):
        raise _unsupported("np.interp with a period or with traced xp, fp")
    nodes, values = np.asarray(xp, float), np.asarray(fp, float)
    if nodes.ndim != 1 or nodes.shape != values.shape or len(nodes) < 2 or not np.all(np.diff(nodes) > 0):
        raise TraceError("np.interp needs xp and fp of one length (2 or more) and xp increasing.")
    coefficients = np.stack([values[:-1], np.diff(values) / np.diff(nodes)])
    below = values[0] if left is None else left
    above = values[-1] if right is None else right

    def one(v: TracedScalar) -> TracedScalar:
        inside = piecewise.symbolic(v.sx, nodes, coefficients)
        lower = choose(v.sx < nodes[0], _scalar(below).sx, inside)
        return TracedScalar(choose(v.sx > nodes[-1], _scalar(above).sx, lower))

    return map_scalars(one, x)


def _matrix(a: Any, name: str) -> SX:
    array = lift(a)
    if array.ndim != 2:
        raise TraceError(f"{name} got an array of shape {array.shape}; a single matrix is expected while tracing.")
    return casadi.vertcat(*[casadi.horzcat(*[e.sx for e in row]) for row in array])


def _square(a: Any, name: str) -> SX:
    A = _matrix(a, name)
    if A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise TraceError(f"{name} got a matrix of shape {A.shape}; a square one is expected.")
    return A


def _array(A: SX) -> TracedArray:
    rows, columns = A.shape
    result = np.empty((rows, columns), object)
    for i, j in np.ndindex(rows, columns):
        result[i, j] = TracedScalar(SX(A[i, j]))
    return result.view(TracedArray)


def _solve(a: Any, b: Any) -> Any:
    A, right = _square(a, "np.linalg.solve"), lift(b)
    if right.ndim not in (1, 2) or right.shape[0] != A.shape[0]:
        raise TraceError(f"np.linalg.solve got A of shape {A.shape} and b of shape {right.shape}; they must have equal rows.")
    x = _array(linear_algebra.solve(A, _matrix(right.reshape(len(right), -1), "np.linalg.solve")))
    return x.reshape(right.shape)


def _inv(a: Any) -> Any:
    A = _square(a, "np.linalg.inv")
    return _array(linear_algebra.solve(A, SX.eye(A.shape[0])))


def _det(a: Any) -> Any:
    A = _square(a, "np.linalg.det")
    if A.shape[0] > linear_algebra.LARGEST_DETERMINANT:
        raise _unsupported(f"np.linalg.det of a matrix with {A.shape[0]} rows (at most {linear_algebra.LARGEST_DETERMINANT})")
    return TracedScalar(linear_algebra.determinant(A))


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    a = lift(x)
    one_axis = a.ndim == 1 if axis is None else np.ndim(axis) == 0
    if ord is None or (one_axis and ord == 2) or (not one_axis and ord == "fro"):
        return np.sqrt(np.sum(a * a, axis=axis, keepdims=keepdims))
    if one_axis and ord == 1:
        return np.sum(np.abs(a), axis=axis, keepdims=keepdims)
    if one_axis and ord in (np.inf, -np.inf):
        return (np.max if ord > 0 else np.min)(np.abs(a), axis=axis, keepdims=keepdims)
    raise _unsupported(f"np.linalg.norm with ord={ord!r}")


def _like(function: Callable, args: tuple, kwargs: dict) -> TracedArray:
    """np.array(..., like=x), np.zeros(3, like=x) and their kin: a traced array, ready for assignment."""
    return np.atleast_1d(lift(function(*args, **{**kwargs, "dtype": object})))


_OVERRIDES: dict[Callable, Callable] = {
    np.where: _where,
    np.select: _select,
    np.clip: _clip,
    np.interp: _interp,
    np.linalg.solve: _solve,
    np.linalg.inv: _inv,
    np.linalg.det: _det,
    np.linalg.norm: _norm,
}
_CREATORS = (np.array, np.asarray, np.zeros, np.ones, np.empty, np.full, np.eye, np.identity)


def _function(function: Callable, args: tuple, kwargs: dict) -> Any:
    """NumPy's `function(*args, **kwargs)` on traced arguments."""
    if function in _CREATORS:
        return _like(function, args, kwargs)
    override = _OVERRIDES.get(function)
    try:
        if override is not None:
            return override(*args, **kwargs)
        lifted = [lift(a) if is_traced(a) and not isinstance(a, TracedArray) else a for a in args]
        named = {k: lift(a) if isinstance(a, TracedScalar) else a for k, a in kwargs.items()}
        # NumPy's default implementation, as for any subclass that overrides nothing
        return _wrap(np.ndarray.__array_function__(np.empty(0).view(TracedArray), function, (), lifted, named))  # type: ignore
    except TypeError as error:
        raise _unsupported(f"this use of {_numpy_name(function)} ({error})") from error
