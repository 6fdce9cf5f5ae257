"""Order conditions: one for each rooted tree.

    a tree       t = [t_1 … t_m]: a root with the subtrees t_i;  τ = [] is the single node
    order        |t| = 1 + Σ |t_i|              density    γ(t) = |t| Π γ(t_i)
    stages       φ(t) = Π A φ(t_i),  φ(τ) = 1   symmetry   σ(t) = Π σ(t_i) · Π (multiplicities)!
    condition    Σ_i b_i φ_i(t) = 1 / γ(t)

(In a Rosenbrock method, A + Γ stands for A where a node has a single child: there is the Jacobian to help.)

A method has order p if and only if the condition holds for all trees with at most p nodes; there are 1, 1, 2, 4, 9, 20,
48, 115 of 1 … 8 nodes. The term of order p+1 of the error of one step is h^{p+1} Σ_t (1/γ - b·φ)/σ F(t), so that the
size of these factors tells methods of one order apart.

J. C. Butcher, *Numerical Methods for Ordinary Differential Equations*, sections 300–318; Hairer, Nørsett, Wanner, II.2;
Hairer, Wanner, IV.7 (Rosenbrock).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from adjoint.errors import InputError
from adjoint.method import Method

__all__ = ["Condition", "order_conditions", "trees", "verified_order"]

Array = NDArray[np.float64]
Tree = tuple["Tree", ...]

MOST = 10  # nodes; of 10 there are 719 trees, of 11 there are 1842


@dataclass(frozen=True)
class Condition:
    """One order condition and how well a method meets it.

    Attributes
    ----------
    tree : str
        In brackets: ``τ``, ``[τ]``, ``[τ τ]``, ``[[τ]]``.
    order : int
        Nodes of the tree.
    residual : float
        b·φ - 1/γ.
    rounding : float
        What the rounding of the tableau can do to b·φ.
    symmetry : int
        σ; residual / σ is the factor in the error.
    """

    tree: str
    order: int
    residual: float
    rounding: float
    symmetry: int

    @property
    def holds(self) -> bool:
        """Whether the residual is nothing but rounding."""
        return abs(self.residual) <= self.rounding


@lru_cache
def trees(order: int) -> tuple[Tree, ...]:
    """All rooted trees with so many nodes; a tree is the sorted tuple of its subtrees."""
    if order == 1:
        return ((),)
    found: dict[Tree, None] = {}
    # Every tree comes from a smaller one by a leaf grafted to one of its nodes.
    for small in trees(order - 1):
        for grown in _grafted(small):
            found.setdefault(grown)
    return tuple(found)


def order_conditions(method: Method, order: int) -> tuple[Condition, ...]:
    """The conditions of all trees with at most `order` nodes.

    Parameters
    ----------
    method : Method
    order : int
        From 1 to 10.

    Returns
    -------
    tuple of Condition
        By the number of nodes.

    Raises
    ------
    InputError
        If `order` is outside of 1 … 10.

    Examples
    --------
    >>> from adjoint.method import HEUN
    >>> [(c.tree, round(c.residual, 6)) for c in order_conditions(HEUN, 3)]
    [('τ', 0.0), ('[τ]', 0.0), ('[τ τ]', 0.166667), ('[[τ]]', -0.166667)]
    """
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or not 1 <= order <= MOST:
        raise InputError(f"order_conditions: order is {order!r}; expected a whole number from 1 to {MOST}.")
    A, b, B = method.A, method.b, method.linear
    stages: dict[Tree, tuple[Array, Array]] = {(): (np.ones(b.size), np.ones(b.size))}

    def phi(tree: Tree) -> tuple[Array, Array]:
        """φ(t), and the same with all signs positive: what rounding is measured by."""
        if tree not in stages:
            value, size = np.ones(b.size), np.ones(b.size)
            rows = B if len(tree) == 1 else A
            for part in tree:
                inner, inner_size = phi(part)
                value, size = value * (rows @ inner), size * (np.abs(rows) @ inner_size)
            stages[tree] = value, size
        return stages[tree]

    conditions = []
    for nodes in range(1, int(order) + 1):
        for tree in trees(nodes):
            value, size = phi(tree)
            rounding = 4 * nodes * b.size * 2.0**-52 * float(np.abs(b) @ size)
            residual = math.fsum(b * value) - 1 / _density(tree)
            conditions.append(Condition(_written(tree), nodes, residual, rounding, _symmetry(tree)))
    return tuple(conditions)


@lru_cache(maxsize=256)
def verified_order(method: Method, most: int = MOST) -> int:
    """The order of a method by its order conditions, up to `most`."""
    for nodes in range(1, most + 1):
        if not all(c.holds for c in order_conditions(method, nodes) if c.order == nodes):
            return nodes - 1
    return most


def _grafted(tree: Tree) -> list[Tree]:
    """The tree with a leaf added at the root, and at every node below."""
    grown = [tuple(sorted((*tree, ())))]
    for i, part in enumerate(tree):
        for other in _grafted(part):
            grown.append(tuple(sorted((*tree[:i], other, *tree[i + 1 :]))))
    return grown


@cache
def _nodes(tree: Tree) -> int:
    return 1 + sum(_nodes(part) for part in tree)


@cache
def _density(tree: Tree) -> int:
    return _nodes(tree) * math.prod(_density(part) for part in tree)


@cache
def _symmetry(tree: Tree) -> int:
    return math.prod(_symmetry(part) ** k * math.factorial(k) for part, k in Counter(tree).items())


def _written(tree: Tree) -> str:
    return "[" + " ".join(_written(part) for part in tree) + "]" if tree else "τ"
