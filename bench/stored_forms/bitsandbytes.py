"""bitsandbytes, as transformers saves it: int8 by rows, and NF4 and FP4 by blocks of 64 values."""

from __future__ import annotations

import json
from functools import partial

import torch

from bench.stored_forms.form import Codec, add, linears
from bench.stored_forms.models import State
from bench.stored_forms.packing import Tensor

FAMILY = "bitsandbytes"
BLOCK, NESTED_BLOCK = 64, 256
# bitsandbytes/functional.py, get_4bit_type: quantiles of a normal distribution; and floats, by their bits
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
FP4 = (0, 0.0625, 8, 12, 4, 6, 2, 3, -0.0, -0.0625, -8, -12, -4, -6, -2, -3)
TABLES = {"nf4": torch.tensor(NF4), "fp4": torch.tensor(FP4) / 12}
INT8 = {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False, "llm_int8_threshold": 6.0}


def int8(weight: Tensor) -> tuple[State, Tensor]:
    """value = code × SCB / 127, SCB the row's largest (bitsandbytes/functional.py, int8_vectorwise_dequant)."""
    largest = weight.abs().amax(1).float()
    codes = (weight * 127 / largest.double()[:, None]).round().clamp(-127, 127).to(torch.int8)
    stored = {"weight": codes, "SCB": largest, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    return stored, codes.double() * largest.double()[:, None] / 127


def four_bits(weight: Tensor, kind: str, is_nested: bool) -> tuple[State, Tensor]:
    """Blocks run on over the rows' ends; the first of two codes is in the high half of a byte (quantize_4bit)."""
    table = TABLES[kind]
    flat = weight.reshape(-1, BLOCK)
    absmax = flat.abs().amax(1).float()
    state = {"quant_type": kind, "blocksize": BLOCK, "dtype": "bfloat16", "shape": list(weight.shape)}
    stored = {"weight.absmax": absmax, "weight.quant_map": table}
    steps = absmax.double()
    if is_nested:
        nested, nested_state, steps = double_quantized(absmax)
        stored, state = stored | nested, state | nested_state
    codes = (flat[:, :, None] / steps[:, None, None] - table.double()).abs().argmin(-1)
    exact = (table.double()[codes] * steps[:, None]).reshape(weight.shape)
    both = codes.reshape(-1, 2)
    text = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    packed = (both[:, :1] << 4 | both[:, 1:]).to(torch.uint8)
    return stored | {"weight": packed, f"weight.quant_state.bitsandbytes__{kind}": text}, exact


def double_quantized(absmax: Tensor) -> tuple[State, dict, Tensor]:
    """The largest values themselves in bytes, less their mean, by blocks of 256 (compress_statistics)."""
    table, offset = dynamic_map(), absmax.mean().item()
    codes = torch.zeros(len(absmax), dtype=torch.uint8)
    largest = torch.zeros(-(-len(absmax) // NESTED_BLOCK))
    steps = torch.zeros(len(absmax), dtype=torch.float64)
    for block in range(len(largest)):
        part = slice(block * NESTED_BLOCK, (block + 1) * NESTED_BLOCK)
        centred = absmax[part].double() - offset
        largest[block] = centred.abs().max().float()
        scale = largest[block].double()
        codes[part] = (centred[:, None] / scale - table.double()).abs().argmin(-1).to(torch.uint8)
        steps[part] = table.double()[codes[part].long()] * scale + offset
    stored = {"weight.absmax": codes, "weight.nested_absmax": largest, "weight.nested_quant_map": table}
    return stored, {"nested_blocksize": NESTED_BLOCK, "nested_dtype": "float32", "nested_offset": offset}, steps


def dynamic_map() -> Tensor:
    """256 values: a sign, a decimal exponent of 0 to 6, and what bits are left for a fraction (create_dynamic_map)."""
    values = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10 ** (exponent - 6)
        values += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(values))


def config(kind: str, is_nested: bool) -> dict:
    return {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": kind,
        "bnb_4bit_use_double_quant": is_nested, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8",
    }  # fmt: skip


def register() -> None:
    add("bitsandbytes int8", FAMILY, linears(int8, INT8))
    add("bitsandbytes int8, no config", FAMILY, linears(int8, None))
    add("bitsandbytes int8, Conv1D", FAMILY, linears(int8, INT8), model="gpt2")
    for kind in TABLES:
        codec: Codec = partial(four_bits, kind=kind, is_nested=False)
        add(f"bitsandbytes {kind}", FAMILY, linears(codec, config(kind, False)), tolerance=0.3)
    nested: Codec = partial(four_bits, kind="nf4", is_nested=True)
    add("bitsandbytes nf4, double", FAMILY, linears(nested, config("nf4", True)), tolerance=0.3)
    add("bitsandbytes nf4, double, no config", FAMILY, linears(nested, None), tolerance=0.3)
    add("bitsandbytes nf4, double, Conv1D", FAMILY, linears(nested, config("nf4", True)), model="gpt2", tolerance=0.3)
    add(
        "bitsandbytes nf4, experts one by one",
        FAMILY,
        linears(nested, config("nf4", True)),
        model="qwen3_moe",
        tolerance=0.3,
    )
