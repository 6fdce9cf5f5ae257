"""What the checks of a certificate share: their record, a solution's sizes and nodes, and the search for the worst."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjoint.control.hamiltonian import Points, hamiltonian_of
from adjoint.control.solution import Solution

__all__ = ["Case", "Check", "Worst", "beyond", "constraint_bounds"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One named comparison.

    Attributes
    ----------
    name : str
    value : float
    threshold : float or None
        What `value` must not exceed; None for a value that informs only.
    passed : bool
    time : float or None
        Where it is worst.
    component : str
        The state, control or constraint that is worst.
    sentence : str
        What it means, in words; for a failure with advice.
    """

    name: str
    value: float
    threshold: float | None
    passed: bool
    time: float | None = None
    component: str = ""
    sentence: str = ""


class Case:
    """A solution with what several checks need: sizes, the nodes, and the values there."""

    def __init__(self, solution: Solution) -> None:
        self.solution, self.problem = solution, solution.problem
        self.phase = solution.problem.phases[0]
        self.system = self.phase.system
        h = self.h = hamiltonian_of(solution.problem)
        N = solution.N
        self.h_t = np.diff(solution.t)
        self.s = solution.u.shape[1] if solution.collocation else 1
        self.u = solution.u.reshape(N * self.s, h.m)
        self.size_x = np.maximum(np.abs(np.vstack([solution.x, solution.node_x])).max(axis=0), 0.01 * h.state_scale)
        self.size_u = np.maximum(np.abs(self.u).max(axis=0, initial=0.0), 0.01 * h.control_scale)
        columns = [solution.multipliers[f"path {c.name}"].reshape(self.u.shape[0], -1) for c, _ in h.graphs.path]
        self.mu = np.concatenate(columns, axis=1) if columns else np.zeros((self.u.shape[0], 0))
        if self.system.discrete:
            weight = np.ones(N)
        elif solution.collocation:
            weight = (self.h_t[:, None] * solution.method.b).ravel()
        else:
            weight = self.h_t
        self.weight = weight
        self.path_names = [f"path constraint {c.name!r}" + (f"[{i}]" if size > 1 else "")
                           for (c, _), size in zip(h.graphs.path, h.path_sizes, strict=True) for i in range(size)]
        self.path_bounds = constraint_bounds([c for c, _ in h.graphs.path], h.path_sizes)
        self.nodes = self.at(solution.node_t, solution.node_x, self.u, solution.node_costate)

    def at(self, t: Array, x: Array, u: Array, lam: Array) -> Points:
        """All functions at points that correspond to the nodes."""
        s = self.solution
        return self.h.points(t, x, u, s.p, lam, s.integral_costate, self.mu, self.size_x, self.size_u)

    def ends(self) -> list[Array]:
        """`Hamiltonian.ends` for this solution."""
        s, h = self.solution, self.h
        keys = [f"boundary {c.name}" if size == 1 else f"boundary {c.name}[{i}]"
                for (c, _), size in zip(h.graphs.boundary, h.boundary_sizes, strict=True) for i in range(size)]
        beta = np.array([float(np.ravel(s.multipliers[key])[0]) for key in keys])
        return [np.asarray(value).ravel() for value in h.ends(s.t[0], s.x[0], s.t[-1], s.x[-1], s.p, beta, self.size_x)]


def constraint_bounds(constraints: list[Any], sizes: list[int]) -> Array:
    """(2, r): bounds of all components."""
    columns = [np.stack([np.broadcast_to(c.lower, (size,)), np.broadcast_to(c.upper, (size,))])
               for c, size in zip(constraints, sizes, strict=True)]
    return np.concatenate(columns, axis=1) if columns else np.zeros((2, 0))


def beyond(values: Array, bounds: Array) -> Array:
    """By how much values (K, r) lie outside bounds (2, r)."""
    return np.maximum(np.maximum(bounds[0] - values, values - bounds[1]), 0.0)


@dataclass
class Worst:
    """The largest of many relative errors, with its name and time."""

    value: float = 0.0
    time: float | None = None
    name: str = ""

    def see(self, errors: Array, times: Array, names: list[str] | tuple[str, ...]) -> None:
        """errors (K, r) at times (K,) of r named components; NaN counts as infinite."""
        if errors.size == 0:
            return
        errors = np.where(np.isnan(errors), math.inf, errors)
        k, i = np.unravel_index(int(np.argmax(errors)), errors.shape)
        if errors[k, i] > self.value:
            self.value, self.time, self.name = float(errors[k, i]), float(times[k]), names[i]
