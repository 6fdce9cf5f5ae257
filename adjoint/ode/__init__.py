"""Ordinary differential equations, solved adaptively, with exact gradients.

solve           `solve_ivp` → `OdeSolution`: SciPy's manners, plain NumPy functions, machine code; `Event`
differentiate   `OdeSolution.sweep` → `OdeGradient`: the backward sweep over the grid that was found; `.tangent`,
                `.hessian_vector`; `continuous_adjoint` and `compare_adjoints` for comparison
again and again `Solver`: the same numbers with a tenth of the Python, in kept memory
many at once    `solve_ensemble` → `Ensemble`: on lanes and threads, with its own `sweep`
symplectic      `VERLET` … `SUZUKI_UMENO8`, as `method=` of `rollout`
"""

from adjoint.ode.continuous import AdjointComparison, ContinuousGradient, compare_adjoints, continuous_adjoint
from adjoint.ode.ensemble import Ensemble, EnsembleGradient, solve_ensemble
from adjoint.ode.events import Event
from adjoint.ode.gradient import OdeGradient
from adjoint.ode.sensitivity import OdeTangent
from adjoint.ode.solution import OdeSolution
from adjoint.ode.solve import solve_ivp
from adjoint.ode.solver import Solver, SolverGradient
from adjoint.symplectic import KAHAN_LI6, SUZUKI4, SUZUKI_UMENO8, VERLET, YOSHIDA4, Composition

__all__ = [
    "KAHAN_LI6",
    "SUZUKI4",
    "SUZUKI_UMENO8",
    "VERLET",
    "YOSHIDA4",
    "AdjointComparison",
    "Composition",
    "ContinuousGradient",
    "Ensemble",
    "EnsembleGradient",
    "Event",
    "OdeGradient",
    "OdeSolution",
    "OdeTangent", "Solver", "SolverGradient",
    "compare_adjoints",
    "continuous_adjoint",
    "solve_ensemble",
    "solve_ivp",
]  # fmt: skip
