"""Elman's cell.

    z_k     = W_ih u_k + b + W_hh x_k
    x_{k+1} = σ(z_k)                          σ = tanh or relu

    transpose   δ_k = σ'(z_k) ⊙ λ_{k+1}       σ' = 1 - x_{k+1}², or 1 where x_{k+1} > 0
                λ_k = W_hhᵀ δ_k,   g_u = W_ihᵀ δ_k
                g_W_hh = Σ δ_k x_kᵀ,   g_W_ih = Σ δ_k u_kᵀ,   g_b = Σ δ_k

J. L. Elman, Finding structure in time, Cognitive Science 14 (1990). Rows of a batch: z = u W_ihᵀ + b + x W_hhᵀ.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.errors import InputError
from adjoint.kernels.jit import jit_piece
from adjoint.kernels.linear import add_outer, pack_transpose, times, times_transpose
from adjoint.kernels.smooth import tanh
from adjoint.recurrent.cell import Cell, glorot, orthogonal, size

__all__ = ["Elman"]

TANH, RELU = 0, 1


@jit_piece
def _weights(p, d, m):
    """W_ih, W_hh, b."""
    at_hh, at_b = d * m, d * m + d * d
    return p[:at_hh].reshape(d, m), p[at_hh:at_b].reshape(d, d), p[at_b:]


@jit_piece
def _prepare(s, u, p, z, work):
    d, m = z.shape[1], u.shape[1]
    W_ih, W_hh, b = _weights(p, d, m)
    pack_transpose(W_hh, work.reshape(d, d))
    for i in range(z.shape[0]):
        for j in range(d):
            z[i, j] = b[j]
    times_transpose(s[0], u, W_ih, 1, z)  # z = W_ih u + b


@jit_piece
def _step(s, x, u, p, z, x_next, work):
    d = x.shape[1]
    times(s[0], x, work.reshape(d, d), 1, z)  # z += W_hh x
    for i in range(x.shape[0]):
        if s[1] == TANH:
            for j in range(d):
                x_next[i, j] = tanh(z[i, j])
        else:
            for j in range(d):
                x_next[i, j] = 0 if z[i, j] <= 0 else z[i, j]  # NaN passes


@jit_piece
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    d = x.shape[1]
    for i in range(x.shape[0]):
        if s[1] == TANH:
            for j in range(d):
                z[i, j] = lam_next[i, j] * (1 - x_next[i, j] * x_next[i, j])  # δ = σ' ⊙ λ_next
        else:
            for j in range(d):
                z[i, j] = lam_next[i, j] if x_next[i, j] > 0 else 0
    times(s[0], z, _weights(p, d, u.shape[1])[1], 0, lam)  # λ = W_hhᵀ δ


@jit_piece
def _collect(s, x, u, p, z, gu, gp, work):
    d, m = x.shape[1], u.shape[1]
    g_ih, g_hh, g_b = _weights(gp, d, m)
    add_outer(s[0], z, u, g_ih)
    add_outer(s[0], z, x, g_hh)
    for i in range(z.shape[0]):
        for j in range(d):
            g_b[j] += z[i, j]
    if gu.shape[0] > 0:
        times(s[0], z, _weights(p, d, m)[0], 0, gu)  # g_u = W_ihᵀ δ


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def Elman(d: int, m: int, activation: str = "tanh") -> Cell:
    """The simple recurrent network x_{k+1} = σ(W_ih u_k + W_hh x_k + b).

    Parameters
    ----------
    d : int
        Hidden units.
    m : int
        Inputs.
    activation : {"tanh", "relu"}

    Returns
    -------
    Cell
        State ``h`` (d,); parameters ``W_ih`` (d, m), ``W_hh`` (d, d), ``b`` (d,).
    """
    d, m = size("d", d), size("m", m, 0)
    if activation not in ("tanh", "relu"):
        raise InputError(f'activation is {activation!r}; expected "tanh" or "relu".')
    flag = TANH if activation == "tanh" else RELU

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        W_ih, W_hh, b = p[: d * m].reshape(d, m), p[d * m : d * m + d * d].reshape(d, d), p[d * m + d * d :]
        z = W_ih @ u + W_hh @ x + b
        return np.tanh(z) if flag == TANH else np.maximum(z, 0)

    def initial(rng: np.random.Generator) -> dict[str, Any]:
        return {"W_ih": glorot(rng, d, m), "W_hh": orthogonal(rng, d), "b": np.zeros(d)}

    return Cell(
        name="Elman",
        states={"h": (d,)},
        m=m,
        parameters={"W_ih": (d, m), "W_hh": (d, d), "b": (d,)},
        outputs=d,
        pieces=PIECES,
        equation=equation,
        initial=initial,
        records=d,
        needs_records=False,
        own_sizes=(flag,),
        scratch=(d * d, 0),
    )
