"""Lists of models: what a line means, what of it is wrong, a process a model, stopped and gone on with."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_models
from typer.testing import CliRunner

from bench.tiny_warehouse import copy_empty
from eigenhouse import __main__ as command_line
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.many import command, jobs, listed
from eigenhouse.ingest.packs import travel
from eigenhouse.ingest.warehouse import store

ROOT = Path(__file__).resolve().parent.parent


def read(folder, *lines):
    path = folder / "models.txt"
    path.write_text("\n".join(lines))
    return listed.read(path)


def given(options):
    """What differs from an ingest without options."""
    plain = vars(type(options)())
    return {name: value for name, value in vars(options).items() if value != plain[name]}


# --- what a line means ---


def test_lines_are_read_as_in_a_shell(tmp_path):
    (tmp_path / "a@b").mkdir()
    lines = read(
        tmp_path,
        "# models", "", "minilm-l6", "org/name@step5 STATIC_ONLY=1 NAME='my-run'   # as it is",
        f'"{tmp_path}/a@b" EXPERTS=all SUBSPACE_SIZE=7 PROMPTS="my texts.txt"', "org/steps REVISIONS=one,two",
        "org/name@step5 STATIC_ONLY=0", "~/x.gguf PARTIAL=1 TRUST_REMOTE_CODE=true",
    )  # fmt: skip
    assert [(line.number, given(line.options)) for line in lines] == [
        (3, {"model": "minilm-l6"}),
        (4, {"model": "org/name", "revision": "step5", "static_only": True, "name": "my-run"}),
        (5, {"model": f"{tmp_path}/a@b", "experts": "all", "subspace_size": 7, "prompts": Path("my texts.txt")}),
        (6, {"model": "org/steps", "revision": "one"}),
        (6, {"model": "org/steps", "revision": "two"}),
        (7, {"model": "org/name", "revision": "step5"}),
        (8, {"model": "~/x.gguf", "partial": True, "trust_remote_code": True}),
    ]


WRONG = {
    'a "b': "No closing quotation",
    "a STATIC=1": "did you mean STATIC_ONLY?",
    "a static_only=1": "did you mean STATIC_ONLY?",
    "a b": "want NAME=value, got 'b'",
    "NAME=x a": "want the model first",
    "a STATIC_ONLY=maybe": "want STATIC_ONLY=1 or nothing",
    "a STATIC_ONLY=1 DYNAMIC_ONLY=1": "got both",
    "a SUBSPACE_SIZE=x": "want a number as SUBSPACE_SIZE",
    "a SUBSPACE_SIZE=0": "of at least 1",
    "a NAME=x NAME=y": "NAME twice",
    "a@b REVISION=c": "the revision twice",
    "a@b REVISIONS=c": "got both",
    "a@": "want a model and its @revision",
    "@b": "want a model and its @revision",
    "a VARIANTS=upside_down": "upside_down",
    "a DTYPE=int3": "want DTYPE",
    "a NAME='x y'": "wanted a NAME",
    "a WAREHOUSE=x": "for the whole list",
    "a PACK=x": "in the cache",
    "a MODEL=b": "first word",
    "a OPERATOR=metric": "goes with a file",
    "old.json": "one by one",
    "good # again": "the same as line 1",
}


def test_wrong_lines_are_told_with_their_numbers_before_anything_starts(tmp_path, monkeypatch, own_cache):
    monkeypatch.setattr(jobs, "run", lambda *_: pytest.fail("started"))
    monkeypatch.setattr(listed, "MOST_TOLD", len(WRONG))
    with pytest.raises(EigenhouseError) as caught:
        read(tmp_path, "good", *WRONG)
    told = str(caught.value).partition("nothing was started\n")[2]
    for number, (line, said) in enumerate(WRONG.items(), 2):
        of_line = told.partition(f"line {number}: ")[2].partition(f"; line {number + 1}: ")[0]
        assert said in of_line, (line, of_line)
    assert "line 1:" not in told
    status, said = many(tmp_path / "models.txt", tmp_path / "new.duckdb")
    assert status == 1 and "nothing was started" in said and not (tmp_path / "new.duckdb").exists()


def test_lists_that_are_none(tmp_path):
    for content, said in ((b"\xff\n", "UTF-8"), (b"# nothing\n", "names no model")):
        (tmp_path / "list").write_bytes(content)
        with pytest.raises(EigenhouseError, match=said):
            listed.read(tmp_path / "list")
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path / "gone", "No such file"), (tmp_path / "pipe", "a pipe"), (tmp_path, "a folder")):
        with pytest.raises(EigenhouseError, match=said):
            listed.read(path)


# --- a process a model ---


def many(path, house, *words):
    words = ["ingest-many", "--list", path, "--warehouse", house, *words]
    result = CliRunner().invoke(command_line.app, [*map(str, words)], catch_exceptions=False)
    return result.exit_code, " ".join(result.output.split())


def rows(path):
    with path.with_name(f"{path.name}.outcomes.csv").open(newline="") as file:
        return {row["model"].partition(" ")[0]: row for row in csv.DictReader(file)}


ENDS = {  # what a model's process does → what is said of it
    "crash": ("os.abort()", "ended by SIGABRT (a crash)"),
    "killed": ("os.kill(os.getpid(), 9)", "ended by SIGKILL (out of memory?)"),
    "hanging": ("time.sleep(60)", "no end after 1.5 s"),
    "refused": ("sys.exit('a note\\nerror: wanted x; got y\\nmore of it')", "wanted x; got y more of it"),
    "bug": ("raise ZeroDivisionError('by 0')", "ZeroDivisionError: by 0"),
    "threads": (
        "sys.exit('error: ' + os.environ['OMP_NUM_THREADS'] + ' threads')",
        f"{max(1, os.cpu_count() // 8)} th",
    ),
    "silent": ("os._exit(3)", "status 3 and said nothing"),
}


def test_one_bad_model_never_stops_the_rest(tmp_path, monkeypatch, own_cache):
    """Every way in which a process can end, eight at once, and one that had nothing to do."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    acts = {name: act for name, (act, _) in ENDS.items()} | {"good": "print('nothing')"}
    program = f"import json, os, sys, time\nexec({acts!r}[json.loads(sys.stdin.readline())[0]['model']])"
    popen = subprocess.Popen

    def started(words, **named):
        return popen([sys.executable, "-S", "-c", program], **named)

    monkeypatch.setattr(jobs.subprocess, "Popen", started)
    path, house = tmp_path / "models.txt", copy_empty(tmp_path / "warehouse.duckdb")
    path.write_text("\n".join(acts))
    status, said = many(path, house, "--jobs", 8, "--timeout", 1.5)
    assert status == 1 and "7 of 8 models are not in the warehouse" in said
    found = rows(path)
    wrong = {name: found[name]["why"] for name, (_, why) in ENDS.items() if why not in found[name]["why"]}
    assert wrong == {} and {found[name]["outcome"] for name in ENDS} == {"failed"}
    assert found["good"]["outcome"] == "not needed"


@pytest.fixture
def listing(tmp_path, own_cache):
    """A list with one tiny model."""
    tiny_models.save("grouped heads", tmp_path / "tiny")
    path = tmp_path / "models.txt"
    path.write_text(f"{tmp_path}/tiny STATIC_ONLY=1 NO_WEIGHTS=1 VARIANTS=none\n")
    return path


def in_use(*_, **__):
    raise EigenhouseError("in use")


def test_a_list_goes_in_and_goes_on(listing, tmp_path, monkeypatch):
    """A pack that couldn't be loaded is not measured again; then no process is started for what is in."""
    house = tmp_path / "warehouse.duckdb"
    with monkeypatch.context() as patched:
        patched.setattr(command.loading, "load", in_use)
        status, said = many(listing, house)
    assert status == 1 and "not loaded: in use" in said and not house.exists()
    [path] = (tmp_path / "cache" / "packs").glob("*/*.pack")
    finished_at = travel.read(path).run["finished_at"].replace(tzinfo=None)
    status, said = many(listing, house)
    assert status == 0 and "1 in" in said and not path.exists()
    with store.reading(house) as con:
        assert con.execute(
            "select model_id, finished_at from models join ingest_runs using (model_key)"
        ).fetchall() == [("tiny", finished_at)]
    monkeypatch.setattr(jobs, "_started", lambda *_: pytest.fail("a process for what is in"))
    status, said = many(listing, house)
    assert status == 0 and "1 not needed" in said


def test_a_signal_ends_all_of_it(listing, tmp_path):
    """Within two seconds, with one line; no process of a model outlives it."""
    words = [sys.executable, "-m", "eigenhouse", "ingest-many", "--list", listing, "--warehouse", tmp_path / "w.duckdb"]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 60
        while not (found := children.read_text().split()) and time.monotonic() < deadline:
            time.sleep(0.02)
        at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    assert time.monotonic() - at < 2 and process.returncode == 143
    assert said.endswith("stopped; the models before are in the warehouse, and the same command goes on\n")
    deadline = time.monotonic() + 5  # one that was just being started ends as it finds its caller gone
    while any(map(is_alive, found)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found and not any(map(is_alive, found))


def is_alive(number):
    """A dead one may wait for whoever inherited it."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
