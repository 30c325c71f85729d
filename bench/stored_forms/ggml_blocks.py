"""Blocks of ggml's formats, from the structures in ggml-common.h and dequantize_row_* in ggml-quants.c.

Each function takes blocks (block, value) in float64 and returns the bytes and the exact values. Rounding is not ggml's,
which searches for better scales: what counts is what the bytes stand for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Quantize = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def as_bytes(*parts: np.ndarray) -> np.ndarray:
    """Parts of each block one behind the other."""
    return np.concatenate([np.ascontiguousarray(part).view(np.uint8).reshape(len(part), -1) for part in parts], axis=1)


def bf16(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper half of a float32, rounded to even."""
    bits = blocks.astype(np.float32).view(np.uint32).astype(np.uint64)
    upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    values = (upper << 16).astype(np.uint32).view(np.float32)
    return upper.astype(np.uint16).view(np.uint8), values.astype(np.float64)


def f16(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = blocks.astype(np.float16)
    return half, half.astype(np.float64)


def q8_0(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """d, then 32 signed bytes: d × q."""
    d = (np.abs(blocks).max(1, keepdims=True) / 127).astype(np.float16)
    q = np.rint(blocks / d).clip(-127, 127).astype(np.int8)
    return as_bytes(d, q), d.astype(np.float64) * q


def low_and_high(q: np.ndarray) -> np.ndarray:
    """Value j of the first half of a block in the low half of byte j, that of the second in the high one."""
    half = q.shape[1] // 2
    return (q[:, :half] | q[:, half:] << 4).astype(np.uint8)


def fifth_bits(q: np.ndarray) -> np.ndarray:
    """Bit j of a word of 32 is the highest of value j."""
    return (((q >> 4) & 1) << np.arange(32)).sum(1, keepdims=True).astype(np.uint32)


def signed(bits: int) -> Quantize:
    """Q4_0, Q5_0: d × (q - half of the range)."""
    middle = 2 ** (bits - 1)

    def quantize(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d = (np.abs(blocks).max(1, keepdims=True) / (middle - 0.5)).astype(np.float16)
        q = (np.rint(blocks / d) + middle).clip(0, 2 * middle - 1).astype(np.int64)
        parts = (d, fifth_bits(q), low_and_high(q & 15)) if bits == 5 else (d, low_and_high(q))
        return as_bytes(*parts), d.astype(np.float64) * (q - middle)

    return quantize


def offset(bits: int) -> Quantize:
    """Q4_1, Q5_1: d × q + m."""
    top = 2**bits - 1

    def quantize(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        m = blocks.min(1, keepdims=True).astype(np.float16)
        d = ((blocks.max(1, keepdims=True) - m) / top).astype(np.float16)
        q = np.rint((blocks - m.astype(np.float64)) / d).clip(0, top).astype(np.int64)
        parts = (d, m, fifth_bits(q), low_and_high(q & 15)) if bits == 5 else (d, m, low_and_high(q))
        return as_bytes(*parts), d.astype(np.float64) * q + m.astype(np.float64)

    return quantize


def q4_k(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """d, dmin, 12 bytes of eight scales and eight minima of six bits each, 128 bytes: d × scale × q - dmin × minimum.

    Of 64 values the first 32 are in the low halves of 32 bytes, the others in the high ones.
    """
    parts = blocks.reshape(len(blocks), 8, 32)
    low = np.maximum(-parts.min(2), 0)
    step = (parts.max(2) + low) / 15
    d, dmin = ((of.max(1, keepdims=True) / 63).astype(np.float16) for of in (step, low))
    scale = np.rint(step / d).clip(1, 63).astype(np.int64)
    minimum = np.rint(low / dmin).clip(0, 63).astype(np.int64)
    factor = (d.astype(np.float64) * scale)[..., None]
    below = (dmin.astype(np.float64) * minimum)[..., None]
    q = np.rint((parts + below) / factor).clip(0, 15).astype(np.int64)
    packed = np.zeros((len(blocks), 12), dtype=np.int64)
    for j in range(4):  # get_scale_min_k4
        packed[:, j] = scale[:, j] | (scale[:, j + 4] >> 4) << 6
        packed[:, j + 4] = minimum[:, j] | (minimum[:, j + 4] >> 4) << 6
        packed[:, j + 8] = (scale[:, j + 4] & 15) | (minimum[:, j + 4] & 15) << 4
    halves = (q[:, 0::2] | q[:, 1::2] << 4).astype(np.uint8)
    return as_bytes(d, dmin, packed.astype(np.uint8), halves), (factor * q - below).reshape(blocks.shape)


def q6_k(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """128 bytes of the low four bits, 64 of the high two, 16 signed scales, d: d × scale × (q - 32).

    16 values have a scale; of 128 the first and third 32 share bytes, the second and fourth.
    """
    parts = blocks.reshape(len(blocks), 16, 16)
    step = np.abs(parts).max(2) / 31
    d = (step.max(1, keepdims=True) / 127).astype(np.float16)
    scale = np.rint(step / d).clip(1, 127).astype(np.int64)
    factor = (d.astype(np.float64) * scale)[..., None]
    q = (np.rint(parts / factor) + 32).clip(0, 63).astype(np.int64)
    quarters = q.reshape(len(blocks), 2, 4, 32)  # of 128 values, 32 each
    low = np.concatenate([quarters[:, :, :2] & 15 | (quarters[:, :, 2:] & 15) << 4], axis=2)
    high = sum((quarters[:, :, part] >> 4) << 2 * part for part in range(4))
    stored = as_bytes(low.astype(np.uint8), np.asarray(high).astype(np.uint8), scale.astype(np.int8), d)
    return stored, (factor * (q - 32)).reshape(blocks.shape)


# by the name of the type: values a block, and how it is made
BLOCKS: dict[str, tuple[int, Quantize]] = {
    "F16": (32, f16),
    "BF16": (32, bf16),
    "Q8_0": (32, q8_0),
    "Q4_0": (32, signed(4)),
    "Q4_1": (32, offset(4)),
    "Q5_0": (32, signed(5)),
    "Q5_1": (32, offset(5)),
    "Q4_K": (256, q4_k),
    "Q6_K": (256, q6_k),
}
