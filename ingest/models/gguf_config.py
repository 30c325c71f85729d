"""The config of the model in a GGUF: as transformers reads the keys, with those added that it ignores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.integrations.ggml import GGUF_CONFIG_DEFAULTS_MAPPING, GGUF_CONFIG_MAPPING
from transformers.integrations.gguf import GGUF_CONFIG_ARCHS, get_gguf_config
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from eigenhouse.ingest.models.gguf_facts import Facts, read_facts, require_rules
from eigenhouse.ingest.models.gguf_rope import original_context, parameters
from eigenhouse.ingest.models.gguf_rules import NO_ROTARY, SETS, SWITCHES, WINDOW_PERIODS, WINDOWED

MODEL_TYPES = {
    "llama": "llama", "qwen2": "qwen2", "qwen2moe": "qwen2_moe", "qwen3": "qwen3", "qwen3moe": "qwen3_moe",
    "qwen35": "qwen3_5_text", "qwen35moe": "qwen3_5_moe_text", "gemma2": "gemma2", "gemma3": "gemma3_text",
    "phi3": "phi3", "falcon": "falcon", "stablelm": "stablelm", "starcoder2": "starcoder2", "nemotron": "nemotron",
    "gpt-oss": "gpt_oss", "minimax-m2": "minimax_m2", "lfm2": "lfm2", "gpt2": "gpt2", "bloom": "bloom", "t5": "t5",
    "t5encoder": "t5", "mamba": "mamba",
}  # fmt: skip
ENCODER_DECODERS = {"t5": "T5ForConditionalGeneration", "umt5": "UMT5ForConditionalGeneration"}


def load_config(path: Path) -> PretrainedConfig:
    """The config of the model in a GGUF.

    Raises EigenhouseError where transformers has no class for the architecture, or a key can't be put into it.
    """
    facts = read_facts(path)
    fields = _base(facts)
    config_class = CONFIG_MAPPING[fields["model_type"]]
    known = set(getattr(config_class, "__dataclass_fields__", {})) | set(config_class.attribute_map)
    require_rules(facts, known)
    if facts.architecture not in GGUF_CONFIG_ARCHS:
        fields = {name: value for name, value in fields.items() if name in (*known, "model_type", "architectures")}
    fields |= _set_fields(facts, known) | _shape_fields(facts, known) | _window_fields(facts)
    fields |= {name: facts.has(pattern) for name, pattern in SWITCHES.items() if name in known}
    fields["tie_word_embeddings"] = "output.weight" not in facts.header.tensors
    if facts.architecture not in NO_ROTARY:
        fields["rope_parameters"] = parameters(facts, fields.get("rope_parameters"))
        if "original_max_position_embeddings" in known:
            fields["original_max_position_embeddings"] = original_context(facts)
    padding = fields.get("pad_token_id", getattr(config_class, "pad_token_id", None))
    if padding is not None and padding >= fields.get("vocab_size", padding + 1):
        fields["pad_token_id"] = None  # the class's default, which belongs to a larger vocabulary
    names = {**MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, **ENCODER_DECODERS}
    if fields["model_type"] in names and not fields.get("architectures"):
        fields["architectures"] = [names[fields["model_type"]]]
    fields.pop("model_type")
    fields = {config_class.attribute_map.get(name, name): value for name, value in fields.items()}
    try:
        return config_class(**fields)
    except (StrictDataclassError, KeyError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise facts.refusal(f"keys that {config_class.__name__} takes", said, "damaged, or unknown here?") from error


def _base(facts: Facts) -> dict[str, Any]:
    """What transformers' tables make of the keys they know, with the name of the class and the ids of tokens."""
    architecture = facts.architecture
    if architecture not in MODEL_TYPES:
        cause = f"this Eigenhouse reads {', '.join(MODEL_TYPES)}"
        raise facts.refusal("an architecture that transformers reads as its file means it", repr(architecture), cause)
    if architecture in GGUF_CONFIG_ARCHS:
        try:
            return get_gguf_config(facts.header.keys, tuple(facts.header.tensors))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise facts.refusal(f"the keys of {architecture}", f"no {error}", "a damaged conversion?") from error
    model_type = MODEL_TYPES[architecture]
    if model_type == "t5" and "umt5" in str(facts.header.keys.get("general.name", "")).lower():
        model_type = "umt5"
    tables = GGUF_CONFIG_MAPPING[model_type.removesuffix("_text")]
    base = {"model_type": model_type} | GGUF_CONFIG_DEFAULTS_MAPPING.get(model_type, {})
    base |= {name: facts.keys[key] for key, name in tables.items() if name and key in facts.keys}
    tokens = {name: facts.header.keys.get(f"tokenizer.{key}") for key, name in GGUF_CONFIG_MAPPING["tokenizer"].items()}
    return base | {name: token for name, token in tokens.items() if token is not None} | _class_fields(facts)


def _class_fields(facts: Facts) -> dict[str, Any]:
    """Fields that no key sets by itself: the tensors decide, or a number stands for a name."""
    if facts.architecture in ("t5", "t5encoder"):
        is_gated = facts.has(r"(enc|dec)\.blk\.\d+\.ffn_gate\.weight")
        encoder = {"architectures": ["T5EncoderModel"]} if facts.architecture == "t5encoder" else {}
        return encoder | {"feed_forward_proj": "gated-gelu" if is_gated else "relu"}
    if facts.architecture == "stablelm":
        return {"use_parallel_residual": not facts.has(r"blk\.\d+\.ffn_norm\.weight")}
    if facts.architecture == "minimax-m2":
        functions = {1: "softmax", 2: "sigmoid"}
        if (number := facts.get("expert_gating_func", 2)) not in functions:
            raise facts.refusal("an expert_gating_func of 1 or 2", number, "newer than Eigenhouse?")
        return {"scoring_func": functions[number]}
    return {}


def _set_fields(facts: Facts, known: set[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, names in SETS.items():
        if (value := facts.number(key) if key != "attention.head_count_kv" else None) is None:
            continue
        if key == "expert_count" and not value and not any(name in known for name in names):
            continue
        name = next((name for name in names if name in known), None)
        if name is None:
            continue
        if fields.get(name, value) != value:
            raise facts.refusal(f"one value for {name}", f"{key} = {value} beside {fields[name]}", "damaged?")
        fields[name] = value
    return fields


def _shape_fields(facts: Facts, known: set[str]) -> dict[str, Any]:
    """Layers, heads and widths, from the keys, llama.cpp's defaults or the tensors."""
    fields: dict[str, Any] = {"num_hidden_layers": facts.n_layers}
    if facts.architecture == "mamba":
        return fields
    if name := next((name for name in SETS["attention.head_count_kv"] if name in known), None):
        fields[name] = facts.n_key_heads
    elif facts.n_key_heads != facts.n_heads:
        raise facts.refusal("as many key heads as heads", facts.n_key_heads, "the class has no grouped heads")
    if facts.architecture == "falcon":
        fields |= _falcon_fields(facts)
    size = facts.head_dim
    for key in ("attention.value_length", "attention.key_length_swa", "attention.value_length_swa"):
        if (other := facts.number(key, size)) != size:
            raise facts.refusal(f"a {key} of {size}, as of keys", other, "no class has heads of two sizes")
    if "head_dim" in known or size * facts.n_heads != facts.hidden_size:
        fields["head_dim"] = (
            size  # some classes read it though they declare no such field; every shape is compared later
        )
    embeddings = facts.header.tensors.get("token_embd.weight")
    if embeddings is not None:
        fields["vocab_size"] = embeddings.shape[0]  # the key may leave out rows that pad the table
    return fields | _scale_fields(facts)


def _falcon_fields(facts: Facts) -> dict[str, Any]:
    """Which of Falcon's three layouts: llama.cpp needs none of this, as it cuts the heads apart on conversion."""
    is_new = 1 < facts.n_key_heads < facts.n_heads or facts.has(r"blk\.\d+\.attn_norm_2\.weight")
    if not is_new and facts.n_key_heads != 1:
        raise facts.refusal("grouped heads or one key head", f"{facts.n_key_heads} key heads", "a Falcon with ALiBi?")
    return {
        "new_decoder_architecture": is_new,
        "multi_query": True,
        "num_ln_in_parallel_attn": 2 if facts.has(r"blk\.\d+\.attn_norm_2\.weight") else 1,
    }


def _scale_fields(facts: Facts) -> dict[str, Any]:
    """What q·k is multiplied by: 1/√head_dim in every class but Gemma's, whose two largest models differ."""
    size, scale = facts.head_dim, facts.get("attention.scale")
    if facts.architecture not in ("gemma2", "gemma3"):
        if scale and abs(scale * size**0.5 - 1) > 1e-5:
            raise facts.refusal(f"an attention.scale of {size**-0.5:.6g}", scale, "the class has no place for it")
        return {}
    largest = {"gemma2": 46, "gemma3": 62}[facts.architecture]
    divided = facts.hidden_size // facts.n_heads if facts.n_layers == largest else size
    if scale:
        divided = scale**-2
        if abs(divided - round(divided)) > 1e-4 * divided:
            raise facts.refusal("an attention.scale of 1 / √(whole number)", scale, "the class has no place for it")
    return {"query_pre_attn_scalar": round(divided)}


def _window_fields(facts: Facts) -> dict[str, Any]:
    """Which layers attend to a window of the last positions alone."""
    if facts.architecture not in WINDOWED:
        return {}
    window = facts.number("attention.sliding_window")
    if facts.architecture == "phi3":
        return {"sliding_window": window or None}
    if window is None and facts.architecture == "gemma2":
        window = 4096
    if not window:
        raise facts.refusal("attention.sliding_window", repr(window), "an early conversion: convert it anew")
    pattern = facts.get("attention.sliding_window_pattern", WINDOW_PERIODS[facts.architecture])
    if not isinstance(pattern, list):
        pattern = [pattern == 0 or layer % pattern < pattern - 1 for layer in range(facts.n_layers)]
    if len(pattern) < facts.n_layers:
        raise facts.refusal(f"{facts.n_layers} values", len(pattern), "a sliding_window_pattern of fewer layers")
    kinds = ["sliding_attention" if slides else "full_attention" for slides in pattern[: facts.n_layers]]
    return {"sliding_window": window, "layer_types": kinds}
