"""Compiled once, said once: kernels that compile at their first call, and the line that says so.

Compiled kernels are kept on disk (`kernels.jit`), so the wait happens once per installation; a silent wait of seconds
looks like a hang. Set ADJOINT_QUIET=1 to print nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np

from adjoint.kernels.jit import jit_exact

__all__ = ["Kernel", "announcing", "kernel", "kernels"]

PATIENCE = 0.7  # seconds that a user waits without wondering


@contextmanager
def announcing(sentence: str) -> Iterator[None]:
    """Print `sentence` to stderr if the block takes longer than 0.7 s, and the seconds when it ends.

    Parameters
    ----------
    sentence : str
        What is being done: ``"compiling the sweep kernels (once; kept on disk)"``.
    """
    if os.environ.get("ADJOINT_QUIET", "") not in ("", "0"):
        yield
        return
    start = time.perf_counter()
    said = threading.Event()

    def say() -> None:
        said.set()
        print(f"adjoint: {sentence} ...", file=sys.stderr, flush=True)

    timer = threading.Timer(PATIENCE, say)
    timer.daemon = True  # an interpreter that exits meanwhile must not wait for it
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if said.is_set():
            print(f"adjoint: ... done in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


class Kernel:
    """A Numba kernel with one explicit signature, compiled (or loaded from disk) at its first call and not at import.

    One signature means that a wrong array type is a `TypeError` and never a silent second compilation.
    """

    def __init__(self, function: Callable[..., Any], signature: Any, sentence: str) -> None:
        self._function, self._signature, self._sentence = function, signature, sentence
        self._compiled: Callable[..., Any] | None = None
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        """Call the kernel; the first call compiles it."""
        if self._compiled is None:
            with announcing(self._sentence):
                compiled = jit_exact(self._function)
                compiled.compile(self._signature)
                compiled.disable_compile()
                self._compiled = compiled
        return self._compiled(*arguments)


def kernel(signature: Any, sentence: str) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorator: make the function a `Kernel` of this signature; `sentence` is announced while it compiles."""
    return lambda function: Kernel(function, signature, sentence)


def kernels(signature: Callable[[Any], Any], sentence: str) -> Callable[[Callable[..., Any]], dict[np.dtype, Kernel]]:
    """Decorator: the same function as a kernel for float32 and one for float64, each compiled when it is needed.

    `signature` makes the signature from the Numba type of the numbers; the result is indexed by NumPy's dtype.
    """
    numbers = ((np.dtype(np.float32), numba.float32), (np.dtype(np.float64), numba.float64))
    return lambda function: {dtype: Kernel(function, signature(number), sentence) for dtype, number in numbers}
