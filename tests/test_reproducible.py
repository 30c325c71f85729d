"""The same weights give the same rows, bit for bit: a second time, and with another number of threads."""

import duckdb
import pytest
import torch
from tiny_ingests import Warehouse

from bench import random_checkpoint, same_rows, tiny_text
from bench.random_checkpoint import Shape
from eigenhouse.ingest import devices
from eigenhouse.ingest.geometry.weight_spectra import gram
from eigenhouse.ingest.warehouse import rollups, sqlfiles

SHAPE = Shape(2, 592, 4, 2, 10, 336)  # a Gram of 592 columns is cut otherwise for one thread than for three
FORWARD = {"conformance", "attention_stats"}  # what float32 forward passes bear on, and what is made of it
for path in rollups.every():
    FORWARD |= {rollups.table_of(path)} if rollups.sources(path) & FORWARD else set()


@pytest.fixture
def threads(monkeypatch):
    """Sets how many torch and the pool have."""
    before = torch.get_num_threads()

    def use(n):
        torch.set_num_threads(n)
        for cached in (devices.n_threads, devices._pool):
            cached.cache_clear()

    yield use
    use(before)


@pytest.mark.parametrize("n_columns", [576, 592, 896])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gram_has_the_same_bits_with_any_number_of_threads(threads, n_columns, dtype):
    weight = torch.randn(700, n_columns, generator=torch.Generator().manual_seed(3))
    grams = []
    for n in (1, 2, 3, 5):
        threads(n)
        grams.append(gram(weight, dtype))
    assert all(torch.equal(grams[0], other) for other in grams[1:])


def test_the_same_rows_twice_and_with_other_threads(own_cache, threads, tmp_path):
    """A second run gives every table's bits. So do other threads, but for the float32 forward passes: 1e-6 of a value.

    Three threads cut a product of matrices unevenly, which two may not.
    """
    model = random_checkpoint.write(tmp_path / "tiny", SHAPE)
    told = ("--variants", "folded", "--device", "cpu", "--prompts", tiny_text.prompts(tmp_path, 7, 13))
    for name, n in {"one": 1, "again": 1, "three": 3}.items():
        threads(n)
        (tmp_path / name).mkdir()
        house = Warehouse(tmp_path / name, *map(str, told))
        house.ingest(model)
        house.close()
    with duckdb.connect() as con:
        for name in ("one", "again", "three"):
            con.execute(f"attach '{tmp_path / name / 'warehouse.duckdb'}' as {name} (read_only)")
        for table in sqlfiles.tables():
            if table not in same_rows.LEFT_OUT:
                assert differing(con, table, "again") == 0, table
                assert differing(con, table, "three") == 0 or table in FORWARD, table
    compared = list(same_rows.compared(tmp_path / "one/warehouse.duckdb", tmp_path / "three/warehouse.duckdb"))
    assert {each.table for each in compared} >= FORWARD
    assert all(each.is_same for each in compared)
    summed = set(map(rollups.table_of, sqlfiles.kept()))  # a correlation of few heads moves further
    assert max(each.difference for each in compared if each.table not in summed) < 1e-6


def differing(con, table, name):
    """Rows that only one of the two warehouses has."""
    columns = ", ".join(set(sqlfiles.tables()[table]["columns"]) - {"model_key"})
    sides = [f"(select {columns} from {house}.{table})" for house in ("one", name)]
    alone = " union all ".join(f"(from {one} except all from {other})" for one, other in (sides, sides[::-1]))
    return con.execute(f"select count(*) from ({alone})").fetchall()[0][0]
