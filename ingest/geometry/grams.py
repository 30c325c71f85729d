"""Inner products of one head's operators over all pairs of layers. Fills `grams` and `spectral_grams`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from eigenhouse.ingest.devices import CPU, mapped
from eigenhouse.ingest.geometry.heads import PLAIN, Array, Change, Recipe, between, to_device

Recipes = Sequence[Recipe]  # of one operator, one a layer, its sides cut to the heads in question


def metric_grams(w_q: Sequence[Array], w_k: Sequence[Array], device: torch.device = CPU) -> np.ndarray:
    """⟨M_l, M_l'⟩_F of the query heads of one key head, (head, layer, layer) float64 symmetric, without forming any M.

    w_q: one (head, feature, hidden) array a layer; w_k: one (feature, hidden) matrix a layer; the feature size may
    differ between layers. Memory: the heads' stack of layers and one row of blocks a thread. Error: below 1e-12 of the
    norms' product. Identity: ⟨W_Kᵀ W_Q, W_K'ᵀ W_Q'⟩ = Σ (W_K W_K'ᵀ) ∘ (W_Q W_Q'ᵀ).
    """
    return operator_grams(w_q, w_k, {"metric": [PLAIN] * len(w_k)}, device)["metric"]


def operator_grams(
    w_q: Sequence[Array],
    w_k: Sequence[Array],
    operators: Mapping[str, Recipes],
    device: torch.device = CPU,
) -> dict[str, np.ndarray]:
    """`metric_grams` for several operators that are made of the same factors and have one gain of hidden features.

    The large products W_K W_K'ᵀ and W_Q W_Q'ᵀ are made once; what an operator changes of them has the size of a head.
    """
    if [q.shape[1] for q in w_q] != [len(k) for k in w_k]:
        raise ValueError("want both factors of a layer with one head_dim, got different ones (stored transposed?)")
    starts = [0, *np.cumsum([len(rows) for rows in w_k])]
    gain = [recipe.query.gain for recipe in next(iter(operators.values()))]
    all_k = _stacked([rows[None] for rows in w_k], gain, device)[0]
    all_q = _stacked(w_q, gain, device)
    n_layers = len(w_k)

    def row(layer: int) -> dict[str, torch.Tensor]:
        """Operator → (head, layer' ≥ layer)."""
        own = slice(starts[layer], starts[layer + 1])
        keys, queries = all_k[own] @ all_k[own.start :].mT, all_q[:, own] @ all_q[:, own.start :].mT
        sizes = [len(rows) for rows in w_k[layer:]]
        return {name: _row(keys, queries, sizes, recipes[layer:]) for name, recipes in operators.items()}

    grams = {name: np.zeros((len(all_q), n_layers, n_layers)) for name in operators}
    for layer, found in enumerate(mapped(row, range(n_layers), device)):
        for name, products in found.items():
            grams[name][:, layer, layer:] = products.cpu().numpy()
    return {name: upper + np.triu(upper, 1).transpose(0, 2, 1) for name, upper in grams.items()}


def _stacked(weights: Sequence[Array], gains: Sequence[np.ndarray | None], device: torch.device) -> torch.Tensor:
    """(head, all layers' features, hidden) float64, with one copy of each layer at a time beside it."""
    n_rows, (n_heads, _, hidden_size) = sum(weight.shape[1] for weight in weights), weights[0].shape
    stack = torch.empty(n_heads, n_rows, hidden_size, dtype=torch.float64, device=device)
    start = 0
    for weight, gain in zip(weights, gains, strict=True):
        rows = stack[:, start : start + weight.shape[1]]
        rows.copy_(Change(gain=gain).factor(to_device(weight, device)))
        start += weight.shape[1]
    return stack


def _row(keys: torch.Tensor, queries: torch.Tensor, sizes: Sequence[int], recipes: Recipes) -> torch.Tensor:
    """⟨M_l, M_l'⟩ for l' ≥ l, (head, l'), given W_K W_K'ᵀ (feature, features of all l') and W_Q W_Q'ᵀ (head, …).

    A turn of the queries that all heads share is put on the keys' side, of which there is one for all of them:
    ⟨T A T'ᵀ, B⟩ = ⟨A, Tᵀ B T'⟩.
    """
    if all(recipe.query.is_gain and recipe.key.is_gain for recipe in recipes):
        columns = torch.einsum("ij,hij->hj", keys, queries)
        return torch.stack([block.sum(-1) for block in columns.split(sizes, dim=-1)], dim=-1)
    products, own = [], recipes[0]
    blocks = zip(keys.split(sizes, dim=-1), queries.split(sizes, dim=-1), recipes, strict=True)
    for key, query, other in blocks:
        key = between(key[None], own.key, other.key)
        if own.query.is_shared and other.query.is_shared:
            key = between(key, own.query.transposed(), other.query.transposed())
        else:
            query = between(query, own.query, other.query)
        products.append((key * query).sum(dim=(1, 2)))
    return torch.stack(products, dim=-1)


def spectral_grams(spectra: Sequence[np.ndarray]) -> np.ndarray:
    """⟨σ_l, σ_l'⟩ of one head, (layer, layer) float64; shorter spectra are padded with zeros."""
    padded = np.zeros((len(spectra), max(len(sigma) for sigma in spectra)))
    for row, sigma in zip(padded, spectra, strict=True):
        row[: len(sigma)] = sigma
    return padded @ padded.T
