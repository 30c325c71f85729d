"""What the user says of models: set, listed, read from a sheet, grouped by, and kept whatever is loaded."""

import math

import duckdb
import pytest
import warehouse_fixture as fixture

from eigenhouse.ingest.warehouse import sqlfiles, store
from eigenhouse.ingest.warehouse.tags import Tags


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Two models with spectra and another pair of stacks of one checkpoint."""
    folder = tmp_path_factory.mktemp("tags")
    return [
        fixture.stack(name, fixture.staged(folder / str(seed), singular_values=fixture.singular_values(seed)))
        for seed, name in enumerate(("org/Llama-3.2-1B", "org/gemma-3-270m", "org/t5-small#encoder"))
    ]


@pytest.fixture
def house(loaded, tmp_path):
    path = tmp_path / "warehouse.duckdb"
    for load in loaded:
        store.load(path, [load], {}, force=False)
    return path


def tagged(path, **tags):
    """The same tags for the model that is first by name."""
    with store.writing(path) as con:
        [key] = con.execute("select model_key from models order by model_id limit 1").fetchone()
        con.begin()
        counts = Tags({key: tags}).write(con)
        con.commit()
    return counts


def ask(path, sql):
    with store.reading(path) as con:
        return con.execute(sql).fetchall()


# --- tables and views ---


def test_numbers_of_values():
    """A date is its year and the share of it that has passed: 182 of 366 days on the first of July 2024."""
    wanted = {
        "1": 1, "-1.5e3": -1500, ".5": 0.5, "5.": 5, "+7": 7, "2024": 2024, "2024-07-01": 2024 + 182 / 366,
        "2023-01-01": 2023, "2023-12-31": 2023 + 364 / 365,
    }  # fmt: skip
    none = ["", " ", "nan", "inf", "1e999", "1_000", "1,5", "0x10", "mit", "2024-13-01", "2024-7-1", "12%", "--1"]
    with duckdb.connect() as con:
        con.execute((sqlfiles.SQL_DIR / "macros" / "number_of.sql").read_text())
        for value, number in (wanted | dict.fromkeys(none)).items():
            [found] = con.execute("select number_of($value)", {"value": value}).fetchone()
            assert found is None if number is None else math.isclose(found, number, rel_tol=1e-12), value


def test_what_models_are_grouped_by(house):
    """Columns of models and tags alike; a null is no group."""
    tagged(house, mmlu="63.5", licence="mit")
    groups = ask(house, "select property, value, number from model_groups where model_id = 'org/Llama-3.2-1B'")
    found = {name: (value, number) for name, value, number in groups}
    assert found["family"] == ("llama3.2", None) and found["architecture"] == ("Toy", None)
    assert found["n_layers"] == ("3", 3) and found["has_qk_norm"] == ("false", None)
    assert found["tag:mmlu"] == ("63.5", 63.5) and found["tag:licence"] == ("mit", None)
    assert not {"quantization", "stack", "n_parameters", "ffn_size"} & found.keys()
    n_rows = 2 * fixture.N_LAYERS * fixture.N_HEADS * fixture.N_VALUES
    assert float(found["bytes"][0]) > 4 * n_rows
    families = ask(house, "select value from model_groups where property = 'family' order by all")
    assert families == [("gemma3",), ("llama3.2",), ("t5",)]
