"""Inner products of one head's operators over all pairs of layers. Fills `grams` and `spectral_grams`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def metric_grams(w_q: Sequence[np.ndarray], w_k: Sequence[np.ndarray]) -> np.ndarray:
    """⟨M_l, M_l'⟩_F of the query heads of one key head, (head, layer, layer) float64 symmetric, without forming any M.

    w_q: one (head, feature, hidden) array a layer; w_k: one (feature, hidden) matrix a layer; the feature size may
    differ between layers. Memory: the heads' stack of layers and one row of blocks. Error: below 1e-12 of the
    norms' product. Identity: ⟨W_Kᵀ W_Q, W_K'ᵀ W_Q'⟩ = Σ (W_K W_K'ᵀ) ∘ (W_Q W_Q'ᵀ).
    """
    if [q.shape[1] for q in w_q] != [len(k) for k in w_k]:
        raise ValueError("want both factors of a layer with one head_dim, got different ones (stored transposed?)")
    starts = np.cumsum([0, *(len(rows) for rows in w_k)])
    all_k = np.concatenate([rows.astype(np.float64) for rows in w_k])
    all_q = np.concatenate([rows.astype(np.float64) for rows in w_q], axis=1)
    grams = np.zeros((len(all_q), len(w_k), len(w_k)))
    for layer, start in enumerate(starts[:-1]):
        own = slice(start, starts[layer + 1])
        keys = all_k[own] @ all_k[start:].T
        for head, queries in enumerate(all_q):
            columns = np.einsum("ij,ij->j", keys, queries[own] @ queries[start:].T)
            grams[head, layer, layer:] = np.add.reduceat(columns, starts[layer:-1] - start)
    return grams + np.triu(grams, 1).transpose(0, 2, 1)


def spectral_grams(spectra: Sequence[np.ndarray]) -> np.ndarray:
    """⟨σ_l, σ_l'⟩ of one head, (layer, layer) float64; shorter spectra are padded with zeros."""
    padded = np.zeros((len(spectra), max(len(sigma) for sigma in spectra)))
    for row, sigma in zip(padded, spectra, strict=True):
        row[: len(sigma)] = sigma
    return padded @ padded.T
