"""A key or tensor that can't be put right refuses the file; what is left aside has a reason; none is ignored."""

from dataclasses import replace
from fnmatch import fnmatch

import gguf
import pytest
import tiny_ggufs
import tiny_models
from tiny_ggufs import assert_same, load, zeros

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import gguf_config, gguf_facts, gguf_rules, loading

# --- refused, left aside, beside the point


REFUSED = {
    "an unknown key": ("llama", {"attention.novelty": 3}, {}, {}, r"llama\.attention\.novelty = 3 "),
    "experts": ("llama", {"expert_count": 8}, {}, {}, r"llama\.expert_count = 8"),
    "clamp": ("llama", {"attention.clamp_kqv": 5.0}, {}, {}, "clamp_kqv = 5"),
    "ALiBi": ("gpt2", {"attention.max_alibi_bias": 8.0}, {}, {}, "max_alibi_bias"),
    "embedding scale": ("llama", {"embedding_scale": 12.0}, {}, {}, "embedding_scale"),
    "residual scale": ("llama", {"residual_scale": 0.22}, {}, {}, "residual_scale"),
    "attention scale": ("llama", {"attention.scale": 0.0625}, {}, {}, r"an attention\.scale of 0\.35"),
    "no causal mask": ("qwen2", {"attention.causal": False}, {}, {}, r"attention\.causal = False"),
    "window": ("qwen2", {"attention.sliding_window": 5}, {}, {}, r"attention\.sliding_window = 5"),
    "softcap": ("llama", {"attn_logit_softcapping": 50.0}, {}, {}, "attn_logit_softcapping"),
    "values of another size": ("llama", {"attention.value_length": 10}, {}, {}, r"value_length of 8.* got 10"),
    "head_dim of a class without": ("gpt2", {"attention.key_length": 10}, {}, {}, "heads of 10; got 14"),
    "layers that differ": ("llama", {"attention.head_count_kv": [2, 3]}, {}, {}, r"got \[2, 3\]"),
    "unpermuted rows": ("llama", {"tensor_data_layout": "reference"}, {}, {}, "tensor_data_layout"),
    "part of the head rotated": ("llama", {"rope.dimension_count": 4}, {}, {}, "the file's rotary frequencies"),
    "more rotated than there is": ("llama", {"rope.dimension_count": 16}, {}, {}, "1 to 8 rotated dimensions"),
    "axes of positions": ("qwen2", {"rope.dimension_sections": [2, 1, 1, 0]}, {}, {}, "one position a token"),
    "a type of scaling": ("llama", {"rope.scaling.type": "dynamic"}, {}, {}, "'dynamic'"),
    "half a longrope": ("phi3", {}, {"rope_factors_long.weight": zeros(4) + 1}, {}, "not both"),
    "longrope without factors": ("llama", {"rope.scaling.type": "longrope"}, {}, {}, "not both"),
    "a table of other length": ("llama", {}, {"rope_freqs.weight": zeros(5) + 1}, {}, "4 positive factors; got 5"),
    "a table of zeros": ("llama", {}, {"rope_freqs.weight": zeros(4)}, {}, "4 positive factors"),
    "yarn in part": ("llama", {"rope.scaling.type": "yarn", "rope.scaling.yarn_ext_factor": 0.5}, {}, {}, "YaRN whole"),
    "two bases": ("llama", {"rope.freq_base_swa": 500.0}, {}, {}, "500.0 for layers with a window"),
    "norms of q": ("llama", {}, {"blk.0.attn_q_norm.weight": zeros(8)}, {}, r"none for 1 of them, blk\.0\.attn_q_norm"),
    "o bias of qwen2": ("qwen2", {}, {"blk.1.attn_output.bias": zeros(48)}, {}, r"blk\.1\.attn_output\.bias first"),
    "more layers than set": ("llama", {"block_count": 1}, {}, {}, r"none for 9 of them, blk\.1\."),
    "fewer layers than set": ("llama", {"block_count": 3}, {}, {}, r"none for model\.layers\.2\."),
    "a scale beside a tensor": ("llama", {}, {"blk.0.attn_q.scale": zeros(1)}, {}, r"blk\.0\.attn_q\.scale first"),
    "a tensor that lacks": ("llama", {}, {"blk.0.attn_k.weight": None}, {}, r"none for model\.layers\.0.*k_proj"),
    "an adapter": ("llama", {}, {}, {"general.type": "adapter"}, "merge it into its model"),
    "a vision part": ("llama", {}, {}, {"general.type": "mmproj"}, "pass the file of its text model"),
    "an imatrix": ("llama", {}, {}, {"general.type": "imatrix"}, "statistics for a quantizer"),
    "no heads": ("llama", {"attention.head_count": None}, {}, {}, r"llama\.attention\.head_count; got no such key"),
    "no window": ("gemma3", {"attention.sliding_window": None}, {}, {}, r"attention\.sliding_window; got None"),
    "scale of gemma": ("gemma2", {"attention.scale": 0.3}, {}, {}, "whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_put_right_is_refused(case, tmp_path):
    name, keys, tensors, general, match = REFUSED[case]
    model = tiny_ggufs.build(name)
    path = tiny_ggufs.save(tmp_path / "tiny.gguf", name, model, keys=keys, tensors=tensors, general=general)
    with pytest.raises(EigenhouseError, match=match) as caught:
        loading.load_model(tiny_models.local_source(path), False, whole=False).checkpoint  # noqa: B018
    assert len(str(caught.value).splitlines()) == 1 and str(path) in str(caught.value)


@pytest.mark.parametrize("architecture", ["deci", "command-r", "granite", "controlvector", "clip"])
def test_architectures_that_are_not_read(architecture, tmp_path):
    keys = {"block_count": 1, "embedding_length": 8, "attention.head_count": 2}
    path = tiny_ggufs.write(tmp_path / "tiny.gguf", architecture, keys, {"token_embd.weight": zeros(97, 8)})
    with pytest.raises(EigenhouseError, match=f"{architecture}"):
        load(path)


def test_what_changes_nothing_is_read(tmp_path):
    keys = {
        "attention.clamp_kqv": 0.0,
        "expert_count": 0,
        "attention.causal": True,
        "logit_scale": 0.5,
        "pooling_type": 3,
        "rope.scaling.finetuned": True,
        "tensor_data_layout": "Meta AI original pth",
        "attention.scale": 8**-0.5,
        "vocab_size": 90,
        "rope.dimension_sections": [0, 0, 0, 0],
        "rope.freq_base_swa": 10000.0,
        "attention.key_length_swa": 8,
    }
    model = tiny_ggufs.build("llama")
    path = tiny_ggufs.save(tmp_path / "tiny.gguf", "llama", model, keys=keys)
    assert_same(model, path)
    assert gguf_facts.left_aside(path) == {}


def test_what_is_left_aside_has_a_reason(tmp_path):
    model = tiny_ggufs.build("llama")
    path = tiny_ggufs.save(
        tmp_path / "tiny.gguf",
        "llama",
        model,
        keys={"block_count": 3, "nextn_predict_layers": 1, "vision.block_count": 27, "mm.tokens_per_image": 256},
        tensors={"v.patch_embd.weight": zeros(3, 5), "mm.0.weight": zeros(5, 3), "blk.2.attn_q.weight": zeros(7, 3)},
        general={"general.mood": "blue", "general.license": "mit", "strange.key": 3, "tokenizer.ggml.bos_token_id": 1},
    )
    assert_same(model, path)
    assert gguf_facts.left_aside(path).keys() == {
        "llama.vision.block_count", "llama.mm.tokens_per_image", "v.patch_embd.weight", "mm.0.weight",
        "blk.2.attn_q.weight", "general.mood", "strange.key",
    }  # fmt: skip


def sections(keys=gguf.Keys):
    for value in vars(keys).values():
        if isinstance(value, type):
            yield from sections(value)
        elif isinstance(value, str) and value.startswith("{arch}."):
            yield value.removeprefix("{arch}.").replace("{dense}", "dense_2")


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_no_key_that_gguf_knows_is_ignored(name, tmp_path, monkeypatch):
    """Each, with a value that says something, changes the config or a rotation, or is refused, or is on a list."""
    path = tiny_ggufs.save(tmp_path / "tiny.gguf", name, tiny_ggufs.build(name))
    header, known = gguf_facts.read_header(path), sorted(set(sections()))
    plain, lists = gguf_config.load_config(path).to_dict(), (*gguf_rules.BESIDE, *gguf_rules.LEFT_ASIDE)
    ignored = []
    for key in known:
        changed = {f"{header.architecture}.{key}": "novel" if key.endswith(("type", "layout")) else 0.37}
        monkeypatch.setattr(gguf_facts, "read_header", lambda _, more=changed: replace(header, keys=header.keys | more))
        try:
            config = gguf_config.load_config(path).to_dict()
        except EigenhouseError:
            continue
        if config == plain and not any(fnmatch(key, pattern) for pattern in lists):
            ignored.append(key)
    in_tensors = {"vocab_size"}  # of the table itself
    beside = {key for key in known if key.startswith("rope.")} if name == "gpt2" else set()
    unused = {"rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scaling.yarn_log_multiplier"}
    unused |= {"rope.scaling.original_context_length"}  # of YaRN alone
    stretch = {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"}  # of the built model, tested above
    assert len(known) > 80 and set(ignored) <= in_tensors | beside | unused | stretch, ignored
