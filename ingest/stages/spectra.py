"""The stages that measure heads: from proven factors to staged Parquet and the rows to expect.

A stage writes one folder a stack, `expected.json` (stack folder → table → rows that the shapes predict) beside them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from eigenhouse.ingest import console
from eigenhouse.ingest.geometry import grams, identities, null_spectra, spectra
from eigenhouse.ingest.geometry.spectra import LayerHeads
from eigenhouse.ingest.stages.staging import long_frame, pair_frame, vector_frame, write_table

EIGENVECTOR_BYTES = 64 * 2**20  # kept by default up to this size a model
Gang = tuple[list[int], list[int]]  # layers, and query heads that share a key head in all of them
GRAM_KEYS = ["operator", "head", "layer", "other_layer"]
NULL_KEYS = ["hidden_size", "head_dim", "sample", "k"]
HEAD_NORMS = ("metric_fro_sq", "trace", "w_q_fro_sq", "w_k_fro_sq", "head_product_fro_sq")


def write_spectra(factors: Path, out: Path, eigenvectors: str) -> None:
    """Stage `singular_values`, `eigenvalues`, `eigenvectors`, `head_norms` and `spectral_grams`, identities checked.

    And `null_spectra` of the layers' shapes, which belong to no model.
    """
    expected, shapes = {}, set()
    stacks = json.loads((factors / "stacks.json").read_text())
    with console.stage(
        "spectra (layers)", sum(len(measured_layers(factors / stack["folder"])) for stack in stacks)
    ) as advance:
        for stack in stacks:
            folder = factors / stack["folder"]
            frames: dict[str, list[pl.DataFrame]] = {
                name: [] for name in ("singular_values", "eigenvalues", "eigenvectors", "head_norms", "spectral_grams")
            }
            sigmas: dict[str, dict[int, np.ndarray]] = {"metric": {}, "head_product": {}}
            counts: Counter[str] = Counter()
            keeps_vectors = eigenvectors == "all" or (
                eigenvectors == "auto" and _vector_bytes(folder) <= EIGENVECTOR_BYTES
            )
            for layer in measured_layers(folder):
                heads = LayerHeads.of(*load_factors(folder, layer), is_cross=stack["is_cross"])
                if heads.w_q.shape[2] == heads.w_k.shape[2]:
                    shapes.add((heads.w_q.shape[2], heads.w_q.shape[1]))
                for operator, sigma in spectra_of_layer(heads, layer, keeps_vectors, frames, counts).items():
                    sigmas[operator][layer] = sigma
                advance(1)
            for operator, by_layer in sigmas.items():
                frames["spectral_grams"] += spectral_gram_frames(operator, by_layer)
            if not keeps_vectors and not stack["is_cross"]:
                size = _vector_bytes(folder) / 2**20
                console.say(f"eigenvectors left out ({size:.0f} MB); EIGENVECTORS=all keeps them")
            target = out / stack["folder"]
            keys = ["operator", "layer", "head"]
            write_table(target, "singular_values", frames["singular_values"], [*keys, "k"])
            write_table(target, "eigenvalues", frames["eigenvalues"], [*keys, "k"])
            write_table(target, "eigenvectors", frames["eigenvectors"], ["layer", "head", "k"])
            write_table(target, "head_norms", frames["head_norms"], keys)
            write_table(
                target,
                "spectral_grams",
                frames["spectral_grams"],
                GRAM_KEYS,
            )
            pairs = pairs_of_layers(folder) * sum(1 for by_layer in sigmas.values() if by_layer)
            expected[stack["folder"]] = {name: counts[name] for name in frames} | {"spectral_grams": pairs}
    if shapes:
        write_table(out, "null_spectra", [null_spectra.null_frame(shapes)], NULL_KEYS)
    (out / "expected.json").write_text(json.dumps(expected))


def spectra_of_layer(
    heads: LayerHeads,
    layer: int,
    keeps_vectors: bool,
    frames: dict[str, list[pl.DataFrame]],
    counts: Counter[str],
    operator: str = "metric",
) -> dict[str, np.ndarray]:
    """Measure, check and frame one layer; the row counts are taken from its shape, not from the frames.

    Returns σ by operator: the metric has its head product beside it, a variant stands alone.
    """
    n_heads, head_dim, hidden_size = heads.w_q.shape
    rank = min(head_dim, hidden_size, heads.w_k.shape[2])
    norms, metric = spectra.head_norms(heads), spectra.metric_svd(heads)
    eigen = None if heads.is_cross else spectra.signed_eigen(heads)
    identities.check_spectra(heads, norms, metric, eigen, f"layer {layer}")
    sigmas = {operator: metric[1]}
    if operator == "metric" and not heads.is_cross:
        sigmas["head_product"] = spectra.head_product_sigma(heads)
    for name, sigma in sigmas.items():
        frames["singular_values"].append(
            long_frame({"operator": name, "layer": layer}, ("head", "k"), sigma=sigma.astype(np.float32))
        )
    at = {"operator": operator, "layer": layer}
    missing = np.full(n_heads, np.nan)
    values = {name: norms.get(name, missing) for name in HEAD_NORMS}
    frames["head_norms"].append(long_frame(at, ("head",), **values).fill_nan(None))
    counts["singular_values"] += n_heads * (rank + (head_dim if "head_product" in sigmas else 0))
    counts["head_norms"] += n_heads
    if eigen is not None:
        frames["eigenvalues"].append(long_frame(at, ("head", "k"), eigenvalue=eigen[0].astype(np.float32)))
        counts["eigenvalues"] += n_heads * min(2 * head_dim, hidden_size)
        if keeps_vectors:
            frames["eigenvectors"].append(vector_frame(layer, eigen[1]))
            counts["eigenvectors"] += n_heads * min(spectra.N_EIGENVECTORS, 2 * head_dim, hidden_size)
    return sigmas


def spectral_gram_frames(operator: str, by_layer: dict[int, np.ndarray]) -> list[pl.DataFrame]:
    heads = range(max((len(sigma) for sigma in by_layer.values()), default=0))
    frames = []
    for head in heads:
        layers = [layer for layer, sigma in by_layer.items() if head < len(sigma)]
        pairs = grams.spectral_grams([by_layer[layer][head] for layer in layers])
        frames.append(pair_frame({"operator": operator, "head": head}, layers, pairs))
    return frames


def write_grams(factors: Path, out: Path) -> None:
    """Stage `grams`, key head by key head over all layers: memory is one key head's stack and its queries'."""
    expected = {}
    stacks = json.loads((factors / "stacks.json").read_text())
    gangs = {stack["folder"]: gangs_of(factors / stack["folder"]) for stack in stacks}
    with console.stage("grams (key heads)", sum(map(len, gangs.values()))) as advance:
        for stack in stacks:
            folder = factors / stack["folder"]
            frames = gram_frames(folder, gangs[stack["folder"]], "metric", advance)
            write_table(out / stack["folder"], "grams", frames, GRAM_KEYS)
            expected[stack["folder"]] = {"grams": pairs_of_layers(folder)}
    (out / "expected.json").write_text(json.dumps(expected))


def gram_frames(folder: Path, gangs: list[Gang], operator: str, advance: Callable[[int], None]) -> list[pl.DataFrame]:
    """The rows of `grams` of the factors in a folder, checked."""
    frames, generator = [], np.random.default_rng(3)
    for layers, heads in gangs:
        w_q, w_k = _stack_of_gang(folder, layers, heads)
        products = grams.metric_grams(w_q, w_k)
        fro_sq = np.array([_fro_sq(q, k) for q, k in zip(w_q, w_k, strict=True)])
        row, column = generator.integers(len(layers), size=2)
        for member, head in enumerate(heads):
            direct = identities.direct_gram(w_q[row][member], w_k[row], w_q[column][member], w_k[column])
            sampled = (row, column, direct)
            identities.check_grams(products[member], fro_sq[:, member], sampled, f"{folder.name}, head {head}")
            frames.append(pair_frame({"operator": operator, "head": head}, layers, products[member]))
        advance(1)
    return frames


def _fro_sq(w_q: np.ndarray, w_k: np.ndarray) -> np.ndarray:
    """‖M‖² of every query head of a gang in one layer, as Σσ² of the metric."""
    return np.square(spectra.metric_svd(LayerHeads.of(w_q, w_k[None]))[1]).sum(-1)


def gangs_of(folder: Path) -> list[Gang]:
    """(layers, query heads) that share a key head in every one of the layers; single heads where layers differ."""
    shapes = {layer: [array.shape[0] for array in load_factors(folder, layer)] for layer in measured_layers(folder)}
    layers, (n_heads, n_kv_heads) = list(shapes), next(iter(shapes.values()))
    if all(shape == [n_heads, n_kv_heads] for shape in shapes.values()):
        group = n_heads // n_kv_heads
        return [(layers, list(range(key * group, (key + 1) * group))) for key in range(n_kv_heads)]
    most = max(shape[0] for shape in shapes.values())
    return [([layer for layer in layers if head < shapes[layer][0]], [head]) for head in range(most)]


def _stack_of_gang(folder: Path, layers: list[int], heads: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    w_q, w_k = [], []
    for layer in layers:
        queries, keys = load_factors(folder, layer)
        w_q.append(queries[heads[0] : heads[-1] + 1])
        w_k.append(keys[heads[0] // (len(queries) // len(keys))])
    return w_q, w_k


def load_factors(folder: Path, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """W_Q (head, feature, hidden) and W_K (kv head, feature, hidden) of a staged layer, mapped, not read."""
    w_q, w_k = (np.load(folder / f"{side}_{layer:04d}.npy", mmap_mode="r") for side in ("w_q", "w_k"))
    return w_q, w_k


def measured_layers(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("w_q_")) for path in folder.glob("w_q_*.npy"))


def _vector_bytes(folder: Path) -> int:
    shapes = [load_factors(folder, layer)[0].shape for layer in measured_layers(folder)]
    return sum(4 * n_heads * spectra.N_EIGENVECTORS * hidden_size for n_heads, _, hidden_size in shapes)


def pairs_of_layers(folder: Path) -> int:
    """Pairs layer <= other_layer, summed over the heads that both have."""
    counts = [load_factors(folder, layer)[0].shape[0] for layer in measured_layers(folder)]
    return sum(min(counts[i], counts[j]) for i in range(len(counts)) for j in range(i, len(counts)))
