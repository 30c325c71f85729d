"""What the warehouse holds of a model besides measurements, and of itself: the answers of sql/report/."""

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import duckdb

from eigenhouse.analyses.answers import asking, formats, tables
from eigenhouse.analyses.charts.pictures import Rows
from eigenhouse.analyses.report import sections
from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.selection import Bound

# what stands on a model's page below its own row, and the sentence where there are no rows
NONE = {
    "doubts": "None: its checkpoint is read as it was when it was measured.",
    "layers": "No layer is known: the model was imported from a file that does not name them.",
    "conformance": "Not compared: the model was imported, or its attention has not been run.",
    "skipped_modules": "Nothing was left out.",
    "prompts": "No attention was measured.",
    "ingest_runs": "No run is recorded.",
}


@dataclass(frozen=True)
class Fact:
    """A heading, and below it pairs of name, value and meaning, or a table, or a word why there is none."""

    title: str
    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    table: list[tables.Column] = field(default_factory=list)
    count: int | None = None  # rows
    none: str = ""


def models(con: duckdb.DuckDBPyConnection, model: Bound | None) -> Rows:
    """The rows of the models, without their keys."""
    return _rows(con, "models", {"model": model})[1]


def of_model(con: duckdb.DuckDBPyConnection, row: dict[str, Any]) -> list[Fact]:
    """The model's own row, and what hangs on it."""
    about = sqlfiles.tables()["models"]["columns"]
    cells = sections.columns(list(row), [row])
    pairs = [(name, cell, about[name]) for name, [cell], _ in cells if cell != "null"]
    found = [Fact("The model", pairs=pairs)]
    for name, none in NONE.items():
        names, rows = _rows(con, name, {"model": row["model_id"]})
        rows = [{column: _plain(column, value) for column, value in one.items()} for one in rows]
        title = sqlfiles.header(sqlfiles.SQL_DIR / "report" / f"{name}.sql")["title"]
        found.append(Fact(title, table=sections.columns(names, rows), count=len(rows), none=none))
    return found


def _plain(column: str, value: Any) -> Any:
    """JSON objects as words; of the options only those that were given."""
    if column not in ("options", "versions") or not value:
        return value
    said = {name: setting for name, setting in json.loads(value).items() if setting not in (None, False, "")}
    return " · ".join(f"{name} {setting}" for name, setting in said.items()) or "none"


def dictionary(con: duckdb.DuckDBPyConnection) -> list[tuple[str, list[dict[str, Any]]]]:
    """Tables, views, macros: each one's comment, and its columns with theirs, or how a macro is called."""
    _, rows = _rows(con, "dictionary", {})
    kinds = []
    for kind, of_kind in itertools.groupby(rows, key=lambda row: row["kind"]):
        relations = [
            {"name": name, "about": about, "columns": list(found)}
            for (name, about), found in itertools.groupby(of_kind, key=lambda row: (row["name"], row["about"]))
        ]
        kinds.append((kind, relations))
    return kinds


def _rows(con: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any]) -> tuple[list[str], Rows]:
    path = sqlfiles.SQL_DIR / "report" / f"{name}.sql"
    asking.ask(con, path.read_text(encoding="utf-8"), parameters)
    return formats.names(con), list(formats.records(con))
