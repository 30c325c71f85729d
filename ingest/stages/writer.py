"""How a stage's rows reach the disk: as they come, sorted by the table's key, with a manifest of what must be there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from eigenhouse.ingest.stages.declaration import Stage
from eigenhouse.ingest.warehouse import sqlfiles

MANIFEST = "manifest.json"
GROUP_ROWS = 122_880  # rows of DuckDB's own groups, which threads read and compress apart
MOST_BYTES = 32_000_000  # that wait, where rows are long


@dataclass(frozen=True)
class StackFacts:
    """What the gate noted of a stack that has proven factors.

    name: of its folder · worst_error: of the gate, over all heads · model: the columns of `models` that its shape and
    config give · layouts: measured layer → how its factors lie in the module · latent: layer → the sides ('q', 'k')
    that are products of several matrices · left_out: reason → layers with softmax attention that have no rows.
    """

    name: str
    is_cross: bool
    worst_error: float
    model: dict[str, Any]
    layouts: dict[int, str]
    latent: dict[int, str]
    left_out: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class Manifest:
    """What a finished stage left in its folder.

    expected: stack → table → rows that the shapes predict · files: stack → the tables that have a file, and whether
    its rows are in the order of the key; '' stands for what belongs to no stack · stacks, absent: by the gate alone;
    the latter is what has softmax attention and no stack, path → reason.
    """

    expected: dict[str, dict[str, int]] = field(default_factory=dict)
    files: dict[str, dict[str, bool]] = field(default_factory=dict)
    stacks: list[StackFacts] = field(default_factory=list)
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    absent: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        manifest = cls(**json.loads((folder / MANIFEST).read_text()))
        for stack in manifest.stacks:  # JSON's keys are text
            assert isinstance(stack, dict)
            stack |= {name: {int(k): v for k, v in stack[name].items()} for name in ("layouts", "latent")}
        manifest.stacks = [StackFacts(**stack) for stack in manifest.stacks]  # type: ignore[arg-type]
        return manifest

    @property
    def cost(self) -> dict[str, float]:
        return {"seconds": self.seconds, "peak_rss_mb": self.peak_rss_mb}


@dataclass(frozen=True)
class Rows:
    """Rows of one table, and how many the shapes predict, counted apart from the rows themselves."""

    table: str
    frame: pl.DataFrame
    expected: int = 0


class Writer:
    """The rows of one stage. Use it as a context manager: what is written counts if the block ends without an error."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.root, self.manifest = stage, folder, Manifest()
        self._files = ExitStack()
        self._tables: dict[tuple[str, str], TableWriter] = {}

    def folder(self, stack: str) -> Path:
        """A stack's own folder, for arrays that later stages read."""
        path = self.root / stack
        path.mkdir(parents=True, exist_ok=True)
        return path

    def table(self, table: str, stack: str) -> TableWriter:
        """A table's rows of one stack."""
        if table not in self.stage.tables:
            raise ValueError(f"{self.stage.name} declares {', '.join(self.stage.tables)}; it can't write {table}")
        return self._opened(table, stack)

    def shared(self, table: str) -> TableWriter:
        """The rows of a table that belongs to no model."""
        if table not in self.stage.shares:
            raise ValueError(f"{self.stage.name} shares {', '.join(self.stage.shares) or 'no table'}; not {table}")
        return self._opened(table, "")

    def add(self, stack: str, rows: Iterable[Rows]) -> None:
        for each in rows:
            self.table(each.table, stack).add(each.frame, expected=each.expected)

    def expect(self, stack: str, table: str, n_rows: int) -> None:
        """Rows that the shapes of the whole stack predict, where its frames come with no number of their own."""
        self.table(table, stack).expected += n_rows

    def skip(self, stack: str, reasons: Mapping[str, str], stage: str = "") -> None:
        """Rows of `skipped_modules`: what the stage left out of a stack, and why."""
        table = self.table("skipped_modules", stack)
        if reasons:
            rows = {"module": list(reasons), "reason": list(reasons.values())}
            frame = pl.DataFrame(rows).with_columns(stage=pl.lit(stage or self.stage.name))
            table.add(frame, expected=len(reasons))

    def _opened(self, table: str, stack: str) -> TableWriter:
        if (table, stack) not in self._tables:
            self._tables[table, stack] = TableWriter(table, self.folder(stack), self._files)
        return self._tables[table, stack]

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._files.__exit__(kind, error, trace)
        if kind is not None:
            return
        for (table, stack), writer in self._tables.items():
            if stack:
                self.manifest.expected.setdefault(stack, {})[table] = writer.expected
            if writer.is_there:
                self.manifest.files.setdefault(stack, {})[table] = writer.is_sorted


class TableWriter:
    """One table of one stack, as a Parquet file that grows; few rows wait in memory."""

    def __init__(self, table: str, folder: Path, files: ExitStack) -> None:
        self.keys = [key for key in sqlfiles.tables()[table]["grain"] if key != "model_key"]
        self.path, self.expected, self.is_sorted = folder / f"{table}.parquet", 0, True
        self._files = files
        self._parquet: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._n_rows = self._n_bytes = 0
        self._last: tuple[Any, ...] | None = None

    @property
    def is_there(self) -> bool:
        return self._parquet is not None

    def add(self, frame: pl.DataFrame, *, expected: int) -> None:
        """Append rows, sorted by the table's key among themselves. expected: how many the shapes predict."""
        self.expected += expected
        if frame.is_empty():
            return
        frame = frame.sort(self.keys)
        first, last = (tuple(frame.get_column(key)[at] for key in self.keys) for at in (0, -1))
        self.is_sorted &= self._last is None or self._last < first
        self._last = last
        rows = frame.to_arrow()
        if self._parquet is None:
            self._parquet = self._files.enter_context(_opened(self.path, rows.schema))
            self._files.callback(self._write)
        self._waiting.append(rows)
        self._n_rows, self._n_bytes = self._n_rows + len(rows), self._n_bytes + rows.nbytes
        if self._n_rows >= GROUP_ROWS or self._n_bytes >= MOST_BYTES:
            self._write()

    def _write(self) -> None:
        """What waits, as one row group: DuckDB reads many small ones half as fast."""
        waiting, self._waiting, self._n_rows, self._n_bytes = self._waiting, [], 0, 0
        if waiting:
            assert self._parquet is not None
            rows = pa.concat_tables(waiting)
            self._parquet.write_table(rows, row_group_size=len(rows))


def _opened(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Measured numbers hardly repeat: a dictionary of them doubles the time to write and adds half of the size."""
    repeated = [field.name for field in schema if pa.types.is_integer(field.type) or _is_text(field.type)]
    return pq.ParquetWriter(path, schema, use_dictionary=repeated)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
