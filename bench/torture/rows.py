"""One row of `make torture` in a process of its own, which prints its figures as JSON."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.processes import ROOT
from bench.torture import crowd, disks, kills, stops
from bench.torture.subject import Subject

Row = Callable[[Path, bool], dict[str, Any]]
MINUTES = {"kills": 16.5, "crowd": 5.0, "fuzz": 10.0}  # at most, of the long forms
GIVING_WAY = ("crowd", "fuzz")  # they last as long as they are told, and others' seconds are counted


def _kills(folder: Path, is_short: bool) -> dict[str, Any]:
    return kills.run(folder, 8 if is_short else 1000, 60 * MINUTES["kills"], 1 if is_short else len(_cores()))


def _disks(_: Path, is_short: bool) -> dict[str, Any]:
    return disks.run(3 if is_short else 12)


def _crowd(folder: Path, is_short: bool) -> dict[str, Any]:
    return crowd.run(Subject(folder), 2 if is_short else 4, 5 if is_short else 60 * MINUTES["crowd"])


def _stops(folder: Path, is_short: bool) -> dict[str, Any]:
    subject = Subject(folder / "subject")
    moments = (0.5,) if is_short else stops.MOMENTS
    found: dict[str, Any] = stops.run(subject.warehouse, "tortured", folder / "subject" / "seed1", folder, moments)
    return found


def _inputs(_: Path, is_short: bool) -> dict[str, Any]:
    return _command("bench.torture_inputs", *(["--every", "20"] if is_short else []))


def _fuzz(_: Path, is_short: bool) -> dict[str, Any]:
    return _command("bench.fuzz", "--seconds", "8" if is_short else str(60 * MINUTES["fuzz"]))


ROWS: dict[str, Row] = {
    "kills": _kills, "disks": _disks, "crowd": _crowd, "stops": _stops, "inputs": _inputs, "fuzz": _fuzz,
}  # fmt: skip


def _command(module: str, *words: str) -> dict[str, Any]:
    """A module of the bench run by itself; what it said last, and as failures what it said at all where it failed."""
    if not (ROOT / f"{module.replace('.', '/')}.py").exists():
        return {"not_run": f"there is no {module}"}
    done = subprocess.run([sys.executable, "-m", module, *words], cwd=ROOT, capture_output=True, text=True)
    lines = [
        line for line in f"{done.stdout}\n{done.stderr}".splitlines() if re.search(r"\d", line) and "|" not in line
    ]
    return {"said": lines, "failures": [f"{done.stdout}\n{done.stderr}"[-5000:]] if done.returncode else []}


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {*range(os.cpu_count() or 1)}


def main(name: str, is_short: bool) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored, and children inherit that
    if name in GIVING_WAY:
        os.nice(5)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(ROWS[name](Path(folder), is_short)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] == ["short"])
