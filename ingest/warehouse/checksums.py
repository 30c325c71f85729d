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
# what is no content: the checksums themselves, and the row that every bringing up to date writes anew
LEFT_OUT = (TABLE, "warehouse_info")


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
    """Note every model's rows, and those that belong to none, in the tables that are there."""
    con.execute(f"delete from {TABLE}")
    there = {name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()}
    renew(con, covered().keys() & there)


def renew(con: Connection, tables: Iterable[str]) -> None:
    """Note the rows of every model in these tables, in one pass over each."""
    for table in tables:
        con.execute(f"delete from {TABLE} where table_name = ?", [table])
        con.execute(f"insert into {TABLE} {statement(table)}")


def statement(table: str, scope: str = "true") -> str:
    """What gives the rows of `table_checksums` for those of a table in the scope, an SQL condition."""
    columns = [column for column in sqlfiles.tables()[table]["columns"] if column != "model_key"]
    return sqlfiles.statement(
        "load/checksums",
        table=table,
        columns=", ".join(columns),
        model_key="model_key" if covered()[table] else f"{NOBODYS}::bigint",
        scope=scope,
    )
