"""What `solve` does about steps that cannot be stable, and about intervals that nobody can shoot through."""

import warnings

import pytest

import adjoint
from adjoint.errors import StabilityWarning
from adjoint.method import EULER, RK4, gauss, radau


def fast_decay(rate=100.0, T=10.0):
    """Follow 1 with a state that decays with a rate of 100: nothing is stiff about the answer, all about the step."""

    def f(t, x, u, p):
        return [x[1], -rate * (x[1] + x[0] - u[0])]

    return adjoint.OptimalControlProblem(
        adjoint.System(f, states="y v", controls="u", name="fast"), initial=dict(y=0, v=0), t=(0, T),
        bounds=dict(u=(-3, 3)), running=lambda t, x, u, p: (x[0] - 1) ** 2 + 0.1 * u[0] ** 2)  # fmt: skip


def sentences(*args, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solution = adjoint.solve(*args, **options)
    return solution, [str(w.message) for w in caught if issubclass(w.category, StabilityWarning)]


def test_a_step_that_cannot_be_stable_is_told_with_what_would_be():
    # λ² + 100 λ + 100 = 0: the fast one is -98.99; RK4 reaches to -2.785
    limit = r"rk4 on 'fast': stable up to h = 0.0281372. The eigenvalue -98.9898"
    with pytest.warns(StabilityWarning, match=limit) as told:
        adjoint.solve(fast_decay(), method=RK4, intervals=50, max_iterations=5)
    text = str(told[0].message)
    assert "steps of up to 0.2" in text and "intervals=391" in text and "substeps=8" in text and "radau(3)" in text
    assert told[0].filename == __file__


def test_the_advice_is_right():
    coarse, told = sentences(fast_decay(), method=RK4, intervals=50)
    assert told and not (coarse.optimal and abs(coarse.cost) < 10)
    reference, silent = sentences(fast_decay())
    assert reference.optimal and not silent
    for options in (dict(intervals=391), dict(intervals=50, substeps=8)):
        solution, silent = sentences(fast_decay(), method=RK4, **options)
        assert solution.converged and not silent
        assert solution.cost == pytest.approx(reference.cost, rel=5e-3)


def test_a_free_mesh_gets_intervals_that_are_short_enough():
    solution, silent = sentences(fast_decay(), method=RK4, accuracy=1e-2)
    assert 391 <= solution.N and solution.converged and not silent
    # and is left alone where the default will do
    assert sentences(fast_decay(rate=5.0), method=RK4, certificate=False)[0].N == 50


def test_implicit_methods_and_short_steps_are_silent():
    for options in (dict(method=gauss(2), intervals=50), dict(method=radau(2), intervals=50),
                    dict(method=RK4, intervals=400)):  # fmt: skip
        assert not sentences(fast_decay(), certificate=False, **options)[1]
    # Euler on an undamped oscillator: no step is stable, so none is refused
    oscillator = adjoint.OptimalControlProblem(
        adjoint.System(lambda t, x, u, p: [x[1], u[0] - x[0]], states="q v", controls="u"), t=(0, 2),
        initial=dict(q=1, v=0), final=dict(q=0, v=0), running=lambda t, x, u, p: u[0] ** 2)  # fmt: skip
    assert not sentences(oscillator, method=EULER, intervals=100, certificate=False)[1]


def test_an_earlier_solution_as_guess_is_judged_too():
    earlier = adjoint.solve(fast_decay(), certificate=False)
    assert sentences(fast_decay(), method=RK4, intervals=20, guess=earlier, max_iterations=3)[1]


def test_an_interval_that_nobody_can_shoot_through():
    """x'' = 60² x + u: e^60 over the horizon, as in Bock's problem of parameter estimation."""
    unstable = adjoint.OptimalControlProblem(
        adjoint.System(lambda t, x, u, p: [x[1], 3600 * x[0] + u[0]], states="x v", controls="u", name="unstable"),
        t=(0, 1), initial=dict(x=1, v=0), final=dict(x=0, v=0), running=lambda t, x, u, p: 1e-6 * u[0] ** 2,
    )
    with pytest.warns(StabilityWarning, match=r"grow by 1e26 within an interval .* Take intervals=4,"):
        adjoint.solve(unstable, method=RK4, intervals=1, substeps=60, max_iterations=3)
    solution, silent = sentences(unstable, method=RK4, intervals=160, substeps=3)
    assert not silent and solution.converged
    # The least energy that brings x'' = μ² x to rest in a long time is 2 μ³; the control is constant on an interval.
    assert solution.cost == pytest.approx(1e-6 * 2 * 60**3, rel=2e-2)
