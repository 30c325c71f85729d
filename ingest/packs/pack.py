"""A checkpoint's staged rows with what they were made from: the one form in which measurements reach a warehouse.

An ingest hands its own over at once, from the run's folder; one that is written to a folder of its own goes anywhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eigenhouse.ingest.stages.declaration import Stage, declared
from eigenhouse.ingest.warehouse import sqlfiles
from eigenhouse.ingest.warehouse.checksums import Summed
from eigenhouse.ingest.warehouse.loads import Entry, StackLoad, StagedTable


@dataclass(frozen=True)
class Part:
    """What a stage brings of one table of one stack; stack '' stands for a table that belongs to no model.

    file: its Parquet within the pack; None where there are no rows · expected: rows that the shapes predict · sha256,
    n_bytes, summed: of a file that is to travel; summed is what a load notes of the rows.
    """

    stage: str
    stack: str
    table: str
    file: str | None
    expected: int = 0
    is_sorted: bool = True
    sha256: str = ""
    n_bytes: int = 0
    summed: Summed | None = None


@dataclass(frozen=True)
class Pack:
    """The measurements of one checkpoint, all of its stacks.

    root: the folder that files lie in · model: the columns of `models` that its stacks share · stacks: name → those of
    its own · stages: name → what the warehouse is to note of it · parameters: what the scopes of stages name · run: the
    columns of `ingest_runs` but for its keys.
    """

    root: Path
    model: dict[str, Any]
    stacks: dict[str, dict[str, Any]]
    stages: dict[str, Entry]
    parts: list[Part]
    parameters: dict[str, str]
    run: dict[str, Any]

    @property
    def model_ids(self) -> dict[str, str]:
        """Stack → what it is called in a warehouse."""
        suffixes = {name: f"#{own['stack']}" if own["stack"] else "" for name, own in self.stacks.items()}
        return {name: f"{self.model['checkpoint']}{suffix}" for name, suffix in suffixes.items()}

    def noted(self, stage: str) -> str:
        """How the warehouse calls the stage."""
        return declared()[stage].entry(self.parameters)

    def with_stages(self, names: Collection[str]) -> Pack:
        """As much of it as these stages brought."""
        stages = {name: entry for name, entry in self.stages.items() if name in names}
        return replace(self, stages=stages, parts=[part for part in self.parts if part.stage in names])

    def loads(self, keeps_model: bool = False) -> list[StackLoad]:
        """What each stack brings; keeps_model: its row in `models` stays as it is."""
        return [
            StackLoad(
                model_id=self.model_ids[name],
                model=self.model | own,
                run=run_of(self.run),
                stages={self.noted(stage): entry for stage, entry in self.stages.items()},
                tables=self._tables(name),
                parameters=self.parameters,
                keeps_model=keeps_model,
            )
            for name, own in self.stacks.items()
        ]

    def _tables(self, stack: str) -> dict[str, StagedTable]:
        return staged_tables(self.root, [declared()[name] for name in self.stages], self.parts, stack)

    def shared(self) -> dict[str, list[Path]]:
        return shared_files(self.root, self.parts)


def run_of(columns: dict[str, Any]) -> dict[str, Any]:
    """The row of `ingest_runs` that a load of one stack writes, but for the model's key: each load has its own."""
    return {"run_id": str(uuid.uuid4()), "status": "done", **columns}


def staged_tables(root: Path, stages: Collection[Stage], parts: list[Part], stack: str) -> dict[str, StagedTable]:
    """What these stages bring of a stack: every table that they write, also where no rows came."""
    there = {(part.stage, part.table): part for part in parts if part.stack == stack}
    tables: dict[str, StagedTable] = {}
    for stage in stages:
        for table in stage.tables:
            part = there.get((stage.name, table)) or Part(stage.name, stack, table, None)
            staged = StagedTable(
                [root / part.file] if part.file else [],
                part.expected,
                stage.condition(table, sqlfiles.tables()[table]["columns"]),
                part.is_sorted,
                part.summed,
            )
            tables[table] = tables[table] + staged if table in tables else staged
    return tables


def shared_files(root: Path, parts: list[Part]) -> dict[str, list[Path]]:
    """Table that belongs to no model → its files."""
    shared: dict[str, list[Path]] = {}
    for part in parts:
        if not part.stack and part.file:
            shared.setdefault(part.table, []).append(root / part.file)
    return shared
