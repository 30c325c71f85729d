"""What a stage's numbers depend on, in 16 hex digits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def fingerprint(stage: str, version: int, weights: str, options: Mapping[str, object]) -> str:
    """Changes whenever one of the parts does. weights: the checkpoint's SHA-256 · options: those the stage names."""
    named = [f"{name}={value}" for name, value in sorted(options.items())]
    parts = [f"stage={stage}", f"version={version}", f"weights={weights}", *named]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
