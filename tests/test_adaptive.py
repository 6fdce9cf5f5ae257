"""The adaptive integrator against SciPy, and how its failures read."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from adjoint.adaptive import propagate, restarts
from adjoint.errors import AdjointError, InputError
from adjoint.method import BS3, DOP853, DOPRI5, RK4
from adjoint.system import System


def oscillator(t, x, u, p):
    return [x[1], p[0] * (1 - x[0] ** 2) * x[1] - x[0] + u[0] * np.cos(t) + u[1]]


SYSTEM = System(oscillator, "a b", "v w", "mu")
P = [1.5]
T = np.linspace(0, 6, 13) ** 1.05
X0 = [2.0, 0.0]


def scipy_path(U, c, x_start=None):
    """Interval by interval, with the control's polynomial by NumPy; from x_start[k] in each if given."""
    path = [np.array(X0)]
    for k in range(len(T) - 1):
        polynomials = [
            np.polynomial.Polynomial.fit(c, U[k, :, e], len(c) - 1, domain=[0, 1], window=[0, 1]) for e in range(2)
        ]

        def f(t, x, k=k, polynomials=polynomials):
            tau = (t - T[k]) / (T[k + 1] - T[k])
            return oscillator(t, x, [q(tau) for q in polynomials], P)

        start = path[-1] if x_start is None else x_start[k]
        path.append(solve_ivp(f, (T[k], T[k + 1]), start, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1])
    return np.array(path)


@pytest.mark.parametrize("c", [[0.0], [0.5], [0.0, 1.0], [0.0, 0.5, 1.0], [0.1, 0.3, 0.8, 0.95]], ids=str)
@pytest.mark.parametrize("method", [DOP853, DOPRI5], ids=lambda m: m.name)
def test_it_agrees_with_scipy(c, method):
    U = np.random.default_rng(len(c)).standard_normal((len(T) - 1, len(c), 2))
    x = propagate(SYSTEM, X0, U, T, P, nodes=c, rtol=1e-12, atol=1e-12, method=method)
    assert np.abs(x - scipy_path(U, c)).max() < 1e-9


def test_defects_are_those_of_each_interval_by_itself():
    rng = np.random.default_rng(0)
    U, x = rng.standard_normal((len(T) - 1, 2, 2)), rng.standard_normal((len(T), 2))
    ends = restarts(SYSTEM, x, U, T, P, nodes=[0, 1])
    assert ends.shape == (len(T) - 1, 2)
    assert np.abs(ends - scipy_path(U, [0, 1], x)[1:]).max() < 1e-9
    assert np.array_equal(ends, restarts(SYSTEM, x[:-1], U, T, P, nodes=[0, 1]))


def test_a_continuous_run_has_no_defects():
    U = np.random.default_rng(1).standard_normal((len(T) - 1, 2))
    x = propagate(SYSTEM, X0, U, T, P, rtol=1e-12)
    assert np.abs(restarts(SYSTEM, x, U, T, P, rtol=1e-12) - x[1:]).max() < 1e-11


@pytest.mark.parametrize("method", [DOP853, DOPRI5, BS3], ids=lambda m: m.name)
def test_the_error_follows_the_tolerance(method):
    U = np.random.default_rng(2).standard_normal((len(T) - 1, 2))
    exact = propagate(SYSTEM, X0, U, T, P, rtol=1e-13, atol=1e-14)
    tolerances = np.array([1e-5, 1e-7, 1e-9])
    errors = np.array(
        [np.abs(propagate(SYSTEM, X0, U, T, P, rtol=r, atol=r, method=method) - exact).max() for r in tolerances]
    )
    assert (errors < 300 * tolerances).all()
    assert (errors > 1e-4 * tolerances).all()  # and is not bought with needless steps
    assert errors[2] < 0.01 * errors[0]


def test_there_and_back():
    swing = System(lambda t, x, u, p: [x[1], u[0] * t - np.sin(x[0])], "angle speed", "u")
    t, U = np.linspace(0, 3, 7), np.random.default_rng(3).standard_normal((6, 2, 1))
    x = propagate(swing, [1.0, 0.0], U, t, nodes=[0.2, 0.9])
    back = propagate(swing, x[-1], U[::-1, ::-1], t[::-1], nodes=[0.1, 0.8])
    assert np.abs(back[::-1] - x).max() < 1e-8


def test_rest_stays_at_rest():
    still = System(lambda t, x, u, p: [0 * x[0]], "a")
    assert propagate(still, [0.0], t=[0, 5, 100]).ravel().tolist() == [0, 0, 0]


def test_a_short_interval_does_not_slow_the_next_one_down():
    swing = System(lambda t, x, u, p: [x[1], -np.sin(x[0])], "angle speed")
    propagate(swing, [1.0, 0.0], t=[0, 1, 1 + 1e-9, 2], rtol=1e-8, atol=1e-8, max_steps=6)


def test_exact_for_polynomials():
    clock = System(lambda t, x, u, p: [3 * t**2, u[0]], "a b", "u")
    x = propagate(clock, [0.0, 0.0], [[[0.0], [1.0]], [[1.0], [3.0]]], [0.0, 1.0, 2.0], nodes=[0, 1])
    assert x == pytest.approx(np.array([[0, 0], [1, 0.5], [8, 2.5]]), abs=1e-13)


def test_a_blow_up_is_a_sentence():
    with pytest.raises(AdjointError, match=r"stopped in interval 1 \(t = 0.5 … 2\).*too short for double precision"):
        propagate(System(lambda t, x, u, p: [x[0] ** 2], "x", name="blow up"), [1.0], t=[0, 0.5, 2])


def test_the_end_of_the_domain_is_a_sentence():
    with pytest.raises(AdjointError, match=r"interval 0 .*inf or nan however short"):
        propagate(System(lambda t, x, u, p: [np.log(0.5 - t)], "x"), [1.0], t=[0, 2])


def test_nan_from_the_start_is_a_sentence():
    with pytest.raises(AdjointError, match="inf or nan"):
        propagate(System(lambda t, x, u, p: [np.sqrt(x[0])], "x"), [-1.0], t=[0, 1])


def test_too_many_steps_is_a_sentence():
    with pytest.raises(AdjointError, match=r"took 50 steps without reaching its end. Raise max_steps"):
        propagate(System(lambda t, x, u, p: [-1e6 * (x[0] - t)], "x"), [1.0], t=[0, 1], max_steps=50)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(x0=[1.0]), r"x0 has shape \(1,\); expected \(2,\)"),
        (dict(x0=[1.0, np.nan]), "x0 of system 'oscillator' has an entry that is not finite"),
        (dict(u=np.zeros((3, 2))), r"u has shape \(3, 1, 2\); expected \(2, 1, 2\)"),
        (dict(u=None), "u"),
        (dict(p=None), r"p has shape \(0,\)"),
        (dict(t=[0, 1, 1]), "increase, or decrease"),
        (dict(t=[0]), "expected"),
        (dict(nodes=[0, 0]), "distinct fractions"),
        (dict(nodes=[-0.1]), "distinct fractions"),
        (dict(rtol=-1.0), "nonnegative"),
        (dict(rtol=0.0, atol=0.0), "not both zero"),
        (dict(max_steps=0), "positive integer"),
        (dict(method=RK4), "no embedded partner"),
    ],
)
def test_bad_input(change, words):
    arguments = dict(x0=X0, u=np.zeros((2, 2)), t=[0, 1, 2], p=P) | change
    with pytest.raises(InputError, match=words):
        propagate(SYSTEM, **arguments)


def test_bad_states_to_restart_from():
    with pytest.raises(InputError, match=r"x has shape \(5, 2\); expected \(2, 2\)"):
        restarts(SYSTEM, np.zeros((5, 2)), np.zeros((2, 2)), [0, 1, 2], P)


def test_a_discrete_system_has_no_vector_field():
    with pytest.raises(InputError, match="is discrete"):
        propagate(System(lambda t, x, u, p: x, "a", discrete=True), [1.0], t=[0, 1])
