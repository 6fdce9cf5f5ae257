"""The graphs that an implicit step asks for, all from the right-hand side f(t, x, u, p).

They are listed in the header of `kernels.implicit`, with their inputs and outputs in order.
"""

from __future__ import annotations

import casadi as ca

__all__ = ["bend", "bend_dot", "jacobian", "right_hand_side", "tangent", "turn", "vjp", "vjp_dot"]


def right_hand_side(f: ca.Function) -> ca.Function:
    """(t, x, u, p) → f, dense."""
    z = _symbols(f)
    return ca.Function("rhs", z, [ca.densify(f(*z))])


def jacobian(f: ca.Function) -> ca.Function:
    """(t, x, u, p) → f, J in nonzeros, ḟ."""
    t, x, _u, _p = z = _symbols(f)
    y = f(*z)
    return ca.Function("jacobian", z, ca.cse([ca.densify(y), ca.jacobian(y, x), ca.densify(ca.jacobian(y, t))]))


def vjp(f: ca.Function) -> ca.Function:
    """(t, x, u, p, w, g_u, g_p) → Jᵀw, g_u + f_uᵀw, g_p + f_pᵀw."""
    z = _symbols(f)
    w, g_u, g_p = ca.SX.sym("w", f.size1_out(0)), _like("g_u", z[2]), _like("g_p", z[3])
    parts = _split(ca.jtimes(f(*z), ca.vertcat(*z[1:]), w, True), z)
    return _function("vjp", [*z, w, g_u, g_p], [parts[0], g_u + parts[1], g_p + parts[2]])


def tangent(f: ca.Function) -> ca.Function:
    """(t, x, u, p, δx, δu, δp) → J δx + f_u δu + f_p δp."""
    z = _symbols(f)
    d = [_like("d", s) for s in z[1:]]
    return _function("tangent", [*z, *d], [ca.jtimes(f(*z), ca.vertcat(*z[1:]), ca.vertcat(*d))])


def bend(f: ca.Function) -> ca.Function:
    """(t, x, u, p, S, v, g_x, g_u, g_p) → g + the gradient of Σ S_ij J_ij + vᵀḟ."""
    z = _symbols(f)
    S, v, gradient = _bent(f, z)
    g = [_like("g", s) for s in z[1:]]
    parts = _split(gradient, z)
    return _function("bend", [*z, S, v, *g], [a + b for a, b in zip(g, parts, strict=True)])


def turn(f: ca.Function) -> ca.Function:
    """(t, x, u, p, δx, δu, δp) → δJ in the nonzeros of J, δḟ."""
    t, x, _u, _p = z = _symbols(f)
    y = f(*z)
    J = ca.jacobian(y, x)
    both = ca.vertcat(_nonzeros(J), ca.densify(ca.jacobian(y, t)))
    d = [_like("d", s) for s in z[1:]]
    moved = ca.densify(ca.jtimes(both, ca.vertcat(*z[1:]), ca.vertcat(*d)))
    return _function("turn", [*z, *d], ca.vertsplit(moved, [0, J.nnz(), moved.numel()]))


def vjp_dot(f: ca.Function) -> ca.Function:
    """(t, x, u, p, w, δx, δu, δp, δw, g_u, g_p) → δ(Jᵀw), g_u + δ(f_uᵀw), g_p + δ(f_pᵀw)."""
    z = _symbols(f)
    w, dw = (ca.SX.sym(name, f.size1_out(0)) for name in ("w", "dw"))
    d, g_u, g_p = [_like("d", s) for s in z[1:]], _like("g_u", z[2]), _like("g_p", z[3])
    pulled = ca.densify(ca.jtimes(f(*z), ca.vertcat(*z[1:]), w, True))
    parts = _split(ca.jtimes(pulled, ca.vertcat(*z[1:], w), ca.vertcat(*d, dw)), z)
    return _function("vjp_dot", [*z, w, *d, dw, g_u, g_p], [parts[0], g_u + parts[1], g_p + parts[2]])


def bend_dot(f: ca.Function) -> ca.Function:
    """(t, x, u, p, S, v, δx, δu, δp, δS, δv, g_x, g_u, g_p) → g + the change of what `bend` adds."""
    z = _symbols(f)
    S, v, gradient = _bent(f, z)
    d, dS, dv = [_like("d", s) for s in z[1:]], _like("dS", S), _like("dv", v)
    g = [_like("g", s) for s in z[1:]]
    moved = ca.jtimes(ca.densify(gradient), ca.vertcat(*z[1:], S, v), ca.vertcat(*d, dS, dv))
    outputs = [a + b for a, b in zip(g, _split(moved, z), strict=True)]
    return _function("bend_dot", [*z, S, v, *d, dS, dv, *g], outputs)


def _bent(f: ca.Function, z: list[ca.SX]) -> tuple[ca.SX, ca.SX, ca.SX]:
    """S, v and the gradient of Σ S_ij J_ij + vᵀḟ by (x, u, p)."""
    y = f(*z)
    J = ca.jacobian(y, z[1])
    S, v = ca.SX.sym("S", J.nnz()), ca.SX.sym("v", f.size1_out(0))
    number = ca.dot(_nonzeros(J), S) + ca.dot(ca.densify(ca.jacobian(y, z[0])), v)
    return S, v, ca.gradient(number, ca.vertcat(*z[1:]))


def _nonzeros(J: ca.SX) -> ca.SX:
    return ca.vec(J.nz[:]) if J.nnz() else ca.SX.zeros(0, 1)


def _symbols(f: ca.Function) -> list[ca.SX]:
    return [ca.SX.sym(name, f.size1_in(i)) for i, name in enumerate("txup")]


def _like(name: str, a: ca.SX) -> ca.SX:
    return ca.SX.sym(name, a.numel())


def _split(gradient: ca.SX, z: list[ca.SX]) -> list[ca.SX]:
    """By x, u, p."""
    n, m = z[1].numel(), z[2].numel()
    return list(ca.vertsplit(ca.densify(gradient), [0, n, n + m, gradient.numel()]))


def _function(name: str, inputs: list[ca.SX], outputs: list[ca.SX]) -> ca.Function:
    return ca.Function(name, inputs, ca.cse([ca.densify(y) for y in outputs]))
