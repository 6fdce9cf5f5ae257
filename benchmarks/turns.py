"""Contestants take turns in one process, so that a disturbance of the machine hits all of them alike.

In a turn a contestant runs once uncounted, since the others have emptied the caches meanwhile, and is then timed a few
times in a row: what a loop of an optimiser or a training pays for a call.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["medians"]

MOST, LONG = 10, 0.05  # timed calls in a turn, and seconds after which a turn ends


def medians(runs: Mapping[str, Callable[[], object]], seconds: float, turns: int = 5) -> dict[str, float]:
    """Seconds of a call of each contestant, the median of its calls; so many seconds and turns at least are taken."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    end, taken = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or taken < turns:
        taken += 1
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            for _ in range(MOST):
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
                if time.perf_counter() - began > LONG:
                    break
    return {name: statistics.median(values) for name, values in times.items()}
