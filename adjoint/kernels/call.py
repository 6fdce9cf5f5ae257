"""How compiled loops call machine code whose address is known only at run time.

    void f(double **arg, double **res, double *work)

`arg` and `res` are int64 arrays of addresses, filled with `address_of`; `work` is a float64 array of at least work_size
· lanes elements (one element where that is zero: an empty array has no address). A kernel that receives addresses is
compiled once for all systems; a kernel that received functions would be compiled again for each.

**Lifetimes.** Numba releases an array that a kernel allocated after its last *mention*, and an address is no mention.
So take addresses of arrays that came in as arguments (their owner holds them), or mention a local array again after the
last call.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from adjoint.kernels.jit import jit

__all__ = ["address_of", "call", "complexes", "integers", "matrix", "number_of", "view"]


@intrinsic
def call(typingctx: Any, address: Any, arg: Any, res: Any, work: Any) -> Any:
    """Call the machine code at `address` (int64) on addresses `arg`, `res` (int64[:]) and scratch `work`."""
    signature = types.void(types.int64, arg, res, work)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        function = builder.inttoptr(values[0], ir.FunctionType(ir.VoidType(), [pointer] * 3).as_pointer())
        data = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[1:], values[1:], strict=True)
        ]
        builder.call(function, [builder.bitcast(d, pointer) for d in data])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def address_of(typingctx: Any, array: Any, offset: Any) -> Any:
    """The address (int64) of element `offset` of a C-contiguous array, counted through all its axes."""
    if not (isinstance(array, types.Array) and array.layout == "C"):
        return None  # Numba then reports that no such call exists for this argument

    signature = types.int64(array, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        return builder.ptrtoint(cgutils.gep_inbounds(builder, data, values[1]), ir.IntType(64))

    return signature, codegen


def _pointer_to(number: Any) -> Any:
    @intrinsic
    def pointer(typingctx: Any, address: Any) -> Any:
        signature = types.CPointer(number)(types.int64)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return signature, codegen

    return pointer


_pointer, _whole, _complex = _pointer_to(types.float64), _pointer_to(types.int64), _pointer_to(types.complex128)


@intrinsic
def number_of(typingctx: Any, pointer: Any) -> Any:
    """The address (int64) that a pointer is."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ptrtoint(values[0], ir.IntType(64))

    return types.int64(pointer), codegen


@jit
def integers(address, size):
    """The `size` int64 numbers at `address`, likewise."""
    return carray(_whole(address), (size,))


@jit
def complexes(address, size):
    """The `size` complex numbers at `address`, likewise."""
    return carray(_complex(address), (size,))


@jit
def view(address, size):
    """The `size` float64 numbers at `address` as a one-dimensional array that does not own them."""
    return carray(_pointer(address), (size,))


@jit
def matrix(array, offset, rows, columns):
    """Elements from `offset` on of a one-dimensional float64 array, as a (rows, columns) matrix.

    The same memory; far less to compile than a slice and a reshape. `array` must outlive the result (see Lifetimes).
    """
    return carray(_pointer(address_of(array, offset)), (rows, columns))
