"""GPTQ and AWQ: whole numbers in int32 words, and a scale and a zero for every group of inputs."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from bench.stored_forms.form import EITHER, REFUSED, add, linears
from bench.stored_forms.fp8 import LARGE
from bench.stored_forms.models import State, Store
from bench.stored_forms.packing import Tensor, affine, bit_stream, words_in_order

FAMILY = "GPTQ and AWQ"
GROUP = 32
TOLERANCES = {2: 2.0, 3: 0.6, 4: 0.3, 8: 0.05}
AWQ_ORDERS = {4: (0, 2, 4, 6, 1, 3, 5, 7), 8: (0, 2, 1, 3)}


def gptq(
    weight: Tensor, bits: int, is_symmetric: bool, is_first: bool, is_shuffled: bool = False, group: int = GROUP
) -> tuple[State, Tensor]:
    """Words run down the inputs; zeros along the outputs, less one in the first format (AutoGPTQ, QuantLinear.pack).

    is_shuffled: desc_act, which gives groups to inputs by activation, so that g_idx is no ramp.
    """
    group_of = torch.arange(weight.shape[1]) // group
    if is_shuffled:
        group_of = group_of[torch.randperm(weight.shape[1], generator=torch.Generator().manual_seed(3))]
    codes, scales, zeros, exact = affine(weight, bits, group_of, is_symmetric, torch.float16)
    stored = {
        "qweight": bit_stream(codes.T, bits),
        "qzeros": bit_stream(zeros - int(is_first), bits).T,
        "scales": scales.T,
        "g_idx": group_of.int(),
    }
    return stored, exact


def without_indices(tensors: State) -> State:
    return {name: value for name, value in tensors.items() if not name.endswith("g_idx")}


def zero_bias(module: str) -> State:
    """Early AutoGPTQ gave every projection a bias, whether its model has one or not."""
    sizes = {"q": 288, "k": 96, "v": 96, "o": 192, "gate": 160, "up": 160, "down": 192}
    return {f"{module}.bias": torch.zeros(sizes[module.rpartition(".")[2].removesuffix("_proj")], dtype=torch.float16)}


def gptq_config(bits: int, **entries: object) -> dict:
    return {
        "quant_method": "gptq", "bits": bits, "group_size": GROUP, "desc_act": False, "sym": True, "damp_percent": 0.01,
        "true_sequential": True, "checkpoint_format": "gptq", "meta": {"quantizer": ["gptqmodel:1.4.0"]},
    } | entries  # fmt: skip


def awq(weight: Tensor, bits: int, order: tuple[int, ...]) -> tuple[State, Tensor]:
    """Words run along the outputs, out of order (AutoAWQ, WQLinear_GEMM.from_linear, order_map)."""
    group_of = torch.arange(weight.shape[1]) // GROUP
    codes, scales, zeros, exact = affine(weight, bits, group_of, False, torch.float16)
    packed = (words_in_order(numbers.T, bits, order) for numbers in (codes, zeros))
    return dict(zip(("qweight", "qzeros"), packed, strict=True)) | {"scales": scales.T}, exact


def awq_config(bits: int, version: str) -> dict:
    return {"quant_method": "awq", "bits": bits, "group_size": GROUP, "zero_point": True, "version": version}


def register() -> None:
    _gptq()
    _gptq_of_four_bits()
    _awq()


def _gptq() -> None:
    for bits in (4, 8, 2):
        for sym in (True, False):
            how = "symmetric" if sym else "asymmetric"
            codec = partial(gptq, bits=bits, is_symmetric=sym, is_first=True)
            stored = linears(codec, gptq_config(bits, sym=sym), rest=torch.float16)
            _add(f"GPTQ, {bits} bits, {how}", stored, tolerance=TOLERANCES[bits])
    three = partial(gptq, bits=3, is_symmetric=False, is_first=True)
    config = gptq_config(3, sym=False)
    _add("GPTQ, 3 bits", linears(three, config, rest=torch.float16), tolerance=TOLERANCES[3])


def _gptq_of_four_bits() -> None:
    second = partial(gptq, bits=4, is_symmetric=False, is_first=False)
    config = gptq_config(4, sym=False, checkpoint_format="gptq_v2")
    _add("GPTQ, 4 bits, gptq_v2", linears(second, config), tolerance=TOLERANCES[4])
    for sym in (True, False):
        shuffled = partial(gptq, bits=4, is_symmetric=sym, is_first=True, is_shuffled=True)
        config = gptq_config(4, sym=sym, desc_act=True)
        how = "symmetric" if sym else "asymmetric"
        _add(f"GPTQ, 4 bits, desc_act, {how}", linears(shuffled, config), tolerance=TOLERANCES[4])
    first = partial(gptq, bits=4, is_symmetric=False, is_first=True)
    config = gptq_config(4, sym=False, group_size=-1)
    _add("GPTQ, 4 bits, one group", linears(partial(first, group=LARGE[1]), config), tolerance=0.5)
    config = gptq_config(4, sym=False)
    _add("GPTQ, 4 bits, no `g_idx`", linears(first, config, changed=without_indices), tolerance=TOLERANCES[4])
    zeros = linears(first, config, beside=zero_bias)
    _add("GPTQ, 4 bits, biases of zeros", zeros, expected=EITHER, tolerance=TOLERANCES[4])
    _add("GPTQ, 4 bits, Conv1D", linears(first, config), model="gpt2", tolerance=TOLERANCES[4])
    loose = linears(first, None, files={"quantize_config.json": config})
    _add("GPTQ, 4 bits, only quantize_config.json", loose, expected=EITHER, tolerance=TOLERANCES[4])
    unknown = gptq_config(4, sym=False, checkpoint_format="marlin")
    _add("GPTQ, checkpoint_format marlin", linears(first, unknown), expected=REFUSED)


def _awq() -> None:
    plain = partial(awq, bits=4, order=AWQ_ORDERS[4])
    _add("AWQ, 4 bits, gemm", linears(plain, awq_config(4, "gemm")), tolerance=TOLERANCES[4])
    eight = linears(partial(awq, bits=8, order=AWQ_ORDERS[8]), awq_config(8, "gemm"))
    _add("AWQ, 8 bits, in vLLM's order", eight, expected=EITHER)
    along = linears(partial(awq, bits=8, order=(0, 1, 2, 3)), awq_config(8, "gemm"))
    _add("AWQ, 8 bits, in GPTQModel's order", along, expected=EITHER)
    for version in ("gemv", "gemv_fast", "marlin"):
        _add(f"AWQ, {version}", linears(plain, awq_config(4, version)), expected=REFUSED)


def _add(name: str, store: Store, model: str = "even llama", **fields: Any) -> None:
    add(name, FAMILY, store, model=model, **fields)
