"""The ways checkpoints store W_Q and W_K: a short list of cuts, tried until one reproduces the model.

No architecture is named here. Every cut has the right shape, and most are wrong for a given module; `conformance.py`
proves which one is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

import numpy as np

from eigenhouse.ingest.models.parameter_names import FUSED, LATENT, SEPARATE
from eigenhouse.ingest.proof.factors import HeadFactors, Latent

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
    q_names = LATENT[0] if "q_proj.weight" not in parameters else ()
    if {f"{name}.weight" for name in (*LATENT[1], *q_names)} <= parameters.keys():
        yield from _latent_cuts(parameters, n_heads, head_dim)
    for name in FUSED:
        if f"{name}.weight" in parameters:
            yield from _fused_cuts(parameters, name, n_heads, n_kv_heads, head_dim, sizes[0])


def _side_cuts(
    parameters: Mapping[str, np.ndarray], name: str, n_heads: int, head_dim: int, hidden_size: int
) -> Iterator[Cut]:
    """The projection of one side: plain, or twice as wide because of a gate (in each head, or behind all heads)."""
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


def _latent_cuts(parameters: Mapping[str, np.ndarray], n_heads: int, head_dim: int) -> Iterator[HeadFactors]:
    """Multi-head latent attention: content features up from a normed latent, then features for positions alone.

    All heads share the keys' position features, which are projected from the hidden states directly. A model that
    rotates position features by halves puts those with even numbers first.
    """
    down, offset = _stored(parameters, "kv_a_proj_with_mqa")
    n_latent = len(parameters["kv_a_layernorm.weight"])
    n_position = len(down) - n_latent
    n_content = head_dim - n_position
    w_k, b_k, latent_k = _through_latent(parameters, LATENT[1], n_heads, n_content)
    shared = (n_heads, n_position)
    w_k = np.concatenate([w_k, np.broadcast_to(down[n_latent:], (*shared, down.shape[1]))], axis=1)
    b_k = np.concatenate([b_k, np.broadcast_to(offset[n_latent:], shared)], axis=1)
    latent_k = replace(latent_k, up=np.pad(latent_k.up, ((0, 0), (0, n_position), (0, 0))))
    how, latent_q = "q_b_proj q_a_proj", None
    if "q_proj.weight" in parameters:
        how = "q_proj"
        w_q, b_q = (part.reshape(n_heads, head_dim, *part.shape[1:]) for part in _stored(parameters, how))
    else:
        w_q, b_q, latent_q = _through_latent(parameters, LATENT[0], n_heads, head_dim)
    how = f"{how}, kv_b_proj kv_a_proj_with_mqa"
    yield HeadFactors(w_q, w_k, b_q, b_k, how, latent_q=latent_q, latent_k=latent_k, n_position=n_position)

    order = np.r_[:n_content, n_content:head_dim:2, n_content + 1 : head_dim : 2]
    w_q, w_k, b_q, b_k = (part[:, order] for part in (w_q, w_k, b_q, b_k))
    latent_q = latent_q and replace(latent_q, up=latent_q.up[:, order])
    how += ", pairs apart"
    yield HeadFactors(w_q, w_k, b_q, b_k, how, latent_q=latent_q, latent_k=latent_k, n_position=n_position)


def _through_latent(
    parameters: Mapping[str, np.ndarray], names: tuple[str, str, str], n_heads: int, n_features: int
) -> tuple[np.ndarray, np.ndarray, Latent]:
    """Weight and bias of each head's first features without the norm in between, and the latent with it."""
    n_latent = len(parameters[f"{names[1]}.weight"])
    down, offset = (part[:n_latent] for part in _stored(parameters, names[0]))
    up, bias = (part.reshape(n_heads, -1, *part.shape[1:])[:, :n_features] for part in _stored(parameters, names[2]))
    return up @ down, up @ offset + bias, Latent(down, offset, up)


def _stored(parameters: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    weight = parameters[f"{name}.weight"]
    return weight, parameters.get(f"{name}.bias", np.zeros(len(weight), dtype=weight.dtype))


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
