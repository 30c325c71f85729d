"""The SHA-256 of weight files, kept between runs: one that stands as it stood when it was hashed isn't read again.

Each file's is a note of its own in the cache, put in place by a rename: processes that write at once need no lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from threading import get_ident

from eigenhouse.ingest.sources.catalog import cache_dir

MOST_NOTES = 4096
# A file written again within a tick of its file system's clock keeps its time: FAT's tick is the longest, 2 s.
SETTLED_NS = 2_000_000_000


def file_sha256(path: Path, anew: bool = False) -> str:
    """Of the file's bytes, in 64 hex digits. anew: read them, whatever was noted."""
    path = Path(os.path.realpath(path))  # revisions of a hub model are links to the same file
    note = cache_dir() / "hashes" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
    noted = None if anew else _noted(note)
    if noted and noted.get("stands") == _stands(os.stat(path)) and isinstance(noted.get("sha256"), str):
        return str(noted["sha256"])
    with open(path, "rb") as opened:
        began, before = time.time_ns(), os.fstat(opened.fileno())
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if _is_settled(before, began):
        with suppress(OSError):  # a full or read-only cache costs time, no more
            _keep(note, {"path": str(path), "stands": _stands(before), "sha256": digest})
    return digest


def _noted(note: Path) -> dict | None:
    try:
        noted = json.loads(note.read_bytes())
    except (OSError, ValueError):  # none, or one that was damaged
        return None
    return noted if isinstance(noted, dict) else None


def _stands(found: os.stat_result) -> list[int]:
    """What changes with a file's content. Tools set mtime back after they write, but no tool sets ctime."""
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _is_settled(found: os.stat_result, began: int) -> bool:
    """Whether a write after `began` would have changed the file's times."""
    return began - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED_NS


def _keep(note: Path, content: dict[str, object]) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    fresh = note.with_suffix(f".{os.getpid()}-{get_ident()}")
    fresh.write_text(json.dumps(content))
    os.replace(fresh, note)
    notes = list(note.parent.iterdir())
    if len(notes) > MOST_NOTES:
        for oldest in sorted(notes, key=_age)[: len(notes) - MOST_NOTES // 2]:
            oldest.unlink(missing_ok=True)


def _age(note: Path) -> float:
    try:
        return note.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0
