"""`solve` as a user meets it: invariances, orders of convergence, closed forms, guesses, limits, and what it says.

Tolerances are derived, not fitted. TIGHT: what a tolerance of 1e-8 on the scaled conditions leaves in costs of size 1;
states and controls near a flat optimum err by its root. Barrier: an active bound leaves 1e-8 of its own size.
"""

from __future__ import annotations

import functools
import math
import tracemalloc

import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

import adjoint
from adjoint import OptimalControlProblem, System, free
from adjoint.errors import AdjointError, InputError
from adjoint.method import DOPRI5, EULER, HEUN, MIDPOINT, RK4, gauss, radau

TIGHT = 1e-6


# --- problems


def double_integrator(t, x, u, p):
    return [x[1], u[0]]


def effort(t, x, u, p):
    return u[0] ** 2


def integrator_problem(**more):
    keys = dict(initial=dict(x=0, v=0), final=dict(x=1, v=0), t=(0, 1), running=effort) | more
    return OptimalControlProblem(System(double_integrator, "x v", "u"), **keys)


HAGER = math.tanh(1) / 2


@functools.cache
def hager():
    return OptimalControlProblem(
        System(lambda t, x, u, p: [x[0] / 2 + u[0]], "x", "u"),
        initial=dict(x=1),
        t=(0, 1),
        running=lambda t, x, u, p: 5 / 8 * x[0] ** 2 + x[0] * u[0] / 2 + u[0] ** 2 / 2,
    )


def oscillator(
    x_unit=1.0, v_unit=1.0, u_unit=1.0, time=1.0, shift=0.0, swap=False, factor=1.0, constant=0.0, maximise=False
):
    """Van der Pol's oscillator with a bounded force, in any units; `time` seconds are one unit of time."""
    units = np.array([x_unit, v_unit])

    def f(t, x, u, p):
        a, b = (x[1], x[0]) if swap else (x[0], x[1])
        a, b, force = a / x_unit, b / v_unit, u[0] / u_unit
        rates = [b * x_unit / time, ((1 - a * a) * b - a + force) * v_unit / time]
        return rates[::-1] if swap else rates

    sign = -factor if maximise else factor

    def running(t, x, u, p):
        a, b = (x[1], x[0]) if swap else (x[0], x[1])
        return sign * ((a / x_unit) ** 2 + (b / v_unit) ** 2 + (u[0] / u_unit) ** 2) / time

    def terminal(t, x, p):
        return sign * ((x[1] if swap else x[0]) / x_unit) ** 2 + constant

    goal = dict(maximize=terminal) if maximise else dict(minimize=terminal)
    return OptimalControlProblem(
        System(f, "v x" if swap else "x v", "u"),
        initial=dict(x=1 * units[0], v=0.5 * units[1]),
        final=dict(v=0.1 * units[1]),
        bounds=dict(u=(-0.8 * u_unit, 0.6 * u_unit), x=(-3 * x_unit, 3 * x_unit)),
        running=running,
        t=(shift, shift + 4 * time),
        **goal,
    )


def fast(problem, **more):
    """Solve on one mesh, without a certificate."""
    s = adjoint.solve(problem, **(dict(intervals=20, certificate=False) | more))
    assert s.converged, s.status
    return s


@functools.cache
def reference():
    return fast(oscillator())


# --- invariances


@pytest.mark.parametrize(
    "change",
    [
        dict(x_unit=1e3),
        dict(v_unit=1e-3),
        dict(u_unit=1e3),
        dict(u_unit=1e-3),
        dict(time=1e3),
        dict(time=1e-3),
        dict(x_unit=1e3, v_unit=1e-3, u_unit=1e3, time=1e3),
    ],
    ids=str,
)
def test_units_do_not_matter(change):
    s, r = fast(oscillator(**change)), reference()
    unit = dict(x_unit=1.0, v_unit=1.0, u_unit=1.0, time=1.0) | change
    np.testing.assert_allclose(s.cost, r.cost, rtol=TIGHT)
    np.testing.assert_allclose(s["x"] / unit["x_unit"], r["x"], atol=1e-5)
    np.testing.assert_allclose(s["v"] / unit["v_unit"], r["v"], atol=1e-5)
    np.testing.assert_allclose(s["u"] / unit["u_unit"], r["u"], atol=1e-4)
    np.testing.assert_allclose(s.costate * [unit["x_unit"], unit["v_unit"]], r.costate, atol=1e-4)
    np.testing.assert_allclose(s.t / unit["time"], r.t, atol=1e-12)
    assert s.iterations <= 2 * r.iterations


def test_an_autonomous_problem_may_start_at_any_time():
    s, r = fast(oscillator(shift=17.0)), reference()
    np.testing.assert_allclose(s.t - 17, r.t, atol=1e-12)
    np.testing.assert_allclose(s.x, r.x, atol=1e-8)
    np.testing.assert_allclose(s.costate, r.costate, atol=1e-7)


def test_the_order_of_the_states_does_not_matter():
    s, r = fast(oscillator(swap=True)), reference()
    np.testing.assert_allclose(s.cost, r.cost, rtol=1e-9)
    for name in ("x", "v", "u"):
        np.testing.assert_allclose(s[name], r[name], atol=1e-6)
    np.testing.assert_allclose(s.costate[:, ::-1], r.costate, atol=1e-6)


def test_maximising_is_minimising_the_negative():
    s, r = fast(oscillator(maximise=True)), reference()
    np.testing.assert_allclose(s.cost, -r.cost, rtol=1e-10)
    np.testing.assert_allclose(s.x, r.x, atol=1e-9)
    # the costates belong to the minimisation of the negated objective: the same ones
    np.testing.assert_allclose(s.costate, r.costate, atol=1e-8)
    np.testing.assert_allclose(s.multipliers["final v"], r.multipliers["final v"], atol=1e-8)


@pytest.mark.parametrize("factor", [2.0, 1e4, 1e-4])
def test_a_multiple_of_the_cost_multiplies_the_costates(factor):
    s, r = fast(oscillator(factor=factor)), reference()
    np.testing.assert_allclose(s.cost, factor * r.cost, rtol=TIGHT)
    np.testing.assert_allclose(s.x, r.x, atol=1e-5)
    np.testing.assert_allclose(s.costate, factor * r.costate, atol=1e-4 * factor)
    np.testing.assert_allclose(s.bound_multipliers["u"], factor * r.bound_multipliers["u"], atol=1e-4 * factor)


def test_a_constant_in_the_cost_changes_nothing_else():
    s, r = fast(oscillator(constant=5.0)), reference()
    np.testing.assert_allclose(s.cost, r.cost + 5, rtol=1e-9)
    np.testing.assert_allclose(s.x, r.x, atol=1e-7)
    np.testing.assert_allclose(s.costate, r.costate, atol=1e-6)


def test_the_same_call_gives_the_same_numbers():
    first, second = fast(oscillator()), fast(oscillator())
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(first.costate, second.costate)


def test_the_costate_is_the_gradient_of_the_optimal_cost():
    def cost(x):
        return fast(integrator_problem(initial=dict(x=x, v=0.2))).cost

    s = fast(integrator_problem(initial=dict(x=0.3, v=0.2)))
    np.testing.assert_allclose(s.costate[0, 0], (cost(0.3 + 1e-3) - cost(0.3 - 1e-3)) / 2e-3, rtol=1e-6)


# --- convergence


def slope(sizes, errors):
    return -np.polyfit(np.log(sizes), np.log(np.abs(errors)), 1)[0]


@pytest.mark.parametrize(
    ("method", "sizes"),
    [
        (gauss(1), (8, 16, 32)),
        (gauss(2), (4, 8, 16)),
        (gauss(3), (2, 3, 4)),
        (radau(1), (16, 32, 64)),
        (radau(2), (8, 16, 32)),
        (radau(3), (3, 4, 6)),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_the_cost_of_collocation_converges_with_the_order_of_the_method(method, sizes):
    errors = [fast(hager(), method=method, intervals=N).cost - HAGER for N in sizes]
    assert abs(slope(sizes, errors) - method.order) < 0.4, errors
    x = [fast(hager(), method=method, intervals=N).x[-1, 0] - 1 / np.cosh(1) for N in sizes]
    assert slope(sizes, x) > method.order - 0.5, x


@pytest.mark.parametrize(
    ("method", "order"), [(EULER, 1), (MIDPOINT, 2), (HEUN, 2), (RK4, 2)], ids=lambda v: getattr(v, "name", "")
)
def test_the_cost_of_shooting_converges_as_constant_controls_allow(method, order):
    # piecewise constant controls err by h, the optimal cost by its square; Euler by h
    sizes = (8, 16, 32)
    errors = [fast(hager(), method=method, intervals=N).cost - HAGER for N in sizes]
    assert abs(slope(sizes, errors) - order) < 0.3, errors


@pytest.mark.parametrize(
    ("method", "sizes"),
    [(EULER, (16, 32, 64)), (HEUN, (8, 16, 32)), (RK4, (4, 8, 16)), (DOPRI5, (32, 48, 64))],
    ids=lambda v: getattr(v, "name", ""),
)
def test_a_problem_without_controls_is_a_simulation_of_the_methods_order(method, sizes):
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [-x[0] * x[0] * (1 + np.sin(3 * t))], "x"),
        initial=dict(x=2),
        t=(0, 1),
        running=lambda t, x, u, p: x[0],
        minimize=lambda t, x, p: x[0] ** 2,
    )
    exact = 1 / (0.5 + 1 + (1 - math.cos(3)) / 3)
    errors = [fast(problem, method=method, intervals=N).x[-1, 0] - exact for N in sizes]
    assert abs(slope(sizes, errors) - method.order) < 0.6, errors


def test_substeps_are_smaller_steps_under_the_same_control():
    one = OptimalControlProblem(
        System(lambda t, x, u, p: [-(x[0] ** 2)], "x"), initial=dict(x=2), t=(0, 1), minimize=lambda t, x, p: x[0]
    )
    np.testing.assert_allclose(
        fast(one, method=RK4, intervals=2, substeps=4).x[-1], fast(one, method=RK4, intervals=8).x[-1], rtol=1e-12
    )


# --- closed forms


@pytest.mark.parametrize("method", [None, gauss(2), radau(2), radau(3)], ids=str)
def test_least_effort_is_exact_where_the_solution_is_a_polynomial(method):
    s = adjoint.solve(integrator_problem(), method=method, intervals=4)
    assert s.optimal, s.status
    np.testing.assert_allclose(s.cost, 12, rtol=1e-9)
    np.testing.assert_allclose(s["x"], 3 * s.t**2 - 2 * s.t**3, atol=1e-9)
    np.testing.assert_allclose(s.costate, np.stack([np.full(5, -24.0), -12 + 24 * s.t], axis=1), atol=1e-7)
    # J = 12 (x1 - x0)^2: the multiplier of x(1) = x1 is -dJ/dx1
    np.testing.assert_allclose(s.multipliers["final x"], -24, rtol=1e-7)


def test_least_time_switches_once():
    s = adjoint.solve(
        integrator_problem(running=None, minimize=lambda t, x, p: t, bounds=dict(u=(-1, 1)), t=(0, free(1.5))),
        intervals=20,
    )
    assert s.optimal, s.status
    np.testing.assert_allclose(s.tf, 2, rtol=1e-6)
    np.testing.assert_allclose(s["u"], np.where(s.node_t < 1, 1, -1), atol=1e-3)


def test_bryson_and_denham():
    limit = 0.1
    s = adjoint.solve(
        integrator_problem(
            initial=dict(x=0, v=1),
            final=dict(x=0, v=-1),
            bounds=dict(x=(None, limit)),
            running=lambda t, x, u, p: u[0] ** 2 / 2,
        ),
        intervals=60,
    )
    assert s.converged, s.status
    np.testing.assert_allclose(s.cost, 4 / (9 * limit), rtol=2e-5)
    assert s["x"].max() <= limit * (1 + 1e-6)


def test_one_state_one_control_one_interval():
    # gauss(1) on one interval is the midpoint rule: min u^2 + (x0 + u)^2 + ... with the state in the middle 1 + u/2
    s = fast(
        OptimalControlProblem(
            System(lambda t, x, u, p: [u[0]], "x", "u"),
            initial=dict(x=1),
            t=(0, 1),
            running=lambda t, x, u, p: u[0] ** 2 + x[0] ** 2,
        ),
        method=gauss(1),
        intervals=1,
    )
    np.testing.assert_allclose(s["u"], [-0.4], atol=1e-9)
    np.testing.assert_allclose(s.x[:, 0], [1, 0.6], atol=1e-9)
    np.testing.assert_allclose(s.cost, 0.16 + 0.64, rtol=1e-9)
    assert s.x.shape == (2, 1) and s.u.shape == (1, 1, 1) and s.costate.shape == (2, 1) and s.N == 1


def test_a_discrete_regulator_is_riccatis():
    A, B = np.array([[1.1, 0.3], [0.0, 0.9]]), np.array([[0.0], [1.0]])
    Q, R = np.diag([1.0, 0.5]), np.array([[0.2]])
    P = solve_discrete_are(A, B, Q, R)
    x0, N = np.array([1.0, -2.0]), 30
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: A @ x + B @ u, "a b", "u", discrete=True),
        initial=x0,
        t=(0, N),
        running=lambda t, x, u, p: x @ Q @ x + u @ R @ u,
        minimize=lambda t, x, p: x @ P @ x,
    )
    s = adjoint.solve(problem)
    assert s.optimal, s.status
    assert s.N == N and s.x.shape == (N + 1, 2) and s.u.shape == (N, 1)
    gain = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    np.testing.assert_allclose(s.cost, x0 @ P @ x0, rtol=1e-9)
    np.testing.assert_allclose(s.u, -s.x[:-1] @ gain.T, atol=1e-8)
    np.testing.assert_allclose(s.costate, 2 * s.x @ P, atol=1e-7)


def test_a_discrete_system_depends_on_its_own_times():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [x[0] + t * u[0]], "x", "u", discrete=True),
        initial=dict(x=0),
        final=dict(x=1),
        t=(2, 5),
        running=effort,
    )
    s = fast(problem, intervals=None)
    np.testing.assert_allclose(s.u[:, 0], np.array([2, 3, 4]) / 29, atol=1e-8)  # least norm of 2 a + 3 b + 4 c = 1


# --- parameters, integrals, couplings, times, path constraints


def decay(rate, **more):
    return OptimalControlProblem(
        System(lambda t, x, u, p: [-p[0] * x[0]], "x", parameters="rate"),
        initial=dict(x=1),
        t=(0, 1),
        parameters=dict(rate=rate),
        running=lambda t, x, u, p: (x[0] - np.exp(-2 * t)) ** 2,
        **more,
    )


def test_a_parameter_is_fixed_or_free_or_at_its_bound():
    np.testing.assert_allclose(fast(decay(3.0)).x[-1, 0], np.exp(-3), rtol=1e-7)
    found = fast(decay(free(0.5)))
    np.testing.assert_allclose(found["rate"], 2, rtol=1e-5)
    np.testing.assert_allclose(found.p, [2], rtol=1e-5)
    np.testing.assert_allclose(fast(decay(free(0.5, upper=1.5))).p, [1.5], rtol=1e-6)
    np.testing.assert_allclose(fast(decay(free(5.0, lower=2.5))).p, [2.5], rtol=1e-6)


def test_a_group_of_parameters():
    system = System(lambda t, x, u, p: [p[0] + p[1] * t], "x", parameters="a[2]")
    problem = OptimalControlProblem(
        system,
        initial=dict(x=0),
        t=(0, 1),
        parameters=dict(a=free(0.0)),
        running=lambda t, x, u, p: (x[0] - t - t**2) ** 2,
    )
    np.testing.assert_allclose(fast(problem, tol=1e-10)["a"], [1, 2], atol=1e-4)
    fixed = OptimalControlProblem(
        system, initial=dict(x=0), t=(0, 1), parameters=dict(a=[3, 4]), minimize=lambda t, x, p: x[0]
    )
    np.testing.assert_allclose(fast(fixed).cost, 5, rtol=1e-9)


@pytest.mark.parametrize("method", [gauss(3), radau(3), RK4], ids=lambda m: m.name)
def test_an_integral_constraint_and_its_multiplier(method):
    area = 1 / 6
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [u[0]], "x", "u"),
        initial=dict(x=0),
        final=dict(x=0),
        t=(0, 1),
        running=effort,
        integrals=dict(area=(lambda t, x, u, p: x[0], area, area)),
    )
    s = fast(problem, method=method, intervals=40)
    exact = 12 * area**2  # x = 6 A t (1 - t)
    np.testing.assert_allclose(s.cost, exact, rtol=1e-7 if method is not RK4 else 2e-3)
    np.testing.assert_allclose(s.multipliers["integral area"], -24 * area, rtol=1e-6 if method is not RK4 else 2e-3)


def test_an_integral_inequality_acts_only_where_it_binds():
    def problem(limit):
        return OptimalControlProblem(
            System(lambda t, x, u, p: [u[0]], "x", "u"),
            initial=dict(x=0),
            final=dict(x=1),
            t=(0, 1),
            running=effort,
            integrals=dict(area=(lambda t, x, u, p: x[0], None, limit)),
        )

    loose, binding = fast(problem(0.9)), fast(problem(0.4))
    np.testing.assert_allclose(loose.cost, 1, rtol=1e-7)
    np.testing.assert_allclose(loose.multipliers["integral area"], 0, atol=1e-5)
    np.testing.assert_allclose(binding.cost, 1 + 12 * 0.1**2, rtol=1e-6)
    np.testing.assert_allclose(
        binding.multipliers["integral area"], 24 * 0.1, rtol=1e-5
    )  # positive: the upper bound acts


def test_a_periodic_orbit_by_a_coupled_boundary():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [u[0]], "x", "u"),
        t=(0, 2 * np.pi),
        running=lambda t, x, u, p: (x[0] - np.cos(t)) ** 2 + u[0] ** 2,
        boundary=dict(periodic=(lambda t0, x0, tf, xf, p: xf[0] - x0[0], 0, 0)),
    )
    s = adjoint.solve(problem, intervals=20)
    assert s.optimal, s.status
    np.testing.assert_allclose(s["x"], np.cos(s.t) / 2, atol=1e-6)
    np.testing.assert_allclose(s.cost, np.pi / 2, rtol=1e-8)


def test_a_boundary_on_the_start_alone_and_on_the_end_alone():
    s = fast(
        OptimalControlProblem(
            System(double_integrator, "x v", "u"),
            initial=dict(v=0),
            t=(0, 1),
            running=effort,
            boundary=dict(
                start=(lambda t0, x0, tf, xf, p: x0[0] ** 2, 4, 4),
                end=(lambda t0, x0, tf, xf, p: [xf[0] - 3, xf[1]], 0, 0),
            ),
            guess=dict(x=1.0),
        )
    )
    np.testing.assert_allclose(s.x, np.stack([2 + 3 * s.t**2 - 2 * s.t**3, 6 * s.t - 6 * s.t**2], axis=1), atol=1e-6)
    assert {"boundary start", "boundary end[0]", "boundary end[1]"} <= set(s.multipliers)


@pytest.mark.parametrize("method", [gauss(3), radau(2), RK4], ids=lambda m: m.name)
def test_both_times_may_be_free(method):
    # sin(t) u moves x by sqrt 2 in the least time between pi/4 and 3 pi/4
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [np.sin(t) * u[0]], "x", "u"),
        initial=dict(x=0),
        final=dict(x=np.sqrt(2)),
        bounds=dict(u=(0, 1)),
        t=(free(0.5, 0, 3), free(2.0, 0, 3)),
        running=lambda t, x, u, p: 1.0,
    )
    s = fast(problem, method=method)
    np.testing.assert_allclose([s.t[0], s.tf], [np.pi / 4, 3 * np.pi / 4], atol=1e-3)
    np.testing.assert_allclose(s.cost, np.pi / 2, rtol=1e-5)


def test_a_free_initial_time_alone():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [u[0]], "x", "u"),
        initial=dict(x=0),
        final=dict(x=1),
        t=(free(0.0), 2.0),
        running=lambda t, x, u, p: 1 + u[0] ** 2,
    )
    s = fast(problem)
    np.testing.assert_allclose([s.t[0], s.tf, s.cost], [1, 2, 2], rtol=1e-6)


def test_a_vector_of_path_constraints_is_as_good_as_bounds():
    plain = fast(oscillator(), method=radau(3))
    free_bounds = oscillator()
    problem = OptimalControlProblem(
        free_bounds.system,
        initial=dict(x=1, v=0.5),
        final=dict(v=0.1),
        t=(0, 4),
        running=free_bounds.phases[0].running,
        minimize=free_bounds.phases[0].terminal,
        path=dict(limits=(lambda t, x, u, p: [x[0], u[0]], [-3, -0.8], [3, 0.6])),
    )
    s = fast(problem, method=radau(3))
    np.testing.assert_allclose(s.cost, plain.cost, rtol=TIGHT)
    np.testing.assert_allclose(s["u"], plain["u"], atol=1e-4)
    assert s.multipliers["path limits"].shape == (20, 3, 2)
    np.testing.assert_allclose(s.multipliers["path limits"][..., 1].ravel(), plain.bound_multipliers["u"], atol=1e-4)


@pytest.mark.parametrize("method", [gauss(2), RK4], ids=lambda m: m.name)
def test_an_equality_on_the_path_and_its_multiplier(method):
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [u[0] - u[1]], "x", "a b"),
        initial=dict(x=0),
        t=(0, 1),
        running=lambda t, x, u, p: u[0] ** 2 + 2 * u[1] ** 2,
        path=dict(total=(lambda t, x, u, p: u[0] + u[1], 1, 1)),
    )
    s = fast(problem, method=method, intervals=5)
    np.testing.assert_allclose(s.node_u, np.tile([2 / 3, 1 / 3], (len(s.node_t), 1)), atol=1e-8)
    np.testing.assert_allclose(s.multipliers["path total"].ravel(), -4 / 3, atol=1e-6)
    np.testing.assert_allclose(s.cost, 2 / 3, rtol=1e-8)


def test_dependent_equalities_do_no_harm():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [u[0] - u[1]], "x", "a b"),
        initial=dict(x=0),
        t=(0, 1),
        running=lambda t, x, u, p: u @ u,
        path=dict(total=(lambda t, x, u, p: u[0] + u[1], 1, 1), again=(lambda t, x, u, p: 2 * u[0] + 2 * u[1], 2, 2)),
    )
    np.testing.assert_allclose(fast(problem, intervals=5).cost, 0.5, rtol=1e-7)


def test_fixed_controls_stay_where_they_are():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [u[0] + u[1]], "x", "a b"),
        initial=dict(x=0),
        final=dict(x=1),
        bounds=dict(a=(0.25, 0.25)),
        t=(0, 1),
        running=lambda t, x, u, p: u @ u,
    )
    s = fast(problem, intervals=5)
    np.testing.assert_array_equal(s["a"], 0.25)
    np.testing.assert_allclose(s["b"], 0.75, atol=1e-8)


def test_an_end_may_be_an_interval():
    problem = integrator_problem(final=dict(x=(0.5, 2.0), v=0))
    s = fast(problem)
    np.testing.assert_allclose(s.x[-1, 0], 0.5, atol=1e-7)
    np.testing.assert_allclose(s.cost, 12 * 0.25, rtol=1e-6)
    start = fast(integrator_problem(initial=dict(x=(-1, 0.25), v=0)))
    np.testing.assert_allclose(start.x[0, 0], 0.25, atol=1e-6)


# --- starts and guesses


def two_wells():
    return OptimalControlProblem(
        System(lambda t, x, u, p: [u[0]], "x", "u"),
        initial=dict(x=0.05),
        t=(0, 1),
        bounds=dict(u=(-4, 4)),
        running=lambda t, x, u, p: 0.01 * u[0] ** 2,
        minimize=lambda t, x, p: (x[0] ** 2 - 1) ** 2 + 0.3 * x[0],
        guess=dict(x=lambda t: 0.05 + 0.3 * t, u=0.3),
    )


def test_more_starts_find_the_better_of_two_optima():
    one, many = fast(two_wells()), fast(two_wells(), starts=8)
    assert one.x[-1, 0] > 0.8  # the guess leads to the worse well
    assert many.x[-1, 0] < -0.9
    assert many.cost < one.cost - 0.4
    np.testing.assert_array_equal(many.x, fast(two_wells(), starts=8).x)  # the random bends are always the same


SWING = dict(
    constants=dict(x=0.5, v=1, u=0.0),
    arrays=dict(x=np.linspace(0, 1, 7), v=[0, 2, 0]),
    times=dict(t=[0, 0.3, 1], x=[0, 0.2, 1], u=[1, 0, -1]),
    functions=dict(x=lambda t: t**2, v=lambda t: 2 * t, u=np.cos),
)


@pytest.mark.parametrize("form", SWING)
@pytest.mark.parametrize("place", ["solve", "problem"])
def test_every_form_of_guess_leads_to_the_solution(form, place):
    if place == "solve":
        s = fast(integrator_problem(), guess=SWING[form])
    else:
        s = fast(integrator_problem(guess=SWING[form]))
    np.testing.assert_allclose(s.cost, 12, rtol=1e-8)


def started(problem, **more):
    return adjoint.solve(problem, max_iterations=0, certificate=False, **(dict(intervals=4) | more))


def test_a_guess_is_where_the_solver_starts():
    s = started(integrator_problem(), guess=dict(x=lambda t: t**2, v=[0, 1], u=0.5))
    np.testing.assert_allclose(s["x"], s.t**2, atol=1e-7)
    np.testing.assert_allclose(s["v"], s.t, atol=1e-7)
    np.testing.assert_allclose(s["u"], 0.5, atol=1e-7)
    uneven = started(integrator_problem(), guess=dict(t=[0, 0.25, 1], x=[0, 1, 4]))
    np.testing.assert_allclose(uneven["x"], np.interp(uneven.t, [0, 0.25, 1], [0, 1, 4]), atol=1e-7)
    both = started(integrator_problem(guess=dict(u=3.0, v=1.0)), guess=dict(u=2.0))
    np.testing.assert_allclose(both["u"], 2)  # the caller's entry wins
    np.testing.assert_allclose(both["v"][1:], 1)


def test_groups_are_guessed_together():
    system = System(lambda t, x, u, p: [u[0], u[1], u[2]], "q[3]", "w[3]")
    problem = OptimalControlProblem(
        system, initial=dict(q=[0, 0, 0]), final=dict(q=[1, 2, 3]), t=(0, 1), running=lambda t, x, u, p: u @ u
    )
    table = np.outer(np.linspace(0, 1, 5), [1, 2, 3])
    for guess in (
        dict(q=table),
        dict(q=[0.1, 0.2, 0.3]),
        dict(q=lambda t: [t, 2 * t, 3 * t]),
        dict(w=2.0),
        dict(w=[1, 2, 3], q1=5),
    ):
        np.testing.assert_allclose(fast(problem, guess=guess).cost, 14, rtol=1e-8)
    s = started(problem, guess=dict(q=table, w=[1, 2, 3]))
    np.testing.assert_allclose(s["q"], table, atol=1e-7)
    np.testing.assert_allclose(s["w"], np.tile([1, 2, 3], (12, 1)), atol=1e-7)


def test_a_guess_for_free_times_and_parameters():
    s = started(decay(free(0.5)), guess=dict(rate=1.7))
    np.testing.assert_allclose(s.p, 1.7)
    problem = integrator_problem(t=(0, free(1.0)), running=lambda t, x, u, p: 1 + u[0] ** 2)
    s = started(problem, guess=dict(t=[0, 3], x=[0, 1]))
    np.testing.assert_allclose(s.tf, 3)


@pytest.mark.parametrize(
    "other",
    [dict(intervals=33), dict(method=radau(3)), dict(method=RK4), dict(intervals=[0, 0.1, 0.5, 0.7, 1.0])],
    ids=["mesh", "collocation", "shooting", "knots"],
)
def test_a_solution_is_a_guess_for_any_mesh_and_method(other):
    s = fast(oscillator(), guess=reference(), **other)
    again = fast(oscillator(), **other)
    np.testing.assert_allclose(s.cost, again.cost, rtol=1e-5)
    start = started(oscillator(), guess=reference(), **other)
    np.testing.assert_allclose(start.x, reference().state(start.t), atol=1e-3)


def test_a_solution_is_a_guess_for_a_problem_with_other_numbers():
    first = fast(integrator_problem())
    s = fast(integrator_problem(final=dict(x=2, v=0)), guess=first)
    np.testing.assert_allclose(s.cost, 48, rtol=1e-8)


def test_knots_may_be_given_in_any_affine_image_of_time():
    knots = np.array([0, 0.1, 0.4, 1.0])
    one, two = fast(oscillator(), intervals=knots), fast(oscillator(), intervals=100 + 7 * knots)
    np.testing.assert_allclose(one.t, 4 * knots, atol=1e-12)
    np.testing.assert_allclose(two.x, one.x, atol=1e-8)


# --- save and load


@pytest.mark.parametrize("solution", ["collocation", "shooting", "failed", "many multipliers"])
def test_what_is_saved_is_what_is_loaded(solution, tmp_path):
    problem = oscillator()
    options = dict(collocation={}, shooting=dict(method=RK4, substeps=2), failed=dict(max_iterations=3)).get(
        solution, {}
    )
    if solution == "many multipliers":
        problem = OptimalControlProblem(
            System(double_integrator, "x v", "u"),
            initial=dict(x=0),
            final=dict(x=1),
            t=(0, 1),
            running=effort,
            path=dict(a=(lambda t, x, u, p: [x[1], u[0]], -9, 9)),
            integrals=dict(q=(effort, None, 99)),
            boundary=dict(b=(lambda t0, x0, tf, xf, p: xf[1] - x0[1], 0, 0)),
        )
    s = adjoint.solve(problem, intervals=10, **options)
    file = tmp_path / "solution.npz"
    s.save(file)
    back = adjoint.load(file, problem)
    for name in (
        "t",
        "x",
        "u",
        "p",
        "costate",
        "node_t",
        "node_x",
        "node_u",
        "node_costate",
        "integral_costate",
        "history",
    ):
        np.testing.assert_array_equal(getattr(back, name), getattr(s, name), err_msg=name)
    for name in ("method", "cost", "status", "converged", "iterations", "substeps"):
        assert getattr(back, name) == getattr(s, name), name
    for name in ("multipliers", "bound_multipliers", "raw"):
        assert set(getattr(back, name)) == set(getattr(s, name))
        for key, value in getattr(s, name).items():
            np.testing.assert_array_equal(getattr(back, name)[key], value)
    assert dict(back.seconds) == dict(s.seconds) and dict(back.residuals) == dict(s.residuals)
    assert back.problem is problem and back.certificate is None and not back.optimal
    at = np.linspace(0, s.tf, 13)
    np.testing.assert_array_equal(back.state(at), s.state(at))
    np.testing.assert_array_equal(back.control(at), s.control(at))
    assert adjoint.certify(back).holds == (s.certificate is not None and s.certificate.holds)
    assert str(back).startswith(str(s).splitlines()[0])


def test_a_loaded_solution_starts_a_solve(tmp_path):
    s = fast(oscillator())
    s.save(tmp_path / "s.npz")
    again = fast(oscillator(), guess=adjoint.load(tmp_path / "s.npz", oscillator()))
    assert again.iterations <= 3


def foreign_files():
    def text(file):
        file.write_text("cost, 3.0\n")

    def empty(file):
        file.write_bytes(b"")

    def array(file):
        with open(file, "wb") as stream:
            np.save(stream, np.arange(3.0))

    def arrays(file):
        with open(file, "wb") as stream:
            np.savez(stream, x=np.arange(3.0))

    def wrong_text(file):
        with open(file, "wb") as stream:
            np.savez(stream, text=np.frombuffer(b'{"states": ["x", "v"]}', dtype=np.uint8))

    def no_json(file):
        with open(file, "wb") as stream:
            np.savez(stream, text=np.arange(9))

    def cut(file):
        reference().save(file)
        file.write_bytes(file.read_bytes()[:-200])

    def scrambled(file):
        reference().save(file)
        content = bytearray(file.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
        file.write_bytes(bytes(content))

    def pickled(file):
        with open(file, "wb") as stream:
            np.savez(stream, text=np.array([{}], dtype=object))

    return {f.__name__: f for f in (text, empty, array, arrays, wrong_text, no_json, cut, scrambled, pickled)}


@pytest.mark.parametrize("kind", foreign_files())
def test_a_foreign_file_is_refused_by_name(kind, tmp_path):
    file = tmp_path / f"{kind}.npz"
    foreign_files()[kind](file)
    with pytest.raises(InputError, match=f"{kind}.npz"):
        adjoint.load(file, oscillator())


def test_a_missing_file_and_another_problem_are_refused(tmp_path):
    with pytest.raises(InputError, match="nothing.npz"):
        adjoint.load(tmp_path / "nothing.npz", oscillator())
    reference().save(tmp_path / "s.npz")
    with pytest.raises(InputError, match=r"states x, v .*given has position"):
        adjoint.load(
            tmp_path / "s.npz", OptimalControlProblem(System(double_integrator, "position speed", "u"), running=effort)
        )


# --- limits and interruption


def finite(s):
    return all(np.all(np.isfinite(a)) for a in (s.t, s.x, s.u, s.costate, [s.cost]))


@pytest.mark.parametrize("limit", [0, 3])
def test_a_limit_on_iterations_returns_the_best_iterate(limit):
    s = adjoint.solve(oscillator(), max_iterations=limit)
    assert not s.converged and not s.optimal
    assert s.status.startswith(f"stopped after {limit} iterations; the best iterate is returned")
    assert s.iterations <= limit and finite(s)
    assert len(s.history) == s.iterations + 1


def test_a_limit_on_time_returns_the_best_iterate():
    s = adjoint.solve(oscillator(), time_limit=0)
    assert not s.converged and not s.optimal and finite(s)
    assert "time limit of" in s.status and "best iterate is returned" in s.status
    assert "e-" not in s.status.split("time limit of")[1].split(" s")[0], (
        s.status
    )  # the user's number, not what was left of it
    assert s.iterations <= 10


@pytest.mark.parametrize("once", [True, False])
def test_an_interruption_returns_the_best_so_far(once):
    rows = []

    def progress(row):
        rows.append(row)
        if len(rows) == 4 or (not once and len(rows) > 4):
            raise KeyboardInterrupt

    s = adjoint.solve(oscillator(), progress=progress)
    assert "interrupted from the keyboard" in s.status and not s.converged and finite(s)
    assert len(rows) == 4  # nothing goes on after Ctrl-C: no other start, no other mesh
    assert s.iterations <= 4


def test_another_error_of_the_progress_callback_is_the_users():
    def progress(row):
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        adjoint.solve(oscillator(), progress=progress)


# --- what cannot be solved


def failed(problem, **more):
    s = adjoint.solve(problem, **(dict(intervals=20, max_iterations=400) | more))
    assert not s.converged and not s.optimal
    assert finite(s)
    return s.status


def test_a_target_out_of_reach_names_the_end_condition_and_the_time():
    status = failed(integrator_problem(bounds=dict(u=(-1, 1))))  # 1/4 is as far as it can come
    assert "infeasible" in status and "'x'" in status and "t = 1 " in status, status


def test_a_state_beyond_its_reachable_set_names_the_state():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [-x[0], u[0]], "heat v", "u"),
        initial=dict(heat=1, v=0),
        t=(0, 1),
        final=dict(heat=0.8),
        running=effort,
    )
    status = failed(problem)
    assert "infeasible" in status and "'heat'" in status, status


@pytest.mark.parametrize("method", [gauss(3), RK4], ids=lambda m: m.name)
def test_contradictory_path_constraints_are_named(method):
    problem = integrator_problem(
        final=None,
        path=dict(floor=(lambda t, x, u, p: u[0] + x[0], 2, None), roof=(lambda t, x, u, p: u[0] + x[0], None, 1)),
    )
    status = failed(problem, method=method)
    assert "infeasible" in status and ("'floor'" in status or "'roof'" in status) and "t = " in status, status


def test_a_contradiction_in_the_boundary_is_named():
    problem = OptimalControlProblem(
        System(double_integrator, "x v", "u"),
        initial=dict(x=0, v=0),
        final=dict(x=1),
        t=(0, 1),
        running=effort,
        boundary=dict(closed=(lambda t0, x0, tf, xf, p: xf[0] - x0[0], 0, 0)),
    )
    status = failed(problem)
    assert "infeasible" in status and ("closed" in status or "final 'x'" in status), status


def test_an_integral_out_of_reach_is_named():
    problem = integrator_problem(bounds=dict(u=(-10, 10)), integrals=dict(fuel=(effort, None, 5.0)))  # needs 12
    status = failed(problem)
    assert "infeasible" in status or "could not be reduced" in status, status
    assert ("fuel" in status or "'x'" in status or "'v'" in status) and "t = " in status, status


def test_a_linear_cost_without_bounds_is_unbounded_in_the_control():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [-x[0]], "x", "thrust"),
        initial=dict(x=1),
        t=(0, 1),
        running=lambda t, x, u, p: x[0] ** 2 - u[0],
    )
    status = failed(problem)
    assert "unbounded" in status and "'thrust'" in status, status


def test_a_state_pushed_for_ever_is_unbounded():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [u[0]], "height", "u"),
        initial=dict(height=0),
        t=(0, 1),
        maximize=lambda t, x, p: x[0],
    )
    status = failed(problem)
    assert "unbounded" in status and ("'height'" in status or "'u'" in status), status


def test_an_unbounded_state_is_told_from_the_others():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [-x[0], x[1] + u[0]], "heat height", "u"),
        initial=dict(heat=1, height=0),
        t=(0, 3),
        maximize=lambda t, x, p: x[1],
    )
    status = failed(problem)
    assert "unbounded" in status and "'height' at t = 3 " in status, status


def test_a_time_that_pays_for_itself_is_unbounded():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [u[0]], "x", "u"),
        initial=dict(x=0),
        bounds=dict(u=(-1, 1)),
        t=(0, free(1.0)),
        minimize=lambda t, x, p: -t,
    )
    status = failed(problem)
    assert "unbounded" in status and "tf" in status, status


def test_a_parameter_without_bounds_is_named():
    problem = OptimalControlProblem(
        System(lambda t, x, u, p: [-x[0]], "x", parameters="bonus"),
        initial=dict(x=1),
        t=(0, 1),
        parameters=dict(bonus=free(1.0)),
        minimize=lambda t, x, p: x[0] - p[0],
    )
    status = failed(problem)
    assert "unbounded" in status and "'bonus'" in status, status


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (dict(f=lambda t, x, u, p: [np.log(x[0]), u[0]]), ("dynamics", "x")),
        (dict(running=lambda t, x, u, p: np.sqrt(x[0] - 5)), ("running cost", "x")),
        (dict(minimize=lambda t, x, p: np.log(x[0] - 5)), ("terminal cost", "x")),
        (dict(path=dict(dome=(lambda t, x, u, p: np.sqrt(x[1] - 9), 0, 1))), ("dome", "v")),
        (dict(integrals=dict(fuel=(lambda t, x, u, p: np.log(u[0] - 9), 0, 1))), ("fuel", "u")),
    ],
    ids=["dynamics", "running", "terminal", "path", "integral"],
)
def test_a_value_that_is_not_finite_at_the_start_says_where(part, named):
    part = dict(part)
    system = System(part.pop("f", double_integrator), "x v", "u", name="probe")
    keys = dict(initial=dict(x=0, v=0), final=dict(x=1, v=0), t=(0, 1), running=effort) | part
    problem = OptimalControlProblem(system, **keys)
    with pytest.raises(AdjointError, match="not finite|not a finite|NaN|nan") as error:
        adjoint.solve(problem, intervals=4, guess=dict(x=[-1, 1]))
    for word in named:
        assert word in str(error.value), str(error.value)
    assert "t = " in str(error.value) or "t=" in str(error.value), str(error.value)


def test_a_derivative_that_is_not_finite_at_the_start_says_where():
    problem = integrator_problem(running=lambda t, x, u, p: u[0] ** 2 + np.sqrt(x[0]))
    with pytest.raises(AdjointError, match="derivative.*'x'.*t = "):
        adjoint.solve(problem, intervals=4, guess=dict(x=0.0))


# --- size


def test_iterations_do_not_grow_with_the_mesh():
    counts = [fast(oscillator(), intervals=N, method=gauss(2)).iterations for N in (100, 5000)]
    assert counts[1] <= counts[0] + 6, counts
    assert fast(hager(), intervals=5000).iterations <= fast(hager(), intervals=100).iterations + 1


def test_memory_grows_like_the_mesh():
    def peak(N):
        fast(hager(), intervals=N)  # compiled, laid out
        tracemalloc.start()
        s = fast(hager(), intervals=N + 1)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most, s.raw["w"].size

    (small, unknowns), (large, more) = peak(500), peak(5000)
    assert more < 10.1 * unknowns
    assert large < 14 * small


# --- the solution as a function of time


def test_interpolation_agrees_with_the_nodes_and_refuses_other_times():
    s = reference()
    np.testing.assert_allclose(s.state(s.t), s.x, atol=1e-12)
    np.testing.assert_allclose(s.state(s.node_t), s.node_x, atol=1e-12)
    np.testing.assert_allclose(s.control(s.node_t), s.node_u, atol=2e-8)
    np.testing.assert_allclose(s.costates(s.node_t), s.node_costate, atol=1e-12)
    assert (
        s.state(0.5).shape == (2,) and s.control([[0.1, 0.2]]).shape == (1, 2, 1) and s.costates([0.1]).shape == (1, 2)
    )
    for function in (s.state, s.control, s.costates):
        for outside in (-0.1, 4.1, [0.5, 9.0]):
            with pytest.raises(InputError, match="outside"):
                function(outside)
    with pytest.raises(InputError, match="Did you mean|Known names"):
        s["force"]


def test_controls_handed_out_are_admissible():
    s = adjoint.solve(oscillator())
    u = s.control(np.linspace(0, 4, 2001))
    assert u.min() >= -0.8 and u.max() <= 0.6
    assert s.node_u.min() >= -0.8 and s.node_u.max() <= 0.6


def test_the_mesh_is_refined_until_the_answer_is_accurate():
    coarse, fine = adjoint.solve(oscillator(), accuracy=1e-3), adjoint.solve(oscillator(), accuracy=1e-6)
    assert coarse.optimal and fine.optimal
    assert fine.N > coarse.N
    assert abs(fine.cost - coarse.cost) < 1e-3


def test_the_mesh_is_refined_where_the_control_switches():
    # rest to speed 0.3 over the distance 1: full thrust until sqrt(1 + 0.3^2 / 2), then full brake
    problem = integrator_problem(
        final=dict(x=1, v=0.3),
        running=None,
        minimize=lambda t, x, p: t,
        bounds=dict(u=(-1, 1)),
        t=(0, free(1.5)),
    )
    s = adjoint.solve(problem, accuracy=1e-6)
    assert s.optimal, s.status
    switch, h = math.sqrt(1 + 0.3**2 / 2), np.diff(s.t)
    np.testing.assert_allclose(s.tf, 2 * switch - 0.3, rtol=1e-5)
    k = np.searchsorted(s.t, switch) - 1
    assert h[k] < 0.1 * h.max()
    assert np.sum(h < 0.5 * h.max()) < 0.5 * s.N  # elsewhere it stays as it was


def test_methods_of_one_name_are_told_apart_by_their_tableau():
    """What is kept between solves belongs to the method itself, not to its name."""
    system = adjoint.System(lambda t, x, u, p: [-x[0] + u[0]], "x", "u")
    problem = adjoint.OptimalControlProblem(
        system, initial=dict(x=1), t=(0, 1), running=lambda t, x, u, p: x[0] ** 2 + u[0] ** 2
    )
    costs = []
    for same in (adjoint.EULER, adjoint.RK4):
        method = adjoint.Method("mine", same.A, same.b, same.c, same.order)
        costs.append(adjoint.solve(problem, method=method, intervals=5, certificate=False).cost)
    assert abs(costs[0] - costs[1]) > 1e-2
