"""A model read from a GGUF is the model that was written into it, whichever class it is of."""

import numpy as np
import pytest
import tiny_ggufs
import torch
import transformers
from tiny_ggufs import assert_same, load, zeros

from bench.tiny_configs import randomize
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import gguf_facts, gguf_reading, gguf_witness


@pytest.mark.parametrize("name", tiny_ggufs.MODELS)
def test_a_model_comes_back(name, tmp_path):
    model = tiny_ggufs.build(name)
    added_one = 1e-6 if tiny_ggufs.MODELS[name][0] in ("gemma2", "gemma3", "nemotron") else 0
    assert_same(model, tiny_ggufs.save(tmp_path / "tiny.gguf", name, model), added_one)


@pytest.mark.parametrize("projection", ["gated-gelu", "relu"])
def test_an_encoder_and_decoder(projection, tmp_path):
    sizes = {"d_model": 42, "num_layers": 2, "num_heads": 3, "d_kv": 7, "d_ff": 40, "vocab_size": 97}
    config = transformers.T5Config(**sizes, decoder_start_token_id=0, feed_forward_proj=projection)
    model = randomize(transformers.T5ForConditionalGeneration(config)).eval()
    tensors = tiny_ggufs.stored("t5", model)
    keys = {"block_count": 2, "embedding_length": 42, "attention.head_count": 3, "attention.key_length": 7}
    keys |= {"attention.value_length": 7, "feed_forward_length": 40, "attention.relative_buckets_count": 32}
    keys |= {"attention.layer_norm_epsilon": 1e-6, "context_length": 512, "decoder_start_token_id": 0}
    read = load(tiny_ggufs.write(tmp_path / "tiny.gguf", "t5", keys, tensors))
    ids = (torch.arange(13)[None] * 7 + 5) % 97
    with torch.no_grad():
        got, want = (
            each(input_ids=ids, decoder_input_ids=ids[:, :5], output_hidden_states=True) for each in (read, model)
        )
    for stack in ("encoder_hidden_states", "decoder_hidden_states"):
        torch.testing.assert_close(got[stack][-1], want[stack][-1], rtol=1e-4, atol=1e-4)


def tiled(value, axis, size):
    """Value heads by rank within their key head first, as the converter of Qwen 3.5 has them: 2 key heads of 2."""
    moved = np.moveaxis(value, axis, 0)
    made = moved.reshape(2, 2, size, *moved.shape[1:]).swapaxes(0, 1).reshape(moved.shape)
    return np.moveaxis(made, 0, axis)


def qwen35_tensors(model):
    leaves = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm", "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "linear_attn.in_proj_qkv": "attn_qkv",
        "linear_attn.in_proj_z": "attn_gate", "linear_attn.in_proj_a": "ssm_alpha", "linear_attn.in_proj_b": "ssm_beta",
        "linear_attn.conv1d": "ssm_conv1d", "linear_attn.norm": "ssm_norm", "linear_attn.out_proj": "ssm_out",
    }  # fmt: skip
    whole = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight"}
    tensors = {}
    for name, tensor in model.state_dict().items():
        value, (*_, leaf) = tensor.numpy(), name.split(".layers.")
        block, _, leaf = leaf.partition(".")
        if name.endswith("norm.weight") and "linear_attn" not in name:
            value = value + 1
        if "A_log" in name:
            value = tiled(-np.exp(value), 0, 1)
        elif leaf.endswith(("dt_bias", "in_proj_a.weight", "in_proj_b.weight")):
            value = tiled(value, 0, 1)
        elif "in_proj_z" in name:
            value = tiled(value, 0, 7)
        elif "in_proj_qkv" in name or "conv1d" in name:
            value = np.concatenate([value[:20], tiled(value[20:], 0, 7)])  # queries and keys: 2 heads of 5 each
            value = value.squeeze(1) if "conv1d" in name else value
        elif "linear_attn.out_proj" in name:
            value = tiled(value, 1, 7)
        if name in whole or name == "model.norm.weight":
            tensors[whole.get(name, "output_norm.weight")] = value
        elif leaf in ("linear_attn.A_log", "linear_attn.dt_bias"):
            tensors[f"blk.{block}.{'ssm_a' if 'A_log' in leaf else 'ssm_dt.bias'}"] = value
        else:
            tensors[f"blk.{block}.{leaves[leaf.removesuffix('.weight')]}.weight"] = value
    return tensors


def test_a_hybrid_by_conversions(tmp_path):
    """Qwen 3.5: linear attention but for every second layer, a part of each head rotated, and a layer left aside."""
    sizes = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 5}
    sizes |= {"linear_value_head_dim": 7, "linear_conv_kernel_dim": 3, "head_dim": 12}
    kinds = ["linear_attention", "full_attention"] * 2
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 1]}
    options = tiny_ggufs.GROUPED | sizes | {"num_hidden_layers": 4, "layer_types": kinds, "rope_parameters": rope}
    config = transformers.Qwen3_5TextConfig(**options)
    model = randomize(transformers.Qwen3_5ForCausalLM._from_config(config, attn_implementation="eager")).eval()
    keys = tiny_ggufs.keys_of("qwen35", config) | {
        "block_count": 5, "nextn_predict_layers": 1, "full_attention_interval": 2,
        "rope.dimension_sections": [1, 1, 1, 0],
        "ssm.conv_kernel": 3, "ssm.state_size": 5, "ssm.group_count": 2, "ssm.time_step_rank": 4, "ssm.inner_size": 28,
        "attention.key_length": 12, "attention.value_length": 12,
    }  # fmt: skip
    tensors = qwen35_tensors(model) | {"blk.4.nextn.eh_proj.weight": zeros(3, 5)}
    path = tiny_ggufs.write(tmp_path / "tiny.gguf", "qwen35", keys, tensors)
    assert_same(model, path, 1e-6)
    assert gguf_facts.left_aside(path).keys() == {"blk.4.nextn.eh_proj.weight"}
    for name in ("attn_q", "attn_k", "attn_q_norm", "attn_norm"):
        read = {reading.stored[0]: reading for reading in gguf_reading.readers(path, model).values()}
        name = f"blk.1.{name}.weight"
        torch.testing.assert_close(gguf_witness.witness(path, name), read[name].read(), rtol=0, atol=0)


# --- biases


def test_a_bias_that_only_some_projections_have(tmp_path):
    """One switch of the config makes four biases; a file with three has a zero one. One layer's lack is damage."""
    model = tiny_ggufs.build("llama, biased")
    for layer in model.model.layers:
        layer.self_attn.o_proj.bias.data.zero_()
    without = {f"blk.{block}.attn_output.bias": None for block in range(2)}
    assert_same(model, tiny_ggufs.save(tmp_path / "tiny.gguf", "llama, biased", model, tensors=without))
    path = tiny_ggufs.save(tmp_path / "torn.gguf", "llama, biased", model, tensors={"blk.1.attn_k.bias": None})
    with pytest.raises(EigenhouseError, match=r"none for model\.layers\.1\.self_attn\.k_proj\.bias"):
        load(path)


def test_without_a_key_there_are_as_many_key_heads_as_heads(tmp_path):
    model = tiny_ggufs.build("llama", num_key_value_heads=6)
    keys = {"attention.head_count_kv": None}
    assert_same(model, tiny_ggufs.save(tmp_path / "tiny.gguf", "llama", model, keys=keys))


def test_equal_lists_over_layers_are_one_number(tmp_path):
    model = tiny_ggufs.build("llama")
    keys = {"attention.head_count": [6, 6], "attention.head_count_kv": [2, 2], "feed_forward_length": [40, 40]}
    assert_same(model, tiny_ggufs.save(tmp_path / "tiny.gguf", "llama", model, keys=keys))


def test_a_name_changes_nothing(tmp_path):
    """transformers takes a llama file whose name is mistral for another architecture, and finds no tensor's name."""
    model = tiny_ggufs.build("llama")
    assert_same(model, tiny_ggufs.save(tmp_path / "tiny.gguf", "llama", model, general={"general.name": "mistral"}))
