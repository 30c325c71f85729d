"""A second opinion on quantized weights: read from the file again and dequantized by other code.

The gate can't see codes that were read wrongly, since model and factors are then wrong together. So the weights of one
layer a stack are dequantized a second time: by the code of the method's own library where it is installed or part of
transformers, else here, bit by bit as the format is defined, with none of the code of the first time.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from typing import Any

import numpy as np
import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import bit_by_bit
from eigenhouse.ingest.models.bit_by_bit import Parts
from eigenhouse.ingest.models.methods import Method
from eigenhouse.ingest.models.weights import Weight
from eigenhouse.ingest.sources.stored import Stored

TOLERANCE = 5e-3  # of the largest weight: some libraries compute in bfloat16; a zero off by one of 8 bits is 8e-3
BIT_BY_BIT = "bit by bit"
MOST_WEIGHTS = 8  # of a layer: its attention has no more, its experts do


@dataclass(frozen=True)
class Testimony:
    """by: the library that dequantized the second time · error: the largest difference over the largest value."""

    by: str
    error: float


def testify(weights: Iterable[Weight], method: Method) -> Testimony | None:
    """The result of a second reading of weights, the largest error of them; None if none is quantized.

    Raises EigenhouseError where it doesn't agree.
    """
    heard: dict[str, float] = {}
    coded = [weight for weight in weights if weight.kind]
    known = [weight for weight in coded if weight.second or weight.kind in ELSE]
    if coded and not known:
        raise EigenhouseError(f"want two dequantizers for {coded[0].name}; for {coded[0].kind} there is only one")
    for weight in known[:MOST_WEIGHTS]:
        by, theirs = weight.second() if weight.second else _second(weight, method)
        theirs = theirs.T.float() if weight.is_turned else theirs.float()
        error = float((weight.read() - theirs).abs_().max() / theirs.abs().max().clamp(min=1e-30))
        if not error <= TOLERANCE:
            raise EigenhouseError(
                f"want weights that two dequantizers agree on to {TOLERANCE:g}; {weight.name} ({weight.kind}) is off "
                f"by {error:.3g} of the largest from what {by} makes of it: its codes mean something else; "
                "nothing was written"
            )
        heard[by] = max(error, heard.get(by, 0.0))
    return Testimony(", ".join(heard), max(heard.values())) if heard else None


def _second(weight: Weight, method: Method) -> tuple[str, torch.Tensor]:
    parts = {role: raw(stored) for role, stored in weight.parts.items()}
    for name, library, is_for, dequantized in LIBRARIES:
        if is_for(weight, method) and find_spec(library):
            with suppress(Exception):  # a form that this version of it doesn't take, or not on a CPU
                return f"{name} {version(name)}", dequantized(weight, parts, method)
    by, dequantize = ELSE[weight.kind]
    return by, torch.as_tensor(dequantize(weight, parts))


def raw(stored: Stored) -> torch.Tensor:
    """A stored tensor from the bytes of its file, if the format allows it, so not by the reader that read it first."""
    if stored.path.suffix != ".safetensors":
        return stored.read()
    with open(stored.path, "rb") as file:
        (n_header,) = struct.unpack("<Q", file.read(8))
        begin, end = json.loads(file.read(n_header))[stored.stored]["data_offsets"]
        file.seek(8 + n_header + begin)
        data = bytearray(file.read(end - begin))
    flat = torch.frombuffer(data, dtype=stored.dtype) if data else torch.empty(0, dtype=stored.dtype)
    return flat.reshape(stored.shape)


def _by_transformers_fp8(weight: Weight, parts: Parts) -> torch.Tensor:
    """transformers' code takes whole blocks alone, so the codes are padded to whole blocks."""
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    codes, scale, block = parts["codes"], parts["scale"], weight.settings.get("block")
    rows, columns = codes.shape[-2:]
    if scale.dim() != codes.dim():
        scale = scale.reshape(-1, 1) if scale.numel() > 1 else scale.reshape(1, 1)
    scale = scale if scale.dtype in (torch.uint8, torch.float8_e8m0fnu) else scale.float()
    whole = [-(-size // length) * length for size, length in zip((rows, columns), block or (1, 1), strict=True)]
    padded = torch.zeros(*codes.shape[:-2], *whole).to(codes.dtype)
    padded[..., :rows, :columns] = codes
    dequantized = Fp8Dequantize(None)._dequantize_one(padded, scale, output_dtype=torch.float32)
    return dequantized[..., :rows, :columns]


def _by_transformers_mxfp4(_: Weight, parts: Parts) -> torch.Tensor:
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    return convert_moe_packed_tensors(parts["codes"], parts["scale"], dtype=torch.float32)


def _by_compressed_tensors(weight: Weight, parts: Parts, method: Method) -> torch.Tensor:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    names = {
        "scale": "weight_scale",
        "zero": "weight_zero_point",
        "g_idx": "weight_g_idx",
        "divisor": "weight_global_scale",
    }
    names["codes"] = "weight" if weight.parts["codes"].name.endswith(".weight") else "weight_packed"
    state = {names[role]: tensor for role, tensor in parts.items()}
    if state["weight_scale"].dtype in (torch.float16, torch.bfloat16):
        state["weight_scale"] = state["weight_scale"].float()  # or it would compute in that
    state["weight_shape"] = torch.tensor(weight.settings.get("shape", weight.shape))
    group, form = _scheme(weight, method)
    scheme = QuantizationScheme(targets=["Linear"], weights=group["weights"], format=form)
    return BaseCompressor.get_value_from_registry(form).decompress(state, scheme)["weight"].float()


def _scheme(weight: Weight, method: Method) -> tuple[Mapping[str, Any], str]:
    groups = [group for group in method.settings["config_groups"].values() if group.get("weights")]
    group = next((one for one in groups if one["weights"].get("num_bits") == weight.bits), groups[0])
    return group, group.get("format") or method.settings["format"]


def _is_compressed(weight: Weight, method: Method) -> bool:
    """Whether the library serves as witness. It doesn't for columns out of order: it returned them in another order."""
    return method.name == "compressed-tensors" and "config_groups" in method.settings and "g_idx" not in weight.parts


def _by_bitsandbytes(weight: Weight, parts: Parts, _: Method) -> torch.Tensor:
    import bitsandbytes

    functional, shape = bitsandbytes.functional, weight.settings.get("shape", ())
    if weight.kind == "int8":
        return functional.int8_vectorwise_dequant(parts["codes"], parts["scale"].float())
    settings = weight.settings
    state = functional.QuantState(
        absmax=parts["largest"], shape=torch.Size([1, prod(shape)]), code=parts["table"], blocksize=settings["block"],
        quant_type=weight.kind, dtype=torch.float32,
    )  # fmt: skip
    if "nested_table" in parts:
        inner = functional.QuantState(
            absmax=parts["nested_largest"], code=parts["nested_table"], blocksize=settings["nested_block"],
            dtype=torch.float32,
        )  # fmt: skip
        state.state2, state.offset, state.nested = inner, torch.tensor(settings["offset"]), True
    # in one row: its CPU kernel begins a new block with every row, where its quantizer does not
    return functional.dequantize_4bit(parts["codes"].reshape(-1, 1), state).reshape(shape)


def _is_of_bitsandbytes(weight: Weight, _: Method) -> bool:
    return weight.kind in ("nf4", "fp4") or (weight.kind == "int8" and weight.parts["scale"].name.endswith("SCB"))


# distribution, module, what for, how
LIBRARIES = (
    ("compressed-tensors", "compressed_tensors", _is_compressed, _by_compressed_tensors),
    ("bitsandbytes", "bitsandbytes", _is_of_bitsandbytes, _by_bitsandbytes),
)


TRANSFORMERS = f"transformers {version('transformers')}"
ELSE: dict[str, tuple[str, Callable[[Weight, Parts], torch.Tensor | np.ndarray]]] = {
    "fp8": (TRANSFORMERS, _by_transformers_fp8),
    "mxfp4": (TRANSFORMERS, _by_transformers_mxfp4),
    **dict.fromkeys(("nf4", "fp4"), (BIT_BY_BIT, bit_by_bit.four_bit)),
    **dict.fromkeys(("NVFP4", "MXFP4"), (BIT_BY_BIT, bit_by_bit.fp4)),
    "gptq": (BIT_BY_BIT, bit_by_bit.gptq),
    "awq": (BIT_BY_BIT, bit_by_bit.awq),
    "pack-quantized": (BIT_BY_BIT, bit_by_bit.pack_quantized),
    "int8": (BIT_BY_BIT, bit_by_bit.int8),
}
