"""What a report says of one saved query: its rows, its chart, its verdicts, the SQL that anyone may run again."""

import contextlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
from markupsafe import Markup

from eigenhouse.analyses.answers import asking, formats, saved, tables
from eigenhouse.analyses.answers.saved import SavedQuery
from eigenhouse.analyses.charts import charts
from eigenhouse.analyses.charts.limits import AsksForModel
from eigenhouse.analyses.charts.pictures import Rows, Spec
from eigenhouse.analyses.report import pages
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.selection import Bound

LISTINGS = ("models", "model_comparison")  # what the first page opens with
MOST_ROWS = 12  # of an answer, on a page
UNCUT = 10_000_000  # letters of a cell
# what may hold a $name that is no parameter, then a parameter
TOKENS = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(?P<name>\w+)")

Verdicts = dict[str, dict[str, str]]  # query → model_id → sentence


@dataclass(frozen=True)
class Section:
    """A query answered for one model, or for all of them."""

    home: str  # folder of its files
    query: SavedQuery
    parameters: dict[str, Any]
    names: list[str]
    rows: Rows
    spec: Spec | None  # None where the query has no chart
    verdicts: dict[str, str]  # model_id → sentence

    @property
    def data(self) -> str:
        return f"data/{self.home}/{self.query.name}.csv"

    @property
    def picture(self) -> str | None:
        return f"images/{self.home}/{self.query.name}.png" if self.spec else None

    @property
    def drawing(self) -> Markup | None:
        return pages.drawing(self.spec, f"{self.query.title}. {self.query.reading}") if self.spec else None

    @property
    def table(self) -> list[tables.Column]:
        """The first rows, as cells."""
        is_of_one = isinstance(self.parameters.get("model"), str)
        names = [name for name in self.names if name != "model_id" or not is_of_one]
        return columns(names, self.rows[: self.most_rows])

    @property
    def most_rows(self) -> int:
        return len(self.rows) if self.query.name in LISTINGS else MOST_ROWS

    @property
    def is_cut(self) -> bool:
        return len(self.rows) > self.most_rows

    @property
    def sql(self) -> str:
        """The query with its parameters filled in: it runs as it stands in any DuckDB client."""
        return filled(self.query.sql, self.parameters)

    @property
    def command(self) -> str:
        """What draws it again."""
        given = {name.upper(): charts.spelled(value) for name, value in self.parameters.items() if value is not None}
        words = [f"Q={self.query.name}", *(f"{name}={value}" for name, value in given.items())]
        return f"make {'query' if self.spec is None else 'chart'} {shlex.join(words)}"

    @property
    def notes(self) -> list[str]:
        """What the chart says below its reading, the parameters that have a default, and what SQL alone leaves out."""
        notes = self.spec["usermeta"]["notes"] if self.spec else []
        others = [f"{name} = {value}" for name, value in self.parameters.items() if name != "model"]
        routine = sqlfiles.header(sqlfiles.SQL_DIR / "queries" / f"{self.query.name}.sql").get("routine")
        return [*notes, *others, *([f"The SQL's rows go through analyses/routines/{routine}.py."] if routine else [])]


def answered(
    con: duckdb.DuckDBPyConnection, home: str, model: Bound | None, verdicts: Verdicts, *, compares: bool
) -> Iterator[Section]:
    """Every saved query with something to show, theme by theme; on a model's page those that can be asked of one.

    verdicts: filled on the models' pages; the page that compares them takes its sentences from there.
    """
    for query in saved.every():
        if query.name not in LISTINGS and (compares or "model" in query.parameters):
            section = one(con, query, home, model, verdicts, asks=not compares)
            if section.rows and (section.spec or not query.chart):
                yield section


def one(
    con: duckdb.DuckDBPyConnection,
    query: SavedQuery,
    home: str,
    model: Bound | None,
    verdicts: Verdicts,
    *,
    asks: bool = False,
) -> Section:
    """The query for the model, or for all without one; asks: its verdict is asked for too, and put into verdicts."""
    given = {"model": model} if "model" in query.parameters else {}
    with _named(query.name):
        types, rows, spec = _drawn(con, query, given)
    known = verdicts.setdefault(query.name, {})
    if asks:
        known |= verdict(con, query, given)
    shown = [model] if isinstance(model, str) else model
    said = {name: sentence for name, sentence in known.items() if shown is None or name in shown}
    return Section(home, query, query.bind(given), list(types), rows, spec, said)


def _drawn(
    con: duckdb.DuckDBPyConnection, query: SavedQuery, given: dict[str, Any]
) -> tuple[dict[str, str], Rows, Spec | None]:
    """The answer's types and rows, and its chart; without a row where its models can only be drawn one by one."""
    try:
        charts.want_worth_asking(con, query, given)
        types, rows = charts.answer(con, query, given)
        return types, rows, charts.drawn(con, query) if query.chart and rows else None
    except AsksForModel:
        return {}, [], None


def verdict(con: duckdb.DuckDBPyConnection, query: SavedQuery, given: dict[str, Any]) -> dict[str, str]:
    """What sql/verdicts/ says of each model, right after the query was asked: it reads the query's rows as `answer`."""
    path = sqlfiles.SQL_DIR / "verdicts" / f"{query.name}.sql"
    if not path.exists():
        return {}
    with _named(f"verdicts/{query.name}"):
        asking.ask(con, path.read_text(encoding="utf-8"), query.bind(given))
        return {row["model_id"]: row["sentence"] for row in formats.records(con)}


def filled(sql: str, parameters: dict[str, Any]) -> str:
    """The SQL without its header, a literal in the place of each $parameter."""
    body = "\n".join(line for line in sql.splitlines() if not line.startswith(sqlfiles.MARK)).strip()
    return TOKENS.sub(lambda token: _literal(parameters[token["name"]]) if token["name"] else token[0], body)


def _literal(value: Any) -> str:
    match value:
        case None:
            return "null"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
    return str(value)


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """A mistake says whose it is."""
    try:
        yield
    except EigenhouseError as error:
        raise EigenhouseError(f"{name}: {error}") from error


def columns(names: list[str], rows: Rows) -> list[tables.Column]:
    """Rows as columns of cells, nothing cut."""
    return [tables.column(name, [row[name] for row in rows], UNCUT) for name in names]
