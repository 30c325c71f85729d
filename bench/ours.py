"""What the rows call of the program itself: one place to change where a function moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eigenhouse.ingest.capture.workbench import Workbench
    from eigenhouse.ingest.sources.prompts import PromptSet


def sigma_and_sides(w_q: np.ndarray, w_k: np.ndarray) -> np.ndarray:
    """σ of every head's metric, (head, k), with both sides' vectors made: (head, feature, hidden) float64 factors."""
    from eigenhouse.ingest.geometry.spectra import LayerHeads, metric_svd

    return metric_svd(LayerHeads.of(w_q, w_k))[1]


def weight_sigmas(weight: np.ndarray) -> np.ndarray:
    """σ of a whole matrix, descending."""
    from eigenhouse.ingest.geometry.weight_spectra import weight_sigmas

    return weight_sigmas(weight)


def attention_statistics(bench: Workbench, device: str, prompts: PromptSet) -> object:
    """All that the stage of attention measures, the comparison with the model's own kernel included."""
    from eigenhouse.ingest.stages import attention

    return attention._measure(bench, device, prompts)
