"""A warehouse of an older schema: brought up to date whole or not at all, with a copy of it kept."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
import schema3_fixture
import tiny_models
from watched_connection import at, no_room, watch

from eigenhouse import __main__ as command_line
from eigenhouse.analyses.report import facts
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.runs.plan import Plan
from eigenhouse.ingest.runs.run import ingest
from eigenhouse.ingest.sources import source as sources
from eigenhouse.ingest.sources.locate import resolve
from eigenhouse.ingest.sources.prompts import read_prompts
from eigenhouse.ingest.stages.declaration import declared
from eigenhouse.ingest.warehouse import building, migrations, sqlfiles, store, verification
from eigenhouse.options import Ingest

REPOSITORY = sqlfiles.SQL_DIR.parent
COPY = "warehouse.schema3.duckdb"
NEW = {
    "attention_stats": ["dtype"],
    "conformance": ["witness", "witness_max_rel_error"],
    "ingested_stages": ["doubt", "version", "config_sha256", "fingerprint"],
    "models": ["n_parameters", "family"],
}
MADE_ANEW = {"ingested_stages": ["fingerprint"]}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    return schema3_fixture.unpack(tmp_path_factory.mktemp("schema3") / "warehouse.duckdb")


@pytest.fixture(scope="module")
def straight(unpacked, tmp_path_factory):
    """What this program makes of it at once."""
    path = Path(shutil.copy(unpacked, tmp_path_factory.mktemp("straight") / "warehouse.duckdb"))
    bring(path)
    return contents(path, without={})


@pytest.fixture
def old(unpacked, tmp_path):
    """The warehouse of schema 3, in a folder of its own."""
    (tmp_path / "held").mkdir()
    return Path(shutil.copy(unpacked, tmp_path / "held" / "warehouse.duckdb"))


def changed(path, statement, *parameters):
    with duckdb.connect(str(path)) as con:
        con.execute(statement, parameters)
    return path


def contents(path, without=None):
    """Every table's rows, sorted, but for what the program notes of itself; without the columns named, or made anew."""
    found = {}
    with duckdb.connect(str(path), read_only=True) as con:
        for [table] in con.execute("select table_name from duckdb_tables() where not internal").fetchall():
            names = [row[0] for row in con.execute(f"describe {table}").fetchall()]
            names = [
                name for name in names if name not in (without or {"ingested_stages": ["fingerprint"]}).get(table, ())
            ]
            found[table] = sorted(con.execute(f"select {', '.join(names)} from {table}").fetchall(), key=repr)
    del found["warehouse_info"]
    found.pop("table_checksums", None)  # none before schema 7
    assert found.pop("model_tags", []) == []  # none before schema 8
    return found


def ask(path, query):
    with store.reading(path) as con:
        return con.execute(query).fetchall()


def bring(path):
    said = []
    store.connect(path, read_only=False, say=said.append).close()
    return said


# --- up to date ---


def test_every_row_and_value_stays(old):
    before, bytes_before = contents(old), old.read_bytes()
    assert all(before[table] for table in ("conformance", "layers", "attention_stats", "singular_values", "prompts"))
    [said] = bring(old)
    assert contents(old, without=NEW) == before
    assert ask(old, "select schema_version from warehouse_info") == [(store.SCHEMA_VERSION,)]
    assert ask(old, "select distinct witness, witness_max_rel_error from conformance") == [(None, None)]
    assert (old.parent / COPY).read_bytes() == bytes_before
    assert f"from schema version 3 to {store.SCHEMA_VERSION} (witnesses" in said and COPY in said
    assert len(said.splitlines()) == 1
    assert sorted(os.listdir(old.parent)) == ["warehouse.duckdb", COPY]
    checked(old)


def test_prompts_were_run_in_float32_and_files_dont_say(old):
    with duckdb.connect(str(old)) as con:
        one = "select * replace ('imported' as prompt_set) from attention_stats limit 1"
        con.execute(f"insert into attention_stats by name {one}")
    bring(old)
    dtypes = "select distinct prompt_set = 'imported', dtype from attention_stats order by all"
    assert ask(old, dtypes) == [(False, "float32"), (True, None)]


def test_it_is_declared_as_a_new_one_is(old, tmp_path):
    """Columns in order with their types and nulls, comments, and keys: what a check forbids was there before."""
    bring(old)
    store.connect(tmp_path / "new.duckdb", read_only=False).close()
    columns = (
        "select table_name, column_name, column_index, data_type, is_nullable, comment from duckdb_columns() "
        "where not internal order by all"
    )
    assert ask(old, columns) == ask(tmp_path / "new.duckdb", columns)
    constraints = (
        "select table_name, constraint_type, constraint_text from duckdb_constraints() "
        "where table_name <> 'layers' order by all"
    )
    assert ask(old, constraints) == ask(tmp_path / "new.duckdb", constraints)


def test_views_and_saved_queries_answer(old, capfdbinary):
    bring(old)
    views = [path.stem for path in sqlfiles.files("views")]
    counts = dict(ask(old, " union all ".join(f"select '{view}', count(*) from {view}" for view in views)))
    assert counts.keys() == set(views) and counts["head_descriptors"] == 4 * 60
    for query in ("models", "conformance_worst"):
        with pytest.raises(SystemExit) as ending:
            command_line.app(["query", "--q", query, "--warehouse", str(old)])
        assert not ending.value.code
    assert b"rope-gguf" in capfdbinary.readouterr().out


def test_a_second_opening_does_nothing(old):
    bring(old)
    after = {path.name: path.read_bytes() for path in old.parent.iterdir()}
    assert bring(old) == []
    assert store.bring_up_to_date(old)
    assert {path.name: path.read_bytes() for path in old.parent.iterdir()} == after


def test_what_came_within_schema_3_may_be_missing(old):
    """A column and a table of programs that came after some with the same schema version."""
    changed(old, "alter table layers drop column position_dim; drop table conformance")
    before = contents(old)
    bring(old)
    after = contents(old, without=NEW | {"layers": ["position_dim"]})
    assert after.pop("conformance") == [] and after == before
    assert ask(old, "select distinct position_dim from layers") == [(None,)]


def test_make_views_brings_it(old, capfd):
    with pytest.raises(SystemExit) as ending:
        command_line.app(["views", "--warehouse", str(old)])
    assert not ending.value.code
    out, err = capfd.readouterr()
    assert "up to date" in out and COPY in err and (old.parent / COPY).exists()


def test_killed_right_after_the_commit(old, unpacked):
    """With everything still in the WAL: it is read back, doubts and comments too."""
    killed = (
        "import os, sys; from pathlib import Path; import pytest; sys.path.insert(0, sys.argv[2])\n"
        "from eigenhouse.ingest.warehouse import store; from watched_connection import at, watch\n"
        "watch(pytest.MonkeyPatch(), after=at(1, 'commit', lambda: os._exit(9)))\n"
        "store.connect(Path(sys.argv[1]), read_only=False)"
    )
    tests = os.path.dirname(__file__)
    assert subprocess.run([sys.executable, "-c", killed, old, tests], cwd=REPOSITORY).returncode == 9
    assert f"{old.name}.wal" in os.listdir(old.parent)
    assert ask(old, "select schema_version from warehouse_info") == [(store.SCHEMA_VERSION,)]
    assert bring(old) == []
    assert contents(old, without=NEW) == contents(unpacked)
    assert ask(old, "select count(*) from ingested_stages where doubt is not null") == [(7,)]
    assert ask(old, "select count(*) from duckdb_columns() where not internal and comment is null") == [(0,)]
    assert (old.parent / COPY).read_bytes() == unpacked.read_bytes()


def as_of(path, schema, monkeypatch):
    """The warehouse of schema 3 as a program of a later schema would have brought it up to date."""
    if schema > 3:
        steps = [file for file in sqlfiles.files("migrations") if int(file.stem) <= schema]
        with monkeypatch.context() as patch, duckdb.connect(str(path)) as con, building.transaction(con):
            patch.setattr(migrations, "_steps", lambda _: steps)
            migrations.run(con, 3)
            con.execute("update warehouse_info set schema_version = ?", [schema])
    return path


@pytest.mark.parametrize("schema", range(4, store.SCHEMA_VERSION))
def test_every_schema_comes_to_the_same(old, straight, monkeypatch, schema):
    as_of(old, schema, monkeypatch)
    before = contents(old)
    [said] = bring(old)
    assert (
        f"from schema version {schema} to" in said and contents(old.parent / COPY.replace("3", str(schema))) == before
    )
    assert contents(old, without={}) == straight
    checked(old)


def checked(path):
    """Every row is what its checksum says."""
    with store.reading(path) as con:
        look = verification.Verification(con, None)
        look.look_at_tables()
        assert (look.found.faults, look.found.unknown, look.found.n_models) == ([], set(), 4)


KILLED = """
import os, sys; from pathlib import Path; import pytest; sys.path.insert(0, sys.argv[2])
from eigenhouse.ingest.warehouse import building, migrations, store; from watched_connection import watch
def dies(place, folder):
    seen = []
    def at(statement):
        seen.append(statement)
        if place == len(seen):
            os._exit(9)
    watch(pytest.MonkeyPatch(), before=at)
    if place == "copy":  # half of it is there
        migrations._copy = lambda original, partial: (partial.write_bytes(original.read(100_000)), os._exit(9))
    store.connect(folder / "warehouse.duckdb", read_only=False)
    (folder / "statements").write_text(str(len(seen)))
for folder in map(Path, sys.argv[3:]):
    place = folder.name.removeprefix("at ")
    if not os.fork():
        dies(int(place) if place.isdigit() else place, folder)
        os._exit(0)
    os.wait()
"""


def killed(folders):
    tests = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", KILLED, "", tests, *folders], cwd=REPOSITORY, check=True)


def test_killed_at_any_moment_it_is_brought_whole_next_time(unpacked, tmp_path):
    """As it is copied, half-way through its statements, and at the last two, the commit and the checkpoint."""

    def folder(name):
        (tmp_path / name).mkdir()
        shutil.copy(unpacked, tmp_path / name / "warehouse.duckdb")
        return tmp_path / name

    killed([folder("never")])
    n_statements = int((tmp_path / "never" / "statements").read_text())
    places = [n_statements // 2, n_statements - 1, n_statements]
    folders = [folder("at copy"), *(folder(f"at {place}") for place in dict.fromkeys(places))]
    killed(folders)
    wanted, original = contents(tmp_path / "never" / "warehouse.duckdb", without={}), unpacked.read_bytes()
    for each in folders:
        assert not (each / "statements").exists(), "it was killed"
        path = each / "warehouse.duckdb"
        bring(path)
        assert contents(path, without={}) == wanted
        assert (each / COPY).read_bytes() == original
        assert sorted(os.listdir(each)) == ["warehouse.duckdb", COPY]


# --- the copy ---


def test_what_waits_in_the_wal_is_part_of_the_copy(old):
    insert = "import duckdb, os, sys; con = duckdb.connect(sys.argv[1]); con.execute(sys.argv[2]); os._exit(9)"
    statement = "insert into prompts values ('late@00000000', 0, 'a text', 'its hash')"
    subprocess.run([sys.executable, "-c", insert, old, statement], check=False)
    assert f"{old.name}.wal" in os.listdir(old.parent)
    bring(old)
    late = ("late@00000000", 0, "a text", "its hash")
    assert late in contents(old.parent / COPY)["prompts"] and late in contents(old)["prompts"]
    assert sorted(os.listdir(old.parent)) == ["warehouse.duckdb", COPY]


def test_a_copy_that_is_there_is_never_overwritten(old, unpacked):
    for name in (COPY, "warehouse.schema3-2.duckdb"):
        (old.parent / name).write_bytes(name.encode() + unpacked.read_bytes()[len(name) :])
    [said] = bring(old)
    assert "warehouse.schema3-3.duckdb" in said
    for name in (COPY, "warehouse.schema3-2.duckdb"):
        assert (old.parent / name).read_bytes().startswith(name.encode())
    assert (old.parent / "warehouse.schema3-3.duckdb").read_bytes() == unpacked.read_bytes()


def test_a_copy_that_is_the_same_is_taken(old, unpacked):
    shutil.copy(unpacked, old.parent / COPY)
    [said] = bring(old)
    assert COPY in said and sorted(os.listdir(old.parent)) == ["warehouse.duckdb", COPY]


def half(original, file, *_):
    file.write(original.read(1000))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("told", ["before", "while it is copied"])
def test_a_full_disk_is_said_and_nothing_is_left(old, monkeypatch, told):
    before = old.read_bytes()
    if told == "before":
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=len(before) - 1))
        monkeypatch.setattr(shutil, "copyfileobj", None)  # nothing is begun
    else:
        monkeypatch.setattr(shutil, "copyfileobj", half)
    with pytest.raises(
        EigenhouseError, match=rf"no room for {len(before) / 1e6:,.0f} MB, nothing was written"
    ) as caught:
        bring(old)
    assert len(str(caught.value).splitlines()) == 1
    assert old.read_bytes() == before and os.listdir(old.parent) == ["warehouse.duckdb"]


def test_nobody_else_writes_while_it_is_copied(old, monkeypatch):
    """Python's closing of any file that is the warehouse would give up DuckDB's lock on it."""
    attempt = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('drop table prompts')"
    outcomes = []

    def run(con, schema):
        outcomes.append(subprocess.run([sys.executable, "-c", attempt, old], capture_output=True, text=True))
        real(con, schema)

    real = migrations.run
    monkeypatch.setattr(migrations, "run", run)
    (old.parent / COPY).write_bytes(old.read_bytes())  # compared too
    bring(old)
    assert [("Could not set lock" in outcome.stderr) for outcome in outcomes] == [True]


def test_a_disk_that_is_full_after_the_commit_is_said_and_all_is_kept(old, unpacked, monkeypatch):
    """The disk takes the copy and the log of what is new, and no checkpoint after them."""
    with monkeypatch.context() as patch:
        watch(patch, before=at(2, "checkpoint", no_room))
        with pytest.raises(EigenhouseError, match=r"disk is full, what is new waits in warehouse\.duckdb\.wal"):
            bring(old)
    assert (old.parent / COPY).read_bytes() == unpacked.read_bytes()
    assert ask(old, "select schema_version from warehouse_info") == [(store.SCHEMA_VERSION,)]


# --- refused ---


def with_files(monkeypatch, folder, **texts):
    """The SQL files with other migrations."""
    shutil.copytree(sqlfiles.SQL_DIR, folder / "sql")
    for name, text in texts.items():
        (folder / "sql" / "migrations" / f"{name.removeprefix('_')}.sql").write_text(text)
    monkeypatch.setattr(sqlfiles, "SQL_DIR", folder / "sql")


FAILING = '--| title = "a fault"\nalter table layers add column spoilt integer; update layers set spoilt = 1; {}'


@pytest.mark.parametrize(
    ("statement", "error"),
    [("select error('planted')", duckdb.Error), ("insert into layers (layer) values (1)", EigenhouseError)],
)
@pytest.mark.parametrize("copied", [False, True])
def test_a_failing_statement_leaves_all_as_it_was(old, unpacked, tmp_path, monkeypatch, statement, error, copied):
    if copied:
        shutil.copy(unpacked, old.parent / COPY)
    there = sorted(os.listdir(old.parent))
    with_files(monkeypatch, tmp_path, _0004=FAILING.format(statement))
    with pytest.raises(error):
        bring(old)
    assert old.read_bytes() == unpacked.read_bytes()
    assert sorted(os.listdir(old.parent)) == there


def test_an_error_that_was_swallowed_is_noticed(old, monkeypatch):
    """DuckDB's commit then returns quietly, and keeps nothing."""

    @contextmanager
    def spoilt(con):
        with real(con):
            yield
            with pytest.raises(duckdb.Error, match="swallowed"):
                con.execute("select error('swallowed')")

    before, real = contents(old), building.transaction
    monkeypatch.setattr(building, "transaction", spoilt)
    with pytest.raises(EigenhouseError, match="the commit kept nothing"):
        bring(old)
    assert contents(old) == before and os.listdir(old.parent) == ["warehouse.duckdb"]


def test_a_reader_is_told_how(old, unpacked, capfd):
    for command in (["models"], ["query", "--sql", "select 1"], ["report", "--out", str(old.parent / "report")]):
        with pytest.raises(SystemExit) as ending:
            command_line.app([*command, "--warehouse", str(old)])
        assert ending.value.code == 1
        [line] = capfd.readouterr().err.splitlines()
        assert f"has schema version 3, this program works with {store.SCHEMA_VERSION}; run `make views`" in line
    assert os.listdir(old.parent) == ["warehouse.duckdb"] and old.read_bytes() == unpacked.read_bytes()


def test_files_run_in_order_and_only_those_that_are_newer(old, tmp_path, monkeypatch):
    with_files(
        monkeypatch, tmp_path, _9999='--| title = "the last"\nalter table ingested_stages add column late integer'
    )
    assert (migrations.oldest_schema(), migrations.newest_schema()) == (3, 9999)
    assert migrations.in_words(3).startswith("witnesses") and migrations.in_words(3).endswith("; the last")
    assert migrations.in_words(9998) == "the last" and migrations.in_words(9999) == ""
    with duckdb.connect(str(old)) as con:
        migrations.run(con, 3)
        names = [row[0] for row in con.execute("describe ingested_stages").fetchall()]
        assert names[-1] == "late" and "doubt" in names
        migrations.run(con, 9999)
        with pytest.raises(duckdb.Error, match="late"):  # it is there already
            migrations.run(con, 9998)


def test_files_are_numbered_without_gaps():
    numbers = [path.stem for path in sqlfiles.files("migrations")]
    assert numbers == [f"{number:04}" for number in range(4, store.SCHEMA_VERSION + 1)]


# --- doubts ---


@pytest.fixture
def with_checkpoints(old, tmp_path):
    """The warehouse of schema 3, its four checkpoints on the disk, and an import that looks quantized."""
    for kind, build in schema3_fixture.KINDS.items():
        changed(old, "update models set source = ? where model_id = ?", str(build(tmp_path / kind)), kind)
    changed(
        old,
        "insert into models by name select * replace ('import' as model_id, 1 as model_key, 'import' as name, "
        "'import' as checkpoint, '/gone/spectra.json' as source, null as weights_sha256, 'Q4_0' as quantization) "
        "from models where model_id = 'plain'",
    )
    return changed(old, "insert into ingested_stages values (1, 'import:grams', 'f', 'r')")


DOUBTED = {"fp8": "codes (F8_E4M3: ", "adapter": "adapter_config.json", "rope-gguf": "(rope_freqs.weight)"}


def doubted(path):
    query = "select distinct model_id, doubt from models join ingested_stages using (model_key) where doubt is not null"
    return dict(ask(path, query))


def test_doubts_are_noted_on_every_stage(with_checkpoints):
    [said] = bring(with_checkpoints)
    found = doubted(with_checkpoints)
    assert found.keys() == DOUBTED.keys()
    for kind, part in DOUBTED.items():
        assert part in found[kind] and found[kind].endswith("; ingest it again")
    told = "select model_id, count(*), count(doubt) from models join ingested_stages using (model_key) group by all"
    counts = {model_id: (n_stages, n_doubted) for model_id, n_stages, n_doubted in ask(with_checkpoints, told)}
    assert counts == {"plain": (8, 0), "import": (1, 0), "fp8": (7, 7), "adapter": (8, 8), "rope-gguf": (7, 7)}
    assert said.endswith("; 3 of its models are to be ingested again, `make models` says why")


def test_without_files_the_rows_tell(old):
    changed(old, "update models set dtype = 'F8_E4M3' where model_id = 'fp8'")
    bring(old)
    found = doubted(old)
    assert found.keys() == {"fp8", "rope-gguf"} and "(F8_E4M3)" in found["fp8"] and "is gone" in found["rope-gguf"]


def test_codes_were_read_without_their_scales(old):
    """What the fixture's fp8 is there for: its proved factors are codes, up to 448, and no weights."""
    largest = "select max(op_norm) from head_descriptors where operator = 'metric' and model_id = "
    bring(old)
    [[codes]], [[weights]] = ask(old, f"{largest} 'fp8'"), ask(old, f"{largest} 'plain'")
    assert codes > 1e5 * weights


def shown(path, capfdbinary, *command):
    with pytest.raises(SystemExit) as ending:
        command_line.app([*command, "--warehouse", str(path)])
    assert not ending.value.code
    return capfdbinary.readouterr().out.decode()


def test_make_models_shows_doubts_to_the_end(with_checkpoints, capfdbinary, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # a terminal's width, at which they would be folded
    bring(with_checkpoints)
    changed(with_checkpoints, "update ingested_stages set doubt = null where stage not in ('spectra', 'grams')")
    found = json.loads(shown(with_checkpoints, capfdbinary, "models", "--format", "json"))
    assert list(found[0])[-2:] == ["doubt", "stale"]
    said = {model["model_id"]: model["doubt"] for model in found}
    assert said.pop("plain") is None and said.pop("import") is None and said.keys() == DOUBTED.keys()
    assert all(doubt.startswith("grams, spectra: ") for doubt in said.values())
    assert all(doubt in shown(with_checkpoints, capfdbinary, "models") for doubt in said.values())


def test_the_page_of_a_model_shows_its_doubts(with_checkpoints):
    bring(with_checkpoints)
    con = store.connect(with_checkpoints, read_only=True)
    for model_id, n_doubts in (("fp8", 1), ("plain", 0)):
        [row] = facts.models(con, model_id)
        [fact] = [fact for fact in facts.of_model(con, row) if fact.title == "Doubts"]
        assert (fact.count, fact.none) == (n_doubts, "None: its checkpoint is read as it was when it was measured.")
        cells = {name: cells for name, cells, _ in fact.table}
        assert not n_doubts or cells["stages"][0].startswith("alignments, factors, ")
    con.close()


@pytest.fixture
def ingested(tmp_path, monkeypatch):
    """Options of an ingest of the plain model, done once."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    options = Ingest(
        model=str(schema3_fixture.plain(tmp_path / "tiny")), warehouse=tmp_path / "new.duckdb", static_only=True
    )
    ingest(options)
    return options


def test_a_doubted_stage_is_due_and_clear_once_it_is_measured_again(ingested):
    """With the same weights, options and code, where nothing else would be due."""
    assert ingest(ingested) == {}
    changed(ingested.warehouse, "update ingested_stages set doubt = 'why; ingest it again' where stage = 'grams'")
    with store.reading(ingested.warehouse) as con:
        entries = store.ingested(con, "tiny")[1]
    assert {stage for stage, entry in entries.items() if not entry.stands_for(entry)} == {"grams"}
    written = ingest(ingested)
    assert written["grams"] > 0 and "singular_values" not in written
    assert doubted(ingested.warehouse) == {}
    assert ingest(ingested) == {}


def renewed():
    """Stages that measure other numbers than the oldest program did."""
    return [stage for stage in declared().values() if stage.version > 1]


def test_what_an_older_program_measured_is_not_measured_again(old, tmp_path, monkeypatch):
    """Its stages have version 1 and a fingerprint of their weights and options: what this program would note.

    Stages whose version was raised since are renewed, and no others.
    """
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    folder, prompts = schema3_fixture.plain(tmp_path / "plain"), tiny_models.prompts(tmp_path, 5, 8)
    sha256 = sources.weights_sha256(tiny_models.local_source(folder / "model.safetensors"))
    changed(old, "update models set weights_sha256 = ? where model_id = 'plain'", sha256)
    options = Ingest(model=str(folder), warehouse=old, prompts=prompts, name="plain")
    ingest(options)
    of_runs = (
        "select stages from ingest_runs join models using (model_key) where model_id = 'plain' order by started_at"
    )
    assert [list(json.loads(stages)) for [stages] in ask(old, of_runs)][-1] == [stage.name for stage in renewed()]
    assert ingest(options) == {}
    assert ingest(replace(options, variants="none", static_only=True, subspace_size=5)).keys() >= {"side_overlaps"}
    assert [list(json.loads(stages)) for [stages] in ask(old, of_runs)][-1] == ["factors", "subspaces", "alignments"]


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({"experts": "08"}, []),
        ({"variants": None}, None),  # nobody can read it: the marks stay, and everything is measured again
        ({"variants": "none"}, ["factors", "variants"]),
    ],
)
def test_options_of_an_older_run_however_spelled(old, tmp_path, monkeypatch, changes, due):
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    folder = schema3_fixture.plain(tmp_path / "plain")
    sha256 = sources.weights_sha256(tiny_models.local_source(folder / "model.safetensors"))
    changed(old, "update models set weights_sha256 = ? where model_id = 'plain'", sha256)
    runs = "select run_id, options from ingest_runs join models using (model_key) where model_id = 'plain'"
    with duckdb.connect(str(old)) as con:
        for run_id, options in con.execute(runs).fetchall():
            spelled = json.dumps(json.loads(options) | changes)
            con.execute("update ingest_runs set options = ? where run_id = ?", [spelled, run_id])
    options = Ingest(model=str(folder), warehouse=old, name="plain", static_only=True)
    bring(old)
    plan = Plan(options, resolve(str(folder), name="plain"), sha256, read_prompts())
    measured = [stage for stage in plan.wanted if due is None or stage.name in due or stage in renewed()]
    assert plan.due() == measured


def test_an_ingest_brings_an_older_warehouse_and_clears_doubts(old, tmp_path, monkeypatch, capfd):
    """An adapter lay beside the weights as the warehouse was brought up to date, and is gone as they are read again."""
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    folder = schema3_fixture.adapter(tmp_path / "adapter")
    sha256 = sources.weights_sha256(tiny_models.local_source(folder / "model.safetensors"))
    changed(old, "update models set source = ?, weights_sha256 = ? where model_id = 'adapter'", str(folder), sha256)
    ingest(
        Ingest(model=str(schema3_fixture.plain(tmp_path / "other")), warehouse=old, static_only=True, no_weights=True)
    )
    assert COPY in capfd.readouterr().err and (old.parent / COPY).exists()
    assert doubted(old).keys() == {"adapter", "rope-gguf"}
    (folder / "adapter_config.json").unlink()
    assert ingest(Ingest(model=str(folder), warehouse=old, static_only=True))["singular_values"] > 0
    left = (
        "select stage from ingested_stages join models using (model_key) "
        "where model_id = 'adapter' and doubt is not null"
    )
    [[stage]] = ask(old, left)
    assert stage.startswith("attention:tiny@")
    assert doubted(old).keys() == {"adapter", "rope-gguf"}
