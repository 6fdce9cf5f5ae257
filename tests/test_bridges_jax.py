"""`adjoint.bridges.jax`: JAX's own check of gradients, equality with the sweep, jit, vmap, float32."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'adjoint-control[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import adjoint  # noqa: E402
from adjoint import recurrent  # noqa: E402
from adjoint.bridges.jax import rollout  # noqa: E402
from adjoint.errors import InputError  # noqa: E402

N = 7
T = np.linspace(0, 1, N + 1)


def oscillator(t, x, u, p):
    position, speed = x
    return [speed, p[1] * (1 - position**2) * speed - p[0] * position + u[0] * np.cos(t)]


def settle(t, x, u, p):
    return [p[0] * x[0] - x[1] * x[0], x[1] + 0.1 * x[0] * p[1]]


SYSTEM = adjoint.System(oscillator, states="position speed", controls="force", parameters="stiffness damping")
FREE = adjoint.System(settle, states="a b", parameters="c d", discrete=True)


@pytest.fixture(params=[True, False], ids=["x64", "x32"])
def x64(request):
    with jax.enable_x64(request.param):
        yield request.param


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def numbers(*shape, seed=0):
    return jnp.asarray(0.5 * np.random.default_rng(seed).standard_normal(shape))


SHAPES = [
    ((2,), (N, 1), (2,)), ((2,), (N,), (2,)), ((2,), (), (2,)), ((3, 2), (1,), (2,)), ((2,), (3, N, 1), (2,)),
    ((2,), (N,), (3, 2)), ((9, 2), (9, N, 1), (9, 2)), ((1, 2), (N, 1), (2,)),
]  # fmt: skip


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_first_and_second_derivatives_pass_jax_own_check_in_every_shape(shapes, double):
    arguments = tuple(numbers(*shape, seed=i) for i, shape in enumerate(shapes))
    check_grads(lambda x0, u, p: rollout(SYSTEM, x0, u, T, p), arguments, order=2, modes=["rev"])


def test_a_map_without_controls(double):
    check_grads(lambda x0, p: rollout(FREE, x0, p=p, steps=5), (numbers(4, 2), numbers(2, seed=1)), 2, ["rev"])


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("compiled", [True, False])
def test_it_is_rollout_and_sweep(shapes, compiled, x64):
    x0, u, p = (numbers(*shape, seed=i) for i, shape in enumerate(shapes))
    weights = np.random.default_rng(9).standard_normal((N + 1, 2)).astype(x0.dtype)

    def J(x0, u, p):
        return (rollout(SYSTEM, x0, u, T, p, adjoint.EULER) * weights).sum()

    path = adjoint.rollout(SYSTEM, x0, u, T, p, adjoint.EULER)
    expected = adjoint.sweep(path, dx=np.broadcast_to(weights, path.x.shape))
    x = rollout(SYSTEM, x0, u, T, p, adjoint.EULER)
    gradient = jax.grad(J, (0, 1, 2))
    tolerance = 1e-13 if x64 else 1e-5
    assert x.dtype == (np.float64 if x64 else np.float32)
    np.testing.assert_allclose(x, path.x, rtol=tolerance, atol=tolerance)
    for g, e, given in zip((jax.jit(gradient) if compiled else gradient)(x0, u, p),
                           (expected.x0, expected.u, expected.p), (x0, u, p), strict=True):
        assert g.dtype == x.dtype
        np.testing.assert_allclose(g, e.reshape(-1, given.size).sum(0).reshape(given.shape), tolerance, tolerance)


@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (None, None, 0), (0, 1, 0)], ids=str)
@pytest.mark.parametrize("batch", [None, 3])
def test_vmap_is_a_loop(axes, batch, double):
    own = () if batch is None else (batch,)
    shapes = [(*own, 2), (N, 1), (2,)]
    arguments, single = [], []
    for i, (shape, axis) in enumerate(zip(shapes, axes, strict=True)):
        a = numbers(*(shape if axis is None else (*shape[:axis], 4, *shape[axis:])), seed=i)
        arguments.append(a)
        single.append([a if axis is None else jnp.take(a, k, axis) for k in range(4)])

    def both(x0, u, p):
        x = rollout(SYSTEM, x0, u, T, p)
        return x, jax.grad(lambda *z: jnp.sin(rollout(SYSTEM, z[0], z[1], T, z[2])).sum(), (0, 1, 2))(x0, u, p)

    mapped = jax.jit(jax.vmap(both, axes))(*arguments)
    for k in range(4):
        one = both(*(s[k] for s in single))
        for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-13, atol=1e-14)


def test_the_gradient_of_what_vmap_shares_is_the_sum(double):
    x0, p = numbers(5, 2), numbers(2, seed=1)

    def mapped(p):
        return jnp.sin(jax.vmap(lambda x: rollout(SYSTEM, x, 0.1, T, p))(x0)).sum()

    def batch(p):
        return jnp.sin(rollout(SYSTEM, x0, 0.1, T, p)).sum()

    np.testing.assert_allclose(jax.grad(mapped)(p), jax.grad(batch)(p), rtol=1e-13)
    np.testing.assert_allclose(jax.jit(jax.grad(mapped))(p), jax.grad(batch)(p), rtol=1e-13)


def test_jacobians_and_hessians_by_reverse_mode(double):
    x0, p = numbers(2), numbers(2, seed=1)
    path = adjoint.rollout(SYSTEM, x0, 0.1, T, p)
    J = jax.jacrev(lambda x: rollout(SYSTEM, x, 0.1, T, p))(x0)
    columns = [adjoint.tangent(path, x0=e) for e in np.eye(2)]
    np.testing.assert_allclose(J, np.stack(columns, axis=-1), rtol=1e-12, atol=1e-13)
    H = jax.jacrev(jax.grad(lambda p: (rollout(SYSTEM, x0, 0.1, T, p) ** 2).sum() / 2))(p)
    for e, column in zip(np.eye(2), H.T, strict=True):
        v = adjoint.hessian_vector(path, dx=path.x, p=e, ddx=adjoint.tangent(path, p=e))
        np.testing.assert_allclose(column, v.p, rtol=1e-12, atol=1e-13)


def test_a_compiled_cell_is_a_system_too(double):
    cell = recurrent.LSTM(4, 3)
    u, p = numbers(2, 5, 3), jnp.asarray(cell.init(0))
    check_grads(lambda u, p: rollout(cell.system, np.zeros(8), u, p=p), (u, p), 1, ["rev"])
    mapped = jax.grad(lambda p: jax.vmap(lambda v: rollout(cell.system, np.zeros(8), v, p=p))(u).sum())(p)
    shared = jax.grad(lambda p: rollout(cell.system, np.zeros(8), u, p=p).sum())(p)
    np.testing.assert_allclose(mapped, shared, rtol=1e-12, atol=1e-13)


def test_a_function_of_time_and_a_scan_around_it(double):
    x = rollout(SYSTEM, [1, 0], np.sin, T, [1, 1])
    np.testing.assert_array_equal(x, adjoint.rollout(SYSTEM, [1, 0], np.sin, T, [1, 1]).x)
    _, ends = jax.lax.scan(lambda x, u: (rollout(SYSTEM, x, u, T, [1, 1])[-1],) * 2, jnp.ones(2), jnp.zeros((3, 1)))
    one = adjoint.rollout(SYSTEM, ends[1], 0, T, [1, 1])
    np.testing.assert_allclose(ends[2], one.x[-1], rtol=1e-14)


def test_jax_compiles_once_for_each_setting(double):
    count = 0

    def J(x0, p):
        nonlocal count
        count += 1
        return rollout(SYSTEM, x0, 0.1, T.copy(), p).sum()

    gradient = jax.jit(jax.grad(J))
    for i in range(3):
        gradient(numbers(2, seed=i), numbers(2))
    assert count == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(x0=np.zeros(3)), r"x0 has shape \(3,\); system 'oscillator' has 2 states \(position, speed\)"),
        (dict(x0=np.zeros(2, complex)), "x0 is no array of real numbers"),
        (dict(x0="ab"), "x0 is no array of real numbers"),
        (dict(u=np.zeros((N + 1, 1))), "drop the last row"),
        (dict(u=None), "u is missing"),
        (dict(p=None), "p is missing"),
        (dict(t=None), "is continuous: pass its knots"),
    ],
)
def test_what_does_not_fit_is_named_when_it_is_traced(change, sentence):
    arguments = dict(x0=np.zeros(2), u=np.zeros((N, 1)), t=T, p=np.ones(2)) | change
    with pytest.raises(InputError, match=sentence):
        rollout(SYSTEM, **arguments)
    if not isinstance(arguments["x0"], str):
        with pytest.raises(InputError, match=sentence):
            jax.jit(lambda x0: rollout(SYSTEM, **(arguments | dict(x0=x0))))(arguments["x0"])


def test_knots_are_not_traced():
    with pytest.raises(InputError, match="t is traced by JAX"):
        jax.jit(lambda t: rollout(SYSTEM, [1, 0], 0, t, [1, 1]))(T)


def test_numbers_that_are_not_finite_are_errors_at_run_time():
    for x0, sentence in (([np.nan, 0.0], r"x0 of system 'oscillator' has nan"), ([1e30, 1e30], "became")):
        with pytest.raises(Exception, match=sentence):
            jax.block_until_ready(jax.jit(lambda x: rollout(SYSTEM, x, 0, T, [1, 1]))(np.array(x0)))


def test_forward_mode_is_refused():
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: rollout(SYSTEM, x, 0, T, [1, 1]), (jnp.ones(2),), (jnp.ones(2),))


LARGE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax, numpy as np, adjoint
from adjoint.bridges.jax import rollout
system = adjoint.System(lambda t, x, u, p: [x[1], u[0] - x[0]], states="x v", controls="u")
t = np.linspace(0, 100, 100_001)
g = jax.jit(jax.grad(lambda u: (rollout(system, np.ones(2), u, t) ** 2).sum()))
for _ in range(3):
    jax.block_until_ready(g(np.zeros((100_000, 1))))
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a process is bound to one core as Linux does it")
def test_large_arrays_on_one_core_do_not_hang():
    # On one thread JAX would wait in the callback for a copy that is queued behind it (jax-ml/jax, issue 24255).
    def run(environment):
        return subprocess.run([sys.executable, "-c", LARGE], env=os.environ | environment, capture_output=True,
                              text=True, timeout=120, check=False)

    refused = run({"NPROC": ""})
    assert refused.returncode != 0 and "environment variable NPROC=2" in refused.stderr
    assert run({"NPROC": "2"}).stdout == "done\n"
