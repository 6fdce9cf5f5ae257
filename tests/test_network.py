"""Networks: the oracle is the same network in plain NumPy, one path and one step after the other."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from test_cells import close

import adjoint
from adjoint.errors import AdjointError, InputError
from adjoint.recurrent import (
    GRU,
    LSTM,
    Adam,
    AtEnd,
    Bidirectional,
    Diagonal,
    Dropout,
    Elman,
    Embedding,
    Network,
    PerStep,
    Unroll,
    pad,
    softmax_cross_entropy,
    staggered,
    train,
)
from adjoint.recurrent.bidirectional import reverse

NETWORKS = {
    "stacked": lambda: Network(3, [GRU(4, 3), LSTM(3, 4)], {"a": AtEnd(2)}),
    "bidirectional": lambda: Network(3, [Bidirectional(Elman(4, 3), LSTM(3, 3))], {"a": PerStep(2)}),
    "all": lambda: Network(
        Embedding(5, 3), [Bidirectional(GRU(4, 3), GRU(3, 3)), Elman(5, 7), Bidirectional(Diagonal(5), LSTM(3, 5))],
        {"end": AtEnd(3), "steps": PerStep(2), "more": PerStep(4)},
    ),
}  # fmt: skip
BATCH, N = 3, 9
LENGTHS = np.array([9, 4, 7])


@pytest.fixture(params=NETWORKS, scope="module")
def network(request):
    return NETWORKS[request.param]()


def data(network, batch=BATCH, steps=N):
    rng = np.random.default_rng(11)
    symbols = isinstance(network.inputs, Embedding)
    u = rng.integers(0, 5, (batch, steps)) if symbols else rng.standard_normal((batch, steps, network.inputs))
    x0 = [0.5 * rng.standard_normal((batch, cell.n)) for cell in network.cells]
    return u, x0, network.init(1) + 0.05 * rng.standard_normal(network.n_p)


def seeds_like(said, seed=5):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(z.shape) for name, z in said.items()}


def oracle(network, p, u, x0, length):
    """What the heads say of one path; p and x0 may be complex."""
    weights, starts = network.unpack(p), iter(x0)

    def part(prefix):
        return np.concatenate([w.ravel() for name, w in weights.items() if name.startswith(prefix)])

    def run(cell, p, inputs):
        x, states = next(starts), []
        for k, v in enumerate(inputs):
            x = cell.equation(k, x, v, p)
            states.append(x)
        return np.array(states)

    y = weights["embedding.table"][u[:length]] if isinstance(network.inputs, Embedding) else u[:length]
    for i, layer in enumerate(network.layers, 1):
        if isinstance(layer, Bidirectional):
            ahead = run(layer.ahead, part(f"layer{i}.ahead."), y)[:, : layer.ahead.outputs]
            # from the end of the path to its beginning; the state at k has seen the steps k … L-1
            back = run(layer.back, part(f"layer{i}.back."), y[::-1])[::-1, : layer.back.outputs]
            y, end = np.hstack([ahead, back]), np.concatenate([ahead[-1], back[0]])
        else:
            y = run(layer, part(f"layer{i}."), y)[:, : layer.outputs]
            end = y[-1]
    return {
        name: (end if isinstance(head, AtEnd) else y) @ weights[f"head.{name}.W"].T + weights[f"head.{name}.b"]
        for name, head in network.heads.items()
    }


def number(said, seeds, b, length):
    """Σ z · seeds over the heads for path b: the J whose gradient the seeds ask for."""
    return sum(np.sum(z * (seeds[name][b] if z.ndim == 1 else seeds[name][b, :length])) for name, z in said.items())


def test_what_it_says_is_the_definition(network):
    u, x0, p = data(network)
    run = network.unroll()
    for lengths in (None, LENGTHS):
        said = run.forward(p, u, x0, lengths)
        for b in range(BATCH):
            length = N if lengths is None else lengths[b]
            for name, z in oracle(network, p, u[b], [x[b] for x in x0], length).items():
                close(said[name][b] if z.ndim == 1 else said[name][b, :length], z)


def test_gradient_by_complex_step(network):
    u, x0, p = data(network)
    run = network.unroll()
    seeds = seeds_like(run.forward(p, u, x0, LENGTHS))
    g = run.backward(seeds)

    def J(p, x0):
        return sum(
            number(oracle(network, p, u[b], [x[b] for x in x0], length), seeds, b, length)
            for b, length in enumerate(LENGTHS)
        )

    close(g.p, np.array([J(p + 1e-30j * e, x0).imag / 1e-30 for e in np.eye(network.n_p)]))
    for i, start in enumerate(x0):
        for index in np.ndindex(start.shape):
            moved = [x.astype(complex) for x in x0]
            moved[i][index] += 1e-30j
            close(g.x0[i][index], J(p, moved).imag / 1e-30)


def test_dot_product_identity_and_gradient_of_the_inputs():
    """⟨seeds, dz⟩ = ⟨g_p, δp⟩ + ⟨g_u, δu⟩ + Σ ⟨g_x0, δx0⟩, dz along a direction by complex step."""
    network = Network(3, [Bidirectional(GRU(4, 3), LSTM(3, 3)), Elman(5, 7)], {"a": PerStep(2), "b": AtEnd(3)})
    u, x0, p = data(network)
    rng = np.random.default_rng(6)
    du, dp, dx0 = rng.standard_normal(u.shape), rng.standard_normal(p.shape), [rng.standard_normal(x.shape) for x in x0]
    run = network.unroll()
    seeds = seeds_like(run.forward(p, u, x0, LENGTHS))
    g = run.backward(seeds, want_u=True)
    left = 0.0
    for b, length in enumerate(LENGTHS):
        starts = [x[b] + 1e-30j * d[b] for x, d in zip(x0, dx0, strict=True)]
        said = oracle(network, p + 1e-30j * dp, u[b] + 1e-30j * du[b], starts, length)
        left += number(said, seeds, b, length).imag / 1e-30
        assert not g.u[b, length:].any()
    right = g.p @ dp + np.sum(g.u * du) + sum(np.sum(a * b) for a, b in zip(g.x0, dx0, strict=True))
    assert abs(left - right) < 1e-12 * max(1, abs(left))


def test_taylor(network):
    u, x0, p = data(network)
    run = network.unroll()
    seeds = seeds_like(run.forward(p, u, x0))
    g = run.backward(seeds).p.copy()
    report = adjoint.check_gradient(lambda q: sum(np.sum(seeds[k] * z) for k, z in run.forward(q, u, x0).items()), g, p)
    assert report.passed


def test_a_bidirectional_gradient_is_two_sweeps_in_opposite_directions():
    """The costate of the cell `back` obeys μ_k = A_kᵀ μ_{k-1} + q_k: its sweep goes from the beginning to the end."""
    ahead, back = Elman(4, 2), Elman(3, 2)
    network = Network(2, [Bidirectional(ahead, back)], {"a": PerStep(2)})
    u, _, p = data(network, batch=1)
    u, w = u[0], network.unpack(p)
    run = network.unroll()
    seeds = seeds_like(run.forward(p, u))
    g = network.unpack(run.backward(seeds).p)
    q = seeds["a"] @ w["head.a.W"]  # ∂J/∂y_k

    W, V, bias = w["layer1.ahead.W_ih"], w["layer1.ahead.W_hh"], w["layer1.ahead.b"]
    x, costate, expected = np.zeros((N + 1, 4)), np.zeros(4), 0
    for k in range(N):
        x[k + 1] = np.tanh(W @ u[k] + V @ x[k] + bias)
    for k in range(N - 1, -1, -1):  # backward in time
        delta = (costate + q[k, :4]) * (1 - x[k + 1] ** 2)
        expected = expected + np.outer(delta, x[k])
        costate = V.T @ delta
    close(g["layer1.ahead.W_hh"], expected)

    W, V, bias = w["layer1.back.W_ih"], w["layer1.back.W_hh"], w["layer1.back.b"]
    x, costate, expected = np.zeros((N + 1, 3)), np.zeros(3), 0
    for k in range(N - 1, -1, -1):
        x[k] = np.tanh(W @ u[k] + V @ x[k + 1] + bias)
    for k in range(N):  # forward in time
        delta = (costate + q[k, 4:]) * (1 - x[k] ** 2)
        expected = expected + np.outer(delta, x[k + 1])
        costate = V.T @ delta
    close(g["layer1.back.W_hh"], expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_lies_beyond_a_path_does_not_matter_bit_for_bit(network, dtype):
    u, x0, p = data(network)
    run, outcomes = network.unroll(dtype), []
    for filling in (0, 3, -7) if u.dtype.kind == "i" else (0.0, np.nan, 1e30):
        padded = u.copy()
        seeds = seeds_like(run.forward(p, u, x0, LENGTHS))
        for b, length in enumerate(LENGTHS):
            padded[b, length:] = filling
            for name, head in network.heads.items():
                if isinstance(head, PerStep):
                    seeds[name][b, length:] = filling
        said = run.forward(p, padded, x0, LENGTHS)
        inside = [z[b] if z.ndim == 2 else z[b, :length] for z in said.values() for b, length in enumerate(LENGTHS)]
        inside = [z.copy() for z in inside]
        g = run.backward(seeds, want_u=True)
        outcomes.append([*inside, *(state.copy() for state in g.x0), g.p.copy()])
    for other in outcomes[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(outcomes[0], other, strict=True))


def test_a_batch_is_a_loop_over_single_paths(network):
    u, x0, p = data(network)
    run, single = network.unroll(), network.unroll()
    said = {name: z.copy() for name, z in run.forward(p, u, x0, LENGTHS).items()}
    last = run.last
    seeds = seeds_like(said)
    g = run.backward(seeds, want_u=True)
    total = np.zeros(network.n_p)
    for b, length in enumerate(LENGTHS):
        own = single.forward(p, u[b, :length], [x[b] for x in x0])
        for name, z in own.items():
            assert z.ndim == (1 if isinstance(network.heads[name], AtEnd) else 2)
            close(z, said[name][b] if z.ndim == 1 else said[name][b, :length])
        for ours, theirs in zip(single.last, last, strict=True):
            close(ours[0], theirs[b])
        h = single.backward({name: seeds[name][b, : z.shape[0]] if z.ndim == 2 else seeds[name][b]
                             for name, z in own.items()}, want_u=True)  # fmt: skip
        total += h.p
        for ours, theirs in zip(h.x0, g.x0, strict=True):
            close(ours, theirs[b])
        assert (h.u is None) == (g.u is None) == isinstance(network.inputs, Embedding)
        if g.u is not None:
            close(h.u, g.u[b, :length])
    close(g.p, total)


def test_float32_is_float64_within_rounding(network):
    u, x0, p = data(network)
    results = []
    for dtype in (np.float64, np.float32):
        run = network.unroll(dtype)
        said = run.forward(p, u, x0, LENGTHS)
        assert all(z.dtype == dtype for z in said.values())
        results.append(run.backward(seeds_like(said)).p.copy())
    assert results[1].dtype == np.float32
    close(results[1], results[0], 1e-4)


def test_seeds_of_some_heads_only():
    network = NETWORKS["all"]()
    u, x0, p = data(network)
    run = network.unroll()
    said = run.forward(p, u, x0)
    seeds, total = seeds_like(said), np.zeros(network.n_p)
    whole = run.backward(seeds).p.copy()
    for name, seed in seeds.items():
        run.forward(p, u, x0)
        own = network.unpack(run.backward({name: seed}).p)
        assert all(np.any(own[f"head.{other}.W"]) == (other == name) for other in seeds)
        total += network.pack(own)
    close(total, whole)


def test_windows_are_pieces_with_the_state_carried_on():
    network = Network(3, [GRU(4, 3), LSTM(3, 4)], {"a": PerStep(2)})
    u, x0, p = data(network, steps=11)
    run, piece = network.unroll(), network.unroll()
    said = run.forward(p, u, x0)["a"].copy()
    seeds = seeds_like({"a": said})
    g = run.backward(seeds, window=4).p.copy()
    state, expected = x0, np.zeros(network.n_p)
    for first in range(0, 11, 4):
        part = slice(first, first + 4)
        close(piece.forward(p, u[:, part], state)["a"], said[:, part])
        expected += piece.backward({"a": seeds["a"][:, part]}).p
        state = piece.last
    close(g, expected)
    gradients = []
    for window, offsets in ((None, None), (11, None), (4, staggered(BATCH, 4))):
        run.forward(p, u, x0)
        gradients.append(run.backward(seeds, window=window, offsets=offsets).p.copy())
    close(gradients[1], gradients[0], 0)
    assert np.max(np.abs(gradients[0] - g)) > 1e-3 < np.max(np.abs(gradients[2] - g))


def test_windows_of_a_bidirectional_layer_are_those_of_its_cells():
    """Each cell counts the steps from where it begins: `back` from the end of the path."""
    ahead, back = GRU(4, 3), LSTM(3, 3)
    both = Network(3, [Bidirectional(ahead, back)], {"a": PerStep(7)})
    identity = {"head.a.W": np.eye(7), "head.a.b": np.zeros(7)}
    u, _, p = data(both, steps=11)
    p = both.pack(both.unpack(p) | identity)
    run = both.unroll()
    seeds = seeds_like(run.forward(p, u))["a"]
    options = dict(window=4, offsets=staggered(BATCH, 4))
    g = both.unpack(run.backward({"a": seeds}, **options).p)
    for cell, name, inputs, part in (
        (ahead, "ahead", u, seeds[..., :4]), (back, "back", u[:, ::-1], seeds[:, ::-1, 4:]),
    ):  # fmt: skip
        own = Unroll(cell)
        own.forward(np.concatenate([w.ravel() for key, w in both.unpack(p).items() if name in key]), inputs)
        dx = np.zeros((BATCH, 12, cell.outputs))
        dx[:, 1:] = part
        expected = cell.unpack(own.backward(dx, **options).p)
        for key, value in expected.items():
            close(g[f"layer1.{name}.{key}"], value, 1e-14)


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_turning_around_is_its_own_transpose_and_inverse(lengths, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 6, len(lengths), 2))
    inside = np.arange(6)[:, None, None] < np.array(lengths)[None, :, None]

    def R(x):
        return reverse(x, np.array(lengths), np.empty_like(x))

    assert np.array_equal(R(R(a)), a * inside)
    close(np.sum(R(a) * b), np.sum(a * R(b)), 1e-14)
    for path, length in enumerate(lengths):
        assert np.array_equal(R(a)[0, path], a[length - 1, path])
    assert np.array_equal(reverse(a, None, np.empty_like(a)), a[::-1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_second_call_allocates_next_to_nothing(dtype):
    network = Network(
        Embedding(20, 16), [Bidirectional(GRU(16, 16), LSTM(16, 16)), Dropout(0.3), Elman(32, 32)],
        {"steps": PerStep(4), "end": AtEnd(3)},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    u, p, run = rng.integers(0, 20, (8, 1600)), network.init().astype(dtype), network.unroll(dtype)
    lengths = rng.integers(1200, 1601, 8)
    states = 8 * 1600 * 64 * np.dtype(dtype).itemsize  # bytes of all outputs of the cells

    def peak(lengths):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        said = run.forward(p, u, lengths=lengths, dropout=4)
        seeds = {name: np.broadcast_to(np.ones(z.shape[1:], dtype), z.shape) for name, z in said.items()}
        run.backward(seeds)
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        first = peak(None)
        assert first > states  # the measurement sees the memory that is kept
        assert peak(None) < 0.03 * states
        peak(lengths)
        assert peak(lengths) < 0.06 * states  # a mask of one byte a step
    finally:
        tracemalloc.stop()


def test_dropout_is_its_definition():
    network = Network(3, [Dropout(0.4), GRU(50, 3), Dropout(0.25)], {"a": PerStep(50), "b": AtEnd(50)})
    u, _, p = data(network, batch=20, steps=30)
    identity = {f"head.{name}.{w}": np.eye(50) if w == "W" else np.zeros(50) for name in "ab" for w in "Wb"}
    p = network.pack(network.unpack(p) | identity)  # the heads say what comes out of the dropout
    plain = Network(3, [GRU(50, 3)], network.heads).unroll()
    run = network.unroll()
    quiet = {name: z.copy() for name, z in run.forward(p, u).items()}
    for name, z in plain.forward(p, u).items():
        assert np.array_equal(z, quiet[name])  # without a seed nothing is dropped
    only_top = Network(3, [GRU(50, 3), Dropout(0.25)], network.heads).unroll()
    for name, z in only_top.forward(p, u, dropout=1).items():
        kept = z != 0
        close(z[kept], quiet[name][kept] / 0.75)
        sigma = np.sqrt(0.25 * 0.75 / z.size)
        assert abs(kept.mean() - 0.75) < 5 * sigma
    said = [run.forward(p, u, dropout=seed)["a"].copy() for seed in (1, 1, 2)]
    assert np.array_equal(said[0], said[1]) and not np.array_equal(said[0], said[2])
    lengths = np.full(20, 30)
    lengths[3] = 12
    assert np.array_equal(run.forward(p, u, lengths=lengths, dropout=1)["a"][3, :12], said[0][3, :12])


def test_gradient_through_dropout():
    network = Network(3, [Dropout(0.3), GRU(4, 3), Dropout(0.5), Elman(5, 4), Dropout(0.2)],
                      {"a": PerStep(2), "b": AtEnd(2)})  # fmt: skip
    u, _, p = data(network)
    run = network.unroll()

    def J(p, u):
        return sum(np.sum(seeds[k] * z) for k, z in run.forward(p, u, lengths=LENGTHS, dropout=8).items())

    seeds = seeds_like(run.forward(p, u))
    for z, length in zip(seeds["a"], LENGTHS, strict=True):
        z[length:] = 0
    J(p, u)
    g = run.backward(seeds, want_u=True)
    gp, gu = g.p.copy(), g.u.copy()
    assert adjoint.check_gradient(lambda q: J(q, u), gp, p).passed
    assert adjoint.check_gradient(lambda v: J(p, v.reshape(u.shape)), gu.ravel(), u.ravel()).passed


def test_embedding_is_a_product_with_one_hot_vectors():
    """Exactly: a symbol that comes twice has the sum of both gradients."""
    by_table = Network(Embedding(5, 3), [GRU(4, 3)], {"a": PerStep(2)})
    by_product = Network(3, [GRU(4, 3)], {"a": PerStep(2)})
    u, _, p = data(by_table)
    table = by_table.unpack(p)["embedding.table"]
    run, other = by_table.unroll(), by_product.unroll()
    seeds = seeds_like(run.forward(p, u))
    g = by_table.unpack(run.backward(seeds).p)
    other.forward(p[15:], table[u])
    h = other.backward(seeds, want_u=True)
    close(g["embedding.table"], np.einsum("bki,bkj->ij", np.eye(5)[u], h.u))
    close(run.network.pack(g)[15:], h.p, 0)


def torch_network(torch, kind, bidirectional):
    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(6, 4)
            make = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind]
            self.layers = make(4, 5, num_layers=2, batch_first=True, bidirectional=bidirectional)
            width = 10 if bidirectional else 5
            self.steps, self.end = torch.nn.Linear(width, 3), torch.nn.Linear(width, 2)

        def forward(self, u, lengths):
            packed = torch.nn.utils.rnn.pack_padded_sequence(
                self.table(u), torch.tensor(lengths), batch_first=True, enforce_sorted=False)
            y, state = self.layers(packed)
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
            h = state[0] if kind == "lstm" else state
            end = torch.cat([h[-2], h[-1]], dim=1) if bidirectional else h[-1]
            return {"steps": self.steps(y), "end": self.end(end)}

    torch.manual_seed(0)
    return Theirs().double()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["elman", "gru", "lstm"])
def test_the_same_numbers_as_pytorch(kind, bidirectional):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch_network(torch, kind, bidirectional)
    cell = {"elman": Elman, "gru": GRU, "lstm": LSTM}[kind]
    layers = [Bidirectional(cell(5, m), cell(5, m)) if bidirectional else cell(5, m)
              for m in (4, 10 if bidirectional else 5)]  # fmt: skip
    network = Network(Embedding(6, 4), layers, {"steps": PerStep(3), "end": AtEnd(2)})

    def by_name(of):
        """The weights, or what `of` takes from them, under our names."""
        def parts(suffix):
            take = {name: of(getattr(theirs.layers, f"{name}_{suffix}").detach() if of is values
                             else getattr(theirs.layers, f"{name}_{suffix}"))
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}  # fmt: skip
            own = {"W_ih": take["weight_ih"], "W_hh": take["weight_hh"], "b": take["bias_ih"]}
            if kind == "gru":
                own["b_hn"] = take["bias_hh"][10:]
            return own

        named = {"embedding.table": of(theirs.table.weight)}
        for i in range(2):
            if bidirectional:
                for side, suffix in (("ahead", f"l{i}"), ("back", f"l{i}_reverse")):
                    named |= {f"layer{i + 1}.{side}.{name}": w for name, w in parts(suffix).items()}
            else:
                named |= {f"layer{i + 1}.{name}": w for name, w in parts(f"l{i}").items()}
        for name in ("steps", "end"):
            head = getattr(theirs, name)
            named |= {f"head.{name}.W": of(head.weight), f"head.{name}.b": of(head.bias)}
        return named

    def values(w):
        return w.detach().numpy()

    with torch.no_grad():  # our cells have one bias where PyTorch has the sum of two
        for name, bias in theirs.layers.named_parameters():
            if name.startswith("bias_hh"):
                keep = bias[10:].clone() if kind == "gru" else None
                bias.zero_()
                if keep is not None:
                    bias[10:] = keep
    p = network.pack(by_name(values))
    rng = np.random.default_rng(3)
    u = rng.integers(0, 6, (BATCH, N))
    said = theirs(torch.tensor(u), LENGTHS)
    run = network.unroll()
    ours = run.forward(p, u, lengths=LENGTHS)
    seeds = seeds_like(ours)
    total = 0
    for b, length in enumerate(LENGTHS):
        close(ours["steps"][b, :length], said["steps"][b, :length].detach().numpy())
        total = total + (said["steps"][b, :length] * torch.tensor(seeds["steps"][b, :length])).sum()
    close(ours["end"], said["end"].detach().numpy())
    (total + (said["end"] * torch.tensor(seeds["end"])).sum()).backward()
    close(run.backward(seeds).p, network.pack(by_name(lambda w: w.grad.numpy())))


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS"])  # BFGS compares a gradient with the one before
def test_scipy_minimises_what_train_is_given(method):
    network = Network(2, [Bidirectional(Elman(3, 2), Elman(3, 2))], {"a": AtEnd(2)})
    rng = np.random.default_rng(0)
    u, run = rng.standard_normal((40, 5, 2)), network.unroll()
    y = (u[:, 0, 0] > u[:, -1, 1]).astype(int)

    def loss(p, index=slice(None)):
        J, d = softmax_cross_entropy(run.forward(p, u[index])["a"], y[index])
        return J, run.backward({"a": d}).p

    p = network.init(0)
    assert minimize(loss, p, jac=True, method=method, options={"maxiter": 60}).fun < 0.05
    assert loss(train(loss, p, 40, optimiser=Adam(0.05), epochs=60, batch=20).p)[0] < 0.05


def test_sequences_are_padded():
    u, lengths = pad([np.ones((2, 3)), np.full((4, 3), 2.0), np.full((1, 3), 3.0)])
    assert lengths.tolist() == [2, 4, 1] and u.shape == (3, 4, 3)
    assert u[:, :, 0].tolist() == [[1, 1, 0, 0], [2, 2, 2, 2], [3, 0, 0, 0]]
    symbols, lengths = pad([[1, 2], [3]])
    assert symbols.tolist() == [[1, 2], [3, 0]] and symbols.dtype.kind == "i"
    labels, _ = pad([[1, 2], [3]], filling=-1)
    assert labels.tolist() == [[1, 2], [3, -1]]
    for bad, sentence in (
        ([], "no sequence"),
        ([[1], []], r"sequences\[1\] is empty"),
        ([np.ones((2, 3)), np.ones((2, 4))], r"sequences\[1\] has steps of shape \(4,\)"),
    ):
        with pytest.raises(InputError, match=sentence):
            pad(bad)


def test_weights_by_name(network):
    p = network.init(3)
    assert np.array_equal(network.pack(network.unpack(p)), p) and np.array_equal(p, network.init(3))
    assert not np.array_equal(p, network.init(4)) and len(p) == network.n_p
    with pytest.raises(InputError, match="the network has"):
        network.unpack(p[1:])
    assert str(network.n_p) in repr(network)


GOOD = dict(inputs=3, layers=[GRU(4, 3)], heads={"a": AtEnd(2)})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(inputs=0), "inputs is 0"),
        (dict(inputs=2), r"layers\[0\].*'GRU' has 3 inputs.*2 numbers"),
        (dict(layers=[GRU(4, 3), LSTM(4, 5)]), r"layers\[1\].*has 5 inputs.*4 numbers"),
        (dict(layers=[]), "no layer has a cell"),
        (dict(layers=[Dropout(0.5)]), "no layer has a cell"),
        (dict(layers=["GRU"]), "'GRU' is no layer"),
        (dict(heads={}), "heads is empty"),
        (dict(heads={"a": 3}), "head 'a' is 3"),
    ],
)
def test_networks_that_do_not_fit_together(change, sentence):
    with pytest.raises(InputError, match=sentence):
        Network(**(GOOD | change))


def test_parts_that_are_no_parts():
    for make, sentence in (
        (lambda: Bidirectional(GRU(4, 3), GRU(4, 2)), "ahead has 3 inputs and back 2"),
        (lambda: Dropout(1.0), "rate is 1.0"),
        (lambda: Dropout(-0.1), "rate is -0.1"),
        (lambda: Embedding(0, 3), "count is 0"),
        (lambda: Embedding(3, 1.5), "width is 1.5"),
        (lambda: AtEnd(0), "outputs is 0"),
        (lambda: PerStep(True), "outputs is True"),
        (lambda: Network(**GOOD).unroll(np.int32), "dtype is int32"),
    ):
        with pytest.raises(InputError, match=sentence):
            make()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(u=np.zeros((3, 5, 4))), "u has shape"),
        (dict(u=np.zeros(5)), "u has shape"),
        (dict(u=np.zeros((0, 5, 3))), "at least one path"),
        (dict(u=np.zeros((3, 0, 3))), "at least one step"),
        (dict(u=np.full((3, 5, 3), np.nan)), r"u has nan at index \(0, 0, 0\)"),
        (dict(u=np.array([["a"]])), "no array of real numbers"),
        (dict(p=np.zeros(3)), "p has shape"),
        (dict(p=np.zeros(GRU(4, 3).n_p + 10, complex)), "p is no array of real numbers"),
        (dict(p="last of the head"), r"p has nan in head.a.W at index \(1, 3\)"),
        (dict(x0=[None, None]), "x0 has 2 entries; the network has 1 cells"),
        (dict(x0=[np.zeros(3)]), r"x0\[0\] has shape \(3,\)"),
        (dict(x0=[np.full(4, np.inf)]), "x0 has inf"),
        (dict(lengths=[1, 2]), "lengths have shape"),
        (dict(lengths=[1, 6, 3]), r"lengths\[1\] is 6"),
        (dict(dropout=-1), "dropout is -1"),
    ],
)
def test_bad_input_to_forward(change, sentence):
    network = Network(**GOOD)
    p = network.init()
    if isinstance(change.get("p"), str):
        p[-3] = np.nan
        change = {}
    with pytest.raises(InputError, match=sentence):
        network.unroll().forward(**(dict(p=p, u=np.zeros((3, 5, 3))) | change))


def test_bad_symbols():
    network = NETWORKS["all"]()
    run, u = network.unroll(), np.zeros((2, 4), int)
    for bad in (5, -1):
        wrong = u.copy()
        wrong[1, 2] = bad
        with pytest.raises(InputError, match=rf"u\[1, 2\] is {bad}; expected 0 to 4"):
            run.forward(network.init(), wrong)
        run.forward(network.init(), wrong, lengths=[4, 2])  # beyond the end: not looked at
    with pytest.raises(InputError, match="whole numbers"):
        run.forward(network.init(), np.zeros((2, 4)))


def test_bad_input_to_backward():
    network = Network(3, [GRU(4, 3)], {"a": AtEnd(2), "b": PerStep(2)})
    run = network.unroll()
    for what in (lambda: run.backward({"a": np.zeros((3, 2))}), lambda: run.last):
        with pytest.raises(InputError, match="call `forward` first"):
            what()
    for seeds, sentence in (
        ({}, "the heads are"),
        ({"c": 1}, r"seeds are given for \['c'\]; the heads are \['a', 'b'\]"),
        ({"a": np.zeros((3, 3))}, r"seed 'a' has shape \(3, 3\); expected \(3, 2\)"),
        ({"b": np.zeros((3, 2))}, r"seed 'b' has shape \(3, 2\); expected \(3, 5, 2\)"),
        ({"b": np.zeros((5, 3, 2))}, r"seed 'b' has shape \(5, 3, 2\); expected \(3, 5, 2\)"),
    ):
        run.forward(network.init(), np.zeros((3, 5, 3)))
        with pytest.raises(InputError, match=sentence):
            run.backward(seeds)
    run.backward({"a": np.zeros((3, 2))})
    with pytest.raises(InputError, match="call `forward` first"):
        run.backward({"a": np.zeros((3, 2))})


def test_states_that_explode():
    network = Network(2, [Elman(3, 2, "relu")], {"a": AtEnd(1)})
    p = network.pack(network.unpack(network.init()) | {"layer1.W_hh": 1e30 * np.eye(3)})
    with pytest.raises(AdjointError, match="became inf at step"):
        network.unroll().forward(p, np.ones((2, 20, 2)), [np.ones(3)])


def test_the_masks_of_dropout_are_the_same_in_both_types():
    network = Network(3, [GRU(8, 3), Dropout(0.4), GRU(8, 8)], {"a": AtEnd(2)})
    u = np.random.default_rng(0).normal(size=(5, 7, 3))
    said = [network.unroll(dtype).forward(network.init(0), u, dropout=7)["a"] for dtype in (np.float64, np.float32)]
    np.testing.assert_allclose(said[0], said[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("sequences", "filling"),
    [([[1, 2], [1]], np.nan), ([[1, 2], [1]], 0.5), ([[True, False], [True]], -1),
     ([np.array([1, 2], np.uint8), np.array([1], np.uint8)], -1)],
)  # fmt: skip
def test_a_filling_that_the_sequences_cannot_hold_is_refused(sequences, filling):
    with pytest.raises(InputError, match="no number of type"):
        pad(sequences, filling)


def test_a_seed_that_is_not_finite_is_named():
    network = Network(3, [GRU(4, 3)], {"t": PerStep(3), "e": AtEnd(2)})
    run = network.unroll()
    said = run.forward(network.init(0), np.ones((2, 5, 3)))
    seeds = {name: np.zeros(z.shape) for name, z in said.items()}
    seeds["t"][1, 4, 2] = np.nan
    with pytest.raises(InputError, match=r"seed 't' has nan at index \(1, 4, 2\)"):
        run.backward(seeds)


def test_what_is_no_list_of_layers_and_no_dict_of_heads_is_refused():
    wrong = ((3, GRU(4, 3), {"a": AtEnd(2)}), "layers is"), ((3, [GRU(4, 3)], [AtEnd(2)]), "heads is")
    for arguments, sentence in wrong:
        with pytest.raises(InputError, match=sentence):
            Network(*arguments)
    run = Network(3, [GRU(4, 3)], {"a": AtEnd(2)}).unroll()
    run.forward(run.network.init(0), np.ones((2, 5, 3)))
    with pytest.raises(InputError, match="expected a dict from heads"):
        run.backward([np.ones((2, 2))])
