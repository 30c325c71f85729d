"""What the user says of models: set, listed, read from a sheet, grouped by, and kept whatever is loaded."""

import csv
import json
import math
import shutil
import uuid
from dataclasses import replace

import duckdb
import pytest
import warehouse_fixture as fixture

from eigenhouse import __main__ as command_line
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.exchange import tag_sheets
from eigenhouse.ingest.warehouse import compaction, removal, selection, sqlfiles, store, tags, verification


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Two models with spectra, and a stack of a checkpoint."""
    folder = tmp_path_factory.mktemp("tags")
    return [
        fixture.stack(name, fixture.staged(folder / str(seed), singular_values=fixture.singular_values(seed)))
        for seed, name in enumerate((LLAMA, GEMMA, T5))
    ]


@pytest.fixture(scope="module")
def whole(loaded, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "warehouse.duckdb"
    store.load(path, loaded, {}, force=False)
    return path


@pytest.fixture
def house(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "warehouse.duckdb")


LLAMA, GEMMA, T5 = "org/Llama-3.2-1B", "org/gemma-3-270m", "org/t5-small#encoder"


def tagged(path, **given):
    """The same tags for the model that is first by name."""
    with store.writing(path) as con:
        return tags.write(con, path, {next(iter(selection.chosen(con, LLAMA))): given})


def ask(path, sql):
    with store.reading(path) as con:
        return con.execute(sql).fetchall()


# --- tables and views ---


def test_numbers_of_values():
    """A date is its year and the share of it that has passed: 182 of 366 days on the first of July 2024."""
    wanted = {
        "1": 1, "-1.5e3": -1500, ".5": 0.5, "5.": 5, "+7": 7, "2024": 2024, "2024-07-01": 2024 + 182 / 366,
        "2023-01-01": 2023, "2023-12-31": 2023 + 364 / 365,
    }  # fmt: skip
    none = ["", " ", "nan", "inf", "1e999", "1_000", "1,5", "0x10", "mit", "2024-13-01", "2024-7-1", "12%", "--1"]
    with duckdb.connect() as con:
        con.execute((sqlfiles.SQL_DIR / "macros" / "number_of.sql").read_text())
        for value, number in (wanted | dict.fromkeys(none)).items():
            [found] = con.execute("select number_of($value)", {"value": value}).fetchone()
            assert found is None if number is None else math.isclose(found, number, rel_tol=1e-12), value


def test_what_models_are_grouped_by(house):
    """Columns of models and tags alike; a null is no group."""
    tagged(house, mmlu="63.5", licence="mit")
    groups = ask(house, "select property, value, number from model_groups where model_id = 'org/Llama-3.2-1B'")
    found = {name: (value, number) for name, value, number in groups}
    assert found["family"] == ("llama3.2", None) and found["architecture"] == ("Toy", None)
    assert found["n_layers"] == ("3", 3) and found["has_qk_norm"] == ("false", None)
    assert found["tag:mmlu"] == ("63.5", 63.5) and found["tag:licence"] == ("mit", None)
    assert not {"quantization", "stack", "n_parameters", "ffn_size"} & found.keys()
    n_rows = 2 * fixture.N_LAYERS * fixture.N_HEADS * fixture.N_VALUES
    assert float(found["bytes"][0]) > 4 * n_rows
    families = ask(house, "select value from model_groups where property = 'family' order by all")
    assert families == [("gemma3",), ("llama3.2",), ("t5",)]


# --- verbs ---


@pytest.fixture
def told(house, capfd):
    """Runs a verb: exit status, and its lines."""

    def told(*arguments):
        with pytest.raises(SystemExit) as ending:
            command_line.app([*map(str, arguments), "--warehouse", str(house)])
        out, err = capfd.readouterr()
        return ending.value.code or 0, (out + err).splitlines()

    return told


def there(path):
    return ask(path, "select model_id, tag, value from tags order by all")


def test_tags_are_set_changed_and_taken_away(house, told):
    """As a shell quotes; a checkpoint's with each of its stacks; a tag that isn't there is no fault to take away."""
    assert told("tag", "--model", LLAMA, "--tags", "mmlu=63.4 licence='Apache 2.0' url=a=b")[0] == 0
    assert told("tag", "--model", "org/t5-small", "--tags", "mmlu=1")[1] == [f"1 tags set: {T5}"]
    assert there(house) == [
        (LLAMA, "licence", "Apache 2.0"), (LLAMA, "mmlu", "63.4"), (LLAMA, "url", "a=b"), (T5, "mmlu", "1"),
    ]  # fmt: skip
    assert told("tag", "--model", LLAMA, "--tags", "mmlu=64 url= never=")[1] == [f"1 tags set, 1 taken away: {LLAMA}"]
    assert there(house) == [(LLAMA, "licence", "Apache 2.0"), (LLAMA, "mmlu", "64"), (T5, "mmlu", "1")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model", LLAMA], "got ''"),
        (["--model", LLAMA, "--tags", "mmlu 3"], "got 'mmlu'"),
        (["--model", LLAMA, "--tags", "=3"], "it is empty"),
        (["--model", LLAMA, "--tags", "a='x"], "No closing quotation"),
        (["--model", LLAMA, "--tags", "a=1 a=2"], "got a twice"),
        (["--model", LLAMA, "--tags", "a='x\ny'"], "'\\n'"),
        (["--model", "org/Lama-3.2-1B", "--tags", "a=1"], f"did you mean {LLAMA}?"),
        (["--tags", "a=1"], "wanted MODEL="),
    ],
)
def test_what_is_no_tag_is_refused(house, told, given, said):
    status, [line] = told("tag", *given)
    assert status == 1 and said in line and there(house) == []


def test_a_sheet_goes_in_and_comes_back(house, told, tmp_path):
    """What is listed as CSV is read back to the same; unknown models are named in a line, the others go in."""
    sheet = tmp_path / "models.csv"
    sheet.write_text(
        f'Model_ID,mmlu,licence,"training, tokens"\n{LLAMA},63.4,"MIT, say",\n\norg/t5-small,,x,2e12\n'
        "org/lama-3.2-1b,1,,\norg/none,1,,\n"
    )
    status, lines = told("tags", "--from", sheet)
    left_out = f"not in the warehouse, and left out: org/lama-3.2-1b (near {LLAMA}), org/none"
    assert (status, lines) == (0, ["4 tags set: 2 models", left_out])
    wanted = [
        (LLAMA, "licence", "MIT, say"), (LLAMA, "mmlu", "63.4"), (T5, "licence", "x"), (T5, "training, tokens", "2e12"),
    ]  # fmt: skip
    assert there(house) == wanted
    out = tmp_path / "back.csv"
    assert told("tags", "--format", "csv", "--out", out) == (0, [])
    assert list(csv.reader(out.read_text().splitlines())) == [
        ["model_id", "licence", "mmlu", "training, tokens"], [LLAMA, "MIT, say", "63.4", ""], [T5, "x", "", "2e12"],
    ]  # fmt: skip
    assert told("tags", "--from", out)[0] == 0 and there(house) == wanted
    found = json.loads("".join(told("tags", "--format", "json")[1]))
    assert [row["model_id"] for row in found] == [LLAMA, T5]


SHEETS = {  # of one model m and its tags a and b → what they say
    "excel": (b"\xef\xbb\xbfmodel;a;b;;\r\nm;63,4;1.234;;\r\n;;;;\r\n", {"a": "63.4", "b": "1.234"}),
    "sep": (b"sep=;\r\nmodel;a;b\r\nm;-1,5e3;1,2,3\r\n", {"a": "-1.5e3", "b": "1,2,3"}),
    "tabs": (b"model_id\ta\tb\nm\t2024-05-01\t \xc3\xa9 \n", {"a": "2024-05-01", "b": "\u00e9"}),
    "quotes": (b'"model","a","b"\n"m","1,5","say ""x"""\n', {"a": "1,5", "b": 'say "x"'}),
    "empty cells": (b"model,a,b\nm,,\n", {}),
    "formulas": (b"model,'@a,b\nm,'=1+1,'it\n", {"@a": "=1+1", "b": "'it"}),
    "old macs": (b"model,a\rm,1\r", {"a": "1"}),
}


@pytest.mark.parametrize("kind", SHEETS)
def test_sheets_of_every_kind(tmp_path, kind):
    content, said = SHEETS[kind]
    (tmp_path / "s.csv").write_bytes(content)
    [line] = tag_sheets.read(tmp_path / "s.csv") if said else [tag_sheets.Line(0, "m", {})]
    assert (line.model, line.tags) == ("m", said)


BAD_SHEETS = {
    "empty": (b"", 1, "an empty file"),
    "no header": (b"m,1\nn,2\n", 1, "got m,1"),
    "models alone": (b"model\nm\n", 1, "got model"),
    "a model twice": (b"model,a\nm,1\nn,2\nm,3\n", 4, "got m on line 2 already"),
    "a column twice": (b"model,a,b,a\nm,1,2,3\n", 1, "got a 2 times"),
    "a column without a name": (b"model,a,,b\nm,1,2,3\n", 1, "it is empty"),
    "both names of the model": (b"model,model_id\nm,m\n", 1, "model_id"),
    "a cell too many": (b'model,a\n"x,y",1\nm,1,5\n', 3, "2 cells, as the header has; got 3 (a comma"),
    "a cell too few": (b"model,a,b\nm,1\n", 2, "cut short?"),
    "no model": (b"model,a\n\n,1\n", 3, "a model in the first cell"),
    "a model of two lines": (b'model,a\n"m\nn",1\n', 2, "a model in the first cell; got 'm"),
    "a quote without an end": (b'model,a\nm,1\nn,"2\no,3\n', 3, "quotes in pairs"),
    "text after a quote": (b'model,a\nm,"1"x\n', 2, "quotes in pairs"),
    "a value of two lines": (b'model,a\nn,1\nm,"1\n2"\n', 3, "one line of text"),
    "latin-1": (b"model,a\nm,1\nn,\xe9\n", 3, "the byte 0xe9"),
    "utf-16": ("model,a\nm,1\n".encode("utf-16"), 1, "UTF-16"),
    "a colour": (b"model,a\nm,\x1b[31m\n", 2, "isn't text"),
    "no text": (b"model,a\nm,\x00\n", 2, "isn't text"),
}


@pytest.mark.parametrize("kind", BAD_SHEETS)
def test_a_malformed_sheet_is_refused_by_its_line(tmp_path, kind):
    content, line, said = BAD_SHEETS[kind]
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(EigenhouseError) as caught:
        tag_sheets.read(tmp_path / "s.csv")
    text = str(caught.value)
    assert f"s.csv, line {line}: wanted" in text and said in text and len(text.splitlines()) == 1


def test_a_sheet_that_contradicts_itself_or_names_no_model_leaves_all_as_it_was(house, told, tmp_path):
    sheet = tmp_path / "s.csv"
    for text, said in (
        (f"model,a,b\n{T5},1,\norg/t5-small,2,3\n", f"line 3: wanted one a of {T5}; got '2' after '1'"),
        ("model,a\norg/none,1\n", "none of its models is in the warehouse: org/none"),
        ("model,a\n", "wanted lines of models to tag"),
    ):
        sheet.write_text(text)
        status, [line] = told("tags", "--from", sheet)
        assert status == 1 and said in line and there(house) == []
    assert told("tags", "--from", tmp_path / "gone.csv")[0] == 1
    assert told("tags", "--from", tmp_path)[0] == 1


# --- what becomes of them ---


def again(load, model_id=None, **model):
    """The same load as another run brings it."""
    model_id = model_id or load.model_id
    return replace(load, model_id=model_id, model=load.model | model, run=load.run | {"run_id": uuid.uuid4().hex})


def test_tags_stay_through_loads_and_go_with_their_model(house, loaded):
    """A re-ingest of the same weights says nothing; a forced one of others keeps them and says that; remove doesn't."""
    tagged(house, mmlu="63.4", licence="mit")
    before, said = there(house), []
    store.load(house, [again(loaded[0])], {}, force=False, say=said.append)
    assert there(house) == before and said == []
    store.load(house, [again(loaded[0], weights_sha256="b" * 64)], {}, force=True, say=said.append)
    assert there(house) == before
    [line] = said
    assert line.startswith(f"{LLAMA}: its tags stay") and "licence, mmlu" in line
    assert ask(house, "select count(*) from model_tags anti join models using (model_key)") == [(0,)]
    with store.writing(house) as con:
        removal.remove(con, house, selection.chosen(con, LLAMA))
    assert ask(house, "select count(*) from model_tags") == [(0,)]


def test_the_tags_of_a_stack_that_is_no_more_are_told(house, loaded):
    with store.writing(house) as con:
        tags.write(con, house, {next(iter(selection.chosen(con, T5))): {"mmlu": "1"}})
    said = []
    store.load(house, [again(loaded[2], "org/t5-small#decoder")], {}, force=True, say=said.append)
    assert said == [f"{T5} is no more, and its tags went with it: mmlu"] and there(house) == []


def test_verify_and_compact_leave_tags_to_the_user(house):
    """Changed by another program they are no damage; tags of no model are."""
    tagged(house, mmlu="63.4")
    with store.writing(house) as con:
        con.execute("update model_tags set value = '64'")
    with store.writing(house, wait_seconds=0) as con:
        compaction.compact(con, house)
    assert there(house) == [(LLAMA, "mmlu", "64")]

    def faults():
        with store.reading(house) as con:
            look = verification.Verification(con, None)
            look.look_at_tables()
            look._compare(sqlfiles.SQL_DIR / "verify" / "tags.sql")
            return look.found.faults

    assert faults() == []
    with store.writing(house) as con:
        con.execute("insert into model_tags values (1, 'mmlu', '3')")
    [(_, what)] = faults()
    assert "mmlu of model_key 1" in what
