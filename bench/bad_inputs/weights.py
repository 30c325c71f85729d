"""Weight files that are damaged or made to harm: safetensors, the index of shards, pickles."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.bad_inputs import tiny
from bench.bad_inputs.case import Case, Words, of_model

OWN = "model.embed_tokens.weight"


def cases() -> Iterator[Case]:
    for name, content in _safetensors().items():
        yield Case(f"safetensors: {name}", partial(_weights, content), ("model.safetensors",))
    for name, changes in _entries().items():
        yield Case(f"safetensors: {name}", partial(_entry, changes))
    for name, (weight_map, says) in _indexes().items():
        yield Case(f"index: {name}", partial(_index, weight_map), says)
    for name, content in {"lists 10,000 deep": b"[" * 10_000, "empty": b"", "a list": b"[]", "NULs": bytes(99)}.items():
        yield Case(f"index file: {name}", partial(_index_file, content), ("index.json",))
    yield Case("index: a link out of the folder", _linked_out, ("outside",))
    for name, make in _pickles().items():
        yield Case(f"bin: {name}", partial(_bin, make), ("pytorch_model.bin",))


def _weights(content: bytes, folder: Path) -> Words:
    tiny.folder(folder / "m")
    (folder / "m" / "model.safetensors").write_bytes(content)
    return of_model(folder / "m")


def _safetensors() -> dict[str, bytes]:
    whole = tiny.safetensors(tiny.tensors())
    head = tiny.header(tiny.tensors())
    data = b"".join(value.tobytes() for value in tiny.tensors().values())
    deep, twice = b"[" * 10_000 + b"]" * 10_000, json.dumps(head)
    own = json.dumps({OWN: head[OWN]})[1:-1]
    return {
        "empty": b"",
        "seven bytes": whole[:7],
        "eight bytes": whole[:8],
        "a header of 0 bytes": bytes(8),
        "a header of 2^63 bytes": struct.pack("<Q", 2**63) + whole[8:],
        "a header of 2^64-1 bytes": struct.pack("<Q", 2**64 - 1) + whole[8:],
        "a header longer than the file": struct.pack("<Q", len(whole)) + whole[8:],
        "a header a byte too long": struct.pack("<Q", struct.unpack("<Q", whole[:8])[0] + 1) + whole[8:],
        "cut short": whole[:-1],
        "cut in half": whole[: len(whole) // 2],
        "a byte too many": whole + b"x",
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "no tensors": tiny.safetensors({}),
        "a page of HTML": b"<!DOCTYPE html><html>" + b" " * 4096,
        "a pickle": b"PK\x03\x04" + bytes(4096),
        "a header 10,000 deep": struct.pack("<Q", len(deep)) + deep + data,
        "a tensor 10,000 deep": _headed(b'{"a": ' + deep + b"}") + data,
        "a header that is a list": _headed(b"[]") + data,
        "a header that is a number": _headed(b"5") + data,
        "a header that is no UTF-8": _headed(b'{"\xff\xfe": 5}') + data,
        "a tensor twice": _headed(f"{{{own}, {twice[1:]}".encode()) + data,
        "a header of 60 MB": _headed(b'{"__metadata__": {"a": "' + b"x" * 60_000_000 + b'"}}'),
        "all NULs": bytes(1 << 20),
    }


def _headed(head: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head


def _entries() -> dict[str, dict[str, Any]]:
    return {
        "offsets outside the file": {"data_offsets": [0, 2**40]},
        "offsets of 2^63": {"data_offsets": [2**63, 2**63 + 6144]},
        "negative offsets": {"data_offsets": [-6144, 0]},
        "offsets the wrong way round": {"data_offsets": [6144, 0]},
        "offsets that overlap": {"data_offsets": [96, 6240]},
        "offsets that are texts": {"data_offsets": ["0", "6144"]},
        "one offset": {"data_offsets": [6144]},
        "offsets null": {"data_offsets": None},
        "offsets NaN": {"data_offsets": [float("nan"), 6144]},
        "a negative shape": {"shape": [-48, -32]},
        "a shape of 2^63": {"shape": [2**63, 2]},
        "a shape that overflows": {"shape": [2**32, 2**32]},
        "a shape of texts": {"shape": ["48", 32]},
        "a shape null": {"shape": None},
        "a shape of 0": {"shape": [0, 32], "data_offsets": [0, 0]},
        "a shape of 10,000 ones": {"shape": [1] * 10_000 + [48, 32]},
        "another shape": {"shape": [32, 48]},
        "an unknown dtype": {"dtype": "F7"},
        "a dtype that is a number": {"dtype": 5},
        "an entry without a dtype": {"dtype": None},
        "codes without scales": {"dtype": "I32"},
    }


def _entry(changes: dict[str, Any], folder: Path) -> Words:
    head = tiny.header(tiny.tensors())
    head[OWN] |= changes
    return _weights(tiny.safetensors(tiny.tensors(), json.dumps(head).encode()), folder)


def _indexes() -> dict[str, tuple[Any, tuple[str, ...]]]:
    own = dict.fromkeys(tiny.tensors(), "a.safetensors")
    return {
        "no map": ([], ("weight_map",)),
        "an empty map": ({}, ("weight_map",)),
        "a map of numbers": (dict.fromkeys(own, 5), ("5",)),
        "a map of lists": ({name: ["a.safetensors"] for name in own}, ("index",)),
        "a map of null": (dict.fromkeys(own), ("index",)),
        "an empty name": (dict.fromkeys(own, ""), ("index",)),
        "the folder itself": (dict.fromkeys(own, "."), ("index",)),
        "a shard above the folder": (own | {OWN: "../outside.safetensors"}, ("outside",)),
        "a shard above, by way of the folder": (own | {OWN: "sub/../../outside.safetensors"}, ("outside",)),
        "an absolute path": (own | {OWN: "/etc/passwd"}, ("outside",)),
        "a device": (own | {OWN: "/dev/zero"}, ("outside",)),
        "a name with a NUL": (own | {OWN: "a\0b.safetensors"}, ("index",)),
        "a name with control characters": (own | {OWN: "\x1b[2J.safetensors"}, ("missing",)),
        "a name of 10,000 letters": (own | {OWN: "a" * 10_000}, ("index",)),
        "a shard that isn't there": (own | {OWN: "c.safetensors"}, ("missing",)),
        "a tensor that isn't there": (own | {"more.weight": "b.safetensors"}, ("more.weight",)),
        "no weights": (own | {OWN: "config.json"}, ("config.json",)),
        "100,000 shards": ({f"{n}": f"{n}.safetensors" for n in range(100_000)}, ("index",)),
    }


def _index(weight_map: Any, folder: Path) -> Words:
    tiny.folder(folder / "outside")
    (folder / "outside" / "model.safetensors").rename(folder / "outside.safetensors")
    return of_model(tiny.sharded(folder / "m", weight_map))


def _index_file(content: bytes, folder: Path) -> Words:
    tiny.sharded(folder / "m")
    (folder / "m" / "model.safetensors.index.json").write_bytes(content)
    return of_model(folder / "m")


def _linked_out(folder: Path) -> Words:
    tiny.sharded(folder / "m")
    (folder / "m" / "a.safetensors").rename(folder / "elsewhere.safetensors")
    (folder / "m" / "a.safetensors").symlink_to(folder / "elsewhere.safetensors")
    return of_model(folder / "m")


# --- pickles ---


class _Runs:
    """Would make a file where a pickle's code ran."""

    def __init__(self, at: str) -> None:
        self.at = at

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.at,)


def _pickles() -> dict[str, Callable[[Path], Any]]:
    return {
        "a list": lambda folder: [1, 2, 3],
        "a number": lambda folder: 5,
        "an empty dict": lambda folder: {},
        "a dict of numbers": lambda folder: {"a": 1, "b": 2},
        "a dict of a dict": lambda folder: {"model": {"a": 1}},
        "a dict of tuples": lambda folder: {(1, 2): 5},
        "code": lambda folder: _Runs(str(folder / "ran")),
        "code within a dict": lambda folder: {"a": _Runs(str(folder / "ran"))},
        "no zip": lambda folder: b"hello",
        "an empty file": lambda folder: b"",
        "a zip without a pickle": lambda folder: None,
        "a torch file of old": lambda folder: bytes.fromhex("80028a0a6cfc9c46f9206aa85019") + b"junk",
    }


def _bin(make: Callable[[Path], Any], folder: Path) -> Words:
    """As torch.save lays it out: a zip with data.pkl in it, which torch itself isn't needed for."""
    tiny.folder(folder / "m")
    (folder / "m" / "model.safetensors").unlink()
    path, content = folder / "m" / "pytorch_model.bin", make(folder)
    if isinstance(content, bytes):
        path.write_bytes(content)
        return of_model(folder / "m")
    with zipfile.ZipFile(path, "w") as archive:
        if content is not None:
            archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
    return of_model(folder / "m")
