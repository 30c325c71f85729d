"""The Makefile as a user meets it: values arrive as typed, .venv is made once, nothing is lost."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import typer.main
from packaging.requirements import Requirement

from eigenhouse import variables
from eigenhouse.__main__ import app
from eigenhouse.errors import EigenhouseError
from eigenhouse.options import VERBS

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PASSED = sorted({name for verb in VERBS for name in variables.taken_by(verb)})
TOLD = sorted({name for taker in variables.OPTIONS for name in variables.taken_by(taker)})
NASTY = """select $1, "a""b", `touch {trap}`, 'it''s' as "x y", $$t$$ # ; \\ $(shell touch {trap})
 ${{HOME}} $(MAKE) | & > {trap} MODLE=3 %s *  -- end"""


def make(*args, cwd=ROOT, **environment):
    """Runs make as from a plain shell: nothing of an outer make, and no variable of ours but those given."""
    ours = [name for name in os.environ if name.startswith(("MAKE", "MFLAGS", "EIGENHOUSE_")) or name in PASSED]
    outside = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        ["make", *args], cwd=cwd, env=outside | environment, capture_output=True, text=True, timeout=60
    )


def program(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def echo(tmp_path):
    """An environment whose python writes down its arguments and what make handed over; gives both back."""
    note = tmp_path / "note"
    tell = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    program(tmp_path / "echo" / "bin" / "python", f"{sys.executable} -c '{tell}' \"$@\" > {note}")

    def echo(*args, **environment):
        done = make(f"VENV={tmp_path / 'echo'}", *args, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        command, seen = json.loads(note.read_text())
        prefix = "EIGENHOUSE_"
        return command, {k.removeprefix(prefix): v for k, v in seen.items() if k.startswith(prefix)}, seen

    return echo


# --- what a user passes ---


@pytest.mark.parametrize("name", PASSED)
def test_every_variable_arrives_as_typed(echo, tmp_path, name):
    trap = tmp_path / "trap"
    typed = NASTY.format(trap=trap)
    command, handed_over, _ = echo("query", f"{name}={typed}")
    assert command == ["-m", "eigenhouse", "query"]
    assert handed_over == {name: typed, "GOALS": "query"}
    assert not trap.exists()


def test_the_bench_takes_a_revision_and_refuses_the_rest(echo, tmp_path):
    """No bench is started: the environment's python answers for the program's own refusals alone."""
    command, handed_over, _ = echo("bench", "REV=$(shell x)")
    assert (command, handed_over) == (["-m", "bench.performance"], {"REV": "$(shell x)", "GOALS": "bench"})
    program(tmp_path / "real" / "bin" / "python", f'case "$*" in "-m eigenhouse"*) exec {sys.executable} "$@" ;; esac')
    done = make("bench", f"VENV={tmp_path / 'real'}", "RVE=x")
    assert "error: no variable RVE (did you mean REV?)\n" in done.stderr and done.returncode == 2
    for goal, taken in (("test", "REV"), ("models", "REV"), ("bench", "FORMAT")):
        done = make(goal, f"VENV={tmp_path / 'real'}", f"{taken}=x")
        assert f"{goal} takes no {taken}, which would do nothing" in done.stderr and done.returncode == 2


def test_sql_is_answered_as_typed(tmp_path, warehouse):
    """The real program, the real quoting: DuckDB itself says what it was asked."""
    trap = tmp_path / "trap"
    sql = f"""select '$1 `touch {trap}` $(shell touch {trap}) "q"' as "a $b", 'it''s' as c"""
    done = make("query", f"VENV={sys.prefix}", f"SQL={sql}", "FORMAT=csv", f"WAREHOUSE={warehouse}")
    assert done.stdout == f'a $b,c\n"$1 `touch {trap}` $(shell touch {trap}) ""q""",it\'s\n'
    assert (done.returncode, done.stderr) == (0, "")
    assert not trap.exists()


def test_only_the_command_line_and_a_warehouse_count(echo):
    typed = "/a $(shell x) b.duckdb"
    _, handed_over, seen = echo("models", "K=3", NAME="wsl", MODEL="stray", WAREHOUSE=typed)
    assert handed_over == {"K": "3", "WAREHOUSE": typed, "GOALS": "models"}
    assert seen["NAME"] == "wsl"
    _, handed_over, _ = echo("models", "WAREHOUSE=typed.duckdb", WAREHOUSE="outside.duckdb")
    assert handed_over == {"WAREHOUSE": "typed.duckdb", "GOALS": "models"}


@pytest.mark.parametrize(
    ("goals", "typo", "near"),
    [
        (["ingest"], "MODLE", "MODEL"),
        (["ingest"], "model", "MODEL"),
        (["ingest"], "ZZZ", None),
        (["query"], "FROMAT", "FORMAT"),
        (["queries", "models"], "MODLE", "MODEL"),
        (["test", "models"], "FROMAT", "FORMAT"),
    ],
)
def test_an_unknown_variable_is_refused(tmp_path, goals, typo, near):
    """By the program, which knows its options, before it imports or fetches anything."""
    trap = tmp_path / "trap"
    blocked = tmp_path / "blocked"
    program(blocked / "bin" / "python", f'case "$*" in "-m eigenhouse "*) exec {sys.executable} "$@" ;; esac')
    done = make(*goals, f"VENV={blocked}", f"{typo}=$(shell touch {trap})")
    assert done.returncode == 2
    hint = f" (did you mean {near}?)\n" if near else "; ingest has WAREHOUSE, MODEL, "
    assert f"error: no variable {typo}{hint}" in done.stderr
    assert not trap.exists()


def test_a_variable_counts_where_one_of_the_goals_takes_it(monkeypatch):
    told = {"EIGENHOUSE_GOALS": "queries models", "EIGENHOUSE_FORMAT": "csv", "EIGENHOUSE_CACHE": "/c"}
    variables.refuse_untaken("queries", told)
    with pytest.raises(EigenhouseError, match=r"queries takes no K, which would do nothing; its variables: none"):
        variables.refuse_untaken("queries", told | {"EIGENHOUSE_K": "3"})
    variables.refuse_untaken("queries", {"EIGENHOUSE_K": ""})
    with pytest.raises(EigenhouseError, match=r"no variable KK \(did you mean K\?\)"):
        variables.refuse_untaken("query", {"EIGENHOUSE_KK": ""})


def test_every_option_is_a_variable():
    """`--static-only` reads EIGENHOUSE_STATIC_ONLY, which make fills from STATIC_ONLY."""
    commands = typer.main.get_command(app).commands.values()
    options = {option for command in commands for option in command.params if option.name != "help"}
    names = {option.opts[0].removeprefix("--").replace("-", "_").upper(): option.envvar for option in options}
    assert names == {name: f"EIGENHOUSE_{name}" for name in PASSED}


def test_the_makefile_knows_every_verb_and_no_option():
    assert re.search(r"^VERBS  = (.*)", MAKEFILE, re.MULTILINE)[1].split() == list(VERBS)
    own = {"WAREHOUSE", "NAME", "MODEL", "Q", "K"}  # of these its comments speak
    words = set(re.findall(r"\b[A-Z_]+\b", MAKEFILE))
    assert words & set(TOLD) <= own


def test_help_is_the_default_and_tells_of_everything():
    done = make()
    targets = [*VERBS, *re.search(r"^OTHERS = (.*)", MAKEFILE, re.MULTILINE)[1].split()]
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("make ")] == targets
    assert [name for name in TOLD if not re.search(rf"^{name}\b", done.stdout, re.MULTILINE)] == []
    assert (done.returncode, done.stderr) == (0, "")


def test_help_needs_nothing_installed(tmp_path):
    """A Python without packages; and an older one, with which the targets are listed all the same."""
    bare = program(tmp_path / "bare", f'exec {sys.executable} -E -S "$@"')
    assert make("help", f"PYTHON={bare}").stdout == make("help").stdout
    old = program(tmp_path / "old", "echo SyntaxError >&2; exit 1")
    done = make("help", f"PYTHON={old}")
    targets = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("make ")]
    assert targets[: len(VERBS)] == list(VERBS) and "clean" in targets
    assert "listed by Python 3.11 or later" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


# --- the environment ---


@pytest.fixture
def project(tmp_path):
    """The Makefile beside a lock, and a stand-in for Python that logs its arguments and makes .venv."""
    folder = tmp_path / "project"
    program(
        folder / "python",
        'echo "$@" >> log\n'
        'case "$*" in\n'
        '"-c "*) exit "${OLD:-0}" ;;\n'
        "-V) echo Python 3.9.1 ;;\n"
        '"-m venv "*) mkdir -p "$3/bin" && cp python "$3/bin/python" ;;\n'
        '"-m pip "*) exit "${BROKEN:-0}" ;;\n'
        "esac",
    )
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements.lock").touch()

    def run(*args, **environment):
        (folder / "log").write_text("")
        done = make("PYTHON=./python", *args, cwd=folder, **environment)
        log = (folder / "log").read_text().splitlines()
        return done, sum(line.startswith("-m pip install") for line in log), log

    run.folder = folder
    return run


def test_venv_is_made_once_for_each_lock(project):
    done, installs, log = project("models")
    assert (done.returncode, installs, log[-1]) == (0, 1, "-m eigenhouse models")
    assert "Making .venv" in done.stderr
    done, installs, log = project("models")
    assert (done.returncode, done.stderr, installs, log) == (0, "", 0, ["-m eigenhouse models"])
    os.utime(project.folder / "requirements.lock")
    assert project("queries")[1] == 1
    assert project("queries")[1] == 0


def test_a_misspelt_variable_is_refused_before_an_environment_is_made(project):
    for room in ("eigenhouse", "ingest"):
        (project.folder / room).symlink_to(ROOT / room)
    stand_in = (project.folder / "python").read_text()
    check = f'case "$*" in "-m eigenhouse.variables "*) exec {sys.executable} "$@" ;; esac\n'
    (project.folder / "python").write_text(stand_in.replace("#!/bin/sh\n", f"#!/bin/sh\n{check}"))
    done, installs, _ = project("models", "MODLE=x")
    assert (done.returncode, installs, done.stderr.splitlines()[0]) == (
        2, 0, "error: no variable MODLE (did you mean MODEL?)",
    )  # fmt: skip
    assert not (project.folder / ".venv").exists()
    assert project("models")[1] == 1


def test_a_broken_install_is_not_taken_for_done(project):
    done, installs, log = project("models", BROKEN="1")
    assert (done.returncode, installs) == (2, 1)
    assert "-m eigenhouse models" not in log
    done, installs, log = project("models")
    assert (done.returncode, installs, log[-1]) == (0, 1, "-m eigenhouse models")


def test_an_old_python_is_told(project):
    done, installs, _ = project("models", OLD="1")
    assert (done.returncode, installs) == (2, 0)
    assert "error: Python 3.11 or later is needed, but ./python is Python 3.9.1" in done.stderr
    assert not (project.folder / ".venv").exists()


def test_an_environment_of_the_users_is_left_alone(project):
    program(project.folder / "own" / "bin" / "python", 'echo "$@" >> log')
    done, installs, log = project("models", "VENV=own")
    assert (done.returncode, installs, log) == (0, 0, ["-m eigenhouse models"])
    project("clean", "VENV=own")
    assert (project.folder / "own" / "bin" / "python").exists()


def test_clean_keeps_the_warehouse(project):
    project("models")
    kept = ["warehouse.duckdb", "warehouse.duckdb.wal", "analyses/a.py", "Makefile", "requirements.lock"]
    lost = [".mypy_cache/a", ".pytest_cache/a", ".ruff_cache/a", "analyses/__pycache__/a.pyc"]
    for name in kept[:3] + lost:
        (project.folder / name).parent.mkdir(exist_ok=True)
        (project.folder / name).touch()
    assert project("clean")[0].returncode == 0
    assert [name for name in kept if not (project.folder / name).exists()] == []
    assert [name for name in [*lost, ".venv"] if (project.folder / name).exists()] == []


# --- what is installed ---


def test_the_lock_holds_what_is_declared_and_no_machine():
    """Exact versions, each of them allowed by pyproject.toml; none of one machine's paths, addresses or builds."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+( ; [\w \"=]+)?", pin)] == []
    locked = dict(pin.lower().split(" ;")[0].split("==") for pin in pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = [Requirement(text) for group in groups for text in group]
    wanted = [each for each in declared if each.name != "pip"]  # a new environment brings its own
    assert [str(each) for each in wanted if not each.specifier.contains(locked.get(each.name.lower(), "0"))] == []


def test_what_is_pinned_is_what_runs():
    """The tests ran with the very versions of the lock."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [
        line.split(" ;")[0].split("==") for line in lines if line and not line.startswith("#") and " ; " not in line
    ]
    assert [name for name, pin in pins if metadata.version(name).split("+")[0] != pin] == []
