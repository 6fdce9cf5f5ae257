"""Gradients through ODE solves: the loss at the end and its gradient with respect to x0 and p, against the peers.

    python benchmarks/bench_ode.py [--seconds 3] [case ...]

One thread. Contestants take turns in one process, and medians are printed, so that a disturbance of the machine hits
all of them alike; the gradients are compared before anything is timed. `solve` is the loss alone. JAX (scan, odeint),
diffrax, CasADi (mapaccum compiled by gcc; CVODES) and SciPy with differences take part where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import time
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np
from turns import medians

import adjoint
from adjoint import DOPRI5, RK4, TSIT5
from adjoint.ode import Solver, solve_ensemble, solve_ivp

Run = Callable[[], np.ndarray]
HAVE = {name: importlib.util.find_spec(name) is not None for name in ("jax", "diffrax")}


def lotka_volterra(t, x, u, p):
    return [p[0] * x[0] - p[1] * x[0] * x[1], -p[2] * x[1] + p[3] * x[0] * x[1]]


def lorenz96(t, x, u, p):
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + p[0]


def kepler(t, x, u, p):
    r2 = x[0] ** 2 + x[1] ** 2
    r3 = r2 * r2**0.5
    return [x[2], x[3], -p[0] * x[0] / r3, -p[0] * x[1] / r3]


FIXED = {
    "lotka_volterra": (lotka_volterra, np.array([1.0, 1.0]), np.array([1.5, 1, 3, 1]), 1000, 0.01),
    "lorenz96": (lorenz96, 8 + 0.01 * np.cos(np.arange(40.0)), np.array([8.0]), 2000, 0.0025),
}
X0, MU, T, TARGET = np.array([0.5, 0.0, 0.0, 3**0.5]), np.array([1.0]), 20.0, np.array([-1.0, 0.5, 0.2, -0.5])


# ---- fixed steps: J = Σ |x_k|² ----------------------------------------------------------------------


def fixed_ours(name: str) -> tuple[Run, Run]:
    f, x0, p, N, h = FIXED[name]
    system = adjoint.System(f, states=f"x[{x0.size}]", parameters=f"p[{p.size}]")
    t = np.arange(N + 1) * h

    def solve() -> np.ndarray:
        x = adjoint.rollout(system, x0, None, t, p, RK4).x
        return np.array([np.vdot(x, x)])

    def gradient() -> np.ndarray:
        path = adjoint.rollout(system, x0, None, t, p, RK4)
        g = adjoint.sweep(path, dx=2 * path.x)
        return np.concatenate([g.x0, g.p])

    return solve, gradient


def fixed_jax(name: str) -> tuple[Run, Run]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    f, x0, p, N, h = FIXED[name]
    if name == "lorenz96":

        def rhs(x, p):
            return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + p[0]
    else:

        def rhs(x, p):
            return jnp.stack(f(0.0, x, None, p))

    def loss(x0, p):
        def step(x, _):
            a = rhs(x, p)
            b = rhs(x + h / 2 * a, p)
            c = rhs(x + h / 2 * b, p)
            d = rhs(x + h * c, p)
            x = x + h / 6 * (a + 2 * b + 2 * c + d)
            return x, jnp.vdot(x, x)

        return jnp.vdot(x0, x0) + jax.lax.scan(step, x0, None, length=N)[1].sum()

    value, slope = jax.jit(loss), jax.jit(jax.grad(loss, argnums=(0, 1)))
    return lambda: np.array([value(x0, p)]), lambda: np.concatenate([np.asarray(g) for g in slope(x0, p)])


def fixed_casadi(name: str) -> tuple[Run, Run]:
    """Mapaccum, differentiated by CasADi and compiled by gcc."""
    import casadi as ca

    f, x0, p, N, h = FIXED[name]
    n = x0.size
    step = adjoint.System(f, states=f"x[{n}]", parameters=f"p[{p.size}]").step(RK4).graph
    x, q = ca.SX.sym("x", n), ca.SX.sym("p", p.size)
    one = ca.Function("one", [x, q], [step(0, h, x, ca.SX(0, 1), q)])
    start, par = ca.MX.sym("x0", n), ca.MX.sym("p", p.size)
    path = one.mapaccum("path", N)(start, ca.repmat(par, 1, N))
    J = ca.sumsqr(path) + ca.sumsqr(start)
    options = dict(jit=True, compiler="shell", jit_options=dict(flags=["-O3", "-march=native"], verbose=False))
    value = ca.Function("value", [start, par], [J], options)
    slope = ca.Function("slope", [start, par], [ca.gradient(J, start), ca.gradient(J, par)], options)
    return (
        lambda: np.array(value(x0, p)).ravel(),
        lambda: np.concatenate([np.array(g).ravel() for g in slope(x0, p)]),
    )


# ---- adaptive: J = |x(20) - target|², rtol = atol = 1e-8 -------------------------------------------


def kepler_solver(method: adjoint.Method) -> tuple[Run, Run]:
    system = adjoint.System(kepler, states="x y vx vy", parameters="mu")
    solver = Solver(system, (0, T), method=method, rtol=1e-8, atol=1e-8)

    def solve() -> np.ndarray:
        d = solver.forward(X0, MU)[-1] - TARGET
        return np.array([d @ d])

    def gradient() -> np.ndarray:
        g = solver.backward(dlast=2 * (solver.forward(X0, MU)[-1] - TARGET))
        return np.concatenate([g.x0, g.p])

    return solve, gradient


def kepler_solve_ivp() -> tuple[Run, Run]:
    system = adjoint.System(kepler, states="x y vx vy", parameters="mu")

    def solution():
        return solve_ivp(system, (0, T), X0, p=MU, method=DOPRI5, rtol=1e-8, atol=1e-8)

    def gradient() -> np.ndarray:
        s = solution()
        g = s.sweep(dlast=2 * (s.x[-1] - TARGET))
        return np.concatenate([g.x0, g.p])

    return lambda: ((solution().x[-1] - TARGET) ** 2).sum(keepdims=True), gradient


def kepler_jax(kind: str) -> tuple[Run, Run]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def rhs(x, p):
        return jnp.stack(kepler(0.0, x, None, p))

    if kind == "odeint":
        from jax.experimental.ode import odeint

        def end(x0, p):
            return odeint(lambda x, t, p: rhs(x, p), x0, jnp.array([0.0, T]), p, rtol=1e-8, atol=1e-8)[-1]
    else:
        import diffrax

        solver, back = {
            "recursive": (diffrax.Dopri5(), diffrax.RecursiveCheckpointAdjoint()),
            "backsolve": (diffrax.Tsit5(), diffrax.BacksolveAdjoint()),
        }[kind]

        def end(x0, p):
            return diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, x, p: rhs(x, p)), solver, 0.0, T, None, x0, args=p, adjoint=back,
                max_steps=4096, stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-8),
            ).ys[0]  # fmt: skip

    def loss(x0, p):
        return ((end(x0, p) - TARGET) ** 2).sum()

    value, slope = jax.jit(loss), jax.jit(jax.grad(loss, argnums=(0, 1)))
    return lambda: np.array([value(X0, MU)]), lambda: np.concatenate([np.asarray(g) for g in slope(X0, MU)])


def kepler_cvodes() -> tuple[Run, Run]:
    import casadi as ca

    x, p = ca.MX.sym("x", 4), ca.MX.sym("p", 1)
    f = adjoint.System(kepler, states="x y vx vy", parameters="mu").graph
    run = ca.integrator("run", "cvodes", dict(x=x, p=p, ode=f(0, x, ca.MX(0, 1), p)), 0, T,
                        dict(reltol=1e-8, abstol=1e-8, max_num_steps=100_000))  # fmt: skip
    J = ca.sumsqr(run(x0=x, p=p)["xf"] - TARGET)
    value = ca.Function("value", [x, p], [J])
    slope = ca.Function("slope", [x, p], [ca.gradient(J, x), ca.gradient(J, p)])
    return (
        lambda: np.array(value(X0, MU)).ravel(),
        lambda: np.concatenate([np.array(g).ravel() for g in slope(X0, MU)]),
    )


def kepler_scipy() -> tuple[Run, Run]:
    from scipy.integrate import solve_ivp as scipy_solve

    def loss(z: np.ndarray) -> float:
        run = scipy_solve(lambda t, x: kepler(t, x, None, z[4:]), (0, T), z[:4], "RK45", rtol=1e-8, atol=1e-8)
        return float(((run.y[:, -1] - TARGET) ** 2).sum())

    z = np.concatenate([X0, MU])

    def gradient() -> np.ndarray:
        base = loss(z)
        return np.array([(loss(z + 1e-6 * e) - base) / 1e-6 for e in np.eye(5)])

    return lambda: np.array([loss(z)]), gradient


# ---- running ----------------------------------------------------------------------------------------


def compare(title: str, contestants: dict[str, tuple[Run, Run]], ours: str, seconds: float, agree: float) -> None:
    print(f"\n{title}")
    truth = contestants[ours][1]()
    for name, (solve, gradient) in contestants.items():
        solve()
        off = np.linalg.norm(gradient() - truth) / np.linalg.norm(truth)
        if off > agree:
            print(f"  {name}: gradient off by {off:.1e}")
    runs = {(name, kind): run for name, pair in contestants.items() for kind, run in zip("sg", pair, strict=True)}
    found = medians({f"{name} {kind}": run for (name, kind), run in runs.items()}, seconds)
    base = found[f"{ours} g"]
    for name in contestants:
        solve, gradient = found[f"{name} s"], found[f"{name} g"]
        print(f"  {name:32s} solve {1e6 * solve:10.1f} us   with gradient {1e6 * gradient:10.1f} us   "
              f"gradient/solve {gradient / solve:5.1f}   {gradient / base:8.1f} x ours")  # fmt: skip


def fixed(name: str, seconds: float) -> None:
    contestants = {"adjoint": fixed_ours(name)}
    if HAVE["jax"]:
        contestants["jax scan"] = fixed_jax(name)
    if shutil.which("gcc"):
        contestants["casadi mapaccum, gcc"] = fixed_casadi(name)
    compare(f"{name}, RK4, {FIXED[name][3]} steps", contestants, "adjoint", seconds, 1e-8)


def adaptive(seconds: float) -> None:
    contestants = {
        "adjoint Solver, dopri5": kepler_solver(DOPRI5), "adjoint Solver, tsit5": kepler_solver(TSIT5),
        "adjoint solve_ivp, dopri5": kepler_solve_ivp(), "casadi cvodes": kepler_cvodes(),
        "scipy RK45, differences": kepler_scipy(),
    }  # fmt: skip
    if HAVE["jax"]:
        contestants["jax odeint"] = kepler_jax("odeint")
    if HAVE["diffrax"]:
        contestants["diffrax dopri5 recursive"] = kepler_jax("recursive")
        contestants["diffrax tsit5 backsolve"] = kepler_jax("backsolve")
    compare("kepler, adaptive 5(4), 1e-8", contestants, "adjoint Solver, dopri5", seconds, 1e-3)


def ensemble(seconds: float) -> None:
    system = adjoint.System(lotka_volterra, states="prey predator", parameters="p[4]")
    rng, B = np.random.default_rng(0), 10_000
    x0, p = rng.uniform(0.5, 2, (B, 2)), np.array([1.5, 1, 3, 1]) * rng.uniform(0.8, 1.2, (B, 4))
    seed, some = np.ones((B, 2)), range(200)
    kept = solve_ensemble(system, (0, 10), x0, p=p, keep=True)
    solver = Solver(system, (0, 10))

    def by_solver(gradients: bool) -> None:
        for b in some:
            solver.forward(x0[b], p[b])
            if gradients:
                solver.backward(dlast=seed[b])

    runs: dict[str, tuple[float, Callable[[], object]]] = {
        "ensemble": (B, lambda: solve_ensemble(system, (0, 10), x0, p=p)),
        "ensemble, gradients": (B, lambda: kept.sweep(dlast=seed)),
        "loop of solve_ivp": (200, lambda: [solve_ivp(system, (0, 10), x0[b], p=p[b]) for b in some]),
        "loop of Solver": (200, lambda: by_solver(False)),
        "loop of Solver, with gradients": (200, lambda: by_solver(True)),
    }
    found = medians({name: run for name, (_, run) in runs.items()}, seconds)
    print(f"\nlotka_volterra, {B} members, tsit5, 1e-6: {kept.steps.mean():.0f} steps each")
    base = found["ensemble"] / B
    for name, (count, _) in runs.items():
        each = found[name] / count
        print(f"  {name:32s} {1e6 * each:8.2f} us a member   {each / base:6.1f} x the ensemble")


def cold() -> None:
    """From a plain function that nobody has seen to its first gradient; the kernels are loaded."""
    print("\ncold start, a plain function to a first gradient")
    odd = 1 + 1e-3 * time.time() % 1
    for name, method in (("tsit5", TSIT5), ("dopri5", DOPRI5), ("dop853", adjoint.DOP853)):

        def f(t, x, u, p, odd=odd):
            return [x[2], x[3], *(np.array(kepler(t, x, u, p)[2:]) * odd)]

        start = time.perf_counter()
        solve_ivp(f, (0, T), X0, p=MU, method=method).sweep(dlast=X0)
        print(f"  {name:32s} {time.perf_counter() - start:8.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["lotka_volterra", "lorenz96", "kepler", "ensemble", "cold"])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case")
    options = parser.parse_args()
    for case in options.cases:
        if case in FIXED:
            fixed(case, options.seconds)
        elif case == "kepler":
            adaptive(options.seconds)
        elif case == "ensemble":
            ensemble(options.seconds)
        elif case == "cold":
            cold()
        else:
            parser.error(f"there is no case {case!r}")


if __name__ == "__main__":
    main()
