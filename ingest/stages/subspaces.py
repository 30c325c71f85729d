"""The stage of subspaces: from staged factors to the rows that compare heads' leading directions over depth.

The bases of a layer are made once and kept beside the tables as .npy, for the comparison of layers here and for the
alignments with MLPs later. In memory are one layer's factors, one head's bases over all layers, or two layers' bases.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from eigenhouse.ingest import console
from eigenhouse.ingest.geometry import subspaces
from eigenhouse.ingest.geometry.spectra import N_EIGENVECTORS, LayerHeads
from eigenhouse.ingest.geometry.subspaces import SIDES, Bases
from eigenhouse.ingest.stages.spectra import load_factors, measured_layers
from eigenhouse.ingest.stages.staging import growing_table, long_frame

from eigenhouse.errors import EigenhouseError

ROUNDING = 1e-5  # what float32 bases may exceed a cosine's range by; more is a fault
Append = Callable[[pl.DataFrame], None]


def write_subspaces(factors: Path, out: Path, subspace_size: int, principal_sides: bool) -> None:
    """Stage `side_overlaps`, `head_matches`, `principal_cosines`, `eigenvector_overlaps`, and the bases themselves."""
    expected, stacks = {}, json.loads((factors / "stacks.json").read_text())
    n_layers = sum(len(measured_layers(factors / stack["folder"])) for stack in stacks)
    with console.stage("subspaces (layers)", n_layers) as advance:
        for stack in stacks:
            _write_bases(factors / stack["folder"], out / stack["folder"], subspace_size, stack["is_cross"], advance)
    for stack in stacks:
        bases = StackBases(out / stack["folder"])
        expected[stack["folder"]] = _expected_rows(bases, principal_sides)
        _write_pairs(bases, principal_sides)
        _write_matches(bases)
    (out / "expected.json").write_text(json.dumps(expected))


class StackBases:
    """The staged bases of one stack: kind ('key', 'query', 'eigen', 'top') and layer → Bases, mapped from disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layers = sorted(int(path.stem.removeprefix("key_")) for path in folder.glob("key_*.npy"))
        self.kinds = [kind for kind in (*SIDES, "eigen") if (folder / f"{kind}_{self.layers[0]:04d}.npy").exists()]

    def __call__(self, kind: str, layer: int) -> Bases:
        vectors = np.load(self.folder / f"{kind}_{layer:04d}.npy", mmap_mode="r")
        return Bases(vectors, self.is_degenerate(kind, layer))

    def is_degenerate(self, kind: str, layer: int) -> np.ndarray:
        return np.load(self.folder / f"tied_{kind}_{layer:04d}.npy")

    def n_heads(self, layer: int) -> int:
        return len(self.is_degenerate("key", layer))

    def of_head(self, kind: str, head: int) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Layers that have the head, its basis in each (layer, vector, hidden), and whether each is degenerate."""
        layers = [layer for layer in self.layers if head < self.n_heads(layer)]
        bases = [self(kind, layer) for layer in layers]
        tied = np.array([basis.is_degenerate[head] for basis in bases])
        return layers, np.stack([basis.vectors[head] for basis in bases]), tied


def _write_bases(
    folder: Path, target: Path, subspace_size: int, is_cross: bool, advance: Callable[[int], None]
) -> None:
    """One size for all layers of a stack: where one has fewer directions, all are compared in as many."""
    target.mkdir(parents=True)
    layers = measured_layers(folder)
    shapes = [[array.shape for array in load_factors(folder, layer)] for layer in layers]
    size = min(subspace_size, *(min(query[1], query[2], key[2]) for query, key in shapes))
    n_eigen = min(N_EIGENVECTORS, *(min(2 * query[1], query[2]) for query, _ in shapes))
    for layer in layers:
        heads = LayerHeads.of(*load_factors(folder, layer), is_cross=is_cross)
        kinds = subspaces.side_bases(heads, size)
        if not is_cross:
            kinds["eigen"], top_is_tied = subspaces.eigen_bases(heads, n_eigen)
            np.save(target / f"tied_top_{layer:04d}.npy", top_is_tied)
        for kind, bases in kinds.items():
            np.save(target / f"{kind}_{layer:04d}.npy", bases.vectors)
            np.save(target / f"tied_{kind}_{layer:04d}.npy", bases.is_degenerate)
        advance(1)


def _write_pairs(bases: StackBases, principal_sides: bool) -> None:
    """Every head against itself in all other layers."""
    most = max(map(bases.n_heads, bases.layers))
    tables = ("side_overlaps", "principal_cosines", "eigenvector_overlaps")
    with ExitStack() as files, console.stage("overlaps (heads)", most) as advance:
        append = {table: files.enter_context(growing_table(bases.folder, table)) for table in tables}
        for head in range(most):
            # 'eigen' < 'key' < 'query': rows come in the order of the tables' keys
            for kind in sorted(bases.kinds):
                layers, vectors, tied = bases.of_head(kind, head)
                pairs = HeadPairs(head, layers, tied)
                if len(layers) < 2:
                    continue
                if kind == "eigen" or principal_sides:
                    cosines = within_unit(subspaces.principal_cosines(vectors), pairs.where)
                    append["principal_cosines"](pairs.frame({"basis": kind}, cosine=cosines))
                if kind == "eigen":
                    top = np.array([bases.is_degenerate("top", layer)[head] for layer in layers])
                    top1 = within_unit(subspaces.vector_overlaps(vectors[:, 0])[pairs.indices], pairs.where)
                    append["eigenvector_overlaps"](HeadPairs(head, layers, top).frame({}, top1_overlap=top1))
                else:
                    overlap = within_unit(subspaces.overlaps(vectors)[pairs.indices], pairs.where)
                    keys = {"side": kind, "subspace_size": vectors.shape[1]}
                    append["side_overlaps"](pairs.frame(keys, overlap=overlap))
            advance(1)


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


def _write_matches(bases: StackBases) -> None:
    with growing_table(bases.folder, "head_matches") as append:
        for side in SIDES:
            layers = [bases(side, layer) for layer in bases.layers]
            with console.stage(f"nearest {side} sides (pairs)", len(layers) * (len(layers) + 1) // 2) as advance:
                matches = subspaces.nearest_heads([layer.vectors for layer in layers], advance=advance)
            for layer, match in zip(bases.layers, matches, strict=True):
                if match.overlap.size:
                    append(_match_frame(bases, side, layer, match))


def _match_frame(bases: StackBases, side: str, layer: int, match: subspaces.Matches) -> pl.DataFrame:
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


def _expected_rows(bases: StackBases, principal_sides: bool) -> dict[str, int]:
    """What the shapes predict, counted apart from the rows themselves."""
    counts = [bases.n_heads(layer) for layer in bases.layers]
    total, n_pairs = sum(counts), sum(min(i, j) for a, i in enumerate(counts) for j in counts[:a])
    sizes = {kind: bases(kind, bases.layers[0]).vectors.shape[1] for kind in bases.kinds}
    wide = sum(size for kind, size in sizes.items() if kind == "eigen" or principal_sides)
    return {
        "side_overlaps": 2 * n_pairs,
        "principal_cosines": n_pairs * wide,
        "eigenvector_overlaps": n_pairs if "eigen" in sizes else 0,
        "head_matches": 2 * total * min(subspaces.N_NEAREST, total - 1),
    }
