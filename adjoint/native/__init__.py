"""Machine code for CasADi graphs: SX function -> LLVM IR -> address, on one lane or on a register's width of lanes."""

from adjoint.native.engine import Code, compile_functions, lane_width

__all__ = ["Code", "compile_functions", "lane_width"]
