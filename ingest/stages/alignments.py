"""How much of what an MLP reads lies in the directions that a head attends by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch

from eigenhouse.ingest import console
from eigenhouse.ingest.devices import or_on_cpu
from eigenhouse.ingest.geometry.alignment import energy_fractions, summed_fractions
from eigenhouse.ingest.geometry.subspaces import SIDES
from eigenhouse.ingest.geometry.weight_spectra import gram
from eigenhouse.ingest.models.matrices import Piece
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.frames import long_frame
from eigenhouse.ingest.stages.gram_files import READ_HIDDEN_STATES, GramFiles
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.model_parts import layer_path, matrices, mlp_of, stack_of
from eigenhouse.ingest.stages.subspaces import BasisFiles, within_unit
from eigenhouse.ingest.stages.writer import Writer

NO_MLP = "no MLP of a known kind reads this layer's hidden states, so it has no gate, up or down"


@stage(
    reads=("factors", "subspaces"),
    after=("weights",),
    writes=("ffn_alignments",),
    options=("subspace_size", "experts"),
    unless=("dynamic_only",),
    version=1,
)
def alignments(inputs: Inputs, out: Writer) -> None:
    """Of every measured layer; MLPs and experts that are left out are noted.

    The weights' Grams are those that the stage of weights left, or else made now.
    """
    for factors in inputs.stacks:
        name = factors.facts.name
        stack, bases = stack_of(inputs.bench, name), BasisFiles(inputs.folder("subspaces") / name)
        # a cross stack's key side lies in the space of the other stack, which its MLP doesn't read
        sides = ("query",) if stack.is_cross else SIDES
        pieces: dict[int, list[Piece]] = {}
        skipped: dict[str, str] = {}
        for layer in range(stack.n_layers):
            mlp = mlp_of(inputs.bench, stack, layer, inputs.options.max_experts)
            if not stack.is_cross:
                path = f"{layer_path(inputs.bench, stack, layer)}.mlp"
                skipped |= mlp.left_out if mlp.pieces else {path: NO_MLP}
            if layer in bases.layers and mlp.pieces:
                pieces[layer] = [piece for piece in mlp.pieces if piece.weight in READ_HIDDEN_STATES]
        out.skip(name, skipped)
        if pieces:
            grams = _grams(inputs, pieces, name, out.folder(name))
            for layer, frame in _frames(bases, sides, pieces, grams, inputs.device):
                n_rows = bases.n_heads[layer] * len(sides) * len(pieces[layer])
                out.table("ffn_alignments", name).add(frame, expected=n_rows)
            grams.remove()


def _grams(inputs: Inputs, pieces: dict[int, list[Piece]], name: str, folder: Path) -> GramFiles:
    """Of every gate and up matrix, made where the stage of weights didn't."""
    grams = GramFiles(folder, inputs.folder("weights") / name)
    with console.stage("MLPs (layers)", len(pieces)) as advance:
        for layer, of_layer in pieces.items():
            missing = [piece for piece in of_layer if not grams.has(layer, piece)]
            for piece, matrix in matrices(inputs.bench.loaded, missing):
                made = or_on_cpu(partial(gram, matrix, torch.float32), inputs.device, console.say)
                grams.save(layer, piece, made.cpu().numpy())
            advance(1)
    return grams


def _frames(
    bases: BasisFiles, sides: Sequence[str], pieces: dict[int, list[Piece]], grams: GramFiles, device: torch.device
) -> Iterator[tuple[int, pl.DataFrame]]:
    """The rows of each layer."""
    heads = range(bases.most_heads)
    n_layers = np.array([sum(head < n for n in bases.n_heads.values()) for head in heads])
    of_heads = [partial(bases.vectors_of_head, side, head) for side in sides for head in heads]
    mapped = [grams.load(layer, piece) for layer, of_layer in pieces.items() for piece in of_layer]
    with console.stage("alignments (all layers)", 1) as advance:
        sums = or_on_cpu(partial(summed_fractions, mapped, of_heads), device, console.say)
        advance(1)
    all_layers = iter(sums.reshape(len(sums), len(sides), bases.most_heads))
    names = pl.DataFrame({"number": range(len(sides)), "side": sides}, schema_overrides={"number": pl.Int32})
    for layer, of_layer in pieces.items():
        of_sides = [bases(side, layer) for side in sides]
        vectors = np.concatenate([basis.vectors for basis in of_sides])
        tied = np.stack([basis.is_degenerate for basis in of_sides], axis=1)
        n_heads = bases.n_heads[layer]
        n_others = n_layers[:n_heads] - 1
        frames = []
        for piece in of_layer:
            where = f"layer {layer}, {piece.weight}"
            measure = partial(energy_fractions, grams.load(layer, piece), vectors)
            own = within_unit(or_on_cpu(measure, device, console.say), where).reshape(len(sides), -1)
            with np.errstate(invalid="ignore"):  # 0/0 where there is no other layer: nan, and so null
                others = (next(all_layers)[:, :n_heads] - own) * (n_others > 0) / n_others
            values = {"energy_fraction": own, "other_layers_mean": within_unit(others, where)}
            columns = {name: array.T.astype(np.float32) for name, array in values.items()}
            frame = long_frame({"layer": layer}, ("head", "number"), **columns, is_degenerate=tied)
            frames.append(frame.with_columns(weight=pl.lit(piece.weight), expert=pl.lit(piece.expert)))
        size = pl.lit(vectors.shape[1]).alias("subspace_size")
        yield layer, pl.concat(frames).join(names, on="number").drop("number").with_columns(size).fill_nan(None)
