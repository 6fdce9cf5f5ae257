"""README.md is true: its blocks run and print what it shows, its commands are those of the CI, its files exist."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")
COMPARED = {"cost", "time", "to"}


def stable(line: str) -> tuple[str, list[float]]:
    """What two runs have in common: a line's label; its numbers too, if it has no words or tells cost or times."""
    words = set(re.findall(r"[A-Za-z-]{2,}", NUMBER.sub("", line)))
    label = NUMBER.sub("#", re.split(r"\s{2,}", line.strip())[0])
    if words <= COMPARED and "<=" not in line:       # residuals are rounding errors, and differ between machines
        return NUMBER.sub("#", " ".join(line.split())), [float(number) for number in NUMBER.findall(line)]
    return label, []


def assert_prints(expected: str, printed: str) -> None:
    """The same lines up to what differs from run to run."""
    shown, real = expected.strip().splitlines(), printed.strip().splitlines()
    assert [stable(line)[0] for line in shown] == [stable(line)[0] for line in real], printed
    for line, real_line in zip(shown, real, strict=True):
        assert stable(real_line)[1] == pytest.approx(stable(line)[1], rel=2e-4), real_line


def test_the_comparison_of_outputs_can_fail():
    assert_prints("a: well.\n  cost   1.0\n  steps  3 in 2 s", "a: well.\n  cost   1.00001\n  steps  7 in 9 s")
    for other in ("a: well.\n  cost   1.1\n  steps  3", "a: ill.\n  cost   1.0\n  steps  3", "a: well.\n  cost   1.0"):
        with pytest.raises(AssertionError):
            assert_prints("a: well.\n  cost   1.0\n  steps  3", other)


def test_the_python_blocks_run_in_order_and_print_what_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "readme"}
    languages = [language for language, _ in BLOCKS]
    assert languages.count("python") >= 6
    printed = ""
    for (language, text), following in zip(BLOCKS, [*languages[1:], ""], strict=True):
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, "README.md", "exec"), namespace)
            printed = out.getvalue()
            assert bool(printed) == (following == "text"), f"a block prints what is not shown, or not:\n{printed}"
        elif language == "text":
            assert_prints(text, printed)


def test_the_commands_are_those_of_the_continuous_integration():
    steps = re.findall(r"^step '(.*)'$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    commands = [text.strip() for language, text in BLOCKS if language == "sh"]
    assert len(commands) >= 3
    for command in commands:
        assert command in steps or command == "adjoint solve parking.py", f"{command!r} is not a step of .ci/run"


def test_the_problem_file_solves_from_the_command_line(tmp_path):
    (block,) = (text for language, text in BLOCKS if language == "python" and text.startswith("# parking.py"))
    (tmp_path / "parking.py").write_text(block, encoding="utf-8")
    command = [str(Path(sys.executable).parent / "adjoint"), "solve", "parking.py"]
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | {"MPLBACKEND": "Agg"}, capture_output=True, text=True,
                         timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert "parking" in run.stdout and "certified" in run.stdout


def test_links_and_files_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) >= 3
    for link in links:
        assert (ROOT / link).exists(), link
    table = README[README.index("## Where things are"):]
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", table):
        assert (ROOT / name).exists() or (ROOT / "adjoint" / name).exists(), name
