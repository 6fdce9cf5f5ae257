"""Pictures of stability: growth along a path, exponents that converge, filters, and pseudospectra.

`plot_growth`          eigenvalues of the steps, their singular values, growth forward and backward with its bound, and
                       the growth of each direction
`plot_exponents`       Lyapunov exponents against the time averaged over, with their errors
`plot_filter`          gain and phase of the backward sweep
`plot_pseudospectrum`  σ_min(zI - A) in the complex plane, with eigenvalues and numerical range
`plot_spectra`         eigenvalues of some matrices side by side: a network before and after training
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from adjoint.analysis.filter import BackwardFilter
from adjoint.analysis.lyapunov import LyapunovSpectrum
from adjoint.analysis.nonnormal import numerical_range, pseudospectrum, square_matrix
from adjoint.analysis.report import StabilityReport
from adjoint.errors import InputError
from adjoint.plot import COLOURS, DASHES, GREY, Picture, _title, finish

__all__ = ["plot_exponents", "plot_filter", "plot_growth", "plot_pseudospectrum", "plot_spectra"]

Array = NDArray[np.float64]
LN10 = math.log(10.0)
MOST_LINES = 12  # more directions or exponents than that are drawn thin, without a legend


def _panels(rows: int, columns: int, width: float = 3.9, height: float = 2.9) -> tuple[Picture, list[Axes]]:
    figure = Picture(figsize=(width * columns, height * rows + 0.3), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        ax.xaxis.label.set_fontsize(9)
        ax.yaxis.label.set_fontsize(9)
        ax.grid(True, color="0.92", lw=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def _legend(ax: Axes, above: bool = False) -> None:
    """In the panel; or above its right half, beside the title, where no line runs through it."""
    if above:
        ax.legend(fontsize=7.5, frameon=False, handlelength=1.5, ncols=5, columnspacing=0.9, handletextpad=0.4,
                  loc="lower right", bbox_to_anchor=(1.0, 0.99), borderaxespad=0.1, borderpad=0.2)
    else:
        ax.legend(fontsize=7.5, frameon=False, handlelength=1.8)


def _head(ax: Axes, title: str) -> None:
    ax.set_title(title, fontsize=9, loc="left")


def plot_growth(report: StabilityReport, file: str | Path | None = None) -> Figure:
    """Draw what `stability` found.

    Parameters
    ----------
    report : StabilityReport
    file : path, optional
        Where to write the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    t = report.trajectory.t
    figure, (plane, steps, growth, directions) = _panels(2, 2)
    angle = np.linspace(0, 2 * math.pi, 400)
    plane.plot(np.cos(angle), np.sin(angle), color=GREY, lw=0.8)
    z = report.eigenvalues
    shown = slice(None, None, max(1, len(z) // 500))
    times = np.repeat(t[:-1][shown], z.shape[1])
    dots = plane.scatter(z[shown].real, z[shown].imag, c=times, s=5, cmap="viridis", lw=0)
    plane.set(xlabel=r"Re $\mu$", ylabel=r"Im $\mu$")
    _head(plane, "eigenvalues of the steps, unit circle")
    span = max(float(np.ptp(z.real)), float(np.ptp(z.imag)), 1e-3)
    centre = complex((z.real.max() + z.real.min()) / 2, (z.imag.max() + z.imag.min()) / 2)
    plane.set_xlim(centre.real - 0.65 * span, centre.real + 0.65 * span)
    plane.set_ylim(centre.imag - 0.65 * span, centre.imag + 0.65 * span)
    plane.set_aspect("equal")
    bar = figure.colorbar(dots, ax=plane, pad=0.02)
    bar.set_label("t", fontsize=8)
    bar.ax.tick_params(labelsize=7)

    few = report.singular_values.shape[1] <= MOST_LINES
    for i, row in enumerate(report.singular_values.T):
        steps.plot(t[:-1], row, lw=0.9 if few else 0.4, color=COLOURS[i % 7] if few else COLOURS[0],
                   label=rf"$\sigma_{{{i + 1}}}$" if few else None)
    steps.plot(t[:-1], report.spectral_radius, color="k", lw=0.9, ls=":", label=r"$\rho$")
    if report.singular_values.min() > 0 and report.singular_values.max() > 30 * report.singular_values.min():
        steps.set_yscale("log")
    steps.axhline(1.0, color=GREY, lw=0.7)
    steps.set(xlabel="t", ylabel=r"singular values of $A_k$")
    _head(steps, "a single step")
    _legend(steps, above=True)

    forward, backward, costate = (a / LN10 for a in (report.log_forward, report.log_backward, report.log_costate))
    growth.plot(t, _finite(forward), color=COLOURS[0], lw=1.1, label=r"$\|A_{k-1}\cdots A_0\|$")
    growth.plot(t, _finite(backward), color=COLOURS[1], lw=1.1, ls="--", label=r"$\|A_{N-1}\cdots A_k\|$ (bound)")
    growth.plot(t, _finite(costate), color=COLOURS[2], lw=1.1, ls="-.", label=r"$\|\lambda_k\|/\|\lambda_N\|$ (sweep)")
    growth.axhline(0.0, color=GREY, lw=0.7)
    growth.yaxis.set_major_locator(MaxNLocator(integer=True))
    growth.set(xlabel="t", ylabel=r"$\log_{10}$ of norm")
    _head(growth, "products of steps")
    _legend(growth)

    values = report.log_singular / LN10
    finite = np.isfinite(values)
    index = np.arange(1, values.size + 1)
    directions.axhline(0.0, color=GREY, lw=0.7)
    directions.vlines(index[finite], 0, values[finite], color=COLOURS[0], lw=1.5)
    directions.plot(index[finite], values[finite], "o", color=COLOURS[0], ms=4)
    directions.xaxis.set_major_locator(MaxNLocator(integer=True))
    directions.set_xlim(0.5, values.size + 0.5)
    directions.set(xlabel="direction i", ylabel=r"$\log_{10}\,\sigma_i(A_{N-1}\cdots A_0)$")
    _head(directions, "growth of each direction")
    _title(figure, f"{report.trajectory.system.name}: {_wrapped(report.sentence)}")
    return finish(figure, file)


def plot_exponents(spectrum: LyapunovSpectrum, file: str | Path | None = None) -> Figure:
    """Draw the exponents as the average goes on, with a band of one standard error around the last value.

    Parameters
    ----------
    spectrum : LyapunovSpectrum
        Of one path.
    file : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        For a batch of paths.
    """
    if spectrum.exponents.ndim != 1:
        raise InputError("plot_exponents: the spectrum is one of a batch of paths; draw one path at a time.")
    figure, (converging, final) = _panels(1, 2)
    few = spectrum.exponents.size <= MOST_LINES
    for i, (value, error) in enumerate(zip(spectrum.exponents, spectrum.error, strict=True)):
        colour = COLOURS[i % 7] if few else COLOURS[0]
        label = rf"$\Lambda_{{{i + 1}}}$ = {value:.4f} ± {error:.1g}" if few else None
        width = 1.0 if few else 0.4
        converging.plot(spectrum.time, spectrum.history[:, i] - value, color=colour, lw=width, label=label)
        converging.axhspan(-error, error, color=colour, alpha=0.10, lw=0)
    # The first averages are over a block or two; they must not make the rest invisible.
    late = np.abs(spectrum.history[len(spectrum.history) // 8 :] - spectrum.exponents)
    reach = 1.3 * max(float(late.max()), 2 * float(np.nanmax(spectrum.error)), 1e-12)
    converging.set_ylim(-reach, reach)
    unit = "steps" if spectrum.method is None else "time"
    converging.set(xlabel=f"{unit} averaged over", ylabel=r"$\Lambda_i(T) - \Lambda_i$")
    _head(converging, "convergence, with one standard error")
    if few:
        _legend(converging)
    index = np.arange(1, spectrum.exponents.size + 1)
    final.axhline(0.0, color=GREY, lw=0.7)
    final.errorbar(index, spectrum.exponents, 3 * spectrum.error, fmt="o", ms=4, color=COLOURS[0], capsize=2.5, lw=1.0)
    final.xaxis.set_major_locator(MaxNLocator(integer=True))
    per = "step" if spectrum.method is None else "unit of time"
    final.set(xlabel="i", ylabel=rf"$\Lambda_i$ per {per}")
    _head(final, "spectrum, with three standard errors")
    _title(figure, str(spectrum).splitlines()[0])
    return finish(figure, file)


def plot_filter(response: BackwardFilter, file: str | Path | None = None) -> Figure:
    """Draw the gain and the phase of a backward filter.

    Parameters
    ----------
    response : BackwardFilter
    file : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    The phase is drawn where it is a number: for a single error and a single control, that of the gradient; for a single
    error, those of the costates.
    """
    figure, (gain, phase) = _panels(2, 1, width=5.2, height=2.1)
    omega = response.omega
    log = bool((omega > 0).all()) and omega.max() > 20 * omega.min()
    gain.plot(omega, response.gain, color=COLOURS[0], lw=1.2, label="costate")
    if response.gradient.shape[1]:
        gain.plot(omega, response.gradient_gain, color=COLOURS[1], lw=1.2, ls="--", label="gradient")
    gain.axhline(1.0, color=GREY, lw=0.8, ls=DASHES)
    for first, last in response.amplified:
        gain.axvspan(first, last, color=COLOURS[0], alpha=0.06, lw=0)
    gain.set(ylabel="gain", yscale="log")
    _head(gain, "amplification (shaded: above 1)")
    _legend(gain, above=True)
    if response.costate.shape[2] == 1 and response.costate.shape[1] <= MOST_LINES:
        for i in range(response.costate.shape[1]):
            phase.plot(omega, _degrees(response.costate[:, i, 0]), color=COLOURS[i % 7], lw=1.0,
                       label=rf"$\lambda_{{{i + 1}}}$")
    if response.gradient.shape[1:] == (1, 1):
        phase.plot(omega, _degrees(response.gradient[:, 0, 0]), color="k", lw=1.1, ls="--", label="gradient")
    if phase.lines:
        phase.axhline(0.0, color=GREY, lw=0.7)
        _legend(phase)
    else:
        phase.text(0.5, 0.5, "several errors: no single phase", transform=phase.transAxes, ha="center", color=GREY,
                   fontsize=8)
    phase.set(xlabel=r"$\omega$ (rad per unit of time)", ylabel="phase (degrees)")
    for ax in (gain, phase):
        ax.set_xlim(omega.min(), omega.max())
        if log:
            ax.set_xscale("log")
    _title(figure, str(response).splitlines()[0] + f", ρ(A) = {response.spectral_radius:.4g}")
    return finish(figure, file)


def plot_pseudospectrum(
    A: ArrayLike, re: ArrayLike | None = None, im: ArrayLike | None = None, file: str | Path | None = None
) -> Figure:
    """Draw the ε-pseudospectra of a matrix for ε = 10⁻¹, 10⁻², …, its eigenvalues and its numerical range.

    Parameters
    ----------
    A : array_like (n, n)
    re, im : array_like, optional
        The grid; default 120 points each way, around the numerical range.
    file : path, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    matrix = square_matrix("plot_pseudospectrum", A)
    W = numerical_range(matrix)
    spread = 0.15 * max(np.ptp(W.real), np.ptp(W.imag), 1e-3 * (1 + np.abs(W).max()))
    x = np.linspace(W.real.min() - spread, W.real.max() + spread, 120) if re is None else np.asarray(re, float)
    y = np.linspace(W.imag.min() - spread, W.imag.max() + spread, 120) if im is None else np.asarray(im, float)
    sigma = pseudospectrum(matrix, x, y, 1e-4)
    figure, (ax,) = _panels(1, 1, width=5.2, height=4.2)
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log10(sigma), -15.0)
    least = math.ceil(max(logs.min(), -12.0))
    levels = np.arange(least, 0.6, 1.0) if least < -2 else np.arange(-2.0, 0.6, 0.5)
    contours = ax.contour(x, y, logs, levels=levels, cmap="viridis", linewidths=0.9, linestyles="solid")
    bar = figure.colorbar(contours, ax=ax, pad=0.02)
    bar.set_label(r"$\log_{10}\,\varepsilon$", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    ax.plot(np.append(W.real, W.real[0]), np.append(W.imag, W.imag[0]), color=GREY, lw=0.9, ls="--",
            label="numerical range")
    z = np.linalg.eigvals(matrix)
    ax.plot(z.real, z.imag, ".", color=COLOURS[1], ms=5, label="eigenvalues")
    angle = np.linspace(0, 2 * math.pi, 400)
    ax.plot(np.cos(angle), np.sin(angle), color="k", lw=0.7, ls=":", label="unit circle", scalex=False, scaley=False)
    ax.set(xlabel="Re z", ylabel="Im z", aspect="equal")
    ax.legend(fontsize=7.5, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.1)
    return finish(figure, file)


def plot_spectra(matrices: Mapping[str, ArrayLike], file: str | Path | None = None) -> Figure:
    """Draw the eigenvalues of some matrices side by side, with the unit circle.

    Parameters
    ----------
    matrices : dict from title to array_like (n, n)
    file : path, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    checked = {title: square_matrix("plot_spectra", A) for title, A in matrices.items()}
    if not checked:
        raise InputError("plot_spectra: there is no matrix; pass a dict of titles and matrices.")
    figure, axes = _panels(1, len(checked), width=3.0, height=3.0)
    values = {title: np.linalg.eigvals(A) for title, A in checked.items()}
    reach = 1.08 * max(1.0, *(float(np.abs(z).max()) for z in values.values()))
    angle = np.linspace(0, 2 * math.pi, 400)
    for ax, (title, z) in zip(axes, values.items(), strict=True):
        ax.plot(np.cos(angle), np.sin(angle), color=GREY, lw=0.8)
        ax.plot(z.real, z.imag, ".", color=COLOURS[0], ms=5)
        radius, norm = float(np.abs(z).max()), float(np.linalg.norm(checked[title], 2))
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel=r"Re $\mu$")
        _head(ax, f"{title}: ρ = {radius:.3g}, norm {norm:.3g}")
    axes[0].set_ylabel(r"Im $\mu$")
    return finish(figure, file)


def _degrees(z: NDArray[np.complex128]) -> Array:
    return np.degrees(np.unwrap(np.angle(z)))


def _finite(a: Array) -> Array:
    return np.where(np.isfinite(a), a, np.nan)


def _wrapped(text: str, width: int = 95) -> str:
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "\n".join([*lines, line])
