"""Tiny random models of many architectures, built from their configs: the ground on which heads are proved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
import transformers
from torch import nn

from bench.tiny_configs import randomize as randomize
from bench.tiny_text import prompts as prompts
from bench.tiny_text import save_tokenizer as save_tokenizer
from eigenhouse.ingest.capture.sites import Site, record_sites
from eigenhouse.ingest.models import loading
from eigenhouse.ingest.models.loading import KERNEL

# hidden sizes, head dims and head counts differ pairwise, so that no axis passes for another
SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 40, "vocab_size": 97}
GROUPED = SIZES | {"num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64}
PLAIN = SIZES | {"hidden_size": 42, "num_attention_heads": 3, "max_position_embeddings": 64}
OWN = {"n_embd": 42, "n_layer": 2, "n_head": 3, "vocab_size": 97, "n_positions": 64}
LATENT = PLAIN | {
    "kv_lora_rank": 20, "qk_rope_head_dim": 6, "qk_nope_head_dim": 10, "v_head_dim": 5, "num_key_value_heads": 3,
    "first_k_dense_replace": 2, "pad_token_id": 0,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 8.0, "rope_theta": 10000.0, "original_max_position_embeddings": 8}

CONFIGS = {
    "grouped heads": ("LlamaConfig", GROUPED),
    "scaled rope": ("LlamaConfig", GROUPED | {"rope_parameters": YARN}),
    "biased": ("Qwen2Config", GROUPED),
    "qk-norm, head_dim not d/H": ("Qwen3Config", GROUPED | {"head_dim": 10}),
    "qk-norm over all heads": ("Olmo2Config", GROUPED),
    "qk-norm as 1+g, sliding": ("Gemma3TextConfig", GROUPED | {"head_dim": 10, "sliding_window": 5}),
    "softcap": ("Gemma2Config", GROUPED | {"head_dim": 10, "sliding_window": 5}),
    "fused interleaved": ("GPTNeoXConfig", PLAIN),
    "fused Conv1D": ("GPT2Config", OWN),
    "fused grouped": ("Phi3Config", GROUPED | {"pad_token_id": 0}),
    "own q scaling": ("OPTConfig", PLAIN | {"ffn_dim": 40, "word_embed_proj_dim": 42}),
    "own k scaling": ("FalconH1Config", GROUPED | {"key_multiplier": 0.3, "pad_token_id": 0}),
    "encoder": ("BertConfig", PLAIN),
    "shared layers": ("AlbertConfig", PLAIN | {"embedding_size": 10}),
    "sinks": (
        "GptOssConfig",
        GROUPED | {"head_dim": 10, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 5},
    ),
    "gated q_proj, hybrid": (
        "Qwen3NextConfig",
        GROUPED
        | {
            "head_dim": 10,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "pad_token_id": 0,
            "num_hidden_layers": 3,
        }
        | {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    ),
    "one head, one layer": (
        "LlamaConfig",
        PLAIN | {"num_attention_heads": 1, "num_hidden_layers": 1, "head_dim": 6},
    ),
    "2c > d": ("LlamaConfig", GROUPED | {"hidden_size": 12, "head_dim": 10}),
    "c > d": ("LlamaConfig", GROUPED | {"hidden_size": 6, "head_dim": 10}),
    "latent": ("DeepseekV3Config", LATENT | {"q_lora_rank": 22, "attention_bias": True}),
    "latent keys": ("DeepseekV2Config", LATENT | {"q_lora_rank": None}),
    "differential": ("DiffLlamaConfig", GROUPED),
    "clipped": ("OlmoConfig", GROUPED | {"clip_qkv": 2.0, "pad_token_id": 0}),
    # these compute their scores past the attention interface
    "own kernel, rotary": ("GPTJConfig", OWN | {"n_inner": 40, "rotary_dim": 4}),
    "own kernel, window": (
        "GPTNeoConfig",
        PLAIN | {"num_layers": 2, "num_heads": 3, "window_size": 5, "attention_types": [[["global", "local"], 1]]},
    ),
    "own kernel, one key head": ("FalconConfig", GROUPED),
    "own kernel, grouped": ("FalconConfig", GROUPED | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "own kernel, interleaved": ("FalconConfig", PLAIN | {"multi_query": False, "num_kv_heads": 3, "alibi": True}),
    "own kernel, ALiBi": ("BloomConfig", {"hidden_size": 42, "n_head": 3, "n_layer": 2, "vocab_size": 97}),
    "own kernel, fused": (
        "MptConfig",
        {
            "d_model": 42,
            "n_heads": 3,
            "n_layers": 2,
            "vocab_size": 97,
            "max_seq_len": 64,
            "attn_config": {"clip_qkv": 2.0},
        },
    ),
    "own kernel, relative": ("MPNetConfig", PLAIN),
    "own kernel, disentangled": (
        "DebertaV2Config",
        PLAIN | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 6},
    ),
    "own kernel, shared position keys": (
        "DebertaV2Config",
        PLAIN | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "share_att_key": True},
    ),
    "own kernel, one batch axis": (
        "XGLMConfig",
        {"d_model": 42, "num_layers": 2, "attention_heads": 3, "ffn_dim": 40, "vocab_size": 97},
    ),
    "encoder-decoder": (
        "T5Config",
        {
            "d_model": 42,
            "num_layers": 2,
            "num_heads": 3,
            "d_kv": 7,
            "d_ff": 40,
            "vocab_size": 97,
            "decoder_start_token_id": 0,
        },
    ),
}


def config(kind: str) -> transformers.PretrainedConfig:
    name, options = CONFIGS[kind]
    return getattr(transformers, name)(**options)


def build(kind: str, attention: str = KERNEL, causal: bool = False) -> nn.Module:
    """The tiny model in float32; `causal` asks for the class with an output head where there is one."""
    tiny = config(kind)
    classes = [transformers.AutoModelForCausalLM, transformers.AutoModel] if causal else [transformers.AutoModel]
    for model_class in classes:
        if type(tiny) in model_class._model_mapping:
            return randomize(
                loading.with_a_kernel(partial(model_class.from_config, tiny), {"attn_implementation": attention})
            )
    raise AssertionError(kind)


def text(n_positions: int, model: nn.Module) -> dict[str, torch.Tensor]:
    ids = (torch.arange(n_positions)[None] * 7 + 5) % 97
    return {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})


def sites(model: nn.Module) -> list[tuple[Site, Site]]:
    """Every attention call twice: recorded over 13 positions and over one."""
    runs = [record_sites(model, model.base_model, text(n, model))[0] for n in (13, 1)]
    return list(zip(*runs, strict=True))


def save(kind: str, folder: Path, **changes: torch.Tensor) -> Path:
    """A checkpoint folder with a word-level tokenizer, as from a hub; `changes` replace stored tensors."""
    model = build(kind, attention="eager", causal=True)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state | changes)
    save_tokenizer(folder)
    return folder


def local_source(folder: Path) -> SimpleNamespace:
    from eigenhouse.ingest.sources.locate import resolve

    return resolve(str(folder))
