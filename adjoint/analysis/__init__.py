"""Stability: why gradients and simulations explode, what step is safe, and what the backward sweep does to a signal.

along a path    `stability` → `StabilityReport`; `Shooting`, `shooting_condition`
attractors      `lyapunov` → `LyapunovSpectrum`; `covariant_vectors`
"""

from adjoint.analysis.lyapunov import CovariantVectors, LyapunovSpectrum, covariant_vectors, lyapunov
from adjoint.analysis.report import StabilityReport, stability
from adjoint.analysis.shooting import Shooting, ShootingCondition, shooting_condition

__all__ = [
    "CovariantVectors", "LyapunovSpectrum", "Shooting", "ShootingCondition", "StabilityReport", "covariant_vectors",
    "lyapunov", "shooting_condition", "stability",
]  # fmt: skip
