"""A gradient over a million steps and more, in little memory: time, and the memory that is really taken.

    python benchmarks/bench_checkpoint.py [--long]

J = ∫ (x² + y²) dt over Lotka-Volterra, RK4. Peers, where they are installed: JAX with a nested, checkpointed scan (1000
x 1000), and the schedules of the package checkpoint-schedules, asked for nothing but their list of actions. Runs are
interleaved; medians of the process's own time (other work may share the machine). ``--long`` adds 1e8 steps.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from adjoint.method import RK4
from adjoint.ode.checkpoint import checkpointed
from adjoint.ode.running import with_running
from adjoint.ode.schedule import Schedule
from adjoint.sweeps import rollout, sweep
from adjoint.system import System

P, X0, END = np.array([1.5, 1.0, 3.0, 1.0]), np.array([1.0, 1.0]), 50.0


def lotka_volterra(t, x, u, p):
    """Two species."""
    return [p[0] * x[0] - p[1] * x[0] * x[1], p[3] * x[0] * x[1] - p[2] * x[1]]


def cost(t, x, u, p):
    """ℓ."""
    return (x[0] ** 2 + x[1] ** 2) / END


PREY = System(lotka_volterra, "prey predator", parameters="a b c d")


def ours(N: int, memory: str) -> Callable[[], np.ndarray]:
    """The checkpointed gradient."""
    def run() -> np.ndarray:
        g = checkpointed(PREY, X0, t=(0.0, END, N), p=P, memory=memory, running=cost)
        return np.concatenate([g.x0, g.p])
    return run


def stored(N: int) -> Callable[[], np.ndarray]:
    """All states kept: `rollout` and `sweep`."""
    step = with_running(PREY, cost).step(RK4)
    system = System.from_step(step, lotka_volterra, states="x y cost", parameters="a b c d")
    t = np.linspace(0.0, END, N + 1)

    def run() -> np.ndarray:
        g = sweep(rollout(system, [*X0, 0.0], t=t, p=P), dx=[0.0, 0.0, 1.0])
        return np.concatenate([g.x0[:2], g.p])
    return run


def jax_nested(N: int, segment: int) -> Callable[[], np.ndarray] | None:
    """jax.checkpoint around an inner scan, within an outer scan."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    h = END / N

    def f(z, p):
        x, y = z[0], z[1]
        return jnp.array([p[0] * x - p[1] * x * y, p[3] * x * y - p[2] * y, (x * x + y * y) / END])

    def step(z, p):
        k1 = f(z, p)
        k2 = f(z + h / 2 * k1, p)
        k3 = f(z + h / 2 * k2, p)
        k4 = f(z + h * k3, p)
        return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def loss(x0, p):
        inner = jax.checkpoint(lambda z: jax.lax.scan(lambda w, _: (step(w, p), None), z, None, length=segment)[0])
        start = jnp.concatenate([x0, jnp.zeros(1)])
        return jax.lax.scan(lambda z, _: (inner(z), None), start, None, length=N // segment)[0][2]

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    return lambda: np.concatenate([np.asarray(a) for a in gradient(jnp.asarray(X0), jnp.asarray(P))])


def listing() -> None:
    """Seconds to list the actions of a schedule: ours, and those of checkpoint-schedules."""
    try:
        from checkpoint_schedules import EndReverse, MultistageCheckpointSchedule, Revolve
    except ImportError:
        print("checkpoint-schedules is not installed")
        return
    for segments, places in ((100, 5), (300, 10)):
        makers = {
            "ours": lambda M=segments, c=places: list(Schedule(M, 1, c).actions()),
            "Revolve": lambda M=segments, c=places: _until_end(Revolve(M, c), EndReverse),
            "Multistage": lambda M=segments, c=places: _until_end(MultistageCheckpointSchedule(M, c, 0), EndReverse),
        }
        for name, make in makers.items():
            make()
            start = time.perf_counter()
            make()
            seconds = time.perf_counter() - start
            what = f"list of actions, {segments} segments, {places} places"
            print(f"  {what}: {name:10s} {1e6 * seconds / segments:9.1f} µs a segment")


def _until_end(schedule, end) -> None:
    for action in schedule:
        if isinstance(action, end):
            return


def interleaved(runs: dict[str, Callable[[], np.ndarray]], rounds: int) -> None:
    """Medians, and whether all gradients agree."""
    results = {name: run() for name, run in runs.items()}  # compiled
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    first = next(iter(results.values()))
    base = statistics.median(times[next(iter(runs))])
    for name, run in runs.items():
        tracemalloc.start()
        run()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        median = statistics.median(times[name])
        same = "same bits" if np.array_equal(results[name], first) else (
            f"differs by {np.abs(results[name] / first - 1).max():.0e}")
        kept = f"{peak / 1e6:8.3f} MB" if "JAX" not in name else "     (its own)"
        print(f"  {name:44s} {1e3 * median:10.1f} ms   {median / base:6.2f}   {kept}   {same}")


def main() -> None:
    """Print the table."""
    N = 1_000_000
    runs = {"all states kept": stored(N)}
    runs |= {f"checkpointed, {memory}": ours(N, memory) for memory in ("10 MB", "1 MB", "300 kB", "100 kB", "50 kB")}
    peer = jax_nested(N, 1000)
    if peer is not None:
        runs["JAX, nested checkpointed scan, 1000 x 1000"] = peer
    print(f"{N} steps: median, relative to the first row, memory taken")
    interleaved(runs, 5)
    listing()
    if "--long" in sys.argv:
        for memory in ("100 MB", "1 MB"):
            start, own = time.perf_counter(), time.process_time()
            tracemalloc.start()
            g = checkpointed(PREY, X0, t=(0.0, END, 10**8), p=P, memory=memory, running=cost)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            spent = f"{time.process_time() - own:.1f} s ({time.perf_counter() - start:.1f} s of the clock)"
            print(f"  1e8 steps within {memory}: {spent}, {peak / 1e6:.3f} MB taken; {g.schedule}")


if __name__ == "__main__":
    main()
