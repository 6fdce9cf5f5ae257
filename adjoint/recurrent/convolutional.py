"""A recurrent cell whose state is a feature map, x (channels, height, width).

    x_{k+1} = tanh(K_u ∗ u_k + K_h ∗ x_k + b)

    (K ∗ x)_{c,i,j} = Σ_{c',a,b} K_{c,c',a,b} x_{c', i+a-r, j+b-r}         kernels of size 2r + 1, zeros around the map

The maps that a kernel's weights meet are laid out as the rows of one matrix X̄ (channels · kernel², height · width), row
(c', a, b) being channel c' moved by (a - r, b - r) (`_unfold`); with K as a matrix, K ∗ x = K X̄. So all is matrix
products, and the transpose moves back what was moved (`_fold`):

    transpose   δ_k = (1 - x_{k+1}²) ⊙ λ_{k+1}
                λ_k = fold(K_hᵀ δ_k),   g_u = fold(K_uᵀ δ_k)
                g_K_h = Σ δ_k X̄_kᵀ,   g_K_u = Σ δ_k Ū_kᵀ,   g_b = Σ δ_k 1

Weights as in torch.nn.functional.conv2d: (out, in, kernel, kernel), not turned over.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.errors import InputError
from adjoint.kernels.jit import jit_piece
from adjoint.kernels.linear import add_outer, times, times_transpose
from adjoint.kernels.smooth import tanh
from adjoint.recurrent.cell import Cell, orthogonal, size

__all__ = ["Convolutional"]


@jit_piece
def _weights(p, channels, inputs, area):
    """K_u, K_h as matrices (channels, in · area), and b."""
    at_hh = channels * inputs * area
    at_b = at_hh + channels * channels * area
    return p[:at_hh].reshape(channels, inputs * area), p[at_hh:at_b].reshape(channels, channels * area), p[at_b:]


@jit_piece
def _unfold(maps, kernel, rows):
    """rows (channels · kernel², height · width): each channel of `maps` moved in all ways, zeros moving in."""
    channels, height, width = maps.shape
    r = kernel // 2
    for c in range(channels):
        for a in range(kernel):
            for b in range(kernel):
                row = rows[(c * kernel + a) * kernel + b].reshape(height, width)
                first, end = min(width, max(0, r - b)), max(0, min(width, width + r - b))
                for i in range(height):
                    source = i + a - r
                    if source < 0 or source >= height:
                        for j in range(width):
                            row[i, j] = 0
                        continue
                    for j in range(first):
                        row[i, j] = 0
                    for j in range(first, end):
                        row[i, j] = maps[c, source, j + b - r]
                    for j in range(max(first, end), width):
                        row[i, j] = 0


@jit_piece
def _fold(rows, kernel, maps):
    """The transpose: maps = the sum of all rows moved back."""
    channels, height, width = maps.shape
    r = kernel // 2
    maps[:] = 0
    for c in range(channels):
        for a in range(kernel):
            for b in range(kernel):
                row = rows[(c * kernel + a) * kernel + b].reshape(height, width)
                first, end = max(0, r - b), min(width, width + r - b)
                for i in range(max(0, r - a), min(height, height + r - a)):
                    for j in range(first, end):
                        maps[c, i + a - r, j + b - r] += row[i, j]


@jit_piece
def _room(work, maps, area, pixels):
    """Scratch for the unfolded maps of one row of the batch."""
    return work[: maps * area * pixels].reshape(maps * area, pixels)


@jit_piece
def _prepare(s, u, p, z, work):
    channels, inputs, height, width, kernel = s[1], s[2], s[3], s[4], s[5]
    area, pixels = kernel * kernel, height * width
    K_u, _, b = _weights(p, channels, inputs, area)
    rows = _room(work, inputs, area, pixels)
    for i in range(z.shape[0]):
        Z = z[i].reshape(channels, pixels)
        for c in range(channels):
            for j in range(pixels):
                Z[c, j] = b[c]
        if inputs > 0:
            _unfold(u[i].reshape(inputs, height, width), kernel, rows)
            times(s[0], K_u, rows, 1, Z)  # z = K_u ∗ u + b


@jit_piece
def _step(s, x, u, p, z, x_next, work):
    channels, inputs, height, width, kernel = s[1], s[2], s[3], s[4], s[5]
    area, pixels = kernel * kernel, height * width
    K_h, rows = _weights(p, channels, inputs, area)[1], _room(work, channels, area, pixels)
    for i in range(x.shape[0]):
        _unfold(x[i].reshape(channels, height, width), kernel, rows)
        times(s[0], K_h, rows, 1, z[i].reshape(channels, pixels))  # z += K_h ∗ x
        for j in range(x.shape[1]):
            x_next[i, j] = tanh(z[i, j])


@jit_piece
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    channels, inputs, height, width, kernel = s[1], s[2], s[3], s[4], s[5]
    area, pixels = kernel * kernel, height * width
    K_h, rows = _weights(p, channels, inputs, area)[1], _room(work, channels, area, pixels)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            z[i, j] = lam_next[i, j] * (1 - x_next[i, j] * x_next[i, j])  # δ = σ' ⊙ λ_next
        rows[:] = 0
        add_outer(s[0], K_h, z[i].reshape(channels, pixels), rows)
        _fold(rows, kernel, lam[i].reshape(channels, height, width))  # λ = fold(K_hᵀ δ)


@jit_piece
def _collect(s, x, u, p, z, gu, gp, work):
    channels, inputs, height, width, kernel = s[1], s[2], s[3], s[4], s[5]
    area, pixels = kernel * kernel, height * width
    g_u, g_h, g_b = _weights(gp, channels, inputs, area)
    K_u = _weights(p, channels, inputs, area)[0]
    rows_u, rows_h = _room(work, inputs, area, pixels), _room(work, channels, area, pixels)
    for i in range(z.shape[0]):
        delta = z[i].reshape(channels, pixels)
        _unfold(x[i].reshape(channels, height, width), kernel, rows_h)
        times_transpose(s[0], delta, rows_h, 1, g_h)  # g += δ X̄ᵀ
        if inputs > 0:
            _unfold(u[i].reshape(inputs, height, width), kernel, rows_u)
            times_transpose(s[0], delta, rows_u, 1, g_u)
            if gu.shape[0] > 0:
                rows_u[:] = 0
                add_outer(s[0], K_u, delta, rows_u)
                _fold(rows_u, kernel, gu[i].reshape(inputs, height, width))
        for c in range(channels):
            for j in range(pixels):
                g_b[c] += delta[c, j]


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def Convolutional(channels: int, inputs: int, height: int, width: int, kernel: int = 3) -> Cell:
    """A recurrent network over a picture: x_{k+1} = tanh(K_u ∗ u_k + K_h ∗ x_k + b), as large as before.

    Parameters
    ----------
    channels : int
        Channels of the state.
    inputs : int
        Channels of the input, or 0.
    height, width : int
        Pixels.
    kernel : int
        Size of the kernels, odd.

    Returns
    -------
    Cell
        State ``h`` (channels, height, width); m = inputs · height · width; parameters ``W_ih`` (channels, inputs,
        kernel, kernel), ``W_hh`` (channels, channels, kernel, kernel), ``b`` (channels,).
    """
    channels, inputs = size("channels", channels), size("inputs", inputs, 0)
    height, width, kernel = size("height", height), size("width", width), size("kernel", kernel)
    if kernel % 2 == 0:
        raise InputError(f"kernel is {kernel}; expected an odd number, so that it has a centre.")
    area, pixels, r = kernel * kernel, height * width, kernel // 2

    def convolve(K: Any, maps: Any) -> Any:
        padded = np.pad(maps.reshape(-1, height, width), ((0, 0), (r, r), (r, r)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
        return np.einsum("ocab,cijab->oij", K.reshape(channels, -1, kernel, kernel), windows)

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        K_u, K_h, b = np.split(p, [channels * inputs * area, channels * (inputs + channels) * area])
        z = convolve(K_h, x) + b[:, None, None]
        return np.tanh(z + convolve(K_u, u) if inputs else z).reshape(-1)

    def initial(rng: np.random.Generator) -> dict[str, Any]:
        bound = math.sqrt(6 / ((inputs + channels) * area))  # Glorot and Bengio 2010, with fans of `area` taps
        W_hh = np.zeros((channels, channels, kernel, kernel))
        W_hh[:, :, r, r] = orthogonal(rng, channels)  # nothing is forgotten at first: Xiao et al., ICML 2018, section 4
        W_ih = rng.uniform(-bound, bound, (channels, inputs, kernel, kernel))
        return {"W_ih": W_ih, "W_hh": W_hh, "b": np.zeros(channels)}

    return Cell(
        name="Convolutional",
        states={"h": (channels, height, width)},
        m=inputs * pixels,
        parameters={
            "W_ih": (channels, inputs, kernel, kernel), "W_hh": (channels, channels, kernel, kernel), "b": (channels,)
        },
        outputs=channels * pixels,
        pieces=PIECES,
        equation=equation,
        initial=initial,
        records=channels * pixels,
        needs_records=False,
        own_sizes=(channels, inputs, height, width, kernel),
        scratch=(max(inputs, channels) * area * pixels, 0),
    )  # fmt: skip
