"""Eigenhouse: attention heads as geometric objects, proved against the model and kept in a warehouse."""

from __future__ import annotations

import os
from importlib import import_module

TYPE_CHECKING = False  # nothing is imported that takes time: a signal is looked after from the command's first line on
if TYPE_CHECKING:
    from eigenhouse.analyses.notebook import House

__version__ = "0.3.0"

_HERE = os.path.dirname(os.path.realpath(__file__))
if not os.path.isdir(os.path.join(_HERE, "ingest")):
    # Installed, `ingest`, `analyses` and `sql` lie in this folder; in a checkout they stand beside it.
    __path__.append(os.path.dirname(_HERE))


def connect(warehouse: str | os.PathLike[str] = "warehouse.duckdb") -> House:
    """A warehouse for a notebook: saved queries and SQL as polars frames, and Altair charts."""
    house: House = import_module("eigenhouse.analyses.notebook").House(warehouse)  # late: it takes a second
    return house
