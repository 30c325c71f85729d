"""A model removed, the file written anew, the cache cleaned: what is asked for goes, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
import warehouse_fixture as fixture
from filelock import FileLock
from typer.testing import CliRunner

from eigenhouse import __main__ as command_line
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import upkeep
from eigenhouse.ingest.warehouse import checksums, compaction, removal, sqlfiles, store, verification

TABLES = [name for name in sqlfiles.tables() if name not in ("warehouse_info", checksums.TABLE)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """`org/main` with two stacks, and `org/decoy`; each measured on the set `std`, the first alone on `odd`."""
    folder = tmp_path_factory.mktemp("loaded")
    path = folder / "warehouse.duckdb"
    shared = fixture.staged(folder / "shared", prompts=fixture.prompts())
    stacks = []
    for suffix, seed in (("encoder", 0), ("decoder", 1)):
        load = fixture.full_load(folder / suffix, f"org/main#{suffix}", seed)
        stacks.append(replace(load, model=load.model | {"stack": suffix, "checkpoint": "org/main"}))
    store.load(path, stacks, shared, force=False)
    decoy = fixture.full_load(folder / "decoy", "org/decoy", 2)
    frame = fixture.attention_stats(2, {"std@0a1b2c3d": 2})
    tables = fixture.stack("org/decoy", fixture.staged(folder / "few", attention_stats=frame)).tables
    store.load(path, [replace(decoy, tables=decoy.tables | tables)], {}, force=False)
    return path


@pytest.fixture
def path(loaded, tmp_path):
    (tmp_path / "held").mkdir()
    return Path(shutil.copy(loaded, tmp_path / "held" / "warehouse.duckdb"))


def run(*words):
    result = CliRunner().invoke(command_line.app, [*map(str, words)], catch_exceptions=False)
    return result.exit_code, result.output.splitlines()


def contents(path):
    with duckdb.connect(str(path), read_only=True) as con:
        return {table: sorted(con.execute(f"from {table}").fetchall(), key=repr) for table in TABLES}


def checked(path):
    """Checksums are those of the rows."""
    with store.reading(path) as con:
        look = verification.Verification(con, None)
        look.look_at_tables()
        assert look.found.faults == [] and look.found.unknown == set()


# --- remove ---


def test_a_checkpoint_goes_with_all_its_stacks_and_alone(path):
    before = contents(path)
    status, [line] = run("remove", "--model", "org/main", "--warehouse", path)
    assert status == 0 and line.startswith("removed org/main#decoder, org/main#encoder: ")
    after = contents(path)
    [key] = {row[1] for row in before["models"] if row[0] == "org/decoy"}
    for table, meta in sqlfiles.tables().items():
        if "model_key" in meta["columns"] and table in before:
            with duckdb.connect(str(path), read_only=True) as con:
                place = [name for name, *_ in con.execute(f"describe {table}").fetchall()].index("model_key")
            assert after[table] == [row for row in before[table] if row[place] == key]
    assert {row[0] for row in before["prompts"]} == {"std@0a1b2c3d", "odd@ffffffff"}
    assert {row[0] for row in after["prompts"]} == {"std@0a1b2c3d"}
    n_rows = sum(len(rows) for rows in before.values()) - sum(len(rows) for rows in after.values())
    assert f": {n_rows:,} rows; " in line
    checked(path)


@pytest.mark.parametrize(
    "text", ["org/decoy,org/main#encoder", "org/decoy,*encoder,org/decoy", "where:stack = 'encoder'"]
)
def test_several_go_together(path, text):
    """What is left is the other stack, with the prompts that it alone was measured on; the sum is of all that went."""
    before = contents(path)
    gone = ["org/decoy"] * text.startswith("org") + ["org/main#encoder"]
    status, [line] = run("remove", "--model", text, "--warehouse", path)
    after = contents(path)
    assert status == 0 and line.startswith(f"removed {', '.join(gone)}: ")
    assert {row[0] for row in before["models"]} - {row[0] for row in after["models"]} == set(gone)
    n_rows = sum(len(rows) for rows in before.values()) - sum(len(rows) for rows in after.values())
    assert f": {n_rows:,} rows; " in line
    checked(path)


def test_many_have_a_line_each(path, monkeypatch):
    monkeypatch.setattr(upkeep, "MOST_NAMED", 2)
    before = contents(path)
    status, lines = run("remove", "--model", "org/*", "--warehouse", path)
    assert status == 0 and lines[0].startswith("removed 3 models: ") and contents(path)["models"] == []
    assert [line.split(": ")[0] for line in lines[1:]] == ["  org/decoy", "  org/main#decoder", "  org/main#encoder"]
    own = [int(line.split(": ")[1].removesuffix(" rows").replace(",", "")) for line in lines[1:]]
    n_shared = len(before["prompts"]) + len(before["null_spectra"])
    assert sum(own) == sum(len(rows) for rows in before.values()) - n_shared


def test_several_go_in_one_transaction_or_not_at_all(path, monkeypatch):
    """A name that isn't there, one that went meanwhile, and an error at the second leave everything."""
    before, deleted = contents(path), removal.delete_rows
    status, [line] = run("remove", "--model", "org/decoy,org/mian", "--warehouse", path)
    assert status == 1 and "no model org/mian in the warehouse; did you mean org/main" in line

    def fails(con, model_key):
        if con.execute("select 1 from models where model_id = 'org/decoy'").fetchone():
            return deleted(con, model_key)
        raise EigenhouseError("in the middle of it")

    monkeypatch.setattr(removal, "delete_rows", fails)
    status, [line] = run("remove", "--model", "org/decoy,org/main", "--warehouse", path)
    assert status == 1 and "in the middle of it" in line
    monkeypatch.setattr(upkeep.selection, "every", lambda con: {})
    status, [line] = run("remove", "--model", "org/decoy,org/main", "--warehouse", path)
    assert status == 1 and "org/main#encoder has gone or was replaced meanwhile; nothing was removed" in line
    monkeypatch.undo()
    assert contents(path) == before
    checked(path)


def test_one_stack_goes_by_its_id(path):
    status, [line] = run("remove", "--model", "org/main#encoder", "--warehouse", path)
    assert status == 0 and line.startswith("removed org/main#encoder: ")
    assert [row[0] for row in contents(path)["models"]] == ["org/decoy", "org/main#decoder"]
    assert {row[0] for row in contents(path)["prompts"]} == {"std@0a1b2c3d", "odd@ffffffff"}
    checked(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "org/mian"], "no model org/mian in the warehouse; did you mean org/main"),
        (["--model", "else"], "no model else in the warehouse; `make models` lists them"),
        (["--model", "org/%"], "no model org/%"),
        ([], "wanted MODEL="),
    ],
)
def test_a_name_that_there_is_not_is_refused(path, words, said):
    before = path.read_bytes()
    status, [line] = run("remove", *words, "--warehouse", path)
    assert status == 1 and said in line
    assert path.read_bytes() == before


def test_an_error_on_the_way_removes_nothing(path, monkeypatch):
    before = contents(path)
    monkeypatch.setattr(checksums, "record", None)
    with pytest.raises(TypeError):
        run("remove", "--model", "org/main", "--warehouse", path)
    assert contents(path) == before


def test_no_warehouse_is_made_to_remove_from(tmp_path):
    for verb in (["remove", "--model", "a"], ["compact"], ["verify"]):
        status, [line] = run(*verb, "--warehouse", tmp_path / "none.duckdb")
        assert status == 1 and "no warehouse at" in line
    assert os.listdir(tmp_path) == []


# --- compact ---


def everything(path):
    """Rows in their stored order, views with their comments, keys, and what a user added."""
    with duckdb.connect(str(path), read_only=True) as con:
        tables = [name for (name,) in con.execute("select table_name from duckdb_tables() order by all").fetchall()]
        return [
            {table: con.execute(f"from {table}").fetchall() for table in tables},
            con.execute("select view_name, comment from duckdb_views() where not internal order by all").fetchall(),
            con.execute("select table_name, constraint_text from duckdb_constraints() order by all").fetchall(),
            con.execute("select table_name, column_name, comment from duckdb_columns() order by all").fetchall(),
            con.execute("select function_name, comment from duckdb_functions() where not internal").fetchall(),
        ]


def test_everything_is_kept_in_less_room(path, loaded):
    with duckdb.connect(str(path)) as con:
        con.execute("create table mine (a integer primary key, b varchar); insert into mine values (1, 'x')")
        con.execute("create view my_view as from mine; comment on view my_view is 'of mine'")
        con.execute("create table large as select i, hash(i) as h from range(400000) as t(i); drop table large")
    before, size = everything(path), path.stat().st_size
    link = path.with_name("link.duckdb")
    link.symlink_to(path)
    path.chmod(0o640)
    status, [line] = run("compact", "--warehouse", link)
    assert status == 0 and "every row was compared" in line and link.is_symlink()
    assert everything(path) == before and path.stat().st_size < 0.7 * size
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(path.parent)) == ["link.duckdb", "warehouse.duckdb"]
    checked(path)
    again = fixture.full_load(loaded.parent / "again", "org/new", 5)
    assert store.load(path, [again], {}, force=False)["singular_values"] > 0
    with store.reading(path) as con:
        assert con.execute("select count(*) from head_descriptors where model_id = 'org/new'").fetchone() == (30,)


@pytest.mark.parametrize("spoilt", ["a row", "a table", "a view"])
def test_a_copy_that_differs_is_thrown_away(path, monkeypatch, spoilt):
    """As it would on a disk that keeps something else than was written."""
    before, real = path.read_bytes(), compaction._contents

    def contents(con, database):
        found = real(con, database)
        if database == compaction.ATTACHED:
            found |= {"a row": {"grams": [(1, 1)]}, "a table": {"more": 1}, "a view": {"anchors": None}}[spoilt]
        return found

    monkeypatch.setattr(compaction, "_contents", contents)
    status, [line] = run("compact", "--warehouse", path)
    assert status == 1 and "it was thrown away, and the file stays as it was" in line
    assert path.read_bytes() == before and os.listdir(path.parent) == ["warehouse.duckdb"]


def test_it_wants_room_and_nobody_else(path, monkeypatch):
    before = path.read_bytes()
    hold = "import duckdb, sys; con = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold, path], stdin=-1, stdout=-1) as holder:
        holder.stdout.readline()
        status, [line] = run("compact", "--warehouse", path)
        assert status == 1 and f"is still in use by process {holder.pid}" in line
        holder.communicate()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    status, [line] = run("compact", "--warehouse", path)
    assert status == 1 and "want room for a fresh copy" in line and "it stays as it was" in line
    assert path.read_bytes() == before and os.listdir(path.parent) == ["warehouse.duckdb"]


KILLED = """
import os, sys
from pathlib import Path
from eigenhouse.ingest.warehouse import compaction, store
sys.path.insert(0, sys.argv[2])
path = Path(sys.argv[1])
for name in ("_write", "_want_same", "_put_in_place"):
    if not os.fork():
        if name == "_put_in_place":
            compaction.os.replace = lambda *_: os._exit(9)
        else:
            real = getattr(compaction, name)
            setattr(compaction, name, lambda *given: (name == "_write" and real(*given), os._exit(9)))
        with store.writing(path) as con:
            compaction.compact(con, path)
    assert os.WEXITSTATUS(os.wait()[1]) == 9
    assert compaction.half_made(path).exists()
"""


def test_killed_at_any_step_the_old_file_stays(path):
    """And what was half made goes with the next run."""
    before, bytes_before = everything(path), path.read_bytes()
    root = sqlfiles.SQL_DIR.parent
    subprocess.run([sys.executable, "-c", KILLED, path, os.path.dirname(__file__)], cwd=root, check=True)
    assert path.read_bytes() == bytes_before
    assert run("compact", "--warehouse", path)[0] == 0
    assert everything(path) == before and os.listdir(path.parent) == ["warehouse.duckdb"]


# --- clean-cache ---


def write(path, n_bytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(n_bytes))
    return path


@pytest.fixture
def cache(own_cache, tmp_path):
    write(own_cache / "runs" / "aaaa" / "grams-1" / "grams.parquet", 3 << 20)
    write(own_cache / "runs" / "bbbb" / "lock", 0)
    write(own_cache / "runs" / "bbbb" / "factors.partial" / "w.npy", 2 << 20)
    write(own_cache / "packs" / "cccc" / "one.pack" / "grams.parquet", 4 << 20)
    write(own_cache / "catalog" / "minilm-l6" / "model.safetensors", 5 << 20)
    stale = write(own_cache / "catalog" / ".minilm-l6-x1" / "wheel", 1 << 20)
    write(own_cache / "catalog" / ".minilm-l6-x2" / "wheel", 1 << 20)
    for old in (stale, stale.parent):
        os.utime(old, (1, 1))
    here = write(tmp_path / "weights", 7)
    for name, file in (("here", here), ("gone", tmp_path / "gone"), ("catalog", own_cache / "catalog" / "minilm-l6")):
        write(own_cache / "hashes" / f"{name}.json", 0).write_text(json.dumps({"path": str(file), "stands": []}))
    (own_cache / "hashes" / "spoilt.json").write_text("{")
    return own_cache


def left(cache):
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


def test_what_nobody_needs_goes_with_its_size(cache):
    status, lines = run("clean-cache")
    assert status == 0
    assert "removed runs/aaaa, staged by a run that was stopped: 3.0 MB" in lines
    assert "removed runs/bbbb, staged by a run that was stopped: 2.0 MB" in lines
    assert "removed catalog/minilm-l6, unpacked, is fetched again when it is asked for: 5.0 MB" in lines
    assert "removed catalog/.minilm-l6-x1, a fetch that was stopped: 1.0 MB" in lines
    assert any(line.startswith("removed hashes of 3 files that are gone") for line in lines)
    assert "removed packs/cccc, packs of a list that was stopped: 4.0 MB" in lines
    assert lines[-1].startswith("15.0 MB of ")
    assert left(cache) == ["catalog/.minilm-l6-x2/wheel", "hashes/here.json"]
    assert run("clean-cache") == (0, ["nothing was left to remove"])


def test_nothing_of_a_live_ingest_goes(cache):
    with FileLock(cache / "runs" / "bbbb" / "lock"):
        status, lines = run("clean-cache")
    assert status == 0 and "left for ingests that are running: runs/bbbb and the fetched models" in lines
    there = left(cache)
    assert "runs/bbbb/factors.partial/w.npy" in there and "catalog/minilm-l6/model.safetensors" in there
    assert not any("aaaa" in name or "gone" in name for name in there)


def test_no_cache_is_no_mistake(own_cache):
    assert run("clean-cache") == (0, ["nothing was left to remove"])
