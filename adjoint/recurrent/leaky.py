"""A cell whose units leak: what it was decays at its own pace, and new things come in at the same pace.

    z_k     = W_ih u_k + b + W_hh x_k
    x_{k+1} = x_k + α ⊙ (tanh(z_k) - x_k)             α = sigmoid(θ), between 0 and 1 whatever θ is

    Jacobian    A_k = diag(1 - α) + diag(α ⊙ (1 - n²)) W_hh,     n = tanh(z_k)
    transpose   δ_k = α ⊙ (1 - n²) ⊙ λ_{k+1}
                λ_k = (1 - α) ⊙ λ_{k+1} + W_hhᵀ δ_k,   g_u = W_ihᵀ δ_k
                g_W_hh = Σ δ_k x_kᵀ,   g_W_ih = Σ δ_k u_kᵀ,   g_b = Σ δ_k,   g_θ = Σ λ_{k+1} ⊙ (n - x_k) ⊙ α ⊙ (1 - α)

This is forward Euler with step h = α for x' = tanh(W x + …) - x; a unit remembers for about 1/α steps. If ‖W_hh‖ <= 1,
gradients cannot explode: with S = diag(α)^{1/2} and D = diag(1 - n²),

    S⁻¹ A_k S = (I - S²) + S D W S = [(I - S²)^{1/2}, S D] [(I - S²)^{1/2}; W S],      ‖·‖ <= 1 · 1

so that ‖S λ_k‖ never grows on the way back, and ‖λ_k‖ by at most (max α / min α)^{1/2}. Leaky units: Jaeger et al.,
Neural Networks 20 (2007).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.errors import InputError
from adjoint.kernels.jit import jit_piece
from adjoint.kernels.linear import add_outer, pack_transpose, times, times_transpose
from adjoint.kernels.smooth import sigmoid, tanh
from adjoint.recurrent.cell import Cell, glorot, orthogonal, size
from adjoint.recurrent.initialisation import time_constants

__all__ = ["Leaky"]


@jit_piece
def _weights(p, d, m):
    """W_ih, W_hh, b, θ."""
    at_hh, at_b = d * m, d * m + d * d
    return p[:at_hh].reshape(d, m), p[at_hh:at_b].reshape(d, d), p[at_b : at_b + d], p[at_b + d :]


@jit_piece
def _prepare(s, u, p, z, work):
    d, m = z.shape[1] // 2, u.shape[1]
    W_ih, W_hh, b, theta = _weights(p, d, m)
    pack_transpose(W_hh, work[: d * d].reshape(d, d))
    alpha = work[d * d :]
    for j in range(d):
        alpha[j] = sigmoid(theta[j])
    for i in range(z.shape[0]):
        for j in range(d):
            z[i, j] = b[j]
    times_transpose(s[0], u, W_ih, 1, z[:, :d])


@jit_piece
def _step(s, x, u, p, z, x_next, work):
    d = x.shape[1]
    alpha = work[d * d :]
    times(s[0], x, work[: d * d].reshape(d, d), 1, z[:, :d])
    for i in range(x.shape[0]):
        for j in range(d):
            z[i, j] = tanh(z[i, j])
            x_next[i, j] = x[i, j] + alpha[j] * (z[i, j] - x[i, j])


@jit_piece
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    d = x.shape[1]
    alpha = work[d * d :]
    for i in range(x.shape[0]):
        n, on_theta = z[i, :d], z[i, d:]
        for j in range(d):  # a loop that writes one array becomes vector instructions; others may not
            on_theta[j] = lam_next[i, j] * (n[j] - x[i, j]) * alpha[j] * (1 - alpha[j])
        for j in range(d):
            n[j] = lam_next[i, j] * alpha[j] * (1 - n[j] * n[j])  # δ
        for j in range(d):
            lam[i, j] = (1 - alpha[j]) * lam_next[i, j]
    times(s[0], z[:, :d], _weights(p, d, u.shape[1])[1], 1, lam)  # + W_hhᵀ δ


@jit_piece
def _collect(s, x, u, p, z, gu, gp, work):
    d, m = x.shape[1], u.shape[1]
    g_ih, g_hh, g_b, g_theta = _weights(gp, d, m)
    add_outer(s[0], z[:, :d], u, g_ih)
    add_outer(s[0], z[:, :d], x, g_hh)
    for i in range(z.shape[0]):
        for j in range(d):
            g_b[j] += z[i, j]
            g_theta[j] += z[i, d + j]
    if gu.shape[0] > 0:
        times(s[0], z[:, :d], _weights(p, d, m)[0], 0, gu)  # g_u = W_ihᵀ δ


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def Leaky(d: int, m: int, longest: float = 100.0) -> Cell:
    """Leaky units x_{k+1} = x_k + α ⊙ (tanh(W_ih u_k + W_hh x_k + b) - x_k).

    Parameters
    ----------
    d : int
        Units.
    m : int
        Inputs.
    longest : float
        The longest memory at the start, in steps: the 1 - α are spread so that the units forget within 2 to so many.

    Returns
    -------
    Cell
        State ``h`` (d,); parameters ``W_ih`` (d, m), ``W_hh`` (d, d), ``b`` (d,), and ``leak`` (d,), which is θ with
        α = sigmoid(θ).

    Raises
    ------
    InputError
        If a size or `longest` is out of range.
    """
    d, m = size("d", d), size("m", m, 0)
    if not 2 <= longest < math.inf:
        raise InputError(f"longest is {longest!r}; expected a number of steps, at least 2.")

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        W_ih, W_hh = p[: d * m].reshape(d, m), p[d * m : d * m + d * d].reshape(d, d)
        b, theta = p[d * m + d * d : d * m + d * d + d], p[d * m + d * d + d :]
        alpha = 1 / (1 + np.exp(-theta))
        return x + alpha * (np.tanh(W_ih @ u + W_hh @ x + b) - x)

    def initial(rng: np.random.Generator) -> dict[str, Any]:
        keep = time_constants(rng, d, 2.0, longest)
        return {"W_ih": glorot(rng, d, m), "W_hh": orthogonal(rng, d), "b": np.zeros(d),
                "leak": np.log((1 - keep) / keep)}  # fmt: skip

    return Cell(
        name="Leaky",
        states={"h": (d,)},
        m=m,
        parameters={"W_ih": (d, m), "W_hh": (d, d), "b": (d,), "leak": (d,)},
        outputs=d,
        pieces=PIECES,
        equation=equation,
        initial=initial,
        records=2 * d,
        scratch=(d * d + d, 0),
    )
