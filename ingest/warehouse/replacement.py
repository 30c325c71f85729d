"""Rows of a table put in place of older ones, and checked before the commit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NoReturn

import duckdb

from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.building import Connection
from eigenhouse.ingest.warehouse.loads import StackLoad

SECTION_ROWS = 500_000


@dataclass(frozen=True)
class Found:
    """What load/extent.sql and load/check_rows.sql count."""

    n_rows: int
    n_not_above: int
    n_not_finite: int
    n_broken: int


class Replacement:
    """The rows of one table that a load replaces: the stack's, within the scope of the stages that it brings."""

    def __init__(self, con: Connection, stack: StackLoad, model_key: int, table: str) -> None:
        staged = stack.tables[table]
        if table not in sqlfiles.tables():
            raise EigenhouseError(f"{stack.model_id}: rows are staged for {table}, which is no table of the warehouse")
        self.con, self.model_id, self.table, self.staged = con, stack.model_id, table, staged
        self.files = [str(file) for file in staged.files]
        want_columns(con, table, self.files)
        self.keys = [column for column in sqlfiles.tables()[table]["grain"] if column != "model_key"]
        self.model_key = {"model_key": model_key}
        self.scope = "model_key = $model_key" + (f" and ({staged.scope})" if staged.scope else "")
        named = {name: value for name, value in stack.parameters.items() if f"${name}" in staged.scope}
        self.scoped: dict[str, Any] = self.model_key | named
        self.rule, self.wanted = _rule(table)

    def write(self) -> int:
        """Put the staged rows in place of the old ones, in the order of the key, and check them; their number.

        Refused is what the table would declare, were it not too slow there, and what breaks the rule in sql/checks/.
        """
        in_order, expected = f"order by {', '.join(self.keys)}", self.staged.expected
        found = self._insert("" if self.staged.is_sorted else in_order)
        if found.n_not_above and self.staged.is_sorted:
            found = self._insert(in_order)
        if expected is not None and found.n_rows != expected:
            self._refuse(f"{expected} rows, as the model's shape predicts", f"{found.n_rows} came")
        if found.n_not_above:
            self._refuse(
                f"one row for each ({', '.join(self.keys)})", f"{found.n_not_above} rows have the key of another"
            )
        if found.n_not_finite:
            self._refuse("finite values", self._first(self.not_finite, self.keys))
        if found.n_broken:
            named = [column for column in self.kinds if re.search(rf"\b{column}\b", self.rule)]
            self._refuse(self.wanted, self._first(self.rule, list(dict.fromkeys([*self.keys, *named]))))
        return found.n_rows

    def _insert(self, order: str) -> Found:
        self.con.execute(f"delete from {self.table} where {self.scope}", self.scoped)
        if self.files:
            try:
                insert = statement("load/insert_rows", table=self.table, order=order)
                self.con.execute(insert, {**self.model_key, "files": self.files})
            except duckdb.ConstraintException as error:
                self._refuse("rows that the table allows", first_line(error))
        return self._check()

    def _check(self) -> Found:
        """The rows that are there, and what is wrong with them."""
        not_above = "true"
        for key in reversed(self.keys):
            not_above = f"({key} < previous_{key} or ({key} = previous_{key} and {not_above}))"
        faults = {"not_above_previous": not_above, "not_finite": self.not_finite, "broken": self.rule}
        [n_rows, *ends] = self._one_row("load/extent")
        if not n_rows:
            return Found(0, 0, 0, 0)
        sections = "\nunion all\n".join(
            self._statement("load/section", first=str(first), last=str(last), fault=" or ".join(faults.values()))
            for first, last in pairwise(self._bounds(n_rows, *ends))
        )
        return Found(n_rows, *self._one_row("load/check_rows", sections=sections, **faults))

    def _bounds(self, n_rows: int, first: int, last: int) -> list[int]:
        """Rows of the load between which threads check it side by side, the first and the last among them.

        One streaming pass is one thread's work, which takes a third of the time that an insert by two takes.
        """
        [n_threads] = self.con.execute("select current_setting('threads')").fetchall()[0]
        n_sections = max(1, min(n_threads, n_rows // SECTION_ROWS))
        places = [first + (last - first) * n // n_sections for n in range(1, n_sections)]
        return [first, *(self._one_row("load/next_row", place=str(place))[0] for place in places), last]

    def _one_row(self, name: str, **parts: str) -> list[Any]:
        [row] = self.con.execute(self._statement(name, **parts), self.scoped).fetchall()
        return list(row)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Column → its type."""
        return {name: kind for name, kind, *_ in self.con.execute(f"describe {self.table}").fetchall()}

    @cached_property
    def not_finite(self) -> str:
        """A condition that a row passes where one of its floating-point numbers isn't finite."""
        # a sum of FLOATs is kept in DOUBLE: no overflow, so it is finite exactly when every term is
        numbers = [name for name, kind in self.kinds.items() if kind in ("FLOAT", "DOUBLE")]
        lists = [f"list_sum({name})" for name, kind in self.kinds.items() if kind == "FLOAT[]"]
        return " or ".join(f"not isfinite({value})" for value in numbers + lists) or "false"

    def _first(self, fault: str, shown: list[str]) -> str:
        """These columns of the first row at fault, in words."""
        row = self._one_row("load/find_row", fault=fault, shown=", ".join(shown))
        return ", ".join(f"{name}={value}" for name, value in zip(shown, row, strict=True))

    def _statement(self, name: str, **parts: str) -> str:
        """One over the load's rows, with each column of the row before that it may name."""
        before = dict.fromkeys([*self.keys, *re.findall(r"\bprevious_(\w+)", self.rule)])
        previous = ", ".join(f"lag({column}) over () as previous_{column}" for column in before)
        return statement(name, table=self.table, scope=self.scope, previous=previous, **parts)

    def _refuse(self, wanted: str, came: str) -> NoReturn:
        raise EigenhouseError(f"{self.table} of {self.model_id}: wanted {wanted}; got {came}. Nothing was written")


def _rule(table: str) -> tuple[str, str]:
    """The condition that no row may pass, and what is wanted instead, in words."""
    path = sqlfiles.SQL_DIR / "checks" / f"{table}.sql"
    if not path.exists():
        return "false", ""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "({})".format("\n".join(line for line in lines if not line.startswith("--"))), sqlfiles.header(path)[
        "wanted"
    ]


def statement(name: str, **parts: str) -> str:
    return (sqlfiles.SQL_DIR / f"{name}.sql").read_text(encoding="utf-8").format(**parts)


def n_written(con: Connection) -> int:
    """Rows that the insert before wrote."""
    return int(con.fetchall()[0][0])


def want_columns(con: Connection, table: str, files: list[str]) -> None:
    wanted = sqlfiles.tables()[table]["columns"].keys() - {"model_key"}
    for file in files:
        staged = con.execute("select * from read_parquet($files) limit 0", {"files": [file]}).description
        came = {column[0] for column in staged}
        if came != wanted:
            raise EigenhouseError(f"{table}: wanted the columns {sorted(wanted)}, {file} has {sorted(came)}")
