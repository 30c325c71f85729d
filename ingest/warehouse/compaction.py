"""A warehouse written anew into a file beside it, compared, and put in its place in one step.

DuckDB uses the room of rows that went for new ones, and never gives it back to the disk.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse.building import Connection, refusals

ATTACHED = "compacted"


def half_made(path: Path) -> Path:
    """Where it is written; what lies there of a run that was killed is written over."""
    return path.with_name(f"{path.name}.compact")


def compact(con: Connection, path: Path) -> None:
    """con: the warehouse, open for writing, so that nobody else can; close it right after.

    Until the last step the old file stays as it is, and it stays if anything fails.
    """
    fresh = half_made(path)
    with refusals(path):
        con.execute("checkpoint")  # what waits in the WAL is part of it
    _discard(fresh)
    _want_room(path)
    try:
        with refusals(path, "it stays as it was"):
            _write(con, fresh)
            _want_same(con, path)
            con.execute(f"detach {ATTACHED}")
        _put_in_place(fresh, path)
    except BaseException:
        _discard(fresh)
        raise


def _want_room(path: Path) -> None:
    wanted, free = path.stat().st_size, shutil.disk_usage(path.parent).free
    if wanted > free:
        raise EigenhouseError(
            f"want room for a fresh copy of {path} beside it, up to {wanted / 1e6:,.0f} MB; the disk has "
            f"{free / 1e6:,.0f} MB: free some, it stays as it was"
        )


def _write(con: Connection, fresh: Path) -> None:
    """Tables with their keys, views, macros and comments, those that a user made among them."""
    name = str(fresh).replace("'", "''")
    con.execute(f"attach '{name}' as {ATTACHED}")
    [[database]] = con.execute("select current_database()").fetchall()
    con.execute(f'copy from database "{database}" to {ATTACHED}')
    con.execute(f"detach {ATTACHED}")  # with a checkpoint; what is compared next is what the disk holds
    con.execute(f"attach '{name}' as {ATTACHED} (read_only)")


def _want_same(con: Connection, path: Path) -> None:
    """The same tables, views and macros, and in each table the same rows."""
    [[database]] = con.execute("select current_database()").fetchall()
    old, new = _contents(con, str(database)), _contents(con, ATTACHED)
    if wrong := sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)):
        raise EigenhouseError(
            f"{path}: the fresh copy has another {', '.join(wrong)}; it was thrown away, and the file stays as it was "
            "(a failing disk? `make verify`)"
        )


def _contents(con: Connection, database: str) -> dict[str, object]:
    """Names of views and macros, whose text DuckDB words anew; of a table, how many rows and what stands for them."""
    named = con.execute(
        "select view_name from duckdb_views() where not internal and database_name = $name "
        "union all select function_name from duckdb_functions() where not internal and database_name = $name",
        {"name": database},
    ).fetchall()
    found: dict[str, object] = {name: "is there" for (name,) in named}
    tables = con.execute(
        "select schema_name, table_name from duckdb_tables() where not internal and database_name = ?", [database]
    ).fetchall()
    for schema, table in tables:
        quoted = ".".join('"{}"'.format(name.replace('"', '""')) for name in (database, schema, table))
        found[table] = con.execute(f"select count(*), sum(hash(rows)) from {quoted} as rows").fetchall()
    return found


def _put_in_place(fresh: Path, path: Path) -> None:
    shutil.copymode(path, fresh)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _discard(fresh: Path) -> None:
    for path in (fresh, fresh.with_name(f"{fresh.name}.wal")):
        path.unlink(missing_ok=True)
