"""Every exact form of size c against the dense hidden × hidden metric."""

import numpy as np
import pytest

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.geometry import identities, spectra
from eigenhouse.ingest.geometry.spectra import LayerHeads

# (heads, kv heads, head_dim, hidden): grouped, plain, 2c > d, c > d, a single head
SHAPES = [(6, 2, 5, 23), (3, 3, 7, 29), (3, 3, 7, 11), (4, 2, 13, 11), (1, 1, 2, 7)]


def random_heads(shape, seed=0):
    n_heads, n_kv_heads, head_dim, hidden_size = shape
    generator = np.random.default_rng(seed)
    w_q = generator.standard_normal((n_heads, head_dim, hidden_size))
    return LayerHeads.of(w_q, generator.standard_normal((n_kv_heads, head_dim, hidden_size)))


def dense_metrics(heads):
    group = len(heads.w_q) // len(heads.w_k)
    return [heads.w_k[h // group].T @ heads.w_q[h] for h in range(len(heads.w_q))]


def measured(heads):
    return spectra.head_norms(heads), spectra.metric_svd(heads), spectra.signed_eigen(heads)


@pytest.fixture(params=SHAPES, ids=str)
def heads(request):
    return random_heads(request.param)


def test_metric_svd_is_the_dense_svd(heads):
    u, sigma, v = spectra.metric_svd(heads)
    rank = min(heads.w_q.shape[1:])
    assert sigma.shape == (len(heads.w_q), rank)
    for h, metric in enumerate(dense_metrics(heads)):
        dense = np.linalg.svd(metric, compute_uv=False)
        assert sigma[h] == pytest.approx(dense[:rank], abs=1e-13 * dense[0])
        assert dense[rank:] == pytest.approx(0, abs=1e-12 * dense[0])
        # key side on the left, query side on the right
        assert u[h] @ np.diag(sigma[h]) @ v[h].T == pytest.approx(metric, abs=1e-12 * dense[0])


def test_signed_eigen_is_the_dense_eigh(heads):
    values, vectors = spectra.signed_eigen(heads)
    n_values = min(2 * heads.w_q.shape[1], heads.w_q.shape[2])
    assert values.shape == (len(heads.w_q), n_values)
    assert vectors.shape == (len(heads.w_q), min(16, n_values), heads.w_q.shape[2])
    for h, metric in enumerate(dense_metrics(heads)):
        symmetric = (metric + metric.T) / 2
        dense = np.linalg.eigvalsh(symmetric)
        dense = dense[np.argsort(-np.abs(dense))][:n_values]
        assert values[h] == pytest.approx(dense, abs=1e-12 * abs(dense[0]))
        for vector, value in zip(vectors[h], values[h], strict=False):
            assert symmetric @ vector == pytest.approx(value * vector, abs=1e-11 * abs(dense[0]))
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-12)
            assert vector[np.abs(vector).argmax()] > 0


def test_as_many_positive_as_negative_eigenvalues():
    """Where the 2c rows are independent: c of each sign, whatever the weights."""
    values, _ = spectra.signed_eigen(random_heads((3, 1, 5, 23)))
    assert ((values > 0).sum(-1) == 5).all() and ((values < 0).sum(-1) == 5).all()


def test_head_product_is_not_the_metric(heads):
    sigma = spectra.head_product_sigma(heads)
    group = len(heads.w_q) // len(heads.w_k)
    for h in range(len(heads.w_q)):
        product = heads.w_k[h // group] @ heads.w_q[h].T
        assert sigma[h] == pytest.approx(np.linalg.svd(product, compute_uv=False), abs=1e-12 * sigma[h, 0])
    assert sigma[0, 0] != pytest.approx(spectra.metric_svd(heads)[1][0, 0], rel=1e-3)


def test_norms_are_the_dense_ones(heads):
    norms = spectra.head_norms(heads)
    group = len(heads.w_q) // len(heads.w_k)
    for h, metric in enumerate(dense_metrics(heads)):
        product = heads.w_k[h // group] @ heads.w_q[h].T
        want = {
            "metric_fro_sq": np.sum(metric**2),
            "trace": np.trace(metric),
            "w_q_fro_sq": np.sum(heads.w_q[h] ** 2),
            "w_k_fro_sq": np.sum(heads.w_k[h // group] ** 2),
            "head_product_fro_sq": np.sum(product**2),
        }
        assert {name: values[h] for name, values in norms.items()} == pytest.approx(want, rel=1e-11)


def test_cross_sides_have_no_trace():
    generator = np.random.default_rng(1)
    heads = LayerHeads.of(generator.standard_normal((3, 5, 13)), generator.standard_normal((3, 5, 17)), is_cross=True)
    u, sigma, v = spectra.metric_svd(heads)
    assert (u.shape, sigma.shape, v.shape) == ((3, 17, 5), (3, 5), (3, 13, 5))
    assert spectra.head_norms(heads).keys() == {"metric_fro_sq", "w_q_fro_sq", "w_k_fro_sq"}
    identities.check_spectra(heads, spectra.head_norms(heads), (u, sigma, v), None, "here")


def test_a_zero_head_is_measured():
    heads = random_heads((3, 3, 5, 23))
    heads.w_q[1] = 0
    norms, metric, eigen = measured(heads)
    identities.check_spectra(heads, norms, metric, eigen, "here")
    assert not metric[1][1].any() and not eigen[0][1].any() and norms["trace"][1] == 0


def test_sides_of_different_layers_are_refused():
    with pytest.raises(ValueError, match="stored transposed"):
        LayerHeads.of(np.zeros((6, 5, 23)), np.zeros((4, 5, 23)))


def test_identities_hold(heads):
    identities.check_spectra(heads, *measured(heads), "here")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("sides swapped", "u_k"),
        ("sigma of the head product", "sum of squared singular values"),
        ("an eigenvalue lost", "sum of eigenvalues = trace"),
        ("a sign lost", "sum of eigenvalues = trace"),
        ("vectors shuffled", "S v = lambda v"),
        ("a wrong head's key", "sum of squared singular values"),
        ("not a number", "sum of squared singular values"),
    ],
)
def test_a_broken_identity_refuses(fault, message):
    heads = random_heads((6, 2, 5, 23))
    norms, (u, sigma, v), (values, vectors) = measured(heads)
    if fault == "sides swapped":
        u, v = v, u
    elif fault == "sigma of the head product":
        sigma = spectra.head_product_sigma(heads)
    elif fault == "an eigenvalue lost":
        values = np.concatenate([values[:, :3], 0 * values[:, 3:4], values[:, 4:]], axis=1)
    elif fault == "a sign lost":
        values = np.abs(values)
    elif fault == "vectors shuffled":
        vectors = vectors[:, ::-1]
    elif fault == "a wrong head's key":
        u, sigma, v = spectra.metric_svd(LayerHeads(heads.w_q, np.roll(heads.w_k, 1, axis=0)))
    else:
        sigma = sigma * np.nan
    with pytest.raises(EigenhouseError, match=f"want {message}.* at here, head 0"):
        identities.check_spectra(heads, norms, (u, sigma, v), (values, vectors), "here")


def test_effective_rank_by_closed_form():
    spectrum = np.array([[3.0, 3, 3, 0], [2, 0, 0, 0], [0, 0, 0, 0], [3, 1, 0, 0]])
    want = [3, 1, 0, (3 / 4) ** (-3 / 4) * (1 / 4) ** (-1 / 4)]
    assert identities.effective_rank(spectrum) == pytest.approx(want, rel=1e-12)
