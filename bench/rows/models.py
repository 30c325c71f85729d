"""Whole models: the packaged default beside the revision, GGUF files beside transformers' own loader."""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path

from bench.processes import ROOT, environment, ran
from bench.rows.row import Pair, Row
from bench.setting import Setting

LOAD = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from transformers import AutoModelForCausalLM
path = Path(sys.argv[1])
AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
"""
DEFAULT = "smollm2-135m"
LARGEST = "gemma3-270m"  # of the packaged ones, in the commonest quantization, Q4_K_M


def default_model(setting: Setting) -> Pair:
    """All of it, text included, as `make ingest` does it without options; the files are fetched before any clock."""
    setting.packaged(DEFAULT)
    ours, theirs = setting.ours(""), setting.theirs("")
    return Pair(ours.seconds, theirs.seconds, note=f"{DEFAULT}, text included", detail={"ours": ours.stages})


def gguf_seconds(setting: Setting) -> Pair:
    ours, theirs = _gguf(setting)
    return Pair(ours[0], theirs[0], note=f"{LARGEST}, whole process of each")


def gguf_memory(setting: Setting) -> Pair:
    ours, theirs = _gguf(setting)
    return Pair(ours[1], theirs[1], "MB", note=f"{LARGEST}, peak of each process")


@cache
def _gguf(setting: Setting) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds and peak MB of our static pass, and of transformers loading the same file; the best of two each."""
    file = str(setting.packaged(LARGEST))
    ours, theirs = [], []
    for _ in range(2):
        found = setting.ours(file, "--static-only")
        ours.append((found.seconds, found.peak_mb))
        with tempfile.TemporaryDirectory() as folder:
            theirs.append(ran([sys.executable, "-c", LOAD, file], ROOT, environment(Path(folder) / "cache")))
    return min(ours), min(theirs)


ROWS = (
    Row("default_model", "`make ingest` of the default model", "the revision", default_model, at_least=2.5),
    Row("gguf_seconds", "static pass of a GGUF", "transformers 5.23.0 loading it", gguf_seconds, at_least=5),
    Row("gguf_memory", "its peak memory", "transformers 5.23.0 loading it", gguf_memory, at_least=3),
)
