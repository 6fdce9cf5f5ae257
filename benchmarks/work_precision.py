"""Work and precision: the error at the end against evaluations of f and against time, beside SciPy's same methods.

    python benchmarks/work_precision.py [--figure work_precision.png]

Kepler's orbit (eccentricity 0.5, three revolutions; the exact end is the start) by explicit pairs, and HIRES (eight
reactions, published end value) by stiff methods, each for a range of tolerances. The table has the slope of the error
in the work, and the work and time for an error of 1e-6 (1e-4 for HIRES), relative, by interpolation.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.integrate
from turns import medians

import adjoint
from adjoint import BS3, DOP853, DOPRI5, RODAS5P, TSIT5, System, radau

TURNS = 6 * np.pi
START = np.array([0.5, 0.0, 0.0, np.sqrt(3.0)])
# E. Hairer, G. Wanner: Solving ODEs II; end value of the test set for IVP solvers.
HIRES_START = np.array([1, 0, 0, 0, 0, 0, 0, 0.0057])
HIRES_SPAN = (0.0, 321.8122)
HIRES_END = np.array([
    0.7371312573325668e-3, 0.1442485726316185e-3, 0.5888729740967575e-4, 0.1175651343283149e-2, 0.2386356198831331e-2,
    0.6238968252742796e-2, 0.2849998395185769e-2, 0.2850001604814231e-2,
])  # fmt: skip


def kepler(t, x, u=None, p=None):
    r3 = (x[0] ** 2 + x[1] ** 2) ** 1.5
    return [x[2], x[3], -x[0] / r3, -x[1] / r3]


def hires(t, y, u=None, p=None):
    r = 280 * y[5] * y[7]
    return [
        -1.71 * y[0] + 0.43 * y[1] + 8.32 * y[2] + 0.0007,
        1.71 * y[0] - 8.75 * y[1],
        -10.03 * y[2] + 0.43 * y[3] + 0.035 * y[4],
        8.32 * y[1] + 1.71 * y[2] - 1.12 * y[3],
        -1.745 * y[4] + 0.43 * y[5] + 0.43 * y[6],
        -r + 0.69 * y[3] + 1.71 * y[4] - 0.43 * y[5] + 0.69 * y[6],
        r - 1.81 * y[6],
        -r + 1.81 * y[6],
    ]


Solve = Callable[[float], tuple[np.ndarray, int]]


def ours(f: Callable, names: str, span: tuple[float, float], x0: np.ndarray, method: object, floor: float) -> Solve:
    system = System(f, names)

    def solve(rtol: float) -> tuple[np.ndarray, int]:
        found = adjoint.solve_ivp(system, span, x0, method=method, rtol=rtol, atol=rtol * floor)
        return found.x[-1], found.nfev

    return solve


def scipys(f: Callable, span: tuple[float, float], x0: np.ndarray, method: str, floor: float) -> Solve:
    def solve(rtol: float) -> tuple[np.ndarray, int]:
        found = scipy.integrate.solve_ivp(f, span, x0, method=method, rtol=rtol, atol=rtol * floor)
        return found.y[:, -1], found.nfev

    return solve


def curves() -> dict[str, dict[str, tuple[Solve, np.ndarray, np.ndarray]]]:
    explicit, stiff = 10.0 ** -np.arange(3, 12), 10.0 ** -np.arange(3, 10)
    orbit, tests = {}, {}
    for ours_, theirs in ((BS3, "RK23"), (DOPRI5, "RK45"), (TSIT5, None), (DOP853, "DOP853")):
        tolerances = explicit[:7] if ours_ is BS3 else explicit
        orbit[ours_.name] = ours(kepler, "x y vx vy", (0, TURNS), START, ours_, 1.0), tolerances, START
        if theirs:
            orbit[f"SciPy {theirs}"] = scipys(kepler, (0, TURNS), START, theirs, 1.0), tolerances, START
    for method in (RODAS5P, radau(3)):
        tests[method.name] = ours(hires, "y[8]", HIRES_SPAN, HIRES_START, method, 1e-4), stiff, HIRES_END
    for theirs in ("Radau", "BDF", "LSODA"):
        tests[f"SciPy {theirs}"] = scipys(hires, HIRES_SPAN, HIRES_START, theirs, 1e-4), stiff, HIRES_END
    return {"Kepler, e = 0.5": orbit, "HIRES": tests}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--figure", type=Path, help="where to draw the curves")
    figure = arguments.parse_args().figure
    drawn = {}
    for (title, methods), goal in zip(curves().items(), (1e-6, 1e-4), strict=True):
        print(f"{title}{'':20s}slope   evaluations and milliseconds for an error of {goal:g}")
        drawn[title] = {}
        for name, (solve, tolerances, truth) in methods.items():
            ends = [solve(float(rtol)) for rtol in tolerances]
            error = np.array([np.linalg.norm(x - truth) / np.linalg.norm(truth) for x, _ in ends])
            work = np.array([n for _, n in ends])
            runs = {f"{rtol:g}": lambda rtol=rtol, solve=solve: solve(float(rtol)) for rtol in tolerances}
            spent = 1e3 * np.array(list(medians(runs, 0.3, turns=1).values()))
            drawn[title][name] = error, work, spent
            slope = np.polyfit(np.log(work), np.log(error), 1)[0]
            order = np.argsort(error)
            at = [np.exp(np.interp(np.log(goal), np.log(error[order]), np.log(a[order]))) for a in (work, spent)]
            print(f"  {name:32s}{slope:6.1f} {at[0]:12.0f} {at[1]:12.2f}", flush=True)
    if figure is not None:
        draw(drawn, figure)


def draw(drawn: dict, file: Path) -> None:
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, 2, figsize=(8, 6.4), layout="constrained", sharey="row")
    for row, (title, methods) in zip(axes, drawn.items(), strict=True):
        colours: dict[str, str] = {}
        for name, (error, work, spent) in methods.items():
            twins = {"RK23": "bs3", "RK45": "dopri5", "DOP853": "dop853", "Radau": "radau3"}
            family = twins.get(name.split()[-1], name)
            colour = colours.setdefault(family, f"C{len(colours)}")
            style = "o--" if name.startswith("SciPy") else "o-"
            fill = "white" if name.startswith("SciPy") else colour
            for axis, x in zip(row, (work, spent), strict=True):
                axis.loglog(x, error, style, color=colour, mfc=fill, ms=4, lw=1.2, label=name)
        row[0].set(xlabel="evaluations of f", ylabel="relative error at the end")
        row[0].set_title(title, loc="left", fontsize=10)
        row[1].set(xlabel="milliseconds")
        row[0].legend(fontsize=7, frameon=False)
    fig.savefig(file, dpi=200)


if __name__ == "__main__":
    main()
