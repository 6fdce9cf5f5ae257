"""Losses against their formulas in long double, complex step, PyTorch, and at numbers where naive formulas overflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cells import close

from adjoint.errors import InputError
from adjoint.recurrent import binary_cross_entropy, softmax_cross_entropy, squared_error, within

SHAPES = [(6,), (4, 5), (2, 3, 4)]


def softmax_formula(z, y, w):
    """Σ w (log Σ exp z - z_y) / Σ w over labels that are not ignored."""
    total, J = 0, 0
    for index in np.ndindex(y.shape):
        if y[index] >= 0:
            J = J + w[index] * (np.log(np.sum(np.exp(z[index]))) - z[index][y[index]])
            total += w[index]
    return J / total


def binary_formula(z, y, w):
    return np.sum(w * (np.log(1 + np.exp(z)) - y * z)) / np.sum(w)


def squared_formula(z, y, w):
    return np.sum(w * (z - y) ** 2 / 2) / np.sum(w)


def case(name, shape, rng):
    """Loss, formula, z, y, w."""
    if name == "softmax":
        y = rng.integers(-1, 3, shape)
        y[(0,) * len(shape)] = 2
        return softmax_cross_entropy, softmax_formula, rng.standard_normal((*shape, 3)), y, rng.random(shape)
    z, w = rng.standard_normal(shape), rng.random(shape)
    if name == "binary":
        return binary_cross_entropy, binary_formula, z, rng.random(shape), w
    return squared_error, squared_formula, z, rng.standard_normal(shape), w


NAMES = ["softmax", "binary", "squared"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient(name, shape):
    loss, formula, z, y, w = case(name, shape, np.random.default_rng(1))
    for weights in (w, None):
        J, d = loss(z, y, weights)
        v = np.ones(shape) if weights is None else w
        close(J, formula(z, y, v), 1e-15)
        for index in np.ndindex(z.shape):
            moved = z.astype(complex)
            moved[index] += 1e-30j
            close(d[index], formula(moved, y, v).imag / 1e-30, 1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_float64_within_rounding(name):
    loss, _, z, y, w = case(name, (4, 5), np.random.default_rng(2))
    J, d = loss(z, y, w)
    J32, d32 = loss(z.astype(np.float32), y, w)
    assert d32.dtype == np.float32 and isinstance(J32, float)
    close(J32, J, 1e-6)
    close(d32, d, 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_may_take_the_place_of_the_logits(name):
    loss, _, z, y, w = case(name, (2, 3), np.random.default_rng(3))
    J, d = loss(z, y, w)
    lined = np.ascontiguousarray(z.swapaxes(0, 1)).swapaxes(0, 1)  # a network's logits lie in memory with time first
    strided = np.repeat(z, 2, axis=-1)[..., ::2]
    for place in (z.copy(), lined, strided):
        J_there, d_there = loss(place, y, w, out=place)
        assert d_there is place
        close(J_there, J, 1e-15)
        close(place, d, 1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(size=st.floats(-300, 300), y=st.integers(0, 2), shift=st.floats(-1e4, 1e4))
def test_no_overflow_and_only_differences_of_logits_count(dtype, size, y, shift):
    z = np.array([0.0, size, -size / 2], dtype)
    exact = z.astype(np.longdouble)
    expected = np.log(np.sum(np.exp(exact - exact.max()))) + exact.max() - exact[y]
    J, d = softmax_cross_entropy(z, np.array(y))
    accuracy = 8 * np.finfo(dtype).eps
    assert abs(J - float(expected)) <= accuracy * (1 + abs(size))
    assert abs(d.sum()) <= accuracy
    moved, _ = softmax_cross_entropy(z + dtype(shift), np.array(y))
    assert abs(moved - J) <= accuracy * (1 + abs(size) + abs(shift))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_at_the_limits(dtype):
    big = dtype(1e30)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        J, d = softmax_cross_entropy(np.array([[big, 0, -big]], dtype), np.array([0]))
        assert J == 0 and np.allclose(d, 0)
        J, d = softmax_cross_entropy(np.array([[big, 0, -big]], dtype), np.array([2]))
        assert J == pytest.approx(2e30) and np.allclose(d, [[1, 0, -1]])
        J, d = binary_cross_entropy(np.array([big, -big, big, -big], dtype), np.array([1, 0, 0, 1]))
        assert J == pytest.approx(5e29) and np.allclose(d, [0, 0, 0.25, -0.25])
    J, _ = binary_cross_entropy(np.array([-30.0]), np.array([0.0]))
    assert J == pytest.approx(np.log1p(np.exp(-30.0)), rel=1e-14, abs=0)  # not 0, as log(1 + exp z) would round to


def test_labels_of_weight_0_are_not_looked_at():
    z, y = np.array([[1.0, 2.0], [np.nan, np.inf]]), np.array([0, 1])
    for weights, labels in (([1, 0], y), (None, np.array([0, -1]))):
        J, d = softmax_cross_entropy(z, labels, weights)
        close(J, softmax_cross_entropy(z[:1], y[:1])[0], 1e-15)
        assert not d[1].any() and np.isfinite(d).all()
    for loss in (binary_cross_entropy, squared_error):
        J, d = loss(z, np.array([[0.0, 1.0], [7.0, np.nan]]), np.array([[1.0], [0.0]]))
        close(J, loss(z[:1], np.array([[0.0, 1.0]]))[0], 1e-15)
        assert not d[1].any() and np.isfinite(d).all()


def test_within():
    assert within([2, 4, 1], 4).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_as_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    loss, _, z, y, w = case(name, (4, 5), np.random.default_rng(4))
    logits = torch.tensor(z, requires_grad=True)
    F = torch.nn.functional
    if name == "softmax":
        theirs = F.cross_entropy(logits.reshape(-1, 3), torch.tensor(y.ravel()), ignore_index=-1)
        J, d = loss(z, y)
    elif name == "binary":
        theirs = F.binary_cross_entropy_with_logits(logits, torch.tensor(y), torch.tensor(w)) * w.size / w.sum()
        J, d = loss(z, y, w)
    else:
        theirs = F.mse_loss(logits, torch.tensor(y)) / 2
        J, d = loss(z, y)
    theirs.backward()
    close(J, theirs.item(), 1e-14)
    close(d, logits.grad.numpy(), 1e-14)


@pytest.mark.parametrize(
    ("loss", "arguments", "sentence"),
    [
        (softmax_cross_entropy, (np.zeros((2, 3)), [0, 3]), "a label is 3; expected less than 3"),
        (softmax_cross_entropy, (np.zeros((2, 3)), [0, 1, 2]), "labels have shape"),
        (softmax_cross_entropy, (np.zeros((2, 3)), [0.0, 1.0]), "whole numbers"),
        (softmax_cross_entropy, (np.zeros((2, 3)), [-1, -1]), "no label counts"),
        (softmax_cross_entropy, (np.zeros((2, 3)), [1, 1], [0, 0]), "no label counts"),
        (softmax_cross_entropy, (np.zeros((2, 3)), [1, 1], [1, -1]), "a weight is negative"),
        (softmax_cross_entropy, (np.zeros((2, 3)), [1, 1], [1, np.nan]), "not finite"),
        (softmax_cross_entropy, (np.zeros((2, 3)), [1, 1], [1, 2, 3]), "weights have shape"),
        (softmax_cross_entropy, (np.zeros((2, 3), int), [1, 1]), "logits are"),
        (softmax_cross_entropy, ([[1.0, 2.0]], [1]), "logits are"),
        (softmax_cross_entropy, (np.zeros((0, 3)), np.zeros(0, int)), "no label counts"),
        (softmax_cross_entropy, (np.zeros((2, 3)), [1, 1], None, np.zeros((3, 2))), "out has shape"),
        (binary_cross_entropy, (np.zeros(2), [0, 1.5]), r"not in \[0, 1\]"),
        (binary_cross_entropy, (np.zeros(2), [0, np.nan]), r"not in \[0, 1\]"),
        (binary_cross_entropy, (np.zeros(2), [0, 1, 1]), "targets have shape"),
        (squared_error, (np.zeros(2), np.zeros((2, 1))), "targets have shape"),
        (squared_error, (np.zeros(2), np.zeros(2), [0, 0]), "no label counts"),
    ],
)
def test_bad_input(loss, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        loss(*arguments)


def test_a_target_that_is_not_finite_needs_the_weight_zero():
    z, y = np.zeros((3, 1)), np.array([[1.0], [np.nan], [2.0]])
    with pytest.raises(InputError, match="not finite"):
        squared_error(z, y)
    assert squared_error(z, y, [[1], [0], [1]])[0] == pytest.approx((1 + 4) / 4)
