"""Packs: a direct ingest row for row, refused where they are damaged, one of a model, the newest version of a stage."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pack_fixture as fixture
import polars as pl
import pytest
import tiny_models
from tiny_ingests import Warehouse
from typer.testing import CliRunner

from bench.same_rows import compared
from bench.tiny_warehouse import copy_empty
from eigenhouse import __main__ as command_line
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.packs import choice, command, manifest, travel
from eigenhouse.ingest.runs.folder import RunFolder
from eigenhouse.ingest.runs.run import Run
from eigenhouse.ingest.warehouse import rollups, store

TESTS = Path(__file__).parent


def told(*words):
    result = CliRunner().invoke(command_line.app, [*map(str, words)], catch_exceptions=False)
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of three stacks ingested, and packed of what the same run staged; the folder of both."""
    folder = tmp_path_factory.mktemp("packs")
    model = tiny_models.save("encoder-decoder", folder / "tiny")
    options = ("--prompts", tiny_models.prompts(folder, 11, 1), "--variants", "metric_folded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EIGENHOUSE_CACHE", str(folder / "cache"))
        with patch.context() as kept:
            kept.setattr(RunFolder, "remove", lambda _: None)
            Warehouse(folder).ingest(model, *options)
        before = (folder / "warehouse.duckdb").read_bytes()
        words = ("ingest", "--model", model, *options, "--pack", folder / "packs", "--warehouse")
        status, said = told(*words, folder / "warehouse.duckdb")
        assert status == 0 and "is packed" in said
        assert (folder / "warehouse.duckdb").read_bytes() == before and not os.listdir(folder / "cache" / "runs")
        patch.setattr(Run, "measure", lambda *_: pytest.fail("measured again"))
        assert "is there already" in told(*words, folder / "none.duckdb")[1]
        assert not (folder / "none.duckdb").exists()
    return folder


@pytest.fixture(scope="module")
def pack(made):
    [path] = (made / "packs").iterdir()
    return travel.read(path)


@pytest.fixture(scope="module")
def small(pack, tmp_path_factory):
    """One stack and three stages of it, which load in a moment."""
    stacks = {"stack0": pack.stacks["stack0"] | {"stack": None}}
    part = pack.with_stages(["factors", "spectra", "attention"])
    parts = [each for each in part.parts if each.stack in ("", "stack0")]
    path = tmp_path_factory.mktemp("small") / "small.pack"
    part = replace(part, stacks=stacks, parts=parts, model=pack.model | fixture.named("org/small"))
    return fixture.changed(part, path)


@pytest.fixture
def house(tmp_path):
    return copy_empty(tmp_path / "warehouse.duckdb")


def load(house, *packs, force=False):
    """Exit status, and what was told, as one line."""
    paths = ",".join(str(getattr(each, "root", each)) for each in packs)
    return told("load", "--from", paths, "--warehouse", house, *["--force"] * force)


def ask(house, sql):
    with store.reading(house) as con:
        return con.execute(sql).fetchall()


VERSIONS = "select stage, version from ingested_stages order by stage"
TRACES = "select sum(trace) from head_norms"


# --- the same as an ingest ---


def test_a_pack_brings_what_an_ingest_does(made, pack, tmp_path):
    """Every row of every table, all stacks, into no warehouse at all; and then nothing is due."""
    status, said = load(tmp_path / "new.duckdb", pack)
    assert status == 0 and " in " in said
    direct = made / "warehouse.duckdb"
    assert [each for each in compared(direct, tmp_path / "new.duckdb") if each.difference] == []
    for sql in (
        "select model_id, stage, fingerprint, version, config_sha256, doubt from ingested_stages join models "
        "using (model_key) order by all",
        "select model_id, table_name, n_rows, checksum from table_checksums left join models using (model_key) "
        "where table_name not in ('ingest_runs', 'ingested_stages') order by all",
    ):
        assert ask(direct, sql) == ask(tmp_path / "new.duckdb", sql)
    status, said = load(direct, pack)
    assert status == 0 and "there already" in said


def test_the_manifest_says_what_a_load_notes(made, pack):
    """Rows and checksums of each table by stack, against what the ingest itself noted; hashes against the bytes."""
    sums = {}
    for part in pack.parts:
        if part.file:
            content = (pack.root / part.file).read_bytes()
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (part.sha256, part.n_bytes)
            n_rows, checksum = sums.get((pack.model_ids.get(part.stack), part.table), (0, 0))
            together = n_rows + part.summed.n_rows, (checksum + part.summed.checksum) % 2**64
            sums[pack.model_ids.get(part.stack), part.table] = together
    noted = ask(
        made / "warehouse.duckdb",
        "select model_id, table_name, n_rows, checksum from table_checksums left join models using (model_key)",
    )
    left_out = {"models", "ingest_runs", "ingested_stages", *map(rollups.table_of, rollups.every())}
    assert sums == {(model, table): tuple(each) for model, table, *each in noted if table not in left_out}
    held = json.loads((pack.root / manifest.NAME).read_text())
    assert json.loads(held["run"]["options"])["variants"] == "metric_folded" and "torch" in held["run"]["versions"]
    assert held["model"]["source"].endswith("tiny") and pack.root.name.startswith(
        "tiny-" + held["model"]["weights_sha256"][:12]
    )


def test_a_name_tells_weights_and_options_apart():
    names = {
        travel.name(*each)
        for each in (
            ("a/b", "f" * 64, ["1", "2"]), ("a/b", "f" * 64, ["1"]), ("a_b", "f" * 64, ["1", "2"]),
            ("a/b", "e" * 64, ["1", "2"]), ("../..", "f" * 64, ["1", "2"]), ("ü", "f" * 64, ["1", "2"]),
        )
    }  # fmt: skip
    assert len(names) == 6 and all(not name.startswith(".") and "/" not in name for name in names)


def test_a_pack_is_whole_or_not_there(pack, tmp_path, monkeypatch):
    """Where the disk is full in the midst of it nothing is left; what a kill leaves is no pack, and is written over."""

    def full(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(travel, "_keep", full)
        with pytest.raises(OSError, match="No space"):
            travel.write(pack, tmp_path / "one.pack")
    assert os.listdir(tmp_path) == []
    (tmp_path / ".one.pack.partial" / "left").mkdir(parents=True)
    with pytest.raises(EigenhouseError, match="holds no pack"):
        command.found(str(tmp_path))
    travel.write(pack, tmp_path / "one.pack")
    assert os.listdir(tmp_path) == ["one.pack"] and travel.read(tmp_path / "one.pack").stages == pack.stages


def test_measurements_make_no_pack(tmp_path, own_cache):
    status, said = told("ingest", "--model", "a.json", "--pack", tmp_path)
    assert status == 1 and "PACK goes with a model" in said


# --- damaged packs ---


def test_a_damaged_pack_is_refused_by_name_and_the_rest_goes_on(small, tmp_path, house):
    (tmp_path / "packs").mkdir()
    for kind, (damage, _) in fixture.DAMAGES.items():
        path = tmp_path / "packs" / f"{kind}.pack"
        fixture.renamed(small, path, f"org/{kind.replace(' ', '-')}")
        damage(path)
    fixture.renamed(small, tmp_path / "packs" / "zz.pack", "org/whole")
    result = CliRunner().invoke(
        command_line.app, ["load", "--from", str(tmp_path / "packs"), "--warehouse", str(house)]
    )
    lines = {line.split(".pack")[0]: line for line in result.output.splitlines() if ".pack " in line}
    wrong = {
        kind: lines.get(kind)
        for kind, (_, said) in fixture.DAMAGES.items()
        if "refused" not in lines.get(kind, "") or said not in lines[kind]
    }
    assert wrong == {}
    assert result.exit_code == 1 and f"{len(fixture.DAMAGES)} of {len(fixture.DAMAGES) + 1} packs" in result.output
    assert ask(house, "select model_id from models") == [("org/whole",)]
    assert "is whole" in told("verify", "--warehouse", house)[1]


def test_what_was_measured_is_what_comes(small, tmp_path, house):
    """Where the rows that a load reads aren't those that stood there, by their checksum: a bug, or forged."""
    forged = fixture.renamed(small, tmp_path / "forged.pack", "org/forged")
    fixture.resealed(forged.root, lambda held: fixture.part(held, "head_norms")["summed"].update(checksum=7))
    status, said = load(house, forged)
    assert status == 1 and "not those that came" in said and ask(house, "select count(*) from models") == [(0,)]


def test_nothing_that_could_be_loaded_leaves_no_warehouse(small, tmp_path):
    broken = fixture.renamed(small, tmp_path / "broken.pack", "org/broken")
    (broken.root / manifest.NAME).unlink()
    status, said = load(tmp_path / "new.duckdb", broken)
    assert status == 1 and "none of the packs" in said and not (tmp_path / "new.duckdb").exists()


# --- what is there already ---


@pytest.mark.parametrize("is_older_first", [True, False])
def test_the_newer_version_of_a_stage_wins(small, tmp_path, house, is_older_first):
    """Whichever comes first; the other stages, and the model's own row, stay as they came first."""
    above = {"head_norms": lambda frame: frame.with_columns(trace=pl.col("trace") + 1)}
    later = fixture.changed(
        small, tmp_path / "later.pack", above, stages=fixture.newer(small, "spectra", 7),
        model=small.model | {"source": "elsewhere"},
    )  # fmt: skip
    first, second = (small, later) if is_older_first else (later, small)
    assert load(house, first)[0] == 0
    status, said = load(house, second)
    assert status == 0 and ("in part" in said if is_older_first else "of the newer version 7" in said)
    assert [stage for stage in ask(house, VERSIONS) if stage[0] == "spectra"] == [("spectra", 7)]
    n_heads = ask(house, "select count(*) from head_norms")[0][0]
    file = next(part.file for part in small.parts if part.table == "head_norms")
    older = pl.read_parquet(small.root / file).get_column("trace").cast(pl.Float64).sum()
    assert ask(house, TRACES)[0][0] == pytest.approx(older + n_heads, rel=1e-5)
    assert ask(house, "select source from models") == [(first.model["source"],)]
    assert "checksum" not in told("verify", "--warehouse", house)[1]


def test_rows_of_other_options_stay_unless_forced(small, tmp_path, house):
    entry = replace(small.stages["spectra"], fingerprint="0" * 16)
    other = fixture.changed(small, tmp_path / "other.pack", stages=small.stages | {"spectra": entry})
    assert load(house, small)[0] == 0
    status, said = load(house, other)
    assert status == 0 and "FORCE=1 replaces them" in said
    prints = "select fingerprint from ingested_stages where stage = 'spectra'"
    assert ask(house, prints) == [(small.stages["spectra"].fingerprint,)]
    assert load(house, other, force=True)[0] == 0 and ask(house, prints) == [("0" * 16,)]


def test_one_model_from_two_sources_is_kept_once(small, tmp_path, house):
    """By its weights; revisions of a name are models of their own, and a name is bound to its weights."""
    weights = {"weights_sha256": small.model["weights_sha256"]}
    again = fixture.renamed(small, tmp_path / "again.pack", "org/small", source="hub:org/small@c0ffee", **weights)
    twin = fixture.renamed(small, tmp_path / "twin.pack", "org/twin", **weights)
    steps = [fixture.renamed(small, tmp_path / f"{n}.pack", "org/small", f"step{n}", **weights) for n in (1, 2)]
    others = fixture.renamed(small, tmp_path / "others.pack", "org/small", weights_sha256="9" * 64)
    status, said = load(house, small, again, twin, *steps, others)
    assert status == 1 and "1 of 6 packs were refused" in said
    assert "(the pack's is from hub:org/small@c0ffee)" in said
    assert "the same weights are there as org/small" in said and "in the warehouse with other weights" in said
    models = [("org/small",), ("org/small@step1",), ("org/small@step2",)]
    assert ask(house, "select model_id from models order by all") == models
    assert load(house, others, force=True)[0] == 0
    assert ask(house, "select weights_sha256 from models where model_id = 'org/small'") == [("9" * 64,)]


def test_rows_without_their_proof_are_refused(small, tmp_path, house):
    """Unless the warehouse holds it."""
    unproved = fixture.changed(small.with_stages(["attention"]), tmp_path / "attention.pack")
    static = fixture.changed(small.with_stages(["factors", "spectra"]), tmp_path / "static.pack")
    assert "proved by factors" in load(house, unproved)[1]
    assert load(house, static)[0] == 0 and load(house, unproved)[0] == 0
    assert [stage.split(":")[0] for stage, _ in ask(house, VERSIONS)] == ["attention", "factors", "spectra"]


# --- killed, and what FROM names ---

LOADING = """
import os, signal, sys
from pathlib import Path
import pytest
_, tests, house, *packs = sys.argv
sys.path.insert(0, tests)
import watched_connection as watched
from eigenhouse.ingest.packs import loading
n_rows = []
def kill(statement):
    n_rows.append(statement)
    if sum("insert into head_descriptor_rollup" in each for each in n_rows) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
watched.watch(pytest.MonkeyPatch(), before=kill)
loading.load(Path(house), [Path(pack) for pack in packs], force=False, wait_seconds=1, say=print, done=print)
"""


def test_a_load_that_is_killed_goes_on(small, tmp_path, house):
    """With the rows of the second pack inserted and not committed: the first is in, and the next load completes."""
    packs = [fixture.renamed(small, tmp_path / f"{n}.pack", f"org/{n}") for n in range(3)]
    words = [sys.executable, "-c", LOADING, TESTS, house, *(pack.root for pack in packs)]
    assert subprocess.run(words, cwd=TESTS.parent, capture_output=True).returncode == -signal.SIGKILL
    assert ask(house, "select model_id from models") == [("org/0",)]
    status, said = load(house, *packs)
    assert status == 0 and "2 in, 1 not needed" in said
    assert "is whole: 3 models" in told("verify", "--warehouse", house)[1]


def test_what_from_names(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.pack", "b,c.pack"):
        shutil.copytree(small.root, tmp_path / "more" / name)
    (tmp_path / "more" / "notes.txt").touch()
    (tmp_path / "list").write_text("# two\nmore/a.pack\n\nmore/gone.pack\n")
    both = [Path("more/a.pack"), Path("more/b,c.pack")]
    assert command.found("more") == both and command.found("more/b,c.pack") == both[1:]
    assert command.found("more/a.pack, more") == both
    assert command.found("list") == [both[0], Path("more/gone.pack")]
    for text, said in (("", "got nothing"), ("gone", "there is no gone"), ("list/x", "there is no list/x")):
        with pytest.raises(EigenhouseError, match=said):
            command.found(text)


def test_why_a_stage_stays_is_told_once():
    found = choice.Choice([], {"there already": ["factors", "grams"], "older": ["spectra"]})
    assert found.why == "factors, grams: there already; spectra: older"
