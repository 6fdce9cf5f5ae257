"""A cell whose units feed back to themselves only: the recurrence and its transpose cost O(d) a step.

    z_k     = a ⊙ x_k + w ⊙ u_k + b       one input for each unit, or W_ih u_k in place of w ⊙ u_k
    x_{k+1} = tanh(z_k)

    transpose   δ_k = (1 - x_{k+1}²) ⊙ λ_{k+1},   λ_k = a ⊙ δ_k,   g_u = w ⊙ δ_k
                g_a = Σ δ_k ⊙ x_k,   g_w = Σ δ_k ⊙ u_k,   g_b = Σ δ_k

The spectral radius of the recurrence is max |a|, in hand. S. Li et al., Independently recurrent neural network, CVPR
2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.kernels.jit import jit_piece
from adjoint.kernels.linear import add_outer, times, times_transpose
from adjoint.kernels.smooth import tanh
from adjoint.recurrent.cell import Cell, glorot, size

__all__ = ["Diagonal"]

DENSE = 1


@jit_piece
def _prepare(s, u, p, z, work):
    d, m = z.shape[1], u.shape[1]
    b, w = p[d : 2 * d], p[2 * d :]
    for i in range(z.shape[0]):
        if s[1] == DENSE:
            for j in range(d):
                z[i, j] = b[j]
        else:
            for j in range(d):
                z[i, j] = b[j] + w[j] * u[i, j]
    if s[1] == DENSE:
        times_transpose(s[0], u, w.reshape(d, m), 1, z)


@jit_piece
def _step(s, x, u, p, z, x_next, work):
    d = x.shape[1]
    for i in range(x.shape[0]):
        for j in range(d):
            x_next[i, j] = tanh(z[i, j] + p[j] * x[i, j])


@jit_piece
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    d = x.shape[1]
    for i in range(x.shape[0]):
        for j in range(d):
            delta = lam_next[i, j] * (1 - x_next[i, j] * x_next[i, j])
            z[i, j] = delta
            lam[i, j] = p[j] * delta


@jit_piece
def _collect(s, x, u, p, z, gu, gp, work):
    d, m = x.shape[1], u.shape[1]
    g_a, g_b, g_w = gp[:d], gp[d : 2 * d], gp[2 * d :]
    w = p[2 * d :]
    for i in range(z.shape[0]):
        for j in range(d):
            g_a[j] += z[i, j] * x[i, j]
            g_b[j] += z[i, j]
        if s[1] != DENSE:
            for j in range(d):
                g_w[j] += z[i, j] * u[i, j]
            if gu.shape[0] > 0:
                for j in range(d):
                    gu[i, j] = w[j] * z[i, j]
    if s[1] == DENSE:
        add_outer(s[0], z, u, g_w.reshape(d, m))
        if gu.shape[0] > 0:
            times(s[0], z, w.reshape(d, m), 0, gu)


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def Diagonal(d: int, m: int | None = None) -> Cell:
    """Independent units x_{k+1} = tanh(a ⊙ x_k + W_ih u_k + b).

    Parameters
    ----------
    d : int
        Units.
    m : int, optional
        Inputs, mixed by a matrix. If absent, each unit has one input of its own, with gain w.

    Returns
    -------
    Cell
        State ``h`` (d,); parameters ``a`` (d,), ``b`` (d,), and ``W_ih`` (d, m) or ``w`` (d,). a starts between 0.5 and
        0.99, so that the units forget at different rates.
    """
    d = size("d", d)
    dense = m is not None
    inputs = size("m", m, 0) if dense else d

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        a, b, w = p[:d], p[d : 2 * d], p[2 * d :]
        return np.tanh(a * x + b + (w.reshape(d, inputs) @ u if dense else w * u))

    def initial(rng: np.random.Generator) -> dict[str, Any]:
        gains = {"W_ih": glorot(rng, d, inputs)} if dense else {"w": np.ones(d)}
        return {"a": rng.uniform(0.5, 0.99, d), "b": np.zeros(d)} | gains

    return Cell(
        name="Diagonal",
        states={"h": (d,)},
        m=inputs,
        parameters={"a": (d,), "b": (d,)} | ({"W_ih": (d, inputs)} if dense else {"w": (d,)}),
        outputs=d,
        pieces=PIECES,
        equation=equation,
        initial=initial,
        records=d,
        needs_records=False,
        own_sizes=(DENSE if dense else 0,),
    )
