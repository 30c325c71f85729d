"""Rows of a table looked over in one scan: keys, finite numbers, and the rule that sql/checks/ has for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.building import Connection
from eigenhouse.ingest.warehouse.sqlfiles import statement

SECTION_ROWS = 500_000


@dataclass(frozen=True)
class Found:
    """What load/extent.sql and load/check_rows.sql count."""

    n_rows: int
    n_not_above: int
    n_not_finite: int
    n_broken: int


class Rows:
    """Those of a table that pass `scope`, an SQL condition with values for what it names; keys: their key's columns."""

    def __init__(self, con: Connection, table: str, scope: str, scoped: dict[str, Any], keys: list[str]) -> None:
        self.con, self.table, self.scope, self.scoped, self.keys = con, table, scope, scoped, keys
        self.rule, self.wanted = _rule(table)

    def found(self) -> Found:
        """How many there are, and what is wrong with them."""
        [n_rows, *ends] = self._one_row("load/extent")
        if not n_rows:
            return Found(0, 0, 0, 0)
        faults = {"not_above_previous": self.not_above, "not_finite": self.not_finite, "broken": self.rule}
        sections = "\nunion all\n".join(
            self.statement("load/section", first=str(first), last=str(last), fault=" or ".join(faults.values()))
            for first, last in pairwise(self._bounds(n_rows, *ends))
        )
        return Found(n_rows, *self._one_row("load/check_rows", sections=sections, **faults))

    def _bounds(self, n_rows: int, first: int, last: int) -> list[int]:
        """Rows between which threads check them side by side, the first and the last among them.

        One streaming pass is one thread's work, which takes a third of the time that an insert by two takes.
        """
        n_sections = n_rows // SECTION_ROWS
        if n_sections < 2:
            return [first, last]
        [n_threads] = self.con.execute("select current_setting('threads')").fetchall()[0]
        n_sections = min(n_threads, n_sections)
        places = [first + (last - first) * n // n_sections for n in range(1, n_sections)]
        return [first, *(self._one_row("load/next_row", place=str(place))[0] for place in places), last]

    def _one_row(self, name: str, **parts: str) -> list[Any]:
        [row] = self.con.execute(self.statement(name, **parts), self.scoped).fetchall()
        return list(row)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Column → its type."""
        return {name: kind for name, kind, *_ in self.con.execute(f"describe {self.table}").fetchall()}

    @cached_property
    def not_above(self) -> str:
        """A condition that a row passes whose key isn't above that of the row before."""
        not_above = "true"
        for key in reversed(self.keys):
            not_above = f"({key} < previous_{key} or ({key} = previous_{key} and {not_above}))"
        return not_above

    @cached_property
    def not_finite(self) -> str:
        """A condition that a row passes where one of its floating-point numbers isn't finite."""
        # a sum of FLOATs is kept in DOUBLE: no overflow, so it is finite exactly when every term is
        numbers = [name for name, kind in self.kinds.items() if kind in ("FLOAT", "DOUBLE")]
        lists = [f"list_sum({name})" for name, kind in self.kinds.items() if kind == "FLOAT[]"]
        return " or ".join(f"not isfinite({value})" for value in numbers + lists) or "false"

    @property
    def ruled(self) -> list[str]:
        """The key's columns and those that the rule names."""
        named = [column for column in self.kinds if re.search(rf"\b{column}\b", self.rule)]
        return list(dict.fromkeys([*self.keys, *named]))

    def first(self, fault: str, shown: list[str]) -> str:
        """These columns of the first row at fault, in words."""
        row = self._one_row("load/find_row", fault=fault, shown=", ".join(shown))
        return ", ".join(f"{name}={value}" for name, value in zip(shown, row, strict=True))

    def statement(self, name: str, **parts: str) -> str:
        """One over these rows, with each column of the row before that it may name."""
        before = dict.fromkeys([*self.keys, *re.findall(r"\bprevious_(\w+)", self.rule)])
        previous = ", ".join(f"lag({column}) over () as previous_{column}" for column in before)
        return statement(name, table=self.table, scope=self.scope, previous=previous, **parts)


def _rule(table: str) -> tuple[str, str]:
    """The condition that no row may pass, and what is wanted instead, in words."""
    path = sqlfiles.SQL_DIR / "checks" / f"{table}.sql"
    if not path.exists():
        return "false", ""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "({})".format("\n".join(line for line in lines if not line.startswith("--"))), sqlfiles.header(path)[
        "wanted"
    ]
