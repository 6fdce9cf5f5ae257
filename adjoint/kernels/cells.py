"""How a cell's functions of plain arrays become machine code that the sweeps call by address.

A cell is a step for a batch of B rows that shares one vector of parameters, in four pieces. z_k are its records of step
k: what `prepare` and `step` leave for the way back; `transpose` overwrites them with δ_k, from which `collect` makes
all gradients of the parameters:

    prepare(s, u, p, z, work)                          z = what of the step depends on u alone      many steps at once
    step(s, x, u, p, z, x_next, work)                  x_{k+1} = Φ(x_k, u_k, p)
    transpose(s, x, u, p, z, x_next, lam_next, lam, work)         λ_k = A_kᵀ λ_{k+1},   z_k ← δ_k
    collect(s, x, u, p, z, gu, gp, work)               g_u = B_kᵀ λ_{k+1},  g_p += Σ C_kᵀ λ_{k+1}   many steps at once

A step of a network is z = W x + …, whose parameters have the gradient Σ_k δ_k x_kᵀ: over many steps that is one matrix
product with long sums, instead of a rank-one update per step. In prepare and collect the arrays are rows of all steps
of a piece of time, step after step: x (rows, n), u (rows, m), z (rows, n_z); in step and transpose rows = B. gu has no
rows where it is not wanted. `work` is scratch that step and transpose find as prepare left it. s are the cell's own
sizes, its first number is the address of BLAS (`kernels.linear`).

The code has the signature void(double **arg, double **res, double *work) of all machine code here (or float). One call
makes `steps` steps, and for the way back adds the seeds q_k between them, so that a step of a small network does not
cost a call:

    arg  2 x_k … x_{k+steps}, 3 u_k …, 4 p, 6 g_p, 7 q_k …, 8 cut, 11 z_k …, 12 sizes        res  0 λ_0, 1 g_u, 2 g_p
    sizes  B, n, m, n_p, n_z, length of work, steps, whether g_u is wanted, k, knots of λ that are kept, which of them
           holds λ_{k+steps}, numbers of q in a row, window, number of s, then s

The last numbers of a row of q may be absent: the rest of the state has no seed. λ_k lies at k mod kept. `window` > 0
cuts the flow of the gradient at the knots k > 0 with (k - cut_b) mod window = 0: there λ_k = q_k in row b.
"""

from __future__ import annotations

from typing import Any

from numba import carray, float32, float64, types
from numba.extending import intrinsic

from adjoint.kernels.jit import jit_exact, jit_wrapper

__all__ = [
    "AFTER", "ARG", "CUT", "FIRST", "HEADER", "KEPT", "RES", "SEED", "SIZES", "STEPS", "WANTED", "WIDTH", "WINDOW", "Z",
    "add_seed", "piece",
]  # fmt: skip

ARG, RES = 14, 3  # lengths of arg and res
SEED, CUT, Z, SIZES = 7, 8, 11, 12  # places in arg
ROWS, N_X, N_U, N_P, N_Z, N_WORK = range(6)  # places in sizes: what is fixed for a batch,
STEPS, WANTED, FIRST, KEPT, AFTER, WIDTH = range(6, 12)  # what the sweep sets for each call,
WINDOW, N_S, HEADER = 12, 13, 14  # the window, the number of s, and where s begins


@intrinsic
def _integers(typingctx: Any, pointer: Any) -> Any:
    """The same address as a pointer to int64."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.int64)(pointer), codegen


@jit_exact
def add_seed(seed, target):
    """target += seed in the columns that seed has."""
    for i in range(seed.shape[0]):
        for j in range(seed.shape[1]):
            target[i, j] += seed[i, j]


def _prepare(function):
    def prepare(arg, res, work):
        k = _integers(arg[SIZES])
        s, rows = carray(_integers(arg[SIZES]), (HEADER + k[N_S],))[HEADER:], k[ROWS] * k[STEPS]
        u, p, z = carray(arg[3], (rows, k[N_U])), carray(arg[4], (k[N_P],)), carray(arg[Z], (rows, k[N_Z]))
        function(s, u, p, z, carray(work, (k[N_WORK],)))

    return prepare


def _step(function):
    def step(arg, res, work):
        k = _integers(arg[SIZES])
        s, B, n, m = carray(_integers(arg[SIZES]), (HEADER + k[N_S],))[HEADER:], k[ROWS], k[N_X], k[N_U]
        n_z, steps = k[N_Z], k[STEPS]
        x, u, p = carray(arg[2], (steps + 1, B, n)), carray(arg[3], (steps, B, m)), carray(arg[4], (k[N_P],))
        z, scratch = carray(arg[Z], (steps, B, n_z)), carray(work, (k[N_WORK],))
        for i in range(steps):
            function(s, x[i], u[i], p, z[i], x[i + 1], scratch)  # x_{k+1} = Φ(x_k, u_k, p)

    return step


def _transpose(function):
    def transpose(arg, res, work):
        k = _integers(arg[SIZES])
        s, B, n, m = carray(_integers(arg[SIZES]), (HEADER + k[N_S],))[HEADER:], k[ROWS], k[N_X], k[N_U]
        n_z, steps = k[N_Z], k[STEPS]
        first, kept, here, width, window = k[FIRST], k[KEPT], k[AFTER], k[WIDTH], k[WINDOW]
        x, u, p = carray(arg[2], (steps + 1, B, n)), carray(arg[3], (steps, B, m)), carray(arg[4], (k[N_P],))
        z, lam, scratch = carray(arg[Z], (steps, B, n_z)), carray(res[0], (kept, B, n)), carray(work, (k[N_WORK],))
        q, cut = carray(arg[SEED], (steps, B, width)), carray(_integers(arg[CUT]), (B,))
        for i in range(steps - 1, -1, -1):
            after, here = here, here - 1 if here > 0 else kept - 1
            function(s, x[i], u[i], p, z[i], x[i + 1], lam[after], lam[here], scratch)  # λ_k = A_kᵀ λ_{k+1}
            if window > 0 and first + i > 0:
                for b in range(B):
                    if (first + i - cut[b]) % window == 0:
                        lam[here, b] = 0
            if width > 0:
                add_seed(q[i], lam[here])  # + q_k

    return transpose


def _collect(function):
    def collect(arg, res, work):
        k = _integers(arg[SIZES])
        s, rows = carray(_integers(arg[SIZES]), (HEADER + k[N_S],))[HEADER:], k[ROWS] * k[STEPS]
        x, u, p = carray(arg[2], (rows, k[N_X])), carray(arg[3], (rows, k[N_U])), carray(arg[4], (k[N_P],))
        z, gp = carray(arg[Z], (rows, k[N_Z])), carray(res[2], (k[N_P],))
        gu = carray(res[1], (rows if k[WANTED] > 0 else 0, k[N_U]))
        function(s, x, u, p, z, gu, gp, carray(work, (k[N_WORK],)))

    return collect


_WRAP = (_prepare, _step, _transpose, _collect)


def piece(index: int, function: Any, dtype: Any) -> tuple[int, Any]:
    """The address of a cell's piece 0 prepare, 1 step, 2 transpose, 3 collect, and what keeps its code alive."""
    number = float32 if dtype.itemsize == 4 else float64
    pointer = types.CPointer(number)
    entry = jit_wrapper(_WRAP[index](function))
    signature = types.void(types.CPointer(pointer), types.CPointer(pointer), pointer)
    entry.compile(signature)
    compiled = entry.overloads[signature.args]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name), entry
