"""`Unroll`: the sweep in kept memory gives what `rollout` and `sweep` give; lengths, windows, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from test_cells import CELLS, close, data

import adjoint
from adjoint.errors import AdjointError, InputError
from adjoint.recurrent.unroll import Unroll

DTYPES = [np.float64, np.float32]


@pytest.fixture(params=CELLS, scope="module")
def cell(request):
    return CELLS[request.param]()


def test_it_is_rollout_and_sweep(cell):
    x0, u, p = data(cell)
    path = adjoint.rollout(cell.system, x0, u, p=p)
    dx = np.random.default_rng(1).standard_normal(path.x.shape)
    expected = adjoint.sweep(path, dx=dx)
    run = Unroll(cell)
    for _ in range(2):  # the second time in used memory
        close(run.forward(p, u, x0), path.x, 1e-13)
        g = run.backward(dx)
        close(g.x0, expected.x0)
        close(g.u, expected.u)
        close(g.p, expected.p)


def test_float32_is_float64_within_rounding(cell):
    x0, u, p = data(cell, steps=30)
    results = []
    for dtype in DTYPES:
        run = Unroll(cell, dtype)
        x = run.forward(p, u, x0).copy()
        results.append((x, *(a.copy() for a in run.backward(np.ones_like(x)))))
    assert results[1][0].dtype == np.float32 and results[1][3].dtype == np.float32
    for a, b in zip(*results, strict=True):
        close(b, a, 2e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_lies_beyond_a_path_does_not_matter_bit_for_bit(cell, dtype):
    x0, u, p = data(cell, steps=200)
    lengths = np.array([200, 7, 131])
    rng = np.random.default_rng(2)
    dx = rng.standard_normal((3, 201, cell.n))
    outcomes = []
    for filling in (0.0, np.nan, 1e30):
        padded, seeds = np.full((3, 260, cell.m), filling), np.full((3, 261, cell.n), filling)
        for b, length in enumerate(lengths):
            padded[b, :length], seeds[b, : length + 1] = u[b, :length], dx[b, : length + 1]
        run = Unroll(cell, dtype)
        x = run.forward(p, padded, x0, lengths)
        states = [x[b, : length + 1].copy() for b, length in enumerate(lengths)]
        g = run.backward(seeds, dlast=np.ones((3, 1)))
        assert all(not g.u[b, length:].any() for b, length in enumerate(lengths))
        outcomes.append((*states, run._x[0, lengths, np.arange(3)].copy(), g.x0.copy(), g.p.copy(), g.u.copy()))
    for other in outcomes[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(outcomes[0], other, strict=True))
    total = np.zeros(cell.n_p)
    for b, length in enumerate(lengths):  # and it is what each path gives by itself
        run = Unroll(cell, dtype)
        run.forward(p, u[b, :length], x0[b])
        total += run.backward(dx[b, : length + 1], dlast=np.ones(1)).p
    close(outcomes[0][-2], total, 1e-12 if dtype == np.float64 else 1e-4)


def test_seeds_of_the_last_knot_and_of_a_part_of_the_state(cell):
    x0, u, p = data(cell, steps=20)
    run = Unroll(cell)
    w = max(1, cell.n - 2)
    ends = np.random.default_rng(3).standard_normal((3, w))
    full = np.zeros((3, 21, cell.n))
    full[:, -1, :w] = ends
    results = []
    for dx, dlast in ((full, None), (None, ends), (full / 2, ends / 2)):
        run.forward(p, u, x0)
        results.append(run.backward(dx, dlast).p.copy())
    run.forward(p, u, x0)
    q = run.seed(w)
    q[:, -1] = ends
    results.append(run.backward(q).p.copy())
    for other in results[1:]:
        close(other, results[0], 1e-14)


def test_windows_cut_the_flow_of_the_gradient(cell):
    x0, u, p = data(cell, steps=23)
    dx = np.random.default_rng(4).standard_normal((3, 24, cell.n))
    offsets = np.array([0, 2, 4])
    run = Unroll(cell)
    x = run.forward(p, u, x0).copy()
    g = run.backward(dx, window=5, offsets=offsets).p.copy()
    expected = np.zeros(cell.n_p)
    for b in range(3):  # each window by itself, from the state that was there
        cuts = [0, *range(offsets[b] or 5, 23, 5), 23]
        for first, last in itertools.pairwise(cuts):
            piece = Unroll(cell)
            piece.forward(p, u[b, first:last], x[b, first])
            seeds = dx[b, first : last + 1].copy()
            seeds[0] = 0
            expected += piece.backward(seeds).p
    close(g, expected)
    run.forward(p, u, x0)
    whole = run.backward(dx).p.copy()
    run.forward(p, u, x0)
    close(run.backward(dx, window=23).p, whole, 0)
    assert np.max(np.abs(g - whole)) > 1e-3


def test_memory_is_kept():
    cell = CELLS["elman"]()
    x0, u, p = data(cell)
    run = Unroll(cell)
    first = run.forward(p, u, x0)
    again = run.forward(p, u[:2, :50])
    assert np.shares_memory(first, again)
    lined = np.ascontiguousarray(u.transpose(1, 0, 2)).transpose(1, 0, 2)
    run.forward(p, lined)
    assert np.shares_memory(run._u, lined)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(u=np.zeros((3, 5, 4))), "u has shape"),
        (dict(u=np.zeros((0, 5, 3))), "at least one path"),
        (dict(u=np.zeros((3, 0, 3))), "at least one path of at least one step"),
        (dict(u=np.full((3, 5, 3), np.nan)), r"u has nan at index \(0, 0, 0\)"),
        (dict(u=np.zeros((3, 5, 3), complex)), "u is no array of real|u has"),
        (dict(p=np.zeros(3)), "p has shape"),
        (dict(p=np.full(45, np.inf)), "p has inf at index"),
        (dict(x0=np.zeros(4)), "x0 has shape"),
        (dict(x0=np.array([1, 2, np.nan, 4, 5.0])), "x0 has nan"),
        (dict(lengths=[1, 2]), "lengths have shape"),
        (dict(lengths=[1, 2.5, 3]), "whole numbers"),
        (dict(lengths=[1, 6, 3]), r"lengths\[1\] is 6; expected 1 to 5"),
        (dict(lengths=[0, 1, 3]), r"lengths\[0\] is 0"),
    ],
)
def test_bad_input_to_forward(change, sentence):
    arguments = dict(p=np.zeros(45), u=np.zeros((3, 5, 3)), x0=None, lengths=None) | change
    with pytest.raises(InputError, match=sentence):
        Unroll(CELLS["elman"]()).forward(**arguments)


def test_bad_input_to_backward():
    cell = CELLS["elman"]()
    run = Unroll(cell)
    with pytest.raises(InputError, match="call `forward` first"):
        run.backward(dlast=np.zeros((3, 5)))
    with pytest.raises(InputError, match="call `forward` first"):
        run.seed()
    run.forward(cell.init(), np.zeros((3, 5, 3)))
    for arguments, sentence in (
        ({}, "neither dx nor dlast"),
        (dict(dx=np.zeros((3, 5, 5))), "dx has shape"),
        (dict(dlast=np.zeros((2, 5))), "dlast has shape"),
        (dict(dlast=np.zeros((3, 6))), "dlast has shape"),
        (dict(dlast=np.zeros((3, 5)), window=0), "window is 0"),
        (dict(dlast=np.zeros((3, 5)), offsets=[1, 2, 3]), "pass window="),
        (dict(dlast=np.zeros((3, 5)), window=2, offsets=[1, 2]), "offsets have shape"),
    ):
        with pytest.raises(InputError, match=sentence):
            run.backward(**arguments)
    with pytest.raises(InputError, match="dtype"):
        Unroll(cell, np.int32)


def test_states_that_explode():
    cell = CELLS["elman-relu"]()
    p = cell.pack(cell.unpack(cell.init()) | {"W_hh": 1e30 * np.eye(5)})
    with pytest.raises(AdjointError, match="became inf at step"):
        Unroll(cell).forward(p, np.ones((2, 20, 3)), np.ones(5))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_seeds_that_are_not_finite_are_refused(bad):
    run = Unroll(adjoint.recurrent.GRU(3, 2))
    run.forward(run.cell.init(0), np.ones((2, 5, 2)))
    seeds = np.zeros((2, 6, 3))
    seeds[1, 4, 2] = bad
    with pytest.raises(InputError, match=r"dx has (nan|inf) at index \(1, 4, 2\)"):
        run.backward(dx=seeds)
    run.forward(run.cell.init(0), np.ones((2, 5, 2)))
    with pytest.raises(InputError, match=r"dlast has (nan|inf) at index \(0, 1\)"):
        run.backward(dlast=[[0, bad, 0], [0, 0, 0]])


def test_what_a_run_hands_out_cannot_spoil_its_gradient():
    run = Unroll(adjoint.recurrent.GRU(4, 2))
    p, u = run.cell.init(0), np.random.default_rng(0).normal(size=(3, 9, 2))
    h = run.forward(p, u)
    with pytest.raises(ValueError, match="read-only"):
        h -= 1
    first = run.backward(dx=h - 1).p
    kept = first.copy()
    run.forward(2 * p, u)
    run.backward(dx=h - 1)
    assert np.array_equal(first, kept)  # an array of its own
    run.forward(p, u)
    with pytest.raises(InputError):
        run.forward(p[:-1], u)
    with pytest.raises(InputError, match="call `forward` first"):
        run.backward(dx=h)


def test_a_gradient_that_becomes_infinite_is_an_error():
    stack = adjoint.recurrent.Stack(3, 2, 3.0)
    u = np.zeros((1, 600, 5))
    u[:, 0], u[:, 1:, 2] = [1, 0, 0, 1e-300, 1e-300], 1
    run = Unroll(stack)
    run.forward(stack.init(), u)
    with pytest.raises(AdjointError, match="became infinite on the way back, over 600 steps"):
        run.backward(dlast=np.full((1, 6), 1e30))
