"""The share of an MLP's input weights that lies in a head's subspaces. Fills `ffn_alignments`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def energy_fractions(weight: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """‖W U‖²/‖W‖² for every basis, (basis,) float64 within [0, 1]; nan where W is zero. Chance is size/hidden.

    weight: (row, hidden), a matrix that reads the residual stream · bases: (basis, vector, hidden) orthonormal rows,
    all heads and sides of a layer at once: one GEMM. Products are made in the arrays' dtype, sums in float64;
    float32 costs 2e-6 of a fraction.
    """
    n_bases, size, hidden_size = bases.shape
    if weight.ndim != 2 or weight.shape[1] != hidden_size:
        raise ValueError(
            f"want a weight (row, hidden) with hidden = {hidden_size}; got {weight.shape} (stored transposed?)"
        )
    products = weight @ bases.reshape(-1, hidden_size).T
    energies = np.square(products, out=products).sum(0, dtype=np.float64).reshape(n_bases, size).sum(1)
    total = np.einsum("rd,rd->", weight, weight, dtype=np.float64)
    return energies / total if total > 0 else np.full(n_bases, np.nan)


def span_sum(bases: np.ndarray) -> np.ndarray:
    """Σ_l U_lᵀ U_l of one head's bases (layer, vector, hidden): one product with it serves all layers."""
    rows = bases.reshape(-1, bases.shape[2])
    return rows.T @ rows


def summed_fractions(weight: np.ndarray, sums: Iterable[np.ndarray]) -> np.ndarray:
    """Σ_l ‖W U_l‖²/‖W‖² for every span sum (hidden, hidden), float64; nan where W is zero.

    weight: (row, hidden). Identity: Σ_l ‖W U_l‖² = ⟨Wᵀ W, Σ_l U_lᵀ U_l⟩, so that the cost does not grow with the
    number of layers. float32 costs 2e-6 of a fraction a layer.
    """
    gram = weight.T @ weight
    energies = np.array([np.einsum("ij,ij->i", gram, span).sum(dtype=np.float64) for span in sums])
    total = np.trace(gram, dtype=np.float64)
    return energies / total if total > 0 else np.full(len(energies), np.nan)
