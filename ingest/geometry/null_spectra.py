"""The metric's singular values for random factors: what chance alone gives. Fills `null_spectra`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from eigenhouse.ingest.geometry import spectra
from eigenhouse.ingest.geometry.spectra import LayerHeads
from eigenhouse.ingest.stages.staging import long_frame

N_SAMPLES = 16


def null_sigma(hidden_size: int, head_dim: int, sample: int) -> np.ndarray:
    """σ of W_Kᵀ W_Q, (min(head_dim, hidden_size),) descending, where all entries of both are standard normal.

    Shape and sample are the seed, so a row is the same whenever it is drawn.
    """
    w_q, w_k = np.random.default_rng((hidden_size, head_dim, sample)).standard_normal((2, 1, head_dim, hidden_size))
    return spectra.metric_svd(LayerHeads.of(w_q, w_k))[1][0]


def null_frame(shapes: Iterable[tuple[int, int]]) -> pl.DataFrame:
    """The rows of `null_spectra` for these (hidden_size, head_dim)."""
    frames = []
    for hidden_size, head_dim in sorted(shapes):
        sigma = np.stack([null_sigma(hidden_size, head_dim, sample) for sample in range(N_SAMPLES)])
        keys = {"hidden_size": hidden_size, "head_dim": head_dim}
        frames.append(long_frame(keys, ("sample", "k"), sigma=sigma.astype(np.float32)))
    return pl.concat(frames)
