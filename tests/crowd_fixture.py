"""Warehouses of any number of models, for the charts of them: two small models, copied, each copy with a family."""

import shutil
from pathlib import Path

import duckdb
import experiment_fixture

from eigenhouse.ingest.warehouse import store

TOYS = (experiment_fixture.make("org/short", 1, (4, 2, 3, 13)), experiment_fixture.make("org/long", 2, (6, 2, 3, 13)))
LAYERS = {"short": 4, "long": 6}
FAMILIES = ("llama", "pythia", "qwen")
STEP = 10**12  # between the keys of copies


def build(folder: Path) -> Path:
    """The two that are copied."""
    path = folder / "two.duckdb"
    experiment_fixture.build(path, folder / "staged", list(TOYS))
    return path


def grown(two: Path, path: Path, n_models: int) -> Path:
    """A warehouse of so many models, short and long ones by turns; families go round, and entropy rises."""
    shutil.copy(two, path)
    with store.writing(path) as con:
        con.execute("update models set family = 'qwen', n_parameters = 1000, revision_order = 1, revision = 'step1'")
        facts = con.execute(
            "select distinct table_name from duckdb_columns() inner join duckdb_tables() using (table_name)"
            " where column_name = 'model_key' and table_name not in ('models', 'ingest_runs')"
        ).fetchall()
        copies = f"(from range(1, {n_models // 2})) as copies(copy)"
        con.execute(
            "insert into models by name select models.* replace ("
            f" models.model_id || '-' || copy as model_id, models.model_key + copy * {STEP} as model_key,"
            " models.name || '-' || copy as name, models.checkpoint || '-' || copy as checkpoint,"
            f" {list(FAMILIES)}[1 + copy % 3] as family, 1000 * (copy + 1) as n_parameters) from models, {copies}"
        )
        for (table,) in facts:
            con.execute(
                f"insert into {table} by name select facts.* replace (facts.model_key + copy * {STEP} as model_key)"
                f" from (from {table}) as facts, {copies}"
            )
        _shift(con)
    return path


def _shift(con: duckdb.DuckDBPyConnection) -> None:
    """Attention that differs from copy to copy, so that quantiles do."""
    con.execute(f"update head_attention_rollup set entropy_nats = entropy_nats + (model_key // {STEP}) / 10")
