"""The share of an MLP's input weights that lies in a head's subspaces. Fills `ffn_alignments`.

All of it is made of the Gram Wᵀ W: ‖W U‖² = ⟨Wᵀ W, U Uᵀ⟩. So a weight is read once, however many heads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from eigenhouse.ingest.devices import CPU, free_bytes, mapped
from eigenhouse.ingest.geometry.heads import Array

BLOCK_BYTES = 2**30  # of the rows of all Grams and span sums that are held at a time
DEVICE_SHARE = 4  # of a GPU's free memory to them
MOST_ROWS = 256  # but for a GPU, which reads each head's bases once if it can
ROWS_AT_ONCE = 16  # that a thread takes
BLOCK = 256  # rows of bases that a thread takes at a time


def energy_fractions(gram: Array, bases: Array, device: torch.device = CPU) -> np.ndarray:
    """‖W U‖²/‖W‖² for every basis, (basis,) float64 within [0, 1]; nan where W is zero. Chance is size/hidden.

    gram: Wᵀ W (hidden, hidden) of a matrix that reads the residual stream · bases: (basis, vector, hidden) orthonormal
    rows, all heads and sides of a layer at once: one GEMM. Products are made in the arrays' dtype, sums in float64;
    float32 costs 2e-6 of a fraction.
    """
    gram, bases = (torch.as_tensor(array).to(device) for array in (gram, bases))
    n_bases, size, hidden_size = bases.shape
    if gram.shape != (hidden_size, hidden_size):
        raise ValueError(f"want a Gram (hidden, hidden) with hidden = {hidden_size}; got {tuple(gram.shape)}")
    rows = bases.reshape(-1, hidden_size)
    blocks = mapped(lambda rows: torch.einsum("ij,ij->i", rows @ gram, rows), rows.split(BLOCK), device)
    energies = torch.cat(list(blocks)).double().reshape(n_bases, size).sum(1)
    return _shares(energies.cpu().numpy()[None], _traces([gram]))[0]


def summed_fractions(
    grams: Sequence[Array], bases: Sequence[Callable[[], Array]], device: torch.device = CPU
) -> np.ndarray:
    """Σ_l ‖W U_l‖²/‖W‖² for every weight and every head's stack of bases, (weight, head) float64; nan where W is zero.

    grams: Wᵀ W (hidden, hidden) of each weight · bases: what gives each head's, (layer, vector, hidden), since
    together they may be larger than memory. The Grams may be mapped from disk, and are passed over once. Memory:
    BLOCK_BYTES, or a share of the GPU's. Identity: Σ_l ‖W U_l‖² = ⟨Wᵀ W, Σ_l U_lᵀ U_l⟩, so that the cost of a weight
    does not grow with the number of layers. float32 costs 2e-6 of a fraction a layer.
    """
    hidden_size, n_both = grams[0].shape[0], len(grams) + len(bases)
    most, n_bytes = (MOST_ROWS, BLOCK_BYTES) if device == CPU else (hidden_size, free_bytes(device) // DEVICE_SHARE)
    n_rows = min(most, max(1, n_bytes // (8 * hidden_size * n_both)))
    energies = torch.zeros(len(grams), len(bases), dtype=torch.float64, device=device)
    for start in range(0, hidden_size, n_rows):
        own = slice(start, min(start + n_rows, hidden_size))
        weights = torch.stack([torch.as_tensor(gram[own, start:]).to(device) for gram in grams])
        weights[:, :, own.stop - start :] *= 2  # for what mirrors it below the diagonal
        spans = torch.empty(len(bases), *weights.shape[1:], dtype=weights.dtype, device=device)

        def fill(number: int, own: slice = own, spans: torch.Tensor = spans) -> None:
            rows = torch.as_tensor(bases[number]()).to(device).reshape(-1, hidden_size)
            torch.mm(rows[:, own].mT, rows[:, own.start :], out=spans[number])

        for _ in mapped(fill, range(len(bases)), device):
            pass
        by_row = mapped(lambda both: both[0] @ both[1].mT, _rows_of(weights, spans), device)
        energies += sum((products.double().sum(0) for products in by_row), torch.zeros_like(energies))
    return _shares(energies.cpu().numpy(), _traces(grams))


def _rows_of(weights: torch.Tensor, spans: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Some rows of all Grams and of all span sums, (row, weight or head, hidden)."""
    for own in torch.arange(weights.shape[1]).split(ROWS_AT_ONCE):
        yield tuple(matrices[:, own[0] : own[-1] + 1].transpose(0, 1) for matrices in (weights, spans))  # type: ignore[misc]


def _traces(grams: Sequence[Array]) -> np.ndarray:
    return np.array([float(torch.as_tensor(gram).diagonal().double().sum()) for gram in grams])


def _shares(energies: np.ndarray, totals: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(totals[:, None] > 0, energies / totals[:, None], np.nan)
