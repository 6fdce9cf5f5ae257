"""The house rules that a machine can check: layers, what a kernel may contain, public names, documentation.

Sources are read from the checkout, with `ast`; what has to be imported comes from wherever `adjoint` is installed.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import adjoint

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "adjoint"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = ("adjoint", "problems", "tests", "benchmarks")
CHECKOUT = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PROBLEMS = sorted((ROOT / "problems").glob("[!_]*.py"))

# From the ground up. A file imports from its own layer and lower ones; `native` and `symbolic` do not know each other.
# A new file at the top of adjoint/ has to be put into its layer here.
GROUND, GRAPHS, KERNELS, NOUNS, ANALYSIS, CONTROL, FACES, PUBLIC = range(8)
LAYER = {
    "errors": GROUND,
    "native": GRAPHS, "symbolic": GRAPHS,
    "kernels": KERNELS,
    "adaptive": NOUNS, "arguments": NOUNS, "cell_step": NOUNS, "check": NOUNS, "implicit_step": NOUNS, "layout": NOUNS,
    "method": NOUNS,
    "names": NOUNS, "rounding": NOUNS, "step": NOUNS, "sweeps": NOUNS, "symplectic": NOUNS, "system": NOUNS,
    "trajectory": NOUNS,
    "analysis": ANALYSIS, "ode": ANALYSIS, "recurrent": ANALYSIS,
    "control": CONTROL,
    "bridges": FACES, "cli": FACES, "crosscheck": FACES, "plot": FACES, "plot_fit": FACES, "plot_methods": FACES,
    "plot_stability": FACES, "problem_file": FACES, "problems": FACES, "progress": FACES,
    "__init__": PUBLIC, "__main__": PUBLIC,
}
# What is looked at shows its own picture; the import waits in the method until someone asks for it. So does that of a
# rollout which has overflowed, and asks what step would have been stable.
UPWARDS = {
    ("control/solution.py", "adjoint.plot"),
    ("ode/fit_result.py", "adjoint.plot_fit"),
    *((f"analysis/{name}.py", "adjoint.plot_stability") for name in ("filter", "lyapunov", "report")),
    *((f"analysis/{name}.py", "adjoint.plot_methods") for name in ("methods", "step_limit")),
    ("sweeps.py", "adjoint.analysis.step_limit"),
}

# The compiled loops are functions over arrays. These modules are about compiling them, and may be ordinary Python.
COMPILERS = {"announce.py", "blas.py", "jit.py", "__init__.py"}

# Folders that are nobody's text.
GENERATED = {"__pycache__", "build", "dist"}


def part(path: Path) -> str:
    """The unit of the layers that a file of the package belongs to."""
    inside = path.relative_to(PACKAGE).parts
    return inside[0].removesuffix(".py")


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST, path: Path) -> Iterator[str]:
    """Modules of the library that the code imports, wherever the import stands; relative imports made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "adjoint")
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = ("adjoint", *path.relative_to(PACKAGE).parts[:-1])
                module = ".".join((*package[: len(package) - node.level + 1], *([module] if module else [])))
            if module == "adjoint":
                yield from (f"adjoint.{alias.name}" for alias in node.names)
            elif module.startswith("adjoint."):
                yield module


def test_every_file_has_a_layer():
    assert {part(path) for path in SOURCES} <= LAYER.keys()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = part(path)
    for module in imports(parse(path), path):
        if (str(path.relative_to(PACKAGE)), module) in UPWARDS:
            continue
        assert module != "adjoint", f"{path.name} imports the public API, which is above it"
        other = module.split(".")[1]
        assert other in LAYER, f"{path.name} imports {module}: import names from the module that defines them"
        assert LAYER[other] <= LAYER[own], f"{path.name} ({own}) imports {module} from a higher layer"
        assert {own, other} != {"native", "symbolic"}, f"{path.name}: native and symbolic do not import each other"


def test_modules_do_not_import_each_other_in_circles():
    def module_of(path: Path) -> str:
        return ".".join(("adjoint", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")

    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        tree = parse(path)
        # Only what runs at import: not in functions, not for type checkers.
        top = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)]
        names = set(imports(ast.Module(top, []), path))
        for node in top:  # `from adjoint.kernels import sweep` may mean a module
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        graph[module_of(path)] = names
    for name in graph:
        graph[name] &= graph.keys() - {name, "adjoint"}
        # The package of a sub-module that is imported explicitly is no dependency of its own.
        graph[name] -= {other for other in graph[name] if any(longer.startswith(f"{other}.") for longer in graph[name])}
    while graph:
        free = [name for name, needs in graph.items() if not needs & graph.keys()]
        assert free, f"circular imports among {sorted(graph)}"
        for name in free:
            del graph[name]


LOOPS = [path for path in SOURCES if part(path) == "kernels" and path.name not in COMPILERS]


@pytest.mark.parametrize("path", LOOPS, ids=lambda path: path.name)
def test_kernels_are_functions_of_arrays_and_numbers(path):
    tree = parse(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            assert bases == ["NamedTuple"], f"{path.name}: class {node.name} is no NamedTuple"
        assert not isinstance(node, ast.JoinedStr), f"{path.name}:{node.lineno} formats a string"
        if isinstance(node, ast.FunctionDef):
            strings = [
                item for statement in body_without_docstring(node) for item in ast.walk(statement)
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            ]
            intrinsic = any("intrinsic" in ast.unparse(decorator) for decorator in node.decorator_list)
            assert not strings or intrinsic, f"{path.name}: {node.name} handles a string: {strings[0].value!r}"


def body_without_docstring(node: ast.FunctionDef) -> list[ast.stmt]:
    return node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda path: path.stem)
def test_problems_use_the_public_api(path):
    tree = parse(path)
    assert set(imports(tree, path)) <= {"adjoint"}, "a problem is written with `import adjoint` alone"
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert {node.attr for node in attributes if ast.unparse(node.value) == "adjoint"} <= set(adjoint.__all__)
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == path.stem]
    assert ast.get_docstring(function), "the function of a problem is its documentation"


@pytest.mark.parametrize("name", ["test_notebooks.py", "test_problems.py", "test_readme.py"])
def test_tests_of_the_public_api_use_it(name):
    found = set(imports(parse(ROOT / "tests" / name), PACKAGE / name))
    assert found <= {"adjoint", "adjoint.errors", "adjoint.problems"}


def test_public_names_are_few_and_each_is_documented():
    modules = [name for name in adjoint.__all__ if inspect.ismodule(getattr(adjoint, name))]
    assert len(set(adjoint.__all__)) == len(adjoint.__all__) <= 35 + len(modules)
    for name in adjoint.__all__:
        thing = getattr(adjoint, name)
        assert inspect.getdoc(thing), name
        if isinstance(thing, type):
            own = [(key, member) for key, member in vars(thing).items() if not key.startswith("_")]
            for key, member in own:
                if inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod):
                    assert inspect.getdoc(getattr(thing, key)), f"{name}.{key}"
        elif inspect.isfunction(thing):
            for parameter in inspect.signature(thing).parameters:
                assert re.search(rf"\b{parameter}\b", inspect.getdoc(thing) or ""), f"{name} is silent on {parameter!r}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_their_exports_are_documented(path):
    tree = parse(path)
    assert ast.get_docstring(tree), f"{path} has no header"
    exported = next((
        ast.literal_eval(node.value) for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"), [])
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in exported:
            assert ast.get_docstring(node), f"{path.name}: {node.name}"
    defined = {name for node in ast.walk(tree) for name in names_bound_by(node)}
    assert set(exported) <= defined, f"{path.name} exports what it does not have"


def names_bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id


def modules() -> list[str]:
    # The zoo lies elsewhere in an editable installation; so it is named.
    found = {"adjoint"}
    for package in (adjoint, importlib.import_module("adjoint.problems")):
        found |= {package.__name__} | {m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")}
    return sorted(found - {"adjoint.__main__"})


def module(name: str) -> ModuleType:
    """The module; its test is skipped if it is a bridge to a library that is not installed, and says which."""
    if name.startswith("adjoint.bridges."):
        return pytest.importorskip(name, exc_type=ImportError)
    return importlib.import_module(name)


@pytest.mark.parametrize("name", modules())
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(module(name))
    assert results.failed == 0


def test_there_are_docstring_examples_and_the_zoo_is_installed():
    names = modules()
    assert "adjoint.problems.goddard_rocket" in names
    finder = doctest.DocTestFinder()
    names = [name for name in names if not name.startswith("adjoint.bridges.")]
    assert sum(len(test.examples) for name in names for test in finder.find(importlib.import_module(name))) > 30


def test_installing_makes_one_top_level_module(tmp_path):
    question = "from importlib.util import find_spec as f; print(f('problems'), f('adjoint.problems') is not None)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run([sys.executable, "-c", question], cwd=tmp_path, env=environment, capture_output=True,
                            text=True, timeout=120, check=True)
    assert answer.stdout.split() == ["None", "True"]


def text_files() -> list[Path]:
    """Everything that was written by hand; not what tools leave behind."""
    return [
        path for path in sorted(ROOT.rglob("*"))
        if path.is_file() and not GENERATED & set(path.parts) and path.suffix not in {".npz", ".png", ".pdf", ".pyc"}
        and not any((piece.startswith(".") and piece not in {".ci", ".gitignore"}) or piece.endswith(".egg-info")
                    for piece in path.relative_to(ROOT).parts)
    ]


def test_no_file_knows_the_machine_that_it_was_written_on():
    # Folders of people's homes, of temporary files, of mounted disks; "[/]" so that this line does not match itself.
    machine = re.compile(r"(?<![\w.<$}])(?:[/](?:home|root|work|Users|mnt|tmp|opt)[/]\w|[A-Z]:\\\\?Users)")
    files = text_files()
    assert {"README.md", "run", "pyproject.toml", "test_architecture.py"} <= {path.name for path in files}
    for path in files:
        found = machine.findall(path.read_text(encoding="utf-8"))
        assert not found, f"{path}: {found}"


def test_the_sources_are_utf8_without_tabs_and_trailing_space():
    for path in CHECKOUT:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert line == line.rstrip() and "\t" not in line, f"{path}:{number}"
