"""Writers and readers of one warehouse at once: each load comes through, and no reader ever sees half of one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.torture.forks import fork
from bench.torture.subject import SEEDS, Failed, Subject, rows_in

BETWEEN = 0.5  # seconds between a reader's questions: readers that ask without a pause leave no writer a moment


def run(subject: Subject, n: int, seconds: float) -> dict[str, Any]:
    """n writers, each of a model and a cache of its own, and n readers, for that long."""
    folder = subject.folder
    until = time.monotonic() + seconds

    def counting(work: Callable[[int], Iterator[object]], number: int) -> Callable[[object], None]:
        return lambda _: print_count(work(number))

    def writing(number: int) -> Iterator[object]:
        writer = subject.beside(f"writer{number}")
        while time.monotonic() < until:
            for seed in SEEDS:
                writer.stage(seed)
                yield writer.ingest(seed, f"writer{number}")

    def reading(_: int) -> Iterator[object]:
        good = {rows["tortured"] for rows in subject.rows.values()} | {subject.rows[1]["bystander"]}
        while time.monotonic() < until:
            rows = rows_in(subject.warehouse)
            if not {rows[model] for model in rows if model} <= good:
                raise Failed(f"a reader saw rows that nobody wrote: {rows}")
            yield rows
            time.sleep(BETWEEN)

    works = [(name, work, number) for number in range(n) for name, work in (("w", writing), ("r", reading))]
    children = [(name, fork(counting(work, number), folder / f"{name}{number}")) for name, work, number in works]
    failures = [child.text[-2000:] for _, child in children if child.wait()]
    counts = {name: sum(_counted(child.text) for kind, child in children if kind == name) for name in "wr"}
    left = subject.found()
    kept = sum(left.get(f"writer{number}") == subject.rows[SEEDS[1]]["tortured"] for number in range(n))
    if kept < n and not failures:
        failures = [f"{n - kept} of {n} writers' last rows aren't there"]
    return {"n": n, "seconds": seconds, "loads": counts["w"], "reads": counts["r"], "failures": failures}


def print_count(done: Iterator[object]) -> None:
    os.write(1, b"%d\n" % sum(1 for _ in done))


def _counted(text: str) -> int:
    return int(text.split()[-1]) if text.split() and text.split()[-1].isdigit() else 0
