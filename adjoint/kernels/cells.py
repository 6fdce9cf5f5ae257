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

The code has the signature void(double **arg, double **res, double *work) of all machine code here (or float), with

    arg  0 t, 1 h, 2 x, 3 u, 4 p, 5 λ_next, 6 g_p, 11 z, 12 sizes, 13 x_next        res  0 x_next or λ, 1 g_u, 2 g_p
    sizes  B, rows, rows of g_u, n, m, n_p, n_z, length of work, number of s, then s
"""

from __future__ import annotations

from typing import Any

from numba import carray, float32, float64, types
from numba.extending import intrinsic

from adjoint.kernels.jit import jit_wrapper

__all__ = ["ARG", "HEADER", "RES", "ROWS", "SIZES", "WANTED", "X_NEXT", "Z", "piece"]

ARG, RES = 14, 3  # lengths of arg and res
Z, SIZES, X_NEXT = 11, 12, 13  # places in arg
ROWS, WANTED = 1, 2  # places in sizes that the sweep sets for each piece of time
HEADER = 9  # where s begins


@intrinsic
def _integers(typingctx: Any, pointer: Any) -> Any:
    """The same address as a pointer to int64."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.int64)(pointer), codegen


def _prepare(function):
    def prepare(arg, res, work):
        k = _integers(arg[12])
        s, rows = carray(_integers(arg[12]), (k[8] + 9,))[9:], k[1]
        u, p, z = carray(arg[3], (rows, k[4])), carray(arg[4], (k[5],)), carray(arg[11], (rows, k[6]))
        function(s, u, p, z, carray(work, (k[7],)))

    return prepare


def _step(function):
    def step(arg, res, work):
        k = _integers(arg[12])
        s, B = carray(_integers(arg[12]), (k[8] + 9,))[9:], k[0]
        x, u, p = carray(arg[2], (B, k[3])), carray(arg[3], (B, k[4])), carray(arg[4], (k[5],))
        z, x_next = carray(arg[11], (B, k[6])), carray(res[0], (B, k[3]))
        function(s, x, u, p, z, x_next, carray(work, (k[7],)))

    return step


def _transpose(function):
    def transpose(arg, res, work):
        k = _integers(arg[12])
        s, B = carray(_integers(arg[12]), (k[8] + 9,))[9:], k[0]
        x, u, p = carray(arg[2], (B, k[3])), carray(arg[3], (B, k[4])), carray(arg[4], (k[5],))
        z, x_next = carray(arg[11], (B, k[6])), carray(arg[13], (B, k[3]))
        lam_next, lam = carray(arg[5], (B, k[3])), carray(res[0], (B, k[3]))
        function(s, x, u, p, z, x_next, lam_next, lam, carray(work, (k[7],)))

    return transpose


def _collect(function):
    def collect(arg, res, work):
        k = _integers(arg[12])
        s, rows = carray(_integers(arg[12]), (k[8] + 9,))[9:], k[1]
        x, u, p = carray(arg[2], (rows, k[3])), carray(arg[3], (rows, k[4])), carray(arg[4], (k[5],))
        z, gu, gp = carray(arg[11], (rows, k[6])), carray(res[1], (k[2], k[4])), carray(res[2], (k[5],))
        function(s, x, u, p, z, gu, gp, carray(work, (k[7],)))

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
