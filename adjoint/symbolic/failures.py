"""Where in the user's function a trace failed: its name, its file, the line, and the text of that line."""

from __future__ import annotations

import functools
import inspect
import linecache
import traceback
from collections.abc import Callable
from types import CodeType, TracebackType

__all__ = ["function_name", "place"]


def _code(function: Callable) -> CodeType | None:
    """Code of the Python function behind partials, decorators, methods and callable objects; None for built-in ones."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.unwrap(function) is not function:
            function = inspect.unwrap(function)
        else:
            break
    if inspect.ismethod(function):
        function = function.__func__
    if not inspect.isfunction(function):
        function = type(function).__call__  # type: ignore[assignment]
    return function.__code__ if inspect.isfunction(function) else None


def function_name(function: Callable) -> str:
    """Name that the user knows the function by."""
    if isinstance(function, functools.partial):
        return function_name(function.func)
    return getattr(function, "__name__", type(function).__name__)


def place(function: Callable, trace: TracebackType | None = None) -> str:
    """Say where a function failed: at the innermost line of its own file, or at its definition without a traceback."""
    code = _code(function)
    name = function_name(function)
    if code is None:
        return f"function '{name}'"
    lines = [n for frame, n in traceback.walk_tb(trace) if frame.f_code.co_filename == code.co_filename]
    if not lines:
        return f"function '{name}' ({code.co_filename}, line {code.co_firstlineno})"
    text = linecache.getline(code.co_filename, lines[-1]).strip()
    text = text if len(text) <= 100 else text[:97] + "..."
    return f"function '{name}' ({code.co_filename}, line {lines[-1]}{': `' + text + '`' if text else ''})"
