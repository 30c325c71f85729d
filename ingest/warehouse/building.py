"""What a warehouse is made of, in any DuckDB connection: its schema, tables, macros, views and comments."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import duckdb

from eigenhouse import __version__, stopping
from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.warehouse import damage, migrations, rollups, sqlfiles

Connection = duckdb.DuckDBPyConnection
SCHEMA_VERSION = migrations.newest_schema()
IN_COMMIT = "stopped at the commit; the warehouse holds all of the old or all of the new, and the same command goes on"


def schema_of(con: Connection, path: Path) -> int | None:
    """The schema of the warehouse in the file, None if there is nothing yet; refused where this program knows none."""
    names = con.execute(
        "select table_name from duckdb_tables() where not internal "
        "union all select view_name from duckdb_views() where not internal"
    ).fetchall()
    if not names:
        return None
    schema = _schema_noted(con)
    if schema is None:
        raise EigenhouseError(f"{path} is a DuckDB file but not a warehouse; give another WAREHOUSE, or move it away")
    if not migrations.oldest_schema() <= schema <= SCHEMA_VERSION:
        way = "update the program" if schema > SCHEMA_VERSION else "give another WAREHOUSE and ingest again"
        raise EigenhouseError(
            f"{path} has schema version {schema}, this program works with {SCHEMA_VERSION}; {way}, "
            "or use the program that made it"
        )
    if schema == SCHEMA_VERSION:
        want_columns(con, path)
    return schema


def _schema_noted(con: Connection) -> int | None:
    """None where there is no such note, or one of another program."""
    try:
        rows = con.execute("select schema_version from warehouse_info").fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
    return rows[0][0] if len(rows) == 1 and isinstance(rows[0][0], int) else None


def want_columns(con: Connection, path: Path) -> None:
    """Refuse tables that another program has changed; one that is missing is made by the next that writes."""
    found: dict[str, set[str]] = {}
    for table, column in con.execute(
        "select table_name, column_name from duckdb_columns() where not internal"
    ).fetchall():
        found.setdefault(table, set()).add(column)
    for table, meta in sqlfiles.tables().items():
        if table in sqlfiles.kept_tables():
            continue  # made anew whenever its view is declared
        if lost := sorted(meta["columns"].keys() - found.get(table, meta["columns"].keys())):
            others = sorted(found[table] - meta["columns"].keys())
            hint = f"renamed to {others[0]}?" if others else "dropped by another program?"
            raise EigenhouseError(
                f"{path}: want the columns of {table} as they were made, got none of the name {', '.join(lost)} "
                f"({hint}); rename it back, or put back a copy of the file"
            )


def build(con: Connection, path: Path, renew: bool, schema: int = SCHEMA_VERSION) -> None:
    """Make what is missing, refresh every macro and view, and copy the headers' texts into comments.

    schema: that of the warehouse; what an older one lacks is brought in the same transaction. DuckDB 1.5.5 cannot
    replay a WAL with a comment on a table whose check calls a function, so no check in sql/tables/ may call one (a
    regular expression or `like` does), no comment is written that is there, and none stays in the WAL.
    """
    declared = declared_hash()
    if not renew and built_from(con) == declared:
        return
    with refusals(path), transaction(con):
        migrations.run(con, schema)
        for file in sqlfiles.declared():
            if file.parent.name == "views" and sqlfiles.is_kept(file):
                rollups.declare(con, file)
            else:
                con.execute(file.read_text(encoding="utf-8"))
        rollups.fill_kept(con)
        comment_all(con)
        con.execute("delete from warehouse_info")
        con.execute(
            "insert into warehouse_info values (?, ?, ?)", [SCHEMA_VERSION, f"eigenhouse {__version__}", declared]
        )
    if con.execute("select built_from from warehouse_info").fetchall() != [(declared,)]:
        # DuckDB's commit returns quietly, and keeps nothing, where a statement before it failed
        raise EigenhouseError(f"{path}: the commit kept nothing, though no statement failed")
    with refusals(path, f"what is new waits in {path.name}.wal beside it: keep both files and make room"):
        con.execute("checkpoint")


def declared_hash() -> str:
    """Hash of the files that declare it: DuckDB's own text of a view changes when it reads it back."""
    paths = sorted(sqlfiles.declarations())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in paths)).hexdigest()


def built_from(con: Connection) -> str | None:
    """The hash that the warehouse was last built from; None where there is none, or something declared has gone."""
    if (sqlfiles.kept_tables() | {path.stem for path in sqlfiles.declarations()}) - names_in(con):
        return None
    [[built_from]] = con.execute("select max(built_from) from warehouse_info").fetchall()
    return built_from


def names_in(con: Connection) -> set[str]:
    """Of tables, views and macros."""
    rows = con.execute(
        "select table_name from duckdb_tables() where not internal "
        "union all select view_name from duckdb_views() where not internal "
        "union all select function_name from duckdb_functions() where not internal"
    ).fetchall()
    return {name for (name,) in rows}


def comment_all(con: Connection) -> None:
    """In one call: some 700 of them take three times as long one by one."""
    there = comments_in(con)
    statements = []
    for (kind, name, column), text in sqlfiles.comments().items():
        if there.get((name, column)) != text:
            target = f"column {name}.{column}" if column else f"{kind} {name}"
            quoted = text.replace("'", "''")
            statements.append(f"comment on {target} is '{quoted}'")
    con.execute(";\n".join(statements))


def comments_in(con: Connection) -> dict[tuple[str, str | None], str | None]:
    """(table, view or macro, column or None) → comment."""
    rows = con.execute(
        "select table_name, column_name, comment from duckdb_columns() where not internal "
        "union all select table_name, null, comment from duckdb_tables() where not internal "
        "union all select view_name, null, comment from duckdb_views() where not internal "
        "union all select function_name, null, comment from duckdb_functions() where not internal"
    ).fetchall()
    return {(name, column): comment for name, column, comment in rows}


@contextlib.contextmanager
def transaction(con: Connection) -> Iterator[None]:
    con.begin()
    try:
        yield
        with stopping.in_doubt(IN_COMMIT):
            con.commit()
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # a failed commit has ended the transaction already
            con.rollback()
        raise


@contextlib.contextmanager
def refusals(path: Path, outcome: str = "nothing was written") -> Iterator[None]:
    """Say in a line what a user can mend: no room on the disk or in memory, a row that a table forbids."""
    try:
        yield
    except duckdb.ConstraintException as error:
        raise EigenhouseError(f"{path}: a table refuses a row, {outcome}: {first_line(error)}") from error
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        raise EigenhouseError(
            f"{path}: its tables aren't as they were made (changed by another program?), {outcome}: "
            f"{first_line(error)}; put back a copy of the file"
        ) from error
    except duckdb.Error as error:
        if damage.is_damage(error):
            raise damage.line(path, error, outcome) from error
        if "No space left" in str(error):
            raise EigenhouseError(f"{path}: the disk is full, {outcome}") from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise EigenhouseError(f"{path}: out of memory, {outcome}: {first_line(error)}") from error
        raise
