"""NumPy's functions (not ufuncs) on traced arguments: the other half of NumPy's protocol.

A few need values in NumPy's own code (where, clip, interp, linalg) and are written anew here, without values. Every
other function is NumPy's own implementation on an object array, as for any subclass that overrides nothing: it ends in
ufuncs, and what would need a value is refused there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import casadi
import numpy as np
from casadi import SX

from adjoint.errors import TraceError
from adjoint.symbolic import linear_algebra, piecewise
from adjoint.symbolic.elementwise import choose
from adjoint.symbolic.refusals import numpy_name, unsupported
from adjoint.symbolic.traced import (
    TracedArray,
    TracedScalar,
    apply_ufunc,
    as_scalar,
    is_traced,
    lift,
    map_scalars,
    wrap,
)

__all__ = ["apply_function", "where_traced"]


def where_traced(condition: Any, a: Any, b: Any) -> Any:
    """np.where(condition, a, b) elementwise on traced values."""

    def one(c: TracedScalar, a: TracedScalar, b: TracedScalar) -> TracedScalar:
        return TracedScalar(choose(c.sx, a.sx, b.sx), a.is_condition and b.is_condition)

    return map_scalars(one, condition, a, b)


def _where(condition: Any, *branches: Any) -> Any:
    if len(branches) != 2:
        raise unsupported("np.where with one argument (indices by value)")
    return where_traced(condition, *branches)


def _select(conditions: Sequence, choices: Sequence, default: Any = 0) -> Any:
    result = default
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        result = where_traced(condition, choice, result)
    return result


def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: None = None, *, min: Any = None, max: Any = None) -> Any:
    low = min if a_min is None else a_min
    high = max if a_max is None else a_max
    result = a if low is None else apply_ufunc(np.maximum, "__call__", (a, low))
    return result if high is None else apply_ufunc(np.minimum, "__call__", (result, high))


def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    if period is not None or is_traced(xp) or is_traced(fp):
        raise unsupported("np.interp with a period or with traced xp, fp")
    nodes, values = np.asarray(xp, float), np.asarray(fp, float)
    if nodes.ndim != 1 or nodes.shape != values.shape or len(nodes) < 2 or not np.all(np.diff(nodes) > 0):
        raise TraceError("np.interp needs xp and fp of one length (2 or more) and xp increasing.")
    coefficients = np.stack([values[:-1], np.diff(values) / np.diff(nodes)])
    below = values[0] if left is None else left
    above = values[-1] if right is None else right

    def one(v: TracedScalar) -> TracedScalar:
        inside = piecewise.symbolic(v.sx, nodes, coefficients)
        lower = choose(v.sx < nodes[0], as_scalar(below).sx, inside)
        return TracedScalar(choose(v.sx > nodes[-1], as_scalar(above).sx, lower))

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
        raise TraceError(
            f"np.linalg.solve got A of shape {A.shape} and b of shape {right.shape}; they must have equal rows."
        )
    x = _array(linear_algebra.solve(A, _matrix(right.reshape(len(right), -1), "np.linalg.solve")))
    return x.reshape(right.shape)


def _inv(a: Any) -> Any:
    A = _square(a, "np.linalg.inv")
    return _array(linear_algebra.solve(A, SX.eye(A.shape[0])))


def _det(a: Any) -> Any:
    A = _square(a, "np.linalg.det")
    if A.shape[0] > linear_algebra.LARGEST_DETERMINANT:
        raise unsupported(
            f"np.linalg.det of a matrix with {A.shape[0]} rows (at most {linear_algebra.LARGEST_DETERMINANT})"
        )
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
    raise unsupported(f"np.linalg.norm with ord={ord!r}")


def _like(function: Callable, args: tuple, kwargs: dict) -> TracedArray:
    """np.array(..., like=x), np.zeros(3, like=x) and their kin: a traced array, ready for assignment."""
    return lift(function(*args, **{**kwargs, "dtype": object}))


def _full_like(
    prototype: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Any:
    """An array of one value that accepts traced numbers, whatever dtype was asked for; a scalar for a scalar."""
    values = np.broadcast_to(lift(fill_value).view(np.ndarray), np.shape(prototype) if shape is None else shape)
    return wrap(values.copy())


def _zeros_like(prototype: Any, *args: Any, **kwargs: Any) -> Any:
    return _full_like(prototype, 0.0, *args, **kwargs)


def _ones_like(prototype: Any, *args: Any, **kwargs: Any) -> Any:
    return _full_like(prototype, 1.0, *args, **kwargs)


_OVERRIDES: dict[Callable, Callable] = {
    np.where: _where,
    np.select: _select,
    np.clip: _clip,
    np.interp: _interp,
    np.zeros_like: _zeros_like,
    np.empty_like: _zeros_like,
    np.ones_like: _ones_like,
    np.full_like: _full_like,
    np.linalg.solve: _solve,
    np.linalg.inv: _inv,
    np.linalg.det: _det,
    np.linalg.norm: _norm,
}
_CREATORS = (np.array, np.asarray, np.zeros, np.ones, np.empty, np.full, np.eye, np.identity)


def apply_function(function: Callable, args: tuple, kwargs: dict) -> Any:
    """NumPy's `function(*args, **kwargs)` on traced arguments."""
    if function in _CREATORS:
        return _like(function, args, kwargs)
    override = _OVERRIDES.get(function)
    try:
        if override is not None:
            return override(*args, **kwargs)
        # NumPy's default implementation, as for any subclass that overrides nothing
        return wrap(np.ndarray.__array_function__(np.empty(0), function, (), args, kwargs))
    except TypeError as error:
        raise unsupported(f"{numpy_name(function)} with these arguments ({error})") from error
