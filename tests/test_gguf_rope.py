"""Rotations written by llama.cpp's keys and tensors are transformers' own rope types, or any factors; or refused."""

import numpy as np
import pytest
import tiny_ggufs
import torch
from tiny_ggufs import assert_same, load, rotary_tables

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import gguf_config, gguf_rope

# --- rotations: written by llama.cpp's keys and tensors, compared with transformers' own rope types


FACTORS = [1.0, 1.3, 2.7, 8.0]
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
SCALINGS = {
    "linear": ({"rope_type": "linear", "factor": 3.0}, {"rope.scaling.type": "linear", "rope.scaling.factor": 3.0}),
    "linear by its older name": ({"rope_type": "linear", "factor": 3.0}, {"rope.scale_linear": 3.0}),
    "a factor without a type": ({"rope_type": "linear", "factor": 3.0}, {"rope.scaling.factor": 3.0}),
    "none, whatever the factor": ({}, {"rope.scaling.type": "none", "rope.scaling.factor": 3.0}),
    "another base": ({"rope_theta": 5e5}, {"rope.freq_base": 5e5}),
    "no base is 10000": ({}, {"rope.freq_base": None}),
    "yarn": (
        YARN,
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16},
    ),
    "yarn with bounds": (
        YARN | {"beta_fast": 20.0, "beta_slow": 2.0},
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16}
        | {"rope.scaling.yarn_beta_fast": 20.0, "rope.scaling.yarn_beta_slow": 2.0},
    ),
    "yarn with a factor of its own": (
        YARN | {"attention_factor": 0.7 * (1 + 0.1 * np.log(4))},
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16}
        | {"rope.scaling.attn_factor": 0.7},
    ),
    "yarn with a multiplier": (
        YARN | {"mscale": 1.0, "mscale_all_dim": 0.8},
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16}
        | {"rope.scaling.yarn_log_multiplier": 0.8},
    ),
}


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_scalings_of_the_rotation(architecture, scaling, tmp_path):
    rope, keys = SCALINGS[scaling]
    model = tiny_ggufs.build(architecture, rope_parameters={"rope_type": "default", "rope_theta": 10000.0} | rope)
    assert_same(model, tiny_ggufs.save(tmp_path / "tiny.gguf", architecture, model, keys=keys))
    assert scaling_of(load(tmp_path / "tiny.gguf", whole=False)) == pytest.approx(scaling_of(model), rel=1e-6)


def scaling_of(model):
    return model.model.rotary_emb.attention_scaling


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}


def llama3_factors(n_rotated, base):
    """generate_extra_tensors of the converter: what llama.cpp divides each frequency by."""
    factors = []
    for frequency in base ** -(np.arange(0, n_rotated, 2) / n_rotated):
        wavelength = 2 * np.pi / frequency
        share = (32 / wavelength - 1.0) / (4.0 - 1.0)
        inside = 1 / ((1 - share) / 8.0 + share)
        factors.append(1.0 if wavelength < 32 / 4.0 else 8.0 if wavelength > 32 / 1.0 else inside)
    assert 1 < factors[1] < 8
    return np.array(factors, np.float32)


@pytest.mark.parametrize("name", ["llama", "llama, head_dim"])
def test_factors_of_the_frequencies(name, tmp_path):
    rope = {"rope_type": "llama3", "rope_theta": 100.0} | LLAMA3
    model = tiny_ggufs.build(name, rope_parameters=rope)
    factors = {"rope_freqs.weight": llama3_factors(10 if "head_dim" in name else 8, 100.0)}
    assert_same(model, tiny_ggufs.save(tmp_path / "tiny.gguf", name, model, tensors=factors))


def test_any_factors_and_a_stretch_of_cos_and_sin(tmp_path):
    """Factors that no rope type has, with interpolation: base^(-2i/n) / (factor_i * 3), as ggml's rope has it."""
    model = tiny_ggufs.build("llama")
    path = tiny_ggufs.save(
        tmp_path / "tiny.gguf",
        "llama",
        model,
        keys={"rope.scaling.type": "linear", "rope.scaling.factor": 3.0, "rope.scaling.attn_factor": 1.25},
        tensors={"rope_freqs.weight": np.array(FACTORS, np.float32)},
    )
    read = load(path)
    wanted = [10000 ** (-2 * i / 8) / (FACTORS[i] * 3) for i in range(4)]
    for name, table in rotary_tables(read).items():
        assert table.tolist() == pytest.approx(wanted, rel=1e-6), name
    cos, _ = read.model.rotary_emb(torch.zeros(1), torch.tensor([[7]]))
    assert cos[0, 0, :4].tolist() == pytest.approx([1.25 * np.cos(7 * one) for one in wanted], rel=1e-5)


def test_long_and_short_factors(tmp_path):
    short, long = [1.0, 1.1, 1.2, 1.3], [2.0, 3.0, 5.0, 7.0]
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": short, "long_factor": long}
    model = tiny_ggufs.build(
        "phi3",
        rope_parameters=rope | {"attention_factor": 1.19, "factor": 4.0, "partial_rotary_factor": 1.0},
        original_max_position_embeddings=16,
    )
    path = tiny_ggufs.save(
        tmp_path / "tiny.gguf",
        "phi3",
        model,
        keys={"rope.scaling.original_context_length": 16, "rope.scaling.attn_factor": 1.19},
        tensors={
            "rope_factors_short.weight": np.array(short, np.float32),
            "rope_factors_long.weight": np.array(long, np.float32),
        },
    )
    assert_same(model, path)  # 23 tokens: the long ones
    read = load(path)
    for n_tokens, factors in ((16, short), (17, long)):
        read.model.rotary_emb(torch.zeros(1), torch.arange(n_tokens)[None])
        wanted = [10000 ** (-2 * i / 8) / factors[i] for i in range(4)]
        assert read.model.rotary_emb.inv_freq.tolist() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("keys", "local", "factor"),
    [
        ({"rope.freq_base": 1e6}, 10000.0, 1.0),
        ({"rope.freq_base": 1e6, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0}, 10000.0, 8.0),
        ({"rope.freq_base": 1e6, "rope.freq_base_swa": 300.0}, 300.0, 1.0),
        ({"rope.freq_base": None, "rope.global.freq_base": 1e6, "rope.local.freq_base": 300.0}, 300.0, 1.0),
    ],
)
def test_two_rotations(keys, local, factor, tmp_path):
    """Gemma 3: layers with a window have a base of their own, and no scaling."""
    full = {"rope_type": "default", "rope_theta": 1e6} | ({"rope_type": "linear", "factor": 8.0} if factor > 1 else {})
    ropes = {"full_attention": full, "sliding_attention": {"rope_type": "default", "rope_theta": local}}
    model = tiny_ggufs.build("gemma3", rope_parameters=ropes)
    assert_same(model, tiny_ggufs.save(tmp_path / "tiny.gguf", "gemma3", model, keys=keys), 1e-6)


def test_every_pattern_of_windows(tmp_path):
    for number, (pattern, slides) in enumerate(
        [(None, "ssssssssf"[:7]), (3, "ssfssfs"), ([True, False] * 4, "sfsfsfs")]
    ):
        kinds = ["full_attention" if kind == "f" else "sliding_attention" for kind in slides]
        if pattern is None:
            kinds[5], kinds[6] = "full_attention", "sliding_attention"
        model = tiny_ggufs.build("gemma3", layer_types=kinds)
        keys = {"attention.sliding_window_pattern": pattern}
        assert_same(model, tiny_ggufs.save(tmp_path / f"{number}.gguf", "gemma3", model, keys=keys), 1e-6)
        assert load(tmp_path / f"{number}.gguf", whole=False).config.layer_types == kinds


@pytest.mark.parametrize("fault", ["a scaling ignored", "a base ignored", "a stretch ignored"])
def test_a_rotation_that_is_not_the_files_is_refused(fault, tmp_path, monkeypatch):
    """Planted: what transformers' loader does. The check knows the file alone, so it sees each."""
    model = tiny_ggufs.build("llama")
    keys = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.freq_base": 500.0}
    path = tiny_ggufs.save(
        tmp_path / "tiny.gguf",
        "llama",
        model,
        keys=keys | {"rope.scaling.attn_factor": 0.9},
        tensors={"rope_freqs.weight": np.array(FACTORS, np.float32)},
    )
    load(path)  # without a fault it is read
    own = gguf_rope.parameters
    changes = {"a scaling ignored": {"factor": 1.5}, "a base ignored": {"rope_theta": 10000.0}}
    changes["a stretch ignored"] = {"attention_factor": None}
    monkeypatch.setattr(gguf_config, "parameters", lambda *given: own(*given) | changes[fault])
    with pytest.raises(EigenhouseError, match=r"the file's rotary frequencies|wanted cos and sin times"):
        load(path)


@pytest.mark.parametrize("name", ["inv_freq", "original_inv_freq"])
def test_a_table_that_is_not_the_files_is_refused(name, tmp_path):
    """Off by a thousandth, it is neither the table of the file's factors nor one that they could still divide."""
    keys = {"rope.freq_base": 500.0}
    tensors = {"rope_freqs.weight": np.array(FACTORS, np.float32)}
    path = tiny_ggufs.save(tmp_path / "tiny.gguf", "llama", tiny_ggufs.build("llama"), keys=keys, tensors=tensors)
    model = load(path)
    gguf_rope.put_right(model, path)  # once more changes nothing
    [table] = [getattr(module, name) for module in model.modules() if hasattr(module, name)]
    table.mul_(1.001)
    with pytest.raises(EigenhouseError, match=f"the file's rotary frequencies; got {name}"):
        gguf_rope.put_right(model, path)


def test_yarn_without_whole_bounds(tmp_path):
    """GPT-OSS's ramp starts and ends between two frequencies."""
    rope = YARN | {"truncate": False, "factor": 32.0, "original_max_position_embeddings": 64, "beta_fast": 5.0}
    model = tiny_ggufs.build("gpt-oss", rope_parameters=rope)
    keys = {"rope.scaling.type": "yarn", "rope.scaling.factor": 32.0, "rope.scaling.original_context_length": 64}
    keys |= {"rope.scaling.yarn_beta_fast": 5.0}
    assert_same(model, tiny_ggufs.save(tmp_path / "tiny.gguf", "gpt-oss", model, keys=keys))
