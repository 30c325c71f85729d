"""What a GGUF says of its model, by its keys; a key or tensor without a rule in `gguf_rules` refuses the file.

transformers rebuilds a config from some keys and ignores the others in silence; here none is ignored.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models.gguf_rules import (
    BESIDE,
    GENERAL,
    HYBRID,
    LEFT_ASIDE,
    NEUTRAL,
    NEUTRAL_IN,
    NOT_A_MODEL,
    OUTSIDE,
    READ,
    READ_IN,
    SETS,
    TENSORS_LEFT_ASIDE,
    WINDOWED,
)
from eigenhouse.ingest.sources.gguf_header import Header, Texts, read_header


@dataclass(frozen=True)
class Facts:
    """The keys of one file under its architecture's name, with llama.cpp's defaults."""

    path: Path
    header: Header

    @property
    def architecture(self) -> str:
        return self.header.architecture

    @property
    def keys(self) -> dict[str, Any]:
        prefix = self.architecture + "."
        return {key.removeprefix(prefix): value for key, value in self.header.keys.items() if key.startswith(prefix)}

    def get(self, key: str, otherwise: Any = None) -> Any:
        return self.header.keys.get(f"{self.architecture}.{key}", otherwise)

    def number(self, key: str, otherwise: Any = None) -> Any:
        """One number for all layers; refuses a list that differs from layer to layer."""
        value = self.get(key, otherwise)
        if not isinstance(value, list):
            return value
        if len(set(value)) != 1:
            raise self.refusal(f"one {key} for all layers", f"{short(value)}", "transformers has no such class")
        return value[0]

    def count(self, key: str, otherwise: int | None = None) -> int:
        """A whole number, the same for all layers."""
        value = self.number(key, otherwise)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0 or (value == 0 and otherwise != 0):
            raise self.refusal(f"a positive whole number for {self.architecture}.{key}", short(value), "damaged?")
        return value

    @property
    def n_layers(self) -> int:
        return self.count("block_count") - self.n_extra_layers

    @property
    def hidden_size(self) -> int:
        return self.count("embedding_length")

    @property
    def n_extra_layers(self) -> int:
        """Layers that predict tokens further ahead; they stand after the others and feed nothing."""
        return self.count("nextn_predict_layers", 0)

    @property
    def n_heads(self) -> int:
        return self.count("attention.head_count")

    @property
    def n_key_heads(self) -> int:
        """Of the layers that have attention: a list has zeros for the others."""
        counts = self.get("attention.head_count_kv", self.n_heads)
        if isinstance(counts, list) and self.architecture in HYBRID and len(set(counts) - {0}) == 1:
            return int(max(counts))
        return self.count("attention.head_count_kv", self.n_heads)

    @property
    def head_dim(self) -> int:
        return self.count("attention.key_length", self.hidden_size // self.n_heads)

    def has(self, pattern: str) -> bool:
        return any(re.fullmatch(pattern, name) for name in self.header.tensors)

    def refusal(self, wanted: str, got: Any, cause: str) -> EigenhouseError:
        return EigenhouseError(f"wanted {wanted}; got {got} in {self.path} ({cause})")


def stored_data(facts: Facts, name: str) -> np.ndarray:
    """A tensor as it lies in the file, mapped: numbers of its shape, or the bytes of each row's blocks.

    The same as of gguf's own reader, which makes objects of every token first: 12 s for a vocabulary of 262,144.
    """
    stored = facts.header.tensors[name]
    kind = gguf.GGMLQuantizationType(stored.type_number)
    numbers: dict[Any, type[np.generic]] = {kind.F32: np.float32, kind.F16: np.float16, kind.F64: np.float64}
    shape = stored.shape if kind in numbers else gguf.quant_shape_to_byte_shape(stored.shape, kind)
    return np.memmap(facts.path, numbers.get(kind, np.uint8), "r", stored.begin, shape).view(np.ndarray)


def read_facts(path: Path) -> Facts:
    """Raises EigenhouseError where the file holds no model, or lacks what every model has."""
    facts = Facts(path, read_header(path))
    kind, architecture = str(facts.header.keys.get("general.type", "model")), facts.architecture
    for name in (kind, architecture):
        if name in NOT_A_MODEL:
            raise facts.refusal("a model", f"general.type {kind!r}, architecture {architecture!r}", NOT_A_MODEL[name])
    if kind != "model":
        raise facts.refusal("general.type 'model'", repr(kind), "no file of a model?")
    if not architecture:
        raise facts.refusal("general.architecture", "no such key", "written by an old converter: convert it anew")
    for key in ("block_count", "embedding_length", *([] if architecture == "mamba" else ["attention.head_count"])):
        if facts.get(key) is None:
            raise facts.refusal(f"{architecture}.{key}", "no such key", "damaged, or another kind of file?")
    for key, value in facts.keys.items():
        numbers = [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, float)]
        if isinstance(value, Texts) or not all(map(math.isfinite, numbers)):
            raise facts.refusal(f"finite numbers or one text as {architecture}.{key}", short(value), "damaged?")
    n_layers, n_tensors = facts.count("block_count"), len(facts.header.tensors)
    if n_layers > n_tensors:
        raise facts.refusal(
            f"a {architecture}.block_count of no more than its {n_tensors} tensors", n_layers, "damaged?"
        )
    return facts


def require_rules(facts: Facts, known: set[str]) -> None:
    """Refuse a key that nothing here reads, unless its value changes nothing."""
    own = facts.architecture
    for key, value in facts.keys.items():
        if key in READ or any(fnmatch(key, pattern) for pattern in READ_IN.get(own, ())):
            continue
        if any(name in known for name in SETS.get(key, ())):
            continue
        if key.startswith("attention.sliding_window") and own in WINDOWED:
            continue
        if any(fnmatch(key, pattern) for pattern in (*BESIDE, *LEFT_ASIDE)):
            continue
        neutral = NEUTRAL_IN.get((own, key), NEUTRAL.get(key, ()))
        if all(one in neutral for one in (value if isinstance(value, list) else [value])):
            continue
        if key == "attention.head_count_kv" and facts.n_key_heads == facts.n_heads:
            continue
        raise facts.refusal(
            "keys that are known to say nothing of attention, or that transformers' class has a place for",
            f"{own}.{key} = {short(value)}",
            "newer than this Eigenhouse, or a model that transformers reads otherwise",
        )


def left_aside(path: Path) -> dict[str, str]:
    """Keys and tensors of the file that stay unread because they can't change attention, with the reason for each."""
    facts = read_facts(path)
    rows: dict[str, str] = {}
    for key in facts.header.keys:
        section, _, rest = key.partition(".")
        if section == facts.architecture:
            if reason := next((reason for pattern, reason in LEFT_ASIDE.items() if fnmatch(rest, pattern)), None):
                rows[key] = reason
        elif section == "general":
            if not any(fnmatch(rest, pattern) for pattern in GENERAL):
                rows[key] = f"a key about the file that is unknown here, {short(facts.header.keys[key])}"
        elif not any(fnmatch(key, pattern) for pattern in OUTSIDE):
            rows[key] = "a key of no model's architecture"
    for name in facts.header.tensors:
        if reason := reason_to_leave(facts, name):
            rows[name] = reason
    return rows


def file_type(path: Path) -> str:
    """Such as F16, Q8_0 or Q4_K_M: what the file's key says, else the type of most of its matrices."""
    from gguf.constants import LlamaFileType

    header = read_header(path)
    names = {int(kind): kind.name for kind in LlamaFileType if kind != LlamaFileType.GUESSED}
    kinds = [tensor.type_name for tensor in header.tensors.values() if len(tensor.shape) > 1]
    commonest = max(sorted(set(kinds)), key=kinds.count, default="F32")
    said = header.keys.get("general.file_type")
    name = names.get(said, commonest) if isinstance(said, int) else commonest
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")


def reason_to_leave(facts: Facts, name: str) -> str | None:
    """Why a tensor of the file may be left aside; None if it may not."""
    block = re.match(r"blk\.(\d+)\.", name)
    if block and facts.n_layers <= int(block[1]) < facts.n_layers + facts.n_extra_layers:
        return "of a layer that predicts tokens further ahead, which transformers leaves out"
    return next((reason for pattern, reason in TENSORS_LEFT_ASIDE.items() if re.fullmatch(pattern, name)), None)


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "…"
