"""The three records that the solver's kernels share: the programme (S), its factorisation (X) and the iterate (Q).

Vectors of one kind are the rows of one matrix, so that a kernel is handed some thirty arrays and not a hundred
(which its
compilation time depends on); the constants below say which row is which, and kernels unpack the rows they use in their
first lines. Outside the kernels the rows are properties: ``Q.w``, ``S.kind``.

`Stages` is the structure of `kernels.stages`: its stage k has n states, m controls, e local unknowns and r path
rows; `ow`,
`orow`, `oj`, `oh` are the offsets of w_k, of R_k, of the Jacobian's and of the Hessian's nonzeros of stage k.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Stages.unknown_data: scale and scaled bounds of the unknowns.
S_SW, S_LW, S_UW = range(3)
# Stages.row_data: scale and scaled bounds of the rows (bounds: path rows only).
S_SR, S_LR, S_UR = range(3)
# Stages.stage: (9, K+1) sizes, offsets and group of each stage.
S_N, S_M, S_E, S_R, S_OW, S_OROW, S_OJ, S_OH, S_GROUP = range(9)
# Stages.row_kind: kind of each row; dynamics rows: index of the component of x_{k+1} in w, else -1.
S_KIND, S_TARGET = range(2)
# Stages.groups: (4, G+1) first stage; where the group's row pointers, Jacobian and Hessian patterns begin.
S_FIRST, S_OJPTR, S_OJCOL, S_OHCOL = range(4)
# Stages.jacobian: column of each nonzero (row-major order), its position in the machine code's output.
S_JCOL, S_JPOS = range(2)
# Stages.hessian: row >= column of each nonzero.
S_HROW, S_HCOL = range(2)
# Stages.buffer: lane blocks of w, data, constants, multipliers and output.
S_WBUF, S_DBUF, S_CBUF, S_YBUF, S_OBUF = range(5)

# Factors.offset: (7, K+1) where each stage's part begins.
X_OLU, X_OPIV, X_OZ, X_OA, X_OCHOL, X_OGAIN, X_OP = range(7)

# Iterate.unknown: vectors over the unknowns.
Q_W, Q_ZL, Q_ZU, Q_GRAD, Q_DW, Q_WT, Q_SIGMA, Q_RW, Q_T1, Q_T2, Q_T3, Q_CW, Q_W0, Q_ZL0, Q_ZU0 = range(15)
# Iterate.row: vectors over the rows.
Q_S, Q_VL, Q_VU, Q_Y, Q_R, Q_C, Q_DS, Q_DY, Q_ST, Q_RT, Q_CT, Q_D, Q_RR, Q_YP, Q_JD, Q_CY, Q_R1 = range(17)
Q_S0, Q_VL0, Q_VU0, Q_Y0 = range(17, 21)


class Stages(NamedTuple):
    """Structure, addresses, scales, bounds and constant data of one discretised problem."""

    lanes: int                  # W
    quadratic: int              # 1 for linear constraints and a quadratic cost: a constant Hessian
    stage: np.ndarray           # (9, K+1) int64
    groups: np.ndarray          # (4, G+1) int64
    code: np.ndarray            # (G, 3) addresses of rows, Jacobian, Hessian
    jptr: np.ndarray            # row pointers of the Jacobian, one block of q+1 a group
    jacobian: np.ndarray        # (2, .) int64
    hessian: np.ndarray         # (2, .) int64
    row_kind: np.ndarray        # (2, rows) int64
    unknown_data: np.ndarray    # (3, unknowns)
    row_data: np.ndarray        # (3, rows)
    data: np.ndarray            # (K, nd) per-stage data, e.g. normalised times
    constants: np.ndarray       # data shared by all stages
    work: np.ndarray            # workspace of the machine code
    buffer: np.ndarray          # (5, .) lane blocks
    arg: np.ndarray             # (4,) addresses of the inputs
    res: np.ndarray             # (1,) address of the output

    @property
    def kind(self) -> np.ndarray:
        """Kind of each row."""
        return self.row_kind[S_KIND]


class Factors(NamedTuple):
    """What `riccati.factorize` leaves for `riccati.solve`."""

    lu: np.ndarray              # LU of c_z, e*e a stage
    piv: np.ndarray             # its row exchanges, e
    z: np.ndarray               # Z, e*(n+m)
    a: np.ndarray               # A, n_next*(n+m)
    chol: np.ndarray            # L, m*m
    gain: np.ndarray            # K, m*n
    p: np.ndarray               # P, n*n
    offset: np.ndarray          # (7, K+1) int64
    m: np.ndarray               # workspace for M of one stage
    pa: np.ndarray              # for P A
    row: np.ndarray             # for a path row


class Iterate(NamedTuple):
    """All that changes during a solve."""

    unknown: np.ndarray         # (15, unknowns)
    row: np.ndarray             # (21, rows)
    J: np.ndarray               # Jacobian nonzeros
    H: np.ndarray               # Hessian nonzeros
    filter: np.ndarray          # (capacity, 2) theta, phi
    number: np.ndarray          # scalars; slots in `kernels.interior`
    counter: np.ndarray         # counters
    option: np.ndarray          # options
    history: np.ndarray         # (iterations + 1, 10)

    @property
    def w(self) -> np.ndarray:
        """Unknowns (scaled)."""
        return self.unknown[Q_W]

    @property
    def zl(self) -> np.ndarray:
        """Multipliers of the lower bounds of w."""
        return self.unknown[Q_ZL]

    @property
    def zu(self) -> np.ndarray:
        """Multipliers of the upper bounds of w."""
        return self.unknown[Q_ZU]

    @property
    def vl(self) -> np.ndarray:
        """Multipliers of the lower bounds of the slacks."""
        return self.row[Q_VL]

    @property
    def vu(self) -> np.ndarray:
        """Multipliers of the upper bounds of the slacks."""
        return self.row[Q_VU]

    @property
    def Y(self) -> np.ndarray:
        """Multipliers of the rows."""
        return self.row[Q_Y]

    @property
    def R(self) -> np.ndarray:
        """Rows at w."""
        return self.row[Q_R]

    @property
    def C(self) -> np.ndarray:
        """Constraint residuals."""
        return self.row[Q_C]
