"""Summaries by head that a load writes beside the rows they are made of: made anew, and compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.building import Connection

TOLERANCE = 1e-9  # of a value: threads add up in no certain order


def fill(con: Connection, model_key: int, changed: set[str]) -> dict[str, int]:
    """Make anew the rollups of the tables that changed; rows written by rollup."""
    written = {}
    for path in sqlfiles.files("rollups"):
        if sqlfiles.header(path)["source"] in changed:
            con.execute(f"delete from {path.stem} where model_key = ?", [model_key])
            written[path.stem] = _insert(con, path, model_key)
    return written


def _insert(con: Connection, path: Path, model_key: int) -> int:
    statement = path.read_text(encoding="utf-8")
    return int(con.execute(statement, {"model_key": model_key}).fetchall()[0][0])


def faults(con: Connection, model_key: int) -> Iterator[str]:
    """Where a model's rollups aren't what its rows give. The connection may be for reading only."""
    for path in sqlfiles.files("rollups"):
        table = path.stem
        con.execute(f"create or replace temp table {table} as from {table} limit 0")
        try:
            _insert(con, path, model_key)  # a temporary table goes before one of the file
            keys = sqlfiles.tables()[table]["grain"]
            differs = " or ".join(_differs(column) for column in sqlfiles.tables()[table]["columns"])
            [[database]] = con.execute("select current_database()").fetchall()
            stored = f'"{database}".main.{table}'
            [[n_wrong]] = con.execute(
                sqlfiles.statement("load/rollup", stored=stored, table=table, keys=", ".join(keys), differs=differs),
                {"model_key": model_key},
            ).fetchall()
        finally:
            con.execute(f"drop table temp.{table}")
        if n_wrong:
            yield f"{table}: {n_wrong:,} rows are not what those of {sqlfiles.header(path)['source']} give"


def _differs(column: str) -> str:
    """Numbers may differ by rounding; anything else is equal, or no number on either side."""
    there, anew = f"try_cast(there.{column} as double)", f"try_cast(anew.{column} as double)"
    is_near = f"abs({there} - {anew}) <= {TOLERANCE} * abs({anew})"
    return f"not coalesce(there.{column} is not distinct from anew.{column} or {is_near}, false)"
