"""What `make bench` measures with: checkpoints of a shape, a floor, a page; no test here asserts a time."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench import random_checkpoint
from eigenhouse.ingest.sources.prompts import read_prompts

TINY = random_checkpoint.SHAPES["tiny"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_checkpoint.write(tmp_path_factory.mktemp("random"), TINY)


def test_a_random_checkpoint_fills_every_parameter(checkpoint):
    """transformers' own loader misses nothing, finds nothing to spare, and counts what the shape says."""
    model, report = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True)
    assert {name: keys for name, keys in report.items() if keys} == {}
    assert model.dtype == torch.bfloat16 and len(model.model.layers) == TINY.n_layers
    counted = sum(p.numel() for name, p in model.model.layers[1].named_parameters() if "norm" not in name)
    assert counted == TINY.layer_parameters == 44 * (2 * 10 * (4 + 2) + 3 * 26)


def test_a_random_checkpoint_is_a_file_a_layer(checkpoint):
    """So that no more than a layer is in memory when it is written; layers differ, gains aren't one."""
    index = json.loads((checkpoint / "model.safetensors.index.json").read_text())["weight_map"]
    files = [load_file(checkpoint / name) for name in sorted(set(index.values()))]
    assert [len(tensors) for tensors in files] == [11, 11, 11, 2]
    first, second = (files[n][f"model.layers.{n}.self_attn.q_norm.weight"].float() for n in (0, 1))
    assert 0.01 < first.std() < 1 and not torch.equal(first, second)


def test_a_random_checkpoint_knows_the_words_of_the_standard_prompts(checkpoint):
    """Unknown words would all be one token, and every position's state the same."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokens = {number for text in read_prompts().texts for number in tokenizer(text)["input_ids"]}
    assert tokenizer.unk_token_id not in tokens and len(tokens) > 2000
