"""The bench of the load runs in small; no time is asserted."""

import duckdb

from bench import load_cost


def test_both_ways_load_the_same_rows(tmp_path):
    n_rows = 2 * 3 * load_cost.N_HEADS * load_cost.HEAD_DIM
    found = load_cost.measured(tmp_path, n_rows, times=1, threads=1)
    assert list(found) == ["stage", "copy", "load", "rollup"]
    contents = []
    for name in ("copy0", "load0"):
        with duckdb.connect(str(tmp_path / f"{name}.duckdb"), read_only=True) as con:
            contents.append(con.execute("from singular_values").fetchall())
    assert len(contents[0]) == n_rows
    assert contents[0] == contents[1] == sorted(contents[0])
    assert found["stage"][2].startswith(f"{n_rows:,} rows")
