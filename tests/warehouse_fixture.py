"""Hand-built loads for the tests of the warehouse: prime axes, a zero head, decoys for every filter."""

import math
import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from eigenhouse.ingest.warehouse.loads import Entry, StackLoad, StagedTable

N_LAYERS, N_HEADS, N_VALUES = 3, 5, 7
OPERATORS = ("head_product", "metric")
PROMPT_SETS = {"std@0a1b2c3d": 2, "odd@ffffffff": 1}
ZERO_HEAD = (1, 2)  # layer, head
STATS = (
    "entropy_nats",
    "entropy_fraction",
    "logit_std",
    "logit_std_pooled",
    "top1_weight",
    "sink_weight",
    "entropy_without_sink_nats",
    "sink_logit_weight",
)
MULTI_STATS = ("entropy_fraction", "logit_std", "entropy_without_sink_nats")


def spectrum(seed: int, operator: str, layer: int, head: int, n_values: int = N_VALUES) -> list[float]:
    """Falling values, float32 as staged; one zero head, and a zero smallest value in head 0."""
    if (layer, head) == ZERO_HEAD:
        return [0.0] * n_values
    draw = random.Random(f"{seed} {operator} {layer} {head}")
    values = sorted((draw.lognormvariate(0, 1) for _ in range(n_values)), reverse=True)
    if head == 0:
        values[-1] = 0.0
    return pl.Series(values, dtype=pl.Float32).to_list()


def singular_values(seed: int, n_layers: int = N_LAYERS, n_heads: int = N_HEADS) -> pl.DataFrame:
    rows = [
        (operator, layer, head, k, sigma)
        for operator in OPERATORS
        for layer in range(n_layers)
        for head in range(n_heads)
        for k, sigma in enumerate(spectrum(seed, operator, layer, head))
    ]
    kinds = {"layer": pl.Int16, "head": pl.Int16, "k": pl.Int32, "sigma": pl.Float32}
    names = ["operator", "layer", "head", "k", "sigma"]
    return pl.DataFrame(rows, schema=names, orient="row").cast(kinds)


def attention_stats(seed: int, sets: dict[str, int] = PROMPT_SETS) -> pl.DataFrame:
    """Prompt p has 4 + 9p queries, none with two keys in prompt 0 of head 3; no sink logits in layer 0.

    Prompt 1 lacks some values of heads 1 and 4 that prompt 0 has.
    """
    draw = random.Random(f"attention {seed}")
    rows = []
    for name, prompt, layer, head in sorted(
        (name, prompt, layer, head)
        for name, n_prompts in sets.items()
        for prompt in range(n_prompts)
        for layer in range(N_LAYERS)
        for head in range(N_HEADS)
    ):
        n_queries = 4 + 9 * prompt
        n_multi = 0 if (prompt, head) == (0, 3) else n_queries - 1
        values = {stat: draw.random() for stat in STATS}
        row: dict[str, object] = {"prompt_set": name, "prompt": prompt, "layer": layer, "head": head}
        row |= {"n_queries": n_queries, "n_multi_queries": n_multi, **values}
        row |= dict.fromkeys(MULTI_STATS) if n_multi == 0 or (prompt, head) == (1, 1) else {}
        row |= dict.fromkeys(set(STATS) - set(MULTI_STATS)) if (prompt, head) == (1, 4) else {}
        row |= {"sink_logit_weight": None} if layer == 0 else {}
        rows.append(row)
    kinds = {"prompt": pl.Int32, "layer": pl.Int16, "head": pl.Int16}
    kinds |= {"n_queries": pl.Int32, "n_multi_queries": pl.Int32, **dict.fromkeys(STATS, pl.Float32)}
    return pl.DataFrame(rows, infer_schema_length=None).cast(kinds).with_columns(dtype=pl.lit("float32"))


def eigenvectors(n_layers: int = N_LAYERS) -> pl.DataFrame:
    rows = [
        (layer, head, k, [math.sin(layer + head + k), math.cos(layer + head + k)])
        for layer in range(n_layers)
        for head in range(N_HEADS)
        for k in range(2)
    ]
    kinds = {"layer": pl.Int16, "head": pl.Int16, "k": pl.Int32, "vector": pl.List(pl.Float32)}
    return pl.DataFrame(rows, schema=["layer", "head", "k", "vector"], orient="row").cast(kinds)


def skipped_modules(*modules: str) -> pl.DataFrame:
    rows = {"module": list(modules), "reason": ["no such gain"] * len(modules), "stage": ["spectra"] * len(modules)}
    return pl.DataFrame(rows, schema=dict.fromkeys(rows, pl.String))


def prompts() -> pl.DataFrame:
    rows = [
        (name, prompt, f"text {prompt}", f"{prompt:064x}")
        for name, n in sorted(PROMPT_SETS.items())
        for prompt in range(n)
    ]
    return pl.DataFrame(rows, schema=["prompt_set", "prompt", "text", "sha256"], orient="row")


def staged(folder: Path, **frames: pl.DataFrame) -> dict[str, list[Path]]:
    """Each frame as the staged file of its table."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, frame in frames.items():
        frame.write_parquet(folder / f"{table}.parquet")
    return {table: [folder / f"{table}.parquet"] for table in frames}


def stack(model_id: str, tables: dict[str, list[Path]], *, weights: str | None = "a" * 64) -> StackLoad:
    """A load of these staged files, with the sizes of the fixture and a run of its own."""
    now = datetime(2025, 3, 5, 7, 11, tzinfo=UTC)
    model = {
        "name": model_id.split("@")[0].split("#")[0], "revision": None, "revision_order": None, "source": "of a test",
        "checkpoint": model_id.split("#")[0], "stack": None, "weights_sha256": weights, "architecture": "Toy",
        "n_layers": N_LAYERS, "n_heads": N_HEADS, "n_kv_heads": N_HEADS, "head_dim": N_VALUES,
        "hidden_size": 11, "ffn_size": None, "dtype": "float32", "quantization": None,
        "attention_scale": 7**-0.5, "has_qk_norm": False, "has_qk_bias": False, "position_encoding": "rope",
    }  # fmt: skip
    run = {
        "run_id": uuid.uuid4().hex, "started_at": now, "finished_at": now, "status": "done",
        "seconds": 1.5, "peak_rss_mb": 130.0, "options": "{}", "versions": "{}", "stages": "{}",
    }  # fmt: skip
    static = tables.keys() & {"singular_values", "skipped_modules"}
    stages = {"spectra": Entry("f0")} if static else {"attention": Entry("f1")}
    return StackLoad(model_id, model, run, stages, {table: StagedTable(files) for table, files in tables.items()})


def with_tables(load: StackLoad, tables: dict[str, list[Path]], **changes: object) -> StackLoad:
    """The load with further staged files in front of its own."""
    further = {table: StagedTable(files) for table, files in tables.items()}
    return replace(load, tables=further | load.tables, **changes)


def expecting(load: StackLoad, **n_rows: int) -> StackLoad:
    """The load with the rows that the shapes predict for some of its tables."""
    expected = {table: replace(load.tables[table], expected=n) for table, n in n_rows.items()}
    return replace(load, tables=load.tables | expected)


def full_load(folder: Path, model_id: str, seed: int, *, weights: str = "a" * 64) -> StackLoad:
    """Spectra, eigenvectors, attention and skipped modules of one model, and the rows its shape predicts."""
    tables = staged(
        folder,
        singular_values=singular_values(seed),
        eigenvectors=eigenvectors(),
        attention_stats=attention_stats(seed),
        skipped_modules=skipped_modules("metric_folded"),
    )
    load = stack(model_id, tables, weights=weights)
    n_values = len(OPERATORS) * N_LAYERS * N_HEADS * N_VALUES
    n_stats = sum(PROMPT_SETS.values()) * N_LAYERS * N_HEADS
    load = replace(load, stages={"spectra": Entry("f0"), "attention": Entry("f1")})
    return expecting(load, singular_values=n_values, attention_stats=n_stats)
