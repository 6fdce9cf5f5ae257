"""The choice between an explicit and an implicit method, made on the way.

The explicit method goes first. From time to time, with the Jacobian J at hand and its steps of length h:

    stiff      h ρ > LIMIT  at two checks in a row,  ρ = max(-Re λ(J)),  and more than FEW steps of this length to go

LIMIT is inside of the stability regions of the explicit pairs (2.5 … 3.5 on the negative axis): steps that stay near it
are as long as stability allows, and not as accuracy would. Then the solve is begun again with the implicit method, so
that a solution has one method, and its trajectory one step. What is lost is the explicit run up to that point.
"""

from __future__ import annotations

from typing import NamedTuple

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from adjoint.kernels import grid as kernels
from adjoint.method import Automatic
from adjoint.ode.explicit import ExplicitRunner
from adjoint.ode.run import Walk, Watch
from adjoint.system import System

__all__ = ["DetectingRunner", "StiffError"]

Array = NDArray[np.float64]
CHECK = 100  # attempts between two checks
LIMIT, FEW = 1.8, 300


class Found(NamedTuple):
    """Where a system turned out to be stiff, the step there, and ρ."""

    t: float
    h: float
    rho: float


class StiffError(Exception):
    """The explicit method has to give way: not an error that a user meets.

    Parameters
    ----------
    found : Found
    """

    def __init__(self, found: Found) -> None:
        super().__init__(found)
        self.found = found


class DetectingRunner(ExplicitRunner):
    """An explicit runner that raises `StiffError`.

    Parameters
    ----------
    system : System
    method : Automatic
    """

    def __init__(self, system: System, method: Automatic) -> None:
        super().__init__(system, method.explicit)
        f = system.graph
        z = [ca.SX.sym(name, f.size1_in(i)) for i, name in enumerate("txup")]
        self._jacobian = ca.Function("jacobian", z, [ca.densify(ca.jacobian(f(*z), z[1]))])

    def advance(self, walk: Walk, watch: Watch, pause: int) -> int:
        """See `Runner`."""
        suspected = False
        for _ in range(max(1, pause // CHECK)):
            status = super().advance(walk, watch, CHECK)
            if status != kernels.PAUSED:
                return status
            found = self.stiffness(walk)
            few = abs(walk.knots[-1] - found.t) < FEW * abs(found.h)
            suspicious = not few and found.h * found.rho > LIMIT
            if suspicious and suspected:
                raise StiffError(found)
            suspected = suspicious
        return kernels.PAUSED

    def stiffness(self, walk: Walk) -> Found:
        """h and ρ where the walk stands."""
        k = walk.steps
        t, x, u = float(walk.t[k]), walk.x[k], walk.U[min(int(walk.count[kernels.INTERVAL]), len(walk.U) - 1)]
        J = np.array(self._jacobian(t, x, u, walk.p))
        # The length that stands in `number` is a wish; the mean of the last steps is what was granted.
        last = walk.t[max(0, k - 10) : k + 1]
        h = abs(last[-1] - last[0]) / max(1, last.size - 1)
        bound = min(np.abs(J).sum(axis=0).max(), np.abs(J).sum(axis=1).max())  # ρ <= any norm
        if not (np.isfinite(bound) and h * bound > LIMIT):
            return Found(t, h, 0.0)
        sign = np.sign(walk.knots[-1] - walk.knots[0])
        return Found(t, h, float((-sign * np.linalg.eigvals(J).real).max()))
