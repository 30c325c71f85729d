"""The warehouse's rows: what is there, and loads that replace it in one transaction a checkpoint."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import duckdb

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.backend import WAIT_SECONDS, Say, of, say_on_stderr
from eigenhouse.ingest.warehouse.building import SCHEMA_VERSION, Connection, refusals, transaction

__all__ = [
    "SCHEMA_VERSION",
    "Connection",
    "Entry",
    "StackLoad",
    "StagedTable",
    "bring_up_to_date",
    "check_name",
    "connect",
    "ingested",
    "load",
    "reading",
    "say_on_stderr",
    "size",
    "stack_ids",
    "up_to_date",
]


def connect(
    path: Path,
    *,
    read_only: bool,
    wait_seconds: float = WAIT_SECONDS,
    say: Say = say_on_stderr,
    renew: bool = False,
) -> Connection:
    """Open the warehouse; for writing, make it where there is none and bring its tables and views up to date.

    renew: declare every view again, even where the files are those that it was built from. A warehouse of an older
    schema is refused to a reader; a writer gets it brought up to date, and a copy of it is kept beside it.
    """
    return of(path).connect(path, read_only=read_only, wait_seconds=wait_seconds, say=say, renew=renew)


@contextmanager
def reading(path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr) -> Iterator[Connection]:
    """The warehouse open for reading; no load can begin while it is."""
    with closing(connect(path, read_only=True, wait_seconds=wait_seconds, say=say)) as con:
        yield con


def size(path: Path) -> str:
    """How much room the warehouse takes, for a user to read."""
    return f"{path} is {of(path).n_bytes(path) / 2**20:.1f} MB"


@contextmanager
def up_to_date(path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr) -> Iterator[Any]:
    """The warehouse open for reading, of the newest schema; None where there is nothing, or nothing with tables."""
    con = of(path).up_to_date(path, wait_seconds=wait_seconds, say=say)
    with closing(con) if con else nullcontext():
        yield con


def bring_up_to_date(path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr) -> bool:
    """Whether there is a warehouse to read, as `up_to_date` opens it."""
    with up_to_date(path, wait_seconds=wait_seconds, say=say) as con:
        return con is not None


@dataclass(frozen=True)
class Entry:
    """What the warehouse notes of a stage that a stack has rows of: the columns of `ingested_stages` that can match.

    config_sha256: hash of what lies beside the weights and bears on the model; None where nobody kept it.
    """

    fingerprint: str
    version: int = 1
    config_sha256: str | None = None
    doubt: str | None = None

    def stands_for(self, other: Entry) -> bool:
        """Whether rows with this entry are those that a stage with the other would write."""
        configs = {self.config_sha256, other.config_sha256} - {None}
        return self.fingerprint == other.fingerprint and self.doubt is None and len(configs) < 2


@dataclass(frozen=True)
class StagedTable:
    """Rows to replace those of a table that pass `scope`, an SQL condition; all of the stack's where it is empty.

    files: Parquet with the table's columns except model_key; none leave the table without such rows · expected: rows
    that the model's shape predicts; None for any number · is_sorted: whether each file is in the order of the key.
    """

    files: list[Path]
    expected: int | None = None
    scope: str = ""
    is_sorted: bool = True

    def __add__(self, other: StagedTable) -> StagedTable:
        """The rows of two stages of one table."""
        scopes = [f"({scope})" for scope in dict.fromkeys([self.scope, other.scope])]
        return StagedTable(
            self.files + other.files,
            None if self.expected is None or other.expected is None else self.expected + other.expected,
            "" if "()" in scopes else " or ".join(scopes),
            self.is_sorted and other.is_sorted,
        )


@dataclass(frozen=True)
class StackLoad:
    """What one attention stack brings to the warehouse: its row in `models`, its run, and staged files."""

    model_id: str
    model: dict[str, object]  # the columns of models except model_id and model_key
    run: dict[str, object]  # the columns of ingest_runs except model_key
    stages: dict[str, Entry]  # as the warehouse notes them, of the stages that this load replaces
    tables: dict[str, StagedTable]
    parameters: dict[str, str] = field(default_factory=dict)  # what scopes name
    replaces_all: bool = False  # nothing that the name holds stays, whatever weights it is bound to


def ingested(con: Connection, model_id: str) -> tuple[str | None, dict[str, Entry]]:
    """The hash of the weights that model_id is bound to, and each stage that is there."""
    bound = con.execute("select weights_sha256, model_key from models where model_id = ?", [model_id]).fetchone()
    if bound is None:
        return None, {}
    stages = con.execute(
        "select stage, fingerprint, version, config_sha256, doubt from ingested_stages where model_key = ?", [bound[1]]
    ).fetchall()
    return bound[0], {stage: Entry(*noted) for stage, *noted in stages}


def stack_ids(con: Connection, checkpoint: str) -> list[str]:
    """The model_id of every stack of a checkpoint that the warehouse holds."""
    rows = con.execute("select model_id from models where checkpoint = ? order by model_id", [checkpoint])
    return [row[0] for row in rows.fetchall()]


def check_name(con: Connection, model_id: str, weights_sha256: str | None, force: bool) -> None:
    """Refuse a model_id that is bound to other weights, unless forced."""
    bound = con.execute("select weights_sha256 from models where model_id = ?", [model_id]).fetchone()
    if bound and bound[0] != weights_sha256 and not force:
        raise EigenhouseError(
            f"{model_id} is in the warehouse with other weights ({_short(bound[0])}, these are "
            f"{_short(weights_sha256)}); give another NAME, or FORCE=1 to replace all of it"
        )


def _short(weights_sha256: str | None) -> str:
    return f"sha256 {weights_sha256[:12]}" if weights_sha256 else "an import without weights"


def load(
    path: Path,
    stacks: list[StackLoad],
    shared: dict[str, list[Path]],
    *,
    force: bool,
    wait_seconds: float = WAIT_SECONDS,
    say: Say = say_on_stderr,
) -> dict[str, int]:
    """Write all stacks of a checkpoint in one transaction, or nothing. Returns the rows written, by table.

    shared: tables that belong to no model (prompts, null_spectra) → files; rows that are there already are kept.
    """
    written: Counter[str] = Counter()
    with of(path).writing(path, wait_seconds, say) as con:
        with refusals(path), transaction(con):
            for table, files in shared.items():
                written[table] = _insert_shared(con, table, files)
            for stack in stacks:
                written.update(_load_stack(con, stack, force))
            _drop_other_stacks(con, stacks)
        _want_committed(con, path, stacks)
        with refusals(path, f"the new rows wait in {path.name}.wal beside it: keep both files and make room"):
            con.execute("checkpoint")  # close would do it too, and be silent about a full disk
    return dict(written)


def _want_committed(con: Connection, path: Path, stacks: list[StackLoad]) -> None:
    """DuckDB's commit returns quietly, and keeps nothing, where a statement before it failed."""
    for stack in stacks:
        if not con.execute("select 1 from ingest_runs where run_id = ?", [stack.run["run_id"]]).fetchone():
            raise EigenhouseError(f"{path}: the commit kept nothing of {stack.model_id}, though no statement failed")


def _load_stack(con: Connection, stack: StackLoad, force: bool) -> dict[str, int]:
    """Replace the staged tables of one stack, check them, and bring its rollups up to date."""
    check_name(con, stack.model_id, _weights(stack), force)
    model_key = _bind(con, stack)
    con.execute("delete from models where model_id = ?", [stack.model_id])
    _insert_row(con, "models", {"model_id": stack.model_id, "model_key": model_key, **stack.model})
    _record_run(con, stack, model_key)
    written = {}
    for table in stack.tables:
        replacement = _Replacement(con, stack, model_key, table)
        written[table] = replacement.write()
        replacement.check_values()
    return written | _roll_up(con, model_key, set(written))


def _record_run(con: Connection, stack: StackLoad, model_key: int) -> None:
    _insert_row(con, "ingest_runs", {"model_key": model_key, **stack.run})
    for stage, entry in stack.stages.items():
        con.execute("delete from ingested_stages where model_key = ? and stage = ?", [model_key, stage])
        row = {"model_key": model_key, "stage": stage, "run_id": stack.run["run_id"]}
        _insert_row(con, "ingested_stages", {**row, **asdict(entry)})


def _weights(stack: StackLoad) -> str | None:
    weights_sha256 = stack.model["weights_sha256"]
    assert weights_sha256 is None or isinstance(weights_sha256, str)
    return weights_sha256


def _bind(con: Connection, stack: StackLoad) -> int:
    """The stack's model_key: kept for the same weights; for others new, and the old rows deleted."""
    bound = con.execute("select model_key, weights_sha256 from models where model_id = ?", [stack.model_id]).fetchone()
    if bound and bound[1] == _weights(stack) and not stack.replaces_all:
        return int(bound[0])
    model_key = _new_model_key(con)
    if bound:
        _delete_rows(con, bound[0], keep=("models", "ingest_runs"))
        # the history of the name stays with it
        con.execute(
            "update ingest_runs set status = 'replaced', model_key = ? where model_key = ?",
            [model_key, bound[0]],
        )
    return model_key


def _drop_other_stacks(con: Connection, stacks: list[StackLoad]) -> None:
    """A forced name may have had stacks that its new weights lack; they would stand beside the new ones."""
    loaded = {stack.model_id: str(stack.model["checkpoint"]) for stack in stacks}
    for checkpoint in set(loaded.values()):
        for model_id in set(stack_ids(con, checkpoint)) - loaded.keys():
            [model_key] = con.execute("select model_key from models where model_id = ?", [model_id]).fetchall()[0]
            _delete_rows(con, model_key)


def _delete_rows(con: Connection, model_key: int, keep: tuple[str, ...] = ()) -> None:
    for table, meta in sqlfiles.tables().items():
        if "model_key" in meta["columns"] and table not in keep:
            con.execute(f"delete from {table} where model_key = ?", [model_key])


def _new_model_key(con: Connection) -> int:
    """Microseconds since 1970, and above every key there is, should the clock have been set back."""
    newest = con.execute("select coalesce(max(model_key), 0) from models").fetchall()[0][0]
    return max(time.time_ns() // 1000, int(newest) + 1)


def _insert_row(con: Connection, table: str, row: dict[str, object]) -> None:
    wanted = set(sqlfiles.tables()[table]["columns"])
    if row.keys() != wanted:
        raise ValueError(f"{table} wants exactly its columns; not both here and there: {sorted(row.keys() ^ wanted)}")
    marks = ", ".join("?" * len(row))
    con.execute(f"insert into {table} ({', '.join(row)}) values ({marks})", [_in_utc(value) for value in row.values()])


def _in_utc(value: object) -> object:
    """Times are stored in UTC without a zone; DuckDB would turn an aware one to the machine's zone."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def _insert_shared(con: Connection, table: str, paths: list[Path]) -> int:
    files = [str(path) for path in paths]
    _want_columns(con, table, files)
    keys = ", ".join(sqlfiles.tables()[table]["grain"])
    return _count(con.execute(_sql("load/insert_shared", table=table, keys=keys), {"files": files}))


def _roll_up(con: Connection, model_key: int, changed: set[str]) -> dict[str, int]:
    """Make anew the rollups of the tables that changed."""
    written = {}
    for path in sqlfiles.files("rollups"):
        if sqlfiles.header(path)["source"] in changed:
            con.execute(f"delete from {path.stem} where model_key = ?", [model_key])
            statement = path.read_text(encoding="utf-8")
            written[path.stem] = _count(con.execute(statement, {"model_key": model_key}))
    return written


def _sql(name: str, **parts: str) -> str:
    return (sqlfiles.SQL_DIR / f"{name}.sql").read_text(encoding="utf-8").format(**parts)


def _count(con: Connection) -> int:
    """Rows that the insert before wrote."""
    return int(con.fetchall()[0][0])


def _want_columns(con: Connection, table: str, files: list[str]) -> None:
    wanted = sqlfiles.tables()[table]["columns"].keys() - {"model_key"}
    for file in files:
        staged = con.execute("select * from read_parquet($files) limit 0", {"files": [file]}).description
        came = {column[0] for column in staged}
        if came != wanted:
            raise EigenhouseError(f"{table}: wanted the columns {sorted(wanted)}, {file} has {sorted(came)}")


class _Replacement:
    """The rows of one table that a load replaces: the stack's, within the scope of the stages that it brings."""

    def __init__(self, con: Connection, stack: StackLoad, model_key: int, table: str) -> None:
        staged = stack.tables[table]
        if table not in sqlfiles.tables():
            raise EigenhouseError(f"{stack.model_id}: rows are staged for {table}, which is no table of the warehouse")
        self.con, self.model_id, self.table, self.staged = con, stack.model_id, table, staged
        self.files = [str(file) for file in staged.files]
        _want_columns(con, table, self.files)
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
                insert = _sql("load/insert_rows", table=self.table, order=order)
                self.con.execute(insert, {**self.model_key, "files": self.files})
            except duckdb.ConstraintException as error:
                self._refuse("rows that the table allows", str(error).splitlines()[0])
        return self._count()

    def _count(self) -> tuple[int, int]:
        """Rows that are there, and how many of them have a key not above that of the row before."""
        not_above = "true"
        for key in reversed(self.keys):
            not_above = f"({key} < previous_{key} or ({key} = previous_{key} and {not_above}))"
        count = _sql(
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
            find = _sql("load/find_not_finite", keys=", ".join(self.keys), **parts)
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
