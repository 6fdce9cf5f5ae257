"""What one sees of a training while it runs.

On a terminal, a bar with the loss and the time left; elsewhere (a file, a pipe) a line about every ten seconds, so that
short trainings are silent and long ones are not. Everything goes to stderr. ADJOINT_QUIET=1 switches it off.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["watching"]

PAUSE = 10.0  # seconds between two lines

Show = Callable[[int, int, float, float], None]


@contextmanager
def watching(steps: int, wanted: bool, stream: TextIO | None = None) -> Iterator[Show]:
    """A function ``show(step, epoch, loss, validation)`` to be called after each of so many steps; NaN is not shown."""
    stream = sys.stderr if stream is None else stream
    if not wanted or os.environ.get("ADJOINT_QUIET", "") not in ("", "0"):
        yield lambda step, epoch, loss, validation: None
    elif stream.isatty():
        with _bar(steps, stream) as show:
            yield show
    else:
        yield _lines(steps, stream)


def sentence(epoch: int, loss: float, validation: float) -> str:
    """What is said of a step."""
    said = f"epoch {epoch}  loss {loss:.4g}"
    return said if validation != validation else f"{said}  validation {validation:.4g}"


def _lines(steps: int, stream: TextIO) -> Show:
    said = time.monotonic()

    def show(step: int, epoch: int, loss: float, validation: float) -> None:
        nonlocal said
        if time.monotonic() - said >= PAUSE:
            said = time.monotonic()
            print(f"adjoint: step {step} of {steps}  {sentence(epoch, loss, validation)}", file=stream, flush=True)

    return show


@contextmanager
def _bar(steps: int, stream: TextIO) -> Iterator[Show]:
    # Only here: a fifth of a second that nobody without a terminal should wait for.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("training"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(file=stream)) as progress:
        task = progress.add_task("", total=steps)

        def show(step: int, epoch: int, loss: float, validation: float) -> None:
            progress.update(task, completed=step, description=sentence(epoch, loss, validation))

        yield show
