"""Evidence that a solution is one: named checks, made from the answer and the problem alone.

decide   optimality       stationarity and complementarity of the discretised problem, as the solver left them
         feasibility      dynamics, bounds, path and boundary constraints hold where the transcription imposes them
         re-integration   the control, applied from x(t0) by an independent adaptive integrator, reproduces the states,
                          the cost and the integral constraints
         minimum of H     no sampled admissible control makes H clearly smaller (see below)
inform   between nodes    bounds and path constraints where nothing imposes them
         local errors     every interval re-integrated from its own knot value (see below)
         dL/du = 0, costate equation, transversality, H constant, H = 0

Sizes. A state's size is max |x_i| over the trajectory, and at least a hundredth of the scale of its guess. An error
of the cost is relative to max(|cost|, 1/100 of the integral of |l| + |dl/dx| size and of |dphi/dx| size, 1e-10).
Costates are compared as size_i |error_i| relative to max |lambda_j| size_j, and H relative to the maximum over t of
|l| + sum |lambda_i f_i| + sum |nu_j g_j|
(where the minimum of H is sampled: at least 1/100 of the spread over the samples).

Unstable dynamics. If a perturbation of x(t0) grows by a factor g with g * 1e-10 > accuracy (1e-10: what each step of
the re-integration may err), then even an exact solution would not be reproduced from x(t0) by such a run. In that
case, and only then, the *sum* of the errors of all intervals, each re-integrated from its own knot value, has to stay
below the accuracy: the check "local errors" decides in the place of "re-integration", and says so.

The minimum of H. u(t) must minimise H(t, x(t), u, p, lambda(t)) over the admissible u. It is compared with a grid (or
Halton points and corners) of the control's box, with single components replaced, and with small changes of u itself.
A discretised answer has switching intervals and singular arcs, where a small excess means nothing. So this check
fails only if H is too large by more than 1e-2 of its scale on more than 5 % of the horizon. For discrete systems the
principle needs convexity, so there it informs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adjoint.control.evidence import Case, Check
from adjoint.control.feasibility import feasibility
from adjoint.control.pontryagin import conditions, minimum
from adjoint.control.reintegration import reintegration
from adjoint.control.solution import Solution
from adjoint.errors import InputError

__all__ = ["Certificate", "Check", "certify"]


@dataclass(frozen=True)
class Certificate:
    """The checks of a solution and their verdict.

    Attributes
    ----------
    holds : bool
        The solver converged and every deciding check passed.
    fault : str
        The first failure in words, with advice; empty if the certificate holds.
    checks : tuple of Check
    accuracy : float
    growth : float
        The factor by which a perturbation of x(t0) grows along the solution.
    """

    holds: bool
    fault: str
    checks: tuple[Check, ...] = ()
    accuracy: float = 1e-4
    growth: float = 1.0

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        known = ", ".join(check.name for check in self.checks)
        raise InputError(f"the certificate has no check {name!r}; it has {known}.")

    def __str__(self) -> str:
        lines = [f"  certificate  {'holds' if self.holds else 'DOES NOT HOLD'}"]
        for check in self.checks:
            limit = "        " if check.threshold is None else f"<= {check.threshold:.0e}"
            where = check.component if check.time is None else f"{check.component} at t = {check.time:.4g}".strip()
            tail = (where if check.value > 0 else "") + ("" if check.passed else "  FAILED")
            lines.append(f"    {check.name:<18} {check.value:9.2e} {limit}  {tail}".rstrip())
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and lists, for JSON; infinite values become None."""
        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        checks = [{key: plain(value) for key, value in asdict(check).items()} for check in self.checks]
        return {"holds": self.holds, "fault": self.fault, "accuracy": self.accuracy, "growth": plain(self.growth),
                "checks": checks}


def certify(solution: Solution, accuracy: float = 1e-4) -> Certificate:
    """Check a solution without the solver's help.

    Parameters
    ----------
    solution : Solution
    accuracy : float
        How well an independent integration must reproduce states and cost, relative to their sizes.

    Returns
    -------
    Certificate
        Also for a solution that fails: `holds` is False and `fault` says what, where, and what to do.

    Raises
    ------
    InputError
        If the accuracy is not between 0 and 1.

    Examples
    --------
    >>> import adjoint
    >>> from adjoint.control.certificate import certify
    >>> car = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="position speed", controls="force", name="car")
    >>> solution = adjoint.solve(adjoint.OptimalControlProblem(
    ...     car, initial=dict(position=0, speed=0), final=dict(position=1, speed=0),
    ...     running=lambda t, x, u, p: u[0] ** 2))
    >>> certify(solution).holds
    True
    """
    if not 0 < accuracy < 1:
        raise InputError(f"certify: accuracy is {accuracy!r}; expected a number between 0 and 1.")
    for name, values in (("states", solution.x), ("controls", solution.u), ("costates", solution.costate),
                         ("times", solution.t)):
        if not np.all(np.isfinite(values)):
            return Certificate(False, f"the {name} of the solution are not all finite numbers.", (), accuracy)
    case = Case(solution)
    optimality = _optimality(solution)
    feasible = feasibility(case)
    again, grown = reintegration(case, accuracy)
    principle = minimum(case)
    checks = (*again, *feasible, *optimality, *principle, *conditions(case, accuracy))
    # The first failure in the order of what a reader should repair first.
    order = (*optimality, *feasible, *again, *principle)
    fault = next((check.sentence for check in order if not check.passed), "")
    return Certificate(not fault, fault, checks, accuracy, grown)


def _optimality(s: Solution) -> list[Check]:
    """What the solver left: its own scaled error must be below its tolerance."""
    error, tol = float(s.residuals["scaled error"]), float(s.residuals["tolerance"])
    passed = bool(s.converged and error <= tol)
    part = "stationarity" if s.residuals["stationarity"] >= s.residuals["complementarity"] else "complementarity"
    words = (f"the discretised problem is not solved: its scaled optimality error is {error:.2g} (tolerance {tol:g}). "
             "Allow more iterations, or start from another guess.")
    return [Check("optimality", error, tol, passed, None, part, words)]
