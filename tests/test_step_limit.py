"""The longest stable step: what happens just below it, and just above."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint
from adjoint.analysis import max_stable_step, max_stable_step_along, stability_function
from adjoint.analysis.step_limit import jacobians
from adjoint.errors import InputError
from adjoint.method import BS3, DOP853, DOPRI5, EULER, HEUN, RK4, TSIT5, gauss, radau

LINEAR = {
    n: adjoint.System(
        lambda t, x, u, p, n=n: p.reshape(n, n) @ x, states=f"x[{n}]", parameters=f"A[{n * n}]", name=f"linear{n}"
    )
    for n in (1, 2, 4)
}
OSCILLATOR = adjoint.System(lambda t, x, u, p: [x[1], -p[0] * x[0] - p[1] * x[1]], states="q v",
                            parameters="stiffness damping", name="oscillator")  # fmt: skip


def growth(system, method, h, p, steps=3000):
    """‖x_N‖ / ‖x_{N/2}‖ of a rollout: what has the largest factor rules by then."""
    x0 = np.random.default_rng(5).normal(size=system.n)
    path = adjoint.rollout(system, x0, t=h * np.arange(steps + 1), p=p, method=method, allow_nonfinite=True)
    norms = np.linalg.norm(path.x[[steps // 2, -1]], axis=1)
    return (norms[1] / norms[0] if norms[0] > 0 else 0.0) if np.isfinite(norms).all() else np.inf


@given(
    st.sampled_from([1, 2, 4]),
    st.sampled_from([EULER, HEUN, BS3, RK4, DOPRI5, TSIT5, DOP853]),
    st.integers(0, 10**6),
    st.floats(-2, 2),
)
@settings(max_examples=40)
def test_just_below_the_limit_it_decays_and_just_above_it_grows(n, method, seed, scale):
    A = np.random.default_rng(seed).normal(size=(n, n))
    A -= (np.linalg.eigvals(A).real.max() + 0.3) * np.eye(n)  # all stable
    A *= 10.0**scale
    limit = max_stable_step(LINEAR[n], method, np.zeros(n), p=A.ravel())
    assert 0 < limit.h < np.inf and not limit.growing
    assert growth(LINEAR[n], method, 0.98 * limit.h, A.ravel()) < 1
    assert growth(LINEAR[n], method, 1.02 * limit.h, A.ravel()) > 1
    assert abs(stability_function(method)(limit.h * limit.eigenvalue)) == pytest.approx(1, abs=1e-9)
    assert np.abs(np.linalg.eigvals(A) - limit.eigenvalue).min() < 1e-9 * 10.0**scale


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=20)
def test_units_of_time_scale_the_limit_and_units_of_states_do_not(seed, unit):
    random = np.random.default_rng(seed)
    A = random.normal(size=(4, 4)) - 3 * np.eye(4)
    h = max_stable_step(LINEAR[4], RK4, np.zeros(4), p=A.ravel()).h
    assert max_stable_step(LINEAR[4], RK4, np.zeros(4), p=unit * A.ravel()).h == pytest.approx(h / unit, rel=1e-9)
    D = np.diag(np.exp(random.normal(size=4)))
    changed = D @ A @ np.linalg.inv(D)
    assert max_stable_step(LINEAR[4], RK4, np.zeros(4), p=changed.ravel()).h == pytest.approx(h, rel=1e-6)


def test_a_scalar_decay():
    for method, real in ((EULER, 2), (HEUN, 2), (RK4, 2.785293563405282)):
        assert max_stable_step(LINEAR[1], method, [3.0], p=[-50.0]).h == pytest.approx(real / 50, rel=1e-12)


def test_an_undamped_oscillation():
    p = [4.0, 0.0]
    assert max_stable_step(OSCILLATOR, RK4, [1, 0], p=p).h == pytest.approx(2**0.5, rel=1e-12)
    euler = max_stable_step(OSCILLATOR, EULER, [1, 0], p=p)
    assert euler.h == 0 and "no step is stable" in euler.sentence and "±2i" in euler.sentence
    assert growth(OSCILLATOR, EULER, 1e-3, p) > 1  # and so it is
    assert growth(OSCILLATOR, RK4, 0.98 * 2**0.5, p) < 1 < growth(OSCILLATOR, RK4, 1.02 * 2**0.5, p)


def test_with_little_damping_euler_needs_steps_as_short_as_the_damping():
    # |1 + hλ|² = 1 + 2h Re λ + h²|λ|² <= 1:  h* = -2 Re λ / |λ|² = c/k for q'' = -k q - c q'
    for c in (1e-1, 1e-3, 1e-6):
        assert max_stable_step(OSCILLATOR, EULER, [0, 0], p=[2.0, c]).h == pytest.approx(c / 2, rel=1e-8)


def test_implicit_methods_have_no_limit():
    for method in (gauss(2), radau(3)):
        limit = max_stable_step(OSCILLATOR, method, [1, 0], p=[1e6, 1.0])
        assert limit.h == np.inf and limit.eigenvalue is None and "every step is stable" in limit.sentence


def test_along_a_trajectory_the_least_limit_decides():
    vdp = adjoint.System(lambda t, x, u, p: [x[1], p[0] * (1 - x[0] ** 2) * x[1] - x[0]], states="x v",
                         parameters="mu", name="van der pol")  # fmt: skip
    path = adjoint.rollout(vdp, [2.0, 0.0], t=np.linspace(0, 10, 1001), p=[5.0])
    limit = max_stable_step_along(path)
    assert limit.limits.shape == (1001,) and limit.limits[limit.knot] == limit.h == limit.limits.min()
    assert limit.t == path.t[limit.knot] and limit.growing and "positive real parts" in str(limit)
    for k in (0, limit.knot, 700):
        assert max_stable_step(vdp, RK4, path.x[k], p=[5.0]).h == pytest.approx(limit.limits[k], rel=1e-12)
    batch = adjoint.rollout(vdp, [[2.0, 0.0], [0.5, 0.0]], t=np.linspace(0, 10, 1001), p=[5.0])
    assert max_stable_step_along(batch).limits.reshape(2, -1)[0] == pytest.approx(limit.limits, rel=1e-12)
    own = adjoint.rollout(vdp, [[2.0, 0.0]] * 2, t=np.linspace(0, 10, 1001), p=[[5.0], [1.0]])
    assert max_stable_step_along(own).limits[:1001] == pytest.approx(limit.limits, rel=1e-12)
    # At this limit the simulation still works, at three times of it it does not.
    coarse = adjoint.rollout(vdp, [2.0, 0.0], t=np.arange(0, 10, 0.9 * limit.h), p=[5.0])
    assert np.abs(coarse.x[:, 0]).max() < 2.1
    with pytest.raises(adjoint.AdjointError):
        adjoint.rollout(vdp, [2.0, 0.0], t=np.arange(0, 10, 3 * limit.h), p=[5.0])


def test_a_controlled_system_uses_the_control_that_is_held():
    drag = adjoint.System(lambda t, x, u, p: [-u[0] * x[0]], states="x", controls="k", name="drag")
    path = adjoint.rollout(drag, [1.0], [[1.0], [8.0], [2.0]], t=[0, 0.1, 0.2, 0.3])
    assert 2.785293563405282 / max_stable_step_along(path).limits == pytest.approx([1, 8, 2, 2])
    assert max_stable_step(drag, RK4, [1.0], u=[8.0]).h == max_stable_step_along(path).h


def test_jacobians_against_complex_steps():
    def f(t, x, u, p):
        return [np.sin(x[0] * x[1]) + t, p[0] * x[0] ** 3 - np.exp(x[1])]

    system = adjoint.System(f, states="a b", parameters="k")
    x, t = np.random.default_rng(0).normal(size=(7, 2)), np.linspace(0, 1, 7)
    J = jacobians(system, t, x, np.zeros((7, 0)), np.array([[0.7]]))
    for k in range(7):
        for j in range(2):
            z = x[k].astype(complex)
            z[j] += 1e-30j
            assert J[k, :, j] == pytest.approx(np.imag(f(t[k], z, (), [0.7])) / 1e-30, rel=1e-14)


def test_a_jacobian_that_is_not_normal_is_told_with_the_growth():
    A = np.array([[-1.0, 1000.0], [0.0, -1.0001]])
    limit = max_stable_step(LINEAR[2], RK4, [0, 0], p=A.ravel())
    assert limit.transient == pytest.approx(1000 / np.e, rel=2e-3)  # max t e^-t = 1/e
    assert "not normal" in limit.sentence and "368" in limit.sentence
    x = adjoint.rollout(LINEAR[2], [0.0, 1.0], t=0.1 * np.arange(100), p=A.ravel()).x
    assert np.linalg.norm(x, axis=1).max() == pytest.approx(limit.transient, rel=1e-2)  # far below the limit, it grows
    assert "not normal" not in max_stable_step(LINEAR[2], RK4, [0, 0], p=[-1, 0, 0, -2]).sentence


@pytest.mark.parametrize(
    "A", [[[-1, 1], [0, -1]], [[0, 1], [0, 0]], [[0, 0], [0, 0]], [[-2, 0], [0, 0]], [[3, 0], [0, -1]]]
)
def test_defective_zero_and_growing_eigenvalues_give_numbers_and_sentences(A):
    limit = max_stable_step(LINEAR[2], RK4, [0, 0], p=np.ravel(A).astype(float))
    stable = -np.min([e for e in np.linalg.eigvals(A) if e < -1e-7], initial=0)
    assert limit.h == (pytest.approx(2.785293563405282 / stable, rel=1e-6) if stable else np.inf)
    assert limit.growing == (np.max(A) == 3) and limit.transient >= 1 and "nan" not in limit.sentence


def test_bad_input_is_told():
    discrete = adjoint.System(lambda t, x, u, p: [0.5 * x[0]], states="x", discrete=True, name="halving")
    with pytest.raises(InputError, match="'halving' is discrete"):
        max_stable_step(discrete, RK4, [1.0])
    with pytest.raises(InputError, match="'halving' is discrete"):
        max_stable_step_along(adjoint.rollout(discrete, [1.0], steps=3))
    root = adjoint.System(lambda t, x, u, p: [-np.sqrt(x[0])], states="level", name="tank")
    with pytest.raises(InputError, match="level equation of 'tank'"):
        max_stable_step(root, RK4, [0.0])
    for bad in (dict(x=[1.0]), dict(x=[[1.0]]), dict(x=np.zeros((0, 2))), dict(x=[1.0, np.nan]), dict(x="a"),
                dict(x=[1, 2], u=[1]), dict(x=[1, 2], p=[1]), dict(x=[1, 2], t=[1, 2])):  # fmt: skip
        with pytest.raises(InputError, match="max_stable_step"):
            max_stable_step(OSCILLATOR, RK4, **({"p": [1.0, 1.0]} | bad))
    with pytest.raises(InputError, match="expected a System"):
        max_stable_step(lambda t, x, u, p: x, RK4, [1.0])
    with pytest.raises(InputError, match="no Trajectory"):
        max_stable_step_along(OSCILLATOR)
    with pytest.raises(InputError, match="no Method"):
        max_stable_step(OSCILLATOR, "rk4", [1.0, 0.0], p=[1.0, 1.0])


def test_an_overflow_says_which_step_would_have_been_stable():
    decay = adjoint.System(lambda t, x, u, p: [-p[0] * x[0]], states="x", parameters="rate", name="decay")
    words = r"step of 0.1 is too long at the start: rk4 on 'decay': stable up to h = 0.0278529. The eigenvalue -100"
    with pytest.raises(adjoint.AdjointError, match=words):
        adjoint.rollout(decay, [1.0], t=np.linspace(0, 50, 501), p=[100.0])
    with pytest.raises(adjoint.AdjointError, match=r"path 1 of the batch.*The eigenvalue -300 decides"):
        adjoint.rollout(decay, [[1.0], [1.0]], t=np.linspace(0, 50, 501), p=[[1.0], [300.0]])
    bursting = adjoint.System(lambda t, x, u, p: [x[0] ** 2], states="x", name="bursting")
    with pytest.raises(adjoint.AdjointError) as failure:  # the system's own explosion: no word about steps
        adjoint.rollout(bursting, [1.0], t=np.linspace(0, 50, 501))
    assert "too long" not in str(failure.value)
    root = adjoint.System(lambda t, x, u, p: [np.sqrt(x[0]) + 1e300 * x[0] * 1e10], states="x", name="root")
    with pytest.raises(adjoint.AdjointError) as failure:  # no derivative at 0
        adjoint.rollout(root, [0.0], t=np.linspace(0, 1, 11))
