"""The interior-point method: what it calls converged is a KKT point, recomputed from the problem's functions alone.

The oracle reads the public fields of a solution (states, controls, costates, multipliers) and the user's functions, and
writes down the stationarity of the Lagrangian of the method's own equations: for a shooting method with step Phi

    L = phi(x_N) + sum_k [ l_k + lambda_{k+1}' (Phi_k - x_{k+1}) + h_k mu_k' g_k + h_k nu_k' (x, u)_k ]

and for collocation with nodes i, with y_i = b_i lambda_i and B = A^-1,

    L = phi(x_N) + sum_k [ h sum_i b_i (l_i + mu_i' g_i + nu_i' (X, U)_i) + sum_i y_i' (h f_i - sum_j B_ij (X_j - x_k))
                           + lambda_{k+1}' (x_k + sum_j (b' B)_j (X_j - x_k) - x_{k+1}) ].
"""

from __future__ import annotations

import functools

import casadi as ca
import numpy as np
import pytest
from scipy.optimize import linprog, lsq_linear

import adjoint
from adjoint import OptimalControlProblem, System, free

NU = 5e-7  # allowed error of the stationarity, relative to the largest costate: tol is 1e-9 on the scaled problem


# --- problems written with functions that CasADi and NumPy both understand


def pendulum(t, x, u, p):
    return [x[1], u[0] - 0.1 * x[1] - 9.81 * np.sin(x[0])]


def swing_cost(t, x, u, p):
    return u[0] ** 2 + 0.1 * x[1] ** 2


def swing_up(torque=6.0, **more):
    return OptimalControlProblem(
        System(pendulum, "angle speed", "torque"),
        initial=dict(angle=0, speed=0),
        final=dict(angle=np.pi, speed=0),
        bounds=dict(torque=(-torque, torque)),
        t=(0, 4),
        running=swing_cost,
        **more,
    )


def cart(t, x, u, p):
    return [x[1], u[0] - u[1] - p[0] * x[1] * x[1]]


def cart_cost(t, x, u, p):
    return x[0] ** 2 + 0.1 * (u[0] ** 2 + u[1] ** 2) + t * u[0]


def cart_path(t, x, u, p):
    return [x[0] + 0.1 * u[0], u[0] * u[1] + x[1]]


def cart_end(t, x, p):
    return 3 * (x[0] - 1) ** 2 + x[0] * x[1]


def cart_problem(path=True, maximise=False, speed=None):
    sign = -1 if maximise else 1
    cost = dict(running=lambda t, x, u, p: sign * cart_cost(t, x, u, p))
    cost["maximize" if maximise else "minimize"] = lambda t, x, p: sign * cart_end(t, x, p)
    bounds = dict(push=(0, 1.5), brake=(0, 0.7))
    if speed is not None:
        bounds["speed"] = (None, speed)
    return OptimalControlProblem(
        System(cart, "position speed", "push brake", "drag"),
        initial=dict(position=1, speed=0),
        final=dict(speed=0.1),
        bounds=bounds,
        parameters=dict(drag=0.3),
        t=(0, 2),
        path=dict(wall=(cart_path, [-0.2, -np.inf], [1.1, 0.4])) if path else None,
        **cost,
    )


def flat(values):
    return ca.vertcat(*values) if isinstance(values, (list, tuple)) else values


class Functions:
    """A problem's functions and gradients by CasADi, from the same Python functions but without the library."""

    def __init__(self, f, cost, path, n, m, n_p):
        t, x, u, p = ca.SX.sym("t"), ca.SX.sym("x", n), ca.SX.sym("u", m), ca.SX.sym("p", n_p)

        class Vector(list):
            """Indexable in the user's way."""

        def parts(v):
            return Vector(v[i] for i in range(v.shape[0]))

        def np_free(function):
            return flat(function(t, parts(x), parts(u), parts(p)))

        self.arguments = [t, x, u, p]
        self.f, self.cost, self.path = np_free(f), np_free(cost), np_free(path) if path else ca.SX(0, 1)

    def __call__(self, expression, with_respect_to=None):
        """Evaluator at a point: the value, or the Jacobian with respect to x or u."""
        if with_respect_to is not None:
            expression = ca.jacobian(expression, self.arguments["txup".index(with_respect_to)])
        function = ca.Function("f", self.arguments, [ca.densify(expression)])
        return lambda *point: function(*point).full()


def adjusted(errors, scale):
    return np.abs(np.asarray(errors)).max(initial=0.0) / max(scale, 1e-10)


def kkt_collocation(solution, functions, terminal_gradient):
    """Largest relative violations: stationarity in U, in X, in x_k, at the end; defects."""
    s, problem = solution, solution.problem
    method, h = s.method, np.diff(s.t)
    N, stages, n = s.N, method.b.size, s.x.shape[1]
    B = np.linalg.inv(method.A)
    weight = method.b @ B
    system = problem.system
    mu = s.multipliers.get("path wall", np.zeros((N, stages, 0)))
    nu_u = np.stack([s.bound_multipliers.get(name, np.zeros(N * stages)) for name in system.controls], axis=-1)
    nu_x = np.stack([s.bound_multipliers.get(name, np.zeros(N * stages)) for name in system.states], axis=-1)
    nu_u, nu_x = nu_u.reshape(N, stages, -1), nu_x.reshape(N, stages, -1)
    X, U = s.node_x.reshape(N, stages, n), s.node_u.reshape(N, stages, -1)
    lam, T = s.node_costate.reshape(N, stages, n), s.node_t.reshape(N, stages)
    f, f_x, f_u = functions(functions.f), functions(functions.f, "x"), functions(functions.f, "u")
    l_x, l_u = functions(functions.cost, "x"), functions(functions.cost, "u")
    g_x, g_u = functions(functions.path, "x"), functions(functions.path, "u")
    worst = dict.fromkeys(("U", "X", "x", "defect", "end"), 0.0)
    scale = np.abs(lam).max()
    radau = method.c[-1] == 1.0
    for k in range(N):
        y = method.b[:, None] * lam[k]
        for j in range(stages):
            point = (T[k, j], X[k, j], U[k, j], s.p)
            along_u = l_u(*point)[0] + lam[k, j] @ f_u(*point) + mu[k, j] @ g_u(*point) + nu_u[k, j]
            along_x = l_x(*point)[0] + lam[k, j] @ f_x(*point) + mu[k, j] @ g_x(*point)
            if not (radau and j == stages - 1):
                along_x = along_x + nu_x[k, j]  # the bounds of the last Radau node are those of the knot
            along_x = h[k] * method.b[j] * along_x - B[:, j] @ y + weight[j] * s.costate[k + 1]
            defect = h[k] * f(*point).ravel() - B[j] @ (X[k] - s.x[k])
            worst["U"] = max(worst["U"], adjusted(along_u, scale))
            worst["X"] = max(worst["X"], adjusted(along_x, scale))
            worst["defect"] = max(worst["defect"], adjusted(defect, np.abs(s.x).max()))
        step = s.x[k] + weight @ (X[k] - s.x[k]) - s.x[k + 1]
        worst["defect"] = max(worst["defect"], adjusted(step, np.abs(s.x).max()))
        along = s.costate[k + 1] * (1 - weight.sum()) + B.sum(axis=1) @ y - s.costate[k]
        if radau and k > 0:
            along = along + h[k - 1] * method.b[-1] * nu_x[k - 1, -1]
        if k > 0:
            worst["x"] = max(worst["x"], adjusted(along, scale))
    final = np.array([s.multipliers.get(f"final {name}", np.zeros(1))[0] for name in system.states])
    # y_N: what the end adds to the last costate; for Radau the last knot's bounds act there too
    bound = h[-1] * method.b[-1] * nu_x[-1, -1] if radau else 0.0
    worst["end"] = adjusted(terminal_gradient + final + bound - s.costate[-1], scale)
    return worst


def assert_complementary(multiplier, value, lower, upper, label):
    """The multiplier is >= 0 at the upper bound, <= 0 at the lower, and 0 between them."""
    multiplier, value = np.ravel(multiplier), np.ravel(value)
    scale = max(1.0, np.abs(multiplier).max())
    reach = max(1.0, *(abs(b) for b in (lower, upper) if np.isfinite(b)))
    assert np.all(value <= upper + 3e-8 * reach), f"{label} above"
    assert np.all(value >= lower - 3e-8 * reach), f"{label} below"
    gap = np.where(multiplier > 0, upper - value, value - lower)
    product = np.abs(multiplier) * np.where(np.isfinite(gap), np.abs(gap), 0.0)
    assert np.all(product <= 1e-5 * scale * reach), f"{label} gap"
    if not np.isfinite(upper):
        assert np.all(multiplier <= 0), f"{label}: no upper bound, but a multiplier"
    if not np.isfinite(lower):
        assert np.all(multiplier >= 0), f"{label}: no lower bound, but a multiplier"


@functools.cache
def solved(kind, method, maximise=False):
    problem = {
        "pendulum": swing_up,
        "cart": functools.partial(cart_problem, maximise=maximise),
        "speed limit": functools.partial(cart_problem, path=False, speed=0.25),
    }[kind]()
    return adjoint.solve(problem, method=method, intervals=20, certificate=False, tol=1e-9)


METHODS = {
    "gauss2": adjoint.gauss(2),
    "gauss3": adjoint.gauss(3),
    "radau2": adjoint.radau(2),
    "radau3": adjoint.radau(3),
}
CART = (cart, cart_cost, cart_path, 2, 2, 1)


def cart_gradient(x):
    return np.array([6 * (x[0] - 1) + x[1], x[0]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("maximise", [False, True], ids=["minimise", "maximise"])
def test_kkt_of_collocation_with_path_constraints(method, maximise):
    s = solved("cart", METHODS[method], maximise)
    assert s.converged, s.status
    # a problem that maximises has the multipliers of minimising the negated objective, here again cart_cost
    worst = kkt_collocation(s, Functions(*CART), cart_gradient(s.x[-1]))
    assert max(worst.values()) < NU, worst
    wall = s.multipliers["path wall"]
    g = np.stack([s.node_x[:, 0] + 0.1 * s.node_u[:, 0], s.node_u[:, 0] * s.node_u[:, 1] + s.node_x[:, 1]], axis=-1)
    assert_complementary(wall[..., 0], g[:, 0], -0.2, 1.1, "wall[0]")
    assert_complementary(wall[..., 1], g[:, 1], -np.inf, 0.4, "wall[1]")
    assert_complementary(s.bound_multipliers["push"], s["push"], 0, 1.5, "push")
    assert_complementary(s.bound_multipliers["brake"], s["brake"], 0, 0.7, "brake")
    assert np.abs(s.bound_multipliers["push"]).max() > 1e-2  # not vacuous
    np.testing.assert_allclose(s.x[0], [1, 0], atol=1e-12)
    assert abs(s.x[-1, 1] - 0.1) < 1e-8


@pytest.mark.parametrize("method", ["radau2", "radau3"])
def test_kkt_of_collocation_with_an_active_state_bound(method):
    s = solved("speed limit", METHODS[method])
    assert s.converged, s.status
    functions = Functions(cart, cart_cost, None, 2, 2, 1)
    worst = kkt_collocation(s, functions, cart_gradient(s.x[-1]))
    assert max(worst.values()) < NU, worst
    assert_complementary(s.bound_multipliers["speed"], s.node_x[:, 1], -np.inf, 0.25, "speed")


@pytest.mark.parametrize("method", METHODS)
def test_kkt_of_the_pendulum(method):
    s = solved("pendulum", METHODS[method])
    assert s.converged, s.status

    def f(t, x, u, p):
        return [x[1], u[0] - 0.1 * x[1] - 9.81 * ca.sin(x[0])]

    worst = kkt_collocation(s, Functions(f, swing_cost, None, 2, 1, 0), np.zeros(2))
    assert max(worst.values()) < NU, worst
    assert_complementary(s.bound_multipliers["torque"], s["torque"], -6, 6, "torque")
    np.testing.assert_allclose(s.x[[0, -1]], [[0, 0], [np.pi, 0]], atol=1e-7)


@pytest.mark.parametrize("substeps", [1, 3])
def test_kkt_of_multiple_shooting(substeps):
    s = adjoint.solve(cart_problem(), method=adjoint.RK4, substeps=substeps, intervals=20, certificate=False, tol=1e-9)
    assert s.converged, s.status
    h = np.diff(s.t)[0]
    functions = Functions(*CART)
    t, x, u, p = functions.arguments
    rate = ca.Function("rate", functions.arguments, [ca.vertcat(functions.f, functions.cost)])
    z, time, dt = ca.vertcat(x, 0), t, h / substeps
    for _ in range(substeps):
        k1 = rate(time, z[:2], u, p)
        k2 = rate(time + dt / 2, (z + dt / 2 * k1)[:2], u, p)
        k3 = rate(time + dt / 2, (z + dt / 2 * k2)[:2], u, p)
        k4 = rate(time + dt, (z + dt * k3)[:2], u, p)
        z, time = z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), time + dt
    step, step_x, step_u = functions(z), functions(z, "x"), functions(z, "u")
    g_x, g_u = functions(functions.path, "x"), functions(functions.path, "u")
    scale, total = np.abs(s.costate).max(), 0.0
    for k in range(s.N):
        point = (s.t[k], s.x[k], s.u[k], s.p)
        value = step(*point).ravel()
        total += value[2]
        assert adjusted(value[:2] - s.x[k + 1], 1.0) < 1e-8
        pull = np.append(s.costate[k + 1], 1.0)
        mu = h * s.multipliers["path wall"][k]
        nu = h * np.array([s.bound_multipliers[name][k] for name in ("push", "brake")])
        assert adjusted(pull @ step_u(*point) + mu @ g_u(*point) + nu, scale) < NU
        if k > 0:
            assert adjusted(pull @ step_x(*point) + mu @ g_x(*point) - s.costate[k], scale) < NU
    final = np.array([0.0, s.multipliers["final speed"][0]])
    assert adjusted(cart_gradient(s.x[-1]) + final - s.costate[-1], scale) < NU
    np.testing.assert_allclose(s.cost, total + float(cart_end(2, s.x[-1], s.p)), rtol=1e-8)


def random_lq(seed, n=3, m=2):
    generator = np.random.default_rng(seed)
    A = 0.9 * generator.standard_normal((n, n)) / np.sqrt(n)
    B, root = generator.standard_normal((n, m)), generator.standard_normal((n, n))
    return A, B, root, 2.0 * generator.standard_normal(n), 0.3 * generator.standard_normal(n)


def lq_problem(A, B, root, target, x0, N, bound, state_bound=None):
    n, m = B.shape

    def step(t, x, u, p):
        return A @ x + (1 + 0.3 * np.sin(t)) * (B @ u)

    def cost(t, x, u, p):
        e = root @ (x - target)
        return (e @ e + 0.5 * u @ u) / 2

    system = System(step, f"x[{n}]", f"u[{m}]", discrete=True)
    bounds = dict(u=(-bound, bound)) | ({} if state_bound is None else dict(x=(-state_bound, state_bound)))
    return OptimalControlProblem(
        system, initial=x0, bounds=bounds, t=(0, N), running=cost, minimize=lambda t, x, p: (x - target) @ (x - target)
    )


def condensed(A, B, root, target, x0, N):
    """cost = |L u - r|^2 over all controls, and the states x = base + G u."""
    n, m = B.shape
    base, G = [x0], [np.zeros((n, N * m))]
    for k in range(N):
        base.append(A @ base[-1])
        step = A @ G[-1]
        step[:, k * m : (k + 1) * m] += (1 + 0.3 * np.sin(k)) * B
        G.append(step)
    L = [root @ G[k] / np.sqrt(2) for k in range(N)] + [G[N], np.sqrt(0.25) * np.eye(N * m)]
    r = [root @ (target - base[k]) / np.sqrt(2) for k in range(N)] + [target - base[N], np.zeros(N * m)]
    return np.vstack(L), np.concatenate(r), np.array(base), np.array(G)


@pytest.mark.parametrize("seed", range(6))
def test_random_convex_quadratic_programmes_with_control_bounds(seed):
    A, B, root, target, x0 = random_lq(seed)
    N = 8
    L, r, base, G = condensed(A, B, root, target, x0, N)
    bound = 0.6 * np.abs(np.linalg.lstsq(L, r, rcond=None)[0]).max()
    s = adjoint.solve(lq_problem(A, B, root, target, x0, N, bound), certificate=False, tol=1e-10)
    best = lsq_linear(L, r, (-bound, bound), method="bvls", tol=1e-14, max_iter=500)
    assert s.converged, s.status
    np.testing.assert_allclose(s.cost, 2 * best.cost, rtol=1e-7)
    np.testing.assert_allclose(s.u.ravel(), best.x, atol=2e-5)
    np.testing.assert_allclose(s.x.ravel(), (base + G @ best.x).ravel(), atol=2e-4)
    assert 0 < np.sum(best.active_mask != 0) < best.x.size  # some bounds are active, some are not


@pytest.mark.parametrize("seed", range(4))
def test_random_convex_quadratic_programmes_with_state_bounds(seed):
    A, B, root, target, x0 = random_lq(seed + 10)
    N = 8
    L, r, base, G = condensed(A, B, root, target, x0, N)
    flat_G, flat_base = G.reshape(-1, N * 2), base.ravel()
    free_u = np.linalg.lstsq(L, r, rcond=None)[0]
    bound = 1.5 * np.abs(free_u).max()
    # The least bound on |x| that leaves anything feasible: min b, |base + G u| <= b, |u| <= bound.
    column = np.ones((flat_base.size, 1))
    least = linprog(
        np.append(np.zeros(N * 2), 1.0),
        np.vstack([np.hstack([flat_G, -column]), np.hstack([-flat_G, -column])]),
        np.concatenate([-flat_base, flat_base]),
        bounds=[(-bound, bound)] * (N * 2) + [(0, None)],
    ).fun
    limit = 0.5 * (least + np.abs(base + G @ free_u).max())
    s = adjoint.solve(lq_problem(A, B, root, target, x0, N, bound, limit), certificate=False, tol=1e-10)
    oracle = ca.conic(
        "oracle",
        "qrqp",
        {"h": ca.Sparsity.dense(N * 2, N * 2), "a": ca.Sparsity.dense((N + 1) * 3, N * 2)},
        {"print_iter": False, "print_header": False, "print_info": False, "error_on_fail": True},
    )
    best = oracle(
        h=2 * L.T @ L, g=-2 * L.T @ r, a=flat_G, lba=-limit - flat_base, uba=limit - flat_base, lbx=-bound, ubx=bound
    )
    assert np.abs(s.x).max() > limit * (1 - 1e-6)  # active
    assert s.converged, s.status
    np.testing.assert_allclose(s.cost, float(best["cost"]) + r @ r, rtol=1e-6)
    np.testing.assert_allclose(s.u.ravel(), best["x"].full().ravel(), atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_quadratic_programme_without_bounds_takes_one_newton_step(seed):
    A, B, root, target, x0 = random_lq(seed + 20)
    s = adjoint.solve(lq_problem(A, B, root, target, x0, 8, np.inf), certificate=False)
    L, r, _, _ = condensed(A, B, root, target, x0, 8)
    best = np.linalg.lstsq(L, r, rcond=None)[0]
    np.testing.assert_allclose(s.u.ravel(), best, atol=1e-9)
    assert s.iterations <= 2


@pytest.mark.parametrize("kind", ["pendulum", "cart"])
@pytest.mark.parametrize("method", ["gauss3", "radau3"])
def test_a_warm_start_at_the_solution_is_over_at_once(kind, method):
    first = solved(kind, METHODS[method])
    again = adjoint.solve(first.problem, method=METHODS[method], intervals=20, certificate=False, tol=1e-9, guess=first)
    assert again.converged, again.status
    assert again.iterations <= 3
    np.testing.assert_allclose(again.cost, first.cost, rtol=1e-7)
    np.testing.assert_allclose(again.x, first.x, atol=1e-5)
    assert first.iterations > 5  # the first time was work


def test_a_start_that_needs_restoration_is_restored():
    # A motor too weak to lift the pendulum at once, from guesses that swing back first: Newton's steps get refused.
    problem = swing_up(torque=4.0)
    grid, restored = np.linspace(0, 1, 31), 0
    for bend in (0.0, 0.5, 2.0, 3.0):
        guess = dict(angle=np.pi * grid - bend * np.sin(2 * np.pi * grid))
        s = adjoint.solve(problem, intervals=30, certificate=False, guess=guess)
        restored += int(np.sum(s.history[:, 9] == -1))
        assert s.converged, s.status
        assert s.residuals["violation"] < 1e-7
        assert np.abs(s.node_u).max() <= 4 + 1e-6
        np.testing.assert_allclose(s.x[-1], [np.pi, 0], atol=1e-6)
    assert restored > 0


def test_every_step_is_in_the_history():
    seen = []
    s = adjoint.solve(swing_up(), intervals=20, certificate=False, progress=lambda row: seen.append(np.array(row)))
    assert s.converged, s.status
    assert len(s.history) == s.iterations + 1
    np.testing.assert_array_equal(s.history[:, 0], np.arange(s.iterations + 1))
    assert s.history.shape[1] == len(adjoint.Solution.HISTORY)
    np.testing.assert_allclose(s.history[-1, 1], s.cost, rtol=1e-12)
    assert s.history[-1, 2] <= 1e-8  # the violation at the end
    assert np.all(np.diff(s.history[:, 4]) <= 0)  # mu never grows
    assert len(seen) >= s.iterations


def test_the_certificates_optimality_is_what_the_tolerance_says():
    for tol in (1e-4, 1e-6, 1e-9):
        s = adjoint.solve(cart_problem(), intervals=20, tol=tol, certificate=False)
        assert s.converged, s.status
        assert s.residuals["scaled error"] <= tol
        assert s.residuals["tolerance"] == tol


def test_free_time_has_its_own_stationarity():
    # min tf + u^2 integrated: H = 0 along the solution, and the costate of the end is that of tf
    s = adjoint.solve(
        OptimalControlProblem(
            System(lambda t, x, u, p: [x[1], u[0]], "x v", "u"),
            initial=dict(x=0, v=0),
            final=dict(x=1, v=0),
            t=(0, free(1.0, 0.1)),
            running=lambda t, x, u, p: u[0] ** 2,
            minimize=lambda t, x, p: t,
        ),
        intervals=20,
    )
    H = s.node_u[:, 0] ** 2 + s.node_costate[:, 0] * s.node_x[:, 1] + s.node_costate[:, 1] * s.node_u[:, 0]
    assert s.optimal, s.status
    np.testing.assert_allclose(H, -1.0, atol=1e-6)
    np.testing.assert_allclose(s.tf, 36**0.25, rtol=1e-7)  # 12 / T^3 + T is least there
