"""A CasADi SX graph, written down as LLVM IR.

A `casadi.Function` over SX is a list of scalar instructions, `work[k] = op(work[i], work[j])`. The same list is written
here with every scalar replaced by W lanes,

    void f(const double *const *arg, double *const *res, double *work)

    arg[i][e*W + lane]      element e of input i           (inputs: nonzeros, in CasADi's order)
    res[j][e*W + lane]      nonzero e of output j
    work[s*W + lane]        owned by the caller, `work_size` doubles a lane

so that one call evaluates W points. Pointers are 8-byte aligned, no more. The arithmetic is CasADi's, operation by
operation: nothing is reassociated and no multiply-add is fused, so + - * / sqrt and the comparisons agree with CasADi's
own evaluation to the last bit, and every lane agrees with the one-lane code. (Fused, sqrt(a*a - b*b) at a = b could be
the root of a negative rounding error.)

An output may share its memory with an input if they agree element by element (an accumulator): the store of element e
waits until the last read of element e of any input.

LLVM's time grows faster than the length of a basic block, so a long list is cut into pieces, each a function of its
own. A value that is needed in a later piece travels through a slot of `work`; slots are reused once their value is
dead.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import casadi

from adjoint.errors import NativeError
from adjoint.native.vectormath import BINARY, SCALAR_ONLY, UNARY, VectorMath

# Instructions a piece. Measured from 100 to 1500 on Jacobians and Hessians of RK4 steps: compile time is flat up to 500
# and linear in the length of the whole; scalar code slows down by half in one long block, lanes hardly notice.
CHUNK = 300

ENTRY, BLOCKS = "adjoint_entry", "adjoint_blocks"


@dataclass(frozen=True)
class Program:
    """LLVM IR text that defines `ENTRY` and `BLOCKS`, and the doubles of work it needs for each lane."""

    text: str
    work_size: int


class _Value(NamedTuple):
    """One scalar of the graph: `op` applied to other values, a constant, or element `element` of input `source`."""

    op: int
    operands: tuple[int, ...]
    constant: float
    source: int
    element: int


class _Store(NamedTuple):
    """Nonzero `element` of output `output` is value `value`."""

    output: int
    element: int
    value: int


def scalar_graph(function: casadi.Function) -> casadi.Function:
    """`function` itself if it is made of scalars (SX), else its expansion.

    Raises `NativeError` if it cannot be expanded or has free variables.
    """
    if not function.is_a("SXFunction"):
        try:
            function = function.expand()
        except RuntimeError as error:
            raise NativeError(
                f"function '{function.name()}' is a CasADi {function.class_name()} that does not expand into scalar"
                f" operations ({_last_line(error)}). Build it from casadi.SX, without external calls, solvers or"
                " lookups."
            ) from error
    if function.has_free():
        names = ", ".join(str(symbol) for symbol in function.free_sx()[:5])
        raise NativeError(
            f"function '{function.name()}' depends on {names}, which is not among its inputs. Add it to the inputs."
        )
    return function


def emit(function: casadi.Function, lanes: int, math: VectorMath, chunk: int = CHUNK) -> Program:
    """Write `function` (SX) as LLVM IR on `lanes` lanes, in pieces of at most `chunk` instructions.

    Raises `NativeError`, naming the operation, if the graph holds one that has no translation.
    """
    values, items = _ordered(function)
    pieces = [items[k : k + chunk] for k in range(0, len(items), chunk)] or [[]]
    slots, work_size = _work_slots(values, pieces)
    writer = _Writer(values, slots, lanes, math)
    single = len(pieces) == 1
    text = []
    for number, piece in enumerate(pieces):
        name = ENTRY if single else f"piece{number}"
        text += [f"define {'' if single else 'internal '}void @{name}(ptr %arg, ptr %res, ptr noalias %work) #0 {{"]
        text += writer.piece(piece)
        text += ["  ret void", "}"]
    if not single:
        text += [f"define void @{ENTRY}(ptr %arg, ptr %res, ptr %work) #0 {{"]
        text += [f"  call void @piece{number}(ptr %arg, ptr %res, ptr %work)" for number in range(len(pieces))]
        text += ["  ret void", "}"]
    text += _blocks(function.n_in(), [function.nnz_out(j) * lanes for j in range(function.n_out())])
    text += sorted(writer.declarations)
    text += [
        'attributes #0 = { nounwind noinline "prefer-vector-width"="512" "min-legal-vector-width"="512" }',
        "attributes #1 = { nounwind willreturn nobuiltin memory(none) }",
        "",
    ]
    return Program("\n".join(text), work_size)


# ---- the list of instructions ----------------------------------------------------------------------------------------


def _ordered(function: casadi.Function) -> tuple[list[_Value], list[int | _Store]]:
    """The graph's values (each assigned once), and the order of work: compute value k (an int), or store an output."""
    values: list[_Value] = []
    stores: list[tuple[int, _Store]] = []  # (position after which the value exists, store)
    order: list[int] = []
    current: dict[int, int] = {}  # CasADi's register -> the value it holds now
    last_read: dict[int, int] = {}  # element index -> position of the last read of that element of any input
    for k in range(function.n_instructions()):
        op = function.instruction_id(k)
        inputs, outputs = function.instruction_input(k), function.instruction_output(k)
        if op == casadi.OP_CONST:
            value = _Value(op, (), function.instruction_constant(k), -1, -1)
        elif op == casadi.OP_INPUT:
            value = _Value(op, (), 0.0, inputs[0], inputs[1])
        elif op == casadi.OP_OUTPUT:
            held = current[inputs[0]]
            if values[held].op == casadi.OP_INPUT:  # a copy: read now, stored when the store is safe
                last_read[values[held].element] = len(order)
                order.append(len(values))
                values.append(_Value(casadi.OP_ASSIGN, (held,), 0.0, -1, -1))
                held = len(values) - 1
            stores.append((len(order), _Store(outputs[0], outputs[1], held)))
            continue
        elif op in (casadi.OP_ASSIGN, casadi.OP_LIFT):
            current[outputs[0]] = current[inputs[0]]
            continue
        elif op in _TRANSLATIONS:
            operands = tuple(current[i] for i in inputs[: _TRANSLATIONS[op].arity])
            value = _Value(op, operands, 0.0, -1, -1)
            for operand in operands:
                if values[operand].op == casadi.OP_INPUT:
                    last_read[values[operand].element] = len(order)
            order.append(len(values))
        else:
            what = " (a call of another function: an interpolant, a solver, ...)" if op == casadi.OP_CALL else ""
            raise NativeError(
                f"function '{function.name()}' uses the operation {_op_name(op)}{what}, which has no translation to"
                " machine code. Rewrite it with arithmetic, comparisons and elementary functions."
            )
        current[outputs[0]] = len(values)
        values.append(value)

    due: dict[int, list[_Store]] = {}
    for position, store in stores:
        due.setdefault(max(position, last_read.get(store.element, -1) + 1), []).append(store)
    items: list[int | _Store] = []
    for position, index in enumerate(order):
        items += due.get(position, [])
        items.append(index)
    return values, items + due.get(len(order), [])


def _work_slots(values: list[_Value], pieces: list[list[int | _Store]]) -> tuple[dict[int, int], int]:
    """The slot of each value that outlives its piece, and the number of slots."""
    born: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, piece in enumerate(pieces):
        for item in piece:
            if isinstance(item, _Store):
                last[item.value] = number
            else:
                born[item] = number
                for operand in values[item].operands:
                    last[operand] = number
    travellers: list[list[int]] = [[] for _ in pieces]
    for index, number in born.items():
        if last.get(index, number) > number:
            travellers[number].append(index)
    slots: dict[int, int] = {}
    free: list[int] = []
    dead: list[list[int]] = [[] for _ in pieces]  # slots by the piece that reads them last
    size = 0
    for number in range(len(pieces)):
        if number:
            free += dead[number - 1]  # not those of this piece: its reads and writes interleave
        for index in travellers[number]:
            if not free:
                free.append(size)
                size += 1
            slots[index] = free.pop()
            dead[last[index]].append(slots[index])
    return slots, size


# ---- text ------------------------------------------------------------------------------------------------------------


class _Translation(NamedTuple):
    """How one operation is written: `template` with {a} {b} the operands, {r} the result, {v} the type."""

    arity: int
    kind: str  # "plain": one line; "compare", "logic": a truth value; "call": a C function; others by name
    template: str


def _table() -> dict[int, _Translation]:
    table = {
        casadi.OP_ASSIGN: _Translation(1, "copy", ""),
        casadi.OP_ADD: _Translation(2, "plain", "fadd {v} {a}, {b}"),
        casadi.OP_SUB: _Translation(2, "plain", "fsub {v} {a}, {b}"),
        casadi.OP_MUL: _Translation(2, "plain", "fmul {v} {a}, {b}"),
        casadi.OP_DIV: _Translation(2, "plain", "fdiv {v} {a}, {b}"),
        casadi.OP_NEG: _Translation(1, "plain", "fneg {v} {a}"),
        casadi.OP_SQ: _Translation(1, "plain", "fmul {v} {a}, {a}"),
        casadi.OP_TWICE: _Translation(1, "plain", "fadd {v} {a}, {a}"),
        casadi.OP_INV: _Translation(1, "plain", "fdiv {v} {one}, {a}"),
        casadi.OP_SQRT: _Translation(1, "intrinsic", "sqrt"),
        casadi.OP_FABS: _Translation(1, "intrinsic", "fabs"),
        casadi.OP_FLOOR: _Translation(1, "intrinsic", "floor"),
        casadi.OP_CEIL: _Translation(1, "intrinsic", "ceil"),
        casadi.OP_COPYSIGN: _Translation(2, "intrinsic", "copysign"),
        casadi.OP_LT: _Translation(2, "compare", "olt"),
        casadi.OP_LE: _Translation(2, "compare", "ole"),
        casadi.OP_EQ: _Translation(2, "compare", "oeq"),
        casadi.OP_NE: _Translation(2, "compare", "une"),
        casadi.OP_NOT: _Translation(1, "not", ""),
        casadi.OP_AND: _Translation(2, "logic", "and"),
        casadi.OP_OR: _Translation(2, "logic", "or"),
        casadi.OP_IF_ELSE_ZERO: _Translation(2, "if_else_zero", ""),
        casadi.OP_SIGN: _Translation(1, "sign", ""),
        casadi.OP_FMIN: _Translation(2, "extremum", "olt"),
        casadi.OP_FMAX: _Translation(2, "extremum", "ogt"),
        casadi.OP_CONSTPOW: _Translation(2, "call", "pow"),
    }
    for name in UNARY:
        table[getattr(casadi, f"OP_{name.upper()}")] = _Translation(1, "call", name)
    for name in BINARY + SCALAR_ONLY:
        table[getattr(casadi, f"OP_{name.upper()}")] = _Translation(2, "call", name)
    return table


_TRANSLATIONS = _table()


class _Writer:
    """Writes the pieces of one function, and remembers what they call."""

    def __init__(self, values: list[_Value], slots: dict[int, int], lanes: int, math: VectorMath) -> None:
        self.values, self.slots, self.lanes, self.math = values, slots, lanes, math
        self.vector = f"<{lanes} x double>" if lanes > 1 else "double"
        self.truth = f"<{lanes} x i1>" if lanes > 1 else "i1"
        self.suffix = f"v{lanes}f64" if lanes > 1 else "f64"
        self.one, self.minus_one, self.zero = self._constant(1.0), self._constant(-1.0), self._constant(0.0)
        self.declarations: set[str] = set()
        self.lines: list[str] = []
        self.known: dict[int, str] = {}  # value -> its name in this piece
        self.truths: dict[int, str] = {}  # value -> the i1 it was made of
        self.pointers: dict[tuple[str, int], str] = {}
        self.counter = 0

    def piece(self, items: list[int | _Store]) -> list[str]:
        self.lines, self.known, self.truths, self.pointers = [], {}, {}, {}
        for item in items:
            if isinstance(item, _Store):
                value = self._name(item.value)
                address = self._element(self._pointer("res", item.output), item.element)
                self._line(f"store {self.vector} {value}, ptr {address}, align 8")
            else:
                self.known[item] = self._compute(item)
                if item in self.slots:
                    address = self._element("%work", self.slots[item])
                    self._line(f"store {self.vector} {self.known[item]}, ptr {address}, align 8")
        return self.lines

    # -- names of operands

    def _line(self, text: str) -> None:
        self.lines.append("  " + text)

    def _new(self, text: str) -> str:
        self.counter += 1
        name = f"%v{self.counter}"
        self.lines.append(f"  {name} = {text}")
        return name

    def _constant(self, number: float) -> str:
        """The number's bits, so that inf, NaN and -0.0 are written like any other."""
        bits = f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
        return f"splat (double {bits})" if self.lanes > 1 else bits

    def _pointer(self, table: str, index: int) -> str:
        """The data pointer of input or output `index`, loaded once a piece."""
        key = (table, index)
        if key not in self.pointers:
            address = self._new(f"getelementptr ptr, ptr %{table}, i64 {index}")
            self.pointers[key] = self._new(f"load ptr, ptr {address}, align 8")
        return self.pointers[key]

    def _element(self, pointer: str, element: int) -> str:
        return self._new(f"getelementptr double, ptr {pointer}, i64 {element * self.lanes}")

    def _name(self, index: int) -> str:
        """The name of a value in this piece: a constant, an input or a traveller is fetched at its first use."""
        if index not in self.known:
            value = self.values[index]
            if value.op == casadi.OP_CONST:
                self.known[index] = self._constant(value.constant)
            else:
                if value.op == casadi.OP_INPUT:
                    address = self._element(self._pointer("arg", value.source), value.element)
                else:
                    address = self._element("%work", self.slots[index])
                self.known[index] = self._new(f"load {self.vector}, ptr {address}, align 8")
        return self.known[index]

    def _is_true(self, index: int) -> str:
        """A value as a truth value; in C, everything but zero is true, NaN too."""
        if index not in self.truths:
            self.truths[index] = self._new(f"fcmp une {self.vector} {self._name(index)}, {self.zero}")
        return self.truths[index]

    # -- operations

    def _select(self, condition: str, yes: str, no: str) -> str:
        return self._new(f"select {self.truth} {condition}, {self.vector} {yes}, {self.vector} {no}")

    def _compute(self, index: int) -> str:
        value = self.values[index]
        _, kind, template = _TRANSLATIONS[value.op]
        v = self.vector
        if kind in ("not", "logic", "compare"):
            self.truths[index] = self._truth_value(value, kind, template)
            return self._select(self.truths[index], self.one, self.zero)
        if kind == "if_else_zero":
            return self._select(self._is_true(value.operands[0]), self._name(value.operands[1]), self.zero)
        a, b = self._name(value.operands[0]), self._name(value.operands[-1])
        if kind == "copy":
            return a
        if kind == "plain":
            return self._new(template.format(v=v, a=a, b=b, one=self.one))
        if kind == "intrinsic":
            return self._intrinsic(template, [self._name(operand) for operand in value.operands])
        if kind == "sign":  # x < 0 ? -1 : x > 0 ? 1 : x, so that NaN stays NaN
            positive = self._select(self._new(f"fcmp ogt {v} {a}, {self.zero}"), self.one, a)
            return self._select(self._new(f"fcmp olt {v} {a}, {self.zero}"), self.minus_one, positive)
        if kind == "extremum":  # as C's fmin and fmax: a NaN loses against a number
            other = self._select(self._new(f"fcmp uno {v} {b}, {b}"), a, b)
            return self._select(self._new(f"fcmp {template} {v} {a}, {b}"), a, other)
        return self._call(template, [self._name(operand) for operand in value.operands])

    def _truth_value(self, value: _Value, kind: str, template: str) -> str:
        if kind == "compare":
            a, b = (self._name(operand) for operand in value.operands)
            return self._new(f"fcmp {template} {self.vector} {a}, {b}")
        truths = [self._is_true(operand) for operand in value.operands]
        if kind == "not":
            true = "splat (i1 true)" if self.lanes > 1 else "true"
            return self._new(f"xor {self.truth} {truths[0]}, {true}")
        return self._new(f"{template} {self.truth} {truths[0]}, {truths[1]}")

    def _intrinsic(self, name: str, operands: list[str]) -> str:
        v = self.vector
        self.declarations.add(f"declare {v} @llvm.{name}.{self.suffix}({', '.join([v] * len(operands))})")
        return self._new(f"call {v} @llvm.{name}.{self.suffix}({', '.join(f'{v} {a}' for a in operands)})")

    def _call(self, name: str, operands: list[str]) -> str:
        """A C function of all lanes: by one call of the vector routine, else lane by lane."""
        symbol = self.math.table.get(name)
        if symbol is None:
            return self._call_lane_by_lane(name, operands)
        wide = f"<{self.math.width} x double>"
        if self.lanes == 1:
            operands = [self._splat(operand, wide) for operand in operands]
        self.declarations.add(f"declare {wide} @{symbol}({', '.join([wide] * len(operands))}) #1")
        result = self._new(f"call {wide} @{symbol}({', '.join(f'{wide} {a}' for a in operands)})")
        return result if self.lanes > 1 else self._new(f"extractelement {wide} {result}, i64 0")

    def _splat(self, scalar: str, wide: str) -> str:
        first = self._new(f"insertelement {wide} poison, double {scalar}, i64 0")
        return self._new(f"shufflevector {wide} {first}, {wide} poison, <{self.math.width} x i32> zeroinitializer")

    def _call_lane_by_lane(self, name: str, operands: list[str]) -> str:
        self.declarations.add(f"declare double @{name}({', '.join(['double'] * len(operands))}) #1")
        if self.lanes == 1:
            return self._new(f"call double @{name}({', '.join(f'double {a}' for a in operands)})")
        result = "poison"
        for lane in range(self.lanes):
            parts = [self._new(f"extractelement {self.vector} {a}, i64 {lane}") for a in operands]
            scalar = self._new(f"call double @{name}({', '.join(f'double {a}' for a in parts)})")
            result = self._new(f"insertelement {self.vector} {result}, double {scalar}, i64 {lane}")
        return result


def _blocks(n_in: int, output_steps: list[int]) -> list[str]:
    """A loop of `ENTRY` over consecutive blocks of W points, for callers that cannot loop themselves.

    ::

        void blocks(arg, res, work, long blocks, const long *step)

    Input i moves on by step[i] doubles a block (0: the same point for all), output j by its size.
    """
    lines = [
        f"define void @{BLOCKS}(ptr %arg, ptr %res, ptr %work, i64 %blocks, ptr %step) #0 {{",
        "entry:",
        f"  %a = alloca ptr, i64 {max(n_in, 1)}",
        f"  %r = alloca ptr, i64 {max(len(output_steps), 1)}",
    ]
    for local, table, count in (("a", "arg", n_in), ("r", "res", len(output_steps))):
        for i in range(count):
            lines += [
                f"  %{local}from{i} = getelementptr ptr, ptr %{table}, i64 {i}",
                f"  %{local}{i} = getelementptr ptr, ptr %{local}, i64 {i}",
                f"  %{local}first{i} = load ptr, ptr %{local}from{i}",
                f"  store ptr %{local}first{i}, ptr %{local}{i}",
            ]
    for i in range(n_in):
        lines += [
            f"  %stepfrom{i} = getelementptr i64, ptr %step, i64 {i}",
            f"  %step{i} = load i64, ptr %stepfrom{i}",
        ]
    lines += [
        "  %some = icmp sgt i64 %blocks, 0",
        "  br i1 %some, label %loop, label %end",
        "loop:",
        "  %k = phi i64 [ 0, %entry ], [ %next, %loop ]",
        f"  call void @{ENTRY}(ptr %a, ptr %r, ptr %work)",
    ]
    steps = [("a", i, f"%step{i}") for i in range(n_in)] + [("r", j, str(s)) for j, s in enumerate(output_steps)]
    for local, i, step in steps:
        lines += [
            f"  %{local}now{i} = load ptr, ptr %{local}{i}",
            f"  %{local}next{i} = getelementptr double, ptr %{local}now{i}, i64 {step}",
            f"  store ptr %{local}next{i}, ptr %{local}{i}",
        ]
    lines += [
        "  %next = add i64 %k, 1",
        "  %more = icmp slt i64 %next, %blocks",
        "  br i1 %more, label %loop, label %end",
        "end:",
        "  ret void",
        "}",
    ]
    return lines


# ---- words for errors ------------------------------------------------------------------------------------------------


def _op_name(op: int) -> str:
    for name in dir(casadi):
        if name.startswith("OP_") and getattr(casadi, name) == op:
            return name
    return f"number {op}"


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
