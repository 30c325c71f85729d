"""The warehouse file: who may open it, what a load replaces, and that a refused load changes nothing."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import astuple, replace
from datetime import datetime

import duckdb
import polars as pl
import pytest
import warehouse_fixture as fixture
from watched_connection import Watched, at, no_room, watch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.stages.declaration import declared
from eigenhouse.ingest.stages.writer import Writer
from eigenhouse.ingest.warehouse import replacement, rollups, sqlfiles, store
from eigenhouse.ingest.warehouse import rows as checked_rows
from eigenhouse.ingest.warehouse.loads import Entry, StagedTable

REPOSITORY = sqlfiles.SQL_DIR.parent
HOLD = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


ROLLED_UP = "insert into head_descriptor_rollup"  # the last statement of a load


def contents(path):
    """Every table's rows, sorted."""
    with store.reading(path) as con:
        return {table: sorted(con.execute(f"from {table}").fetchall(), key=repr) for table in sqlfiles.tables()}


def rows(path, query):
    with store.reading(path) as con:
        return con.execute(query).fetchall()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    stacks = [
        fixture.full_load(folder / "ours", "org/ours", 1),
        fixture.full_load(folder / "decoy", "org/decoy", 2),
    ]
    fixture.prompts().write_parquet(folder / "prompts.parquet")
    store.load(folder / "warehouse.duckdb", stacks, {"prompts": [folder / "prompts.parquet"]}, force=False)
    return folder / "warehouse.duckdb"


@pytest.fixture
def loaded(template, tmp_path):
    """A warehouse with two models: ours, and a decoy that no load may touch."""
    return shutil.copy(template, tmp_path / "warehouse.duckdb")


@pytest.fixture
def held(loaded):
    """The warehouse, and another process that holds it."""
    with subprocess.Popen([sys.executable, "-c", HOLD, loaded], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        yield loaded, process
        process.kill()


# --- opening ---


def test_reading_wants_a_warehouse(tmp_path):
    path = tmp_path / "none.duckdb"
    with pytest.raises(EigenhouseError, match=r"no warehouse at .*none\.duckdb; run `make ingest`"):
        store.connect(path, read_only=True)
    assert not path.exists()


def test_empty_database_is_filled_by_a_writer_only(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(EigenhouseError, match="no warehouse at"):
        store.connect(path, read_only=True)
    store.connect(path, read_only=False).close()
    assert rows(path, "select schema_version from warehouse_info") == [(store.SCHEMA_VERSION,)]


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "is not a DuckDB file"),
        ("sqlite", "is not a DuckDB file"),
        ("empty file", "not a valid DuckDB database"),
        ("folder", "a folder"),
        ("other tables", "not a warehouse"),
        ("no version row", "not a warehouse"),
        ("newer version", f"version 999, this program works with {store.SCHEMA_VERSION}; update the program"),
        (
            "version never released",
            f"version 2, this program works with {store.SCHEMA_VERSION}; give another WAREHOUSE",
        ),
    ],
)
def test_wrong_files_are_refused_and_left_alone(tmp_path, read_only, kind, message):
    path = tmp_path / "warehouse.duckdb"
    statements = {
        "other tables": "create table recipes as select 1 as salt",
        "no version row": "create table warehouse_info (schema_version integer)",
        "newer version": "create table warehouse_info as select 999 as schema_version",
        "version never released": "create table warehouse_info as select 2 as schema_version",
    }
    if kind in statements:
        with duckdb.connect(str(path)) as con:
            con.execute(statements[kind])
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes({"text": b"a diary\n" * 99, "sqlite": b"SQLite format 3\0" * 9, "empty file": b""}[kind])
    before = None if kind == "folder" else path.read_bytes()
    with pytest.raises(EigenhouseError, match=message) as caught:
        store.connect(path, read_only=read_only)
    assert len(str(caught.value).splitlines()) <= 2
    assert str(path) in str(caught.value)
    assert kind == "folder" or path.read_bytes() == before
    assert os.listdir(tmp_path) == ["warehouse.duckdb"]


@pytest.mark.parametrize("read_only", [True, False])
def test_gives_up_on_a_held_file(held, read_only):
    path, process = held
    said = []
    started = time.monotonic()
    with pytest.raises(EigenhouseError, match=rf"still in use by process {process.pid} after 0\.6 s"):
        store.connect(path, read_only=read_only, wait_seconds=0.6, say=said.append)
    assert 0.6 <= time.monotonic() - started < 3
    assert [f"process {process.pid};" in message for message in said] == [True]


def test_waits_for_a_held_file(held):
    path, process = held
    said = []

    def let_go(message):
        said.append(message)
        process.stdin.close()

    con = store.connect(path, read_only=False, wait_seconds=60, say=let_go)
    assert con.execute("select count(*) from models").fetchall() == [(2,)]
    con.close()
    assert len(said) == 1


def test_opening_for_writing_refreshes_views_and_tables(loaded):
    with duckdb.connect(str(loaded)) as con:
        con.execute("create or replace view head_descriptors as select 'stale' as model_id")
        con.execute("drop table conformance")
    store.connect(loaded, read_only=False).close()
    assert rows(loaded, "select count(op_norm) > 0 from head_descriptors") == [(True,)]
    assert rows(loaded, "select count(*) from conformance") == [(0,)]
    assert rows(loaded, "select comment from duckdb_views() where view_name = 'head_descriptors'") != [(None,)]


def test_opening_an_up_to_date_warehouse_writes_nothing(loaded):
    before = loaded.read_bytes()
    con = store.connect(loaded, read_only=False)
    assert os.listdir(loaded.parent) == ["warehouse.duckdb"]
    con.close()
    assert loaded.read_bytes() == before


def test_a_long_statement_draws_no_bar(loaded):
    """DuckDB's own would stand on standard output, among the lines of a command."""
    with store.reading(loaded) as con, con.cursor() as cursor:
        for each in (con, cursor):
            assert each.execute("select current_setting('enable_progress_bar')").fetchall() == [(False,)]


def test_whether_there_is_a_warehouse(loaded, tmp_path):
    assert store.bring_up_to_date(loaded)
    assert not store.bring_up_to_date(tmp_path / "none.duckdb")
    bare = tmp_path / "bare.duckdb"
    duckdb.connect(str(bare)).close()
    assert not store.bring_up_to_date(bare)
    with duckdb.connect(str(bare)) as con:
        con.execute("create table recipes as select 1 as salt")
    with pytest.raises(EigenhouseError, match="not a warehouse"):
        store.bring_up_to_date(bare)
    bare.write_text("a diary, not a database")
    with pytest.raises(EigenhouseError, match="not a DuckDB file"):
        store.bring_up_to_date(bare)
    assert sorted(os.listdir(tmp_path)) == ["bare.duckdb", "warehouse.duckdb"]


def test_whether_there_is_a_warehouse_waits_for_a_held_file(held):
    path, process = held
    said = []
    with pytest.raises(EigenhouseError, match=f"in use by process {process.pid}"):
        store.bring_up_to_date(path, wait_seconds=0.1, say=said.append)
    assert len(said) == 1


def test_import_is_light():
    heavy = "{'torch', 'transformers', 'huggingface_hub', 'polars'}"
    code = f"import sys, eigenhouse.ingest.warehouse.store; assert not {heavy} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


# --- names ---


def test_ingested_tells_weights_and_stages(loaded):
    con = store.connect(loaded, read_only=True)
    assert store.ingested(con, "org/ours") == ("a" * 64, {"spectra": Entry("f0"), "attention": Entry("f1")})
    assert store.ingested(con, "org/other") == (None, {})
    con.close()


def test_name_bound_to_other_weights_is_refused(loaded, tmp_path):
    con = store.connect(loaded, read_only=True)
    store.check_name(con, "org/new", "b" * 64, force=False)
    store.check_name(con, "org/ours", "a" * 64, force=False)
    store.check_name(con, "org/ours", "b" * 64, force=True)
    for weights in ("b" * 64, None):
        with pytest.raises(EigenhouseError, match="org/ours is in the warehouse with other weights"):
            store.check_name(con, "org/ours", weights, force=False)
    con.close()
    before = contents(loaded)
    with pytest.raises(EigenhouseError, match="sha256 aaaaaaaaaaaa, these are sha256 bbbbbbbbbbbb"):
        store.load(loaded, [fixture.full_load(tmp_path, "org/ours", 3, weights="b" * 64)], {}, force=False)
    assert contents(loaded) == before


def test_force_replaces_everything_of_the_name(loaded, tmp_path):
    """No row of the old key is left; its run stays, marked replaced; the decoy keeps all."""
    before = contents(loaded)
    keys = dict(rows(loaded, "select model_id, model_key from models"))
    tables = fixture.staged(tmp_path / "new", singular_values=fixture.singular_values(3))
    store.load(loaded, [fixture.stack("org/ours", tables, weights="b" * 64)], {}, force=True)
    after = contents(loaded)
    new_keys = dict(rows(loaded, "select model_id, model_key from models"))
    assert new_keys["org/ours"] > max(keys.values())
    assert new_keys["org/decoy"] == keys["org/decoy"]
    for table, meta in sqlfiles.tables().items():
        if "model_key" in meta["columns"]:
            decoys = [row for row in before[table] if keys["org/decoy"] in row]
            assert [row for row in after[table] if keys["org/decoy"] in row] == decoys
            assert not [row for row in after[table] if keys["org/ours"] in row]
    assert len(after["attention_stats"]) == len(before["attention_stats"]) / 2
    assert len(after["head_attention_rollup"]) == len(before["head_attention_rollup"]) / 2
    runs = "select status from ingest_runs inner join models using (model_key) where model_id = 'org/ours'"
    assert sorted(rows(loaded, runs)) == [("done",), ("replaced",)]
    con = store.connect(loaded, read_only=True)
    assert store.ingested(con, "org/ours") == ("b" * 64, {"spectra": Entry("f0")})
    con.close()


def test_model_keys_rise_even_when_the_clock_went_back(loaded, tmp_path, monkeypatch):
    newest = rows(loaded, "select max(model_key) from models")[0][0]
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    stacks = [fixture.full_load(tmp_path / name, name, 4) for name in ("org/a", "org/b")]
    store.load(loaded, stacks, {}, force=False)
    assert rows(loaded, "select model_key from models where model_id in ('org/a', 'org/b') order by model_id") == [
        (newest + 1,),
        (newest + 2,),
    ]


# --- replacing ---


def test_same_weights_replace_only_what_is_staged(loaded, tmp_path):
    """Two heads' spectra less: those tables change and their rollup; attention and eigenvectors stay."""
    before = contents(loaded)
    frame = fixture.singular_values(5).filter(pl.col("head") < 3)
    again = fixture.stack("org/ours", fixture.staged(tmp_path / "again", singular_values=frame))
    again = replace(again, model={**again.model, "dtype": "bfloat16"}, stages={"spectra": Entry("f9")})
    written = store.load(loaded, [again], {}, force=False)
    after = contents(loaded)
    summed_up = {path for path in rollups.every() if "singular_values" in rollups.sources(path)}
    assert written.keys() == {"singular_values", *map(rollups.table_of, summed_up)} | {"descriptor_correlations_rollup"}
    assert (written["singular_values"], written["head_descriptor_rollup"]) == (2 * 3 * 3 * 7, 2 * 3 * 3)
    assert (written["layer_shapes_rollup"], written["relative_spectra_rollup"]) == (2 * 3, 2 * 7)
    changed = {table for table in before.keys() - sqlfiles.kept_tables() if before[table] != after[table]}
    wanted = {
        "models",
        "ingest_runs",
        "ingested_stages",
        "singular_values",
        "head_descriptor_rollup",
        "table_checksums",
    }
    assert changed == wanted
    assert len(after["singular_values"]) == 2 * 3 * (5 + 3) * 7
    assert rows(loaded, "select dtype from models where model_id = 'org/ours'") == [("bfloat16",)]
    assert [row[:2] for row in after["models"]] == [row[:2] for row in before["models"]]
    con = store.connect(loaded, read_only=True)
    assert store.ingested(con, "org/ours")[1] == {"spectra": Entry("f9"), "attention": Entry("f1")}
    con.close()


def test_other_prompt_sets_stay(loaded, tmp_path):
    frame = fixture.attention_stats(7, {"odd@ffffffff": 3})
    tables = fixture.staged(tmp_path / "again", attention_stats=frame)
    of_its_set = StagedTable(tables["attention_stats"], 3 * 3 * 5, "prompt_set = $prompt_set")
    again = fixture.stack("org/ours", tables)
    again = replace(again, tables={"attention_stats": of_its_set}, parameters={"prompt_set": "odd@ffffffff"})
    before = contents(loaded)
    assert store.load(loaded, [again], {}, force=False)["attention_stats"] == 3 * 3 * 5
    after = contents(loaded)

    def of_set(tables, name):
        return [row for row in tables["attention_stats"] if row[1] == name]

    assert of_set(after, "std@0a1b2c3d") == of_set(before, "std@0a1b2c3d")
    assert len(of_set(after, "odd@ffffffff")) == (1 + 3) * 3 * 5
    counts = "select prompt_set, any_value(n_prompts) from head_attention where model_id = 'org/ours' group by all"
    assert sorted(rows(loaded, counts)) == [("odd@ffffffff", 3), ("std@0a1b2c3d", 2)]


def test_no_files_leave_a_table_without_rows(loaded, tmp_path):
    again = fixture.stack("org/ours", {"skipped_modules": [], "attention_stats": [], "eigenvectors": []})
    store.load(loaded, [again], {}, force=False)
    assert rows(loaded, "select model_id from skipped_modules inner join models using (model_key)") == [("org/decoy",)]
    assert rows(loaded, "select distinct model_id from head_attention") == [("org/decoy",)]
    of_another_set = StagedTable([], 0, "prompt_set = $prompt_set")
    empty = replace(fixture.stack("org/decoy", {}), tables={"attention_stats": of_another_set})
    store.load(loaded, [replace(empty, parameters={"prompt_set": "another@00000000"})], {}, force=False)
    assert rows(loaded, "select count(*) from attention_stats") == [(45,)]


def test_rows_are_stored_sorted_whatever_the_order_of_the_files(loaded, tmp_path):
    frame = fixture.singular_values(6)
    layers = [frame.filter(pl.col("layer") == layer).reverse() for layer in (2, 0, 1)]
    files = []
    for layer, part in enumerate(layers):
        files += fixture.staged(tmp_path / f"part{layer}", singular_values=part)["singular_values"]
    again = fixture.expecting(fixture.stack("org/ours", {"singular_values": files}), singular_values=210)
    store.load(loaded, [again], {}, force=False)
    ours = "from singular_values where model_key = (select model_key from models where model_id = 'org/ours')"
    assert rows(loaded, "select operator, layer, head, k, sigma " + ours) == frame.rows()


def test_files_out_of_order_are_no_fault_in_a_table_with_a_primary_key(loaded, tmp_path):
    tables = fixture.staged(tmp_path / "new", skipped_modules=fixture.skipped_modules("z", "metric_folded", "a"))
    store.load(loaded, [fixture.stack("org/ours", tables)], {}, force=False)
    ours = "select module from skipped_modules inner join models using (model_key) where model_id = 'org/ours'"
    assert rows(loaded, ours) == [("a",), ("metric_folded",), ("z",)]


def test_prompts_that_are_there_are_kept(loaded, tmp_path):
    more = pl.concat([fixture.prompts(), fixture.prompts().with_columns(prompt_set=pl.lit("new@00000000")).head(1)])
    more.write_parquet(tmp_path / "more.parquet")
    assert store.load(loaded, [], {"prompts": [tmp_path / "more.parquet"]}, force=False) == {"prompts": 1}
    assert rows(loaded, "select count(*) from prompts") == [(4,)]


def test_times_are_utc(loaded):
    assert rows(loaded, "select distinct started_at from ingest_runs") == [(datetime(2025, 3, 5, 7, 11),)]


# --- refusing ---


def with_value(frame, column, value, where):
    kind = frame.schema[column]
    return frame.with_columns(pl.when(where).then(pl.lit(value, dtype=kind)).otherwise(column).alias(column))


def bad_frames():
    spectra, vectors, stats = fixture.singular_values(8), fixture.eigenvectors(), fixture.attention_stats(8)
    last = (pl.col("operator") == "metric") & (pl.col("layer") == 2) & (pl.col("head") == 4) & (pl.col("k") == 6)
    nan = float("nan")
    modules = fixture.skipped_modules("x", "x")
    bad_vector = vectors.with_columns(
        pl.when(pl.int_range(pl.len()) == 11).then(pl.lit([1.0, nan])).otherwise("vector").alias("vector")
    ).cast(vectors.schema)
    return {
        "nan": (
            "singular_values",
            with_value(spectra, "sigma", nan, last),
            "wanted finite values; got .*head=4, k=6",
        ),
        "infinity": ("singular_values", with_value(spectra, "sigma", float("inf"), last), "finite values"),
        "nan in a list": ("eigenvectors", bad_vector, "finite values.*layer=1, head=0, k=1"),
        "nan in a nullable column": (
            "attention_stats",
            with_value(stats, "sink_logit_weight", nan, pl.col("layer") == 2),
            "finite values.*layer=2",
        ),
        "null": (
            "singular_values",
            with_value(spectra, "sigma", None, last),
            r"NOT NULL.*singular_values\.sigma",
        ),
        "negative": (
            "singular_values",
            with_value(spectra, "sigma", -1.0, last),
            "sigma >= 0.*k=6, sigma=-1",
        ),
        "rising": (
            "singular_values",
            with_value(spectra, "sigma", 99.0, last),
            "not rising with k; got.*k=6",
        ),
        "duplicate": (
            "singular_values",
            pl.concat([spectra, spectra.tail(1)]),
            "1 rows have the key of another",
        ),
        "duplicate module": ("skipped_modules", modules, r"skipped_modules of org/ours: .*duplicate key"),
        "a row less": ("singular_values", spectra.head(-1), "wanted 210 rows.*209 came"),
        "a column less": ("singular_values", spectra.drop("k"), "wanted the columns"),
        "a column more": ("singular_values", spectra.with_columns(extra=1), "wanted the columns"),
        "no such table": ("singular_value", spectra, "no table of the warehouse"),
    }


@pytest.mark.parametrize("kind", bad_frames())
def test_bad_rows_are_refused_and_nothing_changes(loaded, tmp_path, kind):
    """A good stack goes before the bad one in the load: it must not stay either."""
    table, frame, message = bad_frames()[kind]
    good = fixture.full_load(tmp_path / "good", "org/good", 9)
    bad = fixture.stack("org/ours", fixture.staged(tmp_path / "bad", **{table: frame}))
    if kind == "a row less":
        bad = fixture.expecting(bad, **{table: 210})
    before = contents(loaded)
    with pytest.raises(EigenhouseError, match=message) as caught:
        store.load(loaded, [good, bad], {}, force=False)
    assert table in str(caught.value)
    assert contents(loaded) == before


def test_no_row_hides_where_threads_part_the_check(tmp_path, monkeypatch):
    """A fault at each place in turn: the key of the row before it, then more than that row has."""
    monkeypatch.setattr(checked_rows, "SECTION_ROWS", 11)
    frame = fixture.singular_values(1).head(64).with_columns(sigma=pl.lit(1.0, pl.Float32))
    before = frame.select(pl.all().shift(1))
    with duckdb.connect(config={"threads": 8}) as con:
        con.execute((sqlfiles.SQL_DIR / "tables" / "singular_values.sql").read_text())
        for place in range(len(frame)):
            here = pl.int_range(pl.len()) == place
            is_followed = frame["k"][place] > 0
            twice = frame.with_columns(pl.when(here).then(before[each]).otherwise(each).alias(each) for each in KEYS)
            rising = frame.with_columns(sigma=pl.when(here).then(2.0).otherwise("sigma").cast(pl.Float32))
            assert checked(con, tmp_path, twice if place else frame) == (64, int(place > 0), 0, 0)
            assert checked(con, tmp_path, rising) == (64, 0, 0, int(is_followed))


KEYS = ("operator", "layer", "head", "k")


def checked(con, folder, frame):
    """What the scans of a load of these rows count."""
    [file] = fixture.staged(folder, singular_values=frame)["singular_values"]
    load = fixture.stack("org/ours", {"singular_values": [file]})
    return astuple(replacement.Replacement(con, load, 1, "singular_values")._insert(""))


def test_expected_rows_without_files_are_refused(loaded):
    load = fixture.expecting(fixture.stack("org/ours", {"grams": [], "eigenvalues": []}), grams=11, eigenvalues=0)
    with pytest.raises(EigenhouseError, match="grams of org/ours: wanted 11 rows, .* got 0 came"):
        store.load(loaded, [load], {}, force=False)


def test_other_exceptions_roll_back_and_come_through(loaded, tmp_path):
    load = fixture.full_load(tmp_path / "new", "org/new", 9)
    before = contents(loaded)
    with pytest.raises(ValueError, match=r"models wants exactly its columns.*'colour'"):
        store.load(loaded, [load, replace(load, model={**load.model, "colour": "red"})], {}, force=False)
    assert contents(loaded) == before


def test_commit_that_kept_nothing_is_noticed(loaded, tmp_path, monkeypatch):
    """A swallowed error at the end of the transaction: DuckDB's commit then returns quietly."""
    load, before = fixture.full_load(tmp_path / "new", "org/new", 9), contents(loaded)
    real = Watched.commit

    def swallow(self):
        with pytest.raises(duckdb.Error, match="swallowed"):
            self.con.execute("select error('swallowed')")
        real(self)

    monkeypatch.setattr(Watched, "commit", swallow)
    watch(monkeypatch)
    with pytest.raises(EigenhouseError, match="kept nothing of org/new"):
        store.load(loaded, [load], {}, force=False)
    assert contents(loaded) == before


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (duckdb.IOException("IO Error: Could not write file: No space left on device"), "disk is full"),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to pin\nmore"), "out of memory"),
    ],
)
def test_no_room_is_said_in_a_line(loaded, tmp_path, monkeypatch, error, message):
    """When the rows of the last table are in."""

    def fail(statement):
        if ROLLED_UP in statement:
            raise error

    load, before = fixture.full_load(tmp_path / "new", "org/new", 9), contents(loaded)
    watch(monkeypatch, before=fail)
    with pytest.raises(EigenhouseError, match=message) as caught:
        store.load(loaded, [load], {}, force=False)
    assert len(str(caught.value).splitlines()) == 1
    assert contents(loaded) == before


LOADING = """
import os, signal, sys
from pathlib import Path
import pytest
_, tests, folder, path, model, ending, suffix = sys.argv
sys.path.insert(0, tests)
import warehouse_fixture as fixture
import watched_connection as watched
from eigenhouse.ingest.warehouse import building, sqlfiles, store
load = fixture.full_load(Path(folder), model, 9)
texts, declared = sqlfiles.comments(), building.declared_hash()
sqlfiles.comments = lambda: {key: text + suffix for key, text in texts.items()}
building.declared_hash = lambda: declared + suffix
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
where = {
    "rows": {"before": lambda statement: kill() if "insert into head_descriptor_rollup" in statement else None},
    "build": {"after": watched.at(1, "commit", kill)},
    "load": {"after": watched.at(2, "commit", kill)},
}
watched.watch(pytest.MonkeyPatch(), **where[ending])
store.load(Path(path), [load], {}, force=False)
"""


def killed(folder, path, model, ending, suffix=""):
    """A load that another process is killed in."""
    arguments = [os.path.dirname(__file__), folder, path, model, ending, suffix]
    done = subprocess.run([sys.executable, "-c", LOADING, *arguments], cwd=REPOSITORY)
    assert done.returncode == -signal.SIGKILL


def test_a_killed_load_leaves_the_warehouse_as_it_was(loaded, tmp_path):
    """Killed with its rows inserted and not committed: the next reader sees the old rows."""
    before = contents(loaded)
    killed(tmp_path / "new", loaded, "org/ours", "rows")
    assert contents(loaded) == before


def refused(kind, folder):
    """A load that is refused while its rows are checked, or before there is any."""
    if kind == "rows":
        table, frame, _ = bad_frames()["nan"]
        return fixture.stack("org/new", fixture.staged(folder, **{table: frame}))
    return fixture.expecting(fixture.stack("org/new", {"grams": []}), grams=11)


@pytest.mark.parametrize("kind", ["rows", "no files"])
def test_a_refused_load_leaves_no_new_file(tmp_path, kind):
    path = tmp_path / "new" / "warehouse.duckdb"
    path.parent.mkdir()
    with pytest.raises(EigenhouseError):
        store.load(path, [refused(kind, tmp_path / "staged")], {}, force=False)
    assert os.listdir(path.parent) == []


def test_a_warehouse_that_cannot_be_built_leaves_no_new_file(tmp_path, monkeypatch):
    watch(monkeypatch, before=at(1, "comment on", no_room))
    with pytest.raises(EigenhouseError, match="disk is full, nothing was written"):
        store.connect(tmp_path / "warehouse.duckdb", read_only=False)
    assert os.listdir(tmp_path) == []


def test_a_refused_load_keeps_an_empty_file_that_was_there(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(EigenhouseError):
        store.load(path, [refused("no files", tmp_path)], {}, force=False)
    assert rows(path, "select count(*) from models") == [(0,)]


# --- killed, or out of room, once the rows are committed ---


@pytest.mark.parametrize("after", ["build", "load"])
@pytest.mark.parametrize("there", [False, True])
def test_killed_right_after_a_commit(loaded, tmp_path, there, after):
    """On a fresh path, and where every comment changed: it opens again, and has what was committed."""
    path = loaded if there else tmp_path / "fresh.duckdb"
    killed(tmp_path / "new", path, "org/new", after, " (now)" if there else "")
    models = ["org/decoy", "org/ours"] * there + ["org/new"] * (after == "load")
    assert rows(path, "select model_id from models order by model_id") == [(name,) for name in sorted(models)]
    assert rows(path, "select count(*) from duckdb_columns() where not internal and comment is null") == [(0,)]
    store.connect(path, read_only=False).close()
    n_values = 2 * fixture.N_LAYERS * fixture.N_HEADS * 7
    assert rows(path, "select count(*) from singular_values") == [(n_values * len(models),)]


@pytest.mark.parametrize("there", [False, True])
def test_full_disk_after_the_commit_is_told_and_the_rows_kept(loaded, tmp_path, monkeypatch, there):
    path = loaded if there else tmp_path / "fresh.duckdb"
    watch(monkeypatch, before=at(1 if there else 2, "checkpoint", no_room))  # a new one has another when it is built
    with pytest.raises(EigenhouseError, match=rf"disk is full, the new rows wait in {path.name}\.wal"):
        store.load(path, [fixture.full_load(tmp_path / "new", "org/new", 9)], {}, force=False)
    assert rows(path, "select count(*) from models where model_id = 'org/new'") == [(1,)]


def test_staging_on_a_full_disk_is_an_os_error(tmp_path):
    """The file is a link to a device without room."""
    (tmp_path / "stack0").mkdir()
    (tmp_path / "stack0" / "singular_values.parquet").symlink_to("/dev/full")
    frame = fixture.singular_values(1)
    with pytest.raises(OSError, match="No space left") as caught, Writer(declared()["spectra"], tmp_path) as out:
        out.table("singular_values", "stack0").add(frame, expected=len(frame))
    assert caught.value.errno == errno.ENOSPC
