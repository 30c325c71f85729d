"""The peers' environment, made by pip from bench/peers.txt, and kept in the cache while that file is the same."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.rows.row import NotRun
from eigenhouse.ingest.sources.catalog import cache_dir

PINS = Path(__file__).resolve().parent.parent / "peers.txt"
MOST_SECONDS = 900


def environment() -> Path:
    """Its Python. Raises NotRun where it can't be installed, with pip's last words."""
    name = hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]
    folder = cache_dir() / "bench" / f"peers-{name}"
    python, is_whole = folder / "bin" / "python", folder / "installed"
    if not is_whole.exists():
        print("Installing the peers of bench/peers.txt: once, and some minutes", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "-r", str(PINS)])
        is_whole.touch()
    return python


def told(python: Path, script: str, *arguments: str) -> dict[str, Any]:
    """The JSON that bench.peers.<script> prints last."""
    said = _run([str(python), "-m", f"bench.peers.{script}", *arguments], cwd=PINS.parent.parent)
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("EIGENHOUSE_", "PYTHONPATH"))}
    try:
        done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise NotRun(f"{' '.join(command[1:4])} took over {MOST_SECONDS} s") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise NotRun(f"{' '.join(command[1:4])}: {lines[-1] if lines else done.returncode}")
    return done.stdout
