"""The spectra of every head's metric: values, eigenvectors, norms, and the inner products of spectra over layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eigenhouse.ingest import console
from eigenhouse.ingest.geometry import grams, identities
from eigenhouse.ingest.geometry import spectra as geometry
from eigenhouse.ingest.geometry.spectra import LayerHeads
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.factor_files import FactorFiles
from eigenhouse.ingest.stages.frames import long_frame, null_frame, pair_frame, vector_frame
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.writer import Rows, Writer

EIGENVECTOR_BYTES = 64 * 2**20  # kept by default up to this size a model
HEAD_NORMS = ("metric_fro_sq", "trace", "w_q_fro_sq", "w_k_fro_sq", "head_product_fro_sq")
Sigmas = dict[int, np.ndarray]  # layer → (head, k)
LayerTask = tuple[FactorFiles, int, bool]  # of which operator, which layer, and whether its eigenvectors are kept


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
    tasks = [(stack, layer, keeps[stack.facts.name]) for stack in inputs.stacks for layer in stack.layers]
    sigmas: dict[tuple[str, str], Sigmas] = {}
    for (stack, layer, _), found in inputs.map(measure_layer, tasks, "spectra (layers)"):
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
    eigenvectors: np.ndarray | None


def measure_layer(task: LayerTask) -> LayerSpectra:
    """Measure and check. The metric has its head product beside it, a variant stands alone."""
    factors, layer, keeps_vectors = task
    heads = LayerHeads.of(*factors.load(layer), is_cross=factors.facts.is_cross)
    norms, metric = geometry.head_norms(heads), geometry.metric_svd(heads)
    eigen = None if heads.is_cross else geometry.signed_eigen(heads)
    identities.check_spectra(heads, norms, metric, eigen, f"layer {layer}")
    sigmas = {factors.operator: metric[1]}
    if factors.operator == "metric" and not heads.is_cross:
        sigmas["head_product"] = geometry.head_product_sigma(heads)
    return LayerSpectra(sigmas, norms, eigen and eigen[0], eigen[1] if eigen and keeps_vectors else None)


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
