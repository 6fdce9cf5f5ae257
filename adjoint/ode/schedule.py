"""Which states to keep, and which to compute again: a backward sweep over N steps in little memory.

The steps are cut into M segments of equal length. At most c states are kept, each at the beginning of a segment. To
reverse a segment is to run it forward once more with all its states in hand, and to sweep back; to get to a segment
whose state is not kept is to advance from the last one that is. With b(c, r) = (c + r)! / (c! r!), where r is the least
integer with b(c, r) >= M, the least number of segments to advance over is

    a(M, c) = r M - b(c + 1, r - 1)

and it is reached by keeping the state after the first m segments of those that remain, where

    m = min(b(c, r - 1), M - b(c - 1, r - 1))

is reversed later with all c places, and the rest at once with c - 1.

A. Griewank, A. Walther, Algorithm 799: Revolve, ACM Transactions on Mathematical Software 26 (2000), Proposition 1 and
section 4. Their unit is one step. Compiled loops make thousands of steps in the time of one decision, so that a unit
is a segment here; and as c states of the trajectory cost no more than c steps of a segment, two passes (r = 1 or 2)
are enough for all but the smallest budgets.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from adjoint.errors import InputError

__all__ = ["Advance", "Reverse", "Schedule", "in_bytes", "plan"]

SETTLED = -1  # the place of a state that is used at once and not kept

CALL = 1 << 16  # starting the loops of a segment takes about as long as the steps of one that has so many bytes
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Advance(NamedTuple):
    """Step from knot `first`, whose state is in place `source`, to knot `last`; keep that state in place `target`."""

    first: int
    last: int
    source: int
    target: int


class Reverse(NamedTuple):
    """Step from knot `first`, whose state is in place `source`, to `last` with all states in hand, and sweep back."""

    first: int
    last: int
    source: int


@dataclass(frozen=True)
class Schedule:
    """The order of work.

    Attributes
    ----------
    N : int
        Steps.
    segment : int
        Steps of a segment.
    places : int
        States that are kept at most, that of knot 0 among them.
    """

    N: int
    segment: int
    places: int

    @property
    def segments(self) -> int:
        """How many segments there are; the last one may be shorter."""
        return -(-self.N // self.segment)

    @property
    def forward(self) -> float:
        """How often each step is run forward, on average: 1 if all states fit, nearly 2 for two levels."""
        return 1 + _advances(self.segments, self.places) / self.segments

    def actions(self) -> Iterator[Advance | Reverse]:
        """The work in its order: knot 0 is in place 0 at the start; segments are reversed from the last to the first.

        Place -1 is for a state that the next action uses up.
        """
        kept = [0]  # the segments whose first state is in place 0, 1, …
        for end in range(self.segments, 0, -1):
            while kept[-1] < end - 1 and len(kept) < self.places:
                here = kept[-1]
                kept.append(here + _first_part(end - here, self.places - len(kept) + 1))
                yield Advance(here * self.segment, kept[-1] * self.segment, len(kept) - 2, len(kept) - 1)
            source = len(kept) - 1
            if kept[-1] < end - 1:
                yield Advance(kept[-1] * self.segment, (end - 1) * self.segment, source, SETTLED)
                source = SETTLED
            yield Reverse((end - 1) * self.segment, min(end * self.segment, self.N), source)
            if kept[-1] == end - 1:
                kept.pop()

    def __str__(self) -> str:
        if self.segments == 1:
            return f"{self.N} steps, all states kept"
        return (
            f"{self.N} steps in {self.segments} segments of {self.segment}, {self.places} states kept between them; "
            f"each step is run {self.forward:.3g} times forward and once back"
        )


def _repetitions(segments: int, places: int) -> int:
    """r."""
    return next(r for r in itertools.count(1) if math.comb(places + r, r) >= segments)


def _advances(segments: int, places: int) -> int:
    """a(M, c)."""
    if segments == 1:
        return 0
    r = _repetitions(segments, places)
    return r * segments - math.comb(places + r, r - 1)


def _first_part(segments: int, places: int) -> int:
    """m."""
    r = _repetitions(segments, places)
    return min(math.comb(places + r - 1, r - 1), segments - math.comb(places + r - 2, r - 1))


def plan(N: int, knot: int, step: int, memory: int, fixed: int = 0, grain: int = 1) -> Schedule:
    """The schedule that takes the least time within a memory budget.

    Parameters
    ----------
    N : int
        Steps.
    knot : int
        Bytes of one kept state (of a whole batch).
    step : int
        Bytes per step of a segment that is being reversed: state, times, controls, seeds.
    memory : int
        Bytes in all; see `in_bytes`.
    fixed : int
        Bytes that do not depend on the schedule.
    grain : int
        Segments are multiples of so many steps: what the step needs for the same bits (see `adjoint.cell_step.chunk`).

    Returns
    -------
    Schedule

    Raises
    ------
    InputError
        If the shortest segment does not fit; the message says what would.
    """
    best, least = None, math.inf
    lengths = itertools.takewhile(lambda length: length < N, (grain << i for i in itertools.count()))
    for segment in (*lengths, N):
        # Beside the places: the state that is settled in, and the last knot of the segment.
        places = (memory - fixed - segment * step) // knot - 2
        if places < 1:
            break
        schedule = Schedule(N, segment, int(min(places, -(-N // segment))))
        cost = (schedule.forward + 2) * (1 + CALL / (segment * step))
        if cost < 0.99 * least:  # for less than that, no more memory
            best, least = schedule, cost
    if best is None:
        needed = fixed + 3 * knot + min(grain, N) * step
        raise InputError(
            f"memory is {memory} bytes; a segment of {min(grain, N)} steps and three states take {needed}. Give at "
            f"least that; {fixed + 2 * math.isqrt(N * knot * step)} bytes let each step run forward only twice."
        )
    return best


def in_bytes(memory: str | int | float) -> int:
    """A budget such as ``"64 MB"``, ``"1.5 GB"``, ``"512 KiB"``, or a number of bytes.

    >>> in_bytes("64 MB"), in_bytes("1 KiB"), in_bytes(1e6)
    (64000000, 1024, 1000000)
    """
    if isinstance(memory, str):
        match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kmgt]i?|)b?(?:ytes)?\s*", memory.lower())
        number = float(match[1]) * _UNITS[match[2]] if match else math.nan
    else:
        number = float(memory) if isinstance(memory, int | float) and not isinstance(memory, bool) else math.nan
    if not 1 <= number < math.inf:
        raise InputError(f'memory is {memory!r}; expected a size such as "64 MB" or "1 GiB", or a number of bytes.')
    return int(number)
