"""Eigenhouse: attention heads as geometric objects, proved against the model and kept in a warehouse."""

from pathlib import Path

__version__ = "0.2.0"

_HERE = Path(__file__).resolve().parent
if not (_HERE / "ingest").is_dir():
    # Installed, `ingest`, `analyses` and `sql` lie in this folder; in a checkout they stand beside it.
    __path__.append(str(_HERE.parent))
