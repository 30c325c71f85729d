"""A checkpoint on disk: its files, what the warehouse calls it, and the hash of its weights."""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources.kept_hashes import file_sha256

QUANTIZATION = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")  # modelopt, AutoGPTQ, AutoAWQ
COMPANIONS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")


@dataclass(frozen=True)
class Files:
    """The files of a checkpoint, present and whole by their own headers, before it has a name."""

    kind: str  # "safetensors", "bin" or "gguf"
    folder: Path  # where config.json and the tokenizer live; for gguf the file's folder
    weight_files: tuple[Path, ...]  # all shards, sorted
    n_tensors: int  # in all of them; of a .bin no more than that


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
        """Files beside the config that may name the method of quantization."""
        return [] if self.kind == "gguf" else [path for name in QUANTIZATION if (path := self.folder / name).is_file()]

    @property
    def tokenizer_files(self) -> list[Path]:
        """What a tokenizer may be made of; none for gguf, whose one file holds it."""
        if self.kind == "gguf":
            return []
        names = {path for pattern in COMPANIONS for path in self.folder.glob(pattern)}
        return sorted(path for path in names if not path.name.endswith(".index.json") and path.is_file())


def weights_sha256(source: Source, anew: bool = False) -> str:
    """One file: its SHA-256. Several: that of the sorted lines "<sha256>  <name>\\n" of sha256sum.

    anew: read every file, even one that stands as it stood when it was last hashed.
    """
    if len(source.weight_files) == 1:
        return file_sha256(source.weight_files[0], anew)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing leaves Python's lock to the other threads
        digests = pool.map(partial(file_sha256, anew=anew), source.weight_files)
        named = zip(digests, source.weight_files, strict=True)
        lines = sorted(f"{digest}  {path.name}\n" for digest, path in named)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def refuse_bad_key(what: str, text: str, hint: str = "") -> None:
    """'#' starts a model_id's stack and '@' its revision, so neither may be part of a name."""
    if not text or any(letter in "#@" or letter.isspace() or not letter.isprintable() for letter in text):
        raise EigenhouseError(f"wanted a {what} without '#', '@' or spaces, not empty; got {text!r}{hint}")


def revision_order(revision: str | None) -> int | None:
    """The step in a revision's name: 1000 of step1000, or the only number of a name; None for any other name."""
    step = re.search(r"(?:step|iter(?:ation)?|checkpoint|ckpt)[-_=]?(\d+)", revision or "", re.IGNORECASE)
    step = step or re.fullmatch(r"[^\d]*(\d{1,15})[^\d]*", revision or "")
    return int(step[1]) if step else None
