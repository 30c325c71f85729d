"""The tensors of a GGUF under the names of a model's parameters, dequantized, in the orientation of its modules.

transformers knows which tensor is which parameter and what its converter permuted, so it is asked; what its loader
drops is added here. transformers parses a file again for config, tokenizer and weights, and makes a Python object of
every token: this module keeps its answers, because a file doesn't change during an ingest. Import it before
transformers reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import _type_traits
from torch import nn
from transformers import modeling_gguf_pytorch_utils as gguf_models
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.integrations.gguf import GGUF_ARCHS, get_gguf_conversion_mapping

from eigenhouse.ingest.models.gguf_facts import Facts, read_facts, reason_to_leave, stored_data
from eigenhouse.ingest.models.gguf_rules import READ_TENSORS, SWITCHES

_load = gguf_models.load_gguf_checkpoint


@lru_cache(maxsize=2)
def _load_metadata(path: str) -> dict[str, dict[str, Any]]:
    return _load(path, return_tensors=False)


def _load_once(path: Any, return_tensors: bool = False, **options: Any) -> dict[str, Any]:
    """transformers' own answer. Callers change what they get, so each gets a copy."""
    if return_tensors:
        return _load(path, return_tensors=True, **options)
    return {name: dict(part) for name, part in _load_metadata(str(path)).items()}


gguf.GGUFReader = lru_cache(maxsize=2)(gguf.GGUFReader)
gguf.get_tensor_name_map = lru_cache(maxsize=8)(gguf.get_tensor_name_map)
gguf_models.load_gguf_checkpoint = _load_once
gguf_models.tqdm = partial(gguf_models.tqdm, disable=True)  # a bar of its own, which no setting turns off

VALUES_AT_ONCE = 1 << 16
MINUS_ONE = dict.fromkeys(("gemma2", "gemma3", "nemotron"), r".*norm\.weight")
MINUS_ONE |= dict.fromkeys(("qwen35", "qwen35moe"), r"(?!.*ssm_norm).*norm\.weight")
Convert = Callable[[list[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Reading:
    """One parameter.

    stored: the tensors of the file that it is made of; none for a bias that the file lacks: it is zero.
    """

    stored: tuple[str, ...]
    type_name: str
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]


def readers(path: Path, model: nn.Module) -> dict[str, Reading]:
    """How to read each parameter of the model, which may be a skeleton.

    Raises EigenhouseError where a tensor of the file has no place in the model and may not be left out, where a
    parameter has no tensor, where sizes differ, and for a type of tensor that no known code can dequantize.
    """
    facts = read_facts(path)
    sources = _by_conversion(facts, model) if facts.architecture in GGUF_ARCHS else _by_name(facts, model)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    sources = {name: source for name, source in sources.items() if name in wanted}
    _require_all_used(facts, sources)
    made = {name: _reading(facts, name, wanted[name], *source) for name, source in sources.items()}
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    for name, twin in (*tied.items(), *((twin, name) for name, twin in tied.items())):
        if twin in made:
            made.setdefault(name, made[twin])
    for name in wanted.keys() - made.keys():
        if not _is_lacking_bias(facts, name):
            raise facts.refusal(
                f"a tensor for every parameter of {type(model).__name__}", f"none for {name}", "a damaged conversion?"
            )
        made[name] = Reading((), "F32", wanted[name], partial(torch.zeros, wanted[name]))
    return made


def falcon_rows(facts: Facts) -> torch.Tensor:
    """For each row of Falcon's fused projection the row of the file: groups of queries, each with its key and value."""
    size, n_groups = facts.head_dim, facts.n_key_heads
    queries = torch.arange(facts.n_heads * size).reshape(n_groups, -1)
    keys = facts.n_heads * size + torch.arange(n_groups * size).reshape(n_groups, -1)
    return torch.cat([queries, keys, keys + n_groups * size], dim=1).reshape(-1)


def dequantized(data: np.ndarray, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    """In float32, by gguf's own dequantizer, for as many blocks at a time as a processor's cache holds.

    gguf does it for 16 rows at a time, whatever their length: to the same values in twice the time.
    """
    if kind not in _type_traits:
        return np.asarray(data if kind == kind.F64 else gguf.dequantize(data, kind), np.float32)
    traits = _type_traits[kind]
    traits.init_grid()
    blocks = data.reshape(-1, traits.type_size)
    made = np.empty((len(blocks), traits.block_size), np.float32)
    step = VALUES_AT_ONCE // traits.block_size
    for first in range(0, len(blocks), step):
        made[first : first + step] = traits.dequantize_blocks(blocks[first : first + step])
    return made.reshape(gguf.quant_shape_from_byte_shape(data.shape, kind))


def _dequantized(facts: Facts, name: str) -> np.ndarray:
    kind = gguf.GGMLQuantizationType(facts.header.tensors[name].type_number)
    return dequantized(stored_data(facts, name), kind)


def _require_known_type(facts: Facts, name: str) -> None:
    kind = gguf.GGMLQuantizationType(facts.header.tensors[name].type_number)
    if kind not in _type_traits and kind not in (kind.F32, kind.F16, kind.F64):
        raise facts.refusal(
            "floats, or a code that gguf dequantizes", f"{kind.name} in {name}", "quantize it otherwise"
        )


def _by_name(facts: Facts, model: nn.Module) -> dict[str, tuple[tuple[str, ...], Convert]]:
    """parameter -> (tensors, how they become it), by gguf's table of names and transformers' processors."""
    make = gguf_models.TENSOR_PROCESSORS.get(facts.architecture, gguf_models.TensorProcessor)
    processor = make(config=_numbers(facts))
    names = gguf_models.get_gguf_hf_weights_map(model, processor)
    sources: dict[str, tuple[tuple[str, ...], Convert]] = {}
    for name in facts.header.tensors:
        parameter = names.get(name) or names.get(name.removesuffix(".weight"))
        if name == "output.weight" and parameter is None:
            parameter = "lm_head.weight"
        if parameter is not None:
            sources[parameter] = ((name,), partial(_processed, processor, name))
    sources |= {parameter: made for parameter in model.state_dict() if (made := _experts(facts, parameter))}
    if facts.architecture == "falcon":
        for parameter, (stored, _) in sources.items():
            if ".attn_qkv." in stored[0]:  # transformers keeps the order of rows, which is right for one key head alone
                sources[parameter] = (stored, lambda tensors: tensors[0][falcon_rows(facts)])
    return sources


def _experts(facts: Facts, parameter: str) -> tuple[tuple[str, ...], Convert] | None:
    """Stacked experts. Files store gate and input matrices apart; GPT-OSS's parameter has them in turns, transposed."""
    match = re.search(r"layers\.(\d+)\.mlp\.experts\.(gate_up|down)_proj(_bias)?$", parameter)
    if match is None:
        return None
    tail = "bias" if match[3] else "weight"
    parts = ("gate", "up") if match[2] == "gate_up" else ("down",)
    names = tuple(f"blk.{match[1]}.ffn_{part}_exps.{tail}" for part in parts)
    if not all(name in facts.header.tensors for name in names):
        return None
    if facts.architecture != "gpt-oss":
        return names, partial(torch.cat, dim=1)
    return names, _in_turns if tail == "bias" else _in_turns_transposed


def _in_turns(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(tensors, dim=-1).flatten(-2)


def _in_turns_transposed(tensors: list[torch.Tensor]) -> torch.Tensor:
    return _in_turns([tensor.transpose(-1, -2) for tensor in tensors])


def _numbers(facts: Facts) -> dict[str, int]:
    """The numbers that the processors ask a config for, with llama.cpp's defaults, which transformers leaves out."""
    numbers = {"hidden_size": facts.hidden_size}
    if facts.architecture == "mamba":
        return numbers
    heads = {"num_attention_heads": facts.n_heads, "n_head": facts.n_heads}
    return numbers | heads | {"num_key_value_heads": facts.n_key_heads}


def _processed(processor: gguf_models.TensorProcessor, name: str, tensors: list[torch.Tensor]) -> torch.Tensor:
    """Undoes what converters do: they permute the rows of rotary heads, and store some gains as 1+g."""
    made = processor.process(weights=tensors[0].numpy(), name=name, parsed_parameters={"tensors": {}})
    return torch.from_numpy(np.require(made.weights, requirements="W"))


def _by_conversion(facts: Facts, model: nn.Module) -> dict[str, tuple[tuple[str, ...], Convert]]:
    """As `_by_name`, by the conversions with which transformers describes newer architectures."""
    mapping = get_gguf_conversion_mapping(facts.architecture, model.config)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    parts: dict[str, list[tuple[str, str | None]]] = {}
    for name in facts.header.tensors:
        parameter, pattern = rename_source_key(name, renamings, converters)
        parts.setdefault(parameter, []).append((name, pattern))
    sources: dict[str, tuple[tuple[str, ...], Convert]] = {}
    for parameter, stored in parts.items():
        names = tuple(name for name, _ in stored)
        pattern = stored[0][1]
        if pattern is None:
            sources[parameter] = (names, lambda tensors: tensors[0])
        else:
            order = sorted(stored, key=lambda entry: by_pattern[pattern].source_patterns.index(entry[1]))
            convert = partial(_converted, parameter, by_pattern[pattern], order, model)
            sources[parameter] = (tuple(name for name, _ in order), convert)
    return sources


def _converted(
    parameter: str,
    converter: WeightConverter,
    stored: list[tuple[str, str | None]],
    model: nn.Module,
    tensors: list[torch.Tensor],
) -> torch.Tensor:
    conversion = deepcopy(converter)
    for (name, pattern), tensor in zip(stored, tensors, strict=True):
        conversion.add_tensor(parameter, name, pattern, tensor)
    made = conversion.convert(parameter, model=model, config=model.config)[parameter]
    return made[0] if isinstance(made, list) else made


def _reading(
    facts: Facts, parameter: str, shape: tuple[int, ...], stored: tuple[str, ...], convert: Convert
) -> Reading:
    sizes = [facts.header.tensors[name].shape for name in stored]
    for name in stored:
        _require_known_type(facts, name)
    if sum(map(math.prod, sizes)) != math.prod(shape):
        raise facts.refusal(
            f"{parameter} of shape {shape}",
            f"{' and '.join(map(str, sizes))} in {' and '.join(stored)}",
            "the class can't have the sizes that the keys set",
        )
    kinds = {facts.header.tensors[name].type_name for name in stored}
    return Reading(stored, "+".join(sorted(kinds)), shape, partial(_read, facts, parameter, shape, stored, convert))


def _read(
    facts: Facts, parameter: str, shape: tuple[int, ...], stored: tuple[str, ...], convert: Convert
) -> torch.Tensor:
    made = convert([torch.from_numpy(np.require(_dequantized(facts, name), requirements="W")) for name in stored])
    if [size for size in made.shape if size != 1] == [size for size in shape if size != 1]:
        made = made.reshape(shape)  # converters squeeze axes of one
    if tuple(made.shape) != shape:
        raise facts.refusal(f"{parameter} of shape {shape}", tuple(made.shape), "of another model?")
    return made


def _require_all_used(facts: Facts, sources: dict[str, tuple[tuple[str, ...], Convert]]) -> None:
    used = {name for stored, _ in sources.values() for name in stored} | set(READ_TENSORS)
    left = [name for name in facts.header.tensors if name not in used and reason_to_leave(facts, name) is None]
    if left:
        raise facts.refusal(
            "a place in the model for every tensor",
            f"none for {len(left)} of them, {left[0]} first",
            "another model than transformers' class, or more layers than the keys set",
        )


def _is_lacking_bias(facts: Facts, parameter: str) -> bool:
    """Whether the config's switch makes a bias that the file doesn't hold. A file may hold some kinds of them alone."""
    leaf = re.search(r"\.(self_attn|mlp)\.(\w+)_proj\.bias$", parameter)
    if leaf is None:
        return False
    is_attention = leaf[1] == "self_attn"
    stem = f"attn_{'output' if leaf[2] == 'o' else leaf[2]}" if is_attention else f"ffn_{leaf[2]}"
    own = rf"blk\.\d+\.{stem}\.bias"
    return facts.has(SWITCHES["attention_bias" if is_attention else "mlp_bias"]) and not facts.has(own)
