"""The step of a Runge–Kutta method as a graph."""

import casadi as ca
import numpy as np
import pytest

from adjoint.errors import InputError
from adjoint.method import DOPRI5, EXPLICIT, gauss
from adjoint.symbolic.steps import explicit_step

T, X, U, P = ca.SX.sym("t"), ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p")
RHS = ca.Function("rhs", [T, X, U, P], [ca.vertcat(X[1] * ca.cos(T), U - P * ca.sin(X[0]) + T * X[1])])
AT = (0.4, 0.3, [1.0, -0.5], 0.7, 2.0)


def value(step, t, h, x, u, p):
    return np.array(step(t, h, x, u, p)).ravel()


@pytest.mark.parametrize("m", EXPLICIT, ids=lambda m: m.name)
def test_substeps_are_steps_one_after_the_other(m):
    t, h, x, u, p = AT
    single, together = explicit_step(RHS, m.A, m.b, m.c), explicit_step(RHS, m.A, m.b, m.c, substeps=3)
    for r in range(3):
        x = value(single, t + r * (h / 3), h / 3, x, u, p)
    assert value(together, *AT) == pytest.approx(x, rel=1e-15)


def test_a_step_of_length_zero_stays():
    step = explicit_step(RHS, DOPRI5.A, DOPRI5.b, DOPRI5.c)
    assert value(step, 0.4, 0.0, [1.0, -0.5], 0.7, 2.0).tolist() == [1.0, -0.5]


def test_a_stage_without_weight_is_not_in_the_graph():
    graph = explicit_step(RHS, DOPRI5.A, DOPRI5.b, DOPRI5.c)
    sines = [graph.instruction_id(i) for i in range(graph.n_instructions())].count(ca.OP_SIN)
    assert sines == 6  # of seven stages


def test_what_cannot_be_stepped_is_refused():
    with pytest.raises(InputError, match="not strictly lower triangular"):
        explicit_step(RHS, gauss(2).A, gauss(2).b, gauss(2).c)
    for substeps in (0, 1.5):
        with pytest.raises(InputError, match=f"substeps is {substeps}"):
            explicit_step(RHS, DOPRI5.A, DOPRI5.b, DOPRI5.c, substeps)
