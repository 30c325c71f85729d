"""Rows of a table put in place of older ones, and checked before the commit."""

from __future__ import annotations

from typing import Any, NoReturn

import duckdb

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.building import Connection
from eigenhouse.ingest.warehouse.loads import StackLoad


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

    def write(self) -> int:
        """Put the staged rows in place of the old ones, in the order of the key; their number."""
        in_order, expected = f"order by {', '.join(self.keys)}", self.staged.expected
        n_rows, n_not_above = self._insert("" if self.staged.is_sorted else in_order)
        if n_not_above and self.staged.is_sorted:
            n_rows, n_not_above = self._insert(in_order)
        if expected is not None and n_rows != expected:
            self._refuse(f"{expected} rows, as the model's shape predicts", f"{n_rows} came")
        if n_not_above:
            self._refuse(f"one row for each ({', '.join(self.keys)})", f"{n_not_above} rows have the key of another")
        return n_rows

    def _insert(self, order: str) -> tuple[int, int]:
        self.con.execute(f"delete from {self.table} where {self.scope}", self.scoped)
        if self.files:
            try:
                insert = statement("load/insert_rows", table=self.table, order=order)
                self.con.execute(insert, {**self.model_key, "files": self.files})
            except duckdb.ConstraintException as error:
                self._refuse("rows that the table allows", str(error).splitlines()[0])
        return self._count()

    def _count(self) -> tuple[int, int]:
        """Rows that are there, and how many of them have a key not above that of the row before."""
        not_above = "true"
        for key in reversed(self.keys):
            not_above = f"({key} < previous_{key} or ({key} = previous_{key} and {not_above}))"
        count = statement(
            "load/count_rows",
            table=self.table,
            scope=self.scope,
            keys=", ".join(self.keys),
            previous_keys=", ".join(f"lag({key}) over () as previous_{key}" for key in self.keys),
            not_above_previous=not_above,
        )
        [[n_rows, n_not_above]] = self.con.execute(count, self.scoped).fetchall()
        return n_rows, n_not_above

    def check_values(self) -> None:
        """Refuse what the table would declare, were it not too slow there, and what sql/checks/ adds."""
        if all_finite := self._all_finite():
            parts = {"table": self.table, "scope": self.scope, "all_finite": all_finite}
            find = statement("load/find_not_finite", keys=", ".join(self.keys), **parts)
            self._want_none(find, self.scoped, "finite values")
        rule = sqlfiles.SQL_DIR / "checks" / f"{self.table}.sql"
        if rule.exists():
            self._want_none(rule.read_text(encoding="utf-8"), self.model_key, sqlfiles.header(rule)["wanted"])

    def _all_finite(self) -> str:
        """A condition over the table's floating-point columns; empty where it has none."""
        columns = self.con.execute(f"describe {self.table}").fetchall()
        # a sum of FLOATs is kept in DOUBLE: no overflow, so it is finite exactly when every term is
        numbers = [name for name, kind, *_ in columns if kind in ("FLOAT", "DOUBLE")]
        lists = [f"list_sum({name})" for name, kind, *_ in columns if kind == "FLOAT[]"]
        return " and ".join(f"isfinite({value})" for value in numbers + lists)

    def _want_none(self, query: str, parameters: dict[str, Any], wanted: str) -> None:
        bad = self.con.execute(query, parameters)
        names = [column[0] for column in bad.description]
        for row in bad.fetchall():
            came = ", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True))
            self._refuse(wanted, came)

    def _refuse(self, wanted: str, came: str) -> NoReturn:
        raise EigenhouseError(f"{self.table} of {self.model_id}: wanted {wanted}; got {came}. Nothing was written")


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
