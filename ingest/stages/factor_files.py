"""The proven factors of a stack on disk, as the stages after the gate read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from eigenhouse.ingest.geometry.heads import PLAIN, Change, Recipe
from eigenhouse.ingest.stages.writer import StackFacts

Gang = tuple[list[int], list[int]]  # layers, and query heads that share a key head in all of them
Pair = tuple[np.ndarray, np.ndarray]
UNKNOWN = StackFacts("", False, 0.0, {}, {}, {})  # while the gate is at work
GANG_BYTES = 2**30  # of float64 rows of the queries of a gang, over all layers


@dataclass(frozen=True)
class FactorFiles:
    """W_Q (head, feature, hidden) and W_K (kv head, feature, hidden) of each measured layer of one operator.

    facts: what the gate noted of the stack · operator: `metric`, or a variant in a folder of its own. A variant's
    factors are a recipe, which changes the plain ones, or a pair of their own.
    """

    folder: Path
    facts: StackFacts = UNKNOWN
    operator: str = "metric"

    @cached_property
    def layers(self) -> list[int]:
        return sorted({int(path.stem[-4:]) for kind in ("w_q", "recipe") for path in self.folder.glob(f"{kind}_*.np*")})

    def load(self, layer: int) -> Pair:
        """The factors that a layer has of its own, mapped, not read; those that its recipe changes, if it has one."""
        if self._recipe(layer).exists():
            return self.plain.load(layer)
        w_q, w_k = (np.load(self.folder / f"{side}_{layer:04d}.npy", mmap_mode="c") for side in ("w_q", "w_k"))
        return w_q, w_k

    def recipe(self, layer: int) -> Recipe:
        """What makes a layer's factors of those that `load` gives."""
        if not self._recipe(layer).exists():
            return PLAIN
        with np.load(self._recipe(layer)) as held:
            sides = [{field.name: held.get(f"{side}_{field.name}") for field in fields(Change)} for side in "qk"]
        return Recipe(*(Change(**side) for side in sides))

    def _recipe(self, layer: int) -> Path:
        return self.folder / f"recipe_{layer:04d}.npz"

    def save(self, layer: int, made: Pair | Recipe) -> None:
        self.folder.mkdir(exist_ok=True)
        if isinstance(made, Recipe):
            parts = {f"q_{name}": part for name, part in vars(made.query).items() if part is not None}
            parts |= {f"k_{name}": part for name, part in vars(made.key).items() if part is not None}
            np.savez(self._recipe(layer), **parts)
            return
        for side, weight in zip(("w_q", "w_k"), made, strict=True):
            np.save(self.folder / f"{side}_{layer:04d}.npy", weight.astype(np.float32))

    @property
    def variants(self) -> list[FactorFiles]:
        """The variants that apply to a layer at least."""
        return [self.variant(path.name) for path in sorted(self.folder.glob("metric_*"))]

    def variant(self, operator: str) -> FactorFiles:
        return FactorFiles(self.folder / operator, self.facts, operator)

    @property
    def plain(self) -> FactorFiles:
        """Those of the metric itself."""
        return self if self.operator == "metric" else FactorFiles(self.folder.parent, self.facts)

    @cached_property
    def shapes(self) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
        """Layer → the shapes of W_Q and W_K."""
        shapes = {}
        for layer in self.layers:
            recipe, pair = self.recipe(layer), self.load(layer)
            query, key = (
                (*side.shape[:2], side.shape[2] + (change.bias is not None))
                for side, change in zip(pair, (recipe.query, recipe.key), strict=True)
            )
            shapes[layer] = query, key
        return shapes

    @property
    def n_pairs(self) -> int:
        """Pairs layer <= other_layer, summed over the heads that both have."""
        counts = [query[0] for query, _ in self.shapes.values()]
        return sum(min(counts[i], counts[j]) for i in range(len(counts)) for j in range(i, len(counts)))

    @property
    def gangs(self) -> list[Gang]:
        """(layers, query heads) that share a key head in every one of the layers; single heads where layers differ.

        No more heads than have GANG_BYTES of rows together.
        """
        counts = {layer: (query[0], key[0]) for layer, (query, key) in self.shapes.items()}
        n_heads, n_kv_heads = next(iter(counts.values()))
        if set(counts.values()) == {(n_heads, n_kv_heads)}:
            return [(self.layers, heads) for heads in self._groups(n_heads, n_heads // n_kv_heads)]
        most = max(n for n, _ in counts.values())
        return [([layer for layer in self.layers if head < counts[layer][0]], [head]) for head in range(most)]

    def _groups(self, n_heads: int, group: int) -> Iterator[list[int]]:
        head_bytes = sum(8 * query[1] * query[2] for query, _ in self.shapes.values())
        n_at_once = max(1, min(group, GANG_BYTES // head_bytes))
        for first in range(0, n_heads, group):
            for start in range(first, first + group, n_at_once):
                yield list(range(start, min(start + n_at_once, first + group)))

    def of_gang(self, gang: Gang) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Its queries' factors in each of its layers, and the one key head's."""
        pairs = [(self.load(layer), self._of_gang(gang, layer)) for layer in gang[0]]
        return [q[queries] for (q, _), (queries, _) in pairs], [k[keys.start] for (_, k), (_, keys) in pairs]

    def recipes_of_gang(self, gang: Gang) -> list[Recipe]:
        """What changes both in each layer."""
        return [self.recipe(layer).of_heads(*self._of_gang(gang, layer)) for layer in gang[0]]

    def _of_gang(self, gang: Gang, layer: int) -> tuple[slice, slice]:
        """Its queries and its key head in a layer."""
        heads, ((n_heads, *_), (n_kv_heads, *_)) = gang[1], self.shapes[layer]
        key = heads[0] // (n_heads // n_kv_heads)
        return slice(heads[0], heads[-1] + 1), slice(key, key + 1)
