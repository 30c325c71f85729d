"""What ran, and what it took: the columns of `ingest_runs`. No reason to measure again."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from eigenhouse import __version__

LIBRARIES = ("torch", "transformers", "numpy", "polars", "duckdb", "gguf", "safetensors")
PACKAGE = Path(__file__).parent.parent


def run_columns(
    options: dict[str, object], started_at: datetime, finished_at: datetime, costs: dict[str, dict[str, float]]
) -> dict[str, object]:
    """The columns of `ingest_runs`, but for the model's key, the load's own and the status."""
    return {
        "started_at": started_at,
        "finished_at": finished_at,
        "seconds": (finished_at - started_at).total_seconds(),
        "peak_rss_mb": max([peak_rss_mb() or 0, *(cost["peak_rss_mb"] for cost in costs.values())]) or None,
        "options": json.dumps(options, default=str),
        "versions": json.dumps(versions()),
        "stages": json.dumps(costs),
    }


def versions() -> dict[str, str]:
    """Of the program, its code (12 hex digits of the SHA-256 over its Python files) and the libraries that are here."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    found = {"eigenhouse": __version__, "code": digest.hexdigest()[:12]}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def peak_rss_mb() -> float | None:
    """Largest resident memory of this process so far, in megabytes; None where the system doesn't say (Windows)."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
