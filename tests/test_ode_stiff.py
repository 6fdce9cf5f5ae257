"""Stiff and differential-algebraic problems against published values, SciPy, and their own derivatives.

End values: the test set for IVP solvers (HIRES, Robertson, Van der Pol, Orego, transistor amplifier, chemical Akzo
Nobel).
Sensitivities: the examples of SUNDIALS (Robertson: cvsRoberts_FSA; Akzo Nobel: idasAkzoNob_ASAi).
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp as scipy_solve_ivp

from adjoint.errors import AdjointError, InputError
from adjoint.method import AUTO, DOPRI5, RODAS5P, TSIT5, gauss, radau
from adjoint.ode import Event, solve_ivp
from adjoint.ode.algebraic import consistent, consistent_vjp
from adjoint.ode.run import Points
from adjoint.sweeps import rollout, sweep, tangent
from adjoint.system import System

STIFF = [RODAS5P, radau(3), radau(5)]


def by_name(m):
    return m.name


def hires(t, y, u, p):
    y1, y2, y3, y4, y5, y6, y7, y8 = y
    a = 280 * y6 * y8
    return [
        -1.71 * y1 + 0.43 * y2 + 8.32 * y3 + 0.0007, 1.71 * y1 - 8.75 * y2, -10.03 * y3 + 0.43 * y4 + 0.035 * y5,
        8.32 * y2 + 1.71 * y3 - 1.12 * y4, -1.745 * y5 + 0.43 * y6 + 0.43 * y7,
        -a + 0.69 * y4 + 1.71 * y5 - 0.43 * y6 + 0.69 * y7, a - 1.81 * y7, 1.81 * y7 - a,
    ]  # fmt: skip


def robertson(t, y, u, p):
    slow, back, fast = p[0] * y[0], p[1] * y[1] * y[2], p[2] * y[1] ** 2
    return [back - slow, slow - back - fast, fast]


def van_der_pol(t, x, u, p):
    return [x[1], p[0] * (1 - x[0] ** 2) * x[1] - p[1] * x[0]]


def orego(t, y, u, p):
    a, b, c = y
    return [77.27 * (b + a * (1 - 8.375e-6 * a - b)), (c - (1 + a) * b) / 77.27, 0.161 * (a - c)]


HIRES, OREGO = System(hires, "y[8]"), System(orego, "a b c")
ROBERTSON, VAN_DER_POL = System(robertson, "A B C", parameters="k1 k2 k3"), System(van_der_pol, "x v", parameters="a b")
RATES = [0.04, 1e4, 3e7]
MU3, MU6 = [1e3, 1.0], [1e6, 1e6]

# system, p, x0, end of time, end value, atol by rtol
PROBLEMS = {
    "HIRES": (HIRES, (), [1, 0, 0, 0, 0, 0, 0, 0.0057], 321.8122, [
        0.7371312573325668e-3, 0.1442485726316185e-3, 0.5888729740967575e-4, 0.1175651343283149e-2,
        0.2386356198831331e-2, 0.6238968252742796e-2, 0.2849998395185769e-2, 0.2850001604814231e-2], 1e-4),
    "Robertson, 40": (ROBERTSON, RATES, [1, 0, 0], 40, [0.7158270687194, 9.18553476456e-6, 0.2841637457458], 1e-4),
    "Van der Pol, 1e3": (VAN_DER_POL, MU3, [2, 0], 2000, [1.706167732170469, -0.8928097010248125e-3], 1e-3),
    "Van der Pol, 1e6": (VAN_DER_POL, MU6, [2, 0], 2, [0.1706167732170483e1, -0.8928097010247975], 1e-3),
    "Orego": (OREGO, (), [1, 2, 3], 360, [0.1000814870318523e1, 0.1228178521549917e4, 0.1320554942846706e3], 1e-2),
}  # fmt: skip


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("m", STIFF, ids=by_name)
def test_end_values_are_the_published_ones(m, problem):
    system, p, x0, end, published, unit = PROBLEMS[problem]
    errors = []
    for rtol in (1e-5, 1e-8):
        solution = solve_ivp(system, (0, end), x0, p=p, method=m, rtol=rtol, atol=rtol * unit)
        assert solution.status == 0, solution.message
        errors.append(np.abs(solution.x[-1] / published - 1).max())
    # Phase errors of the relaxation oscillations are what a local tolerance leaves.
    assert errors[0] < 100e-5 and errors[1] < 100e-8
    assert errors[1] < errors[0]


@pytest.mark.parametrize("m", STIFF, ids=by_name)
def test_robertson_over_eleven_decades(m):
    solution = solve_ivp(ROBERTSON, (0, 1e11), [1, 0, 0], p=RATES, method=m, rtol=1e-8, atol=[1e-14, 1e-20, 1e-14])
    published = [0.2083340149701255e-7, 0.8333360770334713e-13, 0.9999999791665050]
    assert solution.x[-1] == pytest.approx(published, rel=1e-6)
    assert solution.accepted < 2000


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_steps_are_no_more_than_those_of_scipys_radau(problem):
    system, p, x0, end, _, unit = PROBLEMS[problem]
    f = system.f
    theirs = scipy_solve_ivp(
        lambda t, x: np.array(f(t, x, (), p)), (0, end), x0, method="Radau", rtol=1e-5, atol=1e-5 * unit
    )
    for m in STIFF:
        ours = solve_ivp(system, (0, end), x0, p=p, method=m, rtol=1e-5, atol=1e-5 * unit)
        assert ours.accepted <= 1.1 * (theirs.t.size - 1), (m, ours.accepted, theirs.t.size - 1)


@pytest.mark.parametrize("m", STIFF, ids=by_name)
def test_robertsons_sensitivities(m):
    solution = solve_ivp(ROBERTSON, (0, 40), [1, 0, 0], p=RATES, method=m, rtol=1e-9, atol=1e-13)
    expected = [[-4.2475, 1.3731e-5, -2.2883e-9], [4.5913e-5, -2.3573e-10, -1.1380e-13]]  # to the digits printed
    for state, row in enumerate(expected):
        assert solution.sweep(dlast=np.eye(3)[state]).p == pytest.approx(row, rel=5e-5)
    total = solution.sweep(dlast=np.ones(3))
    assert total.x0 == pytest.approx(np.ones(3), rel=1e-9)  # mass is conserved
    moved = tangent(solution.trajectory, p=[0.04, 0, 0])
    assert moved[-1] @ [1, 2, 3] == pytest.approx(0.04 * solution.sweep(dlast=[1, 2, 3]).p[0], rel=1e-9)


# -- the gradient of what was computed --------------------------------------------------------------------


@pytest.mark.parametrize("m", STIFF, ids=by_name)
def test_the_grid_is_a_trajectory_of_the_method(m):
    solution = solve_ivp(ROBERTSON, (0, 40), [1, 0, 0], p=RATES, method=m, rtol=1e-6, atol=1e-10)
    path = solution.trajectory
    again = rollout(ROBERTSON, [1, 0, 0], t=path.t, p=RATES, method=m)
    units = np.abs(again.x - path.x) / (1e-10 + 1e-6 * np.abs(path.x))
    if m is RODAS5P:
        assert np.array_equal(again.x, path.x)
    else:  # stages to 1e-5 of the tolerance in each step, and their sum over the steps
        assert units.max() < 1e-5 * len(path)
    ours, theirs = solution.sweep(dlast=[1, 1e4, 2]), sweep(again, dx=[1, 1e4, 2])
    assert ours.p == pytest.approx(theirs.p, rel=1e-8 if m is not RODAS5P else 1e-15)


@pytest.mark.parametrize("m", STIFF, ids=by_name)
def test_outputs_between_the_steps_and_their_gradient(m):
    """Dense output against a sharp solve; its gradient against differences on the same grid."""
    system = System(
        lambda t, x, u, p: [p[0] * (np.cos(t) - x[0]) + x[1] * u[0], -p[1] * x[1] * x[0]], "a b", "v", "k l"
    )
    x0, p, u, times = np.array([0.0, 1.0]), np.array([50.0, 0.7]), np.array([0.3]), np.linspace(0.02, 2, 12)
    coarse, fine = (
        solve_ivp(system, (0, 2), x0, u=u, p=p, method=m, rtol=r, atol=r, t_eval=times) for r in (1e-5, 1e-11)
    )
    assert np.abs(coarse.x - fine.x).max() < 2e-4
    weights = np.random.default_rng(0).standard_normal(coarse.x.shape)
    gradient = coarse.sweep(dx=weights)
    grid = coarse.trajectory.t

    def J(x0=x0, p=p, u=u, t0=0.0, t1=2.0):
        """The outputs on the same grid, but for its ends."""
        t = np.concatenate([[t0], grid[1:-1], [t1]])
        path = rollout(system, x0, np.tile(u, (t.size - 1, 1)), t, p, m)
        runner, total = coarse.runner, 0.0
        for j, time in enumerate(times):
            time = t1 if j == times.size - 1 else time  # an output at the end of the span moves with it
            k = min(np.searchsorted(t, time, side="right") - 1, t.size - 2)
            h = t[k + 1 : k + 2] - t[k]
            at = Points(t[k : k + 1], h, path.x[k : k + 1], u[None], p, (time - t[k : k + 1]) / h)
            total += float(np.sum(weights[j] * runner.dense(at)))
        return total

    e = 1e-6

    def slope(name, value, i):
        unit = np.eye(value.size)[i] * e
        return (J(**{name: value + unit}) - J(**{name: value - unit})) / (2 * e)

    for i in range(2):
        assert gradient.x0[i] == pytest.approx(slope("x0", x0, i), rel=1e-6)
        assert gradient.p[i] == pytest.approx(slope("p", p, i), rel=1e-6, abs=1e-8)
    assert gradient.u.sum() == pytest.approx(slope("u", u, 0), rel=1e-6)
    assert gradient.t0 == pytest.approx((J(t0=e) - J(t0=-e)) / (2 * e), rel=1e-5, abs=1e-7)
    assert gradient.t1 == pytest.approx((J(t1=2 + e) - J(t1=2 - e)) / (2 * e), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("m", [RODAS5P, radau(3)], ids=by_name)
def test_events_are_found_and_carry_gradients(m):
    """A relaxing state meets a level: x0 exp(-k t*) = 1/2, so t* = log(2 x0) / k."""
    system = System(lambda t, x, u, p: [-p[0] * x[0], -1e5 * (x[1] - x[0])], "x y", parameters="k")
    stop = Event(lambda t, x, u, p: x[0] - 0.5, terminal=True)
    solution = solve_ivp(system, (0, 10), [1, 1], p=[2.0], method=m, events=stop, rtol=1e-9, atol=1e-11)
    assert solution.status == 1
    assert solution.t[-1] == pytest.approx(np.log(2) / 2, rel=1e-8)


# -- differential-algebraic systems ------------------------------------------------------------------------

KS = 115.83


def akzo(t, y, u, p):
    y1, y2, y3, y4, y5, y6 = y
    root, k2 = np.sqrt(y2), 0.58
    r1, r2, r3 = 18.7 * y1**4 * root, k2 * y3 * y4, k2 / 34.4 * y1 * y5
    r4, r5, inflow = 0.09 * y1 * y4**2, 0.42 * y6**2 * root, 3.3 * (0.9 / 737 - y2)
    return [
        -2 * r1 + r2 - r3 - r4, -r1 / 2 - r4 - r5 / 2 + inflow, r1 - r2 + r3, -r2 + r3 - 2 * r4, r2 - r3 + r5,
        p[0] * y1 * y4 - y6,
    ]  # fmt: skip


AKZO = System(akzo, "y1 y2 y3 y4 y5 y6", parameters="Ks", mass=np.diag([1, 1, 1, 1, 1, 0]))
AKZO_0 = np.array([0.444, 0.00123, 0, 0.007, 0, KS * 0.444 * 0.007])


@pytest.mark.parametrize("m", [RODAS5P, radau(3)], ids=by_name)
def test_akzo_nobels_integral_and_its_gradient(m):
    solution = solve_ivp(
        AKZO, (0, 180), AKZO_0, p=[KS], method=m, rtol=1e-8, atol=1e-10, running=lambda t, x, u, p: x[0]
    )
    # SUNDIALS prints 31.26421626; both methods converge to 31.264216195, 2e-9 away (relative), as sharper ones do.
    assert solution.integral[-1] == pytest.approx(31.264216195, abs=3e-8)
    assert solution.integral[-1] == pytest.approx(31.26421626, rel=1e-8)
    gradient = solution.sweep(dintegral=1.0)
    at_start, _ = consistent_vjp(AKZO, AKZO_0, gradient.x0, p=[KS])
    assert at_start[:5] == pytest.approx([22.207, -62.695, -2.5114, 91.837, 3.5176], rel=3e-5)
    assert at_start[5] == pytest.approx(0, abs=1e-12)


def amplifier(t, y, u, p):
    def current(v):
        return 1e-6 * (np.exp(v / 0.026) - 1)

    y1, y2, y3, y4, y5, y6, y7, y8 = y
    R, first, second = 9000, current(y2 - y3), current(y5 - y6)
    return [
        (y1 - 0.1 * np.sin(200 * np.pi * t)) / 1000, (2 * y2 - 6) / R + 0.01 * first, y3 / R - first,
        (y4 - 6) / R + 0.99 * first, (2 * y5 - 6) / R + 0.01 * second, y6 / R - second, (y7 - 6) / R + 0.99 * second,
        y8 / R,
    ]  # fmt: skip


def capacitors():
    M = np.zeros((8, 8))
    for k, nodes in ((1, (0, 1)), (2, (2,)), (3, (3, 4)), (4, (5,)), (5, (6, 7))):
        block = np.array([[-1, 1], [1, -1]]) if len(nodes) == 2 else -np.eye(1)
        M[np.ix_(nodes, nodes)] = 1e-6 * k * block
    return M


AMPLIFIER = System(amplifier, "y[8]", mass=capacitors())
AMPLIFIER_0 = [0, 3, 3, 6, 3, 3, 6, 0]


@pytest.mark.parametrize("m", STIFF, ids=by_name)
def test_the_transistor_amplifier(m):
    published = [-0.5562145012262709e-2, 3.006522471903042, 2.849958788608128, 2.926422536206241, 2.704617865010554,
                 2.761837778393145, 4.770927631616772, 1.236995868091548]
    errors = []
    for tolerance in (1e-4, 1e-6):
        solution = solve_ivp(AMPLIFIER, (0, 0.2), AMPLIFIER_0, method=m, rtol=tolerance, atol=tolerance)
        errors.append(np.abs(solution.x[-1] - published).max())
    assert errors[0] < 1e-3 and errors[1] < 1e-6


def test_consistent_values_are_computed_and_differentiated():
    guess = np.append(AKZO_0[:5], 7.0)
    assert consistent(AKZO, guess, p=[KS]) == pytest.approx(AKZO_0, rel=1e-14)
    weights = np.arange(1.0, 7.0)
    g_x, g_p = consistent_vjp(AKZO, AKZO_0, weights, p=[KS])
    e = 1e-7
    for j in range(6):
        sides = [weights @ consistent(AKZO, guess + s * e * np.eye(6)[j], p=[KS]) for s in (1, -1)]
        assert g_x[j] == pytest.approx((sides[0] - sides[1]) / (2 * e), rel=1e-6, abs=1e-8)
    sides = [weights @ consistent(AKZO, guess, p=[KS + s * 1e-4]) for s in (1, -1)]
    assert g_p[0] == pytest.approx((sides[0] - sides[1]) / 2e-4, rel=1e-8)
    # a mass matrix whose null spaces are no coordinates
    shift = consistent(AMPLIFIER, np.array(AMPLIFIER_0) + 0.01)
    M = capacitors()
    assert M @ shift == pytest.approx(M @ (np.array(AMPLIFIER_0) + 0.01), abs=1e-18)
    solve_ivp(AMPLIFIER, (0, 1e-4), shift, method=radau(3))


def test_an_inconsistent_start_is_refused():
    wrong = np.append(AKZO_0[:5], 0.3)
    with pytest.raises(InputError, match=r"state 'y6' = 0.3 would have to be about 0.35999.*consistent\(system"):
        solve_ivp(AKZO, (0, 180), wrong, p=[KS], method=radau(3))


def test_a_higher_index_is_refused():
    # a pendulum's constraint on positions: index 3
    pendulum = System(
        lambda t, x, u, p: [x[2], x[3], -x[4] * x[0], -x[4] * x[1] - 1, x[0] ** 2 + x[1] ** 2 - 1], "x y v w force",
        mass=np.diag([1, 1, 1, 1, 0]),
    )
    for call in (lambda x: solve_ivp(pendulum, (0, 1), x, method=radau(3)), lambda x: consistent(pendulum, x)):
        with pytest.raises(InputError, match="index is not 1"):
            call([1, 0, 0, 0, 0])


def test_no_consistent_value_is_a_sentence():
    nowhere = System(lambda t, x, u, p: [x[1], x[0] + x[1] ** 2 + 1], "x y", mass=[[1, 0], [0, 0]])
    with pytest.raises(AdjointError, match="no consistent state"):
        consistent(nowhere, [1.0, 0.3])


# -- the choice of the method ----------------------------------------------------------------------------


def test_the_method_is_chosen_by_itself():
    gentle = solve_ivp(VAN_DER_POL, (0, 20), [2, 0], p=[2.0, 1.0], method=AUTO)
    assert gentle.method == TSIT5 and gentle.status == 0
    assert np.array_equal(gentle.x, solve_ivp(VAN_DER_POL, (0, 20), [2, 0], p=[2.0, 1.0], method=TSIT5).x)
    for problem in PROBLEMS:
        system, p, x0, end, published, unit = PROBLEMS[problem]
        solution = solve_ivp(system, (0, end), x0, p=p, method=AUTO, rtol=1e-6, atol=1e-6 * unit)
        assert solution.method == RODAS5P and "Stiff from t = " in solution.message
        assert solution.x[-1] == pytest.approx(published, rel=1e-3)
        assert np.isfinite(solution.sweep(dlast=np.ones(system.n)).x0).all()
    dae = solve_ivp(AKZO, (0, 1), AKZO_0, p=[KS], method=AUTO)
    assert dae.method == RODAS5P


def test_an_oscillation_is_not_stiff():
    ring = System(lambda t, x, u, p: [100 * x[1], -100 * x[0]], "x y")  # ρ = 100, but on the imaginary axis
    assert solve_ivp(ring, (0, 50), [1, 0], method=AUTO, rtol=1e-4).method == TSIT5


# -- failures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", STIFF, ids=by_name)
def test_failures_end_with_a_sentence(m):
    blow_up = System(lambda t, x, u, p: [x[0] ** 2, -x[1]], "x y")
    solution = solve_ivp(blow_up, (0, 2), [1, 1], method=m)
    assert solution.status == -1 and "state 'x'" in solution.message
    assert solution.t[-1] == pytest.approx(1, abs=1e-3)
    assert np.isfinite(solution.x).all()

    domain = System(lambda t, x, u, p: [-1.0 + 0 * x[0], np.sqrt(x[0])], "x y")
    solution = solve_ivp(domain, (0, 2), [1, 0], method=m)
    assert solution.status == -1 and "not finite however short the step" in solution.message
    assert solution.t[-1] == pytest.approx(1, abs=1e-3)

    few = solve_ivp(VAN_DER_POL, (0, 2000), [2, 0], p=MU3, method=m, max_steps=50)
    assert few.status == -1 and "after 50 steps tried" in few.message and few.accepted + few.rejected == 50

    turn = System(lambda t, x, u, p: [1.0 + 0 * x[0], (1 - x[0]) * x[1]], "x y", mass=[[1, 0], [0, 0]])
    solution = solve_ivp(turn, (0, 2), [0.0, 0.0], method=m)  # the algebraic equation degenerates at t = 1
    assert solution.status in (0, -1)
    assert solution.message and np.isfinite(solution.x).all()


def test_a_method_without_an_error_estimate_is_refused():
    for m in (gauss(2), radau(2)):
        with pytest.raises(InputError, match=f"{m.name} has no estimate of its error"):
            solve_ivp(ROBERTSON, (0, 1), [1, 0, 0], p=RATES, method=m)
    with pytest.raises(InputError, match="has a mass matrix.*explicit method"):
        solve_ivp(AKZO, (0, 1), AKZO_0, p=[KS], method=DOPRI5)


def test_backwards_in_time_with_knots_and_controls():
    system = System(lambda t, x, u, p: [-20 * (x[0] - u[0])], "x", "u")
    knots, u = [0, 0.5, 1.0], [[1.0], [2.0]]
    there = solve_ivp(system, (0, 1), [0.0], u=u, knots=knots, method=RODAS5P, rtol=1e-9, atol=1e-12)
    exact = 2 + (1 - np.exp(-10) - 2) * np.exp(-10)
    assert there.x[-1, 0] == pytest.approx(exact, rel=1e-8) and 0.5 in there.t
    back = solve_ivp(system, (1, 0), [exact], u=u, knots=knots, method=radau(3), rtol=1e-12, atol=1e-13)
    assert back.x[-1, 0] == pytest.approx(0, abs=1e-3)  # the error of the start grows by exp(20)
    gradient = there.sweep(dlast=[1.0])
    assert gradient.u.ravel() == pytest.approx([(1 - np.exp(-10)) * np.exp(-10), 1 - np.exp(-10)], rel=1e-6)


def test_algebraic_states_cannot_jump_and_the_sentence_says_what_to_do():
    cubic = System(
        lambda t, x, u, p: [-x[0] + x[1], x[1] + 0.2 * x[1] ** 3 - u[0]], "x z", controls="i", mass=[[1, 0], [0, 0]]
    )
    x0 = consistent(cubic, [0, 0.8], 0.0, [1.0])
    for m in (RODAS5P, radau(3), AUTO):
        stopped = solve_ivp(cubic, (0, 2), x0, u=[[1.0], [2.0]], knots=[0, 1, 2], method=m)
        assert stopped.status == -1 and "just behind a knot" in stopped.message and "consistent(" in stopped.message
        first = solve_ivp(cubic, (0, 1), x0, u=[1.0], method=m)
        rest = solve_ivp(cubic, (1, 2), consistent(cubic, first.x[-1], 1.0, [2.0]), u=[2.0], method=m)
        assert rest.success and first.x[-1] == pytest.approx(stopped.x[-1], rel=1e-3)
    free = System(lambda t, x, u, p: [-x[0] + x[1], x[1] + 0.2 * x[1] ** 3 - x[0] - 1], "x z", mass=[[1, 0], [0, 0]])
    half = Event(lambda t, x, u, p: x[0] - 1, 1, jump=lambda t, x, u, p: [x[0] - 0.5, x[1]], name="half")
    jumped = solve_ivp(free, (0, 4), consistent(free, [0, 0.8]), method=RODAS5P, events=half)
    assert jumped.status == -1 and "by the jump of event 'half'" in jumped.message
    assert len(jumped.t_events[0]) == 1 and jumped.t[-1] == jumped.t_events[0][0]
