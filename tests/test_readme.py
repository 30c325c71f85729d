"""The pages name what there is: files, pictures, links, commands, options, saved queries, stages and rooms.

And the examples of CONTRIBUTING.md still work.
"""

import inspect
import re
import tomllib
import types
from dataclasses import fields
from pathlib import Path

import duckdb
import numpy as np
import pytest
import test_rooms

from bench import tiny_warehouse
from eigenhouse.analyses import notebook
from eigenhouse.analyses.answers import asking, saved
from eigenhouse.ingest import geometry
from eigenhouse.ingest.devices import CPU
from eigenhouse.ingest.geometry.heads import LayerHeads
from eigenhouse.ingest.stages.declaration import declared
from eigenhouse.ingest.stages.factor_files import FactorFiles
from eigenhouse.ingest.warehouse import sqlfiles, store
from eigenhouse.options import VERBS, Ingest
from eigenhouse.variables import EVERYWHERE, OPTIONS, taken_by

ROOT = Path(__file__).resolve().parent.parent
AT_THE_TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in AT_THE_TOP), *sorted((ROOT / "docs").glob("*.md"))]
OF_MAKE = {"PYTHON", "VENV", "PIP_EXTRA_INDEX_URL", "PYTHONPATH"}  # and of the shell
MOST_BYTES = 9 * 1024
WHOLE = ("analyses/report/report_assets/", "bench/", "docs/", "tests/")  # folders that have one line
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def section(page, title):
    return text(page).split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def code(page):
    """What a reader would type: lines of the sh blocks, and what stands between backticks."""
    shell = [line.partition("  #")[0] for block in blocks(page, "sh") for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [*shell, *re.findall(r"`([^`\n]+)`", prose)]


def anchors(page):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower().replace("\\", "")).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len(text("README.md").encode()) <= MOST_BYTES


@each_page
def test_links_lead_somewhere(page):
    prose = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT) and target.is_file(), link
        assert not anchor or anchor in anchors(target), link
        assert target.suffix != ".png" or target.stat().st_size > 1000, link


def test_every_picture_and_page_is_linked():
    links = re.compile(r"([\w.]+)(?:#[\w-]+)?\)")
    linked = {link for page in PAGES for link in links.findall(page.read_text(encoding="utf-8"))}
    assert {path.name for path in (ROOT / "docs").rglob("*.*")} - linked == set()


# --- commands ---


def targets():
    return {*VERBS, *re.findall(r"^OTHERS = (.*)$", text("Makefile"), re.MULTILINE)[0].split()}


@each_page
def test_every_command_and_its_variables_exist(page):
    for line in code(page):
        for goal, rest in re.findall(r"\bmake ([a-z][\w-]*)(.*)", line):
            assert goal in targets(), line
            given = set(re.findall(r"\b([A-Z_]{2,}|Q|K)=", rest.partition('SQL="')[0]))
            assert given <= {*taken_by(goal), *OF_MAKE, *EVERYWHERE} if goal in OPTIONS else given <= OF_MAKE, line
        for verb, rest in re.findall(r"(?:^|\s)(?:python -m )?eigenhouse ([a-z]\w*)(.*)", line):
            assert verb in VERBS, line
            options = {f"--{option.name.replace('_', '-')}" for option in fields(VERBS[verb].options)}
            assert set(re.findall(r"(--\w[\w-]*)", rest)) <= {*options, "--name"}, line


@each_page
def test_every_variable_exists(page):
    known = {name for taker in OPTIONS for name in taken_by(taker)} | {*EVERYWHERE} | OF_MAKE
    named = {name for line in code(page) for name in re.findall(r"(?:^|\s)([A-Z][A-Z_]+|Q|K)=", line)}
    assert named - known == set()


def test_every_option_of_an_ingest_is_told():
    rows = re.findall(r"^\| (`.*?) \|", section("docs/ingesting.md", "Options"), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([A-Z_]+)", row)}
    assert told == {option.name.upper() for option in fields(Ingest)} - {"WAREHOUSE"} | {"CACHE"}


@each_page
def test_every_saved_query_exists(page):
    named = set(re.findall(r"\bQ=(\w+)|house\.(?:query|chart)\(\"(\w+)\"", page.read_text(encoding="utf-8")))
    assert {one or other for one, other in named} - {"saved"} <= {query.name for query in saved.every()}


def test_the_readme_counts_the_saved_queries():
    assert f"{len(saved.every())} such questions" in " ".join(text("README.md").split())


@each_page
def test_what_is_called_in_a_notebook_is_there(page):
    for method in re.findall(r"\bhouse\.(\w+)\(", page.read_text(encoding="utf-8")):
        assert inspect.isfunction(getattr(notebook.House, method))


# --- the architecture page ---


def test_every_file_is_listed():
    lines = re.findall(r"^[\w.]\S* +\S.*$", section("docs/architecture.md", "Every file"), re.MULTILINE)
    listed = {line.split()[0]: line.split()[1:] for line in lines}
    assert len(listed) == len(lines)
    assert all(2 <= len(gloss) <= 7 for gloss in listed.values())
    folders = {name for name in listed if name.endswith("/")}
    assert folders == {f"sql/{path.name}/" for path in (ROOT / "sql").iterdir()} | set(WHOLE)
    kept = [path for top in (".ci", "eigenhouse", "ingest", "analyses") for path in (ROOT / top).rglob("*")]
    on_disk = {
        str(path.relative_to(ROOT))
        for path in [*ROOT.glob("*"), *kept]
        if path.is_file() and path.suffix not in (".duckdb", ".wal", ".pyc") and path.name != ".git"
    }
    assert {name for name in on_disk if not name.startswith(WHOLE)} == listed.keys() - folders


def test_every_stage_is_told():
    stages = section("docs/architecture.md", "Stages")
    rows = re.findall(r"^\| `(\w+)`(?:, the gate)? \| (.*?) \| (.*?) \|$", stages, re.MULTILINE)
    told = {name: (reads, set(re.findall(r"`(\w+)`", fills))) for name, reads, fills in rows}
    assert told.keys() == declared().keys()
    for name, each in declared().items():
        reads, fills = told[name]
        assert reads == (", ".join(each.reads) or "the model")
        assert not fills or fills == {*each.writes, *each.shares}


def test_rooms_stand_in_the_order_of_imports():
    cells = re.findall(r"^\| (`.*?) \|", section("docs/architecture.md", "The rooms"), re.MULTILINE)
    rooms = [[test_rooms.module_name(ROOT / name) for name in re.findall(r"`([\w/.]+)`", cell)] for cell in cells]
    rooms = [[name if name in test_rooms.LEVELS else f"{name}.__main__" for name in row] for row in rooms]
    levels = [test_rooms.LEVELS[name] for row in rooms for name in row]
    assert levels == sorted(levels)


# --- dependencies ---


def test_every_direct_dependency_earns_its_line():
    """A comment beside each says what it is there for."""
    project = tomllib.loads(text("pyproject.toml"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared_there = text("pyproject.toml").partition("[tool.")[0]
    reasons = dict(re.findall(r'^    "([^"]+)",  # (\S.*)$', declared_there, re.MULTILINE))
    assert {name for group in groups for name in group} == reasons.keys()
    assert len(set(reasons.values())) == len(reasons)


# --- the examples of CONTRIBUTING.md ---

GUIDE = ROOT / "CONTRIBUTING.md"


def example(opening):
    [found] = [block for block in blocks(GUIDE, "python") if block.startswith(f'"""{opening}')]
    names = {}
    exec(compile(found, opening, "exec"), names)
    return names


def test_the_example_of_a_measurement_is_the_dense_one():
    rng = np.random.default_rng(5)
    w_q, w_k = rng.standard_normal((6, 3, 11)), rng.standard_normal((2, 3, 11))
    found = example("How symmetric a head's")["symmetry"](LayerHeads.of(w_q, w_k))
    for head in range(6):
        metric = w_k[head // 3].T @ w_q[head]
        assert float(found[head]) == pytest.approx((metric * metric.T).sum() / (metric**2).sum(), rel=1e-12, abs=1e-12)


def test_the_example_of_a_stage_measures_a_layer(tmp_path, monkeypatch):
    """The stage imports the measurement of the guide, which is no file of ours."""
    measurement = types.SimpleNamespace(**example("How symmetric a head's"))
    monkeypatch.setattr(geometry, "symmetry", measurement, raising=False)
    files = FactorFiles(tmp_path)
    files.save(0, (np.ones((6, 3, 11)), np.ones((2, 3, 11))))
    assert example("How symmetric the metric")["measure_layer"]((files, 0, CPU)) == pytest.approx(np.ones(6))


def test_the_example_of_a_store_keeps_a_warehouse(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    home, path = types.SimpleNamespace(**example("A warehouse by name")), Path("home:llamas")
    home.want_place(path)
    with home.writing(path, 1, print) as con:
        insert_model(con)
        con.execute("insert into prompts values ('s', 0, 'text', repeat('0', 64))")
    found = home.up_to_date(path, wait_seconds=1, say=print)
    assert found and home.n_bytes(path) > 0
    found.close()
    with home.connect(path, read_only=True, wait_seconds=1, say=print) as con:
        assert con.execute("select model_id from models").fetchall() == [("m",)]
    assert [file.name for file in tmp_path.rglob("*.duckdb")] == ["llamas.duckdb"]


def test_the_example_of_an_engine_keeps_the_order():
    done = example("In this process, several")["map"](lambda task: task**2, iter(range(11)))
    assert list(done) == [task**2 for task in range(11)]


def test_the_example_of_a_view_is_asked(tmp_path):
    """Table, view, query, verdict, in a warehouse with one head by hand: ln(|W_Q| / |W_K|) = ln(36 / 9) / 2."""
    table, view, query, verdict = blocks(GUIDE, "sql")
    with store.connect(tiny_warehouse.copy_empty(tmp_path / "w.duckdb"), read_only=False) as con:
        for sql in (table, view):
            name = re.findall(r"create .*?(\w+) (?:\(|as)\n", sql)[0]
            con.execute(sql)
            columns = [row[0] for row in con.execute(f"describe {name}").fetchall()]
            header = sqlfiles.header_of(sql)
            assert columns == list(dict.fromkeys([*header["grain"], *header["columns"]]))
        insert_model(con)
        con.execute(
            "insert into head_norms by name select 1 as model_key, 'metric' as operator, 0 as layer, 0 as head, "
            "1 as metric_fro_sq, 36 as w_q_fro_sq, 9 as w_k_fro_sq, 1 as head_product_fro_sq"
        )
        asking.ask(con, query, {"model": None}, keep=True)
        assert con.execute("from answer").fetchall() == [("m", 0, pytest.approx(np.log(2), rel=1e-12), 1)]
        asking.ask(con, verdict, {"model": None})
        assert con.fetchall() == [("m", "The queries have the larger norm in 1 of 1 layers.")]


def insert_model(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "insert into models by name select 'm' as model_id, 1 as model_key, 'm' as name, 'm' as checkpoint, "
        "'m' as source, 1 as n_layers, 1 as n_heads"
    )
