"""The decorator of every compiled loop: Numba without the interpreter, cached in the library's own folder.

Numba keys its cache by the file that a function stands in. A kernel here is made of functions of several files, and a
stale mixture after an upgrade would be silently wrong; so the cache folder's name is a digest of the file, of all files
of the library that it imports, directly or not, of Numba and of Python, and a file in it that cannot be read back
counts as absent. Where the folder cannot be written, nothing is cached; nor is a wrapper around a function that does
not belong to the library, since nobody knows what that function depends on.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numba
from numba.core import caching
from numba.core.dispatcher import Dispatcher

from adjoint.native.cache import folder

__all__ = ["jit", "jit_exact", "jit_inline", "jit_part", "jit_piece", "jit_reassociating", "jit_wrapper"]


_PACKAGE = Path(__file__).parents[1]
_IMPORT = re.compile(r"^from adjoint\.(kernels|recurrent|ode|analysis)(?:\.(\w+))? import (.+?)$", re.MULTILINE)


def _sources(path: Path, found: set[Path]) -> None:
    """Add the file and all files with compiled loops that it imports to `found`."""
    if path in found or not path.exists():
        return
    found.add(path)
    for package, module, names in _IMPORT.findall(path.read_text(encoding="utf-8")):
        # `from adjoint.kernels import sweep` names a module; `from adjoint.kernels.sweep import forward` a function.
        for name in [module] if module else re.findall(r"\w+", names):
            _sources(_PACKAGE / package / f"{name}.py", found)


@cache
def _digest(*paths: Path) -> str:
    sources: set[Path] = {Path(__file__)}
    for path in paths:
        _sources(path, sources)
    digest = hashlib.sha256(f"{numba.__version__} {sys.version} {sys.platform}".encode())
    for source in sorted(sources):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:24]


class _Locator(caching._CacheLocator):
    """Points Numba at the folder of this version of a file with kernels."""

    def __init__(self, path: str, digest: str) -> None:
        self._path, self._digest = path, digest

    def get_cache_path(self) -> str:
        return self._path

    def get_source_stamp(self) -> str:
        return self._digest

    def get_disambiguator(self) -> None:
        return None

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator | None:
        paths = [Path(inspect.getfile(function)) for function in _wrapped(py_func)] + [Path(py_file)]
        if any(_PACKAGE not in path.parents for path in paths):
            return None
        digest = _digest(*paths)
        locator = cls(str(folder() / "kernels" / f"{paths[0].stem}-{digest}"), digest)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator


def _wrapped(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The compiled functions that a wrapper (`jit_wrapper`) holds in its closure."""
    held = (cell.cell_contents for cell in function.__closure__ or ())
    return [value.py_func for value in held if isinstance(value, Dispatcher)]


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes: ClassVar = [_Locator]


class _Cache(caching.FunctionCache):
    """Numba's cache of one function, in our folder; whatever cannot be read back is compiled again."""

    _impl_class = _Implementation

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Numba's key of a wrapper contains a number that is new in each process: name what is wrapped instead.
        names = tuple(f"{function.__module__}.{function.__qualname__}" for function in _wrapped(self._py_func))
        return (sig, codegen.magic_tuple(), names) if names else super()._index_key(sig, codegen)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            # Half-written or foreign file: pickle can raise anything here. Compiling again is always right.
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            warnings.warn(f"adjoint: compiled kernels cannot be kept on disk ({error}); set ADJOINT_CACHE_DIR to a "
                          "folder that can be written.", stacklevel=2)


def _compiled(function: Callable[..., Any], fastmath: set[str], inline: str = "never", **options: bool) -> Any:
    dispatcher = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, inline=inline, **options)(function)
    if not numba.config.DISABLE_JIT:
        try:
            dispatcher._cache = _Cache(function)
        except RuntimeError:
            pass  # no folder that can be written: compiled anew in each process
    return dispatcher


def jit(function: Callable[..., Any]) -> Any:
    """Compile a kernel at its first call; NumPy's division, contraction to fused multiply-add, no interpreter lock."""
    return _compiled(function, {"contract"})


def jit_exact(function: Callable[..., Any]) -> Any:
    """The same without contraction: a lane of a batch and a single run round alike."""
    return _compiled(function, set())


def jit_reassociating(function: Callable[..., Any]) -> Any:
    """The same for dense linear algebra: sums may be taken in another order (still the same one at every call)."""
    return _compiled(function, {"contract", "reassoc", "nsz"})


def jit_piece(function: Callable[..., Any]) -> Any:
    """`jit_reassociating` for a part of a recurrent cell: its machine code becomes part of the entry that is called.

    As a function of its own it would exist once in every library that was compiled with it, each copy optimised in its
    own surroundings; the linker takes the copy that was loaded first, and a process that compiles the cell would round
    otherwise than one that reads it from disk.
    """
    return _compiled(function, {"contract", "reassoc", "nsz"}, forceinline=True)


def jit_inline(function: Callable[..., Any]) -> Any:
    """The same for a part of one larger kernel: becomes part of its caller and is not compiled on its own, which
    saves seconds.
    """
    return _compiled(function, {"contract"}, "always")


def jit_part(function: Callable[..., Any]) -> Any:
    """The same as `jit_exact` for what only kernels call: without the wrappers that would let Python call it, whose
    compilation costs as much as that of the function.
    """
    return _compiled(function, set(), no_cpython_wrapper=True, no_cfunc_wrapper=True)


def jit_wrapper(wrapper: Callable[..., Any]) -> Any:
    """The same for a function that holds another compiled function in its closure and does nothing but call it."""
    return _compiled(wrapper, set())
