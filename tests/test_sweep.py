"""The forward sweep, its tangent and its transpose: identities to round-off, for continuous, discrete and hand-compiled
systems."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

import adjoint
from adjoint.check import check_gradient
from adjoint.errors import AdjointError, InputError
from adjoint.method import EXPLICIT, RK4
from adjoint.native import lane_width
from adjoint.sweeps import hessian_vector, linearize, rollout, sweep, tangent
from adjoint.system import System


def predator_prey(t, x, u, p):
    prey, predator = x
    return [p[0] * prey - p[1] * prey * predator + u[0], -p[2] * predator + prey * predator * np.exp(-(u[1] ** 2))]


def driven_arm(t, x, u, p):
    """Something of everything: time, quotients, roots, powers, and a state that nothing depends on."""
    angle, speed, _ = x
    torque = u[0] * np.cos(p[1] * t)
    return [
        speed,
        (torque - p[0] * np.sin(angle)) / (1 + 0.1 * angle**2) - 0.1 * speed * np.sqrt(1 + speed**2),
        torque * speed,
    ]


def henon(t, x, u, p):
    return [1 - p[0] * x[0] ** 2 + x[1] + 0.1 * np.tanh(u[0]) * np.cos(t), p[1] * x[0]]


PREY = System(predator_prey, "prey predator", "feed fence", "a b c")
ARM = System(driven_arm, "angle speed work", "torque", "g w")
HENON = System(henon, "a b", "kick", "a1 b1", discrete=True)

T = np.cumsum(np.r_[0.3, np.linspace(0.02, 0.08, 30)])  # unequal steps, not from 0
RNG = np.random.default_rng(20)


def case(system, x0, p, batch=None):
    lead = () if batch is None else (batch,)
    x0 = np.asarray(x0) + 0.1 * RNG.standard_normal((*lead, system.n))
    u = 0.3 * RNG.standard_normal((*lead, len(T) - 1, system.m))
    return SimpleNamespace(system=system, x0=x0, u=u, p=np.asarray(p))


CASES = [
    case(PREY, [1.0, 0.8], [1.1, 0.9, 0.7]),
    case(ARM, [0.7, -0.2, 0.0], [1.3, 2.0]),
    case(HENON, [0.1, 0.2], [0.6, 0.3]),
]
on_every_system = pytest.mark.parametrize("case", CASES, ids=lambda c: c.system.name)


def numpy_rollout(system, x0, u, t, p, method=RK4):
    """The definition, in plain NumPy (real or complex)."""
    x = [np.asarray(x0)]
    for k in range(len(t) - 1):
        h, K = t[k + 1] - t[k], []
        if system.discrete:
            x.append(np.array(system.f(t[k], x[k], u[k], p)))
            continue
        for i in range(method.stages):
            X = x[k] + h * sum((method.A[i, j] * K[j] for j in range(i)), np.zeros_like(x[k]))
            K.append(np.array(system.f(t[k] + method.c[i] * h, X, u[k], p)))
        x.append(x[k] + h * sum(b * stage for b, stage in zip(method.b, K, strict=True)))
    return np.array(x)


def close(a, b, rtol=1e-13):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(a - b).max(initial=0.0) <= rtol * max(1.0, np.abs(b).max(initial=0.0))


# ---- forward -------------------------------------------------------------------------------------


@on_every_system
@pytest.mark.parametrize("method", EXPLICIT, ids=lambda m: m.name)
def test_rollout_is_its_definition(case, method):
    path = rollout(case.system, case.x0, case.u, T, case.p, method)
    close(path.x, numpy_rollout(case.system, case.x0, case.u, T, case.p, method), 1e-14 * len(T))
    assert path.method == (None if case.system.discrete else method)


@pytest.mark.parametrize("case", CASES[:2], ids=lambda c: c.system.name)
def test_backwards_in_time(case):
    there = rollout(case.system, case.x0, case.u, T, case.p, EXPLICIT[-1])
    back = rollout(case.system, there.x[-1], case.u[::-1], T[::-1], case.p, EXPLICIT[-1])
    close(back.x[::-1], there.x, 1e-10)


def test_time_shift_of_an_autonomous_system_changes_nothing():
    t = np.arange(33) / 16  # binary fractions: the steps are the same numbers after the shift
    path, later = (rollout(PREY, [1.0, 0.5], [0.1, 0.2], t + shift, [1.0, 1.0, 0.5]) for shift in (0.0, 1024.0))
    assert np.array_equal(path.x, later.x)
    assert np.array_equal(sweep(path, dx=path.x).p, sweep(later, dx=later.x).p)


def test_time_shift_of_a_driven_system_changes_something():
    path, later = (rollout(ARM, [1.0, 0.5, 0], [0.1], T + shift, [1.0, 1.0]) for shift in (0.0, 1.0))
    assert np.abs(path.x - later.x).max() > 1e-3


def test_forms_of_the_control():
    N = len(T) - 1
    row = rollout(ARM, [0.1, 0, 0], np.full((N, 1), 0.4), T, [1.0, 2.0]).x
    for u in (np.full(N, 0.4), [0.4], 0.4, lambda t: 0.4, lambda t: [0.4]):
        assert np.array_equal(rollout(ARM, [0.1, 0, 0], u, T, [1.0, 2.0]).x, row)
    both = rollout(PREY, [1.0, 0.5], np.tile([0.1, 0.2], (N, 1)), T, [1.0, 1.0, 0.5]).x
    assert np.array_equal(rollout(PREY, [1.0, 0.5], [0.1, 0.2], T, [1.0, 1.0, 0.5]).x, both)
    sampled = rollout(PREY, [1.0, 0.5], lambda t: [t, t**2], T, [1.0, 1.0, 0.5])
    assert np.array_equal(sampled.u, np.stack([T[:-1], T[:-1] ** 2], axis=1))


def test_a_map_needs_no_knots():
    u = 0.1 * np.arange(7.0)
    path = rollout(HENON, [0.1, 0.2], u, p=[1.2, 0.3])
    assert path.t.tolist() == list(range(8))
    for other in (
        rollout(HENON, [0.1, 0.2], u[:, None], np.arange(8), [1.2, 0.3]),
        rollout(HENON, [0.1, 0.2], np.tile(u[:, None], (3, 1, 1)), p=[1.2, 0.3]),
    ):
        assert np.array_equal(np.atleast_3d(other.x.reshape(-1, 8, 2))[0], path.x)
    assert len(rollout(HENON, [0.1, 0.2], [0.0], p=[1.2, 0.3], steps=5)) == 5


def test_names_reach_into_a_trajectory():
    c = CASES[1]
    path = rollout(c.system, c.x0, c.u, T, c.p)
    assert np.array_equal(path["speed"], path.x[:, 1])
    assert np.array_equal(path["torque"], path.u[:, 0])
    assert path["w"] == 2.0
    assert len(path) == 30
    assert path.batch is None
    assert repr(path) == "Trajectory('driven_arm': 30 steps by rk4, t = 0.3 … 1.8)"
    with pytest.raises(InputError, match="Did you mean 'speed'"):
        path["sped"]


def test_a_trajectory_keeps_its_own_read_only_arrays():
    x0, u, p, t = np.array([0.1, 0.2]), np.zeros((3, 1)), np.array([1.2, 0.3]), np.arange(4.0)
    path = rollout(HENON, x0, u, t, p)
    u[:], p[:], t[:] = 7, 7, 7
    assert path.u.max() == 0
    assert path.p.tolist() == [1.2, 0.3]
    assert path.t.tolist() == [0, 1, 2, 3]
    for array in (path.t, path.x, path.u, path.p):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_an_overflow_is_named():
    burst = System(lambda t, x, u, p: [0 * x[0], x[1] ** 2], "h v", name="burst")
    with pytest.raises(AdjointError, match=r"the state v became (inf|nan) at step \d+ \(t = \d.*\) of system 'burst'"):
        rollout(burst, [0.0, 3.0], t=np.linspace(0, 5, 51))
    path = rollout(burst, [0.0, 3.0], t=np.linspace(0, 5, 51), allow_nonfinite=True)
    bad = int(np.argmin(np.isfinite(path["v"])))
    with pytest.raises(AdjointError, match=rf"at step {bad - 1} \(t = {path.t[bad - 1]:g}\)"):
        rollout(burst, [0.0, 3.0], t=np.linspace(0, 5, 51))
    x0 = np.tile([0.0, 0.1], (2 * lane_width() + 1, 1))
    x0[-1, 1] = 3.0
    with pytest.raises(AdjointError, match=rf"at step {bad - 1} .* of path {2 * lane_width()} of the batch"):
        rollout(burst, x0, t=np.linspace(0, 5, 51))


# ---- derivatives ---------------------------------------------------------------------------------


@on_every_system
def test_the_backward_sweep_is_the_transpose_of_the_tangent_sweep(case):
    path = rollout(case.system, case.x0, case.u, T, case.p)
    v = SimpleNamespace(
        x0=RNG.standard_normal(case.system.n), u=RNG.standard_normal(path.u.shape), p=RNG.standard_normal(path.p.shape)
    )
    q = RNG.standard_normal(path.x.shape)
    delta, g = tangent(path, v.x0, v.u, v.p), sweep(path, dx=q)
    forward, backward = np.sum(q * delta), np.sum(g.x0 * v.x0) + np.sum(g.u * v.u) + np.sum(g.p * v.p)
    assert abs(forward - backward) < 1e-13 * np.sum(np.abs(q * delta))


@on_every_system
def test_the_gradient_is_the_complex_step_of_a_numpy_rollout(case):
    """J = ½ Σ |x_k|² + Σ sin u + ½ |p|², with explicit parts in everything."""
    path = rollout(case.system, case.x0, case.u, T, case.p)
    g = sweep(path, dx=path.x, du=np.cos(path.u), dp=path.p)

    def derivative(dx0, du, dp):
        x = numpy_rollout(case.system, case.x0 + 1e-40j * dx0, case.u + 1e-40j * du, T, case.p + 1e-40j * dp)
        u, p = case.u + 1e-40j * du, case.p + 1e-40j * dp
        return (0.5 * np.sum(x**2) + np.sum(np.sin(u)) + 0.5 * np.sum(p**2)).imag / 1e-40

    zero = np.zeros_like(case.x0), np.zeros_like(case.u), np.zeros_like(case.p)
    for i, total in enumerate((g.x0, g.u, g.p)):
        reference = np.empty(total.size)
        for j in range(total.size):
            d = [z.copy() for z in zero]
            d[i].flat[j] = 1
            reference[j] = derivative(*d)
        close(total.ravel(), reference, 1e-12)


@on_every_system
def test_the_taylor_rate_is_two(case):
    path = rollout(case.system, case.x0, case.u, T, case.p)
    g = sweep(path, dx=path.x)

    def cost(x0=case.x0, u=case.u, p=case.p):
        return 0.5 * np.sum(rollout(case.system, x0, u, T, p).x ** 2)

    for name in ("x0", "u", "p"):
        report = check_gradient(lambda z, name=name: cost(**{name: z}), getattr(g, name), getattr(case, name))
        assert report.rate == pytest.approx(2.0, abs=0.01), str(report)


@on_every_system
def test_the_costate_is_the_gradient_of_the_cost_to_go(case):
    path = rollout(case.system, case.x0, case.u, T, case.p)
    costate = sweep(path, dx=path.x).costate
    assert np.array_equal(costate[-1], path.x[-1])
    rest = rollout(case.system, path.x[12], case.u[12:], T[12:], case.p)
    assert np.array_equal(sweep(rest, dx=rest.x).x0, costate[12])


@on_every_system
def test_seeding_the_last_knot_is_seeding_all_with_zeros(case):
    path = rollout(case.system, case.x0, case.u, T, case.p)
    q = np.zeros_like(path.x)
    q[-1] = path.x[-1]
    for field in ("x0", "u", "p", "costate"):
        assert np.array_equal(getattr(sweep(path, dx=q), field), getattr(sweep(path, dx=q[-1]), field))


def test_a_sweep_without_seeds_is_zero():
    path = rollout(HENON, [0.1, 0.2], [0.0], p=[1.2, 0.3], steps=5)
    g = sweep(path)
    assert not g.u.any()
    assert not g.p.any()
    assert not g.costate.any()


@on_every_system
def test_linearize_is_the_complex_step_of_each_step(case):
    path = rollout(case.system, case.x0, case.u, T, case.p)
    A, B, C = linearize(path, parameters=True)
    assert linearize(path).C is None
    for k in range(len(path)):
        at = [path.x[k], path.u[k], path.p]
        for i, J in enumerate((A, B, C)):
            for j in range(J.shape[2]):
                z = [a.astype(complex) for a in at]
                z[i][j] += 1e-40j
                column = numpy_rollout(case.system, z[0], z[1][None], T[k : k + 2], z[2])[1].imag / 1e-40
                close(J[k, :, j], column)


@on_every_system
def test_the_sweeps_are_products_of_the_jacobians(case):
    path = rollout(case.system, case.x0, case.u, T, case.p)
    (A, B, C), q = linearize(path, parameters=True), RNG.standard_normal(path.x.shape)
    lam, gp = q[-1], np.zeros(case.system.n_p)
    g = sweep(path, dx=q)
    for k in reversed(range(len(path))):
        close(g.u[k], B[k].T @ lam)
        gp, lam = gp + C[k].T @ lam, A[k].T @ lam + q[k]
        close(g.costate[k], lam)
    close(g.p, gp)


# ---- second derivatives --------------------------------------------------------------------------


def quartic(path):
    """J = ¼ Σ x⁴ + Σ sin u + ⅙ Σ p³: value, seeds, and the second derivatives' diagonals."""
    x, u, p = path.x, path.u, path.p
    return SimpleNamespace(seeds=(x**3, np.cos(u), p**2 / 2), diagonals=(3 * x**2, -np.sin(u), p))


def hessian_times(path, v):
    J = quartic(path)
    delta = tangent(path, v.x0, v.u, v.p), v.u, v.p
    dd = [D * d for D, d in zip(J.diagonals, delta, strict=True)]
    return hessian_vector(path, *J.seeds, x0=v.x0, u=v.u, p=v.p, ddx=dd[0], ddu=dd[1], ddp=dd[2])


def direction(path, seed):
    rng = np.random.default_rng(seed)
    return SimpleNamespace(
        x0=rng.standard_normal(path.x[..., 0, :].shape),
        u=rng.standard_normal(path.u.shape),
        p=rng.standard_normal(path.p.shape),
    )


@on_every_system
def test_the_hessian_is_symmetric(case):
    path = rollout(case.system, case.x0, case.u, T, case.p)
    v, w = direction(path, 1), direction(path, 2)
    Hv, Hw = hessian_times(path, v), hessian_times(path, w)
    vHw = [np.sum(getattr(v, z) * getattr(Hw, z)) for z in ("x0", "u", "p")]
    wHv = [np.sum(getattr(w, z) * getattr(Hv, z)) for z in ("x0", "u", "p")]
    assert abs(sum(vHw) - sum(wHv)) < 1e-12 * sum(map(abs, vHw))


@on_every_system
def test_the_hessian_is_the_difference_of_gradients(case):
    path = rollout(case.system, case.x0, case.u, T, case.p)
    v, e = direction(path, 3), 1e-4
    Hv = hessian_times(path, v)

    def gradient(e):
        moved = rollout(case.system, case.x0 + e * v.x0, case.u + e * v.u, T, case.p + e * v.p)
        return sweep(moved, *quartic(moved).seeds)

    for name in ("x0", "u", "p", "costate"):
        # Central differences at four points: the error is O(e⁴), and round-off 1e-16/e.
        d = [getattr(gradient(s * e), name) for s in (1, -1, 2, -2)]
        close(getattr(Hv, name), (8 * (d[0] - d[1]) - (d[2] - d[3])) / (12 * e), 1e-9)


def test_a_linear_system_with_a_linear_cost_has_no_hessian():
    spring = System(lambda t, x, u, p: [x[1], u[0] - x[0]], "a b", "f")
    path = rollout(spring, [1.0, 0.0], np.ones((30, 1)), T)
    Hv = hessian_vector(path, dx=[1.0, 2.0], x0=[1.0, 1.0], u=np.ones((30, 1)))
    assert not Hv.x0.any()
    assert not Hv.u.any()


# ---- batches -------------------------------------------------------------------------------------


@settings(max_examples=12)
@example(batch=2 * lane_width() + 3, own_p=True, which=0, seed=0)
@example(batch=2 * lane_width() + 3, own_p=False, which=1, seed=1)
@example(batch=2 * lane_width() + 3, own_p=True, which=2, seed=2)
@given(
    batch=st.integers(1, 2 * lane_width() + 3), own_p=st.booleans(), which=st.integers(0, 2), seed=st.integers(0, 99)
)
def test_a_batch_is_a_loop_bit_for_bit(batch, own_p, which, seed):
    c, rng = CASES[which], np.random.default_rng(seed)
    x0, u = c.x0 + 0.1 * rng.standard_normal((batch, c.system.n)), 0.3 * rng.standard_normal((batch, *c.u.shape))
    p = c.p + 0.1 * rng.standard_normal((batch, c.system.n_p)) if own_p else c.p
    paths = rollout(c.system, x0, u, T, p)
    assert paths.batch == batch
    q, dp = rng.standard_normal(paths.x.shape), rng.standard_normal(np.shape(p))
    g, v = sweep(paths, dx=q, du=paths.u, dp=dp), direction(paths, seed)
    delta, Hv = tangent(paths, v.x0, v.u, v.p), hessian_times(paths, v)
    jacobians, total, H_total = linearize(paths, parameters=True), [], []
    for i in range(batch):
        p_i, v_i = (
            (p[i], SimpleNamespace(x0=v.x0[i], u=v.u[i], p=v.p[i]))
            if own_p
            else (p, SimpleNamespace(x0=v.x0[i], u=v.u[i], p=v.p))
        )
        path = rollout(c.system, x0[i], u[i], T, p_i)
        one = sweep(path, dx=q[i], du=path.u, dp=dp[i] if own_p else None)
        assert np.array_equal(paths.x[i], path.x)
        assert np.array_equal(tangent(path, v_i.x0, v_i.u, v_i.p), delta[i])
        H_one = hessian_times(path, v_i)
        for name in ("x0", "u", "costate", *(["p"] if own_p else [])):
            assert np.array_equal(getattr(g, name)[i], getattr(one, name))
            assert np.array_equal(getattr(Hv, name)[i], getattr(H_one, name))
        for a, b in zip(jacobians, linearize(path, parameters=True), strict=True):
            assert np.array_equal(a[i], b)
        total.append(one.p)
        H_total.append(H_one.p - quartic(path).diagonals[2] * v_i.p)
    if not own_p:  # the order of summation differs, so here only to round-off
        close(g.p, np.sum(total, axis=0) + dp)
        close(Hv.p, np.sum(H_total, axis=0) + p * v.p, 1e-12)


def test_any_one_argument_makes_a_batch():
    N = len(T) - 1
    one = rollout(PREY, [1.0, 0.5], [0.1, 0.2], T, [1.0, 1.0, 0.5]).x
    for x0, u, p in (
        ([[1.0, 0.5]] * 3, [0.1, 0.2], [1.0, 1.0, 0.5]),
        ([1.0, 0.5], np.tile([0.1, 0.2], (3, N, 1)), [1.0, 1.0, 0.5]),
        ([1.0, 0.5], [0.1, 0.2], [[1.0, 1.0, 0.5]] * 3),
    ):
        path = rollout(PREY, x0, u, T, p)
        assert path.x.shape == (3, N + 1, 2)
        assert path.u.shape == (3, N, 2)
        assert all(np.array_equal(x, one) for x in path.x)
        last = sweep(path, dx=np.ones((3, 2)))
        everywhere = np.zeros(path.x.shape)
        everywhere[:, -1] = 1
        assert np.array_equal(last.p, sweep(path, dx=everywhere).p)
        assert last.p.shape == np.shape(p)


# ---- a recurrent network is a discrete system ----------------------------------------------------

UNITS, INPUTS = 64, 16
AT_V, AT_C = UNITS * UNITS, UNITS * (UNITS + INPUTS)  # p = (W, V, c) for x⁺ = tanh(W x + V u + c)


@njit(cache=True)
def rnn_step(t, h, x, u, p, x_next):
    n, m = x.size, u.size
    W, V, c = p[: n * n].reshape(n, n), p[n * n : n * (n + m)].reshape(n, m), p[n * (n + m) :]
    for i in range(n):
        a = c[i]
        for j in range(n):
            a += W[i, j] * x[j]
        for j in range(m):
            a += V[i, j] * u[j]
        x_next[i] = math.tanh(a)


@njit(cache=True)
def rnn_vjp(t, h, x, u, p, lam_next, lam, gu, gp):
    n, m = x.size, u.size
    W, V, c = p[: n * n].reshape(n, n), p[n * n : n * (n + m)].reshape(n, m), p[n * (n + m) :]
    gW, gV, gc = gp[: n * n].reshape(n, n), gp[n * n : n * (n + m)].reshape(n, m), gp[n * (n + m) :]
    lam[:] = 0.0
    gu[:] = 0.0
    for i in range(n):
        a = c[i]
        for j in range(n):
            a += W[i, j] * x[j]
        for j in range(m):
            a += V[i, j] * u[j]
        d = lam_next[i] * (1 - math.tanh(a) ** 2)
        gc[i] += d
        for j in range(n):
            lam[j] += W[i, j] * d
            gW[i, j] += d * x[j]
        for j in range(m):
            gu[j] += V[i, j] * d
            gV[i, j] += d * u[j]


@njit(cache=True)
def rnn_jvp(t, h, x, u, p, dx, du, dp, dx_next):
    n, m = x.size, u.size
    W, V, c = p[: n * n].reshape(n, n), p[n * n : n * (n + m)].reshape(n, m), p[n * (n + m) :]
    dW, dV, dc = dp[: n * n].reshape(n, n), dp[n * n : n * (n + m)].reshape(n, m), dp[n * (n + m) :]
    for i in range(n):
        a, da = c[i], dc[i]
        for j in range(n):
            a += W[i, j] * x[j]
            da += W[i, j] * dx[j] + dW[i, j] * x[j]
        for j in range(m):
            a += V[i, j] * u[j]
            da += V[i, j] * du[j] + dV[i, j] * u[j]
        dx_next[i] = (1 - math.tanh(a) ** 2) * da


RNN = System.from_kernels(
    rnn_step,
    rnn_vjp,
    jvp=rnn_jvp,
    states=f"h[{UNITS}]",
    controls=f"in[{INPUTS}]",
    parameters=f"W[{UNITS * UNITS}] V[{UNITS * INPUTS}] c[{UNITS}]",
    name="rnn",
)


def bptt(h0, inputs, W, V, c, dloss):
    """Back-propagation through time as a textbook has it, in NumPy."""
    h = [h0]
    for u in inputs:
        h.append(np.tanh(W @ h[-1] + V @ u + c))
    dW, dV, dc, du = np.zeros_like(W), np.zeros_like(V), np.zeros_like(c), np.zeros_like(inputs)
    dh = dloss[-1].copy()
    for k in reversed(range(len(inputs))):
        da = (1 - h[k + 1] ** 2) * dh
        dW += np.outer(da, h[k])
        dV += np.outer(da, inputs[k])
        dc += da
        du[k] = V.T @ da
        dh = W.T @ da + dloss[k]
    return np.array(h), dh, du, dW, dV, dc


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(64)
    W, V, c = (
        rng.standard_normal((UNITS, UNITS)) / 8,
        rng.standard_normal((UNITS, INPUTS)) / 4,
        0.1 * rng.standard_normal(UNITS),
    )
    return SimpleNamespace(
        W=W,
        V=V,
        c=c,
        p=np.r_[W.ravel(), V.ravel(), c],
        h0=rng.standard_normal(UNITS),
        inputs=rng.standard_normal((40, INPUTS)),
        dloss=rng.standard_normal((41, UNITS)),
    )


def test_bptt_is_the_backward_sweep(network):
    h, dh, du, dW, dV, dc = bptt(network.h0, network.inputs, network.W, network.V, network.c, network.dloss)
    path = rollout(RNN, network.h0, network.inputs, p=network.p)
    g = sweep(path, dx=network.dloss)
    close(path.x, h, 1e-12)
    close(g.x0, dh, 1e-12)
    close(g.u, du, 1e-12)
    for name, reference in (("W", dW), ("V", dV), ("c", dc)):
        kind, where = RNN.index(name)
        assert kind == "parameter"
        close(g.p[where], reference.ravel(), 1e-12)


def test_a_batch_through_a_network(network):
    inputs = np.stack([network.inputs, -network.inputs, network.inputs[::-1]])
    paths = rollout(RNN, network.h0, inputs, p=network.p)
    g = sweep(paths, dx=np.tile(network.dloss, (3, 1, 1)))
    singles = [sweep(rollout(RNN, network.h0, u, p=network.p), dx=network.dloss) for u in inputs]
    assert all(np.array_equal(g.u[i], single.u) for i, single in enumerate(singles))
    close(g.p, sum(single.p for single in singles))


def test_tangent_and_jacobians_of_a_network(network):
    path = rollout(RNN, network.h0, network.inputs[:5], p=network.p)
    v = direction(path, 5)
    delta, (A, B, C) = tangent(path, v.x0, v.u, v.p), linearize(path, parameters=True)
    d = v.x0
    for k in range(5):
        d = A[k] @ d + B[k] @ v.u[k] + C[k] @ v.p
        close(delta[k + 1], d)
    q = network.dloss[:6]
    g = sweep(path, dx=q)
    assert np.sum(q * delta) == pytest.approx(np.sum(g.x0 * v.x0) + np.sum(g.u * v.u) + np.sum(g.p * v.p), rel=1e-12)
    assert linearize(path).C is None


def test_what_a_system_with_kernels_lacks_is_said(network):
    bare = System.from_kernels(rnn_step, rnn_vjp, states="h", controls="u", parameters="w v c", name="bare")
    path = rollout(bare, [0.1], [0.2, 0.3], p=[1.0, 1.0, 0.0])
    with pytest.raises(InputError, match="'bare' brings its own kernels but no jvp"):
        tangent(path, x0=[1.0])
    with pytest.raises(InputError, match="'rnn' brings its own kernels, which have no second derivatives"):
        hessian_vector(rollout(RNN, network.h0, network.inputs, p=network.p), x0=network.h0)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(system=predator_prey), "first argument is function; expected a System"),
        (dict(x0=[1.0]), r"x0 has shape \(1,\); system 'predator_prey' has 2 states \(prey, predator\)"),
        (dict(x0=1.0), r"x0 has shape \(\)"),
        (dict(x0=np.ones((2, 2, 2))), r"x0 has shape \(2, 2, 2\)"),
        (dict(x0=[1.0, np.nan]), r"x0 of system 'predator_prey' has nan at index \(1,\)"),
        (dict(x0=["a", "b"]), "no array of real numbers"),
        (dict(x0=[1.0, 1j]), "no array of real numbers"),
        (dict(u=None), "u is missing; system 'predator_prey' has 2 controls"),
        (dict(u=np.ones((31, 2))), r"u has shape \(31, 2\).*t has 30 steps.*drop the last row"),
        (dict(u=np.ones((30, 3))), r"u has shape \(30, 3\)"),
        (dict(u=np.ones(30)), r"u has shape \(30,\)"),
        (dict(u=[np.inf, 0]), r"u of system 'predator_prey' has inf"),
        (dict(u=lambda t: t), "returned 1 numbers; system 'predator_prey' has 2 controls"),
        (dict(u=lambda t: [1 / (t - 0.3) if t > 0.3 else np.inf, 0]), r"u\(t\) of system .* has inf"),
        (dict(p=None), "p is missing; system 'predator_prey' has 3 parameters"),
        (dict(p=[1.0]), r"p has shape \(1,\)"),
        (dict(p=[1.0, np.nan, 0.0]), "p of system"),
        (dict(t=None), "is continuous: pass its knots"),
        (dict(t=[0.0]), r"t has shape \(1,\)"),
        (dict(t=[[0.0, 1.0]]), r"t has shape \(1, 2\)"),
        (dict(t=[0, 1, 1, 2]), r"t is not monotone: t\[1\] = 1 and t\[2\] = 1"),
        (dict(t=[0, -1, 1, 2]), r"t is not monotone: t\[1\] = -1 and t\[2\] = 1"),
        (dict(t=[0, np.inf]), "t of system"),
        (dict(steps=3), "both t and steps"),
        (dict(method="rk4"), "steps by a Method such as adjoint.RK4; got 'rk4'"),
        (dict(x0=np.ones((3, 2)), u=np.ones((4, 30, 2))), "batch sizes differ: x0 has 3, u has 4"),
        (dict(x0=np.ones((0, 2))), "batch of no paths"),
    ],
)
def test_bad_input_to_rollout(change, words):
    arguments = dict(system=PREY, x0=[1.0, 0.5], u=[0.1, 0.2], t=T, p=[1.0, 1.0, 0.5]) | change
    with pytest.raises(InputError, match=words):
        rollout(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(p=[1.2, 0.3]), "nothing says how many steps"),
        (dict(u=lambda t: 0.0, p=[1.2, 0.3]), "nothing says how many steps"),
        (dict(u=[0.0], p=[1.2, 0.3], steps=0), "steps is 0"),
        (dict(u=np.zeros(4), p=[1.2, 0.3], steps=3), r"u has shape \(4,\)"),
    ],
)
def test_bad_input_to_a_map(arguments, words):
    with pytest.raises(InputError, match=words):
        rollout(HENON, [0.1, 0.2], **arguments)


@pytest.mark.parametrize(
    ("verb", "change", "words"),
    [
        (sweep, dict(dx=np.ones(3)), r"dx has shape \(3,\); expected \(31, 2\) or \(2,\)"),
        (sweep, dict(dx=np.ones((30, 2))), r"dx has shape \(30, 2\)"),
        (sweep, dict(dx=[np.nan, 1]), "dx of system 'henon' has nan"),
        (sweep, dict(du=np.ones(30)), r"du has shape \(30,\); expected \(30, 1\)"),
        (sweep, dict(dp=[1.0]), r"dp has shape \(1,\); expected \(2,\), as p of"),
        (tangent, dict(x0=[1.0]), r"x0 has shape \(1,\)"),
        (tangent, dict(u=np.ones(30)), r"u has shape \(30,\)"),
        (tangent, dict(p=[1.0]), r"p has shape \(1,\)"),
        (hessian_vector, dict(x0=[1.0]), r"x0 has shape \(1,\)"),
        (hessian_vector, dict(ddx=[1.0]), r"ddx has shape \(1,\)"),
        (hessian_vector, dict(ddu=[1.0]), r"ddu has shape \(1,\)"),
        (hessian_vector, dict(ddp=[1.0]), r"ddp has shape \(1,\)"),
    ],
)
def test_bad_input_to_the_derivatives(verb, change, words):
    path = rollout(HENON, [0.1, 0.2], [0.0], T, [1.2, 0.3])
    with pytest.raises(InputError, match=words):
        verb(path, **change)


@pytest.mark.parametrize("verb", [sweep, tangent, hessian_vector, linearize])
def test_the_verbs_take_a_trajectory(verb):
    with pytest.raises(InputError, match=rf"{verb.__name__}: the first argument is ndarray; expected the Trajectory"):
        verb(np.zeros((3, 2)))


PUSHED = adjoint.System(lambda t, x, u, p: [x[1], u[0]], "position speed", "force")
KNOTS = np.linspace(0, 1, 5)


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: adjoint.rollout(PUSHED, [0, 0], 1.0, KNOTS, method="rk4"), "Pass the method itself: adjoint.RK4"),
        (lambda: adjoint.rollout(PUSHED, [0, 0], 1.0, 1.0), r"np.linspace\(0, 1, 101\)"),
        (lambda: adjoint.rollout(PUSHED, [0, 0], np.zeros((1, 4)), KNOTS), "pass u.T"),
        (lambda: adjoint.rollout(PUSHED, {"position": 0, "speed": 0}, 1.0, KNOTS), r"in the order of the names: x0=\["),
        (lambda: adjoint.rollout(adjoint.recurrent.GRU(2, 1), [0, 0], [1.0]), "Pass its .system"),
        (lambda: adjoint.recurrent.Unroll(PUSHED), r"expected a cell, such as recurrent.GRU\(8, 2\)"),
        (lambda: adjoint.System(lambda t, x, u, p: [u[0]], "x").graph, "x has 1 entry, u has no entries"),
        (lambda: adjoint.System(lambda x, u, t, p: [x[0]], "x", "v").graph, r"in the order \(t, x, u, p\); t is a"),
        (lambda: adjoint.solve_ivp(PUSHED, (0, 1), [0, 0], u=[1.0], method="LSODA"), "LSODA is adjoint.AUTO here"),
        (lambda: adjoint.solve_ivp(PUSHED, (0, 1), [0, 0]), r"has the controls force"),
    ],
    ids=range(10),
)
def test_a_slip_is_told_with_its_remedy(call, hint):
    with pytest.raises(AdjointError, match=hint):
        call()
