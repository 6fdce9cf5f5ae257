"""Symplectic methods as data: compositions of Störmer–Verlet steps for systems that split into q and v.

    Φ_h = S_{γ_s h} ∘ … ∘ S_{γ_1 h}        S_h: kick h/2, drift h, kick h/2        Σ γ_i = 1

A system splits if its states fall into two groups, neither of whose rates depends on the group itself: positions and
velocities of a mechanical system without friction, say. The groups are found from the graph of f; the first state is
among those that drift. The energy error of such a method stays bounded for exponentially long times, as long as h is
constant. E. Hairer, C. Lubich, G. Wanner, *Geometric Numerical Integration*, 2nd ed. (2006), I.1 (Verlet), II.4 and V.3
(compositions), IX (long times).
"""

from __future__ import annotations

from dataclasses import dataclass

from adjoint.errors import InputError

__all__ = ["KAHAN_LI6", "SUZUKI4", "SUZUKI_UMENO8", "SYMPLECTIC", "VERLET", "YOSHIDA4", "Composition"]


@dataclass(frozen=True)
class Composition:
    """A composition of Störmer–Verlet steps.

    Parameters
    ----------
    name : str
    gammas : tuple of float
        The fractions γ_i of the step; they sum to 1.
    order : int

    Raises
    ------
    InputError
        If the fractions do not sum to 1.
    """

    name: str
    gammas: tuple[float, ...]
    order: int

    def __post_init__(self) -> None:
        if not self.gammas or not abs(sum(self.gammas) - 1) <= 1e-12:
            raise InputError(
                f"composition {self.name!r}: its steps sum to {sum(self.gammas):.14g} of h; a consistent method "
                "needs 1."
            )

    @property
    def explicit(self) -> bool:
        """Always: kicks and drifts are additions."""
        return True


def _symmetric(half: list[float]) -> tuple[float, ...]:
    """γ_1 … γ_s from the first half; the middle one makes the sum 1."""
    return (*half, 1 - 2 * sum(half), *half[::-1])


VERLET = Composition("verlet", (1.0,), 2)

# Yoshida (1990), Phys. Lett. A 150: the triple jump. Large negative step, large error constant.
YOSHIDA4 = Composition("yoshida4", _symmetric([1 / (2 - 2 ** (1 / 3))]), 4)

# Suzuki (1990), Phys. Lett. A 146: five steps, errors some hundred times smaller.
SUZUKI4 = Composition("suzuki4", _symmetric([1 / (4 - 4 ** (1 / 3))] * 2), 4)

# Kahan & Li (1997), Math. Comp. 66: nine steps; Hairer, Lubich, Wanner V.3.
KAHAN_LI6 = Composition(
    "kahan_li6",
    _symmetric([0.39216144400731413928, 0.33259913678935943860, -0.70624617255763935981, 0.08221359629355080023]),
    6,
)

# Suzuki & Umeno (1993): fifteen steps; Hairer, Lubich, Wanner V.3.
SUZUKI_UMENO8 = Composition(
    "suzuki_umeno8",
    _symmetric([
        0.74167036435061295345, -0.40910082580003159400, 0.19075471029623837995, -0.57386247111608226666,
        0.29906418130365592384, 0.33462491824529818378, 0.31529309239676659663,
    ]),
    8,
)  # fmt: skip

#: Every composition, in order of accuracy.
SYMPLECTIC: tuple[Composition, ...] = (VERLET, YOSHIDA4, SUZUKI4, KAHAN_LI6, SUZUKI_UMENO8)
