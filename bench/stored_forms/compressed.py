"""compressed-tensors, as llm-compressor and NeuralMagic's files on the hub have it."""

from __future__ import annotations

from functools import partial

import torch

from bench.stored_forms.form import EITHER, add, linears
from bench.stored_forms.fp8 import BLOCK, LARGE, by_blocks
from bench.stored_forms.models import State
from bench.stored_forms.packing import (
    Tensor,
    affine,
    bit_stream,
    e2m1_by_powers,
    e2m1_by_two_scales,
    e4m3_by_powers,
)

FAMILY = "compressed-tensors"
GROUP, EVEN = 32, "even llama"


def config(form: str, weights: dict, inputs: dict | None = None) -> dict:
    """config.json's, as compressed_tensors.QuantizationConfig writes it."""
    defaults = {
        "num_bits": 8, "type": "int", "symmetric": True, "group_size": None, "strategy": "channel", "dynamic": False,
        "block_structure": None, "actorder": None, "observer": "minmax", "observer_kwargs": {},
    }  # fmt: skip
    group = {"targets": ["Linear"], "weights": defaults | weights, "input_activations": inputs and defaults | inputs}
    return {
        "quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
        "ignore": ["lm_head"], "kv_cache_scheme": None,
        "config_groups": {"group_0": group | {"output_activations": None}},
    }  # fmt: skip


def int8(weight: Tensor, is_symmetric: bool) -> tuple[State, Tensor]:
    """One scale an output. Codes and zeros are signed: those of `affine`, less 128."""
    group_of = torch.zeros(weight.shape[1], dtype=torch.int64)
    codes, scales, zeros, exact = affine(weight, 8, group_of, is_symmetric, torch.bfloat16)
    stored = {"weight": (codes - 128).to(torch.int8), "weight_scale": scales}
    return stored | ({} if is_symmetric else {"weight_zero_point": (zeros - 128).to(torch.int8)}), exact


def packed(
    weight: Tensor, bits: int, group: int, is_symmetric: bool, is_shuffled: bool = False
) -> tuple[State, Tensor]:
    """Signed codes plus half their range, a stream of bits along the inputs; zeros down the outputs.

    compressed_tensors/compressors/pack_quantized; is_shuffled: actorder, with weight_g_idx as older releases have it.
    """
    group_of = torch.arange(weight.shape[1]) // group
    if is_shuffled:
        group_of = group_of[torch.randperm(weight.shape[1], generator=torch.Generator().manual_seed(3))]
    codes, scales, zeros, exact = affine(weight, bits, group_of, is_symmetric, torch.bfloat16)
    stored = {
        "weight_packed": bit_stream(codes.T, bits).T,
        "weight_scale": scales,
        "weight_shape": torch.tensor(weight.shape),
    }
    stored |= {} if is_symmetric else {"weight_zero_point": bit_stream(zeros, bits)}
    return stored | ({"weight_g_idx": group_of.int()} if is_shuffled else {}), exact


def nvfp4(weight: Tensor) -> tuple[State, Tensor]:
    """weight_global_scale is what the scales were multiplied by: the inverse of modelopt's second scale."""
    stored, scales, whole, exact = e2m1_by_two_scales(weight)
    inverse = (1 / whole.double()).float()
    stored_as = {"weight_packed": stored, "weight_scale": scales, "weight_global_scale": inverse.reshape(1)}
    return stored_as, exact / whole.double() / inverse.double()


def mxfp4(weight: Tensor) -> tuple[State, Tensor]:
    stored, exponents, exact = e2m1_by_powers(weight)
    return {"weight_packed": stored, "weight_scale": exponents}, exact


def mxfp8(weight: Tensor) -> tuple[State, Tensor]:
    codes, exponents, exact = e4m3_by_powers(weight, 1, 32, is_ceiled=True)
    return {"weight": codes, "weight_scale": exponents}, exact


def register() -> None:
    _floats()
    _integers()
    fp4 = {"num_bits": 4, "type": "float"}
    inputs = fp4 | {"strategy": "tensor_group", "group_size": 16, "dynamic": "local"}
    both = config("nvfp4-pack-quantized", fp4 | {"strategy": "tensor_group", "group_size": 16}, inputs)
    add("compressed-tensors NVFP4", FAMILY, linears(nvfp4, both, beside=input_global_scale), tolerance=0.3)
    settings = config(
        "mxfp4-pack-quantized", fp4 | {"strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}
    )
    add("compressed-tensors MXFP4", FAMILY, linears(mxfp4, settings), tolerance=0.5, model=EVEN)
    fp8 = {"type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}
    add("compressed-tensors MXFP8", FAMILY, linears(mxfp8, config("mxfp8-quantized", fp8)), tolerance=0.1, model=EVEN)


def input_global_scale(module: str) -> State:
    return {f"{module}.input_global_scale": torch.tensor([371.0])}


def _floats() -> None:
    dynamic = {"type": "float", "strategy": "token", "dynamic": True}
    for strategy, size in {"tensor": LARGE, "channel": (1, LARGE[1]), "block": BLOCK}.items():
        codec = partial(by_blocks, size=size, scale="weight_scale", shape=(1,) if strategy == "tensor" else None)
        block = {"block_structure": list(BLOCK)} if strategy == "block" else {}
        settings = config("float-quantized", {"type": "float", "strategy": strategy} | block, dynamic)
        add(f"compressed-tensors FP8, a scale a {strategy}", FAMILY, linears(codec, settings))
    codec = partial(by_blocks, size=(1, LARGE[1]), scale="weight_scale")
    settings = config("float-quantized", {"type": "float"}, dynamic) | {"ignore": ["lm_head", "re:.*k_proj"]}
    add("compressed-tensors FP8, keys in bf16", FAMILY, linears(codec, settings, kept="k_proj"))


def _integers() -> None:
    for sym, how in ((True, "symmetric"), (False, "asymmetric")):
        inputs = {"strategy": "token", "dynamic": True}
        settings = config("int-quantized", {"symmetric": sym}, inputs)
        add(f"compressed-tensors int8, {how}", FAMILY, linears(partial(int8, is_symmetric=sym), settings))
        for bits, tolerance in ((4, 0.3), (8, 0.05)):
            weights = {"num_bits": bits, "symmetric": sym, "strategy": "group", "group_size": GROUP}
            codec = partial(packed, bits=bits, group=GROUP, is_symmetric=sym)
            name = f"compressed-tensors packed int{bits}, {how}"
            add(name, FAMILY, linears(codec, config("pack-quantized", weights)), tolerance=tolerance, model=EVEN)
    weights = {"num_bits": 4, "strategy": "channel"}
    codec = partial(packed, bits=4, group=LARGE[1], is_symmetric=True)
    add(
        "compressed-tensors packed int4, channels",
        FAMILY,
        linears(codec, config("pack-quantized", weights)),
        tolerance=0.5,
    )
    weights = {"num_bits": 4, "strategy": "group", "group_size": GROUP, "actorder": "group"}
    codec = partial(packed, bits=4, group=GROUP, is_symmetric=True, is_shuffled=True)
    add(
        "compressed-tensors packed int4, `weight_g_idx`",
        FAMILY,
        linears(codec, config("pack-quantized", weights)),
        tolerance=0.3,
        model=EVEN,
    )
    codec = partial(packed, bits=4, group=GROUP, is_symmetric=True)
    named = linears(codec, config("pack-quantized", weights | {"actorder": None}) | {"format": "marlin-24"})
    add("compressed-tensors marlin-24", FAMILY, named, expected=EITHER[1:])
