"""Each macro of sql/macros/ against a closed form or a count by hand."""

import math
import re
from itertools import pairwise

import duckdb
import pytest

from eigenhouse.analyses.answers import asking, saved
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles, store

MACROS = sqlfiles.files("macros")
REL = 1e-12  # a handful of operations on doubles


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    """An empty warehouse, read only: what holds here holds for every reader."""
    path = tmp_path_factory.mktemp("macros") / "w.duckdb"
    store.connect(path, read_only=False).close()
    with store.connect(path, read_only=True) as con:
        yield con


def one(con, sql, *parameters):
    [[value]] = con.execute(sql, *parameters).fetchall()
    return value


def of_values(con, expression, values):
    """An aggregate's answer over the column `value`."""
    return one(con, f"select {expression} from (select unnest($values::double[]) as value)", {"values": values})


# --- what is declared stays in the file ---


@pytest.mark.parametrize("path", MACROS, ids=lambda path: path.stem)
def test_a_macro_is_in_the_file_with_its_comment(con, path):
    found = con.execute("select distinct comment from duckdb_functions() where function_name = ?", [path.stem])
    assert found.fetchall() == [(sqlfiles.header(path)["about"],)]
    assert f"create or replace macro {path.stem}" in path.read_text()


def test_no_macro_has_the_name_of_a_table_or_view():
    names = [path.stem for folder in ("tables", "views", "macros") for path in sqlfiles.files(folder)]
    assert len(names) == len(set(names))


def test_every_macro_is_read_by_another_file():
    texts = {path: path.read_text() for path in sqlfiles.SQL_DIR.rglob("*.sql")}
    for path in MACROS:
        assert any(f"{path.stem}(" in text for other, text in texts.items() if other != path), path.stem


def test_a_macro_that_has_gone_comes_back(tmp_path):
    path = tmp_path / "w.duckdb"
    with store.connect(path, read_only=False) as con:
        con.execute("drop macro verdict_shape")
    with store.connect(path, read_only=False) as con:
        assert one(con, "select verdict_shape(1)") == "very stable"


def test_a_missing_macro_comes_with_what_adds_it(con):
    """Whoever reads a file that an earlier program built."""
    with duckdb.connect() as old, pytest.raises(EigenhouseError, match=r"before the macro verdict_shape; `make views`"):
        asking.ask(old, "select verdict_shape(1)", {})
    with pytest.raises(EigenhouseError) as refused:
        asking.ask(con, "select verdict_shap(1)", {})
    assert "make views" not in str(refused.value)


# --- spectra ---


@pytest.mark.parametrize(
    ("sigmas", "rank"),
    [([2, 2, 2], 3), ([7], 1), ([5, 0, 0], 1), ([3, 2], 0.6**-0.6 * 0.4**-0.4), ([0, 0], None), ([], None)],
)
def test_effective_rank(con, sigmas, rank):
    assert of_values(con, "effective_rank(value)", sigmas) == (rank and pytest.approx(rank, rel=REL))


@pytest.mark.parametrize(("sigmas", "rank"), [([2, 2, 2], 3), ([2, 1], 1.25), ([0, 5], 1), ([0, 0], None)])
def test_stable_rank(con, sigmas, rank):
    assert of_values(con, "stable_rank(value)", sigmas) == (rank and pytest.approx(rank, rel=REL))


def test_descriptors_of_two_values_and_of_none(con):
    """Of 3 and 1 by hand; an all-zero spectrum has ten nulls; the table of the rollup has the same ten names."""
    found = of_values(con, "descriptors(value)", [1, 3])
    expected = {
        "op_norm": 3, "fro_norm": math.sqrt(10), "nuclear_norm": 4, "effective_modes": 4 / 3,
        "effective_rank": 0.75**-0.75 * 0.25**-0.25,
        "spectral_entropy_nats": -0.9 * math.log(0.9) - 0.1 * math.log(0.1),
        "anisotropy": 1.5, "condition_number": 3, "stable_rank": 10 / 9, "participation_ratio": 100 / 82,
    }  # fmt: skip
    assert found == pytest.approx(expected, rel=REL)
    assert of_values(con, "descriptors(value)", [0, 0, 0]) == dict.fromkeys(expected)
    assert of_values(con, "descriptors(value)", [0, 2])["condition_number"] is None
    rollup = sqlfiles.tables()["head_descriptor_rollup"]
    assert [name for name in rollup["columns"] if name not in rollup["grain"]] == list(expected)


@pytest.mark.parametrize(
    ("rows", "least", "expected"),
    [
        ("(1, 2), (2, 4), (3, 6)", 2, 1),
        ("(1, 1), (2, 0), (3, 1), (4, null)", 2, 0),
        ("(1, 0), (2, 1), (3, 1)", 3, math.sqrt(3) / 2),
        ("(1, 5), (2, 5), (3, 5)", 2, None),
        ("(1, 2), (2, 4), (null, 9)", 3, None),
        ("(1, 2)", 2, None),
    ],
)
def test_pearson_r(con, rows, least, expected):
    found = one(con, f"select pearson_r(y, x, least := {least}) from (values {rows}) as pairs(x, y)")
    assert found == (expected if expected is None else pytest.approx(expected, rel=REL, abs=1e-15))


@pytest.mark.parametrize(
    ("product", "square", "other", "cosine"),
    [
        (3, 4, 9, 0.5),
        (-6, 4, 9, -1),
        (7, 4, 9, 1),
        (None, 4, 9, None),
        (3, None, 9, None),
        (0, 0, 9, None),
        (0, 4, 9, 0),
    ],
)
def test_cosine_of(con, product, square, other, cosine):
    """Clipped to [-1, 1]; of nothing there is none."""
    assert one(con, "select cosine_of(?::double, ?::double, ?::double)", [product, square, other]) == cosine


def test_chance_principal_cosine(con):
    """Of the whole space 1; of halves 2 / pi, the mean of |cos| over a circle; of a small share the mean of a quarter
    circle with its edge at 2 sqrt(share), 8 / (3 pi) sqrt(share), within 1e-5."""
    assert one(con, "select chance_principal_cosine(1.0)") == pytest.approx(1, rel=REL)
    assert one(con, "select chance_principal_cosine(0.5)") == pytest.approx(2 / math.pi, rel=REL)
    law = 8 / (3 * math.pi) * math.sqrt(1e-6)
    assert one(con, "select chance_principal_cosine(1e-6)") == pytest.approx(law, rel=1e-5)


def test_chance_std_cosine(con):
    assert one(con, "select chance_std_cosine(100, 4)") == pytest.approx(1 / 200, rel=REL)
    assert one(con, "select chance_std_cosine(100, 0)") is None


# --- verdicts ---

BOUNDS = {  # a threshold itself is on the side of the last word
    "verdict_shape(?)": [(1, "very stable"), (0.98, "approximately stable"), (0.9, "not stable"), (None, None)],
    "verdict_rescale(?)": [(0.0999, "supported"), (0.1, "partially supported"), (0.3, "rejected"), (None, None)],
    "verdict_operator(?)": [(1, "strong"), (0.9, "medium"), (0.5, "weak"), (0.1, "rejected"), (None, None)],
    "verdict_alignment(?)": [(1.51, "coupled"), (1.5, "near chance"), (0.7, "near chance"), (0.69, "avoids")],
    "verdict_overlap(?, 1)": [(0.06, "phase structure"), (0.05, "redundant"), (None, None)],
    "verdict_overlap(0, ?)": [(0.71, "redundant"), (0.7, "moderate"), (None, "moderate")],
    "verdict_trends(?, -1)": [(0.31, "convergence point"), (0.3, "none"), (None, None)],
    "verdict_trends(1, ?)": [(-0.31, "convergence point"), (-0.3, "partial"), (None, None)],
}  # fmt: skip


@pytest.mark.parametrize(("call", "value", "verdict"), [(c, *case) for c, cases in BOUNDS.items() for case in cases])
def test_verdicts_at_their_bounds(con, call, value, verdict):
    assert one(con, f"select {call.replace('?', '?::double')}", [value]) == verdict


@pytest.mark.parametrize(
    ("query", "macro"),
    [
        ("shape_stability", "verdict_shape"),
        ("rescale_summary", "verdict_rescale"),
        ("rescale_residual_by_layer", "verdict_rescale"),
        ("operator_verdicts", "verdict_operator"),
        ("overlap_summary", "verdict_overlap"),
        ("bottleneck_trends", "verdict_trends"),
    ],
)
def test_a_chart_draws_the_bounds_of_its_verdict(query, macro):
    """The lines that are not chance stand where the macro's numbers are."""
    sql = (sqlfiles.SQL_DIR / "macros" / f"{macro}.sql").read_text().split("create or replace", 1)[1]
    bounds = {float(number) for number in re.findall(r"[<>] (-?[\d.]+)", sql)}
    lines = {value for rule in saved.find(query).chart["rules"] for axis, value in rule.items() if axis in "xy"}
    assert lines - {0} <= bounds and lines - {0}


# --- which layer, which operator, which set ---


def test_where_least_and_most(con):
    """Values within 1e-6 tie, and the first layer has it, the first head within it; a null is neither."""
    rows = "(0, 0, null), (1, 1, 0.5), (1, 0, 0.5000001), (2, 0, 0.75), (3, 0, 0.7500001), (4, 0, 0.6)"
    found = con.execute(
        "select where_least(x, layer), where_most(x, layer), where_least(x, layer, head), where_most(x, layer, head) "
        f"from (values {rows}) as heads(layer, head, x)"
    ).fetchall()
    assert found == [(1, 2, [1, 0], [2, 0])]
    assert one(con, "select where_most(null::double, 1)") is None


def test_is_first_operator(con):
    rows = "('m', 'metric'), ('m', 'head_product'), ('i', 'ov'), ('i', 'head_product'), ('i', 'head_product')"
    found = con.execute(
        f"select model_id, operator from (values {rows}) as spectra(model_id, operator) "
        "qualify is_first_operator(model_id, operator) order by all"
    ).fetchall()
    assert found == [("i", "head_product"), ("i", "head_product"), ("m", "metric")]


def test_is_largest_set(con):
    rows = "('m', 'a', 3), ('m', 'c', 5), ('m', 'b', 5), ('n', 'z', 1)"
    found = con.execute(
        f"select model_id, prompt_set from (values {rows}) as sets(model_id, prompt_set, n) "
        "qualify is_largest_set(model_id, prompt_set, n) order by all"
    ).fetchall()
    assert found == [("m", "b"), ("n", "z")]


def test_set_panel(con):
    rows = "('m', 'a'), ('m', 'b'), ('n', 'a'), ('n', 'a')"
    found = con.execute(
        f"select set_panel(model_id, prompt_set) from (values {rows}) as heads(model_id, prompt_set) order by all"
    ).fetchall()
    assert [panel for (panel,) in found] == ["m, a", "m, b", "n", "n"]


def test_is_anchor(experiments):
    """A name by view anchors, a number as it stands; a model that is not asked for has no name."""
    anchors = experiments.execute(
        "select model_id, anchor_layer from anchors where anchor = 'middle' and operator = 'metric'"
    )
    middles = sorted(anchors.fetchall())
    asked = (
        "select model_id, layer from measured_layers where is_anchor(model_id, 'metric', layer, $wanted, $model) "
        "order by all"
    )
    first = middles[0][0]
    assert experiments.execute(asked, {"wanted": "middle", "model": None}).fetchall() == middles
    assert experiments.execute(asked, {"wanted": "middle", "model": first}).fetchall() == middles[:1]
    assert experiments.execute(asked, {"wanted": "nonsense", "model": None}).fetchall() == []
    numbered = experiments.execute(asked, {"wanted": "1", "model": None}).fetchall()
    assert len(numbered) > 1 and {layer for _, layer in numbered} == {1}


# --- relations ---


def test_with_distance(experiments):
    """Places among the measured layers, by a loop, for every pair of layers of every model."""
    experiments.execute(
        "create or replace temp table layer_pairs as select here.model_id, here.layer, there.layer as other_layer "
        "from measured_layers as here inner join measured_layers as there on here.model_id = there.model_id"
    )
    found = experiments.execute("from with_distance('layer_pairs') order by all").fetchall()
    layers: dict[str, list[int]] = {}
    for model_id, layer in experiments.execute("select model_id, layer from measured_layers order by all").fetchall():
        layers.setdefault(model_id, []).append(layer)
    expected = [
        (model_id, layer, other, some.index(other) - some.index(layer), some.index(layer), len(some))
        for model_id, some in layers.items() for layer in some for other in some
    ]  # fmt: skip
    assert found == sorted(expected)
    assert any(b - a > 1 for some in layers.values() for a, b in pairwise(some)), "no hole to count over"


def test_overlap_phases(con):
    """Three layers by hand, L // 3 = 1: two pairs are adjacent, one is distant."""
    rows = "(0.9, 1), (0.7, 1), (0.2, 2)"
    found = one(con, f"select overlap_phases(x::double, distance, 3) from (values {rows}) as pairs(x, distance)")
    assert found == {
        "off_diagonal_mean": pytest.approx(0.6), "off_diagonal_std": pytest.approx(math.sqrt(0.26 / 3)),
        "off_diagonal_min": pytest.approx(0.2), "off_diagonal_max": pytest.approx(0.9),
        "adjacent_mean": pytest.approx(0.8), "adjacent_std": pytest.approx(0.1),
        "distant_mean": pytest.approx(0.2), "distant_std": 0,
        "gap": pytest.approx(0.6), "verdict": "phase structure",
    }  # fmt: skip


def test_lines_of_heads(con):
    con.execute(
        "create or replace temp table some_heads as select 'm' as model_id, 'metric' as operator, 2 as anchor_layer, * "
        "from (values (0, 0, 1.0, 0.5), (0, 1, 3.0, 0.5), (1, 0, null, 0.5)) as heads(layer, head, value, chance)"
    )
    asked = "select series, layer, head, value, n_heads from lines_of_heads('some_heads'{}) order by all"
    heads = [("mean over heads", 0, None, 2, 2), ("mean over heads", 1, None, None, 0)]
    heads += [("one head", 0, 0, 1, 1), ("one head", 0, 1, 3, 1), ("one head", 1, 0, None, 1)]
    assert con.execute(asked.format("")).fetchall() == heads
    chance = [("chance", 0, None, 0.5, 2), ("chance", 1, None, 0.5, 1)]
    assert con.execute(asked.format(", with_chance := true")).fetchall() == chance + heads


def test_by_descriptor(experiments):
    """Ten rows a head, whose values are those of the columns; a null keeps its row."""
    names = list(experiments.execute("from head_descriptors").pl().columns)[4:]
    wide = experiments.execute("from head_predictors order by all").pl().rows(named=True)
    keys = ("model_id", "operator", "prompt_set", "layer", "head")
    found = {}
    for row in experiments.execute("from by_descriptor('head_predictors')").pl().rows(named=True):
        found[(*(row[key] for key in keys), row["descriptor"])] = row["descriptor_value"]
    assert found == {(*(row[key] for key in keys), name): row[name] for row in wide for name in names}
    assert None in found.values()


# --- words of verdicts ---


def test_what_is_said_of_an_interval_and_of_chance(con):
    assert one(con, "select said_interval(0.25, 0.5)") == "95% interval 0.25 to 0.50, which leaves out chance, 0"
    assert one(con, "select said_interval(-0.25, 0.5)") == "95% interval -0.25 to 0.50, which holds chance, 0"
    assert one(con, "select said_interval(null, null)") == "no interval, for want of layers"
    assert one(con, "select said_chance(0.0625)") == "0.062"
    assert one(con, "select said_chance(null)") == "a level that is unknown without the hidden size"
