"""σ of a layer's whole matrices, ours and WeightWatcher's, in this process.

Its release turns a matrix to float64 and calls svd_vals (WeightWatcher.combined_eigenvalues in weightwatcher.py, where
no fewer values are asked for); by default with the method "fast", which without CUDA is scipy.linalg.svd.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import numpy as np
from weightwatcher.RMT_Util import svd_vals

from bench import ours
from bench.timing import timed


def main() -> None:
    """Arguments: rows,columns,how many for each shape. Ours of all matrices, before and after; theirs of each shape."""
    draw = np.random.default_rng(0)
    shapes = [tuple(map(int, text.split(","))) for text in sys.argv[1:]]
    weights = [draw.standard_normal(size, np.float32) for *size, count in shapes for _ in range(count)]
    mine = timed(lambda: ours.weight_sigmas(weights))
    theirs, first = 0.0, 0
    sigmas: list[np.ndarray] = []

    def watch(weight: np.ndarray) -> None:
        sigmas.append(np.sort(svd_vals(weight, method="fast"))[::-1])

    for _, _, count in shapes:
        weight = weights[first].astype(float)  # as its release does before
        theirs += count * timed(partial(watch, weight))
        first += count
    mine = min(mine, timed(lambda: ours.weight_sigmas(weights)))
    found = ours.weight_sigmas([weights[sum(shape[2] for shape in shapes[:n])] for n in range(len(shapes))])
    difference = max(np.abs(a - b).max() / b[0] for a, b in zip(found, sigmas, strict=True))
    print(json.dumps({"ours": mine, "theirs": theirs, "difference": float(difference)}))


if __name__ == "__main__":
    main()
