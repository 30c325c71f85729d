"""Full disks: ingests with too little room, on a small disk of their own, so that it ends in every stage and the load.

The disk is a tmpfs in namespaces of this process, which needs no root: `unshare` makes them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.torture.subject import Failed, Subject

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE_MB = 256
FULL = ("disk is full", "No space left")  # what the one line says
PLACES = ("ingest", "load")
UNSHARED = ("unshare", "--user", "--map-root-user", "--mount")


def run(n: int) -> dict[str, Any]:
    """n full disks in a whole ingest, and n in a load; {"not_run": why} where there is no small disk."""
    command = [*UNSHARED, sys.executable, "-m", "bench.torture.disks", str(n)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return {"not_run": "there is no `unshare` here"}
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        return {"not_run": f"no disk of one's own can be made: {done.stderr.strip().splitlines()[-1]}"}
    return {"n": 0, "failures": [done.stderr[-3000:]]}


def inside(n: int) -> dict[str, Any]:
    """Where a disk may be mounted."""
    with small_disk() as disk:
        subject = Subject(disk.parent / "subject", disk)
        tried = [found for place in PLACES for found in filled(subject, disk, place, n)]
    full = [where for where, status in tried if status == "full"]
    return {"n": len(full), "had_room": len(tried) - len(full), "where": Counter(full), "failures": []}


@contextmanager
def small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder) / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(disk)], check=True)
        try:
            yield disk
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def filled(subject: Subject, disk: Path, place: str, n: int) -> Iterator[tuple[str, str]]:
    """As much room as is taken up at n moments, of every stage as many: where it was full, and "full" or "ended"."""
    grown = _grown(subject, disk, place)
    for step in range(n):
        least, most = [*grown.values()][step % len(grown)]
        n_bytes = least + (most - least) * (step // len(grown)) * len(grown) // n
        where, status = _with_room_for(subject, disk, place, n_bytes)
        if status == "ended":  # an ingest now and then takes up less than the one that was measured
            where, status = _with_room_for(subject, disk, place, n_bytes // 2)
        yield where, status


def _grown(subject: Subject, disk: Path, place: str) -> dict[str, tuple[int, int]]:
    """Stage → the least and the most bytes that an ingest, or its load, had added to the disk while it was there."""
    _prepare(subject, place)
    before, found = _used(disk), dict[str, tuple[int, int]]()
    child = subject.started(subject.other)
    while not (ended := os.waitpid(child.pid, os.WNOHANG))[0]:
        where, added = subject.under_way(), max(_used(disk) - before, 0)
        least, most = found.get(where, (added, added))
        found[where] = min(least, added), max(most, added)
        time.sleep(0.002)
    if ended[1]:
        raise Failed(child.text)
    subject.holds = subject.other
    return {"load": found["load"]} if place == "load" else found


def _with_room_for(subject: Subject, disk: Path, place: str, n_bytes: int) -> tuple[str, str]:
    """Where it was when the room ended, and whether it did: the old rows, one line, and then the next ingest."""
    _prepare(subject, place)
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(SIZE_MB * 2**20 - _used(disk) - n_bytes, 1))
    child = subject.started(subject.other)
    status, where = child.wait(), subject.under_way()
    found = subject.found()
    ballast.unlink()
    lines = [line for line in child.text.splitlines() if line.startswith("error: ")]
    if status and not (status == 1 and len(lines) == 1 and "Traceback" not in child.text):
        raise Failed(f"with room for {n_bytes} bytes of {place}, in {where}: status {status}\n{child.text[-2000:]}")
    if status and not any(word in child.text.replace("\n", " ") for word in FULL):
        raise Failed(f"with room for {n_bytes} bytes of {place}, in {where}, it said {lines[0]!r}")
    kept = {subject.holds} | ({subject.other} if not status or "the new rows wait" in lines[0] else set())
    if not any(found == subject.rows[seed] for seed in kept):
        raise Failed(f"with room for {n_bytes} bytes of {place}, in {where}: other rows than the old ones")
    subject.ingest(subject.other)
    subject.holds = subject.other
    if subject.found() != subject.rows[subject.holds]:
        raise Failed(f"the ingest after a full disk in {where} left other rows than it should")
    return where, "full" if status else "ended"


def _prepare(subject: Subject, place: str) -> None:
    if place == "load":
        subject.stage(subject.other)


def _used(disk: Path) -> int:
    room = os.statvfs(disk)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


if __name__ == "__main__":
    print(json.dumps(inside(int(sys.argv[1]))))
