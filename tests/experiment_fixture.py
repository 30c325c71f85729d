"""A warehouse for the tests of the experiments: small models of many shapes, made from factors by dense algebra.

Every number that a table holds is in the model's `Toy` too, as it is stored, for the loops that the views are tested
against. `MODELS` is the list; each stands for a case that a view may stumble over.
"""

import math
from dataclasses import dataclass, field, replace
from itertools import combinations, combinations_with_replacement
from pathlib import Path

import numpy as np
import polars as pl
import warehouse_fixture as base

from eigenhouse.ingest.warehouse import store

OPERATORS = ("head_product", "metric")
SIDES = ("key", "query")
PROMPT_SETS = {"odd@ffffffff": 1, "std@0a1b2c3d": 2}
SUBSPACE_SIZE, N_EIGEN, N_MATCHES, N_NULL = 2, 3, 5, 3
GATED = (("gate", 0), ("up", 0))
EXPERTS = (("gate", -1), ("gate", 0), ("gate", 4), ("up", -1), ("up", 0), ("up", 4))


@dataclass(frozen=True)
class Toy:
    """One model: its shape, and every number that the warehouse was given, under the keys of the tables."""

    model_id: str
    n_layers: int
    n_heads: int
    head_dim: int
    hidden_size: int
    heads_of: dict[int, int] = field(default_factory=dict)  # measured layer → heads
    sigma: dict = field(default_factory=dict)  # (operator, layer, head) → values
    eigenvalue: dict = field(default_factory=dict)  # (layer, head) → values
    eigenvector: dict = field(default_factory=dict)  # (layer, head, k) → vector
    norms: dict = field(default_factory=dict)  # (layer, head) → (‖M‖², tr M, ‖W_Q‖², ‖W_K‖²)
    gram: dict = field(default_factory=dict)  # (head, layer, other_layer >= layer); operator metric
    spectral_gram: dict = field(default_factory=dict)  # (operator, head, layer, other_layer >= layer)
    overlap: dict = field(default_factory=dict)  # (head, side, layer, other_layer > layer)
    cosine: dict = field(default_factory=dict)  # (head, layer, other_layer > layer) → values; basis eigen
    top1_overlap: dict = field(default_factory=dict)  # (head, layer, other_layer > layer)
    alignment: dict = field(default_factory=dict)  # (layer, head, side, weight, expert) → (share, mean of others)
    weight_sigma: dict = field(default_factory=dict)  # (layer, weight, expert) → values
    match: dict = field(default_factory=dict)  # (side, layer, head) → (mean, [(other_layer, other_head, overlap), …])
    attention: dict = field(default_factory=dict)  # (prompt_set, prompt, layer, head) → columns of attention_stats

    @property
    def layers(self) -> list[int]:
        """The measured layers; the place in this list is `position`."""
        return sorted(self.heads_of)

    @property
    def heads(self) -> list[tuple[int, int]]:
        return [(layer, head) for layer in self.layers for head in range(self.heads_of[layer])]

    def layers_of(self, head: int) -> list[int]:
        """The measured layers that have this head."""
        return [layer for layer in self.layers if head < self.heads_of[layer]]

    def stratum(self, layer: int) -> str:
        place, n = self.layers.index(layer), len(self.layers)
        return "early" if place < n // 3 else "mid" if place < 2 * n // 3 else "late"


def make(
    model_id: str,
    seed: int,
    shape: tuple[int, int, int, int],
    *,
    unmeasured: tuple[int, ...] = (),
    fewer_heads: dict[int, int] | None = None,
    zero_heads: tuple[tuple[int, int], ...] = (),
    all_alike: bool = False,
    attends: bool = True,
    inputs: tuple = GATED,
) -> Toy:
    """A model of (n_layers, n_heads, head_dim, hidden_size); layers share a part of their factors, so cosines vary."""
    n_layers, n_heads, head_dim, hidden_size = shape
    draw = np.random.default_rng(seed)
    heads_of = {layer: (fewer_heads or {}).get(layer, n_heads) for layer in range(n_layers) if layer not in unmeasured}
    toy = Toy(model_id, n_layers, n_heads, head_dim, hidden_size, heads_of)
    shared = draw.standard_normal((n_heads, 2, head_dim, hidden_size))
    factors, spans = {}, {}
    for layer, head in toy.heads:
        own = draw.standard_normal((2, head_dim, hidden_size)) * draw.lognormal(sigma=0.7, size=(2, head_dim, 1))
        w_q, w_k = shared[0] if all_alike else shared[head] + own
        if (layer, head) in zero_heads:
            w_q = w_q * 0
        factors[layer, head] = w_q, w_k
        spans[layer, head] = _fill_head(toy, layer, head, w_q, w_k)
    _fill_pairs(toy, factors, spans)
    _fill_matches(toy, spans)
    for layer in toy.layers:
        for weight, expert in (*inputs, ("down", 0)):
            values = draw.standard_normal((hidden_size + 4, hidden_size)) * draw.lognormal(size=hidden_size)
            toy.weight_sigma[layer, weight, expert] = _float32(np.linalg.svd(values, compute_uv=False))
            for head in range(heads_of[layer]) if weight != "down" else ():
                for side in SIDES:
                    shares = {
                        at: float(np.square(values @ spans[at, head][side]).sum() / np.square(values).sum())
                        for at in toy.layers_of(head)
                    }
                    others = [share for at, share in shares.items() if at != layer]
                    mean = _float32([np.mean(others)])[0] if others else None
                    toy.alignment[layer, head, side, weight, expert] = (_float32([shares[layer]])[0], mean)
    if attends:
        _fill_attention(toy, draw, all_alike)
    return toy


def _float32(values) -> list[float]:
    return np.asarray(values, dtype=np.float32).astype(float).tolist()


def _fill_head(toy: Toy, layer: int, head: int, w_q: np.ndarray, w_k: np.ndarray) -> dict[str, np.ndarray]:
    metric = w_k.T @ w_q
    left, sigma, right = np.linalg.svd(metric)
    rank = min(metric.shape[0], toy.head_dim)
    toy.sigma["metric", layer, head] = _float32(sigma[:rank] * bool(metric.any()))
    toy.sigma["head_product", layer, head] = _float32(np.linalg.svd(w_k @ w_q.T, compute_uv=False))
    values, vectors = np.linalg.eigh((metric + metric.T) / 2)
    order = np.argsort(-np.abs(values))[: min(2 * toy.head_dim, toy.hidden_size)]
    toy.eigenvalue[layer, head] = _float32(values[order])
    for k in range(N_EIGEN):
        toy.eigenvector[layer, head, k] = _float32(vectors[:, order[k]])
    norms = [np.square(metric).sum(), np.trace(metric), np.square(w_q).sum(), np.square(w_k).sum()]
    toy.norms[layer, head] = tuple(map(float, norms))
    eigen = vectors[:, order[:N_EIGEN]]
    return {"key": left[:, :SUBSPACE_SIZE], "query": right[:SUBSPACE_SIZE].T, "eigen": eigen, "metric": metric}


def _fill_pairs(toy: Toy, factors: dict, spans: dict) -> None:
    for head in range(toy.n_heads):
        layers = toy.layers_of(head)
        for layer, other in combinations_with_replacement(layers, 2):
            toy.gram[head, layer, other] = float((spans[layer, head]["metric"] * spans[other, head]["metric"]).sum())
            for operator in OPERATORS:
                pair = zip(toy.sigma[operator, layer, head], toy.sigma[operator, other, head], strict=False)
                toy.spectral_gram[operator, head, layer, other] = math.fsum(a * b for a, b in pair)
        for layer, other in combinations(layers, 2):
            one, two = spans[layer, head], spans[other, head]
            for side in SIDES:
                share = np.square(one[side].T @ two[side]).sum() / SUBSPACE_SIZE
                toy.overlap[head, side, layer, other] = _float32([min(share, 1)])[0]
            cosines = np.linalg.svd(one["eigen"].T @ two["eigen"], compute_uv=False)
            toy.cosine[head, layer, other] = _float32(np.minimum(cosines, 1))
            toy.top1_overlap[head, layer, other] = _float32([min((one["eigen"][:, 0] @ two["eigen"][:, 0]) ** 2, 1)])[0]


def _fill_matches(toy: Toy, spans: dict) -> None:
    for side in SIDES:
        for place in toy.heads:
            overlaps = [
                (*other, float(min(np.square(spans[place][side].T @ spans[other][side]).sum() / SUBSPACE_SIZE, 1)))
                for other in toy.heads
                if other != place
            ]
            if overlaps:
                nearest = sorted(overlaps, key=lambda match: -match[2])[:N_MATCHES]
                shown = [(layer, head, _float32([overlap])[0]) for layer, head, overlap in nearest]
                toy.match[side, *place] = (_float32([np.mean([match[2] for match in overlaps])])[0], shown)


def _fill_attention(toy: Toy, draw: np.random.Generator, all_alike: bool) -> None:
    for name, n_prompts in PROMPT_SETS.items():
        for prompt in range(n_prompts):
            for layer, head in toy.heads:
                shares = [0.5] * 8 if all_alike else _float32(draw.uniform(0.05, 0.95, 8))
                values = dict(zip(base.STATS, shares, strict=True)) | {"sink_logit_weight": None}
                toy.attention[name, prompt, layer, head] = {
                    "n_queries": 4 + 9 * prompt, "n_multi_queries": 3 + 9 * prompt, **values, "dtype": "float32",
                }  # fmt: skip


MODELS = [
    make("org/main", 1, (11, 3, 5, 23)),
    make("org/decoy", 2, (7, 2, 3, 13), inputs=(("up", 0),)),  # other shape, an MLP without a gate
    make("org/experts", 3, (5, 2, 3, 13), inputs=EXPERTS),
    make("org/one", 4, (1, 1, 2, 7)),  # one layer, one head
    make("org/zero", 5, (5, 3, 5, 17), zero_heads=((2, 1),)),
    make("org/alike", 6, (5, 3, 5, 17), all_alike=True),  # every head equal: correlations of constants
    make("org/silent", 7, (5, 3, 5, 17), attends=False),  # no attention rows
    # a hybrid: first, last and others not measured, and a layer with fewer heads
    make("org/hybrid", 8, (13, 3, 3, 19), unmeasured=(0, 3, 4, 8, 12), fewer_heads={5: 2}),
]
BY_ID = {toy.model_id: toy for toy in MODELS}
NULL_SHAPES = sorted({(toy.hidden_size, toy.head_dim) for toy in MODELS} - {(7, 2)})  # org/one has no null spectra


def null_sigma() -> dict[tuple[int, int, int], list[float]]:
    """(hidden_size, head_dim, sample) → values, as null_spectra holds them."""
    draw, found = np.random.default_rng(31), {}
    for hidden_size, head_dim in NULL_SHAPES:
        for sample in range(N_NULL):
            w_q, w_k = draw.standard_normal((2, head_dim, hidden_size))
            found[hidden_size, head_dim, sample] = _float32(np.linalg.svd(w_k.T @ w_q, compute_uv=False)[:head_dim])
    return found


def build(path: Path, folder: Path, toys: list[Toy] = MODELS) -> None:
    """Load the models into a warehouse at `path`; their staged files go below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(*at, k, value) for at, values in null_sigma().items() for k, value in enumerate(values)]
    names = ["hidden_size", "head_dim", "sample", "k", "sigma"]
    _frame(names, rows).write_parquet(folder / "null_spectra.parquet")
    loads = []
    for toy in toys:
        tables = {table: frame for table, frame in frames(toy).items() if len(frame)}
        load = base.stack(toy.model_id, base.staged(folder / toy.model_id.replace("/", "-"), **tables))
        sizes = {"n_layers": toy.n_layers, "n_heads": toy.n_heads, "n_kv_heads": toy.n_heads}
        sizes |= {"head_dim": toy.head_dim, "hidden_size": toy.hidden_size}
        sizes |= {"revision": "step7", "revision_order": 7} if toy.model_id in ("org/main", "org/silent") else {}
        loads.append(replace(load, model=load.model | sizes))
    store.load(path, loads, {"null_spectra": [folder / "null_spectra.parquet"]}, force=False)
    with store.writing(path) as con:  # a number and a word that differ from model to model
        numbered = "select model_key, row_number() over (order by model_id) as place from models"
        con.execute(f"insert into model_tags select model_key, 'mmlu', place * 7.5 from ({numbered})")
        con.execute(f"insert into model_tags select model_key, 'licence', 'mit ' || place from ({numbered})")


def frames(toy: Toy) -> dict[str, pl.DataFrame]:
    head, pair = ["layer", "head"], ["layer", "other_layer"]
    size, tied = SUBSPACE_SIZE, False
    layers = [
        (
            layer,
            toy.heads_of.get(layer),
            toy.heads_of.get(layer),
            toy.head_dim,
            "full",
            None,
            layer in toy.heads_of,
            None,
        )
        for layer in range(toy.n_layers)
    ]
    names = ["layer", "n_heads", "n_kv_heads", "head_dim", "attention_kind", "window_size", "is_measured"]
    names += ["position_dim"]
    norms = [("metric", *at, *found, found[0]) for at, found in toy.norms.items()]
    return {
        "layers": _frame(names, layers),
        "singular_values": _frame(["operator", *head, "k", "sigma"], _ranked(toy.sigma)),
        "eigenvalues": _frame(
            ["operator", *head, "k", "eigenvalue"], [("metric", *row) for row in _ranked(toy.eigenvalue)]
        ),
        "eigenvectors": _frame([*head, "k", "vector"], [(*at, vector) for at, vector in toy.eigenvector.items()]),
        "head_norms": _frame(
            ["operator", *head, "metric_fro_sq", "trace", "w_q_fro_sq", "w_k_fro_sq", "head_product_fro_sq"], norms
        ),
        "grams": _frame(
            ["operator", "head", *pair, "gram"], [("metric", *at, gram) for at, gram in toy.gram.items()]
        ),
        "spectral_grams": _frame(
            ["operator", "head", *pair, "gram"], [(*at, gram) for at, gram in toy.spectral_gram.items()]
        ),
        "side_overlaps": _frame(
            ["head", "side", *pair, "subspace_size", "overlap", "is_degenerate"],
            [(*at, size, overlap, tied) for at, overlap in toy.overlap.items()],
        ),
        "head_matches": _frame(
            ["side", *head, "rank", "other_layer", "other_head", "subspace_size", "overlap", "mean_overlap",
             "is_degenerate"],
            [
                (*at, rank, layer, other, size, overlap, mean, tied)
                for at, (mean, nearest) in toy.match.items()
                for rank, (layer, other, overlap) in enumerate(nearest)
            ],
        ),
        "principal_cosines": _frame(
            ["basis", "head", *pair, "k", "cosine", "is_degenerate"],
            [("eigen", *row, tied) for row in _ranked(toy.cosine)],
        ),
        "eigenvector_overlaps": _frame(
            ["head", *pair, "top1_overlap", "is_degenerate"],
            [(*at, overlap, tied) for at, overlap in toy.top1_overlap.items()],
        ),
        "ffn_alignments": _frame(
            [*head, "side", "weight", "expert", "subspace_size", "energy_fraction", "other_layers_mean",
             "is_degenerate"],
            [(*at, size, *shares, tied) for at, shares in toy.alignment.items()],
        ),
        "weights": _frame(
            ["layer", "weight", "expert", "n_rows", "n_cols"],
            [(*at, toy.hidden_size + 4, toy.hidden_size) for at in toy.weight_sigma],
        ),
        "weight_singular_values": _frame(["layer", "weight", "expert", "k", "sigma"], _ranked(toy.weight_sigma)),
        "attention_stats": _frame(
            ["prompt_set", "prompt", *head, "n_queries", "n_multi_queries", *base.STATS, "dtype"],
            [(*at, *row.values()) for at, row in toy.attention.items()],
        ),
    }  # fmt: skip


def _ranked(values: dict) -> list[tuple]:
    return [(*at, k, value) for at, ranked in values.items() for k, value in enumerate(ranked)]


def _frame(names: list[str], rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
