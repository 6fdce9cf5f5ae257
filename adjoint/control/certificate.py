"""Evidence that a solution is one (being written)."""

from __future__ import annotations

from dataclasses import dataclass

from adjoint.control.solution import Solution

__all__ = ["Certificate", "certify"]


@dataclass(frozen=True)
class Certificate:
    holds: bool
    fault: str


def certify(solution: Solution, accuracy: float = 1e-4) -> Certificate:
    return Certificate(solution.converged, "")
