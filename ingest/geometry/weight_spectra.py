"""The Gram of a weight matrix, and all its singular values. Fills `weight_singular_values`."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from eigenhouse.ingest.devices import CPU, mapped, n_threads
from eigenhouse.ingest.geometry.heads import Array

MARGIN = 1e3  # of the Gram's rounding that its smallest eigenvalue must exceed: half of it is σ's relative error
BLOCK = 64, 512  # columns of a Gram that are made at a time, at least and at most
WIDTH = 32  # what their number is a multiple of: a GEMM sums the columns at an odd edge in another order
ROWS = 4096  # of a matrix that are held in another dtype at a time


def gram(weight: Array, dtype: torch.dtype = torch.float64, device: torch.device = CPU) -> torch.Tensor:
    """Wᵀ W (columns, columns) of a weight (rows, columns), its products and sums in `dtype`.

    Blocks above the diagonal are made once and mirrored: half the work of a full product. Memory: the Gram, and ROWS
    rows in `dtype`. The CPU gives the same bits with any number of threads where the columns are a multiple of 16.
    """
    n_rows, n_columns = weight.shape
    block = min(max(BLOCK[0], -(-n_columns // (4 * n_threads() * WIDTH)) * WIDTH), BLOCK[1])
    whole = torch.zeros(n_columns, n_columns, dtype=dtype, device=device)
    for start in range(0, n_rows, ROWS):
        rows = torch.as_tensor(weight[start : start + ROWS]).to(device).to(dtype)

        def add(first: int, rows: torch.Tensor = rows) -> None:
            whole[first : first + block, first:].addmm_(rows[:, first : first + block].mT, rows[:, first:])

        _all(mapped(add, range(0, n_columns, block), device))
    for first in range(0, n_columns, block):
        whole[first + block :, first : first + block] = whole[first : first + block, first + block :].mT
    return whole


def tall(weight: Array) -> Array:
    """The weight or its transpose, with no more columns than rows."""
    return weight if weight.shape[0] >= weight.shape[1] else weight.T


def weight_sigmas(weight: Array, smaller: torch.Tensor | None = None) -> torch.Tensor:
    """σ of a matrix, (min(rows, columns),) float64, descending.

    smaller: `gram(tall(weight))`, where it is at hand; its device is where the work is done. Error: below 1e-6 of the
    largest, and below 1e-3 of the smallest itself if the Gram serves; if it is too ill-conditioned, a full SVD is
    taken, whose error is 1e-13 of the largest. Identity: σ² are the eigenvalues of the Gram, which squares the
    condition number: a relative error e of λ_max is e (σ_max/σ)² / 2 of σ.
    """
    smaller = gram(tall(weight)) if smaller is None else smaller
    values = torch.linalg.eigvalsh(smaller).flip(0)
    if values[-1] > MARGIN * gram_rounding(len(values)) * values[0]:
        return values.sqrt()
    of_device = torch.linalg.svdvals if smaller.device.type == "cpu" else sigmas_by_eigenvalues
    return of_device(torch.as_tensor(tall(weight)).to(smaller.device).double())


def sigmas_by_eigenvalues(matrix: torch.Tensor) -> torch.Tensor:
    """σ of a tall matrix, descending, to 1e-13 of the largest whatever its condition, without an SVD.

    With R of its QR, ±σ are the eigenvalues of [[0, R], [Rᵀ, 0]] (Golub & Van Loan, section 8.6). A GPU finds those
    many times sooner.
    """
    r = torch.linalg.qr(matrix, mode="r")[1]
    both = torch.zeros(2 * len(r), 2 * len(r), dtype=r.dtype, device=r.device)
    both[len(r) :, : len(r)] = r.mT  # the lower half is all that is read
    return torch.linalg.eigvalsh(both)[len(r) :].flip(0).clamp(min=0)


def gram_rounding(size: int) -> float:
    """The error of a Gram's eigenvalues in float64, relative to the largest."""
    return float(size**0.5 * torch.finfo(torch.float64).eps)


def _all(results: Iterable[object]) -> None:
    for _ in results:
        pass
