"""The load of a warehouse's rows beside DuckDB's own COPY; bench/load_cost.py measures both."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from bench.rows.row import NotRun, Pair, Row
from bench.setting import Setting

MODULE = "bench.load_cost"
N_ROWS, N_SHORT = 20_000_000, 20_000


def seconds(setting: Setting) -> Pair:
    said = _measured(setting)
    return Pair(said["load"][0], said["copy"][0], note=said["stage"][2])


def size(setting: Setting) -> Pair:
    """Of the file, by the number that the note of a load starts with."""
    said = _measured(setting)
    return Pair(float(said["load"][2].split()[0]), 6.0, "bytes a row", said["stage"][2])


@cache
def _measured(setting: Setting) -> dict[str, tuple[float, float, str]]:
    """What the module's measured() says: seconds, CPU seconds and a note of `stage`, `copy` and `load`."""
    if find_spec(MODULE) is None:
        raise NotRun(f"there is no {MODULE.replace('.', '/')}.py")
    n_rows, folder = N_SHORT if setting.is_short else N_ROWS, setting.folder / "load"
    folder.mkdir()
    measured: Callable[..., dict[str, tuple[float, float, str]]] = import_module(MODULE).measured
    return measured(folder, rows=n_rows, times=setting.rounds, threads=2)


ROWS = (
    Row(
        "load_seconds",
        "load of 20M rows, checks and checksum",
        "DuckDB's COPY of the same Parquet",
        seconds,
        at_most=1.5,
    ),
    Row("load_bytes", "size of the loaded rows", "6 bytes a row", size, at_most=1),
)
