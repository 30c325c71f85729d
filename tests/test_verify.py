"""A warehouse looked over: whole as it was loaded, and what is wrong with it named with its model and the way out."""

import contextlib
import random
import shutil

import duckdb
import pytest
import tiny_models
from tiny_ingests import Warehouse
from typer.testing import CliRunner

from bench import byte_flips
from eigenhouse import __main__ as command_line
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import blocks, checksums, store, verification

MODELS = {"one": "grouped heads", "two": "encoder"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two tiny models, measured by the command line."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EIGENHOUSE_CACHE", str(folder / "cache"))
        warehouse = Warehouse(folder, "--prompts", tiny_models.prompts(folder, 5, 8))
        for name, kind in MODELS.items():
            warehouse.ingest(tiny_models.save(kind, folder / name))
    return warehouse.path


@pytest.fixture(scope="module")
def con(whole):
    """A copy, open for writing: each test rolls back what it breaks."""
    copy = shutil.copy(whole, whole.with_name("broken.duckdb"))
    with duckdb.connect(str(copy)) as con:
        yield con


def run(*words):
    """Exit status and lines of the command line, which may raise nothing."""
    result = CliRunner().invoke(command_line.app, [*map(str, words)], catch_exceptions=False)
    return result.exit_code, result.output.splitlines()


@pytest.mark.parametrize("model", [None, "one"])
def test_what_was_loaded_is_whole(whole, model):
    status, lines = run("verify", "--warehouse", whole, *(["--model", model] if model else []))
    assert status == 0 and len(lines) == 1
    assert f"is whole: {1 if model else 2} models" in lines[0]


OF_ONE = "model_key = (select model_key from models where model_id = 'one')"
HEAD = f"layer = 1 and head = 2 and {OF_ONE}"
FAULTS = {  # what another program, or damage that no block's checksum shows, may have done → what is said
    f"update singular_values set sigma = sigma * 1.01 where {HEAD}": [
        "not those that were loaded",
        "squared singular values",
        "product of each spectrum with itself",
        "head_descriptor_rollup: 5 rows",
    ],
    f"delete from singular_values where k = 3 and {HEAD}": ["were loaded", "k from 0 on without a gap"],
    f"delete from singular_values where operator = 'metric' and {HEAD}": ["were loaded", "every head of each"],
    f"insert into singular_values from singular_values where {HEAD}": ["rows have the key of another"],
    f"update singular_values set sigma = -sigma where k = 7 and {HEAD}": ["wanted sigma >= 0"],
    f"update singular_values set sigma = 'nan' where k = 0 and {HEAD}": ["wanted finite values"],
    f"update eigenvalues set eigenvalue = -eigenvalue where k = 0 and {HEAD}": ["add up to its trace"],
    f"update grams set gram = gram * 1.001 where layer = other_layer and {OF_ONE}": ["its squared Frobenius norm"],
    f"update grams set gram = gram * 1e3 where layer < other_layer and {OF_ONE}": ["larger than that of their spectra"],
    f"delete from grams where layer < other_layer and head = 2 and {OF_ONE}": ["each pair of the layers"],
    f"delete from side_overlaps where head = 2 and side = 'key' and {OF_ONE}": ["side_overlaps: "],
    f"update eigenvectors set vector = list_transform(vector, x -> 2 * x) where k = 1 and {HEAD}": ["of unit length"],
    f"update conformance set max_rel_error = 0.01 where {HEAD}": ["as the gate wants it"],
    f"delete from conformance where {OF_ONE}": ["all 12 rows are gone", "a proof for each head"],
    f"delete from layers where layer = 1 and {OF_ONE}": ["a row for each layer"],
    f"update attention_stats set entropy_nats = entropy_nats + 1 where {HEAD}": ["head_attention_rollup: 1 rows"],
    f"update attention_stats set sink_weight = 1.5 where {HEAD}": ["shares and weights in [0, 1]"],
    f"delete from attention_stats where prompt = 1 and {OF_ONE}": ["1 of 2 prompts"],
    f"update head_attention_rollup set logit_std = 3 where {HEAD}": ["are not what those of attention_stats give"],
    f"delete from weight_singular_values where weight = 'k' and {OF_ONE}": ["0 singular values of k"],
    f"update ingested_stages set run_id = 'gone' where stage = 'grams' and {OF_ONE}": ["stage grams is of a run"],
    f"delete from ingested_stages where {OF_ONE}": ["no stage is noted"],
    f"update side_overlaps set overlap = 1.5 where head = 0 and {OF_ONE}": ["wanted overlap in [0, 1]"],
    f"update models set dtype = 'other' where {OF_ONE}": ["models: the rows are not those"],
}
OF_NONE = {
    "update prompts set text = text || '!' where prompt = 0": ["have their own hash"],
    "delete from null_spectra where hidden_size = 42": ["null_spectra: "],
    "update grams set model_key = 7 where layer = 1": ["are of no model (model_key 7)"],
    "create or replace view anchors as select error('planted') as model_id": ["view anchors doesn't answer"],
}


def found(con, change, model=None):
    """The faults after a change that is taken back."""
    con.begin()
    try:
        con.execute(change)
        look = verification.Verification(con, model)
        look.look_at_tables()
        look.compare_tables()
        if "view" in change:
            look.ask_views()
        return look.found
    finally:
        con.rollback()


@pytest.mark.parametrize("change", FAULTS)
def test_a_fault_is_said_of_its_model(con, change):
    looked = found(con, change)
    assert looked.bad == ["one"]
    for part in FAULTS[change]:
        assert any(part in what for model, what in looked.faults if model == "one"), looked.faults


@pytest.mark.parametrize("change", OF_NONE)
def test_a_fault_of_no_model(con, change):
    looked = found(con, change)
    for part in OF_NONE[change]:
        assert any(part in what for model, what in looked.faults if model == verification.EVERYWHERE), looked.faults


def test_one_model_is_not_blamed_for_another(con):
    change = f"delete from grams where {OF_ONE}"
    assert found(con, change, "two").faults == []
    assert found(con, change, "one").bad == ["one"]


def test_a_checksum_of_another_duckdb_is_unknown(con):
    """Nothing is said of the rows by a hash that gives other values for the same."""
    looked = found(con, "update table_checksums set hash_mark = 1, checksum = 0")
    assert looked.faults == [] and looked.unknown >= set(MODELS)


def test_every_row_counts_in_whatever_order(con):
    """The checksum is of rows and not of their order; each column of each table is in it."""
    for table, is_of_models in checksums.covered().items():
        kept = con.execute(checksums.statement(table)).fetchall()
        con.begin()
        con.execute(f"create temp table turned as from {table} order by random()")
        con.execute(checksums.statement(table).replace(f"from {table}", "from turned"))
        assert sorted(con.fetchall()) == sorted(kept)
        con.rollback()
        noted = f"select * from {checksums.TABLE} where table_name = '{table}' order by model_key"
        assert con.execute(noted).fetchall() == sorted(kept) or not is_of_models


def test_the_command_says_how_to_replace(whole, tmp_path):
    copy = shutil.copy(whole, tmp_path / "warehouse.duckdb")
    with duckdb.connect(copy) as con:
        con.execute(f"delete from grams where {OF_ONE}")
    status, lines = run("verify", "--warehouse", copy)
    assert status == 1
    [command] = [line.strip() for line in lines if line.strip().startswith("make ingest ")]
    assert f"MODEL={whole.parent / 'one'} PROMPTS=" in command and command.endswith(f"WAREHOUSE={copy} FORCE=1")
    assert lines[-1].startswith("error: ") and "is damaged in one, of 2 models" in lines[-1]


def test_an_unknown_model_has_names_near(whole):
    status, lines = run("verify", "--warehouse", whole, "--model", "tow")
    assert status == 1 and lines == ["error: no model tow in the warehouse; did you mean two?"]


# --- bytes ---


def test_no_flip_that_changes_a_row_goes_unseen(whole):
    """And none is blamed on rows that are as they were; `python -m bench.byte_flips` does it with more."""
    counts = byte_flips.counted(whole, byte_flips.places(whole, 12, seed=7))
    assert {verdict for (rows, verdict) in counts if rows != "the same"} <= {"can't be opened", "rows can't be read"}
    assert {verdict for (rows, verdict) in counts if rows == "the same"} <= {"a block of no rows", "whole"}
    assert sum(n for (rows, _), n in counts.items() if rows != "the same") > 3


def test_a_block_is_judged_as_duckdb_judges_it(whole, tmp_path):
    copy = shutil.copy(whole, tmp_path / "warehouse.duckdb")
    assert blocks.damaged(whole) == []
    n_bytes, place = whole.stat().st_size, byte_flips.HEADERS + 3 * 262144 + 77
    byte_flips.flip(tmp_path / "warehouse.duckdb", place)
    assert blocks.damaged(tmp_path / "warehouse.duckdb") == [byte_flips.HEADERS + 3 * 262144]
    with open(copy, "r+b") as file:
        file.truncate(n_bytes - 1000)
    assert len(blocks.damaged(tmp_path / "warehouse.duckdb")) == 2
    (tmp_path / "empty.duckdb").write_bytes(b"")
    assert blocks.damaged(tmp_path / "empty.duckdb") == []


def commands(path, folder, model):
    yield "query", "--sql", "select max(sigma), max(operator) from singular_values", "--warehouse", path
    yield "query", "--q", "operator_verdicts", "--warehouse", path
    yield "models", "--warehouse", path
    yield "export", "--model", "one", "--out", folder / "out", "--warehouse", path
    yield "report", "--out", folder / "report", "--warehouse", path
    yield "ingest", "--model", model, "--name", "new", "--static-only", "--warehouse", path
    yield "remove", "--model", "one", "--warehouse", path
    yield "compact", "--warehouse", path


def test_every_command_says_damage_in_a_line(whole, tmp_path, monkeypatch):
    """All blocks but those that opening needs: whatever is read next is damaged. Nothing is written over."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "warehouse.duckdb"
    shutil.copy(whole, path)
    n_blocks = (path.stat().st_size - byte_flips.HEADERS) // 262144
    for number in range(n_blocks):
        place = byte_flips.HEADERS + number * 262144 + 100_000
        byte_flips.flip(path, place)
        if not opens(path):
            byte_flips.flip(path, place)
    assert opens(path) and byte_flips.rows(path) is None
    damaged = path.read_bytes()
    for words in commands(path, tmp_path, whole.parent / "one"):
        status, lines = run(*words)
        assert (status, len(lines)) == (1, 1), (words, lines)
        assert lines[0].startswith(f"error: {path} is damaged") and "make verify" in lines[0], lines
    assert path.read_bytes() == damaged
    assert {each.name for each in tmp_path.iterdir()} <= {path.name, "cache"}


def opens(path):
    try:
        store.connect(path, read_only=True).close()
        return True
    except Exception:
        return False


def test_an_ingest_looks_before_it_measures(whole, tmp_path, monkeypatch):
    """One block, of an index or of rows of another model: nothing is fetched and no model is read."""
    copy = tmp_path / "warehouse.duckdb"
    shutil.copy(whole, copy)
    byte_flips.flip(copy, random.Random(1).randrange(byte_flips.HEADERS, copy.stat().st_size))
    monkeypatch.setattr("eigenhouse.ingest.runs.run.resolve", None)
    monkeypatch.setattr("eigenhouse.ingest.exchange.imports.resolve", None, raising=False)
    status, [line] = run("ingest", "--model", whole.parent / "one", "--name", "new", "--warehouse", copy)
    assert status == 1 and "is damaged, nothing was begun: the block at byte" in line


def test_by_force_it_is_enough_that_the_old_rows_can_go(whole, tmp_path, monkeypatch):
    """The command that verify names; and where they can't, that is said before anything is measured."""
    path = tmp_path / "warehouse.duckdb"
    for seed in range(20):  # some hit what DuckDB reads as it opens the file, or an index of the old rows
        shutil.copy(whole, path)
        byte_flips.flip(path, random.Random(seed).randrange(byte_flips.HEADERS, path.stat().st_size))
        with contextlib.suppress(EigenhouseError):
            store.want_whole(path, "one")
            break
    else:
        pytest.fail("no flip lets the old rows go")
    with pytest.raises(EigenhouseError, match="nothing was begun"):
        store.want_whole(path)
    unreadable = duckdb.IOException("IO Error: Corrupt database file: computed checksum")
    monkeypatch.setattr(store, "delete_rows", lambda *_: (_ for _ in ()).throw(unreadable))
    with pytest.raises(EigenhouseError, match="is damaged, nothing was begun: Corrupt database file"):
        store.want_whole(path, "one")
    store.want_whole(whole, "one")


def test_verify_says_that_nothing_can_be_read(whole, tmp_path):
    path = tmp_path / "warehouse.duckdb"
    shutil.copy(whole, path)
    with open(path, "r+b") as file:
        file.truncate(byte_flips.HEADERS + 100_000)
    status, lines = run("verify", "--warehouse", path)
    assert status == 1 and len(lines) == 1 and "make verify" not in lines[0] and "put back a copy" in lines[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("alter table models rename column name to called", "models as they were made, got none of the name name"),
        ("alter table grams drop column gram", "grams as they were made, got none of the name gram"),
        ("drop table warehouse_info; create table warehouse_info (a int)", "not a warehouse"),
        (
            "drop table warehouse_info; create table warehouse_info as select 'seven' as schema_version",
            "not a warehouse",
        ),
        ("delete from warehouse_info", "not a warehouse"),
        ("insert into warehouse_info from warehouse_info", "not a warehouse"),
    ],
)
def test_tables_that_another_program_changed_are_a_line(whole, tmp_path, change, said):
    path = tmp_path / "warehouse.duckdb"
    shutil.copy(whole, path)
    with duckdb.connect(str(path)) as con:
        for view in ("head_descriptors", "head_attention"):
            con.execute(f"drop view if exists {view}")
        con.execute(change)
    for words in commands(path, tmp_path, whole.parent / "one"):
        status, lines = run(*words)
        assert (status, len(lines)) == (1, 1) and said in lines[0], (words, lines)
    assert run("verify", "--warehouse", path)[0] == 1
