"""Types that Python, Arrow or Parquet have no exact word for, cast by DuckDB to one that they have.

DuckDB's own conversions are silent about what they lose: an infinite date becomes the year 9999, a month 30 days, a
large UHUGEINT -1; and a time with a zone wants a further package. The text that DuckDB casts them to loses nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import duckdb
from duckdb.sqltypes import DuckDBPyType

from eigenhouse.errors import EigenhouseError

ROWS_AT_ONCE = 10_000
TIMES = ("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone")
TEXT = dict.fromkeys((*TIMES, "date", "time_ns", "interval"), "VARCHAR")
PARQUET = {
    **dict.fromkeys(("interval", "uhugeint", "bit", "bignum", "time with time zone", "uuid", "json"), "VARCHAR"),
    "union": "JSON",
    "boolean": "BOOLEAN",  # these two as they are, but in Arrow's own words: a bit, a decimal of 38 digits
    "hugeint": "HUGEINT",
}
NUMPY = {
    **dict.fromkeys(("interval", "uhugeint", "bit", "bignum", "time with time zone", "uuid", "json"), "VARCHAR"),
    **dict.fromkeys(("time", "time_ns", "enum"), "VARCHAR"),
    "hugeint": "BIGINT",  # DuckDB refuses what doesn't fit; NumPy would round it
}
ADVICE = re.compile(r"\n*(?:This limit was set by|Possible solutions:).*", re.DOTALL)
ARROW_LACKS = ("variant", "type")
DUCKDB_TIME = re.compile(r"(\d{4,}-\d\d-\d\d) (\d\d:\d\d:[\d.]+)([+-]\d\d)?([:\d]+)?")

Spell = Callable[[Any], Any]


def exchanged(con: duckdb.DuckDBPyConnection, words: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """The last statement's rows with every type of `words`, however deep, cast to what stands there.

    They are in `con` itself where there is none of those, else in a connection of its own that reads them from `con` as
    they come, since the settings of `con` may be locked.
    """
    kinds = [column[1] for column in con.description]
    casts = [_cast(kind, words) for kind in kinds]
    if not any(casts):
        return con
    reader = arrow_reader(con)
    cursor = duckdb.connect()
    if zone := re.search(r"timestamp\[us, tz=([\w/+:-]+)\]", str(reader.schema)):
        cursor.execute(f"set timezone = '{zone[1]}'")
    cursor.register("exchanged", reader)
    names = [f"c{place}" for place in range(len(kinds))]
    columns = [
        f"cast({name} as {cast}) as {_quoted(column[0])}" if cast else f"{name} as {_quoted(column[0])}"
        for name, cast, column in zip(names, casts, con.description, strict=True)
    ]
    return cursor.execute(f"select {', '.join(columns)} from exchanged as answer({', '.join(names)})")


def arrow_reader(con: duckdb.DuckDBPyConnection, rows_at_once: int = ROWS_AT_ONCE) -> Any:
    """The last statement's rows as Arrow batches; refuses a type that Arrow has no form of."""
    try:
        return con.to_arrow_reader(rows_at_once)
    except OSError as error:  # pyarrow's word for DuckDB's refusal
        names = [column[0] for column in con.description if column[1].id in ARROW_LACKS]
        hint = f"cast {names[0]}, as {names[0]}::json" if names else "cast the column, as with ::json"
        raise EigenhouseError(f"{str(error).splitlines()[0]}; {hint}") from error


def batches(reader: Any) -> Iterator[Any]:
    """What a reader gives; an error of the statement, which comes as late as its row, is a refusal."""
    try:
        yield from reader
    except OSError as error:
        raise EigenhouseError(said(error)) from error


def said(error: Exception) -> str:
    """DuckDB's words, without Arrow's around them where rows came through it, or advice on settings, all locked.

    Where one thread meets an error and the others are interrupted for it, DuckDB may tell of either.
    """
    if "INTERRUPT Error" in str(error):
        return "a part of the question failed, and DuckDB doesn't say which: ask again, or for fewer rows"
    return ADVICE.sub("; ask for fewer rows or columns", str(error).rsplit("IOError: ")[-1].rstrip(), count=1)


def _cast(kind: DuckDBPyType, words: Mapping[str, str]) -> str | None:
    """The type to cast to, as SQL; None where nothing in it is to be cast."""
    name = "json" if str(kind) == "JSON" else kind.id
    if name in words:
        return words[name]
    inner = parts(kind)
    casts = [_cast(part, words) for _, part in inner]
    if not any(casts):
        return None
    spelled = [cast or str(part) for cast, (_, part) in zip(casts, inner, strict=True)]
    if name == "list":
        return f"{spelled[0]}[]"
    if name == "array":
        return f"{spelled[0]}[{dict(kind.children)['size']}]"
    if name == "map":
        return f"MAP({', '.join(spelled)})"
    if not all(field for field, _ in inner):
        return "VARCHAR"  # a struct without names can't be spelled as a type
    fields = [f"{_quoted(field)} {cast}" for (field, _), cast in zip(inner, spelled, strict=True)]
    return f"{name.upper()}({', '.join(fields)})"


def parts(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """What a nested type is made of, by name; nothing for another."""
    if kind.id not in ("list", "array", "struct", "map", "union"):
        return []
    inner = [(name, part) for name, part in kind.children if isinstance(part, DuckDBPyType)]  # an array has a size
    return inner[1:] if kind.id == "union" else inner  # whose tag comes first


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --- what cells still need ---


def shortest(values: Sequence[float | None]) -> list[float | None]:
    """For FLOATs (float32), the doubles that print as shortly as they do: 0.1, not 0.10000000149011612."""
    import pyarrow as pa

    texts = pa.array(values, pa.float32()).cast(pa.string()).to_pylist()
    return [None if text is None else float(text) for text in texts]


def spelling(kind: DuckDBPyType, between: str) -> Spell | None:
    """What is still to be done to a cell of this type, fetched with TEXT; None for nothing.

    FLOATs get their own precision, times the text of ISO 8601, with `between` date and time: 2025-03-05T06:07:08+00:00.
    """
    if kind.id in TIMES:
        return partial(_iso, between)
    if kind.id == "float":
        return lambda value: shortest([value])[0]
    inner = parts(kind)
    spells = [spelling(part, between) for _, part in inner]
    if not any(spells) or kind.id == "union":  # whose value does not show which part it is of
        return None
    if kind.id in ("list", "array"):
        return shortest if inner[0][1].id == "float" else partial(spelled, spells[0])
    if kind.id == "struct":
        return partial(_spelled_struct, spells)
    return partial(_spelled_map, spells, inner[0][1].id in ("list", "array", "struct", "map"))


def spelled(spell: Spell | None, values: Sequence[Any]) -> Sequence[Any]:
    return [value if value is None else spell(value) for value in values] if spell else values


def _iso(between: str, text: str) -> str:
    found = DUCKDB_TIME.fullmatch(text)
    if not found:  # infinity, or a year before Christ
        return text
    day, time, hours, minutes = found.groups()
    return f"{day}{between}{time}{hours or ''}{minutes or ':00' if hours else ''}"


def _spelled_struct(spells: list[Spell | None], struct: Any) -> Any:
    """A struct whose fields have no names is a tuple; text where a field had to be cast."""
    if isinstance(struct, str):
        return struct
    values = struct.values() if isinstance(struct, dict) else struct
    done = [spelled(spell, [value])[0] for spell, value in zip(spells, values, strict=True)]
    return dict(zip(struct, done, strict=True)) if isinstance(struct, dict) else tuple(done)


def _spelled_map(spells: list[Spell | None], is_two_lists: bool, pairs: dict[Any, Any]) -> dict[Any, Any]:
    """A map whose keys Python can't look up by is two lists, `key` and `value`."""
    keys, values = pairs.values() if is_two_lists else (list(pairs), list(pairs.values()))
    done = [spelled(spell, items) for spell, items in zip(spells, (keys, values), strict=True)]
    return dict(zip(("key", "value"), done, strict=True) if is_two_lists else zip(*done, strict=True))
