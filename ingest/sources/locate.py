"""From the MODEL argument to files on disk, which are checked before anything heavy is imported or read."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from eigenhouse.errors import EigenhouseError, shortened
from eigenhouse.ingest.sources import catalog, config_sizes, gguf_header, model_types, regular
from eigenhouse.ingest.sources.catalog import cache_dir
from eigenhouse.ingest.sources.shards import shards_of
from eigenhouse.ingest.sources.source import COMPANIONS, Files, Source, refuse_bad_key
from eigenhouse.ingest.sources.weight_files import Shapes, check_gguf, check_weights, json_object, most_tensors

REVISED = "REVISION goes with a hub id, or is a checkpoint in a local folder"
WANTED = "a model is wanted: hub id, folder, .safetensors, .gguf, measurement .json or catalog name"
STEMS = ("model.safetensors", "pytorch_model.bin")  # what transformers looks for in a folder, in its order
ENTRIES = tuple(stem + end for stem in STEMS for end in ("", ".index.json"))
WEIGHT_ENDINGS = (".safetensors", ".gguf", ".bin")
ADAPTER = "adapter_config.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
SHARD_NAME = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.(safetensors|gguf)$", re.IGNORECASE)


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
        return Files("gguf", path.parent, (path,), check_gguf(path))
    names = _listing(path.parent)
    _check_config(path.parent, trust, names)
    n_tensors = _compared(path.parent, "safetensors", (path,), check_weights("safetensors", [path]))
    is_all = path.name in ENTRIES and ADAPTER not in names
    return Files("safetensors", path.parent if is_all else _view(path), (path,), n_tensors)


def _compared(folder: Path, kind: str, paths: tuple[Path, ...], shapes: Shapes) -> int:
    """The number of the tensors, once the config's numbers are such as they can have."""
    n_tensors = sum(map(most_tensors, paths)) if kind == "bin" else len(shapes)
    largest = max((size for shape in shapes.values() for size in shape), default=0)
    config_sizes.check(folder / "config.json", json_object(folder / "config.json"), n_tensors, largest)
    return n_tensors


def _is_gguf(name: str, folder: Path) -> bool:
    """By its ending, or by its first bytes where the file is here."""
    path = folder / name
    return name.lower().endswith(".gguf") or (path.is_file() and gguf_header.is_gguf(path))


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
    tensors = check_weights(kind, paths)
    if kind == "safetensors" and entry.endswith(".index.json"):
        absent = sorted(_weight_map(folder / entry).keys() - tensors.keys())
        if absent:
            got = f"{len(absent)} in no shard, first {absent[0]} (shards of another model?)"
            raise EigenhouseError(f"wanted the tensors that {folder / entry} names; {got}")
    n_tensors = _compared(folder, kind, paths, tensors)
    return Files(kind, folder if entry in ENTRIES else _view(paths[0]), paths, n_tensors)


def _listing(folder: Path) -> set[str]:
    """The names in a model's folder. Whatever lies there may be read by transformers: a pipe would never end."""
    paths = list(folder.iterdir())
    for path in paths:
        if path.exists() and not path.is_dir():
            regular.want(path)
    return {path.name for path in paths}


def _weights_among(names: set[str], folder: Path) -> tuple[str, tuple[str, ...]]:
    """Among a folder's file names the one that transformers opens first, and all weight files, sorted."""
    for entry in ENTRIES:
        if entry in names:
            is_index = entry.endswith(".index.json")
            return entry, tuple(sorted(shards_of(folder / entry, _weight_map(folder / entry))) if is_index else [entry])
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


def _check_config(folder: Path, trust: bool, names: set[str]) -> None:
    """Refuse a config.json unless transformers knows its model_type or may run the code beside it."""
    path = folder / "config.json"
    if "config.json" not in names:
        raise _no_config(names, folder)
    config = json_object(path)
    _want_utf8(path)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise EigenhouseError(f"wanted a model_type in {path}; got {model_type!r} (no transformers config?)")
    if model_types.is_known(model_type) or (trust and "auto_map" in config):
        return
    import transformers  # late: it takes seconds

    cause = "a newer model than this transformers?"
    if "auto_map" in config:
        cause = "it wants remote code, which runs only with TRUST_REMOTE_CODE=1: read it first"
    known = f"a model_type that transformers {transformers.__version__} knows"
    raise EigenhouseError(f"wanted {known} in {path}; got {shortened(repr(model_type), 60)} ({cause})")


def _want_utf8(path: Path) -> None:
    """transformers reads nothing else, and takes no byte-order mark, though JSON may be in other encodings."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise EigenhouseError(f"wanted UTF-8 without a byte-order mark in {path}; got one, or UTF-16: save it anew")


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
