"""What is tortured: a warehouse with a tiny model whose weights change under one name, and with a bystander."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from copy import copy
from functools import partial
from pathlib import Path
from unittest.mock import patch

import duckdb
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from bench import random_checkpoint, same_rows
from bench.torture.forks import Child, fork, program, warm_up
from eigenhouse.ingest.runs.run import Run
from eigenhouse.ingest.warehouse import sqlfiles, store

SEEDS = (1, 2)
PROMPTS = "The head of the snake.\nA heap of sand is not a number."
# of a model, which several writers each have one of
NAMES = {"model_key", "model_id", "name", "checkpoint", "family"}


class Failed(Exception):
    """A promise that was not kept."""


class Subject:
    """Checkpoints, a cache, a warehouse with the first seed's rows, and what its rows are with either seed's.

    place: a folder for the warehouse and the cache, such as a small disk; the subject's own without it.
    """

    def __init__(self, folder: Path, place: Path | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.place = place or folder
        self.warehouse, self.cache = self.place / "warehouse.duckdb", self.place / "cache"
        (folder / "prompts.txt").write_text(PROMPTS)
        warm_up(self._write_checkpoints, folder / "made.said")
        warm_up(lambda: self._program(SEEDS[0], "bystander")(lambda _: None), folder / "bystander.said")
        get_checkpoint_conversion_mapping("qwen3")  # made of a thousand regular expressions, once for a process
        self.rows: dict[int, dict[str, str]] = {}
        self.staged: dict[int, Path] = {}
        for seed in reversed(SEEDS):
            self.stage(seed)
            self.ingest(seed)
            self.rows[seed] = self.found()
        self.holds = SEEDS[0]
        if self.rows[1] == self.rows[2]:
            raise Failed("other weights gave the same rows")

    @property
    def other(self) -> int:
        """The seed whose rows aren't there."""
        return SEEDS[1] if self.holds == SEEDS[0] else SEEDS[0]

    def words(self, seed: int, name: str = "tortured") -> list[object]:
        return [
            *("ingest", "--model", self.folder / f"seed{seed}", "--name", name, "--force", "--device", "cpu"),
            *("--prompts", self.folder / "prompts.txt", "--warehouse", self.warehouse, "--wait", 600),
        ]

    def started(self, seed: int, name: str = "tortured", before: Callable[[], object] = lambda: None) -> Child:
        """An ingest under way, once signals are looked after."""

        def work(ready: Callable[[bytes], object]) -> None:
            before()
            _use_one_thread()
            _tell_of_the_load(ready)
            self._program(seed, name)(ready)

        child = fork(work, self.folder / f"{name}.said")
        child.waits_for(b"s")
        return child

    def _program(self, seed: int, name: str) -> Callable[[Callable[[bytes], object]], None]:
        def work(ready: Callable[[bytes], object]) -> None:
            os.environ["EIGENHOUSE_CACHE"] = str(self.cache)
            program(*self.words(seed, name))(ready)

        return work

    def ingest(self, seed: int, name: str = "tortured") -> float:
        """To the end; the seconds that it took. Raises Failed where it fails."""
        started = time.monotonic()
        child = self.started(seed, name)
        if status := child.wait():
            raise Failed(f"an ingest failed with status {status}: {child.text[-500:]}")
        return time.monotonic() - started

    def stage(self, seed: int) -> None:
        """All stages measured and none loaded, as a run that was killed just then leaves them; made once, and kept."""
        if seed not in self.staged:
            self.started(seed, before=lambda: setattr(Run, "load", lambda *_: os._exit(0))).wait()
            self.staged[seed] = self.folder / f"staged{seed}"
            shutil.copytree(self.cache / "runs", self.staged[seed])
        else:
            shutil.rmtree(self.cache / "runs", ignore_errors=True)
            shutil.copytree(self.staged[seed], self.cache / "runs")

    def beside(self, name: str) -> Subject:
        """The same warehouse and staged runs, by a process with a cache of its own."""
        other = copy(self)
        other.cache = self.place / f"cache of {name}"
        (other.cache / "runs").mkdir(parents=True)
        return other

    def under_way(self) -> str:
        """The stage that a run left unfinished, else where it was beside the stages."""
        runs = self.cache / "runs"
        partial = [path.stem for path in runs.glob("*/*.partial")]
        return partial[0] if partial else "load" if any(runs.glob("*/attention-*")) else "start"

    def found(self) -> dict[str, str]:
        """Model → hash of all its rows, read by another process as a user would. Raises Failed where it can't be."""
        return found(self.warehouse, self.folder / "found")

    def _write_checkpoints(self) -> None:
        for seed in SEEDS:
            random_checkpoint.write(self.folder / f"seed{seed}", random_checkpoint.SHAPES["tiny"], seed)


def _use_one_thread() -> None:
    """DuckDB's own threads cost a tiny ingest a quarter of its time; cold processes keep them."""
    patch.object(duckdb, "connect", partial(duckdb.connect, config={"threads": 1})).start()


def _tell_of_the_load(ready: Callable[[bytes], object]) -> None:
    load = store.load

    def telling(*given: object, **named: object) -> object:
        ready(b"l")
        return load(*given, **named)  # type: ignore[arg-type]

    store.load = telling  # type: ignore[assignment]


def found(warehouse: Path, said: Path) -> dict[str, str]:
    """Model → hash of all its rows; what belongs to no model stands under ''."""
    child = fork(lambda _: print_rows(warehouse), said)
    if status := child.wait():
        raise Failed(f"the warehouse can't be read, status {status}: {child.text[-500:]}")
    rows: dict[str, str] = json.loads(child.text.splitlines()[-1])
    return rows


def print_rows(warehouse: Path) -> None:
    os.write(1, (json.dumps(rows_in(warehouse)) + "\n").encode())


def rows_in(warehouse: Path) -> dict[str, str]:
    """In this process."""
    hashes: dict[str, list[str]] = {}
    with store.reading(warehouse, say=lambda _: None) as con:
        for table, header in sqlfiles.tables().items():
            columns = ", ".join(f"{table}.{name}" for name in header["columns"] if name not in NAMES)
            is_named = "model_key" in header["columns"]
            whose, join = ("model_id", "join models using (model_key)") if is_named else ("''", "")
            # what views keep is added up in the order in which rows lie, which moves a last digit
            if table not in same_rows.LEFT_OUT and table not in sqlfiles.kept_tables():
                counted = f"count(*), sum(hash({columns}))::varchar"
                source = table if table == "models" else f"{table} {join}"
                for model, *found in con.execute(f"select {whose}, {counted} from {source} group by 1").fetchall():
                    hashes.setdefault(model, []).append(f"{table} {found}")
    return {model: hashlib.sha256("\n".join(lines).encode()).hexdigest() for model, lines in hashes.items()}
