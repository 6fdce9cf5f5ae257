"""What a gradient costs: seconds of `rollout` and of `sweep`, and (rollout + sweep) / rollout.

    python benchmarks/bench_sweep.py

The best of many repeats is printed: it is the least disturbed by whatever else the machine does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numba import njit

from adjoint.method import RK4
from adjoint.sweeps import hessian_vector, linearize, rollout, sweep, tangent
from adjoint.system import System


def best(function: Callable[[], object], seconds: float = 1.0) -> float:
    """The least time of a call, in microseconds."""
    function()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e6 * min(times)


def lotka_volterra(t, x, u, p):
    """Two species."""
    return [p[0] * x[0] - p[1] * x[0] * x[1], p[2] * x[0] * x[1] - p[3] * x[1]]


def lorenz96(t, x, u, p):
    """Forty variables on a ring."""
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + p[0]


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def rnn_step(t, h, x, u, p, x_next):
    """x⁺ = tanh(W x + V u + c)."""
    n, m = x.size, u.size
    W, V, c = p[: n * n].reshape(n, n), p[n * n : n * (n + m)].reshape(n, m), p[n * (n + m) :]
    for i in range(n):
        a = c[i]
        for j in range(n):
            a += W[i, j] * x[j]
        for j in range(m):
            a += V[i, j] * u[j]
        x_next[i] = math.tanh(a)


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def rnn_vjp(t, h, x, u, p, lam_next, lam, gu, gp):
    """Its transpose; the activation is computed again."""
    n, m = x.size, u.size
    W, V, c = p[: n * n].reshape(n, n), p[n * n : n * (n + m)].reshape(n, m), p[n * (n + m) :]
    gW, gV, gc = gp[: n * n].reshape(n, n), gp[n * n : n * (n + m)].reshape(n, m), gp[n * (n + m) :]
    lam[:] = 0.0
    gu[:] = 0.0
    for i in range(n):
        a = c[i]
        for j in range(n):
            a += W[i, j] * x[j]
        for j in range(m):
            a += V[i, j] * u[j]
        d = lam_next[i] * (1 - math.tanh(a) ** 2)
        gc[i] += d
        for j in range(n):
            lam[j] += W[i, j] * d
            gW[i, j] += d * x[j]
        for j in range(m):
            gu[j] += V[i, j] * d
            gV[i, j] += d * u[j]


def report(label: str, forward: float, backward: float, paths: int = 1) -> None:
    """One line of the table."""
    ratio = (forward + backward) / forward
    times = f"rollout {forward / paths:9.1f} µs   sweep {backward / paths:9.1f} µs"
    print(f"{label:44s} {times}   gradient/rollout {ratio:5.2f}")


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    prey = System(lotka_volterra, "prey predator", parameters="a b c d")
    t, p = np.linspace(0, 10, 1001), np.array([1.5, 1.0, 1.0, 3.0])
    path = rollout(prey, [1.0, 1.0], t=t, p=p, method=RK4)
    report("Lotka-Volterra, RK4, 1000 steps", best(lambda: rollout(prey, [1.0, 1.0], t=t, p=p)),
           best(lambda: sweep(path, dx=path.x[-1])))
    print(f"{'':44s} tangent {best(lambda: tangent(path, x0=[1.0, 0.0])):9.1f} µs   "
          f"Hessian·v {best(lambda: hessian_vector(path, dx=path.x[-1], x0=[1.0, 0.0])):7.1f} µs   "
          f"linearize {best(lambda: linearize(path)):7.1f} µs")
    x0 = rng.uniform(0.5, 1.5, (256, 2))
    paths = rollout(prey, x0, t=t, p=p)
    report("  a batch of 256 of them, per path", best(lambda: rollout(prey, x0, t=t, p=p)),
           best(lambda: sweep(paths, dx=paths.x[:, -1])), 256)

    ring = System(lorenz96, "x[40]", parameters="forcing")
    t, x0 = np.linspace(0, 10, 2001), 8 + 0.1 * rng.standard_normal(40)
    path = rollout(ring, x0, t=t, p=[8.0])
    report("Lorenz-96, n = 40, RK4, 2000 steps", best(lambda: rollout(ring, x0, t=t, p=[8.0])),
           best(lambda: sweep(path, dx=path.x[-1])))

    units, inputs = 64, 16
    network = System.from_kernels(rnn_step, rnn_vjp, states=f"h[{units}]", controls=f"in[{inputs}]",
                                  parameters=f"W[{units * units}] V[{units * inputs}] c[{units}]")
    p = rng.standard_normal(network.n_p) / 8
    u, h0 = rng.standard_normal((200, inputs)), np.zeros(units)
    path = rollout(network, h0, u, p=p)
    dx = rng.standard_normal(path.x.shape)
    report("tanh RNN, 64 units, 16 inputs, 200 steps", best(lambda: rollout(network, h0, u, p=p)),
           best(lambda: sweep(path, dx=dx)))


if __name__ == "__main__":
    main()
