"""Subspaces, alignments and whole-weight spectra against dense loops on random arrays; all axes of different primes."""

import itertools

import numpy as np
import pytest

from eigenhouse.ingest.geometry import subspaces
from eigenhouse.ingest.geometry.alignment import energy_fractions, span_sum, summed_fractions
from eigenhouse.ingest.geometry.spectra import LayerHeads
from eigenhouse.ingest.geometry.weight_spectra import MARGIN, gram_rounding, weight_sigmas

HEADS, FEATURES, HIDDEN, LAYERS, SIZE = 6, 7, 31, 5, 3


def layer_heads(seed, n_heads=HEADS, n_kv_heads=2, is_cross=False, key_hidden=HIDDEN):
    draw = np.random.default_rng(seed)
    w_q = draw.standard_normal((n_heads, FEATURES, HIDDEN))
    return LayerHeads.of(w_q, draw.standard_normal((n_kv_heads, FEATURES, key_hidden)), is_cross)


def metric(heads, head):
    return heads.w_k[head // (len(heads.w_q) // len(heads.w_k))].T @ heads.w_q[head]


def projector(rows):
    return rows.T @ rows


def random_bases(*shape, seed=0):
    rows = np.random.default_rng(seed).standard_normal((*shape[:-2], shape[-1], shape[-2]))
    return np.linalg.qr(rows)[0].swapaxes(-1, -2)


@pytest.mark.parametrize("key_hidden", [HIDDEN, 23])
def test_side_bases_are_the_dense_singular_vectors(key_hidden):
    """Key side: columns of U of W_Kᵀ W_Q, one metric a query head; projectors within float32, 1e-5."""
    heads = layer_heads(0, is_cross=key_hidden != HIDDEN, key_hidden=key_hidden)
    bases = subspaces.side_bases(heads, SIZE)
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
    bases, top_is_tied = subspaces.eigen_bases(heads, SIZE)
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
    for bases in subspaces.side_bases(LayerHeads.of(w_q, w_k), SIZE).values():
        assert bases.is_degenerate.tolist() == [True, False, True, True, False]
    # a basis of the whole space has no cut, so it cannot be tied; all of a head's features are tied when one is zero
    assert subspaces.tied_at_cut(np.array([[3.0, 3.0], [3.0, 0.0]]), 2, 2).tolist() == [False, False]
    assert subspaces.tied_at_cut(np.array([[3.0, 3.0], [3.0, 0.0]]), 2, 5).tolist() == [False, True]


def test_overlaps_against_loops():
    """1e-12 in float64, 1e-6 in float32, by the mean squared cosine of each pair's own SVD."""
    bases = random_bases(LAYERS, SIZE, HIDDEN)
    got, single = subspaces.overlaps(bases), subspaces.overlaps(bases.astype(np.float32))
    cosines = subspaces.principal_cosines(bases)
    for pair, (i, j) in enumerate(itertools.combinations(range(LAYERS), 2)):
        dense = np.linalg.svd(bases[i] @ bases[j].T, compute_uv=False)
        assert cosines[pair] == pytest.approx(dense, abs=1e-12)
        assert got[i, j] == pytest.approx(np.mean(dense**2), rel=1e-12)
        assert got[j, i] == pytest.approx(got[i, j], rel=1e-12)
        assert single[i, j] == pytest.approx(np.mean(dense**2), abs=1e-6)
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
    matches = subspaces.nearest_heads(layers)
    for layer, head in heads:
        table = sorted(
            (-round(float(np.sum((layers[layer][head] @ layers[i][j].T) ** 2)) / SIZE, 12), i, j)
            for i, j in heads
            if (i, j) != (layer, head)
        )
        match = matches[layer]
        got = zip(match.overlap[head], match.other_layer[head], match.other_head[head], strict=True)
        assert [(-round(overlap, 12), i, j) for overlap, i, j in got] == table[:n_ranks]
        assert match.overlap.shape == (counts[layer], n_ranks)
        if table:
            assert match.mean[head] == pytest.approx(-np.mean([overlap for overlap, _, _ in table]), rel=1e-11)


def test_energy_fractions_against_loops():
    draw = np.random.default_rng(3)
    weight, bases = draw.standard_normal((13, HIDDEN)), random_bases(4, SIZE, HIDDEN)
    dense = [np.linalg.norm(weight @ rows.T) ** 2 / np.linalg.norm(weight) ** 2 for rows in bases]
    assert energy_fractions(weight, bases) == pytest.approx(dense, rel=1e-12)
    single = energy_fractions(weight.astype(np.float32), bases.astype(np.float32))
    assert single == pytest.approx(dense, abs=2e-6)
    assert np.isnan(energy_fractions(0 * weight, bases)).all()
    with pytest.raises(ValueError, match="transposed"):
        energy_fractions(weight.T, bases)


def test_summed_fractions_against_loops():
    """Two heads, one in seven layers and one in three; float32 as promised, a layer."""
    draw = np.random.default_rng(5)
    weight, bases = draw.standard_normal((13, HIDDEN)), random_bases(7, SIZE, HIDDEN)
    dense = [
        sum(np.linalg.norm(weight @ rows.T) ** 2 for rows in of_head) / np.linalg.norm(weight) ** 2
        for of_head in (bases, bases[:3])
    ]
    assert summed_fractions(weight, map(span_sum, (bases, bases[:3]))) == pytest.approx(dense, rel=1e-12)
    single = [span_sum(of_head.astype(np.float32)) for of_head in (bases, bases[:3])]
    assert summed_fractions(weight.astype(np.float32), single) == pytest.approx(dense, abs=7 * 2e-6)
    assert np.isnan(summed_fractions(0 * weight, single)).all()


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
    got = weight_sigmas(matrix)
    assert got.shape == dense.shape and (np.diff(got) <= 0).all()
    assert np.abs(got - dense).max() <= 1e-6 * dense[0]
    if smallest:
        assert got[-1] == pytest.approx(dense[-1], rel=1e-3)


def test_the_gram_serves_ordinary_matrices_alone():
    """Well-conditioned, σ are the roots of the Gram's eigenvalues to the bit; ill-conditioned, those of a full SVD."""
    ordinary, ill = conditioned(61, 37, 1e-4), conditioned(61, 37, 0.5 * np.sqrt(MARGIN * gram_rounding(37)))
    of_gram = [np.sqrt(np.abs(np.linalg.eigvalsh(matrix.T @ matrix)[::-1])) for matrix in (ordinary, ill)]
    of_svd = [np.linalg.svd(matrix, compute_uv=False) for matrix in (ordinary, ill)]
    assert (weight_sigmas(ordinary) == of_gram[0]).all() and (of_gram[0] != of_svd[0]).any()
    assert (weight_sigmas(ill) == of_svd[1]).all() and (of_gram[1] != of_svd[1]).any()
    assert weight_sigmas(np.zeros((5, 3))).tolist() == [0, 0, 0]
