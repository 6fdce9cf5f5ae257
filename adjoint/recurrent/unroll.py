"""`Unroll`: a cell over sequences and back, in memory that is kept between calls.

    forward     x_{k+1} = Φ(x_k, u_k, p)
    backward    λ_k = A_kᵀ λ_{k+1} + q_k,   g_u = B_kᵀ λ_{k+1},   g_p = Σ C_kᵀ λ_{k+1}       back-propagation through
    time

The loops are those of `kernels.sweep`, as for every other system; what `Unroll` adds to `rollout` and `sweep` is what
training asks for: float32, paths of different lengths, nothing allocated or copied twice, windows. In memory time comes
first, (N+1, batch, n); arrays are handed out as views (batch, N+1, n).

Paths of different lengths need no mask. The states of a path up to its end do not see what comes later, and where
nothing is seeded the costate is exactly zero: padding adds exact zeros to the gradient. It is enough to put zeros for
the inputs after the end (so that they are finite), and to seed nothing there.

Windows (truncated back-propagation): with `window` = L the flow of the gradient is cut at every L-th knot,

    λ_k = q_k     where (k - offset_b) mod L = 0,  k > 0

R. J. Williams and J. Peng, An efficient gradient-based algorithm for on-line training of recurrent network
trajectories, Neural Computation 2 (1990).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from adjoint.cell_step import chunk
from adjoint.errors import AdjointError, InputError
from adjoint.kernels import sweep as kernels
from adjoint.kernels.cells import CUT, SIZES, WINDOW
from adjoint.recurrent.cell import Cell
from adjoint.recurrent.paths import Memory, check_finite, checked_lengths

__all__ = ["Unroll", "UnrollGradient"]

Array = NDArray[Any]


class UnrollGradient(NamedTuple):
    """∂J/∂x_0 (batch, n) and ∂J/∂u (batch, N, m) or None, views into kept memory; ∂J/∂p (n_p,), an array of its own."""

    x0: Array
    u: Array | None
    p: Array


class Unroll:
    """A cell over a batch of sequences.

    Parameters
    ----------
    cell : Cell
    dtype : float64 or float32

    Notes
    -----
    Not for use by two threads at once: the memory is its own. Make one for each.
    """

    def __init__(self, cell: Cell, dtype: DTypeLike = np.float64) -> None:
        if not isinstance(cell, Cell):
            raise InputError(f"Unroll: the first argument is {cell!r}; expected a cell, such as recurrent.GRU(8, 2).")
        self.cell, self.dtype = cell, np.dtype(dtype)
        if self.dtype not in kernels.forward:
            raise InputError(f"dtype is {self.dtype}; expected float64 or float32.")
        self._memory = Memory(self.dtype)
        self._shape: tuple[int, int] | None = None
        self._ran = False

    def forward(
        self, p: ArrayLike, u: ArrayLike, x0: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> Array:
        """Run over the inputs.

        Parameters
        ----------
        p : array_like (n_p,)
        u : array_like (batch, N, m), or (N, m) for one path
            Used as it is, without a copy, if it is a transposed view of a contiguous (N, batch, m) array.
        x0 : array_like (batch, n) or (n,), optional
            Zero if absent.
        lengths : array_like of int (batch,), optional
            Steps of each path; inputs beyond are not looked at, and states beyond mean nothing.

        Returns
        -------
        array (batch, N+1, n), or (N+1, n)
            A read-only view that is valid until the next call. `backward` reads it once more, and u where it is used
            as it is: leave both as they are until then.

        Raises
        ------
        InputError
            If a shape, a length or a number does not fit; the message names the argument.
        AdjointError
            If the states become infinite although the inputs are finite.
        """
        cell, self._ran = self.cell, False
        inputs, self._single = self._inputs(u)
        B, N, _ = inputs.shape
        self._lengths = checked_lengths(lengths, B, N)
        if self._shape != (N, B):
            self._arrange(N, B)
        np.copyto(self._p, self._weights(p))
        x = self._x
        if x0 is None:
            x[0, 0] = 0
        else:
            start = np.asarray(x0, dtype=self.dtype)
            if start.shape not in ((cell.n,), (B, cell.n)):
                raise InputError(f"x0 has shape {start.shape}; expected ({cell.n},) or ({B}, {cell.n}).")
            x[0, 0] = start
        self._u = self._time_first(inputs)
        bad = self._forward(
            self._step, self._prepare, self._t, self._h, x, self._u, self._p3, self._z, self._chunk, kernels.INPUTS,
            self._sizes, self._arg, self._res, self._work,
        )  # fmt: skip
        if bad != -1:
            self._ran = False
            self._complain(x0)
        self._ran = True
        states = x[0].transpose(1, 0, 2)
        states.flags.writeable = False
        return states[0] if self._single else states

    @property
    def last(self) -> Array:
        """The state of each path at its own end: (batch, n), a copy."""
        self._check_shape("last")
        if self._lengths is None:
            return self._x[0, -1].copy()
        return self._x[0, self._lengths, np.arange(len(self._lengths))]

    def seed(self, width: int | None = None) -> Array:
        """A zeroed (batch, N+1, width) array in kept memory, to be filled and handed to `backward` without a copy."""
        N, B = self._check_shape("seed")
        q = self._memory.array("q", N + 1, B, self.cell.n if width is None else width)
        q[:] = 0
        return q.transpose(1, 0, 2)

    def backward(
        self,
        dx: ArrayLike | None = None,
        dlast: ArrayLike | None = None,
        want_u: bool = True,
        window: int | None = None,
        offsets: ArrayLike | None = None,
    ) -> UnrollGradient:
        """The gradient of a number J along the run of the last `forward`.

        Parameters
        ----------
        dx : array_like (batch, N+1, w) or (N+1, w), optional
            ∂J/∂x_k for the first w <= n numbers of the state; what stands beyond a path's length is not looked at.
        dlast : array_like (batch, w), optional
            ∂J/∂x at each path's own last knot.
        want_u : bool
            Whether ∂J/∂u is wanted.
        window : int, optional
            Truncate: no gradient flows back through the knots k > 0 with (k - offset) mod window = 0.
        offsets : array_like of int (batch,), optional
            Where each path's windows begin; 0 if absent. Different ones stagger the windows over the batch.

        Returns
        -------
        UnrollGradient
            Views that are valid until the next call.

        Raises
        ------
        InputError
            If a shape does not fit, a seed is not finite, or there was no `forward`.
        AdjointError
            If the gradient becomes infinite.
        """
        self._check_ran("backward")
        N, B = self._shape or (0, 0)
        cell, lam, gp = self.cell, self._lam, self._gp
        q = self._seeds(dx, dlast)
        self._cut(window, offsets)
        gu = self._memory.array("gu", 1, N, B, cell.m) if want_u else self._no_gu
        gp[:] = 0
        self._backward(
            self._transpose, self._collect, self._prepare, self._step, self._t, self._h, self._x, self._u, self._p3,
            self._z, q, self._none, lam, gu, gp, self._chunk, False, self._sizes, self._arg, self._res, self._work,
        )  # fmt: skip
        if not (np.isfinite(gp).all() and np.isfinite(lam[0, 0]).all()):
            check_finite({"dx": dx, "dlast": dlast})
            raise AdjointError(
                f"backward: the gradient of cell {cell.name!r} became infinite on the way back, over {N} steps. Its "
                "recurrence amplifies: smaller recurrent weights, a shorter window, or a cell with a bounded Jacobian."
            )
        if cell.needs_records:
            self._ran = False  # δ stands where the records were
        g_u = gu[0].transpose(1, 0, 2) if want_u else None
        g_p = gp[0, :, 0].copy()  # optimisers keep the last one
        if self._single:
            return UnrollGradient(lam[0, 0, 0], None if g_u is None else g_u[0], g_p)
        return UnrollGradient(lam[0, 0], g_u, g_p)

    # ---- memory ---------------------------------------------------------------------------------

    def _arrange(self, N: int, B: int) -> None:
        """Arrays and sizes for a new shape."""
        cell, step, memory, dtype = self.cell, self.cell.step, self._memory, self.dtype
        self._shape = (N, B)
        self._chunk = chunk(B)
        kept = N if cell.needs_records else min(N, self._chunk)
        self._t = np.arange(N, dtype=dtype)[:, None]
        self._h = np.ones((N, 1), dtype)
        self._x = memory.array("x", 1, N + 1, B, cell.n)
        self._z = memory.array("z", 1, kept, B * cell.records)
        self._p3 = memory.array("p", 1, cell.n_p, 1)
        self._p = self._p3[0, :, 0]
        self._sizes = step.header(B, dtype)
        self._arg, self._res, self._work = step.scratch_arrays(B, dtype)
        self._arg[SIZES] = self._sizes.ctypes.data
        self._lam = memory.array("lam", 1, 2, B, cell.n)
        self._gp = memory.array("gp", 1, cell.n_p, 1)
        self._none, self._no_gu = np.empty((1, 0, 1, 1), dtype), np.empty((1, 0, B, cell.m), dtype)
        self._prepare, self._step = step.address(0, dtype), step.address(1, dtype)
        self._transpose, self._collect = step.address(2, dtype), step.address(3, dtype)
        self._forward, self._backward = kernels.forward[dtype], kernels.backward[dtype]

    def _time_first(self, inputs: Array) -> Array:
        """(1, N, batch, m): the caller's own memory if it fits, otherwise a copy in ours."""
        lined = inputs.transpose(1, 0, 2)
        if self._lengths is None and lined.dtype == self.dtype and lined.flags.c_contiguous:
            return lined[None]
        u = self._memory.array("u", 1, *lined.shape)
        np.copyto(u[0], lined)
        if self._lengths is not None:
            u[0][np.arange(lined.shape[0])[:, None] >= self._lengths] = 0
        return u

    def _seeds(self, dx: ArrayLike | None, dlast: ArrayLike | None) -> Array:
        """q (1, N+1 or 1 or 0, batch, w)."""
        N, B = self._shape or (0, 0)
        n = self.cell.n
        if dx is None and dlast is None:
            raise InputError("backward: neither dx nor dlast is given; a gradient needs a seed.")
        ends = None
        if dlast is not None:
            ends = np.asarray(dlast, dtype=self.dtype)
            ends = ends[None] if self._single and ends.ndim == 1 else ends
            if ends.ndim != 2 or len(ends) != B or ends.shape[1] > n:
                raise InputError(f"dlast has shape {np.shape(dlast)}; expected ({B}, w) with w <= {n}.")
            if dx is None and self._lengths is None:
                return np.ascontiguousarray(ends)[None, None]
        if dx is None:
            assert ends is not None
            q = self.seed(ends.shape[1]).transpose(1, 0, 2)
        else:
            given = np.asarray(dx, dtype=self.dtype)
            given = given[None] if self._single and given.ndim == 2 else given
            if given.ndim != 3 or given.shape[:2] != (B, N + 1) or given.shape[2] > n:
                raise InputError(f"dx has shape {np.shape(dx)}; expected ({B}, {N + 1}, w) with w <= {n}.")
            lined = given.transpose(1, 0, 2)
            width = max(lined.shape[2], 0 if ends is None else ends.shape[1])
            if self._lengths is None and ends is None and lined.flags.c_contiguous:
                return lined[None]
            q = self._memory.array("q", N + 1, B, width)
            if not np.shares_memory(q, lined) or width != lined.shape[2]:
                lined = lined.copy() if np.shares_memory(q, lined) else lined
                q[..., lined.shape[2] :] = 0
                np.copyto(q[..., : lined.shape[2]], lined)
        if self._lengths is not None:
            q[np.arange(N + 1)[:, None] > self._lengths] = 0
        if ends is not None:
            at = np.full(B, N) if self._lengths is None else self._lengths
            q[at, np.arange(B), : ends.shape[1]] += ends
        return q[None]

    def _cut(self, window: int | None, offsets: ArrayLike | None) -> None:
        """Tell the pieces where windows begin."""
        self._sizes[WINDOW] = 0
        if window is None:
            if offsets is not None:
                raise InputError("offsets say where windows begin; pass window= too.")
            return
        if isinstance(window, bool) or not isinstance(window, int | np.integer) or window < 1:
            raise InputError(f"window is {window!r}; expected a whole number of steps, at least 1.")
        B = self._x.shape[2]
        starts = np.zeros(B, np.int64) if offsets is None else np.asarray(offsets)
        if starts.shape != (B,) or starts.dtype.kind not in "iu":
            raise InputError(f"offsets have shape {starts.shape} and type {starts.dtype}; expected {B} whole numbers.")
        self._starts = np.ascontiguousarray(starts, np.int64)  # held: the kernel gets its address
        self._sizes[WINDOW], self._arg[CUT] = window, self._starts.ctypes.data

    # ---- what the caller gave, checked ----------------------------------------------------------

    def _inputs(self, u: ArrayLike) -> tuple[Array, bool]:
        try:
            array = np.asarray(u)
            if array.dtype.kind not in "fiub":
                raise TypeError(f"its type is {array.dtype}")
            array = array.astype(self.dtype, copy=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"u is no array of real numbers ({error}).") from error
        single = array.ndim == 2
        array = array[None] if single else array
        if array.ndim != 3 or array.shape[2] != self.cell.m:
            raise InputError(
                f"u has shape {np.shape(u)}; cell {self.cell.name!r} has {self.cell.m} inputs: pass (batch, N, "
                f"{self.cell.m}), or (N, {self.cell.m}) for one path."
            )
        if array.shape[0] == 0 or array.shape[1] == 0:
            raise InputError(f"u has shape {np.shape(u)}; expected at least one path of at least one step.")
        return array, single

    def _weights(self, p: ArrayLike) -> Array:
        array = np.asarray(p)
        if array.shape != (self.cell.n_p,):
            raise InputError(f"p has shape {array.shape}; cell {self.cell.name!r} has {self.cell.n_p} parameters.")
        return array

    def _check_shape(self, what: str) -> tuple[int, int]:
        if self._shape is None:
            raise InputError(f"{what}: call `forward` first; its inputs say how many knots and paths there are.")
        return self._shape

    def _check_ran(self, what: str) -> None:
        if not self._ran:
            raise InputError(f"{what}: call `forward` first; a backward sweep uses up the records of its forward run.")

    def _complain(self, x0: ArrayLike | None) -> None:
        """Say which argument is not finite, or that the states are not."""
        for name, array in (("p", self._p), ("u", self._u[0].transpose(1, 0, 2)), ("x0", self._x[0, 0])):
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                where = tuple(int(i) for i in bad[0])
                raise InputError(f"{name} has {array[where]} at index {where}; expected finite numbers.")
        k, b, e = (int(i) for i in np.argwhere(~np.isfinite(self._x[0]))[0])
        raise AdjointError(
            f"state {e} of path {b} became {self._x[0, k, b, e]} at step {k - 1} of cell {self.cell.name!r}. "
            "Its recurrence is unstable: smaller recurrent weights, or a cell with a bounded state."
        )
