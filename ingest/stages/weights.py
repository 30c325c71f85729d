"""The stages that read whole weight matrices: their spectra, and how much of an MLP's input a head attends by.

One parameter is in memory at a time (of a layer's stacked experts, all of them), with the layer's bases. Layers that
share one module (ALBERT) each have their rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import polars as pl
from eigenhouse.ingest import console
from eigenhouse.ingest.capture.stacks import Stack, own_layer
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.geometry.alignment import energy_fractions, span_sum, summed_fractions
from eigenhouse.ingest.geometry.subspaces import SIDES
from eigenhouse.ingest.geometry.weight_spectra import weight_sigmas
from eigenhouse.ingest.models.loading import LoadedModel
from eigenhouse.ingest.models.matrices import Mlp, Piece, find_mlp, find_value_and_output
from eigenhouse.ingest.proof.layouts import fused_values
from eigenhouse.ingest.stages.factors import LATENT_FILE
from eigenhouse.ingest.stages.spectra import load_factors, measured_layers
from eigenhouse.ingest.stages.staging import growing_table, long_frame, write_table
from eigenhouse.ingest.stages.subspaces import StackBases, within_unit
from torch import nn

NO_MLP = "no MLP of a known kind reads this layer's hidden states, so it has no gate, up or down"


def write_alignments(bench: Workbench, subspaces: Path, out: Path, max_experts: int | None) -> None:
    """Stage `ffn_alignments` of every measured layer, and in `skipped_modules` the MLPs and experts left out."""
    expected = {}
    stacks = _measured_stacks(bench, subspaces)
    with console.stage("alignments (layers)", sum(stack.n_layers for stack in stacks.values())) as advance:
        for number, stack in stacks.items():
            bases, folder, count = StackBases(subspaces / f"stack{number}"), out / f"stack{number}", 0
            skipped: dict[str, str] = {}
            # a cross stack's key side lies in the space of the other stack, which its MLP doesn't read
            sides = ("query",) if stack.is_cross else SIDES
            sums = _SpanSums(bases, sides, folder)
            with growing_table(folder, "ffn_alignments") as append:
                for layer in range(stack.n_layers):
                    mlp = _mlp(bench, stack, layer, max_experts)
                    if not stack.is_cross:
                        skipped |= mlp.left_out if mlp.pieces else {f"{_layer_path(bench, stack, layer)}.mlp": NO_MLP}
                    if layer in bases.layers and mlp.pieces:
                        inputs = [piece for piece in mlp.pieces if piece.weight != "down"]
                        append(_alignments_of_layer(bench.loaded, sums, layer, inputs))
                        count += bases.n_heads(layer) * len(sides) * len(inputs)
                    advance(1)
            sums.remove()
            _write_skipped(folder, "alignments", skipped)
            expected[folder.name] = {"ffn_alignments": count, "skipped_modules": len(skipped)}
    (out / "expected.json").write_text(json.dumps(expected))


class _SpanSums:
    """The span sums of every (side, head) of a stack, on disk: together they may be larger than any layer."""

    def __init__(self, bases: StackBases, sides: tuple[str, ...], folder: Path) -> None:
        self.bases, self.sides, self.path = bases, sides, folder / "span_sums.npy"
        self.n_heads = max(map(bases.n_heads, bases.layers))
        self.n_layers = np.zeros(self.n_heads, dtype=int)
        folder.mkdir(parents=True, exist_ok=True)
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
    for piece, matrix in _matrices(loaded, inputs):
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
    table = pl.concat(frames).join(names, on="number").drop("number").with_columns(size).fill_nan(None)
    return table.sort("layer", "head", "side", "weight", "expert")


def write_weights(bench: Workbench, factors: Path, out: Path, max_experts: int | None) -> None:
    """Stage `weights` and `weight_singular_values` of every layer, and in `skipped_modules` what couldn't be read."""
    expected = {}
    stacks = _measured_stacks(bench, factors)
    with console.stage("weights (layers)", sum(stack.n_layers for stack in stacks.values())) as advance:
        for number, stack in stacks.items():
            folder, shapes, n_sigmas = out / f"stack{number}", [], 0
            skipped: dict[str, str] = {}
            measured = measured_layers(factors / folder.name)
            layouts = _layouts(factors / folder.name)
            with growing_table(folder, "weight_singular_values") as append:
                for layer in range(stack.n_layers):
                    frames = []
                    own = (
                        _attention(bench, stack, layer, factors / folder.name, layouts, skipped)
                        if layer in measured
                        else iter(())
                    )
                    # a cross stack's MLPs are its decoder's, and stand there
                    mlp = () if stack.is_cross else _mlp(bench, stack, layer, max_experts).pieces
                    for matrix in chain(own, _whole(bench.loaded, mlp)):
                        at = {"layer": layer, "weight": matrix.weight, "expert": matrix.expert}
                        sigmas = weight_sigmas(matrix.values)
                        frames.append(long_frame(at, ("k",), sigma=sigmas.astype(np.float32)))
                        shapes.append((layer, matrix.weight, matrix.expert, *matrix.values.shape))
                        n_sigmas += min(matrix.values.shape)
                    if frames:
                        append(pl.concat(frames).sort("weight", "expert", "k"))
                    advance(1)
            schema = dict.fromkeys(("layer", "weight", "expert", "n_rows", "n_cols"), pl.Int32) | {"weight": pl.String}
            keys = ["layer", "weight", "expert"]
            write_table(folder, "weights", [pl.DataFrame(shapes, schema=schema, orient="row")], keys)
            _write_skipped(folder, "weights", skipped)
            counts = {"weights": len(shapes), "weight_singular_values": n_sigmas, "skipped_modules": len(skipped)}
            expected[folder.name] = counts
    (out / "expected.json").write_text(json.dumps(expected))


@dataclass(frozen=True)
class _Matrix:
    weight: str
    expert: int
    values: np.ndarray


def _whole(loaded: LoadedModel, pieces: tuple[Piece, ...]) -> Iterator[_Matrix]:
    return (_Matrix(piece.weight, piece.expert, matrix) for piece, matrix in _matrices(loaded, pieces))


def _matrices(loaded: LoadedModel, pieces: tuple[Piece, ...] | list[Piece]) -> Iterator[tuple[Piece, np.ndarray]]:
    """Each piece as (outputs, inputs); a parameter that several lie in is read once."""
    for parameter, members in groupby(pieces, key=lambda piece: piece.parameter):
        values = loaded.weight(parameter)
        for piece in members:
            yield piece, piece.cut(values)


def _attention(
    bench: Workbench,
    stack: Stack,
    layer: int,
    factors: Path,
    layouts: dict[int, tuple[str, str]],
    skipped: dict[str, str],
) -> Iterator[_Matrix]:
    """q and k from the factors that were proven, v and o from where their layout says.

    What latent attention makes of several matrices is told as skipped; where one side is a matrix, the factors may
    lack its rows for positions alone, and the whole is read.
    """
    w_q, w_k = load_factors(factors, layer)
    layout, latent = layouts[layer]
    path = bench.sites[stack.sites[layer]].path
    around = path.rpartition(".")[0]
    module, parent = (bench.loaded.model.get_submodule(name) for name in (path, around))
    for weight, factor in (("q", w_q), ("k", w_k)):
        if weight in latent:
            skipped[f"{path}.{weight}"] = f"latent attention has no {weight} matrix, but products of several"
        elif latent and isinstance(getattr(module, f"{weight}_proj", None), nn.Module):
            yield _Matrix(weight, 0, bench.loaded.weight(f"{path}.{weight}_proj.weight"))
        else:
            yield _Matrix(weight, 0, factor.reshape(-1, factor.shape[-1]))
    found, is_fused = find_value_and_output(module, parent, (path, around), layout)
    for weight in ("v", "o"):
        if weight not in found:
            skipped[f"{path}.{weight}"] = f"no parameter of a known name is its {weight} matrix"
            continue
        values = found[weight].cut(bench.loaded.weight(found[weight].parameter))
        if weight == "v" and is_fused:
            values = fused_values(values, layout, w_q.shape, len(w_k))
        yield _Matrix(weight, 0, values)


def _measured_stacks(bench: Workbench, stage: Path) -> dict[int, Stack]:
    """Number → stack, of those that the earlier stage found something to measure in."""
    return {number: stack for number, stack in enumerate(bench.stacks) if (stage / f"stack{number}").is_dir()}


def _layouts(factors: Path) -> dict[int, tuple[str, str]]:
    """Layer → the layout that proved it, and the sides ('q', 'k') that are products of several matrices."""
    table = pl.read_parquet(factors / "conformance.parquet", columns=["layer", "layout"]).unique("layer")
    latent = json.loads((factors / LATENT_FILE).read_text())
    return {layer: (layout, latent.get(str(layer), "")) for layer, layout in table.iter_rows()}


def _mlp(bench: Workbench, stack: Stack, layer: int, max_experts: int | None) -> Mlp:
    """Of the closest module around the layer's attention that has one; of the whole layer where it isn't measured."""
    whole, attention = _layer_path(bench, stack, layer), ""
    path = whole
    if layer in stack.sites:
        attention = bench.sites[stack.sites[layer]].path
        path = max(attention.rpartition(".")[0], whole, key=len)
    while True:
        module = bench.loaded.model.get_submodule(path)
        mlp = find_mlp(module, path, _hidden_size(bench, stack), max_experts, without=attention)
        if mlp.pieces or len(path) <= len(whole):
            return mlp
        path = path.rpartition(".")[0]


def _layer_path(bench: Workbench, stack: Stack, layer: int) -> str:
    """The stack's list element: the layer's own, or the one that several layers share."""
    if not stack.prefix:
        return ""
    if layer not in stack.sites:
        return f"{stack.prefix}.{layer}"
    return own_layer(stack, bench.sites[stack.sites[layer]].path).removesuffix(".")


def _hidden_size(bench: Workbench, stack: Stack) -> int:
    return bench.sites[next(iter(stack.sites.values()))].hidden_size


def _write_skipped(folder: Path, stage: str, skipped: dict[str, str]) -> None:
    if skipped:
        rows = {"module": list(skipped), "reason": list(skipped.values())}
        write_table(folder, "skipped_modules", [pl.DataFrame(rows).with_columns(stage=pl.lit(stage))], ["module"])
