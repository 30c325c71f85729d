"""Seconds of work, side by side: another process can slow a whole run, so only ratios of interleaved times count."""

from __future__ import annotations

import time
from collections.abc import Callable

Work = Callable[[], object]


def timed(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def best_of(rounds: int, work: Work) -> float:
    """The quickest of several: what slows a run is never the work itself."""
    return min(timed(work) for _ in range(rounds))


def side_by_side(ours: Work, theirs: Work, rounds: int = 3) -> tuple[float, float]:
    """Best seconds of each, taken in turns. What is made only once, such as a pool of threads, is made before."""
    times = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    return min(mine for mine, _ in times), min(other for _, other in times)
