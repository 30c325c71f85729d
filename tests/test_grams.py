"""Grams by blocks against dense Frobenius products."""

import numpy as np
import pytest

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.geometry import grams, identities
from eigenhouse.ingest.geometry.heads import Change, Recipe

HIDDEN = 23


def factors(head_dims, n_heads=3, seed=0):
    generator = np.random.default_rng(seed)
    w_q = [generator.standard_normal((n_heads, c, HIDDEN)) for c in head_dims]
    return w_q, [generator.standard_normal((c, HIDDEN)) for c in head_dims]


@pytest.mark.parametrize("head_dims", [(5, 5, 5, 5, 5), (5, 7, 5, 2), (29,)], ids=str)
def test_metric_grams_are_dense_products(head_dims):
    w_q, w_k = factors(head_dims)
    found = grams.metric_grams(w_q, w_k)
    assert found.shape == (3, len(head_dims), len(head_dims))
    for head in range(3):
        metrics = [k.T @ q[head] for q, k in zip(w_q, w_k, strict=True)]
        want = [[np.sum(a * b) for b in metrics] for a in metrics]
        assert found[head] == pytest.approx(np.array(want), rel=1e-12, abs=1e-11)


def test_direct_gram_is_the_dense_product():
    w_q, w_k = factors((5, 7))
    want = np.sum((w_k[0].T @ w_q[0][2]) * (w_k[1].T @ w_q[1][2]))
    assert identities.direct_gram(w_q[0][2], w_k[0], w_q[1][2], w_k[1]) == pytest.approx(want, rel=1e-12)


def test_spectral_grams_pad_with_zeros():
    found = grams.spectral_grams([np.array([3.0, 2]), np.array([5.0, 4, 1])])
    assert found.tolist() == [[13, 23], [23, 42]]


def test_unlike_factors_are_refused():
    w_q, w_k = factors((5, 5))
    with pytest.raises(ValueError, match="one head_dim"):
        grams.metric_grams(w_q, [w_k[0], w_k[1][:4]])


@pytest.mark.parametrize(("row", "column", "message"), [(2, 2, "gram diagonal"), (0, 1, "gram = direct inner product")])
def test_a_wrong_gram_is_refused(row, column, message):
    w_q, w_k = factors((5, 5, 5))
    products = grams.metric_grams(w_q, w_k)[1]
    fro_sq = np.array([np.sum((k.T @ q[1]) ** 2) for q, k in zip(w_q, w_k, strict=True)])
    sampled = (0, 1, identities.direct_gram(w_q[0][1], w_k[0], w_q[1][1], w_k[1]))
    identities.check_diagonal(products, fro_sq, "here")
    identities.check_gram(products, sampled, "here")
    products[row, column] *= 1 + 1e-7
    checks = {2: lambda: identities.check_diagonal(products, fro_sq, "here")}
    with pytest.raises(EigenhouseError, match=message):
        checks.get(row, lambda: identities.check_gram(products, sampled, "here"))()


def changes(kind, draw, gain):
    """A change of the queries of 3 heads and of their key head; γ is the same on both sides."""
    turn = {"shared turn": (1, 5, 5), "turn by head": (3, 5, 5), "all": (1, 5, 5)}.get(kind)
    bias = kind in ("bias", "all")
    query = Change(turn and draw.standard_normal(turn), gain, draw.standard_normal((3, 5)) if bias else None)
    key_turn = draw.standard_normal((1, 5, 5)) if kind in ("turn by head", "all") else None
    return Recipe(query, Change(key_turn, gain, draw.standard_normal((1, 5)) if bias else None))


@pytest.mark.parametrize("kind", ["shared turn", "turn by head", "bias", "all", "gain"])
def test_grams_of_variants_are_dense_products(kind):
    """Beside the plain ones, in one go; each layer has another turn, gain and bias."""
    draw = np.random.default_rng(2)
    w_q, w_k = factors((5, 5, 5, 5))
    gains = [draw.standard_normal(HIDDEN) if kind in ("all", "gain") else None for _ in w_k]
    recipes = [changes(kind, draw, gain) for gain in gains]
    plain = [Recipe(Change(gain=gain), Change(gain=gain)) for gain in gains]
    found = grams.operator_grams(w_q, w_k, {"plain": plain, "variant": recipes})
    for operator, made in (("plain", plain), ("variant", recipes)):
        sides = [
            (recipe.query.factor(q).numpy(), recipe.key.factor(k[None]).numpy()[0])
            for q, k, recipe in zip(w_q, w_k, made, strict=True)
        ]
        for head in range(3):
            metrics = [k.T @ q[head] for q, k in sides]
            want = np.array([[np.sum(a * b) for b in metrics] for a in metrics])
            assert found[operator][head] == pytest.approx(want, rel=1e-11, abs=1e-10)
