"""Back-propagation through time: one loss and its gradient with respect to all weights, against JAX and PyTorch.

    python benchmarks/bench_recurrent.py [--seconds 3]

J = mean over steps, paths and units of h · c; 16 inputs (one per unit for the diagonal cell); one thread. Contestants
take turns in one process, and medians are printed, so that a disturbance of the machine hits all of them alike. The
gradients are compared before anything is timed. JAX and PyTorch take part where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np
from turns import medians

from adjoint.recurrent import LSTM, Diagonal, Elman, Unroll

CASES = [
    ("rnn", 16, 100, 1), ("rnn", 64, 1000, 1), ("rnn", 64, 1000, 32), ("rnn", 256, 1000, 32), ("lstm", 64, 1000, 32),
    ("diag", 64, 10_000, 1),
]  # fmt: skip
Run = Callable[[], np.ndarray]


def data(kind: str, d: int, N: int, B: int, dtype: type) -> tuple:
    rng = np.random.default_rng(0)
    cell = {"rnn": lambda: Elman(d, 16), "lstm": lambda: LSTM(d, 16), "diag": lambda: Diagonal(d)}[kind]()
    p = (0.9 * cell.init(0)).astype(dtype)
    u = rng.standard_normal((N, B, cell.m)).astype(dtype)
    return cell, p, u, rng.standard_normal(d).astype(dtype)


def ours(kind: str, d: int, N: int, B: int, dtype: type) -> Run:
    cell, p, u, c = data(kind, d, N, B, dtype)
    run, inputs = Unroll(cell, dtype), u.transpose(1, 0, 2)
    weight = (c / (N * B * d)).astype(dtype)

    def gradient() -> np.ndarray:
        x = run.forward(p, inputs)
        q = run.seed(d)
        q[:, 1:] = weight
        float((x.transpose(1, 0, 2)[1:, :, :d] @ weight).sum())  # the loss; in memory time comes first
        return run.backward(q, want_u=False).p

    return gradient


def jax_gradient(kind: str, d: int, N: int, B: int, dtype: type) -> Run:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    cell, p, u, c = data(kind, d, N, B, dtype)
    weights = {name: jnp.asarray(value) for name, value in cell.unpack(p).items()}
    U, C = jnp.asarray(u), jnp.asarray(c)

    def loss(w):
        h = jnp.zeros((B, d), U.dtype)
        if kind == "diag":
            def step(h, v):
                h = jnp.tanh(w["a"] * h + w["w"] * v + w["b"])
                return h, h
            start, inputs = h, U
        elif kind == "rnn":
            def step(h, v):
                h = jnp.tanh(v + h @ w["W_hh"].T)
                return h, h
            start, inputs = h, U @ w["W_ih"].T + w["b"]
        else:
            def step(s, v):
                h, c = s
                i, f, g, o = jnp.split(v + h @ w["W_hh"].T, 4, axis=-1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h
            start, inputs = (h, h), U @ w["W_ih"].T + w["b"]
        return (jax.lax.scan(step, start, inputs)[1] * C).mean()

    compiled = jax.jit(jax.value_and_grad(loss))

    def gradient() -> np.ndarray:
        _, g = jax.block_until_ready(compiled(weights))
        return np.concatenate([np.asarray(g[name]).ravel() for name in cell.parameters])

    return gradient


def torch_gradient(kind: str, d: int, N: int, B: int, dtype: type) -> Run | None:
    import torch

    torch.set_num_threads(1)
    cell, p, u, c = data(kind, d, N, B, dtype)
    if kind == "diag":
        return None  # eager PyTorch takes seconds for 10 000 steps
    w = cell.unpack(p)
    layer = (torch.nn.LSTM if kind == "lstm" else torch.nn.RNN)(cell.m, d)
    layer = layer.double() if dtype is np.float64 else layer
    with torch.no_grad():
        layer.weight_ih_l0[:], layer.weight_hh_l0[:] = torch.tensor(w["W_ih"]), torch.tensor(w["W_hh"])
        layer.bias_ih_l0[:] = torch.tensor(w["b"])
        layer.bias_hh_l0.zero_()
    U, C = torch.tensor(u), torch.tensor(c)
    parts = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0)

    def gradient() -> np.ndarray:
        h, _ = layer(U)
        return np.concatenate([g.numpy().ravel() for g in torch.autograd.grad((h * C).mean(), parts)])

    return gradient


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=3.0, help="for each case and precision")
    seconds = arguments.parse_args().seconds
    makers = {"adjoint": ours}
    if importlib.util.find_spec("jax"):
        makers["jax"] = jax_gradient
    if importlib.util.find_spec("torch"):
        makers["torch"] = torch_gradient
    print(f"{'case':20s}{'':9s}" + "".join(f"{name:>12s}" for name in makers) + "   ratios to adjoint; milliseconds")
    for kind, d, N, B in CASES:
        for dtype in (np.float32, np.float64):
            runs = {name: run for name, make in makers.items() if (run := make(kind, d, N, B, dtype)) is not None}
            gradients = {name: run().astype(np.float64).copy() for name, run in runs.items()}
            for name, g in gradients.items():
                error = np.linalg.norm(g - gradients["adjoint"]) / np.linalg.norm(g)
                assert error < (1e-4 if dtype is np.float32 else 1e-10), f"{name} has another gradient: {error:.1e}"
            found = {name: 1e3 * value for name, value in medians(runs, seconds).items()}
            cells = "".join(f"{found[name]:12.3f}" if name in found else f"{'-':>12s}" for name in makers)
            ratios = ", ".join(f"{name} {found[name] / found['adjoint']:.2f}" for name in list(found)[1:])
            print(f"{f'{kind} {d} x {N} x {B}':20s}{dtype.__name__:9s}{cells}   {ratios}", flush=True)


if __name__ == "__main__":
    main()
