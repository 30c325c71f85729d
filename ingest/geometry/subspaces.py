"""Leading singular and eigen directions of a head's operator, and how alike those of two heads are.

Fills `side_overlaps`, `head_matches`, `principal_cosines` and `eigenvector_overlaps`. A basis is an array
(vector, hidden) of orthonormal rows; the mean cos² of the principal angles of two of them is ‖U₁ U₂ᵀ‖²/size, so no
SVD is taken of a pair, except for the principal cosines themselves. Products are made in the dtype of the bases:
float32 costs 1e-6 of an overlap, float64 1e-13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eigenhouse.ingest.geometry import spectra
from eigenhouse.ingest.geometry.spectra import LayerHeads

SIDES = ("key", "query")
N_NEAREST = 5
TIE = 1e-6  # of the largest value: with a smaller step at the cut, rounding decides which directions are chosen


@dataclass(frozen=True)
class Bases:
    """One layer's bases of one kind, (head, vector, hidden) float32, and whether the cut falls into a tie, (head,).

    A head whose operator has fewer directions than the basis has vectors is tied as well: it is tied at zero.
    """

    vectors: np.ndarray
    is_degenerate: np.ndarray


def side_bases(heads: LayerHeads, size: int) -> dict[str, Bases]:
    """The leading left ('key') and right ('query') singular vectors of every head of a layer: M = U diag(σ) Vᵀ.

    Both are per query head: heads that share W_K differ in W_Q, and so in what of the key side they read.
    """
    u, sigma, v = spectra.metric_svd(heads)
    return {
        side: Bases(
            np.ascontiguousarray(vectors[..., :size].transpose(0, 2, 1), dtype=np.float32),
            tied_at_cut(sigma, size, vectors.shape[1]),
        )
        for side, vectors in zip(SIDES, (u, v), strict=True)
    }


def eigen_bases(heads: LayerHeads, size: int) -> tuple[Bases, np.ndarray]:
    """The eigenvectors of the `size` largest |λ| of S = (M + Mᵀ)/2, and whether the first of them is tied, (head,)."""
    values, vectors = spectra.signed_eigen(heads, size)
    hidden_size, magnitudes = vectors.shape[2], np.abs(values)
    bases = Bases(vectors.astype(np.float32), tied_at_cut(magnitudes, size, hidden_size))
    return bases, tied_at_cut(magnitudes, 1, hidden_size)


def tied_at_cut(magnitudes: np.ndarray, size: int, hidden_size: int) -> np.ndarray:
    """Whether the step from value size − 1 to value size is below TIE of the largest; values fall along the last axis.

    Beyond the last value the operator is zero. A basis of the whole space has no cut, so it cannot be tied.
    """
    if size == hidden_size:
        return np.zeros(magnitudes.shape[:-1], dtype=bool)
    beyond = magnitudes[..., size] if size < magnitudes.shape[-1] else 0.0
    return magnitudes[..., size - 1] - beyond <= TIE * magnitudes[..., 0]


def overlaps(bases: np.ndarray) -> np.ndarray:
    """Mean cos² between the subspaces of one head in all layers, (layer, layer), by one GEMM.

    bases: (layer, vector, hidden). Identity: the squared cosines of two orthonormal bases sum to ‖U₁ U₂ᵀ‖².
    """
    return _block_energies(bases, bases) / bases.shape[1]


def principal_cosines(bases: np.ndarray) -> np.ndarray:
    """Singular values of U₁ U₂ᵀ for every pair of layers, (pair, vector) descending; pairs as np.triu_indices(L, 1)."""
    n_layers, size, hidden_size = bases.shape
    rows = bases.reshape(-1, hidden_size)
    products = (rows @ rows.T).reshape(n_layers, size, n_layers, size).transpose(0, 2, 1, 3)
    return np.linalg.svd(products[np.triu_indices(n_layers, 1)].astype(np.float64), compute_uv=False)


def vector_overlaps(vectors: np.ndarray) -> np.ndarray:
    """(v · v')² of unit vectors (layer, hidden) for all pairs, (layer, layer)."""
    return np.square((vectors @ vectors.T).astype(np.float64))


@dataclass
class Matches:
    """The nearest heads of every head of one layer, best first: (head, rank) each, and the mean over all others."""

    overlap: np.ndarray
    other_layer: np.ndarray
    other_head: np.ndarray
    mean: np.ndarray


def nearest_heads(
    layers: Sequence[np.ndarray], n_nearest: int = N_NEAREST, advance: Callable[[int], None] = lambda _: None
) -> list[Matches]:
    """For every head the `n_nearest` others of the whole model with the largest overlap; a tie goes to the first.

    layers: (head, vector, hidden) of each layer, which may be mapped from disk: two are in memory at a time, and of the
    pairs only the nearest are kept. There are at most as many ranks as other heads. advance: called for each pair of
    layers. other_layer is the index in `layers`.
    """
    total = sum(len(bases) for bases in layers)
    matches = [
        Matches(np.zeros((n, 0)), np.zeros((n, 0), np.int32), np.zeros((n, 0), np.int32), np.zeros(n))
        for n in map(len, layers)
    ]
    for layer, bases in enumerate(layers):
        # candidates reach every head in the order of (layer, head), so a stable sort gives a tie to the first
        for other in range(layer, len(layers)):
            block = _block_energies(bases, layers[other]) / bases.shape[1]
            if other == layer:
                np.fill_diagonal(block, -np.inf)
            _keep_nearest(matches[layer], block, other, n_nearest)
            if other != layer:
                _keep_nearest(matches[other], block.T, layer, n_nearest)
            advance(1)
    for match in matches:
        match.mean /= max(total - 1, 1)
        for name in ("overlap", "other_layer", "other_head"):
            setattr(match, name, getattr(match, name)[:, : total - 1])
    return matches


def _keep_nearest(match: Matches, block: np.ndarray, other_layer: int, n_nearest: int) -> None:
    match.mean += np.where(np.isfinite(block), block, 0).sum(1)
    heads = np.broadcast_to(np.arange(block.shape[1], dtype=np.int32), block.shape)
    overlap = np.concatenate([match.overlap, block], axis=1)
    layers = np.concatenate([match.other_layer, np.full(block.shape, other_layer, np.int32)], axis=1)
    numbers = np.concatenate([match.other_head, heads], axis=1)
    order = np.argsort(-overlap, axis=1, kind="stable")[:, :n_nearest]
    match.overlap, match.other_layer, match.other_head = (
        np.take_along_axis(array, order, axis=1) for array in (overlap, layers, numbers)
    )


def _block_energies(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """‖Uᵢ Uⱼᵀ‖² for bases i of left and j of right, (i, j) float64, from one GEMM."""
    size, hidden_size = left.shape[1:]
    products = left.reshape(-1, hidden_size) @ right.reshape(-1, hidden_size).T
    columns = np.square(products, out=products).reshape(len(left), size, -1).sum(1)
    return columns.reshape(len(left), len(right), -1).sum(2, dtype=np.float64)
