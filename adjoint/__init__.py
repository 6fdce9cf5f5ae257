"""Optimal control and the adjoints of dynamical systems.

A user's function ``f(t, x, u, p)`` in plain NumPy style becomes machine code; one compiled backward sweep
differentiates every discrete dynamical system; `solve` turns an optimal-control problem into a certified solution.

what moves      `System`, `Method`: `EULER` … `DOP853`, `RODAS5P`, `gauss`, `radau`; in functions `where`, `Table`
the sweeps      `rollout`, `tangent`, `sweep`, `linearize`, `hessian_vector`
equations       `solve_ivp`; `ode` has the rest: gradients, events, ensembles, checkpointing, `ode.fit` to data
networks        `recurrent`, with cells, unrolling and truncation
what grows      `stability`; `analysis`, with Lyapunov exponents, pseudospectra, the backward sweep as a filter
what is wanted  `OptimalControlProblem`, `free`
                `problems`, a zoo of them
what was found  `solve`, `Solution`, `load`, `certify`, `crosscheck`
is it right     `check_gradient`, `check_complex_step`
on its own      `compile`, for any CasADi function
"""

from adjoint import analysis, ode, problems, recurrent
from adjoint.analysis.report import stability
from adjoint.check import check_complex_step, check_gradient
from adjoint.control.certificate import certify
from adjoint.control.problem import OptimalControlProblem, free
from adjoint.control.solution import Solution, load
from adjoint.control.solve import solve
from adjoint.crosscheck import crosscheck
from adjoint.errors import AdjointError
from adjoint.method import AUTO, BS3, DOP853, DOPRI5, EULER, HEUN, RK4, RODAS5P, TSIT5, Method, gauss, radau
from adjoint.native import compile
from adjoint.ode import solve_ivp
from adjoint.sweeps import hessian_vector, linearize, rollout, sweep, tangent
from adjoint.symbolic import Table, where
from adjoint.system import System

__all__ = [
    "AUTO", "BS3", "DOP853", "DOPRI5", "EULER", "HEUN", "RK4", "RODAS5P", "TSIT5", "AdjointError", "Method",
    "OptimalControlProblem", "Solution", "System", "Table", "analysis", "certify", "check_complex_step",
    "check_gradient", "compile", "crosscheck", "free", "gauss", "hessian_vector", "linearize", "load", "ode",
    "problems", "radau", "recurrent", "rollout", "solve", "solve_ivp", "stability", "sweep", "tangent", "where",
]
