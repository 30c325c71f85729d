"""The header of a GGUF file: its keys and the table of its tensors, walked forwards; no tensor is read."""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources import regular

MAGIC = b"GGUF"
MERGE_HINT = "merge them with llama-gguf-split --merge"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MOST_AXES = 4  # of a tensor, by the format
DEEPEST = 4  # arrays within arrays; no key of any model has even two


@dataclass(frozen=True)
class Texts:
    """An array of texts: their number, and not one of them."""

    n_texts: int


@dataclass(frozen=True)
class Stored:
    """One tensor of the file. shape: slowest axis first, as in numpy · begin, n_bytes: where its data lie."""

    name: str
    type_number: int
    shape: tuple[int, ...]
    begin: int
    n_bytes: int

    @property
    def type_name(self) -> str:
        from gguf.constants import GGMLQuantizationType

        return GGMLQuantizationType(self.type_number).name


@dataclass(frozen=True)
class Header:
    """keys: every key with its value, an array of texts, which only tokenizers have, as Texts."""

    keys: dict[str, Any]
    tensors: dict[str, Stored]

    @property
    def n_bytes(self) -> int:
        """Where the last tensor's data end."""
        return max(tensor.begin + tensor.n_bytes for tensor in self.tensors.values())

    @property
    def architecture(self) -> str:
        return str(self.keys.get("general.architecture", ""))


def is_gguf(path: Path) -> bool:
    """By its first bytes, not its name: the blobs of some model stores have no ending."""
    with open(path, "rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def read_header(path: Path) -> Header:
    """Raises EigenhouseError where the file is no GGUF, or its header ends before it should."""
    found = regular.want(path)
    return _read_header(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4)
def _read_header(path: Path, _n_bytes: int, _changed: int) -> Header:
    with open(path, "rb") as opened:
        magic = opened.read(24)
        if len(magic) < 24 or magic[:4] != MAGIC:
            raise EigenhouseError(f"wanted GGUF in {path}; its first bytes are {magic[:4]!r} (another format?)")
        if magic[4:8] in (b"\0\0\0\2", b"\0\0\0\3"):
            raise EigenhouseError(
                f"wanted a little-endian GGUF; got {path}, which is big-endian (write it anew with gguf-convert-endian)"
            )
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _walk(data)
            except (ValueError, ArithmeticError) as error:
                raise EigenhouseError(
                    f"wanted a GGUF header in {path}; got {error} (cut short, or damaged?)"
                ) from error


def check_gguf(path: Path) -> int:
    """Refuse a file that is no GGUF, cut short, or one part of several; the number of its tensors."""
    header = read_header(path)
    n_parts = header.keys.get("split.count") or 1
    if n_parts != 1:
        raise EigenhouseError(f"wanted a whole model; got {path}, one of {n_parts} parts ({MERGE_HINT})")
    if header.n_bytes > path.stat().st_size:
        got = f"got {path.stat().st_size} (cut short, or corrupt?)"
        raise EigenhouseError(f"wanted {header.n_bytes} bytes in {path} by its own header; {got}")
    return len(header.tensors)


def _walk(data: mmap.mmap) -> Header:
    from gguf.constants import GGML_QUANT_SIZES

    sizes = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
    walk = _Cursor(data)
    version, n_tensors, n_keys = walk.number("I"), walk.number("Q"), walk.number("Q")
    if version not in (2, 3):
        raise ValueError(f"version {version}, not 2 or 3")
    keys: dict[str, Any] = {}
    for _ in range(n_keys):
        name = walk.text()
        if name in keys:
            raise ValueError(f"the key {name} twice")
        keys[name] = walk.value(walk.number("I"))
    tensors: dict[str, Stored] = {}
    for _ in range(n_tensors):
        name = walk.text()
        if (n_axes := walk.number("I")) > MOST_AXES:
            raise ValueError(f"tensor {name} of {n_axes} axes")
        shape = tuple(walk.number("Q") for _ in range(n_axes))[::-1]
        kind, offset = walk.number("I"), walk.number("Q")
        if name in tensors:
            raise ValueError(f"the tensor {name} twice")
        if kind not in sizes:
            raise ValueError(f"tensor {name} of unknown type {kind}")
        block_values, block_bytes = sizes[kind]
        if (row := (shape or (1,))[-1]) % block_values:
            raise ValueError(f"tensor {name} with rows of {row}, no whole blocks of {block_values}")
        tensors[name] = Stored(name, kind, shape, offset, math.prod(shape) // block_values * block_bytes)
    if not any(tensor.begin + tensor.n_bytes for tensor in tensors.values()):
        raise ValueError("no tensors")
    alignment = keys.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 8 or alignment % 8:
        raise ValueError(f"a general.alignment of {alignment!r}")
    _want_apart(tensors, alignment)
    first = -(-walk.at // alignment) * alignment  # offsets are counted from here
    return Header(keys, {name: replace(tensor, begin=first + tensor.begin) for name, tensor in tensors.items()})


def _want_apart(tensors: dict[str, Stored], alignment: int) -> None:
    """Raises ValueError where the data of a tensor begin within another's, or elsewhere than at whole alignments."""
    end = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.begin, tensor.n_bytes)):
        if tensor.begin < end or tensor.begin % alignment:
            raise ValueError(f"tensor {tensor.name} at {tensor.begin}, within another or off the alignment {alignment}")
        end = tensor.begin + tensor.n_bytes


class _Cursor:
    """Reads a GGUF header forwards."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 4  # after the magic

    def take(self, n_bytes: int) -> bytes:
        self.skip(n_bytes)
        return self.data[self.at - n_bytes : self.at]

    def skip(self, n_bytes: int) -> None:
        if n_bytes > len(self.data) - self.at:
            raise ValueError(f"{n_bytes} bytes to read at byte {self.at} of {len(self.data)}")
        self.at += n_bytes

    def number(self, form: str) -> Any:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode(errors="replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """A number, a text, a list of numbers, or Texts."""
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.text()
        element, n_elements = self.number("I"), self.number("Q")
        if kind != ARRAY or depth > DEEPEST or element not in (STRING, ARRAY, *SCALARS):
            raise ValueError(f"a value of unknown type {kind if kind != ARRAY else element}")
        if element in SCALARS:
            form = f"<{n_elements}{SCALARS[element]}"
            return list(struct.unpack(form, self.take(n_elements * struct.calcsize("<" + SCALARS[element]))))
        if element == ARRAY:
            return [self.value(ARRAY, depth + 1) for _ in range(n_elements)]
        return self.skip_texts(n_elements)

    def skip_texts(self, n_texts: int) -> Texts:
        """Past the texts of an array. A vocabulary has some 10^5, so nothing is made of them."""
        at, last = self.at, len(self.data) - 8
        length = struct.Struct("<Q").unpack_from
        for n in range(n_texts):
            if at > last:
                raise ValueError(f"{n} of {n_texts} texts up to byte {at} of {len(self.data)}")
            at += 8 + length(self.data, at)[0]
        self.skip(at - self.at)
        return Texts(n_texts)
