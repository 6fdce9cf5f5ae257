"""The graph of a user's function has its values and derivatives, and what cannot be traced is refused clearly."""

from __future__ import annotations

import functools
import inspect
import math
import re

import casadi
import numpy as np
import pytest
import scipy.special  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from adjoint.errors import InputError, TraceError
from adjoint.symbolic import check_first_values, trace, where
from adjoint.symbolic.derivatives import hessian_of, jacobian, jvp, vjp

ROLE = "dynamics of system 'rocket'"
_random = np.random.default_rng(0)
A3 = _random.normal(size=(3, 3))
A5 = _random.normal(size=(5, 5))


def ravel(value) -> np.ndarray:
    if isinstance(value, (list, tuple)):
        return np.concatenate([ravel(v) for v in value])
    return np.ravel(value)


def graph_of(function, length: int = 3) -> casadi.Function:
    outputs = len(ravel(function(np.linspace(0.2, 0.7, length))))
    return trace(function, [("x", length)], outputs, ROLE)


def values(graph: casadi.Function, *inputs) -> np.ndarray:
    return np.array(graph.call([np.asarray(a, float) for a in inputs])[0]).ravel()


def assigned(x):
    out = np.zeros_like(x)
    out[0] = x[1]
    out[1:] += x[1:] ** 2
    scaled = 2 * x
    scaled += 1
    scaled[1:] *= x[1:]
    return [*out, *scaled]


def copied(x):
    out = np.array([x[0], x[1], x[2]])
    np.copyto(out, 2 * x)
    return out


def looped(x):
    y = x
    for k in range(4):
        y = y + 0.1 * np.sin(A3 @ y) * k
    return y


def rocket(x):
    h, v, m = x
    drag = 310 * v**2 * np.exp(-5 * (h - 1))
    return [v, -drag / (m + 3) - 1 / (h**2 + 1), -2 * m]


# Analytic in x: complex numbers run through the same code, so that the complex step gives the derivative to round-off.
ANALYTIC = {
    "rocket": rocket,
    "arithmetic": lambda x: [
        1 - x[0],
        x[0] / (x[1] + 9),
        -x[2],
        +x[0],
        x[0] ** 3,
        (x[1] + 9) ** -2,
        2.0 ** x[0],
        x[2] ** 2.0,
    ],
    "numpy scalars": lambda x: [
        np.float64(2) * x[0],
        np.float64(1) / (x[1] + 9),
        np.int64(3) - x[2],
        x[0] - np.float64(1),
    ],
    "exponentials": lambda x: [
        np.exp(x),
        np.expm1(x),
        np.exp2(x),
        np.log(x + 9),
        np.log1p(x + 4),
        np.log2(x + 9),
        np.log10(x + 9),
    ],
    "circular": lambda x: [np.sin(x), np.cos(x), np.tan(x), np.arcsin(x / 9), np.arccos(x / 9), np.arctan(x)],
    "hyperbolic": lambda x: [np.sinh(x), np.cosh(x), np.tanh(x), np.arcsinh(x), np.arccosh(x + 9), np.arctanh(x / 9)],
    "powers": lambda x: [
        np.sqrt(x + 9),
        np.square(x),
        np.reciprocal(x + 9),
        np.power(x, 5),
        (x + 9) ** 0.5,
        (x + 9) ** x[0],
    ],
    "sums": lambda x: [
        x.sum(),
        np.mean(x),
        np.prod(x),
        np.cumsum(x),
        np.diff(x),
        np.cumprod(x),
        x.mean(),
        np.sum([x[0], x[1]]),
    ],
    "axes": lambda x: [
        np.sum(np.outer(x, x), axis=0),
        np.outer(x, x) / np.sum(np.outer(x, x) + 9, axis=1, keepdims=True),
        np.outer(x, x).prod(1),
    ],
    "products": lambda x: [
        np.cross(x, A3[0]),
        A3 @ x,
        x @ A3,
        np.dot(A3, x),
        x @ A3 @ x,
        np.outer(x, x),
        np.inner(A3, x),
    ],
    "tensors": lambda x: [
        np.einsum("ij,j->i", A3, x),
        np.tensordot(A3, x, 1),
        np.kron(x, [1, 2]),
        np.trace(np.outer(x, A3[1])),
    ],
    "stacks": lambda x: [
        np.stack([x, 2 * x]).T,
        np.vstack([x, x]),
        np.hstack([x, x[:1]]),
        np.concatenate([x[1:], x]),
        np.tile(x, 2),
    ],
    "blocks": lambda x: [
        np.block([[x[0], 1.0], [2.0, x[1]]]) @ x[:2],
        np.atleast_1d(x[0]),
        np.roll(x, 1),
        np.flip(x),
        x.reshape(3, 1),
    ],
    "ordinary object arrays": lambda x: (
        np.sin(np.array([x[0], x[1]])) * np.exp(np.asarray(x)[1:]) + np.array([x[2], 1.0])
    ),
    "like": lambda x: np.exp(np.array([x[0], 1.0], like=x)),
    "assigned": assigned,
    "copied": copied,
    "looped": looped,
    "solve": lambda x: [np.linalg.solve(A3 + 9 * np.eye(3) + np.outer(x, x), x), np.linalg.solve(A3, np.outer(x, x))],
    "inverse": lambda x: [
        np.linalg.inv(9 * np.eye(3) + np.outer(x, x)),
        np.linalg.det(A3 + np.outer(x, A3[0])),
        np.linalg.inv(A3 * (x[0] + 9)),
    ],
    "solve 5": lambda x: np.linalg.solve(A5 + np.diag([*(9 + x), 9.0, 9.0]), np.concatenate([x, x[:2]])),
    "determinant 5": lambda x: np.linalg.det(A5 + np.diag(np.concatenate([x, x[:2]]))),
    "polynomials": lambda x: [
        np.polyval([1, 2, 3], x[0]),
        np.polynomial.Polynomial([1, 2, 3])(x[1]),
        np.trapezoid(x),
        np.sinc(x[0] + 9),
    ],
    "selection by constants": lambda x: [
        np.where([True, False, True], x, 2 * x),
        np.triu(np.outer(x, x)),
        np.diag(x),
        np.full_like(x, x[0]),
    ],
    "helpers": lambda x: [
        np.average(x, weights=[1, 2, 3]),
        np.add.outer(x, x),
        np.linalg.matrix_power(np.outer(x, x), 3),
    ],
    "special": lambda x: scipy.special.erf(x),
}

# Not analytic, or not defined on complex numbers by NumPy: the derivative is compared with a difference.
REAL = {
    "where": lambda x: [where(x > 0, x, x**2), np.where(x[0] > 0, x[:2], [1.0, 2.0]), where(x[0] < 0.1, 1.0, x[1])],
    "where on lists": lambda x: where([x[0] > 0, x[1] > 0], [x[0], 1.0], [2.0, x[2]]),
    "logic": lambda x: np.where((x[0] > 0) & ~(x[1] > 0) | (x[2] < 0.1) ^ (x[0] < 1), 1.0, 2.0),
    "logical": lambda x: [
        1.0 * np.logical_or(x > 0, x < -1),
        1.0 * np.logical_not(x[0] >= 0),
        1.0 * np.logical_xor(x > 0, x > 1),
        1.0 * np.any(x > 0),
        1.0 * np.all(x > 0),
    ],
    "truth of numbers": lambda x: [np.where(np.floor(x), x**2, 2 * x), 1.0 * np.logical_and(np.floor(x), x > 0)],
    "comparisons": lambda x: [1.0 * (x <= 0.1), 1.0 * (0.1 >= x), 1.0 * (x == x[0]), 1.0 * (x != x[0]), np.sum(x > 0)],
    "extremes": lambda x: [
        np.maximum(x, 0),
        np.minimum(x, x[0]),
        np.fmax(x[0], x),
        np.fmin(0.1, x),
        x.max(),
        np.min(x),
        np.max(np.outer(x, x), axis=1),
        np.ptp(x),
    ],
    "clip": lambda x: [np.clip(x, -0.5, 0.5), x.clip(0, None), np.clip(x[0], -1, 0.1), np.clip(x, x[0], x[0] + 1)],
    "absolute": lambda x: [abs(x), np.fabs(x[0]), np.sign(x), np.copysign(2.0, x), np.cbrt(x)],
    "norms": lambda x: [
        np.linalg.norm(x),
        np.linalg.norm(x, 1),
        np.linalg.norm(x, np.inf),
        np.linalg.norm(x, -np.inf),
        np.linalg.norm(np.outer(x, x) + A3, axis=1),
        np.linalg.norm(np.outer(x, A3[0])),
        np.linalg.norm(np.array([x[0], x[1]])),
        np.std(x),
    ],
    "angles": lambda x: [np.hypot(x[0], x[1:]), np.arctan2(x, x[0])],
    "steps": lambda x: [
        np.floor(x),
        np.ceil(x),
        np.trunc(x),
        np.heaviside(x, 0.5),
        x // 0.3,
        np.heaviside(x - x[0], x),
    ],
    "remainders": lambda x: [np.mod(x, 0.3), x % -0.3, np.fmod(x, 0.3), 0.3 % (x + 9)],
    "logaddexp": lambda x: [np.logaddexp(x[0], x), np.logaddexp(0, 900 * x)],
    "select": lambda x: np.select([x > 0.5, x > 0], [x, 2 * x], 7.0),
    "interp": lambda x: [
        np.interp(x, [-1, 0, 0.5, 1], [1, 2, 0, 3.0]),
        np.interp(x[0], [-1, 0, 0.5], [1, 2, 0], left=-1, right=9),
    ],
    "accumulate": lambda x: np.maximum.accumulate(x),
    "degrees": lambda x: [np.sin(np.deg2rad(x)), np.rad2deg(x), np.radians(x), np.degrees(x)],
    "variance": lambda x: np.var(A3 @ x),
    "expit": lambda x: scipy.special.expit(x),
}

POINTS = st.lists(st.floats(-2, 2), min_size=3, max_size=3).map(np.array)


@pytest.mark.parametrize("name", [*ANALYTIC, *REAL])
def test_a_graph_has_the_values_of_the_function(name):
    function = {**ANALYTIC, **REAL}[name]
    graph = graph_of(function)

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(POINTS)
    def same(x):
        expected = ravel(function(x))
        # 1e-11: a determinant or an inverse near a singular point loses a few digits; all else agrees to 1e-14
        np.testing.assert_allclose(values(graph, x), expected, rtol=1e-11, atol=1e-12 * (1 + np.max(np.abs(expected))))

    same()


@pytest.mark.parametrize("name", ANALYTIC)
def test_the_derivative_of_a_graph_is_the_complex_step_of_the_function(name):
    function = ANALYTIC[name]
    graph = graph_of(function)
    J = jacobian(graph, [0])
    for x in _random.uniform(-1.5, 1.5, size=(5, 3)):
        expected = np.stack([ravel(function(x + 1e-30j * e)).imag / 1e-30 for e in np.eye(3)], axis=1)
        np.testing.assert_allclose(np.array(J(x)), expected, rtol=1e-9, atol=1e-10 * (1 + np.max(np.abs(expected))))


@pytest.mark.parametrize("name", REAL)
def test_the_derivative_of_a_graph_with_kinks_is_the_difference_between_them(name):
    graph = graph_of(REAL[name])
    J = jacobian(graph, [0])
    h = 1e-6
    for x in np.random.default_rng(1).uniform(-1.5, 1.5, size=(5, 3)):
        pairs = [(ravel(REAL[name](x + h * e)), ravel(REAL[name](x - h * e))) for e in np.eye(3)]
        expected = np.stack([(a - b) / (2 * h) for a, b in pairs], axis=1)
        np.testing.assert_allclose(np.array(J(x)), expected, rtol=1e-6, atol=1e-7)


def test_arguments_have_the_shapes_that_numbers_would_have():
    seen = {}

    def f(t, x, u, p):
        seen.update(t=np.shape(t), x=np.shape(x), u=np.shape(u), p=np.shape(p))
        return [x[0] * t, [u, p.sum()]]

    graph = trace(f, [("t", None), ("x", 2), ("u", 1), ("p", 0)], 3, ROLE)
    assert seen == {"t": (), "x": (2,), "u": (1,), "p": (0,)}
    assert graph.name_in() == ["t", "x", "u", "p"]
    assert [graph.size_in(i) for i in range(4)] == [(1, 1), (2, 1), (1, 1), (0, 1)]
    assert (graph.name(), graph.size_out(0), graph.sparsity_out(0).is_dense()) == ("f", (3, 1), True)
    np.testing.assert_array_equal(values(graph, 2.0, [3.0, 0.0], [5.0], []), [6.0, 5.0, 0.0])


def test_outputs_may_be_nested_constant_scalar_or_of_any_number():
    graph = trace(lambda x: (x[:1], [1, np.array([2.0, True])], x[1]), [("x", 2)], 5, ROLE)
    np.testing.assert_array_equal(values(graph, [7.0, 8.0]), [7, 1, 2, 1, 8])
    assert graph.name() == "lambda"
    assert trace(lambda x: x[0], [("x", 2)], None, ROLE).size_out(0) == (1, 1)
    assert trace(lambda x: [x[0] * 2], [("x", 2)], None, ROLE).size_out(0) == (1, 1)
    assert trace(lambda x: [], [("x", 2)], 0, ROLE).size_out(0) == (0, 1)
    assert trace(lambda x: x * 2, [("x", 4)], -1, ROLE).size_out(0) == (4, 1)


def test_integer_powers_are_products_and_shared_parts_are_computed_once():
    graph = trace(lambda x: [x[0] ** 3, x[0] ** 3 + 1], [("x", 1)], 2, ROLE)
    operations = [graph.instruction_id(k) for k in range(graph.n_instructions())]
    assert casadi.OP_POW not in operations and casadi.OP_CONSTPOW not in operations
    assert operations.count(casadi.OP_MUL) == 1


def test_methods_partials_and_callable_objects_are_traced():
    class Model:
        gain = 3.0

        def __call__(self, x):
            return self.gain * x

        def method(self, x):
            return self.gain * x

    def scaled(gain, x):
        return gain * x

    for f in (Model(), Model().method, functools.partial(scaled, 3.0)):
        np.testing.assert_array_equal(values(trace(f, [("x", 2)], 2, ROLE), [1.0, 2.0]), [3.0, 6.0])


@pytest.mark.parametrize(
    "length",
    [
        lambda x: np.linalg.norm(x),
        lambda x: np.hypot(x[0], x[1]),
        lambda x: np.sqrt(x @ x),
        lambda x: np.sqrt(2 * x[0] ** 2 + x[1] ** 2 / 3),
        lambda x: np.linalg.norm(np.array([x[0], x[1]])),
        lambda x: np.linalg.norm(np.stack([x, x]), axis=1)[0],
    ],
)
def test_a_norm_has_a_zero_gradient_at_zero_and_no_other_value_anywhere(length):
    graph = trace(length, [("x", 2)], None, ROLE)
    J = jacobian(graph, [0])
    gradient = vjp(graph, [0])
    assert values(graph, [0.0, 0.0]) == 0
    np.testing.assert_array_equal(np.array(J([0.0, 0.0])), [[0, 0]])
    np.testing.assert_array_equal(values(gradient, [0.0, 0.0], [1.0]), [0, 0])
    assert np.all(np.isfinite(np.array(hessian_of(graph, [0])([0.0, 0.0], 1.0))))
    for x in ([3e-9, -4e-9], [3.0, 4.0], [0.0, 5.0]):
        np.testing.assert_allclose(values(graph, x), length(np.array(x)), rtol=1e-15)
        difference = [length(np.array(x) + h) - length(np.array(x) - h) for h in 1e-6 * np.linalg.norm(x) * np.eye(2)]
        np.testing.assert_allclose(np.array(J(x)).ravel(), np.array(difference) / (2e-6 * np.linalg.norm(x)), atol=1e-8)


def test_a_square_root_that_is_no_norm_keeps_its_infinite_slope():
    graph = trace(lambda x: [np.sqrt(x[0]), np.sqrt(x[0] ** 2 - x[1] ** 2)], [("x", 2)], 2, ROLE)
    np.testing.assert_array_equal(values(graph, [0.0, 0.0]), [0, 0])
    assert np.isinf(float(jacobian(graph, [0])([0.0, 0.0])[0, 0]))


def test_logaddexp_has_both_derivatives_where_its_branches_meet():
    graph = trace(lambda x: np.logaddexp(0, x[0]), [("x", 1)], None, ROLE)  # softplus: slope 1/2, curvature 1/4 at 0
    np.testing.assert_allclose(float(jacobian(graph, [0])(0.0)), 0.5, rtol=1e-15)
    np.testing.assert_allclose(float(hessian_of(graph, [0])(0.0, 1.0)), 0.25, rtol=1e-15)


def test_the_branch_not_taken_may_be_nan():
    graph = trace(lambda x: where(x[0] > 0, np.sqrt(x[0]), 0.0), [("x", 1)], None, ROLE)
    np.testing.assert_array_equal([values(graph, [v])[0] for v in (-4.0, 0.0, 4.0)], [0, 0, 2])


def test_where_on_plain_numbers_is_numpys():
    assert where(True, 1.0, 2.0) == 1.0 and isinstance(where(True, 1.0, 2.0), float)
    assert where(False, 1.0, 2 + 1j) == 2 + 1j
    np.testing.assert_array_equal(where(np.array([True, False]), [1.0, 2.0], 3.0), [1.0, 3.0])


def test_derivative_graphs_agree_with_each_other():
    graph = trace(lambda x, u: [x[0] * u[0] ** 2, np.sin(x[1]), x[0] * x[1]], [("x", 2), ("u", 1)], 3, ROLE)
    x, u, s, dx, du = _random.normal(size=2), [0.7], _random.normal(size=3), _random.normal(size=2), [0.3]
    Jx, Ju = [np.array(J) for J in jacobian(graph, [0, 1])(x, u)]
    np.testing.assert_allclose(Jx, [[0.49, 0], [0, np.cos(x[1])], [x[1], x[0]]], rtol=1e-14)
    np.testing.assert_allclose(values(jvp(graph, [0, 1]), x, u, dx, du), Jx @ dx + Ju @ du, rtol=1e-14)
    gx, gu = vjp(graph, [0, 1])(x, u, s)
    np.testing.assert_allclose(np.array(gx).ravel(), Jx.T @ s, rtol=1e-14)
    np.testing.assert_allclose(np.array(gu).ravel(), Ju.T @ s, rtol=1e-14)
    np.testing.assert_allclose(values(jvp(graph, [1]), x, u, du), Ju @ du, rtol=1e-14)
    H = np.array(hessian_of(graph, [0, 1])(x, u, s))
    expected = [[0, 0, 0], [s[2], -s[1] * np.sin(x[1]), 0], [2 * s[0] * u[0], 0, 2 * s[0] * x[0]]]
    np.testing.assert_allclose(H, expected, rtol=1e-13, atol=1e-15)
    names = (
        vjp(graph, [1]).name_in(),
        vjp(graph, [1]).name_out(),
        jvp(graph, [1]).name_in(),
        jacobian(graph, [1]).name_out(),
    )
    assert names == (["x", "u", "seed"], ["grad_u"], ["x", "u", "d_u"], ["jac_u"])
    assert jacobian(graph, [0]).sparsity_out(0).nnz() == 4 and hessian_of(graph, [0]).sparsity_out(0).is_tril()


# ------------------------------------------------------------------------------------------------------------- refusals


def branch(x):
    if x[0] > 0:
        return x
    return -x


def calls_branch(x):
    y = 2 * x
    return branch(y)


def loop(x):
    while x[0] > 0:
        x = x - 1
    return x


def floats(x):
    out = np.zeros(3)
    out[0] = x[1]
    return out


def floats_slice(x):
    out = np.zeros(3)
    out[:2] = x[1:]
    return out


def floats_in_place(x):
    out = np.zeros(3)
    out += x
    return out


def writes(x):
    x[0] = 1.0
    return x


BRANCH, FLOAT, INTEGER, UNSUPPORTED = "adjoint.where", "np.zeros_like", "adjoint.Table", "is not supported on traced"
TABLE = np.arange(5.0)
REFUSED = [
    (branch, [BRANCH, "'branch'", "if x[0] > 0:"]),
    (calls_branch, [BRANCH, "'calls_branch'", "if x[0] > 0:"]),
    (loop, [BRANCH, "while x[0] > 0:"]),
    (lambda x: x if x[0] > 0 and x[1] > 0 else -x, [BRANCH, "np.logical_and"]),
    (lambda x: [max(x[0], x[1]), 0, 0], ["np.maximum"]),
    (lambda x: x if x > 0 else -x, [BRANCH]),
    (lambda x: -x if x[0] in (1, 2) else x, [BRANCH]),
    (lambda x: x[x > 0], [BRANCH]),
    (lambda x: np.sort(x), [BRANCH]),
    (lambda x: np.maximum(np.array([x[0], x[1], 1.0]), 0.0), ["np.block"]),
    (lambda x: np.maximum(np.asarray(x), 0.0), ["np.asanyarray"]),
    (lambda x: np.exp(np.array([x[0], 0.0, 1.0])), ["np.block"]),
    (lambda x: np.linalg.solve(np.array([[x[0], 1], [0, 1]]), np.array([x[1], 1])), ["np.block"]),
    (lambda x: math.sin(x[0]), ["np.sin"]),
    (lambda x: math.sin(x), ["np.sin"]),
    (lambda x: float(x[0]), ["float()"]),
    (lambda x: complex(x[0]), ["float"]),
    (lambda x: np.array([x[0], 0, 0], dtype=float), ["dtype=float"]),
    (floats, [FLOAT, "build a list", "np.array([...])", "out[0] = x[1]"]),
    (floats_slice, [FLOAT]),
    (floats_in_place, [FLOAT]),
    (lambda x: int(x[0]), [INTEGER]),
    (lambda x: [1 for _ in range(x[0])], [INTEGER]),
    (lambda x: TABLE[x[0]], [INTEGER]),
    (lambda x: [1, 2, 3][x[0]], [INTEGER]),
    (lambda x: x[x[0]], [INTEGER]),
    (lambda x: TABLE[:3][x > 0], ["adjoint.where"]),
    (lambda x: np.rint(x), [UNSUPPORTED, "np.rint"]),
    (lambda x: np.isnan(x), [UNSUPPORTED, "np.isnan"]),
    (lambda x: scipy.special.gamma(x), [UNSUPPORTED, "gamma"]),
    (lambda x: np.linalg.eig(np.outer(x, x)), [UNSUPPORTED, "np.linalg.eig"]),
    (lambda x: np.fft.fft(x), [UNSUPPORTED, "np.fft.fft"]),
    (lambda x: np.linalg.norm(np.outer(x, x), 2), [UNSUPPORTED, "ord=2"]),
    (lambda x: np.linalg.norm(np.eye(9) * x[0]) + np.linalg.det(np.eye(9) * x[0]), [UNSUPPORTED, "9 rows"]),
    (lambda x: np.linalg.solve(A3 * x[0], x[:2]), ["(3, 3)", "(2,)"]),
    (lambda x: np.linalg.inv(np.outer(x, x[:2])), ["(3, 2)", "square"]),
    (lambda x: np.interp(x, [0, 2, 1], [0, 0, 0]), ["increasing"]),
    (lambda x: np.interp(x, [0, 1], [x[0], x[1]]), [UNSUPPORTED]),
    (lambda x: np.where(x > 0), [UNSUPPORTED]),
    (lambda x: np.add(x, 1, where=[True, False, True]), [UNSUPPORTED, "where="]),
    (lambda x: np.sum(x, dtype=int), ["dtype=int"]),
    (lambda x: round(x[0]), ["np.floor"]),
    (lambda x: 1j * x, ["complex constant", "real"]),
    (lambda x: ~x, ["conditions"]),
    (lambda x: (x[0] > 0) + (x[1] > 0), ["np.logical_or"]),
    (lambda x: x + np.array(["a", "b", "c"]), ["str"]),
    (lambda x: np.max(x[:0]), ["empty"]),
    (lambda x: np.sin(np.array([x[0], None], like=x)), ["before it was assigned"]),
    (writes, ["x.copy()", "x[0] = 1.0"]),
    (lambda x: [1 / 0], ["ZeroDivisionError: division by zero"]),
    (lambda x: [a for a, b in [x]], ["ValueError: too many values to unpack"]),
    (lambda x: x[:2], ["returned 2 values; 3 values expected", "array of 3 numbers"]),
    (lambda x: None, ["returned None", "return"]),
    (lambda x: [x[0], np.nan, 1], ["constant nan as value 1", "finite"]),
    (lambda x: [x[0], 1, np.inf * np.exp(0 * x[0])], ["constant inf as value 2"]),
    (lambda x: {"a": 1}, ["type dict"]),
    (lambda x: [f"{x[0]:.3f}"], ["type str"]),
]


@pytest.mark.parametrize(("function", "parts"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_cannot_be_traced_names_the_role_the_function_the_line_and_the_cure(function, parts):
    with pytest.raises(TraceError) as refused:
        trace(function, [("x", 3)], 3, ROLE)
    message = str(refused.value)
    if function.__name__ == "<lambda>":  # the quoted line holds the expected parts too
        told = re.split(r"`\)", message, maxsplit=1)[-1]
    else:
        told = message
    lines, first = inspect.getsourcelines(function)
    named = [int(word) for word in message.replace(":", " ").replace(")", " ").split("line ")[1].split()[:1]]
    assert message.startswith(f"{ROLE}: function '{function.__name__}' ({__file__}, line ")
    if function is not calls_branch:  # fails in a helper of the same file: the line is the helper's
        assert first <= named[0] < first + len(lines)
    for part in parts:
        assert part in told


def test_the_line_is_the_one_that_failed():
    with pytest.raises(TraceError, match=rf"line {branch.__code__.co_firstlineno + 1}: `if x\[0\] > 0:`"):
        trace(calls_branch, [("x", 3)], 3, ROLE)


def test_a_branch_in_sight_needs_no_lecture_on_object_arrays():
    with pytest.raises(TraceError) as refused:
        trace(branch, [("x", 3)], 3, ROLE)
    assert "np.block" not in str(refused.value)


def test_the_wrong_number_of_outputs_is_explained_in_the_callers_words():
    with pytest.raises(
        TraceError, match=r"returned 2 values; system 'rocket' has 3 states \(h, v, m\)\. Return a list"
    ):
        trace(lambda x: x[:2], [("x", 3)], 3, ROLE, expects="system 'rocket' has 3 states (h, v, m)")
    with pytest.raises(TraceError, match="returned 2 values; 1 value expected. Return one number"):
        trace(lambda x: x[:2], [("x", 3)], None, "running cost")


def test_a_traced_number_kept_from_an_earlier_call_is_found():
    kept = []

    def leaks(x):
        kept.append(x[0])
        return kept[0] * x[1]

    trace(leaks, [("x", 2)], None, ROLE)
    with pytest.raises(TraceError, match="x_0 that does not belong to this call"):
        trace(leaks, [("x", 2)], None, ROLE)


def test_a_compiled_function_is_told_to_give_its_python_code():
    import numba

    @numba.njit
    def compiled(x):
        return x * 2

    with pytest.raises(TraceError, match="py_func"):
        trace(compiled, [("x", 2)], 2, ROLE)


# --------------------------------------------------------------------------------------------------------- first values


@pytest.mark.parametrize(
    ("f", "x", "parts"),
    [
        (
            lambda x: [x[0], np.sqrt(x[0] - 1)],
            [0.5, 0],
            ["b = nan", "square root of a negative number (-0.5)", "x_0-1"],
        ),
        (lambda x: [np.log(x[0]), 1], [0, 0], ["a = -inf", "logarithm of 0", "log(x_0)"]),
        (lambda x: [1, np.log1p(x[0])], [-3, 0], ["b = nan", "logarithm of -2"]),
        (lambda x: [1 / x[1], x[0] / x[1]], [1, 0], ["a = inf", "b = inf", "division by zero", "x = [1., 0.]"]),
        (lambda x: [x[0] ** x[1], 0], [-2, 0.5], ["negative number to a fractional power (-2 to the power 0.5)"]),
        (lambda x: [np.exp(x[0]) - np.exp(x[0] + x[1]), 0], [1e4, 1], ["overflow at", "exp("]),
        (lambda x: [np.arcsin(x[0]), 0], [2, 0], ["outside the domain (2)"]),
        (lambda x: [np.fmod(x[0], x[1]), 0], [2, 0], ["undefined operation at 2, 0"]),
        (lambda x: [np.sqrt(x[0]), np.log(x[1])], [-1, 0], ["negative number (-1)", "; and the logarithm of 0"]),
        (lambda x: [np.minimum(x[0], np.inf) + x[1] * np.inf, 0], [1, 1], ["constant inf in the model"]),
        (lambda x: [x[0], x[1]], [1, np.nan], ["x is not finite"]),
    ],
)
def test_a_first_value_that_is_not_finite_names_the_outputs_the_cause_and_the_inputs(f, x, parts):
    graph = trace(f, [("x", 2)], 2, ROLE)
    with pytest.raises(InputError) as refused:
        check_first_values(graph, [np.array(x, float)], ["a", "b"], ROLE)
    assert str(refused.value).startswith(ROLE)
    for part in parts:
        assert part in str(refused.value)


def test_finite_first_values_pass_and_a_guarded_branch_is_not_blamed():
    guarded = trace(lambda x: [where(x[0] > 0, np.sqrt(x[0]), 0.0), np.log(x[1])], [("x", 2)], 2, ROLE)
    check_first_values(guarded, [[-1.0, 1.0]], ["a", "b"], ROLE)
    with pytest.raises(InputError, match="The cause is the logarithm of 0") as refused:
        check_first_values(guarded, [[-1.0, 0.0]], ["a", "b"], ROLE)
    assert "square root" not in str(refused.value)
