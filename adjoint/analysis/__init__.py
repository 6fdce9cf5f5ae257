"""Stability: why gradients and simulations explode, what step is safe, and what the backward sweep does to a signal.

along a path    `stability` → `StabilityReport`; `Shooting`, `shooting_condition`
attractors      `lyapunov` → `LyapunovSpectrum`; `covariant_vectors` → `CovariantVectors`
matrices        `transient_growth`, `kreiss_constant`, `numerical_range`, `numerical_abscissa`, `numerical_radius`,
                `pseudospectrum`, `pseudospectral_abscissa`, `pseudospectral_radius`
filters         `backward_filter` → `BackwardFilter`; `measured_response`, `fixed_point`, `rest`
"""

from adjoint.analysis.filter import BackwardFilter, backward_filter, fixed_point, measured_response, rest
from adjoint.analysis.lyapunov import CovariantVectors, LyapunovSpectrum, covariant_vectors, lyapunov
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
from adjoint.analysis.report import StabilityReport, stability
from adjoint.analysis.shooting import Shooting, ShootingCondition, shooting_condition

__all__ = [
    "BackwardFilter", "CovariantVectors", "Kreiss", "LyapunovSpectrum", "Shooting", "ShootingCondition",
    "StabilityReport", "backward_filter", "covariant_vectors", "fixed_point", "kreiss_constant", "lyapunov",
    "measured_response", "numerical_abscissa", "numerical_radius", "numerical_range", "pseudospectral_abscissa",
    "pseudospectral_radius", "pseudospectrum", "rest", "shooting_condition", "stability", "transient_growth",
]  # fmt: skip
