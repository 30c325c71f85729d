"""σ of a layer's whole matrices, ours and WeightWatcher's, in turns in this process, each shape times how many have it.

Its release turns a matrix to float64 and calls svd_vals (WeightWatcher.combined_eigenvalues in weightwatcher.py, where
no fewer values are asked for); by default with the method "fast", which without CUDA is scipy.linalg.svd.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from weightwatcher.RMT_Util import svd_vals

from bench import ours
from bench.timing import side_by_side


def main() -> None:
    """Arguments: rows,columns,how many for each shape."""
    draw, mine, theirs, difference = np.random.default_rng(0), 0.0, 0.0, 0.0
    for text in sys.argv[1:]:
        n_rows, n_cols, count = map(int, text.split(","))
        weight = draw.standard_normal((n_rows, n_cols), np.float32)
        found: dict[str, np.ndarray] = {}

        def measure(weight: np.ndarray = weight, found: dict[str, np.ndarray] = found) -> None:
            found["ours"] = ours.weight_sigmas(weight)

        def watch(weight: np.ndarray = weight, found: dict[str, np.ndarray] = found) -> None:
            found["theirs"] = np.sort(svd_vals(weight.astype(float), method="fast"))[::-1]

        a, b = side_by_side(measure, watch, 1)
        mine, theirs = mine + count * a, theirs + count * b
        off = np.abs(found["ours"] - found["theirs"]).max() / found["theirs"][0]
        difference = max(difference, float(off))
    print(json.dumps({"ours": mine, "theirs": theirs, "difference": difference}))


if __name__ == "__main__":
    main()
