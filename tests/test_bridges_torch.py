"""`adjoint.bridges.torch`: PyTorch's own gradcheck, equality with the sweep and with torch.nn, and the kept memory."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'adjoint-control[torch]'")

import adjoint  # noqa: E402
from adjoint import recurrent  # noqa: E402
from adjoint.bridges.torch import Recurrent, module_from, rollout, weights_from  # noqa: E402
from adjoint.errors import AdjointError, InputError  # noqa: E402

torch.set_num_threads(1)
N = 7


def oscillator(t, x, u, p):
    position, speed = x
    return [speed, p[1] * (1 - position**2) * speed - p[0] * position + u[0] * np.cos(t)]


def settle(t, x, u, p):
    return [p[0] * x[0] - x[1] * x[0], x[1] + 0.1 * x[0] * p[1]]


SYSTEM = adjoint.System(oscillator, states="position speed", controls="force", parameters="stiffness damping")
FREE = adjoint.System(settle, states="a b", parameters="c d", discrete=True)
T = np.linspace(0, 1, N + 1)


def tensor(*shape, seed=0, dtype=torch.float64, grad=True, scale=1.0):
    numbers = scale * np.random.default_rng(seed).standard_normal(shape)
    return torch.tensor(numbers, dtype=dtype, requires_grad=grad)


# ---- a system ------------------------------------------------------------------------------------

SHAPES = [
    ((2,), (N, 1), (2,)), ((2,), (N,), (2,)), ((2,), (1,), (2,)), ((2,), (), (2,)), ((3, 2), (1,), (2,)),
    ((3, 2), (N, 1), (2,)), ((2,), (3, N, 1), (2,)), ((2,), (N,), (3, 2)), ((9, 2), (9, N, 1), (9, 2)),
    ((1, 2), (N, 1), (2,)), ((2,), (1, N, 1), (1, 2)),
]  # fmt: skip


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_first_and_second_derivatives_pass_gradcheck_in_every_shape(shapes):
    arguments = tuple(tensor(*shape, seed=i, scale=0.5) for i, shape in enumerate(shapes))

    def states(x0, u, p):
        return rollout(SYSTEM, x0, u, T, p)

    assert torch.autograd.gradcheck(states, arguments)
    assert torch.autograd.gradgradcheck(states, arguments)


def test_a_map_without_controls_passes_gradcheck():
    x0, p = tensor(4, 2), tensor(2, seed=1)
    assert torch.autograd.gradcheck(lambda x0, p: rollout(FREE, x0, p=p, steps=5), (x0, p))
    assert torch.autograd.gradgradcheck(lambda x0, p: rollout(FREE, x0, p=p, steps=5), (x0, p))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)])
def test_any_of_the_arguments_may_require_a_gradient_or_be_no_tensor(wanted):
    arguments = [np.array([1.0, 0.2]), np.linspace(0, 1, N), np.array([1.0, 0.5])]
    path = adjoint.rollout(SYSTEM, *arguments[:2], T, arguments[2], method=adjoint.EULER)
    expected = adjoint.sweep(path, dx=path.x)
    for i in wanted:
        arguments[i] = torch.tensor(arguments[i], requires_grad=True)
    x = rollout(SYSTEM, *arguments[:2], torch.tensor(T), arguments[2], method=adjoint.EULER)
    assert np.array_equal(x.detach().numpy(), path.x)
    (x**2 / 2).sum().backward()
    for i in wanted:
        gradient = (expected.x0, expected.u, expected.p)[i].reshape(arguments[i].shape)
        assert np.array_equal(arguments[i].grad.numpy(), gradient)


def test_the_type_of_the_result_is_that_of_the_tensors():
    for first, second, expected in ((32, 32, 32), (32, 64, 64), (64, 64, 64)):
        x0 = tensor(2, dtype=getattr(torch, f"float{first}"))
        p = tensor(2, dtype=getattr(torch, f"float{second}"), seed=1)
        x = rollout(SYSTEM, x0, [0.1], T, p)
        assert x.dtype == getattr(torch, f"float{expected}")
        x.sum().backward()
        assert x0.grad.dtype == x0.dtype and p.grad.dtype == p.dtype
    assert rollout(SYSTEM, [1, 0], [0.1], T, [1, 1]).dtype == torch.float64


def test_the_gradient_of_float32_is_that_of_the_float64_path():
    x0, p = tensor(2, dtype=torch.float32), tensor(2, dtype=torch.float32, seed=1)
    rollout(SYSTEM, x0, [0.1], T, p)[-1].sum().backward()
    path = adjoint.rollout(SYSTEM, x0.detach().numpy(), [0.1], T, p.detach().numpy())
    expected = adjoint.sweep(path, dx=np.ones(2))
    assert np.array_equal(x0.grad.numpy(), expected.x0.astype(np.float32))
    assert np.array_equal(p.grad.numpy(), expected.p.astype(np.float32))


def test_two_rollouts_before_one_backward_and_a_graph_that_is_kept():
    x0 = tensor(2)
    one, two = rollout(SYSTEM, x0, [0.1], T, [1.0, 0.5]), rollout(SYSTEM, 2 * x0, [0.3], T, [2.0, 0.5])
    loss = (one * two).sum()
    (first,) = torch.autograd.grad(loss, x0, retain_graph=True)
    (again,) = torch.autograd.grad(loss, x0)
    assert torch.equal(first, again)
    assert torch.autograd.gradcheck(
        lambda x: rollout(SYSTEM, x, [0.1], T, [1.0, 0.5]) * rollout(SYSTEM, 2 * x, [0.3], T, [2.0, 0.5]), (x0,))


def test_a_change_in_place_before_the_backward_sweep_is_noticed():
    x0 = tensor(2)
    x = rollout(SYSTEM, x0, [0.1], T, [1.0, 0.5])
    x.detach()[:] = 0
    with pytest.raises(RuntimeError, match="inplace"):
        x.sum().backward()


def test_third_derivatives_are_refused():
    x0 = tensor(2)
    value = rollout(SYSTEM, x0, [0.1], T, [1.0, 0.5])[-1].square().sum()
    for _ in range(2):
        (g,) = torch.autograd.grad(value, x0, create_graph=True)
        value = g.square().sum()
    with pytest.raises(InputError, match="a third one was asked for"):
        torch.autograd.grad(value + x0.sum(), x0)


def test_a_rocket_inside_a_model_learns():
    # The force is the output of a network, and the rollout a layer of it.
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    times = torch.tensor(T[:-1, None], dtype=torch.float32)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.03)
    losses = []
    for _ in range(150):
        x = rollout(SYSTEM, [0.0, 0.0], 10 * net(times), T, [1.0, 0.0])
        loss = (x[-1] - torch.tensor([1.0, 0.0])).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-3 * losses[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(x0=torch.zeros(3)), r"x0 has shape \(3,\); system 'oscillator' has 2 states \(position, speed\)"),
        (dict(x0=torch.tensor([1, 2])), r"x0 is torch.int64; expected float32 or float64"),
        (dict(u=torch.zeros(N + 1, 1)), "drop the last row"),
        (dict(p=torch.tensor([1.0, np.nan])), r"p of system 'oscillator' has nan at index \(1,\)"),
        (dict(p=None), "p is missing"),
        (dict(t=torch.tensor(T, requires_grad=True)), "t requires a gradient"),
        (dict(t=None), "is continuous: pass its knots"),
        (dict(x0=torch.zeros(2, device="meta")), "x0 is on meta; the sweeps run on the CPU"),
    ],
)
def test_what_does_not_fit_is_named(change, sentence):
    arguments = dict(x0=torch.zeros(2), u=torch.zeros(N, 1), t=T, p=torch.ones(2)) | change
    with pytest.raises(InputError, match=sentence):
        rollout(SYSTEM, **arguments)


def test_an_overflow_and_a_seed_that_is_not_finite_are_errors():
    with pytest.raises(AdjointError, match="became"):
        rollout(SYSTEM, torch.full((2,), 1e200, dtype=torch.float64), [0.0], T, [1.0, 1.0])
    x0 = tensor(2)
    x = rollout(SYSTEM, x0, [0.0], T, [1.0, 1.0])
    with pytest.raises(InputError, match="dx of system 'oscillator' has nan"):
        x.backward(torch.full_like(x, np.nan))


# ---- a cell --------------------------------------------------------------------------------------

CELLS = {
    "tanh": lambda: recurrent.Elman(4, 3), "relu": lambda: recurrent.Elman(4, 3, "relu"),
    "gru": lambda: recurrent.GRU(4, 3), "lstm": lambda: recurrent.LSTM(4, 3), "diagonal": lambda: recurrent.Diagonal(3),
}  # fmt: skip


@pytest.fixture(params=CELLS)
def cell(request):
    return CELLS[request.param]()


@pytest.mark.parametrize("lengths", [None, [5, 2, 1]])
def test_a_cell_passes_gradcheck(cell, lengths):
    module = Recurrent(cell, dtype=torch.float64)

    def run(weight, u, x0):
        return torch.func.functional_call(module, {"weight": weight}, (u, x0, lengths))

    arguments = (0.7 * tensor(cell.n_p) + module.weight, tensor(3, 5, cell.m, seed=1), tensor(3, cell.n, seed=2))
    assert torch.autograd.gradcheck(run, tuple(a.detach().requires_grad_() for a in arguments))


def test_one_path_and_a_start_that_is_shared(cell):
    module = Recurrent(cell, dtype=torch.float64)
    u, x0 = tensor(2, 5, cell.m), tensor(cell.n, seed=1)
    assert torch.autograd.gradcheck(module, (u, x0))
    assert torch.autograd.gradcheck(lambda u, x0: module(u[0], x0), (u, x0))
    y, last = module(u, x0)
    one, end = module(u[1], x0)
    assert torch.allclose(y[1], one, atol=1e-14) and torch.allclose(last[1], end, atol=1e-14)
    assert y.shape == (2, 5, cell.outputs) and end.shape == (cell.n,)


def test_states_are_handed_on(cell):
    module = Recurrent(cell, dtype=torch.float64)
    u = tensor(2, 9, cell.m)
    whole, end = module(u)
    first, state = module(u[:, :4])
    second, last = module(u[:, 4:], state)
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-14)
    gradients = [torch.autograd.grad(x.sum(), (u, module.weight)) for x in (end, last)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-13)


def test_beyond_the_end_of_a_path_are_zeros(cell):
    module = Recurrent(cell)
    u = tensor(3, 6, cell.m, dtype=torch.float32)
    y, last = module(u, None, torch.tensor([2, 6, 3]))
    assert not y[0, 2:].any() and not y[2, 3:].any() and y[1].any()
    assert torch.equal(last[0, : cell.outputs], y[0, 1])


def test_outputs_are_the_memory_of_the_run_and_inputs_are_not_copied(cell):
    module = Recurrent(cell)
    u = tensor(5, 3, cell.m, dtype=torch.float32).transpose(0, 1)
    y, _ = module(u)
    run = y.grad_fn.run
    assert np.shares_memory(run._x, y.detach().numpy())
    assert np.shares_memory(run._u, u.detach().numpy())


def test_runs_do_not_meet_in_memory(cell):
    # Several forward runs before the backward ones, in another order, some dropped; against each by itself.
    module = Recurrent(cell, dtype=torch.float64)
    inputs = [tensor(2, 5 + i, cell.m, seed=i) for i in range(4)]
    alone = []
    for u in inputs:
        y, _ = module(u)
        alone.append((y.detach().clone(), *torch.autograd.grad(y.square().sum(), (u, module.weight))))
        del y
    runs = [module(u)[0] for u in inputs]
    with torch.no_grad():
        seen = module(inputs[0])[0]
    for i in (2, 0, 3, 1):
        g = torch.autograd.grad(runs[i].square().sum(), (inputs[i], module.weight))
        for a, b in zip((runs[i].detach(), *g), alone[i], strict=True):
            assert torch.equal(a, b)
        module(inputs[3])
    assert torch.equal(seen, alone[0][0])


def test_a_graph_that_is_kept_gives_the_same_again(cell):
    module = Recurrent(cell, dtype=torch.float64)
    u = tensor(2, 6, cell.m)
    y, last = module(u, None, [6, 3])
    loss = y.square().sum() + last.sum()
    results = [torch.autograd.grad(loss, (u, module.weight), retain_graph=True) for _ in range(3)]
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_only_the_last_state_is_used_and_memory_comes_back(cell):
    module = Recurrent(cell, dtype=torch.float64)
    free = module._pool._free
    u = tensor(2, 6, cell.m)
    last = module(u)[1]  # nobody holds y but the graph

    assert not free[np.dtype(np.float64)]
    other = module(2 * u)[1]
    (g,) = torch.autograd.grad(last.sum(), u)
    (expected,) = torch.autograd.grad(module(u)[0][:, -1].sum() + module(u)[1][:, cell.outputs :].sum(), u)
    assert torch.allclose(g, expected, atol=1e-14)
    other.sum().backward()
    del last, other

    before = len(free[np.dtype(np.float64)])
    assert before >= 2
    for _ in range(10):  # a training loop holds the last y while the next is made: two runs in turn
        y, _ = module(u)
        y.sum().backward()
    del y, _

    assert len(free[np.dtype(np.float64)]) == before


def test_threads_do_not_meet(cell):
    module = Recurrent(cell, dtype=torch.float64)
    inputs = [tensor(4, 200, cell.m, seed=i) for i in range(4)]

    def gradient(u):
        y, _ = module(u)
        return torch.autograd.grad(y.square().sum(), (u, module.weight))

    expected = [gradient(u) for u in inputs]
    wrong = []

    def work(i):
        for _ in range(20):
            if not all(torch.equal(a, b) for a, b in zip(gradient(inputs[i]), expected[i], strict=True)):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_module_is_copied_saved_converted_and_prints(cell, tmp_path):
    module = Recurrent(cell, cell.init(3), torch.float64)
    u = tensor(2, 4, cell.m)
    y, _ = module(u)
    twin = copy.deepcopy(torch.nn.ModuleList([module]))[0]
    assert torch.equal(twin(u)[0], y)
    with torch.no_grad():
        twin.weight.zero_()
    assert torch.equal(module(u)[0], y)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    twin.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert torch.equal(twin(u)[0], y)
    single = twin.float()(u.float())[0]
    assert single.dtype == torch.float32 and torch.allclose(single.double(), y, atol=1e-5)
    assert repr(cell) in str(module)


def test_a_cell_in_a_model_is_differentiated_once():
    module = Recurrent(recurrent.LSTM(4, 3), dtype=torch.float64)
    u = tensor(2, 4, 3)
    (g,) = torch.autograd.grad(module(u)[0].square().sum(), u, create_graph=True)
    with pytest.raises(InputError, match="differentiable once"):
        torch.autograd.grad(g.sum() + u.sum(), u)
    x = rollout(module.cell.system, torch.zeros(8, dtype=torch.float64), u[0], p=module.weight)
    (g,) = torch.autograd.grad(x.square().sum(), u, create_graph=True)
    with pytest.raises(InputError, match="no second derivatives|no tangent sweep"):
        g.sum().backward()


def test_what_does_not_fit_a_cell_is_named():
    module = Recurrent(recurrent.LSTM(4, 3))
    for arguments, sentence in (
        ((torch.zeros(2, 5, 2),), "has 3 inputs"),
        ((torch.zeros(2, 5, 3).double(),), r"u is torch.float64 and the weights are torch.float32. Convert one"),
        ((np.zeros((2, 5, 3)),), "u is ndarray; expected a Tensor"),
        ((torch.zeros(2, 5, 3), torch.zeros(4)), r"x0 has shape \(4,\); expected \(8,\)"),
        ((torch.zeros(2, 5, 3), None, [5, 6]), r"lengths\[1\] is 6; expected 1 to 5"),
        ((torch.full((2, 5, 3), np.nan),), r"u has nan at index \(0, 0, 0\)"),
    ):
        with pytest.raises(InputError, match=sentence):
            module(*arguments)
    with pytest.raises(InputError, match="expected a Cell"):
        Recurrent(torch.nn.LSTM(3, 4))
    with pytest.raises(InputError, match=r"p has shape \(5,\)"):
        Recurrent(recurrent.LSTM(4, 3), np.zeros(5))


# ---- weights -------------------------------------------------------------------------------------

LAYERS = {
    "RNN": lambda **k: torch.nn.RNN(3, 5, **k), "relu": lambda **k: torch.nn.RNN(3, 5, nonlinearity="relu", **k),
    "GRU": lambda **k: torch.nn.GRU(3, 5, **k), "LSTM": lambda **k: torch.nn.LSTM(3, 5, **k),
}  # fmt: skip


def layer(name, **options):
    torch.manual_seed(0)
    return LAYERS[name](batch_first=True, dtype=torch.float64, **options)


def parts(last, d=5):
    return (last[..., :d], last[..., d:])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_and_its_cell_have_equal_outputs_and_gradients(name, bias):
    theirs = layer(name, bias=bias)
    cell, p = weights_from(theirs)
    ours = Recurrent(cell, p, torch.float64)
    u, h0 = tensor(4, 30, 3), tensor(4, cell.n, seed=1)
    starts = tuple(a[None].contiguous() for a in parts(h0)) if name == "LSTM" else h0[None]
    y, last = ours(u, h0)
    z, end = theirs(u, starts)
    assert torch.allclose(y, z, rtol=0, atol=1e-12)
    ends = torch.cat(end, dim=-1)[0] if name == "LSTM" else end[0]
    assert torch.allclose(last, ends, rtol=0, atol=1e-12)

    def gradients(y, last, *wanted):
        weight = tensor(*y.shape, seed=2, grad=False)
        return torch.autograd.grad((weight * y).sum() + last.square().sum(), wanted)

    gu, gx0, gp = gradients(y, last, u, h0, ours.weight)
    hu, hx0, *hp = gradients(z, ends, u, h0, *theirs.parameters())
    assert torch.allclose(gu, hu, rtol=0, atol=1e-12) and torch.allclose(gx0, hx0, rtol=0, atol=1e-12)
    g = cell.unpack(gp.numpy())
    names = ["W_ih", "W_hh", *(["b", "b"] if bias else [])]
    for key, h in zip(names, hp, strict=True):
        ours_here = g[key].copy()
        if name == "GRU" and h is hp[-1] and bias:  # the bias of the state, whose n-gate is b_hn
            ours_here[10:] = g["b_hn"]
        np.testing.assert_allclose(ours_here, h.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_weights_there_and_back(name):
    cell, p = weights_from(layer(name))
    back, q = weights_from(module_from(cell, p))
    assert back.name == cell.name and np.array_equal(p, q) and back.own_sizes == cell.own_sizes
    u = tensor(2, 6, 3)
    assert torch.allclose(module_from(cell, p)(u)[0], layer(name)(u)[0], rtol=0, atol=1e-14)
    assert module_from(cell, p.astype(np.float32)).weight_ih_l0.dtype == torch.float32
    assert torch.equal(module_from(cell, Recurrent(cell, p).weight).weight_ih_l0,
                       layer(name).weight_ih_l0.float())


@pytest.mark.parametrize(("name", "kind"), [("RNN", "RNNCell"), ("GRU", "GRUCell"), ("LSTM", "LSTMCell")])
@pytest.mark.parametrize("bias", [True, False])
def test_single_steps(name, kind, bias):
    torch.manual_seed(1)
    theirs = getattr(torch.nn, kind)(3, 5, bias=bias, dtype=torch.float64)
    cell, p = weights_from(theirs)
    assert cell.name == {"RNN": "Elman"}.get(name, name)
    u, h = tensor(2, 3, grad=False), tensor(2, cell.n, seed=1, grad=False)
    end = theirs(u, parts(h) if name == "LSTM" else h)
    _, last = Recurrent(cell, p, torch.float64)(u[:, None], h)
    assert torch.allclose(last, torch.cat(end, dim=-1) if name == "LSTM" else end, rtol=0, atol=1e-13)


def test_layers_without_a_counterpart_are_refused():
    for module, sentence in (
        (torch.nn.GRU(3, 5, num_layers=2), "has 2 layers"),
        (torch.nn.LSTM(3, 5, bidirectional=True), "bidirectional=True"),
        (torch.nn.LSTM(3, 5, proj_size=2), "proj_size=2"),
        (torch.nn.Linear(3, 5), "Linear given"),
    ):
        with pytest.raises(InputError, match=sentence):
            weights_from(module)
    with pytest.raises(InputError, match="PyTorch has a layer for"):
        module_from(recurrent.Diagonal(3), np.zeros(9))
    with pytest.raises(InputError, match=r"p has shape \(9,\)"):
        module_from(recurrent.GRU(3, 3), np.zeros(9))


# ---- torch.compile -------------------------------------------------------------------------------


def test_compiled_models_run_it_as_it_stands():
    module = Recurrent(recurrent.GRU(4, 2), dtype=torch.float64)

    def loss(x0):
        return module(3 * rollout(SYSTEM, 2 * x0, [0.1], T, [1.0, 0.5]))[0].square().sum()

    x0 = tensor(2)
    (expected,) = torch.autograd.grad(loss(x0), x0)
    (g,) = torch.autograd.grad(torch.compile(loss, backend="eager")(x0), x0)
    assert torch.equal(g, expected)
