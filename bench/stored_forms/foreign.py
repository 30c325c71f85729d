"""Forms that can't be read: their codes need a codebook, a rotation or a library's own packing.

Tensors have the names, types and shapes that the libraries give them; their values are random. Any number written
for them is wrong, because nothing stored says what they stand for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file

from bench.stored_forms.form import EITHER, REFUSED, Codec, add, linears
from bench.stored_forms.fp8 import LARGE, by_blocks
from bench.stored_forms.gptq_awq import GROUP, gptq, gptq_config
from bench.stored_forms.models import LINEAR, State, save_config, stored_state
from bench.stored_forms.packing import Tensor, bit_stream, e4m3_by_blocks

FAMILY = "Other libraries"
INTEGERS = {torch.int8: 127, torch.uint8: 255, torch.int16: 2**15 - 1, torch.int32: 2**31 - 1, torch.int64: 255}
Parts = dict[str, tuple[torch.dtype, tuple[int, ...]]]  # suffix → type and shape


def made_up(weight: Tensor, parts: Callable[[int, int], Parts]) -> tuple[State, Tensor]:
    """Random tensors of these types and shapes in place of a weight (outputs, inputs)."""
    generator = torch.Generator().manual_seed(5)
    stored: State = {}
    for name, (dtype, shape) in parts(*weight.shape).items():
        if dtype in INTEGERS:
            stored[name] = torch.randint(0, INTEGERS[dtype], shape, generator=generator).to(dtype)
        else:
            stored[name] = torch.rand(shape, generator=generator).add(0.1).to(dtype)
    return stored, weight


F16, F32, I8, U8, I16, I32, I64 = (
    torch.float16, torch.float32, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64,
)  # fmt: skip
# by quant_method, as transformers/integrations/<method>.py or the library's own modules register them
LIBRARIES: dict[str, Callable[[int, int], Parts]] = {
    "hqq": lambda n, m: {
        "W_q": (U8, (n * m // 128, 64)), "scale": (F16, (n * m // 64, 1)), "zero": (F16, (n * m // 64, 1)),
        "nbits": (I32, ()), "group_size": (I32, ()), "axis": (I32, ()), "shape": (I64, (2,)),
    },
    "quanto": lambda n, m: {
        "weight._data": (I8, (n, m)), "weight._scale": (F16, (n, 1)), "input_scale": (F32, ()),
        "output_scale": (F32, ()),
    },
    "eetq": lambda n, m: {"weight": (I8, (m, n)), "weight_scales": (F16, (n,))},
    "aqlm": lambda n, m: {
        "codes": (I8, (n, m // 8, 1)), "codebooks": (F16, (1, 256, 1, 8)), "scales": (F16, (n, 1, 1, 1)),
    },
    "vptq": lambda n, m: {
        "indices": (I32, (1, n // 8, m // 4)), "centroids.weight": (F16, (1, 4096, 8)), "weight_scale": (F16, (m,)),
        "weight_bias": (F16, (m,)), "perm": (I64, (m,)),
    },
    "spqr": lambda n, m: {
        "dense_weights": (I64, (n * m // 16,)), "row_offsets": (I32, (n + 1,)), "col_vals": (I32, (n,)),
        "in_perm": (I64, (m,)),
    },
    "higgs": lambda n, m: {
        "weight": (I16, (n // 4, m)), "scales": (F16, (m // 16, n)), "tables": (F16, (16,)),
        "tables2": (F32, (16, 16, 2)),
    },
    "bitnet": lambda n, m: {"weight": (U8, (n // 4, m)), "weight_scale": (F32, (1,))},
    "quip": lambda n, m: {
        "Qidxs": (I64, (n // 8, m // 4)), "SU": (F16, (m,)), "SV": (F16, (n,)), "Wscale": (F32, ()),
        "codebook_id": (I64, ()),
    },
    "fp_quant": lambda n, m: {
        "qweight": (U8, (n, m // 2)), "scales": (U8, (n, m // 32)), "weight_global_scale": (F32, (1,)),
        "forward_hadamard_matrix": (F32, (32, 32)), "backward_hadamard_matrix": (F32, (32, 32)),
    },
    "exl2": lambda n, m: {
        "q_weight": (I32, (m // 8, n)), "q_scale": (I32, (m // 32, n // 8)), "q_groups": (I16, (m // 16,)),
        "q_scale_max": (F16, (m // 32,)), "q_invperm": (I32, (m,)),
    },
    "exl3": lambda n, m: {"trellis": (I16, (m // 16, n // 16, 64)), "suh": (F16, (m,)), "svh": (F16, (n,))},
    "qqq": lambda n, m: {
        "B": (I32, (m // 16, 2 * n)), "s_group": (F16, (m // 32, n)), "s_channel": (F32, (1, n)),
    },
    "sinq": lambda n, m: {
        "W_q": (U8, (n * m // 2,)), "scale": (F16, (n, m // 64)), "zero": (F16, (n, m // 64)), "scale2": (F16, (m,)),
    },
}  # fmt: skip


def int8_alone(weight: Tensor) -> tuple[State, Tensor]:
    """Rounded to bytes by a scale that is nowhere."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    codes = (weight / scale).round()
    return {"weight": codes.to(torch.int8)}, codes * scale


def int8_with_scale(weight: Tensor, name: str) -> tuple[State, Tensor]:
    scale = (weight.abs().amax(1, keepdim=True) / 127).float()
    codes = (weight / scale.double()).round()
    return {"weight": codes.to(torch.int8), name: scale}, codes * scale.double()


def e5m2(weight: Tensor) -> tuple[State, Tensor]:
    scale = (weight.abs().max() / 57344).float()
    codes = (weight / scale.double()).float().to(torch.float8_e5m2)
    return {"weight": codes, "weight_scale": scale}, codes.double() * scale.double()


def mlx(weight: Tensor) -> tuple[State, Tensor]:
    """value = scale × code + bias for groups of 32 inputs; 8 codes a word from the lowest bits (mlx.core.quantize)."""
    groups = weight.unflatten(1, (-1, GROUP))
    low, high = groups.amin(2), groups.amax(2)
    scales, biases = ((high - low) / 15).half(), low.half()
    codes = ((groups - biases.double()[..., None]) / scales.double()[..., None]).round().clamp(0, 15)
    exact = (codes * scales.double()[..., None] + biases.double()[..., None]).flatten(1)
    words = bit_stream(codes.flatten(1).long().T, 4).T.contiguous().view(torch.uint32)
    return {"weight": words, "scales": scales, "biases": biases}, exact


def store_torchao(model: Any, folder: Path) -> State:
    """One tensor of a subclass as several, and in the header what it was (torchao/prototype/safetensors)."""
    tensors, header, exact = {}, {}, stored_state(model)
    for name, weight in exact.items():
        if not LINEAR.search(name):
            tensors[name] = weight
            continue
        codes, scale, _ = e4m3_by_blocks(weight.double(), 1, LARGE[1], torch.float32)
        module = name.removesuffix("weight")
        tensors |= {f"{module}_weight_qdata": codes, f"{module}_weight_scale": scale}
        header[name] = json.dumps({"_type": "Float8Tensor", "_data": {"block_size": [1, weight.shape[1]]}})
    metadata = {"format": "pt", "tensor_names": json.dumps([*header])} | header
    save_config(
        model, folder, {"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig"}}}
    )
    save_file(tensors, folder / "model.safetensors", metadata)
    return exact


def store_torchao_pickled(model: Any, folder: Path) -> State:
    """A .bin whose values are of a class of torchao's, which is not there when the file is read."""
    exact = stored_state(model)
    kind = type("AffineQuantizedTensor", (), {"__module__": "torchao"})
    module = ModuleType("torchao")
    vars(module)["AffineQuantizedTensor"] = kind
    with patch.dict(sys.modules, {"torchao": module}):
        tensors = {key: kind() if LINEAR.search(key) else value for key, value in exact.items()}
        torch.save(tensors, folder / "pytorch_model.bin")
    save_config(
        model, folder, {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}
    )
    return exact


def store_hqq_pickled(model: Any, folder: Path) -> State:
    """hqq's own file: {module: {"W_q": …, "meta": {…}}}, and no name of a parameter in it (hqq/models/base.py)."""
    exact = stored_state(model)
    tensors: dict[str, Any] = {}
    for name, weight in exact.items():
        module = name.removesuffix(".weight")
        if not LINEAR.search(name):
            tensors[module] = {"weight": weight}
            continue
        meta = {"nbits": 8, "group_size": 64, "shape": weight.shape, "scale": torch.ones(1), "zero": torch.zeros(1)}
        tensors[module] = {"W_q": weight.to(torch.uint8), "meta": meta}
    torch.save(tensors, folder / "pytorch_model.bin")
    save_config(model, folder, {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 8}}})
    return exact


def register() -> None:
    for method, parts in LIBRARIES.items():
        add(method, FAMILY, linears(partial(made_up, parts=parts), {"quant_method": method}), expected=REFUSED)
    silent = linears(partial(made_up, parts=LIBRARIES["eetq"]), None)
    add("eetq, no config", FAMILY, silent, expected=REFUSED)
    add("torchao, flattened", FAMILY, store_torchao, expected=REFUSED)
    add("torchao, pickled", FAMILY, store_torchao_pickled, expected=REFUSED)
    add("hqq, pickled", FAMILY, store_hqq_pickled, expected=REFUSED)
    scaled: Codec = partial(int8_with_scale, name="weight_scale")
    add("a quant_method that nobody knows", FAMILY, linears(scaled, {"quant_method": "mine"}), expected=REFUSED)
    add(
        "int8, its scales under a name nobody knows",
        FAMILY,
        linears(partial(int8_with_scale, name="s"), None),
        expected=REFUSED,
    )
    add("int8, no scale at all", FAMILY, linears(int8_alone, None), expected=REFUSED)
    add("FP8 E5M2, one scale", FAMILY, linears(e5m2, None), expected=EITHER, tolerance=0.2)
    quantization = {"quantization": {"group_size": GROUP, "bits": 4}}
    add(
        "mlx, 4 bits",
        FAMILY,
        linears(mlx, None, config=quantization),
        expected=EITHER,
        tolerance=0.3,
        model="even llama",
    )
    whole: Codec = partial(by_blocks, size=LARGE, scale="weight_scale", shape=())
    quark = {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}}}
    add("quark FP8", FAMILY, linears(whole, quark), expected=EITHER)
    codes = partial(gptq, bits=4, is_symmetric=False, is_first=True)
    rounded = gptq_config(4, quant_method="auto-round", packing_format="auto_round:auto_gptq", sym=False)
    add(
        "auto-round, packed as GPTQ",
        FAMILY,
        linears(codes, rounded),
        expected=EITHER,
        tolerance=0.3,
        model="even llama",
    )
