"""Attention statistics against the weights that the model's own eager kernel returns."""

import math

import numpy as np
import pytest
import tiny_models
import torch

from eigenhouse.ingest.capture import attention, kernel
from eigenhouse.ingest.capture.attention import AttentionCall, blocks, head_stats

LENGTHS = (11, 7, 1)  # real tokens of the prompts in one padded batch


def by_loops(weights, logits, allowed, sinks=None):
    """The definitions word by word for one prompt: weights, logits (head, query, key) float64, allowed (query, key)."""
    names = (
        "entropy_nats",
        "entropy_fraction",
        "logit_std",
        "top1_weight",
        "sink_weight",
        "entropy_without_sink_nats",
    )
    out = {name: [] for name in (*names, "logit_std_pooled")}
    for head in range(len(weights)):
        rows = {name: [] for name in names}
        pooled = []
        for query in range(weights.shape[1]):
            keys = [j for j in range(weights.shape[2]) if allowed[query, j]]
            total = sum(weights[head, query, j] for j in keys)
            a = [weights[head, query, j] / total for j in keys]
            s = [logits[head, query, j] for j in keys]
            entropy = -sum(x * math.log(x) for x in a if x > 0)
            pooled += s
            rows["entropy_nats"].append(entropy)
            rows["top1_weight"].append(max(a))
            rows["sink_weight"].append(a[0] if keys[0] == 0 else 0.0)
            if len(keys) >= 2:
                rows["entropy_fraction"].append(entropy / math.log(len(keys)))
                rows["logit_std"].append(np.std(s))
                rest = a[1:] if keys[0] == 0 else a
                rows["entropy_without_sink_nats"].append(-sum(x / sum(rest) * math.log(x / sum(rest)) for x in rest))
        for name in names:
            out[name].append(np.mean(rows[name]) if rows[name] else math.nan)
        out["logit_std_pooled"].append(np.std(pooled))
    return out


def eager_weights(kind, inputs):
    model = tiny_models.build(kind, attention="eager")
    with torch.no_grad():
        out = model(**inputs, output_attentions=True)
    return [
        layer.double().numpy()
        for layer in (out.attentions if "attentions" in out else out.encoder_attentions)
        if layer is not None
    ]


def captured_stats(kind, inputs, is_real):
    calls = []
    model = tiny_models.build(kind)
    with torch.no_grad(), kernel.listening(calls.append, traced_batch=len(is_real)):
        model(**inputs)
    return [(call, head_stats(call, is_real)) for call in calls]


@pytest.mark.parametrize(
    "kind",
    [
        "grouped heads",
        "softcap",
        "qk-norm as 1+g, sliding",
        "own q scaling",
        "encoder",
        "sinks",
        "fused interleaved",
        *(kind for kind in tiny_models.CONFIGS if kind.startswith("own kernel")),
    ],
)
@pytest.mark.parametrize("block", [2**20, 60], ids=["one block", "blocks of one query"])
def test_stats_equal_the_models_eager_attention(kind, block, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK_LOGITS", block)
    is_real = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
    ids = torch.where(is_real, (torch.arange(11)[None] * 7 + torch.tensor([[3], [5], [9]])) % 90 + 5, 0)
    inputs = {"input_ids": ids, "attention_mask": is_real.long()}
    eager = eager_weights(kind, inputs)
    found = captured_stats(kind, inputs, is_real)
    assert len(found) == len(eager) == 2
    for (call, stats), weights in zip(found, eager, strict=True):
        for prompt, length in enumerate(LENGTHS):
            allowed = weights[prompt, 0, :length] > 0
            logits = np.zeros(weights.shape[1:])
            for part in attention.blocks(call):
                logits[:, part.queries, part.keys] = part.logits[prompt].double().numpy()
            want = by_loops(weights[prompt, :, :length], logits[:, :length], allowed)
            for name, values in want.items():
                assert stats[name][prompt].numpy() == pytest.approx(np.array(values), abs=1e-4, nan_ok=True), name
            # logits are ours: their softmax is the model's
            row, n_keys = length - 1, int(allowed[length - 1].sum())
            ours = np.exp(logits[0, row][allowed[row]])
            theirs = weights[prompt, 0, row][allowed[row]]
            assert ours / ours.sum() == pytest.approx(theirs / theirs.sum(), abs=1e-5)
            assert stats["n_queries"][prompt].tolist() == [length] * len(weights[prompt])
            multi = sum(allowed[query].sum() >= 2 for query in range(length))
            assert stats["n_multi_queries"][prompt].tolist() == [multi] * len(weights[prompt])
            assert n_keys <= length


def test_sink_logits_take_the_weight_that_keys_lack():
    is_real = torch.ones(1, 11, dtype=torch.bool)
    inputs = {"input_ids": torch.arange(11)[None] + 5, "attention_mask": is_real.long()}
    for (_, stats), weights in zip(
        captured_stats("sinks", inputs, is_real), eager_weights("sinks", inputs), strict=True
    ):
        lacking = 1 - weights.sum(-1)
        assert lacking.mean() > 1e-3  # the eager kernel drops the sink's column
        assert stats["sink_logit_weight"][0].numpy() == pytest.approx(lacking[0].mean(-1), abs=1e-5)


def test_equal_scores_have_closed_forms():
    """Zero queries over causal keys: query i has entropy ln(i+1), and without key 0 ln(i)."""
    n, mask = 7, torch.full((1, 1, 7, 7), torch.finfo(torch.float32).min).triu(1)
    key = torch.randn(1, 1, n, 5, generator=torch.Generator().manual_seed(0))
    call = AttentionCall(None, torch.zeros(1, 2, n, 5), key, key, mask, 1.0)
    stats = head_stats(call, torch.ones(1, n, dtype=torch.bool))
    sizes = range(1, n + 1)
    assert stats["entropy_nats"][0, 1] == pytest.approx(sum(math.log(i) for i in sizes) / n, rel=1e-6)
    assert stats["entropy_fraction"][0, 1] == pytest.approx(1, rel=1e-6)
    assert stats["entropy_without_sink_nats"][0, 1] == pytest.approx(
        sum(math.log(i) for i in range(1, n)) / (n - 1), rel=1e-6
    )
    assert stats["sink_weight"][0, 1] == pytest.approx(sum(1 / i for i in sizes) / n, rel=1e-6)
    assert stats["logit_std"][0, 1] == 0 and stats["logit_std_pooled"][0, 1] == 0
    assert torch.isnan(stats["sink_logit_weight"]).all()


def test_a_sink_that_takes_nearly_all_keeps_the_rest_exact():
    """Key 0 leads by 40 nats: the rest, renormalised, still has the entropy of its own logits, ln 2."""
    key = torch.tensor([[[[40.0], [0.0], [0.0]]]])
    call = AttentionCall(None, torch.ones(1, 1, 1, 1), key, key, None, 1.0)
    stats = head_stats(call, torch.ones(1, 1, dtype=torch.bool))
    assert stats["entropy_without_sink_nats"].item() == pytest.approx(math.log(2), rel=1e-6)
    assert stats["entropy_nats"].item() == pytest.approx(2 * math.exp(-40) * 41, rel=1e-3)
    assert stats["sink_weight"].item() == pytest.approx(1)


def test_one_token_has_no_spread():
    key = torch.ones(1, 1, 1, 3)
    stats = head_stats(AttentionCall(None, key, key, key, None, 1.0), torch.ones(1, 1, dtype=torch.bool))
    assert stats["entropy_nats"].item() == 0 and stats["sink_weight"].item() == 1
    for name in ("entropy_fraction", "logit_std", "entropy_without_sink_nats"):
        assert math.isnan(stats[name].item())


def test_attention_output_is_the_models_own():
    inputs = {"input_ids": torch.arange(11)[None] + 5}
    for kind in ("softcap", "sinks", "encoder", "encoder-decoder"):
        own, ours = tiny_models.build(kind, attention="eager"), tiny_models.build(kind)
        given = inputs | ({"decoder_input_ids": inputs["input_ids"]} if own.config.is_encoder_decoder else {})
        with torch.no_grad():
            assert torch.allclose(own(**given)[0], ours(**given)[0], atol=1e-4)


@pytest.mark.parametrize("forbidden", [-10000.0, -1e9, torch.finfo(torch.float32).min, -torch.inf])
def test_a_masked_key_is_none_however_it_is_masked(forbidden):
    """Old models add -10,000 to its score; what is added to the others is part of theirs, as ALiBi's slopes are."""
    query, key = torch.randn(2, 1, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    slopes = -3.0 * torch.arange(7.0)
    is_allowed = torch.ones(7, 7, dtype=torch.bool).tril()
    mask = slopes.expand(7, 7).masked_fill(~is_allowed, forbidden)[None, None]
    call = AttentionCall(None, query, key, None, mask, 0.4)
    [block] = blocks(call)
    assert torch.equal(~block.is_excluded.expand(1, 1, 7, 7)[0, 0], is_allowed)
    shown = (0.4 * query @ key.transpose(-1, -2) + slopes).masked_select(is_allowed)
    assert torch.allclose(block.logits.masked_select(is_allowed), shown, atol=1e-5)
