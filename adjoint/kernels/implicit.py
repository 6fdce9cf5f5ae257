"""What the implicit steps share: how they find a system's sizes, machine code and scratch, and their linear algebra.

An implicit step has the signature void(double **arg, double **res, double *work) of all machine code here, and calls
the machine code of a system in turn. `arg` is longer than that of other steps: behind the ARG places that the sweeps
fill lies a header of int64, which the owner of the step wrote, and behind that the arguments of the calls inside.

    M ẋ = f(t, x, u, p)        J = ∂f/∂x in nonzeros;  ḟ = ∂f/∂t

    rhs        t, x, u, p                                    → f
    jacobian   t, x, u, p                                    → f, J, ḟ
    vjp        t, x, u, p, w, g_u, g_p                       → Jᵀw,  g_u + f_uᵀw,  g_p + f_pᵀw
    jvp        t, x, u, p, δx, δu, δp                        → J δx + f_u δu + f_p δp
    bend       t, x, u, p, S, v, g_x, g_u, g_p               → g + ∇(Σ S_ij J_ij + vᵀḟ)          S in the places of J
    turn       t, x, u, p, δx, δu, δp                        → δJ, δḟ
    vjp_dot    t, x, u, p, w, δx, δu, δp, δw, g_u, g_p       → δ(Jᵀw),  g_u + δ(f_uᵀw),  g_p + δ(f_pᵀw)
    bend_dot   t, x, u, p, S, v, δx, δu, δp, δS, δv, g_x, g_u, g_p    → g + δ∇(Σ S_ij J_ij + vᵀḟ)

The linear systems have the matrix σ M - J, banded if the order of the unknowns makes it so (`kernels.lu`).
"""

from __future__ import annotations

from typing import Any

from numba import float64, types

from adjoint.kernels import lu
from adjoint.kernels.call import address_of, call, integers, matrix, number_of, view
from adjoint.kernels.cells import ARG, RES
from adjoint.kernels.jit import jit_part

__all__ = [
    "BEND",
    "BEND_DOT",
    "CALL_ARG",
    "CALL_RES",
    "HEADER",
    "JACOBIAN",
    "JVP",
    "J_PLACES",
    "KL",
    "KU",
    "LENGTH",
    "MASS",
    "MASS_NONZEROS",
    "MASS_PLACES",
    "NONZEROS",
    "N_P",
    "ORDER",
    "RECORD_SEED",
    "RHS",
    "ROOM",
    "ROWS",
    "STAGES",
    "TABLEAU",
    "TOTAL",
    "TURN",
    "VJP",
    "VJP_DOT",
    "WORK",
    "M",
    "N",
    "add_mass",
    "add_mass_transposed",
    "assemble",
    "common",
    "copy",
    "entry",
    "evaluate",
    "factor",
    "fill",
    "finite",
    "jacobian",
    "part",
    "row",
    "solve",
    "solve_transposed", "unpack",
]  # fmt: skip

RECORD_SEED = 12  # a place in arg: the seed of the records, or where the tangent puts their change; or 0
HEADER = ARG  # where the header begins
N, M, N_P, STAGES, NONZEROS, MASS_NONZEROS, KL, KU = range(HEADER, HEADER + 8)
ROOM, LENGTH, WORK = range(HEADER + 8, HEADER + 11)  # of work; of arg; where in work that of the machine code begins
RHS, JACOBIAN, VJP, JVP, BEND, TURN, VJP_DOT, BEND_DOT = range(HEADER + 11, HEADER + 19)  # machine code
TABLEAU, J_PLACES, MASS_PLACES, MASS, ORDER = range(HEADER + 19, HEADER + 24)  # addresses of arrays
CALL_ARG, CALL_RES = HEADER + 24, HEADER + 40  # arg and res of the calls inside
TOTAL = HEADER + 44
ROWS = 8  # vectors of length n at the head of work


@jit_part
def part(a, at, size):
    """Elements at … at + size of a flat array: the same memory, with far less to compile than a slice."""
    return view(address_of(a, at), size)


@jit_part
def row(A, i):
    """Row i of a matrix, likewise."""
    return view(address_of(A, i * A.shape[1]), A.shape[1])


@jit_part
def fill(a, value):
    """a = value."""
    for i in range(a.size):
        a[i] = value


@jit_part
def copy(a, out):
    """out = a."""
    for i in range(out.size):
        out[i] = a[i]


@jit_part
def common(k, work):
    """The head of work: ROWS vectors, J, W and its pivots; and where the rest begins."""
    n, nonzeros = k[N], k[NONZEROS]
    size = lu.storage(n, k[KL], k[KU])
    at = ROWS * n + nonzeros
    return (
        matrix(work, 0, ROWS, n),
        part(work, ROWS * n, nonzeros),
        part(work, at, size),
        integers(address_of(work, at + size), n),
        at + size + n,
    )


@jit_part
def finite(a):
    """Whether all numbers are finite."""
    total = 0.0
    for i in range(a.size):
        total += 0.0 * a[i]
    return total == 0.0


@jit_part
def evaluate(k, code, t, X, F, work):
    """Call code that takes t, x, u, p and more, at the time in t[0] and the state X; the first output is F."""
    arg, res = integers(address_of(k, CALL_ARG), CALL_RES - CALL_ARG), integers(address_of(k, CALL_RES), 4)
    arg[0] = address_of(t, 0)
    arg[1] = address_of(X, 0)
    arg[2] = k[3]
    arg[3] = k[4]
    res[0] = address_of(F, 0)
    call(k[code], arg, res, part(work, k[WORK], 1))


@jit_part
def jacobian(k, t, X, F, J, slope, work):
    """F = f, J and slope = ∂f/∂t."""
    k[CALL_RES + 1] = address_of(J, 0)
    k[CALL_RES + 2] = address_of(slope, 0)
    evaluate(k, JACOBIAN, t, X, F, work)


@jit_part
def assemble(k, sigma, J, W):
    """W = σ M - J, in the order of the unknowns that makes it narrow."""
    n, kl, ku = k[N], k[KL], k[KU]
    ld, at = lu.leading(n, kl, ku), lu.offset(n, kl)
    for i in range(W.size):
        W[i] = 0.0
    if k[MASS_NONZEROS] == 0:
        for i in range(n):
            W[at + i * ld + i] = sigma
    else:
        places, mass = integers(k[MASS_PLACES], 4 * k[MASS_NONZEROS]), view(k[MASS], k[MASS_NONZEROS])
        for j in range(mass.size):
            W[at + places[4 * j] * ld + places[4 * j + 1]] += sigma * mass[j]
    places = integers(k[J_PLACES], 4 * k[NONZEROS])
    for j in range(J.size):
        W[at + places[4 * j] * ld + places[4 * j + 1]] -= J[j]


@jit_part
def factor(k, W, pivot):
    """W = L U; False if W is singular."""
    return lu.factor(W, k[N], k[KL], k[KU], pivot)


@jit_part
def solve(k, W, pivot, b, spare):
    """b ← W⁻¹ b; the unknowns are put in order and back."""
    n = k[N]
    if k[ORDER] == 0:
        lu.solve(W, n, k[KL], k[KU], pivot, b)
        return
    order = integers(k[ORDER], n)
    for i in range(n):
        spare[i] = b[order[i]]
    lu.solve(W, n, k[KL], k[KU], pivot, spare)
    for i in range(n):
        b[order[i]] = spare[i]


@jit_part
def solve_transposed(k, W, pivot, b, spare):
    """b ← W⁻ᵀ b."""
    n = k[N]
    if k[ORDER] == 0:
        lu.solve_transposed(W, n, k[KL], k[KU], pivot, b)
        return
    order = integers(k[ORDER], n)
    for i in range(n):
        spare[i] = b[order[i]]
    lu.solve_transposed(W, n, k[KL], k[KU], pivot, spare)
    for i in range(n):
        b[order[i]] = spare[i]


@jit_part
def add_mass(k, factor, v, out):
    """out += factor · M v."""
    if k[MASS_NONZEROS] == 0:
        for i in range(v.size):
            out[i] += factor * v[i]
        return
    places, mass = integers(k[MASS_PLACES], 4 * k[MASS_NONZEROS]), view(k[MASS], k[MASS_NONZEROS])
    for j in range(mass.size):
        out[places[4 * j + 2]] += factor * mass[j] * v[places[4 * j + 3]]


@jit_part
def add_mass_transposed(k, factor, v, out):
    """out += factor · Mᵀ v."""
    if k[MASS_NONZEROS] == 0:
        for i in range(v.size):
            out[i] += factor * v[i]
        return
    places, mass = integers(k[MASS_PLACES], 4 * k[MASS_NONZEROS]), view(k[MASS], k[MASS_NONZEROS])
    for j in range(mass.size):
        out[places[4 * j + 3]] += factor * mass[j] * v[places[4 * j + 2]]


_POINTER = types.CPointer(float64)
_SIGNATURE = types.void(types.CPointer(_POINTER), types.CPointer(_POINTER), _POINTER)


@jit_part
def unpack(arg, res, work):
    """What an entry gets, as arrays: arg with its header, res and work."""
    k = integers(number_of(arg), TOTAL)
    return k, integers(number_of(res), RES), view(number_of(work), k[ROOM])


def entry(function: Any) -> tuple[int, Any]:
    """The address of an entry, a function (arg, res, work) of three pointers, and what keeps its code alive."""
    function.compile(_SIGNATURE)
    compiled = function.overloads[_SIGNATURE.args]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name), function
