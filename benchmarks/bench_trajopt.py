"""Trajectory optimisation against CasADi's solvers: same transcription, same guess, one interleaved run.

    python benchmarks/bench_trajopt.py [cartpole pendulum quadrotor goddard lqr lqr_box scaling setup first] [--no-jit]

The first three are RK4 multiple shooting with N = 100, zero-order hold, rectangle rule for the cost, straight-line
guess, written as a discrete system so that every solver gets exactly the same programme. Goddard's rocket: ours by
Gauss collocation, CasADi by the trapezoidal rule. Times are medians of the solve alone; set-up is everything from the
function to the ready solver. `setup` times it from an empty and from a full disk cache, `first` the very first
compilation of the kernels and a fresh process, `scaling` the chain from 100 to 100 000 steps. Pin to one core for
comparable figures. The jit rows need gcc; crocoddyl is timed on the chain where it is installed.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import importlib.util
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import casadi as ca
import numpy as np
from scipy.linalg import expm
from scipy.sparse import block_array, csc_matrix, csr_matrix, identity

import adjoint

REPEATS = 15


# ------------------------------------------------------------------------------------------------ instances
def cartpole(t, x, u, p):
    m1, m2, length, g = 1.0, 0.3, 0.5, 9.81
    s, c = np.sin(x[1]), np.cos(x[1])
    a = (length * m2 * s * x[3] ** 2 + u[0] + m2 * g * c * s) / (m1 + m2 * (1 - c**2))
    b = -(length * m2 * c * s * x[3] ** 2 + u[0] * c + (m1 + m2) * g * s) / (length * m1 + length * m2 * (1 - c**2))
    return [x[2], x[3], a, b]


def pendulum(t, x, u, p):
    return [x[1], u[0] - 0.1 * x[1] - 9.81 * np.sin(x[0])]


def quadrotor(t, x, u, p):
    m, g, arm, kt, (ix, iy, iz) = 0.5, 9.81, 0.17, 0.016, (4.9e-3, 4.9e-3, 8.8e-3)
    roll, pitch, yaw, P, Q, R = (x[i] for i in range(6, 12))
    sr, cr, sp, cp, sy, cy = np.sin(roll), np.cos(roll), np.sin(pitch), np.cos(pitch), np.sin(yaw), np.cos(yaw)
    T = (u[0] + u[1] + u[2] + u[3]) / m
    tx, ty, tz = arm * (u[1] - u[3]), arm * (u[2] - u[0]), kt * (u[0] - u[1] + u[2] - u[3])
    return [
        x[3],
        x[4],
        x[5],
        T * (cr * sp * cy + sr * sy),
        T * (cr * sp * sy - sr * cy),
        T * cr * cp - g,
        P + sr * sp / cp * Q + cr * sp / cp * R,
        cr * Q - sr * R,
        (sr * Q + cr * R) / cp,
        (tx + (iy - iz) * Q * R) / ix,
        (ty + (iz - ix) * P * R) / iy,
        (tz + (ix - iy) * P * Q) / iz,
    ]


HOVER = 0.5 * 9.81 / 4
CYLINDERS = ((1.0, 0.8, 0.5), (2.0, 2.2, 0.6))
INSTANCES = {
    "cartpole": dict(
        f=cartpole,
        T=2.0,
        x0=[0.0] * 4,
        xf=[1, np.pi, 0, 0],
        bound=(-20, 20),
        guess=0.0,
        cost=lambda x, u: u[0] ** 2,
        states="q1 q2 v1 v2",
        controls="force",
    ),
    "pendulum": dict(
        f=pendulum,
        T=4.0,
        x0=[0.0] * 2,
        xf=[np.pi, 0],
        bound=(-6, 6),
        guess=0.1,
        cost=lambda x, u: u[0] ** 2,
        states="angle rate",
        controls="torque",
    ),
    "quadrotor": dict(
        f=quadrotor,
        T=3.0,
        x0=[0.0] * 12,
        xf=[3, 3, 1] + [0] * 9,
        bound=(0, 3),
        guess=HOVER,
        cost=lambda x, u: sum((u[i] - HOVER) ** 2 for i in range(4)) + 0.05 * (x[9] ** 2 + x[10] ** 2 + x[11] ** 2),
        states="r[3] v[3] a[3] w[3]",
        controls="thrust[4]",
    ),
}


def rk4_map(f: Callable, h: float) -> Callable:
    """One RK4 step of f as a discrete system's function."""

    def step(t, x, u, p):
        def g(y):
            return np.array(f(t, y, u, p), like=x)

        k1 = g(x)
        k2 = g(x + h / 2 * k1)
        k3 = g(x + h / 2 * k2)
        k4 = g(x + h * k3)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    return step


# ------------------------------------------------------------------------------------------------ ours
def ours(name: str, N: int = 100) -> adjoint.OptimalControlProblem:
    """The instance as a discrete problem."""
    I = INSTANCES[name]
    h = I["T"] / N
    system = adjoint.System(rk4_map(I["f"], h), I["states"], I["controls"], discrete=True, name=name)
    cost = I["cost"]
    path = None
    if name == "quadrotor":
        path = {
            "cylinders": (
                lambda t, x, u, p: [(x[0] - a) ** 2 + (x[1] - b) ** 2 - r**2 for a, b, r in CYLINDERS],
                0,
                None,
            )
        }
    return adjoint.OptimalControlProblem(
        system,
        initial=I["x0"],
        final=I["xf"],
        bounds=dict.fromkeys(system.controls, I["bound"]),
        t=(0, N),
        running=lambda t, x, u, p: h * cost(x, u),
        path=path,
        guess=dict.fromkeys(system.controls, I["guess"]),
    )


# ------------------------------------------------------------------------------------------------ CasADi
def casadi_programme(name: str, N: int = 100) -> tuple[dict, dict]:
    """Stage-ordered programme and the solver call's arguments."""
    I = INSTANCES[name]
    n, m, h = len(I["x0"]), (4 if name == "quadrotor" else 1), I["T"] / N
    x, u = ca.SX.sym("x", n), ca.SX.sym("u", m)
    f = I["f"]

    def rhs(y):
        return ca.vertcat(*f(0.0, _Numpy(y), _Numpy(u), None))

    k1 = rhs(x)
    k2 = rhs(x + h / 2 * k1)
    k3 = rhs(x + h / 2 * k2)
    k4 = rhs(x + h * k3)
    F = ca.Function("F", [x, u], [x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)])
    L = ca.Function("L", [x, u], [h * I["cost"](x, u)])
    G = ca.Function("G", [x], [ca.vertcat(*[(x[0] - a) ** 2 + (x[1] - b) ** 2 - r**2 for a, b, r in CYLINDERS])])
    X = [ca.MX.sym(f"x{k}", n) for k in range(N + 1)]
    U = [ca.MX.sym(f"u{k}", m) for k in range(N)]
    w, g, lbg, ubg, equality, start, J = [], [], [], [], [], [], 0
    lo, up = I["bound"]

    def rows(expression, low, high, equal):
        k = expression.shape[0]
        g.append(expression)
        lbg.extend([low] * k)
        ubg.extend([high] * k)
        equality.extend([equal] * k)

    line = np.linspace(I["x0"], I["xf"], N + 1)
    for k in range(N):
        w += [X[k], U[k]]
        start += [*line[k], *([I["guess"]] * m)]
        rows(X[k + 1] - F(X[k], U[k]), 0, 0, True)
        if k == 0:
            rows(X[0] - ca.DM(I["x0"]), 0, 0, True)
        rows(U[k], lo, up, False)
        if name == "quadrotor" and k > 0:
            rows(G(X[k]), 0, ca.inf, False)
        J += L(X[k], U[k])
    w.append(X[N])
    start += [*line[N]]
    rows(X[N] - ca.DM(I["xf"]), 0, 0, True)
    return (dict(x=ca.veccat(*w), f=J, g=ca.vertcat(*g)), dict(x0=start, lbg=lbg, ubg=ubg, equality=equality))


class _Numpy:
    """A CasADi column that np.sin and np.cos accept component by component."""

    def __init__(self, column: ca.SX) -> None:
        self.column = column

    def __getitem__(self, i: int) -> ca.SX:
        return self.column[i]


QUIET = {"print_time": False}
JIT = {"jit": True, "compiler": "shell", "jit_options": {"flags": ["-O1"], "compiler": "gcc"}, "jit_temp_suffix": True}
IPOPT = QUIET | {"ipopt.print_level": 0, "ipopt.sb": "yes"}
FATROP = QUIET | {"fatrop.print_level": 0}


def casadi_solver(name: str, plugin: str, options: dict) -> tuple[Callable, float]:
    clock = time.perf_counter()
    programme, arguments = casadi_programme(name)
    equality = arguments.pop("equality")
    if plugin == "fatrop":
        options = options | {"structure_detection": "auto", "equality": equality}
    solver = ca.nlpsol("s", plugin, programme, options)
    setup = time.perf_counter() - clock

    def solve() -> tuple[float, int]:
        result = solver(**arguments)
        return float(result["f"]), solver.stats()["iter_count"]

    return solve, setup


def goddard_trapezoid(N: int) -> tuple[Callable, float]:
    """COPS Goddard rocket, trapezoidal rule, its own start, CasADi Opti with expanded graph + IPOPT."""
    clock = time.perf_counter()
    x, u = ca.SX.sym("x", 3), ca.SX.sym("u")
    drag = 310 * x[1] ** 2 * ca.exp(-500 * (x[0] - 1))
    f = ca.Function("f", [x, u], [ca.vertcat(x[1], (u - drag) / x[2] - 1 / x[0] ** 2, -2 * u)]).map(N + 1)
    o = ca.Opti()
    X, U, T = o.variable(3, N + 1), o.variable(1, N + 1), o.variable()
    F = f(X, U)
    o.subject_to(ca.vec(X[:, 1:] - X[:, :-1] - T / (2 * N) * (F[:, 1:] + F[:, :-1])) == 0)
    o.subject_to(X[:, 0] == [1, 0, 1])
    o.subject_to(X[2, -1] == 0.6)
    o.subject_to(o.bounded(0, ca.vec(U), 3.5))
    o.subject_to(ca.vec(X[0, :]) >= 1)
    o.subject_to(ca.vec(X[1, :]) >= 0)
    o.subject_to(o.bounded(0.6, ca.vec(X[2, :]), 1))
    o.subject_to(o.bounded(0.01, T, 1))
    o.minimize(-X[0, -1])
    s = np.linspace(0, 1, N + 1)
    o.set_initial(X, np.array([0 * s + 1, s * (1 - s), 1 - 0.4 * s]))
    o.set_initial(U, 1.75)
    o.set_initial(T, 1)
    o.solver("ipopt", IPOPT | {"expand": True})
    o.solve()
    setup = time.perf_counter() - clock

    def solve() -> tuple[float, int]:
        solution = o.solve()
        return float(solution.value(X[0, -1])), solution.stats()["iter_count"]

    return solve, setup


def goddard() -> adjoint.OptimalControlProblem:
    def rocket(t, x, u, p):
        h, v, m = x
        return [v, (u[0] - 310 * v**2 * np.exp(-500 * (h - 1))) / m - 1 / h**2, -2 * u[0]]

    return adjoint.OptimalControlProblem(
        adjoint.System(rocket, "h v m", "thrust"),
        initial=dict(h=1, v=0, m=1),
        final=dict(m=0.6),
        bounds=dict(thrust=(0, 3.5)),
        maximize=lambda t, x, p: x[0],
        t=(0, adjoint.free(0.2)),
    )


def chain_matrices() -> tuple[np.ndarray, np.ndarray]:
    k = 2 * np.eye(6) - np.eye(6, k=1) - np.eye(6, k=-1)
    A = np.block([[np.zeros((6, 6)), np.eye(6)], [-k, -0.1 * np.eye(6)]])
    B = np.zeros((12, 4))
    B[6 + np.array([0, 2, 3, 5]), range(4)] = 1
    E = expm(np.block([[A, B], [np.zeros((4, 16))]]) * 0.05)
    return E[:12, :12], E[:12, 12:]


CHAIN_START = np.concatenate([np.linspace(-2, 2, 6), np.zeros(6)])


def chain(boxed: bool, N: int = 1000) -> adjoint.OptimalControlProblem:
    """Six masses: n = 12, m = 4; costs x'x/2 + 0.05 u'u a step, 5 x'x at the end."""
    A, B = chain_matrices()
    system = adjoint.System(lambda t, x, u, p: A @ x + B @ u, "q[6] v[6]", "u[4]", discrete=True, name="chain")
    return adjoint.OptimalControlProblem(
        system,
        initial=CHAIN_START,
        t=(0, N),
        bounds=dict.fromkeys(system.controls, (-0.5, 0.5)) if boxed else None,
        running=lambda t, x, u, p: 0.5 * (x @ x) + 0.05 * (u @ u),
        minimize=lambda t, x, p: 5 * (x @ x),
    )


def chain_fatrop(boxed: bool, N: int = 1000) -> tuple[Callable, float]:
    clock = time.perf_counter()
    A, B = chain_matrices()
    X = [ca.MX.sym(f"x{k}", 12) for k in range(N + 1)]
    U = [ca.MX.sym(f"u{k}", 4) for k in range(N)]
    x, u = ca.SX.sym("x", 12), ca.SX.sym("u", 4)
    F = ca.Function("F", [x, u], [ca.DM(A) @ x + ca.DM(B) @ u])
    L = ca.Function("L", [x, u], [0.5 * ca.dot(x, x) + 0.05 * ca.dot(u, u)])
    w, g, low, high, equality, J = [], [], [], [], [], 0
    for k in range(N):
        w += [X[k], U[k]]
        g.append(X[k + 1] - F(X[k], U[k]))
        if k == 0:
            g.append(X[0] - ca.DM(CHAIN_START))
        rows = 24 if k == 0 else 12
        low += [0] * rows
        high += [0] * rows
        equality += [True] * rows
        if boxed:
            g.append(U[k])
            low += [-0.5] * 4
            high += [0.5] * 4
            equality += [False] * 4
        J += L(X[k], U[k])
    J += 5 * ca.dot(X[N], X[N])
    w.append(X[N])
    solver = ca.nlpsol(
        "s",
        "fatrop",
        dict(x=ca.veccat(*w), f=J, g=ca.vertcat(*g)),
        FATROP | {"structure_detection": "auto", "equality": equality, "expand": True},
    )
    setup = time.perf_counter() - clock

    def solve() -> tuple[float, int]:
        result = solver(x0=0, lbg=low, ubg=high)
        return float(result["f"]), solver.stats()["iter_count"]

    return solve, setup


def chain_piqp(N: int = 1000) -> tuple[Callable, float]:
    clock = time.perf_counter()
    A, B = chain_matrices()
    H = np.concatenate([np.tile(np.r_[np.ones(12), 0.1 * np.ones(4)], N), 10 * np.ones(12)])
    rows = block_array([[csr_matrix(A), csr_matrix(B), -identity(12)]]).tocoo()
    i = (np.arange(N)[:, None] * 12 + rows.row).ravel()
    j = (np.arange(N)[:, None] * 16 + rows.col).ravel()
    M = csc_matrix((np.tile(rows.data, N), (i, j)), shape=(12 * N, 16 * N + 12))
    M.sort_indices()
    a = ca.DM(ca.Sparsity(*M.shape, M.indptr.tolist(), M.indices.tolist()), M.data)
    h = ca.diag(ca.DM(H))
    low = np.full(16 * N + 12, -np.inf)
    low.reshape(-1)[: 16 * N].reshape(N, 16)[:, 12:] = -0.5
    high = -low
    low[:12] = high[:12] = CHAIN_START
    solver = ca.conic("s", "piqp", dict(h=h.sparsity(), a=a.sparsity()), {"error_on_fail": False})
    setup = time.perf_counter() - clock
    zero = np.zeros(12 * N)

    def solve() -> tuple[float, int]:
        result = solver(h=h, a=a, lbx=low, ubx=high, lba=zero, uba=zero)
        return float(result["cost"]), int(solver.stats().get("iter_count", -1))

    return solve, setup


def chain_crocoddyl(boxed: bool, N: int = 1000) -> tuple[Callable, float]:
    import crocoddyl

    clock = time.perf_counter()
    A, B = chain_matrices()

    def model(Q: np.ndarray) -> object:
        m = crocoddyl.ActionModelLQR(12, 4, False)
        m.Fx, m.Fu, m.f0, m.lx, m.lu = A, B, np.zeros(12), np.zeros(12), np.zeros(4)
        m.Lxx, m.Luu, m.Lxu = Q, 0.1 * np.eye(4), np.zeros((12, 4))
        if boxed:
            m.u_lb, m.u_ub = -0.5 * np.ones(4), 0.5 * np.ones(4)
        return m

    problem = crocoddyl.ShootingProblem(CHAIN_START, [model(np.eye(12))] * N, model(10 * np.eye(12)))
    problem.nthreads = 1
    solver = (crocoddyl.SolverBoxFDDP if boxed else crocoddyl.SolverDDP)(problem)
    solver.th_stop = 1e-10
    setup = time.perf_counter() - clock

    def solve() -> tuple[float, int]:
        solver.solve([CHAIN_START] * (N + 1), [np.zeros(4)] * N, 100, False, 1e-9)
        return float(solver.cost), int(solver.iter)

    return solve, setup


# ------------------------------------------------------------------------------------------------ the run
def our_solver(make: Callable[[], adjoint.OptimalControlProblem], **options: object) -> tuple[Callable, float]:
    """Solver and its set-up time from an empty disk cache (the solver's own kernels apart)."""
    adjoint.solve(goddard(), intervals=5, certificate=False)  # kernels are loaded once a process, before any figure
    problem, cold = first_solve(make, **options)

    def solve() -> tuple[float, int]:
        s = adjoint.solve(problem, certificate=False, **options)
        if not s.converged:
            print("  not converged:", s.status)
        return s.cost, s.iterations

    return solve, cold


def first_solve(
    make: Callable[[], adjoint.OptimalControlProblem], **options: object
) -> tuple[adjoint.OptimalControlProblem, float]:
    """A new problem and the seconds from its function to the ready solver, with an empty disk cache."""
    keep = os.environ.get("ADJOINT_CACHE_DIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ADJOINT_CACHE_DIR"] = folder
        problem = make()
        solution = adjoint.solve(problem, certificate=False, max_iterations=0, **options)
    if keep is None:
        del os.environ["ADJOINT_CACHE_DIR"]
    else:
        os.environ["ADJOINT_CACHE_DIR"] = keep
    return problem, solution.seconds["trace"] + solution.seconds["compile"]


def scaling() -> None:
    """The chain at growing N: time and memory a step."""
    for N in (100, 1_000, 10_000, 100_000):
        problem = chain(False, N)
        adjoint.solve(problem, certificate=False, max_iterations=0)
        clock = time.perf_counter()
        solution = adjoint.solve(problem, certificate=False)
        seconds = time.perf_counter() - clock
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"scaling    chain N = {N:6d}: {1e3 * seconds:8.1f} ms, {1e6 * seconds / N:6.2f} us a step, "
            f"process peak {memory:6.0f} MB, "
            f"{solution.iterations} iterations, cost {solution.cost:.8g}",
            flush=True,
        )


SETUP_CODE = """
import sys, time, warnings; sys.path[:0] = [{here!r}]; warnings.simplefilter("ignore")
import adjoint, bench_trajopt as b
adjoint.solve(b.goddard(), intervals=5, certificate=False)
make = {make}
clock = time.perf_counter(); s = adjoint.solve(make(), certificate=False, max_iterations=0)
print(time.perf_counter() - clock)
"""


def set_up() -> None:
    """Seconds from the function to the ready solver, in new processes: empty disk cache, then a full one."""
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ("cartpole", "quadrotor"):
        code = SETUP_CODE.format(here=here, make=f"lambda: b.ours({name!r})")
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"ADJOINT_CACHE_DIR": folder, "ADJOINT_QUIET": "1"}
            kernels = SETUP_CODE.format(here=here, make="b.goddard")
            subprocess.run([sys.executable, "-c", kernels], env=environment, check=True, capture_output=True)
            seconds = [
                float(
                    subprocess.run(
                        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
                    ).stdout
                )
                for _ in range(4)
            ]
        print(
            f"set-up     {name:10s} empty cache {seconds[0]:.3f} s, from the cache {np.median(seconds[1:]):.3f} s",
            flush=True,
        )


def first() -> None:
    """The very first solve after installation, and a fresh process after that."""
    command = [sys.executable, "-m", "adjoint", "solve", "goddard_rocket", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"ADJOINT_CACHE_DIR": folder}
        for label in ("first solve ever (all kernels compiled)", "fresh process, caches warm", "again", "again"):
            clock = time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            print(f"process    {label:40s} {time.perf_counter() - clock:6.2f} s", flush=True)


def compare(name: str, entries: list[tuple[str, Callable, float]]) -> None:
    """Interleaved repetitions; prints median, fastest, objective, iterations and the ratio to the first entry."""
    times: list[list[float]] = [[] for _ in entries]
    results: list[tuple[float, int]] = [(0.0, 0)] * len(entries)
    for _ in range(REPEATS):
        for i, (_, solve, _) in enumerate(entries):
            clock = time.perf_counter()
            results[i] = solve()
            times[i].append(time.perf_counter() - clock)
    first = float(np.median(times[0]))
    for (label, _, setup), seconds, (cost, iterations) in zip(entries, times, results, strict=True):
        middle = float(np.median(seconds))
        print(
            f"{name:10s} {label:34s} median {1e3 * middle:8.2f} ms  fastest {1e3 * min(seconds):8.2f}  "
            f"x{middle / first:6.2f}"
            f"  set-up {setup:7.3f} s  {iterations:4d} iterations  cost {cost:.8g}",
            flush=True,
        )


def main() -> None:
    jit = "--no-jit" not in sys.argv
    names = [a for a in sys.argv[1:] if not a.startswith("-")] or [
        *INSTANCES,
        "goddard",
        "lqr",
        "lqr_box",
        "scaling",
        "setup",
        "first",
    ]
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"CasADi {ca.__version__}, lanes {adjoint.native.lane_width()}"
    )
    for name in names:
        if name in ("scaling", "setup", "first"):
            {"scaling": scaling, "setup": set_up, "first": first}[name]()
            continue
        entries: list[tuple[str, Callable, float]] = []
        if name in INSTANCES:
            solve, cold = our_solver(lambda name=name: ours(name))
            entries.append(("adjoint", solve, cold))
            peers = [
                ("fatrop, expanded", "fatrop", FATROP | {"expand": True}),
                ("IPOPT, expanded", "ipopt", IPOPT | {"expand": True}),
            ]
            if jit:
                peers.insert(0, ("fatrop, gcc -O1", "fatrop", FATROP | JIT))
            for label, plugin, options in peers:
                peer, setup = casadi_solver(name, plugin, options)
                entries.append((f"CasADi {label}", peer, setup))
        elif name == "goddard":
            for label, options in (
                ("adjoint gauss3, N=34", dict(intervals=34)),
                ("adjoint gauss2, N=50", dict(intervals=50, method="gauss2")),
                ("adjoint, refined and certified", {}),
            ):
                if options:
                    solve, cold = our_solver(goddard, **options)
                else:
                    problem = goddard()
                    solve, cold = (
                        (lambda problem=problem: (lambda s: (s.cost, s.iterations))(adjoint.solve(problem))),
                        float("nan"),
                    )
                entries.append((label, solve, cold))
            peer, setup = goddard_trapezoid(100)
            entries.append(("CasADi trapezoid N=100, IPOPT", peer, setup))
        else:
            boxed = name == "lqr_box"
            solve, cold = our_solver(lambda boxed=boxed: chain(boxed))
            entries.append(("adjoint", solve, cold))
            if importlib.util.find_spec("crocoddyl"):
                entries.append(("crocoddyl " + ("BoxFDDP" if boxed else "DDP"), *chain_crocoddyl(boxed)))
            if boxed:
                entries.append(("CasADi piqp", *chain_piqp()))
            entries.append(("CasADi fatrop, expanded", *chain_fatrop(boxed)))
        compare(name, entries)


if __name__ == "__main__":
    main()
