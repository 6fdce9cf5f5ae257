"""The command line: exit status, what goes to stdout and what to stderr, JSON, a user's own file, interruption."""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import adjoint
from adjoint import problems
from adjoint.cli import _plain, main
from adjoint.crosscheck import CrossCheck
from adjoint.progress import LiveProgress, PlainProgress, progress

GOOD = """
import adjoint

def build(target=1.0):
    mass = adjoint.System(lambda t, x, u, p: [x[1], u[0]], states="x v", controls="u")
    return adjoint.OptimalControlProblem(
        mass, initial=dict(x=0, v=0), final=dict(x=target, v=0), t=(0, 1), running=lambda t, x, u, p: u[0] ** 2)
"""

ANNOTATED = GOOD.replace("):\n", ") -> adjoint.OptimalControlProblem:\n") + "\ndef helper():\n    return 1\n"


@pytest.fixture
def write(tmp_path):
    """Write a user's file; returns its path as text."""
    def to(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return to


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "adjoint", *arguments], capture_output=True, text=True, timeout=300,
                          env=os.environ | environment, check=False)


def strict(text: str):
    """JSON as the standard has it: no NaN, no Infinity."""
    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def assert_refused(capsys, arguments: list[str], *words: str) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "Traceback" not in shown.err
    assert shown.err.startswith("adjoint: ") and len(shown.err.splitlines()) == 1
    for word in words:
        assert word in shown.err, shown.err


# -- as a process


def test_list_shows_every_problem_even_if_the_cache_folder_is_a_file(tmp_path):
    blocked = tmp_path / "cache"
    blocked.write_text("not a folder")
    done = process("list", ADJOINT_CACHE_DIR=str(blocked))
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == problems.names()
    assert any(re.fullmatch(r"time_optimal_car +30 +Drive 300 m .*", line) for line in lines)
    assert all(len(line.split()) > 4 for line in lines)


def test_a_process_prints_the_solution_and_its_status_is_zero():
    done = process("solve", "hager_lq", "--quiet")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("hager_lq: optimal") and "certificate  holds" in done.stdout


def test_a_wrong_name_offers_the_near_ones_and_the_status_is_two():
    done = process("solve", "godard_rocket")
    assert done.returncode == 2 and done.stdout == ""
    assert "goddard_rocket" in done.stderr and "Traceback" not in done.stderr


def test_a_reader_that_stops_reading_sees_no_traceback():
    command = [sys.executable, "-m", "adjoint", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.close()
        assert b"Error" not in run.stderr.read()


def test_start_up_imports_neither_matplotlib_nor_splines_nor_rich():
    code = "import sys, adjoint.cli; adjoint.cli.main(['list']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"matplotlib", "rich", "scipy.interpolate", "scipy.special", "scipy.optimize", "scipy.linalg"}
    assert slow.isdisjoint(done.stderr.split())


# -- options


@pytest.mark.parametrize("arguments", [
    [], ["fly"], ["solve"], ["solve", "hager_lq", "--intervals", "many"], ["solve", "hager_lq", "--colour", "red"]])
def test_bad_usage_has_status_two(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: adjoint" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "word"), [
    (["--intervals", "0"], "intervals"), (["--method", "rk5"], "rk4"), (["--tol", "nan"], "tol"),
    (["--accuracy", "2"], "accuracy"), (["--max-iterations", "-1"], "max_iterations"),
    (["--time-limit", "-1"], "time_limit"), (["--method", "rk4", "--substeps", "0"], "substeps"),
    (["--plot", "/no/such/folder/a.png"], "folder"), (["--save", "/"], "folder")])
def test_a_bad_value_is_one_line_that_names_it(option, word, capsys):
    assert_refused(capsys, ["solve", "hager_lq", "--quiet", *option], word)


def test_a_picture_in_an_unknown_format_is_refused_after_the_answer_is_shown(tmp_path, capsys):
    assert main(["solve", "hager_lq", "--quiet", "--plot", str(tmp_path / "a.xyz")]) == 2
    shown = capsys.readouterr()
    assert "optimal" in shown.out and ".xyz" in shown.err


def test_options_reach_the_solve(capsys):
    arguments = ["solve", "hager_lq", "--quiet", "--json", "--method", "rk4", "--intervals", "7", "--substeps", "2",
                 "--tol", "1e-6", "--accuracy", "0.5"]
    main(arguments)
    report = strict(capsys.readouterr().out)
    assert (report["method"], report["intervals"]) == ("rk4", 7)
    assert report["certificate"]["accuracy"] == 0.5
    thresholds = {check["name"]: check["threshold"] for check in report["certificate"]["checks"]}
    assert thresholds["optimality"] == 1e-6


@pytest.mark.parametrize(("limit", "words"), [
    (["--max-iterations", "2"], "2 iterations"), (["--time-limit", "0"], "time limit")])
def test_a_limit_gives_the_best_so_far_and_status_one(limit, words, capsys):
    assert main(["solve", "cart_pole", "--quiet", *limit]) == 1
    assert words in capsys.readouterr().out


def test_recommended_mesh_is_used_unless_the_user_says_otherwise(write, capsys):
    file = write("mine.py", GOOD + "\nRECOMMENDED = dict(intervals=6, method='rk4', substeps=3)\n")
    found = []
    for extra in ([], ["--intervals", "5"], ["--method", "gauss2"]):
        main(["solve", file, "--json", "--quiet", *extra])
        report = strict(capsys.readouterr().out)
        found.append((report["intervals"], report["method"]))
    assert found == [(6, "rk4"), (5, "rk4"), (6, "gauss2")]


# -- JSON


def test_json_is_one_object_with_the_promised_types(capsys):
    assert main(["solve", "hager_lq", "--json"]) == 0
    report = strict(capsys.readouterr().out)
    kinds = {"problem": str, "status": str, "optimal": bool, "cost": float, "published": float, "intervals": int,
             "method": str, "iterations": int, "seconds": dict, "certificate": dict}
    assert {key: type(value) for key, value in report.items()} == kinds
    assert set(report["seconds"]) == {"trace", "compile", "solve", "certify"}
    assert all(isinstance(value, float) for value in report["seconds"].values())
    assert report["certificate"]["holds"] is True and report["optimal"] is True
    assert report["cost"] == pytest.approx(np.tanh(1) / 2, rel=1e-6)


def test_what_is_not_finite_or_not_there_is_null(monkeypatch, capsys):
    solution = adjoint.solve(problems.find("hager_lq"), intervals=5)
    seconds = {"trace": 0.0, "compile": 0.0, "solve": float("inf")}
    failed = dataclasses.replace(solution, cost=float("nan"), certificate=None, seconds=seconds)
    monkeypatch.setattr("adjoint.control.solve.solve", lambda *_, **__: failed)
    assert main(["solve", "quadrotor_cylinders", "--json", "--quiet"]) == 1
    report = strict(capsys.readouterr().out)
    assert report["optimal"] is False
    assert report["cost"] is None and report["certificate"] is None
    assert report["seconds"] == {"trace": 0.0, "compile": 0.0, "solve": None, "certify": None}
    assert _plain({"a": [np.float64("nan"), float("-inf")], "b": np.int64(3), "c": np.bool_(True)}) \
        == {"a": [None, None], "b": 3, "c": True}


def test_a_problem_without_a_published_optimum_says_null(capsys):
    main(["solve", "quadrotor_cylinders", "--json", "--quiet", "--max-iterations", "1"])
    report = strict(capsys.readouterr().out)
    assert report["published"] is None and report["optimal"] is False


def test_a_start_outside_the_domain_is_bad_input(write, capsys):
    text = "import numpy as np\n" + GOOD.replace("u[0]]", "u[0] + np.log(x[0] - 9)]")
    assert_refused(capsys, ["solve", write("mine.py", text), "--json", "--quiet"], "not finite", "log")


def test_json_says_that_a_system_is_discrete(capsys):
    main(["solve", "spring_chain", "--json", "--quiet"])
    report = strict(capsys.readouterr().out)
    assert report["method"] == "discrete" and report["intervals"] == 1000


def test_crosscheck_is_part_of_both_outputs(capsys):
    assert main(["solve", "hager_lq", "--json", "--quiet", "--crosscheck"]) == 0
    check = strict(capsys.readouterr().out)["crosscheck"]
    assert check["agrees"] is True
    assert main(["solve", "hager_lq", "--quiet", "--crosscheck"]) == 0
    assert "IPOPT agrees" in capsys.readouterr().out


def test_a_disagreeing_crosscheck_is_not_success(monkeypatch, capsys):
    monkeypatch.setattr(CrossCheck, "agrees", False)
    assert main(["solve", "hager_lq", "--quiet", "--crosscheck"]) == 1
    capsys.readouterr()


# -- files


def test_plot_and_save_write_their_files(tmp_path, capsys):
    picture, numbers = tmp_path / "a.png", tmp_path / "a.npz"
    assert main(["solve", "hager_lq", "--quiet", "--plot", str(picture), "--save", str(numbers)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = adjoint.load(numbers, problems.find("hager_lq"))
    assert f"{again.cost:.10g}" in capsys.readouterr().out


def test_a_cache_folder_that_is_a_file_costs_a_warning_only(tmp_path, monkeypatch, write, capsys):
    blocked = tmp_path / "cache"
    blocked.write_text("not a folder")
    monkeypatch.setenv("ADJOINT_CACHE_DIR", str(blocked))
    # A system that no other test has compiled in this process.
    assert main(["solve", write("mine.py", GOOD.replace("u[0]]", "u[0] - 0.123456 * x[1]]"))]) == 0
    shown = capsys.readouterr()
    assert "optimal" in shown.out
    assert "adjoint: warning: " in shown.err and "ADJOINT_CACHE_DIR" in shown.err


# -- a user's own file


@pytest.mark.parametrize(("text", "suffix"), [
    (GOOD, ""),
    (GOOD, ":build"),
    (GOOD.replace("build", "mine") + "\ndef other():\n    raise RuntimeError\n", ""),
    (GOOD + "\nproblem = build(2.0)\nsame = problem\n", ""),
    (GOOD + "\nproblem = build(2.0)\nanother = build(3.0)\n", ":another"),
    (ANNOTATED, ""),
    ("from __future__ import annotations\n" + ANNOTATED, ""),
    (GOOD + "\nif __name__ == '__main__':\n    raise RuntimeError\n", ""),
    (GOOD + "\ndef main():\n    raise RuntimeError\n", "")],
    ids=["only function", "named", "name of the file", "variable", "named variable", "annotated", "annotated text",
         "guarded", "main"])
def test_a_file_of_ones_own_is_solved(text, suffix, write, capsys):
    assert main(["solve", write("mine.py", text) + suffix, "--quiet", "--intervals", "5"]) == 0
    assert "optimal" in capsys.readouterr().out


def test_a_file_may_import_its_neighbours_and_print(write, capsys):
    write("neighbour_of_mine.py", "TARGET = 2.0\n")
    file = write("mine.py", "from neighbour_of_mine import TARGET\nprint('hello')\n" + GOOD.replace("1.0", "TARGET"))
    assert main(["solve", file, "--quiet", "--json"]) == 0
    shown = capsys.readouterr()
    assert strict(shown.out)["cost"] == pytest.approx(48, rel=1e-6)
    assert "hello" in shown.err


@pytest.mark.parametrize(("text", "suffix", "words"), [
    ("x = 1\ny = undefined_name\n", "", ["mine.py, line 2", "NameError", "undefined_name"]),
    ("x = 1\ndef (:\n", "", ["mine.py, line 2", "SyntaxError"]),
    ("def mine():\n    return 1 / 0\n", "", ["mine.py, line 2", "ZeroDivisionError"]),
    ("import sys\nsys.exit(0)\n", "", ["mine.py, line 2", "__main__"]),
    ("import adjoint\nadjoint.free(1, lower=2)\n", "", ["mine.py, line 2", "guess"]),
    ("x = 1\n", "", ["holds no problem", "mine()"]),
    (GOOD + "\ndef other():\n    return build(2.0)\n", "", ["build", "other", ":build"]),
    (GOOD + "\na = build()\nb = build(2.0)\n", "", ["a, b", ":a"]),
    ("def mine():\n    return 3\n", "", ["mine()", "int", "OptimalControlProblem"]),
    ("def mine(a, b):\n    return 3\n", "", ["arguments a, b"]),
    (GOOD, ":bild", ["'bild'", "build"]),
    (GOOD + "x = 3\n", ":x", ["x is int"]),
    (GOOD + "RECOMMENDED = 100\n", "", ["RECOMMENDED", "dict"])],
    ids=["broken", "syntax", "broken function", "ends", "library error", "none", "functions", "variables", "wrong type",
         "arguments", "no such name", "no problem", "recommended"])
def test_a_bad_file_is_one_line_with_file_and_advice(text, suffix, words, write, capsys):
    assert_refused(capsys, ["solve", write("mine.py", text) + suffix, "--quiet"], *words)


def test_a_missing_file_and_what_is_no_python_file(tmp_path, write, capsys, monkeypatch):
    assert_refused(capsys, ["solve", str(tmp_path / "absent.py")], "absent.py")
    assert_refused(capsys, ["solve", str(tmp_path / "notes.txt")], ".py")
    write("landing.py", GOOD)
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, ["solve", "landing"], "landing.py")


# -- the table of iterations


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if re.match(r" +\d+ ", line)]


def test_the_plain_table_has_a_line_for_each_iteration_in_the_problems_own_sense(capsys, monkeypatch):
    monkeypatch.setenv("ADJOINT_QUIET", "1")  # no announcement of a compilation before the table
    main(["solve", "goddard_rocket", "--intervals", "30"])
    shown = capsys.readouterr()
    options = dict(problems.recommended("goddard_rocket")) | {"intervals": 30}
    solution = adjoint.solve(problems.find("goddard_rocket"), **options)
    rows = rows_of(shown.err)
    assert shown.err.splitlines()[0].split() == list(adjoint.Solution.HISTORY[:7])
    assert [int(row[0]) for row in rows][:3] == [0, 1, 2]
    assert float(rows[-1][1]) == pytest.approx(solution.cost, rel=1e-6) and solution.cost > 0


def test_quiet_says_nothing(capsys):
    main(["solve", "cart_pole", "--quiet"])
    assert capsys.readouterr().err == ""


def test_the_plain_table_marks_the_next_mesh():
    stream = io.StringIO()
    with progress(1.0, stream) as show:
        assert isinstance(show, PlainProgress)
        for iteration in (0, 1, 0):
            show([iteration, 2.5, 0.0, 1e-3, 1e-1, 1.0, 0.0, 1.0, 1.0, 1.0])
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5 and "next mesh" in lines[3]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_table_that_keeps_its_last_rows(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LINES", "20")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with progress(-1.0, stream) as show:
        assert isinstance(show, LiveProgress)
        for iteration in range(40):
            show([iteration, -123456.789, 1e-5, 1e-3, 1e-1, 1e-2, 1e-4, 1.0, 1.0, 1.0])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    last = text[text.rindex("regularisation"):]
    assert re.search(r"39 +123456\.789 ", last) and "26 earlier rows" in last
    assert " 24 " not in last
    assert "1.0e-05 1.0e-03 1.0e-01 1.0e-02" in " ".join(last.split()) and "\N{HORIZONTAL ELLIPSIS}" not in last


# -- interruption


@pytest.mark.parametrize("mesh", [["--intervals", "40"], []], ids=["fixed mesh", "mesh to be refined"])
def test_ctrl_c_prints_the_best_so_far(mesh, monkeypatch, capsys):
    seen = []

    def interrupt_once(self, row):
        seen.append(row)
        if len(seen) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(PlainProgress, "__call__", interrupt_once)
    assert main(["solve", "cart_pole", "--json", *mesh]) == 1
    report = strict(capsys.readouterr().out)
    assert "interrupted" in report["status"] and report["iterations"] == 4
    assert len(seen) == 4, "the solve went on after Ctrl-C"


def test_ctrl_c_before_there_is_anything(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("adjoint.control.solve.solve", interrupted)
    assert main(["solve", "cart_pole"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and "interrupted" in shown.err and "Traceback" not in shown.err


def test_ctrl_c_during_the_crosscheck_keeps_the_solution(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    # The function adjoint.crosscheck hides the module of that name.
    monkeypatch.setattr(importlib.import_module("adjoint.crosscheck"), "crosscheck", interrupted)
    assert main(["solve", "hager_lq", "--json", "--quiet", "--crosscheck"]) == 1
    report = strict(capsys.readouterr().out)
    assert report["optimal"] is True and report["crosscheck"] is None


def test_the_console_script_is_this_function():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"adjoint": "adjoint.cli:main"}


# ---- adjoint stability


def test_stability_of_a_problem_is_a_page_an_object_and_a_picture(tmp_path, capsys):
    file = tmp_path / "growth.png"
    assert main(["stability", "hypersensitive", "--step", "0.05", "--plot", str(file)]) == 0
    text = capsys.readouterr().out
    assert "perturbations" in text and "bound on λ         holds" in text and file.stat().st_size > 10_000
    assert main(["stability", "double_integrator", "--json", "--method", "euler"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "euler" and found["steps"] == 1000 and found["bound_holds"] is True


def test_stability_refuses_a_step_beyond_the_horizon_and_says_where_a_step_explodes(capsys):
    assert main(["stability", "double_integrator", "--step", "1e9"]) == 2
    assert "--step is" in capsys.readouterr().err
    assert main(["stability", "double_integrator", "--method", "nonsense"]) == 2
