"""Long short-term memory. The state is h (d,), then c (d,).

    i, f, o  = sigmoid(W_i u_k + V_i h + b_i), likewise f and o          g = tanh(W_g u_k + V_g h + b_g)
    c_{k+1}  = f ⊙ c + i ⊙ g
    h_{k+1}  = o ⊙ tanh(c_{k+1})

    transpose   γ   = λ_c + λ_h ⊙ o ⊙ (1 - tanh² c_{k+1})
                δ_i = γ ⊙ g ⊙ i (1 - i),   δ_f = γ ⊙ c ⊙ f (1 - f),   δ_g = γ ⊙ i ⊙ (1 - g²),
                δ_o = λ_h ⊙ tanh(c_{k+1}) ⊙ o (1 - o)
                λ_c ← γ ⊙ f,   λ_h ← Vᵀ δ,   g_u = Wᵀ δ,   g_W = Σ δ uᵀ,   g_V = Σ δ hᵀ,   g_b = Σ δ

with the gates in the order i, f, g, o, as in PyTorch. S. Hochreiter and J. Schmidhuber, Neural Computation 9 (1997);
forget gate: F. A. Gers et al., Neural Computation 12 (2000).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.kernels.jit import jit_piece
from adjoint.kernels.linear import add_outer, pack_transpose, times, times_transpose
from adjoint.kernels.smooth import sigmoid, tanh
from adjoint.recurrent.cell import Cell, glorot, orthogonal, size

__all__ = ["LSTM"]


@jit_piece
def _weights(p, d, m):
    """W_ih, W_hh, b."""
    at_hh, at_b = 4 * d * m, 4 * d * m + 4 * d * d
    return p[:at_hh].reshape(4 * d, m), p[at_hh:at_b].reshape(4 * d, d), p[at_b:]


@jit_piece
def _prepare(s, u, p, z, work):
    d, m = z.shape[1] // 4, u.shape[1]
    W_ih, W_hh, b = _weights(p, d, m)
    pack_transpose(W_hh, work[: 4 * d * d].reshape(d, 4 * d))
    for i in range(z.shape[0]):
        for j in range(4 * d):
            z[i, j] = b[j]
    times_transpose(s[0], u, W_ih, 1, z)


@jit_piece
def _step(s, x, u, p, z, x_next, work):
    d = x.shape[1] // 2
    times(s[0], x[:, :d], work[: 4 * d * d].reshape(d, 4 * d), 1, z)
    # A loop that writes one array, counted from 0, becomes vector instructions; others may not.
    for r in range(x.shape[0]):
        i, f, g, o = z[r, :d], z[r, d : 2 * d], z[r, 2 * d : 3 * d], z[r, 3 * d :]
        h_next, c_next, c = x_next[r, :d], x_next[r, d:], x[r, d:]
        for j in range(d):
            i[j] = sigmoid(i[j])
        for j in range(d):
            f[j] = sigmoid(f[j])
        for j in range(d):
            g[j] = tanh(g[j])
        for j in range(d):
            o[j] = sigmoid(o[j])
        for j in range(d):
            c_next[j] = f[j] * c[j] + i[j] * g[j]
        for j in range(d):
            h_next[j] = o[j] * tanh(c_next[j])


@jit_piece
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    d = x.shape[1] // 2
    for r in range(x.shape[0]):
        i, f, g, o = z[r, :d], z[r, d : 2 * d], z[r, 2 * d : 3 * d], z[r, 3 * d :]
        c, c_next = x[r, d:], x_next[r, d:]
        lam_h, lam_c, gamma, kept = lam_next[r, :d], lam_next[r, d:], lam[r, d:], work[4 * d * d :]
        for j in range(d):
            kept[j] = tanh(c_next[j])
        for j in range(d):
            gamma[j] = lam_c[j] + lam_h[j] * o[j] * (1 - kept[j] * kept[j])
        for j in range(d):
            o[j] = lam_h[j] * kept[j] * o[j] * (1 - o[j])
        for j in range(d):
            kept[j] = gamma[j] * g[j] * i[j] * (1 - i[j])
        for j in range(d):
            g[j] = gamma[j] * i[j] * (1 - g[j] * g[j])
        for j in range(d):
            i[j] = kept[j]
        for j in range(d):
            kept[j] = gamma[j] * f[j]
        for j in range(d):
            f[j] = kept[j] * c[j] * (1 - f[j])
        for j in range(d):
            gamma[j] = kept[j]  # λ_c of x_k
    times(s[0], z, _weights(p, d, u.shape[1])[1], 0, lam[:, :d])


@jit_piece
def _collect(s, x, u, p, z, gu, gp, work):
    d, m = x.shape[1] // 2, u.shape[1]
    g_ih, g_hh, g_b = _weights(gp, d, m)
    add_outer(s[0], z, u, g_ih)
    add_outer(s[0], z, x[:, :d], g_hh)
    for i in range(z.shape[0]):
        for j in range(4 * d):
            g_b[j] += z[i, j]
    if gu.shape[0] > 0:
        times(s[0], z, _weights(p, d, m)[0], 0, gu)


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def LSTM(d: int, m: int) -> Cell:
    """Long short-term memory.

    Parameters
    ----------
    d : int
        Hidden units.
    m : int
        Inputs.

    Returns
    -------
    Cell
        State ``h`` (d,), ``c`` (d,), of which h is the output; parameters ``W_ih`` (4d, m), ``W_hh`` (4d, d), ``b``
        (4d,). The bias of the forget gate starts at 1, so that a new network remembers.
    """
    d, m = size("d", d), size("m", m, 0)

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        h, c = x[:d], x[d:]
        W, V = p[: 4 * d * m].reshape(4 * d, m), p[4 * d * m : 4 * d * (m + d)].reshape(4 * d, d)
        z = W @ u + V @ h + p[4 * d * (m + d) :]
        i, f, o = (1 / (1 + np.exp(-z[at : at + d])) for at in (0, d, 3 * d))
        c_next = f * c + i * np.tanh(z[2 * d : 3 * d])
        return np.concatenate([o * np.tanh(c_next), c_next])

    def initial(rng: np.random.Generator) -> dict[str, Any]:
        b = np.zeros(4 * d)
        b[d : 2 * d] = 1
        W = np.concatenate([glorot(rng, d, m) for _ in range(4)])
        return {"W_ih": W, "W_hh": np.concatenate([orthogonal(rng, d) for _ in range(4)]), "b": b}

    return Cell(
        name="LSTM",
        states={"h": (d,), "c": (d,)},
        m=m,
        parameters={"W_ih": (4 * d, m), "W_hh": (4 * d, d), "b": (4 * d,)},
        outputs=d,
        pieces=PIECES,
        equation=equation,
        initial=initial,
        records=4 * d,
        scratch=(4 * d * d + d, 0),
    )
