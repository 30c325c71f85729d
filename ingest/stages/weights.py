"""The spectra of whole weight matrices: q and k as proven, the others from where the model has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import polars as pl
import torch
from torch import nn

from eigenhouse.ingest import console
from eigenhouse.ingest.capture.stacks import Stack
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.devices import mapped, n_threads, or_on_cpu, return_freed
from eigenhouse.ingest.geometry.weight_spectra import gram, tall, weight_sigmas
from eigenhouse.ingest.models.matrices import Piece, find_value_and_output
from eigenhouse.ingest.proof.layouts import fused_values
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.factor_files import FactorFiles
from eigenhouse.ingest.stages.frames import long_frame
from eigenhouse.ingest.stages.gram_files import READ_HIDDEN_STATES, GramFiles
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.model_parts import matrices, mlp_of, stack_of
from eigenhouse.ingest.stages.writer import Writer

KINDS = {"layer": pl.Int32, "weight": pl.String, "expert": pl.Int32, "n_rows": pl.Int32, "n_cols": pl.Int32}
AT_ONCE_BYTES = 2**30  # of the Grams whose eigenvalues are found at the same time


@stage(
    reads=("factors",),
    writes=("weights", "weight_singular_values"),
    options=("experts",),
    unless=("dynamic_only", "no_weights"),
    version=1,
)
def weights(inputs: Inputs, out: Writer) -> None:
    """Of every layer, whether its attention is measured or not; what couldn't be read is noted.

    The Grams of gate and up matrices stay beside the rows: the alignments need them too.
    """
    stacks = [(factors, stack_of(inputs.bench, factors.facts.name)) for factors in inputs.stacks]
    with console.stage("weights (layers)", sum(stack.n_layers for _, stack in stacks)) as advance:
        for factors, stack in stacks:
            name, skipped = factors.facts.name, dict[str, str]()
            for layer in range(stack.n_layers):
                shapes = []
                frames = []
                grams = GramFiles(out.folder(name))
                matrices = _matrices_of_layer(inputs, factors, stack, layer, skipped)
                for matrix, sigmas in _measured(matrices, layer, grams, inputs.device):
                    at = {"layer": layer, "weight": matrix.weight, "expert": matrix.expert}
                    frames.append(long_frame(at, ("k",), sigma=sigmas.astype(np.float32)))
                    shapes.append((layer, matrix.weight, matrix.expert, *matrix.values.shape))
                if frames:
                    n_sigmas = sum(min(n_rows, n_cols) for *_, n_rows, n_cols in shapes)
                    out.table("weight_singular_values", name).add(pl.concat(frames), expected=n_sigmas)
                    frame = pl.DataFrame(shapes, schema=KINDS, orient="row")
                    out.table("weights", name).add(frame, expected=len(shapes))
                return_freed()
                advance(1)
            out.skip(name, skipped)


@dataclass(frozen=True)
class _Matrix:
    """piece: where it lies in an MLP."""

    weight: str
    expert: int
    values: np.ndarray
    piece: Piece | None = None


def _measured(
    matrices: Iterator[_Matrix], layer: int, grams: GramFiles, device: torch.device
) -> Iterator[tuple[_Matrix, np.ndarray]]:
    """Each matrix with its σ.

    The eigenvalues of several small Grams are found at once, each in a thread of its own, while the next Gram is made;
    those of large ones one after the other.
    """
    given: list[_Matrix] = []
    first = next(matrices, None)
    if first is None:
        return
    at_once = max(1, AT_ONCE_BYTES // (16 * min(first.values.shape) ** 2))  # a Gram, and the solver's copy of it

    def prepared() -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for matrix in chain((first,), matrices):
            given.append(matrix)
            yield matrix.values, or_on_cpu(partial(_smaller_gram, matrix, layer, grams), device, console.say)

    def sigmas(task: tuple[np.ndarray, torch.Tensor]) -> np.ndarray:
        weight, smaller = task
        return or_on_cpu(lambda device: weight_sigmas(weight, smaller.to(device)), device, console.say).cpu().numpy()

    for found in mapped(sigmas, prepared(), device, min(at_once, n_threads() + 1)):
        yield given.pop(0), found


def _smaller_gram(matrix: _Matrix, layer: int, grams: GramFiles, device: torch.device) -> torch.Tensor:
    """The Gram of the matrix's smaller side; that of its columns is kept where the alignments need it."""
    of_columns = None
    if matrix.piece and matrix.weight in READ_HIDDEN_STATES:
        of_columns = gram(matrix.values, device=device)
        grams.save(layer, matrix.piece, of_columns.float().cpu().numpy())
    smaller = tall(matrix.values)
    return of_columns if of_columns is not None and smaller is matrix.values else gram(smaller, device=device)


def _matrices_of_layer(
    inputs: Inputs, factors: FactorFiles, stack: Stack, layer: int, skipped: dict[str, str]
) -> Iterator[_Matrix]:
    """Those of attention where it is measured, and those of the MLP. skipped: takes what couldn't be read."""
    if layer in factors.layers:
        yield from _of_attention(inputs.bench, factors, stack, layer, skipped)
    if not stack.is_cross:  # a cross stack's MLPs are its decoder's, and stand there
        pieces = mlp_of(inputs.bench, stack, layer, inputs.options.max_experts).pieces
        for piece, values in matrices(inputs.bench.loaded, pieces):
            yield _Matrix(piece.weight, piece.expert, values, piece)


def _of_attention(
    bench: Workbench, factors: FactorFiles, stack: Stack, layer: int, skipped: dict[str, str]
) -> Iterator[_Matrix]:
    """q and k from the factors that were proven, v and o from where their layout says.

    What latent attention makes of several matrices is noted as skipped; where one side is a matrix, the factors may
    lack its rows for positions alone, and the whole is read.
    """
    w_q, w_k = factors.load(layer)
    layout, latent = factors.facts.layouts[layer], factors.facts.latent.get(layer, "")
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
