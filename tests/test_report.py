"""The report as files: whole pages, links that lead somewhere, every text shown as it is, the data behind it."""

import csv
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from report_fixture import ATTACK, PIXEL, PLAIN, STATIC

from eigenhouse.analyses.answers import asking, formats, saved
from eigenhouse.analyses.charts import charts, pictures
from eigenhouse.analyses.report import pages, report, sections
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles

HOSTILE = f"{ATTACK}@1#x"
VOID = {"meta", "link", "img", "input", "br", "hr", "path"}
CHARTED = [query for query in saved.every() if query.chart]


class Page(HTMLParser):
    """A page's elements, ids, addresses and words; refuses a tag that is not closed in its turn."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.ids, self.addresses, self.open, self.words, self.scripts = Counter(), [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []
        assert [name for name, n in Counter(self.ids).items() if n > 1] == []

    def handle_starttag(self, tag, attributes):
        self.elements[tag] += 1
        known = dict(attributes)
        assert [name for name in known if name.startswith("on")] == []
        self.ids += [known["id"]] if "id" in known else []
        self.addresses += [known[name] for name in ("href", "src") if name in known]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open and self.open[-1] == "script" else self.words).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folder(reported):
    return reported[0]


@pytest.fixture(scope="module")
def html(folder):
    """Every page, by its place in the report."""
    return {str(path.relative_to(folder)): Page(path) for path in folder.rglob("*.html")}


@pytest.fixture(scope="module")
def markdown(folder):
    """Every Markdown file as tokens of a CommonMark parser with tables, by its place in the report."""
    parser = MarkdownIt("commonmark").enable("table")
    return {
        str(path.relative_to(folder)): parser.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.md")
    }


def inline(tokens):
    return [child for token in tokens for child in token.children or []]


def model_page(model_id, kind="html"):
    place = f"models/{pages.slug(model_id)}.{kind}"
    return place if kind == "html" else f"markdown/{place}"


# --- pages ---


def test_there_is_a_page_for_each_model_an_index_and_a_dictionary(html, markdown):
    places = {"index.html", "dictionary.html", *map(model_page, (PLAIN, STATIC, HOSTILE))}
    assert set(html) == places
    assert set(markdown) == {f"markdown/{place.removesuffix('.html')}.md" for place in places}


def test_every_link_leads_somewhere_in_the_report(folder, html, markdown):
    for place, page in html.items():
        assert page.addresses
        for address in page.addresses:
            if address != "data:,":
                leads_somewhere(folder, place, address, html)
    for place, tokens in markdown.items():
        addresses = [token.attrs.get("href", token.attrs.get("src")) for token in inline(tokens) if token.attrs]
        assert addresses
        for address in addresses:
            leads_somewhere(folder, place, address, html)


def leads_somewhere(folder, place, address, html):
    assert not re.match(r"\w+:|/", address), address
    path, _, fragment = address.partition("#")
    target = ((folder / place).parent / unquote(path)).resolve() if path else folder / place
    assert (target.is_file() and target.is_relative_to(folder.resolve())) or not path, (place, address)
    if fragment:
        assert unquote(fragment) in html[str(target.resolve().relative_to(folder.resolve()))].ids, (place, address)


def test_vega_is_there_once_and_nothing_comes_from_a_network(folder, html):
    assert (folder / "assets/vega.js").stat().st_size > 500_000
    assert max(path.stat().st_size for path in folder.rglob("*.html")) < 5_000_000
    own = "".join((folder / "assets" / name).read_text() for name in ("style.css", "report.js"))
    assert re.findall(r"https?:|@import|url\(", own) == []


@pytest.mark.parametrize("model_id", [PLAIN, STATIC, HOSTILE])
def test_a_models_page_has_every_query_with_rows_for_it(reported, html, model_id):
    _, con = reported
    page = html[model_page(model_id)]
    n_charts = 0
    for query in saved.every():
        if query.name in sections.LISTINGS or "model" not in query.parameters:
            continue
        types, rows = charts.answer(con, query, {"model": model_id})
        is_drawn = bool(query.chart and rows and charts.spec_of(query, types, rows))
        assert (query.name in page.ids) == (is_drawn or (bool(rows) and not query.chart)), query.name
        if query.name in page.ids:
            assert query.title in page.text and " ".join(query.reading.split()) in page.text
        n_charts += is_drawn
    assert page.elements["figure"] == n_charts > 0
    assert model_id in page.text


def test_queries_stand_theme_by_theme(html):
    themes = [pages.anchor(query.theme) for query in saved.every()]
    shown = [name for name in html["index.html"].ids if name in themes]
    assert shown == [name for name in dict.fromkeys(themes) if name in shown] != []


def test_the_first_page_has_every_model_and_what_is_said_of_it(reported, html):
    _, con = reported
    page = html["index.html"]
    for place, name in [(model_page(name), name) for name in (PLAIN, STATIC, HOSTILE)]:
        assert place in page.addresses
        assert name in page.text
    for query in saved.every():
        charts.answer(con, query, {})
        for model_id, sentence in sections.verdict(con, query, {}).items():
            if query.name in page.ids:
                assert " ".join(sentence.split()) in page.text
            if query.name in html[model_page(model_id)].ids:
                assert " ".join(sentence.split()) in html[model_page(model_id)].text


def test_a_models_facts(html):
    text = html[model_page(HOSTILE)].text
    for words in (f"source {ATTACK}", f"layer 0 {ATTACK}", f"no reason, {ATTACK}", f"{ATTACK} for std@0a1b2c3d"):
        assert " ".join(words.split()) in text
    assert "Nothing was left out." in html[model_page(PLAIN)].text
    assert "No attention was measured." in html[model_page(STATIC)].text


# --- text is text ---


def test_no_text_becomes_an_element(html):
    for place, page in html.items():
        figures = page.elements["figure"]
        assert page.elements["script"] == figures + (1 if place == "dictionary.html" else 2)
        assert page.elements["img"] == figures
        for script in page.scripts:
            assert "<" not in script and json.loads(script)


def test_no_text_becomes_markdown(markdown):
    for tokens in markdown.values():
        kinds = Counter(token.type for token in [*tokens, *inline(tokens)])
        assert not kinds["html_block"] and not kinds["html_inline"] and not kinds["em_open"]
    tokens = markdown[model_page(HOSTILE, "md")]
    heading = tokens[1].children
    assert ["".join(child.content for child in heading), tokens[0].tag] == [HOSTILE, "h1"]


@pytest.mark.parametrize(
    "text",
    ["*a* _b_ __c__ ~d~", "a | b", "- a", "1. a", "1) a", "10. a", "2.5 heads", "+ a", "=", "# a", "<b> &lt; &",
     "`a``b`", "[a](b) ![c](d)", "\\* $x$", "> a", "snake_case _x", "a\n\n- b", "||", "'q' \"q\""],
)  # fmt: skip
def test_markdown_shows_the_text_itself(text):
    for frame in ("{}", "| a | b |\n|---|---|\n| {} | c |"):
        tokens = MarkdownIt("commonmark").enable("table").parse(frame.format(pages.markdown(text)))
        shown = [token for token in tokens if token.type == "inline"]
        words = "".join(child.content for child in shown[-2 if "|" in frame else 0].children)
        assert words == " ".join(text.split())


def test_fences_are_longer_than_any_in_the_code():
    sql = "select '```' -- ````"
    [token] = MarkdownIt("commonmark").parse(str(pages.fenced(sql, "sql")))
    assert (token.type, token.content) == ("fence", sql + "\n")


def test_file_names_are_safe_and_no_two_alike():
    names = ["org/name", "org-name", "Org/Name", "org/name@rev#encoder", "..", "../x", "a b", "ä", "", "CON", "a.", "a",
             "x" * 300, "x" * 301, ATTACK]  # fmt: skip
    names += [pages.slug(name) for name in names]
    slugs = {name: pages.slug(name) for name in names}
    assert len(set(slugs.values())) == len({*slugs})
    assert [slug for slug in slugs.values() if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,79}|_[0-9a-f]{12}", slug)] == []
    assert slugs["org-name"] == "org-name" and slugs["org/name"].startswith("org-name_")


# --- numbers ---


def stored(con, query, given):
    asking.ask(con, query.sql, query.bind(given))
    file = io.BytesIO()
    formats.write_csv(con, file)
    return list(csv.reader(io.StringIO(file.getvalue().decode())))


def alike(rows, others):
    """Cell by cell; sums add up in any order, so that the last digits may differ."""
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        for cell, wanted in zip(row, other, strict=True):
            if cell != wanted:
                assert float(cell) == pytest.approx(float(wanted), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("model_id", [None, PLAIN])
def test_the_data_is_the_querys_answer(reported, model_id):
    folder, con = reported
    files = sorted((folder / "data" / ("all" if model_id is None else f"models/{pages.slug(model_id)}")).glob("*.csv"))
    assert len(files) >= len(saved.every()) - 4
    for path in files:
        query = saved.find(path.stem)
        given = {"model": model_id} if "model" in query.parameters else {}
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        assert len(rows) > 1
        alike(rows, stored(con, query, given))


def test_the_sql_to_copy_runs_as_it_stands(reported):
    """A hostile model_id as a literal; a dollar in a text or a comment is left alone."""
    _, con = reported
    for query in saved.every():
        if '--| routine = "' in query.sql:  # its rows go on into Python
            continue
        given = {"model": HOSTILE} if "model" in query.parameters else {}
        text = sections.filled(query.sql, query.bind(given))
        assert "--|" not in text
        filled = con.execute(text).fetchall()
        asking.ask(con, query.sql, query.bind(given))
        alike(filled, con.fetchall())
    left = "-- $model's\nselect '$k' as \"$k\", 'it''s $k', "
    assert sections.filled(f"--| k = 1\n{left}$k, $model", {"k": 3, "model": "a'b"}) == f"{left}3, 'a''b'"


def test_a_drawing_holds_the_charts_rows(reported, folder):
    """Column by column, six digits; title and reading are its description."""
    _, con = reported
    query = CHARTED[0]
    spec = charts.draw(con, query, {"model": PLAIN})
    text = (folder / model_page(PLAIN)).read_text(encoding="utf-8")
    card = text.split(f'<article class="card" id="{query.name}"')[1]
    drawn = json.loads(re.search(r'<script type="application/json">(.*?)</script>', card, re.DOTALL)[1])
    rows = spec["datasets"]["rows"]
    assert set(drawn["columns"]) == set(rows[0])
    for name, values in drawn["columns"].items():
        stored = [row[name] for row in rows]
        assert values == [pytest.approx(one, rel=5e-6) if isinstance(one, float) else one for one in stored]
    assert "title" not in drawn["spec"] and query.title in drawn["spec"]["description"]


def test_tables_in_markdown_are_the_first_rows(reported, markdown):
    folder, _ = reported
    text = (folder / model_page(PLAIN, "md")).read_text(encoding="utf-8")
    tokens = markdown[model_page(PLAIN, "md")]
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    widths = cells_of_tables(tokens)
    assert all(len(set(table)) == 1 for table in widths)
    for path in (folder / "data/models" / pages.slug(PLAIN)).glob("*.csv"):
        n_rows = len(path.read_text(encoding="utf-8").splitlines()) - 1
        assert str(pages.markdown(saved.find(path.stem).title)) in headings
        said = f"The first {sections.MOST_ROWS} of {n_rows} rows; [all of them as CSV](../../data/models/"
        assert (said in text) or n_rows <= sections.MOST_ROWS


def cells_of_tables(tokens):
    """For each table, the number of cells of each of its rows."""
    tables = []
    for token in tokens:
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append(0)
        elif token.type in ("th_open", "td_open"):
            tables[-1][-1] += 1
    return tables


def test_the_dictionary_has_every_table_view_and_column(folder, html, markdown):
    page, shown = html["dictionary.html"].text, inline(markdown["markdown/dictionary.md"])
    words = {token.content for token in shown} | {
        token.content for token in markdown["markdown/dictionary.md"] if token.type == "inline"
    }
    texts = " ".join("".join(child.content for child in token.children) for token in
                     markdown["markdown/dictionary.md"] if token.type == "inline")  # fmt: skip
    assert len(sqlfiles.comments()) > 200
    for (_, relation, column), text in sqlfiles.comments().items():
        if relation in sqlfiles.kept_tables():
            continue  # what its view has
        assert " ".join(text.split()) in page and " ".join(text.split()) in texts
        assert column in words if column else relation in html["dictionary.html"].ids
    assert "DOUBLE" in page and "FLOAT[]" in page


# --- where it is written ---


@pytest.fixture
def few(monkeypatch):
    """Two saved charts and the list of models, so that a report takes a second."""
    kept = [query for query in saved.every() if query.name in ("entropy_by_layer", "singular_spectrum")]
    monkeypatch.setattr(saved, "every", lambda: kept)
    monkeypatch.setattr(sections, "verdict", lambda con, query, given: {})
    return kept


def test_report_of_one_model_with_real_pictures(run, tmp_path, few):
    out = tmp_path / "a" / "r"
    status, stdout, err = run("report", "--out", str(out), "--model", "org/two")
    assert (status, err) == (0, "")
    told = stdout.decode().splitlines()
    assert [line.split(":")[0] for line in told[:2]] == ["[1/2] org/two", "[2/2] all models"]
    assert told[-1] == str(out / "index.html")
    assert [path.stem for path in (out / "models").iterdir()] == [pages.slug("org/two")]
    images = sorted(out.rglob("*.png"))
    assert len(images) == 4
    assert all(path.stat().st_size > 10_000 and path.read_bytes()[:4] == b"\x89PNG" for path in images)
    assert "org/one" not in (out / "index.html").read_text()
    assert [path.name for path in out.parent.iterdir()] == ["r"]


def test_a_new_report_takes_the_place_of_the_old(run, tmp_path, few, monkeypatch):
    monkeypatch.setattr(pictures, "rendered", lambda text, suffixes: dict.fromkeys(suffixes, PIXEL))
    out = tmp_path / "r"
    out.mkdir()
    assert run("report", "--out", str(out))[0] == 0
    (out / "notes.txt").write_text("mine")
    (out / "models" / "stale.html").write_text("old")
    assert run("report", "--out", str(out))[0] == 0
    assert not (out / "models" / "stale.html").exists()
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_of_something_else_is_left_alone(run, tmp_path):
    (tmp_path / "index.html").write_text("my own page")
    status, _, err = run("report", "--out", str(tmp_path))
    assert (status, err) == (1, f"error: OUT={tmp_path} is there, and no earlier report; give another folder\n")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


@pytest.mark.parametrize("command", ["report", "charts"])
def test_a_model_that_is_not_there(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(command, "--model", "org/tow")
    assert status == 1
    assert err.startswith("error: no model org/tow in the warehouse; did you mean org/two")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_report_leaves_the_old_one(tmp_path, reported, monkeypatch, few):
    _, con = reported
    monkeypatch.setattr(pictures, "rendered", lambda text, suffixes: dict.fromkeys(suffixes, PIXEL))
    report.write(con, "w", tmp_path / "r", None, lambda line: None)
    before = (tmp_path / "r" / "index.html").read_bytes()
    broken = [*few, saved.SavedQuery("broken", "select nothing", "", "", {})]
    monkeypatch.setattr(saved, "every", lambda: broken)
    with pytest.raises(EigenhouseError, match="^broken: "):
        report.write(con, "w", tmp_path / "r", None, lambda line: None)
    assert (tmp_path / "r" / "index.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


# --- all charts ---


def test_charts_draws_every_saved_chart(run, tmp_path, monkeypatch):
    """A line each; a chart without a point is no failure, a query that fails is, after all others are drawn."""
    monkeypatch.chdir(tmp_path)
    drawn = {".html": b"h", ".png": b"p", ".svg": b"s"}
    monkeypatch.setattr(pictures, "rendered", lambda text: drawn)
    sql = "select 'm' as model_id, 1 as x where"
    chart = {"mark": "point", "x": "x", "y": "x"}
    mine = [saved.SavedQuery(name, sql + rest, name, "", {}, chart) for name, rest in
            {"full": " true", "empty": " false", "broken": " nonsense", "last": " true"}.items()]  # fmt: skip
    monkeypatch.setattr(saved, "every", lambda: mine)
    status, out, err = run("charts")
    assert status == 1 and err.startswith("error: broken: ") and "nonsense" in err
    lines = out.decode().splitlines()
    assert re.fullmatch(r"\[1/4\] full: charts/full\.html \.png \.svg, \d\.\d s", lines[0])
    assert lines[1:3] == ["[2/4] empty: nothing to draw", "[3/4] broken: failed"]
    assert {path.name: path.read_bytes() for path in Path("charts").iterdir()} == {
        f"{name}{suffix}": data for name in ("full", "last") for suffix, data in drawn.items()
    }
    monkeypatch.setattr(saved, "every", lambda: mine[:2])
    assert run("charts")[0] == 0


def test_charts_are_drawn_where_out_says(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "rendered", lambda text: {".svg": b"s"})
    mine = saved.SavedQuery("full", "select 1 as x", "full", "", {}, {"mark": "point", "x": "x", "y": "x"})
    monkeypatch.setattr(saved, "every", lambda: [mine])
    status, out, _ = run("charts", "--out", "new/place")
    assert (status, out.decode().split()[2]) == (0, "new/place/full.html")
    assert [path.read_bytes() for path in Path("new/place").iterdir()] == [b"s"]
    assert not Path("charts").exists()
    Path("a file").touch()
    status, _, err = run("charts", "--out", "a file")
    assert (status, err) == (1, "error: cannot write a file: File exists\n")
