"""The metric's singular values for random factors: what chance alone gives. Fills `null_spectra`."""

from __future__ import annotations

import numpy as np

from eigenhouse.ingest.geometry.heads import LayerHeads
from eigenhouse.ingest.geometry.spectra import decompose

N_SAMPLES = 16


def null_sigma(hidden_size: int, head_dim: int, sample: int) -> np.ndarray:
    """σ of W_Kᵀ W_Q, (min(head_dim, hidden_size),) descending, where all entries of both are standard normal.

    Shape and sample are the seed, so a row is the same whenever it is drawn.
    """
    w_q, w_k = np.random.default_rng((hidden_size, head_dim, sample)).standard_normal((2, 1, head_dim, hidden_size))
    heads = LayerHeads.of(w_q, w_k, is_cross=True)  # σ alone is wanted, no eigenvalues
    return decompose(heads, with_vectors=False).sigma[0].numpy()
