"""A method is data: the Butcher tableau that turns a vector field into one step.

    stages      X_i = x_k + h Σ_j A_ij f(t_k + c_i h, X_j, u_k, p)          i = 1 … s
    step        x_{k+1} = x_k + h Σ_i b_i f(t_k + c_i h, X_i, u_k, p)
    error       x_{k+1} - x̂_{k+1} = h Σ_i (b_i - b̂_i) f(…)                  (methods with an embedded partner)
    dense       x(t_k + θ h) = x_k + h Σ_i b_i(θ) f(t_k + c_i h, X_i, u_k, p)      (methods with a continuous extension)
    Rosenbrock  K_i = f(t_k + c_i h, X_i, u_k, p) + h J Σ_j Γ_ij K_j + h γ_i ∂f/∂t    in place of f, for X_i, step, …

An *explicit* method has a strictly lower triangular A. A *collocation* method has the integrals of the Lagrange
polynomials on its nodes: A_ij = ∫_0^{c_i} ℓ_j(τ) dτ and b_j = ∫_0^1 ℓ_j(τ) dτ; its stages are equations, not
assignments. A *Rosenbrock* method has a linear equation in each stage, with J = ∂f/∂x at the start of the step, and
γ_i = Σ_j Γ_ij.

References: Hairer, Nørsett, Wanner, *Solving Ordinary Differential Equations I*, sections II.1 (small methods), II.4
(embedded pairs), II.5 (Dormand–Prince 5(4) and the order-8 method), II.6 (dense output); Hairer, Wanner, *… II*,
sections IV.5 (Gauss, Radau IIA), IV.7 (Rosenbrock).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError

__all__ = [
    "AUTO", "BS3", "DOP853", "DOPRI5", "EULER", "EXPLICIT", "HEUN", "MIDPOINT", "RALSTON", "RK4",
    "RODAS5P", "TSIT5",
    "Automatic", "Dense", "Method", "gauss", "method", "radau",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Dense:
    """The continuous extension of an explicit method with s stages: the state between the knots.

        x(t_k + θ h) = x_k + h Σ_i b_i(θ) K_i,      b_i(θ) = Σ_{d=1}^D P_id θ^d,      i = 1 … s + e

    Parameters
    ----------
    P : array (s + e, D)
        The weights as polynomials of θ.
    A, c : arrays (e, s + e), (e,)
        Rows of the tableau for e stages that only the extension needs.
    order : int
        Its error within a step is O(h**(order + 1)).
    """

    P: Array
    A: Array
    c: Array
    order: int

    def __post_init__(self) -> None:
        for array in (self.P, self.A, self.c):
            array.setflags(write=False)


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
    kind : {"explicit", "collocation", "rosenbrock"}
        Checked against the shape of `A`.
    b_hat, order_hat : array_like (s,) and int, optional
        Weights and order of the embedded partner: the source of the error estimate of an adaptive run.
    b_guard : array_like (s,), optional
        A second, cruder partner (DOP853's third-order one) which guards the estimate against accidental zeros.
    dense : Dense, optional
        The continuous extension, for output between the knots.
    Gamma : array_like (s, s), optional
        The coefficients γ_ij of a Rosenbrock method: lower triangular, with one number on the diagonal.

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
    dense: Dense | None = None
    Gamma: Array | None = None
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
        if self.kind not in ("explicit", "collocation", "rosenbrock"):
            raise InputError(
                f"method {self.name!r}: kind is {self.kind!r}; expected 'explicit', 'collocation' or 'rosenbrock'."
            )
        if (self.Gamma is not None) != (self.kind == "rosenbrock"):
            raise InputError(f"method {self.name!r}: a Rosenbrock method has a Gamma, and no other method has.")
        if self.Gamma is not None:
            Gamma = freeze("Gamma", self.Gamma)
            if Gamma.shape != (s, s) or np.any(np.triu(Gamma, 1)) or np.any(np.triu(A)) or np.ptp(np.diag(Gamma)):
                raise InputError(
                    f"method {self.name!r}: expected Gamma (s, s), lower triangular with one number on the diagonal, "
                    "and A strictly lower triangular."
                )
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
        more = b"" if self.Gamma is None else self.Gamma.tobytes()
        key = (self.name, self.kind, self.order, A.tobytes(), b.tobytes(), c.tobytes(), more)
        object.__setattr__(self, "_key", key)

    @property
    def stages(self) -> int:
        """The number of stages s."""
        return self.b.size

    @property
    def explicit(self) -> bool:
        """Whether the stages can be computed one after the other, as `rollout` needs."""
        return self.kind == "explicit"

    @property
    def linear(self) -> Array:
        """B (s, s) of the stages of x' = Jx: X_i = x_k + hJ Σ_j B_ij X_j; A, or for a Rosenbrock method A + Γ."""
        return self.A if self.Gamma is None else self.A + self.Gamma

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
    dense: Dense | None = None,
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
        dense,
    )


def _dense(order: int, P: list[list[float]]) -> Dense:
    """An extension on the stages of the method itself."""
    return Dense(np.array(P, dtype=np.float64), np.zeros((0, len(P))), np.zeros(0), order)


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
    dense=_dense(3, [[1, -4 / 3, 5 / 9], [0, 1, -2 / 3], [0, 4 / 3, -8 / 9], [0, -1, 1]]),  # cubic Hermite
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
    # Shampine (1986), Some practical Runge–Kutta formulas, Math. Comp. 46: the interpolant of order 4.
    dense=_dense(
        4,
        [
            [1, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432],
            [0, 0, 0, 0],
            [0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799],
            [0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072],
            [0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632],
            [0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844],
            [0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423],
        ],
    ),
)

# Tsitouras (2011), Runge–Kutta pairs of order 5(4) satisfying only the first column simplifying assumption, Computers &
# Mathematics with Applications 62, with the interpolant of order 4 given there.
TSIT5 = _explicit(
    "tsit5",
    5,
    [
        [],
        [0.161],
        [-0.008480655492356989, 0.335480655492357],
        [2.8971530571054935, -6.359448489975075, 4.3622954328695815],
        [5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525],
        [5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383],
        [0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774],
    ],
    [0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774, 0],
    c=[0, 0.161, 0.327, 0.9, 0.9800255409045097, 1, 1],
    b_hat=[
        0.09646076681806523 + 0.00178001105222577714,
        0.01 + 0.0008164344596567469,
        0.4798896504144996 - 0.007880878010261995,
        1.379008574103742 + 0.1447110071732629,
        -3.290069515436081 - 0.5823571654525552,
        2.324710524099774 + 0.45808210592918697,
        -1 / 66,
    ],
    order_hat=4,
    dense=_dense(
        4,
        [
            [1, -2.763706197274826, 2.9132554618219126, -1.0530884977290216],
            [0, 0.1317, -0.2234, 0.1017],
            [0, 3.9302962368947516, -5.941033872131505, 2.490627285651253],
            [0, -12.411077166933676, 30.33818863028232, -16.548102889244902],
            [0, 37.50931341651104, -88.1789048947664, 47.37952196281928],
            [0, -27.896526289197286, 65.09189467479366, -34.87065786149661],
            [0, 1.5, -4, 2.5],
        ],
    ),
)


def _dop853_dense(b: list[float]) -> Dense:
    """The interpolant of order 7 of DOP853, with f(x_{k+1}) and three further stages (Hairer, Nørsett, Wanner, II.6).

    With Δ = x_{k+1} - x_k and K_13 = f(t_{k+1}, x_{k+1}):

        x(θ) = x_k + θ(F_0 + (1-θ)(F_1 + θ(F_2 + (1-θ)(F_3 + θ(F_4 + (1-θ)(F_5 + θ F_6))))))
        F_0 = Δ,  F_1 = h K_1 - Δ,  F_2 = 2Δ - h (K_1 + K_13),  F_3 … F_6 = h Σ_i D_ji K_i
    """
    A = np.zeros((4, 16))
    A[0, :12] = b
    A[1, [0, 6, 7, 8, 9, 10, 11, 12]] = [
        0.056167502283047954, 0.25350021021662483, -0.2462390374708025, -0.12419142326381637, 0.15329179827876568,
        0.00820105229563469, 0.007567897660545699, -0.008298,
    ]  # fmt: skip
    A[2, [0, 5, 6, 7, 10, 11, 12, 13]] = [
        0.03183464816350214, 0.028300909672366776, 0.053541988307438566, -0.05492374857139099, -0.00010834732869724932,
        0.0003825710908356584, -0.00034046500868740456, 0.1413124436746325,
    ]  # fmt: skip
    A[3, [0, 5, 6, 7, 8, 12, 13, 14]] = [
        -0.42889630158379194, -4.697621415361164, 7.683421196062599, 4.06898981839711, 0.3567271874552811,
        -0.0013990241651590145, 2.9475147891527724, -9.15095847217987,
    ]  # fmt: skip
    D = np.zeros((4, 16))
    D[:, [0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]] = [
        [-8.428938276109013, 0.5667149535193777, -3.0689499459498917, 2.38466765651207, 2.117034582445028,
         -0.871391583777973, 2.2404374302607883, 0.6315787787694688, -0.08899033645133331, 18.148505520854727,
         -9.194632392478356, -4.436036387594894],
        [10.427508642579134, 242.28349177525817, 165.20045171727028, -374.5467547226902, -22.113666853125306,
         7.733432668472264, -30.674084731089398, -9.332130526430229, 15.697238121770845, -31.139403219565178,
         -9.35292435884448, 35.81684148639408],
        [19.985053242002433, -387.0373087493518, -189.17813819516758, 527.8081592054236, -11.57390253995963,
         6.8812326946963, -1.0006050966910838, 0.7777137798053443, -2.778205752353508, -60.19669523126412,
         84.32040550667716, 11.99229113618279],
        [-25.69393346270375, -154.18974869023643, -231.5293791760455, 357.6391179106141, 93.40532418362432,
         -37.45832313645163, 104.0996495089623, 29.8402934266605, -43.53345659001114, 96.32455395918828,
         -39.17726167561544, -149.72683625798564],
    ]  # fmt: skip
    delta, first, last = np.append(b, np.zeros(4)), np.eye(16)[0], np.eye(16)[12]
    F = np.vstack([delta, first - delta, 2 * delta - first - last, D])
    P = np.zeros((16, 8))  # powers θ^0 … θ^7
    for j in range(6, -1, -1):
        P[:, 0] += F[j]
        shifted = np.roll(P, 1, axis=1)  # θ P; the highest power is still empty
        P = shifted if j % 2 == 0 else P - shifted
    return Dense(P[:, 1:].copy(), A, A.sum(axis=1), 7)

# Dormand & Prince's order-8 method as printed by Hairer, Nørsett & Wanner, with the fifth- and third-order partners of
# DOP853.
_r6 = 6**0.5
_dop853_b = [0.054293734116568765, 0, 0, 0, 0, 4.450312892752409, 1.8915178993145003, -5.801203960010585,
             0.3111643669578199, -0.1521609496625161, 0.20136540080403034, 0.04471061572777259]
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
    _dop853_b,
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
    dense=_dop853_dense(_dop853_b),
)



def _rodas5p() -> Method:
    """Steinebach (2023), Construction of Rosenbrock–Wanner method Rodas5P and numerical benchmarks within the Julia
    differential equations package, BIT 63:27. Printed in the form of Hairer, Wanner II, IV.7.25 with.

        U = Γ K,   a = A Γ⁻¹,   c = diag(1/γ) - Γ⁻¹,   m = b Γ⁻¹

    and a dense output x(θ) = (1 - θ) x_k + θ (x_{k+1} + (1 - θ) (k_2 + θ (k_3 + θ k_4))), k_r = Σ_i h_ri U_i.
    """
    gamma = 0.21193756319429014
    a, c = np.zeros((8, 8)), np.zeros((8, 8))
    for i, row in enumerate([
        [3.0], [2.849394379747939, 0.45842242204463923], [-6.954028509809101, 2.489845061869568, -10.358996098473584],
        [2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641],
        [-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946],
    ], 1):  # fmt: skip
        a[i, :i] = row
    for i in (6, 7):
        a[i] = a[i - 1]
        a[i, i - 1] = 1.0
    for i, row in enumerate([
        [-14.155112264123755], [-17.97296035885952, -2.859693295451294],
        [147.12150275711716, -1.41221402718213, 71.68940251302358],
        [165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306],
        [24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471],
        [30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623,
         -28.087943162872662],
        [37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
         -54.66780262877968, -9.48861652309627],
    ], 1):  # fmt: skip
        c[i, :i] = row
    k = np.array([
        [25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204, 0.524948541321073,
         1.1241088310450404, 0.4272876194431874, -0.17202221070155493],
        [-9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796, 20.176138334709044,
         15.98066361424651, -6.789040303419874, -6.710236069923372],
        [11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643, -52.072871366152654,
         -59.78993625266729, -0.15582684282751913, 4.883087185713722],
    ])  # fmt: skip
    Gamma = np.tril(np.linalg.inv(np.eye(8) / gamma - c))
    np.fill_diagonal(Gamma, gamma)
    m_hat = a[7]
    m = m_hat + np.eye(8)[7]
    A = np.tril(a @ Gamma, -1)
    P = np.stack([m + k[0], k[1] - k[0], k[2] - k[1], -k[2]], axis=1)  # powers of θ
    dense = Dense(Gamma.T @ P, np.zeros((0, 8)), np.zeros(0), 4)
    return Method(
        "rodas5p", A, m @ Gamma, A.sum(axis=1), 5, "rosenbrock", m_hat @ Gamma, 4, dense=dense, Gamma=Gamma,
    )  # fmt: skip


RODAS5P = _rodas5p()


@dataclass(frozen=True)
class Automatic:
    """An explicit method, and the implicit one that takes over where a system turns out to be stiff.

    Parameters
    ----------
    explicit, implicit : Method
        Both with an error estimate.
    """

    explicit: Method
    implicit: Method


AUTO = Automatic(TSIT5, RODAS5P)

#: Every explicit method, in order of accuracy.
EXPLICIT: tuple[Method, ...] = (EULER, MIDPOINT, HEUN, RALSTON, BS3, RK4, DOPRI5, TSIT5, DOP853)


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
    named = {m.name: m for m in (*EXPLICIT, RODAS5P)}
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
