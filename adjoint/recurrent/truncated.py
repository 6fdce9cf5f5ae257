"""What truncation does to a gradient: its angle and length against the full one.

Truncated back-propagation lets no gradient flow back through the knots where a window begins (`Unroll.backward`):

    g_L = Σ_k C_kᵀ λ_{k+1},   λ_k = A_kᵀ λ_{k+1} + q_k, but λ_k = q_k at the knots k = L, 2L, …

It is not the gradient of any loss, and biased: what a loss owes to inputs further back than the window is left out.
With the full gradient g the bias is told by

    cos θ = g_Lᵀ g / (‖g_L‖ ‖g‖)        ratio = ‖g_L‖ / ‖g‖

A window that begins at the same knots for every path never sees what crosses these knots; staggered windows (path b
begins at offset b L / batch) see each crossing in some of the paths. C. Tallec and Y. Ollivier, Unbiasing truncated
backpropagation through time, arXiv:1705.08209 (2017).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.recurrent.unroll import Unroll

__all__ = ["TruncationBias", "staggered", "truncation_bias"]


class TruncationBias(NamedTuple):
    """For each window: cos of the angle between truncated and full gradient of p, and the ratio of their lengths."""

    windows: NDArray[np.int64]
    cosine: NDArray[np.float64]
    ratio: NDArray[np.float64]


def staggered(batch: int, window: int) -> NDArray[np.int64]:
    """Offsets that spread the beginnings of the windows evenly over the batch: path b begins at b · window / batch."""
    return np.arange(batch, dtype=np.int64) * window // batch


def truncation_bias(
    run: Unroll,
    p: ArrayLike,
    u: ArrayLike,
    windows: Iterable[int],
    dx: ArrayLike | None = None,
    dlast: ArrayLike | None = None,
    x0: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    stagger: bool = False,
) -> TruncationBias:
    """Compare truncated gradients of p with the full one.

    Parameters
    ----------
    run : Unroll
    p, u, x0, lengths
        As for `Unroll.forward`.
    windows : iterable of int
        Lengths to try.
    dx, dlast
        The seeds, as for `Unroll.backward`.
    stagger : bool
        Whether the windows begin at different knots in each path of the batch.

    Returns
    -------
    TruncationBias

    Raises
    ------
    InputError
        If the full gradient is zero: then there is nothing to compare with.
    """
    lengths_of_windows = np.array(list(windows), np.int64)
    batch = np.shape(u)[0] if np.ndim(u) == 3 else 1

    def gradient(window: int | None) -> NDArray[np.float64]:
        run.forward(p, u, x0, lengths)
        offsets = staggered(batch, window) if stagger and window is not None else None
        return run.backward(dx, dlast, want_u=False, window=window, offsets=offsets).p.astype(np.float64)

    full = gradient(None)
    norm = np.linalg.norm(full)
    if norm == 0:
        raise InputError("the full gradient is zero for these seeds; a truncated one has nothing to be compared with.")
    cosine, ratio = np.zeros(len(lengths_of_windows)), np.zeros(len(lengths_of_windows))
    for i, window in enumerate(lengths_of_windows):
        g = gradient(int(window))
        length = np.linalg.norm(g)
        cosine[i], ratio[i] = g @ full / (length * norm) if length > 0 else 0.0, length / norm
    return TruncationBias(lengths_of_windows, cosine, ratio)
