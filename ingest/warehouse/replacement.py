"""Rows of a table put in place of older ones, and checked before the commit."""

from __future__ import annotations

import re
from typing import NoReturn

import duckdb

from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.building import Connection
from eigenhouse.ingest.warehouse.loads import StackLoad
from eigenhouse.ingest.warehouse.rows import Found, Rows
from eigenhouse.ingest.warehouse.sqlfiles import statement

WHOLE, REAL = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?\b"), re.compile(r"(FLOAT|DOUBLE)\b")


class Replacement:
    """The rows of one table that a load replaces: the stack's, within the scope of the stages that it brings."""

    def __init__(self, con: Connection, stack: StackLoad, model_key: int, table: str) -> None:
        staged = stack.tables[table]
        if table not in sqlfiles.tables():
            raise EigenhouseError(f"{stack.model_id}: rows are staged for {table}, which is no table of the warehouse")
        self.con, self.model_id, self.table, self.staged = con, stack.model_id, table, staged
        self.files = [str(file) for file in staged.files]
        want_columns(con, table, self.files)
        keys = [column for column in sqlfiles.tables()[table]["grain"] if column != "model_key"]
        self.model_key = {"model_key": model_key}
        scope = "model_key = $model_key" + (f" and ({staged.scope})" if staged.scope else "")
        named = {name: value for name, value in stack.parameters.items() if f"${name}" in staged.scope}
        self.rows = Rows(con, table, scope, self.model_key | named, keys)

    def write(self) -> int:
        """Put the staged rows in place of the old ones, in the order of the key, and check them; their number.

        Refused is what the table would declare, were it not too slow there, and what breaks the rule in sql/checks/.
        """
        rows, in_order, expected = self.rows, f"order by {', '.join(self.rows.keys)}", self.staged.expected
        found = self._insert("" if self.staged.is_sorted else in_order)
        if found.n_not_above and self.staged.is_sorted:
            found = self._insert(in_order)
        if expected is not None and found.n_rows != expected:
            self._refuse(f"{expected} rows, as the model's shape predicts", f"{found.n_rows} came")
        if found.n_not_above:
            self._refuse(
                f"one row for each ({', '.join(rows.keys)})", f"{found.n_not_above} rows have the key of another"
            )
        if found.n_not_finite:
            self._refuse("finite values", rows.first(rows.not_finite, rows.keys))
        if found.n_broken:
            self._refuse(rows.wanted, rows.first(rows.rule, rows.ruled))
        return found.n_rows

    def _insert(self, order: str) -> Found:
        self.con.execute(f"delete from {self.table} where {self.rows.scope}", self.rows.scoped)
        if self.files:
            try:
                insert = statement("load/insert_rows", table=self.table, order=order)
                self.con.execute(insert, {**self.model_key, "files": self.files})
            except duckdb.ConstraintException as error:
                self._refuse("rows that the table allows", first_line(error))
        return self.rows.found()

    def _refuse(self, wanted: str, came: str) -> NoReturn:
        raise EigenhouseError(f"{self.table} of {self.model_id}: wanted {wanted}; got {came}. Nothing was written")


def n_written(con: Connection) -> int:
    """Rows that the insert before wrote."""
    return int(con.fetchall()[0][0])


def want_columns(con: Connection, table: str, files: list[str]) -> None:
    """Refuse staged files that have others than the table, or some of another kind, which an insert would turn."""
    described = con.execute(f"describe {table}").fetchall() if files else []
    wanted = {name: kind for name, kind, *_ in described if name != "model_key"}
    for file in files:
        staged = con.execute("describe select * from read_parquet($files)", {"files": [file]}).fetchall()
        came = {name: kind for name, kind, *_ in staged}
        if came.keys() != wanted.keys():
            raise EigenhouseError(f"{table}: wanted the columns {sorted(wanted)}, {file} has {sorted(came)}")
        for name, kind in came.items():
            if _family(kind) != _family(wanted[name]) and _holds_a_value(con, file, name):
                raise EigenhouseError(f"{table}: wanted {wanted[name]} as {name}, {file} has {kind}")


def _holds_a_value(con: Connection, file: str, column: str) -> bool:
    """A column of nulls alone may be of any type, and has none where polars wrote it."""
    [[n_values]] = con.execute(f"select count({column}) from read_parquet($files)", {"files": [file]}).fetchall()
    return n_values > 0


def _family(kind: str) -> str:
    """Types of one family differ in width alone, and a value that doesn't fit is refused."""
    return WHOLE.sub("integer", REAL.sub("float", "VARCHAR" if kind.startswith("ENUM") else kind))
