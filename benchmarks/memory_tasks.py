"""Copy and associative recall, learned by a memory tape on short sequences and tested on longer ones.

    python benchmarks/memory_tasks.py [--task copy recall] [--seeds 5] [--first-seed 0] [--figure tape.png]

copy      Random vectors of 8 bits, an end mark, and then, without further input, the same vectors are wanted again.
          Trained on 1 to 10 vectors and a tape of 16 slots.
recall    Different random vectors, and one of them again together with a question mark: wanted is the one that
          followed it. Trained on 2 to 6 vectors and a tape of 16 slots.

The weights do not depend on the number of slots, and the tests have longer tapes. For each seed (of the weights and of
the training data) a line: loss at the end, seconds, and for each length of the test the percentage of bits and of whole
vectors that were right. The figure shows the last seed's copy of 40 vectors.

Tasks: A. Graves, G. Wayne and I. Danihelka, Neural Turing Machines, arXiv:1410.5401, sections 4.1 and 4.3 (there an
item of the recall is three vectors of 6 bits).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import NamedTuple

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import matplotlib.pyplot as plt
import numpy as np

from adjoint.recurrent import Adam, Cell, Tape, Unroll, cosine, train

BITS, UNITS, WIDTH = 8, 24, 10


class Batch(NamedTuple):
    """Inputs u (batch, N, BITS + 1), the bits that are wanted (batch, asked, BITS), and the steps `asked` of them."""

    u: np.ndarray
    wanted: np.ndarray
    asked: slice


def copy(rng: np.random.Generator, batch: int, length: int) -> Batch:
    u = np.zeros((batch, 2 * length + 1, BITS + 1))
    words = rng.integers(0, 2, (batch, length, BITS))
    u[:, :length, :BITS], u[:, length, BITS] = words, 1
    return Batch(u, words, slice(length + 1, None))


def recall(rng: np.random.Generator, batch: int, items: int) -> Batch:
    u = np.zeros((batch, items + 1, BITS + 1))
    numbers = np.array([rng.choice(2**BITS, items, replace=False) for _ in range(batch)])
    words = (numbers[..., None] >> np.arange(BITS)) & 1
    paths, which = np.arange(batch), rng.integers(0, items - 1, batch)
    u[:, :items, :BITS], u[:, items, :BITS], u[:, items, BITS] = words, words[paths, which], 1
    return Batch(u, words[paths, which + 1][:, None], slice(items, None))


class Task(NamedTuple):
    """Where data come from, the shortest and longest sequence of the training, and (length, slots) of the tests."""

    data: Callable[[np.random.Generator, int, int], Batch]
    shortest: int
    longest: int
    steps: int
    batch: int
    tests: list[tuple[int, int]]


TASKS = {
    "copy": Task(copy, 1, 10, 3000, 16, [(10, 16), (20, 32), (60, 128)]),
    "recall": Task(recall, 2, 6, 3000, 32, [(6, 16), (12, 16), (20, 32)]),
}


def tape(slots: int) -> Cell:
    return Tape(UNITS, BITS + 1, slots, WIDTH)


def start(cell: Cell, seed: int) -> np.ndarray:
    """The weights of the cell, and of the readout: bit i is said where C_i·(h, r) + c_i > 0."""
    C = np.random.default_rng(seed).uniform(-1, 1, (BITS, cell.outputs)) / np.sqrt(cell.outputs)
    return np.concatenate([cell.init(seed), C.ravel(), np.zeros(BITS)])


def readout(p: np.ndarray, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    return p[cell.n_p : -BITS].reshape(BITS, cell.outputs), p[-BITS:]


def loss_of(task: Task, cell: Cell, seed: int) -> Callable:
    """The mean cross-entropy of a bit on new data, a length a batch, and its gradient."""
    run, rng = Unroll(cell, np.float32), np.random.default_rng([seed, 1])

    def loss(p: np.ndarray, index: np.ndarray) -> tuple[float, np.ndarray]:
        data = task.data(rng, task.batch, rng.integers(task.shortest, task.longest + 1))
        C, c = readout(p, cell)
        seen = run.forward(p[: cell.n_p], data.u)[:, 1:, : cell.outputs][:, data.asked]
        z = seen @ C.T + c
        on_z = (1 / (1 + np.exp(-z)) - data.wanted) / z.size
        q = run.seed(cell.outputs)
        q[:, 1:][:, data.asked] = on_z @ C
        parts = (run.backward(q, want_u=False).p, np.einsum("bko,bkc->oc", on_z, seen).ravel(), on_z.sum((0, 1)))
        return float(np.mean(np.logaddexp(0, z) - data.wanted * z)), np.concatenate(parts)

    return loss


def answers(p: np.ndarray, cell: Cell, data: Batch) -> tuple[np.ndarray, np.ndarray]:
    """All states, and the answers before the threshold."""
    x = Unroll(cell).forward(p[: cell.n_p], data.u)[:, 1:]
    C, c = readout(p, cell)
    return x, x[:, data.asked, : cell.outputs] @ C.T + c


def learn(name: str, seed: int) -> np.ndarray:
    task, cell = TASKS[name], tape(16)
    before = time.perf_counter()
    result = train(
        loss_of(task, cell, seed), start(cell, seed), task.steps, batch=1, epochs=1, optimiser=Adam(0.01), clip=1.0,
        schedule=cosine(task.steps, 50),
    )  # fmt: skip
    seconds = time.perf_counter() - before
    scores = []
    for length, slots in task.tests:
        data = task.data(np.random.default_rng([seed, 2]), 200, length)
        right = (answers(result.p, tape(slots), data)[1] > 0) == data.wanted
        scores.append(f"{100 * right.mean():8.2f} {100 * right.all(axis=2).mean():7.2f}")
    print(f"{name:8s}{seed:4d}{result.loss[-100:].mean():9.4f}{seconds:7.1f}  " + " ".join(scores), flush=True)
    return result.p


def draw(p: np.ndarray, path: str, length: int = 40) -> None:
    """What a copy looks like: the inputs, the answers, and where the heads stand."""
    slots = length + 8
    cell = tape(slots)
    data = copy(np.random.default_rng(0), 1, length)
    x, z = answers(p, cell, data)
    at = UNITS + WIDTH
    read, write = x[0, :, at : at + slots], x[0, :, at + slots : at + 2 * slots]
    said = np.full((2 * length + 1, BITS), np.nan)
    said[data.asked] = 1 / (1 + np.exp(-z[0]))
    figure, axes = plt.subplots(
        4, 1, figsize=(7, 7), sharex=True, layout="constrained", height_ratios=[BITS + 1, BITS + 1, 26, 26]
    )
    pictures = {"input: bit": data.u[0], "answer: bit": said, "write head: slot": write, "read head: slot": read}
    for axis, (label, picture) in zip(axes, pictures.items(), strict=True):
        shown = axis.imshow(picture.T, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest",
                            origin="lower")  # fmt: skip
        axis.set_ylabel(label)
    axes[-1].set_xlabel("step")
    figure.colorbar(shown, ax=axes, label="bit, probability of a 1, or weighting of a slot", shrink=0.5)
    figure.savefig(path, dpi=150)
    right = np.mean((z[0] > 0) == data.wanted[0])
    print(f"{path}: a copy of {length} vectors, {100 * right:.1f} % of bits right; trained on 1 to 10 vectors")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--task", nargs="+", choices=list(TASKS), default=list(TASKS))
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--first-seed", type=int, default=0)
    arguments.add_argument("--figure", help="where to draw the last copy")
    given = arguments.parse_args()
    for name in given.task:
        columns = " ".join(f"{f'length {length}':>16s}" for length, _ in TASKS[name].tests)
        print(f"{'task':8s}{'seed':>4s}{'loss':>9s}{'s':>7s}  {columns}    % of bits, of vectors")
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            p = learn(name, seed)
        if name == "copy" and given.figure:
            draw(p, given.figure)


if __name__ == "__main__":
    main()
