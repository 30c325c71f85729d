"""Exact attention in blocks of queries, and statistics of every head: entropy, spread of logits, weight on the sink.

Fills `attention_stats`. Pure functions of tensors; `forward.py` calls them on prompts. The output and the statistics
are made of the same logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from eigenhouse.ingest import devices
from eigenhouse.ingest.capture import masks

BLOCK_LOGITS = 2**20  # logits held at a time over batch, heads, queries and keys: 4 MB, what a cache takes
DEVICE_LOGITS = 2**28  # the same on a GPU, where a block is a row of launches
DEVICE_SHARE = 16  # of a GPU's free bytes to a logit of a block: two of 4 bytes, and room for what the model makes
EXCLUDED = -1e30  # a finite stand-in for minus infinity: exp() of it is 0, and 0 * it is not NaN
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
# of each query, what a block leaves: the allowed keys, their logits' mean and sum of squares about it, key 0's logit;
# over the other keys the largest logit, and with e = exp(logit - largest) the sums of e and of e (logit - largest)
TRACES = ("n_keys", "mean", "square", "first", "peak", "total", "dot")


@dataclass(frozen=True)
class AttentionCall:
    """What an attention module passes to its kernel. Head counts of key and value divide the query's.

    query (batch, head, query, feature) · key, value (batch, kv head, key, feature) · mask additive, broadcast to
    (batch, head, query, key), or bool, or None for all keys · sinks (head,) learned logits without a key · value: None
    if the module computes its output itself · weights (batch, head, query, key): those that such a module returned.
    """

    module: Any  # the attention module that called
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor | None
    mask: torch.Tensor | None
    scaling: float
    softcap: float | None = None
    sinks: torch.Tensor | None = None
    position_bias: torch.Tensor | None = None
    window: int | None = None
    weights: torch.Tensor | None = None


@dataclass(frozen=True)
class Block:
    """Logits of some queries, scaled, capped and biased, over the keys that any of them may look at.

    logits: (batch, head, query, key) float32, in memory that the next block overwrites · is_excluded: broadcast to
    them, bool · clear: the keys among them that every query may look at · spare: memory for as many numbers.
    """

    queries: slice
    keys: slice
    logits: torch.Tensor
    is_excluded: torch.Tensor
    clear: slice
    spare: torch.Tensor

    def exclude(self, value: float) -> None:
        """Put a value in place of the logits of keys that a query may not look at."""
        for edge in (slice(0, self.clear.start), slice(self.clear.stop, None)):
            self.logits[..., edge].masked_fill_(self.is_excluded[..., edge], value)


def blocks(call: AttentionCall) -> Iterator[Block]:
    """Logits block by block, so that a bounded number of them is held whatever the text's length."""
    n_batch, n_heads, n_queries, _ = call.query.shape
    n_keys, device = call.key.shape[2], call.query.device
    each = max(1, n_batch * n_heads)
    memory = _memory(device, max(_most_logits(device), each * n_keys))

    def fits(start: int, stop: int) -> bool:
        return each * (stop - start) * masks.n_keys_seen(call.mask, n_keys, start, stop) <= memory.shape[1]

    key = call.key.expand(n_batch, -1, -1, -1).float()
    for start, stop in masks.steps(n_queries, fits):
        keys, clear, is_allowed = masks.view(call.mask, n_keys, start, stop, device)
        shape = (n_batch, n_heads, stop - start, keys.stop - keys.start)
        logits, spare = (part[: torch.Size(shape).numel()].view(shape) for part in memory)
        query = call.query[:, :, start:stop].float() * call.scaling
        by_key_head(query, key[:, :, keys].transpose(-1, -2), out=logits)
        if call.softcap is not None:
            logits.div_(call.softcap).tanh_().mul_(call.softcap)
        if call.position_bias is not None:
            logits.add_(masks.rows_of(call.position_bias, start, stop)[..., keys])
        if call.mask is not None and not masks.is_lazy(call.mask) and call.mask.dtype != torch.bool:
            # a mask may carry a bias as well (ALiBi): what it adds to an allowed key is part of the logit
            logits.add_(masks.rows_of(call.mask, start, stop)[..., :n_keys].masked_fill(~is_allowed, 0))
        yield Block(slice(start, stop), keys, logits, ~is_allowed, clear, spare)


def _most_logits(device: torch.device) -> int:
    if device.type == "cpu":
        return BLOCK_LOGITS
    return max(BLOCK_LOGITS, min(DEVICE_LOGITS, devices.free_bytes(device) // DEVICE_SHARE))


def _memory(device: torch.device, n_logits: int) -> torch.Tensor:
    """Two rows of n_logits; the CPU's is kept, since fresh pages cost more than the arithmetic in them."""
    if device.type == "cpu" and n_logits == BLOCK_LOGITS:
        return _kept(n_logits)
    return torch.empty(2, n_logits, device=device)


@cache
def _kept(n_logits: int) -> torch.Tensor:
    return torch.empty(2, n_logits)


def by_key_head(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """left (batch, head, query, x) @ right (batch, kv head, x, y), where head h meets kv head h // (H/G)."""
    n_batch, n_heads, n_queries, _ = left.shape
    n_groups, n_columns = right.shape[1], right.shape[-1]
    shape = (n_batch * n_groups, n_heads // n_groups * n_queries)
    flat = None if out is None else out.view(*shape, n_columns)
    product = torch.bmm(left.reshape(*shape, -1), right.reshape(shape[0], *right.shape[2:]), out=flat)
    return product.view(n_batch, n_heads, n_queries, n_columns)


def attend(call: AttentionCall) -> torch.Tensor:
    """Attention output (batch, head, query, feature), equal to the model's eager kernel."""
    assert call.value is not None, "attention that is computed elsewhere has no output here"
    value = call.value.float()
    out = [by_key_head(_softmax(block, call.sinks), value[:, :, block.keys]) for block in blocks(call)]
    return torch.cat(out, dim=2).to(call.value.dtype)


def attention_weights(call: AttentionCall) -> torch.Tensor:
    """Weights (batch, head, query, key), all at once: for short texts."""
    weights = call.query.new_zeros(*call.query.shape[:3], call.key.shape[2], dtype=torch.float32)
    for block in blocks(call):
        weights[:, :, block.queries, block.keys] = _softmax(block, call.sinks)
    return weights


def head_stats(call: AttentionCall, is_real: torch.Tensor) -> dict[str, torch.Tensor]:
    """`measured` without the output."""
    return measured(call, is_real)[0]


def measured(call: AttentionCall, is_real: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """The statistics of `attention_stats`, each (batch, head) float64, NaN where they have no query to average.

    And the attention's output (batch, head, query, feature), None without values.
    is_real: (batch, query) bool, False at padding. Beside STATS: n_queries and n_multi_queries, (batch, head).
    They stay on the call's device, but for mps, which has no float64. Nothing is copied to the host a block.
    Error: below 1e-4 nats against the eager weights of the same model in float32.
    Formulas: over the allowed keys j of query i with weights a and logits s, entropy = lse(s) - E_a[s]; the same
    with key 0 left out and the rest renormalised; logit_std pools by the law of total variance.
    """
    n_batch, n_heads, n_queries, _ = call.query.shape
    traces = torch.empty(len(TRACES), n_batch, n_heads, n_queries, device=call.query.device)
    value = None if call.value is None else call.value.float()
    output = None if value is None else value.new_empty(n_batch, n_heads, n_queries, value.shape[-1])
    for block in blocks(call):
        weights = _trace(block, traces[..., block.queries])
        if output is not None and value is not None:
            output[:, :, block.queries] = by_key_head(weights, value[:, :, block.keys])
    rows = _row_stats(dict(zip(TRACES, traces, strict=True)), call.sinks)
    if output is not None and value is not None and call.value is not None:
        output = _weighted(output, rows, key_of_each_query_head(value[:, :, :1], n_heads)).to(call.value.dtype)
    # queries are padded on the right, so key 0 is the first real token
    keep = is_real[:, None].to(traces.device) & (rows["n_keys"] > 0)
    return _means(_masked_sums(rows, keep), has_sinks=call.sinks is not None), output


def _trace(block: Block, traces: torch.Tensor) -> torch.Tensor:
    """Write what the block leaves of each query, and return exp(logit - peak), 0 for key 0, in the block's memory."""
    n_keys, mean, square, first, peak, total, dot = traces
    logits, weights = block.logits, block.spare
    n_keys.copy_(logits.shape[-1] - block.is_excluded.sum(-1))
    block.exclude(0)
    torch.div(logits.sum(-1), n_keys.clamp(min=1), out=mean)
    logits.sub_(mean[..., None])
    block.exclude(0)
    square.copy_(torch.linalg.vector_norm(logits, dim=-1).square_())
    block.exclude(EXCLUDED)
    first.fill_(EXCLUDED)
    if block.keys.start == 0:  # else a window leaves key 0 out
        first.copy_(logits[..., 0])
        logits[..., 0] = EXCLUDED
    peak.copy_(logits.amax(-1))
    logits.sub_(peak[..., None])  # excluded keys stay far below: exp gives 0
    torch.exp(logits, out=weights)
    total.copy_(weights.sum(-1))
    dot.copy_(logits.mul_(weights).sum(-1))
    return weights


def _row_stats(traces: dict[str, torch.Tensor], sinks: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Per query, (batch, head, query) float32 on the call's device, over real keys; sinks have a weight of their own.

    One softmax over the keys after the first; key 0 joins by the grouping property of entropy, with a its weight:
    H = (1-a) (H_rest - ln(1-a)) - a ln a. Every term is positive, so that no digits are lost where a is nearly 1.
    Logits are counted from their mean here; nothing but the sinks depends on it.
    """
    first, peak, total = traces["first"], traces["peak"], traces["total"]
    has_rest = traces["n_keys"] > (first > EXCLUDED / 2)
    rest_entropy = torch.where(has_rest, total.log() - traces["dot"] / total, 0)
    rest_lse = torch.where(has_rest, peak + total.log(), EXCLUDED)
    log_a, log_b = nn.functional.logsigmoid(first - rest_lse), nn.functional.logsigmoid(rest_lse - first)
    a, b = log_a.exp(), log_b.exp()
    stats = {name: traces[name] for name in ("n_keys", "mean", "square")} | {
        "entropy": b * rest_entropy - _x_log_x(b, log_b) - _x_log_x(a, log_a),
        "top1": torch.maximum(a, b / total),
        "sink": a,
        "rest": b / total,
        "rest_entropy": rest_entropy,
    }
    if sinks is not None:
        lse = torch.logaddexp(first, rest_lse) + traces["mean"]
        stats["sink_logit_weight"] = torch.sigmoid(sinks.float().reshape(1, -1, 1) - lse)
    return stats


def _weighted(output: torch.Tensor, rows: dict[str, torch.Tensor], first_value: torch.Tensor) -> torch.Tensor:
    """The output of sums over the keys after the first: they share a weight, key 0 has its own, sinks take the rest."""
    output = output.mul_(rows["rest"][..., None]).addcmul_(rows["sink"][..., None], first_value)
    return output.mul_(1 - rows["sink_logit_weight"][..., None]) if "sink_logit_weight" in rows else output


def _x_log_x(x: torch.Tensor, log_x: torch.Tensor) -> torch.Tensor:
    """x ln x, 0 at x = 0 however far below zero the log lies."""
    return torch.where(x > 0, x * log_x, 0)


def _masked_sums(rows: dict[str, torch.Tensor], keep: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sums over the queries to keep, float64."""
    if keep.device.type == "mps":  # has no float64
        rows, keep = {name: value.cpu() for name, value in rows.items()}, keep.cpu()
    rows, keep = {name: value.double() for name, value in rows.items()}, keep.double()
    n_keys, multi = rows["n_keys"], keep * (rows["n_keys"] >= 2)
    sums = {
        "n": keep,
        "n_multi": multi,
        "entropy": keep * rows["entropy"],
        "fraction": multi * rows["entropy"] / n_keys.clamp(min=2).log(),
        "std": multi * (rows["square"] / n_keys.clamp(min=1)).sqrt(),
        "rest_entropy": multi * rows["rest_entropy"],
        "top1": keep * rows["top1"],
        "sink": keep * rows["sink"],
        "entries": keep * n_keys,
        "logit": keep * n_keys * rows["mean"],
        "logit_square": keep * (rows["square"] + n_keys * rows["mean"].square()),
    }
    if "sink_logit_weight" in rows:
        sums["sink_logit_weight"] = keep * rows["sink_logit_weight"]
    return {name: value.sum(-1) for name, value in sums.items()}


def _means(sums: dict[str, torch.Tensor], has_sinks: bool) -> dict[str, torch.Tensor]:
    n, multi = sums["n"], sums["n_multi"]
    pooled_mean = sums["logit"] / sums["entries"]
    pooled_variance = (sums["logit_square"] / sums["entries"] - pooled_mean.square()).clamp(min=0)
    return {
        "n_queries": n,
        "n_multi_queries": multi,
        "entropy_nats": sums["entropy"] / n,
        "entropy_fraction": sums["fraction"] / multi,
        "logit_std": sums["std"] / multi,
        "logit_std_pooled": pooled_variance.sqrt(),
        "top1_weight": sums["top1"] / n,
        "sink_weight": sums["sink"] / n,
        "entropy_without_sink_nats": sums["rest_entropy"] / multi,
        "sink_logit_weight": sums["sink_logit_weight"] / n if has_sinks else torch.full_like(n, torch.nan),
    }


def _softmax(block: Block, sinks: torch.Tensor | None) -> torch.Tensor:
    block.exclude(EXCLUDED)
    shown = block.logits
    if sinks is None:
        return torch.softmax(shown, dim=-1)
    column = sinks.float().reshape(1, -1, 1, 1).expand(shown.shape[0], -1, shown.shape[2], 1)
    return torch.softmax(torch.cat([shown, column], dim=-1), dim=-1)[..., :-1]


def key_of_each_query_head(tensor: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Key heads repeated so that query head h meets key head h // (H/G)."""
    return tensor.repeat_interleave(n_heads // tensor.shape[1], dim=1)
