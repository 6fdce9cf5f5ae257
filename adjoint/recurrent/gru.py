"""The gated recurrent unit, as PyTorch has it: the reset gate acts after the recurrent product.

    r = sigmoid(W_r u_k + V_r x + b_r)        y = sigmoid(W_y u_k + V_y x + b_y)        a = V_n x + b_hn
    n = tanh(W_n u_k + b_n + r ⊙ a)
    x_{k+1} = (1 - y) ⊙ n + y ⊙ x

    transpose   δ_n = λ ⊙ (1 - y) ⊙ (1 - n²),   δ_a = δ_n ⊙ r,   δ_r = δ_n ⊙ a ⊙ r (1 - r),   δ_y = λ ⊙ (x - n) ⊙ y (1
    - y)
                λ ← λ ⊙ y + Vᵀ (δ_r, δ_y, δ_a),   g_u = Wᵀ (δ_r, δ_y, δ_n),   g_W = Σ (δ_r, δ_y, δ_n) uᵀ,
                g_V = Σ (δ_r, δ_y, δ_a) xᵀ,   g_b = Σ (δ_r, δ_y, δ_n),   g_b_hn = Σ δ_a

The update gate is written y (PyTorch's z), since z are the records: r, y, a, n, and on the way back δ_r, δ_y, δ_a, δ_n.
K. Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.kernels.jit import jit_piece
from adjoint.kernels.linear import add_outer, pack_transpose, times, times_transpose
from adjoint.kernels.smooth import sigmoid, tanh
from adjoint.recurrent.cell import Cell, glorot, orthogonal, size

__all__ = ["GRU"]


@jit_piece
def _weights(p, d, m):
    """W_ih, W_hh, b, b_hn."""
    at_hh, at_b = 3 * d * m, 3 * d * m + 3 * d * d
    return p[:at_hh].reshape(3 * d, m), p[at_hh:at_b].reshape(3 * d, d), p[at_b : at_b + 3 * d], p[at_b + 3 * d :]


@jit_piece
def _prepare(s, u, p, z, work):
    d, m = z.shape[1] // 4, u.shape[1]
    W_ih, W_hh, b, b_hn = _weights(p, d, m)
    pack_transpose(W_hh, work[: 3 * d * d].reshape(d, 3 * d))
    for i in range(z.shape[0]):
        for j in range(2 * d):
            z[i, j] = b[j]
        for j in range(d):
            z[i, 2 * d + j] = b_hn[j]
            z[i, 3 * d + j] = b[2 * d + j]
    times_transpose(s[0], u, W_ih[: 2 * d], 1, z[:, : 2 * d])
    times_transpose(s[0], u, W_ih[2 * d :], 1, z[:, 3 * d :])


@jit_piece
def _step(s, x, u, p, z, x_next, work):
    d = x.shape[1]
    times(s[0], x, work[: 3 * d * d].reshape(d, 3 * d), 1, z[:, : 3 * d])
    for i in range(x.shape[0]):
        for j in range(2 * d):
            z[i, j] = sigmoid(z[i, j])
        r, y, a, n, before, after = z[i, :d], z[i, d : 2 * d], z[i, 2 * d : 3 * d], z[i, 3 * d :], x[i], x_next[i]
        for j in range(d):  # a loop that writes one array becomes vector instructions; others may not
            n[j] = tanh(n[j] + r[j] * a[j])
        for j in range(d):
            after[j] = (1 - y[j]) * n[j] + y[j] * before[j]


@jit_piece
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    d = x.shape[1]
    for i in range(x.shape[0]):
        r, y, a, n = z[i, :d], z[i, d : 2 * d], z[i, 2 * d : 3 * d], z[i, 3 * d :]
        before, after_lam, lam_i = x[i], lam_next[i], lam[i]
        kept = work[3 * d * d :]
        for j in range(d):
            lam_i[j] = after_lam[j] * y[j]
        for j in range(d):
            kept[j] = after_lam[j] * (1 - y[j]) * (1 - n[j] * n[j])  # δ_n
        for j in range(d):
            y[j] = lam_i[j] * (before[j] - n[j]) * (1 - y[j])
        for j in range(d):
            n[j] = kept[j]
        for j in range(d):
            kept[j] = n[j] * r[j]
        for j in range(d):
            r[j] = kept[j] * a[j] * (1 - r[j])
        for j in range(d):
            a[j] = kept[j]
    times(s[0], z[:, : 3 * d], _weights(p, d, u.shape[1])[1], 1, lam)


@jit_piece
def _collect(s, x, u, p, z, gu, gp, work):
    d, m = x.shape[1], u.shape[1]
    g_ih, g_hh, g_b, g_hn = _weights(gp, d, m)
    add_outer(s[0], z[:, : 2 * d], u, g_ih[: 2 * d])
    add_outer(s[0], z[:, 3 * d :], u, g_ih[2 * d :])
    add_outer(s[0], z[:, : 3 * d], x, g_hh)
    for i in range(z.shape[0]):
        for j in range(2 * d):
            g_b[j] += z[i, j]
        for j in range(d):
            g_hn[j] += z[i, 2 * d + j]
            g_b[2 * d + j] += z[i, 3 * d + j]
    if gu.shape[0] > 0:
        W_ih = _weights(p, d, m)[0]
        times(s[0], z[:, : 2 * d], W_ih[: 2 * d], 0, gu)
        times(s[0], z[:, 3 * d :], W_ih[2 * d :], 1, gu)


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def GRU(d: int, m: int) -> Cell:
    """The gated recurrent unit.

    Parameters
    ----------
    d : int
        Hidden units.
    m : int
        Inputs.

    Returns
    -------
    Cell
        State ``h`` (d,); parameters ``W_ih`` (3d, m), ``W_hh`` (3d, d), ``b`` (3d,), ``b_hn`` (d,), gates in the order
        r, y, n.
    """
    d, m = size("d", d), size("m", m, 0)

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        W, V = p[: 3 * d * m].reshape(3 * d, m), p[3 * d * m : 3 * d * (m + d)].reshape(3 * d, d)
        b, b_hn = p[3 * d * (m + d) : 3 * d * (m + d + 1)], p[3 * d * (m + d + 1) :]
        inputs, recurrent = W @ u + b, V @ x
        r, y = (1 / (1 + np.exp(-(inputs[at : at + d] + recurrent[at : at + d]))) for at in (0, d))
        n = np.tanh(inputs[2 * d :] + r * (recurrent[2 * d :] + b_hn))
        return (1 - y) * n + y * x

    def initial(rng: np.random.Generator) -> dict[str, Any]:
        W = np.concatenate([glorot(rng, d, m) for _ in range(3)])
        V = np.concatenate([orthogonal(rng, d) for _ in range(3)])
        return {"W_ih": W, "W_hh": V, "b": np.zeros(3 * d), "b_hn": np.zeros(d)}

    return Cell(
        name="GRU",
        states={"h": (d,)},
        m=m,
        parameters={"W_ih": (3 * d, m), "W_hh": (3 * d, d), "b": (3 * d,), "b_hn": (d,)},
        outputs=d,
        pieces=PIECES,
        equation=equation,
        initial=initial,
        records=4 * d,
        scratch=(3 * d * d + d, 0),
    )
