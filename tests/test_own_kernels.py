"""Models that compute their scores past the attention interface: what is traced, and that it is what they did."""

from dataclasses import replace

import duckdb
import numpy as np
import pytest
import tiny_models
import torch
from torch import nn

from eigenhouse.ingest.capture import kernel
from eigenhouse.ingest.capture.tracing import tracing
from eigenhouse.ingest.proof.conformance import TOLERANCE, Evidence, proven_factors
from eigenhouse.ingest.runs import run
from eigenhouse.options import Ingest

KINDS = [kind for kind in tiny_models.CONFIGS if kind.startswith("own kernel")]
# what the softmax's argument is to q·k: c^-1/2 but where the model has its reasons (three terms share a score; none)
SCALES = {
    "own kernel, window": 1.0,
    "own kernel, disentangled": 42**-0.5,
    "own kernel, shared position keys": 42**-0.5,
    "own kernel, one key head": 8**-0.5,
    "own kernel, grouped": 8**-0.5,
}


class Scores(nn.Module):
    """softmax(0.5 · (q kᵀ / 4) + bias), masked, of two heads; `how` tells which calls it is written with."""

    def __init__(self, how):
        super().__init__()
        self.q, self.k, self.how = nn.Linear(6, 10), nn.Linear(6, 10), how

    def forward(self, hidden, bias, is_allowed):
        q, k = (side(hidden).unflatten(-1, (2, 5)).transpose(1, 2) for side in (self.q, self.k))
        if self.how == "one batch axis":
            q, k = q.flatten(0, 1), k.flatten(0, 1)
            scores = torch.baddbmm(bias.repeat(len(hidden), 1, 1), q, k.transpose(1, 2), alpha=0.125)
            scores = scores.view(len(hidden), 2, *scores.shape[1:])
        else:
            scores = q @ k.transpose(-1, -2)
            scores /= torch.tensor(4.0)
            scores = 0.5 * scores + bias
        if self.how == "added mask":
            scores = scores + torch.where(is_allowed, 0.0, -10000.0)
        else:
            scores = scores.masked_fill(~is_allowed, torch.finfo(scores.dtype).min / 3)
        weights = nn.functional.softmax(scores.float(), dim=-1)
        return (hidden @ torch.softmax(self.q.weight @ self.k.weight.T, -1)[:6, :6], weights)


@pytest.mark.parametrize("how", ["one batch axis", "added mask", "filled mask"])
def test_product_scaling_bias_and_mask_are_separated(how):
    torch.manual_seed(0)
    module, hidden = Scores(how), torch.randn(3, 7, 6)
    bias, is_allowed = torch.randn(2, 7, 7), torch.ones(7, 7, dtype=torch.bool).tril()
    calls = []
    with torch.no_grad(), tracing(calls.append, n_batch=3):
        _, weights = module(hidden, bias, is_allowed)
    [call] = calls  # the product of two weights is none of activations
    q, k = (side(hidden).unflatten(-1, (2, 5)).transpose(1, 2) for side in (module.q, module.k))
    assert call.module is module and call.scaling == pytest.approx(0.125)
    assert torch.equal(call.query, q) and torch.equal(call.key, k)
    assert torch.equal(call.mask, is_allowed.expand(3, 2, 7, 7))
    shown = call.position_bias.masked_select(call.mask)
    assert torch.allclose(shown, bias.expand(3, 2, 7, 7).masked_select(call.mask), atol=1e-5)
    assert torch.equal(call.weights, weights)


@pytest.mark.parametrize("fill", [-1e4, -1e9, float("-inf")])
def test_a_mask_in_place_of_scores_is_seen_whatever_they_are(fill):
    """What stands beside q·k is then not the mask but its difference to them."""
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 2, 7, 5)
    is_allowed = torch.ones(7, 7, dtype=torch.bool).tril()

    class Masked(nn.Linear):
        def forward(self, _hidden):
            scores = 300 * q @ k.transpose(-1, -2)
            return torch.where(is_allowed, scores, torch.tensor(fill)).softmax(-1)

    calls = []
    with torch.no_grad(), tracing(calls.append, n_batch=3):
        Masked(1, 1)(torch.zeros(3, 7, 1))
    assert (300 * q @ k.transpose(-1, -2)).min() < -1000
    assert torch.equal(calls[0].mask, is_allowed.expand(3, 2, 7, 7)) and calls[0].position_bias is None


def test_torchs_own_kernel_is_heard_and_ours_is_not_traced():
    q, k, v = torch.randn(3, 1, 2, 7, 5)
    causal = torch.ones(1, 1, 7, 7, dtype=torch.bool).tril()

    class Kernels(nn.Linear):
        def forward(self, _hidden):
            theirs = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3)
            return theirs, kernel.attention_function(self, q, k, v, causal, scaling=0.3)[0].transpose(1, 2)

    calls = []
    with torch.no_grad(), kernel.listening(calls.append, traced_batch=1):
        theirs, ours = Kernels(1, 1)(torch.zeros(1, 7, 1))
    assert [call.value is None for call in calls] == [True, False]
    assert torch.equal(calls[0].mask, causal) and calls[0].scaling == 0.3
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_returned_weights_are_reproduced_by_the_right_heads_alone(kind):
    for site, single in tiny_models.sites(tiny_models.build(kind)):
        factors, errors = proven_factors(site, single)
        reenactment = Evidence(site).reenactment
        assert factors.layout != "read by basis vectors"  # key heads are counted once, as they are stored
        assert errors.max() < 1e-5 and reenactment.call.weights is not None
        assert factors.q_scale * factors.k_scale * site.call.scaling == pytest.approx(SCALES.get(kind, 14**-0.5))
        shifted = replace(factors, w_q=np.roll(factors.w_q, 1, axis=0))
        assert (reenactment.errors(shifted) > TOLERANCE).all()
        assert reenactment.errors(factors).max() < 1e-5


@pytest.mark.parametrize("kind", ["own kernel, grouped", "own kernel, ALiBi", "own kernel, disentangled"])
@pytest.mark.parametrize("static", [False, True], ids=["with text", "weights alone"])
def test_an_ingest_agrees_with_the_returned_weights(kind, static, tmp_path, monkeypatch):
    """σ of the module's own q and k by basis vectors; entropies of the attentions that the whole model returns."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    folder, prompts = tiny_models.save(kind, tmp_path / "tiny"), tiny_models.prompts(tmp_path, 11, 1, 5)
    warehouse = tmp_path / "warehouse.duckdb"
    run.ingest(Ingest(model=str(folder), warehouse=warehouse, prompts=prompts, static_only=static, variants="none"))
    model = tiny_models.build(kind, attention="eager", causal=True)
    with duckdb.connect(str(warehouse), read_only=True) as con:
        for layer, (site, _) in enumerate(tiny_models.sites(model)):
            own_scale = SCALES.get(kind, 14**-0.5) / site.call.scaling  # on q or k before the product
            rows = torch.cat([torch.zeros(1, site.hidden_size), torch.eye(site.hidden_size)])
            answer = site.run(rows[:, None].repeat(1, site.n_positions, 1))
            q, k = (side[:, :, 0].double().numpy() for side in (answer.query, answer.key))
            w_q, w_k = q[1:] - q[0], np.repeat(k[1:] - k[0], q.shape[1] // k.shape[1], axis=1) / own_scale
            for head in range(w_q.shape[1]):
                want = np.linalg.svd(w_k[:, head] @ w_q[:, head].T, compute_uv=False)
                found = con.execute(
                    "select sigma from singular_values where operator = 'metric' and layer = ? and head = ? order by k",
                    [layer, head],
                ).fetchall()
                assert len(found) == w_q.shape[2]
                assert np.ravel(found) == pytest.approx(want[: len(found)], rel=1e-4, abs=1e-4 * want[0])
        if static:
            return
        for prompt, text in enumerate(prompts.read_text().splitlines()):
            ids = torch.tensor([[int(word[1:]) for word in text.split()]])
            attentions = model(input_ids=ids, output_attentions=True).attentions
            for layer, weights in enumerate(attentions):
                a = weights[0].double()
                want = -torch.where(a > 0, a * a.log(), 0).sum(-1).mean(-1)
                found = con.execute(
                    "select entropy_nats from attention_stats where prompt = ? and layer = ? order by head",
                    [prompt, layer],
                ).fetchall()
                assert np.ravel(found) == pytest.approx(want.numpy(), abs=1e-4)
