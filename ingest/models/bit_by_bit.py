"""Codes dequantized a second time, bit by bit as each format is defined, in numpy and float64.

Nothing of `dequantize.py` is used here, so that a fault there is seen when the two are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from statistics import NormalDist

import numpy as np
import torch

from eigenhouse.ingest.models.weights import FP8, Weight

Parts = Mapping[str, torch.Tensor]


def _bits(words: torch.Tensor, bits: int) -> np.ndarray:
    """(…, word) int32 → (…, number): the bits of all words in a row, lowest first, cut into numbers."""
    stream = np.unpackbits(words.contiguous().numpy().view(np.uint8), axis=-1, bitorder="little")
    n_numbers = stream.shape[-1] // bits
    dealt = stream[..., : n_numbers * bits].reshape(*stream.shape[:-1], n_numbers, bits)
    return dealt.astype(np.int64) @ (1 << np.arange(bits))


def gptq(weight: Weight, parts: Parts) -> np.ndarray:
    bits, group = weight.settings["bits"], weight.settings["group"]
    codes = _bits(parts["codes"].T, bits)  # (outputs, inputs)
    scale = parts["scale"].double().numpy()
    zeros = _bits(parts["zero"], bits)[:, : scale.shape[1]] + weight.settings["offset"]
    groups = parts["g_idx"].numpy() if "g_idx" in parts else np.arange(codes.shape[1]) // group
    return (codes - zeros[groups].T) * scale[groups].T


def awq(weight: Weight, parts: Parts) -> np.ndarray:
    order, group = weight.settings["order"], weight.settings["group"]

    def put_back(words: torch.Tensor) -> np.ndarray:
        stream = _bits(words, weight.bits)
        numbers = np.empty_like(stream)
        for place, output in enumerate(order):
            numbers[:, output :: len(order)] = stream[:, place :: len(order)]
        return numbers

    codes, zeros, scale = put_back(parts["codes"]), put_back(parts["zero"]), parts["scale"].double().numpy()
    return np.stack([(row - zeros[i // group]) * scale[i // group] for i, row in enumerate(codes)], axis=1)


def pack_quantized(weight: Weight, parts: Parts) -> np.ndarray:
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


def int8(weight: Weight, parts: Parts) -> np.ndarray:
    codes, scale = parts["codes"].double().numpy(), parts["scale"].double().numpy()
    if weight.parts["scale"].name.endswith("SCB"):
        return codes * scale.reshape(-1, 1) / 127
    block = weight.settings["block"] or (1, codes.shape[-1])
    zero = parts["zero"].double().numpy() if "zero" in parts else np.zeros_like(scale)
    scale, zero = (side.reshape(-1, 1) if side.ndim < 2 else side for side in (scale, zero))
    row, column = (np.arange(n) // b for n, b in zip(codes.shape, block, strict=True))
    at = (np.minimum(row, len(scale) - 1)[:, None], np.minimum(column, scale.shape[1] - 1)[None])
    return (codes - zero[at]) * scale[at]


def four_bit(weight: Weight, parts: Parts) -> np.ndarray:
    """nf4 and fp4 of bitsandbytes, by the tables of their definitions, not those stored."""
    settings, shape = weight.settings, weight.settings["shape"]
    largest = parts["largest"].double().numpy()
    if "nested_table" in parts:
        table, outer = parts["nested_table"].double().numpy(), parts["nested_largest"].double().numpy()
        places = np.arange(len(largest)) // settings["nested_block"]
        largest = table[largest.astype(int)] * outer[places] + settings["offset"]
    data = parts["codes"].contiguous().view(torch.uint8).flatten().numpy()
    codes = np.unpackbits(data).reshape(-1, 4) @ [8, 4, 2, 1]
    values = (nf4_table() if weight.kind == "nf4" else fp4_table())[codes[: prod(shape)]]
    return (values * largest[np.arange(len(values)) // settings["block"]]).reshape(shape)


def nf4_table() -> np.ndarray:
    """Quantiles of the normal distribution, 8 above 0 and 7 below, scaled to 1 (QLoRA, appendix E)."""
    offset, normal = 0.9677083, NormalDist()
    above = [normal.inv_cdf(p) for p in np.linspace(offset, 0.5, 9)[:-1]]
    below = [-normal.inv_cdf(p) for p in np.linspace(offset, 0.5, 8)[:-1]]
    values = np.sort([*above, 0.0, *below])
    return values / values.max()


def fp4_table() -> np.ndarray:
    """A sign, two bits of exponent and one of mantissa, scaled to 1 (its kernels.cu, dDequantizeFP4Tree)."""
    halves = np.array([0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0]) / 12
    return np.concatenate([halves, -halves])


def fp4(weight: Weight, parts: Parts) -> np.ndarray:
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
