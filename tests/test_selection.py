"""MODEL read as models: names, lists, patterns and conditions, with names that look like all of these."""

import itertools

import duckdb
import pytest

from eigenhouse.analyses.answers import asking
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import conditions, selection, sqlfiles

PLAIN = {  # model_id → layers, architecture; a stack's checkpoint ends at the #
    "org/one": (12, "llama"),
    "org/two": (24, "llama"),
    "other/one": (32, "bert"),
    "run@step1": (6, "llama"),
    "run@step2": (6, "llama"),
    "whisper#decoder": (4, None),
    "whisper#encoder": (2, None),
}
HOSTILE = [
    "it's", '"quoted"', "'; drop table models; --", "50%", "x_y", "[a]", "[", "a*", "*", "q?", "a,b", ",", "$model",
    "a", "b", "two words", " led", "tab\tline\nesc\x1b[31m", "nul\0byte", "where:n_layers > 1", "where:", "L" * 3000,
    "å∂\u202e", "['a', 'b']", "null", "a@main#x", "../../etc/passwd", "\\", "{}",
]  # fmt: skip


def house(names):
    """Tables of models and tags as a warehouse has them, and nothing else; keys in the order of the names."""
    con = duckdb.connect()
    for table in sqlfiles.files("tables"):
        if table.stem in ("models", "model_tags"):
            con.execute(table.read_text())
    [macro] = [path for path in sqlfiles.files("macros") if path.stem == "is_chosen"]
    con.execute(macro.read_text())
    for key, (name, (n_layers, architecture)) in enumerate(names.items(), 1):
        con.execute(
            "insert into models (model_id, model_key, name, checkpoint, n_layers, n_heads, architecture)"
            "values (?, ?, ?, ?, ?, 1, ?)",
            [name, key, name, name.split("#")[0] or name, n_layers, architecture],
        )
    return con


@pytest.fixture(scope="module")
def plain():
    with house(PLAIN) as con:
        yield con


@pytest.fixture(scope="module")
def hostile():
    with house(dict.fromkeys(["org/one", *HOSTILE], (2, None))) as con:
        yield con


def chosen(con, text):
    return list(selection.chosen(con, text).values())


def refused(con, text):
    with pytest.raises(EigenhouseError) as refusal:
        selection.chosen(con, text)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


# --- names, lists, patterns ---

MEANT = {
    "org/one": ["org/one"],
    "whisper": ["whisper#decoder", "whisper#encoder"],
    "whisper#encoder": ["whisper#encoder"],
    "run@step2": ["run@step2"],
    "other/one,org/two": ["other/one", "org/two"],
    "other/one , org/one": ["other/one", "org/one"],
    "org/two,org/*,org/two": ["org/two", "org/one"],
    "org/one,whisper,whisper#encoder": ["org/one", "whisper#decoder", "whisper#encoder"],
    "org/*": ["org/one", "org/two"],
    "o*/one": ["org/one", "other/one"],
    "run@step?": ["run@step1", "run@step2"],
    "*step[2-9]": ["run@step2"],
    "*[!12e]": ["org/two", "whisper#decoder", "whisper#encoder"],
    "whisp?r": ["whisper#decoder", "whisper#encoder"],
    "*": list(PLAIN),
}


@pytest.mark.parametrize(("text", "names"), MEANT.items())
def test_what_is_typed_means_these(plain, text, names):
    """In the order of what was typed, each once; within a pattern by name. A checkpoint's name is its stacks'."""
    assert chosen(plain, text) == names


def test_a_list_is_several_texts(plain):
    assert chosen(plain, ["whisper", "org/*", "org/one"]) == [
        "whisper#decoder", "whisper#encoder", "org/one", "org/two",
    ]  # fmt: skip


@pytest.mark.parametrize("text", [[], 5, ["org/one", 5], {"org/one": 1}])
def test_what_is_no_text_is_refused(plain, text):
    assert "want the name of a model, or a list of such, got" in refused(plain, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("org/oen", "no model org/oen in the warehouse; did you mean org/one"),
        ("org/one,whispr", "no model whispr in the warehouse; did you mean whisper"),
        ("ORG/ONE", "no model ORG/ONE in the warehouse"),
        ("ogr/*", "matches ogr/*; did you mean org/"),
        ("*#encodr", "matches *#encodr; did you mean whisper#encoder"),
        ("zzz*", "matches zzz*; `make models` lists them"),
        ("[z-a]*", "matches [z-a]*"),
        ("org/one,", "want a name on both sides of each comma, got MODEL=org/one,"),
        ("org/one,,org/two", "want a name on both sides of each comma"),
        (", ", "want a name on both sides of each comma"),
        ("org/one,where:n_layers > 3", "a condition stands alone"),
        ("\udcff", "no model"),
        ("x" * 100_000, "no model xxx"),
        ("*" * 3000 + "x", "matches ***"),
    ],
)
def test_what_means_nothing_is_said_with_names_near(plain, text, said):
    message = refused(plain, text)
    assert said in message and len(message) < 1000


def test_a_warehouse_without_models_says_so():
    with house({}) as con:
        assert selection.every(con) == {}
        for text in ("a", "a*"):
            assert "it holds no model: `make ingest`" in refused(con, text)
        assert "none of the 0 models" in refused(con, "where:n_layers > 1")


# --- names that look like something else ---


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:20]))
def test_a_name_that_is_there_is_that_name(hostile, name):
    """Alone, in a list on either side of another, and as the parameter of a saved query."""
    assert chosen(hostile, name) == [name]
    assert chosen(hostile, f"{name},org/one") == [name, "org/one"]
    assert chosen(hostile, f"org/one,{name}") == ["org/one", name]
    asked = "select model_id from models where is_chosen(model_id, $model) order by model_key"
    for names in ([name], ["org/one", name]):
        assert hostile.execute(asked, {"model": selection.bound(names)}).fetchall() == [(each,) for each in names]


def test_every_hostile_name_in_one_list(hostile):
    """But for those that hold a comma and make a longer name with their neighbours."""
    names = [name for name in HOSTILE if name not in ("a,b", ",", "a")]
    assert chosen(hostile, ",".join(names)) == names
    assert chosen(hostile, "a,b,b") == ["a,b", "b"]
    assert chosen(hostile, "b,a,b") == ["b", "a,b"]


# --- conditions ---


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("n_layers > 20 and architecture = 'llama'", lambda _, n, kind: n > 20 and kind == "llama"),
        ("architecture is null or n_layers in (6, 12)", lambda _, n, kind: kind is None or n in (6, 12)),
        ("model_id like 'org/%' -- these", lambda name, *_: name.startswith("org/")),
        ("models.n_layers = (select max(n_layers) from models)", lambda _, n, __: n == 32),
        ("n_layers between 5 and 12\n", lambda _, n, __: 5 <= n <= 12),
        (" not n_layers > 4 ", lambda _, n, __: n <= 4),
    ],
)
def test_a_condition_holds_for_these(plain, condition, holds):
    """A null is not true."""
    expected = [name for name, (n, kind) in PLAIN.items() if holds(name, n, kind)]
    assert 0 < len(expected) < len(PLAIN)
    assert chosen(plain, f"where:{condition}") == expected


def test_a_condition_on_tags():
    """A text, or its number; a model without the tag doesn't meet what is asked of it."""
    with house(dict.fromkeys(["a", "b", "c", "d"], (2, None))) as con:
        con.execute("insert into model_tags values (1, 'mmlu', '9.5'), (2, 'mmlu', '63'), (3, 'mmlu', 'n/a')")
        con.execute("insert into model_tags values (2, 'licence', 'MIT'), (4, 'licence', 'MIT')")
        assert chosen(con, "where:number_of(tags['mmlu']) > 10") == ["b"]
        assert chosen(con, "where:number_of(tags['mmlu']) < 63") == ["a"]
        assert chosen(con, "where:tags['licence'] = 'MIT' and tags['mmlu'] is null") == ["d"]


NO_CONDITION = {
    "n_layer > 3": "models has no column n_layer; did you mean n_layers",
    "architecture = llama": "models has no column llama; text stands in single quotes: 'llama'",
    'name = "org/one"': "text stands in single quotes: 'org/one'",
    "n_layers": "n_layers is INTEGER, not true or false",
    "'true'": "is VARCHAR, not true or false",
    "null": "not true or false",
    "columns(*) is null": "not true or false",
    "": "got nothing after where:",
    "n_layers > 99": "none of the 7 models in the warehouse meets where:n_layers > 99",
    "n_layers >": "syntax error",
    "n_layers > 'many'": "Could not convert string 'many'",
    "max(n_layers) > 3": "cannot contain aggregates",
    "row_number() over () = 1": "cannot contain window functions",
    "unnest([true, false])": "UNNEST not supported",
    "$1 > 2": "Values were not provided",
    "true; drop table models": "syntax error",
    "true); drop table models; select (true": "more than one expression",
    "true); drop table models; --": "syntax error",
    "true) union select (true": "more than one expression",
    "true), (false": "more than one expression",
    "true) from models where (true": "more than one expression",
    "true) limit (1": "more than one expression",
    "true) window w as (order by n_layers": "syntax error",
    "true /*": "unterminated /* comment",
    "(select count(*) from read_csv('/etc/passwd')) > 0": "Cannot access file",
    "exists (from '/etc/hostname')": "does not exist",
    "(select max(content) from read_text('/etc/hostname')) is null": "Cannot access file",
    "exists (from singular_values)": "does not exist",
    "model_id = '\udcff'": "surrogates not allowed",
    "model_id = 'nul\0'": "unterminated quoted string",
    "not " * 500 + "true": "nested too deeply",
    "(select " * 30 + "true" + ")" * 30: "nested too deeply",
    "abs(" * 5000 + "1" + ")" * 5000 + " > 0": "memory exhausted",
}


@pytest.mark.parametrize(("condition", "said"), NO_CONDITION.items(), ids=lambda text: ascii(text[:30]))
def test_what_is_no_condition_is_refused_in_a_line(plain, condition, said):
    before = plain.execute("from models").fetchall()
    message = refused(plain, f"where:{condition}")
    assert said in message and len(message) < 600
    assert plain.execute("from models").fetchall() == before


def test_a_condition_ends(plain, monkeypatch):
    monkeypatch.setattr(conditions, "SECONDS", 0.2)
    assert "no answer after 0.2 s" in refused(plain, "where:(select count(*) from range(1000000000000)) > 0")


def test_a_condition_changes_no_setting(plain):
    """What is asked of is a copy, whose settings are locked; functions that act would act on that alone."""
    with conditions._alone(plain) as copy:
        for statement in ("set threads = 2", "set enable_external_access = true", "attach '/tmp/x.duckdb' as x"):
            with pytest.raises(duckdb.Error):
                copy.execute(statement)
        assert copy.execute("select * exclude (tags) from models").fetchall() == plain.execute("from models").fetchall()


def test_is_chosen():
    """Null is all, a text is one, even one that reads as a list, and a list is several."""
    with house(PLAIN) as con:
        names = ["['a', 'b']", "a", "b"]
        asked = "select list(name order by name) from (select unnest($names) as name) where is_chosen(name, $chosen)"
        for value, expected in ((None, names), (names[0], names[:1]), (["a", "b"], ["a", "b"]), (["b"], ["b"])):
            assert con.execute(asked, {"names": names, "chosen": value}).fetchall() == [(expected,)]


# --- every verb ---

KINDS = {
    "org/two": ["org/two"],
    "org/two,org/one": ["org/two", "org/one"],
    "org/[ot]*": ["org/one", "org/two"],
    "where:revision_order >= 1": ["org/one", "org/two"],
}
NOWHERE = {
    "org/tow": "no model org/tow in the warehouse; did you mean org/two",
    "gro/*": "no model in the warehouse matches gro/*; did you mean org/",
    "where:n_heads < 0": "none of the 3 models",
}


@pytest.mark.parametrize(("text", "names"), KINDS.items())
def test_query_and_models(rows, run, text, names):
    found = rows("--q", "effective_rank_by_layer", "--model", text)
    every = rows("--q", "effective_rank_by_layer")
    assert {row["model_id"] for row in every} > set(names)
    assert [row["layer"] for row in found] == [row["layer"] for row in every if row["model_id"] in names]
    assert {row["model_id"] for row in found} == set(names)
    asked = "select model_id, $model as typed from models where model_id in $models order by model_id"
    assert rows("--sql", asked, "--model", text) == [{"model_id": name, "typed": text} for name in sorted(names)]
    _, out, _ = run("models", "--model", text, "--format", "csv")
    assert [line.split(",")[0] for line in out.decode().splitlines()[1:]] == sorted(names)


def test_models_without_model_are_all(rows):
    """In SQL of one's own; and MODEL that no parameter asks for is refused still."""
    [row] = rows("--sql", "select $models as models")
    assert row["models"] == ["org/one", "org/static", "org/two"]


@pytest.mark.parametrize(("text", "said"), NOWHERE.items())
def test_every_verb_refuses_what_means_nothing(run, tmp_path, text, said):
    out = tmp_path / "out"
    for verb in (
        ["query", "--q", "entropy_map"], ["query", "--sql", "select $models"], ["models"], ["verify"], ["remove"],
        ["chart", "--q", "entropy_map", "--out", f"{out}.svg"], ["charts", "--out", out], ["report", "--out", out],
        ["export", "--out", out],
    ):  # fmt: skip
        status, _, err = run(*map(str, verb), "--model", text)
        assert status == 1 and said in err, verb
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "names"), KINDS.items())
def test_what_draws_and_what_reports_are_given_them(run, monkeypatch, tmp_path, text, names):
    """As the parameter of saved queries: one as text, several as a list."""
    from eigenhouse.analyses.charts import charts, gallery, pictures
    from eigenhouse.analyses.report import report

    given = []
    monkeypatch.setattr(gallery, "draw_all", lambda con, model, by, folder, say: given.append(model))
    monkeypatch.setattr(report, "write", lambda con, name, out, model, say: given.append(model))
    drawn = {}
    monkeypatch.setattr(charts, "draw", lambda con, query, asked: drawn.update(asked) or {})
    monkeypatch.setattr(pictures, "rendered", lambda text, suffixes, *_: dict.fromkeys(suffixes, b""))
    run("charts", "--model", text)
    run("report", "--model", text)
    run("chart", "--q", "entropy_map", "--model", text, "--out", str(tmp_path / "x.html"))
    assert [*given, drawn["model"]] == [names[0] if len(names) == 1 else names] * 3


def test_a_chart_of_several_says_them_where_there_is_nothing(run, tmp_path):
    given = ["--model", "org/o*,org/two", "--anchor", "none", "--out", str(tmp_path / "x.svg")]
    status, _, err = run("chart", "--q", "overlap_to_layer", *given)
    assert status == 1 and "nothing to draw for MODEL=org/one,org/two ANCHOR=none" in err
    run("chart", "--q", "effective_rank_by_layer", "--model", "org/o*,org/two", "--out", str(tmp_path / "x.svg"))
    drawn = (tmp_path / "x.svg").read_text()
    assert "org/one" in drawn and "org/two" in drawn and "org/static" not in drawn


@pytest.mark.parametrize(("text", "names"), [*KINDS.items()][2:3])
def test_verify_looks_at_them_alone(run, text, names):
    """The fixture's geometry has more layers than its spectra, which verify tells of each model that it looks at."""
    status, out, err = run("verify", "--model", text)
    lines = [line for line in out.decode().splitlines() if not line.startswith(" ")]
    assert status == 1 and {line.split(":")[0] for line in lines} == set(names)
    assert f"is damaged in {', '.join(sorted(names))}, of {len(names)} models, " in err


def test_several_are_exported_and_what_cannot_be_is_told(run, monkeypatch, tmp_path):
    """org/static has no layers to write; the others' files are there, each under its own name."""
    from eigenhouse.analyses import export

    monkeypatch.setattr(export, "_eigdirs", lambda model, n_heads: b"")  # torch's, which takes seconds to import
    given = ["--prompt-set", "std@0a1b2c3d", "--out", str(tmp_path / "out")]
    status, out, err = run("export", "--model", "org/one,org/static,org/tw?", *given)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert status == 1 and "org/static has no prompt set std@0a1b2c3d" in err
    assert {f"org--{name}.gram.json" for name in ("one", "two")} <= names
    assert {line.rpartition("/")[2] for line in out.decode().splitlines()} == names


def test_two_that_would_be_files_of_one_name_are_not_exported(tmp_path):
    from eigenhouse.analyses import export

    with house(dict.fromkeys(["a/b", "a@b"], (2, None))) as con, pytest.raises(EigenhouseError) as refusal:
        list(export.export(con, ["a/b", "a@b"], tmp_path / "out", None, None, print))
    assert str(refusal.value) == "a/b and a@b would both be written as a--b; export them into two folders"
    assert list(tmp_path.iterdir()) == []


def test_a_section_of_several(warehouse):
    """Its rows, its SQL and its command are of these models, and its SQL runs as it stands."""
    from eigenhouse.analyses.answers import lockdown, saved
    from eigenhouse.analyses.report import facts, sections

    names = ["org/one", "org/two"]
    with lockdown.asking(warehouse) as con:
        query = saved.find("effective_rank_by_layer")
        known = {query.name: {"org/static": "no", "org/two": "yes"}}
        section = sections.one(con, query, "all", names, known)
        assert {row["model_id"] for row in section.rows} == set(names)
        assert section.verdicts == {"org/two": "yes"}
        assert section.names[0] == section.table[0][0] == "model_id"
        assert section.command == "make chart Q=effective_rank_by_layer MODEL=org/one,org/two"
        again = con.execute(section.sql).fetchall()
        assert [row[0] for row in again] == [row["model_id"] for row in section.rows]
        assert [row["model_id"] for row in facts.models(con, names)] == names
        assert asking.with_models(con, {"model": "org/[ot]*", "k": 3}) == {"model": names, "k": 3}


def test_a_notebook_takes_them_too(warehouse):
    import eigenhouse

    asked = eigenhouse.connect(warehouse)
    for model in ("org/[ot]*", ["org/one", "org/two"], "where:revision is not null"):
        assert set(asked.query("entropy_map", model=model)["model_id"]) == {"org/one", "org/two"}
    found = asked.sql("select count(*) as n from models where model_id in $models", model="org/*")
    assert found.item() == 3
    drawn = asked.chart("entropy_map", model="org/[ot]*").to_dict(validate=False)
    values = itertools.chain.from_iterable(drawn.get("datasets", {}).values())
    assert {row["model_id"] for row in values} in ({"org/one", "org/two"}, set())
