"""Tensors of a GGUF read a second time, through transformers' dequantizer in torch: the witness of `gguf_reading`."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import torch

from eigenhouse.ingest.models.gguf_facts import Facts, read_facts, stored_data
from eigenhouse.ingest.models.gguf_reading import MINUS_ONE, Reading, falcon_rows


def witness(path: Path, tensor_name: str) -> torch.Tensor:
    """One stored tensor in the model's orientation, by another dequantizer and other code than `readers` have.

    Returns float32 of the module's shape; a part of a fused tensor alone. Tensors of convolutions and of linear
    attention (LFM2, Qwen 3.5), where nothing is measured, stay as they are stored.
    Raises EigenhouseError for a type that transformers can't dequantize in torch.
    """
    facts = read_facts(path)
    stored = facts.header.tensors[tensor_name]
    data = torch.from_numpy(np.array(stored_data(facts, tensor_name)))
    return _in_place(facts, tensor_name, _by_torch(facts, tensor_name, data, stored.type_number, stored.shape))


def has_witness(reading: Reading) -> bool:
    """Whether a second dequantizer knows a parameter: one tensor of a type that transformers reads in torch."""
    from transformers.integrations.gguf.dequant import GGML_BLOCK

    known = {gguf.GGMLQuantizationType(number).name for number in GGML_BLOCK} | {"Q5_0", "Q5_1"}
    return len(reading.stored) == 1 and reading.type_name in known


def second_reading(path: Path, reading: Reading) -> tuple[str, torch.Tensor]:
    """The name of the second dequantizer, and what it makes of a parameter that `has_witness`."""
    return f"transformers {version('transformers')}", witness(path, reading.stored[0]).reshape(reading.shape)


def _by_torch(facts: Facts, name: str, data: torch.Tensor, type_number: int, shape: tuple[int, ...]) -> torch.Tensor:
    from transformers.integrations.gguf.dequant import GGML_BLOCK, dequantize

    kind = gguf.GGMLQuantizationType(type_number)
    if kind in (kind.F32, kind.F16, kind.F64):
        return data.float().reshape(shape)
    if kind == kind.BF16:
        return data.contiguous().view(torch.bfloat16).float().reshape(shape)
    blocks = data.contiguous().reshape(-1)
    if kind in (kind.Q5_0, kind.Q5_1):
        return _five_bits(blocks, has_minimum=kind == kind.Q5_1).reshape(shape)
    if type_number not in GGML_BLOCK:
        raise facts.refusal("a type that a second dequantizer knows", f"{kind.name} of {name}", "only gguf's own does")
    return dequantize(blocks, type_number, torch.float32).reshape(shape)


def _five_bits(blocks: torch.Tensor, *, has_minimum: bool) -> torch.Tensor:
    """Q5_0 and Q5_1: 32 values a block, four bits of each in the halves of 16 bytes, the fifth in a word."""
    n_halves = 2 if has_minimum else 1
    blocks = blocks.reshape(-1, 2 * n_halves + 4 + 16)
    halves = blocks[:, : 2 * n_halves].contiguous().view(torch.float16).float()
    fifth = blocks[:, 2 * n_halves : 2 * n_halves + 4].int()
    fifth = (fifth[:, :, None] >> torch.arange(8)).reshape(-1, 32) & 1
    nibbles = blocks[:, -16:].int()
    values = torch.cat([nibbles & 15, nibbles >> 4], dim=1) | fifth << 4
    if has_minimum:
        return halves[:, :1] * values + halves[:, 1:]
    return halves * (values - 16)


def _in_place(facts: Facts, name: str, values: torch.Tensor) -> torch.Tensor:
    """What llama.cpp's converter did to a tensor, undone by index."""
    own, leaf = facts.architecture, ".".join(name.split(".")[-2:])
    if own == "llama" and leaf.startswith(("attn_q.", "attn_k.")):
        n_heads = facts.n_heads if leaf.startswith("attn_q.") else facts.n_key_heads
        size = len(values) // n_heads
        pairs = torch.arange(size).reshape(size // 2, 2).T.reshape(-1)  # even rows, then odd ones
        return values[(torch.arange(n_heads)[:, None] * size + pairs).reshape(-1)]
    if own in MINUS_ONE and re.fullmatch(MINUS_ONE[own], name):
        return values - 1
    if own == "gpt2" and re.fullmatch(r"(attn_qkv|attn_output|ffn_up|ffn_down)\.weight", leaf):
        return values.T.contiguous()
    if own == "gpt-oss" and leaf.endswith("_exps.weight"):
        return values.mT
    if own == "bloom" and leaf.startswith("attn_qkv."):
        size = facts.head_dim
        head, row = torch.arange(facts.n_heads)[:, None, None], torch.arange(size)
        part = torch.arange(3)[:, None] * facts.n_heads * size
        return values[(part + head * size + row).reshape(-1)]
    if own == "falcon" and leaf.startswith("attn_qkv."):
        return values[falcon_rows(facts)]
    return values
