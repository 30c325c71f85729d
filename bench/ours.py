"""What the rows call of the program itself: one place to change where a function moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from eigenhouse.ingest.capture.workbench import Workbench
    from eigenhouse.ingest.sources.prompts import PromptSet


def sigma_and_sides(w_q: np.ndarray, w_k: np.ndarray, n_vectors: int) -> np.ndarray:
    """σ of every head's metric, (head, k), with so many vectors of both sides made; factors as LayerHeads takes them.

    The sides are said to read different spaces, since what would be measured of one space is not asked for here.
    """
    from eigenhouse.ingest.devices import CPU, in_blocks
    from eigenhouse.ingest.geometry.heads import LayerHeads, keys_of
    from eigenhouse.ingest.geometry.spectra import decompose, side_vectors

    group = len(w_q) // len(w_k)

    def block(queries: slice, device: torch.device) -> np.ndarray:
        heads = LayerHeads.of(w_q[queries], w_k[keys_of(queries, group)], is_cross=True, device=device)
        found = decompose(heads)
        side_vectors(heads, found, n_vectors)
        return found.sigma.numpy()

    return np.concatenate(in_blocks(block, len(w_q), group, CPU, print))


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
