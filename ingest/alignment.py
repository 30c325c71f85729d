"""How much of what an MLP reads lies in the directions that a head attends by. Fills `ffn_alignments`."""

from __future__ import annotations

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
