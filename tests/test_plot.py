"""Pictures: which panels there are, what they show and how far their axes reach. Nothing is compared with an image."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import adjoint
from adjoint import problems
from adjoint.errors import InputError
from adjoint.plot import COLOURS, plot_history, plot_solution


def mass(**options):
    system = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="place speed", controls="push", name="mass")
    arguments = dict(initial=dict(place=0, speed=0), final=dict(place=1, speed=0), t=(0, 1),
                     running=lambda t, x, u, p: u[0] ** 2)
    return adjoint.OptimalControlProblem(system, **arguments | options)


def chain(states: str):
    """x_i' = u - i x_i, to be kept near 1."""
    def followers(t, x, u, p):
        return u[0] - np.arange(1, len(x) + 1) * x

    system = adjoint.System(followers, states=states, controls="u")
    return adjoint.OptimalControlProblem(system, initial=np.zeros(system.n),
                                         running=lambda t, x, u, p: ((x - 1) ** 2).sum() + 0.1 * u[0] ** 2)


def labels(figure) -> list[str]:
    return [ax.get_ylabel() for ax in figure.axes]


def panel(figure, label: str):
    return figure.axes[labels(figure).index(label)]


def curves(ax) -> list:
    """The lines of values: not dots, bounds or the line at 0."""
    return [line for line in ax.get_lines() if not line.get_label().startswith("_")]


def dashed(ax) -> list[float]:
    """Where the bounds are drawn."""
    return sorted(float(line.get_ydata()[0]) for line in ax.get_lines() if line.get_label() == "_bound")


def assert_finite(figure) -> None:
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    for ax in figure.axes:
        assert np.all(np.isfinite(ax.get_ylim())) and np.all(np.isfinite(ax.get_xlim()))
        for line in ax.get_lines():
            assert np.all(np.isfinite(np.asarray(line.get_xydata(), dtype=float))), ax.get_ylabel()


def legend(ax) -> list[str]:
    found = ax.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


# -- panels


def test_every_quantity_has_its_named_panel():
    figure = plot_solution(adjoint.solve(mass(), intervals=10))
    assert labels(figure) == ["place", "speed", "push", "∂H/∂push", "H", "λ of place", "λ of speed"]
    assert_finite(figure)


def test_path_constraints_have_a_panel_with_their_limits():
    path = {r"$\both$": (lambda t, x, u, p: [x[0], x[0] + x[1]], -1.0, 2.0)}
    figure = plot_solution(adjoint.solve(mass(path=path), intervals=10))
    ax = panel(figure, r"$\both$")  # no formula, although it looks like one
    assert legend(ax) == [r"$\both$0", r"$\both$1"]
    assert dashed(ax) == [-1.0, 2.0]
    assert_finite(figure)


def test_a_group_of_states_is_one_panel_with_a_legend():
    figure = plot_solution(adjoint.solve(chain("q[3] z"), intervals=10))
    assert labels(figure) == ["q", "z", "u", "∂H/∂u", "H", "λ of q", "λ of z"]
    assert legend(panel(figure, "q")) == ["q0", "q1", "q2"] and legend(panel(figure, "z")) == []


def test_many_states_share_panels_and_each_is_drawn_once():
    figure = plot_solution(adjoint.solve(chain("a b c d e f g h i j k l"), intervals=10))
    assert len(figure.axes) <= 3 + 2 * 6
    states = [line.get_label() for ax in figure.axes[:labels(figure).index("u")] for line in curves(ax)]
    assert sorted(states) == list("abcdefghijkl")
    assert all(len(curves(ax)) <= 4 for ax in figure.axes)
    assert_finite(figure)


def test_a_large_group_names_its_ends_and_keeps_its_lines_apart():
    figure = plot_solution(adjoint.solve(chain("q[20]"), intervals=10))
    ax = panel(figure, "q")
    assert legend(ax) == ["q0", "... q19"]
    assert len({line.get_color() for line in curves(ax)}) == 20


@pytest.mark.parametrize("states", ["a", "a b", "a b c d e f"])
def test_panels_stand_in_at_most_three_columns_over_one_time_axis(states):
    figure = plot_solution(adjoint.solve(chain(states), intervals=10))
    figure.draw_without_rendering()
    assert len({round(ax.get_position().x0, 2) for ax in figure.axes}) <= 3
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    lowest = {round(ax.get_position().x0, 2): ax for ax in figure.axes}
    assert {ax.get_xlabel() for ax in lowest.values()} == {"time"}
    assert sum(ax.get_xlabel() != "" for ax in figure.axes) == len(lowest)


def test_a_problem_without_controls_has_no_panels_for_them():
    decay = adjoint.System(lambda t, x, u, p: [-p[0] * x[0]], states="x", parameters="k", name="decay")
    problem = adjoint.OptimalControlProblem(decay, initial=dict(x=1), final=dict(x=0.5),
                                            parameters=dict(k=adjoint.free(1.0)), minimize=lambda t, x, p: p[0])
    assert labels(plot_solution(adjoint.solve(problem, intervals=10))) == ["x", "H", "λ of x"]


def test_nothing_overlaps():
    figure = plot_solution(adjoint.solve(problems.find("quadrotor_cylinders"), intervals=20))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
    boxes.append(figure._suptitle.get_window_extent(renderer))
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert width < 3 or height < 3, "two panels overlap by more than the width of a line"
    frame = figure.bbox
    assert all(box.x0 >= frame.x0 - 1 and box.x1 <= frame.x1 + 1 for box in boxes)


def test_a_wide_legend_takes_no_width_from_its_panel():
    figure = plot_solution(adjoint.solve(chain("temperature[6] pressure"), intervals=10))
    figure.canvas.draw()
    ax = panel(figure, "temperature")
    assert legend(ax) == [f"temperature{i}" for i in range(6)]
    assert ax.get_legend().get_window_extent().x1 <= figure.axes[1].get_window_extent().x0
    widths = [ax.get_window_extent().width for ax in figure.axes]
    assert min(widths) > 0.6 * figure.bbox.width / 3


# -- curves


def test_controls_are_polynomials_with_dots_at_the_nodes():
    solution = adjoint.solve(mass(), method=adjoint.gauss(3), intervals=5)
    ax = panel(plot_solution(solution), "push")
    line = curves(ax)[0]
    t, u = line.get_xdata(), line.get_ydata()
    assert t.size >= 8 * solution.N
    np.testing.assert_allclose(u, 6 - 12 * t, atol=1e-5)
    dots = next(d for d in ax.get_lines() if d.get_label() == "_dots")
    np.testing.assert_array_equal(dots.get_xdata(), solution.node_t)
    np.testing.assert_array_equal(dots.get_ydata(), solution.node_u[:, 0])


def test_constant_controls_are_steps():
    solution = adjoint.solve(mass(), method=adjoint.RK4, intervals=6)
    line = curves(panel(plot_solution(solution), "push"))[0]
    t, u = line.get_xdata(), line.get_ydata()
    middle = np.interp(solution.t[:-1] + 0.4 * np.diff(solution.t), t, u)
    np.testing.assert_allclose(middle, solution.u[:, 0])
    just_before_a_knot = np.interp(solution.t[1:] - 1e-9, t, u)
    np.testing.assert_allclose(just_before_a_knot, solution.u[:, 0])


def test_states_and_costates_pass_through_their_knots():
    solution = adjoint.solve(mass(), intervals=6)
    figure = plot_solution(solution)
    for label, values in (("speed", solution.x[:, 1]), ("λ of speed", solution.costate[:, 1])):
        line = curves(panel(figure, label))[0]
        assert np.isin(solution.t, line.get_xdata()).all()
        np.testing.assert_allclose(np.interp(solution.t, line.get_xdata(), line.get_ydata()), values, atol=1e-8)


def test_a_discrete_system_is_drawn_in_steps():
    solution = adjoint.solve(problems.find("spring_chain"))
    figure = plot_solution(solution)
    assert labels(figure)[:3] == ["q", "v", "f"]
    np.testing.assert_array_equal(curves(panel(figure, "q"))[2].get_ydata(), solution.x[:, 2])
    assert {ax.get_xlabel() for ax in figure.axes} == {"", "time step"}
    assert_finite(figure)


# -- bounds and ranges


def test_bounds_are_dashed_lines_in_sight_if_near_and_named_if_far():
    figure = plot_solution(adjoint.solve(mass(bounds=dict(push=(-7, 1000), place=(None, 1.5))), intervals=10))
    push, place = panel(figure, "push"), panel(figure, "place")
    assert dashed(push) == [-7.0, 1000.0] and dashed(place) == [1.5]
    assert push.get_ylim()[0] < -7 and push.get_ylim()[1] < 20
    assert place.get_ylim()[1] > 1.5
    assert legend(push) == ["bound 1000"] and legend(place) == []
    assert dashed(panel(figure, "speed")) == []


def test_rounding_errors_are_not_magnified():
    solution = adjoint.solve(mass(), intervals=10)
    figure = plot_solution(solution)
    for label, size in (("H", 36.0), ("∂H/∂push", 12.0), ("λ of place", 24.0)):  # in closed form: -36, 0 and -24
        low, high = panel(figure, label).get_ylim()
        assert high - low >= 0.05 * size, label
        assert np.ptp(curves(panel(figure, label))[0].get_ydata()) < 0.01 * (high - low), label


def test_a_small_variation_on_purpose_fills_its_panel():
    figure = plot_solution(adjoint.solve(problems.find("goddard_rocket"), intervals=30))
    ax = panel(figure, "h")  # from 1 to 1.0128
    low, high = ax.get_ylim()
    assert high - low < 0.02


def test_tick_labels_are_whole_numbers_without_a_hidden_factor():
    figure = plot_solution(adjoint.solve(mass(final=dict(place=1e-7, speed=0)), intervals=10))
    figure.canvas.draw()
    ax = panel(figure, "place")
    assert ax.yaxis.get_offset_text().get_text() == ""
    ticks = {text.get_text(): text.get_position()[1] for text in ax.get_yticklabels()}
    assert ticks.pop("0") == 0 and len(ticks) >= 2
    for text, value in ticks.items():
        assert float(text.replace("\N{MINUS SIGN}", "-")) == pytest.approx(value, rel=1e-6)


def test_the_colours_differ_for_colour_blind_eyes():
    """Okabe and Ito's set in its usual model of deuteranopia (Viénot 1999): still apart."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    deuteranope = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    seen = [np.linalg.solve(to_lms, deuteranope @ to_lms @ np.array(to_rgb(c)) ** 2.2) for c in COLOURS]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(apart) > 0.15  # red and green of the usual kind: 0.07


# -- whatever is given


def test_the_title_has_problem_cost_and_status():
    solution = adjoint.solve(mass(final=dict(place=1, speed=0), bounds=dict(push=(-1, 1))), intervals=10)
    figure = plot_solution(solution)
    title = figure._suptitle.get_text()
    assert title.startswith("mass:  cost ") and f"{solution.cost:.8g}" in title
    assert title.split("\n", 1)[1].replace("\n", " ") == solution.status and "infeasible" in title
    assert_finite(figure)


def test_a_maximised_objective_says_whose_costates_are_shown():
    solution = adjoint.solve(mass(running=lambda t, x, u, p: -u[0] ** 2, maximize=True), intervals=10)
    assert "negated" in plot_solution(solution)._suptitle.get_text()


def test_numbers_that_are_not_finite_are_left_out():
    solution = adjoint.solve(mass(), intervals=10)
    x, u, costate = solution.x.copy(), solution.u.copy(), solution.costate * np.nan
    x[3, 0], u[2, 0] = np.nan, np.inf
    broken = dataclasses.replace(solution, x=x, u=u, node_u=u.reshape(-1, 1), costate=costate,
                                 node_costate=solution.node_costate * np.nan, cost=float("nan"))
    figure = plot_solution(broken)
    assert_finite(figure)
    assert [text.get_text() for text in panel(figure, "H").texts] == ["not finite"]
    assert len(curves(panel(figure, "place"))[0].get_xdata()) > 50


def test_a_stopped_solve_can_be_drawn():
    solution = adjoint.solve(problems.find("cart_pole"), intervals=20, max_iterations=3)
    assert_finite(plot_solution(solution))
    assert_finite(plot_history(solution))


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")])
def test_files_in_three_formats(name, start, tmp_path):
    plot_solution(adjoint.solve(mass(), intervals=10), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["a.xyz", "a", "absent/a.png"])
def test_a_file_that_cannot_be_written_is_bad_input(name, tmp_path):
    solution = adjoint.solve(mass(), intervals=10)
    for draw in (plot_solution, plot_history):
        with pytest.raises(InputError, match=name.rsplit("/", maxsplit=1)[-1]):
            draw(solution, tmp_path / name)


def test_solution_plot_is_the_same_and_a_notebook_can_show_it():
    figure = adjoint.solve(mass(), intervals=10).plot()
    assert labels(figure)[:3] == ["place", "speed", "push"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_pyplot_is_not_touched():
    code = ("import sys, adjoint; from adjoint import problems; "
            "adjoint.solve(problems.find('hager_lq'), intervals=5).plot(); print('matplotlib.pyplot' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- the way to it


def test_the_history_is_drawn_in_the_problems_own_sense():
    solution = adjoint.solve(problems.find("goddard_rocket"), intervals=30)
    figure = plot_history(solution)
    errors, cost, lengths = figure.axes
    assert labels(figure) == ["scaled error", "cost", "step length"]
    assert {ax.get_xlabel() for ax in figure.axes} == {"iteration"}
    values = curves(cost)[0].get_ydata()
    assert len(values) == len(solution.history)
    assert values[-1] == pytest.approx(solution.cost, rel=1e-9)
    assert legend(errors) == ["violation", "dual", "mu", "tolerance"] and errors.get_yscale() == "log"
    assert all(np.all(np.asarray(line.get_ydata()) > 0) for line in errors.get_lines())
    assert legend(lengths) == ["primal", "dual"]
    assert_finite(figure)


def test_zeros_have_no_place_on_a_logarithmic_axis():
    solution = adjoint.solve(mass(), intervals=10)
    history = solution.history.copy()
    history[-1, 2] = 0.0
    errors = plot_history(dataclasses.replace(solution, history=history)).axes[0]
    assert len(curves(errors)[0].get_ydata()) < len(history)
    assert all(np.all(np.asarray(line.get_ydata()) > 0) for line in errors.get_lines())
