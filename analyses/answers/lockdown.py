"""A warehouse open for questions: DuckDB reads this one file, and no question can open the way to another."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from eigenhouse.analyses.answers import question
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import store
from eigenhouse.ingest.warehouse.backend import Say
from eigenhouse.ingest.warehouse.store import Connection

SHARE = 0.75  # of the memory that DuckDB would take by itself, which is 0.8 of the machine's or the container's
UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@contextlib.contextmanager
def asking(
    warehouse: Path,
    *,
    files: Sequence[Path] = (),
    exact: bool = False,
    is_locked: bool = True,
    say: Say = store.say_on_stderr,
) -> Iterator[Connection]:
    """The warehouse read-only, and no other file but `files`; settings stay as they are here.

    exact: see asking.ask. is_locked: False where the owner wants to read and write files from SQL.
    """
    spilled = question.spilled(os.getpid())
    with store.reading(warehouse, say=say) as con:
        try:
            _settle(con, spilled, exact)
            if is_locked:
                _lock(con, files)
            yield con
        finally:
            con.close()
            shutil.rmtree(spilled, ignore_errors=True)


def _settle(con: Connection, spilled: Path, exact: bool) -> None:
    """Bounds of memory and disk: what needs more is refused in words, while the machine goes on."""
    con.execute(f"set memory_limit = '{int(SHARE * most_memory(con))}B'")
    with contextlib.suppress(OSError):  # without a place to spill to, a question has the memory alone
        spilled.parent.mkdir(parents=True, exist_ok=True)
        con.execute("set temp_directory = $folder", {"folder": str(spilled)})
        con.execute(f"set max_temp_directory_size = '{shutil.disk_usage(spilled.parent).free // 2}B'")
    con.execute(f"set arrow_lossless_conversion = {str(exact).lower()}")


def most_memory(con: Connection) -> int:
    """The bytes that DuckDB would take before it is told otherwise."""
    [[number, unit]] = [text.split() for (text,) in con.execute("select current_setting('memory_limit')").fetchall()]
    return int(float(number) * UNITS[unit])


def _lock(con: Connection, files: Sequence[Path]) -> None:
    """In this order: what may be read, nothing else, and no way back."""
    for path in files:
        if not path.is_file():
            raise EigenhouseError(
                f"FILES={path}: want a file to read, got {'no file' if path.exists() else 'nothing'} there"
            )
    con.execute("set allowed_paths = $paths", {"paths": [os.path.abspath(path) for path in files]})
    for setting in (
        "python_enable_replacements = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        con.execute(f"set {setting}")
