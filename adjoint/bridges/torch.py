"""PyTorch: a system's rollout as a function of tensors, a cell as a module, weights to and from `torch.nn`.

    rollout                     any `System`, differentiable twice; the derivatives are in the header of the package
    Recurrent                   a compiled cell as a `torch.nn.Module`, by `Unroll` in memory that is kept
    weights_from, module_from   a layer of PyTorch as a cell and its p, and back

The weights. PyTorch has a bias for the inputs and one for the state. They act as their sum, but for the GRU's n-gate,
where the reset gate stands between them:

    PyTorch   n = tanh(W_in u + b_in + r ⊙ (W_hn h + b_hn))           else   σ(W_i u + b_i + W_h h + b_h)
    here      b = b_i + b_h, for the n-gate b = b_in, and the parameter b_hn

The two biases of PyTorch have the same gradient, which is that of their sum.

The memory. A run keeps its states and records until its backward sweep, and y is a view of them, without a copy. So
each run is lent an `Unroll` of its own, which comes back when the last tensor that sees its memory is gone: whether
because the graph was differentiated and dropped, or because there never was one. Two runs before one backward, or runs
in several threads, do not meet.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    import torch
    from torch import Tensor
    from torch.autograd import Function
except ImportError as error:
    raise ImportError(
        "adjoint.bridges.torch needs PyTorch, which is not installed: pip install 'adjoint-control[torch]'."
    ) from error

from adjoint import sweeps
from adjoint.bridges.repeated import repeat, total
from adjoint.errors import InputError
from adjoint.method import RK4, Method
from adjoint.recurrent.cell import Cell
from adjoint.recurrent.elman import Elman
from adjoint.recurrent.gru import GRU
from adjoint.recurrent.lstm import LSTM
from adjoint.recurrent.unroll import Unroll
from adjoint.system import System
from adjoint.trajectory import Trajectory

__all__ = ["Recurrent", "module_from", "rollout", "weights_from"]

Array = NDArray[Any]


def _as_it_stands(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which torch.compile leaves as it is: there is nothing for it to see in machine code."""
    disabled: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal disabled
        if "torch._dynamo" not in sys.modules:  # nobody compiles, and importing it takes seconds
            return function(*arguments, **named)
        if disabled is None:
            disabled = torch.compiler.disable(function)
        return disabled(*arguments, **named)

    return call


# ---- a system ------------------------------------------------------------------------------------


@_as_it_stands
def rollout(
    system: System,
    x0: Any,
    u: Any = None,
    t: Any = None,
    p: Any = None,
    method: Method = RK4,
    steps: int | None = None,
) -> Tensor:
    """`adjoint.rollout` for tensors: the states, differentiable by PyTorch.

    Parameters
    ----------
    system : System
    x0, u, p : Tensor or array_like
        With the shapes of `adjoint.rollout`; float32 or float64, on the CPU. Those that require a gradient get it.
    t : array_like (N+1,), optional
        The knots. They have no gradient.
    method : Method
    steps : int, optional
        As for `adjoint.rollout`.

    Returns
    -------
    Tensor (N+1, n), or (batch, N+1, n)
        In the common type of the tensors that were given, float64 if there was none. The path and its derivatives are
        computed in float64 in any case.

    Raises
    ------
    InputError, AdjointError
        As `adjoint.rollout`; and where a second derivative is asked of a system that has none.
    """
    dtypes = [_checked(name, value).dtype for name, value in (("x0", x0), ("u", u), ("p", p)) if _is_tensor(value)]
    if _is_tensor(t) and t.requires_grad:
        raise InputError("t requires a gradient, which the sweep does not have. Pass t.detach(), and time as a state.")
    dtype = torch.float64
    if dtypes:
        dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    run = _Settings(system, None if t is None else np.asarray(_plain(t)), method, steps, dtype)
    return _Rollout.apply(x0, u, p, run)


class _Settings:
    """What a rollout is made from besides numbers that may have a gradient."""

    def __init__(self, system: System, t: Array | None, method: Method, steps: int | None, dtype: torch.dtype) -> None:
        self.system, self.t, self.method, self.steps, self.dtype = system, t, method, steps, dtype

    def path(self, t: Tensor, x: Tensor, u: Tensor, p: Tensor) -> Trajectory:
        """The trajectory whose arrays were kept as tensors."""
        method = None if self.system.discrete else self.method
        return Trajectory(t.numpy(), x.detach().numpy(), u.numpy(), p.numpy(), self.system, method)


class _Rollout(Function):
    """x = rollout(x_0, u, p)."""

    @staticmethod
    def forward(ctx: Any, x0: Any, u: Any, p: Any, run: _Settings) -> Tensor:
        path = sweeps.rollout(run.system, _plain(x0), _plain(u), run.t, _plain(p), run.method, run.steps)
        kept = tuple(_wrap(array) for array in (path.t, path.x, path.u, path.p))
        given = tuple(a if _is_tensor(a) else None for a in (x0, u, p))
        # As saved tensors and not as attributes: a change in place before the backward sweep is then noticed.
        ctx.save_for_backward(*given, *kept)
        ctx.run = run
        return kept[1].to(run.dtype)

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> tuple[Any, ...]:
        # Only who differentiates twice (create_graph=True) needs the sweep to be a node of a graph itself.
        sweep = _Sweep.apply if torch.is_grad_enabled() else _swept
        return *sweep(dx, *ctx.saved_tensors, ctx.run), None


def _swept(*arguments: Any) -> tuple[Any, ...]:
    dx, x0, u, p, *kept, run = arguments
    g = sweeps.sweep(run.path(*kept), dx=_plain(dx))
    return _collected((g.x0, g.u, g.p), (x0, u, p))


class _Sweep(Function):
    """z̄ = Jᵀ x̄, and its derivative for those who differentiate twice."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Any, ...]:
        *tensors, run = arguments
        ctx.save_for_backward(*tensors)
        ctx.run = run
        ctx.set_materialize_grads(False)
        return _swept(*arguments)

    @staticmethod
    def backward(ctx: Any, *directions: Tensor | None) -> tuple[Any, ...]:
        return *_Second.apply(*directions, *ctx.saved_tensors, ctx.run), None, None, None, None, None


class _Second(Function):
    """x̿ = J v and z̿ = ∇²⟨x̄, x(z)⟩ v."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Any, ...]:
        vx0, vu, vp, dx, x0, u, p, *kept, run = arguments
        path = run.path(*kept)
        along = {
            name: None if v is None else repeat(_plain(v), like)
            for name, v, like in (("x0", vx0, path.x[..., 0, :]), ("u", vu, path.u), ("p", vp, path.p))
        }
        second = sweeps.hessian_vector(path, dx=_plain(dx), **along)
        ddx = torch.from_numpy(sweeps.tangent(path, **along)).to(dx.dtype)
        return ddx, *_collected((second.x0, second.u, second.p), (x0, u, p))

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[Any, ...]:
        # PyTorch's once_differentiable cuts the graph, and a sum of which another term is differentiable would lose
        # this one without a word.
        raise InputError("rollout has first and second derivatives, and a third one was asked for.")


def _collected(gradients: tuple[Array, ...], given: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The gradients in the shapes and types of what was given; None for what was no tensor."""
    return tuple(
        None if a is None else torch.from_numpy(total(g, tuple(a.shape))).to(a.dtype)
        for g, a in zip(gradients, given, strict=True)
    )


# ---- a cell --------------------------------------------------------------------------------------


class Recurrent(torch.nn.Module):
    """A compiled cell as a module: sequences in, outputs and last states out.

    Parameters
    ----------
    cell : Cell
    p : array_like (n_p,), optional
        The weights to start from; ``cell.init()`` if absent.
    dtype : torch.dtype, optional
        float32 or float64; PyTorch's default type if absent. ``.float()`` and ``.double()`` change it.

    Attributes
    ----------
    weight : Parameter (n_p,)
        All weights in one vector. ``cell.unpack(weight.detach())`` are its parts by name.

    Notes
    -----
    ``state_dict`` holds the weights. The memory of the runs belongs to the module and its copies start with none.
    Differentiable once.
    """

    def __init__(self, cell: Cell, p: ArrayLike | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            raise InputError(f"Recurrent: cell is {type(cell).__name__}; expected a Cell, recurrent.LSTM(32, 4) say.")
        start = cell.init() if p is None else np.array(_plain(p))
        cell.unpack(start)  # the right number of them
        self.cell = cell
        self.weight = torch.nn.Parameter(torch.tensor(start, dtype=dtype or torch.get_default_dtype()))
        self._pool = _Pool(cell)

    @_as_it_stands
    def forward(self, u: Tensor, x0: Tensor | None = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """Run over the inputs.

        Parameters
        ----------
        u : Tensor (batch, N, m), or (N, m) for one path
            Of the type of the weights.
        x0 : Tensor (batch, n) or (n,), optional
            The states to start from; zero if absent.
        lengths : Tensor or array_like of int (batch,), optional
            Steps of each path.

        Returns
        -------
        y : Tensor (batch, N, outputs), or (N, outputs)
            The cell's outputs after each step; zero beyond a path's length.
        last : Tensor (batch, n), or (n,)
            The whole state of each path at its own end.
        """
        given: list[tuple[str, Any]] = [("u", u), *([] if x0 is None else [("x0", x0)])]
        for name, value in given:
            if not _is_tensor(value):
                raise InputError(f"{name} is {type(value).__name__}; expected a Tensor.")
            if _checked(name, value).dtype != self.weight.dtype:
                raise InputError(
                    f"{name} is {value.dtype} and the weights are {self.weight.dtype}. Convert one: "
                    f"{name}.to({self.weight.dtype}), or module.to({value.dtype})."
                )
        _checked("weight", self.weight)
        return _Unrolled.apply(self.weight, u, x0, None if lengths is None else np.array(_plain(lengths)), self._pool)

    def extra_repr(self) -> str:
        """What print(module) says about it."""
        return repr(self.cell)


class _Unrolled(Function):
    """(y, last) of a cell."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, u: Tensor, x0: Tensor | None, lengths: Array | None, pool: _Pool
    ) -> tuple[Tensor, Tensor]:
        run = pool.lend(np.dtype(str(weight.dtype).removeprefix("torch.")))
        y = _run(run, weight, u, x0, lengths)
        weakref.finalize(y, pool.take_back, run).atexit = False
        last = run.last
        ends = torch.from_numpy(last[0] if u.ndim == 2 else last)
        outputs = torch.from_numpy(y)  # holds y as long as anyone sees its memory, the graph included
        ctx.save_for_backward(weight, u, x0, outputs)
        ctx.run, ctx.lengths, ctx.fresh, ctx.lock = run, lengths, True, threading.Lock()
        ctx.set_materialize_grads(False)
        return outputs, ends

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None) -> tuple[Any, ...]:
        if dy is None and dlast is None:
            return None, None, None, None, None
        weight, u, x0, _ = ctx.saved_tensors
        sweep = _UnrolledSweep.apply if torch.is_grad_enabled() else _unrolled_sweep
        return *sweep(dy, dlast, weight, u, x0, ctx), None, None


def _unrolled_sweep(
    dy: Tensor | None, dlast: Tensor | None, weight: Tensor, u: Tensor, x0: Tensor | None, at: Any
) -> tuple[Tensor | None, ...]:
    """Its backward sweep; `at` is the context of the forward one."""
    run, cell = at.run, at.run.cell
    with at.lock:
        if not at.fresh:
            _run(run, weight, u, x0, at.lengths)  # the sweep before this one used the records up
        at.fresh = not cell.needs_records
        q = None
        if dy is not None:
            q = run.seed(cell.outputs)
            q[:, 1:] = _plain(dy)
            q = q[0] if u.ndim == 2 else q
        g = run.backward(q, None if dlast is None else _plain(dlast), want_u=at.needs_input_grad[1])
        gp, gu = torch.from_numpy(g.p.copy()), None if g.u is None else torch.from_numpy(g.u.copy("K"))
        return gp, gu, None if x0 is None else torch.from_numpy(total(g.x0, tuple(x0.shape)).copy())


class _UnrolledSweep(Function):
    """The same as a node of a graph, which refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor | None, ...]:
        return _unrolled_sweep(*arguments)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[Any, ...]:
        raise InputError(
            "a compiled cell is differentiable once, and a second derivative was asked for. A small cell has it as a "
            "traced system: rollout(System(cell.equation, states=…, discrete=True), …)."
        )


def _run(run: Unroll, weight: Tensor, u: Tensor, x0: Tensor | None, lengths: Array | None) -> Array:
    """The outputs, as a view of the run's memory."""
    states = run.forward(_plain(weight), _plain(u), None if x0 is None else _plain(x0), lengths)
    states.flags.writeable = True  # the run is the bridge's own
    y = states[..., 1:, : run.cell.outputs]
    if lengths is not None:  # so that they are constants, as their gradient says
        y[np.arange(y.shape[-2]) >= (lengths[:, None] if y.ndim == 3 else lengths)] = 0
    return y


class _Pool:
    """Runs of one cell, each of which is lent to one call at a time."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._free: dict[np.dtype, list[Unroll]] = {}

    def lend(self, dtype: np.dtype) -> Unroll:
        """A run that is in nobody's hands."""
        try:
            return self._free.setdefault(dtype, []).pop()  # one operation: no other thread comes between
        except IndexError:
            return Unroll(self._cell, dtype)

    def take_back(self, run: Unroll) -> None:
        """When nobody sees its memory any more."""
        self._free[run.dtype].append(run)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Pool:
        return _Pool(self._cell)


# ---- weights -------------------------------------------------------------------------------------


def weights_from(module: torch.nn.Module) -> tuple[Cell, NDArray[np.float64]]:
    """The cell that a recurrent layer of PyTorch is, and its weights.

    Parameters
    ----------
    module : torch.nn.RNN, GRU or LSTM of one layer and one direction, or torch.nn.RNNCell, GRUCell or LSTMCell

    Returns
    -------
    cell : Cell
    p : array (n_p,)

    Raises
    ------
    InputError
        If the module is something else.
    """
    if isinstance(module, torch.nn.RNNBase):
        if module.num_layers != 1 or module.bidirectional or module.proj_size:
            raise InputError(
                f"weights_from: {module} has {module.num_layers} layers, bidirectional={module.bidirectional}, "
                f"proj_size={module.proj_size}; expected one layer, one direction, no projection. Take it apart first."
            )
        suffix = "_l0"
    elif isinstance(module, torch.nn.RNNCellBase):
        suffix = ""
    else:
        raise InputError(f"weights_from: {type(module).__name__} given; expected an RNN, GRU or LSTM of torch.nn.")
    d, m = int(module.hidden_size), int(module.input_size)
    weights = {
        name: parameter.detach().cpu().numpy().astype(np.float64)
        for name, parameter in module.named_parameters()
    }
    b_ih, b_hh = (weights.get(f"bias_{which}{suffix}") for which in ("ih", "hh"))
    rows = len(weights[f"weight_hh{suffix}"])
    if b_ih is None or b_hh is None:
        b_ih, b_hh = np.zeros(rows), np.zeros(rows)
    parts = {"W_ih": weights[f"weight_ih{suffix}"], "W_hh": weights[f"weight_hh{suffix}"], "b": b_ih + b_hh}
    if isinstance(module, torch.nn.LSTM | torch.nn.LSTMCell):
        cell = LSTM(d, m)
    elif isinstance(module, torch.nn.GRU | torch.nn.GRUCell):
        cell = GRU(d, m)
        parts["b"][2 * d :] = b_ih[2 * d :]
        parts["b_hn"] = b_hh[2 * d :]
    else:
        cell = Elman(d, m, str(module.nonlinearity))
    return cell, cell.pack(parts)


def module_from(cell: Cell, p: ArrayLike) -> torch.nn.Module:
    """The layer of PyTorch that a cell is: a `torch.nn.RNN`, `GRU` or `LSTM` with batch_first=True.

    Parameters
    ----------
    cell : Cell
        Of `Elman`, `GRU` or `LSTM`.
    p : array_like (n_p,)
        Its weights. The module is float32 if they are, float64 otherwise.

    Returns
    -------
    torch.nn.Module
        Its second biases are zero, but for GRU's b_hn.

    Raises
    ------
    InputError
        If PyTorch has no such layer, or p does not fit.
    """
    if not isinstance(cell, Cell) or cell.name not in ("Elman", "GRU", "LSTM"):
        raise InputError(f"module_from: {cell!r} given; PyTorch has a layer for Elman, GRU and LSTM.")
    array = np.asarray(_plain(p))
    weights = cell.unpack(array)
    dtype = torch.float32 if array.dtype == np.float32 else torch.float64
    d = cell.outputs
    common: dict[str, Any] = {"batch_first": True, "dtype": dtype}
    layer: torch.nn.RNNBase
    if cell.name == "Elman":
        layer = torch.nn.RNN(cell.m, d, nonlinearity="relu" if cell.own_sizes[0] else "tanh", **common)
    else:
        layer = (torch.nn.GRU if cell.name == "GRU" else torch.nn.LSTM)(cell.m, d, **common)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor(weights["W_ih"]))
        layer.weight_hh_l0.copy_(torch.tensor(weights["W_hh"]))
        layer.bias_ih_l0.copy_(torch.tensor(weights["b"]))
        layer.bias_hh_l0.zero_()
        if cell.name == "GRU":
            layer.bias_hh_l0[2 * d :] = torch.tensor(weights["b_hn"])
    return layer


# ---- tensors and arrays --------------------------------------------------------------------------


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _plain(value: Any) -> Any:
    """The array of a tensor, without a copy; anything else as it is."""
    return value.detach().cpu().numpy() if _is_tensor(value) else value


def _wrap(array: Array) -> Tensor:
    """The tensor of an array that is ours alone, without a copy. PyTorch wants to be told that it may write there."""
    array.setflags(write=True)
    return torch.from_numpy(array)


def _checked(name: str, value: Tensor) -> Tensor:
    if value.device.type != "cpu":
        raise InputError(f"{name} is on {value.device}; the sweeps run on the CPU. Pass {name}.cpu().")
    if value.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{name} is {value.dtype}; expected float32 or float64. Pass {name}.double().")
    return value
