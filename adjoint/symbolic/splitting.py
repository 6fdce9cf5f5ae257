"""A symplectic composition as one graph.

The states are split in two groups so that neither group's rate depends on the group itself,

    q̇ = a(t, v, u, p),     v̇ = b(t, q, u, p)

so that each half is solved exactly by one addition. Störmer–Verlet, with t_v and t_q the times that the kicks and the
drifts have brought about,

    kick    v ← v + h/2 b(t_q, q)
    drift   q ← q + h a(t_v, v)
    kick    v ← v + h/2 b(t_q, q)

and its compositions with steps γ_1 h, …, γ_s h, in which neighbouring kicks are one.
"""

from __future__ import annotations

from collections.abc import Sequence

import casadi as ca
import numpy as np

__all__ = ["splitting_step", "two_groups"]


def two_groups(rhs: ca.Function) -> tuple[list[int], list[int], int | None]:
    """Split the states into q, to which the first state belongs, and v.

    Parameters
    ----------
    rhs : casadi.Function
        (t, x, u, p) → ẋ.

    Returns
    -------
    q, v : lists of int
    odd : int or None
        A state whose rate depends on its own group, if there is one: then there is no such splitting.
    """
    t, x, u, p = (ca.SX.sym(name, rhs.size1_in(i)) for i, name in enumerate("txup"))
    depends = np.array(ca.DM(ca.jacobian(rhs(t, x, u, p), x).sparsity(), 1).full() != 0)
    linked = depends | depends.T
    side = [-1] * x.numel()
    for first in range(len(side)):
        if side[first] >= 0:
            continue
        side[first] = 0
        queue = [first]
        while queue:
            i = queue.pop()
            for j in np.flatnonzero(linked[i]).tolist():
                if side[j] < 0:
                    side[j] = 1 - side[i]
                    queue.append(j)
                elif side[j] == side[i]:
                    return [], [], i
    return [i for i, s in enumerate(side) if s == 0], [i for i, s in enumerate(side) if s == 1], None


def splitting_step(rhs: ca.Function, gammas: Sequence[float], q: Sequence[int], v: Sequence[int]) -> ca.Function:
    """The step (t, h, x, u, p) → x_next of a composition of Störmer–Verlet steps of lengths γ_i h."""
    t, h = ca.SX.sym("t"), ca.SX.sym("h")
    x, u, p = (ca.SX.sym(name, rhs.size1_in(i)) for i, name in ((1, "x"), (2, "u"), (3, "p")))
    state = ca.SX(x)
    t_q = t_v = t
    kicks = [0.0, *gammas, 0.0]
    for i in range(len(gammas) + 1):
        length = (0.5 * (kicks[i] + kicks[i + 1])) * h
        state[v] = state[v] + length * rhs(t_q, state, u, p)[v]
        t_v = t_v + length
        if i < len(gammas):
            length = float(gammas[i]) * h
            state[q] = state[q] + length * rhs(t_v, state, u, p)[q]
            t_q = t_q + length
    return ca.Function("splitting", [t, h, x, u, p], [ca.densify(state)], ["t", "h", "x", "u", "p"], ["x_next"])
