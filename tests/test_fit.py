"""Parameter estimation: exact derivatives, published optima, honest intervals, problems that explode, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from measured import (
    BOYS,
    COLD,
    HARES,
    LYNXES,
    METHANOL,
    METHANOL_T,
    PINENE,
    PINENE_T,
    THEOPHYLLINE,
    YEARS,
)
from scipy import linalg, optimize, stats

import adjoint
from adjoint.errors import AdjointError, InputError
from adjoint.ode import Adaptive, Experiment, FixedGrid, GaussNewton, QuasiNewton, fit
from adjoint.ode.fit import _nodes
from adjoint.ode.fit_data import prepare
from adjoint.ode.fit_residuals import Residuals


def lotka_volterra(t, x, u, p):
    return [p[0] * x[0] - p[1] * x[0] * x[1], p[3] * x[0] * x[1] - p[2] * x[1]]


def mixed(t, x, u, p):
    return [-(p[0] + u[0]) * x[0] + p[1] * np.sin(x[1]), p[1] * x[0] * x[1] - p[2] * np.sqrt(1 + x[1] ** 2) * t]


PREY = adjoint.System(lotka_volterra, "hare lynx", parameters="a b c d", name="hare and lynx")
MIXED = adjoint.System(mixed, "x y", controls="u", parameters="k l m")
DECAY = adjoint.System(lambda t, x, u, p: [-p[0] * x[0]], "x", parameters="rate", name="decay")
LINE = adjoint.System(lambda t, x, u, p: [p[0]], "x", parameters="slope", name="line")
RATES = [0.5, 0.02, 0.8, 0.02]


def hares_and_lynxes(last_lynx=8.6, **more):
    values = np.stack([HARES, LYNXES], axis=1)
    values[-1, 1] = last_lynx
    return Experiment(YEARS, values, x0=[30, 4], free="hare lynx", logarithmic=True, **more)


# ---- derivatives ---------------------------------------------------------------------------------

KNOTS, U = np.array([0.0, 0.4, 1.0]), np.array([[0.5], [-0.3]])
TIMES = np.array([0.0, 0.2, 0.5, 0.75, 1.0])


def mixed_experiment(logarithmic=False, free="x y"):
    values = np.random.default_rng(0).uniform(0.5, 1.5, (5, 3))
    values[1, 0] = values[3, 2] = np.nan
    return Experiment(TIMES, values, x0=[1.0, 0.4], free=free, sigma=[0.1, 0.2, 0.3], logarithmic=logarithmic, u=U,
                      knots=KNOTS, observe=lambda t, x, p: [2 + x[0] * p[2], np.exp(x[1]), 3 + x[0] + t])


def residuals_of(by, shooting=1, **more):
    experiments = [prepare(MIXED, mixed_experiment(**more), 0)]
    nodes = [_nodes(shooting, 0.0, 1.0)]
    return Residuals(MIXED, experiments, np.array([0.7, 1.2, 0.4]), np.array([0, 1, 2]), by, nodes)


def rk4_residuals(theta, logarithmic):
    """The residuals of `mixed_experiment` by RK4 with steps of 0.05 in plain, complex NumPy."""
    e = mixed_experiment(logarithmic)
    p, x, t, h, out = theta[:3], theta[3:5], 0.0, 0.05, []

    def f(t, x, u):
        return np.array(mixed(t, x, u, p))

    for k in range(21):
        if np.isclose(t, TIMES, atol=1e-9).any():
            out.append([2 + x[0] * p[2], np.exp(x[1]), 3 + x[0] + t])
        u = U[0 if t < 0.4 - 1e-9 else 1]
        k1 = f(t, x, u)
        k2 = f(t + h / 2, x + h / 2 * k1, u)
        k3 = f(t + h / 2, x + h / 2 * k2, u)
        k4 = f(t + h, x + h * k3, u)
        x, t = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), 0.05 * (k + 1)
    y, v = np.array(out), np.asarray(e.values)
    r = (np.log(y) - np.log(v) if logarithmic else y - v) / np.asarray(e.sigma)
    return r[~np.isnan(v)]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_the_jacobian_is_that_of_complex_steps(logarithmic):
    problem = residuals_of(FixedGrid(0.05), logarithmic=logarithmic)
    here = problem.evaluate(problem.theta)
    expected = np.stack([
        rk4_residuals(problem.theta + 1e-40j * e, logarithmic).imag / 1e-40 for e in np.eye(5)], axis=1)
    np.testing.assert_allclose(here.r, rk4_residuals(problem.theta, logarithmic), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(here.J, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("by", [Adaptive(), FixedGrid(0.05)])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_the_sweep_gives_the_gradient_that_the_tangents_give(by, logarithmic):
    problem = residuals_of(by, logarithmic=logarithmic)
    cost, g = problem.gradient(problem.theta)
    here = problem.evaluate(problem.theta)
    assert cost == pytest.approx(0.5 * here.r @ here.r, rel=1e-14)
    np.testing.assert_allclose(g, here.J.T @ here.r, rtol=1e-10)


@pytest.mark.parametrize("by", [Adaptive(rtol=1e-12, atol=1e-12), FixedGrid(0.05)])
def test_shooting_has_the_jacobians_of_differences(by):
    problem = residuals_of(by, shooting=3, free="y")
    here = problem.evaluate(problem.theta)
    assert here.J.shape == (13, 8) and here.J_c.shape == (4, 8)
    for j in range(8):
        e = 1e-6 * np.eye(8)[j]
        (r1, c1), (r0, c0) = problem.values(problem.theta + e), problem.values(problem.theta - e)
        np.testing.assert_allclose(here.J[:, j], (r1 - r0) / 2e-6, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(here.J_c[:, j], (c1 - c0) / 2e-6, rtol=1e-5, atol=1e-7)


# ---- published optima ----------------------------------------------------------------------------


def test_hares_and_lynxes():
    result = fit(PREY, hares_and_lynxes(), RATES)
    # B. Carpenter's posterior means are 0.55, 0.028, 0.80, 0.024, start 34, 5.9, sigma 0.25: with priors, of medians.
    assert result.success and not result.warnings
    np.testing.assert_allclose(result.p, [0.55, 0.028, 0.80, 0.024], rtol=0.03)
    np.testing.assert_allclose(result.x0[0], [34, 5.9], rtol=0.03)
    assert result.scale == pytest.approx(0.25, rel=0.06)
    # An independent solver from elsewhere finds the same place.
    near = result.theta * [1.1, 0.9, 1.1, 0.9, 1, 1]
    independent = optimize.least_squares(log_residuals_by_scipy, near, x_scale="jac")
    np.testing.assert_allclose(result.theta, independent.x, rtol=1e-4)
    assert result.cost == pytest.approx(2 * independent.cost, rel=1e-7)


def log_residuals_by_scipy(theta):
    from scipy.integrate import solve_ivp

    y = solve_ivp(lambda t, x: lotka_volterra(t, x, (), theta[:4]), (1900, 1920), theta[4:], t_eval=YEARS, rtol=1e-8,
                  atol=1e-8).y
    return (np.log(y) - np.log([HARES, LYNXES])).ravel()


def test_hares_and_lynxes_as_another_source_prints_them():
    # The package pints has 8.1 as its last number, and rates 0.538, 0.0271, 0.800, 0.0238 were found from it.
    result = fit(PREY, hares_and_lynxes(last_lynx=8.1), RATES)
    np.testing.assert_allclose(result.p, [0.5379, 0.0271, 0.8003, 0.02380], rtol=2e-3)
    np.testing.assert_allclose(result.x0[0], [34.62, 5.805], rtol=1e-3)


def test_three_ways_to_the_same_place():
    reference = fit(PREY, hares_and_lynxes(), RATES)
    for more in (dict(solver=QuasiNewton()), dict(shooting=4), dict(by=FixedGrid(0.02))):
        other = fit(PREY, hares_and_lynxes(), RATES, **more)
        np.testing.assert_allclose(other.values, reference.values, rtol=2e-5)
        np.testing.assert_allclose(other.stderr, reference.stderr, rtol=1e-4)
        assert other.cost == pytest.approx(reference.cost, rel=1e-7) and other.discontinuity <= 1e-9


def test_influenza_in_a_boarding_school():
    def school(t, x, u, p):
        infections = p[0] * x[0] * x[1] / 763
        return [-infections, infections - p[1] * x[1]]

    system = adjoint.System(school, "S I", parameters="beta gamma")
    result = fit(system, Experiment(np.arange(14.0), {"I": BOYS}, x0=[762, 1], free="I"), [1.5, 0.5])
    # beta 1.788, gamma 0.456, I(0) 2.09, RMSE 16.0 by an independent fit, with S(0) = 763 - I(0).
    np.testing.assert_allclose(result.values, [1.788, 0.456, 2.09], rtol=0.01)
    assert math.sqrt(result.cost / 14) == pytest.approx(16.0, abs=0.05)


def test_a_cold_on_tristan_da_cunha():
    def island(t, x, u, p):
        return [-p[0] * x[0] * x[1], p[0] * x[0] * x[1] - p[1] * x[1], p[1] * x[1]]

    system = adjoint.System(island, "S I R", parameters="gamma v")
    e = Experiment(np.arange(1.0, 22), dict(I=COLD[:, 0], R=COLD[:, 1]), x0=[38, 1, 0], free="S")
    result = fit(system, e, [0.026, 0.285])
    np.testing.assert_allclose(result.values, [0.0205, 0.2673, 40.28], rtol=2e-3)
    assert math.sqrt(result.cost / 42) == pytest.approx(1.86, abs=0.005)


def test_alpha_pinene():
    def pinene(t, y, u, p):
        a, b, c, d, e = p
        return [-(a + b) * y[0], a * y[0], b * y[0] - (c + d) * y[2] + e * y[4], c * y[2], d * y[2] - e * y[4]]

    system = adjoint.System(pinene, "y1 y2 y3 y4 y5", parameters="a b c d e")
    result = fit(system, Experiment(PINENE_T, PINENE, x0=[100, 0, 0, 0, 0], t0=0), [1e-4] * 5,
                 bounds=dict.fromkeys("abcde", (0, 1)), by=Adaptive(rtol=1e-10))
    # COPS 3.0 has 19.8721 by collocation. The system is linear: the matrix exponential gives the digits beyond.
    def residuals(p):
        a, b, c, d, e = p
        A = np.array([[-a - b, 0, 0, 0, 0], [a, 0, 0, 0, 0], [b, 0, -c - d, 0, e], [0, 0, c, 0, 0], [0, 0, d, 0, -e]])
        return np.concatenate([linalg.expm(A * t)[:, 0] * 100 for t in PINENE_T]) - PINENE.ravel()

    exact = optimize.least_squares(residuals, result.p * 1.1, x_scale="jac", ftol=1e-15, xtol=1e-15, gtol=1e-15)
    assert result.cost == pytest.approx(19.8721, abs=1e-4)
    assert result.cost == pytest.approx(2 * exact.cost, rel=1e-8)
    np.testing.assert_allclose(result.p, [5.92584878e-5, 2.96340211e-5, 2.047284e-5, 2.7446793e-4, 3.9979499e-5],
                               rtol=1e-6)


def test_methanol_with_a_rate_on_its_bound():
    def methanol(t, y, u, p):
        Q = (p[1] + p[4]) * y[0] + y[1]
        return [-(2 * p[1] - p[0] * y[1] / Q + p[2] + p[3]) * y[0],
                p[0] * y[0] * (p[1] * y[0] - y[1]) / Q + p[2] * y[0],
                p[0] * y[0] * (y[1] + p[4] * y[0]) / Q + p[3] * y[0]]

    system = adjoint.System(methanol, "y1 y2 y3", parameters="t[5]")
    result = fit(system, Experiment(METHANOL_T, METHANOL, x0=[1, 0, 0]), [1.0] * 5, bounds=dict(t=(0, 10)),
                 by=Adaptive(rtol=1e-10))
    assert result.cost == pytest.approx(9.022289916e-3, rel=1e-8)
    np.testing.assert_allclose(result.p, [1.775181, 2.167983, 1.857560, 1.802447, 0], rtol=2e-6, atol=1e-9)
    assert list(result.at_bound) == [False] * 4 + [True]
    assert result.stderr[4] == 0 and result.freedom == 47 and "on its bound" in str(result)


def test_theophylline_in_twelve_people():
    def one_compartment(t, x, u, p):
        absorbed = np.exp(p[0]) * x[0]
        return [-absorbed, absorbed - np.exp(p[1]) * x[1]]

    system = adjoint.System(one_compartment, "gut blood", parameters="ln_ka ln_ke ln_V", name="theophylline")
    squares, estimates = 0.0, []
    for dose, t, c in THEOPHYLLINE:
        e = Experiment(t, np.array(c)[:, None], x0=[dose, 0], observe=lambda t, x, p: x[1] / np.exp(p[2]))
        result = fit(system, e, np.log([1.5, 0.09, 0.45]))
        squares += result.cost
        ka, ke, V = np.exp(result.p)
        estimates.append((max(ka, ke), min(ka, ke), ke * V))
    # RMSE 0.597 mg/l, medians ka 1.42/h, ke 0.090/h, clearance 0.043 l/h/kg by an independent fit.
    assert math.sqrt(squares / 132) == pytest.approx(0.597, abs=0.001)
    np.testing.assert_allclose(np.median(estimates, axis=0), [1.42, 0.090, 0.043], rtol=0.02)


def bock(t, x, u, p):
    return [x[1], 60**2 * x[0] - (60**2 + p[0] ** 2) * np.sin(p[0] * t)]


BOCK = adjoint.System(bock, "x v", parameters="p")
MOMENTS = np.linspace(0.025, 1, 40)


def bock_experiment(noise=0.0, **more):
    truth = np.stack([np.sin(np.pi * MOMENTS), np.pi * np.cos(np.pi * MOMENTS)], axis=1)
    values = truth + noise * np.random.default_rng(0).standard_normal(truth.shape)
    return Experiment(MOMENTS, values, x0=[0, np.pi], t0=0, **more)


@pytest.mark.parametrize("intervals", [10, 20])
@pytest.mark.parametrize("guess", [1.0, 5.0])
def test_an_unstable_system_by_multiple_shooting(intervals, guess):
    result = fit(BOCK, bock_experiment(), [guess], shooting=intervals)
    assert result.success and result.discontinuity < 1e-9
    assert abs(result["p"] - np.pi) < 1e-6


def test_an_unstable_system_by_single_shooting_says_that_it_is_stuck():
    result = fit(BOCK, bock_experiment(), [1.0])
    assert any("worse than a constant" in warning and "shooting" in warning for warning in result.warnings)


def test_an_unstable_system_with_noise_and_a_free_start():
    result = fit(BOCK, bock_experiment(noise=0.05, free="x v"), [2.5], shooting=20)
    assert result.success
    low, high = result.intervals(0.99)[0]
    assert low < np.pi < high and result.stderr[0] < 0.01
    assert result.scale == pytest.approx(0.05, rel=0.2)


# ---- how sure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_the_covariance_is_that_of_curve_fit(known):
    t = np.linspace(0, 3, 15)
    y = 2 * np.exp(-0.8 * t) + 0.05 * np.random.default_rng(3).standard_normal(15)
    sigma = np.linspace(0.03, 0.08, 15) if known else None
    e = Experiment(t, dict(x=y), x0=[1], free="x", sigma=None if sigma is None else sigma[:, None])
    result = fit(DECAY, e, [1.0])
    values, covariance = optimize.curve_fit(lambda t, k, a: a * np.exp(-k * t), t, y, [1, 1], sigma, known)
    np.testing.assert_allclose(result.values, values, rtol=1e-6)
    np.testing.assert_allclose(result.covariance, covariance, rtol=1e-4)
    half = (stats.norm.ppf(0.95) if known else stats.t(13).ppf(0.95)) * np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(result.intervals(0.9), np.stack([values - half, values + half], axis=1), rtol=1e-4)
    np.testing.assert_allclose(np.diag(result.correlation), 1)
    assert result.freedom == 13 and result.known_sigma == known


def test_intervals_cover_the_truth_as_often_as_they_say():
    t, truth = np.linspace(0, 4, 12), np.array([0.9, 2.0])
    random = np.random.default_rng(11)
    covered = np.zeros(2)
    runs = 150
    for _ in range(runs):
        y = 2 * np.exp(-0.9 * t) + 0.1 * random.standard_normal(12)
        result = fit(DECAY, Experiment(t, y[:, None], x0=[1.5], free="x"), [1.2], by=FixedGrid(0.2))
        low, high = result.intervals(0.9).T
        covered += (low < truth) & (truth < high)
    # 90 % of 150: within three standard deviations of the binomial law. Normal quantiles would make it 0.86.
    assert (np.abs(covered / runs - 0.9) < 3 * math.sqrt(0.09 / runs)).all()


def test_the_profile_of_a_linear_model_is_its_interval():
    t = np.linspace(0, 1, 8)
    y = 1 + 2 * t + 0.1 * np.random.default_rng(5).standard_normal(8)
    result = fit(LINE, Experiment(t, y[:, None], x0=[0], free="x"), [0.0])
    np.testing.assert_allclose(result.profile("slope", 0.9), result.intervals(0.9)[0], rtol=1e-3)
    alone = fit(LINE, Experiment(t, y[:, None], x0=[1.0]), [0.0])
    np.testing.assert_allclose(alone.profile("slope"), alone.intervals()[0], rtol=1e-3)


def test_the_profile_of_a_curved_model_is_not_symmetric():
    result = fit(PREY, hares_and_lynxes(), RATES)
    low, high = result.profile("a")
    assert low < result["a"] < high
    assert 1.03 < (high - result["a"]) / (result["a"] - low) < 1.5
    with pytest.raises(InputError, match="is an initial state"):
        result.profile("hare(1900)")


def test_what_cannot_be_told_apart_is_named():
    twins = adjoint.System(lambda t, x, u, p: [-(p[0] + p[1]) * x[0] + 0 * p[2]], "x", parameters="a b c")
    t = np.linspace(0, 3, 10)
    e = Experiment(t, np.exp(-t)[:, None] + 0.01 * np.sin(99 * t)[:, None], x0=[1])
    result = fit(twins, e, [0.3, 0.2, 0.7], fixed="c")
    (warning,) = result.warnings
    assert "say nothing about one combination: changing a +" in warning and ", b " in warning
    assert np.isinf(result.stderr).all() and "not determined" in str(result)
    result = fit(twins, e, [0.3, 0.2, 0.7], fixed=["b"])
    (warning,) = result.warnings
    assert "say nothing about c (" in warning
    assert list(np.isinf(result.stderr)) == [False, True]
    assert result.profile("c")[1] == math.inf


def test_what_is_known_well_is_not_called_vague_because_something_else_is_known_better():
    lines = adjoint.System(lambda t, x, u, p: [p[0], p[1]], "x y", parameters="large small")
    t, noise = np.linspace(0, 1, 20), np.random.default_rng(0).standard_normal((20, 2))
    for size, warned in ((1e-3, False), (1.0, True)):
        result = fit(lines, Experiment(t, np.stack([1e7 * t, t], axis=1) + size * noise, x0=[0, 0]), [9e6, 2.0])
        assert (result.stderr[1] > 0.01 * result["small"]) == warned == bool(result.warnings)
        assert all("hardly say anything about small (" in warning for warning in result.warnings)


# ---- data ----------------------------------------------------------------------------------------


def test_missing_values_are_not_there():
    t = np.linspace(0, 2, 9)
    y = np.exp(-0.7 * t) + 0.02 * np.cos(9 * t)
    full = fit(DECAY, Experiment(t[::2], y[::2, None], x0=[1], free="x"), [1.0])
    holes = y.copy()
    holes[1::2] = np.nan
    sparse = fit(DECAY, Experiment(t, holes[:, None], x0=[1], free="x"), [1.0])
    np.testing.assert_allclose(sparse.values, full.values, rtol=1e-9)
    np.testing.assert_allclose(sparse.stderr, full.stderr, rtol=1e-6)
    assert np.isnan(sparse.residuals[0][1::2]).all() and sparse.freedom == full.freedom


def test_experiments_share_parameters_and_have_their_own_start():
    t = np.linspace(0, 2, 9)
    experiments = [Experiment(t, (a * np.exp(-0.7 * t))[:, None], x0=[1], free="x") for a in (3.0, 5.0)]
    result = fit(DECAY, experiments, [1.0])
    assert result.names == ("rate", "x(0) of 0", "x(0) of 1")
    np.testing.assert_allclose(result.values, [0.7, 3, 5], rtol=1e-7)
    np.testing.assert_allclose(np.ravel(result.x0), [3, 5], rtol=1e-7)
    assert fit(DECAY, experiments, dict(rate=1.0), shooting=3)["rate"] == pytest.approx(0.7, rel=1e-7)


def test_a_map_is_fitted_too():
    growth = adjoint.System(lambda t, x, u, p: [x[0] + p[0] * x[0] * (1 - x[0] / p[1])], "x", parameters="r K",
                            discrete=True)
    path = adjoint.rollout(growth, [0.5], steps=12, p=[0.6, 4.0]).x
    result = fit(growth, Experiment(np.arange(0.0, 13, 3), path[::3], x0=[0.5]), [0.4, 3.0], by=FixedGrid(1.0))
    np.testing.assert_allclose(result.p, [0.6, 4.0], rtol=1e-8)
    with pytest.raises(InputError, match="is discrete"):
        fit(growth, Experiment(np.arange(13.0), path, x0=[0.5]), [0.4, 3.0])


def test_bounds_hold_and_are_reported():
    t = np.linspace(0, 2, 9)
    result = fit(DECAY, Experiment(t, np.exp(-t)[:, None], x0=[1]), [0.3], bounds=dict(rate=(0, 0.5)))
    assert result["rate"] == pytest.approx(0.5, abs=1e-8) and result.at_bound[0] and result.stderr[0] == 0
    for solver in (GaussNewton(), QuasiNewton()):
        result = fit(DECAY, Experiment(t, np.exp(-t)[:, None], x0=[0.9], free="x"), [0.3], solver=solver,
                     bounds=dict(x=(0.2, 0.95)))
        assert result["x(0)"] == pytest.approx(0.95, abs=1e-6)


@pytest.mark.parametrize("solver", [GaussNewton(), QuasiNewton()])
@pytest.mark.parametrize("unit", [1e-10, 1e-7, 1e8])
def test_estimates_do_not_depend_on_the_units_of_measurement(solver, unit):
    t = np.linspace(0, 2, 9)
    values = (3 * np.exp(-0.7 * t) + 0.01 * np.cos(40 * t))[:, None]

    def found(unit):
        experiment = Experiment(t, unit * values, x0=[2.5 * unit], free="x")
        return fit(DECAY, experiment, [1.0], solver=solver, by=Adaptive(rtol=1e-10, atol=1e-12 * unit)).values

    np.testing.assert_allclose(found(unit) / [1, unit], found(1.0), rtol=1e-7)


@pytest.mark.parametrize("solver", [GaussNewton(), QuasiNewton()])
def test_a_small_unknown_is_found_next_to_a_large_one(solver):
    """A step is not small because the largest unknown hardly moves."""
    system = adjoint.System(lambda t, x, u, p: [p[0] * 1e-12, -p[1] * 1e6 * x[1]], "x y", parameters="large small")
    t = np.linspace(0, 1, 5)
    values = np.stack([3 * t, np.exp(-2 * t)], axis=1)
    result = fit(system, Experiment(t, values, x0=[0, 1]), [3e12, 1e-6], solver=solver)
    np.testing.assert_allclose(result.values, [3e12, 2e-6], rtol=1e-6)


# ---- manners -------------------------------------------------------------------------------------


def test_progress_and_interruption():
    seen = []

    def watch(evaluation, cost):
        seen.append((evaluation, cost))
        if evaluation == 6:
            raise KeyboardInterrupt

    result = fit(PREY, hares_and_lynxes(), RATES, progress=watch)
    assert [k for k, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert not result.success and "interrupted after 6 evaluations" in result.message
    assert result.cost == pytest.approx(min(cost for _, cost in seen), rel=1e-12)


def test_limits_are_told():
    result = fit(PREY, hares_and_lynxes(), RATES, solver=GaussNewton(max_evaluations=3))
    assert not result.success and "stopped after 3 evaluations" in result.message
    result = fit(PREY, hares_and_lynxes(), RATES, solver=QuasiNewton(max_iterations=3))
    assert not result.success and "stopped after 3 iterations" in result.message
    result = fit(PREY, hares_and_lynxes(), RATES, shooting=4, solver=GaussNewton(multipliers=1))
    assert not result.success and "stopped with gaps" in result.message


def test_a_result_prints_is_frozen_and_draws_itself(tmp_path):
    result = fit(PREY, hares_and_lynxes(sigma=0.25), RATES)
    text = str(result)
    for piece in ("hare and lynx: converged.", "hare(1900)", "95 % interval", "chi-square", "36 degrees of freedom"):
        assert piece in text
    with pytest.raises(ValueError, match="read-only"):
        result.values[0] = 1.0
    with pytest.raises(AttributeError):
        result.p = 1
    figure = result.plot(tmp_path / "fit.png")
    assert (tmp_path / "fit.png").stat().st_size > 20_000
    assert [ax.get_ylabel() for ax in figure.axes] == ["hare", "log residual / σ", "lynx", "log residual / σ"]
    t, y = result.simulate()
    np.testing.assert_allclose(y[0], result.fitted[0][0], rtol=1e-9)
    assert t[0] == 1900 and t[-1] == 1920 and y.shape == (t.size, 2)
    with pytest.raises(InputError, match="was not estimated"):
        result["hair(1900)"]
    with pytest.raises(InputError, match="level is 95"):
        result.intervals(95)


T3 = [0.0, 1.0, 2.0]
GOOD = dict(t=T3, values=[[1.0], [0.4], [0.1]], x0=[1.0])
BAD_DATA = [
    (dict(t=[0.0, 2.0, 1.0]), "increasing times"),
    (dict(t=[0.0, np.nan, 1.0]), "t of experiment 0 has an entry that is not finite"),
    (dict(t0=0.5), "t0 of experiment 0 is 0.5"),
    (dict(values=[[1.0], [2.0]]), r"values of experiment 0 have shape \(2, 1\)"),
    (dict(values=[[1.0], [np.inf], [1.0]]), "infinite"),
    (dict(values=[[np.nan]] * 3), "all nan"),
    (dict(values={"y": [1, 2, 3]}), "nothing called 'y'"),
    (dict(values={"x": [1, 2]}), "must agree"),
    (dict(values={"x": [1, 2, 3]}, observe=lambda t, x, p: x), "expected one of them"),
    (dict(values=[[1.0], [-0.4], [0.1]], logarithmic=True), "not all positive"),
    (dict(x0=[1.0, 2.0]), "x0 of experiment 0 has shape"),
    (dict(x0="one"), "no array of real numbers"),
    (dict(free="rate"), "is a parameter; expected names of states"),
    (dict(free="y"), "nothing called 'y'"),
    (dict(sigma=0.0), "not positive and finite"),
    (dict(sigma=[1.0, 2.0]), "must broadcast"),
]
BAD_CALLS = [
    (dict(p=[1.0, 2.0]), "finite guesses of the 1 parameters"),
    (dict(p=[np.nan]), "finite guesses"),
    (dict(p=dict(rat=1.0)), "unknown names rat"),
    (dict(p={}), "p has no rate"),
    (dict(fixed="rate"), "nothing is free"),
    (dict(fixed="x"), "is a state; expected names of parameters"),
    (dict(bounds=dict(rate=(1, 0))), "lower < upper"),
    (dict(bounds=dict(x=(0, 1))), "it is not estimated"),
    (dict(shooting=0), "expected a number of intervals"),
    (dict(shooting=[0.0, 1.0]), "increasing nodes between"),
    (dict(shooting=2, solver=QuasiNewton()), "is done by GaussNewton"),
    (dict(by=FixedGrid(-1.0)), "step is -1"),
]


@pytest.mark.parametrize(("change", "message"), BAD_DATA, ids=range(len(BAD_DATA)))
def test_bad_data_is_named(change, message):
    with pytest.raises(InputError, match=message):
        fit(DECAY, Experiment(**(GOOD | change)), [1.0])


@pytest.mark.parametrize(("change", "message"), BAD_CALLS, ids=range(len(BAD_CALLS)))
def test_bad_arguments_are_named(change, message):
    with pytest.raises(InputError, match=message):
        fit(DECAY, Experiment(**GOOD), **(dict(p=[1.0]) | change))


def test_other_bad_input():
    with pytest.raises(InputError, match="expected a System"):
        fit(lotka_volterra, hares_and_lynxes(), RATES)
    with pytest.raises(InputError, match="there are no experiments"):
        fit(DECAY, [], [1.0])
    with pytest.raises(InputError, match="experiment 1 is list"):
        fit(DECAY, [Experiment(**GOOD), [1, 2]], [1.0])
    with pytest.raises(InputError, match="for all or for none"):
        fit(DECAY, [Experiment(**GOOD), Experiment(**GOOD, sigma=1.0)], [1.0])
    with pytest.raises(InputError, match="1 measurements for 2 estimates"):
        fit(DECAY, Experiment([1.0], [[1.0]], x0=[1.0], t0=0.0, free="x"), [1.0])
    blow = adjoint.System(lambda t, x, u, p: [p[0] * x[0] ** 2], "x", parameters="a")
    with pytest.raises(AdjointError, match="the first run of experiment 0 fails.*shooting=10"):
        fit(blow, Experiment(**GOOD), [5.0])
    with pytest.raises(AdjointError, match="has no finite logarithm"):
        fit(LINE, Experiment(**GOOD, logarithmic=True), [-3.0])


def test_a_guess_outside_of_its_bounds_is_refused_and_a_fit_that_does_not_fit_says_so():
    t = np.linspace(0, 3, 31)
    wave = np.sin(4 * t)[:, None]
    with pytest.raises(InputError, match=r"the guess of 'rate', 5, is outside of its bounds \(0, 1\)"):
        fit(DECAY, Experiment(t, wave, x0=[1]), dict(rate=5.0), bounds=dict(rate=(0, 1)))
    result = fit(DECAY, Experiment(t, wave, x0=[1], sigma=0.01), dict(rate=0.5), bounds=dict(rate=(0, 1)))
    assert any("times as large as sigma says" in w or "worse than a constant" in w for w in result.warnings)
    noise = 0.01 * np.random.default_rng(0).normal(size=(31, 1))
    good = fit(DECAY, Experiment(t, np.exp(-0.7 * t)[:, None] + noise, x0=[1], sigma=0.01), dict(rate=0.5))
    assert good.warnings == ()
