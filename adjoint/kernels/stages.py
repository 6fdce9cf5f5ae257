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

from adjoint.kernels.call import address_of, call
from adjoint.kernels.jit import jit
from adjoint.kernels.records import (
    S_CBUF,
    S_DBUF,
    S_FIRST,
    S_GROUP,
    S_HCOL,
    S_HROW,
    S_JCOL,
    S_JPOS,
    S_N,
    S_OBUF,
    S_OH,
    S_OHCOL,
    S_OJ,
    S_OJCOL,
    S_OJPTR,
    S_OROW,
    S_OW,
    S_SR,
    S_SW,
    S_TARGET,
    S_WBUF,
    S_YBUF,
)

__all__ = [
    "COST", "DYNAMICS", "EQUALITY", "HESSIAN", "INEQUALITY", "JACOBIAN", "LOCAL", "ROWS", "evaluate",
    "evaluate_hessian", "evaluate_jacobian", "evaluate_rows", "jacobian_product", "jacobian_transposed_product",
]

# Kinds of rows.
DYNAMICS, LOCAL, EQUALITY, INEQUALITY, COST = 0, 1, 2, 3, 4
# Pieces of machine code of a group.
ROWS, JACOBIAN, HESSIAN = 0, 1, 2


@jit
def _load(S, g, k0, w, Y, with_multipliers, wbuf, dbuf, ybuf):
    """Gather W stages from stage k0 on into lanes; lanes past the group's end repeat its last stage."""
    lanes, first, data, ow = S.lanes, S.groups[S_FIRST], S.data, S.stage[S_OW]
    orow, sw, sr = S.stage[S_OROW], S.unknown_data[S_SW], S.row_data[S_SR]
    W = lanes
    last = first[g + 1] - 1
    nd = data.shape[1]
    for lane in range(W):
        k = min(k0 + lane, last)
        o = ow[k]
        for i in range(ow[k + 1] - o):
            wbuf[i * W + lane] = w[o + i] * sw[o + i]
        for i in range(nd):
            dbuf[i * W + lane] = data[k, i]
        if with_multipliers:
            o = orow[k]
            for i in range(orow[k + 1] - o):
                ybuf[i * W + lane] = Y[o + i] * sr[o + i]


@jit
def evaluate(S, which, w, Y, out):
    """Run piece `which` (ROWS, JACOBIAN, HESSIAN) at all stages; scatter with the scales. True if all is finite."""
    lanes, arg, wbuf, dbuf = S.lanes, S.arg, S.buffer[S_WBUF], S.buffer[S_DBUF]
    cbuf, ybuf, res, first = S.buffer[S_CBUF], S.buffer[S_YBUF], S.res, S.groups[S_FIRST]
    constants, work, code, ojcol = S.constants, S.work, S.code, S.groups[S_OJCOL]
    ojptr, ohcol, sr, jptr = S.groups[S_OJPTR], S.groups[S_OHCOL], S.row_data[S_SR], S.jptr
    sw, oh, oj, hcol = S.unknown_data[S_SW], S.stage[S_OH], S.stage[S_OJ], S.hessian[S_HCOL]
    jcol, hrow, jpos = S.jacobian[S_JCOL], S.hessian[S_HROW], S.jacobian[S_JPOS]
    W = lanes
    G = first.shape[0] - 1
    obuf = S.buffer[S_OBUF]
    for i in range(constants.shape[0]):
        for lane in range(W):
            cbuf[i * W + lane] = constants[i]
    arg[0] = address_of(wbuf, 0)
    arg[1] = address_of(dbuf, 0)
    arg[2] = address_of(cbuf, 0)
    arg[3] = address_of(ybuf, 0)
    res[0] = address_of(obuf, 0)
    check = 0.0
    for g in range(G):
        for k0 in range(first[g], first[g + 1], W):
            _load(S, g, k0, w, Y, which == HESSIAN, wbuf, dbuf, ybuf)
            call(code[g, which], arg, res, work)
            for lane in range(min(W, first[g + 1] - k0)):
                k = k0 + lane
                ow = S.stage[S_OW, k]
                orow = S.stage[S_OROW, k]
                if which == ROWS:
                    for i in range(S.stage[S_OROW, k + 1] - orow):
                        v = obuf[i * W + lane] * sr[orow + i]
                        out[orow + i] = v
                        check += v * 0.0
                elif which == JACOBIAN:
                    o = ojcol[g]
                    p = ojptr[g]
                    for i in range(S.stage[S_OROW, k + 1] - orow):
                        s = sr[orow + i]
                        for j in range(jptr[p + i], jptr[p + i + 1]):
                            v = obuf[jpos[o + j] * W + lane] * s * sw[ow + jcol[o + j]]
                            out[oj[k] + j] = v
                            check += v * 0.0
                else:
                    o = ohcol[g]
                    for j in range(ohcol[g + 1] - o):
                        v = obuf[j * W + lane] * sw[ow + hrow[o + j]] * sw[ow + hcol[o + j]]
                        out[oh[k] + j] = v
                        check += v * 0.0
    return check == 0.0


@jit
def evaluate_rows(S, w, R):
    """R <- all rows at w (scaled). Returns False if any is not finite."""
    return evaluate(S, ROWS, w, R, R)


@jit
def evaluate_jacobian(S, w, J):
    """J <- nonzeros of dR/dw at w (scaled, row-major within a stage). Returns False if any is not finite."""
    return evaluate(S, JACOBIAN, w, J, J)


@jit
def evaluate_hessian(S, w, Y, H):
    """H <- nonzeros of the lower triangle of the Hessian of Y'R at w (scaled). Returns False if any is not finite."""
    return evaluate(S, HESSIAN, w, Y, H)


@jit
def jacobian_product(S, J, dw, out):
    """out <- J dw, all rows; for dynamics rows minus the step of x_{k+1} (the linearised constraint)."""
    group, ojptr, ojcol = S.stage[S_GROUP], S.groups[S_OJPTR], S.groups[S_OJCOL]
    jptr, target, jcol = S.jptr, S.row_kind[S_TARGET], S.jacobian[S_JCOL]
    for k in range(S.data.shape[0]):
        g = group[k]
        ow = S.stage[S_OW, k]
        orow = S.stage[S_OROW, k]
        p = ojptr[g]
        oc = ojcol[g]
        oj = S.stage[S_OJ, k]
        for i in range(S.stage[S_OROW, k + 1] - orow):
            s = 0.0
            for j in range(jptr[p + i], jptr[p + i + 1]):
                s += J[oj + j] * dw[ow + jcol[oc + j]]
            if target[orow + i] >= 0:
                s -= dw[target[orow + i]]
            out[orow + i] = s


@jit
def jacobian_transposed_product(S, J, Y, out):
    """out <- J' Y, minus lambda_k on the states x_k: with the multipliers of L and 1 in the cost rows, dL/dw."""
    group, ojptr, ojcol = S.stage[S_GROUP], S.groups[S_OJPTR], S.groups[S_OJCOL]
    n, jptr, jcol = S.stage[S_N], S.jptr, S.jacobian[S_JCOL]
    for k in range(S.data.shape[0]):
        g = group[k]
        ow = S.stage[S_OW, k]
        orow = S.stage[S_OROW, k]
        p = ojptr[g]
        oc = ojcol[g]
        oj = S.stage[S_OJ, k]
        for i in range(ow, S.stage[S_OW, k + 1]):
            out[i] = 0.0
        if k > 0:
            ol = S.stage[S_OROW, k - 1]
            for i in range(n[k]):
                out[ow + i] = -Y[ol + i]
        for i in range(S.stage[S_OROW, k + 1] - orow):
            y = Y[orow + i]
            if y != 0.0:
                for j in range(jptr[p + i], jptr[p + i + 1]):
                    out[ow + jcol[oc + j]] += J[oj + j] * y
