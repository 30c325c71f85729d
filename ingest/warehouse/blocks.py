"""A DuckDB file's own checksums, one a block, compared without DuckDB: of what no query reads, such as indexes, too.

The file begins with three headers of 4 KiB; blocks of equal size follow. Each begins with eight bytes that stand for
the rest. Blocks past those that the headers count, or of a file of another form, aren't looked at.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import BinaryIO

from eigenhouse.ingest.warehouse import magic

HEADER_BYTES = 4096
N_HEADERS = 3  # one says what the file is; of the others the one that was written last counts
FORMATS = range(64, 70)  # of storage; DuckDB 1.0 began with 64
HEADER_FIELDS = struct.Struct("<8xQ16xQQ")  # iteration, blocks, bytes a block
LARGEST_BLOCK = 1 << 24
WRITTEN_SECONDS = 0.1  # by when a block is whole that was being written
FACTOR, START = 0xBF58476D1CE4E5B9, 5381


def damaged(path: Path) -> list[int]:
    """Where in the file a header or block begins that doesn't fit its checksum; 0.3 s a GB from the system's cache.

    Looked at twice, since another process may just be writing a block that is read.
    """
    found = set(_damaged(path))
    if found:
        time.sleep(WRITTEN_SECONDS)
        found &= set(_damaged(path))
    return sorted(found)


def _damaged(path: Path) -> list[int]:
    with path.open("rb") as file:
        headers = [file.read(HEADER_BYTES) for _ in range(N_HEADERS)]
        if headers[0][8:12] != magic.MAGIC or int.from_bytes(headers[0][12:20], "little") not in FORMATS:
            return []
        if wrong := [number * HEADER_BYTES for number, header in enumerate(headers) if not _is_whole(header)]:
            return wrong
        _, n_blocks, n_bytes = max(HEADER_FIELDS.unpack_from(header) for header in headers[1:])
        return _damaged_blocks(file, n_blocks, n_bytes) if 0 < n_bytes <= LARGEST_BLOCK and not n_bytes % 8 else []


def _damaged_blocks(file: BinaryIO, n_blocks: int, n_bytes: int) -> list[int]:
    """Free blocks at the end are counted too, though DuckDB has cut them off: none of them is missed."""
    wrong = []
    for _ in range(n_blocks):
        place = file.tell()
        if not (block := file.read(n_bytes)):
            break
        if not _is_whole(block, n_bytes):
            wrong.append(place)
    return wrong


def _is_whole(block: bytes, n_bytes: int = HEADER_BYTES) -> bool:
    import numpy as np  # late: a question needs none of it

    if len(block) < n_bytes:
        return False
    words = np.frombuffer(block, np.uint64)
    return int(np.bitwise_xor.reduce(words[1:] * np.uint64(FACTOR))) ^ START == int(words[0])


def in_words(places: list[int]) -> str:
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    return f"the block at byte {places[0]:,} doesn't fit its checksum{more}"
