"""What the analysis of stability costs, beside NumPy loops and a jitted JAX scan (if JAX is installed).

    python benchmarks/bench_stability.py

Times are medians of runs that take turns in one process, in milliseconds; the ratio is that of the medians.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import time
from collections.abc import Callable

import numpy as np

import adjoint
from adjoint.analysis import backward_filter, lyapunov, pseudospectrum

try:
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
except ImportError:
    jax = None


def lorenz(t, x, u, p):
    """Lorenz's equations."""
    return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]


def lorenz96(t, x, u, p):
    """Forty variables on a ring."""
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 8.0


def grcar(n):
    """A banded Toeplitz matrix far from normal."""
    return sum(np.diag(np.ones(n - k), k) for k in range(4)) - np.diag(np.ones(n - 1), -1)


def in_numpy(steps: int, h: float) -> np.ndarray:
    """The QR method for Lorenz's equations as one writes it in NumPy, RK4, orthonormalised each 10 steps."""

    def f(x):
        return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])

    def J(x):
        return np.array([[-10.0, 10, 0], [28 - x[2], -1, -x[0]], [x[1], x[0], -8 / 3]])

    x, V, total = np.array([1.0, 1, 20]), np.eye(3), np.zeros(3)
    for k in range(steps):
        k1, d1 = f(x), J(x) @ V
        k2, d2 = f(x + h / 2 * k1), J(x + h / 2 * k1) @ (V + h / 2 * d1)
        k3, d3 = f(x + h / 2 * k2), J(x + h / 2 * k2) @ (V + h / 2 * d2)
        k4, d4 = f(x + h * k3), J(x + h * k3) @ (V + h * d3)
        x, V = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), V + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        if k % 10 == 9:
            V, R = np.linalg.qr(V)
            total += np.log(np.abs(np.diag(R)))
    return total / (steps * h)


def in_jax(f: Callable, x0: np.ndarray, steps: int, h: float) -> Callable[[], np.ndarray]:
    """The same as one jitted scan over tangents, for any f."""

    def step(x):
        k1 = f(x)
        k2 = f(x + h / 2 * k1)
        k3 = f(x + h / 2 * k2)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + f(x + h * k3))

    def ten(carry, _):
        x, V = carry
        for _ in range(10):
            y, push = jax.linearize(step, x)
            x, V = y, jax.vmap(push, 1, 1)(V)
        V, R = jnp.linalg.qr(V)
        return (x, V), jnp.log(jnp.abs(jnp.diag(R)))

    @jax.jit
    def run(x):
        _, logs = jax.lax.scan(ten, (x, jnp.eye(x.size)), None, steps // 10)
        return logs.sum(0) / (steps * h)

    return lambda: np.asarray(run(jnp.asarray(x0)))


def compare(label: str, rivals: dict[str, Callable[[], object]], rounds: int = 7) -> None:
    """One line: the medians of runs that take turns."""
    for run in rivals.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = next(iter(medians.values()))
    entries = "   ".join(f"{name} {m:9.2f} ms (×{m / ours:.1f})" for name, m in medians.items())
    print(f"{label:46s} {entries}", flush=True)


def main() -> None:
    """Print the table."""
    system, x0, h = adjoint.System(lorenz, "a b c"), np.array([1.0, 1, 20]), 0.01
    rivals = {"adjoint": lambda: lyapunov(system, x0, 20_000, h, transient=0),
              "adjoint, QR each step": lambda: lyapunov(system, x0, 20_000, h, transient=0, every=1),
              "NumPy": lambda: in_numpy(2_000, h)}
    if jax is not None:
        rivals["JAX"] = in_jax(lambda x: jnp.array(lorenz(0, x, (), ())), x0, 20_000, h)
    compare("Lorenz, 3 exponents, 20000 steps (NumPy: 2000)", rivals)
    compare("Lorenz, 3 exponents, 10⁶ steps", {"adjoint": lambda: lyapunov(system, x0, 1_000_000, h)}, 3)
    starts = np.tile(x0, (8, 1)) + 0.01 * np.arange(8)[:, None]
    compare("Lorenz, 8 starts at once, 20000 steps each",
            {"adjoint": lambda: lyapunov(system, starts, 20_000, h, transient=0)}, 5)

    ring, x0 = adjoint.System(lorenz96, "x[40]"), 8 + np.sin(np.arange(40.0))
    rivals = {"adjoint": lambda: lyapunov(ring, x0, 2_000, h, transient=0)}
    if jax is not None:
        rivals["JAX"] = in_jax(lambda x: (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + 8.0, x0, 2_000, h)
    compare("Lorenz-96, 40 exponents, 2000 steps", rivals, 5)
    compare("Lorenz-96, 40 exponents, 8000 steps", {"adjoint": lambda: lyapunov(ring, x0, 8_000, h, transient=0)}, 5)

    path = adjoint.rollout(ring, x0, t=h * np.arange(1001))
    A = adjoint.linearize(path).A
    compare("stability: 1000 steps of 40 states", {
        "report": lambda: adjoint.stability(path), "LAPACK's eigenvalues alone": lambda: np.linalg.eigvals(A),
        "singular values alone": lambda: np.linalg.svd(A, compute_uv=False)}, 3)

    B, re, im = grcar(64), np.linspace(-1, 3, 60), np.linspace(-3.5, 3.5, 60)
    points = (re + 1j * im[:, None])[..., None, None] * np.eye(64)
    compare("pseudospectrum, Grcar 64, 60 × 60 points", {
        "adjoint": lambda: pseudospectrum(B, re, im), "adjoint, to 1e-3": lambda: pseudospectrum(B, re, im, 1e-3),
        "singular values": lambda: np.linalg.svd(points - B, compute_uv=False)[..., -1]}, 3)

    rng = np.random.default_rng(0)
    A = rng.standard_normal((32, 32)) / 7
    b, c, omega = rng.standard_normal((32, 1)), rng.standard_normal((1, 32)), np.linspace(0, 3, 1000)
    z = np.exp(1j * omega)[:, None, None]
    compare("backward filter, 32 states, 1000 frequencies", {
        "adjoint": lambda: backward_filter(A, b, c, omega),
        "NumPy's solve": lambda: np.linalg.solve(np.eye(32) - z * A.T, np.broadcast_to(c.T, (1000, 32, 1)))})


if __name__ == "__main__":
    main()
