"""What a load costs beside DuckDB's plain COPY of the same Parquet, in one run: seconds, CPU seconds, bytes a row.

Singular values of one deep random model, as a stage writes them. The load is what `ingest` does with them: replace,
count, prove keys unique, values finite, in range and in order, note a checksum, commit, checkpoint; the rollup is timed
apart.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import duckdb
import numpy as np

from eigenhouse.ingest.stages.frames import long_frame
from eigenhouse.ingest.stages.writer import TableWriter
from eigenhouse.ingest.warehouse import checksums, sqlfiles, store
from eigenhouse.ingest.warehouse.building import transaction
from eigenhouse.ingest.warehouse.loads import StackLoad, StagedTable
from eigenhouse.ingest.warehouse.replacement import Replacement

TABLE, OPERATORS, N_HEADS, HEAD_DIM = "singular_values", ("head_product", "metric"), 64, 128
KEY = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000, help="about how many")
    parser.add_argument("--times", type=int, default=3, help="of each; the best counts")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, (seconds, cpu, note) in measured(Path(folder), **vars(arguments)).items():
            print(f"{name:<10}{seconds:>9.3f} s {cpu:>9.3f} s of CPU   {note}")


def measured(folder: Path, rows: int, times: int, threads: int) -> dict[str, tuple[float, float, str]]:
    """What was timed → seconds, CPU seconds, a note."""
    file, n_rows, wrote = stage(folder, rows)
    found: dict[str, list[tuple[float, float, int]]] = {"copy": [], "load": [], "rollup": []}
    for n in range(times):  # in turns: what else the machine does meets both
        found["copy"].append(copied(folder / f"copy{n}.duckdb", file, threads))
        load, rollup = loaded(folder / f"load{n}.duckdb", file, n_rows, threads)
        found["load"].append(load)
        found["rollup"].append(rollup)
    best = {name: (min(each[0] for each in runs), min(each[1] for each in runs)) for name, runs in found.items()}
    ratios = [best["load"][part] / best["copy"][part] for part in (0, 1)]
    notes = {
        "copy": f"{found['copy'][0][2] / n_rows:.2f} bytes a row",
        "load": f"{found['load'][0][2] / n_rows:.2f} bytes a row; {ratios[0]:.2f} × copy, {ratios[1]:.2f} × by CPU",
        "rollup": "made of the rows, after the checks",
    }
    size = f"{n_rows:,} rows, {file.stat().st_size / n_rows:.2f} bytes a row in Parquet"
    return {"stage": (*wrote, size)} | {name: (*best[name], notes[name]) for name in best}


def stage(folder: Path, rows: int) -> tuple[Path, int, tuple[float, float]]:
    """The Parquet file that the writer makes of them, a layer at a time; how many they are, and what it took."""
    draw = np.random.default_rng(0)
    shape = (N_HEADS, HEAD_DIM)
    n_layers = max(1, rows // len(OPERATORS) // N_HEADS // HEAD_DIM)
    layers = [np.sort(draw.lognormal(size=shape).astype(np.float32))[:, ::-1] for _ in range(n_layers)]

    def write() -> None:
        with ExitStack() as files:
            table = TableWriter(TABLE, folder, files)
            for operator in OPERATORS:
                for layer, sigma in enumerate(layers):
                    keys = {"operator": operator, "layer": layer}
                    table.add(long_frame(keys, ("head", "k"), sigma=sigma), expected=sigma.size)

    return folder / f"{TABLE}.parquet", len(OPERATORS) * n_layers * N_HEADS * HEAD_DIM, timed(write)


def copied(path: Path, file: Path, threads: int) -> tuple[float, float, int]:
    with duckdb.connect(str(path), config={"threads": threads}) as con:
        con.execute((sqlfiles.SQL_DIR / "tables" / f"{TABLE}.sql").read_text(encoding="utf-8"))
        con.execute(f"alter table {TABLE} alter column model_key set default {KEY}")
        con.execute("checkpoint")
        before = path.stat().st_size
        columns = ", ".join(column for column in sqlfiles.tables()[TABLE]["columns"] if column != "model_key")
        spent = timed(lambda: [con.execute(f"copy {TABLE} ({columns}) from '{file}'"), con.execute("checkpoint")])
        return *spent, path.stat().st_size - before


def loaded(path: Path, file: Path, n_rows: int, threads: int) -> tuple[tuple[float, float, int], ...]:
    with store.connect(path, read_only=False) as con:
        con.execute(f"set threads = {threads}")
        before = path.stat().st_size
        stack = StackLoad("bench", {}, {}, {}, {TABLE: StagedTable([file], n_rows)})
        load = timed(lambda: _load(con, stack))
        rollup = (sqlfiles.SQL_DIR / "rollups" / "head_descriptor_rollup.sql").read_text(encoding="utf-8")
        size = path.stat().st_size - before
        return (*load, size), (*timed(lambda: con.execute(rollup, {"model_key": KEY})), 0)


def _load(con: store.Connection, stack: StackLoad) -> None:
    with transaction(con):
        Replacement(con, stack, KEY, TABLE).write()
        checksums.record(con, KEY, [TABLE])
    con.execute("checkpoint")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads of this process."""
    started, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - started, after.user + after.system - before.user - before.system


if __name__ == "__main__":
    main()
