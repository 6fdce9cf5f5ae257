"""A table is SciPy's interpolant on numbers, and the same function in a graph."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline, RectBivariateSpline, RegularGridInterpolator  # type: ignore[import-untyped]

from adjoint.errors import InputError, TraceError
from adjoint.symbolic import Table, trace
from adjoint.symbolic.derivatives import jacobian

SEEDS = st.integers(0, 10_000)
OPTIONS = [(kind, outside) for kind in ("linear", "smooth") for outside in ("extend", "clamp")]
ALWAYS_THE_SAME = settings(max_examples=15, deadline=None, derandomize=True)


def random_nodes(random: np.random.Generator, n: int) -> np.ndarray:
    return np.cumsum(random.uniform(0.2, 1.0, n)) - 1


def close(a, b, scale=1.0):
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11 * scale)


@ALWAYS_THE_SAME
@given(SEEDS, st.integers(4, 12))
def test_smooth_is_the_not_a_knot_spline_also_outside(seed, n):
    random = np.random.default_rng(seed)
    x, y = random_nodes(random, n), random.normal(size=n)
    spline = CubicSpline(x, y)
    v = random.uniform(x[0] - 0.5, x[-1] + 0.5, 50)
    close(Table(x, y, "smooth")(v), spline(v), np.max(np.abs(spline(v))))
    close(Table(x, y, "smooth")(x), y)


@ALWAYS_THE_SAME
@given(SEEDS, st.integers(2, 12))
def test_linear_is_numpys_interp_inside_and_clamped_outside(seed, n):
    random = np.random.default_rng(seed)
    x, y = random_nodes(random, n), random.normal(size=n)
    v = random.uniform(x[0] - 1, x[-1] + 1, 50)
    close(Table(x, y, outside="clamp")(v), np.interp(v, x, y))
    inside = np.clip(v, x[0], x[-1])
    close(Table(x, y)(inside), np.interp(inside, x, y))


def test_extend_continues_the_end_segments_and_clamp_holds_the_end_values():
    line = Table([0.0, 1.0, 3.0], [0.0, 2.0, 3.0])
    close(line([-1.0, 5.0]), [-2.0, 4.0])
    held = Table([0.0, 1.0, 3.0], [0.0, 2.0, 3.0], outside="clamp")
    close(held([-1.0, 5.0]), [0.0, 3.0])
    x = np.linspace(0, 2, 6)
    close(Table(x, x**3, "smooth")([-1.0, 4.0]), [-1.0, 64.0])  # a cubic is reproduced, everywhere
    close(Table(x, x**3, "smooth", outside="clamp")([-1.0, 4.0]), [0.0, 8.0])


@ALWAYS_THE_SAME
@given(SEEDS, st.integers(4, 8), st.integers(4, 8))
def test_two_variables_agree_with_scipy(seed, n, m):
    random = np.random.default_rng(seed)
    x, y, z = random_nodes(random, n), random_nodes(random, m), random.normal(size=(n, m))
    v, w = random.uniform(x[0], x[-1], 40), random.uniform(y[0], y[-1], 40)
    spline = RectBivariateSpline(x, y, z, kx=3, ky=3, s=0)
    close(Table((x, y), z, "smooth")(v, w), spline.ev(v, w), 10 * np.max(np.abs(spline.get_coeffs())))
    close(Table((x, y), z, "linear")(v, w), RegularGridInterpolator((x, y), z)(np.column_stack([v, w])))


def test_two_variables_are_the_tensor_product_of_one_also_outside():
    x, y = np.array([0.0, 1.0, 1.5, 2.5, 3.0]), np.array([0.0, 0.5, 2.0, 3.0])
    for kind, outside in OPTIONS:
        a, b = Table(x, np.sin(x), kind, outside), Table(y, np.cos(y), kind, outside)
        both = Table((x, y), np.outer(np.sin(x), np.cos(y)), kind, outside)
        for v, w in ((0.7, 1.1), (-0.5, 1.1), (0.7, 3.5), (3.5, -0.5)):
            close(both(v, w), a(v) * b(w))


@pytest.mark.parametrize(("kind", "outside"), OPTIONS)
def test_a_graph_has_the_values_and_the_complex_step_derivatives_of_the_table(kind, outside):
    random = np.random.default_rng(3)
    x, y, z = random_nodes(random, 7), random_nodes(random, 6), random.normal(size=(7, 6))
    one, two = Table(x, z[:, 0], kind, outside), Table((x, y), z, kind, outside)
    graph = trace(lambda v: [one(v[0]), two(v[0], v[1])], [("v", 2)], 2, "tables")
    J = jacobian(graph, [0])
    nodes = [np.array([a, b]) for a, b in zip(x[1:-1], y[1:], strict=False)]  # a node belongs to the interval after it
    scattered = [random.uniform([x[0] - 0.5, y[0] - 0.5], [x[-1] + 0.5, y[-1] + 0.5]) for _ in range(30)]
    for v in nodes + scattered:
        close(np.array(graph(v)).ravel(), [one(v[0]), two(*v)])
        expected = [[one(v[0] + 1e-30j).imag, 0], [two(v[0] + 1e-30j, v[1]).imag, two(v[0], v[1] + 1e-30j).imag]]
        close(np.array(J(v)), np.array(expected) / 1e-30, 10)


def test_a_table_works_on_arrays_lists_and_scalars_alike():
    table = Table([0.0, 1.0, 2.0], [1.0, 3.0, 2.0])
    assert isinstance(table(0.5), float) and table(0.5) == 2.0
    assert table(0.5 + 1e-30j).imag == pytest.approx(2e-30)
    close(table(np.array([[0.5], [1.5]])), [[2.0], [2.5]])
    graph = trace(lambda x: [table(x), table([x[0], 1.0])], [("x", 2)], 4, "table")
    close(np.array(graph([0.5, 1.5])).ravel(), [2.0, 2.5, 2.0, 3.0])
    plane = Table(([0.0, 1.0], [0.0, 2.0]), [[0.0, 2.0], [1.0, 3.0]])
    close(plane(np.array([[0.0], [0.5]]), np.array([0.0, 1.0])), [[0.0, 1.0], [0.5, 1.5]])
    graph = trace(lambda x: plane(x, 1.0), [("x", 2)], 2, "table")
    close(np.array(graph([0.0, 0.5])).ravel(), [1.0, 1.5])


def test_nan_in_is_nan_out():
    x = np.arange(5.0)
    for kind, outside in OPTIONS:
        one, two = Table(x, x, kind, outside), Table((x, x), np.outer(x, x), kind, outside)
        graph = trace(lambda v: [one(v[0]), two(v[0], 1.0), two(1.0, v[0])], [("v", 1)], 3, "table")  # noqa: B023
        assert np.all(np.isnan([one(np.nan), two(np.nan, 1.0), two(1.0, np.nan)]))
        assert np.all(np.isnan(np.array(graph(np.nan))))


def test_the_size_of_the_graph_is_linear_in_the_number_of_nodes():
    def size(n, kind):
        x = np.linspace(0, 1, n)
        return trace(lambda v: Table(x, np.sin(x), kind)(v[0]), [("v", 1)], None, "table").n_instructions()

    for kind in ("linear", "smooth"):
        first, second = size(80, kind) - size(40, kind), size(160, kind) - size(80, kind)
        assert abs(second - 2 * first) <= 0.02 * second


def test_a_table_is_pickled():
    x = np.arange(5.0)
    table = Table((x, x), np.outer(np.sin(x), x), "smooth", "clamp")
    assert pickle.loads(pickle.dumps(table))(1.3, 9.0) == table(1.3, 9.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 2, 1], [0, 0, 0]), r"nodes x must increase, but x\[1\] = 2 is followed by 1. Sort"),
        (([0, 1, 1], [0, 0, 0]), "must increase"),
        ((([0, 1], [1, 0]), np.zeros((2, 2))), "nodes y must increase"),
        (([0, 1, 2], [0, np.nan, 0]), r"values\[1\] of the table is nan"),
        (([0, np.inf], [0, 0]), r"nodes x\[1\] of the table is inf"),
        (([0, 1, 2], [0, 0]), r"shape \(2,\); the nodes ask for shape \(3,\)"),
        ((([0, 1, 2], [0, 1]), np.zeros((2, 3))), r"shape \(2, 3\); the nodes ask for shape \(3, 2\)"),
        (([0], [0]), "at least 2"),
        (([0, 1, 2], [0, 0, 0], "smooth"), "at least 4.*Use kind='linear'"),
        (([0, 1], [0, 1], "cubic"), "kind='linear' or kind='smooth'"),
        (([0, 1], [0, 1], "linear", "hold"), "outside='extend' or outside='clamp'"),
        (([0, 1], ["a", "b"]), "must be real numbers"),
        (([0, 1], [0, 1j]), "must be real numbers"),
    ],
)
def test_bad_tables_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Table(*arguments)


def test_the_wrong_number_of_arguments_is_refused():
    table = Table([0.0, 1.0], [0.0, 1.0])
    with pytest.raises(InputError, match=r"Table\(\[0, 1\].*called with 2 arguments; it has 1"):
        table(0.1, 0.2)
    with pytest.raises(TraceError, match="it has 1"):
        trace(lambda x: table(x[0], x[1]), [("x", 2)], None, "table")
