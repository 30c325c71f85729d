"""Models taken out of the warehouse, with their runs, doubts and what nobody else uses, in one transaction."""

from __future__ import annotations

from pathlib import Path

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import checksums, sqlfiles
from eigenhouse.ingest.warehouse.building import Connection, refusals, transaction

SHARED = {"unused_prompts": "prompts", "unused_null_spectra": "null_spectra"}  # file of sql/upkeep/ → its table


def remove(con: Connection, path: Path, models: dict[int, str]) -> tuple[dict[str, int], int]:
    """model_id → how many rows went with it, of models by their keys; and how many that no other model uses."""
    with refusals(path), transaction(con):
        gone, n_shared = _remove(con, models)
    if con.execute("select 1 from models where list_contains(?::bigint[], model_key)", [list(models)]).fetchone():
        # DuckDB's commit returns quietly, and keeps nothing, where a statement before it failed
        raise EigenhouseError(f"{path}: the commit kept all that was to go, though no statement failed")
    with refusals(path, f"what went waits in {path.name}.wal beside it: keep both files and make room"):
        con.execute("checkpoint")
    return gone, n_shared


def _remove(con: Connection, models: dict[int, str]) -> tuple[dict[str, int], int]:
    sets = con.execute(
        "select distinct prompt_set from attention_stats where list_contains(?::bigint[], model_key)", [list(models)]
    ).fetchall()
    gone = {model_id: delete_rows(con, model_key) for model_key, model_id in models.items()}
    n_shared = 0
    for name, table in SHARED.items():
        statement = (sqlfiles.SQL_DIR / "upkeep" / f"{name}.sql").read_text(encoding="utf-8")
        given = {"prompt_sets": [each for (each,) in sets]} if "$prompt_sets" in statement else {}
        n_shared += int(con.execute(statement, given).fetchall()[0][0])
        checksums.record(con, checksums.NOBODYS, [table])
    return gone, n_shared


def delete_rows(con: Connection, model_key: int, keep: tuple[str, ...] = ()) -> int:
    """All of a model's but for those in the tables that are kept; how many there were, checksums aside."""
    n_rows = 0
    for table, meta in sqlfiles.tables().items():
        if "model_key" in meta["columns"] and table not in keep:
            deleted = con.execute(f"delete from {table} where model_key = ?", [model_key]).fetchall()[0][0]
            n_rows += int(deleted) if table != checksums.TABLE else 0
    return n_rows
