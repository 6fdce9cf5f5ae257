"""Interpolation tables: data that a model looks up, the same on numbers, complex numbers and traced values.

One variable, with breakpoints b_k and the local polynomial of `piecewise`:

    linear   s(x) = y_k + (y_{k+1} - y_k)/(x_{k+1} - x_k) (x - x_k)
    smooth   the cubic spline through the nodes that is twice continuously differentiable; not-a-knot: the third
             derivative is continuous at the second and the last but one node as well (de Boor 1978, ch. IV)

Two variables: the tensor product. With B_j the B-splines in y (hat functions when linear), and for each j the piecewise
polynomial in x whose coefficients are D[d, k, j]:

    s(x, y) = sum_j B_j(y) sum_d D[d, k, j] (x - b_k)^d

Only degree + 1 of the B_j differ from 0 on interval l of y, and each is a polynomial there:

    B_{l+a}(y) = sum_d Q[d, a, l] (y - c_l)^d

So a graph first selects the interval in x, then the one in y, then evaluates one small (bicubic) polynomial. The cost
is linear in the number of nodes, and the derivatives see the small polynomial only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from casadi import SX
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.symbolic import piecewise
from adjoint.symbolic.elementwise import choose
from adjoint.symbolic.traced import TracedScalar, is_traced, map_scalars

if TYPE_CHECKING:
    from scipy.interpolate import BSpline  # type: ignore[import-untyped]

__all__ = ["Table"]

_DEGREE = {"linear": 1, "smooth": 3}


class Table:
    """A table of one or two variables that a user's function may call.

    Parameters
    ----------
    nodes : array (n,), increasing, or a pair of such arrays (n,), (m,) for two variables.
    values : array (n,), or (n, m) for two variables: values[i, j] belongs to nodes[0][i], nodes[1][j].
    kind : "linear" (continuous) or "smooth" (cubic spline, not-a-knot, twice continuously differentiable; needs 4
        nodes in each variable). An optimiser wants "smooth".
    outside : "extend" continues the outermost polynomial, "clamp" keeps the value at the edge.

    The table is called as ``table(v)`` or ``table(v, w)`` with floats, complex numbers, arrays (broadcast) or traced
    values. A complex argument is located by its real part, so that complex steps give derivatives.

    Raises
    ------
    InputError
        for nodes that do not increase, values of the wrong shape, numbers that are not finite, too few nodes, unknown
        options.
    """

    def __init__(self, nodes: Any, values: ArrayLike, kind: str = "linear", outside: str = "extend"):
        if kind not in _DEGREE:
            raise InputError(f"kind is {kind!r}. Choose kind='linear' or kind='smooth'.")
        if outside not in ("extend", "clamp"):
            raise InputError(f"outside is {outside!r}. Choose outside='extend' or outside='clamp'.")
        pair = isinstance(nodes, (tuple, list)) and len(nodes) == 2 and np.ndim(nodes[0]) == 1
        degree = _DEGREE[kind]
        axes = [_axis(a, name, degree) for a, name in zip(nodes if pair else [nodes], "xy", strict=False)]
        z = _numbers(values, "values")
        expected = tuple(len(a) for a in axes)
        if z.shape != expected:
            raise InputError(
                f"values have shape {z.shape}; the nodes ask for shape {expected}, one value for each node."
            )
        self.kind = kind
        self.outside = outside
        self._limits = [(a[0], a[-1]) for a in axes]
        self._axes, self._values = axes, z

    @cached_property
    def _local_y(self) -> _LocalBasis:
        return _LocalBasis(self._axes[1], _DEGREE[self.kind])

    @cached_property
    def _polynomials(self) -> tuple[np.ndarray, np.ndarray]:
        """Breakpoints and coefficients in the first variable, made at the first call of the table.

        SciPy's splines take 0.4 s to import; a program that only builds a problem does not wait for them.
        """
        from scipy.interpolate import make_interp_spline

        degree, z = _DEGREE[self.kind], self._values
        if self.variables == 2:
            z = make_interp_spline(self._axes[1], z.T, k=degree).c.T  # coefficients in y, a row for each x node
        return _local_polynomials(make_interp_spline(self._axes[0], z, k=degree))

    @property
    def variables(self) -> int:
        """Number of arguments: 1 or 2."""
        return len(self._limits)

    def __repr__(self) -> str:
        limits = ", ".join(f"[{low:g}, {high:g}]" for low, high in self._limits)
        return f"Table({limits}, kind={self.kind!r}, outside={self.outside!r})"

    def __call__(self, *arguments: Any) -> Any:
        """The value at one number (or an array, or a traced quantity) a variable."""
        if len(arguments) != self.variables:
            raise InputError(f"{self!r} was called with {len(arguments)} arguments; it has {self.variables}.")
        if any(is_traced(a) for a in arguments):
            return map_scalars(self._traced, *arguments)
        points = [np.asarray(a) for a in arguments]
        if self.outside == "clamp":
            points = [piecewise.clamp(a, low, high) for a, (low, high) in zip(points, self._limits, strict=True)]
        return self._evaluate(*points)[()]

    def _evaluate(self, x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        if y is None:
            return piecewise.evaluate(x, *self._polynomials)
        x, y = np.broadcast_arrays(x, y)
        c = piecewise.evaluate(x, *self._polynomials)  # values of the B-spline coefficients at x, (..., m)
        return self._local_y.evaluate(y, c)

    def _traced(self, *arguments: TracedScalar) -> TracedScalar:
        points = [a.sx for a in arguments]
        if self.outside == "clamp":
            points = [
                choose(v < low, SX(low), choose(v > high, SX(high), v))
                for v, (low, high) in zip(points, self._limits, strict=True)
            ]
        if self.variables == 1:
            return TracedScalar(piecewise.symbolic(points[0], *self._polynomials))
        return TracedScalar(self._symbolic(points[0], points[1]))

    def _symbolic(self, x: SX, y: SX) -> SX:
        breaks, coefficients = self._polynomials
        e = piecewise.indicators(x, breaks)
        dx = x - piecewise.select(e, breaks[None, :-1])
        basis, first = self._local_y.symbolic(y)
        value = SX(0)
        rows = [
            piecewise.select(e, D.T) for D in coefficients
        ]  # D[d] for the interval of x, one column for each j
        for a, b in enumerate(basis):
            polynomial = SX(0)
            for row in reversed(rows):
                polynomial = polynomial * dx + first(row, a)
            value = value + b * polynomial
        return value


class _LocalBasis:
    """The B-splines of one variable on each interval as polynomials: B_{l+a}(y) = sum_d Q[d, a, l] (y - c_l)^d."""

    def __init__(self, nodes: NDArray[np.float64], degree: int):
        from scipy.interpolate import BSpline, make_interp_spline

        knots = make_interp_spline(nodes, np.zeros(len(nodes)), k=degree).t
        self.breaks, polynomials = _local_polynomials(BSpline(knots, np.eye(len(nodes)), degree))  # (d, l, j)
        self.K = len(self.breaks) - 1
        windows = [polynomials[:, k, k : k + degree + 1] for k in range(self.K)]
        self.Q = np.stack(windows, axis=2)

    def evaluate(self, y: np.ndarray, c: np.ndarray) -> np.ndarray:
        """sum_j B_j(y) c_j for y (...) and coefficients c (..., m)."""
        k = piecewise.interval(y, self.breaks)
        value = np.zeros(())
        for a in range(self.Q.shape[1]):
            b = piecewise.evaluate(y, self.breaks, self.Q[:, a])
            value = value + b * np.take_along_axis(c, (k + a)[..., None], axis=-1)[..., 0]
        return value

    def symbolic(self, y: SX) -> tuple[list[SX], Callable[[SX, int], SX]]:
        """The local basis at y, and the function (row, a) -> scalar that selects entry a of the window of a row."""
        e = piecewise.indicators(y, self.breaks)
        dy = y - piecewise.select(e, self.breaks[None, :-1])
        basis = []
        for a in range(self.Q.shape[1]):
            q = piecewise.select(e, self.Q[:, a])
            b = SX(0)
            for d in reversed(range(self.Q.shape[0])):
                b = b * dy + q[d]
            basis.append(b)
        return basis, lambda row, a: e @ row[a : a + self.K]


def _local_polynomials(spline: BSpline) -> tuple[np.ndarray, np.ndarray]:
    """Breakpoints (K+1,) and local coefficients (degree+1, K, ...) of a spline: its derivatives at each b_k over d!."""
    breaks = spline.t[spline.k : -spline.k]
    derivatives = [spline(breaks[:-1], nu=d) / math.factorial(d) for d in range(spline.k + 1)]
    return breaks, np.stack(derivatives)


def _numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {name} of a table must be real numbers in an array; got {error}.") from error
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        index = ", ".join(map(str, bad[0]))
        raise InputError(f"{name}[{index}] of the table is {array[tuple(bad[0])]}. All {name} must be finite.")
    return array


def _axis(nodes: ArrayLike, name: str, degree: int) -> NDArray[np.float64]:
    """Checked nodes of one variable."""
    array = _numbers(nodes, f"nodes {name}")
    if array.ndim != 1 or len(array) < degree + 1:
        raise InputError(
            f"nodes {name} have shape {array.shape}; a list of at least {degree + 1} is needed for kind="
            f"{'smooth' if degree == 3 else 'linear'!r}." + (" Use kind='linear' for fewer." if degree == 3 else "")
        )
    wrong = np.flatnonzero(np.diff(array) <= 0)
    if len(wrong):
        k = int(wrong[0])
        raise InputError(
            f"nodes {name} must increase, but {name}[{k}] = {array[k]:g} is followed by {array[k + 1]:g}. "
            "Sort the nodes (and the values with them) and remove repeated ones."
        )
    return array
