"""Tiny models as llama.cpp's converter would write them: its formulas and keys, not transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tiny_models
import torch
import transformers
from torch import nn

from bench.tiny_configs import randomize
from eigenhouse.ingest.models import loading

# hidden sizes, head dims, counts and widths differ pairwise; 2 layers, so that a name can't stand for both
SIZES = {"vocab_size": 97, "hidden_size": 42, "intermediate_size": 40, "num_hidden_layers": 2}
PLAIN = SIZES | {"num_attention_heads": 3, "max_position_embeddings": 64, "pad_token_id": 0}
GROUPED = PLAIN | {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {  # name: architecture, config class, options
    "llama": ("llama", "LlamaConfig", GROUPED),
    "llama, biased": ("llama", "LlamaConfig", GROUPED | {"attention_bias": True, "mlp_bias": True}),
    "llama, head_dim": ("llama", "LlamaConfig", GROUPED | {"head_dim": 10}),
    "qwen2": ("qwen2", "Qwen2Config", GROUPED),
    "qwen2, head_dim": ("qwen2", "Qwen2Config", GROUPED | {"head_dim": 10}),
    "qwen3": ("qwen3", "Qwen3Config", GROUPED | {"head_dim": 10}),
    "qwen2moe": (
        "qwen2moe",
        "Qwen2MoeConfig",
        GROUPED
        | {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 14}
        | {"shared_expert_intermediate_size": 22},
    ),
    "qwen3moe": (
        "qwen3moe",
        "Qwen3MoeConfig",
        GROUPED
        | {"head_dim": 10, "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 14}
        | {"norm_topk_prob": True},
    ),
    "gpt-oss": (
        "gpt-oss",
        "GptOssConfig",
        GROUPED
        | {"head_dim": 10, "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 5}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    ),
    "lfm2": (
        "lfm2",
        "Lfm2Config",
        GROUPED
        | {
            "num_hidden_layers": 3,
            "layer_types": ["conv", "full_attention", "conv"],
            "block_auto_adjust_ff_dim": False,
        },
    ),
    "gemma2": ("gemma2", "Gemma2Config", GROUPED | {"head_dim": 10, "sliding_window": 5, "query_pre_attn_scalar": 10}),
    "gemma3": (
        "gemma3",
        "Gemma3TextConfig",
        GROUPED | {"head_dim": 10, "sliding_window": 5, "query_pre_attn_scalar": 10, "num_hidden_layers": 7},
    ),
    "phi3": ("phi3", "Phi3Config", GROUPED),
    "stablelm": (
        "stablelm",
        "StableLmConfig",
        GROUPED | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
    ),
    "starcoder2": ("starcoder2", "Starcoder2Config", GROUPED),
    "nemotron": (
        "nemotron",
        "NemotronConfig",
        GROUPED | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
    ),
    "falcon": ("falcon", "FalconConfig", PLAIN | {"ffn_hidden_size": 40}),
    "falcon, grouped": (
        "falcon",
        "FalconConfig",
        GROUPED | {"ffn_hidden_size": 40, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "gpt2": (
        "gpt2",
        "GPT2Config",
        {"n_embd": 42, "n_layer": 2, "n_head": 3, "vocab_size": 97, "n_positions": 64, "n_inner": 40},
    ),
    "bloom": ("bloom", "BloomConfig", {"hidden_size": 42, "n_head": 3, "n_layer": 2, "vocab_size": 97}),
}
DROPPED = {"intermediate_size", "num_key_value_heads"}  # names that the class of Falcon doesn't have


def build(name: str, **changes: Any) -> nn.Module:
    _, class_name, options = MODELS[name]
    if class_name == "FalconConfig":
        options = {key: value for key, value in options.items() if key not in DROPPED}
    config = getattr(transformers, class_name)(**options | changes)
    options = {"attn_implementation": "eager", "experts_implementation": "eager"}
    return randomize(transformers.AutoModelForCausalLM.from_config(config, **options)).eval()


def keys_of(architecture: str, config: transformers.PretrainedConfig) -> dict[str, Any]:
    """What set_gguf_parameters of the converter writes, as far as these classes have it."""
    n_heads, width = config.num_attention_heads, config.hidden_size
    head_dim = getattr(config, "head_dim", None) or width // n_heads
    n_key_heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_kv_heads", None) or n_heads
    if architecture == "falcon" and not config.new_decoder_architecture:
        n_key_heads = 1
    keys: dict[str, Any] = {
        "block_count": config.num_hidden_layers,
        "embedding_length": width,
        "attention.head_count": n_heads,
        "attention.head_count_kv": n_key_heads,
    }
    for key, names in {
        "context_length": ("max_position_embeddings",),
        "feed_forward_length": ("intermediate_size", "ffn_hidden_size", "n_inner"),
        "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps" if architecture == "lfm2" else "rms_norm_eps"),
        "attention.layer_norm_epsilon": ("norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
        "attention.sliding_window": ("sliding_window",) if architecture.startswith(("gemma", "phi3", "gpt")) else (),
        "attn_logit_softcapping": ("attn_logit_softcapping",),
        "final_logit_softcapping": ("final_logit_softcapping",),
        "expert_count": ("num_experts", "num_local_experts"),
        "expert_used_count": ("num_experts_per_tok",),
        "expert_feed_forward_length": ("moe_intermediate_size",),
        "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    }.items():
        value = next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)
        if value is not None:
            keys[key] = value
    if head_dim * n_heads != width or architecture.startswith("gemma"):
        keys |= {"attention.key_length": head_dim, "attention.value_length": head_dim}
    if architecture == "lfm2":
        keys["shortconv.l_cache"] = config.conv_L_cache
        keys["attention.head_count_kv"] = [n_key_heads if kind != "conv" else 0 for kind in config.layer_types]
        del keys["attention.layer_norm_epsilon"]
    if architecture == "gpt-oss":
        keys |= {"expert_feed_forward_length": config.intermediate_size, "attention.key_length": head_dim}
        keys |= {"attention.value_length": head_dim, "expert_gating_func": 3}
    ropes = getattr(config, "rope_parameters", None)
    if ropes and architecture not in ("bloom", "gpt2"):
        rope = ropes.get("full_attention", ropes)
        keys["rope.freq_base"] = float(rope["rope_theta"])
        keys["rope.dimension_count"] = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    return keys


def converted(architecture: str, config: transformers.PretrainedConfig, name: str, value: np.ndarray) -> np.ndarray:
    """modify_tensors of the converter."""
    n_heads = config.num_attention_heads
    if architecture == "llama" and (".q_proj." in name or ".k_proj." in name):
        n_heads = n_heads if ".q_proj." in name else config.num_key_value_heads
        halves = value.reshape(n_heads, 2, value.shape[0] // n_heads // 2, *value.shape[1:])
        return halves.swapaxes(1, 2).reshape(value.shape)
    if architecture in ("gemma2", "gemma3", "nemotron") and name.endswith("norm.weight"):
        return value + 1
    if architecture == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return value.T
    if name.endswith("conv.conv.weight"):
        return value.squeeze(1)
    if name.endswith("shared_expert_gate.weight"):
        return value.squeeze(0)
    if architecture == "bloom" and "query_key_value" in name:
        cut = value.reshape(n_heads, 3, -1, *value.shape[1:])
        return np.concatenate([cut[:, part].reshape(-1, *value.shape[1:]) for part in range(3)])
    if architecture == "falcon" and "query_key_value" in name:
        n_groups = config.num_kv_heads if config.new_decoder_architecture else 1
        cut = value.reshape(n_groups, n_heads // n_groups + 2, -1, *value.shape[1:])
        parts = (cut[:, :-2], cut[:, [-2]], cut[:, [-1]])
        return np.concatenate([part.reshape(-1, *value.shape[1:]) for part in parts])
    return value


def stored(architecture: str, model: nn.Module) -> dict[str, np.ndarray]:
    """Tensors under their names in the file."""
    config = model.config
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    tensors: dict[str, np.ndarray] = {}
    for name, value in model.state_dict().items():
        value = converted(architecture, config, name, value.numpy())
        if architecture == "gpt-oss" and ".experts." in name:
            block, tail = name.split(".")[2], "bias" if name.endswith("bias") else "weight"
            value = value if tail == "bias" else value.swapaxes(-1, -2)
            parts = {"gate": value[:, ::2], "up": value[:, 1::2]} if "gate_up" in name else {"down": value}
            tensors |= {f"blk.{block}.ffn_{part}_exps.{tail}": cut for part, cut in parts.items()}
        elif name.endswith("experts.gate_up_proj"):
            block = name.split(".")[2]
            gate, up = np.split(value, 2, axis=1)
            tensors |= {f"blk.{block}.ffn_gate_exps.weight": gate, f"blk.{block}.ffn_up_exps.weight": up}
        elif name not in tied:
            tails = (".weight", ".bias")
            found = names.get_name(name, tails) or names.get_name(name.removeprefix("transformer."), tails)
            assert found, name
            tensors[found if "." in found.split("_")[-1] else f"{found}.weight"] = value
    return tensors


def write(
    path: Path,
    architecture: str,
    keys: dict[str, Any],
    tensors: dict[str, np.ndarray],
    *,
    raw: dict[str, gguf.GGMLQuantizationType] | None = None,
    general: dict[str, Any] | None = None,
) -> Path:
    """raw: the types of tensors that are given as bytes already; keys that are None are left out."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in ({f"{architecture}.{key}": value for key, value in keys.items()} | (general or {})).items():
        _add(writer, key, value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["w", "0", *(f"w{i}" for i in range(95))])
    writer.add_token_merges(["w 0"])
    for name, value in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(value), raw_dtype=(raw or {}).get(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def save(path: Path, name: str, model: nn.Module, **options: Any) -> Path:
    """The model of MODELS in a file; `keys` and `tensors` change what is written (None leaves out)."""
    architecture = MODELS[name][0]
    keys = keys_of(architecture, model.config) | options.pop("keys", {})
    tensors = stored(architecture, model) | options.pop("tensors", {})
    tensors = {name: value for name, value in tensors.items() if value is not None}
    return write(path, architecture, keys, tensors, **options)


def load(path, *, whole=True):
    return loading.load_model(tiny_models.local_source(path), False, whole=whole).model


def rotary_tables(model):
    return {name: table for name, table in model.named_buffers() if name.endswith("inv_freq")}


def assert_same(model, path, tolerance=0.0):
    """Weights, frequencies and, since they hang on all else, logits; the skeleton's tables are the whole model's."""
    read, skeleton = load(path), load(path, whole=False)
    want, got = model.state_dict(), read.state_dict()
    assert want.keys() == got.keys()
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=0, atol=tolerance, msg=name)
    for built in (read, skeleton):
        tables = rotary_tables(built)
        assert tables.keys() == rotary_tables(model).keys()
        for name, table in rotary_tables(model).items():
            torch.testing.assert_close(tables[name], table, rtol=1e-6, atol=0)
    ids = (torch.arange(23)[None] * 7 + 5) % 97
    with torch.no_grad():
        read.set_attn_implementation("eager")
        torch.testing.assert_close(read(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


def zeros(*shape):
    return np.zeros(shape, np.float32)
