"""What reading a GGUF costs beside transformers' own loading of the same file: seconds, CPU seconds, memory.

Each in a process of its own, after the imports. Ours is what a static pass does: headers, accounts, and every matrix of
every layer dequantized, one in memory at a time. Theirs is AutoModelForCausalLM.from_pretrained. Without FILE a random
model is written, Q8_0, with a vocabulary as large as Qwen's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

HIDDEN, HEADS, KEY_HEADS, FFN, VOCABULARY = 2048, 16, 8, 6144, 151_936


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--layers", type=int, default=16, help="of the random model; 16 are 1.2 GB")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(WAYS[arguments.measure](arguments.file)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.file or write(Path(folder) / "random.gguf", arguments.layers, arguments.vocabulary)
        found = measured(file)
    for way, (seconds, cpu, megabytes) in found.items():
        print(f"{way:<14}{seconds:>8.2f} s {cpu:>8.2f} s of CPU {megabytes:>7.0f} MB at the most")
    ratios = [of_theirs / of_ours for of_ours, of_theirs in zip(found["ours"], found["theirs"], strict=True)]
    print("{:<14}{:>8.1f} × {:>8.1f} × {:>14.1f} ×".format("theirs / ours", *ratios))


def measured(file: Path) -> dict[str, tuple[float, float, float]]:
    """Way → seconds, CPU seconds, peak of resident memory in MB, imports included."""
    found = {}
    for way in WAYS:
        command = [sys.executable, "-m", "bench.gguf_cost", str(file), "--measure", way]
        environment = os.environ | {"GOMP_SPINCOUNT": "20000"}  # as an ingest sets it
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        found[way] = tuple(json.loads(done.stdout.splitlines()[-1]))
    return found


def write(path: Path, n_layers: int, vocabulary: int) -> Path:
    """A Llama of random weights; the rows of each matrix repeat, since only their number takes time."""
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_block_count, n_layers), (writer.add_context_length, 4096), (writer.add_embedding_length, HIDDEN),
        (writer.add_feed_forward_length, FFN), (writer.add_head_count, HEADS), (writer.add_head_count_kv, KEY_HEADS),
        (writer.add_layer_norm_rms_eps, 1e-6), (writer.add_rope_freq_base, 1e4), (writer.add_vocab_size, vocabulary),
    ):  # fmt: skip
        add(value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token{n}" for n in range(vocabulary)])
    writer.add_token_types([1] * vocabulary)
    writer.add_token_merges([])
    draw = np.random.default_rng(0)
    keys = HIDDEN // HEADS * KEY_HEADS
    of_layer = {
        "attn_q": (HIDDEN, HIDDEN), "attn_k": (keys, HIDDEN), "attn_v": (keys, HIDDEN), "attn_output": (HIDDEN, HIDDEN),
        "ffn_gate": (FFN, HIDDEN), "ffn_up": (FFN, HIDDEN), "ffn_down": (HIDDEN, FFN),
    }  # fmt: skip
    matrices = {f"blk.{n}.{name}.weight": shape for n in range(n_layers) for name, shape in of_layer.items()}
    for name, (rows, columns) in {"token_embd.weight": (vocabulary, HIDDEN), **matrices}.items():
        few = gguf.quantize(draw.normal(size=(64, columns)).astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
        blocks = np.resize(few, (rows, few.shape[1]))
        writer.add_tensor(name, blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    norms = [f"blk.{n}.{norm}.weight" for n in range(n_layers) for norm in ("attn_norm", "ffn_norm")]
    for name in ("output_norm.weight", *norms):
        writer.add_tensor(name, np.ones(HIDDEN, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def ours(file: Path) -> tuple[float, float, float]:
    import eigenhouse.ingest.capture.kernel  # noqa: F401  (the attention that a skeleton is built with)
    from eigenhouse.ingest.models import loading
    from eigenhouse.ingest.sources.locate import resolve

    def read() -> None:
        loaded = loading.load_skeleton(resolve(str(file)), False)
        for name, _ in loaded.model.named_parameters():
            if ".layers." in name:
                loaded.weight(name)

    return cost(read)


def theirs(file: Path) -> tuple[float, float, float]:
    import torch
    from transformers import AutoModelForCausalLM

    return cost(
        lambda: AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
    )


WAYS = {"ours": ours, "theirs": theirs}


def cost(work: Callable[[], object]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and MB of a process that has done its imports."""
    from transformers import LlamaForCausalLM  # noqa: F401  (its module is imported when it is first asked for)

    started, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    seconds = time.perf_counter() - started
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds, after.user + after.system - before.user - before.system, megabytes


if __name__ == "__main__":
    main()
