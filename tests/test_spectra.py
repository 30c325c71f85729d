"""Every exact form of size c against the dense hidden × hidden metric."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.geometry import identities, spectra
from eigenhouse.ingest.geometry.heads import Change, LayerHeads, Recipe

# (heads, kv heads, head_dim, hidden): grouped, plain, 2c > d, c > d, a single head
SHAPES = [(6, 2, 5, 23), (3, 3, 7, 29), (3, 3, 7, 11), (4, 2, 13, 11), (1, 1, 2, 7)]


def random_heads(shape, seed=0):
    n_heads, n_kv_heads, head_dim, hidden_size = shape
    generator = np.random.default_rng(seed)
    w_q = generator.standard_normal((n_heads, head_dim, hidden_size))
    return LayerHeads.of(w_q, generator.standard_normal((n_kv_heads, head_dim, hidden_size)))


def dense_metrics(heads):
    w_q, w_k = heads.w_q.numpy(), heads.w_k.numpy()
    return [w_k[h // heads.group].T @ w_q[h] for h in range(len(w_q))]


def dense_product(heads, h):
    return heads.w_k.numpy()[h // heads.group] @ heads.w_q.numpy()[h].T


def check(heads, norms, found):
    identities.check_sums(heads, norms, found, "here")
    identities.check_through_factors(heads, norms, found, "here")


def svd(heads):
    """U, σ, V of every head, (head, hidden, k) and (head, k)."""
    found = spectra.decompose(heads)
    u, v = spectra.side_vectors(heads, found, found.sigma.shape[1])
    return u.mT.numpy(), found.sigma.numpy(), v.mT.numpy()


@pytest.fixture(params=SHAPES, ids=str)
def heads(request):
    return random_heads(request.param)


def test_metric_svd_is_the_dense_svd(heads):
    u, sigma, v = svd(heads)
    rank = min(heads.w_q.shape[1:])
    assert sigma.shape == (len(heads.w_q), rank)
    for h, metric in enumerate(dense_metrics(heads)):
        dense = np.linalg.svd(metric, compute_uv=False)
        assert sigma[h] == pytest.approx(dense[:rank], abs=1e-13 * dense[0])
        assert dense[rank:] == pytest.approx(0, abs=1e-12 * dense[0])
        # key side on the left, query side on the right
        assert u[h] @ np.diag(sigma[h]) @ v[h].T == pytest.approx(metric, abs=1e-12 * dense[0])


def test_signed_eigen_is_the_dense_eigh(heads):
    found = spectra.decompose(heads)
    values, vectors = found.eigenvalues.numpy(), spectra.eigenvectors(heads, found).numpy()
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
    values = spectra.decompose(random_heads((3, 1, 5, 23)), with_vectors=False).eigenvalues
    assert ((values > 0).sum(-1) == 5).all() and ((values < 0).sum(-1) == 5).all()


def test_head_product_is_not_the_metric(heads):
    sigma = spectra.head_product_sigma(heads).numpy()
    for h in range(len(heads.w_q)):
        dense = np.linalg.svd(dense_product(heads, h), compute_uv=False)
        assert sigma[h] == pytest.approx(dense, abs=1e-12 * sigma[h, 0])
    assert sigma[0, 0] != pytest.approx(svd(heads)[1][0, 0], rel=1e-3)


def test_norms_are_the_dense_ones(heads):
    norms = spectra.head_norms(heads)
    for h, metric in enumerate(dense_metrics(heads)):
        product = dense_product(heads, h)
        want = {
            "metric_fro_sq": np.sum(metric**2),
            "trace": np.trace(metric),
            "w_q_fro_sq": np.sum(heads.w_q[h].numpy() ** 2),
            "w_k_fro_sq": np.sum(heads.w_k[h // heads.group].numpy() ** 2),
            "head_product_fro_sq": np.sum(product**2),
        }
        assert {name: values[h].item() for name, values in norms.items()} == pytest.approx(want, rel=1e-11)


def test_cross_sides_have_no_trace():
    generator = np.random.default_rng(1)
    heads = LayerHeads.of(generator.standard_normal((3, 5, 13)), generator.standard_normal((3, 5, 17)), is_cross=True)
    u, sigma, v = svd(heads)
    assert (u.shape, sigma.shape, v.shape) == ((3, 17, 5), (3, 5), (3, 13, 5))
    assert spectra.head_norms(heads).keys() == {"metric_fro_sq", "w_q_fro_sq", "w_k_fro_sq"}
    found = spectra.decompose(heads)
    assert found.eigenvalues is None
    check(heads, spectra.head_norms(heads), found)


def test_a_zero_head_is_measured():
    heads = random_heads((3, 3, 5, 23))
    heads.w_q[1] = 0
    norms, found = spectra.head_norms(heads), spectra.decompose(heads)
    check(heads, norms, found)
    assert not found.sigma[1].any() and not found.eigenvalues[1].any() and norms["trace"][1] == 0
    for rows in (*spectra.side_vectors(heads, found, 3), spectra.eigenvectors(heads, found, 3)):
        assert (rows @ rows.mT).numpy() == pytest.approx(np.stack([np.eye(3)] * 3), abs=1e-12)


def test_sides_of_different_layers_are_refused():
    with pytest.raises(ValueError, match="stored transposed"):
        LayerHeads.of(np.zeros((6, 5, 23)), np.zeros((4, 5, 23)))


def test_identities_hold(heads):
    check(heads, spectra.head_norms(heads), spectra.decompose(heads))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("sides swapped", "u_k"),
        ("sigma of the head product", "sum of squared singular values"),
        ("an eigenvalue lost", "sum of eigenvalues = trace"),
        ("a sign lost", "sum of eigenvalues = trace"),
        ("vectors shuffled", "S v = lambda v"),
        ("a vector too long", r"\|v\| = 1"),
        ("a wrong head's key", "sum of squared singular values"),
        ("a wrong Gram", "u_k"),
        ("not a number", "sum of squared singular values"),
    ],
)
def test_a_broken_identity_refuses(fault, message):
    heads = random_heads((6, 2, 5, 23))
    norms, found = spectra.head_norms(heads), spectra.decompose(heads)
    if fault == "sides swapped":
        found = replace(found, key=found.query, query=found.key)
    elif fault == "sigma of the head product":
        found = replace(found, sigma=spectra.head_product_sigma(heads))
    elif fault == "an eigenvalue lost":
        found.eigenvalues[:, 3] = 0
    elif fault == "a sign lost":
        found = replace(found, eigenvalues=found.eigenvalues.abs())
    elif fault == "vectors shuffled":
        found = replace(found, eigen=found.eigen.flip(-1))
    elif fault == "a vector too long":
        found = replace(found, eigen=found.eigen * (1 + 1e-7))
    elif fault == "a wrong head's key":
        found = spectra.decompose(LayerHeads(heads.w_q, heads.w_k.roll(1, 0)))
    elif fault == "a wrong Gram":  # sums, norms and spectra agree with one another, but not with the factors
        heads.grams.query[:] *= 1 + 1e-7
        norms, found = spectra.head_norms(heads), spectra.decompose(heads)
    else:
        found = replace(found, sigma=found.sigma * torch.nan)
    with pytest.raises(EigenhouseError, match=f"want {message}.* at here, head 0"):
        check(heads, norms, found)


def rows_of_lengths(lengths, seed=3):
    """Independent rows (feature, 31) whose singular values are the lengths: condition is their ratio."""
    draw = np.random.default_rng(seed)
    left, right = (np.linalg.qr(draw.standard_normal((n, len(lengths))))[0] for n in (len(lengths), 31))
    return (left * lengths) @ right.T


@pytest.mark.parametrize("smallest", [1e-1, 1e-3, 1e-5, 1e-7, 1e-9, 0])
def test_ill_conditioned_heads_are_as_right(smallest):
    """Within 1e-12 of the largest on both sides of where Cholesky gives way to QR, vectors and zeros included."""
    lengths = np.append(np.geomspace(1, smallest or 1e-2, 6), smallest)
    w_q, w_k = (np.stack([rows_of_lengths(lengths, seed), rows_of_lengths(np.ones(7), seed)]) for seed in (3, 4))
    heads = LayerHeads.of(w_q, w_k)
    u, sigma, v = svd(heads)
    check(heads, spectra.head_norms(heads), spectra.decompose(heads))
    for h, metric in enumerate(dense_metrics(heads)):
        dense = np.linalg.svd(metric, compute_uv=False)
        assert sigma[h] == pytest.approx(dense[:7], abs=1e-12 * dense[0])
        for side in (u[h], v[h]):
            assert side.T @ side == pytest.approx(np.eye(7), abs=1e-9)
        assert u[h] @ np.diag(sigma[h]) @ v[h].T == pytest.approx(metric, abs=2e-6 * dense[0])


def test_rows_of_unlike_lengths_need_no_qr(monkeypatch):
    """A diagonal scaling of 1e-9 alone is no bad condition; equal rows are one."""
    draw, asked = np.random.default_rng(6), []
    rows = torch.from_numpy(draw.standard_normal((2, 5, 23)) * np.geomspace(1, 1e-9, 5)[:, None])
    rows[1, 3] = rows[1, 4]

    def read(head):
        asked.append(head)
        return rows[head]

    r = spectra.triangles(rows @ rows.mT, read).r
    assert asked == [1]
    for head in range(2):
        lengths = rows[head].norm(dim=-1)
        want = (rows[head] @ rows[head].T) / (lengths[:, None] * lengths)
        assert ((r[head].T @ r[head]) / (lengths[:, None] * lengths)).numpy() == pytest.approx(want.numpy(), abs=1e-13)


RECIPES = {
    "turned": (Recipe(Change(turn=1), Change()), (1, 23)),
    "turned by head": (Recipe(Change(turn=6), Change(turn=2)), (6, 23)),
    "biased": (Recipe(Change(bias=6), Change(bias=2)), (0, 24)),
    "gained": (Recipe(Change(gain=23), Change(gain=23)), (0, 23)),
    "all": (Recipe(Change(turn=1, gain=23, bias=6), Change(turn=2, gain=23, bias=2)), (0, 24)),
}


def drawn_recipe(name, head_dim=5):
    """Arrays in place of the sizes of RECIPES; the gain is the same on both sides."""
    draw = np.random.default_rng(8)
    gain = draw.standard_normal(23)
    sides = []
    for change in (RECIPES[name][0].query, RECIPES[name][0].key):
        turn = change.turn and draw.standard_normal((change.turn, head_dim, head_dim))
        bias = change.bias and draw.standard_normal((change.bias, head_dim))
        sides.append(Change(turn, change.gain and gain, bias))
    return Recipe(*sides)


@pytest.mark.parametrize("name", RECIPES)
def test_a_variant_is_what_its_factors_are(name):
    """Its spectra from the plain Grams are those of [T W diag(γ), b] itself, written out by einsum."""
    heads, recipe = random_heads((6, 2, 5, 23)), drawn_recipe(name)
    changed = heads.changed(recipe)
    sides = []
    for weight, change in ((heads.w_q.numpy(), recipe.query), (heads.w_k.numpy(), recipe.key)):
        made = weight * (1 if change.gain is None else change.gain)
        if change.turn is not None:
            made = np.stack([change.turn[h % len(change.turn)] @ made[h] for h in range(len(made))])
        if change.bias is not None:
            made = np.concatenate([made, change.bias[:, :, None]], axis=2)
        sides.append(made)
    dense = LayerHeads.of(*sides)
    assert changed.hidden_size == dense.hidden_size == RECIPES[name][1][1]
    for got, want in zip(vars(changed.grams).values(), vars(dense.grams).values(), strict=True):
        assert got.numpy() == pytest.approx(want.numpy(), rel=1e-12, abs=1e-11)
    found, norms = spectra.decompose(changed), spectra.head_norms(changed)
    check(changed, norms, found)
    identities.check_alike(found, spectra.decompose(dense), "here")
    for head in range(6):
        assert (changed.head(head).w_q[0] == changed.w_q[head]).all()
        assert (changed.head(head).w_k[0] == changed.w_k[head // 3]).all()


def test_a_variant_of_wrong_grams_is_refused():
    heads, recipe = random_heads((6, 2, 5, 23)), drawn_recipe("turned by head")
    wrong = Recipe(replace(recipe.query, turn=recipe.query.turn.swapaxes(1, 2)), recipe.key)
    own = spectra.decompose(heads.changed(recipe).head(0))
    found = spectra.decompose(heads.changed(wrong)).heads(slice(0, 1))
    with pytest.raises(EigenhouseError, match="sigma of the factors themselves"):
        identities.check_alike(found, own, "here")


def test_effective_rank_by_closed_form():
    spectrum = np.array([[3.0, 3, 3, 0], [2, 0, 0, 0], [0, 0, 0, 0], [3, 1, 0, 0]])
    want = [3, 1, 0, (3 / 4) ** (-3 / 4) * (1 / 4) ** (-1 / 4)]
    assert identities.effective_rank(spectrum) == pytest.approx(want, rel=1e-12)
