"""A second opinion on quantized weights: read from the file again and dequantized by somebody else.

The gate can't see codes that were read wrongly, since model and factors are then wrong together. So the weights of one
layer a stack are dequantized a second time: by the code of the method's own library where it is installed or part of
transformers, else here, bit by bit as the format is defined, with none of the code that made them the first time.
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
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models.codes import FP8, Method, Weight
from eigenhouse.ingest.sources.stored import Stored

TOLERANCE = 5e-3  # of the largest weight: some libraries compute in bfloat16; a zero off by one of 8 bits is 8e-3
MOST_WEIGHTS = 8  # of a layer: its attention has no more, its experts do
BIT_BY_BIT = "bit by bit"

Parts = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Testimony:
    """by: whose code dequantized the weights the second time · error: the largest difference over the largest value."""

    by: str
    error: float


def testify(weights: Iterable[Weight], method: Method) -> Testimony | None:
    """What a second reading says of weights, the worst of them; None where none of them is quantized.

    Raises EigenhouseError where it doesn't agree.
    """
    heard: dict[str, float] = {}
    coded = [weight for weight in weights if weight.kind]
    known = [weight for weight in coded if weight.second or weight.kind in ELSE]
    if coded and not known:
        raise EigenhouseError(f"want two dequantizers for {coded[0].name}; for {coded[0].kind} there is one alone")
    for weight in known[:MOST_WEIGHTS]:
        by, theirs = weight.second() if weight.second else _second(weight, method)
        theirs = theirs.T.float() if weight.is_turned else theirs.float()
        error = float((weight.read() - theirs).abs_().max() / theirs.abs().max().clamp(min=1e-30))
        if not error <= TOLERANCE:
            raise EigenhouseError(
                f"want weights that two dequantizers agree on to {TOLERANCE:g}; {weight.name} ({weight.kind}) is off "
                f"by {error:.3g} of the largest from what {by} makes of it. Its codes aren't what they are taken for; "
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
    """A stored tensor from the bytes of its file, past the reader of the first time, where the format allows it."""
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
    """Its code wants whole blocks, so the codes are filled up to them."""
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
    """Its releases no longer take columns out of order, and gave them back in another one."""
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


def _bits(words: torch.Tensor, bits: int) -> np.ndarray:
    """(…, word) int32 → (…, number): the bits of all words in a row, lowest first, dealt out to numbers."""
    stream = np.unpackbits(words.contiguous().numpy().view(np.uint8), axis=-1, bitorder="little")
    n_numbers = stream.shape[-1] // bits
    dealt = stream[..., : n_numbers * bits].reshape(*stream.shape[:-1], n_numbers, bits)
    return dealt.astype(np.int64) @ (1 << np.arange(bits))


def _gptq(weight: Weight, parts: Parts) -> np.ndarray:
    bits, group = weight.settings["bits"], weight.settings["group"]
    codes = _bits(parts["codes"].T, bits)  # (outputs, inputs)
    scale = parts["scale"].double().numpy()
    zeros = _bits(parts["zero"], bits)[:, : scale.shape[1]] + weight.settings["offset"]
    groups = parts["g_idx"].numpy() if "g_idx" in parts else np.arange(codes.shape[1]) // group
    return (codes - zeros[groups].T) * scale[groups].T


def _awq(weight: Weight, parts: Parts) -> np.ndarray:
    order, group = weight.settings["order"], weight.settings["group"]

    def put_back(words: torch.Tensor) -> np.ndarray:
        stream = _bits(words, weight.bits)
        numbers = np.empty_like(stream)
        for place, output in enumerate(order):
            numbers[:, output :: len(order)] = stream[:, place :: len(order)]
        return numbers

    codes, zeros, scale = put_back(parts["codes"]), put_back(parts["zero"]), parts["scale"].double().numpy()
    return np.stack([(row - zeros[i // group]) * scale[i // group] for i, row in enumerate(codes)], axis=1)


def _pack_quantized(weight: Weight, parts: Parts) -> np.ndarray:
    half = 2 ** (weight.bits - 1)
    rows, columns = weight.settings["shape"][-2:]
    codes = _bits(parts["codes"], weight.bits)[..., :columns] - half
    scale = parts["scale"].double().numpy()
    scale = scale if scale.ndim == codes.ndim else scale.reshape(*scale.shape, *[1] * (codes.ndim - scale.ndim))
    zero = np.zeros(1)
    if "zero" in parts:
        zero = np.moveaxis(_bits(parts["zero"].transpose(-1, -2), weight.bits), -1, -2)[..., :rows, :] - half
    groups = np.arange(columns) // weight.settings["group"]
    if "g_idx" in parts and int(parts["g_idx"].min()) >= 0:
        groups = parts["g_idx"].numpy()
    return (codes - (zero[..., groups] if zero.ndim > 1 else 0)) * scale[..., groups if scale.shape[-1] > 1 else [0]]


def _int8(weight: Weight, parts: Parts) -> np.ndarray:
    codes, scale = parts["codes"].double().numpy(), parts["scale"].double().numpy()
    if weight.parts["scale"].name.endswith("SCB"):
        return codes * scale.reshape(-1, 1) / 127
    block = weight.settings["block"] or (1, codes.shape[-1])
    zero = parts["zero"].double().numpy() if "zero" in parts else np.zeros_like(scale)
    scale, zero = (side.reshape(-1, 1) if side.ndim < 2 else side for side in (scale, zero))
    row, column = (np.arange(n) // b for n, b in zip(codes.shape, block, strict=True))
    at = (np.minimum(row, len(scale) - 1)[:, None], np.minimum(column, scale.shape[1] - 1)[None])
    return (codes - zero[at]) * scale[at]


def _four_bit(weight: Weight, parts: Parts) -> np.ndarray:
    """nf4 and fp4 of bitsandbytes, by their tables as they are defined rather than stored."""
    settings, shape = weight.settings, weight.settings["shape"]
    largest = parts["largest"].double().numpy()
    if "nested_table" in parts:
        table, outer = parts["nested_table"].double().numpy(), parts["nested_largest"].double().numpy()
        places = np.arange(len(largest)) // settings["nested_block"]
        largest = table[largest.astype(int)] * outer[places] + settings["offset"]
    data = parts["codes"].contiguous().view(torch.uint8).flatten().numpy()
    codes = np.unpackbits(data).reshape(-1, 4) @ [8, 4, 2, 1]
    values = (_nf4() if weight.kind == "nf4" else _fp4_of_bitsandbytes())[codes[: prod(shape)]]
    return (values * largest[np.arange(len(values)) // settings["block"]]).reshape(shape)


def _nf4() -> np.ndarray:
    """Quantiles of the normal distribution, 8 above 0 and 7 below, scaled to 1 (QLoRA, appendix E)."""
    offset, normal = 0.9677083, NormalDist()
    above = [normal.inv_cdf(p) for p in np.linspace(offset, 0.5, 9)[:-1]]
    below = [-normal.inv_cdf(p) for p in np.linspace(offset, 0.5, 8)[:-1]]
    values = np.sort([*above, 0.0, *below])
    return values / values.max()


def _fp4_of_bitsandbytes() -> np.ndarray:
    """A sign, two bits of exponent and one of mantissa, scaled to 1 (its kernels.cu, dDequantizeFP4Tree)."""
    halves = np.array([0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0]) / 12
    return np.concatenate([halves, -halves])


def _fp4(weight: Weight, parts: Parts) -> np.ndarray:
    """NVFP4 and MXFP4: E2M1 by its fields, times a scale a group, which is E4M3 or an exponent."""
    data = parts["codes"].numpy()
    codes = np.stack([data % 16, data // 16], axis=-1).reshape(*data.shape[:-1], -1)
    sign, exponent, mantissa = codes // 8, codes // 2 % 4, codes % 2
    values = np.where(exponent == 0, mantissa / 2, (1 + mantissa / 2) * 2.0 ** (exponent - 1.0)) * (1 - 2.0 * sign)
    scale = parts["scale"].view(torch.uint8).numpy().astype(int)
    if weight.parts["scale"].dtype in FP8:
        top, low = scale // 8 % 16, scale % 8
        factor = np.where(top == 0, low / 8 * 2.0**-6, (1 + low / 8) * 2.0 ** (top - 7.0)) * (1 - 2.0 * (scale // 128))
    else:
        factor = 2.0 ** (scale - 127.0)
    of_all = float(parts["multiplier"]) if "multiplier" in parts else 1.0
    of_all = of_all / float(parts["divisor"]) if "divisor" in parts else of_all
    return values * factor[..., np.arange(values.shape[-1]) // weight.settings["group"]] * of_all


TRANSFORMERS = f"transformers {version('transformers')}"
ELSE: dict[str, tuple[str, Callable[[Weight, Parts], torch.Tensor | np.ndarray]]] = {
    "fp8": (TRANSFORMERS, _by_transformers_fp8),
    "mxfp4": (TRANSFORMERS, _by_transformers_mxfp4),
    **dict.fromkeys(("nf4", "fp4"), (BIT_BY_BIT, _four_bit)),
    **dict.fromkeys(("NVFP4", "MXFP4"), (BIT_BY_BIT, _fp4)),
    "gptq": (BIT_BY_BIT, _gptq),
    "awq": (BIT_BY_BIT, _awq),
    "pack-quantized": (BIT_BY_BIT, _pack_quantized),
    "int8": (BIT_BY_BIT, _int8),
}
