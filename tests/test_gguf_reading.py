"""Every type of tensor is read twice, by two dequantizers and two ways of putting rows back."""

import gguf
import numpy as np
import pytest
import tiny_ggufs
import tiny_models
import torch
from tiny_ggufs import assert_same, load, zeros

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import gguf_facts, gguf_reading, gguf_tokenizer, gguf_witness, loading

# --- tensors


NAMES = ("token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.1.ffn_down.weight")
KINDS = [
    "F16", "BF16", "F64", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
    "IQ4_XS", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ3_S", "IQ2_S", "IQ1_M",
]  # fmt: skip

LEAST = {"block_count": 1, "embedding_length": 768, "attention.head_count": 3}


def encoded(kind, shape):
    """Bytes of a type: gguf's own encoding where it has one, else blocks whose scales are fair halves."""
    seed = np.random.default_rng(3)
    values = seed.normal(size=shape).astype(np.float32)
    if kind == gguf.GGMLQuantizationType.F64:
        return values.astype(np.float64)
    try:
        return gguf.quantize(values, kind)
    except NotImplementedError:
        n_values, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        blocks = seed.integers(0, 256, (shape[0] * shape[1] // n_values, n_bytes), dtype=np.uint8)
        half = np.frombuffer(np.array([0.013], "<f2").tobytes(), np.uint8)
        for at in {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}.get(
            kind.name, (0,)
        ):
            blocks[:, at : at + 2] = half
        if kind.name == "IQ1_M":  # its scale is in the high nibbles of four words
            blocks[:, 49:56:2] = blocks[:, 49:56:2] & 15 | np.array([0x10, 0x20, 0x10, 0x20], np.uint8)
        return blocks.reshape(shape[0], -1)


@pytest.mark.parametrize("kind", KINDS)
def test_two_dequantizers_agree(kind, tmp_path):
    """gguf's in numpy with transformers' processor, and transformers' in torch with our own indices."""
    kind = gguf.GGMLQuantizationType[kind]
    model = tiny_ggufs.build("llama", num_attention_heads=4, hidden_size=256, intermediate_size=512, head_dim=10)
    tensors = tiny_ggufs.stored("llama", model)
    raw = {name: encoded(kind, tensors[name].shape) for name in NAMES}
    path = tiny_ggufs.write(
        tmp_path / "tiny.gguf",
        "llama",
        tiny_ggufs.keys_of("llama", model.config),
        tensors | raw,
        raw=dict.fromkeys(NAMES, kind),
    )
    readings = gguf_reading.readers(path, load(path, whole=False))
    by_tensor = {reading.stored[0]: reading for reading in readings.values()}
    for name in NAMES:
        first, second = by_tensor[name].read(), gguf_witness.witness(path, name)
        assert by_tensor[name].type_name == kind.name and first.shape == second.shape
        assert first.abs().max() > 1e-3
        torch.testing.assert_close(second, first, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", [*KINDS, "F32"])
def test_blocks_are_read_and_dequantized_as_gguf_does(kind, tmp_path, monkeypatch):
    """To the bit, though at other numbers of blocks at a time: the last ones are fewer."""
    kind = gguf.GGMLQuantizationType[kind]
    monkeypatch.setattr(gguf_reading, "VALUES_AT_ONCE", 1024)
    path = tiny_ggufs.write(tmp_path / "tiny.gguf", "llama", LEAST, {"x": encoded(kind, (7, 768))}, raw={"x": kind})
    [theirs] = gguf.GGUFReader(str(path)).tensors
    data = gguf_facts.stored_data(gguf_facts.read_facts(path), "x")
    assert (data.dtype, data.shape) == (theirs.data.dtype, theirs.data.shape)
    np.testing.assert_array_equal(data, theirs.data)
    wanted = theirs.data if kind == kind.F64 else gguf.dequantize(theirs.data, kind)
    found = gguf_reading.dequantized(data, kind)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    assert found.shape == (7, 768) and found.dtype == np.float32


def test_the_vocabulary_is_left_alone(tmp_path, monkeypatch):
    """gguf's own reader makes objects of every token, which takes longer than to read the weights."""
    path = tiny_ggufs.save(tmp_path / "tiny.gguf", "llama", tiny_ggufs.build("llama"))

    def refused(*_):
        raise AssertionError("the whole file is parsed")

    monkeypatch.setattr(gguf, "GGUFReader", refused)
    monkeypatch.setattr(gguf_reading.gguf_models, "load_gguf_checkpoint", refused)
    loaded = load(path, whole=False)
    for name, _ in loaded.named_parameters():
        gguf_reading.readers(path, loaded)[name].read()
    gguf_witness.witness(path, "blk.1.attn_q.weight")


@pytest.mark.parametrize("name", tiny_ggufs.MODELS)
def test_the_witness_puts_every_tensor_in_its_place(name, tmp_path):
    path = tiny_ggufs.save(tmp_path / "tiny.gguf", name, tiny_ggufs.build(name))
    model = load(path)
    for parameter, reading in gguf_reading.readers(path, model).items():
        made = [gguf_witness.witness(path, stored) for stored in reading.stored]
        seen = made[0].reshape(reading.shape) if len(made) == 1 else torch.cat(made, dim=1)
        if name == "gpt-oss" and len(made) > 1:  # gates and inputs in turns
            seen = torch.stack(made, dim=-1).reshape(reading.shape)
        assert torch.equal(seen, model.state_dict()[parameter]), parameter


def test_a_permutation_left_out_is_seen_by_the_witness(tmp_path, monkeypatch):
    """Planted: a processor that leaves rows as they are."""
    path = tiny_ggufs.save(tmp_path / "tiny.gguf", "llama", tiny_ggufs.build("llama"))
    monkeypatch.setitem(gguf_reading.gguf_models.TENSOR_PROCESSORS, "llama", gguf_reading.gguf_models.TensorProcessor)
    readings = gguf_reading.readers(path, load(path, whole=False))
    read = readings["model.layers.1.self_attn.q_proj.weight"].read()
    assert not torch.equal(read, gguf_witness.witness(path, "blk.1.attn_q.weight"))


@pytest.mark.parametrize("kind", ["I8", "I32", "Q8_K"])
def test_a_type_that_nothing_dequantizes_is_refused(kind, tmp_path):
    kind = gguf.GGMLQuantizationType[kind]
    model = tiny_ggufs.build("llama", num_attention_heads=4, hidden_size=256, head_dim=10)
    tensors = tiny_ggufs.stored("llama", model)
    n_values, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    rows, columns = tensors["blk.1.attn_q.weight"].shape
    dtype = {"I8": np.int8, "I32": np.int32}.get(kind.name, np.uint8)
    width = columns if kind.name != "Q8_K" else columns // n_values * n_bytes
    raw = {"blk.1.attn_q.weight": np.ones((rows, width), dtype)}
    keys = tiny_ggufs.keys_of("llama", model.config)
    path = tiny_ggufs.write(tmp_path / "tiny.gguf", "llama", keys, tensors | raw, raw={"blk.1.attn_q.weight": kind})
    with pytest.raises(EigenhouseError, match=rf"{kind.name} in blk\.1\.attn_q\.weight"):
        load(path)


@pytest.mark.parametrize(
    ("number", "wanted"), [(None, "F32"), (7, "Q8_0"), (15, "Q4_K_M"), (1024, "F32"), (999, "F32")]
)
def test_the_type_of_the_file(number, wanted, tmp_path):
    general = {"general.file_type": number}
    path = tiny_ggufs.save(tmp_path / "tiny.gguf", "llama", tiny_ggufs.build("llama"), general=general)
    assert gguf_facts.file_type(path) == wanted


def test_a_blob_is_read_with_its_tokenizer(tmp_path):
    model = tiny_ggufs.build("qwen2")
    assert_same(model, tiny_ggufs.save(tmp_path / "sha256-0f3c", "qwen2", model))
    tokenizer = loading.load_tokenizer(tiny_models.local_source(tmp_path / "sha256-0f3c"), False)
    assert len(tokenizer) >= 97
    with gguf_tokenizer.quickly_read():
        ours = gguf.GGUFReader(tmp_path / "sha256-0f3c")
    theirs = gguf.GGUFReader(tmp_path / "sha256-0f3c")
    assert type(ours) is not type(theirs) and not isinstance(ours.data, np.memmap)
    assert ours.fields.keys() == theirs.fields.keys()
    for name, field in theirs.fields.items():
        assert ours.fields[name].contents() == field.contents()


def test_a_shape_of_another_model_is_refused(tmp_path):
    path = tiny_ggufs.save(tmp_path / "a.gguf", "llama", tiny_ggufs.build("llama"), keys={"feed_forward_length": 44})
    with pytest.raises(EigenhouseError, match=r"gate_proj.weight of shape \(44, 48\); got \(40, 48\)"):
        load(path)
    transposed = {"blk.0.ffn_down.weight": zeros(40, 48)}
    path = tiny_ggufs.save(tmp_path / "b.gguf", "llama", tiny_ggufs.build("llama"), tensors=transposed)
    with pytest.raises(EigenhouseError, match=r"down_proj.weight of shape \(48, 40\); got \(40, 48\)"):
        load(path)
