"""Weights read tensor by tensor under the names of the model's parameters, never a whole checkpoint at once.

Safetensors are read by slice, GGUF from its memory map through the gguf package's own dequantizer, `.bin` from
torch's memory map. How files name and permute tensors is transformers' knowledge and is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

from ingest import gguf_facts, gguf_reading
from ingest.errors import EigenhouseError
from ingest.sources import Source

Reader = Callable[[], torch.Tensor]


class Checkpoint:
    """Reads single parameters of `model` (which may be on the meta device) out of `source`."""

    def __init__(self, source: Source, model: nn.Module) -> None:
        self._source, self.model = source, model
        self._readers = _gguf_readers(source, model) if source.kind == "gguf" else _torch_readers(source, model)
        tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
        for name, twin in (*tied.items(), *((twin, name) for name, twin in tied.items())):
            if twin in self._readers:  # one tensor under several names is stored once
                self._readers.setdefault(name, self._readers[twin])

    def __contains__(self, parameter: str) -> bool:
        return parameter in self._readers

    def read(self, parameter: str) -> torch.Tensor:
        """One parameter in float32, dequantized, its rows as transformers' modules want them.

        Raises EigenhouseError where the checkpoint has no tensor of that name, or values that aren't finite.
        """
        if parameter not in self:
            raise EigenhouseError(
                f"want a tensor for {parameter}, but {self._source.origin} has none under that name; its weights are "
                "stored fused or renamed in a way only the full loader knows: ingest without STATIC_ONLY"
            )
        tensor = self._readers[parameter]().float()
        require_finite(parameter, tensor)
        return tensor


def require_finite(name: str, tensor: torch.Tensor) -> None:
    if not bool(torch.isfinite(tensor).all()):
        n_bad = int((~torch.isfinite(tensor)).sum())
        raise EigenhouseError(
            f"want finite weights, got {n_bad} NaN or infinite value(s) in {name}; "
            "the checkpoint is damaged, or its training diverged"
        )


def weight_format(source: Source) -> tuple[str, str | None]:
    """(dtype, quantization) as stored: the commonest dtype; of a GGUF the file type it tells, such as Q4_K_M."""
    if source.kind == "gguf":
        kind = gguf_facts.file_type(source.weight_files[0])
        plain = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
        return (plain[kind], None) if kind in plain else ("float32", kind)
    dtypes = [dtype for path in source.weight_files for dtype in _stored_dtypes(source.kind, path)]
    return _commonest(dtypes, "float32"), None


def _commonest(names: list[str], otherwise: str) -> str:
    return max(sorted(set(names)), key=names.count, default=otherwise)


def _stored_dtypes(kind: str, path: Path) -> list[str]:
    if kind == "bin":
        return [str(tensor.dtype).removeprefix("torch.") for tensor in _bin_file(path).values()]
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    with safe_open(path, "pt") as tensors:
        return [names.get(dtype, dtype) for dtype in (tensors.get_slice(name).get_dtype() for name in tensors.keys())]  # noqa: SIM118  (no dict)


def _torch_readers(source: Source, model: nn.Module) -> dict[str, Reader]:
    parameters = model.state_dict()
    transforms = get_model_conversion_mapping(model)
    renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
    converters = [transform for transform in transforms if isinstance(transform, WeightConverter)]
    readers: dict[str, Reader] = {}
    parts: dict[str, list[tuple[str, str, Reader]]] = {}  # of one parameter: stored name, its pattern, its reader
    for path in source.weight_files:
        for stored, reader in _file_readers(source.kind, path).items():
            name, converted_by = rename_source_key(
                stored, renamings, converters, getattr(model, "base_model_prefix", None), parameters
            )
            if converted_by is None:
                readers[name] = reader
            else:
                parts.setdefault(name, []).append((stored, converted_by, reader))
    by_source = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    for name, sources in parts.items():
        sources.sort(key=lambda source: dot_natural_key(source[0]))
        converter = by_source[sources[0][1]]
        for target in converter.target_patterns:
            own = name.replace(converter.target_patterns[0], target)
            readers.setdefault(own, partial(_converted, own, name, converter, sources, model))
    return readers


def _converted(
    parameter: str, name: str, converter: WeightConverter, sources: list[tuple[str, str, Reader]], model: nn.Module
) -> torch.Tensor:
    """A parameter that transformers makes of several tensors (stacked experts), or several of one, by its own rules."""
    conversion = deepcopy(converter)
    for stored, pattern, reader in sources:
        conversion.add_tensor(name, stored, pattern, reader)
    made = conversion.convert(name, model=model, config=model.config)
    return made[parameter][0] if isinstance(made[parameter], list) else made[parameter]


def _file_readers(kind: str, path: Path) -> dict[str, Reader]:
    if kind == "bin":
        return {name: partial(_bin_tensor, path, name) for name in _bin_file(path)}
    with safe_open(path, "pt") as tensors:
        return {name: partial(_safetensor, path, name) for name in tensors.keys()}  # noqa: SIM118  (no dict)


def _bin_tensor(path: Path, name: str) -> torch.Tensor:
    return _bin_file(path)[name]


def _safetensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, "pt") as tensors:
        return tensors.get_tensor(name)


@cache
def _bin_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # files older than torch 1.6 are no zip and can't be mapped
        return torch.load(path, map_location="cpu", weights_only=True)


def _gguf_readers(source: Source, model: nn.Module) -> dict[str, Reader]:
    made = gguf_reading.readers(source.weight_files[0], model)
    return {name: reading.read for name, reading in made.items()}
