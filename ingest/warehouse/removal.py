"""A model taken out of the warehouse, with its runs, doubts and what nobody else uses, in one transaction."""

from __future__ import annotations

from pathlib import Path

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import checksums, named, sqlfiles
from eigenhouse.ingest.warehouse.building import Connection, refusals, transaction

SHARED = {"unused_prompts": "prompts", "unused_null_spectra": "null_spectra"}  # file of sql/upkeep/ → its table


def remove(con: Connection, path: Path, name: str) -> tuple[list[str], int]:
    """The stacks that went, and how many rows with them. Raises EigenhouseError for a name that there isn't."""
    stacks = named.stacks(con, name)
    with refusals(path), transaction(con):
        n_rows = _remove(con, list(stacks))
    if con.execute("select 1 from models where list_contains(?::bigint[], model_key)", [list(stacks)]).fetchone():
        # DuckDB's commit returns quietly, and keeps nothing, where a statement before it failed
        raise EigenhouseError(f"{path}: the commit kept everything of {name}, though no statement failed")
    with refusals(path, f"what went waits in {path.name}.wal beside it: keep both files and make room"):
        con.execute("checkpoint")
    return list(stacks.values()), n_rows


def _remove(con: Connection, model_keys: list[int]) -> int:
    sets = con.execute(
        "select distinct prompt_set from attention_stats where list_contains(?::bigint[], model_key)", [model_keys]
    ).fetchall()
    n_rows = 0
    for model_key in model_keys:
        n_rows += delete_rows(con, model_key)
    for name, table in SHARED.items():
        statement = (sqlfiles.SQL_DIR / "upkeep" / f"{name}.sql").read_text(encoding="utf-8")
        given = {"prompt_sets": [each for (each,) in sets]} if "$prompt_sets" in statement else {}
        n_rows += int(con.execute(statement, given).fetchall()[0][0])
        checksums.record(con, checksums.NOBODYS, [table])
    return n_rows


def delete_rows(con: Connection, model_key: int, keep: tuple[str, ...] = ()) -> int:
    """All of a model's but for those in the tables that are kept; how many there were, checksums aside."""
    n_rows = 0
    for table, meta in sqlfiles.tables().items():
        if "model_key" in meta["columns"] and table not in keep:
            deleted = con.execute(f"delete from {table} where model_key = ?", [model_key]).fetchall()[0][0]
            n_rows += int(deleted) if table != checksums.TABLE else 0
    return n_rows
