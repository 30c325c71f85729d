"""A condition on models (`n_layers > 20 and architecture = 'llama'`), which is a user's text, evaluated harmlessly.

It is asked of a copy of the models' rows, in a database in memory that is locked: no file, network or setting can be
reached from there, nor the warehouse itself, and memory and time are bounded.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NoReturn

import duckdb

from eigenhouse.errors import EigenhouseError, first_line, shortened
from eigenhouse.ingest.warehouse.building import Connection

TABLES = ("models",)  # what a condition may name; a further one (tags) goes in here, with a macro to read it in _alone
SETTINGS = {
    "threads": 1, "memory_limit": "1GB", "max_temp_directory_size": "0B", "python_enable_replacements": False,
    "enable_external_access": False,
}  # fmt: skip
SECONDS = 10.0
MOST_DEPTH = 64  # of DuckDB's tree: what is nested deeper can take it minutes to bind, which can't be interrupted
WANTED = "want one condition on columns of models, as where:n_layers > 20 and architecture = 'llama'"
MISSING_COLUMN = re.compile(r'(?:Referenced column|does not have a column named) "([^"]*)"')


def meeting(con: Connection, condition: str) -> set[int]:
    """The keys of the models that meet it. Raises EigenhouseError for what is no condition."""
    with _alone(con) as copy:
        try:
            _want_one_expression(copy, condition)
            where = f"from models where ({condition}\n)"
            copy.execute(f"describe select 1 {where}")  # a condition on rows: no aggregate, no window
            kinds = [row[1] for row in copy.execute(f"describe select ({condition}\n) from models").fetchall()]
            if kinds != ["BOOLEAN"]:
                got = kinds[0] if len(kinds) == 1 else f"{len(kinds)} values"
                raise EigenhouseError(f"{WANTED}; {_shown(condition)} is {got}, not true or false")
            return {key for (key,) in copy.execute(f"select model_key {where}").fetchall()}
        except (duckdb.Error, UnicodeError) as error:
            _refuse(copy, condition, error)


@contextmanager
def _alone(con: Connection) -> Iterator[Connection]:
    """The copy: it ends a condition that takes too long."""
    with closing(duckdb.connect(config=dict[str, Any](SETTINGS))) as copy:
        for table in TABLES:
            kinds = json.dumps([{row[0]: row[1] for row in con.execute(f"describe {table}").fetchall()}])
            # as one text: DuckDB looks for pandas anew at every value that it is handed, 0.2 ms each
            [[rows]] = con.execute(f"select json_group_array({table})::varchar from {table}").fetchall()
            copied = "select unnest(from_json($rows, $kinds), recursive := true)"
            copy.execute(f"create table {table} as {copied}", {"rows": rows, "kinds": kinds})
        copy.execute("set lock_configuration = true")
        timer = threading.Timer(SECONDS, copy.interrupt)
        timer.start()
        try:
            yield copy
        finally:
            timer.cancel()


def _want_one_expression(copy: Connection, condition: str) -> None:
    """By DuckDB's own tree: a select of this and no more is what a select of `true` is, but for what is selected."""
    if not condition.strip():
        raise EigenhouseError(f"{WANTED}; got nothing after where:")
    got, plain = _tree(copy, condition), _tree(copy, "true")
    if len(got.pop("select_list", [])) != len(plain.pop("select_list")) or got != plain:
        raise EigenhouseError(f"{WANTED}; got more than one expression: {_shown(condition)}")


def _tree(copy: Connection, condition: str) -> dict[str, Any]:
    """`is null` after it: nothing but an expression can stand there."""
    sql = f"select ({condition}\n) is null"
    sql.encode()  # DuckDB has no word for what is no text
    [[text]] = copy.execute("select json_serialize_sql($sql)", {"sql": sql}).fetchall()
    if _depth(text) > MOST_DEPTH:
        raise EigenhouseError(f"{WANTED}; {_shown(condition)} is nested too deeply")
    tree = json.loads(text)
    if tree["error"]:
        raise duckdb.ParserException(tree["error_message"])
    statements: list[dict[str, Any]] = tree["statements"]
    return statements[0]["node"] if len(statements) == 1 else {}


def _depth(text: str) -> int:
    """Of JSON: how many brackets are open at once."""
    brackets = re.sub(r'"(?:[^"\\]|\\.)*"|[^][{}]', "", text)
    return max(itertools.accumulate(1 if bracket in "[{" else -1 for bracket in brackets))


def _refuse(copy: Connection, condition: str, error: Exception) -> NoReturn:
    said = f"where:{_shown(condition)}: "
    if isinstance(error, duckdb.InterruptException):
        raise EigenhouseError(f"{said}no answer after {SECONDS:g} s") from error
    if missing := MISSING_COLUMN.search(str(error)):
        columns = [row[0] for row in copy.execute("describe models").fetchall()]
        near = difflib.get_close_matches(missing[1].lower(), columns, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"text stands in single quotes: '{missing[1]}'"
        raise EigenhouseError(f"{said}models has no column {missing[1]}; {hint}") from error
    raise EigenhouseError(f"{said}{first_line(error)}") from error


def _shown(condition: str) -> str:
    return shortened(condition, 100)
