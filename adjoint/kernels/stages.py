"""The stage structure of a discretised optimal-control problem, and the evaluation of its functions at all stages.

The nonlinear programme that every transcription is brought to has K stages. Stage k owns the variables

    w_k = (x_k, u_k, z_k)          n_k states, m_k controls, e_k local unknowns (collocation values),

and the rows

    R_k(w_k) = ( F_k, c_k, h_k, l_k )

    x_{k+1} = F_k(w_k)             n_{k+1} rows, none in the last stage
    0       = c_k(w_k)             e_k rows, square and regular in z_k
    lo <= h_k(w_k) <= up           r_k rows; lo == up makes an equality
    cost    = sum_k l_k(w_k)       one row

With the multipliers Y_k = (lambda_{k+1}, y_c, y_h, 1) laid out like R_k the Lagrangian is

    L = sum_k [ l_k + lambda_{k+1}' (F_k - x_{k+1}) + y_c' c_k + y_h' (h_k - s_k) ].

Neighbouring stages that share their functions form a group. A group has three pieces of machine code, called on
blocks of W stages at once (one stage a lane): R, the nonzeros of dR/dw, and the nonzeros of the lower triangle of
the Hessian of Y'R. The unknowns seen by the solver are scaled: w = sw * w_scaled, R_scaled = sr * R.

All arrays are one-dimensional and contiguous; a stage's part begins at an offset (`ow`, `orow`, `oj`, `oh`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from adjoint.kernels.call import address_of, call

__all__ = [
    "COST", "DYNAMICS", "EQUALITY", "INEQUALITY", "LOCAL", "Stages",
    "evaluate_hessian", "evaluate_jacobian", "evaluate_rows", "jacobian_product", "jacobian_transposed_product",
]

# Kinds of rows.
DYNAMICS, LOCAL, EQUALITY, INEQUALITY, COST = 0, 1, 2, 3, 4


class Stages(NamedTuple):
    """Structure, addresses, scales, bounds and constant data of one discretised problem (see the module header)."""

    lanes: int                # W
    n: np.ndarray             # (K+1,) states of each stage; n[K] = 0
    m: np.ndarray             # (K,) controls
    e: np.ndarray             # (K,) local unknowns
    r: np.ndarray             # (K,) path rows
    ow: np.ndarray            # (K+1,) offset of w_k
    orow: np.ndarray          # (K+1,) offset of R_k
    oj: np.ndarray            # (K+1,) offset of the Jacobian's nonzeros
    oh: np.ndarray            # (K+1,) offset of the Hessian's nonzeros
    group: np.ndarray         # (K,) group of each stage
    first: np.ndarray         # (G+1,) first stage of each group
    code: np.ndarray          # (G, 3) addresses of R, dR/dw, Hessian
    jptr: np.ndarray          # row pointers of the Jacobian (CSR), one block of q+1 a group
    ojptr: np.ndarray         # (G+1,) where a group's row pointers begin
    jcol: np.ndarray          # column of each Jacobian nonzero, row-major order
    jpos: np.ndarray          # its position in the machine code's output
    ojcol: np.ndarray         # (G+1,)
    hrow: np.ndarray          # row >= column of each Hessian nonzero
    hcol: np.ndarray
    ohcol: np.ndarray         # (G+1,)
    sw: np.ndarray            # scale of the unknowns
    sr: np.ndarray            # scale of the rows
    lw: np.ndarray            # scaled bounds of the unknowns
    uw: np.ndarray
    kind: np.ndarray          # kind of each row
    target: np.ndarray        # dynamics rows: index of the component of x_{k+1} in w; else -1
    lr: np.ndarray            # scaled bounds of the rows (h rows only)
    ur: np.ndarray
    data: np.ndarray          # (K, nd) per-stage data, e.g. normalised times
    constants: np.ndarray     # (nc,) data shared by all stages
    work: np.ndarray          # workspace of the machine code
    wbuf: np.ndarray          # lane blocks of the inputs and of the output, and the pointers to them
    dbuf: np.ndarray
    cbuf: np.ndarray
    ybuf: np.ndarray
    obuf: np.ndarray
    arg: np.ndarray
    res: np.ndarray


@njit(cache=True, nogil=True)
def _load(S, g, k0, w, Y, with_multipliers, wbuf, dbuf, ybuf):
    """Gather W stages from stage k0 on into lanes; lanes past the group's end repeat its last stage."""
    W = S.lanes
    last = S.first[g + 1] - 1
    nd = S.data.shape[1]
    for lane in range(W):
        k = min(k0 + lane, last)
        o = S.ow[k]
        for i in range(S.ow[k + 1] - o):
            wbuf[i * W + lane] = w[o + i] * S.sw[o + i]
        for i in range(nd):
            dbuf[i * W + lane] = S.data[k, i]
        if with_multipliers:
            o = S.orow[k]
            for i in range(S.orow[k + 1] - o):
                ybuf[i * W + lane] = Y[o + i] * S.sr[o + i]


@njit(cache=True, nogil=True)
def _evaluate(S, which, w, Y, out):
    """Run piece `which` (0 R, 1 Jacobian, 2 Hessian) at all stages; scatter with the scales. True if all is finite."""
    W = S.lanes
    G = S.first.shape[0] - 1
    obuf = S.obuf
    for i in range(S.constants.shape[0]):
        for lane in range(W):
            S.cbuf[i * W + lane] = S.constants[i]
    S.arg[0] = address_of(S.wbuf, 0)
    S.arg[1] = address_of(S.dbuf, 0)
    S.arg[2] = address_of(S.cbuf, 0)
    S.arg[3] = address_of(S.ybuf, 0)
    S.res[0] = address_of(obuf, 0)
    check = 0.0
    for g in range(G):
        for k0 in range(S.first[g], S.first[g + 1], W):
            _load(S, g, k0, w, Y, which == 2, S.wbuf, S.dbuf, S.ybuf)
            call(S.code[g, which], S.arg, S.res, S.work)
            for lane in range(min(W, S.first[g + 1] - k0)):
                k = k0 + lane
                ow = S.ow[k]
                orow = S.orow[k]
                if which == 0:
                    for i in range(S.orow[k + 1] - orow):
                        v = obuf[i * W + lane] * S.sr[orow + i]
                        out[orow + i] = v
                        check += v * 0.0
                elif which == 1:
                    o = S.ojcol[g]
                    p = S.ojptr[g]
                    for i in range(S.orow[k + 1] - orow):
                        s = S.sr[orow + i]
                        for j in range(S.jptr[p + i], S.jptr[p + i + 1]):
                            v = obuf[S.jpos[o + j] * W + lane] * s * S.sw[ow + S.jcol[o + j]]
                            out[S.oj[k] + j] = v
                            check += v * 0.0
                else:
                    o = S.ohcol[g]
                    for j in range(S.ohcol[g + 1] - o):
                        v = obuf[j * W + lane] * S.sw[ow + S.hrow[o + j]] * S.sw[ow + S.hcol[o + j]]
                        out[S.oh[k] + j] = v
                        check += v * 0.0
    return check == 0.0


@njit(cache=True, nogil=True)
def evaluate_rows(S, w, R):
    """R <- all rows at w (scaled). Returns False if any is not finite."""
    return _evaluate(S, 0, w, R, R)


@njit(cache=True, nogil=True)
def evaluate_jacobian(S, w, J):
    """J <- nonzeros of dR/dw at w (scaled, row-major within a stage). Returns False if any is not finite."""
    return _evaluate(S, 1, w, J, J)


@njit(cache=True, nogil=True)
def evaluate_hessian(S, w, Y, H):
    """H <- nonzeros of the lower triangle of the Hessian of Y'R at w (scaled). Returns False if any is not finite."""
    return _evaluate(S, 2, w, Y, H)


@njit(cache=True, nogil=True)
def jacobian_product(S, J, dw, out):
    """out <- J dw, all rows; for dynamics rows minus the step of x_{k+1} (the linearised constraint)."""
    for k in range(S.m.shape[0]):
        g = S.group[k]
        ow = S.ow[k]
        orow = S.orow[k]
        p = S.ojptr[g]
        oc = S.ojcol[g]
        oj = S.oj[k]
        for i in range(S.orow[k + 1] - orow):
            s = 0.0
            for j in range(S.jptr[p + i], S.jptr[p + i + 1]):
                s += J[oj + j] * dw[ow + S.jcol[oc + j]]
            if S.target[orow + i] >= 0:
                s -= dw[S.target[orow + i]]
            out[orow + i] = s


@njit(cache=True, nogil=True)
def jacobian_transposed_product(S, J, Y, out):
    """out <- J' Y, minus lambda_k on the states x_k: with the multipliers of L and 1 in the cost rows, dL/dw."""
    for k in range(S.m.shape[0]):
        g = S.group[k]
        ow = S.ow[k]
        orow = S.orow[k]
        p = S.ojptr[g]
        oc = S.ojcol[g]
        oj = S.oj[k]
        for i in range(ow, S.ow[k + 1]):
            out[i] = 0.0
        if k > 0:
            ol = S.orow[k - 1]
            for i in range(S.n[k]):
                out[ow + i] = -Y[ol + i]
        for i in range(S.orow[k + 1] - orow):
            y = Y[orow + i]
            if y != 0.0:
                for j in range(S.jptr[p + i], S.jptr[p + i + 1]):
                    out[ow + S.jcol[oc + j]] += J[oj + j] * y
