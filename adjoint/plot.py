"""Pictures of a solution and of the way to it.

`plot_solution` draws, over one time axis, from the top left

    states            with their bounds; costates lambda in the same groups further down
    path constraints  with their limits
    controls          as the method sees them: constant on an interval, or the polynomial through its nodes (dots)
    dH/du             the switching functions at the nodes
    H                 at the nodes

Vertical ranges never magnify rounding errors: each is at least a small part of the size of what is drawn, and for H and
dH/du of the size of the terms that cancel in them.

Figures are made without pyplot: no window, no global state, nothing to close. The returned figure shows itself in a
notebook.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from adjoint.control.evidence import constraint_bounds
from adjoint.control.hamiltonian import hamiltonian_of
from adjoint.control.solution import Solution, evaluate
from adjoint.errors import InputError
from adjoint.system import System

__all__ = ["plot_history", "plot_solution"]

Array = NDArray[np.float64]

# Okabe and Ito's colours, which colour-blind readers tell apart; yellow is too light for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")  # the lines of a panel also differ in print without colours
GREY = "0.45"
DASHES = (0, (5, 4))

COLUMNS = 3
PANEL = (3.5, 2.05)  # inches
NICE = [1, 2, 2.5, 5, 10]  # distances of ticks
POINTS = 11          # drawn on each interval
MOST_DOTS = 600      # more would only thicken the line
FEW = 6              # ungrouped states that get a panel each; more of them share panels
TOGETHER = 4         # at most so many in a shared panel
# The least range of a vertical axis, relative to the largest value: a state may vary little on purpose (a height above
# the Earth's centre), a costate hardly; H and dH/du are compared with the largest sum of the terms that cancel in them.
LEAST_STATE, LEAST_COSTATE, LEAST_TERMS = 1e-3, 0.05, 0.1


class Picture(Figure):
    """A Matplotlib figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=110)
        return stream.getvalue()


@dataclass(frozen=True)
class Curve:
    """One line: times (k,) and values (k,), and dots where the unknowns are."""

    name: str
    t: Array
    y: Array
    dots: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class Panel:
    """Curves over one vertical axis.

    Attributes
    ----------
    label : str
        What stands at the axis.
    curves : list of Curve
    least : float
        The least range of the axis: smaller variations are rounding errors.
    bounds : list of (lower, upper), one for each curve
    zero : bool
        Whether 0 is drawn, and in sight.
    """

    label: str
    curves: list[Curve]
    least: float
    bounds: list[tuple[float, float]] = field(default_factory=list)
    zero: bool = False


def plot_solution(solution: Solution, file: str | Path | None = None) -> Figure:
    """Draw a solution: states, path constraints, controls, switching functions, H and costates.

    Parameters
    ----------
    solution : Solution
        Of any kind: also one that failed, or of a discrete system.
    file : path, optional
        Where to write the figure; the suffix chooses the format (.png, .pdf, .svg).

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it when it is the last value of a cell.

    Raises
    ------
    InputError
        If the file's suffix is no format of Matplotlib, or the file cannot be written.

    Examples
    --------
    >>> import adjoint
    >>> from adjoint.plot import plot_solution
    >>> car = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="position speed", controls="force")
    >>> solution = adjoint.solve(adjoint.OptimalControlProblem(
    ...     car, initial=dict(position=0, speed=0), final=dict(position=1, speed=0),
    ...     running=lambda t, x, u, p: u[0] ** 2))
    >>> [axes.get_ylabel() for axes in plot_solution(solution).axes][:3]
    ['position', 'speed', 'force']
    """
    panels = [*_states(solution), *_controls(solution), *_path(solution), *_hamiltonian(solution), *_costates(solution)]
    columns = 2 if len(panels) == 4 else COLUMNS
    figure, axes = _grid(len(panels), columns)
    t0, tf = float(solution.t[0]), float(solution.t[-1])
    for panel, ax in zip(panels, axes, strict=True):
        _draw(panel, ax)
        if math.isfinite(t0) and math.isfinite(tf) and t0 < tf:
            ax.set_xlim(t0, tf)
    for ax in _bottom(axes, columns):
        ax.set_xlabel("time step" if solution.problem.system.discrete else "time")
    problem = solution.problem
    sense = "" if problem.sign > 0 else "   (costates and H: of the negated objective, minimised)"
    status = textwrap.fill(solution.status, 40 * columns)
    _title(figure, f"{problem.name}:  cost {solution.cost:.8g}{sense}\n{status}")
    return finish(figure, file)


def plot_history(solution: Solution, file: str | Path | None = None) -> Figure:
    """Draw how the solver converged (on the last mesh): optimality errors, cost, step lengths.

    Parameters
    ----------
    solution : Solution
    file : path, optional
        As for `plot_solution`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If the file cannot be written.

    Examples
    --------
    >>> import adjoint
    >>> from adjoint.plot import plot_history
    >>> car = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="position speed", controls="force")
    >>> solution = adjoint.solve(adjoint.OptimalControlProblem(
    ...     car, initial=dict(position=0, speed=0), final=dict(position=1, speed=0),
    ...     running=lambda t, x, u, p: u[0] ** 2))
    >>> [axes.get_ylabel() for axes in plot_history(solution).axes]
    ['scaled error', 'cost', 'step length']
    """
    # The iteration that a solve was stopped in may have left its row empty.
    written = solution.history[:, 0] == np.arange(len(solution.history))
    history = {name: solution.history[written, i] for i, name in enumerate(Solution.HISTORY)}
    iteration = history["iteration"]
    figure, axes = _grid(3, 3)
    errors, cost, lengths = axes
    for i, name in enumerate(("violation", "dual", "mu")):
        shown = np.isfinite(history[name]) & (history[name] > 0)  # a logarithm has no place for 0
        errors.semilogy(iteration[shown], history[name][shown], marker=".", ms=4, **_style(i), label=name)
    errors.axhline(solution.residuals["tolerance"], color=GREY, lw=0.8, ls="--", label="tolerance")
    errors.set_ylabel("scaled error")
    values = solution.problem.sign * history["cost"]
    _draw(Panel("cost", [Curve("cost", iteration, values, (iteration, values))], LEAST_STATE * _largest(values)), cost)
    for i, name in enumerate(("primal step", "dual step")):
        lengths.plot(iteration[1:], history[name][1:], marker=".", ms=4, **_style(i), label=name.removesuffix(" step"))
    lengths.set_ylim(-0.05, 1.05)
    lengths.set_ylabel("step length")
    for ax in (errors, lengths):
        _legend(ax)
    for ax in axes:
        ax.set_xlabel("iteration")
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=NICE, integer=True))
    status = textwrap.fill(solution.status, 110)
    _title(figure, f"{solution.problem.name}:  {solution.iterations} iterations\n{status}")
    return finish(figure, file)


# -- what is drawn


def _states(solution: Solution) -> list[Panel]:
    system, bounds = solution.problem.system, solution.problem.phases[0].state_bounds
    if system.discrete:
        t, x = solution.t, solution.x
        curves = [Curve(name, t, x[:, i], (t, x[:, i])) for i, name in enumerate(system.states)]
    else:
        t = _fine(solution)
        x = solution.state(t.ravel())
        curves = [Curve(name, t.ravel(), x[:, i]) for i, name in enumerate(system.states)]
    return [Panel(label, [curves[i] for i in group], LEAST_STATE * _largest(x[:, group]), _pairs(bounds, group))
            for label, group in _groups(system, "state", [float(np.ptp(_finite(c.y))) for c in curves])]


def _costates(solution: Solution) -> list[Panel]:
    system = solution.problem.system
    if solution.collocation:
        t = np.unique(np.concatenate([solution.t, solution.node_t]))
        values = solution.costates(t)
    else:
        t, values = solution.t, solution.costate
    curves = [Curve(name, t, values[:, i]) for i, name in enumerate(system.states)]
    spans = [float(np.ptp(_finite(solution.x[:, i]))) for i in range(system.n)]
    return [Panel(f"λ of {label}", [curves[i] for i in group], LEAST_COSTATE * _largest(values[:, group]))
            for label, group in _groups(system, "state", spans)]


def _controls(solution: Solution) -> list[Panel]:
    system, bounds = solution.problem.system, solution.problem.phases[0].control_bounds
    t = _fine(solution)
    if solution.collocation:
        # Each interval's own polynomial, also at its ends: a jump at a knot is a jump in the picture.
        inside = t[:, :1] + (t[:, -1:] - t[:, :1]) * np.linspace(1e-9, 1 - 1e-9, t.shape[1])
        u = solution.control(inside.ravel())
    else:
        u = np.repeat(solution.u, t.shape[1], axis=0)
    curves = [Curve(name, t.ravel(), u[:, i], (solution.node_t, solution.node_u[:, i]))
              for i, name in enumerate(system.controls)]
    return [Panel(label, [curves[i] for i in group], LEAST_STATE * _largest(u[:, group]), _pairs(bounds, group))
            for label, group in _groups(system, "control", [float(np.ptp(_finite(c.y))) for c in curves])]


def _path(solution: Solution) -> list[Panel]:
    h = hamiltonian_of(solution.problem)
    panels = []
    for (constraint, graph), size in zip(h.graphs.path, h.path_sizes, strict=True):
        values = evaluate(graph, solution.node_t, solution.node_x, solution.node_u, solution.p)
        bounds = constraint_bounds([constraint], [size])
        names = [constraint.name] if size == 1 else [f"{constraint.name}{i}" for i in range(size)]
        curves = [Curve(name, solution.node_t, values[:, i]) for i, name in enumerate(names)]
        panels.append(Panel(constraint.name, curves, LEAST_STATE * _largest(values), _pairs(bounds, list(range(size)))))
    return panels


def _hamiltonian(solution: Solution) -> list[Panel]:
    """Switching functions in the groups of the controls, and H."""
    h, system = hamiltonian_of(solution.problem), solution.problem.system
    t, u = solution.node_t, solution.node_u
    points = h.points(t, solution.node_x, u, solution.p, solution.node_costate, solution.integral_costate,
                      np.zeros(h.r), np.ones(h.n), np.ones(h.m))
    curves = [Curve(name, t, points.H_u[:, i]) for i, name in enumerate(system.controls)]
    spans = [float(np.ptp(_finite(u[:, i]))) for i in range(system.m)]
    panels = [Panel(f"∂H/∂{label}", [curves[i] for i in group],
                    LEAST_TERMS * _largest(points.H_u_terms[:, group]), zero=True)
              for label, group in _groups(system, "control", spans)]
    return [*panels, Panel("H", [Curve("H", t, points.H)], LEAST_TERMS * _largest(points.H_terms))]


def _groups(system: System, kind: str, spans: Sequence[float]) -> list[tuple[str, list[int]]]:
    """Panels for the states or controls: (label, members).

    A group such as ``q[6]`` is one panel. Other names have one each as long as there are few; else those whose values
    span ranges of similar size share one.
    """
    labels = system.states if kind == "state" else system.controls
    panels: list[tuple[str, list[int]]] = []
    alone: list[int] = []
    i = 0
    while i < len(labels):
        prefix = re.sub(r"\d+$", "", labels[i])
        group = _group(system, prefix) if prefix != labels[i] else None
        if group is None:
            alone.append(i)
            panels.append((labels[i], [i]))
            i += 1
        else:
            panels.append((prefix, group))
            i = group[-1] + 1
    if len(alone) <= FEW:
        return panels
    shared: list[list[int]] = []
    for i in alone:
        for members in shared:
            if len(members) < TOGETHER and all(0.2 <= _ratio(spans[i], spans[j]) <= 5 for j in members):
                members.append(i)
                break
        else:
            shared.append([i])
    panels = [panel for panel in panels if len(panel[1]) > 1] + [(", ".join(labels[i] for i in s), s) for s in shared]
    return sorted(panels, key=lambda panel: panel[1][0])


def _group(system: System, name: str) -> list[int] | None:
    try:
        _, index = system.index(name)
    except InputError:
        return None
    return None if isinstance(index, int) else list(range(index.start, index.stop))


def _ratio(a: float, b: float) -> float:
    return (a + 1e-300) / (b + 1e-300)


def _fine(solution: Solution) -> Array:
    """Times (N, k) that resolve every interval; both ends belong to it."""
    start, end = solution.t[:-1, None], solution.t[1:, None]
    return start + (end - start) * np.linspace(0.0, 1.0, POINTS if not solution.problem.system.discrete else 2)


def _pairs(bounds: Array, group: list[int]) -> list[tuple[float, float]]:
    return [(float(bounds[0, i]), float(bounds[1, i])) for i in group]


def _finite(values: Array) -> Array:
    kept = values[np.isfinite(values)]
    return kept if kept.size else np.zeros(1)


def _largest(values: Array) -> float:
    return float(np.abs(_finite(values)).max())


# -- drawing


def _grid(count: int, columns: int) -> tuple[Picture, list[Axes]]:
    rows = math.ceil(count / columns)
    figure = Picture(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: list[Axes] = []
    for i in range(count):
        ax = figure.add_subplot(rows, columns, i + 1, sharex=axes[0] if axes else None)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        for axis, intervals in ((ax.xaxis, 6), (ax.yaxis, 5)):
            axis.label.set_fontsize(9)
            axis.set_major_locator(MaxNLocator(intervals, steps=NICE, min_n_ticks=3))
            axis.set_major_formatter(FuncFormatter(_tick))
        ax.grid(True, color="0.92", lw=0.6)
        ax.set_axisbelow(True)
        axes.append(ax)
    figure.align_ylabels(axes)
    return figure, axes


def _bottom(axes: list[Axes], columns: int) -> list[Axes]:
    """The lowest panel of each column; the others lose the labels of their time axis."""
    for ax in axes[:-columns]:
        ax.tick_params(labelbottom=False)
    return axes[-columns:]


def _tick(value: float, _: int) -> str:
    """Whole numbers on their ticks, with a true minus sign: no common factor hidden in a corner of the picture."""
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.7g}").replace("-", "\N{MINUS SIGN}")


def _style(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i % len(COLOURS)], "ls": STYLES[i % len(STYLES)]}


def _draw(panel: Panel, ax: Axes) -> None:
    ax.set_ylabel(panel.label, parse_math=False)  # a name may hold a $
    if panel.zero:
        ax.axhline(0.0, color=GREY, lw=0.6)
    many = len(panel.curves) > len(COLOURS)
    common = len(set(panel.bounds)) == 1
    for i, curve in enumerate(panel.curves):
        style = _style(i)
        if many:
            style = {"color": _shade(i / (len(panel.curves) - 1)), "ls": "-"}
        shown = np.isfinite(curve.t) & np.isfinite(curve.y)
        ax.plot(curve.t[shown], curve.y[shown], lw=1.0, label=curve.name, **style)
        if curve.dots is not None and curve.dots[0].size <= MOST_DOTS:
            t, y = curve.dots
            shown = np.isfinite(t) & np.isfinite(y)
            ax.plot(t[shown], y[shown], ".", ms=4.5 if t.size <= 60 else 3, mew=0, color=style["color"], label="_dots")
    if not any(np.isfinite(curve.y).any() for curve in panel.curves):
        ax.text(0.5, 0.5, "not finite", transform=ax.transAxes, ha="center", va="center", color=GREY, fontsize=8)
    low, high = _range(panel)
    ax.set_ylim(low, high)
    far: list[float] = []
    for i, pair in enumerate(panel.bounds[:1] if common else panel.bounds):
        colour = GREY if common else str(_style(i)["color"])
        for bound in sorted({b for b in pair if math.isfinite(b)}):
            ax.axhline(bound, color=colour, lw=0.8, ls=DASHES, label="_bound")
            far += [bound] if not low <= bound <= high else []
    if len(panel.curves) > 1 or far:
        _legend(ax, ends_only=many, far=far)


def _range(panel: Panel) -> tuple[float, float]:
    """From the lowest to the highest value, and to bounds that are at most as far away again."""
    values = np.concatenate([_finite(curve.y) for curve in panel.curves])
    low, high = float(values.min()), float(values.max())
    if panel.zero:
        low, high = min(low, 0.0), max(high, 0.0)
    least = panel.least if panel.least > 0 else 1.0
    reach = max(high - low, least)
    for bound in (b for pair in panel.bounds for b in pair if low - reach <= b <= high + reach):
        low, high = min(low, bound), max(high, bound)
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _shade(fraction: float) -> str:
    """From blue to orange through grey."""
    first, last = np.array([0, 114, 178]), np.array([230, 159, 0])
    return "#" + "".join(f"{round(c):02x}" for c in first + fraction * (last - first))


def _legend(ax: Axes, ends_only: bool = False, far: Sequence[float] = ()) -> None:
    """In a row above the panel, where no line can run through it; with the bounds that are out of sight."""
    handles, labels = ax.get_legend_handles_labels()
    if ends_only:
        handles, labels = [handles[0], handles[-1]], [labels[0], f"... {labels[-1]}"]
    elif len(labels) == 1 and far:
        handles, labels = [], []
    if far:
        handles.append(Line2D([], [], color=GREY, lw=0.8, ls=DASHES))
        labels.append(("bounds " if len(far) > 1 else "bound ") + ", ".join(_tick(b, 0) for b in sorted(set(far))))
    # As many in a row as fit over a panel: a handle and its gaps take 0.28 inches, a character 0.055.
    columns = max(1, int(0.85 * PANEL[0] / (0.28 + 0.055 * max(len(text) for text in labels))))
    legend = ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=min(columns, len(labels)),
                       fontsize=7.5, frameon=False, borderaxespad=0.1, borderpad=0.2, handlelength=1.6,
                       columnspacing=0.9, handletextpad=0.4, labelspacing=0.2)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=9, linespacing=1.4, parse_math=False)


def finish(figure: Picture, file: str | Path | None) -> Picture:
    """Write the figure where it is wanted, and return it."""
    if file is not None:
        kinds = figure.canvas.get_supported_filetypes()
        suffix = Path(file).suffix.lower().removeprefix(".")
        if suffix not in kinds:
            raise InputError(f"{file}: the suffix .{suffix} is no format for pictures. "
                             f"Choose one of {', '.join(sorted(kinds))}.")
        try:
            figure.savefig(file)
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error.strerror or error}.") from None
    return figure
