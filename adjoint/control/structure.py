"""From stage functions to the arrays that the compiled solver works on.

A transcription describes the programme as a list of `Group`s (runs of stages that share their functions).
`compile_groups`
turns each group's functions into machine code (rows, Jacobian, Hessian of the row-weighted sum), once for all meshes;
`programme` lays out a number of stages of each; `Programme.stages` makes the solver's record for given bounds,
scales and data.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.kernels import constants
from adjoint.kernels.records import S_E, S_M, S_R, Factors, Iterate, Stages
from adjoint.kernels.stages import COST, DYNAMICS, EQUALITY, INEQUALITY, LOCAL
from adjoint.native import Code, compile_functions, lane_width

__all__ = ["CompiledGroups", "Group", "Programme", "compile_groups", "programme"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Stages with the same functions.

    Attributes
    ----------
    n, m, e, r : int
        States, controls, local unknowns, path rows of a stage.
    w, d, c : casadi.SX
        Symbols of the unknowns (x, u, z), the stage's data and the shared constants.
    rows : casadi.SX
        F (states of the next stage), c (e), h (r), l (1) as one column.
    """

    n: int
    m: int
    e: int
    r: int
    w: ca.SX
    d: ca.SX
    c: ca.SX
    rows: ca.SX


@dataclass(frozen=True)
class CompiledGroups:
    """Machine code and sparsity patterns of groups, independent of the number of stages."""

    groups: tuple[Group, ...]
    codes: tuple[tuple[Code, Code, Code], ...]
    patterns: tuple[tuple[NDArray[np.int64], ...], ...]
    quadratic: bool
    seconds: dict[str, float]


@dataclass(frozen=True)
class Programme:
    """A stage-structured programme; bounds, scales and data are put in by `stages`."""

    groups: tuple[Group, ...]
    counts: tuple[int, ...]
    codes: tuple[tuple[Code, Code, Code], ...]
    layout: dict[str, NDArray[np.int64]]
    quadratic: bool  # linear constraints and a quadratic cost

    @property
    def n_unknowns(self) -> int:
        """Number of unknowns, all stages."""
        return int(self.layout["ow"][-1])

    @property
    def n_rows(self) -> int:
        """Number of rows, all stages."""
        return int(self.layout["orow"][-1])

    def stages(
        self,
        *,
        lower: Array,
        upper: Array,
        row_lower: Array,
        row_upper: Array,
        scale: Array,
        row_scale: Array,
        data: Array,
        constants: Array,
    ) -> Stages:
        """The solver's record; bounds are given unscaled, over the unknowns and over the rows."""
        kind = self.layout["kind"].copy()
        kind[(kind == INEQUALITY) & (row_lower == row_upper)] = EQUALITY
        W, widest = lane_width(), max(self._static["widest"], data.shape[1], constants.size)
        return Stages(
            lanes=W,
            quadratic=int(self.quadratic),
            row_kind=np.stack([kind, self.layout["target"]]),
            unknown_data=np.stack([scale, lower / scale, upper / scale]),
            row_data=np.stack([row_scale, row_lower * row_scale, row_upper * row_scale]),
            data=np.ascontiguousarray(data),
            constants=np.ascontiguousarray(constants),
            work=np.zeros(self._static["work"]),
            buffer=np.zeros((5, widest * W)),
            arg=np.zeros(4, np.int64),
            res=np.zeros(1, np.int64),
            **{name: self._static[name] for name in ("stage", "groups", "code", "jptr", "jacobian", "hessian")},
        )

    @cached_property
    def _static(self) -> dict[str, Any]:
        """The parts of `Stages` that do not depend on numbers; shared by all solves, never written to."""
        layout = self.layout

        def rows(*names: str) -> NDArray[np.int64]:
            return np.stack([layout[name] for name in names])

        stage = np.zeros((9, layout["m"].size + 1), np.int64)
        for i, name in enumerate(("n", "m", "e", "r", "ow", "orow", "oj", "oh", "group")):
            stage[i, : layout[name].size] = layout[name]
        widest = max(int(np.diff(layout[name]).max()) for name in ("ow", "orow", "ojcol", "ohcol"))
        work = max(code.work_size for codes in self.codes for code in codes)
        return {
            "stage": stage,
            "groups": rows("first", "ojptr", "ojcol", "ohcol"),
            "jptr": layout["jptr"],
            "jacobian": rows("jcol", "jpos"),
            "hessian": rows("hrow", "hcol"),
            "widest": max(1, widest),
            "work": max(1, work * lane_width()),
            "code": np.array([[c.address for c in codes] for codes in self.codes], dtype=np.int64),
        }

    def softened(self, stages: Stages) -> Stages:
        """The same programme for the restoration phase: local unknowns count as controls, local rows as path rows."""
        stage = stages.stage.copy()
        stage[S_M] += stage[S_E]
        stage[S_R] += stage[S_E]
        stage[S_E] = 0
        return stages._replace(stage=stage)

    def factors(self, softened: bool = False) -> Factors:
        """Storage for the factorisation."""
        offset, widest = self._softened_offsets if softened else self._offsets
        lu, piv, z, a, chol, gain, p = (int(end) for end in offset[:, -1])
        return Factors(
            lu=np.zeros(lu),
            piv=np.zeros(piv, np.int64),
            z=np.zeros(z),
            a=np.zeros(a),
            chol=np.zeros(chol),
            gain=np.zeros(gain),
            p=np.zeros(p),
            offset=offset,
            m=np.zeros(widest**2),
            pa=np.zeros(widest**2),
            row=np.zeros(widest),
        )

    @cached_property
    def _offsets(self) -> tuple[NDArray[np.int64], int]:
        return self._factor_offsets(False)

    @cached_property
    def _softened_offsets(self) -> tuple[NDArray[np.int64], int]:
        return self._factor_offsets(True)

    def _factor_offsets(self, softened: bool) -> tuple[NDArray[np.int64], int]:
        """`Factors.offset`, and the widest stage."""
        n, m, e = (self.layout[key] for key in "nme")
        n, n_next = n[:-1], n[1:]
        if softened:
            m, e = m + e, np.zeros_like(e)
        sizes = (e * e, e, e * (n + m), n_next * (n + m), m * m, m * n, n * n)
        offset = np.zeros((len(sizes), n.size + 1), np.int64)
        np.cumsum(sizes, axis=1, out=offset[:, 1:])
        return offset, max(1, int((n + m).max()), int(n_next.max()))

    def iterate(self, max_iterations: int) -> Iterate:
        """Storage for the iterates."""
        return Iterate(
            unknown=np.zeros((15, self.n_unknowns)),
            row=np.zeros((21, self.n_rows)),
            J=np.zeros(int(self.layout["oj"][-1])),
            H=np.zeros(int(self.layout["oh"][-1])),
            filter=np.zeros((1000, 2)),
            number=np.zeros(constants.N_NUMBERS),
            counter=np.zeros(constants.N_COUNTS, np.int64),
            option=np.zeros(4),
            history=np.zeros((max_iterations + 1, constants.N_HISTORY)),
        )


def compile_groups(groups: list[Group]) -> CompiledGroups:
    """Differentiate and compile the groups' functions; uses the disk cache."""
    start = time.perf_counter()
    pairs: list[tuple[ca.Function, int]] = []
    patterns: list[tuple[NDArray[np.int64], ...]] = []
    W = lane_width()
    quadratic = True
    for group in groups:
        y = ca.SX.sym("y", group.rows.shape[0])
        jacobian = ca.jacobian(group.rows, group.w)
        hessian = ca.tril(ca.hessian(ca.dot(y, group.rows), group.w)[0])
        quadratic &= not ca.depends_on(hessian, ca.vertcat(group.w, y[:-1])) and not ca.depends_on(
            ca.jacobian(group.rows[:-1], group.w), group.w
        )
        rows, jac, hes = ca.cse([ca.densify(group.rows)])[0], ca.cse([jacobian])[0], ca.cse([hessian])[0]
        inputs = [group.w, group.d, group.c]
        pairs.append((ca.Function("rows", inputs, [rows]), W))
        pairs.append((ca.Function("jacobian", inputs, [jac]), W))
        pairs.append((ca.Function("hessian", [*inputs, y], [hes]), W))
        row, col = (np.array(a, dtype=np.int64) for a in jacobian.sparsity().get_triplet())
        order = np.lexsort((col, row))
        hrow, hcol = (np.array(a, dtype=np.int64) for a in hessian.sparsity().get_triplet())
        pointers = np.searchsorted(row[order], np.arange(group.rows.shape[0] + 1)).astype(np.int64)
        patterns.append((pointers, col[order], order.astype(np.int64), hrow, hcol))
    differentiated = time.perf_counter()
    flat = compile_functions(pairs)
    compiled = time.perf_counter()
    codes = tuple((flat[3 * g], flat[3 * g + 1], flat[3 * g + 2]) for g in range(len(groups)))
    return CompiledGroups(
        tuple(groups),
        codes,
        tuple(patterns),
        quadratic,
        {"differentiate": differentiated - start, "compile": compiled - differentiated},
    )


def programme(compiled: CompiledGroups, counts: tuple[int, ...]) -> Programme:
    """Lay out `counts` stages of each group, one after the other."""
    return Programme(
        compiled.groups, counts, compiled.codes, _layout(compiled.groups, counts, compiled.patterns), compiled.quadratic
    )


def _layout(
    groups: tuple[Group, ...], counts: tuple[int, ...], patterns: tuple[tuple[NDArray[np.int64], ...], ...]
) -> dict[str, NDArray[np.int64]]:
    """All offsets and patterns of the header of `kernels.stages`."""

    def per_stage(values: list[int]) -> NDArray[np.int64]:
        return np.repeat(np.array(values, dtype=np.int64), np.array(counts))

    def offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    n, m, e, r = (per_stage([getattr(g, key) for g in groups]) for key in "nmer")
    n = np.append(n, 0)
    q = n[1:] + e + r + 1
    ow, orow = offsets(n[:-1] + m + e), offsets(q)
    kind = np.full(int(orow[-1]), INEQUALITY, np.int64)
    target = np.full(int(orow[-1]), -1, np.int64)
    row = np.arange(int(orow[-1])) - np.repeat(orow[:-1], q)  # position of each row inside its stage
    next_n, local = np.repeat(n[1:], q), np.repeat(n[1:] + e, q)
    kind[row < local] = LOCAL
    dynamics = row < next_n
    kind[dynamics] = DYNAMICS
    target[dynamics] = (np.repeat(ow[1:], q) + row)[dynamics]
    kind[orow[1:] - 1] = COST

    def joined(i: int) -> NDArray[np.int64]:
        return np.concatenate([p[i] for p in patterns] or [np.zeros(0, np.int64)]).astype(np.int64)

    return {
        "n": n,
        "m": m,
        "e": e,
        "r": r,
        "ow": ow,
        "orow": orow,
        "oj": offsets(per_stage([p[1].size for p in patterns])),
        "oh": offsets(per_stage([p[3].size for p in patterns])),
        "group": per_stage(list(range(len(groups)))),
        "first": offsets(np.array(counts)),
        "jptr": joined(0),
        "ojptr": offsets(np.array([p[0].size for p in patterns])),
        "jcol": joined(1),
        "jpos": joined(2),
        "ojcol": offsets(np.array([p[1].size for p in patterns])),
        "hrow": joined(3),
        "hcol": joined(4),
        "ohcol": offsets(np.array([p[3].size for p in patterns])),
        "kind": kind,
        "target": target,
    }
