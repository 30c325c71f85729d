"""How far the leading eigenvectors of a head turn between layers: principal angles between their spans."""

from functools import cache
from typing import Any

import numpy as np
import polars as pl

KEYS = ("model_id", "head", "layer")
NUMBERS = ("mean_angle_deg", "smallest_angle_deg", "largest_angle_deg", "chance_mean_angle_deg")
SEED, N_DRAWS = 20, 100


def eigenvector_angles(vectors: pl.DataFrame) -> pl.DataFrame:
    """Angles between a head's span and its span in the anchor layer: one row per model, head and layer.

    vectors: KEYS, k, vector, and anchor_layer; the vectors of a head and layer are orthonormal. Null vectors (of an
    all-zero head) give null angles, and so does an anchor layer that lacks the head.
    n_vectors: vectors on each side. Angles in degrees, 0 to 90. chance_mean_angle_deg: the mean over 100 pairs of
    random spans of that size among as many dimensions, drawn with a fixed seed.
    """
    numbers: dict[str, Any] = {"n_vectors": pl.Int64, **dict.fromkeys(NUMBERS, pl.Float64)}
    schema = {name: vectors.schema[name] for name in (*KEYS, "anchor_layer")} | numbers
    rows: list[tuple[Any, ...]] = []
    for key, group in vectors.sort(*KEYS, "k").group_by("model_id", "head", maintain_order=True):
        spans = {layer: _span(own) for (layer,), own in group.group_by("layer", maintain_order=True)}
        for layer, anchor in group.select("layer", "anchor_layer").unique(maintain_order=True).rows():
            span, other = spans[layer], spans.get(anchor)
            if span is None or other is None:
                rows.append((*key, layer, anchor, 0, *[None] * len(NUMBERS)))
                continue
            angles = principal_angles_deg(span, other)
            chance = _chance_mean_angle_deg(len(span), span.shape[1], other.shape[1])
            rows.append((*key, layer, anchor, len(angles), angles.mean(), angles.min(), angles.max(), chance))
    return pl.DataFrame(rows, schema=schema, orient="row")


def _span(vectors: pl.DataFrame) -> np.ndarray | None:
    """(dimensions, vectors), orthonormal in float64; None without vectors. QR mends what float32 rounded."""
    known = vectors["vector"].drop_nulls()
    if not len(known):
        return None
    return np.linalg.qr(known.list.to_array(len(known[0])).to_numpy().T.astype(np.float64))[0]


def principal_angles_deg(span: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The principal angles of two orthonormal bases, rising, 0 to 90 degrees; as many as the smaller has vectors.

    Björck and Golub 1973: the cosine alone is blind below 1e-8, so each angle has its sine too.
    """
    if span.shape[1] > other.shape[1]:
        span, other = other, span
    cosines = np.linalg.svd(other.T @ span, compute_uv=False)
    sines = np.linalg.svd(span - other @ (other.T @ span), compute_uv=False)[::-1]
    return np.degrees(np.arctan2(sines, cosines))


@cache
def _chance_mean_angle_deg(n_dimensions: int, n_vectors: int, n_others: int) -> float:
    """The mean over N_DRAWS random spans against a fixed one, which any other would be a rotation of."""
    draw = np.random.default_rng(SEED)
    fixed = np.eye(n_dimensions, n_others)
    spans = [np.linalg.qr(draw.standard_normal((n_dimensions, n_vectors)))[0] for _ in range(N_DRAWS)]
    return float(np.mean([principal_angles_deg(span, fixed) for span in spans]))
