"""The memory tape: addressing against closed forms, copying by hand-made weights and by learned ones."""

from __future__ import annotations

import numpy as np
import pytest

import adjoint
from adjoint.errors import InputError
from adjoint.recurrent import Adam, Tape, Unroll, cosine, train

BITS = 3


def parts(cell, x):
    """h, r, w, M of states."""
    ends = np.cumsum([int(np.prod(shape)) for shape in cell.states.values()])[:-1]
    pieces = np.split(x, ends, axis=-1)
    return [a.reshape(*a.shape[:-1], *shape) for a, shape in zip(pieces, cell.states.values(), strict=True)]


def heads(cell, weights):
    """Views of W_xi and b_xi: each head's key, β, g, γ, s; then erase and add of the one write head."""
    width = cell.states["M"][1]
    each = width + 6
    W, b = weights["W_xi"], weights["b_xi"]
    cut = [(W[j * each : (j + 1) * each], b[j * each : (j + 1) * each]) for j in range(2)]
    return *cut, (W[2 * each :].reshape(2, width, -1), b[2 * each :].reshape(2, width))


def copier(slots):
    """A tape that copies, its weights set by hand.

    Unit f is off (-1) until the end mark and on (1) from then on, unit e is f one step later, and the other units show
    the input. While e is off, the write head takes a step and writes; when e is on, the read head does so and reads.
    """
    cell = Tape(BITS + 2, BITS + 1, slots, BITS)
    w = {name: np.zeros(shape) for name, shape in cell.parameters.items()}
    f, e, on = BITS, BITS + 1, 40.0
    w["W_ih"][range(BITS), range(BITS)] = on
    w["W_ih"][f, BITS], w["W_hh"][f, f], w["b"][f] = 40, 20, -10
    w["W_hh"][e, f], w["b"][e] = 20, -10
    (W_read, b_read), (W_write, b_write), (W_new, b_new) = heads(cell, w)
    for W, b, sign in ((W_read, b_read, 1), (W_write, b_write, -1)):
        b[BITS + 1], b[BITS + 2] = -on, 3  # never by content; sharp
        b[BITS + 3] = -2 * on  # never backwards
        W[BITS + 4, e], W[BITS + 5, e] = -sign * on, sign * on
    b_new[0] = on  # erase
    b_new[1], W_new[1, range(BITS), range(BITS)] = -on / 2, on  # add ±1
    return cell, cell.pack(w)


def copy(rng, batch, length):
    """Words (batch, length, BITS); the inputs that show them and then an end mark, and wait for the answer."""
    words = rng.integers(0, 2, (batch, length, BITS))
    u = np.zeros((batch, 2 * length + 1, BITS + 1))
    u[:, :length, :BITS], u[:, length, BITS] = words, 1
    return words, u


@pytest.mark.parametrize("length", [1, 5, 300])
def test_hand_made_weights_copy_at_any_length(length):
    cell, p = copier(length + 2)
    words, u = copy(np.random.default_rng(length), 4, length)
    _, r, w, _ = parts(cell, adjoint.rollout(cell.system, np.zeros(cell.n), u, p=p).x)
    np.testing.assert_allclose(r[:, length + 2 :, 0], 2.0 * words - 1, atol=1e-8)
    steps = np.arange(2 * length + 2)
    assert np.all(np.argmax(w[:, :, 1], axis=2) == np.minimum(steps, length + 1))  # the write head goes, and waits
    assert np.all(np.argmax(w[:, :, 0], axis=2) == np.maximum(steps - length - 1, 0))  # the read head waits, and goes


def test_the_gradient_of_a_copy_finds_what_was_written():
    length = 50
    cell, p = copier(length + 2)
    _, u = copy(np.random.default_rng(0), 1, length)
    weights = cell.unpack(p.copy())
    weights["W_ih"][:BITS] /= 40  # soft enough to be differentiated
    weights["W_xi"][-BITS:] /= 40
    weights["b_xi"][-BITS:] /= 40
    path = adjoint.rollout(cell.system, np.zeros(cell.n), u[0], p=cell.pack(weights))
    seed = np.zeros(path.x.shape)
    seed[length + 2 + 7, cell.states["h"][0]] = 1  # J: the first bit of word 7, as it is said
    g = adjoint.sweep(path, dx=seed).u
    h = np.tanh(u[0, 7, 0])
    assert g[7, 0] == pytest.approx((1 - np.tanh(h - 0.5) ** 2) * (1 - h * h), rel=1e-8)
    g[7, 0] = 0
    assert np.max(np.abs(g)) < 1e-8


def addressed(slots, M, w0, key, beta, gate, gamma, s):
    """The weighting of the read head after one step with these commands, and the cell and its state."""
    cell = Tape(1, 0, slots, M.shape[1])
    w = {name: np.zeros(shape) for name, shape in cell.parameters.items()}
    (_, b), *_ = heads(cell, w)
    width = M.shape[1]
    b[:width], b[width : width + 3], b[width + 3 :] = np.arctanh(key), (beta, gate, gamma), s
    x0 = np.concatenate([np.zeros(1 + width), w0, np.zeros(slots), M.ravel()])
    path = adjoint.rollout(cell.system, x0, p=cell.pack(w), steps=1)
    return parts(cell, path.x[-1])[2][0]


MEMORY = np.eye(6)[:, :4] + 0.0
NOWHERE = np.zeros(6)
STAY = [-50.0, 0.0, -50.0]


def test_content_finds_the_slot_and_the_shift_moves_on():
    key = 0.9 * np.eye(4)[2]
    found = addressed(6, MEMORY, NOWHERE, key, 100, 50, 3, STAY)
    np.testing.assert_allclose(found, np.eye(6)[2], atol=1e-12)
    moved = addressed(6, MEMORY, NOWHERE, key, 100, 50, 3, [-50, -50, 0])
    np.testing.assert_allclose(moved, np.eye(6)[3], atol=1e-12)


def test_an_empty_slot_resembles_nothing():
    weighting = addressed(6, MEMORY, NOWHERE, 0.9 * np.eye(4)[0], np.log(np.expm1(2.0)), 50, -50, STAY)
    length = np.sqrt((0.81 + 0.01) * 1.01)
    expected = np.exp(2 * np.array([0.9 / length, 0, 0, 0, 0, 0]))
    np.testing.assert_allclose(weighting, expected / expected.sum(), rtol=1e-12)


def test_the_tape_is_a_ring_and_a_head_that_is_nowhere_is_at_its_beginning():
    back = addressed(6, MEMORY, NOWHERE, np.zeros(4), 0, -50, 3, [0, -50, -50])
    np.testing.assert_allclose(back, np.eye(6)[5], atol=1e-12)
    on = addressed(6, MEMORY, np.eye(6)[5], np.zeros(4), 0, -50, 3, [-50, -50, 0])
    np.testing.assert_allclose(on, np.eye(6)[0], atol=1e-12)


def test_sharpening_is_a_power():
    w0 = np.array([0.5, 0.3, 0.2, 0, 0, 0])
    gamma = 1 + np.log1p(np.exp(0.7))
    sharp = addressed(6, MEMORY, w0, np.zeros(4), 0, -50, 0.7, STAY)
    np.testing.assert_allclose(sharp, w0**gamma / np.sum(w0**gamma), atol=1e-14)


def test_extreme_commands_and_states_give_finite_numbers():
    cell = Tape(2, 1, 5, 3, reads=2, writes=2)
    rng = np.random.default_rng(0)
    for dtype, size in ((np.float64, 1e3), (np.float32, 1e2)):
        run = Unroll(cell, dtype)
        x = run.forward(size * rng.standard_normal(cell.n_p), 10 * rng.standard_normal((7, 30, 1)),
                        x0=10 * rng.standard_normal((7, cell.n)))  # fmt: skip
        w = parts(cell, x)[2][:, 1:]
        assert np.isfinite(x).all() and np.all(w >= 0)
        np.testing.assert_allclose(w.sum(axis=-1), 1, atol=1e-5)
        g = run.backward(np.ones_like(x))
        assert all(np.isfinite(part).all() for part in g)


def test_weights_do_not_know_how_long_the_tape_is():
    assert Tape(4, 2, 5, 3).n_p == Tape(4, 2, 500, 3).n_p


@pytest.mark.parametrize("bad", [dict(slots=0), dict(width=-1), dict(reads=0), dict(writes=0), dict(radius=-1)])
def test_sizes(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Tape(**(dict(d=2, m=1, slots=3, width=2) | bad))


def test_it_learns_to_copy_and_copies_longer_words():
    """Training amplifies the last bit of each machine; of three beginnings at least one has to succeed (most do)."""
    assert any(copies_after_training(seed) >= 0.99 for seed in range(3))


def copies_after_training(seed):
    """The share of right bits of words three times as long as any in training."""
    cell = Tape(24, BITS + 1, 12, 8)
    o, n_p, steps = cell.outputs, cell.n_p, 1500
    run, rng = Unroll(cell, np.float32), np.random.default_rng(seed)

    def loss(p, index):
        words, u = copy(rng, 32, rng.integers(1, 9))
        answer, C = slice(words.shape[1] + 2, None), p[n_p:].reshape(BITS, o)
        seen = run.forward(p[:n_p], u)[:, answer, :o]
        z = seen @ C.T
        on_z = (1 / (1 + np.exp(-z)) - words) / z.size
        q = run.seed(o)
        q[:, answer] = on_z @ C
        g_C = np.einsum("bko,bkc->oc", on_z, seen)
        return np.mean(np.logaddexp(0, z) - words * z), np.append(run.backward(q, want_u=False).p, g_C)

    p0 = np.append(cell.init(seed), rng.uniform(-1, 1, BITS * o) / np.sqrt(o))
    p = train(loss, p0, steps, optimiser=Adam(0.01), batch=1, epochs=1, clip=1.0, schedule=cosine(steps, 50)).p
    longer = Tape(24, BITS + 1, 32, 8)
    words, u = copy(np.random.default_rng(99), 50, 24)
    x = adjoint.rollout(longer.system, np.zeros(longer.n), u, p=p[:n_p]).x
    said = x[:, 26:, :o] @ p[n_p:].reshape(BITS, o).T > 0
    return np.mean(said == words)
