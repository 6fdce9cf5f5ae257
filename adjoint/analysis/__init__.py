"""Stability: why gradients and simulations explode, what step is safe, and what the backward sweep does to a signal.

along a path    `stability` → `StabilityReport`; `Shooting`, `shooting_condition`
"""

from adjoint.analysis.report import StabilityReport, stability
from adjoint.analysis.shooting import Shooting, ShootingCondition, shooting_condition

__all__ = ["Shooting", "ShootingCondition", "StabilityReport", "shooting_condition", "stability"]
