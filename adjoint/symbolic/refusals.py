"""What a traced number refuses, and what to write instead. `trace` puts the function's name and the line in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from adjoint.errors import TraceError

__all__ = ["ORDINARY_ARRAY_HINT", "no_float", "no_integer", "no_truth_value", "numpy_name", "unsupported"]

ORDINARY_ARRAY_HINT = (
    "If no branch is in sight: np.array([...]) and np.asarray(...) turn traced numbers into an ordinary object array, "
    "which NumPy's comparisons, np.where, np.maximum, np.clip and np.linalg treat by value. Build it with "
    "np.block([...]), np.array([...], like=x) or np.asanyarray(x) instead."
)


def no_truth_value() -> NoReturn:
    """Refuse a branch."""
    raise TraceError(
        "the truth value of a traced number is needed, but a function is traced once, for all values, so `if`, "
        "`while`, `and`, `or`, `not`, max(), min() and masks cannot decide. Write adjoint.where(condition, a, b) for "
        "a branch, np.logical_and / np.logical_or to combine conditions, np.maximum / np.minimum, an adjoint.Table "
        "for data, or give the System its own kernels."
    )


def no_float() -> NoReturn:
    """Refuse a conversion to float."""
    raise TraceError(
        "a traced number cannot become a float, because it has no value yet. Use NumPy's function instead of math's "
        "(np.sin(v) for math.sin(v)). Instead of assigning into np.zeros(...) (`out = np.zeros(3); out[0] = v`) build "
        "a list, np.array([...]), or start from np.zeros_like(x). Leave out dtype=float and float()."
    )


def no_integer() -> NoReturn:
    """Refuse a conversion to an integer or an index."""
    raise TraceError(
        "a traced number cannot become an integer, an index or a count, because it has no value yet. Look values up "
        "in an adjoint.Table, choose between them with adjoint.where(condition, a, b), or give the System its own "
        "kernels."
    )


def numpy_name(function: Callable) -> str:
    """A function as the user writes it: np.sin, np.linalg.norm."""
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module}.{function.__name__}".replace("numpy.", "np.")


def unsupported(what: str) -> TraceError:
    """The error for a function that a graph cannot hold."""
    return TraceError(
        f"{what} is not supported on traced numbers. Write it with elementary operations (arithmetic, np.exp, "
        "np.sqrt, np.sum, adjoint.where, ...), look it up in an adjoint.Table, or give the System its own kernels."
    )
