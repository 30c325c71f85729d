"""The command that measures a model of the warehouse anew."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from eigenhouse.ingest.warehouse.building import Connection
from eigenhouse.options import Ingest, variable

NO_PART_OF_IT = ("warehouse", "force", "wait", "revision", "revisions")


def command_to_replace(con: Connection, model_id: str, path: Path) -> str:
    """With the options of the runs that the rows are of, as far as they are noted."""
    [[checkpoint, revision]] = con.execute(
        "select checkpoint, revision from models where model_id = ?", [model_id]
    ).fetchall()
    runs = con.execute(
        "select options from ingest_runs inner join models using (model_key) "
        "where model_id = ? and status = 'done' order by finished_at",
        [model_id],
    ).fetchall()
    options = _of_runs([_parsed(text) for (text,) in runs]) | ({"revision": revision} if revision else {})
    if path != Path("warehouse.duckdb"):
        options["warehouse"] = path
    words = [f"{variable(name)}={'1' if value is True else value}" for name, value in options.items()]
    return shlex.join(["make", "ingest", *(words or [f"MODEL={checkpoint}"]), "FORCE=1"])


def _of_runs(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the last run was given, but for what an earlier one measured more than."""
    if not runs:
        return {}
    defaults = {each.name: each.default for each in fields(Ingest) if each.name not in NO_PART_OF_IT}
    given = {name: runs[-1][name] for name, default in defaults.items() if runs[-1].get(name, default) != default}
    return {name: value for name, value in given.items() if value is not True or all(run.get(name) for run in runs)}


def _parsed(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except ValueError:
        return {}
    return options if isinstance(options, dict) else {}
