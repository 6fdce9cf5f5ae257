"""Transient growth: closed forms for a Jordan block, singular values at each point of a grid, inequalities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import ortho_group

from adjoint.analysis import (
    kreiss_constant,
    numerical_abscissa,
    numerical_radius,
    numerical_range,
    pseudospectral_abscissa,
    pseudospectral_radius,
    pseudospectrum,
    transient_growth,
)
from adjoint.errors import InputError
from adjoint.plot_stability import plot_pseudospectrum

JORDAN = np.array([[0.0, 1.0], [0.0, 0.0]])


def grcar(n):
    return sum(np.diag(np.ones(n - k), k) for k in range(4)) - np.diag(np.ones(n - 1), -1)


def by_svd(A, re, im):
    points = re + 1j * im[:, None]
    return np.linalg.svd(points[..., None, None] * np.eye(len(A)) - A, compute_uv=False)[..., -1]


def matrices(seed, n, kind=float):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) * 10.0 ** rng.uniform(-2, 2)
    return A + 1j * rng.standard_normal((n, n)) if kind is complex else A


# ---- pseudospectra -------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([float, complex]))
@settings(max_examples=30)
def test_the_grid_is_the_least_singular_value_at_each_point(seed, n, kind):
    A = matrices(seed, n, kind)
    size = np.linalg.norm(A, 2)
    re, im = np.linspace(-1.5, 1.5, 7) * size, np.linspace(-1, 1, 5) * size
    expected = by_svd(A, re, im)
    found = pseudospectrum(A, re, im, 1e-10)
    assert found.shape == (5, 7)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-13 * size)


def test_a_strongly_non_normal_matrix():
    A, re, im = grcar(48), np.linspace(-1, 3, 23), np.linspace(-3, 3, 21)
    expected = by_svd(A, re, im)
    np.testing.assert_allclose(pseudospectrum(A, re, im, 1e-9), expected, rtol=1e-6, atol=1e-14)
    loose = pseudospectrum(A, re, im, 1e-2)
    assert np.all(loose >= expected * (1 - 1e-7) - 1e-14) and np.all(loose <= 1.2 * expected)  # from above


def test_a_normal_matrix_has_its_distance_to_the_eigenvalues():
    A = np.diag([1.0, -1.0, 2.0])
    re, im = np.linspace(-3, 3, 13), np.linspace(0, 2, 5)
    distance = np.abs(re[None, :, None] + 1j * im[:, None, None] - np.diag(A)).min(axis=2)
    np.testing.assert_allclose(pseudospectrum(A, re, im, 1e-12), distance, atol=1e-11)
    assert pseudospectrum(A, [1.0], [0.0])[0, 0] == 0.0  # on an eigenvalue


def test_a_jordan_block_in_closed_form():
    # σ_min(zI - J)² is the smaller root of s² - (2|z|² + 1) s + |z|⁴ = 0.
    r = np.array([0.01, 0.1, 0.5, 1.0, 2.0])
    s = (2 * r**2 + 1 - np.sqrt(4 * r**2 + 1)) / 2
    np.testing.assert_allclose(pseudospectrum(JORDAN, r, [0.0])[0], np.sqrt(s), rtol=1e-8)


@pytest.mark.parametrize("eps", [1e-6, 1e-3, 0.1, 1.0, 10.0])
def test_abscissa_and_radius_of_a_jordan_block(eps):
    # σ_min(zI - J) = ε at |z|² = ε² + ε.
    expected = math.sqrt(eps**2 + eps)
    assert pseudospectral_abscissa(JORDAN, eps) == pytest.approx(expected, rel=1e-9)
    assert pseudospectral_radius(JORDAN, eps) == pytest.approx(expected, rel=1e-9)
    assert pseudospectral_abscissa(JORDAN - 3 * np.eye(2), eps) == pytest.approx(expected - 3, rel=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(-2.0, 0.5))
@example(2606, 4, 0.0)  # a midpoint that is a local minimum of the boundary
@settings(max_examples=25)
def test_no_point_of_a_grid_reaches_farther_and_the_boundary_is_attained(seed, n, decade):
    A = matrices(seed, n)
    size = np.linalg.norm(A, 2)
    eps = 10.0**decade * size
    abscissa, radius = pseudospectral_abscissa(A, eps), pseudospectral_radius(A, eps)
    re = np.linspace(-1, 1, 121) * (size + eps) * 1.02
    inside = pseudospectrum(A, re, re, 1e-6) <= eps * (1 - 1e-5)
    x, y = np.meshgrid(re, re)
    if inside.any():
        assert x[inside].max() <= abscissa * (1 + 1e-8) + 1e-8 * size
        assert np.hypot(x, y)[inside].max() <= radius * (1 + 1e-8)
    # Just beyond, nothing is inside; the line and the circle touch the boundary.
    line = by_svd(A, np.array([abscissa]), np.linspace(-1, 1, 2001) * (size + eps))
    circle = radius * np.exp(1j * np.linspace(0, math.pi, 2001))
    on_circle = np.linalg.svd(circle[:, None, None] * np.eye(n) - A, compute_uv=False)[:, -1]
    for values in (line, on_circle):
        assert values.min() == pytest.approx(eps, rel=2e-2)
        assert values.min() >= eps * (1 - 1e-6)


# ---- numerical range -----------------------------------------------------------------------------


def test_the_numerical_range_of_a_jordan_block_is_a_disc():
    np.testing.assert_allclose(np.abs(numerical_range(JORDAN, 24)), 0.5, rtol=1e-12)
    assert numerical_abscissa(JORDAN) == pytest.approx(0.5)
    assert numerical_radius(JORDAN) == pytest.approx(0.5)


@given(st.integers(0, 10**6), st.integers(1, 7), st.sampled_from([float, complex]))
@settings(max_examples=30)
def test_the_numerical_range_contains_quotients_and_its_radius_bounds_powers(seed, n, kind):
    A = matrices(seed, n, kind)
    rng = np.random.default_rng(seed + 1)
    boundary, radius = numerical_range(A, 720), numerical_radius(A)
    assert np.abs(boundary).max() <= radius * (1 + 1e-9)
    assert np.abs(boundary).max() >= radius * (1 - 1e-4)
    assert boundary.real.max() == pytest.approx(numerical_abscissa(A), abs=1e-9 * radius)
    x = rng.standard_normal((50, n)) + 1j * rng.standard_normal((50, n))
    quotients = np.einsum("bi,ij,bj->b", x.conj(), A, x) / np.einsum("bi,bi->b", x.conj(), x)
    assert np.all(np.abs(quotients) <= radius * (1 + 1e-9))
    norms = transient_growth(A, 6)
    assert np.all(norms <= math.log(2) + np.arange(7) * math.log(radius) + 1e-9)  # Berger, Pearcy


def test_the_numerical_radius_finds_narrow_peaks():
    A = np.diag(np.exp(1j * np.linspace(0, 0.9, 4)) * [1, 1, 1, 1.001])
    assert numerical_radius(A) == pytest.approx(1.001, rel=1e-9)
    assert numerical_radius(np.zeros((3, 3))) == 0.0


# ---- growth and Kreiss' constant -----------------------------------------------------------------


def test_powers_of_a_jordan_block():
    A = np.array([[0.9, 1.0], [0.0, 0.9]])
    k = np.arange(60)
    # Aᵏ = 0.9ᵏ [[1, c], [0, 1]], c = k/0.9: norm √(1 + c²/4) + c/2.
    c = k / 0.9
    np.testing.assert_allclose(transient_growth(A, 59), k * math.log(0.9) + np.log(np.sqrt(1 + c**2 / 4) + c / 2),
                               atol=1e-11)


def test_powers_and_exponentials_beyond_the_range_of_floats():
    A = np.array([[3.0, 1.0], [0.0, 2.0]])
    assert transient_growth(A, 2000)[-1] == pytest.approx(2000 * math.log(3) + math.log(math.sqrt(2)), rel=1e-9)
    assert transient_growth(A, times=[1000.0])[0] == pytest.approx(3000 + math.log(math.sqrt(2)), rel=1e-9)


def test_the_exponential_starts_with_the_numerical_abscissa_and_is_scipys():
    A = np.array([[-1.0, 8.0], [0.0, -2.0]])
    t = np.array([1e-6, 0.5, 2.0])
    growth = transient_growth(A, times=t)
    assert growth[0] / 1e-6 == pytest.approx(numerical_abscissa(A), rel=1e-4)
    np.testing.assert_allclose(np.exp(growth), [np.linalg.norm(expm(s * A), 2) for s in t], rtol=1e-12)
    complex_one = np.array([[0.5j, 2.0], [0, 0.3]])
    expected = [np.linalg.norm(np.linalg.matrix_power(complex_one, k), 2) for k in range(8)]
    np.testing.assert_allclose(np.exp(transient_growth(complex_one, 7)), expected, rtol=1e-12)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_kreiss_constant_is_bracketed_by_a_grid_and_brackets_the_growth(continuous, seed):
    rng = np.random.default_rng(seed)
    A = np.triu(rng.standard_normal((4, 4)), 1) * 4 + np.diag(rng.uniform(0.2, 0.8, 4))
    if continuous:
        A = A - np.eye(4)
    K = kreiss_constant(A, continuous, 1e-3)
    assert 1 <= K.lower <= K.upper <= K.lower * 1.002
    # The supremum over a grid of z is no larger, and nearly as large.
    r = np.geomspace(1e-4, 1e2, 300)
    z = (np.exp(1j * np.linspace(0, math.pi, 181)) * (1 + r[:, None]) if not continuous
         else r[:, None] + 1j * np.linspace(-4, 4, 201))
    sigma = np.linalg.svd(z[..., None, None] * np.eye(4) - A, compute_uv=False)[..., -1]
    quotient = (z.real if continuous else np.abs(z) - 1) / sigma
    assert 0.99 * K.lower <= quotient.max() <= K.upper * (1 + 1e-9)
    # Attained at z.
    at = np.linalg.svd(K.z * np.eye(4) - A, compute_uv=False)[-1]
    assert (K.z.real if continuous else abs(K.z) - 1) / at == pytest.approx(K.lower, rel=1e-12)
    growth = transient_growth(A, times=np.linspace(0, 30, 601)) if continuous else transient_growth(A, 300)
    assert K.lower * 0.99 <= np.exp(growth.max()) <= K.growth_bound
    assert K.growth_bound == pytest.approx(math.e * 4 * K.upper)


def test_kreiss_constant_of_normal_and_of_unstable_matrices():
    Q = ortho_group.rvs(4, random_state=0)
    assert kreiss_constant(Q @ np.diag([0.9, 0.5, -0.3, 0.1]) @ Q.T).upper <= 1.01
    assert kreiss_constant(np.diag([-1.0, -2.0]), continuous=True).upper <= 1.01
    assert kreiss_constant([[1.1]]).lower == math.inf
    assert kreiss_constant([[0.1]], continuous=True).lower == math.inf
    assert kreiss_constant([[1.0, 1.0], [0.0, 1.0]]).lower > 1e3  # defective on the unit circle
    assert kreiss_constant(np.zeros((2, 2))).lower == 1


@pytest.mark.parametrize(("call", "message"), [
    (lambda: pseudospectrum(np.ones((2, 3)), [0], [0]), r"\(2, 3\); expected a square matrix"),
    (lambda: pseudospectrum([[math.nan]], [0], [0]), r"nan at \(0, 0\)"),
    (lambda: pseudospectrum("abc", [0], [0]), "no array of numbers"),
    (lambda: pseudospectrum([[1.0]], [math.inf], [0]), "finite coordinates"),
    (lambda: pseudospectrum([[1.0]], [0], [0], 0.0), "between 0 and 1"),
    (lambda: pseudospectral_abscissa([[1.0]], 0.0), "eps is 0.0"),
    (lambda: pseudospectral_radius([[1.0]], -1.0), "positive number"),
    (lambda: kreiss_constant([[0.5]], tolerance=2.0), "between 0 and 1"),
    (lambda: transient_growth([[1.0]]), "one of the two"),
    (lambda: transient_growth([[1.0]], 3, [1.0]), "one of the two"),
    (lambda: transient_growth([[1.0]], 0), "positive integer"),
    (lambda: transient_growth([[1.0]], times=[math.nan]), "finite numbers"),
])  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_picture_of_a_pseudospectrum(tmp_path):
    plot_pseudospectrum(grcar(16), file=tmp_path / "grcar.png")
    assert (tmp_path / "grcar.png").stat().st_size > 20_000
    assert plot_pseudospectrum(np.eye(2), np.linspace(0, 2, 20), np.linspace(-1, 1, 20)).axes
