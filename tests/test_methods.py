"""Of a method: stability function, intervals, order conditions, A-, L-, B-stability, monotonicity."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import polynomial as npp

import adjoint
from adjoint.analysis import method_stability, order_conditions, stability_function
from adjoint.analysis.methods_trees import trees, verified_order
from adjoint.analysis.regions_polynomials import first_negative, multiply, polynomial, stable
from adjoint.errors import InputError
from adjoint.method import (
    BS3,
    DOP853,
    DOPRI5,
    EULER,
    EXPLICIT,
    HEUN,
    MIDPOINT,
    RALSTON,
    RK4,
    RODAS5P,
    TSIT5,
    Method,
    gauss,
    radau,
)

COLLOCATION = [family(s) for family in (gauss, radau) for s in range(1, 6)]
ALL = [*EXPLICIT, *COLLOCATION]
# Textbook tableaux that are not in the library.
SSP3 = Method("ssp3", [[0, 0, 0], [1, 0, 0], [1 / 4, 1 / 4, 0]], [1 / 6, 1 / 6, 2 / 3], [0, 1, 1 / 2], 3)
KUTTA38 = Method("kutta38", [[0] * 4, [1 / 3, 0, 0, 0], [-1 / 3, 1, 0, 0], [1, -1, 1, 0]],
                 [1 / 8, 3 / 8, 3 / 8, 1 / 8], [0, 1 / 3, 2 / 3, 1], 4)
TRAPEZOID = Method("trapezoid", [[0, 0], [1 / 2, 1 / 2]], [1 / 2, 1 / 2], [0, 1], 2, "collocation")
LOBATTO_IIIC = Method("lobatto3c", [[1 / 2, -1 / 2], [1 / 2, 1 / 2]], [1 / 2, 1 / 2], [0, 1], 2, "collocation")


def sdirk(gamma):
    return Method("sdirk2", [[gamma, 0], [1 - gamma, gamma]], [1 - gamma, gamma], [gamma, 1], 2, "collocation")


ids = lambda m: m.name  # noqa: E731


@pytest.mark.parametrize("m", [*ALL, TRAPEZOID, LOBATTO_IIIC, sdirk(1 - 0.5**0.5)], ids=ids)
def test_the_function_is_what_one_step_of_the_tableau_does(m):
    R = stability_function(m)
    for z in (-0.7 + 0.4j, 1.3j, -3.0, 0.2):
        direct = 1 + z * m.b @ np.linalg.solve(np.eye(m.stages) - z * m.A, np.ones(m.stages))
        assert abs(R(z) - direct) < 1e-12 * max(1, abs(direct))
        assert abs(R.modulus(z) - abs(direct)) < 1e-12 * max(1, abs(direct))


@pytest.mark.parametrize("m", ALL, ids=ids)
def test_it_is_exp_up_to_the_order_and_no_further(m):
    R = stability_function(m)
    assert R.order == m.order
    radius = 0.1 if m.order < 5 else 2.0
    z = radius * np.exp(2j * np.pi * np.arange(64) / 64)
    term = np.fft.fft((np.exp(z) - R(z)) / z ** (m.order + 1))[0].real / 64  # the mean over a circle is the value at 0
    assert term == pytest.approx(R.error_constant, rel=1e-6, abs=1e-16)


def test_gauss_and_radau_are_pade_approximants():
    def pade(j, k):  # degree j over degree k: closed form of the coefficients
        def coefficients(a, b, sign):
            return [Fraction(sign**i * math.factorial(a + b - i) * math.factorial(a),
                             math.factorial(a + b) * math.factorial(i) * math.factorial(a - i)) for i in range(a + 1)]
        return tuple(coefficients(j, k, 1)), tuple(coefficients(k, j, -1))

    for s in range(1, 6):
        for m, degrees in ((gauss(s), (s, s)), (radau(s), (s - 1, s))):
            R = stability_function(m)
            assert (R.numerator, R.denominator) == pade(*degrees)


# Published: card E16, and Hairer & Wanner II, IV.2 (the intervals of the pairs are recomputed below from the tableau).
@pytest.mark.parametrize(
    ("m", "real", "imaginary"),
    [
        (EULER, 2, 0), (MIDPOINT, 2, 0), (HEUN, 2, 0), (RALSTON, 2, 0),
        (BS3, 2.512745, 1.732051), (SSP3, 2.512745, 1.732051), (RK4, 2.785294, 2.828427), (KUTTA38, 2.785294, 2.828427),
        (gauss(1), math.inf, math.inf), (gauss(3), math.inf, math.inf), (radau(2), math.inf, math.inf),
        (radau(5), math.inf, math.inf), (TRAPEZOID, math.inf, math.inf),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_published_intervals(m, real, imaginary):
    R = stability_function(m)
    assert R.real_interval == pytest.approx(real, abs=5e-7)
    assert R.imaginary_interval == pytest.approx(imaginary, abs=5e-7)


def test_closed_forms_of_the_intervals():
    assert stability_function(RK4).imaginary_interval == pytest.approx(8**0.5, rel=2e-16)
    assert stability_function(BS3).imaginary_interval == pytest.approx(3**0.5, rel=2e-16)
    x = stability_function(BS3).real_interval
    assert abs(1 - x + x**2 / 2 - x**3 / 6 + 1) < 1e-14  # R(-x) = -1


@pytest.mark.parametrize("m", EXPLICIT, ids=ids)
def test_the_intervals_by_scanning_the_tableau_itself(m):
    R = stability_function(m)

    def factor(z):  # the step of x' = zx, stage by stage
        K = np.zeros(m.stages, complex)
        for i in range(m.stages):
            K[i] = z * (1 + m.A[i, :i] @ K[:i])
        return abs(1 + m.b @ K)

    for end, direction in ((R.real_interval, -1), (R.imaginary_interval, 1j)):
        inside = np.linspace(0, end, 400)[1:-1] * (1 - 1e-9)
        assert max((factor(direction * r) for r in inside), default=0) <= 1 + 2e-15
        assert factor(direction * (end + 1e-3)) > 1


@pytest.mark.parametrize("m", [EULER, RK4, DOPRI5, TSIT5, DOP853], ids=ids)
def test_rays_end_where_the_modulus_passes_one(m):
    R = stability_function(m)
    theta = np.linspace(np.pi / 2 + 1e-4, np.pi, 50)
    r = R.ray_limits(theta)
    assert r[-1] == pytest.approx(R.real_interval, rel=1e-9)
    scan = np.linspace(0, 1, 1001)[1:] * r[:, None]
    assert R.modulus(scan[:, :-1] * np.exp(1j * theta[:, None])).max() <= 1 + 1e-13
    assert R.modulus(r * np.exp(1j * theta)) == pytest.approx(np.ones(50), abs=1e-9)
    assert (R.modulus(1.001 * r * np.exp(1j * theta)) > 1).all()


@given(st.lists(st.tuples(st.floats(-6, 3), st.floats(-6, 6)), min_size=1, max_size=600))
@settings(max_examples=25)
def test_the_compiled_modulus_is_that_of_numpy(points):
    z = np.array([complex(*p) for p in points])
    for m in (RK4, gauss(2)):
        R = stability_function(m)
        with np.errstate(all="ignore"):
            assert R.modulus(z) == pytest.approx(np.abs(R(z)), rel=1e-12)


def test_a_pole_is_infinite_and_shapes_are_kept():
    R = stability_function(radau(1))
    assert R.modulus(1.0) == math.inf
    assert R.modulus(np.zeros((3, 4))).shape == (3, 4)
    assert R.modulus(-1.0).shape == ()
    assert R.poles == pytest.approx([1.0])


# -- A-, L-, B-stability


@pytest.mark.parametrize("s", range(1, 6))
def test_gauss_and_radau_are_what_the_books_say(s):
    g, r = method_stability(gauss(s)), method_stability(radau(s))
    assert g.R.A_stable and not g.R.L_stable and g.R.at_infinity == 1 and g.algebraic and g.symplectic
    assert r.R.A_stable and r.R.L_stable and r.R.at_infinity == 0 and r.algebraic and not r.symplectic
    assert r.stiffly_accurate and not g.stiffly_accurate


def test_no_explicit_method_is_a_stable_and_these_implicit_ones_are():
    for m in EXPLICIT:
        about = method_stability(m)
        assert not (about.R.A_stable or about.R.L_stable or about.algebraic or about.symplectic)
    assert stability_function(LOBATTO_IIIC).L_stable and method_stability(LOBATTO_IIIC).algebraic
    assert stability_function(TRAPEZOID).A_stable and not method_stability(TRAPEZOID).algebraic  # A-, not B-stable


@pytest.mark.parametrize("gamma", [0.2, 0.24, 0.2499, 0.26, 0.3, 0.5, 0.9])
def test_sdirk_is_a_stable_from_a_quarter_on(gamma):
    # Two-stage SDIRK of order 1 or 2 with γ on the diagonal: E(y) = y⁴ ((…)) >= 0 iff γ >= 1/4 (Hairer & Wanner IV.6).
    m = Method("sdirk", [[gamma, 0], [1 - 2 * gamma, gamma]], [1 / 2, 1 / 2], [gamma, 1 - gamma], 2, "collocation")
    assert stability_function(m).A_stable == (gamma >= 0.25)


def test_the_l_stable_sdirk_has_an_irrational_coefficient():
    about = method_stability(sdirk(1 - 0.5**0.5))
    assert about.R.L_stable and about.order == 2 and about.stiffly_accurate
    assert not stability_function(sdirk(0.3)).L_stable or stability_function(sdirk(0.3)).order == 1


def test_b_stability_is_seen_in_a_step():
    """A nonlinear, one-sided Lipschitz system with constant 0: distances shrink under radau2, and not under RK4."""
    from scipy.optimize import fsolve

    def f(x):
        return -(x**3) - 20 * x

    def step(m, x, h):
        X = fsolve(lambda X: X - x - h * m.A @ f(X), np.full(m.stages, x), xtol=1e-13)
        return x + h * m.b @ f(X)

    h = 1.0
    for m in (radau(2), gauss(2)):
        assert abs(step(m, 1.0, h) - step(m, -0.5, h)) <= 1.5
    explicit = []
    for x in (1.0, -0.5):
        K = np.zeros(4)
        for i in range(4):
            K[i] = f(x + h * RK4.A[i] @ K)
        explicit.append(x + h * RK4.b @ K)
    assert abs(explicit[0] - explicit[1]) > 1.5


def test_monotonicity_coefficients():
    # Kraaijevanger 1991; Gottlieb, Ketcheson & Shu 2011.
    for m, C in ((EULER, 1), (HEUN, 1), (SSP3, 1), (MIDPOINT, 0), (RK4, 0), (DOPRI5, 0), (gauss(1), 2), (radau(2), 0)):
        assert method_stability(m).monotonicity == pytest.approx(C, abs=1e-9), m.name
    assert math.isinf(method_stability(radau(1)).monotonicity)


# -- order conditions


def test_there_are_as_many_trees_as_cayley_counted():
    assert [len(trees(p)) for p in range(1, 10)] == [1, 1, 2, 4, 9, 20, 48, 115, 286]


@pytest.mark.parametrize("m", [*ALL, SSP3, KUTTA38, TRAPEZOID], ids=ids)
def test_the_order_is_the_one_that_the_method_claims(m):
    assert verified_order(m) == m.order


@pytest.mark.parametrize("m", [BS3, DOPRI5, TSIT5, DOP853], ids=ids)
def test_the_partners_have_their_order(m):
    assert verified_order(Method("partner", m.A, m.b_hat, m.c, m.order_hat)) == m.order_hat


def test_a_digit_lost_in_a_tableau_is_found():
    A = DOPRI5.A.copy()
    A[3, 1] += 1e-9
    broken = Method("broken", A, DOPRI5.b, A.sum(axis=1), 5)
    wrong = [c for c in order_conditions(broken, 5) if not c.holds]
    assert wrong and max(abs(c.residual) for c in wrong) < 1e-8
    assert verified_order(broken) < 5


def test_the_conditions_of_order_four_are_those_of_the_books():
    conditions = {c.tree: c for c in order_conditions(MIDPOINT, 4)}
    assert len(conditions) == 8
    c, A, b = MIDPOINT.c, MIDPOINT.A, MIDPOINT.b
    assert conditions["[τ [τ]]"].residual == pytest.approx(b @ (c * (A @ c)) - 1 / 8)
    assert conditions["[τ τ τ]"].residual == pytest.approx(b @ c**3 - 1 / 4)
    assert conditions["[[[τ]]]"].residual == pytest.approx(b @ A @ A @ c - 1 / 24)
    assert conditions["[[τ τ]]"].residual == pytest.approx(b @ A @ c**2 - 1 / 12)
    assert {name: k.symmetry for name, k in conditions.items()} == {
        "τ": 1, "[τ]": 1, "[τ τ]": 2, "[[τ]]": 1, "[τ τ τ]": 6, "[τ [τ]]": 1, "[[τ τ]]": 2, "[[[τ]]]": 1}


def test_the_error_of_a_step_is_the_sum_over_the_trees():
    """x' = x² in rational numbers: x_1 - x(h) = h^{p+1} Σ (b·φ - 1/γ)/σ F(t) + …, F = Π f^(children) of the nodes."""
    derivatives = [1, 2, 2, 0, 0, 0, 0]  # of f = x² at x = 1

    def differential(tree):
        return derivatives[len(tree)] * math.prod(differential(part) for part in tree)

    h = Fraction(1, 10**5)
    for m in (HEUN, SSP3, RK4, KUTTA38):
        K = []
        for row in m.A:
            X = 1 + h * sum((Fraction(a).limit_denominator(99) * k for a, k in zip(row, K, strict=False)), Fraction(0))
            K.append(X * X)
        step = 1 + h * sum(Fraction(b).limit_denominator(99) * k for b, k in zip(m.b, K, strict=True))
        error = float((step - 1 / (1 - h)) / h ** (m.order + 1))
        conditions = [c for c in order_conditions(m, m.order + 1) if c.order == m.order + 1]
        predicted = sum(c.residual / c.symmetry * differential(tree)
                        for c, tree in zip(conditions, trees(m.order + 1), strict=True))
        assert predicted == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("order", [0, 11, 2.0, True, "4"])
def test_an_order_out_of_range_is_refused(order):
    with pytest.raises(InputError, match="from 1 to 10"):
        order_conditions(RK4, order)


def test_what_is_no_method_is_refused():
    with pytest.raises(InputError, match="no Method"):
        stability_function("rk4")
    with pytest.raises(InputError, match="left half plane"):
        stability_function(RK4).ray_limits(0.0)


def test_the_page():
    page = str(method_stability(RK4))
    assert "1 + z + z²/2 + z³/6 + z⁴/24" in page and "-2.785294" in page and "2.828427 i" in page
    assert "undamped" in str(method_stability(EULER))
    assert str(stability_function(radau(1))) == "1 / (1 - z)"
    assert str(stability_function(gauss(2))) == "(1 + z/2 + z²/12) / (1 - z/2 + z²/12)"


# -- the exact arithmetic behind it

roots = st.lists(st.integers(-8, 8).map(lambda i: Fraction(i, 3)), min_size=1, max_size=6)


@given(roots, st.sampled_from([1, -1]))
@settings(max_examples=200)
def test_first_negative_against_known_zeros(zeros, sign):
    P = polynomial([sign])
    for z in zeros:
        P = multiply(P, polynomial([-z, 1]))
    positive = sorted({z for z in zeros if z > 0})
    at = lambda x: math.prod(x - z for z in zeros) * sign  # noqa: E731
    cuts = [Fraction(0), *positive]
    expected = math.inf
    for i, left in enumerate(cuts):
        middle = (left + cuts[i + 1]) / 2 if i + 1 < len(cuts) else left + 1
        if at(middle) < 0:
            expected = float(left)
            break
    assert first_negative(P) == pytest.approx(expected, rel=1e-15)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 3)), min_size=1, max_size=4))
@settings(max_examples=200)
def test_routh_against_known_zeros(zeros):
    P = polynomial([1])
    for re, im in zeros:  # (z - re)² + im², or z - re
        P = multiply(P, polynomial([re * re + im * im, -2 * re, 1] if im else [-re, 1]))
    assert stable(P) == all(re < 0 for re, _ in zeros)
    assert npp.polyroots([float(c) for c in P]).size == len(P) - 1


def test_a_rosenbrock_method_by_the_trees_and_the_stability_function_of_its_own_steps():
    """RODAS5P (Steinebach 2023): order 5, L-stable, stiffly accurate; R from the tableau is what a step does."""
    found = method_stability(RODAS5P)
    assert found.order == 5 and found.R.L_stable and found.stiffly_accurate and not found.algebraic
    assert [float(c) for c in found.R.denominator] == pytest.approx(
        [math.comb(8, k) * (-RODAS5P.Gamma[0, 0]) ** k for k in range(9)], rel=1e-13
    )
    decay = adjoint.System(lambda t, x, u, p: [p[0] * x[0]], states="x", parameters="rate")
    for z in (-0.3, -4.0, -1e3):
        step = adjoint.rollout(decay, [1.0], t=[0, 1], p=[z], method=RODAS5P).x[-1, 0]
        assert step == pytest.approx(float(found.R(z).real), rel=1e-9, abs=1e-12)
