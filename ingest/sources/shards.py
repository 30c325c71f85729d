"""The weight files that an index names: none but those of its own folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError, shortened

MOST_SHARDS = 10_000
LONGEST = 255  # bytes of a file's name


def shards_of(index: Path, weight_map: Mapping[str, Any]) -> set[str]:
    """The files of a weight_map. Raises EigenhouseError for what is no file's name, or lies outside the folder."""
    names = {repr(name): name for name in weight_map.values()}.values()
    if len(names) > MOST_SHARDS:
        raise EigenhouseError(f"wanted at most {MOST_SHARDS:,} files in {index}; got {len(names):,} (damaged?)")
    for name in names:
        if not isinstance(name, str) or not name.strip("./") or "\0" in name or len(os.fsencode(name)) > LONGEST:
            raise EigenhouseError(f"wanted names of files in {index}; got {shortened(repr(name), 60)}")
        path = os.path.join(index.parent, name)
        is_own = os.path.basename(name) == name and not os.path.islink(path)
        if not is_own and not any(map(partial(_lies_in, path), _own(index.parent))):
            raise EigenhouseError(
                f"wanted weights in the folder of {index}; got {shortened(repr(name), 60)}, which lies outside of it "
                "(copy it there, if you trust who made the index)"
            )
    return set(names)


def _own(folder: Path) -> list[Path]:
    """Where a folder's shards may lie: in it, or where the hub's cache keeps what its snapshots link to."""
    is_snapshot = folder.parent.name == "snapshots"
    return [folder, *([folder.parent.parent / "blobs"] if is_snapshot else [])]


def _lies_in(path: str, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
