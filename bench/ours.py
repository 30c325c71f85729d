"""What the rows call of the program itself: one place to change where a function moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eigenhouse.ingest.capture.workbench import Workbench
    from eigenhouse.ingest.sources.prompts import PromptSet


def sigma_and_sides(w_q: np.ndarray, w_k: np.ndarray, n_vectors: int) -> np.ndarray:
    """σ of every head's metric, (head, k), with so many vectors of both sides made; factors as LayerHeads takes them.

    The sides are said to read different spaces, since what would be measured of one space is not asked for here.
    """
    from eigenhouse.ingest.geometry.heads import LayerHeads
    from eigenhouse.ingest.geometry.spectra import decompose, side_vectors

    heads = LayerHeads.of(w_q, w_k, is_cross=True)
    found = decompose(heads)
    side_vectors(heads, found, n_vectors)
    return found.sigma.numpy()


def weight_sigmas(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """σ of a layer's whole matrices, descending, several at a time as the stage does it."""
    from eigenhouse.ingest.devices import CPU, mapped
    from eigenhouse.ingest.geometry.weight_spectra import gram, tall, weight_sigmas

    tasks = ((weight, gram(tall(weight))) for weight in weights)
    return [found.numpy() for found in mapped(lambda task: weight_sigmas(*task), tasks, CPU)]


def attention_statistics(bench: Workbench, prompts: PromptSet) -> object:
    """All that the stage of attention measures, the comparison with the model's own kernel included."""
    from eigenhouse.ingest.stages import attention

    return attention._measure(bench, prompts)
