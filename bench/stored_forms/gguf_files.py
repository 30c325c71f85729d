"""GGUF, as llama.cpp's converter writes it: rows of q and k in another order, blocks of ggml's own, RoPE as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from bench.stored_forms.form import Rotation, add
from bench.stored_forms.ggml_blocks import BLOCKS, Quantize
from bench.stored_forms.models import State, stored_state

FAMILY = "GGUF"
FILE = "tiny.gguf"
BASE = 10000.0
ROPE_LINEAR, ROPE_YARN, TRAINED_ON = 4.0, 8.0, 16
Tell = Callable[[gguf.GGUFWriter], None]


def store(
    model: Any, folder: Path, kind: str = "F32", tell: Tell | None = None, extra: dict[str, torch.Tensor] | None = None
) -> State:
    """One file of blocks of this kind where rows are whole blocks, else of float32; vectors always are.

    tell: more keys · extra: more tensors, by their names in the file.
    """
    config = model.config
    arch = "qwen2" if config.model_type == "qwen2" else "llama"
    writer = gguf.GGUFWriter(folder / FILE, arch)
    _describe(writer, config)
    if tell:
        tell(writer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config.num_hidden_layers)
    exact: State = {}
    for name, weight in stored_state(model).items():
        ordered = converted(name, weight.double().numpy(), config) if arch == "llama" else weight.double().numpy()
        stored, values = quantized(ordered, kind)
        raw = None if stored.dtype == np.float32 else gguf.GGMLQuantizationType[kind]
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), stored, raw_dtype=raw)
        exact[name] = torch.from_numpy(back(name, values, config) if arch == "llama" else values)
    for name, value in (extra or {}).items():
        writer.add_tensor(name, value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return exact


def quantized(weight: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """What is written, and the values that it stands for."""
    size, quantize = BLOCKS.get(kind, (0, None))
    if quantize is None or weight.ndim < 2 or weight.shape[1] % size:
        single = weight.astype(np.float32)
        return single, single.astype(np.float64)
    return _by_rows(weight, size, quantize)


def _by_rows(weight: np.ndarray, size: int, quantize: Quantize) -> tuple[np.ndarray, np.ndarray]:
    stored, values = quantize(weight.reshape(-1, size))
    return stored.reshape(len(weight), -1), values.reshape(weight.shape)


def converted(name: str, weight: np.ndarray, config: Any) -> np.ndarray:
    """Features i and i + head_dim / 2 of a head come to lie side by side (convert_hf_to_gguf.py, permute)."""
    if not (heads := _heads(name, config)):
        return weight
    apart = weight.reshape(heads, 2, len(weight) // heads // 2, *weight.shape[1:])
    return apart.swapaxes(1, 2).reshape(weight.shape)


def back(name: str, weight: np.ndarray, config: Any) -> np.ndarray:
    if not (heads := _heads(name, config)):
        return weight
    paired = weight.reshape(heads, len(weight) // heads // 2, 2, *weight.shape[1:])
    return paired.swapaxes(1, 2).reshape(weight.shape)


def _heads(name: str, config: Any) -> int:
    return config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads if ".k_proj." in name else 0


def _describe(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(40)
    writer.add_value_length(40)
    writer.add_rope_dimension_count(40)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(BASE)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    letters = ["w", "Ġ", *map(str, range(10))]  # Ġ is how byte-level vocabularies write a space
    writer.add_token_list([*letters, *(f"w{i}" for i in range(len(letters), config.vocab_size))])
    writer.add_token_merges([])
    writer.add_token_scores([0.0] * config.vocab_size)  # transformers asks for them


def turns(n_features: int = 40) -> torch.Tensor:
    """Radians a token of each pair of features."""
    return BASE ** (-torch.arange(0, n_features, 2, dtype=torch.float64) / n_features)


def plain(config: Any) -> tuple[torch.Tensor, float]:
    return turns(), 1.0


def slowed(config: Any) -> tuple[torch.Tensor, float]:
    return turns() / ROPE_LINEAR, 1.0


def by_factors(config: Any) -> tuple[torch.Tensor, float]:
    return turns() / factors().double(), 1.0


def yarn(config: Any) -> tuple[torch.Tensor, float]:
    """Slow pairs as slowed, fast ones as they were, a ramp in between (ggml's rope_yarn and rope_yarn_corr_dims)."""
    own = turns()
    n = 2 * len(own)
    low, high = (n * math.log(TRAINED_ON / (beta * 2 * math.pi)) / (2 * math.log(BASE)) for beta in (32.0, 1.0))
    low, high = max(0, math.floor(low)), min(n - 1, math.ceil(high))
    ramp = 1 - ((torch.arange(len(own)) - low) / max(0.001, high - low)).clamp(0, 1)
    return own / ROPE_YARN * (1 - ramp) + own * ramp, 1 + 0.1 * math.log(ROPE_YARN)


def factors() -> torch.Tensor:
    """What Llama 3.1's converter makes of rope_type llama3: one divisor for every pair."""
    waves = 2 * math.pi / turns()
    low, high, factor = TRAINED_ON / 1.0, TRAINED_ON / 4.0, 8.0
    smooth = ((TRAINED_ON / waves - 1.0) / 3.0).clamp(0, 1)
    between = 1 / ((1 - smooth) / factor + smooth)
    return torch.where(waves > low, factor, torch.where(waves < high, 1.0, between)).float()


def tell_linear(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(ROPE_LINEAR)


def tell_yarn(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(ROPE_YARN)
    writer.add_rope_scaling_orig_ctx_len(TRAINED_ON)


def register() -> None:
    for kind in ("F32", *BLOCKS):
        tolerance = {"4": 0.3, "5": 0.15}.get(kind[1], 0.05)
        model = "llama of 256" if kind.endswith("_K") else "llama"
        _add(kind, plain, partial(store, kind=kind), tolerance=tolerance, model=model)
    _add("F32, biases", plain, store, model="biased llama", is_biased=True)
    _add("F32, qwen2, biases", plain, store, model="qwen2", is_biased=True)
    _add("F32, rope.scaling linear", slowed, partial(store, tell=tell_linear))
    _add("F32, rope.scaling yarn", yarn, partial(store, tell=tell_yarn))
    _add("F32, `rope_freqs.weight`", by_factors, partial(store, extra={"rope_freqs.weight": factors()}))


def _add(name: str, rotation: Rotation, storer: Callable[..., State], **fields: Any) -> None:
    add(f"GGUF {name}", FAMILY, storer, file=FILE, rotation=rotation, **fields)
