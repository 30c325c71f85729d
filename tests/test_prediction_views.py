"""What predicts entropy: the views of correlations against plain loops over the numbers the warehouse was given."""

import math
import statistics

import duckdb
import experiment_fixture as fixture
import numpy as np
import polars as pl
import pytest
from macro_fixture import make_macros

from eigenhouse.analyses.answers import asking, formats, saved
from eigenhouse.ingest.warehouse import sqlfiles

TARGETS = {"entropy_nats": "n_queries", "logit_std": "n_multi_queries", "entropy_without_sink_nats": "n_multi_queries"}
DESCRIPTORS = (
    "op_norm", "fro_norm", "nuclear_norm", "effective_modes", "effective_rank", "spectral_entropy_nats",
    "anisotropy", "condition_number", "stable_rank", "participation_ratio",
)  # fmt: skip
REL = 1e-9
# Student's t, 97.5 %, from printed tables; the view's series is lower by at most the share beside it
T_TABLE = {2: 4.302653, 3: 3.182446, 4: 2.776445, 5: 2.570582, 6: 2.446912, 7: 2.364624, 10: 2.228139, 11: 2.200985}
SHORT = {2: 0.008, 3: 0.0013, 4: 0.0004}


def descriptors(sigmas):
    """Every descriptor of one spectrum, by its definition; none of an all-zero one."""
    total, energy = math.fsum(sigmas), math.fsum(s * s for s in sigmas)
    if not total:
        return dict.fromkeys(DESCRIPTORS)
    largest, shares, squares = max(sigmas), [s / total for s in sigmas], [s * s / energy for s in sigmas]
    return {
        "op_norm": largest,
        "fro_norm": math.sqrt(energy),
        "nuclear_norm": total,
        "effective_modes": total / largest,
        "effective_rank": math.exp(-math.fsum(p * math.log(p) for p in shares if p)),
        "spectral_entropy_nats": -math.fsum(q * math.log(q) for q in squares if q),
        "anisotropy": largest / (total / len(sigmas)),
        "condition_number": largest / min(sigmas) if min(sigmas) else None,
        "stable_rank": energy / largest**2,
        "participation_ratio": energy**2 / math.fsum(s**4 for s in sigmas),
    }


def attention(toy, prompt_set, layer, head):
    """The targets of one head: means over the set's prompts, each with its own weight."""
    prompts = [row for (name, _, *at), row in toy.attention.items() if (name, *at) == (prompt_set, layer, head)]
    return {
        target: math.fsum(row[target] * row[weight] for row in prompts) / sum(row[weight] for row in prompts)
        if prompts
        else None
        for target, weight in TARGETS.items()
    }


def predictors():
    """The rows of head_predictors: (model_id, operator, prompt_set, layer, head) → stratum and numbers."""
    return {
        (toy.model_id, operator, prompt_set, layer, head): {
            "stratum": toy.stratum(layer),
            **descriptors(toy.sigma[operator, layer, head]),
            **attention(toy, prompt_set, layer, head),
        }
        for toy in fixture.MODELS
        for prompt_set in (fixture.PROMPT_SETS if toy.attention else [None])
        for operator, layer, head in toy.sigma
    }


def pearson(pairs):
    if len({x for x, _ in pairs}) < 2 or len({y for _, y in pairs}) < 2:
        return None
    return statistics.correlation(*zip(*pairs, strict=True))


def groups():
    """(model_id, operator, prompt_set, stratum, descriptor, target) → layer → the pairs of its heads."""
    found = {}
    for (model_id, operator, prompt_set, layer, _), row in predictors().items():
        for stratum in ("all", row["stratum"]):
            for descriptor in DESCRIPTORS:
                for target in TARGETS:
                    key = (model_id, operator, prompt_set, stratum, descriptor, target)
                    pairs = found.setdefault(key, {}).setdefault(layer, [])
                    if row[descriptor] is not None and row[target] is not None:
                        pairs.append((row[descriptor], row[target]))
    return found


def flat(layers, without=None):
    return [pair for layer, pairs in layers.items() if layer != without for pair in pairs]


def jackknifed(layers):
    """Fisher's z and its error by leaving out one layer after another, and the degrees of freedom."""
    layers = {layer: pairs for layer, pairs in layers.items() if pairs}
    shortened = [pearson(flat(layers, layer)) for layer in layers]
    if len(layers) < 3 or None in shortened or pearson(flat(layers)) is None:
        return None
    clipped = [math.atanh(max(-1 + 1e-12, min(r, 1 - 1e-12))) for r in [pearson(flat(layers)), *shortened]]
    n, (z, *zs) = len(layers), clipped
    return z, math.sqrt((n - 1) / n * math.fsum((one - statistics.fmean(zs)) ** 2 for one in zs)), n - 1


def near(value, rel=REL):
    return value if value is None or isinstance(value, str) else pytest.approx(value, rel=rel, abs=1e-12)


def answer(con, view, n_keys):
    rows = con.execute(f"from {view}").fetchall()
    names = [column[0] for column in con.description][n_keys:]
    found = {row[:n_keys]: dict(zip(names, row[n_keys:], strict=True)) for row in rows}
    assert len(found) == len(rows)
    return found


def test_head_predictors(experiments):
    wanted = predictors()
    found = answer(experiments, "head_predictors", 5)
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        assert found[key] == {name: near(value) for name, value in row.items()}, key


def test_correlations_without_layer(experiments):
    wanted = groups()
    found = answer(experiments, "correlations_without_layer", 7)
    assert found.keys() == {(*key, layer) for key, layers in wanted.items() for layer in layers}
    for (*key, layer), row in found.items():
        layers = wanted[tuple(key)]
        whole = pearson(flat(layers))
        assert row == {
            "n": len(flat(layers)),
            "n_in_layer": len(layers[layer]),
            "pearson_r": near(whole),
            "pearson_without": None if whole is None else near(pearson(flat(layers, layer))),
        }, (key, layer)


def test_descriptor_correlations(experiments):
    wanted = groups()
    found = answer(experiments, "descriptor_correlations", 6)
    assert found.keys() == wanted.keys()
    for key, layers in wanted.items():
        row = found[key]
        assert row["n"] == len(flat(layers))
        assert row["n_layers"] == sum(map(bool, layers.values()))
        assert row["pearson_r"] == near(pearson(flat(layers))), key
        assert_interval(row, jackknifed(layers))


def assert_interval(row, expected):
    if expected is None:
        assert (row["pearson_low"], row["pearson_high"]) == (None, None)
        return
    z, error, freedom = expected
    widest, narrowest = T_TABLE[freedom] * error, T_TABLE[freedom] * error * (1 - SHORT.get(freedom, 0.0002))
    assert math.tanh(z - widest) - 1e-6 <= row["pearson_low"] <= math.tanh(z - narrowest) + 1e-6
    assert math.tanh(z + narrowest) - 1e-6 <= row["pearson_high"] <= math.tanh(z + widest) + 1e-6


def test_the_fixture_has_what_the_correlations_may_stumble_over():
    n_pairs = {key: len(flat(layers)) for key, layers in groups().items()}
    assert n_pairs["org/silent", "metric", None, "all", "op_norm", "entropy_nats"] == 0
    assert n_pairs["org/one", "metric", "std@0a1b2c3d", "late", "op_norm", "entropy_nats"] == 1
    assert n_pairs["org/zero", "metric", "std@0a1b2c3d", "all", "op_norm", "entropy_nats"] == 14
    assert jackknifed(groups()["org/alike", "metric", "std@0a1b2c3d", "all", "op_norm", "entropy_nats"]) is None


def test_best_descriptors(experiments):
    wanted = {}
    for (*key, stratum, descriptor, target), layers in groups().items():
        if stratum == "all":
            wanted.setdefault((*key, target), {})[descriptor] = pearson(flat(layers))
    found = answer(experiments, "best_descriptors", 4)
    all_r = answer(experiments, "descriptor_correlations", 6)
    assert found.keys() == wanted.keys()
    for (*key, target), correlations in wanted.items():
        row = found[*key, target]
        known = {descriptor: round(abs(r), 12) for descriptor, r in correlations.items() if r is not None}
        if not known:
            assert row == dict.fromkeys(row) | {"n": 0, "n_layers": 0}
            continue
        best = min(name for name, size in known.items() if size == max(known.values()))
        expected = {"descriptor": best, **all_r[*key, "all", best, target]}
        assert row == {name: near(value) for name, value in expected.items()}


# --- heads made up for one question, of as many models as it takes ---


def of_heads(heads):
    """descriptor_correlations over rows of (model_id, layer, head, x, y): x is op_norm, y entropy_nats."""
    con = duckdb.connect()
    names = ", ".join(f"{name} double" for name in (*DESCRIPTORS, *TARGETS))
    keys = "model_id varchar, operator varchar, prompt_set varchar, layer int, head int, stratum varchar"
    con.execute(f"create table head_predictors ({keys}, {names})")
    names = ["model_id", "layer", "head", "op_norm", "entropy_nats"]
    con.register("made_up", pl.DataFrame(heads, schema=names, orient="row"))
    constants = "'metric' as operator, 's' as prompt_set, 'late' as stratum"
    con.execute(f"insert into head_predictors by name select {constants}, * from made_up")
    make_macros(con)
    for name in ("correlations_without_layer", "descriptor_correlations"):
        con.execute((sqlfiles.SQL_DIR / f"views/{name}.sql").read_text(encoding="utf-8"))
    con.execute(
        "select model_id, n, n_layers, pearson_r, pearson_low, pearson_high from descriptor_correlations"
        " where stratum = 'all' and descriptor = 'op_norm' and target = 'entropy_nats' order by model_id"
    )
    return con.fetchall()


def test_a_perfect_predictor():
    heads = [("m", layer, head, layer * 7.0 + head, 3 - layer - head / 7) for layer, head in np.ndindex(5, 2)]
    [row] = of_heads(heads)
    assert row == ("m", 10, 5, near(-1), near(-1), near(-1))


def test_a_layer_without_numbers_is_none():
    """A null keeps its head out, a layer of nulls is no layer, and a constant has no correlation however large."""
    draw = np.random.default_rng(3)
    some = [(layer, head, *map(float, draw.normal(size=2))) for layer in range(4) for head in range(3)]
    holes = [
        (layer, head, None if layer == 1 else x, None if (layer, head) == (2, 2) else y) for layer, head, x, y in some
    ]
    heads = [("holes", *row) for row in holes]
    heads += [("large", layer, head, x + 1e6, y) for layer, head, x, y in some]
    # in binary none of these is a number of few digits, so that their means are rounded
    constants = [1 / 3, 0.1, 1e6 / 7, 1.1e-7]
    uneven = [(layer, head, *map(float, draw.normal(size=2))) for layer in range(5) for head in range(2 * layer + 1)]
    for x in constants:
        heads += [(f"constant {x}", layer, head, x, y) for layer, head, _, y in uneven]
        heads += [(f"carried {x}", layer, head, x * (1 + (layer == 3) * more), y) for layer, head, more, y in uneven]
    found = {row[0]: row[1:] for row in of_heads(heads)}
    kept = {
        layer: [(x, y) for at, _, x, y in holes if at == layer and x is not None and y is not None]
        for layer in (0, 2, 3)
    }
    z, error, freedom = jackknifed(kept)
    assert found["holes"][:3] == (8, 3, near(pearson(flat(kept))))
    assert_interval(dict(zip(("pearson_low", "pearson_high"), found["holes"][3:], strict=True)), (z, error, freedom))
    assert found["large"][2] == near(pearson([(x, y) for *_, x, y in some]), rel=1e-7)
    for x in constants:
        assert found[f"constant {x}"] == (25, 5, None, None, None)
        carried = pearson([(1 + (layer == 3) * more, y) for layer, _, more, y in uneven])
        assert found[f"carried {x}"] == (25, 5, near(carried), None, None)  # without layer 3 nothing varies


def test_the_interval_covers_what_it_promises():
    """400 models of 12 alike layers of 8 heads: the true r lies inside in 95 % of them, with heads alone in 75 %."""
    draw = np.random.default_rng(11)
    n_models, n_layers, n_heads, truth = 400, 12, 8, 0.5
    noise = draw.normal(size=(2, n_models, n_layers, 1)) + draw.normal(size=(2, n_models, n_layers, n_heads))
    x, y = noise[0], truth * noise[0] + math.sqrt(1 - truth**2) * noise[1]
    heads = [
        (f"m{model}", layer, head, float(x[model, layer, head]), float(y[model, layer, head]))
        for model, layer, head in np.ndindex(n_models, n_layers, n_heads)
    ]
    rows = of_heads(heads)
    covered = statistics.fmean(low <= truth <= high for *_, low, high in rows)
    naive = 1.959964 / math.sqrt(n_layers * n_heads - 3)
    covered_by_heads = statistics.fmean(abs(math.atanh(r) - math.atanh(truth)) <= naive for *_, r, _, _ in rows)
    assert covered_by_heads < 0.85
    assert 0.92 <= covered <= 0.98


# --- saved queries that compute ---


def quantile(values, share):
    """Between the two nearest of the sorted values, in proportion."""
    ordered, at = sorted(values), share * (len(values) - 1)
    below, above = ordered[math.floor(at)], ordered[math.ceil(at)]
    return below + (at - math.floor(at)) * (above - below)


def test_model_against_model(experiments):
    """Medians and quartiles over the heads that have both; chance is the mean entropy of the null spectra's shares."""
    asking.ask(experiments, saved.find("model_against_model").sql, {"model": None})
    found = {row["model_id"]: row for row in formats.records(experiments) if row["prompt_set"] == "std@0a1b2c3d"}
    assert found.keys() == {toy.model_id for toy in fixture.MODELS if toy.attention}
    nulls = fixture.null_sigma()
    for toy in [toy for toy in fixture.MODELS if toy.attention]:
        shares, entropies = [], []
        for layer, head in toy.heads:
            rank = descriptors(toy.sigma["metric", layer, head])["effective_rank"]
            if rank is None:
                continue
            prompts = [toy.attention["std@0a1b2c3d", prompt, layer, head] for prompt in range(2)]
            weighted = math.fsum(row["entropy_fraction"] * row["n_multi_queries"] for row in prompts)
            shares.append(rank / min(toy.head_dim, toy.hidden_size))
            entropies.append(weighted / sum(row["n_multi_queries"] for row in prompts))
        logs = [
            math.log(descriptors(sigma)["effective_rank"])
            for (hidden_size, head_dim, _), sigma in nulls.items()
            if (hidden_size, head_dim) == (toy.hidden_size, toy.head_dim)
        ]
        row, parts = found[toy.model_id], {"rank": shares, "entropy": entropies}
        assert row["n_heads"] == len(shares)
        for name, share in {"lower": 0.25, "median": 0.5, "upper": 0.75}.items():
            for part, values in parts.items():
                assert row[f"{name}_{part}_fraction"] == near(quantile(values, share))
        chance = math.exp(statistics.fmean(logs)) / toy.head_dim if logs else None
        assert row["chance_rank_fraction"] == near(chance)
