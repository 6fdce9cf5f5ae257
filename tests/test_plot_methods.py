"""Pictures of methods: what they show is what the numbers say."""

import numpy as np
import pytest

import adjoint
from adjoint.analysis import max_stable_step, method_stability
from adjoint.errors import InputError
from adjoint.method import EULER, RK4, gauss, radau
from adjoint.plot_methods import plot_order_star, plot_regions

DAMPED = adjoint.System(lambda t, x, u, p: [x[1], -4 * x[0] - 0.6 * x[1], -9 * x[2]], states="a b c", name="damped")


def boundary(figure, which):
    """The points of a contour |R| = 1."""
    sets = [c for c in figure.axes[0].collections if c.get_facecolor().size == 0 or not c.get_fill()]
    return np.concatenate([path.vertices for path in sets[which].get_paths()])


def test_the_boundary_passes_through_the_ends_of_the_intervals():
    figure = plot_regions([RK4, EULER])
    for which, real in ((0, 2.785294), (1, 2.0)):
        vertices = boundary(figure, which)
        assert np.abs(vertices - [-real, 0]).sum(axis=1).min() < 0.05
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["rk4", "euler"]


def test_eigenvalues_lie_inside_at_the_limit_and_outside_beyond_it():
    limit = max_stable_step(DAMPED, RK4, [0, 0, 0])
    words = [text.get_text() for text in limit.plot().axes[0].get_legend().get_texts()]
    assert any("inside" in word for word in words) and not any("outside" in word for word in words)
    words = [text.get_text() for text in limit.plot(h=1.1 * limit.h).axes[0].get_legend().get_texts()]
    assert any("inside" in word for word in words) and any("outside" in word for word in words)
    line = next(line for line in limit.plot().axes[0].lines if line.get_marker() == "o")
    assert sorted(line.get_xdata()) == pytest.approx(sorted(limit.h * limit.eigenvalues.real))


def test_a_figure_is_written_and_bad_input_is_told(tmp_path):
    file = tmp_path / "region.png"
    method_stability(gauss(2)).plot(RK4, file=file)
    assert file.stat().st_size > 10_000
    plot_order_star(radau(3), file=tmp_path / "star.pdf")
    with pytest.raises(InputError, match="no method"):
        plot_regions([])
    for h in (0.0, -1.0, np.inf):
        with pytest.raises(InputError, match="positive"):
            plot_regions(RK4, [-1.0], h=h)
    with pytest.raises(InputError, match="positive"):
        plot_order_star(RK4, span=-1.0)
    with pytest.raises(InputError, match="format"):
        plot_regions(RK4, file=tmp_path / "x.docx")


@pytest.mark.parametrize("m", [EULER, RK4, gauss(2), radau(3)], ids=lambda m: m.name)
def test_the_order_star_has_as_many_fingers_as_the_order_says(m):
    from adjoint.analysis import stability_function

    R = stability_function(m)
    z = 0.05 * np.exp(1j * np.linspace(0, 2 * np.pi, 721)[:-1] + 0.001j)
    larger = np.abs(R(z) * np.exp(-z)) > 1
    assert np.count_nonzero(larger & ~np.roll(larger, 1)) == R.order + 1
