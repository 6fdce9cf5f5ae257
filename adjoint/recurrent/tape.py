"""A differentiable memory tape: a small recurrent network that reads and writes slots of a memory through heads.

The state is h (d,) of the controller, what each read head sees r (reads, width), where each head stands w (heads,
slots), and the memory M (slots, width). With o = (h, r), which is the output:

    controller   a = W_ih u_k + W_hh o_k + b,          h⁺ = tanh(a)
    commands     ξ = W_ξ h⁺ + b_ξ                      squashed:
                     each head     key k = tanh,  β = softplus,  g = sigmoid,  γ = 1 + softplus,  s = softmax
                     write head    erase e = sigmoid,  add a = tanh
    address      w_j⁺ = address(k_j, β_j, g_j, s_j, γ_j; M, w_j)         each head j (`kernels.addressing`)
    write        M⁺_i = M_i ⊙ Π_j (1 - w⁺_ji e_j) + Σ_j w⁺_ji a_j        j over the write heads
    read         r_j⁺ = Σ_i w⁺_ji M⁺_i                                   j over the read heads, which come first

    transpose, with Λ = ∂J/∂(h⁺, r⁺, w⁺, M⁺)
    read         Λ_M += Σ_j w_j Λ_r_jᵀ,   Λ_w_j += M⁺ Λ_r_j
    write        on_e_j = -Σ_i w_ji Λ_M_i ⊙ M_i ⊙ Π_{l≠j} (1 - w_li e_l),   on_a_j = Σ_i w_ji Λ_M_i
                 Λ_w_ji += Λ_M_i·(a_j - e_j ⊙ M_i ⊙ Π_{l≠j} (1 - w_li e_l)),   λ_M_i = Λ_M_i ⊙ Π_j (1 - w_ji e_j)
    address      backwards through `kernels.addressing`: adds to λ_M, gives λ_w and ∂J/∂ of the commands
    commands     δ_ξ = ∂J/∂ξ by the derivatives of the squashings
    controller   δ_a = (Λ_h + W_ξᵀ δ_ξ) ⊙ (1 - h⁺²),   λ_o = W_hhᵀ δ_a,   g_u = W_ihᵀ δ_a
                 g_W_ih = Σ δ_a uᵀ,   g_W_hh = Σ δ_a oᵀ,   g_b = Σ δ_a,   g_W_ξ = Σ δ_ξ h⁺ᵀ,   g_b_ξ = Σ δ_ξ

The records of a step are a, ξ, h⁺, and for each head K, c, ṽ of its address; δ_a and δ_ξ take the places of a and ξ.
The state zero is an empty tape with all heads at slot 0. No weight depends on the number of slots: what was trained on
a short tape runs on a long one.

A. Graves, G. Wayne and I. Danihelka, Neural Turing Machines, arXiv:1410.5401 (2014), section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.cell_step import Pieces
from adjoint.kernels.addressing import (
    EPSILON,
    FLOOR,
    gate,
    gate_transpose,
    inverse_lengths,
    sharpen,
    sharpen_transpose,
    shift,
    shift_transpose,
    similarity,
    similarity_transpose,
    softmax,
    softmax_transpose,
)
from adjoint.kernels.jit import jit_piece
from adjoint.kernels.linear import add_outer, pack_transpose, times, times_transpose
from adjoint.kernels.smooth import exp_negative, log, sigmoid, tanh
from adjoint.recurrent.cell import Cell, glorot, size

__all__ = ["Tape"]

# Places in a head's commands, after its key: β, g, γ, then s.
STRENGTH, GATE, SHARP, SHIFT = 0, 1, 2, 3


@jit_piece
def _weights(p, d, m, o, q):
    """W_ih, W_hh, b, W_ξ, b_ξ."""
    at_hh, at_b = d * m, d * m + d * o
    at_q, at_bq = at_b + d, at_b + d + q * d
    return (
        p[:at_hh].reshape(d, m), p[at_hh:at_b].reshape(d, o), p[at_b:at_q], p[at_q:at_bq].reshape(q, d), p[at_bq:]
    )  # fmt: skip


@jit_piece
def _state(s, row):
    """r, w, M of a state or costate."""
    d, slots, width, reads, writes = s[1], s[2], s[3], s[4], s[5]
    at_w = d + reads * width
    at_M = at_w + (reads + writes) * slots
    return (
        row[d:at_w].reshape(reads, width), row[at_w:at_M].reshape(reads + writes, slots),
        row[at_M:].reshape(slots, width),
    )  # fmt: skip


@jit_piece
def _records(s, row):
    """The commands of all heads (heads, width + 3 + shifts), of the write heads (writes, 2, width), and K, c, ṽ."""
    d, slots, width, reads, writes, shifts = s[1], s[2], s[3], s[4], s[5], s[6]
    heads, each = reads + writes, width + SHIFT + shifts
    at_write = d + heads * each
    at_h = at_write + 2 * writes * width
    return (
        row[d:at_write].reshape(heads, each), row[at_write:at_h].reshape(writes, 2, width),
        row[at_h + d :].reshape(heads, 3, slots),
    )  # fmt: skip


@jit_piece
def _softplus(z):
    """log(1 + exp z)."""
    one = type(z)(1)
    return log(one + exp_negative(-abs(z))) + max(z, type(z)(0))


@jit_piece
def _softplus_slope(y):
    """The derivative, from y = softplus(z) itself."""
    return type(y)(1) - exp_negative(-y)


@jit_piece
def _prepare(s, u, p, z, work):
    d, m, o, q = s[1], u.shape[1], s[1] + s[4] * s[3], s[7]
    W_ih, W_hh, b, W_xi, _ = _weights(p, d, m, o, q)
    pack_transpose(W_hh, work[: o * d].reshape(o, d))
    pack_transpose(W_xi, work[o * d : (o + q) * d].reshape(d, q))
    for i in range(z.shape[0]):
        for j in range(d):
            z[i, j] = b[j]
    times_transpose(s[0], u, W_ih, 1, z[:, :d])


@jit_piece
def _step(s, x, u, p, z, x_next, work):
    d, slots, width, reads, o, q = s[1], s[2], s[3], s[4], s[1] + s[4] * s[3], s[7]
    b_xi = _weights(p, d, u.shape[1], o, q)[4]
    times(s[0], x[:, :o], work[: o * d].reshape(o, d), 1, z[:, :d])
    for i in range(x.shape[0]):
        for j in range(d):
            z[i, d + q + j] = x_next[i, j] = tanh(z[i, j])
        for j in range(q):
            z[i, d + j] = b_xi[j]
    times(s[0], z[:, d + q : d + q + d], work[o * d : (o + q) * d].reshape(d, q), 1, z[:, d : d + q])
    scratch = work[(o + q) * d :]
    inverse, v = scratch[:slots], scratch[slots : 2 * slots]
    for i in range(x.shape[0]):
        _, w, M = _state(s, x[i])
        r_next, w_next, M_next = _state(s, x_next[i])
        commands, writing, address = _records(s, z[i])
        inverse_lengths(M, inverse)
        for j in range(w.shape[0]):
            k, rest = commands[j, :width], commands[j, width:]
            for e in range(width):
                k[e] = tanh(k[e])
            rest[STRENGTH] = _softplus(rest[STRENGTH])
            rest[GATE] = sigmoid(rest[GATE])
            rest[SHARP] = _softplus(rest[SHARP]) + 1
            softmax(x.dtype.type(1), rest[SHIFT:], rest[SHIFT:])
            K, c, moved = address[j, 0], address[j, 1], address[j, 2]
            similarity(k, M, inverse, K)
            softmax(rest[STRENGTH], K, c)
            gate(rest[GATE], c, w[j], v)
            shift(rest[SHIFT:], v, moved)
            sharpen(rest[SHARP], moved, w_next[j])
        _write(writing, w_next[reads:], M, M_next)
        _read(w_next[:reads], M_next, r_next)


@jit_piece
def _write(writing, w, M, M_next):
    """M⁺_i = M_i ⊙ Π_j (1 - w_ji e_j) + Σ_j w_ji a_j, after squashing e and a."""
    for j in range(writing.shape[0]):
        erase, add = writing[j, 0], writing[j, 1]
        for e in range(erase.size):
            erase[e] = sigmoid(erase[e])
            add[e] = tanh(add[e])
    for i in range(M.shape[0]):
        for e in range(M.shape[1]):
            M_next[i, e] = M[i, e]
    for j in range(writing.shape[0]):
        erase = writing[j, 0]
        for i in range(M.shape[0]):
            row, w_ji = M_next[i], w[j, i]
            for e in range(erase.size):
                row[e] -= row[e] * w_ji * erase[e]
    for j in range(writing.shape[0]):
        add = writing[j, 1]
        for i in range(M.shape[0]):
            row, w_ji = M_next[i], w[j, i]
            for e in range(add.size):
                row[e] += w_ji * add[e]


@jit_piece
def _read(w, M, r):
    """r_j = Σ_i w_ji M_i."""
    for j in range(w.shape[0]):
        row = r[j]
        for e in range(row.size):
            row[e] = 0
        for i in range(M.shape[0]):
            for e in range(row.size):
                row[e] += w[j, i] * M[i, e]


@jit_piece
def _transpose(s, x, u, p, z, x_next, lam_next, lam, work):
    d, slots, width, reads, o, q = s[1], s[2], s[3], s[4], s[1] + s[4] * s[3], s[7]
    _, W_hh, _, W_xi, _ = _weights(p, d, u.shape[1], o, q)
    scratch = work[(o + q) * d :]
    for i in range(x.shape[0]):
        _, w, M = _state(s, x[i])
        _, w_next, M_next = _state(s, x_next[i])
        on_r = _state(s, lam_next[i])[0]
        _, on_w, on_M = _state(s, lam[i])
        commands, writing, address = _records(s, z[i])
        for j in range(o, x.shape[1]):
            lam[i, j] = lam_next[i, j]  # Λ_w and Λ_M
        _read_transpose(w_next[:reads], M_next, on_r, on_w[:reads], on_M)
        _write_transpose(writing, w_next[reads:], M, on_w[reads:], on_M, scratch[: (2 * writing.shape[0] + 1) * width])
        inverse_lengths(M, scratch[:slots])
        for j in range(w.shape[0]):
            _address_transpose(commands[j], address[j], M, w[j], w_next[j], on_w[j], on_M, scratch)
        for j in range(d):
            z[i, j] = lam_next[i, j]
    times(s[0], z[:, d : d + q], W_xi, 1, z[:, :d])  # Λ_h + W_ξᵀ δ_ξ
    for i in range(x.shape[0]):
        for j in range(d):
            z[i, j] *= 1 - x_next[i, j] * x_next[i, j]  # δ_a
    times(s[0], z[:, :d], W_hh, 0, lam[:, :o])


@jit_piece
def _read_transpose(w, M, on_r, on_w, on_M):
    """on_w_j += M on_r_j,   on_M += Σ_j w_j on_r_jᵀ."""
    for j in range(w.shape[0]):
        on = on_r[j]
        for i in range(M.shape[0]):
            total = on.dtype.type(0)
            for e in range(on.size):
                total += M[i, e] * on[e]
                on_M[i, e] += w[j, i] * on[e]
            on_w[j, i] += total


@jit_piece
def _write_transpose(writing, w, M, on_w, on_M, scratch):
    """Adds to on_w, turns ∂J/∂M⁺ in on_M into ∂J/∂M, and erase and add in `writing` into their δ_ξ."""
    writes, width = writing.shape[0], M.shape[1]
    kept, on_writing = scratch[:width], scratch[width:].reshape(writes, 2, width)
    for j in range(writes):
        erase, add, on_erase, on_add = writing[j, 0], writing[j, 1], on_writing[j, 0], on_writing[j, 1]
        for e in range(width):
            on_erase[e] = on_add[e] = 0
        for i in range(M.shape[0]):
            on, w_ji, total = on_M[i], w[j, i], w.dtype.type(0)
            for e in range(width):
                kept[e] = M[i, e]  # what the other heads leave of it
            for other in range(writes):
                if other != j:
                    for e in range(width):
                        kept[e] -= kept[e] * w[other, i] * writing[other, 0, e]
            for e in range(width):
                total += on[e] * (add[e] - erase[e] * kept[e])
                on_erase[e] -= w_ji * on[e] * kept[e]
                on_add[e] += w_ji * on[e]
            on_w[j, i] += total
    for j in range(writes):
        erase, add = writing[j, 0], writing[j, 1]
        for i in range(M.shape[0]):
            on, w_ji = on_M[i], w[j, i]
            for e in range(width):
                on[e] -= on[e] * w_ji * erase[e]
        for e in range(width):
            erase[e] = on_writing[j, 0, e] * erase[e] * (1 - erase[e])
            add[e] = on_writing[j, 1, e] * (1 - add[e] * add[e])


@jit_piece
def _address_transpose(commands, address, M, w, w_next, on_w, on_M, scratch):
    """∂J/∂w⁺ in on_w becomes ∂J/∂w; adds to on_M, and turns the commands of the head into their δ_ξ."""
    slots, width = M.shape
    shifts = commands.size - width - SHIFT
    inverse, v = scratch[:slots], scratch[slots : 2 * slots]
    on, on_v = scratch[2 * slots : 3 * slots], scratch[3 * slots : 4 * slots]
    on_k, on_s = scratch[4 * slots : 4 * slots + width], scratch[4 * slots + width : 4 * slots + width + shifts]
    k, rest, s = commands[:width], commands[width : width + SHIFT], commands[width + SHIFT :]
    beta, g, gamma = rest[STRENGTH], rest[GATE], rest[SHARP]
    K, c, moved = address[0], address[1], address[2]
    on_gamma = sharpen_transpose(gamma, moved, w_next, on_w, on)
    gate(g, c, w, v)
    shift_transpose(s, v, on, on_s, on_v)
    on_g = gate_transpose(g, c, w, on_v, on, on_w)
    softmax_transpose(c, on, on)
    on_beta = on.dtype.type(0)
    for e in range(width):
        on_k[e] = 0
    for i in range(slots):
        on_beta += K[i] * on[i]
        on[i] *= beta
    similarity_transpose(k, M, inverse, K, on, on_k, on_M)
    for e in range(width):
        k[e] = on_k[e] * (1 - k[e] * k[e])
    rest[STRENGTH] = on_beta * _softplus_slope(beta)
    rest[GATE] = on_g * g * (1 - g)
    rest[SHARP] = on_gamma * _softplus_slope(gamma - 1)
    softmax_transpose(s, on_s, s)


@jit_piece
def _collect(s, x, u, p, z, gu, gp, work):
    d, m, o, q = s[1], u.shape[1], s[1] + s[4] * s[3], s[7]
    g_ih, g_hh, g_b, g_xi, g_b_xi = _weights(gp, d, m, o, q)
    add_outer(s[0], z[:, :d], u, g_ih)
    add_outer(s[0], z[:, :d], x[:, :o], g_hh)
    add_outer(s[0], z[:, d : d + q], z[:, d + q : d + q + d], g_xi)
    for i in range(z.shape[0]):
        for j in range(d):
            g_b[j] += z[i, j]
        for j in range(q):
            g_b_xi[j] += z[i, d + j]
    if gu.shape[0] > 0:
        times(s[0], z[:, :d], _weights(p, d, m, o, q)[0], 0, gu)


PIECES = Pieces(_prepare, _step, _transpose, _collect)


def Tape(d: int, m: int, slots: int, width: int, reads: int = 1, writes: int = 1, radius: int = 1) -> Cell:
    """A memory tape with read and write heads, which address it by content and by steps along it.

    Parameters
    ----------
    d : int
        Hidden units of the controller.
    m : int
        Inputs.
    slots, width : int
        Slots of the tape, and numbers in each.
    reads, writes : int
        Heads of each kind.
    radius : int
        The farthest that a head moves along the tape in a step.

    Returns
    -------
    Cell
        State ``h`` (d,), ``r`` (reads, width), ``w`` (heads, slots), ``M`` (slots, width), of which h and r are the
        output; zero is an empty tape with all heads at slot 0. Parameters ``W_ih`` (d, m), ``W_hh`` (d, d + reads
        width), ``b`` (d,), ``W_xi`` (q, d), ``b_xi`` (q,) with q = heads (width + 2 radius + 4) + 2 writes width, where
        heads = reads + writes; they do not depend on the number of slots.

    Notes
    -----
    The first weights make a tape that is used as one. β is about 5 and γ about 3, so that a head looks at few slots:
    with β near 1 and a dozen of slots all get the same attention, and the gradient does not say which is the right one.
    A read head's key is in the code in which the first write head writes, so that it finds what looked alike. A write
    head tends to move on. And W_hh is small, which leaves the remembering to the tape: a controller that counts does
    not count further than it was trained to.
    """
    d, m, slots, width = size("d", d), size("m", m, 0), size("slots", slots), size("width", width)
    reads, writes, radius = size("reads", reads), size("writes", writes), size("radius", radius, 0)
    heads, shifts, o = reads + writes, 2 * radius + 1, d + reads * width
    each = width + SHIFT + shifts
    q = heads * each + 2 * writes * width
    shapes = {"W_ih": (d, m), "W_hh": (d, o), "b": (d,), "W_xi": (q, d), "b_xi": (q,)}

    def softplus(z: Any) -> Any:
        return np.log(1 + np.exp(z))

    def softmax_of(a: Any) -> Any:
        w = np.exp(a)
        return w / np.sum(w)

    def look(command: Any, M: Any, w: Any) -> Any:
        """The address of a head from its commands, the memory and where it was."""
        k, s = np.tanh(command[:width]), softmax_of(command[width + SHIFT :])
        beta, gamma = softplus(command[width + STRENGTH]), 1 + softplus(command[width + SHARP])
        g = 1 / (1 + np.exp(-command[width + GATE]))
        K = (M @ k) / np.sqrt((k @ k + EPSILON) * (np.sum(M * M, axis=1) + EPSILON))
        v = g * softmax_of(beta * K) + (1 - g) * (w + (1 - np.sum(w)) * np.eye(slots)[0])
        moved = sum(s[j] * np.roll(v, j - radius) for j in range(shifts))
        return softmax_of(gamma * np.log(np.maximum(moved, FLOOR)))

    def equation(t: Any, x: Any, u: Any, p: Any) -> Any:
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
        W_ih, W_hh, b, W_xi, b_xi = (
            p[end - int(np.prod(shape)) : end].reshape(shape) for end, shape in zip(ends, shapes.values(), strict=True)
        )
        w, M = x[o : o + heads * slots].reshape(heads, slots), x[o + heads * slots :].reshape(slots, width)
        h_next = np.tanh(W_ih @ u + W_hh @ x[:o] + b)
        xi = W_xi @ h_next + b_xi
        w_next = [look(xi[j * each : (j + 1) * each], M, w[j]) for j in range(heads)]
        writing = xi[heads * each :].reshape(writes, 2, width)
        M_next = M
        for j in range(writes):
            M_next = M_next * (1 - np.outer(w_next[reads + j], 1 / (1 + np.exp(-writing[j, 0]))))
        for j in range(writes):
            M_next = M_next + np.outer(w_next[reads + j], np.tanh(writing[j, 1]))
        r_next = [w_next[j] @ M_next for j in range(reads)]
        return np.concatenate([h_next, *r_next, *w_next, M_next.reshape(-1)])

    def initial(rng: np.random.Generator) -> dict[str, Any]:
        W_ih, W_hh, W_xi, b_xi = glorot(rng, d, m), 0.2 * glorot(rng, d, o), glorot(rng, q, d), np.zeros(q)
        commands = b_xi[: heads * each].reshape(heads, each)
        commands[:, width + STRENGTH], commands[:, width + SHARP] = 5, 2
        commands[reads:, width + SHIFT + min(radius + 1, 2 * radius)] = 1
        for j in range(reads):
            W_xi[j * each : j * each + width] = W_xi[heads * each + width : heads * each + 2 * width]
        return {"W_ih": W_ih, "W_hh": W_hh, "b": np.zeros(d), "W_xi": W_xi, "b_xi": b_xi}

    return Cell(
        name="Tape",
        states={"h": (d,), "r": (reads, width), "w": (heads, slots), "M": (slots, width)},
        m=m,
        parameters=shapes,
        outputs=o,
        pieces=PIECES,
        equation=equation,
        initial=initial,
        records=2 * d + q + 3 * heads * slots,
        own_sizes=(d, slots, width, reads, writes, shifts, q),
        scratch=((o + q) * d + 4 * slots + (2 * writes + 1) * width + shifts, 0),
    )
