"""A form of every method, read whole and layer by layer, against what it stands for; the storers, the walk.

Every form that is refused is tried too, which takes no time; `make stored-forms` walks all and writes the page.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.stored_forms import FORMS, packing, store_form, walk
from bench.stored_forms.ggml_blocks import BLOCKS
from bench.stored_forms.gguf_files import back, converted, turns
from bench.stored_forms.page import page
from bench.stored_forms.walk import Outcome, first_of_models, outcomes, rotated

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "stored_forms.md"
pytestmark = pytest.mark.filterwarnings("ignore")  # what libraries say of folders that are wrong on purpose


READ = (
    "FP8, blocks of 128 × 128", "FP8, blocks, experts one by one", "FP8, blocks, powers of two as E8M0",
    "MXFP8, `weight_scale_inv`", "FP8, one scale, a number, no config", "FP8, a scale a channel (fbgemm_fp8)",
    "modelopt NVFP4", "MXFP4 experts of gpt-oss", "compressed-tensors FP8, a scale a block",
    "compressed-tensors packed int4, asymmetric", "compressed-tensors packed int4, `weight_g_idx`",
    "compressed-tensors NVFP4", "compressed-tensors MXFP4", "bitsandbytes int8, Conv1D", "bitsandbytes fp4",
    "bitsandbytes nf4, double", "GPTQ, 2 bits, asymmetric", "GPTQ, 4 bits, desc_act, asymmetric",
    "GPTQ, 4 bits, Conv1D", "AWQ, 4 bits, gemm", "FP8 E5M2, one scale", "float16",
    "float32, heads that don't fill the hidden size", "`module.` before every name, .bin", "rotary caches", "GGUF F16",
    "GGUF Q8_0", "GGUF Q4_0", "GGUF Q5_1", "GGUF Q4_K", "GGUF F32, qwen2, biases", "GGUF F32, rope.scaling yarn",
    "GGUF F32, `rope_freqs.weight`",
)  # fmt: skip
REFUSED = [name for name, form in FORMS.items() if form.expected == ("refused",)]
ALL_STAGES = first_of_models()  # what a stage does with a model is the same in every form of it


@pytest.mark.parametrize("name", [*READ, *REFUSED])
def test_both_readings_come_to_what_is_expected(name):
    for reading, outcome in outcomes(name, compared_alone=name not in ALL_STAGES).items():
        assert outcome.is_expected(FORMS[name]), (reading, outcome)


def test_a_reader_that_is_off_is_seen(monkeypatch):
    """Planted: one key projection of the exact values times 1.001, which is what a reader's fault looks like."""
    kept = store_form

    def off(name, folder):
        exact = kept(name, folder)
        key = "model.layers.1.self_attn.k_proj.weight"
        return exact | {key: exact[key] * 1.001}

    monkeypatch.setattr(walk, "store_form", off)
    [outcome] = outcomes("bf16", ("STATIC_ONLY",)).values()
    assert outcome.verdict == "WRONG" and outcome.exact == pytest.approx(1e-3, rel=0.01) and "1," in outcome.why


def test_a_number_that_is_missing_is_wrong(monkeypatch):
    """Planted: a head more than the warehouse can hold."""
    kept = walk.dense_sigmas
    more = {("metric", 2, 0): np.ones(3)}
    monkeypatch.setattr(walk, "dense_sigmas", lambda form, exact: kept(form, exact) | more)
    [outcome] = outcomes("bf16", ("STATIC_ONLY",)).values()
    assert outcome.verdict == "WRONG" and "1 numbers missing, ('metric', 2, 0) first" in outcome.why


def test_storing_that_goes_wrong_is_no_refusal(monkeypatch):
    def fail(name, folder):
        raise ValueError("no such weight")

    monkeypatch.setattr(walk, "store_form", fail)
    answers = outcomes("FP8, no scale at all")
    assert {outcome.verdict for outcome in answers.values()} == {"not stored"} and len(answers) == 2
    assert not any(outcome.is_expected(FORMS["FP8, no scale at all"]) for outcome in answers.values())


def test_a_silent_error_of_storing_is_not_right():
    """Exact to the codes, but the codes are far from the weights: 8 bits don't move σ by a half."""
    form = FORMS["FP8, blocks of 128 × 128"]
    assert Outcome("right", exact=1e-7, original=0.01).is_expected(form)
    assert not Outcome("right", exact=1e-7, original=0.5).is_expected(form)
    assert not Outcome("refused").is_expected(form)


def test_codes_by_hand():
    """The largest of E4M3 is 448, of E2M1 6; halves go to even; the sixteen values differ in their bits."""
    assert packing.to_e4m3(torch.tensor([1.0, -500.0, 0.0])).view(torch.uint8).tolist() == [0x38, 0xFE, 0]
    assert packing.to_e2m1(torch.tensor([0.0, 0.6, -1.4, 9.0, -6.0]).double()).tolist() == [0, 1, 11, 7, 15]
    assert packing.nibbles(torch.tensor([[1, 2, 15, 0]])).tolist() == [[0x21, 0x0F]]
    codes = torch.arange(1, 9)[:, None]
    assert packing.bit_stream(codes, 4).numpy().view(np.uint32).tolist() == [[0x87654321]]
    words = packing.bit_stream(torch.full((32, 1), 5), 3)  # 101 thirty-two times over three words
    assert "".join(f"{word & 0xFFFFFFFF:032b}" for word in reversed(words.flatten().tolist())) == "101" * 32
    order = packing.words_in_order(torch.arange(8)[None], 4, (0, 2, 4, 6, 1, 3, 5, 7))
    assert order.numpy().view(np.uint32).tolist() == [[0x75316420]]


def test_a_scale_stands_where_its_block_is():
    """3 × 5 values in blocks of 2 × 2: those at the edges are smaller, and the largest of each is at its place."""
    weight = torch.arange(15.0).reshape(3, 5).double()
    assert packing.largest(weight, 2, 2).tolist() == [[6, 8, 9], [11, 13, 14]]
    spread = packing.spread(torch.tensor([[1, 2, 3], [4, 5, 6]]), weight, 2, 2)
    assert spread.tolist() == [[1, 1, 2, 2, 3], [1, 1, 2, 2, 3], [4, 4, 5, 5, 6]]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("is_symmetric", [True, False])
def test_whole_numbers_are_near_the_weights(bits, is_symmetric):
    """Half a step, but where the symmetric range, or the widened one's zero, cuts off: a step and a half at most."""
    weight = torch.randn(7, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([0, 1, 2] * 4)
    codes, scales, zeros, exact = packing.affine(weight, bits, groups, is_symmetric, torch.float32)
    assert codes.min() >= 0 and codes.max() < 2**bits and zeros.min() >= 1
    assert ((exact - weight).abs() <= 1.5 * scales[:, groups].double()).all()


@pytest.mark.parametrize("kind", BLOCKS)
def test_ggml_reads_the_blocks_to_the_same_values(kind):
    """The gguf package's own dequantizer, which the storers don't use."""
    import gguf

    size, quantize = BLOCKS[kind]
    blocks = np.random.default_rng(3).standard_normal((6, size))
    stored, values = quantize(blocks)
    read = gguf.dequantize(stored, gguf.GGMLQuantizationType[kind])
    assert read.reshape(values.shape) == pytest.approx(values, abs=1e-6 * np.abs(values).max())
    assert np.abs(values - blocks).max() < 0.4


def test_rows_of_gguf_come_back():
    from types import SimpleNamespace

    config = SimpleNamespace(num_attention_heads=3, num_key_value_heads=1)
    weight = np.arange(24.0).reshape(12, 2)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert converted(name, weight, config)[:4, 0].tolist() == [0, 4, 2, 6]
    assert (back(name, converted(name, weight, config), config) == weight).all()
    assert (converted("model.layers.0.self_attn.v_proj.weight", weight, config) == weight).all()


def test_the_rotation_is_that_of_llama():
    from transformers.models.llama.modeling_llama import rotate_half

    weight = torch.randn(3, 40, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    angles = 16 * turns()
    both = torch.cat([angles, angles])[:, None]
    want = weight * both.cos() + rotate_half(weight.swapaxes(1, 2)).swapaxes(1, 2) * both.sin()
    assert torch.allclose(rotated(weight, angles), want, atol=1e-14)


def test_the_page_names_every_form():
    right = Outcome("right", exact=3e-8, original=0.01)
    found = {name: {"whole": right, "STATIC_ONLY": Outcome("WRONG", "off")} for name in FORMS}
    text = page(found)
    assert len(FORMS) >= 45 and all(f"| {name} |" in text for name in FORMS)
    assert f"{len(FORMS)} right · 0 refused · {len(FORMS)} WRONG" in text and "**WRONG** off" in text


@pytest.mark.skipif(not PAGE.exists(), reason="`make stored-forms` writes it")
def test_the_page_knows_every_form_and_nothing_wrong():
    text = PAGE.read_text(encoding="utf-8")
    names = re.findall(r"^\| (.+?) \| (?:right|refused)", text, re.MULTILINE)
    assert names == [*FORMS] and "· 0 WRONG · 0 crashed**" in text
