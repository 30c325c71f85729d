"""Files that others made, read only where they are regular ones of a size that can be meant: a device never ends."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError

MOST_BYTES = 100_000_000  # of a config, an index, a header, prompts: the limit that safetensors sets its own headers
KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}  # fmt: skip


def want(path: Path) -> os.stat_result:
    """Refuse what is no regular file, before it is opened: a pipe would wait for a writer."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise EigenhouseError(f"wanted a regular file as {path}; got {kind}")
    return found


def content(path: Path) -> bytes:
    """All of a small file's bytes. Raises EigenhouseError for one that is too large to be what it should be."""
    n_bytes = want(path).st_size
    if n_bytes > MOST_BYTES:
        raise EigenhouseError(f"wanted at most {MOST_BYTES:,} bytes in {path}; got {n_bytes:,} (another kind of file?)")
    return path.read_bytes()


def parsed(text: bytes | str, each_once: bool = False) -> Any:
    """JSON. Raises ValueError for what is none, for a nesting that Python's reader can't follow too.

    each_once: refuse a key that an object has twice, of which readers take the one or the other.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once if each_once else None)
    except RecursionError:
        raise ValueError("lists or objects nested too deep to be read") from None
    except MemoryError:
        raise ValueError("more JSON than fits into memory") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} twice")
    return held
