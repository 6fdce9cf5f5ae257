"""The solar system against a real ephemeris: a year and ten years ahead, and the masses of planets from positions.

    pip install skyfield-data==7.0.0 jplephem==2.24
    python benchmarks/planets.py [--years 2]

Sun, eight planets, Moon and Pluto as points; barycentric positions r_i and velocities v_i in astronomical units (au,
149 597 870.7 km) and days of TDB:

    r_i'' = Σ_j GM_j (r_j - r_i) / |r_j - r_i|³ + g_i
    g_i   = GM_S / (c² ρ³) [(4 GM_S / ρ - |w|²) d + 4 (d · w) w],    d = r_i - r_S,  w = v_i - v_S,  ρ = |d|

g is the first post-Newtonian term of the Sun (harmonic coordinates, general relativity; IERS Conventions 2010, equation
10.12); the Sun gets -Σ GM_i g_i / GM_S, so that momentum is kept. Start values are those of JPL's ephemeris DE421 at
J2000 (W. M. Folkner, J. G. Williams, D. H. Boggs, IPN Progress Report 42-178, 2009), and so are the GM.

Two fits start with masses a tenth too large: Venus, Mars, Jupiter and Saturn from the positions of all bodies but the
Moon, every 20 days; and the Earth from the Moon, every day of a month (after more revolutions, a mass that wrong has
the Moon on the other side, and a single run finds no way back). The model has no asteroids, no figure of the Earth and
no tides; what it does not know is larger than the rounding of the data, and more regular than noise, so that the
formal intervals are a lower bound.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np

import adjoint
from adjoint import DOP853, System, ode

AU, DAY = 149_597_870.7, 86_400.0  # km, s
C = 299_792.458 * DAY / AU  # au a day
J2000 = 2_451_545.0
NAMES = ("sun", "mercury", "venus", "earth", "moon", "mars", "jupiter", "saturn", "uranus", "neptune", "pluto")
GM = np.array([  # km³/s², of DE421
    132712440040.944, 22032.09, 324858.592, 398600.436233, 4902.800076, 42828.375, 126712764.8, 37940585.2, 5794548.6,
    6836535.0, 977.0,
]) * DAY**2 / AU**3  # fmt: skip
# From the barycentre to each body, as the file has it; a second number leads from a planet's system to the planet.
SEGMENTS = {
    "sun": (10,), "mercury": (1, 199), "venus": (2, 299), "earth": (3, 399), "moon": (3, 301), "mars": (4, 499),
    "jupiter": (5,), "saturn": (6,), "uranus": (7,), "neptune": (8,), "pluto": (9,),
}  # fmt: skip
MOON = 3 * NAMES.index("moon")
TOLERANCE: dict[str, Any] = dict(method=DOP853, rtol=1e-13, atol=1e-16)


def bodies(names: tuple[str, ...] = NAMES, relativity: bool = True) -> System:
    """Points that attract each other; the first one is the Sun."""
    n = len(names)

    def f(t: Any, z: Any, u: Any, gm: Any) -> Any:
        r, v = z[: 3 * n].reshape(n, 3), z[3 * n :].reshape(n, 3)
        a = [np.zeros(3) for _ in range(n)]
        for i in range(n):
            for j in range(i + 1, n):
                d = r[j] - r[i]
                pull = d / np.sqrt(d @ d) ** 3
                a[i] = a[i] + gm[j] * pull
                a[j] = a[j] - gm[i] * pull
        for i in range(1, n if relativity else 1):
            d, w = r[i] - r[0], v[i] - v[0]
            rho = np.sqrt(d @ d)
            g = gm[0] / (C**2 * rho**3) * ((4 * gm[0] / rho - w @ w) * d + 4 * (d @ w) * w)
            a[i] = a[i] + g
            a[0] = a[0] - gm[i] / gm[0] * g
        return [*z[3 * n :], *(number for row in a for number in row)]

    axes = [f"{name}_{axis}" for name in names for axis in "xyz"]
    return System(f, states=[*axes, *(f"v_{axis}" for axis in axes)], parameters=names, name="solar system")


class Ephemeris:
    """DE421, as `skyfield-data` brings it."""

    def __init__(self) -> None:
        from jplephem.spk import SPK

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other files of the package grow old; an ephemeris does not
            import skyfield_data

            folder = Path(skyfield_data.get_skyfield_data_path())
        self._kernel = SPK.open(str(folder / "de421.bsp"))

    def states(self, t: np.ndarray) -> np.ndarray:
        """Positions, then velocities (K, 66) at days t since J2000."""
        r, v = [], []
        for name in NAMES:
            centre, position, velocity = 0, np.zeros((3, len(t))), np.zeros((3, len(t)))
            for target in SEGMENTS[name]:
                more, faster = self._kernel[centre, target].compute_and_differentiate(J2000, t)
                position, velocity, centre = position + more, velocity + faster, target
            r.append(position)
            v.append(velocity)
        return np.concatenate([*r, *v]).T / AU


def ahead(ephemeris: Ephemeris) -> None:
    t = 365.25 * np.array([0.0, 1.0, 10.0])
    truth = ephemeris.states(t)
    print("error against DE421, km" + "".join(f"{name:>10s}" for name in NAMES))
    for relativity, label in ((False, "Newton"), (True, "with the Sun's 1PN term")):
        system = bodies(relativity=relativity)
        began = time.perf_counter()
        ode.solve_ivp(system, (0, 1), truth[0], p=GM, **TOLERANCE)
        ready = time.perf_counter() - began
        began = time.perf_counter()
        solution = ode.solve_ivp(system, (0, t[-1]), truth[0], p=GM, t_eval=t, **TOLERANCE)
        solved = time.perf_counter() - began
        solution.sweep(dlast=solution.x[-1])  # compiles
        began = time.perf_counter()
        solution.sweep(dlast=solution.x[-1])
        swept = time.perf_counter() - began
        spent = f"first call {ready:.1f} s, ten years {solved:.2f} s ({solution.accepted} steps), sweep {swept:.2f} s"
        print(f"{label}: {spent}")
        for k, years in ((1, "1 year"), (2, "10 years")):
            error = AU * np.linalg.norm((solution.x[k] - truth[k])[:33].reshape(11, 3), axis=1)
            print(f"  {years:21s}" + "".join(f"{e:10.3g}" for e in error))


def weigh(truth: np.ndarray, t: np.ndarray, weighed: tuple[str, ...], seen: np.ndarray) -> None:
    """The masses of these bodies from the positions with the indices `seen`."""
    system = bodies()
    which = [NAMES.index(name) for name in weighed]
    guess = GM.copy()
    guess[which] *= 1.1

    def J(z: np.ndarray) -> tuple[float, np.ndarray]:
        p = GM.copy()
        p[which] *= z
        solution = ode.solve_ivp(system, (0, t[-1]), truth[0], p=p, t_eval=t, **TOLERANCE)
        r = np.zeros(truth.shape)
        r[:, seen] = (solution.x - truth)[:, seen]
        return 0.5 * np.sum(r * r), solution.sweep(dx=r).p[which] * GM[which]

    z = np.full(len(which), 1.1)
    taylor = adjoint.check_gradient(lambda z: J(z)[0], J(z)[1], z, noise=1e-12)
    result = ode.fit(
        system, ode.Experiment(t, truth[:, seen], x0=truth[0], observe=lambda t, x, p: x[seen]), guess,
        fixed=[name for name in NAMES if name not in weighed], by=ode.Adaptive(**TOLERANCE),
    )  # fmt: skip
    print(f"\n{', '.join(weighed)}, from a tenth too much, {len(t)} times over {t[-1]:.0f} days: {result.message}")
    print(f"  Taylor test of the gradient at the guess: rate {taylor.rate:.2f}")
    print(f"  {result.evaluations} evaluations in {result.seconds:.1f} s; residual {AU * result.scale:.3g} km (rms)")
    print(f"  {'GM, km³/s²':>12s}{'estimate':>18s}{'DE421':>18s}{'difference':>12s}{'95 % interval':>15s}")
    unit = AU**3 / DAY**2
    for (low, high), name, i in zip(result.intervals(), weighed, which, strict=True):
        found, half = result[name], (high - low) / 2
        print(f"  {name:>12s}{found * unit:18.3f}{GM[i] * unit:18.3f}{found / GM[i] - 1:12.1e}{half / GM[i]:15.1e}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--years", type=float, default=2.0, help="of positions for the fit")
    options = arguments.parse_args()
    ephemeris = Ephemeris()
    ahead(ephemeris)
    t = np.arange(0, 365.25 * options.years, 20.0)
    others = np.setdiff1d(np.arange(33), np.arange(MOON, MOON + 3))
    weigh(ephemeris.states(t), t, ("venus", "mars", "jupiter", "saturn"), others)
    t = np.arange(31.0)
    weigh(ephemeris.states(t), t, ("earth",), np.arange(MOON, MOON + 3))


if __name__ == "__main__":
    main()
