"""Which runner serves a method: the one place to add a family of adaptive methods."""

from __future__ import annotations

from adjoint.errors import InputError
from adjoint.method import Automatic, Method
from adjoint.ode.automatic import DetectingRunner
from adjoint.ode.explicit import ExplicitRunner
from adjoint.ode.implicit import ImplicitRunner
from adjoint.ode.run import Runner
from adjoint.system import System

__all__ = ["runner"]

_SCIPY = {  # what SciPy's users write, and what comes nearest
    "RK45": "DOPRI5", "RK23": "BS3", "DOP853": "DOP853", "RADAU": "radau(3)", "BDF": "RODAS5P", "LSODA": "AUTO",
}  # fmt: skip


def runner(system: System, method: Method | Automatic) -> Runner:
    """The runner of a method on a system; made once and kept with the system.

    An automatic method is its explicit one, which raises `StiffError`; or the implicit one if there is a mass matrix.

    Raises
    ------
    InputError
        If the system is discrete, or the method cannot find a grid.
    """
    if not isinstance(method, Method | Automatic):
        known = _SCIPY.get(method.upper()) if isinstance(method, str) else None
        known = f" SciPy's {method} is adjoint.{known} here." if known else ""
        raise InputError(
            f"method is {method!r}; expected a Method such as adjoint.TSIT5, DOP853, RODAS5P, radau(3), or AUTO.{known}"
        )
    if system.discrete:
        raise InputError(
            f"system {system.name!r} is discrete: its steps are what it is. Use rollout(system, x0, u, p=p)."
        )
    if isinstance(method, Automatic):
        if system.mass is not None:
            return runner(system, method.implicit)
        detecting: Runner = system.keep((DetectingRunner, method), lambda: DetectingRunner(system, method))
        return detecting
    family = ExplicitRunner if method.explicit else ImplicitRunner
    made: Runner = system.keep((family, method), lambda: family(system, method))
    return made
