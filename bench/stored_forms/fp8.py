"""FP8 as DeepSeek, Qwen, Meta and others write it: codes of one byte, scales in tensors of their own."""

from __future__ import annotations

from functools import partial

import torch

from bench.stored_forms.form import REFUSED, Codec, add, linears
from bench.stored_forms.models import State
from bench.stored_forms.packing import E8M0, Tensor, e4m3_by_blocks, e4m3_by_powers

FAMILY = "FP8"
KEPT = ["lm_head"]
BLOCK = (128, 128)
CONFIG = {
    "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": list(BLOCK), "activation_scheme": "dynamic",
    "modules_to_not_convert": KEPT,
}  # fmt: skip
FBGEMM = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": KEPT}
LARGE = (1 << 20, 1 << 20)  # one block


def by_blocks(
    weight: Tensor,
    size: tuple[int, int] = BLOCK,
    dtype: torch.dtype = torch.float32,
    scale: str = "weight_scale_inv",
    shape: tuple[int, ...] | None = None,
) -> tuple[State, Tensor]:
    """weight_scale_inv is the scale itself: value = code × scale (DeepSeek-V3, inference/kernel.py, weight_dequant)."""
    codes, scales, exact = e4m3_by_blocks(weight, *size, scale_dtype=dtype)
    return {"weight": codes, scale: scales if shape is None else scales.reshape(shape)}, exact


def by_powers(weight: Tensor, size: tuple[int, int], dtype: torch.dtype, is_ceiled: bool) -> tuple[State, Tensor]:
    codes, exponents, exact = e4m3_by_powers(weight, *size, is_ceiled=is_ceiled)
    return {"weight": codes, "weight_scale_inv": exponents.view(dtype)}, exact


def by_channel(weight: Tensor) -> tuple[State, Tensor]:
    """fbgemm_fp8: a scale an output, and beside it a bound on what inputs are scaled by (FbgemmFp8Linear)."""
    stored, exact = by_blocks(weight, (1, LARGE[1]), scale="weight_scale")
    return stored | {"input_scale_ub": torch.tensor([1200.0])}, exact


def unscaled(weight: Tensor) -> tuple[State, Tensor]:
    """A file that lacks: rounded by a scale that is nowhere."""
    stored, exact = by_blocks(weight, LARGE)
    return {"weight": stored["weight"]}, exact


def without(suffix: str, tensors: State) -> State:
    """One scale less: that of the first key projection."""
    lost = f"model.layers.0.self_attn.k_proj.{suffix}"
    return {name: value for name, value in tensors.items() if name != lost}


def resized(suffix: str, tensors: State) -> State:
    """Its scales are those of another weight."""
    name = f"model.layers.0.self_attn.k_proj.{suffix}"
    return tensors | {name: torch.cat([tensors[name], tensors[name]])}


def register() -> None:
    add("FP8, blocks of 128 × 128", FAMILY, linears(by_blocks, CONFIG))
    add("FP8, blocks, scales in bf16", FAMILY, linears(partial(by_blocks, dtype=torch.bfloat16), CONFIG))
    add("FP8, blocks, `scale`", FAMILY, linears(partial(by_blocks, scale="scale"), CONFIG))
    add("FP8, blocks, latent attention", FAMILY, linears(by_blocks, CONFIG), model="deepseek")
    add("FP8, blocks, experts one by one", FAMILY, linears(by_blocks, CONFIG), model="qwen3_moe")
    small = CONFIG | {"weight_block_size": [48, 32]}
    add("FP8, blocks of 48 × 32", FAMILY, linears(partial(by_blocks, size=(48, 32)), small))
    first = CONFIG | {"modules_to_not_convert": [*KEPT, "model.layers.0"]}
    add("FP8, blocks, the first layer in bf16", FAMILY, linears(by_blocks, first, kept=r"layers\.0\."))
    for name, dtype in {"E8M0": E8M0, "bytes": torch.uint8}.items():
        powers = partial(by_powers, size=BLOCK, dtype=dtype, is_ceiled=True)
        add(f"FP8, blocks, powers of two as {name}", FAMILY, linears(powers, CONFIG | {"scale_fmt": "ue8m0"}))
    mxfp8 = CONFIG | {"quant_method": "mxfp8", "weight_block_size": [1, 32], "scale_fmt": "ue8m0"}
    micro = partial(by_powers, size=(1, 32), dtype=torch.uint8, is_ceiled=False)
    add("MXFP8, `weight_scale_inv`", FAMILY, linears(micro, mxfp8), tolerance=0.1, model="even llama")
    for how, shape in {"a number": (), "of shape [1]": (1,)}.items():
        whole: Codec = partial(by_blocks, size=LARGE, scale="weight_scale", shape=shape)
        add(f"FP8, one scale, {how}, no config", FAMILY, linears(whole, None))
    static = CONFIG | {"weight_block_size": None, "activation_scheme": "static"}
    add("FP8, one scale, static inputs", FAMILY, linears(static_whole, static))
    add("FP8, a scale a channel (fbgemm_fp8)", FAMILY, linears(by_channel, FBGEMM))
    add("FP8, no scale at all", FAMILY, linears(unscaled, CONFIG), expected=REFUSED)
    add("FP8, no scale, no config", FAMILY, linears(unscaled, None), expected=REFUSED)
    lost, other = partial(without, "weight_scale_inv"), partial(resized, "weight_scale_inv")
    add("FP8, blocks, one scale is lost", FAMILY, linears(by_blocks, CONFIG, changed=lost), expected=REFUSED)
    add("FP8, blocks, a scale too many", FAMILY, linears(by_blocks, CONFIG, changed=other), expected=REFUSED)
    turned = partial(transposed_scales, "weight_scale_inv")
    add("FP8, blocks, scales of k transposed", FAMILY, linears(by_blocks, CONFIG, changed=turned), expected=REFUSED)


def static_whole(weight: Tensor) -> tuple[State, Tensor]:
    """Mistral's: one scale of the weight, and one of its inputs, which is no part of the weight."""
    stored, exact = by_blocks(weight, LARGE, shape=())
    return stored | {"activation_scale": torch.tensor(0.37)}, exact


def transposed_scales(suffix: str, tensors: State) -> State:
    """Of k, 80 × 192, they are (1, 2) and so (2, 1): a shape that the blocks don't make."""
    names = [name for name in tensors if name.endswith(f"k_proj.{suffix}")]
    return tensors | {name: tensors[name].T for name in names}
