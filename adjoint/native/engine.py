"""From IR text to machine code at an address, and the cache in between.

    graph --ir.emit--> text --LLVM--> object file --linker--> address
          `-- hash of (graph, lanes, processor, versions) --> object file, from disk

`compile_functions` is the one entrance. Code is made for the processor at hand. Everything that was ever loaded stays
loaded until the process ends: an address, once handed out, may be anywhere.
"""

from __future__ import annotations

import functools
import hashlib
import pkgutil
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import casadi
import llvmlite  # type: ignore[import-untyped]
import llvmlite.binding as llvm  # type: ignore[import-untyped]

from adjoint.errors import NativeError
from adjoint.native import cache
from adjoint.native.ir import BLOCKS, ENTRY, emit, scalar_graph
from adjoint.native.vectormath import VectorMath, vector_math

# Straight-line code whose common subexpressions are already shared gains nothing from LLVM's mid-level passes: none
# run. The back end's level 2 compiles as fast as 1; level 0 compiles four times faster, but the code runs up to 1.5
# times longer, which a cache on disk makes the worse bargain.
OPT_LEVEL = 2


@dataclass(frozen=True, eq=False)
class Code:
    """Machine code of one function on `lanes` lanes; see the header of `adjoint.native.ir` for its signature.

    Attributes
    ----------
    address : int
        Where ``void f(double **arg, double **res, double *work)`` begins. Valid until the process ends.
    lanes : int
        How many points one call evaluates.
    work_size : int
        Doubles of workspace for each lane: the caller owns ``work_size * lanes`` of them, for each thread.
    in_sizes, out_sizes : tuple of int
        Nonzeros of each input and output.
    name : str
        The function's name, for errors.
    blocks_address : int
        Where ``void blocks(arg, res, work, long blocks, const long *step)`` begins, a loop over blocks of `lanes`
        points.
    """

    address: int
    lanes: int
    work_size: int
    in_sizes: tuple[int, ...]
    out_sizes: tuple[int, ...]
    name: str
    blocks_address: int
    engine: llvm.ExecutionEngine = field(repr=False)

    def __reduce__(self) -> str:
        raise NativeError(
            f"the machine code of '{self.name}' cannot be pickled: its address means nothing in another process."
            " Pickle the casadi.Function and compile it there; the disk cache makes that quick."
        )


@functools.cache
def host() -> tuple[str, str]:
    """The processor's name and features, in LLVM's words."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@functools.cache
def lane_width() -> int:
    """How many doubles this processor computes at once: 8 with AVX-512, 4 with AVX2, else 2."""
    features = host()[1].split(",")
    if "+avx512f" in features:
        return 8
    return 4 if "+avx2" in features else 2


def compile_functions(pairs: Iterable[tuple[casadi.Function, int]]) -> list[Code]:
    """Machine code for each (function, lanes), in the same order.

    Parameters
    ----------
    pairs : iterable of (casadi.Function, int)
        The graphs, and on how many lanes: 1 or `lane_width()`.

    Returns
    -------
    list of Code
        What was compiled before in this process is returned again; what was compiled by another one is read from disk;
        the rest is compiled, one after the other: llvmlite holds a lock of its own while LLVM runs, so threads would
        only wait for each other.

    Raises
    ------
    NativeError
        If a function cannot be expanded into scalar operations, has free variables, or uses an operation that has no
        translation; or if lanes is neither 1 nor `lane_width()`.
    """
    math = vector_math(lane_width())
    codes = []
    for function, lanes in pairs:
        if lanes not in (1, math.width):
            raise NativeError(
                f"lanes = {lanes} for '{function.name()}': machine code has 1 or {math.width} lanes here."
            )
        graph = scalar_graph(function)
        key = _key(graph, lanes, math)
        with _lock:
            if key not in _codes:
                _codes[key] = _code(graph, lanes, key, math)
            codes.append(_codes[key])
    return codes


_codes: dict[str, Code] = {}  # everything that is loaded, by key; never emptied, so that addresses stay valid
_lock = threading.Lock()


def _code(graph: casadi.Function, lanes: int, key: str, math: VectorMath) -> Code:
    payload = cache.load(key)
    if payload is None:
        program = emit(graph, lanes, math)
        payload = struct.pack("<q", program.work_size) + object_code(program.text)
        cache.store(key, payload)
    (work_size,) = struct.unpack_from("<q", payload)
    engine = load(payload[8:])
    return Code(
        address=engine.get_function_address(ENTRY),
        lanes=lanes,
        work_size=work_size,
        in_sizes=tuple(graph.nnz_in(i) for i in range(graph.n_in())),
        out_sizes=tuple(graph.nnz_out(j) for j in range(graph.n_out())),
        name=graph.name(),
        blocks_address=engine.get_function_address(BLOCKS),
        engine=engine,
    )


def _key(graph: casadi.Function, lanes: int, math: VectorMath) -> str:
    """What the machine code depends on: equal keys, equal code."""
    digest = hashlib.sha256(graph.serialize().encode())
    digest.update(repr((lanes, math, host(), OPT_LEVEL, _versions())).encode())
    return digest.hexdigest()


@functools.cache
def _versions() -> tuple[object, ...]:
    """The compilers: LLVM, and the text of the modules that write the IR."""
    sources = [pkgutil.get_data("adjoint.native", name) or b"" for name in ("ir.py", "vectormath.py", "engine.py")]
    return llvmlite.__version__, llvm.llvm_version_info, hashlib.sha256(b"".join(sources)).hexdigest()


def target_machine() -> llvm.TargetMachine:
    """A fresh one: an execution engine takes possession of the target machine that it is given."""
    cpu, features = host()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=cpu, features=features, opt=OPT_LEVEL, codemodel="jitdefault", jit=True)


def object_code(text: str) -> bytes:
    """Compile IR text into an object file."""
    machine = target_machine()
    module = llvm.parse_assembly(text, llvm.create_context())
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    return machine.emit_object(module)


def load(object_file: bytes) -> llvm.ExecutionEngine:
    """Link an object file into this process."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly("", llvm.create_context()), target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(object_file))
    engine.finalize_object()
    return engine
