"""Checkpoints that may have been misread are told from those that were not, by their headers or by what is known."""

import json
import os
import shutil
import struct
import time
from dataclasses import replace

import numpy as np
import pytest
import schema3_fixture
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from eigenhouse.ingest.sources import catalog
from eigenhouse.ingest.sources import locate as sources
from eigenhouse.ingest.warehouse import doubts

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCALES = ", which may have been read without their scales; ingest it again"
KEY_LENGTH = "llama.attention.key_length"
Q_PROJ = "model.layers.0.self_attn.q_proj"


@pytest.fixture(autouse=True)
def caches(monkeypatch, tmp_path):
    """Caches of our own, and no network: nothing may be fetched."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket", None)
    return tmp_path


@pytest.fixture
def folder(tmp_path):
    return schema3_fixture.plain(tmp_path / "tiny")


def of(path, dtype="float32", quantization=None):
    return doubts.doubt(str(path), dtype, quantization)


def add(folder, **tensors):
    stored = load_file(folder / "model.safetensors") | tensors
    save_file(stored, folder / "model.safetensors", {"format": "pt"})


def set_config(folder, **settings):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


# --- safetensors ---


def test_plain_weights_are_not_doubted(folder, tmp_path):
    assert of(folder) is None
    assert of(folder / "model.safetensors") is None
    model = tiny_models.build("grouped heads", causal=True).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert of(tmp_path / "shards") is None


def test_fp8_is_doubted(tmp_path):
    path = schema3_fixture.fp8(tmp_path / "fp8")
    want = f"its weights are codes (F8_E4M3: model.layers.0.self_attn.k_proj.weight){SCALES}"
    assert of(path) == of(path / "model.safetensors") == want


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.float8_e5m2])
def test_codes_are_told_by_their_dtype(folder, dtype):
    add(folder, **{f"{Q_PROJ}.weight_packed": torch.zeros(11, 3).to(dtype)})
    assert f"{Q_PROJ}.weight_packed)" in of(folder)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("embeddings.position_ids", torch.zeros(1, 512, dtype=torch.int64)),
        ("embeddings.token_type_ids", torch.zeros(1, 512, dtype=torch.int32)),
        ("attention.bias", torch.ones(1, 1, 7, 7, dtype=torch.uint8)),
        ("attention.mask", torch.ones(7, 7, dtype=torch.uint8)),
        ("attention.tril", torch.ones(7, 7, dtype=torch.bool)),
        ("router.tokens", torch.zeros(7, 3, dtype=torch.int64)),
        ("attn.relative_position_index", torch.zeros(7, 7, dtype=torch.int32)),
        ("norm.steps", torch.zeros(7, dtype=torch.int32)),
    ],
)
def test_masks_positions_and_counters_are_no_codes(folder, name, tensor):
    add(folder, **{name: tensor})
    assert of(folder) is None


def test_every_shard_that_the_index_names_is_looked_at(tmp_path):
    """200 files of 3 GB, nothing but their headers on the disk; codes in the last of them alone."""
    names = {f"model-{n:05}-of-00200.safetensors": f"layer.{n}.weight" for n in range(1, 201)}
    for file, name in names.items():
        dtype = "I8" if file.startswith("model-00200") else "BF16"
        header = json.dumps({name: {"dtype": dtype, "shape": [3, 10**9], "data_offsets": [0, 3 * 10**9]}}).encode()
        (tmp_path / file).write_bytes(struct.pack("<Q", len(header)) + header)
        os.truncate(tmp_path / file, 8 + len(header) + 3 * 10**9)
    index = {"weight_map": {name: file for file, name in names.items()}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text("{}")
    started = time.monotonic()
    assert "(I8: layer.200.weight)" in of(tmp_path)
    assert time.monotonic() - started < 5
    del index["weight_map"]["layer.200.weight"]
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert of(tmp_path) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"quantization_config": {"quant_method": "gptq"}},
        {"text_config": {"quantization_config": {"quant_method": "gptq"}}},
        {"compression_config": {"quant_method": "gptq"}},
    ],
)
def test_a_config_that_tells_of_quantization(folder, settings):
    set_config(folder, **settings)
    assert ("config: gptq)" + SCALES) in of(folder)


def test_a_config_without_any(folder):
    set_config(folder, quantization_config=None, text_config=None)
    assert of(folder) is None


# --- adapters ---


def test_an_adapter_beside_the_weights(tmp_path):
    path = schema3_fixture.adapter(tmp_path / "adapter")
    assert of(path).startswith("an adapter lies beside its weights")
    assert of(path / "model.safetensors").endswith("; ingest it again")


def test_no_adapter_was_beside_weights_of_another_name(tmp_path):
    """They were read in a folder of links without it."""
    path = schema3_fixture.adapter(tmp_path / "adapter")
    shutil.copy(path / "model.safetensors", path / "other.safetensors")
    assert of(path / "other.safetensors") is None
    (path / "model.safetensors").unlink()
    assert of(path) is None


def test_several_doubts_are_one_sentence(tmp_path):
    path = schema3_fixture.adapter(tmp_path / "adapter")
    set_config(path, quantization_config={"quant_method": "fp8"})
    said = of(path)
    assert "in what was read; its weights are codes" in said and said.count("ingest it again") == 1


# --- .bin ---


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("name", "is_code"),
    [
        ("q_proj.SCB", True), ("q_proj.qweight", True), ("q_proj.weight_scale", True),
        ("q_proj.weight_scale_inv", True), ("q_proj.weight", False),
        ("q_norm.logit_scale", False), ("SCBlock.weight", False),
    ],
)  # fmt: skip
def test_bin_files_are_told_by_names(tmp_path, name, is_code, zipped):
    (tmp_path / "config.json").write_text("{}")
    tensors = {"k_proj.weight": torch.ones(3, 11), name: torch.ones(3)}
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    assert (of(tmp_path) is not None) == is_code
    assert not is_code or f"({name})" in of(tmp_path)


# --- GGUF ---


@pytest.mark.parametrize(
    ("keys", "tensors", "arch", "dropped"),
    [
        ({}, {}, "llama", []),
        ({}, {"rope_freqs.weight": 4}, "llama", ["rope_freqs.weight"]),
        ({}, {"rope_factors_long.weight": 4}, "phi3", ["rope_factors_long.weight"]),
        ({"llama.rope.scaling.factor": 4.0}, {}, "llama", ["llama.rope.scaling.factor"]),
        ({"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 1.0}, {}, "llama", []),
        ({}, {"blk.0.attn_q.bias": 48, "blk.1.attn_k.bias": 16}, "llama", ["blk.0.attn_q.bias", "blk.1.attn_k.bias"]),
        ({}, {"blk.0.attn_q.bias": 48, "blk.0.attn_v.bias": 16}, "qwen2", []),
        ({}, {"blk.0.attn_v.bias": 16}, "llama", []),
        ({"qwen3.attention.key_length": 8}, {}, "qwen3", []),  # what 48 features over 6 heads give
        ({"qwen3.attention.key_length": 10}, {}, "qwen3", ["qwen3.attention.key_length"]),
        ({"gemma3.attention.key_length": 10}, {}, "gemma3", []),  # which transformers reads
        ({KEY_LENGTH: 10, "llama.rope.dimension_count": 10}, {}, "llama", []),  # and this
        ({KEY_LENGTH: 10, "llama.rope.dimension_count": 4}, {}, "llama", [KEY_LENGTH]),
    ],
)  # fmt: skip
def test_facts_that_a_gguf_tells_and_the_loader_drops(tmp_path, keys, tensors, arch, dropped):
    path = tmp_path / "tiny.gguf"
    schema3_fixture.write_gguf(path, keys, {name: np.ones(n, np.float32) for name, n in tensors.items()}, arch)
    assert doubts.facts_dropped(path) == dropped
    said = of(path)
    assert (said is not None) == bool(dropped)
    assert not dropped or f"({', '.join(dropped)}); ingest it again" in said


def test_many_facts_are_counted(tmp_path):
    tensors = {f"blk.{layer}.attn_{side}.bias": np.ones(3, np.float32) for layer in range(5) for side in "qk"}
    schema3_fixture.write_gguf(tmp_path / "tiny.gguf", {}, tensors)
    assert "blk.1.attn_q.bias and 7 more)" in of(tmp_path / "tiny.gguf")


# --- gone, or damaged ---


@pytest.mark.parametrize(
    ("dtype", "quantization", "said"),
    [
        ("F8_E4M3", None, "codes (F8_E4M3)"), ("I8", None, "codes (I8)"), ("uint8", None, "codes (uint8)"),
        ("float32", "gptq", "codes (gptq)"), ("float32", None, None), ("bfloat16", None, None), (None, None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "source", ["/gone/tiny", "hub:org/tiny@" + COMMIT, "hub:no hub id@x", "catalog:minilm-l6", "", None]
)
def test_what_is_gone_is_judged_by_its_row(source, dtype, quantization, said):
    came = doubts.doubt(source, dtype, quantization)
    assert came == (f"its weights are {said}{SCALES}" if said else None)


@pytest.mark.parametrize("source", ["/gone/tiny.gguf", "catalog:smollm2-135m"])
def test_a_gguf_that_is_gone_is_in_doubt(source):
    assert doubts.doubt(source, "float32", "Q4_1").startswith("its .gguf file is gone")
    assert doubts.doubt(source, "float16", None).endswith("knows whether all of it was read; ingest it again")


def test_damaged_files_are_as_good_as_gone(folder, tmp_path):
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + b"\3" * 40)
    assert of(tmp_path / "cut.gguf").startswith("its .gguf file is gone or damaged")
    (folder / "model.safetensors").write_bytes(b"\xff" * 99)
    assert of(folder) is None and "codes (I8)" in of(folder, dtype="I8")
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.ones(3)}, folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").write_bytes((folder / "pytorch_model.bin").read_bytes()[:99])
    assert of(folder) is None and "codes (I8)" in of(folder, dtype="I8")
    (folder / "config.json").unlink()
    assert of(folder) is None


def test_a_sign_counts_though_a_shard_is_gone(tmp_path):
    path = schema3_fixture.adapter(tmp_path / "adapter")
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    assert "an adapter" in of(path) and "codes" not in of(path)


# --- caches ---


def test_the_hubs_cache_is_looked_at(tmp_path):
    path = tmp_path / "hub" / "models--org--tiny" / "snapshots" / COMMIT
    schema3_fixture.fp8(path)
    assert "F8_E4M3: " in of(f"hub:org/tiny@{COMMIT}")
    assert of(f"hub:org/tiny@{COMMIT[::-1]}") is None
    assert catalog.kept_from_hub("no hub id", COMMIT) is None


def test_the_catalogs_cache_is_looked_at(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "catalog" / "smollm2-135m"
    folder.mkdir(parents=True)
    entry = catalog.entries()["smollm2-135m"]
    schema3_fixture.write_gguf(folder / entry.files[0].path, {}, {"rope_freqs.weight": np.ones(4, np.float32)})
    assert "is gone" in of("catalog:smollm2-135m")  # its licence is missing: not whole
    whole = [replace(entry.files[0], size=(folder / entry.files[0].path).stat().st_size)]
    monkeypatch.setattr(catalog, "entries", lambda: {entry.name: replace(entry, files=whole)})
    assert "(rope_freqs.weight)" in of("catalog:smollm2-135m")
    assert catalog.kept("no such model") is None
    assert sources.cache_dir() == tmp_path / "cache"
