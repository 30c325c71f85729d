"""How a warehouse is opened, wherever it lies: `kind:address` names a module of backends/, a path alone is a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from eigenhouse.ingest.warehouse.building import Connection
from eigenhouse.visible import visible

FILE = "duckdb_file"
WAIT_SECONDS = 120.0
Say = Callable[[str], None]


class Backend(Protocol):
    """One kind of warehouse. All are asked and written through a DuckDB connection."""

    def want_place(self, path: Path) -> None:
        """Raises EigenhouseError where no warehouse can be written; asked before anything is measured."""

    def n_bytes(self, path: Path) -> int:
        """The room that it takes."""

    def connect(self, path: Path, *, read_only: bool, wait_seconds: float, say: Say, renew: bool = False) -> Connection:
        """Open it; for writing, make it where there is none and bring its tables, macros and views up to date."""

    def up_to_date(self, path: Path, *, wait_seconds: float, say: Say) -> Connection | None:
        """Open for reading, None where there is none; one of an older schema is brought up to date first."""

    def writing(self, path: Path, wait_seconds: float, say: Say) -> AbstractContextManager[Connection]:
        """Open for writing; one that is made here goes again if the block fails and leaves no row in it."""


def of(path: Path) -> Backend:
    return cast(Backend, import_module(f"eigenhouse.ingest.warehouse.backends.{_kind(path)}"))


def wherever(path: Path) -> Path:
    """The same warehouse whatever the working folder becomes."""
    return path.expanduser().absolute() if _kind(path) == FILE else path


def _kind(path: Path) -> str:
    kind, colon, _ = str(path).partition(":")
    known = {module.stem for module in (Path(__file__).parent / "backends").glob("[!_]*.py")}
    return kind if colon and kind in known else FILE


def say_on_stderr(message: str) -> None:
    print(visible(message), file=sys.stderr, flush=True)
