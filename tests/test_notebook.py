"""The warehouse in a notebook: frames, charts, and a file that is free between questions."""

import datetime
import subprocess
import sys
from decimal import Decimal

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import eigenhouse
from eigenhouse.analyses.charts import charts
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import store


@pytest.fixture
def house(warehouse):
    return eigenhouse.connect(warehouse)


def test_a_question_comes_back_as_a_frame(house):
    found = house.sql("select model_id, n_layers from models where model_id = $model", model="org/one")
    assert found["model_id"].to_list() == ["org/one"]
    assert house.sql("select $K + 1 as n", k=3).item() == 4
    assert house.models()["model_id"].to_list() == ["org/one", "org/static", "org/two"]


def test_types_survive(house):
    found = house.sql("""
        select 1::tinyint as i8, 2::ubigint as u64, 0.1::float as f32, 0.1::double as f64, 1.25::decimal(9, 2) as money,
            'x' as text, true as flag, date '2025-03-05' as day, timestamp '2025-03-05 06:07:08.5' as time,
            [1, 2]::smallint[] as list, {a: 1, b: 'y'} as struct, '\\x00\\xff'::blob as bytes, null::int as nothing,
            170141183460469231731687303715884105727::hugeint as huge, interval 1 month as month
    """)
    assert found.schema == {
        "i8": pl.Int8, "u64": pl.UInt64, "f32": pl.Float32, "f64": pl.Float64, "money": pl.Decimal(9, 2),
        "text": pl.String, "flag": pl.Boolean, "day": pl.Date, "time": pl.Datetime("us"), "list": pl.List(pl.Int16),
        "struct": pl.Struct({"a": pl.Int32, "b": pl.String}), "bytes": pl.Binary, "nothing": pl.Int32,
        "huge": pl.Int128, "month": pl.String,
    }  # fmt: skip
    [row] = found.rows(named=True)
    assert (row["money"], row["day"]) == (Decimal("1.25"), datetime.date(2025, 3, 5))
    assert (row["bytes"], row["month"], row["nothing"]) == (b"\x00\xff", "1 month", None)
    assert row["huge"] == 2**127 - 1
    assert house.sql("select sum(n) as total from (values (1), (2)) as t(n)").item() == 3


@pytest.mark.apart
def test_a_notebook_outlives_its_questions(house, tmp_path):
    """They are asked in a process of their own: types come through it, and what acts is refused there."""
    found = house.sql("select sum(1) as huge, [0.5::float] as list, 'x'::enum('x') as kind, $k as k", k=3)
    assert found.select("huge", "list", "k").rows() == [(1, [0.5], 3)]
    assert (found.schema["huge"], found.schema["list"]) == (pl.Int128, pl.List(pl.Float32))
    with pytest.raises(EigenhouseError, match="want one question"):
        house.sql(f"copy (select 1) to '{tmp_path / 'out.csv'}'")
    assert list(tmp_path.iterdir()) == []
    assert len(house.query("entropy_regression")) > 0


def test_two_columns_of_one_name_are_told_apart(house):
    assert house.sql("select 1 as n, 2 as n").columns == ["n", "n_1"]


def test_a_saved_query_answers_as_the_command_line_does(house, rows):
    asked = {"model": "org/one", "k": 3}
    by_command = rows("--q", "conformance_worst", "--model", "org/one", "--k", "3")
    found = house.query("conformance_worst", **asked)
    assert_frame_equal(found, pl.DataFrame(by_command), check_dtypes=False, check_column_order=True)
    assert len(house.query("conformance_worst", model=None)) > 3
    assert house.query("entropy_regression").height > 0  # one with a routine


@pytest.mark.parametrize("name", ["effective_rank_by_layer", "overlap_matrix", "entropy_predictors"])
def test_a_chart_is_the_one_that_is_drawn(house, warehouse, name):
    with store.reading(warehouse) as con:
        spec = charts.draw(con, charts.find(name), {"model": "org/one"})
    drawn = house.chart(name, model="org/one")
    again = drawn.to_dict()
    # the last digit of a mean follows the order in which DuckDB's threads add
    ours, theirs = (pl.DataFrame(made.pop("datasets")["rows"], infer_schema_length=None) for made in (again, spec))
    assert_frame_equal(ours, theirs, rel_tol=1e-12, abs_tol=1e-15)
    assert again == spec
    assert set(drawn._repr_mimebundle_())


def test_the_saved_queries_are_a_table(house):
    found = house.queries()
    assert found.columns == ["name", "title", "theme", "parameters", "reading", "has_chart"]
    [worst] = found.filter(name="conformance_worst").rows(named=True)
    assert worst["parameters"] == "model, k=10"
    assert found["name"].is_unique().all() and len(found) > 40


MISTAKES = {
    "no table": (lambda house: house.sql("from modles"), "near: models"),
    "a late error": (
        lambda house: house.sql("select error('late') from range(300000) where range = 250000"),
        "late",
    ),
    "a late error behind a cast": (
        lambda house: house.sql(
            "select interval 1 month as m, case when range = 250000 then error('late') end as n from range(300000)"
        ),
        "late",
    ),
    "no such type": (lambda house: house.sql("select 1::variant as v"), "cast v"),
    "no value": (lambda house: house.sql("select $model"), r"asks for \$model"),
    "too much": (lambda house: house.sql("from models", model="x"), r"no \$model"),
    "no query": (lambda house: house.query("effective_rank"), "did you mean"),
    "no parameter": (lambda house: house.query("models", k=3), "takes no K"),
    "no chart": (lambda house: house.chart("model_comparison"), "no chart"),
    "nothing to draw": (lambda house: house.chart("sink_map", model="org/static"), "nothing to draw"),
}


def writer_of(warehouse):
    """Another process, as an ingest is: DuckDB lets it write only where nobody has the file open."""
    code = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('create or replace temp table t as select 1')"
    return subprocess.run([sys.executable, "-c", code, str(warehouse)], capture_output=True, text=True)


def test_the_file_is_free_between_questions(house, warehouse):
    frame = house.sql("from singular_values")
    chart = house.chart("effective_rank_by_layer")
    done = writer_of(warehouse)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(frame) and chart and len(house.models()) == 3
    with duckdb.connect(warehouse):
        """Here too, where DuckDB keeps one instance a file."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_and_leaves_the_file_free(house, warehouse, mistake):
    ask, told = MISTAKES[mistake]
    with pytest.raises(EigenhouseError, match=told) as kept:
        ask(house)
    with duckdb.connect(warehouse):
        assert kept.value  # a notebook keeps the last error, and what its frames held


def test_what_is_no_warehouse_is_refused_at_once(tmp_path):
    with pytest.raises(EigenhouseError, match="no warehouse at"):
        eigenhouse.connect(tmp_path / "none.duckdb")


def test_the_folder_may_change(warehouse, monkeypatch, tmp_path):
    monkeypatch.chdir(warehouse.parent)
    house = eigenhouse.connect(warehouse.name)
    monkeypatch.chdir(tmp_path)
    assert len(house.models()) == 3
    assert repr(house) == f"eigenhouse.connect({str(warehouse)!r})"


def test_importing_the_program_is_instant():
    code = "import eigenhouse, sys; print(*sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=store.sqlfiles.SQL_DIR.parent
    )
    assert not {"duckdb", "polars", "altair", "typer", "numpy", "torch"} & set(done.stdout.split())
