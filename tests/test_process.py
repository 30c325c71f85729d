"""The commands as processes: readers that close early, full disks, closed streams, bytes that are no text."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_makefile
from typer.testing import CliRunner

from bench import tiny_warehouse
from eigenhouse import __main__ as command_line
from eigenhouse import __version__
from eigenhouse.options import VERBS

ROOT = Path(__file__).resolve().parent.parent
BIG = "from range(60_000)"  # far more than a pipe holds
PRINTING = {
    **{f"query as {form}": ["query", "--sql", BIG, "--format", form] for form in ("csv", "json", "parquet", "npy")},
    "query as table": ["query", "--sql", BIG],
    "models": ["models"],
    "queries": ["queries"],
    "views": ["views"],
    "help": ["--help"],
    "chart": ["chart", "--q", "effective_rank_by_layer", "--out", "a.svg"],
    "export": ["export", "--model", "org/spectra", "--out", "files", "--warehouse", "spectra.duckdb"],
}

ASKING = tuple(VERBS)


@pytest.fixture
def shell(tmp_path, warehouse, spectra):
    """Runs `python -m … <arguments>`, then what the shell is to do with it, in a folder of its own."""
    shutil.copy(spectra, tmp_path)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("EIGENHOUSE_")}
    outside |= {"PYTHONPATH": str(ROOT), "EIGENHOUSE_WAREHOUSE": str(warehouse), "PYTHON": sys.executable}

    def shell(arguments, then):
        script = f'set -o pipefail; "$PYTHON" -m eigenhouse "$@" {then}'
        return subprocess.run(
            ["bash", "-c", script, "bash", *arguments], cwd=tmp_path, env=outside, capture_output=True, timeout=120
        )

    return shell


def quiet(done):
    return b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


def each(*ends):
    """Every command at one of the ends in turn, and one of each way to print at all of them."""
    turns = itertools.cycle(ends)
    ends = {command: ends if command in ("query as csv", "models") else [next(turns)] for command in PRINTING}
    return [(command, end) for command, all_of_it in ends.items() for end in all_of_it]


@pytest.mark.parametrize(("command", "then"), each("| head -c 1", "| true"))
def test_a_reader_that_has_enough_ends_it_quietly(shell, command, then):
    done = shell(PRINTING[command], f"2>err {then}; echo $?; cat err >&2")
    assert done.stdout.splitlines()[-1][-1:] == b"0"
    assert done.stderr.replace(b"org/static", b"") == b"" or command == "export"
    assert quiet(done)


LOST = {"> /dev/full": "No space left on device", ">&-": "it is closed"}


@pytest.mark.parametrize(("command", "then"), each(*LOST))
def test_lost_output_is_told(shell, tmp_path, command, then):
    done = shell(PRINTING[command], then)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == f"error: cannot write to standard output: {LOST[then]}"
    assert quiet(done)
    if command == "export":
        assert list((tmp_path / "files").iterdir())


@pytest.mark.parametrize("then", ["2>/dev/full", "2>&-", ">&- 2>&-", "<&- >&- 2>/dev/full"])
def test_an_error_that_nobody_can_read_is_one(shell, then):
    for arguments in (["query", "--sql", "selec"], ["ingest", "--model", "/no/such"]):
        done = shell(arguments, then)
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_a_closed_stream_is_no_place_for_a_file(shell, tmp_path):
    """The warehouse would be opened as number 1, and the answer written into it."""
    done = shell(["query", "--sql", "select 7 as n", "--format", "csv", "--out", "n.csv"], "<&- >&- 2>&-")
    assert (done.returncode, (tmp_path / "n.csv").read_text()) == (0, "n\n7\n")


def test_files_are_written_though_nobody_reads_the_progress(shell, tmp_path):
    done = shell(["report", "--model", "org/static"], "| true")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "report" / "index.html").exists()


def test_an_ingest_goes_on_without_its_console(shell, tmp_path):
    """That of a measurement file, which needs no torch."""
    static = [{"metric_singvals_per_head": [[2.0, 1.0], [3.0, 1.0]]}] * 3
    spectra = tmp_path / "spectra.json"
    spectra.write_text(json.dumps({"num_layers": 3, "num_heads": 2, "static": static}))
    tiny_warehouse.copy_empty(tmp_path / "own.duckdb")
    endings = {"2>&1 | true": 0, "2>&-": 0, "2>/dev/full": 1}
    for number, (then, status) in enumerate(endings.items()):
        done = shell(["ingest", "--model", str(spectra), "--name", f"m{number}", "--warehouse", "own.duckdb"], then)
        assert (done.returncode, quiet(done)) == (status, True)
    told = ["query", "--sql", "select model_id from models order by 1", "--format", "csv", "--warehouse", "own.duckdb"]
    assert shell(told, "").stdout == b"model_id\nm0\nm1\nm2\n"


@pytest.mark.parametrize(
    ("told", "then"),
    [
        (["query", f"SQL={BIG}"], "| head -1"),
        (["query", f"SQL={BIG}", "FORMAT=csv"], "| true"),
        (["models"], "| true"),
        (["queries"], "| head -1"),
        (["help"], "| true"),
        (["help"], "| head -1"),
    ],
)
def test_make_ends_quietly_too(warehouse, told, then):
    script = f'set -o pipefail; make "$@" VENV={sys.prefix} WAREHOUSE={warehouse}'
    ours = ("MAKE", "MFLAGS", "EIGENHOUSE_")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        ["bash", "-c", f"{script} {then}", "bash", *told], cwd=ROOT, env=outside, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_front_door(shell):
    assert shell(["--version"], "").stdout.decode() == f"eigenhouse {__version__}\n"
    told = shell(["--help"], "")
    assert (told.returncode, told.stderr) == (0, b"")
    assert [verb for verb in VERBS if f"│ {verb} ".encode() not in told.stdout] == []
    nothing = ["query", "--sql", "select 7 as n", "--format", "csv", "--q", "", "--model", "", "--anchor", ""]
    assert shell(nothing, "").stdout == b"n\n7\n"  # an option that is given as '' is as one that isn't


# --- bytes that are no text ---


TYPED = b"a\xff".decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        *(("query", option) for option in ("sql", "out", "model", "warehouse", "format", "head", "q")),
        ("models", "warehouse"),
        ("report", "out"),
        ("export", "prompt-set"),
        *(("ingest", option) for option in ("model", "name", "prompts", "warehouse", "revisions", "subspace-size")),
    ],
)
def test_bytes_that_are_no_utf8(monkeypatch, verb, option):
    told = CliRunner().invoke(command_line.app, [verb, f"--{option}", TYPED])
    refused_bytes(told.exit_code, told.output, f"--{option}")
    name = option.upper().replace("-", "_")
    monkeypatch.setenv(f"EIGENHOUSE_{name}", TYPED)
    told = CliRunner().invoke(command_line.app, [verb])
    refused_bytes(told.exit_code, told.output, name)


def test_bytes_that_a_shell_hands_over(shell, monkeypatch):
    done = shell(["query", "--sql", TYPED], "")
    assert done.stdout == b""
    refused_bytes(done.returncode, done.stderr.decode(), "--sql")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "EIGENHOUSE_SQL": TYPED}
    done = subprocess.run([sys.executable, "-m", "eigenhouse", "query"], env=environment, capture_output=True)
    refused_bytes(done.returncode, done.stderr.decode(), "SQL")


def refused_bytes(status, said, name):
    assert status == 1 and len(said.splitlines()) == 1
    assert said.startswith(f"error: want UTF-8 text for {name}, got the byte 0xff at character 2")


# --- what a command doesn't take ---


@pytest.mark.parametrize(
    ("target", "given"),
    [
        ("models", "OPERATOR=metric"),
        ("views", "OUT=x"),
        ("report", "Q=x"),
        ("queries", "FORMAT=csv"),
        ("charts", "Q=x"),
        ("chart", "FORMAT=png"),
        ("export", "ANCHOR=last"),
        ("query", "PROMPTS=x"),
        ("ingest", "OUT=x"),
        ("help", "K=3"),
        *((target, "MODEL=x") for target in ("browser", "architectures", "test", "lint", "clean")),
    ],
)
def test_a_variable_that_would_do_nothing_is_refused(warehouse, target, given):
    dry = [] if target in ASKING else ["-n"]  # what isn't refused must not run
    done = test_makefile.make(*dry, target, f"VENV={sys.prefix}", given, f"WAREHOUSE={warehouse}")
    assert done.returncode == 2
    assert f"{target} takes no {given.split('=')[0]}, which would do nothing" in done.stderr
    assert done.stdout == ""


def test_what_one_of_several_targets_takes_is_taken(warehouse):
    done = test_makefile.make("queries", "models", f"VENV={sys.prefix}", "FORMAT=csv", f"WAREHOUSE={warehouse}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "model_id,family,architecture," in done.stdout


def test_a_parameter_that_the_sql_lacks_is_refused(run):
    status, out, err = run("query", "--sql", "from models", "--model", "org/one")
    assert (status, out) == (1, b"")
    assert err.startswith("error: the SQL has no $model, so MODEL=org/one would do nothing")


# --- files ---


def test_a_failed_answer_leaves_the_older_file(run, tmp_path):
    out = tmp_path / "answer.csv"
    out.write_text("older")
    out.chmod(0o640)
    late = "select 1 // (range - 250000) as v, error(case when range = 250000 then 'late' end) from range(300000)"
    for form in ("csv", "json", "parquet", "npy", "table"):
        status, _, err = run("query", "--sql", late, "--format", form, "--out", str(out))
        assert status == 1 and ("late" in err or "a part of the question failed" in err), err
        assert out.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["answer.csv"]
    assert run("query", "--sql", "select 7 as n", "--format", "csv", "--out", str(out))[0] == 0
    assert (out.read_text(), out.stat().st_mode & 0o777) == ("n\n7\n", 0o640)


def test_out_may_be_a_link_or_a_device(run, tmp_path):
    (tmp_path / "real.csv").write_text("older")
    (tmp_path / "link.csv").symlink_to("real.csv")
    told = ["query", "--sql", "select 7 as n", "--format", "csv", "--out"]
    assert run(*told, str(tmp_path / "link.csv"))[0] == 0
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "real.csv").read_text() == "n\n7\n"
    assert run(*told, "/dev/null")[0] == 0
    status, _, err = run(*told, "/dev/full")
    assert (status, err) == (1, "error: cannot write /dev/full: No space left on device\n")
    status, _, err = run(*told, str(tmp_path))
    assert (status, err) == (1, f"error: cannot write {tmp_path}: Is a directory\n")
