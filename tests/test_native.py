"""Graph -> machine code: every operation is CasADi's, every lane is the one-lane code, the cache never lies."""

from __future__ import annotations

import ctypes
import os
import pickle
import subprocess
import sys
import threading
import warnings

import casadi
import numpy as np
import pytest

from adjoint.errors import InputError, NativeError
from adjoint.native import cache, compile, compile_functions, engine, ir, lane_width
from adjoint.native.vectormath import vector_math

W = lane_width()
ENTRY_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)

EDGES = np.array(
    [0.0, -0.0, 0.5, -0.5, 1, -1, 1.5, 2, -2, 2.5, 3, -7, 1e-9, 5e-324, -1e-300, 1e300, 710, -750, 1e5, 1e22,
     np.inf, -np.inf, np.nan]
)
# CasADi operations whose result is defined to the last bit, and those that a C library computes.
EXACT_UNARY = ["NEG", "SQ", "TWICE", "INV", "SQRT", "FABS", "FLOOR", "CEIL", "SIGN", "NOT", "LIFT"]
EXACT_BINARY = [
    "ADD",
    "SUB",
    "MUL",
    "DIV",
    "LT",
    "LE",
    "EQ",
    "NE",
    "AND",
    "OR",
    "IF_ELSE_ZERO",
    "COPYSIGN",
    "FMIN",
    "FMAX",
    "FMOD",
    "REMAINDER",
]
LIBRARY_UNARY = [
    "SIN",
    "COS",
    "TAN",
    "ASIN",
    "ACOS",
    "ATAN",
    "SINH",
    "COSH",
    "TANH",
    "ASINH",
    "ACOSH",
    "ATANH",
    "EXP",
    "EXPM1",
    "LOG",
    "LOG1P",
    "ERF",
]
LIBRARY_BINARY = ["POW", "CONSTPOW", "ATAN2", "HYPOT"]
BINARY = EXACT_BINARY + LIBRARY_BINARY + ["LIFT"]


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory):
    """The tests never touch the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADJOINT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As in a new process with an empty cache folder; returns the folder."""
    folder = tmp_path / "code"
    monkeypatch.setenv("ADJOINT_CACHE_DIR", str(folder))
    monkeypatch.setattr(engine, "_codes", {})
    return folder


@pytest.fixture(params=["libmvec", "scalar"])
def library(request, monkeypatch):
    monkeypatch.setenv("ADJOINT_LIBMVEC", "1" if request.param == "libmvec" else "0")
    if request.param == "libmvec" and not vector_math(W).symbols:
        pytest.skip("this machine has no libmvec")


@pytest.fixture
def compiled_texts(monkeypatch):
    """The texts that LLVM is given, one for each compilation."""
    texts = []
    original = engine.object_code
    monkeypatch.setattr(engine, "object_code", lambda text: texts.append(text) or original(text))
    return texts


def run(function, inputs, lanes=1, width=W, chunk=ir.CHUNK, in_place=()):
    """Evaluate at the points inputs[i] (size_i, lanes) in memory that is aligned to 8 bytes only, with guarded ends.

    in_place: pairs (input, output) that share their memory.
    """
    program = ir.emit(function, lanes, vector_math(width), chunk)
    loaded = engine.load(engine.object_code(program.text))
    guards = []

    def memory(values):
        raw = np.full(values.size + 10, 7.25)
        offset = 1 if raw.ctypes.data % 16 == 0 else 2  # 8 modulo 16
        part = raw[offset : offset + values.size]
        part[:] = values.ravel()
        guards.append((raw, offset, values.size))
        return part

    arg = [memory(np.asarray(values, dtype=float)) for values in inputs]
    shared = {j: arg[i] for i, j in in_place}
    res = [shared.get(j, memory(np.empty(function.nnz_out(j) * lanes))) for j in range(function.n_out())]
    work = memory(np.full(program.work_size * lanes, np.nan))
    pointers = [(ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays]) for arrays in (arg, res)]
    ENTRY_TYPE(loaded.get_function_address(ir.ENTRY))(*[ctypes.addressof(p) for p in pointers], work.ctypes.data)
    for raw, offset, size in guards:
        assert (raw[:offset] == 7.25).all() and (raw[offset + size :] == 7.25).all(), "wrote outside of its memory"
    return [r.reshape(-1, lanes).copy() for r in res]


def casadi_at(function, inputs):
    """CasADi's own evaluation, lane by lane: nonzeros of each output (size_j, lanes)."""
    lanes = np.shape(inputs[0])[1]
    results = [function.call([casadi.DM(np.asarray(v)[:, lane]) for v in inputs]) for lane in range(lanes)]
    return [np.array([r[j].nonzeros() for r in results]).T for j in range(function.n_out())]


def bits(array):
    return np.where(np.isnan(array), np.nan, array).view(np.int64)  # every NaN is the same NaN


def assert_within_ulps(actual, expected, ulps):
    assert (np.isnan(actual) == np.isnan(expected)).all()
    finite = np.isfinite(expected)
    assert (actual[~finite & ~np.isnan(expected)] == expected[~finite & ~np.isnan(expected)]).all()
    assert np.isfinite(actual[finite]).all()
    assert (np.abs(actual[finite] - expected[finite]) <= ulps * np.spacing(np.abs(expected[finite]))).all()


def one_operation(name, edges=EDGES):
    """The operation at all edge values (binary: at all pairs), and at random points."""
    op = getattr(casadi, f"OP_{name}")
    random = np.random.default_rng(0).normal(scale=3, size=40)
    if name in BINARY:
        first, second = (grid.ravel() for grid in np.meshgrid(edges, edges))
        points = [np.concatenate([first, random]), np.concatenate([second, random[::-1]])]
        a, b = casadi.SX.sym("a", len(points[0])), casadi.SX.sym("b", len(points[0]))
        if name == "CONSTPOW":  # only constant exponents make it; some are simplified away
            return casadi.Function(name, [a], [casadi.power(a, casadi.DM(points[1]))]), points[:1]
        return casadi.Function(name, [a, b], [casadi.SX.binary(op, a, b)]), points
    points = [np.concatenate([edges, random])]
    a = casadi.SX.sym("a", len(points[0]))
    return casadi.Function(name, [a], [casadi.SX.unary(op, a)]), points


def random_function(seed, size=400, exact=False):
    """A graph of `size` random operations on two inputs, with a dense and a sparse output."""
    rng = np.random.default_rng(seed)
    x, u = casadi.SX.sym("x", 5), casadi.SX.sym("u", 2)
    nodes = [*casadi.vertsplit(x), *casadi.vertsplit(u)]
    combine = [
        lambda a, b: a + b,
        lambda a, b: a - 2 * b,
        lambda a, b: a * b / (1 + a * a),
        lambda a, b: casadi.fmin(a, b) + 0.5,
        lambda a, b: casadi.if_else(a < b, a, casadi.sqrt(casadi.fabs(b))),
        lambda a, b: casadi.fmax(a, -b) / (2 + casadi.sign(b)),
    ]
    if not exact:
        combine += [
            lambda a, b: casadi.sin(a) * b,
            lambda a, b: casadi.tanh(a - b),
            lambda a, b: casadi.exp(-a * a) + casadi.cos(b),
            lambda a, b: casadi.fabs(a) ** casadi.tanh(b),
        ]
    while len(nodes) < size:
        i, j = rng.integers(len(nodes), size=2)
        nodes.append(combine[rng.integers(len(combine))](nodes[i], nodes[j]) / (1 if exact else 1.5))
    far = [nodes[k] for k in rng.integers(len(nodes), size=30)]  # values that are read long after they are made
    outputs = [casadi.vertcat(*far[:15], x[1]), casadi.diag(casadi.vertcat(*far[15:]))]
    return casadi.Function("random", [x, u], outputs)


def points_for(function, lanes, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(function.nnz_in(i), lanes)) for i in range(function.n_in())]


# ---- operations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXACT_UNARY + EXACT_BINARY)
def test_exact_operations_are_casadis_to_the_last_bit(name):
    function, points = one_operation(name)
    columns = [p[:, None] for p in points]
    (expected,) = casadi_at(function, columns)
    (actual,) = run(function, columns)
    if name in ("FMIN", "FMAX"):  # C leaves the sign of fmin(0.0, -0.0) open
        expected, actual = expected + 0.0, actual + 0.0
    np.testing.assert_array_equal(bits(actual), bits(expected))


@pytest.mark.parametrize("name", LIBRARY_UNARY + LIBRARY_BINARY)
def test_library_functions_are_within_four_ulps_of_casadi(name, library):
    function, points = one_operation(name)
    columns = [p[:, None] for p in points]
    assert_within_ulps(run(function, columns)[0], casadi_at(function, columns)[0], 4)


@pytest.mark.parametrize("width", [w for w in (2, 4, 8) if w <= W])
@pytest.mark.parametrize("name", EXACT_UNARY + EXACT_BINARY + LIBRARY_UNARY + ["POW", "ATAN2", "HYPOT"])
def test_a_lane_is_the_one_lane_code_whatever_the_other_lanes_hold(name, width):
    """The points are rolled from lane to lane, so each meets other neighbours in each lane."""
    function, points = one_operation(name, EDGES[2::2])
    (single,) = run(function, [p[:, None] for p in points], width=width)
    lanes = [np.stack([np.roll(p, 5 * lane) for lane in range(width)], axis=1) for p in points]
    (wide,) = run(function, lanes, lanes=width, width=width)
    for lane in range(width):
        np.testing.assert_array_equal(bits(wide[:, lane].copy()), bits(np.roll(single[:, 0], 5 * lane)))


def test_constants_of_every_kind():
    x = casadi.SX.sym("x")
    numbers = [1 / 3, -2.5, 1e-320, np.inf, -np.inf, np.nan, 3.0]
    function = casadi.Function("constants", [x], [casadi.vertcat(*[casadi.SX(c) for c in numbers]), x])
    for lanes in (1, W):
        constants, copy = run(function, [np.arange(lanes)[None]], lanes=lanes)
        for lane in range(lanes):
            np.testing.assert_array_equal(bits(constants[:, lane].copy()), bits(np.array(numbers)))
        np.testing.assert_array_equal(copy[0], np.arange(lanes))


@pytest.mark.parametrize("name", ["ERFINV", "PRINTME"])
def test_an_operation_without_translation_is_named(name):
    x, y = casadi.SX.sym("x"), casadi.SX.sym("y")
    op = getattr(casadi, f"OP_{name}")
    expression = casadi.SX.unary(op, x) if name == "ERFINV" else casadi.SX.binary(op, x, y)
    with pytest.raises(NativeError, match=f"'strange'.*OP_{name}"):
        compile_functions([(casadi.Function("strange", [x, y], [expression]), 1)])


def test_mx_is_expanded_and_what_cannot_be_is_refused():
    x = casadi.MX.sym("x", 3)
    product = casadi.Function("product", [x], [casadi.mtimes(casadi.DM(np.arange(9).reshape(3, 3)), x)])
    np.testing.assert_array_equal(compile(product)([1, 2, 3]), np.arange(9).reshape(3, 3) @ [1, 2, 3])
    table = casadi.interpolant("table", "bspline", [[0, 1, 2, 3, 4]], [0, 1, 4, 9, 16])
    y = casadi.MX.sym("y")
    with pytest.raises(NativeError, match=r"'lookup' uses the operation OP_CALL \(a call of another function"):
        compile_functions([(casadi.Function("lookup", [y], [table(y)]), 1)])
    A = casadi.MX.sym("A", 2, 2)
    with pytest.raises(NativeError, match="'solved' is a CasADi .* does not expand"):
        compile_functions([(casadi.Function("solved", [A], [casadi.solve(A, casadi.DM([1, 2]), "csparse")]), 1)])


def test_a_free_variable_is_named():
    x, hidden = casadi.SX.sym("x"), casadi.SX.sym("hidden")
    with pytest.raises(NativeError, match="depends on hidden"):
        compile_functions([(casadi.Function("open", [x], [x * hidden], {"allow_free": True}), 1)])


# ---- whole functions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 100, 10**6])
@pytest.mark.parametrize("seed", range(4))
def test_arithmetic_of_cut_functions_is_casadis_to_the_last_bit(seed, chunk):
    function = random_function(seed, exact=True)
    points = points_for(function, 3)
    expected = casadi_at(function, points)
    for lane in range(3):
        actual = run(function, [p[:, lane : lane + 1] for p in points], chunk=chunk)
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(a[:, 0], e[:, lane])


@pytest.mark.parametrize("chunk", [13, 300])
@pytest.mark.parametrize("seed", range(6))
def test_lanes_equal_one_lane_bit_for_bit(seed, chunk, library):
    function = random_function(seed, size=1500)
    points = points_for(function, W)
    wide = run(function, points, lanes=W, chunk=chunk)
    for lane in range(W):
        single = run(function, [p[:, lane : lane + 1] for p in points])
        for w, s in zip(wide, single, strict=True):
            np.testing.assert_array_equal(bits(w[:, lane].copy()), bits(s[:, 0].copy()))


def test_library_functions_in_a_long_function_are_close_to_casadi(library):
    function = random_function(9, size=1500)
    points = points_for(function, W)
    for actual, expected in zip(run(function, points, lanes=W), casadi_at(function, points), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_work_slots_are_reused():
    """A chain needs the slots of a few live values, however long it is."""
    x = casadi.SX.sym("x", 3)
    a, b, c = casadi.vertsplit(x)
    for _ in range(500):
        a, b, c = b + c, a * c, casadi.sin(a) - b
    function = casadi.Function("chain", [x], [casadi.vertcat(a, b, c)])
    assert 0 < ir.emit(function, 1, vector_math(W), chunk=50).work_size < 30


@pytest.mark.parametrize("lanes", [1, W])
@pytest.mark.parametrize("chunk", [1, 4, 300])
def test_outputs_may_overwrite_inputs_of_the_same_index(chunk, lanes):
    """Each new element reads all old ones; stored too early, the first would spoil the others."""
    x, v = casadi.SX.sym("x", 6), casadi.SX.sym("v", 6)
    mixed = casadi.mtimes(casadi.DM(np.arange(36).reshape(6, 6) % 5), x * x) + casadi.sin(v)
    function = casadi.Function("mix", [x, v], [mixed, casadi.vertcat(x[0], v[1] + x[5], x[2:5] * v[2:5], v[5])])
    points = points_for(function, lanes)
    expected = run(function, points, lanes=lanes)
    for pairs in ([(0, 0)], [(1, 0)], [(0, 0), (1, 1)], [(0, 1), (1, 0)]):
        for actual, e in zip(run(function, points, lanes=lanes, chunk=chunk, in_place=pairs), expected, strict=True):
            np.testing.assert_array_equal(actual, e)


def test_code_describes_itself_and_stays_the_same():
    function = random_function(0)
    one, wide = compile_functions([(function, 1), (function, W)])
    assert (one.lanes, wide.lanes) == (1, W)
    assert one.in_sizes == (5, 2) and one.out_sizes == (16, 15) and one.name == "random"
    assert one.address and one.address != wide.address
    again = random_function(0)  # an equal graph, built anew
    assert compile_functions([(again, 1)])[0] is one


def test_code_is_not_pickled():
    (code,) = compile_functions([(random_function(0), 1)])
    with pytest.raises(NativeError, match="'random' cannot be pickled"):
        pickle.dumps(code)


def test_lanes_that_do_not_exist_are_refused():
    with pytest.raises(NativeError, match=f"lanes = 3 for 'random'.* 1 or {W} lanes"):
        compile_functions([(random_function(0), 3)])


# ---- cache -----------------------------------------------------------------------------------------------------------


def compile_anew(monkeypatch, function):
    """As another process would: nothing in memory."""
    monkeypatch.setattr(engine, "_codes", {})
    return compile(function)


def test_a_second_process_loads_from_disk(fresh, monkeypatch, compiled_texts):
    function = random_function(3)
    x, u = np.arange(5.0), np.ones(2)
    first = compile(function)(x, u)
    assert len(compiled_texts) == 1
    second = compile_anew(monkeypatch, random_function(3))(x, u)
    assert len(compiled_texts) == 1
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(bits(a), bits(b))


def test_the_key_knows_the_graph_the_lanes_the_library_and_the_processor(fresh, monkeypatch):
    function, other = random_function(3), random_function(4)
    on = vector_math(W)
    keys = [engine._key(function, 1, on), engine._key(function, W, on), engine._key(other, 1, on)]
    monkeypatch.setenv("ADJOINT_LIBMVEC", "0")
    keys += [engine._key(function, 1, vector_math(W))] if on.symbols else []
    monkeypatch.setattr(engine, "host", lambda: ("another", "+features"))
    keys.append(engine._key(function, 1, on))
    assert len(set(keys)) == len(keys)


def damaged(content, how):
    if how == "flipped":
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    return {"truncated": content[:-100], "header only": content[:20], "empty": b"", "foreign": b"hello" * 100}[how]


@pytest.mark.parametrize("how", ["flipped", "truncated", "header only", "empty", "foreign"])
def test_a_damaged_file_is_compiled_again_and_replaced(how, fresh, monkeypatch, compiled_texts):
    function = random_function(3)
    expected = compile(function)(np.arange(5.0), np.ones(2))
    (path,) = fresh.iterdir()
    content = path.read_bytes()
    path.write_bytes(damaged(content, how))
    actual = compile_anew(monkeypatch, function)(np.arange(5.0), np.ones(2))
    assert len(compiled_texts) == 2
    assert cache.load(path.stem) is not None
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(bits(a), bits(b))


def test_a_folder_that_cannot_be_written_costs_one_warning(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ADJOINT_CACHE_DIR", str(tmp_path / "file" / "code"))
    monkeypatch.setattr(engine, "_codes", {})
    with pytest.warns(RuntimeWarning, match="ADJOINT_CACHE_DIR"):
        compile(random_function(5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(random_function(6))


def test_a_write_that_fails_leaves_nothing_behind(fresh, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        compile(random_function(5))
    assert list(fresh.iterdir()) == []


def test_trim_drops_what_was_not_used_for_longest(fresh):
    for age, key in enumerate("abcde"):
        cache.store(key, b"x" * 1000)
        os.utime(fresh / f"{key}.code", (1000 + age, 1000 + age))
    (fresh / "notes.txt").write_text("not ours")
    assert cache.load("a") is not None  # used just now
    cache.trim(fresh, 2500)
    assert sorted(path.name for path in fresh.iterdir()) == ["a.code", "e.code", "notes.txt"]


def test_the_folder_is_chosen_by_the_environment_or_the_platform(monkeypatch, tmp_path):
    monkeypatch.delenv("ADJOINT_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "adjoint"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.folder().parts[-3:] == ("Library", "Caches", "adjoint")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache.folder() == tmp_path / "adjoint" / "cache"


PROCESS = """
import casadi, numpy as np
from adjoint.native import compile
x = casadi.SX.sym("x", 3)
y = x
for _ in range(200):
    y = casadi.sin(y) + casadi.vertcat(y[1], y[2], y[0]) * x
f = compile(casadi.Function("f", [x], [y]))
print(f(np.array([0.1, 0.2, 0.3])).tobytes().hex(), f(np.full((20, 3), [0.1, 0.2, 0.3]))[19].tobytes().hex())
"""


def test_two_processes_at_once_share_the_folder(tmp_path):
    environment = {**os.environ, "ADJOINT_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROCESS]
    pair = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate(timeout=120)[0] for process in pair}
    assert [process.returncode for process in pair] == [0, 0]
    assert len(printed) == 1
    one, batch = printed.pop().split()
    assert one == batch
    files = [path for path in tmp_path.iterdir() if path.is_file()]  # the kernels have a folder of their own there
    assert sorted(path.suffix for path in files) == [".code", ".code"]  # one lane, W lanes


# ---- the NumPy face --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tank():
    """Vector, number, matrix and sparse-matrix inputs; dense, sparse and empty outputs."""
    x, u, M = casadi.SX.sym("x", 3), casadi.SX.sym("u"), casadi.SX.sym("M", 2, 3)
    S = casadi.SX.sym("S", casadi.Sparsity.lower(3))
    outputs = [casadi.mtimes(M, x) * u, casadi.mtimes(S, casadi.diag(x)), casadi.sin(x), casadi.SX(0, 1)]
    return casadi.Function("tank", [x, u, M, S], outputs, ["x", "u", "M", "S"], ["Mx", "Sx", "y", "none"])


def tank_in_numpy(x, u, M, S):
    return M @ x * u, np.tril(S) * x, np.sin(x), np.empty(0)


def test_a_compiled_function_keeps_shapes_and_order(tank):
    rng = np.random.default_rng(0)
    x, u, M, S = rng.normal(size=3), 0.7, rng.normal(size=(2, 3)), rng.normal(size=(3, 3))
    f = compile(tank)
    expected = tank_in_numpy(x, u, M, S)
    for results in (f(x, u, M, S), f(x, [u], M.tolist(), S=S), f(S=S, M=np.asfortranarray(M), u=np.float32(u), x=x)):
        assert [r.shape for r in results] == [(2,), (3, 3), (3,), (0,)]
        for r, e in zip(results, expected, strict=True):
            np.testing.assert_allclose(r, e, rtol=1e-6 if results[0][0] != expected[0][0] else 1e-15)


@pytest.mark.parametrize("batch", [0, 1, W - 1, W, W + 1, 3 * W + 2])
def test_a_batch_is_the_loop_bit_for_bit(tank, batch):
    rng = np.random.default_rng(batch)
    x, u = rng.normal(size=(batch, 3)), rng.normal(size=(batch, 1))
    M, S = rng.normal(size=(batch, 2, 3)), rng.normal(size=(3, 3))
    f = compile(tank)
    results = f(x, u, M, S)
    assert [r.shape for r in results] == [(batch, 2), (batch, 3, 3), (batch, 3), (batch, 0)]
    for k in range(batch):
        for r, e in zip(results, f(x[k], u[k], M[k], S), strict=True):
            np.testing.assert_array_equal(r[k], e)


def test_results_are_new_arrays(tank):
    f = compile(tank)
    args = np.ones(3), 1.0, np.ones((2, 3)), np.ones((3, 3))
    first = f(*args)[2]
    f(2 * args[0], *args[1:])
    np.testing.assert_allclose(first, np.sin(1.0), rtol=1e-15)


def test_threads_do_not_disturb_each_other():
    f = compile(random_function(2, size=3000))
    u = np.ones(2)
    points = np.random.default_rng(0).normal(size=(4, 5))
    expected = [f(x, u)[0] for x in points]
    wrong = []

    def work(k):
        for _ in range(300):
            if (bits(f(points[k], u)[0]) != bits(expected[k])).any():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_compiled_function_is_pickled_as_its_graph(tank):
    f = compile(tank)
    args = np.arange(3.0), 2.0, np.ones((2, 3)), np.ones((3, 3))
    copy = pickle.loads(pickle.dumps(f))
    for a, b in zip(copy(*args), f(*args), strict=True):
        np.testing.assert_array_equal(a, b)
    assert repr(copy) == "<CompiledFunction tank: (x[3], u[1], M[2, 3], S[3, 3]) -> (Mx[2], Sx[3, 3], y[3], none[0])>"


def test_the_address_is_that_of_the_code(tank):
    f = compile(tank)
    assert [f.address(), f.address(W)] == [code.address for code in compile_functions([(tank, 1), (tank, W)])]
    with pytest.raises(NativeError, match="lanes = 5"):
        f.address(5)


def test_a_function_without_inputs():
    np.testing.assert_array_equal(compile(casadi.Function("constant", [], [casadi.SX([1, 2])]))(), [1, 2])


GOOD = {"x": np.ones(3), "u": 1.0, "M": np.ones((2, 3)), "S": np.ones((3, 3))}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": np.ones(4)}, r"input 'x' of 'tank' has shape \(4,\); pass \(3,\) for one point or \(batch, 3\)"),
        ({"x": np.ones((3, 1))}, r"input 'x' of 'tank' has shape \(3, 1\)"),
        ({"M": np.ones((3, 2))}, r"input 'M' of 'tank' has shape \(3, 2\); pass \(2, 3\)"),
        ({"u": np.ones(2)}, r"input 'u' of 'tank' has shape \(2,\); pass \(1,\)"),
        ({"x": np.ones((4, 3)), "u": np.ones((5, 1))}, "'u' of 'tank' is a batch of 5 points, but 'x' is one of 4"),
        ({"x": np.ones(3) * 1j}, "'x' of 'tank' is of type complex128"),
        ({"x": np.ones((4, 3)) * 1j}, "'x' of 'tank' is of type complex128"),
        ({"x": ["a", "b", "c"]}, "'x' of 'tank' is of type <U1"),
        ({"x": [None, 1, 2]}, "'x' of 'tank' is an array of Python objects"),
        ({"velocity": 1.0}, r"'velocity' is not an input; 'tank' takes 4 inputs \(x, u, M, S\)"),
    ],
)
def test_bad_input_is_named(tank, change, sentence):
    with pytest.raises(InputError, match=sentence):
        compile(tank)(**{**GOOD, **change})


def test_missing_double_and_surplus_inputs_are_named(tank):
    f = compile(tank)
    with pytest.raises(InputError, match="M, S missing; 'tank' takes 4 inputs"):
        f(np.ones(3), 1.0)
    with pytest.raises(InputError, match="'x' of 'tank' is given twice"):
        f(np.ones(3), x=np.ones(3))
    with pytest.raises(InputError, match="5 inputs were given by position"):
        f(*GOOD.values(), 1.0)


def test_compile_takes_a_function_only():
    with pytest.raises(InputError, match="compile was given a SX; it takes a casadi.Function"):
        compile(casadi.SX.sym("x"))
