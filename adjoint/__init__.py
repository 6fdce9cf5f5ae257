"""Optimal control and the adjoints of dynamical systems.

A user's function ``f(t, x, u, p)`` in plain NumPy style becomes machine code; one compiled backward sweep differentiates every
discrete dynamical system; `solve` turns an optimal-control problem into a certified solution.
"""

from adjoint.control.problem import OptimalControlProblem, free
from adjoint.control.solution import Solution, load
from adjoint.control.solve import solve
from adjoint.method import BS3, DOP853, DOPRI5, EULER, HEUN, MIDPOINT, RALSTON, RK4, Method, gauss, radau
from adjoint.symbolic import where
from adjoint.system import System

__all__ = [
    "BS3", "DOP853", "DOPRI5", "EULER", "HEUN", "MIDPOINT", "RALSTON", "RK4", "Method", "OptimalControlProblem", "Solution",
    "System", "free", "gauss", "load", "radau", "solve", "where",
]
