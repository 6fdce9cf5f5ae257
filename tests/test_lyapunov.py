"""Lyapunov exponents and covariant vectors, against published values, closed forms and a plain NumPy loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

import adjoint
from adjoint import recurrent
from adjoint.analysis import covariant_vectors, lyapunov
from adjoint.errors import AdjointError, InputError


def lorenz(t, x, u, p):
    return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]


def lorenz96(t, x, u, p):
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 8.0


LORENZ = adjoint.System(lorenz, "a b c")
HENON = adjoint.System(lambda t, x, u, p: [1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]], "x y", discrete=True, name="henon")
LOGISTIC = adjoint.System(lambda t, x, u, p: [p[0] * x[0] * (1 - x[0])], "x", parameters="r", discrete=True)


def within(spectrum, expected, errors=4.0):
    """Whether the exponents agree with the expected ones within so many of their own standard errors."""
    return np.all(np.abs(spectrum.exponents - expected) <= errors * spectrum.error + 1e-12)


# ---- published values (cards E15; Sprott, Chaos and Time-Series Analysis, appendix A) -------------


def test_lorenz():
    spectrum = lyapunov(LORENZ, [1, 1, 20], 1_000_000, 0.01)
    assert within(spectrum, [0.90566, 0.0, -14.57233])
    assert np.all(spectrum.error < 5e-3)
    assert spectrum.exponents.sum() == pytest.approx(-41 / 3, abs=5e-4)  # the divergence, but for RK4 at h = 0.01
    assert spectrum.kaplan_yorke == pytest.approx(2.062, abs=2e-3)
    assert spectrum.chaotic


def test_the_sum_of_lorenz_exponents_converges_to_the_divergence_with_the_order_of_the_method():
    off = [abs(lyapunov(LORENZ, [1, 1, 20], 2_000 * r, 0.01 / r).exponents.sum() + 41 / 3) for r in (1, 2, 4)]
    assert 3.5 < math.log2(off[0] / off[1]) < 5.5
    assert 3.5 < math.log2(off[1] / off[2]) < 5.5


def test_henon():
    spectrum = lyapunov(HENON, [0.1, 0.1], 1_000_000)
    assert within(spectrum, [0.41922, -1.62319])
    assert spectrum.exponents.sum() == pytest.approx(math.log(0.3), abs=1e-10)  # the determinant is constant
    assert spectrum.kaplan_yorke == pytest.approx(1.2583, abs=1e-3)


def test_logistic_map():
    spectrum = lyapunov(LOGISTIC, [0.3], 1_000_000, p=[4.0])
    assert spectrum.exponents[0] == pytest.approx(math.log(2), abs=1e-4)
    assert spectrum.kaplan_yorke == 1.0


def test_a_stable_period_two_orbit_has_half_the_logarithm_of_its_multiplier():
    # r = 3.2: the multiplier of the 2-cycle is 4 + 2 r - r².
    spectrum = lyapunov(LOGISTIC, [0.3], 4_000, p=[3.2], transient=1_000)
    assert spectrum.exponents[0] == pytest.approx(0.5 * math.log(abs(4 + 2 * 3.2 - 3.2**2)), abs=1e-3)
    assert not spectrum.chaotic and spectrum.kaplan_yorke == 0.0


def test_lorenz96():
    spectrum = lyapunov(adjoint.System(lorenz96, "x[40]"), 8 + np.sin(np.arange(40.0)), 40_000, 0.01)
    assert 1.60 < spectrum.exponents[0] < 1.74  # published: 1.67 to 1.70
    assert 26.5 < spectrum.kaplan_yorke < 27.6  # published: 27.1
    assert spectrum.exponents.sum() == pytest.approx(-40, abs=2e-3)
    assert np.sum(np.abs(spectrum.exponents) < 0.03) >= 1 and np.all(np.diff(spectrum.exponents) <= 0)


# ---- closed forms --------------------------------------------------------------------------------


def test_a_linear_flow_has_the_real_parts_of_its_eigenvalues():
    A = np.array([[-0.1, 2.0, 0.3], [-2.0, -0.1, 0.0], [0.0, 0.0, -1.0]])
    system = adjoint.System(lambda t, x, u, p: A @ x, "x[3]")
    spectrum = lyapunov(system, [1, 0, 0], 20_000, 0.01, transient=5_000)
    np.testing.assert_allclose(spectrum.exponents, [-0.1, -0.1, -1.0], atol=2e-3)
    np.testing.assert_allclose(spectrum.exponents.sum(), -1.2, atol=1e-8)


def test_a_decoupled_map_has_the_logarithms_of_its_factors_and_a_singular_one_minus_infinity():
    system = adjoint.System(lambda t, x, u, p: [2.0 * x[0], 0.5 * x[1], 0.0 * x[2]], "a b c", discrete=True)
    spectrum = lyapunov(system, [0, 0, 0], 500)
    np.testing.assert_allclose(spectrum.exponents, [math.log(2), -math.log(2), -np.inf], rtol=1e-12)
    assert "nan" not in str(spectrum) and "-inf  the map is singular" in str(spectrum)


def test_a_rotation_has_none():
    A = 1.0 * np.array([[0.8, -0.6], [0.6, 0.8]])
    spectrum = lyapunov(adjoint.System(lambda t, x, u, p: A @ x, "x y", discrete=True), [1, 0], 1_000)
    np.testing.assert_allclose(spectrum.exponents, 0, atol=1e-13)


# ---- against a loop ------------------------------------------------------------------------------


def by_a_loop(f, jacobian, x, steps, transient):
    """The QR method written down."""
    V, total = np.eye(len(x)), np.zeros(len(x))
    for k in range(transient + steps):
        V, R = np.linalg.qr(jacobian(x) @ V)
        x = f(x)
        total += np.log(np.abs(np.diag(R))) if k >= transient else 0
    return total / steps


def test_it_is_the_qr_method():
    expected = by_a_loop(lambda x: np.array([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]]),
                         lambda x: np.array([[-2.8 * x[0], 1.0], [0.3, 0.0]]), np.array([0.1, 0.1]), 5_000, 500)
    # Chaos amplifies the last digit of a state to all of it; the averages agree as two samples of 5000 do.
    spectrum = lyapunov(HENON, [0.1, 0.1], 5_000, transient=500)
    np.testing.assert_allclose(spectrum.exponents, expected, atol=4 * spectrum.error.max())
    # Where no chaos is in the way, to round-off:
    calm = adjoint.System(lambda t, x, u, p: [np.sin(x[1]) + 0.2, 0.7 * np.cos(x[0])], "x y", discrete=True)
    expected = by_a_loop(lambda x: np.array([np.sin(x[1]) + 0.2, 0.7 * np.cos(x[0])]),
                         lambda x: np.array([[0, np.cos(x[1])], [-0.7 * np.sin(x[0]), 0]]), np.zeros(2), 2_000, 200)
    spectrum = lyapunov(calm, [0, 0], 2_000, transient=200)
    np.testing.assert_allclose(spectrum.exponents.sum(), expected.sum(), atol=1e-12)


# ---- what the arguments do -----------------------------------------------------------------------


def test_a_batch_is_a_loop():
    x0 = np.array([[1.0, 1, 20], [2, -3, 15]])
    both = lyapunov(LORENZ, x0, 2_000, 0.01)
    assert both.exponents.shape == (2, 3) and both.block_means.shape == (2, 32, 3) and both.kaplan_yorke.shape == (2,)
    for row, start in zip(both.exponents, x0, strict=True):
        np.testing.assert_allclose(row, lyapunov(LORENZ, start, 2_000, 0.01).exponents, atol=1e-6)
    assert "path 1" in str(both)


def test_a_batch_of_parameters_is_a_bifurcation_diagram_of_exponents():
    spectrum = lyapunov(LOGISTIC, [0.3], 20_000, p=[[3.2], [3.9], [4.0]])
    np.testing.assert_array_equal(spectrum.chaotic, [False, True, True])
    assert spectrum.exponents[2, 0] == pytest.approx(math.log(2), abs=1e-2)


def test_fewer_exponents_are_the_first_ones():
    all_of_them = lyapunov(LORENZ, [1, 1, 20], 5_000, 0.01, every=1)
    first = lyapunov(LORENZ, [1, 1, 20], 5_000, 0.01, k=1, every=1)
    assert first.exponents.shape == (1,) and math.isnan(first.kaplan_yorke)
    assert first.exponents[0] == pytest.approx(all_of_them.exponents[0], abs=5e-3)


@pytest.mark.parametrize("every", [1, 7, 20])
def test_how_often_one_orthonormalises_does_not_matter(every):
    a, b = (lyapunov(LORENZ, [1, 1, 20], 3_000, 0.01, every=e, blocks=4) for e in (every, None))
    np.testing.assert_allclose(a.exponents, b.exponents, atol=1e-7)
    assert a.every == every and 1 < b.every <= 20


def test_block_means_average_to_the_exponents_and_the_history_ends_there():
    spectrum = lyapunov(HENON, [0.1, 0.1], 32_000, blocks=32, every=10)
    np.testing.assert_allclose(spectrum.block_means.mean(axis=0), spectrum.exponents, atol=1e-12)
    np.testing.assert_allclose(spectrum.history[-1], spectrum.exponents, atol=1e-12)
    assert spectrum.time[-1] == 32_000 and spectrum.history.shape == (32, 2)


def test_the_error_bars_cover_the_truth_as_often_as_they_should():
    x0 = np.random.default_rng(0).uniform(-0.1, 0.1, (200, 2))
    spectrum = lyapunov(HENON, x0, 4_000)
    sigmas = (spectrum.exponents[:, 0] - 0.41922) / spectrum.error[:, 0]
    assert 0.5 < np.mean(np.abs(sigmas) < 1) < 0.9  # 0.68 of a normal distribution
    assert np.mean(np.abs(sigmas) < 3) > 0.95


def test_controls_are_constant_or_one_a_step_or_a_function_of_time():
    driven = adjoint.System(lambda t, x, u, p: [-x[0] + u[0] * x[0] * np.cos(x[0])], "x", "gain")
    constant = lyapunov(driven, [0.5], 400, 0.05, u=[0.4], transient=1_000)
    rows = lyapunov(driven, [0.5], 400, 0.05, u=np.full((1_400, 1), 0.4), transient=1_000)
    function = lyapunov(driven, [0.5], 400, 0.05, u=lambda t: [0.4], transient=1_000)
    assert constant.exponents == rows.exponents == function.exponents
    assert constant.exponents[0] == pytest.approx(-0.6, abs=1e-6)  # at x = 0


def test_time_goes_on_over_the_pieces():
    # x' = cos(t) x: the exponent over whole periods is 0, and over a quarter period (sin 1)/(π/2).
    forced = adjoint.System(lambda t, x, u, p: [np.cos(t) * x[0]], "x")
    h = math.pi / 200
    assert lyapunov(forced, [1.0], 400_000, h, transient=0).exponents[0] == pytest.approx(0, abs=1e-7)
    assert lyapunov(forced, [1.0], 100, h, transient=0, blocks=2).exponents[0] == pytest.approx(2 / math.pi, abs=1e-6)
    assert lyapunov(forced, [1.0], 100, h, transient=0, blocks=2, t0=math.pi).exponents[0] == pytest.approx(
        -2 / math.pi, abs=1e-6)


def network(gain, n=24):
    """A tanh cell with random recurrent weights of spectral radius about `gain`, compiled and traced."""
    cell = recurrent.Elman(n, 1)
    W = gain / math.sqrt(n) * np.random.default_rng(4).standard_normal((n, n))
    p = np.zeros(cell.system.n_p)
    p[cell.system.index("W_hh")[1]], p[cell.system.index("W_ih")[1]] = W.ravel(), 1.0
    return cell.system, p, adjoint.System(lambda t, h, u, p: np.tanh(W @ h + u[0]), f"h[{n}]", "u", discrete=True)


def test_a_compiled_cell_has_the_exponents_of_the_traced_one():
    cell, p, traced = network(0.8)
    a, b = lyapunov(cell, 0.1 * np.ones(24), 400, u=[0.3], p=p), lyapunov(traced, 0.1 * np.ones(24), 400, u=[0.3])
    np.testing.assert_allclose(a.exponents, b.exponents, atol=1e-6)
    assert a.exponents[0] < 0


def test_a_random_network_is_chaotic_above_gain_one():
    # Sompolinsky, Crisanti, Sommers, Phys. Rev. Lett. 61 (1988) 259.
    cell, p, _ = network(2.5)
    assert lyapunov(cell, 0.1 * np.ones(24), 1_000, u=[0.0], p=p, k=2).chaotic


def test_the_last_state_goes_on():
    first = lyapunov(HENON, [0.1, 0.1], 1_000, transient=0)
    assert np.all(np.abs(first.x) < 2)
    path = adjoint.rollout(HENON, [0.1, 0.1], steps=1_000)
    np.testing.assert_array_equal(first.x, path.x[-1])


def test_progress_is_told_and_an_interrupted_run_gives_what_it_has():
    told = []
    lyapunov(HENON, [0.1, 0.1], 5_000, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (5_500, 5_500) and told[0][0] == 100

    def interrupt(done, total):
        if done > 1_300_000:
            raise KeyboardInterrupt

    part = lyapunov(LOGISTIC, [0.3], 4_000_000, p=[4.0], progress=interrupt, transient=1_000_000)
    assert 300_000 <= part.steps < part.requested == 4_000_000
    assert "interrupted" in str(part)
    assert part.exponents[0] == pytest.approx(math.log(2), abs=1e-3)


def test_the_report_prints():
    text = str(lyapunov(LORENZ, [1, 1, 20], 5_000, 0.01))
    assert text.startswith("lorenz: Lyapunov exponents per unit of time, 5000 steps by rk4, h = 0.01")
    assert "Kaplan–Yorke dimension 2.0" in text and "±" in text


@pytest.mark.parametrize(("call", "message"), [
    (lambda: lyapunov(LORENZ, [1, 1, 20], 100), "pass the length of a step"),
    (lambda: lyapunov(LORENZ, [1, 1, 20], 100, 0.0), "finite number other than 0"),
    (lambda: lyapunov(LORENZ, [1, 1, 20], 100, 0.01, k=4), "from 1 to 3"),
    (lambda: lyapunov(LORENZ, [1, 1, 20], 1.5, 0.01), "steps is 1.5"),
    (lambda: lyapunov(LORENZ, [1, 1, 20], 100, 0.01, blocks=1), "from 2 to"),
    (lambda: lyapunov(LORENZ, [1, 1, 20], 100, 0.01, every=0), "positive integer"),
    (lambda: lyapunov(LORENZ, [1, 1, 20], 100, 0.01, transient=-1), "at least 0"),
    (lambda: lyapunov(LORENZ, [1, 1], 100, 0.01), "has shape"),
    (lambda: lyapunov(lorenz, [1, 1, 20], 100, 0.01), "expected a System"),
    (lambda: lyapunov(HENON, [0.1, 0.1], 100, u=np.zeros((7, 0))), "one row for each"),
    (lambda: covariant_vectors(HENON, [0.1, 0.1], 100, every=3), "a divisor"),
    (lambda: covariant_vectors(HENON, [[0.1, 0.1]], 100), "batch"),
])  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_path_that_escapes_is_named():
    with pytest.raises(AdjointError, match="henon"):
        lyapunov(HENON, [5.0, 5.0], 1_000)


# ---- covariant vectors ---------------------------------------------------------------------------


def test_covariant_vectors_are_mapped_onto_themselves():
    vectors = covariant_vectors(HENON, [0.1, 0.1], 500)
    for k in range(0, 500, 50):
        A = np.array([[-2.8 * vectors.x[k, 0], 1.0], [0.3, 0.0]])
        for i in range(2):
            image = A @ vectors.vectors[k, :, i]
            assert abs(image @ vectors.vectors[k + 1, :, i]) / np.linalg.norm(image) == pytest.approx(1, abs=1e-9)
            assert math.log(np.linalg.norm(image)) == pytest.approx(vectors.growth[k, i], abs=1e-9)
    np.testing.assert_allclose(np.linalg.norm(vectors.vectors, axis=1), 1, rtol=1e-12)


def test_their_growth_is_the_lyapunov_spectrum():
    vectors = covariant_vectors(HENON, [0.1, 0.1], 20_000, transient=500)
    np.testing.assert_allclose(vectors.exponents, [0.41922, -1.62319], atol=0.02)
    assert vectors.exponents.sum() == pytest.approx(math.log(0.3), abs=0.01)


def test_the_neutral_direction_of_a_flow_is_the_flow():
    vectors = covariant_vectors(LORENZ, [1, 1, 20], 2_000, 0.01, every=5)
    flow = np.array([lorenz(0, x, (), ()) for x in vectors.x])
    flow /= np.linalg.norm(flow, axis=1)[:, None]
    np.testing.assert_allclose(np.abs(np.einsum("tn,tn->t", flow, vectors.vectors[:, :, 1])), 1, atol=1e-8)
    assert vectors.t.shape == (401,) and vectors.growth.shape == (400, 3)


def test_covariant_vectors_of_a_linear_map_are_its_eigenvectors():
    A = np.array([[1.5, 2.0], [0.0, 0.5]])
    system = adjoint.System(lambda t, x, u, p: A @ x, "x y", discrete=True)
    vectors = covariant_vectors(system, [0, 0], 10, transient=100)
    np.testing.assert_allclose(np.abs(vectors.vectors[3]), np.array([[1.0, 2 / 5**0.5], [0, 1 / 5**0.5]]), atol=1e-12)
    np.testing.assert_allclose(vectors.exponents, np.log([1.5, 0.5]), atol=1e-12)
    np.testing.assert_allclose(vectors.angles(0, 1), math.acos(2 / 5**0.5), atol=1e-12)


def test_a_singular_map_has_no_covariant_vector_to_follow_back():
    system = adjoint.System(lambda t, x, u, p: [2.0 * x[0], 0.0 * x[1]], "x y", discrete=True)
    with pytest.raises(InputError, match="Pass k <= 1"):
        covariant_vectors(system, [0, 0], 20)
    assert covariant_vectors(system, [0, 0], 20, k=1).exponents == pytest.approx([math.log(2)])


def test_the_picture_shows_the_convergence(tmp_path):
    spectrum = lyapunov(HENON, [0.1, 0.1], 3_200)
    figure = spectrum.plot(tmp_path / "exponents.png")
    assert (tmp_path / "exponents.png").stat().st_size > 10_000
    assert len(figure.axes) == 2
    with pytest.raises(InputError, match="one path at a time"):
        lyapunov(HENON, [[0.1, 0.1]], 100).plot()


def test_an_orbit_that_explodes_is_told_with_its_step():
    explode = adjoint.System(lambda t, x, u, p: [x[0] ** 2], states="size")
    with pytest.raises(AdjointError, match=r"the state size .* is not finite after step 10\d \(t = 1\.0\d\)"):
        lyapunov(explode, [1.0], 1000, h=0.01)
