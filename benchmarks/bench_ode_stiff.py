"""Stiff solves with gradients: seconds of a solve, and of a solve with its gradient, against CasADi's CVODES.

    python benchmarks/bench_ode_stiff.py

One process, one thread; the cases are interleaved and medians are printed, with the least time in brackets. Loss of the
Robertson case: squared distance of the end to a target, differentiated by the start and the logarithms of the rates
(T = 1e4, rtol 1e-6, atol 1e-10). The heat equation with reaction has a banded Jacobian; the full case has none.
"""

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import time
from collections.abc import Callable

import casadi as ca
import numpy as np

from adjoint.method import RODAS5P, Method, radau
from adjoint.ode import OdeSolution, solve_ivp
from adjoint.system import System

REPEATS = 60
METHODS = [RODAS5P, radau(3), radau(5)]
Run = Callable[[], object]


def robertson(t, x, u, p):
    """Three reactions; p are the logarithms of their rates."""
    k = np.exp(p)
    a, b, c = k[0] * x[0], k[2] * x[1] * x[2], k[1] * x[1] * x[1]
    return [b - a, a - b - c, c]


def cvodes(rhs: Callable[..., list[ca.SX]], x0: np.ndarray, p: np.ndarray, end: float, target: np.ndarray,
           rtol: float, atol: float) -> tuple[Run, Run]:  # fmt: skip
    """CasADi's CVODES: the loss, and the loss with its adjoint gradient."""
    x, q = ca.SX.sym("x", x0.size), ca.SX.sym("p", p.size)
    options = {"abstol": atol, "reltol": rtol, "max_num_steps": 100_000}
    integrator = ca.integrator("I", "cvodes", {"x": x, "p": q, "ode": ca.vertcat(*rhs(x, q))}, 0, end, options)
    xs, ps = ca.MX.sym("x", x0.size), ca.MX.sym("p", p.size)
    loss = ca.sumsqr(integrator(x0=xs, p=ps)["xf"] - target)
    F = ca.Function("F", [xs, ps], [loss])
    G = ca.Function("G", [xs, ps], [loss, ca.gradient(loss, xs), ca.gradient(loss, ps)])
    return lambda: F(x0, p), lambda: G(x0, p)


def ours(system: System, x0: np.ndarray, p: np.ndarray, end: float, target: np.ndarray, rtol: float, atol: float,
         method: Method) -> tuple[Run, Run]:  # fmt: skip
    """The same by `solve_ivp` and its `sweep`."""

    def solve() -> OdeSolution:
        return solve_ivp(system, (0, end), x0, p=p, method=method, rtol=rtol, atol=atol)

    def both() -> object:
        solution = solve()
        return solution.sweep(dlast=2 * (solution.x[-1] - target))

    return solve, both


def race(title: str, runs: dict[str, tuple[Run, Run]], repeats: int) -> None:
    """Time all of them in turn, and print a table."""
    times: dict[tuple[str, int], list[float]] = {(name, i): [] for name in runs for i in (0, 1)}
    for pair in runs.values():
        for run in pair:
            run()
    for _ in range(repeats):
        for name, pair in runs.items():
            for i, run in enumerate(pair):
                start = time.perf_counter()
                run()
                times[name, i].append(1e6 * (time.perf_counter() - start))
    print(title)
    best_peer = min((np.median(times[name, 1]) for name in runs if name.startswith("CVODES")), default=0.0)
    for name in runs:
        (a, b), (c, d) = ((np.median(times[name, i]), min(times[name, i])) for i in (0, 1))
        against = f"   {best_peer / c:5.1f}x CVODES" if best_peer else ""
        print(f"  {name:28s} solve {a:9.0f} ({b:7.0f}) µs   with gradient {c:9.0f} ({d:7.0f}) µs   "
              f"ratio {c / a:5.2f} ({d / b:.2f}){against}")


def heat(n: int) -> System:
    """Diffusion and growth on a line."""

    def f(t, x, u, p):
        left, right = np.concatenate([[0.0], x[:-1]]), np.concatenate([x[1:], [0.0]])
        return p[0] * (n + 1) ** 2 * (left - 2 * x + right) + p[1] * x * (1 - x)

    return System(f, f"x[{n}]", parameters="diffusion growth", name=f"heat{n}")


def coupled(n: int) -> System:
    """Every state acts on every other."""
    K = np.random.default_rng(0).standard_normal((n, n)) / n**0.5

    def f(t, x, u, p):
        return p[0] * (np.cos(t) - x) + np.tanh(K @ x)

    return System(f, f"x[{n}]", parameters="rate", name=f"coupled{n}")


def main() -> None:
    """Print the tables."""
    p, x0, target = np.log([0.04, 3e7, 1e4]), np.array([1.0, 0, 0]), np.array([0.2, 0, 0.8])

    def rhs(x, q):
        k = ca.exp(q)
        a, b, c = k[0] * x[0], k[2] * x[1] * x[2], k[1] * x[1] * x[1]
        return [b - a, a - b - c, c]

    system = System(robertson, "A B C", parameters="k1 k2 k3")
    runs = {"CVODES, adjoint": cvodes(rhs, x0, p, 1e4, target, 1e-6, 1e-10)}
    for method in METHODS:
        solution = solve_ivp(system, (0, 1e4), x0, p=p, method=method, rtol=1e-6, atol=1e-10)
        name = f"{method.name}, {solution.accepted} + {solution.rejected} steps"
        runs[name] = ours(system, x0, p, 1e4, target, 1e-6, 1e-10, method)
    race("Robertson", runs, REPEATS)

    for system, end, parameters in ((heat(200), 1.0, [0.01, 5.0]), (coupled(40), 5.0, [1e3])):
        start, q = np.sin(np.pi * np.arange(1, system.n + 1) / (system.n + 1)), np.array(parameters)
        runs = {
            method.name: ours(system, start, q, end, np.zeros(system.n), 1e-6, 1e-8, method) for method in METHODS[:2]
        }
        structure = system.step(RODAS5P).structure  # type: ignore[attr-defined]
        race(f"{system.name}, bandwidths {structure.kl} and {structure.ku}", runs, REPEATS // 4)


if __name__ == "__main__":
    main()
