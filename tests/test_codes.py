"""Codes find the scales that belong to them; what can't be read for sure is refused, and never taken for values."""

import json
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import codes, dequantize, loading
from eigenhouse.ingest.models.methods import Method
from eigenhouse.ingest.sources.stored import Stored

K_PROJ = "model.layers.1.self_attn.k_proj"
FP8 = {"quant_method": "fp8", "weight_block_size": [16, 16]}


def stored(**tensors: torch.Tensor) -> dict[str, Stored]:
    """By name; one without dots has two underscores in their place."""
    named = {name if "." in name else name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return {
        name: Stored(name, tensor.dtype, tuple(tensor.shape), lambda tensor=tensor: tensor, Path("model.bin"), name)
        for name, tensor in named.items()
    }


def e4m3(*shape: int) -> torch.Tensor:
    return torch.ones(shape).to(torch.float8_e4m3fn)


def change(folder: Path, settings: dict | None = None, **tensors: torch.Tensor | None) -> Path:
    """Replace (or with None remove) tensors of a saved checkpoint by name in k_proj of layer 1; set its method."""
    path = folder / "model.safetensors"
    state = load_file(path) | {f"{K_PROJ}.{name}": tensor for name, tensor in tensors.items()}
    save_file({name: value for name, value in state.items() if value is not None}, path, {"format": "pt"})
    if settings is not None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    return folder


def in_blocks(weight: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """FP8 codes, scales, and the values that they stand for, block after block."""
    rows, columns = (-(-length // size) for length in weight.shape)
    quantized, values, scales = torch.empty_like(weight), torch.empty_like(weight), torch.empty(rows, columns)
    for row in range(rows):
        for column in range(columns):
            at = (slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size))
            scales[row, column] = weight[at].abs().max() / 448
            quantized[at] = (weight[at] / scales[row, column]).to(torch.float8_e4m3fn).float()
            values[at] = quantized[at] * scales[row, column]
    return quantized.to(torch.float8_e4m3fn), scales, values


@pytest.fixture
def quantized(tmp_path):
    """A checkpoint with one projection in FP8 blocks of 16, three rows of blocks by one, and what it stands for."""
    tiny_models.save("grouped heads", tmp_path)
    weight = load_file(tmp_path / "model.safetensors")[f"{K_PROJ}.weight"]
    held, scales, values = in_blocks(weight, 16)
    assert scales.shape == (1, 3) and not torch.equal(values, weight)
    change(tmp_path, FP8, weight=held, weight_scale_inv=scales)
    return tmp_path, values


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "layer by layer"])
def test_codes_are_read_as_values(quantized, whole):
    folder, values = quantized
    loaded = loading.load_model(tiny_models.local_source(folder), False, whole=whole)
    assert torch.equal(torch.from_numpy(loaded.weight(f"{K_PROJ}.weight")), values)
    assert loaded.checkpoint.format == ("float32", "fp8 8-bit")  # one of many projections


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weight_scale_inv": None}, "float8_e4m3fn without the scales"),
        ({"weight_scale_inv": torch.ones(3, 1)}, "3 scales along an axis of 16"),
        ({"weight_scale_inv": torch.ones(1, 3, dtype=torch.int64)}, r"weight_scale_inv is int64 \[1, 3\]"),
        ({"weight": torch.ones(16, 48, dtype=torch.int8), "weight_scale_inv": None}, "int8 without the scales"),
        ({"weight": torch.ones(16, 48, dtype=torch.bool), "weight_scale_inv": None}, "bool without the scales"),
    ],
    ids=["dropped", "transposed", "of no scale's format", "integers", "truths"],
)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "layer by layer"])
def test_codes_that_are_no_values_are_refused(quantized, changes, said, whole):
    folder, _ = quantized
    change(folder, **changes)
    with pytest.raises(EigenhouseError, match=said):
        loading.load_model(tiny_models.local_source(folder), False, whole=whole)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quant_method": "aqlm"}, "quantized by aqlm, which can't be read here"),
        ({"bits": 4}, "an unnamed method"),
        ({"quant_method": "gptq", "checkpoint_format": "marlin"}, "gptq in the layout marlin"),
        ({"quant_method": "awq", "version": "gemv"}, "awq in the layout gemv"),
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, "in a sparse layout"),
        ({"quant_method": "compressed-tensors", "transform_config": {"a": 1}}, "its weights are rotated"),
    ],
)
def test_methods_that_are_not_known_are_named(tmp_path, settings, said):
    change(tiny_models.save("grouped heads", tmp_path), settings)
    with pytest.raises(EigenhouseError, match=said):
        loading.load_model(tiny_models.local_source(tmp_path), False, whole=False)


@pytest.mark.parametrize("name", ["hf_quant_config.json", "quantize_config.json"])
def test_a_method_that_a_file_beside_names(tmp_path, name):
    tiny_models.save("grouped heads", tmp_path)
    (tmp_path / name).write_text(json.dumps({"quantization": {"quant_algo": "FP8"}, "quant_method": "quip"}))
    with pytest.raises(EigenhouseError, match="quantized by quip"):
        loading.load_model(tiny_models.local_source(tmp_path), False, whole=False)


def test_plain_weights_under_a_methods_name(tmp_path):
    """A model that was dequantized, whose config still says that it is not."""
    change(tiny_models.save("grouped heads", tmp_path), FP8)
    loaded = loading.load_model(tiny_models.local_source(tmp_path), False, whole=True)
    assert loaded.checkpoint.format == ("float32", None)
    want = load_file(tmp_path / "model.safetensors")[f"{K_PROJ}.weight"]
    assert torch.equal(torch.from_numpy(loaded.weight(f"{K_PROJ}.weight")), want)


def test_a_scale_without_codes_is_left_over(tmp_path):
    """Whatever it scaled is stored as floats, or under a name that nobody knows."""
    change(tiny_models.save("grouped heads", tmp_path), weight_scale=torch.ones(1))
    with pytest.raises(EigenhouseError, match=rf"one fits none \({K_PROJ}.weight_scale\)"):
        loading.load_model(tiny_models.local_source(tmp_path), False, whole=False)


def test_blocks_are_those_that_the_config_sets():
    """96 columns in two blocks: of 64 and a rest, or of 48. Where nothing is set, nothing is guessed."""
    tensors = stored(a__weight=e4m3(96, 96), a__weight_scale_inv=torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    for size in (64, 48):
        method = Method("fp8", {"weight_block_size": [size, size]})
        [weight] = codes.weights_of(tensors, method).values()
        assert (weight.read()[0] == 1).sum() == size
    with pytest.raises(EigenhouseError, match="nothing says how long their blocks are"):
        codes.weights_of(tensors, Method("fp8"))


def test_groups_are_those_that_the_config_sets():
    scale = torch.ones(8, 2)
    packed = {"a__weight_packed": torch.zeros(8, 12, dtype=torch.int32), "a__weight_shape": torch.tensor([8, 96])}
    tensors = stored(**packed, a__weight_scale=scale)
    groups = {"a": {"weights": {"num_bits": 4, "group_size": 64}}}
    method = Method("compressed-tensors", {"config_groups": groups})
    [weight] = codes.weights_of(tensors, method).values()
    assert (weight.settings["group"], weight.bits, weight.shape) == (64, 4, (8, 96))
    groups["a"]["weights"]["group_size"] = 24
    with pytest.raises(EigenhouseError, match="but the config sets groups of 24"):
        codes.weights_of(tensors, method)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (
            {"a__weight": e4m3(4, 4), "a__weight_scale": torch.ones(1), "a__pre_quant_scale": torch.ones(4)},
            "a pre_quant_scale multiplies its inputs",
        ),
        ({"a__weight": torch.ones(4, 4, dtype=torch.int8), "a__SCB": torch.ones(3)}, r"SCB is float32 \[3\]"),
        ({"a__qweight": torch.zeros(1, 8, dtype=torch.int32), "a__scales": torch.ones(1, 8)}, "a.qzeros is not stored"),
        (
            {
                "a__qweight": torch.zeros(8, 2, dtype=torch.int32),
                "a__qzeros": torch.zeros(1, 2, dtype=torch.int32),
                "a__scales": torch.ones(1, 8),
            },
            "no meta.quantizer says in which order AWQ's 8 bits lie",
        ),
        (
            {
                "a__weight": torch.zeros(4, 8, dtype=torch.uint8),
                "a__weight_scale": e4m3(4, 1),
                "a__weight_scale_2": torch.ones(()),
                "a__weight_packed": torch.zeros(4, 8, dtype=torch.uint8),
                "a__weight_global_scale": torch.ones(()),
            },
            "want a.weight once",
        ),
    ],
    ids=["scaled inputs", "rows", "zeros", "AWQ of 8 bits", "twice"],
)
def test_parts_that_do_not_make_a_weight(tensors, said):
    with pytest.raises(EigenhouseError, match=said):
        codes.weights_of(stored(**tensors), Method())


def test_another_method_than_the_config_names():
    tensors = stored(
        a__qweight=torch.zeros(1, 16, dtype=torch.int32),
        a__qzeros=torch.zeros(1, 2, dtype=torch.int32),
        a__scales=torch.ones(1, 16),
    )
    assert codes.weights_of(tensors, Method("gptq", {"bits": 4}))["a.weight"].shape == (16, 8)
    for method, said in (
        (Method("awq"), "packed as gptq packs them"),
        (Method("gptq", {"bits": 8}), "they are of 4 bits"),
    ):
        with pytest.raises(EigenhouseError, match=said):
            codes.weights_of(tensors, method)


def test_what_belongs_to_no_codes_stands_for_itself():
    tensors = stored(a__weight=torch.ones(2, 3), a__k_scale=torch.ones(1), b__weight_scale=torch.ones(2))
    weights = codes.weights_of(tensors, Method())
    assert weights.keys() == tensors.keys() and not any(weight.kind for weight in weights.values())
    assert dequantize.spread(torch.ones(1), (2, 3)).shape == ()


def test_codes_of_a_conv1d_must_say_which_way_round_they_lie(tmp_path):
    """GPT-2's c_proj is square: FP8 of it may be cast as it was stored, or quantized as an nn.Linear."""
    tiny_models.save("fused Conv1D", tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    name = next(name for name in state if name.endswith("0.attn.c_proj.weight"))
    state[name], state[f"{name}_scale"] = state[name].to(torch.float8_e4m3fn), torch.ones(())
    save_file(state, path, {"format": "pt"})
    with pytest.raises(EigenhouseError, match=r"c_proj\.weight in codes that say which way round they lie"):
        loading.load_model(tiny_models.local_source(tmp_path), False, whole=False)
