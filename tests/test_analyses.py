"""Questions to the warehouse: every format against the staged values, mistakes told in words."""

import math
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
import warehouse_fixture as fixture
from conftest import HEADS, SEEDS

from eigenhouse import __main__ as command_line
from eigenhouse.analyses.answers import formats
from eigenhouse.ingest.warehouse import sqlfiles, store

ROOT = Path(__file__).resolve().parent.parent
ONE_OF_EACH = """
    select 0.1::float as single, 0.1::double as twice, null::integer as hole, 7 as whole, true as flag,
        'é, "q"' || chr(10) || 'x' as text, [0.1::float, null] as list, {'a': 1.5} as struct, 3.50 as exact,
        date '2025-03-05' as day, 'nan'::double as undefined
"""


# --- formats ---


def test_csv(run):
    status, out, _ = run("query", "--sql", ONE_OF_EACH, "--format", "csv")
    assert status == 0
    assert out.decode() == (
        "single,twice,hole,whole,flag,text,list,struct,exact,day,undefined\n"
        '0.1,0.1,,7,true,"é, ""q""\nx","[0.1, null]","{""a"": 1.5}",3.50,2025-03-05,nan\n'
    )


def test_json(rows):
    assert rows("--sql", ONE_OF_EACH) == [
        {
            "single": 0.1, "twice": 0.1, "hole": None, "whole": 7, "flag": True, "text": 'é, "q"\nx',
            "list": [0.1, None], "struct": {"a": 1.5}, "exact": 3.5, "day": "2025-03-05", "undefined": None,
        }
    ]  # fmt: skip
    assert rows("--sql", "select 1 as a where false") == []
    assert rows("--sql", "select 1 as a, 2 as a") == [{"a": 1, "a_1": 2}]


def spectra(model_id):
    """What `select layer, head, k, sigma` of the operator metric must give, from the fixture's own draw."""
    seed = SEEDS[model_id]
    return [
        (layer, head, k, sigma)
        for layer, head in HEADS
        for k, sigma in enumerate(fixture.spectrum(seed, "metric", layer, head))
    ]


SPECTRA = """
    select singular_values.layer, singular_values.head, singular_values.k, singular_values.sigma
    from singular_values inner join models on singular_values.model_key = models.model_key
    where models.model_id = $model and singular_values.operator = 'metric'
    order by all
"""


def test_parquet_keeps_types_and_bits(run, tmp_path):
    out = tmp_path / "spectra.parquet"
    assert run("query", "--sql", SPECTRA, "--model", "org/two", "--format", "parquet", "--out", str(out)) == (
        0,
        b"",
        "",
    )
    frame = pl.read_parquet(out)
    assert frame.schema == {"layer": pl.Int16, "head": pl.Int16, "k": pl.Int32, "sigma": pl.Float32}
    assert frame.rows() == spectra("org/two")


def test_npy_is_one_structured_array(run, tmp_path):
    out = tmp_path / "spectra.npy"
    run("query", "--sql", SPECTRA, "--model", "org/one", "--format", "npy", "--out", str(out))
    table = np.load(out)
    assert table.dtype == [("layer", "i2"), ("head", "i2"), ("k", "i4"), ("sigma", "f4")]
    assert table.tolist() == spectra("org/one")


def test_npy_columns(run, tmp_path):
    """Vectors become rows, holes NaN or empty; through a pipe's file, since no --out is given."""
    sql = (
        "from (values (1, 'é', [1::float, 2], true, date '2025-03-05'), (null, null, [3, 5], false, null))"
        " rows(whole, text, vector, flag, day)"
    )
    status, out, _ = run("query", "--sql", sql, "--format", "npy")
    assert status == 0
    path = tmp_path / "out.npy"
    path.write_bytes(out)
    table = np.load(path)
    assert table["vector"].tolist() == [[1, 2], [3, 5]]
    assert table["vector"].dtype == np.float32
    assert table["whole"][0] == 1
    assert np.isnan(table["whole"][1])
    assert table["text"].tolist() == ["é", ""]
    assert table["flag"].tolist() == [True, False]
    assert table["day"].astype("M8[D]").astype(str).tolist() == ["2025-03-05", "NaT"]


def test_float32_prints_its_own_digits():
    """Each double is the shortest text that reads back as the same float32, numpy's being the judge."""
    values = np.array([0.1, 1 / 3, 1e-45, 3.4028235e38, 16777216, -7e-5, 0, math.inf], np.float32)
    assert formats.shortest(values.tolist()) == [float(str(value)) for value in values]
    assert formats.shortest([None, 0.5]) == [None, 0.5]


@pytest.mark.parametrize("n_rows", [40, 41, 12_345])
def test_table_shows_the_first_rows_and_counts_the_rest(run, n_rows):
    status, out, _ = run("query", "--sql", f"select range as n, 'r' || range as t from range({n_rows})")
    lines = out.decode().splitlines()
    assert status == 0
    assert lines[0].split() == ["n", "t"]
    assert [line.split() for line in lines[2:42]] == [[str(n), f"r{n}"] for n in range(40)]
    assert lines[42:] == [f"… {n_rows - 40:,} more rows; FORMAT=csv shows all" if n_rows > 40 else "40 rows"]


def test_table_aligns_numbers_and_keeps_their_digits(run):
    """Four digits of a column's largest number, two of its smallest; tiny ones in powers of ten."""
    sql = """
        from (values
            (1, 12.34567::float, 123.456::double, 1e-9, 'a', 0.0),
            (234, 45.6789, 0.05, null, 'bcd', 0)
        ) numbers(n, near, far, tiny, text, zero)
    """
    _, out, _ = run("query", "--sql", sql)
    header, _, first, second, count = out.decode().splitlines()
    assert first.split() == ["1", "12.35", "123.456", "1.000e-09", "a", "0"]
    assert second.split() == ["234", "45.68", "0.050", "null", "bcd", "0"]
    assert first.index("1") == second.index("4")
    assert header.index("text") == first.index("a") == second.index("bcd")
    assert count == "2 rows"


def test_table_shows_text_as_it_is(run, monkeypatch):
    """Square brackets and colons are markup to rich; long texts are cut, lists abridged."""
    monkeypatch.setenv("COLUMNS", "150")
    sql = "select '[bold]x[/] :tada:' as a, repeat('z', 99) as b, range(11) as c, 'p' || chr(10) || 'q' as d"
    _, out, _ = run("query", "--sql", sql)
    cells = out.decode().splitlines()[2].split("   ")
    assert [cell.strip() for cell in cells] == ["[bold]x[/] :tada:", "z" * 59 + "…", "[0, 1, 2, … 11]", "p q"]


def test_table_fits_the_width_and_has_every_column(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = run("query", "--sql", "from head_descriptors limit 3")
    lines = out.decode().splitlines()
    assert max(map(len, lines)) <= 60
    columns = [name for line in lines if line.startswith("model_id") for name in line.split()[1:]]
    assert columns == list(sqlfiles.tables()["head_descriptor_rollup"]["columns"])[1:]
    assert sum(line.startswith("org/one") for line in lines) == 3 * sum("model_id" in line for line in lines)


# --- questions ---


def test_parameters_fill_what_the_sql_asks_for(rows):
    sql = "select $K + 1 as k, $head as h, $anchor as a, '$k' as text where $model = 'org/one'"
    assert rows("--sql", sql, "--model", "org/one", "--head", "3", "--k", "7", "--anchor", "last") == [
        {"k": 8, "h": 3, "a": "last", "text": "$k"}
    ]


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ([], ["SQL=", "Q=", "neither"]),
        (["--sql", "select 1", "--q", "models"], ["both"]),
        (["--sql", " ; "], ["no statement"]),
        (["--sql", "selec 1"], ["Parser Error", "selec"]),
        (["--sql", "from singular_value"], ["hint: near: singular_values"]),
        (["--sql", "from zzz"], ["hint: there are ", "head_descriptors"]),
        (["--sql", "select sigma from models"], ["hint: near: sigma in null_spectra, singular_values"]),
        (["--sql", "select models.entropy from models"], ["hint: near: ", "entropy_nats in attention_stats"]),
        (["--sql", "select 'x'::integer"], ["Conversion Error"]),
        (["--sql", "create table mine as select 1"], ["read-only"]),
        (["--sql", "delete from models"], ["read-only"]),
        (["--sql", "select $model"], ["$model", "MODEL="]),
        (["--sql", "select $1"], ["$1"]),
        (["--q", "effective_rank_by_layers"], ["did you mean effective_rank_by_layer"]),
        (["--q", "xyz"], ["make queries"]),
        (["--q", "models", "--head", "1"], ["models takes no HEAD", "its parameters: MODEL"]),
        (["--q", "conformance_worst", "--anchor", "last"], ["takes no ANCHOR", "MODEL, K"]),
        (["--sql", "select 1", "--out", "/nowhere/at/all"], ["cannot write", "No such file"]),
        (["--sql", "select unnest([[1], [2, 3]]) as a", "--format", "npy"], ["column a", "FORMAT=parquet"]),
    ],
)
def test_a_mistake_is_told_in_words(run, args, wanted):
    status, out, err = run("query", *args)
    assert status == 1
    assert out == b""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert [part for part in wanted if part not in err] == []


def test_the_warehouse_is_no_place_for_an_answer(run, warehouse):
    before = warehouse.read_bytes()
    status, _, err = run("query", "--sql", "select 1", "--format", "csv", "--out", str(warehouse))
    assert status == 1
    assert "is a DuckDB file, which is never written over" in err
    assert warehouse.read_bytes() == before


def test_no_warehouse(tmp_path, capfd):
    for name in ("query", "models", "views"):
        question = ["--sql", "select 1"] if name == "query" else []
        with pytest.raises(SystemExit) as ending:
            command_line.app([name, *question, "--warehouse", str(tmp_path / "none.duckdb")])
        assert ending.value.code == 1
        assert "make ingest" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_views_are_brought_up_to_date(tmp_path, capfd):
    path = tmp_path / "old.duckdb"
    store.connect(path, read_only=False).close()
    with duckdb.connect(str(path)) as con:
        con.execute("create or replace view head_attention as select 1 as stale")
    with pytest.raises(SystemExit) as ending:
        command_line.app(["views", "--warehouse", str(path)])
    assert not ending.value.code
    assert "up to date" in capfd.readouterr().out
    with duckdb.connect(str(path), read_only=True) as con:
        assert "entropy_nats" in [row[0] for row in con.execute("describe head_attention").fetchall()]


# --- the process ---


def python(*args, **options):
    return subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True, timeout=60, **options)


def test_torch_is_not_imported():
    done = python("-c", "import sys, eigenhouse.analyses.commands; print({'torch', 'transformers'} & set(sys.modules))")
    assert done.stdout == "set()\n", done.stderr


def test_a_reader_that_has_enough_is_no_error(warehouse):
    args = ["query", "--sql", "from range(1000000)", "--format", "csv", "--warehouse", str(warehouse)]
    with subprocess.Popen(
        [sys.executable, "-m", "eigenhouse", *args], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_binary_is_not_for_a_terminal(warehouse):
    terminal, end = os.openpty()
    args = ["query", "--sql", "select 1", "--format", "npy", "--warehouse", str(warehouse)]
    done = subprocess.run([sys.executable, "-m", "eigenhouse", *args], cwd=ROOT, stdout=end, stderr=subprocess.PIPE)
    os.close(end)
    os.close(terminal)
    assert done.returncode == 1
    assert b"not for a terminal; give OUT=<file>" in done.stderr
