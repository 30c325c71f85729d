"""The rows that a measurement file fills, and those that follow from them, so that the views find them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from eigenhouse.ingest import console
from eigenhouse.ingest.exchange.files import GramFile, MeasurementFile, SpectraFile
from eigenhouse.ingest.geometry import grams, subspaces
from eigenhouse.ingest.geometry.spectra import N_EIGENVECTORS
from eigenhouse.ingest.stages.declaration import stage
from eigenhouse.ingest.stages.frames import long_frame, null_frame, pair_frame, vector_frame
from eigenhouse.ingest.stages.spectra import EIGENVECTOR_BYTES
from eigenhouse.ingest.stages.subspaces import HeadPairs, within_unit
from eigenhouse.ingest.stages.writer import Rows, Writer
from eigenhouse.ingest.warehouse import sqlfiles

STACK = "file"  # whose rows they are: a file has one stack
# One prompt with one query that sees two keys: over one prompt a mean is the number itself whatever its weight, but
# without such a query head_attention would have no weight for logit_std and leave it out.
ATTENTION_KEYS = {"prompt_set": "imported", "prompt": 0}
ATTENTION_WEIGHTS = ("n_queries", "n_multi_queries")


@dataclass(frozen=True)
class FileInputs:
    """held_head_dim: that of an earlier file of the same name."""

    found: MeasurementFile
    held_head_dim: int | None
    eigenvectors: str


@stage(
    name="import:spectra",
    writes=("layers", "singular_values", "spectral_grams", "attention_stats"),
    scope={"operator": "= $operator", "prompt_set": "= 'imported'"},
    version=1,
)
def import_spectra(inputs: FileInputs, out: Writer) -> None:
    """Of one operator, and attention where the file has it."""
    found = inputs.found
    assert isinstance(found, SpectraFile)
    out.add(STACK, _layer_rows(inputs))
    for layer, sigma in zip(found.layers, found.sigma, strict=True):
        keys = {"operator": found.operator, "layer": layer}
        frame = long_frame(keys, ("head", "k"), sigma=sigma.astype(np.float32))
        out.table("singular_values", STACK).add(frame, expected=sigma.size)
    for head in range(found.n_heads):
        products = grams.spectral_grams([sigma[head] for sigma in found.sigma])
        frame = pair_frame({"operator": found.operator, "head": head}, found.layers, products)
        out.table("spectral_grams", STACK).add(frame, expected=_n_pairs(found, with_itself=1))
    if found.attention:
        n_rows = len(found.layers) * found.n_heads
        out.table("attention_stats", STACK).add(_attention_frame(found), expected=n_rows)


@stage(
    name="import:grams",
    writes=(
        "layers", "grams", "head_norms", "eigenvalues", "eigenvectors", "principal_cosines", "eigenvector_overlaps",
    ),
    shares=("null_spectra",),
    scope={"operator": "= 'metric'"},
    options=("eigenvectors",),
    version=1,
)  # fmt: skip
def import_grams(inputs: FileInputs, out: Writer) -> None:
    """The metric's inner products and norms; where a .pt lies beside the file, eigenvalues and what compares them."""
    found = inputs.found
    assert isinstance(found, GramFile)
    out.add(STACK, _layer_rows(inputs))
    for head, products in enumerate(found.grams):
        frame = pair_frame({"operator": "metric", "head": head}, found.layers, products)
        out.table("grams", STACK).add(frame, expected=_n_pairs(found, with_itself=1))
    out.add(STACK, _norm_rows(found))
    if found.hidden_size and found.head_dim:
        frame = null_frame([(found.hidden_size, found.head_dim)])
        out.shared("null_spectra").add(frame, expected=len(frame))
    if found.eigenvalues is not None and found.vectors is not None:
        out.add(STACK, _eigen_rows(found, found.eigenvalues, _signed(found.vectors), inputs.eigenvectors))


def _layer_rows(inputs: FileInputs) -> Iterator[Rows]:
    found = inputs.found
    rows = [
        (
            layer,
            found.n_heads if layer in found.layers else None,
            inputs.found.head_dim or inputs.held_head_dim,
            layer in found.layers,
        )
        for layer in range(found.layers[-1] + 1)
    ]
    kinds: dict[str, Any] = {"layer": pl.Int32, "n_heads": pl.Int32, "head_dim": pl.Int32, "is_measured": pl.Boolean}
    unknown = [pl.lit(None, pl.Int32).alias(name) for name in ("n_kv_heads", "window_size", "position_dim")]
    frame = pl.DataFrame(rows, schema=kinds, orient="row")
    yield Rows("layers", frame.with_columns(*unknown, attention_kind=pl.lit(None, pl.String)), len(rows))


def _attention_frame(found: SpectraFile) -> pl.DataFrame:
    columns = sqlfiles.tables()["attention_stats"]
    frames = [
        long_frame(
            ATTENTION_KEYS | {"layer": layer},
            ("head",),
            **{column: values[at].astype(np.float32) for column, values in found.attention.items()},
        )
        for at, layer in enumerate(found.layers)
    ]
    frame = pl.concat(frames).fill_nan(None).with_columns(pl.lit(1).alias(name) for name in ATTENTION_WEIGHTS)
    absent = columns["columns"].keys() - {"model_key", "dtype"} - set(frame.columns)
    unknown = [pl.lit(None, pl.Float32).alias(name) for name in sorted(absent)]
    return frame.with_columns(*unknown, dtype=pl.lit(None, pl.String))


def _norm_rows(found: GramFile) -> Iterator[Rows]:
    unknown = np.full((len(found.layers), found.n_heads), np.nan)
    columns = {
        "metric_fro_sq": np.diagonal(found.grams, axis1=1, axis2=2).T,
        "trace": unknown if found.eigenvalues is None else found.eigenvalues.sum(2),
        "w_q_fro_sq": unknown,
        "w_k_fro_sq": unknown,
        "head_product_fro_sq": unknown if found.head_product_fro_sq is None else found.head_product_fro_sq,
    }
    for at, layer in enumerate(found.layers):
        values = {name: of[at] for name, of in columns.items()}
        frame = long_frame({"operator": "metric", "layer": layer}, ("head",), **values)
        yield Rows("head_norms", frame.fill_nan(None), found.n_heads)


def _eigen_rows(found: GramFile, values: np.ndarray, vectors: np.ndarray, eigenvectors: str) -> Iterator[Rows]:
    """values (layer, head, k) · vectors (layer, head, k, hidden)."""
    keeps = eigenvectors == "all" or (eigenvectors == "auto" and vectors.nbytes <= EIGENVECTOR_BYTES)
    for at, layer in enumerate(found.layers):
        keys = {"operator": "metric", "layer": layer}
        frame = long_frame(keys, ("head", "k"), eigenvalue=values[at].astype(np.float32))
        yield Rows("eigenvalues", frame, values[at].size)
        if keeps:
            yield Rows("eigenvectors", vector_frame(layer, vectors[at]), vectors[at].size // vectors.shape[3])
    if not keeps:
        console.say(f"eigenvectors left out ({vectors.nbytes / 2**20:.0f} MB); EIGENVECTORS=all keeps them")
    size, hidden_size = min(N_EIGENVECTORS, vectors.shape[2]), vectors.shape[3]
    n_pairs = _n_pairs(found, with_itself=0)
    for head in range(found.n_heads if n_pairs else 0):
        magnitudes, bases = np.abs(values[:, head]), _orthonormal(vectors[:, head, :size])
        pairs = HeadPairs(head, found.layers, subspaces.tied_at_cut(magnitudes, size, hidden_size))
        cosines = within_unit(subspaces.principal_cosines(bases), pairs.where)
        yield Rows("principal_cosines", pairs.frame({"basis": "eigen"}, cosine=cosines), n_pairs * size)
        pairs = HeadPairs(head, found.layers, subspaces.tied_at_cut(magnitudes, 1, hidden_size))
        top1 = within_unit(subspaces.vector_overlaps(bases[:, 0])[pairs.indices], pairs.where)
        yield Rows("eigenvector_overlaps", pairs.frame({}, top1_overlap=top1), n_pairs)


def _signed(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length with their largest-magnitude component positive, as every eigenvector of the warehouse."""
    peaks = np.take_along_axis(vectors, np.abs(vectors).argmax(-1)[..., None], -1)
    return vectors * np.where(peaks < 0, -1, 1).astype(np.float32) / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis (layer, vector, hidden) float64 of each layer's rows: a cosine above 1 would be theirs."""
    q, _ = np.linalg.qr(rows.astype(np.float64).transpose(0, 2, 1))
    return q.transpose(0, 2, 1)


def _n_pairs(found: MeasurementFile, with_itself: int) -> int:
    """Pairs of layers of one head."""
    n_layers = len(found.layers)
    return n_layers * (n_layers - 1 + 2 * with_itself) // 2
