"""Charts of few, some and many models: the form of each, its marks counted, its numbers against plain loops.

Only specifications are looked at: that they are drawn is test_charts.py's.
"""

import json
import math
import re
import statistics
from collections import Counter

import crowd_fixture as fixture
import duckdb
import pytest
from test_charts import DRAWN as EVERY
from test_charts import a_chart, png_size, svg

from eigenhouse.analyses.answers import asking, saved
from eigenhouse.analyses.charts import charts, choosing, crowds, forms, groups, limits, pictures
from eigenhouse.analyses.charts.limits import AsksForModel
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles, store

# of one the rows belong to no model: it is drawn alike of however many
DRAWN = [name for name in EVERY if name != "models_against_tag"]
FEW, SOME, MANY = 4, 10, 62
DEPTH = [place / 5 for place in range(6)]  # of the longer of the two models that are copied
BYS = {"family": 3, "architecture": 1, "n_layers": 2, "n_parameters": 5, "tag:mmlu": 2, "tag:licence": 2}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A warehouse of many models, open for reading."""
    folder = tmp_path_factory.mktemp("crowds")
    con = store.connect(fixture.grown(fixture.build(folder), folder / "many.duckdb", MANY), read_only=True)
    yield con
    con.close()


def models(con, n):
    """So many of them, short and long ones by turns; no parameter for all."""
    con.execute("select model_id from models order by model_key % 1_000_000_000_000, model_key")
    names = [name for (name,) in con.fetchall()]
    short, long = names[: MANY // 2], names[MANY // 2 :]
    return {} if n == MANY else {"model": [*short[: n // 2], *long[: n // 2]]}


def drawn(con, name, by=None, n=MANY):
    return charts.draw(con, saved.find(name), models(con, n) | ({"by": by} if by else {}))


def rows_of(spec):
    return spec["datasets"]["rows"]


def shown(spec):
    return " ".join(spec["title"]["subtitle"])


def channels(spec):
    """Each channel of the marks with its name, and the facet."""
    layers = (spec.get("spec") or spec)["layer"]
    return [("facet", spec.get("facet")), *(pair for layer in layers for pair in layer.get("encoding", {}).items())]


def said(name, size):
    """The form that a header states."""
    return saved.find(name).chart["crowd"][size]


def named(size, *wanted):
    return [name for name in DRAWN if said(name, size) in wanted]


# --- what each chart states ---


@pytest.mark.parametrize("name", DRAWN)
def test_every_chart_states_how_it_shows_some_and_many(name):
    stated = {*forms.FORMS, crowds.ASK}
    assert {said(name, "some"), said(name, "many")} <= stated
    matrix = "other_layer" in str(saved.find(name).chart) or saved.find(name).chart.get("y") == "head:O"
    assert matrix <= (said(name, "some") == crowds.ASK)


@pytest.mark.parametrize(
    "name", ["entropy_by_layer", "overlap_matrix", "shape_stability", "operator_cosines_to_anchor"]
)
def test_few_models_are_drawn_as_ever(house, name):
    """The answer itself, by the header's own channels."""
    query = saved.find(name)
    types, rows = charts.answer(house, query, models(house, FEW))
    assert charts.drawn(house, query) == charts.spec_of(query, types, rows)


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "entropy_predictors"])
@pytest.mark.parametrize("size", ["some", "many"])
def test_a_crowd_has_no_more_rows_than_marks(house, name, size):
    """By form: a row a model and cell, a row a model, or as many however many the models are."""
    n_models = SOME if size == "some" else MANY
    if said(name, size) == crowds.ASK:
        with pytest.raises(AsksForModel, match=f"{name} draws each model by itself, 12 at most.* 62; want MODEL="):
            drawn(house, name)
        return
    if name == "training":  # the copies are of one step
        return
    spec = drawn(house, name, n=n_models)
    rows = rows_of(spec)
    n_splits = len({tuple(row.get(role) for role in ("panel", *crowds.SPLITS)) for row in rows})
    n_words = len({row.get("row_name", row.get("place")) for row in rows}) if said(name, size) != "bands" else 6
    bounds = {
        "cells": n_models * 6 * n_splits if "from_place" in rows[0] else n_models * n_words * n_splits,
        "intervals": n_models * n_splits,
        "bands": len(fixture.FAMILIES) * len(DEPTH) * n_splits,
        "distribution": len(fixture.FAMILIES) * n_words * n_splits,
        "scatter": n_models * n_splits,
    }
    assert 0 < len(rows) <= bounds[said(name, size)]
    assert len({json.dumps(row) for row in rows}) == len(rows)
    assert re.match(r"(Median and middle half of )?\d+ models", shown(spec)), shown(spec)
    assert "family" in shown(spec)
    assert len(json.dumps(spec)) < 300_000


# --- forms against loops ---


def test_bands_are_quantiles_of_the_nearest_layers(house):
    """The median and the middle half over the models of a family, at six places of each model's own depth."""
    con = house
    rows = rows_of(drawn(con, "entropy_by_layer"))
    found = {(row["grp"], row["panel_column"], round(row["place"], 6)): row for row in rows}
    heads = con.execute(
        "select models.family, model_id, n_layers, prompt_set, layer, avg(entropy_nats) from head_attention"
        " inner join models using (model_id) group by all"
    ).fetchall()
    values = {(model, prompts, layer): mean for _, model, _, prompts, layer, mean in heads}
    models = {(family, model, n_layers, prompts) for family, model, n_layers, prompts, *_ in heads}
    for family in fixture.FAMILIES:
        for prompts in {prompts for *_, prompts in models}:
            mine = [(model, n) for own, model, n, of in models if (own, of) == (family, prompts)]
            for place in DEPTH:
                some = sorted(values[model, prompts, math.floor(place * (n - 1) + 0.5)] for model, n in mine)
                row = found.pop((family, prompts, round(place, 6)))
                assert row["value"] == pytest.approx(statistics.median(some), rel=1e-12)
                low, _, high = statistics.quantiles(some, n=4, method="inclusive")
                assert (row["low"], row["high"]) == (pytest.approx(low, rel=1e-12), pytest.approx(high, rel=1e-12))
                assert row["n_models"] == len(mine)
    assert found == {}


def test_the_outermost_models_are_named(house):
    """The copies' entropy rises with their number: the last lies highest, one of the first lowest, once a panel."""
    rows = rows_of(drawn(house, "entropy_by_layer"))
    highest = [row["highest_model"] for row in rows if row["highest_model"]]
    lowest = [row["lowest_model"] for row in rows if row["lowest_model"]]
    assert len(highest) == len(lowest) == 2  # prompt sets
    assert {name.split("-")[-1] for name in highest} == {"30"}
    assert {*lowest} <= {"org/short", "org/long"}


def test_a_row_a_model_below_its_group(house):
    """Layers at their share of the depth; the rows of the axis are groups, each with its models."""
    spec = drawn(house, "metric_against_head_product", n=SOME)
    rows = rows_of(spec)
    assert len(rows) == sum(fixture.LAYERS.values()) * SOME // 2
    first = [row for row in rows if row["model"] == "org/short"]
    assert [(row["from_place"], row["to_place"], row["layers"]) for row in first] == [
        (layer / 4, (layer + 1) / 4, str(layer)) for layer in range(4)
    ]
    axis = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    counts = Counter(row["grp"] for row in {row["model"]: row for row in rows}.values())
    assert [name for name in axis if not name.startswith("org/")] == [f"{g} ({n})" for g, n in counts.most_common()]
    assert len(axis) == SOME + 3


def test_layers_that_all_models_have_stay_layers(house):
    """Shares only where models differ: here all have six."""
    given = {"model": [f"org/long-{copy}" for copy in range(1, 13)]}
    spec = charts.draw(house, saved.find("entropy_by_layer"), given)
    rows = rows_of(spec)
    assert {(row["from_place"], row["to_place"]) for row in rows} == {(at - 0.5, at + 0.5) for at in range(6)}
    axis = (spec.get("spec") or spec)["layer"][0]["encoding"]["x"]
    assert axis["title"] == "layer"


def test_many_layers_share_cells():
    """A model of 100 layers has 24 cells, each the mean of its layers."""
    splits = ", ".join(f"null as {role}" for role in crowds.SPLITS)
    with duckdb.connect() as con:
        con.execute("create table models as select 'm' as model_id, 100 as n_layers")
        con.execute(
            f"create table seen as select 'm' as model, 'g' as grp, 0 as grp_order, {splits}, range as place,"
            " range::double as value, null as chance from range(100)"
        )
        con.execute(sqlfiles.statement("charts/spans"), {"is_layer": True})
        con.execute(sqlfiles.statement("charts/lines"))
        found = con.execute(sqlfiles.statement("charts/cells"), {"is_share": True, "n_cells": 24}).fetchall()
    means = [statistics.mean(layer for layer in range(100) if layer * 24 // 100 == cell) for cell in range(24)]
    assert [row[-1] for row in found] == pytest.approx(means)


# --- asking for MODEL ---


def test_matrices_are_drawn_of_twelve(house):
    query = saved.find("overlap_matrix")
    twelve = [f"org/short-{copy}" for copy in range(1, 13)]
    assert len({row["model_id"] for row in rows_of(charts.draw(house, query, {"model": twelve}))}) == 12
    with pytest.raises(AsksForModel, match="12 at most, and there are 13; want MODEL="):
        charts.draw(house, query, {"model": [*twelve, "org/long"]})


def test_a_question_that_is_not_drawn_is_not_asked(house, monkeypatch):
    monkeypatch.setattr(asking, "ask", lambda *args, **settings: pytest.fail("asked"))
    with pytest.raises(AsksForModel):
        drawn(house, "entropy_map")


# --- BY ---


GROUPED = ["overlap_by_distance", "shape_stability", "model_against_model", "entropy_and_rank_by_head"]


@pytest.mark.parametrize(
    ("name", "by"), [*(("entropy_by_layer", by) for by in BYS), *((name, "tag:mmlu") for name in GROUPED)]
)
def test_models_are_grouped_by_whatever_they_have(house, name, by):
    """Colours or panels, of few models too; a ramp for numbers."""
    for n_models in (FEW, MANY):
        spec = drawn(house, name, by, n_models)
        assert f"by {by.removeprefix('tag:').replace('n_', 'number of ')}" in shown(spec)
        is_number = by.startswith("n_") or by == "tag:mmlu"
        scales = re.findall(r'"field": "grp".*?"(range|scheme)"', json.dumps(spec))
        assert all((scale == "scheme") == is_number for scale in scales)
        in_names = {row["model_id"].split(" · ")[0] for row in rows_of(spec) if " · " in str(row.get("model_id"))}
        fields = {(role, one.get("field")) for role, one in channels(spec) if isinstance(one, dict)}
        assert in_names or {("color", "grp"), ("facet", "grp")} & fields
        assert in_names <= {row["grp"] for row in rows_of(spec)}
    assert len({row["grp"] for row in rows_of(spec)}) == BYS[by]


def test_a_wrong_by_is_told_in_words(house):
    told_of = {"famly": "did you mean family?", "tag:mmul": "did you mean tag:mmlu?", "x'; drop": "there are "}
    for by, wanted in told_of.items():
        with pytest.raises(EigenhouseError, match=re.escape(wanted)) as told:
            drawn(house, "entropy_by_layer", by, FEW)
        assert f"got {by!r}" in str(told.value)


def made(values, by="tag:x"):
    with duckdb.connect() as con:
        con.execute("create table answer as select unnest($1) as model_id", [[*values]])
        con.execute("create table model_groups (model_id varchar, property varchar, value varchar)")
        there = [(model, by, value) for model, value in values.items() if value is not None]
        con.executemany("insert into model_groups values (?, ?, ?)", there)
        found = groups.make(con, by)
        rows = con.execute("select model_id, grp from groups order by grp_order, model_id").fetchall()
        return found, dict(rows)


def test_no_more_groups_than_colours():
    """The largest seven, and the others; numbers in fifths, named by their ends; a model without a value is unknown."""
    words = {f"m{place}-{copy}": f"f{place}" for place in range(12) for copy in range(12 - place)}
    found, of_model = made(words)
    assert found.names == [*(f"f{place}" for place in range(7)), "others"]
    assert Counter(of_model.values())["others"] == sum(12 - place for place in range(7, 12))
    found, of_model = made({f"m{place}": str(10**6 * (place + 1)) for place in range(100)} | {"none": None})
    assert found.names == ["1M to 20M", "21M to 40M", "41M to 60M", "61M to 80M", "81M to 100M", "unknown"]
    assert found.is_ordered and Counter(of_model.values()) == dict.fromkeys(found.names[:5], 20) | {"unknown": 1}
    found, _ = made({"a": "nan", "b": "1", "c": "2"})
    assert not found.is_ordered and sorted(found.names) == ["1", "2", "nan"]


def test_by_reaches_the_chart_from_the_command_line(run, tmp_path):
    out = tmp_path / "deep" / "er.svg"
    out.parent.mkdir()
    assert run("chart", "--q", "entropy_by_layer", "--by", "n_layers", "--out", str(out))[0] == 0
    assert "number of layers" in out.read_text()
    assert [path.name for path in tmp_path.rglob("*.*")] == ["er.svg"]
    status, _, err = run("chart", "--q", "entropy_by_layer", "--by", "size")
    assert status == 1 and "want BY=family, architecture, n_layers, n_parameters or tag:<name>, got 'size'" in err
    status, _, err = run("charts", "--by", "size", "--out", str(tmp_path / "all"))
    assert status == 1 and err.count("got 'size'") == 1 and not (tmp_path / "all").exists()


# --- limits ---


def test_a_picture_has_no_side_over_4000_pixels_and_no_3_mb(monkeypatch):
    tall = a_chart("select range as x from range(3)", mark="point", x="x:O", y="x:Q", height=6000)
    assert max(png_size(pictures.render(tall, ".png"))) <= pictures.MOST_PIXELS
    assert 3990 <= float(svg(tall).get("height")) <= pictures.MOST_PIXELS
    small = a_chart("select range as x from range(3)", mark="point", x="x:O", y="x:Q")
    whole = pictures.render(small, ".png")
    monkeypatch.setattr(pictures, "MOST_BYTES", len(whole) - 1)
    assert len(pictures.render(small, ".png")) < len(whole)


def test_too_many_points_are_thinned_and_cells_ask():
    many = [{"model_id": f"m{at % 2}", "x": at, "y": at, "more": "z" * 200} for at in range(50_000)]
    channels = {"x": {"field": "x"}, "y": {"field": "y"}}
    query = saved.SavedQuery("mine", "", "", "", {}, {"mark": {"type": "point"}})
    rows, notes = limits.that_fit(query, channels, many)
    assert rows == [{"model_id": f"m{at % 2}", "x": at, "y": at} for at in range(0, 50_000, 3)]
    assert notes == ["One in 3 of 50,000 points is drawn, evenly through the answer."]
    with pytest.raises(AsksForModel, match="50,000 cells are more than one picture holds; want MODEL="):
        limits.that_fit(saved.SavedQuery("mine", "", "", "", {}, {"mark": "rect"}), channels, many)
    assert limits.that_fit(query, channels, many[:900]) == (many[:900], [])


def test_too_many_lines_are_left_out_whole():
    """Of 200 heads' lines of 300 points every third, at 16,700 of 20,000 rows or more; the mean's stays whole."""
    many = [{"head": head, "x": at, "y": at / 7} for head in [None, *range(200)] for at in range(300)]
    query = saved.SavedQuery("mine", "", "", "", {}, {"mark": "line"})
    channels = {"x": {"field": "x"}, "y": {"field": "y"}, "detail": {"field": "head"}}
    rows, notes = limits.that_fit(query, channels, many)
    assert notes == ["One head in 4 is drawn."]
    assert Counter(row["head"] for row in rows) == dict.fromkeys([None, *range(0, 200, 4)], 300)


def test_one_model_of_126_layers_fits_a_page():
    """A cell a pair of layers and side, none left out, in less than 3 MB with the 0.9 MB of Vega."""
    query = saved.find("overlap_matrix")
    cells = [{"model_id": "org/large", "panel": "org/large (chance 0.1)", "side": side, "layer": one,
              "other_layer": two,
              "overlap": one / (two + 0.7), "std_over_heads": 0.1, "chance": 0.1, "n_heads": 128}
             for side in ("key", "query") for one in range(126) for two in range(126)]  # fmt: skip
    channels = {name: {"field": name} for name in ("layer", "other_layer", "overlap", "side")}
    rows, notes = limits.that_fit(query, channels, cells)
    assert len(rows) == 2 * 126**2 and notes == []
    assert len(json.dumps(rows, separators=(",", ":"))) < 2_100_000
    query = saved.find("sink_map")  # whose tooltip names the model
    assert limits.that_fit(query, channels, cells)[1] == []


# --- choosing ---


@pytest.mark.parametrize("name", ["entropy_by_layer", "overlap_by_distance", "model_against_model", "shape_stability"])
@pytest.mark.parametrize("n_models", [FEW, SOME, MANY])
def test_the_legend_of_a_page_is_a_selection(house, n_models, name):
    """Vega, which compiles the page, gives the legend a signal and a field to search by; a PNG has none of it."""
    import vl_convert

    spec = drawn(house, name, n=n_models)
    assert "params" not in json.dumps(spec)
    vega = vl_convert.vegalite_to_vega(json.dumps(choosing.chosen(spec)), vl_version=pictures.vega_lite_version())
    colours = {layer["encoding"]["color"]["field"] for layer in (spec.get("spec") or spec)["layer"]
               if "field" in layer.get("encoding", {}).get("color", {})
               and layer["encoding"]["color"]["type"] != "quantitative"}  # fmt: skip
    signals = {signal["name"] for signal in vega["signals"]}
    assert {f"{choosing.CHOSEN}_{field}_legend" for field in colours} <= signals
    if said(name, "many") == "scatter" or n_models == FEW:
        assert choosing.FOUND in signals
