"""Stability: why gradients and simulations explode, what step is safe, and what the backward sweep does to a signal.

along a path    `stability` → `StabilityReport`; `Shooting`, `shooting_condition`
attractors      `lyapunov` → `LyapunovSpectrum`; `covariant_vectors` → `CovariantVectors`
matrices        `transient_growth`, `kreiss_constant`, `numerical_range`, `numerical_abscissa`, `numerical_radius`,
                `pseudospectrum`, `pseudospectral_abscissa`, `pseudospectral_radius`
filters         `backward_filter` → `BackwardFilter`; `measured_response`, `fixed_point`, `rest`
of a method     `method_stability` → `MethodStability`; `stability_function`, `order_conditions`
a safe step     `max_stable_step`, `max_stable_step_along` → `StepLimit`
"""

from adjoint.analysis.filter import BackwardFilter, backward_filter, fixed_point, measured_response, rest
from adjoint.analysis.lyapunov import CovariantVectors, LyapunovSpectrum, covariant_vectors, lyapunov
from adjoint.analysis.methods import MethodStability, method_stability
from adjoint.analysis.methods_trees import Condition, order_conditions
from adjoint.analysis.nonnormal import (
    Kreiss,
    kreiss_constant,
    numerical_abscissa,
    numerical_radius,
    numerical_range,
    pseudospectral_abscissa,
    pseudospectral_radius,
    pseudospectrum,
    transient_growth,
)
from adjoint.analysis.regions import StabilityFunction, stability_function
from adjoint.analysis.report import StabilityReport, stability
from adjoint.analysis.shooting import Shooting, ShootingCondition, shooting_condition
from adjoint.analysis.step_limit import StepLimit, max_stable_step, max_stable_step_along

__all__ = [
    "BackwardFilter", "Condition", "CovariantVectors", "Kreiss", "LyapunovSpectrum", "MethodStability", "Shooting",
    "ShootingCondition", "StabilityFunction", "StabilityReport", "StepLimit", "backward_filter",
    "covariant_vectors", "fixed_point", "kreiss_constant", "lyapunov", "max_stable_step", "max_stable_step_along",
    "measured_response", "method_stability", "numerical_abscissa", "numerical_radius", "numerical_range",
    "order_conditions", "pseudospectral_abscissa", "pseudospectral_radius", "pseudospectrum", "rest",
    "shooting_condition", "stability", "stability_function", "transient_growth",
]  # fmt: skip
