"""A training step of a network: embedding, recurrent layer, a class for each step; loss and gradient of all weights.

    python benchmarks/bench_network.py [--seconds 3]

One thread. `sweeps` is the part of the time that the recurrent layer alone takes in `Unroll`, so that the difference is
what embedding, turning around, head and loss add. PyTorch (torch.nn) takes part where it is installed. Contestants take
turns in one process, medians in milliseconds; losses and gradients are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from typing import NamedTuple

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
from turns import medians

from adjoint.recurrent import GRU, LSTM, Bidirectional, Embedding, Network, PerStep, Unroll, softmax_cross_entropy

SYMBOLS, CLASSES = 6, 3
Run = Callable[[], tuple[float, float]]


class Case(NamedTuple):
    """A kind of cell with d units, embedded in e numbers, over N steps and B paths."""

    kind: str
    both: bool
    d: int
    e: int
    N: int
    B: int


CASES = [
    Case("gru", False, 16, 8, 100, 1), Case("gru", True, 32, 8, 60, 64), Case("gru", True, 64, 32, 200, 32),
    Case("lstm", True, 64, 32, 200, 32), Case("lstm", False, 128, 32, 200, 32),
]  # fmt: skip


def data(case: Case) -> tuple[Network, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    make = {"gru": GRU, "lstm": LSTM}[case.kind]
    layer = Bidirectional(make(case.d, case.e), make(case.d, case.e)) if case.both else make(case.d, case.e)
    network = Network(Embedding(SYMBOLS, case.e), [layer], {"class": PerStep(CLASSES)})
    u, y = rng.integers(0, SYMBOLS, (case.B, case.N)), rng.integers(0, CLASSES, (case.B, case.N))
    return network, network.init(0), u, y


def ours(case: Case, dtype: type) -> Run:
    network, p, u, y = data(case)
    run, p = network.unroll(dtype), p.astype(dtype)

    def step() -> tuple[float, float]:
        z = run.forward(p, u)["class"]
        J, d = softmax_cross_entropy(z, y, out=z)
        return J, float(np.linalg.norm(run.backward({"class": d}).p))

    return step


def sweeps(case: Case, dtype: type) -> Run:
    network, _, _, _ = data(case)
    runs = [(Unroll(cell, dtype), cell.init(0).astype(dtype)) for cell in network.cells]
    u = np.random.default_rng(0).standard_normal((case.N, case.B, case.e)).astype(dtype).transpose(1, 0, 2)
    dx = np.ones((case.N + 1, case.B, case.d), dtype).transpose(1, 0, 2)

    def step() -> tuple[float, float]:
        for run, p in runs:
            run.forward(p, u)
            run.backward(dx)
        return 0.0, 0.0

    return step


def torchs(case: Case, dtype: type) -> Run:
    import torch

    torch.set_num_threads(1)
    network, p, u, y = data(case)
    w = network.unpack(p)
    table = torch.nn.Embedding(SYMBOLS, case.e)
    layer = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[case.kind](case.e, case.d, bidirectional=case.both)
    head = torch.nn.Linear(case.d * (2 if case.both else 1), CLASSES)
    parts = {table.weight: w["embedding.table"], head.weight: w["head.class.W"], head.bias: w["head.class.b"]}
    for side, suffix in (("ahead.", ""), ("back.", "_reverse")) if case.both else (("", ""),):
        for theirs, name in (("weight_ih", "W_ih"), ("weight_hh", "W_hh"), ("bias_ih", "b")):
            parts[getattr(layer, f"{theirs}_l0{suffix}")] = w[f"layer1.{side}{name}"]
        getattr(layer, f"bias_hh_l0{suffix}").requires_grad_(False).zero_()  # only GRU's has a counterpart: b_hn
    modules = torch.nn.ModuleList([table, layer, head]).to(torch.float32 if dtype is np.float32 else torch.float64)
    with torch.no_grad():
        for tensor, value in parts.items():
            tensor[:] = torch.tensor(value)
        if case.kind == "gru":
            for suffix in ("", "_reverse") if case.both else ("",):
                getattr(layer, f"bias_hh_l0{suffix}").requires_grad_(True)
    inputs, labels = torch.tensor(u.T.copy()), torch.tensor(y.T.copy()).reshape(-1)

    def step() -> tuple[float, float]:
        modules.zero_grad()
        h, _ = layer(table(inputs))
        loss = torch.nn.functional.cross_entropy(head(h).reshape(-1, CLASSES), labels)
        loss.backward()
        # of a GRU's second bias, ours have the part of the candidate alone
        grads = [q.grad[2 * case.d :] if name.startswith("bias_hh") else q.grad
                 for name, q in [*layer.named_parameters(), *table.named_parameters(), *head.named_parameters()]
                 if q.grad is not None]  # fmt: skip
        return loss.item(), float(torch.sqrt(sum((g**2).sum() for g in grads)))

    return step


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=3.0, help="for each case and precision")
    seconds = arguments.parse_args().seconds
    makers = {"adjoint": ours, "sweeps": sweeps} | ({"torch": torchs} if importlib.util.find_spec("torch") else {})
    print(f"{'case':32s}{'':9s}" + "".join(f"{name:>10s}" for name in makers) + "   ratios to adjoint")
    for case in CASES:
        for dtype in (np.float32, np.float64):
            runs = {name: make(case, dtype) for name, make in makers.items()}
            first = {name: run() for name, run in runs.items()}
            if "torch" in first:
                accuracy = 1e-4 if dtype is np.float32 else 1e-10
                np.testing.assert_allclose(first["torch"], first["adjoint"], rtol=accuracy)
            found = {name: 1e3 * value for name, value in medians(runs, seconds).items()}
            label = f"{'bi-' if case.both else ''}{case.kind} {case.d} x {case.N} x {case.B}"
            cells = "".join(f"{found[name]:10.3f}" for name in makers)
            ratios = ", ".join(f"{name} {found[name] / found['adjoint']:.2f}" for name in list(found)[1:])
            print(f"{label:32s}{dtype.__name__:9s}{cells}   {ratios}", flush=True)


if __name__ == "__main__":
    main()
