"""What chance alone gives: the metric's singular values for random factors. Fills `null_spectra`."""

from __future__ import annotations

import numpy as np

from eigenhouse.ingest.geometry import spectra
from eigenhouse.ingest.geometry.spectra import LayerHeads

N_SAMPLES = 16


def null_sigma(hidden_size: int, head_dim: int, sample: int) -> np.ndarray:
    """σ of W_Kᵀ W_Q, (min(head_dim, hidden_size),) descending, where all entries of both are standard normal.

    The same for a shape and sample wherever and whenever it is drawn.
    """
    w_q, w_k = np.random.default_rng((hidden_size, head_dim, sample)).standard_normal((2, 1, head_dim, hidden_size))
    return spectra.metric_svd(LayerHeads.of(w_q, w_k))[1][0]
