"""A CasADi function as a fast NumPy function.

One point is evaluated by the one-lane code; a batch is packed into blocks of W points, element by element,

    block[e, lane] = point[W * block + lane][e]

evaluated W points at a time, and unpacked. The last block is filled up with copies of the last point.
"""

from __future__ import annotations

import ctypes
import difflib
import math
import threading
from typing import Any

import casadi
import numpy as np

from adjoint.errors import InputError
from adjoint.native.engine import Code, compile_functions, lane_width
from adjoint.native.ir import scalar_graph

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_BLOCKS = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_void_p)


def compile(function: casadi.Function) -> CompiledFunction:
    """Compile a CasADi function to machine code that is called with NumPy arrays.

    Parameters
    ----------
    function : casadi.Function
        Of SX symbols, or of MX that expands into scalar operations.

    Returns
    -------
    CompiledFunction
        Called with one point, or with a batch of points along axis 0.

    Raises
    ------
    InputError
        If `function` is not a casadi.Function.
    NativeError
        If it cannot be expanded, has free variables, or uses an operation that has no translation.

    Examples
    --------
    >>> import adjoint, casadi, numpy as np
    >>> x, u = casadi.SX.sym("x", 2), casadi.SX.sym("u")
    >>> f = adjoint.compile(casadi.Function("pendulum", [x, u], [casadi.vertcat(x[1], u - x[0])], ["x", "u"], ["dx"]))
    >>> f([1.0, 2.0], 3.0)
    array([2., 2.])
    >>> f(x=np.ones((4, 2)), u=[3.0]).shape
    (4, 2)
    """
    if not isinstance(function, casadi.Function):
        raise InputError(
            f"compile was given a {type(function).__name__}; it takes a casadi.Function."
            " Wrap an expression as casadi.Function(name, [inputs], [outputs])."
        )
    return CompiledFunction(function)


class CompiledFunction:
    """A CasADi function as machine code; made by `compile`. Immutable, and safe to call from several threads.

    Inputs and outputs have CasADi's shapes, except that a column is a vector of rank 1: (n,), and for n = 1 a plain
    number is accepted too. With one more axis in front, (batch, n) or (batch, rows, columns), an input is a batch;
    inputs without it are the same for all points. Results are float64, dense, and new arrays; several outputs come as a
    tuple. Inputs are given by position or by name. What the mathematics makes NaN or infinite is returned as such.

    Attributes
    ----------
    function : casadi.Function
        The graph that was compiled.
    name : str
    inputs, outputs : tuple of str
        Names.
    input_shapes, output_shapes : tuple of tuple of int
        Shapes of one point.
    """

    def __init__(self, function: casadi.Function) -> None:
        self.function = scalar_graph(function)
        self.name: str = self.function.name()
        self.inputs = tuple(self.function.name_in())
        self.outputs = tuple(self.function.name_out())
        sparsity_in = [self.function.sparsity_in(i) for i in range(self.function.n_in())]
        sparsity_out = [self.function.sparsity_out(j) for j in range(self.function.n_out())]
        self.input_shapes = tuple(_shape(s) for s in sparsity_in)
        self.output_shapes = tuple(_shape(s) for s in sparsity_out)
        self._gather = tuple(_nonzeros(s) for s in sparsity_in)
        self._scatter = tuple(_nonzeros(s) for s in sparsity_out)
        self._codes: dict[int, Code] = {}
        self._code(1)
        self._local = threading.local()

    def __repr__(self) -> str:
        inputs = ", ".join(f"{n}{list(s)}" for n, s in zip(self.inputs, self.input_shapes, strict=True))
        outputs = ", ".join(f"{n}{list(s)}" for n, s in zip(self.outputs, self.output_shapes, strict=True))
        return f"<CompiledFunction {self.name}: ({inputs}) -> ({outputs})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return compile, (self.function,)  # the graph travels, the address does not

    def address(self, lanes: int = 1) -> int:
        """Where ``void f(double **arg, double **res, double *work)`` begins, on 1 or `lane_width()` lanes.

        See the header of `adjoint.native.ir` for the layout of the memory.

        Raises
        ------
        NativeError
            If `lanes` is neither 1 nor `lane_width()`.
        """
        return self._code(lanes).address

    def __call__(self, *args: Any, **named: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """Evaluate at one point or at a batch of points.

        Returns
        -------
        array, or tuple of arrays
            Of shape `output_shapes`, after an axis (batch,) if any input has one.

        Raises
        ------
        InputError
            If inputs are missing, unknown or given twice, if a shape does not fit, if batches differ in length, or if
            an input is not made of real numbers.
        """
        if named or len(args) != len(self.inputs):
            args = self._by_position(args, named)
        arrays = [np.asarray(value) for value in args]
        scratch = self._scratch()
        for i, array in enumerate(arrays):
            if array.dtype.kind not in "fiub":
                raise InputError(
                    f"input '{self.inputs[i]}' of '{self.name}' is {_describe(array)}; it takes real numbers (float64)."
                )
            if array.shape != self.input_shapes[i]:
                return self._batched(arrays)
            gather = self._gather[i]
            scratch.inputs[i][:] = array if gather is None else array.reshape(-1)[gather]
        scratch.call()
        results = tuple(self._dense(j, nonzeros.copy()) for j, nonzeros in enumerate(scratch.outputs))
        return results[0] if len(results) == 1 else results

    # -- batches

    def _batched(self, arrays: list[np.ndarray]) -> np.ndarray | tuple[np.ndarray, ...]:
        batch: int | None = None
        by: str = ""
        batched = []
        for i, array in enumerate(arrays):
            shape, name = self.input_shapes[i], self.inputs[i]
            if array.dtype.kind not in "fiub":
                raise InputError(
                    f"input '{name}' of '{self.name}' is {_describe(array)}; it takes real numbers (float64)."
                )
            is_batch = array.ndim == len(shape) + 1 and array.shape[1:] == shape
            if not is_batch and array.shape != shape and not (array.ndim == 0 and shape == (1,)):
                one, many = _words(shape), _words(("batch", *shape))
                raise InputError(
                    f"input '{name}' of '{self.name}' has shape {array.shape}; pass {one} for one point or {many} for a"
                    " batch."
                )
            if is_batch:
                if batch is not None and array.shape[0] != batch:
                    raise InputError(
                        f"input '{name}' of '{self.name}' is a batch of {array.shape[0]} points, but '{by}' is one of"
                        f" {batch}. Batches must have the same length; an input without the batch axis serves all"
                        " points."
                    )
                batch, by = array.shape[0], name
            batched.append(is_batch)
        if batch is None:  # a plain number stood for a vector of one element
            return self(*[a.reshape(s) for a, s in zip(arrays, self.input_shapes, strict=True)])
        results = self._evaluate(arrays, batched, batch)
        return results[0] if len(results) == 1 else results

    def _evaluate(self, arrays: list[np.ndarray], batched: list[bool], batch: int) -> tuple[np.ndarray, ...]:
        code = self._code(lane_width())
        W, blocks = code.lanes, math.ceil(batch / code.lanes)
        packed, step = [], (ctypes.c_int64 * len(arrays))()
        for i, array in enumerate(arrays):
            points = array.reshape(batch if batched[i] else 1, math.prod(self.input_shapes[i]))
            if self._gather[i] is not None:
                points = points[:, self._gather[i]]
            packed.append(_pack(points, W))  # one point fills one block
            step[i] = code.in_sizes[i] * W if batched[i] else 0
        results = [np.empty((blocks, size, W)) for size in code.out_sizes]
        work = np.empty(code.work_size * W)
        arg, res = _pointers(packed), _pointers(results)
        _BLOCKS(code.blocks_address)(
            ctypes.addressof(arg), ctypes.addressof(res), work.ctypes.data, blocks, ctypes.addressof(step)
        )
        return tuple(
            self._dense(j, result.transpose(0, 2, 1).reshape(blocks * W, code.out_sizes[j])[:batch])
            for j, result in enumerate(results)
        )

    def _dense(self, j: int, nonzeros: np.ndarray) -> np.ndarray:
        """Output j in its shape, from its nonzeros along the last axis."""
        scatter, shape = self._scatter[j], self.output_shapes[j]
        if scatter is None:
            return nonzeros.reshape(*nonzeros.shape[:-1], *shape)
        dense = np.zeros((*nonzeros.shape[:-1], math.prod(shape)))
        dense[..., scatter] = nonzeros
        return dense.reshape(*nonzeros.shape[:-1], *shape)

    # -- plumbing

    def _code(self, lanes: int) -> Code:
        """Compiled at the first use, by whichever thread; the same graph on as many lanes is the same Code."""
        if lanes not in self._codes:
            self._codes[lanes] = compile_functions([(self.function, lanes)])[0]
        return self._codes[lanes]

    def _scratch(self) -> _Scratch:
        """Memory of the calling thread for one point."""
        try:
            return self._local.scratch
        except AttributeError:
            self._local.scratch = _Scratch(self._code(1))
            return self._local.scratch

    def _by_position(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        expected = f"'{self.name}' takes {len(self.inputs)} inputs ({', '.join(self.inputs)})"
        if len(args) > len(self.inputs):
            raise InputError(f"{len(args)} inputs were given by position; {expected}.")
        values = dict(zip(self.inputs, args, strict=False))
        for name, value in named.items():
            if name not in self.inputs:
                near = difflib.get_close_matches(name, self.inputs, 1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                raise InputError(f"'{name}' is not an input; {expected}.{hint}")
            if name in values:
                raise InputError(
                    f"input '{name}' of '{self.name}' is given twice, by position and by name. Give it once."
                )
            values[name] = value
        missing = [name for name in self.inputs if name not in values]
        if missing:
            raise InputError(f"{', '.join(missing)} missing; {expected}. Pass all of them.")
        return tuple(values[name] for name in self.inputs)


class _Scratch:
    """Memory of one thread: nonzeros of the inputs and outputs of one point, and the pointers to them."""

    def __init__(self, code: Code) -> None:
        self.inputs = [np.empty(size) for size in code.in_sizes]
        self.outputs = [np.empty(size) for size in code.out_sizes]
        self._owned = _pointers(self.inputs), _pointers(self.outputs), np.empty(code.work_size)
        self._function = _FUNCTION(code.address)
        self._addresses = ctypes.addressof(self._owned[0]), ctypes.addressof(self._owned[1]), self._owned[2].ctypes.data

    def call(self) -> None:
        self._function(*self._addresses)


def _shape(sparsity: casadi.Sparsity) -> tuple[int, ...]:
    rows, columns = sparsity.shape
    if rows * columns == 0:
        return (0,)
    return (rows,) if columns == 1 else (rows, columns)


def _nonzeros(sparsity: casadi.Sparsity) -> np.ndarray | None:
    """Where CasADi's nonzeros (column by column) lie in a C-ordered array; None if that is 0, 1, 2, ..."""
    rows, columns = (np.asarray(index, dtype=np.intp) for index in sparsity.get_triplet())
    flat = rows * sparsity.size2() + columns
    return None if flat.size == math.prod(_shape(sparsity)) and (np.diff(flat) == 1).all() else flat


def _pack(points: np.ndarray, lanes: int) -> np.ndarray:
    """Points (batch, size) as blocks (blocks, size, lanes); the last one is filled up with the last point."""
    batch, size = points.shape
    full, rest = divmod(batch, lanes)
    packed = np.empty((full + (rest > 0), size, lanes))
    packed[:full] = points[: full * lanes].reshape(full, lanes, size).transpose(0, 2, 1)
    if rest:
        packed[full, :, :rest] = points[full * lanes :].T
        packed[full, :, rest:] = points[-1][:, None]
    return packed


def _pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])


def _words(shape: tuple[object, ...]) -> str:
    return f"({', '.join(str(s) for s in shape)}{',' if len(shape) == 1 else ''})"


def _describe(array: np.ndarray) -> str:
    return "an array of Python objects (ragged lists, perhaps)" if array.dtype.kind == "O" else f"of type {array.dtype}"
