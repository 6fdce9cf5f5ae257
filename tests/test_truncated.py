"""Truncated back-propagation: the bias on tasks with a known memory span."""

from __future__ import annotations

import numpy as np
import pytest

from adjoint.errors import InputError
from adjoint.recurrent.diagonal import Diagonal
from adjoint.recurrent.elman import Elman
from adjoint.recurrent.truncated import staggered, truncation_bias
from adjoint.recurrent.unroll import Unroll


def case(batch=8, steps=60):
    rng = np.random.default_rng(0)
    cell = Elman(6, 2)
    return cell, cell.init(1), rng.standard_normal((batch, steps, 2)), rng.standard_normal((batch, steps + 1, 6))


def test_a_window_of_the_whole_length_is_the_full_gradient():
    cell, p, u, dx = case()
    bias = truncation_bias(Unroll(cell), p, u, [1, 60], dx)
    assert bias.cosine[1] == pytest.approx(1, abs=1e-15) and bias.ratio[1] == 1
    assert bias.cosine[0] < 0.999


def test_a_linear_memory_forgets_what_the_window_does_not_reach():
    # x⁺ = tanh(a x + w u) with tiny inputs is linear: an input at step 0 reaches the end with the factor a^(N-1), and
    # is all that the gain w of this loss is owed.
    N, cell = 12, Diagonal(1)
    p = cell.pack({"a": [0.9], "b": [0.0], "w": [1e-6]})
    u = np.zeros((1, N, 1))
    u[0, 0] = 1
    run = Unroll(cell)

    def gain(window):
        run.forward(p, u)
        return run.backward(dlast=np.ones((1, 1)), window=window).p[2]

    assert gain(None) == pytest.approx(0.9 ** (N - 1), rel=1e-10)
    assert gain(N) == gain(None)
    assert gain(N - 1) == 0


def test_the_bias_falls_with_the_window():
    # The units forget as 0.8^k, so that a window of 40 steps leaves out parts of the size 0.8^40 only.
    rng = np.random.default_rng(2)
    cell = Diagonal(6, 2)
    p = cell.pack(cell.unpack(cell.init(1)) | {"a": np.full(6, 0.8)})
    u, dx = 0.1 * rng.standard_normal((8, 120, 2)), np.zeros((8, 121, 6))
    dx[:, -1] = rng.standard_normal((8, 6))
    angles = np.arccos(np.minimum(1, truncation_bias(Unroll(cell), p, u, [2, 6, 20, 60], dx).cosine))
    assert angles[0] > angles[1] > 1e-3 > angles[2] > angles[3]


def test_staggered_windows_see_what_crosses_the_aligned_knots():
    # An input at each step 9, the loss one step later: aligned windows of 10 cut every one of these connections. (What
    # is left is the gradient of the recurrent weight itself, within the window.)
    cell = Diagonal(1)
    p = cell.pack({"a": [0.9], "b": [0.0], "w": [1e-3]})
    u, dx = np.zeros((10, 40, 1)), np.zeros((10, 41, 1))
    u[:, 9::10], dx[:, 11::10] = 1, 1
    aligned = truncation_bias(Unroll(cell), p, u, [10], dx)
    spread = truncation_bias(Unroll(cell), p, u, [10], dx, stagger=True)
    assert aligned.ratio[0] < 0.2 and spread.ratio[0] > 0.4 and spread.cosine[0] > aligned.cosine[0]


def test_offsets_are_spread_over_the_window():
    assert staggered(4, 8).tolist() == [0, 2, 4, 6]
    assert staggered(3, 2).tolist() == [0, 0, 1]


def test_a_gradient_of_zero_is_nothing_to_compare_with():
    cell, p, u, dx = case()
    with pytest.raises(InputError, match="full gradient is zero"):
        truncation_bias(Unroll(cell), p, u, [5], 0 * dx)
