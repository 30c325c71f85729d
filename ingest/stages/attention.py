"""What every head did on each prompt."""

from __future__ import annotations

import numpy as np
import polars as pl

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console
from eigenhouse.ingest.capture.attention import STATS
from eigenhouse.ingest.capture.forward import Found, not_finite, run_prompts
from eigenhouse.ingest.capture.own_attention import MOST_OFF, compared, share_off_eager
from eigenhouse.ingest.capture.texts import longest_text, tokenize
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.sources.prompts import PromptSet
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.frames import long_frame
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.model_parts import folder_of
from eigenhouse.ingest.stages.writer import Writer


@stage(
    reads=("factors",),
    writes=("attention_stats",),
    shares=("prompts",),
    scope={"prompt_set": "= $prompt_set"},
    options=("prompts", "dtype"),
    unless=("static_only",),
    version=1,
)
def attention(inputs: Inputs, out: Writer) -> None:
    """Of every stack that the prompts reach, and the prompts themselves.

    A model that can't be run on text here, or doesn't do under our kernel what it does under its own, has a row in
    `skipped_modules` instead.
    """
    bench, prompts = inputs.bench, inputs.prompts
    found = _measure(bench, prompts)
    if isinstance(found, str):
        console.say(f"{found}: no attention statistics")
        for number in range(len(bench.stacks)):
            out.skip(folder_of(number), {"attention_stats": found})
        return
    for number, stack in enumerate(bench.stacks):
        name, is_reached = folder_of(number), False
        for layer, index in stack.sites.items():
            if index in found.stats:
                n_heads, is_reached = bench.sites[index].call.query.shape[1], True
                by_prompt = sorted(found.stats[index].items())
                frames = [
                    _stats_frame(prompts.name, prompt, layer, stats, bench.fit.name) for prompt, stats in by_prompt
                ]
                out.table("attention_stats", name).add(pl.concat(frames), expected=n_heads * len(prompts.texts))
        if not is_reached:
            reason = "prompts are text, which does not run through this stack"
            if stack.is_cross and bench.beside_text:
                made_up = " and ".join(bench.beside_text)
                reason = f"its keys are made of {made_up}, made up where prompts are run beside it"
            out.skip(name, {"attention_stats": reason})
    out.shared("prompts").add(_prompt_frame(prompts), expected=len(prompts.texts))


def _measure(bench: Workbench, prompts: PromptSet) -> Found | str:
    """The statistics, or why there are none."""
    part = None if bench.forward_refusal else bench.reader
    if part is None:
        nowhere = f"no part of {type(bench.loaded.model).__name__} could be run on text"
        return bench.forward_refusal or nowhere
    if bench.lacks_encoder:
        return "prompts are text, and the decoder that takes it can't be run beside its encoder"
    longest = longest_text(part.body, part.config, bench.tokenizer)
    tokenized = tokenize(bench.tokenizer, prompts, longest, console.say)
    reader, sites = bench.text_reader()
    try:
        with console.stage("attention (prompts)", len(tokenized)) as advance:
            found = run_prompts(reader, sites, tokenized, advance, compared(tokenized))
        if n := not_finite(found):
            return f"{n} heads' entropies on prompts are not finite in {bench.fit.name}; another DTYPE may do"
        share = share_off_eager(reader, tokenized, found)
    except EigenhouseError as refusal:
        if not bench.beside_text:
            raise
        return str(refusal)  # sound and images are read without
    if share > MOST_OFF:
        return f"{share:.0%} of its tokens' hidden states are other ones under its own eager attention"
    return found


def _stats_frame(prompt_set: str, prompt: int, layer: int, stats: dict[str, np.ndarray], dtype: str) -> pl.DataFrame:
    counts = {name: stats[name].astype(np.int32) for name in ("n_queries", "n_multi_queries")}
    values = {name: stats[name].astype(np.float32) for name in STATS}
    frame = long_frame({"prompt_set": prompt_set, "prompt": prompt, "layer": layer}, ("head",), **counts, **values)
    return frame.fill_nan(None).with_columns(dtype=pl.lit(dtype))


def _prompt_frame(prompts: PromptSet) -> pl.DataFrame:
    table = pl.DataFrame({"text": prompts.texts, "sha256": prompts.sha256s}).with_row_index("prompt")
    return table.select(pl.lit(prompts.name).alias("prompt_set"), pl.col("prompt").cast(pl.Int32), "text", "sha256")
