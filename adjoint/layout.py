"""How paths lie in memory for the sweeps: (paths, time, values) ↔ (blocks, time, …).

    Lanes(W)          (paths, K, n) ↔ (blocks, K, n, W)       W paths in the lanes of a vector register
    Rows(together)    (paths, K, n) ↔ (1, K, paths, n)        all paths as rows of one matrix per knot, sharing p,
                                    or (paths, K, 1, n)       each path with its own p

as the header of `kernels.sweep` has it. The time axis may be absent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adjoint.kernels import sweep as kernels

__all__ = ["Lanes", "Rows"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lanes:
    """W paths side by side."""

    width: int

    def pack(self, a: Array, pad_with_zero: bool = False) -> Array:
        """(paths, …) → (blocks, …, W). A last block that is not full repeats the last path, or is filled with zeros."""
        W = self.width
        if W == 1:
            return a[..., None]
        missing = -len(a) % W
        if missing:
            filling = np.zeros_like(a[:1]) if pad_with_zero else a[-1:]
            a = np.concatenate([a, np.repeat(filling, missing, axis=0)])
        blocks, values = len(a) // W, math.prod(a.shape[1:])
        out = np.empty((blocks, values, W))
        kernels.transpose(np.ascontiguousarray(a).reshape(blocks, W, values), out)
        return out.reshape(blocks, *a.shape[1:], W)

    def unpack(self, a: Array, paths: int) -> Array:
        """(blocks, …, W) → (paths, …)."""
        if self.width == 1:
            return a[..., 0]
        blocks, W, values = len(a), a.shape[-1], math.prod(a.shape[1:-1])
        out = np.empty((blocks, W, values))
        kernels.transpose(a.reshape(blocks, values, W), out)
        return out.reshape(blocks * W, *a.shape[1:-1])[:paths]

    def shape(self, paths: int, knots: int, values: int) -> tuple[int, int, int, int]:
        """That of `pack` for (paths, knots, values)."""
        return -(-paths // self.width), knots, values, self.width

    def times(self, t: Array) -> tuple[Array, Array]:
        """t_k and h_k in all lanes: (N, W)."""
        h = t[1:] - t[:-1]
        if self.width == 1:
            return t[:-1, None], h[:, None]
        return np.repeat(t[:-1, None], self.width, axis=1), np.repeat(h[:, None], self.width, axis=1)

    def parameters(self, p: Array) -> Array:
        """(n_p,) or (paths, n_p) → (1 or blocks, n_p, W)."""
        if p.ndim == 2:
            return self.pack(p)
        return p[None, :, None] if self.width == 1 else np.repeat(p[None, :, None], self.width, axis=2)

    def parameter_seed(self, s: Array) -> Array:
        """The same for what is summed over the lanes in the end: one of them carries it."""
        if s.ndim == 2:
            return self.pack(s, pad_with_zero=True)
        gp = np.zeros((1, s.size, self.width))
        gp[0, :, 0] = s
        return gp

    def parameter_gradient(self, gp: Array, p: Array) -> Array:
        """Back to the shape of p."""
        return gp[0].sum(axis=-1) if p.ndim == 1 else self.unpack(gp, len(p))


@dataclass(frozen=True)
class Rows:
    """All paths as the rows of a matrix, or each by itself."""

    together: bool

    def pack(self, a: Array, pad_with_zero: bool = False) -> Array:
        """(paths, K, n) → (1, K, paths, n) or (paths, K, 1, n); (paths, n) → (1, paths, n) or (paths, 1, n)."""
        if not self.together:
            return a[..., None, :]
        return np.ascontiguousarray(np.moveaxis(a, 0, -2))[None]

    def unpack(self, a: Array, paths: int) -> Array:
        """The way back."""
        return np.ascontiguousarray(np.moveaxis(a[0], -2, 0)) if self.together else a[..., 0, :]

    def shape(self, paths: int, knots: int, values: int) -> tuple[int, int, int, int]:
        """That of `pack` for (paths, knots, values)."""
        return (1, knots, paths, values) if self.together else (paths, knots, 1, values)

    def times(self, t: Array) -> tuple[Array, Array]:
        """t_k and h_k: (N, 1)."""
        return t[:-1, None], (t[1:] - t[:-1])[:, None]

    def parameters(self, p: Array) -> Array:
        """(n_p,) or (paths, n_p) → (1 or paths, n_p, 1)."""
        return np.atleast_2d(p)[:, :, None]

    def parameter_seed(self, s: Array) -> Array:
        """The same, as a copy that can be added to."""
        return self.parameters(s).copy()

    def parameter_gradient(self, gp: Array, p: Array) -> Array:
        """Back to the shape of p."""
        return gp.reshape(p.shape)
