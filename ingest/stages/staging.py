"""A run's folder: what each finished stage measured, as Parquet, so that a stopped ingest goes on where it was.

A stage is written under a temporary name and renamed when it is whole; a folder under its final name is finished.
Its name carries a fingerprint of the weights, the stage's options and the code, so nothing stale is ever taken up.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from eigenhouse.errors import EigenhouseError

PACKAGE = Path(__file__).parent.parent


def code_version() -> str:
    """12 hex digits of the SHA-256 over the package's Python files: what measured is part of the measurement."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def fingerprint(**parts: object) -> str:
    """16 hex digits that change whenever one of the parts does."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class RunFolder:
    """The staged stages of one checkpoint. One process at a time holds it; use it as a context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> RunFolder:
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = (self.root / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise EigenhouseError(
                f"the same weights are being ingested by process {holder} already; wait for it, or stop it first"
            ) from error
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def path(self, stage: str, mark: str) -> Path:
        return self.root / f"{stage}-{mark}"

    def is_finished(self, stage: str, mark: str) -> bool:
        return self.path(stage, mark).is_dir()

    @contextmanager
    def writing(self, stage: str, mark: str) -> Iterator[Path]:
        """A folder to write the stage into; it counts only if the block ends without an exception."""
        started = time.monotonic()
        partial = self.root / f"{stage}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        cost = {"seconds": round(time.monotonic() - started, 3), "peak_rss_mb": round(peak_rss_mb(), 1)}
        (partial / "cost.json").write_text(json.dumps(cost))
        partial.rename(self.path(stage, mark))

    def cost(self, stage: str, mark: str) -> dict[str, float]:
        return json.loads((self.path(stage, mark) / "cost.json").read_text())

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def long_frame(keys: Mapping[str, object], axes: tuple[str, ...], **arrays: np.ndarray) -> pl.DataFrame:
    """Arrays of one shape as rows: constant key columns, one index column an axis, one value column an array.

    `axes` names the axes in order; rows come sorted by them. float64 values stay DOUBLE: cast where FLOAT is meant.
    """
    shape = next(iter(arrays.values())).shape
    indices = np.indices(shape).reshape(len(shape), -1)
    frame = pl.DataFrame(
        {axis: index.astype(np.int32) for axis, index in zip(axes, indices, strict=True)}
        | {name: array.reshape(-1) for name, array in arrays.items()}
    )
    return frame.select([pl.lit(value).alias(name) for name, value in keys.items()] + [pl.all()])


def vector_frame(layer: int, vectors: np.ndarray) -> pl.DataFrame:
    """One layer's vectors (head, k, hidden) as rows of `eigenvectors`."""
    n_heads, n_vectors, hidden_size = vectors.shape
    keys = long_frame({"layer": layer}, ("head", "k"), unused=np.zeros((n_heads, n_vectors), np.float32)).drop("unused")
    flat = pl.Series(
        "vector", vectors.reshape(-1, hidden_size).astype(np.float32), dtype=pl.Array(pl.Float32, hidden_size)
    )
    return keys.with_columns(flat.cast(pl.List(pl.Float32)))


def pair_frame(keys: Mapping[str, object], layers: Sequence[int], products: np.ndarray) -> pl.DataFrame:
    """The pairs layer <= other_layer of a symmetric matrix (layer, layer) as rows of a gram table."""
    rows, columns = np.triu_indices(len(layers))
    numbers = np.array(layers, dtype=np.int32)
    pairs = pl.DataFrame({"layer": numbers[rows], "other_layer": numbers[columns], "gram": products[rows, columns]})
    return pairs.select([pl.lit(value).alias(name) for name, value in keys.items()] + [pl.all()])


def write_table(folder: Path, table: str, frames: list[pl.DataFrame], sort: list[str]) -> None:
    """Stage one table's rows, sorted by key. A full disk is an OSError here as everywhere; polars has its own."""
    folder.mkdir(parents=True, exist_ok=True)
    if not frames:
        return
    path = folder / f"{table}.parquet"
    try:
        pl.concat(frames).sort(sort).write_parquet(path)
    except pl.exceptions.ComputeError as error:
        if "No space left" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


@contextmanager
def growing_table(folder: Path, table: str) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Stage one table's rows as they come, so that none wait in memory; the caller brings them in the key's order."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        writer: list[pq.ParquetWriter] = []

        def append(frame: pl.DataFrame) -> None:
            rows = frame.to_arrow()
            if not writer:
                writer.append(files.enter_context(pq.ParquetWriter(folder / f"{table}.parquet", rows.schema)))
            writer[0].write_table(rows)

        yield append


def staged_tables(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.parquet"))}
