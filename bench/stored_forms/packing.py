"""Rounding and packing of single weights, written from the definitions of the formats: plain, and with no reader.

A weight is (outputs, inputs) float64. Whatever is returned as exact is computed from the codes and scales as stored.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

Tensor = torch.Tensor
E4M3, E8M0 = torch.float8_e4m3fn, torch.float8_e8m0fnu
E4M3_MAX, E2M1_MAX, E8M0_BIAS = 448.0, 6.0, 127
# OCP Microscaling Formats 1.0, E2M1: sign bit, two of exponent, one of mantissa
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=torch.float64)


def largest(weight: Tensor, rows: int, columns: int) -> Tensor:
    """Of every block's values the largest; blocks at the edges are smaller."""
    rows, columns = min(rows, weight.shape[0]), min(columns, weight.shape[1])
    bottom, right = -weight.shape[0] % rows, -weight.shape[1] % columns
    padded = nn.functional.pad(weight.abs(), (0, right, 0, bottom))
    return padded.unflatten(1, (-1, columns)).unflatten(0, (-1, rows)).amax((1, 3))


def spread(scales: Tensor, like: Tensor, rows: int, columns: int) -> Tensor:
    """The scale of every value: that of (i, j) stands at (i // rows, j // columns)."""
    i, j = torch.arange(like.shape[0]) // rows, torch.arange(like.shape[1]) // columns
    return scales[i][:, j]


def to_e4m3(values: Tensor) -> Tensor:
    return values.clamp(-E4M3_MAX, E4M3_MAX).float().to(E4M3)


def e4m3_by_blocks(weight: Tensor, rows: int, columns: int, scale_dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """(codes, scales, exact): the scale takes a block's largest value to the largest of E4M3."""
    scales = (largest(weight, rows, columns) / E4M3_MAX).to(scale_dtype)
    steps = spread(scales.double(), weight, rows, columns)
    codes = to_e4m3(weight / steps)
    return codes, scales, codes.double() * steps


def e4m3_by_powers(weight: Tensor, rows: int, columns: int, is_ceiled: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(codes, exponents as uint8, exact): the scale is a power of two, 2 ** (exponent - 127).

    is_ceiled: as DeepSeek has it, where nothing is cut off; else as OCP has it: floor(log2(largest)) - 8.
    """
    most = largest(weight, rows, columns)
    powers = (most / E4M3_MAX).log2().ceil() if is_ceiled else most.log2().floor() - 8
    steps = spread(2.0**powers, weight, rows, columns)
    codes = to_e4m3(weight / steps)
    return codes, (powers + E8M0_BIAS).to(torch.uint8), codes.double() * steps


def to_e2m1(values: Tensor) -> Tensor:
    """The nearest of the sixteen, as its number."""
    nearest = (values.abs().clamp(max=E2M1_MAX)[..., None] - E2M1[:8]).abs().argmin(-1)
    return nearest + 8 * (values < 0)


def nibbles(codes: Tensor) -> Tensor:
    """Two codes a byte, the first in the low half."""
    return (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8)


def e2m1_by_powers(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """MXFP4, (bytes, exponents, exact): 32 inputs share a power of two; OCP: floor(log2(largest)) - 2."""
    powers = largest(weight, 1, 32).log2().floor() - 2
    steps = spread(2.0**powers, weight, 1, 32)
    codes = to_e2m1(weight / steps)
    return nibbles(codes), (powers + E8M0_BIAS).to(torch.uint8), E2M1[codes] * steps


def e2m1_by_two_scales(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """NVFP4, (bytes, scales in E4M3 of 16 inputs each, scale of the tensor, exact)."""
    whole = (weight.abs().max() / (E2M1_MAX * E4M3_MAX)).float()
    scales = to_e4m3(largest(weight, 1, 16) / E2M1_MAX / whole.double())
    steps = spread(scales.double(), weight, 1, 16) * whole.double()
    codes = to_e2m1(weight / steps)
    return nibbles(codes), scales, whole, E2M1[codes] * steps


def bit_stream(codes: Tensor, bits: int) -> Tensor:
    """int32 words down the first axis, the first code in the lowest bits, codes running over from word to word."""
    numbers = codes.numpy().astype(np.int64)
    words = np.zeros((-(-len(numbers) * bits // 32), numbers.shape[1]), dtype=np.int64)
    for number, row in enumerate(numbers):
        word, shift = divmod(number * bits, 32)
        words[word] |= row << shift & 0xFFFFFFFF
        if shift + bits > 32:
            words[word + 1] |= row >> (32 - shift)
    return torch.from_numpy(words.astype(np.uint32).view(np.int32))


def words_in_order(codes: Tensor, bits: int, order: tuple[int, ...]) -> Tensor:
    """int32 words along the second axis; code order[i] of each word's own lies at bit i × bits."""
    numbers = codes.numpy().astype(np.int64).reshape(len(codes), -1, len(order))
    words = np.zeros(numbers.shape[:2], dtype=np.int64)
    for place, which in enumerate(order):
        words |= numbers[:, :, which] << place * bits
    return torch.from_numpy(words.astype(np.uint32).view(np.int32))


def affine(
    weight: Tensor, bits: int, group_of: Tensor, is_symmetric: bool, scale_dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(codes, scales, zeros, exact), all but the scales whole numbers from 0: exact = scale × (code - zero).

    group_of: (inputs,) the number of the group that each input belongs to, which has one scale and zero an output.
    """
    top, middle = 2**bits - 1, 2 ** (bits - 1)
    codes, exact = torch.zeros(weight.shape, dtype=torch.int64), torch.zeros_like(weight)
    scales = torch.zeros(len(weight), int(group_of.max()) + 1, dtype=scale_dtype)
    zeros = torch.full(scales.shape, middle, dtype=torch.int64)
    for group in range(scales.shape[1]):
        own = group_of == group
        low, high = weight[:, own].amin(1).clamp(max=0), weight[:, own].amax(1).clamp(min=0)
        step = torch.maximum(-low, high) / (middle - 0.5) if is_symmetric else 1.2 * (high - low) / top
        scales[:, group] = step.to(scale_dtype)
        scale = scales[:, group].double()
        if not is_symmetric:  # never 0, which the first format of GPTQ can't hold
            zeros[:, group] = (-low / scale).round().clamp(1, top).long()
        zero = zeros[:, group, None]
        codes[:, own] = ((weight[:, own] / scale[:, None]).round() + zero).clamp(0, top).long()
        exact[:, own] = scale[:, None] * (codes[:, own] - zero)
    return codes, scales, zeros, exact
