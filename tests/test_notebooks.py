"""Every notebook runs from top to bottom with the public API, is small, and is stored without outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import matplotlib
import pytest

import adjoint

matplotlib.use("Agg")
from matplotlib import pyplot as plt

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, object]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code"]


def test_the_notebooks_are_found():
    assert len(NOTEBOOKS) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    namespace: dict[str, object] = {"__name__": "__main__"}
    with matplotlib.rc_context():
        for number, source in enumerate(code(path), 1):
            exec(compile(source, f"{path.name}, code cell {number}", "exec"), namespace)
        figures = [plt.figure(number) for number in plt.get_fignums()]
        try:
            assert figures, "no picture"
            for figure in figures:
                figure.canvas.draw()
                assert all(axis.get_xlabel() or axis.get_ylabel() for axis in figure.axes), "axes without a label"
        finally:
            plt.close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_small_stripped_and_public(path):
    assert len(cells(path)) <= 12
    for cell in cells(path):
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None
    tree = ast.parse("\n".join(code(path)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("adjoint.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] != "adjoint"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "adjoint":
            assert node.attr in adjoint.__all__
