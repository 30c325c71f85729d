"""A question as it is handed to the process that answers it: text alone, so that nothing runs by being handed over."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ARROW = "arrow"  # a stream of Arrow's batches, for a frame: beside the formats that a user may name
# what a message begins with, from the process that answers
ANSWER, NOTE, OPENED, REFUSED, DONE = b"a", b"n", b"o", b"r", b"d"


def spilled(process: int) -> Path:
    """Where the process of a question keeps what doesn't fit into its memory; gone with the process."""
    from eigenhouse.ingest.sources.catalog import cache_dir  # late: the caller wants it only where something went wrong

    return cache_dir() / "spilled" / str(process)


@dataclass(frozen=True, kw_only=True)
class Question:
    """is_own: the SQL is the user's, who hears of a parameter that it lacks. acts: it may write, and read any file."""

    warehouse: str
    sql: str
    parameters: dict[str, Any]
    form: str = "table"
    is_own: bool = False
    acts: bool = False
    is_terminal: bool = False
    files: tuple[str, ...] = field(default=())  # what else the SQL may read

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def read(line: bytes) -> Question:
    """The question of a line."""
    return Question(**json.loads(line))
