"""What DuckDB raises for a file that is damaged or was changed by another program, said in a line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from eigenhouse.errors import EigenhouseError

SIGNS = re.compile(
    r"corrupt|checksum|could not read|read enough bytes|not a valid duckdb|replay|deserializ|invalidated", re.IGNORECASE
)
# errors that no question, row or full disk brings about
ALWAYS = (duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException)
LONGEST = 160
WAY_OUT = "`make verify` says which models are, or put back a copy of the file"


def is_damage(error: duckdb.Error) -> bool:
    """Whether the file is at fault, and not what was asked of it."""
    if "No space left" in str(error) or isinstance(error, duckdb.OutOfMemoryException):
        return False
    return isinstance(error, ALWAYS) or (isinstance(error, duckdb.IOException) and bool(SIGNS.search(str(error))))


def line(path: Path, what: object, outcome: str = "") -> EigenhouseError:
    """outcome: what became of the work, where some was begun."""
    return EigenhouseError(
        f"{path} is damaged{f', {outcome}' if outcome else ''}: {short(what)} (a failing disk, or a copy cut short?); "
        + WAY_OUT
    )


def short(what: object) -> str:
    """The first line, without the class of error that DuckDB names first."""
    first = str(what).splitlines()[0] if str(what) else "DuckDB says no more"
    first = re.sub(r"^(\w+ )?(IO|INTERNAL|FATAL|Serialization) Error: ", "", first, flags=re.IGNORECASE)
    return first if len(first) <= LONGEST else first[:LONGEST].rstrip() + "…"


@contextlib.contextmanager
def told(path: Path, outcome: str = "") -> Iterator[None]:
    """Damage that is met on the way is a refusal of one line."""
    try:
        yield
    except duckdb.Error as error:
        if is_damage(error):
            raise line(path, error, outcome) from error
        raise
