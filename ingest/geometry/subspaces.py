"""Leading singular and eigen directions of a head's operator, and how alike those of two heads are.

Fills `side_overlaps`, `head_matches`, `principal_cosines` and `eigenvector_overlaps`. A basis is an array
(vector, hidden) of orthonormal rows; the mean cos² of the principal angles of two of them is ‖U₁ U₂ᵀ‖²/size, so no
SVD is taken of a pair, except for the principal cosines themselves. Products are made in the dtype of the bases:
float32 costs 1e-6 of an overlap, float64 1e-13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from eigenhouse.ingest.devices import CPU, free_bytes, mapped
from eigenhouse.ingest.geometry import spectra
from eigenhouse.ingest.geometry.heads import Array, LayerHeads
from eigenhouse.ingest.geometry.spectra import Decomposition

SIDES = ("key", "query")
N_NEAREST = 5
PAIRS = 256  # of layers whose principal cosines a thread takes at a time
DIGITS = 7  # of an overlap that count when heads are ranked: further ones are rounding, and would break ties
TIE = 1e-6  # of the largest value: with a smaller step at the cut, rounding decides which directions are chosen


@dataclass(frozen=True)
class Bases:
    """One layer's bases of one kind, (head, vector, hidden) float32, and whether the cut falls into a tie, (head,).

    A head whose operator has fewer directions than the basis has vectors is tied as well: it is tied at zero.
    """

    vectors: np.ndarray
    is_degenerate: np.ndarray


def side_bases(heads: LayerHeads, found: Decomposition, size: int) -> dict[str, Bases]:
    """The leading left ('key') and right ('query') singular vectors of every head of a layer: M = U diag(σ) Vᵀ.

    Both are per query head: heads that share W_K differ in W_Q, and so in what of the key side they read.
    """
    return {
        side: Bases(
            vectors.float().cpu().numpy(),
            tied_at_cut(found.sigma.cpu().numpy(), size, vectors.shape[2]),
        )
        for side, vectors in zip(SIDES, spectra.side_vectors(heads, found, size), strict=True)
    }


def eigen_bases(heads: LayerHeads, found: Decomposition, size: int) -> tuple[Bases, np.ndarray]:
    """The eigenvectors of the `size` largest |λ| of S = (M + Mᵀ)/2, and whether the first of them is tied, (head,)."""
    assert found.eigenvalues is not None, "a cross stack has no eigenvalues"
    vectors, magnitudes = spectra.eigenvectors(heads, found, size), found.eigenvalues.abs().cpu().numpy()
    hidden_size = vectors.shape[2]
    bases = Bases(vectors.float().cpu().numpy(), tied_at_cut(magnitudes, size, hidden_size))
    return bases, tied_at_cut(magnitudes, 1, hidden_size)


def tied_at_cut(magnitudes: np.ndarray, size: int, hidden_size: int) -> np.ndarray:
    """Whether the step from value size − 1 to value size is below TIE of the largest; values fall along the last axis.

    Beyond the last value the operator is zero. A basis of the whole space has no cut, so it cannot be tied.
    """
    if size == hidden_size:
        return np.zeros(magnitudes.shape[:-1], dtype=bool)
    beyond = magnitudes[..., size] if size < magnitudes.shape[-1] else 0.0
    return magnitudes[..., size - 1] - beyond <= TIE * magnitudes[..., 0]


def principal_cosines(bases: Array, device: torch.device = CPU) -> np.ndarray:
    """Singular values of U₁ U₂ᵀ for every pair of layers, (pair, vector) descending; pairs as np.triu_indices(L, 1)."""
    n_layers, size, hidden_size = bases.shape
    rows = torch.as_tensor(bases).to(device).reshape(-1, hidden_size)
    products = (rows @ rows.mT).reshape(n_layers, size, n_layers, size).transpose(1, 2)
    first, second = np.triu_indices(n_layers, 1)
    pairs = products[first, second].double().split(PAIRS)
    return torch.cat(list(mapped(torch.linalg.svdvals, pairs, device))).cpu().numpy()


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

    @classmethod
    def none(cls, n_heads: int) -> Matches:
        numbers = np.zeros((n_heads, 0), np.int32)
        return cls(np.zeros((n_heads, 0)), numbers, numbers, np.zeros(n_heads))


@dataclass
class Neighbours:
    """How near heads lie to one another by their bases of one side.

    own: the overlap of each head with itself in other layers, (head, layer, layer'), layer < layer', nan where one of
    the layers has no such head · matches: by layer, the nearest heads of each.
    """

    own: np.ndarray
    matches: list[Matches]


def neighbours(
    layers: Sequence[Array],
    n_nearest: int = N_NEAREST,
    device: torch.device = CPU,
    advance: Callable[[int], None] = lambda _: None,
) -> Neighbours:
    """Every head's overlap with itself in all other layers, and the `n_nearest` others with the largest overlap.

    layers: (head, vector, hidden) of each layer, which may be mapped from disk: two are in memory at a time and thread,
    and of the pairs only the nearest are kept. A tie goes to the first; there are at most as many ranks as other heads.
    advance: called for each pair of layers. Layers are numbered as in `layers`. Mean cos² by one GEMM a pair of layers:
    the squared cosines of two orthonormal bases sum to ‖U₁ U₂ᵀ‖².
    """
    counts = [len(bases) for bases in layers]
    found = Neighbours(
        np.full((max(counts), len(layers), len(layers)), np.nan),
        [Matches.none(n) for n in counts],
    )
    # candidates reach every head in the order of (layer, head), so a stable sort gives a tie to the first
    for (layer, other), block in _overlap_blocks(layers, device):
        if other != layer:
            found.own[: min(block.shape), layer, other] = block.diagonal()
        block = block.round(DIGITS)
        if other == layer:
            np.fill_diagonal(block, -np.inf)
        else:
            _keep_nearest(found.matches[other], block.T, layer, n_nearest)
        _keep_nearest(found.matches[layer], block, other, n_nearest)
        advance(1)
    for match in found.matches:
        match.mean /= max(sum(counts) - 1, 1)
        for name in ("overlap", "other_layer", "other_head"):
            setattr(match, name, getattr(match, name)[:, : sum(counts) - 1])
    return found


def _overlap_blocks(layers: Sequence[Array], device: torch.device) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """(layer, layer' ≥ layer) and the overlaps of all heads of both, (head, head') float64; a row of pairs a task."""

    def row(layer: int) -> list[np.ndarray]:
        left = torch.as_tensor(layers[layer]).to(device)
        blocks = [overlaps(left, layers[other], device) for other in range(layer, len(layers))]
        return [block.cpu().numpy() for block in blocks]

    n_bytes = sum(4 * int(np.prod(bases.shape)) for bases in layers)
    if device.type != "cpu" and n_bytes < free_bytes(device) / 2:  # each is needed once a layer
        layers = [torch.as_tensor(bases).to(device) for bases in layers]

    for layer, blocks in enumerate(mapped(row, range(len(layers)), device)):
        for other, block in enumerate(blocks, layer):
            yield (layer, other), block


def overlaps(left: Array, right: Array, device: torch.device = CPU) -> torch.Tensor:
    """Mean cos² between bases i of left and j of right, each (basis, vector, hidden): (i, j) float64, by one GEMM."""
    left, right = (torch.as_tensor(side).to(device) for side in (left, right))
    size, hidden_size = left.shape[1:]
    products = left.reshape(-1, hidden_size) @ right.reshape(-1, hidden_size).mT
    columns = products.square_().reshape(len(left), size, -1).sum(1)
    return columns.reshape(len(left), len(right), size).sum(2, dtype=torch.float64) / size


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
