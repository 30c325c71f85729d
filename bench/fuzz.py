"""Coverage-guided fuzzing of what reads files that others made: safetensors, index, config, GGUF. Needs atheris.

Each reader is run in a process of its own, under a limit of memory and of seconds an input. Anything but a refusal in
words is a finding: it is told once with the input that led to it, and the exit status is 1.

`pip install --target fuzzing atheris`, then `PYTHONPATH=fuzzing python -m bench.fuzz --seconds 600`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.bad_inputs import tiny

MOST_MB, MOST_SECONDS = 2000, 20
VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2, 3, 5, 8, 10**3, 10**5, 10**9, 2**31, 2**63, 10**30, 0.5, 1e-5, 1e30, float("nan"),
    float("inf"), "", "2", "llama", "\0", "../x", "\x1b[2J", [], [2], [[2]], {}, {"a": 1}, "F32", "full_attention",
    "model.safetensors",
)  # fmt: skip
FIELDS = (
    *tiny.CONFIG, "head_dim", "layer_types", "rope_parameters", "rope_scaling", "rope_theta", "quantization_config",
    "text_config", "sliding_window", "attention_bias", "num_experts", "pad_token_id", "hidden_act", "dtype", "auto_map",
    "n_layer", "d_model", "vision_config", "num_local_experts", "id2label", "tie_word_embeddings", "is_encoder_decoder",
)  # fmt: skip


def edited(content: Any, data: bytes) -> Any:
    """A JSON value with edits that the bytes choose, three an edit: where, what is done there, with which value."""
    content = deepcopy(content)
    for at in range(0, len(data) - 2, 3):
        where, how, which = data[at : at + 3]
        value = deepcopy(VALUES[which % len(VALUES)])
        inner = content
        while isinstance(inner, (dict, list)) and inner and how % 3 == 0:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key, how = keys[where % len(keys)], how // 3
            if not isinstance(inner[key], (dict, list)) or not inner[key]:
                break
            inner = inner[key]
        if isinstance(inner, dict):
            keys = [*inner, *FIELDS]
            inner[keys[where % len(keys)]] = value
        elif isinstance(inner, list) and inner:
            inner[where % len(inner)] = value
    return content


def as_json(valid: Any, data: bytes) -> bytes:
    """Bytes as they are, or edits of a valid value."""
    return data[1:] if data[:1] < b"\x80" else json.dumps(edited(valid, data[1:])).encode()


def readers(folder: Path) -> dict[str, Callable[[bytes], object]]:
    """By name: what takes the bytes that are tried, in a folder whose other files are right."""
    from eigenhouse.ingest.capture import kernel
    from eigenhouse.ingest.models import gguf_config, gguf_facts
    from eigenhouse.ingest.models.loading import load_skeleton
    from eigenhouse.ingest.sources.locate import resolve
    from eigenhouse.ingest.sources.stored import stored_tensors

    assert kernel, "it registers the attention that models are built with"
    whole, sharded = tiny.folder(folder / "whole"), tiny.sharded(folder / "sharded")
    index, weights = sharded / "model.safetensors.index.json", whole / "model.safetensors"
    of_index, tensors = json.loads(index.read_bytes()), tiny.tensors()
    own, config = weights.read_bytes(), whole / "config.json"

    def safetensors(data: bytes) -> object:
        is_raw = data[:1] < b"\x40"
        weights.write_bytes(data[1:] if is_raw else tiny.safetensors(tensors, as_json(tiny.header(tensors), data)))
        return stored_tensors(resolve(str(whole)))

    def of_shards(data: bytes) -> object:
        index.write_bytes(as_json(of_index, data))
        return resolve(str(sharded))

    def of_config(data: bytes) -> object:
        weights.write_bytes(own)
        config.write_bytes(as_json(tiny.CONFIG, data))
        return load_skeleton(resolve(str(whole)), trust_remote_code=False)

    def gguf(data: bytes) -> object:
        path = folder / "m.gguf"
        path.write_bytes(data)
        source = replace(resolve(str(path)), revision=None)
        gguf_facts.left_aside(path), gguf_facts.file_type(path)
        return gguf_config.load_config(source.weight_files[0])

    return {"safetensors": safetensors, "index": of_shards, "config": of_config, "gguf": gguf}


def seeds(name: str) -> list[bytes]:
    if name == "gguf":
        entries, data = tiny.table(tiny.gguf_tensors())
        return [tiny.gguf(tiny.KEYS, entries, data)]
    valid = {"config": tiny.CONFIG, "safetensors": tiny.header(tiny.tensors()), "index": {"weight_map": {"a": "b"}}}
    return [
        b"\0" + json.dumps(valid[name]).encode(),
        b"\xff\x00\x01\x05",
        b"\x50[1]",
        b"\x00" + tiny.safetensors(tiny.tensors()),
    ]


# --- one reader, in its own process ---


def fuzz(name: str, seconds: float, findings: Path) -> None:
    """libFuzzer ends the process, and leaves the input beside the findings, where memory or time is over."""
    atheris = import_module("atheris")  # no dependency of anything else here
    with atheris.instrument_imports(include=["eigenhouse"]):
        import eigenhouse.ingest.capture.workbench  # noqa: F401
    from eigenhouse.errors import EigenhouseError

    folder = tempfile.TemporaryDirectory()
    (corpus := Path(folder.name) / "corpus").mkdir()
    for number, seed in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(seed)
    read, known = readers(Path(folder.name))[name], set()
    os.environ["EIGENHOUSE_CACHE"] = folder.name

    def one(data: bytes) -> None:
        try:
            read(data)
        except EigenhouseError:
            return
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            mark = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            if mark not in known:
                known.add(mark)
                line = json.dumps({"reader": name, "mark": mark, "error": str(error)[:300], "input": data[:4000].hex()})
                with findings.open("a") as file:
                    file.write(line + "\n")

    options = [
        f"-max_total_time={seconds:.0f}",
        f"-rss_limit_mb={MOST_MB}",
        f"-timeout={MOST_SECONDS}",
        "-max_len=100000",
    ]
    atheris.Setup([name, *options, f"-artifact_prefix={findings.parent}/{name}-", str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for all readers together")
    parser.add_argument("--only", choices=("safetensors", "index", "config", "gguf"), action="append", help="a reader")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.only or ["safetensors", "index", "config", "gguf"]
    if arguments.into:
        fuzz(names[0], arguments.seconds, arguments.into)
        return
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        findings, n_found = Path(folder) / "findings.jsonl", 0
        findings.touch()
        for name in names:
            n_found += _ran(name, arguments.seconds / len(names), findings)
        sys.stdout.write(findings.read_text())
    sys.exit(bool(n_found))


def _ran(name: str, seconds: float, findings: Path) -> int:
    """One reader in a process of its own; the number of its findings."""
    before = findings.read_text().count("\n")
    command = [sys.executable, "-m", "bench.fuzz", "--only", name, "--seconds", str(seconds), "--into", str(findings)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=env)
    n_runs = max([int(found) for found in re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)], default=0)
    for artifact in findings.parent.glob(f"{name}-*"):
        content = artifact.read_bytes()[:4000].hex()
        with findings.open("a") as file:
            file.write(json.dumps({"reader": name, "mark": artifact.name.split("-")[1], "input": content}) + "\n")
    n_found = findings.read_text().count("\n") - before
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    if not coverage:
        n_found += 1
        print(done.stderr[-2000:], file=sys.stderr)
    said = f"{name}: {n_runs:,} inputs in {seconds:.0f} s, coverage {(coverage or ['none'])[-1]}, {n_found} findings"
    print(said, flush=True)
    return n_found


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
