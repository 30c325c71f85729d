"""BY: what models are coloured or set apart by, as at most eight groups with names that can be read."""

import difflib
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import duckdb

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles

USUAL = ("family", "architecture", "n_layers", "n_parameters")  # of what the view model_groups has
TAG = "tag:"
MOST = 8  # the colours that can be told apart
PARTS = 5  # of numbers that are many
OTHERS, UNKNOWN = "others", "unknown"
SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k"))


@dataclass(frozen=True)
class Groups:
    """The table `groups` (model_id, grp, grp_order) of a connection, and what it is by."""

    title: str
    names: list[str]  # in order
    is_ordered: bool  # numbers, which a ramp of colours fits


def make(con: duckdb.DuckDBPyConnection, by: str | None) -> Groups:
    """Every model of the table `answer` in its group; the largest come first, numbers in their order.

    Raises EigenhouseError where no model has a value of BY.
    """
    values = dict(con.execute(sqlfiles.statement("charts/groups"), {"by": want_known(con, by)}).fetchall())
    numbers = _numbers(values)
    of_model = _parts(numbers) if numbers else _largest(values)
    names = list(dict.fromkeys(sorted(of_model.values(), key=lambda group: group[0])))
    con.execute("create or replace temp table groups (model_id varchar, grp varchar, grp_order integer)")
    rows = [(model, name, order) for model, (order, name) in of_model.items()]
    models, labels, orders = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    con.execute("insert into groups select unnest($1), unnest($2), unnest($3)", [models, labels, orders])
    title = (by or USUAL[0]).removeprefix(TAG).replace("n_", "number of ").replace("_", " ")
    return Groups(title, [name for _, name in names], bool(numbers))


def want_known(con: duckdb.DuckDBPyConnection, by: str | None) -> str:
    """BY, or what stands for it; refuses what no model has."""
    by = by or USUAL[0]
    con.execute("select distinct property from model_groups order by property")
    known = [name for (name,) in con.fetchall()]
    if by not in known and by not in USUAL[:1]:
        near = difflib.get_close_matches(by, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise EigenhouseError(f"want BY={', '.join(USUAL)} or {TAG}<name>, got {by!r}, which no model has; {hint}")
    return by


def _numbers(values: dict[str, Any]) -> dict[str, float | None] | None:
    """The values as numbers, where all that are known are finite numbers."""
    try:
        numbers = {model: None if value is None else float(value) for model, value in values.items()}
    except ValueError:
        return None
    known = [number for number in numbers.values() if number is not None]
    return numbers if known and all(map(math.isfinite, known)) else None


def _parts(numbers: dict[str, float | None]) -> dict[str, tuple[int, str]]:
    """Each number by itself where they are few, else fifths of the models, named by their ends."""
    there = sorted(number for number in numbers.values() if number is not None)
    ends = sorted(set(there)) if len(set(there)) < MOST else None
    bounds = ends or sorted({there[(len(there) * part - 1) // PARTS] for part in range(1, PARTS + 1)})
    members: dict[int, list[float]] = {}
    place = {number: next(at for at, bound in enumerate(bounds) if number <= bound) for number in set(there)}
    for number, at in place.items():
        members.setdefault(at, []).append(number)
    names = {at: _span(min(some), max(some)) for at, some in members.items()}
    return {
        model: (len(bounds), UNKNOWN) if number is None else (place[number], names[place[number]])
        for model, number in numbers.items()
    }


def _span(low: float, high: float) -> str:
    return _short(low) if low == high else f"{_short(low)} to {_short(high)}"


def _short(number: float) -> str:
    """1.2B for 1,234,000,000."""
    for size, suffix in SUFFIXES:
        if abs(number) >= size:
            return f"{number / size:.3g}{suffix}"
    return f"{number:.4g}"


def _largest(values: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """The values that most models have; the rest together where there are more than can be told apart."""
    counts = Counter(str(value) for value in values.values() if value is not None)
    has_unknown = any(value is None for value in values.values())
    room = MOST - has_unknown
    kept = [name for name, _ in counts.most_common(room if len(counts) <= room else room - 1)]
    places = {name: place for place, name in enumerate(kept)}

    def group(value: Any) -> tuple[int, str]:
        if value is None:
            return len(kept) + 1, UNKNOWN
        name = str(value)
        return (places[name], name) if name in places else (len(kept), OTHERS)

    return {model: group(value) for model, value in values.items()}
