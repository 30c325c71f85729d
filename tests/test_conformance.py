"""The gate: every tiny architecture passes it with the right factors, and none with a wrong cut."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_models
import torch
import transformers
from transformers.models.llama.modeling_llama import LlamaAttention

from eigenhouse.ingest.capture import kernel
from eigenhouse.ingest.capture.sites import Unreadable, record_sites
from eigenhouse.ingest.models.loading import KERNEL
from eigenhouse.ingest.proof import conformance, layouts
from eigenhouse.ingest.proof.basis_vectors import read_factors
from eigenhouse.ingest.proof.conformance import TOLERANCE, Evidence, proven_factors
from eigenhouse.ingest.proof.surroundings import read_rope_scale, with_surroundings


def only_site(kind, index=0):
    return tiny_models.sites(tiny_models.build(kind))[index]


def dense_sigma(factors):
    """σ of every head's metric the long way round: the hidden × hidden matrix, float64."""
    group = len(factors.w_q) // len(factors.w_k)
    return [
        np.linalg.svd(factors.w_k[h // group].astype(float).T @ factors.w_q[h].astype(float), compute_uv=False)
        for h in range(len(factors.w_q))
    ]


@pytest.mark.parametrize("kind", tiny_models.CONFIGS)
def test_every_head_is_proved_and_equals_the_basis_vectors(kind):
    """The layout found by the gate and the fallback, which knows no layout, give one metric."""
    model = tiny_models.build(kind)
    pairs = tiny_models.sites(model)
    assert pairs
    for site, single in pairs:
        factors, errors = proven_factors(site, single)
        assert errors.max() < 1e-5
        assert "basis vectors" not in factors.layout
        scale = factors.q_scale * factors.k_scale
        read = read_factors(single, read_rope_scale(site))
        for ours, theirs in zip(dense_sigma(factors), dense_sigma(read), strict=True):
            assert ours * scale == pytest.approx(theirs, abs=1e-4 * theirs[0])
        for w, name in ((factors.w_q, "q_proj.weight"), (factors.w_k, "k_proj.weight")):
            stored = dict(site.module.named_parameters()).get(name)
            if stored is not None and stored.numel() == w.size:  # a double-width q_proj holds a gate as well
                assert np.array_equal(w.reshape(stored.shape), stored.numpy())


@pytest.mark.parametrize("kind", ["latent", "latent keys"])
def test_a_norm_in_the_middle_is_read_without_a_layout(kind):
    """The fallback proves as the layout does, and as it doesn't without the norm or with its maps mixed up."""
    site, single = only_site(kind)
    cut, _ = proven_factors(site, single)
    bare = read_factors(single, None)
    read, evidence = with_surroundings(bare, site, None), Evidence(site)
    assert evidence.errors(read).max() < 1e-5
    assert read.n_position == cut.n_position == 6
    for ours, theirs in ((read.latent_q, cut.latent_q), (read.latent_k, cut.latent_k)):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.down == pytest.approx(theirs.down, abs=1e-5)
            assert ours.offset == pytest.approx(theirs.offset, abs=1e-5)
            assert ours.up == pytest.approx(theirs.up, abs=1e-5)
    assert (evidence.errors(bare.linear_part()) > TOLERANCE).all()
    shuffled = replace(read.latent_k, down=read.latent_k.down[::-1])
    assert (evidence.errors(replace(read, latent_k=shuffled)) > TOLERANCE).all()


def shuffled_groups(factors):
    """Key heads repeated by row instead of by group: query head h meets key head h % G."""
    n_kv_heads = len(factors.w_k)
    order = [h % n_kv_heads for h in range(len(factors.w_q))]
    return replace(factors, w_k=factors.w_k[order], b_k=factors.b_k[order], norm_k=None)


WRONG = {
    "fused interleaved": "cut flat",
    "fused Conv1D": "not transposed",
    "fused grouped": "cut by group",
    "grouped heads": "heads repeated by row",
    "gated q_proj, hybrid": "gate behind all heads",
}


@pytest.mark.parametrize("kind", WRONG, ids=WRONG.values())
def test_a_wrong_cut_of_right_shape_is_refused(kind):
    """Planted: what published scripts do. All shapes fit; the gate alone tells."""
    site, single = only_site(kind)
    right, errors = proven_factors(site, single)
    assert errors.max() < TOLERANCE
    if kind == "grouped heads":
        wrong = shuffled_groups(right)
    else:
        parameters = {name: value.numpy() for name, value in site.module.named_parameters()}
        if kind == "fused Conv1D":  # the rows of the stored (in, out) weight taken for outputs
            weight = parameters["c_attn.weight"].reshape(parameters["c_attn.weight"].shape[::-1])
            parameters = parameters | {"c_attn.weight": np.ascontiguousarray(weight)}
        n_heads, n_kv_heads, head_dim = (
            site.call.query.shape[1],
            site.call.key.shape[1],
            site.call.query.shape[-1],
        )
        cuts = layouts.layouts(parameters, n_heads, n_kv_heads, head_dim, (site.hidden_size, site.hidden_size))
        wrong = next(cut for cut in cuts if cut.layout != right.layout)
        wrong = with_surroundings(wrong, site, None)
    assert wrong.w_q.shape == right.w_q.shape
    # by row, six heads over two key heads: only 1 and 4 meet another's; a gate taken to stand behind all heads
    # leaves head 0 where it was
    spared = {"grouped heads": (0, 2, 3, 5), "gated q_proj, hybrid": (0,)}.get(kind, ())
    fooled = Evidence(site).errors(wrong) > TOLERANCE
    assert fooled.tolist() == [head not in spared for head in range(len(wrong.w_q))]


def test_rows_permuted_within_heads_fail_at_real_positions_only():
    """What a GGUF converter does to q and k alike cancels at position 0 and bends RoPE."""
    site, single = only_site("grouped heads")
    factors, _ = proven_factors(site, single)
    head_dim = factors.w_q.shape[1]
    order = np.arange(head_dim).reshape(2, -1).T.reshape(-1)
    permuted = replace(factors, w_q=factors.w_q[:, order], w_k=factors.w_k[:, order])
    x, y = np.random.default_rng(0).standard_normal((2, 5, site.hidden_size))
    at_zero = [np.einsum("nhc,nhc->nh", f.query(x), np.repeat(f.key(y), 3, axis=1)) for f in (factors, permuted)]
    assert at_zero[0] == pytest.approx(at_zero[1], rel=1e-9)
    assert (Evidence(site).errors(permuted) > TOLERANCE).all()


def test_a_large_bias_hides_no_wrong_weight():
    """Biases a thousand times the weights make up the logit; the linear part still tells."""
    model = tiny_models.build("biased")
    for name, parameter in model.named_parameters():
        if name.endswith(("q_proj.bias", "k_proj.bias")):
            parameter.mul_(1000)
    site, single = tiny_models.sites(model)[0]
    factors, errors = proven_factors(site, single)
    assert errors.max() < TOLERANCE
    wrong = replace(factors, w_q=factors.w_q[::-1])
    full = conformance.relative_error(
        *(
            conformance.logits(q, k)
            for q, k in (
                (factors.query(np.eye(48)[:5]), factors.key(np.eye(48)[5:9])),
                (wrong.query(np.eye(48)[:5]), wrong.key(np.eye(48)[5:9])),
            )
        )
    )
    assert full.max() < 0.02  # nearly blind …
    assert Evidence(site).errors(wrong).min() > 0.1  # … and not fooled


def test_a_zero_head_is_zero_on_both_sides():
    model = tiny_models.build("grouped heads")
    model.get_parameter("layers.0.self_attn.q_proj.weight")[8:16] = 0
    site, single = tiny_models.sites(model)[0]
    factors, errors = proven_factors(site, single)
    assert errors.max() < 1e-5
    w_q = factors.w_q.copy()
    w_q[1, 0, 0] = 1e-6
    assert Evidence(site).errors(replace(factors, w_q=w_q))[1] == np.inf


def test_zero_queries_prove_no_keys():
    """Every logit is 0 whatever W_K is, as at step 0 of a run with W_Q = 0."""
    model = tiny_models.build("grouped heads")
    model.get_parameter("layers.0.self_attn.q_proj.weight").zero_()
    site, single = tiny_models.sites(model)[0]
    factors, errors = proven_factors(site, single)
    assert errors.max() < 1e-5
    wrong = replace(factors, w_k=factors.w_k[::-1], b_k=factors.b_k[::-1])
    assert (Evidence(site).errors(wrong) > TOLERANCE).all()


class Renamed(torch.nn.Module):
    """A projection under a name that no layout knows, its rows shuffled; nonlinear, or times a number, as asked."""

    def __init__(self, linear, order, bend, scale):
        super().__init__()
        self.mystery, self.order, self.bend, self.own = linear, order, bend, scale

    def forward(self, hidden):
        return self.own * self.mystery(hidden.abs() if self.bend else hidden)[..., self.order]


def disguised(bend=False, scale=1.0):
    model = tiny_models.build("biased")
    attention = model.layers[0].self_attn
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    attention.q_proj = Renamed(attention.q_proj, order, bend, scale)
    return model, order


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_unknown_modules_are_read_by_basis_vectors(scale):
    """The weights as the projection has them: what the module multiplies its output with is another number."""
    model, order = disguised(scale=scale)
    weight = model.layers[0].self_attn.q_proj.mystery.weight[order].numpy()
    site, single = tiny_models.sites(model)[0]
    factors, errors = proven_factors(site, single)
    assert factors.layout == "read by basis vectors" and errors.max() < TOLERANCE
    assert (factors.q_scale, factors.k_scale) == (pytest.approx(scale, rel=1e-5), 1.0)
    assert factors.w_q.reshape(48, 48) == pytest.approx(weight, abs=1e-5)
    assert factors.b_q.reshape(48) == pytest.approx(
        model.layers[0].self_attn.q_proj.mystery.bias[order].numpy(), abs=1e-5
    )


@pytest.mark.parametrize("tower", ["PixtralVisionConfig", "MLCDVisionConfig", "InternVLVisionConfig"])
def test_image_towers_are_read_at_all_their_positions(tower):
    """Rotary tables of a whole image fit no single position; InternVL's q_norm is an Identity without use_qk_norm."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 6, "intermediate_size": 40}
    tiny = getattr(transformers, tower)(**sizes, image_size=16, patch_size=4)
    model = tiny_models.randomize(transformers.AutoModel.from_config(tiny, attn_implementation=KERNEL))
    [site], left_out = record_sites(model, model, {"pixel_values": torch.zeros(1, 3, 16, 16)})
    factors, errors = proven_factors(site, site)
    assert site.n_positions > 1 and not left_out and errors.max() < 1e-5
    read = read_factors(site, None)
    for ours, theirs in zip(dense_sigma(factors), dense_sigma(read), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4 * theirs[0])


@pytest.mark.parametrize("kind", [RuntimeError, AttributeError, AssertionError])
def test_a_module_that_fails_alone_is_unreadable(kind):
    site, single = only_site("grouped heads")
    site.module.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(kind("no such shape")))
    with pytest.raises(Unreadable, match=f"run alone: {kind.__name__}: no such shape"):
        proven_factors(site, single)


def test_answers_that_are_no_numbers_are_unreadable():
    """q over its own norm: of the hidden state 0 it is 0 / 0."""
    site, single = only_site("grouped heads")
    site.module.q_proj.register_forward_hook(lambda _module, _args, out: out / out.norm(dim=-1, keepdim=True))
    with pytest.raises(Unreadable, match="aren't finite"):
        proven_factors(site, single)


@pytest.mark.parametrize(
    "mix",
    [
        lambda h: h + h.mean(1, keepdim=True),
        lambda h: h - 0.5 * h.roll(1, 1),
        lambda h: h + 0.3 * h.cumsum(1),
        lambda h: h + 0.7 * h[:, :1],
    ],
    ids=["mean of all", "the one before, around", "sum of those before", "the first"],
)
def test_a_module_that_mixes_tokens_is_unreadable(mix):
    """Equal tokens don't show it: then the mixture is W x times a number."""
    site, single = only_site("grouped heads")
    site.module.q_proj.register_forward_pre_hook(lambda _module, args: (mix(args[0]),))
    with pytest.raises(Unreadable, match="depends on the hidden states at others"):
        proven_factors(site, single)


def test_what_positions_add_is_no_bias():
    """A table of positions that the attention module adds itself: right factors, but no bias to speak of."""
    site, single = only_site("biased")
    assert not proven_factors(site, single)[0].bias_moves
    table = torch.randn(13, 48, generator=torch.Generator().manual_seed(2))
    site.module.q_proj.register_forward_pre_hook(lambda _module, args: (args[0] + table[: args[0].shape[1]],))
    factors, errors = proven_factors(site, single)
    assert errors.max() < 1e-4 and factors.bias_moves
    assert factors.w_q.reshape(48, 48) == pytest.approx(site.module.q_proj.weight.numpy(), abs=1e-5)


def test_a_nonlinear_module_is_unreadable():
    model, _ = disguised(bend=True)
    site, single = tiny_models.sites(model)[0]
    with pytest.raises(Unreadable, match="q is not linear"):
        proven_factors(site, single)


def test_a_bias_of_dead_features_is_a_bias():
    """Features that no hidden state moves tell nothing of how they turn."""
    model = tiny_models.build("biased")
    for side in "qk":
        projection = model.layers[0].self_attn.get_submodule(f"{side}_proj")
        projection.weight.unflatten(0, (-1, 8))[:, [1, 5]] = 0  # a pair that turns together, in all heads
    factors, errors = proven_factors(*tiny_models.sites(model)[0])
    assert errors.max() < 1e-5 and factors.b_q[:, [1, 5]].any() and not factors.bias_moves


class OwnTables(LlamaAttention):
    """Makes its rotary tables itself, as Moshi's does, and others that nothing is turned by."""

    def forward(self, hidden_states, **more):
        self.idle(hidden_states, torch.zeros(1, 1, dtype=torch.long))
        positions = torch.arange(hidden_states.shape[1])[None]
        return super().forward(hidden_states, self.rotary_emb(hidden_states, positions), **more)


def without_tables(_module, args, kwargs):
    return args, {name: value for name, value in kwargs.items() if name != "position_embeddings"}


def test_the_scaling_of_a_modules_own_rotary_tables_is_no_scale_of_q():
    model = tiny_models.build("scaled rope")
    given, _ = proven_factors(*tiny_models.sites(model)[0])
    attention = model.layers[0].self_attn
    attention.rotary_emb, attention.__class__ = model.rotary_emb, OwnTables
    attention.idle = tiny_models.build("grouped heads").rotary_emb
    attention.register_forward_pre_hook(without_tables, with_kwargs=True)
    found, errors = proven_factors(*tiny_models.sites(model)[0])
    assert errors.max() < 1e-5 and (found.q_scale, found.k_scale) == (1.0, 1.0)
    assert found.rope_scale == pytest.approx(given.rope_scale, rel=1e-6)


def test_scalings_are_read_from_the_model():
    """YaRN times eight: 0.1 ln 8 + 1 on all dimensions; OPT multiplies q by c^-1/2 itself."""
    site, _ = only_site("scaled rope")
    assert read_rope_scale(site) == pytest.approx(np.full(8, 0.1 * np.log(8) + 1), rel=1e-5)
    for kind, q_scale, k_scale in (
        ("own q scaling", 14**-0.5, 1.0),
        ("own k scaling", 1.0, 0.3),
        ("grouped heads", 1.0, 1.0),
    ):
        factors, _ = proven_factors(*only_site(kind))
        assert (factors.q_scale, factors.k_scale) == pytest.approx((q_scale, k_scale), rel=1e-5)
        assert factors.rope_scale is None


@pytest.mark.parametrize(
    ("kind", "convention", "spans_heads"),
    [
        ("qk-norm, head_dim not d/H", 0, False),
        ("qk-norm as 1+g, sliding", 1, False),
        ("qk-norm over all heads", 0, True),
    ],
)
def test_norm_gains_are_what_is_applied(kind, convention, spans_heads):
    site, single = only_site(kind)
    factors, _ = proven_factors(site, single)
    for norm, name in ((factors.norm_q, "q_norm.weight"), (factors.norm_k, "k_norm.weight")):
        stored = site.module.get_parameter(name).numpy() + convention
        assert norm.gain.reshape(-1, len(stored)) == pytest.approx(
            np.tile(stored, (norm.gain.size // len(stored), 1)), rel=1e-4
        )
        assert norm.spans_heads == spans_heads and not norm.is_centred and norm.offset == pytest.approx(0, abs=1e-3)


def test_keys_of_another_layer_are_unreadable():
    """Layers that take the keys of an earlier one have no key factor of their own."""
    model = tiny_models.build("grouped heads")
    attention, donor = model.layers[1].self_attn, torch.randn(1, 1, 16)

    class Donated(torch.nn.Module):
        def forward(self, hidden):
            return donor.expand(hidden.shape[0], hidden.shape[1], -1)

    attention.k_proj = Donated()
    site, single = tiny_models.sites(model)[1]
    with pytest.raises(Unreadable, match="k is the same whatever the hidden states"):
        proven_factors(site, single)


def test_a_module_that_answers_nothing_proves_nothing():
    """Keys that are all zero, such as a rotation by tables of zeros makes, fit W_K times 0: no proof of W_K."""
    model = tiny_models.build("grouped heads")
    model.layers[1].self_attn.k_proj.register_forward_hook(lambda _module, _args, out: 0 * out)
    site, single = tiny_models.sites(model)[1]
    with pytest.raises(Unreadable, match="k is the same whatever the hidden states"):
        proven_factors(site, single)


class Sharing(torch.nn.Module):
    """Hands over the key of an earlier layer's forward pass, of one text whatever the batch."""

    def forward(self, hidden):
        key = torch.ones(1, 3, hidden.shape[1], 7)
        query = hidden.unflatten(-1, (3, 7)).transpose(1, 2)
        return kernel.attention_function(self, query, key, key, None)[0].flatten(2)


def test_a_recorded_batch_does_not_pass_for_the_modules_own():
    module = torch.nn.Sequential(Sharing())
    [site], left_out = record_sites(module, module, {"input": torch.randn(1, 13, 21)})
    assert not left_out
    with pytest.raises(Unreadable, match="k is the same whatever the hidden states"):
        proven_factors(site, site)
