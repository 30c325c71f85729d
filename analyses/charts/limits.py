"""How much a picture holds: points are thinned out, models that are drawn one by one are asked for."""

import json
from typing import Any

from eigenhouse.analyses.answers.saved import SavedQuery
from eigenhouse.analyses.charts.pictures import Channels, Rows
from eigenhouse.errors import EigenhouseError

MOST_ROWS = 20_000
MOST_BYTES = 1_900_000  # of rows in a page, which weighs 0.9 MB without them


class AsksForModel(EigenhouseError):
    """The query draws models one by one, and there are too many, or too large ones."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"query {name} draws each model by itself, {why}; "
            "want MODEL=<one, several or a pattern> (`make models` lists them)"
        )


def that_fit(query: SavedQuery, channels: Channels, rows: Rows) -> tuple[Rows, list[str]]:
    """The rows that a picture can hold, with a note of what is left out: of many rows the columns that aren't drawn.

    Raises AsksForModel for too many cells of several models: a cell left out would look like one without a value.
    """
    if _share(rows) <= 1:
        return rows, []
    named = _columns(query, channels, rows)
    rows = [{name: _short(value) for name, value in row.items() if name in named} for row in rows]
    step = -int(-_share(rows) // 1)
    line = channels.get("detail", {}).get("field")
    if step <= 1:
        return rows, []
    if _mark(query) == "line":
        return _some_lines(rows, line, step) if line else (rows, [])
    if _mark(query) == "rect":
        if _has_models(rows):
            raise AsksForModel(query.name, f"and {len(rows):,} cells are more than one picture holds")
        return rows, []
    return rows[::step], [f"One in {step} of {len(rows):,} points is drawn, evenly through the answer."]


def _some_lines(rows: Rows, column: str, step: int) -> tuple[Rows, list[str]]:
    """Whole lines, since one without some of its points would be another; those of nobody, as a mean's, all stay."""
    lines = sorted({row[column] for row in rows} - {None})
    kept = {None, *lines[::step]}
    return [row for row in rows if row[column] in kept], [f"One {column} in {step} is drawn."]


def _short(value: Any) -> Any:
    """Six digits are more than can be seen."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _share(rows: Rows) -> float:
    """How many times what a picture holds; of many rows a hundred are weighed."""
    some = rows[:: max(1, len(rows) // 100)]
    bytes_each = len(json.dumps(some)) / max(1, len(some))
    return max(len(rows) / MOST_ROWS, len(rows) * bytes_each / MOST_BYTES)


def _has_models(rows: Rows) -> bool:
    return len({row.get("model_id") for row in rows}) > 1


def _mark(query: SavedQuery) -> Any:
    mark = query.chart.get("mark", "point")
    return mark["type"] if isinstance(mark, dict) else mark


def _columns(query: SavedQuery, channels: Channels, rows: Rows) -> set[str]:
    """Those that a mark, a line beside it or the tooltip of the header shows; the model where there are several."""
    further = [*query.chart.get("layers", []), *query.chart.get("rules", [])]
    texts = [value for each in further for value in each.values() if isinstance(value, str)]
    tooltip = [item["field"] if isinstance(item, dict) else item for item in query.chart.get("tooltip", [])]
    fields = [channel["field"] for channel in channels.values() if "field" in channel]
    several = {"model_id"} if _has_models(rows) else set()
    return {*several, *fields, *texts, *tooltip, *query.chart.get("band", [])}
