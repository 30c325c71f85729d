"""Which measured quantity of a model goes with what its user says of it: correlations over models.

Models of a family share data, code and often weights, so the interval is a bootstrap over families: whole ones are
drawn again. Under three families nothing is said. With few of them an interval is too narrow rather than too wide, and
of many quantities some go with any tag by chance.
"""

from typing import Any

import numpy as np
import polars as pl

from eigenhouse.analyses.routines.group_bootstrap import LEAST_GROUPS, with_intervals

KEYS = ("tag", "quantity")
NUMBERS = ("pearson_r", "pearson_low", "pearson_high", "spearman_r", "spearman_low", "spearman_high")


def models_against_tag(models: pl.DataFrame) -> pl.DataFrame:
    """Correlations of `number`, a tag's, with `value`, a quantity's: one row a tag and quantity.

    models: KEYS, model_id, family, number and value, one row a model; a null keeps a model out. n: models that are in;
    n_families: their families. pearson_r and spearman_r, -1 to 1, each with the 2.5 and 97.5 % points of 1,000
    resamples of families; null under three families, and where one of the two is constant: `reason` says which. The
    strongest of a tag come first.
    """
    numbers: dict[str, Any] = {"n": pl.Int64, "n_families": pl.Int64, **dict.fromkeys(NUMBERS, pl.Float64)}
    schema = dict.fromkeys(KEYS, pl.String) | numbers | {"reason": pl.String}
    rows: list[tuple[Any, ...]] = []
    for key, group in models.sort(*KEYS, "model_id").group_by(*KEYS, maintain_order=True):
        kept = group.filter(pl.col("number").is_finite() & pl.col("value").is_finite())
        x, y = (kept[name].cast(pl.Float64).to_numpy() for name in ("number", "value"))
        families = np.unique(kept["family"].to_numpy(), return_inverse=True)[1]
        n_families = len(set(families))
        intervals = with_intervals(x, y, families) if n_families >= LEAST_GROUPS else [np.nan] * len(NUMBERS)
        numbers_of = [float(value) if np.isfinite(value) else None for value in intervals]
        rows.append((*key, len(x), n_families, *numbers_of, _reason(n_families, x, numbers_of[0])))
    strongest_first = [pl.col("tag"), pl.col("pearson_r").abs(), pl.col("quantity")]
    found = pl.DataFrame(rows, schema=schema, orient="row")
    return found.sort(strongest_first, descending=[False, True, False], nulls_last=True)


def _reason(n_families: int, x: np.ndarray, r: float | None) -> str | None:
    """Why there is no correlation."""
    if n_families < LEAST_GROUPS:
        return f"{n_families} of the {LEAST_GROUPS} families that an interval needs"
    if r is None:
        return "the tag is the same for all" if np.ptp(x) == 0 else "the quantity is the same for all"
    return None
