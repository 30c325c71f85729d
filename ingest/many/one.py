"""The process of one model of a list: a pack of what the warehouse lacks, in the cache. It ends with its caller."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from pathlib import Path
from typing import get_type_hints

from eigenhouse import process, stopping
from eigenhouse.errors import EigenhouseError, refusal
from eigenhouse.options import Ingest

NOTHING, PACKED = "nothing", "packed"  # what it says on its standard output, the latter with a path


def line(options: Ingest, folder: Path) -> bytes:
    """What it is told on its standard input."""
    return (json.dumps([dataclasses.asdict(options), str(folder)], default=str) + "\n").encode()


def _told(text: bytes) -> tuple[Ingest, Path]:
    given, folder = json.loads(text)
    paths = [name for name, kind in get_type_hints(Ingest).items() if "Path" in str(kind)]
    given |= {name: Path(given[name]) for name in paths if given[name] is not None}
    return Ingest(**given), Path(folder)


def main() -> None:
    options, folder = _told(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_caller, daemon=True).start()
    stopping.kept("")
    from eigenhouse.ingest import command

    try:
        pack = command.packed_for(options, folder)
    except EigenhouseError as error:
        print(f"error: {refusal(error)}", file=sys.stderr)
        sys.exit(1)
    print(f"{PACKED} {pack}" if pack else NOTHING)


def _end_with_caller() -> None:
    """Standard input ends where nobody waits any more. Not by sys.stdin, whose lock must be free at the end."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    process.run(main)
