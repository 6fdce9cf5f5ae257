"""Structured recurrence: what a backward pass costs as the number of units d grows, and how much memory a sweep takes.

    python benchmarks/bench_structured.py [--seconds 2] [--figure slopes.png]

One path, 1000 steps, one input, float64; the gradient of |x_N|² / 2 with respect to all weights. Dense recurrent
matrices cost O(d²) a step, those of rank r O(dr), diagonal ones O(d): slopes 2, 1, 1 in the logarithms, fitted over the
larger half of the sizes. Then the bytes that a forward and a backward sweep of a dense cell keep, beside those of JAX's
compiled scan (its own analysis of memory) where JAX is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tracemalloc

import numpy as np
from turns import medians

from adjoint.recurrent import Cell, Diagonal, Elman, LowRank, Unroll

STEPS, RANK = 1000, 8
SIZES = {
    "dense": (64, 128, 256, 512, 1024),
    "rank 8": (64, 128, 256, 512, 1024, 2048),
    "diagonal": (256, 512, 1024, 2048, 4096),
}


def cell(kind: str, d: int) -> Cell:
    if kind == "dense":
        return Elman(d, 1)
    return LowRank(d, 1, RANK) if kind == "rank 8" else Diagonal(d)


def milliseconds(kind: str, d: int, seconds: float) -> float:
    made, rng = cell(kind, d), np.random.default_rng(0)
    run, p = Unroll(made), made.init(0)
    u = rng.standard_normal((1, STEPS, made.m))

    def forward() -> None:
        run.forward(p, u)

    def both() -> None:
        run.forward(p, u)
        run.backward(dlast=run.last, want_u=False)

    found = medians({"forward": forward, "both": both}, seconds)
    return 1e3 * (found["both"] - found["forward"])


def slopes(seconds: float, figure: Path | None) -> None:
    print(f"backward pass over {STEPS} steps, milliseconds")
    curves = {}
    for kind, sizes in SIZES.items():
        times = [milliseconds(kind, d, seconds) for d in sizes]
        half = len(sizes) // 2
        slope = np.polyfit(np.log(sizes[half:]), np.log(times[half:]), 1)[0]
        curves[kind] = sizes, times, slope
        points = "".join(f"  {d}: {t:.2f}" for d, t in zip(sizes, times, strict=True))
        print(f"{kind:10s}{points}   slope {slope:.2f}")
    if figure is None:
        return
    import matplotlib.pyplot as plt

    fig, axis = plt.subplots(figsize=(4.2, 3.4), layout="constrained")
    for marker, (kind, (sizes, times, slope)) in zip("os^", curves.items(), strict=True):
        axis.loglog(sizes, times, marker + "-", ms=4, label=f"{kind}, slope {slope:.2f}")
    axis.set(xlabel="units d", ylabel="backward pass over 1000 steps, ms", ylim=(None, 2000))
    axis.legend(frameon=False)
    fig.savefig(figure, dpi=200)


def memory(d: int = 64, N: int = 1000, B: int = 32) -> None:
    made, rng = Elman(d, 16), np.random.default_rng(0)
    p, u = made.init(0), rng.standard_normal((N, B, 16))
    small = Unroll(made)  # compiled or loaded
    small.forward(p, u[:1].transpose(1, 0, 2))
    small.backward(dlast=small.last, want_u=False)
    run = Unroll(made)
    tracemalloc.start()
    run.forward(p, u.transpose(1, 0, 2))
    run.backward(dlast=run.last, want_u=False)
    ours = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    line = f"memory of a sweep, dense {d} x {N} x {B}, float64: {ours / 1e6:.1f} MB"
    if importlib.util.find_spec("jax"):
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        w = {name: jnp.asarray(value) for name, value in made.unpack(p).items()}

        def loss(w: dict, u: jax.Array) -> jax.Array:
            def step(h: jax.Array, v: jax.Array) -> tuple:
                return jnp.tanh(v + h @ w["W_hh"].T), None

            return (jax.lax.scan(step, jnp.zeros((B, d)), u @ w["W_ih"].T + w["b"])[0] ** 2).sum() / 2

        found = jax.jit(jax.value_and_grad(loss)).lower(w, jnp.asarray(u)).compile().memory_analysis()
        theirs = found.temp_size_in_bytes
        line += f"; JAX's scan {theirs / 1e6:.1f} MB, {theirs / ours:.1f} times as much"
    print(line)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=2.0, help="for each point")
    arguments.add_argument("--figure", type=Path, help="where to draw the slopes")
    options = arguments.parse_args()
    memory()
    slopes(options.seconds, options.figure)


if __name__ == "__main__":
    main()
