"""Ordinary differential equations, solved adaptively, with exact gradients.

solve           `solve_ivp` → `OdeSolution`: SciPy's manners, plain NumPy functions, machine code; `Event`
differentiate   `OdeSolution.sweep` → `OdeGradient`: the backward sweep over the grid that was found; `.tangent`,
                `.hessian_vector`
many at once    `solve_ensemble` → `Ensemble`: on lanes and threads, with its own `sweep`
"""

from adjoint.ode.ensemble import Ensemble, EnsembleGradient, solve_ensemble
from adjoint.ode.events import Event
from adjoint.ode.gradient import OdeGradient
from adjoint.ode.sensitivity import OdeTangent
from adjoint.ode.solution import OdeSolution
from adjoint.ode.solve import solve_ivp

__all__ = [
    "Ensemble", "EnsembleGradient", "Event", "OdeGradient", "OdeSolution", "OdeTangent", "solve_ensemble", "solve_ivp",
]  # fmt: skip
