"""Derivatives of a graph F: (a_0, a_1, ...) -> y, each as a new graph with the same inputs first.

    jvp       dy = sum_i (dF/da_i) d_i                      forward: pushes perturbations
    vjp       g_i = (dF/da_i)^T s                           backward: pulls a seed back
    jacobian  J_i = dF/da_i                                 sparse
    second    (d^2 (s^T F) / da^2) d                        how the vjp changes along d
    hessian   H = d^2 (s^T F) / da^2, a = (a_i, i in wrt)    sparse, lower triangle

F has one output, a column; `wrt` lists the numbers of the inputs to differentiate by.
"""

from __future__ import annotations

from collections.abc import Sequence

import casadi
from casadi import SX

__all__ = ["hessian_of", "jacobian", "jvp", "second", "vjp"]


def jvp(F: casadi.Function, wrt: Sequence[int]) -> casadi.Function:
    """(inputs, d_<name> for each of wrt) -> tangent."""
    inputs, y = _symbols(F)
    directions = [SX.sym(f"d_{F.name_in(i)}", F.size1_in(i)) for i in wrt]
    a, d = casadi.vertcat(*[inputs[i] for i in wrt]), casadi.vertcat(*directions)
    names = F.name_in() + [f"d_{F.name_in(i)}" for i in wrt]
    return _function(
        f"{F.name()}_jvp", inputs + directions, [casadi.densify(casadi.jtimes(y, a, d))], names, ["tangent"]
    )


def vjp(F: casadi.Function, wrt: Sequence[int]) -> casadi.Function:
    """(inputs, seed) -> grad_<name> for each of wrt."""
    inputs, y = _symbols(F)
    seed = SX.sym("seed", F.size1_out(0))
    a = casadi.vertcat(*[inputs[i] for i in wrt])
    gradient = casadi.densify(casadi.jtimes(y, a, seed, True))
    parts = casadi.vertsplit(gradient, _offsets(F, wrt))
    return _function(
        f"{F.name()}_vjp", [*inputs, seed], parts, [*F.name_in(), "seed"], [f"grad_{F.name_in(i)}" for i in wrt]
    )


def second(F: casadi.Function, wrt: Sequence[int]) -> casadi.Function:
    """(inputs, seed, d_<name> for each of wrt) -> change of grad_<name> of `vjp` along d, at a fixed seed."""
    inputs, y = _symbols(F)
    seed = SX.sym("seed", F.size1_out(0))
    directions = [SX.sym(f"d_{F.name_in(i)}", F.size1_in(i)) for i in wrt]
    a, d = casadi.vertcat(*[inputs[i] for i in wrt]), casadi.vertcat(*directions)
    change = casadi.densify(casadi.jtimes(casadi.jtimes(y, a, seed, True), a, d))
    return _function(
        f"{F.name()}_second", [*inputs, seed, *directions], casadi.vertsplit(change, _offsets(F, wrt)),
        [*F.name_in(), "seed", *(f"d_{F.name_in(i)}" for i in wrt)], [f"change_{F.name_in(i)}" for i in wrt],
    )  # fmt: skip


def jacobian(F: casadi.Function, wrt: Sequence[int]) -> casadi.Function:
    """(inputs) -> jac_<name> for each of wrt, sparse."""
    inputs, y = _symbols(F)
    parts = [casadi.jacobian(y, inputs[i]) for i in wrt]
    return _function(f"{F.name()}_jac", inputs, parts, F.name_in(), [f"jac_{F.name_in(i)}" for i in wrt])


def hessian_of(F: casadi.Function, wrt: Sequence[int]) -> casadi.Function:
    """(inputs, multiplier) -> hessian: lower triangle of the Hessian of multiplier^T F in the stacked inputs of wrt."""
    inputs, y = _symbols(F)
    multiplier = SX.sym("multiplier", F.size1_out(0))
    a = casadi.vertcat(*[inputs[i] for i in wrt])
    H, _ = casadi.hessian(casadi.dot(multiplier, y), a)
    names = [*F.name_in(), "multiplier"]
    return _function(f"{F.name()}_hess", [*inputs, multiplier], [casadi.tril(H)], names, ["hessian"])


def _symbols(F: casadi.Function) -> tuple[list[SX], SX]:
    inputs = [SX.sym(F.name_in(i), F.size1_in(i)) for i in range(F.n_in())]
    return inputs, F.call(inputs)[0]


def _offsets(F: casadi.Function, wrt: Sequence[int]) -> list[int]:
    offsets = [0]
    for i in wrt:
        offsets.append(offsets[-1] + F.size1_in(i))
    return offsets


def _function(
    name: str, inputs: list[SX], outputs: list[SX], names_in: list[str], names_out: list[str]
) -> casadi.Function:
    return casadi.Function(name, inputs, casadi.cse(outputs), names_in, names_out)
