"""`crosscheck`, its table and its verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import casadi as ca
from numpy.typing import ArrayLike

from adjoint.control.guess import make_guess
from adjoint.control.problem import OptimalControlProblem
from adjoint.control.solution import Solution
from adjoint.control.solve import solve
from adjoint.crosscheck.derivatives import DerivativeCheck, check_derivatives
from adjoint.crosscheck.ipopt import COST_FLOOR, NEARBY, Difference, IpoptRun, evaluate, run_ipopt
from adjoint.crosscheck.programme import start_from_guess, start_from_solution, transcribe
from adjoint.errors import InputError
from adjoint.method import Method

__all__ = ["CrossCheck", "crosscheck"]

# Two solvers that stop at a scaled error of 1e-8 or less agree far better than this in the cost.
COST_TOLERANCE = 1e-6
# Near an optimum the cost is quadratic in the states: sqrt(1e-6).
STATE_TOLERANCE = 1e-3
# First-order quantities too, but solvers may distribute the multipliers of nearly degenerate constraints differently.
COSTATE_TOLERANCE = 1e-2
# Rows and bounds, in units of the states' scales: a hundred times the solver's default tolerance.
VIOLATION_TOLERANCE = 1e-6


@dataclass(frozen=True)
class CrossCheck:
    """What CasADi and IPOPT say about a solution; printed as a table with a verdict.

    Attributes
    ----------
    solution : Solution
    unknowns, rows : int
        Size of the programme given to IPOPT.
    violation : Difference
        Largest violation of this transcription's rows and bounds at the solution; relative to the scales of the states.
    cost_evaluated : float
        The cost of the solution's states and controls, computed by CasADi.
    from_guess, from_solution : IpoptRun
    derivatives : tuple of DerivativeCheck
    seconds : float
        Building the programme.
    """

    solution: Solution
    unknowns: int
    rows: int
    violation: Difference
    cost_evaluated: float
    from_guess: IpoptRun
    from_solution: IpoptRun
    derivatives: tuple[DerivativeCheck, ...]
    seconds: float

    @property
    def consistent(self) -> bool:
        """The solution satisfies this transcription and has the cost that it claims."""
        return self.violation.relative <= VIOLATION_TOLERANCE and _same_cost(self.cost_evaluated, self.solution.cost)

    @property
    def agrees(self) -> bool:
        """The solution is consistent, a run of IPOPT confirms its cost and its costates, and the derivatives are right.

        Also True if IPOPT, started from the guess, stops at another local optimum (or fails) but stays at the solution
        when it is started there: the verdict says so. Controls and states may differ: a consistent solution with the
        optimal cost is an optimum.
        """
        return self.consistent and self._costates_agree and all(d.agrees for d in self.derivatives)

    @property
    def _costates_agree(self) -> bool:
        """In one of the runs that confirm the cost."""
        return any(
            self._confirms(run) and run.differences["costates"].relative <= COSTATE_TOLERANCE
            for run in (self.from_guess, self.from_solution)
        )

    @property
    def cost_difference(self) -> float:
        """IPOPT's cost from the guess minus the solution's."""
        return self.from_guess.cost - self.solution.cost

    @property
    def verdict(self) -> str:
        """One sentence."""
        first, second, cost = self.from_guess, self.from_solution, self.solution.cost
        wrong = [d for d in self.derivatives if not d.agrees]
        if wrong:
            return f"The compiled derivatives of {wrong[0].function} are wrong: they differ by {wrong[0]}."
        if self.violation.relative > VIOLATION_TOLERANCE or math.isnan(self.violation.relative):
            return (
                f"The solution is infeasible in CasADi's transcription: {self.violation.where} is violated by "
                f"{self.violation.absolute:.2g}. {self._runs()}"
            )
        if not self.consistent:
            return (
                f"The solution's cost is not that of its states and controls: it says {_number(cost)}, "
                f"CasADi evaluates {_number(self.cost_evaluated)}. {self._runs()}"
            )
        if (self._confirms(first) or self._confirms(second)) and not self._costates_agree:
            found = (first if self._confirms(first) else second).differences
            return (
                f"IPOPT agrees on the cost (to {found['cost'].relative:.1g}) but not on the costates "
                f"({found['costates'].where} differs by {found['costates'].absolute:.2g}): one of them is wrong, "
                "or the multipliers are not unique."
            )
        if self._confirms(first):
            found = first.differences
            if found["states"].relative > STATE_TOLERANCE:
                return (
                    f"IPOPT agrees on the cost (to {found['cost'].relative:.1g}) at other states "
                    f"({found['states'].where} differs by {found['states'].absolute:.2g}): the optimum is not unique."
                )
            return (
                f"IPOPT agrees: cost to {found['cost'].relative:.1g}, states to {found['states'].relative:.1g}, "
                f"costates to {found['costates'].relative:.1g} (relative)."
            )
        if self._confirms(second):
            stays = second.differences["states"].relative <= STATE_TOLERANCE
            end = (
                "started from this solution it stays there."
                if stays
                else "started from this solution it finds the same cost."
            )
            if first.success:
                better = self.solution.problem.sign * (first.cost - cost) < 0
                kind = "another and better" if better else "another"
                return f"IPOPT stopped at {kind} local optimum: {_number(first.cost)} against {_number(cost)}; {end}"
            return f"IPOPT failed from the guess: {_words(first.status)}; {end}"
        return self._runs()

    def _confirms(self, run: IpoptRun) -> bool:
        return run.success and bool(run.differences) and _same_cost(run.cost, self.solution.cost)

    def _runs(self) -> str:
        """What the two runs found, for a solution that neither confirms."""
        first, second = self.from_guess, self.from_solution
        ends = [
            f"from {run.start} {_number(run.cost) if run.success else _words(run.status)}" for run in (first, second)
        ]
        if not (first.success or second.success):
            return f"IPOPT failed: {'; '.join(ends)}."
        return f"IPOPT finds {'; '.join(ends)}; this solution has {_number(self.solution.cost)}."

    def __str__(self) -> str:
        solution, runs = self.solution, (self.from_guess, self.from_solution)
        system = solution.problem.system
        scheme = "discrete system" if system.discrete else solution.method.name
        lines = [
            f"{solution.problem.name} against CasADi {ca.CasadiMeta.version()} and IPOPT "
            f"({scheme}, {solution.N} intervals, {self.unknowns} unknowns, {self.rows} rows)",
            _row("", [f"from {run.start}" for run in runs]),
            _row("status", [_words(run.status) for run in runs]),
            _row("iterations", [str(run.iterations) for run in runs]),
            _row("seconds", [f"{run.seconds:.3f}" for run in runs]),
            _row("cost", [_number(run.cost) for run in runs], f"this solution: {_number(solution.cost)}"),
        ]
        for name in self.from_guess.differences or self.from_solution.differences:
            found = [run.differences.get(name) for run in runs]
            first = found[0] or found[1]
            where = f"at {first.where}" if first is not None and first.where and first.absolute > 0 else ""
            lines.append(
                _row(f"{name}, relative difference", ["-" if d is None else f"{d.relative:.1e}" for d in found], where)
            )
        at = f"at {self.violation.where}" if self.violation.where else ""
        lines += [
            _row("violation of this solution", ["", f"{self.violation.relative:.1e}"], at),
            _row("its cost, evaluated", ["", _number(self.cost_evaluated)]),
            _row("machine-code derivatives, difference from", ["CasADi's interpreter", "user's Python function"]),
        ]
        for d in self.derivatives:
            values = ["-" if v is None else f"{v:.1e}" for v in (d.interpreter, d.python)]
            lines.append(_row(d.function, values, f"({d.how}, {d.points} points)"))
        return "\n".join([*(line.rstrip() for line in lines), self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, for JSON; a number that is not finite becomes None."""

        def difference(d: Difference) -> dict[str, Any]:
            return {"relative": _finite(d.relative), "absolute": _finite(d.absolute), "where": d.where}

        def run(r: IpoptRun) -> dict[str, Any]:
            return {
                "success": r.success,
                "status": r.status,
                "iterations": r.iterations,
                "seconds": r.seconds,
                "cost": _finite(r.cost),
                "differences": {name: difference(d) for name, d in r.differences.items()},
            }

        solution = self.solution
        return {
            "problem": solution.problem.name,
            "verdict": self.verdict,
            "agrees": self.agrees,
            "method": None if solution.problem.system.discrete else solution.method.name,
            "intervals": solution.N,
            "substeps": solution.substeps,
            "unknowns": self.unknowns,
            "rows": self.rows,
            "seconds": self.seconds,
            "cost": _finite(solution.cost),
            "cost_difference": _finite(self.cost_difference),
            "cost_evaluated": _finite(self.cost_evaluated),
            "violation": difference(self.violation),
            "from_guess": run(self.from_guess),
            "from_solution": run(self.from_solution),
            "derivatives": [
                {
                    "function": d.function,
                    "points": d.points,
                    "interpreter": _finite(d.interpreter),
                    "python": _finite(d.python),
                    "how": d.how,
                }
                for d in self.derivatives
            ],
        }


def crosscheck(
    problem_or_solution: OptimalControlProblem | Solution,
    *,
    method: Method | str | None = None,
    intervals: int | ArrayLike | None = None,
    guess: Mapping[str, Any] | None = None,
    tol: float = 1e-10,
    progress: bool = False,
) -> CrossCheck:
    """Solve the same problem with CasADi and IPOPT, in an independent transcription, and compare.

    Parameters
    ----------
    problem_or_solution : OptimalControlProblem or Solution
        A problem is first solved by `adjoint.solve`.
    method, intervals : optional
        As for `solve`, with a problem only: a solution is checked on its own mesh with its own method.
    guess : mapping, optional
        Where IPOPT starts (and `solve`, for a problem); the rules are those of `solve`.
    tol : float
        Tolerance of both solvers.
    progress : bool
        Print IPOPT's log.

    Returns
    -------
    CrossCheck
        Also when IPOPT fails, or when it disagrees: `agrees` and `verdict` say so.

    Raises
    ------
    InputError
        For arguments that do not fit. TraceError, if a function of the problem cannot be traced.

    Examples
    --------
    >>> import adjoint
    >>> car = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="position speed", controls="force", name="car")
    >>> problem = adjoint.OptimalControlProblem(
    ...     car, initial=dict(position=0, speed=0), final=dict(position=1, speed=0), t=(0, 1),
    ...     running=lambda t, x, u, p: u[0] ** 2)
    >>> crosscheck(problem).agrees
    True
    """
    if not 0 < tol < 1:
        raise InputError(f"crosscheck: tol is {tol!r}; expected a number between 0 and 1.")
    if guess is not None and not isinstance(guess, Mapping):
        raise InputError(
            f"crosscheck: guess is {type(guess).__name__}; expected a mapping from names to values. "
            "(IPOPT is started from the solution in any case.)"
        )
    if isinstance(problem_or_solution, Solution):
        if method is not None or intervals is not None:
            raise InputError(
                "crosscheck: a solution is checked on its own mesh with its own method. Pass the problem, "
                "crosscheck(solution.problem, method=..., intervals=...), to choose others."
            )
        solution = problem_or_solution
    elif isinstance(problem_or_solution, OptimalControlProblem):
        solution = solve(problem_or_solution, method=method, intervals=intervals, guess=guess, tol=tol)
    else:
        raise InputError(
            f"crosscheck: the first argument is {type(problem_or_solution).__name__}; "
            "expected an OptimalControlProblem or a Solution."
        )
    clock = time.perf_counter()
    start = make_guess(solution.problem, guess)
    programme = transcribe(solution, start)
    seconds = time.perf_counter() - clock
    w = start_from_solution(programme, solution)
    violation, cost = evaluate(programme, solution, w)
    runs = (
        run_ipopt(programme, solution, "the guess", start_from_guess(programme, start), tol, {}, progress),
        run_ipopt(programme, solution, "this solution", w, tol, NEARBY, progress),
    )
    return CrossCheck(
        solution, w.size, programme.row_scale.size, violation, cost, *runs, check_derivatives(solution, start), seconds
    )


def _same_cost(a: float, b: float) -> bool:
    return abs(a - b) <= COST_TOLERANCE * max(abs(a), abs(b)) + COST_FLOOR


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.10g}"


def _words(status: str) -> str:
    return _STATUS.get(status, status.replace("_", " ").lower())


_STATUS = {
    "Solve_Succeeded": "solved",
    "Solved_To_Acceptable_Level": "solved acceptably",
    "Infeasible_Problem_Detected": "found no feasible point",
    "Maximum_Iterations_Exceeded": "too many iterations",
    "Maximum_CpuTime_Exceeded": "out of time",
    "Restoration_Failed": "restoration failed",
    "Invalid_Number_Detected": "not a number at the start",
    "Not_Enough_Degrees_Of_Freedom": "more rows than unknowns",
}


def _row(label: str, values: Sequence[str], note: str = "") -> str:
    first, second = values
    return f"  {label:<41} {first:>24} {second:>24}  {note}"
