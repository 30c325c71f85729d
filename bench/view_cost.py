"""Seconds that every view takes for one model, alone in a warehouse and among many, in one run.

A random model of 36 layers, 32 heads of 128, hidden size 2560, and copies of it. A view with anchors is asked for one.
Best of three, all columns fetched; the last column is the time among the copies over the time alone.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from eigenhouse.ingest.stages.frames import long_frame, null_frame
from eigenhouse.ingest.warehouse import rollups, sqlfiles, store

N_LAYERS, N_HEADS, HEAD_DIM, HIDDEN, FFN = 36, 32, 128, 2560, 9728
SUBSPACE_SIZE, N_EIGEN, N_PROMPTS = 20, 16, 32
OPERATORS, SIDES = ("head_product", "metric"), ("key", "query")
WEIGHTS = {"q": 2560, "k": 1024, "v": 1024, "o": 2560, "gate": 2560, "up": 2560, "down": 2560}
MODEL = "bench/copy0"
ONE_ANCHOR = {"anchor": "'last'", "anchor_layer": N_LAYERS // 2, "bottleneck_layer": N_LAYERS // 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=50, help="copies beside which the model is asked for")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = {n: measured(Path(folder), n) for n in (1, arguments.models)}
    print(f"{'view':<32}{'alone':>9}{f'of {arguments.models}':>9}{'ratio':>7}")
    for view, alone in seconds[1].items():
        among = seconds[arguments.models][view]
        print(f"{view:<32}{alone:>8.3f}s{among:>8.3f}s{among / alone:>7.2f}")


def measured(folder: Path, n_models: int) -> dict[str, float]:
    """View → seconds for one model of n."""
    path = folder / f"{n_models}.duckdb"
    with store.connect(path, read_only=False) as con:
        fill(con, n_models)
    with store.connect(path, read_only=True) as con:
        con.execute("set threads = 2")
        return {path.stem: min(timed(con, path.stem) for _ in range(3)) for path in sqlfiles.files("views")}


def timed(con: duckdb.DuckDBPyConnection, view: str) -> float:
    columns = [row[0] for row in con.execute(f"describe {view}").fetchall()]
    anchored = [f" and {name} = {value}" for name, value in ONE_ANCHOR.items() if name in columns][:1]
    started = time.perf_counter()
    con.execute(f"from {view} where model_id = '{MODEL}'{''.join(anchored)}").to_arrow_table()
    return time.perf_counter() - started


def fill(con: duckdb.DuckDBPyConnection, n_models: int) -> None:
    """The same random rows for every model, sorted by model_key as the loader leaves them."""
    con.register("null_rows", null_frame([(HIDDEN, HEAD_DIM)]).to_arrow())
    con.execute("insert into null_spectra by name from null_rows")
    for table, frame in random_rows(np.random.default_rng(0)).items():
        con.register("one_model", frame.to_arrow())
        for copy in range(n_models):
            own = f"'bench/copy{copy}' as model_id, " if table == "models" else ""
            con.execute(f"insert into {table} by name select {own}{copy + 1} as model_key, * from one_model")
    rollups.fill(con, range(1, n_models + 1), set(sqlfiles.tables()))
    con.execute("checkpoint")


def random_rows(draw: np.random.Generator) -> dict[str, pl.DataFrame]:
    """One model's rows of every table that a view reads, without its key; as plausible as a clock needs."""
    heads = (N_LAYERS, N_HEADS)
    spectra, attention = spectrum_rows(draw, heads), attention_rows(draw, heads)
    pairs = pair_rows(draw)
    return model_rows() | spectra | pairs | head_rows(draw, heads) | weight_rows(draw) | attention


def model_rows() -> dict[str, pl.DataFrame]:
    model = {
        "name": "bench", "checkpoint": "bench", "n_layers": N_LAYERS, "n_heads": N_HEADS, "n_kv_heads": N_HEADS,
        "head_dim": HEAD_DIM, "hidden_size": HIDDEN, "ffn_size": FFN,
    }  # fmt: skip
    layers = pl.DataFrame({"layer": range(N_LAYERS)}).with_columns(
        n_heads=N_HEADS, n_kv_heads=N_HEADS, head_dim=HEAD_DIM, attention_kind=pl.lit("full"), is_measured=True
    )
    return {"models": pl.DataFrame([model]), "layers": layers}


def spectrum_rows(draw: np.random.Generator, heads: tuple[int, int]) -> dict[str, pl.DataFrame]:
    sigma = np.sort(draw.lognormal(size=(*heads, HEAD_DIM)))[..., ::-1].astype(np.float32)
    signs = draw.choice([-1.0, 1.0], size=(*heads, 2 * HEAD_DIM))
    signed = (np.sort(draw.lognormal(size=(*heads, 2 * HEAD_DIM)))[..., ::-1] * signs).astype(np.float32)
    norms = {name: draw.random(heads) + 1 for name in ("metric_fro_sq", "trace", "w_q_fro_sq", "w_k_fro_sq")}
    return {
        "singular_values": pl.concat(
            long_frame({"operator": operator}, ("layer", "head", "k"), sigma=sigma) for operator in OPERATORS
        ),
        "eigenvalues": long_frame({"operator": "metric"}, ("layer", "head", "k"), eigenvalue=signed),
        "head_norms": long_frame({"operator": "metric"}, ("layer", "head"), **norms),
    }


def pair_rows(draw: np.random.Generator) -> dict[str, pl.DataFrame]:
    """The tables of pairs of layers."""
    pairs = list(itertools.combinations_with_replacement(range(N_LAYERS), 2))
    off = [pair for pair in pairs if pair[0] != pair[1]]
    numbers = range(N_HEADS)
    side_keys = [{"head": head, "side": side, "subspace_size": SUBSPACE_SIZE} for head in numbers for side in SIDES]
    return {
        "grams": pl.concat(paired(draw, {"operator": "metric", "head": head}, pairs, "gram") for head in numbers),
        "spectral_grams": pl.concat(
            paired(draw, {"operator": operator, "head": head}, pairs, "gram")
            for operator in OPERATORS
            for head in numbers
        ),
        "side_overlaps": pl.concat(paired(draw, keys, off, "overlap") for keys in side_keys),
        "principal_cosines": pl.concat(
            paired(draw, {"head": head, "basis": "eigen"}, off, "cosine", n_ranks=N_EIGEN) for head in numbers
        ),
        "eigenvector_overlaps": pl.concat(paired(draw, {"head": head}, off, "top1_overlap") for head in numbers),
    }


def head_rows(draw: np.random.Generator, heads: tuple[int, int]) -> dict[str, pl.DataFrame]:
    """The tables of heads by side: their nearest heads and their alignment with the MLP."""
    others = (("other_layer", N_LAYERS), ("other_head", N_HEADS))
    matches = [
        long_frame(
            {"side": side, "subspace_size": SUBSPACE_SIZE},
            ("layer", "head", "rank"),
            **{name: draw.integers(n, size=(*heads, 5)) for name, n in others},
            **{name: draw.random((*heads, 5)) for name in ("overlap", "mean_overlap")},
            is_degenerate=np.zeros((*heads, 5), bool),
        )
        for side in SIDES
    ]
    alignments = [
        long_frame(
            {"side": side, "weight": weight, "expert": 0, "subspace_size": SUBSPACE_SIZE},
            ("layer", "head"),
            **{name: draw.random(heads) for name in ("energy_fraction", "other_layers_mean")},
            is_degenerate=np.zeros(heads, bool),
        )
        for side in SIDES
        for weight in ("gate", "up")
    ]
    sorted_alignments = pl.concat(alignments).sort("layer", "head", "side", "weight")
    return {"head_matches": pl.concat(matches), "ffn_alignments": sorted_alignments}


def weight_rows(draw: np.random.Generator) -> dict[str, pl.DataFrame]:
    shapes = [(layer, name, 0, n, HIDDEN) for layer in range(N_LAYERS) for name, n in sorted(WEIGHTS.items())]
    return {
        "weights": pl.DataFrame(shapes, schema=["layer", "weight", "expert", "n_rows", "n_cols"], orient="row"),
        "weight_singular_values": pl.concat(
            long_frame({"layer": layer, "weight": name, "expert": 0}, ("k",), sigma=np.sort(draw.random(n))[::-1])
            for layer, name, _, n, _ in shapes
        ),
    }


def attention_rows(draw: np.random.Generator, heads: tuple[int, int]) -> dict[str, pl.DataFrame]:
    shape = (N_PROMPTS, *heads)
    stats = ["entropy_nats", "entropy_fraction", "logit_std", "logit_std_pooled", "top1_weight", "sink_weight"]
    values = {name: draw.random(shape, np.float32) for name in [*stats, "entropy_without_sink_nats"]}
    counts = dict.fromkeys(("n_queries", "n_multi_queries"), np.full(shape, 100))
    keys = {"prompt_set": "standard@00000000", "dtype": "float32"}
    return {"attention_stats": long_frame(keys, ("prompt", "layer", "head"), **counts, **values)}


def paired(
    draw: np.random.Generator, keys: dict[str, object], pairs: list[tuple[int, int]], value: str, n_ranks: int = 0
) -> pl.DataFrame:
    """A random value a pair of layers, or a falling list of them."""
    frame = pl.DataFrame(pairs, schema=["layer", "other_layer"], orient="row")
    values = draw.random((len(pairs), n_ranks or 1))
    values += [[99.0 if value == "gram" and layer == other else 0.0] for layer, other in pairs]
    if n_ranks:
        ranks = pl.Series("k", np.tile(np.arange(n_ranks), len(pairs)))
        frame = frame[np.repeat(np.arange(len(pairs)), n_ranks)].with_columns(ranks)
        values = np.sort(values)[:, ::-1]
    constants = [pl.lit(constant).alias(name) for name, constant in keys.items()]
    tied = [] if value == "gram" else [pl.lit(False).alias("is_degenerate")]
    return frame.with_columns(pl.Series(value, values.reshape(-1)), *constants, *tied)


if __name__ == "__main__":
    main()
