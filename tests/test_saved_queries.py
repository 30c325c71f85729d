"""The saved queries against plain loops over the staged values, and the promises of their headers."""

import json
import math
import statistics

import duckdb
import polars as pl
import pytest
import warehouse_fixture as fixture
from conftest import HEADS, SEEDS, conformance
from macro_fixture import make_macros

from eigenhouse import __main__ as command_line
from eigenhouse.analyses.answers import saved

SAVED = [query.name for query in saved.every() if query.name != "models_against_tag"]  # whose rows are of no model
REL = 1e-12  # double arithmetic on the same float32 values


@pytest.mark.parametrize("name", SAVED)
def test_saved_query_keeps_its_promises(name, rows):
    query = saved.find(name)
    [statement] = duckdb.connect().extract_statements(query.sql)
    assert statement.named_parameters - {saved.STAGES} == set(query.parameters)
    assert query.title
    assert query.reading.endswith(".")
    limit = ["--k", "1000"] if "k" in query.parameters else []
    every = rows("--q", name, *limit)
    assert {row["model_id"] for row in every} >= set(SEEDS)
    if "model" in query.parameters:
        one = rows("--q", name, "--model", "org/two", *limit)
        own = [row for row in every if row["model_id"] == "org/two"]
        assert one == [rounded(row) for row in own] != []
        several = rows("--q", name, "--model", "org/two,org/one", *limit)
        assert several == [rounded(row) for row in every if row["model_id"] in ("org/one", "org/two")]


def rounded(row):
    """The row up to the rounding of sums, which run in another order among other models."""
    is_float = {name: isinstance(value, float) for name, value in row.items()}
    return {name: pytest.approx(value, rel=REL, abs=REL) if is_float[name] else value for name, value in row.items()}


def test_queries_lists_them_all(capfdbinary):
    with pytest.raises(SystemExit) as ending:
        command_line.app(["queries"])
    assert not ending.value.code
    listing = capfdbinary.readouterr().out.decode()
    for query in saved.every():
        assert f"Q={query.name}" in listing
        assert query.title in listing
    assert "Q=conformance_worst MODEL=… K=10\n" in listing


def test_models(run):
    status, out, _ = run("models", "--format", "json")
    assert status == 0
    found = json.loads(out)
    assert [model["model_id"] for model in found] == ["org/one", "org/static", "org/two"]
    worst = [model["worst_conformance_error"] for model in found]
    assert worst == [pytest.approx(1e-6), None, pytest.approx(2e-6)]
    assert [model["ingested_at"] for model in found] == ["2025-03-05T07:11:00"] * 3
    assert [found[0][name] for name in ("n_layers", "n_heads", "head_dim", "hidden_size")] == [3, 5, 7, 11]


WITNESS = ("witness", "witness_max_rel_error")


def test_conformance_worst(rows):
    """The errors of both models together, in plain Python, largest first."""
    errors = [
        {"model_id": model_id, **row}
        for model_id, seed in SEEDS.items()
        for row in conformance(1e-6 * (seed + 1)).rows(named=True)
    ]
    errors.sort(key=lambda row: (-row["max_rel_error"], row["model_id"], row["layer"], row["head"]))
    assert rows("--q", "conformance_worst", "--k", "13") == [
        row | {"max_rel_error": pytest.approx(row["max_rel_error"], rel=1e-7)} | dict.fromkeys(WITNESS)
        for row in errors[:13]
    ]
    assert len(rows("--q", "conformance_worst")) == 10


def effective_rank(sigmas):
    total = math.fsum(sigmas)
    return math.exp(-math.fsum(s / total * math.log(s / total) for s in sigmas if s > 0)) if total else None


def test_effective_rank_by_layer(rows):
    for row in rows("--q", "effective_rank_by_layer", "--model", "org/two"):
        heads = [
            effective_rank(fixture.spectrum(1, row["operator"], row["layer"], head)) for head in range(fixture.N_HEADS)
        ]
        ranks = [rank for rank in heads if rank is not None]
        assert row["n_heads"] == len(ranks) == (4 if row["layer"] == fixture.ZERO_HEAD[0] else 5)
        assert row["median_effective_rank"] == pytest.approx(statistics.median(ranks), rel=REL)
        assert row["lowest_effective_rank"] == pytest.approx(min(ranks), rel=REL)
        assert row["highest_effective_rank"] == pytest.approx(max(ranks), rel=REL)


def test_training(rows):
    """Each revision of the two that have one, at the step that it tells; a model without stands without a step."""
    found = {(row["model_id"], row["quantity"]): row for row in rows("--q", "training")}
    for model_id, seed, step in (("org/one", 0, 1), ("org/two", 1, 2), ("org/static", 2, None)):
        ranks = [effective_rank(fixture.spectrum(seed, "metric", layer, head)) for layer, head in HEADS]
        row = found[model_id, "median effective rank"]
        assert row["value"] == pytest.approx(statistics.median(rank for rank in ranks if rank is not None), rel=REL)
        assert (row["revision"], row["revision_order"]) == (step and f"step{step}", step)
        means = [row for model, quantity in found if model == model_id and quantity.startswith("mean")]
        assert len(means) == (1 if step is None else 4)


def entropies(seed, prompt_set):
    """Each head's mean entropy over the set's prompts, weighted by their queries."""
    own_set = (pl.col("prompt_set") == prompt_set) & pl.col("entropy_nats").is_not_null()
    prompts = fixture.attention_stats(seed).filter(own_set).rows(named=True)
    means = {}
    for layer, head in HEADS:
        own = [prompt for prompt in prompts if (prompt["layer"], prompt["head"]) == (layer, head)]
        weighted = math.fsum(prompt["entropy_nats"] * prompt["n_queries"] for prompt in own)
        means[layer, head] = weighted / sum(prompt["n_queries"] for prompt in own)
    return means


def test_entropy_by_layer(rows):
    found = rows("--q", "entropy_by_layer", "--model", "org/one")
    assert len(found) == len(fixture.PROMPT_SETS) * fixture.N_LAYERS
    for row in found:
        heads = entropies(0, row["prompt_set"])
        mean = statistics.mean(value for (layer, _), value in heads.items() if layer == row["layer"])
        assert row["mean_entropy_nats"] == pytest.approx(mean, rel=REL)
        assert row["n_heads"] == fixture.N_HEADS


def test_entropy_against_effective_rank(rows):
    found = rows("--q", "entropy_against_effective_rank")
    assert len(found) == 2 * len(SEEDS) * len(fixture.PROMPT_SETS) + 2
    for row in found:
        if row["model_id"] == "org/static":
            assert (row["prompt_set"], row["pearson_r"], row["n_heads"]) == (None, None, 0)
            continue
        seed = SEEDS[row["model_id"]]
        ranks = {place: effective_rank(fixture.spectrum(seed, row["operator"], *place)) for place in HEADS}
        means = entropies(seed, row["prompt_set"])
        pairs = [(means[place], rank) for place, rank in ranks.items() if rank is not None]
        assert row["n_heads"] == len(pairs) == 14
        assert row["pearson_r"] == pytest.approx(statistics.correlation(*zip(*pairs, strict=True)), rel=1e-9)


def test_a_constant_has_no_correlation():
    """DuckDB's corr says NaN; JSON would hide that, so plain SQL asks."""
    con = duckdb.connect()
    heads = "select 'm' as model_id, 0 as layer, range as head"
    for view, columns in {
        "head_descriptors": "'metric' as operator, 2.0 as effective_rank",
        "head_attention": "'s' as prompt_set, range::double as entropy_nats",
    }.items():
        con.execute(f"create view {view} as {heads}, {columns} from range(3)")
    make_macros(con)
    con.execute(saved.find("entropy_against_effective_rank").sql, {"model": None})
    assert con.fetchall() == [("m", "metric", "s", None, 3)]


def test_metric_against_head_product(rows):
    for row in rows("--q", "metric_against_head_product", "--model", "org/one"):
        differences, ratios = [], []
        for head in range(fixture.N_HEADS):
            metric, product = (
                fixture.spectrum(0, operator, row["layer"], head) for operator in ("metric", "head_product")
            )
            shares = [abs(p - m) / m for m, p in zip(metric, product, strict=True) if m > 0]
            differences += shares
            ratios += [product[0] / metric[0]] if metric[0] else []
        assert row["median_relative_difference"] == pytest.approx(statistics.median(differences), rel=REL)
        assert row["median_ratio_of_largest"] == pytest.approx(statistics.median(ratios), rel=REL)
