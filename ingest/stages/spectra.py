"""The spectra of every head's metric: values, eigenvectors, norms, and the inner products of spectra over layers.

Each layer's decomposition is kept beside the rows (.npz): subspaces and grams read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from eigenhouse.ingest import console
from eigenhouse.ingest.devices import in_blocks
from eigenhouse.ingest.geometry import grams, identities
from eigenhouse.ingest.geometry import spectra as geometry
from eigenhouse.ingest.geometry.heads import LayerHeads, keys_of
from eigenhouse.ingest.geometry.spectra import Decomposition
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.factor_files import FactorFiles
from eigenhouse.ingest.stages.frames import long_frame, null_frame, pair_frame, vector_frame
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.writer import Rows, Writer

EIGENVECTOR_BYTES = 64 * 2**20  # kept by default up to this size a model
HEAD_NORMS = ("metric_fro_sq", "trace", "w_q_fro_sq", "w_k_fro_sq", "head_product_fro_sq")
Sigmas = dict[int, np.ndarray]  # layer → (head, k)
LayerTask = tuple[FactorFiles, int, bool, torch.device]  # which layer of a stack, whether its eigenvectors are kept


@stage(
    reads=("factors",),
    writes=("singular_values", "eigenvalues", "eigenvectors", "head_norms", "spectral_grams"),
    shares=("null_spectra",),
    scope={"operator": "in ('metric', 'head_product')"},
    options=("eigenvectors",),
    unless=("dynamic_only",),
    version=1,
)
def spectra(inputs: Inputs, out: Writer) -> None:
    """Identities are checked head by head. `null_spectra` gets the layers' shapes, which belong to no model."""
    keeps = {stack.facts.name: _keeps_vectors(stack, inputs.options.eigenvectors) for stack in inputs.stacks}
    tasks = [
        (stack, layer, keeps[stack.facts.name], inputs.device) for stack in inputs.stacks for layer in stack.layers
    ]
    sigmas: dict[tuple[str, str], Sigmas] = {}
    for (stack, layer, *_), (found, decomposition) in inputs.map(measure_layer, tasks, "spectra (layers)"):
        DecompositionFiles(out.folder(stack.facts.name)).save(layer, decomposition)
        out.add(stack.facts.name, layer_rows(stack, layer, found))
        for operator, sigma in found.sigmas.items():
            sigmas.setdefault((stack.facts.name, operator), {})[layer] = sigma
    n_pairs = {stack.facts.name: stack.n_pairs for stack in inputs.stacks}
    for (name, operator), by_layer in sorted(sigmas.items()):
        out.add(name, spectral_gram_rows(operator, by_layer))
        out.expect(name, "spectral_grams", n_pairs[name])
    of_layers = [shape for stack in inputs.stacks for shape in stack.shapes.values()]
    if shapes := {(hidden_size, head_dim) for (_, head_dim, hidden_size), key in of_layers if key[2] == hidden_size}:
        frame = null_frame(shapes)
        out.shared("null_spectra").add(frame, expected=len(frame))


def _keeps_vectors(stack: FactorFiles, eigenvectors: str) -> bool:
    n_bytes = sum(4 * query[0] * geometry.N_EIGENVECTORS * query[2] for query, _ in stack.shapes.values())
    keeps = eigenvectors == "all" or (eigenvectors == "auto" and n_bytes <= EIGENVECTOR_BYTES)
    if not keeps and not stack.facts.is_cross:
        console.say(f"eigenvectors left out ({n_bytes / 2**20:.0f} MB); EIGENVECTORS=all keeps them")
    return keeps


@dataclass(frozen=True)
class LayerSpectra:
    """Of one layer: σ (head, k) by operator, norms (head,) by name, eigenvalues (head, k), vectors (head, k, hidden).

    No eigenvalues of a cross stack, no vectors where they are not kept.
    """

    sigmas: dict[str, np.ndarray]
    norms: dict[str, np.ndarray]
    eigenvalues: np.ndarray | None
    eigenvectors: np.ndarray | None = None


@dataclass(frozen=True)
class DecompositionFiles:
    """The metric's decomposition of each layer, which later stages read in place of decomposing heads again."""

    folder: Path

    def save(self, layer: int, found: Decomposition) -> None:
        parts = {field.name: getattr(found, field.name) for field in fields(found)}
        np.savez(self._path(layer), **{name: part.numpy() for name, part in parts.items() if part is not None})

    def load(self, layer: int) -> Decomposition:
        with np.load(self._path(layer)) as held:
            parts = {name: torch.from_numpy(held[name]) for name in held.files}
        return Decomposition(**{field.name: parts.get(field.name) for field in fields(Decomposition)})  # type: ignore[arg-type]

    def fro_sq(self, layer: int) -> np.ndarray:
        """‖M‖² of every head as Σσ², (head,)."""
        with np.load(self._path(layer)) as held:
            return np.square(held["sigma"]).sum(-1)

    def _path(self, layer: int) -> Path:
        return self.folder / f"decomposition_{layer:04d}.npz"


def measure_layer(task: LayerTask) -> tuple[LayerSpectra, Decomposition]:
    """Measure and check every head of the metric, and its head product."""
    factors, layer, keeps_vectors, device = task
    w_q, w_k = factors.load(layer)
    group, where = len(w_q) // len(w_k), f"layer {layer}"

    def block(queries: slice, device: torch.device) -> tuple[Decomposition, dict[str, torch.Tensor]]:
        heads = LayerHeads.of(w_q[queries], w_k[keys_of(queries, group)], factors.facts.is_cross, device)
        found, arrays = geometry.decompose(heads), geometry.head_norms(heads)
        identities.check_sums(heads, arrays, found, where, queries.start)
        identities.check_through_factors(heads, arrays, found, where, queries.start)
        if not heads.is_cross:
            arrays["head_product"] = geometry.head_product_sigma(heads)
            if keeps_vectors:
                arrays["eigenvectors"] = geometry.eigenvectors(heads, found).float()
        return found, arrays

    parts = in_blocks(block, len(w_q), group, device, console.say)
    found = Decomposition.joined([part for part, _ in parts])
    arrays = joined([more for _, more in parts])
    sigmas = {"metric": found.sigma.numpy()}
    if "head_product" in arrays:
        sigmas["head_product"] = arrays.pop("head_product")
    eigenvectors = arrays.pop("eigenvectors", None)
    eigenvalues = None if found.eigenvalues is None else found.eigenvalues.numpy()
    return LayerSpectra(sigmas, arrays, eigenvalues, eigenvectors), found


def joined(parts: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, np.ndarray]:
    """Arrays of all heads, given those of blocks of them."""
    return {name: torch.cat([part[name].cpu() for part in parts]).numpy() for name in parts[0]}


def layer_rows(factors: FactorFiles, layer: int, found: LayerSpectra) -> Iterator[Rows]:
    """The rows of one layer; how many are expected is taken from its shape."""
    (n_heads, head_dim, hidden_size), (*_, key_size) = factors.shapes[layer]
    for name, sigma in sorted(found.sigmas.items()):
        frame = long_frame({"operator": name, "layer": layer}, ("head", "k"), sigma=sigma.astype(np.float32))
        rank = head_dim if name == "head_product" else min(head_dim, hidden_size, key_size)
        yield Rows("singular_values", frame, n_heads * rank)
    at, missing = {"operator": factors.operator, "layer": layer}, np.full(n_heads, np.nan)
    norms = {name: found.norms.get(name, missing) for name in HEAD_NORMS}
    yield Rows("head_norms", long_frame(at, ("head",), **norms).fill_nan(None), n_heads)
    if found.eigenvalues is not None:
        frame = long_frame(at, ("head", "k"), eigenvalue=found.eigenvalues.astype(np.float32))
        yield Rows("eigenvalues", frame, n_heads * min(2 * head_dim, hidden_size))
    if found.eigenvectors is not None:
        n_vectors = min(geometry.N_EIGENVECTORS, 2 * head_dim, hidden_size)
        yield Rows("eigenvectors", vector_frame(layer, found.eigenvectors), n_heads * n_vectors)


def spectral_gram_rows(operator: str, by_layer: Sigmas) -> Iterator[Rows]:
    """The pairs of layers of each head that both have."""
    for head in range(max(map(len, by_layer.values()))):
        layers = [layer for layer, sigma in by_layer.items() if head < len(sigma)]
        products = grams.spectral_grams([by_layer[layer][head] for layer in layers])
        yield Rows("spectral_grams", pair_frame({"operator": operator, "head": head}, layers, products))
