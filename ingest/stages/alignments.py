"""How much of what an MLP reads lies in the directions that a head attends by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from eigenhouse.ingest import console
from eigenhouse.ingest.geometry.alignment import energy_fractions, span_sum, summed_fractions
from eigenhouse.ingest.geometry.subspaces import SIDES
from eigenhouse.ingest.models.loading import LoadedModel
from eigenhouse.ingest.models.matrices import Piece
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.frames import long_frame
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.model_parts import layer_path, matrices, mlp_of, stack_of
from eigenhouse.ingest.stages.subspaces import BasisFiles, within_unit
from eigenhouse.ingest.stages.writer import Writer

NO_MLP = "no MLP of a known kind reads this layer's hidden states, so it has no gate, up or down"


@stage(
    reads=("factors", "subspaces"),
    writes=("ffn_alignments",),
    options=("subspace_size", "experts"),
    unless=("dynamic_only",),
    version=1,
)
def alignments(inputs: Inputs, out: Writer) -> None:
    """Of every measured layer; MLPs and experts that are left out are noted."""
    stacks = {facts.facts.name: stack_of(inputs.bench, facts.facts.name) for facts in inputs.stacks}
    with console.stage("alignments (layers)", sum(stack.n_layers for stack in stacks.values())) as advance:
        for name, stack in stacks.items():
            bases = BasisFiles(inputs.folder("subspaces") / name)
            # a cross stack's key side lies in the space of the other stack, which its MLP doesn't read
            sides = ("query",) if stack.is_cross else SIDES
            sums = _SpanSums(bases, sides, out.folder(name))
            skipped: dict[str, str] = {}
            for layer in range(stack.n_layers):
                mlp = mlp_of(inputs.bench, stack, layer, inputs.options.max_experts)
                if not stack.is_cross:
                    path = f"{layer_path(inputs.bench, stack, layer)}.mlp"
                    skipped |= mlp.left_out if mlp.pieces else {path: NO_MLP}
                if layer in bases.layers and mlp.pieces:
                    read = [piece for piece in mlp.pieces if piece.weight != "down"]
                    frame = _alignments_of_layer(inputs.bench.loaded, sums, layer, read)
                    n_rows = bases.n_heads[layer] * len(sides) * len(read)
                    out.table("ffn_alignments", name).add(frame, expected=n_rows)
                advance(1)
            sums.remove()
            out.skip(name, skipped)


class _SpanSums:
    """The span sums of every (side, head) of a stack, on disk: together they may be larger than any layer."""

    def __init__(self, bases: BasisFiles, sides: tuple[str, ...], folder: Path) -> None:
        self.bases, self.sides, self.path = bases, sides, folder / "span_sums.npy"
        self.n_heads = bases.most_heads
        self.n_layers = np.zeros(self.n_heads, dtype=int)
        with self.path.open("wb") as file:
            for side in sides:
                for head in range(self.n_heads):
                    layers, vectors, _ = bases.of_head(side, head)
                    self.n_layers[head] = len(layers)
                    np.save(file, span_sum(vectors))

    def __iter__(self) -> Iterator[np.ndarray]:
        """One after the other, (hidden, hidden), side by side and head by head."""
        with self.path.open("rb") as file:
            for _ in range(len(self.sides) * self.n_heads):
                yield np.load(file)

    def remove(self) -> None:
        self.path.unlink()


def _alignments_of_layer(loaded: LoadedModel, sums: _SpanSums, layer: int, inputs: list[Piece]) -> pl.DataFrame:
    sides, of_sides = sums.sides, [sums.bases(side, layer) for side in sums.sides]
    vectors = np.concatenate([basis.vectors for basis in of_sides])
    tied = np.stack([basis.is_degenerate for basis in of_sides], axis=1)
    n_others = sums.n_layers[: len(tied)] - 1
    frames = []
    for piece, matrix in matrices(loaded, inputs):
        where = f"layer {layer}, {piece.weight}"
        own = within_unit(energy_fractions(matrix, vectors), where).reshape(len(sides), -1)
        all_layers = summed_fractions(matrix, sums).reshape(len(sides), -1)[:, : len(tied)]
        with np.errstate(invalid="ignore"):  # 0/0 where there is no other layer: nan, and so null
            others = within_unit((all_layers - own) * (n_others > 0) / n_others, where)
        values = {"energy_fraction": own, "other_layers_mean": others}
        columns = {name: array.T.astype(np.float32) for name, array in values.items()}
        frame = long_frame({"layer": layer}, ("head", "number"), **columns, is_degenerate=tied)
        frames.append(frame.with_columns(weight=pl.lit(piece.weight), expert=pl.lit(piece.expert)))
    names = pl.DataFrame({"number": range(len(sides)), "side": sides}, schema_overrides={"number": pl.Int32})
    size = pl.lit(vectors.shape[1]).alias("subspace_size")
    return pl.concat(frames).join(names, on="number").drop("number").with_columns(size).fill_nan(None)
