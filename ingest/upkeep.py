"""The verbs that keep a warehouse and the cache: looked over, a model removed, the file made small, folders cleaned."""

from __future__ import annotations

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.runs import leftovers
from eigenhouse.ingest.warehouse import backend, compaction, damage, named, removal, selection, store, verification
from eigenhouse.options import CleanCache, Compact, Remove, Verify

MOST_NAMED = 8  # in one line
NO_MODEL = "no model can be read: put back a copy of the file"


def verify(options: Verify) -> None:
    """Look the warehouse over. Raises EigenhouseError where something is wrong with it."""
    path, model = options.warehouse, options.model or None
    blocks = verification.damaged_blocks(path) if path.is_file() and not model else []
    try:
        with store.reading(path) as con:
            found = verification.Verification(con, model).run()
            commands = [named.command_to_replace(con, bad, path) for bad in found.bad]
    except EigenhouseError as error:
        raise EigenhouseError(str(error).replace(damage.WAY_OUT, NO_MODEL)) from error
    for where, what in blocks + found.faults:
        _say(f"{where}: {what}")
    for command in dict.fromkeys(commands):
        _say(f"  {command}")
    if found.unknown:
        _say(
            f"of {len(found.unknown)} models some checksums are missing or of another DuckDB, and weren't compared; "
            "an ingest with FORCE=1 writes them"
        )
    looked = f"{found.n_models} models, {found.n_rows:,} rows"
    if found.faults:
        names = f" in {', '.join(found.bad)}" if found.bad else ""
        raise EigenhouseError(f"{path} is damaged{names}, of {looked}; {_way_out(commands)}")
    if blocks:
        raise EigenhouseError(f"{path} is damaged, though every row of {looked} can be read; run `make compact`")
    _say(f"{path} is whole: {looked}, every one read and compared")


def _way_out(commands: list[str]) -> str:
    if not commands:
        return "put back a copy of the file"
    return "the commands above measure anew what is; where DuckDB can't take the old rows out, put back a copy"


def remove(options: Remove) -> None:
    """Take models out, with their runs and what no other uses."""
    if not options.model:
        raise EigenhouseError("wanted MODEL=<models of the warehouse>; `make models` lists them")
    path = options.warehouse
    with store.reading(path) as con:
        asked = selection.chosen(con, options.model)  # refused before anybody else has to wait
    with store.writing(path) as con:
        if missing := asked.keys() - selection.every(con).keys():
            raise EigenhouseError(f"{asked[min(missing)]} has gone or was replaced meanwhile; nothing was removed")
        gone, n_shared = removal.remove(con, path, asked)
    is_short = len(gone) <= MOST_NAMED
    what = ", ".join(gone) if is_short else f"{len(gone)} models"
    n_rows = sum(gone.values()) + n_shared
    _say(f"removed {what}: {n_rows:,} rows; {store.size(path)}, `make compact` gives their room back")
    for model_id, n_own in () if is_short else gone.items():
        _say(f"  {model_id}: {n_own:,} rows")


def compact(options: Compact) -> None:
    """Write the file anew, as small as its rows allow."""
    path = options.warehouse.resolve()  # a link stays a link
    with store.writing(path, wait_seconds=0) as con:
        before = backend.of(path).n_bytes(path)
        compaction.compact(con, path)
    after = backend.of(path).n_bytes(path)
    _say(f"{options.warehouse} was {before / 2**20:.1f} MB and is {after / 2**20:.1f} MB; every row was compared")


def clean_cache(_: CleanCache) -> None:
    """Remove what killed runs, fetched models and vanished files left in the cache, each with its size."""
    n_bytes = 0
    for what, size in leftovers.removed(_say):
        _say(f"removed {what}: {size / 2**20:,.1f} MB")
        n_bytes += size
    _say(f"{n_bytes / 2**20:,.1f} MB of {leftovers.cache_dir()} are free" if n_bytes else "nothing was left to remove")


def _say(line: str) -> None:
    print(line, flush=True)
