"""The proven factors of a stack on disk, as the stages after the gate read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from eigenhouse.ingest.stages.writer import StackFacts

Gang = tuple[list[int], list[int]]  # layers, and query heads that share a key head in all of them
Pair = tuple[np.ndarray, np.ndarray]
UNKNOWN = StackFacts("", False, 0.0, {}, {}, {})  # while the gate is at work


@dataclass(frozen=True)
class FactorFiles:
    """W_Q (head, feature, hidden) and W_K (kv head, feature, hidden) of each measured layer of one operator.

    facts: what the gate noted of the stack · operator: `metric`, or a variant in a folder of its own.
    """

    folder: Path
    facts: StackFacts = UNKNOWN
    operator: str = "metric"

    @cached_property
    def layers(self) -> list[int]:
        return sorted(int(path.stem.removeprefix("w_q_")) for path in self.folder.glob("w_q_*.npy"))

    def load(self, layer: int) -> Pair:
        """The factors of a layer, mapped, not read."""
        w_q, w_k = (np.load(self.folder / f"{side}_{layer:04d}.npy", mmap_mode="r") for side in ("w_q", "w_k"))
        return w_q, w_k

    def save(self, layer: int, pair: Pair) -> None:
        self.folder.mkdir(exist_ok=True)
        for side, weight in zip(("w_q", "w_k"), pair, strict=True):
            np.save(self.folder / f"{side}_{layer:04d}.npy", weight.astype(np.float32))

    @property
    def variants(self) -> list[FactorFiles]:
        """The variants that apply to a layer at least."""
        return [self.variant(path.name) for path in sorted(self.folder.glob("metric_*"))]

    def variant(self, operator: str) -> FactorFiles:
        return FactorFiles(self.folder / operator, self.facts, operator)

    @cached_property
    def shapes(self) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
        """Layer → the shapes of W_Q and W_K."""
        return {layer: (w_q.shape, w_k.shape) for layer in self.layers for w_q, w_k in [self.load(layer)]}

    @property
    def n_pairs(self) -> int:
        """Pairs layer <= other_layer, summed over the heads that both have."""
        counts = [query[0] for query, _ in self.shapes.values()]
        return sum(min(counts[i], counts[j]) for i in range(len(counts)) for j in range(i, len(counts)))

    @property
    def gangs(self) -> list[Gang]:
        """(layers, query heads) that share a key head in every one of the layers; single heads where layers differ."""
        counts = {layer: (query[0], key[0]) for layer, (query, key) in self.shapes.items()}
        n_heads, n_kv_heads = next(iter(counts.values()))
        if set(counts.values()) == {(n_heads, n_kv_heads)}:
            group = n_heads // n_kv_heads
            return [(self.layers, list(range(key * group, (key + 1) * group))) for key in range(n_kv_heads)]
        most = max(n for n, _ in counts.values())
        return [([layer for layer in self.layers if head < counts[layer][0]], [head]) for head in range(most)]

    def of_gang(self, gang: Gang) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Its queries' factors in each of its layers, and the one key head's."""
        layers, heads = gang
        w_q, w_k = [], []
        for layer in layers:
            queries, keys = self.load(layer)
            w_q.append(queries[heads[0] : heads[-1] + 1])
            w_k.append(keys[heads[0] // (len(queries) // len(keys))])
        return w_q, w_k
