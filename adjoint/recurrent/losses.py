"""Losses of what a network says, with their gradients: each returns J and ∂J/∂z.

    softmax_cross_entropy    J = Σ w (log Σ_c exp z_c - z_y) / Σ w        ∂J/∂z_c = w (softmax(z)_c - [c = y]) / Σ w
    binary_cross_entropy     J = Σ w (log(1 + exp z) - y z) / Σ w         ∂J/∂z   = w (sigmoid(z) - y) / Σ w
    squared_error            J = Σ w ½ (z - y)² / Σ w                     ∂J/∂z   = w (z - y) / Σ w

The sums go over all labels; w are weights, 1 if absent, and labels of weight 0 are not looked at. z are logits, not
probabilities, since exp and log then cancel where they would overflow: log(1 + exp z) = max(z, 0) + log(1 + exp -|z|).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.kernels import labels as kernels

__all__ = ["binary_cross_entropy", "softmax_cross_entropy", "squared_error", "within"]

Array = NDArray[Any]


def within(lengths: ArrayLike, N: int) -> NDArray[np.float64]:
    """Weights (batch, N) for labels per step: 1 before the end of each path and 0 beyond."""
    return (np.arange(N) < np.asarray(lengths)[:, None]).astype(np.float64)


def softmax_cross_entropy(
    logits: Array, labels: ArrayLike, weights: ArrayLike | None = None, out: Array | None = None
) -> tuple[float, Array]:
    """The mean of -log softmax(z)_y.

    Parameters
    ----------
    logits : array (..., classes) of float64 or float32
    labels : array_like of int (...)
        0 to classes - 1; a negative one is ignored.
    weights : array_like (...), optional
    out : array, optional
        Where to write the gradient; may be `logits` itself.

    Returns
    -------
    J : float
    gradient : array
        Of the shape and type of `logits`.

    Raises
    ------
    InputError
        If a shape or a label does not fit, or no label counts.
    """
    z, out = _logits(logits), _target(logits, out)
    y = np.asarray(labels)
    if y.dtype.kind not in "iu" or y.shape != z.shape[:-1]:
        raise InputError(f"labels have shape {y.shape} and type {y.dtype}; expected {z.shape[:-1]} whole numbers.")
    if y.size and y.max() >= z.shape[-1]:
        raise InputError(f"a label is {y.max()}; expected less than {z.shape[-1]}, the classes of the logits.")
    w = y >= 0 if weights is None else np.where(y < 0, 0, _weights(weights, y.shape))
    w = w / _total(w)
    # As it lies in memory: a network's logits come with the batch first, but lie with time first.
    order = (1, 0, 2) if z.ndim == 3 and not z.flags.c_contiguous else tuple(range(z.ndim))
    lined, target = z.transpose(order), out.transpose(order)
    rows = np.ascontiguousarray(lined).reshape(-1, z.shape[-1])
    d = target.reshape(rows.shape) if target.flags.c_contiguous else np.empty_like(rows)
    flat = (np.ascontiguousarray(a.transpose(order[:-1]), kind).ravel() for a, kind in ((y, np.int64), (w, z.dtype)))
    J = kernels.softmax_loss[z.dtype](rows, *flat, d)
    if not target.flags.c_contiguous:
        target[:] = d.reshape(target.shape)
    return J, out


def binary_cross_entropy(
    logits: Array, targets: ArrayLike, weights: ArrayLike | None = None, out: Array | None = None
) -> tuple[float, Array]:
    """The mean of -log P(y) where P(1) = sigmoid(z).

    Parameters
    ----------
    logits : array (...) of float64 or float32
    targets : array_like (...)
        Numbers from 0 to 1, which may lie between.
    weights : array_like (...), optional
        Of the shape of the logits, or of one that can be broadcast to it.
    out : array, optional
        Where to write the gradient; may be `logits` itself.

    Returns
    -------
    J : float
    gradient : array

    Raises
    ------
    InputError
        If a shape or a target does not fit, or no target counts.
    """
    z, y, w = _pairs(logits, targets, weights)
    if not ((y >= 0) & (y <= 1)).all():
        raise InputError("a target is not in [0, 1], of which weight is not 0; it is the probability of a yes.")
    e = np.exp(-np.abs(z))
    J = np.sum(w * (np.maximum(z, 0) - y * z + np.log1p(e)), dtype=np.float64)
    sigmoid = np.where(z < 0, e, 1) / (1 + e)
    return float(J), np.multiply(w, sigmoid - y, out=_target(logits, out))


def squared_error(
    outputs: Array, targets: ArrayLike, weights: ArrayLike | None = None, out: Array | None = None
) -> tuple[float, Array]:
    """The mean of ½ (z - y)².

    Parameters
    ----------
    outputs : array (...) of float64 or float32
    targets : array_like (...)
    weights : array_like (...), optional
        Of the shape of the outputs, or of one that can be broadcast to it.
    out : array, optional
        Where to write the gradient; may be `outputs` itself.

    Returns
    -------
    J : float
    gradient : array

    Raises
    ------
    InputError
        If a shape does not fit, or no target counts.
    """
    z, y, w = _pairs(outputs, targets, weights)
    if not np.isfinite(y).all():
        raise InputError("a target is not finite, of which weight is not 0. Give it the weight 0.")
    difference = z - y
    d = np.multiply(w, difference, out=_target(outputs, out))
    return 0.5 * float(np.sum(d * difference, dtype=np.float64)), d


def _logits(z: Array) -> Array:
    if not isinstance(z, np.ndarray) or z.dtype not in kernels.softmax_loss or z.ndim == 0 or z.shape[-1] == 0:
        raise InputError(
            f"logits are {np.shape(z)} of {getattr(z, 'dtype', type(z))}; expected a float array (…, classes)."
        )
    return z


def _target(z: Array, out: Array | None) -> Array:
    if out is None:
        return np.empty_like(z)
    if out.shape != z.shape or out.dtype != z.dtype:
        raise InputError(f"out has shape {out.shape} and type {out.dtype}; expected {z.shape} and {z.dtype}.")
    return out


def _weights(weights: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """Weights of this shape, >= 0."""
    w = np.ones(()) if weights is None else np.asarray(weights, dtype=np.float64)
    try:
        w = np.broadcast_to(w, shape)
    except ValueError:
        raise InputError(f"weights have shape {w.shape}; the labels have {shape}.") from None
    if not ((w >= 0) & (w < np.inf)).all():
        raise InputError("a weight is negative or not finite; expected numbers >= 0.")
    return w


def _total(w: Array) -> float:
    total = float(w.sum())
    if total == 0:
        raise InputError("no label counts: all are ignored or have weight 0.")
    return total


def _pairs(outputs: Array, targets: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    """z, y, w / Σ w; z and y are 0 where w is."""
    z = _logits(outputs)
    y = np.asarray(targets, dtype=z.dtype)
    if y.shape != z.shape:
        raise InputError(f"targets have shape {y.shape}; expected {z.shape}.")
    w = _weights(weights, z.shape)
    total = _total(w)
    if weights is not None:
        z, y = np.where(w > 0, z, 0), np.where(w > 0, y, 0)
    return z, y, (w / total).astype(z.dtype)
