"""A query's answer as a file: CSV, JSON, Parquet or NumPy, each with all rows and full precision."""

import csv
import datetime
import decimal
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import duckdb

from eigenhouse.analyses.answers import plain_types
from eigenhouse.analyses.answers.plain_types import ROWS_AT_ONCE, shortest, spelled
from eigenhouse.errors import EigenhouseError

NESTED = ("STRUCT", "MAP", "UNION")
NUMBERS_AND_TIMES = re.compile(r"U?\w*INT(EGER)?|BIGNUM|FLOAT|DOUBLE|DECIMAL\([^]]*|DATE|TIME[^]]*|INTERVAL|BIT|UUID")
HUGE = {"duckdb": "hugeint"}
RUN = tuple("=+-@\t\r\n＝＋－＠")  # what a spreadsheet takes for the beginning of a formula, or drops before one


def chunks(con: duckdb.DuckDBPyConnection, between: str) -> Iterator[list[Sequence[Any]]]:
    """The rows of the last statement, some thousands at once, as columns; FLOATs at their own precision.

    Dates, times with a date and intervals are text; `between` stands between a date and its time.
    """
    kinds = [column[1] for column in con.description]
    spells = [plain_types.spelling(kind, between) for kind in kinds]
    rows = plain_types.exchanged(con, plain_types.TEXT)
    while chunk := rows.fetchmany(ROWS_AT_ONCE):
        columns: list[Sequence[Any]] = list(zip(*chunk, strict=True))
        for place, (kind, spell) in enumerate(zip(kinds, spells, strict=True)):
            columns[place] = shortest(columns[place]) if kind.id == "float" else spelled(spell, columns[place])
        yield columns


def names(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The columns' names, a second `layer` as layer_1: a join may give two columns one name."""
    found: list[str] = []
    for name, *_ in con.description:
        others = sum(name == before[0] for before in con.description[: len(found)])
        found.append(f"{name}_{others}" if others else name)
    return found


def write_csv(con: duckdb.DuckDBPyConnection, file: BinaryIO) -> None:
    """A header line, then a line a row; null is empty, lists and structs are JSON, bytes are hex.

    Text that a spreadsheet would run is `inert`.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([inert(name) for name in names(con)])
    places = [place for place, column in enumerate(con.description) if not _is_plain(str(column[1]))]
    for columns in chunks(con, " "):
        for place in places:
            columns[place] = [inert(_csv_cell(value)) for value in columns[place]]
        writer.writerows(zip(*columns, strict=True))
    text.detach()


def write_records_csv(names: Sequence[str], rows: list[dict[str, Any]], file: BinaryIO) -> None:
    """The same of rows that `records` gave."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([inert(name) for name in names])
    writer.writerows([inert(_csv_cell(row[name])) for name in names] for row in rows)
    text.detach()


def inert(cell: Any) -> Any:
    """Text that begins as a formula, behind an apostrophe, by which spreadsheets know text; a number stays one.

    A file's name or a prompt could otherwise run in whoever's spreadsheet opens the file.
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(RUN) and not _is_number(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text == text.strip()


def _is_plain(kind: str) -> bool:
    """Whether a cell of this type is written as it is: numbers and times, in which no text can hide."""
    return bool(NUMBERS_AND_TIMES.fullmatch(kind))


def _csv_cell(value: Any) -> Any:
    match value:
        case bool():
            return str(value).lower()
        case list() | tuple() | dict():
            return json.dumps(_json_value(value), ensure_ascii=False)
        case bytes():
            return value.hex()
    return value


def records(con: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    """Each row by name, in values that JSON can say; NaN and the infinities, which it lacks, are null."""
    keys = names(con)
    for columns in chunks(con, "T"):
        for row in zip(*columns, strict=True):
            yield {name: _json_value(value) for name, value in zip(keys, row, strict=True)}


def write_json(con: duckdb.DuckDBPyConnection, file: BinaryIO) -> None:
    """A list with one object a row, a line each."""
    opening = b"[\n"
    for record in records(con):
        file.write(opening + json.dumps(record, ensure_ascii=False, allow_nan=False).encode())
        opening = b",\n"
    file.write(b"[]\n" if opening == b"[\n" else b"\n]\n")


def _json_value(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case decimal.Decimal():
            return _json_number(value)
        case list() | tuple():
            return [_json_value(item) for item in value]
        case dict():
            return {str(_json_value(key)): _json_value(item) for key, item in value.items()}
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case None | bool() | int() | str():
            return value
    return str(value)


def _json_number(value: decimal.Decimal) -> int | float | str:
    """The number where JSON's readers get the same one, else its text."""
    if value == value.to_integral_value():
        return int(value)
    return float(value) if decimal.Decimal(repr(float(value))) == value else str(value)


def write_parquet(con: duckdb.DuckDBPyConnection, file: BinaryIO) -> None:
    """DuckDB's own column types, in row groups as they come; those that Parquet lacks as text, unions as JSON."""
    import pyarrow.parquet

    _write_batches(con, lambda schema: pyarrow.parquet.ParquetWriter(file, schema))


def write_arrow(con: duckdb.DuckDBPyConnection, file: BinaryIO) -> None:
    """The same as a stream of Arrow's; the note of a column says that it was a HUGEINT, which is a decimal there."""
    import pyarrow

    _write_batches(con, lambda schema: pyarrow.ipc.new_stream(file, schema))


def _write_batches(con: duckdb.DuckDBPyConnection, opened: Callable[[Any], Any]) -> None:
    import pyarrow

    columns, kinds = names(con), [column[1].id for column in con.description]
    with plain_types.arrow_reader(plain_types.exchanged(con, plain_types.PARQUET), 100_000) as reader:
        fields = [field.with_name(name) for field, name in zip(reader.schema, columns, strict=True)]
        noted = [
            field.with_metadata(HUGE) if kind == "hugeint" else field for field, kind in zip(fields, kinds, strict=True)
        ]
        schema = pyarrow.schema(noted)
        with opened(schema) as writer:
            for batch in plain_types.batches(reader):
                writer.write_batch(pyarrow.RecordBatch.from_arrays(batch.columns, schema=schema))


def write_npy(con: duckdb.DuckDBPyConnection, file: BinaryIO) -> None:
    """One structured array, a field a column: np.load(file)["sigma"]. Null is NaN, NaT or empty text."""
    import numpy as np

    for name, kind, *_ in con.description:
        if kind.id in ("struct", "map", "union"):
            raise _no_array(name)
    try:
        found = plain_types.exchanged(con, plain_types.NUMPY).fetchnumpy()
    except duckdb.ConversionException as error:
        if not re.search("INT128|to microseconds", str(error)):  # a number past 2^63, an infinite date
            raise
        raise EigenhouseError(f"{str(error).splitlines()[0]}; FORMAT=parquet holds more than NumPy") from error
    columns = {name: _npy_column(name, values) for name, values in found.items()}
    dtype = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
    table = np.empty(len(next(iter(columns.values()))), dtype=dtype)
    for name, column in columns.items():
        table[name] = column
    buffer = io.BytesIO()  # np.save asks a real file for its place, which a pipe does not have
    np.save(buffer, table, allow_pickle=False)
    file.write(buffer.getbuffer())


def _npy_column(name: str, values: Any) -> Any:
    """A column as an array that needs no pickle: text of one width, lists of one length as rows."""
    import numpy as np

    holes = np.ma.getmaskarray(values)
    if values.dtype.kind in "iub" and holes.any():
        present, values = np.ma.getdata(values)[~holes], values.astype(np.float64)
        if ((present > 2**53) | (present < -(2**53))).any():
            raise EigenhouseError(f"column {name} has nulls and numbers past 2^53, which no NumPy type holds together")
    if values.dtype.kind in "fmM":
        values = np.ma.asarray(values)
        if values.dtype.kind == "M" and (np.abs(values.astype(np.int64)) == 2**63 - 1).any():
            raise EigenhouseError(f"column {name} has an infinite time, which NumPy lacks; FORMAT=parquet keeps it")
        return values.filled(np.nan if values.dtype.kind == "f" else values.dtype.type("NaT"))
    if values.dtype.kind != "O":
        return np.ma.getdata(values)
    cells = [None if hole else value for value, hole in zip(np.ma.getdata(values), holes, strict=True)]
    if all(value is None or isinstance(value, str) for value in cells):
        return np.array([value or "" for value in cells], dtype=np.str_)
    if len({np.shape(np.asarray(value)) for value in cells}) == 1 and not any(
        np.ma.is_masked(value) for value in cells
    ):
        stacked = np.stack([np.asarray(value) for value in cells])
        if stacked.dtype.kind in "fiub":
            return stacked
    raise _no_array(name)


def _no_array(name: str) -> EigenhouseError:
    return EigenhouseError(f"column {name} is no plain array (unequal lists?); FORMAT=parquet keeps it")
