"""Weights read one by one are the weights that transformers' loader puts into the module."""

import gguf
import numpy as np
import pytest
import schema3_fixture
import tiny_ggufs
import tiny_models
import torch
import transformers
from safetensors.torch import load_file, save_file

from bench.tiny_configs import small_config
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import loading
from eigenhouse.ingest.models.checkpoint import Checkpoint, require_finite


def attention_weights(loaded, path):
    with loaded.filled(path):
        return {name: value.clone() for name, value in loaded.model.get_submodule(path).state_dict().items()}


def assert_skeleton_equals_whole(source, path):
    whole, skeleton = (loading.load_model(source, False, whole=whole) for whole in (True, False))
    want, got = attention_weights(whole, path), attention_weights(skeleton, path)
    assert want.keys() == got.keys() and len(want) > 1
    for name in want:
        assert torch.equal(want[name], got[name]), name
    left = skeleton.model.get_submodule(path)
    assert all(not parameter.any() for parameter in left.parameters())  # nothing stays in memory


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("grouped heads", "model.layers.1.self_attn"),
        ("fused Conv1D", "transformer.h.1.attn"),
        ("biased", "model.layers.0.self_attn"),
    ],
)
def test_safetensors_by_slice(kind, path, tmp_path):
    assert_skeleton_equals_whole(tiny_models.local_source(tiny_models.save(kind, tmp_path)), path)


def test_shards_and_bin(tmp_path):
    model = tiny_models.build("grouped heads", causal=True)
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert_skeleton_equals_whole(tiny_models.local_source(tmp_path / "shards"), "model.layers.1.self_attn")
    model.config.save_pretrained(tmp_path / "bin")
    torch.save(model.state_dict(), tmp_path / "bin" / "pytorch_model.bin")
    assert_skeleton_equals_whole(tiny_models.local_source(tmp_path / "bin"), "model.layers.1.self_attn")


def test_names_without_the_models_prefix(tmp_path):
    """Checkpoints saved from the bare model lack the prefix of the class their config names."""
    tiny_models.save("grouped heads", tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("model."): value for name, value in stored.items()}
    save_file(bare, tmp_path / "model.safetensors", {"format": "pt"})
    assert_skeleton_equals_whole(tiny_models.local_source(tmp_path), "model.layers.1.self_attn")


def test_running_statistics_are_weights_too(tmp_path):
    """LeViT has a batch norm behind its projection of q, k and v; a skeleton without them has mean 0 and variance 1."""
    model = tiny_models.randomize(transformers.LevitModel(small_config("levit")))
    statistics = [name for name, _ in model.named_buffers() if "running" in name]
    model.save_pretrained(tmp_path)
    path = "encoder.stages.0.layers.0.module"
    assert any(name.startswith(path) for name in statistics)
    source = tiny_models.local_source(tmp_path)
    whole, skeleton = (loading.load_model(source, False, whole=whole) for whole in (True, False))
    want, got = attention_weights(whole, path), attention_weights(skeleton, path)
    assert want.keys() == got.keys() and all(torch.equal(want[name], got[name]) for name in want)
    assert all((buffer == 1).all() for name, buffer in skeleton.model.named_buffers() if "running_var" in name)


def test_what_the_loader_ignores_fills_nothing(tmp_path):
    """Old files hold the causal mask of GPT-Neo's attention, which is no part of a model's state any more."""
    path = "transformer.h.1.attn.attention"
    tiny_models.save("own kernel, window", tmp_path, **{f"{path}.bias": torch.zeros(3, 3)})
    skeleton = loading.load_model(tiny_models.local_source(tmp_path), False, whole=False)
    module = skeleton.model.get_submodule(path)
    mask = module.bias.clone()
    with skeleton.filled(path):
        assert torch.equal(module.bias, mask) and mask.any()


def test_a_tensor_under_several_names_is_stored_once(tmp_path):
    """Whichever of them the file has."""
    tiny_models.save("softcap", tmp_path)  # its output head is the embeddings
    stored = load_file(tmp_path / "model.safetensors")
    [embeddings] = [value for name, value in stored.items() if "embed_tokens" in name]
    assert "lm_head.weight" not in stored
    skeleton = loading.load_model(tiny_models.local_source(tmp_path), False, whole=False)
    assert torch.equal(skeleton.checkpoint.read("lm_head.weight"), embeddings)
    stored["lm_head.weight"] = stored.pop("model.embed_tokens.weight")
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    skeleton = loading.load_model(tiny_models.local_source(tmp_path), False, whole=False)
    assert torch.equal(skeleton.checkpoint.read("model.embed_tokens.weight"), embeddings)


@pytest.mark.parametrize("quantization", [None, gguf.GGMLQuantizationType.Q8_0], ids=["F32", "Q8_0"])
def test_gguf_rows_are_put_back(tmp_path, quantization):
    """And codes of a second type say what most values are in, and what the file calls itself."""
    wide = transformers.LlamaConfig(
        **tiny_models.GROUPED | {"hidden_size": 96, "head_dim": 16, "tie_word_embeddings": False}
    )
    model = tiny_models.randomize(transformers.LlamaForCausalLM(wide))
    tensors = tiny_ggufs.stored("llama", model)
    raw = {
        name: quantization for name, value in tensors.items() if quantization and value.ndim == 2 and "down" not in name
    }
    tensors |= {name: gguf.quantize(tensors[name], kind) for name, kind in raw.items()}
    tiny_ggufs.write(tmp_path / "tiny.gguf", "llama", tiny_ggufs.keys_of("llama", wide), tensors, raw=raw)
    source, path = tiny_models.local_source(tmp_path / "tiny.gguf"), "model.layers.1.self_attn"
    assert_skeleton_equals_whole(source, path)
    loaded = loading.load_model(source, False, whole=False)
    assert loaded.checkpoint.format == (("Q8_0", "Q8_0") if quantization else ("float32", None))
    testimony = loaded.checkpoint.testimony(path)
    assert (testimony and testimony.error < 1e-6) if quantization else testimony is None
    got = attention_weights(loaded, path)
    want = model.get_parameter("model.layers.1.self_attn.q_proj.weight").numpy()
    step = np.abs(want).max() / 127 if quantization else 0
    assert got["q_proj.weight"].numpy() == pytest.approx(want, abs=float(step) + 1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "layer by layer"])
def test_weights_that_are_not_finite_are_refused(tmp_path, value, whole):
    spoilt = torch.zeros(48, 48)
    spoilt[7, 3] = value
    name = "model.layers.1.self_attn.q_proj.weight"
    source = tiny_models.local_source(tiny_models.save("grouped heads", tmp_path, **{name: spoilt}))
    with pytest.raises(EigenhouseError, match=rf"1 NaN or infinite value\(s\) in {name}"):
        attention_weights(loading.load_model(source, False, whole=whole), "model.layers.1.self_attn")


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "layer by layer"])
def test_a_missing_tensor_is_named(tmp_path, whole):
    tiny_models.save("grouped heads", tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    del stored["model.layers.1.self_attn.k_proj.weight"]
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    source = tiny_models.local_source(tmp_path)
    with pytest.raises(EigenhouseError, match=r"model\.layers\.1\.self_attn\.k_proj\.weight"):
        attention_weights(loading.load_model(source, False, whole=whole), "model.layers.1.self_attn")


def test_weights_of_another_shape_are_refused(tmp_path):
    other = torch.zeros(40, 48)
    source = tiny_models.local_source(
        tiny_models.save("grouped heads", tmp_path, **{"model.layers.1.self_attn.q_proj.weight": other})
    )
    with pytest.raises(EigenhouseError, match=r"q_proj"):
        loading.load_model(source, False, whole=True)


def test_formats(tmp_path):
    model = tiny_models.build("grouped heads", causal=True).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = loading.load_model(tiny_models.local_source(tmp_path), False, whole=False)
    assert loaded.checkpoint.format == ("bfloat16", None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", [0, 16, 32])
def test_one_value_that_is_not_finite_is_seen(value, at):
    weight = torch.linspace(-1, 1, 33).reshape(11, 3)
    require_finite("w", weight)
    require_finite("w", torch.empty(0, 3))
    weight.view(-1)[at] = value
    with pytest.raises(EigenhouseError, match=r"1 NaN or infinite value\(s\) in w"):
        require_finite("w", weight)


@pytest.mark.parametrize("kind", ["grouped heads", "fused Conv1D", "encoder", "shared layers", "encoder-decoder"])
def test_parameters_are_counted_once_each(kind, tmp_path):
    """As torch counts those of the model itself: an embedding that is the output head too, a layer for all layers."""
    model = tiny_models.build(kind, causal=True)
    path = tiny_models.save(kind, tmp_path)
    loaded = loading.load_skeleton(tiny_models.local_source(path), False)
    assert loaded.checkpoint.n_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("stored", [schema3_fixture.fp8, schema3_fixture.rope_gguf])
def test_codes_count_as_the_weights_that_they_stand_for(stored, tmp_path):
    """And what else is stored, scales and factors, is no parameter. The embedding is 97 x 48, so is the output head."""
    layer = 2 * 48 * 48 + 2 * 16 * 48 + 3 * 40 * 48 + 2 * 48
    path = stored(tmp_path / "it")
    source = tiny_models.local_source(path / "model.safetensors" if path.is_dir() else path)
    assert loading.load_skeleton(source, False).checkpoint.n_parameters == 2 * layer + 48 + 2 * 97 * 48


def test_a_module_with_two_names_is_counted_once():
    """Whichever of them the stored weights go by; what isn't stored isn't counted."""
    model = torch.nn.Module()
    model.first = model.second = torch.nn.Linear(3, 5)
    model.third = torch.nn.Linear(2, 7)
    checkpoint = Checkpoint.__new__(Checkpoint)
    checkpoint.model, checkpoint._placed = model, dict.fromkeys(["second.weight", "second.bias", "first.weight"])
    assert checkpoint.n_parameters == 3 * 5 + 5
