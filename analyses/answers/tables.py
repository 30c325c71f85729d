"""An answer for the eye: right-aligned numbers with the digits that matter, every column, the first rows."""

import decimal
import io
import itertools
import math
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import duckdb
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from eigenhouse.analyses.answers import plain_types
from eigenhouse.analyses.answers.formats import names
from eigenhouse.analyses.answers.plain_types import ROWS_AT_ONCE
from eigenhouse.visible import visible

MOST_ROWS = 40
MOST_COUNTED = 1_000_000
MOST_LETTERS = 60
SENTENCES = ("doubt", "reason", "stale")  # columns that are read to the end
UNLIMITED = 100_000
GAP = 3  # between two columns


def write_table(con: duckdb.DuckDBPyConnection, file: BinaryIO) -> None:
    """The last statement's first rows; blocks of columns where those are too wide together."""
    text = io.StringIO()  # rich would end the program where a pipe's reader has gone
    is_terminal = file.isatty() or None
    console = Console(
        file=text, force_terminal=is_terminal, highlight=False, markup=False, emoji=False, width=_width(file)
    )
    rows = plain_types.exchanged(con, plain_types.TEXT)
    shown = rows.fetchmany(MOST_ROWS)
    columns = [
        column(name, [row[place] for row in shown], UNLIMITED if name in SENTENCES else MOST_LETTERS)
        for place, name in enumerate(names(con))
    ]
    for block in _blocks(columns, console.width):
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for name, _, is_number in block:
            table.add_column(name, justify="right" if is_number else "left", overflow="fold")
        for cells in zip(*(cells for _, cells, _ in block), strict=True):
            table.add_row(*cells)
        console.print(table)
    console.print(_count(rows, len(shown)), style="dim")
    file.write(text.getvalue().encode())


def _width(file: BinaryIO) -> int | None:
    """The terminal's own width, or COLUMNS; without either every row gets the line that it needs."""
    return None if file.isatty() or os.environ.get("COLUMNS", "").isdecimal() else UNLIMITED


def _count(con: duckdb.DuckDBPyConnection, n_shown: int) -> str:
    n_more = 0
    while n_more < MOST_COUNTED and (chunk := con.fetchmany(ROWS_AT_ONCE)):
        n_more += len(chunk)
    if not n_more:
        return f"{n_shown} row{'' if n_shown == 1 else 's'}"
    over = "more than " if n_more >= MOST_COUNTED else ""
    return f"… {over}{n_more:,} more rows; FORMAT=csv shows all"


Column = tuple[str, list[str], bool]  # name, cells, whether it holds numbers


def column(name: str, values: list[Any], most_letters: int = MOST_LETTERS) -> Column:
    """The values as cells, floats all with the same decimals, text cut to so many letters."""
    values = [float(value) if isinstance(value, decimal.Decimal) else value for value in values]
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, float) for value in present):
        spell = _spelling([abs(value) for value in present if value and math.isfinite(value)])
        return visible(name), [spell.format(value) if value else _text(value, most_letters) for value in values], True
    is_number = bool(present) and all(isinstance(value, int) and not isinstance(value, bool) for value in present)
    return visible(name), [_text(value, most_letters) for value in values], is_number


def _spelling(sizes: list[float]) -> str:
    """One format for a column of floats: four digits of the largest, at least two of the smallest."""
    if not sizes:
        return "{:.0f}"
    high, low = max(sizes), min(sizes)
    if high >= 1e7 or low < 1e-4:
        return "{:.3e}" if high < 1e-2 or high >= 1e7 else "{:.4g}"
    decimals = max(3 - math.floor(math.log10(high)), 1 - math.floor(math.log10(low)))
    return f"{{:.{min(max(decimals, 0), 6)}f}}"


def _text(value: Any, most_letters: int) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            start = ", ".join(_text(item, most_letters) for item in value[:3])
            return f"[{start}, … {len(value)}]" if len(value) > 3 else f"[{start}]"
        case dict():
            value = "{" + ", ".join(f"{key}: {_text(item, most_letters)}" for key, item in value.items()) + "}"
        case bytes():
            value = value.hex()
    text = visible(str(value).replace("\n", " ").replace("\t", " "))
    return text if len(text) <= most_letters else text[: most_letters - 1] + "…"


def _blocks(columns: list[Column], width: int) -> Iterator[list[Column]]:
    """Columns that fit the width together; each further block repeats the first column, so that its rows are known."""
    widths = [max(map(cell_len, [name, *cells])) + GAP for name, cells, _ in columns]
    block, used = [columns[0]], widths[0]
    for column, needed in itertools.islice(zip(columns, widths, strict=True), 1, None):
        if used + needed > width + GAP and len(block) > 1:
            yield block
            block, used = [columns[0]], widths[0]
        block.append(column)
        used += needed
    yield block
