"""Measured quantities of models against what is said of them: the view, the routine, and the query that joins both."""

import json
import math
import statistics

import duckdb
import experiment_fixture
import numpy as np
import polars as pl
import pytest
import warehouse_fixture as fixture
from test_routines import correlation, mid_ranks

from eigenhouse import __main__ as command_line
from eigenhouse.analyses.routines.group_bootstrap import N_RESAMPLES, SEED
from eigenhouse.analyses.routines.models_against_tag import models_against_tag
from eigenhouse.ingest.warehouse import selection, store, tags

ENDS = ("r", "low", "high")


def said(numbers, values, families, tag="mmlu", quantity="overlap"):
    """The rows that the routine reads: model m00, m01, … of these families."""
    names = [f"m{place:02}" for place in range(len(numbers))]
    columns = {"tag": tag, "model_id": names, "quantity": quantity, "family": families}
    kinds = {"number": pl.Float64, "value": pl.Float64}
    return pl.DataFrame(columns | {"number": numbers, "value": values}, schema_overrides=kinds, strict=False)


# --- the routine ---


def interval(drawn):
    ordered = sorted(r for r in drawn if r is not None)
    places = [share * (len(ordered) - 1) for share in (0.025, 0.975)]
    ends = [(ordered[math.floor(at)], ordered[math.ceil(at)], at % 1) for at in places]
    return [below + part * (above - below) for below, above, part in ends]


def test_against_loops():
    """Each resample written out: the models of every drawn family copied into one list, ranked and correlated anew."""
    draw = np.random.default_rng(1)
    families = ["a"] * 5 + ["b"] * 2 + ["c"] + ["d"] * 4 + ["e"]
    x = draw.integers(0, 5, size=13).astype(float).tolist()  # with ties
    y = [None if place == 4 else value for place, value in enumerate(draw.normal(size=13).tolist())]
    frame = said(x, y, families)
    [row] = models_against_tag(frame).to_dicts()
    models = [model for model in zip(x, y, families, strict=True) if model[1] is not None]
    assert (row["n"], row["n_families"], row["reason"]) == (12, 5, None)
    pearsons, spearmans = [], []
    for counts in np.random.default_rng(SEED).multinomial(5, [1 / 5] * 5, size=N_RESAMPLES):
        times = dict(zip("abcde", counts, strict=True))
        drawn = list(zip(*[model[:2] for model in models for _ in range(times[model[2]])], strict=True))
        pearsons.append(correlation(*drawn))
        spearmans.append(correlation(*map(mid_ranks, drawn)))
    whole = list(zip(*models, strict=True))[:2]
    wanted = [correlation(*whole), *interval(pearsons), correlation(*map(mid_ranks, whole)), *interval(spearmans)]
    found = [row[f"{kind}_{end}"] for kind in ("pearson", "spearman") for end in ENDS]
    assert found == pytest.approx(wanted, rel=1e-9)
    assert models_against_tag(frame.sample(fraction=1, shuffle=True, seed=3)).to_dicts() == [row]


def test_models_of_one_family_count_as_one():
    """Forty copies of each of four models, in their families, leave the interval of the four; each its own doesn't."""
    x, y = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]
    four = models_against_tag(said(x, y, list("abcd"))).row(0, named=True)
    copies = models_against_tag(said(x * 40, y * 40, list("abcd") * 40)).row(0, named=True)
    alone = models_against_tag(said(x * 40, y * 40, [f"f{place:03}" for place in range(160)])).row(0, named=True)
    names = [f"{kind}_{end}" for kind in ("pearson", "spearman") for end in ENDS]
    assert [copies[name] for name in names] == pytest.approx([four[name] for name in names], rel=1e-9)
    assert four["pearson_r"] == pytest.approx(0.8)  # by hand: 4 / 5
    assert (copies["n"], copies["n_families"]) == (160, 4)
    assert alone["pearson_high"] - alone["pearson_low"] < 0.3 * (four["pearson_high"] - four["pearson_low"])


def test_what_says_nothing_says_why():
    frames = [
        said([1.0, 2, 3, 4], [1.0, 2, 4, 3], ["a", "a", "b", "b"], quantity="two families"),
        said([1.0, 2, 3], [1.0, 2, None], list("abc"), quantity="two known"),
        said([7.0, 7, 7], [1.0, 2, 3], list("abc"), quantity="one score"),
        said([1.0, 2, 3], [0.1, 0.1, 0.1], list("abc"), quantity="one value"),
        said([1.0, 2, 3], [math.nan] * 3, list("abc"), quantity="none"),
        said([1.0, 2, 3], [9.0, 5, 1], list("abc"), quantity="all"),
    ]
    found = models_against_tag(pl.concat(frames))
    assert found["quantity"].to_list() == ["all", "none", "one score", "one value", "two families", "two known"]
    reasons = dict(zip(found["quantity"], found["reason"], strict=True))
    too_few = "{} of the 3 families that an interval needs"
    assert reasons == {
        "all": None, "none": too_few.format(0), "one score": "the tag is the same for all",
        "one value": "the quantity is the same for all", "two families": too_few.format(2),
        "two known": too_few.format(2),
    }  # fmt: skip
    known = found.filter(pl.col("reason").is_null())
    assert known.select("pearson_r", "spearman_r").row(0) == pytest.approx((-1, -1))
    assert found.drop_nulls("reason").select("^(pearson|spearman)_.*$").null_count().row(0) == (5,) * 6


def test_no_rows_give_no_rows_with_the_same_columns():
    some = said([1.0], [1.0], ["a"])
    assert models_against_tag(some.clear()).schema == models_against_tag(some).schema
    assert models_against_tag(some.clear()).height == 0


# --- the view ---


def test_quantities_against_loops(experiments):
    """Means and shares over the heads of org/main, of which one is zero and stays out."""
    toy = experiment_fixture.BY_ID["org/main"]
    found = dict(
        experiments.execute("select quantity, value from model_quantities where model_id = 'org/main'").fetchall()
    )
    ranks = []
    for values in (toy.sigma["metric", *place] for place in toy.heads):
        total = math.fsum(values)
        if total:
            ranks.append(math.exp(-math.fsum(s / total * math.log(s / total) for s in values if s > 0)))
    assert found["mean_effective_rank"] == pytest.approx(statistics.mean(ranks), rel=1e-6)
    assert found["mean_rank_fraction"] == pytest.approx(statistics.mean(ranks) / toy.head_dim, rel=1e-6)
    low = [rank < toy.head_dim / 2 for rank in ranks]
    assert found["low_rank_share"] == pytest.approx(sum(low) / len(low))
    sinks = experiments.execute(
        "select prompt_set, sink_weight from head_attention where model_id = 'org/main'"
    ).fetchall()
    sizes = {name: sum(each == name for each, _ in sinks) for name, _ in sinks}
    largest = min(sizes, key=lambda name: (-sizes[name], name))
    weights = [weight for name, weight in sinks if name == largest and weight is not None]
    assert found["mean_sink_weight"] == pytest.approx(statistics.mean(weights), rel=1e-9)
    assert found["sink_share"] == pytest.approx(sum(weight > 0.5 for weight in weights) / len(weights))


# --- the query ---


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Six models of four families, tagged with twice their mean effective rank and with words."""
    folder = tmp_path_factory.mktemp("against")
    names = ["org/alpha-1b", "org/alpha-2b", "org/beta-1b", "org/gamma-1b", "org/gamma-2b", "org/delta"]
    loads = [
        fixture.stack(name, fixture.staged(folder / str(seed), singular_values=fixture.singular_values(seed)))
        for seed, name in enumerate(names)
    ]
    path = folder / "warehouse.duckdb"
    store.load(path, loads, {}, force=False)
    with store.writing(path) as con:
        ranks = con.execute(
            "select model_id, value from model_quantities where quantity = 'mean_effective_rank'"
        ).fetchall()
        keys = {name: key for key, name in selection.every(con).items()}
        sure = {keys[name]: {"twice": str(2 * rank), "word": "x", "lineage": name[4]} for name, rank in ranks}
        tags.write(con, path, sure | {keys["org/delta"]: {"word": "y"}})
    return path


@pytest.fixture
def asked(house, capfdbinary):
    def asked(*arguments):
        with pytest.raises(SystemExit) as ending:
            command_line.app(
                ["query", "--q", "models_against_tag", *arguments, "--format", "json", "--warehouse", str(house)]
            )
        out, err = capfdbinary.readouterr()
        return json.loads(out) if not ending.value.code else err.decode()

    return asked


def test_a_tag_of_a_quantity_itself_goes_with_it(asked):
    """r = 1 over the five that have the tag, in three families; words are no numbers."""
    found = asked()
    assert {row["tag"] for row in found} == {"twice"} and found == asked("--tag", "twice")
    assert [row["tag"] for row in asked("--tag", "word")] == []
    first = found[0]
    assert (first["quantity"], first["n"], first["n_families"]) == ("mean_effective_rank", 5, 3)
    assert [first[f"{kind}_{end}"] for kind in ("pearson", "spearman") for end in ENDS] == pytest.approx([1] * 6)
    sizes = [abs(row["pearson_r"]) for row in found if row["pearson_r"] is not None]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) > 8


def test_what_groups_models_can_be_chosen(asked):
    """Each model by itself, all alike, or as a tag has it."""
    n_families = {by: asked("--by", by)[0]["n_families"] for by in ("name", "architecture", "tag:lineage")}
    assert n_families == {"name": 5, "architecture": 1, "tag:lineage": 3}
    assert asked("--by", "architecture")[0]["reason"] == "1 of the 3 families that an interval needs"


def test_a_name_that_there_is_not_is_refused(asked):
    assert "no tag twise; there are lineage, twice, word" in asked("--tag", "twise")
    assert "no model has famly; BY is one of architecture, bytes" in asked("--by", "famly")


def test_the_same_seed_gives_the_same_numbers(house):
    with duckdb.connect(str(house), read_only=True) as con:
        rows = con.execute("select 't' as tag, *, 1.0 as number, model_id as family from model_quantities").pl()
    rows = rows.with_columns(number=pl.col("model_id").rank("dense").cast(pl.Float64))
    assert models_against_tag(rows).equals(models_against_tag(rows))
