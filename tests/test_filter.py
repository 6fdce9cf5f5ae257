"""The backward pass as a filter: against SciPy, NumPy's solve, and what the sweep itself does to sines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

import adjoint
from adjoint import recurrent
from adjoint.analysis import backward_filter, fixed_point, measured_response, rest
from adjoint.errors import AdjointError, InputError
from adjoint.plot_stability import plot_spectra


def stable(seed, n, m=2, r=3, radius=0.9):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    return A * radius / np.abs(np.linalg.eigvals(A)).max(), rng.standard_normal((n, m)), rng.standard_normal((r, n))


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 3), st.integers(1, 3))
@settings(max_examples=30)
def test_it_is_the_adjoint_of_the_forward_response(seed, n, m, r):
    A, B, C = stable(seed, n, m, r)
    response = backward_filter(A, B, C, np.linspace(0, math.pi, 7))
    z = np.exp(1j * response.omega)[:, None, None]
    forward = C @ np.linalg.solve(z * np.eye(n) - A, np.broadcast_to(B, (7, n, m)))
    np.testing.assert_allclose(response.gradient, forward.conj().transpose(0, 2, 1), atol=1e-10)
    costate = np.linalg.solve(np.eye(n) - z * A.T, np.broadcast_to(C.T, (7, n, r)))
    np.testing.assert_allclose(response.costate, costate, atol=1e-10)


@pytest.mark.parametrize("corner", [1.0, 1.0 + 1e-13])
def test_rows_are_exchanged_where_a_pivot_is_small(corner):
    A = np.array([[corner, 2.0, 0.3], [-3.0, 0.2, 0.1], [0.4, -0.7, corner]])
    costate = backward_filter(A, omega=[0.0]).costate[0]
    np.testing.assert_allclose(costate, np.linalg.inv(np.eye(3) - A.T), rtol=1e-12)


def test_scipys_frequency_response_is_its_conjugate():
    A, B, C = stable(0, 5, 1, 1)
    response = backward_filter(A, B, C, np.linspace(0, 3, 50))
    _, forward = signal.dfreqresp(signal.dlti(A, B, C, np.ones((1, 1)), dt=1), response.omega)
    forward -= 1  # a feed-through of 1, without which SciPy's detour over polynomials warns
    np.testing.assert_allclose(response.gradient[:, 0, 0], forward.conj(), rtol=1e-9)
    np.testing.assert_allclose(response.gradient_gain, np.abs(forward), rtol=1e-9)


def test_a_leaky_integrator_in_closed_form():
    response = backward_filter([[0.9]], [[0.1]])
    expected = 1 / np.abs(1 - 0.9 * np.exp(1j * response.omega))
    np.testing.assert_allclose(response.gain, expected, rtol=1e-12)
    np.testing.assert_allclose(response.gradient_gain, 0.1 * expected, rtol=1e-12)
    (band,) = response.amplified
    # gain 1 where |1 - 0.9 z| = 1: cos ω = 0.45
    assert band[0] == 0.0 and band[1] == pytest.approx(math.acos(0.45), abs=math.pi / 399)
    assert response.stable and response.spectral_radius == pytest.approx(0.9)


@pytest.mark.parametrize("seed", range(3))
def test_the_sweep_does_to_sines_what_the_transfer_function_says(seed):
    A, B, C = stable(seed, 4)
    system = adjoint.System(lambda t, x, u, p: A @ x + B @ u, "x[4]", "u[2]", discrete=True)
    path = rest(system, np.zeros(4), 400, u=[0.0, 0.0])
    response = backward_filter(path, C=C, omega=[0.0, 0.7, 2.0, math.pi])
    for k, omega in enumerate(response.omega):
        costate, gradient = measured_response(path, omega, C)
        np.testing.assert_allclose(costate, response.costate[k], atol=1e-12)
        np.testing.assert_allclose(gradient, response.gradient[k], atol=1e-12)


def test_the_transfer_function_holds_wherever_the_path_of_a_linear_system_is():
    A, B, C = stable(5, 3)
    system = adjoint.System(lambda t, x, u, p: A @ x + B @ u, "x[3]", "u[2]", discrete=True)
    moving = adjoint.rollout(system, [1, -2, 3], np.random.default_rng(0).standard_normal((500, 2)))
    costate, _ = measured_response(moving, 1.1, C)
    np.testing.assert_allclose(costate, backward_filter(moving, C=C, omega=[1.1]).costate[0], atol=1e-12)


OSCILLATOR = np.array([[0.0, 1.0], [-4.0, -0.3]])


def oscillator(h, steps, method=adjoint.RK4):
    system = adjoint.System(lambda t, x, u, p: OSCILLATOR @ x + np.array([0, 1]) * u[0], "q v", "force")
    return rest(system, [0.3, 0.1], steps, [1.0], method=method, h=h)


@pytest.mark.parametrize("method", [adjoint.EULER, adjoint.HEUN, adjoint.RK4], ids=lambda m: m.name)
def test_a_vector_field_under_a_method(method):
    path = oscillator(0.05, 12_000, method)
    assert path.x[0] == pytest.approx([0.25, 0.0], abs=1e-12)
    response = backward_filter(path, omega=[0.5, 2.0, 30.0])
    assert response.h == pytest.approx(0.05)
    for k, omega in enumerate(response.omega):
        costate, gradient = measured_response(path, omega)
        np.testing.assert_allclose(costate, response.costate[k], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(gradient, response.gradient[k], rtol=1e-6, atol=1e-8)


def test_the_limit_of_short_steps_is_the_continuous_adjoint():
    # h L = (-iω I - A_cᵀ)⁻¹ + h/2 + O(h²)
    omega, errors = 1.3, []
    for h in (0.1, 0.05, 0.025):
        L = backward_filter(oscillator(h, 2), omega=[omega]).costate[0]
        continuous = np.linalg.inv(-1j * omega * np.eye(2) - OSCILLATOR.T)
        errors.append(np.abs(h * L - continuous - h / 2 * np.eye(2)).max())
    np.testing.assert_allclose(np.log2(errors[:-1]) - np.log2(errors[1:]), 2, atol=0.1)


def test_resonance_is_where_the_gain_peaks():
    response = backward_filter(oscillator(0.01, 2), C=[[1.0, 0.0]], omega=np.linspace(0.1, 6, 600))
    peak = response.omega[np.argmax(response.gradient_gain)]
    assert peak == pytest.approx(math.sqrt(4 - 0.3**2 / 2), abs=0.02)


def test_a_network_linearised_at_rest():
    cell = recurrent.Elman(16, 2)
    path = rest(cell.system, np.zeros(16), 400, [0.3, -0.2], cell.init(seed=0))
    assert np.abs(adjoint.rollout(cell.system, path.x[0], path.u, p=path.p).x - path.x[0]).max() < 1e-10
    response = backward_filter(path, omega=[0.4, 2.2])
    for k, omega in enumerate(response.omega):
        costate, gradient = measured_response(path, omega)
        np.testing.assert_allclose(costate, response.costate[k], atol=1e-8)
        np.testing.assert_allclose(gradient, response.gradient[k], atol=1e-8)


def test_fixed_points_are_found_also_where_they_repel():
    cubic = adjoint.System(lambda t, x, u, p: [x[0] - x[0] ** 3 + u[0]], "x", "u")
    x = fixed_point(cubic, [0.1], [0.0], h=0.1)
    assert x == pytest.approx([0.0], abs=1e-12)
    path = rest(cubic, [0.1], 1000, [0.0], h=0.1)
    assert np.all(path.x == path.x[0]) and not backward_filter(path).stable
    assert "UNSTABLE" in str(backward_filter(path))


def test_no_fixed_point_is_a_sentence():
    drift = adjoint.System(lambda t, x, u, p: [x[0] + 1.0], "x", discrete=True, name="drift")
    with pytest.raises(AdjointError, match="found none of system 'drift'"):
        fixed_point(drift, [0.0])


def test_the_report_and_the_picture(tmp_path):
    response = backward_filter(oscillator(0.1, 2), C=[[1.0, 0.0]], omega=np.geomspace(0.1, 30, 100))
    text = str(response)
    assert "2 states, 1 control, 1 error" in text and "amplified" in text and "stable" in text
    figure = response.plot(tmp_path / "bode.png")
    assert (tmp_path / "bode.png").stat().st_size > 10_000
    assert figure.axes[0].get_xscale() == "log" and len(figure.axes[1].lines) >= 3
    assert any("several errors" in t.get_text() for t in backward_filter(np.eye(2) / 2).plot().axes[1].texts)


def test_spectra_side_by_side(tmp_path):
    A = stable(1, 20)[0]
    figure = plot_spectra({"before": A, "after": 1.2 * A}, tmp_path / "spectra.png")
    assert [ax.get_title(loc="left").split(",")[0] for ax in figure.axes] == ["before: ρ = 0.9", "after: ρ = 1.08"]
    with pytest.raises(InputError, match="no matrix"):
        plot_spectra({})


@pytest.mark.parametrize(("call", "message"), [
    (lambda: backward_filter(np.ones((2, 3))), "square matrix"),
    (lambda: backward_filter([[0.5j]]), "complex"),
    (lambda: backward_filter([[0.5]], [[1.0], [2.0]]), r"expected \(1, m\)"),
    (lambda: backward_filter([[0.5]], C=[[1.0, 2.0]]), r"\(r, 1\)"),
    (lambda: backward_filter([[0.5]], h=0.0), "positive time"),
    (lambda: backward_filter([[0.5]], omega=[math.nan]), "finite angular frequencies"),
    (lambda: backward_filter(oscillator(0.1, 2), h=0.2), "its own B and h"),
    (lambda: measured_response(3, 1.0), "one path"),
    (lambda: measured_response(oscillator(0.1, 2), 1.0, [[1.0]]), "C has shape"),
])  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_trajectory_that_moves_is_refused_with_its_step():
    pendulum = adjoint.System(lambda t, x, u, p: [x[1], -np.sin(x[0])], "angle speed", name="pendulum")
    with pytest.raises(InputError, match="of 'pendulum' differs from the first"):
        backward_filter(adjoint.rollout(pendulum, [1, 0], t=np.linspace(0, 3, 31)))


def test_a_frequency_on_an_eigenvalue_is_refused():
    with pytest.raises(AdjointError, match="omega = 0 is an eigenvalue"):
        backward_filter([[1.0]], omega=[1.0, 0.0])
