"""`make torture`: every row's long form, or --short, and the figures in bench/torture.json and docs/reliability.md."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import machine, revision
from bench.processes import ROOT
from bench.torture import crowd, disks, kills, page, stops
from bench.torture.subject import Subject

Row = Callable[[Path, bool], dict[str, Any]]
MINUTES = {"kills": 13.0, "crowd": 5.0, "fuzz": 10.0}  # at most, of the long forms


def _kills(folder: Path, is_short: bool) -> dict[str, Any]:
    return kills.run(folder, 8 if is_short else 1000, 60 * MINUTES["kills"], 1 if is_short else len(_cores()))


def _disks(_: Path, is_short: bool) -> dict[str, Any]:
    return disks.run(3 if is_short else 24)


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


def main() -> None:
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored, and children inherit that
    failed = False
    for name in [] if arguments.page else arguments.rows.split(","):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            result = ROWS[name](Path(folder), arguments.short)
        result |= {"took": round(time.monotonic() - started), "machine": machine.name(), "code": revision.name_of()}
        if "failures" in result:  # where the house stands is nobody's business
            result["failures"] = [each.replace(f"{ROOT}/", "") for each in result["failures"]]
        result["measured_at"] = time.strftime("%Y-%m-%d")
        print(f"{name}: {page.line(name, result)}", *result.get("failures", ()), sep="\n", flush=True)
        failed |= bool(result.get("failures"))
        if not arguments.short:
            page.keep(page.results() | {name: result})  # after each: minutes lie behind it
    if arguments.page:
        page.keep(page.results())
    sys.exit(failed)


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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.torture", description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"a list of {', '.join(ROWS)}")
    parser.add_argument("--short", action="store_true", help="a few of each, nothing kept")
    parser.add_argument("--page", action="store_true", help="write the figures that were measured before")
    return parser.parse_args()


if __name__ == "__main__":
    main()
