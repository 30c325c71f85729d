"""Eigenhouse: attention heads as geometric objects, proved against the model and kept in a warehouse."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eigenhouse.analyses.notebook import House

__version__ = "0.3.0"

_HERE = Path(__file__).resolve().parent
if not (_HERE / "ingest").is_dir():
    # Installed, `ingest`, `analyses` and `sql` lie in this folder; in a checkout they stand beside it.
    __path__.append(str(_HERE.parent))


def connect(warehouse: str | os.PathLike[str] = "warehouse.duckdb") -> House:
    """A warehouse for a notebook: saved queries and SQL as polars frames, and Altair charts."""
    house: House = import_module("eigenhouse.analyses.notebook").House(warehouse)  # late: it takes a second
    return house
