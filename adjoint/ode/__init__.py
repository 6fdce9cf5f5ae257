"""Ordinary differential equations, solved adaptively, with exact gradients.

solve           `solve_ivp` → `OdeSolution`: SciPy's manners, plain NumPy functions, machine code; `Event`
differentiate   `OdeSolution.sweep` → `OdeGradient`: the backward sweep over the grid that was found; `.tangent`,
                `.hessian_vector`; `continuous_adjoint` and `compare_adjoints` for comparison
algebra         `consistent`, initial values that satisfy the algebraic equations of a DAE; `consistent_vjp`
again and again `Solver`: the same numbers with a tenth of the Python, in kept memory
many at once    `solve_ensemble` → `Ensemble`: on lanes and threads, with its own `sweep`
for long        `checkpointed`: any number of steps within a budget of memory
from data       `fit` → `FitResult`: parameters and initial states from `Experiment`s, multiple shooting, intervals
symplectic      `VERLET` … `SUZUKI_UMENO8`, as `method=` of `rollout`
"""

from adjoint.ode.algebraic import consistent, consistent_vjp
from adjoint.ode.checkpoint import Checkpointed, checkpointed
from adjoint.ode.continuous import AdjointComparison, ContinuousGradient, compare_adjoints, continuous_adjoint
from adjoint.ode.ensemble import Ensemble, EnsembleGradient, solve_ensemble
from adjoint.ode.events import Event
from adjoint.ode.fit import GaussNewton, QuasiNewton, fit
from adjoint.ode.fit_data import Experiment
from adjoint.ode.fit_result import FitResult
from adjoint.ode.fit_simulate import Adaptive, FixedGrid
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
    "Adaptive",
    "AdjointComparison",
    "Checkpointed",
    "Composition",
    "ContinuousGradient",
    "Ensemble",
    "EnsembleGradient",
    "Event",
    "Experiment",
    "FitResult",
    "FixedGrid",
    "GaussNewton",
    "OdeGradient",
    "OdeSolution",
    "OdeTangent",
    "QuasiNewton",
    "Solver", "SolverGradient",
    "checkpointed",
    "compare_adjoints",
    "consistent",
    "consistent_vjp",
    "continuous_adjoint",
    "fit",
    "solve_ensemble",
    "solve_ivp",
]  # fmt: skip
