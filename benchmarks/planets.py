"""The solar system against a real ephemeris: a year and ten years ahead, and the masses of planets from positions.

    pip install skyfield-data==7.0.0 jplephem==2.24
    python benchmarks/planets.py [--years 2]

Sun, eight planets, Moon and Pluto as points; barycentric positions r_i and velocities v_i in astronomical units (au,
149 597 870.7 km) and days of TDB:

    r_i'' = Σ_j GM_j (r_j - r_i) / |r_j - r_i|³ + g_i
    g_i   = GM_S / (c² ρ³) [(4 GM_S / ρ - |w|²) d + 4 (d · w) w],    d = r_i - r_S,  w = v_i - v_S,  ρ = |d|

g is the first post-Newtonian term of one heavy body, here the Sun (general relativity, harmonic coordinates; IERS
Conventions 2010, the first line of equation 10.12 with β = γ = 1, where the body is the Earth). The Sun gets
-Σ GM_i g_i / GM_S, so that Σ GM_i v_i is kept. Start values are those of JPL's ephemeris DE421 at J2000 (W. M. Folkner,
J. G. Williams, D. H. Boggs, IPN Progress Report 42-178, 2009), and so are the GM.

The model has no asteroids, no figure of the Earth and no tides, and this shows. The bodies of DE421 have a momentum
that the asteroids take up (Ceres alone moves the Sun by 0.27 km a year), so that the whole model drifts; the fits look
at positions relative to the Sun. The Earth's flattening, J2 = 1.08e-3, pulls a Moon above the equator as if GM were
larger by 3/2 J2 (6378 / 384 400)² = 4.5e-7. None of this is noise: the formal intervals of the fits know nothing of
it, and the printed last column says by how much they are exceeded. A control fits positions that the model itself has
computed; what is left there is rounding.

The masses start a tenth too large. The Earth's is found from the Moon, every day of a month: after more revolutions, a
mass that wrong has the Moon on the other side, and a single run finds no way back.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
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


def places(*names: str) -> np.ndarray:
    """Where the positions of these bodies stand among the states."""
    return np.concatenate([3 * NAMES.index(name) + np.arange(3) for name in names])


def seconds(run: Callable[[], Any], times: int = 5) -> float:
    """The median."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return float(np.median(took))


def ahead(ephemeris: Ephemeris) -> None:
    """The error of the model after a year and ten years, and what that costs."""
    t = 365.25 * np.array([0.0, 1.0, 10.0])
    truth = ephemeris.states(t)
    drift = np.linalg.norm(GM @ truth[0, 33:].reshape(11, 3)) / GM.sum() * AU * 365.25
    print(f"the centre of the eleven masses moves by {drift:.2f} km a year\n")
    print("error against DE421, km      " + "".join(f"{name:>9s}" for name in NAMES))
    for relativity, label in ((False, "Newton"), (True, "with the Sun's 1PN term")):
        system = bodies(relativity=relativity)

        solve = partial(ode.solve_ivp, system, (0, t[-1]), truth[0], p=GM, t_eval=t, **TOLERANCE)
        first = seconds(lambda solve=solve: solve().sweep(dlast=truth[0]), 1)
        solution = solve()
        solved, swept = seconds(solve), seconds(partial(solution.sweep, dlast=truth[0]))
        print(f"{label}: first solve and sweep {first:.2f} s, with tracing, and compiling of what is not on disk;")
        print(f"  then ten years {1e3 * solved:.0f} ms ({solution.accepted} steps), sweep {1e3 * swept:.0f} ms")
        error = AU * (solution.x - truth)[:, :33].reshape(3, 11, 3)
        relative = error - error[:, :1]
        for k, years in ((1, "1 year"), (2, "10 years")):
            for what, off in (("", error), (", to the Sun", relative)):
                size = np.linalg.norm(off[k], axis=1)
                print(f"  {years + what:26s} " + "".join(f"{e:9.3g}" for e in size))


def check(truth: np.ndarray, t: np.ndarray) -> None:
    """Taylor tests of ∂J/∂(GM, x_0), J the squared errors of all positions; all GM wrong by some per cent."""
    system, K = bodies(), len(GM)
    # Units of the unknowns: their own size for GM; 1500 km and 15 km a day, so that the Moon stays with the Earth.
    unit = np.concatenate([GM, np.full(33, 1e-5), np.full(33, 1e-7)])
    centre = np.concatenate([GM * (1 + 0.05 * np.cos(np.arange(K))), truth[0]])

    def J(z: np.ndarray) -> tuple[float, np.ndarray]:
        p, x0 = np.split(centre + unit * z, [K])
        solution = ode.solve_ivp(system, (0, t[-1]), x0, p=p, t_eval=t, **TOLERANCE)
        r = (solution.x - truth) * (np.arange(66) < 33)
        g = solution.sweep(dx=r)
        return 0.5 * float(np.sum(r * r)), np.concatenate([g.p, g.x0]) * unit

    z = np.zeros(len(unit))
    for what, part, eps in (("GM", slice(0, K), 1e-3), ("start values", slice(K, None), 1.0)):
        direction = np.zeros(len(z))
        direction[part] = np.random.default_rng(0).standard_normal(len(direction[part]))
        right, wrong = (
            adjoint.check_gradient(lambda z: J(z)[0], factor * J(z)[1], z, direction, eps=eps, noise=1e-13).rate
            for factor in (1, 1.001)
        )
        print(f"Taylor test along {what:12s}: rate {right:.2f}; of a gradient wrong by a thousandth {wrong:.2f}")


def weigh(
    title: str, truth: np.ndarray, t: np.ndarray, weighed: Sequence[str], seen: Sequence[str], origin: str = "sun",
    free: Sequence[str] = (), solver: ode.GaussNewton | ode.QuasiNewton | None = None,
) -> None:  # fmt: skip
    """The masses of some bodies, and start values of `free`, from positions of those that are seen from `origin`."""
    system = bodies()
    which = [NAMES.index(name) for name in weighed]
    there, here = places(*seen), np.tile(places(origin), len(seen))
    guess = GM.copy()
    guess[which] *= 1.1
    experiment = ode.Experiment(
        t, truth[:, there] - truth[:, here], x0=truth[0], observe=lambda t, x, p: x[there] - x[here],
        free=[f"{v}{name}_{axis}" for name in free for v in ("", "v_") for axis in "xyz"],
    )  # fmt: skip
    result = ode.fit(
        system, experiment, guess, fixed=[name for name in NAMES if name not in weighed],
        by=ode.Adaptive(**TOLERANCE), solver=solver,
    )  # fmt: skip
    print(f"\n{title}: {len(t)} times over {t[-1]:.0f} days, {len(result.names)} unknowns: {result.message}")
    print(f"  {result.evaluations} evaluations in {result.seconds:.1f} s; residual {AU * result.scale:.3g} km (rms)")
    print(f"  {'GM, km³/s²':>12s}{'estimate':>18s}{'DE421':>18s}{'difference':>12s}{'± 95 %':>10s}{'ratio':>8s}")
    unit, outside = AU**3 / DAY**2, []
    for (low, high), name, i in zip(result.intervals(), weighed, which, strict=False):
        off, half = result[name] / GM[i] - 1, (high - low) / 2 / GM[i]
        print(f"  {name:>12s}{result[name] * unit:18.3f}{GM[i] * unit:18.3f}{off:12.1e}{half:10.1e}"
              f"{abs(off) / half:8.1f}")  # fmt: skip
        if abs(off) > half:
            outside.append(name)
    if outside:
        print(f"  outside of the interval: {', '.join(outside)}. What is left over is no independent noise.")
    for warning in result.warnings:
        print(f"  warning: {warning}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=float, default=2.0, help="of positions for the fits")
    arguments = parser.parse_args()
    try:
        ephemeris = Ephemeris()
    except ImportError:
        raise SystemExit("The data are not here: pip install skyfield-data==7.0.0 jplephem==2.24") from None
    ahead(ephemeris)
    t = np.arange(0, 365.25 * arguments.years, 20.0)
    truth = ephemeris.states(t)
    print()
    check(truth[t < 366], t[t < 366])

    four = ("venus", "mars", "jupiter", "saturn")
    planets = [name for name in NAMES if name not in ("sun", "moon")]
    weigh("four masses, the start known", truth, t, four, planets)
    weigh("the same by L-BFGS-B and sweeps", truth, t, four, planets, solver=ode.QuasiNewton())
    made = ode.solve_ivp(bodies(), (0, t[-1]), truth[0], p=GM, t_eval=t, **TOLERANCE).x
    weigh("control, positions of the model itself", made, t, four, planets)
    weigh("four masses and the start of all planets", truth, t, four, planets, free=planets)
    rest = [name for name in planets if name != "earth"]
    weigh("all masses but that of the Earth, the start known", truth, t, rest, rest)
    t = np.arange(31.0)
    weigh("the Earth from the Moon", ephemeris.states(t), t, ("earth",), ("moon",), origin="earth")


if __name__ == "__main__":
    main()
