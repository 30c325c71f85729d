"""Why rows of a model no longer count as proved: how its checkpoint is stored is read in another way since.

Only headers are read, and nothing is fetched: what is not on this disk is judged by what `models` stores of it.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from eigenhouse.ingest.sources import catalog
from eigenhouse.ingest.sources.gguf_header import check_gguf, read_header
from eigenhouse.ingest.sources.locate import ENTRIES
from eigenhouse.ingest.sources.weight_files import json_object, safetensors_header

WHAT_TO_DO = "ingest it again"
GONE = "its .gguf file is gone or damaged, and without it nobody knows whether all of it was read"
PLAIN_DTYPES = ("F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16")
# stored beside the weights with axes of their own: masks, positions and indices, which are no codes
NO_WEIGHTS = re.compile(r"(bias|mask|_ids|_index|num_batches_tracked)$")
NO_CODES = ("BOOL", "I64")
OF_CODES = re.compile(r"\b(SCB|qweight|qzeros|weight_scale\w*|weight_packed|quant_state)\b")  # parts of names
N_LEGACY_PICKLES = 4  # magic, protocol, machine, and the names with what describes the tensors
ROPE_FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
LLAMA_BIAS = re.compile(r"blk\.\d+\.attn_[qk]\.bias")
MOST_NAMED = 3


def doubt(source: str | None, dtype: str | None, quantization: str | None) -> str | None:
    """A sentence that ends with what to do; None where nothing speaks against the rows.

    The three are columns of `models`, of a row with weights.
    """
    found = _found(source or "")
    if found is None:
        found = [GONE] if _is_gguf(source or "") else _by_row(dtype, quantization)
    return "; ".join([*found, WHAT_TO_DO]) if found else None


def _found(source: str) -> list[str] | None:
    """What a look at the files finds; None where they aren't there to look at."""
    found: list[str] = []
    try:
        path = _located(source)
        if path is None:
            return None
        for sign in _signs(path):
            found.append(sign)
    except ModuleNotFoundError:  # what reads the file isn't installed, which says nothing of the file
        raise
    except Exception:  # of damaged files too, which may not keep a warehouse from being brought up to date
        return found or None
    return found


def _located(source: str) -> Path | None:
    """Where a model's files lie on this disk; None where they don't."""
    if source.startswith("catalog:"):
        return catalog.kept(source.removeprefix("catalog:"))
    if source.startswith("hub:"):
        model, _, commit = source.removeprefix("hub:").rpartition("@")
        return catalog.kept_from_hub(model, commit)
    path = Path(source)
    return path if source and path.exists() else None


def _is_gguf(source: str) -> bool:
    entry = catalog.entries().get(source.removeprefix("catalog:"))
    return source.endswith(".gguf") or (source.startswith("catalog:") and entry is not None and entry.kind == "gguf")


def _by_row(dtype: str | None, quantization: str | None) -> list[str]:
    """What the row itself says, where there are no files to look at."""
    if quantization is not None:
        return [_of_codes(quantization)]
    return [] if dtype is None or dtype in PLAIN_DTYPES else [_of_codes(dtype)]


def _of_codes(what: str) -> str:
    return f"its weights are codes ({what}), which may have been read without their scales"


def _signs(path: Path) -> Iterator[str]:
    """What of the checkpoint may have been misread: a folder, a .safetensors file or a .gguf file."""
    if path.suffix == ".gguf":
        if dropped := facts_dropped(path):
            yield f"the file says what was dropped when it was read ({_some(dropped)})"
        return
    folder, files = _weight_files(path)
    # weights of another name were read in a folder of links, which has no adapter
    if (folder / "adapter_config.json").is_file() and _entry(path):
        yield "an adapter lies beside its weights (adapter_config.json), and may or may not be in what was read"
    if codes := _quantization_set(folder) or next(filter(None, map(_codes_in, files)), None):
        yield _of_codes(codes)


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _weight_files(path: Path) -> tuple[Path, list[Path]]:
    """The checkpoint's folder, and its files of weights in the order that transformers looks for them."""
    if path.is_file():
        return path.parent, [path]
    if entry := _entry(path):
        names = json_object(path / entry)["weight_map"].values() if entry.endswith(".json") else [entry]
        return path, [path / name for name in sorted(set(names))]
    return path, sorted(path.glob("*.safetensors"))


def _entry(path: Path) -> str | None:
    """The file that transformers starts from, in a folder or as the path itself; None where it has another name."""
    if path.is_file():
        return path.name if path.name in ENTRIES else None
    return next((entry for entry in ENTRIES if (path / entry).is_file()), None)


def _quantization_set(folder: Path) -> str | None:
    """How config.json says that the weights are quantized; None where it doesn't."""
    config = json_object(folder / "config.json")
    for part in (config, config.get("text_config") or {}):
        for key in ("quantization_config", "compression_config"):
            if setting := part.get(key):
                return f"{key}: {setting.get('quant_method', 'of an unknown kind')}"
    return None


def _codes_in(path: Path) -> str | None:
    """A tensor of codes in a file, with its dtype where the file says it; None where there is none."""
    if path.suffix != ".safetensors":
        return next(filter(OF_CODES.search, _texts_in_bin(path)), None)
    for name, tensor in safetensors_header(path)[0].items():
        dtype, n_axes = tensor["dtype"], len(tensor["shape"])
        if n_axes > 1 and dtype not in (*PLAIN_DTYPES, *NO_CODES) and not NO_WEIGHTS.search(name):
            return f"{dtype}: {name}"
    return None


def _texts_in_bin(path: Path) -> Iterator[str]:
    """The texts in PyTorch weights, the tensors' names among them; nothing is unpickled."""
    with ExitStack() as opened:
        if zipfile.is_zipfile(path):
            archive = opened.enter_context(zipfile.ZipFile(path))
            streams = [archive.open(name) for name in archive.namelist() if name.endswith("data.pkl")]
        else:
            streams = [opened.enter_context(path.open("rb"))] * N_LEGACY_PICKLES
        for stream in streams:
            yield from (argument for _, argument, _ in pickletools.genops(stream) if isinstance(argument, str))


def facts_dropped(path: Path) -> list[str]:
    """Keys and tensors of a .gguf that transformers' loader drops, and attention depends on."""
    check_gguf(path)
    header = read_header(path)
    keys, architecture = header.keys, header.architecture
    dropped = [key for key in keys if ".rope.scaling." in key]
    if dropped and keys.get(f"{architecture}.rope.scaling.type") == "none":
        dropped = []
    if _drops_key_length(architecture, keys):
        dropped.append(f"{architecture}.attention.key_length")
    biases = [name for name in header.tensors if architecture == "llama" and LLAMA_BIAS.fullmatch(name)]
    return dropped + [name for name in header.tensors if name in ROPE_FACTORS] + biases


def _drops_key_length(architecture: str, keys: dict[str, Any]) -> bool:
    """Whether heads have other sizes than hidden size and number of heads give, and transformers doesn't know it."""
    names = ("attention.key_length", "embedding_length", "attention.head_count", "rope.dimension_count")
    key_length, hidden_size, n_heads, rotated = (keys.get(f"{architecture}.{name}") for name in names)
    if not isinstance(key_length, int) or not isinstance(hidden_size, int) or not isinstance(n_heads, int):
        return False
    if key_length * n_heads == hidden_size:
        return False
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING  # late: it takes seconds

    taken = GGUF_CONFIG_MAPPING.get(architecture, {})
    by_rotation = taken.get("rope.dimension_count") == "head_dim" and rotated == key_length
    return not (taken.get("attention.key_length") or by_rotation)
