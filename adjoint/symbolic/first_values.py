"""The first evaluation of a graph, checked: which outputs are not finite, and which operation made them so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import casadi
import numpy as np
from casadi import SX
from numpy.typing import ArrayLike

from adjoint.errors import InputError

__all__ = ["check_first_values"]


def check_first_values(
    graph: casadi.Function, values: Sequence[ArrayLike], output_names: Sequence[str], role: str
) -> None:
    """Evaluate a graph at a point and refuse a result that is not finite.

    Parameters
    ----------
    graph : a function from `trace`.
    values : one array for each input of the graph.
    output_names : one name for each element of the output.
    role : what the function is for: ``"dynamics of system 'rocket'"``.

    Raises
    ------
    InputError
        names each output that is NaN or infinite, the first operation that produced such a number, and the inputs.
    """
    point = [np.asarray(v, dtype=float).ravel() for v in values]
    shown = ", ".join(f"{name} = {_short(v)}" for name, v in zip(graph.name_in(), point, strict=True) if v.size)
    for name, v in zip(graph.name_in(), point, strict=True):
        if not np.all(np.isfinite(v)):
            raise InputError(f"{role} is asked for at {shown}, where {name} is not finite. Give finite numbers.")
    result = np.array(graph.call(point)[0], dtype=float).ravel()
    bad = np.flatnonzero(~np.isfinite(result)).tolist()
    if len(bad) == 0:
        return
    outputs = _outputs(graph, point)
    cause = "; and ".join(list(dict.fromkeys(_cause(outputs[i]) for i in bad))[:3])  # each once, in order
    listed = ", ".join(f"{output_names[i]} = {result[i]}" for i in bad)
    raise InputError(
        f"{role} is not finite at the first evaluation: {listed}, at {shown}. The cause is {cause}. "
        "Start from another point, tighten the bounds, or guard the expression with adjoint.where."
    )


@dataclass(frozen=True)
class _Step:
    """One instruction with its numbers: the operation, the steps that it used, its value and its expression."""

    operation: int
    operands: tuple[_Step, ...]
    value: float
    expression: SX


def _cause(step: _Step) -> str:
    """Follow a non-finite number back to the first operation that had finite operands, in words."""
    while True:
        earlier = [s for s in step.operands if not math.isfinite(s.value)]
        if not earlier:
            return _describe(step)
        step = earlier[0]


def _outputs(graph: casadi.Function, point: list[np.ndarray]) -> dict[int, _Step]:
    """Run the instruction list with numbers, keeping where each came from. CasADi folds each operation on constants."""
    symbols = graph.sx_in()
    work: dict[int, _Step] = {}
    outputs: dict[int, _Step] = {}
    for k in range(graph.n_instructions()):
        operation, inputs, target = graph.instruction_id(k), graph.instruction_input(k), graph.instruction_output(k)
        if operation == casadi.OP_OUTPUT:
            if target[0] == 0:
                outputs[target[1]] = work[inputs[0]]
        elif operation == casadi.OP_INPUT:
            argument, element = inputs
            work[target[0]] = _Step(operation, (), point[argument][element], symbols[argument].nz[element])
        elif operation == casadi.OP_CONST:
            constant = graph.instruction_constant(k)
            work[target[0]] = _Step(operation, (), constant, SX(constant))
        else:
            operands = tuple(work[i] for i in inputs)
            numbers = [SX(s.value) for s in operands]
            expressions = [s.expression for s in operands]
            apply = SX.unary if len(operands) == 1 else SX.binary
            work[target[0]] = _Step(
                operation, operands, float(apply(operation, *numbers)), apply(operation, *expressions)
            )
    return outputs


def _describe(step: _Step) -> str:
    where = str(step.expression)
    where = f"`{where if len(where) <= 80 else where[:77] + '...'}`"
    a = [s.value for s in step.operands]
    if step.operation == casadi.OP_SQRT and a[0] < 0:
        return f"the square root of a negative number ({a[0]:g}) in {where}"
    if step.operation in (casadi.OP_LOG, casadi.OP_LOG1P):
        return f"the logarithm of {a[0] + (step.operation == casadi.OP_LOG1P):g} in {where}"
    if step.operation in (casadi.OP_DIV, casadi.OP_INV) and a[-1] == 0:
        return f"a division by zero in {where}"
    if step.operation in (casadi.OP_POW, casadi.OP_CONSTPOW):
        kind = (
            "a division by zero"
            if a[0] == 0
            else "a negative number to a fractional power"
            if a[0] < 0
            else "an overflow"
        )
        return f"{kind} ({a[0]:g} to the power {a[1]:g}) in {where}"
    if step.operation in (casadi.OP_ASIN, casadi.OP_ACOS, casadi.OP_ATANH, casadi.OP_ACOSH):
        return f"an argument outside the domain ({a[0]:g}) in {where}"
    if not step.operands:
        return f"the constant {step.value} in the model"
    kind = "an undefined operation" if math.isnan(step.value) else "an overflow"
    return f"{kind} at {', '.join(f'{v:g}' for v in a)} in {where}"


def _short(values: np.ndarray) -> str:
    return np.array2string(values, precision=6, threshold=12, separator=", ") if values.size > 1 else f"{values[0]:g}"
