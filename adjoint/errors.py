"""The library's own errors.

Each message says what was given, what was expected and what to do. Everything the library raises on purpose is an
`AdjointError`; bad arguments are also a `ValueError`, so that ``except ValueError`` works as it does in NumPy and
SciPy.
"""

from __future__ import annotations

__all__ = ["AdjointError", "InputError", "NativeError", "StabilityWarning", "TraceError"]


class AdjointError(Exception):
    """Base of every error that the library raises on purpose."""


class InputError(AdjointError, ValueError):
    """An argument is wrong: its shape, its name, its value."""


class TraceError(AdjointError):
    """A user's function could not be turned into a graph; the message names the function, the line and the cure."""


class NativeError(AdjointError):
    """A graph could not be turned into machine code, or machine code was used in a way that it does not support."""


class StabilityWarning(UserWarning):
    """Numbers that were computed as asked, and mean little: amplified rounding, a step that is too long for its
    method. The message has the growth or the step, and what to do.
    """
