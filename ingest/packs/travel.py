"""A pack as a folder: written beside and renamed, never changed after that, and read only where it is whole."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.packs import manifest
from eigenhouse.ingest.packs.pack import Pack, Part
from eigenhouse.ingest.sources import regular
from eigenhouse.ingest.warehouse import checksums

ENDING, PARTIAL = ".pack", ".partial"
AT_ONCE = 1 << 20  # bytes


def name(model_id: str, weights: str, marks: list[str]) -> str:
    """By weights and options: two that may differ in a row have two names."""
    readable = re.sub(r"[^\w.-]+", "_", model_id, flags=re.ASCII).strip("._")[:80]
    told = hashlib.sha256("\n".join([model_id, weights, *marks]).encode()).hexdigest()
    return f"{readable or 'model'}-{weights[:12]}-{told[:12]}{ENDING}"


def is_there(path: Path) -> bool:
    return (path / manifest.NAME).is_file()


def want_place(folder: Path) -> None:
    """Refuse a folder that can't be made or written in, before anything is measured."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EigenhouseError(f"wanted a folder for packs; {folder} can't be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise EigenhouseError(f"wanted a folder to write packs in; {folder} is read-only")


def write(pack: Pack, path: Path) -> Pack:
    """The pack as it is in its folder, which takes the place of one that is there once it is whole."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
    try:
        partial.mkdir()
        files = [part for part in pack.parts if part.file]
        sums = checksums.of_files([(part.table, pack.root / str(part.file)) for part in files])
        copied = iter([_copied(pack.root, part, partial, summed) for part, summed in zip(files, sums, strict=True)])
        pack = replace(pack, root=path, parts=[next(copied) if part.file else part for part in pack.parts])
        with (partial / manifest.NAME).open("w", encoding="utf-8") as file:
            file.write(manifest.text(pack))
            _keep(file.fileno())
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return pack


def _copied(root: Path, part: Part, folder: Path, summed: checksums.Summed) -> Part:
    """The part with its file in the folder, hashed as it is read."""
    steps = [part.stage.replace(":", "-"), *filter(None, [part.stack]), f"{part.table}.parquet"]
    target, digest = folder.joinpath(*steps), hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (root / str(part.file)).open("rb") as source, target.open("wb") as file:
        while block := source.read(AT_ONCE):
            digest.update(block)
            file.write(block)
        _keep(file.fileno())
        n_bytes = file.tell()
    return replace(part, file="/".join(steps), sha256=digest.hexdigest(), n_bytes=n_bytes, summed=summed)


def _keep(number: int) -> None:
    with suppress(OSError):  # some network file systems can't
        os.fsync(number)


def read(path: Path) -> Pack:
    """A pack that is whole, every byte looked at. Raises EigenhouseError for any other."""
    if not path.is_dir():
        raise EigenhouseError(f"wanted a pack, which is a folder; {'got a file' if path.exists() else 'there is none'}")
    pack = manifest.read(path)
    for part in pack.parts:
        if part.file:
            _want_whole(path, part)
    return pack


def _want_whole(root: Path, part: Part) -> None:
    path = root
    try:
        for step in str(part.file).split("/"):
            path = path / step
            if stat.S_ISLNK(path.lstat().st_mode):
                raise EigenhouseError(f"wanted files of its own; {part.file} goes through a link")
        n_bytes = regular.want(path).st_size
        if n_bytes != part.n_bytes:
            raise EigenhouseError(f"{part.file} is damaged: it has {n_bytes:,} bytes, {part.n_bytes:,} were written")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
                raise EigenhouseError(f"{part.file} is damaged: it doesn't fit its SHA-256")
    except OSError as error:
        raise EigenhouseError(f"{part.file} can't be read: {error.strerror}") from error
