"""What is done with each key and tensor of a GGUF: read, beside the point, left aside with a reason, or refused.

A key under the architecture's name that stands in none of these tables refuses the file. How llama.cpp reads a key is
what the key means, defaults included.
"""

from __future__ import annotations

from typing import Any

NO_ROTARY = ("gpt2", "bloom", "t5", "t5encoder", "mamba")
HYBRID = ("lfm2", "qwen35", "qwen35moe")  # some layers are no attention
WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2}  # one layer in so many has full attention
WINDOWED = (*WINDOW_PERIODS, "phi3")
# each key with the names that config classes have for it; the first name that a class has is set
SETS: dict[str, tuple[str, ...]] = {
    "context_length": ("max_position_embeddings",),
    "embedding_length": ("hidden_size",),
    "feed_forward_length": ("intermediate_size", "ffn_hidden_size", "d_ff", "n_inner"),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads"),
    "attention.layer_norm_rms_epsilon": (
        "rms_norm_eps", "norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon",
    ),
    "attention.layer_norm_epsilon": (
        "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps", "rms_norm_eps",
    ),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size", "intermediate_size"),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_weights_norm": ("norm_topk_prob",),
    "attention.relative_buckets_count": ("relative_attention_num_buckets",),
    "decoder_block_count": ("num_decoder_layers",),
    "decoder_start_token_id": ("decoder_start_token_id",),
}  # fmt: skip
# the values with which a key changes nothing; any other refuses the file, unless a config has a name for it
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "attention.shared_kv_layers": (0,),
    "attention.q_lora_rank": (0,),
    "attention.kv_lora_rank": (0,),
    "attention.temperature_length": (0,),
    "attention.temperature_scale": (0.0,),
    "attention.output_scale": (0.0, 1.0),
    "attention.sliding_window": (0,),
    "attention.sliding_window_pattern": (0, 1),
    "attn_logit_softcapping": (0.0,),
    "router_logit_softcapping": (0.0,),
    "embedding_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "expert_shared_count": (0,),
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
    "expert_group_scale": (0.0, 1.0),
    "expert_weights_scale": (0.0, 1.0),
    "leading_dense_block_count": (0,),
    "moe_every_n_layers": (0, 1),
    "interleave_moe_layer_step": (0, 1),
    "use_parallel_residual": (False,),
    "rescale_every_n_layers": (0,),
    "rope.scaling.alpha": (0.0,),
}
NEUTRAL_IN: dict[tuple[str, str], tuple[Any, ...]] = {
    ("bloom", "attention.max_alibi_bias"): (8.0,),
    ("t5encoder", "attention.causal"): (False,),
    ("llama", "tensor_data_layout"): ("Meta AI original pth",),  # q and k permuted, as in every llama
    ("falcon", "tensor_data_layout"): ("jploski",),
    ("qwen2moe", "expert_gating_func"): (1,),  # softmax
    ("qwen3moe", "expert_gating_func"): (1,),
    ("qwen35moe", "expert_gating_func"): (1,),
    ("gpt-oss", "expert_gating_func"): (3,),  # softmax over the chosen
    ("lfm2", "attention.sliding_window"): (0,),
}
# read by gguf_facts, gguf_config or gguf_rope, or by transformers' own function for the architecture
READ = (
    "block_count", "nextn_predict_layers", "vocab_size", "attention.key_length", "attention.value_length",
    "attention.key_length_swa", "attention.value_length_swa", "attention.scale",
    "rope.freq_base", "rope.freq_base_swa", "rope.local.freq_base", "rope.global.freq_base", "rope.scale_linear",
    "rope.dimension_count", "rope.dimension_count_swa", "rope.dimension_sections", "rope.scaling.type",
    "rope.scaling.factor", "rope.scaling.attn_factor", "rope.scaling.original_context_length",
    "rope.scaling.yarn_log_multiplier", "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
)  # fmt: skip
READ_IN: dict[str, tuple[str, ...]] = {
    "stablelm": ("use_parallel_residual",),  # converters write a wrong value: the tensors decide
    "qwen35": ("ssm.*", "full_attention_interval"),
    "qwen35moe": ("ssm.*", "full_attention_interval"),
    "lfm2": ("shortconv.l_cache",),
    "mamba": ("ssm.*",),
    "minimax-m2": ("expert_gating_func",),
}
BESIDE = {  # cannot bear on the attention of the text model
    "rope.scaling.finetuned": "says how the model was trained",
    "pooling_type": "what is made of the last hidden states",
    "classifier.*": "what is made of the last hidden states",
    "logit_scale": "of the output head",
    "final_logit_softcapping": "of the output head",
    "embedding_length_out": "of the output head",
    "context_length": "the class has no table of positions",
    "feed_forward_length": "the class has one width, and every shape is compared",
    "expert_feed_forward_length": "every shape is compared",
    "decoder_start_token_id": "of generation",
    "attention.group_norm*": "no module of the class has such a norm",
}
LEFT_ASIDE = {
    "vision.*": "of the vision part of the file, which is not read",
    "audio.*": "of the audio part of the file, which is not read",
    "mm.*": "of the projector into the text model, which is not read",
    "n_deepstack_layers": "of the vision part of the file, which is not read",
}
GENERAL = (  # who made the file and from what, what samplers should do, how tensors lie in it
    "type", "architecture", "alignment", "file_type", "quantization_version", "parameter_count", "name", "author",
    "version", "organization", "finetune", "basename", "description", "quantized_by", "size_label", "license*",
    "url", "doi", "uuid", "repo_url", "source*", "base_model*", "dataset*", "tags", "languages", "sampling.*",
)  # fmt: skip
OUTSIDE = ("tokenizer.*", "split.*", "quantize.*", "tokenizers.*")  # of the tokenizer, and of how the file was made
NOT_A_MODEL = {
    "adapter": "an adapter: merge it into its model first",
    "mmproj": "the vision part of a model alone: pass the file of its text model",
    "clip": "the vision part of a model alone: pass the file of its text model",
    "imatrix": "statistics for a quantizer: pass the file of the model",
    "controlvector": "directions to steer a model by: pass the file of the model",
}
TENSORS_LEFT_ASIDE = {
    r"(v|mm|a|resampler)\..*": "of the vision or audio part of the file, which is not read",
    r"(cls|cls\.output|dense_\d+(_out)?)\.(weight|bias)": "of a head on the last hidden states, which is not read",
}
READ_TENSORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
SWITCHES = {  # of a config, by the tensors that it switches on
    "attention_bias": r"blk\.\d+\.attn_(q|k|v|output)\.bias",
    "qkv_bias": r"blk\.\d+\.attn_(q|k|v)\.bias",
    "use_qkv_bias": r"blk\.\d+\.attn_(q|k|v)\.bias",
    "mlp_bias": r"blk\.\d+\.ffn_(gate|up|down)\.bias",
    "bias": r"blk\.\d+\.(attn_qkv|attn_output|ffn_up|ffn_down)\.bias",
    "use_bias": r"blk\.\d+\.(attn_q|attn_k|attn_v|attn_output|ffn_up|ffn_down)\.bias",
}
