"""Prompts run through tiny models: what is shared, what is compared, and what happens where memory ends."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from eigenhouse.ingest import console
from eigenhouse.ingest.capture import attention, forward, kernel, masks, own_attention
from eigenhouse.ingest.capture.forward import Reader, run_prompts
from eigenhouse.ingest.capture.own_attention import MOST_OFF, compared, share_off_eager
from eigenhouse.ingest.capture.texts import TokenizedPrompt

LENGTHS = (13, 29, 11, 5)


def reader_of(kind):
    model = tiny_models.build(kind)
    [sites] = [[site for site, _ in tiny_models.sites(model)]]
    return Reader(SimpleNamespace(model=model, body=model), pad_id=0), sites


def texts(*lengths):
    return [TokenizedPrompt(n, [(7 * i + n) % 90 + 5 for i in range(size)]) for n, size in enumerate(lengths)]


def passes(reader, monkeypatch):
    """The number of tokens of each forward pass from now on."""
    seen, real = [], reader.loaded.body.forward
    counted = lambda **inputs: (seen.append(inputs["input_ids"].numel()), real(**inputs))[1]  # noqa: E731
    monkeypatch.setattr(reader.loaded.body, "forward", counted)
    return seen


def test_the_comparison_adds_a_pass_of_a_few_tokens_and_shares_the_others(monkeypatch):
    reader, sites = reader_of("grouped heads")
    monkeypatch.setattr(own_attention, "COMPARED_AT_LEAST", 7)
    tokenized, seen = texts(*LENGTHS), passes(reader, monkeypatch)
    found = run_prompts(reader, sites, tokenized, lambda n: None, compared(tokenized))
    assert share_off_eager(reader, tokenized, found) == 0
    assert seen == [4 * 29, 5, 7]  # a batch of all, the shortest and the beginning of the longest
    assert {prompt: len(states) for prompt, states in found.states.items()} == {1: 7, 3: 5}
    assert sorted(found.stats[0]) == [0, 1, 2, 3]


def test_a_beginning_that_has_other_states_is_compared_in_one_batch(monkeypatch):
    """An encoder looks ahead: the states of a beginning are not those within the text."""
    reader, sites = reader_of("encoder")
    monkeypatch.setattr(own_attention, "COMPARED_AT_LEAST", 7)
    tokenized, seen = texts(*LENGTHS), passes(reader, monkeypatch)
    found = run_prompts(reader, sites, tokenized, lambda n: None, compared(tokenized))
    assert not torch.allclose(found.states[1], found.own_states[1], atol=1e-2)
    assert share_off_eager(reader, tokenized, found) == 0
    assert seen[-2:] == [2 * 29, 2 * 29]


@pytest.mark.parametrize("kind", ["grouped heads", "encoder"])
def test_another_kernel_than_the_models_own_is_seen(kind, monkeypatch):
    """Planted: keys one place further on, in what is handed back with the statistics and in what isn't."""
    reader, sites = reader_of(kind)
    real = kernel.AttentionCall
    monkeypatch.setattr(kernel, "AttentionCall", lambda **given: real(**given | {"key": given["key"].roll(1, 2)}))
    tokenized = texts(*LENGTHS)
    found = run_prompts(reader, sites, tokenized, lambda n: None, compared(tokenized))
    assert share_off_eager(reader, tokenized, found) > MOST_OFF


def test_where_memory_ends_fewer_texts_are_run_at_a_time(monkeypatch):
    """Planted: room for two texts. The numbers are those of one batch, and the user is told."""
    reader, sites = reader_of("grouped heads")
    tokenized, said, real = texts(*LENGTHS), [], Reader.forward
    want = run_prompts(reader, sites, tokenized, lambda n: None).stats

    def tight(self, inputs):
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("planted")
        return real(self, inputs)

    monkeypatch.setattr(Reader, "forward", tight)
    monkeypatch.setattr(console, "say", said.append)
    done = []
    found = run_prompts(reader, sites, tokenized, done.append).stats
    assert done == [2, 2] and said == ["cpu has no memory for 4 prompts at a time: trying 2"]
    for index, by_prompt in want.items():
        for prompt, stats in by_prompt.items():
            for name, values in stats.items():
                assert found[index][prompt][name] == pytest.approx(values, rel=1e-5, nan_ok=True), name


def test_one_text_that_is_too_long_is_refused(monkeypatch):
    reader, sites = reader_of("grouped heads")

    def none(self, inputs):
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr(Reader, "forward", none)
    with pytest.raises(forward.EigenhouseError, match="out of memory on cpu at 29 tokens"):
        run_prompts(reader, sites, texts(29), lambda n: None)


def test_all_numbers_of_a_batch_come_to_the_host_in_one_copy(monkeypatch):
    reader, sites = reader_of("grouped heads")
    copies, real = [], forward._on_host
    monkeypatch.setattr(forward, "_on_host", lambda stats: (copies.append(len(stats)), real(stats))[1])
    stats = run_prompts(reader, sites, texts(*LENGTHS), lambda n: None).stats
    assert copies == [2]
    assert stats[1][2]["entropy_nats"].dtype == np.float64 and stats[1][2]["entropy_nats"].shape == (6,)


class Largest(TorchDispatchMode):
    """The number of values of the largest tensor that is made within the block."""

    values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if type(made) is torch.Tensor:
            self.values = max(self.values, made.untyped_storage().nbytes() // made.element_size())
        return made


@pytest.mark.parametrize("kind", ["grouped heads", "qk-norm as 1+g, sliding"])
def test_nothing_of_a_long_text_is_as_large_as_its_mask(kind, monkeypatch):
    """1,024 tokens: a mask has a million entries, and as many logits a head."""
    monkeypatch.setattr(attention, "BLOCK_LOGITS", 2**14)
    monkeypatch.setattr(masks, "ROWS_AT_A_TIME", 2**14)
    reader, sites = reader_of(kind)
    with Largest() as largest:
        found = run_prompts(reader, sites, texts(1024), lambda n: None)
    assert found.stats[1][0]["n_queries"].tolist() == [1024] * 6
    assert largest.values <= 1024 * 97


def test_a_long_text_is_compared_whole_where_one_is_short_enough(monkeypatch):
    monkeypatch.setattr(own_attention, "COMPARED_AT_LEAST", 12)
    assert [(text.prompt, len(text.ids)) for text in compared(texts(*LENGTHS))] == [(3, 5), (2, 11)]
    assert [(text.prompt, len(text.ids)) for text in compared(texts(29))] == [(0, 12)]
