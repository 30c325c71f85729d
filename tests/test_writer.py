"""How rows reach the disk, and where a stage's work runs: the writer, the engines and the inputs, without a model."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.packs.pack import shared_files, staged_tables
from eigenhouse.ingest.runs import engines
from eigenhouse.ingest.runs.engines import engine
from eigenhouse.ingest.runs.folder import RunFolder
from eigenhouse.ingest.sources.prompts import PromptSet
from eigenhouse.ingest.stages import writer
from eigenhouse.ingest.stages.declaration import Stage
from eigenhouse.ingest.stages.inputs import Inputs
from eigenhouse.ingest.stages.writer import Manifest, Rows, StackFacts, Writer
from eigenhouse.ingest.warehouse.backend import of
from eigenhouse.ingest.warehouse.backends import duckdb_file
from eigenhouse.options import Ingest

N_LAYERS, N_HEADS = 5, 3
STAGE = Stage("mine", "no.module", "mine", 1, writes=("layers", "conformance"), shares=("null_spectra",))


def heads(*layers):
    """Rows of `conformance`: its key is (layer, head), a value that tells each row from the others."""
    rows = [(layer, head, layer + head / 7, "split") for layer in layers for head in range(N_HEADS)]
    return pl.DataFrame(rows, schema=["layer", "head", "max_rel_error", "layout"], orient="row")


def written(folder, *frames, expected=None):
    """What a stage leaves that adds these frames in turn."""
    with Writer(STAGE, folder) as out:
        for frame in frames:
            out.table("conformance", "decoder").add(frame, expected=len(frame) if expected is None else expected)
    return out.manifest


def kept(folder, stack="decoder", table="conformance"):
    return pl.read_parquet(folder / stack / f"{table}.parquet").rows()


# --- the writer ---


def test_rows_in_order_are_a_sorted_file(tmp_path):
    manifest = written(tmp_path, heads(0, 1), heads(2), heads(3, 4))
    assert kept(tmp_path) == heads(0, 1, 2, 3, 4).rows()
    assert manifest.files == {"decoder": {"conformance": True}}
    assert manifest.expected == {"decoder": {"conformance": N_LAYERS * N_HEADS}}


def test_rows_of_one_frame_are_sorted_among_themselves(tmp_path):
    manifest = written(tmp_path, heads(4, 1, 0).sample(fraction=1, shuffle=True, seed=3))
    assert kept(tmp_path) == heads(0, 1, 4).rows()
    assert manifest.files == {"decoder": {"conformance": True}}


@pytest.mark.parametrize(
    "frames", [(heads(0, 2), heads(1), heads(3)), (heads(0), heads(0).tail(1))], ids=["below", "the same key"]
)
def test_a_later_frame_that_is_not_above_is_told(tmp_path, frames):
    """The file keeps the order in which they came, and the load sorts it."""
    manifest = written(tmp_path, *frames)
    assert kept(tmp_path) == pl.concat(frames).rows()
    assert manifest.files == {"decoder": {"conformance": False}}


def test_what_is_expected_is_counted_apart_from_the_rows(tmp_path):
    manifest = written(tmp_path, heads(0), heads(1).clear(), heads(2), expected=7)
    assert manifest.expected == {"decoder": {"conformance": 21}}
    assert len(kept(tmp_path)) == 2 * N_HEADS


def test_a_table_without_rows_has_no_file_and_expects_none(tmp_path):
    manifest = written(tmp_path, heads(0).clear())
    assert (manifest.expected, manifest.files) == ({"decoder": {"conformance": 0}}, {})
    assert list((tmp_path / "decoder").iterdir()) == []


def test_stacks_stand_apart(tmp_path):
    with Writer(STAGE, tmp_path) as out:
        for stack, layers in (("encoder", (1, 0)), ("cross", (2,)), ("encoder", (3,))):
            out.add(stack, [Rows("conformance", heads(*layers), N_HEADS * len(layers))])
    assert kept(tmp_path, "encoder") == heads(0, 1, 3).rows() and kept(tmp_path, "cross") == heads(2).rows()
    assert out.manifest.expected == {"encoder": {"conformance": 9}, "cross": {"conformance": 3}}
    assert out.manifest.files == {"encoder": {"conformance": True}, "cross": {"conformance": True}}


def test_a_table_that_is_not_declared_is_refused(tmp_path):
    with Writer(STAGE, tmp_path) as out:
        with pytest.raises(ValueError, match="mine declares layers, conformance, skipped_modules; it can't write gram"):
            out.table("grams", "decoder")
        with pytest.raises(ValueError, match="can't write null_spectra"):
            out.table("null_spectra", "decoder")
        with pytest.raises(ValueError, match="mine shares null_spectra; not conformance"):
            out.shared("conformance")
    assert out.manifest == Manifest()


def test_a_shared_table_belongs_to_no_stack(tmp_path):
    """Nothing is expected of it: rows that are there already stay."""
    frame = pl.DataFrame({"hidden_size": [31], "head_dim": [7], "sample": [0], "k": [0], "sigma": [1.5]})
    with Writer(STAGE, tmp_path) as out:
        out.shared("null_spectra").add(frame, expected=len(frame))
    assert (out.manifest.expected, out.manifest.files) == ({}, {"": {"null_spectra": True}})
    assert pl.read_parquet(tmp_path / "null_spectra.parquet").rows() == frame.rows()


def test_what_is_left_out_is_said(tmp_path):
    with Writer(STAGE, tmp_path) as out:
        out.skip("decoder", {"b": "too wide", "a": "no bias"})
        out.skip("decoder", {"c": "elsewhere"}, stage="other")
        out.skip("cross", {})
    rows = pl.read_parquet(tmp_path / "decoder" / "skipped_modules.parquet").select("stage", "module", "reason").rows()
    assert rows == [("mine", "a", "no bias"), ("mine", "b", "too wide"), ("other", "c", "elsewhere")]
    assert out.manifest.expected == {"decoder": {"skipped_modules": 3}, "cross": {"skipped_modules": 0}}


def failing(out):
    with out:
        out.table("conformance", "decoder").add(heads(0), expected=3)
        raise ZeroDivisionError


def test_a_block_that_fails_notes_nothing(tmp_path):
    """Its files are closed, so that the folder can go."""
    out = Writer(STAGE, tmp_path)
    with pytest.raises(ZeroDivisionError):
        failing(out)
    assert out.manifest == Manifest()
    assert kept(tmp_path) == heads(0).rows()


def test_a_stage_that_fails_leaves_no_manifest(tmp_path):
    """Nor a folder under its final name; the next try begins anew, and is finished."""
    with RunFolder(tmp_path, {"mine": "mark"}) as folder:
        with pytest.raises(ZeroDivisionError), folder.writing(STAGE) as out:
            failing(out)
        assert not folder.is_finished("mine") and not list(tmp_path.rglob("manifest.json"))
        with folder.writing(STAGE) as out:
            out.table("conformance", "cross").add(heads(1), expected=3)
        assert folder.is_finished("mine")
        assert folder.manifest("mine").files == {"cross": {"conformance": True}}
        assert [path.name for path in folder.path("mine").iterdir() if path.is_dir()] == ["cross"]


def test_a_removal_that_is_killed_leaves_nothing_that_passes_for_finished(tmp_path, monkeypatch):
    """Killed among a stage's files; the next run measures the stage again, in the same place."""
    with RunFolder(tmp_path, {"mine": "mark"}) as folder:
        with folder.writing(STAGE):
            pass
        (folder.path("mine") / "left.parquet").touch()
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "rmtree", lambda *_, **__: None)
            folder.remove()
        assert not folder.is_finished("mine")
        with folder.writing(STAGE):
            pass
        assert folder.is_finished("mine") and not (folder.path("mine") / "left.parquet").exists()


def test_a_finished_stage_is_what_a_load_replaces(tmp_path):
    """Every table that it writes, also where no rows came; of another stack nothing but that."""
    shared = pl.DataFrame({"hidden_size": [31], "head_dim": [7], "sample": [0], "k": [0], "sigma": [1.5]})
    with RunFolder(tmp_path, {"mine": "mark"}) as folder:
        with folder.writing(STAGE) as out:
            out.add("cross", [Rows("conformance", heads(2), 3), Rows("conformance", heads(1), 3)])
            out.shared("null_spectra").add(shared, expected=1)
        parts, files = list(folder.parts([STAGE])), folder.path("mine")
    tables, others = (staged_tables(tmp_path, [STAGE], parts, stack) for stack in ("cross", "decoder"))
    assert shared_files(tmp_path, parts) == {"null_spectra": [files / "null_spectra.parquet"]}
    assert tables.keys() == others.keys() == {"layers", "conformance", "skipped_modules"}
    rows = tables["conformance"]
    assert (rows.files, rows.expected, rows.is_sorted) == ([files / "cross" / "conformance.parquet"], 6, False)
    assert tables["skipped_modules"].scope == "stage = 'mine'"
    assert {(*table.files, table.expected, table.is_sorted) for table in others.values()} == {(0, True)}


@pytest.mark.parametrize(("bound", "most"), [("GROUP_ROWS", 60), ("MOST_BYTES", 1500)])
def test_few_rows_wait_in_memory(tmp_path, monkeypatch, bound, most):
    """They are on the disk as a row group as soon as they are enough, by number or by bytes, and in their order."""
    monkeypatch.setattr(writer, bound, most)
    sizes = []

    def frames():
        for layer in range(N_LAYERS):
            path = tmp_path / "decoder" / "conformance.parquet"
            sizes.append(path.stat().st_size if path.exists() else 0)
            yield Rows("conformance", pl.concat([heads(layer)] * 11), 0)  # 33 rows of some 30 bytes

    with Writer(STAGE, tmp_path) as out:
        out.add("decoder", frames())
    found = pq.ParquetFile(tmp_path / "decoder" / "conformance.parquet")
    assert [found.metadata.row_group(n).num_rows for n in range(found.num_row_groups)] == [66, 66, 33]
    assert 0 == sizes[0] < sizes[1] < sizes[2] == sizes[3] < sizes[4]
    assert kept(tmp_path) == [
        row for layer in range(N_LAYERS) for head in range(N_HEADS) for row in heads(layer).rows()[head : head + 1] * 11
    ]


def test_keys_and_texts_have_dictionaries_and_measured_numbers_none(tmp_path):
    written(tmp_path, heads(0, 1))
    columns = pq.ParquetFile(tmp_path / "decoder" / "conformance.parquet").metadata.row_group(0)
    found = [columns.column(n) for n in range(columns.num_columns)]
    has_dictionary = {column.path_in_schema: column.has_dictionary_page for column in found}
    assert has_dictionary == {"layer": True, "head": True, "max_rel_error": False, "layout": True}


def test_a_manifest_comes_back_as_it_was(tmp_path):
    """JSON's keys are text; those of layers are numbers."""
    facts = StackFacts("decoder", False, 3e-7, {"n_layers": 13, "stack": None}, {0: "split", 11: "fused"}, {11: "qk"})
    manifest = Manifest({"decoder": {"layers": 13}}, {"": {"null_spectra": False}}, [facts], 1.5, 97.3)
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert manifest.cost == {"seconds": 1.5, "peak_rss_mb": 97.3}


# --- engines and inputs ---


@pytest.mark.parametrize(("name", "told"), [("clustr", "ENGINE=cluster, got"), ("", "ENGINE=cluster or here, got ''")])
def test_an_engine_that_there_is_not(monkeypatch, tmp_path, name, told):
    """The nearest is named, or all of them."""
    for file in ("here.py", "cluster.py", "__init__.py"):
        (tmp_path / file).touch()
    monkeypatch.setattr(engines, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(EigenhouseError, match=told):
        engine(name)


def test_an_engine_works_in_order_and_only_when_asked():
    asked = []

    def tasks():
        for task in (5, 3, 11):
            asked.append(task)
            yield task

    results = engine("here").map(lambda task: 7 * task, tasks())
    assert asked == []
    assert next(results) == 35 and asked == [5]
    assert list(results) == [21, 77]


@contextmanager
def advancing(title, total):
    yield lambda n: TOLD.append((title, total, n))


TOLD = []


@pytest.mark.parametrize("is_list", [True, False])
def test_each_task_comes_with_its_result(tmp_path, monkeypatch, is_list):
    monkeypatch.setattr("eigenhouse.ingest.console.stage", advancing)
    TOLD.clear()
    inputs = Inputs(Ingest(), PromptSet("none", (), ()), engine("here"), lambda stage: tmp_path, lambda: None)
    tasks = [("b", 2), ("a", 3), ("b", 2)]
    given, total = (tasks, None) if is_list else (iter(tasks), 3)
    pairs = list(inputs.map(lambda task: task[0] * task[1], given, "working", total))
    assert pairs == [(("b", 2), "bb"), (("a", 3), "aaa"), (("b", 2), "bb")]
    assert TOLD == [("working", 3, 1)] * 3


def test_an_engine_that_looks_ahead_keeps_tasks_and_results_together(tmp_path):
    class Ahead:
        """Takes up to two tasks before it gives the first result."""

        def map(self, function, tasks):
            waiting = []
            for task in tasks:
                waiting.append(task)
                if len(waiting) == 2:
                    yield function(waiting.pop(0))
            yield from map(function, waiting)

    inputs = Inputs(Ingest(), PromptSet("none", (), ()), Ahead(), lambda stage: tmp_path, lambda: None)
    assert list(inputs.map(lambda n: n * n, iter([2, 3, 5, 7]), "", 4)) == [(2, 4), (3, 9), (5, 25), (7, 49)]


def test_the_workbench_is_loaded_once_and_late(tmp_path):
    loads = []
    inputs = Inputs(
        Ingest(), PromptSet("none", (), ()), engine("here"), lambda stage: tmp_path, lambda: loads.append(1)
    )
    assert loads == []
    assert (inputs.bench, inputs.bench, loads) == (None, None, [1])


def test_the_stacks_are_those_that_the_gate_proved(tmp_path):
    facts = [StackFacts(name, False, 0.0, {}, {}, {}) for name in ("encoder", "cross")]
    (tmp_path / "factors").mkdir()
    Manifest(stacks=facts).write(tmp_path / "factors")
    inputs = Inputs(
        Ingest(),
        PromptSet("none", (), ()),
        engine("here"),
        lambda stage: tmp_path / stage,
        lambda: pytest.fail("loaded"),
    )
    assert [stack.facts for stack in inputs.stacks] == facts


# --- where a warehouse lies ---


@pytest.mark.parametrize("path", ["w.duckdb", "/a/b/w.duckdb", "C:\\w.duckdb", "a:b/w.duckdb", "duckdb_file"])
def test_a_path_means_a_file(path):
    assert of(Path(path)) is duckdb_file


def test_a_kind_means_its_module():
    assert of(Path("duckdb_file:anything")) is duckdb_file


def test_every_kind_of_backend_is_found_by_its_module(monkeypatch, tmp_path):
    """A second kind takes its addresses, and no file beside it does."""
    import eigenhouse.ingest.warehouse.backend as backend

    asked = []
    (tmp_path / "backends").mkdir()
    for name in ("duckdb_file.py", "elsewhere.py", "__init__.py"):
        (tmp_path / "backends" / name).touch()
    monkeypatch.setattr(backend, "__file__", str(tmp_path / "backend.py"))
    monkeypatch.setattr(backend, "import_module", asked.append)
    for address in ("elsewhere:host/db", "elsewhere", "__init__:x", "nowhere:x"):
        of(Path(address))
    room = "eigenhouse.ingest.warehouse.backends"
    assert asked == [f"{room}.elsewhere", *[f"{room}.duckdb_file"] * 3]
