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
    """Every table's header (title, grain, columns), by table name; those of kept views among them."""
    return _tables(SQL_DIR)


@cache
def _tables(folder: Path) -> dict[str, dict[str, Any]]:
    found = {path.stem: header(path) for path in sorted((folder / "tables").glob("*.sql"))}
    keys = _key_texts(found)
    return found | {kept_table(path): _kept_header(path, keys) for path in files("views") if is_kept(path)}


def _key_texts(tables: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {column: meta["columns"][column] for meta in tables.values() for column in meta["grain"]}


def is_kept(view: Path) -> bool:
    """Whether the loader keeps the view's rows in a table of their own, and the view only names their model."""
    return bool(header(view).get("kept"))


def kept_table(view: Path) -> str:
    """The name of the table that holds the rows of a kept view."""
    return f"{view.stem}_rollup"


def _kept_header(view: Path, keys: dict[str, str]) -> dict[str, Any]:
    meta = header(view)
    described = {**keys, **meta.get("keys", {})}
    grain = ["model_key", *meta["grain"][1:]]
    return {
        "title": f"The rows of view {view.stem}, kept by the loader.",
        "grain": grain,
        "columns": {column: described[column] for column in grain} | meta["columns"],
    }


def kept() -> list[Path]:
    """The files of views whose rows are kept, each after those that it reads."""
    return _kept(SQL_DIR)


@cache
def _kept(folder: Path) -> list[Path]:
    return [path for path in in_order() if path.parent == folder / "views" and is_kept(path)]


def kept_tables() -> set[str]:
    return {kept_table(path) for path in files("views") if is_kept(path)}


def selected(view: Path) -> str:
    """What makes the rows of a view, without the words that make it one."""
    return view.read_text(encoding="utf-8").partition(f"view {view.stem} as")[2].strip().rstrip(";")


def declarations() -> list[Path]:
    """Every file that makes something which stays in a warehouse."""
    return [path for folder in ("tables", "macros", "views") for path in files(folder)]


def in_order() -> list[Path]:
    """The files of macros and views, each after those that it reads: DuckDB binds both when they are made."""
    paths = {path.stem: path for path in declarations() if path.parent.name != "tables"}
    reads = {name: _names_read(path) & paths.keys() - {name} for name, path in paths.items()}
    return [paths[name] for name in TopologicalSorter(reads).static_order()]


def tables_read(view: Path) -> frozenset[str]:
    """The tables that a view is made of in the end."""
    return frozenset(path.stem for path in files_read(view) if path.parent.name == "tables")


@cache
def files_read(view: Path) -> tuple[Path, ...]:
    """The declarations that a view is made of in the end, its own among them, by name."""
    paths = {path.stem: path for path in declarations()}
    found: set[str] = set()
    left = {view.stem}
    while left:
        found |= left
        left = {name for each in left for name in _names_read(paths[each]) & paths.keys()} - found
    return tuple(paths[name] for name in sorted(found))


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
    keys = _key_texts({path.stem: header(path) for path in files("tables")})
    for name, meta in tables().items():
        texts["table", name, None] = meta["title"]
        texts.update({("table", name, column): text for column, text in meta["columns"].items()})
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
