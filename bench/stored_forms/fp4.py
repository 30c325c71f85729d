"""NVIDIA's modelopt, and MXFP4 as gpt-oss has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bench.stored_forms.form import REFUSED, add, linears, write
from bench.stored_forms.fp8 import LARGE, by_blocks
from bench.stored_forms.models import State, stored_state
from bench.stored_forms.packing import Tensor, e2m1_by_powers, e2m1_by_two_scales, e4m3_by_powers

FAMILY = "modelopt and MXFP4"
PRODUCER = {"name": "modelopt", "version": "0.29.0"}
OSS = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}


def config(algorithm: str, **entries: object) -> dict:
    """config.json's; modelopt/torch/export/convert_hf_config.py."""
    bits = 8 if "8" in algorithm else 4
    group = {"dynamic": False, "num_bits": bits, "type": "float"} | ({} if bits == 8 else {"group_size": 16})
    return {
        "quant_method": "modelopt", "quant_algo": algorithm, "ignore": ["lm_head"], "producer": PRODUCER,
        "config_groups": {"group_0": {"input_activations": group, "weights": group, "targets": ["Linear"]}},
    } | entries  # fmt: skip


def beside(algorithm: str, **entries: object) -> dict:
    """hf_quant_config.json, which older exports have alone."""
    quantization = {"quant_algo": algorithm, "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]} | entries
    return {"hf_quant_config.json": {"producer": PRODUCER, "quantization": quantization}}


def fp8(weight: Tensor) -> tuple[State, Tensor]:
    stored, exact = by_blocks(weight, LARGE, scale="weight_scale", shape=())
    return stored | {"input_scale": torch.tensor(0.043)}, exact


def cache_scales(module: str) -> State:
    """Of the cache of keys and values: no part of any weight."""
    side = module[-6]
    return {f"{module}.{side}_scale": torch.tensor(0.61)} if module.endswith(("k_proj", "v_proj")) else {}


def nvfp4(weight: Tensor) -> tuple[State, Tensor]:
    """value = E2M1 × weight_scale × weight_scale_2 (modelopt/torch/quantization/qtensor/nvfp4_tensor.py)."""
    packed, scales, whole, exact = e2m1_by_two_scales(weight)
    stored = {"weight": packed, "weight_scale": scales, "weight_scale_2": whole, "input_scale": torch.tensor(0.0021)}
    return stored, exact


def nvfp4_smoothed(weight: Tensor) -> tuple[State, Tensor]:
    """Inputs are multiplied by pre_quant_scale before they meet the codes, so that the weight is their product."""
    smooth = torch.linspace(0.5, 2, weight.shape[1]).to(torch.bfloat16)
    stored, exact = nvfp4(weight / smooth.double())
    return stored | {"pre_quant_scale": smooth}, exact * smooth.double()


def mxfp8(weight: Tensor) -> tuple[State, Tensor]:
    codes, exponents, exact = e4m3_by_powers(weight, 1, 32, is_ceiled=True)
    return {"weight": codes, "weight_scale": exponents}, exact


def store_gpt_oss(model: Any, folder: Path) -> State:
    """Experts as blocks of 16 bytes and an exponent each, (expert, output, block); all else in bf16.

    The parameter is (expert, input, output): transformers/integrations/mxfp4.py, convert_moe_packed_tensors.
    """
    tensors: State = {}
    exact: State = {}
    for name, weight in stored_state(model).items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            tensors[name] = weight.to(torch.bfloat16)
            exact[name] = tensors[name].double()
            continue
        experts = [e2m1_by_powers(expert.T.double()) for expert in weight]
        tensors[f"{name}_blocks"] = torch.stack([packed.reshape(*scales.shape, 16) for packed, scales, _ in experts])
        tensors[f"{name}_scales"] = torch.stack([scales for _, scales, _ in experts])
        exact[name] = torch.stack([values.T for *_, values in experts])
    write(model, folder, tensors, OSS)
    return exact


def register() -> None:
    kv = {"kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}}
    files = {"beside": cache_scales, "files": beside("FP8")}
    add("modelopt FP8, scales of the cache", FAMILY, linears(fp8, config("FP8", **kv), **files))
    add("modelopt FP8, only hf_quant_config.json", FAMILY, linears(fp8, None, **files))
    nvfp4_files = beside("NVFP4", group_size=16)
    add("modelopt NVFP4", FAMILY, linears(nvfp4, config("NVFP4"), files=nvfp4_files), tolerance=0.3)
    add("modelopt NVFP4, only hf_quant_config.json", FAMILY, linears(nvfp4, None, files=nvfp4_files), tolerance=0.3)
    smoothed = config("NVFP4_AWQ", has_zero_point=False, pre_quant_scale=True)
    add(
        "modelopt NVFP4_AWQ, `pre_quant_scale`", FAMILY, linears(nvfp4_smoothed, smoothed), expected=("right", *REFUSED)
    )
    add("modelopt MXFP8", FAMILY, linears(mxfp8, config("MXFP8")), tolerance=0.1, model="even llama")
    add("MXFP4 experts of gpt-oss", FAMILY, store_gpt_oss, model="gpt_oss")
