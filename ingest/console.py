"""What a user sees of an ingest: a bar a stage, short notes, a closing summary. All on stderr.

Names come from files that others made: whatever would steer a terminal is shown as an escape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from eigenhouse.visible import visible

console = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    console.print(visible(message), markup=False)


@contextmanager
def stage(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with the time left; the block is given a function that advances it."""
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(visible(title), total=total)
        yield lambda steps: progress.advance(task, steps)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Lines as long as they are: a reader may cut them, and a search for one finds all of it."""
    shown = [[visible(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print("  ".join(cells).rstrip(), markup=False, soft_wrap=True)


def summary(
    title: str, rows: dict[str, int], seconds: float, worst_error: float | None, house: str, left_out: Iterable[str]
) -> None:
    """left_out: what of the model has no rows, and why, a line each."""
    say(title)
    counts = Table(box=None, pad_edge=False)
    counts.add_column("table")
    counts.add_column("rows", justify="right")
    for name, count in sorted(rows.items()):
        if count and not name.endswith("_rollup"):  # those are sums of the others
            counts.add_row(name, f"{count:,}")
    console.print(counts)
    error = "" if worst_error is None else f" · worst conformance error {worst_error:.1e}"
    for line in left_out:
        say(f"left out: {line}")
    say(f"{seconds:.1f} s{error} · {house}")
