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


@contextlib.contextmanager
def destination(out: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or the file that OUT names; an error leaves an older file as it was."""
    if out is None:
        with process.standard_output() as file:
            yield file
        return
    try:
        with _whole(out) as file:
            yield file
    except OSError as error:
        raise EigenhouseError(f"cannot write {out}: {error.strerror or error}") from error


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[BinaryIO]:
    """Written beside its place and then put there, where that is possible: not for a pipe or a device."""
    place = Path(os.path.realpath(out))  # a link stays one
    if place.exists() and not (place.is_file() and os.access(place, os.W_OK) and os.access(place.parent, os.W_OK)):
        with place.open("wb") as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix=f".{place.name[:100]}-", dir=place.parent) as made:
        with (Path(made) / "answer").open("wb") as file:
            yield file
        if place.exists():
            shutil.copymode(place, file.name)
        os.replace(file.name, place)
