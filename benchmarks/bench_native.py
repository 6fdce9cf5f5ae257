"""What machine code costs and what it brings: Jacobians and Hessian of one Runge-Kutta step of a quadrotor.

    python benchmarks/bench_native.py

For each graph: instructions, seconds to write the IR, to compile it, to load it from an object file, and microseconds a
knot on one lane and on all lanes, beside CasADi's interpreter. 12 states (position, velocity, roll-pitch-yaw, body
rates), 4 rotor thrusts.
"""

from __future__ import annotations

import ctypes
import time

import casadi
import numpy as np

from adjoint.native import engine, ir, lane_width
from adjoint.native.vectormath import vector_math

MASS, GRAVITY, ARM, TORQUE, INERTIA = 0.5, 9.81, 0.17, 0.016, (4.9e-3, 4.9e-3, 8.8e-3)


def quadrotor(x, u):
    velocity, (roll, pitch, yaw), rates = x[3:6], casadi.vertsplit(x[6:9]), x[9:12]
    c, s = casadi.cos, casadi.sin
    thrust_axis = casadi.vertcat(
        c(roll) * s(pitch) * c(yaw) + s(roll) * s(yaw),
        c(roll) * s(pitch) * s(yaw) - s(roll) * c(yaw),
        c(roll) * c(pitch),
    )
    acceleration = casadi.sum1(u) / MASS * thrust_axis - casadi.vertcat(0, 0, GRAVITY)
    P, Q, R = casadi.vertsplit(rates)
    turning = s(roll) * Q + c(roll) * R
    angles = casadi.vertcat(P + s(pitch) / c(pitch) * turning, c(roll) * Q - s(roll) * R, turning / c(pitch))
    moment = casadi.vertcat(ARM * (u[1] - u[3]), ARM * (u[2] - u[0]), TORQUE * (u[0] - u[1] + u[2] - u[3]))
    inertia = casadi.DM(INERTIA)
    return casadi.vertcat(velocity, acceleration, angles, (moment - casadi.cross(rates, inertia * rates)) / inertia)


def graphs():
    """The Jacobians of a step x' = step(x, u, h), and the lower half of the Hessian of l . step."""
    x, u, h, l = casadi.SX.sym("x", 12), casadi.SX.sym("u", 4), casadi.SX.sym("h"), casadi.SX.sym("l", 12)
    k1 = quadrotor(x, u)
    k2 = quadrotor(x + h / 2 * k1, u)
    k3 = quadrotor(x + h / 2 * k2, u)
    k4 = quadrotor(x + h * k3, u)
    after = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    jacobians = [casadi.jacobian(after, x), casadi.jacobian(after, u)]
    hessian = casadi.tril(casadi.hessian(casadi.dot(l, after), casadi.vertcat(x, u))[0])
    return (
        casadi.Function("jacobians", [x, u, h], [after, *jacobians], {"cse": True}),
        casadi.Function("hessian", [x, u, h, l], [hessian], {"cse": True}),
    )


def best(call, repeats=15):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(function, lanes, knots=800):
    """Seconds to emit, compile and load; microseconds a knot."""
    emit = best(lambda: ir.emit(function, lanes, vector_math(lane_width())), 3)
    program = ir.emit(function, lanes, vector_math(lane_width()))
    build = best(lambda: engine.object_code(program.text), 3)
    object_code = engine.object_code(program.text)
    load = best(lambda: engine.load(object_code), 3)
    loaded = engine.load(object_code)
    rng = np.random.default_rng(0)
    inputs = [0.3 * rng.normal(size=(knots, function.nnz_in(i))) for i in range(function.n_in())]
    outputs = [np.empty((knots, function.nnz_out(j))) for j in range(function.n_out())]
    arg = (ctypes.c_void_p * len(inputs))(*[a.ctypes.data for a in inputs])
    res = (ctypes.c_void_p * len(outputs))(*[a.ctypes.data for a in outputs])
    step = (ctypes.c_int64 * len(inputs))(*[function.nnz_in(i) * lanes for i in range(function.n_in())])
    work = np.empty(program.work_size * lanes + 1)
    blocks = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_void_p)(
        loaded.get_function_address(ir.BLOCKS)
    )
    run = best(lambda: blocks(arg, res, work.ctypes.data, knots // lanes, step))
    return emit, build, load, 1e6 * run / knots


def main():
    print(f"{'graph':10s} {'ops':>6s} {'lanes':>5s} {'emit s':>8s} {'build s':>8s} {'load ms':>8s} {'us/knot':>8s}")
    for function in graphs():
        point = [casadi.DM(0.1 * np.ones(function.nnz_in(i))) for i in range(function.n_in())]
        interpreter = function.map(200)
        many = [casadi.repmat(p, 1, 200) for p in point]
        slow = 1e6 * best(lambda call=interpreter, at=many: call(*at), 5) / 200
        for lanes in (1, lane_width()):
            emit, build, load, run = measure(function, lanes)
            print(
                f"{function.name():10s} {function.n_instructions():6d} {lanes:5d} {emit:8.3f} {build:8.3f}"
                f" {1e3 * load:8.2f} {run:8.3f}"
            )
        print(f"{function.name():10s} {'':6s} {'':5s} {'CasADi interpreter':>26s} {slow:8.3f}")


if __name__ == "__main__":
    main()
