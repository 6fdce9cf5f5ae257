"""Recurrent cells: each piece against the cell's own equation in plain NumPy."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import adjoint
from adjoint.errors import InputError
from adjoint.recurrent.convolutional import Convolutional
from adjoint.recurrent.diagonal import Diagonal
from adjoint.recurrent.elman import Elman
from adjoint.recurrent.gru import GRU
from adjoint.recurrent.leaky import Leaky
from adjoint.recurrent.low_rank import LowRank
from adjoint.recurrent.lstm import LSTM
from adjoint.recurrent.stack import Stack
from adjoint.recurrent.tape import Tape

CELLS = {
    "elman": lambda: Elman(5, 3),
    "elman-relu": lambda: Elman(5, 3, "relu"),
    "leaky": lambda: Leaky(5, 3, 20.0),
    "gru": lambda: GRU(4, 3),
    "lstm": lambda: LSTM(4, 3),
    "diagonal": lambda: Diagonal(5),
    "diagonal-dense": lambda: Diagonal(5, 3),
    "low-rank": lambda: LowRank(6, 3, 2),
    "convolutional": lambda: Convolutional(2, 1, 3, 4),
    "stack": lambda: Stack(3, 2, 0.9),
    "tape": lambda: Tape(4, 2, 5, 3),  # with 3 inputs the 400 steps amplify a rounding error 200 times
    "tape-heads": lambda: Tape(3, 2, 4, 2, reads=2, writes=2, radius=2),
}
BATCH, N = 3, 400  # several chunks of 512 // 3 steps, and a shorter last one


@pytest.fixture(params=CELLS, scope="module")
def cell(request):
    return CELLS[request.param]()


def twin(cell):
    """The same map, traced from the equation: an independent step and derivatives."""
    return adjoint.System(
        cell.equation, states=f"x[{cell.n}]", controls=f"u[{cell.m}]", parameters=f"p[{cell.n_p}]", discrete=True
    )


def data(cell, batch=BATCH, steps=N):
    rng = np.random.default_rng(7)
    return (rng.standard_normal((batch, cell.n)) / 2, rng.standard_normal((batch, steps, cell.m)),
            0.8 * cell.init(1) + 0.01 * rng.standard_normal(cell.n_p))  # fmt: skip


def close(a, b, tolerance=1e-12):
    assert np.max(np.abs(a - b)) <= tolerance * max(1.0, np.max(np.abs(b)))


def test_the_step_is_the_equation(cell):
    x0, u, p = data(cell)
    path = adjoint.rollout(cell.system, x0, u, p=p)
    for b in range(BATCH):
        x = x0[b]
        for k in range(N):
            x = cell.equation(k, x, u[b, k], p)
            close(path.x[b, k + 1], x)


def test_the_sweep_is_the_transpose_of_the_traced_twin(cell):
    x0, u, p = data(cell)
    rng = np.random.default_rng(3)
    path, other = adjoint.rollout(cell.system, x0, u, p=p), adjoint.rollout(twin(cell), x0, u, p=p)
    dx, du = rng.standard_normal(path.x.shape), rng.standard_normal(u.shape)
    ours, theirs = adjoint.sweep(path, dx=dx, du=du, dp=p), adjoint.sweep(other, dx=dx, du=du, dp=p)
    for name in ("x0", "u", "p", "costate"):
        close(getattr(ours, name), getattr(theirs, name))


def test_dot_product_identity(cell):
    x0, u, p = data(cell)
    rng = np.random.default_rng(4)
    v0, vu, vp = rng.standard_normal(x0.shape), rng.standard_normal(u.shape), rng.standard_normal(p.shape)
    path = adjoint.rollout(cell.system, x0, u, p=p)
    delta = adjoint.tangent(adjoint.rollout(twin(cell), x0, u, p=p), x0=v0, u=vu, p=vp)
    dx = rng.standard_normal(path.x.shape)
    g = adjoint.sweep(path, dx=dx)
    left, right = np.sum(dx * delta), np.sum(g.x0 * v0) + np.sum(g.u * vu) + g.p @ vp
    assert abs(left - right) <= 1e-12 * (np.linalg.norm(dx) * np.linalg.norm(delta))


def test_gradient_by_complex_step(cell):
    if cell.name == "Elman" and cell.own_sizes == (1,):
        pytest.skip("relu is not analytic: maximum(z, 0) has no complex step")
    x0, u, p = data(cell, batch=1, steps=6)
    c = np.random.default_rng(5).standard_normal(cell.n)
    g = adjoint.sweep(adjoint.rollout(cell.system, x0[0], u[0], p=p), dx=c)

    def derivative(v0, vp):
        x, q = x0[0] + 1e-30j * v0, p + 1e-30j * vp
        for k in range(6):
            x = cell.equation(k, x, u[0, k], q)
        return (c @ x).imag / 1e-30

    close(g.x0, np.array([derivative(e, np.zeros(cell.n_p)) for e in np.eye(cell.n)]))
    close(g.p, np.array([derivative(np.zeros(cell.n), e) for e in np.eye(cell.n_p)]))


def test_a_batch_is_a_loop(cell):
    x0, u, p = data(cell)
    batch = adjoint.rollout(cell.system, x0, u, p=p)
    g = adjoint.sweep(batch, dx=batch.x)
    total = np.zeros(cell.n_p)
    for b in range(BATCH):
        path = adjoint.rollout(cell.system, x0[b], u[b], p=p)
        close(path.x, batch.x[b])
        own = adjoint.sweep(path, dx=path.x)
        close(own.u, g.u[b])
        total += own.p
    close(total, g.p)


def test_each_path_may_have_its_own_weights(cell):
    x0, u, p = data(cell)
    weights = p * np.linspace(0.5, 1, BATCH)[:, None]
    batch = adjoint.rollout(cell.system, x0, u, p=weights)
    g = adjoint.sweep(batch, dx=batch.x)
    assert g.p.shape == (BATCH, cell.n_p)
    for b in range(BATCH):
        path = adjoint.rollout(cell.system, x0[b], u[b], p=weights[b])
        close(path.x, batch.x[b])
        close(adjoint.sweep(path, dx=path.x).p, g.p[b])


def test_jacobians(cell):
    x0, u, p = data(cell, batch=2, steps=3)
    ours = adjoint.linearize(adjoint.rollout(cell.system, x0, u, p=p), parameters=True)
    theirs = adjoint.linearize(adjoint.rollout(twin(cell), x0, u, p=p), parameters=True)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


def test_weights_by_name(cell):
    p = cell.init(3)
    assert np.array_equal(cell.pack(cell.unpack(p)), p) and np.array_equal(p, cell.init(3))
    assert cell.name == "Stack" or not np.array_equal(p, cell.init(4))  # a stack starts with the leak that it was given
    with pytest.raises(InputError, match="parameters"):
        cell.unpack(p[1:])
    with pytest.raises(InputError, match="weights"):
        cell.pack({})
    with pytest.raises(InputError, match="has shape"):
        cell.pack({name: np.zeros((2, 2, 2, 2)) for name in cell.parameters})


def test_what_a_cell_has_not(cell):
    x0, u, p = data(cell, steps=2)
    path = adjoint.rollout(cell.system, x0, u, p=p)
    with pytest.raises(InputError, match="tangent sweep"):
        adjoint.tangent(path, x0=x0)
    with pytest.raises(InputError, match="second derivatives|tangent sweep"):
        adjoint.hessian_vector(path, dx=path.x, x0=x0)


@pytest.mark.parametrize(("d", "m"), [(0, 1), (2, -1), (1.5, 2), (True, 2)])
def test_sizes_are_whole_numbers(d, m):
    with pytest.raises(InputError, match="expected a whole number"):
        Elman(d, m)


def test_a_rank_is_at_most_the_size():
    with pytest.raises(InputError, match="rank is 4"):
        LowRank(3, 1, 4)


def test_unknown_activation():
    with pytest.raises(InputError, match="activation"):
        Elman(2, 2, "step")


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
def test_the_same_numbers_as_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    cell = CELLS[name]()
    d, m = cell.outputs, cell.m
    x0, u, p = data(cell, steps=20)
    weights = cell.unpack(p)
    layer = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[name](m, d, batch_first=True).double()
    with torch.no_grad():
        layer.weight_ih_l0[:] = torch.tensor(weights["W_ih"])
        layer.weight_hh_l0[:] = torch.tensor(weights["W_hh"])
        layer.bias_ih_l0[:] = torch.tensor(weights["b"])
        layer.bias_hh_l0.zero_()
        if name == "gru":
            layer.bias_hh_l0[2 * d :] = torch.tensor(weights["b_hn"])
    inputs = torch.tensor(u, requires_grad=True)
    starts = [torch.tensor(part[None].copy(), requires_grad=True) for part in np.split(x0, cell.n // d, axis=1)]
    outputs, _ = layer(inputs, tuple(starts) if name == "lstm" else starts[0])
    c = np.random.default_rng(8).standard_normal((BATCH, 20, d))
    (outputs * torch.tensor(c)).sum().backward()

    path = adjoint.rollout(cell.system, x0, u, p=p)
    close(path.x[:, 1:, :d], outputs.detach().numpy())
    dx = np.zeros(path.x.shape)
    dx[:, 1:, :d] = c
    g = adjoint.sweep(path, dx=dx)
    close(g.u, inputs.grad.numpy())
    close(g.x0, np.concatenate([start.grad.numpy()[0] for start in starts], axis=1))
    ours = cell.unpack(g.p)
    close(ours["W_ih"], layer.weight_ih_l0.grad.numpy())
    close(ours["W_hh"], layer.weight_hh_l0.grad.numpy())
    close(ours["b"], layer.bias_ih_l0.grad.numpy())
    if name == "gru":
        close(ours["b_hn"], layer.bias_hh_l0.grad.numpy()[2 * d :])


def test_a_cell_may_have_no_inputs():
    cell = Elman(3, 0)
    path = adjoint.rollout(cell.system, np.ones(3), p=cell.init(), steps=4)
    other = adjoint.rollout(twin_without_inputs(cell), np.ones(3), p=cell.init(), steps=4)
    close(path.x, other.x)
    close(adjoint.sweep(path, dx=path.x).p, adjoint.sweep(other, dx=path.x).p)


def twin_without_inputs(cell):
    return adjoint.System(cell.equation, states=f"x[{cell.n}]", parameters=f"p[{cell.n_p}]", discrete=True)


def test_a_process_that_compiles_rounds_like_one_that_reads_from_disk(tmp_path):
    script = (
        "import numpy as np; from adjoint.recurrent import LSTM, Unroll\n"
        "cell, run = LSTM(16, 3), Unroll(LSTM(16, 3))\n"
        "x = run.forward(cell.init(0), np.random.default_rng(0).normal(size=(4, 100, 3)))\n"
        "print(x.tobytes().hex(), run.backward(dlast=run.last).p.tobytes().hex())\n"
    )
    environment = {**os.environ, "ADJOINT_CACHE_DIR": str(tmp_path), "ADJOINT_QUIET": "1"}
    outcomes = [
        subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert len(outcomes[0]) > 1000
    assert outcomes[0] == outcomes[1]
