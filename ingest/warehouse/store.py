"""The warehouse's rows: what is there, and loads that replace it in one transaction a checkpoint."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from eigenhouse import stopping
from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.sources.family import family
from eigenhouse.ingest.warehouse import blocks, checksums, damage, rollups, sqlfiles, tags
from eigenhouse.ingest.warehouse.backend import WAIT_SECONDS, Say, of, say_on_stderr
from eigenhouse.ingest.warehouse.building import SCHEMA_VERSION, Connection, refusals, transaction
from eigenhouse.ingest.warehouse.loads import Entry, StackLoad
from eigenhouse.ingest.warehouse.removal import delete_rows
from eigenhouse.ingest.warehouse.replacement import Replacement, n_written, want_columns
from eigenhouse.ingest.warehouse.sqlfiles import statement

LOADED = "stopped; all of the new rows are in the warehouse"

__all__ = [
    "SCHEMA_VERSION",
    "Connection",
    "bring",
    "bring_up_to_date",
    "check_name",
    "connect",
    "ingested",
    "load",
    "reading",
    "say_on_stderr",
    "settle",
    "size",
    "stack_ids",
    "up_to_date",
    "want_whole",
    "writing",
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
    with closing(connect(path, read_only=True, wait_seconds=wait_seconds, say=say)) as con, damage.told(path):
        yield con


@contextmanager
def writing(path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr) -> Iterator[Connection]:
    """A warehouse that is there open for writing, as one that works on all of it needs."""
    connect(path, read_only=True, wait_seconds=wait_seconds, say=say).close()  # opening for writing would make one
    with of(path).writing(path, wait_seconds, say) as con, damage.told(path):
        yield con


def size(path: Path) -> str:
    """How much room the warehouse takes, for a user to read."""
    return f"{path} is {of(path).n_bytes(path) / 2**20:.1f} MB"


@contextmanager
def up_to_date(
    path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr
) -> Iterator[Connection | None]:
    """The warehouse open for reading; None where there is nothing, or something without tables.

    One of an older schema is brought up to date first; what is no warehouse is refused.
    """
    con = of(path).up_to_date(path, wait_seconds=wait_seconds, say=say)
    with closing(con) if con else nullcontext(), damage.told(path):
        yield con


def bring_up_to_date(path: Path, *, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr) -> bool:
    """Whether there is a warehouse to read, as `up_to_date` opens it."""
    with up_to_date(path, wait_seconds=wait_seconds, say=say) as con:
        return con is not None


def want_whole(path: Path, replaced: str | None = None, *, wait_seconds: float = WAIT_SECONDS) -> None:
    """Refuse a damaged file before anything is measured, by the checksums of its blocks.

    replaced: a checkpoint whose rows may be what is damaged; then it is enough that they can be taken out.
    """
    places = blocks.damaged(path) if path.is_file() else []
    if places and replaced is None:
        raise damage.line(path, blocks.in_words(places), "nothing was begun")
    if places and replaced:
        with of(path).writing(path, wait_seconds, say_on_stderr) as con, damage.told(path, "nothing was begun"):
            con.begin()
            for [model_key] in con.execute("select model_key from models where checkpoint = ?", [replaced]).fetchall():
                delete_rows(con, model_key)
            con.rollback()


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


def other_name(con: Connection, checkpoint: str, name: str, weights_sha256: str) -> str | None:
    """A model of another name with the same weights, where the checkpoint itself isn't there.

    Revisions of one name stand beside one another, whatever they hold.
    """
    rows = con.execute(
        "select checkpoint, name from models where weights_sha256 = ? or checkpoint = ? order by checkpoint",
        [weights_sha256, checkpoint],
    ).fetchall()
    if checkpoint in {there for there, _ in rows}:
        return None
    return next((there for there, its_name in rows if its_name != name), None)


def source_of(con: Connection, model_id: str) -> str | None:
    row = con.execute("select source from models where model_id = ?", [model_id]).fetchone()
    return row[0] if row else None


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
    with of(path).writing(path, wait_seconds, say) as con:
        written = bring(con, path, stacks, shared, force=force, kept=LOADED, say=say)
        settle(con, path)
    return written


def bring(
    con: Connection,
    path: Path,
    stacks: list[StackLoad],
    shared: dict[str, list[Path]],
    *,
    force: bool,
    kept: str,
    say: Say,
) -> dict[str, int]:
    """The transaction of `load`, in a warehouse that is open for writing; kept: what is said from its commit on."""
    written: Counter[str] = Counter()
    notes: list[str] = []
    with refusals(path), transaction(con):
        for table, files in shared.items():
            written[table] = _insert_shared(con, table, files)
            if written[table] or force:
                checksums.record(con, checksums.NOBODYS, [table])
        loaded = [_load_stack(con, stack, force, notes) for stack in stacks]
        # of all stacks at once: to plan the statements takes longer than to run them
        made = rollups.fill(con, [each.model_key for each in loaded], set().union(*(each.changed for each in loaded)))
        for stack, each in zip(stacks, loaded, strict=True):
            checksums.record(con, each.model_key, {"models", "ingest_runs", "ingested_stages", *each.written, *made})
            _want_as_measured(con, stack, each.model_key)
            written.update(each.written)
        written.update(made)
        if not any(stack.keeps_model for stack in stacks):
            _drop_other_stacks(con, stacks, notes)
    stopping.kept(kept)
    _want_committed(con, path, stacks)
    for note in notes:
        say(note)
    return dict(written)


@contextmanager
def loading(path: Path, wait_seconds: float = WAIT_SECONDS, say: Say = say_on_stderr) -> Iterator[Connection]:
    """The warehouse open for any number of loads, made where there is none; a damaged one is refused."""
    of(path).want_place(path)
    want_whole(path)
    with of(path).writing(path, wait_seconds, say) as con:
        yield con


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Whatever DuckDB refuses of files that others made is a line; of an ingest's own it would be a bug."""
    try:
        yield
    except duckdb.Error as error:
        raise EigenhouseError(f"{first_line(error)}. Nothing of it was written") from error


def want_sound(con: Connection, error: EigenhouseError) -> None:
    """Raise the error of a load anew where the next can't do better: for a full disk, or a damaged warehouse."""
    cause = error.__cause__
    is_hopeless = isinstance(cause, duckdb.Error) and ("No space left" in str(cause) or damage.is_damage(cause))
    try:
        con.execute("select 1").fetchall()
    except duckdb.Error:
        is_hopeless = True
    if is_hopeless:
        raise error


def settle(con: Connection, path: Path) -> None:
    """Bring what was committed into the file itself; close would do it too, and be silent about a full disk."""
    with refusals(path, f"the new rows wait in {path.name}.wal beside it: keep both files and make room"):
        con.execute("checkpoint")


def _want_committed(con: Connection, path: Path, stacks: list[StackLoad]) -> None:
    """DuckDB's commit returns quietly, and keeps nothing, where a statement before it failed."""
    for stack in stacks:
        if not con.execute("select 1 from ingest_runs where run_id = ?", [stack.run["run_id"]]).fetchone():
            raise EigenhouseError(f"{path}: the commit kept nothing of {stack.model_id}, though no statement failed")


class _Loaded(NamedTuple):
    """written: rows, by table · changed: the tables that rollups must follow."""

    model_key: int
    written: dict[str, int]
    changed: set[str]


def _load_stack(con: Connection, stack: StackLoad, force: bool, notes: list[str]) -> _Loaded:
    """Replace the staged tables of one stack, and check them. notes: takes what is to be said once it is committed."""
    check_name(con, stack.model_id, _weights(stack), force)
    model_key, resized = _bind(con, stack, notes), set[str]()
    if not stack.keeps_model:
        before = con.execute("delete from models where model_id = ? returning hidden_size", [stack.model_id]).fetchall()
        _insert_rows(con, "models", [{"model_id": stack.model_id, "model_key": model_key, **_described(stack)}])
        # chance goes by a size that an imported file may not have said
        resized = {"models"} if before and before != [(stack.model["hidden_size"],)] else set()
    _record_run(con, stack, model_key)
    written = {}
    for table in stack.tables:
        written[table] = Replacement(con, stack, model_key, table).write()
    return _Loaded(model_key, written, written.keys() | resized)


def _want_as_measured(con: Connection, stack: StackLoad, model_key: int) -> None:
    """Where it is known what stands for the rows that were staged, those in the tables must have it too."""
    measured = {table: staged.summed for table, staged in stack.tables.items() if staged.summed}
    found = checksums.noted(con, model_key) if measured else {}
    for table, summed in measured.items():
        if table in found and summed.contradicts(found[table]):
            raise EigenhouseError(
                f"{table} of {stack.model_id}: the rows that were measured are not those that came (their checksum is "
                "another). Nothing was written"
            )


def _described(stack: StackLoad) -> dict[str, object]:
    """The columns of `models`: what was staged, by a program before schema 8 without a size, and what follows of it."""
    name, model_type = stack.model["name"], stack.model["architecture"]
    return {"n_parameters": None, **stack.model, "family": family(str(name), str(model_type) if model_type else None)}


def _record_run(con: Connection, stack: StackLoad, model_key: int) -> None:
    _insert_rows(con, "ingest_runs", [{"model_key": model_key, **stack.run}])
    con.execute(
        f"delete from ingested_stages where model_key = {model_key} and list_contains(?::varchar[], stage)",
        [list(stack.stages)],
    )
    common = {"model_key": model_key, "run_id": stack.run["run_id"]}
    entries = [{"stage": stage, **common, **asdict(entry)} for stage, entry in stack.stages.items()]
    _insert_rows(con, "ingested_stages", entries)


def _weights(stack: StackLoad) -> str | None:
    weights_sha256 = stack.model["weights_sha256"]
    assert weights_sha256 is None or isinstance(weights_sha256, str)
    return weights_sha256


def _bind(con: Connection, stack: StackLoad, notes: list[str]) -> int:
    """The stack's model_key: kept for the same weights; for others new, and the old rows deleted but for the tags."""
    bound = con.execute("select model_key, weights_sha256 from models where model_id = ?", [stack.model_id]).fetchone()
    if bound and bound[1] == _weights(stack) and not stack.replaces_all:
        return int(bound[0])
    model_key = _new_model_key(con)
    if bound:
        delete_rows(con, bound[0], keep=("models", "ingest_runs", tags.TABLE))
        notes += tags.moved(con, stack.model_id, bound[0], model_key)
        # the history of the name stays with it
        con.execute(
            "update ingest_runs set status = 'replaced', model_key = ? where model_key = ?",
            [model_key, bound[0]],
        )
    return model_key


def _drop_other_stacks(con: Connection, stacks: list[StackLoad], notes: list[str]) -> None:
    """A forced name may have had stacks that its new weights lack; they would stand beside the new ones."""
    loaded = {stack.model_id: str(stack.model["checkpoint"]) for stack in stacks}
    for checkpoint in set(loaded.values()):
        for model_id in set(stack_ids(con, checkpoint)) - loaded.keys():
            [model_key] = con.execute("select model_key from models where model_id = ?", [model_id]).fetchall()[0]
            notes += tags.gone(con, model_id, model_key)
            delete_rows(con, model_key)


def _new_model_key(con: Connection) -> int:
    """Microseconds since 1970, and above every key there is, should the clock have been set back."""
    newest = con.execute("select coalesce(max(model_key), 0) from models").fetchall()[0][0]
    return max(time.time_ns() // 1000, int(newest) + 1)


def _insert_rows(con: Connection, table: str, rows: list[dict[str, object]]) -> None:
    wanted = set(sqlfiles.tables()[table]["columns"])
    for row in rows:
        if row.keys() != wanted:
            other = sorted(row.keys() ^ wanted)
            raise ValueError(f"{table} wants exactly its columns; not both here and there: {other}")
    names = sorted(wanted)
    marks = ", ".join([f"({', '.join('?' * len(names))})"] * len(rows))
    if rows:
        values = [_in_utc(row[name]) for row in rows for name in names]
        con.execute(f"insert into {table} ({', '.join(names)}) values {marks}", values)


def _in_utc(value: object) -> object:
    """Times are stored in UTC without a zone; DuckDB would turn an aware one to the machine's zone."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def _insert_shared(con: Connection, table: str, paths: list[Path]) -> int:
    files = [str(path) for path in paths]
    want_columns(con, table, files)
    keys = ", ".join(sqlfiles.tables()[table]["grain"])
    return n_written(con.execute(statement("load/insert_shared", table=table, keys=keys), {"files": files}))
