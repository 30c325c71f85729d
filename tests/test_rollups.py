"""Rows of views that a load keeps: those of the facts, made anew when these change, and read by one model alone."""

import re
import shutil
from dataclasses import replace

import duckdb
import experiment_fixture
import pytest
import warehouse_fixture
from test_views import N_COPIES, ROW_GROUP, crowd, scanned  # noqa: F401  crowd is a fixture

from eigenhouse.ingest.warehouse import rollups, sqlfiles, store

KEPT = sqlfiles.kept()
every_kept = pytest.mark.parametrize("view", KEPT, ids=lambda path: path.stem)


def near(wanted):
    return pytest.approx(wanted, rel=1e-9, abs=1e-12) if isinstance(wanted, float) else wanted


@every_kept
def test_what_is_kept_is_what_the_facts_give(experiments, view):
    """Made for each model by its load; here of all models at once."""
    keys = ", ".join(sqlfiles.header(view)["grain"])
    kept = experiments.execute(f"from {view.stem} order by {keys}").fetchall()
    made = experiments.execute(f"from ({sqlfiles.selected(view)}) order by {keys}").fetchall()
    assert len(kept) == len(made) > 0
    for one, other in zip(kept, made, strict=True):
        assert one == tuple(map(near, other))


@every_kept
@pytest.mark.parametrize("where", ["model_id = 'org/copy7'", "model_id in ('org/copy7', 'org/copy31')"])
def test_a_model_is_summed_up_from_its_own_row_groups(crowd, view, where):  # noqa: F811
    scans = scanned(crowd, f"select * from ({sqlfiles.selected(view)}) where {where}")
    assert scans.keys() & sqlfiles.tables().keys()
    for table, n_rows in scans.items():
        [[all_rows]] = crowd.execute(f"select count(*) from {table}").fetchall()
        assert n_rows <= where.count("org/") * (2 + all_rows // N_COPIES // ROW_GROUP) * ROW_GROUP, table


@pytest.fixture
def loaded(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    load = warehouse_fixture.full_load(tmp_path / "rows", "org/ours", 0)
    store.load(path, [load], {}, force=False)
    return path


def found(path):
    with store.connect(path, read_only=True) as con:
        return list(rollups.faults(con, [key for (key,) in con.execute("select model_key from models").fetchall()]))


def test_another_row_is_told(experiments, tmp_path):
    """One row less than there was, of every kept view: `verify` names each of their tables."""
    [[file]] = experiments.execute("select path from duckdb_databases() where path is not null").fetchall()
    path = shutil.copy(file, tmp_path / "warehouse.duckdb")
    tables = [rollups.table_of(view) for view in sqlfiles.kept()]
    with duckdb.connect(str(path)) as con:
        for table in tables:
            con.execute(f"delete from {table} where rowid = (select min(rowid) from {table})")
    told = [what for _, what in found(path)]
    for table in tables:
        assert any(re.match(rf"{table}: [1-9]\d* rows are not what those of ", what) for what in told), table


def test_a_hidden_size_that_comes_later_brings_its_chance(tmp_path):
    """An import may say it in its second file, which holds none of the rows behind the summaries of the first."""
    path, toy = tmp_path / "warehouse.duckdb", experiment_fixture.BY_ID["org/main"]
    frames = experiment_fixture.frames(toy)
    sides = {table: frames[table] for table in ("layers", "side_overlaps", "head_matches", "head_norms")}
    first = warehouse_fixture.stack("org/ours", warehouse_fixture.staged(tmp_path / "first", **sides))
    store.load(path, [replace(first, model=first.model | {"hidden_size": None})], {}, force=False)
    chance = "select distinct chance from overlap_summary"
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute(chance).fetchall() == [(None,)]
    spectra = warehouse_fixture.staged(tmp_path / "second", singular_values=warehouse_fixture.singular_values(0))
    store.load(path, [warehouse_fixture.stack("org/ours", spectra)], {}, force=False)
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute(chance).fetchall() == [(pytest.approx(experiment_fixture.SUBSPACE_SIZE / 11),)]


def test_views_made_anew_bring_what_is_kept(loaded):
    """A warehouse of before views were kept: it has no such tables, and its views are of the facts."""
    with duckdb.connect(str(loaded)) as con:
        wanted = con.execute("from layer_shapes order by all").fetchall()
        for view in KEPT:
            con.execute(f"drop table {rollups.table_of(view)}")
            con.execute(view.read_text(encoding="utf-8"))
        con.execute("delete from table_checksums where table_name like '%rollup'")
    store.connect(loaded, read_only=False).close()
    with store.connect(loaded, read_only=True) as con:
        assert con.execute("from layer_shapes order by all").fetchall() == [tuple(map(near, row)) for row in wanted]
        assert len(wanted) == 2 * warehouse_fixture.N_LAYERS
        tables = con.execute("select table_name from table_checksums").fetchall()
    assert ("layer_shapes_rollup",) in tables
    assert found(loaded) == []
