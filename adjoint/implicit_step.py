"""The step of an implicit method, for a system M ẋ = f(t, x, u, p): Rosenbrock methods and collocation.

The loops are in `kernels.rosenbrock` and `kernels.collocation`, compiled once for all systems. What differs from system
to system is machine code of f and its derivatives, and the header of sizes and addresses that this module writes.

    structure     the nonzeros of J and M; in the order of reverse Cuthill and McKee, if that makes them a narrow band
    matrices      full, or banded where kl (kl + ku) n is well below n³/3
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError
from adjoint.kernels import collocation, lu, rosenbrock, stiff
from adjoint.kernels import implicit as slots
from adjoint.kernels import sweep as kernels
from adjoint.kernels.announce import announcing
from adjoint.kernels.cells import RES
from adjoint.method import Method
from adjoint.step import CodedStep, MachineCode, machine_code
from adjoint.symbolic import implicit as graphs

__all__ = ["ImplicitStep"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
NARROW = 10  # states from which a band is looked for

_GRAPHS: dict[int, Callable[[ca.Function], ca.Function]] = {
    slots.RHS: graphs.right_hand_side, slots.JACOBIAN: graphs.jacobian, slots.VJP: graphs.vjp,
    slots.JVP: graphs.tangent, slots.BEND: graphs.bend, slots.TURN: graphs.turn, slots.VJP_DOT: graphs.vjp_dot,
    slots.BEND_DOT: graphs.bend_dot,
}  # fmt: skip


class _Piece(NamedTuple):
    """One of the four directions: its loops, and the machine code that they call."""

    rosenbrock: Any
    collocation: Any
    calls: tuple[int, ...]


_STEP = _Piece(rosenbrock.forward, collocation.forward, (slots.RHS, slots.JACOBIAN))
_ATTEMPT = _Piece(stiff.attempt_rosenbrock, stiff.attempt_collocation, (slots.RHS, slots.JACOBIAN))
_VJP = _Piece(rosenbrock.transpose, collocation.transpose, (slots.RHS, slots.JACOBIAN, slots.VJP, slots.BEND))
_JVP = _Piece(rosenbrock.tangent, collocation.tangent, (slots.RHS, slots.JACOBIAN, slots.JVP, slots.TURN))
_SECOND = _Piece(rosenbrock.second, collocation.second, tuple(_GRAPHS))


@dataclass(frozen=True)
class ImplicitCode(MachineCode):
    """Machine code that finds its header behind the places of `arg`."""

    header: Integers

    def scratch(self) -> tuple[Integers, Integers, Array]:
        """Room for arg, with the header in it, for res and for work."""
        return self.header.copy(), np.zeros(RES, np.int64), np.empty(self.work_size)


class Structure(NamedTuple):
    """Where the nonzeros of J and M lie: rows (row, column in order; row, column), the band, and the order or None."""

    J: Integers
    M: Integers
    mass: Array
    kl: int
    ku: int
    order: Integers | None


class ImplicitStep(CodedStep):
    """Φ of an implicit method.

    Parameters
    ----------
    graph : casadi.Function
        (t, x, u, p) → f.
    mass : array (n, n) or None
        M; None is the identity.
    method : Method
        Of the Rosenbrock or collocation kind.
    label : str
        The system's name.
    """

    lanes = 1

    def __init__(self, graph: ca.Function, mass: Array | None, method: Method, label: str) -> None:
        self.graph, self.mass, self.method, self.label = graph, mass, method, label
        self._codes: dict[int, MachineCode] = {}
        self._entries: dict[int, ImplicitCode] = {}
        self._tableau = _rosenbrock_tableau(method) if method.kind == "rosenbrock" else _collocation_tableau(method)

    @cached_property
    def structure(self) -> Structure:
        """Where the nonzeros lie."""
        z = [ca.SX.sym(name, self.graph.size1_in(i)) for i, name in enumerate("txup")]
        row, column = ca.jacobian(self.graph(*z), z[1]).sparsity().get_triplet()
        return _structure(z[1].numel(), np.array(row, np.int64), np.array(column, np.int64), self.mass)

    def step(self, lanes: int) -> MachineCode:
        """Φ."""
        return self.piece(_STEP)

    def vjp(self, lanes: int) -> MachineCode:
        """The transpose of the linearised step."""
        return self.piece(_VJP)

    def jvp(self, lanes: int) -> MachineCode:
        """The linearised step."""
        return self.piece(_JVP)

    def second_code(self, lanes: int) -> MachineCode:
        """The linearised vjp."""
        return self.piece(_SECOND)

    @property
    def attempt(self) -> ImplicitCode:
        """A step with its error, for `kernels.stiff.advance`."""
        return self.piece(_ATTEMPT)

    @cached_property
    def dense_weights(self) -> Array:
        """Q (s, D) of x(t_k + θ h) = x_k + Σ_i R_i Σ_d Q_id θ^d, R being the records of the step."""
        method = self.method
        if method.Gamma is not None:
            if method.dense is None:
                raise InputError(f"method {method.name} has no continuous extension. Use RODAS5P or radau(3).")
            return np.asarray(np.linalg.solve(method.Gamma.T, method.dense.P))
        powers = np.arange(1, method.stages + 1)
        return np.ascontiguousarray(np.linalg.inv(method.c[:, None] ** powers).T)  # through (0, 0) and (c_i, Z_i)

    def linearize(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, per_p: int, parameters: bool
    ) -> tuple[Array, Array, Array]:
        """A (K, n, n), B (K, n, m), C (K, n, n_p) or (0, n, n_p), a row at a time by the vjp."""
        code = self.vjp(1)
        (K, n), m, n_p = x.shape, u.shape[1], p.shape[1]
        A, B, C = np.empty((K, n, n)), np.empty((K, n, m)), np.empty((K if parameters else 0, n, n_p))
        kernels.jacobian_rows(code.address, t, h, x, u, p, A, B, C, np.empty(n), np.empty(n_p), per_p, *code.scratch())
        return A, B, C

    def code(self, which: int) -> MachineCode:
        """Machine code of one of the system's graphs (`kernels.implicit`)."""
        if which not in self._codes:
            graph = _GRAPHS[which](self.graph)
            self._codes[which] = machine_code(graph, 1, f"{graph.name()} of system {self.label!r}")
        return self._codes[which]

    def piece(self, piece: _Piece) -> ImplicitCode:
        """The loops of one direction, with a header that names the code they call."""
        key = id(piece)
        if key not in self._entries:
            loops = piece.rosenbrock if self.method.kind == "rosenbrock" else piece.collocation
            with announcing("compiling the implicit steps (once; kept on disk)"):
                address, owner = slots.entry(loops)
            header, work_size, held = self.header(piece.calls)
            self._entries[key] = ImplicitCode(address, 1, work_size, (owner, held), header)
        return self._entries[key]

    def header(self, calls: tuple[int, ...] = _STEP.calls) -> tuple[Integers, int, object]:
        """arg with the header in it, the length of work, and what has to be kept alive."""
        s = self.structure
        n, m, n_p = (self.graph.size1_in(i) for i in (1, 2, 3))
        stages, nonzeros = self.method.stages, len(s.J)
        sn = stages * n
        codes = {which: self.code(which) for which in calls}
        big = lu.storage(sn, stages * s.kl + stages - 1, stages * s.ku + stages - 1)
        common = slots.ROWS * n + nonzeros + lu.storage(n, s.kl, s.ku) + n
        if self.method.kind == "rosenbrock":
            own = 4 * sn + 3 * nonzeros + m + n_p
        else:
            own = 8 * sn + big + n + (2 * lu.storage(n, s.kl, s.ku) + 3 * n) * (stages // 2)
        own += 8
        header = np.zeros(slots.TOTAL, np.int64)
        header[slots.N], header[slots.M], header[slots.N_P], header[slots.STAGES] = n, m, n_p, stages
        header[slots.NONZEROS], header[slots.MASS_NONZEROS] = nonzeros, len(s.M)
        header[slots.KL], header[slots.KU] = s.kl, s.ku
        header[slots.WORK] = common + own
        work_size = common + own + max(1, *(code.work_size for code in codes.values()))
        header[slots.ROOM], header[slots.LENGTH] = work_size, slots.TOTAL
        for which, code in codes.items():
            header[which] = code.address
        for slot, array in (
            (slots.TABLEAU, self._tableau), (slots.J_PLACES, s.J), (slots.MASS_PLACES, s.M), (slots.MASS, s.mass),
        ):
            header[slot] = array.ctypes.data
        header[slots.ORDER] = 0 if s.order is None else s.order.ctypes.data
        return header, work_size, (self._tableau, s, codes)

    def __reduce__(self) -> tuple[Any, ...]:
        raise InputError("a step of machine code is not pickled; pickle the system, which makes it again.")


def _structure(n: int, row: Integers, column: Integers, mass: Array | None) -> Structure:
    own = np.arange(n)
    if mass is None:
        mass_row = mass_column = np.zeros(0, np.int64)
    else:
        mass_row, mass_column = (index.astype(np.int64) for index in np.nonzero(mass))
        if mass_row.size == 0:  # no entry at all would stand for the identity
            mass_row = mass_column = np.zeros(1, np.int64)
    values = np.zeros(0) if mass is None else np.ascontiguousarray(mass[mass_row, mass_column])
    rows, columns = np.concatenate([row, mass_row, own]), np.concatenate([column, mass_column, own])
    order = None
    places = own
    kl, ku = n - 1, n - 1
    if n >= NARROW:
        from scipy.sparse import coo_matrix  # only here: slow to import
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        pattern = coo_matrix((np.ones(rows.size), (rows, columns)), shape=(n, n)).tocsr()
        cuthill = np.asarray(reverse_cuthill_mckee((pattern + pattern.T).tocsr(), symmetric_mode=True), np.int64)
        for candidate in (own.astype(np.int64), cuthill):
            at = np.argsort(candidate)
            below, above = int((at[rows] - at[columns]).max()), int((at[columns] - at[rows]).max())
            if 3 * below * (below + above) < n * n and below * (below + above) < kl * (kl + ku):
                kl, ku, order, places = below, above, candidate, at
        if order is not None and (order == own).all():
            order = None

    def quadruples(r: Integers, c: Integers) -> Integers:
        return np.ascontiguousarray(np.stack([places[r], places[c], r, c], axis=1, dtype=np.int64))

    return Structure(quadruples(row, column), quadruples(mass_row, mass_column), values, kl, ku, order)


def _rosenbrock_tableau(method: Method) -> Array:
    """[γ, α, γ_i, m, e, a, c] of the form with one multiplication by J less (Hairer, Wanner II, IV.7.25)."""
    assert method.Gamma is not None and method.b_hat is not None
    inverse = np.linalg.inv(method.Gamma)
    gamma = method.Gamma[0, 0]
    m, m_hat = method.b @ inverse, method.b_hat @ inverse
    a, c = method.A @ inverse, np.eye(method.stages) / gamma - inverse
    return np.concatenate([
        [gamma], method.c, method.Gamma.sum(axis=1), m, m - m_hat, np.tril(a, -1).ravel(), np.tril(c, -1).ravel()
    ])


def _collocation_tableau(method: Method) -> Array:
    """[c, d, e, A⁻¹, T, T⁻¹, eigenvalues]: T⁻¹ A⁻¹ T has the real eigenvalue first, then 2 × 2 blocks (α, β; -β, α).

    e are the weights of the error estimate of Hairer, Wanner II, IV.8, for an odd number of stages: the partner
    x̂ = x + h (γ_0 f(x) + Σ b̂_i f_i) of order s, with γ_0 the inverse of the real eigenvalue, makes

        (x̂ - x⁺) / (γ_0 h) = f(x) + (1/h) Σ e_i Z_i
    """
    s, c = method.stages, method.c
    inverse = np.linalg.inv(method.A)
    values, vectors = np.linalg.eig(inverse)
    real, above = np.abs(values.imag) < 1e-8, values.imag > 1e-8
    T, eigenvalues = np.zeros((s, s)), np.zeros((s, 2))
    at = 0
    for j in np.flatnonzero(real):
        T[:, at], eigenvalues[at, 0] = vectors[:, j].real, values[j].real
        at += 1
    for j in np.flatnonzero(above):
        T[:, at], T[:, at + 1] = vectors[:, j].real, vectors[:, j].imag
        eigenvalues[at : at + 2] = values[j].real, values[j].imag
        at += 2
    e = np.zeros(s)
    if real.any():
        gamma = 1 / eigenvalues[0, 0]
        moments = 1 / np.arange(1, s + 1)
        moments[0] -= gamma
        b_hat = np.linalg.solve(np.vander(c, s, increasing=True).T, moments)
        e = (b_hat - method.b) @ inverse / gamma
    d = method.b @ inverse
    if method.c[-1] == 1 and np.abs(d[:-1]).max(initial=0) < 1e-9:
        d = np.eye(s)[-1]  # stiffly accurate, to the last bit
    parts = [c, d, e, inverse.ravel(), T.ravel(), np.linalg.inv(T).ravel(), eigenvalues.ravel()]
    return np.ascontiguousarray(np.concatenate(parts))
