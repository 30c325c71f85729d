"""An empty warehouse, made once for a process and copied: to declare the views is a third of a tiny ingest."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from eigenhouse.ingest.warehouse import store


def copy_empty(path: Path) -> Path:
    shutil.copy(empty(), path)
    return path


@cache
def empty() -> Path:
    """Removed when Python ends."""
    folder = tempfile.TemporaryDirectory()
    _kept.append(folder)
    path = Path(folder.name) / "empty.duckdb"
    store.connect(path, read_only=False).close()
    return path


_kept: list[tempfile.TemporaryDirectory[str]] = []
