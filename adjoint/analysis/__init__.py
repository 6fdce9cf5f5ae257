"""Stability: why gradients and simulations explode, what step is safe, and what the backward sweep does to a signal.

along a path    `stability` → `StabilityReport`
"""

__all__: list[str] = []
