"""The views on whether depth repeats itself, against plain loops over the numbers that the warehouse was given."""

import math
import statistics

import duckdb
import experiment_fixture as fixture
import pytest
from macro_fixture import make_macros

from eigenhouse.analyses.answers import saved
from eigenhouse.ingest.warehouse import sqlfiles

REL = 1e-9  # double arithmetic on the same float32 values
PAIRS = {
    "effective_rank~bottleneck_overlap": ("mean_effective_rank", "bottleneck_overlap"),
    "effective_rank~ffn_alignment": ("mean_effective_rank", "ffn_alignment"),
    "bottleneck_overlap~ffn_alignment": ("bottleneck_overlap", "ffn_alignment"),
}


def compare(con, view, keys, columns, expected):
    """Every row of the view, none missing and none more: expected maps its keys to the values of `columns`."""
    rows = con.execute(f"select {', '.join([*keys, *columns])} from {view}").fetchall()
    found = {row[: len(keys)]: row[len(keys) :] for row in rows}
    assert len(found) == len(rows)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        for name, wanted, came in zip(columns, values, found[key], strict=True):
            assert came == near(wanted), (key, name)


def near(wanted):
    return pytest.approx(wanted, rel=REL, abs=1e-12) if isinstance(wanted, float) else wanted


def mean(values):
    return math.fsum(values) / len(values) if values else None


def std(values):
    return statistics.pstdev(values) if values else None


def correlation(pairs):
    """Pearson r; None under three pairs or where one side is constant."""
    pairs = [pair for pair in pairs if None not in pair]
    if len(pairs) < 3 or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return None
    return statistics.correlation(*zip(*pairs, strict=True))


def is_zero(toy, layer, head):
    return toy.norms[layer, head][0] == 0


def chance(toy):
    return fixture.SUBSPACE_SIZE / toy.hidden_size


def overlap(toy, head, side, layer, other):
    """Of an ordered pair; 1 with itself, None beside a zero head."""
    if is_zero(toy, layer, head) or is_zero(toy, other, head):
        return None
    return 1.0 if layer == other else toy.overlap[head, side, min(layer, other), max(layer, other)]


def distance(toy, layer, other):
    return abs(toy.layers.index(layer) - toy.layers.index(other))


def sided_heads(toy):
    """(head, side) of every head that has a subspace to be compared; the lone head of a model has none."""
    return [(head, side) for head in range(toy.n_heads) for side in fixture.SIDES] if len(toy.heads) > 1 else []


def head_mean(toy, side, layer, other):
    """The mean and std over the heads that both layers have, and their number."""
    heads = [head for head in range(toy.n_heads) if layer in toy.layers_of(head) and other in toy.layers_of(head)]
    values = [overlap(toy, head, side, layer, other) for head in heads]
    values = [value for value in values if value is not None]
    return mean(values), std(values), len(values)


def pairs_of(layers):
    return [(layer, other) for layer in layers for other in layers if layer < other]


def test_subspace_overlaps(experiments):
    expected = {
        (toy.model_id, head, side, layer, other): (overlap(toy, head, side, layer, other), chance(toy), 2, False)
        for toy in fixture.MODELS
        for head, side in sided_heads(toy)
        for layer in toy.layers_of(head)
        for other in toy.layers_of(head)
    }
    keys = ["model_id", "head", "side", "layer", "other_layer"]
    compare(experiments, "subspace_overlaps", keys, ["overlap", "chance", "subspace_size", "is_degenerate"], expected)


def test_overlaps_by_layer(experiments):
    expected = {}
    for toy in fixture.MODELS:
        for side in fixture.SIDES if sided_heads(toy) else ():
            for layer in toy.layers:
                for other in toy.layers:
                    average, spread, n_heads = head_mean(toy, side, layer, other)
                    expected[toy.model_id, side, layer, other] = (average, spread, chance(toy), n_heads)
    keys = ["model_id", "side", "layer", "other_layer"]
    compare(experiments, "overlaps_by_layer", keys, ["mean", "std", "chance", "n_heads"], expected)


SUMMARY = [
    "off_diagonal_mean", "off_diagonal_std", "off_diagonal_min", "off_diagonal_max", "adjacent_mean", "adjacent_std",
    "distant_mean", "distant_std", "gap", "verdict", "chance", "n_pairs",
]  # fmt: skip


def summary(toy, overlaps):
    """The columns of SUMMARY from (layer, other_layer) → overlap."""
    known = {pair: value for pair, value in overlaps.items() if value is not None}
    every = list(known.values())
    adjacent = [value for pair, value in known.items() if distance(toy, *pair) == 1]
    distant = [value for pair, value in known.items() if distance(toy, *pair) > len(toy.layers) // 3]
    gap = mean(adjacent) - mean(distant) if adjacent and distant else None
    verdict = None
    if gap is not None:
        verdict = "phase structure" if gap > 0.05 else "redundant" if mean(every) > 0.7 else "moderate"
    extremes = (min(every), max(every))
    means = (mean(adjacent), std(adjacent), mean(distant), std(distant))
    return (mean(every), std(every), *extremes, *means, gap, verdict, chance(toy), len(every))


def test_overlap_summary(experiments):
    expected = {}
    for toy in fixture.MODELS:
        for head, side in sided_heads(toy):
            overlaps = {pair: overlap(toy, head, side, *pair) for pair in pairs_of(toy.layers_of(head))}
            expected[toy.model_id, head, side] = summary(toy, overlaps)
    assert {values[SUMMARY.index("verdict")] for values in expected.values()} == {
        "phase structure", "redundant", "moderate",
    }  # fmt: skip
    compare(experiments, "overlap_summary", ["model_id", "head", "side"], SUMMARY, expected)


def test_overlap_summary_mean_head(experiments):
    expected = {}
    for toy in fixture.MODELS:
        for side in fixture.SIDES if sided_heads(toy) else ():
            overlaps = {pair: head_mean(toy, side, *pair)[0] for pair in pairs_of(toy.layers)}
            expected[toy.model_id, side] = summary(toy, overlaps)
    compare(experiments, "overlap_summary_mean_head", ["model_id", "side"], SUMMARY, expected)


def mean_by_distance(toy, head, side):
    """distance → overlaps of the pairs layer < other_layer at it, unknown ones left out."""
    found = {}
    for layer, other in pairs_of(toy.layers_of(head)):
        found.setdefault(distance(toy, layer, other), []).append(overlap(toy, head, side, layer, other))
    return {apart: [value for value in values if value is not None] for apart, values in found.items()}


def test_overlap_by_distance(experiments):
    expected = {
        (toy.model_id, head, side, apart): (mean(values), std(values), chance(toy), len(values))
        for toy in fixture.MODELS
        for head, side in sided_heads(toy)
        for apart, values in mean_by_distance(toy, head, side).items()
    }
    keys = ["model_id", "head", "side", "distance"]
    compare(experiments, "overlap_by_distance", keys, ["mean", "std", "chance", "n_pairs"], expected)


def test_phase_boundaries(experiments):
    """The first ten changes from one adjacent overlap to the next; none across a layer that lacks the head."""
    expected = {}
    for toy in fixture.MODELS:
        for head, side in sided_heads(toy):
            found = []
            for before, layer, after in zip(toy.layers, toy.layers[1:], toy.layers[2:], strict=False):
                if {before, layer, after} <= set(toy.layers_of(head)):
                    earlier, later = (overlap(toy, head, side, *at) for at in ((before, layer), (layer, after)))
                    if earlier is not None and later is not None:
                        found.append((later - earlier, layer, after, later))
            for rank, (change, layer, after, later) in enumerate(sorted(found)[:10]):
                expected[toy.model_id, head, side, rank] = (layer, after, later, change, chance(toy))
    keys = ["model_id", "head", "side", "rank"]
    columns = ["from_layer", "to_layer", "overlap", "change", "chance"]
    compare(experiments, "phase_boundaries", keys, columns, expected)


def test_phase_boundaries_are_ten_at_most():
    """14 layers whose adjacent overlaps fall ever faster after two equal falls, of which the earlier is first."""
    overlaps = [1.0, 0.875, 0.75] + [0.75 - step**2 / 1024 for step in range(1, 11)]
    rows = [("m", 0, "key", layer, layer + 1, value, 0.1) for layer, value in enumerate(overlaps)]
    with duckdb.connect() as con:
        columns = "model_id text, head int, side text, layer int, other_layer int, overlap double, chance double"
        con.execute(f"create table subspace_overlaps ({columns})")
        con.executemany("insert into subspace_overlaps values (?, ?, ?, ?, ?, ?, ?)", rows)
        con.execute(
            "create table measured_layers as select 'm' as model_id, range as layer, range as position, "
            "14 as n_measured from range(14)"
        )
        make_macros(con)
        con.execute((sqlfiles.SQL_DIR / "views" / "phase_boundaries.sql").read_text())
        found = con.execute("select rank, from_layer, change from phase_boundaries order by rank").fetchall()
    steps = [(overlaps[layer] - overlaps[layer - 1], layer) for layer in range(1, len(overlaps))]
    assert found == [(rank, layer, change) for rank, (change, layer) in enumerate(sorted(steps)[:10])]
    assert [row[1] for row in found if row[2] == -0.125] == [1, 2]


def weight_rank(sigmas):
    """Effective rank, its share of the values, stable rank."""
    total = math.fsum(sigmas)
    rank = math.exp(-math.fsum(sigma / total * math.log(sigma / total) for sigma in sigmas if sigma))
    return rank, rank / len(sigmas), math.fsum(sigma**2 for sigma in sigmas) / max(sigmas) ** 2


def test_weight_effective_ranks(experiments):
    expected = {
        (toy.model_id, *at): (toy.hidden_size + 4, toy.hidden_size, *weight_rank(sigmas))
        for toy in fixture.MODELS
        for at, sigmas in toy.weight_sigma.items()
    }
    keys = ["model_id", "layer", "weight", "expert"]
    columns = ["n_rows", "n_cols", "effective_rank", "rank_fraction", "stable_rank"]
    compare(experiments, "weight_effective_ranks", keys, columns, expected)


def mean_ranks(toy):
    """layer → mean effective rank and mean rank fraction of its weights, and their number."""
    found = {}
    for layer in toy.layers:
        ranks = [weight_rank(sigmas) for at, sigmas in toy.weight_sigma.items() if at[0] == layer]
        found[layer] = (mean([rank[0] for rank in ranks]), mean([rank[1] for rank in ranks]), len(ranks))
    return found


def bottleneck(toy):
    ranks = mean_ranks(toy)
    return min(ranks, key=lambda layer: (ranks[layer][1], layer))


def test_bottlenecks(experiments):
    expected = {}
    for toy in fixture.MODELS:
        ranks, layer = mean_ranks(toy), bottleneck(toy)
        ordinary = mean([fraction for _, fraction, _ in ranks.values()])
        rank, fraction, n_weights = ranks[layer]
        expected[(toy.model_id,)] = (layer, fraction, rank, ordinary, n_weights, len(ranks))
    columns = ["layer", "mean_rank_fraction", "mean_effective_rank", "mean_rank_fraction_of_layers", "n_weights"]
    compare(experiments, "bottlenecks", ["model_id"], [*columns, "n_layers"], expected)


def verdict(before, after):
    if before is None or after is None:
        return None
    return ("convergence point" if after < -0.3 else "partial") if before > 0.3 else "none"


def test_bottleneck_trends(experiments):
    expected = {}
    for toy in fixture.MODELS:
        for head, side in sided_heads(toy):
            ordinary = {apart: mean(values) for apart, values in mean_by_distance(toy, head, side).items()}
            for center in toy.layers_of(head):
                known = [
                    (layer, value, value - ordinary[distance(toy, layer, center)])
                    for layer in toy.layers_of(head)
                    if layer != center and (value := overlap(toy, head, side, layer, center)) is not None
                ]
                before = [row for row in known if row[0] < center]
                after = [row for row in known if row[0] > center]
                means = [mean([row[1] for row in rows]) for rows in (known, before, after)]
                plain = [correlation([(row[1], row[0]) for row in rows]) for rows in (before, after)]
                excess = [correlation([(row[2], row[0]) for row in rows]) for rows in (before, after)]
                expected[toy.model_id, head, side, center] = (
                    *means, *plain, verdict(*plain), *excess, verdict(*excess), chance(toy), len(before), len(after),
                )  # fmt: skip
    assert {values[5] for values in expected.values()} == {"convergence point", "partial", "none", None}
    assert any(values[5] != values[8] for values in expected.values())
    columns = [
        "mean_all", "mean_before", "mean_after", "pre_trend", "post_trend", "verdict", "pre_trend_detrended",
        "post_trend_detrended", "verdict_detrended", "chance", "n_before", "n_after",
    ]  # fmt: skip
    keys = ["model_id", "head", "side", "bottleneck_layer"]
    compare(experiments, "bottleneck_trends", keys, columns, expected)


def share(toy, at):
    """The energy of an MLP's weight within a head's directions; None for a zero head."""
    return None if is_zero(toy, *at[:2]) else toy.alignment[at][0]


def test_ffn_alignment(experiments):
    expected = {}
    for toy in fixture.MODELS:
        for at, (_, others) in toy.alignment.items():
            energy = share(toy, at)
            ratio = None if energy is None else energy / chance(toy)
            expected[toy.model_id, *at] = (2, energy, chance(toy), ratio, others, False)
    keys = ["model_id", "layer", "head", "side", "weight", "expert"]
    columns = ["subspace_size", "energy_fraction", "chance", "ratio", "other_layers_mean", "is_degenerate"]
    compare(experiments, "ffn_alignment", keys, columns, expected)


def test_ffn_alignment_summary(experiments):
    expected = {}
    for toy in fixture.MODELS:
        layers = {}
        for layer, *key in toy.alignment:
            layers.setdefault(tuple(key), []).append(layer)
        for key, own in layers.items():
            known = {layer: value for layer in own if (value := share(toy, (layer, *key))) is not None}
            others = [toy.alignment[layer, *key][1] for layer in known]
            others = mean([value for value in others if value is not None])
            values, ratio = list(known.values()), mean(list(known.values())) / chance(toy)
            lowest, highest = (best(values) for best in (min, max))
            expected[toy.model_id, *key] = (
                mean(values), std(values),
                lowest, min(layer for layer in known if known[layer] == lowest),
                highest, min(layer for layer in known if known[layer] == highest),
                chance(toy), ratio, "coupled" if ratio > 1.5 else "avoids" if ratio < 0.7 else "near chance", others,
                sum(value > chance(toy) for value in values), sum(value < chance(toy) for value in values), len(values),
            )  # fmt: skip
    columns = [
        "mean", "std", "min", "min_layer", "max", "max_layer", "chance", "ratio", "verdict", "other_layers_mean",
        "layers_above_chance", "layers_below_chance", "n_layers",
    ]  # fmt: skip
    assert {values[8] for values in expected.values()} == {"coupled", "near chance", "avoids"}
    compare(experiments, "ffn_alignment_summary", ["model_id", "head", "side", "weight", "expert"], columns, expected)


def profile(toy, side):
    """layer → mean effective rank, adjacent overlap, bottleneck overlap, FFN alignment."""
    found, narrow = {}, bottleneck(toy)
    for place, layer in enumerate(toy.layers):
        shares = {"gate": [], "up": []}
        for at in toy.alignment:
            if (at[0], at[2]) == (layer, side) and share(toy, at) is not None:
                shares[at[3]].append(share(toy, at))
        following = toy.layers[place + 1 : place + 2]
        is_compared = bool(sided_heads(toy)) and layer != narrow
        found[layer] = (
            mean_ranks(toy)[layer][0],
            head_mean(toy, side, layer, following[0])[0] if following else None,
            head_mean(toy, side, layer, narrow)[0] if is_compared else None,
            mean(shares["gate"] or shares["up"]),
        )
    return found


PROFILE = ["mean_effective_rank", "adjacent_overlap", "bottleneck_overlap", "ffn_alignment"]


def test_layer_profiles(experiments):
    expected = {
        (toy.model_id, side, layer): (*values, chance(toy))
        for toy in fixture.MODELS
        for side in fixture.SIDES
        for layer, values in profile(toy, side).items()
    }
    compare(experiments, "layer_profiles", ["model_id", "side", "layer"], [*PROFILE, "chance"], expected)


def test_profile_correlations(experiments):
    """Fisher's interval from the quantile of the normal distribution that Python knows."""
    quantile, expected = statistics.NormalDist().inv_cdf(0.975), {}
    for toy in fixture.MODELS:
        for side in fixture.SIDES:
            for pair, names in PAIRS.items():
                rows = [[values[PROFILE.index(name)] for name in names] for values in profile(toy, side).values()]
                n = sum(None not in row for row in rows)
                r, low, high = correlation(rows), None, None
                if r is not None and n >= 4:
                    margin = quantile / math.sqrt(n - 3)
                    low, high = math.tanh(math.atanh(r) - margin), math.tanh(math.atanh(r) + margin)
                expected[toy.model_id, side, pair] = (n, r, low, high)
    columns = ["n", "pearson_r", "pearson_low", "pearson_high"]
    compare(experiments, "profile_correlations", ["model_id", "side", "pair"], columns, expected)


def test_best_matches(experiments):
    expected = {}
    for toy in fixture.MODELS:
        for (side, layer, head), (average, matches) in toy.match.items():
            values = (None,) * 4 if is_zero(toy, layer, head) else (*matches[0], average)
            expected[toy.model_id, side, layer, head] = (*values, chance(toy), False)
    keys = ["model_id", "side", "layer", "head"]
    columns = ["other_layer", "other_head", "overlap", "mean_overlap", "chance", "is_degenerate"]
    compare(experiments, "best_matches", keys, columns, expected)


@pytest.fixture
def altered(tmp_path):
    """A warehouse of two models whose rows a test may change: no view keeps what it made of them at the load."""
    toys = [fixture.BY_ID["org/silent"], fixture.BY_ID["org/experts"]]
    fixture.build(tmp_path / "warehouse.duckdb", tmp_path / "staged", toys)
    with duckdb.connect(tmp_path / "warehouse.duckdb") as con:
        for view in sqlfiles.kept():
            con.execute(view.read_text(encoding="utf-8"))
        yield con


def test_without_a_hidden_size_there_is_no_chance(altered):
    """Nor what needs it, while the rest stays."""
    gone = {
        "subspace_overlaps": ["chance"],
        "overlaps_by_layer": ["chance"],
        "overlap_summary": ["chance"],
        "overlap_summary_mean_head": ["chance"],
        "overlap_by_distance": ["chance"],
        "phase_boundaries": ["chance"],
        "bottleneck_trends": ["chance"],
        "ffn_alignment": ["chance", "ratio"],
        "ffn_alignment_summary": ["chance", "ratio", "verdict", "layers_above_chance", "layers_below_chance"],
        "layer_profiles": ["chance"],
        "best_matches": ["chance"],
    }
    rest = {view: f"select * exclude ({', '.join(columns)}) from {view} order by all" for view, columns in gone.items()}
    before = {view: altered.execute(sql).fetchall() for view, sql in rest.items()}
    altered.execute("update models set hidden_size = null, head_dim = null")
    for view, columns in gone.items():
        assert altered.execute(f"select distinct {', '.join(columns)} from {view}").fetchall() == [
            (None,) * len(columns)
        ]
        after = altered.execute(rest[view]).fetchall()
        assert len(after) == len(before[view]) > 0
        for old, new in zip(before[view], after, strict=True):
            assert new == tuple(map(near, old))


def test_a_tie_goes_to_the_first_layer(altered):
    altered.execute("update ffn_alignments set energy_fraction = 0.25")
    assert altered.execute("select distinct min_layer, max_layer, std from ffn_alignment_summary").fetchall() == [
        (0, 0, 0)
    ]
    altered.execute("update weight_singular_values set sigma = if(layer = 0, if(k = 0, 1, 0.75), if(k < 2, 1, 0))")
    assert altered.execute("select distinct layer from bottlenecks").fetchall() == [(1,)]


def test_a_zero_matrix_has_no_rank(altered):
    """It keeps its row, and no mean counts it."""
    altered.execute("update weight_singular_values set sigma = 0 where weight = 'up'")
    nulls = "effective_rank is null and rank_fraction is null and stable_rank is null"
    found = altered.execute(f"select distinct weight from weight_effective_ranks where {nulls}").fetchall()
    assert found == [("up",)]
    n_weights = altered.execute("select n_weights from bottlenecks order by model_id").fetchall()
    assert n_weights == [(4,), (2,)]
    altered.execute("update ffn_alignments set energy_fraction = null where weight = 'gate'")
    up = "select layer, side, avg(energy_fraction) from ffn_alignment where weight = 'up' group by all order by all"
    profiles = "select layer, side, ffn_alignment from layer_profiles where model_id = $model_id order by all"
    for model_id in ("org/silent", "org/experts"):
        wanted = altered.execute(up.replace("group by", "and model_id = $model_id group by"), {"model_id": model_id})
        means = wanted.fetchall()
        assert altered.execute(profiles, {"model_id": model_id}).fetchall() == [
            (*at, pytest.approx(value, rel=REL)) for *at, value in means
        ]


def test_what_was_not_measured_is_not_there(altered):
    """An ingest without weights, and one without subspaces."""
    altered.execute("delete from weights")
    altered.execute("delete from weight_singular_values")
    assert altered.execute("from bottlenecks").fetchall() == []
    found = altered.execute(
        "select count(*), count(mean_effective_rank), count(bottleneck_overlap) from layer_profiles"
    )
    assert found.fetchall() == [(2 * 10, 0, 0)]
    for table in ("side_overlaps", "head_matches"):
        altered.execute(f"delete from {table}")
    found = altered.execute("select count(ffn_alignment), count(adjacent_overlap) from layer_profiles").fetchall()
    assert found == [(2 * 10, 0)]
    altered.execute("delete from ffn_alignments")
    for view in ("layer_profiles", "profile_correlations", "overlap_summary", "bottleneck_trends", "best_matches"):
        assert altered.execute(f"from {view}").fetchall() == []


def answer(con, name, **given):
    """The rows of a saved query, by column."""
    query = saved.find(name)
    found = con.execute(query.sql, query.bind(given))
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def check_means(rows, names, expected, value):
    """Mean, std over heads and band of every row against the heads' own values, none missing and none more."""
    found = {tuple(row[name] for name in names): row for row in rows}
    assert len(found) == len(rows)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        known = [value for value in values if value is not None]
        average, spread = mean(known), std(known)
        row = found[key]
        assert row["n_heads"] == len(known)
        assert (row[value], row["std_over_heads"]) == (near(average), near(spread)), key
        if known and row["low"] is not None:
            assert (row["low"], row["high"]) == (near(average - spread), near(average + spread)), key


def test_overlap_by_distance_over_heads(experiments):
    expected = {}
    for toy in fixture.MODELS:
        for head, side in sided_heads(toy):
            for apart, values in mean_by_distance(toy, head, side).items():
                expected.setdefault((toy.model_id, side, apart), []).append(mean(values))
    found = answer(experiments, "overlap_by_distance")
    check_means(found, ["model_id", "side", "distance"], expected, "mean_overlap")


@pytest.mark.parametrize("anchor", ["2", "last"])
def test_overlap_to_layer_takes_a_number_or_a_name(experiments, anchor):
    expected = {}
    for toy in fixture.MODELS:
        center = toy.layers[-1] if anchor == "last" else int(anchor)
        for side in fixture.SIDES if sided_heads(toy) and center in toy.layers else ():
            for layer in set(toy.layers) - {center}:
                heads = [head for head in range(toy.n_heads) if {layer, center} <= set(toy.layers_of(head))]
                values = [overlap(toy, head, side, layer, center) for head in heads]
                expected[toy.model_id, side, center, layer] = values
    found = answer(experiments, "overlap_to_layer", anchor=anchor)
    check_means(found, ["model_id", "side", "anchor_layer", "layer"], expected, "mean_overlap")


def test_best_matches_beside_the_next_layer_and_all_heads(experiments):
    expected = {}
    for toy in fixture.MODELS:
        for (side, layer, head), (average, matches) in toy.match.items():
            known = not is_zero(toy, layer, head)
            values = {"nearest head": matches[0][2] if known else None, "all heads": average if known else None}
            following = toy.layers[toy.layers.index(layer) + 1 :][:1]
            if following and following[0] in toy.layers_of(head):
                values["same head, next layer"] = overlap(toy, head, side, layer, following[0])
            for compared_with, value in values.items():
                expected.setdefault((toy.model_id, side, layer, compared_with), []).append(value)
    found = answer(experiments, "best_matches")
    check_means(found, ["model_id", "side", "layer", "compared_with"], expected, "mean_overlap")


def test_ffn_alignment_by_layer_beside_other_layers(experiments):
    """Models with one expert, where a row's values are heads."""
    expected = {}
    models = {toy.model_id for toy in fixture.MODELS} - {"org/experts"}
    for toy in (fixture.BY_ID[model_id] for model_id in models):
        for (layer, head, side, weight, expert), (_, others) in toy.alignment.items():
            energy = share(toy, (layer, head, side, weight, expert))
            for heads_of, value in {"the same layer": energy, "other layers": others}.items():
                ratio = None if None in (energy, value) else value / chance(toy)
                expected.setdefault((toy.model_id, side, layer, weight, heads_of), []).append(ratio)
    found = [row for row in answer(experiments, "ffn_alignment_by_layer") if row["model_id"] in models]
    check_means(found, ["model_id", "side", "layer", "weight", "heads_of"], expected, "mean_ratio")


def test_layer_profile_is_stretched_to_0_and_1(experiments):
    names = {
        "effective rank of weights": 0,
        "overlap with the next layer": 1,
        "overlap with the bottleneck": 2,
        "MLP alignment": 3,
    }
    found = answer(experiments, "layer_profile")
    expected = {}
    for toy in fixture.MODELS:
        for side in fixture.SIDES:
            for name, column in names.items():
                values = {layer: row[column] for layer, row in profile(toy, side).items()}
                known = [value for value in values.values() if value is not None]
                for layer, value in values.items():
                    varies = value is not None and max(known) > min(known)
                    stretched = (value - min(known)) / (max(known) - min(known)) if varies else None
                    expected[toy.model_id, side, name, layer] = (stretched, bottleneck(toy))
    keys = ["model_id", "side", "profile", "layer"]
    assert len(found) == len(expected)
    for row in found:
        wanted, layer = expected[tuple(row[key] for key in keys)]
        assert row["normalized"] == (None if wanted is None else pytest.approx(wanted, rel=1e-7, abs=1e-9))
        assert row["bottleneck_layer"] == layer


def test_bottleneck_trends_over_heads(experiments):
    """Against the view, which has its own test."""
    columns = {
        ("as measured", "before"): ("pre_trend", "verdict"),
        ("as measured", "after"): ("post_trend", "verdict"),
        ("minus its mean at the distance", "before"): ("pre_trend_detrended", "verdict_detrended"),
        ("minus its mean at the distance", "after"): ("post_trend_detrended", "verdict_detrended"),
    }
    expected, points = {}, {}
    rows = experiments.execute("from bottleneck_trends")
    names = [column[0] for column in rows.description]
    for row in (dict(zip(names, values, strict=True)) for values in rows.fetchall()):
        for kind, (trend, named) in columns.items():
            key = (row["model_id"], row["side"], *kind, row["bottleneck_layer"])
            expected.setdefault(key, []).append(row[trend])
            points[key] = points.get(key, 0) + (row[named] == "convergence point")
    keys = ["model_id", "side", "overlap", "layers", "bottleneck_layer"]
    found = answer(experiments, "bottleneck_trends")
    check_means(found, keys, expected, "mean_trend")
    assert {tuple(row[key] for key in keys): row["n_convergence_points"] for row in found} == points
    assert sum(points.values()) > 0
