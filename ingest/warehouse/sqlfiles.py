"""The SQL files of the repository and the TOML headers (`--| ` lines) that say what they hold."""

import re
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from importlib import resources
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError

SQL_DIR = Path(str(resources.files("eigenhouse.sql") / "tables")).parent
MARK = "--|"


@cache
def header(path: Path) -> dict[str, Any]:
    """The TOML that opens the file in lines starting with `--|`; empty where there is none."""
    return header_of(path.read_text(encoding="utf-8"), str(path))


def header_of(sql: str, name: str = "the SQL") -> dict[str, Any]:
    """The header of SQL that need not be a file; a mistake in it names it."""
    lines = []
    for line in sql.splitlines():
        if not line.startswith(MARK):
            break
        lines.append(line.removeprefix(MARK).removeprefix(" "))
    try:
        return tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError as error:
        raise EigenhouseError(f"{name}: the `--| ` lines at the top are not TOML: {error}") from error


def files(folder: str) -> list[Path]:
    """The SQL files of one folder under sql/, by name."""
    return sorted((SQL_DIR / folder).glob("*.sql"))


def tables() -> dict[str, dict[str, Any]]:
    """Every table's header (title, grain, columns), by table name."""
    return {path.stem: header(path) for path in files("tables")}


def views_in_order() -> list[Path]:
    """The view files, each after the views that it reads: DuckDB binds a view when it is made."""
    paths = {path.stem: path for path in files("views")}
    reads = {name: _names_read(path) & paths.keys() - {name} for name, path in paths.items()}
    return [paths[name] for name in TopologicalSorter(reads).static_order()]


def _names_read(path: Path) -> set[str]:
    return set(re.findall(r"\b(?:from|join)\s+(\w+)", path.read_text(encoding="utf-8")))


def comments() -> dict[tuple[str, str, str | None], str]:
    """What each table, view and column is for: (table or view, its name, column or None) → text.

    A view's key columns take their text from its header's `[keys]`, else from the table with that key.
    """
    texts: dict[tuple[str, str, str | None], str] = {}
    keys: dict[str, str] = {}
    for name, meta in tables().items():
        texts["table", name, None] = meta["title"]
        texts.update({("table", name, column): text for column, text in meta["columns"].items()})
        keys.update({column: meta["columns"][column] for column in meta["grain"]})
    for path in files("views"):
        meta = header(path)
        texts["view", path.stem, None] = meta["question"]
        described = {**keys, **meta.get("keys", {})}
        grain = {column: described[column] for column in meta["grain"] if column in described}
        texts.update({("view", path.stem, column): text for column, text in {**grain, **meta["columns"]}.items()})
    return texts
