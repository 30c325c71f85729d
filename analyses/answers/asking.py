"""One question to the warehouse: parameters bound by name, mistakes answered with the names nearby."""

import contextlib
import difflib
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from eigenhouse.analyses import routines
from eigenhouse.analyses.answers import plain_types, statements
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import damage, selection, sqlfiles

MISSING_TABLE = re.compile(r"Table with name (\S+) does not exist")
MISSING_COLUMN = re.compile(r'(?:Referenced column|does not have a column named) "([^"]+)"')
CLOSED_FILE = re.compile(r'Cannot access (?:file|directory) "([^"]+)" - file system operations are disabled')
MISSING_MACRO = re.compile(r"Function with name (\S+) does not exist")
ANSWER, FRAME = "answer", "rows_of_a_routine"

Routine = Callable[[Any], Any]


def ask(
    con: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any], *, keep: bool = False, acts: bool = False
) -> None:
    """Ask one question; its rows are left in `con`. A mistake is refused with a hint.

    keep: the rows stay as the temporary table `answer` too, for what is asked of them next.
    acts: every statement is run, whatever it does; the last one's rows are left.

    Where the SQL's header names a routine, the rows go through it, and what comes back is `answer`.
    """
    name = routine_of(sql)
    routine = _routine(name) if name else None
    with explained(con):
        for place, statement in enumerate(con.extract_statements(sql) if acts else statements.reading(con, sql)):
            values = _values(statement.named_parameters, parameters)
            if place == 0 and (routine or keep):
                _keep(con, statement.query, values, routine)
            else:
                con.execute(statement, values)


def routine_of(sql: str) -> str | None:
    """The name of the routine that the SQL's rows go through, where its header has one."""
    name = sqlfiles.header_of(sql).get("routine")
    return None if name is None else str(name)


def _keep(con: duckdb.DuckDBPyConnection, query: str, values: dict[str, Any], routine: Routine | None) -> None:
    """The rows, or what the routine makes of them, as `answer`, and in `con`; in memory, whatever the file allows."""
    if routine:
        con.register(FRAME, routine(con.execute(query, values).pl()))
        query, values = f"from {FRAME}", {}
    con.execute(f"create or replace temp table {ANSWER} as {query}", values)
    con.execute(f"from {ANSWER}")


def of_own(con: duckdb.DuckDBPyConnection, sql: str, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a user's own SQL: `$model` is MODEL's text, `$models` the list of the models that it means.

    Refuses one that the SQL doesn't ask for: the answer would be to another question.
    """
    asked: set[str] = set()
    with contextlib.suppress(duckdb.Error):  # said when it is asked
        asked = {name.lower() for statement in con.extract_statements(sql) for name in statement.named_parameters}
        used = asked | ({"model"} if "models" in asked else set())
        if surplus := [name for name in given if name not in used]:
            raise EigenhouseError(
                f"the SQL has no ${surplus[0]}, so {surplus[0].upper()}={given[surplus[0]]} would do nothing; "
                f"write ${surplus[0]} where it belongs"
            )
    if "models" not in asked or "models" in given:
        return given
    text = given.get("model")
    models = selection.every(con) if text is None else selection.chosen(con, text)
    return given | {"models": list(models.values())}


def _routine(name: str) -> Routine:
    """The function `name` of analyses/routines/<name>.py: a polars frame in, a polars frame out."""
    is_there = name in {path.stem for path in Path(routines.__file__).parent.glob("*.py")}
    module = importlib.import_module(f"eigenhouse.analyses.routines.{name}") if is_there else None
    function = getattr(module, name, None)
    if function is None:
        raise EigenhouseError(f"there is no routine {name}: wanted a function {name} in analyses/routines/{name}.py")
    return function


def with_models(con: duckdb.DuckDBPyConnection, parameters: dict[str, Any]) -> dict[str, Any]:
    """A saved query's parameters with the models that MODEL means in the place of what was typed."""
    if parameters.get("model") is None:
        return parameters
    return parameters | {"model": selection.bound(selection.chosen(con, parameters["model"]).values())}


def want_models(con: duckdb.DuckDBPyConnection) -> None:
    """Refuse a warehouse without any."""
    if not selection.every(con):
        raise EigenhouseError("the warehouse holds no model: `make ingest`")


def _values(names: set[str], parameters: dict[str, Any]) -> dict[str, Any]:
    """What the statement's own parameters take; DuckDB refuses values that it did not ask for."""
    if unfilled := sorted(name for name in names if name.lower() not in parameters):
        have = ", ".join(f"${name}" for name in parameters) or "none is given"
        raise EigenhouseError(
            f"the SQL asks for ${unfilled[0]}, which has no value (have: {have}); "
            "MODEL=… fills $model and $models, and so do ANCHOR, OPERATOR, HEAD and K"
        )
    return {name: parameters[name.lower()] for name in names}


@contextlib.contextmanager
def explained(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """DuckDB's own message for a mistake in the SQL, with the names that may have been meant."""
    try:
        yield
    except duckdb.Error as error:
        if damage.is_damage(error):  # said with the file's name by who opened it
            raise
        if "'pytz'" in str(error):  # other types are never left to DuckDB's conversion
            raise EigenhouseError("a VARIANT holds a time with a zone; cast it, as with ::json") from error
        raise EigenhouseError(plain_types.said(error) + _hint(con, str(error))) from error


def _hint(con: duckdb.DuckDBPyConnection, message: str) -> str:
    if closed := CLOSED_FILE.search(message):
        return f"\nhint: a question reads the warehouse alone; FILES={closed[1]} lets your own SQL read that file too"
    if (missing := MISSING_MACRO.search(message)) and missing[1] in {path.stem for path in sqlfiles.files("macros")}:
        return f"\nhint: the warehouse was made before the macro {missing[1]}; `make views` adds it"
    columns: dict[str, list[str]] = {}
    with contextlib.suppress(duckdb.Error):
        rows = con.execute(
            "select column_name, table_name from duckdb_columns() "
            "where not internal and database_name = current_database()"
        ).fetchall()
        for column, table in rows:
            columns.setdefault(column, []).append(table)
    tables = sorted({table for found in columns.values() for table in found})
    if missing := MISSING_TABLE.search(message):
        if missing[1] in {path.stem for path in sqlfiles.files("views")}:
            return f"\nhint: the warehouse was made before the view {missing[1]}; `make views` adds it"
        near = difflib.get_close_matches(missing[1], tables, 3)
        asked = [name for name in tables if not name.endswith("_rollup")]  # those have views to ask
        return f"\nhint: near: {', '.join(near)}" if near else f"\nhint: there are {', '.join(asked)}"
    if missing := MISSING_COLUMN.search(message):
        found = difflib.get_close_matches(missing[1], columns, 3)
        near = [f"{column} in {', '.join(sorted(columns[column]))}" for column in found]
        return f"\nhint: near: {'; '.join(near)}" if near else ""
    return ""
