"""Subspaces, alignments and whole-weight spectra against dense loops on random arrays; all axes of different primes."""

import itertools

import numpy as np
import pytest
import torch

from eigenhouse.ingest.geometry import alignment, subspaces, weight_spectra
from eigenhouse.ingest.geometry.alignment import energy_fractions, summed_fractions
from eigenhouse.ingest.geometry.heads import LayerHeads
from eigenhouse.ingest.geometry.spectra import decompose
from eigenhouse.ingest.geometry.weight_spectra import MARGIN, gram_rounding, weight_sigmas

HEADS, FEATURES, HIDDEN, LAYERS, SIZE = 6, 7, 31, 5, 3


def layer_heads(seed, n_heads=HEADS, n_kv_heads=2, is_cross=False, key_hidden=HIDDEN):
    draw = np.random.default_rng(seed)
    w_q = draw.standard_normal((n_heads, FEATURES, HIDDEN))
    return LayerHeads.of(w_q, draw.standard_normal((n_kv_heads, FEATURES, key_hidden)), is_cross)


def metric(heads, head):
    return heads.w_k[head // heads.group].numpy().T @ heads.w_q[head].numpy()


def projector(rows):
    return rows.T @ rows


def random_bases(*shape, seed=0):
    rows = np.random.default_rng(seed).standard_normal((*shape[:-2], shape[-1], shape[-2]))
    return np.linalg.qr(rows)[0].swapaxes(-1, -2)


@pytest.mark.parametrize("key_hidden", [HIDDEN, 23])
def test_side_bases_are_the_dense_singular_vectors(key_hidden):
    """Key side: columns of U of W_Kᵀ W_Q, one metric a query head; projectors within float32, 1e-5."""
    heads = layer_heads(0, is_cross=key_hidden != HIDDEN, key_hidden=key_hidden)
    bases = subspaces.side_bases(heads, decompose(heads), SIZE)
    for head in range(HEADS):
        u, _, vt = np.linalg.svd(metric(heads, head))
        for side, dense in (("key", u[:, :SIZE].T), ("query", vt[:SIZE])):
            got = bases[side].vectors[head]
            assert projector(got) == pytest.approx(projector(dense), abs=1e-5)
            assert got @ got.T == pytest.approx(np.eye(SIZE), abs=1e-6)
    assert bases["key"].vectors.dtype == np.float32
    assert not bases["key"].is_degenerate.any()


def test_eigen_bases_are_the_dense_eigenvectors():
    heads = layer_heads(1)
    bases, top_is_tied = subspaces.eigen_bases(heads, decompose(heads), SIZE)
    for head in range(HEADS):
        dense = metric(heads, head)
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        order = np.argsort(-np.abs(values))[:SIZE]
        assert projector(bases.vectors[head]) == pytest.approx(projector(vectors[:, order].T), abs=1e-5)
    assert not bases.is_degenerate.any() and not top_is_tied.any()


def test_a_tie_at_the_cut_is_marked():
    """Head 0: σ₂ = σ₃. Head 1: no tie there but further in. Head 2: rank 2 of 3 wanted. Head 3: zero. Else none."""
    draw = np.random.default_rng(2)
    sigma = np.array(
        [[5, 4, 3, 3, 2, 1, 1], [5, 5, 3, 2, 2, 1, 1], [5, 4, 0, 0, 0, 0, 0], [0.0] * 7, [7, 6, 5, 4, 3, 2, 1]]
    )
    left, right = (np.linalg.qr(draw.standard_normal((5, HIDDEN, FEATURES)))[0] for _ in range(2))
    w_k, w_q = np.sqrt(sigma)[..., None] * left.swapaxes(1, 2), np.sqrt(sigma)[..., None] * right.swapaxes(1, 2)
    heads = LayerHeads.of(w_q, w_k)
    for bases in subspaces.side_bases(heads, decompose(heads), SIZE).values():
        assert np.abs(bases.vectors @ bases.vectors.swapaxes(1, 2) - np.eye(SIZE)).max() < 1e-6
        assert bases.is_degenerate.tolist() == [True, False, True, True, False]
    # a basis of the whole space has no cut, so it cannot be tied; all of a head's features are tied when one is zero
    assert subspaces.tied_at_cut(np.array([[3.0, 3.0], [3.0, 0.0]]), 2, 2).tolist() == [False, False]
    assert subspaces.tied_at_cut(np.array([[3.0, 3.0], [3.0, 0.0]]), 2, 5).tolist() == [False, True]


def test_overlaps_against_loops():
    """1e-12 in float64, 1e-6 in float32, by the mean squared cosine of each pair's own SVD."""
    bases = random_bases(LAYERS, SIZE, HIDDEN)
    got, single = (subspaces.overlaps(each, each) for each in (bases, bases.astype(np.float32)))
    cosines = subspaces.principal_cosines(bases)
    for pair, (i, j) in enumerate(itertools.combinations(range(LAYERS), 2)):
        dense = np.linalg.svd(bases[i] @ bases[j].T, compute_uv=False)
        assert cosines[pair] == pytest.approx(dense, abs=1e-12)
        assert float(got[i, j]) == pytest.approx(np.mean(dense**2), rel=1e-12)
        assert float(got[j, i]) == pytest.approx(float(got[i, j]), rel=1e-12)
        assert float(single[i, j]) == pytest.approx(np.mean(dense**2), abs=1e-6)
    vectors = bases[:, 0]
    for i, j in np.ndindex(LAYERS, LAYERS):
        assert subspaces.vector_overlaps(vectors)[i, j] == pytest.approx(sum(vectors[i] * vectors[j]) ** 2, abs=1e-12)


@pytest.mark.parametrize("counts", [[2, 3, 5], [1, 1], [4], [3, 3, 3, 3], [1]])
def test_nearest_heads_against_loops(counts):
    """Layers of different head counts; never itself; fewer ranks where there are fewer others; the first on a tie."""
    layers = [random_bases(n, SIZE, HIDDEN, seed=layer) for layer, n in enumerate(counts)]
    layers[-1][-1] = layers[0][0]  # a copy: the nearest of both, with overlap 1
    heads = [(layer, head) for layer, n in enumerate(counts) for head in range(n)]
    n_ranks = min(5, len(heads) - 1)
    found = subspaces.neighbours(layers)
    matches = found.matches
    for head, i, j in np.ndindex(found.own.shape):
        is_pair = i < j and head < min(counts[i], counts[j])
        want = np.sum((layers[i][head] @ layers[j][head].T) ** 2) / SIZE if is_pair else np.nan
        assert found.own[head, i, j] == pytest.approx(want, rel=1e-12, nan_ok=True)
    for layer, head in heads:
        table = sorted(
            (-round(float(np.sum((layers[layer][head] @ layers[i][j].T) ** 2)) / SIZE, 7), i, j)
            for i, j in heads
            if (i, j) != (layer, head)
        )
        match = matches[layer]
        got = zip(match.overlap[head], match.other_layer[head], match.other_head[head], strict=True)
        assert [(-round(overlap, 7), i, j) for overlap, i, j in got] == table[:n_ranks]
        assert match.overlap.shape == (counts[layer], n_ranks)
        if table:
            assert match.mean[head] == pytest.approx(-np.mean([overlap for overlap, _, _ in table]), abs=1e-7)


def test_energy_fractions_against_loops():
    draw = np.random.default_rng(3)
    weight, bases = draw.standard_normal((13, HIDDEN)), random_bases(4, SIZE, HIDDEN)
    dense = [np.linalg.norm(weight @ rows.T) ** 2 / np.linalg.norm(weight) ** 2 for rows in bases]
    assert energy_fractions(weight.T @ weight, bases) == pytest.approx(dense, rel=1e-12)
    single = weight.astype(np.float32)
    assert energy_fractions(single.T @ single, bases.astype(np.float32)) == pytest.approx(dense, abs=2e-6)
    assert np.isnan(energy_fractions(0 * (weight.T @ weight), bases)).all()
    with pytest.raises(ValueError, match="hidden = 31"):
        energy_fractions(weight, bases)


@pytest.mark.parametrize("n_rows", [1, 7, 256])
def test_summed_fractions_against_loops(monkeypatch, n_rows):
    """Two weights, of two heads one in seven layers and one in three; float32 as promised, a layer; in any blocks."""
    monkeypatch.setattr(alignment, "MOST_ROWS", n_rows)
    draw = np.random.default_rng(5)
    weights, bases = draw.standard_normal((2, 13, HIDDEN)), random_bases(7, SIZE, HIDDEN)
    heads = (bases, bases[:3])
    given = [lambda head=head: head for head in heads]
    dense = [
        [sum(np.linalg.norm(weight @ rows.T) ** 2 for rows in head) / np.linalg.norm(weight) ** 2 for head in heads]
        for weight in weights
    ]
    assert summed_fractions([weight.T @ weight for weight in weights], given) == pytest.approx(
        np.array(dense), rel=1e-12
    )
    single = [(weight.T @ weight).astype(np.float32) for weight in (*weights, 0 * weights[0])]
    got = summed_fractions(single, [lambda head=head: head.astype(np.float32) for head in heads])
    assert got[:2] == pytest.approx(np.array(dense), abs=7 * 2e-6)
    assert np.isnan(got[2]).all()


@pytest.mark.parametrize("shape", [(61, 37), (1, 7), (5, 131)])
def test_a_gram_is_the_whole_product(monkeypatch, shape):
    """By blocks of columns and rows that don't divide the shape."""
    monkeypatch.setattr(weight_spectra, "BLOCK", (11, 11))
    monkeypatch.setattr(weight_spectra, "ROWS", 17)
    weight = np.random.default_rng(7).standard_normal(shape)
    assert weight_spectra.gram(weight).numpy() == pytest.approx(weight.T @ weight, rel=1e-12, abs=1e-12)
    assert weight_spectra.gram(weight.astype(np.float32)).dtype == torch.float64


def conditioned(n_rows, n_cols, smallest, seed=4):
    """A matrix with σ from 1 down to `smallest`, evenly in the logarithm."""
    draw, size = np.random.default_rng(seed), min(n_rows, n_cols)
    left, right = (np.linalg.qr(draw.standard_normal((n, size)))[0] for n in (n_rows, n_cols))
    sigma = np.geomspace(1, smallest, size) if smallest else np.append(np.linspace(1, 0.1, size - 1), 0)
    return (left * sigma) @ right.T


@pytest.mark.parametrize("shape", [(61, 37), (37, 61), (41, 41), (1, 7), (331, 173)])
@pytest.mark.parametrize("smallest", [1e-1, 1e-3, 1e-5, 2e-6, 1e-6, 1e-7, 2e-8, 1e-9, 0])
def test_weight_sigmas_against_a_full_svd(shape, smallest):
    """1e-6 of the largest everywhere, 1e-3 of the smallest itself, on both sides of where the Gram gives way."""
    matrix = conditioned(*shape, smallest)
    dense = np.linalg.svd(matrix, compute_uv=False)
    got = weight_sigmas(matrix).numpy()
    assert got.shape == dense.shape and (np.diff(got) <= 0).all()
    assert np.abs(got - dense).max() <= 1e-6 * dense[0]
    if smallest:
        assert got[-1] == pytest.approx(dense[-1], rel=1e-3)


@pytest.mark.parametrize("smallest", [1e-1, 1e-9, 0])
def test_sigmas_by_eigenvalues(smallest):
    """1e-13 of the largest, where the roots of the Gram's eigenvalues are off by 1e-9."""
    for shape in ((61, 37), (41, 41), (7, 1)):
        matrix = conditioned(*shape, smallest)
        dense = np.linalg.svd(matrix, compute_uv=False)
        got = weight_spectra.sigmas_by_eigenvalues(torch.from_numpy(matrix)).numpy()
        assert np.abs(got - dense).max() <= 1e-13 * dense[0] and got.min() >= 0


def test_the_gram_serves_ordinary_matrices_alone():
    """Well-conditioned, σ are the roots of the Gram's eigenvalues to the bit; ill-conditioned, those of a full SVD."""
    ordinary, ill = conditioned(61, 37, 1e-4), conditioned(61, 37, 0.5 * np.sqrt(MARGIN * gram_rounding(37)))
    for matrix, serves in ((ordinary, True), (ill, False)):
        of_gram = torch.linalg.eigvalsh(weight_spectra.gram(matrix)).flip(0).abs().sqrt()
        of_svd = torch.linalg.svdvals(torch.from_numpy(matrix))
        assert (weight_sigmas(matrix) == (of_gram if serves else of_svd)).all() and (of_gram != of_svd).any()
    assert weight_sigmas(np.zeros((5, 3))).tolist() == [0, 0, 0]
    # a Gram that is at hand is not made again
    assert (weight_sigmas(ordinary, 4 * weight_spectra.gram(ordinary)) == 2 * weight_sigmas(ordinary)).all()
