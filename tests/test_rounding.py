"""A gradient that is amplified rounding says so, and one that is not does not."""

import re
import warnings

import numpy as np
import pytest

import adjoint
from adjoint.errors import StabilityWarning
from adjoint.rounding import EPS, amplification

LORENZ = adjoint.System(
    lambda t, x, u, p: [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]],
    states="x y z", name="lorenz",
)  # fmt: skip
ON_THE_ATTRACTOR = adjoint.rollout(LORENZ, [1.0, 1.0, 1.0], t=np.linspace(0, 20, 4001)).x[-1]


def orbit(T, x0=ON_THE_ATTRACTOR):
    return adjoint.rollout(LORENZ, x0, t=np.linspace(0, T, int(200 * T) + 1))


def gradient(path):
    """The gradient of ½|x_N|², and the sentences that came with it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        g = adjoint.sweep(path, dx=path.x[-1])
    return g, [str(w.message) for w in caught if issubclass(w.category, StabilityWarning)]


@pytest.mark.parametrize("T", [5, 15, 25, 35])
def test_the_estimate_is_what_a_last_digit_does(T):
    """Move x_0 by a unit in the last place: the gradient moves by what is predicted, give or take two digits."""
    path = orbit(T)
    g, sentences = gradient(path)
    kappa, _ = amplification(path.x, g.costate, np.sum(path.x[-1:] ** 2, axis=1))
    predicted = EPS * np.sqrt(len(path)) * kappa
    moved, _ = gradient(orbit(T, np.nextafter(ON_THE_ATTRACTOR, np.inf)))
    measured = np.linalg.norm(moved.x0 - g.x0) / np.linalg.norm(g.x0)
    assert predicted / 100 < measured < 100 * predicted
    assert bool(sentences) == (predicted > 1e-2) == (T >= 35)


def test_the_sentence_has_the_number_and_the_place():
    path = orbit(40)
    _, (sentence,) = gradient(path)
    assert "'lorenz'" in sentence and re.search(r"grow by \d\.\de\+1[5-7]", sentence) and "all of it" in sentence
    with pytest.warns(StabilityWarning) as record:
        adjoint.sweep(path, dx=path.x[-1])
    assert record[0].filename == __file__  # the caller's line, not the library's


def test_states_that_grow_along_lose_nothing():
    growing = adjoint.System(lambda t, x, u, p: [5 * x[0]], states="x")
    path = adjoint.rollout(growing, [1.0], t=np.linspace(0, 10, 2001))
    g, sentences = gradient(path)
    assert np.abs(g.costate[0] / g.costate[-1]) > 1e21 and not sentences
    moved, _ = gradient(adjoint.rollout(growing, [1 + 2**-52], t=np.linspace(0, 10, 2001)))
    assert moved.x0 == pytest.approx(g.x0, rel=1e-13)


def test_a_cancelling_growth_is_found():
    """x' = y, y' = 100 x from (1, -10): e^{-10t}, until rounding wakes e^{10t}."""
    saddle = adjoint.System(lambda t, x, u, p: [x[1], 100 * x[0]], states="x y", name="saddle")
    for T, lost in ((0.5, False), (3.0, True)):
        _, sentences = gradient(adjoint.rollout(saddle, [1.0, -10.0], t=np.linspace(0, T, 3001)))
        assert bool(sentences) == lost


def test_every_path_of_a_batch_counts_and_running_seeds_too():
    x0 = np.stack([ON_THE_ATTRACTOR, [0.0, 0.0, 1e-3]])
    path = orbit(40, x0)
    with pytest.warns(StabilityWarning, match=r"grow by \d\.\de\+1[5-7]"):
        adjoint.sweep(path, dx=path.x[:, -1])
    assert amplification(path.x, np.ones(path.x.shape), np.zeros(2)) == (0.0, 0)
    seeds = np.zeros((8001, 3))
    seeds[4000:8000] = 1e-3  # nothing is seeded at the end
    with pytest.warns(StabilityWarning, match="horizon"):
        adjoint.sweep(orbit(40), dx=seeds)


def test_the_usual_gradient_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = orbit(1.0)
        adjoint.sweep(path, dx=path.x)
        adjoint.sweep(path)
        adjoint.sweep(path, dx=0 * path.x)
        still = adjoint.System(lambda t, x, u, p: [3 * x[0]], states="x")
        adjoint.sweep(adjoint.rollout(still, [0.0], t=np.linspace(0, 20, 100)), dx=[1.0])  # grows by e^60, from rest


def test_an_overflow_says_so():
    system = adjoint.System(lambda t, x, u, p: [1e10 * x[0] * p[0]], "x", parameters="a", discrete=True)
    with pytest.warns(StabilityWarning, match="overflows: its costate is not finite at t = "):
        adjoint.sweep(adjoint.rollout(system, [0.0], p=[1.0], steps=40), dx=[1.0])
