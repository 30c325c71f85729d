"""The second dequantizer agrees with the first where that is right, and is not deceived where it isn't."""

import json

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from test_codes import in_blocks, stored

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import bit_by_bit, codes, dequantize, loading, witness
from eigenhouse.ingest.models.methods import Method

GENERATOR = torch.Generator().manual_seed(5)
ROWS, COLUMNS, GROUP = 24, 64, 32


def integers(*shape, dtype=torch.int32, low=-(2**31), high=2**31 - 1):
    return torch.randint(low, high, shape, generator=GENERATOR).to(dtype)


def scales(*shape):
    return torch.rand(shape, generator=GENERATOR) + 0.5


def fp8(*shape):
    return torch.randn(shape, generator=GENERATOR).to(torch.float8_e4m3fn)


def state_of_four_bits(kind, **more):
    state = {"shape": [ROWS, COLUMNS], "blocksize": 64, "quant_type": kind, "dtype": "bfloat16"} | more
    return torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)


def four_bits(kind, table, **more):
    return {
        "a.weight": integers(ROWS * COLUMNS // 2, 1, dtype=torch.uint8, low=0, high=256),
        "a.weight.absmax": scales(ROWS * COLUMNS // 64),
        "a.weight.quant_map": torch.from_numpy(table()),
        f"a.weight.quant_state.bitsandbytes__{kind}": state_of_four_bits(kind, **more),
    }


NESTED = {"nested_blocksize": 256, "nested_offset": 0.25, "nested_dtype": "float32"}
# every packing in small: tensors, and what is said of them
FORMS = {
    "fp8 blocks": (
        {"a__weight": fp8(ROWS, 48), "a__weight_scale_inv": scales(2, 2)},
        Method("fp8", {"weight_block_size": [16, 32]}),
    ),
    "fp8 rows": ({"a__weight": fp8(ROWS, 48), "a__weight_scale": scales(ROWS, 1)}, Method()),
    "int8 rows, zeros": (
        {
            "a__weight": integers(ROWS, 48, dtype=torch.int8, low=-128, high=127),
            "a__weight_scale": scales(ROWS, 1),
            "a__weight_zero_point": integers(ROWS, 1, dtype=torch.int8, low=-9, high=9),
        },
        Method("compressed-tensors"),
    ),
    "int8 of bitsandbytes": (
        {"a__weight": integers(ROWS, 48, dtype=torch.int8, low=-128, high=127), "a__SCB": scales(ROWS)},
        Method("bitsandbytes"),
    ),
    "gptq": (
        {
            "a__qweight": integers(COLUMNS // 8, ROWS),
            "a__qzeros": integers(2, ROWS // 8),
            "a__scales": scales(2, ROWS),
            "a__g_idx": torch.arange(COLUMNS).flip(0).to(torch.int32) // GROUP,
        },
        Method("gptq", {"bits": 4}),
    ),
    "awq": (
        {
            "a__qweight": integers(COLUMNS, ROWS // 8),
            "a__qzeros": integers(2, ROWS // 8),
            "a__scales": scales(2, ROWS),
        },
        Method("awq", {"bits": 4}),
    ),
    "packed": (
        {
            "a__weight_packed": integers(ROWS, COLUMNS // 8),
            "a__weight_scale": scales(ROWS, 2),
            "a__weight_shape": torch.tensor([ROWS, COLUMNS]),
            "a__weight_zero_point": integers(ROWS // 8, 2),
        },
        Method("compressed-tensors"),
    ),
    "nvfp4": (
        {
            "a__weight": integers(ROWS, COLUMNS // 2, dtype=torch.uint8, low=0, high=256),
            "a__weight_scale": fp8(ROWS, COLUMNS // 16).abs(),
            "a__weight_scale_2": torch.tensor(0.3),
        },
        Method("modelopt"),
    ),
    "mxfp4 experts": (
        {
            "a__up_blocks": integers(3, ROWS, 2, 16, dtype=torch.uint8, low=0, high=256),
            "a__up_scales": integers(3, ROWS, 2, dtype=torch.uint8, low=120, high=130),
        },
        Method("mxfp4"),
    ),
    "nf4": (four_bits("nf4", bit_by_bit.nf4_table), Method("bitsandbytes")),
    "fp4": (four_bits("fp4", bit_by_bit.fp4_table), Method("bitsandbytes")),
    "nf4 twice": (
        four_bits("nf4", bit_by_bit.nf4_table, **NESTED)
        | {
            "a.weight.absmax": integers(ROWS * COLUMNS // 64, dtype=torch.uint8, low=0, high=256),
            "a.weight.nested_absmax": scales(1),
            "a.weight.nested_quant_map": torch.linspace(-0.1, 1, 256),
        },
        Method("bitsandbytes"),
    ),
}


def heard(name):
    tensors, method = FORMS[name]
    weights = codes.weights_of(stored(**tensors), method)
    [weight] = [weight for weight in weights.values() if weight.kind]
    return witness.testify([weight], method)


@pytest.mark.parametrize("name", FORMS)
def test_both_agree(name):
    testimony = heard(name)
    assert testimony.by and 0 <= testimony.error < 1e-6


def transposed(scale):
    return scale.T if scale.dim() == 2 and scale.shape[0] == scale.shape[1] else scale


FAULTS = {
    "a block scale transposed": ("fp8 blocks", "scaled", lambda right: lambda codes, scale, *rest, **more: right(
        codes, transposed(scale), *rest, **more
    )),
    "a zero left out": ("int8 rows, zeros", "scaled", lambda right: lambda codes, scale, zero, **more: right(
        codes, scale, None, **more
    )),
    "rows of 127 parts": ("int8 of bitsandbytes", "int8_rows", lambda right: lambda codes, scale: 127 * right(
        codes, scale
    )),
    "zeros that lack one": ("gptq", "gptq", lambda right: lambda offset, **more: right(offset=1 - offset, **more)),
    "inputs in order": ("gptq", "gptq", lambda right: lambda g_idx, **more: right(
        **more | {"group": GROUP}
    )),
    "outputs in order": ("awq", "awq", lambda right: lambda order, **more: right(order=tuple(range(8)), **more)),
    "the other half first": ("nvfp4", "nibbles", lambda right: lambda packed: right(
        (packed << 4) | (packed >> 4)
    )),
    "a scale of all that divides": ("nvfp4", "fp4_in_groups", lambda right: lambda multiplier, **more: right(
        divisor=multiplier, **more
    )),
    "exponents about 128": ("mxfp4 experts", "exponents", lambda right: lambda scale: right(scale) / 2),
    "zeros packed along the columns": ("packed", "packed_integers", lambda right: lambda zero, **more: right(
        zero=zero.flip(0), **more
    )),
    "the low half first": ("nf4", "four_bit_blocks", lambda right: lambda codes, **more: right(
        codes=(codes << 4) | (codes >> 4), **more
    )),
    "a mean left out": ("nf4 twice", "four_bit_blocks", lambda right: lambda offset, **more: right(
        offset=0.0, **more
    )),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_heard_of(monkeypatch, fault):
    name, function, planted = FAULTS[fault]
    monkeypatch.setattr(dequantize, function, planted(getattr(dequantize, function)))
    with pytest.raises(EigenhouseError, match=r"two dequantizers agree on .* a\.\w+ .* is off by"):
        heard(name)


def test_a_table_that_is_not_the_methods_own():
    tensors, method = FORMS["nf4"]
    changed = tensors | {"a.weight.quant_map": tensors["a.weight.quant_map"].flip(0)}
    with pytest.raises(EigenhouseError, match="is off by"):
        witness.testify(codes.weights_of(stored(**changed), method).values(), method)


def test_nothing_is_said_of_plain_weights():
    assert witness.testify(codes.weights_of(stored(a__weight=torch.ones(2, 3)), Method()).values(), Method()) is None


@pytest.fixture
def quantized(tmp_path):
    """A checkpoint whose layer 1 is in FP8; layer 0 is not."""
    tiny_models.save("grouped heads", tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    for side in "qk":
        name = f"model.layers.1.self_attn.{side}_proj.weight"
        state[name], state[f"{name}_scale_inv"], _ = in_blocks(state[name], 16)
    save_file(state, path, {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    method = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": method}))
    return tmp_path


def test_bytes_are_read_past_the_reader(quantized, monkeypatch):
    """A reader that mixes up the scales of q and k is not shared by the witness."""
    skeleton = loading.load_model(tiny_models.local_source(quantized), False, whole=False)
    path = "model.layers.1.self_attn"
    assert skeleton.checkpoint.testimony("model.layers.0.self_attn") is None
    assert skeleton.checkpoint.testimony("model.layers.0.self_attn", path).error < 1e-6
    scale = load_file(quantized / "model.safetensors")[f"{path}.q_proj.weight_scale_inv"]
    [weight] = [one for one in skeleton.checkpoint.weights(path) if one.name.endswith("q_proj.weight")]
    monkeypatch.setitem(vars(weight.parts["scale"]), "read", lambda: 1.1 * scale)
    with pytest.raises(EigenhouseError, match="q_proj.weight"):
        skeleton.checkpoint.testimony(path)
