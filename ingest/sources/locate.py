"""The MODEL argument becomes files on disk, checked before anything heavy is imported or read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources import catalog, gguf_header
from eigenhouse.ingest.sources.catalog import cache_dir

REVISED = "REVISION goes with a hub id, or is a checkpoint in a local folder"
WANTED = "a model is wanted: hub id, folder, .safetensors, .gguf, measurement .json or catalog name"
STEMS = ("model.safetensors", "pytorch_model.bin")  # what transformers looks for in a folder, in its order
ENTRIES = tuple(stem + end for stem in STEMS for end in ("", ".index.json"))
WEIGHT_ENDINGS = (".safetensors", ".gguf", ".bin")
ADAPTER = "adapter_config.json"
QUANTIZATION = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")  # modelopt, AutoGPTQ, AutoAWQ
COMPANIONS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
SHARD_NAME = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.(safetensors|gguf)$", re.IGNORECASE)
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LEGACY_PICKLE = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")  # torch.save before 1.6, still on the hub
MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


@dataclass(frozen=True)
class Files:
    """The files of a checkpoint, present and whole by their own headers, before it has a name."""

    kind: str  # "safetensors", "bin" or "gguf"
    folder: Path  # where config.json and the tokenizer live; for gguf the file's folder
    weight_files: tuple[Path, ...]  # all shards, sorted


@dataclass(frozen=True)
class Source(Files):
    """A checkpoint on disk, and what the warehouse calls it."""

    name: str
    revision: str | None  # as given
    origin: str  # "hub:org/name@<commit>", "catalog:<name>", or the absolute path

    @property
    def model_id(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    @property
    def loader_path(self) -> Path:
        """What from_pretrained gets as its path."""
        return self.folder

    @property
    def gguf_file(self) -> str | None:
        """What from_pretrained gets as gguf_file."""
        return self.weight_files[0].name if self.kind == "gguf" else None

    @property
    def config_file(self) -> Path | None:
        return None if self.kind == "gguf" else self.folder / "config.json"

    @property
    def quantization_files(self) -> list[Path]:
        """What may say beside the config how codes are stored."""
        return [] if self.kind == "gguf" else [path for name in QUANTIZATION if (path := self.folder / name).is_file()]

    @property
    def tokenizer_files(self) -> list[Path]:
        """What a tokenizer may be made of; none for gguf, whose one file holds it."""
        if self.kind == "gguf":
            return []
        names = {path for pattern in COMPANIONS for path in self.folder.glob(pattern)}
        return sorted(path for path in names if not path.name.endswith(".index.json") and path.is_file())


def resolve(
    model: str,
    *,
    revision: str | None = None,
    name: str | None = None,
    trust_remote_code: bool = False,
    say: catalog.Say = catalog.silent,
) -> Source:
    """Find, fetch and check the files of MODEL: a local path before a catalog name before a hub id."""
    for what, text in (("NAME", name), ("REVISION", revision)):
        if text is not None:
            refuse_bad_key(what, text)
    try:
        files, origin, own_name = _locate(model, revision, trust_remote_code, say)
    except OSError as error:
        got = error.strerror or error
        raise EigenhouseError(f"wanted to read {error.filename or model}; got: {got}") from error
    if name is None:
        refuse_bad_key("NAME", own_name, hint=" (the path's own name: give another with NAME=…)")
    return Source(**vars(files), name=own_name if name is None else name, revision=revision, origin=origin)


def weights_sha256(source: Source) -> str:
    """One file: its SHA-256. Several: that of the sorted lines "<sha256>  <name>\\n" of sha256sum."""
    if len(source.weight_files) == 1:
        return _file_sha256(source.weight_files[0])
    lines = sorted(f"{_file_sha256(path)}  {path.name}\n" for path in source.weight_files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def refuse_bad_key(what: str, text: str, hint: str = "") -> None:
    """'#' starts a model_id's stack and '@' its revision, so neither may be part of a name."""
    if not text or any(letter in "#@" or letter.isspace() or not letter.isprintable() for letter in text):
        raise EigenhouseError(f"wanted a {what} without '#', '@' or spaces, not empty; got {text!r}{hint}")


def revision_order(revision: str | None) -> int | None:
    """The step that a revision's name tells: of step1000, or of a name with one number; None for any other."""
    told = re.search(r"(?:step|iter(?:ation)?|checkpoint|ckpt)[-_=]?(\d+)", revision or "", re.IGNORECASE)
    told = told or re.fullmatch(r"[^\d]*(\d{1,15})[^\d]*", revision or "")
    return int(told[1]) if told else None


def _locate(model: str, revision: str | None, trust: bool, say: catalog.Say) -> tuple[Files, str, str]:
    """The files, their origin, and the default name."""
    if not model.strip() or model.endswith(".json"):
        raise EigenhouseError(f"{WANTED}; got {model!r}")
    path = Path(os.path.abspath(os.path.expanduser(model)))
    if os.path.exists(path):
        own_name = _own_name(path)
        path = path / (revision or "")  # checkpoints of a training run stand in one folder
        if revision and not path.is_dir():
            raise EigenhouseError(f"{REVISED}; got no folder {path}")
        return _local_files(path, trust), str(path), own_name
    if model.startswith((".", "/", "~")) or model.lower().endswith(("/", *WEIGHT_ENDINGS)):
        raise EigenhouseError(f"{WANTED}; got {model!r}, and there is no such file or folder: {path}")
    if model in catalog.names():
        if revision:
            raise EigenhouseError(f"{REVISED}; got REVISION={revision} for the catalog model {model}")
        return _local_files(catalog.fetch(model, say), trust), f"catalog:{model}", model
    if not HUB_ID.fullmatch(model):
        hint = " (a revision goes in REVISION=…)" if "@" in model else ""
        raise EigenhouseError(f"{WANTED}; got {model!r}: no local path, and no hub id like org/name{hint}")
    files, commit = _hub_files(model, revision, trust, say)
    return files, f"hub:{model}@{commit}", model


def _own_name(path: Path) -> str:
    if path.is_dir():
        return path.name
    if path.name == "model.safetensors":
        return path.parent.name
    return path.stem if path.suffix.lower() in WEIGHT_ENDINGS else path.name  # a blob's dots are no ending


def _local_files(path: Path, trust: bool) -> Files:
    if path.is_dir():
        return _folder_files(path, trust)
    is_gguf = _is_gguf(path.name, path.parent)
    if not is_gguf and path.suffix != ".safetensors":
        raise EigenhouseError(f"{WANTED}; got the file {path} (for .bin weights pass their folder)")
    if SHARD_NAME.search(path.name):
        hint = gguf_header.MERGE_HINT if is_gguf else "pass its folder"
        raise EigenhouseError(f"wanted a whole model; got {path}, one shard of several ({hint})")
    if is_gguf:
        check_gguf(path)
        return Files("gguf", path.parent, (path,))
    names = _listing(path.parent)
    _check_config(path.parent, trust, names)
    _check_weights("safetensors", [path])
    is_all = path.name in ENTRIES and ADAPTER not in names
    return Files("safetensors", path.parent if is_all else _view(path), (path,))


def _is_gguf(name: str, folder: Path) -> bool:
    """By its ending, or by its first bytes where the file is here."""
    path = folder / name
    return name.lower().endswith(".gguf") or (path.is_file() and gguf_header.is_gguf(path))


def check_gguf(path: Path) -> None:
    _refuse_pointer(path)
    gguf_header.check_gguf(path)


def _folder_files(folder: Path, trust: bool) -> Files:
    names = _listing(folder)
    _check_config(folder, trust, names)
    _refuse_adapter(folder, names)
    entry, shards = _weights_among(names, folder)
    kind = "bin" if ".bin" in entry else "safetensors"
    paths = tuple(folder / shard for shard in shards)
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        got = f"{len(missing)} of {len(paths)} missing, first {missing[0]}"
        raise EigenhouseError(f"wanted the files that {folder / entry} names; {got} (an interrupted download?)")
    tensors = _check_weights(kind, paths)
    if kind == "safetensors" and entry.endswith(".index.json"):
        absent = sorted(set(_weight_map(folder / entry)) - tensors)
        if absent:
            got = f"{len(absent)} in no shard, first {absent[0]} (shards of another model?)"
            raise EigenhouseError(f"wanted the tensors that {folder / entry} names; {got}")
    return Files(kind, folder if entry in ENTRIES else _view(paths[0]), paths)


def _listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _weights_among(names: set[str], folder: Path) -> tuple[str, tuple[str, ...]]:
    """Of a folder's file names: the one that transformers starts from, and all weight files, sorted."""
    for entry in ENTRIES:
        if entry in names:
            shards = _weight_map(folder / entry).values() if entry.endswith(".index.json") else [entry]
            return entry, tuple(sorted(set(map(str, shards))))
    others = sorted(name for name in names if name.lower().endswith(WEIGHT_ENDINGS) or _is_gguf(name, folder))
    if len(others) == 1 and others[0].endswith(".safetensors") and not SHARD_NAME.search(others[0]):
        return others[0], (others[0],)
    got = f"{', '.join(others[:3])} (pass one .gguf or .safetensors file, or add the index of the shards)"
    got = got if others else "a config without weights"
    raise EigenhouseError(f"wanted one of {', '.join(ENTRIES)} in {folder}; got {got}")


def _weight_map(index: Path) -> dict:
    weight_map = json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise EigenhouseError(f"wanted a weight_map in {index}; got {str(weight_map)[:40]}")
    return weight_map


def _view(weights: Path) -> Path:
    """A folder of links in the cache where transformers finds exactly this file, its config and tokenizer."""
    view = cache_dir() / "views" / hashlib.sha256(str(weights).encode()).hexdigest()[:16]
    view.mkdir(parents=True, exist_ok=True)
    links = {path.name: path for path in weights.parent.iterdir() if _is_companion(path.name)}
    links[ENTRIES[0]] = weights
    for stale in _listing(view) - set(links):
        (view / stale).unlink(missing_ok=True)
    for name, target in links.items():
        fresh = view / f".{name}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        os.replace(fresh, view / name)
    return view


def _is_companion(name: str, extra: Iterable[str] = ("*.py",)) -> bool:
    """A config, tokenizer file or code; no index, and no adapter, which transformers would load unasked."""
    if any(fnmatch(name, pattern) for pattern in extra):
        return True
    small = any(fnmatch(name, pattern) for pattern in COMPANIONS)
    return small and not name.endswith(".index.json") and name != ADAPTER


def _hub_files(model: str, revision: str | None, trust: bool, say: catalog.Say) -> tuple[Files, str]:
    """The files in the hub's own cache, and their commit. Config first: a refusal downloads no weights."""

    def choose(names: set[str], folder: Path) -> tuple[str, ...]:
        _check_config(folder, trust, names)
        _refuse_adapter(folder, names)
        return _weights_among(names, folder)[1]

    extra = ("*.index.json", "*.py") if trust else ("*.index.json",)
    folder = catalog.fetch_hub(model, revision, lambda name: _is_companion(name, extra), choose, say)
    return _folder_files(folder, trust), folder.name


def json_object(path: Path) -> dict:
    _refuse_pointer(path)
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise EigenhouseError(f"wanted JSON in {path}; got {error}") from error
    if not isinstance(content, dict):
        raise EigenhouseError(f"wanted a JSON object in {path}; got a {type(content).__name__}")
    return content


def _check_config(folder: Path, trust: bool, names: set[str]) -> None:
    """Refuse a config.json unless transformers knows its model_type or may run the code beside it."""
    path = folder / "config.json"
    if "config.json" not in names:
        raise _no_config(names, folder)
    config = json_object(path)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise EigenhouseError(f"wanted a model_type in {path}; got {model_type!r} (no transformers config?)")
    import transformers  # late: it takes seconds
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if model_type in CONFIG_MAPPING_NAMES or (trust and "auto_map" in config):
        return
    cause = "a newer model than this transformers?"
    if "auto_map" in config:
        cause = "it wants remote code, which runs only with TRUST_REMOTE_CODE=1: read it first"
    known = f"a model_type that transformers {transformers.__version__} knows"
    raise EigenhouseError(f"wanted {known} in {path}; got {model_type!r} ({cause})")


def _refuse_adapter(folder: Path, names: set[str]) -> None:
    """transformers would load it over the weights, where peft is installed."""
    if ADAPTER in names:
        raise EigenhouseError(
            f"wanted a model in {folder}; got an adapter in it too, {ADAPTER}: merge it (peft's merge_and_unload) and "
            "save that, or pass the .safetensors file itself to measure its weights without the adapter"
        )


def _no_config(names: set[str], folder: Path) -> EigenhouseError:
    weights = sorted(name for name in names if name.lower().endswith(WEIGHT_ENDINGS) or _is_gguf(name, folder))
    if not weights:
        return EigenhouseError(f"{WANTED}; got {folder}, with neither config.json nor weights in it")
    if all(_is_gguf(name, folder) for name in weights):
        return EigenhouseError(f"{WANTED}; got only GGUF files in {folder}: get {weights[0]}, pass its path")
    hint = "an adapter? merge it first" if ADAPTER in names else "copy it from the model's page"
    return EigenhouseError(f"wanted config.json in {folder}; got weights alone, {weights[0]} ({hint})")


def _refuse_pointer(path: Path) -> None:
    if _first_bytes(path, len(LFS_POINTER)) == LFS_POINTER:
        raise EigenhouseError(f"wanted the content of {path}; got a Git-LFS pointer (run `git lfs pull`)")


def _first_bytes(path: Path, n_bytes: int) -> bytes:
    with open(path, "rb") as opened:
        return opened.read(n_bytes)


def _refuse_size(path: Path, n_wanted: int) -> None:
    n_bytes, cause = path.stat().st_size, "cut short, or corrupt?"
    raise EigenhouseError(f"wanted {n_wanted} bytes in {path} by its own header; got {n_bytes} ({cause})")


def _check_weights(kind: str, paths: Iterable[Path]) -> set[str]:
    """Refuse files that are cut short or no weights at all; returns the tensor names of safetensors files."""
    tensors: set[str] = set()
    for path in paths:
        _refuse_pointer(path)
        if kind == "safetensors":
            tensors |= _safetensors_names(path)
        elif not zipfile.is_zipfile(path) and _first_bytes(path, len(LEGACY_PICKLE)) != LEGACY_PICKLE:
            raise EigenhouseError(f"wanted PyTorch weights in {path}; got no zip (a download cut short?)")
    return tensors


def safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """Tensor name → its dtype, shape and place, and where the tensors' data begin; none of them is read."""
    n_bytes = path.stat().st_size
    with open(path, "rb") as opened:
        try:
            (n_header,) = struct.unpack("<Q", opened.read(8))
            if n_header > min(MAX_HEADER_BYTES, n_bytes - 8):
                raise ValueError(f"a header of {n_header} bytes in a file of {n_bytes}")
            header = json.loads(opened.read(n_header))
            header.pop("__metadata__", None)
        except (struct.error, ValueError, TypeError, LookupError, AttributeError) as error:
            raise _no_safetensors(path, error) from error
    return header, 8 + n_header


def _no_safetensors(path: Path, error: Exception) -> EigenhouseError:
    return EigenhouseError(f"wanted safetensors in {path}; got {error} (cut short?)")


def _safetensors_names(path: Path) -> set[str]:
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
            return set(header)
    except SafetensorError as error:
        told = str(error).removeprefix("Error while deserializing header: ")
        raise EigenhouseError(f"wanted safetensors in {path}; got {told} (corrupt?)") from error
