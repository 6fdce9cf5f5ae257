"""A differentiable stack whose contents leak.

The state x (depth, width) has the top in row 0. Inputs u = (a, v): a = (push, pop, no-op), which a controller gives as
probabilities, and the value v (width,) to be pushed. ↓x is x moved one row down, ↑x one row up, with zeros moving in.

    x⁺ = λ (a_push ↓x + a_pop ↑x + a_noop x) + a_push e_0 vᵀ

A value on the stack is multiplied by the leak λ in each step: pushed, and after K further steps on top again, it is
λ^K v; and so is ∂J/∂v of a loss that reads it, for the step is linear in x. What is pushed down from the last row is
lost; a pop of an empty stack gives zeros.

    transpose   with Λ = ∂J/∂x⁺:   ∂J/∂x = λ (a_push ↑Λ + a_pop ↓Λ + a_noop Λ)
                ∂J/∂a_push = λ Λ·↓x + Λ_0·v,   ∂J/∂a_pop = λ Λ·↑x,   ∂J/∂a_noop = λ Λ·x,   ∂J/∂v = a_push Λ_0
                ∂J/∂λ = Λ·(a_push ↓x + a_pop ↑x + a_noop x)

A. Joulin and T. Mikolov, Inferring algorithmic patterns with stack-augmented recurrent nets, NIPS 2015, equations 4, 5;
there without leak.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.errors import InputError
from adjoint.kernels.jit import jit_piece
from adjoint.recurrent.cell import Cell, size

__all__ = ["Stack"]

PUSH, POP, NOOP, VALUE = 0, 1, 2, 3  # places in u


@jit_piece
def _prepare(s, u, p, z, work):
    pass


@jit_piece
def _step(s, x, u, p, z, x_next, work):
    depth, width = s[1], s[2]
    for i in range(x.shape[0]):
        X, X_next = x[i].reshape(depth, width), x_next[i].reshape(depth, width)
        push, pop, noop = p[0] * u[i, PUSH], p[0] * u[i, POP], p[0] * u[i, NOOP]
        for r in range(depth):
            for j in range(width):
                X_next[r, j] = noop * X[r, j]
        for r in range(depth - 1):
            for j in range(width):
                X_next[r + 1, j] += push * X[r, j]
                X_next[r, j] += pop * X[r + 1, j]
        for j in range(width):
            X_next[0, j] += u[i, PUSH] * u[i, VALUE + j]


@jit_piece
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    """z = (∂J/∂u, ∂J/∂λ) of this step: both need λ_{k+1}, which collect does not see."""
    depth, width = s[1], s[2]
    last = z.shape[1] - 1
    for i in range(x.shape[0]):
        X = x[i].reshape(depth, width)
        L_next, L = lam_next[i].reshape(depth, width), lam[i].reshape(depth, width)
        push, pop, noop = p[0] * u[i, PUSH], p[0] * u[i, POP], p[0] * u[i, NOOP]
        on_push = on_pop = on_noop = on_value = x.dtype.type(0)
        for r in range(depth):
            for j in range(width):
                L[r, j] = noop * L_next[r, j]
                on_noop += L_next[r, j] * X[r, j]
        for r in range(depth - 1):
            for j in range(width):
                L[r, j] += push * L_next[r + 1, j]
                L[r + 1, j] += pop * L_next[r, j]
                on_push += L_next[r + 1, j] * X[r, j]
                on_pop += L_next[r, j] * X[r + 1, j]
        for j in range(width):
            on_value += L_next[0, j] * u[i, VALUE + j]
            z[i, VALUE + j] = u[i, PUSH] * L_next[0, j]
        z[i, PUSH] = p[0] * on_push + on_value
        z[i, POP] = p[0] * on_pop
        z[i, NOOP] = p[0] * on_noop
        z[i, last] = u[i, PUSH] * on_push + u[i, POP] * on_pop + u[i, NOOP] * on_noop


@jit_piece
def _collect(s, x, u, p, z, gu, gp, work):
    m = u.shape[1]
    for i in range(z.shape[0]):
        gp[0] += z[i, m]
    for i in range(gu.shape[0]):
        for j in range(m):
            gu[i, j] = z[i, j]


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def Stack(depth: int, width: int, leak: float = 1.0) -> Cell:
    """A linear stack: push, pop, no-op, with a leak.

    Parameters
    ----------
    depth : int
        Rows; what is pushed beyond is lost.
    width : int
        Numbers in a row.
    leak : float
        λ >= 0, the factor of all that is stored, a step; below 1 it forgets, above 1 it amplifies. It is the one
        parameter, and this its initial value.

    Returns
    -------
    Cell
        State ``rows`` (depth, width), the top first, which is the output; inputs push, pop, no-op and the value
        (width,): m = 3 + width; parameter ``leak`` (1,).
    """
    depth, width = size("depth", depth), size("width", width)
    if isinstance(leak, bool) or not isinstance(leak, int | float | np.number) or not 0 <= leak < math.inf:
        raise InputError(f"leak is {leak!r}; expected a finite number of at least 0: 1 keeps, 0.9 forgets.")
    first = np.array([float(leak)])

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        X, none = x.reshape(depth, width), np.zeros((1, width))
        down, up = np.concatenate([none, X[:-1]]), np.concatenate([X[1:], none])
        value = np.concatenate([u[None, VALUE:], np.zeros((depth - 1, width))])
        return (p[0] * (u[PUSH] * down + u[POP] * up + u[NOOP] * X) + u[PUSH] * value).reshape(-1)

    return Cell(
        name="Stack",
        states={"rows": (depth, width)},
        m=VALUE + width,
        parameters={"leak": (1,)},
        outputs=width,
        pieces=PIECES,
        equation=equation,
        initial=lambda rng: {"leak": first},
        records=VALUE + width + 1,
        needs_records=False,
        own_sizes=(depth, width),
    )
