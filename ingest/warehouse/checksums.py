"""What stands for the rows of a model in a table: written by the load, compared by `verify` and `compact`.

DuckDB's hash of a row is quick, and promised to no later version: what it gives for fixed values is kept beside each
checksum, and a checksum under another mark is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from eigenhouse.ingest.warehouse import sqlfiles

Connection = duckdb.DuckDBPyConnection
TABLE = "table_checksums"
NOBODYS = 0  # the model_key of tables that belong to no model
# the checksums themselves, the row that every bringing up to date writes anew, and what the user may change at any time
LEFT_OUT = (TABLE, "warehouse_info", "model_tags")


@dataclass(frozen=True)
class Summed:
    """What stands for some rows, as `table_checksums` has it."""

    n_rows: int = 0
    checksum: int = 0
    hash_mark: int = 0

    def __add__(self, other: Summed) -> Summed | None:
        """For the rows of both; None where they were hashed in two ways."""
        marks = {each.hash_mark for each in (self, other) if each.n_rows}
        if len(marks) > 1:
            return None
        return Summed(self.n_rows + other.n_rows, (self.checksum + other.checksum) % 2**64, max(marks, default=0))

    def contradicts(self, other: Summed) -> bool:
        """Whether as many rows, hashed in the same way, are not the same rows."""
        is_comparable = (self.n_rows, self.hash_mark) == (other.n_rows, other.hash_mark)
        return is_comparable and self.checksum != other.checksum


def covered() -> dict[str, bool]:
    """Every table that has checksums → whether its rows belong to models."""
    return {name: "model_key" in meta["columns"] for name, meta in sqlfiles.tables().items() if name not in LEFT_OUT}


def record(con: Connection, model_key: int, tables: Iterable[str] | None = None) -> None:
    """Note the model's rows as they are, within the caller's transaction; of all tables where none are named.

    A table in which the model has no row has no checksum.
    """
    wanted = covered()
    named = sorted(wanted if tables is None else tables)
    scopes = {table: f"model_key = {model_key}" if wanted[table] else "true" for table in named}
    keys = [model_key if wanted[table] else NOBODYS for table in named]
    # few statements: where a model is small, planning them is most of what its load takes
    con.execute(
        f"delete from {TABLE} where (model_key, table_name) in (select unnest(?::bigint[]), unnest(?::varchar[]))",
        [keys, named],
    )
    rows = " union all ".join(f"({statement(table, scope)})" for table, scope in scopes.items())
    con.execute(f"insert into {TABLE} {rows}")


def record_all(con: Connection) -> None:
    """Note every model's rows, and those that belong to none, in the tables and columns that are there."""
    con.execute(f"delete from {TABLE}")
    columns = "select table_name, list(column_name order by column_index) from duckdb_columns() group by table_name"
    there = dict(con.execute(columns).fetchall())
    renew(con, {table: there[table] for table in covered().keys() & there.keys()})


def renew(con: Connection, tables: Mapping[str, Iterable[str]]) -> None:
    """Note the rows of every model in these tables, by the columns of each, all where none are named."""
    for table, columns in tables.items():
        con.execute(f"delete from {TABLE} where table_name = ?", [table])
        con.execute(f"insert into {TABLE} {statement(table, columns=columns)}")


def statement(table: str, scope: str = "true", columns: Iterable[str] = ()) -> str:
    """What gives the rows of `table_checksums` for those of a table in the scope, an SQL condition.

    columns: those that the table has yet; all that it is declared with where none are named.
    """
    model_key = "model_key" if covered()[table] else f"{NOBODYS}::bigint"
    columns = [column for column in _columns(table) if not columns or column in columns]
    return _statement(table, table, ", ".join(columns), model_key, scope)


def _statement(table: str, rows: str, columns: str, model_key: str, scope: str) -> str:
    parts = {"table": table, "rows": rows, "columns": columns, "model_key": model_key, "scope": scope}
    return sqlfiles.statement("load/checksums", **parts)


def _columns(table: str) -> list[str]:
    return [column for column in sqlfiles.tables()[table]["columns"] if column != "model_key"]


def of_files(files: list[tuple[str, Path]]) -> list[Summed]:
    """What the load of each file, Parquet with rows of the table named beside it, would note of its rows."""
    with duckdb.connect() as con:
        for path in sqlfiles.files("tables"):
            con.execute(path.read_text(encoding="utf-8"))
        return [_of_file(con, table, file) for table, file in files]


def _of_file(con: Connection, table: str, file: Path) -> Summed:
    kinds = {name: kind for name, kind, *_ in con.execute(f"describe {table}").fetchall()}
    columns = ", ".join(f"{column}::{kinds[column]}" for column in _columns(table))
    summed = _statement(table, "read_parquet($files)", columns, f"{NOBODYS}::bigint", "true")
    found = con.execute(summed, {"files": [str(file)]}).fetchone()
    return Summed(*found[2:]) if found else Summed()


def noted(con: Connection, model_key: int) -> dict[str, Summed]:
    """Table → what the last load noted of a model's rows."""
    rows = con.execute(f"select table_name, n_rows, checksum, hash_mark from {TABLE} where model_key = {model_key}")
    return {table: Summed(*found) for table, *found in rows.fetchall()}
