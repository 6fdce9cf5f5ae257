"""Systems: names, what a function must look like, and that they travel between processes."""

import pickle

import numpy as np
import pytest
from numba import njit

from adjoint.errors import AdjointError, InputError
from adjoint.method import RK4
from adjoint.names import Names
from adjoint.sweeps import rollout, sweep
from adjoint.system import System


def rocket(t, x, u, p):
    h, v, m = x
    return [v, (u[0] - p[0] * v**2 * np.exp(-h)) / m - 1, -u[0]]


ROCKET = System(rocket, states="h v m", controls="thrust", parameters="drag")


@njit
def gain_step(t, h, x, u, p, x_next):
    x_next[0] = p[0] * x[0] + h * u[0]


@njit
def gain_vjp(t, h, x, u, p, lam_next, lam, gu, gp):
    lam[0] = p[0] * lam_next[0]
    gu[0] = h * lam_next[0]
    gp[0] += x[0] * lam_next[0]


def test_names_and_sizes():
    system = System(lambda t, x, u, p: x, states="q[3], v", controls=["left", "right"], parameters="k")
    assert system.states == ("q0", "q1", "q2", "v")
    assert (system.n, system.m, system.n_p) == (4, 2, 1)
    assert system.index("q") == ("state", slice(0, 3))
    assert system.index("q1") == ("state", 1)
    assert system.index("right") == ("control", 1)
    assert system.index("k") == ("parameter", 0)
    assert repr(system) == "System('<lambda>', continuous, states: q[3], v; controls: left, right; parameters: k)"


def test_names_are_read_back():
    names = Names.parse("a q[2] b r[12]", "states")
    assert Names.parse(names.specification, "states") == names


@pytest.mark.parametrize(
    ("states", "controls", "words"),
    [
        ("h h", "", "'h' occurs twice"),
        ("q[2] q1", "", "'q1' occurs twice"),
        ("q[2] q", "", "'q' occurs twice"),
        ("q[2] q[3]", "", "'q' occurs twice"),
        ("1h", "", "'1h' is no name"),
        ("h-v", "", "'h-v' is no name"),
        ("q[0]", "", "at least one"),
        (["h", 3], "", "3 is no name"),
        ("", "u", "has no states"),
        ("h v", "v", "'v' names both a state and a control"),
    ],
)
def test_bad_names_are_refused(states, controls, words):
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        System(rocket, states, controls)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(InputError, match=r"system 'rocket' has nothing called 'trust'. Did you mean 'thrust'\?"):
        ROCKET.index("trust")
    with pytest.raises(InputError, match="Known names: h, v, m, thrust, drag"):
        ROCKET.index("zzz")


def test_a_function_must_take_t_x_u_p():
    with pytest.raises(InputError, match=r"takes \(x, u\); expected four arguments \(t, x, u, p\)"):
        System(lambda x, u: x, "a")
    with pytest.raises(InputError, match="cannot be called"):
        System([1, 2], "a")
    assert System(lambda *arguments: arguments[1], "a").n == 1


def test_a_function_that_returns_too_few_numbers_is_named():
    with pytest.raises(AdjointError, match=r"dynamics of system 'short': .*system 'short' has 3 states \(h, v, m\)"):
        System(lambda t, x, u, p: [x[0], x[1]], "h v m", name="short").graph  # noqa: B018


def test_the_graph_is_the_function():
    value = np.array(ROCKET.graph(0.0, [1.0, 2.0, 3.0], [0.5], [0.1])).ravel()
    assert value == pytest.approx(rocket(0.0, [1.0, 2.0, 3.0], [0.5], [0.1]), rel=1e-15)


def test_a_continuous_system_needs_a_method():
    with pytest.raises(InputError, match="steps by a Method such as adjoint.RK4; got 'rk4'"):
        ROCKET.step("rk4")


def test_a_step_is_made_once():
    assert ROCKET.step(RK4) is ROCKET.step(pickle.loads(pickle.dumps(RK4)))


@pytest.mark.parametrize(
    "system",
    [
        ROCKET,
        System(lambda t, x, u, p: [x[1], u[0] - p[0] * np.sin(x[0]), x[0] * x[2]], "a b c", "u", "k", name="local"),
        System(lambda t, x, u, p: [0.9 * x[1], u[0] - p[0] * np.sin(x[0]), x[2]], "a b c", "u", "k", discrete=True),
    ],
    ids=["function", "lambda", "discrete lambda"],
)
def test_a_pickled_system_moves_alike(system):
    copy = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(system))))
    assert repr(copy) == repr(system)
    path, again = (rollout(s, [0.1, 0.2, 1.0], [0.3], np.linspace(0, 1, 5), [0.7]) for s in (system, copy))
    assert np.array_equal(path.x, again.x)
    assert np.asarray(copy.f(0.0, np.array([0.1, 0.2, 1.0]), np.array([0.3]), np.array([0.7])), float) == pytest.approx(
        np.asarray(system.f(0.0, np.array([0.1, 0.2, 1.0]), np.array([0.3]), np.array([0.7])), float), rel=1e-15
    )


def test_a_pickled_trajectory_can_be_swept():
    path = rollout(ROCKET, [0.0, 0.0, 1.0], [0.5], np.linspace(0, 1, 11), [0.1])
    copy = pickle.loads(pickle.dumps(path))
    assert not copy.x.flags.writeable
    assert np.array_equal(sweep(copy, dx=[1.0, 0, 0]).u, sweep(path, dx=[1.0, 0, 0]).u)


def test_a_system_with_kernels():
    system = System.from_kernels(gain_step, gain_vjp, states="x", controls="u", parameters="gain", name="gain")
    for s in (system, pickle.loads(pickle.dumps(system))):
        path = rollout(s, [2.0], [1.0], [0.0, 0.5, 2.0], [3.0])
        assert path.x[:, 0].tolist() == [2.0, 6.5, 21.0]
        g = sweep(path, dx=[1.0])
        assert (g.x0.tolist(), g.u.ravel().tolist(), g.p.tolist()) == ([9.0], [1.5, 1.5], [12.5])
        assert s.discrete
        assert not s.traced
    with pytest.raises(InputError, match="brings its own kernels and has no graph"):
        system.graph  # noqa: B018


def test_kernels_must_be_compiled_functions_that_fit():
    with pytest.raises(InputError, match=r"vjp is .*expected a function compiled with numba.njit"):
        System.from_kernels(gain_step, rocket, states="x")

    @njit
    def too_few(t, x):
        pass

    system = System.from_kernels(too_few, gain_vjp, states="x", controls="u", parameters="gain")
    with pytest.raises(AdjointError, match=r"'too_few' .* does not compile as step\(t, h, x, u, p, x_next\)"):
        rollout(system, [1.0], [0.0], [0.0, 1.0], [1.0])


def test_systems_are_immutable():
    for attribute in ("f", "name", "states", "n", "discrete", "graph"):
        with pytest.raises(AttributeError):
            setattr(ROCKET, attribute, None)
