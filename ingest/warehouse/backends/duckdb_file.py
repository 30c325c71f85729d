"""A warehouse in a DuckDB file of its own: opened or refused, waited for, copied before it is brought up to date."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.sources import regular
from eigenhouse.ingest.warehouse import damage, magic, migrations
from eigenhouse.ingest.warehouse.building import SCHEMA_VERSION, Connection, build, refusals, schema_of

RETRY_SECONDS = 0.25

Say = Callable[[str], None]


def want_place(path: Path) -> None:
    """Refuse a file that can't be made or written where it is wanted."""
    if not os.access(path.absolute().parent, os.W_OK):
        raise EigenhouseError(f"want a folder to write {path} in; it doesn't exist, or is read-only")


def n_bytes(path: Path) -> int:
    return path.stat().st_size


def connect(
    path: Path,
    *,
    read_only: bool,
    wait_seconds: float,
    say: Say,
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
        with damage.told(path):
            schema = schema_of(con, path)
            if read_only:
                _want_newest(schema, path)
            else:
                if schema is not None and schema < SCHEMA_VERSION:
                    _bring_up_to_date(con, path, schema, say)
                    con = _open(path, read_only, wait_seconds, say)
                build(con, path, renew)
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
            build(con, path, renew=True, schema=schema)
        except BaseException:
            if is_made_here and _is_still(con, schema):
                copy.unlink()
            raise
        [[n_doubted]] = con.execute(
            "select count(distinct model_key) from ingested_stages where doubt is not null"
        ).fetchall()
    doubted = f"; {n_doubted} of its models are to be ingested again, `make models` says why" if n_doubted else ""
    say(
        f"{path} is brought from schema version {schema} to {SCHEMA_VERSION} ({migrations.in_words(schema)}); "
        f"as it was it is kept as {copy.name}{doubted}"
    )


def _is_still(con: Connection, schema: int) -> bool:
    """Whether a failed transaction left this schema; after some errors DuckDB answers no more, and none knows."""
    try:
        return con.execute("select schema_version from warehouse_info").fetchall() == [(schema,)]
    except duckdb.Error:
        return False


def up_to_date(path: Path, *, wait_seconds: float, say: Say) -> Connection | None:
    """The warehouse open for reading; None where there is no file, or one without tables.

    One of an older schema is brought up to date first; what is no warehouse is refused.
    """
    if not path.exists():
        return None
    _want_duckdb_file(path)
    con = _open(path, True, wait_seconds, say)
    schema = None
    try:
        with damage.told(path):
            schema = schema_of(con, path)
    finally:
        if schema != SCHEMA_VERSION:
            con.close()
    if schema is not None and schema < SCHEMA_VERSION:
        connect(path, read_only=False, wait_seconds=wait_seconds, say=say).close()
        con = _open(path, True, wait_seconds, say)
    return con if schema is not None else None


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
        regular.want(path)
        found = magic.begins(path)
    except OSError as error:
        raise EigenhouseError(f"cannot read {path}: {error.strerror}") from error
    if found not in (magic.MAGIC, b""):  # DuckDB itself answers for one that another process is just making
        raise EigenhouseError(f"{path} is not a DuckDB file; give another WAREHOUSE, or move it away")


def _open(path: Path, read_only: bool, wait_seconds: float, say: Say) -> Connection:
    """Connect, waiting for another process that holds the file."""
    give_up_at = time.monotonic() + wait_seconds
    is_said = False
    while True:
        try:
            con = duckdb.connect(str(path), read_only=read_only)
            con.execute("set enable_progress_bar = false")  # it is drawn on standard output, among a command's lines
            return con
        except duckdb.Error as error:
            if damage.is_damage(error):
                raise damage.line(path, error) from error
            if "Could not set lock on file" not in str(error):
                raise EigenhouseError(f"cannot open {path}: {first_line(error)}") from error
            holder = re.search(r"PID (\d+)", str(error))
            process = f"process {holder[1]}" if holder else "another process"
            if time.monotonic() >= give_up_at:
                raise EigenhouseError(
                    f"{path} is still in use by {process} after {wait_seconds:g} s; try again when it is done"
                ) from error
        if not is_said:
            say(f"{path} is in use by {process}; waiting up to {wait_seconds:g} s")
            is_said = True
        time.sleep(RETRY_SECONDS)
