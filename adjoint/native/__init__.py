"""Machine code for CasADi graphs: SX function -> LLVM IR -> address, on one lane or on a register's width of lanes.

vectormath.py   sin, exp, pow, ...: glibc's vector routines or the C library's scalar ones
ir.py           the graph as LLVM IR text; its header states the signature and the layout of the memory
engine.py       text -> machine code -> address
cache.py        machine code on disk
compiled.py     the machine code as a NumPy function
"""

from adjoint.native.compiled import CompiledFunction, compile
from adjoint.native.engine import Code, compile_functions, lane_width

__all__ = ["Code", "CompiledFunction", "compile", "compile_functions", "lane_width"]
