"""`System`: what moves.

    continuous   ẋ = f(t, x, u, p)              a Method turns it into a step x_{k+1} = Φ(t_k, h_k, x_k, u_k, p)
    discrete     x_{k+1} = f(t_k, x_k, u_k, p)  f is the step

The function is written once, in plain NumPy style; it is run once on symbols to get its graph, and the graph is where
the compiled step and all derivatives come from. A system that is too large to be traced brings compiled functions
instead.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any

import casadi as ca
import numpy as np
from numba.core.dispatcher import Dispatcher
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.implicit_step import ImplicitStep
from adjoint.method import Method
from adjoint.names import Names, check_takes, near
from adjoint.step import KernelStep, MachineCode, Step, TracedStep, machine_code
from adjoint.symbolic import trace
from adjoint.symbolic.splitting import splitting_step, two_groups
from adjoint.symbolic.steps import explicit_step
from adjoint.symplectic import Composition

__all__ = ["System"]


class System:
    """A dynamical system: a function, the names of what it moves, and where its derivatives come from. Immutable.

    Parameters
    ----------
    f : callable
        ``f(t, x, u, p)`` returning n values: the derivative of x (continuous) or the next x (discrete). t is a number,
        x, u, p are vectors of lengths n, m, n_p.
    states, controls, parameters : str or iterable of str
        Names: ``"h v m"``, ``["h", "v", "m"]``; ``"q[6]"`` stands for q0 … q5, and ``q`` for all of them.
    discrete : bool
        Whether f returns the next state.
    name : str, optional
        Defaults to the function's name.
    mass : array_like (n, n), optional
        A constant matrix M, then the system is M ẋ = f(t, x, u, p). Where M is singular, the system is
        differential-algebraic (of index 1); it steps by implicit methods.

    Attributes
    ----------
    states, controls, parameters : tuple of str
    n, m, n_p : int
    graph : casadi.Function
        (t, x, u, p) → f, traced at first use.

    Raises
    ------
    InputError
        If f cannot be called with four arguments, there is no state, or a name is malformed or occurs twice.

    Examples
    --------
    >>> import numpy as np
    >>> def pendulum(t, x, u, p):
    ...     angle, speed = x
    ...     return [speed, u[0] - p[0] * np.sin(angle)]
    >>> System(pendulum, states="angle speed", controls="torque", parameters="stiffness")
    System('pendulum', continuous, states: angle, speed; controls: torque; parameters: stiffness)
    """

    _mass: NDArray[np.float64] | None

    def __init__(
        self,
        f: Callable[..., Any],
        states: str | Iterable[str],
        controls: str | Iterable[str] = "",
        parameters: str | Iterable[str] = "",
        discrete: bool = False,
        name: str | None = None,
        mass: ArrayLike | None = None,
    ) -> None:
        if not callable(f):
            raise InputError(f"System: f is {f!r}, which cannot be called. Pass a function f(t, x, u, p).")
        self._set(f, states, controls, parameters, discrete, name)
        check_takes(f, ("t", "x", "u", "p"), f"system {self.name!r}: the function")
        if mass is not None:
            self._mass = self._checked_mass(mass)

    def _set(
        self,
        f: Callable[..., Any],
        states: str | Iterable[str],
        controls: str | Iterable[str],
        parameters: str | Iterable[str],
        discrete: bool,
        name: str | None,
    ) -> None:
        self._f = f
        self._name = str(name) if name is not None else getattr(f, "__name__", type(f).__name__)
        self._discrete = bool(discrete)
        self._names = {
            kind: Names.parse(given, f"{kind}s of system {self._name!r}")
            for kind, given in (("state", states), ("control", controls), ("parameter", parameters))
        }
        if not self._names["state"].labels:
            raise InputError(f'system {self._name!r} has no states. Name at least one: states="x".')
        owner: dict[str, str] = {}
        for kind, names in self._names.items():
            for label in (*names.labels, *names.groups):
                if label in owner:
                    raise InputError(
                        f"system {self._name!r}: {label!r} names both a {owner[label]} and a {kind}. "
                        "Each name stands for one thing."
                    )
                owner[label] = kind
        self._sizes = tuple(len(names) for names in self._names.values())
        self._graph: ca.Function | None = None
        self._mass = None
        self._own_step: Step | None = None
        self._right_hand_side: MachineCode | None = None
        self._steps: dict[Method | Composition | None, Step] = {}
        self._kept: dict[Any, Any] = {}

    @classmethod
    def from_kernels(
        cls,
        step: Any,
        vjp: Any,
        *,
        states: str | Iterable[str],
        controls: str | Iterable[str] = "",
        parameters: str | Iterable[str] = "",
        jvp: Any = None,
        name: str | None = None,
    ) -> System:
        """A discrete system that brings its own compiled step and derivative.

        Parameters
        ----------
        step : numba.njit function
            ``step(t, h, x, u, p, x_next)`` fills x_next. h is the time between the knots.
        vjp : numba.njit function
            ``vjp(t, h, x, u, p, lam_next, lam, gu, gp)`` fills lam = Aᵀ lam_next and gu = Bᵀ lam_next, and *adds* Cᵀ
            lam_next to gp.
        states, controls, parameters : str or iterable of str
            As for `System`; ``"W[4096] b[64]"`` names the pieces of a long parameter vector.
        jvp : numba.njit function, optional
            ``jvp(t, h, x, u, p, dx, du, dp, dx_next)`` fills dx_next = A dx + B du + C dp, for `tangent`.
        name : str, optional

        Returns
        -------
        System

        Notes ----- All arrays are one-dimensional, C-contiguous float64 and lie in the caller's memory: p is never
        copied. The functions must not write to their inputs, and must not raise (an exception cannot leave machine
        code).
        """
        for role, function in (("step", step), ("vjp", vjp), ("jvp", jvp)):
            if not isinstance(function, Dispatcher) and not (role == "jvp" and function is None):
                raise InputError(
                    f"System.from_kernels: {role} is {function!r}; expected a function compiled with numba.njit."
                )
        system = cls.__new__(cls)
        system._set(step, states, controls, parameters, True, name)
        system._own_step = KernelStep(step, vjp, jvp, (system.n, system.m, system.n_p), system.name)
        return system

    @classmethod
    def from_step(
        cls,
        step: Step,
        f: Callable[..., Any],
        *,
        states: str | Iterable[str],
        controls: str | Iterable[str] = "",
        parameters: str | Iterable[str] = "",
        name: str | None = None,
    ) -> System:
        """A discrete system around a step object; how the recurrent cells become systems.

        Parameters
        ----------
        step : Step
            See `adjoint.step.Step`.
        f : callable
            The same step in plain NumPy, (t, x, u, p) → next x.
        states, controls, parameters : str or iterable of str
            As for `System`.
        name : str, optional

        Returns
        -------
        System
        """
        system = cls.__new__(cls)
        system._set(f, states, controls, parameters, True, name)
        system._own_step = step
        return system

    @classmethod
    def from_graph(
        cls,
        graph: ca.Function,
        *,
        states: str | Iterable[str],
        controls: str | Iterable[str] = "",
        parameters: str | Iterable[str] = "",
        discrete: bool = False,
        name: str | None = None,
        mass: ArrayLike | None = None,
    ) -> System:
        """A system whose function is a CasADi graph already.

        Parameters
        ----------
        graph : casadi.Function
            (t, x, u, p) → f, an SX function with one dense column as output.
        states, controls, parameters, discrete, name, mass
            As for `System`.

        Returns
        -------
        System
        """
        system = cls(GraphFunction(graph), states, controls, parameters, discrete, name or graph.name(), mass)
        system._graph = graph
        return system

    @property
    def name(self) -> str:
        """What messages and plots call the system."""
        return self._name

    @property
    def f(self) -> Callable[..., Any]:
        """The function as it was given (for a system with its own kernels: the step kernel)."""
        return self._f

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states."""
        return self._names["state"].labels

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls."""
        return self._names["control"].labels

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self._names["parameter"].labels

    @property
    def n(self) -> int:
        """Number of states."""
        return self._sizes[0]

    @property
    def m(self) -> int:
        """Number of controls."""
        return self._sizes[1]

    @property
    def n_p(self) -> int:
        """Number of parameters."""
        return self._sizes[2]

    @property
    def discrete(self) -> bool:
        """Whether f returns the next state."""
        return self._discrete

    @property
    def mass(self) -> NDArray[np.float64] | None:
        """The mass matrix M (n, n) of M ẋ = f, read-only; None for ẋ = f."""
        return self._mass

    def _checked_mass(self, mass: ArrayLike) -> NDArray[np.float64]:
        M = np.array(mass, dtype=np.float64, order="C")
        if self.discrete:
            raise InputError(f"system {self.name!r} is discrete: it has no derivative for a mass matrix to multiply.")
        if M.shape != (self.n, self.n):
            raise InputError(
                f"mass has shape {M.shape}; system {self.name!r} has {self.n} states. Pass a matrix of shape "
                f"({self.n}, {self.n})."
            )
        if not np.isfinite(M).all():
            raise InputError(f"mass of system {self.name!r} has an entry that is not finite.")
        M.setflags(write=False)
        return M

    @property
    def traced(self) -> bool:
        """Whether the derivatives come from a graph, and not from kernels that the system brought along."""
        return self._own_step is None

    @property
    def graph(self) -> ca.Function:
        """The function as a graph (t, x, u, p) → f, an SX function with one dense column as output.

        Raises
        ------
        TraceError
            If the function cannot be traced; the message names the line.
        InputError
            If the system brought its own kernels.
        """
        if not self.traced:
            raise InputError(
                f"system {self.name!r} brings its own kernels and has no graph. What needs one (optimal control by "
                "transcription, second derivatives) takes a System made from a function f(t, x, u, p)."
            )
        if self._graph is None:
            arguments: list[tuple[str, int | None]] = [("t", None), ("x", self.n), ("u", self.m), ("p", self.n_p)]
            role = f"dynamics of system {self.name!r}"
            states = f"{self.n} state{'' if self.n == 1 else 's'} ({self.describe('state')})"
            self._graph = trace(self._f, arguments, self.n, role, f"system {self.name!r} has {states}")
        return self._graph

    def index(self, name: str) -> tuple[str, int | slice]:
        """Where a name lies.

        Parameters
        ----------
        name : str
            Of a state, control or parameter, or of a group of them.

        Returns
        -------
        kind : {"state", "control", "parameter"}
        index : int, or slice for a group

        Raises
        ------
        InputError
            With the nearest names, if the name is unknown.
        """
        for kind, names in self._names.items():
            index = names.find(name) if isinstance(name, str) else None
            if index is not None:
                return kind, index
        known = [label for names in self._names.values() for label in (*names.groups, *names.labels)]
        raise InputError(f"system {self.name!r} has nothing called {name!r}. {near(str(name), known)}")

    def describe(self, kind: str) -> str:
        """The names of one kind (``"state"``, ``"control"``, ``"parameter"``) in one line, groups shortened."""
        return str(self._names[kind])

    def step(self, method: Method | Composition | None = None) -> Step:
        """The step Φ and its derivatives as machine code; made once per method and kept.

        Parameters
        ----------
        method : Method or Composition, optional
            How a continuous system steps. A discrete system is its own step, and takes None.

        Raises
        ------
        InputError
            If a continuous system gets no method, or one with a mass matrix an explicit method.
        """
        key = None if self.discrete else method
        if key not in self._steps:
            self._steps[key] = self._make_step(key)
        return self._steps[key]

    def right_hand_side(self) -> MachineCode:
        """The graph (t, x, u, p) → f as machine code on one lane; made once and kept."""
        if self._right_hand_side is None:
            self._right_hand_side = machine_code(self.graph, 1, f"the right-hand side of system {self.name!r}")
        return self._right_hand_side

    def keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` made for this key the first time: a place for what is compiled once per system.

        Parameters
        ----------
        key : hashable
            Say, a class and a method.
        make : callable
            Called without arguments if nothing is kept under the key.
        """
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _make_step(self, method: Method | Composition | None) -> Step:
        if self._own_step is not None:
            return self._own_step
        if self.discrete:
            return TracedStep(as_step(self.graph), self.name)
        if isinstance(method, Composition):
            q, v, odd = two_groups(self.graph)
            if odd is not None:
                raise InputError(
                    f"system {self.name!r} does not split into two groups of states as {method.name} needs: the rate "
                    f"of {self.states[odd]!r} depends on its own group, as with friction. Use RK4 or another method."
                )
            return TracedStep(splitting_step(self.graph, method.gammas, q, v), self.name)
        if not isinstance(method, Method):
            hint = f"Pass the method itself: adjoint.{method.upper()}." if isinstance(method, str) else ""
            raise InputError(
                f"system {self.name!r} is continuous and steps by a Method such as adjoint.RK4; got {method!r}. {hint}"
            )
        if not method.explicit:
            return ImplicitStep(self.graph, self._mass, method, self.name)
        if self._mass is not None:
            raise InputError(
                f"system {self.name!r} has a mass matrix, M ẋ = f, and {method.name} is an explicit method for ẋ = f. "
                "Use an implicit one: RODAS5P or radau(3)."
            )
        return TracedStep(explicit_step(self.graph, method.A, method.b, method.c), self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        # Addresses mean nothing in another process: the function travels, or where it cannot (a lambda, a nested
        # function), its graph.
        names = tuple(self._names[kind].specification for kind in ("state", "control", "parameter"))
        if self._own_step is not None:
            return _from_step, (self._own_step, self._f, names, self.name)
        if isinstance(self._f, GraphFunction) or not _travels(self._f):
            return _from_graph, (self.graph.serialize(), names, self.discrete, self.name, self._mass)
        return System, (self._f, *names, self.discrete, self.name, self._mass)

    def __repr__(self) -> str:
        kinds = "; ".join(f"{kind}s: {names}" for kind, names in self._names.items() if names.labels)
        return f"System({self.name!r}, {'discrete' if self.discrete else 'continuous'}, {kinds})"


class GraphFunction:
    """The numerical function f(t, x, u, p) of a graph: stands in for a Python function that could not be pickled."""

    def __init__(self, graph: ca.Function) -> None:
        self.graph = graph

    def __call__(self, t: Any, x: Any, u: Any, p: Any) -> Any:
        return np.array(self.graph(t, x, u, p)).ravel()


def as_step(graph: ca.Function) -> ca.Function:
    """The map (t, x, u, p) → f as a step (t, h, x, u, p) → f that does not look at h."""
    t, h = ca.SX.sym("t"), ca.SX.sym("h")
    x, u, p = (ca.SX.sym(name, graph.size1_in(i)) for i, name in ((1, "x"), (2, "u"), (3, "p")))
    return ca.Function("step", [t, h, x, u, p], [ca.densify(graph(t, x, u, p))])


def _travels(f: Callable[..., Any]) -> bool:
    try:
        pickle.dumps(f)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _from_graph(text: str, names: tuple[Any, Any, Any], discrete: bool, name: str, mass: Any) -> System:
    states, controls, parameters = names
    return System.from_graph(
        ca.Function.deserialize(text), states=states, controls=controls, parameters=parameters, discrete=discrete,
        name=name, mass=mass,
    )  # fmt: skip


def _from_step(step: Step, f: Any, names: tuple[Any, Any, Any], name: str) -> System:
    states, controls, parameters = names
    return System.from_step(step, f, states=states, controls=controls, parameters=parameters, name=name)
