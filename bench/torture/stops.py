"""How soon a command ends after Ctrl-C or SIGTERM: every verb, in its start-up and at its work, as cold processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.processes import ROOT
from eigenhouse.options import VERBS

STATUS = {"SIGINT": 130, "SIGTERM": 143}
MOST = 2.0  # seconds
MOMENTS = (0.1, 0.4, 1.0, 2.5)  # seconds after the start
ELSEWHERE = ("query", "queries", "remove", "clean-cache")  # with words of their own, or over once it has removed
ENDLESS = {
    "rows": "with recursive every(n) as (select 1 union all select n + 1 from every) select max(n) from every",
    "join": "select count(*) from range(10000000) a, range(10000000) b where hash(a.range) = hash(b.range + 1)",
    "one row": "select list_sum(list_transform(range(200000000), x -> x * x + 1))",
    "one value": "select length(regexp_replace(repeat('ab', 100000000), '(a|b)*c', 'x', 'g'))",
    "sort": "select * from range(300000000) order by hash(range)",
    "output": "from range(1000000000)",
}


def run(warehouse: Path, model: str, checkpoint: Path, folder: Path, moments: tuple[float, ...] = MOMENTS) -> Any:
    """Verb → the worst seconds of all moments and both signals, how many ended before, and what failed."""
    found, failures = {}, []
    for verb, words in commands(warehouse, model, checkpoint, folder).items():
        worst, n_ended = 0.0, 0
        for moment in moments:
            for name in STATUS:
                seconds, status, said = stopped([*words], name, moment, folder)
                if status == 0:
                    n_ended += 1
                    continue
                worst = max(worst, seconds)
                is_told = said.rpartition("\n")[0].rpartition("\n")[2].startswith("stopped") and "Traceback" not in said
                if status != STATUS[name] or seconds > MOST or not is_told:
                    failures.append(f"{verb}, {name} after {moment} s: {status} after {seconds:.2f} s\n{said[-500:]}")
        found[verb] = {"seconds": round(worst, 2), "ended_before": n_ended}
    return {"verbs": found, "failures": failures}


def commands(warehouse: Path, model: str, checkpoint: Path, folder: Path) -> dict[str, list[str]]:
    own = {
        "chart": ["--q", "effective_rank_by_layer", "--out", str(folder / "a.png")],
        "charts": ["--out", str(folder / "charts")],
        "report": ["--out", str(folder / "report")],
        "export": ["--model", model, "--out", str(folder / "export")],
        "ingest": ["--model", str(checkpoint), "--name", "stopped", "--force"],
        "ingest-many": ["--list", str(_a_list(folder / "models.txt", checkpoint))],
        "load": ["--from", str(_a_pack(folder / "packs", checkpoint)), "--force"],
        "tag": ["--model", model, "--tags", "stopped=1"],
    }
    told = {verb: [verb, *own.get(verb, [])] for verb in VERBS if verb not in ELSEWHERE}
    told |= {f"query, {name}": ["query", "--sql", sql, "--format", "csv"] for name, sql in ENDLESS.items()}
    asked = {verb: [*words, "--warehouse", str(warehouse)] for verb, words in told.items()}
    return asked | {"clean-cache": ["clean-cache"]}


def _a_list(path: Path, checkpoint: Path) -> Path:
    """Of models enough to be at it at every moment."""
    path.write_text("".join(f"'{checkpoint}' NAME=listed{number}\n" for number in range(5)))
    return path


def _a_pack(folder: Path, checkpoint: Path) -> Path:
    words = ["ingest", "--model", str(checkpoint), "--name", "packed", "--pack", str(folder)]
    subprocess.run([sys.executable, "-m", "eigenhouse", *words], cwd=ROOT, check=True, capture_output=True)
    return folder


def stopped(words: list[str], name: str, moment: float, folder: Path) -> tuple[float, int, str]:
    """Seconds from the signal to the end, the status, what was said on standard error."""
    env = os.environ | {"EIGENHOUSE_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "eigenhouse", *words]
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=said)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(getattr(signal, name))
        at = time.monotonic()
        try:
            status = process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        seconds = time.monotonic() - at
        said.seek(0)
        return seconds, status, said.read()
