"""The stage that runs the prompts and keeps what every head did on each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
from eigenhouse.ingest import console
from eigenhouse.ingest.capture.attention import STATS
from eigenhouse.ingest.capture.forward import longest_text, run_prompts, share_off_eager, tokenize, usable_device
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.sources.prompts import PromptSet
from eigenhouse.ingest.stages.staging import long_frame, write_table

from eigenhouse.errors import EigenhouseError

MOST_OFF = 0.01  # of the tokens


def write_attention(bench: Workbench, out: Path, prompts: PromptSet) -> None:
    """Stage `attention_stats` of every stack that the prompts reach, and the prompts themselves.

    A model that can't be run on text here, or doesn't do under our kernel what it does under its own, has a row in
    `skipped_modules` instead.
    """
    reader = None if bench.forward_refusal else bench.reader
    if reader is None:
        reason = bench.forward_refusal or f"no part of {type(bench.loaded.model).__name__} could be run on text"
        _write_refusal(bench, out, reason)
        return
    if bench.lacks_encoder:
        _write_refusal(bench, out, "prompts are text, and the decoder that takes it can't be run beside its encoder")
        return
    device = usable_device(bench.options.device)
    bench.loaded.model.to(device)
    longest = longest_text(reader.body, reader.config, bench.tokenizer)
    tokenized = tokenize(bench.tokenizer, prompts, longest, console.say)
    pad_id = getattr(bench.tokenizer, "pad_token_id", None) or 0
    beside = bench.beside_text
    try:
        share = share_off_eager(reader, tokenized, pad_id, beside)
    except EigenhouseError as refusal:
        if not beside:
            raise
        _write_refusal(bench, out, str(refusal))  # sound and images are read without
        return
    if share > MOST_OFF:
        reason = f"{share:.0%} of its tokens' hidden states are other ones under its own eager attention"
        _write_refusal(bench, out, reason)
        return
    with console.stage("attention (prompts)", len(tokenized)) as advance:
        by_site = run_prompts(reader, bench.sites, tokenized, pad_id, advance, beside)
    expected = {}
    for number, stack in enumerate(bench.stacks):
        frames, n_heads = [], 0
        for layer, index in stack.sites.items():
            if index not in by_site:
                continue
            n_heads += bench.sites[index].call.query.shape[1]
            frames += [_stats_frame(prompts.name, prompt, layer, stats) for prompt, stats in enumerate(by_site[index])]
        keys = ["prompt_set", "prompt", "layer", "head"]
        write_table(out / f"stack{number}", "attention_stats", frames, keys)
        if not n_heads:
            reason = "prompts are text, which does not run through this stack"
            if stack.is_cross and beside:
                reason = f"its keys are made of {' and '.join(beside)}, made up where prompts are run beside it"
            _write_skipped(out / f"stack{number}", reason)
        expected[f"stack{number}"] = {
            "attention_stats": n_heads * len(prompts.texts),
            "skipped_modules": 0 if n_heads else 1,
        }
    table = pl.DataFrame({"text": prompts.texts, "sha256": prompts.sha256s}).with_row_index("prompt")
    named = table.select(pl.lit(prompts.name).alias("prompt_set"), pl.col("prompt").cast(pl.Int32), "text", "sha256")
    named.write_parquet(out / "prompts.parquet")
    (out / "expected.json").write_text(json.dumps(expected))


def _write_refusal(bench: Workbench, out: Path, reason: str) -> None:
    console.say(f"{reason}: no attention statistics")
    for number in range(len(bench.stacks)):
        _write_skipped(out / f"stack{number}", reason)
    expected = {f"stack{number}": {"skipped_modules": 1} for number in range(len(bench.stacks))}
    (out / "expected.json").write_text(json.dumps(expected))


def _write_skipped(folder: Path, reason: str) -> None:
    row = {"module": ["attention_stats"], "reason": [reason], "stage": ["attention"]}
    write_table(folder, "skipped_modules", [pl.DataFrame(row)], ["module"])


def _stats_frame(prompt_set: str, prompt: int, layer: int, stats: dict[str, np.ndarray]) -> pl.DataFrame:
    counts = {name: stats[name].astype(np.int32) for name in ("n_queries", "n_multi_queries")}
    values = {name: stats[name].astype(np.float32) for name in STATS}
    return long_frame(
        {"prompt_set": prompt_set, "prompt": prompt, "layer": layer}, ("head",), **counts, **values
    ).fill_nan(None)
