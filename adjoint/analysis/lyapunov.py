"""Lyapunov exponents of an attractor, and the directions that belong to them.

    δx_{k+1} = A_k δx_k,     A_k V_k = V_{k+1} R_k  (QR)         Λ_i = lim (1/T) Σ_k log (R_k)_ii

    covariant vectors        C_k = R_k⁻¹ C_{k+1} D_k, from the end back;     W_k = V_k C_k,     A_k W_k = W_{k+1} D_k⁻¹

The QR method needs nothing but the Jacobians of the steps, so the system is rolled out piece by piece by the compiled
step, its Jacobians come a lane a knot from `linearize`, and `kernels.growth` carries the orthonormal directions V
through them. Maps, explicit methods and cells all go this way, and it makes no difference how the Jacobian was found.

Exponents come with what their averages tell about their error. The run is cut into blocks, and if block means were
independent the error of the mean would be their standard deviation over the root of their number. They are nearly so
once a block is much longer than the memory of the attractor. (The zero exponent of a flow converges faster, like 1/T.)

References: Benettin, Galgani, Giorgilli, Strelcyn, Meccanica 15 (1980) 9 and 21; Shimada, Nagashima, Prog. Theor. Phys.
61 (1979) 1605 (the QR method); Ginelli et al., Phys. Rev. Lett. 99 (2007) 130601 (covariant vectors); Kaplan, Yorke,
Lecture Notes in Math. 730 (1979) 204 (the dimension).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.analysis.products import orthogonal_growth
from adjoint.errors import AdjointError, InputError
from adjoint.kernels.growth import backward_vectors
from adjoint.method import RK4, Method
from adjoint.sweeps import linearize, rollout
from adjoint.system import System
from adjoint.trajectory import Trajectory

__all__ = ["CovariantVectors", "LyapunovSpectrum", "covariant_vectors", "lyapunov"]

Array = NDArray[np.float64]
PIECE = 400_000  # numbers of Jacobians in memory at once
TRIAL = 100  # steps that tell how fast the directions part
WIDEST = 1e6  # how much further one direction may grow than another between two orthonormalisations


@dataclass(frozen=True, eq=False)
class LyapunovSpectrum:
    """Lyapunov exponents with their errors; `print` it.

    Attributes
    ----------
    system : System
    method : Method or None
        What stepped a continuous system.
    h : float
        The length of a step.
    steps : int
        The steps that were averaged over.
    requested : int
        The steps that were asked for: more, if the run was interrupted.
    exponents : array (k,), or (batch, k)
        Λ_i per unit of time, in decreasing order.
    error : array (k,), or (batch, k)
        The standard error of each, from the block means.
    block_means : array (blocks, k), or (batch, blocks, k)
        The exponents of each block of the run.
    x : array (n,), or (batch, n)
        The last state: where a longer run goes on from.
    every : int
        The steps between two orthonormalisations.
    """

    system: System
    method: Method | None
    h: float
    steps: int
    requested: int
    exponents: Array
    error: Array
    block_means: Array
    x: Array
    every: int

    @property
    def history(self) -> Array:
        """The exponents after 1, 2, … blocks: how they converge; the shape of `block_means`."""
        blocks = self.block_means.shape[-2]
        return np.asarray(np.cumsum(self.block_means, axis=-2) / np.arange(1.0, blocks + 1)[:, None])

    @property
    def time(self) -> Array:
        """The times that the rows of `history` belong to, since the transient (blocks,)."""
        blocks = self.block_means.shape[-2]
        return np.arange(1.0, blocks + 1) * (self.steps * abs(self.h) / blocks)

    @property
    def kaplan_yorke(self) -> float | Array:
        """The Kaplan–Yorke dimension j + (Λ_1 + … + Λ_j) / |Λ_{j+1}|, j the last with a sum that is not negative.

        One number for each path of a batch; nan where more exponents are needed to tell.
        """
        dimensions = [_kaplan_yorke(row, self.system.n) for row in np.atleast_2d(self.exponents)]
        return dimensions[0] if self.exponents.ndim == 1 else np.array(dimensions)

    @property
    def chaotic(self) -> bool | NDArray[np.bool_]:
        """Whether the largest exponent is positive by more than three of its standard errors."""
        answer = self.exponents[..., 0] > 3 * self.error[..., 0]
        return bool(answer) if self.exponents.ndim == 1 else np.asarray(answer)

    def __str__(self) -> str:
        by = f" by {self.method.name}, h = {self.h:g}" if self.method is not None else ""
        unit = "step" if self.method is None else "unit of time"
        short = f" of {self.requested} (interrupted)" if self.steps < self.requested else ""
        head = f"{self.system.name}: Lyapunov exponents per {unit}, {self.steps} steps{short}{by}"
        if self.exponents.ndim == 2:
            more = "  …" if self.exponents.shape[1] > 6 else ""
            rows = [f"  path {b:<4} " + "  ".join(f"{value:9.5f}" for value in row[:6]) + more
                    for b, row in enumerate(self.exponents[:20])]
            return "\n".join([head, *rows, *(["  …"] if len(self.exponents) > 20 else [])])
        shown = range(len(self.exponents)) if len(self.exponents) <= 12 else [*range(8), *range(-2, 0)]
        rows = []
        for i in shown:
            if i == -2:
                rows.append("  …")
            error = f"± {self.error[i]:.1e}" if math.isfinite(self.error[i]) else "the map is singular"
            rows.append(f"  {i % len(self.exponents) + 1:3d}  {self.exponents[i]:10.5f}  {error}")
        if len(self.exponents) == self.system.n:
            rows.append(f"  sum  {self.exponents.sum():10.5f}")
        if math.isfinite(float(self.kaplan_yorke)):
            rows.append(f"  Kaplan–Yorke dimension {self.kaplan_yorke:.4f}")
        return "\n".join([head, *rows])

    def plot(self, file: str | Path | None = None) -> Any:
        """Draw how the exponents converge, with their errors; see `adjoint.plot_stability`.

        Parameters
        ----------
        file : path, optional
            Where to write the figure.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from adjoint.plot_stability import plot_exponents

        return plot_exponents(self, file)


def lyapunov(
    system: System,
    x0: ArrayLike,
    steps: int = 100_000,
    h: float | None = None,
    u: ArrayLike | Callable[[float], ArrayLike] | None = None,
    p: ArrayLike | None = None,
    method: Method = RK4,
    *,
    transient: int | None = None,
    k: int | None = None,
    every: int | None = None,
    blocks: int = 32,
    t0: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> LyapunovSpectrum:
    """The Lyapunov spectrum of what the system does in the long run, by the QR method.

    The exponents are those of the discrete system that is run: for a flow they come with the error of its method and h.

    Parameters
    ----------
    system : System
        Continuous, discrete, or a cell.
    x0 : array_like (n,), or (batch, n)
        Where to start; paths of a batch are analysed each by itself.
    steps : int
        How many to average over.
    h : float
        The length of a step; a discrete system does without (its unit of time is the step).
    u : array_like (m,), or (transient + steps, m), or callable, optional
        A constant control, one row a step, or u(t).
    p : array_like (n_p,), or (batch, n_p), optional
    method : Method
        An explicit method, for a continuous system.
    transient : int, optional
        Steps to the attractor, which are not averaged over, while the directions find their order. Default: steps / 10.
    k : int, optional
        How many exponents, from the largest; default all n.
    every : int, optional
        Steps between two orthonormalisations. Default: as many as no direction outgrows another by 1e6 in, at most 20,
        judged by the first piece of the run.
    blocks : int
        Of how many block means the errors are made.
    t0 : float
        The first time, for a system that depends on it.
    progress : callable, optional
        ``progress(done, all)`` after each piece of the run.

    Returns
    -------
    LyapunovSpectrum
        If interrupted by Ctrl-C: of the blocks that were finished, if any.

    Raises
    ------
    InputError
        If an argument does not fit.
    AdjointError
        If a state becomes inf or nan; the message names the state and the time.

    Examples
    --------
    >>> import adjoint
    >>> from adjoint.analysis import lyapunov
    >>> henon = adjoint.System(lambda t, x, u, p: [1 - 1.4 * x[0]**2 + x[1], 0.3 * x[0]], "x y", discrete=True)
    >>> lyapunov(henon, [0.1, 0.1], 20_000).exponents.round(2)
    array([ 0.42, -1.62])
    """
    run = _Run.make(system, x0, steps, h, u, p, method, transient, k, t0)
    if not isinstance(blocks, int | np.integer) or not 2 <= blocks <= steps:
        raise InputError(f"lyapunov: blocks is {blocks!r}; expected an integer from 2 to steps = {steps}.")
    if every is not None and (not isinstance(every, int | np.integer) or every < 1):
        raise InputError(f"lyapunov: every is {every!r}; expected a positive integer, or None to let it be chosen.")
    total = run.transient + steps
    sums, lengths = np.zeros((blocks, run.paths, run.k)), np.zeros(blocks)
    trial = 0 if every is not None else min(TRIAL, total)
    spacing = every or 1
    try:
        for path in run.pieces(total, stops=(trial, run.transient)):
            logs = run.carry(linearize(path).A, spacing)
            first = run.done - len(path)
            if first >= run.transient:
                # Each stretch between two orthonormalisations belongs to the block that it ends in.
                ends = np.minimum(np.arange(1, logs.shape[1] + 1) * spacing, len(path))
                block = (first - run.transient + ends - 1) * blocks // steps
                np.add.at(sums, block, logs.transpose(1, 0, 2))
                np.add.at(lengths, block, np.diff(ends, prepend=0))
            if first < trial:
                spacing = _spacing(logs)
            if progress is not None:
                progress(run.done, total)
    except KeyboardInterrupt:
        if lengths.sum() < 2 * steps / blocks:
            raise
    finished = int(lengths.sum())
    whole = lengths > 0.5 * steps / blocks  # all, unless the run was interrupted
    sums, lengths = sums[whole], lengths[whole]
    values = sums / (lengths[:, None, None] * abs(run.h))  # (blocks, paths, k)
    exponents = sums.sum(axis=0) / (lengths.sum() * abs(run.h))
    with np.errstate(invalid="ignore"):  # -inf in a singular map has no error
        error = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    order = np.argsort(-exponents, axis=1, kind="stable")
    exponents, error = np.take_along_axis(exponents, order, 1), np.take_along_axis(error, order, 1)
    values = np.take_along_axis(values.transpose(1, 0, 2), order[:, None, :], 2)
    spectrum = LyapunovSpectrum(system, None if system.discrete else method, run.h, finished, steps, exponents, error,
                                values, np.atleast_2d(run.x).copy(), spacing)
    for array in (spectrum.exponents, spectrum.error, spectrum.block_means, spectrum.x):
        array.setflags(write=False)
    if run.batch is None:
        return replace(spectrum, exponents=exponents[0], error=error[0], block_means=values[0], x=spectrum.x[0])
    return spectrum


@dataclass(frozen=True, eq=False)
class CovariantVectors:
    """The directions along a path that the tangent flow maps onto themselves.

    Attributes
    ----------
    t : array (M+1,)
    x : array (M+1, n)
        The path, at every orthonormalisation.
    vectors : array (M+1, n, k)
        Column i of ``vectors[j]``: the direction at x[j] that grows with the i-th exponent, of length 1. The sign is
        arbitrary.
    growth : array (M, k)
        log of the factor by which each grows from one of these times to the next, per unit of time.
    exponents : array (k,)
        The mean of `growth`.
    """

    t: Array
    x: Array
    vectors: Array
    growth: Array
    exponents: Array

    def angles(self, i: int, j: int) -> Array:
        """The angle between the directions i and j (from 0) at each time, between 0 and π/2.

        Near zero where the attractor is close to a tangency (not hyperbolic).

        Parameters
        ----------
        i, j : int
        """
        cosine = np.abs(np.einsum("tn,tn->t", self.vectors[:, :, i], self.vectors[:, :, j]))
        return np.asarray(np.arccos(np.minimum(cosine, 1.0)))


def covariant_vectors(
    system: System,
    x0: ArrayLike,
    steps: int = 10_000,
    h: float | None = None,
    u: ArrayLike | Callable[[float], ArrayLike] | None = None,
    p: ArrayLike | None = None,
    method: Method = RK4,
    *,
    transient: int | None = None,
    k: int | None = None,
    every: int = 1,
    t0: float = 0.0,
) -> CovariantVectors:
    """Covariant Lyapunov vectors along a path on the attractor, by Ginelli's method.

    Parameters
    ----------
    system : System
    x0 : array_like (n,)
    steps : int
        Of the path that is returned.
    h, u, p, method : optional
        As for `lyapunov`.
    transient : int, optional
        Steps before the path, in which the orthonormal directions converge, and as many behind it, from whose end the
        triangles come back. Default: as many as the path has.
    k : int, optional
        How many, from the fastest; default all n.
    every : int
        Steps between two orthonormalisations, which are the times of the result. Divides `steps` and `transient`.
    t0 : float

    Returns
    -------
    CovariantVectors

    Raises
    ------
    InputError
        If an argument does not fit, or the map is singular on the path: it then has no covariant vectors that could be
        followed back.
    """
    before = steps if transient is None else transient
    run = _Run.make(system, x0, steps, h, u, p, method, before, k, t0, behind=before)
    if run.batch is not None:
        raise InputError("covariant_vectors: x0 is a batch; pass one path at a time.")
    if not isinstance(every, int | np.integer) or every < 1 or steps % every or before % every:
        raise InputError(f"covariant_vectors: every is {every!r}; expected a divisor of steps = {steps} and of "
                         f"transient = {before}.")
    for path in run.pieces(before, every):
        run.carry(linearize(path).A, int(every))
    Qs, Rs, times, states = [run.V.copy()], [], [np.array([run.t])], [np.array(run.x)[None]]
    for path in run.pieces(steps + before, every):
        growth = orthogonal_growth(linearize(path).A, run.V[0], int(every), keep=True)
        run.V[0] = growth.Q
        Qs.append(growth.Qs)
        Rs.append(growth.Rs)
        times.append(path.t[every::every])
        states.append(path.x[every::every])
    R = np.concatenate(Rs)
    zero = np.argwhere(np.diagonal(R, axis1=1, axis2=2) == 0)
    if zero.size:
        t = np.concatenate(times)[zero[0, 0]]
        raise InputError(f"covariant_vectors: direction {zero[0, 1]} is lost after t = {t:g}: the map of "
                         f"{system.name!r} is singular there. Pass k <= {zero[:, 1].min()}.")
    M, width = steps // every, run.k
    C, logs = np.empty((len(R) + 1, width, width)), np.empty((len(R), width))
    C[-1] = np.triu(np.random.default_rng(2).uniform(0.5, 1.0, (width, width)))
    C[-1] /= np.linalg.norm(C[-1], axis=0)
    backward_vectors(R, C, logs, np.empty(width))
    vectors = np.concatenate(Qs)[: M + 1] @ C[: M + 1]
    growths = logs[:M] / (abs(run.h) * every)
    return CovariantVectors(np.concatenate(times)[: M + 1], np.concatenate(states)[: M + 1], vectors, growths,
                            growths.mean(axis=0))


class _Run:
    """A long path that is made piece by piece, and the orthonormal directions V (paths, n, k) along it."""

    def __init__(self, system: System, x: Array, h: float, u: Any, p: Any, method: Method, transient: int, k: int,
                 t0: float, piece: int) -> None:  # fmt: skip
        self.system, self.x, self.h, self.u, self.p, self.method = system, x, h, u, p, method
        self.transient, self.k, self.t0, self.piece = transient, k, t0, piece
        self.batch = x.shape[0] if x.ndim == 2 else None
        self.paths, self.done = self.batch or 1, 0
        start = np.linalg.qr(np.random.default_rng(0).standard_normal((system.n, k)))[0]
        self.V = np.tile(start, (self.paths, 1, 1))

    @classmethod
    def make(cls, system: System, x0: ArrayLike, steps: int, h: float | None, u: Any, p: Any, method: Method,
             transient: int | None, k: int | None, t0: float, behind: int = 0) -> _Run:  # fmt: skip
        """Check what was given; x0, u, p and the method are checked by `rollout`."""
        if not isinstance(system, System):
            raise InputError(f"lyapunov: the first argument is {type(system).__name__}; expected a System.")
        for name, value, least in (("steps", steps, 2), ("transient", 0 if transient is None else transient, 0)):
            if not isinstance(value, int | np.integer) or value < least:
                raise InputError(f"lyapunov: {name} is {value!r}; expected an integer, at least {least}.")
        if k is not None and (not isinstance(k, int | np.integer) or not 1 <= k <= system.n):
            raise InputError(f"lyapunov: k is {k!r}; expected an integer from 1 to {system.n}, the number of states.")
        if h is None and not system.discrete:
            raise InputError(f"lyapunov: system {system.name!r} is continuous: pass the length of a step, h=0.01 for "
                             "example.")
        length = 1.0 if h is None else float(h)
        if not (math.isfinite(length) and length != 0):
            raise InputError(f"lyapunov: h is {h!r}; expected a finite number other than 0.")
        before = steps // 10 if transient is None else int(transient)
        if u is not None and not callable(u):
            u = np.array(u, dtype=np.float64)
            rows = before + steps + behind
            if u.ndim > 1 and u.shape != (rows, system.m):
                raise InputError(f"lyapunov: u has shape {u.shape}; expected ({system.m},) for a constant, or "
                                 f"({rows}, {system.m}), one row for each of {before} + {steps + behind} steps.")
        x = np.array(x0, dtype=np.float64)
        paths = len(x) if x.ndim == 2 else len(np.array(p)) if np.ndim(p) == 2 else 1
        if x.ndim == 1 and np.ndim(p) == 2:
            x = np.tile(x, (paths, 1))
        # A batch may take more memory, since each of its pieces costs a call for each path.
        piece = max(32, PIECE * min(paths, 8) // (max(1, paths) * system.n**2))
        return cls(system, x, length, u, p, method, before, system.n if k is None else int(k), float(t0), piece)

    @property
    def t(self) -> float:
        """The time of the state x."""
        return self.t0 + self.done * self.h

    def pieces(self, steps: int, multiple: int = 1, stops: tuple[int, ...] = ()) -> Iterator[Trajectory]:
        """The next `steps` steps as trajectories of bounded length, none of which runs over a stop; x is the end of the
        last one. The lengths of all but the last are multiples of `multiple`.
        """
        size, last = max(1, self.piece // multiple) * multiple, self.done + steps
        while self.done < last:
            count = min([size, *(stop - self.done for stop in (*stops, last) if stop > self.done)])
            t = self.t0 + self.h * np.arange(self.done, self.done + count + 1.0)
            u = self.u[self.done : self.done + count] if isinstance(self.u, np.ndarray) and self.u.ndim == 2 else self.u
            path = rollout(self.system, self.x, u, t, self.p, self.method, allow_nonfinite=True)
            bad = ~np.isfinite(path.x)
            if bad.any():
                at = np.argwhere(bad if path.batch is None else bad.any(axis=0))[0]
                k, e = int(at[0]) - 1, int(at[1])
                raise AdjointError(
                    f"lyapunov: the state {self.system.states[e]} of system {self.system.name!r} is not finite after "
                    f"step {self.done + k} (t = {t[k]:g}). Start nearer to the attractor, or take shorter steps."
                )
            self.x = path.x[..., -1, :]
            self.done += count
            yield path

    def carry(self, A: Array, every: int) -> Array:
        """V through the Jacobians of a piece; log R_ii (paths, M, k)."""
        blocks = A.reshape(self.paths, -1, self.system.n, self.system.n)

        def one(b: int) -> Array:
            growth = orthogonal_growth(blocks[b], self.V[b], every)
            self.V[b] = growth.Q
            return growth.logs

        if self.paths == 1:
            return one(0)[None]
        with ThreadPoolExecutor() as pool:  # the kernel releases the interpreter's lock
            return np.array(list(pool.map(one, range(self.paths))))


def _spacing(logs: Array) -> int:
    """How many steps the directions may go without being orthonormalised, by how they grew in some single steps."""
    finite = np.where(np.isfinite(logs), logs, -700.0)
    spread = float((finite.max(axis=2) - finite.min(axis=2)).max())
    return int(min(20, max(1, math.log(WIDEST) / spread if spread > 0 else 20)))


def _kaplan_yorke(exponents: Array, n: int) -> float:
    sums = np.cumsum(exponents)
    if sums[0] < 0:
        return 0.0
    j = int(np.flatnonzero(sums >= 0)[-1]) + 1
    if j == len(exponents):
        return float(n) if j == n else math.nan
    return j + float(sums[j - 1] / abs(exponents[j]))
