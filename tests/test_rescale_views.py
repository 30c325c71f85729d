"""Is a layer a rescaled copy of another: the views against plain loops over the spectra themselves."""

import math
import statistics
from collections import defaultdict
from itertools import combinations, product

import duckdb
import experiment_fixture as fixture
import pytest
from experiment_fixture import BY_ID, MODELS, OPERATORS
from test_sql import descriptors

from eigenhouse.analyses.answers import saved
from eigenhouse.ingest.warehouse import sqlfiles

REL = 1e-9
RESIDUAL = 1e-7  # sqrt(1 - cosine^2) of a cosine that is rounded at 1e-16, where it is 0
STRATA = ("early", "mid", "late")


# --- the definitions, over lists ---


def inner(one, two):
    return math.fsum(a * b for a, b in zip(one, two, strict=False))


def cosine(one, two):
    size = math.sqrt(inner(one, one) * inner(two, two))
    return inner(one, two) / size if size else None


def fit(values, anchor):
    """temperature and residual, the residual from the difference itself."""
    if not any(values) or not any(anchor):
        return None, None
    temperature = inner(values, anchor) / inner(anchor, anchor)
    rest = [value - temperature * other for value, other in zip(values, anchor, strict=True)]
    return temperature, math.sqrt(inner(rest, rest) / inner(values, values))


def present(values):
    return [value for value in values if value is not None]


def mean(values):
    values = present(values)
    return math.fsum(values) / len(values) if values else None


def pearson(pairs):
    pairs = [pair for pair in pairs if None not in pair]
    if len(pairs) < 2 or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return None
    return statistics.correlation(*zip(*pairs, strict=True))


def entropies(toy, prompt_set):
    """Each head's mean entropy over the prompts of the set, weighted by their queries."""
    sums = defaultdict(lambda: [0.0, 0])
    for (name, _, *place), row in toy.attention.items():
        if name == prompt_set:
            sums[tuple(place)][0] += row["entropy_nats"] * row["n_queries"]
            sums[tuple(place)][1] += row["n_queries"]
    return {place: total / n for place, (total, n) in sums.items()}


def null_pairs(toy):
    null = fixture.null_sigma()
    samples = [values for (*shape, _), values in null.items() if shape == [toy.hidden_size, toy.head_dim]]
    return [*combinations(samples, 2)]


def null_cosine(toy):
    return mean(cosine(*pair) for pair in null_pairs(toy))


def null_residual(toy):
    return mean(fit(*pair)[1] for pair in null_pairs(toy))


def chance(toy, operator):
    return None if operator == "head_product" else null_cosine(toy)


def anchors(toy, operator):
    """Name → layer; a tie within rounding goes to the first."""

    def best(layers):
        totals = {
            layer: math.fsum(
                cosine(toy.sigma[operator, layer, head], toy.sigma[operator, other, head]) or 0
                for other in layers
                if other != layer
                for head in range(min(toy.heads_of[layer], toy.heads_of[other]))
            )
            for layer in layers
        }
        return next(layer for layer in layers if totals[layer] > max(totals.values()) - 1e-12)

    layers = toy.layers
    named = {"last": layers[-1], "middle": layers[len(layers) // 2], "best": best(layers)}
    for stratum in STRATA:
        if within := [layer for layer in layers if toy.stratum(layer) == stratum]:
            named[f"best_{stratum}"] = best(within)
    return named


def is_near(found, expected, tolerance=0.0):
    if isinstance(expected, float):
        return found == pytest.approx(expected, rel=REL, abs=tolerance)
    return found == expected


def compare(con, view, keys, expected, columns, loose=()):
    """Every row of the view, by its keys; the columns as listed, those in `loose` within RESIDUAL."""
    asked = ", ".join([*keys, *columns])
    rows = con.execute(f"select {asked} from {view}").fetchall()
    found = {row[: len(keys)]: dict(zip(columns, row[len(keys) :], strict=True)) for row in rows}
    assert len(found) == len(rows)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        for column, value in zip(columns, values, strict=True):
            tolerance = RESIDUAL if column in loose else 0.0
            assert is_near(found[key][column], value, tolerance), (key, column, found[key][column], value)


def each_head():
    return [(toy, operator, head) for toy in MODELS for operator in OPERATORS for head in range(toy.n_heads)]


def stability(average):
    if average is None:
        return None
    return "very stable" if average > 0.98 else "approximately stable" if average > 0.9 else "not stable"


def fits():
    """(model_id, operator, head, layer, anchor_layer) → (cosine, temperature, residual)."""
    rows = {}
    for toy, operator, head in each_head():
        for layer, other in product(toy.layers_of(head), repeat=2):
            one, two = toy.sigma[operator, layer, head], toy.sigma[operator, other, head]
            rows[toy.model_id, operator, head, layer, other] = (cosine(one, two), *fit(one, two))
    return rows


FITS = fits()


# --- the views ---


def test_shape_cosines(experiments):
    """The zero head has neither cosine nor temperature, to itself included."""
    keys = ["model_id", "operator", "head", "layer", "other_layer"]
    compare(experiments, "shape_cosines", keys, {key: row[:2] for key, row in FITS.items()}, ["cosine", "temperature"])
    zero = [row for key, row in FITS.items() if key[0] == "org/zero" and key[2] == 1 and 2 in key[3:]]
    assert {*zero} == {(None, None, None)}
    assert len(zero) == 2 * 9


def test_rescale_fits(experiments):
    keys = ["model_id", "operator", "head", "layer", "anchor_layer"]
    expected = {key: row[1:] for key, row in FITS.items()}
    compare(experiments, "rescale_fits", keys, expected, ["temperature", "residual"], loose=["residual"])


def test_rescale_by_layer(experiments):
    groups = defaultdict(list)
    for (model_id, operator, _, layer, anchor), (_, *row) in FITS.items():
        groups[model_id, operator, anchor, layer].append(row)
    expected = {}
    for key, rows in groups.items():
        temperatures, residuals = zip(*rows, strict=True)
        highest = max(present(residuals), default=None)
        expected[key] = (mean(residuals), highest, mean(temperatures), len(present(residuals)))
    columns = ["mean_residual", "max_residual", "mean_temperature", "n_heads"]
    keys = ["model_id", "operator", "anchor_layer", "layer"]
    compare(experiments, "rescale_by_layer", keys, expected, columns, loose=columns[:2])


def test_anchors(experiments):
    """Equal layers, and the two layers of a stratum, tie: the first is the anchor."""
    expected = {
        (toy.model_id, operator, anchor): (layer,)
        for toy in MODELS
        for operator in OPERATORS
        for anchor, layer in anchors(toy, operator).items()
    }
    compare(experiments, "anchors", ["model_id", "operator", "anchor"], expected, ["anchor_layer"])
    assert [expected["org/alike", "metric", name] for name in ("last", "middle", "best", "best_mid")] == [
        (4,), (2,), (0,), (1,)
    ]  # fmt: skip
    assert [expected["org/hybrid", "metric", name] for name in ("last", "middle")] == [(11,), (7,)]
    assert ("org/one", "metric", "best_early") not in expected


def test_anchor_fits(experiments):
    expected = {}
    for toy, operator in product(MODELS, OPERATORS):
        for anchor, at in anchors(toy, operator).items():
            for layer, head in toy.heads:
                if (row := FITS.get((toy.model_id, operator, head, layer, at))) is not None:
                    expected[toy.model_id, operator, anchor, layer, head] = (at, *row[1:])
    keys = ["model_id", "operator", "anchor", "layer", "head"]
    compare(experiments, "anchor_fits", keys, expected, ["anchor_layer", "temperature", "residual"], ["residual"])


def test_rescale_summary(experiments):
    """Residuals over every head; correlations a prompt set, or none for org/silent, whose rows stay."""
    expected = {}
    for toy, operator in product(MODELS, OPERATORS):
        for (anchor, at), prompt_set in product(
            anchors(toy, operator).items(), sorted({key[0] for key in toy.attention}) or [None]
        ):
            entropy = entropies(toy, prompt_set)
            rows = [
                (place, *FITS[toy.model_id, operator, place[1], place[0], at][1:])
                for place in toy.heads
                if place[1] < toy.heads_of[at]
            ]
            residuals = present(row[2] for row in rows)
            average = mean(residuals)
            norms = {place: max(toy.sigma[operator, *place]) or None for place, *_ in rows}
            pairs = [(temperature, entropy.get(place)) for place, temperature, _ in rows]
            expected[toy.model_id, operator, prompt_set, anchor] = (
                at,
                average,
                max(residuals),
                sum(residual < 0.1 for residual in residuals) / len(residuals),
                sum(residual < 0.2 for residual in residuals) / len(residuals),
                pearson(pairs),
                pearson([(norms[place], entropy.get(place)) for place, *_ in rows]),
                len([pair for pair in pairs if None not in pair]),
                len(residuals),
                "supported" if average < 0.1 else "partially supported" if average < 0.3 else "rejected",
            )
    columns = [
        "anchor_layer", "mean_residual", "max_residual", "fraction_below_010", "fraction_below_020",
        "corr_temperature_entropy", "corr_op_norm_entropy", "n", "n_fits", "verdict",
    ]  # fmt: skip
    keys = ["model_id", "operator", "prompt_set", "anchor"]
    compare(experiments, "rescale_summary", keys, expected, columns, loose=columns[1:3])
    assert {row[-1] for row in expected.values()} >= {"supported", "partially supported"}
    assert {row[5] for key, row in expected.items() if key[0] in ("org/silent", "org/alike", "org/one")} == {None}


def positive_logs(values):
    return [math.log(value) for value in values if value > 0]


def log_correlation(one, two):
    one, two = positive_logs(one), positive_logs(two)
    return pearson([*zip(one, two, strict=True)]) if len(one) == len(two) else None


def log_correlations(toy, operator, head):
    pairs = combinations(toy.layers_of(head), 2)
    return present(log_correlation(*(toy.sigma[operator, layer, head] for layer in pair)) for pair in pairs)


def test_log_spectrum_correlations(experiments):
    expected = {}
    for toy, operator, head in each_head():
        found = log_correlations(toy, operator, head)
        expected[toy.model_id, operator, head] = (mean(found), len(found))
    columns = ["mean_log_correlation", "n_pairs"]
    compare(experiments, "log_spectrum_correlations", ["model_id", "operator", "head"], expected, columns)


def test_shape_stability(experiments):
    expected = {}
    for toy, operator in product(MODELS, OPERATORS):
        pairs = [
            present(FITS[toy.model_id, operator, head, *pair][0] for pair in combinations(toy.layers_of(head), 2))
            for head in range(toy.n_heads)
        ]
        means = present(mean(cosines) for cosines in pairs)
        average = mean(means)
        expected[toy.model_id, operator] = (
            average,
            statistics.pstdev(means) if means else None,
            min(means, default=None),
            max(means, default=None),
            chance(toy, operator),
            mean(mean(log_correlations(toy, operator, head)) for head in range(toy.n_heads)),
            len(means),
            sum(map(len, pairs)),
            stability(average),
        )
    columns = ["mean", "std", "min", "max", "null_mean", "mean_log_correlation", "n_heads", "n_pairs", "verdict"]
    compare(experiments, "shape_stability", ["model_id", "operator"], expected, columns, loose=["std"])
    assert {row[-1] for row in expected.values()} >= {None, "very stable", "approximately stable"}


def test_cross_head_shape(experiments):
    expected = {}
    for toy, operator in product(MODELS, OPERATORS):
        for layer in toy.layers:
            spectra = [toy.sigma[operator, layer, head] for head in range(toy.heads_of[layer])]
            spectra = [values for values in spectra if any(values)]
            n = len(spectra)
            average = mean(cosine(*pair) for pair in combinations(spectra, 2))
            expected[toy.model_id, operator, layer] = (average, chance(toy, operator), n, n * (n - 1) // 2)
    columns = ["mean_cosine", "null_mean", "n_heads", "n_pairs"]
    compare(experiments, "cross_head_shape", ["model_id", "operator", "layer"], expected, columns)
    assert {row[2] for row in expected.values()} == {1, 2, 3}


def test_null_cosines(experiments):
    """No row for org/one, whose shape has no null spectra."""
    expected = {
        (toy.model_id, toy.head_dim): (null_cosine(toy), null_residual(toy), fixture.N_NULL)
        for toy in MODELS
        if toy.model_id != "org/one"
    }
    columns = ["null_mean", "null_residual", "n_samples"]
    compare(experiments, "null_cosines", ["model_id", "head_dim"], expected, columns)


def test_null_head_spectra(experiments):
    """Of the metric alone; a head of norms as Gaussian factors have them would get the samples' own mean."""
    null, expected = fixture.null_sigma(), {}
    for toy in MODELS:
        for (layer, head), (_, _, query, key) in toy.norms.items():
            scale = math.sqrt(query) * math.sqrt(key) / (toy.head_dim * toy.hidden_size)
            samples = [values for (*shape, _), values in null.items() if shape == [toy.hidden_size, toy.head_dim]]
            for k, values in enumerate(zip(*samples, strict=True)):
                scaled = [value * scale for value in values]
                row = (mean(scaled), min(scaled), max(scaled), fixture.N_NULL)
                expected[toy.model_id, "metric", layer, head, k] = row
    keys = ["model_id", "operator", "layer", "head", "k"]
    columns = ["mean_sigma", "lowest_sigma", "highest_sigma", "n_samples"]
    compare(experiments, "null_head_spectra", keys, expected, columns)
    assert {key[0] for key in expected} == BY_ID.keys() - {"org/one"}


def test_null_descriptors(experiments):
    """Of the mean over the samples, k by k, in the size that the head's norms give it."""
    null, expected = fixture.null_sigma(), {}
    names = list(descriptors([1.0]))
    for toy in MODELS:
        samples = [values for (*shape, _), values in null.items() if shape == [toy.hidden_size, toy.head_dim]]
        for (layer, head), (_, _, query, key) in toy.norms.items():
            scale = math.sqrt(query) * math.sqrt(key) / (toy.head_dim * toy.hidden_size)
            if samples:
                sigmas = [scale * mean(values) for values in zip(*samples, strict=True)]
                values = descriptors(sigmas) if any(sigmas) else {}
                expected[toy.model_id, "metric", layer, head] = [values.get(name) for name in names]
    compare(experiments, "null_descriptors", ["model_id", "operator", "layer", "head"], expected, names)
    assert any(values[0] is None for values in expected.values())  # a zero head


# --- what no model of the fixture shows ---


def add(con, table, **values):
    con.execute(
        f"insert into {table} by name select {', '.join(f'{value} as {name}' for name, value in values.items())}"
    )


@pytest.fixture
def by_hand():
    """Empty tables and every view; a model of 2 heads, its shape unknown as in an imported file, and a decoy."""
    with duckdb.connect() as con:
        for path in sqlfiles.declared():
            con.execute(path.read_text())
        for key, name in ((7, "'m'"), (8, "'decoy'")):
            add(con, "models", model_id=name, model_key=key, name=name, checkpoint=name, n_layers=3, n_heads=2)
        yield con


def add_spectra(con, spectra, model_key=7):
    """(layer, head) → values, with the layers and what the loader makes of them."""
    for (layer, head), values in spectra.items():
        at = {"model_key": model_key, "operator": "'metric'", "layer": layer, "head": head}
        for k, sigma in enumerate(values):
            add(con, "singular_values", **at, k=k, sigma=sigma)
        norms = {"metric_fro_sq": inner(values, values), "w_q_fro_sq": 1, "w_k_fro_sq": 1}
        add(con, "head_norms", **at, **norms)
        add(con, "head_descriptor_rollup", **at, op_norm=max(values) or "null")
        for other in [other for other, head_of in spectra if head_of == head and other >= layer]:
            add(con, "spectral_grams", **at, other_layer=other, gram=inner(values, spectra[other, head]))
    for layer in sorted({layer for layer, _ in spectra}):
        add(con, "layers", model_key=model_key, layer=layer, n_heads=2, is_measured="true")


def test_logarithms_of_as_many_values(by_hand):
    """Head 0: layers 0 and 1 have two values above 0, layer 2 three, so one pair is left; head 1 has a constant."""
    spectra = {(0, 0): [4, 2, 0], (1, 0): [9, 1, 0], (2, 0): [3, 2, 1]}
    spectra |= {(0, 1): [8, 4, 1], (1, 1): [0.1, 0.1, 0.1], (2, 1): [9, 2, 1]}
    add_spectra(by_hand, spectra)
    add_spectra(by_hand, {place: values[::-1] for place, values in spectra.items()}, model_key=8)
    found = by_hand.execute("select * from log_spectrum_correlations where model_id = 'm' order by head").fetchall()
    r = statistics.correlation([math.log(v) for v in (8, 4, 1)], [math.log(v) for v in (9, 2, 1)])
    assert found == [("m", "metric", 0, pytest.approx(1, rel=REL), 1), ("m", "metric", 1, pytest.approx(r, rel=REL), 1)]
    [row] = by_hand.execute(
        "select mean_log_correlation, null_mean from shape_stability where model_id = 'm'"
    ).fetchall()
    assert row == (pytest.approx((1 + r) / 2, rel=REL), None)


@pytest.mark.parametrize(
    ("tangent", "shape", "summary"),
    [
        (0.01, "very stable", "supported"),
        (0.21, "approximately stable", "partially supported"),
        (0.3, "approximately stable", "partially supported"),
        (0.6, "not stable", "partially supported"),
        (0.9, "not stable", "rejected"),
    ],
)
def test_verdicts(by_hand, tangent, shape, summary):
    """Two layers of which one has residual 0, the other sin(arctan(tangent)): half of that is the mean."""
    add_spectra(by_hand, {(0, 0): [1, 0], (1, 0): [1, tangent]})
    found = by_hand.execute("select mean, verdict from shape_stability").fetchall()
    assert found == [(pytest.approx(math.cos(math.atan(tangent)), rel=REL), shape)]
    found = by_hand.execute("select mean_residual, verdict from rescale_summary where anchor = 'last'").fetchall()
    assert found == [(pytest.approx(math.sin(math.atan(tangent)) / 2, rel=REL), summary)]


def test_a_shape_that_is_unknown_has_no_chance_level(by_hand):
    add_spectra(by_hand, {(0, 0): [2, 1], (0, 1): [2, 1], (1, 0): [1, 1], (1, 1): [1, 1]})
    add(by_hand, "null_spectra", hidden_size=3, head_dim=2, sample=0, k=0, sigma=1)
    assert by_hand.execute("from null_head_spectra").fetchall() == []
    assert by_hand.execute("select distinct null_mean from shape_stability").fetchall() == [(None,)]
    found = by_hand.execute("select layer, mean_cosine, null_mean from cross_head_shape order by layer").fetchall()
    assert found == [(layer, pytest.approx(1, rel=REL), None) for layer in (0, 1)]


def test_a_layers_own_head_dim_chooses_the_null(by_hand):
    """Layer 1 has head_dim 1 in a model of 2: spectra of one value are all alike, those of two are not."""
    add_spectra(by_hand, {(0, 0): [2, 1], (0, 1): [2, 2], (1, 0): [2], (1, 1): [3]})
    by_hand.execute("update models set hidden_size = 3, head_dim = 2")
    by_hand.execute("update layers set head_dim = 1 where layer = 1")
    for head_dim, sample, k, sigma in [
        (2, 0, 0, 1),
        (2, 0, 1, 0),
        (2, 1, 0, 3),
        (2, 1, 1, 4),
        (1, 0, 0, 5),
        (1, 1, 0, 7),
    ]:
        add(by_hand, "null_spectra", hidden_size=3, head_dim=head_dim, sample=sample, k=k, sigma=sigma)
    found = by_hand.execute("select layer, null_mean from cross_head_shape where model_id = 'm' order by 1").fetchall()
    assert found == [(0, pytest.approx(0.6, rel=REL)), (1, pytest.approx(1, rel=REL))]
    [[null_mean]] = by_hand.execute("select null_mean from shape_stability where model_id = 'm'").fetchall()
    assert null_mean == pytest.approx(0.6, rel=REL)
    asked = "select layer, k, mean_sigma, n_samples from null_head_spectra where head = 0 order by all"
    assert by_hand.execute(asked).fetchall() == [
        (0, 0, pytest.approx(2 / 6, rel=REL), 2),
        (0, 1, pytest.approx(2 / 6, rel=REL), 2),
        (1, 0, pytest.approx(6 / 3, rel=REL), 2),
    ]


def test_heads_without_attention_count_in_the_residuals(by_hand):
    """Layer 2 was not listened to: its residual counts, its temperature has no entropy; no row without a prompt set."""
    add_spectra(by_hand, {(0, 0): [3, 1], (1, 0): [2, 2], (2, 0): [4, 0]})
    for layer, entropy in ((0, 1), (1, 5)):
        at = {"model_key": 7, "layer": layer, "head": 0, "prompt_set": "'s'"}
        add(by_hand, "head_attention_rollup", **at, n_prompts=1, n_queries=1, n_multi_queries=1, entropy_nats=entropy)
    asked = "select prompt_set, anchor_layer, n, n_fits, corr_temperature_entropy, mean_residual from rescale_summary"
    found = by_hand.execute(f"{asked} where anchor = 'last'").fetchall()
    residuals = [fit(values, [4, 0])[1] for values in ([3, 1], [2, 2], [4, 0])]
    assert found == [("s", 2, 2, 3, pytest.approx(-1, rel=REL), pytest.approx(mean(residuals), rel=REL))]


# --- what the saved queries compute beyond the views ---


def ask(con, name, **given):
    """The answer's rows as dictionaries."""
    query = saved.find(name)
    return con.execute(query.sql, query.bind(given)).pl().rows(named=True)


def test_the_spectrum_beside_chance(experiments):
    """Every head of a shape has the same null shares; head_product and org/one have none."""
    found = {
        (row["model_id"], row["operator"], row["k"]): row
        for row in ask(experiments, "singular_spectrum")
        if row["series"] == "chance"
    }
    null, n_rows = fixture.null_sigma(), 0
    for toy in MODELS:
        samples = [values for (*shape, _), values in null.items() if shape == [toy.hidden_size, toy.head_dim]]
        means = [mean(values) for values in zip(*samples, strict=True)]
        n_heads = sum(query > 0 for _, _, query, _ in toy.norms.values())
        for k, value in enumerate(means):
            row = found[toy.model_id, "metric", k]
            assert row["median_relative_sigma"] == pytest.approx(value / means[0], rel=REL)
            assert row["n_heads"] == n_heads
            n_rows += 1
    assert len(found) == n_rows > 0


@pytest.mark.parametrize(("anchor", "layer"), [("last", 10), ("middle", 5), ("3", 3)])
def test_an_anchor_by_name_or_number(experiments, anchor, layer):
    for name, column in (
        ("rescale_residual_by_layer", "mean_residual"),
        ("rescale_temperature_by_layer", "mean_temperature"),
    ):
        rows = ask(experiments, name, model="org/main", anchor=anchor)
        assert {row["anchor_layer"] for row in rows} == {layer}
        found = {(row["operator"], row["layer"]): row[column] for row in rows if row["series"] == "measured"}
        view = f"select operator, layer, {column} from rescale_by_layer where model_id = 'org/main'"
        expected = experiments.execute(f"{view} and anchor_layer = {layer}").fetchall()
        assert found == {(operator, at): pytest.approx(value, rel=REL) for operator, at, value in expected}


def test_temperatures_of_random_heads(experiments):
    """The quotient of the norms of the weights, over the heads that the anchor has; its zero head gives none."""
    for toy, anchor in ((BY_ID["org/hybrid"], "5"), (BY_ID["org/zero"], "2")):
        rows = ask(experiments, "rescale_temperature_by_layer", model=toy.model_id, anchor=anchor)
        found = {row["layer"]: (row["mean_temperature"], row["n_heads"]) for row in rows if row["series"] == "chance"}
        assert found.keys() == {*toy.layers}
        for layer in toy.layers:
            sizes = [
                [math.sqrt(toy.norms[at, head][2] * toy.norms[at, head][3]) for at in (layer, int(anchor))]
                for head in range(min(toy.heads_of[layer], toy.heads_of[int(anchor)]))
            ]
            quotients = [own / other for own, other in sizes if other]
            assert found[layer] == (pytest.approx(mean(quotients), rel=REL), len(quotients))


def test_residuals_of_random_heads(experiments):
    rows = ask(experiments, "rescale_residual_by_layer", anchor="last")
    found = {(row["model_id"], row["operator"], row["layer"]): row for row in rows if row["series"] == "chance"}
    toys = [toy for toy in MODELS if toy.model_id != "org/one"]
    assert found.keys() == {(toy.model_id, "metric", layer) for toy in toys for layer in toy.layers}
    for toy in toys:
        for layer in toy.layers:
            expected = 0 if layer == toy.layers[-1] else null_residual(toy)
            assert found[toy.model_id, "metric", layer]["mean_residual"] == pytest.approx(expected, rel=REL)
    assert all(
        row["chance_residual"] == (pytest.approx(null_residual(BY_ID[row["model_id"]]), rel=REL))
        for row in ask(experiments, "rescale_summary")
        if row["operator"] == "metric" and row["model_id"] != "org/one"
    )


def test_largest_values_beside_chance(experiments):
    rows = ask(experiments, "sigma_by_layer")
    assert len(rows) == sum(len(toy.heads) for toy in MODELS)
    null = fixture.null_sigma()
    for row in rows:
        toy, place = BY_ID[row["model_id"]], (row["layer"], row["head"])
        largest = max(toy.sigma["metric", *place]) or None
        assert row["op_norm"] == (largest and pytest.approx(largest, rel=REL))
        firsts = [values[0] for (*shape, _), values in null.items() if shape == [toy.hidden_size, toy.head_dim]]
        _, _, query, key = toy.norms[place]
        chance_norm = mean(firsts) and mean(firsts) * math.sqrt(query * key) / (toy.head_dim * toy.hidden_size)
        assert row["chance_op_norm"] == (chance_norm if chance_norm is None else pytest.approx(chance_norm, rel=REL))
        times = largest / chance_norm if largest and chance_norm else None
        assert row["times_chance"] == (times and pytest.approx(times, rel=REL))


def test_a_file_without_the_metric_is_drawn_by_what_it_has(by_hand):
    add_spectra(by_hand, {(0, 0): [2, 1], (1, 0): [2, 2]})
    for table in ("spectral_grams", "singular_values", "head_descriptor_rollup"):
        by_hand.execute(f"update {table} set operator = 'head_product'")
    for name in ("sigma_by_layer", "shape_cosine_matrix"):
        rows = ask(by_hand, name)
        assert {(row["operator"], row["label"]) for row in rows} == {("head_product", "m · head_product")}
        assert len(rows) == (2 if name == "sigma_by_layer" else 4)
    [row] = [row for row in ask(by_hand, "shape_cosine_matrix") if (row["layer"], row["other_layer"]) == (0, 1)]
    assert row["mean_cosine"] == pytest.approx(cosine([2, 1], [2, 2]), rel=REL)


def test_a_matrix_names_its_chance_level(experiments):
    rows = ask(experiments, "shape_cosine_matrix", model="org/main")
    toy = BY_ID["org/main"]
    assert {row["label"] for row in rows} == {f"org/main · chance {null_cosine(toy):.5f}"}
    assert len(rows) == len(toy.layers) ** 2
    for row in rows:
        cosines = [FITS["org/main", "metric", head, row["layer"], row["other_layer"]][0] for head in range(3)]
        assert row["mean_cosine"] == pytest.approx(mean(cosines), rel=REL)
