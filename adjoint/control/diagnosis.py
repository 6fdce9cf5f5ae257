"""What to say about the end of a solve: one sentence that names the constraint, the state and the time most at
fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adjoint.control.newton import Outcome
from adjoint.control.transcription import Transcription
from adjoint.kernels import constants

if TYPE_CHECKING:
    from adjoint.control.certificate import Certificate

__all__ = ["sentence", "worst_row"]


def time_of(T: Transcription, o: Outcome, stage: int, position: float) -> float:
    """The time of a position inside a stage."""
    theta = o.w[T.programme.layout["ow"][T.N + 1] :]
    offset = T.phase.system.n + len(T.graphs.integrals)
    t0, tf = float(T.phase.t0.guess or 0.0), float(T.phase.tf.guess or 0.0)
    for j, (kind, _) in enumerate(T.theta):
        if kind == "t0":
            t0 = float(theta[offset + j])
        elif kind == "tf":
            tf = float(theta[offset + j])
    k = stage - 1
    if k < 0:
        return t0
    if k >= T.N:
        return tf
    return t0 + (tf - t0) * float(T.tau[k] + position * (T.tau[k + 1] - T.tau[k]))


def worst_row(T: Transcription, o: Outcome) -> tuple[str, float, float]:
    """(name, time, size) of the largest constraint residual."""
    layout, system = T.programme.layout, T.phase.system
    row = int(np.argmax(np.abs(o.residuals)))
    stage = int(np.searchsorted(layout["orow"], row, side="right") - 1)
    i = row - int(layout["orow"][stage])
    n_next, e = int(layout["n"][stage + 1]), int(layout["e"][stage])
    size = abs(float(o.residuals[row]))
    part = 0 if stage == 0 else (2 if stage == T.N + 1 else 1)
    if i < n_next:
        names = (
            *system.states,
            *(f"integral {c.name!r}" for c, _ in T.graphs.integrals),
            *(f"{kind}{index}" if kind != "p" else system.parameters[index] for kind, index in T.theta),
        )
        return f"the dynamics of {names[i]!r}", time_of(T, o, stage, 1.0), size
    if i < n_next + e:
        node, state = divmod(i - n_next, system.n)
        return f"the dynamics of {system.states[state]!r}", time_of(T, o, stage, float(T.nodes[node])), size
    label = T.labels[part][i - n_next - e]
    return f"the constraint {label.name}", time_of(T, o, stage, label.position), size


def sentence(T: Transcription, o: Outcome, certificate: Certificate | None, tol: float) -> str:
    """The status of a solve in words."""
    name, t, size = worst_row(T, o)
    fault = f"{name} at t = {t:.6g} is violated by {size:.3g}"
    if o.interrupted:
        hint = (
            f" {_largest_unknown(T, o)} has grown without limit: the cost may be unbounded." if o.growth > 1e3 else ""
        )
        return f"{o.interrupted}; the best iterate is returned ({fault}; scaled optimality error {o.error:.2g}).{hint}"
    if o.status == constants.OPTIMAL:
        if certificate is None:
            return f"converged to {tol:g} on this mesh; not certified."
        if certificate.holds:
            return "optimal: converged and certified."
        return f"converged on this mesh, but not certified: {certificate.fault}"
    if o.status == constants.ACCEPTABLE:
        return (
            f"stopped near an optimum: the scaled optimality error is {o.error:.2g}, not {tol:g}; no further progress "
            "in "
            "double precision. Rescale the problem, or accept it with a larger tol."
        )
    if o.status == constants.INFEASIBLE:
        return (
            f"infeasible, at least near this point: {fault}, and no small change reduces the violation. Relax that "
            "constraint, or start from another guess."
        )
    if o.status == constants.DIVERGING:
        worst = _largest_unknown(T, o)
        return (
            f"unbounded: the cost decreases without limit ({o.objective:.3g}); {worst} grows most. "
            "Bound it, or check the sign of the cost."
        )
    if o.status == constants.RESTORATION_FAILED:
        return f"the violation could not be reduced further: {fault}. Try another guess or a finer mesh."
    if o.status == constants.BAD_CURVATURE:
        return (
            f"the linear system could not be made positive definite ({fault}). "
            "A state or control may have no influence at all."
        )
    return f"stalled: the steps became too small to make progress ({fault}; scaled optimality error {o.error:.2g})."


def _largest_unknown(T: Transcription, o: Outcome) -> str:
    """Name and time of the unknown that is largest relative to its scale."""
    layout, system, s = T.programme.layout, T.phase.system, T.s
    stage = int(np.searchsorted(layout["ow"], o.largest, side="right") - 1)
    i = o.largest - int(layout["ow"][stage])
    n, n_q, n_all = system.n, len(T.graphs.integrals), int(layout["n"][1])
    position = 0.0
    if stage == 0 and i >= n:
        i += n_q  # the start stage has no integrals before theta
    if i < n:
        name = system.states[i]
    elif i < n + n_q:
        name = f"integral {T.graphs.integrals[i - n][0].name}"
    elif i < n_all:
        kind, index = T.theta[i - n - n_q]
        return repr(system.parameters[index] if kind == "p" else f"{kind}" if kind != "x0" else system.states[index])
    elif i < n_all + system.m * s:
        node, control = divmod(i - n_all, system.m)
        name, position = system.controls[control], float(T.nodes[node])
    else:
        node, state = divmod(i - n_all - system.m * s, n)
        name, position = system.states[state], float(T.nodes[node])
    return f"{name!r} at t = {time_of(T, o, stage, position):.6g}"
