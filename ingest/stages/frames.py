"""Arrays as rows: the frames that stages write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from eigenhouse.ingest.geometry.null_spectra import N_SAMPLES, null_sigma


def long_frame(keys: Mapping[str, object], axes: tuple[str, ...], **arrays: np.ndarray) -> pl.DataFrame:
    """Arrays of one shape as rows: constant key columns, one index column an axis, one value column an array.

    `axes` names the axes in order; rows come sorted by them. float64 values stay DOUBLE: cast where FLOAT is meant.
    """
    shape = next(iter(arrays.values())).shape
    indices = np.indices(shape, dtype=np.int32).reshape(len(shape), -1)
    frame = pl.DataFrame(
        dict(zip(axes, indices, strict=True)) | {name: array.reshape(-1) for name, array in arrays.items()}
    )
    return frame.select([pl.lit(value).alias(name) for name, value in keys.items()] + [pl.all()])


def vector_frame(layer: int, vectors: np.ndarray) -> pl.DataFrame:
    """One layer's vectors (head, k, hidden) as rows of `eigenvectors`."""
    n_heads, n_vectors, hidden_size = vectors.shape
    keys = long_frame({"layer": layer}, ("head", "k"), unused=np.zeros((n_heads, n_vectors), np.float32)).drop("unused")
    flat = pl.Series(
        "vector", vectors.reshape(-1, hidden_size).astype(np.float32), dtype=pl.Array(pl.Float32, hidden_size)
    )
    return keys.with_columns(flat.cast(pl.List(pl.Float32)))


def pair_frame(keys: Mapping[str, object], layers: Sequence[int], products: np.ndarray) -> pl.DataFrame:
    """The pairs layer <= other_layer of a symmetric matrix (layer, layer) as rows of a gram table."""
    rows, columns = np.triu_indices(len(layers))
    numbers = np.array(layers, dtype=np.int32)
    pairs = pl.DataFrame({"layer": numbers[rows], "other_layer": numbers[columns], "gram": products[rows, columns]})
    return pairs.select([pl.lit(value).alias(name) for name, value in keys.items()] + [pl.all()])


def null_frame(shapes: Iterable[tuple[int, int]]) -> pl.DataFrame:
    """The rows of `null_spectra` for these (hidden_size, head_dim)."""
    frames = []
    for hidden_size, head_dim in sorted(shapes):
        sigma = np.stack([null_sigma(hidden_size, head_dim, sample) for sample in range(N_SAMPLES)])
        keys = {"hidden_size": hidden_size, "head_dim": head_dim}
        frames.append(long_frame(keys, ("sample", "k"), sigma=sigma.astype(np.float32)))
    return pl.concat(frames)
