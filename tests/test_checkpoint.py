"""Checkpointed gradients: the bits of the stored sweep, the least work, the promised memory."""

from __future__ import annotations

import functools
import io
import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint
from adjoint import recurrent
from adjoint.errors import AdjointError, InputError
from adjoint.native import lane_width
from adjoint.ode.checkpoint import checkpointed
from adjoint.ode.running import with_running
from adjoint.ode.schedule import Advance, Schedule, in_bytes, plan
from adjoint.progress import bar

# ---- the schedule --------------------------------------------------------------------------------


def carry_out(schedule: Schedule) -> int:
    """Do what the schedule says with knots for states; returns the steps that were advanced over."""
    held, steps, reversed_to = {0: 0}, 0, schedule.N
    for action in schedule.actions():
        assert held[action.source] == action.first < action.last
        if isinstance(action, Advance):
            assert action.target < schedule.places
            held[action.target] = action.last
            steps += action.last - action.first
        else:
            assert action.last == reversed_to and action.last - action.first <= schedule.segment
            reversed_to = action.first
    assert reversed_to == 0
    return steps


@functools.cache
def least(segments: int, places: int) -> int:
    """Bellman's recursion: advance over m, reverse the rest with one place less, then the m with all places."""
    if segments == 1:
        return 0
    if places == 1:
        return segments * (segments - 1) // 2
    return min(m + least(segments - m, places - 1) + least(m, places) for m in range(1, segments))


@given(st.integers(1, 60), st.integers(1, 12))
def test_the_schedule_advances_no_more_than_dynamic_programming(segments, places):
    schedule = Schedule(segments, 1, places)
    assert carry_out(schedule) == least(segments, places)
    assert schedule.forward == 1 + least(segments, places) / segments


def test_the_schedule_of_revolve():
    # Forward steps of the package checkpoint-schedules 1.0.4, Revolve(100, 5) and Revolve(1000, 10).
    assert [carry_out(Schedule(N, 1, c)) + N for N, c in ((100, 5), (1000, 10))] == [416, 4636]


@given(st.integers(1, 10**9), st.integers(1, 10**4), st.integers(0, 10**4), st.integers(10, 33), st.integers(1, 600))
def test_a_plan_fits_and_refuses_only_what_cannot(N, knot, more, exponent, grain):
    memory, step = 2**exponent, knot + more
    if memory < 3 * knot + min(grain, N) * step:
        with pytest.raises(InputError, match="Give at least that"):
            plan(N, knot, step, memory, grain=grain)
        return
    schedule = plan(N, knot, step, memory, grain=grain)
    assert schedule.segment * step + (schedule.places + 2) * knot <= memory
    assert schedule.segment % grain == 0 or schedule.segment == N
    assert schedule.forward >= 1


def test_a_quadratic_root_of_memory_gives_two_runs():
    for N in (10**4, 10**6, 10**8):
        assert plan(N, 16, 40, 16 * 2 * int((N * 16 * 40) ** 0.5)).forward < 2


def test_sizes():
    assert [in_bytes(s) for s in ("64 MB", "1.5GB", "2 KiB", "7", " 3 kb ", 12, 1e3)] == [
        64_000_000, 1_500_000_000, 2048, 7, 3000, 12, 1000]
    for wrong in ("", "many", "-1 MB", "1 XB", 0, -5, float("nan"), float("inf"), None, True):
        with pytest.raises(InputError, match="memory is"):
            in_bytes(wrong)


# ---- the same bits -------------------------------------------------------------------------------


def lotka_volterra(t, x, u, p):
    return [p[0] * x[0] - p[1] * x[0] * x[1], p[3] * x[0] * x[1] - p[2] * x[1]]


def pushed(t, x, u, p):
    return [x[1] + u[1] * np.cos(t), p[0] * (1 - x[0] ** 2) * x[1] - x[0] + u[0]]


def map_of_henon(t, x, u, p):
    return [1 - p[0] * x[0] ** 2 + x[1] + 0.01 * u[0], p[1] * x[0]]


PREY = adjoint.System(lotka_volterra, "prey predator", parameters="a b c d")
PUSHED = adjoint.System(pushed, "x v", controls="u w", parameters="mu")
HENON = adjoint.System(map_of_henon, "x y", controls="u", parameters="a b", discrete=True)
RATES = np.array([1.5, 1.0, 3.0, 1.0])


def running(t, x, u, p):
    return x[0] ** 2 + t * x[1] * p[0]


def terminal(t, x, p):
    return x[0] * x[1] + p[0] * t


def stored(system, x0, u, t, p, method=adjoint.RK4, seeds=None):
    """The same J by `rollout` and `sweep`, all states kept."""
    with_cost = with_running(system, running)
    start = np.concatenate([x0, np.zeros((*np.shape(x0)[:-1], 1))], axis=-1)
    path = adjoint.rollout(with_cost, start, u, t, p, method)
    x, n = path.x[..., -1, :], system.n
    dx, dp = np.zeros(path.x.shape), np.zeros(path.p.shape)
    dx[..., -1, 0], dx[..., -1, 1], dx[..., -1, n] = x[..., 1], x[..., 0], 1
    explicit = path.t[-1]
    dp[..., 0] = explicit if path.p.ndim == 2 else np.full((path.batch or 1, 1), explicit).sum(axis=0)[0]
    if seeds is not None:
        dx[..., :n] += seeds
    g = adjoint.sweep(path, dx=dx, dp=dp)
    return path, x[..., 0] * x[..., 1] + path.p[..., 0] * path.t[-1] + x[..., n], g


BUDGETS = st.sampled_from(["32 kB", "50 kB", "100 kB", "1 MB", "1 GB"])


@settings(max_examples=25)
@given(st.integers(1, 3000), BUDGETS, st.sampled_from([adjoint.RK4, adjoint.EULER, adjoint.DOPRI5, adjoint.gauss(2)]))
def test_the_bits_of_an_ode(N, memory, method):
    path, value, g = stored(PREY, [1.0, 1.2], None, np.linspace(0.3, 2.0, N + 1), RATES, method)
    c = checkpointed(PREY, [1.0, 1.2], t=(0.3, 2.0, N), p=RATES, memory=memory, method=method, running=running,
                     terminal=terminal)
    assert c.value == value
    for got, kept in ((c.x0, g.x0[:2]), (c.p, g.p), (c.end, path.x[-1, :2])):
        np.testing.assert_array_equal(got, kept)
    assert c.u is None or c.u.size == 0


@settings(max_examples=20)
@given(st.integers(1, 500), BUDGETS, st.sampled_from([1, 3, 11]), st.booleans())
def test_the_bits_of_a_batch_with_controls_and_seeds(N, memory, batch, own_p):
    rng = np.random.default_rng(N)
    x0, u, t = rng.standard_normal((batch, 2)), rng.standard_normal((N, 2)), np.cumsum(rng.uniform(1e-4, 1e-2, N + 1))
    p = rng.uniform(0.5, 1.5, (batch, 1)) if own_p else np.array([0.7])
    seeds = rng.standard_normal((batch, N + 1, 2))
    path, value, g = stored(PUSHED, x0, u, t, p, seeds=seeds)
    seen = []

    def dx(first, x):
        seen.append((first, x.shape[1]))
        np.testing.assert_array_equal(x, path.x[:, first : first + x.shape[1], :2])
        return seeds[:, first : first + x.shape[1]]

    c = checkpointed(PUSHED, x0, u, t, p, memory=memory, running=running, terminal=terminal, dx=dx)
    assert seen[-1][0] == 0 and sum(K for _, K in seen) == N + 1
    for got, kept in ((c.value, value), (c.x0, g.x0[:, :2]), (c.u, g.u)):
        np.testing.assert_array_equal(got, kept)
    if own_p or batch <= lane_width():
        np.testing.assert_array_equal(c.p, g.p)
    else:  # the sum over paths is taken segment by segment, there block by block
        np.testing.assert_allclose(c.p, g.p, rtol=1e-12, atol=1e-14)


@settings(max_examples=20)
@given(st.integers(1, 3000), BUDGETS)
@pytest.mark.filterwarnings("ignore::adjoint.errors.StabilityWarning")  # chaotic: the bits agree all the same
def test_the_bits_of_a_map_whose_controls_are_made_on_the_way(N, memory):
    def u(first, last):
        return np.sin(np.arange(first, last))[:, None]

    _, value, g = stored(HENON, [0.1, 0.1], u(0, N), None, [1.2, 0.3])
    gradient = np.full((N, 1), np.nan)

    def du(first, piece):
        gradient[first : first + len(piece)] = piece

    c = checkpointed(HENON, [0.1, 0.1], u, p=[1.2, 0.3], steps=N, memory=memory, running=running, terminal=terminal,
                     du=du)
    assert c.value == value and c.u is None
    for got, kept in ((c.x0, g.x0[:2]), (c.p, g.p), (gradient, g.u)):
        np.testing.assert_array_equal(got, kept)


def test_a_constant_control_gets_the_sum():
    t = np.linspace(0, 3, 1001)
    _, _, g = stored(PUSHED, [1.0, 0.0], [0.3, -0.2], t, [0.5])
    c = checkpointed(PUSHED, [1.0, 0.0], [0.3, -0.2], (0, 3, 1000), [0.5], memory="40 kB", running=running,
                     terminal=terminal)
    np.testing.assert_allclose(c.u, g.u.sum(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(c.p, g.p)


CELLS = {
    "LSTM": lambda: recurrent.LSTM(5, 2), "GRU": lambda: recurrent.GRU(5, 2),
    "Elman": lambda: recurrent.Elman(5, 2), "LowRank": lambda: recurrent.LowRank(6, 2, rank=2),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("batch", [None, 1, 3, 700])
def test_the_bits_of_a_recurrent_cell(name, batch):
    cell = CELLS[name]()
    rng = np.random.default_rng(0)
    N = 1800 if batch != 700 else 30
    x0, p = rng.standard_normal((*(() if batch is None else (batch,)), cell.n)), cell.init(seed=1)[: cell.n_p]
    u = rng.standard_normal((N, 2))
    path = adjoint.rollout(cell.system, x0, u, p=p)
    seeds = rng.standard_normal(path.x.shape)
    g = adjoint.sweep(path, dx=seeds)
    for memory in itertools.accumulate(itertools.repeat(1.2), lambda a, b: a * b, initial=1e5):
        try:
            c = checkpointed(cell.system, x0, u, p=p, memory=memory,
                             dx=lambda first, x: seeds[..., first : first + x.shape[-2], :])
            break
        except InputError:  # less than one chunk of steps
            continue
    assert c.schedule.segments > 1 and c.schedule.forward > 1
    for got, kept in ((c.x0, g.x0), (c.p, g.p), (c.u, g.u), (c.end, path.x[..., -1, :])):
        np.testing.assert_array_equal(got, kept)


# ---- the memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", ["60 kB", "100 kB", "1 MB"])
@pytest.mark.parametrize("batch", [None, 3, 40])
@pytest.mark.parametrize("seeded", [False, True])
def test_no_more_than_the_budget_is_taken(memory, batch, seeded):
    x0 = np.ones(2) if batch is None else np.ones((batch, 2))

    def run():
        return checkpointed(PUSHED, x0, [0.1, 0.2], (0, 1, 3000), [0.3], memory=memory, terminal=terminal,
                            dx=(lambda first, x: np.zeros(x.shape)) if seeded else None)

    if batch == 40:
        memory = {"60 kB": "200 kB"}.get(memory, memory)
    run()  # compiled
    tracemalloc.start()
    try:
        run()
        assert tracemalloc.get_traced_memory()[1] <= in_bytes(memory)
    finally:
        tracemalloc.stop()


def test_nothing_is_as_long_as_the_run():
    tracemalloc.start()
    try:
        checkpointed(PREY, [1.0, 1.0], t=(0, 50, 1_000_000), p=RATES, memory="300 kB", terminal=terminal)
        assert tracemalloc.get_traced_memory()[1] <= 300_000
    finally:
        tracemalloc.stop()


# ---- progress, interruption, bad input -----------------------------------------------------------


def test_progress_counts_to_the_end():
    seen = []
    checkpointed(PREY, [1.0, 1.0], t=(0, 1, 5000), p=RATES, memory="40 kB", terminal=terminal,
                 progress=lambda done, N: seen.append((done, N)))
    assert seen[-1] == (5000, 5000) and len(seen) > 3
    assert all(a < b for (a, _), (b, _) in itertools.pairwise(seen))


def test_the_bar_of_a_pipe_has_a_line_for_every_tenth():
    stream = io.StringIO()
    with bar("sweep", stream) as show:
        checkpointed(PREY, [1.0, 1.0], t=(0, 1, 50_000), p=RATES, memory="40 kB", terminal=terminal, progress=show)
    assert stream.getvalue().splitlines() == [f"sweep: {i}0 % of 50000" for i in range(1, 11)]


def test_the_bar_of_a_terminal_is_taken_away_again():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with bar("sweep", stream) as show:
        show(1, 2)
        show(2, 2)
    assert "sweep" in stream.getvalue()


def test_an_interruption_comes_between_two_segments():
    def stop(done, N):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpointed(PREY, [1.0, 1.0], t=(0, 1, 5000), p=RATES, memory="40 kB", terminal=terminal, progress=stop)


def test_an_overflow_names_the_state_the_step_and_the_path():
    blow = adjoint.System(lambda t, x, u, p: [x[1], x[0] ** 2], "calm wild")
    with pytest.raises(AdjointError, match=r"(calm|wild) became inf at step \d{4,} .* of path 1 of system"):
        checkpointed(blow, [[0.0, 0.0], [1.0, 1.0]], t=(0, 9, 60_000), memory="60 kB", terminal=lambda t, x, p: x[0])
    with pytest.raises(AdjointError, match=r"the state running cost became inf"):
        checkpointed(HENON, [0.0, 0.0], [0.0], p=[1.0, 0.3], steps=9, memory="60 kB",
                     running=lambda t, x, u, p: 1e200 * (1 + x[0]) * 1e200)


BAD = [
    ({"memory": "10 bytes"}, "memory is 10 bytes.*Give at least that"),
    ({"memory": "lots"}, "expected a size"),
    ({"terminal": None}, "none of terminal, running and dx"),
    ({"t": (0, 1, 0)}, r"N in t=\(t0, t1, N\) is 0"),
    ({"t": (0, 1, 2.5)}, "positive whole number"),
    ({"t": (0, 0, 5)}, "longer than rounding errors"),
    ({"t": (0, float("inf"), 5)}, "longer than rounding errors"),
    ({"t": (1, 1 + 1e-15, 100)}, "longer than rounding errors"),
    ({"t": [0, 1, 1]}, "increase, or decrease"),
    ({"t": None}, "is continuous"),
    ({"steps": 5}, "both t and steps"),
    ({"x0": [1.0]}, "x0 has shape"),
    ({"p": [1.0]}, "p has shape"),
    ({"u": [1.0]}, "u has shape"),
    ({"u": lambda first, last: np.zeros((last - first, 3))}, r"u\(0, 1\)|u has shape|returned shape"),
    ({"du": lambda first, g: None}, "du takes the gradient"),
    ({"dx": [1.0]}, "dx has shape"),
    ({"dx": lambda first, x: x[1:]}, r"dx\(\d+, x\) has shape"),
    ({"dx": [np.nan, 0.0]}, "expected finite numbers"),
    ({"method": "rk4"}, "method"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_named(change, message):
    arguments = {"x0": [1.0, 1.0], "u": None, "t": (0, 1, 5000), "p": RATES, "memory": "60 kB", "terminal": terminal}
    with pytest.raises(InputError, match=message):
        checkpointed(PREY, **(arguments | change))


def test_what_has_no_graph_takes_no_running_cost():
    cell = recurrent.GRU(3, 1)
    with pytest.raises(InputError, match="no graph"):
        checkpointed(cell.system, np.zeros(3), np.zeros((5, 1)), p=np.zeros(cell.n_p), memory="1 MB", running=running)
    with pytest.raises(InputError, match="expected a System"):
        checkpointed(lotka_volterra, [1.0, 1.0], t=(0, 1, 10), p=RATES, memory="1 MB", terminal=terminal)
