"""The integral of a running cost, as one more state.

    x_{n+1}(t_0) = 0,   ẋ_{n+1} = ℓ(t, x, u, p)        a map:   x_{n+1} ← x_{n+1} + ℓ(t_k, x_k, u_k, p)

The method integrates it (a map: sums it) along with the others, so that its gradient is that of any other state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import casadi as ca
import numpy as np

from adjoint.ode.given import with_four_arguments
from adjoint.symbolic import trace
from adjoint.system import System

__all__ = ["with_running"]


def with_running(system: System, running: Callable[..., Any]) -> System:
    """The system with ∫ ℓ dt as its last state; the one made last is kept with the system.

    Parameters
    ----------
    system : System
        With a graph.
    running : callable
        ℓ(t, x, u, p), or ℓ(t, x); traced once.

    Returns
    -------
    System
    """
    kept: list[Any] = system.keep(with_running, lambda: [None, None])
    if kept[0] is not running:
        kept[:] = running, _extended(system, running)
    made: System = kept[1]
    return made


def _extended(system: System, running: Callable[..., Any]) -> System:
    n, graph = system.n, system.graph
    arguments: list[tuple[str, int | None]] = [("t", None), ("x", n), ("u", system.m), ("p", system.n_p)]
    cost = trace(with_four_arguments(running), arguments, None, f"running cost over system {system.name!r}")
    t, x, u, p = ca.SX.sym("t"), ca.SX.sym("x", n + 1), ca.SX.sym("u", system.m), ca.SX.sym("p", system.n_p)
    f, l = graph(t, x[:n], u, p), cost(t, x[:n], u, p)
    mass = None
    if system.mass is not None:
        mass = np.eye(n + 1)
        mass[:n, :n] = system.mass
    label = next(name for name in ("integral", "integral_", "integral__") if name not in system.states)
    return System.from_graph(
        ca.Function("f", [t, x, u, p], [ca.densify(ca.vertcat(f, x[n] + l if system.discrete else l))]),
        states=[*system.states, label], controls=system.controls, parameters=system.parameters,
        discrete=system.discrete, name=system.name, mass=mass,
    )  # fmt: skip
