"""A loss over a batch, computed by several threads: each takes a share of the samples.

For a mean over samples J(I) = 1/|I| Σ_{i in I} J_i and a partition of the index set I into shares I_1, I_2, …

    J(I) = Σ_s |I_s| / |I| · J(I_s),        ∂J/∂p likewise

Where a loss is a mean over something else, such as the labels that count, it returns the weight of its share as a third
number, and this takes the place of |I_s|; a share of weight 0 has no part.

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
Loss = Callable[[Array, NDArray[np.int64]], tuple[float, ArrayLike] | tuple[float, ArrayLike, float]]


def threaded(losses: Sequence[Loss]) -> Callable[[Array, NDArray[np.int64]], tuple[float, Array]]:
    """One loss for `train` out of several that do the same in memory of their own.

    Parameters
    ----------
    losses : sequence of callable
        ``loss(p, index) -> (J, ∂J/∂p)``, a mean over the samples with these indices; one for each thread, with its own
        `Unroll`. A mean over anything else (steps of paths of different lengths, labels that are not ignored) returns
        ``(J, ∂J/∂p, weight)``, the weight being the number that it is a mean over.

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
        weights = [
            float(outcome[2]) if len(outcome) == 3 else float(len(share))
            for outcome, share in zip(outcomes, shares, strict=True)
        ]
        total = sum(weights)
        if not (min(weights) >= 0 and 0 < total < np.inf):
            raise InputError(f"threaded: the weights of the shares are {weights}; expected one above 0, none below.")
        J, g = 0.0, np.zeros(np.shape(outcomes[0][1]))
        for weight, (value, gradient, *_) in zip(weights, outcomes, strict=True):
            if np.shape(gradient) != g.shape:
                raise InputError(f"threaded: the gradients have the shapes {g.shape} and {np.shape(gradient)}.")
            if weight > 0:
                J += weight / total * float(value)
                g += weight / total * np.asarray(gradient, np.float64)
        return J, g

    return loss
