"""What stands for the rows of a model in a table: written by the load, compared by `verify` and `compact`.

DuckDB's hash of a row is quick, and promised to no later version: what it gives for fixed values is kept beside each
checksum, and a checksum under another mark is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from eigenhouse.ingest.warehouse import sqlfiles

Connection = duckdb.DuckDBPyConnection
TABLE = "table_checksums"
NOBODYS = 0  # the model_key of tables that belong to no model
# the checksums themselves, the row that every bringing up to date writes anew, and what the user may change at any time
LEFT_OUT = (TABLE, "warehouse_info", "model_tags")


def covered() -> dict[str, bool]:
    """Every table that has checksums → whether its rows belong to models."""
    return {name: "model_key" in meta["columns"] for name, meta in sqlfiles.tables().items() if name not in LEFT_OUT}


def record(con: Connection, model_key: int, tables: Iterable[str] | None = None) -> None:
    """Note the model's rows as they are, within the caller's transaction; of all tables where none are named.

    A table in which the model has no row has no checksum.
    """
    wanted = covered()
    for table in wanted if tables is None else tables:
        key = model_key if wanted[table] else NOBODYS
        con.execute(f"delete from {TABLE} where model_key = ? and table_name = ?", [key, table])
        scope = f"model_key = {key}" if wanted[table] else "true"
        con.execute(f"insert into {TABLE} {statement(table, scope)}")


def record_all(con: Connection) -> None:
    """Note every model's rows, and those that belong to none, in the tables and columns that are there."""
    con.execute(f"delete from {TABLE}")
    columns = "select table_name, list(column_name order by column_index) from duckdb_columns() group by table_name"
    there = dict(con.execute(columns).fetchall())
    for table in covered().keys() & there.keys():
        con.execute(f"insert into {TABLE} {statement(table, columns=there[table])}")


def statement(table: str, scope: str = "true", columns: Iterable[str] = ()) -> str:
    """What gives the rows of `table_checksums` for those of a table in the scope, an SQL condition.

    columns: those that the table has yet; all that it is declared with where none are named.
    """
    declared = [column for column in sqlfiles.tables()[table]["columns"] if column != "model_key"]
    columns = [column for column in declared if not columns or column in columns]
    return sqlfiles.statement(
        "load/checksums",
        table=table,
        columns=", ".join(columns),
        model_key="model_key" if covered()[table] else f"{NOBODYS}::bigint",
        scope=scope,
    )
