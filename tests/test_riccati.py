"""The linear algebra of the solver on random stage-structured programmes, against dense matrices.

The oracle shares nothing with the code under test but the formulas: it evaluates the rows and their derivatives with
CasADi, stage by stage, assembles the whole KKT matrix densely, and lets NumPy solve it and count its eigenvalues.

    [ Wf  G' ] [ dw ]     [ rw ]        G: the linearised F - x_{k+1} and c
    [ G   0  ] [ dY ]  = -[ rR ]        Wf = H + diag(sigma + delta_w) + h_w' D h_w

With `soft` = omega > 0 the lower right block of the dynamics rows is -I / omega: their violation y costs
omega |y|^2 / 2; the local unknowns then count as controls and their rows as path rows.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import casadi as ca
import numpy as np
import pytest

from adjoint.control.structure import Group, Programme, compile_groups, programme
from adjoint.kernels.records import S_KIND, S_TARGET, Stages
from adjoint.kernels.riccati import factorize, hessian_product, solve
from adjoint.kernels.stages import (
    COST,
    DYNAMICS,
    EQUALITY,
    INEQUALITY,
    LOCAL,
    evaluate_hessian,
    evaluate_jacobian,
    evaluate_rows,
    jacobian_product,
    jacobian_transposed_product,
)
from adjoint.native import lane_width

# (n, m, e, r, number of stages) of each group. A group of several stages is followed by one with as many states.
PROGRAMMES = {
    "shooting": [(0, 3, 0, 1, 1), (3, 2, 0, 0, 11), (3, 0, 0, 2, 1)],
    "collocation": [(0, 2, 0, 0, 1), (2, 3, 4, 1, 5), (2, 0, 0, 1, 1)],
    "sizes change": [(0, 4, 1, 1, 1), (3, 0, 2, 0, 1), (1, 2, 0, 2, 1), (5, 1, 3, 3, 1), (2, 2, 1, 0, 1)],
    "one stage": [(0, 3, 2, 1, 1)],
    "one of all": [(0, 1, 0, 0, 1), (1, 1, 1, 1, 3), (1, 0, 0, 0, 1)],
    "no controls on the way": [(0, 2, 0, 0, 1), (2, 0, 0, 1, 4), (2, 0, 2, 0, 1)],
    "more rows than lanes of unknowns": [(0, 2, 0, 6, 1), (2, 1, 0, 7, 2), (2, 1, 0, 5, 1)],
    "several groups of many": [
        (0, 2, 0, 1, 1),
        (2, 1, 1, 0, 9),
        (2, 2, 0, 1, 8),
        (2, 1, 2, 2, 1),
        (4, 1, 0, 0, 3),
        (4, 0, 0, 1, 1),
    ],
}

N_DATA, N_CONSTANTS = 2, 2


def random_group(generator: np.random.Generator, n: int, m: int, e: int, r: int, n_next: int) -> Group:
    """Sparse nonlinear rows. Constants: (coupling, curvature of the cost)."""
    nw = n + m + e
    w, d, c = ca.SX.sym("w", nw), ca.SX.sym("d", N_DATA), ca.SX.sym("c", N_CONSTANTS)

    def linear() -> ca.SX:
        coefficients = generator.standard_normal(nw) * (generator.random(nw) < 0.6)
        return ca.dot(ca.DM(coefficients), w)

    def curved() -> ca.SX:
        return linear() + d[0] * ca.sin(linear() + d[1]) + 0.2 * c[0] * linear() * linear()

    rows = [curved() for _ in range(n_next)]
    rows += [0.2 * curved() + 4 * w[n + m + i] for i in range(e)]
    rows += [curved() for _ in range(r)]
    root = generator.standard_normal((nw, nw))
    cost = ca.bilin(ca.DM(0.2 * root @ root.T), w, w) / 2 + c[1] * ca.sumsqr(w) / 2 + 0.1 * curved()
    return Group(n, m, e, r, w, d, c, ca.vertcat(*rows, cost))


@dataclass
class Oracle:
    """One programme at one point: the solver's records and the dense matrices of the same."""

    layout: Programme
    stages: Stages
    w: np.ndarray
    Y: np.ndarray
    rows: np.ndarray  # scaled
    J: np.ndarray  # (rows, unknowns), with -1 at x_{k+1}
    H: np.ndarray  # of Y'R
    fixed: np.ndarray  # controls with equal bounds
    sigma: np.ndarray
    D: np.ndarray
    soft: float
    generator: np.random.Generator

    @property
    def kind(self) -> np.ndarray:
        return self.stages.row_kind[S_KIND]

    @property
    def hard(self) -> np.ndarray:
        """The rows that have a multiplier in the linear system."""
        return np.isin(self.kind, (DYNAMICS,) if self.soft else (DYNAMICS, LOCAL))

    def nonzeros(self) -> tuple[np.ndarray, np.ndarray]:
        """J and H as the kernels store them."""
        J, H = np.zeros(int(self.layout.layout["oj"][-1])), np.zeros(int(self.layout.layout["oh"][-1]))
        assert evaluate_jacobian(self.stages, self.w, J)
        assert evaluate_hessian(self.stages, self.w, self.Y, H)
        return J, H

    def weighted(self, delta_w: float) -> np.ndarray:
        """Wf."""
        path = ~self.hard & (self.kind != COST)
        h = self.J[path]
        return self.H + np.diag(self.sigma + delta_w) + h.T @ (self.D[path, None] * h)

    def dense(self, delta_w: float) -> np.ndarray:
        """The matrix of the free unknowns and the hard rows."""
        free = ~self.fixed
        G = self.J[np.ix_(self.hard, free)]
        corner = -np.eye(G.shape[0]) / self.soft if self.soft else np.zeros((G.shape[0], G.shape[0]))
        return np.block([[self.weighted(delta_w)[np.ix_(free, free)], G.T], [G, corner]])


@functools.cache
def compiled(name: str, seed: int):
    """Machine code of a programme, and CasADi's functions (rows, Jacobian, Hessian) of each group."""
    generator = np.random.default_rng(seed)
    shapes = PROGRAMMES[name]
    groups = [
        random_group(generator, n, m, e, r, shapes[i + 1][0] if i + 1 < len(shapes) else 0)
        for i, (n, m, e, r, _) in enumerate(shapes)
    ]
    functions = []
    for group in groups:
        y = ca.SX.sym("y", group.rows.shape[0])
        inputs = [group.w, group.d, group.c]
        functions.append(
            (
                ca.Function("rows", inputs, [group.rows]),
                ca.Function("jacobian", inputs, [ca.jacobian(group.rows, group.w)]),
                ca.Function("hessian", [*inputs, y], [ca.hessian(ca.dot(y, group.rows), group.w)[0]]),
            )
        )
    return compile_groups(groups), functions


def oracle(name: str, seed: int, *, curvature: float = 3.0, fix: bool = True, soft: float = 0.0) -> Oracle:
    generator = np.random.default_rng((seed, 1))
    shapes = PROGRAMMES[name]
    parts, functions = compiled(name, seed)
    layout = programme(parts, tuple(count for *_, count in shapes))
    size, rows, stages_total = layout.n_unknowns, layout.n_rows, sum(count for *_, count in shapes)
    data, constants = generator.uniform(0.2, 1.0, (stages_total, N_DATA)), np.array([0.7, curvature])
    scale, row_scale = generator.uniform(0.5, 2.0, size), generator.uniform(0.5, 2.0, rows)
    row_lower = np.where(generator.random(rows) < 0.5, 0.0, -1.0)
    w, Y = generator.standard_normal(size), generator.standard_normal(rows)

    # the test's own walk over the stages
    lower, upper, fixed = np.full(size, -1.0), np.ones(size), np.zeros(size, bool)
    Y[layout.layout["orow"][1:] - 1] = 1.0  # of the cost rows: minimised
    R, J, H = np.zeros(rows), np.zeros((rows, size)), np.zeros((size, size))
    kinds = np.zeros(rows, int)
    order = [g for g, (*_, count) in enumerate(shapes) for _ in range(count)]
    ow = orow = 0
    for k, g in enumerate(order):
        n, m, e, r, _ = shapes[g]
        n_next = shapes[order[k + 1]][0] if k + 1 < len(order) else 0
        rows_of, jacobian_of, hessian_of = functions[g]
        at = slice(ow, ow + n + m + e)
        q = slice(orow, orow + n_next + e + r + 1)
        kinds[q] = [DYNAMICS] * n_next + [LOCAL] * e + [INEQUALITY] * r + [COST]
        point = (w[at] * scale[at], data[k], constants)
        R[q] = rows_of(*point).full().ravel() * row_scale[q]
        J[q, at] = row_scale[q, None] * jacobian_of(*point).full() * scale[at]
        H[at, at] = scale[at, None] * hessian_of(*point, Y[q] * row_scale[q]).full() * scale[at]
        J[np.arange(orow, orow + n_next), np.arange(at.stop, at.stop + n_next)] -= 1.0
        if fix:
            fixed[ow + n : ow + n + m] = generator.random(m) < 0.3
        ow, orow = at.stop, q.stop
    assert (ow, orow) == (size, rows)
    fixed[0] = False
    lower[fixed] = upper[fixed] = 0.25
    kinds[(kinds == INEQUALITY) & (row_lower == 0.0)] = EQUALITY
    stages = layout.stages(
        lower=lower,
        upper=upper,
        row_lower=row_lower,
        row_upper=np.zeros(rows),
        scale=scale,
        row_scale=row_scale,
        data=data,
        constants=constants,
    )
    np.testing.assert_array_equal(stages.row_kind[S_KIND], kinds)
    if soft:
        stages = layout.softened(stages)
    path = np.isin(kinds, (EQUALITY, INEQUALITY, LOCAL) if soft else (EQUALITY, INEQUALITY))
    # some weights are zero: an inequality without finite bounds
    D = np.where(path, generator.uniform(0.1, 10.0, rows) * (generator.random(rows) < 0.9), 0.0)
    return Oracle(layout, stages, w, Y, R, J, H, fixed, generator.uniform(0.1, 2.0, size), D, soft, generator)


ALL = pytest.mark.parametrize("name", PROGRAMMES)
SEEDS = pytest.mark.parametrize("seed", [0, 1])


@ALL
@SEEDS
def test_the_functions_and_their_derivatives_are_casadis(name, seed):
    o = oracle(name, seed)
    rows = np.full(o.layout.n_rows, np.nan)
    assert evaluate_rows(o.stages, o.w, rows)
    np.testing.assert_allclose(rows, o.rows, rtol=1e-12, atol=1e-12)
    # the nonzeros are tested through products with all unit vectors
    J, H = o.nonzeros()
    size, count = o.layout.n_unknowns, o.layout.n_rows
    forward, backward, hessian = np.empty((count, size)), np.empty((count, size)), np.empty((size, size))
    zero, no_rows = np.zeros(size), np.zeros(count)
    for i, unit in enumerate(np.eye(size)):
        out, product = np.empty(count), np.empty(size)
        jacobian_product(o.stages, J, unit, out)
        hessian_product(o.stages, J, H, zero, no_rows, 0.0, unit, product)
        forward[:, i], hessian[:, i] = out, product
    for i, unit in enumerate(np.eye(count)):
        out = np.empty(size)
        jacobian_transposed_product(o.stages, J, unit, out)
        backward[i] = out
    np.testing.assert_allclose(forward, o.J, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(backward, o.J, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(hessian, o.H, rtol=1e-11, atol=1e-11)


@ALL
def test_the_weighted_hessian_product_is_dense(name):
    o = oracle(name, 2)
    J, H = o.nonzeros()
    v, out = o.generator.standard_normal(o.layout.n_unknowns), np.empty(o.layout.n_unknowns)
    hessian_product(o.stages, J, H, o.sigma, o.D, 0.3, v, out)
    np.testing.assert_allclose(out, o.weighted(0.3) @ v, rtol=1e-11, atol=1e-11)


@ALL
@SEEDS
@pytest.mark.parametrize("soft", [0.0, 1.0, 0.2], ids=["hard", "soft", "softer"])
@pytest.mark.parametrize("delta_w", [0.0, 0.8])
@pytest.mark.parametrize("fix", [False, True], ids=["all free", "some fixed"])
def test_the_step_is_the_dense_one(name, seed, soft, delta_w, fix):
    o = oracle(name, seed, curvature=20.0, fix=fix, soft=soft)
    J, H = o.nonzeros()
    X = o.layout.factors(softened=soft > 0)
    size, count = o.layout.n_unknowns, o.layout.n_rows
    assert factorize(o.stages, J, H, o.sigma, o.D, delta_w, soft, X) == -1
    for _ in range(2):  # the second time with the same factors
        rw, rR = o.generator.standard_normal(size), o.generator.standard_normal(count)
        dw, dY = np.full(size, np.nan), np.full(count, np.nan)
        solve(o.stages, J, H, o.sigma, o.D, delta_w, soft, X, rw, rR, dw, dY, np.empty(size), np.empty(size))
        expected = np.linalg.solve(o.dense(delta_w), -np.concatenate([rw[~o.fixed], rR[o.hard]]))
        found = np.concatenate([dw[~o.fixed], dY[o.hard]])
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())
        assert np.all(dw[o.fixed] == 0)


@ALL
@pytest.mark.parametrize("soft", [0.0, 1.0, 0.2], ids=["hard", "soft", "softer"])
def test_the_verdict_on_curvature_is_the_inertia_of_the_dense_matrix(name, soft):
    verdicts = set()
    for curvature in np.linspace(-30, 20, 9):
        o = oracle(name, 3, curvature=float(curvature), soft=soft)
        J, H = o.nonzeros()
        for delta_w in (0.0, 5.0):
            values = np.linalg.eigvalsh(o.dense(delta_w))
            minimiser = np.sum(values < 0) == np.sum(o.hard) and np.sum(values > 0) == np.sum(~o.fixed)
            stage = factorize(o.stages, J, H, o.sigma, o.D, delta_w, soft, o.layout.factors(softened=soft > 0))
            assert -1 <= stage < o.stages.data.shape[0]
            assert (stage == -1) == minimiser, (curvature, delta_w, stage)
            verdicts.add(minimiser)
    assert verdicts == {True, False}


def test_a_singular_local_block_is_reported_with_its_stage():
    o = oracle("collocation", 0)
    J, H = o.nonzeros()
    layout = o.layout.layout
    for stage in (1, 4):  # erase one local row of one stage: rows 2, 3, 4, 5 are local
        pointers = layout["jptr"][layout["ojptr"][1] :]
        begin = int(layout["oj"][stage])
        broken = J.copy()
        broken[begin + pointers[3] : begin + pointers[4]] = 0.0
        assert factorize(o.stages, broken, H, o.sigma, o.D, 0.0, 0.0, o.layout.factors()) == stage


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_noticed_wherever_it_appears(bad):
    o = oracle("several groups of many", 0)
    J, H, rows = *o.nonzeros(), np.empty(o.layout.n_rows)
    for i in range(0, o.layout.n_unknowns, 5):
        w = o.w.copy()
        w[i] = bad
        finite = np.all(np.isfinite(o.J[:, i])) and not np.any(o.J[:, i])
        assert evaluate_rows(o.stages, w, rows) == finite
        assert evaluate_rows(o.stages, w, rows) == bool(np.all(np.isfinite(rows)))
        assert evaluate_jacobian(o.stages, w, J) == bool(np.all(np.isfinite(J)))
        assert evaluate_hessian(o.stages, w, o.Y, H) == bool(np.all(np.isfinite(H)))
    assert evaluate_rows(o.stages, o.w, rows)


def test_dynamics_rows_point_at_the_states_of_the_next_stage():
    for name in PROGRAMMES:
        o = oracle(name, 0)
        rows, columns = np.nonzero((o.kind == DYNAMICS)[:, None] & (o.J == -1.0))
        target = o.stages.row_kind[S_TARGET]
        assert np.all(target[rows] == columns)
        assert np.all((target >= 0) == (o.kind == DYNAMICS))


def test_a_linear_programme_with_a_quadratic_cost_is_recognised():
    x, u, d, c = (ca.SX.sym(name, size) for name, size in (("x", 1), ("u", 1), ("d", N_DATA), ("c", N_CONSTANTS)))
    end = Group(1, 0, 0, 0, x, d, c, x**2)

    def quadratic(first: Group) -> bool:
        return compile_groups([first, end]).quadratic

    assert quadratic(Group(0, 1, 0, 0, u, d, c, ca.vertcat(2 * u + d[0], c[0] * u**2)))
    assert not quadratic(Group(0, 1, 0, 0, u, d, c, ca.vertcat(2 * u + u**2, u**2)))
    assert not quadratic(Group(0, 1, 0, 0, u, d, c, ca.vertcat(2 * u, u**3)))
    assert lane_width() in (2, 4, 8)
