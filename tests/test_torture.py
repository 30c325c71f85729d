"""`make torture` in short: a full disk, kills, signals and a crowd, each on one warehouse of a tiny model."""

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.torture import page
from bench.torture.disks import UNSHARED
from bench.torture.kills import Kill, Killer, summed_up
from bench.torture.subject import Failed
from eigenhouse.ingest.warehouse.store import LOADED
from eigenhouse.options import STOPPED_INGEST

ROOT = Path(__file__).resolve().parent.parent


def can_mount():
    """Whether this machine gives a process namespaces of its own, in which to mount a small disk."""
    try:
        return subprocess.run([*UNSHARED, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def test_a_warehouse_survives_a_few_of_each():
    """Each kill leaves the old rows or the new ones, each next ingest completes: the bench fails where one doesn't."""
    has_disk = can_mount()
    command = [*(UNSHARED if has_disk else []), sys.executable, "-m", "bench.torture.short", *(["disk"] * has_disk)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["full"][:1] == ["full"] * has_disk
    assert {*found["left"]} <= {"old", "new", None} and len(found["left"]) == 1
    assert found["crowd"]["failures"] == [] and min(found["crowd"]["loads"], found["crowd"]["reads"]) > 0


def test_the_figures_say_what_was_tried():
    kills = [
        Kill("load", "SIGKILL", "load", "new", 0.1),
        Kill("whole", "SIGINT", "spectra", "old", 0.7),
        Kill("cold", "SIGTERM", "spectra", "old", 0.3),
    ]
    result = summed_up(kills) | {"failures": [], "took": 90, "machine": "m", "measured_at": "today", "code": "c"}
    text = page.figures({"kills": result, "fuzz": result | {"not_run": "there is no bench.fuzz"}})
    assert "3 ingests ended from outside" in text and "the old rows 2 times, all of the new ones 1 times" in text
    assert "| spectra | 0.70 |" in text and "not run: there is no bench.fuzz" in text
    assert result["signals"] == Counter(SIGKILL=1, SIGINT=1, SIGTERM=1)


@pytest.mark.parametrize(
    ("name", "status", "said", "left", "fault"),
    [
        ("SIGKILL", -9, "", 1, ""),
        ("SIGKILL", -9, "", None, "neither the old rows nor the new ones"),
        ("SIGKILL", 0, "", 1, "its rows aren't there"),
        ("SIGKILL", 1, "error", 1, "status 1"),
        ("SIGINT", 130, STOPPED_INGEST, 1, ""),
        ("SIGINT", 130, STOPPED_INGEST, 2, "left the rows of 2"),
        ("SIGTERM", 143, LOADED, 1, "left the rows of 1"),
        ("SIGTERM", 143, f"Traceback\n{LOADED}", 2, "took 0.10 s"),
    ],
)
def test_a_kill_that_breaks_the_promise_is_seen(name, status, said, left, fault):
    """Seed 1 stands in the warehouse, 2 is under way."""
    killer = Killer(SimpleNamespace(holds=1, other=2), 0)
    with pytest.raises(Failed, match=fault) if fault else nullcontext():
        killer._want_kept(name, status, 0.1, said, left, "load")
