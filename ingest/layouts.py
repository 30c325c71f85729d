"""The ways checkpoints store W_Q and W_K: a short list of cuts, tried until one reproduces the model.

Nothing here knows an architecture. Every cut has the right shape, and most are wrong for a given module; which one
is right is for `conformance.py` to prove.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from ingest.factors import HeadFactors

SEPARATE = (
    ("q_proj", "k_proj"),
    ("query", "key"),
    ("q_lin", "k_lin"),
    ("wq", "wk"),
    ("q", "k"),
    ("query_proj", "key_proj"),
    ("to_q", "to_k"),
)
FUSED = ("c_attn", "qkv_proj", "query_key_value", "Wqkv", "qkv", "in_proj", "att_proj")
Cut = tuple[str, np.ndarray, np.ndarray]  # layout name, weight (head, feature, hidden), bias (head, feature)


def layouts(
    parameters: Mapping[str, np.ndarray], n_heads: int, n_kv_heads: int, head_dim: int, sizes: tuple[int, int]
) -> Iterator[HeadFactors]:
    """Every way to cut a module's parameters into factors of the captured shape, likeliest first.

    parameters: the attention module's own, by name within it. sizes: hidden sizes of the query and key side.
    """
    for q_name, k_name in SEPARATE:
        if {f"{q_name}.weight", f"{k_name}.weight"} <= parameters.keys():
            q_cuts = list(_side_cuts(parameters, q_name, n_heads, head_dim, sizes[0]))
            k_cuts = list(_side_cuts(parameters, k_name, n_kv_heads, head_dim, sizes[1]))
            for (how_q, w_q, b_q), (how_k, w_k, b_k) in product(q_cuts, k_cuts):
                how = how_q if how_q == how_k else f"{how_q}, {how_k}"
                yield HeadFactors(w_q, w_k, b_q, b_k, layout=how)
    for name in FUSED:
        if f"{name}.weight" in parameters:
            yield from _fused_cuts(parameters, name, n_heads, n_kv_heads, head_dim, sizes[0])


def _side_cuts(
    parameters: Mapping[str, np.ndarray], name: str, n_heads: int, head_dim: int, hidden_size: int
) -> Iterator[Cut]:
    """One side's own projection: plain, or twice as wide with a gate (in each head, or behind all heads)."""
    for how, weight, bias in _orientations(parameters, name, hidden_size):
        rows = n_heads * head_dim
        if len(weight) == rows:
            yield how, weight.reshape(n_heads, head_dim, -1), bias.reshape(n_heads, head_dim)
        if len(weight) == 2 * rows:
            per_head = (n_heads, 2, head_dim)
            yield f"{how}, gated per head", weight.reshape(*per_head, -1)[:, 0], bias.reshape(per_head)[:, 0]
            halves = (2, n_heads, head_dim)
            yield f"{how}, gated behind", weight.reshape(*halves, -1)[0], bias.reshape(halves)[0]


def _fused_cuts(
    parameters: Mapping[str, np.ndarray],
    name: str,
    n_heads: int,
    n_kv_heads: int,
    head_dim: int,
    hidden_size: int,
) -> Iterator[HeadFactors]:
    """[q|k|v] one after the other; [q k v] head by head; or group by group, each key head behind its queries."""
    n_rows = (n_heads + 2 * n_kv_heads) * head_dim
    group = n_heads // n_kv_heads
    for how, weight, bias in _orientations(parameters, name, hidden_size):
        if len(weight) != n_rows:
            continue
        flat_w, flat_b = weight.reshape(-1, head_dim, weight.shape[1]), bias.reshape(-1, head_dim)
        keys = slice(n_heads, n_heads + n_kv_heads)
        yield HeadFactors(flat_w[:n_heads], flat_w[keys], flat_b[:n_heads], flat_b[keys], f"{how} [q|k|v]")

        by_group_w = flat_w.reshape(n_kv_heads, group + 2, head_dim, -1)
        by_group_b = flat_b.reshape(n_kv_heads, group + 2, head_dim)
        yield HeadFactors(
            w_q=by_group_w[:, :group].reshape(n_heads, head_dim, -1),
            w_k=by_group_w[:, group],
            b_q=by_group_b[:, :group].reshape(n_heads, head_dim),
            b_k=by_group_b[:, group],
            layout=f"{how} [q k v] per {'head' if group == 1 else 'group'}",
        )
        if group == 1:
            thirds_w = weight.reshape(n_heads, head_dim, 3, -1)
            thirds_b = bias.reshape(n_heads, head_dim, 3)
            parts = [part for third in (0, 1) for part in (thirds_w[:, :, third], thirds_b[:, :, third])]
            yield HeadFactors(parts[0], parts[2], parts[1], parts[3], f"{how} (q k v) per feature")


def _orientations(parameters: Mapping[str, np.ndarray], name: str, hidden_size: int) -> Iterator[Cut]:
    """Linear stores (out, in), Conv1D (in, out); a square weight may be either."""
    weight = parameters[f"{name}.weight"]
    for how, turned in ((name, weight), (f"{name} transposed", weight.T)):
        if turned.ndim == 2 and turned.shape[1] == hidden_size:
            yield how, turned, parameters.get(f"{name}.bias", np.zeros(len(turned), dtype=turned.dtype))


def fused_values(weight: np.ndarray, layout: str, shape: tuple[int, ...], n_kv_heads: int) -> np.ndarray:
    """W_V (rows, hidden) of a fused weight whose W_Q and W_K were proven to lie in it as `layout` says.

    shape: of W_Q (head, feature, hidden). Rows come in storage order within a head.
    """
    n_heads, head_dim, hidden_size = shape
    turned = weight.T if " transposed " in layout else weight
    if layout.endswith("[q|k|v]"):
        return turned[(n_heads + n_kv_heads) * head_dim :]
    if layout.endswith("per feature"):
        return turned.reshape(n_heads, head_dim, 3, hidden_size)[:, :, 2].reshape(-1, hidden_size)
    return turned.reshape(n_kv_heads, -1, head_dim, hidden_size)[:, -1].reshape(-1, hidden_size)
