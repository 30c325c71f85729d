"""One head, one layer: σ and both sides of the metric, and σ of whole matrices, beside dense solvers and peers."""

from __future__ import annotations

import numpy as np

from bench import ours
from bench.random_checkpoint import Shape
from bench.rows.row import Pair, Row
from bench.setting import Setting
from bench.timing import best_of, side_by_side

PEERS = "σ of both differ by {:.0e} of the largest at most"


def factors(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Random factors of a layer, float64: W_Q (head, feature, hidden), W_K by key head."""
    draw, rest = np.random.default_rng(0), (shape.head_dim, shape.hidden)
    return draw.standard_normal((shape.n_heads, *rest)), draw.standard_normal((shape.n_kv_heads, *rest))


def head_beside_dense(setting: Setting) -> Pair:
    """Seconds a head: ours of all heads of a layer at once, the dense SVD of the first, values and both sides."""
    shape = setting.shape("4b", 1)
    w_q, w_k = factors(shape)
    metric = w_k[0].T @ w_q[0]

    def layer() -> None:
        ours.sigma_and_sides(w_q, w_k, shape.head_dim)

    layer()  # once before the clock, as pools of threads start
    mine, dense = side_by_side(layer, lambda: np.linalg.svd(metric), min(2, setting.rounds))
    mine = min(mine, best_of(setting.rounds, layer))
    note = f"a head: {shape.n_heads} heads of d = {shape.hidden} at once, one dense"
    return Pair(mine / shape.n_heads, dense, note=note)


def head_beside_transformer_lens(setting: Setting) -> Pair:
    """A head: both of all heads of a layer at once."""
    s = setting.shape("4b", 1)
    sizes = (s.n_heads, s.n_kv_heads, s.head_dim, s.hidden, setting.rounds)
    said = setting.peer("factored_matrix", *map(str, sizes))
    kept = f"with the 20 vectors a side that an ingest keeps {said['theirs'] / said['kept']:.2f}×"
    note = f"a head: {s.n_heads} heads of d = {s.hidden} at once, all vectors; {kept}"
    note += f"; {PEERS.format(said['difference'])}"
    return Pair(said["ours"], said["theirs"], note=note)


def weights_beside_weightwatcher(setting: Setting) -> Pair:
    s = setting.shape("4b", 1)
    queries, keys = s.n_heads * s.head_dim, s.n_kv_heads * s.head_dim
    shapes = ((queries, s.hidden, 2), (keys, s.hidden, 2), (s.ffn, s.hidden, 3))
    said = setting.peer("weightwatcher_svd", *(",".join(map(str, shape)) for shape in shapes))
    return Pair(said["ours"], said["theirs"], note=f"seven matrices; {PEERS.format(said['difference'])}")


ROWS = (
    Row("head_dense", "metric σ and both sides, a head", "dense float64 SVD of the head", head_beside_dense,
        at_least=300),
    Row("head_transformer_lens", "the same, float64", "TransformerLens 4.3.0, FactoredMatrix.svd in float32",
        head_beside_transformer_lens, at_least=3.5),
    Row("weights_weightwatcher", "whole weights of a layer", "WeightWatcher 0.7.7, its SVD step",
        weights_beside_weightwatcher, at_least=5),
)  # fmt: skip
