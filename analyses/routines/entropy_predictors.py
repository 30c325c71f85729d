"""How surely each descriptor of the spectrum goes with what a head does on text: intervals, and chance for the best.

The interval is a percentile bootstrap over layers: heads of one layer are alike, so whole layers are drawn again.
The p-value asks what the largest of all |r| would be if the heads of a model had been given each other's attention:
its null is that heads are exchangeable, in which no layer differs from another. A p that is small may so mean that
depth moves both; the interval, and the strata of descriptor_correlations, say whether it is more.
"""

from typing import Any

import numpy as np
import polars as pl

KEYS = ("model_id", "operator", "prompt_set", "target")
PLACES = ("layer", "head")
NUMBERS = ("pearson_r", "pearson_low", "pearson_high", "spearman_r", "spearman_low", "spearman_high", "permutation_p")
SEED, N_RESAMPLES, N_PERMUTATIONS = 20, 1000, 1000
LEAST_LAYERS = 3
ROUNDING = 1e-12  # of correlations that should be equal; of a spread, against the numbers' own size


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
            found = _correlations(table[kept, place], outcome[kept], layers[kept])
            numbers_of = [float(value) if np.isfinite(value) else None for value in (*found, p_values[place])]
            rows.append((*key, name, int(kept.sum()), len(set(layers[kept])), *numbers_of))
    return pl.DataFrame(rows, schema=schema, orient="row")


def _correlations(x: np.ndarray, y: np.ndarray, layers: np.ndarray) -> list[float]:
    """Pearson r and its interval, Spearman r and its interval; NaN where there is none."""
    resamples = _layer_weights(layers)
    once = np.ones((1, len(x)))
    found: list[float] = []
    for transformed in (lambda values, _: values[None], _weighted_ranks):
        drawn = correlations(transformed(x, resamples), transformed(y, resamples), resamples)
        drawn = drawn[np.isfinite(drawn)]
        whole = correlations(transformed(x, once), transformed(y, once), once)[0]
        found += [whole, *(np.quantile(drawn, [0.025, 0.975]) if len(drawn) else [np.nan] * 2)]
    return found


def _layer_weights(layers: np.ndarray) -> np.ndarray:
    """(N_RESAMPLES, heads): how often each head's layer was drawn; no resample under three layers."""
    own, of_head = np.unique(layers, return_inverse=True)
    if len(own) < LEAST_LAYERS:
        return np.ones((0, len(layers)))
    drawn = np.random.default_rng(SEED).multinomial(len(own), np.full(len(own), 1 / len(own)), size=N_RESAMPLES)
    return drawn[:, of_head].astype(np.float64)


def _weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ranks, the mean rank for ties, in each resample as though head i stood there weights[:, i] times."""
    distinct, group = np.unique(values, return_inverse=True)
    totals = np.zeros((len(weights), len(distinct)))
    order = np.argsort(group, kind="stable")
    if len(distinct):
        totals = np.add.reduceat(weights[:, order], np.searchsorted(group[order], np.arange(len(distinct))), axis=1)
    return (np.cumsum(totals, axis=1) - totals / 2 + 0.5)[:, group]


def correlations(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson r of each row of weights (rows, n) between x and y, each (rows, n) or (1, n); NaN for a constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(axis=1, keepdims=True)
        centred = [values - (weights * values).sum(axis=1, keepdims=True) / total for values in (x, y)]
        squares = [(weights * np.square(values)).sum(axis=1) for values in centred]
        least = [np.square(ROUNDING * values).max(axis=1, initial=0) * total[:, 0] for values in (x, y)]
        r = (weights * centred[0] * centred[1]).sum(axis=1) / np.sqrt(squares[0] * squares[1])
    varies = (squares[0] > least[0]) & (squares[1] > least[1])
    return np.where(varies, np.clip(r, -1, 1), np.nan)


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
