"""The second transcription: a problem on the mesh of a solution as one nonlinear programme.

It is written once more, and differently, so that a mistake in the library's own transcription shows. The two share
the user's functions as graphs, the mesh, the Butcher tableau (A, b, c) and the scales of the guess, and nothing else.
Unknowns are the states x_k at the knots, the controls U, free times and parameters, and a separate initial state s;
for a collocation also the stages X_i and their slopes K_i, in the integral form

    initial     s - x_0 = 0
    slope       f(t_k + c_i h, X_i, U_i, p) - K_i = 0
    stage       x_k + h sum_j A_ij K_j - X_i = 0
    dynamics    x_k + h sum_i b_i K_i - x_{k+1} = 0

and for multiple shooting (u constant on the interval) and for a discrete system

    dynamics    Phi(t_k, h, x_k, u_k, p) - x_{k+1} = 0

The cost and the integral constraints are h sum_i b_i l(t_k + c_i h, X_i, U_i, p), for a discrete system the sum of l.
Path constraints hold where the controls are; those of the states alone also at the ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.control.guess import Guess
from adjoint.control.problem import Constraint, Phase
from adjoint.control.solution import Solution
from adjoint.errors import InputError
from adjoint.method import Method
from adjoint.symbolic import trace

__all__ = ["Programme", "at_points", "join", "split", "start_from_guess", "start_from_solution", "transcribe"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Unknowns or rows that belong together: `count` points in time with one entry for each label; time is axis 0."""

    labels: tuple[str, ...]
    count: int
    lower: Array  # (count, labels)
    upper: Array
    scale: Array
    tau: Array  # (count,) normalised times, for messages

    @property
    def size(self) -> int:
        return self.count * len(self.labels)


@dataclass(frozen=True)
class Programme:
    """minimise F(w) subject to lower <= w <= upper, lower <= G(w) <= upper; all in physical units."""

    unknowns: Mapping[str, Block]
    rows: Mapping[str, Block]
    function: ca.Function  # w -> (F, G)
    rhs: ca.Function
    nodes: Array  # (N s,) normalised times of the controls
    weights: Array  # (N s,) quadrature weights b_i times the normalised length of the interval
    collocation: bool

    @property
    def scale(self) -> Array:
        """Typical sizes of the unknowns."""
        return join(block.scale for block in self.unknowns.values())

    @property
    def row_scale(self) -> Array:
        """Typical sizes of the rows."""
        return join(block.scale for block in self.rows.values())

    def pack(self, values: Mapping[str, Array]) -> Array:
        """The vector w from the blocks' values; the inverse of `split`."""
        return join(np.broadcast_to(values[name], (b.count, len(b.labels))) for name, b in self.unknowns.items())


def join(pieces: Iterable[ArrayLike]) -> Array:
    """Arrays of any shape, one after the other."""
    return np.concatenate([np.asarray(piece, dtype=float).ravel() for piece in pieces])


def split(blocks: Mapping[str, Block], vector: Array) -> dict[str, Array]:
    """Name -> (count, labels)."""
    ends = np.cumsum([block.size for block in blocks.values()])[:-1]
    pieces = np.split(vector, ends)
    return {
        name: piece.reshape(block.count, len(block.labels))
        for (name, block), piece in zip(blocks.items(), pieces, strict=True)
    }


def _block(
    labels: tuple[str, ...],
    tau: ArrayLike,
    lower: ArrayLike = -math.inf,
    upper: ArrayLike = math.inf,
    scale: ArrayLike = 1.0,
) -> Block:
    times = np.atleast_1d(np.asarray(tau, dtype=float))
    shape = (times.size, len(labels))
    low, up, size = (np.broadcast_to(np.asarray(a, dtype=float), shape) for a in (lower, upper, scale))
    return Block(labels, times.size, low, up, size, times)


@dataclass(frozen=True)
class _Functions:
    """The user's functions as graphs."""

    rhs: ca.Function
    running: ca.Function | None
    terminal: ca.Function | None
    path: tuple[tuple[Constraint, ca.Function], ...]
    boundary: tuple[tuple[Constraint, ca.Function], ...]
    integrals: tuple[tuple[Constraint, ca.Function], ...]


def _functions(phase: Phase) -> _Functions:
    n, m, n_p = phase.system.n, phase.system.m, phase.system.n_p
    point: list[tuple[str, int | None]] = [("t", None), ("x", n), ("u", m), ("p", n_p)]
    end: list[tuple[str, int | None]] = [("t", None), ("x", n), ("p", n_p)]
    both: list[tuple[str, int | None]] = [("t0", None), ("x0", n), ("tf", None), ("xf", n), ("p", n_p)]

    def all_of(
        constraints: tuple[Constraint, ...], arguments: list[tuple[str, int | None]], size: int | None, kind: str
    ) -> tuple[tuple[Constraint, ca.Function], ...]:
        return tuple((c, trace(c.function, arguments, size, f"{kind} constraint {c.name!r}")) for c in constraints)

    return _Functions(
        phase.system.graph,
        None if phase.running is None else trace(phase.running, point, None, "running cost"),
        None if phase.terminal is None else trace(phase.terminal, end, None, "terminal cost"),
        all_of(phase.path, point, -1, "path"),
        all_of(phase.boundary, both, -1, "boundary"),
        all_of(phase.integrals, point, None, "integral"),
    )


def transcribe(solution: Solution, guess: Guess) -> Programme:
    """Write the solution's problem on the solution's mesh."""
    problem = solution.problem
    if len(problem.phases) != 1:
        raise InputError(
            f"crosscheck: the problem has {len(problem.phases)} phases; only problems of one phase can be checked."
        )
    phase = problem.phases[0]
    system, functions = phase.system, _functions(phase)
    n, m, N = system.n, system.m, solution.N
    collocation = solution.method.kind == "collocation" and not system.discrete
    s = solution.method.stages if collocation else 1
    c = solution.method.c if collocation else np.zeros(1)
    b = solution.method.b if collocation else np.ones(1)
    tau = (solution.t - solution.t[0]) / (solution.t[-1] - solution.t[0])
    dtau = np.diff(tau)
    nodes = (tau[:-1, None] + dtau[:, None] * c).ravel()
    weights = (dtau[:, None] * b).ravel()
    sx, su, duration = guess.state_scale, guess.control_scale, guess.tf - guess.t0
    states, controls = system.states, system.controls

    # Unknowns. Fixed quantities stay unknowns with equal bounds: IPOPT takes them out by itself.
    knot_lower, knot_upper = (np.tile(bound, (N + 1, 1)) for bound in phase.state_bounds)
    knot_lower[0], knot_upper[0] = -math.inf, math.inf  # s carries the conditions at t0
    knot_lower[-1], knot_upper[-1] = phase.final
    p_lower, p_upper = ([getattr(q, side) for q in phase.parameters] for side in ("lower", "upper"))
    unknowns = {
        "start": _block(states, 0.0, phase.initial[0], phase.initial[1], sx),
        "x": _block(states, tau, knot_lower, knot_upper, sx),
        "u": _block(controls, nodes, phase.control_bounds[0], phase.control_bounds[1], su),
        "p": _block(system.parameters, 0.0, p_lower, p_upper, [abs(v) if v else 1.0 for v in guess.p]),
        "times": _block(
            ("t0", "tf"), 0.0, (phase.t0.lower, phase.tf.lower), (phase.t0.upper, phase.tf.upper), duration
        ),
    }
    if collocation:
        stage_lower, stage_upper = (np.tile(bound, (N * s, 1)) for bound in phase.state_bounds)
        if c[-1] == 1.0:  # the last stage is the next knot, which has its bounds
            stage_lower[s - 1 :: s], stage_upper[s - 1 :: s] = -math.inf, math.inf
        unknowns |= {
            "X": _block(states, nodes, stage_lower, stage_upper, sx),
            "K": _block(states, nodes, scale=sx / duration),
        }
    symbols = {name: ca.MX.sym(name, len(block.labels), block.count) for name, block in unknowns.items()}
    x, u, p, x_start = symbols["x"], symbols["u"], symbols["p"], symbols["start"]
    t0, tf = symbols["times"][0], symbols["times"][1]

    # One interval, as a function of its own unknowns, applied to all intervals.
    shapes = [1, 1, n, (m, s), system.n_p] + ([(n, s), (n, s)] if collocation else [])
    arguments = [
        ca.SX.sym(f"a{i}", *(shape if isinstance(shape, tuple) else (shape, 1))) for i, shape in enumerate(shapes)
    ]
    build = _collocation_interval if collocation else _discrete_interval if system.discrete else _shooting_interval
    outputs = build(functions, solution.method, solution.substeps, *arguments)
    interval = ca.Function("interval", arguments, [ca.densify(o) for o in outputs])
    values = [t0 + (tf - t0) * ca.DM(tau[:-1]).T, (tf - t0) * ca.DM(dtau).T, x[:, :-1], u, ca.repmat(p, 1, N)]
    if collocation:
        values += [symbols["X"], symbols["K"]]
    x_next, running, integrals, path, *stages = interval.map(N)(*values)

    rows: dict[str, Block] = {}
    expressions: list[ca.MX] = []

    def add(name: str, block: Block, expression: ca.MX) -> None:
        if block.size:
            rows[name] = block
            expressions.append(ca.vec(expression))

    add("initial", _block(states, 0.0, 0.0, 0.0, sx), x_start - x[:, 0])
    add("dynamics", _block(states, tau[1:], 0.0, 0.0, sx), x_next - x[:, 1:])
    if collocation:
        add("slope", _block(states, nodes, 0.0, 0.0, sx / duration), stages[0])
        add("stage", _block(states, nodes, 0.0, 0.0, sx), stages[1])
    add("path", _bounds_of(functions.path, nodes), path)
    # A constraint on the states alone also holds where no control is placed: at the ends.
    ends: list[tuple[str, float, ca.MX, ca.MX]] = []
    if collocation:
        ends.append(("start", 0.0, t0, x_start))
    if not (collocation and c[-1] == 1.0):
        ends.append(("end", 1.0, tf, x[:, -1]))
    for constraint, graph in functions.path:
        if not _looks_at(graph, 2):
            for end, at, t_end, x_end in ends:
                add(
                    f"path {constraint.name} at the {end}",
                    _bounds_of(((constraint, graph),), at),
                    graph(t_end, x_end, ca.DM.zeros(m), p),
                )
    for constraint, graph in functions.boundary:
        add(f"boundary {constraint.name}", _bounds_of(((constraint, graph),), 1.0), graph(t0, x_start, tf, x[:, -1], p))
    add("integral", _bounds_of(functions.integrals, 1.0), ca.sum2(integrals))
    if phase.t0.lower < phase.t0.upper and phase.tf.lower < phase.tf.upper:
        add("duration", _block(("tf - t0",), 1.0, 1e-4 * duration, math.inf, duration), tf - t0)

    cost = ca.sum2(running)
    if functions.terminal is not None:
        cost = cost + functions.terminal(tf, x[:, -1], p)
    w = ca.MX.sym("w", sum(block.size for block in unknowns.values()))
    F, G = _at(w, symbols, problem.sign * cost, ca.vertcat(*expressions))
    return Programme(unknowns, rows, ca.Function("programme", [w], [F, G]), functions.rhs, nodes, weights, collocation)


def _at(w: ca.MX, symbols: Mapping[str, ca.MX], *expressions: ca.MX) -> list[ca.MX]:
    """Expressions of the separate symbols as expressions of the one vector w."""
    offsets = np.concatenate([[0], np.cumsum([symbol.numel() for symbol in symbols.values()])]).tolist()
    pieces = [
        ca.reshape(piece, *symbol.shape)
        for piece, symbol in zip(ca.vertsplit(w, offsets), symbols.values(), strict=True)
    ]
    return list(ca.Function("of_w", list(symbols.values()), list(expressions)).call(pieces, True, False))


def _quadrands(functions: _Functions, t: ca.SX, x: ca.SX, u: ca.SX, p: ca.SX) -> tuple[ca.SX, ca.SX]:
    """l and the integral constraints' g at one point."""
    running = ca.SX(0) if functions.running is None else functions.running(t, x, u, p)
    return running, ca.vertcat(ca.SX(0, 1), *(g(t, x, u, p) for _, g in functions.integrals))


def _path(functions: _Functions, t: ca.SX, x: ca.SX, u: ca.SX, p: ca.SX) -> ca.SX:
    return ca.vertcat(ca.SX(0, 1), *(g(t, x, u, p) for _, g in functions.path))


def _collocation_interval(
    functions: _Functions,
    method: Method,
    substeps: int,
    t: ca.SX,
    h: ca.SX,
    x: ca.SX,
    U: ca.SX,
    p: ca.SX,
    X: ca.SX,
    K: ca.SX,
) -> list[ca.SX]:
    """x_{k+1}, cost, integrals, path, slope rows, stage rows."""
    A, b, c = method.A, method.b, method.c
    nodes = range(b.size)
    slopes = ca.horzcat(*(functions.rhs(t + c[i] * h, X[:, i], U[:, i], p) - K[:, i] for i in nodes))
    stages = ca.horzcat(*(x + h * sum(A[i, j] * K[:, j] for j in nodes) - X[:, i] for i in nodes))
    x_next = x + h * sum(b[i] * K[:, i] for i in nodes)
    quadrands = [_quadrands(functions, t + c[i] * h, X[:, i], U[:, i], p) for i in nodes]
    cost, integrals = (h * sum(b[i] * quadrands[i][j] for i in nodes) for j in (0, 1))
    path = ca.horzcat(*(_path(functions, t + c[i] * h, X[:, i], U[:, i], p) for i in nodes))
    return [x_next, cost, integrals, path, slopes, stages]


def _shooting_interval(
    functions: _Functions, method: Method, substeps: int, t: ca.SX, h: ca.SX, x: ca.SX, u: ca.SX, p: ca.SX
) -> list[ca.SX]:
    """x_{k+1}, cost, integrals, path; the cost is summed by the method's own quadrature."""
    A, b, c = method.A, method.b, method.c
    x_next, step = x, h / substeps
    cost, integrals = ca.SX(0), ca.SX.zeros(len(functions.integrals))
    for r in range(substeps):
        slopes: list[ca.SX] = []
        base = x_next
        for i in range(b.size):
            t_i = t + (r + c[i]) * step
            X_i = base + step * sum((A[i, j] * slopes[j] for j in range(i)), ca.SX.zeros(base.numel()))
            slopes.append(functions.rhs(t_i, X_i, u, p))
            running, g = _quadrands(functions, t_i, X_i, u, p)
            cost, integrals = cost + step * b[i] * running, integrals + step * b[i] * g
        x_next = base + step * sum(b[i] * slopes[i] for i in range(b.size))
    return [x_next, cost, integrals, _path(functions, t, x, u, p)]


def _discrete_interval(
    functions: _Functions, method: Method, substeps: int, t: ca.SX, h: ca.SX, x: ca.SX, u: ca.SX, p: ca.SX
) -> list[ca.SX]:
    """x_{k+1}, cost, integrals, path."""
    return [functions.rhs(t, x, u, p), *_quadrands(functions, t, x, u, p), _path(functions, t, x, u, p)]


def _bounds_of(constraints: tuple[tuple[Constraint, ca.Function], ...], tau: ArrayLike) -> Block:
    """The rows of constraints, one after the other, at each time."""
    labels: list[str] = []
    lower: list[Array] = []
    upper: list[Array] = []
    for constraint, graph in constraints:
        k = graph.size1_out(0)
        labels += [constraint.name if k == 1 else f"{constraint.name}[{i}]" for i in range(k)]
        lower.append(np.broadcast_to(constraint.lower, (k,)))
        upper.append(np.broadcast_to(constraint.upper, (k,)))
    return _block(tuple(labels), tau, join(lower) if lower else 0.0, join(upper) if upper else 0.0)


def _looks_at(graph: ca.Function, i: int) -> bool:
    """Whether a graph depends on its input i."""
    return bool(graph.sparsity_jac(i, 0).nnz()) if graph.size1_in(i) else False


# --- starts


def start_from_guess(programme: Programme, guess: Guess) -> Array:
    """The vector w of a guess, with the slopes that its states and controls have."""
    x, _ = guess.at(programme.unknowns["x"].tau)
    X, u = guess.at(programme.nodes)
    return _start(programme, guess.t0, guess.tf, x, X, u, guess.p)


def start_from_solution(programme: Programme, solution: Solution) -> Array:
    """The vector w of a solution on the programme's mesh."""
    return _start(programme, solution.t[0], solution.t[-1], solution.x, solution.node_x, solution.node_u, solution.p)


def _start(programme: Programme, t0: float, tf: float, x: Array, X: Array, u: Array, p: Array) -> Array:
    values = {"start": x[:1], "x": x, "u": u, "p": p, "times": np.array([t0, tf])}
    if programme.collocation:
        values |= {"X": X, "K": at_points(programme.rhs, t0 + (tf - t0) * programme.nodes, X, u, p)}
    return programme.pack(values)


def at_points(function: ca.Function, t: Array, x: Array, u: Array, p: Array) -> Array:
    """A function of (t, x, u, p) by CasADi's interpreter at k points: (k, rows, columns), or (k, rows) for a column."""
    values = [np.asarray(function(*point, p)) for point in zip(t, x, u, strict=True)]
    return np.stack(values).reshape(
        len(values), *(function.size_out(0) if function.size2_out(0) != 1 else (function.size1_out(0),))
    )
