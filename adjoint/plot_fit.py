"""The picture of a fit: a row for everything that was measured; the model through the measurements, and what is left.

left     measurements (with ± sigma where it is known) and the fitted model
right    residuals in standard deviations; about 95 % of them belong between the dashed lines
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from adjoint.ode.fit_result import FitResult
from adjoint.plot import COLOURS, GREY, NICE, Picture, finish

__all__ = ["plot_fit"]

MOST = 8  # rows


def plot_fit(result: FitResult, file: str | Path | None = None) -> Figure:
    """Draw measurements, model and residuals.

    Parameters
    ----------
    result : FitResult
    file : path, optional
        Where to write the figure; the suffix chooses the format (.png, .pdf, .svg).

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it when it is the last value of a cell.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    experiments = result.problem.experiments
    rows = [(i, j) for i, e in enumerate(experiments) for j in range(len(e.names))]
    shown = rows[:MOST]
    figure = Picture(figsize=(8.6, 1.9 * len(shown) + 0.7), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(shown), 2, squeeze=False, width_ratios=[2, 1], sharex="col" if len(experiments) == 1
                           else "none")  # fmt: skip
    for (i, j), (left, right) in zip(shown, axes, strict=True):
        e, colour = experiments[i], COLOURS[j % len(COLOURS)]
        mask = e.mask[:, j]
        t, left_over = e.t[mask], result.residuals[i][mask, j] / (1.0 if result.known_sigma else result.scale)
        fine_t, fine = result.simulate(i)
        measured, sigma = e.values[mask, j], e.sigma[mask, j]
        low, high = measured - sigma, measured + sigma
        if e.logarithmic:
            measured, low, high = np.exp(measured), np.exp(low), np.exp(high)
        left.plot(fine_t, fine[:, j], color=colour, lw=1.2, label="model")
        if result.known_sigma:
            left.errorbar(t, measured, (measured - low, high - measured), fmt="o", ms=3.5, color="black", lw=0.8,
                          label="measured ± σ")  # fmt: skip
        else:
            left.plot(t, measured, "o", ms=3.5, color="black", label="measured")
        which = f" of {i}" if len(experiments) > 1 else ""
        left.set_ylabel(f"{e.names[j]}{which}", parse_math=False)
        right.axhline(0.0, color=GREY, lw=0.8)
        for line in (-2, 2):
            right.axhline(line, color=GREY, lw=0.8, ls=(0, (5, 4)))
        right.vlines(t, 0, left_over, color=colour, lw=1.0)
        right.plot(t, left_over, "o", ms=3, color=colour)
        widest = max(3.0, 1.1 * float(np.abs(left_over).max(initial=0.0)))
        right.set_ylim(-widest, widest)
        right.set_ylabel("residual / σ" if not e.logarithmic else "log residual / σ")
        for ax in (left, right):
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(labelsize=8)
            ax.xaxis.label.set_fontsize(9)
            ax.yaxis.label.set_fontsize(9)
            ax.grid(True, color="0.92", lw=0.6)
            ax.set_axisbelow(True)
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=NICE))
            ax.margins(x=0.02)
    axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=7.5, frameon=False)
    for ax in axes[-1]:
        ax.set_xlabel("t")
    hidden = len(rows) - len(shown)
    told = "  ".join(f"{name} {value:.4g}" for name, value in zip(result.names[:6], result.values, strict=False))
    more = f"\n{hidden} more rows are not drawn" if hidden else ""
    figure.suptitle(f"{result.problem.system.name}:  {told}{more}", x=0.01, ha="left", fontsize=9, parse_math=False)
    return finish(figure, file)
