"""Derivatives of adaptive solves: against complex step on the frozen grid, Taylor, SUNDIALS, closed forms; events;
the continuous adjoint; ensembles; symplectic steps.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint
from adjoint import BS3, DOP853, DOPRI5, TSIT5
from adjoint.errors import AdjointError, InputError, StabilityWarning
from adjoint.ode import (
    KAHAN_LI6,
    SUZUKI4,
    SUZUKI_UMENO8,
    VERLET,
    YOSHIDA4,
    Composition,
    Event,
    compare_adjoints,
    continuous_adjoint,
    solve_ensemble,
    solve_ivp,
)  # fmt: skip

PAIRS = (BS3, DOPRI5, TSIT5, DOP853)


def forced(t, x, u, p):
    """A pendulum with friction, pushed: time, control and parameters all matter."""
    angle, speed = x
    return [speed, u[0] * np.cos(2 * t) - p[0] * np.sin(angle) - p[1] * speed]


FORCED = adjoint.System(forced, states="angle speed", controls="push", parameters="stiffness friction")
X0, P, U, KNOTS = np.array([1.0, 0.3]), np.array([2.0, 0.1]), np.array([[0.1], [-0.7], [1.3]]), [0, 0.8, 2.0, 3.0]
GIVEN = dict(u=U, knots=KNOTS, p=P)


def lotka_volterra(t, x, u, p):
    return [p[0] * x[0] - p[1] * x[0] * x[1], -p[2] * x[1] + p[3] * x[0] * x[1]]


LOTKA = adjoint.System(lotka_volterra, states="prey predator", parameters="p[4]")


def frozen(f, method, t, interval, theta_of, x0, u, p):
    """What a solve computes on a given grid, in complex arithmetic, apart from the library: knots and outputs."""
    x, knots, outputs = np.array(x0, complex), [np.array(x0, complex)], {}
    A, b, c, dense = method.A, method.b, method.c, method.dense
    s, e = len(c), len(dense.c)
    rows = np.zeros((s + e, s + e))
    rows[:s, :s], rows[s:] = A, dense.A
    nodes = np.append(c, dense.c)
    for k in range(len(t) - 1):
        h, K = t[k + 1] - t[k], []
        for i in range(s + e):
            X = x + h * sum((rows[i, j] * K[j] for j in range(i)), np.zeros_like(x))
            K.append(np.array(f(t[k] + nodes[i] * h, X, u[interval[k]], p)))
        for j, theta in theta_of(k, t):
            weights = dense.P @ theta ** np.arange(1, dense.P.shape[1] + 1)
            outputs[j] = x + h * sum(w * slope for w, slope in zip(weights, K, strict=True))
        x = x + h * sum(w * slope for w, slope in zip(b, K, strict=False))
        knots.append(x)
    return np.array(knots), outputs


@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_the_gradient_is_that_of_the_numbers_computed(method):
    """Complex step through an independent solve on the same grid: all of x0, u, p, t0, t1, to round-off."""
    t_eval = np.array([0.03, 0.5, 0.8, 1.234, 2.0, 2.999])
    solution = solve_ivp(FORCED, (0, 3), X0, method=method, rtol=1e-5, t_eval=t_eval, **GIVEN)
    grid, interval = solution.trajectory.t, solution.pieces[0].interval
    dx, dlast = np.cos(np.arange(12)).reshape(6, 2), np.array([0.7, -1.1])

    def J(x0, u, p, t0, t1):
        t = grid.astype(complex)
        t[0], t[-1] = t0, t1

        def theta_of(k, t):
            for j, time in enumerate(t_eval):
                if grid[k] < time < grid[k + 1]:
                    yield j, (time - t[k]) / (t[k + 1] - t[k])

        knots, outputs = frozen(forced, method, t, interval, theta_of, x0, u, p)
        for j, time in enumerate(t_eval):
            if j not in outputs:
                outputs[j] = knots[np.searchsorted(grid, time)]
        np.testing.assert_allclose([outputs[j].real for j in range(6)], solution.x, rtol=1e-10)
        return sum(dx[j] @ outputs[j] for j in range(6)) + dlast @ knots[-1]

    z = [X0, U, P, np.zeros(1), np.array([3.0])]
    flat = np.concatenate([a.ravel() for a in z]).astype(complex)
    cuts = np.cumsum([a.size for a in z])[:-1]
    gradient = []
    for i in range(flat.size):
        moved = flat.copy()
        moved[i] += 1e-30j
        parts = [a.reshape(b.shape) for a, b in zip(np.split(moved, cuts), z, strict=True)]
        gradient.append(J(*parts[:3], parts[3][0], parts[4][0]).imag / 1e-30)
    g = solution.sweep(dx=dx, dlast=dlast)
    ours = np.concatenate([g.x0, g.u.ravel(), g.p, [g.t0, g.t1]])
    np.testing.assert_allclose(ours, gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_taylor(method):
    """The whole program, grid and all: the remainder falls with the square of the step until the tolerance shows."""
    def end(z):
        x = solve_ivp(FORCED, (0, 3), z[:2], u=[0.5], p=z[2:], method=method, rtol=1e-10 if method is not BS3 else 1e-8,
                      atol=1e-10).x[-1]  # fmt: skip
        return 0.5 * x @ x

    z = np.concatenate([X0, P])
    solution = solve_ivp(FORCED, (0, 3), X0, u=[0.5], p=P, method=method,
                         rtol=1e-10 if method is not BS3 else 1e-8, atol=1e-10)  # fmt: skip
    g = solution.sweep(dlast=solution.x[-1])
    direction = np.array([0.3, -0.5, 0.2, 0.4])
    remainders = [abs(end(z + h * direction) - end(z) - h * np.concatenate([g.x0, g.p]) @ direction)
                  for h in (0.08, 0.04, 0.02)]  # fmt: skip
    slopes = np.diff(np.log(remainders)) / np.log(0.5)
    assert (abs(slopes - 2) < 0.25).all()


def test_lotka_volterra_as_sundials():
    """cvsLotkaVolterra_ASA of SUNDIALS. Its printed dg/dp_3 is off in the fifth digit: differences confirm ours."""
    p = np.array([1.5, 1, 3, 1])

    def g(p, rtol=1e-13):
        run = scipy.integrate.solve_ivp(lambda t, x: lotka_volterra(t, x, None, p), (0, 10), [1, 1], "DOP853",
                                        rtol=rtol, atol=1e-14)  # fmt: skip
        return 0.5 * ((1 - run.y[:, -1]) ** 2).sum()

    solution = solve_ivp(LOTKA, (0, 10), [1, 1], p=p, method=DOP853, rtol=1e-12, atol=1e-13)
    gradient = solution.sweep(dlast=solution.x[-1] - 1)
    np.testing.assert_allclose(solution.x[-1], [1.02634476758, 0.90969107814], rtol=1e-9)
    np.testing.assert_allclose(gradient.x0, [0.29959960568, -0.01415181417], rtol=5e-6)
    np.testing.assert_allclose(gradient.p, [0.62196173628, 0.06800142032, 0.16917147121, 0.27256075296], rtol=5e-5)
    for i, h in enumerate(np.diag([1e-4] * 4)):  # fourth-order differences of an independent solver
        difference = (8 * (g(p + h) - g(p - h)) - g(p + 2 * h) + g(p - 2 * h)) / 12e-4
        assert abs(difference - gradient.p[i]) < 1e-7


def test_linear_identities():
    system = adjoint.System(lambda t, x, u, p: [p[0] * x[0]], states="x", parameters="a")
    a, T, x0 = -0.7, 3.0, 1.3
    solution = solve_ivp(system, (0, T), [x0], p=[a], method=DOP853, rtol=1e-13, atol=1e-14)
    g = solution.sweep(dlast=[1.0])
    np.testing.assert_allclose(g.p, T * x0 * math.exp(a * T), rtol=1e-11)
    np.testing.assert_allclose(g.x0, math.exp(a * T), rtol=1e-11)
    np.testing.assert_allclose([g.t1, g.t0], np.array([1, -1]) * a * x0 * math.exp(a * T), rtol=1e-8)
    swing = adjoint.System(lambda t, x, u, p: [x[1], -p[0] ** 2 * x[0]], states="y v", parameters="w")
    w = 1.7
    solution = solve_ivp(swing, (0, T), [1, 0], p=[w], method=DOP853, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(solution.sweep(dlast=[1, 0]).p, -T * math.sin(w * T), rtol=1e-11)
    np.testing.assert_allclose(solution.tangent(p=[1.0]).last[0], -T * math.sin(w * T), rtol=1e-11)


def test_the_costate_of_a_quadratic_regulator_is_P_x():
    """ẋ = a x + b u with u = -b P x / r, P of the algebraic Riccati equation, J = ∫ (q x² + r u²) dt for long."""
    a, b, q, r = 0.4, 1.2, 2.0, 0.5
    S = (a + math.sqrt(a * a + q * b * b / r)) * r / b**2  # 2 a S - S² b²/r + q = 0
    k = b * S / r
    solution = solve_ivp(
        lambda t, x: (a - b * k) * x, (0, 12), [1.5], running=lambda t, x: (q + r * k * k) * x[0] ** 2, method=DOP853,
        rtol=1e-12, atol=1e-14, integral_tolerance=1e-12,
    )  # fmt: skip
    g = solution.sweep(dintegral=1.0)
    np.testing.assert_allclose(solution.integral[-1], S * 1.5**2, rtol=1e-10)
    np.testing.assert_allclose(g.x0, 2 * S * 1.5, rtol=1e-10)
    early = solution.t < 6
    np.testing.assert_allclose(g.costate[early, 0], 2 * S * solution.x[early, 0], rtol=1e-7)


def test_integrals():
    inside = solve_ivp(FORCED, (0, 3), X0, running=lambda t, x, u, p: p[0] * x[0] ** 2 + u[0] * t,
                       integral_tolerance=1e-9, rtol=1e-9, **GIVEN)  # fmt: skip
    outside = solve_ivp(FORCED, (0, 3), X0, running=lambda t, x, u, p: p[0] * x[0] ** 2 + u[0] * t, rtol=1e-9, **GIVEN)
    plain = solve_ivp(FORCED, (0, 3), X0, rtol=1e-9, **GIVEN)
    assert np.array_equal(outside.t, plain.t) and np.array_equal(outside.x, plain.x)
    assert inside.x.shape[1] == 2 and inside.integral[0] == 0
    t = np.linspace(0, 3, 20001)
    dense = plain.state(t)[:, 0] ** 2 * P[0]
    steps = np.diff(KNOTS)
    middles = (np.array(KNOTS[1:]) + KNOTS[:-1]) / 2
    exact = scipy.integrate.simpson(dense, x=t) + (U[:, 0] * steps * middles).sum()
    np.testing.assert_allclose([inside.integral[-1], outside.integral[-1]], exact, rtol=1e-7)
    g = inside.sweep(dintegral=1.0)
    h = 1e-6
    for i in range(3):
        moved = [solve_ivp(FORCED, (0, 3), X0, running=lambda t, x, u, p: p[0] * x[0] ** 2 + u[0] * t, rtol=1e-11,
                           atol=1e-13, **{**GIVEN, "u": U + s * h * np.eye(3)[:, i : i + 1]}).integral[-1]
                 for s in (1, -1)]  # fmt: skip
        np.testing.assert_allclose(g.u[i, 0], (moved[0] - moved[1]) / 2 / h, rtol=1e-5)


# ---- forward, and second order --------------------------------------------------------------------


def bounce(t, x, u, p):
    return [x[1], -p[0] - p[1] * x[1] + u[0] * np.cos(t)]


BOUNCE = adjoint.System(bounce, states="h v", controls="f", parameters="g drag")
FLOOR = [
    Event(lambda t, x, u, p: x[0] - 0.1 * np.sin(t), direction=-1, name="floor",
          jump=lambda t, x, u, p: [x[0] + 0.01 * u[0], -0.8 * x[1] * p[1] + 0.1 * t]),
    Event(lambda t, x, u, p: x[1], name="top"),
]  # fmt: skip


@pytest.mark.parametrize("events", [None, FLOOR], ids=["smooth", "events"])
@pytest.mark.parametrize("t_eval", [None, np.linspace(0, 3, 61)], ids=["knots", "t_eval"])
@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_tangent_and_sweep_are_transposes(method, t_eval, events):
    rng = np.random.default_rng(0)
    solution = solve_ivp(
        BOUNCE, (0, 3), [1, 0.1], p=[9.81, 0.9], u=[[0.5], [0.7]], knots=[0, 1.1, 3], t_eval=t_eval, method=method,
        events=events, running=lambda t, x, u, p: x[0] ** 2 * p[0] + u[0], rtol=1e-5,
    )  # fmt: skip
    assert len(solution.occurrences) == (21 if events else 0)
    dx, dlast, dintegral = rng.normal(size=solution.x.shape), rng.normal(size=2), 0.3
    dt = [rng.normal(size=t.shape) for t in solution.t_events]
    g = solution.sweep(dx, dlast, dintegral, dt_events=dt)
    v = dict(x0=rng.normal(size=2), u=rng.normal(size=(2, 1)), p=rng.normal(size=2))
    T = solution.tangent(**v)
    ahead = (dx * T.x).sum() + dlast @ T.last + dintegral * T.integral
    ahead += sum(a @ b for a, b in zip(dt, T.t_events, strict=True))
    back = g.x0 @ v["x0"] + (g.u * v["u"]).sum() + g.p @ v["p"]
    scale = np.abs(dx * T.x).sum() + abs(back)
    assert abs(ahead - back) < 1e-12 * scale


def test_gradients_through_events_against_differences():
    rng = np.random.default_rng(1)
    t_eval = np.linspace(0, 3, 31)
    weights, v = rng.normal(size=(31, 2)), rng.normal(size=5)

    def solve(z):
        return solve_ivp(BOUNCE, (0, 3), z[:2], u=z[2:3], p=z[3:], events=FLOOR, t_eval=t_eval, method=DOP853,
                         rtol=1e-12, atol=1e-13)  # fmt: skip

    z = np.array([1, 0.1, 0.5, 9.81, 0.9])
    solution = solve(z)
    dt, dx = [np.cos(t) for t in solution.t_events], [np.sin(x) for x in solution.x_events]

    def J(z):
        s = solve(z)
        events = sum(a @ b for a, b in zip(dt, s.t_events, strict=True))
        return (weights * s.x).sum() + events + sum((a * b).sum() for a, b in zip(dx, s.x_events, strict=True))

    g = solution.sweep(weights, dt_events=dt, dx_events=dx)
    h = 1e-5
    difference = (J(z + h * v) - J(z - h * v)) / (2 * h)
    np.testing.assert_allclose(np.concatenate([g.x0, g.u.ravel(), g.p]) @ v, difference, rtol=1e-7)


@pytest.mark.parametrize("t_eval", [None, np.linspace(0, 3, 17)], ids=["knots", "t_eval"])
@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_hessian_vector_is_the_derivative_of_the_sweep(method, t_eval):
    """On a frozen grid (one long first_step each, nothing adapts): differences of gradients."""
    from dataclasses import replace

    from adjoint.ode.pieces import Piece, evaluate

    solution = solve_ivp(FORCED, (0, 3), X0, method=method, rtol=1e-5, t_eval=t_eval, **GIVEN)
    path, interval = solution.trajectory, solution.pieces[0].interval
    rng = np.random.default_rng(2)
    v = dict(x0=rng.normal(size=2), u=rng.normal(size=(3, 1)), p=rng.normal(size=2))

    def gradient(h):
        moved = adjoint.rollout(FORCED, X0 + h * v["x0"], (U + h * v["u"])[interval], path.t, P + h * v["p"], method)
        pieces = (Piece(moved, interval),)
        x = moved.x if t_eval is None else evaluate(solution.runner, pieces, solution.places)
        s = replace(solution, pieces=pieces, x=x)
        g = s.sweep(x**2, 2 * moved.x[-1])
        return np.concatenate([g.x0, g.u.ravel(), g.p])

    T = solution.tangent(**v)
    H = solution.hessian_vector(solution.x**2, 2 * solution.x[-1], **v, ddx=2 * solution.x * T.x, ddlast=2 * T.last)
    h = 1e-4
    difference = (8 * (gradient(h) - gradient(-h)) - gradient(2 * h) + gradient(-2 * h)) / (12 * h)
    np.testing.assert_allclose(np.concatenate([H.x0, H.u.ravel(), H.p]), difference, rtol=1e-7, atol=1e-7)


# ---- events ------------------------------------------------------------------------------------------

BALL = adjoint.System(lambda t, x, u, p: [x[1], -p[0]], states="h v", parameters="g")
IMPACT = Event(lambda t, x, u, p: x[0], direction=-1, jump=lambda t, x, u, p: [x[0], -0.8 * x[1]], name="impact")


def test_a_bouncing_ball_and_when_it_bounces():
    t1 = math.sqrt(2 / 9.81)
    solution = solve_ivp(BALL, (0, 3), [1, 0], p=[9.81], events=IMPACT)
    times = t1 * (1 + 2 * np.cumsum([0, *(0.8 ** np.arange(1, 6))]))
    np.testing.assert_allclose(solution.t_events[0], times, rtol=1e-12)
    np.testing.assert_allclose(solution.x_events[0][:, 1], -9.81 * t1 * 0.8 ** np.arange(6), rtol=1e-12)
    assert np.abs(solution.x_events[0][:, 0]).max() < 1e-13
    for i, factor in enumerate(times / t1):
        seed = [np.eye(6)[i]]
        g = solution.sweep(dt_events=seed)
        np.testing.assert_allclose(g.x0[0], factor / math.sqrt(2 * 9.81), rtol=1e-10)  # all times scale with √h_0
        np.testing.assert_allclose(g.p[0], -times[i] / (2 * 9.81), rtol=1e-10)
    np.testing.assert_allclose([solution.sweep(dlast=[1, 0]).t0, solution.sweep(dlast=[1, 0]).t1],
                               np.array([-1, 1]) * solution.x[-1, 1], rtol=1e-9)  # fmt: skip


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("method", [TSIT5, DOP853, adjoint.RODAS5P], ids=lambda m: m.name)
@given(st.floats(0.05, 0.95), st.floats(0.3, 2))
@settings(max_examples=12)
def test_a_jump_away_from_the_event_loses_none_of_the_later_ones(method, direction, reset, rate):
    """x' = r (2 - x), from the threshold 1 back to `reset`: every ln(2 - reset) / r, whatever the first step does."""
    fire = Event(lambda t, x, u, p: x[0] - 1, direction, jump=lambda t, x, u, p: [p[0] + 0 * x[0]])
    system = adjoint.System(lambda t, x, u, p: [p[1] * (2 - x[0])], "x", parameters="reset rate")
    s = solve_ivp(system, (0, 20), [reset], p=[reset, rate], method=method, events=fire, rtol=1e-9, atol=1e-11)
    period = np.log(2 - reset) / rate
    assert s.success and len(s.t_events[0]) == int(20 / period + 1e-6)
    np.testing.assert_allclose(np.diff(s.t_events[0]), period, rtol=1e-6)


def test_zeno():
    solution = solve_ivp(BALL, (0, 10), [1, 0], p=[9.81], events=IMPACT)
    assert solution.status == -1 and "'impact' happens again and again" in solution.message
    np.testing.assert_allclose(solution.t[-1], math.sqrt(2 / 9.81) * 9, rtol=1e-9)
    assert np.isfinite(solution.x).all()


def test_a_terminal_event_ends_on_an_exact_step():
    event = Event(lambda t, x, u, p: x[0], terminal=True, name="ground")
    solution = solve_ivp(BALL, (0, 10), [1, 0], p=[9.81], events=event)
    assert solution.status == 1 and solution.success
    assert "terminal event 'ground' happened at t = 0.4515" in solution.message
    path = solution.trajectory
    assert np.array_equal(adjoint.rollout(BALL, [1, 0], None, path.t, [9.81], TSIT5).x, path.x)
    g = solution.sweep(dlast=[0, 1])  # v_e = -√(2 g h)
    np.testing.assert_allclose([*g.x0, *g.p], [-math.sqrt(9.81 / 2), 0, -math.sqrt(1 / (2 * 9.81))], atol=1e-12)
    assert g.t1 == 0.0
    third = solve_ivp(BALL, (0, 10), [1, 0], p=[9.81], events=[IMPACT, Event(lambda t, x, u, p: x[1], terminal=3)])
    assert third.status == 1 and len(third.t_events[1]) == 3
    never = solve_ivp(BALL, (0, 0.1), [1, 0], p=[9.81], events=event)
    assert never.status == 0 and "The terminal event 'ground' did not happen." in never.message
    assert [t.size for t in never.t_events] == [0]


@pytest.mark.parametrize("span", [(0, 7), (7, 0)])
def test_directions_of_events(span):
    def solve(direction):
        return solve_ivp(lambda t, x: [x[1], -x[0]], span, [math.sin(span[0]), math.cos(span[0])],
                         events=Event(lambda t, x, u, p: x[0], direction), rtol=1e-10, atol=1e-12).t_events[0]

    # sin grows through zero at 2π, and falls at π; backwards it is the other way round. t = 0 is where it starts.
    inside = np.array([math.pi, 2 * math.pi])
    for direction in (-1, 0, 1):
        sign = direction * (1 if span[1] > span[0] else -1)
        expected = inside if direction == 0 else inside[[0]] if sign < 0 else inside[[1]]
        found = np.sort(solve(direction))
        np.testing.assert_allclose(found[found > 1], expected, rtol=1e-9)
        assert (found[found <= 1] < 1e-9).all()


def test_events_as_scipy_writes_them_find_what_scipy_finds():
    def f(t, x):
        return [x[1], -np.sin(x[0])]

    def level(t, x):
        return x[0] - 0.5

    level.direction = 1
    ours = solve_ivp(f, (0, 20), [2.0, 0.0], events=level, rtol=1e-10, atol=1e-10)
    theirs = scipy.integrate.solve_ivp(f, (0, 20), [2.0, 0.0], "DOP853", events=level, rtol=1e-12, atol=1e-12)
    assert len(ours.t_events[0]) == 2 == len(theirs.t_events[0])
    np.testing.assert_allclose(ours.t_events[0], theirs.t_events[0], rtol=1e-8)
    np.testing.assert_allclose(ours.x_events[0], theirs.y_events[0], atol=1e-8)


def test_events_that_make_no_sense():
    def solve(event, **more):
        return solve_ivp(lambda t, x: -x, (0, 1), [1.0], events=event, **more)

    assert solve(lambda t, x: 0 * t).success  # g = 0 everywhere does not pass through zero
    busy = solve(lambda t, x: np.sin(200 * t), max_step=1e-3, max_events=20)
    assert busy.status == -1 and "after 20 events" in busy.message and len(busy.t_events[0]) == 20
    back = solve(Event(lambda t, x, u, p: x[0] - 0.5, jump=lambda t, x, u, p: [0.5 + 0 * x[0]], name="stuck"))
    assert back.success and len(back.t_events[0]) == 1
    broken = solve(Event(lambda t, x, u, p: x[0] - 0.5, jump=lambda t, x, u, p: [np.sqrt(x[0] - 5)], name="broken"))
    assert broken.status == -1 and "the jump of event 'broken' returned a state that is not finite" in broken.message
    with pytest.raises(InputError, match="direction is 2"):
        Event(lambda t, x, u, p: x[0], direction=2)
    with pytest.raises(InputError, match="g is 3"):
        Event(3)
    with pytest.raises(InputError, match="event .* is nan at t = 0"):
        solve(lambda t, x: np.sqrt(x - 2))


def test_a_grazing_event_has_no_derivative():
    """The ball rises exactly to the level: g touches zero at the top."""
    solution = solve_ivp(BALL, (0, 2), [0, 9.81], p=[9.81], events=Event(lambda t, x, u, p: x[1] ** 3, name="top"))
    assert len(solution.t_events[0]) == 1
    with pytest.raises(AdjointError, match="event 'top' grazes"):
        solution.sweep(dt_events=[[1.0]])
    assert np.isfinite(solution.sweep(dlast=[1, 0]).x0).all()


# ---- the continuous adjoint -----------------------------------------------------------------------


def test_both_adjoints_meet_as_the_tolerance_falls():
    table = compare_adjoints(lotka_volterra, (0, 10), [1.0, 1], lambda x: x - 1, p=[1.5, 1, 3, 1])
    assert (np.diff(np.log10(table.difference)) < -1).all()
    assert table.discrete[-1] < 1e-9 and table.continuous[-1] < 1e-9 and table.difference[0] > 1e-3
    assert len(str(table).splitlines()) == 6


def test_the_continuous_adjoint_with_controls_and_outputs():
    t_eval = np.linspace(0, 3, 7)
    solution = solve_ivp(FORCED, (0, 3), X0, method=DOP853, rtol=1e-11, atol=1e-12, t_eval=t_eval, **GIVEN)
    discrete = solution.sweep(solution.x, [1.0, 2.0])
    continuous = continuous_adjoint(solution, solution.x, [1.0, 2.0])
    for name in ("x0", "u", "p"):
        np.testing.assert_allclose(getattr(continuous, name), getattr(discrete, name), atol=1e-7)
    np.testing.assert_allclose(continuous.x_start, X0, atol=1e-9)
    with pytest.raises(AdjointError, match="has events"):
        continuous_adjoint(solve_ivp(BALL, (0, 1), [1, 0], p=[9.81], events=IMPACT), dlast=[1, 0])


# ---- ensembles ------------------------------------------------------------------------------------


def members(B=37):
    rng = np.random.default_rng(3)
    return rng.uniform(0.5, 2, (B, 2)), np.array([1.5, 1, 3, 1]) * rng.uniform(0.8, 1.2, (B, 4))


@pytest.mark.parametrize("method", PAIRS, ids=lambda m: m.name)
def test_an_ensemble_is_a_loop(method):
    x0, p = members()
    together = solve_ensemble(LOTKA, (0, 8), x0, p=p, method=method, keep=True)
    seed = np.cos(np.arange(74)).reshape(37, 2)
    g = together.sweep(dlast=seed)
    assert together.success and "All 37 members" in together.message
    for b in range(37):
        alone = solve_ivp(LOTKA, (0, 8), x0[b], p=p[b], method=method)
        assert np.array_equal(alone.trajectory.t, together.trajectory(b).t)
        assert np.array_equal(alone.trajectory.x, together.trajectory(b).x)
        assert np.array_equal(alone.x[-1], together.last[b])
        one = alone.sweep(dlast=seed[b])
        np.testing.assert_allclose(g.x0[b], one.x0, rtol=1e-13)
        np.testing.assert_allclose(g.p[b], one.p, rtol=1e-13)


def test_ensembles_with_controls_and_outputs():
    rng = np.random.default_rng(4)
    B, t_eval = 11, np.linspace(0, 3, 13)
    x0, u = rng.normal(size=(B, 2)), rng.normal(size=(B, 3, 1))
    together = solve_ensemble(FORCED, (0, 3), x0, u=u, knots=KNOTS, p=P, t_eval=t_eval)
    seed = rng.normal(size=(B, 13, 2))
    g = together.sweep(dx=seed)
    total = np.zeros(2)
    for b in range(B):
        alone = solve_ivp(FORCED, (0, 3), x0[b], u=u[b], knots=KNOTS, p=P, t_eval=t_eval)
        np.testing.assert_allclose(together.x[b], alone.x, rtol=1e-13, atol=1e-14)
        one = alone.sweep(dx=seed[b])
        np.testing.assert_allclose(g.x0[b], one.x0, rtol=1e-12)
        np.testing.assert_allclose(g.u[b], one.u, rtol=1e-12, atol=1e-13)
        total += one.p
    np.testing.assert_allclose(g.p, total, rtol=1e-12)


def test_ensembles_in_threads_and_processes():
    x0, p = members()
    alone = solve_ensemble(LOTKA, (0, 8), x0, p=p, keep=True)
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(1) as processes:
        for more in (dict(threads=3), dict(executor=threads), dict(executor=processes)):
            shared = solve_ensemble(LOTKA, (0, 8), x0, p=p, keep=True, **more)
            assert np.array_equal(shared.last, alone.last)
            assert np.array_equal(shared.trajectory(20).x, alone.trajectory(20).x)
            np.testing.assert_array_equal(shared.sweep(dlast=x0).p, alone.sweep(dlast=x0).p)


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_returns_the_members_that_are_finished(threads):
    x0, p = members(4000)
    solve_ensemble(LOTKA, (0, 1), x0[:8], p=p[:8])  # compiled
    timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])  # to the process, as a keyboard does
    timer.start()
    together = solve_ensemble(LOTKA, (0, 10_000), x0, p=p, rtol=1e-10, threads=threads)
    done = together.status == 0
    assert 0 < np.count_nonzero(~done) and "was interrupted" in together.message
    assert np.array_equal(together.last[~done], x0[~done]) and np.isfinite(together.last).all()


def test_a_member_that_fails_does_not_stop_the_others():
    explode = adjoint.System(lambda t, x, u, p: [x[0] ** 2], states="x")
    x0 = np.linspace(0.1, 2.0, 9)[:, None]
    together = solve_ensemble(explode, (0, 1), x0, keep=True, max_steps=5000)
    assert np.array_equal(together.status, np.where(x0[:, 0] < 1, 0, -1))
    np.testing.assert_allclose(together.last[:4, 0], x0[:4, 0] / (1 - x0[:4, 0]), rtol=1e-4)
    assert "5 of 9 members stopped early; the first, number 4," in together.message
    with pytest.raises(InputError, match="nothing is a batch"):
        solve_ensemble(explode, (0, 1), [1.0])
    with pytest.raises(InputError, match="the sizes differ"):
        solve_ensemble(LOTKA, (0, 1), np.ones((3, 2)), p=np.ones((4, 4)))
    with pytest.raises(InputError, match="grids were not kept"):
        solve_ensemble(explode, (0, 0.1), x0).sweep(dlast=x0)


# ---- symplectic -----------------------------------------------------------------------------------

PENDULUM = adjoint.System(lambda t, x, u, p: [x[1], -p[0] * np.sin(x[0]) + u[0] * np.cos(3 * t)], states="q p",
                          controls="push", parameters="stiffness")  # fmt: skip


def energy(x):
    return x[:, 1] ** 2 / 2 - np.cos(x[:, 0])


def test_energy_drift():
    """The pendulum from q = 2: h = 0.1, 1e5 steps."""
    t = np.arange(100_001) * 0.1
    drift = {}
    for method in (VERLET, adjoint.RK4):
        H = energy(adjoint.rollout(PENDULUM, [2, 0], [0.0], t, [1.0], method).x)
        drift[method] = np.abs(H - H[0])
    assert drift[VERLET].max() < 1.02 * drift[VERLET][:1000].max()
    assert drift[adjoint.RK4].max() > 50 * drift[adjoint.RK4][:1000].max()
    linear = np.polyfit(np.log(t[1000:]), np.log(drift[adjoint.RK4][1000:]), 1)[0]
    assert abs(linear - 1) < 0.05


def test_period_of_the_pendulum():
    crossing = Event(lambda t, x, u, p: x[1], direction=-1)
    solution = solve_ivp(PENDULUM, (0, 20), [2, 0], u=[0.0], p=[1.0], events=crossing, method=DOP853, rtol=1e-12,
                         atol=1e-13)  # fmt: skip
    later = solution.t_events[0][solution.t_events[0] > 1]
    np.testing.assert_allclose(later[0], 8.349752926918, rtol=1e-11)  # 4 K(sin 1)


@pytest.mark.parametrize("method", [VERLET, YOSHIDA4, SUZUKI4, KAHAN_LI6, SUZUKI_UMENO8], ids=lambda m: m.name)
def test_order_and_symmetry_of_compositions(method):
    given = dict(u=[0.3], p=[1.0])
    exact = solve_ivp(PENDULUM, (0, 2), [2, 0], method=DOP853, rtol=1e-13, atol=1e-14, **given).x[-1]
    counts = (4, 6, 9) if method.order >= 6 else (20, 40, 80)
    errors = []
    for N in counts:
        path = adjoint.rollout(PENDULUM, [2, 0], given["u"], np.linspace(0, 2, N + 1), given["p"], method)
        errors.append(np.abs(path.x[-1] - exact).max())
        back = adjoint.rollout(PENDULUM, path.x[-1], given["u"], np.linspace(2, 0, N + 1), given["p"], method)
        np.testing.assert_allclose(back.x[-1], [2, 0], atol=1e-12)
        A = adjoint.linearize(path).A
        np.testing.assert_allclose(np.linalg.det(A), 1, rtol=1e-12)  # in the plane symplectic is: keeps areas
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(slope - method.order) < 0.5
    g = adjoint.sweep(path, dx=[1.0, 0.5])
    product = np.array([1.0, 0.5])
    for a in A[::-1]:
        product = a.T @ product
    np.testing.assert_allclose(g.x0, product, rtol=1e-12)


def test_what_does_not_split_is_refused():
    friction = adjoint.System(lambda t, x, u, p: [x[1], -x[0] - 0.1 * x[1]], states="q v", name="oscillator")
    with pytest.raises(InputError, match="does not split into two groups.* the rate of 'v' depends on its own group"):
        adjoint.rollout(friction, [1, 0], None, [0, 1], method=VERLET)
    with pytest.raises(InputError, match="sum to 0.9 of h"):
        Composition("bad", (0.9,), 2)
    chain = adjoint.System(lambda t, x, u, p: [*x[3:], x[1] - x[0], x[0] - 2 * x[1] + x[2], x[1] - x[2]],
                           states="q[3] v[3]")  # fmt: skip
    path = adjoint.rollout(chain, [1, 0, 0, 0, 0, 0], None, np.linspace(0, 5, 501), method=YOSHIDA4)
    exact = solve_ivp(chain, (0, 5), [1, 0, 0, 0, 0, 0], method=DOP853, rtol=1e-12, atol=1e-12).x[-1]
    np.testing.assert_allclose(path.x[-1], exact, atol=1e-7)
    again = pickle.loads(pickle.dumps(path))
    assert np.array_equal(adjoint.rollout(again.system, again.x[0], again.u, again.t, method=again.method).x, path.x)


def test_no_warning_without_need():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        system = adjoint.System(lambda t, x, u, p: [-x[0], 1e-14 * x[0] - x[1]], states="big tiny")
        solve_ivp(system, (0, 1), [1.0, 1e-14], atol=1e-20).sweep(dlast=[0, 1])
        reverse = adjoint.System(lambda t, x, u, p: [-x[0], 1e14 * x[0] - x[1]], states="small huge")
        solve_ivp(reverse, (0, 1), [1e-14, 1.0], atol=1e-20).sweep(dlast=[0, 1])


VAN_DER_POL = adjoint.System(lambda t, x, u, p: [x[1], p[0] * (1 - x[0] ** 2) * x[1] - x[0]], "x v", parameters="mu")


@pytest.mark.parametrize("method", [TSIT5, DOPRI5], ids=lambda m: m.name)
def test_a_gradient_along_steps_that_are_too_long_says_so(method):
    """A mildly stiff system: the error control keeps the states right, and the derivative on its grid is not."""
    wrong = missed = false = 0
    for mu in (5.0, 20.0, 30.0, 40.0, 50.0):
        for T, rtol in ((10, 1e-5), (15, 1e-5), (15, 1e-6), (15, 3e-7)):
            sharp = dict(method=adjoint.RODAS5P, rtol=1e-9, atol=1e-11)
            truth = solve_ivp(VAN_DER_POL, (0, T), [2, 0], p=[mu], **sharp).sweep(dlast=[1, 0]).p[0]
            s = solve_ivp(VAN_DER_POL, (0, T), [2, 0], p=[mu], method=method, rtol=rtol, atol=1e-2 * rtol)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                error = abs(s.sweep(dlast=[1, 0]).p[0] / truth - 1)
            told = [w for w in caught if issubclass(w.category, StabilityWarning) and w.filename == __file__]
            wrong += error > 0.1
            missed += error > 0.1 and not told
            false += error < 0.02 and bool(told)
    assert wrong >= 2 and missed == 0 and false <= 1


def test_a_J_of_members_that_stopped_early_is_refused():
    explode = adjoint.System(lambda t, x, u, p: [p[0] * x[0] ** 2], states="x", parameters="k")
    together = solve_ensemble(explode, (0, 2), [[0.1], [1.0]], p=[1.0], keep=True, t_eval=[0.5, 1.5])
    with pytest.raises(InputError, match="1 members that stopped early, the first of them number 1"):
        together.sweep(dlast=np.ones((2, 1)))
    with pytest.raises(InputError, match="stopped early"):
        together.sweep(dx=together.x)
    exact = 0.1**2 * 2 / (1 - 0.2) ** 2  # of x_0 / (1 - k x_0 t)
    assert together.sweep(dlast=[[1.0], [0.0]]).p[0] == pytest.approx(exact, rel=1e-3)
