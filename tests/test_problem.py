"""Bad input: every mistake gets a sentence that names the thing, before anything is solved; never a foreign error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adjoint
from adjoint import OptimalControlProblem, System, free
from adjoint.errors import AdjointError, InputError


def f(t, x, u, p):
    return [x[1], u[0]]


def effort(t, x, u, p):
    return u[0] ** 2


CAR = System(f, "position speed", "force", name="car")
ARM = System(lambda t, x, u, p: [u[0] * p[0], u[1] * p[1], u[0], p[2]], "q[3] arm", "w[2]", "mass k[2]", name="robot")


def problem(**more):
    return OptimalControlProblem(CAR, **(dict(initial=dict(position=0, speed=0), t=(0, 1), running=effort) | more))


def robot(**more):
    return OptimalControlProblem(
        ARM, **(dict(initial=dict(q=[0, 0, 0]), running=effort, parameters=dict(mass=1.0, k=[1, 2])) | more)
    )


nan, inf = math.nan, math.inf

# What is written, and what the message has to contain.
MISTAKES = {
    # system
    "no system": (lambda: OptimalControlProblem(f, running=effort), "function", "System"),
    # ends
    "unknown state": (lambda: problem(initial=dict(positon=0)), "'positon'", "Did you mean 'position'"),
    "unknown final state": (lambda: problem(final=dict(vel=0)), "'vel'", "position"),
    "control at the end": (lambda: problem(final=dict(force=0)), "final", "'force'", "control"),
    "initial of wrong length": (lambda: problem(initial=[0, 0, 0]), "initial", "3", "2", "position, speed"),
    "final of wrong length": (lambda: problem(final=[0]), "final", "1 ", "2 states"),
    "matrix as initial": (lambda: problem(initial=np.zeros((2, 2))), "initial"),
    "scalar as initial": (lambda: problem(initial=0.0), "initial"),
    "text as initial value": (lambda: problem(initial=dict(position="left")), "initial", "'position'", "left"),
    "infinite initial": (lambda: problem(initial=dict(position=inf)), "initial", "'position'", "finite"),
    "nan in the mapping": (lambda: problem(initial=dict(position=nan)), "initial", "'position'"),
    "nan in a pair": (lambda: problem(final=dict(position=(0, nan))), "final", "'position'", "NaN"),
    "crossing pair": (lambda: problem(final=dict(position=(2, 1))), "final", "'position'", "cross"),
    "end outside its bounds": (
        lambda: problem(bounds=dict(position=(1, 2))),
        "initial",
        "'position'",
        "outside",
        "(1, 2)",
    ),
    "group of wrong length": (lambda: robot(initial=dict(q=[0, 0])), "initial", "'q'", "3"),
    "group with infinite value": (lambda: robot(initial=dict(q=[0, 0, inf])), "initial", "'q'", "finite"),
    "a string of states": (lambda: problem(initial="position"), "initial"),
    # bounds
    "bounds cross": (lambda: problem(bounds=dict(force=(1, -1))), "'force'", "cross"),
    "bound of unknown name": (lambda: problem(bounds=dict(forces=(0, 1))), "'forces'", "Did you mean 'force'"),
    "bounds no pair": (lambda: problem(bounds=dict(force=3.5)), "'force'", "pair"),
    "bounds of three": (lambda: problem(bounds=dict(force=(0, 1, 2))), "'force'", "pair"),
    "bound is nan": (lambda: problem(bounds=dict(force=(nan, 1))), "'force'", "NaN"),
    "bound is text": (lambda: problem(bounds=dict(force=("low", 1))), "'force'", "low"),
    "bounds at infinity": (lambda: problem(bounds=dict(force=(inf, inf))), "'force'"),
    "bounds no mapping": (lambda: problem(bounds=[(0, 1)]), "bounds", "mapping"),
    "bound of a parameter": (lambda: robot(bounds=dict(mass=(0, 1))), "'mass'", "parameter", "free"),
    "bounds of a group as arrays": (lambda: robot(bounds=dict(q=([0, 0], [1, 1]))), "'q'"),
    # cost
    "minimise and maximise": (
        lambda: problem(minimize=lambda t, x, p: t, maximize=lambda t, x, p: t),
        "minimize",
        "maximize",
    ),
    "running is a number": (lambda: problem(running=3.0), "running", "3.0"),
    "minimize is a name": (lambda: problem(minimize="t"), "minimize", "'t'"),
    "maximize is a number": (lambda: problem(maximize=2.0), "maximize", "2.0"),
    "nothing wanted": (lambda: problem(running=None), "neither", "cost"),
    "maximise nothing": (lambda: problem(running=None, maximize=True), "cost"),
    # times
    "time backwards": (lambda: problem(t=(1, 0)), "t0 < tf", "1", "0"),
    "time stands": (lambda: problem(t=(1, 1)), "t0 < tf"),
    "t is a number": (lambda: problem(t=3), "pair"),
    "t of three": (lambda: problem(t=(0, 1, 2)), "pair"),
    "t is nan": (lambda: problem(t=(0, nan)), "tf", "NaN"),
    "t is infinite": (lambda: problem(t=(0, inf)), "tf", "finite"),
    "t is text": (lambda: problem(t=(0, "end")), "tf", "end"),
    "free time without a guess": (lambda: problem(t=(0, free())), "tf", "guess"),
    "free time guessed before the start": (lambda: problem(t=(2, free(1.0))), "t0 < tf"),
    "free with crossing bounds": (lambda: free(0.5, 1, 0), "bounds", "lower < upper"),
    "free with equal bounds": (lambda: free(1.0, 1, 1), "lower < upper"),
    "free outside its bounds": (lambda: free(3.0, 0, 1), "3.0", "between"),
    "free with nan": (lambda: free(nan), "guess"),
    "free with nan bounds": (lambda: free(1.0, nan, 2), "bounds"),
    "free of text": (lambda: free("soon"), "free", "soon"),
    "free time that can only end before the start": (lambda: problem(t=(2, free(2.5, -5, 2.0))), "2.5"),
    # parameters
    "missing parameter": (lambda: robot(parameters=dict(mass=1.0)), "k0, k1", "free"),
    "unknown parameter": (lambda: robot(parameters=dict(mass=1.0, kk=1)), "'kk'", "Did you mean"),
    "state as parameter": (lambda: robot(parameters=dict(arm=1.0)), "'arm'", "state"),
    "parameter is nan": (lambda: robot(parameters=dict(mass=nan, k=1)), "'mass'", "NaN"),
    "parameter is infinite": (lambda: robot(parameters=dict(mass=inf, k=1)), "'mass'", "finite"),
    "parameters of wrong length": (lambda: robot(parameters=dict(mass=1.0, k=[1, 2, 3])), "'k'", "2"),
    "parameter is text": (lambda: robot(parameters=dict(mass="heavy", k=1)), "'mass'", "heavy"),
    "parameters no mapping": (lambda: robot(parameters=[1, 2, 3]), "parameters", "mapping"),
    # constraints
    "path no mapping": (lambda: problem(path=[effort]), "path", "mapping"),
    "path no triple": (lambda: problem(path=dict(limit=effort)), "path", "'limit'", "(function, lower, upper)"),
    "path of two": (lambda: problem(path=dict(limit=(effort, 1))), "'limit'", "lower, upper"),
    "path no function": (lambda: problem(path=dict(limit=(3, 0, 1))), "'limit'", "function"),
    "path bounds cross": (lambda: problem(path=dict(limit=(effort, 2, 1))), "'limit'", "cross"),
    "path bounds nan": (lambda: problem(path=dict(limit=(effort, nan, 1))), "'limit'", "NaN"),
    "path without bounds": (lambda: problem(path=dict(limit=(effort, None, None))), "'limit'", "no bound"),
    "path bounds text": (lambda: problem(path=dict(limit=(effort, "a", 1))), "'limit'"),
    "path bounds of different lengths": (lambda: problem(path=dict(limit=(effort, [0, 0], [1, 1, 1]))), "'limit'"),
    "boundary no triple": (lambda: problem(boundary=dict(loop=3)), "boundary", "'loop'"),
    "integral bounds cross": (lambda: problem(integrals=dict(fuel=(effort, 3, 2))), "integrals", "'fuel'", "cross"),
    "path beyond reach": (lambda: problem(path=dict(limit=(effort, inf, inf))), "'limit'"),
    # guess
    "guess of an unknown name": (lambda: problem(guess=dict(froce=1)), "'froce'", "Did you mean 'force'"),
    "guess no mapping": (lambda: problem(guess=[1, 2]), "guess", "mapping"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_problem_is_refused_in_words(mistake):
    make, *words = MISTAKES[mistake]
    with pytest.raises(InputError) as error:
        make()
    message = str(error.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and 20 < len(message) < 400


GOOD = problem(final=dict(position=1, speed=0))
FREE_TIME = problem(final=dict(position=1), t=(0, free(1.0)), running=lambda t, x, u, p: 1 + u[0] ** 2)

SOLVE_MISTAKES = {
    "zero intervals": (dict(intervals=0), "intervals", "0"),
    "negative intervals": (dict(intervals=-5), "intervals", "-5"),
    "half an interval": (dict(intervals=2.5), "intervals", "2.5"),
    "intervals is nan": (dict(intervals=nan), "intervals", "nan"),
    "intervals is infinite": (dict(intervals=inf), "intervals", "inf"),
    "intervals is text": (dict(intervals="many"), "intervals", "many"),
    "falling knots": (dict(intervals=[0, 2, 1]), "intervals", "increasing"),
    "repeated knots": (dict(intervals=[0, 1, 1, 2]), "intervals", "increasing"),
    "one knot": (dict(intervals=[0.0]), "intervals", "two"),
    "knots with nan": (dict(intervals=[0, nan, 1]), "intervals"),
    "a matrix of knots": (dict(intervals=[[0, 1], [2, 3]]), "intervals", "vector"),
    "unknown method": (dict(method="rk5"), "rk5"),
    "method is a number": (dict(method=4), "method", "4"),
    "zero substeps": (dict(method=adjoint.RK4, substeps=0), "substeps", "0"),
    "half a substep": (dict(method=adjoint.RK4, substeps=1.5), "substeps", "1.5"),
    "substeps of a collocation": (dict(method=adjoint.gauss(2), substeps=2), "substeps", "explicit"),
    "tol zero": (dict(tol=0), "tol", "0"),
    "tol nan": (dict(tol=nan), "tol", "nan"),
    "tol one": (dict(tol=1.0), "tol", "1.0"),
    "tol text": (dict(tol="small"), "tol", "small"),
    "accuracy negative": (dict(accuracy=-1e-3), "accuracy", "-0.001"),
    "negative iterations": (dict(max_iterations=-1), "max_iterations", "-1"),
    "half an iteration": (dict(max_iterations=2.5), "max_iterations", "2.5"),
    "infinitely many iterations": (dict(max_iterations=inf), "max_iterations", "inf"),
    "negative time": (dict(time_limit=-1), "time_limit", "-1"),
    "time limit nan": (dict(time_limit=nan), "time_limit", "nan"),
    "no starts": (dict(starts=0), "starts", "0"),
    "half a start": (dict(starts=1.5), "starts", "1.5"),
    "starts nan": (dict(starts=nan), "starts", "nan"),
    "progress no function": (dict(progress=3), "progress", "3"),
    "guess no mapping": (dict(guess=[0, 1]), "guess", "list"),
    "guess of an unknown name": (dict(guess=dict(spede=1)), "'spede'", "Did you mean 'speed'"),
    "guess with one value": (dict(guess=dict(speed=[1.0])), "'speed'", "1 value", "at least 2"),
    "guess against its times": (dict(guess=dict(t=[0, 1], speed=[1, 2, 3])), "'speed'", "3", "2"),
    "guess with falling times": (dict(guess=dict(t=[1, 0], speed=[1, 2])), "t ", "increasing"),
    "guess with nan": (dict(guess=dict(speed=[0, nan, 1])), "'speed'", "finite"),
    "guess is nan": (dict(guess=dict(force=nan)), "'force'", "finite"),
    "guess is text": (dict(guess=dict(speed="fast")), "'speed'", "fast"),
    "guess is a matrix": (dict(guess=dict(speed=np.zeros((3, 2)))), "'speed'", "(3, 2)"),
    "guess function with nan": (dict(guess=dict(speed=lambda t: nan)), "'speed'", "finite"),
    "guess function returns two": (dict(guess=dict(speed=lambda t: [1, 2])), "'speed'", "2"),
    "guess function returns nothing": (dict(guess=dict(speed=lambda t: None)), "'speed'"),
    "guess function raises": (dict(guess=dict(speed=lambda t: 1 / 0)), "'speed'", "division"),
    "guess function takes nothing": (dict(guess=dict(speed=lambda: 1)), "'speed'"),
    "guess times are text": (dict(guess=dict(t=["a", "b"], speed=[1, 2])), "'t'"),
}


@pytest.mark.parametrize("mistake", SOLVE_MISTAKES)
def test_a_wrong_argument_of_solve_is_refused_in_words(mistake):
    options, *words = SOLVE_MISTAKES[mistake]
    with pytest.raises(InputError) as error:
        adjoint.solve(GOOD, **(dict(intervals=4, certificate=False) | options))
    message = str(error.value)
    assert all(word in message for word in words), message
    assert len(message) < 500


@pytest.mark.parametrize("thing", [None, CAR, 3, "rocket"], ids=["None", "system", "number", "name"])
def test_only_problems_are_solved(thing):
    with pytest.raises(InputError, match="OptimalControlProblem"):
        adjoint.solve(thing)


def test_a_guess_of_a_group_or_a_parameter_is_checked():
    start = robot(parameters=dict(mass=free(1.0), k=[1, 2]), final=dict(q=[1, 1, 1]))
    for guess, words in (
        (dict(q=[1, 2]), ("'q'", "(2,)", "3")),
        (dict(q=np.zeros((5, 2))), ("'q'", "(5, 2)")),
        (dict(mass=[1, 2]), ("'mass'",)),
        (dict(mass=nan), ("'mass'", "finite")),
        (dict(mass="heavy"), ("'mass'",)),
        (dict(q=lambda t: [t, t]), ("'q'", "3")),
    ):
        with pytest.raises(InputError) as error:
            adjoint.solve(start, intervals=4, certificate=False, guess=guess)
        assert all(word in str(error.value) for word in words), (guess, str(error.value))


def test_a_solution_of_another_problem_is_no_guess():
    s = adjoint.solve(GOOD, intervals=4, certificate=False)
    with pytest.raises(InputError, match="other states or controls"):
        adjoint.solve(robot(final=dict(q=[1, 1, 1])), intervals=4, guess=s)
    one = OptimalControlProblem(
        System(lambda t, x, u, p: [x[1], u[0] * p[0]], "position speed", "force", "gain"),
        initial=dict(position=0, speed=0),
        final=dict(position=1),
        parameters=dict(gain=2.0),
        running=effort,
    )
    with pytest.raises(InputError, match="parameter"):
        adjoint.solve(one, intervals=4, guess=s)


# --- functions of the user that go wrong when they are traced

WRONG_FUNCTIONS = {
    "dynamics of wrong length": (
        lambda: OptimalControlProblem(System(lambda t, x, u, p: [x[1]], "x v", "u", name="lame"), running=effort),
        "lame",
        "1",
        "2",
    ),
    "dynamics index": (
        lambda: OptimalControlProblem(System(lambda t, x, u, p: [x[1], u[3]], "x v", "u", name="lame"), running=effort),
        "lame",
        "index",
    ),
    "dynamics raise": (
        lambda: OptimalControlProblem(
            System(lambda t, x, u, p: [x[1], 1 / 0], "x v", "u", name="lame"), running=effort
        ),
        "lame",
        "division",
    ),
    "dynamics return nothing": (
        lambda: OptimalControlProblem(System(lambda t, x, u, p: None, "x v", "u", name="lame"), running=effort),
        "lame",
        "None",
    ),
    "dynamics return text": (
        lambda: OptimalControlProblem(System(lambda t, x, u, p: ["a", "b"], "x v", "u", name="lame"), running=effort),
        "lame",
    ),
    "running returns two": (lambda: problem(running=lambda t, x, u, p: [u[0], x[0]]), "running cost", "2"),
    "running returns nothing": (lambda: problem(running=lambda t, x, u, p: None), "running cost", "None"),
    "running takes three": (lambda: problem(running=lambda t, x, u: u[0]), "running takes"),
    "running raises": (lambda: problem(running=lambda t, x, u, p: undefined), "running cost", "undefined"),  # noqa: F821
    "running branches": (
        lambda: problem(running=lambda t, x, u, p: x[0] if x[0] > 0 else -x[0]),
        "running cost",
        "where",
    ),
    "terminal takes four": (lambda: problem(minimize=lambda t, x, u, p: x[0]), "minimize takes"),
    "terminal returns a vector": (lambda: problem(minimize=lambda t, x, p: x), "terminal cost", "2"),
    "path returns more than bounds": (
        lambda: problem(path=dict(limit=(lambda t, x, u, p: x, [0, 0, 0], [1, 1, 1]))),
        "'limit'",
        "2",
        "3",
    ),
    "path returns nothing": (lambda: problem(path=dict(limit=(lambda t, x, u, p: None, 0, 1))), "'limit'", "None"),
    "path raises": (lambda: problem(path=dict(limit=(lambda t, x, u, p: x["a"], 0, 1))), "'limit'"),
    "path is empty": (lambda: problem(path=dict(limit=(lambda t, x, u, p: [], 0, 1))), "'limit'"),
    "boundary takes four": (lambda: problem(boundary=dict(loop=(lambda t, x, u, p: x[0], 0, 0))), "'loop'"),
    "boundary of wrong length": (
        lambda: problem(boundary=dict(loop=(lambda t0, x0, tf, xf, p: xf - x0, [0] * 3, [0] * 3))),
        "'loop'",
        "2",
        "3",
    ),
    "integral returns two": (lambda: problem(integrals=dict(fuel=(lambda t, x, u, p: x, 0, 1))), "'fuel'", "2"),
    "state with equal bounds": (lambda: problem(initial=None, bounds=dict(speed=(1, 1))), "'speed'", "equal"),
}


@pytest.mark.parametrize("mistake", WRONG_FUNCTIONS)
def test_a_wrong_function_is_refused_by_its_role(mistake):
    make, *words = WRONG_FUNCTIONS[mistake]
    with pytest.raises(AdjointError) as error:
        adjoint.solve(make(), intervals=4, certificate=False)
    message = str(error.value)
    assert all(word in message for word in words), message


def test_no_freedom_is_still_an_answer():
    # all controls fixed, both ends fixed and consistent or not: the first solves, the second says what is violated
    good = problem(bounds=dict(force=(2, 2)), final=dict(position=1, speed=2))
    s = adjoint.solve(good, intervals=4)
    assert s.converged, s.status
    np.testing.assert_allclose(s.x[-1], [1, 2], atol=1e-8)
    s = adjoint.solve(problem(bounds=dict(force=(2, 2)), final=dict(position=3)), intervals=4, max_iterations=200)
    assert not s.converged
    assert "'position'" in s.status and "violated" in s.status, s.status


def test_names_of_all_kinds_are_found_in_bounds_and_ends():
    p = robot(bounds=dict(q=(-1, 1), w0=(None, 2), arm=(0, None)), final=dict(q1=0.5, arm=(0, 3)))
    phase = p.phases[0]
    np.testing.assert_array_equal(phase.state_bounds, [[-1, -1, -1, 0], [1, 1, 1, inf]])
    np.testing.assert_array_equal(phase.control_bounds, [[-inf, -inf], [2, inf]])
    np.testing.assert_array_equal(phase.final, [[-1, 0.5, -1, 0], [1, 0.5, 1, 3]])
    np.testing.assert_array_equal(phase.initial, [[0, 0, 0, 0], [0, 0, 0, inf]])


def test_a_sequence_leaves_states_free_by_none_and_nan():
    phase = problem(initial=[None, 1.0], final=[2.0, nan]).phases[0]
    np.testing.assert_array_equal(phase.initial, [[-inf, 1], [inf, 1]])
    np.testing.assert_array_equal(phase.final, [[2, -inf], [2, inf]])
    array = problem(initial=np.array([nan, 1.0])).phases[0]
    np.testing.assert_array_equal(array.initial, [[-inf, 1], [inf, 1]])


def test_a_problem_is_a_value():
    bounds, start = dict(force=(-1, 1)), np.zeros(2)
    p = problem(bounds=bounds, initial=start)
    bounds["force"] = (5, 6)
    start[:] = 9
    np.testing.assert_array_equal(p.phases[0].control_bounds, [[-1], [1]])
    np.testing.assert_array_equal(p.phases[0].initial, 0)
    with pytest.raises(AttributeError):
        p.name = "other"
    assert "car" in repr(p) and "2 states" in repr(p) and "minimise" in repr(p)
    assert "maximise" in repr(problem(maximize=lambda t, x, p: x[0]))


# --- anything at all

NUMBER = st.one_of(st.floats(-50, 50), st.sampled_from([nan, inf, -inf, 0.0, 1.0]))  # no mesh of 1e9 intervals
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    NUMBER,
    st.text(max_size=3),
    st.just(f),
    st.just({}),
    st.just([]),
    st.lists(NUMBER, max_size=3),
    st.tuples(NUMBER, NUMBER),
    st.just(np.zeros((2, 2))),
    st.just(1j),
    st.just(free(1.0)),
    st.dictionaries(
        st.sampled_from(["position", "speed", "force", "t", "nobody"]),
        st.one_of(
            st.none(),
            NUMBER,
            st.text(max_size=2),
            st.tuples(NUMBER, NUMBER),
            st.just([1, 2, 3]),
            st.just((effort, 0, 1)),
            st.just(f),
            st.just(free(1.0)),
            st.just(np.zeros((3, 3))),
        ),
        max_size=2,
    ),
)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(
        [
            "initial",
            "final",
            "bounds",
            "running",
            "minimize",
            "maximize",
            "t",
            "path",
            "boundary",
            "integrals",
            "parameters",
            "guess",
        ]
    ),
    JUNK,
)
def test_any_junk_makes_a_problem_or_a_sentence(argument, junk):
    try:
        made = problem(**{argument: junk})
    except InputError:
        return
    assert isinstance(made, OptimalControlProblem)
    assert not np.isnan(made.phases[0].initial).any() and not np.isnan(made.phases[0].final).any()


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(
        ["intervals", "substeps", "guess", "tol", "accuracy", "max_iterations", "time_limit", "starts", "method"]
    ),
    JUNK,
)
def test_any_junk_for_solve_makes_a_solution_or_a_sentence(argument, junk):
    options = dict(intervals=3, max_iterations=20, certificate=False) | {argument: junk}
    try:
        s = adjoint.solve(GOOD, **options)
    except InputError:
        return
    assert np.all(np.isfinite(s.x)) and s.status


def test_a_cost_of_the_wrong_arguments_is_refused_when_it_is_given():
    car = adjoint.System(lambda t, x, u, p: [u[0]], "x", "v")
    for role, function in (("minimize", lambda t, x, u, p: t), ("running", lambda t, x, u: u[0])):
        with pytest.raises(InputError, match=rf"{role} takes \(t, x, u.*\); expected (three|four) arguments"):
            adjoint.OptimalControlProblem(car, initial=dict(x=0), t=(0, 1), **{role: function})
