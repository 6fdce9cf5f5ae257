"""Elman's cell with a recurrent matrix of low rank r: a step and its transpose cost O(d r).

    y_k     = V x_k                                  V (r, d)
    z_k     = W_ih u_k + b + U y_k                   U (d, r)
    x_{k+1} = tanh(z_k)

    transpose   δ_k = (1 - x_{k+1}²) ⊙ λ_{k+1},   ε_k = Uᵀ δ_k,   λ_k = Vᵀ ε_k,   g_u = W_ihᵀ δ_k
                g_U = Σ δ_k y_kᵀ,   g_V = Σ ε_k x_kᵀ,   g_W_ih = Σ δ_k u_kᵀ,   g_b = Σ δ_k

The records are z_k, y_k and room for ε_k; δ_k takes the place of z_k. F. Mastrogiuseppe and S.
Ostojic, Neuron 99 (2018), study such networks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.errors import InputError
from adjoint.kernels.jit import jit_piece
from adjoint.kernels.linear import add_outer, pack_transpose, times, times_transpose
from adjoint.kernels.smooth import tanh
from adjoint.recurrent.cell import Cell, glorot, size

__all__ = ["LowRank"]


@jit_piece
def _weights(p, d, m, r):
    """W_ih, U, V, b."""
    at_U, at_V, at_b = d * m, d * m + d * r, d * m + 2 * d * r
    return p[:at_U].reshape(d, m), p[at_U:at_V].reshape(d, r), p[at_V:at_b].reshape(r, d), p[at_b:]


@jit_piece
def _prepare(s, u, p, z, work):
    r, m = s[1], u.shape[1]
    d = z.shape[1] - 2 * r
    W_ih, U, V, b = _weights(p, d, m, r)
    pack_transpose(U, work[: r * d].reshape(r, d))
    pack_transpose(V, work[r * d :].reshape(d, r))
    for i in range(z.shape[0]):
        for j in range(d):
            z[i, j] = b[j]
    times_transpose(s[0], u, W_ih, 1, z[:, :d])


@jit_piece
def _step(s, x, u, p, z, x_next, work):
    r, d = s[1], x.shape[1]
    times(s[0], x, work[r * d :].reshape(d, r), 0, z[:, d : d + r])  # y = V x
    times(s[0], z[:, d : d + r], work[: r * d].reshape(r, d), 1, z[:, :d])  # z += U y
    for i in range(x.shape[0]):
        for j in range(d):
            x_next[i, j] = tanh(z[i, j])


@jit_piece
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    r, d = s[1], x.shape[1]
    _, U, V, _ = _weights(p, d, u.shape[1], r)
    for i in range(x.shape[0]):
        for j in range(d):
            z[i, j] = lam_next[i, j] * (1 - x_next[i, j] * x_next[i, j])
    times(s[0], z[:, :d], U, 0, z[:, d + r :])  # ε = Uᵀ δ
    times(s[0], z[:, d + r :], V, 0, lam)  # λ = Vᵀ ε


@jit_piece
def _collect(s, x, u, p, z, gu, gp, work):
    r, d, m = s[1], x.shape[1], u.shape[1]
    g_ih, g_U, g_V, g_b = _weights(gp, d, m, r)
    delta, y, epsilon = z[:, :d], z[:, d : d + r], z[:, d + r :]
    add_outer(s[0], delta, u, g_ih)
    add_outer(s[0], delta, y, g_U)
    add_outer(s[0], epsilon, x, g_V)
    for i in range(z.shape[0]):
        for j in range(d):
            g_b[j] += z[i, j]
    if gu.shape[0] > 0:
        times(s[0], delta, _weights(p, d, m, r)[0], 0, gu)


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def LowRank(d: int, m: int, rank: int) -> Cell:
    """The recurrent network x_{k+1} = tanh(W_ih u_k + U V x_k + b).

    Parameters
    ----------
    d : int
        Hidden units.
    m : int
        Inputs.
    rank : int
        Of U V; at most d.

    Returns
    -------
    Cell
        State ``h`` (d,); parameters ``W_ih`` (d, m), ``U`` (d, rank), ``V`` (rank, d), ``b`` (d,). U V starts as an
        orthogonal projection.
    """
    d, m, r = size("d", d), size("m", m, 0), size("rank", rank)
    if r > d:
        raise InputError(f"rank is {r}, more than the {d} units; expected at most {d}.")

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        W_ih, U = p[: d * m].reshape(d, m), p[d * m : d * (m + r)].reshape(d, r)
        V, b = p[d * (m + r) : d * (m + 2 * r)].reshape(r, d), p[d * (m + 2 * r) :]
        return np.tanh(W_ih @ u + U @ (V @ x) + b)

    def initial(rng: np.random.Generator) -> dict[str, Any]:
        Q = np.linalg.qr(rng.standard_normal((d, r)))[0]
        return {"W_ih": glorot(rng, d, m), "U": Q, "V": Q.T.copy(), "b": np.zeros(d)}

    return Cell(
        name="LowRank",
        states={"h": (d,)},
        m=m,
        parameters={"W_ih": (d, m), "U": (d, r), "V": (r, d), "b": (d,)},
        outputs=d,
        pieces=PIECES,
        equation=equation,
        initial=initial,
        records=d + 2 * r,
        own_sizes=(r,),
        scratch=(2 * d * r, 0),
    )
