"""Ctrl-C and SIGTERM: one line, 130 or 143, within two seconds, whatever holds the process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warehouse_fixture as fixture
import watched_connection

from bench import tiny_warehouse
from eigenhouse import stopping
from eigenhouse.ingest import command
from eigenhouse.ingest.runs import run
from eigenhouse.ingest.warehouse import building, store
from eigenhouse.options import VERBS, Ingest

ROOT = Path(__file__).resolve().parent.parent
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
ENDLESS = "with recursive every(n) as (select 1 union all select n + 1 from every) select max(n) from every"
BUSY = 'import hashlib; print("here", flush=True); hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)'  # never looks up
WATCH = 'import os, time; from eigenhouse import stopping; stopping.watch(); stopping.kept("stopped; all is kept")'


@pytest.fixture(autouse=True)
def heeded():
    """A shell's & has SIGINT ignored, which children inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def started(*words, **named):
    named |= {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *map(str, words)], **named)


def program(*lines):
    """A process that is looked after, once it says that it has come to its last line."""
    process = started("-c", "\n".join([WATCH, *lines]))
    assert process.stdout.readline() == "here\n"
    return process


def ended(process, *signals, apart=0.0):
    """Seconds from the first signal to the end, exit status and what was said."""
    at = time.monotonic()
    for place, number in enumerate(signals):
        time.sleep(apart if place else 0)
        process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    return time.monotonic() - at, process.returncode, said


@pytest.mark.parametrize("number", STATUS)
def test_a_long_query_ends(warehouse, number):
    process = started("-m", "eigenhouse", "query", "--sql", ENDLESS, "--warehouse", warehouse)
    time.sleep(1)
    seconds, status, said = ended(process, number)
    assert (status, said) == (STATUS[number], "stopped\n") and seconds < 2


def test_imports_end_without_a_traceback():
    """From the first module of ours on; before that Python itself starts, in a hundredth of a second."""
    process = started("-c", SLOW)
    assert process.stdout.readline() == "here\n"
    assert ended(process, signal.SIGINT)[1:] == (130, "stopped\n")


SLOW = """
import sys, time
sys.argv = ["eigenhouse"]
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            print("here", flush=True)
            time.sleep(9)
sys.meta_path.insert(0, Slow())
from eigenhouse.__main__ import main
main()
"""


@pytest.mark.parametrize("number", STATUS)
def test_compiled_code_holds_nobody(number):
    seconds, status, said = ended(program(BUSY), number)
    assert (status, said) == (STATUS[number], "stopped; all is kept\n")
    assert stopping.GRACE <= seconds < 2


def test_a_second_one_ends_it_at_once():
    """But not the same that comes twice, from make and from the terminal."""
    seconds, status, _ = ended(program(BUSY), signal.SIGINT, signal.SIGINT, apart=2 * stopping.AGAIN)
    assert status == 130 and seconds < stopping.GRACE
    seconds, status, _ = ended(program(BUSY), signal.SIGINT, signal.SIGINT)
    assert status == 130 and seconds >= stopping.GRACE


def test_what_is_open_is_closed_and_swallowing_helps_nobody(tmp_path):
    """Temporary folders go; a library that takes every exception for its own goes on for a second, in silence."""
    used = f"import tempfile\nwith tempfile.TemporaryDirectory(dir={str(tmp_path)!r}):"
    process = program(used, '    print("here", flush=True)', "    time.sleep(30)")
    seconds, status, said = ended(process, signal.SIGTERM)
    assert (status, said, list(tmp_path.iterdir())) == (143, "stopped; all is kept\n", []) and seconds < stopping.GRACE
    process = program("while True:", "  try:", '    print("here", flush=True); time.sleep(30)', "  except: pass")
    assert ended(process, signal.SIGTERM)[1:] == (143, "stopped; all is kept\n")


def test_a_child_goes_with_it():
    """SIGTERM comes to the parent alone; a child that a signal leaves unmoved is killed."""
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(30)"
    process = program(
        "import subprocess, sys",
        f"with stopping.child(subprocess.Popen([sys.executable, '-c', {child!r}])) as asked:",
        "    with open('/dev/stderr', 'w') as said: print(asked.pid, file=said)",
        '    print("here", flush=True)',
        "    asked.wait()",
    )
    seconds, status, said = ended(process, signal.SIGTERM)
    pid, line = said.splitlines()
    assert (status, line) == (143, "stopped; all is kept") and seconds < 2
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_forked_child_has_signals_of_its_own():
    """One that it is sent ends it alone, and silently; its parent's pipe hears nothing of it."""
    process = program(
        "child = os.fork()",
        "if not child: time.sleep(30)",
        "time.sleep(0.1); os.kill(child, 15)",
        "assert os.waitpid(child, 0)[1] == 15",
        'print("here", flush=True)',
        "time.sleep(0.3)",
        'print("and on", flush=True)',
    )
    assert process.communicate(timeout=30) == ("and on\n", "")
    assert process.returncode == 0


@pytest.mark.parametrize("number", STATUS)
def test_what_is_over_stays_so(number):
    """A signal that comes while Python takes itself apart changes nothing: no handler of Python's runs any more."""
    late = ["class Late:", "  def __del__(self, write=os.write, sleep=time.sleep): write(1, b'here\\n'); sleep(0.5)"]
    assert ended(program(*late, "late = Late()"), number)[1:] == (0, "")


def test_what_is_ignored_stays_ignored():
    """nohup and a shell's `&` have SIGINT ignored."""
    lines = ['print("here", flush=True)', "time.sleep(0.5)"]
    process = started("-c", "\n".join([WATCH, *lines]), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.stdout.readline()
    assert ended(process, signal.SIGINT)[1:] == (0, "")


def test_a_load_says_what_is_kept(tmp_path, monkeypatch):
    """Before its commit nothing is, in the midst of it nobody knows, after it all is."""
    told, kept = [], VERBS["ingest"].kept
    monkeypatch.setattr(stopping, "_kept", kept)
    path, load = tiny_warehouse.copy_empty(tmp_path / "warehouse.duckdb"), fixture.full_load(tmp_path, "org/new", 9)
    watched_connection.watch(monkeypatch, before=lambda sql: told.append((sql.split()[0], stopping._kept)))
    store.load(path, [load], {}, force=False)
    assert {line for word, line in told if word in ("delete", "insert")} == {kept}
    assert {line for word, line in told if word == "commit"} == {building.IN_COMMIT}
    assert told[-1] == ("checkpoint", store.LOADED)


def test_revisions_before_are_spoken_of_where_there_are_any(monkeypatch):
    said = []
    monkeypatch.setattr(run, "ingest", lambda options: said.append(stopping._kept))
    for revisions, wanted in (("one,two", ["", command.BETWEEN_REVISIONS]), ("one", [""])):
        monkeypatch.setattr(stopping, "_kept", "")
        command.ingest(Ingest(model="a", revisions=revisions))
        assert (said, stopping._kept) == (wanted, wanted[-1])
        said.clear()
