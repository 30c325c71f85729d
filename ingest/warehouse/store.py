"""The warehouse's rows: what is there, and loads that replace it in one transaction a checkpoint."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from eigenhouse import stopping
from eigenhouse.errors import EigenhouseError
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
    notes: list[str] = []
    with of(path).writing(path, wait_seconds, say) as con:
        with refusals(path), transaction(con):
            for table, files in shared.items():
                written[table] = _insert_shared(con, table, files)
                checksums.record(con, checksums.NOBODYS, [table])
            for stack in stacks:
                written.update(_load_stack(con, stack, force, notes))
            _drop_other_stacks(con, stacks, notes)
        stopping.kept(LOADED)
        _want_committed(con, path, stacks)
        with refusals(path, f"the new rows wait in {path.name}.wal beside it: keep both files and make room"):
            con.execute("checkpoint")  # close would do it too, and be silent about a full disk
    for note in notes:
        say(note)
    return dict(written)


def _want_committed(con: Connection, path: Path, stacks: list[StackLoad]) -> None:
    """DuckDB's commit returns quietly, and keeps nothing, where a statement before it failed."""
    for stack in stacks:
        if not con.execute("select 1 from ingest_runs where run_id = ?", [stack.run["run_id"]]).fetchone():
            raise EigenhouseError(f"{path}: the commit kept nothing of {stack.model_id}, though no statement failed")


def _load_stack(con: Connection, stack: StackLoad, force: bool, notes: list[str]) -> dict[str, int]:
    """Replace the staged tables of one stack, check them, and bring its rollups up to date.

    notes: takes what is to be said once it is committed.
    """
    check_name(con, stack.model_id, _weights(stack), force)
    model_key = _bind(con, stack, notes)
    con.execute("delete from models where model_id = ?", [stack.model_id])
    _insert_row(con, "models", {"model_id": stack.model_id, "model_key": model_key, **_derived(stack), **stack.model})
    _record_run(con, stack, model_key)
    written = {}
    for table in stack.tables:
        written[table] = Replacement(con, stack, model_key, table).write()
    written |= rollups.fill(con, model_key, set(written))
    checksums.record(con, model_key, {"models", "ingest_runs", "ingested_stages", *written})
    return written


def _derived(stack: StackLoad) -> dict[str, object]:
    """The columns of `models` that follow from others, or that a program before schema 8 staged no value for."""
    name, model_type = stack.model["name"], stack.model["architecture"]
    return {"family": family(str(name), str(model_type) if model_type else None), "n_parameters": None}


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
    want_columns(con, table, files)
    keys = ", ".join(sqlfiles.tables()[table]["grain"])
    return n_written(con.execute(statement("load/insert_shared", table=table, keys=keys), {"files": files}))
