"""How much of attention entropy four descriptors of the spectrum explain together: ordinary least squares."""

from typing import Any

import numpy as np
import polars as pl

DESCRIPTORS = ("op_norm", "spectral_entropy_nats", "effective_modes", "anisotropy")
KEYS = ("model_id", "operator", "prompt_set")
NUMBERS = ("r_squared", "chance_r_squared", *(f"{name}_coefficient" for name in DESCRIPTORS), "design_condition")
INDEPENDENT = 1e-9  # smallest against largest singular value of the standardized descriptors


def entropy_regression(heads: pl.DataFrame) -> pl.DataFrame:
    """Standardized entropy_nats on the standardized descriptors: one row per model, operator and prompt set.

    heads: KEYS, entropy_nats and DESCRIPTORS, one row a head; heads with a null in any of them stay out.
    n: heads that are in. r_squared: share of the variance of entropy explained, 0 to 1; chance_r_squared = 4 / (n - 1)
    is its mean where entropy has nothing to do with the four. Coefficients: standard deviations of entropy for one of
    the descriptor, the others held; design_condition, largest / smallest singular value of the standardized four, says
    how well they can be separated. All null under six heads, and where one is constant or a combination of others.
    """
    numbers: dict[str, Any] = {"n": pl.Int64, **dict.fromkeys(NUMBERS, pl.Float64)}
    schema = {key: heads.schema[key] for key in KEYS} | numbers
    rows: list[tuple[Any, ...]] = []
    for key, group in heads.group_by(*KEYS, maintain_order=True):
        values = group.select("entropy_nats", *DESCRIPTORS).drop_nulls().to_numpy().astype(np.float64)
        rows.append((*key, len(values), *_fit(values)))
    return pl.DataFrame(rows, schema=schema, orient="row")


def _fit(values: np.ndarray) -> list[float | None]:
    """NUMBERS of (n, 5) values, entropy first; all None where they are not determined."""
    n = len(values)
    if n <= len(DESCRIPTORS) + 1 or (np.ptp(values, axis=0) == 0).any():
        return [None] * len(NUMBERS)
    standardized = (values - values.mean(axis=0)) / values.std(axis=0)
    entropy, design = standardized[:, 0], standardized[:, 1:]
    coefficients, _, _, sizes = np.linalg.lstsq(design, entropy, rcond=None)
    if sizes[-1] <= INDEPENDENT * sizes[0]:
        return [None] * len(NUMBERS)
    r_squared = 1 - float(np.mean(np.square(entropy - design @ coefficients)))
    return [r_squared, len(DESCRIPTORS) / (n - 1), *coefficients.tolist(), float(sizes[0] / sizes[-1])]
