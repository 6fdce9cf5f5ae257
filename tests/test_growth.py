"""Growth along a trajectory: products of Jacobians, the report, shooting."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

import adjoint
from adjoint import analysis, recurrent
from adjoint.analysis.products import log_norms, log_norms_backward, orthogonal_growth, product_svd, transposed
from adjoint.errors import AdjointError, InputError


def lorenz(t, x, u, p):
    return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]


def linear(A, m=0):
    """x⁺ = A x (+ the controls on the first states)."""
    A = np.asarray(A, dtype=float)
    n = len(A)
    return adjoint.System(lambda t, x, u, p: A @ x, states=f"x[{n}]", discrete=True, name="linear")


def path_of(A, steps, x0=None):
    return adjoint.rollout(linear(A), np.ones(len(A)) if x0 is None else x0, steps=steps)


LORENZ = adjoint.System(lorenz, "a b c")


@pytest.fixture(scope="module")
def chaos():
    return adjoint.rollout(LORENZ, [1, 1, 20], t=np.linspace(0, 30, 3001))


def rows_of_integers(rng, N, n):
    """Small integers: products of them are exact in Python's integers."""
    return rng.integers(-3, 4, (N, n, n)).astype(float)


# ---- products ------------------------------------------------------------------------------------


def exact_product(A):
    P = np.eye(A.shape[1], dtype=object).astype(int).astype(object)
    for step in A:
        P = step.astype(int).astype(object) @ P
    return P


def log_of(integer):
    """log |integer|, beyond the range of floats."""
    shift = max(0, abs(integer).bit_length() - 60)
    return math.log(abs(integer) >> shift) + shift * math.log(2)


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 40))
@settings(max_examples=40)
def test_the_sum_of_the_logarithms_is_the_determinant_and_the_first_is_the_norm(seed, n, N):
    A = rows_of_integers(np.random.default_rng(seed), N, n) + 3 * np.eye(n)
    logs = product_svd(A).logs
    P = exact_product(A)
    # Frobenius' norm of the exact product, in integers, is that of the singular values.
    size = sum(int(entry) ** 2 for entry in P.ravel())
    if size == 0:
        assert np.all(logs == -np.inf) or logs[0] < -30 * N
        return
    known = logs[np.isfinite(logs)]
    assert 0.5 * log_of(size) == pytest.approx(logs[0] + 0.5 * math.log(np.exp(2 * (known - logs[0])).sum()), abs=1e-9)
    determinants = np.rint(np.linalg.det(A))
    if np.all(determinants != 0):
        assert logs.sum() == pytest.approx(np.log(np.abs(determinants)).sum(), abs=1e-7)


@pytest.mark.parametrize("rates", [(2.0, 0.5), (1.0, 1e-20, 3.0), (1.1, 1.0, 0.9, 0.0)])
def test_a_diagonal_system_has_the_powers_of_its_entries(rates):
    N = 900
    A = np.tile(np.diag(rates), (N, 1, 1))
    with np.errstate(divide="ignore"):
        expected = np.sort(N * np.log(rates))[::-1]
    np.testing.assert_allclose(product_svd(A).logs, expected, rtol=1e-13, atol=1e-10)
    np.testing.assert_allclose(log_norms(A), np.arange(N + 1) * np.log(max(rates)), rtol=1e-13, atol=1e-10)


def test_singular_values_beyond_the_range_of_floats_where_elimination_order_is_against_them():
    # Unstable direction last: plain QR iteration from the identity never leaves the weak eigenvector.
    A = np.tile([[0.5, 1.0], [0.0, 2.0]], (2000, 1, 1))
    logs = product_svd(A).logs
    # P = [[2^-N, (2^N - 2^-N)/1.5], [0, 2^N]], det 1: σ_1 = 2^N √(1 + 4/9) to all digits, σ_2 = 1/σ_1.
    expected = 2000 * math.log(2) + 0.5 * math.log(1 + 4 / 9)
    np.testing.assert_allclose(logs, [expected, -expected], rtol=1e-12)


@pytest.mark.parametrize("N", [1, 7, 50])
def test_powers_of_a_jordan_block(N):
    # J^N = [[1, N], [0, 1]]: σ = √(1 + N²/4) ± N/2.
    logs = product_svd(np.tile([[1.0, 1.0], [0.0, 1.0]], (N, 1, 1))).logs
    s = math.sqrt(1 + N**2 / 4) + N / 2
    np.testing.assert_allclose(logs, [math.log(s), -math.log(s)], rtol=1e-12)


def test_rotations_neither_grow_nor_shrink():
    A = ortho_group.rvs(4, size=300, random_state=1)
    np.testing.assert_allclose(product_svd(A).logs, 0, atol=1e-12)
    np.testing.assert_allclose(log_norms(A), 0, atol=1e-12)
    np.testing.assert_allclose(log_norms_backward(A), 0, atol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 30))
@settings(max_examples=30)
def test_forward_and_backward_share_their_singular_values(seed, n, N):
    A = np.random.default_rng(seed).standard_normal((N, n, n))
    forward, backward = product_svd(A), product_svd(transposed(A))
    np.testing.assert_allclose(forward.logs, backward.logs, rtol=1e-9, atol=1e-9)
    assert log_norms(A)[-1] == pytest.approx(log_norms_backward(A)[0], abs=1e-10)
    assert log_norms(A)[-1] == pytest.approx(forward.logs[0], abs=1e-10)


def test_directions_are_orthonormal_and_mapped_onto_each_other():
    rng = np.random.default_rng(3)
    A = rng.standard_normal((12, 5, 5))
    P = np.linalg.multi_dot(A[::-1])
    logs, W, V = product_svd(A)
    np.testing.assert_allclose(W.T @ W, np.eye(5), atol=1e-13)
    np.testing.assert_allclose(V.T @ V, np.eye(5), atol=1e-13)
    np.testing.assert_allclose(W * np.exp(logs) @ V.T, P, atol=1e-12 * np.linalg.norm(P))
    s = np.linalg.svd(P, compute_uv=False)
    np.testing.assert_allclose(np.exp(logs[:3]), s[:3], rtol=1e-9)


def test_a_long_chain_of_neighbouring_singular_values_is_not_taken_for_noise():
    n = 80
    C, D = ortho_group.rvs(n, random_state=3), np.diag(0.5 ** np.arange(n))  # 1 … 1e-24, each half of the one before
    logs = product_svd(np.array([C, D])).logs
    np.testing.assert_allclose(logs, -np.arange(n) * math.log(2), atol=1e-12)
    logs = product_svd(np.array([C, D, np.eye(n) + 0.1 * C])).logs
    determinant = np.linalg.slogdet(np.eye(n) + 0.1 * C)[1] - n * (n - 1) / 2 * math.log(2)
    assert logs.sum() == pytest.approx(determinant, abs=1e-9)


def test_an_orthogonal_change_of_coordinates_changes_nothing():
    rng = np.random.default_rng(4)
    A, Q = rng.standard_normal((60, 4, 4)), ortho_group.rvs(4, random_state=2)
    np.testing.assert_allclose(product_svd(Q @ A @ Q.T).logs, product_svd(A).logs, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(log_norms(Q @ A @ Q.T), log_norms(A), atol=1e-11)


def test_qr_of_a_singular_map_draws_a_new_direction():
    growth = orthogonal_growth(np.array([np.diag([2.0, 0.0, 1.0])]), np.eye(3), keep=True)
    np.testing.assert_array_equal(growth.logs, [[math.log(2), -np.inf, 0.0]])
    np.testing.assert_allclose(growth.Q.T @ growth.Q, np.eye(3), atol=1e-15)


def test_directions_stay_orthonormal_where_they_nearly_fall_together():
    rng = np.random.default_rng(5)
    nearly = np.ones((1, 12, 12)) + 1e-9 * rng.standard_normal((1, 12, 12))
    Q = orthogonal_growth(nearly, np.eye(12)).Q
    np.testing.assert_allclose(Q.T @ Q, np.eye(12), atol=1e-14)


@pytest.mark.parametrize("every", [1, 3, 10, 1000])
def test_how_often_one_orthonormalises_does_not_matter(every):
    A = np.eye(4) + 0.1 * np.random.default_rng(6).standard_normal((100, 4, 4))
    growth = orthogonal_growth(A, np.eye(4), every)
    assert growth.logs.shape == (-(-100 // every), 4)
    np.testing.assert_allclose(growth.logs.sum(axis=0), orthogonal_growth(A, np.eye(4)).logs.sum(axis=0), atol=1e-10)


# ---- the report ----------------------------------------------------------------------------------


def test_spectra_of_the_steps_are_numpys(chaos):
    report = adjoint.stability(chaos)
    k = 1234
    np.testing.assert_allclose(np.sort_complex(report.eigenvalues[k]), np.sort_complex(np.linalg.eigvals(report.A[k])))
    np.testing.assert_allclose(report.singular_values[k], np.linalg.svd(report.A[k])[1])
    assert report.spectral_radius[k] == np.abs(report.eigenvalues[k]).max()
    assert report.N == 3000


def test_the_costate_of_the_sweep_keeps_its_bound_and_attains_it_along_the_growing_direction(chaos):
    plain = adjoint.stability(chaos)
    assert plain.bound_holds and 0.1 < plain.excess <= 1 + 1e-9
    # Seeded along the left singular vector, λ_0 is as large as it can be, and points along the growing direction.
    best = adjoint.stability(chaos, seed=plain.grown[:, 0])
    assert best.log_costate[0] == pytest.approx(best.log_backward[0], abs=1e-6)
    direction = best.costate[0] / np.linalg.norm(best.costate[0])
    assert abs(direction @ plain.growing[:, 0]) == pytest.approx(1, abs=1e-6)
    assert best.bound_holds


def test_the_bound_is_reported_as_broken_if_it_is():
    report = adjoint.stability(path_of(0.5 * np.eye(2), 10))
    broken = type(report)(**{**{f: getattr(report, f) for f in report.__dataclass_fields__},
                             "costate": 1.01 * report.costate})
    assert not broken.bound_holds and "FAILS" in str(broken)


def test_the_tangent_of_the_growing_direction_grows_by_the_singular_value():
    path = adjoint.rollout(LORENZ, [1, 1, 20], t=np.linspace(0, 5, 501))
    report = adjoint.stability(path)
    dx = adjoint.tangent(path, x0=report.growing[:, 0])
    assert math.log(np.linalg.norm(dx[-1])) == pytest.approx(report.log_singular[0], abs=1e-8)
    np.testing.assert_allclose(dx[-1] / np.linalg.norm(dx[-1]), report.grown[:, 0], atol=1e-7)


def test_finite_time_exponents_sum_to_the_mean_divergence(chaos):
    assert adjoint.stability(chaos).exponents.sum() == pytest.approx(-41 / 3, abs=2e-3)  # RK4's error at h = 0.01


def test_exponents_and_growth_of_a_linear_system_are_those_of_its_eigenvalues():
    A = 0.9 * np.array([[0.8, -0.6], [0.6, 0.8]])
    report = adjoint.stability(path_of(A, 50))
    np.testing.assert_allclose(report.exponents, math.log(0.9), rtol=1e-12)
    assert report.growth_per_step == pytest.approx(0.9, rel=1e-12)
    np.testing.assert_allclose(report.spectral_radius, 0.9, rtol=1e-12)


def test_horizons_of_vanishing_and_exploding():
    shrinking, growing = (adjoint.stability(path_of([[rate]], 400)) for rate in (0.9, 1.1))
    assert shrinking.vanishing_horizon(8) == math.floor(8 / -math.log10(0.9)) + 1 == 175
    assert shrinking.exploding_horizon(8) is None
    assert growing.exploding_horizon(8) == math.floor(8 / math.log10(1.1)) + 1
    assert growing.vanishing_horizon(8) is None
    assert "vanishes" in shrinking.sentence and "175 steps" in shrinking.sentence
    with pytest.raises(InputError, match="positive number of powers of ten"):
        growing.vanishing_horizon(0)


def test_a_gradient_that_vanishes_and_comes_back_has_not_vanished():
    rates = np.r_[np.full(50, 10.0), np.full(50, 0.1)]

    def f(t, x, u, p):
        return [u[0] * x[0]]

    path = adjoint.rollout(adjoint.System(f, "x", "rate", discrete=True), [1e-30], rates)
    report = adjoint.stability(path)
    assert report.log_backward[50] == pytest.approx(-50 * math.log(10))
    assert report.vanishing_horizon(8) is None
    assert report.transient == pytest.approx(50)


def test_time_shift_changes_nothing():
    t = np.linspace(0, 2, 201)
    first, later = (adjoint.stability(adjoint.rollout(LORENZ, [1, 1, 20], t=t + s)) for s in (0.0, 1000.0))
    np.testing.assert_allclose(first.log_forward, later.log_forward, atol=1e-9)
    np.testing.assert_allclose(first.exponents, later.exponents, atol=1e-8)


def test_a_batch_gives_a_report_for_each_path():
    x0 = np.array([[1.0, 1, 20], [2, -1, 15], [0, 3, 30]])
    t = np.linspace(0, 1, 101)
    reports = adjoint.stability(adjoint.rollout(LORENZ, x0, t=t))
    assert len(reports) == 3
    for report, start in zip(reports, x0, strict=True):
        single = adjoint.stability(adjoint.rollout(LORENZ, start, t=t))
        np.testing.assert_allclose(report.log_singular, single.log_singular, atol=1e-9)
        np.testing.assert_allclose(report.costate, single.costate, rtol=1e-12, atol=1e-12)
        assert report.trajectory.batch is None


def test_a_compiled_cell_is_a_system_like_any_other():
    cell = recurrent.Elman(8, 2)
    p, u = cell.init(seed=1), np.random.default_rng(2).standard_normal((40, 2))
    report = adjoint.stability(adjoint.rollout(cell.system, np.zeros(8), u, p=p))
    assert report.bound_holds
    P = np.linalg.multi_dot(report.A[::-1])
    assert report.log_singular[0] == pytest.approx(math.log(np.linalg.norm(P, 2)), abs=1e-10)


def test_one_state_and_one_step():
    report = adjoint.stability(path_of([[0.9]], 1))
    assert report.exponents == pytest.approx([math.log(0.9)])
    assert "1 state" in str(report) and "harmless" in report.sentence


def test_a_map_that_forgets_everything_says_so():
    report = adjoint.stability(path_of(np.zeros((2, 2)), 3))
    assert report.growth_per_step == 0 and np.all(report.exponents == -np.inf)
    assert "singular map" in report.sentence and "nan" not in str(report)
    assert report.vanishing_horizon() == 1


def test_the_sentence_has_the_number(chaos):
    report = adjoint.stability(chaos)
    decades = round(report.transient)
    assert f"perturbations grow by 1e{decades} over this horizon" in report.sentence
    assert f"Shoot from {report.shooting(1e4).intervals} intervals" in report.sentence
    assert str(report).startswith("lorenz: perturbations grow")


def test_reports_are_read_only_and_travel(chaos):
    report = adjoint.stability(path_of([[0.9]], 5))
    with pytest.raises(ValueError, match="read-only"):
        report.A[0, 0, 0] = 1
    assert pickle.loads(pickle.dumps(report)).sentence == report.sentence


def test_costates_that_overflow_are_left_out_of_the_bound():
    report = adjoint.stability(path_of([[1e4]], 100, x0=[0.0]))
    assert np.isinf(report.costate).any()
    assert report.log_backward[0] == pytest.approx(100 * math.log(1e4))
    assert report.bound_holds and "1e400" in report.sentence


@pytest.mark.parametrize(("call", "message"), [
    (lambda: adjoint.stability(3), "expected the Trajectory"),
    (lambda: adjoint.stability(path_of([[1.0]], 2), seed=[0.0]), "not all zero"),
    (lambda: adjoint.stability(path_of([[1.0]], 2), seed=[1.0, 2.0]), "1 finite numbers"),
    (lambda: adjoint.stability(path_of([[1.0]], 2)).shooting(1.0), "greater than 1"),
])  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_trajectory_that_is_not_finite_is_named_by_state_and_step():
    explosive = adjoint.System(lambda t, x, u, p: [0.5 * x[0], x[1] ** 3], "calm wild", discrete=True)
    path = adjoint.rollout(explosive, [1, 1e10], steps=20, allow_nonfinite=True)
    first = int(np.argmin(np.isfinite(path.x[:, 1])))
    with pytest.raises(InputError, match=rf"the state wild is inf at knot {first} "):
        adjoint.stability(path)


def test_a_jacobian_out_of_range_is_named_by_its_step():
    steep = adjoint.System(lambda t, x, u, p: [1e200 * x[0]], "x", discrete=True, name="steep")
    with pytest.raises(AdjointError, match="'steep': the Jacobian of step 0"):
        adjoint.stability(adjoint.rollout(steep, [0.0], steps=2))


# ---- shooting ------------------------------------------------------------------------------------


def test_intervals_keep_the_amplification_below_the_bound_and_none_could_be_longer(chaos):
    report = adjoint.stability(chaos)
    cut = report.shooting(100.0)
    assert cut.met and cut.knots[0] == 0 and cut.knots[-1] == report.N
    for j, (first, last) in enumerate(zip(cut.knots[:-1], cut.knots[1:], strict=True)):
        growth = np.exp(log_norms(report.A[first:last]))
        assert growth.max() == pytest.approx(cut.amplification[j])
        if last < report.N:
            assert np.exp(log_norms(report.A[first : last + 1]))[-1] > 100
    assert report.shooting(1e6).intervals < cut.intervals


def test_a_step_above_the_bound_cannot_be_cut():
    cut = adjoint.stability(path_of([[10.0]], 4)).shooting(5.0)
    np.testing.assert_array_equal(cut.knots, [0, 1, 2, 3, 4])
    assert not cut.met


def test_multiple_shooting_is_well_conditioned_where_single_shooting_is_hopeless():
    # x'' = 900 x, x(0) and x(1) given: e^30 between the ends, and a well-posed problem.
    wall = adjoint.System(lambda t, x, u, p: [30 * x[1], 30 * x[0]], "x v")
    path = adjoint.rollout(wall, [0, 0], t=np.linspace(0, 1, 601))
    report = adjoint.stability(path)
    start, end = np.array([[1.0, 0], [0, 0]]), np.array([[0.0, 0], [1, 0]])
    cut = report.shooting(10.0)
    condition = analysis.shooting_condition(report.A, start, end, cut.knots)
    # The rows (1, 0) and (cosh 30, sinh 30): σ = √2 cosh 30 and 1/√2.
    assert condition.single == pytest.approx(2 * math.cosh(30), rel=1e-3)
    assert condition.multiple < 100
    assert condition.intervals == cut.intervals > 10
    whole = analysis.shooting_condition(report.A, start, end, [0, report.N])
    assert whole.multiple > 1e10


@pytest.mark.parametrize(("arguments", "message"), [
    ((np.ones(3), np.eye(1), np.eye(1), [0, 1]), r"expected \(N, n, n\)"),
    ((np.ones((2, 1, 1)), np.eye(2), np.eye(1), [0, 2]), "start and end have shapes"),
    ((np.ones((2, 1, 1)), np.eye(1), np.eye(1), [0, 1]), "increasing from 0 to 2"),
])  # fmt: skip
def test_shooting_condition_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(InputError, match=message):
        analysis.shooting_condition(*arguments)


def test_overflowing_shooting_matrices_have_an_infinite_condition():
    A = np.full((400, 1, 1), 10.0)
    condition = analysis.shooting_condition(A, np.eye(1), np.eye(1), [0, 400])
    assert condition.single == math.inf == condition.multiple


def test_the_picture_shows_growth_and_bound(chaos, tmp_path):
    figure = adjoint.stability(chaos).plot(tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 20_000
    labels = [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    assert any("bound" in label for label in labels) and any("sweep" in label for label in labels)
    assert len(adjoint.stability(path_of(np.zeros((2, 2)), 3)).plot().axes) >= 4
