"""Masks worked out rows at a time against those that transformers makes whole."""

import pytest
import tiny_models
import torch
from transformers.masking_utils import eager_mask, sliding_window_causal_mask_function

from eigenhouse.ingest.capture import attention, kernel, masks
from eigenhouse.ingest.capture.attention import AttentionCall, head_stats, measured
from eigenhouse.ingest.capture.masks import lazy_mask

PADDED = torch.tensor([[1] * 11, [1] * 7 + [0] * 4]).bool()


def with_a_hole(batch, head, query, key):
    """An image of which no token sees the other half."""
    return (key <= query) & ~((query > 6) & (key > 2) & (key < 5))


KINDS = {
    "causal": {},
    "causal, padded": {"attention_mask": PADDED},
    "window": {"mask_function": sliding_window_causal_mask_function(3)},
    "window, padded": {"mask_function": sliding_window_causal_mask_function(3), "attention_mask": PADDED},
    "encoder, padded": {"mask_function": lambda b, h, q, k: k >= 0, "attention_mask": PADDED},
    "with a hole": {"mask_function": with_a_hole},
    "after a cache": {"kv_length": 14, "q_offset": 3},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [2**20, 60], ids=["one block", "blocks of few queries"])
def test_rows_of_a_mask_are_those_of_the_whole_one(kind, block, monkeypatch):
    """Statistics and output alike, and none of the keys that nobody sees is multiplied."""
    monkeypatch.setattr(attention, "BLOCK_LOGITS", block)
    options = {"batch_size": 2, "q_length": 11, "kv_length": 11} | KINDS[kind]
    lazy, whole = lazy_mask(**options), eager_mask(**options)
    query, key, value = (
        torch.randn(2, n_heads, n, 5, generator=torch.Generator().manual_seed(n_heads + n))
        for n_heads, n in ((6, 11), (3, options["kv_length"]), (2, options["kv_length"]))
    )
    is_real = PADDED if "padded" in kind else torch.ones_like(PADDED)
    (stats, output), (want, want_output) = (
        measured(AttentionCall(None, query, key, value, mask, 0.4), is_real) for mask in (lazy, whole)
    )
    for name, values in want.items():
        assert torch.allclose(stats[name], values, atol=1e-6, equal_nan=True), name
    rows = is_real[:, None, :, None].expand_as(output)
    assert torch.allclose(output[rows], want_output[rows], atol=1e-6)
    shown = attention.attend(AttentionCall(None, query, key, value, lazy, 0.4))
    assert torch.allclose(shown[rows], want_output[rows], atol=1e-6)
    assert masks.is_lazy(lazy)
    seen = [part.logits.shape[-1] for part in attention.blocks(AttentionCall(None, query, key, value, lazy, 0.4))]
    if block == 60:
        assert min(seen) < options["kv_length"] or kind == "encoder, padded"
    assert torch.equal(lazy + 0, whole) and not masks.is_lazy(lazy)


def test_a_model_may_compute_with_its_mask_and_write_into_it():
    lazy, whole = (make(batch_size=1, q_length=7, kv_length=7) for make in (lazy_mask, eager_mask))
    assert lazy.shape == whole.shape and lazy.dtype == whole.dtype
    assert torch.equal(lazy[:, :, :, :3], whole[:, :, :, :3])
    lazy[..., 2, 1] = -torch.inf
    call = AttentionCall(None, torch.zeros(1, 1, 7, 5), torch.zeros(1, 1, 7, 5), None, lazy, 1.0)
    assert [part.is_excluded[0, 0, 2].sum() for part in attention.blocks(call)] == [5]


def test_all_keys_of_an_encoder_need_no_mask():
    options = {"batch_size": 2, "q_length": 11, "kv_length": 11, "allow_is_bidirectional_skip": True}
    everything = {"mask_function": lambda b, h, q, k: k >= 0}
    assert lazy_mask(**options, **everything) is None
    assert lazy_mask(**options, **everything, attention_mask=PADDED) is not None


@pytest.mark.parametrize("kind", ["grouped heads", "qk-norm as 1+g, sliding", "encoder"])
def test_no_mask_is_made_whole_in_a_forward_pass(kind):
    calls = []
    is_real = torch.ones(2, 11, dtype=torch.bool)
    is_real[1, 7:] = False
    with torch.no_grad(), kernel.listening(calls.append):
        tiny_models.build(kind)(input_ids=torch.arange(22).view(2, 11) + 5, attention_mask=is_real.long())
    assert len(calls) == 2 and all(masks.is_lazy(call.mask) for call in calls)
    assert all(head_stats(call, is_real)["n_queries"][1, 0] == 7 for call in calls)
    assert all(masks.is_lazy(call.mask) for call in calls)


def test_blocks_are_as_long_as_what_they_see_allows():
    """Over a window of 3 a block of queries sees few keys however long the text is."""
    mask = lazy_mask(batch_size=1, q_length=97, kv_length=97, mask_function=sliding_window_causal_mask_function(3))
    fits = lambda start, stop: (stop - start) * masks.n_keys_seen(mask, 97, start, stop) <= 60  # noqa: E731
    found = list(masks.steps(97, fits))
    assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])] and found[-1][1] == 97
    assert all(fits(*each) for each in found) and len(found) <= 97 / 3
