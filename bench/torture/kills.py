"""Ingests killed at any moment: spread over all of it, crowded on the load, as cold processes; and asked to stop.

After each the warehouse must open and hold exactly the old rows or the new ones. The next ingest is killed too, or left
alone, by the toss of a coin: then it must end well, after however many kills in a row.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from bench.torture.forks import Child, fork
from bench.torture.subject import Failed, Subject
from eigenhouse.ingest.warehouse.building import IN_COMMIT
from eigenhouse.ingest.warehouse.store import LOADED
from eigenhouse.options import STOPPED_INGEST

ROOT = Path(__file__).resolve().parent.parent.parent
SIGNALS = {"SIGKILL": 0.8, "SIGINT": 0.1, "SIGTERM": 0.1}
STATUS = {"SIGKILL": -9, "SIGINT": 130, "SIGTERM": 143}
KINDS = {"whole": 0.35, "load": 0.6, "cold": 0.05}
LEFT_ALONE = 0.5  # of the ingests after a kill
KEPT = {STOPPED_INGEST: {"old"}, IN_COMMIT: {"old", "new"}, LOADED: {"new"}}
TWO_SECONDS = 2.0


@dataclass(frozen=True)
class Kill:
    """where: the stage that was under way · left: "old" or "new" rows · seconds: from the signal to the end."""

    kind: str
    signal: str
    where: str
    left: str
    seconds: float


class Killer:
    """Kills one subject's ingests, one after the other. seed: whose ingest is under way until one was left alone."""

    def __init__(self, subject: Subject, seed: int) -> None:
        self.subject, self.draw = subject, random.Random(seed)
        self.lasts = cache(self._lasts)
        self.seed, self.goes_on = subject.other, False

    def kill(self, kind: str, name: str) -> Kill | None:
        """One kill, and what it left; None where the ingest was quicker."""
        subject, lasts = self.subject, self.lasts(kind)
        if kind == "load" and not self.goes_on:
            subject.stage(self.seed)
        child = self._started(kind)
        time.sleep(self.draw.uniform(0, lasts))
        at = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(child.pid, getattr(signal, name))
        status, seconds = child.wait(), time.monotonic() - at
        said = child.text if isinstance(child, Child) else (subject.folder / "cold.said").read_text(errors="replace")
        where, found = subject.under_way(), subject.found()
        left = next((seed for seed in (self.seed, subject.holds) if found == subject.rows[seed]), None)
        self._want_kept(name, status, seconds, said, left, where)
        subject.holds, self.goes_on = left or subject.holds, True
        if status == 0:
            self._begin_anew()
        return Kill(kind, name, where, "new" if left == self.seed else "old", seconds) if status else None

    def leave_alone(self) -> None:
        """The next ingest must end well."""
        subject = self.subject
        subject.ingest(self.seed)
        if subject.found() != subject.rows[self.seed]:
            raise Failed("the ingest after a kill left other rows than it should")
        subject.holds = self.seed
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.seed, self.goes_on = self.subject.other, False

    def _started(self, kind: str) -> Child | subprocess.Popen[Any]:
        """An ingest under way; that of the load, once it loads."""
        child = self._cold() if kind == "cold" else self.subject.started(self.seed)
        if kind == "load" and isinstance(child, Child):
            child.waits_for(b"l")
        return child

    def _want_kept(self, name: str, status: int, seconds: float, said: str, left: int | None, where: str) -> None:
        if left is None:
            raise Failed(f"{name} in {where}: the warehouse holds neither the old rows nor the new ones")
        if status not in (0, STATUS[name]):
            raise Failed(f"{name} in {where}: status {status}\n{said[-2000:]}")
        if status == 0 and left != self.seed:
            raise Failed(f"{name} in {where}: the ingest ended well, and its rows aren't there\n{said[-2000:]}")
        if name == "SIGKILL" or status == 0:
            return
        last = said.splitlines()[-1] if said else ""
        if seconds > TWO_SECONDS or "Traceback" in said:
            raise Failed(f"{name} in {where} took {seconds:.2f} s\n{said[-2000:]}")
        kept = {"old": self.subject.holds, "new": self.seed}  # after a kill that left the new rows, one and the same
        if last != "stopped" and left not in [kept[rows] for rows in KEPT.get(last, ())]:
            raise Failed(f"{name} in {where} left the rows of {left} in place of {kept} and said {last!r}")

    def _cold(self) -> subprocess.Popen[Any]:
        words = [sys.executable, "-m", "eigenhouse", *map(str, self.subject.words(self.seed))]
        with (self.subject.folder / "cold.said").open("wb") as said:
            env = os.environ | {"EIGENHOUSE_CACHE": str(self.subject.cache)}
            return subprocess.Popen(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def _lasts(self, kind: str) -> float:
        """Seconds of an ingest that is left alone, or of its load."""
        self.subject.stage(self.seed)
        if kind != "load":
            shutil.rmtree(self.subject.cache / "runs")
        child = self._started(kind)
        started = time.monotonic()
        if child.wait():
            raise Failed(f"an ingest that is left alone fails: {child}")
        self.subject.holds = self.seed
        self._begin_anew()
        return time.monotonic() - started


def killed(killer: Killer, n: int, until: float, kinds: Mapping[str, float] = KINDS) -> Iterator[Kill]:
    """Up to n kills that hit, as many as fit before `until`, a moment of time.monotonic()."""
    n_hits = 0
    while n_hits < n and time.monotonic() < until:
        kind, name = (killer.draw.choices([*shares], [*shares.values()])[0] for shares in (kinds, SIGNALS))
        if kill := killer.kill(kind, name):
            n_hits += 1
            yield kill
        if killer.goes_on and killer.draw.random() < LEFT_ALONE:
            killer.leave_alone()
    if killer.goes_on:
        killer.leave_alone()


def run(folder: Path, n: int, seconds: float, n_workers: int) -> dict[str, Any]:
    """Several killers side by side, each in a process of its own."""
    until = time.monotonic() + seconds

    def work(number: int) -> None:
        killer = Killer(Subject(folder / f"killer{number}"), number)
        with (folder / f"kills{number}").open("w") as lines:
            for kill in killed(killer, -(-n // n_workers), until):
                print(json.dumps(asdict(kill)), file=lines, flush=True)

    children = [fork(partial(_alone, work, number), folder / f"said{number}") for number in range(n_workers)]
    failures = [child.text[-2000:] for child in children if child.wait()]
    lines = [line for path in folder.glob("kills*") for line in path.read_text().splitlines()]
    return summed_up([Kill(**json.loads(line)) for line in lines]) | {"failures": failures}


def _alone(work: Callable[[int], object], number: int, _: object) -> None:
    work(number)


def summed_up(kills: list[Kill]) -> dict[str, Any]:
    asked = [kill for kill in kills if kill.signal != "SIGKILL"]
    return {
        "n": len(kills),
        "kinds": Counter(kill.kind for kill in kills),
        "signals": Counter(kill.signal for kill in kills),
        "where": Counter(kill.where for kill in kills),
        "left": Counter(kill.left for kill in kills),
        "seconds_to_stop": {
            where: max(kill.seconds for kill in asked if kill.where == where)
            for where in sorted({kill.where for kill in asked})
        },
    }
