"""Is it the same operator: every row of those views against plain loops over the numbers that were stored."""

import math
import statistics
from itertools import pairwise

import duckdb
import experiment_fixture as fixture
import numpy as np
import pytest
from macro_fixture import make_macros

from eigenhouse.ingest.warehouse import sqlfiles

REL = 1e-9  # sums of doubles in another order
ROUNDING = 1e-7  # sqrt(1 - cosine²) makes this of the last digit of a cosine near 1
PAIRED = [toy for toy in fixture.MODELS if toy.cosine]  # a single layer has no pairs


def rows(con, view):
    """Every row of the view by its keys, columns by name."""
    grain = sqlfiles.header(sqlfiles.SQL_DIR / "views" / f"{view}.sql")["grain"]
    con.execute(f"from {view}")
    names = [column[0] for column in con.description]
    found = [dict(zip(names, row, strict=True)) for row in con.fetchall()]
    return {tuple(row.pop(name) for name in grain): row for row in found}


def compare(con, view, wanted):
    """All rows, missing and surplus ones too; each wanted column of each row."""
    found = rows(con, view)
    assert found.keys() == wanted.keys()
    for key, columns in wanted.items():
        for name, value in columns.items():
            is_number = isinstance(value, float)
            tolerance = ROUNDING if "residual" in name else 1e-12
            expected = pytest.approx(value, rel=REL, abs=tolerance) if is_number else value
            assert found[key][name] == expected, (key, name)


def mean(values):
    """The mean of what is there; None of nothing."""
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None


def is_zero(toy, layer, head):
    return not any(toy.sigma["metric", layer, head])


def operator_cosine(toy, head, layer, other):
    if is_zero(toy, layer, head) or is_zero(toy, other, head):
        return None
    own, others = toy.gram[head, layer, layer], toy.gram[head, other, other]
    return max(-1.0, min(1.0, toy.gram[head, min(layer, other), max(layer, other)] / math.sqrt(own * others)))


def heads_of_both(toy, layer, other):
    return range(min(toy.heads_of[layer], toy.heads_of[other]))


def layer_pairs(toy):
    return [(layer, other) for layer in toy.layers for other in toy.layers]


def head_mean(toy, layer, other):
    return mean(operator_cosine(toy, head, layer, other) for head in heads_of_both(toy, layer, other))


def test_operator_cosines(experiments):
    """Every ordered pair of the layers that have the head; the anchor of the temperature is other_layer."""
    wanted = {}
    for toy in fixture.MODELS:
        for layer, other in layer_pairs(toy):
            for head in heads_of_both(toy, layer, other):
                cosine = operator_cosine(toy, head, layer, other)
                gram = toy.gram[head, min(layer, other), max(layer, other)]
                wanted[toy.model_id, "metric", head, layer, other] = {
                    "cosine": cosine,
                    "temperature": None if cosine is None else gram / toy.gram[head, other, other],
                    "residual": None if cosine is None else math.sqrt(1 - cosine**2),
                }
    assert any(row["cosine"] is None for row in wanted.values())
    assert any((row["cosine"] or 0) < 0 for row in wanted.values())
    compare(experiments, "operator_cosines", wanted)


def test_operator_cosine_of_a_layer_with_itself_is_exactly_one(experiments):
    question = "select distinct cosine, residual from operator_cosines where layer = other_layer and cosine is not null"
    assert experiments.execute(question).fetchall() == [(1.0, 0.0)]


def test_operator_cosines_by_layer(experiments):
    wanted = {}
    for toy in fixture.MODELS:
        for layer, other in layer_pairs(toy):
            there = [h for h in heads_of_both(toy, layer, other) if operator_cosine(toy, h, layer, other) is not None]
            cosines = [operator_cosine(toy, head, layer, other) for head in there]
            low, high = min(layer, other), max(layer, other)
            wanted[toy.model_id, "metric", layer, other] = {
                "mean_cosine": mean(cosines),
                "std_cosine": statistics.pstdev(cosines),
                "mean_temperature": mean(toy.gram[head, low, high] / toy.gram[head, other, other] for head in there),
                "mean_residual": mean(math.sqrt(1 - cosine**2) for cosine in cosines),
                "residual_of_mean": math.sqrt(max(0, 1 - mean(cosines) ** 2)),
                "chance_std_cosine": 1 / toy.hidden_size / math.sqrt(len(there)) if layer != other else None,
                "n_heads": len(there),
            }
    assert {row["n_heads"] for row in wanted.values()} == {1, 2, 3}
    compare(experiments, "operator_cosines_by_layer", wanted)


def test_chance_of_an_operator_cosine():
    """Gaussian factors: mean 0, std 1/hidden_size; 4,000 pairs know a std to 1.1 %, and finite sizes cost 1 %."""
    draw, hidden_size, head_dim, n_pairs = np.random.default_rng(5), 97, 16, 4000
    cosines = []
    for _ in range(n_pairs):
        w_q, w_k = draw.standard_normal((2, 2, head_dim, hidden_size))
        grams = [[((w_k[i] @ w_k[j].T) * (w_q[i] @ w_q[j].T)).sum() for j in (0, 1)] for i in (0, 1)]
        cosines.append(grams[0][1] / math.sqrt(grams[0][0] * grams[1][1]))
    assert abs(np.mean(cosines)) < 4 / hidden_size / math.sqrt(n_pairs)
    assert np.std(cosines) == pytest.approx(1 / hidden_size, rel=0.05)


def test_spectrum_against_operator(experiments):
    """Both means over the same heads, the distance in measured layers; nothing of head_product, which has no grams."""
    wanted = {}
    for toy in fixture.MODELS:
        for layer, other in layer_pairs(toy):
            shapes, cosines = [], []
            for head in heads_of_both(toy, layer, other):
                if not is_zero(toy, layer, head) and not is_zero(toy, other, head):
                    one, two = toy.sigma["metric", layer, head], toy.sigma["metric", other, head]
                    product = math.fsum(a * b for a, b in zip(one, two, strict=True))
                    shapes.append(product / math.hypot(*one) / math.hypot(*two))
                    cosines.append(operator_cosine(toy, head, layer, other))
            wanted[toy.model_id, "metric", layer, other] = {
                "mean_shape_cosine": mean(shapes),
                "mean_operator_cosine": mean(cosines),
                "shape_minus_operator": mean(shapes) - mean(cosines),
                "distance": abs(toy.layers.index(layer) - toy.layers.index(other)),
                "n_heads": len(cosines),
            }
    compare(experiments, "spectrum_against_operator", wanted)


def verdict(cosine):
    if cosine is None:
        return None
    return "strong" if cosine > 0.9 else "medium" if cosine > 0.5 else "weak" if cosine > 0.1 else "rejected"


def test_operator_verdicts(experiments):
    wanted = {}
    for toy in fixture.MODELS:
        adjacent = [head_mean(toy, layer, following) for layer, following in pairwise(toy.layers)]
        for anchor in toy.layers:
            to_anchor = mean(head_mean(toy, layer, anchor) for layer in toy.layers)
            to_others = mean(head_mean(toy, layer, anchor) for layer in toy.layers if layer != anchor)
            wanted[toy.model_id, "metric", anchor] = {
                "mean_cosine_to_anchor": to_anchor,
                "mean_cosine_to_others": to_others,
                "adjacent_mean": mean(adjacent),
                "adjacent_min": min(adjacent, default=None),
                "adjacent_max": max(adjacent, default=None),
                "n_layers": len(toy.layers),
                "verdict": verdict(to_anchor),
                "verdict_others": verdict(to_others),
            }
    assert {row["verdict_others"] for row in wanted.values()} >= {None, "strong"}
    assert any(row["verdict"] != row["verdict_others"] for row in wanted.values())
    compare(experiments, "operator_verdicts", wanted)


@pytest.mark.parametrize(
    ("cosine", "to_anchor", "to_others"),
    [(0.9, "strong", "medium"), (0.8, "medium", "medium"), (0.1, "medium", "rejected"), (-0.7, "weak", "rejected"),
     (-0.8, "rejected", "rejected"), (None, "strong", None)],
)  # fmt: skip
def test_thresholds_of_operator_verdicts(cosine, to_anchor, to_others):
    """Two layers, so that the mean to the anchor is (1 + cosine) / 2; a threshold itself is not above it."""
    with duckdb.connect() as con:
        con.execute("create table measured_layers as select 'm' as model_id, range as layer, range as position, "
                    "2 as n_measured from range(2)")  # fmt: skip
        con.execute(
            "create table operator_cosines_by_layer as select 'm' as model_id, 'metric' as operator, a.range as layer, "
            "b.range as other_layer, case when a.range = b.range then 1.0 else $cosine::double end as mean_cosine "
            "from range(2) a, range(2) b", {"cosine": cosine},
        )  # fmt: skip
        make_macros(con)
        con.execute((sqlfiles.SQL_DIR / "views" / "operator_verdicts.sql").read_text())
        found = con.execute("select distinct verdict, verdict_others from operator_verdicts").fetchall()
        assert found == [(to_anchor, to_others)]


def sign(value):
    return (value > 0) - (value < 0)


def agreement(one, two, k):
    """The share of equal signs among the first k, and what the two shares of positives alone would give."""
    if not one[0] or not two[0]:
        return None, None
    share, other = (sum(value > 0 for value in values[:k]) / k for values in (one, two))
    same = sum(sign(a) == sign(b) for a, b in zip(one[:k], two[:k], strict=True))
    return same / k, share * other + (1 - share) * (1 - other)


def agreements(toy):
    """(anchor_layer, layer, head, k) → the two numbers."""
    found = {}
    for anchor, layer in layer_pairs(toy):
        for head in heads_of_both(toy, anchor, layer):
            one, two = toy.eigenvalue[layer, head], toy.eigenvalue[anchor, head]
            for k in (2, 4, 8, 16, 32, 64, 128, 256):
                if k <= min(len(one), len(two)):
                    found[anchor, layer, head, k] = agreement(one, two, k)
    return found


def test_sign_agreement(experiments):
    wanted = {}
    for toy in fixture.MODELS:
        for (anchor, layer, head, k), numbers in agreements(toy).items():
            names = ("agreement", "chance_agreement")
            wanted[toy.model_id, "metric", anchor, layer, head, k] = dict(zip(names, numbers, strict=True))
    assert {key[-1] for key in wanted} == {2, 4, 8}
    assert any(row["agreement"] is None for row in wanted.values())
    compare(experiments, "sign_agreement", wanted)


@pytest.fixture
def wide_heads():
    """One head in three layers of 640, 300 and 6 eigenvalues, one of them 0 at the end of the shortest list."""
    draw = np.random.default_rng(7)
    values = {3: draw.standard_normal(640), 4: draw.standard_normal(300), 9: draw.standard_normal(6)}
    values = {layer: sorted(map(float, own), key=abs, reverse=True) for layer, own in values.items()}
    values[9][-1] = 0.0
    with duckdb.connect() as con:
        con.execute("create table models as select 'm' as model_id, 1 as model_key")
        con.execute("create table eigenvalues (model_key int, operator text, layer int, head int, k int, "
                    "eigenvalue double)")  # fmt: skip
        ranked = [(1, "metric", at, 0, k, value) for at, own in values.items() for k, value in enumerate(own)]
        con.executemany("insert into eigenvalues values (?, ?, ?, ?, ?, ?)", ranked[::-1])
        con.execute((sqlfiles.SQL_DIR / "views" / "sign_agreement.sql").read_text())
        yield con, values


def test_sign_agreement_of_long_spectra(wide_heads):
    """Up to 256 and to the shorter of the two; rows in any order; 0 is a sign of its own."""
    con, values = wide_heads
    wanted = {}
    for anchor, two in values.items():
        for layer, one in values.items():
            for k in (2, 4, 8, 16, 32, 64, 128, 256):
                if k <= min(len(one), len(two)):
                    names = ("agreement", "chance_agreement")
                    wanted["m", "metric", anchor, layer, 0, k] = dict(zip(names, agreement(one, two, k), strict=True))
    compare(con, "sign_agreement", wanted)


def test_sign_agreement_by_stratum(experiments):
    """The compared layer's stratum counts, not the anchor's."""
    wanted = {}
    for toy in fixture.MODELS:
        groups = {}
        for (anchor, layer, _, k), numbers in agreements(toy).items():
            groups.setdefault((anchor, k, toy.stratum(layer)), []).append((layer, *numbers))
        for (anchor, k, stratum), found in groups.items():
            others = [numbers for numbers in found if numbers[0] != anchor and numbers[1] is not None]
            wanted[toy.model_id, "metric", anchor, k, stratum] = {
                "mean_agreement": mean(numbers[1] for numbers in found),
                "mean_agreement_others": mean(numbers[1] for numbers in others),
                "mean_chance_agreement": mean(numbers[2] for numbers in others),
                "n_layers": len({numbers[0] for numbers in others}),
                "n_pairs": len(others),
            }
    assert {key[-1] for key in wanted} == {"early", "mid", "late"}
    compare(experiments, "sign_agreement_by_stratum", wanted)


def test_eigenvalue_balance(experiments):
    wanted = {}
    for toy in fixture.MODELS:
        for layer, head in toy.heads:
            values = toy.eigenvalue[layer, head]
            positive, mass = [value for value in values if value > 0], math.fsum(map(abs, values))
            wanted[toy.model_id, "metric", layer, head] = {
                "positive_fraction": len(positive) / len(values) if mass else None,
                "positive_mass": math.fsum(positive) / mass if mass else None,
                "n_eigenvalues": len(values),
            }
    assert None in [row["positive_mass"] for row in wanted.values()]
    compare(experiments, "eigenvalue_balance", wanted)


def chance_of_cosines(n_directions, hidden_size):
    """The limit law, as its two branches are written in the contract."""

    def below_half(share):
        root = math.sqrt(4 * share * (1 - share))
        return (root - (1 - 2 * share) * math.atan2(root, 1 - 2 * share)) / (math.pi * share)

    share = n_directions / hidden_size
    if share <= 0.5:
        return below_half(share)
    return (2 * share - 1 + ((1 - share) * below_half(1 - share) if share < 1 else 0)) / share


def test_eigenspace_angles(experiments):
    """Every ordered pair of a head's layers, itself too; null beside a zero head."""
    wanted = {}
    for toy in PAIRED:
        for layer, other in layer_pairs(toy):
            for head in heads_of_both(toy, layer, other):
                at = (head, min(layer, other), max(layer, other))
                cosines, top1 = ([1.0], 1.0) if layer == other else (toy.cosine[at], toy.top1_overlap[at])
                is_null = is_zero(toy, layer, head) or is_zero(toy, other, head)
                wanted[toy.model_id, head, layer, other] = {
                    "mean_cosine": None if is_null else mean(cosines),
                    "min_cosine": None if is_null else min(cosines),
                    "top1_overlap": None if is_null else top1,
                    "chance_mean_cosine": chance_of_cosines(fixture.N_EIGEN, toy.hidden_size),
                    "chance_top1_overlap": 1 / toy.hidden_size,
                    "n_directions": fixture.N_EIGEN,
                    "is_degenerate": False,
                    "is_top1_degenerate": False,
                }
    assert len(PAIRED) == len(fixture.MODELS) - 1
    assert None in [row["mean_cosine"] for row in wanted.values()]
    compare(experiments, "eigenspace_angles", wanted)


@pytest.fixture
def eigenspaces():
    """eigenspace_angles over tables to fill: one head in layers 2 and 6, its two flags apart."""

    def angles(cosines, hidden_size, **flags):
        con = duckdb.connect()
        con.execute("create table models as select 'm' as model_id, 1 as model_key, $size::int as hidden_size",
                    {"size": hidden_size})  # fmt: skip
        for table in ("principal_cosines", "eigenvector_overlaps", "head_norms"):
            con.execute((sqlfiles.SQL_DIR / "tables" / f"{table}.sql").read_text())
        for basis, shown in (("eigen", cosines), ("key", [0.125] * 9)):
            ranked = [(1, 0, basis, 2, 6, k, cosine, flags["span"]) for k, cosine in enumerate(shown)]
            con.executemany("insert into principal_cosines values (?, ?, ?, ?, ?, ?, ?, ?)", ranked)
        con.execute("insert into eigenvector_overlaps values (1, 0, 2, 6, 0.25, $top1)", {"top1": flags["top1"]})
        make_macros(con)
        for view in ("eigenspace_pairs", "eigenspace_angles"):
            con.execute((sqlfiles.SQL_DIR / "views" / f"{view}.sql").read_text())
        return rows(con, "eigenspace_angles")

    return angles


@pytest.mark.parametrize(("span", "top1"), [(True, False), (False, True)])
def test_degenerate_eigenspaces_are_flagged(eigenspaces, span, top1):
    """Both ways round; a layer has the same directions as itself, whoever chose them. Other bases don't count."""
    found = eigenspaces([0.75, 0.25], None, span=span, top1=top1)
    assert found.keys() == {("m", 0, layer, other) for layer in (2, 6) for other in (2, 6)}
    for (_, _, layer, other), row in found.items():
        is_pair = layer != other
        assert (row["mean_cosine"], row["min_cosine"]) == ((0.5, 0.25) if is_pair else (1, 1))
        assert (row["is_degenerate"], row["is_top1_degenerate"]) == (span and is_pair, top1 and is_pair)
        assert (row["chance_mean_cosine"], row["chance_top1_overlap"]) == (None, None)  # hidden_size is not known


@pytest.mark.parametrize(("n_directions", "hidden_size", "rel"), [(5, 97, 0.04), (16, 97, 0.015), (60, 97, 0.01)])
def test_chance_of_principal_cosines(eigenspaces, n_directions, hidden_size, rel):
    """The view against random subspaces: the limit law is 2 % high for five directions, 1 % for sixteen."""
    draw, means = np.random.default_rng(11), []
    for _ in range(400):
        one, two = (np.linalg.qr(draw.standard_normal((hidden_size, n_directions)))[0] for _ in range(2))
        means.append(np.linalg.svd(one.T @ two, compute_uv=False).mean())
    found = eigenspaces([0.5] * n_directions, hidden_size, span=False, top1=False)
    for row in found.values():
        assert row["chance_mean_cosine"] == pytest.approx(np.mean(means), rel=rel)


@pytest.mark.parametrize(("n_directions", "expected"), [(5, 2 / math.pi), (10, 1)])
def test_chance_of_principal_cosines_at_its_ends(eigenspaces, n_directions, expected):
    """Half of the directions: the arcsine law's mean. All of them: nothing is left to chance."""
    found = eigenspaces([0.5] * n_directions, 10, span=False, top1=False)
    for row in found.values():
        assert row["chance_mean_cosine"] == pytest.approx(expected, rel=1e-12)
