"""Every variant of tiny models against dense d × d metrics, written out from the weights by the architecture's book."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_models
import torch
import transformers
from tiny_ingests import Warehouse

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.geometry import operators
from eigenhouse.ingest.geometry.heads import Change

REL = 2e-5  # float32 weights in, float32 values out
DISTANCES = (1, 4, 16)


@pytest.fixture
def ingest(tmp_path, monkeypatch):
    """Ingests a tiny checkpoint statically; gives a function that asks the warehouse."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    warehouse = Warehouse(tmp_path)

    def run(kind, *arguments, weights=False):
        folder = tmp_path / kind.replace(" ", "-").replace("/", "-")
        if not folder.exists():
            tiny_models.save(kind, folder)
        part = ["--static-only"] if weights else ["--static-only", "--no-weights"]
        warehouse.ingest(folder, "--name", "tiny", *part, *arguments)
        return warehouse.ask

    return run


def array(parameter):
    return parameter.detach().double().numpy()


def model_of(tmp_path, kind):
    folder = tmp_path / kind.replace(" ", "-").replace("/", "-")
    return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)


def llama(layer):
    attention = layer.self_attn
    return attention, array(attention.q_proj.weight), array(attention.k_proj.weight)


def neox(layer):
    rows = array(layer.attention.query_key_value.weight).reshape(3, 3, 14, 42)  # head, of q k v, feature, hidden
    return layer.attention, rows[:, 0].reshape(42, 42), rows[:, 1].reshape(42, 42)


def gpt2(layer):
    w_q, w_k, _ = np.split(array(layer.attn.c_attn.weight).T, 3)
    return layer.attn, w_q, w_k


def rotation_matrix(model, distance, head_dim, n_rotated):
    """R(Δ), scaling and all, by turning the pairs (i, i + n/2) one by one: the convention of all models here."""
    cos, sin = model.rotary_emb(torch.zeros(1, 1, 1), torch.tensor([[distance]]))
    turn = np.eye(head_dim)
    half = n_rotated // 2
    for i in range(half):
        c, s = float(cos[0, 0, i]), float(sin[0, 0, i])
        turn[np.ix_([i, i + half], [i, i + half])] = [[c, -s], [s, c]]
    cos_0, _ = model.rotary_emb(torch.zeros(1, 1, 1), torch.tensor([[0]]))
    turn[:n_rotated, :n_rotated] *= float(cos_0[0, 0, 0])  # the key's own scaling
    return turn


def check(ask, operator, dense):
    """Singular values, eigenvalues, norms and grams of an operator; dense: (layer, head) → the metric itself."""
    heads = ask(
        "select layer, head, list(sigma order by k), eigenvalues, metric_fro_sq, trace from singular_values join ("
        "select operator, layer, head, list(eigenvalue order by k) as eigenvalues from eigenvalues group by all"
        ") using (operator, layer, head) join head_norms using (operator, layer, head) "
        f"where operator = '{operator}' group by all order by layer, head"
    )
    assert [row[:2] for row in heads] == sorted(dense)
    for layer, head, sigma, found, fro_sq, trace in heads:
        metric = dense[layer, head]
        wanted = np.linalg.svd(metric, compute_uv=False)[: len(sigma)]
        assert sigma == pytest.approx(wanted, rel=REL, abs=REL * wanted[0])
        values = np.linalg.eigvalsh((metric + metric.T) / 2)
        values = values[np.argsort(-np.abs(values))]
        assert sorted(found) == pytest.approx(sorted(values[: len(found)]), abs=REL * abs(values[0]))
        assert (fro_sq, trace) == pytest.approx((np.square(metric).sum(), np.trace(metric)), rel=REL, abs=REL)
    pairs = ask(f"select head, layer, other_layer, gram from grams where operator = '{operator}'")
    n_layers, n_heads = (1 + max(place[axis] for place in dense) for axis in (0, 1))
    assert len(pairs) == n_heads * n_layers * (n_layers + 1) // 2
    for head, layer, other, gram in pairs:
        one, two = dense[layer, head], dense[other, head]
        assert gram == pytest.approx((one * two).sum(), abs=REL * np.linalg.norm(one) * np.linalg.norm(two))


def metrics(w_q, w_k, n_heads, n_kv_heads, between=None):
    head_dim = len(w_q) // n_heads
    between = np.eye(head_dim) if between is None else between
    found = []
    for head in range(n_heads):
        key = head // (n_heads // n_kv_heads)
        rows_q, rows_k = (w[at * head_dim : (at + 1) * head_dim] for w, at in ((w_q, head), (w_k, key)))
        found.append(rows_k.T @ between @ rows_q)
    return found


@pytest.mark.parametrize(
    ("kind", "parts", "gain", "shape"),
    [
        ("grouped heads", llama, lambda layer: layer.input_layernorm.weight, (6, 2)),
        ("qk-norm as 1+g, sliding", llama, lambda layer: 1 + layer.input_layernorm.weight, (6, 2)),
        ("fused interleaved", neox, lambda layer: layer.input_layernorm.weight, (3, 3)),
        ("fused Conv1D", gpt2, lambda layer: layer.ln_1.weight, (3, 3)),
    ],
)
def test_folded(ingest, tmp_path, kind, parts, gain, shape):
    ask = ingest(kind, "--variants", "folded")
    model = model_of(tmp_path, kind)
    dense = {}
    for number, layer in enumerate(getattr(model, "layers", None) or model.h):
        _, w_q, w_k = parts(layer)
        gamma = array(gain(layer))
        dense |= {(number, head): metric for head, metric in enumerate(metrics(w_q * gamma, w_k * gamma, *shape))}
    check(ask, "metric_folded", dense)


def test_biased(ingest, tmp_path):
    ask = ingest("biased", "--variants", "biased")
    dense = {}
    for number, layer in enumerate(model_of(tmp_path, "biased").layers):
        attention, w_q, w_k = llama(layer)
        w_q, w_k = (
            np.column_stack([weight, array(module.bias)])
            for weight, module in ((w_q, attention.q_proj), (w_k, attention.k_proj))
        )
        dense |= {(number, head): metric for head, metric in enumerate(metrics(w_q, w_k, 6, 2))}
    assert dense[0, 0].shape == (49, 49)
    check(ask, "metric_biased", dense)


@pytest.mark.parametrize(
    ("kind", "offset", "shape"),
    [
        ("qk-norm, head_dim not d/H", 0, (6, 2)),
        ("qk-norm as 1+g, sliding", 1, (6, 2)),
        ("qk-norm over all heads", 0, (6, 2)),
    ],
)
def test_qk_normed(ingest, tmp_path, kind, offset, shape):
    ask = ingest(kind, "--variants", "qk_normed")
    dense = {}
    for number, layer in enumerate(model_of(tmp_path, kind).layers):
        attention, w_q, w_k = llama(layer)
        gain_q, gain_k = (offset + array(norm.weight) for norm in (attention.q_norm, attention.k_norm))
        w_q, w_k = (np.resize(gain, len(w))[:, None] * w for gain, w in ((gain_q, w_q), (gain_k, w_k)))
        dense |= {(number, head): metric for head, metric in enumerate(metrics(w_q, w_k, *shape))}
    check(ask, "metric_qk_normed", dense)


@pytest.mark.parametrize(
    ("kind", "parts", "shape", "n_rotated"),
    [
        ("grouped heads", llama, (6, 2), 8),
        ("scaled rope", llama, (6, 2), 8),
        ("qk-norm, head_dim not d/H", llama, (6, 2), 10),
        ("fused interleaved", neox, (3, 3), None),
    ],
)
def test_rope(ingest, tmp_path, kind, parts, shape, n_rotated):
    ask = ingest(kind, "--variants", "rope_1,rope_4,rope_16")
    model = model_of(tmp_path, kind)
    for distance in DISTANCES:
        dense = {}
        for number, layer in enumerate(model.layers):
            _, w_q, w_k = parts(layer)
            head_dim = len(w_q) // shape[0]
            cos, _ = model.rotary_emb(torch.zeros(1, 1, 1), torch.tensor([[distance]]))
            turn = rotation_matrix(model, distance, head_dim, n_rotated or cos.shape[-1])
            dense |= {(number, head): metric for head, metric in enumerate(metrics(w_q, w_k, *shape, turn))}
        check(ask, f"metric_rope_{distance}", dense)


def latent_parts(layer):
    """Latent attention by the book, (head, feature, hidden): content of q and k with the gains of their latents' norms
    and without, and the features for positions alone."""
    attention, ones = layer.self_attn, 1.0
    down = array(attention.kv_a_proj_with_mqa.weight)
    up = array(attention.kv_b_proj.weight).reshape(3, 15, 20)[:, :10]  # head, 10 of content and 5 values, latent
    gain = array(attention.kv_a_layernorm.weight)
    if attention.q_lora_rank is None:
        queries = [array(attention.q_proj.weight).reshape(3, 16, 42)] * 2
    else:
        gains = (ones, array(attention.q_a_layernorm.weight))
        w_b, w_a = (array(linear.weight) for linear in (attention.q_b_proj, attention.q_a_proj))
        queries = [((w_b * gamma) @ w_a).reshape(3, 16, 42) for gamma in gains]
    keys = [(up * gamma) @ down[:20] for gamma in (ones, gain)]
    content = [(q[:, :10], k) for q, k in zip(queries, keys, strict=True)]
    return content, (queries[0][:, 10:], np.stack([down[20:]] * 3))


@pytest.mark.parametrize("kind", ["latent", "latent keys"])
def test_latent_attention(ingest, tmp_path, kind):
    """The metric is of the content; positions are an operator of their own; a rotation has both."""
    ask = ingest(kind, "--variants", "folded,qk_normed,position,rope_4")
    dense = {}
    turn = np.eye(6)  # the pairs (2i, 2i + 1) by 4 times their frequency
    for i, angle in enumerate(4 * 10000.0 ** (-np.arange(0, 6, 2) / 6)):
        pair = [2 * i, 2 * i + 1]
        turn[np.ix_(pair, pair)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for number, layer in enumerate(model_of(tmp_path, kind).layers):
        ((q, k), gained), (position_q, position_k) = latent_parts(layer)
        gamma = array(layer.input_layernorm.weight)
        for head in range(3):
            content, position = k[head].T @ q[head], position_k[head].T @ position_q[head]
            for operator, metric in {
                "metric": content,
                "metric_folded": gamma[:, None] * content * gamma,
                "metric_qk_normed": gained[1][head].T @ gained[0][head],
                "metric_position": position,
                "metric_rope_4": content + position_k[head].T @ turn @ position_q[head],
            }.items():
                dense.setdefault(operator, {})[number, head] = metric
    for operator, metrics_of in dense.items():
        check(ask, operator, metrics_of)
    assert ask("select distinct head_dim, position_dim from layers") == [(10, 6)]
    ranks = "select operator, count(*) from null_head_spectra where layer = 1 and head = 2 group by all order by all"
    assert ask(ranks) == [
        ("metric", 10), ("metric_folded", 10), ("metric_position", 6), ("metric_qk_normed", 10), ("metric_rope_4", 16)
    ]  # fmt: skip


def test_biases_of_latents(ingest, tmp_path):
    """A bias of the first projection passes through the second."""
    ask = ingest("latent", "--variants", "biased")
    dense = {}
    for number, layer in enumerate(model_of(tmp_path, "latent").layers):
        attention = layer.self_attn
        w_q = array(attention.q_b_proj.weight) @ np.column_stack(
            [array(attention.q_a_proj.weight), array(attention.q_a_proj.bias)]
        )
        down = np.column_stack([array(attention.kv_a_proj_with_mqa.weight), array(attention.kv_a_proj_with_mqa.bias)])
        w_k = array(attention.kv_b_proj.weight).reshape(3, 15, 20)[:, :10] @ down[:20]
        w_q = w_q.reshape(3, 16, 43)[:, :10]
        dense |= {(number, head): w_k[head].T @ w_q[head] for head in range(3)}
    check(ask, "metric_biased", dense)


def test_what_does_not_apply_is_skipped_with_a_reason(ingest):
    """GPT-2: learned positions, no q/k-norm. BERT: norms stand after the sum, so none feeds attention alone."""
    ask = ingest("fused Conv1D", "--variants", "all")
    reasons = dict(ask("select module, reason from skipped_modules where starts_with(module, 'metric')"))
    absent = {"metric_qk_normed", "metric_position"}
    assert reasons.keys() == {*absent, *(f"metric_{name}" for name in operators.NAMES if "rope" in name)}
    assert "no rotary positions" in reasons["metric_rope_4"] and "no q-norm" in reasons["metric_qk_normed"]
    found = ask("select distinct operator from singular_values order by all")
    assert found == [("head_product",), ("metric",), ("metric_biased",), ("metric_folded",)]


def test_a_post_norm_model_has_no_folded_operator(ingest):
    ask = ingest("encoder", "--variants", "folded")
    [(reason,)] = ask("select reason from skipped_modules where module = 'metric_folded'")
    assert "no norm in the layer's own block" in reason


def test_a_block_that_runs_on_its_own_output_has_no_folded_operator(ingest):
    """ALBERT: the norm behind a layer makes the next one's hidden states, but as the residual stream."""
    ask = ingest("shared layers", "--variants", "folded")
    [(reason,)] = ask("select reason from skipped_modules where module = 'metric_folded'")
    assert "no norm in the layer's own block" in reason
    assert ask("select distinct operator from grams") == [("metric",)]


def test_a_rotation_beyond_the_models_positions_is_skipped(ingest):
    ask = ingest("grouped heads", "--variants", "rope_16,rope_64")
    assert ask("select module, reason from skipped_modules") == [("metric_rope_64", "it can't be run at 68 positions")]


def test_variants_come_and_go_alone(ingest):
    """Other variants replace the old ones, and leave the plain operators' rows; those leave the variants'."""
    kind = "grouped heads"
    ask = ingest(kind, "--variants", "folded,rope_1")
    count = "select operator, count(*) from singular_values group by all order by all"
    before = ask(count)
    assert [row[0] for row in before] == ["head_product", "metric", "metric_folded", "metric_rope_1"]
    assert ask("select count(distinct operator) from grams") == [(3,)]
    ingest(kind, "--variants", "rope_4")
    assert [row[0] for row in ask(count)] == ["head_product", "metric", "metric_rope_4"]
    assert ask("select distinct operator from grams order by all") == [("metric",), ("metric_rope_4",)]
    ingest(kind, "--variants", "rope_4", "--eigenvectors", "none")  # spectra anew, variants and grams not
    assert [row[0] for row in ask(count)] == ["head_product", "metric", "metric_rope_4"]
    assert ask("select distinct operator from head_descriptors order by all") == [
        ("head_product",), ("metric",), ("metric_rope_4",)
    ]  # fmt: skip


def test_names():
    assert operators.asked("all") == operators.NAMES and operators.asked("none") == ()
    assert operators.asked("rope_16, metric_folded") == ("folded", "rope_16")
    with pytest.raises(EigenhouseError, match="rope_7"):
        operators.asked("folded,rope_7")


def changed_by(change, faults):
    """The change with a fault in the parts that it has."""
    parts = {name: fault(getattr(change, name)) for name, fault in faults.items() if getattr(change, name) is not None}
    return replace(change, **parts)


def test_a_wrong_gain_is_not_taken(ingest, monkeypatch):
    """A planted fault in the folding: the variant stays out and says by how much it is off; the rest goes in."""
    factor = Change.factor
    reverse = {"gain": lambda array: array[::-1].copy(), "turn": lambda array: array}
    monkeypatch.setattr(Change, "factor", lambda change, weight: factor(changed_by(change, reverse), weight))
    ask = ingest("grouped heads", "--variants", "folded,rope_1")
    reasons = ask("select module, reason from skipped_modules")
    assert len(reasons) == 2 and all("off by" in reason for _, reason in reasons)
    assert ask("select distinct operator from grams order by all") == [("metric",), ("metric_rope_1",)]


def test_a_wrong_turn_is_not_taken(ingest, monkeypatch):
    factor = Change.factor
    back = {"gain": lambda array: array, "turn": lambda array: array.swapaxes(1, 2).copy()}
    monkeypatch.setattr(Change, "factor", lambda change, weight: factor(changed_by(change, back), weight))
    ask = ingest("grouped heads", "--variants", "rope_1")
    assert all("off by" in reason for (reason,) in ask("select reason from skipped_modules"))
    assert ask("select count(*) from skipped_modules") == [(2,)]


@pytest.mark.parametrize(("kind", "whole"), [("latent", []), ("latent keys", [("q", 48, 42)])])
def test_latent_attention_has_whole_matrices_or_products(ingest, kind, whole):
    """The weights' spectra are of whole matrices; a product of several matrices is skipped."""
    ask = ingest(kind, "--variants", "none", weights=True)
    assert ask("select distinct weight, n_rows, n_cols from weights where weight in ('q', 'k', 'v')") == whole
    reasons = dict(ask("select module, reason from skipped_modules where stage = 'weights'"))
    assert "no k matrix, but products" in reasons["model.layers.0.self_attn.k"]
    assert ("model.layers.0.self_attn.q" in reasons) == (not whole)
