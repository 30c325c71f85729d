"""What questions cost in a warehouse of many models: each saved query over all of them, and over one.

`python -m bench.many --models 1000 --rows 1e9 --keep many.duckdb` makes the warehouse where it isn't there yet, in
chunks, after a look at the disk; without --keep it goes again. Beside each question about one model stands the same in
a file of that model alone. The figures go to bench/many.json, and docs/many_cost.md is written from them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from bench import machine
from bench.made import warehouse
from eigenhouse.analyses.answers import asking, saved
from eigenhouse.analyses.answers.saved import SavedQuery
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles, store

RESULTS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "many_cost.md"
THREADS, TIMES, LONG = 2, 3, 10  # seconds after which once is enough
Seconds = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--rows", type=float, default=1e8, help="of facts, at most; they are as many as fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where the warehouse is made, and stays")
    parser.add_argument("--queries", nargs="*", help="only these, and nothing is written")
    parser.add_argument("--page", action="store_true", help="only write the page from the figures that are there")
    arguments = parser.parse_args()
    try:
        if not arguments.page:
            found = run(arguments)
            if arguments.queries is None:
                RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if arguments.queries is None:
            PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
    except EigenhouseError as error:
        parser.exit(1, f"{error}\n")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or Path(folder) / "many.duckdb"
        if not path.exists():
            warehouse.make(path, arguments.models, int(arguments.rows), arguments.seed)
        return measured(path, Path(folder) / "one.duckdb", arguments.queries)


def measured(path: Path, alone: Path, names: list[str] | None = None) -> dict[str, Any]:
    """Seconds of each saved query over all models, over one, and over that one in a file of its own, which is made."""
    queries = [query for query in saved.every() if not names or query.name in names]
    with store.connect(path, read_only=True) as con:
        model, about = middle(con), size(con, path)
    take_out(path, model, alone)
    found: dict[str, Seconds] = {query.name: {} for query in queries}
    for column, file, given in (("all", path, None), ("one", path, model), ("alone", alone, model)):
        with store.connect(file, read_only=True) as con:
            con.execute(f"set threads = {THREADS}")
            for query in queries:
                found[query.name][column] = best(asked(con, query, given))
                print(f"{query.name:<32}{column:<6}{found[query.name][column]:>9.3f} s", flush=True)
    load = round(os.getloadavg()[0], 1)
    return {"machine": machine.name(), "load": load, **about, "model": model, "queries": found}


def asked(con: duckdb.DuckDBPyConnection, query: SavedQuery, model: str | None) -> Callable[[], object]:
    """All rows and columns fetched, after the query's routine where it has one."""
    given = {"model": model} if model and "model" in query.parameters else {}

    def ask() -> None:
        asking.ask(con, query.sql, query.bind(given))
        con.to_arrow_table()

    return ask


def best(ask: Callable[[], object]) -> float:
    spent: list[float] = []
    while len(spent) < TIMES and sum(spent) < LONG:
        started = time.perf_counter()
        ask()
        spent.append(time.perf_counter() - started)
    return round(min(spent), 4)


def middle(con: duckdb.DuckDBPyConnection) -> str:
    """Of the models that have attention, one of middling size, with others on both sides."""
    return str(
        con.execute("""
            select model_id
            from models
            where model_key in (select model_key from head_attention_rollup) and stack is null
            order by abs(n_layers * n_heads - (select median(n_layers * n_heads) from models)), model_key
            limit 1
        """).fetchall()[0][0]
    )


def size(con: duckdb.DuckDBPyConnection, path: Path) -> dict[str, int]:
    [[n_models]] = con.execute("select count(*) from models").fetchall()
    [[n_rows]] = con.execute("select sum(n_rows)::bigint from table_checksums").fetchall()
    return {"n_models": n_models, "n_rows": n_rows, "n_bytes": path.stat().st_size}


def take_out(path: Path, model: str, alone: Path) -> None:
    """A warehouse of this model's rows, and of what belongs to none."""
    with store.connect(alone, read_only=False) as con:
        con.execute(f"attach '{path}' as many (read_only)")
        [[key]] = con.execute("select model_key from many.models where model_id = ?", [model]).fetchall()
        for table, meta in sqlfiles.tables().items():
            where = f" where model_key = {key}" if "model_key" in meta["columns"] else ""
            if table != "warehouse_info":
                con.execute(f"insert into {table} by name from many.{table}{where}")


INTRODUCTION = """# Many models

Seconds that each saved query takes in a warehouse of {n_models:,} made-up models and {n_rows:,} rows
({gigabytes:.1f} GB): over all models, over one, and over the same one in a file of its own. All rows are fetched, best
of three, on {threads} threads; {machine}, of which the load average wanted {load:g} at the end of it.
`python -m bench.many --models 1000 --rows 1e9 --keep many.duckdb` makes such a warehouse and measures again.

| query | all models | one | alone | one / alone |
|---|---|---|---|---|
"""


def page(found: dict[str, Any]) -> str:
    rows = ""
    for name, spent in found["queries"].items():
        of_all = f"{spent['all']:.2f}" if "all" in spent else "minutes"  # given up before it answered
        ratio = spent["one"] / spent["alone"]
        rows += f"| `{name}` | {of_all} | {spent['one']:.3f} | {spent['alone']:.3f} | {ratio:.2f} |\n"
    return INTRODUCTION.format(**found, gigabytes=found["n_bytes"] / 1e9, threads=THREADS) + rows


if __name__ == "__main__":
    main()
