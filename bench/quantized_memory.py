"""Peak memory of a static ingest of FP8 in blocks beside the checkpoint's largest layers in float32.

A catalog model stored anew in FP8, or random weights of a large shape; each is made and ingested in processes of their
own. The peak is given beside what the process held after its imports (only Linux shows both).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from bench.stored_forms.fp8 import BLOCK, CONFIG
from bench.stored_forms.packing import e4m3_by_blocks

LARGE = {  # three layers of Qwen3-4B
    "hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "num_hidden_layers": 3, "vocab_size": 1024, "max_position_embeddings": 512,
}  # fmt: skip
PROJECTION = re.compile(r"layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight$")
INGEST = """
import json, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from transformers import AutoModelForCausalLM
from eigenhouse.ingest.runs import run
from eigenhouse.ingest.stages import attention, factors, spectra, subspaces, variants, weights
from eigenhouse.options import Ingest
import duckdb, polars, pyarrow.parquet
getattr(__import__("transformers"), sys.argv[3])

def megabytes(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) / 1024

imports = megabytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
run.ingest(Ingest(model=sys.argv[1], warehouse=Path(sys.argv[2]), static_only=True))
print(json.dumps([imports, megabytes("VmHWM")]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["gemma3-270m", "random"], help="catalog names, or random")
    print("model           file MB  layer MB  largest MB  imports MB  peak above MB", flush=True)
    for name in parser.parse_args().models:
        with tempfile.TemporaryDirectory() as folder:
            sizes, imports, peak = measured(name, Path(folder))
        shown = f"{sizes['file']:8.0f}  {sizes['layer']:8.0f}  {sizes['largest']:10.0f}"
        print(f"{name:14s} {shown}  {imports:10.0f}  {peak - imports:13.0f}", flush=True)


def measured(name: str, folder: Path) -> tuple[dict[str, Any], float, float]:
    """Sizes of the checkpoint, and resident MB of its ingest after the imports and at the peak."""
    made = subprocess.run(
        [sys.executable, "-c", f"from bench import quantized_memory as q; q.make({name!r}, {str(folder)!r})"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    sizes = json.loads(made.stdout.splitlines()[-1])
    return sizes, *ingested(folder, sizes["class"])


def make(name: str, folder: str) -> None:
    """Write the checkpoint, and print its size and those of its largest layers in float32, in MB."""
    model, out = _model(name), Path(folder) / "fp8"
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"quantization_config": CONFIG}))
    tensors: dict[str, torch.Tensor] = {}
    for key, value in model.state_dict().items():
        if PROJECTION.search(key):
            tensors[key], tensors[f"{key}_scale_inv"], _ = e4m3_by_blocks(value.double(), *BLOCK, torch.float32)
        elif key != "lm_head.weight":
            tensors[key] = value.to(torch.bfloat16).contiguous()
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    blocks = [module for path, module in model.named_modules() if re.search(r"layers\.\d+$", path)]
    own = [_megabytes(module) for module in model.modules() if not list(module.children())]
    sizes = {"layer": max(map(_megabytes, blocks)), "largest": max(own + [_megabytes(block) for block in blocks])}
    file = (out / "model.safetensors").stat().st_size / 2**20
    print(json.dumps({"class": type(model).__name__, "file": file, **sizes}))


def _model(name: str) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from eigenhouse.ingest.capture import kernel  # noqa: F401  (registers the attention that a loaded model runs)
    from eigenhouse.ingest.models import loading
    from eigenhouse.ingest.sources.locate import resolve

    if name == "random":
        return Qwen3ForCausalLM(Qwen3Config(**LARGE, tie_word_embeddings=True))
    return loading.load_model(resolve(name), False, whole=True).model


def _megabytes(module: nn.Module) -> float:
    return sum(4 * parameter.numel() for parameter in module.parameters()) / 2**20


def ingested(folder: Path, model_class: str) -> tuple[float, float]:
    """Resident MB after the imports, and at the peak."""
    command = [sys.executable, "-c", INGEST, str(folder / "fp8"), str(folder / "warehouse.duckdb"), model_class]
    own_cache = os.environ | {"EIGENHOUSE_CACHE": str(folder / "cache")}
    done = subprocess.run(command, env=own_cache, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    imports, peak = json.loads(done.stdout.splitlines()[-1])
    return imports, peak


if __name__ == "__main__":
    main()
