"""How a tape finds a slot, writes into it and reads it: each function with its transpose beside it.

A weighting w (slots,) is a soft pointer: w_i >= 0, Σ w_i = 1. M (slots, width) is the memory.

    softmax     w_i = exp(β s_i) / Σ_j exp(β s_j)
    cosine      c_i = kᵀ M_i / (|k| |M_i|)               |v|² = vᵀv + ε: an empty slot looks like nothing
    shift       y_i = s_0 v_{i+1} + s_1 v_i + s_2 v_{i-1}     around the end
    write       M⁺_ij = M_ij (1 - w_i e_j) + w_i a_j
    read        r_j = Σ_i w_i M_ij

With dw = ∂J/∂w and so on, for the transposes:

    softmax     d_i = w_i (dw_i - Σ_j w_j dw_j),    ds_i = β d_i,    dβ = Σ_i s_i d_i
    cosine      dk += Σ_i dc_i (M_i / |M_i| - c_i k / |k|) / |k|,    dM_i += dc_i (k / |k| - c_i M_i / |M_i|) / |M_i|
    shift       dv_i = s_0 dy_{i-1} + s_1 dy_i + s_2 dy_{i+1},    ds_0 = Σ_i v_{i+1} dy_i, …
    write       dM_ij = dM⁺_ij (1 - w_i e_j),    dw_i += Σ_j dM⁺_ij (a_j - M_ij e_j),
                de_j = -Σ_i dM⁺_ij M_ij w_i,    da_j = Σ_i dM⁺_ij w_i
    read        dw_i += Σ_j dr_j M_ij,    dM_ij += w_i dr_j

A. Graves, G. Wayne, I. Danihelka, Neural Turing Machines, arXiv:1410.5401 (2014), section 3.
"""

from __future__ import annotations

import math

from adjoint.kernels.jit import jit_reassociating

__all__ = [
    "EPSILON", "cosine", "cosine_back", "read", "read_back", "shift", "shift_back", "softmax", "softmax_back", "write",
    "write_back",
]  # fmt: skip

EPSILON = 1e-4  # in |v|²: far below the numbers that are worth writing, and far above the rounding of float32


@jit_reassociating
def softmax(strength, score, w):
    """w = softmax(strength · score)."""
    largest, total = strength * score[0], w.dtype.type(0)
    for i in range(w.size):
        largest = max(largest, strength * score[i])
    for i in range(w.size):
        w[i] = math.exp(strength * score[i] - largest)
        total += w[i]
    for i in range(w.size):
        w[i] /= total


@jit_reassociating
def softmax_back(strength, score, w, dw, d_score):
    """Fill d_score, which may be dw itself; returns the derivative with respect to the strength."""
    mean, d_strength = w.dtype.type(0), w.dtype.type(0)
    for i in range(w.size):
        mean += w[i] * dw[i]
    for i in range(w.size):
        d = w[i] * (dw[i] - mean)
        d_strength += score[i] * d
        d_score[i] = strength * d
    return d_strength


@jit_reassociating
def _inverse_length(v):
    total = v.dtype.type(EPSILON)
    for j in range(v.size):
        total += v[j] * v[j]
    return 1 / math.sqrt(total)


@jit_reassociating
def cosine(k, M, c):
    """c_i = cosine of the angle between k and M_i, with ε."""
    scale = _inverse_length(k)
    for i in range(M.shape[0]):
        product = M.dtype.type(0)
        for j in range(M.shape[1]):
            product += k[j] * M[i, j]
        c[i] = product * scale * _inverse_length(M[i])


@jit_reassociating
def cosine_back(k, M, c, dc, dk, dM):
    """Add to dk and dM."""
    scale = _inverse_length(k)
    for i in range(M.shape[0]):
        own = _inverse_length(M[i])
        both = dc[i] * scale * own
        on_k, on_M = dc[i] * c[i] * scale * scale, dc[i] * c[i] * own * own
        for j in range(M.shape[1]):
            dk[j] += both * M[i, j] - on_k * k[j]
            dM[i, j] += both * k[j] - on_M * M[i, j]


@jit_reassociating
def shift(s, v, y):
    """y = v moved by -1, 0, 1 slots with weights s."""
    last = v.size - 1
    y[0] = s[0] * v[1] + s[1] * v[0] + s[2] * v[last]
    for i in range(1, last):
        y[i] = s[0] * v[i + 1] + s[1] * v[i] + s[2] * v[i - 1]
    y[last] = s[0] * v[0] + s[1] * v[last] + s[2] * v[last - 1]


@jit_reassociating
def shift_back(s, v, dy, ds, dv):
    """Fill ds and dv."""
    last = v.size - 1
    dv[0] = s[0] * dy[last] + s[1] * dy[0] + s[2] * dy[1]
    dv[last] = s[0] * dy[last - 1] + s[1] * dy[last] + s[2] * dy[0]
    left, stay, right = v[0] * dy[last], v[0] * dy[0] + v[last] * dy[last], v[last] * dy[0]
    for i in range(1, last):
        dv[i] = s[0] * dy[i - 1] + s[1] * dy[i] + s[2] * dy[i + 1]
        stay += v[i] * dy[i]
    for i in range(last):
        left += v[i + 1] * dy[i]
        right += v[i] * dy[i + 1]
    ds[0], ds[1], ds[2] = left, stay, right


@jit_reassociating
def write(M, w, e, a, M_next):
    """M⁺ = M with e erased and a added where w points."""
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            M_next[i, j] = M[i, j] + w[i] * (a[j] - M[i, j] * e[j])


@jit_reassociating
def write_back(M, w, e, a, dM, dw, de, da):
    """dM comes in as dM⁺ and goes out as dM; adds to dw, fills de and da."""
    de[:], da[:] = 0, 0
    for i in range(M.shape[0]):
        total = M.dtype.type(0)
        for j in range(M.shape[1]):
            d = dM[i, j]
            total += d * (a[j] - M[i, j] * e[j])
            de[j] -= d * M[i, j] * w[i]
            da[j] += d * w[i]
            dM[i, j] = d * (1 - w[i] * e[j])
        dw[i] += total


@jit_reassociating
def read(M, w, r):
    """r = what stands where w points."""
    r[:] = 0
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            r[j] += w[i] * M[i, j]


@jit_reassociating
def read_back(M, w, dr, dM, dw):
    """Add to dM and dw."""
    for i in range(M.shape[0]):
        total = M.dtype.type(0)
        for j in range(M.shape[1]):
            total += dr[j] * M[i, j]
            dM[i, j] += w[i] * dr[j]
        dw[i] += total
