"""A user's own problem, read from a Python file: ``path/to/landing.py`` or ``path/to/landing.py:function``.

Which object of the file is the problem:

    1. the one called after the colon
    2. a function or variable with the file's name
    3. the only variable that holds an OptimalControlProblem
    4. the only function of the file that says ``-> OptimalControlProblem``
    5. the only public function of the file that can be called without arguments

A file that leaves a choice is refused; the message names the candidates. The file may hold ``RECOMMENDED``, the
arguments of `adjoint.solve`, as the library's own problems do.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from adjoint.control.problem import OptimalControlProblem
from adjoint.errors import AdjointError, InputError

__all__ = ["is_file", "load_file"]


def is_file(target: str) -> bool:
    """Whether a target of the command line means a file and not the name of a problem."""
    return target.endswith(".py") or ".py:" in target or "/" in target or "\\" in target


def load_file(target: str) -> tuple[OptimalControlProblem, Mapping[str, Any]]:
    """The problem in a file, and the arguments of `adjoint.solve` that the file recommends.

    Parameters
    ----------
    target : str
        ``FILE.py`` or ``FILE.py:name``.

    Raises
    ------
    InputError
        If there is no such file, it fails to run, or it does not hold one problem; the message has file and line.
    """
    name, colon, attribute = target.rpartition(".py:")
    path = Path(f"{name}.py") if colon else Path(target)
    if path.suffix != ".py":
        raise InputError(f"{path} is no Python file. Give the name of a problem, or a file that ends in .py.")
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    module = _run(path)
    problem = _named(module, path, attribute) if colon else _only(module, path)
    recommended = getattr(module, "RECOMMENDED", {})
    if not isinstance(recommended, Mapping):
        raise InputError(f"{path}: RECOMMENDED is {type(recommended).__name__}; expected a dict of arguments of "
                         "adjoint.solve, such as dict(intervals=100).")
    return problem, recommended


def _run(path: Path) -> ModuleType:
    # Its folder comes first on the search path, as for `python FILE.py`: the file may import its neighbours.
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # A name that cannot be mistaken for another module's, whatever the file is called.
    spec = importlib.util.spec_from_file_location(f"adjoint_problem_file.{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    _guarded(path, spec.loader.exec_module, module)
    return module


def _guarded(path: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call code of the user's file; its errors become one sentence with the line."""
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        if isinstance(error, SyntaxError) and error.filename == str(path):
            lines = [error.lineno]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        if isinstance(error, AdjointError):
            raise InputError(f"{where}: {error}") from None
        if isinstance(error, SystemExit):
            raise InputError(f"{where}: the file ends the program. Put what is not the problem under "
                             "`if __name__ == \"__main__\":`.") from None
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"{where}: {type(error).__name__}: {text}") from error


def _named(module: ModuleType, path: Path, name: str) -> OptimalControlProblem:
    if name not in vars(module):
        raise InputError(f"{path} holds no {name!r}. {_offer(path, _callables(module))}")
    return _problem(vars(module)[name], path, name)


def _only(module: ModuleType, path: Path) -> OptimalControlProblem:
    candidates = vars(module)
    namesake = candidates.get(path.stem)
    if isinstance(namesake, OptimalControlProblem) or callable(namesake):
        return _problem(namesake, path, path.stem)
    found = {id(value): name for name, value in candidates.items() if isinstance(value, OptimalControlProblem)}
    functions = _callables(module)
    declared = [name for name in functions if _declares_problem(candidates[name])]
    for choice in (list(found.values()), declared, functions):
        if len(choice) > 1:
            raise InputError(f"{path} holds several things that may be the problem: {', '.join(choice)}. "
                             f"Name one: {path}:{choice[0]}")
        if choice:
            return _problem(candidates[choice[0]], path, choice[0])
    raise InputError(f"{path} holds no problem. Expected a function {path.stem}() that returns an "
                     "adjoint.OptimalControlProblem.")


def _callables(module: ModuleType) -> list[str]:
    """Public functions that the file defines and that need no argument."""
    return [name for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
            and name != "main" and not _needed(value)]


def _needed(function: Callable[..., Any]) -> list[str]:
    """Arguments without a default."""
    return [p.name for p in inspect.signature(function).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _declares_problem(function: Callable[..., Any]) -> bool:
    result = inspect.signature(function).return_annotation
    # A string under `from __future__ import annotations`.
    return result is OptimalControlProblem or str(result).split(".")[-1] == OptimalControlProblem.__name__


def _problem(value: Any, path: Path, name: str) -> OptimalControlProblem:
    if isinstance(value, OptimalControlProblem):
        return value
    if not callable(value):
        raise InputError(f"{path}: {name} is {type(value).__name__}; expected an adjoint.OptimalControlProblem, or a "
                         "function that returns one.")
    if inspect.isfunction(value) and _needed(value):
        raise InputError(f"{path}: {name}() needs the arguments {', '.join(_needed(value))}. Give them defaults, or "
                         "write a function without arguments.")
    problem = _guarded(path, value)
    if not isinstance(problem, OptimalControlProblem):
        raise InputError(f"{path}: {name}() returned {type(problem).__name__}; "
                         "expected an adjoint.OptimalControlProblem.")
    return problem


def _offer(path: Path, names: list[str]) -> str:
    return f"It has {', '.join(names)}." if names else "It has no function that can be called without arguments."
