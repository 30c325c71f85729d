"""Peak memory of a static ingest by number of layers: random Llamas of one width, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

SIZES = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 64,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layers", type=int, nargs="*", default=[4, 16, 64])
    header = False
    for n_layers in parser.parse_args().layers:
        with tempfile.TemporaryDirectory() as folder:
            weights_mb, stages = ingested(Path(folder), n_layers)
        if not header:
            print(" layers  weights MB  peak MB after " + "  ".join(stages), flush=True)
            header = True
        peaks = "  ".join(f"{cost['peak_rss_mb']:{len(stage)}.0f}" for stage, cost in stages.items())
        print(f"{n_layers:7d}  {weights_mb:10.0f}                {peaks}", flush=True)


def ingested(folder: Path, n_layers: int) -> tuple[float, dict[str, dict[str, float]]]:
    """Size of the checkpoint, and what each stage of its ingest took; the model is made in another process."""
    model, warehouse = folder / "model", folder / "warehouse.duckdb"
    make = (
        "import sys, json, transformers; "
        "config = transformers.LlamaConfig(**json.loads(sys.argv[2])); "
        "transformers.AutoModel.from_config(config).save_pretrained(sys.argv[1])"
    )
    config_json = json.dumps(SIZES | {"num_hidden_layers": n_layers})
    quiet = {"stderr": subprocess.DEVNULL, "check": True}
    subprocess.run([sys.executable, "-c", make, str(model), config_json], **quiet)  # type: ignore[call-overload]
    command = [sys.executable, "-m", "eigenhouse", "ingest", "--static-only"]
    ingest = [*command, "--model", str(model), "--warehouse", str(warehouse)]
    own_cache = os.environ | {"EIGENHOUSE_CACHE": str(folder / "cache")}
    subprocess.run(ingest, env=own_cache, **quiet)  # type: ignore[call-overload]
    with duckdb.connect(str(warehouse), read_only=True) as con:
        [[stages]] = con.execute("select stages from ingest_runs").fetchall()
    return sum(file.stat().st_size for file in model.glob("*.safetensors")) / 1e6, json.loads(stages)


if __name__ == "__main__":
    main()
