"""Tiny checkpoints of four kinds, and the warehouse of schema 3 that was made of them.

tests/fixtures/schema3.duckdb.gz is what the program of commit d062e73 wrote, the last of schema 3. It was made by
running this file in a checkout of that commit, and is never made again:

    git worktree add /tmp/schema3 d062e73
    cp tests/schema3_fixture.py /tmp/schema3/tests/
    cd /tmp/schema3 && PYTHONPATH=.:tests python tests/schema3_fixture.py schema3.duckdb.gz

How three of the four are read has changed since: `fp8` without its scales, `adapter` as if there were none, `rope-gguf`
without its factors. The paths in `models.source` are long gone; a test that wants files there builds them anew.
"""

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import tiny_models
import torch
from safetensors.torch import load_file, save_file

PACKED = Path(__file__).parent / "fixtures" / "schema3.duckdb.gz"
GGUF_NAME = "tiny.gguf"


def plain(folder: Path) -> Path:
    """A llama in float32."""
    return tiny_models.save("grouped heads", folder)


def fp8(folder: Path) -> Path:
    """The same, its attention's projections as codes of eight bits, each with a scale in a tensor of its own."""
    tiny_models.save("grouped heads", folder)
    stored = load_file(folder / "model.safetensors")
    for name in [name for name in stored if name.endswith(("q_proj.weight", "k_proj.weight"))]:
        scale = stored[name].abs().max() / 448
        stored[name] = (stored[name] / scale).to(torch.float8_e4m3fn)
        stored[name.replace(".weight", ".weight_scale_inv")] = scale.reshape(1, 1)
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    return folder


def adapter(folder: Path) -> Path:
    """The same, with the configuration of an adapter beside the full weights."""
    tiny_models.save("grouped heads", folder)
    told = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 2, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def rope_gguf(folder: Path) -> Path:
    """The same as a .gguf, with factors on the frequencies of its rotation."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / GGUF_NAME
    write_gguf(path, {}, {"rope_freqs.weight": np.array([1, 1, 4, 8], dtype=np.float32)})
    return path


def write_gguf(path: Path, keys: dict[str, object], tensors: dict[str, np.ndarray], arch: str = "llama") -> None:
    """The tiny llama in float32, named as `arch`, with further keys and tensors."""
    model = tiny_models.build("grouped heads", causal=True)
    config, state = model.config, {name: value.numpy() for name, value in model.state_dict().items()}
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"w{i}" for i in range(config.vocab_size)])
    writer.add_token_merges([])
    adders = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}
    for key, value in keys.items():
        adders[type(value)](key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, value in state.items():
        writer.add_tensor(names.get_name(name, (".weight",)), value)
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


KINDS = {"plain": plain, "fp8": fp8, "adapter": adapter, "rope-gguf": rope_gguf}


def unpack(path: Path) -> Path:
    """The warehouse as the program of schema 3 left it."""
    with gzip.open(PACKED) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return path


def make(packed: Path) -> None:
    """Ingest the four with the program of the folder that this runs in."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        prompts = tiny_models.prompts(root, 5, 8)
        for name, build in KINDS.items():
            told = ["--name", name, "--warehouse", str(root / "warehouse.duckdb"), "--prompts", str(prompts)]
            # no prompts where they would add nothing: the .gguf's words are no tokenizer, the codes no weights
            told += ["--static-only"] if name in ("fp8", "rope-gguf") else []
            command = [sys.executable, "-m", "eigenhouse", "ingest", "--model", str(build(root / name))]
            subprocess.run([*command, *told], check=True)
        with (root / "warehouse.duckdb").open("rb") as file, gzip.GzipFile(packed, "wb", mtime=0) as into:
            shutil.copyfileobj(file, into)


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute())
