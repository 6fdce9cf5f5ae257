"""Running the compiled interior-point loop on a discretised problem: scaling, progress, limits, interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.control.structure import Group, Programme, compile_groups, programme
from adjoint.control.transcription import Discretised
from adjoint.kernels import constants, interior, restoration
from adjoint.kernels.announce import announcing
from adjoint.kernels.records import S_SR
from adjoint.kernels.stages import COST

__all__ = ["Outcome", "Warm", "load_kernels", "run"]

Array = NDArray[np.float64]

_ready = False


def load_kernels() -> float:
    """Compile the loop, or load it from disk, once per process; returns the seconds that this took now."""
    global _ready
    if _ready:
        return 0.0
    start = time.perf_counter()
    with announcing("compiling the solver's kernels (once; kept on disk)"):
        x, u = ca.SX.sym("x"), ca.SX.sym("u")
        empty = ca.SX(0, 1)
        groups = [Group(0, 1, 0, 0, u, empty, empty, ca.vertcat(u, u**2)), Group(1, 0, 0, 0, x, empty, empty, x**2)]
        tiny = programme(compile_groups(groups), (1, 1))
        zero, one = np.zeros(2), np.ones(2)
        rows, infinity = np.zeros(3), np.full(2, np.inf)
        run(
            tiny,
            Discretised(-infinity, infinity, rows, rows, one, np.ones(3), zero, np.zeros((2, 1)), np.zeros(1)),
            tol=1e-8,
            max_iterations=5,
            time_limit=np.inf,
            watch=None,
            warm=None,
        )
    _ready = True
    return time.perf_counter() - start


# Iterations between two looks at the clock and at Ctrl-C.
CHUNK = 10


@dataclass(frozen=True)
class Warm:
    """Unscaled multipliers of an earlier solve of the same layout."""

    Y: Array
    zl: Array
    zu: Array
    vl: Array
    vu: Array


@dataclass(frozen=True)
class Outcome:
    """Unscaled result of the loop: unknowns, rows, multipliers of the minimised cost, and what happened."""

    status: int
    interrupted: str
    w: Array
    rows: Array
    Y: Array
    zl: Array
    zu: Array
    vl: Array
    vu: Array
    objective: float
    error: float
    violation: float
    dual: float
    complementarity: float
    mu: float
    iterations: int
    factorisations: int
    restorations: int
    history: Array
    residuals: Array
    kind: NDArray[np.int64]
    largest: int  # position of the largest unknown relative to its scale, and that ratio
    growth: float
    seconds: float


def run(
    layout: Programme,
    problem: Discretised,
    *,
    tol: float,
    max_iterations: int,
    time_limit: float,
    watch: Callable[[Sequence[float]], None] | None,
    warm: Warm | None,
) -> Outcome:
    """Solve; `watch` is called with the rows of the history as they appear."""
    clock = time.perf_counter()
    record = {
        "lower": problem.lower,
        "upper": problem.upper,
        "row_lower": problem.row_lower,
        "row_upper": problem.row_upper,
        "scale": problem.scale,
        "data": problem.data,
        "constants": problem.constants,
    }
    Q = layout.iterate(max_iterations)
    X = layout.factors()
    stages = layout.stages(**record, row_scale=problem.row_scale)
    Q.w[:] = problem.start / problem.scale
    Q.option[:] = (tol, 0.1, max(1e-6, 100 * tol), 1e-2)
    if warm is not None:
        Q.Y[:], Q.zl[:], Q.zu[:], Q.vl[:], Q.vu[:] = warm.Y, warm.zl, warm.zu, warm.vl, warm.vu
    status = interior.iterate(stages, X, Q, constants.COLD if warm is None else constants.WARM, 0)
    shown = 0
    interrupted = ""
    start = time.perf_counter()
    try:
        while status == constants.RUNNING:
            left = max_iterations - int(Q.counter[constants.ITERATION])
            if left <= 0:
                interrupted = f"stopped after {max_iterations} iterations"
                break
            if time.perf_counter() - start > time_limit:
                interrupted = f"stopped after the time limit of {time_limit:g} s"
                break
            status = interior.iterate(stages, X, Q, constants.CONTINUE, min(CHUNK if watch is None else 1, left))
            if status == constants.NEEDS_RESTORATION:
                with announcing("compiling the restoration kernel (once; kept on disk)"):
                    restoration.restore(stages, layout.softened(stages), X, layout.factors(softened=True), Q)
                status = int(Q.counter[constants.STATUS])
            if watch is not None:
                reached = min(int(Q.counter[constants.ITERATION]) + (status != constants.RUNNING), Q.history.shape[0])
                for row in Q.history[shown:reached]:
                    watch(row)
                shown = max(shown, reached)
    except KeyboardInterrupt:
        interrupted = "interrupted from the keyboard"
    if interrupted and Q.counter[constants.POLISH] > 0:
        status, interrupted = interior.iterate(stages, X, Q, constants.RECALL, 0), ""
    count, number = Q.counter, Q.number
    row_scale = stages.row_data[S_SR]
    cost_scale = float(row_scale[-1])
    rows = Q.R / row_scale
    residuals = np.where(stages.kind == COST, 0.0, Q.C) / row_scale
    iterations = int(count[constants.ITERATION])
    return Outcome(
        status=int(status),
        interrupted=interrupted,
        w=Q.w * problem.scale,
        rows=rows,
        Y=np.where(stages.kind == COST, 1.0, Q.Y * row_scale / cost_scale),
        zl=Q.zl / problem.scale / cost_scale,
        zu=Q.zu / problem.scale / cost_scale,
        vl=Q.vl * row_scale / cost_scale,
        vu=Q.vu * row_scale / cost_scale,
        objective=float(number[constants.OBJECTIVE]) / cost_scale,
        error=float(number[constants.ERROR]),
        violation=float(number[constants.VIOLATION]),
        dual=float(number[constants.DUAL]),
        complementarity=float(number[constants.COMPLEMENTARITY]),
        mu=float(number[constants.MU]),
        iterations=iterations,
        factorisations=int(count[constants.N_FACTOR]),
        restorations=int(count[constants.N_RESTORATION]),
        history=Q.history[: min(iterations + 1, Q.history.shape[0])].copy() * np.array([1, 1 / cost_scale] + [1] * 8),
        residuals=residuals,
        kind=stages.kind,
        largest=int(np.argmax(np.abs(Q.w))),
        growth=float(np.abs(Q.w).max(initial=0.0)),
        seconds=time.perf_counter() - clock,
    )
