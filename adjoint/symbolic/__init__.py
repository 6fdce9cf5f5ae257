"""From a user's NumPy function to a differentiable CasADi graph."""

from adjoint.symbolic.first_values import check_first_values
from adjoint.symbolic.tables import Table
from adjoint.symbolic.trace import trace
from adjoint.symbolic.where import where

__all__ = ["Table", "check_first_values", "trace", "where"]
