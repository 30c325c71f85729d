"""Configs whose values can't be meant, each beside weights that are right, and config files that are no JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.bad_inputs import tiny
from bench.bad_inputs.case import Case, Words, of_model

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "vocab_size",
         "intermediate_size", "head_dim")  # fmt: skip
VALUES: dict[str, Any] = {
    "0": 0, "-1": -1, "10^5": 10**5, "10^9": 10**9, "10^12": 10**12, "10^30": 10**30, "half": 2.5, "a text": "2",
    "a list": [2], "an object": {"of": 2}, "true": True, "NaN": float("nan"), "infinity": float("inf"),
}  # fmt: skip
FIELDS: dict[str, tuple[str, Any]] = {
    "heads that don't divide": ("num_attention_heads", 5),
    "key heads that don't divide": ("num_key_value_heads", 4),
    "more layers than are stored": ("num_hidden_layers", 3),
    "fewer layers than are stored": ("num_hidden_layers", 1),
    "a thousand layers": ("num_hidden_layers", 1000),
    "layers null": ("num_hidden_layers", None),
    "hidden size null": ("hidden_size", None),
    "heads null": ("num_attention_heads", None),
    "architectures a number": ("architectures", 5),
    "architectures a list of numbers": ("architectures", [5]),
    "architectures an object": ("architectures", {"a": 1}),
    "architectures of another type": ("architectures", ["BertModel"]),
    "model_type a number": ("model_type", 5),
    "model_type a list": ("model_type", ["llama"]),
    "model_type unknown": ("model_type", "lama"),
    "model_type with control characters": ("model_type", "\x1b]0;owned\x07\x1b[2J\r"),
    "model_type of a megabyte": ("model_type", "x" * 2**20),
    "model_type of another family": ("model_type", "bert"),
    "rope_parameters a number": ("rope_parameters", 5),
    "rope_parameters a list": ("rope_parameters", [5]),
    "rope_parameters of an unknown type": ("rope_parameters", {"rope_type": "spiral"}),
    "rope_parameters without a factor": ("rope_parameters", {"rope_type": "yarn"}),
    "rope_theta a text": ("rope_parameters", {"rope_type": "default", "rope_theta": "x"}),
    "rope_theta NaN": ("rope_parameters", {"rope_type": "default", "rope_theta": float("nan")}),
    "rope_theta 0": ("rope_parameters", {"rope_type": "default", "rope_theta": 0}),
    "layer_types a number": ("layer_types", 5),
    "layer_types too few": ("layer_types", ["full_attention"]),
    "layer_types unknown": ("layer_types", ["spiral_attention", "spiral_attention"]),
    "layer_types of 10^6": ("layer_types", ["full_attention"] * 10**6),
    "rms_norm_eps a text": ("rms_norm_eps", "small"),
    "rms_norm_eps NaN": ("rms_norm_eps", float("nan")),
    "hidden_act unknown": ("hidden_act", "spiral"),
    "hidden_act a number": ("hidden_act", 5),
    "attention_bias that isn't stored": ("attention_bias", True),
    "attention_bias a text": ("attention_bias", "yes"),
    "max_position_embeddings a text": ("max_position_embeddings", "many"),
    "pad_token_id beyond the vocabulary": ("pad_token_id", 10**9),
    "pad_token_id a text": ("pad_token_id", "x"),
    "quantization_config a number": ("quantization_config", 5),
    "quantization_config unknown": ("quantization_config", {"quant_method": "spiral"}),
    "quantization_config of lists": ("quantization_config", {"quant_method": ["gptq"], "bits": [4]}),
    "quantization_config nested": (
        "quantization_config", {"quant_method": "compressed-tensors", "config_groups": {"g": 5}},
    ),
    "text_config a number": ("text_config", 5),
    "auto_map a number": ("auto_map", 5),
    "id2label a list": ("id2label", [5]),
    "dtype unknown": ("dtype", "float7"),
    "dtype a module's": ("dtype", "nn"),
    "a field of a property": ("use_return_dict", 5),
    "a field of a method": ("to_dict", 5),
}  # fmt: skip
READ: dict[str, tuple[str, Any]] = {
    "architectures a function": ("architectures", ["pipeline"]),
    "architectures a module": ("architectures", ["torch"]),
    "architectures a config": ("architectures", ["LlamaConfig"]),
    "architectures with control characters": ("architectures", ["\x1b]0;owned\x07\x1b[2J"]),
    "attn_implementation unknown": ("attn_implementation", "spiral"),
    "tie_word_embeddings off": ("tie_word_embeddings", False),
    "a private field": ("_attn_implementation_internal", 5),
}
WHOLE: dict[str, Any] = {
    "a llama and no more": {"model_type": "llama"},
    "a gpt2 and no more": {"model_type": "gpt2"},
    "a bert and no more": {"model_type": "bert"},
    "a deepseek_v3 and no more": {"model_type": "deepseek_v3"},
    "a llava and no more": {"model_type": "llava"},
    "an albert of 10^9 layers": {"model_type": "albert", "num_hidden_layers": 10**9},
    "a gpt2 of 10^9 layers": {"model_type": "gpt2", "n_layer": 10**9},
    "a gpt2 of 10^7 positions": {"model_type": "gpt2", "n_positions": 10**7, "n_embd": 24, "n_layer": 2, "n_head": 2},
    "a bert of 10^12 positions": {"model_type": "bert", "max_position_embeddings": 10**12},
    "a t5 of 10^9 layers": {"model_type": "t5", "num_layers": 10**9},
    "a mixtral of 10^6 experts": tiny.CONFIG | {"model_type": "mixtral", "num_local_experts": 10**6},
    "a swin of 10^9 blocks": {"model_type": "swin", "depths": [10**9, 2]},
    "a swin of 10^6 stages": {"model_type": "swin", "depths": [2] * 10**6},
    "a gpt_neo of 10^9 types": {"model_type": "gpt_neo", "attention_types": [[["global", "local"], 10**9]]},
    "a text_config of 10^9 layers": {"model_type": "llava", "text_config": {"model_type": "llama",
                                                                         "num_hidden_layers": 10**9}},
    "text_configs in text_configs": {"model_type": "llava", "text_config": {"model_type": "llava",
                                     "text_config": {"model_type": "llava", "text_config": 5}}},
    "an encoder that is its own": {"model_type": "encoder-decoder", "encoder": 5, "decoder": 5},
}  # fmt: skip
BYTES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("config.json",)),
    "a list": (b"[]", ("object",)),
    "a number": (b"5", ("object",)),
    "null": (b"null", ("object",)),
    "an empty object": (b"{}", ("model_type",)),
    "cut short": (b'{"model_type": "lla', ("config.json",)),
    "no JSON": (b"hello", ("JSON",)),
    "binary": (bytes(range(256)), ("config.json",)),
    "a byte-order mark": (b"\xef\xbb\xbf" + json.dumps(tiny.CONFIG).encode(), ("byte-order mark",)),
    "UTF-16, whole": (json.dumps(tiny.CONFIG).encode("utf-16"), ("UTF-8",)),
    "Latin-1": ('{"model_type": "llama", "name": "é"}'.encode("latin-1"), ("config.json",)),
    "lists 10,000 deep": (b"[" * 10_000, ("deep",)),
    "objects 10,000 deep": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, ("deep",)),
    "a number of 10,000 digits": (b'{"model_type": ' + b"9" * 10_000 + b"}", ("config.json",)),
    "a number of 1,000 digits": (
        b'{"model_type": "llama", "num_hidden_layers": ' + b"9" * 1_000 + b"}",
        ("num_hidden",),
    ),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", ("git lfs",)),
    "200 MB": (b'{"a": "' + b"x" * 200_000_000 + b'"}', ("bytes",)),
    "a key twice": (b'{"model_type": "llama", "model_type": "bert"}', ()),
    "NULs": (b"\0" * 4096, ("config.json",)),
}


def cases() -> Iterator[Case]:
    yield Case("config: none", _without)
    for field in SIZES:
        for word, value in VALUES.items():
            yield Case(f"config: {field} {word}", partial(_with, {field: value}))
    for name, (field, value) in FIELDS.items():
        yield Case(f"config: {name}", partial(_with, {field: value}))
    for name, (field, value) in READ.items():
        yield Case(f"config: {name}", partial(_with, {field: value}), is_read=True)
    for name, config in WHOLE.items():
        yield Case(f"config: {name}", partial(_whole, config))
    for name, (content, says) in BYTES.items():
        yield Case(f"config file: {name}", partial(_bytes, content), says)


def _with(changes: dict[str, Any], folder: Path) -> Words:
    return of_model(tiny.folder(folder / "m", tiny.CONFIG | changes))


def _whole(config: dict[str, Any], folder: Path) -> Words:
    return of_model(tiny.folder(folder / "m", config))


def _bytes(content: bytes, folder: Path) -> Words:
    tiny.folder(folder / "m")
    (folder / "m" / "config.json").write_bytes(content)
    return of_model(folder / "m")


def _without(folder: Path) -> Words:
    tiny.folder(folder / "m")
    (folder / "m" / "config.json").unlink()
    return of_model(folder / "m")
