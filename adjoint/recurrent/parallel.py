"""A loss over a batch, computed by several threads: each takes a share of the samples.

For a mean over samples J(I) = 1/|I| Σ_{i in I} J_i and a partition of the index set I into shares I_1, I_2, …

    J(I) = Σ_s |I_s| / |I| · J(I_s),        ∂J/∂p likewise

A cell's sweep keeps its memory to itself (`Unroll`), so every thread has a loss of its own; the compiled loops run
without the interpreter's lock. The shares are cut and added in a fixed order: the same bits at every call, whatever the
threads do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError

__all__ = ["threaded"]

Array = NDArray[np.float64]
Loss = Callable[[Array, NDArray[np.int64]], tuple[float, ArrayLike]]


def threaded(losses: Sequence[Loss]) -> Callable[[Array, NDArray[np.int64]], tuple[float, Array]]:
    """One loss for `train` out of several that do the same in memory of their own.

    Parameters
    ----------
    losses : sequence of callable
        ``loss(p, index) -> (J, ∂J/∂p)``, a mean over the samples with these indices; one for each thread, with its own
        `Unroll`.

    Returns
    -------
    callable
        The same function of all samples in `index`.

    Raises
    ------
    InputError
        If there is no loss, or one of them is no function, or two are the same object: they would share memory.

    Examples
    --------
    ``train(threaded([make_loss() for _ in range(2)]), p, samples)`` where make_loss() builds an `Unroll` and returns
    the function that uses it.
    """
    functions = list(losses)
    if not functions or not all(callable(function) for function in functions):
        raise InputError(f"losses is {losses!r}; expected one function loss(p, index) for each thread.")
    if len({id(function) for function in functions}) < len(functions):
        raise InputError("the same loss is given twice; its Unroll is one memory. Make one loss for each thread.")
    pool = ThreadPoolExecutor(len(functions))  # its threads end with the function that holds it

    def loss(p: Array, index: NDArray[np.int64]) -> tuple[float, Array]:
        shares = [share for share in np.array_split(np.asarray(index), len(functions)) if len(share)]
        if not shares:
            raise InputError("index is empty; a mean over no samples is nothing.")
        running = [pool.submit(function, p, share) for function, share in zip(functions, shares, strict=False)]
        outcomes = [future.result() for future in running]
        weights = [len(share) / len(index) for share in shares]
        J, g = 0.0, np.zeros(np.shape(outcomes[0][1]))
        for weight, (value, gradient) in zip(weights, outcomes, strict=True):
            J += weight * float(value)
            g += weight * np.asarray(gradient, np.float64)
        return J, g

    return loss
