"""The warehouse file: opened or refused, waited for, and kept up to date with the SQL files."""

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from ingest import __version__, sqlfiles
from ingest.errors import EigenhouseError

SCHEMA_VERSION = 2
WAIT_SECONDS = 120.0
RETRY_SECONDS = 0.25

Connection = duckdb.DuckDBPyConnection
Say = Callable[[str], None]


def say_on_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def connect(path: Path, *, read_only: bool, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr) -> Connection:
    """Open the warehouse; for writing, make it where there is none and bring its views up to date."""
    if path.exists():
        _want_duckdb_file(path)
    elif read_only:
        raise _no_warehouse(path)
    con = _open(path, read_only, wait_seconds, say)
    try:
        found = _is_warehouse(con, path)
        if not read_only:
            with refusals(path):
                _build(con)
        elif not found:
            raise _no_warehouse(path)
    except BaseException:
        con.close()
        raise
    return con


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


def _is_warehouse(con: Connection, path: Path) -> bool:
    """Whether there is a warehouse in the file (True) or nothing yet (False); anything else is refused."""
    names = con.execute(
        "select table_name from duckdb_tables() where not internal "
        "union all select view_name from duckdb_views() where not internal"
    ).fetchall()
    if not names:
        return False
    try:
        row = con.execute("select schema_version from warehouse_info").fetchone()
    except duckdb.CatalogException:
        row = None
    if row is None:
        raise EigenhouseError(f"{path} is a DuckDB file but not a warehouse; give another WAREHOUSE, or move it away")
    if row[0] != SCHEMA_VERSION:
        raise EigenhouseError(
            f"{path} has schema version {row[0]}, this program works with {SCHEMA_VERSION}; "
            "give another WAREHOUSE and ingest again, or use the program that made it"
        )
    return True


def _build(con: Connection) -> None:
    """Make what is missing, refresh every view, and copy the headers' texts into comments."""
    with transaction(con):
        for path in [*sqlfiles.files("tables"), *sqlfiles.views_in_order()]:
            con.execute(path.read_text(encoding="utf-8"))
        if con.execute("select count(*) from warehouse_info").fetchall() == [(0,)]:
            con.execute("insert into warehouse_info values (?, ?)", [SCHEMA_VERSION, f"eigenhouse {__version__}"])
        there = _comments_there(con)
        for (kind, name, column), text in sqlfiles.comments().items():
            if there.get((name, column)) != text:
                target = f"column {name}.{column}" if column else f"{kind} {name}"
                quoted = text.replace("'", "''")
                con.execute(f"comment on {target} is '{quoted}'")


def _comments_there(con: Connection) -> dict[tuple[str, str | None], str | None]:
    rows = con.execute(
        "select table_name, column_name, comment from duckdb_columns() "
        "union all select table_name, null, comment from duckdb_tables() "
        "union all select view_name, null, comment from duckdb_views() where not internal"
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
def refusals(path: Path) -> Iterator[None]:
    """Say in a line what a user can mend: no room on the disk or in memory, a row that a table forbids."""
    try:
        yield
    except duckdb.ConstraintException as error:
        raise EigenhouseError(f"{path}: a table refuses a row, nothing was written: {_first_line(error)}") from error
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise EigenhouseError(f"{path}: the disk is full, nothing was written") from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise EigenhouseError(f"{path}: out of memory, nothing was written: {_first_line(error)}") from error
        raise
