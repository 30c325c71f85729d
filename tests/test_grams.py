"""Grams by blocks against dense Frobenius products."""

import numpy as np
import pytest

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.geometry import grams, identities

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
    identities.check_grams(products, fro_sq, sampled, "here")
    products[row, column] *= 1 + 1e-7
    with pytest.raises(EigenhouseError, match=message):
        identities.check_grams(products, fro_sq, sampled, "here")
