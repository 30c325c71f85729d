"""The load of a warehouse's rows beside DuckDB's own COPY; bench/load_cost.py measures both."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from bench.rows.row import NotRun, Pair, Row
from bench.setting import Setting

MODULE = "bench.load_cost"
N_ROWS, N_SHORT = 20_000_000, 20_000


def seconds(setting: Setting) -> Pair:
    said = _measured(_rows(setting))
    return Pair(said["load_seconds"], said["copy_seconds"], note=said["note"])


def size(setting: Setting) -> Pair:
    """Of the file, above an empty warehouse."""
    said = _measured(_rows(setting))
    return Pair(said["bytes_a_row"], 6.0, "bytes a row", said["note"])


def _rows(setting: Setting) -> int:
    return N_SHORT if setting.is_short else N_ROWS


@cache
def _measured(n_rows: int) -> dict[str, Any]:
    """The module's measure(n_rows): load_seconds and copy_seconds of one run in turns, bytes_a_row, note."""
    if find_spec(MODULE) is None:
        raise NotRun(f"there is no {MODULE.replace('.', '/')}.py")
    said: dict[str, Any] = import_module(MODULE).measure(n_rows)
    return said


ROWS = (
    Row("load_seconds", "load of 20M rows, all checks", "DuckDB's COPY of the same Parquet", seconds, at_most=1.3),
    Row("load_bytes", "size of the loaded rows", "6 bytes a row", size, at_most=1),
)
