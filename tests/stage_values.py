"""What every stage measures of one fixed tiny model, in a few numbers a column, beside the version that it has.

`PYTHONPATH=. python tests/stage_values.py` records them anew in fixtures/stage_values.json, which is due when a version
was raised.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import duckdb
import tiny_models

from eigenhouse.analyses.export import export
from eigenhouse.ingest.exchange.imports import import_file
from eigenhouse.ingest.runs.run import ingest
from eigenhouse.ingest.sources.prompts import read_prompts
from eigenhouse.ingest.stages.declaration import Stage, declared
from eigenhouse.ingest.warehouse import sqlfiles, store
from eigenhouse.options import Ingest

RECORDED = Path(__file__).parent / "fixtures" / "stage_values.json"
ROUNDING = ("conformance.max_rel_error", "conformance.witness_max_rel_error")  # what float32 leaves: another each time
NUMBERS = ("FLOAT", "DOUBLE", "INTEGER", "SMALLINT", "FLOAT[]")
MODEL, FILE = "tiny", "file"


def measured(folder: Path) -> dict[str, dict]:
    """Stage → its version and, of each column of numbers that it writes, how many there are and three means.

    EIGENHOUSE_CACHE should be a folder of the caller's own.
    """
    warehouse = folder / "warehouse.duckdb"
    prompts = tiny_models.prompts(folder, 11, 1, 5)
    model = str(tiny_models.save("qk-norm, head_dim not d/H", folder / "tiny"))
    options = Ingest(model=model, warehouse=warehouse, name=MODEL, prompts=prompts, variants="all")
    ingest(options)
    with store.reading(warehouse) as con:
        files = list(export(con, [MODEL], folder / "files", "metric", None, lambda line: None))
    for path in sorted(file for file in files if file.suffix == ".json"):
        import_file(Ingest(model=str(path), warehouse=warehouse, name=FILE))
    parameters = {"prompt_set": read_prompts(prompts).name, "operator": "metric"}
    with store.reading(warehouse) as con:
        return {
            name: {"version": stage.version, "values": _values(con, stage, model_id, parameters)}
            for room, model_id in (("stages", MODEL), ("exchange", FILE))
            for name, stage in declared(room).items()
        }


def _values(con: duckdb.DuckDBPyConnection, stage: Stage, model_id: str, parameters: dict[str, str]) -> dict:
    values = {}
    for table in stage.writes:
        about = sqlfiles.tables()[table]
        condition = stage.condition(table, about["columns"]) or "true"
        named = {name: value for name, value in parameters.items() if f"${name}" in condition}
        keys = ", ".join(key for key in about["grain"] if key != "model_key")
        columns = con.execute("select column_name, data_type from duckdb_columns() where table_name = ?", [table])
        for column, kind in columns.fetchall():
            if kind not in NUMBERS or f"{table}.{column}" in ROUNDING:
                continue
            number = f"list_sum(list_transform({column}, lambda x, i: x * i))" if kind == "FLOAT[]" else column
            # weights that follow the order of the key: an exchange of rows moves the third number
            summary = con.execute(
                f"with rows as (select {number}::double as x, row_number() over (order by {keys}) % 7 + 1 as weight "
                f"from {table} where {condition} "
                "and model_key = (select model_key from models where model_id = $model)) "
                "select count(x), coalesce(avg(x), 0), coalesce(avg(abs(x)), 0), coalesce(avg(x * weight), 0) "
                "from rows",
                {"model": model_id, **named},
            ).fetchone()
            values[f"{table}.{column}"] = summary
    return values


if __name__ == "__main__":
    import os

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["EIGENHOUSE_CACHE"] = scratch
        lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in measured(Path(scratch)).items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
