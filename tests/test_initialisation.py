"""Remedies: what initialisations, leaks and bounded weights do to the costate, measured by the sweep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint
from adjoint import recurrent
from adjoint.analysis import stability
from adjoint.errors import InputError

N = 60


def costate_norms(cell, p, u=None, seed=0):
    """‖λ_k‖ / ‖λ_N‖ of a seed at the end, by steps back from there; at rest if there is no input."""
    inputs = np.zeros((N, cell.m)) if u is None else u
    path = adjoint.rollout(cell.system, np.zeros(cell.n), inputs, p=p)
    end = np.random.default_rng(seed).normal(size=cell.n)
    return np.linalg.norm(adjoint.sweep(path, dx=end / np.linalg.norm(end)).costate, axis=1)[::-1]


def elman(W):
    cell = recurrent.Elman(len(W), 2)
    return cell, cell.pack(cell.unpack(cell.init(0)) | {"W_hh": W})


@given(st.integers(1, 24), st.floats(0.5, 1.5), st.integers(0, 10**6))
@settings(max_examples=30)
def test_an_orthogonal_matrix_treats_all_directions_alike(d, gain, seed):
    W = recurrent.orthogonal(np.random.default_rng(seed), d, gain)
    assert costate_norms(*elman(W), seed=seed) == pytest.approx(gain ** np.arange(N + 1.0), rel=1e-11)
    assert recurrent.spectral_radius(W) == pytest.approx(gain, rel=1e-12)


@given(st.integers(2, 24), st.floats(0.3, 3), st.integers(0, 10**6))
@settings(max_examples=30)
def test_a_random_matrix_has_its_radius_and_grows_first(d, radius, seed):
    W = recurrent.spectral(np.random.default_rng(seed), d, radius)
    assert recurrent.spectral_radius(W) == pytest.approx(radius, rel=1e-10)
    assert np.linalg.norm(W, 2) >= radius * (1 - 1e-12)
    assert recurrent.spectral_radius(recurrent.with_radius(W, 2.0)) == pytest.approx(2.0, rel=1e-10)
    norms = costate_norms(*elman(W), seed=seed)
    assert (norms <= np.linalg.norm(W, 2) ** np.arange(N + 1.0) * (1 + 1e-10)).all()


def test_radius_against_norm():
    """At the same spectral radius of 1 the random matrix amplifies a costate on the way, the orthogonal one never."""
    rng = np.random.default_rng(2)
    random = stability(_rest(*elman(recurrent.spectral(rng, 32, 1.0))))
    even = stability(_rest(*elman(recurrent.orthogonal(rng, 32))))
    assert random.log_backward.max() > 0.5 and abs(even.log_backward).max() < 1e-10
    # In the long run the radius decides: powers of a matrix of radius 0.9
    small = stability(_rest(*elman(recurrent.spectral(rng, 16, 0.9)), steps=800))
    assert small.growth_per_step == pytest.approx(0.9, rel=5e-3)


def _rest(cell, p, steps=N):
    return adjoint.rollout(cell.system, np.zeros(cell.n), np.zeros((steps, cell.m)), p=p)


@given(st.integers(1, 16), st.floats(0.3, 2), st.integers(0, 10**6))
@settings(max_examples=20)
def test_saturated_units_only_shrink_it(d, gain, seed):
    rng = np.random.default_rng(seed)
    cell, p = elman(recurrent.orthogonal(rng, d, gain))
    norms = costate_norms(cell, p, rng.normal(size=(N, 2)), seed)
    assert (norms <= gain ** np.arange(N + 1.0) * (1 + 1e-11)).all()


def test_time_constants_are_memories():
    a = recurrent.time_constants(np.random.default_rng(0), 4000, 2.0, 200.0)
    tau = -1 / np.log(a)
    assert tau.min() >= 2 * (1 - 1e-12) and tau.max() <= 200 * (1 + 1e-12)
    assert np.median(np.log(tau)) == pytest.approx(np.log(20), abs=0.1)  # even in the logarithm
    cell = recurrent.Diagonal(8, 2)
    keep = a[:8]
    p = cell.pack(cell.unpack(cell.init(0)) | {"a": keep})
    path = _rest(cell, p)
    for i in range(8):
        lam = adjoint.sweep(path, dx=np.eye(8)[i]).costate[::-1, i]
        assert lam == pytest.approx(np.exp(-np.arange(N + 1) / tau[i]), rel=1e-11)


@given(st.integers(0, 10**6), st.floats(-6, 3))
@settings(max_examples=20)
def test_a_leaky_cell_never_explodes_and_remembers_as_long_as_it_leaks(seed, theta):
    rng = np.random.default_rng(seed)
    cell = recurrent.Leaky(8, 2)
    weights = cell.unpack(cell.init(seed)) | {"leak": np.full(8, theta)}
    alpha = 1 / (1 + np.exp(-theta))
    norms = costate_norms(cell, cell.pack(weights), rng.normal(size=(N, 2)), seed)
    assert (np.diff(norms) <= 1e-12).all()  # ‖A_k‖ <= (1 - α) + α ‖W‖ = 1
    # ‖A_k v‖ >= ((1 - α) - α) ‖v‖: with a small leak it cannot vanish quickly
    assert (norms >= np.maximum(1 - 2 * alpha, 0) ** np.arange(N + 1.0) * (1 - 1e-11)).all()


@given(st.integers(0, 10**6), st.floats(0.5, 1))
@settings(max_examples=20)
def test_with_many_leaks_the_weighted_costate_never_grows(seed, gain):
    rng = np.random.default_rng(seed)
    cell = recurrent.Leaky(8, 2)
    theta = rng.normal(size=8, scale=2)
    W = recurrent.orthogonal(rng, 8, gain)
    p = cell.pack(cell.unpack(cell.init(seed)) | {"leak": theta, "W_hh": W})
    path = adjoint.rollout(cell.system, rng.normal(size=8), rng.normal(size=(N, 2)), p=p)
    weighted = adjoint.sweep(path, dx=rng.normal(size=8)).costate * np.sqrt(1 / (1 + np.exp(-theta)))
    norms = np.linalg.norm(weighted, axis=1)
    assert (norms[:-1] <= norms[1:] * (1 + 1e-12)).all()  # ‖S λ_k‖ <= ‖S λ_{k+1}‖


def test_the_leaks_start_over_all_scales():
    cell = recurrent.Leaky(400, 1, longest=50.0)
    alpha = 1 / (1 + np.exp(-cell.unpack(cell.init(0))["leak"]))
    assert alpha.min() > 1 - np.exp(-1 / 50.0) - 1e-12 and alpha.max() < 1 - np.exp(-1 / 2.0) + 1e-12


def test_weights_inside_stay_inside_whatever_the_rate():
    """Ask a diagonal network for an output that grows: the bounded one cannot be led beyond its radius."""
    cell, inside = recurrent.Diagonal(4, 1), recurrent.Inside(0.98)
    run, u = recurrent.Unroll(cell), np.full((1, 40, 1), 1e-3)
    start = cell.unpack(cell.init(0))
    at_a = slice(0, 4)

    def loss(p, index):
        h = run.forward(p, u)
        return -float(h[0, -1].sum()), run.backward(dlast=-np.ones((1, 4))).p.copy()

    def bounded(q, index):
        p = q.copy()
        p[at_a] = inside(q[at_a])
        value, g = loss(p, index)
        g[at_a] = inside.pullback(q[at_a], g[at_a])
        return value, g

    q = cell.pack(start)
    q[at_a] = inside.inverse(0.5 * start["a"])
    assert adjoint.check_gradient(lambda w: bounded(w, None)[0], bounded(q, None)[1], q).passed
    options = dict(samples=1, epochs=200, optimiser=recurrent.Adam(0.05))
    free = recurrent.train(loss, cell.pack(start), **options).p
    kept = inside(recurrent.train(bounded, q, **options).p[at_a])
    assert np.abs(free[at_a]).max() > 1.5
    assert np.abs(kept).max() <= 0.98 and np.abs(kept).max() > 0.9
    for a, explodes in ((free[at_a], True), (kept, False)):
        p = cell.pack(start | {"a": a})
        assert (costate_norms(cell, p)[-1] > 1e6) == explodes


def test_clipping_bounds_the_step_and_not_the_costate():
    """A relu network with gain 1.2 over 60 steps: one step along its gradient is lost without clipping."""
    cell = recurrent.Elman(8, 1, "relu")
    rng = np.random.default_rng(0)
    first_weights = {"W_ih": np.full((8, 1), 0.1), "W_hh": 1.2 * np.eye(8), "b": np.full(8, 1e-3)}
    start = cell.pack(first_weights)  # all units stay positive: the network is linear
    run, u = recurrent.Unroll(cell), np.abs(rng.normal(size=(8, N, 1)))
    target = 0.1

    def loss(p, index):
        h = run.forward(p, u[index])
        error = h[:, -1] - target
        return float((error**2).mean()), run.backward(dlast=2 * error / error.size).p.copy()

    path = adjoint.rollout(cell.system, np.zeros(8), u[0], p=start)
    growth = np.linalg.norm(adjoint.sweep(path, dx=np.full(8, 8**-0.5)).costate[0])
    assert growth == pytest.approx(1.2**N, rel=1e-10)  # 56 000
    first = loss(start, np.arange(8))
    steps = {}
    for clip in (None, 1.0):
        moved = recurrent.train(loss, start, 8, batch=8, epochs=1, optimiser=recurrent.SGD(1e-2), clip=clip)
        steps[clip] = np.linalg.norm(moved.p - start)
        assert moved.gradient_norm[0] == pytest.approx(np.linalg.norm(first[1]))  # the gradient is what it is
    assert steps[1.0] == pytest.approx(1e-2, rel=1e-9) and steps[None] > 1e6
    lost = recurrent.train(loss, start, 8, batch=8, epochs=5, optimiser=recurrent.SGD(1e-2))
    assert (lost.gradient_norm[1:] == 0).all() and (lost.loss[1:] == target**2).all()  # all units are dead
    trained = recurrent.train(loss, start, 8, batch=8, epochs=300, optimiser=recurrent.SGD(1e-2), clip=1.0)
    assert trained.loss[-1] < 1e-6 * first[0]
    assert stability(_rest(cell, trained.p)).growth_per_step < 1.2 - 0.02  # it went where gradients do not explode


def test_bad_input_is_told():
    rng = np.random.default_rng(0)
    for call, words in (
        (lambda: recurrent.with_radius(np.ones((2, 3)), 1.0), "square"),
        (lambda: recurrent.with_radius([[0, 1], [0, 0]], 1.0), "radius 0"),
        (lambda: recurrent.with_radius(np.eye(2), -1.0), "at least 0"),
        (lambda: recurrent.spectral(rng, 0), "at least 1"),
        (lambda: recurrent.time_constants(rng, 3, 5.0, 2.0), "shortest"),
        (lambda: recurrent.time_constants(rng, 3, 0.0, 2.0), "shortest"),
        (lambda: recurrent.Inside(0.0), "positive"),
        (lambda: recurrent.Inside(1.0).inverse([0.5, 1.0]), "less than 1"),
        (lambda: recurrent.Leaky(3, 1, longest=1.0), "longest"),
        (lambda: recurrent.spectral_radius([[np.nan]]), "finite"),
    ):
        with pytest.raises(InputError, match=words):
            call()
