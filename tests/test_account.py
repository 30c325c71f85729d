"""What is stored and fills no parameter: beside the point, left aside, or refused; whole as layer by layer."""

import json
from contextlib import nullcontext

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import loading

LAYER = "model.layers.1"
BOTH = pytest.mark.parametrize("whole", [True, False], ids=["whole", "layer by layer"])


def save(folder, kind="grouped heads", **added):
    """A tiny checkpoint with more tensors: a name's dots are written as two underscores."""
    return tiny_models.save(kind, folder, **{name.replace("__", "."): value for name, value in added.items()})


def configure(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def load(folder, whole):
    return loading.load_model(tiny_models.local_source(folder), False, whole=whole)


@BOTH
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{LAYER}.self_attn.rotary_emb.inv_freq", torch.ones(4)),
        ("model.rotary_emb.cos_cached", torch.ones(64, 8)),
        ("model.embeddings.position_ids", torch.arange(64)),
        (f"{LAYER}.self_attn.bias", torch.ones(1, 1, 64, 64, dtype=torch.bool)),
        (f"{LAYER}.self_attn.masked_bias", torch.tensor(-1e4)),
        (f"{LAYER}.self_attn.q_proj.input_scale", torch.ones(1)),
        (f"{LAYER}.self_attn.k_scale", torch.ones(1)),
    ],
)
def test_beside_the_point(tmp_path, whole, name, value):
    assert load(save(tmp_path, **{name: value}), whole).checkpoint.left_aside == {}


@BOTH
@pytest.mark.parametrize(
    "name",
    [
        "value_head.weight",
        "v_head.summary.weight",
        "lm_head2.weight",
        "cls.predictions.bias",
        "score.weight",
        "vision_tower.a.weight",
    ],
)
def test_what_cannot_change_attention_is_left_aside(tmp_path, whole, name):
    aside = load(save(tmp_path, **{name: torch.ones(2, 3), f"{name}.twin": torch.ones(2)}), whole).checkpoint.left_aside
    assert list(aside) == [name.split(".")[0]]
    assert f"stored, but no part of LlamaForCausalLM: {name}, {name}.twin" == aside[name.split(".")[0]]


@BOTH
def test_a_tower_within_the_body(tmp_path, whole):
    aside = load(
        save(tmp_path, **{"model.vision_tower.layers.0.q_proj.weight": torch.ones(2, 3)}), whole
    ).checkpoint.left_aside
    assert list(aside) == ["model.vision_tower"]


def test_layers_that_predict_further_tokens(tmp_path):
    """One behind the two; the config tells how many, and a second one is of another model."""
    name = "model.layers.2.self_attn.q_proj.weight"
    configure(save(tmp_path, **{name: torch.ones(48, 48)}), num_nextn_predict_layers=1)
    assert list(load(tmp_path, False).checkpoint.left_aside) == ["model.layers.2"]
    path = tmp_path / "model.safetensors"
    save_file(load_file(path) | {name.replace("2", "3"): torch.ones(48, 48)}, path, {"format": "pt"})
    with pytest.raises(EigenhouseError, match=r"the layers that the config names, 2 in model.layers"):
        load(tmp_path, False)


@BOTH
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"{LAYER}.self_attn.q_proj.bias", "one fits none .* may bear on its attention"),
        (f"{LAYER}.self_attn.bias", "one fits none"),  # of one axis: no mask
        (f"{LAYER}.mlp.gate_proj.bias", "one fits none"),
        (f"{LAYER}.extra_norm.weight", "one fits none"),
        ("model.embed_norm.weight", "one fits none"),
        ("model.semantic_embed.weight", "one fits none"),
        ("schema.headroom.weight", "one fits none"),
        ("model.layers.2.self_attn.q_proj.weight", "the layers that the config names, 2 in model.layers"),
        (f"{LAYER}.self_attn.q_proj.lora_A.default.weight", "an adapter that is not merged"),
        (f"{LAYER}.self_attn.q_proj.base_layer.weight", "an adapter that is not merged"),
    ],
)
def test_what_may_bear_on_attention_is_refused(tmp_path, whole, name, said):
    save(tmp_path, **{name: torch.ones(48)})
    with pytest.raises(EigenhouseError, match=said):
        load(tmp_path, whole)


@BOTH
@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("head_dim", 10, "have another shape"),
        ("num_key_value_heads", 3, "have another shape"),
        ("intermediate_size", 41, r"have another shape, .*mlp.* is \[4[08], 4[08]\], not \[4[18], 4[18]\]"),
        ("vocab_size", 98, r"have another shape, .*is \[97, 48\], not \[98, 48\]"),
        ("num_hidden_layers", 3, "are missing, model.layers.2"),
        ("num_hidden_layers", 1, "the layers that the config names, 1 in model.layers"),
    ],
)
def test_a_config_of_another_model(tmp_path, whole, setting, value, said):
    configure(save(tmp_path), **{setting: value})
    with pytest.raises(EigenhouseError, match=said):
        load(tmp_path, whole)


@BOTH
def test_an_empty_tensor(tmp_path, whole):
    save(tmp_path, **{f"{LAYER}.self_attn.q_proj.weight": torch.ones(0)})
    with pytest.raises(EigenhouseError, match=r"is \[0\], not \[48, 48\] first; an empty one is what a ZeRO-3 run"):
        load(tmp_path, whole)


@BOTH
@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: name.replace("layers.1.", "layers.1._orig_mod."),
        lambda name: name.replace("layers.0.", "layers.0._checkpoint_wrapped_module."),
    ],
)
def test_names_of_wrappers(tmp_path, whole, wrap):
    save(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({wrap(name): value for name, value in state.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    name = f"{LAYER}.self_attn.q_proj.weight"
    assert torch.equal(torch.from_numpy(load(tmp_path, whole).weight(name)), state[name])


def test_a_name_that_is_stored_twice(tmp_path):
    name = f"{LAYER}.self_attn.q_proj.weight"
    save(tmp_path, **{f"_orig_mod.{name}": torch.ones(48, 48)})
    with pytest.raises(EigenhouseError, match=f"got {name} twice"):
        load(tmp_path, False)


def as_bin(folder, change):
    """The checkpoint as a .bin, its dict changed on the way."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(change(state), folder / "pytorch_model.bin")
    return state


@BOTH
def test_numbers_among_the_tensors(tmp_path, whole):
    state = as_bin(save(tmp_path), lambda state: state | {"epoch": 3, "note": "best", "args": {"lr": 0.1}})
    loaded = load(tmp_path, whole)
    name = f"{LAYER}.self_attn.q_proj.weight"
    assert torch.equal(torch.from_numpy(loaded.weight(name)), state[name])
    assert loaded.checkpoint.left_aside["epoch"] == "it stands among the weights and is no tensor: int"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: {"state_dict": state}, "its 'state_dict' may hold them"),
        (list, "got a list"),
        (lambda state: state | {"hook": print}, "torch refuses to load"),
    ],
    ids=["nested", "no dict", "code"],
)
@BOTH
def test_bin_files_that_hold_something_else(tmp_path, whole, change, said):
    as_bin(save(tmp_path), change)
    with pytest.raises(EigenhouseError, match=said):
        load(tmp_path, whole)


def test_an_adapter_beside_the_weights(tmp_path):
    """The folder is refused; the file by its own name is the weights without it, in a view that hides it."""
    save(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(EigenhouseError, match=r"got an adapter in it too"):
        tiny_models.local_source(tmp_path)
    alone = tiny_models.local_source(tmp_path / "model.safetensors")
    assert {path.name for path in alone.folder.iterdir()} >= {"config.json", "model.safetensors"}
    assert not (alone.folder / "adapter_config.json").exists()


@pytest.mark.parametrize(("value", "is_refused"), [(0.0, False), (1e-9, True)])
def test_a_bias_of_zeros_adds_nothing(tmp_path, value, is_refused):
    """AutoGPTQ writes them for every projection, whether the model has one or not."""
    save(tmp_path, **{f"{LAYER}.self_attn.q_proj.bias": torch.full((48,), value)})
    with pytest.raises(EigenhouseError, match="one fits none") if is_refused else nullcontext():
        assert load(tmp_path, False).checkpoint.left_aside == {}


def test_a_reason_is_not_cut_off_after_its_colon(tmp_path):
    configure(save(tmp_path), hidden_size=49, head_dim=8)
    with pytest.raises(EigenhouseError, match=r"hidden size \(49\) is not a multiple"):
        load(tmp_path, False)
