"""Adaptive solves: published end values, orders, work, the grid as a trajectory, outputs, directions, bad input."""

from __future__ import annotations

import math
import pickle
import signal
import threading
import time

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint
from adjoint import BS3, DOP853, DOPRI5, RK4, TSIT5
from adjoint.errors import AdjointError, InputError, StabilityWarning
from adjoint.ode import Solver, solve_ivp

PAIRS = (BS3, DOPRI5, TSIT5, DOP853)
SCIPY = {BS3: "RK23", DOPRI5: "RK45", DOP853: "DOP853"}


def kepler(t, x, u, p):
    r2 = x[0] ** 2 + x[1] ** 2
    r3 = r2 * np.sqrt(r2)
    return [x[2], x[3], -p[0] * x[0] / r3, -p[0] * x[1] / r3]


def kepler_start(e):
    return [1 - e, 0, 0, math.sqrt((1 + e) / (1 - e))]


KEPLER = adjoint.System(kepler, states="x y vx vy", parameters="mu")


def lotka_volterra(t, x, u, p):
    return [p[0] * x[0] - p[1] * x[0] * x[1], -p[2] * x[1] + p[3] * x[0] * x[1]]


def forced(t, x, u, p):
    """A damped pendulum, pushed: time, control and parameters all matter."""
    angle, speed = x
    return [speed, u[0] * np.cos(2 * t) - p[0] * np.sin(angle) - p[1] * speed]


FORCED = adjoint.System(forced, states="angle speed", controls="push", parameters="stiffness friction")
WITH = dict(u=[0.7], p=[2.0, 0.1])


def reference(system, t_span, x0, p=(), u=(), t_eval=None):
    """SciPy at the edge of double precision."""
    run = scipy.integrate.solve_ivp(
        lambda t, x: np.array(system.f(t, x, u, p), float), t_span, x0, "DOP853", t_eval, rtol=2.3e-14, atol=1e-15
    )
    return run.y.T


# ---- published values (DETEST: Hull, Enright, Fellen, Sedgwick 1972; Hairer, Norsett, Wanner I; IVP test set) -----


def b4(t, x):
    r = np.sqrt(x[0] ** 2 + x[1] ** 2)
    return [-x[1] - x[0] * x[2] / r, x[0] - x[1] * x[2] / r, x[0] / r]


DETEST = {
    "A1": (lambda t, x: -x, [1], [math.exp(-20)]),
    "A2": (lambda t, x: -(x**3) / 2, [1], [1 / math.sqrt(21)]),
    "A3": (lambda t, x: x * np.cos(t), [1], [2.4916502718504145]),
    "A4": (lambda t, x: x / 4 * (1 - x / 20), [1], [17.73016648131484]),
    "A5": (lambda t, x: (x - t) / (x + t), [4], [-0.7887826688964]),
    "B1": (lambda t, x: [2 * (x[0] - x[0] * x[1]), -(x[1] - x[0] * x[1])], [1, 3], [0.6761876008577, 0.1860816099640]),
    "B2": (lambda t, x: [-x[0] + x[1], x[0] - 2 * x[1] + x[2], x[1] - x[2]], [2, 0, 1],
           [1.0000000010306, 1, 0.9999999989694]),
    "B3": (lambda t, x: [-x[0], x[0] - x[1] ** 2, x[1] ** 2], [1, 0, 0],
           [2.06115362e-9, 0.0525722802205, 0.9474277177184]),
    "B4": (b4, [3, 0, 0], [0.9826950928002, 2.1984470816941, 0.9129452507277]),
    "B5": (lambda t, x: [x[1] * x[2], -x[0] * x[2], -0.51 * x[0] * x[1]], [0, 1, 1],
           [-0.9396570798729, -0.3421177754001, 0.7414126596200]),
}  # fmt: skip


@pytest.mark.parametrize("name", DETEST)
def test_detest_problems_end_where_published(name):
    f, x0, end = DETEST[name]
    solution = solve_ivp(f, (0, 20), x0, method=DOP853, rtol=1e-12, atol=1e-14)
    assert solution.success and solution.status == 0
    # A5 is published to 13 digits, and changes at the rate 1/0.008 near its end.
    np.testing.assert_allclose(solution.x[-1], end, rtol=2e-10, atol=1e-11)


@pytest.mark.parametrize(("e", "end"), [
    (0.1, (0.2198835352008, 0.9427076846342)), (0.3, (-0.1777027357140, 0.9467784719906)),
    (0.5, (-0.5780432953035, 0.8633840009194)), (0.7, (-0.9538990293416, 0.6907409024219)),
    (0.9, (-1.2952662509876, 0.4003938963792)),
])  # fmt: skip
@pytest.mark.parametrize("method", PAIRS[1:], ids=lambda m: m.name)
def test_kepler_orbits_end_where_keplers_equation_says(method, e, end):
    rtol = 1e-12
    x = solve_ivp(KEPLER, (0, 20), kepler_start(e), p=[1.0], method=method, rtol=rtol, atol=rtol / 10).x[-1]
    # An error along the orbit grows with the square of time, and with the number of close passages.
    assert np.abs(x[:2] - end).max() < 3000 * rtol


def test_arenstorf_orbit_closes():
    mu = 0.012277471

    def arenstorf(t, x, u, p):
        a, b, va, vb = x
        d1, d2 = ((a + mu) ** 2 + b**2) ** 1.5, ((a - 1 + mu) ** 2 + b**2) ** 1.5
        return [va, vb, a + 2 * vb - (1 - mu) * (a + mu) / d1 - mu * (a - 1 + mu) / d2,
                b - 2 * va - (1 - mu) * b / d1 - mu * b / d2]

    x0 = np.array([0.994, 0, 0, -2.00158510637908252240537862224])
    solution = solve_ivp(arenstorf, (0, 17.0652165601579625588917206249), x0, method=DOP853, rtol=1e-13, atol=1e-13)
    gradient = solution.sweep(dlast=[1, 0, 0, 0])
    error = abs(solution.x[-1, 0] - x0[0])
    assert error < 1e-8
    assert error < 10 * gradient.truncation  # the orbit amplifies errors 1e5-fold, and the sweep knows


def test_pleiades():
    def pleiades(t, z, u, p):
        x, y = z[:7], z[7:14]
        force_x, force_y = [], []
        for i in range(7):
            fx = fy = 0.0
            for j in range(7):
                if i != j:
                    d2 = (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2
                    d3 = d2 * np.sqrt(d2)
                    fx, fy = fx + (j + 1) * (x[j] - x[i]) / d3, fy + (j + 1) * (y[j] - y[i]) / d3
            force_x.append(fx)
            force_y.append(fy)
        return [*z[14:21], *z[21:28], *force_x, *force_y]

    start = [3, 3, -1, -3, 2, -2, 2, 3, -3, 2, 0, 0, -4, 4, 0, 0, 0, 0, 0, 1.75, -1.5, 0, 0, 0, -1.25, 1, 0, 0]
    end = [0.3706139143970502, 3.237284092057233, -3.222559032418324, 0.6597091455775310, 0.3425581707156584,
           1.562172101400631, -0.7003092922212495, -3.943437585517392, -3.271380973972550, 5.225081843456543,
           -2.590612434977470, 1.198213693392275, -0.2429682344935824, 1.091449240428980]  # fmt: skip
    solution = solve_ivp(pleiades, (0, 3), start, method=DOP853, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(solution.x[-1, :14], end, rtol=0, atol=1e-10)


def test_brusselator():
    solution = solve_ivp(
        lambda t, x: [1 + x[0] ** 2 * x[1] - 4 * x[0], 3 * x[0] - x[0] ** 2 * x[1]], (0, 20), [1.5, 3], method=DOP853,
        rtol=1e-12, atol=1e-13,
    )  # fmt: skip
    np.testing.assert_allclose(solution.x[-1], [0.49863707126835, 4.59678034945201], rtol=1e-10)


# ---- orders, and work --------------------------------------------------------------------------


@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_the_error_falls_with_the_tolerance(method):
    exact = reference(FORCED, (0, 6), [1.0, 0.0], **{k: np.array(v) for k, v in WITH.items()})[-1]
    tolerances = np.array([1e-4, 1e-6, 1e-8]) if method is BS3 else np.array([1e-5, 1e-7, 1e-9])
    errors, steps = [], []
    for rtol in tolerances:
        solution = solve_ivp(FORCED, (0, 6), [1.0, 0.0], method=method, rtol=rtol, atol=rtol, **WITH)
        errors.append(np.abs(solution.x[-1] - exact).max())
        steps.append(solution.accepted)
    slope = np.polyfit(np.log10(tolerances), np.log10(errors), 1)[0]
    assert 0.75 < slope < 1.35  # tolerance proportionality: error ~ tol
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order > method.order - 0.7


@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_order_of_the_dense_output(method):
    """Within one step of length h from exact data the error is O(h^(order + 1))."""
    theta = np.array([0.2, 0.45, 0.7, 0.9])
    lengths, errors = (0.8, 0.4, 0.2) if method is DOP853 else (0.2, 0.1, 0.05), []
    for h in lengths:
        solution = solve_ivp(FORCED, (0, h), [1.0, 0.5], method=method, first_step=h, rtol=1, atol=1, t_eval=theta * h,
                             **WITH)  # fmt: skip
        assert solution.accepted == 1
        exact = reference(FORCED, (0, h), [1.0, 0.5], t_eval=theta * h, **{k: np.array(v) for k, v in WITH.items()})
        errors.append(np.abs(solution.x - exact).max())
    slope = np.polyfit(np.log(lengths), np.log(errors), 1)[0]
    assert abs(slope - (method.dense.order + 1)) < 0.5


@pytest.mark.parametrize("problem", ["kepler", "forced", "lotka_volterra"])
@pytest.mark.parametrize("method", SCIPY, ids=lambda m: m.name)
def test_work_is_not_more_than_scipys(method, problem):
    """Evaluations of f that it takes to be as accurate as SciPy's same method: the work-precision diagram."""
    system, x0, p, u = {
        "kepler": (KEPLER, kepler_start(0.5), [1.0], []),
        "forced": (FORCED, [1.0, 0.0], WITH["p"], WITH["u"]),
        "lotka_volterra": (adjoint.System(lotka_volterra, "a b", "", "p[4]"), [1.0, 1.0], [1.5, 1, 3, 1], []),
    }[problem]
    exact = reference(system, (0, 10), x0, np.array(p), np.array(u))[-1]
    ours, theirs = [], []
    for rtol in 10.0 ** -np.arange(3, 10 if method is not BS3 else 7, 0.5):
        a = solve_ivp(system, (0, 10), x0, p=p, u=u if u else None, method=method, rtol=rtol, atol=rtol)
        b = scipy.integrate.solve_ivp(
            lambda t, x: np.array(system.f(t, x, u, p), float), (0, 10), x0, SCIPY[method], rtol=rtol, atol=rtol
        )
        ours.append((np.abs(a.x[-1] - exact).max(), a.nfev))
        theirs.append((np.abs(b.y[:, -1] - exact).max(), b.nfev))
    (error, work), (error_s, work_s) = np.log(np.array(ours).T), np.log(np.array(theirs).T)
    # log work = a - log(error) / order, on the average over the tolerances
    q = method.order
    assert np.mean(work + error / q) < np.mean(work_s + error_s / q) + 0.05


# ---- a solve is a trajectory --------------------------------------------------------------------


@pytest.mark.parametrize("span", [(0, 5), (5, 0), (-3.7, 0.3), (1e3, 1e3 + 4)])
@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_rollout_on_the_grid_repeats_the_solve_to_the_last_bit(method, span):
    rtol = 1e-4 if method is BS3 else 1e-8
    solution = solve_ivp(FORCED, span, [1.0, 0.3], method=method, rtol=rtol, **WITH)
    path = solution.trajectory
    again = adjoint.rollout(FORCED, [1.0, 0.3], WITH["u"], path.t, WITH["p"], method)
    assert solution.accepted > 10
    assert np.array_equal(again.x, path.x)
    assert path.t[0] == span[0] and path.t[-1] == span[1]


def test_the_verbs_of_trajectories_work_on_a_solve():
    solution = solve_ivp(FORCED, (0, 3), [1.0, 0.3], **WITH)
    path = solution.trajectory
    A, _B, _C = adjoint.linearize(path)
    gradient = adjoint.sweep(path, dx=[1.0, 0.0])
    product = np.eye(2)
    for a in A:
        product = a @ product
    np.testing.assert_allclose(gradient.x0, product[0], rtol=1e-12)
    np.testing.assert_allclose(adjoint.tangent(path, x0=[0.0, 1.0])[-1], product[:, 1], rtol=1e-12)


@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_there_and_back_again(method):
    rtol = 1e-7 if method is BS3 else 1e-10
    there = solve_ivp(FORCED, (0, 4), [1.0, 0.3], method=method, rtol=rtol, atol=rtol, **WITH)
    back = solve_ivp(FORCED, (4, 0), there.x[-1], method=method, rtol=rtol, atol=rtol, **WITH)
    np.testing.assert_allclose(back.x[-1], [1.0, 0.3], atol=3000 * rtol)


def test_a_reversed_equation_makes_the_mirrored_grid():
    ahead = solve_ivp(lambda t, x: [x[1], -np.sin(x[0])], (0, 5), [1.0, 0.2])
    back = solve_ivp(lambda t, x: [-x[1], np.sin(x[0])], (0, -5), [1.0, 0.2])
    assert np.array_equal(back.t, -ahead.t) and np.array_equal(back.x, ahead.x)


def test_a_linear_combination_of_states_does_not_change_the_end():
    """A rotation of the plane of the orbit rotates the solution."""
    c, s = math.cos(0.7), math.sin(0.7)
    R = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, c, -s], [0, 0, s, c]])
    a = solve_ivp(KEPLER, (0, 5), kepler_start(0.3), p=[1.0], rtol=1e-11, atol=1e-12).x[-1]
    b = solve_ivp(KEPLER, (0, 5), R @ kepler_start(0.3), p=[1.0], rtol=1e-11, atol=1e-12).x[-1]
    np.testing.assert_allclose(b, R @ a, atol=1e-9)


# ---- outputs, controls, options -------------------------------------------------------------------


@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_outputs_lie_on_the_solution(method):
    rtol = 1e-6 if method is BS3 else 1e-9
    t_eval = np.linspace(0, 5, 41)
    solution = solve_ivp(FORCED, (0, 5), [1.0, 0.3], method=method, rtol=rtol, atol=rtol, t_eval=t_eval, **WITH)
    exact = reference(FORCED, (0, 5), [1.0, 0.3], t_eval=t_eval, **{k: np.array(v) for k, v in WITH.items()})
    assert np.array_equal(solution.t, t_eval) and solution.x.shape == (41, 2)
    # An interpolant of order 4 within steps of order 5 costs a digit or two.
    assert np.abs(solution.x - exact).max() < 300 * rtol
    assert np.array_equal(solution.y, solution.x.T)
    np.testing.assert_array_equal(solution.state(t_eval), solution.x)
    np.testing.assert_array_equal(solution.sol(t_eval), solution.y)
    np.testing.assert_array_equal(solution.sol(t_eval[7]), solution.x[7])
    np.testing.assert_array_equal(solution["speed"], solution.x[:, 1])


def test_the_dense_output_meets_the_knots():
    solution = solve_ivp(FORCED, (0, 5), [1.0, 0.3], **WITH)
    np.testing.assert_array_equal(solution.state(solution.t), solution.x)
    t = solution.t[3:6]
    np.testing.assert_allclose(solution.state(np.nextafter(t, -1)), solution.state(t), rtol=1e-12)
    np.testing.assert_allclose(solution.state(np.nextafter(t, 9)), solution.state(t), rtol=1e-12)
    with pytest.raises(InputError, match=r"t = 5.1 lies outside of the solution, which spans 0 … 5"):
        solution.state([1, 5.1])


@pytest.mark.parametrize("reverse", [False, True])
def test_a_control_held_between_knots_is_a_chain_of_solves(reverse):
    knots, u = [-1, 0.8, 2.0, 3.5], [[0.1], [-0.7], [1.3]]
    span = (3, 0) if reverse else (0, 3)
    whole = solve_ivp(FORCED, span, [1.0, 0.3], u=u, knots=knots, p=WITH["p"], rtol=1e-11, atol=1e-12)
    assert {0.8, 2.0} <= set(whole.t.tolist())
    x, stops = [1.0, 0.3], [0, 0.8, 2.0, 3]
    for i in range(3):
        j = 2 - i if reverse else i
        ends = (stops[j + 1], stops[j]) if reverse else (stops[j], stops[j + 1])
        x = solve_ivp(FORCED, ends, x, u=u[j], p=WITH["p"], rtol=1e-11, atol=1e-12).x[-1]
    np.testing.assert_allclose(whole.x[-1], x, atol=1e-9)


@pytest.mark.parametrize("span", [(0, 3), (3, 0), (2.5, 1.0)])
def test_knots_may_be_written_down_backwards(span):
    knots, u = np.array([-1, 0.8, 2.0, 3.5]), np.array([[0.1], [-0.7], [1.3]])
    ahead = solve_ivp(FORCED, span, [1.0, 0.3], u=u, knots=knots, p=WITH["p"])
    back = solve_ivp(FORCED, span, [1.0, 0.3], u=u[::-1], knots=knots[::-1], p=WITH["p"])
    assert np.array_equal(ahead.x, back.x)
    g, h = ahead.sweep(dlast=[1, 0]), back.sweep(dlast=[1, 0])
    np.testing.assert_array_equal(g.u, h.u[::-1])


def test_a_state_that_starts_at_zero_is_measured_by_what_it_becomes():
    """With rtol |x_k| alone the first steps from zero would have to be as short as a tiny atol says."""
    solution = solve_ivp(lambda t, x: [x[1], -x[0]], (0, 3), [0.0, 1.0], rtol=1e-4, atol=1e-12)
    assert solution.accepted < 20


def test_knots_without_a_control_are_where_f_has_a_kink():
    def f(t, x, u, p):
        return np.abs(t - 1) * x

    plain = solve_ivp(f, (0, 2), [1.0], rtol=1e-8)
    knotted = solve_ivp(f, (0, 2), [1.0], rtol=1e-8, knots=[0, 1.0, 2])
    assert 1.0 in knotted.t and knotted.rejected < plain.rejected
    np.testing.assert_allclose(knotted.x[-1], math.e, rtol=1e-8)
    np.testing.assert_allclose(plain.x[-1], math.e, rtol=1e-6)


def test_what_jumps_in_time_is_a_control():
    solution = solve_ivp(
        lambda t, x, u, p: u * x, (0, 2), [1.0], u=[[1.0], [-1.0]], knots=[0, 1.0, 2], rtol=1e-8
    )  # fmt: skip
    assert solution.rejected <= 2
    np.testing.assert_allclose(solution.x[-1], 1.0, rtol=1e-8)


def test_max_step_first_step_and_max_steps():
    solution = solve_ivp(FORCED, (0, 3), [1.0, 0.3], max_step=0.05, **WITH)
    assert np.diff(solution.t).max() <= 0.05 * 1.0001
    assert np.diff(solve_ivp(FORCED, (0, 3), [1.0, 0.3], first_step=1e-3, **WITH).t)[0] == 1e-3
    early = solve_ivp(FORCED, (0, 3), [1.0, 0.3], max_steps=5, **WITH)
    assert early.status == -1 and not early.success and early.accepted + early.rejected == 5
    assert "Stopped at t = " in early.message and "after 5 steps" in early.message and early.t[-1] < 3


def test_a_state_without_tolerance_leaves_the_grid_alone():
    def f(t, x, u, p):
        return [x[1], -np.sin(x[0])]

    def and_more(t, x, u, p):
        return [*f(t, x, u, p), 1e6 * np.cos(50 * t) * x[0]]

    alone = solve_ivp(f, (0, 5), [1.0, 0.2], atol=1e-9)
    more = solve_ivp(and_more, (0, 5), [1.0, 0.2, 0.0], atol=[1e-9, 1e-9, math.inf])
    assert np.array_equal(alone.t, more.t) and np.array_equal(alone.x, more.x[:, :2])


def test_many_steps_make_room_for_themselves():
    solution = solve_ivp(KEPLER, (0, 200), kepler_start(0.5), p=[1.0], rtol=1e-10, atol=1e-10)
    assert solution.accepted > 5000
    again = adjoint.rollout(KEPLER, kepler_start(0.5), None, solution.t, [1.0], TSIT5)
    assert np.array_equal(again.x, solution.x)


@settings(max_examples=40)
@given(
    rate=st.floats(-3, 3), t0=st.floats(-10, 10), length=st.floats(1e-3, 5), back=st.booleans(),
    size=st.floats(1e-6, 1e6), method=st.sampled_from(PAIRS),
)  # fmt: skip
def test_exponentials(rate, t0, length, back, size, method):
    system = EXPONENTIAL
    t1 = t0 - length if back else t0 + length
    solution = solve_ivp(system, (t0, t1), [size], p=[rate], method=method, rtol=1e-7, atol=0.0)
    exact = size * math.exp(rate * (t1 - t0))
    assert solution.success
    assert abs(solution.x[-1, 0] - exact) < 1e-5 * exact
    g = solution.sweep(dlast=[1.0])
    assert abs(g.x0[0] - exact / size) < 1e-5 * exact / size
    assert abs(g.p[0] - (t1 - t0) * exact) < 1e-4 * abs(t1 - t0) * exact


EXPONENTIAL = adjoint.System(lambda t, x, u, p: [p[0] * x[0]], states="x", parameters="rate")


def test_a_solver_gives_the_same_numbers():
    for t_eval in (None, np.linspace(0.1, 4.0, 17)):
        solver = Solver(FORCED, (0, 4), u=[[0.1], [0.9]], knots=[0, 1.5, 4], t_eval=t_eval, rtol=1e-9)
        for x0, p in (([1.0, 0.3], [2.0, 0.1]), ([2.0, 0.0], [1.0, 0.2])):
            solution = solve_ivp(FORCED, (0, 4), x0, u=[[0.1], [0.9]], knots=[0, 1.5, 4], p=p, t_eval=t_eval, rtol=1e-9)
            x = solver.forward(x0, p)
            assert np.array_equal(x, solution.x) and np.array_equal(solver.t, solution.t)
            seed = np.cos(np.arange(x.size)).reshape(x.shape)
            ours, theirs = solver.backward(seed, [1.0, -2.0]), solution.sweep(seed, [1.0, -2.0])
            for name in ("x0", "u", "p"):
                np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    long = Solver(KEPLER, (0, 100), rtol=1e-10)
    long.forward(kepler_start(0.5), [1.0])  # more steps than there was room for
    assert len(long.trajectory) > 1000
    with pytest.raises(AdjointError, match="Stopped at t = "):
        Solver(adjoint.System(lambda t, x, u, p: [x[0] ** 2], "x"), (0, 2)).forward([1.0])


# ---- what goes wrong says so ------------------------------------------------------------------------


def decay(t, x):
    return -x


@pytest.mark.parametrize(("arguments", "sentence"), [
    (dict(t_span=(0, 0)), r"t_span = \(0, 0\) is empty"),
    (dict(t_span=(0, math.inf)), "expected finite times"),
    (dict(t_span=3), "expected two numbers"),
    (dict(x0=[1j]), "x0 is complex. States are real numbers"),
    (dict(x0=[math.nan]), "x0 has nan"),
    (dict(x0=["a"]), "x0 is .* no array of real numbers"),
    (dict(rtol=0.0, atol=0.0), "rtol and atol are both zero"),
    (dict(rtol=-1.0), "rtol is -1.0; expected a number >= 0"),
    (dict(rtol=1e-16), "rtol = 1e-16 is below what double precision can resolve"),
    (dict(atol=[1.0, 2.0]), "atol is .* expected a number >= 0, or one for each of the 1 states"),
    (dict(method=RK4), "rk4 has no embedded partner"),
    (dict(method="RK45"), "expected a Method"),
    (dict(u=np.sin), "u is a function"),
    (dict(max_step=0.0), "max_step is 0.0"),
    (dict(first_step=2.0), "first_step is 2.0"),
    (dict(max_steps=0), "max_steps is 0"),
    (dict(t_eval=[0.0, 2.0]), "t_eval goes from 0.0 to 2.0, outside"),
    (dict(t_eval=[0.5, 0.1]), "t_eval is not sorted"),
    (dict(p=[math.inf]), "p has inf"),
])  # fmt: skip
def test_bad_arguments(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        solve_ivp(decay, **{"t_span": (0, 1), "x0": [1.0], **arguments})


def test_wrong_shapes_name_the_system():
    with pytest.raises(InputError, match="They must cover it: u is not known elsewhere"):
        solve_ivp(FORCED, (0, 1), [0.1, 0.0], u=[[1.0]], knots=[0.5, 1.0], p=[1.0, 0.1])
    with pytest.raises(InputError, match=r"x0 has shape \(3,\); system 'forced' has 2 states \(angle, speed\)"):
        solve_ivp(FORCED, (0, 1), [1, 2, 3], **WITH)
    with pytest.raises(InputError, match="p has 1 numbers; system 'forced' has 2 parameters"):
        solve_ivp(FORCED, (0, 1), [1, 2], u=[0.1], p=[1])
    with pytest.raises(InputError, match="u is missing; system 'forced' has the controls push"):
        solve_ivp(FORCED, (0, 1), [1, 2], p=[1, 2])
    with pytest.raises(InputError, match="is discrete"):
        solve_ivp(adjoint.System(lambda t, x, u, p: x, "x", discrete=True), (0, 1), [1.0])
    with pytest.raises(InputError, match="expected a System or a function"):
        solve_ivp(3, (0, 1), [1.0])
    solution = solve_ivp(FORCED, (0, 1), [1, 2], **WITH)
    with pytest.raises(InputError, match=r"dlast has shape \(3,\); expected \(2,\)"):
        solution.sweep(dlast=[1, 2, 3])
    with pytest.raises(InputError, match="the solve had no running"):
        solution.sweep(dintegral=1.0)


def test_integers_are_numbers():
    assert solve_ivp(decay, (0, 1), [1]).x.dtype == np.float64
    np.testing.assert_allclose(solve_ivp(decay, (0, 1), 1).x[-1], math.exp(-1), rtol=1e-5)


def test_blow_up_in_finite_time():
    solution = solve_ivp(lambda t, x: [x[0] ** 2, x[0]], (0, 2), [1.0, 0.0], rtol=1e-9)
    assert solution.status == -1 and abs(solution.t[-1] - 1) < 1e-6
    assert np.isfinite(solution.x).all() and np.isfinite(solution.t).all()
    assert "Stopped at t = 1 of 2" in solution.message and "state 'x0'" in solution.message
    mid = solution.t.searchsorted(0.5)
    np.testing.assert_allclose(solution.x[mid, 0], 1 / (1 - solution.t[mid]), rtol=1e-6)


def test_outputs_end_where_the_solution_does():
    solution = solve_ivp(lambda t, x: x**2, (0, 2), [1.0], t_eval=np.linspace(0, 2, 21), rtol=1e-9)
    assert solution.status == -1 and 9 <= solution.t.size <= 11 and solution.x.shape == (solution.t.size, 1)
    np.testing.assert_allclose(solution.x[:9, 0], 1 / (1 - solution.t[:9]), rtol=1e-6)


def test_leaving_the_domain_of_f():
    solution = solve_ivp(lambda t, x: -np.sqrt(x), (0, 20), [1.0])  # reaches zero at t = 2
    assert solution.status == -1 and abs(solution.t[-1] - 2) < 1e-3
    assert "not finite however short the step" in solution.message
    start = solve_ivp(lambda t, x: np.sqrt(x), (0, 1), [-1.0])
    assert start.status == -1 and len(start.t) == 1 and "t = 0 of 1" in start.message


def test_a_tolerance_that_vanishes_with_the_state():
    solution = solve_ivp(lambda t, x: [x[0], -x[1]], (0, 1), [0.0, 1.0], atol=0.0)
    assert solution.status == -1 and "tolerance of state 'x0' = 0 is zero there. Give it an atol" in solution.message


def test_a_tolerance_below_rounding():
    solution = solve_ivp(decay, (0, 1), [1.0], rtol=0.0, atol=1e-20, max_steps=2000)
    assert solution.status == -1
    assert "the tolerance of state 'x0', 1e-20, is below the rounding of its value 0.8" in solution.message


def test_a_jump_of_f_is_passed():
    solution = solve_ivp(lambda t, x: adjoint.where(x < 2.0, 1.0, 3.0) + 0 * x, (0, 3), [0.0], rtol=1e-8)
    assert solution.success
    np.testing.assert_allclose(solution.x[-1], 5.0, rtol=1e-5)


def test_stiffness_is_suspected():
    solution = solve_ivp(lambda t, x: -1e6 * (x - np.cos(t)), (0, 1), [1.0], max_steps=2000)
    assert solution.status == -1 and "stiff" in solution.message and np.isfinite(solution.x).all()


def test_ctrl_c_returns_what_there_is():
    timer = threading.Timer(0.4, signal.raise_signal, [signal.SIGINT])
    start = time.perf_counter()
    timer.start()
    solution = solve_ivp(KEPLER, (0, 1e9), kepler_start(0.5), p=[1.0], rtol=1e-12, max_steps=10**9)
    assert time.perf_counter() - start < 20
    assert solution.status == -1 and solution.message.startswith("Interrupted at t = ")
    assert np.isfinite(solution.x).all() and len(solution.t) == solution.accepted + 1


def test_amplified_rounding_is_reported():
    def lorenz(t, x, u, p):
        return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]

    system = adjoint.System(lorenz, "x y z")
    with pytest.warns(StabilityWarning, match=r"grow by \d\.\de\+\d\d from t = .*all of it") as record:
        solve_ivp(system, (0, 50), [1, 1, 1], rtol=1e-10).sweep(dlast=[1, 0, 0])
    assert record[0].filename == __file__
    short = solve_ivp(system, (0, 15), [1, 1, 1], rtol=1e-10, atol=1e-10)
    gradient = short.sweep(dlast=[1, 0, 0])  # no warning: pytest.ini makes none, and none is wanted
    nudged = solve_ivp(system, (0, 15), np.array([1 + 1e-15, 1, 1]), rtol=1e-10, atol=1e-10)
    moved = abs(nudged.x[-1, 0] - short.x[-1, 0])
    assert moved < 30 * gradient.rounding < 3000 * moved
    exact = solve_ivp(system, (0, 15), [1, 1, 1], method=DOP853, rtol=1e-13, atol=1e-13).x[-1, 0]
    assert abs(exact - short.x[-1, 0]) < gradient.truncation


def test_a_solution_is_read_only_and_travels():
    solution = solve_ivp(FORCED, (0, 1), [1.0, 0.3], **WITH)
    with pytest.raises(ValueError, match="read-only"):
        solution.x[0] = 1
    again = pickle.loads(pickle.dumps(solution))
    assert np.array_equal(again.x, solution.x)
    np.testing.assert_array_equal(again.sweep(dlast=[1, 0]).p, solution.sweep(dlast=[1, 0]).p)
    assert "forced" in repr(solution) and "Reached the end" in repr(solution)


def test_threads_share_a_system():
    def one(i):
        return solve_ivp(KEPLER, (0, 5), kepler_start(0.1 * i), p=[1.0]).x[-1]

    expected = [one(i) for i in range(1, 9)]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(a, b) for a, b in zip(pool.map(one, range(1, 9)), expected, strict=True))


def test_a_mistake_in_a_function_of_t_and_x_is_shown_where_it_is():
    def spring(t, x):
        return [x[1], -x[0] if x[0] > 0 else 0.0]

    with pytest.raises(AdjointError, match=r"'spring' \(.*test_ode.py, line \d+: `return \[x\[1\], -x\[0\] if"):
        solve_ivp(spring, (0, 1), [1.0, 0.0])


@pytest.mark.parametrize("span", [(0, 2), (2, 0)])
def test_knots_of_a_kink_need_not_cover_the_span(span):
    s = solve_ivp(lambda t, x: [abs(t - 0.777)], span, [0.0], knots=[0.777, 1.5])
    exact = np.sign(span[1] - 1) * (0.777**2 + 1.223**2) / 2
    assert {0.777, 1.5} <= set(s.t) and s.x[-1, 0] == pytest.approx(exact, rel=1e-13)
