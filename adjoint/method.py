"""A method is data: the Butcher tableau that turns a vector field into one step.

    stages      X_i = x_k + h Σ_j A_ij f(t_k + c_i h, X_j, u_k, p)          i = 1 … s
    step        x_{k+1} = x_k + h Σ_i b_i f(t_k + c_i h, X_i, u_k, p)
    error       x_{k+1} - x̂_{k+1} = h Σ_i (b_i - b̂_i) f(…)                  (methods with an embedded partner)

An *explicit* method has a strictly lower triangular A. A *collocation* method has the integrals of the Lagrange
polynomials on its nodes: A_ij = ∫_0^{c_i} ℓ_j(τ) dτ and b_j = ∫_0^1 ℓ_j(τ) dτ; its stages are equations, not
assignments, so it serves transcription (the solver satisfies them) and not `rollout`.

References: Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, sections II.1 (small methods), II.4
(embedded pairs), II.5 (Dormand–Prince 5(4) and the order-8 method); Hairer, Wanner, *… II*, section IV.5 (Gauss, Radau
IIA).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError

__all__ = [
    "BS3", "DOP853", "DOPRI5", "EULER", "EXPLICIT", "HEUN", "MIDPOINT", "RALSTON", "RK4",
    "Method", "gauss", "method", "radau",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Method:
    """A Runge–Kutta method.

    Parameters
    ----------
    name : str
        What messages and plots call it.
    A, b, c : array_like, shapes (s, s), (s,), (s,)
        The tableau. Checked: ``c = A 1`` and ``sum b = 1``.
    order : int
        The global error is O(h**order).
    kind : {"explicit", "collocation"}
        Checked against the shape of `A`.
    b_hat, order_hat : array_like (s,) and int, optional
        Weights and order of the embedded partner: the source of the error estimate of an adaptive run.
    b_guard : array_like (s,), optional
        A second, cruder partner (DOP853's third-order one) which guards the estimate against accidental zeros.

    Raises
    ------
    InputError
        If the tableau is no tableau; the message says which condition fails.
    """

    name: str
    A: Array
    b: Array
    c: Array
    order: int
    kind: str = "explicit"
    b_hat: Array | None = None
    order_hat: int | None = None
    b_guard: Array | None = None
    _key: tuple[object, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        def freeze(field_name: str, value: ArrayLike) -> Array:
            array = np.array(value, dtype=np.float64)
            array.setflags(write=False)
            object.__setattr__(self, field_name, array)
            return array

        A, b, c = freeze("A", self.A), freeze("b", self.b), freeze("c", self.c)
        s = b.size
        if A.shape != (s, s) or b.shape != (s,) or c.shape != (s,) or s == 0:
            raise InputError(
                f"method {self.name!r}: A, b, c have shapes {A.shape}, {b.shape}, {c.shape}; "
                "expected (s, s), (s,), (s,) with s stages."
            )
        if not abs(b.sum() - 1) <= 1e-12:
            raise InputError(f"method {self.name!r}: the weights b sum to {b.sum():.17g}; a consistent method needs 1.")
        if not np.abs(A.sum(axis=1) - c).max() <= 1e-12 * (1 + np.abs(A).max()):
            row = int(np.argmax(np.abs(A.sum(axis=1) - c)))
            raise InputError(
                f"method {self.name!r}: row {row} of A sums to {A[row].sum():.17g} but c[{row}] = {c[row]:.17g}; "
                "they must agree (c = A 1)."
            )
        if self.kind not in ("explicit", "collocation"):
            raise InputError(f"method {self.name!r}: kind is {self.kind!r}; expected 'explicit' or 'collocation'.")
        if self.kind == "explicit" and np.any(np.triu(A)):
            raise InputError(
                f"method {self.name!r}: an explicit method has a strictly lower triangular A; "
                "this A is not. Collocation methods come from gauss(s) and radau(s)."
            )
        for field_name, weights in (("b_hat", self.b_hat), ("b_guard", self.b_guard)):
            if weights is not None and freeze(field_name, weights).shape != (s,):
                raise InputError(
                    f"method {self.name!r}: {field_name} has shape {np.shape(weights)}; expected ({s},), one per stage."
                )
        if (self.b_hat is None) != (self.order_hat is None):
            raise InputError(f"method {self.name!r}: give b_hat and order_hat together, or neither.")
        key = (self.name, self.kind, self.order, A.tobytes(), b.tobytes(), c.tobytes())
        object.__setattr__(self, "_key", key)

    @property
    def stages(self) -> int:
        """The number of stages s."""
        return self.b.size

    @property
    def explicit(self) -> bool:
        """Whether the stages can be computed one after the other, as `rollout` needs."""
        return self.kind == "explicit"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Method) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Method({self.name!r}, {self.kind}, stages={self.stages}, order={self.order})"


def _explicit(
    name: str,
    order: int,
    rows: list[list[float]],
    b: list[float],
    c: list[float] | None = None,
    b_hat: list[float] | None = None,
    order_hat: int | None = None,
    b_guard: list[float] | None = None,
) -> Method:
    """A tableau from the rows below the diagonal (the first, empty, row included)."""
    A = np.zeros((len(b), len(b)))
    for i, row in enumerate(rows):
        A[i, : len(row)] = row
    return Method(
        name,
        A,
        np.array(b),
        A.sum(axis=1) if c is None else np.array(c),
        order,
        "explicit",
        None if b_hat is None else np.array(b_hat),
        order_hat,
        None if b_guard is None else np.array(b_guard),
    )


EULER = _explicit("euler", 1, [[]], [1.0])
MIDPOINT = _explicit("midpoint", 2, [[], [1 / 2]], [0, 1])
HEUN = _explicit("heun", 2, [[], [1]], [1 / 2, 1 / 2])
RALSTON = _explicit("ralston", 2, [[], [2 / 3]], [1 / 4, 3 / 4])
RK4 = _explicit("rk4", 4, [[], [1 / 2], [0, 1 / 2], [0, 0, 1]], [1 / 6, 1 / 3, 1 / 3, 1 / 6])

# Bogacki & Shampine (1989), 3(2).
BS3 = _explicit(
    "bs3",
    3,
    [[], [1 / 2], [0, 3 / 4], [2 / 9, 1 / 3, 4 / 9]],
    [2 / 9, 1 / 3, 4 / 9, 0],
    b_hat=[7 / 24, 1 / 4, 1 / 3, 1 / 8],
    order_hat=2,
)

# Dormand & Prince (1980), 5(4). The seventh stage serves the error estimate only: in a fixed step its graph is never
# built.
DOPRI5 = _explicit(
    "dopri5",
    5,
    [
        [],
        [1 / 5],
        [3 / 40, 9 / 40],
        [44 / 45, -56 / 15, 32 / 9],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
        [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
    ],
    [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0],
    c=[0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1],
    b_hat=[5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40],
    order_hat=4,
)

# Dormand & Prince's order-8 method as printed by Hairer, Nørsett & Wanner, with the fifth- and third-order partners of
# DOP853.
_r6 = 6**0.5
DOP853 = _explicit(
    "dop853",
    8,
    [
        [],
        [0.05260015195876773],
        [0.0197250569845379, 0.0591751709536137],
        [0.02958758547680685, 0, 0.08876275643042054],
        [0.2413651341592667, 0, -0.8845494793282861, 0.924834003261792],
        [1 / 27, 0, 0, 0.17082860872947386, 0.12546768756682242],
        [19 / 512, 0, 0, 0.17025221101954405, 0.06021653898045596, -9 / 512],
        [0.03709200011850479, 0, 0, 0.17038392571223998, 0.10726203044637328, -0.015319437748624402,
         0.008273789163814023],
        [0.6241109587160757, 0, 0, -3.3608926294469414, -0.868219346841726, 27.59209969944671, 20.154067550477894,
         -43.48988418106996],
        [0.47766253643826434, 0, 0, -2.4881146199716677, -0.590290826836843, 21.230051448181193, 15.279233632882423,
         -33.28821096898486, -0.020331201708508627],
        [-0.9371424300859873, 0, 0, 5.186372428844064, 1.0914373489967295, -8.149787010746927, -18.52006565999696,
         22.739487099350505, 2.4936055526796523, -3.0467644718982196],
        [2.273310147516538, 0, 0, -10.53449546673725, -2.0008720582248625, -17.9589318631188, 27.94888452941996,
         -2.8589982771350235, -8.87285693353063, 12.360567175794303, 0.6433927460157636],
    ],
    [0.054293734116568765, 0, 0, 0, 0, 4.450312892752409, 1.8915178993145003, -5.801203960010585, 0.3111643669578199,
     -0.1521609496625161, 0.20136540080403034, 0.04471061572777259],
    c=[
        0,
        (6 - _r6) / 67.5,
        (6 - _r6) / 45,
        (6 - _r6) / 30,
        (6 + _r6) / 30,
        1 / 3,
        1 / 4,
        4 / 13,
        127 / 195,
        3 / 5,
        6 / 7,
        1,
    ],
    b_hat=[0.04117368912237389, 0, 0, 0, 0, 5.675469339128614, 2.3872768489717506, -7.465581142465571,
           0.6614932157077935, -0.48634006837553356, 0.11944219431891463, 0.06706592359165889],
    order_hat=5,
    b_guard=[31 / 127, 0, 0, 0, 0, 0, 0, 0, 0.7338466882816118, 0, 0, 3 / 136],
)

#: Every explicit method, in order of accuracy.
EXPLICIT: tuple[Method, ...] = (EULER, MIDPOINT, HEUN, RALSTON, BS3, RK4, DOPRI5, DOP853)


@lru_cache
def gauss(stages: int) -> Method:
    """Gauss–Legendre collocation: order 2s, symmetric, symplectic.

    Parameters
    ----------
    stages : int
        s, from 1 (the implicit midpoint rule) to 5.

    Returns
    -------
    Method
        With the zeros of the shifted Legendre polynomial P_s(2c - 1) as nodes.
    """
    s = _check_stages("gauss", stages)
    return _collocation(f"gauss{s}", _roots([(s, 1.0)]), 2 * s)


@lru_cache
def radau(stages: int) -> Method:
    """Radau IIA collocation: order 2s - 1, stiffly accurate (the last node is the end of the step).

    Parameters
    ----------
    stages : int
        s, from 1 (implicit Euler) to 5.

    Returns
    -------
    Method
        With the zeros of P_s(2c - 1) - P_{s-1}(2c - 1) as nodes.
    """
    s = _check_stages("radau", stages)
    nodes = _roots([(s, 1.0), (s - 1, -1.0)])
    nodes[-1] = 1.0  # a zero in exact arithmetic; stiff accuracy rests on it
    return _collocation(f"radau{s}", nodes, 2 * s - 1)


def method(name: str) -> Method:
    """Look a method up by name: ``"rk4"``, ``"dopri5"``, ``"gauss3"``, ``"radau2"``.

    Raises
    ------
    InputError
        With the nearest names, if there is no such method.
    """
    named = {m.name: m for m in EXPLICIT}
    if name in named:
        return named[name]
    for family, make in (("gauss", gauss), ("radau", radau)):
        if name.startswith(family) and name[len(family) :].isdecimal():
            return make(int(name[len(family) :]))
    known = [*named, *(f"{family}{s}" for family in ("gauss", "radau") for s in range(1, 6))]
    near = difflib.get_close_matches(str(name).lower(), known, n=3)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise InputError(f"there is no method {name!r}. {hint}Known: {', '.join(known)}.")


def _check_stages(family: str, stages: int) -> int:
    if stages not in (1, 2, 3, 4, 5):
        raise InputError(f"{family}({stages!r}): the number of stages is an integer from 1 to 5.")
    return int(stages)


def _roots(terms: list[tuple[int, float]]) -> Array:
    """Zeros on [0, 1] of Σ coefficient · P_degree(2c - 1), ascending: eigenvalues, polished by two Newton steps."""
    series = np.zeros(terms[0][0] + 1)
    for degree, coefficient in terms:
        series[degree] = coefficient
    polynomial = np.polynomial.Legendre(series)
    z = np.sort(polynomial.roots().real)
    for _ in range(2):
        z = z - polynomial(z) / polynomial.deriv()(z)
    return (1 + z) / 2


def _collocation(name: str, c: Array, order: int) -> Method:
    """The tableau on nodes c; the integrals of the Lagrange polynomials by a Gauss rule that is exact for them."""
    s = c.size
    z, w = np.polynomial.legendre.leggauss(s)
    xi, w = (1 + z) / 2, w / 2

    def lagrange(tau: Array) -> Array:
        values = np.ones((tau.size, s))
        for j in range(s):
            for i in range(s):
                if i != j:
                    values[:, j] *= (tau - c[i]) / (c[j] - c[i])
        return values

    A = np.array([c_i * (w @ lagrange(c_i * xi)) for c_i in c])
    return Method(name, A, w @ lagrange(xi), c, order, "collocation")
