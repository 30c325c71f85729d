"""Charts as files: every saved query that has one, the marks that it must show, mistakes told in words."""

import json
import re
import statistics
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest
import warehouse_fixture as fixture
from conftest import HEADS, SEEDS
from macro_fixture import make_macros
from test_saved_queries import effective_rank

from eigenhouse import stopping
from eigenhouse.analyses.answers import saved
from eigenhouse.analyses.charts import charts, pictures, renderer
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import store

ROOT = Path(__file__).resolve().parent.parent
DRAWN = [query.name for query in saved.every() if query.chart]
REL = 1e-12  # double arithmetic on the same float32 values


def a_query(sql, **chart):
    return saved.SavedQuery("mine", sql, "Mine & <yours>", "Each point is a row.", {"model": None}, chart)


def a_chart(sql, **chart):
    with duckdb.connect() as con:
        return charts.draw(con, a_query(sql, **chart), {})


def svg(spec):
    return ElementTree.fromstring(pictures.render(spec, ".svg"))


def marks(picture):
    """How many of each mark the SVG holds, those of its axes and legends left out."""
    groups = [group for group in picture.iter() if " role-mark " in f"{group.get('class')} "]
    return Counter(group.get("class").split()[0].removeprefix("mark-") for group in groups for _ in group)


def texts(picture):
    return ["".join(element.itertext()) for element in picture.iter("{http://www.w3.org/2000/svg}text")]


def png_size(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_a_diverging_scale_is_even_about_its_middle():
    """Equal distances from the middle get equally strong colours; a domain of one's own stays."""
    sql = "from (values ('m', 0, -0.25), ('m', 1, 3.0), ('m', 2, null)) as rows(model_id, x, y)"
    for said, domain in (({}, [-1, 3]), ({"domain": [0, 9]}, [0, 9])):
        color = {"shorthand": "y:Q", "scale": {"scheme": "blueorange", "domainMid": 1, **said}}
        scale = a_chart(sql, mark="rect", x="x:O", color=color)["layer"][0]["encoding"]["color"]["scale"]
        assert scale == {"scheme": "blueorange", "domainMid": 1, "domain": domain}


# --- the saved ones ---


def test_some_queries_are_charts():
    assert {"effective_rank_by_layer", "entropy_by_layer", "entropy_and_rank_by_head", "singular_spectrum"} <= {*DRAWN}


@pytest.mark.parametrize("name", DRAWN)
def test_a_saved_chart_is_drawn_in_every_format(run, tmp_path, monkeypatch, name):
    """Without OUT all three, beside each other in charts/; title and reading are in the picture."""
    monkeypatch.chdir(tmp_path)
    status, out, err = run("chart", "--q", name)
    assert (status, err) == (0, "")
    assert out.decode().split() == [f"charts/{name}{suffix}" for suffix in pictures.SUFFIXES]
    page, image, drawing = (Path(path).read_bytes() for path in out.decode().split())
    width, height = png_size(image)
    assert 600 < width < 2400 and 400 < height < 2400
    assert len(image) > 10_000
    assert sum(marks(ElementTree.fromstring(drawing)).values()) > 1
    shown = " ".join(texts(ElementTree.fromstring(drawing)))
    assert saved.find(name).title in shown
    assert saved.find(name).reading.split(":")[0][:40] in shown
    assert re.findall(rb"<(?:script|link|iframe)\b[^>]*(?:src|href)", page) == []
    assert page.count(b"vegaEmbed(") > 0 and len(page) > 500_000


@pytest.mark.parametrize("suffix", [".png", ".SVG", ".html"])
def test_out_names_the_one_file(run, tmp_path, suffix):
    out = tmp_path / f"mine{suffix}"
    status, stdout, _ = run("chart", "--q", "entropy_by_layer", "--out", str(out))
    assert (status, stdout.decode()) == (0, f"{out}\n")
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    starts = {".png": b"\x89PNG", ".SVG": b"<svg", ".html": b"<!DOCTYPE html>"}
    assert out.read_bytes().lstrip().startswith(starts[suffix])


def test_every_head_is_a_point_and_every_model_a_facet(run, tmp_path):
    """Two prompt sets, so two points a head; not for the zero head, nor where no query saw two keys."""
    out = tmp_path / "heads.svg"
    assert run("chart", "--q", "entropy_and_rank_by_head", "--out", str(out))[0] == 0
    picture = ElementTree.fromstring(out.read_bytes())
    heads = [(layer, head) for layer, head in HEADS if (layer, head) != fixture.ZERO_HEAD]
    # the second set has prompt 0 alone, in which head 3 has no entropy_fraction
    points = len(heads) + len([1 for _, head in heads if head != 3])
    assert marks(picture)["symbol"] == len(SEEDS) * points
    assert {"org/one", "org/two"} <= {*texts(picture)}


def test_model_narrows_and_is_named(run, tmp_path):
    out = tmp_path / "ranks.svg"
    run("chart", "--q", "effective_rank_by_layer", "--model", "org/two", "--out", str(out))
    picture = ElementTree.fromstring(out.read_bytes())
    assert marks(picture) == {"line": 2 + 2, "symbol": 2 * fixture.N_LAYERS}  # chance has a line an operator too
    assert "org/two" in texts(picture) and "org/one" not in texts(picture)


def test_a_lone_facet_is_named_under_the_title(run, tmp_path):
    out = tmp_path / "heads.svg"
    run("chart", "--q", "entropy_and_rank_by_head", "--model", "org/one", "--out", str(out))
    assert "model: org/one" in " ".join(texts(ElementTree.fromstring(out.read_bytes())))


def test_singular_spectrum(rows):
    """Medians over the heads that are not zero, of values divided by the head's own largest."""
    found = rows("--q", "singular_spectrum")
    assert len(found) == 3 * len(fixture.OPERATORS) * fixture.N_VALUES
    seeds = {**SEEDS, "org/static": 2}
    for row in found:
        spectra = [fixture.spectrum(seeds[row["model_id"]], row["operator"], *place) for place in HEADS]
        shares = [spectrum[row["k"]] / spectrum[0] for spectrum in spectra if spectrum[0]]
        assert row["n_heads"] == len(shares) == 14
        assert row["median_relative_sigma"] == pytest.approx(statistics.median(shares), rel=REL)


def test_entropy_and_rank_by_head(rows):
    """Against the spectra themselves and the view; ranks as shares of head_dim, which is 7, not hidden_size, 11."""
    found = rows("--q", "entropy_and_rank_by_head")
    measured = {
        (row["model_id"], row["prompt_set"], row["layer"], row["head"]): row
        for row in rows("--sql", "from head_attention")
    }
    assert len(found) == len(measured) == len(SEEDS) * len(fixture.PROMPT_SETS) * len(HEADS)
    for row in found:
        head = measured[row["model_id"], row["prompt_set"], row["layer"], row["head"]]
        assert (row["entropy_nats"], row["entropy_fraction"]) == (head["entropy_nats"], head["entropy_fraction"])
        rank = effective_rank(fixture.spectrum(SEEDS[row["model_id"]], "metric", row["layer"], row["head"]))
        assert (row["effective_rank"], row["rank_fraction"]) == (
            rank and pytest.approx(rank, rel=REL),
            rank and pytest.approx(rank / fixture.N_VALUES, rel=REL),
        )
        assert row["depth_fraction"] == row["layer"] / 2


def test_a_layers_own_head_dim_counts():
    """Where layers differ the model's head_dim is the largest; a single layer has no depth."""
    with duckdb.connect() as con:
        for table, columns in {
            "models": "'m' as model_id, 7::bigint as model_key, 1 as n_layers, 8 as head_dim, 3 as hidden_size",
            "layers": "7::bigint as model_key, unnest([1, 0]) as layer, unnest([4, 2]) as head_dim",
            "head_descriptors": "'m' as model_id, unnest(['metric', 'x']) as operator, 0 as layer, 0 as head,"
            " 1.5 as effective_rank",
            "head_attention": "'m' as model_id, 's' as prompt_set, 0 as layer, 0 as head, 1.0 as entropy_nats,"
            " 0.5 as entropy_fraction",
        }.items():
            con.execute(f"create table {table} as select {columns}")
        con.execute("insert into layers values (8, 0, 5)")
        make_macros(con)
        con.execute(saved.find("entropy_and_rank_by_head").sql, {"model": None})
        assert con.fetchall() == [("m", "s", 0, 0, 1.5, 0.75, 1.0, 0.5, None)]
        con.execute("update layers set head_dim = 6 where model_key = 7")
        con.execute(saved.find("entropy_and_rank_by_head").sql, {"model": None})
        assert con.fetchall()[0][5] == 0.5


# --- what a header may say ---


def test_more_rows_than_altair_allows():
    """Altair stops at 5,000; twelve models are more than there are colours."""
    spec = a_chart(
        "select range as k, sin(range)::float as y, 'm' || range % 12 as model_id from range(20000)",
        mark="point", x="k:Q", y="y:Q", color="model_id:N",
    )  # fmt: skip
    assert len(spec["datasets"]["rows"]) == 20_000
    assert marks(svg(spec))["symbol"] == 20_000


@pytest.mark.parametrize("n_models", [8, 9])
def test_every_model_has_a_colour_of_its_own(n_models):
    spec = a_chart(
        f"select range as k, 1 as y, 'm' || range as model_id from range({n_models})",
        mark="bar", x="k:O", y="y:Q", color="model_id:N",
    )  # fmt: skip
    bars = [element for element in svg(spec).iter() if element.get("aria-roledescription") == "bar"]
    colours = {bar.get("fill") for bar in bars}
    assert len(colours) == len(bars) == n_models
    assert (colours == set(pictures.OKABE_ITO)) == (n_models == 8)


def test_reference_lines_are_drawn_once_a_facet():
    spec = a_chart(
        "select k, k / 7 as y, operator from range(7) t(k), (values ('a'), ('b')) u(operator)",
        mark="line",
        x="k:Q",
        y="y:Q",
        column="operator:N",
        rules=[{"y": 0.5, "label": "chance"}, {"x": 3, "label": "3"}],
    )
    picture = svg(spec)
    assert marks(picture) == {"line": 2, "rule": 4, "text": 4}
    assert texts(picture).count("chance") == 2


def test_further_layers_draw_other_columns_in_the_same_place():
    """An interval behind each point, a line of chance and labels; nothing but the columns named changes."""
    spec = a_chart(
        "select k, k / 7 as y, k / 7 - 0.1 as low, k / 7 + 0.1 as high, 0.5 as chance, 'at ' || k as label,"
        " 'm' || k % 2 as model_id from range(6) t(k)",
        mark="point",
        x="k:O",
        y="y:Q",
        xOffset="model_id:N",
        color="model_id:N",
        layers=[
            {"mark": "rule", "y": "low", "y2": "high"},
            {"mark": {"type": "line", "color": "black"}, "y": "chance"},
            {"mark": {"type": "text", "dx": 7}, "text": "label"},
        ],
    )
    picture = svg(spec)
    assert marks(picture) == {"symbol": 6, "rule": 6, "line": 2, "text": 6}
    assert {f"at {k}" for k in range(6)} <= {*texts(picture)}
    assert texts(picture).count("y") == 1  # the axis is named once, after the first layer
    first, interval, chance, label = spec["layer"]
    assert interval["encoding"]["y"] == first["encoding"]["y"] | {"field": "low"}
    assert interval["encoding"]["y2"] == {"field": "high"}
    assert chance["encoding"]["y"]["field"] == "chance"
    assert {"type": "nominal", "field": "label"}.items() <= label["encoding"]["text"].items()


def test_a_logarithmic_axis_says_what_it_leaves_out():
    log = {"shorthand": "y:Q", "scale": {"type": "log"}}
    sql = "select range + 10 as k, case range when 3 then 0 else 10.0 ** (-range / 2) end as y from range(7)"
    spec = a_chart(sql, mark="point", x="k:O", y=log)
    picture = svg(spec)
    assert marks(picture)["symbol"] == 6
    assert "1 of 7 points are 0 or below" in " ".join(texts(picture))
    assert [text for text in texts(picture) if re.fullmatch(r"1|0\.\d+", text)] == ["0.001", "0.01", "0.1", "1"]


def test_names_speak():
    assert charts.axis_title("mean_entropy_nats") == "mean entropy (nats)"
    assert charts.axis_title("angle_deg") == "angle (degrees)"
    assert charts.axis_title("n_heads") == "number of heads"
    assert charts.axis_title("model_id") == "model"
    assert charts.axis_title("nats") == "nats" and charts.axis_title("n") == "n"
    spec = a_chart("select 1 as a_deg, 2 as b_nats", mark="point", x="a_deg", y="b_nats:Q", y_title="what b is")
    assert {"a (degrees)", "what b is"} <= {*texts(svg(spec))}
    assert "b (nats)" not in texts(svg(spec))


def test_rows_keep_the_order_of_the_query():
    """pythia@step1000 comes before pythia@step512 in the alphabet, but not in training."""
    sql = "select step, step as y, 'p@' || step as model_id from (values (512), (1000)) t(step) order by step"
    spec = a_chart(sql, mark="point", x="step", y="y", color="model_id", facet="model_id")
    names = [text for text in texts(svg(spec)) if text.startswith("p@")]
    assert names == ["p@512", "p@1000"] * 2


def test_a_name_cannot_end_the_script():
    spec = a_chart("select 1 as a, '</script><b>' as model_id", mark="point", x="a", y="a", color="model_id")
    page = pictures.render(spec, ".html").decode()
    assert page.count("</script>") == page.count("<script")
    assert '"model_id":"\\u003c/script>\\u003cb>"' in page


def test_packing_loses_no_pixel():
    """A picture of 2 × 3 grey pixels, its data in two pieces, with a chunk besides."""

    def chunk(kind, body):
        return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)

    raw = bytes([0, 10, 200, 0, 30, 40, 0, 50, 60])
    data = zlib.compress(raw, 0)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 3, 8, 0, 0, 0, 0))
    before, after = header + chunk(b"pHYs", bytes(9)), chunk(b"IEND", b"")
    png = b"\x89PNG\r\n\x1a\n" + before + chunk(b"IDAT", data[:5]) + chunk(b"IDAT", data[5:]) + after
    once = chunk(b"IDAT", zlib.compress(raw, 6))
    assert pictures.packed(png) == png[:8] + before + once + after


# --- mistakes ---


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ([], ["wanted Q=", "entropy_by_layer", "singular_spectrum"]),
        (["--q", "models"], ["query models has no chart", "entropy_by_layer", "singular_spectrum"]),
        (["--q", "entropy_by_layers"], ["did you mean entropy_by_layer"]),
        (["--q", "entropy_by_layer", "--k", "3"], ["takes no K"]),
        (["--q", "entropy_by_layer", "--out", "a.pdf"], ["OUT=a.pdf", ".html, .png or .svg"]),
        (["--q", "entropy_by_layer", "--out", "svg"], [".html, .png or .svg"]),
        (["--q", "entropy_by_layer", "--out", "/nowhere/at/all.svg"], ["cannot write", "No such file"]),
        (
            ["--q", "entropy_by_layer", "--model", "org/static"],
            ["nothing to draw for MODEL=org/static; there are rows for MODEL=org/one, org/two\n"],
        ),
    ],
)
def test_a_mistake_is_told_in_words(run, tmp_path, monkeypatch, args, wanted):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("chart", *args)
    assert (status, out) == (1, b"")
    assert err.startswith("error: ") and "Traceback" not in err
    assert [part for part in wanted if part not in err] == []
    assert "models" not in re.findall(r"\w+", err.partition("these")[2])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("chart", "wanted"),
    [
        ({"x": "a", "y": "entropy_nat:Q"}, "unknown column entropy_nat; did you mean entropy_nats?"),
        ({"x": "a", "y": "a", "colour": "a"}, "unknown key colour; did you mean color?"),
        (
            {"x": "a", "y": "a", "layers": [{"mark": "rule", "y": "entropy_nat"}]},
            "unknown column entropy_nat; did you mean entropy_nats?",
        ),
        ({"x": "a", "y": "a", "tooltip": ["b"]}, "unknown column b; there are a, entropy_nats"),
    ],
)
def test_a_header_that_does_not_fit_its_query(chart, wanted):
    with pytest.raises(EigenhouseError, match=re.escape(f"the chart of query mine has an {wanted}")):
        a_chart("select 1 as a, 2 as entropy_nats", mark="point", **chart)


def test_nothing_at_all_to_draw(tmp_path):
    """Rows without a value are nothing to see either."""
    path = tmp_path / "empty.duckdb"
    store.connect(path, read_only=False).close()
    with store.connect(path, read_only=True) as con:
        query = a_query("select 1 as a, null::double as b where $model is null", mark="point", x="a", y="b")
        with pytest.raises(EigenhouseError, match="nothing to draw; the warehouse holds no model: `make ingest`"):
            charts.draw(con, query, {})


def test_altair_waits_until_it_is_needed():
    code = "import sys, eigenhouse.analyses.commands; print({'altair', 'vl_convert', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr


def test_a_band_is_shaded_and_a_rule_follows_its_column():
    """One area a colour in each facet; the rule stands at the facet's own level, and nowhere without one."""
    rows = "select m, c, x, x + c as y, x + c - 1 as low, x + c + 1 as high, if(m = 'b', null, 5) as level"
    sql = f"{rows} from (values ('a'), ('b')) models(m), range(2) colours(c), range(3) places(x)"
    settings = {"mark": "line", "x": "x:Q", "y": "y:Q", "color": "c:N", "facet": "m:N"}
    rules = [{"y": "level", "label": "the level"}]
    picture = svg(a_chart(sql, **settings, band=["low", "high"], rules=rules))
    assert marks(picture)["area"] == 2 * 2
    for area in [path for path in picture.iter() if path.get("aria-roledescription") == "area mark"]:
        places = [place.split(",") for place in re.findall(r"-?[\d.]+,-?[\d.]+", area.get("d"))]
        heights = {x: {float(y) for at, y in places if at == x} for x, _ in places}
        # from 1 below to 1 above, on an axis of at least 5 and 260 pixels at most
        assert len(heights) == 3
        assert all(40 < max(ys) - min(ys) < 2 / 5 * 260 + 1 for ys in heights.values())
    assert marks(picture)["line"] == 2 * 2
    assert marks(picture)["rule"] == 1
    assert texts(picture).count("the level") == 1
    assert not marks(svg(a_chart(sql, **settings)))["area"]


@pytest.mark.parametrize("wrong", [{"band": ["low", "hihg"]}, {"rules": [{"y": "hihg", "label": "?"}]}])
def test_a_band_or_rule_of_no_column_is_refused(wrong):
    with pytest.raises(EigenhouseError, match="unknown column hihg; did you mean high"):
        a_chart("select 1 as x, 0 as low, 2 as high", mark="line", x="x:Q", y="low:Q", **wrong)


# --- processes of their own ---


@pytest.mark.apart
def test_a_chart_is_rendered_elsewhere_all_the_same():
    """Also the next one, after a process that was killed, which is told in a line."""
    text = json.dumps(a_chart("select 1 as x, 2 as y", mark="point", x="x:Q", y="y:Q"))
    with renderer.Renderers() as renderers:
        assert renderers.rendered(text, [".svg", ".html"]) == pictures.rendered(text, [".svg", ".html"])
        [child] = stopping._children
        child.kill()
        with pytest.raises(EigenhouseError, match=r"^a chart's process ended by SIGKILL: out of memory\?$"):
            renderers.rendered(text, [".svg"])
        assert renderers.rendered(text, [".svg"]) == pictures.rendered(text, [".svg"])
    assert not stopping._children
