"""Where the work of a stage runs: one module an engine, named by ENGINE, with a `map` as `stages.inputs` says."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from eigenhouse.errors import EigenhouseError

if TYPE_CHECKING:
    from eigenhouse.ingest.stages.inputs import Engine


def engine(name: str) -> Engine:
    """Raises EigenhouseError for a name that there is not."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise EigenhouseError(f"want ENGINE={' or '.join(near or names)}, got {name!r}")
    return cast("Engine", import_module(f"{__name__}.{name}"))
