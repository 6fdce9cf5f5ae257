"""The command line: ``adjoint list``, ``adjoint solve NAME|FILE.py`` and ``adjoint stability NAME|FILE.py``.

    stdout          the answer: the solution as text, or with --json one JSON object and nothing else
    stderr          the table of iterations, warnings, errors in one line
    exit status     0 optimal (and, with --crosscheck, confirmed)    1 not optimal    2 bad usage or bad input

Whatever takes long to import (Matplotlib, rich, IPOPT's interface) is imported where it is used.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from adjoint.errors import AdjointError, InputError

if TYPE_CHECKING:
    from adjoint.control.problem import OptimalControlProblem
    from adjoint.control.solution import Solution
    from adjoint.crosscheck import CrossCheck

__all__ = ["main"]

OPTIMAL, NOT_OPTIMAL, BAD_INPUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SystemExit
        With status 2 for bad usage, with 0 after ``--help``: argparse's own way.
    """
    chosen = _parser().parse_args(arguments)
    with _one_line_warnings():
        try:
            status: int = chosen.run(chosen)
            sys.stdout.flush()
            return status
        except AdjointError as error:
            print(f"adjoint: {error}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt:
            print("adjoint: interrupted; there is no solution yet.", file=sys.stderr)
            return NOT_OPTIMAL
        except BrokenPipeError:
            # The reader of our output (`head`, say) has seen enough. Python flushes once more at exit: into nothing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOT_OPTIMAL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="adjoint", description="Optimal control with certified solutions.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the problems of the library, with their published optima")
    listing.set_defaults(run=_list)

    solve = commands.add_parser(
        "solve", help="solve a problem of the library, or one of your own",
        description="Solve an optimal-control problem.",
        epilog="exit status: 0 optimal, 1 not optimal (or not confirmed by --crosscheck), 2 bad usage or bad input")
    solve.set_defaults(run=_solve)
    solve.add_argument("problem", metavar="NAME|FILE.py[:FUNCTION]",
                       help="a name from `adjoint list`, or a Python file with a function that returns a problem")
    mesh = solve.add_argument_group("discretisation (default: what the problem recommends, else a refined mesh)")
    mesh.add_argument("--intervals", type=int, metavar="N", help="number of equal intervals")
    mesh.add_argument("--method", metavar="NAME", help="rk4, dopri5, radau3, gauss2, ... (default: as adjoint.solve)")
    mesh.add_argument("--substeps", type=int, metavar="N", help="Runge-Kutta steps an interval")
    limits = solve.add_argument_group("accuracy and limits")
    limits.add_argument("--tol", type=float, metavar="T", help="of the optimality conditions (default 1e-8)")
    limits.add_argument("--accuracy", type=float, metavar="A", help="of an independent re-integration (default 1e-4)")
    limits.add_argument("--max-iterations", type=int, metavar="N", help="default 1000")
    limits.add_argument("--time-limit", type=float, metavar="S", help="seconds (default: none)")
    output = solve.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    output.add_argument("--plot", type=Path, metavar="FILE", help="draw the solution: .png, .pdf, .svg")
    output.add_argument("--save", type=Path, metavar="FILE.npz", help="write all numbers, for adjoint.load")
    output.add_argument("--crosscheck", action="store_true", help="solve again with CasADi and IPOPT, and compare")
    output.add_argument("--quiet", action="store_true", help="no table of iterations")

    stability = commands.add_parser(
        "stability", help="what grows along the solution of a problem",
        description="Solve a problem, roll its control out by an explicit method, and say what that rollout does to "
                    "small errors and to gradients.")
    stability.set_defaults(run=_stability)
    stability.add_argument("problem", metavar="NAME|FILE.py[:FUNCTION]", help="as for `adjoint solve`")
    stability.add_argument("--method", metavar="NAME", default="rk4", help="of the rollout: euler, dopri5, ... (rk4)")
    stability.add_argument("--step", type=float, metavar="H", help="its step (default: a thousandth of the horizon)")
    stability.add_argument("--plot", type=Path, metavar="FILE", help="draw growth and spectra: .png, .pdf, .svg")
    stability.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


# -- adjoint list


def _list(_: argparse.Namespace) -> int:
    problems = _library()
    rows = [("problem", "optimum", "description")]
    for name in problems.names():
        published = problems.find(name).published
        rows.append((name, "-" if published is None else f"{published:.7g}", _summary(problems.describe(name))))
    width = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, optimum, description in rows:
        print(f"{name:<{width[0]}}  {optimum:>{width[1]}}  {description}")
    return OPTIMAL


def _library() -> ModuleType:
    """`adjoint.problems`: a folder of its own in the repository, a sub-package once installed."""
    try:
        return importlib.import_module("adjoint.problems")
    except ModuleNotFoundError as error:
        if error.name != "adjoint.problems":
            raise
        raise InputError("the library's problems are not there: adjoint is run from a folder, not installed. "
                         "Install it (pip install -e .), or solve a file of your own.") from None


def _summary(description: str) -> str:
    """The first sentence after the signature."""
    paragraphs = description.split("\n\n")
    return " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else ""


# -- adjoint solve


def _solve(chosen: argparse.Namespace) -> int:
    _check_files(chosen.plot, chosen.save)
    # With --json stdout belongs to the object: what the user's own file prints goes to stderr.
    with contextlib.redirect_stdout(sys.stderr) if chosen.json else contextlib.nullcontext():
        problem, recommended = _find(chosen.problem)
        solution = _run(problem, _options(chosen, recommended), chosen.quiet)
    if not chosen.json:
        print(solution, flush=True)
    _write(solution, chosen)
    check = _crosscheck(solution) if chosen.crosscheck else None
    if chosen.json:
        print(json.dumps(_plain(_report(solution) | _checked(check, chosen.crosscheck)), indent=2, allow_nan=False))
    elif check is not None:
        print(check)
    confirmed = not chosen.crosscheck or (check is not None and check.agrees)
    return OPTIMAL if solution.optimal and confirmed else NOT_OPTIMAL


def _check_files(*files: Path | None) -> None:
    """A long solve must not end in a file that cannot be written."""
    for file in files:
        if file is not None and not file.resolve().parent.is_dir():
            raise InputError(f"{file} cannot be written: there is no folder {file.parent}.")
        if file is not None and file.is_dir():
            raise InputError(f"{file} cannot be written: it is a folder.")


def _find(target: str) -> tuple[OptimalControlProblem, Mapping[str, Any]]:
    """The problem, and the arguments of the solve that it recommends."""
    from adjoint.problem_file import is_file, load_file

    if is_file(target):
        return load_file(target)
    problems = _library()
    if target not in problems.names() and Path(f"{target}.py").is_file():
        raise InputError(f"there is no problem {target!r} in the library. For your own file write {target}.py.")
    return problems.find(target), problems.recommended(target)


def _options(chosen: argparse.Namespace, recommended: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `adjoint.solve`: what the user says, else what the problem recommends, else its defaults."""
    names = ("intervals", "method", "substeps", "tol", "accuracy", "max_iterations", "time_limit")
    given = {name: getattr(chosen, name) for name in names if getattr(chosen, name) is not None}
    # Substeps belong to the method that they were recommended with.
    kept = {name: value for name, value in recommended.items() if not (name == "substeps" and "method" in given)}
    return kept | given


def _run(problem: OptimalControlProblem, options: Mapping[str, Any], quiet: bool) -> Solution:
    from adjoint.control.solve import solve
    from adjoint.progress import progress

    if quiet:
        with _quiet_compilers():
            return solve(problem, **options)
    with progress(problem.sign) as show:
        return solve(problem, **options, progress=show)


def _write(solution: Solution, chosen: argparse.Namespace) -> None:
    """The files that were asked for."""
    if chosen.plot is not None:
        from adjoint.plot import plot_solution

        plot_solution(solution, chosen.plot)
    if chosen.save is not None:
        solution.save(chosen.save)


def _crosscheck(solution: Solution) -> CrossCheck | None:
    """None if it is interrupted: the solution stands, unconfirmed."""
    from adjoint.crosscheck import crosscheck

    try:
        return crosscheck(solution)
    except KeyboardInterrupt:
        print("adjoint: the cross-check was interrupted.", file=sys.stderr)
        return None


# -- adjoint stability


def _stability(chosen: argparse.Namespace) -> int:
    from adjoint.analysis.report import StabilityReport, stability
    from adjoint.method import method
    from adjoint.sweeps import rollout

    _check_files(chosen.plot)
    with contextlib.redirect_stdout(sys.stderr) if chosen.json else contextlib.nullcontext():
        problem, recommended = _find(chosen.problem)
        tableau = method(chosen.method)
        solution = _run(problem, recommended, quiet=True)
    if not solution.converged:
        print(f"adjoint: warning: the solve did not converge: {solution.status}", file=sys.stderr)
    if problem.system.discrete:
        path = rollout(problem.system, solution.x[0], solution.u, solution.t, solution.p)
    else:
        horizon = float(solution.t[-1] - solution.t[0])
        if chosen.step is not None and not (math.isfinite(chosen.step) and 0 < chosen.step <= horizon):
            raise InputError(f"--step is {chosen.step}; expected a positive step, at most the horizon {horizon:g}.")
        steps = 1000 if chosen.step is None else math.ceil(horizon / chosen.step - 1e-9)
        t = np.linspace(solution.t[0], solution.t[-1], steps + 1)
        path = rollout(problem.system, solution.x[0], solution.control(t[:-1]), t, solution.p, tableau)
    report = stability(path)
    assert isinstance(report, StabilityReport)  # a single path
    if chosen.json:
        print(json.dumps(_plain({"problem": problem.name} | report.to_dict()), indent=2, allow_nan=False))
    else:
        print(report)
    if chosen.plot is not None:
        report.plot(chosen.plot)
    return OPTIMAL if solution.converged else NOT_OPTIMAL


# -- JSON


def _report(solution: Solution) -> dict[str, Any]:
    problem = solution.problem
    return {
        "problem": problem.name,
        "status": solution.status,
        "optimal": solution.optimal,
        "cost": solution.cost,
        "published": problem.published,
        "intervals": solution.N,
        "method": "discrete" if problem.system.discrete else solution.method.name,
        "iterations": solution.iterations,
        "seconds": {name: solution.seconds.get(name) for name in ("trace", "compile", "solve", "certify")},
        "certificate": None if solution.certificate is None else solution.certificate.to_dict(),
    }


def _checked(check: CrossCheck | None, asked: bool) -> dict[str, Any]:
    if not asked:
        return {}
    return {"crosscheck": None if check is None else check.to_dict()}


def _plain(value: Any) -> Any:
    """The same with NumPy's numbers as Python's, and null for what JSON cannot say: NaN and the infinities."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value if math.isfinite(value) else None


# -- stderr


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Warnings without the line of the library's source that raised them."""
    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
             line: str | None = None) -> None:
        print(f"adjoint: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def _quiet_compilers() -> Iterator[None]:
    """No announcements of compilations either."""
    before = os.environ.get("ADJOINT_QUIET")
    os.environ["ADJOINT_QUIET"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["ADJOINT_QUIET"]
        else:
            os.environ["ADJOINT_QUIET"] = before
