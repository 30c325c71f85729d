"""Every type of DuckDB in every format: what is written says what DuckDB's own text says, or it is refused in words."""

import io
import json

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eigenhouse.analyses.answers import asking, formats, plain_types, tables
from eigenhouse.errors import EigenhouseError

NOON = "timestamptz '2025-03-05 12:00:00.5+00'"
LARGEST = 2**128 - 1
# SQL → the cell of a CSV, that of a JSON, that of a Parquet file (None: as in JSON)
TYPES = {
    NOON: ("2025-03-05 12:00:00.5+00:00", "2025-03-05T12:00:00.5+00:00", "2025-03-05 12:00:00.500000+00:00"),
    f"[{NOON}]": ('["2025-03-05 12:00:00.5+00:00"]', ["2025-03-05T12:00:00.5+00:00"], ...),
    f"{{'a b\"': {NOON}, 'c': 1}}": (..., {'a b"': "2025-03-05T12:00:00.5+00:00", "c": 1}, ...),
    f"map {{'a': {NOON}}}": (..., {"a": "2025-03-05T12:00:00.5+00:00"}, ...),
    f"map {{{NOON}: [1]}}": (..., {"2025-03-05T12:00:00.5+00:00": [1]}, ...),
    f"map {{[{NOON}]: 1}}": (..., {"key": [["2025-03-05T12:00:00.5+00:00"]], "value": [1]}, ...),
    f"[{NOON}, null]::timestamptz[2]": (..., ["2025-03-05T12:00:00.5+00:00", None], ...),
    f"{NOON}::union(t timestamptz, n int)": (
        "2025-03-05 12:00:00.5+00", "2025-03-05 12:00:00.5+00", '{"t":"2025-03-05 12:00:00.5+00"}',
    ),
    f"row(1, {NOON})": ("(1, '2025-03-05 12:00:00.5+00')", ..., ...),
    "'infinity'::timestamptz": ("infinity", "infinity", ...),
    "'-infinity'::timestamp": ("-infinity", "-infinity", ...),
    "'infinity'::date": ("infinity", "infinity", ...),
    "['infinity'::date]": ('["infinity"]', ["infinity"], ...),
    "'0044-03-15 (BC)'::date": ("0044-03-15 (BC)", "0044-03-15 (BC)", ...),
    "'20000-03-15'::date": ("20000-03-15", "20000-03-15", ...),
    "'2025-01-02 03:04:05.123456789'::timestamp_ns": (
        "2025-01-02 03:04:05.123456789", "2025-01-02T03:04:05.123456789", ...,
    ),
    "'2025-01-02 03:04:05.25'::timestamp_ms": ("2025-01-02 03:04:05.25", "2025-01-02T03:04:05.25", ...),
    "'2025-01-02 03:04:05'::timestamp_s": ("2025-01-02 03:04:05", "2025-01-02T03:04:05", ...),
    "'12:34:56.123456'::time_ns": ("12:34:56.123456", "12:34:56.123456", ...),
    "time '24:00:00'": ("24:00:00", "24:00:00", ...),
    "'12:34:56+02'::timetz": ("12:34:56+02:00", "12:34:56+02:00", "12:34:56+02"),
    "interval '1 month 2 days 3 seconds'": ("1 month 2 days 00:00:03",) * 3,
    "[interval '1 month']": ('["1 month"]', ["1 month"], ["1 month"]),
    "{'a': interval '1 year'}": ('{"a": "1 year"}', {"a": "1 year"}, {"a": "1 year"}),
    "'x'::union(num int, s varchar)": ("x", "x", '{"s":"x"}'),
    "{'u': union_value(num := 2)}": ('{"u": 2}', {"u": 2}, {"u": '{"num":2}'}),
    "[union_value(num := 2)]": ("[2]", [2], ['{"num":2}']),
    f"{LARGEST}::uhugeint": (str(LARGEST), LARGEST, str(LARGEST)),
    "12345678901234567890123::hugeint": ("12345678901234567890123", 12345678901234567890123, ...),
    "'123456789012345678901234567890123456789012'::bignum": ("123456789012345678901234567890123456789012",) * 3,
    "'10101'::bit": ("10101", "10101", "10101"),
    r"'\xAA\x00b'::blob": ("aa0062", "aa0062", b"\xaa\x00b"),
    "'00000000-0000-0000-0000-00000000000a'::uuid": ("00000000-0000-0000-0000-00000000000a",) * 3,
    "'a'::enum('a', 'b')": ("a", "a", "a"),
    "true": ("true", True, True),
    "[true]": ("[true]", [True], [True]),
    "'[1]'::json": ("[1]", "[1]", "[1]"),
    "null": ("", None, None),
    "[null]": ("[null]", [None], [None]),
    "[[0.1::float], null]": ("[[0.1], null]", [[0.1], None], ...),
    "{'a': 0.1::float}": ('{"a": 0.1}', {"a": 0.1}, ...),
    "map {1.5: 0.1::float}": ('{"1.5": 0.1}', {"1.5": 0.1}, ...),
    "row(0.1::float, 'x')": ('[0.1, "x"]', [0.1, "x"], ...),
    "1.5::decimal(5, 2)": ("1.50", 1.5, ...),
    "12345678901234567.123::decimal(38, 3)": ("12345678901234567.123", "12345678901234567.123", ...),
    "[1, 2]::integer[2]": ("[1, 2]", [1, 2], [1, 2]),
    "42::variant": ("42", 42, None),
}  # fmt: skip


@pytest.fixture
def con():
    with duckdb.connect() as con:
        con.execute("set arrow_lossless_conversion = true")
        yield con


def written(con, writer, sql):
    asking.ask(con, sql, {}, acts=True)
    file = io.BytesIO()
    with asking.explained(con):
        writer(con, file)
    return file.getvalue()


@pytest.mark.parametrize("sql", TYPES)
def test_text_says_what_duckdb_says(con, sql):
    in_csv, in_json, _ = TYPES[sql]
    rows = f"select {sql} as v, 1 as n union all select null, 2 order by n"
    found = formats.csv.reader(io.StringIO(written(con, formats.write_csv, rows).decode()))
    (_, [cell, _], [empty, _]) = list(found)
    assert in_csv in (cell, ...) and empty == ""
    first, second = json.loads(written(con, formats.write_json, rows))
    assert in_json in (first["v"], ...) and second["v"] is None
    assert b"null" in written(con, tables.write_table, rows)


@pytest.mark.parametrize("sql", TYPES)
def test_parquet_holds_the_value_or_its_text(con, tmp_path, sql):
    """Where the message names no cell, DuckDB finds in the file the value that it complains of."""
    expected, path = TYPES[sql][2], tmp_path / "v.parquet"
    rows = f"select {sql} as v union all select null"
    if "variant" in sql:
        with pytest.raises(EigenhouseError, match=r"VARIANT; cast v, as v::json"):
            written(con, formats.write_parquet, rows)
        return
    path.write_bytes(written(con, formats.write_parquet, rows))
    if expected is ...:
        said = f"select v::varchar from ({rows})"
        read = f"select v::varchar from read_parquet('{path}')"
        wanted, found = ([row[0] for row in con.execute(ask).fetchall()] for ask in (said, read))
        assert [text and text.replace("'", "") for text in found] == [text and text.replace("'", "") for text in wanted]
    else:
        values = pq.read_table(path)["v"].to_pylist()
        assert [str(values[0]) if "timestamptz" in sql else values[0], values[1]] == [expected, None]


@pytest.mark.parametrize("sql", TYPES)
def test_npy_holds_the_value_or_refuses(con, sql):
    rows = f"select {sql} as v"
    try:
        table = np.load(io.BytesIO(written(con, formats.write_npy, rows)))
    except EigenhouseError:
        with pytest.raises(EigenhouseError, match=r"^[^\n]*FORMAT=parquet[^\n]*$"):
            written(con, formats.write_npy, rows)
        return
    value, cell = table["v"][0], TYPES[sql][0]
    if isinstance(value, np.str_):
        assert (str(value), cell) in {(cell, cell), ("12:34:56+02", "12:34:56+02:00")}
    elif isinstance(value, np.datetime64):
        year = np.datetime_as_string(value, "Y").lstrip("+-")
        assert year == ("043" if "BC" in cell else cell.split("-")[0])  # there was no year 0


@pytest.mark.parametrize("sql", TYPES)
def test_no_row_at_all(con, tmp_path, sql):
    rows = f"select {sql} as v where false"
    assert written(con, formats.write_csv, rows) == b"v\n"
    assert written(con, formats.write_json, rows) == b"[]\n"
    assert b"0 rows" in written(con, tables.write_table, rows)
    if "variant" not in sql:
        assert pq.read_table(io.BytesIO(written(con, formats.write_parquet, rows))).num_rows == 0


def test_numbers_that_numpy_would_round_are_refused(con):
    for numbers, message in (
        ("(9007199254740993), (null)", "past 2^53"),
        ("(9223372036854775808)", "Conversion Error"),
    ):
        with pytest.raises(EigenhouseError, match=message.replace("^", r"\^")):
            written(con, formats.write_npy, f"from (values {numbers}) as numbers(v)")
    table = np.load(io.BytesIO(written(con, formats.write_npy, "select sum(range)::hugeint as v from range(5)")))
    assert (table["v"].dtype, table["v"].tolist()) == (np.int64, [10])


def test_nanoseconds_of_a_day(con):
    """To the last one, though DuckDB's own reader of Parquet cuts them."""
    table = pq.read_table(io.BytesIO(written(con, formats.write_parquet, "select '12:34:56.123456789'::time_ns as v")))
    assert table["v"].cast(pa.int64()).to_pylist() == [(12 * 3600 + 34 * 60 + 56) * 10**9 + 123456789]
    assert b"12:34:56.123456789" in written(con, formats.write_csv, "select '12:34:56.123456789'::time_ns as v")


def test_a_zone_that_was_set_is_kept(con):
    rows = f"set timezone = 'Asia/Tokyo'; select {NOON} as v"
    assert json.loads(written(con, formats.write_json, rows)) == [{"v": "2025-03-05T21:00:00.5+09:00"}]


def test_every_statement_may_answer_with_a_time(con):
    """Not only a select: what is run again or wrapped would fail for these."""
    con.execute(f"create table t as select {NOON} as v, 'a' as kind, 1 as n")
    for sql in ("table t", "from t;", "call query('from t')", "pivot t on kind using sum(n)", "execute p", "show t"):
        con.execute("prepare p as from t")
        assert written(con, formats.write_json, sql) != b""
    assert b"::json" in str(refused(con, f"select {NOON}::variant as v")).encode()


def refused(con, sql):
    with pytest.raises(EigenhouseError) as refusal:
        written(con, formats.write_csv, sql)
    return refusal.value


def test_many_rows_keep_their_order(con):
    rows = f"select range as n, {NOON} + to_seconds(range) as v, range % 2 = 0 as even from range(25_000)"
    lines = written(con, formats.write_csv, rows).decode().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(25_000))
    assert lines[61] == "60,2025-03-05 12:01:00.5+00:00,true"
    table = pq.read_table(io.BytesIO(written(con, formats.write_parquet, rows)))
    assert table["n"].to_pylist() == list(range(25_000)) and table.schema.field("even").type == pa.bool_()


def test_two_columns_of_one_name_stay_two(con):
    table = pq.read_table(io.BytesIO(written(con, formats.write_parquet, f"select 1 as a, {NOON} as a, 2 as b")))
    assert table.column_names == ["a", "a_1", "b"]


def test_plain_answers_are_not_carried_over(con):
    con.execute("select 1 as a, 0.5::float as b, 'x' as c, [1.5] as d")
    assert plain_types.exchanged(con, plain_types.TEXT) is con
