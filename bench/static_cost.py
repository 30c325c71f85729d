"""Seconds that subspaces and alignments of a model take beside the dense SVD of ten heads, in one run.

Random factors of a model of 36 layers, d = 2560, 32 heads of 128 that share 8 key heads, ffn 9728 with a gate, as
Qwen3-4B. Work that is the same in every layer or head is timed on a few and multiplied; the count says on how many.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import numpy as np

from eigenhouse.ingest.geometry import subspaces
from eigenhouse.ingest.geometry.alignment import energy_fractions, span_sum, summed_fractions
from eigenhouse.ingest.geometry.spectra import LayerHeads

N_LAYERS, N_HEADS, N_KV_HEADS, HEAD_DIM, HIDDEN, FFN = 36, 32, 8, 128, 2560, 9728
SIZE, N_EIGEN, N_DENSE = 20, 16, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4, help="layers to time what is the same in each; 36 for all")
    parser.add_argument("--dense", type=int, default=2, help="heads to take a dense SVD of; 10 for all")
    arguments = parser.parse_args()
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(
        f"L={N_LAYERS} d={HIDDEN} {N_HEADS} heads of {HEAD_DIM}, {N_KV_HEADS} key heads, ffn {FFN}; {threads} thread(s)"
    )
    rows = {}
    for name, seconds, note in chain(ours(arguments.layers), dense(arguments.dense)):
        rows[name] = (seconds, note)
        print(f"{name:<48}{seconds:8.1f} s   {note}", flush=True)
    asked = sum(rows[name][0] for name in ("overlaps", "principal cosines", "alignments with gate and up"))
    print(f"\n{'overlaps + cosines + alignments':<48}{asked:8.1f} s")
    everything = asked + sum(rows[name][0] for name in ("nearest heads", "side bases", "eigen bases"))
    print(f"{'with nearest heads and the bases themselves':<48}{everything:8.1f} s")
    for name in ("dense SVD of ten heads, values alone", "dense SVD of ten heads, with its vectors"):
        print(
            f"{name:<48}{rows[name][0]:8.1f} s   "
            f"ours take {asked / rows[name][0]:.2f} of it, {everything / rows[name][0]:.2f} with all"
        )


def ours(n_layers: int) -> Iterator[tuple[str, float, str]]:
    draw, scale = np.random.default_rng(0), N_LAYERS / n_layers
    note = f"timed on {n_layers} of {N_LAYERS} layers"
    shape = (HEAD_DIM, HIDDEN)
    heads = [
        LayerHeads.of(draw.standard_normal((N_HEADS, *shape)), draw.standard_normal((N_KV_HEADS, *shape)))
        for _ in range(n_layers)
    ]
    yield "side bases", scale * timed(lambda: [subspaces.side_bases(layer, SIZE) for layer in heads]), note
    yield "eigen bases", scale * timed(lambda: [subspaces.eigen_bases(layer, N_EIGEN) for layer in heads]), note
    sides = [random_bases(draw, SIZE) for _ in subspaces.SIDES]
    eigen = random_bases(draw, N_EIGEN)
    of_heads = [[np.ascontiguousarray(side[:, head]) for head in range(N_HEADS)] for side in sides]
    yield (
        "overlaps",
        timed(lambda: [subspaces.overlaps(one) for side in of_heads for one in side]),
        "all heads, both sides",
    )
    cosines = timed(lambda: [subspaces.principal_cosines(eigen[:, head]) for head in range(N_HEADS)])
    yield "principal cosines", cosines, "all heads"
    gate, up = (draw.standard_normal((FFN, HIDDEN), np.float32) for _ in range(2))
    both = [np.concatenate([side[layer] for side in sides]) for layer in range(n_layers)]
    shares = timed(lambda: [energy_fractions(weight, bases) for bases in both for weight in (gate, up)])
    yield "alignments with gate and up", scale * shares, note
    yield "the same with all other layers' subspaces", *other_layers(of_heads[0], gate)
    yield "nearest heads", 2 * timed(lambda: subspaces.nearest_heads(list(sides[0]))), "all heads; one side, doubled"


def other_layers(of_heads: list[np.ndarray], weight: np.ndarray) -> tuple[float, str]:
    """Seconds for the span sums of all heads and sides, and for gate and up of all layers against them."""
    few, many = 2, 18
    summing = timed(lambda: [span_sum(one) for one in of_heads[:few]]) / few
    spans = [span_sum(one) for one in of_heads[:few]] * (many // few)
    with_few, with_many = (timed(partial(summed_fractions, weight, spans[:n])) for n in (few, many))
    a_span = max(0.0, with_many - with_few) / (many - few)
    n_spans = 2 * N_HEADS
    seconds = n_spans * summing + 2 * N_LAYERS * (with_few + (n_spans - few) * a_span)
    return seconds, f"timed on one matrix and {many} of {n_spans} heads and sides"


def dense(n_heads: int) -> Iterator[tuple[str, float, str]]:
    draw, scale, note = np.random.default_rng(1), N_DENSE / n_heads, f"timed on {n_heads} of {N_DENSE} heads"
    metrics = []
    for _ in range(n_heads):
        w_q, w_k = (draw.standard_normal((HEAD_DIM, HIDDEN)) for _ in range(2))
        metrics.append(w_k.T @ w_q)
    values = timed(lambda: [np.linalg.svd(metric, compute_uv=False) for metric in metrics])
    yield "dense SVD of ten heads, values alone", scale * values, note
    yield "dense SVD of ten heads, with its vectors", scale * timed(lambda: [np.linalg.svd(m) for m in metrics]), note


def random_bases(draw: np.random.Generator, size: int) -> np.ndarray:
    """(layer, head, vector, hidden) float32 unit rows: what they hold doesn't change the time."""
    rows = draw.standard_normal((N_LAYERS, N_HEADS, size, HIDDEN), np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
