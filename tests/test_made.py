"""Made-up warehouses: as many models and at most as many rows as asked, the same by seed, whole to `verify`."""

import re

import duckdb
import pytest

from bench.made import shapes, warehouse
from eigenhouse.analyses.answers import saved
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import rollups, sqlfiles, store
from eigenhouse.ingest.warehouse.verification import Verification

N_MODELS, N_ROWS = 14, 100_000
# what does not grow with the shapes, and what the load makes of the rows
UNCOUNTED = {"models", "null_spectra", "prompts", "ingest_runs", "ingested_stages", "skipped_modules", "model_tags"}
UNCOUNTED |= {"table_checksums", "warehouse_info"} | set(map(rollups.table_of, rollups.every()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "made.duckdb"
    return path, warehouse.make(path, N_MODELS, N_ROWS, say=lambda line: None)


def test_as_many_models_and_rows_as_said(made):
    path, models = made
    with duckdb.connect(str(path), read_only=True) as con:
        counted = [table for table in sqlfiles.tables() if table not in UNCOUNTED]
        rows = [con.execute(f"select count(*) from {table}").fetchall()[0][0] for table in counted]
        kinds = con.execute(
            "select count(*), count(distinct architecture), count(stack), count(revision), count(distinct hidden_size) "
            "from models"
        ).fetchall()[0]
    assert min(rows) > 0
    assert sum(rows) == sum(model.n_rows for model in models) <= N_ROWS
    assert kinds == (N_MODELS, 9, 3, 4, len({model.hidden_size for model in models}))


def test_verify_finds_nothing(made):
    with store.connect(made[0], read_only=True) as con:
        found = Verification(con, None).run()
    assert (found.faults, found.n_models) == ([], N_MODELS)


def test_a_seed_gives_the_same_rows_and_another_others(tmp_path):
    sums = []
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        warehouse.make(tmp_path / name, 2, 10_000, seed, lambda line: None)
        with duckdb.connect(str(tmp_path / name), read_only=True) as con:
            rows = con.execute("select table_name, n_rows, checksum from table_checksums order by all").fetchall()
        sums.append(rows)
    one, same, other = sums
    assert one == same != other
    assert [row[:2] for row in one] == [row[:2] for row in other]


def test_no_file_is_begun_without_room_for_it(tmp_path):
    with pytest.raises(EigenhouseError, match="GB are free; ask for fewer --rows"):
        warehouse.make(tmp_path / "huge.duckdb", 1000, 10**15)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_left_alone(made):
    before = made[0].read_bytes()
    with pytest.raises(EigenhouseError, match="is there"):
        warehouse.make(made[0], N_MODELS, N_ROWS)
    assert made[0].read_bytes() == before


@pytest.mark.parametrize("n_rows", [10**7, 10**9])
def test_rows_asked_for_are_nearly_reached(n_rows):
    made = shapes.models(1000, n_rows)
    assert len({model.model_id for model in made}) == 1000
    assert 0.9 * n_rows < sum(model.n_rows for model in made) <= n_rows


def test_too_few_rows_for_the_models_are_refused(tmp_path):
    with pytest.raises(EigenhouseError, match="1000 models have .* rows at least; ask for more --rows"):
        warehouse.make(tmp_path / "none.duckdb", 1000, 10)


# --- asked ---

FACTS = {"eigenvalues", "grams", "principal_cosines", "side_overlaps", "singular_values", "spectral_grams"}
FACTS |= {"attention_stats", "weight_singular_values"}
LEFT = {"operator_cosines_to_anchor": {"grams"}}  # the products of every head with those of one layer
# the views on spectra and attention keep the models without attention
KEEPS_ALL = {
    "best_descriptors", "descriptor_correlations", "entropy_against_effective_rank", "entropy_predictors",
    "entropy_regression",
}  # fmt: skip


def asked(con, query):
    [statement] = con.extract_statements(query.sql)
    given = query.bind({})
    return con.execute(statement, {name: given[name] for name in statement.named_parameters})


@pytest.mark.parametrize("query", saved.every(), ids=lambda query: query.name)
def test_a_question_to_all_models_reads_no_facts(made, query):
    """Rollups carry it, but for what is asked of every head, and for vectors, which only small models keep."""
    with store.connect(made[0], read_only=True) as con:
        [statement] = con.extract_statements(query.sql)
        given = query.bind({})
        plan = con.execute(
            f"explain {statement.query}", {name: given[name] for name in statement.named_parameters}
        ).fetchall()[0][1]
    read = {table for table in FACTS if re.search(rf"\b{table}\b", plan)}
    assert read == LEFT.get(query.name, set())


@pytest.mark.parametrize("query", saved.every(), ids=lambda query: query.name)
def test_every_model_answers_that_has_what_is_asked(made, query):
    path, models = made
    with store.connect(path, read_only=True) as con:
        answer = asked(con, query).pl()
    found = set(answer["model_id"])
    if query.name == "conformance_worst":
        assert len(answer) == 10
    elif query.theme in ("Attention", "What predicts entropy") and query.name not in KEEPS_ALL:
        assert found == {model.model_id for model in models if model.has_attention}
    elif query.name == "eigenvector_angles":
        assert found == {model.model_id for model in models if model.has_vectors}
    elif query.name == "phase_boundaries":
        assert found == {model.model_id for model in models if model.n_measured > 2}
    elif query.name == "model_against_model":
        assert found == {model.model_id for model in models if model.has_attention}
    elif query.name in ("positive_mass_by_layer", "sign_agreement_by_k"):
        assert found == {model.model_id for model in models if model.stack != "cross"}
    else:
        assert found == {model.model_id for model in models}
