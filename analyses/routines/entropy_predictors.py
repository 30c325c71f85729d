"""How surely each descriptor of the spectrum goes with what a head does on text: intervals, and chance for the best.

The interval is a percentile bootstrap over layers: heads of one layer are alike, so whole layers are drawn again.
The p-value asks what the largest of all |r| would be if the heads of a model had been given each other's attention:
its null is that heads are exchangeable, in which no layer differs from another. A p that is small may so mean that
depth moves both; the interval, and the strata of descriptor_correlations, say whether it is more.
"""

from typing import Any

import numpy as np
import polars as pl

from eigenhouse.analyses.routines.group_bootstrap import ROUNDING, SEED, correlations, with_intervals

KEYS = ("model_id", "operator", "prompt_set", "target")
PLACES = ("layer", "head")
NUMBERS = ("pearson_r", "pearson_low", "pearson_high", "spearman_r", "spearman_low", "spearman_high", "permutation_p")
N_PERMUTATIONS = 1000


def entropy_predictors(heads: pl.DataFrame) -> pl.DataFrame:
    """Correlations of `outcome` with each descriptor: one row per model, operator, prompt set, target, descriptor.

    heads: KEYS, PLACES, outcome and the descriptors, one row a head; a null keeps a head out of that correlation.
    n: heads that are in; n_layers: their layers. pearson_r and spearman_r, -1 to 1, each with the 2.5 and 97.5 %
    points of 1,000 resamples of layers (null under three layers); permutation_p = (1 + permutations of the heads whose
    largest |Pearson r| over all descriptors reaches this one's) / 1,001. Null where one of the two is constant.
    """
    numbers: dict[str, Any] = {"n": pl.Int64, "n_layers": pl.Int64, **dict.fromkeys(NUMBERS, pl.Float64)}
    schema = {key: heads.schema[key] for key in KEYS} | {"descriptor": pl.String} | numbers
    rows: list[tuple[Any, ...]] = []
    descriptors = [name for name in heads.columns if name not in (*KEYS, *PLACES, "outcome")]
    for key, group in heads.sort(*KEYS, *PLACES, nulls_last=True).group_by(*KEYS, maintain_order=True):
        layers = np.unique(group["layer"].to_numpy(), return_inverse=True)[1]
        outcome = group["outcome"].cast(pl.Float64).to_numpy()
        table = group.select(pl.col(descriptors).cast(pl.Float64)).to_numpy()
        p_values = _permutation_p(table, outcome)
        for place, name in enumerate(descriptors):
            kept = np.isfinite(table[:, place]) & np.isfinite(outcome)
            found = with_intervals(table[kept, place], outcome[kept], layers[kept])
            numbers_of = [float(value) if np.isfinite(value) else None for value in (*found, p_values[place])]
            rows.append((*key, name, int(kept.sum()), len(set(layers[kept])), *numbers_of))
    return pl.DataFrame(rows, schema=schema, orient="row")


def _permutation_p(table: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """For each column, how often the largest |r| of any column reaches its own when outcomes change heads."""
    table, outcome = table[np.isfinite(outcome)], outcome[np.isfinite(outcome)]
    permuted = np.random.default_rng(SEED).permuted(np.tile(outcome, (N_PERMUTATIONS, 1)), axis=1)
    sizes = np.abs([_row_correlations(column, np.vstack([outcome, permuted])) for column in table.T])
    own, largest = sizes[:, 0], np.where(np.isnan(sizes), -1, sizes)[:, 1:].max(axis=0)
    counts = (largest >= own[:, None] - ROUNDING).sum(axis=1)
    return np.where(np.isnan(own), np.nan, (1 + counts) / (1 + N_PERMUTATIONS))


def _row_correlations(column: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Pearson r of each row of outcomes with the column, over the heads where the column has a number."""
    known = np.isfinite(column)
    return correlations(column[None, known], outcomes[:, known], np.ones((len(outcomes), int(known.sum()))))
