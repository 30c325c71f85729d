"""A tripwire, not a proof: a number that moves under the same version leaves wrong rows in every warehouse."""

import json

import pytest
import stage_values

from eigenhouse.analyses.answers import saved
from eigenhouse.ingest.stages import declaration
from eigenhouse.ingest.stages.declaration import Stage, declared, stage

REL = 1e-5
RECORDED = json.loads(stage_values.RECORDED.read_text())


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("stages")
        patch.setenv("EIGENHOUSE_CACHE", str(folder / "cache"))
        return stage_values.measured(folder)


@pytest.mark.parametrize("name", declaration.versions())
def test_no_number_moves_under_the_same_version(now, name):
    assert name in RECORDED, f"record the values of {name}: PYTHONPATH=. python tests/stage_values.py"
    was, found = RECORDED[name], now[name]
    assert found["version"] == was["version"], (
        "record the values of the new version: PYTHONPATH=. python tests/stage_values.py"
    )
    assert found["values"].keys() == was["values"].keys()
    moved = [
        column
        for column, values in found["values"].items()
        if list(values) != pytest.approx(was["values"][column], rel=REL, abs=REL * values[2])
    ]
    assert not moved, f"raise the version of {name}, and record its values: PYTHONPATH=. python tests/stage_values.py"
    assert any(values[0] for values in found["values"].values())


def test_what_is_recorded_is_still_a_stage():
    assert RECORDED.keys() == declaration.versions().keys()


# --- what a declaration says ---


def test_a_stage_comes_after_those_that_it_reads():
    placed = list(declared())
    assert placed[0] == "factors" and placed[-1] == "attention"
    assert all(placed.index(need) < placed.index(name) for name, each in declared().items() for need in each.reads)


def test_declarations_are_read_without_importing_what_they_declare():
    """What a decorator is given is what the source says; a stage that nobody can run is not declared."""
    for name, each in declared().items():
        assert callable(getattr(__import__(each.module, fromlist=[each.function]), each.function)), name


def test_stages_that_read_one_another_are_refused(tmp_path, monkeypatch):
    (tmp_path / "round").mkdir()
    for name, need in (("a", "b"), ("b", "a")):
        text = f"@stage(reads=('{need}',), version=1)\ndef {name}(inputs, out): ...\n"
        (tmp_path / "round" / f"{name}.py").write_text(text)
    monkeypatch.setattr(declaration, "INGEST", tmp_path)
    with pytest.raises(ValueError, match="read one another"):
        declared.__wrapped__("round")


def test_the_scope_of_a_replacement_follows_from_the_declaration():
    each = Stage("grams", "m", "grams", 1, writes=("grams", "layers"), scope={"operator": "= 'metric'"})
    assert each.tables == ("grams", "layers", "skipped_modules")
    assert each.condition("grams", ("operator", "layer")) == "operator = 'metric'"
    assert each.condition("layers", ("layer",)) == ""
    assert each.condition("skipped_modules", ("stage", "module")) == "stage = 'grams'"
    assert each.entry({"prompt_set": "p"}) == "grams"
    with_text = Stage("attention", "m", "attention", 1, scope={"prompt_set": "= $prompt_set"}, options=("prompts",))
    assert with_text.entry({"prompt_set": "p@1", "operator": "o"}) == "attention:p@1" and with_text.needs_text


def test_no_two_stages_write_the_same_rows():
    """Each table's rows of a model belong to one stage: scopes of one table exclude one another."""
    scopes = {"in ('metric', 'head_product')": {"metric", "head_product"}, "= 'metric'": {"metric"}}
    scopes["not in ('metric', 'head_product')"] = {"variant"}
    for table in {table for each in declared().values() for table in each.writes}:
        writers = [each for each in declared().values() if table in each.writes]
        owned = [name for each in writers for name in scopes.get(each.scope.get("operator", ""), {"everything"})]
        assert len(owned) == len(set(owned)), table
        assert len(writers) == 1 or "everything" not in owned, table


def test_a_decorator_leaves_the_function_as_it_is():
    def double(inputs, out):
        return 2 * inputs

    assert stage(version=3)(double) is double


def test_models_says_which_rows_are_stale(run, monkeypatch):
    """Every model of the warehouse has spectra of version 1; two have attention."""
    assert " stale" in run("models")[1].decode() and "version 1, now" not in run("models")[1].decode()
    monkeypatch.setattr(saved, "versions", lambda: {"spectra": 3, "spectra_of_others": 9, "attention": 1})
    said = run("models")[1].decode()
    assert said.count("spectra (version 1, now 3)") == said.count("spectra (") == 3
