"""Where sin, exp, pow and their relatives come from: glibc's libmvec where it exists, the C library elsewhere.

libmvec evaluates one function on a whole SIMD register. Its symbols are named after the x86 vector ABI,

    _ZGV  b|d|e  N  2|4|8  v|vv  _  sin|pow|...
          SSE 2, AVX2 4, AVX-512 8 lanes;  one v for each argument

and each is used only if this machine's libmvec has it (hypot, erf, tan, ... came with glibc 2.35). Its error bound is
4 ulp (3 ulp seen for cos, 2 for the others), against less than 1 ulp for the scalar functions; zeros, infinities, NaN
and arguments outside of the domain are treated as in C99.

Without libmvec (macOS, Windows, other processors, or ``ADJOINT_LIBMVEC=0`` in the environment) each lane calls the C
library's scalar function.

Scalar code calls the same vector routine on a splat, so that one lane and W lanes return the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from dataclasses import dataclass

import llvmlite.binding as llvm  # type: ignore[import-untyped]

UNARY = (
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "exp", "expm1", "log", "log1p", "erf",
)  # fmt: skip
BINARY = ("pow", "atan2", "hypot")
SCALAR_ONLY = ("fmod", "remainder")

_ISA_LETTER = {2: "b", 4: "d", 8: "e"}


@dataclass(frozen=True)
class VectorMath:
    """The routines that a module may call: `width` lanes a call, `symbols` as (C name, vector symbol) pairs.

    A C name that is absent from `symbols` is called lane by lane.
    """

    width: int
    symbols: tuple[tuple[str, str], ...] = ()

    @functools.cached_property
    def table(self) -> dict[str, str]:
        """`symbols` as a dictionary."""
        return dict(self.symbols)


def vector_math(width: int) -> VectorMath:
    """The routines for registers of `width` doubles on this machine, honouring ``ADJOINT_LIBMVEC``."""
    _register_scalar_functions()
    if os.environ.get("ADJOINT_LIBMVEC", "1") == "0":
        return VectorMath(width)
    return _libmvec(width)


@functools.cache
def _libmvec(width: int) -> VectorMath:
    if not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "AMD64"):
        return VectorMath(width)
    try:
        library = ctypes.CDLL("libmvec.so.1")
    except OSError:  # musl, or a glibc without libmvec
        return VectorMath(width)
    found = []
    for name in UNARY + BINARY:
        symbol = f"_ZGV{_ISA_LETTER[width]}N{width}{'vv' if name in BINARY else 'v'}_{name}"
        address = _address(library, symbol)
        if address is not None:
            llvm.add_symbol(symbol, address)
            found.append((name, symbol))
    return VectorMath(width, tuple(found))


@functools.cache
def _register_scalar_functions() -> None:
    """Tell LLVM where the C library's functions are; the linker of JIT code does not search it on every platform."""
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    for name in UNARY + BINARY + SCALAR_ONLY:
        address = _address(library, name)
        if address is not None and llvm.address_of_symbol(name) is None:
            llvm.add_symbol(name, address)


def _address(library: ctypes.CDLL, symbol: str) -> int | None:
    try:
        return ctypes.cast(library[symbol], ctypes.c_void_p).value
    except AttributeError:
        return None
