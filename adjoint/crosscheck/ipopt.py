"""A run of IPOPT on the second transcription, and what differs from the solution.

IPOPT sees scaled unknowns and rows. With the Lagrangian J + sum multiplier * row (rows as in `programme`, in physical
units), the multiplier

    lambda_0        of the row initial
    lambda_{k+1}    of the row dynamics into knot k+1

is the gradient of the minimised cost-to-go: the costate in the sign of H = l + lambda' f. Stationarity in U_i reads
h b_i l_u + kappa_i' f_u = 0 with kappa_i the multiplier of the row slope, so the costate at a node is
kappa_i / (h b_i): the covector mapping. For a problem that maximises, multipliers belong to minimising the
negated objective, as in the solution.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.control.solution import Solution
from adjoint.crosscheck.programme import Programme, join, split

__all__ = ["COST_FLOOR", "NEARBY", "Difference", "IpoptRun", "evaluate", "relative_difference", "run_ipopt"]

Array = NDArray[np.float64]

# Costs below this are zero, as far as two solvers can tell.
COST_FLOOR = 1e-7

# A start that is already an optimum: stay close to the bounds that are active, with multipliers of the size of one.
NEARBY = {
    "mu_init": 1e-7,
    "bound_push": 1e-7,
    "bound_frac": 1e-7,
    "slack_bound_push": 1e-7,
    "slack_bound_frac": 1e-7,
    "bound_mult_init_method": "mu-based",
}


@dataclass(frozen=True)
class Difference:
    """The largest difference of one kind: relative to the quantity's size, absolute, and where it occurs."""

    relative: float
    absolute: float
    where: str = ""


@dataclass(frozen=True)
class IpoptRun:
    """One run of IPOPT.

    Attributes
    ----------
    start : str
        "the guess" or "this solution".
    success : bool
        IPOPT reports an optimum (to its tolerance or to its acceptable level).
    status : str
        IPOPT's return status, or what was raised.
    iterations : int
    seconds : float
        Of the solve alone; building the programme is `CrossCheck.seconds`.
    cost : float
        In the problem's own sense; NaN if IPOPT returned nothing.
    differences : dict from quantity to Difference
        This run against the solution: cost, states, controls, costates and, where the problem has them, initial time,
        final time, parameters, integral multipliers. Empty if IPOPT returned nothing finite.
    t, x, u, p, costate : arrays (N+1,), (N+1, n), (N, m) or (N, s, m), (n_p,), (N+1, n)
        Shaped and signed like those of a `Solution`.
    """

    start: str
    success: bool
    status: str
    iterations: int
    seconds: float
    cost: float
    differences: Mapping[str, Difference]
    t: Array = field(repr=False)
    x: Array = field(repr=False)
    u: Array = field(repr=False)
    p: Array = field(repr=False)
    costate: Array = field(repr=False)


def evaluate(programme: Programme, solution: Solution, w: Array) -> tuple[Difference, float]:
    """Largest violation of rows and bounds at w, and the cost."""
    F, G = programme.function(w)
    worst = Difference(0.0, 0.0)
    for blocks, vector in ((programme.unknowns, w), (programme.rows, np.asarray(G).ravel())):
        for name, value in split(blocks, vector).items():
            block = blocks[name]
            absolute = np.maximum(np.maximum(block.lower - value, value - block.upper), 0.0)
            relative = absolute / block.scale
            if relative.size and not relative.max() <= worst.relative:  # also if it is NaN
                k, i = np.unravel_index(
                    int(np.argmax(np.where(np.isnan(relative), math.inf, relative))), relative.shape
                )
                t = solution.t[0] + (solution.t[-1] - solution.t[0]) * block.tau[k]
                what = (
                    f"the bound of {block.labels[i]!r}"
                    if blocks is programme.unknowns
                    else f"row {name!r} of {block.labels[i]!r}"
                )
                worst = Difference(float(relative[k, i]), float(absolute[k, i]), f"{what} at t = {t:.4g}")
                if math.isnan(worst.relative):
                    break
    return worst, solution.problem.sign * float(F)


def run_ipopt(
    programme: Programme,
    solution: Solution,
    name: str,
    start: Array,
    tol: float,
    options: Mapping[str, Any],
    progress: bool,
) -> IpoptRun:
    """Solve the scaled programme; every failure becomes a status."""
    scale, row_scale = programme.scale, programme.row_scale
    w = ca.MX.sym("w", scale.size)
    F, G = programme.function(ca.DM(scale) * w)
    settings: dict[str, Any] = {"print_time": False, "show_eval_warnings": False, "error_on_fail": False}
    settings |= {
        f"ipopt.{key}": value
        for key, value in {
            "print_level": 5 if progress else 0,
            "sb": "yes",
            "tol": tol,
            "constr_viol_tol": tol,
            "max_iter": 3000,
            "max_cpu_time": 600.0,
            # With its default scaling MUMPS returns useless steps on long meshes of this form.
            "mumps_scaling": 7,
            **options,
        }.items()
    }
    bounds = {
        f"{side}b{kind}": join(getattr(block, bound) for block in blocks.values()) / by
        for kind, blocks, by in (("x", programme.unknowns, scale), ("g", programme.rows, row_scale))
        for side, bound in (("l", "lower"), ("u", "upper"))
    }
    found, multipliers, F_value = np.full(scale.size, math.nan), np.full(row_scale.size, math.nan), math.nan
    clock = time.perf_counter()
    try:
        solver = ca.nlpsol("crosscheck", "ipopt", {"x": w, "f": F, "g": G / ca.DM(row_scale)}, settings)
        clock = time.perf_counter()
        result = solver(x0=start / scale, **bounds)
        seconds = time.perf_counter() - clock
        stats = solver.stats()
        success, status, iterations = bool(stats["success"]), str(stats["return_status"]), int(stats["iter_count"])
        found, F_value = np.asarray(result["x"]).ravel() * scale, float(result["f"])
        multipliers = np.asarray(result["lam_g"]).ravel() / row_scale
    except RuntimeError as error:
        success, status, iterations, seconds = (
            False,
            str(error).strip().splitlines()[-1],
            0,
            time.perf_counter() - clock,
        )
    values, duals = split(programme.unknowns, found), split(programme.rows, multipliers)
    t0, tf = values["times"][0]
    tau = programme.unknowns["x"].tau
    costate = np.vstack([duals["initial"], duals["dynamics"]])
    u = values["u"].reshape(solution.u.shape)
    differences: dict[str, Difference] = {}
    if np.all(np.isfinite(found)) and math.isfinite(F_value) and np.all(np.isfinite(multipliers)):
        differences = compare(programme, solution, values, duals, costate, solution.problem.sign * F_value)
    return IpoptRun(
        name,
        success and bool(differences),
        status,
        max(iterations, 0),
        seconds,
        solution.problem.sign * F_value,
        differences,
        t0 + (tf - t0) * tau,
        values["x"],
        u,
        values["p"][0],
        costate,
    )


def compare(
    programme: Programme,
    solution: Solution,
    values: Mapping[str, Array],
    duals: Mapping[str, Array],
    costate: Array,
    cost: float,
) -> dict[str, Difference]:
    """IPOPT's answer against the solution."""
    phase = solution.problem.phases[0]
    system = phase.system
    sx, su = programme.unknowns["start"].scale[0], programme.unknowns["u"].scale[0]
    t, node_t = solution.t, solution.t[0] + (solution.t[-1] - solution.t[0]) * programme.nodes
    ours_x, theirs_x, ours_l, theirs_l, times = solution.x, values["x"], solution.costate, costate, t
    if programme.collocation:
        weights = programme.weights[:, None] * (values["times"][0, 1] - values["times"][0, 0])
        ours_x, theirs_x = np.vstack([ours_x, solution.node_x]), np.vstack([theirs_x, values["X"]])
        ours_l, theirs_l = np.vstack([ours_l, solution.node_costate]), np.vstack([theirs_l, duals["slope"] / weights])
        times = np.concatenate([t, node_t])
    # A costate is large or small against the effect that any state has on the cost; where none has, all is noise.
    effect = float((np.maximum(np.abs(ours_l), np.abs(theirs_l)).max(axis=0) * sx).max())
    effect = max(effect, 1e-3 * abs(solution.cost), COST_FLOOR)
    found = {
        "cost": Difference(relative_difference(cost, solution.cost), abs(cost - solution.cost)),
        "states": _largest(ours_x, theirs_x, sx, system.states, times),
        "controls": _largest(solution.node_u, values["u"], su, system.controls, node_t),
        "costates": _largest(ours_l, theirs_l, effect / sx, system.states, times),
    }
    duration = solution.t[-1] - solution.t[0]
    for name, limits, ours, theirs in (
        ("initial time", phase.t0, solution.t[0], values["times"][0, 0]),
        ("final time", phase.tf, solution.t[-1], values["times"][0, 1]),
    ):
        if limits.lower < limits.upper:
            found[name] = Difference(abs(theirs - ours) / duration, abs(theirs - ours))
    if any(q.lower < q.upper for q in phase.parameters):
        found["parameters"] = _largest(
            solution.p[None], values["p"], programme.unknowns["p"].scale[0], system.parameters, None
        )
    if "integral" in duals:
        names = tuple(constraint.name for constraint in phase.integrals)
        found["integral multipliers"] = _largest(
            solution.integral_costate[None], duals["integral"], np.zeros(len(names)), names, None
        )
    return found


def _largest(ours: Array, theirs: Array, scale: Array, labels: tuple[str, ...], times: Array | None) -> Difference:
    """The entry that differs most, relative to its column's size or the scale, whichever is larger."""
    if ours.size == 0:
        return Difference(0.0, 0.0)
    size = np.maximum(np.maximum(np.abs(ours), np.abs(theirs)).max(axis=0), scale)
    absolute = np.abs(theirs - ours)
    relative = absolute / np.where(size > 0, size, 1.0)
    k, i = np.unravel_index(int(np.argmax(np.where(np.isnan(relative), math.inf, relative))), relative.shape)
    where = repr(labels[i]) if times is None else f"{labels[i]!r}, t = {times[k]:.4g}"
    return Difference(float(relative[k, i]), float(absolute[k, i]), where)


def relative_difference(a: float, b: float) -> float:
    """|a - b| relative to the larger of the two."""
    size = max(abs(a), abs(b))
    return abs(a - b) / size if size > 0 else 0.0
