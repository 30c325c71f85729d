"""An ingest in a process of its own, by the program in some checkout: seconds, those of its stages, peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

from bench.rows.row import NotRun
from eigenhouse.ingest.sources.catalog import cache_dir

ROOT = Path(__file__).resolve().parent.parent
BURN = "import torch\na = torch.randn(1024, 1024)\nwhile True: a @ a"
LAST_LINES, POLL = 3, 0.02


@dataclass(frozen=True)
class Ingested:
    """seconds: of the whole process, imports included · stages: seconds by name · peak_mb: resident, of the process."""

    seconds: float
    stages: dict[str, float]
    peak_mb: float
    variants: tuple[str, ...]

    def without(self, stage: str) -> float:
        return self.seconds - self.stages.get(stage, 0.0)


def ingested(root: Path, model: str, *options: str, n_cores: int = 0, warehouse: Path | None = None) -> Ingested:
    """One ingest, into a new warehouse unless one is named, with a cache that has the catalog's files and no run."""
    with tempfile.TemporaryDirectory() as folder:
        warehouse = warehouse or Path(folder) / "warehouse.duckdb"
        command = [sys.executable, "-m", module_of(root), *(["ingest"] if module_of(root) == "eigenhouse" else [])]
        command += [*(["--model", model] if model else []), *options, "--warehouse", str(warehouse)]
        seconds, peak_mb = ran(command, root, environment(Path(folder) / "cache", n_cores), n_cores)
        stages, variants = told(warehouse)
    return Ingested(seconds, stages, peak_mb, variants)


def module_of(root: Path) -> str:
    """What `python -m` ingests with: the program had no package of its own once."""
    return "eigenhouse" if (root / "eigenhouse" / "__main__.py").exists() else "ingest"


def environment(cache: Path, n_cores: int = 0) -> dict[str, str]:
    """Ours, but for the variables that make hands over, and with as many threads as cores."""
    cache.mkdir()
    (catalog := cache_dir() / "catalog").mkdir(parents=True, exist_ok=True)
    (cache / "catalog").symlink_to(catalog)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("EIGENHOUSE_")}
    threads = {"OMP_NUM_THREADS": str(n_cores)} if n_cores else {}
    return kept | threads | {"EIGENHOUSE_CACHE": str(cache)}


def ran(command: Sequence[str], folder: Path, env: dict[str, str], n_cores: int = 0) -> tuple[float, float]:
    """Seconds and peak resident MB of a command. Raises NotRun with the end of what it said where it fails."""
    with tempfile.TemporaryFile() as said:
        started, peak = time.perf_counter(), 0.0
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
        if n_cores:
            os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[:n_cores])
        try:
            while process.poll() is None:
                peak = max(peak, resident_mb(process.pid))
                time.sleep(POLL)
        finally:  # a bench that is stopped leaves nothing running
            process.kill()
            process.wait()
        seconds = time.perf_counter() - started
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            raise NotRun(f"it failed with status {process.returncode}: {' / '.join(lines[-LAST_LINES:])}")
    return seconds, peak


def resident_mb(pid: int) -> float:
    """The peak so far as Linux keeps it, else what is resident now.

    Not ru_maxrss: of a process that was started by a larger one it tells the larger one's.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    except (OSError, IndexError):  # no Linux; or it has just ended
        with suppress(psutil.Error):
            return float(psutil.Process(pid).memory_info().rss / 2**20)
        return 0.0


def told(warehouse: Path) -> tuple[dict[str, float], tuple[str, ...]]:
    """Seconds by stage of the last run, and the variants that were measured, as the warehouse tells."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        [[stages]] = con.execute("select stages from ingest_runs order by finished_at desc limit 1").fetchall()
        found = con.execute("select distinct operator from head_norms where operator like 'metric\\_%' escape '\\'")
        variants = tuple(sorted(operator.removeprefix("metric_") for (operator,) in found.fetchall()))
    return {name: cost["seconds"] for name, cost in json.loads(stages).items()}, variants


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """A second process that keeps all cores busy with products of matrices."""
    neighbour = subprocess.Popen([sys.executable, "-c", BURN])
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.wait()
