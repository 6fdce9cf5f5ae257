"""The residuals of a fit, their Jacobian by forward sensitivities, and their gradient by the backward sweep.

    unknowns    θ = (the free parameters; of each experiment: the free initial states, the states s_1 … s_{S-1} at the
                     nodes of multiple shooting)
    residuals   r_j = (y(t_j, x(t_j; s_i, p), p) - value_j) / σ_j               in the interval i that contains t_j
    continuity  c_i = (x(τ_{i+1}; s_i, p) - s_{i+1}) / (size of the state)       to be zero

H. G. Bock, Recent advances in parameter identification techniques for O.D.E., in Numerical Treatment of Inverse
Problems in Differential and Integral Equations, Birkhäuser (1983): an interval is short enough not to explode where
the whole run would, and the measurements keep every interval near the truth from the first iteration on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adjoint.errors import AdjointError
from adjoint.ode.fit_data import Prepared
from adjoint.ode.fit_simulate import Run, Simulator
from adjoint.system import System

__all__ = ["Evaluation", "Interval", "Residuals"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Interval:
    """A stretch between two nodes of one experiment.

    Attributes
    ----------
    experiment : int
    t0, t1 : float
    rows : slice
        The measurements in it.
    start : array of int (n,)
        Where its initial states stand among the unknowns; -1: known, see `fixed`.
    fixed : array (n,)
    end : array of int (n,) or None
        Where the initial states of the next interval stand.
    """

    experiment: int
    t0: float
    t1: float
    rows: slice
    start: NDArray[np.int64]
    fixed: Array
    end: NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """r (R,), J (R, U), c (C,), ∂c/∂θ (C, U) at one θ."""

    r: Array
    J: Array
    c: Array
    J_c: Array


class Residuals:
    """What a fit makes small.

    Parameters
    ----------
    system : System
    experiments : sequence of Prepared
    p : array (n_p,)
        Values, and guesses of the free ones.
    free : array of int
        Parameters to be estimated.
    by : Simulator
    nodes : sequence of arrays
        For each experiment the inner nodes of multiple shooting; empty for single shooting.
    """

    def __init__(
        self, system: System, experiments: Sequence[Prepared], p: Array, free: NDArray[np.int64], by: Simulator,
        nodes: Sequence[Array],
    ) -> None:  # fmt: skip
        self.system, self.experiments, self.p, self.free, self.by = system, experiments, p, free, by
        self.names = [system.parameters[i] for i in free]
        theta = list(p[free])
        starts: list[NDArray[np.int64]] = []
        several = len(experiments) > 1
        for i, e in enumerate(experiments):  # what has a name comes first
            at = np.full(system.n, -1, np.int64)
            at[e.free] = np.arange(e.free.size) + len(theta)
            theta += list(e.x0[e.free])
            self.names += [f"{system.states[j]}({e.t0:g})" + (f" of {i}" if several else "") for j in e.free]
            starts.append(at)
        self.named = len(theta)
        self.intervals: list[Interval] = []
        for i, (e, inner, at) in enumerate(zip(experiments, nodes, starts, strict=True)):
            edges = np.concatenate([[e.t0], inner, [e.t1]])
            for first, (a, b) in enumerate(itertools.pairwise(edges)):
                last = b == edges[-1]
                after = None if last else np.arange(len(theta), len(theta) + system.n, dtype=np.int64)
                if not last:
                    theta += list(np.asarray(e.guess(float(b)), np.float64).reshape(system.n))
                low = 0 if first == 0 else int(np.searchsorted(e.t, a, side="right"))
                rows = slice(low, int(np.searchsorted(e.t, b, side="right")))
                self.intervals.append(Interval(i, float(a), float(b), rows, at, e.x0, after))
                if after is not None:
                    at = after
        self.theta = np.array(theta, np.float64)
        self.sizes = np.ones(system.n)  # of the states, for the continuity
        if any(len(inner) for inner in nodes):
            seen = np.abs([self.start(interval, self.theta) for interval in self.intervals])
            self.sizes = np.maximum(seen.max(axis=0), 1e-3 * max(seen.max(), 1e-300))

    @property
    def shooting(self) -> bool:
        """Whether there is continuity to be satisfied."""
        return any(interval.end is not None for interval in self.intervals)

    def parameters(self, theta: Array) -> Array:
        """p with the free ones filled in."""
        p = self.p.copy()
        p[self.free] = theta[: self.free.size]
        return p

    def start(self, interval: Interval, theta: Array) -> Array:
        """The initial state of an interval."""
        return np.where(interval.start >= 0, theta[interval.start], interval.fixed)

    def simulate(self, interval: Interval, theta: Array) -> Run:
        """One interval."""
        e = self.experiments[interval.experiment]
        return self.by.run(self.system, self.start(interval, theta), self.parameters(theta), interval.t0, interval.t1,
                           e.t[interval.rows], e.u, e.knots)  # fmt: skip

    def values(self, theta: Array) -> tuple[Array, Array]:
        """r and c; nan where a run fails, so that an optimiser takes a shorter step."""
        r, c = [], []
        for interval in self.intervals:
            e = self.experiments[interval.experiment]
            K = interval.rows.stop - interval.rows.start
            try:
                run = self.simulate(interval, theta)
            except AdjointError:
                r.append(np.full(np.count_nonzero(e.mask[interval.rows]), np.nan))
                c.append(np.full(0 if interval.end is None else self.system.n, np.nan))
                continue
            y, _, _ = e.observed(e.t[interval.rows], run.x[:K], self.parameters(theta))
            r.append(((y - e.values[interval.rows]) / e.sigma[interval.rows])[e.mask[interval.rows]])
            if interval.end is not None:
                c.append((run.last - theta[interval.end]) / self.sizes)
        return np.concatenate(r), np.concatenate([*c, np.zeros(0)])

    def evaluate(self, theta: Array) -> Evaluation:
        """r, c and their Jacobians: a tangent sweep for every free number that an interval depends on."""
        n, U, p = self.system.n, theta.size, self.parameters(theta)
        r, J, c, J_c = [], [], [], []
        for interval in self.intervals:
            e, rows = self.experiments[interval.experiment], interval.rows
            run = self.simulate(interval, theta)
            K = rows.stop - rows.start
            y, y_x, y_p = e.observed(e.t[rows], run.x, p)
            moved, moved_end = np.zeros((K, y.shape[1], U)), np.zeros((n, U))
            nothing, still = np.zeros(n), np.zeros(p.size)
            for column, i in enumerate(self.free):
                dx, dlast = run.tangent(nothing, np.eye(p.size)[i])
                moved[:, :, column] = np.einsum("kqn,kn->kq", y_x, dx) + y_p[:, :, i]
                moved_end[:, column] = dlast
            for j in np.flatnonzero(interval.start >= 0):
                dx, dlast = run.tangent(np.eye(n)[j], still)
                moved[:, :, interval.start[j]] = np.einsum("kqn,kn->kq", y_x, dx)
                moved_end[:, interval.start[j]] = dlast
            mask = e.mask[rows]
            r.append(((y - e.values[rows]) / e.sigma[rows])[mask])
            J.append((moved / e.sigma[rows][..., None])[mask])
            if interval.end is not None:
                c.append((run.last - theta[interval.end]) / self.sizes)
                moved_end[np.arange(n), interval.end] -= 1.0
                J_c.append(moved_end / self.sizes[:, None])
        return Evaluation(np.concatenate(r), np.concatenate(J), np.concatenate([*c, np.zeros(0)]),
                          np.concatenate([*J_c, np.zeros((0, U))]))  # fmt: skip

    def gradient(self, theta: Array) -> tuple[float, Array]:
        """½ |r|² and its gradient by one backward sweep for each experiment; for single shooting."""
        cost, g, p = 0.0, np.zeros(theta.size), self.parameters(theta)
        for interval in self.intervals:
            e, rows = self.experiments[interval.experiment], interval.rows
            run = self.simulate(interval, theta)
            y, y_x, y_p = e.observed(e.t[rows], run.x, p)
            r = np.where(e.mask[rows], (y - e.values[rows]) / e.sigma[rows], 0.0)
            cost += 0.5 * float((r**2).sum())
            q = r / e.sigma[rows]
            g_x0, g_p = run.transpose(np.einsum("kq,kqn->kn", q, y_x), np.zeros(self.system.n))
            g[: self.free.size] += g_p[self.free] + np.einsum("kq,kqp->p", q, y_p)[self.free]
            known = interval.start >= 0
            g[interval.start[known]] += g_x0[known]
        return cost, g

    def named_rows(self, r: Array) -> list[Array]:
        """Residuals by experiment: (K, q), nan where nothing was measured."""
        filled = [np.full(e.mask.shape, np.nan) for e in self.experiments]
        at = 0
        for interval in self.intervals:
            mask = self.experiments[interval.experiment].mask[interval.rows]
            count = int(np.count_nonzero(mask))
            filled[interval.experiment][interval.rows][mask] = r[at : at + count]
            at += count
        return filled
