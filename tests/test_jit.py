"""The cache of compiled kernels: a file's key covers every file that it is made of."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import adjoint
from adjoint.kernels import jit

PACKAGE = Path(adjoint.__file__).parent
KERNELS = sorted((PACKAGE / "kernels").glob("[!_]*.py"))


def imported(path: Path) -> set[Path]:
    """Files with kernels that the file imports, by its syntax tree."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("adjoint.kernels"):
            names = [node.module] if node.module.count(".") > 1 else [f"{node.module}.{a.name}" for a in node.names]
            found |= {PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in names}
    return found


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_the_key_of_a_kernel_covers_all_that_it_imports(path):
    expected, waiting = set(), {path}
    while waiting:
        file = waiting.pop()
        expected.add(file)
        waiting |= imported(file) - expected
    found: set[Path] = set()
    jit._sources(path, found)
    assert {p.resolve() for p in found} == {p.resolve() for p in expected}


def test_the_key_changes_with_an_import_of_an_import(tmp_path, monkeypatch):
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "a.py").write_text("from adjoint.kernels.b import g\n")
    (folder / "b.py").write_text("from adjoint.kernels import c, d\n")
    (folder / "c.py").write_text("x = 1\n")
    (folder / "d.py").write_text("x = 1\n")
    monkeypatch.setattr(jit, "_PACKAGE", tmp_path)

    def key() -> str:
        jit._digest.cache_clear()
        return jit._digest(folder / "a.py")

    keys = [key()]
    for name in "abcd":
        with (folder / f"{name}.py").open("a") as file:
            file.write("y = 2\n")
        keys.append(key())
    jit._digest.cache_clear()
    assert len(set(keys)) == 5
