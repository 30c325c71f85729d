"""From codes and their scales to float32 weights: table look-ups and products, one function a packing.

Pure functions of tensors: no file, name or method is known here. Unless its docstring says otherwise, a function gives
a weight as `nn.Linear` has it, (outputs, inputs). All arithmetic is in float32, which holds every code and every
product of a code of at most 8 bits and a 16-bit scale exactly; a float32 scale costs one rounding, 6e-8 of the value.
"""

from __future__ import annotations

import math

import torch

# OCP Microscaling Formats 1.0, section 5.3.3: sign, two bits of exponent, one of mantissa
FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which of eight outputs each nibble of an int32 holds


Block = tuple[int, int]  # rows and columns that share a scale


def scaled(
    codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None = None, block: Block | None = None
) -> torch.Tensor:
    """(code − zero) · scale, where a scale (and a zero) belongs to the whole weight, to a row, or to a block of it.

    codes (…, rows, columns) in any format of one value an element · scale, zero: one value; (rows,) or (…, rows, 1);
    or (…, block rows, block columns), whose last may be cut off (DeepSeek-V3, inference/kernel.py).
    block: None if the shapes leave no choice.
    """
    values = codes.float()
    if zero is not None:
        values = values - spread(zero.float(), codes.shape, block)
    return values * spread(exponents(scale), codes.shape, block)


def spread(table: torch.Tensor, shape: torch.Size | tuple[int, ...], block: Block | None = None) -> torch.Tensor:
    """A table of one value a block, row or weight, repeated so that it multiplies a weight of `shape`.

    Raises ValueError where the table fits no division of that shape, or fits several and `block` doesn't choose.
    """
    if table.numel() == 1:
        return table.reshape(())
    if table.dim() == len(shape) - 1 and tuple(table.shape) == tuple(shape[:-1]):
        table = table[..., None]  # one a row
    if table.dim() != len(shape) or table.shape[:-2] != tuple(shape[:-2]):
        raise ValueError(f"a scale of shape {tuple(table.shape)} for codes of shape {tuple(shape)}")
    for axis in (-2, -1):
        size, n_blocks = shape[axis], table.shape[axis]
        if n_blocks not in (1, size):
            size_of_block = block[axis] if block else length(size, n_blocks)
            if -(-size // size_of_block) != n_blocks:
                raise ValueError(f"{n_blocks} scales along an axis of {size}, but blocks are of {size_of_block}")
            table = table.repeat_interleave(size_of_block, dim=axis).narrow(axis, 0, size)
    return table


def length(size: int, n_blocks: int) -> int:
    """The length of the blocks of an axis: the only power of two or even division that makes so many of it."""
    power = 1 << max(0, math.ceil(math.log2(size / n_blocks)))
    lengths = {power} | ({size // n_blocks} if size % n_blocks == 0 else set())
    fitting = [one for one in lengths if -(-size // one) == n_blocks]
    if len(fitting) != 1:
        raise ValueError(f"{n_blocks} scales along an axis of {size}, and nothing says how long their blocks are")
    return fitting[0]


def exponents(scale: torch.Tensor) -> torch.Tensor:
    """A scale in float32; one stored as a byte is an exponent: 2^(byte − 127) (E8M0 of the OCP MX formats)."""
    return torch.exp2(scale.float() - 127) if scale.dtype == torch.uint8 else scale.float()


def nibbles(packed: torch.Tensor) -> torch.Tensor:
    """(…, n) bytes → (…, 2n) numbers below 16, the low half of each byte first."""
    packed = packed.view(torch.uint8)
    return torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2)


def fp4_in_groups(
    codes: torch.Tensor,
    scale: torch.Tensor,
    group: int,
    multiplier: torch.Tensor | None = None,
    divisor: torch.Tensor | None = None,
) -> torch.Tensor:
    """FP4 (E2M1), two a byte along the inputs, with a scale for each group of inputs and perhaps one for all.

    codes (…, rows, columns/2) uint8 · scale (…, rows, groups) float8, or bytes that are exponents · multiplier: the
    scale of all, as modelopt stores it; divisor: its inverse, as compressed-tensors does.
    """
    numbers = nibbles(codes)
    values = torch.tensor(FP4)[numbers.int()] * spread(exponents(scale), numbers.shape, (1, group))
    values = values if multiplier is None else values * multiplier.float()
    return values if divisor is None else values / divisor.float()


def mxfp4_experts(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """gpt_oss's stacked experts: (expert, inputs, outputs), as its module has them.

    codes (expert, outputs, groups, bytes) · scale (expert, outputs, groups), exponents.
    """
    return fp4_in_groups(codes.flatten(-2), scale, 2 * codes.shape[-1]).transpose(-1, -2).contiguous()


def unpacked(words: torch.Tensor, bits: int, dim: int) -> torch.Tensor:
    """Numbers of `bits` bits out of int32 words along an axis, lowest bits first, across words where they don't divide.

    An axis of n words becomes one of ⌊32 n / bits⌋ numbers.
    """
    words = words.movedim(dim, -1).to(torch.int64) & 0xFFFFFFFF
    first = torch.arange(32 * words.shape[-1] // bits) * bits
    word, shift = first // 32, first % 32
    low = words[..., word] >> shift
    high = words[..., (word + 1).clamp(max=words.shape[-1] - 1)] << (32 - shift)
    return ((low | high) & ((1 << bits) - 1)).movedim(-1, dim).to(torch.int32)


def gptq(
    codes: torch.Tensor,
    zero: torch.Tensor,
    scale: torch.Tensor,
    bits: int,
    offset: int,
    group: int,
    g_idx: torch.Tensor | None = None,
) -> torch.Tensor:
    """GPTQ (AutoGPTQ's qlinear modules): numbers packed along the inputs, zeros along the outputs.

    codes (inputs·bits/32, outputs) · zero (groups, outputs·bits/32) · scale (groups, outputs) · g_idx (inputs,): each
    input's group, None where `group` of them follow one another · offset: what must be added to the stored zeros, 1 in
    format v1.
    """
    numbers = unpacked(codes, bits, 0)
    zeros = unpacked(zero, bits, 1)[:, : scale.shape[1]] + offset
    if g_idx is None:
        g_idx = torch.arange(len(numbers)) // group
    g_idx = g_idx.long()
    return ((numbers - zeros[g_idx]).float() * scale.float()[g_idx]).T.contiguous()


def awq(
    codes: torch.Tensor, zero: torch.Tensor, scale: torch.Tensor, bits: int, order: tuple[int, ...], group: int
) -> torch.Tensor:
    """AWQ in its GEMM layout (AutoAWQ's WQLinear_GEMM): numbers packed along the outputs, in an order of its own.

    codes (inputs, outputs·bits/32) · zero (groups, outputs·bits/32) · scale (groups, outputs) · order: which output
    each place of a word holds · group: inputs that share a scale.
    """
    places = torch.argsort(torch.tensor(order))
    numbers, zeros = (
        unpacked(words, bits, 1).reshape(len(words), -1, len(order))[..., places].flatten(1) for words in (codes, zero)
    )
    groups = torch.arange(len(numbers)) // group
    return ((numbers - zeros[groups]).float() * scale.float()[groups]).T.contiguous()


def packed_integers(
    codes: torch.Tensor,
    scale: torch.Tensor,
    shape: tuple[int, ...],
    bits: int,
    group: int,
    zero: torch.Tensor | None = None,
    g_idx: torch.Tensor | None = None,
) -> torch.Tensor:
    """compressed-tensors' pack-quantized: signed numbers, stored with 2^(bits−1) added, packed along the inputs.

    codes (…, rows, words) int32 · scale (…, rows, groups) · shape: (…, rows, columns) · zero: like scale, packed along
    the rows · g_idx (columns,): each column's group, where `group` of them don't follow one another.
    """
    middle = 1 << (bits - 1)
    numbers = unpacked(codes, bits, -1)[..., : shape[-1]] - middle
    zeros = None if zero is None else unpacked(zero, bits, -2)[..., : shape[-2], :] - middle
    if g_idx is not None and bool((g_idx >= 0).all()):  # −1 where columns are in order
        numbers = numbers if zeros is None else numbers - zeros[..., g_idx.long()]
        return numbers.float() * scale.float()[..., g_idx.long()]
    return scaled(numbers, scale, zeros, (1, group))


def int8_rows(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """LLM.int8() (Dettmers et al. 2022): code / 127 times the largest magnitude of its row, which is stored as SCB."""
    return codes.float() * (scale.float()[:, None] / 127)


def four_bit_blocks(
    codes: torch.Tensor,
    table: torch.Tensor,
    largest: torch.Tensor,
    shape: tuple[int, ...],
    block: int,
    nested_table: torch.Tensor | None = None,
    nested_largest: torch.Tensor | None = None,
    nested_block: int = 0,
    offset: float = 0.0,
) -> torch.Tensor:
    """bitsandbytes' 4 bits: a table's value times the largest magnitude of its block (QLoRA, Dettmers et al. 2023).

    codes: bytes of the flattened weight, the high half first · table (16,) · largest (blocks,), one for `block` values.
    With double quantization `largest` is bytes itself: a table's value times the largest of its block, plus an offset.
    """
    if nested_table is not None and nested_largest is not None:
        spread_out = nested_largest.float().repeat_interleave(nested_block)[: len(largest)]
        largest = nested_table.float()[largest.int()] * spread_out + offset
    flat = codes.flatten().view(torch.uint8)
    numbers = torch.stack([flat >> 4, flat & 15], dim=-1).flatten()[: math.prod(shape)]
    return (table.float()[numbers.int()] * largest.float().repeat_interleave(block)[: len(numbers)]).reshape(shape)
