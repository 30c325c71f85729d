"""What commands write: whole files that are never a warehouse's, text that no terminal and no spreadsheet obeys."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import tiny_warehouse
from eigenhouse.analyses.answers import destinations, formats
from eigenhouse.analyses.charts import pictures
from eigenhouse.analyses.report import report
from eigenhouse.visible import visible

ROOT = Path(__file__).resolve().parent.parent
ASKED = ["query", "--sql", "select 7 as n", "--format", "csv", "--out"]
DRAWN = ["chart", "--q", "effective_rank_by_layer", "--out"]


# --- files ---


@pytest.fixture
def drawn_at_once(monkeypatch):
    monkeypatch.setattr(pictures, "rendered", lambda text, suffixes=pictures.SUFFIXES: dict.fromkeys(suffixes, b"new"))
    monkeypatch.setattr(report, "_vega", lambda: b"")


# each command that writes files, and where in the folder `out` it would write one
WRITING = {
    "query": ([*ASKED, "{out}/a.svg"], "a.svg"),
    "chart": ([*DRAWN, "{out}/a.svg"], "a.svg"),
    "models": (["models", "--format", "json", "--out", "{out}/a.svg"], "a.svg"),
    "charts": (["charts", "--out", "{out}"], "sink_map.png"),
    "report": (["report", "--model", "org/static", "--out", "{out}"], "data/mine.duckdb"),
    "the report's folder": (["report", "--out", "{out}/a.svg"], "a.svg"),
    "export": (
        ["export", "--model", "org/one", "--prompt-set", "std@0a1b2c3d", "--out", "{out}"],
        "org--one.effective_ranks.csv",
    ),
}


@pytest.mark.parametrize("command", WRITING)
def test_no_command_writes_over_a_duckdb_file(run, tmp_path, drawn_at_once, command):
    """Whoever's it is, and whatever its name: by what it begins with."""
    arguments, name = WRITING[command]
    out = tmp_path / "out"
    place = out / name
    place.parent.mkdir(parents=True)
    tiny_warehouse.copy_empty(place)
    (out / "index.html").write_bytes(report.GENERATOR)  # as of an earlier report
    before = place.read_bytes()
    status, told, err = run(*[part.format(out=out) for part in arguments])
    assert (status, told) == (1, b"")
    assert "is a DuckDB file, which is never written over" in err or "no earlier report" in err
    assert "Traceback" not in err
    assert place.read_bytes() == before


def test_the_log_of_a_duckdb_file_is_part_of_it(run, tmp_path):
    """It holds the last rows, or would hold what DuckDB can't read."""
    tiny_warehouse.copy_empty(tmp_path / "mine")
    (tmp_path / "mine.wal").write_bytes(b"rows")
    for name, kept in (("mine.wal", True), ("yours.wal", False)):
        status, _, err = run(*ASKED, str(tmp_path / name))
        assert (status, "is a DuckDB file" in err) == (int(kept), kept)
    assert (tmp_path / "mine.wal").read_bytes() == b"rows"


def test_a_link_to_a_duckdb_file_is_one(run, tmp_path, warehouse):
    (tmp_path / "link.csv").symlink_to(warehouse)
    before = warehouse.stat()
    status, _, err = run(*ASKED, str(tmp_path / "link.csv"))
    assert status == 1 and "is a DuckDB file" in err
    assert (warehouse.stat().st_ino, warehouse.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("command", ["query", "chart", "charts", "export"])
def test_a_disk_that_is_full_leaves_the_older_file(run, tmp_path, monkeypatch, drawn_at_once, command):
    arguments, name = WRITING[command]
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("older")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(destinations.os, "replace", full)
    status, _, err = run(*[part.format(out=out) for part in arguments])
    assert status == 1 and "No space left on device" in err and "Traceback" not in err
    assert (out / name).read_text() == "older"


def test_a_file_in_a_closed_folder_is_whole_too(run, tmp_path, monkeypatch):
    """Nothing can be laid beside it, so it is overwritten in place, when the whole answer is there."""
    out = tmp_path / "answer.csv"
    out.write_text("older and longer than what comes")
    monkeypatch.setattr(destinations.os, "access", lambda path, mode: Path(path) != tmp_path)
    late = "select 1 // (range - 250000) as v, error(case when range = 250000 then 'late' end) from range(300000)"
    assert run("query", "--sql", late, "--format", "csv", "--out", str(out))[0] == 1
    assert out.read_text() == "older and longer than what comes"
    assert run(*ASKED, str(out))[0] == 0
    assert out.read_text() == "n\n7\n"


# --- terminals ---

STEERING = "\x1b]0;title\x07\x1b[2J\x9b31m\x7f\u202egnp.exe\r"


def test_what_would_steer_a_terminal_is_seen():
    assert visible("a\x1b[2Jb\r\n\tc") == "a\\x1b[2Jb\\r\n\tc"
    assert visible("é σ 漢 🎉 e\u0301 a\u200db") == "é σ 漢 🎉 e\u0301 a\u200db"
    assert visible("\x00\x7f\x9b\u202e\u2066\u2028") == "\\x00\\x7f\\x9b\\u202e\\u2066\\u2028"


def steers(text):
    """Control characters other than rich's own styles and a terminal's line ends."""
    plain = text.replace("\r\n", "\n").replace("\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[2m", "")
    return [letter for letter in plain if letter not in "\n\t" and visible(letter) != letter]


def test_no_answer_steers_a_terminal(run):
    """Names of columns, texts, however deep; and a table is for the eye wherever it goes."""
    deep = "[$model] as list, {'a': $model} as struct, map {$model: 1} as map, $model as text"
    status, out, err = run("query", "--sql", f'select {deep}, 1 as "\x1b[31m"', "--model", STEERING)
    assert (status, err) == (0, "")
    assert steers(out.decode()) == [] and out.decode().count("\\x1b]0;title\\x07") >= 4
    for wrong in (f"select 1 as a, '{STEERING}'::int as b", f'from "{STEERING}"', f"select {STEERING}"):
        status, _, err = run("query", "--sql", wrong)
        assert status == 1 and steers(err) == [] and "\\x1b" in err


@pytest.mark.apart
@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_no_form_steers_a_terminal(warehouse, tmp_path, form):
    """In a file, or to another program, a CSV holds what was asked for, to the byte."""
    sql = "select chr(27) || '[2J' || chr(155) || chr(127) || '漢' as a from range(20_000)"
    command = [sys.executable, "-m", "eigenhouse", "query", "--format", form, "--warehouse", str(warehouse), "--sql"]
    ours, theirs = os.openpty()
    with subprocess.Popen([*command, sql], cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        shown = b""
        while part := read(ours):
            shown += part
    os.close(ours)
    assert process.returncode == 0
    assert steers(shown.decode()) == [] and "漢" in shown.decode()
    piped = subprocess.run([*command, sql], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    raw = "\x1b[2J\x9b\x7f漢"
    assert {"csv": raw, "json": json.dumps(raw, ensure_ascii=False), "table": visible(raw)}[form] in piped


def read(terminal):
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux's word for a terminal that nobody writes to any more
        return b""


# --- spreadsheets ---

FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "-x", "+")
PLAIN = ("-12.5", "+3", "-1e-3", "1", "x=1", "a-b", "", " =1", "-inf", "nan", "'=1")


def test_text_that_a_spreadsheet_would_run_is_inert():
    assert [formats.inert(text) for text in FORMULAS] == [f"'{text}" for text in FORMULAS]
    assert [formats.inert(text) for text in PLAIN] == list(PLAIN)
    assert [formats.inert(value) for value in (-1, -0.5, None, True)] == [-1, -0.5, None, True]


def test_a_csv_is_inert_and_its_numbers_are_untouched(run):
    """Whatever type the text is in; numbers, dates and intervals below 0 stay as they are."""
    sql = """
        select '=a'::enum('=a') as "=name", '=b' as text, union_value(u := '=c') as either,
            '-7'::json as json, -1 as whole, -0.5::float as single, -1.50::decimal(5, 2) as exact,
            '-12345678901234567890123'::hugeint as huge,
            '-infinity'::date as day, interval '-1 month' as month, '-1'::varchar as digits, ['=e'] as list
    """
    status, out, err = run("query", "--sql", sql, "--format", "csv")
    assert (status, err) == (0, "")
    header, row = csv.reader(io.StringIO(out.decode()))
    assert header[0] == "'=name"
    assert row[:4] == ["'=a", "'=b", "'=c", "-7"]
    assert row[4:11] == ["-1", "-0.5", "-1.50", "-12345678901234567890123", "-infinity", "-1 month", "-1"]
    assert row[11] == '["=e"]'
    status, out, _ = run("query", "--sql", "select '=b' as text", "--format", "json")
    assert json.loads(out) == [{"text": "=b"}]


def test_the_reports_data_is_inert():
    file = io.BytesIO()
    formats.write_records_csv(["model_id", "n"], [{"model_id": "=cmd()", "n": -1.5}], file)
    assert file.getvalue() == b"model_id,n\n'=cmd(),-1.5\n"
