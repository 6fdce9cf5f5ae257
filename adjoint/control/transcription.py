"""From a problem to a stage-structured programme (the form of `kernels.stages`).

One phase becomes N + 2 stages:

    start       no states; "controls" (x(t0), theta)                        rows: conditions at t0
    interval k  states (x_k, q_k, theta), controls u_k, local unknowns z_k   rows: path constraints
    end         states (x_N, q_N, theta)                                     rows: conditions at tf; cost phi

theta are constants that the solver chooses (free times, free parameters, copies of x(t0) for conditions that couple
both ends): states with theta' = 0. q accumulates the integral constraints. With t_k = t0 + (tf - t0) tau_k and h the
length of the interval, the interval's functions are

    multiple shooting   x_{k+1} = Phi(t_k, h, x_k, u_k, p): explicit Runge-Kutta steps, u constant on the interval
                        cost, q: the method's own quadrature along its stages
    collocation         z = (X_1 ... X_s), u = (U_1 ... U_s), nodes t_k + c_i h
                        c_i:      0 = h f(X_i, U_i) - sum_j (A^-1)_ij (X_j - x_k)
                        x_{k+1} = x_k + sum_j (b' A^-1)_j (X_j - x_k)
                        cost, q:  h sum_i b_i l(X_i, U_i)
    discrete system     x_{k+1} = f(t_k, x_k, u_k, p), cost l summed

Costates: lambda_k is the multiplier of the dynamics into knot k, and y_i / b_i that of collocation node i (Hager,
Numer. Math. 87 (2000) 247).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.control.guess import Guess
from adjoint.control.problem import Constraint, OptimalControlProblem, Phase
from adjoint.control.structure import CompiledGroups, Group, Programme, compile_groups, programme
from adjoint.errors import InputError
from adjoint.method import Method
from adjoint.symbolic import trace
from adjoint.symbolic.steps import explicit_step

__all__ = ["Discretised", "Formulation", "Transcription", "discretise", "formulate", "transcribe"]

Array = NDArray[np.float64]

# Bounds are relaxed by this much, relatively (Waechter & Biegler 2006, section 3.5).
RELAXATION = 1e-8


@dataclass(frozen=True)
class PhaseGraphs:
    """The user's functions of one phase as graphs; each constraint with its number of components."""

    rhs: ca.Function
    running: ca.Function | None
    terminal: ca.Function | None
    path: tuple[tuple[Constraint, ca.Function], ...]
    boundary: tuple[tuple[Constraint, ca.Function], ...]
    integrals: tuple[tuple[Constraint, ca.Function], ...]


@dataclass(frozen=True)
class RowLabel:
    """What a path row of a stage is: constraint name, component, position inside the interval."""

    name: str
    position: float


@dataclass(frozen=True)
class Formulation:
    """A problem written with a method, differentiated and compiled: all that does not depend on the mesh."""

    problem: OptimalControlProblem
    method: Method
    substeps: int
    graphs: PhaseGraphs
    compiled: CompiledGroups  # start, interval, end
    theta: tuple[tuple[str, int], ...]  # ("t0", 0), ("tf", 0), ("p", i), ("x0", i)
    labels: tuple[tuple[RowLabel, ...], ...]  # of the path rows: start, interval, end
    row_bounds: tuple[Array, ...]  # (2, r) of the same
    seconds: dict[str, float]  # trace, compile
    programmes: dict[int, Programme] = field(default_factory=dict)  # layouts of the last few mesh sizes


@dataclass(frozen=True)
class Transcription:
    """A formulation on a mesh: the programme and where everything lies in it."""

    formulation: Formulation
    tau: Array  # (N+1,) normalised knots
    programme: Programme

    @property
    def problem(self) -> OptimalControlProblem:
        """The problem."""
        return self.formulation.problem

    @property
    def method(self) -> Method:
        """The method."""
        return self.formulation.method

    @property
    def substeps(self) -> int:
        """Runge-Kutta steps an interval."""
        return self.formulation.substeps

    @property
    def graphs(self) -> PhaseGraphs:
        """The user's functions."""
        return self.formulation.graphs

    @property
    def theta(self) -> tuple[tuple[str, int], ...]:
        """What the solver chooses once."""
        return self.formulation.theta

    @property
    def labels(self) -> tuple[tuple[RowLabel, ...], ...]:
        """Names of the path rows: start, interval, end."""
        return self.formulation.labels

    @property
    def row_bounds(self) -> tuple[Array, ...]:
        """Bounds of the same."""
        return self.formulation.row_bounds

    @property
    def phase(self) -> Phase:
        """The phase."""
        return self.problem.phases[0]

    @property
    def N(self) -> int:
        """Number of intervals."""
        return self.tau.size - 1

    @property
    def s(self) -> int:
        """Nodes an interval (1 for shooting and discrete systems)."""
        return self.method.b.size if self.collocation else 1

    @property
    def collocation(self) -> bool:
        """True if the intervals are collocated."""
        return self.method.kind == "collocation" and not self.phase.system.discrete

    @property
    def nodes(self) -> Array:
        """Positions of the controls inside an interval."""
        return self.method.c if self.collocation else np.zeros(1)


def transcribe(formulation: Formulation, tau: Array) -> Transcription:
    """Lay a formulation out on a mesh."""
    N = tau.size - 1
    if N not in formulation.programmes:
        while len(formulation.programmes) >= 4:
            formulation.programmes.pop(next(iter(formulation.programmes)))
        formulation.programmes[N] = programme(formulation.compiled, (1, N, 1))
    return Transcription(formulation, tau, formulation.programmes[N])


def phase_graphs(phase: Phase) -> PhaseGraphs:
    """Trace all functions of a phase."""
    system = phase.system
    point: list[tuple[str, int | None]] = [("t", None), ("x", system.n), ("u", system.m), ("p", system.n_p)]
    where = f"of the problem on system {system.name!r}"
    running = None if phase.running is None else trace(phase.running, point, None, f"running cost {where}")
    end: list[tuple[str, int | None]] = [("t", None), ("x", system.n), ("p", system.n_p)]
    terminal = None if phase.terminal is None else trace(phase.terminal, end, None, f"terminal cost {where}")
    both: list[tuple[str, int | None]] = [
        ("t0", None),
        ("x0", system.n),
        ("tf", None),
        ("xf", system.n),
        ("p", system.n_p),
    ]

    def constraints(
        items: tuple[Constraint, ...], arguments: list[tuple[str, int | None]], kind: str, scalar: bool
    ) -> tuple[tuple[Constraint, ca.Function], ...]:
        return tuple(
            (c, trace(c.function, arguments, None if scalar else -1, f"{kind} constraint {c.name!r} {where}"))
            for c in items
        )

    return PhaseGraphs(
        system.graph,
        running,
        terminal,
        constraints(phase.path, point, "path", False),
        constraints(phase.boundary, both, "boundary", False),
        constraints(phase.integrals, point, "integral", True),
    )


def _rows(constraint: Constraint, size: int) -> Array:
    """Bounds (2, size) of a constraint with `size` components."""
    bounds = np.empty((2, size))
    for i, bound in enumerate((constraint.lower, constraint.upper)):
        if bound.size not in (1, size):
            raise InputError(
                f"constraint {constraint.name!r} returns {size} values but has {bound.size} "
                f"{'upper' if i else 'lower'} bounds. Give one bound, or one each."
            )
        bounds[i] = bound
    return bounds


def _named(name: str, size: int, position: float) -> list[RowLabel]:
    return [RowLabel(name if size == 1 else f"{name}[{i}]", position) for i in range(size)]


class _PathRows:
    """Collects rows with bounds and labels."""

    def __init__(self) -> None:
        self.rows: list[ca.SX] = []
        self.bounds: list[Array] = []
        self.labels: list[RowLabel] = []

    def add(self, name: str, rows: ca.SX, bounds: Array, position: float) -> None:
        self.rows.append(rows)
        self.bounds.append(bounds)
        self.labels += _named(name, rows.shape[0], position)

    def column(self) -> ca.SX:
        return ca.vertcat(*self.rows) if self.rows else ca.SX(0, 1)

    def bound_array(self) -> Array:
        return np.concatenate(self.bounds, axis=1) if self.bounds else np.zeros((2, 0))


def formulate(problem: OptimalControlProblem, method: Method, substeps: int) -> Formulation:
    """Write the problem with `method`, differentiate and compile it."""
    clock = time.perf_counter()
    phase = problem.phases[0]
    system, sign = phase.system, problem.sign
    graphs = phase_graphs(phase)
    n, m, n_p = system.n, system.m, system.n_p
    collocation = method.kind == "collocation" and not system.discrete
    s = method.b.size if collocation else 1
    fixed_states = phase.state_bounds[0] == phase.state_bounds[1]
    if fixed_states.any():
        name = system.states[int(np.flatnonzero(fixed_states)[0])]
        raise InputError(
            f"the bounds of state {name!r} are equal, so it is no state. Make it a parameter, or use a path equality."
        )

    # --- theta: what the solver chooses once
    theta: list[tuple[str, int]] = []
    if phase.t0.lower < phase.t0.upper:
        theta.append(("t0", 0))
    if phase.tf.lower < phase.tf.upper:
        theta.append(("tf", 0))
    theta += [("p", i) for i, value in enumerate(phase.parameters) if value.lower < value.upper]
    n_free = len(theta)
    initial_only, coupled = [], []
    for constraint, graph in graphs.boundary:
        a = [ca.SX.sym(f"b{i}", graph.size1_in(i)) for i in range(5)]
        value = graph(*a)
        on_start = [i for i in range(n) if ca.depends_on(value, a[1][i])]
        if on_start and not ca.depends_on(value, a[3]):
            initial_only.append((constraint, graph))
        else:
            coupled.append((constraint, graph))
            theta += [("x0", i) for i in on_start if ("x0", i) not in theta]
    n_theta, n_q = len(theta), len(graphs.integrals)
    n_all = n + n_q + n_theta
    constants = ca.SX.sym("constants", 2 + n_p)

    def unfold(values: ca.SX) -> tuple[ca.SX, ca.SX, ca.SX, ca.SX]:
        """(t0, tf, p, x0) from theta and the constants; x0 holds the copied components only."""
        t0, tf, p, x0 = constants[0], constants[1], [constants[2 + i] for i in range(n_p)], [ca.SX(0)] * n
        for j, (kind, i) in enumerate(theta):
            if kind == "t0":
                t0 = values[j]
            elif kind == "tf":
                tf = values[j]
            elif kind == "p":
                p[i] = values[j]
            else:
                x0[i] = values[j]
        return t0, tf, ca.vertcat(*p) if p else ca.SX(0, 1), ca.vertcat(*x0)

    state_only = [(c, g) for c, g in graphs.path if not _depends_on_control(g)]

    # --- start
    xs, free_values = ca.SX.sym("x0", n), ca.SX.sym("theta0", n_free)
    copies = [xs[i] for kind, i in theta if kind == "x0"]
    theta_start = ca.vertcat(free_values, *copies)
    t0, tf, p, _ = unfold(theta_start)
    start = _PathRows()
    for constraint, graph in initial_only:
        value = graph(t0, xs, tf, ca.SX.zeros(n), p)
        start.add(f"boundary {constraint.name!r}", value, _rows(constraint, value.shape[0]), 0.0)
    if collocation:
        for constraint, graph in state_only:
            value = graph(t0, xs, ca.SX.zeros(m), p)
            start.add(f"path {constraint.name!r}", value, _rows(constraint, value.shape[0]), 0.0)
    if ("t0", 0) in theta and ("tf", 0) in theta:
        assert phase.t0.guess is not None and phase.tf.guess is not None
        start.add("duration", tf - t0, np.array([[1e-4 * (phase.tf.guess - phase.t0.guess)], [math.inf]]), 0.0)
    data = ca.SX.sym("data", 2)
    groups = [
        Group(
            0,
            n + n_free,
            0,
            len(start.labels),
            ca.vertcat(xs, free_values),
            data,
            constants,
            ca.vertcat(xs, ca.SX.zeros(n_q), theta_start, start.column(), ca.SX(0)),
        )
    ]

    # --- interval
    x, q, th = ca.SX.sym("x", n), ca.SX.sym("q", n_q), ca.SX.sym("theta", n_theta)
    u, z = ca.SX.sym("u", m * s), ca.SX.sym("z", n * s if collocation else 0)
    t0, tf, p, _ = unfold(th)
    t, h = t0 + (tf - t0) * data[0], (tf - t0) * data[1]
    interval = _PathRows()
    local: list[ca.SX] = []
    quadrands = [g for _, g in graphs.integrals]
    if collocation:
        inverse = np.linalg.inv(method.A)
        weights = method.b @ inverse
        weights[np.abs(weights) < 1e-11] = 0.0
        X = [z[i * n : (i + 1) * n] for i in range(s)]
        U = [u[i * m : (i + 1) * m] for i in range(s)]
        x_next, dq, cost = x, ca.SX.zeros(n_q), ca.SX(0)
        for i in range(s):
            ti = t + float(method.c[i]) * h
            slope = ca.SX.zeros(n)
            for j in range(s):
                slope += float(inverse[i, j]) * (X[j] - x)
            local.append(h * graphs.rhs(ti, X[i], U[i], p) - slope)
            x_next = x_next + float(weights[i]) * (X[i] - x)
            if method.c[-1] == 1.0:
                x_next = X[-1]
            if graphs.running is not None:
                cost += h * float(method.b[i]) * graphs.running(ti, X[i], U[i], p)
            for j, g in enumerate(quadrands):
                dq[j] += h * float(method.b[i]) * g(ti, X[i], U[i], p)
            for constraint, graph in graphs.path:
                value = graph(ti, X[i], U[i], p)
                interval.add(f"path {constraint.name!r}", value, _rows(constraint, value.shape[0]), float(method.c[i]))
    else:
        tt, xx, uu, pp = ca.SX.sym("t"), ca.SX.sym("x", n), ca.SX.sym("u", m), ca.SX.sym("p", n_p)
        extras = [g(tt, xx, uu, pp) for g in ([graphs.running] if graphs.running is not None else []) + quadrands]
        if system.discrete:
            out = ca.Function("out", [tt, xx, uu, pp], [ca.vertcat(graphs.rhs(tt, xx, uu, pp), *extras)])(t, x, u, p)
            x_next, extra = out[:n], out[n : n + len(extras)]
        else:
            # Cost and integrals ride along as further states that nothing depends on.
            augmented = ca.Function(
                "augmented",
                [tt, ca.vertcat(xx, ca.SX.sym("extra", len(extras))), uu, pp],
                [ca.vertcat(graphs.rhs(tt, xx, uu, pp), *extras)],
            )
            step = explicit_step(augmented, method.A, method.b, method.c, substeps)
            out = step(t, h, ca.vertcat(x, ca.SX.zeros(len(extras))), u, p)
            x_next, extra = out[:n], out[n : n + len(extras)]
        cost = extra[0] if graphs.running is not None else ca.SX(0)
        dq = ca.vertcat(*[extra[i] for i in range(len(extras) - n_q, len(extras))]) if n_q else ca.SX(0, 1)
        for constraint, graph in graphs.path:
            value = graph(t, x, u, p)
            interval.add(f"path {constraint.name!r}", value, _rows(constraint, value.shape[0]), 0.0)
    groups.append(
        Group(
            n_all,
            m * s,
            n * s if collocation else 0,
            len(interval.labels),
            ca.vertcat(x, q, th, u, z),
            data,
            constants,
            ca.vertcat(x_next, q + dq, th, *local, interval.column(), sign * cost),
        )
    )

    # --- end
    t0, tf, p, x0 = unfold(th)
    end = _PathRows()
    ends = phase.final
    for i in range(n):
        if ends[0, i] == ends[1, i]:
            end.add(f"final {system.states[i]!r}", x[i], ends[:, [i]], 1.0)
    for constraint, graph in coupled:
        value = graph(t0, x0, tf, x, p)
        end.add(f"boundary {constraint.name!r}", value, _rows(constraint, value.shape[0]), 1.0)
    if not (collocation and method.c[-1] == 1.0):
        for constraint, graph in state_only:
            value = graph(tf, x, ca.SX.zeros(m), p)
            end.add(f"path {constraint.name!r}", value, _rows(constraint, value.shape[0]), 1.0)
    for j, (constraint, _) in enumerate(graphs.integrals):
        bounds = _rows(constraint, 1)
        end.add(f"integral {constraint.name!r}", q[j], bounds, 1.0)
    phi = graphs.terminal(tf, x, p) if graphs.terminal is not None else ca.SX(0)
    groups.append(
        Group(n_all, 0, 0, len(end.labels), ca.vertcat(x, q, th), data, constants, ca.vertcat(end.column(), sign * phi))
    )
    traced = time.perf_counter() - clock
    compiled = compile_groups(groups)
    parts = (start, interval, end)
    return Formulation(
        problem,
        method,
        substeps,
        graphs,
        compiled,
        tuple(theta),
        tuple(tuple(part.labels) for part in parts),
        tuple(part.bound_array() for part in parts),
        {"trace": traced + compiled.seconds["differentiate"], "compile": compiled.seconds["compile"]},
    )


def _depends_on_control(graph: ca.Function) -> bool:
    a = [ca.SX.sym(f"a{i}", graph.size1_in(i)) for i in range(4)]
    return a[2].numel() > 0 and bool(ca.depends_on(graph(*a), a[2]))


@dataclass(frozen=True)
class Discretised:
    """Numbers for one solve: bounds, scales, start, data (all in the layout of the unknowns and rows)."""

    lower: Array
    upper: Array
    row_lower: Array
    row_upper: Array
    scale: Array
    row_scale: Array
    start: Array
    data: Array
    constants: Array


def discretise(T: Transcription, guess: Guess) -> Discretised:
    """Fill bounds, scales and the starting point of the unknowns for a guess."""
    phase, layout = T.phase, T.programme.layout
    system, N, s = phase.system, T.N, T.s
    n, m, n_q = system.n, system.m, len(T.graphs.integrals)
    n_theta = len(T.theta)
    nodes = T.tau[:-1, None] + np.diff(T.tau)[:, None] * T.nodes
    xk, _ = guess.at(T.tau)
    xn, un = guess.at(nodes.ravel())
    xn, un = xn.reshape(N, s, n), un.reshape(N, s, m)
    t0, tf, p = guess.t0, guess.tf, guess.p
    sx, su = guess.state_scale, guess.control_scale
    duration = max(tf - t0, 1e-12)

    theta_guess, theta_scale, theta_bounds = np.zeros(n_theta), np.ones(n_theta), np.empty((2, n_theta))
    for j, (kind, i) in enumerate(T.theta):
        if kind == "p":
            item = phase.parameters[i]
            theta_guess[j], theta_bounds[:, j] = p[i], (item.lower, item.upper)
            theta_scale[j] = _size([p[i]]) if p[i] else _size([v for v in (item.lower, item.upper) if math.isfinite(v)])
        elif kind == "x0":
            theta_guess[j], theta_bounds[:, j], theta_scale[j] = xk[0, i], (-math.inf, math.inf), sx[i]
        else:
            item = phase.t0 if kind == "t0" else phase.tf
            theta_guess[j], theta_bounds[:, j] = (t0 if kind == "t0" else tf), (item.lower, item.upper)
            theta_scale[j] = duration
    n_free = sum(kind != "x0" for kind, _ in T.theta)
    q_scale = np.ones(n_q)
    q_guess = np.zeros((N + 1, n_q))
    for j, (constraint, _) in enumerate(T.graphs.integrals):
        target = [float(v) for v in (constraint.lower[0], constraint.upper[0]) if math.isfinite(v)]
        q_scale[j] = _size(target)
        q_guess[:, j] = T.tau * target[0]

    size = T.programme.n_unknowns
    start, scale = np.empty(size), np.empty(size)
    lower, upper = np.full(size, -math.inf), np.full(size, math.inf)

    # start stage
    o = slice(0, n + n_free)
    start[o] = np.concatenate([xk[0], theta_guess[:n_free]])
    scale[o] = np.concatenate([sx, theta_scale[:n_free]])
    lower[o] = np.concatenate([phase.initial[0], theta_bounds[0, :n_free]])
    upper[o] = np.concatenate([phase.initial[1], theta_bounds[1, :n_free]])

    # intervals, all at once: (N, nw)
    a, b = int(layout["ow"][1]), int(layout["ow"][N + 1])
    n_all = n + n_q + n_theta
    e = n * s if T.collocation else 0
    shape = (N, n_all + m * s + e)

    def fill(target: Array, x: Array, q: Array, th: Array, u: Array, z: Array) -> None:
        block = np.empty(shape)
        block[:, :n], block[:, n : n + n_q], block[:, n + n_q : n_all] = x, q, th
        block[:, n_all : n_all + m * s] = u
        block[:, n_all + m * s :] = z
        target[a:b] = block.ravel()

    z_lower, z_upper = np.full((s, n), -math.inf), np.full((s, n), math.inf)
    if e:
        bounded = s - 1 if T.method.c[-1] == 1.0 else s  # the last Radau node is the next knot
        z_lower[:bounded], z_upper[:bounded] = phase.state_bounds[0], phase.state_bounds[1]
    fill(start, xk[:-1], q_guess[:-1], theta_guess, un.reshape(N, -1), xn.reshape(N, -1) if e else np.empty((N, 0)))
    fill(scale, sx, q_scale, theta_scale, np.tile(su, s), np.tile(sx, s) if e else np.empty(0))
    knot_lower, knot_upper = np.tile(phase.state_bounds[0], (N, 1)), np.tile(phase.state_bounds[1], (N, 1))
    knot_lower[0], knot_upper[0] = -math.inf, math.inf  # bounded in the start stage
    inf_q, inf_th = np.full(n_q, math.inf), np.full(n_theta, math.inf)
    fill(lower, knot_lower, -inf_q, -inf_th, np.tile(phase.control_bounds[0], s), z_lower.ravel() if e else np.empty(0))
    fill(upper, knot_upper, inf_q, inf_th, np.tile(phase.control_bounds[1], s), z_upper.ravel() if e else np.empty(0))

    # end stage
    o = slice(b, size)
    start[o] = np.concatenate([xk[-1], q_guess[-1], theta_guess])
    scale[o] = np.concatenate([sx, q_scale, theta_scale])
    fixed = phase.final[0] == phase.final[1]
    lower[o] = np.concatenate([np.where(fixed, -math.inf, phase.final[0]), -inf_q, -inf_th])
    upper[o] = np.concatenate([np.where(fixed, math.inf, phase.final[1]), inf_q, inf_th])

    # rows
    rows = T.programme.n_rows
    row_lower, row_upper, row_scale = np.zeros(rows), np.zeros(rows), np.ones(rows)
    state_rows = 1.0 / np.concatenate([sx, q_scale, theta_scale])
    orow = layout["orow"]
    counts = (1, N, 1)
    k = 0
    for g, count in enumerate(counts):
        lo = int(orow[k])
        width = int(orow[k + 1]) - lo
        block = np.ones((count, width))
        low, up = np.zeros((count, width)), np.zeros((count, width))
        nn = n_all if g < 2 else 0
        ee = e if g == 1 else 0
        block[:, :nn] = state_rows[:nn]
        if ee:
            block[:, nn : nn + ee] = np.tile(1.0 / sx, s)
        low[:, nn + ee : -1], up[:, nn + ee : -1] = T.row_bounds[g]
        span = slice(lo, lo + count * width)
        row_scale[span], row_lower[span], row_upper[span] = block.ravel(), low.ravel(), up.ravel()
        k += count
    _relax(lower, upper, scale)
    _relax(row_lower, row_upper, np.ones(rows))
    data = np.zeros((N + 2, 2))
    data[1 : N + 1, 0], data[1 : N + 1, 1] = T.tau[:-1], np.diff(T.tau)
    data[N + 1, 0] = 1.0
    constants = np.concatenate([[t0, tf], p])
    return Discretised(lower, upper, row_lower, row_upper, scale, row_scale, start, data, constants)


def _relax(lower: Array, upper: Array, scale: Array) -> None:
    """Move the two sides of each inequality apart by 1e-8 of their size: a set without interior gets one."""
    unequal = lower < upper
    lower[unequal] -= RELAXATION * np.maximum(scale, np.abs(lower))[unequal]
    upper[unequal] += RELAXATION * np.maximum(scale, np.abs(upper))[unequal]


def _size(values: list[float]) -> float:
    """A positive scale for numbers of these sizes."""
    size = max((abs(v) for v in values), default=0.0)
    return size if size > 0 and math.isfinite(size) else 1.0
