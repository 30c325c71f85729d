"""Exact attention in blocks of queries, and statistics of every head: entropy, spread of logits, weight on the sink.

Fills `attention_stats`. Pure functions of tensors; `forward.py` calls them on prompts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

BLOCK_LOGITS = 2**20  # logits held at a time over batch, heads, queries and keys: 4 MB, what a cache takes
FORBIDDEN = -9.9e3  # models add at most this to the score of a masked key: old ones -10,000, new ones the least float
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
    """Logits of the queries [start, stop), scaled, capped and biased, with the keys each may look at."""

    start: int
    stop: int
    logits: torch.Tensor  # (batch, head, query, key)
    is_allowed: torch.Tensor  # broadcastable to logits, bool


def blocks(call: AttentionCall) -> Iterator[Block]:
    """Logits block by block, so that no more than BLOCK_LOGITS of them are held whatever the text's length."""
    n_batch, n_heads, n_queries, _ = call.query.shape
    n_keys = call.key.shape[2]
    step = max(1, BLOCK_LOGITS // max(1, n_batch * n_heads * n_keys))
    key = key_of_each_query_head(call.key, n_heads)
    for start in range(0, n_queries, step):
        stop = min(start + step, n_queries)
        logits = (call.query[:, :, start:stop] * call.scaling) @ key.transpose(-1, -2)
        if call.softcap is not None:
            logits = torch.tanh(logits / call.softcap) * call.softcap
        if call.position_bias is not None:
            logits = logits + _rows(call.position_bias, start, stop)
        is_allowed = torch.ones(1, 1, 1, n_keys, dtype=torch.bool, device=logits.device)
        if call.mask is not None:
            mask = _rows(call.mask, start, stop)[..., :n_keys]
            if mask.dtype == torch.bool:
                is_allowed = mask
            else:
                is_allowed = mask > FORBIDDEN
                # a mask may carry a bias as well (ALiBi): what it adds to an allowed key is part of the logit
                logits = logits + mask.masked_fill(~is_allowed, 0)
        yield Block(start, stop, logits, is_allowed)


def attend(call: AttentionCall) -> torch.Tensor:
    """Attention output (batch, head, query, feature), equal to the model's eager kernel."""
    assert call.value is not None, "attention that is computed elsewhere has no output here"
    value = key_of_each_query_head(call.value, call.query.shape[1])
    out = []
    for block in blocks(call):
        weights = _softmax(block, call.sinks)
        out.append(weights.to(value.dtype) @ value)
    return torch.cat(out, dim=2)


def attention_weights(call: AttentionCall) -> torch.Tensor:
    """Weights (batch, head, query, key), all at once: for short texts."""
    return torch.cat([_softmax(block, call.sinks) for block in blocks(call)], dim=2)


def head_stats(call: AttentionCall, is_real: torch.Tensor) -> dict[str, torch.Tensor]:
    """The statistics of `attention_stats`, each (batch, head) float64, NaN where they have no query to average.

    is_real: (batch, query) bool, False at padding. Beside STATS: n_queries and n_multi_queries, (batch, head).
    Error: below 1e-4 nats against the eager weights of the same model in float32.
    Formulas: over the allowed keys j of query i with weights a and logits s, entropy = lse(s) - E_a[s]; the same
    with key 0 left out and the rest renormalised; logit_std pools by the law of total variance.
    """
    sums: dict[str, torch.Tensor] = {}
    for block in blocks(call):
        rows = _row_stats(block, call.sinks)
        # queries are padded on the right, so key 0 is the first real token
        keep = is_real[:, None, block.start : block.stop].to(rows["n_keys"].device) & (rows["n_keys"] > 0)
        for name, value in _masked_sums(rows, keep).items():
            sums[name] = sums.get(name, 0) + value
    return _means(sums, has_sinks=call.sinks is not None)


def _row_stats(block: Block, sinks: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Per query, (batch, head, query) float32 on the call's device, over real keys; sinks have a weight of their own.

    One softmax over the keys after the first; key 0 joins by the grouping property of entropy, with a its weight:
    H = (1-a) (H_rest - ln(1-a)) - a ln a. Every term is positive, so that no digits are lost where a is nearly 1.
    """
    logits, excluded = block.logits.float(), ~block.is_allowed  # the mask is the same for all heads
    n_keys = block.is_allowed.sum(-1).expand(logits.shape[:-1])
    mean = logits.masked_fill(excluded, 0).sum(-1) / n_keys.clamp(min=1)
    square = (logits - mean[..., None]).masked_fill_(excluded, 0).square_().sum(-1)

    first = logits[..., 0].masked_fill(excluded[..., 0], EXCLUDED)
    rest = logits[..., 1:].masked_fill(excluded[..., 1:], EXCLUDED)
    has_rest = n_keys > (~excluded[..., 0]).int()
    if rest.shape[-1] == 0:
        rest = torch.full_like(logits, EXCLUDED)
    peak = rest.amax(-1)
    rest = rest.sub_(peak[..., None])  # excluded keys stay far below: exp gives 0
    weights = rest.exp()
    total = weights.sum(-1)
    rest_entropy = torch.where(has_rest, total.log() - (weights * rest).sum(-1) / total, 0)
    rest_lse = torch.where(has_rest, peak + total.log(), EXCLUDED)

    log_a, log_b = nn.functional.logsigmoid(first - rest_lse), nn.functional.logsigmoid(rest_lse - first)
    a, b = log_a.exp(), log_b.exp()
    stats = {
        "n_keys": n_keys,
        "entropy": b * rest_entropy - _x_log_x(b, log_b) - _x_log_x(a, log_a),
        "mean": mean,
        "square": square,
        "top1": torch.maximum(a, b / total),
        "sink": a,
        "rest_entropy": rest_entropy,
    }
    if sinks is not None:
        lse = torch.logaddexp(first, rest_lse)
        stats["sink_logit_weight"] = torch.sigmoid(sinks.float().reshape(1, -1, 1) - lse)
    return stats


def _x_log_x(x: torch.Tensor, log_x: torch.Tensor) -> torch.Tensor:
    """x ln x, 0 at x = 0 however far below zero the log lies."""
    return torch.where(x > 0, x * log_x, 0)


def _masked_sums(rows: dict[str, torch.Tensor], keep: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sums over the queries to keep, float64 on the CPU (mps has no float64)."""
    rows = {name: value.cpu().double() for name, value in rows.items()}
    keep = keep.cpu().double()
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
    shown = block.logits.float().masked_fill(~block.is_allowed, EXCLUDED)
    if sinks is None:
        return torch.softmax(shown, dim=-1)
    column = sinks.float().reshape(1, -1, 1, 1).expand(shown.shape[0], -1, shown.shape[2], 1)
    return torch.softmax(torch.cat([shown, column], dim=-1), dim=-1)[..., :-1]


def key_of_each_query_head(tensor: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Key heads repeated so that query head h meets key head h // (H/G)."""
    return tensor.repeat_interleave(n_heads // tensor.shape[1], dim=1)


def _rows(tensor: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    return tensor if tensor.shape[-2] == 1 else tensor[..., start:stop, :]
