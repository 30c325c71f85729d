"""Summaries that a load writes beside the rows they are made of: made anew, and compared.

Two are of heads and have files of their own in sql/rollups/. The others are the rows of views whose header says `kept`:
their file says what the rows are made of, and in a warehouse the view shows the table that holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from eigenhouse.ingest.warehouse import checksums, sqlfiles

Connection = duckdb.DuckDBPyConnection
TOLERANCE = 1e-9  # of a value, and where it is below 1: threads add up in no certain order
AT_ONCE = 32  # models whose rows are made in one statement


def every() -> list[Path]:
    """The files that say what rollups are made of, each after those that it reads."""
    return [*sqlfiles.files("rollups"), *sqlfiles.kept()]


def table_of(path: Path) -> str:
    return sqlfiles.kept_table(path) if path.parent.name == "views" else path.stem


def sources(path: Path) -> frozenset[str]:
    """The tables whose rows a rollup is made of."""
    return sqlfiles.tables_read(path) if path.parent.name == "views" else frozenset([sqlfiles.header(path)["source"]])


def declare(con: Connection, view: Path) -> None:
    """The table of a kept view, without a row, and the view that shows it."""
    table = table_of(view)
    con.execute(
        f"create or replace table {table} as "
        f"select 0::bigint as model_key, * exclude (model_id) from ({sqlfiles.selected(view)}) limit 0"
    )
    con.execute(
        f"create or replace view {view.stem} as select models.model_id, {table}.* exclude (model_key) "
        f"from {table} inner join models on {table}.model_key = models.model_key"
    )


def fill_kept(con: Connection) -> None:
    """The rows of all kept views, whose tables have none yet, and what stands for them."""
    models = con.execute("select model_key from models order by model_key").fetchall()
    with _one_thread(con):
        for some in _batches(key for (key,) in models):
            for view in sqlfiles.kept():
                _insert(con, view, some)
    checksums.renew(con, {table_of(view): () for view in sqlfiles.kept()})


def fill(con: Connection, model_keys: Iterable[int], changed: set[str]) -> dict[str, int]:
    """Make anew what these models' rollups have of the tables that changed; rows written by rollup."""
    written: dict[str, int] = {}
    with _one_thread(con):
        for path in every():
            if sources(path) & (changed | written.keys()):
                for some in _batches(model_keys):
                    table = table_of(path)
                    con.execute(f"delete from {table} where model_key in ({_listed(some)})")
                    written[table] = written.get(table, 0) + _insert(con, path, some)
    return written


@contextmanager
def _one_thread(con: Connection) -> Iterator[None]:
    """Several add up in no certain order: one gives the same digits of rows that lie in the same order."""
    [[before]] = con.execute("select current_setting('threads')").fetchall()
    con.execute("set threads = 1")
    try:
        yield
    finally:
        con.execute(f"set threads = {before}")


def _insert(con: Connection, path: Path, model_keys: list[int]) -> int:
    if path.parent.name == "views":
        return _insert_kept(con, path, model_keys)
    statement = path.read_text(encoding="utf-8")
    return sum(int(con.execute(statement, {"model_key": key}).fetchall()[0][0]) for key in model_keys)


def _insert_kept(con: Connection, view: Path, model_keys: list[int]) -> int:
    """By the models' names, as a question asks: that filter reaches the scans of the facts."""
    named = con.execute(f"select model_id from models where model_key in ({_listed(model_keys)})").fetchall()
    marks = ", ".join("?" * len(named))
    statement = sqlfiles.statement(
        "load/keep",
        table=table_of(view),
        select=sqlfiles.selected(view),
        names=marks,
        keys=", ".join(sqlfiles.tables()[table_of(view)]["grain"]),
    )
    return int(con.execute(statement, [name for (name,) in named]).fetchall()[0][0])


def faults(con: Connection, model_keys: Iterable[int]) -> Iterator[tuple[int, str]]:
    """The models whose rollups aren't what their rows give, and in what. The connection may be for reading only."""
    [[database]] = con.execute("select current_database()").fetchall()
    for some in _batches(model_keys):
        for path in every():
            table = table_of(path)
            con.execute(f"create or replace temp table {table} as from {table} limit 0")
            try:
                _insert(con, path, some)  # a temporary table goes before one of the file
                differing = sqlfiles.statement(
                    "load/rollup",
                    stored=f'"{database}".main.{table}',
                    table=table,
                    models=_listed(some),
                    same_key=" and ".join(_same(key) for key in sqlfiles.tables()[table]["grain"]),
                    differs=" or ".join(_differs(column) for column in sqlfiles.tables()[table]["columns"]),
                )
                found = con.execute(differing).fetchall()
            finally:
                con.execute(f"drop table temp.{table}")
            made_of = " and ".join(sorted(sources(path) - {"models", "layers"}))
            for model_key, n_wrong in found:
                yield model_key, f"{table}: {n_wrong:,} rows are not what those of {made_of} give"


def _same(key: str) -> str:
    """A key may be null, such as the prompt set of a model without attention."""
    return f"there.{key} is not distinct from anew.{key}"


def _differs(column: str) -> str:
    """Numbers may differ by rounding; anything else is equal, or no number on either side."""
    there, anew = f"try_cast(there.{column} as double)", f"try_cast(anew.{column} as double)"
    is_near = f"abs({there} - {anew}) <= {TOLERANCE} * greatest(abs({anew}), 1)"
    return f"not coalesce(there.{column} is not distinct from anew.{column} or {is_near}, false)"


def _batches(model_keys: Iterable[int]) -> Iterator[list[int]]:
    """Models that lie side by side: their rows are read by few scans, and no more are held at once."""
    keys = sorted(model_keys)
    return (keys[place : place + AT_ONCE] for place in range(0, len(keys), AT_ONCE))


def _listed(model_keys: list[int]) -> str:
    return ", ".join(map(str, model_keys))
