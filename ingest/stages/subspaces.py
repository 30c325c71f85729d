"""The stage of subspaces: from proven factors to the rows that compare heads' leading directions over depth.

The bases of a layer are made of its decomposition once and kept beside the tables as .npy, for the comparison of layers
here and for the alignments with MLPs later. In memory are one layer's factors, one head's bases over all layers, or two
layers' bases a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console
from eigenhouse.ingest.devices import in_blocks, or_on_cpu
from eigenhouse.ingest.geometry import subspaces as geometry
from eigenhouse.ingest.geometry.heads import LayerHeads, keys_of
from eigenhouse.ingest.geometry.spectra import N_EIGENVECTORS
from eigenhouse.ingest.geometry.subspaces import SIDES, Bases
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.factor_files import FactorFiles
from eigenhouse.ingest.stages.frames import long_frame
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.spectra import DecompositionFiles
from eigenhouse.ingest.stages.writer import Rows, Writer

ROUNDING = 1e-5  # what float32 bases may exceed a cosine's range by; more is a fault
BASES = ("vectors", "is_degenerate")
TIED_TOP = "top"  # the kind under which it is kept whether the first eigenvector is tied
# which layer of a stack, the vectors of its sides and of its eigenvectors, where its decompositions are
LayerTask = tuple[FactorFiles, int, int, int, DecompositionFiles, torch.device]


@stage(
    reads=("factors", "spectra"),
    writes=("side_overlaps", "head_matches", "principal_cosines", "eigenvector_overlaps"),
    options=("subspace_size", "principal_sides"),
    unless=("dynamic_only",),
    version=2,
)
def subspaces(inputs: Inputs, out: Writer) -> None:
    """Every head against itself in all other layers, and the nearest heads anywhere; the bases stay beside the rows."""
    sizes = {stack.facts.name: _sizes(stack, inputs.options.subspace_size) for stack in inputs.stacks}
    spectra = {name: DecompositionFiles(inputs.folder("spectra") / name) for name in sizes}
    tasks = [
        (stack, layer, *sizes[name], spectra[name], inputs.device)
        for stack in inputs.stacks
        for name in [stack.facts.name]
        for layer in stack.layers
    ]
    for (stack, layer, *_), kinds in inputs.map(layer_bases, tasks, "subspaces (layers)"):
        BasisFiles(out.folder(stack.facts.name)).save(layer, kinds)
    for stack in inputs.stacks:
        bases = BasisFiles(out.folder(stack.facts.name))
        heads = [(bases, head, inputs.options.principal_sides, inputs.device) for head in range(bases.most_heads)]
        for _, rows in inputs.map(compare_layers, heads, "principal cosines (heads)"):
            out.add(stack.facts.name, rows)
        found = {side: _neighbours(bases, side, inputs.device) for side in SIDES}
        for head, side in product(range(bases.most_heads), SIDES):
            out.add(stack.facts.name, _overlap_rows(bases, side, found[side], head))
        for side in SIDES:
            out.add(stack.facts.name, _match_rows(bases, side, found[side]))


def _sizes(stack: FactorFiles, subspace_size: int) -> tuple[int, int]:
    """One size for all layers of a stack: where one has fewer directions, all are compared in as many."""
    size = min(subspace_size, *(min(query[1], query[2], key[2]) for query, key in stack.shapes.values()))
    return size, min(N_EIGENVECTORS, *(min(2 * query[1], query[2]) for query, _ in stack.shapes.values()))


def layer_bases(task: LayerTask) -> dict[str, Bases]:
    """The bases of each kind, and under `top` the first eigenvectors; of vectors that were found already."""
    factors, layer, size, n_eigen, spectra, device = task
    (w_q, w_k), found = factors.load(layer), spectra.load(layer)
    group = len(w_q) // len(w_k)

    def block(queries: slice, device: torch.device) -> dict[str, Bases]:
        heads = LayerHeads.of(w_q[queries], w_k[keys_of(queries, group)], factors.facts.is_cross, device)
        own = found.heads(queries).to(device)
        kinds = geometry.side_bases(heads, own, size)
        if not heads.is_cross:
            kinds["eigen"], top_is_tied = geometry.eigen_bases(heads, own, n_eigen)
            kinds[TIED_TOP] = Bases(kinds["eigen"].vectors[:, :1], top_is_tied)
        return kinds

    parts = in_blocks(block, len(w_q), group, device, console.say)
    return {
        kind: Bases(*(np.concatenate([getattr(part[kind], name) for part in parts]) for name in BASES))
        for kind in parts[0]
    }


@dataclass(frozen=True)
class BasisFiles:
    """The bases of one stack on disk: kind ('key', 'query', 'eigen', 'top') and layer → Bases, mapped."""

    folder: Path

    def save(self, layer: int, kinds: dict[str, Bases]) -> None:
        for kind, bases in kinds.items():
            if kind != TIED_TOP:
                np.save(self.folder / f"{kind}_{layer:04d}.npy", bases.vectors)
            np.save(self.folder / f"tied_{kind}_{layer:04d}.npy", bases.is_degenerate)

    @cached_property
    def layers(self) -> list[int]:
        return sorted(int(path.stem.removeprefix("key_")) for path in self.folder.glob("key_*.npy"))

    @cached_property
    def kinds(self) -> list[str]:
        return [kind for kind in (*SIDES, "eigen") if (self.folder / f"{kind}_{self.layers[0]:04d}.npy").exists()]

    @cached_property
    def n_heads(self) -> dict[int, int]:
        return {layer: len(self.is_degenerate("key", layer)) for layer in self.layers}

    @property
    def most_heads(self) -> int:
        return max(self.n_heads.values())

    def __call__(self, kind: str, layer: int) -> Bases:
        return Bases(self._vectors(kind, layer), self.is_degenerate(kind, layer))

    def is_degenerate(self, kind: str, layer: int) -> np.ndarray:
        return np.load(self.folder / f"tied_{kind}_{layer:04d}.npy")

    def of_head(self, kind: str, head: int) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Layers that have the head, its basis in each (layer, vector, hidden), and whether each is degenerate."""
        layers = [layer for layer in self.layers if head < self.n_heads[layer]]
        tied = np.array([self.is_degenerate(kind, layer)[head] for layer in layers])
        return layers, self.vectors_of_head(kind, head), tied

    def vectors_of_head(self, kind: str, head: int) -> np.ndarray:
        """Its basis in each layer that has the head, (layer, vector, hidden)."""
        return np.stack([self._vectors(kind, layer)[head] for layer in self.layers if head < self.n_heads[layer]])

    def _vectors(self, kind: str, layer: int) -> np.ndarray:
        return np.load(self.folder / f"{kind}_{layer:04d}.npy", mmap_mode="c")


def compare_layers(task: tuple[BasisFiles, int, bool, torch.device]) -> list[Rows]:
    """One head's principal cosines with itself in all other layers."""
    bases, head, principal_sides, device = task
    n_layers = sum(head < n_heads for n_heads in bases.n_heads.values())
    n_pairs = n_layers * (n_layers - 1) // 2
    rows: list[Rows] = []
    if n_layers < 2:
        return rows
    # 'eigen' < 'key' < 'query': rows come in the order of the tables' keys
    for kind in sorted(bases.kinds) if principal_sides else bases.kinds[len(SIDES) :]:
        layers, vectors, tied = bases.of_head(kind, head)
        pairs = HeadPairs(head, layers, tied)
        cosines = within_unit(geometry.principal_cosines(vectors, device), pairs.where)
        frame = pairs.frame({"basis": kind}, cosine=cosines)
        rows.append(Rows("principal_cosines", frame, n_pairs * vectors.shape[1]))
        if kind == "eigen":
            top = np.array([bases.is_degenerate(TIED_TOP, layer)[head] for layer in layers])
            top1 = within_unit(geometry.vector_overlaps(vectors[:, 0])[pairs.indices], pairs.where)
            frame = HeadPairs(head, layers, top).frame({}, top1_overlap=top1)
            rows.append(Rows("eigenvector_overlaps", frame, n_pairs))
    return rows


class HeadPairs:
    """The pairs layer < other_layer of one head."""

    def __init__(self, head: int, layers: list[int], tied: np.ndarray) -> None:
        self.indices = np.triu_indices(len(layers), 1)
        self.where, numbers = f"head {head}", np.array(layers, dtype=np.int32)
        first, second = self.indices
        self.keys = pl.DataFrame(
            {"layer": numbers[first], "other_layer": numbers[second], "is_degenerate": tied[first] | tied[second]}
        ).select(pl.lit(head, dtype=pl.Int32).alias("head"), pl.all())

    def frame(self, constants: dict[str, Any], **values: np.ndarray) -> pl.DataFrame:
        """One row a pair, or a pair and rank where the values are (pair, k)."""
        [(name, array)] = values.items()
        frame = self.keys
        if array.ndim == 2:
            ranks = pl.Series("k", np.tile(np.arange(array.shape[1], dtype=np.int32), len(array)))
            frame = frame[np.repeat(np.arange(len(array)), array.shape[1])].with_columns(ranks)
        series = pl.Series(name, array.reshape(-1).astype(np.float32))
        return frame.with_columns(series, *(pl.lit(value).alias(key) for key, value in constants.items()))


def _neighbours(bases: BasisFiles, side: str, device: torch.device) -> geometry.Neighbours:
    vectors = [bases(side, layer).vectors for layer in bases.layers]
    with console.stage(f"{side} sides (pairs of layers)", len(vectors) * (len(vectors) + 1) // 2) as advance:
        measure = partial(geometry.neighbours, vectors, geometry.N_NEAREST, advance=advance)
        return or_on_cpu(measure, device, console.say)


def _overlap_rows(bases: BasisFiles, side: str, found: geometry.Neighbours, head: int) -> Iterator[Rows]:
    """One head with itself in all other layers."""
    has = [number for number, layer in enumerate(bases.layers) if head < bases.n_heads[layer]]
    layers = [bases.layers[number] for number in has]
    pairs = HeadPairs(head, layers, np.array([bases.is_degenerate(side, layer)[head] for layer in layers]))
    if n_pairs := len(pairs.keys):
        overlap = within_unit(found.own[head][np.ix_(has, has)][pairs.indices], pairs.where)
        size = bases(side, layers[0]).vectors.shape[1]
        yield Rows("side_overlaps", pairs.frame({"side": side, "subspace_size": size}, overlap=overlap), n_pairs)


def _match_rows(bases: BasisFiles, side: str, found: geometry.Neighbours) -> Iterator[Rows]:
    n_ranks = min(geometry.N_NEAREST, sum(bases.n_heads.values()) - 1)
    for layer, match in zip(bases.layers, found.matches, strict=True):
        if n_ranks:
            yield Rows("head_matches", _match_frame(bases, side, layer, match), bases.n_heads[layer] * n_ranks)


def _match_frame(bases: BasisFiles, side: str, layer: int, match: geometry.Matches) -> pl.DataFrame:
    where = f"layer {layer}, {side} side"
    tied = [bases.is_degenerate(side, other) for other in bases.layers]
    others = np.array(
        [
            [tied[i][j] for i, j in zip(*pair, strict=True)]
            for pair in zip(match.other_layer, match.other_head, strict=True)
        ]
    )
    overlap = within_unit(match.overlap, where).astype(np.float32)
    return long_frame(
        {"side": side, "layer": layer, "subspace_size": bases(side, layer).vectors.shape[1]},
        ("head", "rank"),
        other_layer=np.array(bases.layers, dtype=np.int32)[match.other_layer],
        other_head=match.other_head,
        overlap=overlap,
        mean_overlap=np.broadcast_to(within_unit(match.mean, where).astype(np.float32)[:, None], overlap.shape),
        is_degenerate=others | bases.is_degenerate(side, layer)[:, None],
    )


def within_unit(values: np.ndarray, where: str) -> np.ndarray:
    """The values cut to [0, 1], where rounding alone took them out. Raises EigenhouseError for any further out."""
    far = ~((values >= -ROUNDING) & (values <= 1 + ROUNDING)) & ~np.isnan(values)
    if far.any():
        raise EigenhouseError(
            f"want a share within [0, 1] at {where}; got {values[far].flat[0]:.6g}: the bases aren't orthonormal, "
            "a fault of Eigenhouse or of this machine's linear algebra; nothing was written"
        )
    return np.clip(values, 0, 1)
