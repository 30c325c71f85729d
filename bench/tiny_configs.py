"""A small config of any model type that transformers knows, every size cut down before a model is built; its weights.

A type is a name in CONFIG_MAPPING, or `falcon+multi_query`: a type and one of its variants in VARIANTS.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING

# sizes that differ pairwise, so that no axis passes for another; a config takes those that it knows
WIDTH, HEADS, KEY_HEADS, HEAD_DIM, FFN, LAYERS = 48, 6, 2, 8, 40, 2
LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
SMALL = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "embedding_size"), WIDTH),
    **dict.fromkeys(("out_hidden_size", "text_hidden_size", "audio_hidden_size"), WIDTH),  # of joined models
    **dict.fromkeys(("hidden_size_global", "projection_dim", "image_token_embed_dim", "fpn_hidden_size"), WIDTH),
    **dict.fromkeys(("projector_input_dim", "projector_output_dim", "encoder_hidden_dim", "fusion_hidden_size"), WIDTH),
    **dict.fromkeys(("condition_dim", "upsample_groups", "descriptor_dim"), WIDTH),
    **{"intra_bottleneck_size": 30, "coordinate_size": 8, "shape_size": 8},
    **dict.fromkeys(LAYER_COUNTS, LAYERS),
    **dict.fromkeys(("depth", "num_decoder_layers", "num_encoder_layers"), LAYERS),
    **{
        f"{stack}_{of}": size
        for stack in ("encoder", "decoder", "t2u_encoder", "t2u_decoder", "speech_encoder")
        for of, size in {"layers": LAYERS, "attention_heads": HEADS, "ffn_dim": FFN, "intermediate_size": FFN}.items()
    },
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), HEADS),
    "num_key_value_heads": KEY_HEADS,
    **dict.fromkeys(("head_dim", "d_kv"), HEAD_DIM),
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "n_inner", "hidden_dim"), FFN),
    **dict.fromkeys(("intermediate_size_mlp", "unit_embed_dim", "upsample_initial_channel"), FFN),
    **{"word_embed_proj_dim": WIDTH, "base_channels": 32, "num_filters": 4},
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "text_vocab_size", "entity_vocab_size"), 97),
    **dict.fromkeys(("encoder_hash_byte_group_vocab", "t2u_vocab_size", "unit_hifi_gan_vocab_size"), 97),
    **{"num_embeddings": 97, "num_queries": 9},
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
# settings for single types that no general rule gives
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "bit": {"embedding_size": 64},
    "bridgetower": {"hidden_size": 192},
    "bridgetower_text_model": {"hidden_size": 192},
    "bridgetower_vision_model": {"hidden_size": 192},
    "chameleon": {"vocabulary_map": {"<image>": 3, "IMGIMGBA": 4}},
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE}},
    "codegen": {"num_attention_heads": 8, "rotary_dim": 4},
    "dbrx": {"attn_config": {"rope_theta": 1e4, "kv_n_heads": KEY_HEADS, "clip_qkv": 1e4}},
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"]},
    "depth_pro": {"patch_size": 16, "intermediate_hook_ids": [1, 0]},
    "emu3": {"vocabulary_map": {"<image>": 3, "<|extra_200|>": 4, "<|visual token 000000|>": 5}},
    "esmc": {"num_key_value_heads": HEADS},
    "falcon_h1": {"mamba_d_ssm": 96},
    "funnel": {"architectures": ["FunnelModel"], "block_sizes": [1, 1, 1], "block_repeats": [1, 1, 1]},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gptj": {"rotary_dim": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granite_speech5_encoder": {"context_size": 16},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kyutai_speech_to_text": {"audio_pad_token_id": 0},
    "layoutlmv3": {"input_size": 16},
    "levit": {"patch_size": 16, "image_size": 64},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "llama4_vision_model": {"intermediate_size": 4 * WIDTH, "vision_output_dim": WIDTH},
    "lw_detr": {"projector_scale_factors": [1.0]},
    "lw_detr_vit": {"image_size": 64, "window_block_indices": [0]},
    "mamba2": {"num_heads": 12},
    "mimo_v2_flash": {"num_attention_heads": 12},  # its sliding layers have twice the key heads
    "molmo2_adapter": {"vision_feature_layer": [1, 0]},
    "moonshine_streaming": {"num_key_value_heads": HEADS},
    "neomme": {"head_dim": 16},
    "pvt": {"image_size": 64},
    "reformer": {"axial_pos_embds_dim": (16, 32), "axial_pos_shape": (8, 8), "attention_head_size": 8},
    "sam2_hiera_det_model": {"embed_dim_per_stage": [48, 96, 192, 384], "blocks_per_stage": [1, 1, 1, 1]},
    "sam2_vision_model": {"backbone_channel_list": [384, 192, 96, 48]},
    "step3p5": {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 16}
    | {"num_sliding_attention_heads": 12},
    "swin2sr": {"patch_size": 1},
    "swinv2": {"image_size": 64, "window_size": 2},
    "t5gemma2_text": {"dropout_rate": 0.0},
    "videoprism_vision_model": {"image_size": 36},
    "xmod": {"default_language": "en_XX"},
    "zamba2": {"num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "hybrid"], "num_mem_blocks": 2},
    "zamba": {"num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
    "qwen4_exp_text": {"indexer_budget": 8, "indexer_compress_ratio": 2, "indexer_n_heads": 4}
    | {"indexer_kv_heads": 1, "indexer_head_dim": 16},
    **{name: {"prediction_length": 4} for name in ("autoformer", "informer", "time_series_transformer")},
    # norms of 32 groups
    **{f"{kind}grounding-dino": {"d_model": 96, "hidden_size": 96, "encoder_ffn_dim": 72} for kind in ("", "mm-")},
    **{name: {"num_attention_heads": 8} for name in ("mask2former", "oneformer")},
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


def shrunk(config: Any, **changes: Any) -> PretrainedConfig:
    """The config made again with small sizes, so that what its constructor derives from them fits; inner ones too."""
    default = config()
    held = dict(vars(default))
    sizes: dict[str, Any] = {name: size for name, size in SMALL.items() if _takes(default, name)}
    if "kv_lora_rank" in held:
        sizes["num_key_value_heads"] = HEADS  # latent attention has no groups
    if held.get("head_dim") and held["head_dim"] == held.get("qk_rope_head_dim"):
        sizes["head_dim"] = SMALL["qk_rope_head_dim"]  # what is rotated
    rope = held.get("rope_parameters") or {}
    if rope.get("rope_type") == "default" and _reads(config, "mrope_section"):
        half = int(HEAD_DIM * rope.get("partial_rotary_factor", 1)) // 2
        sizes["rope_parameters"] = rope | {"mrope_section": [(half + axis) // 3 for axis in range(3)]}
    kinds = held.get("layer_types") or []
    kept = [kinds.index(kind) for kind in dict.fromkeys(kinds)]  # one layer of each kind there is
    if len(kept) < LAYERS:
        kept = list(range(LAYERS))
    for name, value in held.items():
        if isinstance(value, PretrainedConfig):
            stages = "depths" in vars(value) and getattr(value, "out_features", None)  # what the whole takes from it
            sizes[name] = shrunk(type(value), **({"out_features": stages} if stages else {}))
            continue
        if not isinstance(value, list | tuple) or not value:
            continue
        if len(kept) < len(value) == held.get("num_hidden_layers"):  # an entry a layer
            value = sizes[name] = [value[layer] for layer in kept]
        if name == "decoder_in_channels":
            sizes[name] = [WIDTH] * len(value)
        if name == "block_types":  # a pattern of layers
            sizes[name] = list(dict.fromkeys(value))
        if name in ("depths", "stage_num_blocks", "stage_numb_of_layers"):
            sizes[name] = [1] * len(value)
    sizes |= {name: len(kept) for name in LAYER_COUNTS if name in sizes}
    return config(**sizes | OVERRIDES.get(config.model_type, {}) | changes)


def _takes(config: PretrainedConfig, name: str) -> bool:
    """Whether the config has a single number of that name, or none yet, and lets another be set."""
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


def _reads(config: Any, name: str) -> bool:
    """Whether the models of a config's module name it."""
    path = Path(inspect.getfile(config))
    modeling = path.with_name(path.name.replace("configuration_", "modeling_"))
    return modeling.exists() and name in modeling.read_text(encoding="utf-8")


def randomize(model: nn.Module, scale: float = 0.3, seed: int = 0) -> nn.Module:
    """Random weights, biases, gains and statistics: the zeros and ones of a fresh model would hide faults."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.is_floating_point() and parameter.requires_grad:  # else a table of positions
                parameter.normal_(0, scale, generator=generator)
                if "norm" in name.lower():
                    parameter.add_(1)
        for name, buffer in model.named_buffers():  # of batch norms
            if "running" in name:
                buffer.uniform_(0.5, 1.5, generator=generator)
    return model.eval().requires_grad_(False)
