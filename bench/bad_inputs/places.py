"""Things that are no regular files, where one is wanted; prompts and measurements that can't be meant."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.bad_inputs import tiny
from bench.bad_inputs.case import Case, Words, of_model

SPECTRA = {"num_layers": 1, "num_heads": 1, "static": [{"metric_singvals_per_head": [[2.0, 1.0]]}]}
SPECIAL = ("a device", "a fifo", "a folder", "a socket", "a loop of links")


def cases() -> Iterator[Case]:
    for what in SPECIAL:
        for where in WHERE:
            if (where, what) not in HARMLESS:
                yield Case(f"{where} is {what}", partial(_special, where, what))
    for (name, ending), content in _prompts().items():
        yield Case(f"prompts: {name}", partial(_prompt_file, ending, content), ("texts",))
    yield Case("prompts: 1 GB", partial(_prompt_file, ".txt", None), ("texts",))
    for name, content in _measurements().items():
        yield Case(f"measurement: {name}", partial(_measurement, content), ("m.json",))


HARMLESS = {("quantization", "a folder"), ("quantization", "a loop of links")}  # as none at all
WHERE: dict[str, Callable[[Path, Path], Words]] = {
    "config": lambda folder, path: _in_place(folder, path, "config.json"),
    "safetensors": lambda folder, path: _in_place(folder, path, "model.safetensors"),
    "index": lambda folder, path: _in_place(folder, path, "model.safetensors.index.json", "model.safetensors"),
    "bin": lambda folder, path: _in_place(folder, path, "pytorch_model.bin", "model.safetensors"),
    "quantization": lambda folder, path: _in_place(folder, path, "quant_config.json"),
    "model": lambda folder, path: of_model(path),
    "model .gguf": lambda folder, path: of_model(_as(path, folder / "m.gguf")),
    "prompts": lambda folder, path: ["--model", str(tiny.folder(folder / "m")), "--prompts", str(path)],
    "measurement": lambda folder, path: ["--model", str(_as(path, folder / "m.json"))],
    "warehouse": lambda folder, path: [*of_model(tiny.folder(folder / "m")), "--warehouse", str(path)],
}


def _special(where: str, what: str, folder: Path) -> Words:
    return WHERE[where](folder, _made(what, folder / "special"))


def _made(what: str, path: Path) -> Path:
    if what == "a device":
        path.symlink_to("/dev/zero")
    elif what == "a fifo":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    elif what == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(path.parent)  # a socket's path may have 108 letters
            made.bind(path.name)
    else:
        path.symlink_to(path)
    return path


def _as(path: Path, name: Path) -> Path:
    name.symlink_to(path)
    return name


def _in_place(folder: Path, path: Path, name: str, instead_of: str = "") -> Words:
    tiny.folder(folder / "m")
    (folder / "m" / (instead_of or name)).unlink(missing_ok=True)
    _as(path, folder / "m" / name)
    return of_model(folder / "m")


def _prompts() -> dict[tuple[str, str], bytes]:
    return {
        ("empty", ".txt"): b"",
        ("blank", ".txt"): b" \n\n",
        ("binary", ".txt"): bytes(range(256)),
        ("UTF-16", ".txt"): "a text".encode("utf-16"),
        ("NULs alone", ".txt"): b"\0\0\0\0",
        ("a NUL within", ".txt"): b"a\0b",
        ("no JSON", ".jsonl"): b"hello",
        ("lists 10,000 deep", ".jsonl"): b"[" * 10_000,
        ("a list 10,000 deep", ".json"): b"[" * 10_000 + b"]" * 10_000,
        ("an object", ".json"): b'{"text": "x"}',
        ("numbers", ".json"): b"[1, 2]",
        ("half a surrogate", ".json"): b'["\\ud800"]',
        ("a NUL escaped", ".json"): b'["a\\u0000b"]',
        ("no column text", ".csv"): b"a,b\n1,2\n",
        ("a quote that isn't closed", ".csv"): b'text\n"abc\n',
        ("no parquet", ".parquet"): b"PAR1junkPAR1",
        ("a parquet that is empty", ".parquet"): b"",
        ("a line of 20 MB of nothing", ".jsonl"): b'"' + b" " * 20_000_000 + b'"',
    }


def _prompt_file(ending: str, content: bytes | None, folder: Path) -> Words:
    path = folder / f"texts{ending}"
    path.write_bytes(content or b"")
    if content is None:
        os.truncate(path, 2**30)  # a file of NULs that takes no room
    return ["--model", str(tiny.folder(folder / "m")), "--prompts", str(path)]


def _measurements() -> dict[str, bytes]:
    def of(**changes: Any) -> bytes:
        return json.dumps(SPECTRA | changes).encode()

    return {
        "empty": b"",
        "no JSON": b"hello",
        "a list": b"[]",
        "an empty object": b"{}",
        "lists 10,000 deep": b'{"static": ' + b"[" * 10_000,
        "10^9 layers": of(num_layers=10**9),
        "10^30 layers": of(num_layers=10**30),
        "-1 layers": of(num_layers=-1),
        "10^12 heads": of(num_heads=10**12),
        "no heads": of(num_heads=0),
        "heads a text": of(num_heads="1"),
        "layers of 2^70": of(layers=[2**70]),
        "layers of 10^9": of(layers=[10**9]),
        "layers a number": of(layers=5),
        "static a number": of(static=5),
        "values that are texts": of(static=[{"metric_singvals_per_head": [["a", "b"]]}]),
        "values that are lists": of(static=[{"metric_singvals_per_head": [[[1.0], [2.0]]]}]),
        "values NaN": of(static=[{"metric_singvals_per_head": [[float("nan"), 1.0]]}]),
        "values infinite": of(static=[{"metric_singvals_per_head": [[float("inf"), 1.0]]}]),
        "values of 10^400": json.dumps(SPECTRA).encode().replace(b"2.0", b"9" * 400),
        "values of 5,000 digits": json.dumps(SPECTRA).encode().replace(b"2.0", b"9" * 5_000),
        "values null": of(static=[{"metric_singvals_per_head": None}]),
        "an operator that is a list": of(operator=["metric"]),
        "an operator with control characters": of(operator="\x1b]0;owned\x07\x1b[2J"),
        "dynamic a number": of(dynamic=5),
        "dynamic empty objects": of(dynamic=[{}]),
        "grams without more": b'{"num_layers": 1, "num_heads": 1, "gram": [[[1.0]]]}',
        "grams of a billion": b'{"num_layers": 1, "num_heads": 1, "head_dim": 1, "hidden_size": 1000000000000000000000,'
        b'"gram": [[[1.0]]], "fro_sq": [[1.0]]}',
        "a .pt outside": b'{"num_layers": 1, "num_heads": 1, "head_dim": 1, "hidden_size": 2, "gram": [[[1.0]]],'
        b'"fro_sq": [[1.0]], "eigdirs_path": "../../../etc/passwd"}',
        "a .pt that is a number": b'{"num_layers": 1, "num_heads": 1, "head_dim": 1, "hidden_size": 2,'
        b'"gram": [[[1.0]]], "fro_sq": [[1.0]], "eigdirs_path": 5}',
        "a .pt of NULs": b'{"num_layers": 1, "num_heads": 1, "head_dim": 1, "hidden_size": 2,'
        b'"gram": [[[1.0]]], "fro_sq": [[1.0]], "eigdirs_path": "a\\u0000b"}',
    }


def _measurement(content: bytes, folder: Path) -> Words:
    (folder / "m.json").write_bytes(content)
    return ["--model", str(folder / "m.json")]
