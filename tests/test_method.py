"""Methods are data; their order is seen in the slope of the error and in the order conditions."""

import pickle

import numpy as np
import pytest

from adjoint.errors import InputError
from adjoint.method import BS3, DOP853, DOPRI5, EXPLICIT, RK4, TSIT5, Method, gauss, method, radau

COLLOCATION = [family(s) for family in (gauss, radau) for s in range(1, 6)]
PARTNERS = [Method(f"{m.name}_hat", m.A, m.b_hat, m.c, m.order_hat) for m in (BS3, DOPRI5, TSIT5, DOP853)]
PARTNERS.append(Method("dop853_guard", DOP853.A, DOP853.b_guard, DOP853.c, 3))
END = 1.5


def f(t, x):
    """Nonlinear, with time in it, and so smooth that the first term of the error rules even at order 10."""
    return np.array([x[0] * (2 - x[0]), x[0] * x[1] / (1 + t)])


def integrate(m, steps):
    """The tableau applied as its definition says; implicit stages by fixed-point iteration."""
    h, x = END / steps, np.array([0.7, -0.4])
    for k in range(steps):
        K = np.zeros((m.stages, 2))
        for _ in range(m.stages if m.explicit else 60):
            K = np.array([f(k * h + c * h, x + h * (row @ K)) for c, row in zip(m.c, m.A, strict=True)])
        x = x + h * (m.b @ K)
    return x


EXACT = integrate(gauss(5), 24)


@pytest.mark.parametrize("m", [*EXPLICIT, *PARTNERS, *COLLOCATION], ids=lambda m: m.name)
def test_the_error_falls_with_the_order_of_the_method(m):
    coarse = {1: 256, 2: 128, 3: 64, 4: 24, 5: 16, 6: 8, 7: 8, 8: 6, 9: 4, 10: 3}[m.order]
    if m is TSIT5:  # its terms of order 6 are larger than those of order 5 until the steps are short
        coarse = 48
    steps = np.array([coarse, round(1.5 * coarse), 2 * coarse])
    errors = [np.linalg.norm(integrate(m, int(N)) - EXACT) for N in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert errors[-1] > 1e-14, "the error has reached round-off and its slope tells nothing"
    assert abs(slope - m.order) < (0.1 if m.order <= 4 else 0.3), (slope, errors)


def test_the_reference_is_converged():
    assert np.abs(EXACT - integrate(gauss(5), 16)).max() < 2e-15


@pytest.mark.parametrize("m", [*EXPLICIT, *PARTNERS, *COLLOCATION], ids=lambda m: m.name)
def test_quadrature_conditions_hold_to_the_order(m):
    for q in range(1, m.order + 1):  # B(p): sum b c^(q-1) = 1/q
        assert m.b @ m.c ** (q - 1) == pytest.approx(1 / q, abs=3e-15)


@pytest.mark.parametrize("m", COLLOCATION, ids=lambda m: m.name)
def test_collocation_conditions(m):
    for q in range(1, m.stages + 1):  # C(s): A c^(q-1) = c^q / q
        assert m.A @ m.c ** (q - 1) == pytest.approx(m.c**q / q, abs=5e-16)
    assert m.b @ m.c**m.order != pytest.approx(1 / (m.order + 1), abs=1e-9)  # and the order is not higher than it says


def test_gauss_is_symplectic_and_radau_stiffly_accurate():
    for s in range(1, 6):
        m = gauss(s)
        M = m.b[:, None] * m.A + m.b * m.A.T - np.outer(m.b, m.b)
        assert np.abs(M).max() < 1e-15
        r = radau(s)
        assert r.c[-1] == 1.0
        assert r.A[-1] == pytest.approx(r.b, abs=3e-16)


def test_known_nodes():
    assert gauss(2).c == pytest.approx([0.5 - 3**0.5 / 6, 0.5 + 3**0.5 / 6], abs=2e-16)
    assert radau(3).c == pytest.approx([(4 - 6**0.5) / 10, (4 + 6**0.5) / 10, 1], abs=2e-16)


def test_dop853_is_the_published_method():
    # Sums that mix all entries of a row: a digit lost anywhere in the table would show.
    from scipy.integrate import DOP853 as reference

    assert np.abs(DOP853.A - reference.A[:12, :12]).max() < 1e-14
    assert np.abs(DOP853.b - reference.B).max() < 1e-15
    assert np.abs(DOP853.b - DOP853.b_hat - reference.E5[:12]).max() < 1e-14
    assert np.abs(DOP853.b - DOP853.b_guard - reference.E3[:12]).max() < 1e-14


@pytest.mark.parametrize("m", [*EXPLICIT, gauss(3), radau(2)], ids=lambda m: m.name)
def test_lookup_by_name(m):
    assert method(m.name) == m


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rk5", "Did you mean rk4"),
        ("gaus3", "gauss3"),
        ("zzz", "Known: euler"),
        ("gauss9", "integer from 1 to 5"),
        ("radau0", "integer from 1 to 5"),
    ],
)
def test_an_unknown_name_gets_help(name, words):
    with pytest.raises(InputError, match=words):
        method(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(b=[0.5, 0.4]), "sum to 0.9"),
        (dict(c=[0, 0.5]), r"c = A 1"),
        (dict(A=[[0, 0]]), r"shapes \(1, 2\)"),
        (dict(A=[[0.5, 0.5], [0.5, 0.5]], c=[1, 1]), "strictly lower triangular"),
        (dict(kind="implicit"), "'explicit', 'collocation' or 'rosenbrock'"),
        (dict(kind="rosenbrock"), "has a Gamma"),
        (dict(Gamma=[[1, 0], [0, 1]]), "has a Gamma"),
        (dict(kind="rosenbrock", Gamma=[[1, 0], [0, 2]]), "one number on the diagonal"),
        (dict(b_hat=[1.0], order_hat=1), r"\(2,\), one per stage"),
        (dict(b_hat=[1.0, 0.0]), "together"),
        (dict(order_hat=1), "together"),
    ],
)
def test_a_tableau_that_is_none_is_refused(change, words):
    heun = dict(name="mine", A=[[0, 0], [1, 0]], b=[0.5, 0.5], c=[0, 1], order=2)
    assert Method(**heun).stages == 2
    with pytest.raises(InputError, match=words):
        Method(**(heun | change))


def test_methods_are_immutable_values():
    with pytest.raises(ValueError, match="read-only"):
        RK4.b[0] = 1
    with pytest.raises(AttributeError):
        RK4.order = 5
    copy = pickle.loads(pickle.dumps(RK4))
    assert copy == RK4
    assert hash(copy) == hash(RK4)
    assert RK4 != DOPRI5
    assert repr(RK4) == "Method('rk4', explicit, stages=4, order=4)"
