"""What a load brings: the rows of one stack, and what the warehouse notes of the stages that made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from eigenhouse.ingest.warehouse.checksums import Summed


@dataclass(frozen=True)
class Entry:
    """What the warehouse notes of a stage that a stack has rows of: the columns of `ingested_stages` that can match.

    config_sha256: hash of what lies beside the weights and bears on the model; None where nobody kept it.
    """

    fingerprint: str
    version: int = 1
    config_sha256: str | None = None
    doubt: str | None = None

    def stands_for(self, other: Entry) -> bool:
        """Whether rows with this entry are those that a stage with the other would write."""
        configs = {self.config_sha256, other.config_sha256} - {None}
        return self.fingerprint == other.fingerprint and self.doubt is None and len(configs) < 2


@dataclass(frozen=True)
class StagedTable:
    """Rows to replace those of a table that pass `scope`, an SQL condition; all of the stack's where it is empty.

    files: Parquet with the table's columns except model_key; none leave the table without such rows · expected: rows
    that the model's shape predicts; None for any number · is_sorted: whether each file is in the order of the key ·
    summed: what stands for the rows, where that was kept; they are to give the same.
    """

    files: list[Path]
    expected: int | None = None
    scope: str = ""
    is_sorted: bool = True
    summed: Summed | None = None

    def __add__(self, other: StagedTable) -> StagedTable:
        """The rows of two stages of one table."""
        scopes = [f"({scope})" for scope in dict.fromkeys([self.scope, other.scope])]
        return StagedTable(
            self.files + other.files,
            None if self.expected is None or other.expected is None else self.expected + other.expected,
            "" if "()" in scopes else " or ".join(scopes),
            self.is_sorted and other.is_sorted,
            self.summed + other.summed if self.summed and other.summed else None,
        )


@dataclass(frozen=True)
class StackLoad:
    """What one attention stack brings to the warehouse: its row in `models`, its run, and staged files."""

    model_id: str
    model: dict[str, object]  # the columns of models except model_id, model_key and family
    run: dict[str, object]  # the columns of ingest_runs except model_key
    stages: dict[str, Entry]  # as the warehouse notes them, of the stages that this load replaces
    tables: dict[str, StagedTable]
    parameters: dict[str, str] = field(default_factory=dict)  # what scopes name
    replaces_all: bool = False  # nothing that the name holds stays, whatever weights it is bound to
    keeps_model: bool = False  # the row in models stays, and so do stacks that this load lacks
