"""Made-up warehouses: as many models and at most as many rows as asked, the same by seed, whole to `verify`."""

import duckdb
import pytest

from bench.made import shapes, warehouse
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles, store
from eigenhouse.ingest.warehouse.verification import Verification

N_MODELS, N_ROWS = 14, 100_000
# what does not grow with the shapes, and what the load makes of the rows
UNCOUNTED = {"models", "null_spectra", "prompts", "ingest_runs", "ingested_stages", "skipped_modules"}
UNCOUNTED |= {"table_checksums", "warehouse_info"} | {path.stem for path in sqlfiles.files("rollups")}


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
            sums.append(con.execute("select table_name, n_rows, checksum from table_checksums order by all").fetchall())
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
