"""The polars routines against other ways to the same numbers, and the saved queries that name one."""

import math
import random
import statistics
from bisect import bisect_left, bisect_right

import duckdb
import numpy as np
import polars as pl
import pytest
from test_prediction_views import DESCRIPTORS

from eigenhouse.analyses.answers import asking, saved
from eigenhouse.analyses.charts import charts
from eigenhouse.analyses.routines.eigenvector_angles import eigenvector_angles
from eigenhouse.analyses.routines.entropy_predictors import N_PERMUTATIONS, entropy_predictors
from eigenhouse.analyses.routines.entropy_regression import DESCRIPTORS as FOUR
from eigenhouse.analyses.routines.entropy_regression import entropy_regression
from eigenhouse.analyses.routines.group_bootstrap import N_RESAMPLES, SEED
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles

KEY = {"model_id": "m", "operator": "metric", "prompt_set": "s"}


# --- what names a routine ---


@pytest.mark.parametrize("name", ["no_such_routine", "charts", "../analyses/charts", "tables"])
def test_an_unknown_routine_is_told(name):
    wanted = f"no routine {name}: wanted a function {name} in"
    with duckdb.connect() as con, pytest.raises(EigenhouseError, match=wanted):
        asking.ask(con, f'--| routine = "{name}"\nselect 1 as a', {})


def test_a_routine_stands_between_the_first_statement_and_the_rest(monkeypatch):
    """The relation `answer` is what the routine gave; charts draw it; parameters reach both statements."""

    def doubled(frame):
        return frame.with_columns(pl.col("b") * 2, c=pl.lit("done"))

    monkeypatch.setattr(asking, "_routine", {"doubled": doubled}.get)
    header = '--| routine = "doubled"\n'
    sql = f"{header}select 'm' as model_id, 1 as a, 2.5::double as b where $model is null"
    chart = {"mark": "point", "x": "a", "y": "b"}
    query = saved.SavedQuery("mine", sql, "Mine", "A row.", {"model": None}, chart)
    with duckdb.connect() as con:
        asking.ask(con, sql, {"model": None})
        assert con.fetchall() == [("m", 1, 5.0, "done")]
        asking.ask(
            con, f"{header}select 3.5::double as b where $k = 7; select b + $k as d from answer", {"k": 7}, acts=True
        )
        assert con.fetchall() == [(14.0,)]
        assert charts.draw(con, query, {})["datasets"]["rows"] == [{"model_id": "m", "a": 1, "b": 5.0, "c": "done"}]
        with pytest.raises(EigenhouseError, match="nothing to draw for MODEL=x; there are rows for MODEL=m"):
            charts.draw(con, query, {"model": "x"})


def test_every_routine_is_named_by_a_query():
    named = {sqlfiles.header_of(query.sql).get("routine") for query in saved.every()}
    assert named == {None, "entropy_regression", "entropy_predictors", "eigenvector_angles", "models_against_tag"}


@pytest.mark.parametrize("fmt", ["csv", "json", "parquet", "npy", "table"])
def test_every_format_takes_a_routine_s_answer(run, fmt):
    status, out, err = run("query", "--q", "entropy_regression", "--format", fmt)
    assert (status, err) == (0, "")
    assert b"design_condition" in out


@pytest.mark.parametrize("routine", [entropy_regression, entropy_predictors, eigenvector_angles])
def test_no_rows_give_no_rows_with_the_same_columns(routine):
    of = {"layer": pl.Int16, "head": pl.Int16, "k": pl.Int32, "vector": pl.List(pl.Float32), "anchor_layer": pl.Int16}
    names = [*KEY, "target", "outcome", "entropy_nats", *DESCRIPTORS]
    empty = pl.DataFrame(schema=of | {name: pl.String if name in (*KEY, "target") else pl.Float64 for name in names})
    found = routine(empty)
    assert len(found) == 0
    assert "model_id" in found.columns and found.schema[found.columns[-1]] == pl.Float64


# --- entropy_regression ---


def heads_of(values, names=("entropy_nats", *FOUR), **key):
    return pl.DataFrame(dict(zip(names, zip(*values, strict=True), strict=True))).select(
        *(pl.lit(value).alias(name) for name, value in (KEY | key).items()), *names
    )


def residual_share(values):
    """1 - R², by Gram and Schmidt: entropy less what lies along each descriptor in turn."""
    centred = [[value - statistics.fmean(column) for value in column] for column in zip(*values, strict=True)]
    entropy, *columns = centred
    basis = []
    left = entropy
    for column in columns:
        for other in basis:
            along = math.fsum(a * b for a, b in zip(column, other, strict=True))
            column = [a - along * b for a, b in zip(column, other, strict=True)]
        size = math.sqrt(math.fsum(a * a for a in column))
        basis.append([a / size for a in column])
        along = math.fsum(a * b for a, b in zip(left, basis[-1], strict=True))
        left = [a - along * b for a, b in zip(left, basis[-1], strict=True)]
    return math.fsum(a * a for a in left) / math.fsum(a * a for a in entropy)


def test_regression_against_the_normal_equations():
    """Coefficients are R_xx⁻¹ r_xy, by Cramer's rule over correlations; R² by Gram-Schmidt, in another order."""
    draw = np.random.default_rng(5)
    values = draw.normal(size=(23, 5)) @ draw.normal(size=(5, 5)) * [1, 30, 1, 0.01, 7] + [3, 100, 2, 0, -5]
    [row] = entropy_regression(heads_of(values.tolist())).to_dicts()
    columns = values.T.tolist()
    r = np.array([[statistics.correlation(a, b) for a in columns] for b in columns])
    for place, name in enumerate(FOUR):
        replaced = r[1:, 1:].copy()
        replaced[:, place] = r[1:, 0]
        wanted = np.linalg.det(replaced) / np.linalg.det(r[1:, 1:])
        assert row[f"{name}_coefficient"] == pytest.approx(wanted, rel=1e-9)
    assert row["n"] == 23
    assert row["r_squared"] == pytest.approx(1 - residual_share(values.tolist()), rel=1e-9)
    sizes = np.linalg.eigvalsh(r[1:, 1:])
    assert row["design_condition"] == pytest.approx(math.sqrt(sizes[-1] / sizes[0]), rel=1e-9)


def test_regression_of_a_perfect_predictor():
    """Entropy is twice the second descriptor: R² 1, one coefficient 1 and three 0."""
    draw = np.random.default_rng(6)
    table = draw.normal(size=(11, 4))
    [row] = entropy_regression(heads_of(np.column_stack([2 * table[:, 1] + 1, table]).tolist())).to_dicts()
    assert row["r_squared"] == pytest.approx(1, abs=1e-12)
    assert [row[f"{name}_coefficient"] for name in FOUR] == pytest.approx([0, 1, 0, 0], abs=1e-12)


def test_chance_is_what_noise_gives():
    """Mean R² over 400 models of pure noise is 4 / (n - 1), to three standard errors."""
    draw = np.random.default_rng(7)
    frame = pl.concat([heads_of(draw.normal(size=(13, 5)).tolist(), model_id=f"m{i}") for i in range(400)])
    found = entropy_regression(frame)
    shares = found["r_squared"].to_list()
    assert found["chance_r_squared"].unique().to_list() == [pytest.approx(4 / 12)]
    assert statistics.fmean(shares) == pytest.approx(4 / 12, abs=3 * statistics.stdev(shares) / 20)


def test_regression_that_is_not_determined():
    """Five heads, a constant descriptor, one that is the sum of two others, constant entropy: nulls and the count."""
    draw = np.random.default_rng(8)
    sound = draw.normal(size=(9, 5))
    summed, constant, flat = sound.copy(), sound.copy(), sound.copy()
    summed[:, 4] = 3 * summed[:, 1] - summed[:, 2]
    constant[:, 3] = 0.1
    flat[:, 0] = 1 / 3
    cases = {"summed": summed, "constant": constant, "flat": flat, "few": sound[:5], "six": sound[:6]}
    frames = [heads_of(values.tolist(), model_id=name) for name, values in cases.items()]
    holes = heads_of(sound.tolist(), model_id="holes").with_columns(
        entropy_nats=pl.when(pl.int_range(pl.len()) > 4).then("entropy_nats")
    )
    silent = heads_of(sound.tolist(), model_id="silent").with_columns(
        prompt_set=pl.lit(None, pl.String), entropy_nats=pl.lit(None, pl.Float64)
    )
    found = {row["model_id"]: row for row in entropy_regression(pl.concat([*frames, holes, silent])).to_dicts()}
    assert {name: row["n"] for name, row in found.items()} == {
        "summed": 9, "constant": 9, "flat": 9, "few": 5, "six": 6, "holes": 4, "silent": 0
    }  # fmt: skip
    known = {name for name, row in found.items() if any(row[column] is not None for column in list(row)[4:])}
    assert known == {"six"}


# --- entropy_predictors ---


def described(columns, outcome, layers, **key):
    """Heads whose descriptors not given are noise that is the same in every call."""
    noise = np.random.default_rng(99).normal(size=(len(outcome), len(DESCRIPTORS)))
    table = {name: columns.get(name, noise[:, place]) for place, name in enumerate(DESCRIPTORS)}
    frame = pl.DataFrame({"layer": layers, "head": range(len(layers)), "outcome": outcome, **table}, strict=False)
    return frame.select(
        *(pl.lit(v).alias(name) for name, v in (KEY | {"target": "entropy_nats"} | key).items()), *frame.columns
    )


def by_descriptor(frame):
    return {row["descriptor"]: row for row in entropy_predictors(frame).to_dicts()}


def mid_ranks(values):
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) + 1) / 2 for value in values]


def correlation(x, y):
    return statistics.correlation(x, y) if len(set(x)) > 1 and len(set(y)) > 1 else None


def test_predictors_against_loops():
    """Each resample written out: the heads of every drawn layer copied into one list, then ranked and correlated."""
    draw = np.random.default_rng(1)
    layers = [0] * 3 + [1] * 5 + [4] * 2 + [5] * 7
    outcome = draw.normal(size=17).tolist()
    tied = draw.integers(0, 4, size=17).astype(float).tolist()
    holes = [None if at in (2, 8, 9) else value for at, value in enumerate(draw.normal(size=17).tolist())]
    found = by_descriptor(described({"op_norm": tied, "fro_norm": holes}, outcome, layers))
    for name, column in {"op_norm": tied, "fro_norm": holes}.items():
        heads = [head for head in zip(column, outcome, layers, strict=True) if head[0] is not None]
        own = sorted({layer for *_, layer in heads})
        n_drawn = np.random.default_rng(SEED).multinomial(len(own), [1 / len(own)] * len(own), size=N_RESAMPLES)
        row, pearsons, spearmans = found[name], [], []
        for counts in n_drawn:
            times = dict(zip(own, counts, strict=True))
            x, y = zip(*[head[:2] for head in heads for _ in range(times[head[2]])], strict=True)
            pearsons.append(correlation(x, y))
            spearmans.append(correlation(mid_ranks(x), mid_ranks(y)))
        x, y, _ = zip(*heads, strict=True)
        assert (row["n"], row["n_layers"]) == (len(heads), len(own))
        assert row["pearson_r"] == pytest.approx(correlation(x, y), rel=1e-9)
        assert row["spearman_r"] == pytest.approx(correlation(mid_ranks(x), mid_ranks(y)), rel=1e-9)
        for kind, drawn in {"pearson": pearsons, "spearman": spearmans}.items():
            ordered = sorted(r for r in drawn if r is not None)
            for end, place in {"low": 0.025, "high": 0.975}.items():
                at = place * (len(ordered) - 1)
                below, above = ordered[math.floor(at)], ordered[math.ceil(at)]
                assert row[f"{kind}_{end}"] == pytest.approx(below + (at - math.floor(at)) * (above - below), rel=1e-9)


def test_permutation_p_against_loops():
    """Another thousand shuffles, by plain Python: the same p but for what 1,000 draws leave open."""
    draw = np.random.default_rng(2)
    outcome = draw.normal(size=30)
    related = (0.45 * outcome + draw.normal(size=30)).tolist()
    frame = described(
        {"op_norm": related, "fro_norm": [None, *draw.normal(size=29).tolist()]}, outcome.tolist(), [0] * 30
    )
    found = by_descriptor(frame)
    shuffler, largest = random.Random(3), []
    shuffled = outcome.tolist()
    for _ in range(1000):
        shuffler.shuffle(shuffled)
        sizes = []
        for name in DESCRIPTORS:
            known = [(x, y) for x, y in zip(frame[name].to_list(), shuffled, strict=True) if x is not None]
            sizes.append(abs(statistics.correlation(*zip(*known, strict=True))))
        largest.append(max(sizes))
    between = 0
    for row in found.values():
        share = sum(size >= abs(row["pearson_r"]) for size in largest) / 1000
        assert row["permutation_p"] == pytest.approx(
            share, abs=4 * math.sqrt(2 * max(share * (1 - share), 0.002) / 1000)
        )
        assert (row["permutation_p"] * (N_PERMUTATIONS + 1)) == pytest.approx(round(row["permutation_p"] * 1001))
        between += 0.01 < share < 0.99
    assert between >= 3


def test_a_perfect_predictor_has_the_smallest_p():
    layers = [layer for layer in range(6) for _ in range(4)]
    outcome = np.random.default_rng(4).normal(size=24).tolist()
    found = by_descriptor(described({"anisotropy": [-math.exp(value) for value in outcome]}, outcome, layers))
    row = found["anisotropy"]
    assert [row[f"spearman_{end}"] for end in ("r", "low", "high")] == pytest.approx([-1, -1, -1])
    assert -1 < row["pearson_low"] < row["pearson_r"] < row["pearson_high"] < -0.5
    assert row["permutation_p"] == 1 / 1001


def test_noise_has_an_even_p():
    """The smallest p of ten noisy descriptors is below 0.1 in a tenth of 100 models: its choice is paid for."""
    draw = np.random.default_rng(5)
    layers = [layer for layer in range(5) for _ in range(4)]
    frames = [described({}, draw.normal(size=20).tolist(), layers, model_id=f"m{i:02}") for i in range(100)]
    found = entropy_predictors(pl.concat(frames)).group_by("model_id").agg(pl.col("permutation_p").min())
    assert 4 <= found.filter(pl.col("permutation_p") <= 0.1).height <= 17
    assert found.filter(pl.col("permutation_p") > 0.5).height > 35


def test_bootstrap_covers():
    """80 models of 20 layers whose heads are alike: the truth lies inside nearly as often as promised."""
    draw = np.random.default_rng(6)
    truth, covered = 0.4, 0
    for _ in range(80):
        x, noise = draw.normal(size=(2, 20, 1)) + draw.normal(size=(2, 20, 3))
        y = truth * x + math.sqrt(1 - truth**2) * noise
        layers = np.repeat(range(20), 3).tolist()
        row = by_descriptor(described({"op_norm": x.ravel()}, y.ravel().tolist(), layers))["op_norm"]
        covered += row["pearson_low"] <= truth <= row["pearson_high"]
    assert 0.86 <= covered / 80 < 1


def test_predictors_that_are_not_determined():
    """A constant has no r; two layers no interval; a model without attention keeps its rows; no model moves another."""
    draw = np.random.default_rng(7)
    outcome, layers = draw.normal(size=11).tolist(), [0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    constants = {"op_norm": 1 / 3, "fro_norm": 0.1, "nuclear_norm": 1e6 / 7, "stable_rank": 1.1e-7}  # no mean is exact
    columns = {name: [value] * 11 for name, value in constants.items()}
    whole = described(columns, outcome, layers)
    two = described(columns, outcome, [0] * 5 + [3] * 6, model_id="two")
    silent = described(columns, [None] * 11, layers, model_id="silent").with_columns(
        pl.col("outcome").cast(pl.Float64), prompt_set=pl.lit(None, pl.String)
    )
    constant = described(columns, [1 / 3] * 11, layers, model_id="constant")
    together = entropy_predictors(pl.concat([whole, two, silent, constant]))
    assert len(together) == 4 * len(DESCRIPTORS)
    assert together.filter(model_id="m").equals(entropy_predictors(whole.sample(fraction=1, shuffle=True, seed=1)))
    known = together.drop_nulls("pearson_r")
    assert set(known["model_id"]) == {"m", "two"} and set(known["descriptor"]) == {*DESCRIPTORS} - {*constants}
    assert known.filter(model_id="two")["spearman_low"].null_count() == 6
    assert known.filter(model_id="m")["spearman_low"].null_count() == 0
    assert together.filter(model_id="silent")["n"].to_list() == [0] * 10
    assert together.drop_nulls("permutation_p").height == known.height


# --- eigenvector_angles ---


def vectors_of(spans, anchor, head=0):
    """(layer → rows of vectors, or None for a zero head) as the routine reads them."""
    rows = [
        ("m", head, layer, k, None if vector is None else np.asarray(vector, float).tolist(), anchor)
        for layer, vectors in spans.items()
        for k, vector in enumerate(vectors)
    ]
    kinds = {"model_id": pl.String, "head": pl.Int16, "layer": pl.Int16, "k": pl.Int32}
    kinds |= {"vector": pl.List(pl.Float32), "anchor_layer": pl.Int16}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def test_angles_of_planes_turned_by_hand():
    """Vectors turned by 30 and 7 degrees in planes of their own; the order and sign of the vectors change nothing."""
    unit = np.eye(6)
    turned = [
        math.cos(math.radians(angle)) * unit[place] + math.sin(math.radians(angle)) * unit[place + 2]
        for place, angle in enumerate((30, 7))
    ]
    spans = {0: turned, 2: [unit[1], -unit[0]], 3: [unit[4], unit[5]], 5: unit[:1], 6: [None, None]}
    found = {row["layer"]: row for row in eigenvector_angles(vectors_of(spans, anchor=2)).to_dicts()}
    names = ("n_vectors", "mean_angle_deg", "smallest_angle_deg", "largest_angle_deg")
    assert [found[0][name] for name in names] == [2, *(pytest.approx(value, abs=1e-5) for value in (18.5, 7, 30))]
    assert [found[2][name] for name in names] == [2, *[pytest.approx(0, abs=1e-12)] * 3]
    assert [found[3][name] for name in names] == [2, 90, 90, 90]
    assert [found[5][name] for name in names] == [1, *[pytest.approx(0, abs=1e-12)] * 3]
    assert list(found[6].values()) == ["m", 0, 6, 2, 0, None, None, None, None]
    assert eigenvector_angles(vectors_of(spans, anchor=6)).null_count()["mean_angle_deg"].item() == 5
    assert eigenvector_angles(vectors_of(spans, anchor=1)).null_count()["mean_angle_deg"].item() == 5


def test_a_small_angle_is_not_lost_in_rounding():
    """The same span from other vectors is 0 away to 1e-10 degrees, where a cosine alone would say 1e-6."""
    draw = np.random.default_rng(9)
    span = np.linalg.qr(draw.standard_normal((300, 8)))[0].T.astype(np.float32)
    found = eigenvector_angles(vectors_of({0: span, 1: -span[::-1]}, anchor=0))
    assert found["largest_angle_deg"].max() < 1e-10


def test_the_mean_of_chance_is_known():
    """A line against a line: the mean angle by the integral of its density, sin^(d - 2), over 0 to 90 degrees."""
    for n_dimensions in (3, 40):
        grid = (np.arange(100_000) + 0.5) * math.pi / 200_000
        density = np.sin(grid) ** (n_dimensions - 2)
        wanted = math.degrees(float((grid * density).sum() / density.sum()))
        spans = {0: np.eye(n_dimensions)[:1], 1: np.eye(n_dimensions)[1:2]}
        [_, row] = eigenvector_angles(vectors_of(spans, anchor=0)).to_dicts()
        spread = math.degrees(
            math.sqrt(float((np.square(grid) * density).sum() / density.sum()) - math.radians(wanted) ** 2)
        )
        assert row["chance_mean_angle_deg"] == pytest.approx(wanted, abs=4 * spread / 10)
