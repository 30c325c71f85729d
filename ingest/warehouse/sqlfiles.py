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
    """The TOML that opens the file in lines starting with `--|`; empty where there is none.

    Among the columns `"*" = "tables/…"` stands for those of another header, but for its keys.
    """
    meta = header_of(path.read_text(encoding="utf-8"), str(path))
    columns: dict[str, str] = {}
    for name, text in meta.get("columns", {}).items():
        if name == "*":
            theirs = header(SQL_DIR / f"{text}.sql")
            columns |= {column: said for column, said in theirs["columns"].items() if column not in theirs["grain"]}
        else:
            columns[name] = text
    return meta | ({"columns": columns} if columns else {})


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


def statement(name: str, **parts: str) -> str:
    """The text of a file, without the .sql, with its {parts} filled in."""
    return (SQL_DIR / f"{name}.sql").read_text(encoding="utf-8").format(**parts)


def tables() -> dict[str, dict[str, Any]]:
    """Every table's header (title, grain, columns), by table name."""
    return _tables(SQL_DIR)


@cache
def _tables(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: header(path) for path in sorted((folder / "tables").glob("*.sql"))}


def declarations() -> list[Path]:
    """Every file that makes something which stays in a warehouse."""
    return [path for folder in ("tables", "macros", "views") for path in files(folder)]


def in_order() -> list[Path]:
    """The files of macros and views, each after those that it reads: DuckDB binds both when they are made."""
    paths = {path.stem: path for path in declarations() if path.parent.name != "tables"}
    reads = {name: _names_read(path) & paths.keys() - {name} for name, path in paths.items()}
    return [paths[name] for name in TopologicalSorter(reads).static_order()]


def _names_read(path: Path) -> set[str]:
    """What stands after `from` and `join`, before a bracket, or as a table macro's argument in quotes."""
    found = re.findall(r"\b(?:from|join)\s+(\w+)|\b(\w+)\(|\('(\w+)'", path.read_text(encoding="utf-8"))
    return {name for names in found for name in names}


def declared() -> list[Path]:
    """The declarations in the order in which they run."""
    return [*files("tables"), *in_order()]


def comments() -> dict[tuple[str, str, str | None], str]:
    """What each table, view, column and macro is for: (kind, its name, column or None) → text.

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
    for path in files("macros"):
        kind = "macro table" if re.search(r"\) as table\b", path.read_text(encoding="utf-8")) else "macro"
        texts[kind, path.stem, None] = header(path)["about"]
    return texts
