"""Codes to values, each packing against numbers worked out by hand from its definition."""

import pytest
import torch

from eigenhouse.ingest.models import dequantize


def words(*numbers: int, bits: int = 4) -> torch.Tensor:
    """Numbers packed into int32s, lowest bits first: one Python integer cut into words of 32 bits."""
    whole = sum(number << (bits * place) for place, number in enumerate(numbers))
    n_words = -(-len(numbers) * bits // 32)
    cut = [(whole >> (32 * word)) & 0xFFFFFFFF for word in range(n_words)]
    return torch.tensor([word - (1 << 32) if word >> 31 else word for word in cut], dtype=torch.int32)


def test_blocks_whose_last_is_cut_off():
    """5 × 7 in blocks of 2 × 3: three block rows and three block columns, the last ones shorter."""
    codes = torch.ones(5, 7).to(torch.float8_e4m3fn)
    scale = torch.arange(1.0, 10.0).reshape(3, 3)
    got = dequantize.scaled(codes, scale, block=(2, 3))
    want = [[float(scale[row // 2, column // 3]) for column in range(7)] for row in range(5)]
    assert got.tolist() == want


@pytest.mark.parametrize(
    ("table", "want"),
    [([3.0], 3.0), (3.0, 3.0), ([[3.0]], 3.0), ([1.0, 2.0], None), ([[1.0], [2.0]], None)],
    ids=["one", "a number", "one by one", "a row each", "a row each, as a column"],
)
def test_a_scale_of_all_or_of_rows(table, want):
    got = dequantize.scaled(torch.full((2, 3), 5, dtype=torch.int8), torch.tensor(table))
    assert got.tolist() == ([[5 * want] * 3] * 2 if want else [[5.0] * 3, [10.0] * 3])


def test_a_zero_is_taken_off_before_the_scale():
    codes, zero = torch.tensor([[7, -3], [4, 0]], dtype=torch.int8), torch.tensor([[2], [-1]], dtype=torch.int8)
    got = dequantize.scaled(codes, torch.tensor([[0.5], [2.0]]), zero)
    assert got.tolist() == [[2.5, -2.5], [10.0, 2.0]]


def test_bytes_are_exponents():
    scale = torch.tensor([[126, 129]], dtype=torch.uint8)  # 2^-1, 2^2
    assert dequantize.scaled(torch.tensor([[3.0, 3.0]]), scale).tolist() == [[1.5, 12.0]]


@pytest.mark.parametrize(
    ("shape", "codes", "block"),
    [((2, 3), (5, 7), (2, 2)), ((3, 2), (5, 7), (2, 3)), ((2, 2, 2), (5, 7), None), ((4,), (5, 7), None)],
    ids=["other blocks", "transposed", "an axis too many", "other rows"],
)
def test_a_scale_that_does_not_fit(shape, codes, block):
    with pytest.raises(ValueError, match="scale"):
        dequantize.spread(torch.ones(shape), codes, block)


def test_blocks_of_unknown_length():
    """96 in 2 may be blocks of 48, or of 64 with a rest; the others can be but one thing."""
    assert [dequantize.length(64, 2), dequantize.length(160, 5), dequantize.length(301, 3)] == [32, 32, 128]
    with pytest.raises(ValueError, match="nothing says"):
        dequantize.length(96, 2)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_numbers_across_words(bits):
    numbers = [(11 * place + 3) % (1 << bits) for place in range(37)]
    got = dequantize.unpacked(words(*numbers, bits=bits)[None], bits, 1)
    assert got[0, :37].tolist() == numbers


def test_fp4_by_its_table():
    """Codes 0 to 15, low half first; the second group of two has twice the scale."""
    packed = torch.tensor([[0x10, 0x32], [0xDC, 0xFE]], dtype=torch.uint8)
    scale = torch.tensor([[1.0, 2.0], [1.0, 0.5]]).to(torch.float8_e4m3fn)
    got = dequantize.fp4_in_groups(packed, scale, 2, multiplier=torch.tensor(10.0))
    assert got.tolist() == [[0, 5, 20, 30], [-20, -30, -20, -30]]
    halved = dequantize.fp4_in_groups(packed, scale, 2, divisor=torch.tensor(2.0))
    assert halved.tolist() == [[0, 0.25, 1, 1.5], [-1, -1.5, -1, -1.5]]


def test_gptq_by_hand():
    """8 inputs, 8 outputs, two groups. Zeros are stored less one in format v1, and as they are in v2."""
    codes = torch.stack([words(*[(row + column) % 16 for row in range(8)])[0] for column in range(8)])[None]
    zero = torch.stack([words(*[7] * 8), words(*range(8))])
    scale = torch.tensor([[0.5] * 8, [2.0] * 8]).half()
    got = dequantize.gptq(codes, zero, scale, bits=4, offset=1, group=4)
    for row, column in ((0, 0), (3, 5), (4, 2), (7, 7)):
        number = (row + column) % 16
        want = 0.5 * (number - 8) if row < 4 else 2.0 * (number - column - 1)
        assert got[column, row] == want
    second = dequantize.gptq(codes, zero, scale, bits=4, offset=0, group=4)
    assert torch.equal(second - got, torch.tensor([0.5] * 4 + [2.0] * 4).expand(8, 8))


def test_gptq_takes_inputs_out_of_order():
    codes = torch.stack([words(*range(8))[0]] * 3)[None]
    scale = torch.tensor([[1.0] * 3, [10.0] * 3])
    zero = torch.zeros(2, 1, dtype=torch.int32)
    g_idx = torch.tensor([0, 1, 0, 1, 1, 0, 0, 1], dtype=torch.int32)
    got = dequantize.gptq(codes, zero, scale, bits=4, offset=0, group=0, g_idx=g_idx)
    assert got[2].tolist() == [0, 10, 2, 30, 40, 5, 6, 70]


def test_awq_by_hand():
    """One input, eight outputs: AutoAWQ writes output order[place] at each place of a word."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    numbers = [3, 1, 4, 15, 9, 2, 6, 5]
    codes = words(*[numbers[output] for output in order])[None]
    zero = words(*[1] * 8)[None]
    got = dequantize.awq(codes, zero, torch.full((1, 8), 0.5), 4, dequantize.AWQ_ORDER, 1)
    assert got[:, 0].tolist() == [0.5 * (number - 1) for number in numbers]


def test_packed_integers_by_hand():
    """Two rows, five columns in groups of three and two; zeros are packed along the rows."""
    numbers = [[-8, 7, 0, 3, -1], [1, 2, 3, 4, 5]]
    codes = torch.stack([words(*[number + 8 for number in row]) for row in numbers])
    scale = torch.tensor([[1.0, 10.0], [2.0, 20.0]])
    got = dequantize.packed_integers(codes, scale, (2, 5), 4, 3)
    assert got.tolist() == [[-8, 7, 0, 30, -10], [2, 4, 6, 80, 100]]
    zero = torch.stack([words(1 + 8, 2 + 8), words(0 + 8, -3 + 8)], dim=1)
    moved = dequantize.packed_integers(codes, scale, (2, 5), 4, 3, zero)
    assert moved.tolist() == [[-9, 6, -1, 30, -10], [-2, 0, 2, 140, 160]]
    mixed = dequantize.packed_integers(codes, scale, (2, 5), 4, 3, g_idx=torch.tensor([1, 0, 0, 1, 0]))
    assert mixed.tolist() == [[-80, 7, 0, 30, -1], [20, 4, 6, 80, 10]]


def test_int8_rows_are_of_their_largest():
    got = dequantize.int8_rows(torch.tensor([[127, -127], [64, 0]], dtype=torch.int8), torch.tensor([2.0, 12.7]))
    assert got.flatten().tolist() == pytest.approx([2, -2, 6.4, 0], rel=1e-6)


def test_four_bits_of_a_flattened_weight():
    """3 × 2 in blocks of four values: the high half of each byte first, blocks run on over rows."""
    table = torch.arange(16.0) / 10
    packed = torch.tensor([[0x12], [0x34], [0x56]], dtype=torch.uint8)
    got = dequantize.four_bit_blocks(packed, table, torch.tensor([10.0, 100.0]), (3, 2), 4)
    assert got.flatten().tolist() == pytest.approx([1, 2, 3, 4, 50, 60])
    nested = {"nested_table": torch.tensor([0.0, 0.5, 1.0]), "nested_largest": torch.tensor([4.0]), "nested_block": 256}
    bytes_of = torch.tensor([1, 2], dtype=torch.uint8)
    double = dequantize.four_bit_blocks(packed, table, bytes_of, (3, 2), 4, **nested, offset=1.0)
    assert double.flatten().tolist() == pytest.approx([0.3, 0.6, 0.9, 1.2, 2.5, 3.0])
