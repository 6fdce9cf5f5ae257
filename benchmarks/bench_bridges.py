"""What a bridge costs: calls through PyTorch and JAX over the bare sweep, and a compiled LSTM inside PyTorch.

    python benchmarks/bench_bridges.py [--seconds 3]

First, one loss J = Σ x² / 2 over a rollout and its gradient with respect to x_0, u and p: `rollout` and `sweep` alone,
through `bridges.torch`, and through `bridges.jax` under jit; float64. Then an LSTM layer, its output squared and the
gradient with respect to its weights: `bridges.torch.Recurrent` against `torch.nn.LSTM`. Contestants take turns in one
process, and medians are printed; one thread. Gradients are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
from turns import medians

import adjoint
from adjoint import recurrent

Run = Callable[[], list[np.ndarray]]
HAVE_TORCH, HAVE_JAX = (importlib.util.find_spec(name) is not None for name in ("torch", "jax"))


def oscillator(t, x, u, p):
    position, speed = x
    return [speed, p[1] * (1 - position**2) * speed - p[0] * position + u[0]]


SYSTEM = adjoint.System(oscillator, states="position speed", controls="force", parameters="stiffness damping")


def rollouts(steps: int, batch: int | None) -> dict[str, Run]:
    rng = np.random.default_rng(0)
    lead = () if batch is None else (batch,)
    t = np.linspace(0, 10, steps + 1)
    numbers = [0.5 * rng.standard_normal((*lead, 2)), rng.standard_normal((*lead, steps, 1)), np.array([1.0, 0.5])]

    def bare() -> list[np.ndarray]:
        path = adjoint.rollout(SYSTEM, numbers[0], numbers[1], t, numbers[2])
        g = adjoint.sweep(path, dx=path.x)
        return [g.x0, g.u, g.p]

    runs = {"bare": bare}
    if HAVE_TORCH:
        import torch

        from adjoint.bridges.torch import rollout as torch_rollout

        torch.set_num_threads(1)
        tensors = [torch.tensor(a, requires_grad=True) for a in numbers]

        def in_torch() -> list[np.ndarray]:
            x = torch_rollout(SYSTEM, tensors[0], tensors[1], t, tensors[2])
            return [g.numpy() for g in torch.autograd.grad((x * x).sum() / 2, tensors)]

        runs["torch"] = in_torch
    if HAVE_JAX:
        import jax

        from adjoint.bridges.jax import rollout as jax_rollout

        jax.config.update("jax_enable_x64", True)
        gradient = jax.jit(jax.grad(lambda x0, u, p: (jax_rollout(SYSTEM, x0, u, t, p) ** 2).sum() / 2, (0, 1, 2)))
        arrays = [jax.numpy.asarray(a) for a in numbers]
        runs["jax"] = lambda: [np.asarray(g) for g in gradient(*arrays)]
    return runs


def layers(d: int, steps: int, batch: int, dtype: str) -> dict[str, Run]:
    import torch

    from adjoint.bridges.torch import Recurrent, module_from

    cell = recurrent.LSTM(d, 16)
    p = cell.init(0).astype(dtype)
    ours, theirs = Recurrent(cell, p, getattr(torch, dtype)), module_from(cell, p)
    # Time first, as both lie in memory.
    u = torch.tensor(np.random.default_rng(1).standard_normal((steps, batch, 16)), dtype=getattr(torch, dtype))
    theirs.batch_first = False

    def run_ours() -> list[np.ndarray]:
        y, _ = ours(u.transpose(0, 1))
        (g,) = torch.autograd.grad((y * y).mean(), ours.weight)
        return [cell.unpack(g.numpy())["W_hh"]]

    def run_theirs() -> list[np.ndarray]:
        y, _ = theirs(u)
        return [torch.autograd.grad((y * y).mean(), list(theirs.parameters()))[1].numpy()]

    return {"adjoint": run_ours, "torch": run_theirs}


def compare(title: str, runs: dict[str, Run], seconds: float, tolerance: float) -> None:
    first = next(iter(runs))
    expected = runs[first]()
    for name, run in runs.items():
        for a, b in zip(run(), expected, strict=True):
            error = np.linalg.norm(a - b) / np.linalg.norm(b)
            assert error < tolerance, f"{name} has another gradient: {error:.1e}"
    found = {name: 1e3 * value for name, value in medians(runs, seconds).items()}
    cells = "".join(f"  {name} {median:9.3f}" for name, median in found.items())
    ratios = ", ".join(f"{name} {found[name] / found[first]:.2f}" for name in list(found)[1:])
    print(f"{title:32s}{cells}   ratios to {first}: {ratios}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=3.0, help="for each case")
    seconds = arguments.parse_args().seconds
    print("milliseconds; forward and backward")
    for steps, batch in ((10, None), (1000, None), (1000, 64)):
        compare(f"rollout {steps} x {batch or 1}", rollouts(steps, batch), seconds, 1e-11)
    if HAVE_TORCH:
        for d, steps, batch in ((16, 100, 1), (64, 1000, 1), (64, 1000, 32)):
            for dtype, tolerance in (("float32", 1e-4), ("float64", 1e-10)):
                compare(f"LSTM {d} x {steps} x {batch} {dtype}", layers(d, steps, batch, dtype), seconds, tolerance)


if __name__ == "__main__":
    main()
