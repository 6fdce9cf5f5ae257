"""Implicit steps and their derivatives: exact for the numbers computed, whatever the method, the mass, the band."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag

from adjoint.adaptive import propagate
from adjoint.check import check_gradient
from adjoint.control.problem import OptimalControlProblem, free
from adjoint.control.solve import solve
from adjoint.errors import AdjointError, InputError
from adjoint.kernels import lu
from adjoint.method import RK4, RODAS5P, gauss, radau
from adjoint.sweeps import hessian_vector, linearize, rollout, sweep, tangent
from adjoint.system import System

METHODS = [RODAS5P, radau(1), radau(3), radau(5), gauss(1), gauss(2), gauss(3)]


def by_name(m):
    return m.name


# -- the linear algebra ----------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    n=st.integers(1, 12), kl=st.integers(0, 4), ku=st.integers(0, 4), seed=st.integers(0, 10**6), complex_=st.booleans()
)
def test_the_factors_solve_with_a_matrix_and_its_transpose(n, kl, ku, seed, complex_):
    kl, ku = (n - 1, n - 1) if kl >= n - 1 else (kl, min(ku, n - 1))
    rng, number = np.random.default_rng(seed), complex if complex_ else float
    A = rng.standard_normal((n, n)).astype(number)
    if complex_:
        A += 1j * rng.standard_normal((n, n))
    row, column = np.indices((n, n))
    A[(row - column > kl) | (column - row > ku)] = 0
    a, pivot = np.zeros(lu.storage(n, kl, ku), number), np.empty(n, np.int64)
    inside = (row - column <= kl) & (column - row <= ku)
    a[(lu.offset(n, kl) + row * lu.leading(n, kl, ku) + column)[inside]] = A[inside]
    if np.linalg.cond(A) > 1e8:
        return
    assert lu.factor(a, n, kl, ku, pivot)
    b = rng.standard_normal(n).astype(number)
    for matrix, solver in ((A, lu.solve), (A.T, lu.solve_transposed)):
        x = b.copy()
        solver(a, n, kl, ku, pivot, x)
        assert np.abs(matrix @ x - b).max() <= 1e-12 * (1 + np.abs(A).max() * np.abs(x).max())


def test_a_singular_matrix_and_nan_are_noticed():
    for matrix in ([1.0, 2.0, 2.0, 4.0], [np.nan, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]):
        assert not lu.factor(np.array(matrix), 2, 1, 1, np.empty(2, np.int64))


# -- the steps, against their definition in plain Python --------------------------------------------


def kinetics(t, x, u, p):
    a, b, c = x
    fast, slow = p[1] * b * c, p[2] * b * b
    return [-p[0] * a + fast + u[0] * np.sin(t), p[0] * a - fast - slow, slow + 0.1 * t * a * u[0]]


SYSTEM = System(kinetics, "a b c", "force", "k1 k2 k3")
T = np.array([0.1, 0.13, 0.3, 0.6, 1.2])
X0, P, U = np.array([1.0, 0.02, 0.1]), np.array([0.4, 30.0, 200.0]), np.array([[0.3], [-0.2], [0.5], [0.1]])
MASS = np.array([[2.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.3, 0.0, 1.5]])
SINGULAR = np.diag([1.0, 1.0, 0.0])


def algebraic(t, x, u, p):
    a, b, c = x
    return [-p[0] * a * c + u[0] * np.sin(t), p[1] * a - p[1] * b * c, c**3 + c - a - p[2] * b / 100 - 0.1 * t]


DAE = System(algebraic, "a b c", "force", "k1 k2 k3", mass=SINGULAR)
CASES = [
    (SYSTEM, None),
    (System(kinetics, "a b c", "force", "k1 k2 k3", mass=MASS), MASS),
]


def rosenbrock_by_definition(f, J, slope, M, t, h, x, u, p, m=RODAS5P):
    """K_i from the tableau as printed: (M - γ h J) K_i = f_i + h J Σ_{j<i} Γ_ij K_j + h γ_i ḟ."""
    gamma = m.Gamma[0, 0]
    K = np.zeros((m.stages, len(x)), complex)
    for i in range(m.stages):
        stage = f(t + m.c[i] * h, x + h * (m.A[i] @ K), u, p)
        right = stage + h * J @ (np.tril(m.Gamma, -1)[i] @ K) + h * m.Gamma[i].sum() * slope
        K[i] = np.linalg.solve(M - gamma * h * J, right)
    return x + h * (m.b @ K)


def jacobian(t, x, u, p):
    a, b, c = x
    return np.array([
        [-p[0], p[1] * c, p[1] * b],
        [p[0], -p[1] * c - 2 * p[2] * b, -p[1] * b],
        [0.1 * t * u[0], 2 * p[2] * b, 0 * a],
    ])


def function(t, x, u, p):
    return np.array(kinetics(t, x, u, p))


def time_slope(t, x, u, p):
    return np.array([u[0] * np.cos(t), 0.0, 0.1 * x[0] * u[0]])


def step_by_definition(m, M, t, h, x, u, p):
    if m is RODAS5P:
        return rosenbrock_by_definition(function, jacobian(t, x, u, p), time_slope(t, x, u, p), M, t, h, x, u, p)
    K, s, n = np.zeros((m.stages, len(x)), complex), m.stages, len(x)
    for _ in range(12):  # Newton's method for M K_i = f(x + h Σ A_ij K_j)
        stages = [x + h * (row @ K) for row in m.A]
        F = np.array([M @ K[i] - function(t + m.c[i] * h, stages[i], u, p) for i in range(s)])
        G = block_diag(*[M] * s).astype(complex)
        for i in range(s):
            for j in range(s):
                G[i * n : i * n + n, j * n : j * n + n] -= h * m.A[i, j] * jacobian(t + m.c[i] * h, stages[i], u, p)
        K = K - np.linalg.solve(G, F.ravel()).reshape(s, n)
    return x + h * (m.b @ K)


def path_by_definition(m, M, x, u, p):
    path = [np.array(x)]
    for k in range(len(T) - 1):
        path.append(step_by_definition(m, M, T[k], T[k + 1] - T[k], path[-1], u[k], p))
    return np.array(path)


@pytest.mark.parametrize(("system", "mass"), CASES, ids=["no mass", "mass"])
@pytest.mark.parametrize("m", METHODS, ids=by_name)
def test_steps_and_gradients_are_those_of_the_definition(m, system, mass):
    M = np.eye(3) if mass is None else mass
    path = rollout(system, X0, U, T, P, method=m)
    assert np.abs(path.x - path_by_definition(m, M, X0, U, P).real).max() < 1e-12
    weights = np.random.default_rng(1).standard_normal(path.x.shape)
    gradient = sweep(path, dx=weights)

    def J(x0, u, p):
        return np.sum(weights * path_by_definition(m, M, x0, u, p))

    e = 1e-30j  # complex step: exact to round-off
    for j in range(3):
        unit = np.eye(3)[j]
        assert gradient.x0[j] == pytest.approx((J(X0 + e * unit, U, P) / 1e-30).imag, rel=1e-9)
        assert gradient.p[j] == pytest.approx((J(X0, U, P + e * unit) / 1e-30).imag, rel=1e-9, abs=1e-13)
    for k in range(4):
        assert gradient.u[k, 0] == pytest.approx((J(X0, U + e * np.eye(4)[:, [k]], P) / 1e-30).imag, rel=1e-9)


# -- derivatives against each other -------------------------------------------------------------------


def chain(n, order=None):
    """Reaction and diffusion on a line, its states in a given order."""
    order = np.arange(n) if order is None else order
    place = np.argsort(order)

    def f(t, x, u, p):
        y = x[order]
        left, right = np.concatenate([[0.0], y[:-1]]), np.concatenate([y[1:], [0.0]])
        rate = p[0] * n**2 * (left - 2 * y + right) + p[1] * y * (1 - y) * np.cos(t) + u[0]
        return rate[place]

    return System(f, f"y[{n}]", "source", "diffusion growth", name="chain")


SHUFFLED = np.random.default_rng(0).permutation(30)
PROFILE = np.sin(np.pi * np.arange(1, 31) / 31)
PLANTS = {
    "small": (SYSTEM, X0, U, T, P),
    "mass": (CASES[1][0], X0, U, T, P),
    "singular mass": (DAE, np.array([0.4, 0.2, 0.6107]), U, T, P),  # the start is nearly consistent
    "band": (chain(30), PROFILE, U, T, np.array([0.02, 3.0])),
    "hidden band": (chain(30, SHUFFLED), PROFILE[np.argsort(SHUFFLED)], U, T, np.array([0.02, 3.0])),
    "backwards": (SYSTEM, X0, U, T[::-1] / 10, P),
}


def directions(system, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(system.n), rng.standard_normal((4, system.m)), rng.standard_normal(system.n_p)


@pytest.mark.parametrize("plant", PLANTS, ids=str)
@pytest.mark.parametrize("m", [RODAS5P, radau(3)], ids=by_name)
def test_transpose_tangent_jacobians_and_second_order_agree(m, plant):
    system, x0, u, t, p = PLANTS[plant]
    path = rollout(system, x0, u, t, p, method=m)
    weights = np.random.default_rng(2).standard_normal(path.x.shape)
    gradient, (vx, vu, vp) = sweep(path, dx=weights), directions(system, 3)
    dx = tangent(path, vx, vu, vp)
    pulled = gradient.x0 @ vx + np.sum(gradient.u * vu) + gradient.p @ vp
    assert np.sum(weights * dx) == pytest.approx(pulled, rel=1e-11)

    A, B, C = linearize(path, parameters=True)
    push = vx
    for k in range(4):
        push = A[k] @ push + B[k] @ vu[k] + C[k] @ vp
    assert np.abs(push - dx[-1]).max() <= 1e-10 * np.abs(dx[-1]).max()

    # J = ½ Σ w x²: ∂²J/∂x² = w. The Hessian is symmetric, and is the difference of two gradients.
    w = np.abs(weights)

    def product(v):
        return hessian_vector(path, dx=w * path.x, x0=v[0], u=v[1], p=v[2], ddx=w * tangent(path, *v))

    v, z = (vx, vu, vp), directions(system, 4)
    Hv, Hz = product(v), product(z)

    def dot(g, d):
        return g.x0 @ d[0] + np.sum(g.u * d[1]) + g.p @ d[2]

    scale = sum(np.abs(a * b).sum() for a, b in zip((Hv.x0, Hv.u, Hv.p), z, strict=True))
    assert abs(dot(Hv, z) - dot(Hz, v)) <= 1e-10 * scale
    eps = 1e-6
    sides = []
    for e in (eps, -eps):
        moved = rollout(system, x0 + e * vx, u + e * vu, t, p + e * vp, method=m)
        sides.append(sweep(moved, dx=w * moved.x))
    for a, b, c in zip((sides[0].x0, sides[0].u, sides[0].p), (sides[1].x0, sides[1].u, sides[1].p),
                       (Hv.x0, Hv.u, Hv.p), strict=True):
        assert np.abs((a - b) / (2 * eps) - c).max() <= 1e-6 * np.abs(c).max()


@pytest.mark.parametrize("m", [RODAS5P, radau(3)], ids=by_name)
def test_gradients_pass_taylor_tests(m):
    def J(z):
        end = rollout(SYSTEM, z[:3], U, T, z[3:], method=m).x[-1]
        return 0.5 * end @ end

    path = rollout(SYSTEM, X0, U, T, P, method=m)
    g = sweep(path, dx=path.x[-1])
    assert check_gradient(J, np.concatenate([g.x0, g.p]), np.concatenate([X0, P])).passed


def test_a_narrow_matrix_is_recognised_in_any_order():
    for system, narrow, ordered in ((chain(30), True, True), (chain(30, SHUFFLED), True, False), (SYSTEM, False, True)):
        structure = system.step(RODAS5P).structure
        assert ((structure.kl, structure.ku) == (1, 1)) == narrow
        assert (structure.order is None) == ordered
    straight = rollout(chain(30), PROFILE, U, T, [0.02, 3.0], method=RODAS5P)
    hidden = rollout(chain(30, SHUFFLED), PROFILE[np.argsort(SHUFFLED)], U, T, [0.02, 3.0], method=RODAS5P)
    assert np.abs(hidden.x[:, SHUFFLED] - straight.x).max() < 1e-12
    full = System(lambda t, x, u, p: -x * np.sum(x), "y[30]").step(RODAS5P).structure
    assert (full.kl, full.ku) == (29, 29)


def test_a_batch_is_its_paths_one_by_one():
    starts = X0 * np.array([[1.0], [1.1], [0.7]])
    many = rollout(SYSTEM, starts, U, T, P, method=RODAS5P)
    gradients = sweep(many, dx=many.x)
    ones = [rollout(SYSTEM, x, U, T, P, method=RODAS5P) for x in starts]
    singles = [sweep(path, dx=path.x) for path in ones]
    assert np.array_equal(many.x, [path.x for path in ones])
    assert np.array_equal(gradients.x0, [g.x0 for g in singles])
    assert gradients.p == pytest.approx(sum(g.p for g in singles), rel=1e-13)


# -- accuracy -----------------------------------------------------------------------------------------


def smooth(t, x, u, p):
    return [x[0] * (2 - x[0]), x[0] * x[1] / (1 + t)]


@pytest.mark.parametrize("m", METHODS, ids=by_name)
def test_the_error_falls_with_the_order(m):
    system = System(smooth, "a b")
    exact = rollout(system, [0.7, -0.4], t=np.linspace(0, 1.5, 33), method=gauss(5)).x[-1]
    coarse = {1: 128, 2: 64, 3: 32, 4: 16, 5: 16, 6: 8, 9: 4}[m.order]
    steps = np.array([coarse, 2 * coarse])
    ends = [rollout(system, [0.7, -0.4], t=np.linspace(0, 1.5, N + 1), method=m).x[-1] for N in steps]
    errors = [np.linalg.norm(end - exact) for end in ends]
    assert errors[-1] > 1e-14
    assert abs(np.log2(errors[0] / errors[1]) - m.order) < 0.35, errors


@pytest.mark.parametrize("lam", [-1e2, -1e4, -1e8])
@pytest.mark.parametrize("m", [RODAS5P, radau(3), radau(5)], ids=by_name)
def test_stiffness_does_not_hurt(m, lam):
    """Prothero and Robinson's problem: y = cos t, however stiff."""
    system = System(lambda t, x, u, p: [p[0] * (x[0] - np.cos(t)) - np.sin(t)], "y", parameters="lam")
    t = np.linspace(0, 1.5, 31)
    path = rollout(system, [1.0], t=t, p=[lam], method=m)
    assert np.abs(path.x[:, 0] - np.cos(t)).max() < 1e-6
    assert abs(sweep(path, dx=[1.0]).x0[0]) < 1e-8  # the start is forgotten: stiffly accurate and L-stable


def test_radau_forgets_an_inconsistent_algebraic_start():
    path = rollout(DAE, [0.4, 0.2, 0.3], U, T, P, method=radau(3))
    other = rollout(DAE, [0.4, 0.2, 0.9], U, T, P, method=radau(3))
    assert np.abs(path.x[1:] - other.x[1:]).max() < 1e-13
    assert np.abs([DAE.f(t, x, u, P)[2] for t, x, u in zip(T[1:], path.x[1:], U, strict=True)]).max() < 1e-12
    assert sweep(path, dx=path.x[-1]).x0[2] == pytest.approx(0, abs=1e-14)


# -- bad input ------------------------------------------------------------------------------------------


def test_a_mass_matrix_is_checked_kept_and_asks_for_implicit_methods():
    assert np.array_equal(DAE.mass, SINGULAR) and not DAE.mass.flags.writeable
    assert SYSTEM.mass is None
    with pytest.raises(InputError, match="mass matrix.*rk4 is an explicit method"):
        rollout(DAE, [0.4, 0.2, 0.3], U, T, P, method=RK4)
    for mass, words in ((np.eye(2), r"shape \(2, 2\)"), (np.full((3, 3), np.nan), "not finite")):
        with pytest.raises(InputError, match=words):
            System(kinetics, "a b c", "force", "k1 k2 k3", mass=mass)
    with pytest.raises(InputError, match="is discrete"):
        System(lambda t, x, u, p: x, "a", discrete=True, mass=[[1.0]])


def test_systems_with_a_mass_matrix_are_pickled():
    for system in (DAE, System(lambda t, x, u, p: [-x[0]], "a", mass=[[2.0]])):
        assert np.array_equal(pickle.loads(pickle.dumps(system)).mass, system.mass)
    path = rollout(DAE, [0.4, 0.2, 0.3], U, T, P, method=radau(3))
    copy = pickle.loads(pickle.dumps(path))
    assert copy.method == radau(3)
    assert np.array_equal(sweep(copy, dx=copy.x).p, sweep(path, dx=path.x).p)


@pytest.mark.parametrize("m", [RODAS5P, radau(3), gauss(2)], ids=by_name)
def test_a_step_that_fails_is_a_sentence(m):
    singular = System(lambda t, x, u, p: [0 * x[0]], "x", mass=[[0.0]])
    with pytest.raises(AdjointError, match="the state x became nan at step 0"):
        rollout(singular, [1.0], t=[0, 1], method=m)
    domain = System(lambda t, x, u, p: [-np.sqrt(x[0] - 2)], "x")
    with pytest.raises(AdjointError, match="the state x became nan at step 0"):
        rollout(domain, [1.0], t=[0, 1], method=m)


def test_newtons_method_gives_up():
    blow_up = System(lambda t, x, u, p: [x[0] ** 2 + 1], "x")
    with pytest.raises(AdjointError, match="the state x became nan"):
        rollout(blow_up, [0.0], t=[0, 50, 100], method=radau(1))  # x = h (x² + 1) has no real solution


def test_optimal_control_takes_neither_mass_matrices_nor_rosenbrock_methods():
    wanted = dict(
        initial=dict(a=1), final=dict(a=0), bounds=dict(v=(-1, 1)), minimize=lambda t, x, p: t, t=(0, free(2))
    )
    with pytest.raises(InputError, match="has a mass matrix"):
        OptimalControlProblem(System(lambda t, x, u, p: [u[0]], "a", "v", mass=[[2.0]]), **wanted)
    problem = OptimalControlProblem(System(lambda t, x, u, p: [u[0]], "a", "v"), **wanted)
    with pytest.raises(InputError, match="rodas5p is a Rosenbrock method"):
        solve(problem, method=RODAS5P)
    with pytest.raises(InputError, match="has a mass matrix"):
        propagate(System(lambda t, x, u, p: [x[0]], "a", mass=[[2.0]]), [1.0], t=[0, 1])
