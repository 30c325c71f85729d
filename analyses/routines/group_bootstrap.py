"""Correlations with a percentile bootstrap over groups: what lies in one is alike, so whole groups are drawn again.

Heads of one layer are such a group, and models of one family.
"""

import numpy as np

SEED, N_RESAMPLES = 20, 1000
LEAST_GROUPS = 3
ROUNDING = 1e-12  # of correlations that should be equal; of a spread, against the numbers' own size


def with_intervals(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> list[float]:
    """Pearson r and its interval, Spearman r and its interval; NaN where there is none. groups: of each value."""
    resamples = _group_weights(groups)
    once = np.ones((1, len(x)))
    found: list[float] = []
    for transformed in (lambda values, _: values[None], _weighted_ranks):
        drawn = correlations(transformed(x, resamples), transformed(y, resamples), resamples)
        drawn = drawn[np.isfinite(drawn)]
        whole = correlations(transformed(x, once), transformed(y, once), once)[0]
        found += [whole, *(np.quantile(drawn, [0.025, 0.975]) if len(drawn) else [np.nan] * 2)]
    return found


def _group_weights(groups: np.ndarray) -> np.ndarray:
    """(N_RESAMPLES, values): how often each value's group was drawn; no resample under three groups."""
    own, of_value = np.unique(groups, return_inverse=True)
    if len(own) < LEAST_GROUPS:
        return np.ones((0, len(groups)))
    drawn = np.random.default_rng(SEED).multinomial(len(own), np.full(len(own), 1 / len(own)), size=N_RESAMPLES)
    return drawn[:, of_value].astype(np.float64)


def _weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ranks, the mean rank for ties, in each resample as though value i stood there weights[:, i] times."""
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
