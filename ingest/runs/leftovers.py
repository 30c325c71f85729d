"""What the cache holds that nobody needs: stopped runs, models to be fetched again, packs, notes of lost files."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from eigenhouse.ingest.sources.catalog import cache_dir

FETCHED_SECONDS = 3600.0  # a fetch that has written nothing for so long was killed
STAGED = {"runs": "staged by a run that was stopped", "packs": "packs of a list that was stopped"}
Removed = tuple[str, int]  # what, and its bytes


def removed(say: Callable[[str], None]) -> Iterator[Removed]:
    """Each thing as it is removed. Nothing of an ingest that runs is touched; `say` tells what was left for it."""
    root = cache_dir()
    live = []
    for kind, what in STAGED.items():
        for folder in sorted((root / kind).glob("*")):
            if size := _remove_run(folder):
                yield f"{folder.relative_to(root)}, {what}", size
            elif folder.exists():
                live.append(str(folder.relative_to(root)))
    if live:
        say(f"left for ingests that are running: {', '.join(live)} and the fetched models")
    else:
        yield from _remove_models(root)
    yield from _remove_notes(root)


def _remove_run(folder: Path) -> int:
    """Its bytes; 0 where another process holds it."""
    if not folder.is_dir():
        return 0
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError):
        return 0
    try:
        return _remove(folder)
    finally:
        lock.release()


def _remove_models(root: Path) -> Iterator[Removed]:
    for folder in sorted((root / "catalog").glob("*")):
        is_scratch = folder.name.startswith(".")
        if not is_scratch or time.time() - _newest(folder) > FETCHED_SECONDS:
            what = "a fetch that was stopped" if is_scratch else "unpacked, is fetched again when it is asked for"
            yield f"{folder.relative_to(root)}, {what}", _remove(folder)


def _remove_notes(root: Path) -> Iterator[Removed]:
    gone = [note for note in (root / "hashes").glob("*") if not _is_there(note)]
    size = sum(_remove(note) for note in gone)
    if gone:
        yield f"hashes of {len(gone)} files that are gone", size


def _is_there(note: Path) -> bool:
    """Whether the file that was hashed still is."""
    try:
        return Path(json.loads(note.read_bytes())["path"]).exists()
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _newest(folder: Path) -> float:
    return max((path.lstat().st_mtime for path in [folder, *folder.rglob("*")]), default=0.0)


def _remove(path: Path) -> int:
    """The bytes of a file or folder that went, at least 1."""
    files = [path] if not path.is_dir() else [each for each in path.rglob("*") if each.is_file()]
    size = sum(each.lstat().st_size for each in files)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return max(size, 1)
