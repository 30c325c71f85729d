"""The warehouse file: opened or refused, waited for, and kept up to date with the SQL files."""

import contextlib
import hashlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from eigenhouse import __version__
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import migrations, sqlfiles

SCHEMA_VERSION = migrations.newest_schema()
WAIT_SECONDS = 120.0
RETRY_SECONDS = 0.25

Connection = duckdb.DuckDBPyConnection
Say = Callable[[str], None]


def say_on_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def connect(
    path: Path,
    *,
    read_only: bool,
    wait_seconds: float = WAIT_SECONDS,
    say: Say = say_on_stderr,
    renew: bool = False,
) -> Connection:
    """Open the warehouse; for writing, make it where there is none and bring its tables and views up to date.

    renew: declare every view again, even where the files are those that it was built from. A warehouse of an older
    schema is refused to a reader; a writer gets it brought up to date, and a copy of it is kept beside it.
    """
    is_new = not path.exists()
    if not is_new:
        _want_duckdb_file(path)
    elif read_only:
        raise _no_warehouse(path)
    con = _open(path, read_only, wait_seconds, say)
    schema: int | None = SCHEMA_VERSION
    try:
        schema = _schema(con, path)
        if read_only:
            _want_newest(schema, path)
        else:
            if schema is not None and schema < SCHEMA_VERSION:
                _bring_up_to_date(con, path, schema, say)
                con = _open(path, read_only, wait_seconds, say)
            _build(con, path, renew)
    except BaseException:
        if is_new and schema is None:
            _remove(path)
        con.close()
        raise
    return con


def _want_newest(schema: int | None, path: Path) -> None:
    if schema is None:
        raise _no_warehouse(path)
    if schema < SCHEMA_VERSION:
        raise EigenhouseError(
            f"{path} has schema version {schema}, this program works with {SCHEMA_VERSION}; run `make views`, which "
            "brings it up to date and keeps a copy of it"
        )


def _bring_up_to_date(con: Connection, path: Path, schema: int, say: Say) -> None:
    """Keep a copy, then everything in one transaction: if it fails the warehouse is as it was. Closes con."""
    # closing a file gives up the process's locks on it, DuckDB's too: con goes first, and is opened again after that
    with path.open("rb") as original, contextlib.closing(con):
        with refusals(path):
            con.execute("checkpoint")  # what waits in the WAL is part of what is copied
        copy, is_made_here = migrations.keep_copy(original, path, schema)
        try:
            _build(con, path, renew=True, schema=schema)
        except BaseException:
            if is_made_here and _is_still(con, schema):
                copy.unlink()
            raise
        [[n_doubted]] = con.execute(
            "select count(distinct model_key) from ingested_stages where doubt is not null"
        ).fetchall()
    doubted = f"; {n_doubted} of its models are to be ingested again, `make models` says why" if n_doubted else ""
    say(
        f"{path} is brought from schema version {schema} to {SCHEMA_VERSION} ({migrations.told(schema)}); "
        f"as it was it is kept as {copy.name}{doubted}"
    )


def _is_still(con: Connection, schema: int) -> bool:
    """Whether a failed transaction left this schema; after some errors DuckDB answers no more, and none knows."""
    try:
        return con.execute("select schema_version from warehouse_info").fetchall() == [(schema,)]
    except duckdb.Error:
        return False


def bring_up_to_date(path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr) -> bool:
    """Whether there is a warehouse that connect opens for reading: not where there is no file, or one without tables.

    One of an older schema is brought up to date first; what is no warehouse is refused.
    """
    if not path.exists():
        return False
    _want_duckdb_file(path)
    con = _open(path, True, wait_seconds, say)
    try:
        schema = _schema(con, path)
    finally:
        con.close()
    if schema is not None and schema < SCHEMA_VERSION:
        connect(path, read_only=False, wait_seconds=wait_seconds, say=say).close()
    return schema is not None


@contextlib.contextmanager
def reading(path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr) -> Iterator[Connection]:
    """The warehouse open for reading; no load can begin while it is."""
    con = connect(path, read_only=True, wait_seconds=wait_seconds, say=say)
    try:
        yield con
    finally:
        con.close()


@contextlib.contextmanager
def writing(path: Path, wait_seconds: float, say: Say) -> Iterator[Connection]:
    """The warehouse open for writing; one that is made here goes again if the block fails and leaves no row in it."""
    is_new = not path.exists()
    con = connect(path, read_only=False, wait_seconds=wait_seconds, say=say)
    try:
        yield con
    except BaseException:
        if is_new and _has_no_rows(con):
            _remove(path)
        raise
    finally:
        con.close()


def _has_no_rows(con: Connection) -> bool:
    try:
        return not con.execute("select 1 from ingest_runs union all select 1 from prompts").fetchall()
    except duckdb.Error:  # after some errors DuckDB answers no more: then nothing is known
        return False


def _remove(path: Path) -> None:
    """Called while the file is open, and so locked: nobody else can have written to it."""
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)


def _no_warehouse(path: Path) -> EigenhouseError:
    return EigenhouseError(f"no warehouse at {path}; run `make ingest`")


def _want_duckdb_file(path: Path) -> None:
    """Refuse by the magic bytes, since DuckDB would go on to open some other formats through extensions."""
    try:
        with path.open("rb") as file:
            magic = file.read(12)[8:]
    except OSError as error:
        raise EigenhouseError(f"cannot read {path}: {error.strerror}") from error
    if magic not in (b"DUCK", b""):  # DuckDB itself answers for one that another process is just making
        raise EigenhouseError(f"{path} is not a DuckDB file; give another WAREHOUSE, or move it away")


def _open(path: Path, read_only: bool, wait_seconds: float, say: Say) -> Connection:
    """Connect, waiting for another process that holds the file."""
    give_up_at = time.monotonic() + wait_seconds
    told = False
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            if "Could not set lock on file" not in str(error):
                raise EigenhouseError(f"cannot open {path}: {_first_line(error)}") from error
            holder = re.search(r"PID (\d+)", str(error))
            process = f"process {holder[1]}" if holder else "another process"
            if time.monotonic() >= give_up_at:
                raise EigenhouseError(
                    f"{path} is still in use by {process} after {wait_seconds:g} s; try again when it is done"
                ) from error
        if not told:
            say(f"{path} is in use by {process}; waiting up to {wait_seconds:g} s")
            told = True
        time.sleep(RETRY_SECONDS)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _schema(con: Connection, path: Path) -> int | None:
    """The schema of the warehouse in the file, None if there is nothing yet; refused where this program knows none."""
    names = con.execute(
        "select table_name from duckdb_tables() where not internal "
        "union all select view_name from duckdb_views() where not internal"
    ).fetchall()
    if not names:
        return None
    try:
        row = con.execute("select schema_version from warehouse_info").fetchone()
    except duckdb.CatalogException:
        row = None
    if row is None:
        raise EigenhouseError(f"{path} is a DuckDB file but not a warehouse; give another WAREHOUSE, or move it away")
    if not migrations.oldest_schema() <= row[0] <= SCHEMA_VERSION:
        way = "update the program" if row[0] > SCHEMA_VERSION else "give another WAREHOUSE and ingest again"
        raise EigenhouseError(
            f"{path} has schema version {row[0]}, this program works with {SCHEMA_VERSION}; {way}, "
            "or use the program that made it"
        )
    return int(row[0])


def _build(con: Connection, path: Path, renew: bool, schema: int = SCHEMA_VERSION) -> None:
    """Make what is missing, refresh every macro and view, and copy the headers' texts into comments.

    schema: that of the warehouse; what an older one lacks is brought in the same transaction. DuckDB 1.5.5 cannot
    replay a WAL with a comment on a table whose check calls a function, so no check in sql/tables/ may call one (a
    regular expression or `like` does), no comment is written that is there, and none stays in the WAL.
    """
    declared = _declared()
    if not renew and _built_from(con) == declared:
        return
    with refusals(path), transaction(con):
        migrations.run(con, schema)
        for file in sqlfiles.declared():
            con.execute(file.read_text(encoding="utf-8"))
        _comment(con)
        con.execute("delete from warehouse_info")
        con.execute(
            "insert into warehouse_info values (?, ?, ?)", [SCHEMA_VERSION, f"eigenhouse {__version__}", declared]
        )
    if con.execute("select built_from from warehouse_info").fetchall() != [(declared,)]:
        # DuckDB's commit returns quietly, and keeps nothing, where a statement before it failed
        raise EigenhouseError(f"{path}: the commit kept nothing, though no statement failed")
    with refusals(path, f"what is new waits in {path.name}.wal beside it: keep both files and make room"):
        con.execute("checkpoint")


def _declared() -> str:
    """Hash of the files that declare it: DuckDB's own text of a view changes when it reads it back."""
    paths = sorted(sqlfiles.declared())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in paths)).hexdigest()


def _built_from(con: Connection) -> str | None:
    """The hash that the warehouse was last built from; None where there is none, or something declared has gone."""
    there = {name for name, _ in _comments(con)}
    if {path.stem for path in sqlfiles.declared()} - there:
        return None
    [[built_from]] = con.execute("select max(built_from) from warehouse_info").fetchall()
    return built_from


def _comment(con: Connection) -> None:
    there = _comments(con)
    for (kind, name, column), text in sqlfiles.comments().items():
        if there.get((name, column)) != text:
            target = f"column {name}.{column}" if column else f"{kind} {name}"
            quoted = text.replace("'", "''")
            con.execute(f"comment on {target} is '{quoted}'")


def _comments(con: Connection) -> dict[tuple[str, str | None], str | None]:
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
        raise EigenhouseError(f"{path}: a table refuses a row, {outcome}: {_first_line(error)}") from error
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise EigenhouseError(f"{path}: the disk is full, {outcome}") from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise EigenhouseError(f"{path}: out of memory, {outcome}: {_first_line(error)}") from error
        raise
