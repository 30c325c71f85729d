"""A tiny Llama written by hand: its config, its tensors, and the bytes of a safetensors and a GGUF of them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 40,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 48,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}  # fmt: skip
SHAPES = {
    "self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32), "mlp.gate_proj": (40, 32), "mlp.up_proj": (40, 32), "mlp.down_proj": (32, 40),
    "input_layernorm": (32,), "post_attention_layernorm": (32,),
}  # fmt: skip
GGUF_NAMES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_norm", "ffn_norm")
ALIGNMENT = 32
UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 6, 7, 8, 9, 10
Value = tuple[int, bytes]  # a key's type, and its value as it lies in the file


def tensors() -> dict[str, np.ndarray]:
    made = {"model.embed_tokens.weight": _random(48, 32), "model.norm.weight": np.ones(32, np.float32)}
    for layer in range(2):
        for name, shape in SHAPES.items():
            made[f"model.layers.{layer}.{name}.weight"] = _random(*shape)
    return made


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape, np.float32)


def header(of: dict[str, np.ndarray]) -> dict[str, Any]:
    """The header of a safetensors file."""
    entries, at = {}, 0
    for name, value in of.items():
        entries[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    return entries


def safetensors(of: dict[str, np.ndarray], head: bytes | None = None) -> bytes:
    """head: the header's bytes, where they aren't those of the tensors."""
    head = json.dumps(header(of)).encode() if head is None else head
    return struct.pack("<Q", len(head)) + head + b"".join(value.tobytes() for value in of.values())


def folder(at: Path, config: Any = CONFIG) -> Path:
    """A whole checkpoint."""
    at.mkdir(parents=True, exist_ok=True)
    (at / "config.json").write_text(json.dumps(config))
    (at / "model.safetensors").write_bytes(safetensors(tensors()))
    return at


def sharded(at: Path, weight_map: Any = None, names: tuple[str, str] = ("a.safetensors", "b.safetensors")) -> Path:
    """The same in two files with an index; weight_map: what the index says instead."""
    folder(at)
    (at / "model.safetensors").unlink()
    own: dict[str, str] = {}
    halves = list(tensors().items())
    for name, half in zip(names, (halves[:5], halves[5:]), strict=True):
        (at / Path(name).name).write_bytes(safetensors(dict(half)))
        own |= {tensor: name for tensor, _ in half}
    index = {"weight_map": own if weight_map is None else weight_map}
    (at / "model.safetensors.index.json").write_text(json.dumps(index))
    return at


# --- GGUF ---


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def uint32(value: int) -> Value:
    return UINT32, struct.pack("<I", value)


def float32(value: float) -> Value:
    return FLOAT32, struct.pack("<f", value)


def string(value: str) -> Value:
    return STRING, text(value)


KEYS: dict[str, Value] = {
    "general.architecture": string("llama"),
    "llama.block_count": uint32(2), "llama.embedding_length": uint32(32), "llama.attention.head_count": uint32(4),
    "llama.attention.head_count_kv": uint32(2), "llama.context_length": uint32(64),
    "llama.feed_forward_length": uint32(40), "llama.attention.layer_norm_rms_epsilon": float32(1e-6),
}  # fmt: skip


def gguf_tensors() -> dict[str, np.ndarray]:
    made = {"token_embd.weight": _random(48, 32), "output_norm.weight": np.ones(32, np.float32)}
    for layer in range(2):
        for name, shape in zip(GGUF_NAMES, SHAPES.values(), strict=True):
            made[f"blk.{layer}.{name}.weight"] = _random(*shape)
    return made


def entry(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    """One tensor in the table of a GGUF."""
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def table(of: dict[str, np.ndarray]) -> tuple[list[bytes], bytes]:
    """The entries of all tensors, and their data."""
    entries, data = [], b""
    for name, value in of.items():
        entries.append(entry(name, value.shape, 0, len(data)))
        data += value.tobytes() + bytes(-value.nbytes % ALIGNMENT)
    return entries, data


def gguf(
    keys: dict[str, Value], entries: list[bytes], data: bytes, *, version: int = 3, counts: tuple[int, ...] = ()
) -> bytes:
    """counts: of tensors and of keys, where the header says others."""
    n_tensors, n_keys = counts or (len(entries), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys)
    head += b"".join(text(name) + struct.pack("<I", kind) + value for name, (kind, value) in keys.items())
    head += b"".join(entries)
    return head + bytes(-len(head) % ALIGNMENT) + data


def gguf_file(path: Path, keys: dict[str, Value | None] | None = None, **options: Any) -> Path:
    """keys: those that differ; None leaves one out."""
    wanted = KEYS | (keys or {})
    entries, data = table(gguf_tensors())
    path.write_bytes(gguf({name: value for name, value in wanted.items() if value}, entries, data, **options))
    return path
