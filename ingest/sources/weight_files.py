"""The files of a checkpoint, checked by their own headers: whole, and in the format that their names say."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources import gguf_header, regular

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LEGACY_PICKLE = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")  # torch.save before 1.6, still on the hub


def check_gguf(path: Path) -> int:
    """Refuse a file that is no whole GGUF; the number of its tensors."""
    _refuse_pointer(path)
    return gguf_header.check_gguf(path)


def json_object(path: Path) -> dict:
    _refuse_pointer(path)
    try:
        content = regular.parsed(regular.content(path))
    except ValueError as error:
        raise EigenhouseError(f"wanted JSON in {path}; got {error}") from error
    if not isinstance(content, dict):
        raise EigenhouseError(f"wanted a JSON object in {path}; got a {type(content).__name__}")
    return content


def _refuse_pointer(path: Path) -> None:
    regular.want(path)
    if _first_bytes(path, len(LFS_POINTER)) == LFS_POINTER:
        raise EigenhouseError(f"wanted the content of {path}; got a Git-LFS pointer (run `git lfs pull`)")


def _first_bytes(path: Path, n_bytes: int) -> bytes:
    with open(path, "rb") as opened:
        return opened.read(n_bytes)


def _refuse_size(path: Path, n_wanted: int) -> None:
    n_bytes, cause = path.stat().st_size, "cut short, or corrupt?"
    raise EigenhouseError(f"wanted {n_wanted} bytes in {path} by its own header; got {n_bytes} ({cause})")


Shapes = dict[str, list[int]]


def check_weights(kind: str, paths: Iterable[Path]) -> Shapes:
    """Refuse files that are cut short or no weights at all; returns the shapes of safetensors files' tensors."""
    tensors: Shapes = {}
    for path in paths:
        _refuse_pointer(path)
        if kind == "safetensors":
            tensors |= _safetensors_shapes(path)
        elif not zipfile.is_zipfile(path) and _first_bytes(path, len(LEGACY_PICKLE)) != LEGACY_PICKLE:
            raise EigenhouseError(f"wanted PyTorch weights in {path}; got no zip (a download cut short?)")
    return tensors


def most_tensors(path: Path) -> int:
    """How many tensors a .bin may hold: each is a file in its zip; in an older one each takes a hundred bytes."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size // 100
    with zipfile.ZipFile(path) as archive:
        return len(archive.namelist())


def safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """Tensor name → its dtype, shape and place, and where the tensors' data begin; none of them is read."""
    n_bytes = regular.want(path).st_size
    with open(path, "rb") as opened:
        try:
            (n_header,) = struct.unpack("<Q", opened.read(8))
            if n_header > min(regular.MOST_BYTES, n_bytes - 8):
                raise ValueError(f"a header of {n_header} bytes in a file of {n_bytes}")
            header = regular.parsed(opened.read(n_header), each_once=True)
            header.pop("__metadata__", None)
        except (struct.error, ValueError, TypeError, LookupError, AttributeError) as error:
            raise _no_safetensors(path, error) from error
    return header, 8 + n_header


def _no_safetensors(path: Path, error: Exception) -> EigenhouseError:
    return EigenhouseError(f"wanted safetensors in {path}; got {error} (cut short?)")


def _safetensors_shapes(path: Path) -> Shapes:
    n_bytes = path.stat().st_size
    header, begin = safetensors_header(path)
    try:
        n_wanted = begin + max([tensor["data_offsets"][1] for tensor in header.values()], default=0)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise _no_safetensors(path, error) from error
    if n_wanted != n_bytes:
        _refuse_size(path, n_wanted)
    if not header:
        raise EigenhouseError(f"wanted weights in {path}; got a safetensors file without tensors")
    from safetensors import SafetensorError, safe_open  # late: what only reads a warehouse goes without it

    try:
        with safe_open(path, "np"):  # it also sees tensors that overlap, and shapes that don't fit their bytes
            return {name: tensor["shape"] for name, tensor in header.items()}
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise EigenhouseError(f"wanted safetensors in {path}; got {reason} (corrupt?)") from error
