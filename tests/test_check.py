"""The checks accept what is right and refuse what is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from adjoint.check import check_complex_step, check_gradient
from adjoint.errors import InputError
from adjoint.sweeps import rollout, sweep
from adjoint.system import System


def pendulum(t, x, u, p):
    return [x[1], u[0] * np.cos(t) - p[0] * np.sin(x[0]) + p[1] * x[1] ** 3]


PENDULUM = System(pendulum, "angle speed", "torque", "k c")


def J(z):
    return np.sum(np.exp(0.3 * z) * np.sin(z))


def dJ(z):
    return np.exp(0.3 * z) * (0.3 * np.sin(z) + np.cos(z))


def test_a_right_gradient_has_rate_two():
    report = check_gradient(J, dJ, np.linspace(-1, 2, 7))
    assert report.rate == pytest.approx(2.0, abs=0.01)
    assert report
    assert "rate 2.00" in str(report)


def test_a_slightly_wrong_gradient_has_rate_one():
    report = check_gradient(J, lambda z: 1.01 * dJ(z), np.linspace(-1, 2, 7))
    assert report.rate == pytest.approx(1.0, abs=0.05)
    assert not report
    assert "WRONG" in str(report)


def test_a_wrong_entry_is_seen_along_its_direction_only():
    z = np.linspace(-1, 2, 7)
    wrong = dJ(z) + 0.1 * np.eye(7)[3]
    assert not check_gradient(J, wrong, z, np.eye(7)[3])
    assert check_gradient(J, wrong, z, np.eye(7)[4])


def test_a_linear_function_passes_by_round_off():
    report = check_gradient(lambda z: 3 * z[0, 1], [[0, 3.0]], [[1.0, 2.0]])
    assert report.rate == np.inf
    assert "round-off" in str(report)


def test_a_wrong_gradient_of_a_linear_function_fails():
    assert not check_gradient(lambda z: 3 * z[0], [2.9], [1.0])


@given(st.integers(0, 10**6), st.floats(-11, -8))
def test_noise_in_the_function_does_not_condemn_a_right_gradient_nor_pardon_a_wrong_one(seed, digits):
    rng, size = np.random.default_rng(seed), 10.0**digits
    c, x = rng.uniform(0.5, 2, 3), rng.uniform(0.3, 1, 3)

    def noisy(z):
        return np.sum(np.exp(c * z)) * (1 + size * rng.uniform(-1, 1))

    right = c * np.exp(c * x)
    assert check_gradient(noisy, right, x, noise=size).passed
    for wrong in (1.2 * right, right + np.array([0, 0, 0.5]), 0 * right):
        assert not check_gradient(noisy, wrong, x, right - wrong, noise=size).passed  # in other directions it is right


def test_the_gradient_of_a_rollout():
    t, x0 = np.linspace(0, 2, 41), [0.5, 0.0]
    u = np.sin(t[:-1, None])

    def cost(p):
        return 0.5 * np.sum(rollout(PENDULUM, x0, u, t, p).x ** 2)

    path = rollout(PENDULUM, x0, u, t, [2.0, -0.1])
    assert check_gradient(cost, sweep(path, dx=path.x).p, [2.0, -0.1]).rate == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(gradient=[1.0]), r"gradient has shape \(1,\); x has shape \(2,\)"),
        (dict(direction=[1.0]), r"direction has shape \(1,\)"),
        (dict(direction=[0.0, 0.0]), "direction is zero"),
        (dict(f=lambda z: np.log(-z[0])), "one finite number"),
        (dict(f=lambda z: z), "one finite number"),
        (dict(eps=-1.0), "eps is -1.0"),
        (dict(halvings=1), "at least 3"),
        (dict(noise=0.0), "noise is 0.0"),
    ],
)
def test_bad_input_to_the_taylor_test(change, words):
    arguments = dict(f=J, gradient=dJ, x=[1.0, 2.0]) | change
    with np.errstate(invalid="ignore"), pytest.raises(InputError, match=words):
        check_gradient(arguments.pop("f"), arguments.pop("gradient"), arguments.pop("x"), **arguments)


def test_complex_step_agrees():
    report = check_complex_step(PENDULUM, [0.3, -1.2], [0.5], [2.0, 0.1], t=0.7)
    assert report.error < 1e-14
    assert report
    assert "agree" in str(report)
    assert report.compiled[2][1] == pytest.approx([-np.sin(0.3), (-1.2) ** 3], rel=1e-15)


def test_complex_step_of_another_function_differs():
    report = check_complex_step(
        PENDULUM, [0.3, -1.2], [0.5], [2.0, 0.1], f=lambda t, x, u, p: pendulum(t, x, u, [p[0], 1.001 * p[1]])
    )
    assert not report
    assert "DIFFER" in str(report)


def test_complex_step_counts_nan_as_a_difference():
    def nan_in_the_last_jacobian(t, x, u, p):
        return np.array(pendulum(t, x, u, p)) + (np.nan * 1j if p[1].imag else 0)

    assert not check_complex_step(PENDULUM, [0.3, -1.2], [0.5], [2.0, 0.1], f=nan_in_the_last_jacobian)


def test_complex_step_of_kernels():
    @njit
    def step(t, h, x, u, p, x_next):
        x_next[0] = np.tanh(p[0] * x[0]) + h * x[1]
        x_next[1] = x[0] * x[1]

    def make(factor):
        @njit
        def vjp(t, h, x, u, p, lam_next, lam, gu, gp):
            d = (1 - np.tanh(p[0] * x[0]) ** 2) * lam_next[0]
            lam[0] = p[0] * d + x[1] * lam_next[1]
            lam[1] = factor * h * lam_next[0] + x[0] * lam_next[1]
            gp[0] += x[0] * d

        return System.from_kernels(step, vjp, states="a b", parameters="w")

    assert check_complex_step(make(1.0), [0.3, 0.5], (), [0.7], h=0.1)
    assert not check_complex_step(make(1.001), [0.3, 0.5], (), [0.7], h=0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(x=[1.0], u=[0.0], p=[1.0, 1.0]), r"x has shape \(1,\); system 'pendulum' takes \(2,\)"),
        (dict(x=[1.0, 2.0], u=[0.0]), r"p has shape \(0,\)"),
        (
            dict(x=[1.0, 2.0], u=[0.0], p=[1.0, 1.0], f=lambda t, x, u, p: [float(x[0]), 0]),
            "does not run on complex numbers",
        ),
        (dict(x=[1.0, 2.0], u=[0.0], p=[1.0, 1.0], f=lambda t, x, u, p: x[0]), "returned 1 numbers"),
    ],
)
def test_bad_input_to_the_complex_step(arguments, words):
    with pytest.raises(InputError, match=words):
        check_complex_step(PENDULUM, **arguments)
