"""The stages of a collocation method by the simplified Newton iteration, with J at the start of the step.

    F_i = (1/h) M Σ_j (A⁻¹)_ij Z_j - f(t + c_i h, x + Z_i, u, p) = 0

In coordinates Z = T V in which A⁻¹ falls into a real number μ and pairs α ± iβ (Hairer, Wanner, *Solving ODEs II*,
IV.8.4 to IV.8.6), one iteration is one real linear system, and one complex system for each pair:

    (μ M / h - J) ΔV_1 = (T⁻¹ f)_1 - (μ / h) M V_1,        ((α + iβ) M / h - J)(ΔV_2 + i ΔV_3) = …
"""

from __future__ import annotations

import math

from adjoint.kernels import lu
from adjoint.kernels.call import address_of, complexes, integers, matrix, view
from adjoint.kernels.implicit import (
    KL,
    KU,
    ORDER,
    RHS,
    STAGES,
    TABLEAU,
    N,
    add_mass,
    assemble,
    common,
    evaluate,
    factor,
    fill,
    jacobian,
    part,
    row,
    solve,
)  # fmt: skip
from adjoint.kernels.jit import jit_part

__all__ = ["extrapolate", "factorise", "iterate", "spaces", "tableau"]

ITERATIONS = 14


@jit_part
def tableau(k):
    """[c, d, e], A⁻¹, T, T⁻¹ and the eigenvalues (s, 2)."""
    s = k[STAGES]
    data = view(k[TABLEAU], 5 * s + 3 * s * s)
    return (
        part(data, 0, 3 * s),
        matrix(data, 3 * s, s, s),
        matrix(data, 3 * s + s * s, s, s),
        matrix(data, 3 * s + 2 * s * s, s, s),
        matrix(data, 3 * s + 3 * s * s, s, 2),
    )


@jit_part
def spaces(k, work):
    """Z, the correction D, V, and the Z of the last step; where the rest of work begins."""
    n, s, at = k[N], k[STAGES], common(k, work)[4]
    sn = s * n
    return (
        matrix(work, at, s, n),
        matrix(work, at + sn, s, n),
        matrix(work, at + 2 * sn, s, n),
        matrix(work, at + 3 * sn, s, n),
        at + 4 * sn + s // 2 * (2 * lu.storage(n, k[KL], k[KU]) + 3 * n),
    )


@jit_part
def _of_pair(k, work, pair):
    """The matrix of a pair, its pivots and a right-hand side."""
    n, size = k[N], lu.storage(k[N], k[KL], k[KU])
    at = common(k, work)[4] + 4 * k[STAGES] * n + pair * (2 * size + 3 * n)
    return (
        complexes(address_of(work, at), size),
        integers(address_of(work, at + 2 * size), n),
        complexes(address_of(work, at + 2 * size + n), n),
    )


@jit_part
def factorise(k, t, h, x, slope, work):
    """slope = f(t, x), and the factors of all matrices with J there; False if one is singular."""
    v, J, W, pivot, _ = common(k, work)
    _, _, _, _, values = tableau(k)
    row(v, 0)[0] = t
    jacobian(k, row(v, 0), x, slope, J, row(v, 3), work)
    assemble(k, values[0, 0] / h, J, W)
    good = values[0, 1] != 0.0 or factor(k, W, pivot)
    for pair in range(k[STAGES] // 2):
        C, pivots, _ = _of_pair(k, work, pair)
        i = k[STAGES] % 2 + 2 * pair
        assemble(k, complex(values[i, 0] / h, -values[i, 1] / h), J, C)
        good = good and lu.factor(C, k[N], k[KL], k[KU], pivots)
    return good


@jit_part
def extrapolate(k, ratio, last, Z):
    """Z from the polynomial of the last step, `ratio` being the new length by the old one."""
    n, s = k[N], k[STAGES]
    nodes, _, _, _, _ = tableau(k)
    for i in range(s):
        fill(row(Z, i), 0.0)
        # The polynomial q through (0, 0), (c_j, Z_j) at 1 + c_i h / h_old, less q(1).
        tau = 1.0 + nodes[i] * ratio
        for j in range(s):
            weight, end = tau / nodes[j], 1.0 / nodes[j]
            for l in range(s):
                if l != j:
                    weight *= (tau - nodes[l]) / (nodes[j] - nodes[l])
                    end *= (1.0 - nodes[l]) / (nodes[j] - nodes[l])
            for e in range(n):
                Z[i, e] += (weight - end) * last[j, e]


@jit_part
def iterate(k, t, h, x, rtol, atol, counted, close, content, work):
    """Iterate from Z until the rest, estimated from the rate θ, is below `close` in units of rtol |x| + atol.

    Where rounding ends the improvement before that, below `content` is enough. Returns the number of iterations, or its
    negative if this was not reached.
    """
    n, s = k[N], k[STAGES]
    v, _, W, pivot, _ = common(k, work)
    nodes, _, T, T_inverse, values = tableau(k)
    Z, D, V, _, _ = spaces(k, work)
    for i in range(s):
        fill(row(V, i), 0.0)
        for j in range(s):
            for e in range(n):
                V[i, e] += T_inverse[i, j] * Z[j, e]
    before = 0.0
    for iteration in range(ITERATIONS):
        for i in range(s):
            fill(row(D, i), 0.0)
        for i in range(s):
            row(v, 0)[0] = t + nodes[i] * h
            for e in range(n):
                v[1, e] = x[e] + Z[i, e]
            evaluate(k, RHS, row(v, 0), row(v, 1), row(v, 2), work)
            for j in range(s):
                for e in range(n):
                    D[j, e] += T_inverse[j, i] * v[2, e]
        if s % 2 == 1:
            add_mass(k, -values[0, 0] / h, row(V, 0), row(D, 0))
            solve(k, W, pivot, row(D, 0), row(v, 4))
        for pair in range(s // 2):
            _solve_pair(k, h, pair, work)
        square = 0.0
        for i in range(s):
            for e in range(n):
                V[i, e] += D[i, e]
                if atol[e] < math.inf:
                    ratio = D[i, e] / (atol[e] + rtol * abs(x[e]))
                    square += ratio * ratio
        change = math.sqrt(square / (s * counted))
        for i in range(s):
            fill(row(Z, i), 0.0)
            for j in range(s):
                for e in range(n):
                    Z[i, e] += T[i, j] * V[j, e]
        if not change < math.inf:
            return -1 - iteration
        if change <= 1e-3 * close:
            return 1 + iteration
        if iteration > 0:
            theta = change / before
            if theta < 1.0 and theta / (1.0 - theta) * change <= close:
                return 1 + iteration
            if theta >= 0.9:  # rounding is reached, or there is no convergence
                return 1 + iteration if change <= content else -1 - iteration
            if theta ** (ITERATIONS - 1 - iteration) / (1.0 - theta) * change > content:
                return -1 - iteration
        before = change
    return ITERATIONS if before <= content else -ITERATIONS


@jit_part
def _solve_pair(k, h, pair, work):
    """The two rows of D that belong to a pair: the right-hand side T⁻¹ f in, the correction out."""
    n, i = k[N], k[STAGES] % 2 + 2 * pair
    v, _, _, _, _ = common(k, work)
    _, D, V, _, _ = spaces(k, work)
    _, _, _, _, values = tableau(k)
    C, pivots, b = _of_pair(k, work, pair)
    alpha, beta = values[i, 0] / h, -values[i, 1] / h
    for e in range(n):  # (α + iβ)(V_i + i V_{i+1})
        v[3, e] = alpha * V[i, e] - beta * V[i + 1, e]
        v[4, e] = alpha * V[i + 1, e] + beta * V[i, e]
    add_mass(k, -1.0, row(v, 3), row(D, i))
    add_mass(k, -1.0, row(v, 4), row(D, i + 1))
    order = integers(k[ORDER], n if k[ORDER] != 0 else 0)
    for e in range(n):
        of = order[e] if k[ORDER] != 0 else e
        b[e] = complex(D[i, of], D[i + 1, of])
    lu.solve(C, n, k[KL], k[KU], pivots, b)
    for e in range(n):
        of = order[e] if k[ORDER] != 0 else e
        D[i, of] = b[e].real
        D[i + 1, of] = b[e].imag
