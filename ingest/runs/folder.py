"""A run's folder: what each finished stage measured, so that a stopped ingest goes on where it was.

A stage is written under a temporary name and renamed when it is whole; a folder under its final name is finished.
Its name carries what its numbers depend on, so that nothing stale is ever taken up.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.packs.pack import Part
from eigenhouse.ingest.runs.provenance import peak_rss_mb
from eigenhouse.ingest.stages.declaration import Stage
from eigenhouse.ingest.stages.writer import MANIFEST, Manifest, Writer


class RunFolder:
    """The staged stages of one checkpoint. One process at a time holds it; use it as a context manager.

    marks: stage → what its folder's name ends in · wait_seconds: for another process that holds it.
    """

    def __init__(self, root: Path, marks: dict[str, str], wait_seconds: float = 0) -> None:
        self.root, self.marks, self.wait_seconds = root, marks, wait_seconds
        self._lock, self._holder = FileLock(root / "lock"), root / "holder"

    def __enter__(self) -> RunFolder:
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=self.wait_seconds)
        except Timeout as error:
            holder = (self._holder.read_text().strip() if self._holder.exists() else "") or "unknown"
            raise EigenhouseError(
                f"the same weights are being ingested by process {holder} already; wait for it, or stop it first"
            ) from error
        self._holder.write_text(str(os.getpid()))
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def path(self, stage: str) -> Path:
        return self.root / f"{stage.replace(':', '-')}-{self.marks[stage]}"

    def is_finished(self, stage: str) -> bool:
        return (self.path(stage) / MANIFEST).is_file()

    @contextmanager
    def writing(self, stage: Stage) -> Iterator[Writer]:
        """A writer of the stage's rows; they count only if the block ends without an exception."""
        started = time.monotonic()
        partial = self.root / f"{stage.name.replace(':', '-')}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with Writer(stage, partial) as out:
            yield out
        out.manifest.seconds = round(time.monotonic() - started, 3)
        out.manifest.peak_rss_mb = round(peak_rss_mb() or 0, 1)
        out.manifest.write(partial)
        shutil.rmtree(self.path(stage.name), ignore_errors=True)  # what a removal left that was killed
        partial.rename(self.path(stage.name))

    def manifest(self, stage: str) -> Manifest:
        return Manifest.read(self.path(stage))

    def parts(self, stages: Sequence[Stage]) -> Iterator[Part]:
        """Every table that these stages write of a stack, also where no rows came, and what belongs to none."""
        for stage in stages:
            manifest = self.manifest(stage.name)
            for stack in manifest.expected:
                for table in stage.tables:
                    yield self._part(stage.name, manifest, stack, table)
            for table in manifest.files.get("", {}):
                yield self._part(stage.name, manifest, "", table)

    def _part(self, stage: str, manifest: Manifest, stack: str, table: str) -> Part:
        is_sorted = manifest.files.get(stack, {}).get(table)
        file = None if is_sorted is None else str(self.path(stage).relative_to(self.root) / stack / f"{table}.parquet")
        expected = manifest.expected.get(stack, {}).get(table, 0)
        return Part(stage, stack, table, file, expected, is_sorted is not False)

    def remove(self) -> None:
        """The manifests first: killed in the midst of it, nothing that is half there passes for finished."""
        for manifest in self.root.glob(f"*/{MANIFEST}"):
            manifest.unlink()
        shutil.rmtree(self.root, ignore_errors=True)
