"""Traced numbers and arrays: what a user's function computes with while its graph is recorded.

`TracedScalar` holds one CasADi expression. `TracedArray` is a NumPy array of dtype object that holds such scalars, so
that slices, broadcasting, stacking, einsum and sums are NumPy's own. Both speak NumPy's protocols: `__array_ufunc__`
sends every ufunc to `elementwise.operation_of`, `__array_function__` goes to `functions`.

A traced number has no value. Whatever would need one (a truth value, a float, an index) is refused with the cure;
`trace` adds the name of the function and the line.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from casadi import SX

from adjoint.errors import TraceError
from adjoint.symbolic.elementwise import ARITHMETIC_ON_NUMBERS, CONDITIONS, CONDITIONS_ONLY, operation_of
from adjoint.symbolic.refusals import no_float, no_integer, no_truth_value, numpy_name, unsupported

__all__ = [
    "TracedArray",
    "TracedScalar",
    "apply_scalar",
    "apply_ufunc",
    "as_scalar",
    "is_traced",
    "lift",
    "map_scalars",
    "wrap",
]


class TracedScalar:
    """One number of a graph. `sx` is its expression; `is_condition` says that it is true (1) or false (0)."""

    __slots__ = ("is_condition", "sx")
    __hash__ = None  # type: ignore[assignment]
    shape: tuple[int, ...] = ()
    ndim = 0
    size = 1
    dtype = np.dtype(object)

    def __init__(self, sx: SX, is_condition: bool = False):
        self.sx = sx
        self.is_condition = is_condition

    def __repr__(self) -> str:
        return f"traced({str(self.sx)[:60]})"

    def __format__(self, specification: str) -> str:
        return repr(self)

    # NumPy's protocols
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return apply_ufunc(ufunc, method, inputs, **options)

    def __array_function__(self, function: Callable, types: Any, args: tuple, kwargs: dict) -> Any:
        return _array_function(function, args, kwargs)

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
        return apply_scalar(np.negative, self)

    def __pos__(self) -> TracedScalar:
        return self

    def __abs__(self) -> TracedScalar:
        return apply_scalar(np.absolute, self)

    def __floor__(self) -> TracedScalar:
        return apply_scalar(np.floor, self)

    def __ceil__(self) -> TracedScalar:
        return apply_scalar(np.ceil, self)

    def __trunc__(self) -> TracedScalar:
        return apply_scalar(np.trunc, self)

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
        return apply_scalar(np.invert, self)

    # What would need a value
    def __bool__(self) -> NoReturn:
        no_truth_value()

    def __float__(self) -> NoReturn:
        no_float()

    def __complex__(self) -> NoReturn:
        no_float()

    def __int__(self) -> NoReturn:
        no_integer()

    def __index__(self) -> NoReturn:
        no_integer()

    def __round__(self, digits: int | None = None) -> NoReturn:
        raise TraceError(
            "round() has no derivative and is not traced. Use np.floor(v + 0.5), or leave the value unrounded."
        )

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
        return apply_scalar(np.sqrt, self)

    def cbrt(self) -> TracedScalar:
        return apply_scalar(np.cbrt, self)

    def exp(self) -> TracedScalar:
        return apply_scalar(np.exp, self)

    def exp2(self) -> TracedScalar:
        return apply_scalar(np.exp2, self)

    def expm1(self) -> TracedScalar:
        return apply_scalar(np.expm1, self)

    def log(self) -> TracedScalar:
        return apply_scalar(np.log, self)

    def log2(self) -> TracedScalar:
        return apply_scalar(np.log2, self)

    def log10(self) -> TracedScalar:
        return apply_scalar(np.log10, self)

    def log1p(self) -> TracedScalar:
        return apply_scalar(np.log1p, self)

    def sin(self) -> TracedScalar:
        return apply_scalar(np.sin, self)

    def cos(self) -> TracedScalar:
        return apply_scalar(np.cos, self)

    def tan(self) -> TracedScalar:
        return apply_scalar(np.tan, self)

    def arcsin(self) -> TracedScalar:
        return apply_scalar(np.arcsin, self)

    def arccos(self) -> TracedScalar:
        return apply_scalar(np.arccos, self)

    def arctan(self) -> TracedScalar:
        return apply_scalar(np.arctan, self)

    def sinh(self) -> TracedScalar:
        return apply_scalar(np.sinh, self)

    def cosh(self) -> TracedScalar:
        return apply_scalar(np.cosh, self)

    def tanh(self) -> TracedScalar:
        return apply_scalar(np.tanh, self)

    def arcsinh(self) -> TracedScalar:
        return apply_scalar(np.arcsinh, self)

    def arccosh(self) -> TracedScalar:
        return apply_scalar(np.arccosh, self)

    def arctanh(self) -> TracedScalar:
        return apply_scalar(np.arctanh, self)

    def deg2rad(self) -> TracedScalar:
        return apply_scalar(np.deg2rad, self)

    def rad2deg(self) -> TracedScalar:
        return apply_scalar(np.rad2deg, self)

    def radians(self) -> TracedScalar:
        return apply_scalar(np.radians, self)

    def degrees(self) -> TracedScalar:
        return apply_scalar(np.degrees, self)

    def fabs(self) -> TracedScalar:
        return apply_scalar(np.fabs, self)

    def arctan2(self, other: Any) -> Any:
        return _binary(np.arctan2, self, other)

    def hypot(self, other: Any) -> Any:
        return _binary(np.hypot, self, other)

    def fmod(self, other: Any) -> Any:
        return _binary(np.fmod, self, other)


class TracedArray(np.ndarray):
    """Array of traced numbers (dtype object). Elements may also be plain numbers, as after np.zeros_like(x)."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, **options: Any) -> Any:
        return apply_ufunc(ufunc, method, inputs, **options)

    def __array_function__(self, function: Callable, types: Any, args: Any, kwargs: Any) -> Any:
        return _array_function(function, args, kwargs)

    def clip(self, min: Any = None, max: Any = None, out: None = None) -> Any:  # type: ignore[override]
        return np.clip(self, min, max)

    def __bool__(self) -> NoReturn:
        no_truth_value()

    def __float__(self) -> NoReturn:
        no_float()

    def __complex__(self) -> NoReturn:
        no_float()

    def __int__(self) -> NoReturn:
        no_integer()

    def __index__(self) -> NoReturn:
        no_integer()


def _array_function(function: Callable, args: tuple, kwargs: dict) -> Any:
    # Imported here because the functions are written in terms of the two classes above.
    from adjoint.symbolic.functions import apply_function

    return apply_function(function, args, kwargs)


def is_traced(value: object) -> bool:
    """Whether a value is traced itself, is an object array, which may hold traced numbers, or a list of such."""
    if isinstance(value, (list, tuple)):
        return any(is_traced(part) for part in value)
    return isinstance(value, TracedScalar) or (isinstance(value, np.ndarray) and value.dtype == object)


def lift(value: Any) -> TracedArray:
    """Any number, list or array as a `TracedArray` whose elements are all `TracedScalar`."""
    plain = np.empty((), object) if isinstance(value, TracedScalar) else np.array(value, dtype=object)
    if isinstance(value, TracedScalar):
        plain[()] = value
    lifted = np.empty(plain.shape, object)
    for i, element in enumerate(plain.flat):
        lifted.flat[i] = as_scalar(element)
    return lifted.view(TracedArray)


def as_scalar(value: Any) -> TracedScalar:
    """One number, traced or not, as a traced one."""
    if isinstance(value, TracedScalar):
        return value
    if isinstance(value, (bool, np.bool_)):
        return TracedScalar(SX(float(value)), is_condition=True)
    if isinstance(value, (int, float, np.integer, np.floating)):
        return TracedScalar(SX(float(value)))
    if isinstance(value, (complex, np.complexfloating)):
        raise TraceError(
            f"the complex constant {value} meets a traced number; a graph is real. Write the two parts separately."
        )
    if value is None:
        raise TraceError("an element of an array was used before it was assigned. Start from np.zeros_like(x).")
    raise TraceError(
        f"an object of type {type(value).__name__} meets a traced number. Expected a real number or an array."
    )


def apply_scalar(ufunc: np.ufunc, *operands: TracedScalar) -> TracedScalar:
    """One ufunc on traced scalars."""
    operation = operation_of(ufunc)
    if operation is None:
        raise unsupported(numpy_name(ufunc))
    if ufunc in CONDITIONS_ONLY and not all(a.is_condition for a in operands):
        raise TraceError("&, |, ^ and ~ combine conditions such as (x[0] > 0); they were given a number.")
    if ufunc in ARITHMETIC_ON_NUMBERS and len(operands) == 2 and all(a.is_condition for a in operands):
        raise TraceError(
            "two conditions are added or subtracted, where NumPy and Python disagree on what that means. Combine them "
            "with np.logical_or / np.logical_and, or make them numbers first: np.where(condition, 1.0, 0.0)."
        )
    return TracedScalar(operation(*[a.sx for a in operands]), ufunc in CONDITIONS)


def _binary(ufunc: np.ufunc, a: Any, b: Any) -> Any:
    """The operator behind `a + b`: at once for two scalars, through NumPy's broadcasting for arrays."""
    other = b if isinstance(a, TracedScalar) else a
    if isinstance(other, (TracedScalar, int, float)):
        return apply_scalar(ufunc, as_scalar(a), as_scalar(b))
    if isinstance(other, (np.ndarray, np.generic, list, tuple, complex)):
        return apply_ufunc(ufunc, "__call__", (a, b))
    return NotImplemented


def map_scalars(operation: Callable[..., TracedScalar], *values: Any) -> Any:
    """Apply a function of traced scalars elementwise, with broadcasting; a 0-d result is returned as a scalar."""
    lifted = np.broadcast_arrays(*[lift(v).view(np.ndarray) for v in values])
    result = np.empty(lifted[0].shape, object)
    for i, operands in enumerate(zip(*[a.flat for a in lifted], strict=True)):
        result.flat[i] = operation(*operands)
    return wrap(result)


def wrap(result: Any) -> Any:
    """Result of NumPy's own code: object arrays become traced arrays, 0-d ones scalars."""
    if isinstance(result, np.ndarray) and result.dtype == object:
        return as_scalar(result.item()) if result.ndim == 0 else result.view(TracedArray)
    if isinstance(result, (list, tuple)):
        return type(result)([wrap(r) for r in result]) if type(result) in (list, tuple) else result
    return result


def _plain(value: Any) -> Any:
    """An array as NumPy's own object code wants it."""
    return lift(value).view(np.ndarray)


# ------------------------------------------------------------------------------------------------------------- ufuncs


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: tuple, out: Any = None, **options: Any) -> Any:
    """NumPy's `ufunc.method(*inputs, out=out, **options)` on traced inputs."""
    given = {name for name, value in options.items() if not _is_default(ufunc, name, value)}
    if method == "__call__" and not given:
        if ufunc is np.matmul:
            result = wrap(np.matmul(*[_plain(a) for a in inputs]))
        else:
            result = map_scalars(functools.partial(apply_scalar, ufunc), *inputs)
    elif method == "reduce" and given <= {"axis", "keepdims", "initial"}:
        axis, keepdims = options.get("axis", 0), options.get("keepdims") is True
        result = _reduce(ufunc, inputs[0], axis, keepdims, options.get("initial"))
    elif method == "accumulate" and given <= {"axis"}:
        result = _accumulate(ufunc, inputs[0], options.get("axis", 0))
    elif method == "outer" and not given:
        a, b = lift(inputs[0]), lift(inputs[1])
        result = map_scalars(functools.partial(apply_scalar, ufunc), a.reshape(a.shape + (1,) * b.ndim), b)
    else:
        raise unsupported(f"{numpy_name(ufunc)}" + (f".{method}" if method != "__call__" else "") + _with(given))
    if out is None:
        return result
    out[0][...] = result  # refused by a float array
    return out[0]


def _is_default(ufunc: np.ufunc, name: str, value: Any) -> bool:
    """Whether an option of a ufunc changes nothing. Casting never does in a graph, whose numbers are all real."""
    if name == "dtype":
        kinds = "fOb" if ufunc in CONDITIONS else "fO"
        if value is not None and np.dtype(value).kind not in kinds:
            raise TraceError(f"dtype={np.dtype(value)} was asked of traced numbers, which are real. Leave dtype out.")
        return True
    if name in ("casting", "subok", "order", "signature"):
        return True
    return value is None or value is np._NoValue or (name == "where" and value is True)  # type: ignore[attr-defined]


def _with(options: set[str]) -> str:
    return f" with {', '.join(sorted(options))}=" if options else ""


def _combine(ufunc: np.ufunc, elements: Sequence[TracedScalar], initial: Any = None) -> TracedScalar:
    """Fold a row of scalars with a binary ufunc, from the left."""
    if ufunc is np.add:  # a sum counts conditions, as NumPy's does
        elements = [TracedScalar(e.sx) for e in elements]
    if initial is not None and initial is not np._NoValue:  # type: ignore[attr-defined]
        elements = [as_scalar(initial), *elements]
    if not elements:
        if ufunc.identity is None:
            raise TraceError(f"{numpy_name(ufunc)}.reduce of an empty array: there is nothing to choose from.")
        return as_scalar(ufunc.identity)
    if len(elements) == 1 and ufunc in CONDITIONS:
        return TracedScalar(elements[0].sx != 0, True)
    return functools.reduce(functools.partial(apply_scalar, ufunc), elements)


def _reduce(ufunc: np.ufunc, array: Any, axis: Any, keepdims: bool, initial: Any) -> Any:
    a = _plain(array)
    axes = tuple(range(a.ndim)) if axis is None else tuple(np.atleast_1d(axis).tolist())
    axes = tuple(np.lib.array_utils.normalize_axis_tuple(axes, a.ndim)) if a.ndim else ()
    kept = [i for i in range(a.ndim) if i not in axes]
    rows = a.transpose(kept + sorted(axes)).reshape([a.shape[i] for i in kept] + [math.prod(a.shape[i] for i in axes)])
    result = np.empty(rows.shape[:-1], object)
    for index in np.ndindex(*result.shape):
        result[index] = _combine(ufunc, list(rows[index]), initial)
    if keepdims:
        return result.reshape([1 if i in axes else a.shape[i] for i in range(a.ndim)]).view(TracedArray)
    return wrap(result)


def _accumulate(ufunc: np.ufunc, array: Any, axis: int) -> Any:
    a = _plain(array)
    rows = np.moveaxis(a, axis, -1)
    result = np.empty(rows.shape, object)
    for index in np.ndindex(*rows.shape[:-1]):
        for k in range(rows.shape[-1]):
            part = rows[index][k]
            result[(*index, k)] = part if k == 0 else apply_scalar(ufunc, result[(*index, k - 1)], part)
    return wrap(np.moveaxis(result, -1, axis))
