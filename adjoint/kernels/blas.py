"""BLAS's matrix product, called by address from compiled kernels.

Matrices are rows of contiguous numbers, which may lie apart (a slice of columns). The address is handed over by Python
(`gemm_address`): a compiled kernel that is kept on disk must not contain it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic
from numpy.typing import DTypeLike

__all__ = ["gemm", "gemm_address"]


@functools.cache
def gemm_address(dtype: DTypeLike) -> int:
    """Where SciPy's BLAS has its matrix product for float32 or float64."""
    name = "sgemm" if np.dtype(dtype) == np.float32 else "dgemm"
    return int(get_cython_function_address("scipy.linalg.cython_blas", name))


@intrinsic
def gemm(typingctx: Any, blas: Any, trans_a: Any, trans_b: Any, a: Any, b: Any, beta: Any, c: Any) -> Any:
    """C = op(A) op(B) + beta C for matrices of rows; the matrices of the Fortran routine are their transposes."""
    signature = types.void(types.int64, trans_a, trans_b, a, b, c.dtype, c)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address, flag_a, flag_b, beta = values[0], values[1], values[2], values[5]
        integer, byte = ir.IntType(32), ir.IntType(8)
        number = context.get_value_type(signature.args[6].dtype)
        kinds = (signature.args[3], signature.args[4], signature.args[6])
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(kinds, (values[3], values[4], values[6]), strict=True)
        ]
        sizes = [cgutils.unpack_tuple(builder, array.shape, 2) for array in arrays]
        size = ir.Constant(ir.IntType(64), context.get_abi_sizeof(number))
        apart = [
            builder.sdiv(cgutils.unpack_tuple(builder, array.strides, 2)[0], size) for array in arrays
        ]

        def by_reference(value: Any, kind: Any) -> Any:
            place = cgutils.alloca_once(builder, kind)
            builder.store(value, place)
            return place

        def whole(value: Any) -> Any:
            return by_reference(builder.trunc(value, integer), integer)

        def letter(flag: Any) -> Any:
            n, t = (ir.Constant(byte, ord(c)) for c in "NT")
            return by_reference(builder.select(context.cast(builder, flag, types.boolean, types.boolean), t, n), byte)

        inner = builder.select(flag_a, sizes[0][0], sizes[0][1])
        arguments = [
            letter(flag_b), letter(flag_a), whole(sizes[2][1]), whole(sizes[2][0]), whole(inner),
            by_reference(ir.Constant(number, 1.0), number), arrays[1].data, whole(apart[1]),
            arrays[0].data, whole(apart[0]), by_reference(beta, number), arrays[2].data, whole(apart[2]),
        ]  # fmt: skip
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)
        return context.get_dummy_value()

    return signature, codegen
