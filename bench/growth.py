"""How an ingest's seconds grow: one size at a time, the others as in a small model. Not ratios of two programs.

Each point is an ingest in a process of its own, so a start of some seconds is in all of them; the stages' own seconds
stand beside. The points of `tokens` are the stage of attention alone, in this process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import ours
from bench.random_checkpoint import Shape
from bench.rows.attention import texts
from bench.setting import Setting
from bench.timing import timed
from bench.view_cost import fill
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.sources.locate import resolve
from eigenhouse.ingest.warehouse import store
from eigenhouse.options import Ingest

BASE = Shape(8, 1024, 16, 4, 64, 4096)
LAYERS, HEADS, HIDDEN = (4, 8, 16, 32), (8, 16, 32), (512, 1024, 2048)
TOKENS, MODELS = (128, 512, 2048), (0, 10, 50)
Point = dict[str, Any]


def points(setting: Setting, base: Shape = BASE) -> Iterator[Point]:
    """axis, value, seconds, and of an ingest its stages' seconds and peak memory."""
    for n_layers in LAYERS:
        yield _static(setting, "layers", n_layers, base.deep(n_layers))
    for n_heads in HEADS:
        yield _static(setting, "heads", n_heads, replace(base, n_heads=n_heads))
    for hidden in HIDDEN:
        yield _static(setting, "hidden size", hidden, replace(base, hidden=hidden))
    yield from _models(setting, base.deep(4))
    yield from _tokens(setting, base)


def _static(setting: Setting, axis: str, value: int, shape: Shape, warehouse: Path | None = None) -> Point:
    found = setting.ours(str(setting.checkpoint(shape)), "--static-only", warehouse=warehouse)
    print(f"{axis} {value}: {found.seconds:.1f} s", flush=True)
    return {
        "axis": axis,
        "value": value,
        "seconds": found.seconds,
        "stages": found.stages,
        "peak_mb": found.peak_mb,
    }


def _models(setting: Setting, shape: Shape) -> Iterator[Point]:
    """The same ingest into warehouses that hold so many models of 36 layers of 32 heads already."""
    for n_models in MODELS:
        warehouse = setting.folder / f"{n_models}.duckdb"
        with store.connect(warehouse, read_only=False) as con:
            fill(con, n_models)
        yield _static(setting, "models there", n_models, shape, warehouse=warehouse)


def _tokens(setting: Setting, shape: Shape) -> Iterator[Point]:
    model = str(setting.checkpoint(shape))
    bench = Workbench(resolve(model), Ingest(model=model, dynamic_only=True, device="cpu"), needs_forward=True)
    ours.attention_statistics(bench, texts(16))  # what is found out of a model once
    for n_tokens in TOKENS:
        prompts = texts(n_tokens)
        seconds = timed(lambda prompts=prompts: ours.attention_statistics(bench, prompts))  # type: ignore[misc]
        print(f"tokens {n_tokens}: {seconds:.1f} s", flush=True)
        yield {"axis": "tokens of each of 4 prompts", "value": n_tokens, "seconds": seconds}
