"""Why a starting point cannot be used: the function, the component and the point that are not finite."""

from __future__ import annotations

import casadi as ca
import numpy as np

from adjoint.control.solution import Solution, evaluate
from adjoint.control.transcription import PhaseGraphs
from adjoint.errors import InputError
from adjoint.symbolic import check_first_values

__all__ = ["refuse_start"]


def refuse_start(solution: Solution, graphs: PhaseGraphs) -> None:
    """Raise the error that explains a start at which the programme is not finite.

    Parameters
    ----------
    solution : Solution
        The starting point, unpacked.
    graphs : PhaseGraphs

    Raises
    ------
    InputError
        Always: it names the function and the value or the derivative that is not finite, with time, states and
        controls.
    """
    system = solution.problem.system
    of = f"of the problem on system {system.name!r}"
    t, x, u, p = solution.node_t, solution.node_x, solution.node_u, solution.p
    pointwise: list[tuple[ca.Function, list[str], str]] = [
        (
            graphs.rhs,
            [f"d{name}/dt" if not system.discrete else f"next {name}" for name in system.states],
            f"the dynamics of system {system.name!r}",
        )
    ]
    if graphs.running is not None:
        pointwise.append((graphs.running, ["the running cost"], f"the running cost {of}"))
    for kind, group in (("path constraint", graphs.path), ("integral", graphs.integrals)):
        pointwise += [
            (graph, [f"{c.name}[{i}]" for i in range(graph.size1_out(0))], f"{kind} {c.name!r} {of}")
            for c, graph in group
        ]
    for graph, names, role in pointwise:
        bad = np.flatnonzero(~np.isfinite(evaluate(graph, t, x, u, p)).all(axis=1))
        if bad.size:
            k = int(bad[0])
            check_first_values(graph, [t[k], x[k], u[k], p], names, role)
    if graphs.terminal is not None:
        check_first_values(
            graphs.terminal, [solution.t[-1], solution.x[-1], p], ["the terminal cost"], f"the terminal cost {of}"
        )
    for graph, names, role in pointwise:
        symbols = [ca.SX.sym(name, graph.size1_in(i)) for i, name in enumerate("txup")]
        slope = ca.jacobian(graph(*symbols), ca.vertcat(symbols[1], symbols[2]))
        columns = evaluate(ca.Function("slope", symbols, [ca.vec(ca.densify(slope))]), t, x, u, p)
        bad = np.flatnonzero(~np.isfinite(columns).all(axis=1))
        if bad.size:
            k = int(bad[0])
            j, i = divmod(int(np.flatnonzero(~np.isfinite(columns[k]))[0]), len(names))
            variable = (*system.states, *system.controls)[j]
            point = ", ".join(
                f"{name} = {value:.6g}"
                for name, value in zip((*system.states, *system.controls), (*x[k], *u[k]), strict=True)
            )
            raise InputError(
                f"{role}: the derivative of {names[i]} with respect to {variable!r} is not finite at the start, at "
                f"t = {t[k]:.6g}, {point}. A root or a power of zero? "
                f"Guess another value, or bound {variable!r} away from it."
            )
    raise InputError(
        f"the functions {of} are not finite between the nodes of the starting guess. Give a guess inside their domain."
    )
