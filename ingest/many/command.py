"""`eigenhouse ingest-many`: every model of a list, a process each; a single loader brings their packs in."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import command, console
from eigenhouse.ingest.many import jobs, listed
from eigenhouse.ingest.many.jobs import End
from eigenhouse.ingest.many.listed import Line
from eigenhouse.ingest.packs import loading
from eigenhouse.ingest.packs.loading import REFUSED, THERE, Outcome
from eigenhouse.ingest.sources.catalog import cache_dir
from eigenhouse.ingest.warehouse import backend, store
from eigenhouse.options import STOPPED_MANY, IngestMany

HEADS = ("line", "model", "outcome", "models", "rows", "seconds", "why")
FAILED, LEFT = "failed", "not loaded"
LOCK_SECONDS = 86_400.0  # that a line waits for another of the same weights, which goes on where it ends


def ingest_many(options: IngestMany) -> None:
    """Raises EigenhouseError where a line can't be meant, before anything starts; at the end where a model failed."""
    if options.list is None:
        raise EigenhouseError("wanted LIST=<a file with a model a line, and its options as STATIC_ONLY=1>")
    house = options.warehouse
    lines = [_meant(line, house) for line in listed.read(options.list)]
    backend.of(house).want_place(house)
    store.want_whole(house)
    with _folder(options.list) as folder, console.stage(options.list.name, len(lines)) as advance:
        table = Table(options.list, {line.words for line in lines})
        for ends in _ended(lines, folder, options, table.done_before):
            for end, outcome in _brought(ends, options):
                table.add(end, outcome)
                advance(1)
            where = table.write()
    console.table(HEADS, table.rows)
    counted = loading.counted(table.outcomes)
    if failed := [each for each in table.outcomes if each.outcome in (FAILED, REFUSED, LEFT)]:
        raise EigenhouseError(f"{len(failed)} of {len(lines)} models are not in the warehouse ({counted}); see {where}")
    console.say(f"{counted} · {store.size(house)} · {where}")


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """Where the list's packs are until they are loaded; one process at a time holds it."""
    name = hashlib.sha256(str(path.expanduser().resolve()).encode()).hexdigest()[:16]
    folder = cache_dir() / "packs" / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            yield folder
    except Timeout:
        raise EigenhouseError(f"{path} is being ingested by another process; wait for it, or stop it first") from None


def _ended(lines: list[Line], folder: Path, options: IngestMany, done: set[str]) -> Iterator[list[End]]:
    """What an earlier run brought in is looked at here, in milliseconds; anything else has a process of its own."""
    due = []
    for line in lines:
        if line.words in done and not line.options.force and command.is_in(line.options):
            yield [End(line, None, "", 0.0)]
        else:
            due.append(line)
    yield from jobs.run(due, folder, options.jobs, options.timeout)


def _meant(line: Line, house: Path) -> Line:
    return replace(line, options=replace(line.options, warehouse=backend.wherever(house), wait=LOCK_SECONDS))


def _brought(ends: list[End], options: IngestMany) -> list[tuple[End, Outcome]]:
    """What became of each model whose process has ended; packs that are in the warehouse are removed."""
    found = {end: _without_pack(end) for end in ends if end.pack is None}
    for is_forced in (False, True):
        packs = {end.pack: end for end in ends if end.pack and end.line.options.force is is_forced}
        found |= _loaded(packs, options, is_forced) if packs else {}
    return list(found.items())


def _without_pack(end: End) -> Outcome:
    if end.why:
        return Outcome(end.line.words, FAILED, why=end.why)
    return Outcome(end.line.words, THERE, why="there already: same weights and options")


def _loaded(packs: dict[Path, End], options: IngestMany, force: bool) -> dict[End, Outcome]:
    """By the pack of each. One that the warehouse had no room or time for stays, and the next run loads it."""
    found: dict[End, Outcome] = {}

    def done(outcome: Outcome) -> None:
        path = next(path for path in packs if path.name == outcome.what and packs[path] not in found)
        found[packs[path]] = outcome
        shutil.rmtree(path, ignore_errors=True)  # a damaged one too, so that the next run measures it again

    why = ""
    try:
        loading.load(
            options.warehouse,
            list(packs),
            force=force,
            wait_seconds=options.wait,
            say=console.say,
            done=done,
            kept=STOPPED_MANY,
        )
    except EigenhouseError as error:
        why = str(error)
    return {end: found.get(end, Outcome(path.name, LEFT, why=why)) for path, end in packs.items()}


class Table:
    """What became of each line, also as a file beside the list; in the cache where that can't be written.

    The file holds what an earlier run told of lines that this one hasn't come to.
    """

    def __init__(self, path: Path, words: set[str]) -> None:
        self.rows, self.outcomes = list[tuple[str, ...]](), list[Outcome]()
        name = f"{path.name}.outcomes.csv"
        self._targets = [path.expanduser().absolute().parent / name, cache_dir() / name]
        self._before = [row for row in self._read() if row[1] in words]

    @property
    def done_before(self) -> set[str]:
        """The words of the lines that an earlier run brought in, or found to be there."""
        return {row[1] for row in self._before if row[2] not in (FAILED, REFUSED, LEFT)}

    def add(self, end: End, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        n_rows = str(outcome.n_rows or "")
        shown = end.line.words, outcome.outcome, outcome.models, n_rows, str(end.seconds), outcome.why
        self.rows.append((str(end.line.number), *shown))
        self.rows.sort(key=lambda row: int(row[0]))
        if outcome.outcome in (FAILED, REFUSED, LEFT):
            console.say(f"line {end.line.number}, {end.line.words}: {outcome.outcome}: {outcome.why}")

    def write(self) -> Path:
        """After every model, so that a kill leaves what the next run can skip."""
        told = {row[1] for row in self.rows}
        rows = [HEADS, *self.rows, *(row for row in self._before if row[1] not in told)]
        for target in self._targets:
            with contextlib.suppress(OSError):
                partial = target.with_name(f".{target.name}.{os.getpid()}")
                with partial.open("w", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerows(rows)
                partial.replace(target)
                return target
        return self._targets[0]

    def _read(self) -> list[tuple[str, ...]]:
        for target in self._targets:
            with contextlib.suppress(OSError, ValueError, csv.Error), target.open(newline="", encoding="utf-8") as file:
                return [tuple(row) for row in csv.reader(file) if len(row) == len(HEADS)][1:]
        return []
