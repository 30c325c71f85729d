"""The method of quantization that a checkpoint names, with its settings, or a refusal of one that can't be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError, shortened
from eigenhouse.ingest.models import dequantize
from eigenhouse.ingest.sources.source import Source
from eigenhouse.ingest.sources.weight_files import json_object

KNOWN = (
    "fp8", "mxfp8", "fbgemm_fp8", "compressed-tensors", "modelopt", "bitsandbytes", "gptq", "awq", "mxfp4",
)  # fmt: skip


@dataclass(frozen=True)
class Method:
    """What a checkpoint sets about its quantization. name: '' if it sets nothing."""

    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def schemes(self) -> list[Mapping[str, Any]]:
        """The settings of weights, one mapping a group of weights: compressed-tensors may have several groups."""
        groups = self.settings.get("config_groups")
        inner = [group.get("weights") or {} for group in groups.values()] if isinstance(groups, dict) else []
        return [self.settings, *inner]

    def numbers(self, *names: str) -> set[int]:
        """The positive whole numbers that it sets under any of these names."""
        values = [scheme.get(name) for scheme in self.schemes for name in names]
        return {value for value in values if isinstance(value, int) and value > 0}

    @property
    def bits(self) -> set[int]:
        return self.numbers("bits", "w_bit", "num_bits")

    @property
    def blocks(self) -> list[dequantize.Block]:
        """Rows and columns that share a scale."""
        pairs = [scheme.get(name) for scheme in self.schemes for name in ("weight_block_size", "block_structure")]
        return [(int(pair[0]), int(pair[1])) for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2]

    def group(self, size: int, n_groups: int) -> int:
        """How many of an axis share a scale. Raises ValueError where the settings make another number of groups."""
        sizes = self.numbers("group_size", "q_group_size")
        fits = {group for group in sizes if -(-size // group) == n_groups}
        if n_groups == 1 or len(fits) == 1:
            return size if n_groups == 1 else fits.pop()
        if sizes:
            raise ValueError(f"{n_groups} groups along an axis of {size}, but the config sets groups of {min(sizes)}")
        return dequantize.length(size, n_groups)


def declared(source: Source) -> Method:
    """The method that config.json or a file beside it names. Raises EigenhouseError for an unknown one."""
    if source.config_file is None:
        return Method()
    config = json_object(source.config_file)
    inner = [value for value in config.values() if isinstance(value, dict) and "model_type" in value]
    entries = [part.get(name) for part in (config, *inner) for name in ("quantization_config", "compression_config")]
    beside = source.quantization_files
    settings = next((entry for entry in entries if isinstance(entry, dict) and entry), None)
    if settings is None and beside:
        settings = json_object(beside[0])
        settings = settings.get("quantization", settings) | {"quant_method": _method_beside(beside[0], settings)}
    return Method() if settings is None else _known(source, settings)


def _method_beside(path: Path, settings: Mapping[str, Any]) -> str:
    named = settings.get("quant_method")
    return str(named or {"hf_quant_config.json": "modelopt", "quant_config.json": "awq"}.get(path.name, "gptq"))


def _known(source: Source, settings: Mapping[str, Any]) -> Method:
    loads = [name for name in ("load_in_8bit", "load_in_4bit") if settings.get(name)]
    name = str(settings.get("quant_method") or ("bitsandbytes" if loads else "")).lower()
    name = "compressed-tensors" if name == "compressed_tensors" else name
    layout = str(settings.get("checkpoint_format") or settings.get("format") or "").lower()
    sparse = (settings.get("sparsity_config") or {}).get("format")
    why = ""
    if name not in KNOWN:
        why = f"{name or 'an unnamed method'}, which can't be read here"
    elif name == "gptq" and layout not in ("", "gptq", "gptq_v2"):
        why = f"gptq in the layout {layout}"
    elif name == "awq" and str(settings.get("version", "gemm")).lower() != "gemm":
        why = f"awq in the layout {settings['version']}"
    elif settings.get("transform_config"):
        why = f"{name} with transforms, so that its weights are rotated"
    elif any(word in layout for word in ("sparse", "marlin")) or sparse not in ("dense", None):
        why = f"{name} in a sparse layout"
    groups = settings.get("config_groups") or {}
    if not (isinstance(groups, dict) and all(isinstance(group, dict) for group in groups.values())):
        raise EigenhouseError(f"want objects as config_groups of {source.origin}; got {shortened(repr(groups), 60)}")
    if why:
        raise EigenhouseError(
            f"want floats, or codes of a method that is known here ({', '.join(KNOWN)}); {source.origin} is quantized "
            f"by {why}. Ingest the model it was made from; where its weights are floats after all, take "
            "quantization_config out of config.json"
        )
    return Method(name, settings)
