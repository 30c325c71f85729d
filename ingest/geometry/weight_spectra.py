"""The Gram of a weight matrix, and all its singular values. Fills `weight_singular_values`."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from eigenhouse.ingest.devices import CPU, mapped
from eigenhouse.ingest.geometry.heads import Array

MARGIN = 1e3  # of the Gram's rounding that its smallest eigenvalue must exceed: half of it is σ's relative error
BLOCK = 512  # columns of a Gram that are made at a time
ROWS = 4096  # of a matrix that are held in another dtype at a time


def gram(weight: Array, dtype: torch.dtype = torch.float64, device: torch.device = CPU) -> torch.Tensor:
    """Wᵀ W (columns, columns) of a weight (rows, columns), its products and sums in `dtype`.

    Blocks above the diagonal are made once and mirrored: half the work of a full product. Memory: the Gram, and ROWS
    rows in `dtype`.
    """
    n_rows, n_columns = weight.shape
    whole = torch.zeros(n_columns, n_columns, dtype=dtype, device=device)
    for start in range(0, n_rows, ROWS):
        rows = torch.as_tensor(weight[start : start + ROWS]).to(device).to(dtype)

        def add(first: int, rows: torch.Tensor = rows) -> None:
            whole[first : first + BLOCK, first:].addmm_(rows[:, first : first + BLOCK].mT, rows[:, first:])

        _all(mapped(add, range(0, n_columns, BLOCK), device))
    for first in range(0, n_columns, BLOCK):
        whole[first + BLOCK :, first : first + BLOCK] = whole[first : first + BLOCK, first + BLOCK :].mT
    return whole


def weight_sigmas(weight: Array, device: torch.device = CPU, its_gram: torch.Tensor | None = None) -> torch.Tensor:
    """σ of a matrix, (min(rows, columns),) float64, descending.

    its_gram: `gram(weight)` where it is at hand; it counts only for a weight with more rows than columns. Error: below
    1e-6 of the largest, and below 1e-3 of the smallest itself if the Gram serves; if it is too ill-conditioned, a full
    SVD is taken, whose error is 1e-13 of the largest. Identity: σ² are the eigenvalues of the smaller Gram, which
    squares the condition number: a relative error e of λ_max is e (σ_max/σ)² / 2 of σ.
    """
    tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
    smaller = its_gram if its_gram is not None and tall is weight else gram(tall, device=device)
    values = torch.linalg.eigvalsh(smaller).flip(0)
    if values[-1] > MARGIN * gram_rounding(len(values)) * values[0]:
        return values.sqrt()
    return torch.linalg.svdvals(torch.as_tensor(tall).to(device).double())


def gram_rounding(size: int) -> float:
    """The error of a Gram's eigenvalues in float64, relative to the largest."""
    return float(size**0.5 * torch.finfo(torch.float64).eps)


def _all(results: Iterable[object]) -> None:
    for _ in results:
        pass
