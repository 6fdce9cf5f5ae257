"""The problem zoo: optimal-control problems with known answers, one file each.

A file ``name.py`` in this folder holds one documented function ``name``, which returns the problem; its keyword
arguments choose variants. Files are found by scanning the folder: adding one is all it takes. A file may also
hold ``RECOMMENDED``, the arguments of `adjoint.solve` (a mesh, a method) that the problem's accuracy asks for
where the defaults do not reach it.

    >>> import adjoint
    >>> from adjoint import problems
    >>> problem = problems.find("hager_lq")
    >>> round(adjoint.solve(problem, **problems.recommended("hager_lq")).cost, 8)
    0.38079708
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from adjoint.control.problem import OptimalControlProblem
from adjoint.errors import InputError
from adjoint.names import near

__all__ = ["describe", "find", "names", "recommended"]


def names() -> list[str]:
    """Names of all problems, in alphabetical order.

    Examples
    --------
    >>> "goddard_rocket" in names()
    True
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def find(name: str) -> OptimalControlProblem:
    """The problem called `name`, in its default variant.

    For other variants call the function itself: ``from adjoint.problems.goddard_rocket import goddard_rocket``, then
    ``goddard_rocket(speed_limit=0.1)``.

    Raises
    ------
    InputError
        If there is none; the message offers the names nearest to it.
    """
    problem = _function(name)()
    if not isinstance(problem, OptimalControlProblem):
        raise InputError(f"problems/{name}.py: {name}() returned {type(problem).__name__}; "
                         "expected an OptimalControlProblem.")
    return problem


def describe(name: str) -> str:
    """What the problem is: the signature of its function, equations, data, source and optimum.

    Raises
    ------
    InputError
        If there is no such problem.
    """
    function = _function(name)
    signature = inspect.signature(function).replace(return_annotation=inspect.Signature.empty)
    return f"{name}{signature}\n\n{inspect.getdoc(function)}"


def recommended(name: str) -> Mapping[str, Any]:
    """The arguments of `adjoint.solve` that the problem recommends; empty if the defaults are good.

    Raises
    ------
    InputError
        If there is no such problem.
    """
    return MappingProxyType(dict(getattr(_module(name), "RECOMMENDED", {})))


def _module(name: str) -> ModuleType:
    known = names()
    if name not in known:
        raise InputError(f"there is no problem {name!r}. {near(name, known)}")
    return importlib.import_module(f"{__name__}.{name}")


def _function(name: str) -> Callable[[], Any]:
    function = getattr(_module(name), name, None)
    if not callable(function):
        raise InputError(f"problems/{name}.py holds no function {name}(). "
                         "A problem's file defines one function of its own name.")
    return function
