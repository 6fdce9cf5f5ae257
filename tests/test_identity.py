"""The identity that the library is built on: a simulation, a gradient and a network are one product of matrices.

For x' = A x, forward Euler is x_{k+1} = (I + hA) x_k; the gradient of any loss of x_N comes back by (I + hA)ᵀ; and a
linear recurrent network with recurrent matrix I + hA is the same system. They explode or vanish at the same step size
and at the same rate.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint
from adjoint import recurrent
from adjoint.analysis import max_stable_step, stability
from adjoint.method import DOP853, EULER, RK4

D = 3
FLOW = adjoint.System(lambda t, x, u, p: p.reshape(D, D) @ x, states=f"x[{D}]", parameters=f"A[{D * D}]", name="flow")
TRACED = adjoint.System(lambda t, x, u, p: p.reshape(D, D) @ x, states=f"x[{D}]", parameters=f"W[{D * D}]",
                        discrete=True, name="network")  # fmt: skip
ELMAN = recurrent.Elman(D, 0)
TINY = 1e-120  # tanh(z) = z for such z, exactly: Elman's cell is linear, also after growth by 1e100


def euler(A, x0, h, N):
    return adjoint.rollout(FLOW, x0, t=h * np.arange(N + 1), p=A.ravel(), method=EULER)


def network(W, x0, N):
    weights = ELMAN.pack({"W_ih": np.zeros((D, 0)), "W_hh": W, "b": np.zeros(D)})
    return adjoint.rollout(ELMAN.system, x0, steps=N, p=weights)


def stable_matrix(seed):
    A = np.random.default_rng(seed).normal(size=(D, D))
    return A - (np.linalg.eigvals(A).real.max() + 0.2) * np.eye(D)


def rate(norms):
    """The growth factor of a step at the end, as a geometric mean over the last half."""
    half = len(norms) // 2
    return (norms[-1] / norms[half]) ** (1 / (len(norms) - 1 - half))


@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.9, 0.98, 1.02, 1.2]))
@settings(max_examples=25)
def test_simulation_gradient_and_network_are_one_product(seed, part):
    A, N = stable_matrix(seed), 400
    x0, end = np.random.default_rng(seed + 1).normal(size=(2, D))
    h = part * max_stable_step(FLOW, EULER, np.zeros(D), p=A.ravel()).h
    W = np.eye(D) + h * A
    flow, elman = euler(A, x0, h, N), network(W, TINY * x0, N)
    traced = adjoint.rollout(TRACED, x0, steps=N, p=W.ravel())
    norms = np.linalg.norm(flow.x, axis=1)
    for other in (elman.x / TINY, traced.x):  # to round-off, which adds up over the steps
        assert (np.linalg.norm(other - flow.x, axis=1) <= 1e-11 * norms).all()
    gradients = [adjoint.sweep(path, dx=end).costate for path in (flow, elman, traced)]
    for g in gradients[1:]:
        assert (np.linalg.norm(g - gradients[0], axis=1) <= 1e-11 * np.linalg.norm(gradients[0], axis=1)).all()
    # The gradient with respect to x_k is the transposed simulation backwards, to the last power.
    assert gradients[0][0] @ x0 == pytest.approx(end @ flow.x[-1], rel=1e-10)


@given(st.integers(0, 10**6))
@settings(max_examples=15)
def test_they_explode_at_the_same_step_and_at_the_same_rate(seed):
    A, N = stable_matrix(seed), 6000
    x0, end = np.random.default_rng(seed + 1).normal(size=(2, D))
    limit = max_stable_step(FLOW, EULER, np.zeros(D), p=A.ravel())
    for part, explodes in ((0.995, False), (1.005, True)):
        h = part * limit.h
        factor = np.abs(np.linalg.eigvals(np.eye(D) + h * A)).max()
        assert (factor > 1) == explodes
        flow, elman = euler(A, x0, h, N), network(np.eye(D) + h * A, TINY * x0, N)
        norms = [np.linalg.norm(path.x, axis=1) for path in (flow, elman)]
        norms += [np.linalg.norm(adjoint.sweep(path, dx=end).costate[::-1], axis=1) for path in (flow, elman)]
        for measured in norms:
            # A complex pair makes the norm wave: an amplitude of κ over N/2 steps
            assert rate(measured) == pytest.approx(factor, abs=5e-3 * abs(1 - factor) + 3e-3)
            assert (measured[-1] > measured[N // 2]) == explodes


def test_the_growth_of_the_report_is_the_same_for_all_three():
    A, h = stable_matrix(3), 1.7
    x0 = np.ones(D)
    reports = [stability(path) for path in (euler(A, x0, h, 50), network(np.eye(D) + h * A, TINY * x0, 50))]
    assert reports[0].log_backward == pytest.approx(reports[1].log_backward, rel=1e-12, abs=1e-13)
    assert reports[0].log_forward[-1] == pytest.approx(reports[0].log_backward[0], rel=1e-12)
    P = np.linalg.matrix_power(np.eye(D) + h * A, 50)
    assert reports[0].log_forward[-1] == pytest.approx(np.log(np.linalg.norm(P, 2)), rel=1e-12)


# -- the leaky stack: below, at and above one


@pytest.mark.parametrize("leak", [0.9, 1.0, 1.1])
def test_the_gradient_of_a_leaky_stack_is_a_power_of_the_leak(leak):
    K = 60
    stack = recurrent.Stack(4, 2, leak)
    u = np.zeros((K + 1, 5))
    u[0] = 1, 0, 0, 0.3, -0.7  # push a value, then leave it there
    u[1:, 2] = 1
    path = adjoint.rollout(stack.system, np.zeros(stack.n), u, p=[leak])
    seed = np.zeros(stack.n)
    seed[0] = 1.0  # J is the first number of the top row
    gradient = adjoint.sweep(path, dx=seed)
    assert path.x[-1, :2] == pytest.approx(leak**K * u[0, 3:], rel=1e-13)
    assert gradient.costate[1:, 0] == pytest.approx(leak ** np.arange(K, -1, -1.0), rel=1e-13)
    assert gradient.u[0, 3] == pytest.approx(leak**K, rel=1e-13)
    growth = stability(path, seed=seed)
    assert growth.growth_per_step == pytest.approx(max(leak, 0) ** 1, rel=0.02)
    assert growth.log_costate[1] == pytest.approx(K * np.log(leak), rel=1e-10, abs=1e-13)


# -- a real orbit: Mercury around the Sun

# Position (km) and velocity (km/s) of Mercury with respect to the Sun, equator and equinox of J2000 (ICRF), at 2000
# January 1, 12h TDB (JD 2451545.0), and its position 88 days later: JPL ephemeris DE421 (Folkner, Williams, Boggs, IPN
# Progress Report 42-178, 2009). GM of Sun and Mercury in km³/s² from the same ephemeris.
MERCURY = np.array([-19461726.456727374, -59927966.64710104, -29992774.719035123,
                    36.99499181852509, -8.529674724323645, -8.39312208575193])  # fmt: skip
AFTER_88_DAYS = np.array([-19363469.041168503, -59950647.01876509, -30015102.549248077])
GM = 132712440040.944 + 22032.09
DAY = 86400.0


def gravity(x):
    return [-GM * q / (x[0] ** 2 + x[1] ** 2 + x[2] ** 2) ** 1.5 for q in x[:3]]


ORBIT = adjoint.System(lambda t, x, u, p: [*x[3:], *gravity(x)], states="x y z vx vy vz", name="mercury")


def symplectic(t, x, u, p):
    """Symplectic Euler: kick, then drift."""
    v = [w + p[0] * a for w, a in zip(x[3:], gravity(x), strict=True)]
    return [*[q + p[0] * w for q, w in zip(x[:3], v, strict=True)], *v]


KICK_DRIFT = adjoint.System(symplectic, states="x y z vx vy vz", parameters="h", discrete=True, name="kick and drift")


def energy(x):
    return 0.5 * (x[:, 3:] ** 2).sum(axis=1) - GM / np.linalg.norm(x[:, :3], axis=1)


def test_the_orbit_is_real():
    path = adjoint.rollout(ORBIT, MERCURY, t=DAY * np.linspace(0, 88, 881), method=DOP853)
    # The other planets and relativity are left out; they move Mercury by some hundred kilometres a revolution.
    assert 100 < np.linalg.norm(path.x[-1, :3] - AFTER_88_DAYS) < 1000
    assert np.abs(energy(path.x) / energy(path.x)[0] - 1).max() < 1e-12


def test_the_energy_of_the_orbit_drifts_with_the_method():
    revolutions, steps = 20, 400
    h = 87.969098 * DAY / steps
    t = h * np.arange(revolutions * steps + 1)
    drift = {}
    for name, path in (
        ("euler", adjoint.rollout(ORBIT, MERCURY, t=t, method=EULER)),
        ("rk4", adjoint.rollout(ORBIT, MERCURY, t=t, method=RK4)),
        ("symplectic", adjoint.rollout(KICK_DRIFT, MERCURY, steps=len(t) - 1, p=[h])),
    ):
        drift[name] = energy(path.x) / energy(path.x)[0] - 1
    by_revolution = {name: d[steps :: steps] for name, d in drift.items()}
    assert by_revolution["euler"][-1] < -0.4 and (np.diff(by_revolution["euler"]) < 0).all()  # it flies off
    assert np.abs(drift["symplectic"]).max() < 0.02  # it wobbles with the revolution, and does not drift:
    assert np.abs(by_revolution["symplectic"]).max() < 1e-3
    rk4 = by_revolution["rk4"]
    slope, _ = np.polyfit(np.arange(1, revolutions + 1), rk4, 1)
    assert 0 < abs(rk4[-1]) < 1e-4 and rk4 == pytest.approx(slope * np.arange(1, revolutions + 1), rel=0.1)  # a line


def test_a_symplectic_step_keeps_areas_and_euler_does_not():
    """Aᵀ Ω A = Ω with Ω = [[0, I], [-I, 0]]; for Euler the two differ by h² times the gradient of gravity."""
    h = 87.969098 * DAY / 400
    omega = np.kron([[0, 1], [-1, 0]], np.eye(3))
    # One unit of velocity is a unit of length in a unit of time, so that A has no units.
    unit = np.repeat([1.0, 1 / h], 3)

    def defect(path):
        A = adjoint.linearize(path).A * unit / unit[:, None]
        return np.abs(A.transpose(0, 2, 1) @ omega @ A - omega).max(axis=(1, 2))

    assert defect(adjoint.rollout(KICK_DRIFT, MERCURY, steps=400, p=[h])).max() < 1e-15
    euler = defect(adjoint.rollout(ORBIT, MERCURY, t=h * np.arange(401), method=EULER))
    r = np.linalg.norm(MERCURY[:3])
    assert euler[0] < 2 * h**2 * GM / r**3 < 1e2 * euler[0]


def test_the_pendulum_of_the_books():
    """H = v²/2 - cos q from (2, 0): Störmer and Verlet stay, RK4 drifts; the period is 4 K(sin 1) = 8.349752926918."""
    pendulum = adjoint.System(lambda t, x, u, p: [x[1], -np.sin(x[0])], states="q v", name="pendulum")

    def verlet(t, x, u, p):
        half = x[1] - p[0] / 2 * np.sin(x[0])
        q = x[0] + p[0] * half
        return [q, half - p[0] / 2 * np.sin(q)]

    leap = adjoint.System(verlet, states="q v", parameters="h", discrete=True, name="verlet")
    N, h = 100_000, 0.1

    def H(x):
        return x[:, 1] ** 2 / 2 - np.cos(x[:, 0])

    stays = H(adjoint.rollout(leap, [2.0, 0.0], steps=N, p=[h]).x) - H(np.array([[2.0, 0.0]]))
    drifts = H(adjoint.rollout(pendulum, [2.0, 0.0], t=h * np.arange(N + 1), method=RK4).x) - H(np.array([[2.0, 0.0]]))
    assert np.abs(stays).max() < h**2 / 3
    assert np.abs(stays[:1000]).max() == pytest.approx(np.abs(stays[-1000:]).max(), rel=1e-2)
    ends = drifts[10_000:95_000:10_000]
    assert ends == pytest.approx(ends[0] * np.arange(1, 10), rel=0.05) and abs(ends[-1]) > 3 * abs(ends[0])
    fine = adjoint.rollout(pendulum, [2.0, 0.0], t=np.linspace(0, 8.349752926918, 2001), method=DOP853).x[-1]
    assert fine == pytest.approx([2.0, 0.0], abs=1e-11)
