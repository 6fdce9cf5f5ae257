"""Where a head of a memory tape looks: the functions of an address, each followed by its transpose.

For a memory M (slots, width) and one head, in the order in which they are applied:

    similarity   K_i = k·M_i / sqrt((|k|² + ε) (|M_i|² + ε))        content: how alike the key and each slot are
    softmax      c   = softmax(β K)                                 the sharper, the larger β
    gate         v   = g c + (1 - g) (w + (1 - Σ w) e_0)            content, or where the head was before
    shift        ṽ_i = Σ_j s_j v_{i - j mod slots}                  a step along the tape, |j| <= radius
    sharpen      w⁺  = softmax(γ log ṽ) = ṽ^γ / Σ ṽ^γ               against the blur of the shift

A. Graves, G. Wayne and I. Danihelka, Neural Turing Machines, arXiv:1410.5401, equations 5 to 9. Three things are
different, so that there is a value and a derivative everywhere. The cosine has ε = 0.01: a slot with little on it
resembles nothing. What a weighting w lacks to 1 lies on slot 0: w = 0 is a head at the beginning of the tape, and for a
w with sum 1 nothing changes. The logarithm is that of max(ṽ, 1e-30).

`inverse` holds 1 / sqrt(|M_i|² + ε). What a transpose adds to is called on_...: ∂J/∂ of that name.
"""

from __future__ import annotations

import math

from adjoint.kernels.jit import jit_piece
from adjoint.kernels.smooth import exp_negative, log

__all__ = [
    "EPSILON", "FLOOR", "gate", "gate_transpose", "inverse_lengths", "sharpen", "sharpen_transpose", "shift",
    "shift_transpose", "similarity", "similarity_transpose", "softmax", "softmax_transpose",
]  # fmt: skip

EPSILON, FLOOR = 1e-2, 1e-30


@jit_piece
def _square(a):
    """|a|²."""
    total = a.dtype.type(0)
    for j in range(a.size):
        total += a[j] * a[j]
    return total


@jit_piece
def _dot(a, b):
    """a·b."""
    total = a.dtype.type(0)
    for j in range(a.size):
        total += a[j] * b[j]
    return total


@jit_piece
def inverse_lengths(M, inverse):
    """inverse_i = 1 / sqrt(|M_i|² + ε), for all heads."""
    one, epsilon = inverse.dtype.type(1), inverse.dtype.type(EPSILON)
    for i in range(M.shape[0]):
        inverse[i] = one / math.sqrt(_square(M[i]) + epsilon)


@jit_piece
def similarity(k, M, inverse, K):
    """K_i = k·M_i inverse_i / sqrt(|k|² + ε)."""
    scale = K.dtype.type(1) / math.sqrt(_square(k) + K.dtype.type(EPSILON))
    for i in range(M.shape[0]):
        K[i] = _dot(k, M[i]) * (inverse[i] * scale)


@jit_piece
def similarity_transpose(k, M, inverse, K, on_K, on_k, on_M):
    """∂K_i/∂k = inverse_i scale M_i - K_i scale² k,   ∂K_i/∂M_i = inverse_i scale k - K_i inverse_i² M_i."""
    scale = K.dtype.type(1) / math.sqrt(_square(k) + K.dtype.type(EPSILON))
    along = -scale * scale * _dot(K, on_K)
    for j in range(k.size):
        on_k[j] += along * k[j]
    for i in range(M.shape[0]):
        across, inward = on_K[i] * inverse[i] * scale, on_K[i] * K[i] * inverse[i] * inverse[i]
        row, on_row = M[i], on_M[i]
        for j in range(k.size):
            on_k[j] += across * row[j]
            on_row[j] += across * k[j] - inward * row[j]


@jit_piece
def softmax(factor, a, w):
    """w = exp(factor a) / Σ exp(factor a), factor >= 0; w may be a."""
    top, total = a[0], a.dtype.type(0)
    for i in range(a.size):
        top = max(top, a[i])
    for i in range(a.size):
        w[i] = exp_negative(factor * (a[i] - top))
        total += w[i]
    scale = a.dtype.type(1) / total
    for i in range(a.size):
        w[i] *= scale


@jit_piece
def softmax_transpose(w, on_w, on):
    """∂J/∂(factor a) = w ⊙ (on_w - w·on_w); on may be on_w."""
    mean = _dot(w, on_w)
    for i in range(w.size):
        on[i] = w[i] * (on_w[i] - mean)


@jit_piece
def gate(g, c, w, v):
    """v = g c + (1 - g) (w + (1 - Σ w) e_0)."""
    one = w.dtype.type(1)
    rest, missing = one - g, one
    for i in range(w.size):
        v[i] = g * c[i] + rest * w[i]
        missing -= w[i]
    v[0] += rest * missing


@jit_piece
def gate_transpose(g, c, w, on_v, on_c, on_w):
    """Returns ∂J/∂g; on_c = g on_v, which may take its place, and on_w = (1 - g) (on_v - on_v[0])."""
    one, first = w.dtype.type(1), on_v[0]
    rest, on_g, missing = one - g, w.dtype.type(0), one
    for i in range(w.size):
        on_g += on_v[i] * (c[i] - w[i])
        missing -= w[i]
        on_w[i] = rest * (on_v[i] - first)
        on_c[i] = g * on_v[i]
    return on_g - first * missing


@jit_piece
def shift(s, v, moved):
    """moved_i = Σ_j s_j v_{i - j}, j = -radius, …, radius, round the tape."""
    slots, radius = v.size, s.size // 2
    for i in range(slots):
        moved[i] = 0
    for a in range(s.size):
        at = (radius - a) % slots  # where slot 0 gets its part from; from `slots - at` on, the part comes from slot 0
        for i in range(slots - at):
            moved[i] += s[a] * v[i + at]
        for i in range(slots - at, slots):
            moved[i] += s[a] * v[i + at - slots]


@jit_piece
def shift_transpose(s, v, on_moved, on_s, on_v):
    """on_v_i = Σ_j s_j on_moved_{i + j},   on_s_j = Σ_i on_moved_i v_{i - j}."""
    slots, radius = v.size, s.size // 2
    for i in range(slots):
        on_v[i] = 0
    for a in range(s.size):
        at, total = (radius - a) % slots, v.dtype.type(0)
        for i in range(slots - at):
            on_v[i + at] += s[a] * on_moved[i]
            total += on_moved[i] * v[i + at]
        for i in range(slots - at, slots):
            on_v[i + at - slots] += s[a] * on_moved[i]
            total += on_moved[i] * v[i + at - slots]
        on_s[a] = total


@jit_piece
def sharpen(gamma, moved, w):
    """w = softmax(γ log max(moved, FLOOR))."""
    floor = w.dtype.type(FLOOR)
    for i in range(w.size):
        w[i] = log(max(moved[i], floor))
    softmax(gamma, w, w)


@jit_piece
def sharpen_transpose(gamma, moved, w, on_w, on_moved):
    """Returns ∂J/∂γ; on_moved = γ on / moved with on = ∂J/∂(γ log moved), and 0 below the floor."""
    zero, floor = w.dtype.type(0), w.dtype.type(FLOOR)
    softmax_transpose(w, on_w, on_moved)
    on_gamma = zero
    for i in range(w.size):
        level = max(moved[i], floor)
        on_gamma += on_moved[i] * log(level)
        on_moved[i] = gamma * on_moved[i] / level if moved[i] > floor else zero
    return on_gamma
