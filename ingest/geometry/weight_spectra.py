"""All singular values of a whole weight matrix. Fills `weight_singular_values`."""

from __future__ import annotations

import numpy as np

MARGIN = 1e3  # of the Gram's rounding that its smallest eigenvalue must exceed: half of it is σ's relative error


def weight_sigmas(weight: np.ndarray) -> np.ndarray:
    """σ of a matrix, (min(rows, columns),) float64, descending.

    Error: below 1e-6 of the largest, and below 1e-3 of the smallest itself if the Gram serves; if it is too
    ill-conditioned, a full SVD is taken, whose error is 1e-13 of the largest. Identity: σ² are the eigenvalues of the
    smaller Gram, which squares the condition number: a relative error e of λ_max is e (σ_max/σ)² / 2 of σ.
    """
    matrix = weight.astype(np.float64)
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    values = np.linalg.eigvalsh(matrix.T @ matrix)[::-1]
    if values[-1] > MARGIN * gram_rounding(len(values)) * values[0]:
        return np.sqrt(values)
    return np.linalg.svd(matrix, compute_uv=False)


def gram_rounding(size: int) -> float:
    """The error of a Gram's eigenvalues in float64, relative to the largest."""
    return float(np.sqrt(size) * np.finfo(np.float64).eps)
