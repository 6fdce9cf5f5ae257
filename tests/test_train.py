"""Training by mini-batches: the update formulas, what ends it, and a network that learns."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from scipy.optimize import minimize

from adjoint.errors import AdjointError, InputError
from adjoint.recurrent import GRU, Adam, Elman, Unroll, watch
from adjoint.recurrent.train import SGD, cosine, train

TARGETS = np.linspace(-1, 1, 40)


def quadratic(p, index):
    """Mean over samples of ½ |p - target|²; the minimum is the mean of the targets."""
    difference = p[0] - TARGETS[index]
    return 0.5 * np.mean(difference**2), np.array([np.mean(difference)])


def test_sgd_and_adam_are_their_formulas():
    p, g = np.array([1.0, -2.0]), np.array([0.5, 4.0])
    sgd = SGD(momentum=0.5)
    once, state = sgd.step(p, g, sgd.start(p), 1, 0.1)
    twice, _ = sgd.step(once, g, state, 2, 0.1)
    np.testing.assert_allclose(once, p - 0.1 * g)
    np.testing.assert_allclose(twice, once - 0.1 * 1.5 * g)
    adam = Adam()
    once, state = adam.step(p, g, adam.start(p), 1, 0.1)
    np.testing.assert_allclose(once, p - 0.1 * np.sign(g), rtol=1e-7)  # the first step has the length of the rate
    twice, _ = adam.step(once, -g, state, 2, 0.1)
    a, b = (0.9 * 0.1 - 0.1) * g / (1 - 0.9**2), g * g
    np.testing.assert_allclose(twice, once - 0.1 * a / (np.sqrt(b) + 1e-8))


def test_adam_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    p = rng.standard_normal(5)
    theirs = torch.tensor(p, requires_grad=True)
    optimiser, adam = torch.optim.Adam([theirs], lr=0.01), Adam(0.01)
    state = adam.start(p)
    for j in range(1, 20):
        g = rng.standard_normal(5)
        theirs.grad = torch.tensor(g)
        optimiser.step()
        p, state = adam.step(p, g, state, j, 0.01)
        np.testing.assert_allclose(p, theirs.detach().numpy(), rtol=1e-12)


def test_it_finds_the_minimum_and_the_same_bits_again():
    runs = [train(quadratic, [3.0], 40, optimiser=Adam(0.05), batch=8, epochs=60, schedule=cosine(300), seed=s)
            for s in (1, 1, 2)]  # fmt: skip
    # the means of the batches scatter by 0.2 around the minimum at 0
    assert abs(runs[0].p[0]) < 0.02 and "60 epochs of 5 steps" in runs[0].message
    assert np.array_equal(runs[0].p, runs[1].p) and not np.array_equal(runs[0].loss, runs[2].loss)
    assert runs[0].loss.shape == (300,) and runs[0].validation.size == 0


def test_every_sample_is_seen_once_an_epoch():
    seen = []

    def loss(p, index):
        seen.extend(index)
        return quadratic(p, index)

    train(loss, [0.0], 40, batch=7, epochs=2)
    assert sorted(seen[:40]) == sorted(seen[40:]) == list(range(40)) and seen[:40] != seen[40:]


def test_clipping_shortens_the_step_but_not_the_record():
    run = train(lambda p, index: (0.0, np.array([30.0, 40.0])), [0.0, 0.0], 1, optimiser=SGD(1.0), epochs=1, clip=5.0)
    np.testing.assert_allclose(run.p, [-3, -4])
    assert run.gradient_norm[0] == 50


def test_early_stopping_keeps_the_best():
    values = iter([3.0, 1.0, 2.0, 2.5, 0.5])
    kept = []
    run = train(quadratic, [3.0], 40, epochs=5, validation=lambda p: kept.append(p) or next(values), patience=2)
    assert np.array_equal(run.p, kept[1]) and run.validation.tolist() == [3.0, 1.0, 2.0, 2.5]
    assert "has not fallen for 2 epochs" in run.message


def scripted(values):
    """A loss whose values on the way are given; an exception is raised. Also the weights at which it was asked."""
    values, asked = iter(values), []

    def loss(p, index):
        asked.append(p)
        value = next(values)
        if isinstance(value, BaseException) or value is KeyboardInterrupt:
            raise value
        return (value, np.ones(1)) if np.isscalar(value) else value

    return loss, asked


STOPS = {
    "loss": (math.nan, "the loss is nan"),
    "gradient": ((1.0, [math.inf]), "the norm of the gradient is inf"),
    "states": (AdjointError("state 3 became inf."), "state 3 became inf"),
}


@pytest.mark.parametrize("stop", STOPS)
def test_what_is_not_finite_ends_it_with_the_best_weights_so_far(stop):
    bad, sentence = STOPS[stop]
    # an epoch of two steps that is good, then one on its way to infinity: the end of the good one
    loss, asked = scripted([3.0, 2.0, 9.0, bad])
    run = train(loss, [1.0], 4, optimiser=SGD(0.1), batch=2, epochs=5)
    assert np.array_equal(run.p, asked[2]) and run.loss.tolist() == [3.0, 2.0, 9.0]
    assert f"stopped at step 3 of epoch 1: {sentence}" in run.message
    # in the first epoch: the weights of the least loss
    loss, asked = scripted([3.0, 2.0, 9.0, bad])
    assert np.array_equal(train(loss, [1.0], 8, optimiser=SGD(0.1), batch=2).p, asked[1])
    # at once: where it started
    loss, _ = scripted([bad])
    run = train(loss, [1.0], 8, batch=2)
    assert run.p.tolist() == [1.0] and run.loss.size == 0
    # with validation: what it found best
    loss, asked = scripted([3.0, 2.0, 1.0, bad])
    run = train(loss, [1.0], 1, epochs=5, validation=lambda p: (5.0, 4.0, 6.0)[len(asked) - 1])
    assert np.array_equal(run.p, asked[2]) and run.validation.tolist() == [5.0, 4.0, 6.0]


def test_a_step_or_a_validation_that_is_not_finite():
    with np.errstate(over="ignore"):
        run = train(lambda p, index: (1.0, [1e100]), [1.0], 1, optimiser=SGD(1e300), epochs=5)
    assert run.p.tolist() == [1.0] and "the largest weight is inf" in run.message
    run = train(quadratic, [1.0], 40, validation=lambda p: math.nan)
    assert np.isfinite(run.p).all() and "the validation is nan" in run.message and run.validation.size == 0


def test_an_error_of_the_caller_is_not_swallowed():
    for error in (InputError("u has shape"), ZeroDivisionError()):
        with pytest.raises(type(error)):
            train(scripted([1.0, error, error])[0], [1.0], 4, batch=2)


def test_weights_that_became_too_large_for_the_loss_end_it():
    def loss(p, index):
        if abs(p[0]) > 100:
            raise InputError("dlast has inf")
        return float(p[0] ** 2), 2 * p

    run = train(loss, [1.0], 4, batch=1, optimiser=SGD(5.0), epochs=3)
    assert run.p.tolist() == [1.0] and "dlast has inf" in run.message and "smaller rate" in run.message


def test_an_error_of_validation_or_callback_is_not_swallowed():
    def wrong(*arguments):
        raise InputError("lengths have shape")

    for more in (dict(validation=wrong), dict(callback=wrong)):
        with pytest.raises(InputError, match="lengths have shape"):
            train(quadratic, [3.0], 40, **more)


@pytest.mark.parametrize("validation", [None, lambda p: float(p @ p)])
def test_a_training_that_only_grows_returns_its_start(validation):
    run = train(lambda p, index: (0.5 * p @ p, p.copy()), np.ones(3), 10, batch=2, epochs=20, optimiser=SGD(3.0),
                validation=validation)  # fmt: skip
    assert run.p.tolist() == [1.0] * 3 and "No epoch was better than the start" in run.message


@pytest.mark.parametrize(
    "make", [lambda: SGD(-0.1), lambda: SGD(0.1, 1.0), lambda: Adam(-1.0), lambda: Adam(beta1=1.5)]
)
def test_optimisers_that_would_climb_or_explode_are_refused(make):
    with pytest.raises(InputError, match="expected a number from 0 to less than"):
        make()


def test_the_best_epoch_without_validation():
    loss, asked = scripted([3.0, 1.0, 2.0, 2.0])
    assert np.array_equal(train(loss, [1.0], 1, epochs=4).p, asked[2])  # at the end of the epoch whose loss was 1


def test_an_interruption_returns_the_best_so_far():
    def callback(epoch, mean):
        if epoch == 1:
            raise KeyboardInterrupt

    run = train(quadratic, [3.0], 40, batch=8, epochs=9, callback=callback)
    assert "interrupted at step 10" in run.message and run.loss.size == 10
    loss, asked = scripted([3.0, 2.0, 1.0, KeyboardInterrupt])  # in the middle of the second epoch, which is better
    assert np.array_equal(train(loss, [1.0], 4, batch=2, epochs=5).p, asked[2])
    loss, asked = scripted([3.0, 2.0, 9.0, KeyboardInterrupt])  # which is worse
    assert np.array_equal(train(loss, [1.0], 4, batch=2, epochs=5).p, asked[2])
    loss, asked = scripted([3.0, 2.0, KeyboardInterrupt])  # before any validation: the last ones
    assert np.array_equal(train(loss, [1.0], 8, batch=2, validation=lambda p: 1.0).p, asked[1])


def test_what_is_seen_of_it(monkeypatch, capsys):
    monkeypatch.delenv("ADJOINT_QUIET", raising=False)
    train(quadratic, [3.0], 40)
    assert capsys.readouterr().err == ""  # short trainings are silent
    monkeypatch.setattr(watch, "PAUSE", 0.0)
    train(quadratic, [3.0], 40, batch=20, epochs=2, validation=lambda p: 0.125)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "step 3 of 4  epoch 1  loss" in lines[2] and "validation 0.125" in lines[2]
    assert "validation" not in lines[0]
    train(quadratic, [3.0], 40, progress=False)
    monkeypatch.setenv("ADJOINT_QUIET", "1")
    train(quadratic, [3.0], 40)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.delenv("ADJOINT_QUIET", raising=False)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    with watch.watching(4, True, screen) as show:
        for step in range(1, 5):
            show(step, 0, 0.5, math.nan)
    assert "training" in screen.getvalue() and "loss 0.5" in screen.getvalue() and "0:00:00" in screen.getvalue()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(dict(samples=0), "samples is 0"), (dict(batch=0), "batch is 0"), (dict(epochs=1.5), "epochs is 1.5"),
     (dict(p=[np.nan]), "p has shape"), (dict(clip=-1), "clip is -1"), (dict(patience=1), "validation= too"),
     (dict(p=[1.0, 2.0]), "gradient has shape")],
)  # fmt: skip
def test_bad_input(change, sentence):
    arguments = dict(loss=quadratic, p=[0.0], samples=40) | change
    with pytest.raises(InputError, match=sentence):
        train(**arguments)


def memory_task(seed, count, steps):
    """Say at the end what came first: a sign at step 0, then noise."""
    rng = np.random.default_rng(seed)
    u = 0.3 * rng.standard_normal((count, steps, 1))
    u[:, 0, 0] = np.sign(rng.standard_normal(count))
    return u, u[:, 0, 0].copy()


def network_loss(cell, u, y):
    """Squared error of the first unit at the end."""
    run = Unroll(cell)

    def loss(p, index=slice(None)):
        run.forward(p, u[index])
        error = run.last[:, :1] - 0.8 * y[index, None]
        return 0.5 * float(np.mean(error**2)), run.backward(dlast=error / len(error), want_u=False).p.copy()

    return loss


def test_a_network_learns_to_remember():
    cell = GRU(8, 1)
    u, y = memory_task(0, 256, 20)
    run = train(network_loss(cell, u, y), cell.init(0), 256, optimiser=Adam(0.01), epochs=30, clip=1.0)
    test_u, test_y = memory_task(1, 200, 30)  # longer than in training
    states = Unroll(cell)
    states.forward(run.p, test_u)
    assert np.mean(np.sign(states.last[:, 0]) == test_y) > 0.98


def test_scipy_minimises_the_same_function():
    cell = Elman(4, 1)
    u, y = memory_task(0, 64, 6)
    loss = network_loss(cell, u, y)
    p0 = cell.init(0)
    result = minimize(loss, p0, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    assert result.fun < 0.02 * loss(p0)[0]
