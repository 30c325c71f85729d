"""Models that aren't text in: every tower a stack of its own, against the dense metric of its own weights."""

import numpy as np
import pytest
import tiny_models
import torch
import transformers
from tiny_ingests import Warehouse
from torch import nn

from eigenhouse.ingest.capture import made_up_inputs
from eigenhouse.ingest.capture.recording import record
from eigenhouse.ingest.capture.sites import Unreadable
from eigenhouse.ingest.models.loading import KERNEL, load_model

# by stack: layers, heads, head_dim, hidden_size, ffn_size; all of a checkpoint's differ, and so do the sizes of one
TEXT = (2, 6, 8, 48, 40)
VISION = (3, 3, 14, 42, 50)
SQUARE = (3, 3, 14, 42, 168)
TURNED = (3, 3, 12, 36, 144)  # by rows in one half of a head, by columns in the other
SOUND = (2, 3, 14, 42, 40)
TOKENS = {"vocab_size": 97, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
IMAGE = {"image_size": 24, "patch_size": 4}
CONVOLVED = {"conv_dim": (10, 10), "conv_kernel": (5, 3), "conv_stride": (3, 2), "num_conv_pos_embeddings": 8}
CONVOLVED |= {"num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2, "vocab_size": 97}


def sizes(stack):
    names = ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")
    return dict(zip(names, (stack[0], stack[1], stack[3], stack[4]), strict=True))


def whisper():
    sides = {"encoder_layers": 3, "encoder_attention_heads": 3, "encoder_ffn_dim": 40}
    sides |= {"decoder_layers": 2, "decoder_attention_heads": 6, "decoder_ffn_dim": 44}
    rest = {"d_model": 42, "num_mel_bins": 11, "max_source_positions": 20, "max_target_positions": 64}
    config = transformers.WhisperConfig(**TOKENS | sides | rest, decoder_start_token_id=1)
    return transformers.WhisperForConditionalGeneration(config)


def two_towers(name):
    config = getattr(transformers, f"{name}Config")(
        text_config=TOKENS | sizes(TEXT), vision_config=IMAGE | sizes(VISION)
    )
    return getattr(transformers, f"{name}Model")(config)


def llava():
    text = TOKENS | sizes(TEXT) | {"num_key_value_heads": 2, "model_type": "llama"}
    vision = IMAGE | sizes(VISION) | {"model_type": "clip_vision_model"}
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_index=96)
    return transformers.LlavaForConditionalGeneration(config)


def gemma3():
    text = TOKENS | sizes(TEXT) | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 5}
    config = transformers.Gemma3Config(text_config=text, vision_config=IMAGE | sizes(VISION))
    return transformers.Gemma3ForConditionalGeneration(config)


def spectrogram():
    shape = {"max_length": 40, "num_mel_bins": 12, "patch_size": 4, "frequency_stride": 4, "time_stride": 4}
    return transformers.ASTModel(transformers.ASTConfig(**sizes(SOUND), **shape))


def heard(name):
    return getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes(SOUND), **CONVOLVED))


def qwen_vl(name):
    """Patches come flat, and attention takes them without a batch; one window of Qwen 2.5 holds the image."""
    text = TOKENS | sizes(TEXT) | {"num_key_value_heads": 2}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
    vision = {"depth": 3, "num_heads": 3, "patch_size": 4, "intermediate_size": 144}
    vision |= (
        {"embed_dim": 36, "hidden_size": 48}
        if name == "Qwen2VL"
        else {"hidden_size": 36, "out_hidden_size": 48, "window_size": 16, "fullatt_block_indexes": [1]}
    )
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=vision)
    return getattr(transformers, f"{name}ForConditionalGeneration")(config)


def sam():
    """Rows and columns are axes of their own; one layer looks at the whole image, the others at four windows of it."""
    shape = sizes(SQUARE) | {"mlp_dim": 168, "output_channels": 6, "window_size": 4, "global_attn_indexes": [1]}
    return transformers.SamVisionModel(transformers.SamVisionConfig(**IMAGE | shape))


def vitdet():
    """One layer has four windows, which are smaller than what a site is cut to; the trace finds them among heads."""
    shape = sizes(SQUARE) | {"window_size": 3, "window_block_indices": [1], "use_relative_position_embeddings": True}
    return transformers.VitDetModel(transformers.VitDetConfig(**IMAGE | shape))


PLAIN = ("q_proj", "k_proj")
# kind → model, and by stack: its shape, how scores learn of positions, layer's attention, projections
KINDS = {
    "whisper": (
        whisper,
        {
            "encoder": ((3, 3, 14, 42, 40), "learned", "model.encoder.layers.{}.self_attn", PLAIN),
            "decoder": ((2, 6, 7, 42, 44), "learned", "model.decoder.layers.{}.self_attn", PLAIN),
            "cross": ((2, 6, 7, 42, 44), "learned", "model.decoder.layers.{}.encoder_attn", PLAIN),
        },
    ),
    **{
        name: (
            lambda name=name: two_towers(name),
            {
                "text": (TEXT, "learned", "text_model.encoder.layers.{}.self_attn", PLAIN),
                "vision": (VISION, "learned", "vision_model.encoder.layers.{}.self_attn", PLAIN),
            },
        )
        for name in ("CLIP", "Siglip")
    },
    **{
        build.__name__: (
            build,
            {
                "text": (TEXT, "rope", "model.language_model.layers.{}.self_attn", PLAIN),
                "vision": (VISION, "learned", "model.vision_tower.encoder.layers.{}.self_attn", PLAIN),
            },
        )
        for build in (llava, gemma3)
    },
    **{
        name: (
            lambda name=name: heard(name),
            {None: (SOUND, "learned", "encoder.layers.{}.attention", PLAIN)},
        )
        for name in ("Wav2Vec2", "Hubert")
    },
    **{
        name: (
            lambda name=name: qwen_vl(name),
            {
                "text": (TEXT, "rope", "model.language_model.layers.{}.self_attn", PLAIN),
                "vision": (TURNED, "rope", "model.visual.blocks.{}.attn", ("qkv",)),
            },
        )
        for name in ("Qwen2VL", "Qwen2_5_VL")
    },
    "sam": (sam, {None: (SQUARE, "learned", "vision_encoder.layers.{}.attn", ("qkv",))}),
    "vitdet": (vitdet, {None: (SQUARE, "learned", "encoder.layer.{}.attention", ("qkv",))}),
    "spectrogram": (spectrogram, {None: (SOUND, "learned", "layers.{}.attention", PLAIN)}),
}


@pytest.fixture
def ingest(tmp_path, monkeypatch):
    """Ingests a model and gives the warehouse that it is in."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))

    warehouse = Warehouse(tmp_path)

    def run(model, *arguments):
        tiny_models.randomize(model).save_pretrained(tmp_path / "tiny")
        warehouse.ingest(tmp_path / "tiny", *arguments)
        return warehouse

    return run


def metric_sigmas(attention, names, n_heads):
    """Singular values of W_Kᵀ W_Q by head from a dense SVD, (head, hidden)."""
    weights = [getattr(attention, name).weight.double().numpy() for name in names]
    w_q, w_k = np.split(weights[0], 3)[:2] if names == ("qkv",) else weights
    head_dim = len(w_q) // n_heads
    w_q, w_k = w_q.reshape(n_heads, head_dim, -1), w_k.reshape(-1, head_dim, w_k.shape[1])
    w_k = np.repeat(w_k, n_heads // len(w_k), axis=0)
    return np.linalg.svd(np.swapaxes(w_k, 1, 2) @ w_q, compute_uv=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_tower_is_a_stack(ingest, kind):
    build, stacks = KINDS[kind]
    model = build()
    columns = "n_layers, n_heads, head_dim, hidden_size, ffn_size, position_encoding"
    shapes, ids, worst, sigmas, ups, skipped, rotated = ingest(model, "--static-only").ask_all(
        f"select stack, {columns} from models",
        "select model_id from models",
        "select stack, max(max_rel_error) from models join conformance using (model_key) group by all",
        "select stack, list(sigma order by layer, head, k) from singular_values join models using (model_key) "
        "where operator = 'metric' group by all",
        "select stack, list(n_rows) from weights join models using (model_key) where weight = 'up' group by all",
        "select module from skipped_modules where stage = 'factors' and not contains(module, 'metric_')",
        "select distinct stack from models join singular_values using (model_key) where operator = 'metric_rope_1'",
    )
    expected = {stack: (*shape, encoding) for stack, (shape, encoding, *_) in stacks.items()}
    assert {row[0]: row[1:] for row in shapes} == expected
    assert {row[0] for row in ids} == {f"tiny#{s}" if s else "tiny" for s in stacks}
    assert dict(worst).keys() == stacks.keys() and max(dict(worst).values()) < 1e-5
    for stack, ((n_layers, n_heads, head_dim, _, ffn_size), _, path, names) in stacks.items():
        dense = [metric_sigmas(model.get_submodule(path.format(layer)), names, n_heads) for layer in range(n_layers)]
        assert np.reshape(dict(sigmas)[stack], (n_layers, n_heads, head_dim)) == pytest.approx(
            np.stack(dense)[:, :, :head_dim], rel=1e-4
        )
        assert dict(ups).get(stack) == (None if stack == "cross" else [ffn_size] * n_layers)
    assert not skipped
    assert {stack for (stack,) in rotated} == {
        stack for stack, (shape, encoding, *_) in stacks.items() if encoding == "rope" and shape is not TURNED
    }


def test_text_runs_through_the_text_tower(ingest, tmp_path):
    """Entropies of CLIP's text tower against its own eager weights; its vision tower has none, and says why."""
    (tmp_path / "tiny").mkdir()
    tiny_models.save_tokenizer(tmp_path / "tiny")
    model = two_towers("CLIP")
    model.set_attn_implementation("eager")
    ask = ingest(model, "--dynamic-only", "--prompts", tiny_models.prompts(tmp_path, 7)).ask
    ids = torch.tensor([[(7 * i + 7) % 95 + 2 for i in range(7)]])
    attentions = model.text_model(input_ids=ids, output_attentions=True).attentions
    weights = torch.stack([layer[0] for layer in attentions]).double()
    entropy = -torch.xlogy(weights, weights).sum(-1).mean(-1)
    rows = ask(
        "select stack, layer, head, entropy_nats from models join attention_stats using (model_key) order by all"
    )
    assert [row[:3] for row in rows] == [("text", layer, head) for layer in range(2) for head in range(6)]
    assert [row[3] for row in rows] == pytest.approx(entropy.flatten().tolist(), rel=1e-4)
    refused = "select stack, reason from models join skipped_modules using (model_key) where module = 'attention_stats'"
    assert ask(refused) == [("vision", "prompts are text, which does not run through this stack")]


def test_sound_needs_no_tokenizer(ingest):
    ask = ingest(heard("Wav2Vec2")).ask
    [(reason,)] = ask("select reason from skipped_modules where module = 'attention_stats'")
    assert "takes input_values" in reason


def test_a_tower_with_unknown_inputs_is_skipped_with_a_reason(ingest):
    text = TOKENS | sizes(TEXT) | {"model_type": "opt", "ffn_dim": 40, "word_embed_proj_dim": 48}
    asking = sizes(TEXT) | {"encoder_hidden_size": 42, "vocab_size": 97}
    config = transformers.Blip2Config(text_config=text, vision_config=IMAGE | sizes(VISION), qformer_config=asking)
    ask = ingest(transformers.Blip2ForConditionalGeneration(config), "--static-only").ask
    assert ask("select stack, n_heads from models order by 1") == [("text", 6), ("vision", 3)]
    assert ask("select module, reason from skipped_modules where module like '%qformer%'") == [
        ("qformer.encoder.layer", "it takes query_embeds, for which no probe is known")
    ]


def test_a_stack_that_cannot_be_read_takes_no_other_along(ingest, monkeypatch):
    from eigenhouse.ingest.stages import factors as factor_stage

    real = factor_stage.proven_factors

    def refusing(site, single):
        if site.path.startswith("vision"):
            raise Unreadable("planted")
        return real(site, single)

    monkeypatch.setattr(factor_stage, "proven_factors", refusing)
    ask = ingest(two_towers("CLIP"), "--static-only").ask
    assert ask("select model_id from models") == [("tiny#text",)]
    planted = ask("select module from skipped_modules where reason = 'planted' order by 1")
    assert planted == [(f"vision_model.encoder.layers.{layer}.self_attn",) for layer in range(3)]


def test_lengths_of_probes():
    """Sites of one length where the part can be so short, in the same order at every length."""
    for build in (whisper, llava, lambda: heard("Wav2Vec2"), spectrogram, lambda: qwen_vl("Qwen2VL"), sam):
        model = tiny_models.randomize(build())
        model.set_attn_implementation(KERNEL)
        many, one = (record(model, model.base_model, n) for n in (13, 1))
        assert [site.path for site in many.sites] == [site.path for site in one.sites] != []
        assert {site.n_positions for site in many.sites} == {13}
        assert {site.n_positions for site in one.sites} == {1}


def test_a_waveform_makes_as_many_frames():
    frames = nn.Sequential(nn.Conv1d(1, 2, 5, 3), nn.Conv1d(2, 2, 3, 2))(
        torch.zeros(1, 1, made_up_inputs.n_samples(11, [5, 3], [3, 2]))
    )
    assert frames.shape[-1] == 11


def moonshine():
    sides = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in
             (("num_hidden_layers", 2), ("num_attention_heads", 6), ("num_key_value_heads", 6))}  # fmt: skip
    config = transformers.MoonshineConfig(**TOKENS, hidden_size=48, intermediate_size=40, **sides)
    return transformers.MoonshineForConditionalGeneration(config)


def speech_to_text():
    sides = {"encoder_layers": 2, "encoder_attention_heads": 3, "encoder_ffn_dim": 40}
    sides |= {"decoder_layers": 2, "decoder_attention_heads": 6, "decoder_ffn_dim": 44}
    rest = {"d_model": 42, "input_feat_per_channel": 12, "max_source_positions": 60, "max_target_positions": 64}
    return transformers.Speech2TextForConditionalGeneration(
        transformers.Speech2TextConfig(**TOKENS, **sides, **rest, conv_channels=16, decoder_start_token_id=1)
    )


def vision_encoder_decoder():
    vision = transformers.ViTConfig(**IMAGE, **sizes(VISION))
    text = transformers.GPT2Config(
        n_embd=48, n_head=6, n_layer=2, vocab_size=97, n_positions=64, add_cross_attention=True
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    config.decoder_start_token_id, config.pad_token_id = 1, 0
    return transformers.VisionEncoderDecoderModel(config)


def pix2struct():
    text = {"hidden_size": 48, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 6, "decoder_start_token_id": 1}
    vision = {"hidden_size": 48, "patch_embed_hidden_size": 48, "d_kv": 16, "d_ff": 44, "seq_len": 64}
    vision |= {"num_hidden_layers": 2, "num_attention_heads": 3}
    config = transformers.Pix2StructConfig(text_config={"vocab_size": 97} | text, vision_config=vision)
    return transformers.Pix2StructForConditionalGeneration(config)


DECODERS = {build.__name__: build for build in (whisper, moonshine, speech_to_text, vision_encoder_decoder, pix2struct)}


@pytest.mark.parametrize("kind", DECODERS)
def test_text_runs_through_a_decoder_beside_sound_or_an_image(ingest, tmp_path, kind):
    """Entropies of the decoder's own attention, its text beside a silent sound or a blank image, in one padded batch.

    The encoder and the cross-attention have none: they would tell of what was made up.
    """
    (tmp_path / "tiny").mkdir()
    tiny_models.save_tokenizer(tmp_path / "tiny")
    model = DECODERS[kind]()
    ask = ingest(model, "--dynamic-only", "--prompts", tiny_models.prompts(tmp_path, 7, 4)).ask
    loaded = load_model(tiny_models.local_source(tmp_path / "tiny"), False, whole=True)
    beside = record(loaded.model, loaded.body, 13).beside
    assert beside and not any(value.any() for value in beside.values())
    model = type(model).from_pretrained(tmp_path / "tiny", attn_implementation="eager").eval()
    for prompt, length in enumerate((7, 4)):
        ids = torch.tensor([[(7 * i + length) % 95 + 2 for i in range(length)]])
        with torch.no_grad():
            attentions = model(**beside, decoder_input_ids=ids, output_attentions=True).decoder_attentions
        weights = torch.stack([layer[0] for layer in attentions]).double()
        entropy = -torch.xlogy(weights, weights).sum(-1).mean(-1)
        rows = ask(
            "select stack, layer, head, entropy_nats from models join attention_stats using (model_key) "
            f"where prompt = {prompt} order by all"
        )
        assert [row[:3] for row in rows] == [("decoder", layer, head) for layer in range(2) for head in range(6)]
        assert [row[3] for row in rows] == pytest.approx(entropy.flatten().tolist(), rel=1e-4, abs=1e-6)
    reasons = dict(
        ask("select stack, reason from models join skipped_modules using (model_key) where module = 'attention_stats'")
    )
    assert "does not run through this stack" in reasons["encoder"]
    assert "made up" in reasons["cross"]
    assert reasons.keys() == {"encoder", "cross"}


def test_a_decoder_that_runs_alone_only_has_no_statistics(ingest, tmp_path, monkeypatch):
    """Without the encoder's states it would attend to something else."""
    (tmp_path / "tiny").mkdir()
    tiny_models.save_tokenizer(tmp_path / "tiny")
    monkeypatch.setitem(made_up_inputs.MAKERS, "pixel_values", lambda part, n: iter(()))
    ask = ingest(vision_encoder_decoder(), "--no-weights").ask
    reasons = "select distinct reason from skipped_modules where module = 'attention_stats'"
    assert ask(reasons) == [("prompts are text, and the decoder that takes it can't be run beside its encoder",)]
    assert ask("select count(*) > 0 from singular_values") == [(True,)]


def test_a_decoder_without_a_tokenizer_is_no_reason_to_stop(ingest):
    ask = ingest(whisper(), "--no-weights").ask
    reasons = ask("select distinct reason from skipped_modules where module = 'attention_stats'")
    assert len(reasons) == 1 and "want a tokenizer" in reasons[0][0]
    assert ask("select count(distinct stack) from models join singular_values using (model_key)") == [(3,)]
