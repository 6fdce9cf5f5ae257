"""From a function in NumPy style to a CasADi graph.

    F = trace(f, [("t", None), ("x", 3), ("u", 1), ("p", 0)], outputs=3, role="dynamics of system 'rocket'")

runs `f(t, x, u, p)` once on traced numbers and returns the CasADi function F: (t, x, u, p) -> column of 3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import casadi
import numpy as np
from casadi import SX

from adjoint.errors import TraceError
from adjoint.symbolic.failures import function_name, place
from adjoint.symbolic.refusals import ORDINARY_ARRAY_HINT
from adjoint.symbolic.traced import TracedArray, TracedScalar

__all__ = ["trace"]

_BRANCH = re.compile(r"`.*\b(if|while|and|or|not|max|min|assert)\b(?<!np\.max)(?<!np\.min)")


def trace(
    function: Callable, arguments: Sequence[tuple[str, int | None]], outputs: int | None, role: str, expects: str = ""
) -> casadi.Function:
    """Trace a user's function into a graph.

    Parameters
    ----------
    function : called as ``function(*args)`` with one value for each entry of `arguments`. Returns a number, or a list,
        tuple or array of numbers; nested ones are raveled in order.
    arguments : name and length of each argument; None is a scalar, 0 an empty vector.
    outputs : number of values that must be returned; None is one scalar, -1 any number of values from 1 on.
    role : what the function is for, in the words of the error messages: ``"dynamics of system 'rocket'"``.
    expects : a clause that explains `outputs` in the error about their number:
        ``"system 'rocket' has 3 states (h, v, m)"``.

    Returns
    -------
    casadi.Function with the given argument names as inputs (columns) and one dense column ``out`` of length `outputs`
    (or 1).

    Raises
    ------
    TraceError
        names the function, its file and line, what cannot be traced there, and what to write instead.
    """
    symbols = [SX.sym(name, 1 if length is None else length) for name, length in arguments]
    values = [_argument(symbol, length) for symbol, (_, length) in zip(symbols, arguments, strict=True)]
    try:
        result = function(*values)
    except TraceError as error:
        where = place(function, error.__traceback__)
        hint = f" {ORDINARY_ARRAY_HINT}" if "truth value" in str(error) and not _BRANCH.search(where) else ""
        raise TraceError(f"{role}: {where}: {error}{hint}") from error
    except Exception as error:
        where = place(function, error.__traceback__)
        raise TraceError(f"{role}: {where} raised {_explain(error, arguments)}") from error

    elements: list[SX] = []
    _flatten(result, elements, f"{role}: {place(function)}")
    expected = 1 if outputs is None else max(1, len(elements)) if outputs == -1 else outputs
    if len(elements) != expected:
        raise TraceError(
            f"{role}: {place(function)} returned {_count(len(elements))}; {expects or f'{_count(expected)} expected'}. "
            f"Return {'one number' if outputs is None else f'a list or an array of {expected} numbers, in order'}."
        )
    column = casadi.cse(SX(casadi.densify(casadi.vertcat(*elements)))) if elements else SX(0, 1)
    try:
        return casadi.Function(_identifier(function), symbols, [column], [name for name, _ in arguments], ["out"])
    except RuntimeError as error:
        foreign = [s.name() for s in casadi.symvar(column) if not _contains(symbols, s)]
        if not foreign:
            raise
        raise TraceError(
            f"{role}: {place(function)} returned an expression of {', '.join(foreign)} that does not belong to this "
            "call. A traced number of an earlier call was kept in a global, an attribute or a default argument; keep "
            "plain numbers there."
        ) from error


def _argument(symbol: SX, length: int | None) -> TracedScalar | TracedArray:
    if length is None:
        return TracedScalar(symbol)
    array = np.empty(length, object)
    for i in range(length):
        array[i] = TracedScalar(symbol[i])
    array.flags.writeable = False  # a function that writes into its arguments would spoil the caller's arrays
    return array.view(TracedArray)


def _flatten(result: Any, elements: list[SX], where: str) -> None:
    """Append the numbers in a returned value, in order."""
    if isinstance(result, (list, tuple)):
        for part in result:
            _flatten(part, elements, where)
    elif isinstance(result, np.ndarray):
        for part in result.ravel().tolist():
            _flatten(part, elements, where)
    elif isinstance(result, TracedScalar):
        if result.sx.is_constant():
            _flatten(float(result.sx), elements, where)
        else:
            elements.append(result.sx)
    elif isinstance(result, (bool, int, float, np.bool_, np.integer, np.floating)):
        if not math.isfinite(result):
            raise TraceError(
                f"{where} returned the constant {float(result)} as value {len(elements)}; a finite number is expected."
            )
        elements.append(SX(float(result)))
    elif result is None:
        raise TraceError(f"{where} returned None. Is a `return` missing?")
    else:
        raise TraceError(
            f"{where} returned an object of type {type(result).__name__}. Return a number, or a list or array of real "
            "numbers."
        )


def _explain(error: Exception, arguments: Sequence[tuple[str, int | None]]) -> str:
    """Type and text of an exception, with the cure where it is known."""
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0]}" if lines[0] else type(error).__name__
    if type(error).__module__.startswith("numba"):
        return f"{text}. A compiled function cannot be traced: give the plain Python function (`function.py_func`)."
    if "read-only" in text:
        return f"{text}. The arguments must not be changed: work on a copy (x.copy())."
    if "must be of integer" in text or "only integer" in text or "only integers" in text:
        return f"{text}. A traced number cannot be an index: use an adjoint.Table, or choose with adjoint.where."
    if isinstance(error, IndexError):
        sizes = ", ".join(f"{name} has {length or 'no'} entries" for name, length in arguments if length is not None)
        return f"{text}. Here {sizes.replace('has 1 entries', 'has 1 entry')}; each is named when the System is made."
    if "TracedScalar' object is not subscriptable" in text:
        return f"{text}. The arguments come in the order ({', '.join(name for name, _ in arguments)}); t is a number."
    if isinstance(error, TypeError) and re.search(r"object|ufunc|no callable", text):
        return f"{text}. {ORDINARY_ARRAY_HINT}"
    return text


def _count(n: int) -> str:
    return "1 value" if n == 1 else f"{n} values"


def _identifier(function: Callable) -> str:
    """The function's name as CasADi accepts it: a letter first, then letters, digits and single underscores."""
    name = re.sub(r"_+", "_", re.sub(r"\W", "_", function_name(function), flags=re.ASCII)).strip("_") or "function"
    return name if name[0].isalpha() and name not in ("null", "jac", "hess") else f"f_{name}"


def _contains(symbols: Sequence[SX], symbol: SX) -> bool:
    return any(casadi.depends_on(s, symbol) for s in symbols if s.numel())
