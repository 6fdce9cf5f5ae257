"""The Hamiltonian of a problem and its derivatives, as graphs and as machine code.

    H(t, x, u, p, lambda, nu)       = l + lambda' f + nu' g         l, phi: with the sign of a minimisation
    L(t, x, u, p, lambda, nu, mu)   = H + mu' c                     c: path constraints
    G(t0, x0, tf, xf, p, beta)      = phi + beta' b                 b: boundary constraints

g are the integrands of the integral constraints and nu their (constant) costates. Pontryagin's conditions:

    lambda' = -dL/dx - (multipliers of state bounds)          dL/du + (multipliers of control bounds) = 0
    lambda(t0) = -dG/dx0,   lambda(tf) = dG/dxf               for states that are free at that end
    H(t0) = dG/dt0,         H(tf) = -dG/dtf                   for free times
    u(t) minimises H over all admissible controls             (continuous time)

For a discrete system H_k = l_k + lambda_{k+1}' f(t_k, x_k, u_k, p) + nu' g.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property

import casadi as ca
import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.control.guess import make_guess
from adjoint.control.problem import OptimalControlProblem
from adjoint.control.solution import Solution
from adjoint.control.transcription import PhaseGraphs, phase_graphs
from adjoint.native import Code, CompiledFunction, compile, compile_functions

__all__ = ["Hamiltonian", "hamiltonian", "hamiltonian_of", "switching"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """What the Hamiltonian's code returns at K points (see `Hamiltonian.points`)."""

    H: Array            # (K,)
    H_terms: Array      # (K,)   |l| + sum |lambda_i f_i| + sum |nu_j g_j|: the size of what cancels in H
    H_u: Array          # (K, m) switching functions
    H_u_terms: Array    # (K, m) the same with the absolute values of all terms
    c_u: Array          # (K, m) mu' dc/du
    c_x: Array          # (K, n) mu' dc/dx
    f: Array            # (K, n)
    c: Array            # (K, r)
    reach: Array        # (K, r) |dc/dx| size_x + |dc/du| size_u: by how much c can be expected to vary
    l_reach: Array      # (K,)   |l| + |dl/dx| size_x


class Hamiltonian:
    """Graphs and machine code of one problem; made by `hamiltonian_of`, which keeps it as long as the problem lives."""

    def __init__(self, problem: OptimalControlProblem) -> None:
        phase = self.phase = problem.phases[0]
        system = phase.system
        self.graphs: PhaseGraphs = phase_graphs(phase)
        self.sign = problem.sign
        self.n, self.m, self.n_p = system.n, system.m, system.n_p
        self.n_q = len(self.graphs.integrals)
        self.path_sizes = [graph.size1_out(0) for _, graph in self.graphs.path]
        self.r = sum(self.path_sizes)
        self.boundary_sizes = [graph.size1_out(0) for _, graph in self.graphs.boundary]
        guess = make_guess(problem, None)
        self.state_scale, self.control_scale = guess.state_scale, guess.control_scale

        sx = ca.SX.sym
        t, x, u, p = self._point = [sx("t"), sx("x", self.n), sx("u", self.m), sx("p", self.n_p)]
        self._lam, self._nu = sx("lam", self.n), sx("nu", self.n_q)
        self._f = self.graphs.rhs(t, x, u, p)
        running = ca.SX(0) if self.graphs.running is None else self.graphs.running(t, x, u, p)
        self._l = self.sign * running
        self._g = ca.vertcat(ca.SX(0, 1), *[graph(t, x, u, p) for _, graph in self.graphs.integrals])
        self._c = ca.vertcat(ca.SX(0, 1), *[graph(t, x, u, p) for _, graph in self.graphs.path])
        self._H = self._l + ca.dot(self._lam, self._f) + ca.dot(self._nu, self._g)
        everything = ca.vertcat(self._f, self._l, self._g, self._c)
        self.autonomous = not ca.depends_on(everything, t)
        # Which components of c depend on the control, and which on each state.
        self.c_on_u = _pattern(self._c, u).any(axis=1)
        self.c_on_x = _pattern(self._c, x)

    # -- graphs

    @property
    def graph(self) -> ca.Function:
        """(t, x, u, p, lambda, nu) -> H, dH/dx, dH/du."""
        _, x, u, _ = self._point
        return ca.Function("hamiltonian", [*self._point, self._lam, self._nu],
                           [self._H, ca.gradient(self._H, x), ca.gradient(self._H, u)])

    # -- machine code, each piece made when it is first needed

    @cached_property
    def _points(self) -> CompiledFunction:
        _, x, u, _ = self._point
        mu, size_x, size_u = ca.SX.sym("mu", self.r), ca.SX.sym("size_x", self.n), ca.SX.sym("size_u", self.m)
        lam, nu, size = self._lam, self._nu, ca.fabs
        terms = size(self._l) + ca.dot(size(lam), size(self._f)) + ca.dot(size(nu), size(self._g))
        f_u, g_u, c_u = (ca.jacobian(value, u) for value in (self._f, self._g, self._c))
        c_x = ca.jacobian(self._c, x)
        l_u, l_x = ca.gradient(self._l, u), ca.gradient(self._l, x)
        columns = [self._H, terms, ca.gradient(self._H, u),
                   size(l_u) + ca.mtimes(size(f_u).T, size(lam)) + ca.mtimes(size(g_u).T, size(nu)),
                   ca.mtimes(c_u.T, mu), ca.mtimes(c_x.T, mu), self._f, self._c,
                   ca.mtimes(size(c_x), size_x) + ca.mtimes(size(c_u), size_u),
                   size(self._l) + ca.dot(size(l_x), size_x)]
        one = ca.cse([ca.densify(ca.vertcat(*columns))])[0]
        return compile(ca.Function("points", [*self._point, lam, nu, mu, size_x, size_u], [one]))

    @cached_property
    def _samples(self) -> CompiledFunction:
        both = ca.densify(ca.vertcat(self._H, self._c))
        return compile(ca.Function("samples", [*self._point, self._lam, self._nu], [both]))

    @cached_property
    def augmented_graph(self) -> ca.Function:
        """(t, (x, cost, q), u, p) -> (f, l, g): the running cost and the integrals ride along as states.

        In continuous time the controls are cut off at their bounds, as `Solution.control` hands them out.
        """
        t, x, u, p = self._point
        extras = ca.SX.sym("extras", 1 + self.n_q)
        slope = ca.Function("slope", [t, x, u, p], [ca.densify(ca.vertcat(self._f, self._l, self._g))])
        lower, upper = self.phase.control_bounds
        cut = u if self.phase.system.discrete else ca.fmin(ca.fmax(u, ca.DM(lower)), ca.DM(upper))
        return ca.Function("augmented", [t, ca.vertcat(x, extras), u, p], [slope(t, x, cut, p)])

    @cached_property
    def augmented(self) -> Code:
        """`augmented_graph` on one lane."""
        return compile_functions([(self.augmented_graph, 1)])[0]

    @cached_property
    def augmented_function(self) -> CompiledFunction:
        """`augmented_graph` for NumPy arrays."""
        return compile(self.augmented_graph)

    @cached_property
    def joint(self) -> Code:
        """(t, (x, lambda), u, (p, nu)) -> (f, -dH/dx), one lane."""
        t, x, u, p = self._point
        graph = ca.Function("joint", [t, ca.vertcat(x, self._lam), u, ca.vertcat(p, self._nu)],
                            [ca.densify(ca.vertcat(self._f, -ca.gradient(self._H, x)))])
        return compile_functions([(graph, 1)])[0]

    @cached_property
    def ends(self) -> ca.Function:
        """(t0, x0, tf, xf, p, beta, size_x) -> phi, dG/dt0, dG/dx0, dG/dtf, dG/dxf, dphi/dxf, b, reach of b."""
        sx = ca.SX.sym
        t0, x0, tf, xf, p = sx("t0"), sx("x0", self.n), sx("tf"), sx("xf", self.n), sx("p", self.n_p)
        beta, size_x = sx("beta", sum(self.boundary_sizes)), sx("size_x", self.n)
        b = ca.vertcat(ca.SX(0, 1), *[graph(t0, x0, tf, xf, p) for _, graph in self.graphs.boundary])
        phi = ca.SX(0) if self.graphs.terminal is None else self.sign * self.graphs.terminal(tf, xf, p)
        G = phi + ca.dot(beta, b)
        reach = ca.mtimes(ca.fabs(ca.jacobian(b, x0)) + ca.fabs(ca.jacobian(b, xf)), size_x)
        outputs = [phi, *(ca.gradient(G, z) for z in (t0, x0, tf, xf)), ca.gradient(phi, xf), b, reach]
        return ca.Function("ends", [t0, x0, tf, xf, p, beta, size_x], [ca.densify(o) for o in outputs])

    # -- evaluation

    def points(self, t: Array, x: Array, u: Array, p: Array, lam: Array, nu: Array, mu: Array, size_x: Array,
               size_u: Array) -> Points:
        """Everything in `Points` at K points: t (K,), x and lam (K, n), u (K, m), mu (K, r); the rest is common."""
        out = np.asarray(self._points(t[:, None], x, u, p, lam, nu, mu, size_x, size_u))
        n, m, r = self.n, self.m, self.r
        cuts = np.cumsum([1, 1, m, m, m, n, n, r, r])
        H, terms, H_u, H_u_terms, c_u, c_x, f, c, reach, l_reach = np.split(out, cuts, axis=1)
        return Points(H[:, 0], terms[:, 0], H_u, H_u_terms, c_u, c_x, f, c, reach, l_reach[:, 0])

    def samples(self, t: Array, x: Array, u: Array, p: Array, lam: Array, nu: Array) -> tuple[Array, Array]:
        """H (K,) and c (K, r) at K points."""
        out = np.asarray(self._samples(t[:, None], x, u, p, lam, nu))
        return out[:, 0], out[:, 1:]


_known: weakref.WeakKeyDictionary[OptimalControlProblem, Hamiltonian] = weakref.WeakKeyDictionary()


def hamiltonian_of(problem: OptimalControlProblem) -> Hamiltonian:
    """The Hamiltonian's graphs and code; the second call for a problem costs nothing."""
    known = _known.get(problem)
    if known is None:
        known = _known[problem] = Hamiltonian(problem)
    return known


def hamiltonian(solution: Solution, t: ArrayLike | None = None) -> Array:
    """The Hamiltonian along a solution.

    Parameters
    ----------
    solution : Solution
    t : array_like (K,), optional
        Times; by default the nodes, ``solution.node_t``. Between these, states, controls and costates are interpolated.

    Returns
    -------
    array (K,)
        H = l + lambda' f (+ nu' g for integral constraints), of the problem as a minimisation.

    Raises
    ------
    InputError
        If a time lies outside the solution's interval.

    Examples
    --------
    >>> import adjoint
    >>> from adjoint.control.hamiltonian import hamiltonian
    >>> car = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="position speed", controls="force")
    >>> solution = adjoint.solve(adjoint.OptimalControlProblem(
    ...     car, initial=dict(position=0, speed=0), final=dict(position=1, speed=0),
    ...     running=lambda t, x, u, p: u[0] ** 2))
    >>> hamiltonian(solution, [0.0, 0.5, 1.0]).round(6)
    array([-36., -36., -36.])
    """
    h = hamiltonian_of(solution.problem)
    if t is None:
        values = solution.node_t, solution.node_x, solution.node_u, solution.node_costate
    else:
        times = np.atleast_1d(np.asarray(t, dtype=float))
        lam = solution.costates(times)
        if solution.problem.system.discrete:
            k = np.clip(np.searchsorted(solution.t, times, side="right") - 1, 0, solution.N - 1)
            lam = solution.node_costate[k]
        values = times, solution.state(times), solution.control(times), lam
    H, _ = h.samples(values[0], values[1], values[2], solution.p, values[3], solution.integral_costate)
    return H


def switching(solution: Solution) -> Array:
    """The switching functions dH/du at the nodes ``solution.node_t``.

    Returns
    -------
    array (K, m)
        Where a control lies inside its bounds (and no path constraint acts on it) this is zero; at an upper bound it is
        negative, at a lower bound positive.
    """
    h = hamiltonian_of(solution.problem)
    mu = np.zeros(h.r)
    return h.points(solution.node_t, solution.node_x, solution.node_u, solution.p, solution.node_costate,
                    solution.integral_costate, mu, np.ones(h.n), np.ones(h.m)).H_u


def _pattern(values: ca.SX, symbols: ca.SX) -> NDArray[np.bool_]:
    """Which values depend on which symbols."""
    pattern = np.zeros((values.shape[0], symbols.shape[0]), dtype=bool)
    rows, columns = ca.jacobian(values, symbols).sparsity().get_triplet()
    pattern[rows, columns] = True
    return pattern
