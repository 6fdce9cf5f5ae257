"""Pictures of methods: where they are stable, and where the eigenvalues of a system lie in that.

`plot_regions`      boundaries |R(z)| = 1 of several methods over one plane, with h λ on it
`plot_order_star`   where |R(z)| > |exp(z)|: the fingers at 0 count the order
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from adjoint.analysis.regions import stability_function
from adjoint.analysis.step_limit import StepLimit
from adjoint.errors import InputError
from adjoint.method import Method
from adjoint.plot import COLOURS, GREY, STYLES, finish
from adjoint.plot_stability import _panels

__all__ = ["plot_order_star", "plot_regions"]

Array = NDArray[np.float64]
POINTS = 401


def plot_regions(
    methods: Method | Sequence[Method],
    eigenvalues: ArrayLike | StepLimit | None = None,
    h: float | None = None,
    file: str | Path | None = None,
) -> Figure:
    """Draw the regions of stability of some methods, and eigenvalues times a step on them.

    Parameters
    ----------
    methods : Method, or several
        The first one is shaded by |R|.
    eigenvalues : array_like of complex, or StepLimit, optional
        λ; those of a `StepLimit` come with their step.
    h : float, optional
        The step that multiplies them; that of the StepLimit if left out, or 1.
    file : path, optional
        Where to write the figure; the suffix chooses the format.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If there is no method, h is not a positive number, or the file cannot be written.

    Examples
    --------
    >>> import adjoint
    >>> figure = plot_regions([adjoint.RK4, adjoint.EULER], eigenvalues=[-1 + 2j, -1 - 2j], h=0.5)
    >>> figure.axes[0].get_xlabel()
    'Re z'
    """
    chosen = [methods] if isinstance(methods, Method) else list(methods)
    if not chosen:
        raise InputError("plot_regions: no method is given; pass adjoint.RK4, or a list of methods.")
    functions = [stability_function(m) for m in chosen]
    spectrum = eigenvalues.eigenvalues if isinstance(eigenvalues, StepLimit) else eigenvalues
    if h is None:
        h = eigenvalues.h if isinstance(eigenvalues, StepLimit) and 0 < eigenvalues.h < math.inf else 1.0
    if not 0 < h < math.inf:
        raise InputError(f"plot_regions: h is {h!r}; expected a positive number.")
    points = np.zeros(0, complex) if spectrum is None else h * np.atleast_1d(np.asarray(spectrum, complex)).reshape(-1)
    left = max([R.real_interval for R in functions if math.isfinite(R.real_interval)], default=4.0)
    top = max([R.imaginary_interval for R in functions if math.isfinite(R.imaginary_interval)] + [0.8 * left, 2.5])
    left, right = -1.25 * max(left, -float(points.real.min(initial=0.0))), max(1.5, 1.2 * points.real.max(initial=0.0))
    if any(R.A_stable for R in functions):
        right = max(right, -left)  # what such a method forbids lies to the right
    top = 1.2 * max(top, float(np.abs(points.imag).max(initial=0.0)))

    x, y = np.linspace(left, right, POINTS), np.linspace(-top, top, POINTS)
    z = x + 1j * y[:, None]
    figure, (ax,) = _panels(1, 1, 5.2, 4.6)
    for i, R in enumerate(functions):
        size = R.modulus(z)
        if i == 0:
            ax.contourf(x, y, size, [0, 0.25, 0.5, 0.75, 1.0], colors=["#a9c9e3", "#c3d9ec", "#dce9f4", "#eef4fa"])
        ax.contour(x, y, size, [1.0], colors=COLOURS[i % len(COLOURS)], linestyles=STYLES[i % len(STYLES)],
                   linewidths=1.3)  # fmt: skip
    _axes_through_zero(ax)
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], ls=STYLES[i % len(STYLES)], lw=1.3, label=m.name)
        for i, m in enumerate(chosen)
    ]
    if points.size:
        inside = functions[0].modulus(points) <= 1 + 1e-9
        for where, face, label in ((inside, "k", "inside"), (~inside, "w", "outside")):
            if where.any():
                dots = points[where]
                ax.plot(dots.real, dots.imag, "o", color="k", mfc=face, ms=4.5, mew=1.0)
                handles.append(Line2D([], [], ls="", marker="o", color="k", mfc=face, ms=4.5,
                                      label=rf"$h\lambda$ {label}, h = {h:.4g}"))  # fmt: skip
    # Above the plane, where no boundary runs through it
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=7.5, frameon=False,
              borderaxespad=0.1, handlelength=2.2, columnspacing=1.2)  # fmt: skip
    shades = f"shades: |R| of {chosen[0].name} below 1/4, 1/2, 3/4, 1"
    ax.text(0.99, 0.01, shades, transform=ax.transAxes, ha="right", va="bottom", fontsize=6.5, color=GREY)
    ax.set(xlabel="Re z", ylabel="Im z", xlim=(left, right), ylim=(-top, top))
    ax.set_aspect("equal", adjustable="box")
    return finish(figure, file)


def plot_order_star(method: Method, span: float | None = None, file: str | Path | None = None) -> Figure:
    """Draw the order star {|R(z)| > |exp(z)|}: it meets 0 in p+1 fingers; an A-stable method has none on the imaginary
    axis. Wanner, Hairer, Nørsett, BIT 18 (1978).

    Parameters
    ----------
    method : Method
    span : float, optional
        Half the width of the picture.
    file : path, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    R = stability_function(method)
    reach = max(4.0, 1.5 * (R.order**0.75)) if span is None else float(span)
    if not 0 < reach < math.inf:
        raise InputError(f"plot_order_star: span is {span!r}; expected a positive number.")
    x = np.linspace(-reach, reach, POINTS)
    z = x + 1j * x[:, None]
    larger = np.log(np.maximum(R.modulus(z), 1e-300)) - z.real
    figure, (ax,) = _panels(1, 1, 4.4, 4.2)
    ax.contourf(x, x, larger, [0, 1e300], colors=["#c3d9ec"])
    ax.contour(x, x, larger, [0.0], colors=COLOURS[0], linewidths=1.1)
    _axes_through_zero(ax)
    if len(R.denominator) > 1:
        ax.plot(R.poles.real, R.poles.imag, "x", color=COLOURS[1], ms=6, mew=1.4, label="poles of R")
    zeros = np.polynomial.polynomial.polyroots(R.floats[0])
    ax.plot(zeros.real, zeros.imag, "o", color=COLOURS[2], mfc="w", ms=5, mew=1.2, label="zeros of R")
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=7.5, frameon=False, borderaxespad=0.1)
    ax.set(xlabel="Re z", ylabel="Im z", xlim=(-reach, reach), ylim=(-reach, reach))
    ax.set_title(f"{method.name}: |R(z)| > |exp(z)|", loc="right", fontsize=9)
    ax.set_aspect("equal", adjustable="box")
    return finish(figure, file)


def _axes_through_zero(ax: Axes) -> None:
    ax.axhline(0.0, color=GREY, lw=0.6)
    ax.axvline(0.0, color=GREY, lw=0.6)
