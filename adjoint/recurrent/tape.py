"""A memory tape with one write head and one read head: a Neural Turing Machine as one cell.

The state is (h, r, M, v, w): the controller, what was read, the memory, and where the heads stand (`addressing`; the
state holds the weightings v and w less the unit vector of slot 0, so that x_0 = 0 is the start: heads on slot 0 of an
empty tape). x̄ = (h, r).

    h⁺ = tanh(W_ih u + W_hh x̄ + b)
    o  = W_o h⁺ + b_o           for either head key k, β = softplus, g = sigmoid, s = softmax (3), γ = 1 + softplus;
                                then e = sigmoid, a = tanh
    v⁺ = head(v, M)             c = cosine(k, M),  C = softmax(β c),  y = shift(s, g C + (1 - g) v),
                                v⁺ = (y + ε)^γ / Σ (y + ε)^γ = softmax(γ log(y + ε))
    M⁺ = write(M, v⁺, e, a)
    w⁺ = head(w, M⁺),   r⁺ = read(M⁺, w⁺)

    transpose   the same backwards: read, head, write, head (each beside its own in `addressing`), which gives δ_o; then
                δ = (1 - h⁺²) ⊙ (λ_h + W_oᵀ δ_o),   λ_x̄ = W_hhᵀ δ,   g_u = W_ihᵀ δ
                g_W_hh = Σ δ x̄ᵀ,   g_W_ih = Σ δ uᵀ,   g_b = Σ δ,   g_W_o = Σ δ_o h⁺ᵀ,   g_b_o = Σ δ_o

A. Graves, G. Wayne, I. Danihelka, Neural Turing Machines, arXiv:1410.5401 (2014), section 3. Here the controller is
Elman's, and the read head looks at the memory after it was written.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.kernels.jit import jit_reassociating
from adjoint.kernels.linear import add_outer, pack_transpose, times, times_transpose
from adjoint.kernels.smooth import sigmoid, tanh
from adjoint.recurrent.addressing import (
    EPSILON,
    cosine,
    cosine_back,
    read,
    read_back,
    shift,
    shift_back,
    softmax,
    softmax_back,
    write,
    write_back,
)
from adjoint.recurrent.cell import Cell, glorot, orthogonal, size

__all__ = ["Tape"]

LEAST = 1e-6  # ε under the logarithm: a slot that nothing points at

# In a head's part of o, after the key: β, g, s (3), γ.
STRENGTH, GATE, SHIFT, SHARPNESS, HEAD = 0, 1, 2, 5, 6


@jit_reassociating
def _weights(p, d, m, width):
    """W_ih, W_hh, b, W_o, b_o."""
    q, wide = 4 * width + 2 * HEAD, d + width
    at_hh = d * m
    at_b = at_hh + d * wide
    at_o = at_b + d
    at_c = at_o + q * d
    return (
        p[:at_hh].reshape(d, m), p[at_hh:at_b].reshape(d, wide), p[at_b:at_o], p[at_o:at_c].reshape(q, d), p[at_c:]
    )  # fmt: skip


@jit_reassociating
def _parts(x, d, slots, width):
    """M, v, w of one row."""
    at_M = d + width
    at_v = at_M + slots * width
    return x[at_M:at_v].reshape(slots, width), x[at_v : at_v + slots], x[at_v + slots :]


@jit_reassociating
def _records(z, d, slots, width):
    """Of one row: o, h⁺, and for either head 4 vectors (slots,): c, C, g C + (1 - g) v, log(y + ε)."""
    q = 4 * width + 2 * HEAD
    kept = z[2 * d + q :]
    return z[d : d + q], z[d + q : 2 * d + q], kept[: 4 * slots].reshape(4, slots), kept[4 * slots :].reshape(4, slots)


@jit_reassociating
def _interface(o, width):
    """Views of o: the write head's part, the read head's, e, a."""
    each = width + HEAD
    return o[:each], o[each : 2 * each], o[2 * each : 2 * each + width], o[2 * each + width :]


@jit_reassociating
def _softplus(z):
    return (z if z > 0 else z * 0) + math.log1p(math.exp(-abs(z)))


@jit_reassociating
def _activate_head(o, width):
    """A head's numbers in place of W_o h⁺ + b_o; its key stays as it is."""
    own = o[width:]
    own[STRENGTH] = _softplus(own[STRENGTH])
    own[GATE] = sigmoid(own[GATE])
    softmax(o.dtype.type(1), own[SHIFT:SHARPNESS], own[SHIFT:SHARPNESS])
    own[SHARPNESS] = 1 + _softplus(own[SHARPNESS])


@jit_reassociating
def _activate_head_back(o, d_o, width):
    """d_o is multiplied by the derivatives, which the activated numbers have in them: softplus' = 1 - exp(-softplus)."""
    own, d_own = o[width:], d_o[width:]
    d_own[STRENGTH] *= -math.expm1(-own[STRENGTH])
    d_own[GATE] *= own[GATE] * (1 - own[GATE])
    s, ds = own[SHIFT:SHARPNESS], d_own[SHIFT:SHARPNESS]
    softmax_back(o.dtype.type(1), s, s, ds, ds)
    d_own[SHARPNESS] *= -math.expm1(1 - own[SHARPNESS])


@jit_reassociating
def _head(o, M, at, kept, y, w):
    """w = where the head stands next; `at` is where it stands, less slot 0."""
    width = M.shape[1]
    own, (c, C, v, log_y) = o[width:], (kept[0], kept[1], kept[2], kept[3])
    cosine(o[:width], M, c)
    softmax(own[STRENGTH], c, C)
    g = own[GATE]
    for i in range(at.size):
        v[i] = g * C[i] + (1 - g) * at[i]
    v[0] += 1 - g
    shift(own[SHIFT:SHARPNESS], v, y)
    for i in range(at.size):
        log_y[i] = math.log(max(y[i], 0) + LEAST)
    softmax(own[SHARPNESS], log_y, w)


@jit_reassociating
def _head_back(o, M, at, kept, w, dw, y, d_o, dM, d_at):
    """From dw: add to dM, fill d_at and the head's part of d_o. Gives up dw and y."""
    width = M.shape[1]
    own, d_own, (c, C, v, log_y) = o[width:], d_o[width:], (kept[0], kept[1], kept[2], kept[3])
    d_own[SHARPNESS] = softmax_back(own[SHARPNESS], log_y, w, dw, dw)
    for i in range(at.size):
        dw[i] *= math.exp(-log_y[i])
    shift_back(own[SHIFT:SHARPNESS], v, dw, d_own[SHIFT:SHARPNESS], y)  # y is ∂J/∂v now
    g, d_g = own[GATE], -y[0]
    for i in range(at.size):
        d_g += y[i] * (C[i] - at[i])
        d_at[i] = (1 - g) * y[i]
        dw[i] = g * y[i]
    d_own[GATE] = d_g
    d_own[STRENGTH] = softmax_back(own[STRENGTH], c, C, dw, dw)
    d_o[:width] = 0
    cosine_back(o[:width], M, c, dw, d_o[:width], dM)


@jit_reassociating
def _prepare(s, u, p, z, work):
    d, slots, width = s[1], s[2], s[3]
    W_ih, W_hh, b, W_o, b_o = _weights(p, d, u.shape[1], width)
    pack_transpose(W_hh, work[: W_hh.size].reshape(d + width, d))
    pack_transpose(W_o, work[W_hh.size : W_hh.size + W_o.size].reshape(d, W_o.shape[0]))
    for i in range(z.shape[0]):
        for j in range(d):
            z[i, j] = b[j]
        for j in range(b_o.size):
            z[i, d + j] = b_o[j]
    times_transpose(s[0], u, W_ih, 1, z[:, :d])  # z = W_ih u + b


@jit_reassociating
def _step(s, x, u, p, z, x_next, work):
    d, slots, width = s[1], s[2], s[3]
    q, wide = 4 * width + 2 * HEAD, d + width
    packed_o, y = work[wide * d : wide * d + q * d], work[wide * d + q * d : wide * d + q * d + slots]
    times(s[0], x[:, :wide], work[: wide * d].reshape(wide, d), 1, z[:, :d])  # z += W_hh x̄
    for i in range(x.shape[0]):
        for j in range(d):
            x_next[i, j] = tanh(z[i, j])
            z[i, d + q + j] = x_next[i, j]
    times(s[0], x_next[:, :d], packed_o.reshape(d, q), 1, z[:, d : d + q])  # o = W_o h⁺ + b_o
    for i in range(x.shape[0]):
        o, _, kept_v, kept_w = _records(z[i], d, slots, width)
        o_v, o_w, e, a = _interface(o, width)
        _activate_head(o_v, width)
        _activate_head(o_w, width)
        for j in range(width):
            e[j] = sigmoid(e[j])
            a[j] = tanh(a[j])
        M, v, w = _parts(x[i], d, slots, width)
        M_next, v_next, w_next = _parts(x_next[i], d, slots, width)
        _head(o_v, M, v, kept_v, y, v_next)
        write(M, v_next, e, a, M_next)
        _head(o_w, M_next, w, kept_w, y, w_next)
        read(M_next, w_next, x_next[i, d:wide])
        v_next[0] -= 1
        w_next[0] -= 1


@jit_reassociating
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    d, slots, width = s[1], s[2], s[3]
    q, wide = 4 * width + 2 * HEAD, d + width
    _, W_hh, _, W_o, _ = _weights(p, d, u.shape[1], width)
    scratch = work[wide * d + q * d :]
    y, at, dw = scratch[:slots], scratch[slots : 2 * slots], scratch[2 * slots : 3 * slots]
    d_o = scratch[3 * slots : 3 * slots + q]
    d_v, d_w, d_e, d_a = _interface(d_o, width)
    for i in range(x.shape[0]):
        o, _, kept_v, kept_w = _records(z[i], d, slots, width)
        o_v, o_w, e, a = _interface(o, width)
        M, v, w = _parts(x[i], d, slots, width)
        M_next, v_next, w_next = _parts(x_next[i], d, slots, width)
        dM_next, dv_next, dw_next = _parts(lam_next[i], d, slots, width)
        dM, dv, dw_before = _parts(lam[i], d, slots, width)
        dM[:] = dM_next
        dw[:] = dw_next
        at[:] = w_next
        at[0] += 1
        read_back(M_next, at, lam_next[i, d:wide], dM, dw)
        _head_back(o_w, M_next, w, kept_w, at, dw, y, d_w, dM, dw_before)
        dw[:] = dv_next
        at[:] = v_next
        at[0] += 1
        write_back(M, at, e, a, dM, dw, d_e, d_a)
        _head_back(o_v, M, v, kept_v, at, dw, y, d_v, dM, dv)
        _activate_head_back(o_v, d_v, width)
        _activate_head_back(o_w, d_w, width)
        for j in range(width):
            d_e[j] *= e[j] * (1 - e[j])
            d_a[j] *= 1 - a[j] * a[j]
        o[:] = d_o
        for j in range(d):
            z[i, j] = lam_next[i, j]
    times(s[0], z[:, d : d + q], W_o, 1, z[:, :d])  # λ_h + W_oᵀ δ_o
    for i in range(x.shape[0]):
        for j in range(d):
            z[i, j] *= 1 - x_next[i, j] * x_next[i, j]
    times(s[0], z[:, :d], W_hh, 0, lam[:, :wide])  # λ_x̄ = W_hhᵀ δ


@jit_reassociating
def _collect(s, x, u, p, z, gu, gp, work):
    d, width = s[1], s[3]
    q = 4 * width + 2 * HEAD
    g_ih, g_hh, g_b, g_o, g_c = _weights(gp, d, u.shape[1], width)
    add_outer(s[0], z[:, :d], u, g_ih)
    add_outer(s[0], z[:, :d], x[:, : d + width], g_hh)
    add_outer(s[0], z[:, d : d + q], z[:, d + q : 2 * d + q], g_o)
    for i in range(z.shape[0]):
        for j in range(d):
            g_b[j] += z[i, j]
        for j in range(q):
            g_c[j] += z[i, d + j]
    if gu.shape[0] > 0:
        times(s[0], z[:, :d], _weights(p, d, u.shape[1], width)[0], 0, gu)  # g_u = W_ihᵀ δ


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def _equation(d: int, m: int, slots: int, width: int) -> Any:
    """The step in plain NumPy; no absolute values or comparisons, so that it takes complex numbers."""
    q, wide, n = 4 * width + 2 * HEAD, d + width, d + width + slots * (width + 2)
    start = np.eye(slots)[0]
    at = np.cumsum([d * m, d * wide, d, q * d])

    def softmax_of(z: Any) -> Any:
        powers = np.exp(z - np.max(z.real))
        return powers / powers.sum()

    def softplus(z: Any) -> Any:
        return np.log(1 + np.exp(z))

    def sigmoid_of(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    def length(v: Any) -> Any:
        return np.sqrt((v * v).sum(-1) + EPSILON)

    def head(o: Any, M: Any, w: Any) -> Any:
        k, own = o[:width], o[width:]
        C = softmax_of(softplus(own[STRENGTH]) * (M @ k) / (length(M) * length(k)))
        g, s = sigmoid_of(own[GATE]), softmax_of(own[SHIFT:SHARPNESS])
        v = g * C + (1 - g) * w
        y = s[0] * np.roll(v, -1) + s[1] * v + s[2] * np.roll(v, 1)
        return softmax_of((1 + softplus(own[SHARPNESS])) * np.log(y + LEAST))

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        W_ih, W_hh, b, W_o, b_o = np.split(p, at)
        h = np.tanh(W_ih.reshape(d, m) @ u + W_hh.reshape(d, wide) @ x[:wide] + b)
        o_v, o_w, e, a = np.split(W_o.reshape(q, d) @ h + b_o, [width + HEAD, 2 * (width + HEAD), q - width])
        M = x[wide : n - 2 * slots].reshape(slots, width)
        v = head(o_v, M, start + x[n - 2 * slots : n - slots])
        M = M * (1 - np.outer(v, sigmoid_of(e))) + np.outer(v, np.tanh(a))
        w = head(o_w, M, start + x[n - slots :])
        return np.concatenate([h, w @ M, M.ravel(), v - start, w - start])

    return equation


def Tape(d: int, m: int, slots: int, width: int) -> Cell:
    """A controller with a memory tape: content and location addressing, one head that writes and one that reads.

    Parameters
    ----------
    d : int
        Hidden units of the controller.
    m : int
        Inputs.
    slots : int
        Places on the tape, at least 3. A sequence that is longer than in training needs as many as are written to.
    width : int
        Numbers in a slot.

    Returns
    -------
    Cell
        State ``h`` (d,), ``read`` (width,), ``memory`` (slots, width), ``write_at`` and ``read_at`` (slots,), which are
        the weightings less the unit vector of slot 0; the first two are the output. Parameters ``W_ih`` (d, m), ``W_hh``
        (d, d + width), ``b`` (d,), ``W_o`` (4 width + 12, d), ``b_o`` (4 width + 12,).
    """
    d, m, slots, width = size("d", d), size("m", m, 0), size("slots", slots, 3), size("width", width)
    q, wide = 4 * width + 2 * HEAD, d + width

    def initial(rng: np.random.Generator) -> dict[str, Any]:
        b_o = np.zeros(q)
        for first in (width, 2 * width + HEAD):
            b_o[first + GATE] = -1.0
            b_o[first + SHIFT : first + SHARPNESS] = [0.0, 0.0, 1.0]
            b_o[first + SHARPNESS] = 1.0
        return {
            "W_ih": glorot(rng, d, m),
            "W_hh": np.hstack([orthogonal(rng, d, 0.5), glorot(rng, d, width)]),
            "b": np.zeros(d),
            "W_o": glorot(rng, q, d),
            "b_o": b_o,
        }

    return Cell(
        name="Tape",
        states={"h": (d,), "read": (width,), "memory": (slots, width), "write_at": (slots,), "read_at": (slots,)},
        m=m,
        parameters={"W_ih": (d, m), "W_hh": (d, wide), "b": (d,), "W_o": (q, d), "b_o": (q,)},
        outputs=wide,
        pieces=PIECES,
        equation=_equation(d, m, slots, width),
        initial=initial,
        records=2 * d + q + 8 * slots,
        own_sizes=(d, slots, width),
        scratch=(wide * d + q * d + 3 * slots + q, 0),
    )
