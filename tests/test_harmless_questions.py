"""A question does no harm: whatever it asks, the warehouse and every other file stay as they are, byte by byte."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from eigenhouse import __main__ as command_line
from eigenhouse.analyses.answers import apart, lockdown
from eigenhouse.analyses.answers.question import Question
from eigenhouse.errors import EigenhouseError

ROOT = Path(__file__).resolve().parent.parent
CLOSED, ACTS, HARMLESS = "file system operations are disabled", "want one question", ""
# what is asked with FILES=scores.csv, by kind → a part of the refusal; '' where there may be an answer, since it does
# no harm. {house}, {bystander} and {scores} are files, {new} is none.
HOSTILE = {
    "reading files": {
        "from read_text('/etc/passwd')": CLOSED,
        "from read_blob('/etc/passwd')": CLOSED,
        "from read_csv('{bystander}')": CLOSED,
        "from '{bystander}'": CLOSED,
        "select * from '{bystander}' limit 1": CLOSED,
        "from read_json('{bystander}')": CLOSED,
        "from read_parquet('{bystander}')": CLOSED,
        "from parquet_metadata('{bystander}')": CLOSED,
        "from sniff_csv('{bystander}')": CLOSED,
        "from read_duckdb('{bystander}')": CLOSED,
        "from glob('/etc/*')": CLOSED,
        "from read_text('{scores}/../bystander.csv')": CLOSED,
        "from read_csv(['{scores}', '{bystander}'])": CLOSED,
        "from read_text('https://example.org/')": "error: ",
        "from query('from read_text(''/etc/passwd'')')": CLOSED,
        "from query_table('/etc/passwd')": "does not exist",
        "from json_execute_serialized_sql(json_serialize_sql('from ''{bystander}'''))": CLOSED,
        "with a as (from read_text('/etc/hostname')) from models, a": CLOSED,
        "select (select content from read_text('/etc/passwd'))": CLOSED,
        "summarize '{bystander}'": CLOSED,
        "describe from '{bystander}'": CLOSED,
        "explain analyze from '{bystander}'": CLOSED,
        "from read_blob('{house}')": HARMLESS,
    },
    "writing files": {
        "copy (select 1) to '{house}' (format csv)": ACTS,
        "copy (select 1) to '{bystander}' (format csv)": ACTS,
        "copy (select 1) to '{scores}' (format csv, use_tmp_file false)": ACTS,
        "COPY models TO '{new}' (FORMAT parquet)": ACTS,
        "/* from models */ -- select\ncopy (select 1) to '{new}'": ACTS,
        "copy models from '{scores}'": ACTS,
        "copy from database warehouse to memory": ACTS,
        "explain copy (select 1) to '{scores}'": ACTS,
        "explain analyze copy (select 1) to '{scores}' (use_tmp_file false)": ACTS,
        "EXPLAIN /* ( */ (ANALYZE, FORMAT json) copy (select 1) to '{scores}' (use_tmp_file false)": ACTS,
        "explain analyze /* select 1 */ copy (select 1) to '{scores}'": ACTS,
        "export database '{new}'": ACTS,
        "import database '{folder}'": "error: ",
        "from enable_logging(storage := 'file', storage_path := '{new}')": "enable_logging()",
        "select 1, (from enable_logging(storage := 'file', storage_path := '{new}') limit 1)": "enable_logging()",
        "call enable_logging(storage := 'file', storage_path := '{new}')": ACTS,
        "from enable_profiling(format := 'json', save_location := '{new}')": "enable_profiling()",
        "select write_log('x')": "write_log()",
        "from checkpoint()": "checkpoint()",
        "checkpoint": ACTS,
        "vacuum": ACTS,
    },
    "attaching": {
        "attach '{bystander}' as other": ACTS,
        "attach '{new}'": ACTS,
        "attach '{house}' as again (read_only false)": ACTS,
        "detach warehouse": ACTS,
        "use memory": ACTS,
    },
    "extensions": {
        "install httpfs": ACTS,
        "load httpfs": ACTS,
        "load '{bystander}'": ACTS,
        "update extensions": "error: ",
        "from postgres_scan('host=localhost', 'public', 't')": "error: ",
        "create secret s (type s3)": ACTS,
        "create persistent secret s (type http, bearer_token 'x')": ACTS,
    },
    "settings": {
        "set enable_external_access = true": ACTS,
        "set lock_configuration = false": ACTS,
        "reset enable_external_access": ACTS,
        "set allowed_paths = ['/etc/passwd']": ACTS,
        "set memory_limit = '100TB'": ACTS,
        "pragma enable_profiling": ACTS,
        "pragma memory_limit = '100TB'": ACTS,
        "set variable files = '/etc/passwd'": ACTS,
        "select getvariable('files')": HARMLESS,
    },
    "environment": {"select getenv('HOME')": "getenv does not exist", "from duckdb_secrets()": HARMLESS},
    "Python's variables": {
        "from sys": "does not exist",
        "from options": "does not exist",
        "from con": "does not exist",
        "from arrow_scan(1, 2, 3)": "arrow_scan()",
        "from pandas_scan(1)": "pandas_scan()",
    },
    "writes to tables": {
        "create table mine as select 1": ACTS,
        "create or replace temp table models as select 1": ACTS,
        "create view models as select 1": ACTS,
        "create macro f(x) as x": ACTS,
        "insert into models select * from models": ACTS,
        "with gone as (select 1) delete from models": ACTS,
        "truncate models": ACTS,
        "update models set name = 'x'": ACTS,
        "merge into models using models as m on true when matched then delete": ACTS,
        "alter table models rename to gone": ACTS,
        "comment on table models is 'x'": ACTS,
        "drop table models": ACTS,
        "begin": ACTS,
        "prepare p as delete from models": ACTS,
        "execute p": ACTS,
    },
    "several statements": {
        "select 1; select 2": "got 2 statements",
        "select 1; drop table models": "got 2 statements",
        "set threads = 1; select 1": "got 2 statements",
        "create temp table a as select 1; from a": "got 2 statements",
        "; ;": "no statement",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, warehouse):
    """A warehouse, two files of the user's, and a schema that IMPORT would run."""
    folder = tmp_path_factory.mktemp("asked")
    shutil.copy(warehouse, folder / "warehouse.duckdb")
    (folder / "scores.csv").write_text("model_id,score\norg/one,7\n")
    (folder / "bystander.csv").write_text("a,b\n1,x\n")
    (folder / "schema.sql").write_text("drop table models;")
    (folder / "load.sql").write_text("")
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def asked(folder, monkeypatch, own_cache):
    """Asks in the folder; afterwards every file in it is as it was, and there is no other."""
    monkeypatch.chdir(folder)
    before = contents(folder)

    def asked(*arguments):
        told = CliRunner().invoke(command_line.app, ["query", *arguments])
        assert contents(folder) == before
        assert "Traceback" not in told.output
        return told.exit_code, told.stdout, told.stderr

    return asked


@pytest.mark.parametrize(("kind", "sql"), [(kind, sql) for kind, some in HOSTILE.items() for sql in some])
def test_a_hostile_question_is_refused_or_harmless(asked, folder, kind, sql):
    places = {"house": "warehouse.duckdb", "bystander": "bystander.csv", "scores": "scores.csv", "new": "new"}
    filled = sql.format(folder=folder, **{name: folder / file for name, file in places.items()})
    status, out, err = asked("--sql", filled, "--files", "scores.csv")
    wanted = HOSTILE[kind][sql]
    if wanted:
        assert (status, out) == (1, "")
        assert wanted in err and err.startswith("error: ")
    assert "root:" not in out + err


def test_each_kind_has_its_statements():
    assert sum(map(len, HOSTILE.values())) > 80
    assert len({sql for some in HOSTILE.values() for sql in some}) == sum(map(len, HOSTILE.values()))


def test_locks_hold_where_the_sql_was_taken_for_a_question(folder, own_cache, monkeypatch):
    """Behind the look at the statement stand DuckDB's own settings: each is enough where the other fails."""
    before = contents(folder)
    monkeypatch.chdir(folder)
    with lockdown.asking(Path("warehouse.duckdb"), files=[Path("scores.csv")]) as con:
        for kind in ("writing files", "attaching", "settings", "writes to tables"):
            for sql in HOSTILE[kind]:
                if "{scores}" not in sql and "{folder}" not in sql:  # which speaks of paths, not of reading
                    filled = sql.format(house="warehouse.duckdb", bystander="bystander.csv", new="new")
                    try:
                        con.execute(filled)
                    except duckdb.Error:
                        con.execute("rollback") if sql == "begin" else None
        with pytest.raises(duckdb.PermissionException):
            con.execute("from read_text('bystander.csv')")
    assert contents(folder) == before


QUESTIONS = (
    "select 1", "(select 1)", "from models", "table models", "values (1)", "-- why\nselect 1;", "show tables",
    "with a as (select 1) from a", "describe models", "show models", "summarize models", "select 'copy; drop' as a",
    "pragma table_info('models')", "explain select 1", "explain analyze from models", "explain (select 1)",
    "EXPLAIN (format json) select 1", "explain analyze select 'é', 1 -- copy", "/* a */ explain -- b\n select 1",
    "pivot models on model_id in ('org/one') using count(*)", "pivot models on model_id using count(*)",
    "from (pivot models on model_id using count(*) group by n_layers)", "unpivot (select 1 as a, 2 as b) on a, b",
    "select * from query('from models')", "with recursive n as (select 1 as a union all from n where a < 1) from n",
    "select getvariable('x')", "from duckdb_settings()", "select current_setting('threads')",
)  # fmt: skip


@pytest.mark.parametrize("sql", QUESTIONS)
def test_every_way_to_ask_is_answered(asked, sql):
    status, out, err = asked("--sql", sql)
    assert (status, err, bool(out)) == (0, "", True)


def test_a_pivot_says_how_it_can_be_asked(asked):
    for sql in ("explain pivot models on model_id using count(*)", "select 1; pivot models on model_id using count(*)"):
        status, _, err = asked("--sql", sql)
        assert status == 1 and "pivot … on column in (…)" in err


# --- what a user needs ---


def test_a_file_of_the_users_own_is_read(asked, folder):
    """By each spelling of its place, and beside the warehouse; two of them, too."""
    sql = "select score, n_layers from '{}' as scores join models using (model_id)"
    for spelled in ("scores.csv", "./scores.csv", str(folder / "scores.csv")):
        status, out, err = asked("--sql", sql.format(spelled), "--files", "scores.csv", "--format", "csv")
        assert (status, out, err) == (0, "score,n_layers\n7,3\n", "")
    both = "select count(*) as n from read_csv(['scores.csv', 'bystander.csv'], union_by_name = true)"
    assert asked("--sql", both, "--files", "scores.csv,bystander.csv", "--format", "csv") == (0, "n\n2\n", "")
    status, _, err = asked("--sql", "from 'scores.csv'")
    assert status == 1 and "FILES=scores.csv lets your own SQL read" in err


@pytest.mark.parametrize(
    ("files", "why"), [("none.csv", "got nothing"), (".", "got no file"), ("/dev/zero", "got no file")]
)
def test_what_is_no_file_is_not_opened(asked, files, why):
    status, _, err = asked("--sql", "select 1", "--files", files)
    assert status == 1 and why in err and len(err.splitlines()) == 1


def test_the_owner_may_write_files(folder, monkeypatch, own_cache, tmp_path):
    """And is told so; the warehouse itself is open for reading alone."""
    monkeypatch.chdir(folder)
    out = tmp_path / "two.csv"
    sql = f"create temp table two as select 2 as n; copy two to '{out}' (header false); from two"
    told = CliRunner().invoke(command_line.app, ["query", "--sql", sql, "--unsafe", "--format", "csv"])
    assert (told.exit_code, told.stdout, out.read_text()) == (0, "n\n2\n", "2\n")
    assert told.stderr == "UNSAFE: this SQL may read and write every file that you may\n"
    told = CliRunner().invoke(command_line.app, ["query", "--sql", "drop table models", "--unsafe"])
    assert told.exit_code == 1 and "read-only" in told.stderr


def test_files_and_unsafe_are_for_sql_of_ones_own(asked):
    for given in (["--files", "scores.csv"], ["--unsafe"]):
        status, _, err = asked("--q", "models", *given)
        assert status == 1 and "is for SQL of your own" in err


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "models.sql", "..", "", "models; drop table models", "*"])
def test_a_path_is_no_saved_query(asked, name):
    status, out, err = asked("--q", name)
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1


HOSTILE_VALUES = (
    "'; drop table models; --",
    "' or true --",
    "$$; attach 'x'",
    "../../etc/passwd",
    "\x00",
    "%s{0}",
    "é" * 9999,
)


@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=range(len(HOSTILE_VALUES)))
def test_a_hostile_value_is_a_value(asked, value):
    """No model has this name, and no operator: that is said, or no row comes, and nothing else happens."""
    status, out, err = asked("--q", "effective_rank_by_layer", "--model", value, "--format", "json")
    assert (status, out) == (1, "") and "no model" in err and len(err.splitlines()) == 1
    status, out, err = asked("--q", "operator_cosine_matrix", "--operator", value, "--format", "json")
    assert (status, out, err) == (0, "[]\n", "")
    status, out, err = asked(
        "--sql", "select $model = $anchor as same", "--model", value, "--anchor", value, "--format", "csv"
    )
    assert (status, out, err) == (0, "same\ntrue\n", "")


# --- the process of its own ---


def question(folder, sql, **settings):
    return Question(warehouse=str(folder / "warehouse.duckdb"), sql=sql, parameters={}, form="csv", **settings)


HIDDEN = (  # past the look at the tree, into the locks: DuckDB answers by ending the process
    "pivot query('from enable_logging(storage := ''file'', level := ''trace'', storage_path := ''new'')') on Success"
)
ENDLESS = (
    "with recursive n as (select 1 as a union all select a from n) select count(*) from n",
    "select count(*) from range(10_000_000) a, range(10_000_000) b where hash(a.range, b.range) = 7",
    "select sleep_ms(100_000)",
)


@pytest.mark.apart
def test_a_question_without_end_is_ended(folder, own_cache):
    for sql in ENDLESS:
        start = time.monotonic()
        with pytest.raises(EigenhouseError, match="no answer after 0.5 s of waiting; TIMEOUT="):
            list(apart.parts(question(folder, sql), 0.5))
        assert time.monotonic() - start < 20


def test_a_question_too_large_is_refused(asked, folder, monkeypatch):
    """Memory has a bound below the machine's, and so has the room on disk for what doesn't fit into it."""
    with lockdown.asking(Path("warehouse.duckdb")) as con:
        [[room]] = con.execute("select current_setting('max_temp_directory_size')").fetchall()
        assert lockdown.most_memory(con) < 0.7 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert "%" not in room
    monkeypatch.setattr(lockdown, "SHARE", 0.001)
    status, out, err = asked("--sql", "select list(range) as n from range(10_000_000)")
    assert (status, out) == (1, "") and err.startswith("error: Out of Memory Error")
    assert len(err.splitlines()) == 1 and "ask for fewer rows" in err


def crashing(popen, code, command, **settings):
    return popen([command[0], "-c", code], **settings)


@pytest.mark.apart
def test_a_crash_is_a_line(folder, own_cache):
    """A segmentation fault and an abort end the question's process, and its caller goes on."""
    before = contents(folder)
    crashes = {"SIGSEGV": "import ctypes; ctypes.string_at(0)", "SIGABRT": "import os; os.abort()"}
    for name, code in crashes.items():
        with pytest.MonkeyPatch.context() as patch:
            started = partial(crashing, subprocess.Popen, code)
            patch.setattr(subprocess, "Popen", started)
            with pytest.raises(EigenhouseError, match=f"ended its own process by {name}: .*; nothing is lost") as told:
                list(apart.parts(question(folder, "select 1"), 60))
        assert len(str(told.value).splitlines()) == 1
    with pytest.raises(EigenhouseError, match=f"SIGABRT: .* {CLOSED}[^\n]*$") as told:
        list(apart.parts(question(folder, HIDDEN), 60))
    assert len(str(told.value).splitlines()) == 1
    assert contents(folder) == before


def children(process):
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(met):
    end = time.monotonic() + 30
    while not met() and time.monotonic() < end:
        time.sleep(0.02)
    assert met()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_no_question_outlives_its_caller(folder, own_cache, name):
    """Whether the caller is asked to end or just ends: the question's process goes, and what it spilled."""
    told = ["query", "--sql", ENDLESS[1], "--warehouse", str(folder / "warehouse.duckdb")]
    command = [sys.executable, "-m", "eigenhouse", *told]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "EIGENHOUSE_CACHE": str(own_cache)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until(lambda: children(process) and Path(own_cache / "spilled").is_dir())
        [asked] = children(process)
        (own_cache / "spilled" / str(asked)).mkdir()
        process.send_signal(getattr(signal, name))
        start = time.monotonic()
        until(lambda: not is_running(asked))
        process.wait(10)
        assert time.monotonic() - start < 5  # some tens of milliseconds, where the machine is free
    assert process.returncode != 0
    assert list((own_cache / "spilled").iterdir()) == []
