"""From a user's NumPy function to a differentiable CasADi graph."""

from adjoint.symbolic.trace import trace
from adjoint.symbolic.where import where

__all__ = ["trace", "where"]
