"""The bridges are optional: what is not asked for is not imported, what is missing is named."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest

import adjoint
from adjoint.bridges.repeated import repeat, total


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, timeout=120,
                          check=False)


def test_importing_the_library_imports_neither_pytorch_nor_jax():
    run = python("import sys, adjoint, adjoint.bridges; print({'torch', 'jax', 'dask'} & sys.modules.keys())")
    assert run.stdout == "set()\n", run.stderr


@pytest.mark.parametrize(("name", "library"), [("torch", "PyTorch"), ("jax", "JAX")])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(name, library):
    run = python(f"import sys; sys.modules['{name}'] = None; import adjoint.bridges.{name}")
    last = run.stderr.strip().splitlines()[-1]
    assert last == (f"ImportError: adjoint.bridges.{name} needs {library}, which is not installed: "
                    f"pip install 'adjoint-control[{name}]'.")


@pytest.mark.parametrize(("shape", "full"), [((2,), (2,)), ((), (5, 1)), ((1,), (3, 5, 1)), ((5, 2), (3, 5, 2)),
                                             ((5,), (5, 1)), ((0,), (3, 5, 0))], ids=str)
def test_summing_is_the_transpose_of_repeating(shape, full):
    rng = np.random.default_rng(0)
    a, g = rng.standard_normal(shape), rng.standard_normal(full)
    assert np.vdot(repeat(a, g), g) == pytest.approx(np.vdot(a, total(g, shape)), abs=1e-13)
    assert all(np.array_equal(copy, a.ravel()) for copy in repeat(a, g).reshape(-1, max(1, a.size)))


# ---- ensembles over an executor: no bridge is needed, as a System travels ------------------------


def decay(t, x, u, p):
    return [-p[0] * x[0]]


DECAY = adjoint.System(decay, states="x", parameters="rate")


def gradient(system, data, rate):
    path = adjoint.rollout(system, [1.0], t=np.linspace(0, 1, 21), p=[rate])
    return float(adjoint.sweep(path, dx=path.x - data).p[0])


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_gradients_of_an_ensemble_over_an_executor(kind):
    data = np.ones((21, 1))
    rates = [0.5, 1.0, 2.0]
    function = adjoint.System(lambda t, x, u, p: [-p[0] * x[0]], states="x", parameters="rate")  # travels as its graph
    expected = [gradient(DECAY, data, rate) for rate in rates]
    executor = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with executor:
        for system in (DECAY, function):
            assert list(executor.map(partial(gradient, system, data), rates)) == pytest.approx(expected, rel=1e-14)
