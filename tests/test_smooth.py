"""The functions without branches against NumPy's in extended precision."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from adjoint.kernels.smooth import exp_negative, log, sigmoid, tanh

RANDOM = np.random.default_rng(0)
WIDE, NEAR = RANDOM.uniform(-80, 80, 20_000), RANDOM.uniform(-2, 2, 20_000)
REAL = np.concatenate([WIDE, NEAR, [0.0, 1e-30, -1e-30, 1e4, -1e4]])
POSITIVE = np.concatenate([10 ** RANDOM.uniform(-30, 30, 20_000), RANDOM.uniform(0.5, 2, 20_000), [1.0, 1e-37, 3e38]])
CASES = {
    "tanh": (tanh, np.tanh, REAL, 0.0),
    "sigmoid": (sigmoid, lambda z: 1 / (1 + np.exp(-z)), REAL, 0.0),
    "exp_negative": (exp_negative, np.exp, -np.abs(REAL), 0.0),
    "log": (log, np.log, POSITIVE, 1.0),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CASES)
def test_it_is_exact_to_rounding(name, dtype):
    function, exact, inputs, least = CASES[name]

    @numba.njit
    def apply(a, out):
        for i in range(a.size):
            out[i] = function(a[i])

    a = inputs.astype(dtype)
    out = np.empty_like(a)
    apply(a, out)
    expected = exact(a.astype(np.longdouble))
    # log is exact to an absolute error near 1; what is no normal number of float32 may come out as the least one
    assert np.all(np.abs(out - expected) <= 2 * np.finfo(dtype).eps * np.maximum(np.abs(expected), least) + 2e-38)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("function", [tanh, sigmoid])
def test_nan_and_infinities(function, dtype):
    @numba.njit
    def apply(a, out):
        for i in range(a.size):
            out[i] = function(a[i])

    out = np.empty(3, dtype)
    apply(np.array([np.nan, np.inf, -np.inf], dtype), out)
    assert np.isnan(out[0]) and out[1] == 1 and out[2] == pytest.approx(-1 if function is tanh else 0, abs=1e-37)
