"""One step Φ(t, h, x, u, p) of a system as machine code, with its derivatives.

    step        Φ                                            vjp        Aᵀλ, Bᵀλ, g_p + Cᵀλ
    jvp         A δx + B δu + C δp                           second     ∇²(λᵀΦ)·(δx, δu, δp) + (A, B, C)ᵀ δλ
    linearize   A = ∂Φ/∂x, B = ∂Φ/∂u, C = ∂Φ/∂p

There are two sources of a step, with the same methods: a graph, from which everything is derived (`TracedStep`), and
compiled functions that a system brings along (`KernelStep`). Code is made when it is first asked for. The inputs and
outputs of each piece are those in the header of `kernels.sweep`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import casadi as ca
import numba
import numpy as np
from numba import carray, types
from numpy.typing import NDArray

from adjoint.errors import InputError, NativeError
from adjoint.kernels import sweep as kernels
from adjoint.kernels.announce import announcing
from adjoint.kernels.cells import ARG, RES
from adjoint.layout import Lanes, Rows
from adjoint.native import compile_functions, lane_width

__all__ = ["CodedStep", "KernelStep", "MachineCode", "Step", "TracedStep", "machine_code"]

Array = NDArray[np.float64]


_NO_SIZES, _NO_RECORDS = np.zeros(0, np.int64), np.zeros((1, 1, 0))  # what a step that is no cell has not


@dataclass(frozen=True)
class MachineCode:
    """An address, the lanes and scratch that calling it takes, and the object that keeps the code alive."""

    address: int
    lanes: int
    work_size: int
    owner: object

    def scratch(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """Room for arg, res and work."""
        return np.zeros(ARG, np.int64), np.zeros(RES, np.int64), np.empty(max(1, self.work_size * self.lanes))


def machine_code(graph: ca.Function, lanes: int, what: str) -> MachineCode:
    """Compile one graph; `what` it is gets announced if that takes long."""
    with announcing(f"compiling {what} (once; kept on disk)"):
        (code,) = compile_functions([(graph, lanes)])
    return MachineCode(code.address, lanes, code.work_size, code)


class Step(Protocol):
    """What the verbs ask of a step; t, h, x, u, p and all else in the layout of `layout`, as `kernels.sweep` has it."""

    def layout(self, paths: int, shared: bool) -> Lanes | Rows:
        """How so many paths lie in memory; whether they share one p."""

    def forward(self, t: Array, h: Array, x: Array, u: Array, p: Array, check: int) -> int:
        """Fill x[:, 1:]; -1, or where it ceased to be finite."""

    def backward(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, q: Array, r: Array, lam: Array, gu: Array, gp: Array
    ) -> None:
        """Fill lam and gu, add to gp."""

    def tangent(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, dx: Array, du: Array, dp: Array
    ) -> None:
        """Fill dx[:, 1:]."""

    def second(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, lam: Array, dx: Array, du: Array, dp: Array,
        dq: Array, dr: Array, dlam: Array, dgu: Array, dgp: Array,
    ) -> None:  # fmt: skip
        """Fill dlam and dgu, add to dgp."""

    def linearize(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, per_p: int, parameters: bool
    ) -> tuple[Array, Array, Array]:
        """A, B, C at K knots; t, h (K,), x (K, n), u (K, m), p (P, n_p), knot k using p[k // per_p]."""


class CodedStep:
    """The sweeps over a step whose pieces are machine code of W lanes."""

    lanes: int

    def step(self, lanes: int) -> MachineCode:
        """Φ."""
        raise NotImplementedError

    def vjp(self, lanes: int) -> MachineCode:
        """The transpose of the linearised step."""
        raise NotImplementedError

    def jvp(self, lanes: int) -> MachineCode:
        """The linearised step."""
        raise NotImplementedError

    def second_code(self, lanes: int) -> MachineCode:
        """The linearised vjp."""
        raise NotImplementedError

    def layout(self, paths: int, shared: bool) -> Lanes:
        """Paths in lanes; one path by itself."""
        return Lanes(self.lanes if paths > 1 else 1)

    def forward(self, t: Array, h: Array, x: Array, u: Array, p: Array, check: int) -> int:
        """See `Step`."""
        code = self.step(x.shape[-1])
        arg, res, work = code.scratch()
        run = kernels.forward[x.dtype]
        return int(run(code.address, 0, t, h, x, u, p, _NO_RECORDS, 1, check, _NO_SIZES, arg, res, work))

    def backward(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, q: Array, r: Array, lam: Array, gu: Array, gp: Array
    ) -> None:
        """See `Step`."""
        code = self.vjp(x.shape[-1])
        arg, res, work = code.scratch()
        kernels.backward[x.dtype](
            code.address, 0, 0, 0, t, h, x, u, p, _NO_RECORDS, q, r, lam, gu, gp, 1, False, _NO_SIZES, arg, res, work
        )  # fmt: skip

    def tangent(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, dx: Array, du: Array, dp: Array
    ) -> None:
        """See `Step`."""
        code = self.jvp(x.shape[-1])
        kernels.tangent(code.address, t, h, x, u, p, dx, du, dp, *code.scratch())

    def second(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, lam: Array, dx: Array, du: Array, dp: Array,
        dq: Array, dr: Array, dlam: Array, dgu: Array, dgp: Array,
    ) -> None:  # fmt: skip
        """See `Step`."""
        code = self.second_code(x.shape[-1])
        kernels.second(code.address, t, h, x, u, p, lam, dx, du, dp, dq, dr, dlam, dgu, dgp, *code.scratch())


class TracedStep(CodedStep):
    """A step that is a graph (t, h, x, u, p) → x_next.

    Parameters
    ----------
    graph : casadi.Function
        SX, with a dense output.
    label : str
        The system's name, for announcements.
    """

    def __init__(self, graph: ca.Function, label: str) -> None:
        self.graph, self.label = graph, label
        self.lanes: int = lane_width()
        self._codes: dict[tuple[str, int], MachineCode] = {}
        self._jacobians: ca.Function | None = None

    def step(self, lanes: int) -> MachineCode:
        """Φ."""
        return self._code("step", lanes, lambda: self.graph)

    def vjp(self, lanes: int) -> MachineCode:
        """The transpose of the linearised step."""
        return self._code("vjp", lanes, self._vjp_graph)

    def jvp(self, lanes: int) -> MachineCode:
        """The linearised step."""
        return self._code("jvp", lanes, self._jvp_graph)

    def second_code(self, lanes: int) -> MachineCode:
        """The linearised vjp."""
        return self._code("second", lanes, self._second_graph)

    def linearize(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, per_p: int, parameters: bool
    ) -> tuple[Array, Array, Array]:
        """A (K, n, n), B (K, n, m), C (K, n, n_p) or (0, n, n_p) at K knots; knot k uses p[k // per_p]."""
        if self._jacobians is None:
            arguments = self._symbols()
            x_next = self.graph(*arguments)
            self._jacobians = ca.Function("jacobians", arguments, [ca.jacobian(x_next, z) for z in arguments[2:]])
        jacobians = self._jacobians
        W = self.lanes
        code = self._code("jacobians", W, lambda: jacobians)
        (K, n), m, n_p = x.shape, u.shape[1], p.shape[1]
        maps = []
        for i, columns in enumerate((n, m, n_p)):
            row, column = (np.array(index, np.int64) for index in jacobians.sparsity_out(i).get_triplet())
            maps.append(row * columns + column)
        A, B, C = np.zeros((K, n * n)), np.zeros((K, n * m)), np.zeros((K if parameters else 0, n * n_p))
        nonzeros = np.empty((sum(m.size for m in maps), W))
        kernels.jacobian_lanes(
            code.address,
            t,
            h,
            x,
            u,
            p,
            *maps,
            A,
            B,
            C,
            np.empty((2, W)),
            np.empty((n + m, W)),
            np.empty((n_p, W)),
            nonzeros,
            per_p,
            *code.scratch(),
        )
        return A.reshape(K, n, n), B.reshape(K, n, m), C.reshape(len(C), n, n_p)

    def _code(self, piece: str, lanes: int, graph: Callable[[], ca.Function]) -> MachineCode:
        key = (piece, lanes)
        if key not in self._codes:
            self._codes[key] = machine_code(graph(), lanes, f"the {piece} of system {self.label!r}")
        return self._codes[key]

    def _symbols(self) -> list[ca.SX]:
        return [ca.SX.sym(name, self.graph.size1_in(i)) for i, name in enumerate(("t", "h", "x", "u", "p"))]

    def _jvp_graph(self) -> ca.Function:
        arguments = self._symbols()
        z = ca.vertcat(*arguments[2:])
        dz = [ca.SX.sym(f"d{a}", s.numel()) for a, s in zip("xup", arguments[2:], strict=True)]
        dx_next = ca.jtimes(self.graph(*arguments), z, ca.vertcat(*dz))
        return ca.Function("jvp", [*arguments, *dz], [ca.densify(dx_next)])

    def _vjp_graph(self) -> ca.Function:
        arguments = self._symbols()
        _, _, x, u, p = arguments
        lam, gp = ca.SX.sym("lam", x.numel()), ca.SX.sym("gp", p.numel())
        gz = ca.densify(ca.jtimes(self.graph(*arguments), ca.vertcat(x, u, p), lam, True))
        gx, gu, gp_step = ca.vertsplit(gz, [0, x.numel(), x.numel() + u.numel(), gz.numel()])
        return ca.Function("vjp", [*arguments, lam, gp], [gx, gu, ca.densify(gp + gp_step)])

    def _second_graph(self) -> ca.Function:
        arguments = self._symbols()
        _, _, x, u, p = arguments
        lam, dlam, dgp = ca.SX.sym("lam", x.numel()), ca.SX.sym("dlam", x.numel()), ca.SX.sym("dgp", p.numel())
        z = ca.vertcat(x, u, p)
        dz = [ca.SX.sym(f"d{a}", s.numel()) for a, s in zip("xup", (x, u, p), strict=True)]
        gz = ca.densify(ca.jtimes(self.graph(*arguments), z, lam, True))
        dgz = ca.densify(ca.jtimes(gz, ca.vertcat(z, lam), ca.vertcat(*dz, dlam)))
        dgx, dgu, dgp_step = ca.vertsplit(dgz, [0, x.numel(), x.numel() + u.numel(), dgz.numel()])
        return ca.Function("second", [*arguments, lam, *dz, dlam, dgp], [dgx, dgu, ca.densify(dgp + dgp_step)])


_POINTERS = types.CPointer(types.CPointer(types.float64))
_ABI = types.void(_POINTERS, _POINTERS, types.CPointer(types.float64))


class KernelStep(CodedStep):
    """A step that a system brings along as compiled functions of plain arrays.

    Parameters
    ----------
    step, vjp, jvp : numba.njit functions (jvp may be None)
        ``step(t, h, x, u, p, x_next)``, ``vjp(t, h, x, u, p, lam_next, lam, gu, gp)``,
        ``jvp(t, h, x, u, p, dx, du, dp, dx_next)``; outputs last.
    sizes : (n, m, n_p)
    label : str
    """

    def __init__(self, step: Any, vjp: Any, jvp: Any, sizes: tuple[int, int, int], label: str) -> None:
        self._functions = {"step": step, "vjp": vjp, "jvp": jvp}
        self.sizes, self.label = sizes, label
        self.lanes = 1
        self._codes: dict[str, MachineCode] = {}

    def step(self, lanes: int) -> MachineCode:
        """Φ."""
        return self._code("step", _wrap_step)

    def vjp(self, lanes: int) -> MachineCode:
        """The transpose of the linearised step."""
        return self._code("vjp", _wrap_vjp)

    def jvp(self, lanes: int) -> MachineCode:
        """The linearised step; refused if the system brought none."""
        if self._functions["jvp"] is None:
            raise InputError(
                f"system {self.label!r} brings its own kernels but no jvp, so it has no tangent sweep. "
                "Pass jvp= to System.from_kernels, or multiply by the Jacobians of `linearize`."
            )
        return self._code("jvp", _wrap_jvp)

    def second_code(self, lanes: int) -> MachineCode:
        """Refused: a system with its own kernels has first derivatives only."""
        raise InputError(
            f"system {self.label!r} brings its own kernels, which have no second derivatives. Difference two "
            "gradients of `sweep`, or write the system as a function of NumPy operations."
        )

    def linearize(
        self, t: Array, h: Array, x: Array, u: Array, p: Array, per_p: int, parameters: bool
    ) -> tuple[Array, Array, Array]:
        """A (K, n, n), B (K, n, m), C (K, n, n_p) or (0, n, n_p), a row at a time by the vjp."""
        code = self.vjp(1)
        (K, n), m, n_p = x.shape, u.shape[1], p.shape[1]
        A, B, C = np.empty((K, n, n)), np.empty((K, n, m)), np.empty((K if parameters else 0, n, n_p))
        kernels.jacobian_rows(code.address, t, h, x, u, p, A, B, C, np.empty(n), np.empty(n_p), per_p, *code.scratch())
        return A, B, C

    def __reduce__(self) -> tuple[Any, ...]:
        functions = (self._functions["step"], self._functions["vjp"], self._functions["jvp"])
        return KernelStep, (*functions, self.sizes, self.label)

    def _code(self, piece: str, wrap: Callable[..., Any]) -> MachineCode:
        if piece not in self._codes:
            function = self._functions[piece]
            try:
                with announcing(f"compiling the kernel {piece!r} of system {self.label!r}"):
                    compiled = wrap(function, *self.sizes)
            except numba.core.errors.NumbaError as error:
                signature = {
                    "step": "step(t, h, x, u, p, x_next)",
                    "vjp": "vjp(t, h, x, u, p, lam_next, lam, gu, gp)",
                    "jvp": "jvp(t, h, x, u, p, dx, du, dp, dx_next)",
                }[piece]
                raise NativeError(
                    f"the kernel {function.__name__!r} of system {self.label!r} does not compile as {signature} "
                    f"with floats t, h and one-dimensional float64 arrays. Numba says: {error}"
                ) from error
            self._codes[piece] = MachineCode(compiled.address, 1, 0, compiled)
        return self._codes[piece]


def _wrap_step(function: Any, n: int, m: int, n_p: int) -> Any:
    @numba.cfunc(_ABI)
    def step(arg, res, work):
        function(
            arg[0][0],
            arg[1][0],
            carray(arg[2], (n,)),
            carray(arg[3], (m,)),
            carray(arg[4], (n_p,)),
            carray(res[0], (n,)),
        )

    return step


def _wrap_vjp(function: Any, n: int, m: int, n_p: int) -> Any:
    @numba.cfunc(_ABI)
    def vjp(arg, res, work):
        function(
            arg[0][0],
            arg[1][0],
            carray(arg[2], (n,)),
            carray(arg[3], (m,)),
            carray(arg[4], (n_p,)),
            carray(arg[5], (n,)),
            carray(res[0], (n,)),
            carray(res[1], (m,)),
            carray(res[2], (n_p,)),
        )

    return vjp


def _wrap_jvp(function: Any, n: int, m: int, n_p: int) -> Any:
    @numba.cfunc(_ABI)
    def jvp(arg, res, work):
        function(
            arg[0][0],
            arg[1][0],
            carray(arg[2], (n,)),
            carray(arg[3], (m,)),
            carray(arg[4], (n_p,)),
            carray(arg[5], (n,)),
            carray(arg[6], (m,)),
            carray(arg[7], (n_p,)),
            carray(res[0], (n,)),
        )

    return jvp
