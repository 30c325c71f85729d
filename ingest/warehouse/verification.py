"""The warehouse looked over: what is damaged, lost, changed, or contradicts itself. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from eigenhouse.errors import first_line
from eigenhouse.ingest.warehouse import blocks, checksums, damage, rollups, selection, sqlfiles
from eigenhouse.ingest.warehouse.building import Connection
from eigenhouse.ingest.warehouse.rows import Rows

Say = Callable[[str], None]
Key = int | None
EVERYWHERE = "the warehouse"


@dataclass
class Verified:
    """What was looked at, and what was found; a fault without a model is the warehouse's own."""

    n_models: int = 0
    n_rows: int = 0
    unknown: set[str] = field(default_factory=set)  # models without a checksum that this DuckDB can compare
    faults: list[tuple[str, str]] = field(default_factory=list)  # model, what

    @property
    def bad(self) -> list[str]:
        return sorted({model for model, _ in self.faults if model != EVERYWHERE})


def damaged_blocks(path: Path) -> list[tuple[str, str]]:
    """As faults; asked before the file is opened."""
    places = blocks.damaged(path)
    if not places:
        return []
    holds = "what holds no rows, as an index, is made anew by `make compact`"
    return [(EVERYWHERE, f"{blocks.in_words(places)}; {holds}")]


class Verification:
    """One look over all models, or those that MODEL means."""

    def __init__(self, con: Connection, model: str | None) -> None:
        self.con, self.found = con, Verified()
        self.models = selection.chosen(con, model) if model else selection.every(con)
        self.found.n_models = len(self.models)
        self.is_whole = model is None
        self.unread: set[str] = set()

    def run(self) -> Verified:
        self.look_at_tables()
        self.compare_tables()
        self.ask_views()
        return self.found

    def look_at_tables(self) -> None:
        """Each by itself: every row is read."""
        for table, is_of_models in checksums.covered().items():
            if self._read(table, is_of_models):
                self._look(table, is_of_models)
        for table in checksums.LEFT_OUT:
            try:
                self.con.execute(f"from {table}").fetchall()
            except duckdb.Error as error:
                self._tell_unread(table, False, error)

    def compare_tables(self) -> None:
        """What of one table follows from another."""
        for path in sqlfiles.files("verify"):
            with self._asking(path.stem):
                self._compare(path)
        for model_key in self.models:
            with self._asking("rollups"):
                for what in rollups.faults(self.con, model_key):
                    self._fault(model_key, what)

    def ask_views(self) -> None:
        """Of the first model: it is the view that is looked at here."""
        for path in sqlfiles.files("views"):
            with self._asking(f"view {path.stem}"):
                first = next(iter(self.models.values()), "")
                self.con.execute(f"select * from {path.stem} where model_id = ? limit 1", [first]).fetchall()

    def _scope(self, is_of_models: bool) -> str:
        """An SQL condition."""
        if not is_of_models or self.is_whole:
            return "true"
        return f"model_key in ({', '.join(map(str, self.models)) or 'null'})"

    def _fault(self, model_key: Key, what: str) -> None:
        where = self.models.get(model_key, EVERYWHERE) if model_key else EVERYWHERE
        if (where, what) not in self.found.faults:
            self.found.faults.append((where, what))

    # --- reading ---

    def _read(self, table: str, is_of_models: bool) -> bool:
        """Whether all rows could be read; they are compared with what the load noted."""
        try:
            rows = self.con.execute(checksums.statement(table, self._scope(is_of_models))).fetchall()
        except duckdb.Error as error:
            self._tell_unread(table, is_of_models, error)
            return False
        noted = {
            model_key: found
            for model_key, *found in self.con.execute(
                f"select model_key, n_rows, checksum, hash_mark from {checksums.TABLE} where table_name = ?", [table]
            ).fetchall()
        }
        for model_key, _, n_rows, checksum, mark in rows:
            self.found.n_rows += n_rows
            self._compare_noted(table, model_key, (n_rows, checksum, mark), noted.pop(model_key, None))
        for model_key, (n_rows, *_) in noted.items():
            if model_key in self.models or (self.is_whole and model_key != checksums.NOBODYS) or not is_of_models:
                self._fault(model_key, f"{table}: all {n_rows:,} rows are gone")
        return True

    def _compare_noted(self, table: str, model_key: int, now: tuple[int, int, int], noted: list[int] | None) -> None:
        model = self.models.get(model_key)
        if model is None and model_key != checksums.NOBODYS:
            self._fault(None, f"{table}: {now[0]:,} rows are of no model (model_key {model_key})")
        elif noted is None or noted[2] != now[2]:
            self.found.unknown.add(model or EVERYWHERE)
        elif noted[0] != now[0]:
            self._fault(model_key, f"{table}: {now[0]:,} rows, {noted[0]:,} were loaded")
        elif noted[1] != now[1]:
            self._fault(model_key, f"{table}: the rows are not those that were loaded (their checksum is another)")

    def _tell_unread(self, table: str, is_of_models: bool, error: duckdb.Error) -> None:
        """Each model whose rows can't be read; the table itself where that is none of them, or all."""
        self.unread.add(table)
        said = damage.short(error)
        bad: list[Key] = [key for key in self.models if is_of_models and not self._is_read(table, key)]
        for model_key in bad or [None]:
            self._fault(model_key, f"{table}: can't be read: {said}")

    def _is_read(self, table: str, model_key: int) -> bool:
        try:
            self.con.execute(checksums.statement(table, f"model_key = {model_key}")).fetchall()
        except duckdb.Error:
            return False
        return True

    # --- looking ---

    def _look(self, table: str, is_of_models: bool) -> None:
        """One row a key, finite numbers, and the rule of the table, as a load wants them."""
        keys = sqlfiles.tables()[table]["grain"]
        rows = Rows(self.con, table, self._scope(is_of_models), {}, keys)
        with self._asking(table):
            found = rows.found()
            for is_wrong, fault, wanted, shown in (
                (found.n_not_finite, rows.not_finite, "finite values", keys),
                (found.n_broken, rows.rule, rows.wanted, rows.ruled),
            ):
                if is_wrong:
                    for model_key in self._models_at_fault(rows, fault, is_of_models):
                        scope = f"model_key = {model_key}" if model_key else rows.scope
                        first = Rows(self.con, table, scope, {}, keys).first(fault, shown)
                        self._fault(model_key, f"{table}: wanted {wanted}; got {first}")
            if found.n_not_above:
                self._look_for_twins(table, keys, rows.scope, is_of_models)

    def _models_at_fault(self, rows: Rows, fault: str, is_of_models: bool) -> list[Key]:
        if not is_of_models:
            return [None]
        return [key for (key,) in self.con.execute(rows.statement("load/models_at_fault", fault=fault)).fetchall()]

    def _look_for_twins(self, table: str, keys: list[str], scope: str, is_of_models: bool) -> None:
        """Rows need not lie in the order of the key where stages were renewed one by one."""
        key = "model_key" if is_of_models else "null::bigint"
        twins = sqlfiles.statement("load/twins", table=table, scope=scope, key=key, keys=", ".join(keys))
        for model_key, n_twins in self.con.execute(twins).fetchall():
            self._fault(model_key, f"{table}: {n_twins:,} rows have the key of another")

    def _compare(self, path: Path) -> None:
        """What a file of sql/verify/ finds, the first of each model with the number of all."""
        sql, wanted = path.read_text(encoding="utf-8"), sqlfiles.header(path)["wanted"]
        found = f"select model_key, count(*), min(found) from ({sql}) group by model_key order by model_key"
        for model_key, n_found, first in self.con.execute(found).fetchall():
            if model_key is None or model_key in self.models:
                more = f" (and {n_found - 1:,} more)" if n_found > 1 else ""
                self._fault(model_key, f"wanted {wanted}; got {first}{more}")

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """A question that can't be answered is a fault, unless it is of a table that couldn't be read."""
        try:
            yield
        except duckdb.Error as error:
            if not (damage.is_damage(error) and self.unread):
                self._fault(None, f"{what} doesn't answer: {first_line(error)}; `make views` makes views anew")
