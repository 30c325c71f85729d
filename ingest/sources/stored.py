"""What the weight files of a checkpoint hold: each tensor with its name, format and shape, read when asked for.

Safetensors are read by slice, `.bin` from torch's memory map; nothing is converted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from eigenhouse.errors import EigenhouseError, shortened
from eigenhouse.ingest.sources.source import Source

# what torch.compile, DDP, FSDP and activation checkpointing put into the names of the modules that they wrap
WRAPPERS = re.compile(
    r"(?:(?<=^)|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
DATA_PARALLEL = "module."
_SAFETENSORS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U64": torch.uint64,
    "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """One tensor of a file. name: without the prefixes of wrappers · stored: its name in the file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]
    path: Path
    stored: str


def stored_tensors(source: Source) -> tuple[dict[str, Stored], dict[str, str]]:
    """Name → tensor of all weight files, and the entries of them that are no tensors: name → their type.

    Raises EigenhouseError for a name that is stored twice and for a format that safetensors may hold and torch may not.
    """
    read = _of_bin if source.kind == "bin" else _of_safetensors
    read_from_files: list[Stored] = []
    others: dict[str, str] = {}
    for path in source.weight_files:
        read_from_files += read(path, others)
    is_parallel = all(tensor.name.startswith(DATA_PARALLEL) for tensor in read_from_files)
    tensors: dict[str, Stored] = {}
    for tensor in read_from_files:
        name = tensor.name.removeprefix(DATA_PARALLEL) if is_parallel else tensor.name
        if name in tensors:
            both = f"{tensors[name].stored} of {tensors[name].path.name} and {tensor.stored} of {tensor.path.name}"
            raise EigenhouseError(f"want each weight once in {source.origin}, got {name} twice: {both}")
        tensors[name] = Stored(name, tensor.dtype, tensor.shape, tensor.read, tensor.path, tensor.stored)
    return tensors, others


def _of_safetensors(path: Path, _others: dict[str, str]) -> list[Stored]:
    tensors = []
    with safe_open(path, "pt") as opened:
        for name in opened.keys():  # noqa: SIM118  (no dict)
            view = opened.get_slice(name)
            if view.get_dtype() not in _SAFETENSORS:
                raise EigenhouseError(
                    f"want weights in a format of torch's in {path}; got {name} as {view.get_dtype()}, codes that no "
                    "known method dequantizes"
                )
            dtype, shape = _SAFETENSORS[view.get_dtype()], tuple(view.get_shape())
            tensors.append(Stored(_unwrapped(name), dtype, shape, partial(_safetensor, path, name), path, name))
    return tensors


def _safetensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, "pt") as tensors:
        return tensors.get_tensor(name)


def _of_bin(path: Path, others: dict[str, str]) -> list[Stored]:
    tensors = []
    for name, value in _bin_file(path).items():
        if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.layout != torch.strided:
            others[str(name)] = type(value).__name__
            continue
        read = partial(_bin_tensor, path, name)
        tensors.append(Stored(_unwrapped(name), value.dtype, tuple(value.shape), read, path, name))
    if not tensors:
        inside = next((name for name, value in _bin_file(path).items() if isinstance(value, dict)), None)
        hint = f"; its {inside!r} may hold them: save that alone" if inside else ""
        raise EigenhouseError(f"want tensors by name in {path}; got none, but {_some(others)}{hint}")
    return tensors


def why_refused(error: Exception) -> str:
    """What torch says of a file that it doesn't load, without its advice to load it with whatever code is in it."""
    said = " ".join(str(error).split())
    if unknown := re.search(r"GLOBAL (\S+)", said):
        return f"code, {unknown[1]}, in place of values"
    told = re.split(r" (?:Please|Check the documentation)\b", said.rpartition("WeightsUnpickler error: ")[2])[0]
    return f"{type(error).__name__}, {shortened(told, 150)}"


def _some(others: dict[str, str]) -> str:
    return ", ".join(f"{name!r} ({kind})" for name, kind in list(others.items())[:3]) or "an empty dict"


def _unwrapped(name: str) -> str:
    return WRAPPERS.sub("", name)


def _bin_tensor(path: Path, name: str) -> torch.Tensor:
    return _bin_file(path)[name].detach()


@cache
def _bin_file(path: Path) -> dict[str, Any]:
    try:
        try:
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # files older than torch 1.6 are no zip and can't be mapped
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling raises: it is not what was promised
        why = why_refused(error)
        raise EigenhouseError(f"want plain tensors in {path}; got what torch refuses to load: {why}") from error
    if not isinstance(held, dict):
        raise EigenhouseError(f"want tensors by name in {path}; got a {type(held).__name__} (a whole pickled model?)")
    return held
