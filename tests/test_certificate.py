"""The certificate: closed forms pass with the right numbers; every wrong answer is refused with its name and time."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import adjoint
from adjoint import OptimalControlProblem, System, free, solve
from adjoint.control.certificate import certify
from adjoint.control.flow import Flow
from adjoint.control.hamiltonian import hamiltonian, hamiltonian_of, switching
from adjoint.errors import InputError


def double_integrator(t, x, u, p):
    return [x[1], u[0]]


CAR = System(double_integrator, states="position speed", controls="force", name="car")


def car_problem(**changes):
    given = {"initial": {"position": 0, "speed": 0}, "final": {"position": 1, "speed": 0},
             "running": lambda t, x, u, p: u[0] ** 2}
    return OptimalControlProblem(CAR, **(given | changes))


@pytest.fixture(scope="module")
def car():
    return solve(car_problem())


@pytest.fixture(scope="module")
def hager():
    """Hager (2000): x = cosh(1-t) / cosh 1, lambda = sinh(1-t) / cosh 1, H = 1 / (2 cosh(1)^2)."""
    system = System(lambda t, x, u, p: [0.5 * x[0] + u[0]], states="x", controls="u", name="hager")
    return solve(OptimalControlProblem(
        system, initial={"x": 1}, running=lambda t, x, u, p: 0.625 * x[0] ** 2 + 0.5 * x[0] * u[0] + 0.5 * u[0] ** 2))


@pytest.fixture(scope="module")
def fastest():
    """Least time from rest to rest over the distance 1 with |force| <= 1: tf = 2, one switch at t = 1."""
    return solve(car_problem(bounds={"force": (-1, 1)}, t=(0, free(1.5)), running=lambda t, x, u, p: 1.0))


@pytest.fixture(scope="module")
def bryson_denham():
    system = System(double_integrator, states="x v", controls="a", name="bryson_denham")
    return solve(OptimalControlProblem(
        system, initial={"x": 0, "v": 1}, final={"x": 0, "v": -1}, bounds={"x": (None, 1 / 9)},
        running=lambda t, x, u, p: 0.5 * u[0] ** 2), intervals=60)


class TestClosedForms:
    def test_hager(self, hager):
        assert certify(hager).holds
        np.testing.assert_allclose(hager.costate[:, 0], np.sinh(1 - hager.t) / np.cosh(1), atol=1e-9)
        np.testing.assert_allclose(hamiltonian(hager), 0.5 / np.cosh(1) ** 2, atol=1e-6)
        np.testing.assert_allclose(hamiltonian(hager, hager.t), 0.5 / np.cosh(1) ** 2, atol=1e-4)

    def test_every_condition_of_a_smooth_problem_is_met(self, hager):
        certificate = certify(hager)
        for name in ("re-integration", "cost", "feasibility", "dL/du = 0", "costate equation", "transversality",
                     "H constant"):
            assert certificate[name].value < 1e-6, name

    def test_least_energy(self, car):
        np.testing.assert_allclose(car.costate, np.stack([np.full(51, -24.0), 24 * car.t - 12], axis=1), atol=1e-9)
        np.testing.assert_allclose(hamiltonian(car), -36.0, atol=1e-9)
        np.testing.assert_allclose(switching(car), 0.0, atol=1e-9)
        assert certify(car)["H constant"].value < 1e-10

    def test_least_time_has_no_hamiltonian(self, fastest):
        certificate = certify(fastest)
        assert certificate.holds and fastest.cost == pytest.approx(2, abs=1e-6)
        np.testing.assert_allclose(hamiltonian(fastest), 0.0, atol=5e-3)
        assert certificate["H = 0"].value < 5e-3 and certificate["transversality"].value < 5e-3

    def test_the_switching_function_has_the_sign_of_the_bound(self, fastest):
        clear = np.abs(fastest.node_t - 1) > 0.05
        np.testing.assert_array_equal(np.sign(switching(fastest)[clear, 0]), -np.sign(fastest["force"][clear]))

    def test_h_equals_minus_one_where_the_final_time_is_the_cost(self):
        solution = solve(car_problem(bounds={"force": (-1, 1)}, t=(0, free(1.5)), running=None,
                                     minimize=lambda t, x, p: t))
        certificate = certify(solution)
        np.testing.assert_allclose(hamiltonian(solution), -1.0, atol=5e-3)
        assert certificate["transversality"].value < 5e-3
        assert "H = 0" not in [check.name for check in certificate.checks]

    def test_bryson_denham(self, bryson_denham):
        certificate = certify(bryson_denham)
        assert certificate.holds and bryson_denham.cost == pytest.approx(4, abs=1e-4)
        assert np.abs(hamiltonian(bryson_denham)).max() < 1e-2 * 36
        # The costate jumps or bends where the state constraint acts: these intervals are left out, not all.
        used = int(certificate["costate equation"].sentence.split("on ")[1].split(" of")[0])
        assert 20 < used < 60 and certificate["costate equation"].value < 1e-4

    def test_maximising_is_minimising_the_negative(self):
        system = System(lambda t, x, u, p: [u[0]], states="x", controls="u")
        solution = solve(OptimalControlProblem(system, initial={"x": 0}, bounds={"u": (-1, 2)},
                                               maximize=lambda t, x, p: x[0]))
        certificate = certify(solution)
        assert certificate.holds and certificate["transversality"].value < 1e-6 and certificate["cost"].value < 1e-6
        np.testing.assert_allclose(hamiltonian(solution), -2.0, atol=1e-4)

    def test_maximising_a_running_reward(self, hager):
        """Hager's problem with the negated cost maximised is the same minimisation: same H, same costates."""
        system = hager.problem.system
        solution = solve(OptimalControlProblem(
            system, initial={"x": 1}, maximize=True,
            running=lambda t, x, u, p: -0.625 * x[0] ** 2 - 0.5 * x[0] * u[0] - 0.5 * u[0] ** 2))
        assert certify(solution).holds and certify(solution)["cost"].value < 1e-9
        np.testing.assert_allclose(hamiltonian(solution), hamiltonian(hager), atol=1e-9)

    @pytest.mark.parametrize("method", [adjoint.RK4, adjoint.DOPRI5, adjoint.gauss(2), adjoint.gauss(3),
                                        adjoint.radau(2)], ids=lambda method: method.name)
    def test_every_kind_of_method(self, method):
        certificate = certify(solve(car_problem(), method=method))
        assert certificate.holds
        assert certificate["re-integration"].value < 1e-9 and certificate["feasibility"].value < 1e-10
        assert certificate["costate equation"].value < 1e-9 and certificate["dL/du = 0"].value < 1e-6

    def test_substeps_are_the_methods_steps(self):
        system = System(lambda t, x, u, p: [x[1], u[0] - np.sin(x[0])], states="angle speed", controls="torque")
        solution = solve(OptimalControlProblem(system, initial=[0, 0], final=[1, 0], t=(0, 2),
                                               running=lambda t, x, u, p: u[0] ** 2), method=adjoint.RK4, substeps=3)
        assert certify(solution)["feasibility"].value < 1e-10

    def test_a_problem_without_controls(self):
        system = System(lambda t, x, u, p: [-p[0] * x[0]], states="x", parameters="rate")
        solution = solve(OptimalControlProblem(system, initial={"x": 1}, parameters={"rate": free(1.0, 0, 5)},
                                               minimize=lambda t, x, p: (x[0] - 0.5) ** 2))
        assert certify(solution)["re-integration"].value < 1e-9
        assert hamiltonian(solution).shape == solution.node_t.shape and switching(solution).shape == (150, 0)


class TestDiscrete:
    @pytest.fixture
    def solution(self):
        system = System(lambda t, x, u, p: [x[0] + 0.1 * x[1], x[1] + 0.1 * u[0] - 0.01 * x[0] ** 3], states="x v",
                        controls="u", discrete=True, name="map")
        return solve(OptimalControlProblem(system, initial=[1, 0], t=(0, 30), bounds={"u": (-1, 1)},
                                           running=lambda t, x, u, p: x[0] ** 2 + u[0] ** 2))

    def test_the_map_is_iterated(self, solution):
        certificate = certify(solution)
        assert certificate.holds and certificate["re-integration"].value < 1e-10

    def test_the_hamiltonian_takes_the_next_costate(self, solution):
        x, u = solution.x[:-1], solution["u"]
        after = np.stack([x[:, 0] + 0.1 * x[:, 1], x[:, 1] + 0.1 * u - 0.01 * x[:, 0] ** 3], axis=1)
        expected = x[:, 0] ** 2 + u ** 2 + (solution.costate[1:] * after).sum(axis=1)
        np.testing.assert_allclose(hamiltonian(solution), expected, rtol=1e-12)
        np.testing.assert_allclose(hamiltonian(solution, solution.t[:-1]), expected, rtol=1e-12)

    def test_a_changed_state_is_found(self, solution):
        x = solution.x.copy()
        x[12, 1] += 0.01
        certificate = certify(replace(solution, x=x))
        worst = certificate["re-integration"]
        assert not certificate.holds and (worst.component, worst.time) == ("v", 12.0)


class TestTampering:
    def test_a_state(self, car):
        x = car.x.copy()
        x[20, 1] += 1e-3
        certificate = certify(replace(car, x=x))
        worst = certificate["re-integration"]
        assert not certificate.holds and not worst.passed
        assert worst.component == "speed" and worst.time == car.t[20]
        assert worst.value == pytest.approx(1e-3 / 1.5, rel=1e-2)
        assert "'speed'" in certificate.fault and "t = 0.4" in certificate.fault

    def test_the_states_at_all_nodes(self, car):
        """Shifted states which satisfy the dynamics: only the initial condition tells."""
        shift = np.array([0.01, 0.0])
        certificate = certify(replace(car, x=car.x + shift, node_x=car.node_x + shift))
        assert certificate["re-integration"].passed and not certificate.holds
        assert "condition of 'position'" in certificate.fault

    def test_a_control(self, car):
        u = car.u.copy()
        u[30] += 0.5
        certificate = certify(replace(car, u=u))
        assert not certificate["re-integration"].passed
        assert certificate["local errors"].component == "speed"
        assert certificate["local errors"].time == car.t[31]
        assert "dynamics of 'speed'" in certificate.fault and car.t[30] <= certificate["feasibility"].time <= car.t[31]

    def test_the_cost(self, car):
        certificate = certify(replace(car, cost=car.cost * 1.001))
        assert not certificate.holds and certificate["re-integration"].passed
        assert "cost" in certificate.fault and "12.012" in certificate.fault

    def test_the_costates(self, hager):
        certificate = certify(replace(hager, costate=hager.costate + 0.1, node_costate=hager.node_costate + 0.1))
        size = hager.costate[0, 0] + 0.1
        assert certificate["transversality"].value == pytest.approx(0.1 / size, rel=1e-6)
        assert certificate["transversality"].component == "costate of 'x'" and certificate["transversality"].time == 1.0
        assert certificate["costate equation"].value > 1e-4 and certificate["dL/du = 0"].value > 1e-2

    def test_numbers_that_are_not_finite(self, car):
        x = car.x.copy()
        x[3, 0] = np.nan
        assert "states" in certify(replace(car, x=x)).fault

    def test_a_tighter_problem(self, car):
        """The same numbers as the answer to a problem with tighter bounds: each kind is noticed by name."""
        for changes, words in [
                ({"bounds": {"force": (-5, 5)}}, "bounds of control 'force'"),
                ({"bounds": {"speed": (None, 1.4)}}, "bounds of state 'speed'"),
                ({"final": {"position": 1.1, "speed": 0}}, "final condition of 'position'"),
                ({"initial": {"position": 0, "speed": 0.1}}, "initial condition of 'speed'")]:
            certificate = certify(replace(car, problem=car_problem(**changes)))
            assert not certificate.holds and words in certificate.fault, words

    def test_a_tighter_path_boundary_or_integral_constraint(self):
        def problem(limit):
            return car_problem(path={"power": (lambda t, x, u, p: x[1] * u[0], None, 10 * limit)},
                               boundary={"lift": (lambda t0, x0, tf, xf, p: xf[0] + x0[0], None, 2 * limit)},
                               integrals={"way": (lambda t, x, u, p: x[1], None, 2 * limit)})

        solution = solve(problem(1.0))
        assert certify(solution).holds
        certificate = certify(replace(solution, problem=problem(0.2)))
        assert not certificate["feasibility"].passed and not certificate["integrals"].passed
        assert certificate["integrals"].component == "integral 'way'"
        assert certificate["feasibility"].component in ("path constraint 'power'", "boundary constraint 'lift'")
        assert certificate["integrals"].value == pytest.approx(0.6 / 0.4, rel=1e-6)


class TestRefusals:
    def test_a_coarse_mesh(self):
        system = System(lambda t, x, u, p: [x[1], 5 * (1 - x[0] ** 2) * x[1] - x[0] + u[0]], states="x v", controls="u")
        problem = OptimalControlProblem(system, initial=[0, 1], t=(0, 10),
                                        running=lambda t, x, u, p: x[0] ** 2 + x[1] ** 2 + u[0] ** 2)
        coarse = solve(problem, intervals=6)
        assert coarse.converged and not coarse.optimal
        assert "mesh too coarse" in coarse.status and "use more intervals" in coarse.status
        assert coarse.certificate["feasibility"].passed      # the discretised problem is solved: the mesh is at fault
        assert solve(problem, intervals=200).optimal

    def test_the_accuracy_decides(self):
        system = System(lambda t, x, u, p: [x[1], -np.sin(x[0]) + u[0]], states="angle speed", controls="u")
        solution = solve(OptimalControlProblem(system, initial=[0, 0], final=[np.pi, 0], t=(0, 3),
                                               running=lambda t, x, u, p: u[0] ** 2), intervals=8)
        error = certify(solution)["re-integration"].value
        assert 1e-10 < error < 1e-2
        assert certify(solution, accuracy=2 * error).holds
        assert not certify(solution, accuracy=error / 2).holds

    def test_stopped_early(self, car):
        unfinished = replace(car, converged=False, residuals=dict(car.residuals) | {"scaled error": 0.3})
        certificate = certify(unfinished)
        assert not certificate.holds and "0.3" in certificate.fault and "not solved" in certificate.fault

    @staticmethod
    def double_well(bounds=None):
        """min of the integral of (u^2 - 1)^2: u = 0 is stationary, and the largest H between the wells."""
        system = System(lambda t, x, u, p: [u[0]], states="x", controls="u", name="well")
        return OptimalControlProblem(system, initial={"x": 0}, bounds=bounds or {},
                                     running=lambda t, x, u, p: (u[0] ** 2 - 1) ** 2)

    @pytest.mark.parametrize("bounds", [None, {"u": (-2, 2)}])
    def test_a_maximum_of_the_hamiltonian(self, bounds):
        good = solve(self.double_well(bounds), guess={"u": 0.9})
        assert good.optimal and good.certificate["minimum of H"].value < 1e-6
        bad = replace(good, x=0 * good.x, u=0 * good.u, node_x=0 * good.node_x, node_u=0 * good.node_u, cost=1.0)
        certificate = certify(bad)
        assert not certificate.holds and "strictly better control" in certificate.fault and "100 %" in certificate.fault
        assert [check.name for check in certificate.checks if not check.passed] == ["minimum of H"]
        assert certificate["minimum of H"].value == pytest.approx(1.0, abs=0.05)

    @pytest.mark.parametrize(("last", "holds"), [(6, True), (31, False)])
    def test_a_short_excess_of_the_hamiltonian_is_reported_only(self, last, holds):
        """The first 6 of 56 intervals are 2 % of the horizon, the first 31 half of it: time counts, not intervals."""
        knots = np.concatenate([np.linspace(0, 0.02, 7), np.linspace(0.02, 1, 51)[1:]])
        good = solve(self.double_well(), guess={"u": 1.0}, intervals=knots)
        u = np.sign(good.u)
        u[:last] = 0.0
        x = np.concatenate([[0.0], np.cumsum(u[:, 0, 0] * np.diff(good.t))])
        node_x = x[:-1, None] + u[:, 0] * np.diff(good.t)[:, None] * good.method.c
        certificate = certify(replace(good, u=u, x=x[:, None], node_x=node_x.reshape(-1, 1), node_u=u.reshape(-1, 1),
                                      cost=float(good.t[last])))
        assert certificate.holds is holds and certificate["minimum of H"].passed is holds, certificate.fault
        assert certificate["minimum of H"].value > 0.5 and certificate["minimum of H"].time <= good.t[last]

    def test_path_constraints_limit_the_comparison(self):
        """Without the constraint u + v <= 1, which acts on u and v, H would be smaller beyond it."""
        system = System(lambda t, x, u, p: [u[0] + u[1]], states="x", controls="u v")
        solution = solve(OptimalControlProblem(
            system, initial={"x": 0}, bounds={"u": (0, 1), "v": (0, 1)}, maximize=lambda t, x, p: x[0],
            path={"sum": (lambda t, x, u, p: u[0] + u[1], None, 1)}))
        assert solution.cost == pytest.approx(1, abs=1e-5)
        assert certify(solution)["minimum of H"].value < 1e-4
        looser = OptimalControlProblem(
            system, initial={"x": 0}, bounds={"u": (0, 1), "v": (0, 1)}, maximize=lambda t, x, p: x[0],
            path={"sum": (lambda t, x, u, p: u[0] + u[1], None, 3)})
        assert "strictly better control" in certify(replace(solution, problem=looser)).fault


class TestInstability:
    @pytest.fixture
    def solution(self):
        """x' = 30 x + u grows by e^30 = 1e13: no run from x(0) can follow the solution to t = 1."""
        system = System(lambda t, x, u, p: [30 * x[0] + u[0]], states="x", controls="u", name="unstable")
        return solve(OptimalControlProblem(system, initial={"x": 1}, final={"x": 0.5},
                                           running=lambda t, x, u, p: x[0] ** 2 + u[0] ** 2), intervals=100)

    def test_the_local_errors_decide(self, solution):
        certificate = certify(solution)
        assert certificate.growth == pytest.approx(np.exp(30), rel=1e-2)
        assert certificate["re-integration"].value > 1e-3 and certificate["re-integration"].threshold is None
        assert certificate.holds and 0 < certificate["local errors"].value <= certificate["local errors"].threshold
        assert "grows by 1.1e+13" in certificate["re-integration"].sentence

    def test_and_refuse(self, solution):
        certificate = certify(solution, accuracy=0.5 * certify(solution)["local errors"].value)
        assert not certificate.holds and "local errors add up" in certificate.fault

    def test_moderate_growth_is_no_excuse(self):
        """e^12 = 2e5 is within reach of double precision: the run from x(t0) has to agree."""
        system = System(lambda t, x, u, p: [12 * x[0] + u[0] + x[0] ** 3], states="x", controls="u")
        solution = solve(OptimalControlProblem(system, initial={"x": 1}, final={"x": 0.5},
                                               running=lambda t, x, u, p: x[0] ** 2 + u[0] ** 2), intervals=25)
        certificate = certify(solution)
        assert certificate.growth > 1e4 and certificate["re-integration"].value > 1e-4 and not certificate.holds
        assert certificate["re-integration"].threshold == 1e-4


class TestBetweenTheNodes:
    def test_a_switch_inside_an_interval_is_judged_by_the_admissible_control(self):
        """The polynomial overshoots its bounds there; what is certified is cut off at them, and misses the knots."""
        solution = solve(car_problem(bounds={"force": (-1, 1)}, t=(0, free(1.5)), running=lambda t, x, u, p: 1.0),
                         intervals=25)
        times = np.linspace(0, solution.tf, 2001)
        assert np.abs(solution.control(times)).max() <= 1.0
        certificate = certify(solution)
        assert certificate["between nodes"].value == 0.0
        assert certificate["re-integration"].value > 1e-5        # round-off, if the overshoot were applied as it is
        assert certificate["local errors"].time == pytest.approx(1.0, abs=0.1)

    def test_a_switch_at_a_knot_does_not(self, fastest):
        assert certify(fastest)["between nodes"].value < 1e-3


class TestTheRecord:
    def test_printed(self, car):
        text = str(car.certificate)
        assert all(check.name in text for check in car.certificate.checks)
        assert str(car).endswith(text) and max(len(line) for line in text.splitlines()) < 100
        assert "FAILED" not in text and "FAILED" in str(certify(replace(car, cost=0.0)))

    def test_json(self, car):
        x = car.x.copy()
        x[20, 1] += 1.0
        for certificate in (car.certificate, certify(replace(car, x=x))):
            data = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
            assert data["holds"] is certificate.holds and data["fault"] == certificate.fault
            assert [check["name"] for check in data["checks"]] == [check.name for check in certificate.checks]

    def test_unknown_check(self, car):
        with pytest.raises(InputError, match="re-integration"):
            car.certificate["reintegration"]

    @pytest.mark.parametrize("accuracy", [0, 1, -1e-4, float("nan")])
    def test_accuracy(self, car, accuracy):
        with pytest.raises(InputError, match="between 0 and 1"):
            certify(car, accuracy=accuracy)

    def test_times_outside(self, car):
        with pytest.raises(InputError, match="outside"):
            hamiltonian(car, [0.5, 1.5])

    def test_the_code_is_made_once(self, car):
        assert hamiltonian_of(car.problem) is hamiltonian_of(car.problem)
        assert hamiltonian_of(car.problem) is not hamiltonian_of(car_problem())

    def test_certifying_twice_gives_the_same(self, car):
        assert certify(car) == certify(car)


class TestFlow:
    def test_the_controls_polynomial_is_applied(self, car):
        """force = 6 - 12 t: position = 3 t^2 - 2 t^3, cost = 36 t - 72 t^2 + 48 t^3, to the integrator's tolerance."""
        h = hamiltonian_of(car.problem)
        flow = Flow(car, h.augmented, car.p, np.ones(3))
        y, t = flow.through(np.zeros(3)), car.t[1:]
        expected = np.stack([3 * t ** 2 - 2 * t ** 3, 6 * t - 6 * t ** 2, 36 * t - 72 * t ** 2 + 48 * t ** 3], axis=1)
        np.testing.assert_allclose(y, expected, atol=1e-9)

    def test_a_singularity_is_named(self):
        """x' = x^2 u with u = 2 from x = 1 reaches infinity at t = 1/2."""
        system = System(lambda t, x, u, p: [x[0] ** 2 * u[0]], states="x", controls="u", name="blow_up")
        solution = solve(OptimalControlProblem(system, initial={"x": 1}, bounds={"u": (0, 2)},
                                               running=lambda t, x, u, p: u[0] ** 2, final={"x": 1.1}))
        certificate = certify(replace(solution, u=np.full_like(solution.u, 2.0)))
        assert not certificate.holds and certificate["re-integration"].value == np.inf
        assert re.search(r"stopped: .* at t = 0\.(48|5)\b", certificate["re-integration"].sentence)
