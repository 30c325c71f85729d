"""Where an answer goes: standard output, or a file that stands in its place whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from eigenhouse import process
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import magic


@contextlib.contextmanager
def destination(out: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or the file that OUT names; an error leaves an older file as it was."""
    if out is None:
        with process.standard_output() as file:
            yield file
        return
    try:
        want_no_warehouse(out)
        with _whole(out) as file:
            yield file
    except OSError as error:
        raise EigenhouseError(f"cannot write {out}: {error.strerror or error}") from error


def want_no_warehouse(*places: Path) -> None:
    """Refuse to write over a DuckDB file, whichever it is, or over the log beside it."""
    for place in places:
        if magic.is_warehouse(Path(os.path.realpath(place))):
            raise EigenhouseError(f"OUT={place} is a DuckDB file, which is never written over; give another place")


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[BinaryIO]:
    """Written beside its place and then put there, where that is possible; into a pipe or a device as it comes."""
    place = Path(os.path.realpath(out))  # a link stays one
    if place.exists() and not (place.is_file() and os.access(place, os.W_OK)):
        with place.open("wb") as file:
            yield file
    elif place.exists() and not os.access(place.parent, os.W_OK):
        with tempfile.TemporaryFile() as made_elsewhere, place.open("r+b") as kept:
            yield made_elsewhere
            made_elsewhere.seek(0)
            shutil.copyfileobj(made_elsewhere, kept)
            kept.truncate()
    else:
        with tempfile.TemporaryDirectory(prefix=f".{place.name[:100]}-", dir=place.parent) as folder:
            with (Path(folder) / "answer").open("wb") as file:
                yield file
            if place.exists():
                shutil.copymode(place, file.name)
            os.replace(file.name, place)
