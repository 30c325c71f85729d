"""GGUF files that are damaged or made to harm: keys that can't be meant, a header that lies, tensors elsewhere."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.bad_inputs import tiny
from bench.bad_inputs.case import Case, Words, of_model
from bench.bad_inputs.tiny import ARRAY, BOOL, STRING, UINT32, UINT64, Value, float32, string, uint32

MOST = 2**32 - 1
SIZES = ("block_count", "embedding_length", "attention.head_count", "attention.head_count_kv",
         "attention.key_length", "rope.dimension_count", "vocab_size", "nextn_predict_layers",
         "context_length")  # fmt: skip
VALUES: dict[str, Value] = {
    "0": uint32(0), "5": uint32(5), "2^32-1": uint32(MOST), "2^63": (UINT64, struct.pack("<Q", 2**63)),
    "half": float32(2.5), "NaN": float32(float("nan")), "a text": string("2"), "true": (BOOL, b"\1"),
    "a list": (ARRAY, struct.pack("<IQII", UINT32, 2, 2, 3)),
    "texts": (ARRAY, struct.pack("<IQ", STRING, 1) + tiny.text("x")),
}  # fmt: skip
HARMLESS = {("vocab_size", word) for word in VALUES} | {
    ("nextn_predict_layers", "0"), ("context_length", "0"), ("context_length", "5"), ("context_length", "2^32-1"),
    ("context_length", "2^63"),
    ("attention.head_count_kv", "2"),
}  # fmt: skip
KEYS: dict[str, dict[str, Value | None]] = {
    "no architecture": {"general.architecture": None},
    "an unknown architecture": {"general.architecture": string("spiral")},
    "an architecture with control characters": {"general.architecture": string("\x1b]0;owned\x07\x1b[2J")},
    "an architecture that is a number": {"general.architecture": uint32(5)},
    "an adapter": {"general.type": string("adapter")},
    "an alignment of 0": {"general.alignment": uint32(0)},
    "an alignment of 2^32-1": {"general.alignment": uint32(MOST)},
    "an alignment that is a text": {"general.alignment": string("32")},
    "an alignment that is a list": {"general.alignment": (ARRAY, struct.pack("<IQI", UINT32, 1, 32))},
    "an alignment that is no power of two": {"general.alignment": uint32(33)},
    "a part of several": {"split.count": uint32(5)},
    "split.count a text": {"split.count": string("many")},
    "a key that is unknown": {"llama.attention.spiral": uint32(1)},
    "rope.freq_base a text": {"llama.rope.freq_base": string("x")},
    "rope.freq_base 0": {"llama.rope.freq_base": float32(0)},
    "rope.freq_base NaN": {"llama.rope.freq_base": float32(float("nan"))},
    "rope.scaling.type unknown": {"llama.rope.scaling.type": string("spiral")},
    "rope.scaling.type a list": {"llama.rope.scaling.type": (ARRAY, struct.pack("<IQI", UINT32, 1, 3))},
    "rope.scaling.factor a text": {"llama.rope.scaling.factor": string("x")},
    "yarn without its context": {"llama.rope.scaling.type": string("yarn"), "llama.rope.scaling.factor": float32(4),
                                 "llama.context_length": None},
    "rope.dimension_sections a text": {"llama.rope.dimension_sections": string("x")},
    "attention.scale a text": {"llama.attention.scale": string("x")},
    "attention.scale NaN": {"llama.attention.scale": float32(float("nan"))},
    "epsilon a text": {"llama.attention.layer_norm_rms_epsilon": string("x")},
    "no block_count": {"llama.block_count": None},
    "no head_count": {"llama.attention.head_count": None},
}  # fmt: skip


def cases() -> Iterator[Case]:
    for key in SIZES:
        for word, value in VALUES.items():
            if (key, word) not in HARMLESS:
                yield Case(f"gguf: {key} {word}", partial(_keys, {f"llama.{key}": value}))
    for name, keys in KEYS.items():
        yield Case(f"gguf: {name}", partial(_keys, keys))
    yield Case("gguf: no epsilon", partial(_keys, {"llama.attention.layer_norm_rms_epsilon": None}), is_read=True)
    for name, value in {"999": uint32(999), "a text": string("x"), "a list": VALUES["a list"]}.items():
        yield Case(f"gguf: file_type {name}", partial(_quantized, value), is_read=True)
    for name, content in _headers().items():
        yield Case(f"gguf: {name}", partial(_content, content), ("m.gguf",))


def _keys(keys: dict[str, Value | None], folder: Path) -> Words:
    return of_model(tiny.gguf_file(folder / "m.gguf", keys))


def _content(content: bytes, folder: Path) -> Words:
    (folder / "m.gguf").write_bytes(content)
    return of_model(folder / "m.gguf")


def _quantized(file_type: Value, folder: Path) -> Words:
    """One matrix in Q8_0, of which the file's type would tell."""
    own = tiny.gguf_tensors()
    name = "blk.0.attn_q.weight"
    entries, data = tiny.table({other: value for other, value in own.items() if other != name})
    keys = tiny.KEYS | {"general.file_type": file_type}
    codes = np.ones((own[name].size // 32, 34), np.uint8)
    codes[:, :2] = np.frombuffer(np.float16(0.5).tobytes(), np.uint8)
    content = tiny.gguf(keys, [*entries, tiny.entry(name, own[name].shape, 8, len(data))], data + codes.tobytes())
    return _content(content, folder)


def _headers() -> dict[str, bytes]:
    entries, data = tiny.table(tiny.gguf_tensors())
    whole = tiny.gguf(tiny.KEYS, entries, data)
    n_keys = len(tiny.KEYS)

    def keyed(name: str, kind: int, value: bytes) -> bytes:
        return tiny.gguf(tiny.KEYS | {name: (kind, value)}, entries, data)

    def placed(*entry: Any) -> bytes:
        return tiny.gguf(tiny.KEYS, [*entries[:-1], tiny.entry(*entry)], data)

    last = "blk.1.ffn_norm.weight"
    nested = struct.pack("<IQ", ARRAY, 1)
    return {
        "empty": b"",
        "four bytes": whole[:4],
        "another format": b"GGML" + whole[4:],
        "version 1": tiny.gguf(tiny.KEYS, entries, data, version=1),
        "version 2^32-1": tiny.gguf(tiny.KEYS, entries, data, version=MOST),
        "big-endian": b"GGUF\0\0\0\3" + whole[8:],
        "2^64-1 tensors": tiny.gguf(tiny.KEYS, entries, data, counts=(2**64 - 1, n_keys)),
        "2^64-1 keys": tiny.gguf(tiny.KEYS, entries, data, counts=(len(entries), 2**64 - 1)),
        "no tensors": tiny.gguf(tiny.KEYS, [], b"", counts=(0, n_keys)),
        "no keys": tiny.gguf({}, entries, data),
        "cut short": whole[:-1],
        "cut in its header": whole[:200],
        "a key of 2^63 letters": whole[:24] + struct.pack("<Q", 2**63) + whole[32:],
        "a text of 2^63 letters": keyed("general.name", STRING, struct.pack("<Q", 2**63)),
        "a text of 2^64-1 letters": keyed("general.name", STRING, struct.pack("<Q", 2**64 - 1)),
        "a text that is no UTF-8": keyed("general.architecture", STRING, struct.pack("<Q", 2) + b"\xff\xfe"),
        "a list of 2^63 numbers": keyed("general.tags", ARRAY, struct.pack("<IQ", UINT32, 2**63)),
        "a list of 2^63 texts": keyed("general.tags", ARRAY, struct.pack("<IQ", STRING, 2**63)),
        "a list of 2^64-1 texts": keyed("general.tags", ARRAY, struct.pack("<IQ", STRING, 2**64 - 1)),
        "lists of lists": keyed("general.tags", ARRAY, nested * 5_000),
        "2^63 lists": keyed("general.tags", ARRAY, struct.pack("<IQIQ", ARRAY, 2**63, UINT32, 0)),
        "2^63 lists in 2^63 lists": keyed("general.tags", ARRAY, struct.pack("<IQIQIQ", ARRAY, 2**63, ARRAY, 2**63,
                                                                             UINT32, 0)),
        "a key of type 99": keyed("general.tags", 99, b""),
        "a list of type 99": keyed("general.tags", ARRAY, struct.pack("<IQ", 99, 1)),
        "a key twice": tiny.gguf(tiny.KEYS, entries, data).replace(b"llama.context_length", b"llama.embedding_leng", 1),
        "a tensor twice": tiny.gguf(tiny.KEYS, [*entries[:-1], entries[0]], data),
        "a tensor of type 99": placed(last, (32,), 99, 0),
        "a tensor of type 2^32-1": placed(last, (32,), MOST, 0),
        "a tensor outside the file": placed(last, (32,), 0, 2**40),
        "a tensor at 2^64-1": placed(last, (32,), 0, 2**64 - 1),
        "a tensor off its alignment": placed(last, (32,), 0, 7),
        "a tensor of 2^63 values": placed(last, (2**63,), 0, 0),
        "a tensor of 2^64-1 by 2^64-1": placed(last, (2**64 - 1, 2**64 - 1), 0, 0),
        "a tensor of 10,000 axes": placed(last, (1,) * 10_000, 0, 0),
        "a tensor of 2^32-1 axes": placed(last, (32,), 0, 0).replace(tiny.text(last) + struct.pack("<I", 1),
                                                                   tiny.text(last) + struct.pack("<I", MOST)),
        "a tensor of none": placed(last, (0,), 0, 0),
        "blocks of no axis": placed(last, (), 8, 0),
        "a tensor of another size": placed(last, (16,), 0, 0),
        "a tensor of an unknown name": placed("blk.9.spiral.weight", (32,), 0, 0),
        "a tensor with control characters": placed("\x1b]0;owned\x07\x1b[2J", (32,), 0, 0),
        "blocks that don't divide": placed(last, (33,), 8, 0),
    }  # fmt: skip
