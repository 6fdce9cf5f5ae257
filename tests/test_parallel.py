"""A loss over threads is the loss: value, gradient, the same bits, errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adjoint.errors import InputError
from adjoint.recurrent import LSTM, Adam, Unroll, threaded, train

CELL = LSTM(6, 2)
RNG = np.random.default_rng(0)
INPUTS, TARGETS = RNG.standard_normal((40, 30, 2)), RNG.standard_normal(40)


def make_loss():
    run = Unroll(CELL)

    def loss(p, index):
        run.forward(p, INPUTS[index])
        error = run.last[:, 0] - TARGETS[index]
        return 0.5 * float(np.mean(error**2)), run.backward(dlast=error[:, None] / len(index), want_u=False).p.copy()

    return loss


@settings(deadline=None)  # the first example compiles
@given(size=st.integers(1, 40), threads=st.integers(1, 4))
def test_it_is_the_loss_of_all_samples(size, threads):
    index = np.random.default_rng(size).permutation(40)[:size]
    p = CELL.init(1)
    value, gradient = make_loss()(p, index)
    many = threaded([make_loss() for _ in range(threads)])
    first, second = many(p, index), many(p, index)
    assert abs(first[0] - value) <= 1e-14 * value
    assert np.max(np.abs(first[1] - gradient)) <= 1e-14
    assert first[0] == second[0] and np.array_equal(first[1], second[1])


def test_the_shares_are_computed_at_the_same_time():
    meeting = threading.Barrier(2, timeout=30)  # breaks if one waits for the other to finish

    def loss(p, index):
        meeting.wait()
        return 1.0, np.ones(3)

    assert threaded([loss, lambda p, index: loss(p, index)])(np.zeros(3), np.arange(5))[0] == 1.0


def test_it_trains():
    runs = [train(loss, CELL.init(0), 40, optimiser=Adam(0.02), batch=20, epochs=60)
            for loss in (make_loss(), threaded([make_loss(), make_loss()]))]  # fmt: skip
    assert runs[1].loss[-1] < 0.5 * runs[1].loss[0]
    np.testing.assert_allclose(runs[0].loss, runs[1].loss, rtol=1e-6)


def test_bad_input_and_errors_of_a_thread():
    loss = make_loss()
    for losses, words in (([], "one function"), ([loss, 3], "one function"), ([loss, loss], "given twice")):
        with pytest.raises(InputError, match=words):
            threaded(losses)
    many = threaded([make_loss(), make_loss()])
    with pytest.raises(InputError, match="index is empty"):
        many(CELL.init(0), np.zeros(0, np.int64))
    with pytest.raises(InputError, match="p has shape"):
        many(np.zeros(3), np.arange(4))


def test_shares_with_weights_of_their_own_are_a_mean_over_what_counts():
    """A mean over the labels that count: shares of different weight, and one in which nothing counts."""
    values, counts = np.array([3.0, 1.0, 4.0, 1.5]), np.array([15, 1, 15, 0])

    def part():
        def loss(p, index):
            n = counts[index].sum()
            if n == 0:
                return np.nan, np.full(1, np.nan), 0.0
            J = (counts[index] * values[index]).sum() / n
            return J * p[0], np.array([J]), float(n)

        return loss

    index, p = np.array([0, 2, 1, 3]), np.array([2.0])
    expected = (counts * values).sum() / counts.sum()
    for parts in (1, 2, 3, 4):
        J, g = threaded([part() for _ in range(parts)])(p, index)
        assert J == pytest.approx(2 * expected, rel=1e-15) and g[0] == pytest.approx(expected, rel=1e-15)
    with pytest.raises(InputError, match="weights of the shares"):
        threaded([part()])(p, np.array([3]))
