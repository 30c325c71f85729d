"""A table of what is said of models, as CSV: a line a model, a column a tag. What is malformed is refused by its line.

Excel's forms are read too: a mark in front of UTF-8, semicolons (then 63,4 is a number and becomes 63.4), a first line
`sep=;`, and empty columns at the end. An empty cell says nothing.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources import regular
from eigenhouse.ingest.warehouse.tags import fault_of_name, fault_of_value

HEADER = re.compile(r'\s*"?(model|model_id)"?\s*([,;\t])', re.IGNORECASE)
MODEL = ("model", "model_id")
SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Line:
    """What one line says of a model: tag → value, without empty cells."""

    number: int
    model: str
    tags: dict[str, str]


def read(path: Path) -> list[Line]:
    """Every line that says something. Raises EigenhouseError with the number of the first that is malformed."""
    text = _decoded(path)
    if first := SEPARATOR.match(text):
        text = "\n" + text[first.end() :]  # the lines keep their numbers
    header = HEADER.match(text.lstrip("\n"))
    if not header:
        came = text.strip().splitlines()[:1] or ["an empty file"]
        _refuse(path, 1, f"a header of model or model_id, then a column a tag; got {came[0][:80]}")
    rows = _rows(path, text, header[2])
    number, names = next(rows)
    columns = _columns(path, number, names)
    lines = [_line(path, number, columns, cells, header[2]) for number, cells in rows if any(cells)]
    _want_each_once(path, lines)
    return lines


def _refuse(path: Path, line: int, wanted: str) -> NoReturn:
    raise EigenhouseError(f"{path}, line {line}: wanted {wanted}; nothing was written")


def _decoded(path: Path) -> str:
    try:
        content = regular.content(path)
    except OSError as error:
        raise EigenhouseError(f"cannot read {path}: {error.strerror}") from error
    if content.startswith(UTF_16):
        _refuse(path, 1, "UTF-8; got UTF-16 (save it as `CSV UTF-8`)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        _refuse(path, line, f"UTF-8; got the byte {content[error.start]:#04x} (save it as `CSV UTF-8`)")


def _rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line that each row begins on, and its cells; blank lines are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for cells in reader:
            if cells:
                yield begins, [cell.strip() for cell in cells]
            begins = reader.line_num + 1
    except csv.Error as error:
        _refuse(path, begins, f"cells with quotes in pairs; got what is none: {error} (a quote that never ends?)")


def _columns(path: Path, number: int, names: list[str]) -> list[str]:
    """The tags of the columns after the first; '' for one at the end that has no name, as Excel leaves them."""
    tags = names[1:]
    while tags and not tags[-1]:
        tags.pop()
    if not tags:
        _refuse(path, number, "a column a tag after that of the models; got none")
    for tag in tags:
        if fault := fault_of_name(tag):
            _refuse(path, number, f"a name for each column; got {tag!r}: {fault}")
        if tag.casefold() in MODEL:
            _refuse(path, number, f"one column of models, the first; got a second, {tag}")
        if tags.count(tag) > 1:
            _refuse(path, number, f"each column once; got {tag} {tags.count(tag)} times")
    return tags


def _line(path: Path, number: int, columns: list[str], cells: list[str], delimiter: str) -> Line:
    model, *values = cells
    if len(values) < len(columns) or any(values[len(columns) :]):
        hint = "a comma that is not in quotes?" if len(values) > len(columns) else "cut short?"
        _refuse(path, number, f"{len(columns) + 1} cells, as the header has; got {len(cells)} ({hint})")
    if not model:
        _refuse(path, number, "a model in the first cell; got none")
    tags = {tag: _value(value, delimiter) for tag, value in zip(columns, values, strict=False) if value}
    for tag, value in tags.items():
        if fault := fault_of_value(value):
            _refuse(path, number, f"a value of {tag} in one line of text; got {value[:80]!r}: {fault}")
    return Line(number, model, tags)


def _value(value: str, delimiter: str) -> str:
    return value.replace(",", ".") if delimiter == ";" and DECIMAL_COMMA.fullmatch(value) else value


def _want_each_once(path: Path, lines: list[Line]) -> None:
    first: dict[str, int] = {}
    for line in lines:
        if line.model in first:
            _refuse(path, line.number, f"a line a model; got {line.model} on line {first[line.model]} already")
        first[line.model] = line.number
