"""`crosscheck`: two transcriptions agree with each other and with closed forms, and a wrong solution is noticed."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import brentq

import adjoint
from adjoint import native
from adjoint.crosscheck import crosscheck
from adjoint.errors import InputError

METHODS = {"rk4": adjoint.RK4, "gauss2": adjoint.gauss(2), "radau3": adjoint.radau(3)}
COLLOCATION = ("gauss2", "radau3")


def hager():
    system = adjoint.System(lambda t, x, u, p: [x[0] / 2 + u[0]], states="x", controls="u", name="hager")
    return adjoint.OptimalControlProblem(
        system,
        initial=dict(x=1),
        t=(0, 1),
        running=lambda t, x, u, p: 5 / 8 * x[0] ** 2 + x[0] * u[0] / 2 + u[0] ** 2 / 2,
    )


def double_integrator(**options):
    system = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="x v", controls="u", name="double integrator")
    return adjoint.OptimalControlProblem(
        system, initial=dict(x=0, v=0), final=dict(x=1, v=0), t=(0, 1), running=lambda t, x, u, p: u[0] ** 2, **options
    )


def brachistochrone():
    def bead(t, x, u, p):
        return [x[2] * np.sin(u[0]), x[2] * np.cos(u[0]), 9.81 * np.cos(u[0])]

    return adjoint.OptimalControlProblem(
        adjoint.System(bead, states="x y v", controls="angle"),
        initial=dict(x=0, y=0, v=0),
        final=dict(x=1, y=1),
        bounds=dict(angle=(0, np.pi / 2)),
        t=(0, adjoint.free(1.0, lower=0.1)),
        minimize=lambda t, x, p: t,
    )


def isoperimetric():
    system = adjoint.System(lambda t, x, u, p: [-np.sin(x[0]) + u[0]], states="x", controls="u", name="isoperimetric")
    return adjoint.OptimalControlProblem(
        system,
        initial=dict(x=1),
        final=dict(x=0),
        bounds=dict(u=(-4, 4)),
        t=(0, 1),
        running=lambda t, x, u, p: x[0],
        integrals=dict(energy=(lambda t, x, u, p: u[0] ** 2, 10, 10)),
    )


def periodic():
    system = adjoint.System(
        lambda t, x, u, p: [-x[0] + u[0] + np.sin(9 * t)], states="x", controls="u", name="periodic"
    )
    return adjoint.OptimalControlProblem(
        system,
        t=(0, 1),
        running=lambda t, x, u, p: (x[0] - np.sin(2 * np.pi * t)) ** 2 + 0.1 * u[0] ** 2,
        boundary=dict(period=(lambda t0, x0, tf, xf, p: xf[0] - x0[0], 0, 0)),
    )


def harvest():
    """maximise x(1) - integral of u^2/2 with x' = u: u = 1, value 1/2."""
    system = adjoint.System(lambda t, x, u, p: [u[0]], states="x", controls="u", name="harvest")
    return adjoint.OptimalControlProblem(
        system, initial=dict(x=0), t=(0, 1), running=lambda t, x, u, p: -(u[0] ** 2) / 2, maximize=lambda t, x, p: x[0]
    )


def decay():
    """Find the rate k = 2 and the initial state 3 that reproduce 3 exp(-2 t); `factor` is a fixed parameter."""
    system = adjoint.System(lambda t, x, u, p: [-p[0] * p[1] * x[0]], states="x", parameters="k factor", name="decay")
    return adjoint.OptimalControlProblem(
        system,
        t=(0, 1),
        parameters=dict(k=adjoint.free(1.0, 0.1, 10.0), factor=1.0),
        running=lambda t, x, u, p: (x[0] - 3 * np.exp(-2 * t)) ** 2,
        guess=dict(x=1.0),
    )


def constrained():
    """A state bound, a path constraint of states and control, and one of the state alone."""
    return double_integrator(
        bounds=dict(v=(None, 1.4)),
        path=dict(
            power=(lambda t, x, u, p: x[1] * u[0], -3.5, 3.5),
            pair=(lambda t, x, u, p: [x[0] - 0.9 * t, x[0] + x[1]], -0.3, [1.2, 1.9]),
        ),
    )


def window():
    """Both times free, but the start not before 1; the running cost contains the time, so it starts there."""
    system = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="x v", controls="u", name="window")
    return adjoint.OptimalControlProblem(
        system,
        initial=dict(x=0, v=0),
        final=dict(x=1, v=0),
        t=(adjoint.free(0.5, -5, 5), adjoint.free(3.0, 0, 9)),
        running=lambda t, x, u, p: t + u[0] ** 2,
        boundary=dict(start=(lambda t0, x0, tf, xf, p: t0, 1.0, None)),
    )


def discrete():
    """x+ = x + v, v+ = v + u, sum of u^2 over 10 steps from rest to rest: least-norm control."""
    system = adjoint.System(
        lambda t, x, u, p: [x[0] + x[1], x[1] + u[0]], states="x v", controls="u", discrete=True, name="cart"
    )
    return adjoint.OptimalControlProblem(
        system, initial=dict(x=0, v=0), final=dict(x=1, v=0), t=(0, 10), running=lambda t, x, u, p: u[0] ** 2
    )


def wells():
    """Two wells, the one at x = -1 deeper."""
    system = adjoint.System(lambda t, x, u, p: [u[0]], states="x", controls="u", name="wells")
    return adjoint.OptimalControlProblem(
        system,
        initial=dict(x=0),
        t=(0, 4),
        running=lambda t, x, u, p: (x[0] ** 2 - 1) ** 2 + 0.2 * x[0] + 0.05 * u[0] ** 2,
    )


def unreachable():
    return adjoint.OptimalControlProblem(
        adjoint.System(lambda t, x, u, p: [u[0]], states="x", controls="u", name="unreachable"),
        initial=dict(x=0),
        final=dict(x=1),
        bounds=dict(u=(-0.1, 0.1)),
        t=(0, 1),
        running=lambda t, x, u, p: u[0] ** 2,
    )


SMOOTH = {
    f.__name__: f for f in (hager, double_integrator, brachistochrone, isoperimetric, periodic, harvest, decay, window)
}


# --- agreement. Both solvers stop when rows and stationarity are met to 1e-8 in scaled units. The cost then errs by
# that times the multipliers of the rows (below 10 here), states and costates by that times the condition of the
# problem (below 1e3).


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SMOOTH)
def test_agrees(name, method):
    check = crosscheck(SMOOTH[name](), method=METHODS[method], intervals=20)
    assert check.agrees, str(check)
    assert check.verdict.startswith("IPOPT agrees: ")
    found = check.from_guess.differences
    assert found["cost"].absolute <= 1e-7 * max(1.0, abs(check.solution.cost))
    assert found["states"].relative <= 1e-5
    # The best decay reproduces the data: its costates are zero, as far as the two tolerances of 1e-8 tell.
    assert found["costates"].relative <= 1e-5 or found["costates"].absolute <= 1e-8
    assert all(
        difference.relative <= 1e-5 for key, difference in found.items() if key not in ("controls", "costates", "cost")
    )
    # The brachistochrone's angle has no effect while the speed is zero: there the cost is flat in it.
    assert found["controls"].relative <= (1e-3 if name == "brachistochrone" else 1e-4)
    assert check.from_solution.success and check.from_solution.iterations <= check.from_guess.iterations + 2


@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_active_state_bounds_and_path_constraints(method):
    check = crosscheck(constrained(), method=METHODS[method], intervals=20)
    assert check.agrees, str(check)
    assert check.from_guess.differences["states"].relative <= 1e-5
    solution = check.solution
    speed = np.concatenate([solution.x[:, 1], solution.node_x[:, 1]])
    assert (
        speed.max() > 1.4 - 1e-6 and np.abs(solution.node_x[:, 1] * solution.node_u[:, 0]).max() > 3.5 - 1e-6
    )  # both are active


@pytest.mark.parametrize("method", METHODS)
def test_constraints_of_states_alone_hold_at_both_ends(method):
    """Where no control is placed, too: at the last knot (shooting, Gauss) and at the first (collocation)."""
    grow = harvest().phases[0]
    capped = adjoint.OptimalControlProblem(
        grow.system,
        initial=dict(x=0),
        t=(0, 1),
        running=grow.running,
        maximize=grow.terminal,
        path=dict(cap=(lambda t, x, u, p: x[0], None, 0.5)),
    )
    check = crosscheck(capped, method=METHODS[method], intervals=4)
    assert check.agrees, str(check)
    assert check.from_guess.x[-1, 0] == pytest.approx(0.5, abs=1e-7)  # 1 without the constraint
    fall = decay().phases[0]
    capped = adjoint.OptimalControlProblem(
        fall.system,
        t=(0, 1),
        running=fall.running,
        parameters=dict(k=2.0, factor=1.0),
        guess=dict(x=1.0),
        path=dict(cap=(lambda t, x, u, p: x[0], None, 2.0)),
    )
    check = crosscheck(capped, method=METHODS[method], intervals=4)
    assert check.agrees, str(check)
    assert check.from_guess.x[0, 0] == pytest.approx(2.0, abs=1e-7)  # 3 without the constraint


def test_a_long_mesh_of_a_larger_system():
    """Six masses and a free time, 9000 unknowns: IPOPT's linear solver fails on this with its default scaling."""

    def chain(t, x, u, p):
        q, v = x[:6], x[6:]
        left, right = [0, *q[:5]], [*q[1:], 0]
        push = [u[0], 0, 0, 0, 0, u[1]]
        return [*v, *(left[i] - 2 * q[i] + right[i] - 0.1 * np.sin(q[i]) ** 3 + push[i] for i in range(6))]

    problem = adjoint.OptimalControlProblem(
        adjoint.System(chain, states="q[6] v[6]", controls="a b"),
        initial=dict(q=[1, 0, 0, 0, 0, -1], v=[0] * 6),
        final=dict(q=[0] * 6, v=[0] * 6),
        bounds=dict(a=(-2, 2), b=(-2, 2)),
        t=(0, adjoint.free(8.0, 5, 12)),
        running=lambda t, x, u, p: 1 + u[0] ** 2 + u[1] ** 2,
    )
    check = crosscheck(problem, intervals=100)
    assert check.agrees and check.from_guess.success, str(check)
    assert check.from_guess.iterations <= 40 and check.from_solution.iterations <= 10


@pytest.mark.parametrize("substeps", [1, 3])
def test_substeps_of_an_explicit_method(substeps):
    solution = adjoint.solve(isoperimetric(), method=adjoint.HEUN, intervals=12, substeps=substeps)
    check = crosscheck(solution)
    assert check.agrees, str(check)
    other = crosscheck(dataclasses.replace(solution, substeps=substeps + 1))
    assert not other.consistent  # another number of substeps is another programme


def test_uneven_mesh_is_the_solutions():
    knots = np.linspace(0, 1, 13) ** 2
    check = crosscheck(adjoint.solve(isoperimetric(), method=adjoint.radau(2), intervals=knots))
    assert check.agrees, str(check)
    np.testing.assert_allclose(check.from_guess.t, knots, atol=1e-14)


def test_discrete_system():
    check = crosscheck(discrete())
    assert check.agrees, str(check)
    # u minimises |u|^2 subject to sum (9 - k) u_k = 1, sum u_k = 0
    rows = np.stack([9.0 - np.arange(10), np.ones(10)])
    u = np.linalg.pinv(rows) @ [1.0, 0.0]
    np.testing.assert_allclose(check.from_guess.u[:, 0], u, atol=1e-8)
    assert check.from_guess.cost == pytest.approx(u @ u, rel=1e-8)
    assert check.from_guess.differences["costates"].relative <= 1e-6


# --- IPOPT's own answers against closed forms: the second transcription is right by itself, signs included.


@pytest.mark.parametrize("method", COLLOCATION)
def test_hager_closed_form(method):
    run = crosscheck(hager(), method=METHODS[method], intervals=40).from_guess
    x = np.cosh(1 - run.t) / np.cosh(1)
    assert run.cost == pytest.approx(np.tanh(1) / 2, abs=1e-8)
    np.testing.assert_allclose(run.x[:, 0], x, atol=1e-6)
    np.testing.assert_allclose(run.costate[:, 0], x * np.tanh(1 - run.t), atol=1e-5)


@pytest.mark.parametrize("method", COLLOCATION)
def test_double_integrator_costates_by_the_covector_mapping(method):
    run = crosscheck(double_integrator(), method=METHODS[method], intervals=10).from_guess
    # u = 6 - 12 t and 0 = H_u = 2 u + lambda_v; polynomials of this degree are exact for both methods
    assert run.cost == pytest.approx(12, abs=1e-7)
    np.testing.assert_allclose(run.costate, np.stack([np.full(11, -24.0), 24 * run.t - 12], axis=1), atol=1e-5)


def test_brachistochrone_time_of_the_cycloid():
    run = crosscheck(brachistochrone(), method=adjoint.radau(3), intervals=30).from_guess
    angle = brentq(lambda a: (a - np.sin(a)) - (1 - np.cos(a)), 1.0, 6.0)  # x = y = 1
    assert run.cost == pytest.approx(angle * np.sqrt(1 / (1 - np.cos(angle)) / 9.81), abs=1e-6)
    assert run.cost == run.t[-1]


def test_maximise_has_the_sign_of_the_negated_objective():
    run = crosscheck(harvest(), method=adjoint.RK4, intervals=10).from_guess
    assert run.cost == pytest.approx(0.5, abs=1e-9)
    np.testing.assert_allclose(run.costate, -1.0, atol=1e-7)


def test_isoperimetric_published_value():
    run = crosscheck(isoperimetric(), method=adjoint.radau(3), intervals=40).from_guess
    assert run.cost == pytest.approx(-0.3755, abs=1e-4)


def test_free_parameter_and_initial_state():
    run = crosscheck(decay(), method=adjoint.radau(3), intervals=20).from_guess
    np.testing.assert_allclose(run.p, [2.0, 1.0], atol=1e-4)  # the cost is quadratic in the error: sqrt(1e-8)
    assert run.x[0, 0] == pytest.approx(3.0, abs=1e-4)


def test_both_times_free():
    # the integral of t + u^2 over (1, 1 + T) is T + T^2 / 2 + 12 / T^3, least where 1 + T = 36 / T^4
    run = crosscheck(window(), method=adjoint.gauss(3), intervals=10).from_guess
    T = brentq(lambda T: 1 + T - 36 / T**4, 1.0, 4.0)
    np.testing.assert_allclose(run.t[[0, -1]], [1.0, 1.0 + T], atol=1e-6)
    assert run.cost == pytest.approx(T + T**2 / 2 + 12 / T**3, abs=1e-6)


# --- a wrong solution is noticed


@pytest.fixture(scope="module", params=[*METHODS, "discrete"])
def good(request):
    if request.param == "discrete":
        return adjoint.solve(discrete())
    return adjoint.solve(double_integrator(), method=METHODS[request.param], intervals=10)


def test_wrong_cost_is_noticed(good):
    check = crosscheck(dataclasses.replace(good, cost=good.cost * 1.001))
    assert not check.agrees and not check.consistent
    assert "cost is not that of its states and controls" in check.verdict


@pytest.mark.parametrize("field", ["x", "u"])
def test_shifted_states_and_controls_are_noticed(good, field):
    shifted = getattr(good, field) + 1e-3
    also = {"node_" + field: getattr(good, "node_" + field) + 1e-3}
    check = crosscheck(dataclasses.replace(good, **{field: shifted}, **also))
    assert not check.agrees
    assert "infeasible" in check.verdict


def test_a_feasible_solution_that_is_not_optimal_is_noticed():
    """Consistent in every row, with its true cost, but with another control: only the optimiser can tell."""
    other = adjoint.OptimalControlProblem(
        double_integrator().system,
        initial=dict(x=0, v=0),
        final=dict(x=1, v=0),
        t=(0, 1),
        running=lambda t, x, u, p: (1 + t) * u[0] ** 2,
    )
    best, wrong = (adjoint.solve(problem, method=adjoint.RK4, intervals=10) for problem in (double_integrator(), other))
    cost = float(np.sum(wrong.u**2) / 10)
    assert cost > best.cost * 1.01
    check = crosscheck(dataclasses.replace(wrong, problem=best.problem, cost=cost))
    assert check.consistent and not check.agrees
    assert check.verdict.startswith("IPOPT finds from the guess")


def test_wrong_sign_of_the_costates_is_noticed(good):
    check = crosscheck(dataclasses.replace(good, costate=-good.costate))
    assert check.consistent and not check.agrees
    assert "not on the costates" in check.verdict


def test_wrong_derivatives_are_noticed(monkeypatch):
    solution = adjoint.solve(hager(), method=adjoint.RK4, intervals=5)
    compiled = native.compile
    monkeypatch.setattr(native, "compile", lambda function: lambda *points: compiled(function)(*points) * (1 + 1e-6))
    check = crosscheck(solution)
    assert not check.agrees
    assert check.verdict.startswith("The compiled derivatives of the right-hand side are wrong")


# --- what IPOPT does is a result


def test_another_local_optimum():
    solution = adjoint.solve(wells(), method=adjoint.radau(2), intervals=20, guess=dict(x=1.0))
    assert solution.x[-1, 0] > 0.5
    check = crosscheck(solution, guess=dict(x=-1.0))
    assert check.from_guess.x[-1, 0] < -0.5 and check.from_solution.x[-1, 0] > 0.5
    assert "stopped at another and better local optimum" in check.verdict
    assert check.verdict.endswith("started from this solution it stays there.")
    assert check.agrees
    deeper = adjoint.solve(wells(), method=adjoint.radau(2), intervals=20, guess=dict(x=-1.0))
    assert "stopped at another local optimum" in crosscheck(deeper, guess=dict(x=1.0)).verdict


def test_failure_of_ipopt_is_a_result():
    check = crosscheck(unreachable(), method=adjoint.RK4, intervals=5)
    assert not check.agrees and not check.from_guess.success
    assert "infeasible" in check.verdict and "found no feasible point" in check.verdict
    json.dumps(check.to_dict(), allow_nan=False)


def test_start_that_is_not_a_number_is_a_result():
    solution = adjoint.solve(hager(), method=adjoint.radau(2), intervals=5)
    rooted = adjoint.OptimalControlProblem(
        adjoint.System(lambda t, x, u, p: [x[0] / 2 + u[0] + 1e-12 * np.log(x[0])], states="x", controls="u"),
        initial=dict(x=1),
        t=(0, 1),
        running=hager().phases[0].running,
    )
    check = crosscheck(dataclasses.replace(solution, problem=rooted), guess=dict(x=-1.0))
    assert not check.from_guess.success
    assert check.verdict.startswith("IPOPT failed from the guess: not a number at the start") and check.agrees
    assert "\n" in str(check)


# --- derivatives against the Python function


def test_complex_step_and_its_substitute():
    smooth = crosscheck(hager(), method=adjoint.RK4, intervals=5).derivatives
    assert [d.function for d in smooth] == ["the right-hand side", "the running cost"]
    assert all(d.how == "complex step" and d.python is not None and d.python < 1e-12 for d in smooth)
    kinked = adjoint.OptimalControlProblem(
        adjoint.System(lambda t, x, u, p: [u[0] - 0.5 * np.abs(x[0])], states="x", controls="u", name="kinked"),
        initial=dict(x=1),
        t=(0, 1),
        running=lambda t, x, u, p: u[0] ** 2 + x[0] ** 2,
    )
    rhs, running = crosscheck(kinked, method=adjoint.RK4, intervals=5).derivatives
    assert rhs.how == "central differences" and rhs.python is not None and 0 < rhs.python < 1e-6
    assert running.how == "complex step" and rhs.agrees and running.agrees


def test_python_function_that_refuses_plain_arrays():
    def only_symbols(t, x, u, p):
        if isinstance(x, np.ndarray) and type(x) is np.ndarray:
            raise TypeError("no arrays")
        return [u[0] - x[0]]

    problem = adjoint.OptimalControlProblem(
        adjoint.System(only_symbols, states="x", controls="u"),
        initial=dict(x=1),
        t=(0, 1),
        running=lambda t, x, u, p: u[0] ** 2 + x[0] ** 2,
    )
    check = crosscheck(problem, method=adjoint.RK4, intervals=5)
    assert check.derivatives[0].python is None and "TypeError" in check.derivatives[0].how
    assert check.agrees


# --- the face


def test_table_and_json():
    check = crosscheck(isoperimetric(), method=adjoint.radau(3), intervals=10)
    text = str(check)
    assert text.splitlines()[-1] == check.verdict
    for word in (
        "from the guess",
        "from this solution",
        "iterations",
        "states",
        "costates",
        "integral multipliers",
        "violation",
    ):
        assert word in text
    assert len({line.index("solved") for line in text.splitlines() if line.startswith("  status")}) == 1
    data = json.loads(json.dumps(check.to_dict(), allow_nan=False))
    assert data["agrees"] is True and data["method"] == "radau3" and data["intervals"] == 10
    assert data["from_guess"]["differences"]["cost"]["relative"] == check.from_guess.differences["cost"].relative
    with pytest.raises(dataclasses.FrozenInstanceError):
        check.seconds = 0.0


def test_progress_prints_ipopts_log(capfd):
    solution = adjoint.solve(hager(), method=adjoint.RK4, intervals=5)
    crosscheck(solution)
    assert "inf_pr" not in capfd.readouterr().out
    crosscheck(solution, progress=True)
    assert "inf_pr" in capfd.readouterr().out


def test_looser_tolerance_takes_fewer_iterations():
    solution = adjoint.solve(constrained(), method=adjoint.RK4, intervals=20)
    tight, loose = (crosscheck(solution, tol=tol).from_guess for tol in (1e-9, 1e-3))
    assert loose.iterations < tight.iterations


def test_refusals():
    solution = adjoint.solve(hager(), method=adjoint.RK4, intervals=5)
    with pytest.raises(InputError, match="own mesh"):
        crosscheck(solution, intervals=10)
    with pytest.raises(InputError, match="own mesh"):
        crosscheck(solution, method=adjoint.RK4)
    with pytest.raises(InputError, match="expected an OptimalControlProblem or a Solution"):
        crosscheck(hager().system)
    with pytest.raises(InputError, match="tol is 2"):
        crosscheck(solution, tol=2)
    with pytest.raises(InputError, match="guess is Solution"):
        crosscheck(solution, guess=solution)
