"""A warehouse of an older schema: brought up to date whole or not at all, with a copy of it kept."""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
import schema3_fixture

from analyses import __main__ as command_line
from ingest import migrations, sqlfiles, store, warehouse_file
from ingest.errors import EigenhouseError

REPOSITORY = sqlfiles.SQL_DIR.parent
COPY = "warehouse.schema3.duckdb"
NEW = {"conformance": ["witness", "witness_max_rel_error"], "ingested_stages": ["doubt"]}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    return schema3_fixture.unpack(tmp_path_factory.mktemp("schema3") / "warehouse.duckdb")


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
    """Every table's rows, sorted, warehouse_info's aside; without the columns named."""
    found = {}
    with duckdb.connect(str(path), read_only=True) as con:
        for [table] in con.execute("select table_name from duckdb_tables() where not internal").fetchall():
            names = [row[0] for row in con.execute(f"describe {table}").fetchall()]
            names = [name for name in names if name not in (without or {}).get(table, ())]
            found[table] = sorted(con.execute(f"select {', '.join(names)} from {table}").fetchall(), key=repr)
    del found["warehouse_info"]
    return found


def ask(path, query):
    con = store.connect(path, read_only=True)
    try:
        return con.execute(query).fetchall()
    finally:
        con.close()


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
            command_line.main(["query", "--q", query, "--warehouse", str(old)])
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
        command_line.main(["views", "--warehouse", str(old)])
    assert not ending.value.code
    out, err = capfd.readouterr()
    assert "up to date" in out and COPY in err and (old.parent / COPY).exists()


def test_killed_right_after_the_commit(old, unpacked):
    """With everything still in the WAL: it is read back, doubts and comments too."""
    killed = (
        "import os, sys; from pathlib import Path; from ingest import store, warehouse_file\n"
        "warehouse_file._built_from = lambda con: None\n"
        "real = warehouse_file.transaction\n"
        "class Kill:\n"
        "    def __init__(self, con): self.within = real(con)\n"
        "    def __enter__(self): return self.within.__enter__()\n"
        "    def __exit__(self, *error): self.within.__exit__(*error); os._exit(9)\n"
        "warehouse_file.transaction = Kill\n"
        "store.connect(Path(sys.argv[1]), read_only=False)"
    )
    assert subprocess.run([sys.executable, "-c", killed, old], cwd=REPOSITORY).returncode == 9
    assert f"{old.name}.wal" in os.listdir(old.parent)
    assert ask(old, "select schema_version from warehouse_info") == [(store.SCHEMA_VERSION,)]
    assert bring(old) == []
    assert contents(old, without=NEW) == contents(unpacked)
    assert ask(old, "select count(*) from duckdb_columns() where not internal and comment is null") == [(0,)]
    assert (old.parent / COPY).read_bytes() == unpacked.read_bytes()


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
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, len(before) - 1))
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


class FullAtSecondCheckpoint:
    """A connection to a disk that takes the copy and the log of what is new, and no checkpoint after them."""

    def __init__(self, con):
        self.con, self.n_checkpoints = con, 0

    def __getattr__(self, name):
        return getattr(self.con, name)

    def execute(self, statement, *args):
        self.n_checkpoints += statement == "checkpoint"
        if statement == "checkpoint" and self.n_checkpoints == 2:
            raise duckdb.IOException("IO Error: Could not write file: No space left on device")
        return self.con.execute(statement, *args)


def test_a_disk_that_is_full_after_the_commit_is_said_and_all_is_kept(old, unpacked, monkeypatch):
    real = warehouse_file._open
    with monkeypatch.context() as patch:
        patch.setattr(warehouse_file, "_open", lambda *args: FullAtSecondCheckpoint(real(*args)))
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

    before, real = contents(old), warehouse_file.transaction
    monkeypatch.setattr(warehouse_file, "transaction", spoilt)
    with pytest.raises(EigenhouseError, match="the commit kept nothing"):
        bring(old)
    assert contents(old) == before and os.listdir(old.parent) == ["warehouse.duckdb"]


def test_a_reader_is_told_how(old, unpacked, capfd):
    for command in (["models"], ["query", "--sql", "select 1"], ["report", "--out", str(old.parent / "report")]):
        with pytest.raises(SystemExit) as ending:
            command_line.main([*command, "--warehouse", str(old)])
        assert ending.value.code == 1
        [line] = capfd.readouterr().err.splitlines()
        assert f"has schema version 3, this program works with {store.SCHEMA_VERSION}; run `make views`" in line
    assert os.listdir(old.parent) == ["warehouse.duckdb"] and old.read_bytes() == unpacked.read_bytes()


def test_files_run_in_order_and_only_those_that_are_newer(old, tmp_path, monkeypatch):
    with_files(
        monkeypatch, tmp_path, _9999='--| title = "the last"\nalter table ingested_stages add column late integer'
    )
    assert (migrations.oldest_schema(), migrations.newest_schema()) == (3, 9999)
    assert migrations.told(3).startswith("witnesses") and migrations.told(3).endswith("; the last")
    assert migrations.told(9998) == "the last" and migrations.told(9999) == ""
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
