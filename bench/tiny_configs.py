"""A small config of any model type that transformers knows: every size cut down before a model is built.

A type is a name in CONFIG_MAPPING, or `falcon+multi_query`: a type and one of its variants in VARIANTS.
"""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING

# sizes that differ pairwise, so that no axis passes for another; a config takes those that it knows
WIDTH, HEADS, KEY_HEADS, HEAD_DIM, FFN, LAYERS = 48, 6, 2, 8, 40, 2
LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
SMALL = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "embedding_size"), WIDTH),
    **dict.fromkeys(("out_hidden_size", "text_hidden_size", "audio_hidden_size"), WIDTH),  # of joined models
    **dict.fromkeys(("condition_dim", "upsample_groups", "descriptor_dim"), WIDTH),
    **dict.fromkeys(LAYER_COUNTS, LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "depth", "num_decoder_layers", "num_encoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS),
    "num_key_value_heads": KEY_HEADS,
    **dict.fromkeys(("head_dim", "d_kv"), HEAD_DIM),
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "n_inner", "hidden_dim"), FFN),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), FFN),
    "word_embed_proj_dim": WIDTH,
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "text_vocab_size"), 97),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 64),
    **{"image_size": 16, "patch_size": 4},
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **{"kv_lora_rank": 16, "q_lora_rank": 20, "qk_rope_head_dim": 4, "qk_nope_head_dim": 10, "v_head_dim": 14},
    **{"index_n_heads": 4, "index_head_dim": 16, "index_topk": 16, "mamba_n_heads": 12, "mamba_d_head": 8},
    **{
        "num_experts_per_tok": 2,
        "top_k_experts": 2,
        "n_shared_experts": 1,
        "moe_intermediate_size": 24,
        "n_group": 1,
        "topk_group": 1,
    },
    **{"global_head_dim": 12, "hidden_size_per_layer_input": 12},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0},
}
# None stands for a size that others give
OPEN = {"num_key_value_heads", "head_dim", "n_inner", "moe_intermediate_size", "num_experts", "n_routed_experts"}
OPEN |= {"n_group", "topk_group", "vocab_size", "num_experts_per_tok", "n_shared_experts", "top_k_experts"}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
MROPE = ROPE | {"mrope_section": [2, 1, 1]}  # the half of HEAD_DIM
HALF_MROPE = ROPE | {"mrope_section": [1, 1, 0], "partial_rotary_factor": 0.5}
# what no rule reaches
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "bit": {"embedding_size": 64},
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE}},
    "cosmos3_edge_text": {"rope_parameters": MROPE},
    "codegen": {"num_attention_heads": 8, "rotary_dim": 4},
    "dbrx": {"attn_config": {"rope_theta": 1e4, "kv_n_heads": KEY_HEADS, "clip_qkv": 1e4}},
    "esmc": {"num_key_value_heads": HEADS},
    "falcon_h1": {"mamba_d_ssm": 96},
    "funnel": {"block_sizes": [1, 1, 1], "block_repeats": [1, 1, 1]},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gptj": {"rotary_dim": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granite_speech5_encoder": {"context_size": 16},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kyutai_speech_to_text": {"audio_pad_token_id": 0},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 12},
    "moonshine_streaming": {"num_key_value_heads": HEADS},
    "neomme": {"head_dim": 16},
    "reformer": {"axial_pos_embds_dim": (16, 32), "axial_pos_shape": (8, 8), "attention_head_size": 8},
    "swinv2": {"image_size": 64, "window_size": 2},
    "videoprism_vision_model": {"image_size": 36},
    "zamba": {"num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
    "qwen4_exp_text": {"indexer_budget": 8, "indexer_compress_ratio": 2, "indexer_n_heads": 4}
    | {"indexer_kv_heads": 1, "indexer_head_dim": 16},
    **{name: {"prediction_length": 4} for name in ("autoformer", "informer", "time_series_transformer")},
    **{name: {"num_attention_heads": 8} for name in ("mask2former", "oneformer")},
    **{name: {"rope_parameters": MROPE} for name in ("glm4v_text", "glm_ocr_text", "glm_image_text")},
    **{name: {"rope_parameters": HALF_MROPE} for name in ("glm4v_moe_text",)},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "falcon+multi_query": {"multi_query": True, "new_decoder_architecture": False},
    "falcon+new_decoder": {"new_decoder_architecture": True, "num_kv_heads": KEY_HEADS},
    "falcon+neither": {"multi_query": False, "new_decoder_architecture": False},
}


def every_type() -> list[str]:
    """All types that have a bare model, those with variants once for each."""
    plain = {name for name, config in CONFIG_MAPPING.items() if config in MODEL_MAPPING}
    return sorted((plain - {name.split("+")[0] for name in VARIANTS}) | set(VARIANTS))


def small_config(model_type: str) -> PretrainedConfig:
    config = CONFIG_MAPPING[model_type.split("+")[0]]
    return shrunk(config, **VARIANTS.get(model_type, {}))


def shrunk(config: Any, **told: Any) -> PretrainedConfig:
    """Made anew with small sizes, so that what its constructor derives from them fits; parts of it alike."""
    default = config()
    held = dict(vars(default))
    sizes: dict[str, Any] = {name: size for name, size in SMALL.items() if _takes(default, name)}
    if "kv_lora_rank" in held:
        sizes["num_key_value_heads"] = HEADS  # latent attention has no groups
    kinds = held.get("layer_types") or []
    kept = [kinds.index(kind) for kind in dict.fromkeys(kinds)]  # one layer of each kind there is
    if len(kept) < LAYERS:
        kept = list(range(LAYERS))
    for name, value in held.items():
        if isinstance(value, PretrainedConfig):
            sizes[name] = shrunk(type(value))
            continue
        if not isinstance(value, list | tuple) or not value:
            continue
        if len(kept) < len(value) == held.get("num_hidden_layers"):  # an entry a layer
            value = sizes[name] = [value[layer] for layer in kept]
        if name == "depths":
            sizes[name] = [1] * len(value)
    sizes |= {name: len(kept) for name in LAYER_COUNTS if name in sizes}
    return config(**sizes | OVERRIDES.get(config.model_type, {}) | told)


def _takes(config: PretrainedConfig, name: str) -> bool:
    """Whether the config has a single number of that name, or none yet, and lets itself be told another."""
    if name == "head_dim" and hasattr(config, "qk_rope_head_dim"):
        return False  # latent attention derives the one from the other
    try:
        value = getattr(config, name, "")
    except Exception:  # layers differ in it: the constructor takes what most have
        return True
    is_size = isinstance(value, int) and value  # 0 stands for a part that isn't there
    if not (is_size or (value is None and name in OPEN) or name.endswith("token_id")):
        return False
    try:
        setattr(config, name, value)
    except Exception:  # derived from others
        return False
    return True
