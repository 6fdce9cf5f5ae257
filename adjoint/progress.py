"""The table of iterations that a solve shows while it runs, and a bar for work whose length is known.

A solve calls its progress function with rows of `Solution.HISTORY`; the first seven columns are shown. The iterations
of every mesh start at 0, so a row that does not continue the last one begins a new mesh. On a terminal the table is
redrawn in place and shows its last rows; elsewhere (a file, a pipe) every row is a line.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["LiveProgress", "PlainProgress", "bar", "progress"]

TITLES = ("iteration", "cost", "violation", "dual", "mu", "step", "regularisation")
WIDTHS = (9, 17, 10, 9, 9, 9, 14)


def cells(row: Sequence[float], sign: float) -> list[str]:
    """One row of the history as texts; the cost in the problem's own sense (sign = -1 for one that maximises)."""
    iteration, cost, *rest = row[: len(TITLES)]
    return [f"{int(iteration)}", f"{sign * cost:.9g}", *(f"{value:.1e}" if value else "0" for value in rest)]


class PlainProgress:
    """One line of text for each iteration.

    Parameters
    ----------
    sign : float
        The problem's `sign`.
    stream : text file
    """

    def __init__(self, sign: float, stream: TextIO) -> None:
        self.sign, self.stream = sign, stream
        self.last = -1

    def __call__(self, row: Sequence[float]) -> None:
        """Print one row of the history."""
        if int(row[0]) <= self.last:
            self._line(["next mesh"])
        elif self.last < 0:
            self._line(TITLES)
        self.last = int(row[0])
        self._line(cells(row, self.sign))

    def _line(self, texts: Sequence[str]) -> None:
        print(" ".join(f"{text:>{width}}" for text, width in zip(texts, WIDTHS, strict=False)), file=self.stream)

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.flush()


class LiveProgress:
    """A table that is redrawn in place ten times a second, in a thread of its own.

    Parameters
    ----------
    sign : float
        The problem's `sign`.
    stream : text file
        A terminal.
    """

    def __init__(self, sign: float, stream: TextIO) -> None:
        # Only here: a fifth of a second that nobody without a terminal should wait for.
        from rich.console import Console
        from rich.live import Live

        self.sign = sign
        console = Console(file=stream)
        self.rows: deque[list[str]] = deque(maxlen=max(5, console.height - 6))
        self.mesh, self.last, self.count = 1, -1, 0
        self.live = Live(get_renderable=self.table, console=console, refresh_per_second=10)

    def __call__(self, row: Sequence[float]) -> None:
        """Keep one row of the history for the next redraw."""
        self.mesh += int(row[0]) <= self.last
        self.last = int(row[0])
        self.count += 1
        self.rows.append([str(self.mesh), *cells(row, self.sign)])

    def table(self) -> Table:
        """The last rows, as many as fit on the screen."""
        from rich.table import Table

        hidden = self.count - len(self.rows)
        table = Table(caption=f"{hidden} earlier rows" if hidden else None, header_style="bold", box=None,
                      padding=(0, 0, 0, 1), pad_edge=False)  # all columns fit into 80 characters
        for title in ("mesh", *TITLES):
            table.add_column(title, justify="right", no_wrap=True)
        for texts in list(self.rows):
            table.add_row(*texts)
        return table

    def __enter__(self) -> LiveProgress:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()


def progress(sign: float, stream: TextIO | None = None) -> AbstractContextManager[PlainProgress | LiveProgress]:
    """The table that suits the stream, by default stderr."""
    stream = sys.stderr if stream is None else stream
    return LiveProgress(sign, stream) if stream.isatty() else PlainProgress(sign, stream)


@contextmanager
def bar(title: str, stream: TextIO | None = None) -> Iterator[Callable[[int, int], None]]:
    """A bar for work of known length, for example ``with bar("sweep") as show: checkpointed(…, progress=show)``.

    Parameters
    ----------
    title : str
    stream : text file
        By default stderr. On a terminal the bar is drawn in place, with the time that is left; elsewhere there is a
        line for every tenth.

    Yields
    ------
    callable
        (done, total) → None.
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        tenth = 0

        def line(done: int, total: int) -> None:
            nonlocal tenth
            if done * 10 // total > tenth:
                tenth = done * 10 // total
                print(f"{title}: {tenth}0 % of {total}", file=stream, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=stream), transient=True) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
